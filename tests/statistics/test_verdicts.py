from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import stats

from jnorm import statistics
from jnorm.statistics._arms import matched
from jnorm.statistics._evidence import weigh
from jnorm.statistics._holm import holm
from jnorm.statistics._judging import compare, correct, judge
from jnorm.statistics._power import power
from jnorm.statistics._reduced import averaged, tuned
from jnorm.statistics._rules import CLAIMS, Rule
from jnorm.statistics._runs import Runs

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")

RULE = Rule(claim="greater", effect=0.1, diverged="exclude")
EPS = float(np.finfo(float).eps)


def rule(**changes):
    return replace(RULE, **changes)


def weighed(a, b, rule):
    """The evidence of many settings, by column."""
    evidence = weigh(a, b, rule, rounding=(EPS, EPS), settings=[{}] * len(a))
    effect, interval, p = (np.array([getattr(e, name) for e in evidence]) for name in ("effect", "interval", "p"))
    return SimpleNamespace(effect=effect, low=interval[:, 0], high=interval[:, 1], p=p)


def arms(seed, n=12, shift=0.3, sd=0.2):
    rng = np.random.default_rng(seed)
    y = rng.normal(0.5, 0.3, n)
    return y + rng.normal(shift, sd, n), y


@pytest.mark.parametrize("paired", [True, False])
def test_students_p_and_interval_equal_scipys(paired):
    x, y = arms(0)
    y = y if paired else y[:9]
    test = (
        (lambda a, b, **o: stats.ttest_rel(a, b, **o))
        if paired
        else (lambda a, b, **o: stats.ttest_ind(a, b, equal_var=False, **o))
    )
    got = compare(x, y, rule(paired=paired), axis=0)
    assert got.p == pytest.approx(test(x - 0.1, y).pvalue, rel=1e-12)  # float64
    assert got.interval == pytest.approx(tuple(test(x, y).confidence_interval(0.95)), rel=1e-12)
    equal = compare(x, y, rule(claim="equal", effect=0.6, paired=paired), axis=0)
    both = test(x + 0.6, y, alternative="greater").pvalue, test(x - 0.6, y, alternative="less").pvalue
    assert equal.p == pytest.approx(max(both), rel=1e-12)
    assert equal.interval == pytest.approx(tuple(test(x, y).confidence_interval(0.90)), rel=1e-12)


@pytest.mark.parametrize("method", list(statistics.METHODS))
@pytest.mark.parametrize("claim", CLAIMS)
def test_the_interval_decides(claim, method):
    """The four verdicts follow from interval and effect, for shifts from far below to far above."""
    x, y = arms(1)
    shifts = np.linspace(-0.8, 0.4, 25)
    one = rule(claim=claim, method=method, paired=bool(statistics.METHODS[method].paired))
    found = weighed(x + shifts[:, None], np.tile(y, (25, 1)), one)
    for low, high, p, effect in zip(found.low, found.high, found.p, found.effect, strict=True):
        if claim == "equal":
            assert (p <= one.level and abs(effect) < 0.1) == (low > -0.1 and high < 0.1)
        else:
            outside = (low > 0.1 or high < 0.1) if claim == "greater" else (high < -0.1 or low > -0.1)
            assert (p <= one.level) == outside


@pytest.mark.parametrize("paired", [True, False])
def test_swapping_arms_and_direction_keeps_the_verdict(paired):
    other = {"greater": "less", "less": "greater", "equal": "equal"}
    seen = set()
    for shift in (-0.4, -0.1, 0.0, 0.1, 0.2, 0.4):
        x, y = arms(2, n=30, shift=shift, sd=0.05)
        for claim in CLAIMS:
            one = compare(x, y, rule(claim=claim, paired=paired), axis=0)
            two = compare(y, x, rule(claim=other[claim], paired=paired), axis=0)
            assert one.verdict == two.verdict
            assert one.p == pytest.approx(two.p, rel=1e-9, abs=1e-300)  # float64, far tails
            assert one.effect == -two.effect
            assert one.interval == pytest.approx((-two.interval[1], -two.interval[0]), rel=1e-12)
            seen.add(one.verdict)
    assert seen == {"supported", "not supported", "undecided"}


def test_more_of_the_effect_never_hurts_the_claim():
    order = ["not supported", "undecided", "supported"]
    x, y = arms(3)
    got = [order.index(compare(x + s, y, RULE, axis=0).verdict) for s in np.linspace(-1, 1, 21)]
    assert got == sorted(got)
    assert set(got) == {0, 1, 2}
    less = [order.index(compare(x, y, rule(effect=e), axis=0).verdict) for e in np.linspace(0, 1, 21)]
    assert less == sorted(less, reverse=True)


def test_units_and_order_of_seeds_do_not_matter():
    x, y = arms(4, shift=0.2)
    one = compare(x, y, RULE, axis=0)
    two = compare(8 * x[::-1] + 1, 8 * y[::-1] + 1, rule(effect=0.8), axis=0)
    assert one.verdict == two.verdict
    assert (one.p, one.power, one.size) == pytest.approx((two.p, two.power, two.size), rel=1e-10)


@pytest.mark.parametrize("paired", [True, False])
def test_false_alarms_at_the_bound(paired):
    """A truth exactly at the smallest effect that matters is called either way at the level."""
    sims, n = 8000, 10
    rng = np.random.default_rng(5)
    x, y = rng.normal(0.1, 1, (sims, n)), rng.normal(0, 1, (sims, n))
    p = weighed(x, y, rule(paired=paired)).p
    error = 4 * np.sqrt(0.05 * 0.95 / sims)  # z = 4
    assert abs(np.mean(p <= 0.05) - 0.05) < error
    found = weighed(x, y + 0.1, rule(claim="equal", effect=1.5, paired=paired))
    margin = weighed(x, y + 1.6, rule(claim="equal", effect=1.5, paired=paired))
    assert np.mean(found.p <= 0.05) > 0.3  # with power
    assert np.mean((margin.p <= 0.05) & (np.abs(margin.effect) < 1.5)) < 0.05 + error
    assert np.mean((margin.p <= 0.05) & (np.abs(margin.effect) > 1.5)) < 0.025 + error


def test_power_and_size_keep_their_promise():
    x, y = arms(6, n=10, shift=0.2, sd=0.3)
    got = compare(x, y, RULE, axis=0).decisive
    assert got.verdict == "undecided"
    d = (got.effect - 0.1) / got.deviation
    assert got.power == pytest.approx(power(d, 10), rel=1e-12)
    assert power(d, got.size) >= 0.8 > power(d, got.size - 1)
    assert power(got.detectable / got.deviation, 10) == pytest.approx(0.8, rel=1e-9)
    sims, rng = 4000, np.random.default_rng(7)
    again = rng.normal(got.effect, got.deviation, (sims, 10))
    share = np.mean(weighed(again, np.zeros((sims, 10)), RULE).p <= 0.05)
    assert abs(share - got.power) < 4 * np.sqrt(got.power * (1 - got.power) / sims)  # z = 4


def test_settings_that_disagree_are_mixed():
    x, y = arms(8, n=20, shift=0.0, sd=0.05)
    up, down, open_ = x + 0.3, x - 0.3, x + 0.11
    cases = {
        "supported": [up, up + 0.1],
        "not supported": [down, x],
        "mixed": [up, down, open_],
        "undecided": [up, open_],
    }
    for verdict, rows in cases.items():
        got = compare(np.stack(rows), np.stack([y] * len(rows)), RULE, axis=1)
        assert got.verdict == verdict
        assert got.decisive in got.settings
    weakest = compare(np.stack([up, up + 0.1]), np.stack([y] * 2), RULE, axis=1)
    assert weakest.p == max(s.p for s in weakest.settings)


def test_holm_over_a_family():
    x, y = arms(9, n=8, shift=0.35)
    alone = compare(x, y, RULE, axis=0)
    assert alone.verdict == alone.uncorrected == "supported"
    other = compare(x, y - 2, rule(family="other"), axis=0)
    many = correct([alone] * 60 + [other])
    assert {v.verdict for v in many[:-1]} == {"undecided"}
    assert many[-1] == other
    with jax.enable_x64(True):
        np.testing.assert_allclose([v.adjusted_p for v in many[:-1]], holm([alone.p] * 60, axis=0), rtol=1e-14)
    assert many[0].power < alone.power
    assert many[0].size > alone.size
    assert "uncorrected: supported" in str(many[0])
    assert "fresh runs would decide" in str(many[0])
    assert correct(many) == many


@pytest.mark.filterwarnings("ignore:`diverged='exclude'`")
def test_diverged_runs_are_data():
    x, y = arms(10, n=20)
    x[3], y[5] = np.nan, np.inf
    excluded = compare(x, y, RULE, axis=0).decisive
    assert (excluded.runs, excluded.diverged) == ((18, 18), (1, 1))
    keep = [i for i in range(20) if i not in (3, 5)]
    assert excluded.effect == pytest.approx(np.mean((x - y)[keep]), rel=1e-12)
    single = compare(x, y, rule(paired=False), axis=0).decisive
    assert single.runs == (19, 19)
    finite = np.concatenate([x, y])[np.isfinite(np.concatenate([x, y]))]
    for policy, fill in (("lowest", finite.min()), ("highest", finite.max()), (-1.0, -1.0)):
        got = compare(x, y, rule(diverged=policy), axis=0).decisive
        filled = np.where(np.isfinite(x), x, fill) - np.where(np.isfinite(y), y, fill)
        assert got.effect == pytest.approx(filled.mean(), rel=1e-12)
        assert (got.runs, got.diverged) == ((20, 20), (1, 1))
    lost = compare(np.full(5, np.nan), np.ones(5), RULE, axis=0)
    assert (lost.verdict, lost.decisive.runs, lost.decisive.diverged) == ("undecided", (0, 0), (5, 0))


def test_without_spread_the_sign_test_decides():
    y = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    for n, verdict in ((1, "undecided"), (5, "undecided"), (6, "supported")):
        got = compare(y[:n] + 0.2, y[:n], RULE, axis=0)
        assert (got.verdict, got.p) == (verdict, 1.0 if n == 1 else 2 * 0.5**n)
    assert compare(y + 0.2, y, RULE, axis=0).interval == pytest.approx((0.2, 0.2))
    assert compare(y + 0.1, y, RULE, axis=0).verdict == "undecided"  # exactly at the bound, up to rounding
    single = np.float32(y)
    assert compare(single + np.float32(0.1), single, RULE, axis=0).verdict == "undecided"
    assert compare(y, y, rule(claim="equal"), axis=0).p == 0.5**6
    assert compare(y, y, rule(method="bootstrap-mean"), axis=0).p == 2 * 0.5**6


def grid():
    return [{"phi": p, "rate": r, "depth": d} for d in (2, 8) for r in (0.01, 0.1) for p in ("relu", "selu")]


def accuracies():
    accuracy = np.random.default_rng(11).normal(0.8, 0.01, (8, 10))
    better = [0.1 * (c["phi"] == "selu") + 0.05 * (c["rate"] == 0.1) for c in grid()]
    return accuracy + np.array(better)[:, None]


class Mapped(dict):
    """Anybody's result: a dict with configurations."""

    configurations = tuple(grid())


def test_judge_finds_the_arms():
    accuracy = accuracies()
    mine = Mapped(accuracy=accuracy, curve=np.stack([0 * accuracy, accuracy], -1))
    one = rule(metric="accuracy", a={"phi": "selu"}, b={"phi": "relu"}, effect=0.05)
    got = judge(mine, one)
    assert got.verdict == "supported"
    assert [dict(s.where) for s in got.settings] == [{"rate": r, "depth": d} for d in (2, 8) for r in (0.01, 0.1)]
    assert got.settings[2].effect == pytest.approx(np.mean(accuracy[5] - accuracy[4]), rel=1e-12)
    assert judge(mine, replace(one, metric="curve", transform=lambda c: c[..., -1])).settings == got.settings
    best = tuned(mine, "rate", on="accuracy")
    assert [s.effect for s in judge(best, one).settings] == [got.settings[1].effect, got.settings[3].effect]
    mean = averaged(mine, "rate")
    assert judge(mean, one).effect == pytest.approx(np.mean(accuracy[[1, 3, 5, 7]] - accuracy[[0, 2, 4, 6]]), abs=0.01)
    narrow = replace(one, a={"phi": "selu", "depth": 8, "rate": 0.1}, b={"phi": "relu", "depth": 2, "rate": 0.1})
    assert [s.where for s in judge(mine, narrow).settings] == [{}]


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_known_number_needs_no_runs_of_its_own(claim):
    x, _ = arms(0)
    one = rule(metric="value", claim=claim, effect=0.7, a={"arm": "measured"}, b=0.21)
    got = judge(Runs.of_arms({"measured": x}), one)
    constant = Runs.of_arms({"a": x, "b": np.full(12, 0.21)})
    [by_runs] = judge(constant, replace(one, a={"arm": "a"}, b={"arm": "b"})).settings
    assert replace(by_runs, where={"arm": "measured"}) == replace(got.settings[0], where={"arm": "measured"})
    test = stats.ttest_1samp(x - 0.21, 0.7 if claim == "greater" else -0.7)
    p = max(test.pvalue / 2, stats.ttest_1samp(x - 0.21, 0.7).pvalue / 2) if claim == "equal" else test.pvalue
    assert got.p == pytest.approx(p, rel=1e-12)  # float64
    assert statistics.report([got]).count("0.21") >= 1
    many = judge(Runs.of_arms({"u": x, "v": x + 2.0}), replace(one, claim="less", effect=0.0, a={}, b=2.0))
    assert [(s.where, s.verdict) for s in many.settings] == [
        ({"arm": "u"}, "supported"),
        ({"arm": "v"}, "not supported"),
    ]


def test_what_each_arm_has_of_its_own_makes_no_settings():
    accuracy = accuracies()
    own = Runs([{"phi": "relu", "rate": 0.1}, {"phi": "selu", "rate": 0.03}], {"accuracy": accuracy[[2, 3]]})
    one = rule(metric="accuracy", a={"phi": "selu"}, b={"phi": "relu"}, effect=0.05)
    with pytest.raises(ValueError, match="both arms must have every setting"):
        judge(own, one)
    got = judge(own, replace(one, own=["rate"]))
    assert [dict(s.where) for s in got.settings] == [{}]
    assert got.effect == pytest.approx(np.mean(accuracy[3] - accuracy[2]), rel=1e-12)
    with pytest.raises(ValueError, match="must select one configuration in each setting"):
        judge(Runs(grid(), {"accuracy": accuracy}), replace(one, own=["rate"]))


@pytest.mark.parametrize("method", list(statistics.METHODS))
@pytest.mark.parametrize("claim", CLAIMS)
def test_the_confidence_shown_decides_nothing(claim, method):
    x, y = arms(1)
    options = {"claim": claim, "method": method, "paired": bool(statistics.METHODS[method].paired)}
    strict = compare(x, y, rule(level=0.001, **options), axis=0)
    shown = compare(x, y, rule(level=0.001, confidence=0.95, **options), axis=0)
    assert (shown.verdict, shown.p, shown.effect) == (strict.verdict, strict.p, strict.effect)
    assert shown.decisive.confidence == 0.95
    assert shown.interval == compare(x, y, rule(**options | {"claim": "greater"}), axis=0).interval
    assert "95 % interval" in str(shown)
    assert "90 %" not in str(shown)


@pytest.mark.filterwarnings("ignore:`diverged='exclude'`")
def test_failed_runs_count_as_diverged_though_the_metric_is_finite():
    accuracy = accuracies()
    failed = np.zeros((8, 10), bool)
    failed[1, :4] = True  # selu at depth 2, rate .01
    runs = Runs(grid(), {"accuracy": accuracy}, failed=failed)
    one = rule(metric="accuracy", a={"phi": "selu"}, b={"phi": "relu"}, effect=0.05)
    assert [s.diverged for s in judge(runs, one).settings] == [(4, 0), (0, 0), (0, 0), (0, 0)]
    assert [s.diverged for s in judge(averaged(runs, "rate"), one).settings] == [(4, 0), (0, 0)]
    assert [s.diverged for s in judge(tuned(runs, "rate", on="accuracy"), one).settings] == [(0, 0), (0, 0)]


def test_bad_results():
    accuracy = accuracies()
    runs = Runs(grid(), {"accuracy": accuracy, "curve": accuracy[..., None]})
    one = rule(metric="accuracy", a={"phi": "selu"}, b={"phi": "relu"})
    for changes, message in (
        ({"metric": "loss"}, "`metric` must be one of accuracy, curve; got 'loss'"),
        ({"metric": "curve"}, r"`curve` must be one number a run, .*got \(8, 10, 1\)"),
        ({"a": {"phi": "gelu"}}, "`a` must select a configuration; got phi=gelu, there are phi: 'relu', 'selu'"),
        ({"a": {"units": 3}}, "there are units: none"),
        ({"b": {"rate": 0.1}}, r"`a` must select one configuration in each setting; got two at .*: name rate too"),
    ):
        with pytest.raises(ValueError, match=message):
            judge(runs, replace(one, **changes))
    with pytest.raises(ValueError, match=r"both arms must have every setting; `b` lacks rate=0.1, depth=8"):
        matched(Runs([c for c in grid() if c != {"phi": "relu", "rate": 0.1, "depth": 8}], {}), one.a, one.b)
    with pytest.raises(ValueError, match=r"`metric` must be in the result; got 'loss'$"):
        judge(Mapped(), replace(one, metric="loss"))
    with pytest.raises(ValueError, match=r"`accuracy` must have shape \[8 configurations, seeds, ...\]; got \(7, 10\)"):
        Runs(grid(), {"accuracy": accuracy[:7]})
    with pytest.raises(ValueError, match=r"`failed` must have shape \(8, 10\)"):
        Runs(grid(), {"accuracy": accuracy}, failed=np.zeros(8, bool))
    with pytest.raises(ValueError, match="`name` must be one of phi, rate, depth; got 'units'"):
        tuned(runs, "units", on="accuracy")
    with pytest.raises(ValueError, match=r"`curve` must have shape \[configurations, seeds\] to choose on"):
        tuned(runs, "rate", on="curve")
    with pytest.raises(ValueError, match=r"one shape where runs are paired; got \(3,\) and \(4,\)"):
        compare(np.ones(3), np.ones(4), RULE, axis=0)
    with pytest.raises(ValueError, match="`axis` must satisfy -1 <= axis < 1 for `x`; got 1"):
        compare(np.ones(3), np.ones(3), RULE, axis=1)
    with pytest.raises(ValueError, match="`settings` must describe 1 settings; got 2"):
        compare(np.ones(3), np.ones(3), RULE, axis=0, settings=[{}, {}])
    with pytest.raises(TypeError, match="`x` must hold real numbers"):
        compare(["a"], [1.0], RULE, axis=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claim": "better"}, "`claim` must be one of greater, less, equal; got 'better'"),
        ({"effect": -0.1}, r"`effect` must satisfy 0 <= effect < inf; got -0.1"),
        ({"effect": float("nan")}, "`effect` must satisfy"),
        ({"claim": "equal", "effect": 0.0}, r"`effect` must satisfy 0 < effect < inf; got 0.0"),
        ({"level": 2}, r"`level` must satisfy 0 < level < 0.5; got 2"),
        ({"confidence": 1.0}, r"`confidence` must satisfy 0 < confidence < 1; got 1.0"),
        ({"b": float("inf")}, r"`b` must be finite; got inf"),
        ({"b": 0.1, "paired": False}, "`paired` must be True where `b` is a number, which has no runs"),
        ({"target": 1.0}, r"`target` must satisfy 0 < target < 1; got 1.0"),
        ({"method": "z"}, "`method` must be one of t, wilcoxon, sign,"),
        ({"diverged": "drop"}, "`diverged` must be one of exclude, lowest, highest, or a number; got 'drop'"),
        ({"diverged": float("nan")}, "`diverged` must be finite; got nan"),
        (
            {"paired": False, "method": "bootstrap-iqm"},
            "`method` must be one of t.* where runs are not paired; got 'bootstrap-iqm'",
        ),
    ],
)
def test_bad_rules(changes, message):
    with pytest.raises(ValueError, match=message):
        rule(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b": "relu"}, "`b` must be a mapping or a number; got 'relu'"),
        ({"own": "rate"}, "`own` must be a list of names; got 'rate'"),
        ({"confidence": "95"}, "`confidence` must be a number; got '95'"),
    ],
)
def test_rules_of_wrong_types(changes, message):
    with pytest.raises(TypeError, match=message):
        rule(**changes)


def test_a_policy_must_be_declared():
    with pytest.raises(TypeError, match="diverged"):
        Rule(claim="greater", effect=0.1)


def test_one_place_for_all_names():
    assert statistics.judge is judge
    missing = [name for name in statistics.__all__ if not hasattr(statistics, name)]
    assert not missing


def test_summary_is_its_parts():
    x = np.random.default_rng(12).normal(size=(2, 9))
    x[1, 4] = np.inf
    with jax.enable_x64(True):
        got = statistics.summary(x, axis=1, samples=200, level=0.1)
        rest = x[1, np.isfinite(x[1])]
        np.testing.assert_array_equal([got.count, got.diverged], [[9, 8], [0, 1]])
        np.testing.assert_allclose(got.var, [x[0].var(ddof=1), rest.var(ddof=1)], rtol=1e-14)  # float64
        values = [got.mean.value, got.median.value]
        np.testing.assert_allclose(values, [[f(x[0]), f(rest)] for f in (np.mean, np.median)], rtol=1e-13)
        for part in (got.mean, got.median, got.iqm):
            assert np.all((part.low < part.value) & (part.value < part.high))
        again = statistics.summary(x, axis=1, samples=200, level=0.1, key=jax.random.key(1))
    assert np.all(again.mean.low != got.mean.low)
    with pytest.raises(ValueError, match=r"`level` must satisfy 0 < level < 1; got 0"):
        statistics.summary(x, axis=1, level=0)
