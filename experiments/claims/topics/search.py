"""Search for hyperparameters: random against grid, scales, coarse to fine, and what the search does to the dev set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from experiments import classification
from experiments.claims import drawing
from experiments.claims.arms import compared, few, sets, swept
from experiments.claims.claim import Claim, Setup
from jnorm import initializers, losses
from jnorm.activations import relu
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: Of the training set.
        epochs: Of each training.
        pool: Configurations that a long search tries.
        together: How many of them are trained side by side.
        held: Examples of the dev set that the long search overfits.
    """

    examples: int = 200
    epochs: int = 10
    pool: int = 1000
    together: int = 50
    held: int = 100


QUICK = Config(examples=60, epochs=1, pool=20, together=10, held=50)
TRIED = 16
LOW = np.array([-3.5, np.log10(0.001), -7.0, -0.15])
HIGH = np.array([0.5, np.log10(0.5), -4.0, 0.15])
"""Ends of the space: log10 of rate, 1 - momentum, weight decay and gain of the initial weights."""
FITTING = np.where(np.arange(4) == 1, np.log10(0.01), LOW)
"""Lower ends whose momentum averages over no more than a hundred steps, which is all that a training has."""

Scores = dict[str, jax.Array]


def trained(config: Config, data: classification.Sets) -> Callable[[jax.Array, Any, jax.Array], Scores]:
    """A function that trains by hyperparameters as they stand in `LOW`; not finite counts as the worst."""

    def model(gain: Any) -> Any:
        law = partial(initializers.variance_scaling, mode="fan_in", distribution="normal")
        layer = Layer(relu, law(2 * gain**2), input_init=law(gain**2), readout_init=law(gain**2))
        return networks.mlp((data.parts["train"][0].shape[1], 16, data.classes), layer)

    run = loop.trainer(
        model,
        losses.softmax_cross_entropy,
        lambda rate, beta, decay: optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, beta)),
        epochs=config.epochs,
        batch_size=20,
        metrics={"accuracy": evaluation.accuracy},
        report=loop.Report(parts=["dev", "test"]),
    )

    def scores(key: jax.Array, parts: Any, place: jax.Array) -> Scores:
        rate, rest, decay, gain = 10.0 ** jnp.asarray(place)
        found = run(key, parts, rate=rate, beta=1 - rest, decay=decay, gain=gain)
        lost = ~jnp.isfinite(found["dev_loss"])
        return {"loss": jnp.where(lost, jnp.inf, found["dev_loss"])} | {
            part: jnp.where(lost, 0.0, found[f"{part}_accuracy"]) for part in ("dev", "test")
        }

    return scores


ARMS = (
    "random search",
    "grid",
    "rate drawn evenly",
    "momentum drawn evenly",
    "coarse to fine",
    "random search, two matter",
    "grid, two matter",
)
FULL = np.stack(np.meshgrid(*[[0.25, 0.75]] * 4), -1).reshape(TRIED, 4)
SQUARE = np.stack(np.meshgrid(*[np.arange(0.125, 1, 0.25)] * 2), -1).reshape(TRIED, 2)
KEPT, MARGIN = 3, 0.1
MOVED = np.array([1, 0, 1, 0])
"""Whether the ends are only guesses, which differ from run to run."""


def searched(config: Config, setup: Setup) -> dict[str, Any]:
    """Searches of 16 trainings, each in two halves, of which only "coarse to fine" makes the second of the first."""
    data = few(sets(setup), config.examples)
    scores = trained(config, data)

    def train(key: jax.Array, data: Any, *, arm: jax.Array) -> dict[str, jax.Array]:
        shift, draw, order, runs = jax.random.split(key, 4)
        moved = jax.random.uniform(shift, (4,), minval=-0.125, maxval=0.125) * MOVED * (HIGH - LOW)
        low, high = jnp.asarray(FITTING) + moved, jnp.asarray(HIGH) + moved
        share = jax.random.uniform(draw, (TRIED, 4))
        two = jnp.concatenate([jnp.asarray(SQUARE, share.dtype), jnp.full((TRIED, 2), 0.5, share.dtype)], 1)
        mixed = lambda points: jax.random.permutation(order, jnp.asarray(points, share.dtype))
        share = jnp.where(arm == 1, mixed(FULL), share)
        share = jnp.where(arm == 5, share.at[:, 2:].set(0.5), share)
        share = jnp.where(arm == 6, mixed(two), share)

        def half(share: jax.Array, keys: jax.Array) -> Scores:
            place = low + share * (high - low)
            evenly = lambda a, b, u: jnp.log10(10**a + u * (10**b - 10**a))
            rate = evenly(low[0], high[0], share[:, 0])
            place = place.at[:, 0].set(jnp.where(arm == 2, rate, place[:, 0]))
            rest = evenly(low[1], high[1], share[:, 1])
            place = place.at[:, 1].set(jnp.where(arm == 3, rest, place[:, 1]))
            return jax.vmap(lambda k, p: scores(k, data, p))(keys, place)

        keys = jax.random.split(runs, TRIED)
        first = half(share[: TRIED // 2], keys[: TRIED // 2])
        best = share[: TRIED // 2][jnp.argsort(first["loss"])[:KEPT]]
        bottom, top = jnp.clip(jnp.stack([best.min(0) - MARGIN, best.max(0) + MARGIN]), 0, 1)
        fine = bottom + share[TRIED // 2 :] * (top - bottom)
        second = half(jnp.where(arm == 4, fine, share[TRIED // 2 :]), keys[TRIED // 2 :])
        loss, test = (jnp.concatenate([first[name], second[name]]) for name in ("loss", "test"))
        so_far = jnp.arange(TRIED)
        chosen = jax.vmap(lambda n: jnp.argmin(jnp.where(so_far <= n, loss, jnp.inf)))(so_far)
        return {"curve": test[chosen], "best": test[chosen[-1]]}

    grid = [{"arm": i} for i in range(len(ARMS))]
    options = {"integers": ("arm",), "shared": data.parts}
    result = swept(train, setup, "searches", SEARCHES, grid=grid, **options)
    return {"searches": result, "curves": np.asarray(result["curve"], float)[:, : setup.looks[0]]}


def draw_searched(measured: Mapping[str, Any]) -> Any:
    """The accuracy of the best so far over the trainings, mean and 95 % interval."""
    from jnorm import plots

    panels_of = {"Four hyperparameters": (0, 1), "Two that matter": (5, 6), "Scales and stages": (0, 2, 3, 4)}
    with plots.style():
        figure, panels = plots.figure(1, 3, size=(7.0, 2.9), sharey=True)
        for axes, (title, arms) in zip(panels, panels_of.items(), strict=True):
            for arm in arms:
                curves = 100 * drawing.values(measured["searches"], "curve", {"arm": arm})
                look = {"color": plots.PALETTE[arm % 5], "linestyle": ("-", "--", ":", "-.", "--")[arm % 5]}
                mean, error = curves.mean(0), drawing.half_width(curves)
                n = np.arange(1, TRIED + 1)
                axes.fill_between(n, mean - error, mean + error, color=look["color"], alpha=0.15, linewidth=0)
                axes.plot(n, mean, label=ARMS[arm], **look)
            axes.set(xlabel="trainings", title=title, ylim=(0, 100))
        panels[2].plot([], [], color=plots.PALETTE[1], linestyle="--", label=ARMS[1])  # the legend is one for all
        panels[0].set_ylabel("test accuracy of the best (%)")
        plots.legend(figure, panels[2])
    return figure


def overfitted(config: Config, setup: Setup) -> dict[str, Any]:
    """A random search of a thousand trainings by a small dev set, and what its best scores on test data."""
    data = few(sets(setup), config.examples)
    scores = trained(config, data)
    draws = [n for n in DRAWS if n <= config.pool]
    ranks = np.arange(1, config.pool + 1)
    weights = np.stack([special.comb(ranks - 1, n - 1) / special.comb(config.pool, n) for n in draws])

    def train(key: jax.Array, data: Any) -> dict[str, jax.Array]:
        split, draw, runs = jax.random.split(key, 3)
        pairs = [jnp.concatenate([data["dev"][i], data["test"][i]]) for i in (0, 1)]
        order = jax.random.permutation(split, len(pairs[1]))
        parts = {"train": data["train"]} | {
            part: tuple(a[order[at]] for a in pairs)
            for part, at in (("dev", slice(config.held)), ("test", slice(config.held, None)))
        }
        place = LOW + jax.random.uniform(draw, (config.pool, 4)) * (HIGH - LOW)
        one = lambda both: scores(both[0], parts, both[1])
        found = jax.lax.map(one, (jax.random.split(runs, config.pool), place), batch_size=config.together)
        by_dev = jnp.argsort(found["dev"])
        dev, test = (jnp.asarray(weights, place.dtype) @ found[part][by_dev] for part in ("dev", "test"))
        return {"dev": dev, "test": test, "optimism": dev - test - (dev - test)[0]}

    result = swept(train, setup, "overfitted", OVERFITTED, looks=_looks(setup), shared=data.parts)
    drawn = {name: np.asarray(result[name], float)[0, : _looks(setup)[0]] for name in ("dev", "test")}
    return {"overfitted": result, "draws": np.array(draws)} | drawn


def _looks(setup: Setup) -> tuple[int, ...]:
    return setup.looks[:3]


def draw_overfitted(measured: Mapping[str, Any]) -> Any:
    """Expected dev and test accuracy of the best of n."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(3.8, 2.9))
        for name, color in (("dev", plots.PALETTE[1]), ("test", plots.PALETTE[0])):
            mean, error = measured[name].mean(0), 2 * measured[name].std(0) / len(measured[name]) ** 0.5
            axes.fill_between(measured["draws"], mean - error, mean + error, color=color, alpha=0.15, linewidth=0)
            axes.plot(measured["draws"], mean, "o-", color=color, markersize=3, label=f"{name} accuracy")
        axes.set(xscale="log", xlabel="configurations that were tried", ylabel="accuracy of the best on dev data")
        axes.set_title("The best of many by 100 dev examples")
        plots.legend(figure, axes)
    return figure


DRAWS = (1, 3, 10, 30, 100, 300, 1000)
SEARCHES = tuple(
    compared(
        f"test accuracy after {TRIED} trainings: {what}",
        "searches",
        "greater",
        0.01,
        metric="best",
        a={"arm": a},
        b={"arm": b},
        diverged=0.0,
    )
    for what, a, b in (
        ("random search against a grid, few of four hyperparameters matter", 0, 1),
        ("rate drawn on a log scale against evenly", 0, 2),
        ("1 - momentum drawn on a log scale against evenly", 0, 3),
        ("coarse to fine against random search at once", 4, 0),
    )
)
OVERFITTED = (
    compared(
        "dev accuracy of the best of all over its test accuracy, less that of one drawn at random",
        "overfitted",
        "greater",
        0.01,
        metric="optimism",
        a={},
        b=0.0,
        transform=lambda curve: curve[..., -1],
        diverged="lowest",
    ),
    compared(
        "the same, grown from the best of 10 to the best of all",
        "overfitted",
        "greater",
        0.005,
        metric="optimism",
        a={},
        b=0.0,
        transform=lambda curve: curve[..., -1] - curve[..., 2],
        diverged="lowest",
    ),
)
CLAIMS = (
    Claim(
        id="D20",
        statement="Random search beats a grid where few hyperparameters matter; rates and 1 - beta should be drawn on "
        "a log scale, and a search goes from coarse to fine.",
        measured="Test accuracy of the training with the lowest dev loss among 16, on 200 digits: rate, momentum, "
        "weight decay and gain of the first weights; 1 - momentum from .01 to .5, as a training has 100 steps; a grid "
        "of two values of each, the ends of ranges drawn for each run",
        parts=SEARCHES,
        measure=searched,
        draw=draw_searched,
        caption="Test accuracy of the best training so far (by dev loss) over the trainings, mean and 95 % interval. "
        "A grid of 16 tries two values of each of four hyperparameters, or four of each of two; random search tries "
        "16. On the right rate or momentum are drawn evenly, or the second half of the search is narrowed.",
        mended="1 - momentum went down to .001, averages over 1000 steps, in trainings of 100 steps, so that more "
        "than a third of what a log scale drew was made for trainings that are longer. It now ends at .01 in all arms.",
    ),
    Claim(
        id="D23",
        statement="The search overfits the dev set: the best dev score of many trainings is too good.",
        measured="Expected dev and test accuracy of the best of n random configurations by 100 dev examples, n from 1 "
        "to 1000; dev and test set drawn anew for each run",
        parts=OVERFITTED,
        measure=overfitted,
        draw=draw_overfitted,
        caption="Dev and test accuracy of the configuration with the best dev accuracy, over how many were tried, "
        "mean and 95 % interval. The distance of the curves is what the search has learnt about the dev set. At one "
        "configuration there is none but for the luck of the split.",
    ),
)
