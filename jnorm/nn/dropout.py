"""Dropout that keeps the mean (inverted, Gaussian) or the mean and the variance (alpha) of what it acts on.

Common to all four functions:

- **Shapes and types.** ``x`` is a floating array of any shape; the result has its shape and dtype, half precision being
  computed in float32 and rounded once. One key gives one mask, whatever the dtype.
- **Draws.** An entry is dropped where 32 random bits are less than rate * 2^32: with a probability within 2^-32 of the
  rate, as float32 holds it. A block of Threefry, 120 operations, gives the bits of two entries. Keys of the
  implementation ``rbg`` cost about 2 operations an entry on GPUs and TPUs; but their bits differ between platforms and
  releases of the compiler, and under ``vmap`` over keys the first key draws for all lanes: no seed of a sweep is then
  what it is alone.
- **The rate** is the probability that an entry is dropped: one number, which may be traced (under ``vmap`` each lane
  has its own). At rate 0 the result is ``x``. A JAX array outside [0, 1) gives NaN, under ``vmap`` in its own
  lane. The mask has no derivative with respect to the rate, only the factors that make up for it do.
- **shared_axes** are axes along which all entries share one draw (Flax calls them ``broadcast_dims``).
- **train=False** returns ``x`` and needs no key.
- **Errors.** ``TypeError`` for an integer ``x``; ``ValueError`` for a rate outside [0, 1) that is a Python number or a
  NumPy array, for one that is no scalar, for an axis out of range, and for a missing key.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.activations._elementwise import pick
from jnorm.nn._axes import axes_of, other_axes
from jnorm.nn._dropping import SATURATION, check_rate, checked, kept_entries, kept_share, mask_shape, present

__all__ = [
    "Affine",
    "affine",
    "alpha_dropout",
    "dropout",
    "feature_alpha_dropout",
    "gaussian_dropout",
]


class Affine(NamedTuple):
    """The map ``scale * x + shift`` after the mask of alpha dropout.

    Attributes:
        scale: The factor, in at least float32.
        shift: What is added.
    """

    scale: jax.Array
    shift: jax.Array


def dropout(
    key: jax.Array | None, x: ArrayLike, rate: ArrayLike, *, train: bool, shared_axes: int | Sequence[int] = ()
) -> jax.Array:
    """Inverted dropout, ``y = d * x / (1 - rate)`` with ``d ~ Bernoulli(1 - rate)``, so that E[y] = x.

    The variance of an entry of mean square m2 grows by m2 * rate / (1 - rate). A dropped entry is 0 also where x is
    infinite or NaN.

    Args:
        key: Random key; None only where ``train`` is False.
        x: Floating array of any shape.
        rate: Probability that an entry is dropped, in [0, 1).
        train: Whether to drop; otherwise ``x`` comes back.
        shared_axes: Axes along which all entries share one draw.

    Returns:
        ``y``, in the shape and dtype of ``x``.

    Raises:
        TypeError: As in the module's docstring.
        ValueError: As in the module's docstring.

    Source: Srivastava et al. 2014 (JMLR 15), section 10, in the form that scales while training.

    >>> y = dropout(jax.random.key(0), jnp.ones(1000), 0.2, train=True)
    >>> sorted(set(y.tolist())), bool(abs(y.mean() - 1) < 0.05)
    ([0.0, 1.25], True)
    """
    x = checked(x, rate)
    if not train:
        return x
    kept = kept_entries(key, x, rate, shared_axes)
    return (pick(kept, x.astype(checks.wide(x.dtype)), 0) / kept_share(rate, x)).astype(x.dtype)


def gaussian_dropout(
    key: jax.Array | None, x: ArrayLike, rate: ArrayLike, *, train: bool, shared_axes: int | Sequence[int] = ()
) -> jax.Array:
    """Multiplicative noise ``y = x * (1 + e)``, ``e ~ N(0, rate / (1 - rate))``: moments as `dropout`'s, no zeros.

    The derivative with respect to the rate is infinite at rate 0.

    Args:
        key: Random key; None only where ``train`` is False.
        x: Floating array of any shape.
        rate: That of the `dropout` with the same moments, in [0, 1).
        train: Whether to add noise; otherwise ``x`` comes back.
        shared_axes: Axes along which all entries share one draw.

    Returns:
        ``y``, of the shape and dtype of ``x``.

    Raises:
        TypeError: As in the module's docstring.
        ValueError: Likewise.

    Source: Srivastava et al. 2014 (JMLR 15), section 10.

    >>> y = gaussian_dropout(jax.random.key(0), jnp.ones(100_000), 0.2, train=True)
    >>> bool(abs(y.mean() - 1) < 0.01), bool(abs(y.var() - 0.25) < 0.01)
    (True, True)
    """
    x = checked(x, rate)
    if not train:
        return x
    keep = kept_share(rate, x)
    odds = jnp.asarray(rate).astype(keep.dtype) / keep
    noise = jax.random.normal(present(key), mask_shape(x, shared_axes), keep.dtype)
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
    SELU's fixed point.

    Args:
        key: Random key; None only where ``train`` is False.
        x: Floating array of any shape.
        rate: Probability that an entry is dropped, in [0, 1).
        train: Whether to drop; otherwise ``x`` comes back.
        mean: Of ``x``; a scalar, may be traced.
        var: Variance of ``x``, positive; likewise.
        saturation: What a dropped entry becomes before the affine map; likewise. For the fixed point of
            ``scaled_elu(x, lam, alpha)`` it is -lam*alpha.
        shared_axes: Axes along which all entries share one draw.

    Returns:
        ``y``, shaped and typed as ``x``.

    Raises:
        TypeError: As in the module's docstring.
        ValueError: As there, and for ``var <= 0``.

    Source: Klambauer et al. 2017, section 3 ("New Dropout Technique").

    >>> x = jax.random.normal(jax.random.key(0), (100_000,))
    >>> y = alpha_dropout(jax.random.key(1), x, 0.1, train=True)
    >>> bool(abs(y.mean()) < 0.02), bool(abs(y.var() - 1) < 0.02)
    (True, True)
    """
    x = checked(x, rate)
    a, b = affine(rate, mean=mean, var=var, saturation=saturation, dtype=x.dtype)
    if not train:
        return x
    wide = a.dtype
    kept = pick(kept_entries(key, x, rate, shared_axes), x.astype(wide), jnp.asarray(saturation).astype(wide))
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

    Args:
        key: Random key; None only where ``train`` is False.
        x: Floating array of any shape with the axes named below.
        rate: Probability that a feature is dropped, in [0, 1).
        train: Whether to drop; otherwise ``x`` comes back.
        axis: The feature axis, or several; each feature of each example has one draw, which all other axes share.
        batch_axes: The axes that count examples; ``()`` for a single example.
        mean: Of ``x``, as in `alpha_dropout`.
        var: Variance of ``x``, as there.
        saturation: What a dropped entry becomes, as there.

    Returns:
        ``y``, like ``x``.

    Raises:
        TypeError: As in the module's docstring.
        ValueError: As there, and for ``var <= 0``.

    Source: Tompson et al. 2015 for whole features; Klambauer et al. 2017.

    >>> y = feature_alpha_dropout(jax.random.key(0), jnp.ones((2, 4, 4, 8)), 0.5, train=True)
    >>> bool((y == y[:, :1, :1]).all())
    True
    """
    x = checked(x, rate)
    own = {a for named in (axis, batch_axes) if named != () for a in axes_of(x, named)}
    shared = other_axes(x, tuple(own))
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

    The arguments broadcast. A traced rate outside [0, 1) gives NaN.

    Args:
        rate: Probability that an entry is dropped, in [0, 1).
        mean: Of the entries, which the map restores.
        var: Their variance, positive.
        saturation: What a dropped entry becomes, -lam*alpha for ``scaled_elu(x, lam, alpha)``.
        dtype: Of the data; by default that of the arguments. Half precision is computed in float32.

    Returns:
        Factor and summand, in ``dtype`` but at least float32.

    Raises:
        ValueError: For a known ``rate`` outside [0, 1) or ``var <= 0``.

    Source: Klambauer et al. 2017, section 3, and the same for any fixed point.

    >>> a, b = affine(0.05)
    >>> f"{a:.5f} {b:.5f}"
    '0.95484 0.08394'
    """
    check_rate(rate)
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var)
    own, arguments = checks.wide_floats(rate=rate, mean=mean, var=var, saturation=saturation)
    rate, mean, var, saturation = (v.astype(checks.wide(dtype or own)) for v in arguments)
    keep = kept_share(rate, rate)
    lost = rate * (saturation - mean)
    scale = jnp.sqrt(var / (keep * (lost * (saturation - mean) + var)))
    return Affine(scale, mean - scale * (mean + lost))
