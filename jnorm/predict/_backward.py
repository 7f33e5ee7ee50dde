"""Gradients: the program of a model and of its reverse pass, with a probe at every value that matters."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnorm import jaxprs
from jnorm.predict._values import Random, Stack, diagonal

_OPENED = jaxprs.CALLS - jaxprs.CUSTOM  # whose derivatives would be lost
Place = tuple[tuple[int, ...], int]
"""The index of an equation in its program, and which of its outputs."""


def program(
    forward: Any, flat: Sequence[Any], rest: Sequence[Any], matters: set[int]
) -> tuple[Any, dict[Place, np.ndarray]]:
    """The program ``(params, x, probes, cotangents) -> gradients of the params and of the probes``.

    A probe is added to each value that matters; the gradient by it is the gradient at the value. In loops a probe has
    a row for each turn. Values inside branches, custom derivatives and loops without a fixed number of turns have none.

    Raises:
        NotImplementedError: A loop without a fixed number of turns.

    Returns:
        The program, and the probes, zeros in the order in which it takes and returns them.
    """
    noted = _Course(forward, matters)
    jax.eval_shape(lambda *a: noted.run(a), *flat, *rest)
    moving = [i for i, leaf in enumerate(flat) if moves(leaf)]

    def both(flat: Sequence[Any], rest: Sequence[Any], probes: dict[Place, Any], cotangents: Sequence[Any]) -> Any:
        def f(part: Sequence[Any], probes: dict[Place, Any]) -> list[Any]:
            whole = list(flat)
            for i, leaf in zip(moving, part, strict=True):
                whole[i] = leaf
            return _Course(forward, matters, noted, probes).run([*whole, *rest])

        _, back = jax.vjp(f, [flat[i] for i in moving], probes)
        return back(list(cotangents))

    probes = {place: np.zeros(s.shape, s.dtype) for place, s in sorted(noted.frame.items())}
    cotangents = [jnp.zeros(v.aval.shape, v.aval.dtype) for v in forward.jaxpr.outvars]
    try:
        return jax.make_jaxpr(both)(list(flat), list(rest), probes, cotangents), probes
    except ValueError as error:
        site = next((site for site in jaxprs.walk(forward) if site.primitive == "while"), None)
        if site is None or "while_loop" not in str(error):
            raise
        raise NotImplementedError(f"{site} has no gradient: its number of turns is not fixed") from None


class _Course:
    """One way through a program, that notes the shapes of what matters or adds the probes.

    Attributes:
        frame: Of the program, or of a turn of the loop that is gone through, what is noted or added.
        inside: Of each loop, what is noted in a turn of it.
    """

    def __init__(self, forward: Any, matters: set[int], noted: "_Course | None" = None, probes: Any = None) -> None:
        self.forward, self.matters, self.noted = forward, matters, noted
        self.frame: dict[Place, Any] = probes if noted else {}
        self.inside: dict[tuple[int, ...], dict[Place, Any]] = {}

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        return jaxprs.evaluate(self.forward, *inputs, hook=self._hook, opens=())

    def _hook(self, site: Any, *inputs: Any) -> list[Any]:
        if site.primitive == "scan":
            return self._scan(site, inputs)
        opened = site.primitive in _OPENED
        out = site.open(site.bodies[0], *inputs) if opened else site.run(*inputs)
        if id(site.equation) not in self.matters:
            return list(out)
        return [self._visit((site.index, i), value) if moves(value) else value for i, value in enumerate(out)]

    def _visit(self, place: Place, value: Any) -> Any:
        if self.noted:
            return value + self.frame[place]
        self.frame[place] = jax.ShapeDtypeStruct(value.shape, value.dtype)
        return value

    def _scan(self, site: Any, inputs: Sequence[Any]) -> list[Any]:
        params, (body,) = site.params, site.bodies
        fixed, carried = params["num_consts"], params["num_carry"]
        consts, carry, rows = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]
        outer = self.frame
        mine = {place: outer[place] for place in self.noted.inside[site.index]} if self.noted else {}

        def step(carry: Any, x: Any) -> Any:
            self.frame = dict(x[1])
            out = site.open(body, *consts, *carry, *x[0])
            self.inside[site.index] = self.frame
            return out[:carried], out[carried:]

        options = {name: params[name] for name in ("length", "reverse", "unroll")}
        last, columns = lax.scan(step, list(carry), (list(rows), mine), **options)
        self.frame = outer
        if not self.noted:
            for place, s in self.inside[site.index].items():
                self.frame[place] = jax.ShapeDtypeStruct((params["length"], *s.shape), s.dtype)
        return [*last, *columns]


def squares(value: Any) -> np.ndarray:
    """The mean square of each number of a value, over random parameters."""
    if isinstance(value, Stack):
        return np.stack([squares(part) for part in value.parts])
    if not isinstance(value, Random):
        return np.square(np.asarray(value, np.float64))
    full = [size for atoms in value.axes for size, _ in atoms]
    square = diagonal(value) + value.mean**2
    return np.broadcast_to(square.reshape(value.small), full).reshape(value.shape)


def moves(leaf: Any) -> bool:
    """Whether there is a gradient by a parameter."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
