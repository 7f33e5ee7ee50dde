"""Optax transformations that Optax lacks, to be chained with its own.

Optax has ``scale_by_rss`` (Adagrad's root of a sum of squares), ``scale_by_rms`` and ``ema``, the last two with bias
correction; an average of parameters is `jnorm.train.averages.average_params`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jnorm._ground import checks

__all__ = [
    "ProximalState",
    "proximal_l1",
    "scale_by_root_mean_square",
]


class ProximalState(NamedTuple):
    """What `proximal_l1` keeps.

    Attributes:
        count: Steps so far, for a schedule.
    """

    count: jax.Array  # type: ignore[assignment]  # hides tuple.count


def proximal_l1(learning_rate: optax.ScalarOrSchedule, strength: ArrayLike) -> optax.GradientTransformation:
    """The penalty ``strength * sum |params|`` by its proximal step, after that of the gradient: the last of a chain.

    ``params <- sign(z) max(|z| - learning_rate * strength, 0)`` with z the parameters after the updates. Where the
    gradient of the penalty only makes parameters small, this makes them 0 exactly; behind ``optax.sgd`` it is ISTA, of
    which the minima of loss and penalty are the fixed points. ``optax.masked`` with `jnorm.paths.mask` spares biases.

    Args:
        learning_rate: That of the gradient's step, a number, which may be traced, or a schedule.
        strength: Factor of the penalty; may be traced.

    Returns:
        A transformation of Optax.

    Raises:
        ValueError: ``strength < 0`` or ``learning_rate < 0``; from its update, missing parameters.

    Source: Daubechies, Defrise, De Mol 2004; Beck, Teboulle 2009, eq. 1.4.

    >>> optimizer = optax.chain(optax.sgd(0.1), proximal_l1(0.1, 1.0))
    >>> w = jnp.array([2.0, 0.15])
    >>> updates, _ = optimizer.update(jnp.array([1.0, 1.0]), optimizer.init(w), w)
    >>> optax.apply_updates(w, updates).round(4)  # 1.9 and .05, both nearer to 0 by .1
    Array([1.8, 0. ], dtype=float32)
    """
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", strength=strength)
    if not callable(learning_rate):
        checks.require(lambda r: r >= 0, "`{}` must satisfy {} >= 0", learning_rate=learning_rate)

    def init(params: Any) -> ProximalState:
        del params
        return ProximalState(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: ProximalState, params: Any = None) -> tuple[Any, ProximalState]:
        if params is None:
            raise ValueError("`params` must be given to an update that ends in a proximal step; got None")
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate

        def moved(update: jax.Array, old: jax.Array) -> jax.Array:
            z = old + update
            threshold = jnp.asarray(rate).astype(z.dtype) * jnp.asarray(strength).astype(z.dtype)
            left = jnp.abs(z) - jnp.where(threshold >= 0, threshold, jnp.nan)
            return jnp.where(left <= 0, 0, jnp.sign(z) * left) - old

        return jax.tree.map(moved, updates, params), ProximalState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)


def scale_by_root_mean_square(eps: ArrayLike = 1e-8) -> optax.GradientTransformation:
    """Gradients over the root of the mean of all their squares so far, ``g_t / sqrt((sum_{s <= t} g_s^2 + eps) / t)``.

    Between Adagrad, whose sum never lets a rate rise again, and RMSProp, which forgets: after a long flat stretch the
    mean is small and the first steps are large, up to ``sqrt(t)`` of a usual one. Where all gradients were 0 it is 0.
    Made of Optax's ``scale_by_rss`` and ``scale_by_schedule``.

    Args:
        eps: What is added to the sum of squares; may be traced.

    Returns:
        A transformation of Optax, for a chain with ``scale_by_learning_rate``.

    Raises:
        ValueError: ``eps < 0``.

    >>> scale = scale_by_root_mean_square()
    >>> state, steps = scale.init(jnp.array(1.0)), []
    >>> for gradient in [1e-3] * 99 + [1.0]:
    ...     update, state = scale.update(jnp.array(gradient), state)
    ...     steps.append(float(update))
    >>> [round(step, 1) for step in (steps[50], steps[-1])]
    [1.0, 10.0]
    """
    checks.require(lambda e: e >= 0, "`{}` must satisfy {} >= 0", eps=eps)
    root = lambda count: jnp.sqrt(jnp.asarray(count, float) + 1)
    return optax.chain(optax.scale_by_rss(initial_accumulator_value=0.0, eps=eps), optax.scale_by_schedule(root))
