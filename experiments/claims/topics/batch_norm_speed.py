"""How fast networks learn with and without batch norm, over the learning rate: and the batch norm paper's figure 1a."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Setup, Skipped
from experiments.claims.norms import switched
from experiments.claims.starts import layer, normal
from jnorm import losses
from jnorm.activations import relu, sigmoid
from jnorm.nn import networks
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of the three hidden layers.
        batch: Examples in a step, as in the paper.
        every: Steps between two evaluations.
        points: Evaluations.
        rates: Learning rates, all of which every run tries.
        picture: The data of the paper's figure 1a, where they are there; others otherwise.
        picture_units: Units of the three sigmoid layers of figure 1a.
        picture_every: Steps between its evaluations.
        picture_points: Its evaluations.
        picture_rates: Learning rates among which its two arms choose.
    """

    units: int = 32
    batch: int = 60
    every: int = 5
    points: int = 60
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    picture: str = "mnist"
    picture_units: int = 100
    picture_every: int = 20
    picture_points: int = 25
    picture_rates: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)


QUICK = Config(
    units=8, points=2, rates=(0.1, 1.0), picture="digits", picture_units=8, picture_points=2, picture_rates=(0.3, 3.0)
)
TARGET = 0.9
"""The accuracy that is to be reached."""
_PICTURED = 10_000
"""Examples of figure 1a to train on."""


def _network(widths: Any, curved: Any, normed: Any) -> networks.Network:
    """A perceptron of sigmoid or relu, with or without batch norm before it, as traced numbers say.

    Weights have variance 1/n before a sigmoid and 2/n before relu.
    """
    gain = jnp.where(curved, 1.0, 2.0)
    phi = lambda y: jnp.where(curved, sigmoid(y), relu(y))
    return networks.mlp(widths, layer(phi, gain, normalizer=switched(normed), input_init=normal(gain)))


def _trainer(network: Any, rate: Any, size: int, batch: int, every: int, points: int) -> Any:
    """A training that is evaluated every few steps: its epochs are so many batches of the ``size`` examples."""
    return loop.trainer(
        network,
        losses.softmax_cross_entropy,
        optax.sgd(rate),
        epochs=points,
        batch_size=batch,
        order=lambda key, epoch: jax.random.permutation(key, size)[: batch * every],
        metrics={"accuracy": evaluation.accuracy},
        report=loop.Report(["dev", "test"], curves=["dev", "test"]),
    )


@cache
def _rates(config: Config, setup: Setup) -> dict[str, Any]:
    """Networks at all rates: which ones work, and the steps that the fastest one takes."""
    data = sets(setup)
    x = data.parts["train"][0]
    widths = networks.rectangular(x.shape[1], data.classes, units=config.units, depth=3)
    rates = jnp.array(config.rates)
    never = 2 * config.every * config.points

    def train(key: Any, parts: Any, *, curved: Any, normed: Any) -> dict[str, jax.Array]:
        def one(rate: jax.Array) -> dict[str, jax.Array]:
            run = _trainer(
                _network(widths, curved, normed), rate, len(x), min(config.batch, len(x)), config.every, config.points
            )
            return run(key, parts)

        found = jax.vmap(one)(rates)
        curves = jnp.nan_to_num(found["curve_test_accuracy"])
        fastest = jnp.argmax(jnp.mean(jnp.nan_to_num(found["curve_dev_accuracy"]), 1))
        reached = curves[fastest] >= TARGET
        steps = jnp.where(jnp.any(reached), config.every * (jnp.argmax(reached) + 1), never)
        works = jnp.nan_to_num(found["test_accuracy"]) >= TARGET
        below = rates[0] ** 2 / rates[1]
        largest = jnp.where(jnp.any(works), jnp.max(jnp.where(works, rates, 0.0)), below)
        return {
            "log10_largest": jnp.log10(largest),
            "log2_steps": jnp.log2(steps),
            "fastest": rates[fastest],
            "curves": curves,
        }

    runs = swept(train, setup, "rates", _PARTS, grid=_ARMS, shared=data.parts)
    told = [
        f"{name}: {np.median(drawing.values(runs, 'fastest', arm)):.3g}"
        for name, arm in zip(_NAMES, _ARMS, strict=True)
    ]
    notes = f"Every run tries {len(rates)} rates and takes the one that is fastest on dev data; in the median "
    notes += f"{', '.join(told)}."
    steps = config.every * np.arange(1, config.points + 1)
    return {"rates": runs, "rate": np.array(rates), "step": steps, "notes": notes}


@cache
def _pictured(config: Config, setup: Setup) -> dict[str, Any]:
    """Three layers of sigmoids on MNIST, as in figure 1a of the paper."""
    name = config.picture
    try:
        data = sets(setup, name)
    except Skipped:
        name = setup.data
        data = sets(setup)
    data = few(data, _PICTURED)
    x = data.parts["train"][0]
    few_of = {part: (data.parts[part][0][:2000], data.parts[part][1][:2000]) for part in ("dev", "test")}
    data = data._replace(parts=data.parts | few_of)
    widths = networks.rectangular(x.shape[1], data.classes, units=config.picture_units, depth=3)

    def train(key: Any, parts: Any, *, normed: Any, rate: Any) -> dict[str, jax.Array]:
        network = _network(widths, 1.0, normed)
        batch = min(config.batch, len(x))
        return _trainer(network, rate, len(x), batch, config.picture_every, config.picture_points)(key, parts)

    arms, values = [{"normed": 1.0}, {"normed": 0.0}], {"rate": config.picture_rates}
    names = ["with batch norm", "without"]
    chosen = tuned(train, setup, "figure 1a", arms, values, seeds=setup.tuning // 2, names=names, shared=data.parts)
    runs = swept(train, setup, "figure 1a", _PARTS, grid=chosen.arms, shared=data.parts)
    steps = config.picture_every * np.arange(1, config.picture_points + 1)
    return {"figure 1a": runs, "figure step": steps, "notes": f"Figure 1a on {name}. {chosen.budget}"}


def both(config: Config, setup: Setup) -> dict[str, Any]:
    """Sigmoid networks over the rate, and figure 1a."""
    rates, picture = _rates(config, setup), _pictured(config, setup)
    return rates | picture | {"notes": f"{rates['notes']} {picture['notes']}"}


_NAMES = ("relu with batch norm", "relu without", "sigmoid with batch norm", "sigmoid without")
_ARMS = [{"curved": curved, "normed": normed} for curved in (0.0, 1.0) for normed in (1.0, 0.0)]


def _over_rates(name: str, curved: float) -> list[Comparison]:
    """How large a rate may be, and how many steps the best one takes, of one activation."""
    arms: dict[str, Any] = {"a": {"curved": curved, "normed": 1.0}, "b": {"curved": curved, "normed": 0.0}}
    return [
        compared(
            f"log10 of the largest rate that reaches 90 %, {name}, with less without",
            "rates",
            "greater",
            0.3,
            metric="log10_largest",
            **arms,
        ),
        compared(
            f"log2 of the steps to 90 % at the best rate, {name}, with less without",
            "rates",
            "less",
            1.0,
            metric="log2_steps",
            **arms,
        ),
    ]


_RELU, _SIGMOID = _over_rates("relu", 0.0), _over_rates("sigmoid", 1.0)
_FIGURE = compared(
    "test accuracy after 500 steps of 60 examples, three layers of 100 sigmoids, with less without",
    "figure 1a",
    "greater",
    0.01,
    metric="test_accuracy",
    a={"normed": 1.0},
    b={"normed": 0.0},
    own=("rate",),
    diverged=0.1,
)
_PARTS = [*_RELU, *_SIGMOID, _FIGURE]


def draw_figure(measured: Mapping[str, Any]) -> Any:
    """Accuracy over steps, as figure 1a."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(3.8, 2.9))
        for name, normed, color, line in (("with batch norm", 1.0, 0, "-"), ("without", 0.0, 1, "--")):
            curves = 100 * drawing.values(measured["figure 1a"], "curve_test_accuracy", {"normed": normed})
            low, high = np.quantile(curves, [0.1, 0.9], axis=0)
            axes.fill_between(measured["figure step"], low, high, color=plots.PALETTE[color], alpha=0.18, linewidth=0)
            axes.plot(measured["figure step"], np.median(curves, 0), line, color=plots.PALETTE[color], label=name)
        axes.set(xlabel="step", ylabel="test accuracy (%)", ylim=(0, 100), title="Three layers of 100 sigmoids")
        axes.legend(loc="lower right")
    return figure


def draw_rates(measured: Mapping[str, Any]) -> Any:
    """Accuracy over the rate after a few, more and all steps, with and without."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.2, 2.9), sharey=True)
        last = len(measured["step"]) - 1
        places = sorted({last // 12, last // 4, last})
        for axes, normed, title in zip(panels, (0.0, 1.0), ("without batch norm", "with batch norm"), strict=True):
            curves = 100 * drawing.values(measured["rates"], "curves", {"curved": 0.0, "normed": normed})
            for place, color in zip(places, ("0.72", plots.PALETTE[5], plots.PALETTE[0]), strict=False):
                label = f"after {measured['step'][place]} steps"
                axes.plot(
                    measured["rate"], np.mean(curves[:, :, place], 0), "o-", color=color, markersize=3, label=label
                )
            axes.set(xscale="log", xlabel="learning rate", title=title, ylim=(0, 100))
        panels[0].set_ylabel("test accuracy (%)")
        plots.legend(figure, panels[0])
    return figure


_OVER = "The largest of nine learning rates that reaches 90 %, and the steps to 90 % at the rate that is best on dev "
CLAIMS = (
    Claim(
        id="N12",
        statement="Batch norm allows larger learning rates, and networks train faster with it.",
        measured=_OVER + "data, networks of three sigmoid layers; figure 1a of the batch norm paper, each arm with its "
        "own rate (MNIST where it is there)",
        parts=[*_SIGMOID, _FIGURE],
        measure=both,
        draw=draw_figure,
        caption="Test accuracy of three layers of 100 sigmoids over the steps of training, as in figure 1a of the "
        "batch norm paper. Each arm has the learning rate that suits it. Lines are medians, bands hold the middle "
        "80 % of the runs.",
    ),
    Claim(
        id="S3",
        statement="With batch norm larger learning rates can be used, and training is faster.",
        measured=_OVER + "data, networks of three relu layers",
        parts=_RELU,
        measure=_rates,
        draw=draw_rates,
        caption="Test accuracy of three relu layers over the learning rate, after few, more and all steps. A rate that "
        "is too large for a network leaves it at chance (10 %) or not finite, which counts as 0. The wider a curve is, "
        "the less the choice matters.",
    ),
)
