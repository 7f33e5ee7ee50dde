"""Dropout that keeps the mean (inverted, Gaussian) or the mean and the variance (alpha) of what it acts on.

Common to all four functions:

- **Shapes and types.** ``x`` is a floating array of any shape; the result has its shape and dtype, half precision being
  computed in float32 and rounded once. A mask is drawn in float32 whatever the dtype: one key, one mask.
- **The rate** is the probability that an entry is dropped: one number, which may be traced (under ``vmap`` each lane
  has its own). At rate 0 the result is ``x``. A traced rate outside [0, 1) gives NaN in its own lane. The mask has no
  derivative with respect to the rate, only the factors that make up for it do.
- **shared_axes** are axes along which all entries share one draw (Flax calls them ``broadcast_dims``).
- **train=False** returns ``x`` and needs no key.
- **Errors.** ``TypeError`` for an integer ``x``; ``ValueError`` for a rate outside [0, 1) that is known, for one that
  is no scalar, for an axis out of range, and for a missing key.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.activations import SELU_ALPHA, SELU_LAMBDA
from jnorm.nn import _statistics as statistics

__all__ = [
    "SATURATION",
    "Affine",
    "affine",
    "alpha_dropout",
    "dropout",
    "feature_alpha_dropout",
    "gaussian_dropout",
]

SATURATION = -SELU_LAMBDA * SELU_ALPHA
"""SELU's limit for x -> -inf, which is what alpha dropout puts in the place of dropped entries."""


class Affine(NamedTuple):
    """The map ``scale * x + shift`` after the mask of alpha dropout."""

    scale: jax.Array
    shift: jax.Array


def dropout(
    key: jax.Array | None, x: ArrayLike, rate: ArrayLike, *, train: bool, shared_axes: int | Sequence[int] = ()
) -> jax.Array:
    """Inverted dropout, ``y = d * x / (1 - rate)`` with ``d ~ Bernoulli(1 - rate)``, so that E[y] = x.

    The variance of an entry of mean square m2 grows by m2 * rate / (1 - rate). A dropped entry is 0 also where x is
    infinite or NaN. Shapes, rate and errors as in the module's docstring.

    Source: Srivastava et al. 2014 (JMLR 15), section 10, in the form that scales while training.

    >>> y = dropout(jax.random.key(0), jnp.ones(1000), 0.2, train=True)
    >>> sorted(set(y.tolist())), bool(abs(y.mean() - 1) < 0.05)
    ([0.0, 1.25], True)
    """
    x = _checked(x, rate)
    if not train:
        return x
    kept = _kept(key, x, rate, shared_axes)
    return (jnp.where(kept, x.astype(checks.wide(x.dtype)), 0) / _keep(rate, x)).astype(x.dtype)


def gaussian_dropout(
    key: jax.Array | None, x: ArrayLike, rate: ArrayLike, *, train: bool, shared_axes: int | Sequence[int] = ()
) -> jax.Array:
    """Multiplicative noise ``y = x * (1 + e)``, ``e ~ N(0, rate / (1 - rate))``: moments as `dropout`'s, no zeros.

    The derivative with respect to the rate is infinite at rate 0. Shapes, rate and errors as in the module's docstring.

    Source: Srivastava et al. 2014 (JMLR 15), section 10.

    >>> y = gaussian_dropout(jax.random.key(0), jnp.ones(100_000), 0.2, train=True)
    >>> bool(abs(y.mean() - 1) < 0.01), bool(abs(y.var() - 0.25) < 0.01)
    (True, True)
    """
    x = _checked(x, rate)
    if not train:
        return x
    keep = _keep(rate, x)
    odds = jnp.asarray(rate).astype(keep.dtype) / keep
    noise = jax.random.normal(_present(key), _mask_shape(x, shared_axes), keep.dtype)
    return (x.astype(keep.dtype) * (1 + jnp.sqrt(odds) * noise)).astype(x.dtype)


def alpha_dropout(
    key: jax.Array | None,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    train: bool,
    mean: ArrayLike = 0.0,
    var: ArrayLike = 1.0,
    saturation: ArrayLike = SATURATION,
    shared_axes: int | Sequence[int] = (),
) -> jax.Array:
    """Dropout to the saturation of a scaled ELU, ``y = a * (d * x + (1 - d) * saturation) + b``.

    With ``a`` and ``b`` from `affine`, y has the ``mean`` and ``var`` of x exactly, where x has these: defaults are
    SELU's fixed point. For the fixed point of ``scaled_elu(x, lam, alpha)`` the ``saturation`` is -lam*alpha.
    ``mean``, ``var`` and ``saturation`` are scalars and may be traced. Shapes, rate and errors as in the module's
    docstring, and ``ValueError`` for ``var <= 0``.

    Source: Klambauer et al. 2017, section 3 ("New Dropout Technique").

    >>> x = jax.random.normal(jax.random.key(0), (100_000,))
    >>> y = alpha_dropout(jax.random.key(1), x, 0.1, train=True)
    >>> bool(abs(y.mean()) < 0.02), bool(abs(y.var() - 1) < 0.02)
    (True, True)
    """
    x = _checked(x, rate)
    a, b = affine(rate, mean=mean, var=var, saturation=saturation, dtype=x.dtype)
    if not train:
        return x
    wide = a.dtype
    kept = jnp.where(_kept(key, x, rate, shared_axes), x.astype(wide), jnp.asarray(saturation).astype(wide))
    return (a * kept + b).astype(x.dtype)


def feature_alpha_dropout(
    key: jax.Array | None,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    train: bool,
    axis: int | Sequence[int] = -1,
    batch_axes: int | Sequence[int] = 0,
    mean: ArrayLike = 0.0,
    var: ArrayLike = 1.0,
    saturation: ArrayLike = SATURATION,
) -> jax.Array:
    """`alpha_dropout` of whole features: an image keeps or loses a channel everywhere.

    One draw for each feature (``axis``) of each example (``batch_axes``, ``()`` for a single example); all other axes
    share it. Otherwise as `alpha_dropout`.

    Source: Tompson et al. 2015 for whole features; Klambauer et al. 2017.

    >>> y = feature_alpha_dropout(jax.random.key(0), jnp.ones((2, 4, 4, 8)), 0.5, train=True)
    >>> bool((y == y[:, :1, :1]).all())
    True
    """
    x = _checked(x, rate)
    own = {a for named in (axis, batch_axes) if named != () for a in statistics.axes_of(x, named)}
    shared = statistics.others(x, tuple(own))
    return alpha_dropout(key, x, rate, train=train, mean=mean, var=var, saturation=saturation, shared_axes=shared)


def affine(
    rate: ArrayLike,
    *,
    mean: ArrayLike = 0.0,
    var: ArrayLike = 1.0,
    saturation: ArrayLike = SATURATION,
    dtype: Any = None,
) -> Affine:
    """The map of alpha dropout that restores mean and variance.

    With q = 1 - rate and s the saturation, a masked entry has the mean q*mean + (1 - q)*s and the variance
    q*((1 - q)*(s - mean)^2 + var); hence

        a = sqrt(var / (q*((1 - q)*(s - mean)^2 + var))),    b = mean - a*(q*mean + (1 - q)*s).

    The arguments broadcast; the result has ``dtype`` (by default theirs), but at least float32. A traced rate outside
    [0, 1) gives NaN. Raises ``ValueError`` for ``rate`` outside [0, 1) and ``var <= 0`` where these are known.

    Source: Klambauer et al. 2017, section 3, and the same for any fixed point.

    >>> a, b = affine(0.05)
    >>> f"{a:.5f} {b:.5f}"
    '0.95484 0.08394'
    """
    _check_rate(rate)
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var)
    own, arguments = checks.wide_floats(rate=rate, mean=mean, var=var, saturation=saturation)
    rate, mean, var, saturation = (v.astype(checks.wide(dtype or own)) for v in arguments)
    keep = _keep(rate, rate)
    lost = rate * (saturation - mean)
    scale = jnp.sqrt(var / (keep * (lost * (saturation - mean) + var)))
    return Affine(scale, mean - scale * (mean + lost))


def _check_rate(rate: ArrayLike) -> None:
    checks.require(lambda r: (r >= 0) & (r < 1), "`{}` must satisfy 0 <= {} < 1", rate=rate)


def _checked(x: ArrayLike, rate: ArrayLike) -> jax.Array:
    """``x`` as a floating array, and a rate that is one number in range."""
    x = statistics.floating(x)
    if jnp.shape(rate):
        raise ValueError(f"`rate` must be a scalar (vmap over several); got shape {jnp.shape(rate)}")
    _check_rate(rate)
    return x


def _keep(rate: ArrayLike, x: jax.Array) -> jax.Array:
    """1 - rate in at least float32; NaN for a rate out of range, of which a mask alone would show no sign."""
    rate = jnp.asarray(rate).astype(checks.wide(x.dtype))
    return jnp.where((rate >= 0) & (rate < 1), 1 - rate, jnp.nan)


def _present(key: jax.Array | None) -> jax.Array:
    if key is None:
        raise ValueError("`key` must be a random key where train=True; got None")
    return key


def _mask_shape(x: jax.Array, shared_axes: int | Sequence[int]) -> tuple[int, ...]:
    shared = () if shared_axes == () else statistics.axes_of(x, shared_axes)
    return tuple(1 if a in shared else n for a, n in enumerate(x.shape))


def _kept(key: jax.Array | None, x: jax.Array, rate: ArrayLike, shared_axes: int | Sequence[int]) -> jax.Array:
    keep = jax.lax.stop_gradient(_keep(rate, x)).astype(jnp.float32)
    return jax.random.bernoulli(_present(key), keep, _mask_shape(x, shared_axes))
