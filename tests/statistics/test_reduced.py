"""Choosing a hyperparameter: what wins, for all seeds or for each, and what is said of it."""

import warnings

import numpy as np
import pytest

from jnorm.statistics import Rule, Runs, averaged, judge, tuned
from jnorm.sweeps import SweepResult

GRID = tuple({"phi": phi, "rate": rate} for rate in (0.01, 0.1, 1.0) for phi in ("relu", "selu"))
DEV = np.random.default_rng(0).uniform(size=(6, 5))
DEV[3, 2] = np.nan


def runs(**arrays):
    return Runs(GRID, {"dev": DEV, "place": np.arange(30).reshape(6, 5), **arrays})


@pytest.mark.parametrize("best", ["highest", "lowest"])
def test_winners_are_those_that_a_loop_finds(best):
    sign = 1 if best == "highest" else -1
    scores = sign * DEV
    scores[3, 2] = np.nanmin(scores)
    together, apart = (
        tuned(runs(), "rate", on="dev", best=best),
        tuned(runs(), "rate", on="dev", best=best, each_seed=True),
    )
    for c, phi in enumerate(("relu", "selu")):
        rows = [i for i, one in enumerate(GRID) if one["phi"] == phi]
        won = max(rows, key=lambda i: np.mean(scores[i]))
        assert together.winners[c] == (GRID[won],) * 5
        assert together.rows[c].tolist() == [won] * 5
        each = [max(rows, key=lambda i: scores[i, s]) for s in range(5)]
        assert apart.winners[c] == tuple(GRID[i] for i in each)
        assert len(set(each)) > 1
        assert apart["place"][c].tolist() == [5 * i + s for s, i in enumerate(each)]
    assert together.configurations == apart.configurations == ({"phi": "relu"}, {"phi": "selu"})
    assert np.nanmin((apart["dev"] - together["dev"]) * sign) >= 0  # a choice for each seed is never worse on dev


def test_several_hyperparameters_are_chosen_together():
    grid = [{"phi": phi, "rate": rate, "decay": decay} for phi in "ab" for rate in (1, 2) for decay in (0.0, 0.5)]
    dev = np.random.default_rng(1).uniform(size=(8, 3))
    best = tuned(Runs(grid, {"dev": dev}), ["rate", "decay"], on="dev")
    assert best.configurations == ({"phi": "a"}, {"phi": "b"})
    assert best.rows[:, 0].tolist() == [int(np.argmax(dev[:4].mean(1))), 4 + int(np.argmax(dev[4:].mean(1)))]
    mean = averaged(Runs(grid, {"dev": dev}), ["rate", "decay"])
    np.testing.assert_allclose(mean["dev"], [dev[:4].mean(0), dev[4:].mean(0)], rtol=1e-15)  # sums of four
    with pytest.raises(ValueError, match="`name` must be one of phi, rate, decay; got 'units'"):
        tuned(Runs(grid, {"dev": dev}), ["rate", "units"], on="dev")


def test_arms_have_as_many_runs():
    with pytest.raises(ValueError, match=r"`arms` must have as many runs each; got \{'a': \(3,\), 'b': \(2,\)\}"):
        Runs.of_arms({"a": np.zeros(3), "b": np.zeros(2)})


def test_each_seed_takes_curves_and_failures_of_what_it_chose():
    failed = np.zeros((6, 5), bool)
    failed[4] = [True, False, False, False, True]
    curve = np.arange(90.0).reshape(6, 5, 3)
    result = Runs(GRID, {"dev": DEV, "curve": curve}, failed=failed)
    best = tuned(result, "rate", on="dev", each_seed=True)
    for c, s in np.ndindex(2, 5):
        assert best["curve"][c, s].tolist() == curve[best.rows[c, s], s].tolist()
        assert best.failed[c, s] == failed[best.rows[c, s], s]
    rule = Rule(metric="dev", claim="greater", effect=0.01, diverged=0.0, a={"phi": "selu"}, b={"phi": "relu"})
    assert len(judge(best, rule).settings) == 1


def test_a_choice_on_test_scores_warns_and_one_on_dev_scores_does_not():
    with pytest.warns(
        UserWarning, match="chosen on `test_accuracy` looks better there than it is: choose on dev"
    ) as told:
        tuned(runs(test_accuracy=DEV), "rate", on="test_accuracy")
    assert [one.filename for one in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tuned(runs(dev_accuracy=DEV, test_accuracy=DEV), "rate", on="dev_accuracy")


def test_runs_that_were_not_done_are_neither_chosen_nor_averaged_in_silence():
    done = np.ones((6, 5), bool)
    done[2, 4] = False
    result = SweepResult({"dev": np.where(done, DEV, np.nan)}, GRID, tuple(range(5)), ~done & False, None, done)
    with pytest.raises(ValueError, match="`result` must have all its runs"):
        tuned(result, "rate", on="dev")
    mean = averaged(result, "rate")
    assert mean.done.tolist() == [[True] * 4 + [False], [True] * 5]
    rule = Rule(metric="dev", claim="greater", effect=0.01, diverged=0.0, a={"phi": "selu"}, b={"phi": "relu"})
    with pytest.raises(ValueError, match="`result` must have all its runs"):
        judge(mean, rule)


def test_bad_options():
    with pytest.raises(TypeError, match="`each_seed` must be True or False; got 'dev'"):
        tuned(runs(), "rate", on="dev", each_seed="dev")
