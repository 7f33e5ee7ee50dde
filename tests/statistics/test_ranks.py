import json
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from jnorm.statistics._paired import wilcoxon
from jnorm.statistics._ranks import average_ranks, critical_difference, friedman, ranks

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")

GOLDEN = json.loads((Path(__file__).parents[2] / "experiments" / "uci" / "published.json").read_text())
METHODS = GOLDEN["methods"]
TABLE = np.array(list(GOLDEN["accuracy"].values()), float)  # [data sets, methods], NaN where a method gave nothing


def draws(seed, *shape):
    return np.round(np.random.default_rng(seed).normal(size=shape), 1)  # with ties


@pytest.mark.parametrize("best", ["highest", "lowest"])
def test_ranks_equal_scipys(best):
    x = draws(0, 5, 4, 7)
    sign = -1 if best == "highest" else 1
    got = jax.jit(lambda x: [ranks(x, axis=axis, best=best) for axis in (0, 1, -1)])(x)
    for axis, each in zip((0, 1, -1), got, strict=True):
        np.testing.assert_array_equal(each, stats.rankdata(sign * x, axis=axis))


def test_diverged_methods():
    x = np.array([[0.3, np.nan, 0.5, np.nan], [1.0, 2.0, 2.0, 0.0]])
    for best, first in (("highest", [2, 3.5, 1, 3.5]), ("lowest", [1, 3.5, 2, 3.5])):
        got = jax.jit(lambda x, best=best: ranks(x, axis=1, best=best, diverged="worst"))(x)
        np.testing.assert_array_equal(got[0], first)
    np.testing.assert_array_equal(np.isnan(jax.jit(lambda x: ranks(x, axis=1))(x)), [[True] * 4, [False] * 4])


def test_friedman_equals_scipys(x64):
    x = draws(1, 12, 3, 5)  # [data sets, lanes, methods]
    got = jax.jit(lambda x: friedman(x, axis=2, over=0))(x)
    for lane in range(3):
        exact = stats.friedmanchisquare(*x[:, lane].T)
        np.testing.assert_allclose([got.chi2[lane], got.p[lane]], exact, rtol=1e-12)  # float64
        f = 11 * exact.statistic / (12 * 4 - exact.statistic)
        np.testing.assert_allclose([got.f[lane], got.f_p[lane]], [f, stats.f.sf(f, 4, 44)], rtol=1e-11)
    np.testing.assert_allclose(got.ranks, average_ranks(x, axis=2, over=0), rtol=1e-15)
    np.testing.assert_allclose(got.ranks.mean(1), 3, rtol=1e-15)


def test_friedman_knows_no_units_and_no_order_of_sets():
    x = draws(2, 8, 4).astype(np.float32)
    program = jax.jit(lambda x: friedman(x, axis=1, over=0))
    base = program(x)
    for other in (np.exp(x), x[::-1]):
        np.testing.assert_allclose(program(other)[1:], base[1:], rtol=1e-5)  # float32
    np.testing.assert_allclose(
        jax.jit(lambda x: friedman(-x.T, axis=0, over=1, best="lowest"))(x)[1:], base[1:], rtol=1e-5
    )


def test_all_alike_or_none():
    program = jax.jit(lambda x: friedman(x, axis=1, over=0))
    same = program(np.tile([3.0, 2.0, 1.0], (5, 1)))
    assert (same.chi2, same.f, same.f_p) == (10, np.inf, np.finfo(np.float32).tiny)  # a p-value is never 0
    assert np.isnan(program(np.ones((5, 3))).p)


def test_false_alarms():
    sims, level = 4000, 0.05
    x = np.random.default_rng(3).normal(size=(sims, 10, 4)).astype(np.float32)
    got = jax.jit(lambda x: friedman(x, axis=2, over=1))(x)
    error = 4 * np.sqrt(level * (1 - level) / sims)  # z = 4
    assert abs(np.mean(got.f_p <= level) - level) < error + 0.005  # the F law is itself an approximation, and discrete
    apart = got.ranks.max(1) - got.ranks.min(1)
    assert np.mean(apart > critical_difference(4, 10)) < level + error


def test_critical_difference_equals_the_published_table():
    # Demsar 2006, table 5(a), q at .05 and .10, three decimals
    published = {2: (1.960, 1.645), 3: (2.343, 2.052), 5: (2.728, 2.459), 7: (2.949, 2.693), 10: (3.164, 2.920)}
    for k, row in published.items():
        q = [critical_difference(k, 20, level=level) / np.sqrt(k * (k + 1) / 120) for level in (0.05, 0.10)]
        np.testing.assert_allclose(q, row, atol=1.2e-3)  # the table's own rounding: it has 2.459 for 2.4596


def test_bad_input():
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match="`over` must not name the axis of the methods; got axis 1 and over -1"):
        friedman(x, axis=1, over=-1)
    with pytest.raises(ValueError, match="`x` must hold at least two methods along axis 1; got 1"):
        friedman(x[:, :1], axis=1, over=0)
    with pytest.raises(ValueError, match="`best` must be one of highest, lowest; got 'most'"):
        ranks(x, axis=0, best="most")
    with pytest.raises(ValueError, match="`diverged` must be one of nan, worst; got 'last'"):
        ranks(x, axis=0, diverged="last")
    with pytest.raises(ValueError, match="`methods` must be a whole number >= 2; got 1"):
        critical_difference(1, 10)
    with pytest.raises(ValueError, match=r"`level` must satisfy 0 < level < 1; got 1"):
        critical_difference(3, 10, level=1)


def test_published_comparison():
    """58 of the paper's 121 data sets give its average ranks as far as a part of a population can."""
    options = {"axis": 1, "diverged": "worst"}
    got, each = jax.jit(lambda x: (friedman(x, over=0, **options), ranks(x, **options)))(TABLE)
    assert each.shape == (58, 7)
    each = np.float64(each)
    published = np.array([GOLDEN["published_rank_differences"][m] for m in METHODS])
    # 58 of 121 drawn without replacement: the deviation of their mean; the largest of seven z is 1.9.
    error = each.std(0, ddof=1) / np.sqrt(58) * np.sqrt(1 - 58 / 121)
    z = (got.ranks - 4 - published) / error
    assert np.max(np.abs(z)) < 2.7  # the largest of seven passes 2.69 in 5 %
    assert METHODS[int(np.argmin(got.ranks))] == "snn"
    assert got.f_p < 0.01  # the methods differ
    # What the paper finds over all sets: SNN is ahead of each other method (one-sided).
    others = [j for j, method in enumerate(METHODS) if method != "snn"]
    complete = TABLE[~np.isnan(TABLE).any(1)]
    p = jax.jit(lambda x: wilcoxon(x[:, :1], x[:, 1:], axis=0, alternative="greater").p)(complete)
    ahead = dict(zip((METHODS[j] for j in others), np.float64(p), strict=True))
    assert max(ahead[m] for m in ("msrainit", "resnet", "batchnorm", "weightnorm", "highway")) < 0.05, ahead
