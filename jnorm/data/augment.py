"""Random changes of images that keep their class: pure functions of a key and a batch.

Images are real numbers [batch, height, width, ...], channels last if there are any. Each image draws its own change,
which its channels share. Floating dtypes are kept, integers become floats; NumPy integers past 2^24, which float32
would round, raise ``ValueError``. `shifted`, `cropped`, `rotated`, `sheared` and `displaced` make a change that the
caller chooses.

>>> key, images = jax.random.key(0), jax.random.normal(jax.random.key(1), (32, 28, 28, 1))
>>> images = rotate(key, shift(key, images, 2), 15.0)

Every function raises ``ValueError`` for images of fewer than three axes (`noise` takes any shape) and ``TypeError`` for
complex or boolean ones. Rules for numbers hold for Python numbers and NumPy arrays; a JAX array that breaks one gives
NaN. Keys are typed or raw, of any implementation of random bits; two functions draw independently by one key.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.data import _words
from jnorm.data._warps import displaced, elastic, prepared, rotate, rotated, shear, sheared

__all__ = [
    "crop",
    "cropped",
    "displaced",
    "elastic",
    "flip",
    "noise",
    "rotate",
    "rotated",
    "shear",
    "sheared",
    "shift",
    "shifted",
]


def shift(key: jax.Array, images: ArrayLike, limit: int, *, fill: float = 0.0) -> jax.Array:
    """Images moved by whole pixels, uniform in {-limit, ..., limit} along height and width alike.

    Args:
        key: A random key.
        images: Images [batch, height, width, ...].
        limit: The largest move in pixels, static.
        fill: The value of pixels that come in from outside.

    Raises:
        ValueError: ``limit`` is not a whole number >= 0.

    >>> pixel = jnp.zeros((1, 5, 5)).at[:, 2, 2].set(1.0)
    >>> moved = shift(jax.random.key(0), pixel, 1)
    >>> float(moved[:, 1:4, 1:4].sum())  # within one pixel of where it was
    1.0
    """
    checks.whole(0, limit=limit)
    dtype, images = prepared(images)
    offsets = jax.random.randint(keys.stream(key, "data.shift"), (len(images), 2), -limit, limit + 1)
    return _shift(images, offsets, int(limit), fill).astype(dtype)


def shifted(images: ArrayLike, offsets: ArrayLike, *, fill: float = 0.0) -> jax.Array:
    """Images moved down and to the right by whole pixels: `shift` by offsets that the caller chooses.

    Args:
        images: Images [batch, height, width, ...].
        offsets: Pixels down and to the right [batch, 2], integers.
        fill: The value of pixels that come in from outside.

    Raises:
        TypeError: ``offsets`` are not integers.
        ValueError: ``offsets`` have another shape.

    >>> shifted(jnp.array([[[1.0, 2.0], [3.0, 4.0]]]), jnp.array([[0, 1]])).tolist()
    [[[0.0, 1.0], [0.0, 3.0]]]
    """
    dtype, images = prepared(images)
    offsets = _whole("offsets", offsets, len(images))
    reach = max(images.shape[1:3])
    return _shift(images, jnp.clip(offsets, -reach, reach), reach, fill).astype(dtype)


def crop(key: jax.Array, images: ArrayLike, size: int | Sequence[int]) -> jax.Array:
    """Windows of a smaller size, each at a place that is uniform among all where it lies within its image.

    ``jax.image.resize(windows, images.shape, "linear")`` restores the size for a network that needs it.

    Args:
        key: A random key.
        images: Images [batch, height, width, ...].
        size: Height and width of the windows, or one number for both, static.

    Returns:
        The windows [batch, *size, ...].

    Raises:
        ValueError: ``size`` is no whole number >= 1, no pair of them, or larger than the images.

    >>> crop(jax.random.key(0), jnp.ones((32, 28, 28, 1)), 24).shape
    (32, 24, 24, 1)
    """
    _, x = prepared(images)
    height, width = _window(size, x)
    room = jnp.array([x.shape[1] - height + 1, x.shape[2] - width + 1])
    corners = jax.random.randint(keys.stream(key, "data.crop"), (len(x), 2), 0, room[None])
    return cropped(images, corners, (height, width))


def cropped(images: ArrayLike, corners: ArrayLike, size: int | Sequence[int]) -> jax.Array:
    """Windows of the images: `crop` at places that the caller chooses.

    Args:
        images: Images [batch, height, width, ...].
        corners: The first row and the first column of each window [batch, 2], integers.
        size: Height and width of the windows, or one number for both, static.

    Returns:
        The windows [batch, *size, ...]; NaN where a window does not lie within its image.

    Raises:
        TypeError: ``corners`` are not integers.
        ValueError: ``corners`` have another shape or are out of range; ``size`` as for `crop`.

    >>> cropped(jnp.arange(9.0).reshape(1, 3, 3), jnp.array([[1, 0]]), (2, 1)).tolist()
    [[[3.0], [6.0]]]
    """
    dtype, x = prepared(images)
    shape = _window(size, x)
    room = np.subtract(x.shape[1:3], shape)
    at = _whole("corners", corners, len(x))
    rule = f"`{{}}` must satisfy 0 <= {{}} <= {tuple(room.tolist())}"
    known = corners if isinstance(corners, jax.Array) else np.asarray(corners)
    checks.require(lambda c: (c >= 0) & (c <= room), rule, corners=known)

    def window(image: jax.Array, corner: jax.Array) -> jax.Array:
        inside = jnp.all((corner >= 0) & (corner <= jnp.asarray(room, corner.dtype)))
        start, lengths = (*corner, *[0] * (image.ndim - 2)), (*shape, *image.shape[2:])
        return jnp.where(inside, lax.dynamic_slice(image, start, lengths), jnp.nan)

    return jax.vmap(window)(x, at).astype(dtype)


def flip(key: jax.Array, images: ArrayLike, rate: ArrayLike = 0.5, *, axis: int = 2) -> jax.Array:
    """Images mirrored with probability ``rate``: left to right, or top to bottom with ``axis=1``.

    The same key twice restores the images.

    Args:
        key: A random key.
        images: Images [batch, height, width, ...].
        rate: Probability of a flip, in [0, 1].
        axis: 2 mirrors along the width, 1 along the height.

    Raises:
        ValueError: ``rate`` is outside [0, 1], or ``axis`` is neither 1 nor 2.

    >>> flip(jax.random.key(0), jnp.array([[[1.0, 2.0, 3.0]]]), 1.0).tolist()
    [[[3.0, 2.0, 1.0]]]
    """
    checks.require(lambda r: (r >= 0) & (r <= 1), "`{}` must satisfy 0 <= {} <= 1", rate=rate)
    checks.require(lambda a: (a == 1) | (a == 2), "`{}` must be 1 (height) or 2 (width)", axis=axis)
    dtype, images = prepared(images)
    _, (rate,) = checks.wide_floats(rate=rate)
    # In float32 whatever the rate's dtype: one key, the same images.
    turn = jax.random.bernoulli(keys.stream(key, "data.flip"), rate.astype(jnp.float32), images.shape[:1])
    mirrored = jax.vmap(lambda t, image: jnp.where(t, jnp.flip(image, axis - 1), image))(turn, images)
    return jnp.where((rate >= 0) & (rate <= 1), mirrored, jnp.nan).astype(dtype)


def noise(key: jax.Array, images: ArrayLike, var: ArrayLike) -> jax.Array:
    """Images plus independent normal noise of variance ``var`` in each entry.

    Args:
        key: A random key.
        images: Real numbers of any shape.
        var: Variance of the noise, broadcast against the images.

    Raises:
        ValueError: ``var < 0``.

    >>> noisy = noise(jax.random.key(0), jnp.zeros((100, 28, 28)), 0.25)
    >>> f"{noisy.var():.2f}"
    '0.25'
    """
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=var)
    _words.refuse_rounding(images=images)
    dtype, (x,) = checks.wide_floats(images=images)
    draws = jax.random.normal(keys.stream(key, "data.noise"), x.shape, x.dtype)
    return (x + jnp.sqrt(jnp.asarray(var, x.dtype)) * draws).astype(dtype)


def _window(size: int | Sequence[int], images: jax.Array) -> tuple[int, int]:
    """Height and width of a window, which fit."""
    pair = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    checks.whole(1, size=list(pair))
    height, width = images.shape[1:3]
    if len(pair) != 2 or pair[0] > height or pair[1] > width:
        raise ValueError(f"`size` must be a height and a width within those of the images, {height, width}; got {size}")
    return int(pair[0]), int(pair[1])


def _whole(name: str, pairs: ArrayLike, count: int) -> jax.Array:
    """Two whole numbers of pixels for each image."""
    pairs = jnp.asarray(pairs)
    if not jnp.issubdtype(pairs.dtype, jnp.integer):
        raise TypeError(f"`{name}` must hold whole pixels; got dtype {pairs.dtype}")
    if pairs.shape != (count, 2):
        raise ValueError(f"`{name}` must have shape {(count, 2)}; got {pairs.shape}")
    return pairs


def _shift(images: jax.Array, offsets: jax.Array, reach: int, fill: float) -> jax.Array:
    """A window on each padded image, for offsets within ``reach``: one copy, where a gather would take indices."""
    margin = [(reach, reach)] * 2 + [(0, 0)] * (images.ndim - 3)

    def move(image: jax.Array, offset: jax.Array) -> jax.Array:
        padded = jnp.pad(image, margin, constant_values=fill)
        return lax.dynamic_slice(padded, (*(reach - offset), *[0] * (image.ndim - 2)), image.shape)

    return jax.vmap(move)(images, offsets)
