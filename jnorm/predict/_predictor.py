"""The rules together: what each equation of a program makes of laws."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jnorm import jaxprs
from jnorm.predict import _contractions, _convolutions, _elementwise, _joins, _loops, _reductions, _structure
from jnorm.predict._atoms import Function, Root
from jnorm.predict._pool import Pool
from jnorm.predict._strays import Strays
from jnorm.predict._values import FEW, GAUSSIAN, LARGE, MARKED, Atoms, Random, Refused, Stack, Weight

RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_elementwise.NAMES, _elementwise.elementwise),
    **_structure.RULES,
    **_joins.RULES,
    **_reductions.RULES,
    **_contractions.RULES,
    **_convolutions.RULES,
    **_loops.RULES,
}
"""The rule of each primitive, ``rule(site, inputs, predictor)``."""


@dataclasses.dataclass
class Predictor:
    """What goes through programs: samples that were drawn, parameters that were used as numbers, and what is computed.

    An equation that has been seen with the same inputs is not computed again, as in a reverse pass, whose program
    has the forward pass in it.
    """

    record: Callable[[Any, Sequence[Any]], None]
    pool: Pool = dataclasses.field(default_factory=Pool)
    scratch: Pool = dataclasses.field(default_factory=Pool)  # for the sizes of values, and forgotten
    leaves: dict[Any, Root] = dataclasses.field(default_factory=dict)
    forwards: dict[Any, list[Any]] = dataclasses.field(default_factory=dict)  # products with each weight
    computed: dict[Any, tuple[list[Any], Sequence[Any]]] = dataclasses.field(default_factory=dict)
    known: dict[bytes, Random] = dataclasses.field(default_factory=dict)
    parts: dict[Any, Any] = dataclasses.field(default_factory=dict)
    strays: Strays | None = None
    turns: list[int] = dataclasses.field(default_factory=list)
    reverse: bool = False  # whether what has not been computed yet is a gradient

    def __call__(self, site: Any, *inputs: Any) -> list[Any]:
        """What an equation computes; the hook of `jnorm.jaxprs.evaluate`."""
        try:
            return self._computed(site, inputs)
        except Refused as error:
            raise NotImplementedError(f"{site} is refused: {error}") from None

    def _computed(self, site: Any, inputs: Sequence[Any]) -> list[Any]:
        name = site.primitive
        if name in jaxprs.CALLS:
            out = site.open(site.bodies[0], *inputs)
        elif name in jaxprs.LOOPS:
            out = RULES[name](site, inputs, self)
        else:
            inputs = [_joins.stacked(x, self) if isinstance(x, Stack) else x for x in inputs]
            key = _key(site, inputs)
            if key not in self.computed:
                self.computed[key] = self._ruled(site, inputs), inputs  # kept, so that an ``id`` stays its own
            out = self.computed[key][0]
        if any(isinstance(x, Random | Weight | Stack) for x in out):
            self.record(site, out)
        return list(out)

    def _ruled(self, site: Any, inputs: Sequence[Any]) -> list[Any]:
        if not any(isinstance(x, Random | Weight) for x in inputs):
            return list(site.run(*inputs))
        rule = RULES.get(site.primitive)
        if rule is None:
            raise NotImplementedError(f"{site} has no rule")
        out = rule(site, inputs, self)
        out = out if isinstance(out, list) else [out]
        if self.strays:
            self.strays.follow(site, inputs, out, self.pool)
        return out

    def as_random(self, weight: Weight, axes: tuple[Atoms, ...]) -> Random:
        return _elementwise.of_leaf(weight, axes, self.leaves)

    def ready(self, x: Any) -> Random:
        """A value of a parameter of which nothing else says what its axes are: units along the last one."""
        if isinstance(x, Stack):
            return _joins.stacked(x, self)
        if not isinstance(x, Weight):
            return x
        last = len(x.shape) - 1
        return self.as_random(x, tuple(((size, axis == last and size > 1),) for axis, size in enumerate(x.shape)))

    def frozen(self, x: np.ndarray, axes: tuple[Atoms, ...]) -> Random:
        """Known numbers that differ from unit to unit."""
        factors = [factor for atoms in axes for factor in atoms]
        full = np.broadcast_to(x, tuple(int(np.prod([s for s, _ in atoms])) for atoms in axes))
        full = full.reshape([size for size, _ in factors]).astype(np.float64)
        explicit = [i for i, (_, unit) in enumerate(factors) if not unit]
        units = [i for i, (_, unit) in enumerate(factors) if unit]
        rows = full.transpose([*explicit, *units]).reshape(int(np.prod([factors[i][0] for i in explicit])), -1)
        if rows.size > LARGE * 4096:
            raise Refused("known numbers that differ from unit to unit, too many of them")
        key = rows.tobytes()
        if key not in self.known:
            self.known[key] = Random(axes, np.zeros(()), {_elementwise.Frozen(rows): None}, status=0, law=GAUSSIAN)
        return self.known[key].like(axes)

    def settled(self, mean: np.ndarray, axes: tuple[Atoms, ...], x: Random, count: int) -> Random:
        """An average over ``count`` units, which is known where they are many; ``count = 0`` was sampled."""
        status = max(x.law, GAUSSIAN) if count >= FEW else MARKED
        return Random(axes, np.asarray(mean, np.float64), {}, status=status, law=status)

    def other_units(self, x: Random, part: tuple[Any, ...]) -> Random:
        """The value at some of its units, which are independent of the other ones."""
        terms: dict[Any, Any] = {}
        for atom, a in x.terms.items():
            key = (atom, part)
            for other, ranges in self.parts:
                if (
                    getattr(other, "whole", other) is getattr(atom, "whole", atom)
                    and ranges != part
                    and not _apart(ranges, part)
                ):
                    raise Refused("overlapping slices of units")
            if key not in self.parts:
                self.parts[key] = self._other(atom, part)
            terms[self.parts[key]] = a
        return Random(x.axes, x.offset, terms, status=x.status, law=x.law, own=lambda: x.cov)

    def _other(self, atom: Any, part: tuple[Any, ...]) -> Any:
        if isinstance(atom, Root):
            whole = Root((atom.key, part), atom.var, atom.whole.use, atom.whole.size, atom.normal)
            return whole if atom.whole is atom else whole.selected(atom.at)
        if isinstance(atom, Function):
            return Function(self.other_units(atom.base, part), atom.node)
        raise Refused("a slice of units of what is no function of one Gaussian")


def _key(site: Any, inputs: Sequence[Any]) -> Any:
    """What is the same of two equations that compute the same."""
    params = tuple((name, str(value)) for name, value in sorted(site.params.items()))
    return site.primitive, params, tuple(atom.aval for atom in site.equation.outvars), tuple(map(_identity, inputs))


def _identity(x: Any) -> Any:
    if isinstance(x, Weight):
        return x
    if isinstance(x, Random) or jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.extended):
        return id(x)
    numbers = np.asarray(x)
    return numbers.dtype.name, numbers.shape, hashlib.sha1(numbers.tobytes(), usedforsecurity=False).digest()


def _apart(first: tuple[Any, ...], then: tuple[Any, ...]) -> bool:
    """Whether two slices have no unit in common."""
    return any(
        axis == other and (end <= start or stop <= begin) for axis, begin, end in first for other, start, stop in then
    )
