"""One number for each example, from whatever a loss or a metric returns."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks


def per_example(values: ArrayLike, examples: int, name: str = "metric") -> jax.Array:
    """The mean over all axes but the first, in at least float32.

    Raises ``ValueError`` where the first axis is not that of the examples: a metric that is reduced already, say.

    >>> per_example(jnp.array([[1.0, 3.0]]), 1)
    Array([2.], dtype=float32)
    """
    values = jnp.asarray(values)
    if values.ndim < 1 or values.shape[0] != examples:
        whole = "" if name == "loss" else "; a metric of all outputs at once is evaluation.whole(metric)"
        must = f"`{name}` must return a number for each of the {examples} examples"
        raise ValueError(f"{must}; got shape {values.shape}{whole}")
    values = values.astype(checks.wide(values.dtype) if jnp.issubdtype(values.dtype, jnp.floating) else float)
    return jnp.mean(values.reshape(examples, -1), -1) if values.ndim > 1 else values


def measured(name: str, metric: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> Any:
    """What a metric makes of outputs and targets.

    Raises ``TypeError`` where it wants NumPy arrays, as those of scikit-learn do: it is part of a compiled program.

    >>> measured("error", lambda y, t: jnp.abs(y - t), jnp.ones(1), jnp.zeros(1))
    Array([1.], dtype=float32)
    """
    try:
        return metric(outputs, targets)
    except jax.errors.TracerArrayConversionError as error:
        got = f"{getattr(metric, '__name__', type(metric).__name__)}, which asks for a NumPy array"
        raise TypeError(f"`{name}` must compute with jax.numpy, as it is compiled; got {got}") from error


def wide(outputs: Any) -> Any:
    """A network's outputs in at least float32, in which a loss neither overflows nor is rounded.

    >>> wide({"logits": jnp.ones(1, jnp.float16)})
    {'logits': Array([1.], dtype=float32)}
    """
    half = lambda a: jnp.issubdtype(jnp.result_type(a), jnp.floating) and jnp.finfo(jnp.result_type(a)).bits < 32
    return jax.tree.map(lambda a: jnp.asarray(a).astype(jnp.float32) if half(a) else a, outputs)
