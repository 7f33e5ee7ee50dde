"""Glorot, Bengio 2010, table 1 and figures 6 and 7: five layers of tanh on MNIST, U[+-1/sqrt n] and normalized weights.

The starts are the paper's in full: 1000 units a layer, pixels in [0, 1], 300 images. Standard weights have n Var(w) =
1/3, so that while tanh is nearly straight signals and gradients shrink by 3^(-1/2) a layer; normalized ones, U[+-sqrt(6
/ (n_in + n_out))], keep both. Trained are networks of 128 units instead of 1000, five epochs on batches of 50 instead
of 10, with plain SGD at the rate that is best on the dev set for each law, as in the paper.

Floating-point operations: .17 M products an example, 1 M operations, 50 G an epoch of 50 000, 6 T for all runs of six
seeds; a start takes 9 G.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.papers.asking import Ask, Found, band, interval, judged, lines, of_arm
from jnorm import initializers, losses, statistics
from jnorm.activations import tanh
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.statistics import Rule
from jnorm.train import evaluation, loop

TITLE = "Understanding the difficulty of training deep networks (Glorot, Bengio 2010), table 1, figures 6 and 7"
LAWS = {
    "standard": initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
    "normalized": initializers.glorot_uniform(),
}
PUBLISHED = {"standard": 1.76, "normalized": 1.64}
"""Test errors in %."""
DEPTH = 5
IMAGES = 300
BINS = 61
ENDS = {"activation": 1.0, "gradient": 3.0}
"""Half the width of histograms; that of gradients in deviations of those of the last hidden layer."""


class Size(NamedTuple):
    """How much is measured and trained.

    Attributes:
        wide: Units of the starts.
        units: Of the networks that are trained.
        batch: Examples in a step.
        epochs: Passes over the training examples.
        examples: Of them, None for all.
        rates: Learning rates among which each law has its best.
    """

    wide: int
    units: int
    batch: int
    epochs: int
    examples: int | None
    rates: tuple[float, ...]


SIZES = {
    "quick": Size(100, 16, 50, 1, 5000, (0.1, 0.3)),
    "default": Size(1000, 128, 50, 5, None, (0.1, 0.3)),
    "whole": Size(1000, 1000, 10, 50, None, (0.003, 0.01, 0.03, 0.1)),
}


def _start(name: str, metric: str, claim: str, effect: float, a: str, b: str | float) -> Rule:
    other = {"law": b} if isinstance(b, str) else b
    return Rule(
        name=name,
        metric=metric,
        claim=claim,
        effect=effect,
        diverged="exclude",
        family="starts",
        a={"law": a},
        b=other,
    )


STARTS = (
    _start(
        "log10 of the deviation of activations, last hidden layer over first, normalized less standard",
        "activations",
        "greater",
        0.3,
        "normalized",
        "standard",
    ),
    _start(
        "log10 of the deviation of gradients, first hidden layer over last, standard",
        "gradients",
        "less",
        0.5,
        "standard",
        0.0,
    ),
    _start("the same, normalized, a tenth of log10 from 0", "gradients", "equal", 0.1, "normalized", 0.0),
)
"""Figures 6 and 7: activations and gradients shrink with standard weights, and gradients stay with normalized ones."""
TRAINED = (
    Rule(
        name="test error (%), normalized less standard, each at its own rate",
        metric="error",
        claim="less",
        effect=0.05,
        diverged=90.0,
        family="table 1",
        a={"law": "normalized"},
        b={"law": "standard"},
    ),
)
"""Table 1: the published difference is .12 points; .05, five images of the test set, is what matters."""


def network_of(law: str, inputs: int, units: int) -> networks.Network:
    """Five hidden layers of tanh, all weights of one law, biases of 0."""
    init = LAWS[law]
    layer = Layer(tanh, init, input_init=init, readout_init=init)
    return networks.mlp(networks.rectangular(inputs, 10, units=units, depth=DEPTH), layer)


def signals(network: networks.Network, params: Any, state: Any, x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
    """Deviations of activations and of back-propagated gradients by hidden layer, and their histograms.

    Gradients are those of each example's loss by the pre-activations. Histograms are shares [layer, bin].
    """
    seen = networks.record(network, params, state, x)[2]
    places = [f"{i}.pre" for i in range(DEPTH)]

    def loss(shifts: dict[str, jax.Array]) -> jax.Array:
        tap = lambda name, value: value + shifts[name] if name in shifts else value
        outputs, _ = network.apply(params, state, x, train=False, tap=tap)
        return jnp.sum(losses.softmax_cross_entropy(outputs, y))

    slopes = jax.grad(loss)({place: jnp.zeros_like(seen[place]) for place in places})
    values = {
        "activation": [seen[f"{i}.post"] for i in range(DEPTH)],
        "gradient": [slopes[place] for place in places],
    }
    unit = jnp.std(slopes[places[-1]])
    found = {}
    for name, layers in values.items():
        end = ENDS[name] * (unit if name == "gradient" else 1.0)
        edges = jnp.linspace(-end, end, BINS + 1)
        found[name] = jnp.stack([jnp.std(a) for a in layers])
        found[f"{name}_histogram"] = jnp.stack([jnp.histogram(a, edges)[0] / a.size for a in layers])
    return found


def start_of(size: Size, inputs: int) -> Any:
    """``start(key, images, law=)``: `signals` of a network that is not trained."""

    def start(key: jax.Array, images: Any, *, law: str) -> dict[str, jax.Array]:
        network = network_of(law, inputs, size.wide)
        found = signals(network, *network.init(key), *images)
        slope = lambda a, b: jnp.log10(a / b)
        ratios = {
            "activations": slope(found["activation"][-1], found["activation"][0]),
            "gradients": slope(found["gradient"][0], found["gradient"][-1]),
        }
        return found | ratios

    return start


def train_of(size: Size, inputs: int) -> Any:
    """``train(key, parts, law=, rate=)``; the law is static."""

    def train(key: jax.Array, parts: Any, *, law: str, rate: Any) -> dict[str, jax.Array]:
        run = loop.trainer(
            network_of(law, inputs, size.units),
            losses.softmax_cross_entropy,
            optax.sgd(rate),
            epochs=size.epochs,
            batch_size=size.batch,
            metrics={"accuracy": evaluation.accuracy},
            report=loop.Report(parts=("test", "dev"), curves=("test",)),
        )
        found = run(key, parts)
        error = lambda a: 100 * (1 - a)
        return {
            "dev_accuracy": found["dev_accuracy"],
            "error": error(found["test_accuracy"]),
            "curve": error(found["curve_test_accuracy"]),
        }

    return train


def measure(ask: Ask) -> Found:
    """The starts and the trainings, and the rules about both."""
    size, parts = SIZES[ask.size], ask.pixels(False)
    parts = parts | {"train": tuple(a[: size.examples] for a in parts["train"])}
    inputs = parts["train"][0].shape[1]
    images = tuple(a[:IMAGES] for a in parts["train"])
    grid: dict[str, Any] = {"law": tuple(LAWS)}
    starts = ask.sweep("glorot_starts", start_of(size, inputs), grid=grid, static=("law",), shared=images)
    every = ask.sweep("glorot", train_of(size, inputs), grid=grid | {"rate": size.rates}, static=("law",), shared=parts)
    trained = statistics.tuned(every, "rate", on="dev_accuracy")
    rows, found, arrays = [], {}, {}
    rates = {one["law"]: one["rate"] for (one, *_) in trained.winners}
    errors = {law: of_arm(trained, "error", law=law) for law in LAWS}
    rows += [
        (f"test error (%), {law}", f"{PUBLISHED[law]:.2f}", f"{interval(errors[law], '{:.2f}')} at rate {rates[law]:g}")
        for law in LAWS
    ]
    expected = {"standard": 3 ** -(0.5 * (DEPTH - 1)), "normalized": 1.0}
    words = {
        "activations": "deviation of activations, layer 5 over 1",
        "gradients": "deviation of gradients, layer 1 over 5",
    }
    for name, what in words.items():
        for law in LAWS:
            ratio = 10 ** of_arm(starts, name, law=law)
            rows.append((f"{what}, {law}", f"{expected[law]:.2g} while tanh is straight", interval(ratio)))
            found[f"{name}, {law}"] = ratio
    for law in LAWS:
        found[f"error, {law}"] = errors[law]
        arrays[f"error, {law}"] = of_arm(trained, "curve", law=law)
        for name in ("activation", "gradient"):
            arrays[f"{name}, {law}"] = of_arm(starts, name, law=law)
            arrays[f"{name} histogram, {law}"] = of_arm(starts, f"{name}_histogram", law=law).mean(0)
    notes = [
        f"Starts: {size.wide} units a layer, {IMAGES} images. Trained: {size.units} units (the paper: 1000), "
        f"{size.epochs} epochs of {len(parts['train'][1])} images in batches of {size.batch} (10), rates "
        f"{', '.join(f'{rate:g}' for rate in size.rates)}, of which each law has the best on the dev set."
    ]
    verdicts = (*judged(trained, TRAINED), *judged(starts, STARTS))
    return Found(rows, verdicts, (), notes, found | {"rates": rates}, arrays)


def draw(arrays: dict[str, Any]) -> Any:
    """Histograms by layer (figures 6 and 7), their deviations, and test errors over the epochs and in the end."""
    from jnorm import plots

    looks = {
        law: {"color": color, "marker": mark} for law, color, mark in zip(LAWS, ("0.1", "0.55"), "os", strict=True)
    }
    with plots.style():
        figure, panels = plots.figure(2, 4, size=(11.0, 4.8))
        for row, (name, number) in zip(panels, {"activation": 6, "gradient": 7}.items(), strict=True):
            places = np.linspace(-ENDS[name], ENDS[name], BINS)
            for axes, law in zip(row, LAWS, strict=False):
                for layer, share in enumerate(arrays[f"{name} histogram, {law}"]):
                    axes.plot(places, share, color=plots.PALETTE[layer], linewidth=0.9, label=f"layer {layer + 1}")
                axes.set(yscale="log", ylim=(1e-4, 1), title=f"{number}: {name}s, {law}")
                axes.set_xlabel(name if name == "activation" else "gradient, in deviations of layer 5's")
            row[0].set_ylabel("share")
            for law, look in looks.items():
                row[2].errorbar(range(1, DEPTH + 1), *band(arrays[f"{name}, {law}"]), markersize=4, label=law, **look)
            row[2].set(yscale="log", xlabel="hidden layer", title=f"deviation of {name}s")
            row[2].set_xticks(range(1, DEPTH + 1))
            row[2].minorticks_off()
        panels[0, 2].legend(loc="lower left")
        over, end = panels[:, 3]
        for place, (law, look) in enumerate(looks.items()):
            curves = arrays[f"error, {law}"]
            lines(over, np.arange(1, curves.shape[1] + 1), curves, label=law, markersize=3, **look)
            mean, half = band(curves[:, -1])
            end.errorbar([place], [mean], [half], markersize=4, capsize=3, **look)
            end.plot(
                [place],
                [PUBLISHED[law]],
                "_",
                color=plots.PALETTE[1],
                markersize=14,
                label=None if place else "published",
            )
        over.set(yscale="log", xlabel="epoch", title="test error (%)")
        end.set(xlim=(-0.6, 1.6), title="test error in the end (%)")
        end.set_xticks(range(len(LAWS)), list(LAWS))
        for axes in (over, end):
            axes.legend(loc="upper right")
        plots.legend(figure, panels[0, 0])
    return figure
