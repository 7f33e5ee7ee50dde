"""Ioffe, Szegedy 2015, figure 1: MNIST with and without batch norm, and what a unit of the last hidden layer gets.

As in the paper: images of two colours, three layers of 100 sigmoids, small normal weights (of deviation .1; the paper
does not say), batches of 60. The paper takes 50 000 steps, at a rate that it does not say: both networks have the same,
.1 and in runs of their own 1. Percentiles are those of 1000 training images, the same at all times, normalized by their
own statistics; without batch norm of the only input that there is, with it before the normalization and behind scale
and shift, which is what the sigmoid gets, and what the paper shows.

Floating-point operations: .1 M products an example, 36 M operations a step, .18 T for 5000 steps and .1 T for 50
looks at 10 000 test images, 24 times for six seeds.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.papers.asking import Ask, Found, interval, judged, lines, of_arm
from jnorm import initializers, losses
from jnorm.activations import sigmoid
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Layer
from jnorm.statistics import Rule, Runs
from jnorm.train import evaluation, loop

TITLE = "Batch normalization (Ioffe, Szegedy 2015), figure 1"
BATCH, UNITS = 60, 100
PERCENTILES = (15, 50, 85)
WATCHED = 1000
"""Training images by which a unit's input is known."""
VIEWS = ("before the normalization", "behind scale and shift")


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        looks: At test accuracy and percentiles, at equal distances.
        every: Steps from one to the next.
        rates: Learning rates.
    """

    looks: int
    every: int
    rates: tuple[float, ...]


SIZES = {
    "quick": Size(5, 20, (1.0,)),
    "default": Size(50, 100, (0.1, 1.0)),
    "whole": Size(100, 500, (0.1, 1.0)),
}
QUARTER = float(np.log10(4 / 3))


def _rule(name: str, metric: str, claim: str, effect: float, diverged: str | float) -> Rule:
    """At every rate, batch norm against none at the same rate."""
    arms: dict[str, Any] = {"a": {"normed": True}, "b": {"normed": False}}
    return Rule(name=name, metric=metric, claim=claim, effect=effect, diverged=diverged, family="figure 1", **arms)


RULES = (
    _rule("test accuracy in the end, with batch norm less without", "accuracy", "greater", 0.002, 0.1),
    _rule(
        "log2 of the steps until the accuracy that is reached without batch norm, with it less without",
        "log2_steps",
        "less",
        1.0,
        "highest",
    ),
    _rule(
        "log10 of how far the median of the typical unit's input moves over the steps, in its own spread, with batch "
        "norm behind scale and shift less without",
        "drift",
        "less",
        QUARTER,
        "highest",
    ),
    _rule(
        "log10 of how much the spread of the typical unit's input changes over the steps, likewise",
        "change",
        "less",
        QUARTER,
        "highest",
    ),
)
"""Better by .2 points, in less than half of the steps, and percentiles that move less by a quarter."""


def percentiles(network: Any, params: Any, state: Any, x: jax.Array) -> jax.Array:
    """Of every unit's input of the last hidden layer, before a normalizer and behind it: [view, percentile, unit]."""
    seen = networks.record(network, params, state, x, train=True)[2]
    last = max(int(name.partition(".")[0]) for name in seen if name.endswith("post"))
    behind = seen[f"{last}.pre"]
    views = [seen.get(f"{last}.linear", behind), behind]
    return jnp.stack([jnp.percentile(a, jnp.array(PERCENTILES, float), axis=0) for a in views])


def train_of(size: Size, inputs: int) -> Any:
    """``train(key, parts, normed=, rate=)``; whether there is batch norm is static."""

    def train(key: jax.Array, parts: Any, *, normed: bool, rate: Any) -> dict[str, jax.Array]:
        small = initializers.normal(0.1)
        layer = Layer(sigmoid, small, normalizer=batch_norm if normed else None, input_init=small, readout_init=small)
        network = networks.mlp(networks.rectangular(inputs, 10, units=UNITS, depth=3), layer)
        x, y = parts["train"]
        watched = x[:WATCHED]
        run = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            optax.sgd(rate),
            epochs=size.looks,
            batch_size=BATCH,
            order=lambda key, look: jax.random.permutation(key, len(y))[: BATCH * size.every],
            metrics={"accuracy": evaluation.accuracy},
            report=loop.Report(
                parts=(),
                curves=("test",),
                probe=lambda params, state: {"input": percentiles(network, params, state, watched)},
            ),
        )
        found = run(key, parts)
        return {"curve": found["curve_test_accuracy"], "input": found["probe_input"]}

    return train


def movement(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far medians move over the looks, and how much spreads change, of each unit: [..., unit].

    Args:
        inputs: Percentiles [..., look, percentile, unit].

    Returns:
        The deviation over the looks of the median, by the mean over the looks of the spread, the 85th less the 15th
        percentile; and the deviation over the looks of the spread, by the same.
    """
    low, middle, high = np.moveaxis(np.asarray(inputs, float), -2, 0)
    spread = high - low
    whole = np.maximum(spread.mean(-2), 1e-12)
    return middle.std(-2) / whole, spread.std(-2) / whole


def summed_up(result: Any, every: int) -> Runs:
    """Numbers a run: accuracy, steps to what its pair reaches without batch norm, and `movement` of the typical unit.

    The typical unit is the median over the units. Steps that are never enough count as twice all steps.
    """
    curves, inputs = np.asarray(result["curve"], float), np.asarray(result["input"], float)
    goal = np.empty(curves.shape[:2])
    for i, one in enumerate(result.configurations):
        goal[i] = of_arm(result, "curve", **dict(one) | {"normed": False})[:, -1]
    reached = curves >= goal[..., None]
    first = np.where(reached.any(-1), reached.argmax(-1) + 1, 2 * curves.shape[-1])
    arrays = {"accuracy": curves[..., -1], "log2_steps": np.log2(first * every)}
    for view, ending in enumerate((" before", "")):
        for name, each in zip(("drift", "change"), movement(inputs[..., view, :, :]), strict=True):
            arrays[f"{name}{ending}"] = np.log10(np.median(each, -1))
    return Runs(result.configurations, arrays, result.failed)


def typical(inputs: np.ndarray) -> int:
    """The unit whose median moves as far as the median over the units: [look, percentile, unit]."""
    drift = movement(inputs)[0]
    return int(np.argmin(np.abs(drift - np.median(drift))))


def measure(ask: Ask) -> Found:
    """Train, and judge by the rules."""
    size, parts = SIZES[ask.size], ask.pixels(False)
    parts = {part: ((parts[part][0] > 0.5).astype(np.float32), parts[part][1]) for part in ("train", "test")}
    train = train_of(size, parts["train"][0].shape[1])
    grid = {"normed": (False, True), "rate": size.rates}
    result = ask.sweep("batch_norm", train, grid=grid, static=("normed",), shared=parts)
    runs = summed_up(result, size.every)
    rows, found, arrays = [], {}, {"step": size.every * np.arange(1, size.looks + 1), "rates": np.array(size.rates)}
    for rate in size.rates:
        pairs = {name: of_arm(runs, "accuracy", normed=normed, rate=rate) for name, normed in ARMS.items()}
        text = ", ".join(f"{name} {interval(100 * a, '{:.2f}')}" for name, a in pairs.items())
        rows.append((f"test accuracy in the end (%), rate {rate:g}", "higher with batch norm", text))
        steps = 2 ** of_arm(runs, "log2_steps", normed=True, rate=rate)
        rows.append(
            (
                f"steps with batch norm to the accuracy without, rate {rate:g}",
                "fewer",
                f"{interval(steps, '{:.0f}')} of {size.looks * size.every}",
            )
        )
        views = (("without", False, ""), ("before", True, " before"), ("behind", True, ""))
        for name, what in (("drift", "median moves"), ("change", "spread changes")):
            each = {view: 10 ** of_arm(runs, name + end, normed=normed, rate=rate) for view, normed, end in views}
            text = "; ".join(f"{view} {interval(a)}" for view, a in each.items())
            rows.append((f"how far the {what}, in spreads, rate {rate:g}", "less with batch norm, behind it", text))
            found |= {f"{name} {view}, {rate:g}": a for view, a in each.items()}
        found |= {f"accuracy {name}, {rate:g}": a for name, a in pairs.items()} | {f"steps, {rate:g}": steps}
        for name, normed in ARMS.items():
            arrays[f"accuracy {name}, {rate:g}"] = of_arm(result, "curve", normed=normed, rate=rate)
    for name, normed in ARMS.items():
        shown = of_arm(result, "input", normed=normed, rate=size.rates[0])[0]
        arrays[f"input {name}"] = shown[..., typical(shown[:, 1])]
    notes = [
        f"{size.looks * size.every} steps of {BATCH} (the paper: 50 000), looked at every {size.every}; rates "
        f"{', '.join(f'{rate:g}' for rate in size.rates)}, the same with and without."
    ]
    return Found(rows, judged(runs, RULES), (), notes, found, arrays)


ARMS = {"without": False, "with batch norm": True}


def draw(arrays: dict[str, Any]) -> Any:
    """Test accuracy over steps, and percentiles of a typical unit's input without and with, before and behind."""
    from jnorm import plots

    step, rates = arrays["step"], arrays["rates"]
    shown = (
        ("without", "without", 1),
        ("with batch norm", f"with it, {VIEWS[0]}", 0),
        ("with batch norm", f"with it, {VIEWS[1]}", 1),
    )
    with plots.style():
        figure, panels = plots.figure(1, 4, size=(9.6, 2.8))
        for (name, dash), color in zip({"without": "--", "with batch norm": "-"}.items(), plots.PALETTE, strict=False):
            for rate, width in zip(rates, (1.9, 0.9), strict=False):
                curve = 100 * arrays[f"accuracy {name}, {rate:g}"]
                look = {"color": color, "linestyle": dash, "linewidth": width}
                lines(panels[0], step, curve, label=f"{name}, rate {rate:g}", **look)
        panels[0].set(xlabel="step", ylabel="test accuracy (%)", ylim=(70, 100), title="a: test accuracy")
        for axes, letter, (name, title, view), color in zip(panels[1:], "bcc", shown, (0, 1, 1), strict=True):
            low, middle, high = np.moveaxis(arrays[f"input {name}"][:, view], 1, 0)
            axes.fill_between(step, low, high, color=plots.PALETTE[color], alpha=0.25, linewidth=0)
            axes.plot(step, middle, color=plots.PALETTE[color])
            axes.set(xlabel="step", title=f"{letter}: {title}")
        panels[1].set_ylabel("input of a typical unit")
        plots.legend(
            figure, panels[0], title=f"b, c: median, and 15th to 85th percentile, of one run at rate {rates[0]:g}"
        )
    return figure
