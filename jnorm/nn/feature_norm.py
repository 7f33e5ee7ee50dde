"""Normalizers without a state: layer, group, instance and RMS norm, the same in training and evaluation.

Each example is normalized by its own entries, so no statistics are kept, and there is nothing to synchronize unless
the features themselves are spread over devices (``axis_name``). All take `jnorm.nn.batch_norm.Params`, whose parts may
be None, and keep the shape and dtype of ``x``; statistics are centred, in at least float32. Entries that ``mask``
leaves out do not count but are normalized too. Where no entry counts, mean 0 and variance 1 are taken.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn import _statistics as statistics
from jnorm.nn import batch_norm
from jnorm.nn._statistics import Params, broadcast_params

__all__ = [
    "group_norm",
    "init",
    "instance_norm",
    "layer_norm",
    "rms_norm",
]


def init(features: int | Sequence[int], *, scale: bool = True, shift: bool = True, dtype: Any = jnp.float32) -> Params:
    """Ones and zeros of the shape ``features``, the lengths of the feature axes; None for a part that is left out.

    Raises ``ValueError`` for a length below 1.

    >>> init(2, shift=False)
    Params(scale=Array([1., 1.], dtype=float32), shift=None)
    """
    return batch_norm.init(features, scale=scale, shift=shift, dtype=dtype)[0]


def layer_norm(
    params: Params,
    x: ArrayLike,
    *,
    eps: ArrayLike = 1e-5,
    axis: int | Sequence[int] = -1,
    axis_name: Any = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """``y = (x - mean) / sqrt(var + eps) * scale + shift``, mean and variance over ``axis`` of each example.

    ``scale`` and ``shift`` have the lengths of ``axis``. ``mask`` is True where an entry counts: it has the axes of
    ``x``, each of the length in ``x`` or 1. ``axis_name`` adds the statistics up over an axis of ``shard_map`` or
    ``vmap`` over which the features are spread. A constant example gives y = shift.

    Raises ``TypeError`` for an integer ``x`` or a mask that is not boolean; ``ValueError`` for ``eps < 0``, an axis out
    of range, other feature counts, or a mask of another shape.

    Source: Ba, Kiros, Hinton 2016 (arXiv 1607.06450), equation 3.

    >>> layer_norm(init(2), jnp.array([[1.0, 3.0], [100.0, 100.0]]), eps=0.01).round(2).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    x = statistics.floating(x)
    axes = statistics.axes_of(x, axis)
    return _normalize(params, x, axes, axes, eps=eps, axis_name=axis_name, mask=mask)


def rms_norm(
    params: Params,
    x: ArrayLike,
    *,
    eps: ArrayLike = 1e-5,
    axis: int | Sequence[int] = -1,
    axis_name: Any = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """``y = x / sqrt(mean(x^2) + eps) * scale + shift``, the mean over ``axis`` of each example; nothing is subtracted.

    Arguments and errors as in `layer_norm`; ``init(features, shift=False)`` gives the paper's parameters. An example of
    zeros gives y = shift, and NaN at ``eps=0``.

    Source: Zhang, Sennrich 2019 (arXiv 1910.07467), equation 4.

    >>> rms_norm(init(2, shift=False), jnp.array([[1.0, 7.0], [0.0, 0.0]]), eps=0.0).round(1)
    Array([[0.2, 1.4],
           [nan, nan]], dtype=float32)
    """
    x = statistics.floating(x)
    axes = statistics.axes_of(x, axis)
    return _normalize(params, x, axes, axes, eps=eps, axis_name=axis_name, mask=mask, centered=False)


def instance_norm(
    params: Params,
    x: ArrayLike,
    *,
    eps: ArrayLike = 1e-5,
    axis: int = -1,
    axis_name: Any = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Each feature of each example by itself, over all axes but 0 (examples) and ``axis`` (features).

    Equation, arguments and errors as in `layer_norm`, with ``scale`` and ``shift`` per feature; `group_norm` with as
    many groups as features. Also raises ``ValueError`` where ``x`` has no axis between examples and features.

    Source: Ulyanov, Vedaldi, Lempitsky 2016 (arXiv 1607.08022), equation 7.

    >>> instance_norm(init(1), jnp.array([[[1.0], [3.0]]]), eps=0.0).tolist()
    [[[-1.0], [1.0]]]
    """
    x = statistics.floating(x)
    features = statistics.axes_of(x, axis)
    reduced = statistics.others(x, (0, *features))
    if not reduced or 0 in features:
        raise ValueError(f"`x` must have examples on axis 0, features on another and one more axis; got {x.shape}")
    return _normalize(params, x, features, reduced, eps=eps, axis_name=axis_name, mask=mask)


def group_norm(
    params: Params,
    x: ArrayLike,
    *,
    groups: int,
    eps: ArrayLike = 1e-5,
    axis: int = -1,
    axis_name: Any = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Groups of successive features of each example, over all axes but 0 (examples).

    Equation, arguments and errors as in `layer_norm`, with ``scale`` and ``shift`` per feature. ``axis_name`` is for
    spatial axes spread over devices. Also raises ``ValueError`` for ``groups`` that do not divide the features.

    Source: Wu, He 2018 (arXiv 1803.08494), equation 7.

    >>> group_norm(init(4), jnp.array([[1.0, 3.0, 7.0, 7.0]]), groups=2, eps=0.01).round(2).tolist()
    [[-1.0, 1.0, 0.0, 0.0]]
    """
    x = statistics.floating(x)
    (feature,) = features = statistics.axes_of(x, int(axis))
    if 0 in features:
        raise ValueError(f"`x` must have examples on axis 0 and features on another; got axis {axis} of {x.shape}")
    n = x.shape[feature]
    checks.require(
        lambda g: (g >= 1) & (n % np.maximum(g, 1) == 0), f"`{{}}` must divide the {n} features", groups=groups
    )
    mask = statistics.mask_like(x, mask, features)
    mask = mask if mask is None else _grouped(mask, feature, groups if mask.shape[feature] > 1 else 1)
    split = _grouped(x, feature, groups)
    params = Params(*(v if v is None else _grouped(v, 0, groups) for v in params))
    both = (feature, feature + 1)
    y = _normalize(params, split, both, statistics.others(split, (0, feature)), eps=eps, axis_name=axis_name, mask=mask)
    return y.reshape(x.shape)


def _grouped(x: jax.Array, axis: int, groups: int) -> jax.Array:
    """The axis cut into (groups, length / groups)."""
    return x.reshape(*x.shape[:axis], groups, -1, *x.shape[axis + 1 :])


def _normalize(
    params: Params,
    x: jax.Array,
    features: Sequence[int],
    reduced: Sequence[int],
    *,
    eps: ArrayLike,
    axis_name: Any,
    mask: ArrayLike | None,
    centered: bool = True,
) -> jax.Array:
    """Normalization over ``reduced``, then scale and shift along ``features``."""
    checks.require(lambda e: e >= 0, "`{}` must satisfy {} >= 0", eps=eps)
    mask = statistics.mask_like(x, mask, features)
    scale, shift = broadcast_params(params, x, features)
    mean, var, _ = statistics.moments(x, reduced, mask=mask, axis_name=axis_name, centered=centered)
    return _scaled(x, mean, lax.rsqrt(var + jnp.asarray(eps, var.dtype)), scale, shift)


@statistics.light
def _scaled(x: jax.Array, mean: jax.Array, inverse: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    # Statistics and parameters lie along different axes: one gain for both would be as large as x.
    return (statistics.scaled(x, mean, inverse) * scale + shift).astype(x.dtype)
