"""Dropout: exact moments over the mask, published constants, an independent Threefry, statistics with false alarms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.nn._dropping import SATURATION
from jnorm.nn.dropout import affine, alpha_dropout, dropout, feature_alpha_dropout, gaussian_dropout
from jnorm.theory.fixed_points import selu_constants

pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(7)
ALL = (dropout, gaussian_dropout, alpha_dropout, feature_alpha_dropout)
# Each z-score below fails by chance with probability 5.7e-7 (two-sided, 5 standard errors), were its seed not fixed; it
# sees a bias of 8 standard errors with probability .999.
Z = 5.0


def normal(seed, shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def assert_near(values, mean, var):
    """The average of independent `values` of the given moments, by its z-score."""
    values = np.float64(values).ravel()
    assert abs(values.mean() - mean) * np.sqrt(values.size / var) < Z


@pytest.mark.parametrize("function", ALL)
def test_evaluation_and_rate_zero_are_the_identity(function):
    x = normal(0, (5, 4, 3))
    np.testing.assert_array_equal(function(None, x, 0.3, train=False), x)
    np.testing.assert_array_equal(function(KEY, x, 0.0, train=True), x)
    np.testing.assert_array_equal(jax.jit(lambda r: function(KEY, x, r, train=True))(0.0), x)


@pytest.mark.parametrize(("rate", "a", "b"), [(0.05, 0.95484, 0.08394), (0.10, 0.92128, 0.16197)])
def test_published_constants(rate, a, b):
    # Klambauer et al. 2017, section 3, rounded to five decimals.
    np.testing.assert_allclose(affine(rate), (a, b), rtol=0, atol=5.1e-6)


FIXED_POINTS = [(0.0, 1.0), (0.0, 2.0), (-0.1, 1.0), (0.3, 1.5)]


@pytest.mark.parametrize(("mean", "var"), FIXED_POINTS)
@pytest.mark.parametrize("rate", [1e-9, 0.05, 0.5, 0.999])
def test_affine_restores_mean_and_variance_exactly(mean, var, rate, x64):
    constants = selu_constants(mean, var)
    s = -float(constants.lam * constants.alpha)
    a, b = (float(v) for v in affine(rate, mean=mean, var=var, saturation=s))
    # Over the two values of the mask: E[y] and Var[y] = E[Var[y | mask]] + Var[E[y | mask]].
    kept, lost = a * mean + b, a * s + b
    assert abs((1 - rate) * kept + rate * lost - mean) < 1e-14 * abs(a * s)  # a few roundings of the largest term
    spread = (1 - rate) * a**2 * var + rate * (1 - rate) * (kept - lost) ** 2
    assert abs(spread / var - 1) < 1e-13


def test_affine_takes_the_precision_of_the_data():
    # 1 - rate would lose rate 1e-9 altogether in float32: b = rate*1.758 to first order.
    assert abs(affine(1e-9).shift / (1e-9 * -SATURATION) - 1) < 1e-5
    assert affine(0.1, dtype=jnp.bfloat16).scale.dtype == jnp.float32


def threefry(key, first, second):
    """Two words of Threefry-2x32 with 20 rounds (Salmon et al. 2011, section 4.2), for counters (first, second)."""
    schedule = (*key, key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    a, b = first + schedule[0], second + schedule[1]
    for step in range(20):
        turn = (13, 15, 26, 6, 17, 29, 16, 24)[step % 8]
        a = a + b
        b = (b << turn | b >> 32 - turn) ^ a
        if step % 4 == 3:
            round_ = step // 4 + 1
            a, b = a + schedule[round_ % 3], b + schedule[(round_ + 1) % 3] + np.uint32(round_)
    return a, b


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_its_published_words(counter, key, words):
    counter, key = np.uint32(counter), np.uint32(key)
    assert [int(w[0]) for w in threefry(key, counter[:1], counter[1:])] == list(words)


@pytest.mark.parametrize(
    ("shape", "shared", "axis"),
    [
        ((7,), (), 0),
        ((6, 5, 4), (), 2),
        ((6, 5, 4), (2,), 1),
        ((6, 5, 4), (0, 2), 1),
        ((3, 1, 1), (), 0),
        ((), (), None),
    ],
)
@pytest.mark.parametrize("rate", [0.1, 0.5, 1 - 2**-24])
def test_a_block_of_threefry_serves_two_entries(shape, shared, axis, rate):
    drawn = tuple(1 if a in shared else n for a, n in enumerate(shape)) or (1,)
    rows = np.moveaxis(np.arange(np.prod(drawn)).reshape(drawn), axis or 0, -1).reshape(-1, drawn[axis or 0])
    length = rows.shape[1]
    half = (length + 1) // 2
    counter = np.uint32(np.divmod(np.arange(len(rows) * half), half)).reshape(2, len(rows), half)
    words = np.concatenate(threefry(np.asarray(jax.random.key_data(KEY)), *counter), 1)[:, :length]
    kept = np.uint64(words) >= np.float32(rate) * 2.0**32  # the rate counts in 32 bits
    expected = np.zeros(rows.size, bool)
    expected[rows.ravel()] = kept.ravel()
    x = normal(1, shape)
    y = dropout(KEY, x, rate, train=True, shared_axes=shared)
    # 1 - rate is rounded to float32.
    scaled = np.where(expected.reshape(drawn if shape else ()), np.float64(x) / (1 - np.float64(np.float32(rate))), 0)
    np.testing.assert_allclose(y, scaled, rtol=2e-7)


def test_other_implementations_draw_32_bits_an_entry():
    key, n, rate = jax.random.key(3, impl="rbg"), 100_000, 0.3
    kept = np.float64(dropout(key, jnp.ones(n), rate, train=True) > 0)
    assert_near(kept, 1 - rate, rate * (1 - rate))
    bits = np.asarray(jax.random.bits(key, (n,), jnp.uint32))
    np.testing.assert_array_equal(kept > 0, bits >= np.float32(rate) * 2.0**32)


def test_masks_have_the_rate_and_independent_entries():
    rate, n = 0.3, 200_000
    kept = np.float64(dropout(KEY, jnp.ones(n), rate, train=True) > 0)
    assert_near(kept, 1 - rate, rate * (1 - rate))
    centred = kept - (1 - rate)
    assert_near(centred[1:] * centred[:-1], 0, (rate * (1 - rate)) ** 2)
    other = np.float64(dropout(jax.random.key(8), jnp.ones(n), rate, train=True) > 0) - (1 - rate)
    assert_near(centred * other, 0, (rate * (1 - rate)) ** 2)


def test_inverted_and_gaussian_dropout_have_the_same_two_moments():
    rate, value = 0.2, 3.0
    odds = rate / (1 - rate)
    for function, fourth in ((dropout, odds * (1 + odds**3) / (1 + odds)), (gaussian_dropout, 3 * odds**2)):
        e = np.float64(function(KEY, jnp.full(200_000, value), rate, train=True)) / value - 1
        assert_near(e, 0, odds)
        assert_near(e**2, odds, fourth - odds**2)


@pytest.mark.parametrize(("mean", "var"), FIXED_POINTS)
def test_alpha_dropout_keeps_mean_and_variance(mean, var):
    constants = selu_constants(mean, var)
    s = -float(constants.lam * constants.alpha)
    n, rate = 200_000, 0.1
    x = mean + np.sqrt(var) * normal(2, n)
    y = np.float64(alpha_dropout(KEY, x, rate, train=True, mean=mean, var=var, saturation=s))
    a, b = (float(v) for v in affine(rate, mean=mean, var=var, saturation=s))
    assert_near(y, mean, var)
    # Fourth central moment of the mixture of N(a*mean + b, a^2 var) and the point a*s + b.
    kept, lost, v = a * mean + b - mean, a * s + b - mean, a * a * var
    fourth = (1 - rate) * (3 * v**2 + 6 * v * kept**2 + kept**4) + rate * lost**4
    assert_near((y - mean) ** 2, var, fourth - var**2)
    # And it is no plain dropout: what is dropped sits at one value.
    at_saturation = np.isclose(y, a * s + b, rtol=1e-6)
    assert_near(at_saturation, rate, rate * (1 - rate))


def test_feature_alpha_dropout_keeps_or_loses_whole_features():
    x = np.asarray(normal(3, (500, 4, 4, 20)))
    y = np.asarray(feature_alpha_dropout(KEY, x, 0.25, train=True))
    a, b = map(float, affine(0.25))
    lost = np.isclose(y, a * SATURATION + b, rtol=1e-6)
    assert np.all(lost == lost[:, :1, :1])
    np.testing.assert_allclose(y[~lost], (a * x + b)[~lost], rtol=1e-6, atol=1e-6)  # two roundings
    assert_near(lost[:, 0, 0], 0.25, 0.25 * 0.75)
    first = feature_alpha_dropout(KEY, x[..., 0, :], 0.25, train=True, axis=(1, 2))
    np.testing.assert_array_equal(first, alpha_dropout(KEY, x[..., 0, :], 0.25, train=True))
    image = feature_alpha_dropout(KEY, jnp.ones((4, 4, 20)), 0.5, train=True, batch_axes=())
    assert np.all(image == image[:1, :1])
    assert np.unique(image).size == 2
    np.testing.assert_array_equal(
        feature_alpha_dropout(KEY, x[0, 0, 0], 0.5, train=True), alpha_dropout(KEY, x[0, 0, 0], 0.5, train=True)
    )


@pytest.mark.parametrize("function", ALL)
def test_rates_swept_under_vmap_equal_a_loop(function):
    x = normal(4, (4, 6))
    rates = jnp.array([0.0, 0.1, 0.5, 1.0, -0.2])
    keys = jax.random.split(KEY, 5)
    swept = jax.jit(jax.vmap(lambda k, r: function(k, x, r, train=True)))(keys, rates)
    for i in range(3):
        np.testing.assert_allclose(swept[i], function(keys[i], x, float(rates[i]), train=True), rtol=1e-6, atol=1e-6)
    assert np.all(np.isfinite(swept[:3]))
    assert np.all(np.isnan(swept[3:]))


@pytest.mark.parametrize("function", ALL)
def test_typed_and_raw_keys_and_precisions_agree(function):
    x = normal(5, (8, 16), jnp.bfloat16)
    call = partial(function, rate=0.25, train=True)
    half = call(KEY, x)
    single = call(KEY, x.astype(jnp.float32))
    assert (half.dtype, single.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(half, single.astype(jnp.bfloat16))
    np.testing.assert_array_equal(single, call(jax.random.key_data(KEY), x.astype(jnp.float32)))
    if function is not gaussian_dropout:  # whose noise has the precision of x
        with jax.enable_x64(True):
            double = call(KEY, x.astype(jnp.float64))
        assert double.dtype == np.float64
        np.testing.assert_allclose(double, single, rtol=1e-5, atol=1e-6)


def test_derivatives(x64):
    x = normal(6, (64,), jnp.float64)
    alpha = lambda x: alpha_dropout(KEY, x, 0.3, train=True)

    @jax.jit
    def all_of_them(x, rate):
        return (
            dropout(KEY, jnp.ones_like(x), rate, train=True) > 0,
            jax.grad(lambda x, r: dropout(KEY, x, r, train=True).sum(), argnums=(0, 1))(x, rate),
            jax.grad(lambda x: alpha(x).sum())(x),
            jax.hessian(lambda x: (alpha(x) ** 2).sum())(x),
        )

    mask, (slope, rate_slope), alpha_slope, hessian = map(partial(jax.tree.map, np.asarray), all_of_them(x, 0.3))
    np.testing.assert_allclose(slope, mask / 0.7, rtol=1e-15)
    np.testing.assert_allclose(rate_slope, (mask * np.asarray(x)).sum() / 0.7**2, rtol=1e-13)
    a = float(affine(0.3).scale)
    np.testing.assert_allclose(alpha_slope, a * mask, rtol=1e-14)
    np.testing.assert_allclose(hessian, np.diag(2 * a**2 * mask), rtol=1e-14)
    h = 1e-5
    got = jax.jit(jax.jacfwd(affine))(0.3)
    for slope, up, down in zip(got, affine(0.3 + h), affine(0.3 - h), strict=True):
        # Central differences: h^2 f'''/6 ~ 1e-10 and eps/h ~ 1e-11.
        np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-8)


def test_dropped_entries_hide_what_they_held():
    x = jnp.array([np.inf, np.nan, -np.inf, 1.0] * 50)
    mask = dropout(KEY, jnp.ones(200), 0.5, train=True) > 0
    assert np.all(np.asarray(dropout(KEY, x, 0.5, train=True))[~mask] == 0)
    assert np.all(np.isfinite(np.asarray(alpha_dropout(KEY, x, 0.5, train=True))[~mask]))


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("train", [True, False])
def test_bad_input_raises(function, train):
    x = jnp.ones((2, 3))
    for rate in (1.0, 1, -0.1, np.float32(1.5)):
        with pytest.raises(ValueError, match=rf"`rate` must satisfy 0 <= rate < 1; got {rate}"):
            function(KEY, x, rate, train=train)
    with pytest.raises(TypeError, match="`x` must have a real floating dtype; got int32"):
        function(KEY, jnp.ones(3, int), 0.5, train=train)
    with pytest.raises(ValueError, match=r"`rate` must be a scalar \(vmap over several\); got shape \(3,\)"):
        function(KEY, x, jnp.full(3, 0.5), train=train)


def test_bad_options_raise():
    x = jnp.ones((2, 3))
    for function in ALL:
        with pytest.raises(ValueError, match="`key` must be a random key where train=True; got None"):
            function(None, x, 0.5, train=True)
    for function in ALL[:3]:
        with pytest.raises(ValueError, match=r"`axis` must satisfy -2 <= axis < 2 for `x` of shape \(2, 3\); got 2"):
            function(KEY, x, 0.5, train=True, shared_axes=2)
    with pytest.raises(ValueError, match=r"got -3"):
        feature_alpha_dropout(KEY, x, 0.5, train=True, axis=-3)
    for call in (affine, partial(alpha_dropout, KEY, x, train=True)):
        with pytest.raises(ValueError, match=r"`var` must satisfy var > 0; got 0\.0"):
            call(rate=0.5, var=0.0)
    with pytest.raises(ValueError, match=r"`rate` must satisfy 0 <= rate < 1; got 1\.0"):
        affine(1.0)
