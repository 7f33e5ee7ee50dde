"""Metrics over a data set, in blocks of bounded size, and the state of a network to evaluate with."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import callables, checks
from jnorm.data import batches
from jnorm.train import _examples, _metrics
from jnorm.train._metrics import accuracy, auc, binary_accuracy, r_squared, top_k_accuracy, whole

__all__ = [
    "Metric",
    "accuracy",
    "auc",
    "binary_accuracy",
    "evaluate",
    "fresh_state",
    "r_squared",
    "top_k_accuracy",
    "whole",
]

Metric = Callable[[Any, Any], jax.Array]
"""``metric(outputs, targets)``: one number an example, or several of which the mean is meant, the examples first.

One that is no mean is marked by `whole`.
"""


def evaluate(
    predict: Callable[[Any], Any], data: tuple[Any, Any], metrics: Mapping[str, Metric], *, block: int = 1024
) -> dict[str, jax.Array]:
    """The mean of each metric over a data set, block after block, so that memory stays bounded.

    Metrics get outputs in at least float32. Those of `whole` get all outputs and targets at once.

    Args:
        predict: A function of inputs that treats examples one by one, as a network does in evaluation.
        data: A pair (inputs, targets) of pytrees with the examples first.
        metrics: Metrics by name.
        block: The most examples that ``predict`` gets at a time.

    Returns:
        The means, and the values of `whole` metrics, by name.

    Raises:
        ValueError: No example, unequal numbers of examples, a metric of another shape, a block below 1.
        TypeError: A metric that wants NumPy arrays, inside ``jit``.

    >>> data = jnp.arange(5.0), jnp.zeros(5)
    >>> evaluate(lambda x: 2 * x, data, {"error": lambda y, t: (y - t) ** 2}, block=2)
    {'error': Array(24., dtype=float32)}
    """
    checks.whole(1, block=block)
    size = batches.length(data)
    if not size:
        raise ValueError("`data` must hold at least one example: a mean over none is not defined; got 0")
    full = size // block if size > block else 0
    together = {name: metric for name, metric in metrics.items() if _metrics.is_whole(metric)}

    def of_block(part: tuple[Any, Any]) -> tuple[dict[str, jax.Array], Any]:
        """The sums over a block, and its outputs where they are needed."""
        x, targets = part
        outputs = _examples.wide(predict(x))
        values = {
            name: _examples.measured(name, metric, outputs, targets)
            for name, metric in metrics.items()
            if name not in together
        }
        sums = {name: jnp.sum(_examples.per_example(v, batches.length(part), name)) for name, v in values.items()}
        return sums, outputs if together else ()

    rows = []
    if full:
        example = jax.tree.map(lambda a: jax.ShapeDtypeStruct((block, *jnp.shape(a)[1:]), jnp.result_type(a)), data)
        rows.append(_over_blocks(callables.settle(of_block, example, name="predict"), data, full, block))
    if full * block < size:
        rows.append(of_block(jax.tree.map(lambda a: a[full * block :], data)))
    means = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]) / size, *[sums for sums, _ in rows])
    if together:
        outputs = jax.tree.map(lambda *parts: jnp.concatenate(parts), *[outputs for _, outputs in rows])
        of_all = {name: _examples.measured(name, metric, outputs, data[1]) for name, metric in together.items()}
        means |= {name: _number(value, name) for name, value in of_all.items()}
    return {name: means[name] for name in metrics}


def fresh_state(key: jax.Array, network: Any, params: Any, x: Any, *, batch_size: int | None = None) -> Any:
    """The state that one pass over the inputs leaves in training: running statistics of these parameters alone.

    An average of parameters has other statistics than those that were trained: ``trainer(eval_state=fresh_state)``, or
    ``functools.partial(fresh_state, batch_size=256)``. A batch of all inputs gives exact statistics; of several batches
    the later ones count more, by the decay of the normalizer. To be called inside ``jit``: outside, every call compiles
    its loop.

    Args:
        key: A random key, for the order of the batches and for dropout, which is on.
        network: A pair ``init``, ``apply``, as of `jnorm.train.loop.trainer`.
        params: The parameters.
        x: The inputs, a pytree with the examples first.
        batch_size: Examples in a batch; None: all of them.

    Returns:
        The state.

    Raises:
        ValueError: No example, unequal numbers of examples, a batch size below 1.

    Source: Izmailov et al. 2018 (arXiv 1803.05407), algorithm 1.

    >>> from types import SimpleNamespace
    >>> from jnorm.nn import batch_norm
    >>> norm = SimpleNamespace(
    ...     init=lambda key: batch_norm.init(1),
    ...     apply=lambda params, state, x, *, train, key: batch_norm.apply(params, state, x, train=train),
    ... )
    >>> fresh_state(jax.random.key(0), norm, batch_norm.init(1)[0], jnp.array([[1.0], [2.0], [6.0]])).mean.tolist()
    [3.0]
    """
    size = batches.length(x)
    if not size:
        raise ValueError("`x` must hold at least one example; got 0")
    state = network.init(key)[1]
    if batch_size is None or batch_size >= size:
        return network.apply(params, state, jax.tree.map(jnp.asarray, x), train=True, key=key)[1]
    checks.whole(1, batch_size=batch_size)
    indices, _ = batches.epoch(key, size, batch_size)
    full, rest = divmod(size, batch_size)

    def seen(state: Any, batch: tuple[Any, jax.Array]) -> tuple[Any, None]:
        number, rows = batch
        own_key = jax.random.fold_in(key, number)
        return network.apply(params, state, batches.take(x, rows), train=True, key=own_key)[1], None

    state, _ = lax.scan(seen, state, (jnp.arange(full), indices[:full]))
    return seen(state, (full, indices[full, :rest]))[0] if rest else state


@partial(jax.jit, static_argnames=("full", "block"))
def _over_blocks(of_block: Callable[[Any], Any], data: Any, full: int, block: int) -> Any:
    """The sums over as many full blocks, and their outputs; compiled once for all functions that do the same."""

    def cut(array: ArrayLike, i: jax.Array) -> jax.Array:
        return lax.dynamic_slice_in_dim(jnp.asarray(array), i * block, block)

    # Sliced where they are: cut to full blocks, the data would be there twice.
    sums, outputs = lax.map(lambda i: of_block(jax.tree.map(lambda a: cut(a, i), data)), jnp.arange(full))
    return jax.tree.map(lambda a: jnp.sum(a, 0), sums), jax.tree.map(
        lambda a: a.reshape(full * block, *a.shape[2:]), outputs
    )


def _number(value: ArrayLike, name: str) -> jax.Array:
    array = jnp.asarray(value)
    if array.shape:
        raise ValueError(f"`{name}` must return one number for all examples, as it is `whole`; got shape {array.shape}")
    return array
