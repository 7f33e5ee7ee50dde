"""Where the iteration of a map of positive numbers stays, for all lanes together, and how fast it gets there."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Scalar = Callable[[jax.Array], jax.Array]
"""A map of positive numbers, lane by lane."""


class DepthScales(NamedTuple):
    """Layers after which a deviation has fallen by a factor of e, arrays of one shape.

    Attributes:
        length: Of the variance from the one that stays, ``xi_q``.
        correlation: Of the correlation of two inputs from the one that stays, ``xi_c``.
    """

    length: jax.Array
    correlation: jax.Array


class _Search(NamedTuple):
    """Where the lanes stand, arrays of one shape.

    Attributes:
        q: The point.
        gap: ``log(F(q) / q)``.
        rate: Its derivative by ``log q``.
        low: The largest point known to rise.
        high: The smallest point known to fall.
        step: The last step in ``log q``.
        active: Whether the lane goes on.
    """

    q: jax.Array
    gap: jax.Array
    rate: jax.Array
    low: jax.Array
    high: jax.Array
    step: jax.Array
    active: jax.Array


MAX_STEPS = 128


def steady(f: Scalar, start: jax.Array, through_zero: jax.Array) -> jax.Array:
    """The attracting fixed point of ``f`` at which a walk from ``start`` ends; zero or infinity where it gets there.

    Goes the way that the iteration goes, up where ``f(q) > q`` and down where not, by Newton's steps in ``log q``,
    doubled where they fall too slowly and halved into the bracket once there is one. Where every point stays, ``start``
    does. Differentiable by what ``f`` closes over, by the implicit function theorem; derivatives are zero where the
    result is zero or infinite.

    Args:
        f: The map, which keeps the shape and dtype of ``start``.
        start: Where the walk begins, positive.
        through_zero: Whether ``f(0) = 0``.

    Returns:
        The point, NaN where ``f`` gives it at the start or on the way down, and where the walk has no end.
    """
    eps = float(jnp.finfo(start.dtype).eps)
    # The lanes that end nowhere rest where the map is harmless, and their derivative is cut off.
    found = jax.lax.stop_gradient(_walk(f, jax.lax.stop_gradient(start), through_zero))
    usable = (found > 0) & (found < jnp.inf)

    def solve_tangent(g: Callable[[Any], Any], y: Any) -> Any:
        slope = g(jnp.ones_like(y))
        return y / jnp.where(jnp.abs(slope) < eps, jnp.nan, slope)

    gap = lambda q: f(q) - q
    root = jax.lax.custom_root(gap, jnp.where(usable, found, start), lambda _, q: q, solve_tangent)
    return jnp.where(usable, root, found)


def _walk(f: Scalar, start: jax.Array, through_zero: jax.Array) -> jax.Array:
    info = jnp.finfo(start.dtype)
    eps, least, most = float(info.eps), float(info.tiny) * 2.0**20, float(info.max) / 2.0**20

    def advance(s: _Search) -> _Search:
        q = jnp.where(s.active, s.q, start)
        image, push = jax.jvp(f, (q,), (jnp.ones_like(q),))
        gap, rate = jnp.log(image / q), push * q / image - 1
        up = gap > 0
        low, high = jnp.where(up, q, s.low), jnp.where(up, s.high, q)
        side = jnp.where(up, 1.0, -1.0)
        last = jnp.abs(s.step)
        newton = jnp.where(rate < 0, jnp.abs(gap / jnp.where(rate < 0, rate, -1.0)), jnp.inf)
        open_ended = jnp.where(up, high == jnp.inf, low == 0)
        slow = open_ended & (s.step * side > 0) & (newton >= last / 2)
        length = jnp.where(slow, jnp.maximum(newton, 2 * last), newton)
        step = side * jnp.minimum(length, jnp.maximum(2.0, 2 * last))
        trial = q * jnp.exp(step)
        inside = (trial > low) & (trial < high)
        between = jnp.sqrt(jnp.where(open_ended, 1.0, low)) * jnp.sqrt(jnp.where(open_ended, 1.0, high))
        trial = jnp.where(inside | open_ended, trial, between)
        out = (trial < least) | (trial > most)
        done = (jnp.abs(gap) <= 32 * eps) | jnp.isnan(gap) | (high - low <= 2 * eps * low)
        # A step more from a point that is close: Newton's is right to rounding then.
        polished = jnp.where(rate < -1e-3, q * jnp.exp(-gap / jnp.where(rate < 0, rate, -1.0)), q)
        # Rounding, 32 eps in the gap, hides where it would stop: it has come from further on.
        neutral = jnp.abs(rate) <= 512 * eps
        last_point = jnp.where(neutral & (q > start), jnp.inf, polished)
        last_point = jnp.where(neutral & (q < start) & through_zero, 0.0, last_point)
        ended = jnp.where(trial < least, 0.0, jnp.inf)
        lost = jnp.where(s.step > 0, jnp.inf, jnp.nan)  # on the way up it has overflowed
        after = jnp.where(done, jnp.where(jnp.isnan(gap), lost, last_point), jnp.where(out, ended, trial))
        keep = lambda new, old: jnp.where(s.active, new, old)
        return _Search(
            *map(keep, (after, gap, rate, low, high, trial_step(trial, q), ~(done | out)), s),
        )

    def trial_step(trial: jax.Array, q: jax.Array) -> jax.Array:
        return jnp.log(jnp.where((trial > 0) & (trial < jnp.inf), trial / q, 1.0))

    zero = jnp.zeros_like(start)
    first = _Search(start, zero, zero, zero, zero + jnp.inf, zero, ~jnp.isnan(start))
    turns = (jnp.zeros((), int), first)
    body = lambda c: (c[0] + 1, advance(c[1]))
    _, last = jax.lax.while_loop(lambda c: (c[0] < MAX_STEPS) & jnp.any(c[1].active), body, turns)
    return jnp.where(last.active, jnp.nan, last.q)


def scale(slope: jax.Array) -> jax.Array:
    """``1 / |log slope|``, infinite for a slope of one."""
    rate = jnp.abs(jnp.log(jnp.where(slope == 0, 1.0, jnp.abs(slope))))
    neutral = rate <= 8 * jnp.finfo(slope.dtype).eps
    found = 1 / jnp.where(neutral, 1.0, rate)
    return jnp.where(slope == 0, 0.0, jnp.where(neutral, jnp.inf, found))
