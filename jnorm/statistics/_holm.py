"""Holm's procedure: p-values corrected for a family of tests, on the device or on the host.

>>> holm(jnp.array([0.01, 0.04, 0.03]), axis=0).round(3)
Array([0.03, 0.06, 0.06], dtype=float32)
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.statistics._samples import Axes, as_array, sample_last


def holm(p: ArrayLike, *, axis: Axes) -> jax.Array:
    """P-values corrected for a family of tests: those at most q hold together at error rate q.

    With p_(1) <= ... <= p_(m): ``max_{j <= i} min(1, (m - j + 1) p_(j))``; no assumption on how the tests depend on
    each other. A NaN makes its family NaN.

    Args:
        p: P-values.
        axis: The axis of the family; several are one family.

    Returns:
        Corrected p-values, of the shape of ``p``.

    Raises:
        ValueError: For p-values outside [0, 1], and an axis that ``p`` does not have or that is empty.

    Source: Holm 1979.

    >>> holm(jnp.array([0.02, 0.01, 0.5]), axis=0).round(3)
    Array([0.04, 0.03, 0.5 ], dtype=float32)
    """
    checks.require(lambda v: (v >= 0) & (v <= 1), "`{}` must satisfy 0 <= {} <= 1", p=p)
    return _along(jnp.asarray(as_array("p", p)), axis=axis if isinstance(axis, int) else tuple(axis))


@partial(jax.jit, static_argnames="axis")
def _along(p: jax.Array, *, axis: Axes) -> jax.Array:
    dtype, (p,) = checks.wide_floats(p=p)
    family = sample_last("p", p, axis)
    adjusted, _ = stepped_down(family, jnp, partial(lax.cummax, axis=family.ndim - 1))
    adjusted = jnp.where(jnp.any(jnp.isnan(family), -1, keepdims=True), jnp.nan, adjusted)
    over = [a % p.ndim for a in ((axis,) if isinstance(axis, int) else axis)]
    kept = [a for a in range(p.ndim) if a not in over]
    moved = adjusted.reshape([p.shape[a] for a in (*kept, *over)])
    return jnp.transpose(moved, [(*kept, *over).index(a) for a in range(p.ndim)]).astype(dtype)


def stepped_down(p: Any, namespace: Any = np, highest_so_far: Callable[[Any], Any] = np.maximum.accumulate) -> Any:
    """Holm's correction along the last axis, with NumPy for a family on the host.

    Args:
        p: P-values ``[..., family]``, or ``[family]`` for NumPy.
        namespace: ``numpy`` or ``jax.numpy``.
        highest_so_far: The running maximum along the last axis.

    Returns:
        Corrected p-values, and by how many p-values each was multiplied itself: those not smaller than it.

    >>> stepped_down(np.array([0.02, 0.01, 0.5]))
    (array([0.04, 0.03, 0.5 ]), array([2., 3., 1.]))
    """
    order = namespace.argsort(p, axis=-1, stable=True)
    factor = namespace.broadcast_to(namespace.arange(p.shape[-1], 0, -1).astype(p.dtype), p.shape)
    stepped = highest_so_far(namespace.minimum(namespace.take_along_axis(p, order, -1) * factor, 1))
    back = namespace.argsort(order, axis=-1, stable=True)
    return namespace.take_along_axis(stepped, back, -1), namespace.take_along_axis(factor, back, -1)
