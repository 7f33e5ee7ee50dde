"""Pictures of sweeps: what is drawn is what the runs are, told in words, with nothing lost and nothing made up."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

from jnorm import plots, statistics
from jnorm.plots._comparisons import _cliques
from jnorm.statistics import Runs
from jnorm.sweeps import SweepResult

RNG = np.random.default_rng(0)
GRID = tuple({"phi": phi, "rate": 0.1, "depth": depth} for depth in (2, 8) for phi in ("relu", "selu"))
LOSS = RNG.lognormal(size=(4, 7, 6))
LOSS[1, 2, 3:] = np.nan
LOSS[3, :, 4] = np.inf


def result(**arrays):
    return SweepResult(arrays, GRID, tuple(range(7)), np.isin(np.arange(28), [9]).reshape(4, 7))


def axes_with(draw, *arguments, **options):
    with plots.style():
        figure, axes = plots.figure(size=(3.4, 3.0))
        draw(axes, *arguments, **options)
        plots.legend(figure, axes)
    return axes


def told(axes):
    return axes.get_legend_handles_labels()[1]


def corners(patch):
    return {tuple(point) for path in patch.get_paths() for point in path.vertices.round(9)}


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_lines_are_medians_and_bands_the_middle_of_the_finite_runs():
    axes = axes_with(plots.curves, result(curve_dev_loss=LOSS), "curve_dev_loss", cover=0.6)
    finite = np.where(np.isfinite(LOSS), LOSS, np.nan)
    low, center, high = np.nanquantile(finite, [0.2, 0.5, 0.8], axis=1)
    for c in range(4):
        np.testing.assert_allclose(axes.lines[c].get_ydata(), center[c], rtol=1e-15)
        there = np.isfinite(center[c])
        wanted = {
            (x, y) for ends in (low, high) for x, y in zip(np.arange(1, 7)[there], ends[c][there].round(9), strict=True)
        }
        assert corners(axes.collections[c]) == wanted
    assert told(axes) == [
        "relu, depth 2",
        "selu, depth 2 (1 diverged)",
        "relu, depth 8",
        "selu, depth 8",
        "median, and middle 60 % of 7 runs",
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "dev loss")


def test_a_run_that_diverges_leaves_a_gap_in_its_own_line_only():
    axes = axes_with(plots.curves, result(step_loss=LOSS), "step_loss", single_runs=True)
    drawn = [line for line in axes.lines if line.get_linewidth() < 1]
    assert len(drawn) == 28
    for line, values in zip(drawn, LOSS.reshape(28, 6), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), np.where(np.isfinite(values), values, np.nan))
    middle = [line for line in axes.lines if line.get_linewidth() > 1]
    assert [np.isnan(line.get_ydata()).sum() for line in middle] == [0, 0, 0, 1]  # the last is infinite in all runs
    assert axes.get_xlabel() == "step"


def test_intervals_are_those_of_the_bootstrap():
    axes = axes_with(plots.curves, result(probe_norm=LOSS[..., :3]), "probe_norm", band="mean", cover=0.9, x=[0, 5, 10])
    estimator = partial(statistics.mean, diverged="exclude")
    interval = statistics.bootstrap(jax.random.key(0), LOSS[..., :3], estimator, axis=1, level=0.1)
    for c in range(4):
        np.testing.assert_allclose(axes.lines[c].get_ydata(), np.nanmean(LOSS[c, :, :3], 0), rtol=1e-6)  # of float32
        drawn = sorted(y for _, y in corners(axes.collections[c]))
        np.testing.assert_allclose(drawn, sorted([*interval.low[c], *interval.high[c]]), rtol=1e-6)
    assert told(axes)[-1] == "mean, and its 90 % interval, of 7 runs"
    assert axes.lines[0].get_xdata().tolist() == [0, 5, 10]


def test_runs_that_were_not_done_are_not_drawn():
    done = np.ones((4, 7), bool)
    done[0, 4:] = False
    part = SweepResult({"curve_loss": LOSS}, GRID, tuple(range(7)), ~done & False, None, done)
    axes = axes_with(plots.curves, part, "curve_loss")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(LOSS[0, :4], 0), rtol=1e-15)
    assert told(axes)[-1] == "median, and middle 80 % of 4 to 7 runs"


def test_one_patch_says_what_the_bands_of_several_calls_are():
    with plots.style():
        _, axes = plots.figure(size=(3, 2))
        for name in ("curve_dev_loss", "curve_train_loss"):
            plots.curves(axes, result(**{name: LOSS}).select(phi="relu", depth=2), name)
    assert told(axes) == ["median, and middle 80 % of 7 runs"]
    assert axes.get_ylabel() == "dev loss"


def test_bad_curves():
    with pytest.raises(ValueError, match="`band` must be one of runs, mean, median; got 'std'"):
        axes_with(plots.curves, result(loss=LOSS), "loss", band="std")
    with pytest.raises(ValueError, match="`cover` must satisfy 0 < cover < 1; got 80"):
        axes_with(plots.curves, result(loss=LOSS), "loss", cover=80)
    with pytest.raises(ValueError, match=r"`loss` must have shape \[configurations, seeds, points\] .*got \(4, 7\)"):
        axes_with(plots.curves, result(loss=LOSS[..., 0]), "loss")
    with pytest.raises(ValueError, match=r"`x` must have the shape of the points of `loss`, \(6,\); got \(2,\)"):
        axes_with(plots.curves, result(loss=LOSS), "loss", x=[1, 2])
    with pytest.raises(ValueError, match=r"`result` must have 8 configurations at most, .*got 9: draw a part"):
        axes_with(plots.curves, Runs([{"rate": i} for i in range(9)], {"loss": np.ones((9, 2, 3))}), "loss")


def test_cells_hold_the_middle_of_their_runs_and_tell_how_many_diverged():
    grid = [{"rate": rate, "phi": phi} for phi in ("selu", "relu") for rate in (1.0, 0.01, 0.1)]
    score = RNG.uniform(0.5, 1.0, (6, 5))
    score[4] = np.nan
    score[0, :2] = np.nan
    axes = axes_with(plots.heat_map, Runs(grid, {"dev_accuracy": score}), "dev_accuracy", "rate", "phi", center="mean")
    rates, phis = ([tick.get_text() for tick in ticks] for ticks in (axes.get_xticklabels(), axes.get_yticklabels()))
    assert (rates, phis) == (["0.01", "0.1", "1"], ["selu", "relu"])  # numbers in their order, texts as they come
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    for one, sample in zip(grid, score, strict=True):
        lines = [] if np.isnan(sample).all() else [f"{np.nanmean(sample):.3g}"]
        lines += [f"{np.isnan(sample).sum()} diverged"] if np.isnan(sample).any() else []
        assert shown[rates.index(f"{one['rate']:g}"), phis.index(one["phi"])] == "\n".join(lines)
    assert axes.patch.get_hatch()
    assert axes.collections[0].colorbar.ax.get_ylabel() == "mean dev accuracy"


def test_bad_heat_maps():
    runs = result(score=LOSS[..., 0])
    with pytest.raises(ValueError, match="`y` must be one of phi, rate, depth; got 'dept': did you mean depth"):
        axes_with(plots.heat_map, runs, "score", "phi", "dept")
    with pytest.raises(ValueError, match=r"`x` must have two values and more; `rate` is 0\.1 alone"):
        axes_with(plots.heat_map, runs, "score", "rate", "phi")
    many = Runs([{"a": a, "b": b, "c": c} for a in (1, 2) for b in (1, 2) for c in (1, 2)], {"score": np.ones((8, 2))})
    with pytest.raises(ValueError, match="one configuration a cell; got 2 with a=1, b=1: draw a part"):
        axes_with(plots.heat_map, many, "score", "a", "b")


# Demsar 2006, table 2: ranks of C4.5 and three variants by AUC on 14 sets.
DEMSAR = {
    "C4.5": [4, 1, 4, 4, 4, 1, 3, 2.5, 4, 2.5, 4, 3, 4, 3],
    "C4.5+m": [3, 2, 1, 1, 2, 2.5, 2, 2.5, 3, 2.5, 2.5, 2, 1, 1],
    "C4.5+cf": [2, 3, 2, 3, 3, 4, 4, 4, 2, 2.5, 1, 4, 2, 4],
    "C4.5+m+cf": [1, 4, 3, 2, 1, 2.5, 1, 1, 1, 2.5, 2.5, 1, 3, 2],
}


def bars(axes):
    return [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() > 2]


@pytest.mark.parametrize(
    ("level", "joined"),
    [
        (0.05, [("C4.5+m+cf", "C4.5")]),  # "the difference between the best and the worst ... is below the CD of 1.25"
        (0.10, [("C4.5+m+cf", "C4.5+cf"), ("C4.5+cf", "C4.5")]),  # "C4.5 is worse than C4.5+m and C4.5+m+cf", 1.12
    ],
)
def test_demsars_example(level, joined):
    grid = [{"method": method, "set": i} for i in range(14) for method in DEMSAR]
    runs = Runs(grid, {"rank": [[DEMSAR[one["method"]][one["set"]]] for one in grid]})
    axes = axes_with(plots.critical_difference, runs, "rank", "method", best="lowest", level=level)
    texts = [text.get_text() for text in axes.texts]
    assert {"C4.5+m+cf  1.96", "C4.5+m  2.00", "2.89  C4.5+cf", "3.14  C4.5"} < set(texts)
    assert ("CD = 1.25" if level == 0.05 else "CD = 1.12") in texts
    place = {method: np.mean(ranks) for method, ranks in DEMSAR.items()}
    wanted = [(place[best] - 0.03, place[worst] + 0.03) for best, worst in joined]
    np.testing.assert_allclose(bars(axes), wanted, rtol=1e-6)
    assert axes.xaxis_inverted()  # the best at the right, as there


def test_bars_are_the_longest_groups_of_which_all_pairs_are_alike():
    for number in range(1, 7):
        for _ in range(30):
            table = np.triu(RNG.random((number, number)) < 0.7, 1)
            alike = lambda i, j, table=table: bool(table[min(i, j), max(i, j)])
            order = RNG.permutation(number).tolist()
            groups = [
                set(range(a, b + 1))
                for a, b in itertools.combinations(range(number), 2)
                if all(alike(order[i], order[j]) for i, j in itertools.combinations(range(a, b + 1), 2))
            ]
            longest = [group for group in groups if not any(group < other for other in groups)]
            assert _cliques(order, alike) == [(order[min(group)], order[max(group)]) for group in longest]


def test_signed_ranks_do_not_depend_on_other_methods_but_for_the_correction():
    base = RNG.normal(size=8)
    scores = {"a": base + 2, "b": base + 1.9 + 0.01 * RNG.uniform(size=8), "c": base}
    grid = [{"method": method, "task": i} for method in scores for i in range(8)]
    runs = Runs(grid, {"score": [[scores[one["method"]][one["task"]]] for one in grid]})
    axes = axes_with(plots.critical_difference, runs, "score", "method", test="wilcoxon")
    assert bars(axes) == []  # one better than another on all 8 tasks: p = 2/2^8, by Holm at most 3 times that
    assert axes.get_xlabel().splitlines()[1].endswith("bars: Wilcoxon, Holm at 0.05")
    nemenyi = axes_with(plots.critical_difference, runs, "score", "method")
    np.testing.assert_allclose(bars(nemenyi), [(0.97, 2.03), (1.97, 3.03)])  # ranks 1, 2, 3 differ by less than 1.17


def test_where_friedman_finds_no_difference_one_bar_joins_all():
    scores = np.add.outer(np.arange(3), np.arange(8)) % 3  # each of three is the best as often as the others
    runs = Runs([{"phi": phi} for phi in "abc"], {"score": scores})
    axes = axes_with(plots.critical_difference, runs, "score", "phi", test="wilcoxon")
    assert len(bars(axes)) == 1
    first, second = axes.get_xlabel().splitlines()
    assert first == "average rank over 8 seeds"  # without other hyperparameters, seeds are what repeats
    assert second.endswith(": no difference")


def test_runs_that_diverged_rank_last():
    scores = np.tile([[0.9], [0.8], [0.7]], 8)
    scores[0, :] = np.nan
    axes = axes_with(plots.critical_difference, Runs([{"phi": p} for p in "abc"], {"acc": scores}), "acc", "phi")
    assert {"b  1.00", "c  2.00", "3.00  a"} < {text.get_text() for text in axes.texts}


def test_bad_comparisons():
    grid = [{"phi": p, "task": t} for p in "ab" for t in range(3)]
    with pytest.raises(ValueError, match="must have every `phi` in every setting; 'b' is missing at task=2"):
        axes_with(plots.critical_difference, Runs(grid[:-1], {"acc": np.ones((5, 2))}), "acc", "phi")
    with pytest.raises(ValueError, match="two methods and two settings at least; got 1 and 3"):
        axes_with(plots.critical_difference, Runs(grid[:3], {"acc": np.ones((3, 2))}), "acc", "phi")
    with pytest.raises(ValueError, match="`test` must be one of nemenyi, wilcoxon; got 't'"):
        axes_with(plots.critical_difference, Runs(grid, {"acc": np.ones((6, 2))}), "acc", "phi", test="t")
    with pytest.raises(ValueError, match="`of` must be one of phi, task; got 'rate'"):
        axes_with(plots.performance_profile, Runs(grid, {"acc": np.ones((6, 2))}), "acc", "rate")


def test_profiles_are_shares_of_the_runs():
    grid = [{"phi": p, "task": t} for t in range(3) for p in "ab"]
    scores = RNG.uniform(size=(6, 5))
    scores[1, 0] = np.nan
    at = np.linspace(0, 1, 9)
    axes = axes_with(plots.performance_profile, Runs(grid, {"acc": scores}), "acc", "phi", thresholds=at, samples=100)
    for i, line in enumerate(axes.lines):
        share = [np.mean(scores[i::2] > threshold) for threshold in at.astype(np.float32)]
        np.testing.assert_allclose(line.get_ydata(), share, rtol=1e-6)
    assert told(axes) == ["a", "b", "95 % interval"]


@pytest.mark.parametrize("best", ["highest", "lowest"])
def test_tuning_curves_are_those_of_statistics(best):
    sign = 1 if best == "highest" else -1
    grid = [{"phi": p, "rate": float(r)} for p in "ab" for r in RNG.uniform(size=20)]
    scores = RNG.uniform(size=(40, 3))
    scores[7, 1] = np.nan
    runs = Runs(grid, {"dev": sign * scores})
    ends = (0.0, 1.0) if best == "highest" else (-1.0, 0.0)
    axes = axes_with(plots.tuning_curve, runs, "dev", by="phi", best=best, support=ends)
    filled = np.where(np.isnan(scores), np.nanmin(scores), scores).mean(1)
    for i, line in enumerate(axes.lines):
        curve = statistics.tuning_curve(sign * filled[20 * i : 20 * i + 20], axis=0, best=best, support=ends)
        np.testing.assert_array_equal(line.get_xdata(), curve.draws)
        np.testing.assert_allclose(line.get_ydata(), curve.value, rtol=1e-12)
        seen = set.union(*(corners(patch) for patch in axes.collections[4 * i : 4 * i + 4] if len(patch.get_paths())))
        for end in (curve.low, curve.high):
            assert set(zip(curve.draws, end.round(9), strict=True)) <= seen
    assert told(axes) == ["a", "b", "95 % band of the whole curve"]


def test_a_band_without_end_reaches_to_the_edge_of_the_picture():
    runs = Runs([{"rate": r} for r in range(20)], {"loss": RNG.uniform(size=(20, 1))})
    axes = axes_with(plots.tuning_curve, runs, "loss", best="lowest")
    bottom, _ = axes.get_ylim()
    assert min(y for patch in axes.collections for _, y in corners(patch)) == pytest.approx(bottom)


def test_legends_take_as_many_rows_as_their_width_asks_for():
    def columns(width, labels):
        with plots.style():
            figure, axes = plots.figure(size=(width, 3.0))
            for label in labels:
                axes.plot([0, 1], [0, 1], label=label)
            plots.legend(figure, axes)
        return figure.legends[0]._ncols

    assert columns(7.0, ["relu", "selu", "elu"]) == 3
    long = [f"activation number {i}, rate 0.1" for i in range(4)]
    assert 1 <= columns(3.4, long) < 4
    assert columns(9.0, long) == 4
    assert columns(3.4, []) >= 0
