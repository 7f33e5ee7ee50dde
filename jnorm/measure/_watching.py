"""Going through a program with probes: what a probe takes of a value and of its cotangent, and where it puts it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jnorm import jaxprs
from jnorm._ground import checks
from jnorm.measure._calls import Call
from jnorm.measure._choice import Measure, of_spot
from jnorm.measure._places import Spot
from jnorm.measure._slopes import argument, slope
from jnorm.measure.quantities import OfSlope

Row = dict[str, jax.Array]
Named = tuple[tuple[str, Callable[[jax.Array], Any]], ...]

_TAKEN = ""
"""In a slot, beside the measures: how often the branch was taken that it is in."""


class Probe:
    """What is measured at a spot.

    Attributes:
        name: The name of the place.
        site: The equation.
        differentiable: Whether its value has a cotangent.
        optional: Whether it is in a branch.
    """

    def __init__(self, spot: Spot, asked: Mapping[str, Measure], every: Sequence[int]) -> None:
        around = [site.primitive for site in spot.site.around]
        self.name, self.site, self._output = spot.place.name, spot.site, spot.output or 0
        self.differentiable = jaxprs.CUSTOM.isdisjoint(around) and "while" not in around
        self.optional = "cond" in around
        mine = of_spot(spot, asked)
        self._of_value: Named = tuple((name, m) for name, m in mine.items() if not isinstance(m, OfSlope))
        self._of_slope: Named = tuple((name, m.function) for name, m in mine.items() if isinstance(m, OfSlope))
        self._bent = argument(spot.site) or 0
        strides = iter(every)
        self._strides = [None if n is None else next(strides, 1) for n in spot.place.loops]
        self._rows = tuple(-(-n // k) for n, k in zip(spot.place.loops, self._strides, strict=True) if n and k)

    @cached_property
    def _shapes(self) -> tuple[Row, Row]:
        aval: Any = self.site.equation.outvars[self._output].aval
        like = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        return jax.eval_shape(lambda x: (_taken(self._of_value, x), _taken(self._of_slope, x)), like)

    def values(self) -> Row:
        """Where the measures go, NaN before."""
        of_value, of_slope = self._shapes
        return self._filled({**of_value, **of_slope}, jnp.nan)

    def slots(self) -> Row:
        """Zeros whose cotangents are the measures of the value's cotangent."""
        shapes: dict[str, Any] = dict(self._shapes[0])
        if self.optional:
            shapes[_TAKEN] = jax.ShapeDtypeStruct((), jnp.float32)
        return self._filled(shapes, 0.0)

    def cotangents(self, of_slots: Row) -> Row:
        """What was measured, of the cotangents of the slots."""
        rest = {name: row for name, row in of_slots.items() if name != _TAKEN}
        if not self.optional:
            return rest
        taken = of_slots[_TAKEN] > 0
        spread = lambda row: taken.reshape(taken.shape + (1,) * (row.ndim - taken.ndim))
        return {name: jnp.where(spread(row), row, jnp.nan) for name, row in rest.items()}

    def tap(self, out: list[Any], slots: Row, turns: Sequence[Any]) -> list[Any]:
        """The outputs, with the value's cotangent measured into the slots."""
        row, due = self._turn(turns)
        slot = {name: buffer[row] for name, buffer in slots.items()}
        return [_tap(self._of_value, x, slot, due) if i == self._output else x for i, x in enumerate(out)]

    def record(self, buffers: Row, out: Sequence[Any], inputs: Sequence[Any], turns: Sequence[Any]) -> Row:
        """The buffers with what is measured of an equation's outputs, in a turn that counts."""
        row, due = self._turn(turns)
        x, given = lax.stop_gradient((out[self._output], list(inputs)))

        def measured() -> Row:
            found = _taken(self._of_value, x)
            if self._of_slope:
                found |= _taken(self._of_slope, slope(self.site, self._bent, given))
            return {name: buffers[name].at[row].set(value) if row else value for name, value in found.items()}

        return measured() if due is None else lax.cond(due, measured, lambda: buffers)

    def _turn(self, turns: Sequence[Any]) -> tuple[tuple[Any, ...], Any]:
        """The row of the turn, and whether it counts; None where each does."""
        pairs = [(turn, k) for turn, k in zip(turns, self._strides, strict=True) if k is not None]
        due = [turn % k == 0 for turn, k in pairs if k > 1]
        return tuple(turn // k for turn, k in pairs), jnp.stack(due).all() if due else None

    def _filled(self, shapes: Mapping[str, Any], fill: float) -> Row:
        return {name: jnp.full((*self._rows, *like.shape), fill, like.dtype) for name, like in shapes.items()}


def run(call: Call, probes: Mapping[tuple[int, ...], Probe], slots: Mapping[str, Row], args: Sequence[Any]) -> Any:
    """The outputs of a call, flat, and the measures of its values."""
    around = {index[:n] for index in probes for n in range(1, len(index))}

    def hook(site: jaxprs.Site, state: dict[str, Row], *inputs: Any) -> tuple[list[Any], dict[str, Row]]:
        out = site.run(*inputs)
        probe = probes.get(site.index)
        if probe is None:
            return out, state
        state = {**state, probe.name: probe.record(state[probe.name], out, inputs, site.turns)}
        if probe.name in slots:
            out = probe.tap(out, slots[probe.name], site.turns)
        return out, state

    empty = {probe.name: probe.values() for probe in probes.values()}
    return jaxprs.thread(call.program, empty, *args, hook=hook, opens=lambda site: site.index in around)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tap(measures: Named, x: jax.Array, slot: Row, due: Any) -> jax.Array:
    """``x``; its cotangent is measured, and what is measured is the cotangent of the slot."""
    return x


def _tap_forward(measures: Named, x: jax.Array, slot: Row, due: Any) -> tuple[jax.Array, tuple[Row, Any]]:
    return x, (slot, due)


def _tap_backward(measures: Named, kept: tuple[Row, Any], cotangent: jax.Array) -> tuple[jax.Array, Row, None]:
    slot, due = kept

    def measured() -> Row:
        counted = {_TAKEN: jnp.ones_like(slot[_TAKEN])} if _TAKEN in slot else {}
        return {**_taken(measures, cotangent), **counted}

    found = measured() if due is None else lax.cond(due, measured, lambda: jax.tree.map(jnp.zeros_like, slot))
    return cotangent, found, None


_tap.defvjp(_tap_forward, _tap_backward)


def _taken(measures: Named, x: jax.Array) -> Row:
    """What is measured, as floating arrays."""
    found = {name: jnp.asarray(measure(x)) for name, measure in measures}
    real = lambda value: jnp.issubdtype(value.dtype, jnp.floating)
    return {name: v if real(v) else v.astype(checks.wide(x.dtype)) for name, v in found.items()}
