"""Going through a program with values held at the sizes that are predicted, so that each row answers for itself."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.measure import quantities

Place = tuple[tuple[int, ...], int, int]
"""An equation's index, how often it had been computed before, and which of its outputs."""

_OPENED = jaxprs.CALLS | {"scan"}
LEAST = -60.0  # logarithm of what is zero


@dataclass(frozen=True, eq=False)
class Held:
    """A program, and the predicted second moments of its rows.

    Attributes:
        program: The program of ``apply(params, x)``.
        numbers: Which row is where.
        values: Roots of the predicted second moments of values [rows]; NaN where none is predicted.
        gradients: The same of gradients.
    """

    program: Any
    numbers: dict[Place, int]
    values: np.ndarray
    gradients: np.ndarray

    @cached_property
    def compiled(self) -> Callable[..., dict[str, jax.Array]]:
        """`measure`, compiled once."""
        return jax.jit(self.measure)

    def measure(self, args: Sequence[Any], key: jax.Array | None) -> dict[str, jax.Array]:
        """Logarithms of measured by predicted second moments [rows].

        Args:
            args: The flat arguments of the program.
            key: For cotangents N(0, 1) of the outputs; ``None``: gradients are not measured.

        Returns:
            ``"free"``, as the program runs; ``"value"``, given that what went in has the predicted size; and
            ``"gradient"``, given that values have, and gradients of all that comes later.
        """
        free, held = (jnp.full(len(self.values), jnp.nan, jnp.float32) for _ in range(2))

        def look(row: int, value: jax.Array) -> jax.Array:
            nonlocal free
            free = free.at[row].set(_ratio(value, self.values[row]))
            return value

        def hold(row: int, value: jax.Array) -> jax.Array:
            nonlocal held
            ratio = _ratio(value, self.values[row])
            held = held.at[row].set(ratio)
            return _divided(value, ratio)

        self._go(args, look, _OPENED)
        self._go(args, hold, _OPENED)
        found = {"free": _log(free), "value": _log(held)}
        if key is not None:
            found["gradient"] = _log(self._backward(args, key))
        return found

    def _backward(self, args: Sequence[Any], key: jax.Array) -> jax.Array:
        seen = np.zeros(len(self.values), bool)

        def outputs(slots: jax.Array) -> list[jax.Array]:
            def hold(row: int, value: jax.Array) -> jax.Array:
                sizes = (float(self.values[row]), float(self.gradients[row]))
                seen[row] = np.isfinite(sizes[1])
                return _held(sizes, value, slots[row]) if seen[row] else value

            out = self._go(args, hold, _OPENED - jaxprs.CUSTOM)
            return [value for value in out if jnp.issubdtype(value.dtype, jnp.floating)]

        out, back = jax.vjp(outputs, jnp.full(len(self.values), jnp.nan, jnp.float32))
        keys = jax.random.split(key, len(out))
        cotangents = [jax.random.normal(k, value.shape, value.dtype) for k, value in zip(keys, out, strict=True)]
        (ratios,) = back(cotangents)
        return jnp.where(seen, ratios, jnp.nan)

    def parents(self) -> list[set[int]]:
        """Of each row the rows that it is computed from, with no other row between."""
        found: list[set[int]] = [set() for _ in self.values]

        def note(row: int, value: Any) -> frozenset[int]:
            found[row] |= _joined([value])
            return frozenset({row})

        leaves = [frozenset[int]()] * len(self.program.jaxpr.invars)
        self._go(leaves, note, _OPENED, run=_union, taken=lambda x, turn: x, stacked=_joined)
        return found

    def _go(
        self,
        args: Sequence[Any],
        touch: Callable[[int, Any], Any],
        opens: Collection[str],
        *,
        run: Callable[..., list[Any]] = jaxprs.Site.run,
        taken: Callable[[Any, int], Any] = lambda x, turn: x[turn],
        stacked: Callable[[Sequence[Any]], Any] = jnp.stack,
    ) -> list[Any]:
        """The outputs, with rows touched; loops are opened turn by turn, as predictions are made."""
        visits: Counter[tuple[int, ...]] = Counter()

        def scan(site: jaxprs.Site, inputs: Sequence[Any]) -> list[Any]:
            params, fixed = site.params, site.params["num_consts"]
            carried = params["num_carry"]
            consts, carry, xs = inputs[:fixed], list(inputs[fixed : fixed + carried]), inputs[fixed + carried :]
            rows = []
            for turn in sorted(range(params["length"]), reverse=params["reverse"]):
                out = site.open(site.bodies[0], *consts, *carry, *(taken(x, turn) for x in xs))
                carry = out[:carried]
                rows.append(out[carried:])
            rows = rows[::-1] if params["reverse"] else rows
            return [*carry, *(stacked(column) for column in zip(*rows, strict=True))]

        def hook(site: jaxprs.Site, *inputs: Any) -> list[Any]:
            turn = visits[site.index]
            visits[site.index] += 1
            if site.primitive not in opens:
                out = run(site, *inputs)
            elif site.primitive == "scan":
                out = scan(site, inputs)
            else:
                out = site.open(site.bodies[0], *inputs)
            numbers = [self.numbers.get((site.index, turn, i)) for i in range(len(out))]
            return [x if row is None else touch(row, x) for row, x in zip(numbers, out, strict=True)]

        return jaxprs.evaluate(self.program, *args, hook=hook, opens=())


def _union(site: jaxprs.Site, *inputs: Any) -> list[Any]:
    return [_joined(inputs)] * len(site.equation.outvars)


def _joined(rows: Sequence[Any]) -> frozenset[int]:
    """The rows that several values come from; numbers come from none."""
    return frozenset[int]().union(*(row for row in rows if isinstance(row, frozenset)))


def _ratio(value: jax.Array, root: float) -> jax.Array:
    """The root of measured by predicted second moment; infinite where the value is not finite."""
    size = quantities.norm(value)
    size = jnp.where(jnp.isnan(size), jnp.inf, size)
    return (size * (1 / (root * np.sqrt(value.size)))).astype(jnp.float32)


def _divided(value: jax.Array, ratio: jax.Array) -> jax.Array:
    """A value at its predicted size; one that is zero or not finite stays."""
    usable = jnp.isfinite(ratio) & (2 * jnp.log(ratio) > LEAST)
    return value * (1 / jnp.where(usable, ratio, 1)).astype(value.dtype)


def _log(ratios: jax.Array) -> jax.Array:
    """Of second moments; infinite where a value is not finite, NaN where none was measured."""
    return jnp.maximum(2 * jnp.log(ratios), LEAST)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _held(roots: tuple[float, float], value: jax.Array, slot: jax.Array) -> jax.Array:
    """The value at its predicted size; so is its cotangent, whose ratio is the cotangent of the slot."""
    return _divided(value, _ratio(value, roots[0]))


def _held_forward(roots: tuple[float, float], value: jax.Array, slot: jax.Array) -> tuple[jax.Array, None]:
    return _held(roots, value, slot), None


def _held_backward(roots: tuple[float, float], kept: None, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    ratio = _ratio(cotangent, roots[1])
    return _divided(cotangent, ratio), ratio


_held.defvjp(_held_forward, _held_backward)
