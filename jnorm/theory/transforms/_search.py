"""Newton's iteration for the Gaussian that an activation has to see, for some starts together: one program."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm._ground import callables
from jnorm.theory.transforms._laws import LANES, Law, Measured, linearized

TOLERANCE = 1e-9
"""Of what a residual measures: relative errors of differences, which are themselves small. The iteration goes on below
it, as long as it gains."""
TURNS, LATE = 48, 2  # turns of the iteration; of them after the first lane has converged
LONGEST = 1.5, 4.0  # steps, in mean / sd and log var
Residual = Callable[[Law], tuple[Any, Any]]
"""Two numbers for each lane that shall be zero; a function of a module, whose numbers `functools.partial` binds."""


class Found(NamedTuple):
    """Where lanes ended, ``[lane]``.

    Attributes:
        law: What the activation makes of ``u`` there.
        gap: The larger of both residuals, without sign.
    """

    law: Law
    gap: np.ndarray

    @property
    def converged(self) -> np.ndarray:
        """Whether the residuals are zero to the tolerance."""
        return self.gap <= TOLERANCE


class _Step(NamedTuple):
    """What is known at some points, ``[lane]``.

    Attributes:
        law: What the activation makes of them.
        step: What Newton adds to ``mean / sd`` and ``log var``.
        merit: The sum of squares of the residuals, which a step shall reduce; infinite where there are none.
        gap: The larger residual.
    """

    law: Law
    step: tuple[jax.Array, jax.Array]
    merit: jax.Array
    gap: jax.Array


class _State(NamedTuple):
    """Where the lanes stand: the best points so far, and what to try next.

    Attributes:
        best: They.
        damping: The share of the step that is tried next, ``[lane]``.
        turn: Turns taken.
        since: Turns since a lane has converged.
    """

    best: _Step
    damping: jax.Array
    turn: jax.Array
    since: jax.Array


def newton(measured: Measured, residual: Residual, starts: Sequence[tuple[float, float]]) -> Found:
    """Damped Newton in ``(mean / sd, log var)`` from `LANES` starts ``(mean, sd)``."""
    mean, sd = np.array(starts, float).T
    return Found(*jax.tree.map(np.asarray, _search(measured, callables.wrap(residual), mean, sd * sd)))


@jax.jit
def _search(measured: Measured, residual: Residual, mean: jax.Array, var: jax.Array) -> tuple[Law, jax.Array]:
    def advance(state: _State) -> _State:
        (mean, var), (shift, grow) = state.best.law.at, (state.damping * part for part in state.best.step)
        new = _step(measured, residual, mean + shift * jnp.sqrt(var), var * jnp.exp(grow))
        better = (state.turn == 0) | (new.merit < (1 - 1e-4 * state.damping) * state.best.merit)
        kept: _Step = jax.tree.map(partial(jnp.where, better), new, state.best)
        damping = jnp.where(better, jnp.minimum(1, 4 * state.damping), state.damping / 2)
        return _State(kept, damping, state.turn + 1, state.since + jnp.any(kept.gap <= TOLERANCE).astype(int))

    def goes_on(state: _State) -> jax.Array:
        alive = (state.turn == 0) | jnp.any(jnp.isfinite(state.best.merit) & (state.damping > 2.0**-12))
        return (state.turn < TURNS) & (state.since <= LATE) & alive

    zero, far, none = jnp.zeros(LANES), jnp.full(LANES, jnp.inf), jnp.zeros((), int)
    blank = Law((mean, var), zero, zero, (zero, zero), (zero, zero), zero, zero)
    begin = _Step(blank, (zero, zero), far, far)
    last = jax.lax.while_loop(goes_on, advance, _State(begin, jnp.ones(LANES), none, none)).best
    return last.law, last.gap


def _step(measured: Measured, residual: Residual, mean: jax.Array, var: jax.Array) -> _Step:
    law, push = linearized(measured, mean, var)
    along = partial(jax.jvp, residual, (law,))
    zero = jnp.zeros(LANES)
    ((e, f), (a, c)), (_, (b, d)) = along((push(jnp.sqrt(var), zero),)), along((push(zero, var),))
    det = a * d - b * c
    step = (b * f - d * e) / det, (c * e - a * f) / det
    cut = 1 / jnp.maximum(1, jnp.maximum(*(jnp.abs(part) / limit for part, limit in zip(step, LONGEST, strict=True))))
    known = jnp.isfinite(e + f) & jnp.isfinite(step[0] + step[1])
    merit, gap = (jnp.where(known, part, jnp.inf) for part in (e * e + f * f, jnp.maximum(jnp.abs(e), jnp.abs(f))))
    shift, grow = (jnp.where(known, cut * part, 0.0) for part in step)
    return _Step(law, (shift, grow), merit, gap)
