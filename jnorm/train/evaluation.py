"""Means of per-example metrics over a data set, in blocks of bounded size."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.data import batches

__all__ = [
    "Metric",
    "accuracy",
    "evaluate",
    "per_example",
]

Metric = Callable[[Any, Any], jax.Array]
"""``metric(outputs, targets)``: one number an example, or several of which the mean is meant, the examples first."""


def accuracy(outputs: ArrayLike, targets: ArrayLike) -> jax.Array:
    """1 where the largest of the outputs ``[..., classes]`` is that of the target, else 0; NaN where an output is NaN.

    Targets are class numbers ``[...]`` or (one-hot) distributions ``[..., classes]``. Of equal outputs the first
    counts.

    Raises ``ValueError`` for other shapes.

    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2], [jnp.nan, 0.0]]), jnp.array([1, 1, 0]))
    Array([ 1.,  0., nan], dtype=float32)
    """
    outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
    if outputs.ndim < 1 or targets.shape not in (outputs.shape, outputs.shape[:-1]):
        raise ValueError(
            f"`targets` must be [...] or [..., classes] for `outputs` {outputs.shape}; got {targets.shape}"
        )
    if targets.ndim == outputs.ndim:
        targets = jnp.argmax(targets, -1)
    right = jnp.argmax(outputs, -1).astype(targets.dtype) == targets
    return jnp.where(jnp.any(jnp.isnan(outputs), -1), jnp.nan, right.astype(checks.wide(outputs.dtype)))


def per_example(values: ArrayLike, examples: int, name: str = "metric") -> jax.Array:
    """One number an example: the mean over all axes but the first.

    Raises ``ValueError`` where the first axis is not that of the examples: a metric that is reduced already, say.

    >>> per_example(jnp.array([[1.0, 3.0]]), 1)
    Array([2.], dtype=float32)
    """
    values = jnp.asarray(values)
    if values.ndim < 1 or values.shape[0] != examples:
        raise ValueError(f"`{name}` must return a number for each of the {examples} examples; got shape {values.shape}")
    values = values.astype(checks.wide(values.dtype) if jnp.issubdtype(values.dtype, jnp.floating) else float)
    return jnp.mean(values.reshape(examples, -1), -1) if values.ndim > 1 else values


def evaluate(
    predict: Callable[[Any], Any], data: tuple[Any, Any], metrics: Mapping[str, Metric], *, block: int = 1024
) -> dict[str, jax.Array]:
    """The mean of each metric over ``data``, a pair (inputs, targets) of pytrees with the examples first.

    ``predict(inputs)`` sees at most ``block`` examples at a time, one block after another, so that memory stays
    bounded; it must treat examples one by one, as a network does in evaluation.

    Raises ``ValueError`` for unequal numbers of examples, for a metric of another shape, and for a block below 1.

    >>> data = jnp.arange(5.0), jnp.zeros(5)
    >>> evaluate(lambda x: 2 * x, data, {"error": lambda y, t: (y - t) ** 2}, block=2)
    {'error': Array(24., dtype=float32)}
    """
    checks.whole(1, block=block)
    size = batches.length(data)
    full = size // block if size > block else 0

    def sums(part: tuple[Any, Any]) -> dict[str, jax.Array]:
        x, targets = part
        outputs = predict(x)
        values = {name: metric(outputs, targets) for name, metric in metrics.items()}
        return {name: jnp.sum(per_example(v, batches.length(part), name)) for name, v in values.items()}

    parts = []
    if full:
        # Sliced where they are: cut to full blocks, the data would be there twice.
        several = lax.map(lambda i: sums(jax.tree.map(lambda a: _block(a, i * block, block), data)), jnp.arange(full))
        parts.append(jax.tree.map(lambda a: jnp.sum(a, 0), several))
    if full * block < size:
        parts.append(sums(jax.tree.map(lambda a: a[full * block :], data)))
    return jax.tree.map(lambda *several: sum(several[1:], several[0]) / size, *parts)


def _block(array: ArrayLike, start: jax.Array, length: int) -> jax.Array:
    return lax.dynamic_slice_in_dim(jnp.asarray(array), start, length)
