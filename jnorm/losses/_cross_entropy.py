"""Cross-entropies, of class numbers and of distributions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.losses._examples import (
    counted,
    floating,
    kept,
    masked,
    nan_unless,
    program,
    require_several,
    require_shape,
    require_targets,
    wide,
)


def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    smoothing: ArrayLike = 0.0,
    class_weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Cross-entropy of softmax(logits) and the targets, ``-sum_i w_i t_i log p_i``, one number an example.

    Without weights the gradient is ``softmax(logits) - t`` where t sums to one, which is not checked: mixtures and
    all-zero rows serve.

    Args:
        logits: ``[..., classes]``, of at least two classes.
        targets: Class numbers ``[...]`` of an integer dtype, from 0 on, or distributions t ``[..., classes]``, one-hot
            or soft; the shape says which.
        smoothing: A scalar s in [0, 1]: t becomes (1 - s)*t + s/classes. A traced one outside gives NaN.
        class_weights: Factors w ``[classes]`` >= 0 (all 1), which the smoothed targets get. The mean loss is divided by
            no sum of them: ``n / (classes * count)``, with the number n of all examples and that of each class, has
            mean 1. In a JAX array a negative one gives NaN.
        mask: Booleans ``[...]``, True where an example counts (all). Where one does not, loss and gradient are exactly
            0, whatever stands there: NaN, or a class of -1.

    Returns:
        The losses, ``[...]``.

    Raises:
        ValueError: For other shapes, a single class (`sigmoid_cross_entropy` takes one score for two classes), class
            numbers outside [0, classes), negative entries of t or weights, and unless 0 <= s <= 1.
        TypeError: For class numbers that are no integers, and a mask of no booleans.

    Source: Bridle 1990; smoothing by Szegedy et al. 2016, section 7.

    >>> logits = jnp.array([[2.0, 0.0, -1.0], [0.0, 1e4, 0.0]])
    >>> softmax_cross_entropy(logits, jnp.array([0, 1])).round(4)
    Array([0.1698, 0.    ], dtype=float32)
    """
    z, t = floating(logits=logits), jnp.asarray(targets)
    if z.ndim < 1 or t.shape not in (z.shape, z.shape[:-1]):
        raise ValueError(f"`targets` must be [...] or [..., classes] for `logits` {z.shape}; got {t.shape}")
    require_several(z, "logits")
    counts = masked(mask, z.shape[:-1])
    known, classes = counted(targets, mask), z.shape[-1]
    if t.ndim == z.ndim:
        require_targets("`{}` must satisfy {} >= 0", _not_negative, known)
    else:
        if not jnp.issubdtype(t.dtype, jnp.integer):
            raise TypeError(f"`targets` of shape {t.shape} are class numbers and must be integers; got {t.dtype}")
        checks.require(lambda c: (c >= 0) & (c < classes), f"`{{}}` must satisfy 0 <= {{}} < {classes}", targets=known)
    weights = None if class_weights is None else _weights(class_weights, (classes,), "class_weights")
    return _softmax_cross_entropy(z, t, _smoothing(smoothing), weights, counts)


@program
def _softmax_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    smoothing: ArrayLike | None,
    weights: jax.Array | None,
    mask: jax.Array | None,
) -> jax.Array:
    z, targets = kept(mask, wide(logits)), kept(mask, targets)
    classes = z.shape[-1]
    numbers = jnp.arange(classes).reshape((1,) * (z.ndim - 1) + (-1,))
    if weights is not None:
        w = jnp.where(weights >= 0, weights, jnp.nan).astype(z.dtype).reshape(numbers.shape)
    if targets.ndim == z.ndim:
        t = targets.astype(z.dtype)
        heavy = t if weights is None else t * w
        # The first largest entry, by two plain reductions: argmax is several times slower on a CPU.
        pivot = jnp.min(jnp.where(heavy == jnp.max(heavy, -1, keepdims=True), numbers, classes), -1)
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
        t = t if weights is None else t * w
        lead = jnp.where(others, at_pivot[..., None] - z, 0)
        loss = jnp.sum(t, -1) * loss + jnp.sum(_weighted(t, lead), -1)
    elif weights is not None:
        loss = _weighted(jnp.sum(jnp.where(others, 0, w), -1), loss)
    return kept(mask, nan_unless(valid, loss)).astype(logits.dtype)


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


def sigmoid_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    smoothing: ArrayLike = 0.0,
    positive_weight: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Cross-entropy of independent sigmoids, ``-w t log p - (1 - t) log(1 - p)``, ``p = sigmoid(logits)``, an element.

    Without a weight the gradient is ``sigmoid(logits) - t``.

    Args:
        logits: Any shape.
        targets: Probabilities t in [0, 1], or 0 and 1 of any dtype (one-hot rows among them), of the same shape.
        smoothing: A scalar s in [0, 1]: t becomes (1 - s)*t + s/2. A traced one outside gives NaN.
        positive_weight: A scalar w >= 0, the factor of the smoothed t; the number of zeros by that of ones balances the
            classes. A traced negative one gives NaN.
        mask: Booleans of the same shape, True where an element counts (all); elsewhere loss and gradient are exactly 0.

    Returns:
        The losses, of the shape of ``logits``.

    Raises:
        ValueError: For another shape, targets outside [0, 1], a negative weight, and unless 0 <= s <= 1.
        TypeError: For a mask of no booleans.

    >>> sigmoid_cross_entropy(jnp.array([0.0, -1e4]), jnp.array([1, 0])).round(4)
    Array([0.6931, 0.    ], dtype=float32)
    """
    z, t = floating(logits=logits), jnp.asarray(targets)
    require_shape(t, logits=z)
    counts = masked(mask, z.shape)
    require_targets("`{}` must satisfy 0 <= {} <= 1", _is_probability, counted(targets, mask))
    plain = isinstance(positive_weight, int | float) and positive_weight == 1
    weight = None if plain else _weights(positive_weight, (), "positive_weight")
    return _sigmoid_cross_entropy(z, t, _smoothing(smoothing), weight, counts)


@program
def _sigmoid_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    smoothing: ArrayLike | None,
    weight: jax.Array | None,
    mask: jax.Array | None,
) -> jax.Array:
    z, targets = kept(mask, wide(logits)), kept(mask, targets)
    t, s = targets.astype(z.dtype), _in_unit_interval(smoothing, z.dtype)
    yes, no = (1 - s) * t + s / 2, (1 - s) * (1 - t) + s / 2
    if weight is not None:
        yes = yes * jnp.where(weight >= 0, weight, jnp.nan).astype(z.dtype)
    loss = _weighted(yes, jax.nn.softplus(-z)) + _weighted(no, jax.nn.softplus(z))
    return kept(mask, nan_unless(_is_probability(t), loss)).astype(logits.dtype)


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


def _weights(weights: ArrayLike, shape: tuple[int, ...], name: str) -> jax.Array:
    array = jnp.asarray(weights)
    if array.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}; got {array.shape}")
    if not isinstance(weights, jax.Array):  # NaN is no weight either
        checks.require(lambda w: w >= 0, "`{}` must satisfy {} >= 0", **{name: np.nan_to_num(weights, nan=-np.inf)})
    return array


def _in_unit_interval(smoothing: ArrayLike | None, dtype: Any) -> jax.Array:
    """A number in [0, 1], NaN where it is not."""
    s = jnp.asarray(0.0 if smoothing is None else smoothing).astype(dtype)
    return jnp.where((s >= 0) & (s <= 1), s, jnp.nan)


def _weighted(weights: jax.Array, x: jax.Array) -> jax.Array:
    """weights*x, where no weight at an infinite x is nothing."""
    return weights * jnp.where((weights == 0) & jnp.isinf(x), 0, x)
