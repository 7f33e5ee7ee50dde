"""Losses of examples, penalties of parameters, and one shape policy.

- **Shapes.** Nothing broadcasts, ever. Targets have the shape of the predictions; only `softmax_cross_entropy` takes
  class numbers as well, of the shape without the last axis. Anything else raises ``ValueError`` with both shapes:
  ``[n]`` against ``[n, 1]`` is an error, not ``[n, n]``.
- **No reduction.** A loss is one number an example, ``[..., classes] -> [...]``, where it compares distributions over
  the last axis, and one number an element where it compares elements. The caller takes means and weights examples.
- **Types.** The dtype is that of the predictions; half precision is computed in float32 and rounded once. Integer
  predictions raise ``TypeError``. Integer and boolean targets are converted.
- **Bad targets** raise ``ValueError`` where their values are known; inside ``jit`` the loss and the gradient of their
  own example are NaN.
- **Numbers.** Neither a value nor a gradient is lost to overflow or cancellation: softmax cross-entropy of logits
  (20, 0) and class 0 is 2.06e-9, with gradient -+2.06e-9, in float32 too. A logit of -inf is a class that is ruled
  out: it adds nothing to the loss, and its gradient is zero unless it is the target.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm import paths
from jnorm._ground import checks

__all__ = [
    "hinge",
    "l1_penalty",
    "l2_penalty",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
]


def softmax_cross_entropy(logits: ArrayLike, targets: ArrayLike, *, smoothing: ArrayLike = 0.0) -> jax.Array:
    """Cross-entropy of softmax(logits) and the targets, ``-sum_i t_i log p_i``, one number an example.

    ``logits`` are ``[..., classes]``; ``targets`` are class numbers ``[...]`` of an integer dtype, or one-hot or soft
    distributions ``[..., classes]``; the shape says which. ``smoothing`` s replaces t by (1 - s)*t + s/classes. The
    gradient is ``softmax(logits) - t`` where t sums to one (which is not checked, so that mixtures and all-zero rows
    serve).

    Raises ``ValueError`` for other shapes (``smoothing`` is a scalar), class numbers outside [0, classes), negative
    entries of t, and unless 0 <= s <= 1, which gives NaN where it is traced; ``TypeError`` for class numbers that are
    no integers.
    Source: Bridle 1990; smoothing by Szegedy et al. 2016, section 7.

    >>> logits = jnp.array([[2.0, 0.0, -1.0], [0.0, 1e4, 0.0]])
    >>> softmax_cross_entropy(logits, jnp.array([0, 1])).round(4)
    Array([0.1698, 0.    ], dtype=float32)
    """
    z, dtype = _predictions(logits=logits)
    t = jnp.asarray(targets)
    if z.ndim < 1 or t.shape not in (z.shape, z.shape[:-1]):
        raise ValueError(f"`targets` must be [...] or [..., classes] for `logits` {z.shape}; got {t.shape}")
    s = _smoothing(smoothing, z.dtype)
    classes = z.shape[-1]
    numbers = jnp.arange(classes).reshape((1,) * (z.ndim - 1) + (-1,))
    if t.ndim == z.ndim:
        t, valid = _checked("`{}` must satisfy {} >= 0", lambda v: v >= 0, z.dtype, targets=t)
        # The first largest entry, by two plain reductions: argmax is several times slower on a CPU.
        pivot = jnp.min(jnp.where(t == jnp.max(t, -1, keepdims=True), numbers, classes), -1)
        valid = jnp.all(valid, -1)
    else:
        if not jnp.issubdtype(t.dtype, jnp.integer):
            raise TypeError(f"`targets` of shape {t.shape} are class numbers and must be integers; got {t.dtype}")
        checks.require(lambda c: (c >= 0) & (c < classes), f"`{{}}` must satisfy 0 <= {{}} < {classes}", targets=t)
        pivot = t.astype(numbers.dtype)
        valid = (pivot >= 0) & (pivot < classes)

    others = numbers != pivot[..., None]
    at_pivot = jnp.sum(jnp.where(others, 0, z), -1)
    loss = _surprisal(at_pivot, jnp.where(others, z, -jnp.inf))
    if t.ndim == z.ndim or not (isinstance(smoothing, int | float) and smoothing == 0):
        # sum(t)*(-log p_pivot) + sum_i t_i*(z_pivot - z_i). The pivot is the heaviest target, so that where it is the
        # only one, the second sum and its derivatives are nothing, and the first loses nothing.
        t = (1 - s) * jax.nn.one_hot(pivot, classes, dtype=z.dtype) if t.ndim < z.ndim else (1 - s) * t
        t = t + s / classes
        ahead = jnp.where(others, at_pivot[..., None] - z, 0)
        loss = jnp.sum(t, -1) * loss + jnp.sum(_product(t, ahead), -1)
    return _mark(loss, valid).astype(dtype)


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

    ``targets`` are probabilities in [0, 1] or 0 and 1 of any dtype (one-hot rows among them), of the shape of
    ``logits``. ``smoothing`` s replaces t by (1 - s)*t + s/2. The gradient is ``sigmoid(logits) - t``.

    Raises ``ValueError`` for another shape, targets outside [0, 1], and unless 0 <= s <= 1.

    >>> sigmoid_cross_entropy(jnp.array([0.0, -1e4]), jnp.array([1, 0])).round(4)
    Array([0.6931, 0.    ], dtype=float32)
    """
    z, dtype = _predictions(logits=logits)
    t = _same_shape(z, targets, "logits")
    s = _smoothing(smoothing, z.dtype)
    t, valid = _checked("`{}` must satisfy 0 <= {} <= 1", lambda v: (v >= 0) & (v <= 1), z.dtype, targets=t)
    yes, no = (1 - s) * t + s / 2, (1 - s) * (1 - t) + s / 2
    return _mark(_product(yes, jax.nn.softplus(-z)) + _product(no, jax.nn.softplus(z)), valid).astype(dtype)


def squared_error(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Squared error ``(prediction - target)^2``, an element; there is no factor 1/2.

    Raises ``ValueError`` where the shapes differ.

    >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([1, 0]))
    Array([0., 4.], dtype=float32)
    """
    p, dtype = _predictions(predictions=predictions)
    return jnp.square(p - _same_shape(p, targets, "predictions").astype(p.dtype)).astype(dtype)


def hinge(scores: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Hinge loss ``max(0, 1 - t*score)``, an element, for targets t of -1 and 1; its slope at the kink is 0.

    Raises ``ValueError`` for another shape and for other targets, such as 0 and 1.

    >>> hinge(jnp.array([0.5, 0.5, 2.0]), jnp.array([1, -1, 1]))
    Array([0.5, 1.5, 0. ], dtype=float32)
    """
    s, dtype = _predictions(scores=scores)
    t = _same_shape(s, targets, "scores")
    t, valid = _checked("`{}` must be -1 or 1", lambda v: (v == 1) | (v == -1), s.dtype, targets=t)
    margin = 1 - t * s
    return _mark(jnp.where(margin <= 0, 0, margin), valid).astype(dtype)


def l1_penalty(params: Any, *, where: paths.Where = None) -> jax.Array:
    """``sum |w|`` over the chosen leaves of a pytree, in at least float32; its derivative is sign(w), 0 at 0.

    ``where`` is a path prefix, several, or a predicate on path and leaf (`jnorm.paths`); ``None`` takes every leaf.

    Raises ``ValueError`` for a path that chooses no leaf, ``TypeError`` for a chosen leaf that holds no floats.

    >>> l1_penalty({"dense": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.ones(3)}}, where="dense/kernel")
    Array(3., dtype=float32)
    """
    # JAX's abs has derivative 1 at 0, which would push exact zeros away.
    return _sum_over(lambda w: w * jnp.sign(w), params, where)


def l2_penalty(params: Any, *, where: paths.Where = None) -> jax.Array:
    """``sum w^2 / 2`` over the chosen leaves of a pytree, in at least float32, so that its gradient is w.

    Under plain gradient descent, a rate times it is weight decay of that rate. ``where`` and errors as `l1_penalty`.

    >>> l2_penalty({"kernel": jnp.array([1.0, -2.0]), "bias": jnp.ones(3)}, where=lambda path, leaf: path != "bias")
    Array(2.5, dtype=float32)
    """
    return _sum_over(lambda w: jnp.square(w) / 2, params, where)


def _predictions(**named: ArrayLike) -> tuple[jax.Array, Any]:
    """The predictions in at least float32, and the dtype of the loss."""
    ((name, value),) = named.items()
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"`{name}` must have a floating dtype; got {array.dtype}")
    return array.astype(checks.wide(array.dtype)), array.dtype


def _same_shape(predictions: jax.Array, targets: ArrayLike, name: str) -> jax.Array:
    t = jnp.asarray(targets)
    if t.shape != predictions.shape:
        raise ValueError(f"`targets` must have the shape of `{name}`, {predictions.shape}; got {t.shape}")
    return t


def _checked(rule: str, ok: Any, dtype: Any, **targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The targets as floats, and where they keep the rule; known values that break it raise."""
    (t,) = targets.values()
    if jnp.issubdtype(t.dtype, jnp.complexfloating):
        raise TypeError(f"`targets` must hold real numbers; got dtype {t.dtype}")
    checks.require(lambda v: ok(v.astype(np.float64)), rule, **targets)
    t = t.astype(dtype)
    return t, ok(t)


def _smoothing(smoothing: ArrayLike, dtype: Any) -> jax.Array:
    """One number in [0, 1], NaN where a traced one is not."""
    if jnp.shape(smoothing):
        raise ValueError(f"`smoothing` must be a scalar (vmap over several); got shape {jnp.shape(smoothing)}")
    checks.require(lambda s: (s >= 0) & (s <= 1), "`{}` must satisfy 0 <= {} <= 1", smoothing=smoothing)
    s = jnp.asarray(smoothing).astype(dtype)
    return jnp.where((s >= 0) & (s <= 1), s, jnp.nan)


def _product(weights: jax.Array, x: jax.Array) -> jax.Array:
    """weights*x, where no weight at an infinite x is nothing."""
    return weights * jnp.where((weights == 0) & jnp.isinf(x), 0, x)


def _mark(loss: jax.Array, valid: jax.Array) -> jax.Array:
    """NaN, in the gradient too, where the targets are not valid."""
    return loss * jnp.where(valid, 1, jnp.nan).astype(loss.dtype)


def _sum_over(term: Any, params: Any, where: paths.Where) -> jax.Array:
    chosen = jax.tree.leaves(jax.tree.map(lambda hit, w: [w] if hit else [], paths.mask(params, where), params))
    total = jnp.zeros((), jnp.float32)
    for leaf in chosen:
        w, _ = _predictions(params=leaf)
        part = jnp.sum(term(w))
        dtype = np.promote_types(total.dtype, part.dtype)
        total = total.astype(dtype) + part.astype(dtype)
    return total
