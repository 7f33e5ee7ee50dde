"""Rules that are judged at several looks: levels, p-values over all looks, mixtures, and the protocol of a sweep."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from jnorm import statistics
from jnorm.statistics import Rule, Runs, sequential
from jnorm.statistics._interim import BOUNDARIES, weigh_at
from jnorm.statistics._mixtures import _sign_law, critical_t, mixture_t, mixture_var
from jnorm.statistics._spending import SPENDING, nominal_levels, overall_p
from jnorm.statistics._steps import Question

LOOKS = (8, 16, 24, 32)
GRID = [{"phi": phi, "depth": depth} for phi in ("relu", "selu") for depth in (2, 8)]
RULE = Rule(
    metric="accuracy", a={"phi": "selu"}, b={"phi": "relu"}, claim="greater", effect=0.0, diverged="lowest", level=0.05
)


def runs(seed=0, shift=0.0, seeds=32, grid=GRID):
    """Accuracies of a grid; those of selu are higher by ``shift`` standard deviations of a difference."""
    noise = np.random.default_rng(seed).normal(size=(len(grid), seeds))
    up = np.array([[shift * np.sqrt(2) if c["phi"] == "selu" else 0.0] for c in grid])
    return Runs(grid, {"accuracy": noise + up})


# Levels of the looks.


def test_levels_are_those_of_published_designs():
    # For millions of runs, of which one degree of freedom is next to nothing.
    # One-sided .05 at quarters of the runs (README of SeqBounds.jl, by steps of .05: 1e-4), and .025 at thirds
    # (gsDesign, sfLDOF, critical scores to 4 digits).
    seen = nominal_levels("obrien-fleming", (8_000_000, 16_000_000, 24_000_000, 32_000_000), 0.05)
    assert seen == pytest.approx([8.85754e-5, 0.00554366, 0.0218979, 0.0427037], rel=2e-4)
    thirds = stats.norm.isf(nominal_levels("obrien-fleming", (10_000_000, 20_000_000, 30_000_000), 0.025))
    assert thirds == pytest.approx([3.7103, 2.5114, 1.9930], abs=5e-5)


@pytest.mark.parametrize("spending", SPENDING)
@pytest.mark.parametrize("looks", [(5, 20), (8, 16, 32), (4, 5, 30)])
def test_first_crossings_have_the_probability_that_is_spent(spending, looks):
    """Against SciPy's multivariate normal law (Genz), asked for 1e-7."""
    times = (np.array(looks) - 1) / (looks[-1] - 1)
    critical = stats.norm.isf(nominal_levels(spending, looks, 0.025))
    cov = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    for k in range(1, len(looks) + 1):
        exact = {"abseps": 1e-9, "releps": 0, "maxpts": 10**6}
        below = stats.multivariate_normal.cdf(critical[:k], np.zeros(k), cov[:k, :k], **exact)
        assert 1 - below == pytest.approx(SPENDING[spending](0.025, looks[k - 1] / looks[-1]), abs=2e-7)


def test_many_looks_are_integrated_as_well_as_few():
    """A look whose increment is next to nothing changes the others by as little; 1e-6: the width of a kernel."""
    every = tuple(range(8, 65))
    levels = nominal_levels("obrien-fleming", every, 0.025)
    rng, paths = np.random.default_rng(0), 40_000
    information = np.array(every) - 1
    steps = np.diff(information, prepend=0)
    walk = np.cumsum(rng.normal(size=(paths, len(every))) * np.sqrt(steps), 1) / np.sqrt(information)
    crossed = np.mean(np.any(walk > stats.norm.isf(levels), 1))
    assert abs(crossed - 0.025) < 4 * np.sqrt(0.025 / paths)  # z = 4


@pytest.mark.parametrize("spending", SPENDING)
def test_levels_are_nested(spending):
    """A p-value over all looks needs levels that grow with the error rate at every look."""
    table = np.array([nominal_levels(spending, LOOKS, level) for level in np.geomspace(1e-6, 0.5, 40)])
    assert np.all(np.diff(table, axis=0) >= 0)


@pytest.mark.parametrize("spending", SPENDING)
def test_p_values_over_all_looks_invert_the_levels(spending):
    for level in (1e-6, 0.01, 0.025, 0.05, 0.3):
        for look, p in enumerate(nominal_levels(spending, LOOKS, level)):
            # 1e-5: interpolation of the scores at 65 error rates
            assert float(overall_p(spending, LOOKS, look, p)) == pytest.approx(level, rel=1e-5)
    assert np.all(np.diff(overall_p(spending, LOOKS, 2, np.geomspace(1e-12, 1, 50))) >= 0)
    assert float(overall_p(spending, LOOKS, 0, 1.0)) == 1.0


# Mixtures.


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("mean", [-0.4, 0.1, 1.5])
def test_the_mixture_t_test_is_the_integral_over_noncentral_laws(n, mean):
    d = np.random.default_rng(n).normal(size=n)
    d += mean - d.mean()
    t, var = stats.ttest_1samp(d, 0).statistic, 0.7
    ratio = lambda delta: (
        2 * stats.norm.pdf(delta, scale=var**0.5) * stats.nct.pdf(t, n - 1, delta * n**0.5) / stats.t.pdf(t, n - 1)
    )
    e, _ = integrate.quad(ratio, 0, 8 * var**0.5, points=[max(mean, 0.1)], epsabs=0, epsrel=1e-10)
    question = Question(True, np.zeros(1), 0.025, *np.zeros((2, 1, n)))
    above = mixture_t(d[None], np.zeros((1, n)), question, var=var).above[0, 0]
    assert above == pytest.approx(min(1 / e, 1), rel=1e-6)  # SciPy's noncentral density


def test_the_mixture_t_interval_is_what_its_test_does_not_reject():
    d = np.random.default_rng(0).normal(0.3, 1, (1, 20))
    question = Question(True, np.zeros(1), 0.025, *np.zeros((2, 1, 20)))
    answer = mixture_t(d, 0 * d, question, var=0.3)
    ends = question._replace(nulls=np.array([answer.low[0], answer.high[0]]))
    at = mixture_t(d, 0 * d, ends, var=0.3)
    assert (at.above[0, 0], at.below[1, 0]) == pytest.approx((0.025, 0.025), rel=1e-9)  # float64
    assert mixture_var(0.05, 20) == pytest.approx(
        min(np.linspace(0.01, 2, 100), key=lambda var: critical_t(np.array(2000), 0.025, var * 20 / 2000)), abs=0.04
    )  # the docstring's claim for many runs, on a mesh, at equal tails


@pytest.mark.parametrize("var", [0.1, 0.5, 3.0])
def test_the_mixture_sign_test_holds_over_all_paths(var):
    """Every path of up to 16 signs counted: the e-value has expectation 1, and reaches 1/alpha in alpha of them."""
    n, alpha = 16, 0.05
    alive = {0: 1.0}  # probability of each number of positive signs among paths that never crossed
    crossed = 0.0
    for runs in range(1, n + 1):
        law = _sign_law(runs, var)  # by the number at or below the null
        step = {}
        for up, p in alive.items():
            for more in (0, 1):
                step[up + more] = step.get(up + more, 0.0) + p / 2
        crossed += sum(p for up, p in step.items() if law[runs - up] <= alpha)
        alive = {up: p for up, p in step.items() if law[runs - up] > alpha}
    assert 0 < crossed <= alpha


# The error over all looks.


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("paired", "law"), [(True, "normal"), (False, "bounded"), (True, "diverging")])
def test_nulls_are_decided_in_the_level_over_all_looks(boundary, paired, law):
    rng, sims = np.random.default_rng(1), 3000
    draws = {
        "normal": lambda: rng.normal(size=(sims, 24)),
        "bounded": lambda: rng.binomial(360, 0.97, (sims, 24)) / 360,
        "diverging": lambda: np.where(rng.random((sims, 24)) < 0.1, np.nan, rng.normal(size=(sims, 24))),
    }
    a, b = draws[law](), draws[law]()
    rule = replace(RULE, paired=paired)
    looks, p = (6, 12, 24), np.ones(sims)
    for look, n in enumerate(looks):
        found = weigh_at(
            *(a[:, :n], b[:, :n], rule),
            **{"boundary": boundary, "looks": looks, "look": look},
            **{"rounding": (1e-16, 1e-16), "settings": [{}] * sims},
        )
        p = np.minimum(p, [e.p for e in found])
    assert np.mean(p <= 0.05) < 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / sims)  # one in a thousand


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_truth_at_the_margin_is_called_equal_in_the_level_over_all_looks(boundary):
    sims, looks = 3000, (6, 12, 24)
    a = np.random.default_rng(2).normal(0.8, 1.0, (sims, 24))
    rule, inside, outside = replace(RULE, claim="equal", effect=0.8), np.zeros(sims, bool), np.zeros(sims, bool)
    for look, n in enumerate(looks):
        found = weigh_at(
            *(a[:, :n], 0 * a[:, :n], rule),
            **{"boundary": boundary, "looks": looks, "look": look},
            **{"rounding": (1e-16, 1e-16), "settings": [{}] * sims},
        )
        decided = np.array([e.p <= 0.05 for e in found]) & ~inside & ~outside
        within = np.array([abs(e.effect) < 0.8 for e in found])
        inside, outside = inside | (decided & within), outside | (decided & ~within)
    for wrong, level in ((inside, 0.05), (outside, 0.025)):
        assert 0 < np.mean(wrong) < level + 3.1 * np.sqrt(level / sims)  # one in a thousand


# The protocol.


def test_seeds_are_added_only_where_a_setting_is_undecided():
    noise = np.random.default_rng(0).normal(size=(4, 32))
    noise[2] += 3.0  # selu at depth 2: plain; at depth 8: nothing
    until = sequential(RULE, looks=LOOKS)
    needed = until(Runs(GRID, {"accuracy": noise[:, :16]}))
    assert needed.tolist() == [False, True, False, True]
    interim = until.judge(Runs(GRID, {"accuracy": noise}))
    assert interim.seeds == ((16, 32),)
    assert not interim.needed.any()
    assert (interim.runs, interim.planned) == (2 * 16 + 2 * 32, 4 * 32)
    assert [s.verdict for s in interim.verdicts[0].settings] == ["supported", "undecided"]
    assert [s.runs for s in interim.verdicts[0].settings] == [(16, 16), (32, 32)]
    assert str(interim).startswith(
        "96 of 128 runs (25 % saved); p and intervals hold over looks at 8, 16, 24, 32 seeds"
    )


@pytest.mark.parametrize("boundary", ["obrien-fleming", "pocock"])
def test_the_confidence_shown_is_that_of_repeated_looks(boundary):
    whole = runs(0, shift=0.8)
    strict = replace(RULE, level=1e-3)
    by = lambda rule, looks: sequential(rule, looks=looks, boundary=boundary).judge(whole).verdicts[0].settings
    shown, plain, usual = by(replace(strict, confidence=0.95), LOOKS), by(strict, LOOKS), by(RULE, LOOKS)
    assert [s.p for s in shown] == [s.p for s in plain]
    assert {s.confidence for s in shown} == {0.95}
    same = [i for i in range(len(shown)) if shown[i].runs == usual[i].runs]
    assert same
    for i in same:
        assert shown[i].interval == pytest.approx(usual[i].interval, rel=1e-9)  # the same levels, found twice


def test_seeds_are_added_until_an_arm_is_told_from_a_number():
    until = sequential(replace(RULE, a={}, b=0.5, claim="equal", effect=1.0), looks=LOOKS)
    until.check(GRID)
    noise = np.random.default_rng(0).normal(size=(4, 32)) + np.array([[0.5], [3.0], [0.5], [0.5]])
    interim = until.judge(Runs(GRID, {"accuracy": noise}))
    assert [s.verdict for s in interim.verdicts[0].settings] == ["supported", "not supported", "supported", "supported"]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_what_was_not_run_may_hold_anything(boundary):
    for seed in range(6):
        whole = runs(seed, shift=0.8)
        until = sequential([RULE, replace(RULE, claim="equal", effect=1.0)], looks=LOOKS, boundary=boundary)
        done = np.full((4, 32), 1e9)
        failed = np.ones((4, 32), bool)
        needed, before = np.ones(4, bool), 0
        for n in LOOKS:
            done[needed, before:n] = whole["accuracy"][needed, before:n]
            failed[needed, before:n] = False
            needed, before = until(Runs(GRID, {"accuracy": done[:, :n]}, failed=failed[:, :n])), n
            if not needed.any():
                break
        resumed = until.judge(Runs(GRID, {"accuracy": done}, failed=failed))
        assert str(resumed) == str(until.judge(whole))
        assert resumed.runs == np.sum(~failed)


def test_decisions_stay_and_p_values_only_fall():
    for seed in range(20):
        result = runs(seed, shift=0.5)
        until, before = sequential(RULE, looks=LOOKS), None
        for n in LOOKS:
            settings = until.judge(Runs(GRID, {"accuracy": result["accuracy"][:, :n]})).verdicts[0].settings
            for old, new in zip(before or [], settings, strict=bool(before)):
                assert new.p <= old.p
                assert old.verdict in ("undecided", new.verdict)
            before = settings


def test_one_family_is_corrected_over_rules_and_settings():
    result = runs(3, shift=0.62)
    alone = [
        sequential(RULE, looks=LOOKS).judge(result.__class__(GRID[i::2], {"accuracy": result["accuracy"][i::2]}))
        for i in (0, 1)
    ]
    both = sequential(RULE, looks=LOOKS).judge(result).verdicts[0]
    p = [v.verdicts[0].p for v in alone]
    assert sorted(s.adjusted_p for s in both.settings) == pytest.approx(
        sorted(np.asarray(statistics.holm(np.array(p), axis=0)).tolist()), rel=1e-5
    )


@pytest.mark.parametrize("method", [m for m in statistics.METHODS if statistics.METHODS[m].paired])
def test_every_method_can_be_looked_at(method):
    interim = sequential(replace(RULE, method=method), looks=LOOKS).judge(runs(1, shift=2.0))
    assert interim.verdicts[0].verdict == "supported"
    assert interim.runs < interim.planned


def test_directions_of_verdicts():
    up = runs(0, shift=2.0)
    for claim, effect, verdict in [
        ("greater", 0.0, "supported"),
        ("less", 0.0, "not supported"),
        ("equal", 0.1, "not supported"),
        ("equal", 9.0, "supported"),
    ]:
        assert (
            sequential(replace(RULE, claim=claim, effect=effect), looks=LOOKS).judge(up).verdicts[0].verdict == verdict
        )


def test_futility_gives_up_what_will_not_be_decided():
    equal = runs(5)
    patient, hasty = (sequential(RULE, looks=LOOKS, futility=f) for f in (0.0, 0.2))
    assert patient.judge(equal).runs == 128 > hasty.judge(equal).runs
    assert hasty.judge(equal).verdicts[0].verdict == "undecided"


def test_bad_input_is_refused():
    for looks, text in [
        ((), "must hold two numbers of seeds or more; got ()"),
        ((16,), "must hold two numbers of seeds or more; got (16,)"),
        ((8, 8), "`looks` must increase"),
        ((16, 8), "`looks` must increase"),
        ((1, 8), "`looks` must be a whole number >= 2; got 1"),
        ((2.5, 8), "`looks` must be a whole number >= 2; got 2.5"),
    ]:
        with pytest.raises(ValueError, match=text.replace("(", r"\(").replace(")", r"\)")):
            sequential(RULE, looks=looks)
    with pytest.raises(ValueError, match="`boundary` must be one of obrien-fleming, pocock, mixture"):
        sequential(RULE, looks=LOOKS, boundary="obf")
    with pytest.raises(ValueError, match="is for the methods t, sign; got 'wilcoxon'"):
        sequential(replace(RULE, method="wilcoxon"), looks=LOOKS, boundary="mixture")
    with pytest.raises(ValueError, match="`futility` must satisfy 0 <= futility < 1; got 1"):
        sequential(RULE, looks=LOOKS, futility=1.0)
    for wrong in ([], [RULE, "rule"]):
        with pytest.raises(TypeError, match="`rules` must be a Rule or several"):
            sequential(wrong, looks=LOOKS)
    until = sequential(replace(RULE, a={"phi": "gelu"}), looks=LOOKS)
    with pytest.raises(
        ValueError, match="`a` must select a configuration; got phi=gelu, there are phi: 'relu', 'selu'"
    ):
        until.check(GRID)
    with pytest.raises(ValueError, match="must hold the 8 seeds of the first look; got 5"):
        sequential(RULE, looks=LOOKS).judge(runs(seeds=5))
