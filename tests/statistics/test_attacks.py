"""Verdicts under attack: what supported claims that are false, contradicted itself or promised too much."""

from dataclasses import replace
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import statistics
from jnorm.statistics import METHODS, Rule, Runs, compare, judge, tuned
from jnorm.statistics._arms import matched
from jnorm.statistics._keys import Places, same
from jnorm.statistics._steps import Question
from tests.thorough import beside

RULE = Rule(claim="greater", effect=0.0, diverged="exclude")
BOOTSTRAPS = [name for name in METHODS if name.startswith("bootstrap")]


def decided(method, x, y=None, tail=0.025):
    """How often a true null 0 of paired runs ``[sets, runs]`` is rejected on either side; p and interval agree."""
    y = np.zeros_like(x) if y is None else y
    near = 4e-16 * np.abs(x), 4e-16 * np.abs(y)
    found = METHODS[method].compare(x, y, Question(x.shape == y.shape, np.zeros(1), tail, *near))
    above, below = found.above[0] <= tail, found.below[0] <= tail
    np.testing.assert_array_equal(above, found.low > 0)
    np.testing.assert_array_equal(below, found.high < 0)
    return np.mean(above), np.mean(below)


@pytest.mark.parametrize("method", BOOTSTRAPS)
@pytest.mark.parametrize("n", [2, 3, 5, 8, 10])
def test_no_p_is_below_what_so_many_signs_allow(method, n):
    d = 0.01 * np.arange(1.0, n + 1)
    got = compare(d, np.zeros(n), replace(RULE, method=method), axis=0)
    assert got.p >= 2 * float(Fraction(1, 2**n))
    assert got.p == pytest.approx(min(1, 2 * 0.5**n), rel=1e-12) or n >= 8  # from there on what the resamples say
    assert (got.verdict == "supported") == (n > 5)
    assert (got.interval[0] > 0) == (n > 5)


@pytest.mark.parametrize("method", BOOTSTRAPS)
@pytest.mark.parametrize("n", beside([5, 6], [3, 5, 6, 9, 16]))
def test_bootstraps_err_no_more_than_they_say_at_the_bound(method, n):
    sets = 2000
    x = np.random.default_rng(n).normal(size=(sets, n))
    # 1.3 times 2.5 %, where six runs are; z = 4 of 2000 sets.
    most = 0.0325 + 4 * np.sqrt(0.0325 * 0.9675 / sets)
    assert max(decided(method, x)) <= (0 if n < 6 else most)


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].paired and name != "t"])
@pytest.mark.parametrize("n", beside([6], [6, 11]))
def test_p_and_interval_agree_on_discrete_runs(method, n):
    """Rounded runs: many differences, and many medians of resamples, lie exactly at the null."""
    rng = np.random.default_rng(0)
    x, y = (np.round(rng.normal(size=(300, n)) * 2) / 10 for _ in range(2))
    decided(method, x, y)
    rule = replace(RULE, method=method)
    for null in (0.1, 0.3):  # differences of tenths, none of which is a tenth in binary
        for a, b in zip(x[:60], y[:60], strict=True):
            got = compare(a + 0.3, b, replace(rule, effect=null), axis=0)
            assert (got.p <= 0.05) == (got.interval[0] > null or got.interval[1] < null)


@pytest.mark.parametrize("widen", [np.float64, lambda x: np.asarray(x, float), lambda x: x])
def test_single_precision_seen_as_double(widen):
    """Two equal differences that only rounding tells apart: the sign test says p = 1/2, not t 1.9e-7."""
    y = np.float32([0.1, 0.7])
    x = y + np.float32(0.2)
    got = compare(widen(x), widen(y), RULE, axis=0)
    assert (got.p, got.verdict) == (0.5, "undecided")
    judged = judge(
        Runs([{"phi": 0}, {"phi": 1}], {"acc": widen(np.stack([y, x]))}),
        replace(RULE, metric="acc", a={"phi": 1}, b={"phi": 0}),
    )
    assert judged.p == 0.5
    curve = np.stack([np.stack([y, x])] * 2, -1)
    mean = replace(RULE, metric="acc", a={"phi": 1}, b={"phi": 0}, transform=lambda c: np.mean(c, -1, dtype=float))
    assert judge(Runs([{"phi": 0}, {"phi": 1}], {"acc": curve}), mean).p == 0.5


def test_half_precision_has_a_spread():
    rng = np.random.default_rng(3)
    x, y = (jnp.asarray(rng.normal(0.9, 0.02, 12), jnp.bfloat16) for _ in range(2))
    got = compare(x, y, RULE, axis=0)
    exact = compare(np.float64(x), np.float64(y), RULE, axis=0)
    assert got.interval == pytest.approx(exact.interval, abs=1e-12)
    assert got.interval[1] - got.interval[0] > 0.01


def test_both_arms_must_differ():
    runs = Runs([{"phi": "relu"}, {"phi": "selu"}], {"acc": np.eye(2, 6)})
    for arms in ({"a": {"phi": "relu"}, "b": {"phi": "relu"}}, {}):
        with pytest.raises(ValueError, match=r"`a` and `b` must differ; got .* for both"):
            judge(runs, replace(RULE, claim="equal", effect=0.1, metric="acc", **arms))
    one = Runs([{"phi": "relu"}], {"acc": np.ones((1, 6))})
    with pytest.raises(ValueError, match=r"`a` and `b` must select different configurations"):
        judge(one, replace(RULE, metric="acc", a={"phi": "relu"}, b={}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diverged": True}, "`diverged` must be a number; got True"),
        ({"effect": True}, "`effect` must be a number; got True"),
        ({"effect": "0.1"}, "`effect` must be a number; got '0.1'"),
        ({"level": None}, "`level` must be a number; got None"),
        ({"paired": "no"}, "`paired` must be a bool; got 'no'"),
        ({"a": "relu"}, "`a` must be a mapping; got 'relu'"),
        ({"expected": False}, "`expected` must be a number; got False"),
    ],
)
def test_a_rule_refuses_other_types(changes, message):
    with pytest.raises(TypeError, match=message):
        replace(RULE, **changes)
    with pytest.raises(ValueError, match="`expected` must be finite; got inf"):
        replace(RULE, expected=np.inf)


@pytest.mark.parametrize(("runs", "spread"), [((5, 40), (1.0, 0.2)), ((40, 5), (1.0, 0.2)), ((12, 12), (0.1, 1.0))])
@pytest.mark.parametrize("effect", [0.5, 1.5])
def test_planned_power_of_unequal_arms_is_that_of_simulation(runs, spread, effect):
    sims, rng = 4000, np.random.default_rng(4)
    one = replace(RULE, paired=False, expected=effect)
    fixed = [
        s * (z - z.mean()) / z.std(ddof=1) for s, n in zip(spread, runs, strict=True) for z in [rng.normal(size=n)]
    ]
    setting = compare(fixed[0] + effect, fixed[1], one, axis=0).decisive
    x, y = (rng.normal(0, s, (sims, n)) for s, n in zip(spread, runs, strict=True))
    near = np.zeros_like(x), np.zeros_like(y)
    found = METHODS["t"].compare(x + effect, y, Question(False, np.zeros(1), 0.025, *near))
    share = np.mean((found.above[0] <= 0.025) | (found.below[0] <= 0.025))
    # z = 4 of 4000, and Welch's degrees of freedom, estimated there and true here.
    assert abs(share - setting.power) < 4 * np.sqrt(0.25 / sims) + 0.01


def test_where_nothing_differs_no_number_of_runs_decides():
    y = np.linspace(0, 1, 6)
    for shift, rule in ((0.0, RULE), (0.1, replace(RULE, effect=0.1)), (-0.1, replace(RULE, claim="less", effect=0.1))):
        got = compare(y + shift, y, rule, axis=0)
        assert (got.verdict, got.size) == ("undecided", np.inf)
        assert "no number of runs would decide" in str(got)
    at_bound = compare(y + np.array([1, -1, 1, -1, 1, -1]), y, RULE, axis=0)
    assert at_bound.size == np.inf


def test_the_size_is_for_a_stated_difference_or_has_its_range():
    rng = np.random.default_rng(5)
    d = rng.normal(0.5, 1, 5)
    got = compare(d, 0 * d, RULE, axis=0)
    assert got.verdict == "undecided"
    setting = got.decisive
    assert setting.sizes[0] <= setting.size <= setting.sizes[1] == np.inf
    assert f"within the interval {setting.sizes[0]} or more" in str(got)
    stated = compare(d, 0 * d, replace(RULE, expected=0.5 * d.std(ddof=1)), axis=0)
    assert stated.size == 34  # Cohen 1988: an effect of half a deviation, paired, power .8
    assert stated.decisive.sizes == (34, 34)
    assert str(stated).endswith("34 fresh runs would decide")
    assert "runs planned for" in str(stated)


def test_unequal_selection_is_named():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 16))
    x[:5] = np.nan
    with pytest.warns(UserWarning, match="5 of 16 runs of a diverged and 0 of 16 runs of b"):
        compare(x, y, RULE, axis=0)
    y[3:8] = np.inf
    compare(x, y, RULE, axis=0)  # as many in both arms
    compare(x, np.abs(y), replace(RULE, diverged="lowest"), axis=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "two-sided Student's t-test of paired runs at level 0.05; null: the mean of a - b is 0; in brackets the",
        ),
        ({"paired": False}, "two-sided Welch's t-test of unpaired runs at level 0.05; null: the mean of a - b is 0;"),
        (
            {"claim": "less", "effect": 0.1, "level": 0.01},
            "level 0.01; null: the mean of a - b is -0.1; in brackets the 99 % interval",
        ),
        ({"method": "sign"}, "two-sided sign test of paired runs at level 0.05; null: the median of a - b is 0"),
        (
            {"claim": "equal", "effect": 0.2},
            "two one-sided tests, Student's t-test, of paired runs at level 0.05; null: the mean of a - b is -0.2 or "
            "less, or 0.2 or more; in brackets the 90 % interval, outside the margin the 95 % one",
        ),
    ],
)
def test_a_verdict_says_what_was_tested(changes, words):
    x, y = np.random.default_rng(7).normal(size=(2, 9))
    assert words in str(compare(x, y, replace(RULE, **changes), axis=0))


def test_equality_shows_the_interval_that_decides():
    x, y = np.random.default_rng(8).normal(size=(2, 20))
    rule = replace(RULE, claim="equal", effect=0.3)
    for shift in np.linspace(-2, 2, 41):
        got = compare(x + shift, y, rule, axis=0)
        low, high = got.interval
        outcome = (
            "supported" if low > -0.3 and high < 0.3 else "not supported" if low > 0.3 or high < -0.3 else "undecided"
        )
        assert got.verdict == outcome
        assert got.decisive.confidence == pytest.approx(0.9 if abs(got.effect) < 0.3 else 0.95)


def test_configurations_are_compared_by_value():
    grid = [{"phi": "relu", "d": 8, "rate": 0.1}, {"rate": np.float32(0.1), "d": 8.0, "phi": "selu"}]
    rows = matched(Runs(grid, {}), {"phi": "selu"}, {"phi": "relu"})
    assert (rows.a, rows.b) == ([1], [0])
    places = Places([])
    values = [1, 2, 0.5, "relu", (8, 8), None, 16_777_216, 16_777_217, 0.1, 0.1 + 1e-12]
    assert [places.of({"v": v}) for v in values] == list(range(len(values)))
    others = [
        1.0,
        np.int64(2),
        np.float16(0.5),
        np.str_("relu"),
        [8.0, 8],
        None,
        16_777_216.0,
        16_777_217,
        np.float32(0.1),
    ]
    assert [places.of({"v": v}) for v in others] == list(range(len(others)))
    assert same(jnp.float32(0.1), 0.1)
    chosen = tuned(Runs([{"d": 8, "r": 1}, {"r": 2, "d": 8.0}], {"acc": [[0.1], [0.2]]}), "r", on="acc")
    assert [dict(c) for c in chosen.configurations] == [{"d": 8}]


def test_a_name_that_is_nearly_right_is_found():
    runs = Runs([{"phi": 0}, {"phi": 1}], {"accuracy": np.eye(2, 6)})
    with pytest.raises(ValueError, match=r"`metric` must be one of accuracy; got 'acuracy': did you mean accuracy\?"):
        judge(runs, replace(RULE, metric="acuracy", a={"phi": 1}, b={"phi": 0}))

    class Other(dict):
        configurations = ({"phi": 0}, {"phi": 1})

    with pytest.raises(ValueError, match=r"in the result, which has accuracy; got 'Accuracy': did you mean accuracy\?"):
        judge(Other(accuracy=np.eye(2, 6)), replace(RULE, metric="Accuracy", a={"phi": 1}, b={"phi": 0}))


def test_p_values_of_rules_are_never_zero():
    d = np.linspace(1, 2, 1100)
    for method in ("t", "sign", "wilcoxon"):
        assert compare(1e9 + d, 0 * d, replace(RULE, method=method), axis=0).p > 0


def test_compare_takes_what_people_have():
    import pandas as pd

    x, y = np.random.default_rng(9).normal(size=(2, 8)).round(2)
    exact = compare(x, y, RULE, axis=0).p
    for kind in (list, pd.Series, jnp.asarray, lambda v: [jnp.asarray(e) for e in v], np.float32):
        assert compare(kind(x), kind(y), RULE, axis=0).p == pytest.approx(exact, rel=1e-5)  # float32
    whole = compare([3, 1, 4, 1, 5], [0, 1, 0, 2, 0], RULE, axis=0)
    assert whole.p == compare([3.0, 1, 4, 1, 5], [0.0, 1, 0, 2, 0], RULE, axis=0).p
    for bad, error in (([True, False], TypeError), ([1j, 2], TypeError), ([None, 1.0], TypeError), ([], ValueError)):
        with pytest.raises(error, match="`x` must hold"):
            compare(bad, bad, RULE, axis=0)
    assert statistics.compare([np.inf, 1.0, 2.0], [np.inf, 1.0, 0.0], RULE, axis=0).decisive.runs == (2, 2)
