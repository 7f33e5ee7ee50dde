from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.data import standardize
from jnorm.data.standardize import Scale, apply, fit, invert, merge

pytestmark = pytest.mark.usefixtures("unoptimized")

EPS = float(np.finfo(np.float32).eps)


def exact(x, axis=0):
    x = np.asarray(x, np.float64)
    return np.nanmean(x, axis), np.nanvar(x, axis)


def mean_of(scale):
    return np.float64(scale.mean) + np.float64(scale.low)


def draws(seed, shape, mean=0.0, sd=1.0):
    return (mean + sd * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize(("mean", "sd"), [(0, 1), (1e4, 1), (-3e6, 1), (1e-8, 1e-8), (1e10, 1e9), (1e15, 1e10)])
def test_statistics_of_far_and_small_data(mean, sd):
    x = draws(0, (20_000, 3), mean, sd)
    scale = jax.jit(fit)(x)
    center, var = exact(x)
    # Differences from the smallest value are exact or rounded once, as is every square: a few eps of the spread.
    assert np.all(np.abs(mean_of(scale) - center) <= 8 * EPS * np.sqrt(var))
    np.testing.assert_allclose(scale.var, var, rtol=16 * EPS)
    y = np.float64(apply(scale, x))
    # 20 eps: as above, and the rounding of standardized values up to 4.5.
    assert np.all(np.abs(y.mean(0)) < 20 * EPS)
    assert np.all(np.abs(y.std(0) - 1) < 20 * EPS)


def test_a_mean_of_one_word_would_fail_here():
    x = draws(1, (20_000, 3), 3e6, 1)
    scale = fit(x)
    y = np.float64((x - np.asarray(scale.mean)) / np.sqrt(np.asarray(scale.var)))
    assert np.max(np.abs(y.mean(0))) > 1e-3  # 400 times the bound above


def test_matches_the_plain_formula_in_double(x64):
    x = np.random.default_rng(2).normal(3.0, 2.0, (500, 4))
    scale = fit(x)
    assert scale.mean.dtype == scale.var.dtype == jnp.float64
    assert scale.count.dtype == jnp.int64
    # 1e-14: rounding of sums of 500 terms in float64
    np.testing.assert_allclose(apply(scale, x), (x - x.mean(0)) / x.std(0), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("axis", "over"), [(-1, (0, 1, 2)), (1, (0, 2, 3)), ((1, 2), (0, 3)), ((-1, -3), (0, 2)), ((), (0, 1, 2, 3))]
)
def test_feature_axes(axis, over):
    x = draws(3, (7, 5, 4, 3), 2.0, 3.0)
    scale = fit(x, axis=axis)
    center, var = exact(x, over)
    assert scale.mean.shape == center.shape == scale.count.shape
    assert np.all(np.asarray(scale.count) == np.prod([x.shape[a] for a in over]))
    np.testing.assert_allclose(scale.mean, center, rtol=16 * EPS, atol=16 * EPS)
    np.testing.assert_allclose(scale.var, var, rtol=16 * EPS)
    wide = np.expand_dims(center, over), np.expand_dims(np.sqrt(var), over)
    y = apply(scale, x, axis=axis)
    np.testing.assert_allclose(y, (x - wide[0]) / wide[1], rtol=1e-5, atol=16 * EPS)
    np.testing.assert_allclose(invert(scale, y, axis=axis), x, rtol=4 * EPS, atol=32 * EPS)


def test_a_single_example_uses_the_same_scale():
    x = draws(4, (50, 3))
    scale = fit(x)
    # 2 eps: XLA divides single rows and batches by different instructions
    np.testing.assert_allclose(apply(scale, x)[7], apply(scale, x[7]), rtol=2 * EPS)


@pytest.mark.parametrize("mean", [0.0, 1e4])
@pytest.mark.parametrize("sizes", [(1, 999), (999, 1), (500, 500), (0, 1000), (1000, 0), (3, 0, 400, 1, 596)])
def test_merged_fits_equal_one_fit(sizes, mean):
    x = draws(5, (1000, 2), mean)
    x[:500] += 3  # so that the parts have different means
    parts = np.split(x, np.cumsum(sizes)[:-1])
    got = reduce(merge, [fit(part) for part in parts])
    center, var = exact(x)
    np.testing.assert_array_equal(got.count, [1000, 1000])
    # 16 eps of the spread: a few roundings in each of at most four merges
    assert np.all(np.abs(mean_of(got) - center) <= 16 * EPS * np.sqrt(var))
    np.testing.assert_allclose(got.var, var, rtol=16 * EPS)


def test_merging_with_an_empty_scale_changes_nothing():
    scale = fit(draws(6, (100, 2), 1e20, 1e18))
    empty = fit(jnp.zeros((0, 2)))
    for merged in (merge(scale, empty), merge(empty, scale)):
        jax.tree.map(np.testing.assert_array_equal, merged, scale)
    jax.tree.map(np.testing.assert_array_equal, merge(empty, empty), empty)
    assert np.all(np.isnan(apply(empty, jnp.ones((1, 2)))))


def test_merge_commutes_and_keeps_small_parts():
    a, b = fit(draws(7, (1_000_000, 1), 0.0, 1e3)), fit(draws(8, (10, 1), 5.0))
    # 4 eps: the two orders round differently
    np.testing.assert_allclose(merge(a, b).var, merge(b, a).var, rtol=4 * EPS)
    np.testing.assert_allclose(mean_of(merge(a, b)), mean_of(merge(b, a)), rtol=4 * EPS, atol=4e3 * EPS)
    small_beside_wide = merge(
        Scale(jnp.asarray(1), jnp.asarray(0.0), jnp.asarray(0.0), jnp.asarray(1e12)),
        Scale(jnp.asarray(10**7), jnp.asarray(0.0), jnp.asarray(0.0), jnp.asarray(1.0)),
    )
    np.testing.assert_allclose(small_beside_wide.var, (1e12 + 1e7) / (1e7 + 1), rtol=4 * EPS)


def test_streaming_under_scan_and_a_padded_last_batch():
    x = draws(9, (70, 3), 1e4)
    padded = np.concatenate([x, np.full((10, 3), np.nan, np.float32)]).reshape(5, 16, 3)
    got, _ = jax.lax.scan(lambda s, batch: (merge(s, fit(batch)), None), fit(jnp.zeros((0, 3))), padded)
    center, var = exact(x)
    np.testing.assert_array_equal(got.count, [70] * 3)
    assert np.all(np.abs(mean_of(got) - center) <= 16 * EPS * np.sqrt(var))
    np.testing.assert_allclose(got.var, var, rtol=16 * EPS)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7, 1e-30])
def test_constant_features(value):
    x = np.full((997, 2), value, np.float32)
    x[:, 1] = draws(10, 997)
    scale = reduce(merge, [fit(part) for part in np.array_split(x, 4)])
    assert scale.var[0] == 0
    y = apply(scale, x)
    assert np.all(np.asarray(y[:, 0]) == 0)
    assert np.all(np.asarray(invert(scale, y)[:, 0]) == x[:, 0])
    unseen = np.array([[value + 1, 0.0]], np.float32)
    np.testing.assert_allclose(invert(scale, apply(scale, unseen)), unseen, rtol=2 * EPS, atol=2 * EPS)


def test_missing_values_stay_in_their_place():
    x = draws(11, (100, 3))
    x[::7, 1] = np.nan
    x[:, 2] = np.nan
    scale = fit(x)
    np.testing.assert_array_equal(scale.count, [100, 85, 0])
    np.testing.assert_allclose(scale.var[:2], np.nanvar(np.float64(x[:, :2]), 0), rtol=16 * EPS)
    y = np.asarray(apply(scale, x))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    np.testing.assert_array_equal(np.isnan(invert(scale, y)), np.isnan(x))
    assert np.all(np.isnan(apply(scale, jnp.ones((1, 3)))) == [False, False, True])


def test_what_is_infinite_is_nan_in_its_own_lane():
    x = draws(12, (50, 4))
    x[3, 1] = np.inf
    x[0, 2], x[1, 2] = 3e38, -3e38  # whose difference leaves float32
    assert np.isnan(fit(x).var).tolist() == [False, True, True, False]
    assert np.isnan(apply(fit(x), x)).any(0).tolist() == [False, True, True, False]
    merged = merge(fit(x), fit(draws(13, (500, 4))))
    assert np.isnan(merged.var).tolist() == [False, True, True, False]


SIZES = [1e-30, 1e-20, 3e-19, 1.0, 1e18, 1e20, 1e30, 1e37]


def standardized(x):
    x = np.float64(x)
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize("size", SIZES)
def test_data_of_any_size_are_standardized(size):
    x = (draws(16, (2000, 2)) * np.float32(size)).astype(np.float32)
    scale = jax.jit(fit)(x)
    np.testing.assert_allclose(
        np.sqrt(np.float64(scale.var)) * np.float64(scale.unit), np.float64(x).std(0), rtol=8 * EPS
    )
    # 16 eps of values up to 4: a few roundings each of mean and deviation
    np.testing.assert_allclose(apply(scale, x), standardized(x), rtol=16 * EPS, atol=16 * EPS)
    np.testing.assert_allclose(
        np.float64(invert(scale, apply(scale, x))) / size, np.float64(x) / size, rtol=0, atol=32 * EPS
    )
    parts = reduce(merge, [fit(part) for part in np.split(x, [1, 700, 1999])])
    np.testing.assert_allclose(apply(parts, x), standardized(x), rtol=32 * EPS, atol=32 * EPS)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_inverted_may_have_any_size(size):
    scale = fit(np.array([[-size], [size]], np.float32))  # mean 0, deviation ``size`` in float32
    y = np.float32(2.0) ** np.arange(-120, 128, 4, dtype=np.float32)[:, None]
    exact = np.float64(y) * np.float64(np.float32(size))
    kept = ((exact > 1.2e-38) & (exact < 3.4e38))[:, 0]
    got, slope = invert(scale, y), jax.vmap(jax.grad(lambda v: invert(scale, v).sum()))(jnp.asarray(y))
    np.testing.assert_allclose(got[kept], exact[kept], rtol=4 * EPS)
    np.testing.assert_allclose(slope[kept], np.full_like(slope[kept], size), rtol=4 * EPS)
    assert np.all(np.isinf(got[exact > 3.5e38]))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32])
def test_ordinary_sizes_have_unit_one(dtype):
    scale = fit(jnp.asarray(draws(17, (100, 2), 3.0, 1e3), dtype))
    np.testing.assert_array_equal(scale.unit, [1, 1])
    assert scale.unit.dtype == jnp.float32


@pytest.mark.parametrize(("a", "b"), [(1e-20, 1e20), (1e-20, 1.0), (1.0, 1e20), (1e-30, 1e-20), (1e18, 1e20)])
def test_sizes_far_apart_merge(a, b):
    x = np.concatenate([draws(18, (300, 1)) * np.float32(a), draws(19, (200, 1)) * np.float32(b)])
    for parts in ((x[:300], x[300:]), (x[300:], x[:300])):
        scale = merge(*map(fit, parts))
        deviation = np.sqrt(np.float64(scale.var)) * np.float64(scale.unit)
        np.testing.assert_allclose(deviation, np.float64(x).std(0), rtol=16 * EPS)
    slopes = jax.grad(lambda v: apply(merge(fit(v[:300]), fit(v[300:])), v[300:]).sum())(jnp.asarray(x))
    assert np.all(np.isfinite(slopes))


def test_sizes_of_double_precision(x64):
    x = np.random.default_rng(20).normal(size=(500, 2)) * [1e-200, 1e200]
    got = apply(reduce(merge, [fit(part) for part in np.array_split(x, 3)]), x)
    # 1e-13: rounding of sums of 500 terms, merged; the reference divides by powers of two first
    y = x * [2.0**660, 2.0**-660]
    np.testing.assert_allclose(got, (y - y.mean(0)) / y.std(0), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("value", [7, 1e-30, 1e20])
def test_one_row_is_only_shifted(value):
    scale = fit(np.full((1, 2), value, np.float32))
    np.testing.assert_array_equal(scale.var, [0, 0])
    np.testing.assert_array_equal(apply(scale, np.full((1, 2), value, np.float32)), np.zeros((1, 2)))


# Time stamps: in float32 1 700 000 000 and all up to ...063 are one number.
STAMPS = 1_700_000_000 + 60 * np.array([0, 1, 2, 5, 9, 10])
WHOLE = {
    "seconds": STAMPS,
    "below zero": -STAMPS,
    "milliseconds": 1000 * STAMPS + 7,
    "past 2^24": 2**24 + np.arange(6),
    "around zero": np.array([-1, 0, 1, 2, -2, 3]),
    "of all sizes": np.array([-(2**31), 2**31 - 1, 0, 5, 2**24 + 1, -(2**24) - 1]),
    "unsigned": np.array([2**32 - 1, 2**32 - 2, 2**32 - 7, 2**32 - 11], np.uint32),
    "constant": np.full(4, 1_700_000_001),
}


@pytest.mark.parametrize("kind", ["integers", "floats", "list", "device"])
@pytest.mark.parametrize("x", WHOLE.values(), ids=WHOLE)
def test_whole_numbers_are_exact(x, kind):
    if kind == "device" and np.abs(x).max() > 2**31 and x.dtype != np.uint32:
        pytest.skip("the integers of a device have 32 bits")
    if kind == "list" and np.abs(x).max() > 2**31 - 1 and x.dtype != np.uint32:
        pytest.skip("as the integers of NumPy")
    given = {"integers": x, "floats": x.astype(np.float64), "list": x.tolist(), "device": x}[kind]
    if kind == "device":
        given = jnp.asarray(x)
    scale = fit(given, axis=())
    mean = sum(map(int, x)) / len(x)
    # The mean in two words has 48 bits; the deviation and its quotients a few roundings of float32.
    assert abs(mean_of(scale) - mean) <= 2.0**-46 * abs(mean) + 8 * EPS * x.astype(float).std()
    exact = (x.astype(np.float64) - mean) / (x.astype(np.float64).std() or 1)
    np.testing.assert_allclose(apply(scale, given, axis=()), exact, rtol=16 * EPS, atol=16 * EPS)
    if kind == "device":
        np.testing.assert_allclose(
            jax.jit(lambda v: apply(fit(v, axis=()), v, axis=()))(given), exact, rtol=16 * EPS, atol=16 * EPS
        )


def test_whole_numbers_of_several_features_and_batches():
    rng = np.random.default_rng(21)
    x = np.stack([STAMPS[0] + rng.integers(0, 10_000, 400), rng.integers(0, 255, 400)], 1)
    scale = reduce(merge, [fit(part) for part in np.array_split(x, 5)])
    np.testing.assert_allclose(apply(scale, x), standardized(x), rtol=32 * EPS, atol=32 * EPS)
    np.testing.assert_array_equal(scale.count, [400, 400])


def test_floats_far_from_zero_keep_what_double_precision_holds():
    x = STAMPS[0] + np.random.default_rng(22).normal(size=(1000, 1))
    scale = fit(x)
    # An array of float64 has steps of 2.4e-7 there, two words of float32 of 2^-48 of 1.7e9.
    np.testing.assert_allclose(apply(scale, x), standardized(x), rtol=0, atol=1e-5)


def test_whole_numbers_that_two_words_do_not_hold_are_refused():
    nanoseconds = STAMPS * 1_000_000_000 + 1
    with pytest.raises(
        ValueError, match=r"`x` must hold integers of at most 2\^48 .* subtract .* got 1700000000000000001"
    ):
        fit(nanoseconds, axis=())
    with pytest.raises(ValueError, match=r"`x` must hold integers of at most 2\^48 .*; got -?\d+"):
        apply(fit(STAMPS, axis=()), -nanoseconds, axis=())
    with jax.enable_x64(True):
        got = apply(fit(nanoseconds, axis=()), nanoseconds, axis=())
        np.testing.assert_allclose(got, standardized(STAMPS - STAMPS[0]), rtol=1e-12, atol=1e-12)  # float64's own steps


def test_a_count_past_its_range_is_nan():
    full = Scale(jnp.asarray([2**31 - 1, 5]), jnp.zeros(2), jnp.zeros(2), jnp.ones(2))
    assert np.isnan(merge(full, full).var).tolist() == [True, False]


def test_types():
    pixels = np.arange(12, dtype=np.uint8).reshape(4, 3)
    scale = fit(pixels)
    assert scale.mean.dtype == jnp.float32
    assert apply(scale, pixels).dtype == jnp.float32
    half = jnp.asarray(draws(14, (1000, 2), 100.0), jnp.bfloat16)
    scale = fit(half)
    assert scale.mean.dtype == jnp.float32
    y = apply(scale, half)
    assert y.dtype == jnp.bfloat16
    # The statistics are of the rounded inputs (steps of .5 at 100); each output is rounded once, to 2^-9.
    np.testing.assert_allclose(np.float64(y).std(0), 1, atol=2**-9)
    for bad in (jnp.array([True, False]), jnp.array([1j])):
        with pytest.raises(TypeError, match="`x` must hold real numbers; got dtype"):
            fit(bad)
    for bad in (np.array([["1"]]), [["1"]], np.array([[1], [None]]), np.array([["2024"]], "datetime64[D]"), {"a": 1}):
        with pytest.raises(
            TypeError, match=r"`x` must hold numbers; got dtype .*: (number classes|give an|take seconds)"
        ):
            fit(bad)


def test_transformations_agree():
    x = draws(15, (4, 30, 3))
    one = [fit(batch) for batch in x]
    many = jax.vmap(fit)(x)
    for i, scale in enumerate(one):
        # 4 eps: another order of summation
        np.testing.assert_allclose(many.var[i], scale.var, rtol=4 * EPS)
    scale = one[0]
    np.testing.assert_allclose(jax.jit(apply)(scale, x[0]), apply(scale, x[0]), rtol=4 * EPS, atol=4 * EPS)
    slope = jax.grad(lambda v: apply(scale, v).sum())(jnp.ones(3))
    np.testing.assert_allclose(slope, 1 / np.sqrt(scale.var), rtol=4 * EPS)
    flat = fit(jnp.ones((5, 3)))
    for leaf in jax.tree.leaves(jax.grad(lambda s: apply(s, jnp.ones(3)).sum(), allow_int=True)(flat)):
        assert leaf.dtype == jax.dtypes.float0 or np.all(np.isfinite(leaf))


def test_errors():
    x = jnp.ones((5, 3))
    with pytest.raises(ValueError, match=r"`x` must have features of shape \(3,\) on axes \(1,\); got \(4,\)"):
        apply(fit(x), jnp.ones((5, 4)))
    with pytest.raises(ValueError, match=r"`y` must have features of shape \(3,\) on axes \(1,\); got \(1,\)"):
        invert(fit(x), jnp.ones((5, 1)))
    with pytest.raises(ValueError, match="`axis` must satisfy -2 <= axis < 2 for 2 axes; got 2"):
        fit(x, axis=2)
    with pytest.raises(ValueError, match=r"`axis` must name each axis once; got \(1, -1\)"):
        fit(x, axis=(1, -1))
    with pytest.raises(ValueError, match=r"`a` and `b` must have features of one shape; got \(3,\) and \(2,\)"):
        merge(fit(x), fit(jnp.ones((5, 2))))


def test_agrees_with_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    from sklearn.datasets import load_digits

    x = load_digits().data
    peer = preprocessing.StandardScaler().fit(x)
    scale = standardize.fit(np.float32(x))
    # Float32 statistics against float64: a few eps of values up to 42 standard deviations
    np.testing.assert_allclose(apply(scale, np.float32(x)), peer.transform(x), rtol=16 * EPS, atol=16 * EPS)
