"""Every method of comparison: p-values and interval agree, units do not matter, an independent test says the same.

The tests run over the table: a new entry needs a line in `REFERENCES`, and in `EXACT` where it promises its level.
"""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from jnorm import statistics
from jnorm.statistics import METHODS, Rule, compare
from jnorm.statistics import _methods as methods
from jnorm.statistics._power import power
from jnorm.statistics._steps import Question

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")

DESIGNS = [
    (name, paired) for name, m in METHODS.items() for paired in (True, False) if (m.paired if paired else m.unpaired)
]
BOOTSTRAPS = [name for name in METHODS if name.startswith("bootstrap")]
EXACT = ["t", "wilcoxon", "sign", "permutation"]  # at most the level of false alarms, for normal runs, at any number


def arms(seed, n=9, m=None, decimals=None):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0.4, 1, n), rng.normal(0, 1.3, m or n)
    return (x, y) if decimals is None else (np.round(x, decimals), np.round(y, decimals))


def asked(name, x, y, *, paired, nulls=(0.0,), tail=0.025):
    """The comparison of two samples; the columns without the axis of settings."""
    near = np.full((1, len(x)), 1e-12), np.full((1, len(y)), 1e-12)
    comparison = METHODS[name].compare(x[None], y[None], Question(paired, np.asarray(nulls, float), tail, *near))
    return type(comparison)(*(np.asarray(part)[..., 0] for part in comparison))


def two_samples(paired, seed=0, **options):
    return arms(seed, **options) if paired else arms(seed, m=12, **options)


def by_permutation(d, **options):
    test = stats.permutation_test(
        (d, np.zeros(len(d))), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf, **options
    )
    return test.pvalue


def student(x, y, paired):
    return (
        stats.ttest_rel(x, y, alternative="greater")
        if paired
        else stats.ttest_ind(x, y, equal_var=False, alternative="greater")
    )


# p of "the difference is at most 0" by SciPy, and the estimate; of bootstraps the interval (`test_bootstraps...`).
REFERENCES = {
    "t": (lambda x, y, paired: student(x, y, paired).pvalue, lambda x, y: np.mean(x) - np.mean(y)),
    "wilcoxon": (
        lambda x, y, paired: stats.wilcoxon(x - y, alternative="greater", method="exact").pvalue,
        lambda x, y: np.median([(a + b) / 2 for i, a in enumerate(x - y) for b in (x - y)[i:]]),
    ),
    "sign": (
        lambda x, y, paired: stats.binomtest(int(np.sum(x > y)), len(x), alternative="greater").pvalue,
        lambda x, y: np.median(x - y),
    ),
    "brunner-munzel": (
        lambda x, y, paired: stats.brunnermunzel(y, x, "less").pvalue,
        lambda x, y: np.median(np.subtract.outer(x, y)),
    ),
    "permutation": (lambda x, y, paired: by_permutation(x - y, alternative="greater"), lambda x, y: np.mean(x - y)),
}


def test_every_method_has_a_reference():
    assert {*REFERENCES, *BOOTSTRAPS} == set(METHODS)
    assert all(
        m.estimates and m.assumes and (m.paired or m.unpaired) and 0 < m.efficiency <= 1 for m in METHODS.values()
    )


@pytest.mark.parametrize(("name", "paired"), [d for d in DESIGNS if d[0] in REFERENCES])
def test_p_values_and_estimates_equal_scipys(name, paired):
    reference, estimate = REFERENCES[name]
    for seed in range(3):
        x, y = two_samples(paired, seed)
        nulls = np.linspace(-1.5, 2, 8)
        got = asked(name, x, y, paired=paired, nulls=nulls)
        np.testing.assert_allclose(got.above, [reference(x - v, y, paired) for v in nulls], rtol=1e-12)  # float64
        np.testing.assert_allclose(got.below, [reference(y, x - v, paired) for v in nulls], rtol=1e-12)
        assert got.estimate == pytest.approx(estimate(x, y), rel=1e-12)


@pytest.mark.parametrize(("name", "paired"), [d for d in DESIGNS if d[0] in REFERENCES])
@pytest.mark.parametrize("tail", [0.025, 0.05, 0.2])
def test_the_interval_is_what_the_reference_does_not_reject(name, paired, tail):
    reference, _ = REFERENCES[name]
    x, y = two_samples(paired, 4)
    got = asked(name, x, y, paired=paired, tail=tail)
    assert np.isfinite([got.low, got.high]).all()
    step = 1e-6
    for null, greater in ((got.low - step, True), (got.low + step, False)):
        assert (reference(x - null, y, paired) <= tail) == greater
    for null, less in ((got.high + step, True), (got.high - step, False)):
        assert (reference(y, x - null, paired) <= tail) == less


@pytest.mark.parametrize("name", BOOTSTRAPS)
def test_bootstraps_agree_with_scipys(name):
    x, y = arms(5, n=41)
    estimator = {
        "mean": np.mean,
        "median": np.median,
        "iqm": lambda d, axis: np.apply_along_axis(lambda row: statistics_iqm(row), axis, d),
    }[name.removeprefix("bootstrap-")]
    d = x - y
    exact = stats.bootstrap((d,), estimator, n_resamples=9999, method="BCa", rng=np.random.default_rng(0))
    got = asked(name, x, y, paired=True)
    # Quantiles at .025 of 10 000 draws twice, each with its own bias: .05 standard errors; z = 4. Medians have gaps.
    slack = {"bootstrap-median": 0.5}.get(name, 0.2) * exact.standard_error
    np.testing.assert_allclose([got.low, got.high], exact.confidence_interval, rtol=0, atol=slack)
    assert got.deviation == pytest.approx(exact.standard_error * np.sqrt(len(d)), rel=0.05)  # z = 5 of 10 000 draws


def statistics_iqm(row):
    """The mean of the middle half, each value four quarters wide."""
    row = np.repeat(np.sort(row), 4)
    return row[len(row) // 4 : -(len(row) // 4)].mean()


@pytest.mark.parametrize(("name", "paired"), DESIGNS)
@pytest.mark.parametrize("decimals", [None, 1])
def test_p_values_and_interval_agree(name, paired, decimals):
    """Outside the interval, and only there, is p at most the tail; with ties too."""
    for seed in range(1 if name in BOOTSTRAPS else 4):
        x, y = two_samples(paired, 10 + seed, n=11, decimals=decimals)
        ends = asked(name, x, y, paired=paired)
        step = 1e-6
        around = [end + side for end in (ends.low, ends.high) for side in (-step, step)]
        nulls = np.sort([*(np.linspace(-3, 3, 61) + 1e-3), *around])
        got = asked(name, x, y, paired=paired, nulls=nulls)
        np.testing.assert_array_equal(got.above <= 0.025, nulls < ends.low)
        np.testing.assert_array_equal(got.below <= 0.025, nulls > ends.high)
        assert np.all(np.diff(got.above) >= -1e-15)  # float64
        assert np.all(np.diff(got.below) <= 1e-15)
        assert ends.low <= ends.estimate <= ends.high


@pytest.mark.parametrize("name", ["wilcoxon", "sign", "permutation", *BOOTSTRAPS])
def test_a_null_at_an_end_is_not_rejected(name):
    x, y = arms(20, n=10, decimals=1)
    ends = asked(name, x, y, paired=True)
    got = asked(name, x, y, paired=True, nulls=[ends.low, ends.high])
    assert got.above[0] > 0.025
    assert got.below[1] > 0.025


@pytest.mark.parametrize(("name", "paired"), DESIGNS)
def test_units_origin_and_order_of_the_arms_do_not_matter(name, paired):
    x, y = two_samples(paired, 30)
    nulls = np.linspace(-1.05, 1.05, 5)
    base = asked(name, x, y, paired=paired, nulls=nulls)
    moved = asked(name, 4 * x + 1.25, 4 * y - 0.5, paired=paired, nulls=4 * nulls + 1.75)
    swapped = asked(name, y, x, paired=paired, nulls=-nulls)
    # Resamples of y - x are others than those of x - y: the noise of 10 000 draws, as above.
    slack = 0.2 * base.deviation / 3 if name in BOOTSTRAPS else 1e-12
    for part, other in ((base.estimate, -swapped.estimate), (base.low, -swapped.high), (base.high, -swapped.low)):
        np.testing.assert_allclose(part, other, atol=0.5 * base.deviation / 3 if name == "bootstrap-median" else slack)
    np.testing.assert_allclose(base.above, swapped.below, atol=0.03 if name in BOOTSTRAPS else 1e-12)
    np.testing.assert_allclose((moved.estimate - 1.75) / 4, base.estimate, rtol=1e-9)  # float64
    np.testing.assert_allclose([moved.low / 4 - 0.4375, moved.high / 4 - 0.4375], [base.low, base.high], rtol=1e-9)
    np.testing.assert_allclose(moved.deviation, 4 * base.deviation, rtol=1e-9)
    np.testing.assert_allclose(moved.above, base.above, rtol=1e-9)


@pytest.mark.parametrize("name", ["wilcoxon", "sign", "permutation"])
@pytest.mark.parametrize("n", [2, 3, 6])
def test_few_runs_by_enumeration(name, n):
    """All changes of sign of differences without ties, around a null."""
    statistic = {
        "wilcoxon": lambda d: np.sum(stats.rankdata(np.abs(d))[d > 0]),
        "sign": lambda d: np.sum(d > 0),
        "permutation": np.sum,
    }[name]
    x, y = arms(40 + n, n=n)
    for null in (-0.7, 0.1, 0.9):
        d = x - y - null
        law = np.array([statistic(np.abs(d) * signs) for signs in product([-1, 1], repeat=n)])
        got = asked(name, x, y, paired=True, nulls=[null])
        assert got.above[0] == pytest.approx(np.mean(law >= statistic(d) - 1e-12), rel=1e-14)
        assert got.below[0] == pytest.approx(np.mean(law <= statistic(d) + 1e-12), rel=1e-14)
    smallest = METHODS[name].smallest_p(n)
    assert asked(name, x, y, paired=True, nulls=[-99.0]).above[0] == smallest == 0.5**n
    everything = asked(name, x, y, paired=True, tail=0.9 * smallest)
    assert (everything.low, everything.high) == (-np.inf, np.inf)


def test_signed_ranks_of_many_pairs_equal_scipys_normal_law():
    x, y = arms(50, n=methods.EXACT + 20)
    got = asked("wilcoxon", x - 0.35, y, paired=True)
    exact = stats.wilcoxon(x - 0.35 - y, alternative="greater", method="asymptotic", correction=True).pvalue
    assert got.above[0] == pytest.approx(exact, rel=1e-11)  # the normal law in float64
    last, first = methods._signed_rank_law(methods.EXACT), methods._signed_rank_law(methods.EXACT + 1)
    at = lambda law, q: law[int(q * len(law))]
    assert at(first, 0.46) == pytest.approx(at(last, 0.46), rel=0.05)  # they meet; 46 % of the range is p = .13


@pytest.mark.parametrize("n", [14, 40, 80])
def test_random_changes_of_sign(n):
    members = methods._members(n)
    assert members.shape == (methods.SAMPLES, n)
    assert len(np.unique(members, axis=0)) == methods.SAMPLES
    assert members.sum(1).min() > 0
    share = members.mean(0)
    # Binomial of 10 000 subsets, 80 columns: z = 4.5. Without the empty one of 2^14 they are half of all to 3e-5.
    assert np.abs(share - 0.5).max() < 4.5 * 0.5 / np.sqrt(methods.SAMPLES)
    x, y = arms(60, n=n)
    got = asked("permutation", x, y, paired=True, nulls=[-9.0, 0.2])
    assert got.above[0] == METHODS["permutation"].smallest_p(n) == 1 / (methods.SAMPLES + 1)
    t = stats.ttest_rel(x - 0.2, y, alternative="greater").pvalue
    assert got.above[1] == pytest.approx(t, abs=0.03)  # another test of the same mean: a sanity check, not a law


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("decimals", [None, 0])
def test_false_alarms(name, decimals):
    """A truth at the bound is called above it at the level at most; runs of few values too."""
    if name == "t" and decimals == 0:
        pytest.skip("the t-test is about normal runs")
    sims, level = 4000, 0.05
    x, y = (np.random.default_rng(seed).normal(size=(sims, 12)) for seed in (1, 2))
    if decimals is not None:
        x, y = np.round(x, decimals), np.round(y, decimals)
    comparison = METHODS[name].compare(x, y, Question(True, np.zeros(1), level, *np.full((2, sims, 12), 1e-12)))
    alarms = np.mean(comparison.above[0] <= level)
    error = 4 * np.sqrt(level * (1 - level) / sims)  # z = 4
    assert alarms < level + error
    if decimals is None:  # attainable levels of 12 pairs
        assert alarms > {"t": 0.05, "wilcoxon": 0.0461, "sign": 0.0193, "permutation": 0.0498}[name] - error
    assert np.mean((comparison.low > 0) | (comparison.high < 0)) < 2 * level + 2 * error


@pytest.mark.filterwarnings("ignore:`diverged='exclude'`")
@pytest.mark.parametrize(("name", "paired"), DESIGNS)
def test_a_rule_can_name_it(name, paired):
    x, y = arms(70, n=30)
    rule = Rule(claim="greater", effect=0.1, diverged="exclude", method=name, paired=paired)
    got = compare(x + 3, y, rule, axis=0)
    assert got.verdict == "supported"
    assert got.interval[0] > 0.1
    assert compare(x - 3, y, rule, axis=0).verdict == "not supported"
    x[3] = np.nan
    assert compare(x, y, rule, axis=0).decisive.runs == ((29, 29) if paired else (29, 30))
    x[1:] = np.nan
    assert compare(x, y, rule, axis=0).verdict == "undecided"


@pytest.mark.parametrize("name", METHODS)
def test_a_rule_refuses_the_other_design(name):
    for paired in (True, False):
        if (name, paired) not in DESIGNS:
            runs = "are paired" if paired else "are not paired"
            with pytest.raises(ValueError, match=rf"`method` must be one of t, .*|t where runs {runs}; got '{name}'"):
                Rule(claim="greater", effect=0.0, diverged="exclude", method=name, paired=paired)


@pytest.mark.parametrize("name", ["wilcoxon", "sign", "permutation"])
def test_planned_power_is_about_what_simulation_says(name):
    """Planned as a t-test on the runs that the method is worth for normal differences."""
    rule = Rule(claim="greater", effect=0.0, diverged="exclude", method=name)
    rng, n = np.random.default_rng(3), 25
    setting = compare(rng.normal(0.55, 1, n), np.zeros(n), rule, axis=0).decisive
    sims = 2000
    again = rng.normal(setting.effect, setting.deviation, (sims, n))
    comparison = METHODS[name].compare(again, 0 * again, Question(True, np.zeros(1), 0.025, *np.zeros((2, sims, n))))
    share = np.mean(2 * comparison.above[0] <= 0.05)
    # z = 4 of 2000, the steps of the sign test (its level is .043 at 25 runs), and an asymptotic efficiency.
    assert abs(share - setting.power) < 0.045 + {"sign": 0.06}.get(name, 0.02)
    assert setting.power == pytest.approx(
        power(setting.effect / setting.deviation, n * METHODS[name].efficiency), rel=1e-12
    )


def test_nothing_is_promised_that_so_few_runs_cannot_give():
    x, y = arms(80, n=5)
    rule = Rule(claim="greater", effect=0.0, diverged="exclude", method="sign")
    setting = compare(x + 9, y, rule, axis=0).decisive
    assert (setting.verdict, setting.p, setting.power, setting.detectable) == ("undecided", 1 / 16, 0.0, np.inf)
    assert setting.size == 6  # 2/2^6 is below .05
    t = compare(x + 9, y, Rule(claim="greater", effect=0.0, diverged="exclude"), axis=0)
    assert t.verdict == "supported"


def test_methods_say_what_they_do():
    assert str(METHODS["sign"]) == "the median, by the sign test; of any differences (paired)"
    assert str(METHODS["t"]).endswith(
        "by Student's t-test (Welch's t-test where unpaired); of normal runs (paired or unpaired)"
    )
    assert statistics.METHODS is METHODS
