"""Successive halving in lanes: decided as on paper, whatever the lanes; compiled once; resumed to the last bit."""

import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from jnorm import initializers, losses
from jnorm.nn.layers import Layer
from jnorm.nn.networks import mlp
from jnorm.sweeps import _files as files
from jnorm.sweeps import _pace, load, search, sweep
from jnorm.train import evaluation
from jnorm.train.loop import Report, trainer
from tests.test_laws import compilations
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")
SEGMENTS = 16
RATES = [{"rate": float(rate)} for rate in np.geomspace(1e-3, 3.0, 20)]


def descent(segments=SEGMENTS):
    """Gradient descent on (w - 1)^2 / 2 from a random start, a step a segment; diverges for rates above 2."""

    def train(key, rate):
        w = begin(key, rate)
        for _ in range(segments):
            w = advance(key, w, rate)
        return finish(key, w, rate)

    def begin(key, rate):
        return {"w": jax.random.normal(key, (3,)), "steps": jnp.zeros((), jnp.int32)}

    def advance(key, carried, rate):
        w = carried["w"] - rate * (carried["w"] - 1)
        return {"w": jnp.where(jnp.abs(w) > 30, jnp.nan, w), "steps": carried["steps"] + 1}

    def finish(key, carried, rate):
        return {"loss": ((carried["w"] - 1) ** 2).sum() / 2, "steps": carried["steps"], "w": carried["w"]}

    train.segments, train.begin, train.advance, train.finish = segments, begin, advance, finish
    return train


def on_paper(train, configurations, seeds, at, eta):
    """The rule, run by run without lanes: each rung waits for all."""
    alive, scores = list(range(len(configurations))), np.full((len(configurations), len(at)), np.nan)
    for k, segments in enumerate(at):
        for c in alive:
            scores[c, k] = np.mean([score(train, configurations[c], s, segments) for s in seeds])
        kept = max(1, len(configurations) // eta ** (k + 1)) if k + 1 < len(at) else len(alive)
        alive = sorted((c for c in alive if not np.isnan(scores[c, k])), key=lambda c: (scores[c, k], c))[:kept]
    return scores, alive


def score(train, configuration, seed, segments):
    key = jax.random.key(seed)
    carried = train.begin(key, **configuration)
    for _ in range(segments):
        carried = train.advance(key, carried, **configuration)
    return float(train.finish(key, carried, **configuration)["loss"])


def same(one, other):
    """That two results are equal to the last bit."""
    assert one.configurations == other.configurations
    assert one.finalists.configurations == other.finalists.configurations
    assert one.scores.tobytes() == other.scores.tobytes()
    assert one.trained.tolist() == other.trained.tolist()
    for name in one.finalists:
        assert one.finalists[name].tobytes() == other.finalists[name].tobytes()


def test_it_decides_as_on_paper_and_finalists_are_those_of_a_sweep():
    train = descent()
    result = search.halving(train, RATES, score="loss", seeds=2)
    assert result.budgets == (1, 4, 16)
    scores, best = on_paper(train, RATES, (0, 1), (1, 4, 16), 4)
    np.testing.assert_allclose(result.scores, scores, rtol=1e-5)  # some roundings of float32, of programs of two widths
    assert result.finalists.configurations == tuple(RATES[c] for c in best)
    assert result.best == RATES[best[0]]
    assert result.trained.sum() == 20 * 1 + 5 * 3 + 1 * 12
    assert result.share == result.trained.sum() / (20 * 16)
    whole = sweep(train, seeds=2, grid=[result.best, RATES[3]]).select(**result.best)
    for name in whole:
        np.testing.assert_allclose(result.finalists[name], whole[name], rtol=1e-5)
    assert result.finalists["steps"].tolist() == [[16, 16]]
    assert "Of 20 configurations 20 trained 1, 5 trained 4, 1 trained 16 segments." in str(result)


@pytest.mark.parametrize("lanes", [1, 3, 20])
def test_lanes_change_nothing_but_rounding(lanes):
    train = descent()
    one, other = (search.halving(train, RATES, score="loss", eta=2, lanes=n) for n in (lanes, 5))
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
    assert one.trained.tolist() == other.trained.tolist()
    assert one.finalists.configurations == other.finalists.configurations


def test_lanes_are_refilled_without_compiling():
    train, counts = descent(), []
    for rates in (RATES[:6], RATES, RATES[::-1]):
        before = len(compilations())
        search.halving(train, rates, score="loss", lanes=3)
        counts.append(len(compilations()) - before)
    assert counts[1:] == [0, 0] if counts[0] == 0 else counts[1] <= 1 >= counts[2]


def test_what_diverged_does_not_go_on():
    train = descent()
    high = [{"rate": rate} for rate in (2.5, 2.9, 0.5, 2.7, 2.8, 2.6)]
    result = search.halving(train, high, score="loss", first=8, eta=2)
    assert result.finalists.configurations == ({"rate": 0.5},)
    assert np.isnan(result.scores[[0, 1, 3, 4, 5]]).all()
    assert result.trained.tolist() == [8, 8, 16, 8, 8, 8]
    assert not result.finalists.failed.any()
    none = search.halving(train, high[:2], score="loss", first=8)
    assert none.finalists["w"].shape == (0, 1, 3)
    with pytest.raises(ValueError, match="no configuration came to the last rung"):
        _ = none.best


def test_the_largest_may_be_best():
    train = descent()
    train.finish = lambda key, carried, rate: {"gain": -((carried["w"] - 1) ** 2).sum() / 2}
    result = search.halving(train, RATES, score="gain", maximize=True)
    expected = search.halving(descent(), RATES, score="loss")
    assert result.best == expected.best
    np.testing.assert_array_equal(result.scores, -expected.scores)


def test_a_plateau_gives_the_lane_back_and_its_score_stands():
    """A rate of 1 is at the ground after one segment and gains no more; it wins without training on."""
    rates = [{"rate": rate} for rate in (0.05, 1.0, 0.1, 0.15)]
    plateau = search.Plateau(segments=3, delta=1e-6)
    result = search.halving(descent(), rates, score="loss", eta=2, first=2, plateau=plateau)
    assert result.best == {"rate": 1.0}
    assert result.trained[1] == 4  # the first gains, the next three do not
    assert result.finalists["steps"][0, 0] == 4
    assert result.budgets == (2, 4, 8, 16)
    assert np.isfinite(result.scores[1, :2]).all()
    without = search.halving(descent(), rates, score="loss", eta=2, first=2)
    assert without.best == {"rate": 1.0}
    assert without.trained[1] == 16


def test_a_budget_takes_as_many_as_it_pays_for():
    train = descent()
    for budget in (16, 30, 47, 10_000):
        result = search.halving(train, RATES, score="loss", budget=budget)
        assert result.trained.sum() <= budget
        assert result.configurations == tuple(RATES[: len(result.configurations)])
    assert len(result.configurations) == 20


class Stop(Exception):
    """What ends a search in the middle."""


def killed(call, step):
    """Run ``call(progress)`` until so many segments are done."""
    left = [step]

    def progress(_):
        left[0] -= 1
        if not left[0]:
            raise Stop

    with pytest.raises(Stop):
        call(progress)


@pytest.mark.parametrize("step", beside([8], [1, 3, 8, 15]))
def test_a_search_that_was_killed_goes_on_to_the_same_bits(step, tmp_path, monkeypatch):
    monkeypatch.setattr(_pace, "SHARE", np.inf)
    plateau = search.Plateau(segments=5)
    options = {"score": "loss", "seeds": (3, 1), "eta": 2, "lanes": 4, "plateau": plateau}
    train = descent()
    whole = search.halving(train, RATES, **options)
    run = lambda **more: search.halving(train, RATES, **options | {"store": tmp_path / "store"} | more)
    killed(lambda progress: run(progress=progress), step)
    killed(lambda progress: run(progress=progress), 2)
    same(run(), whole)
    before = len(compilations())
    same(run(), whole)  # nothing is left to do
    assert len(compilations()) == before
    said = []
    same(run(progress=said.append), whole)
    assert not said


def test_other_lanes_go_on_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(_pace, "SHARE", np.inf)
    options = {"score": "loss", "eta": 2, "store": tmp_path / "store"}
    train = descent()
    killed(lambda progress: search.halving(train, RATES, lanes=4, progress=progress, **options), 7)
    result = search.halving(train, RATES, lanes=7, **options)
    expected = search.halving(train, RATES, lanes=4, score="loss", eta=2)
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-5)
    assert result.finalists.configurations == expected.finalists.configurations


def test_a_store_of_another_search_is_refused(tmp_path):
    folder, train = tmp_path / "store", descent()
    run = lambda train=train, rates=RATES, **options: search.halving(
        train, rates, **{"score": "loss", "store": folder} | options
    )
    run()
    with pytest.raises(ValueError, match=r"belongs to another search:\n- seeds: \[0\] in the store, \[0, 1\] in this"):
        run(seeds=2)
    with pytest.raises(ValueError, match="another search:\n- configurations: others in the store, others in this call"):
        run(rates=RATES[::-1])
    with pytest.raises(ValueError, match="another search:\n- rules: others in the store"):
        run(eta=2)
    other = descent()
    other.advance = lambda key, carried, rate: train.advance(key, carried, 0.9 * rate)
    with pytest.raises(ValueError, match="another search:\n- program: others in the store"):
        run(train=other)
    (folder / "state.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"state.npz' is damaged: .*; delete it to begin the search anew"):
        run()
    with files.locked(folder / "lock"), pytest.raises(BlockingIOError, match="is being written by process"):
        run()
    sweep(train, seeds=1, grid=RATES[:2], store=tmp_path / "sweep")
    with pytest.raises(ValueError, match=r"`store` must be a folder of its own; '.*' is the store of a sweep"):
        run(store=tmp_path / "sweep")
    assert load(tmp_path / "sweep").seeds == (0,)


def test_what_jax_cannot_see_into_needs_a_version(tmp_path):
    train = descent()
    host = lambda key, carried, rate: {
        "loss": jax.pure_callback(lambda w: np.float32(w.sum()), jax.ShapeDtypeStruct((), "float32"), carried["w"])
    }
    train.finish = host
    with pytest.raises(ValueError, match="`version` must be given with `store`"):
        search.halving(train, RATES, score="loss", store=tmp_path)


def test_a_trainer_in_segments_is_searched():
    x = jax.random.normal(jax.random.key(0), (24, 2))
    data = {"train": (x[:16], x[:16] @ jnp.array([1.0, -2.0])), "dev": (x[16:], x[16:] @ jnp.array([1.0, -2.0]))}
    line = SimpleNamespace(
        init=lambda key: (0.1 * jax.random.normal(key, (2,)), ()),
        apply=lambda w, state, x, *, train, key: (x @ w, state),
    )
    options = {"epochs": 4, "batch_size": 8, "report": Report(["dev"], curves=["dev"])}
    train = trainer(line, losses.squared_error, lambda rate: optax.adam(rate), segment=1, **options)
    rates = [{"rate": rate} for rate in (1e-4, 0.3, 1e-3, 0.01)]
    result = search.halving(train, rates, score="dev_loss", seeds=3, shared=data)
    assert result.best == {"rate": 0.3}
    assert result.trained.tolist() == [1, 4, 1, 1]
    whole = sweep(train, seeds=3, grid=rates, shared=data).select(rate=0.3)
    for name in whole:
        np.testing.assert_allclose(result.finalists[name], whole[name], rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)])
def test_on_digits_it_finds_what_the_full_search_finds_for_a_sixth_of_its_steps(seeds):
    """Within half a percent of the grid's best accuracy, with room for other rounding: seldom is it not the best."""
    images, targets = load_digits(return_X_y=True)
    images = ((images - images.mean()) / images.std()).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    data = {
        "train": (images[order[:1000]], targets[order[:1000]]),
        "dev": (images[order[1000:]], targets[order[1000:]]),
    }
    train = trainer(
        mlp((64, 32, 32, 10), Layer(jnp.tanh, initializers.lecun_normal())),
        losses.softmax_cross_entropy,
        lambda learning_rate, momentum: optax.sgd(learning_rate, momentum),
        epochs=16,
        segment=1,
        batch_size=50,
        metrics={"accuracy": evaluation.accuracy},
        report=Report(["dev"]),
    )
    grid = {"learning_rate": np.geomspace(1e-4, 3.0, 12), "momentum": (0.0, 0.5, 0.9, 0.99, 0.995)}
    result = search.halving(train, grid, score="dev_accuracy", maximize=True, seeds=seeds, shared=data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the largest rates diverge
        full = sweep(train, seeds=seeds, grid=grid, shared=data, chunk=20)["dev_accuracy"].mean(1)
    found = full[result.configurations.index(result.best)]
    assert found >= np.nanmax(full) - 0.005
    assert result.share <= 0.16


def wrong(**changes):
    """A training in segments with something wrong."""
    train = descent()
    for name, value in changes.items():
        setattr(train, name, value)
    return train


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: halved(train=lambda key, rate: {"loss": rate}),
            "`train` must be a training in segments, such as .*; ",
        ),
        (lambda: halved(train=wrong(segments=0)), "`train.segments` must be a whole number >= 1; got 0"),
        (lambda: halved(train=wrong(advance=lambda key, carried, rate: carried["w"])), "`train.advance` must return"),
        (lambda: halved(score="accuracy"), r"`score` must name an output .* a run \(loss\); got 'accuracy'"),
        (lambda: halved(score="w"), r"`score` must name an output that is one floating number a run \(loss\); got 'w'"),
        (lambda: halved(score="steps"), "`score` must name an output"),
        (lambda: halved(eta=1), "`eta` must be a whole number >= 2; got 1"),
        (lambda: halved(eta=2.5), "`eta` must be a whole number >= 2; got 2.5"),
        (lambda: halved(first=17), "`first` must satisfy first <= 16, the segments of `train`; got 17"),
        (lambda: halved(first=0), "`first` must be a whole number >= 1; got 0"),
        (lambda: halved(budget=15), "`budget` must satisfy budget >= 16, the segments of one training; got 15"),
        (lambda: halved(lanes=0), "`lanes` must be a whole number >= 1; got 0"),
        (lambda: halved(maximize="yes"), "`maximize` must be True or False; got 'yes'"),
        (lambda: halved(plateau=3), r"`plateau` must be a Plateau, such as Plateau\(segments=4"),
        (lambda: halved(plateau=search.Plateau(0)), "`plateau.segments` must be a whole number >= 1; got 0"),
        (lambda: halved(plateau=search.Plateau(2, -1.0)), "`plateau.delta` must satisfy delta >= 0; got -1.0"),
        (lambda: halved(rates=[{"rate": "high"}]), "`rate` must hold numbers; got 'high': all configurations share"),
        (lambda: halved(rates=[{"decay": 0.1}]), r"`train` must accept train\(key, decay=...\)"),
        (lambda: halved(rates=[]), "`grid` must hold at least one configuration"),
        (lambda: halved(rates=[*RATES, RATES[0]]), "`grid` must not repeat itself"),
        (lambda: halved(seeds=0), "`seeds` must name at least one seed"),
        (lambda: halved(progress=3), "`progress` must be True, False or a function"),
        (lambda: halved(store=3), "`store` must be the path of a folder"),
        (
            lambda: halved(train=wrong(begin=lambda key, rate: descent().begin(jax.random.key(0, impl="rbg"), rate))),
            "`train` must draw with keys of threefry2x32",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_compiled(call, message):
    jax.random.key(0)
    search.halving(descent(2), RATES[:2], score="loss")  # what makes keys is compiled
    before = len(compilations())
    with pytest.raises((ValueError, TypeError), match=message):
        call()
    assert len(compilations()) == before


def halved(train=None, rates=RATES, **options):
    return search.halving(train or descent(), rates, **{"score": "loss"} | options)
