from itertools import product

import jax
import numpy as np
import pytest
from scipy import stats

from jnorm.statistics import _paired as paired
from jnorm.statistics._paired import permutation, sign_test, wilcoxon

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(0)
ALTERNATIVES = ("two-sided", "greater", "less")
TIED = np.array([0.5, -0.5, 1.0, 1.0, 0.0, 2.0, -1.0, 0.0, 3.0])


def differences(seed, *shape):
    return np.random.default_rng(seed).normal(0.3, 1, shape)


def sides(test, *arguments, **options):
    """p-values by alternative, in one program."""
    return jax.jit(lambda *a: {side: test(*a, alternative=side, **options).p for side in ALTERNATIVES})(*arguments)


def by_all_signs(statistic, d, alternative):
    """p over all changes of sign of the differences."""
    law = np.array([statistic(np.abs(d) * s) for s in product([-1, 1], repeat=len(d))])
    seen = statistic(d)
    greater, less = np.mean(law >= seen - 1e-12), np.mean(law <= seen + 1e-12)
    return {"two-sided": min(1, 2 * min(greater, less)), "greater": greater, "less": less}[alternative]


def test_sign_test_equals_binomtest(x64):
    d = np.concatenate([differences(0, 4, 11), np.zeros((4, 2))], 1)
    d[2] = 0
    d[3] = np.abs(d[3])  # all on one side
    for side, p in sides(sign_test, d, axis=1).items():
        exact = [stats.binomtest(int(np.sum(r > 0)), int(np.sum(r != 0)), 0.5, side).pvalue for r in d if np.any(r)]
        np.testing.assert_allclose(p, [*exact[:2], 1, exact[2]], rtol=1e-12)  # incomplete beta function in float64
    np.testing.assert_array_equal(sign_test(d, axis=1).statistic, np.sum(d > 0, 1))


@pytest.mark.parametrize("zeros", ["wilcox", "pratt"])
def test_wilcoxon_with_ties_and_zeros_equals_all_signs(zeros, x64):
    size = np.abs(TIED[TIED != 0]) if zeros == "wilcox" else np.abs(TIED)
    rank = dict(zip(size, stats.rankdata(size), strict=True))

    def sum_of_ranks(d):
        return sum(rank[abs(v)] for v in d if v > 0)

    assert jax.jit(lambda d: wilcoxon(d, axis=0, zeros=zeros))(TIED).statistic == sum_of_ranks(TIED)
    for side, p in sides(wilcoxon, TIED, axis=0, zeros=zeros).items():
        np.testing.assert_allclose(p, by_all_signs(sum_of_ranks, TIED, side), rtol=1e-13)  # sums in float64


@pytest.mark.parametrize("n", [1, 7, 50])
def test_wilcoxon_equals_scipys_exact_method(n, x64):
    d = differences(n, 3, n)
    for side, p in sides(wilcoxon, d, axis=1).items():
        exact = stats.wilcoxon(d, axis=1, alternative=side, method="exact").pvalue
        np.testing.assert_allclose(p, exact, rtol=1e-11)  # sums of up to 2551 terms, of very different sizes


def test_wilcoxon_of_many_pairs_equals_scipys_normal_law(x64, monkeypatch):
    d = np.round(differences(1, 2, 60), 1)  # ties and zeros
    d[1] = 0
    monkeypatch.setattr(paired, "EXACT", 59)
    jax.clear_caches()  # programs of this size with the exact law
    for zeros in ("wilcox", "pratt"):
        exact = stats.wilcoxon(d[0], zero_method=zeros, alternative="greater", method="asymptotic").pvalue
        p = sides(wilcoxon, d, axis=1, zeros=zeros)["greater"]
        np.testing.assert_allclose(p, [exact, 1], rtol=1e-11)  # the normal law in float64


def test_permutation_of_few_pairs_is_exact(x64):
    d = differences(2, 9)
    got = sides(lambda d, **options: permutation(KEY, d, axis=1, **options), np.stack([d, TIED]))
    for side, p in got.items():
        exact = stats.permutation_test(
            (d, np.zeros(9)),
            lambda a, b: np.mean(a - b),
            permutation_type="samples",
            n_resamples=np.inf,
            alternative=side,
        )
        np.testing.assert_allclose(p, [exact.pvalue, by_all_signs(np.sum, TIED, side)], rtol=1e-14)
    np.testing.assert_allclose(permutation(KEY, d, axis=0).statistic, d.mean(), rtol=1e-14)


def test_permutation_of_many_pairs_is_sampled():
    d = differences(3, 14)
    exact, got = jax.jit(lambda d: [permutation(KEY, d, axis=0, samples=n).p for n in (2**14, 2**14 - 1)])(d)
    assert got != exact
    assert abs(got - exact) < 4 * 2 * np.sqrt(exact / 2 / 2**14)  # z = 4 for twice a share


def test_equal_sums_count_in_float32():
    d = np.array([0.1, 0.2, -0.3, 0.1, 0.2, -0.3, 0.7])  # many ways to the same sum, rounded differently
    got = sides(lambda d, **options: permutation(KEY, d, axis=0, **options), d.astype(np.float32))
    assert got == {side: by_all_signs(np.sum, d, side) for side in ALTERNATIVES}


TESTS = {
    "sign": sign_test,
    "wilcoxon": wilcoxon,
    "permutation": lambda x, y=0.0, **options: permutation(KEY, x, y, **options),
}


@pytest.mark.parametrize("name", TESTS)
def test_swapping_the_arms_swaps_the_sides(name, x64):
    x, y = differences(4, 2, 3, 10)
    p, q, r = (sides(TESTS[name], *a, axis=1) for a in ((x, y), (y, x), (x - y,)))
    for side, other in (("greater", "less"), ("less", "greater"), ("two-sided", "two-sided")):
        np.testing.assert_allclose(p[side], q[other], rtol=1e-13)  # sums in float64
        np.testing.assert_array_equal(p[side], r[side])


@pytest.mark.parametrize("name", TESTS)
def test_false_alarms(name):
    sims, level = 4000, 0.05
    d = np.random.default_rng(5).normal(size=(sims, 12)).astype(np.float32)
    alarms = np.mean(jax.jit(lambda d: TESTS[name](d, axis=1).p)(d) <= level)
    # Exact tests: at most the level, and no more than their steps below it; z = 4.
    error = 4 * np.sqrt(level * (1 - level) / sims)
    assert alarms < level + error
    assert alarms > {"sign": 0.0386, "wilcoxon": 0.0425, "permutation": 0.0496}[name] - error  # attainable levels


@pytest.mark.parametrize("name", TESTS)
def test_nan_and_bad_input(name):
    x = np.array([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]])
    got = jax.jit(lambda x: TESTS[name](x, axis=1))(x)
    np.testing.assert_array_equal(np.isnan(got.p), [True, False])
    with pytest.raises(ValueError, match=r"`alternative` must be one of two-sided, greater, less; got 'up'"):
        TESTS[name](x, axis=1, alternative="up")
    with pytest.raises(ValueError, match="shapes must broadcast"):
        TESTS[name](x, np.ones(2), axis=1)
    with pytest.raises(ValueError, match="`axis` must satisfy"):
        TESTS[name](x, axis=2)


def test_unknown_options():
    with pytest.raises(ValueError, match=r"`zeros` must be one of wilcox, pratt; got 'zsplit'"):
        wilcoxon(np.ones(3), axis=0, zeros="zsplit")
    with pytest.raises(ValueError, match="`samples` must be a whole number >= 1"):
        permutation(KEY, np.ones(3), axis=0, samples=0)
