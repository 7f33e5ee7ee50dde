"""Scale and shift of a normalizer: fresh, and broadcast against its input."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm._ground import checks
from jnorm.nn._axes import lengths, other_axes


class Params(NamedTuple):
    """What a normalizer learns; None stands for a part that is left out.

    Attributes:
        scale: Factor of the normalized input, of the features' shape; None is 1.
        shift: What is added last, of the same shape; None is 0.
    """

    scale: jax.Array | None
    shift: jax.Array | None


def init(features: int | Sequence[int], *, scale: bool = True, shift: bool = True, dtype: Any = None) -> Params:
    """Parameters that change nothing: a scale of ones and a shift of zeros.

    Args:
        features: Length of the feature axis, or of several in ascending order of the axes.
        scale: Whether there is a scale.
        shift: Whether there is a shift; `jnorm.nn.feature_norm.rms_norm` as published has none.
        dtype: Of the parameters; None is the default float (float64 under ``jax.enable_x64``), as for initializers.
            Layers keep the dtype of their input whatever it is.

    Returns:
        `Params` whose parts have the shape ``features``, or are None.

    Raises:
        ValueError: For a length below 1.

    >>> init(2, shift=False)
    Params(scale=Array([1., 1.], dtype=float32), shift=None)
    """
    shape = tuple(np.atleast_1d(features).tolist())
    checks.require(lambda n: n >= 1, "`{}` must satisfy {} >= 1", features=features)
    return Params(jnp.ones(shape, dtype) if scale else None, jnp.zeros(shape, dtype) if shift else None)


def per_feature(
    name: str, value: jax.Array | None, default: float, shape: tuple[int, ...], reduced: Sequence[int], dtype: Any
) -> jax.Array:
    """A scale, shift or running statistic of the features' ``shape``, ready to broadcast, or its default for None."""
    if value is None:
        return jnp.full((1,) * (len(shape) + len(reduced)), default, dtype)
    if jnp.shape(value) != shape:
        raise ValueError(f"`{name}` must have the features of `x`, {shape}; got {jnp.shape(value)}")
    return jnp.expand_dims(jnp.asarray(value).astype(dtype), tuple(reduced))


def broadcast_params(params: Params, x: jax.Array, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Scale and shift (1 and 0 where left out), broadcast against ``x`` with features on ``axes``, at least float32.

    Raises ``ValueError`` where the features of ``x`` are not those of the parameters.

    >>> [a.tolist() for a in broadcast_params(Params(jnp.array([1.0, 2.0]), None), jnp.zeros((3, 2)), (1,))]
    [[[1.0, 2.0]], [[0.0]]]
    """
    shape, reduced = lengths(x, axes), other_axes(x, axes)
    wide = checks.wide(x.dtype)
    scale = per_feature("params.scale", params.scale, 1.0, shape, reduced, wide)
    return scale, per_feature("params.shift", params.shift, 0.0, shape, reduced, wide)
