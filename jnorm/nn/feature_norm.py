"""Normalizers without a state: layer, group, instance and RMS norm, the same in training and evaluation.

Each example is normalized by its own entries, so that no statistics are kept. Statistics are centred, in at least
float32. Common to all four:

- **params** are those of `jnorm.nn.batch_norm`, from `init`; either part may be None.
- **mask** is True where an entry counts. It has the axes of ``x``, or these without the features, each of the length in
  ``x`` or 1. Entries that do not count are normalized too, and may hold anything: one that is not finite, or beyond
  1e19, is taken for 0, with a gradient of exactly 0. Where none counts, mean 0 and variance 1 are taken.
- **axis_name** is for an axis of ``shard_map`` or ``vmap`` over which what is summed is spread: features for layer and
  RMS norm, space for the others. `jnorm.nn.batch_norm.Groups` splits its members into groups.
- **Examples.** Layer and RMS norm sum over ``axis`` alone, whatever the other axes are. Instance and group norm sum
  over space, and must know which axes count examples: ``batch_axes``, 0 unless it is given. A single image [height,
  width, channels] needs ``batch_axes=()``, or each of its rows would be normalized as an image of its own.
- **A constant example**, or group, gives y = shift, and NaN at ``eps=0``.
- **Domain.** In float32, half precision too, standard deviations (for RMS norm, roots of mean squares) from 1e-16 to
  1e16 over up to 1e6 entries have accurate values and gradients, whatever ``eps``; in float64 from 1e-150 to 1e150.
  Beyond it squares overflow, and y is the shift, or vanish beside ``eps=0``, and y is not finite: scale such data.
- **Errors.** ``TypeError`` for an integer ``x`` or a mask that is not boolean; ``ValueError`` for ``eps < 0``, an axis
  out of range, feature counts other than those of the parameters, and a mask of another shape.

`jnorm.nn.layers.stateless` makes one of them the normalizer of a network's layers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn._axes import axes_of, floating, other_axes
from jnorm.nn._masks import mask_like, tamed
from jnorm.nn._moments import moments
from jnorm.nn._params import Params, broadcast_params, init
from jnorm.nn._scaling import inverse_root, light, scaled

__all__ = [
    "group_norm",
    "init",
    "instance_norm",
    "layer_norm",
    "rms_norm",
]


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

    Args:
        params: Scale and shift, of the lengths of ``axis``.
        x: Floating input of any shape.
        eps: Added to the variance, not negative.
        axis: The axis that is normalized, or several; all others count examples.
        axis_name: Mapped axis over which the features are spread.
        mask: Which entries count; None for all.

    Returns:
        ``y``, in the shape and dtype of ``x``.

    Raises:
        TypeError: As in the module's docstring.
        ValueError: As in the module's docstring.

    Source: Ba, Kiros, Hinton 2016 (arXiv 1607.06450), equation 3.

    >>> layer_norm(init(2), jnp.array([[1.0, 3.0], [100.0, 100.0]]), eps=0.01).round(2).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    x = floating(x)
    axes = axes_of(x, axis)
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

    An example of zeros gives y = shift, and NaN at ``eps=0``.

    Args:
        params: As in `layer_norm`; ``init(features, shift=False)`` gives the paper's.
        x: Floating input of any shape.
        eps: Added to the mean square, not negative.
        axis: As in `layer_norm`.
        axis_name: As in `layer_norm`.
        mask: Which entries count; None for all.

    Returns:
        ``y``, like ``x``.

    Raises:
        TypeError: As in the module's docstring.
        ValueError: Likewise.

    Source: Zhang, Sennrich 2019 (arXiv 1910.07467), equation 4.

    >>> rms_norm(init(2, shift=False), jnp.array([[1.0, 7.0], [0.0, 0.0]]), eps=0.0).round(1)
    Array([[0.2, 1.4],
           [nan, nan]], dtype=float32)
    """
    x = floating(x)
    axes = axes_of(x, axis)
    return _normalize(params, x, axes, axes, eps=eps, axis_name=axis_name, mask=mask, centered=False)


def instance_norm(
    params: Params,
    x: ArrayLike,
    *,
    eps: ArrayLike = 1e-5,
    axis: int = -1,
    batch_axes: int | Sequence[int] = 0,
    axis_name: Any = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Each feature of each example by itself, over all axes but ``batch_axes`` (examples) and ``axis`` (features).

    The equation is that of `layer_norm`; `group_norm` with as many groups as features does the same.

    Args:
        params: Scale and shift, one for each feature.
        x: Floating input [examples, ...] with a feature axis and one more axis at least.
        eps: Added to the variance, not negative.
        axis: The feature axis.
        batch_axes: The axes that count examples; ``()`` for a single example, as in code under ``vmap``.
        axis_name: Mapped axis over which space is spread.
        mask: Which entries count; None for all.

    Returns:
        ``y``, shaped and typed as ``x``.

    Raises:
        TypeError: As in the module's docstring.
        ValueError: As there, and where ``x`` has no axis beside examples and features.

    Source: Ulyanov, Vedaldi, Lempitsky 2016 (arXiv 1607.08022), equation 7.

    >>> image = jnp.array([[[1.0, 5.0], [3.0, 9.0]]])  # one example, two pixels, two channels
    >>> instance_norm(init(2), image, eps=0.0).tolist()
    [[[-1.0, -1.0], [1.0, 1.0]]]
    >>> instance_norm(init(2), image[0], eps=0.0, batch_axes=()).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """
    x = floating(x)
    features = axes_of(x, axis)
    batch = _examples(x, batch_axes, features)
    reduced = other_axes(x, (*batch, *features))
    if not reduced:
        raise ValueError(
            f"`x` must have one more axis beside examples {batch} and features {features}, or batch_axes=() for a "
            f"single example; got {x.shape}"
        )
    return _normalize(params, x, features, reduced, eps=eps, axis_name=axis_name, mask=mask)


def group_norm(
    params: Params,
    x: ArrayLike,
    *,
    groups: int,
    eps: ArrayLike = 1e-5,
    axis: int = -1,
    batch_axes: int | Sequence[int] = 0,
    axis_name: Any = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Groups of successive features of each example, over all axes but ``batch_axes`` (examples).

    The equation is that of `layer_norm`, with scale and shift per feature.

    Args:
        params: Scale and shift, one for each feature.
        x: Floating input [examples, ...] with a feature axis.
        groups: How many groups, a divisor of the number of features.
        eps: Added to the variance, not negative.
        axis: The feature axis.
        batch_axes: The axes that count examples; ``()`` for a single example, as in code under ``vmap``.
        axis_name: Mapped axis over which space is spread.
        mask: Which entries count; None for all.

    Returns:
        ``y``, of the shape and dtype of ``x``.

    Raises:
        TypeError: As in the module's docstring.
        ValueError: As there, and for ``groups`` that do not divide the features.

    Source: Wu, He 2018 (arXiv 1803.08494), equation 7.

    >>> group_norm(init(4), jnp.array([[1.0, 3.0, 7.0, 7.0]]), groups=2, eps=0.01).round(2).tolist()
    [[-1.0, 1.0, 0.0, 0.0]]
    """
    x = floating(x)
    (feature,) = features = axes_of(x, int(axis))
    batch = _examples(x, batch_axes, features)
    n = x.shape[feature]
    checks.require(
        lambda g: (g >= 1) & (n % np.maximum(g, 1) == 0), f"`{{}}` must divide the {n} features", groups=groups
    )
    mask = mask_like(x, mask, features)
    mask = mask if mask is None else _grouped(mask, feature, groups if mask.shape[feature] > 1 else 1)
    split = _grouped(x, feature, groups)
    params = Params(*(v if v is None else _grouped(v, 0, groups) for v in params))
    both = (feature, feature + 1)
    kept = (*(a if a < feature else a + 1 for a in batch), feature)
    y = _normalize(params, split, both, other_axes(split, kept), eps=eps, axis_name=axis_name, mask=mask)
    return y.reshape(x.shape)


def _examples(x: jax.Array, batch_axes: int | Sequence[int], features: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that count examples; they are not the features' as well."""
    batch = () if np.size(batch_axes) == 0 else axes_of(x, batch_axes)
    if set(batch) & set(features):
        raise ValueError(
            f"`batch_axes` must not hold the features' axis, and be () for a single example; got {batch_axes} with "
            f"features on {features} of {x.shape}"
        )
    return batch


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
    mask = mask_like(x, mask, features)
    scale, shift = broadcast_params(params, x, features)
    mean, var, _ = moments(x, reduced, mask=mask, axis_name=axis_name, centered=centered)
    return _separately(tamed(x, mask), mean, inverse_root(var + jnp.asarray(eps, var.dtype)), scale, shift)


@light
def _separately(x: jax.Array, mean: jax.Array, inverse: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """Statistics and parameters lie along different axes: one gain for both would be as large as x."""
    return (scaled(x, mean, inverse) * scale + shift).astype(x.dtype)
