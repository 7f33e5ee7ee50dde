"""An Optuna study drives sweeps: what it suggests lies in the space by its law, what it is told is what was run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jnorm.sweeps import search, sweep
from tests.sweeps.test_search import SPACE
from tests.test_laws import compilations

optuna = pytest.importorskip("optuna", reason="Optuna is not installed (extra `test`)")


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def study(sampler=None, **options):
    return optuna.create_study(sampler=sampler or optuna.samplers.RandomSampler(seed=0), **options)


def test_what_is_asked_lies_in_the_space_by_its_law():
    asked = search.from_optuna(study(), SPACE).ask(400)
    column = lambda name: np.array([one[name] for one in asked])
    assert list(asked[0]) == list(SPACE)
    for name in ("rate", "momentum", "dropout"):
        values = SPACE[name]
        assert ((column(name) >= values.low) & (column(name) <= values.high)).all()
        shares = [values.share(value) for value in column(name)]
        assert stats.kstest(shares, "uniform").pvalue > 2e-4, name  # six tests: a false alarm in 800, for another seed
    assert stats.chisquare(np.bincount(column("units"), minlength=13)[3:]).pvalue > 2e-4
    edges = np.array([0.5, 1.5, 5.5, 30.5, 1000.5])  # P(n) = log((n + 1/2) / (n - 1/2)) / log(2001)
    expected = 400 * np.diff(np.log(edges)) / np.log(2001)
    assert stats.chisquare(np.histogram(column("width"), edges)[0], expected).pvalue > 2e-4
    assert stats.chisquare(np.unique(column("depth"), return_counts=True)[1]).pvalue > 2e-4
    assert {type(one["units"]) for one in asked} == {int}


@pytest.mark.filterwarnings("ignore:.*constant_liar.*experimental")  # before release 5
def test_optuna_drives_lanes_and_only_its_first_batch_is_compiled():
    """A bowl over two rates: TPE comes closer to its ground than random points, and to the same with the same seed."""

    def train(key, rate, momentum):
        noise = 0.01 * jax.random.normal(key)
        return {"loss": jnp.log10(rate / 0.01) ** 2 + jnp.log10((1 - momentum) / 0.01) ** 2 + noise}

    space = {name: SPACE[name] for name in ("rate", "momentum")}

    def searched(sampler, counts):
        driven = study(sampler)
        ask, tell = search.from_optuna(driven, space)
        for _ in range(6):
            before = len(compilations())
            result = sweep(train, seeds=2, grid=ask(8), chunk=16)
            tell(result.configurations, result["loss"].mean(1))
            counts.append(len(compilations()) - before)
        assert [t.state.name for t in driven.trials] == ["COMPLETE"] * 48
        for trial in driven.trials:  # what was told is what this configuration scored
            value = np.log10(trial.params["rate"] / 0.01) ** 2 + np.log10(trial.params["1 - momentum"] / 0.01) ** 2
            assert abs(trial.value - value) < 0.1  # noise of standard deviation 0.007
        return driven

    counts = []
    tree = functools.partial(optuna.samplers.TPESampler, constant_liar=True, n_startup_trials=16)
    driven = searched(tree(seed=0), counts)
    assert counts[1:] == [0] * 5
    assert [t.params for t in searched(tree(seed=0), []).trials] == [t.params for t in driven.trials]
    late = lambda driven: np.median([trial.value for trial in driven.trials[24:]])
    assert late(driven) < late(searched(optuna.samplers.RandomSampler(seed=0), [])) / 2


def test_what_is_suggested_twice_is_run_once_and_told_to_both():
    driven = study(direction="maximize")
    ask, tell = search.from_optuna(driven, {"depth": [2, 4], "phi": [jnp.tanh, jax.nn.relu]})
    asked = ask(9)
    assert sorted(map(str, asked)) == sorted(map(str, search.grid({"depth": [2, 4], "phi": [jnp.tanh, jax.nn.relu]})))
    assert len(driven.trials) == 27
    tell(asked[1:][::-1], [3.0, 2.0, 1.0])
    tell(asked[:1], [np.nan])
    states = [t.state.name for t in driven.trials]
    assert states.count("FAIL") + states.count("COMPLETE") == 27
    assert states[0] == "FAIL"  # the first configuration came first
    best = {"depth": asked[-1]["depth"], "phi": f"{asked[-1]['phi'].__module__}.{asked[-1]['phi'].__qualname__}"}
    assert driven.best_params == best
    with pytest.raises(ValueError, match=r"`configurations` must have been asked for, and not told yet; got \{'depth'"):
        tell(asked[:1], [0.0])


def test_choices_that_python_takes_for_equal_stay_two():
    space = {"flag": [True, 1], "size": [1, 0.5], "point": search.Range(2, 2, whole=True)}
    assert sorted(map(str, search.from_optuna(study(), space).ask(4))) == sorted(
        str({"flag": flag, "size": size, "point": 2}) for flag in (True, 1) for size in (1.0, 0.5)
    )


def test_bad_input_is_refused():
    ask, tell = search.from_optuna(study(), {"depth": [2, 4]})
    with pytest.raises(TypeError, match=r"`study` must be an Optuna study, such as optuna.create_study\(\); got 3"):
        search.from_optuna(3, SPACE)
    with pytest.raises(ValueError, match="`space` must name at least one hyperparameter"):
        search.from_optuna(study(), {})
    with pytest.raises(ValueError, match="`count` must be a whole number >= 1; got 0"):
        ask(0)
    with pytest.raises(ValueError, match=r"`scores` must be one for each of 2 configurations; got \(1,\)"):
        tell(ask(2), [1.0])
    with pytest.raises(ValueError, match="must have been asked for"):
        tell([{"depth": 8}], [1.0])
