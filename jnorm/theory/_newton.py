"""Damped Newton on a layer map, for all lanes together: how `jnorm.theory.fixed_points.solve` moves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnorm.theory.moments import LayerMap, Moments


class State(NamedTuple):
    """Where a lane of the Newton iteration stands, what the map makes of it, and the step that it would take."""

    x: Moments
    image: Moments
    step: Moments
    merit: jax.Array
    residual: jax.Array
    damping: jax.Array
    straight: jax.Array
    active: jax.Array
    steps: jax.Array


def descend(f: LayerMap, x: Moments, tol: float, max_steps: int) -> State:
    """Damped Newton from ``x`` for all lanes together, until none is active."""
    floor = 8 * jnp.finfo(x.mean.dtype).eps  # below the rounding of most maps
    zero, one, far = jnp.zeros_like(x.mean), jnp.ones_like(x.mean), jnp.full_like(x.mean, jnp.inf)

    def advance(state: State) -> State:
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
        return State(
            where(jump, state.image, where(better, trial, x)),
            where(better, image, state.image),
            where(jump, Moments(zero, zero), where(better, step, state.step)),
            jnp.where(jump, far, kept),
            jnp.where(better, residual, state.residual),
            jnp.where(jump, 1, jnp.where(better, jnp.minimum(1, 4 * state.damping), state.damping / 2)),
            jnp.where(better, state.straight, ~state.straight) & ~jump,
            state.active & go_on,
            jnp.where(state.active, state.steps + 1, state.steps),
        )

    # The first turn takes a null step, to ``x`` itself: so the map is compiled once.
    state = State(x, x, Moments(zero, zero), far, far, one, zero > 0, zero == 0, -one)
    turns = (jnp.zeros((), int), state)
    return jax.lax.while_loop(
        lambda c: (c[0] <= max_steps) & jnp.any(c[1].active), lambda c: (c[0] + 1, advance(c[1])), turns
    )[1]


def _newton_step(f: LayerMap, x: Moments) -> tuple[Moments, Moments, jax.Array, jax.Array]:
    """The map, Newton's step in ``(mean / sd, log(var))``, the squared gap that it shall reduce, and the residual."""
    sd, zero = jnp.sqrt(x.var), jnp.zeros_like(x.var)
    y, push = jax.linearize(f, x)
    a, b = push(Moments(sd, zero)), push(Moments(x.mean / 2, x.var))
    gap = Moments((y.mean - x.mean) / sd, jnp.log(y.var / x.var))
    step = solve_2x2(
        Moments(1 - a.mean / sd, -a.var / y.var), Moments((y.mean / 2 - b.mean) / sd, 1 - b.var / y.var), gap
    )
    # A singular system has no Newton step: take the map's own.
    step = where(jnp.isfinite(step.mean) & jnp.isfinite(step.var), step, gap)
    # Far from any point the system may be close to singular: keep the step to the scale of the point and of its image.
    cut = jnp.minimum(1, 2 / jnp.abs(step.var))
    cut = jnp.minimum(cut, 2 * (1 + jnp.abs(gap.mean)) / jnp.abs(step.mean))
    residual = jnp.maximum(jnp.abs(y.mean - x.mean) / jnp.sqrt(x.var + x.mean**2), jnp.abs(y.var / x.var - 1))
    return y, Moments(cut * step.mean, cut * step.var), gap.mean**2 + gap.var**2, residual


def solve_2x2(a: Moments, b: Moments, y: Moments) -> Moments:
    """``x`` with ``a x.mean + b x.var = y``: Cramer's rule, which no choice of units for mean and variance changes."""
    det = a.mean * b.var - b.mean * a.var
    return Moments((y.mean * b.var - b.mean * y.var) / det, (a.mean * y.var - y.mean * a.var) / det)


def where(mask: jax.Array, x: Moments, y: Moments) -> Moments:
    """`jnp.where` for both parts."""
    return Moments(*(jnp.where(mask, a, b) for a, b in zip(x, y, strict=True)))
