"""Random changes of images that keep their class: pure functions of a key and a batch.

Images are real numbers [batch, height, width, ...], channels last if there are any. Each image draws its own change,
which its channels share. Floating dtypes are kept, integers become floats; NumPy integers past 2^24, which float32
would round, raise ``ValueError``. `shifted` and `rotated` make a change that the caller chooses.

>>> key, images = jax.random.key(0), jax.random.normal(jax.random.key(1), (32, 28, 28, 1))
>>> images = rotate(key, shift(key, images, 2), 15.0)

Every function raises ``ValueError`` for images of fewer than three axes (`noise` takes any shape) and ``TypeError`` for
complex or boolean ones. Rules for numbers hold for Python numbers and NumPy arrays; a JAX array that breaks one gives
NaN. Keys are typed or raw, of any implementation of random bits; two functions draw independently by one key.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy import ndimage
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.data import _words

__all__ = [
    "flip",
    "noise",
    "rotate",
    "rotated",
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
    dtype, images = _images(images)
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
    dtype, images = _images(images)
    offsets = jnp.asarray(offsets)
    if not jnp.issubdtype(offsets.dtype, jnp.integer):
        raise TypeError(f"`offsets` must hold whole pixels; got dtype {offsets.dtype}")
    if offsets.shape != (len(images), 2):
        raise ValueError(f"`offsets` must have shape {(len(images), 2)}; got {offsets.shape}")
    reach = max(images.shape[1:3])
    return _shift(images, jnp.clip(offsets, -reach, reach), reach, fill).astype(dtype)


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
    dtype, images = _images(images)
    _, (rate,) = checks.wide_floats(rate=rate)
    turn = jax.random.bernoulli(keys.stream(key, "data.flip"), rate, images.shape[:1])
    mirrored = jax.vmap(lambda t, image: jnp.where(t, jnp.flip(image, axis - 1), image))(turn, images)
    return jnp.where((rate >= 0) & (rate <= 1), mirrored, jnp.nan).astype(dtype)


def rotate(key: jax.Array, images: ArrayLike, limit: ArrayLike, *, fill: float = 0.0) -> jax.Array:
    """Images turned about their centre by an angle uniform in [-limit, limit] degrees, as by `rotated`.

    Args:
        key: A random key.
        images: Images [batch, height, width, ...].
        limit: The largest angle in degrees.
        fill: The value outside the image.

    >>> upright = jnp.zeros((1, 5, 5)).at[:, :, 2].set(1.0)
    >>> turned = rotate(jax.random.key(0), upright, 20.0)
    >>> float(turned[0, 2, 2]), bool((turned[0, 0, 1:4] > 0).sum() > 1)  # the centre stays, the ends are smeared
    (1.0, True)
    """
    _, (limit,) = checks.wide_floats(limit=limit)
    count = len(_images(images)[1])
    draws = jax.random.uniform(keys.stream(key, "data.rotate"), (count,), limit.dtype, -1.0)
    return rotated(images, limit * draws, fill=fill)


def rotated(images: ArrayLike, degrees: ArrayLike, *, fill: float = 0.0) -> jax.Array:
    """Images turned counterclockwise about their centre: `rotate` by angles that the caller chooses.

    The value at a pixel is that at R(-degrees) of its place, interpolated bilinearly between the four pixels around;
    outside the image these are ``fill``. Multiples of 90 degrees move pixels exactly, as ``jnp.rot90`` does where
    height and width are equal. An angle that is not finite gives NaN.

    Args:
        images: Images [batch, height, width, ...].
        degrees: Angles [batch], or one for all.
        fill: The value outside the image.

    Raises:
        ValueError: ``degrees`` have another shape.

    >>> rotated(jnp.array([[[1.0, 2.0], [3.0, 4.0]]]), 90.0).tolist()
    [[[2.0, 4.0], [1.0, 3.0]]]
    """
    dtype, images = _images(images)
    _, (degrees,) = checks.wide_floats(degrees=degrees)
    if degrees.shape not in ((), images.shape[:1]):
        raise ValueError(f"`degrees` must have shape () or {images.shape[:1]}; got {degrees.shape}")
    degrees = jnp.broadcast_to(degrees, images.shape[:1]).astype(images.dtype)
    height, width = images.shape[1:3]
    y = jnp.arange(height, dtype=images.dtype)[:, None] - (height - 1) / 2
    x = jnp.arange(width, dtype=images.dtype)[None, :] - (width - 1) / 2

    def turn(image: jax.Array, angle: jax.Array) -> jax.Array:
        cos, sin = _cos_sin(angle)
        at = [sin * x + cos * y + (height - 1) / 2, cos * x - sin * y + (width - 1) / 2]
        value = ndimage.map_coordinates(image, at, order=1, mode="constant", cval=fill)
        return jnp.where(jnp.isfinite(angle), value, jnp.nan)

    flat = images.reshape(*images.shape[:3], -1)
    turned = jax.vmap(jax.vmap(turn, (-1, None), -1))(flat, degrees)
    return turned.reshape(images.shape).astype(dtype)


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


def _images(images: ArrayLike) -> tuple[Any, jax.Array]:
    """The dtype of the result, and the images in at least float32."""
    _words.refuse_rounding(images=images)
    dtype, (x,) = checks.wide_floats(images=images)
    if x.ndim < 3:
        raise ValueError(f"`images` must have shape [batch, height, width, ...]; got {x.shape}")
    return dtype, x


def _shift(images: jax.Array, offsets: jax.Array, reach: int, fill: float) -> jax.Array:
    """A window on each padded image, for offsets within ``reach``: one copy, where a gather would take indices."""
    margin = [(reach, reach)] * 2 + [(0, 0)] * (images.ndim - 3)

    def move(image: jax.Array, offset: jax.Array) -> jax.Array:
        padded = jnp.pad(image, margin, constant_values=fill)
        return lax.dynamic_slice(padded, (*(reach - offset), *[0] * (image.ndim - 2)), image.shape)

    return jax.vmap(move)(images, offsets)


def _cos_sin(degrees: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Exact at multiples of 90."""
    quarters = jnp.round(degrees / 90)
    rest = jnp.deg2rad(degrees - 90 * quarters)
    cos, sin, quarter = jnp.cos(rest), jnp.sin(rest), quarters % 4
    which = [quarter == 0, quarter == 1, quarter == 2]
    return jnp.select(which, [cos, -sin, -cos], sin), jnp.select(which, [sin, cos, -sin], -cos)
