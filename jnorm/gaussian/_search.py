"""Zeros of what has no inverse: sign changes on a grid, bisected, and moved by Newton's rule for their derivatives."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnorm.gaussian._panels import REACH
from jnorm.gaussian._terms import MOST, Meeting, Term, Unreadable, ancestors, computed, number

FAR = 1e6  # how far from zero a search goes whose program holds numbers alone
GUARD = 16.0  # beyond it a jump is looked at before it is believed
GRID = 8193
LANE_GRID = 255
LANE_ROOTS = 7  # that a search within the program finds


def is_known(meeting: Meeting) -> bool:
    """Whether everything in a difference but the variable is a number that is known while Python runs."""
    return are_known([meeting.first, meeting.second])


def are_known(parts: Sequence[Any]) -> bool:
    """Whether all numbers in terms are known, and the same in every lane."""
    inputs = [part for term in ancestors(parts) for part in term.inputs]
    return all(number(part) is not None for part in (*inputs, *parts) if not isinstance(part, Term))


def difference(meeting: Meeting) -> Callable[[jax.Array], jax.Array]:
    """The difference as a function of the points."""

    def gap(z: jax.Array) -> jax.Array:
        first, second = computed([meeting.first, meeting.second], z)
        return jnp.asarray(first - second, z.dtype)

    return gap


def _hosted(f: Callable[[jax.Array], Any], points: Any) -> Callable[[np.ndarray], Any]:
    """A function of points, whose lanes are all the same, as one of any vector of NumPy."""
    lanes = math.prod(points.shape)
    run = jax.jit(jax.vmap(f))

    def at(z: np.ndarray) -> Any:
        rows = -(-len(z) // lanes)
        padded = np.zeros(rows * lanes, points.dtype)
        padded[: len(z)] = z
        flat = lambda a: np.asarray(a).reshape(-1)[: len(z)]
        return jax.tree.map(flat, run(padded.reshape(rows, *points.shape)))

    return at


def zeros(meeting: Meeting, points: Any) -> list[float]:
    """The zeros of a known difference between minus and plus `FAR`."""
    end, eps = math.asinh(FAR), float(np.finfo(points.dtype).eps)
    grid = np.sinh(np.linspace(-end, end, GRID)).astype(points.dtype)
    with jax.ensure_compile_time_eval():
        gap = _hosted(difference(meeting), points)
        low, high = _brackets(grid, gap(grid))
        if len(low) > MOST:
            raise Unreadable(f"it jumps more than {MOST} times", site_of(meeting))
        below = np.sign(gap(low))
        while len(low):
            middle = low + (high - low) / 2
            if np.all((middle == low) | (middle == high) | (high - low <= 1e-4 * eps)):
                break
            same = np.sign(gap(middle)) == below
            low, high = np.where(same, middle, low), np.where(same, high, middle)
    return [float(z) if abs(z) > 1e-3 * eps else 0.0 for z in high]


def without_guards(results: Sequence[Any], numbers: set[float], points: Any) -> set[float]:
    """Without places far out at which nothing happens: where a smooth function guards against overflow.

    There it is continued by other operations: value and slope are the same on either side.
    """
    numbers = {at for at in numbers if abs(at) < FAR}
    far = sorted(at for at in numbers if abs(at) > GUARD)
    outputs = [part for part in _alone(results) if jnp.issubdtype(part.dtype, jnp.floating)]
    if not far or not are_known(outputs):
        return numbers
    eps = float(np.finfo(points.dtype).eps)

    def jet(z: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        return jax.jvp(lambda z: computed(outputs, z), (z,), (jnp.ones_like(z),))

    at, near = np.array(far), np.linspace(-4, 4, 17)
    step = math.sqrt(eps) * np.abs(at)
    with jax.ensure_compile_time_eval():
        values, slopes = _hosted(jet, points)(np.concatenate([at - step, at + step, near]))
    n, kept = len(at), np.zeros(len(at), bool)
    for value, slope in zip(values, slopes, strict=True):
        size = 1e-6 * np.nanmax(np.abs(slope[2 * n :]))
        turn = np.abs(slope[n : 2 * n] - slope[:n])
        jump = np.abs(value[n : 2 * n] - value[:n] - step * (slope[n : 2 * n] + slope[:n]))
        kept |= ~((turn <= size) & (jump <= size + 8 * eps * np.abs(value[:n])))
    return numbers - set(at[~kept])


def _alone(results: Sequence[Any]) -> list[Term]:
    """Of results the parts that no variable enters which is integrated elsewhere, as large as they are."""
    mixed = [part for term in ancestors(results) if term.other for part in term.inputs]
    parts = {id(part): part for part in (*results, *mixed) if isinstance(part, Term) and not part.other}
    return list(parts.values())


def site_of(meeting: Meeting) -> Any:
    """Where the first of the two terms is computed."""
    return next((term.site for term in (meeting.first, meeting.second) if isinstance(term, Term)), None)


def _brackets(grid: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of points between which the sign changes; none across what is not defined."""
    kept = np.flatnonzero(values != 0)  # NaN among them
    signs = np.sign(values[kept])
    turns = np.flatnonzero(signs[1:] * signs[:-1] < 0)
    return grid[kept[turns]], grid[kept[turns + 1]]


def lane_zeros(meeting: Meeting, points: Any, mean: jax.Array, scale: jax.Array) -> jax.Array:
    """The zeros within the reach of each lane, ``[LANE_ROOTS, *shape]``: infinite where there are fewer, NaN if more.

    Their derivatives by what the program holds follow from Newton's rule, right up to the third.
    """
    program = jax.make_jaxpr(difference(meeting))(points)

    def gap(consts: Any, z: jax.Array) -> jax.Array:
        return jax.core.eval_jaxpr(program.jaxpr, consts, z[None])[0][0]

    still = lax.stop_gradient
    fixed = [still(const) for const in program.consts]
    middle, width = still(mean), still(scale)
    start = -REACH * jnp.ones_like(middle)
    sign = lambda x: jnp.sign(gap(fixed, middle + width * x))
    none = jnp.full((LANE_ROOTS, *middle.shape), jnp.inf, middle.dtype)
    slots = jnp.arange(LANE_ROOTS, dtype=jnp.int32).reshape(-1, *(1,) * middle.ndim)

    def step(carry: Any, x: jax.Array) -> tuple[Any, None]:
        before, last, low, high, found = carry
        now = sign(x)
        crossed = (before * now < 0)[None] & (slots == found[None])
        low, high = jnp.where(crossed, last[None], low), jnp.where(crossed, x, high)
        found = found + (before * now < 0).astype(found.dtype)
        keep = now == 0
        return (jnp.where(keep, before, now), jnp.where(keep, last, x), low, high, found), None

    grid = jnp.linspace(-REACH, REACH, LANE_GRID, dtype=middle.dtype)[1:]
    counted = jnp.zeros(middle.shape, jnp.int32)
    (_, _, low, high, found), _ = lax.scan(step, (sign(start), start, none, none, counted), grid)
    there = slots < found[None]
    low, high = (jnp.where(there, end, 0.0) for end in (low, high))
    signs = jax.vmap(sign)
    below = signs(low)

    def halve(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        half = (low + high) / 2
        same = signs(half) == below
        return jnp.where(same, half, low), jnp.where(same, high, half)

    bits = int(jnp.finfo(middle.dtype).nmant) + 8
    low, high = lax.fori_loop(0, bits, halve, (low, high))
    z = still(middle[None] + width[None] * (low + high) / 2)
    for _ in range(2):
        z = z - jax.vmap(lambda z: _newton(lambda z: gap(program.consts, z), z))(z)
    z = jnp.where(there, z, jnp.inf)
    return jnp.where(found[None] > LANE_ROOTS, jnp.nan, z)


def _newton(gap: Callable[[jax.Array], jax.Array], z: jax.Array) -> jax.Array:
    """A step to the zero that is next to ``z``; none at a pole or a jump."""
    value, slope = jax.jvp(gap, (z,), (jnp.ones_like(z),))
    good = jnp.isfinite(value) & jnp.isfinite(slope) & (slope != 0)
    step = jnp.where(good, value, 0.0) / jnp.where(good, slope, 1.0)
    near = jnp.abs(lax.stop_gradient(step)) <= 1e-3 * (1 + jnp.abs(lax.stop_gradient(z)))
    return jnp.where(near, step, 0.0)
