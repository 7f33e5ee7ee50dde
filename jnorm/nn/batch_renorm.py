"""Batch renormalization: batch norm whose training output is close to its evaluation output, for small batches.

Parameters, state and evaluation are those of `jnorm.nn.batch_norm`, and so are masks, members and singular points, as
its docstring says.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn._axes import axes_of, floating, other_axes
from jnorm.nn._masks import mask_like, tamed
from jnorm.nn._moments import moments
from jnorm.nn._normalizing import normalize
from jnorm.nn._params import Params, broadcast_params
from jnorm.nn._running import State, broadcast_state, init, or_running, update
from jnorm.nn._scaling import inverse_root, scale_and_shift

__all__ = [
    "apply",
    "init",
    "schedule",
]


def apply(
    params: Params,
    state: State,
    x: ArrayLike,
    *,
    train: bool,
    r_max: ArrayLike = 3.0,
    d_max: ArrayLike = 5.0,
    decay: ArrayLike = 0.99,
    eps: ArrayLike = 1e-5,
    axis: int | Sequence[int] = -1,
    axis_name: Any = None,
    mask: ArrayLike | None = None,
    unbiased: bool = True,
) -> tuple[jax.Array, State]:
    """``y = ((x - mean_B) / sigma_B * r + d) * scale + shift`` while training, and the next state.

        r = clip(sigma_B / sigma, 1 / r_max, r_max),   d = clip((mean_B - mean) / sigma, -d_max, d_max)

    with the batch's ``mean_B`` and ``sigma_B = sqrt(var_B + eps)`` and the state's ``mean`` and ``sigma`` before this
    batch; ``r`` and ``d`` carry no gradient. Within the bounds y is what evaluation would give. ``r_max=1, d_max=0`` is
    batch norm, and so is a state without an update (count 0), whose statistics say nothing yet. The paper averages
    sigma, this the variance.

    Args:
        params: Scale and shift, of the features' shape.
        state: Running statistics, of the features' shape.
        x: Floating input of any shape that has the feature axes.
        train: Whether to normalize by the batch and move the state; otherwise batch norm's evaluation.
        r_max: Bound of the factor r, at least 1; may be traced, so that `schedule` may drive it.
        d_max: Bound of the offset d, not negative; likewise.
        decay: How much of the state stays at an update, in [0, 1).
        eps: Added to both variances, not negative.
        axis: The feature axis, or several.
        axis_name: Mapped axis, or `jnorm.nn.batch_norm.Groups`, whose members share their statistics.
        mask: Which entries count; None for all.
        unbiased: Whether the state takes n/(n - 1) times the variance of the batch, as the paper does; y never does.

    Returns:
        ``y``, in the shape and dtype of ``x``, and the state, which moves as that of `jnorm.nn.batch_norm.apply`.

    Raises:
        TypeError: As `jnorm.nn.batch_norm.apply`.
        ValueError: As there, and for ``r_max < 1`` and ``d_max < 0``.

    Source: Ioffe 2017 (arXiv 1702.03275), algorithm 1.

    >>> params, state = init(1)
    >>> state = State(jnp.array([1.0]), jnp.array([4.0]), jnp.array(jnp.inf))
    >>> y, _ = apply(params, state, jnp.array([[2.0], [4.0]]), train=True, eps=0.0)
    >>> y.tolist()  # (x - 1) / 2, as in evaluation
    [[0.5], [1.5]]
    """
    x = floating(x)
    features = axes_of(x, axis)
    mask = mask_like(x, mask, features)
    checks.require(lambda d: (d >= 0) & (d < 1), "`{}` must satisfy 0 <= {} < 1", decay=decay)
    checks.require(lambda r: r >= 1, "`{}` must satisfy {} >= 1", r_max=r_max)
    checks.require(lambda d: d >= 0, "`{}` must satisfy {} >= 0", d_max=d_max, eps=eps)
    running = broadcast_state(state, x, features)
    if not train:
        return normalize(params, running.mean, running.var, tamed(x, mask), eps=eps, axes=features), state

    batch = moments(x, other_axes(x, features), mask=mask, axis_name=axis_name)
    new = update(state, batch, freedom=batch.count - 1 if unbiased else None, decay=decay)
    batch, known = or_running(batch, running), running.count > 0
    wide = batch.var.dtype
    eps, r_max, d_max = (jnp.asarray(v, wide) for v in (eps, r_max, d_max))
    inverse = lax.rsqrt(running.var + eps)
    r = jnp.clip(jnp.sqrt(batch.var + eps) * inverse, 1 / r_max, r_max)
    d = jnp.clip((batch.mean - running.mean) * inverse, -d_max, d_max)
    r, d = lax.stop_gradient((jnp.where(known, r, 1), jnp.where(known, d, 0)))
    scale, shift = broadcast_params(params, x, features)
    y = scale_and_shift(tamed(x, mask), batch.mean, inverse_root(batch.var + eps) * r * scale, d * scale + shift)
    return y, new


def schedule(
    step: ArrayLike,
    *,
    start: ArrayLike = 5_000,
    r_stop: ArrayLike = 40_000,
    d_stop: ArrayLike = 25_000,
    r_max: ArrayLike = 3.0,
    d_max: ArrayLike = 5.0,
) -> tuple[jax.Array, jax.Array]:
    """The bounds at a training step, ``(r_max, d_max)``: batch norm first, then relaxed linearly.

    (1, 0) up to ``start``; from there linearly to ``r_max`` at step ``r_stop`` and to ``d_max`` at ``d_stop``. The
    defaults are the paper's, for ImageNet with 130 000 steps; scale the three steps to the length of the training.

    Args:
        step: The step, or an array of steps; may be traced.
        start: The last step of batch norm.
        r_stop: The step at which r has its full bound.
        d_stop: The step at which d has its full bound.
        r_max: The full bound of r, at least 1.
        d_max: The full bound of d, not negative.

    Returns:
        The two bounds, each of the shape of ``step``.

    Raises:
        ValueError: For ``r_max < 1``, ``d_max < 0``, and stops that are not after ``start``.

    Source: Ioffe 2017, section 4.

    >>> [[round(float(v), 3) for v in schedule(s)] for s in (0, 15_000, 25_000, 40_000)]
    [[1.0, 0.0], [1.571, 2.5], [2.143, 5.0], [3.0, 5.0]]
    """
    checks.require(lambda r: r >= 1, "`{}` must satisfy {} >= 1", r_max=r_max)
    checks.require(lambda d: d >= 0, "`{}` must satisfy {} >= 0", d_max=d_max)
    if not isinstance(start, jax.Array):
        checks.require(lambda s: s > start, f"`{{}}` must satisfy {{}} > start = {start}", r_stop=r_stop, d_stop=d_stop)

    def ramp(stop: ArrayLike) -> jax.Array:
        since = jnp.asarray(step, float) - jnp.asarray(start, float)
        return jnp.clip(since / (jnp.asarray(stop, float) - jnp.asarray(start, float)), 0, 1)

    return 1 + (jnp.asarray(r_max, float) - 1) * ramp(r_stop), jnp.asarray(d_max, float) * ramp(d_stop)
