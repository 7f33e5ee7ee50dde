"""Cross-entropies, of class numbers and of distributions."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.losses._examples import floating, nan_unless, program, require_shape, require_targets, wide


def softmax_cross_entropy(logits: ArrayLike, targets: ArrayLike, *, smoothing: ArrayLike = 0.0) -> jax.Array:
    """Cross-entropy of softmax(logits) and the targets, ``-sum_i t_i log p_i``, one number an example.

    The gradient is ``softmax(logits) - t`` where t sums to one, which is not checked: mixtures and all-zero rows serve.

    Args:
        logits: ``[..., classes]``.
        targets: Class numbers ``[...]`` of an integer dtype, or distributions t ``[..., classes]``, one-hot or soft;
            the shape says which.
        smoothing: A scalar s in [0, 1]: t becomes (1 - s)*t + s/classes. A traced one outside gives NaN.

    Returns:
        The losses, ``[...]``.

    Raises:
        ValueError: For other shapes, class numbers outside [0, classes), negative entries of t, and unless
            0 <= s <= 1.
        TypeError: For class numbers that are no integers.

    Source: Bridle 1990; smoothing by Szegedy et al. 2016, section 7.

    >>> logits = jnp.array([[2.0, 0.0, -1.0], [0.0, 1e4, 0.0]])
    >>> softmax_cross_entropy(logits, jnp.array([0, 1])).round(4)
    Array([0.1698, 0.    ], dtype=float32)
    """
    z, t = floating(logits=logits), jnp.asarray(targets)
    if z.ndim < 1 or t.shape not in (z.shape, z.shape[:-1]):
        raise ValueError(f"`targets` must be [...] or [..., classes] for `logits` {z.shape}; got {t.shape}")
    if t.ndim == z.ndim:
        require_targets("`{}` must satisfy {} >= 0", _not_negative, targets)
    else:
        classes = z.shape[-1]
        if not jnp.issubdtype(t.dtype, jnp.integer):
            raise TypeError(f"`targets` of shape {t.shape} are class numbers and must be integers; got {t.dtype}")
        checks.require(
            lambda c: (c >= 0) & (c < classes), f"`{{}}` must satisfy 0 <= {{}} < {classes}", targets=targets
        )
    return _softmax_cross_entropy(z, t, _smoothing(smoothing))


@program
def _softmax_cross_entropy(logits: jax.Array, targets: jax.Array, smoothing: ArrayLike | None) -> jax.Array:
    z = wide(logits)
    classes = z.shape[-1]
    numbers = jnp.arange(classes).reshape((1,) * (z.ndim - 1) + (-1,))
    if targets.ndim == z.ndim:
        t = targets.astype(z.dtype)
        # The first largest entry, by two plain reductions: argmax is several times slower on a CPU.
        pivot = jnp.min(jnp.where(t == jnp.max(t, -1, keepdims=True), numbers, classes), -1)
        valid = jnp.all(_not_negative(t), -1)
    else:
        pivot = targets.astype(numbers.dtype)
        valid = (pivot >= 0) & (pivot < classes)

    others = numbers != pivot[..., None]
    at_pivot = jnp.sum(jnp.where(others, 0, z), -1)
    loss = _surprisal(at_pivot, jnp.where(others, z, -jnp.inf))
    if targets.ndim == z.ndim or smoothing is not None:
        # sum(t)*(-log p_pivot) + sum_i t_i*(z_pivot - z_i). The pivot is the heaviest target, so that where it is the
        # only one, the second sum and its derivatives are nothing, and the first loses nothing.
        s = _in_unit_interval(smoothing, z.dtype)
        t = (1 - s) * jax.nn.one_hot(pivot, classes, dtype=z.dtype) if targets.ndim < z.ndim else (1 - s) * t
        t = t + s / classes
        lead = jnp.where(others, at_pivot[..., None] - z, 0)
        loss = jnp.sum(t, -1) * loss + jnp.sum(_weighted(t, lead), -1)
    return nan_unless(valid, loss).astype(logits.dtype)


def _surprisal(z: jax.Array, others: jax.Array) -> jax.Array:
    """``log(1 + sum exp(others - z))``; neither it nor its derivatives cancel, of whatever size the differences."""
    # The anchor is a constant, as the sum does not depend on it. Where all others are -inf, any will do.
    anchor = jnp.max(others, -1)
    anchor = jax.lax.stop_gradient(jnp.where(anchor == -jnp.inf, z, anchor))
    rest = jnp.sum(jnp.exp(others - anchor[..., None]), -1)
    gap = anchor - z
    behind = gap > 0
    near = rest * jnp.exp(jnp.where(behind, 0, gap))
    far = rest - 1 + jnp.exp(jnp.where(behind, -gap, 0))
    return jnp.where(behind, gap, 0) + jnp.log1p(jnp.where(behind, far, near))


def sigmoid_cross_entropy(logits: ArrayLike, targets: ArrayLike, *, smoothing: ArrayLike = 0.0) -> jax.Array:
    """Cross-entropy of independent sigmoids, ``-t log p - (1 - t) log(1 - p)``, ``p = sigmoid(logits)``, an element.

    The gradient is ``sigmoid(logits) - t``.

    Args:
        logits: Any shape.
        targets: Probabilities t in [0, 1], or 0 and 1 of any dtype (one-hot rows among them), of the same shape.
        smoothing: A scalar s in [0, 1]: t becomes (1 - s)*t + s/2. A traced one outside gives NaN.

    Returns:
        The losses, of the shape of ``logits``.

    Raises:
        ValueError: For another shape, targets outside [0, 1], and unless 0 <= s <= 1.

    >>> sigmoid_cross_entropy(jnp.array([0.0, -1e4]), jnp.array([1, 0])).round(4)
    Array([0.6931, 0.    ], dtype=float32)
    """
    z, t = floating(logits=logits), jnp.asarray(targets)
    require_shape(t, logits=z)
    require_targets("`{}` must satisfy 0 <= {} <= 1", _is_probability, targets)
    return _sigmoid_cross_entropy(z, t, _smoothing(smoothing))


@program
def _sigmoid_cross_entropy(logits: jax.Array, targets: jax.Array, smoothing: ArrayLike | None) -> jax.Array:
    z = wide(logits)
    t, s = targets.astype(z.dtype), _in_unit_interval(smoothing, z.dtype)
    yes, no = (1 - s) * t + s / 2, (1 - s) * (1 - t) + s / 2
    loss = _weighted(yes, jax.nn.softplus(-z)) + _weighted(no, jax.nn.softplus(z))
    return nan_unless(_is_probability(t), loss).astype(logits.dtype)


def _not_negative(t: Any) -> Any:
    return t >= 0


def _is_probability(t: Any) -> Any:
    return (t >= 0) & (t <= 1)


def _smoothing(smoothing: ArrayLike) -> ArrayLike | None:
    """The smoothing, a scalar; ``None`` where Python knows that there is none, which needs fewer operations."""
    if jnp.shape(smoothing):
        raise ValueError(f"`smoothing` must be a scalar (vmap over several); got shape {jnp.shape(smoothing)}")
    checks.require(lambda s: (s >= 0) & (s <= 1), "`{}` must satisfy 0 <= {} <= 1", smoothing=smoothing)
    return None if isinstance(smoothing, int | float) and smoothing == 0 else smoothing


def _in_unit_interval(smoothing: ArrayLike | None, dtype: Any) -> jax.Array:
    """A number in [0, 1], NaN where it is not."""
    s = jnp.asarray(0.0 if smoothing is None else smoothing).astype(dtype)
    return jnp.where((s >= 0) & (s <= 1), s, jnp.nan)


def _weighted(weights: jax.Array, x: jax.Array) -> jax.Array:
    """weights*x, where no weight at an infinite x is nothing."""
    return weights * jnp.where((weights == 0) & jnp.isinf(x), 0, x)
