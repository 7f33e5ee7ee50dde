"""A model with other activations, by interpreting its program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.predict._reader import Activation

Index = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """An activation of a program, and what replaces it.

    Attributes:
        index: The equation that makes its value.
        entry: An equation that takes its argument, and which input that is.
        steps: For each equation that it is made of its index, the numbers of its inputs among the values (0 is the
            argument; None is anything else), and that of its own.
        a: Factor of its values.
        b: Factors of its arguments, ``[turn, ...]`` over the loops around, or one number.
        c: What is added to these.
        d: What is added to its values.
    """

    index: Index
    entry: tuple[Index, int]
    steps: tuple[tuple[Index, tuple[int | None, ...], int], ...]
    a: float
    b: Any
    c: float
    d: float


def place(
    activations: Sequence[Activation], constants: tuple[float, float, float, float], seconds: Sequence[float]
) -> Place:
    """The activation of one equation at all turns of the loops around, of which each has its own second moment.

    Raises:
        NotImplementedError: It is none at some turns, has its own derivative outside of it, or spans a loop.
    """
    first = activations[0]
    steps, entry = _steps(first)
    site = first.origin.values[first.core].step.site  # type: ignore[union-attr]
    sites = [first.origin.values[k].step.site for k in first.origin.needed(first.core, first.base)]  # type: ignore[union-attr]
    around = [outer for outer in site.around if outer.primitive in ("scan", "while")]
    if len({_scopes(other) for other in sites}) > 1:
        raise NotImplementedError(f"{site} is refused: an activation that begins outside of a loop or a checkpoint")
    own = next((outer for outer in reversed(site.around) if outer.primitive in jaxprs.CUSTOM), None)
    if own is not None:
        raise NotImplementedError(
            f"{site} is refused: an activation inside of {own}, which has a derivative of its own"
        )
    if any(_steps(other) != (steps, entry) for other in activations):
        raise NotImplementedError(f"{site} is refused: an activation that changes from turn to turn")
    turns = [other.origin.values[other.core].step.turns for other in activations]  # type: ignore[union-attr]
    a, b, c, d = constants
    scales = b / np.sqrt(np.asarray(seconds, np.float64))
    if around:
        shape = tuple(max(turn[i] for turn in turns) + 1 for i in range(len(around)))
        lengths = [loop.params.get("length", size) for loop, size in zip(around, shape, strict=True)]
        if len(turns) != np.prod(lengths) or set(turns) != set(np.ndindex(*lengths)):
            raise NotImplementedError(f"{site} is refused: an activation at some turns of a loop alone")
        table = np.zeros(lengths)
        for turn, scale in zip(turns, scales, strict=True):
            table[turn] = scale
        scale = float(table.flat[0]) if np.all(table == table.flat[0]) else table
    else:
        scale = float(scales[0])
    return Place(site.index, entry, steps, a, scale, c, d)


def _steps(activation: Activation) -> tuple[Any, tuple[Index, int]]:
    origin, base = activation.origin, activation.base
    numbers = origin.needed(activation.core, base)
    at = {base: 0, **{number: i for i, number in enumerate(numbers, 1)}}
    made = [(at[k], origin.values[k].step) for k in numbers]
    steps = tuple((s.site.index, tuple(None if j is None else at[j] for j in s.inputs), k) for k, s in made if s)
    entry = next((index, inputs.index(0)) for index, inputs, _ in steps if 0 in inputs)
    return steps, entry


def _scopes(site: Any) -> tuple[Index, ...]:
    kinds = jaxprs.LOOPS | {"remat", "remat2", "checkpoint"}
    return tuple(outer.index for outer in site.around if outer.primitive in kinds)


def replaced(apply: Callable[..., Any], places: Sequence[Place], primitives: Mapping[Index, str]) -> Callable[..., Any]:
    """The model ``apply(params, x)`` with what replaces its activations.

    Args:
        apply: The model.
        places: Its activations.
        primitives: The names of all equations that these are made of, as they were read.

    Returns:
        A function of the same arguments, which raises ``ValueError`` where ``apply`` has another program by now.
    """
    by_index = {one.index: one for one in places}

    def transformed(params: Any, x: Any) -> Any:
        program, like = jax.make_jaxpr(apply, return_shape=True)(params, x)
        sites = {site.index: site.primitive for site in jaxprs.walk(program)}
        for index, name in primitives.items():
            if sites.get(index) != name:
                raise ValueError(
                    f"`apply` has another program for these arguments than for those that it was read with: `{name}` "
                    f"was equation {index}, where there is `{sites.get(index)}`"
                )
        course = _Course(by_index, frozenset(primitives), {})
        out, _ = jaxprs.thread(program, (), *jax.tree.leaves((params, x)), hook=course, opens=course.opens)
        return jax.tree.unflatten(jax.tree.structure(like), out)

    return transformed


@dataclass
class _Course:
    """Goes through the program once; the hook of `jnorm.jaxprs.thread`."""

    places: Mapping[Index, Place]
    watched: frozenset[Index]
    seen: dict[Index, tuple[Any, Sequence[Any]]]

    def opens(self, site: Any) -> bool:
        """Whether an activation is inside."""
        depth = len(site.index)
        return any(len(index) > depth and index[:depth] == site.index for index in self.watched)

    def __call__(self, site: Any, state: Any, *inputs: Any) -> tuple[list[Any], Any]:
        if site.index in self.watched:
            self.seen[site.index] = site, inputs
        one = self.places.get(site.index)
        return (site.run(*inputs) if one is None else [self._value(one, site)]), state

    def _value(self, one: Place, site: Any) -> Any:
        index, position = one.entry
        z = self.seen[index][1][position]
        b = jnp.asarray(one.b, z.dtype)[site.turns] if isinstance(one.b, np.ndarray) else one.b
        values = {0: b * z + one.c}
        for index, numbers, number in one.steps:
            step, inputs = self.seen[index]
            (values[number],) = step.run(*(x if k is None else values[k] for k, x in zip(numbers, inputs, strict=True)))
        return one.a * values[one.steps[-1][2]] + one.d
