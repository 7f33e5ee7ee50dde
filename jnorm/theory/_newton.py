"""Damped Newton on a layer map, for all lanes together, and the derivative of where it ends: one program."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm.theory._lifting import lift
from jnorm.theory._parts import MomentMap, Moments, cast


class FixedPoint(NamedTuple):
    """What `solve` found, arrays of one shape.

    Attributes:
        point: The fixed points, NaN in the lanes that have not converged.
        converged: Whether the residual is within the tolerance.
        residual: The relative distance of the best point from its image.
        steps: Points tried after the start.
    """

    point: Moments
    converged: jax.Array
    residual: jax.Array
    steps: jax.Array


class _Descent(NamedTuple):
    """Where the lanes of the Newton iteration stand, arrays of one shape.

    Attributes:
        x: The best points so far.
        image: What the map makes of them.
        step: The steps that they would take, in ``(mean / sd, log(var))``.
        merit: The squared gap between point and image, which a step shall reduce.
        residual: The relative gap, by which a point is judged.
        damping: The share of the step that is tried next.
        straight: Whether the mean goes straight in that try, instead of following the standard deviation.
        active: Whether the lane goes on.
        steps: Points tried after the start.
    """

    x: Moments
    image: Moments
    step: Moments
    merit: jax.Array
    residual: jax.Array
    damping: jax.Array
    straight: jax.Array
    active: jax.Array
    steps: jax.Array


@partial(jax.jit, static_argnames="like")
def newton(
    layer_map: MomentMap, start: Moments, like: jax.ShapeDtypeStruct, tol: jax.Array, max_steps: jax.Array
) -> tuple[FixedPoint, jax.Array]:
    """`solve`, and the size of Newton's next step: an estimate of the point's error."""
    f, x = lift(layer_map, start, like)
    limit, last_step = jnp.asarray(tol, x.mean.dtype), jnp.asarray(max_steps).astype(int)

    def search(_: Any, x: Moments) -> tuple[Moments, tuple[jax.Array, ...]]:
        last = _descend(f, x, limit, last_step)
        # A lane without a root still passes through the derivative rule: rest it where the map is harmless, so that its
        # zero cotangent does not turn into NaN for the parameters that it shares with other lanes.
        usable = jnp.isfinite(x.mean) & jnp.isfinite(x.var) & (x.var > 0)
        harmless = Moments(jnp.where(usable, x.mean, 0), jnp.where(usable, x.var, 1))
        error = jnp.maximum(jnp.abs(last.step.mean), jnp.abs(last.step.var))
        return _where(last.residual <= limit, last.x, harmless), (last.residual, last.steps, error)

    def gap(x: Moments) -> Moments:
        y = f(x)
        return Moments(y.mean - x.mean, y.var - x.var)

    def solve_tangent(g: MomentMap, y: Moments) -> Moments:
        one, zero = jnp.ones_like(y.mean), jnp.zeros_like(y.mean)
        return _solve_2x2(g(Moments(one, zero)), g(Moments(zero, one)), y)

    root, (residual, steps, error) = jax.lax.custom_root(gap, x, search, solve_tangent, has_aux=True)
    converged = residual <= limit
    nowhere = jnp.full_like(residual, jnp.nan)
    point = cast(_where(converged, root, Moments(nowhere, nowhere)), like.dtype)
    return FixedPoint(point, converged, residual.astype(like.dtype), steps.astype(jnp.int32)), error


def _descend(f: MomentMap, x: Moments, tol: jax.Array, max_steps: jax.Array) -> _Descent:
    """Damped Newton from ``x`` for all lanes together, until none is active."""
    floor = 8 * jnp.finfo(x.mean.dtype).eps  # below the rounding of most maps
    zero, one, far = jnp.zeros_like(x.mean), jnp.ones_like(x.mean), jnp.full_like(x.mean, jnp.inf)

    def advance(state: _Descent) -> _Descent:
        x, sd = state.x, jnp.sqrt(state.x.var)
        shift, log_grow = state.damping * state.step.mean * sd, state.damping * state.step.var / 2
        # Two paths with Newton's tangent: on the first the mean follows sd, on the second it goes straight.
        grow = jnp.exp(log_grow)
        mean = jnp.where(state.straight, x.mean * (1 + log_grow) + shift, grow * (x.mean + shift))
        trial = Moments(mean, grow**2 * x.var)
        image, step, merit, residual = _newton_step(f, trial)
        first, close = state.steps < 0, state.residual <= tol
        better = state.active & (first | (merit < (1 - 1e-4 * state.damping) * state.merit))
        # Far off, where even short steps fail, the map itself goes on; close by, a lane goes on while it gains, to
        # leave the flat valley between two near points, and at the floor only while it gains at Newton's rate.
        jump = state.active & ~better & ~close & (state.damping < 0.25)
        kept = jnp.where(better, merit, state.merit)
        go_on = jnp.isfinite(kept) & (kept > 0) & (better | ~close | (state.damping > 2.0**-8))
        go_on &= (state.residual > floor) | (merit < state.merit / 4)
        return _Descent(
            _where(jump, state.image, _where(better, trial, x)),
            _where(better, image, state.image),
            _where(jump, Moments(zero, zero), _where(better, step, state.step)),
            jnp.where(jump, far, kept),
            jnp.where(better, residual, state.residual),
            jnp.where(jump, 1, jnp.where(better, jnp.minimum(1, 4 * state.damping), state.damping / 2)),
            jnp.where(better, state.straight, ~state.straight) & ~jump,
            state.active & go_on,
            jnp.where(state.active, state.steps + 1, state.steps),
        )

    # The first turn takes a null step, to ``x`` itself: so the map is compiled once.
    state = _Descent(x, x, Moments(zero, zero), far, far, one, zero > 0, zero == 0, -one)
    turns = (jnp.zeros((), int), state)
    return jax.lax.while_loop(
        lambda c: (c[0] <= max_steps) & jnp.any(c[1].active), lambda c: (c[0] + 1, advance(c[1])), turns
    )[1]


def _newton_step(f: MomentMap, x: Moments) -> tuple[Moments, Moments, jax.Array, jax.Array]:
    """The map, Newton's step in ``(mean / sd, log(var))``, the squared gap that it shall reduce, and the residual."""
    sd, zero = jnp.sqrt(x.var), jnp.zeros_like(x.var)
    y, push = jax.linearize(f, x)
    a, b = push(Moments(sd, zero)), push(Moments(x.mean / 2, x.var))
    gap = Moments((y.mean - x.mean) / sd, jnp.log(y.var / x.var))
    step = _solve_2x2(
        Moments(1 - a.mean / sd, -a.var / y.var), Moments((y.mean / 2 - b.mean) / sd, 1 - b.var / y.var), gap
    )
    # A singular system has no Newton step: take the map's own.
    step = _where(jnp.isfinite(step.mean) & jnp.isfinite(step.var), step, gap)
    # Far from any point the system may be close to singular: keep the step to the scale of the point and of its image.
    cut = jnp.minimum(1, 2 / jnp.abs(step.var))
    cut = jnp.minimum(cut, 2 * (1 + jnp.abs(gap.mean)) / jnp.abs(step.mean))
    residual = jnp.maximum(jnp.abs(y.mean - x.mean) / jnp.sqrt(x.var + x.mean**2), jnp.abs(y.var / x.var - 1))
    return y, Moments(cut * step.mean, cut * step.var), gap.mean**2 + gap.var**2, residual


def _solve_2x2(a: Moments, b: Moments, y: Moments) -> Moments:
    """``x`` with ``a x.mean + b x.var = y``: Cramer's rule, which no choice of units for mean and variance changes."""
    det = a.mean * b.var - b.mean * a.var
    return Moments((y.mean * b.var - b.mean * y.var) / det, (a.mean * y.var - y.mean * a.var) / det)


def _where(mask: jax.Array, x: Moments, y: Moments) -> Moments:
    """`jnp.where` for both parts."""
    return Moments(*(jnp.where(mask, a, b) for a, b in zip(x, y, strict=True)))
