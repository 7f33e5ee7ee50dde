import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jnorm.data import augment

pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(3)
IMAGES = np.random.default_rng(0).normal(size=(6, 7, 7, 2)).astype(np.float32)
rotated = jax.jit(augment.rotated, static_argnames="fill")  # eager, its many steps compile one by one
WIDE = np.random.default_rng(1).normal(size=(4, 5, 8)).astype(np.float32)


def test_a_shift_by_zero_and_a_turn_by_zero_change_nothing():
    @jax.jit
    def unchanged(images, zero):
        return (
            augment.shift(KEY, images, 0),
            augment.shifted(images, jnp.zeros((len(images), 2), int)),
            augment.rotate(KEY, images, zero),
            augment.rotated(images, 360.0 + zero),
            augment.noise(KEY, images, zero),
        )

    for images in (IMAGES, WIDE):
        for same in unchanged(images, 0.0):
            np.testing.assert_array_equal(same, images)


@pytest.mark.parametrize("offset", [(2, -1), (0, 3), (-4, 4), (5, 0), (-99, 99)])
def test_shifts_are_scipys(offset):
    got = augment.shifted(WIDE, np.tile(offset, (4, 1)), fill=0.5)
    exact = [ndimage.shift(image, offset, order=0, cval=0.5) for image in WIDE]
    np.testing.assert_array_equal(got, exact)


def test_random_shifts_are_uniform_and_whole():
    # One lit pixel in the middle shows where it went. 900 draws of 9 places: sd of a count is sqrt(900 * 8) / 9 = 9.4.
    images = np.zeros((900, 5, 5), np.float32)
    images[:, 2, 2] = 1
    seen = np.sum(jax.jit(lambda k: augment.shift(k, images, 1))(KEY), axis=0)
    assert np.sum(seen) == np.sum(seen[1:4, 1:4]) == 900
    assert np.max(np.abs(seen[1:4, 1:4] - 100)) < 4 * 9.4  # z = 4, 9 places: p < 6e-4


def test_flips():
    for axis in (1, 2):
        once = augment.flip(KEY, IMAGES, axis=axis)
        np.testing.assert_array_equal(augment.flip(KEY, once, axis=axis), IMAGES)
        np.testing.assert_array_equal(augment.flip(KEY, IMAGES, 1.0, axis=axis), np.flip(IMAGES, axis))
        np.testing.assert_array_equal(augment.flip(KEY, IMAGES, 0.0, axis=axis), IMAGES)
        turned = [np.any(a != b) for a, b in zip(once, IMAGES, strict=True)]
        assert 0 < np.sum(turned) < 6


def test_flips_are_the_same_where_float64_is_enabled():
    with jax.enable_x64(True):
        images = augment.flip(KEY, IMAGES)
    np.testing.assert_array_equal(augment.flip(KEY, IMAGES), images)


def test_flips_come_at_their_rate():
    # 10000 images, rate .2: sd of the share .004, z = 4.
    images = np.tile(np.float32([[[0.0, 1.0]]]), (10000, 1, 1))
    share = np.mean(augment.flip(KEY, images, 0.2)[:, 0, 0])
    assert abs(share - 0.2) < 4 * 0.004


@pytest.mark.parametrize("quarters", [-5, -1, 1, 2, 3, 4])
def test_quarter_turns_are_exact(quarters):
    np.testing.assert_array_equal(rotated(IMAGES, 90.0 * quarters), np.rot90(IMAGES, quarters, (1, 2)))


def test_half_a_turn_of_a_wide_image_is_exact():
    np.testing.assert_array_equal(rotated(WIDE, 180.0), WIDE[:, ::-1, ::-1])


@pytest.mark.parametrize("degrees", [-130.0, -20.0, 0.3, 45.0, 89.0, 200.0])
def test_turns_are_scipys(degrees, x64):
    images = WIDE.astype(np.float64)
    got = rotated(images, degrees, fill=0.5)
    # grid-constant interpolates with the fill at the border, as here; scipy's angle runs the same way.
    exact = [ndimage.rotate(i, degrees, reshape=False, order=1, mode="grid-constant", cval=0.5) for i in images]
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-13)  # some hundred eps: places are up to 8


def test_random_turns_are_within_the_limit_and_differ(x64):
    # A plane is interpolated exactly: its slope along x and y shows the angle.
    y, x = np.mgrid[-3:4, -3:4]
    images = np.tile(np.float64(x), (500, 1, 1))
    inner = np.asarray(jax.jit(augment.rotate)(KEY, images, 20.0))[:, 2:5, 2:5]
    cos, sin = (np.mean(inner * plane[2:5, 2:5], (1, 2)) / np.mean(x[2:5, 2:5] ** 2) for plane in (x, -y))
    angle = np.degrees(np.arctan2(sin, cos))
    np.testing.assert_allclose(cos**2 + sin**2, 1, rtol=1e-12)
    assert np.max(np.abs(angle)) <= 20
    assert np.max(angle) > 19
    assert np.min(angle) < -19  # the 500 miss a fortieth of the range with p = 3e-6


def test_noise_has_its_variance():
    # 10^6 entries: the sample mean has sd .3 / 1000, the sample variance sd .09 * sqrt(2e-6); z = 4.
    added = np.float64(augment.noise(KEY, jnp.ones((100, 100, 100)), 0.09)) - 1
    assert abs(np.mean(added)) < 4 * 3e-4
    assert abs(np.var(added) - 0.09) < 4 * 0.09 * np.sqrt(2e-6)


CALLS = {
    "shift": lambda key, x: augment.shift(key, x, 2),
    "flip": augment.flip,
    "rotate": lambda key, x: augment.rotate(key, x, 30.0),
    "noise": lambda key, x: augment.noise(key, x, 0.1),
    "crop": lambda key, x: augment.crop(key, x, 2),
    "shear": lambda key, x: augment.shear(key, x, 30.0),
    "elastic": lambda key, x: augment.elastic(key, x, 4.0, 2.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_channels_change_together_and_images_apart(name):
    same = np.tile(IMAGES[:1, ..., :1], (6, 1, 1, 2))
    out = CALLS[name](KEY, same)
    if name != "noise":
        np.testing.assert_array_equal(out[..., 0], out[..., 1])
    assert any(np.any(out[0] != other) for other in out[1:])


@pytest.mark.parametrize("name", CALLS)
def test_dtypes(name):
    for given, kept in ((jnp.bfloat16, jnp.bfloat16), (jnp.uint8, jnp.float32)):
        assert jax.eval_shape(CALLS[name], KEY, jnp.ones((2, 3, 3), given)).dtype == kept


def test_failure_inside_jit_is_nan():
    assert np.all(np.isnan(jax.jit(augment.flip)(KEY, IMAGES, 1.5)))
    assert np.all(np.isnan(jax.jit(augment.noise)(KEY, IMAGES, -1.0)))
    degrees = np.float32([0, 0, np.inf, 0, 0, np.nan])
    bad = np.any(np.isnan(rotated(IMAGES, degrees)), (1, 2, 3))
    np.testing.assert_array_equal(bad, ~np.isfinite(degrees))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: augment.shift(KEY, IMAGES, -1), ValueError, "`limit` must be a whole number >= 0; got -1"),
        (lambda: augment.shift(KEY, IMAGES[0, 0], 1), ValueError, r"`images` must have shape .* got \(7, 2\)"),
        (lambda: augment.flip(KEY, IMAGES > 0), TypeError, "`images` must hold real numbers; got dtype bool"),
        (lambda: augment.flip(KEY, IMAGES, 1.1), ValueError, "`rate` must satisfy 0 <= rate <= 1; got 1.1"),
        (lambda: augment.flip(KEY, IMAGES, axis=3), ValueError, r"`axis` must be 1 \(height\) or 2 \(width\); got 3"),
        (lambda: augment.noise(KEY, IMAGES, -0.1), ValueError, "`var` must satisfy var >= 0; got -0.1"),
        (
            lambda: augment.rotated(IMAGES, np.ones(3)),
            ValueError,
            r"`degrees` must have shape \(\) or \(6,\); got \(3,\)",
        ),
        (
            lambda: augment.shifted(IMAGES, np.ones((6, 2))),
            TypeError,
            "`offsets` must hold whole pixels; got dtype float",
        ),
        (
            lambda: augment.shifted(IMAGES, np.ones(6, int)),
            ValueError,
            r"`offsets` must have shape \(6, 2\); got \(6,\)",
        ),
    ],
)
def test_bad_input_names_the_rule_and_the_value(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_raw_keys_of_any_implementation_draw_the_same(impl):
    key = jax.random.key(3, impl=impl)
    raw = jax.random.key_data(key)
    for change in CALLS.values():
        with jax.default_prng_impl(impl):
            for same in (change(raw, IMAGES), change(np.asarray(raw), IMAGES)):
                np.testing.assert_array_equal(same, change(key, IMAGES))
    with pytest.raises(TypeError, match=r"`key` must be a random key, such as jax.random.key\(0\); got 3"):
        augment.flip(3, IMAGES)


def test_integers_that_floats_would_round_are_refused():
    depth = np.full((1, 4, 4), 2**24)
    np.testing.assert_array_equal(augment.shifted(depth, [[0, 0]]), depth)
    for change in (lambda x: augment.shifted(x, [[0, 0]]), lambda x: augment.noise(KEY, x, 0.0)):
        with pytest.raises(ValueError, match=r"`images` must hold integers of at most 2\^24 .*; got 16777217"):
            change(depth + 1)


def test_windows_are_those_of_numpy():
    corners = np.random.default_rng(3).integers(0, [3, 5], (6, 2))
    exact = [image[a : a + 5, b : b + 3] for image, (a, b) in zip(IMAGES, corners, strict=True)]
    np.testing.assert_array_equal(augment.cropped(IMAGES, corners, (5, 3)), exact)
    np.testing.assert_array_equal(augment.cropped(IMAGES, np.zeros((6, 2), int), 7), IMAGES)


def test_random_windows_are_uniform():
    """900 windows of 3 x 3 at 9 places of 5 x 5: sd of a count is sqrt(900 * 8) / 9 = 9.4; z = 4, p < 6e-4."""
    images = np.tile(np.arange(25, dtype=np.float32).reshape(5, 5), (900, 1, 1))
    first = np.asarray(jax.jit(lambda k: augment.crop(k, images, 3))(KEY))[:, 0, 0].astype(int)
    places, counts = np.unique(first, return_counts=True)
    np.testing.assert_array_equal(places, [0, 1, 2, 5, 6, 7, 10, 11, 12])
    assert np.max(np.abs(counts - 100)) < 4 * 9.4


@pytest.mark.parametrize("degrees", [-60.0, -20.0, 0.3, 45.0])
def test_shears_are_scipys(degrees, x64):
    images = WIDE.astype(np.float64)
    got = jax.jit(augment.sheared, static_argnames="fill")(images, degrees, fill=0.5)
    slope, middle = np.tan(np.deg2rad(degrees)), (images.shape[1] - 1) / 2
    options = {"order": 1, "mode": "grid-constant", "cval": 0.5}
    exact = [ndimage.affine_transform(i, [[1, 0], [slope, 1]], offset=(0, -slope * middle), **options) for i in images]
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-13)  # some hundred eps: places are up to 8


def test_random_shears_are_within_the_limit_and_differ(x64):
    """A plane is interpolated exactly: its slope along y shows the tangent."""
    images = np.tile(np.mgrid[-3.0:4, -3:4][1], (500, 1, 1))
    inner = np.asarray(jax.jit(augment.shear)(KEY, images, 20.0))[:, 2:5, 2:5]
    np.testing.assert_allclose(inner[:, 1], images[:, 3, 2:5], atol=1e-14)
    angle = np.degrees(np.arctan((inner[:, 2] - inner[:, 0])[:, 1] / 2))
    assert np.max(np.abs(angle)) <= 20
    assert np.max(angle) > 19
    assert np.min(angle) < -19  # the 500 miss a fortieth of the range with p = 3e-6


def test_displacements_are_scipys(x64):
    images = WIDE.astype(np.float64)
    field = np.random.default_rng(4).normal(size=(4, 2, 5, 8)) * 2
    got = jax.jit(augment.displaced, static_argnames="fill")(images, field, fill=0.5)
    grid = np.mgrid[:5, :8]
    options = {"order": 1, "mode": "grid-constant", "cval": 0.5}
    exact = [ndimage.map_coordinates(i, grid + d, **options) for i, d in zip(images, field, strict=True)]
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-13)


def test_elastic_fields_are_smoothed_as_scipy_does(x64, monkeypatch):
    images, fields, noise = WIDE.astype(np.float64), [], []
    uniform = jax.random.uniform
    monkeypatch.setattr(jax.random, "uniform", lambda *args: noise.append(uniform(*args)) or noise[-1])
    monkeypatch.setattr("jnorm.data._warps.displaced", lambda images, field, fill: fields.append(field) or images)
    for alpha, sigma in ((3.0, 0.7), (34.0, 4.0)):
        augment.elastic(KEY, images, alpha, sigma)
        assert np.max(np.abs(noise[-1])) <= 1
        along = lambda u, axis, sigma=sigma: ndimage.gaussian_filter1d(  # reaches from border to border, 0 beyond
            u, sigma, axis, mode="constant", radius=u.shape[axis] - 1
        )
        exact = alpha * along(along(np.asarray(noise[-1]), 2), 3)
        np.testing.assert_allclose(fields[-1], exact, rtol=0, atol=1e-13)


def test_elastic_fields_are_as_large_as_they_say():
    """alpha / (sigma sqrt(12 pi)) root mean square in the middle of a large image, along each axis."""
    plane = np.tile(np.mgrid[:64, :64][1].astype(np.float32), (40, 1, 1))
    moved = np.asarray(jax.jit(augment.elastic)(KEY, plane, 8.0, 3.0))[:, 24:40, 24:40] - plane[:, 24:40, 24:40]
    # 40 images of some 9 independent patches each: relative standard error of a root mean square sqrt(1 / 720) = .04.
    assert abs(np.sqrt(np.mean(moved**2)) / (8 / (3 * np.sqrt(12 * np.pi))) - 1) < 4 * 0.04
    np.testing.assert_array_equal(augment.elastic(KEY, IMAGES, 0.0, 3.0), IMAGES)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: augment.crop(KEY, IMAGES, 0), ValueError, "`size` must be a whole number >= 1; got 0"),
        (lambda: augment.crop(KEY, IMAGES, 8), ValueError, r"`size` must be .* those of the images, \(7, 7\); got 8"),
        (lambda: augment.crop(KEY, IMAGES, (3, 8)), ValueError, r"`size` must be .*; got \(3, 8\)"),
        (lambda: augment.crop(KEY, IMAGES, (3, 3, 3)), ValueError, r"`size` must be .*; got \(3, 3, 3\)"),
        (
            lambda: augment.cropped(IMAGES, np.tile([0, 5], (6, 1)), (7, 3)),
            ValueError,
            r"`corners` must satisfy 0 <= corners <= \(0, 4\); got 5",
        ),
        (
            lambda: augment.cropped(IMAGES, np.ones((6, 2)), 3),
            TypeError,
            "`corners` must hold whole pixels; got dtype f",
        ),
        (lambda: augment.shear(KEY, IMAGES, 90), ValueError, "`limit` must satisfy 0 <= limit < 90; got 90"),
        (lambda: augment.sheared(IMAGES, -90.0), ValueError, "`degrees` must satisfy -90 < degrees < 90; got -90.0"),
        (lambda: augment.sheared(IMAGES, np.ones(3)), ValueError, r"`degrees` must have shape \(\) or \(6,\); got"),
        (lambda: augment.elastic(KEY, IMAGES, -1.0, 1.0), ValueError, "`alpha` must satisfy alpha >= 0; got -1.0"),
        (lambda: augment.elastic(KEY, IMAGES, 1.0, 0.0), ValueError, "`sigma` must satisfy sigma > 0; got 0.0"),
        (
            lambda: augment.displaced(IMAGES, np.ones((6, 2, 7))),
            ValueError,
            r"`displacements` must have shape \(6, 2, 7, 7\); got \(6, 2, 7\)",
        ),
    ],
)
def test_bad_windows_and_warps_name_the_rule_and_the_value(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_failure_of_warps_inside_jit_is_nan():
    corners = jnp.asarray([[0, 0], [4, 4], [5, 0], [0, -1], [0, 0], [99, 0]])
    bad = np.any(np.isnan(jax.jit(lambda c: augment.cropped(IMAGES, c, 3))(corners)), (1, 2, 3))
    np.testing.assert_array_equal(bad, [False, False, True, True, False, True])
    degrees = np.float32([0, 89, 90, -91, np.inf, np.nan])
    bad = np.any(np.isnan(jax.jit(augment.sheared)(IMAGES, degrees)), (1, 2, 3))
    np.testing.assert_array_equal(bad, [False, False, True, True, True, True])
    elastic = jax.jit(augment.elastic)
    assert all(np.all(np.isnan(elastic(KEY, IMAGES, *numbers))) for numbers in ((-1.0, 2.0), (1.0, 0.0), (1.0, np.nan)))
