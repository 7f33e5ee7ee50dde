"""Means of per-example metrics over a data set, in blocks of bounded size."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import callables, checks
from jnorm.data import batches
from jnorm.train import _examples

__all__ = [
    "Metric",
    "accuracy",
    "evaluate",
]

Metric = Callable[[Any, Any], jax.Array]
"""``metric(outputs, targets)``: one number an example, or several of which the mean is meant, the examples first."""


def accuracy(outputs: ArrayLike, targets: ArrayLike) -> jax.Array:
    """1 where the largest of the outputs is that of the target, else 0; NaN where an output is NaN.

    Of equal outputs the first counts.

    Args:
        outputs: Scores or logits ``[..., classes]``.
        targets: Class numbers ``[...]`` or (one-hot) distributions ``[..., classes]``.

    Returns:
        0, 1 or NaN ``[...]``, in at least float32.

    Raises:
        ValueError: Other shapes.

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


def evaluate(
    predict: Callable[[Any], Any], data: tuple[Any, Any], metrics: Mapping[str, Metric], *, block: int = 1024
) -> dict[str, jax.Array]:
    """The mean of each metric over a data set, block after block, so that memory stays bounded.

    Args:
        predict: A function of inputs that treats examples one by one, as a network does in evaluation.
        data: A pair (inputs, targets) of pytrees with the examples first.
        metrics: Metrics by name.
        block: The most examples that ``predict`` gets at a time.

    Returns:
        The means by name.

    Raises:
        ValueError: Unequal numbers of examples, a metric of another shape, a block below 1.

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
        return {name: jnp.sum(_examples.per_example(v, batches.length(part), name)) for name, v in values.items()}

    totals = []
    if full:
        example = jax.tree.map(lambda a: jax.ShapeDtypeStruct((block, *jnp.shape(a)[1:]), jnp.result_type(a)), data)
        totals.append(_over_blocks(callables.settle(sums, example, name="predict"), data, full, block))
    if full * block < size:
        totals.append(sums(jax.tree.map(lambda a: a[full * block :], data)))
    return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]) / size, *totals)


@partial(jax.jit, static_argnames=("full", "block"))
def _over_blocks(sums: Callable[[Any], Any], data: Any, full: int, block: int) -> Any:
    """The sums over as many full blocks; compiled once for all functions that do the same."""

    def cut(array: ArrayLike, i: jax.Array) -> jax.Array:
        return lax.dynamic_slice_in_dim(jnp.asarray(array), i * block, block)

    # Sliced where they are: cut to full blocks, the data would be there twice.
    rows = lax.map(lambda i: sums(jax.tree.map(lambda a: cut(a, i), data)), jnp.arange(full))
    return jax.tree.map(lambda a: jnp.sum(a, 0), rows)
