"""What strangers hand over: types, containers, rounding and sizes, and what the tests make of ties."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import mp
from scipy import stats

from jnorm import statistics
from jnorm.statistics import _paired as paired
from jnorm.statistics._effects import cliffs_delta, cohen_d, cohen_d_paired, hedges_g, probability_of_superiority
from jnorm.statistics._gammas import rest, unbiasing
from jnorm.statistics._paired import permutation, sign_test, wilcoxon
from jnorm.statistics._ranks import friedman, ranks
from tests.thorough import beside

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(0)
# Correct of 360, two networks: differences 3, -3, 7, 0, 3, 12, -7 on paper, with ties and a zero.
LEFT = [331, 290, 347, 300, 218, 359, 180]
RIGHT = [328, 293, 340, 300, 215, 347, 187]
ONE = {
    "mean": lambda x: statistics.mean(x, axis=0),
    "median": lambda x: statistics.median(x, axis=0),
    "iqm": lambda x: statistics.iqm(x, axis=0),
    "bootstrap": lambda x: statistics.bootstrap(KEY, x, axis=0, samples=20),
    "summary": lambda x: statistics.summary(x, axis=0, samples=20),
    "components": lambda x: statistics.components(x, axes=0),
    "ranks": lambda x: ranks(x, axis=0),
    "sign_test": lambda x: sign_test(x, axis=0),
    "wilcoxon": lambda x: wilcoxon(x, axis=0),
    "permutation": lambda x: permutation(KEY, x, axis=0, samples=40),
    "cohen_d_paired": lambda x: cohen_d_paired(x, axis=0),
}
TWO = {f.__name__: f for f in (cohen_d, hedges_g, probability_of_superiority, cliffs_delta)}
ALL = ONE | {name: lambda x, f=f: f(x, np.asarray(x)[::2], axis=0) for name, f in TWO.items()}


def numbers(tree):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("m", [2, 3, 31, 32, 100, 19_998, 10**6, 10**12])
def test_hedges_factor_in_40_digits(m):
    with mp.workdps(40):
        half = mp.mpf(m) / 2
        exact = mp.exp(mp.loggamma(half) - mp.loggamma(half - mp.mpf(1) / 2)) / mp.sqrt(half)
        assert unbiasing(m) == pytest.approx(float(exact), rel=2e-15)  # a few roundings in float64
        left_over = mp.loggamma(half) - ((half - mp.mpf(1) / 2) * mp.log(half) - half + mp.log(2 * mp.pi) / 2)
        assert rest(m / 2) == pytest.approx(float(left_over), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hedges_g_of_ten_thousand_runs(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = np.linspace(-1, 1, 10_000).astype(dtype)
        ratio = hedges_g(x + 1, x, axis=0) / cohen_d(x + 1, x, axis=0)
    assert ratio == pytest.approx(0.999962496, rel=2e-7)  # mpmath, above; the quotient of two float32


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_effects_know_no_units(scale):
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 1, 9), rng.normal(1, 1, 9)
    t, paired_t = stats.ttest_ind(x, y).statistic, stats.ttest_rel(x, y).statistic
    small = [np.float32(scale * a) for a in (x, y)]
    assert cohen_d(*small, axis=0) == pytest.approx(t * np.sqrt(2 / 9), rel=1e-5)  # float32
    assert cohen_d_paired(*small, axis=0) == pytest.approx(paired_t / 3, rel=1e-5)
    assert hedges_g(*small, axis=0) == pytest.approx(t * np.sqrt(2 / 9) * (1 - 3 / 63), rel=1e-3)  # its approximation


def test_equal_values_have_no_spread():
    """The mean of 7 times .1 is not .1 in floating point."""
    same = np.full(7, 0.1, np.float32)
    assert cohen_d(same + np.float32(0.2), same[:5], axis=0) == np.inf
    assert np.isnan(cohen_d(same, same[:5], axis=0))
    assert cohen_d_paired(-same, axis=0) == -np.inf


def test_superiority_of_infinite_values_and_small_deltas():
    infinite = np.array([np.inf, 1.0])
    assert probability_of_superiority(infinite, infinite, axis=0) == 0.5
    assert probability_of_superiority(infinite, np.array([-np.inf, np.inf]), axis=0) == (1 + 0.5 + 1 + 0) / 4
    x = jnp.arange(400, dtype=jnp.float32).astype(jnp.bfloat16)  # .5 + delta/2 would round a small delta away
    y = jnp.where(jnp.arange(400) == 0, 5, x)
    assert abs(cliffs_delta(y, x, axis=0)) > 0
    assert cliffs_delta(y, x, axis=0) == jnp.bfloat16(
        2 * np.mean(np.sign(np.subtract.outer(*map(np.float64, (y, x)))) / 2)
    )


@pytest.mark.parametrize("n", [140, 256, 300])
@pytest.mark.parametrize("test", [sign_test, wilcoxon])
def test_p_values_are_never_zero(test, n):
    d = np.arange(1, n + 1, dtype=np.float32)
    p = test(d, axis=0).p
    assert p > 0
    exact = 2 * Fraction(1, 2**n)
    if exact > 1.2e-38 and n <= paired.EXACT:
        assert p == pytest.approx(float(exact), rel=1e-5)
    else:
        assert p >= 1.17e-38
    with jax.enable_x64(True):
        if test is sign_test or n <= paired.EXACT:
            assert test(d.astype(np.float64), axis=0).p == pytest.approx(float(exact), rel=1e-9)


def test_no_table_of_ranks_has_p_zero():
    got = friedman(np.tile(np.arange(5.0), (300, 1)), axis=1, over=0)
    assert got.p > 0
    assert got.f_p > 0


def on_paper(test, **options):
    with jax.enable_x64(True):
        return test(np.array(LEFT), np.array(RIGHT), axis=0, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("test", [sign_test, wilcoxon, lambda *a, **o: permutation(KEY, *a, **o)])
@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_what_is_equal_on_paper_is_equal(test, dtype, alternative):
    """Accuracies k/360: the same as whole numbers, which have no rounding."""
    exact = on_paper(test, alternative=alternative).p
    with jax.enable_x64(dtype == np.float64):
        x, y = (np.array(a).astype(dtype) / dtype(360) for a in (LEFT, RIGHT))
        assert test(x, y, axis=0, alternative=alternative).p == pytest.approx(float(exact), rel=1e-6)
        # Computed in another order, the last bits differ: the zero is one still.
        again = np.array(RIGHT, dtype) * (dtype(1) / dtype(360))
        assert test(x, again, axis=0, alternative=alternative).p == pytest.approx(float(exact), rel=1e-6)


def test_equal_differences_of_many_pairs_share_ranks():
    left, right = np.tile(LEFT, 50), np.tile(RIGHT, 50)
    x, y = (np.float32(a) / np.float32(360) for a in (left, right))
    exact = stats.wilcoxon(left - right, method="asymptotic").pvalue
    assert wilcoxon(x, y, axis=0).p == pytest.approx(exact, rel=1e-4)  # the normal law in float32
    assert wilcoxon(x, y, axis=0).statistic == np.sum(stats.rankdata(np.abs(d := (left - right)[left != right]))[d > 0])


def test_an_outlier_does_not_tie_the_others():
    x = np.array([1e12, 0.3, -0.2, 0.1], np.float32)
    assert wilcoxon(x, np.zeros(4, np.float32), axis=0).statistic == 4 + 3 + 1
    assert sign_test(x, axis=0).statistic == 3


def test_ranks_of_equal_scores():
    scores = np.float32([0.1, 0.2]).sum(keepdims=True)  # .3 by a sum
    x = np.concatenate([scores, np.float32([0.3, 0.1])])
    np.testing.assert_array_equal(ranks(np.nextafter(x, np.float32(9), dtype=np.float32) * 1, axis=0), [1.5, 1.5, 3])
    np.testing.assert_array_equal(ranks(np.array([16_777_214, 16_777_215, 5]), axis=0), [2, 1, 3])  # whole numbers
    np.testing.assert_array_equal(ranks(np.array([np.inf, 3, -np.inf, np.inf]), axis=0), [1.5, 3, 4, 1.5])


VALUES = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]


def containers():
    import pandas as pd

    return {
        "list": VALUES,
        "integers": np.array(VALUES, int),
        "list of jax arrays": [jnp.asarray(v) for v in VALUES],
        "series": pd.Series(VALUES),
        "unsigned": np.array(VALUES, np.uint8),
        "bfloat16": jnp.array(VALUES, jnp.bfloat16),
        "float16": np.array(VALUES, np.float16),
        "float64": np.array(VALUES),
    }


@pytest.mark.parametrize("name", beside(list(ALL)[::3], ALL))
def test_containers_and_types_give_the_same(name):
    expected = numbers(ALL[name](np.float32(VALUES)))
    for kind, x in containers().items():
        got = numbers(ALL[name](x))
        assert all(np.isfinite(g).all() for g in got), kind
        half = kind in ("bfloat16", "float16")
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-2 if half else 1e-6, err_msg=kind)  # results in the type of x


@pytest.mark.parametrize("name", ALL)
def test_what_no_statistic_can_take_is_refused(name):
    for x, error, message in (
        (["a", "b"], TypeError, "must hold real numbers; got dtype <U1"),
        ([1.0, None], TypeError, "must hold real numbers; got dtype object"),
        (np.array(["2020-01-01"], "datetime64[D]"), TypeError, "must hold real numbers; got dtype datetime64"),
        (np.array([True, False]), TypeError, "must hold real numbers; got dtype bool"),
        (np.array([1j, 2]), TypeError, "must hold real numbers; got dtype complex"),
        ([[1.0], [1.0, 2.0]], ValueError, "must be an array; got rows of different lengths"),
        (np.ma.masked_equal([1.0, 2.0], 2.0), ValueError, "must not be masked"),
        (np.zeros(0, np.float32), ValueError, "must hold at least one value along axis 0"),
        (np.float32(1.0), ValueError, "`axis` must satisfy"),
    ):
        with pytest.raises(error, match=message):
            (ONE | {n: lambda x, f=f: f(x, np.float32([1, 2]), axis=0) for n, f in TWO.items()})[name](x)


@pytest.mark.parametrize("name", ["mean", "median", "iqm", "ranks", "summary", "bootstrap", "permutation", "sign_test"])
def test_one_run_and_equal_runs(name):
    one, same = (numbers(ALL[name](x)) for x in (np.float32([2.0]), np.full(5, 0.1, np.float32)))
    if name in ("mean", "median", "iqm"):
        assert one[0] == 2
        assert same[0] == pytest.approx(0.1, rel=3e-7)  # a sum of five in float32
    elif name == "ranks":
        np.testing.assert_array_equal(same[0], [3] * 5)
    elif name == "summary":
        count, diverged, var, *others = one
        assert (count, diverged, np.isnan(var), others[0]) == (1, 0, True, 2)
        np.testing.assert_allclose(same[2], 0, atol=1e-16)  # the square of a rounding
        np.testing.assert_allclose(same[3:], 0.1, rtol=1e-6)
    elif name == "bootstrap":
        assert np.isnan(one[1:]).all()
        np.testing.assert_allclose(same, 0.1, rtol=1e-6)
    else:
        assert one[1] == 1
        assert same[1] == pytest.approx(2 * 0.5**5, rel=1e-6)  # the incomplete beta function in float32


def test_a_summary_of_large_values_and_of_runs_that_failed():
    off = np.random.default_rng(1).normal(size=8)
    for center, spread in ((1e22, 1e18), (0, 1e-18), (0, 1e18)):
        x = np.float32(center + spread * off)
        got = statistics.summary(x, axis=0, samples=50)
        assert got.var == pytest.approx(np.var(np.float64(x), ddof=1), rel=1e-3)  # the rounding of the mean of 1e22
        assert got.mean.low < got.mean.value < got.mean.high
    with jax.enable_x64(True):
        assert statistics.summary(1e25 * off, axis=0, samples=9).var == pytest.approx(1e50 * off.var(ddof=1), rel=1e-12)
    accuracy, failed = np.array([[0.9, 0.1], [0.8, 0.7]]), np.array([[False, True], [False, False]])
    got = statistics.summary(accuracy, axis=1, failed=failed, samples=9)
    np.testing.assert_array_equal(got.count, [1, 2])
    np.testing.assert_array_equal(got.diverged, [1, 0])
    np.testing.assert_allclose(got.mean.value, [0.9, 0.75], rtol=1e-6)
    with pytest.raises(ValueError, match=r"`failed` must have the shape of `values`, \(2, 2\); got \(2,\)"):
        statistics.summary(accuracy, axis=1, failed=failed[0])


def test_half_precision_has_an_interval():
    x = jnp.asarray(np.random.default_rng(2).normal(0.9, 0.02, 8), jnp.bfloat16)
    got = statistics.bootstrap(KEY, x, axis=0, samples=200)
    assert got.value.dtype == jnp.float32
    assert 0.005 < got.high - got.low < 0.06
