"""Metrics: accuracies of single examples, and what only all examples together have."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm._ground.elementary import power_below


def accuracy(outputs: ArrayLike, targets: ArrayLike) -> jax.Array:
    """1 where the largest of the outputs is that of the target, else 0; NaN where an output is NaN.

    Of equal outputs the first counts.

    Args:
        outputs: Scores or logits ``[..., classes]``, of at least two classes.
        targets: Class numbers ``[...]`` from 0 on, or (one-hot) distributions ``[..., classes]``. In a JAX array a
            number that no class has gives NaN.

    Returns:
        0, 1 or NaN ``[...]``, in at least float32.

    Raises:
        ValueError: Other shapes, a single class (`binary_accuracy` takes one score), class numbers outside
            [0, classes).

    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2], [jnp.nan, 0.0]]), jnp.array([1, 1, 0]))
    Array([ 1.,  0., nan], dtype=float32)
    """
    outputs, classes, valid = _classified(outputs, targets)
    right = jnp.argmax(outputs, -1).astype(classes.dtype) == classes
    return jnp.where(valid, right.astype(checks.wide(outputs.dtype)), jnp.nan)


def top_k_accuracy(outputs: ArrayLike, targets: ArrayLike, *, k: int) -> jax.Array:
    """1 where the target is among the k largest outputs, else 0; NaN where an output is NaN. With k = 1, `accuracy`.

    Of equal outputs the first count. As a metric: ``functools.partial(top_k_accuracy, k=5)``.

    Args:
        outputs: Scores or logits ``[..., classes]``.
        targets: Class numbers or distributions, as of `accuracy`.
        k: How many of the largest count, static.

    Returns:
        0, 1 or NaN ``[...]``, in at least float32.

    Raises:
        ValueError: As `accuracy`, and unless k is a whole number with 1 <= k < classes.

    >>> top_k_accuracy(jnp.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]]), jnp.array([0, 2]), k=2)
    Array([0., 1.], dtype=float32)
    """
    outputs, classes, valid = _classified(outputs, targets)
    count = outputs.shape[-1]
    rule = f"`{{}}` must be a whole number, 1 <= {{}} < {count}, the number of classes"
    checks.require(lambda n: (n >= 1) & (n < count) & (n == np.floor(n)), rule, k=k)
    numbers = jnp.arange(count).reshape((1,) * (outputs.ndim - 1) + (-1,))
    target = jnp.clip(classes, 0, count - 1).astype(numbers.dtype)[..., None]
    own = jnp.take_along_axis(outputs, target, -1)
    before = jnp.sum((outputs > own) | ((outputs == own) & (numbers < target)), -1)
    return jnp.where(valid, (before < k).astype(checks.wide(outputs.dtype)), jnp.nan)


def binary_accuracy(outputs: ArrayLike, targets: ArrayLike, *, threshold: ArrayLike = 0.0) -> jax.Array:
    """1 where a single score is on its target's side of the threshold, else 0, an element; NaN where the score is NaN.

    A score at the threshold says no.

    Args:
        outputs: Scores of any shape.
        targets: 1 for yes; 0, or -1 as for `jnorm.losses.hinge`, for no; of the same shape. In a JAX array anything
            else gives NaN.
        threshold: What a score must exceed: 0 for logits and margins, .5 for probabilities.

    Returns:
        0, 1 or NaN, of the shape of ``outputs``, in at least float32.

    Raises:
        ValueError: Another shape, other targets.

    >>> binary_accuracy(jnp.array([[0.3], [-2.0], [0.1]]), jnp.array([[1], [0], [0]])).ravel()
    Array([1., 1., 0.], dtype=float32)
    """
    outputs, known = jnp.asarray(outputs), targets
    targets = _numbers(targets)
    if targets.shape != outputs.shape:
        raise ValueError(f"`targets` must have the shape of `outputs`, {outputs.shape}; got {targets.shape}")
    dtype = checks.wide(jnp.result_type(outputs.dtype, float) if outputs.dtype == bool else outputs.dtype)
    checks.require(lambda t: (t == 1) | (t == 0) | (t == -1), "`{}` must be 1 (yes), or 0 or -1 (no)", targets=known)
    yes, valid = targets == 1, (targets == 1) | (targets == 0) | (targets == -1)
    right = (outputs > jnp.asarray(threshold).astype(outputs.dtype)) == yes
    return jnp.where(valid & ~jnp.isnan(outputs), right.astype(dtype), jnp.nan)


def whole(metric: Callable[[Any, Any], jax.Array]) -> Callable[[Any, Any], jax.Array]:
    """Says that a metric is no mean over examples: it gets the outputs and targets of all of them at once.

    They are kept in memory together for it.

    Args:
        metric: ``metric(outputs, targets)``, a number.

    Returns:
        The same function, marked.

    >>> from jnorm.train.evaluation import evaluate
    >>> worst = whole(lambda outputs, targets: jnp.max(jnp.abs(outputs - targets)))
    >>> evaluate(lambda x: 2 * x, (jnp.arange(5.0), jnp.zeros(5)), {"worst": worst}, block=2)
    {'worst': Array(8., dtype=float32)}
    """

    @functools.wraps(metric)
    def marked(outputs: Any, targets: Any, *args: Any, **options: Any) -> jax.Array:
        return metric(outputs, targets, *args, **options)

    marked.is_whole = True  # type: ignore[attr-defined]
    return marked


def is_whole(metric: Any) -> bool:
    """Whether a metric is one of `whole`."""
    while isinstance(metric, functools.partial):
        metric = metric.func
    return getattr(metric, "is_whole", False)


@whole
def r_squared(outputs: ArrayLike, targets: ArrayLike) -> jax.Array:
    """The share of the targets' variance that is predicted, ``1 - sum (y - t)^2 / sum (t - mean t)^2``.

    Of several columns the mean of theirs. Where the targets are constant it is -inf, or NaN if they are met. Deviations
    may have any size from 1e-35 on (1e-305 in float64): they are scaled before they are squared.

    Args:
        outputs: Predictions ``[examples, ...]``.
        targets: Of the same shape.

    Returns:
        A number, in at least float32.

    Raises:
        ValueError: Other shapes, no example.

    >>> r_squared(jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 2.0, 3.0]))
    Array(0.5, dtype=float32)
    """
    y, t = jnp.asarray(outputs), jnp.asarray(targets)
    if y.shape != t.shape or y.ndim < 1:
        raise ValueError(f"`targets` must have the shape of `outputs`, [examples, ...]; got {t.shape} for {y.shape}")
    if not y.size:
        raise ValueError(f"`outputs` must hold at least one prediction; got shape {y.shape}")
    dtype = checks.wide(jnp.result_type(y.dtype, float) if jnp.issubdtype(y.dtype, jnp.integer) else y.dtype)
    y, t = (a.astype(dtype).reshape(len(a), -1) for a in (y, t))
    third = jnp.finfo(dtype).maxexp // 3
    # Numbers whose sum could overflow first get smaller, those whose differences could vanish get larger.
    largest = lax.stop_gradient(jnp.max(jnp.maximum(jnp.abs(y), jnp.abs(t)), 0, keepdims=True, initial=0))
    smaller, larger = jnp.asarray(2.0**-third, dtype), jnp.asarray(2.0**third, dtype)
    factor = jnp.where(largest > larger**2, smaller, jnp.where(largest < smaller**2, larger, 1))
    y, t = y * factor, t * factor
    constant = jnp.max(t, 0, keepdims=True, initial=-jnp.inf) == jnp.min(t, 0, keepdims=True, initial=jnp.inf)
    errors, deviations = y - t, t - jnp.mean(t, 0, keepdims=True)
    of_errors = _unit(errors)
    of_deviations = jnp.where(constant, of_errors, _unit(deviations))
    unit = jnp.maximum(of_deviations, of_errors * smaller)
    spread = jnp.where(constant, 0, jnp.sum(jnp.square(deviations / of_deviations), 0, keepdims=True))
    ratio = unit / of_deviations
    return jnp.mean(1 - jnp.sum(jnp.square(errors / unit), 0, keepdims=True) / spread * ratio * ratio)


def _unit(values: jax.Array) -> jax.Array:
    """A power of two for each column, near its largest entry in size."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(values), 0, keepdims=True, initial=0))
    return power_below(largest)


@whole
def auc(outputs: ArrayLike, targets: ArrayLike) -> jax.Array:
    """The area under the ROC curve: how often a positive example's score is above a negative one's; ties count half.

    NaN where a score is NaN, or one of the classes is missing.

    Args:
        outputs: Scores [examples] or [examples, 1], or logits [examples, 2] of both classes.
        targets: 1 for positive; 0, or -1, for negative; [examples] or [examples, 1].

    Returns:
        A number from 0 to 1, in at least float32.

    Raises:
        ValueError: Other shapes: of more than two classes, take one against the others.

    >>> auc(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1]))
    Array(0.75, dtype=float32)
    """
    scores, targets = jnp.asarray(outputs), _numbers(targets)
    size = targets.shape[0] if targets.ndim else 0
    if targets.shape not in ((size,), (size, 1)) or scores.shape not in ((size,), (size, 1), (size, 2)):
        raise ValueError(
            f"`outputs` must be [examples], [examples, 1] or [examples, 2], and `targets` [examples]; "
            f"got {scores.shape} and {targets.shape}"
        )
    if scores.shape == (size, 2):
        scores = scores[:, 1] - scores[:, 0]
    scores, positive = scores.reshape(-1), targets.reshape(-1) == 1
    order = jnp.argsort(scores)
    ranked, negative = scores[order], ~positive[order]
    # Numbers of negatives below each score and up to it: whole numbers, so that only the mean is rounded.
    below = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(negative, dtype=jnp.int32)])
    beaten, met = (below[jnp.searchsorted(ranked, scores, side=side)] for side in ("left", "right"))
    dtype = checks.wide(scores.dtype) if jnp.issubdtype(scores.dtype, jnp.floating) else jnp.result_type(float)
    pairs = jnp.where(positive, (beaten.astype(dtype) + met.astype(dtype)) / 2, 0)
    share = jnp.sum(pairs / jnp.sum(~positive).astype(dtype)) / jnp.sum(positive).astype(dtype)
    return jnp.where(jnp.any(jnp.isnan(scores)), jnp.nan, share)


def _numbers(targets: ArrayLike) -> jax.Array:
    """Targets as numbers, booleans too: a strict JAX compares those with nothing else."""
    array = jnp.asarray(targets)
    return array.astype(jnp.int32) if array.dtype == bool else array


def _classified(outputs: ArrayLike, targets: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Outputs, the number of each target's class, and where both are valid."""
    y, t = jnp.asarray(outputs), jnp.asarray(targets)
    if y.ndim < 1 or t.shape not in (y.shape, y.shape[:-1]):
        raise ValueError(f"`targets` must be [...] or [..., classes] for `outputs` {y.shape}; got {t.shape}")
    count = y.shape[-1]
    if count < 2:
        raise ValueError(
            f"`outputs` must have at least two classes on the last axis; got shape {y.shape}: the accuracy of one "
            f"score for two classes is binary_accuracy"
        )
    valid = ~jnp.any(jnp.isnan(y), -1)
    if t.ndim == y.ndim:
        return y, jnp.argmax(t, -1), valid & ~jnp.any(jnp.isnan(t), -1)
    checks.require(lambda c: (c >= 0) & (c < count), f"`{{}}` must satisfy 0 <= {{}} < {count}", targets=targets)
    return y, t, valid & (t >= 0) & (t < count)
