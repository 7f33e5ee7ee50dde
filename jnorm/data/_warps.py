"""Images turned, sheared and bent: each pixel takes the value at another place, interpolated between four pixels."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import ndimage
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.data import _words


def prepared(images: ArrayLike) -> tuple[Any, jax.Array]:
    """The dtype of the result, and the images in at least float32."""
    _words.refuse_rounding(images=images)
    dtype, (x,) = checks.wide_floats(images=images)
    if x.ndim < 3:
        raise ValueError(f"`images` must have shape [batch, height, width, ...]; got {x.shape}")
    return dtype, x


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
    return rotated(images, _drawn(key, "data.rotate", images, limit), fill=fill)


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
    dtype, images = prepared(images)
    height, width = images.shape[1:3]
    y, x = _centred(images)

    def places(angle: jax.Array) -> list[jax.Array]:
        cos, sin = _cos_sin(angle)
        return [sin * x + cos * y + (height - 1) / 2, cos * x - sin * y + (width - 1) / 2]

    return _warped(images, places, _angles(degrees, images), fill).astype(dtype)


def shear(key: jax.Array, images: ArrayLike, limit: ArrayLike, *, fill: float = 0.0) -> jax.Array:
    """Images sheared along their width by an angle uniform in [-limit, limit] degrees, as by `sheared`.

    Args:
        key: A random key.
        images: Images [batch, height, width, ...].
        limit: The largest angle in degrees, 0 <= limit < 90.
        fill: The value outside the image.

    Raises:
        ValueError: ``limit`` is out of range.

    >>> upright = jnp.zeros((1, 5, 5)).at[:, :, 2].set(1.0)
    >>> slanted = shear(jax.random.key(0), upright, 20.0)
    >>> slanted[0].sum(1).round(4).tolist(), float(slanted[0, 2, 2])  # every row keeps its sum, the middle its place
    ([1.0, 1.0, 1.0, 1.0, 1.0], 1.0)
    """
    checks.require(lambda a: (a >= 0) & (a < 90), "`{}` must satisfy 0 <= {} < 90", limit=limit)
    return sheared(images, _drawn(key, "data.shear", images, limit), fill=fill)


def sheared(images: ArrayLike, degrees: ArrayLike, *, fill: float = 0.0) -> jax.Array:
    """Images sheared along their width: `shear` by angles that the caller chooses.

    The value at a pixel y rows below the centre is that tan(degrees) * y columns to its right, interpolated between the
    two pixels around: an upright line leans to the right by that angle. An angle that is not finite, or as large as a
    right one, gives NaN.

    Args:
        images: Images [batch, height, width, ...].
        degrees: Angles [batch], or one for all, -90 < degrees < 90.
        fill: The value outside the image.

    Raises:
        ValueError: ``degrees`` have another shape, or are out of range.

    >>> sheared(jnp.eye(3)[None], 45.0).round(4).tolist()  # a diagonal stands upright
    [[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]]
    """
    checks.require(lambda a: abs(a) < 90, "`{}` must satisfy -90 < {} < 90", degrees=degrees)
    dtype, images = prepared(images)
    height, width = images.shape[1:3]
    y, x = _centred(images)

    def places(angle: jax.Array) -> list[jax.Array]:
        cos, sin = _cos_sin(jnp.where(jnp.abs(angle) < 90, angle, jnp.nan))
        return [jnp.broadcast_to(y + (height - 1) / 2, (height, width)), x + sin / cos * y + (width - 1) / 2]

    return _warped(images, places, _angles(degrees, images), fill).astype(dtype)


def elastic(key: jax.Array, images: ArrayLike, alpha: ArrayLike, sigma: ArrayLike, *, fill: float = 0.0) -> jax.Array:
    """Images bent by a smooth random field, ``alpha * (Gaussian of deviation sigma * U(-1, 1))``, as by `displaced`.

    Far from the border a pixel's place moves by alpha / (sigma sqrt(12 pi)) along each axis, root mean square: by 1.4
    pixels with the paper's alpha = 34, sigma = 4 for images of 29 x 29. Beyond the border the noise counts as 0.

    Args:
        key: A random key.
        images: Images [batch, height, width, ...].
        alpha: The size of the field, in pixels.
        sigma: How smooth it is, in pixels.
        fill: The value outside the image.

    Raises:
        ValueError: ``alpha < 0`` or ``sigma <= 0``.

    Source: Simard, Steinkraus, Platt 2003, section 2.

    >>> upright = jnp.zeros((1, 9, 9)).at[:, :, 4].set(1.0)
    >>> bent = elastic(jax.random.key(0), upright, 8.0, 2.0)
    >>> bool(jnp.all(jnp.abs(bent.sum(2) - 1) < 0.5)), bool((bent > 0.1).sum() > 9)  # a line, not straight
    (True, True)
    """
    checks.require(lambda a: a >= 0, "`{}` must satisfy {} >= 0", alpha=alpha)
    checks.require(lambda s: s > 0, "`{}` must satisfy {} > 0", sigma=sigma)
    _, x = prepared(images)
    height, width = x.shape[1:3]
    alpha, sigma = (jnp.asarray(value).astype(x.dtype) for value in (alpha, sigma))
    noise = jax.random.uniform(keys.stream(key, "data.elastic"), (len(x), 2, height, width), x.dtype, -1.0)
    field = jnp.einsum(
        "ij,najk,lk->nail", _gaussian(height, sigma), noise, _gaussian(width, sigma), precision="highest"
    )
    return displaced(images, jnp.where((alpha >= 0) & (sigma > 0), alpha, jnp.nan) * field, fill=fill)


def displaced(images: ArrayLike, displacements: ArrayLike, *, fill: float = 0.0) -> jax.Array:
    """Images of which each pixel takes the value some rows below it and columns to its right: `elastic` by a field.

    Values are interpolated bilinearly between the four pixels around; outside the image these are ``fill``. A
    displacement that is not finite gives NaN in its pixel.

    Args:
        images: Images [batch, height, width, ...].
        displacements: Rows and columns [batch, 2, height, width], in pixels.
        fill: The value outside the image.

    Raises:
        ValueError: ``displacements`` have another shape.

    >>> down = jnp.zeros((1, 2, 2, 2)).at[:, 0].set(0.5)
    >>> displaced(jnp.array([[[1.0, 2.0], [3.0, 4.0]]]), down).tolist()  # half a row below lies half of what is outside
    [[[2.0, 3.0], [1.5, 2.0]]]
    """
    dtype, images = prepared(images)
    _, (field,) = checks.wide_floats(displacements=displacements)
    shape = (len(images), 2, *images.shape[1:3])
    if field.shape != shape:
        raise ValueError(f"`displacements` must have shape {shape}; got {field.shape}")
    rows, columns = (jnp.arange(n, dtype=images.dtype) for n in images.shape[1:3])

    def places(field: jax.Array) -> list[jax.Array]:
        return [rows[:, None] + field[0], columns[None, :] + field[1]]

    return _warped(images, places, field.astype(images.dtype), fill).astype(dtype)


def _drawn(key: jax.Array, purpose: str, images: ArrayLike, limit: ArrayLike) -> jax.Array:
    """An angle for each image, uniform in [-limit, limit]."""
    _, (limit,) = checks.wide_floats(limit=limit)
    count = len(prepared(images)[1])
    return limit * jax.random.uniform(keys.stream(key, purpose), (count,), limit.dtype, -1.0)


def _angles(degrees: ArrayLike, images: jax.Array) -> jax.Array:
    """An angle for each image."""
    _, (degrees,) = checks.wide_floats(degrees=degrees)
    if degrees.shape not in ((), images.shape[:1]):
        raise ValueError(f"`degrees` must have shape () or {images.shape[:1]}; got {degrees.shape}")
    return jnp.broadcast_to(degrees, images.shape[:1]).astype(images.dtype)


def _centred(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows [height, 1] and columns [1, width], counted from the centre."""
    y, x = (jnp.arange(n, dtype=images.dtype) - (n - 1) / 2 for n in images.shape[1:3])
    return y[:, None], x[None, :]


def _warped(
    images: jax.Array, places: Callable[[jax.Array], list[jax.Array]], numbers: jax.Array, fill: float
) -> jax.Array:
    """Each image at the places, rows and columns, that its own number gives; its channels go together."""

    def warp(image: jax.Array, number: jax.Array) -> jax.Array:
        return ndimage.map_coordinates(image, places(number), order=1, mode="constant", cval=fill)

    flat = images.reshape(*images.shape[:3], -1)
    return jax.vmap(jax.vmap(warp, (-1, None), -1))(flat, numbers).reshape(images.shape)


def _gaussian(size: int, sigma: jax.Array) -> jax.Array:
    """The matrix that smooths a column of as many pixels, of weights that add up to 1 over all whole distances."""
    distance = jnp.arange(size, dtype=sigma.dtype)
    weights = jnp.exp(-jnp.square(distance / sigma) / 2)
    between = jnp.abs(jnp.arange(size)[:, None] - jnp.arange(size)[None, :])
    return weights[between] / (2 * jnp.sum(weights) - 1)


def _cos_sin(degrees: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Exact at multiples of 90."""
    quarters = jnp.round(degrees / 90)
    rest = jnp.deg2rad(degrees - 90 * quarters)
    cos, sin, quarter = jnp.cos(rest), jnp.sin(rest), quarters % 4
    which = [quarter == 0, quarter == 1, quarter == 2]
    return jnp.select(which, [cos, -sin, -cos], sin), jnp.select(which, [sin, cos, -sin], -cos)
