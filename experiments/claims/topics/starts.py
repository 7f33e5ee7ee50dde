"""How weights begin: all equal, small, or with the variance that relu asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, few, pixels, runs, sets, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.deep import deep, scaled
from experiments.claims.signals import beside, drawn, histograms, rows, said, signals
from experiments.claims.training import averages, scores
from jnorm import initializers
from jnorm.activations import ELEMENTWISE, relu, tanh
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train.loop import Report


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        wide: Units of the networks whose signals are measured.
        images: Inputs for each of them.
        units: Of the networks that are trained.
        examples: Training examples.
        epochs: Passes over them.
        deepest: Hidden layers of the relu network.
        rates: Learning rates that are tried for each arm of few layers.
        deep_rates: And of the relu network.
    """

    wide: int = 500
    images: int = 100
    units: int = 64
    examples: int = 640
    epochs: int = 15
    deepest: int = 30
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    deep_rates: tuple[float, ...] = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)


QUICK = Config(wide=30, images=10, units=8, examples=64, epochs=1, deepest=4, rates=(0.1, 1.0), deep_rates=(0.01, 0.1))
LAYERS = 10  # of the networks whose signals are measured
STARTS = {
    "all 0": {"kernel": 0.0, "random": 0.0, "bias": 0.0},
    "all .1": {"kernel": 0.1, "random": 0.0, "bias": 0.0},
    "weights 0, biases .1": {"kernel": 0.0, "random": 0.0, "bias": 0.1},
    "random": {"kernel": 0.0, "random": 1.0, "bias": 0.0},
    "random, biases .1": {"kernel": 0.0, "random": 1.0, "bias": 0.1},
}
ALIKE = ("all 0", "all .1", "weights 0, biases .1")
SIGMOIDAL = ("tanh", "sigmoid")
DEPTHS = {1: "one hidden layer", 2: "two hidden layers", 8: "eight hidden layers"}


def equal(config: Config, setup: Setup) -> dict[str, Any]:
    """Networks of one hidden layer from equal weights and from random ones; softmax regression from zeros."""
    data = few(sets(setup), config.examples)
    inputs, classes = data.parts["train"][0].shape[1], data.classes

    def train(key: jax.Array, parts: Any, *, activation: str, kernel: Any, random: Any, bias: Any) -> dict[str, Any]:
        law = initializers.glorot_uniform()
        init = lambda key, shape: kernel + random * law(key, shape)
        biases = initializers.constant(bias)
        layer = Layer(ELEMENTWISE[activation], init, bias_init=biases, input_init=init, readout_init=init)
        network = networks.mlp((inputs, config.units, classes), layer)
        report = Report(["train", "test"], keep_params=True)
        found = scores(key, parts, network, optax.sgd(0.1), epochs=config.epochs, batch_size=32, report=report)
        weights = found["params"][0]["kernel"]
        values = jnp.linalg.svd(weights, compute_uv=False)
        middle = jnp.mean(weights, 1, keepdims=True)
        apart = jnp.max(jnp.linalg.norm(weights - middle, axis=0)) / jnp.maximum(jnp.linalg.norm(middle), 1e-30)
        rank = jnp.sum(values > 1e-4 * values[0]) / config.units
        return {"rank": rank, "apart": apart, "test_accuracy": found["test_accuracy"]}

    def regression(key: jax.Array, parts: Any) -> dict[str, Any]:
        network = networks.mlp((inputs, classes), Layer(tanh, initializers.zeros, readout_init=initializers.zeros))
        return scores(key, parts, network, optax.sgd(0.1), epochs=config.epochs, batch_size=32)

    grid = [{"activation": name} | start for name in SIGMOIDAL for start in STARTS.values()]
    trained = swept(train, setup, "starts", EQUAL, grid=grid, static=("activation",), shared=data.parts)
    found: dict[str, Any] = {
        "starts": trained,
        "softmax regression": swept(regression, setup, "softmax regression", EQUAL, shared=data.parts),
        "accuracy": np.array([averages(trained, "test_accuracy", [one], diverged=0.1)[0][0] for one in grid]).reshape(
            2, -1
        ),
    }
    for name, start in STARTS.items():
        part = trained.result.select(**start)
        ranks, apart = (np.asarray(part[what], float)[part.done] for what in ("rank", "apart"))
        found |= {f"rank, {name}": float(ranks.max() * config.units), f"apart, {name}": float(apart.max())}
        found[f"share, {name}"] = float(ranks.min())
    return found


def draw_equal(measured: Mapping[str, Any]) -> Any:
    """Accuracy by start, with the rank of the hidden weights."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.6, 2.8))
        places = np.arange(len(STARTS))
        for i, (name, height) in enumerate(zip(SIGMOIDAL, measured["accuracy"], strict=True)):
            axes.barh(places - 0.19 + 0.38 * i, height, 0.36, color=plots.PALETTE[i], label=name)
        for place, name in zip(places, STARTS, strict=True):
            rank = f"rank {measured[f'rank, {name}']:.0f}"
            axes.annotate(rank, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7)
        axes.axvline(0.1, color="0.5", linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, 1), xlabel="test accuracy (dotted: by chance)", title="Accuracy by start")
        axes.set_yticks(places, list(STARTS))
        axes.invert_yaxis()
        plots.legend(figure, axes)
    return figure


def small(config: Config, setup: Setup) -> dict[str, Any]:
    """Weights of std .01 against Xavier's under tanh, by depth."""
    data = few(sets(setup), config.examples)

    def train(key: jax.Array, parts: Any, *, depth: int, small: Any, rate: Any) -> dict[str, Any]:
        law = lambda z: jnp.where(small, 0.01, (2 / sum(z.shape)) ** 0.5) * z
        network = deep(tanh, law, parts["train"][0].shape[1], data.classes, units=config.units, depth=depth, last=law)
        return scores(key, parts, network, optax.sgd(rate), epochs=config.epochs, batch_size=32)

    arms = [{"depth": depth, "small": small} for depth in DEPTHS for small in (True, False)]
    names = [f"{DEPTHS[arm['depth']]}, {'std .01' if arm['small'] else 'Xavier'}" for arm in arms]
    options: dict[str, Any] = {"static": ("depth",), "shared": data.parts}
    chosen = tuned(train, setup, "small weights", arms, {"rate": config.rates}, names=names, **options)
    trained = swept(train, setup, "small weights", SMALL, grid=chosen.arms, **options)
    means, halves = averages(trained, "test_accuracy", arms, diverged=0.1)
    shape = (len(DEPTHS), 2)
    shown = {"accuracy": means.reshape(shape), "half": halves.reshape(shape)}
    return shown | {"small weights": trained, "notes": chosen.budget}


def draw_small(measured: Mapping[str, Any]) -> Any:
    """Accuracy by depth, for small weights and for Xavier's."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(3.4, 2.8))
        places = np.arange(len(DEPTHS))
        for i, label in enumerate(("weights of std .01", "Xavier")):
            options = {"color": plots.PALETTE[i], "marker": "os"[i], "markersize": 4, "capsize": 2, "label": label}
            axes.errorbar(places, measured["accuracy"][:, i], measured["half"][:, i], **options)
        axes.axhline(0.1, color="0.5", linewidth=0.8, linestyle=":")
        axes.set_xticks(places, list(DEPTHS))
        axes.set(ylim=(0, 1), xlabel="hidden layers of tanh", ylabel="test accuracy", title="Small weights, by depth")
        plots.legend(figure, axes)
    return figure


def he(config: Config, setup: Setup) -> dict[str, Any]:
    """Variance 2/n under relu: signals through ten layers, and training of a deep network against 1/n."""
    found: dict[str, Any] = {}
    panels, theory = {}, {}
    for name, images in (("N(0, 1) inputs", None), ("digits", pixels())):
        widths = [config.wide if images is None else images.shape[1], *[config.wide] * LAYERS]
        stds = [(2 / n) ** 0.5 for n in widths[:-1]]
        options: dict[str, Any] = {"examples": config.images, "images": images, "ends": (0.0, 2.0)}
        panels[name] = signals(setup, relu, stds, widths, **options)
        theory[name] = said(relu, stds, widths, **options)
        found[f"rate, {name}"] = runs(np.diff(np.log2(panels[name].square), axis=1).mean(1))
        found[f"std, {name}"] = runs(np.log2(panels[name].std[:, -1] / panels[name].std[:, 0]))
    data = few(sets(setup), config.examples)

    def train(key: jax.Array, parts: Any, *, variance: Any, rate: Any) -> dict[str, Any]:
        sizes = {"units": config.units, "depth": config.deepest}
        network = deep(relu, scaled(variance**0.5), parts["train"][0].shape[1], data.classes, **sizes)
        report = Report(["train", "dev", "test"], curves=["test"])
        return scores(key, parts, network, optax.sgd(rate), epochs=config.epochs, batch_size=32, report=report)

    arms = [{"variance": 1.0}, {"variance": 2.0}]
    names = ["variance 1/n", "variance 2/n"]
    chosen = tuned(train, setup, "He", arms, {"rate": config.deep_rates}, names=names, shared=data.parts)
    found["He"] = swept(train, setup, "He", HE, grid=chosen.arms, shared=data.parts)
    curves = averages(found["He"], "curve_test_accuracy", arms, diverged=0.1)[0]
    found["foreseen"] = [row for name in panels for row in rows(name, panels[name], theory[name], config.wide)]
    return drawn(**panels) | beside(**theory) | found | {"curves": curves, "notes": chosen.budget}


def draw_he(measured: Mapping[str, Any]) -> Any:
    """Histograms, and the accuracy of the deep network over the epochs."""
    from jnorm import plots

    figure, (axes,) = histograms(measured, beside=1)
    with plots.style():
        for i, label in enumerate(("variance 1/n", "variance 2/n")):
            curve = measured["curves"][i]
            axes.plot(np.arange(1, len(curve) + 1), curve, color=plots.PALETTE[i], label=label)
        axes.axhline(0.1, color="0.5", linewidth=0.8, linestyle=":")
        axes.set(ylim=(0, 1), xlabel="epoch", ylabel="test accuracy", title="30 relu layers, trained")
        axes.legend(loc="upper left")
    return figure


EQUAL = (
    *(Number(f"largest rank of the hidden weights, {name}", f"rank, {name}", high=1.0) for name in ALIKE),
    *(
        Number(
            f"largest distance between a unit and the average of all, relative, {name}",
            f"apart, {name}",
            high=1e-3,
            because="rounding of float32 over some hundred steps",
        )
        for name in ALIKE
    ),
    *(
        Number(f"smallest rank over the number of units, {name}", f"share, {name}", low=0.9)
        for name in STARTS
        if name not in ALIKE
    ),
    *(
        compared(
            f"{activation}: test accuracy, {name} less random",
            "starts",
            "less",
            0.1,
            metric="test_accuracy",
            a={"activation": activation} | STARTS[name],
            b={"activation": activation} | STARTS["random"],
            diverged=0.1,
        )
        for activation in SIGMOIDAL
        for name in ALIKE
    ),
    *(
        compared(
            f"{activation}: test accuracy, biases of .1 less biases of 0, random weights",
            "starts",
            "equal",
            0.02,
            metric="test_accuracy",
            a={"activation": activation} | STARTS["random, biases .1"],
            b={"activation": activation} | STARTS["random"],
            diverged=0.1,
        )
        for activation in SIGMOIDAL
    ),
    compared(
        "test accuracy of softmax regression from zeros",
        "softmax regression",
        "greater",
        0.0,
        metric="test_accuracy",
        a={},
        b=0.8,
        diverged=0.1,
    ),
)
SMALL = tuple(
    compared(
        f"{words}: test accuracy, std .01 less Xavier",
        "small weights",
        "less" if depth > 2 else "equal",
        0.1 if depth > 2 else 0.01,
        metric="test_accuracy",
        a={"depth": depth, "small": True},
        b={"depth": depth, "small": False},
        own=("rate",),
        diverged=0.1,
    )
    for depth, words in DEPTHS.items()
)
HE = (
    *(
        compared(f"log2 of {what}, {name}", f"{key}, {name}", "equal", margin)
        for what, key, margin in (
            ("the mean square, a layer less the one before", "rate", 0.1),
            ("std, last layer over first", "std", 0.5),
        )
        for name in ("N(0, 1) inputs", "digits")
    ),
    compared(
        "30 layers: test accuracy, variance 2/n less 1/n",
        "He",
        "greater",
        0.1,
        metric="test_accuracy",
        a={"variance": 2.0},
        b={"variance": 1.0},
        own=("rate",),
        diverged=0.1,
    ),
    compared(
        "30 layers, variance 2/n: test accuracy; it trains if more than half is right",
        "He",
        "greater",
        0.0,
        metric="test_accuracy",
        a={"variance": 2.0},
        b=0.5,
        own=("rate",),
        diverged=0.1,
    ),
)
CLAIMS = (
    Claim(
        id="I1",
        statement="Weights that are all 0, or all equal, keep the units of a layer identical for ever.",
        measured="Rank of the hidden weights and distance between units after training, and test accuracy, of tanh "
        "and sigmoid from equal and from random weights, with biases 0 and .1; softmax regression from zeros",
        parts=EQUAL,
        measure=equal,
        draw=draw_equal,
        caption="Test accuracy after training from five starts, and the largest rank of the hidden weights. At "
        "rank 0 or 1 the layer is one unit in many copies. Biases begin as the same number in all units.",
    ),
    Claim(
        id="I3",
        statement="Small weights (std .01) are fine with one or two hidden layers.",
        measured="Test accuracy of tanh networks with 1, 2 and 8 hidden layers, weights of std .01 against Xavier's, "
        "learning rate tuned for each",
        parts=SMALL,
        measure=small,
        draw=draw_small,
        caption="Test accuracy over the number of hidden layers, with 95 % intervals (dotted: by chance). The learning "
        "rate is tuned for each point. What small weights cost shows where the two lines part.",
    ),
    Claim(
        id="I7",
        statement="Variance 2/n repairs relu: it keeps the signal, and a 30-layer network trains that stalls with 1/n.",
        measured="log2 of the mean square of the activations, a layer less the one before, and of their standard "
        "deviation; test accuracy of a relu network of 30 layers, learning rate tuned for each variance",
        parts=HE,
        measure=he,
        draw=draw_he,
        caption="Histograms of the activations of ten layers with variance 2/n, averaged over the seeds, and test "
        "accuracy of a relu network of 30 layers over the epochs (dotted: by chance). Half of the activations are 0 "
        "(cut off here, as what lies beyond 2); layers as wide as the first keep the signal. The learning rate is "
        "tuned for each variance.",
    ),
)
