"""The scale of weights and of inputs: what training minds, and what batch norm and a good initializer make up for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import begun, drawing
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Setup
from experiments.claims.deep import deep, scaled
from experiments.claims.training import averages, scores
from jnorm.activations import relu
from jnorm.nn import batch_norm


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of every hidden layer.
        depth: Hidden layers of the networks whose weights are scaled.
        shallow: Hidden layers of those whose inputs are.
        examples: Training examples.
        epochs: Passes over them.
        rates: Learning rates that are tried for each arm.
    """

    units: int = 64
    depth: int = 4
    shallow: int = 2
    examples: int = 640
    epochs: int = 20
    rates: tuple[float, ...] = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)


QUICK = Config(units=8, depth=2, examples=64, epochs=1, rates=(0.001, 0.1))
SCALES = (0.001, 0.01, 0.1, 1.0, 10.0)
INPUTS = (0.01, 0.1, 1.0, 10.0, 100.0)
NORMS = {True: "with batch norm", False: "without"}
EACH, ONE = "a rate for each scale", "the rate of scale 1"
BATCH = 16  # examples on which networks are looked at before the first step
STARTS = {0.0: "He", 0.01: "std .01", 1.0: "std 1"}


def _both(
    train: Any,
    setup: Setup,
    name: str,
    parts: Sequence[Any],
    arms: list[dict[str, Any]],
    shape: tuple[int, int],
    *,
    names: Sequence[str],
    rates: Sequence[float],
    **options: Any,
) -> dict[str, Any]:
    """Arms [kind, scale] twice: each with a rate tuned for it, and each with the rate of its kind at scale 1."""
    chosen = tuned(train, setup, name, arms, {"rate": rates}, seeds=setup.tuning // 2, names=names, **options)
    middle = next(i for i, arm in enumerate(arms) if arm["scale"] == 1)
    kept = [arm | {"rate": chosen.arms[i - i % shape[1] + middle]["rate"]} for i, arm in enumerate(arms)]
    found: dict[str, Any] = {"notes": chosen.budget}
    for words, grid in ((EACH, chosen.arms), (ONE, kept)):
        runs = swept(train, setup, f"{name}, {words}", parts, grid=grid, **options)
        means, halves = averages(runs, "test_accuracy", arms, diverged=0.1)
        found |= {
            f"{name}, {words}": runs,
            f"mean, {words}": means.reshape(shape),
            f"half, {words}": halves.reshape(shape),
        }
    return found


def _starts(
    config: Config, setup: Setup, x: np.ndarray, kinds: Mapping[str, tuple[bool, Any]], scales: Any, classes: int
) -> dict[str, Any]:
    """Outputs and gradients before the first step, of networks of their own and as theory foresees them.

    ``kinds`` say whether there is batch norm, and of a scale the standard deviations of the weights, given the fan-in,
    the factor on the inputs and the hidden layers.
    """
    found: dict[str, Any] = {"foreseen": []}
    shown: dict[str, list[Any]] = {name: [] for name in ("outputs", "gradients", "said outputs", "said gradients")}
    for name, (norm, law) in kinds.items():
        for scale in scales:
            std, factor, depth = law(scale)
            widths = [x.shape[1], *[config.units] * depth, classes]
            networks = begun.perceptron(relu, norm=norm), widths, [std(n) for n in widths[:-1]], factor * x
            seen = begun.measured(setup, *networks)
            said, more = begun.told(*networks)
            slopes = said.slopes[0], more.slopes[0], seen.slopes[:, 0]
            if scale in (scales[0], 1.0, scales[-1]):
                own = f"{name}, scale {scale:g}"
                outputs = said.output, more.output, seen.output
                made = begun.rows(f"log10 of the outputs at the start, {own}", *outputs, config.units)
                made += begun.rows(f"log10 of the gradient over the weights, first layer, {own}", *slopes, config.units)
                found["foreseen"] += made
            for key, value in zip(shown, (seen.output, slopes[2], said.output, slopes[0]), strict=True):
                shown[key].append(np.mean(value))
    shape = (len(kinds), len(scales))
    return found | {f"start, {key}": np.reshape(value, shape) for key, value in shown.items()}


def weights(config: Config, setup: Setup) -> dict[str, Any]:
    """Relu networks with all weights scaled, with and without batch norm."""
    data = few(sets(setup), config.examples)

    def train(key: jax.Array, parts: Any, *, norm: bool, scale: Any, rate: Any) -> dict[str, Any]:
        law = scaled(scale * 2**0.5)
        sizes: dict[str, Any] = {"units": config.units, "depth": config.depth}
        norms = {"normalizer": batch_norm if norm else None}
        network = deep(relu, law, parts["train"][0].shape[1], data.classes, last=law, **sizes, **norms)
        return scores(key, parts, network, optax.sgd(rate), epochs=config.epochs, batch_size=32)

    arms = [{"norm": norm, "scale": scale} for norm in NORMS for scale in SCALES]
    names = [f"{NORMS[arm['norm']]} at {arm['scale']:g}" for arm in arms]
    options: dict[str, Any] = {"static": ("norm",), "shared": data.parts, "names": names, "rates": config.rates}
    kinds = {
        name: (norm, lambda scale: (lambda n: scale * (2 / n) ** 0.5, 1.0, config.depth))
        for norm, name in NORMS.items()
    }
    begins = _starts(config, setup, data.parts["train"][0][:BATCH], kinds, SCALES, data.classes)
    return _both(train, setup, "weights", I9, arms, (len(NORMS), len(SCALES)), **options) | begins


def inputs(config: Config, setup: Setup) -> dict[str, Any]:
    """Relu networks with scaled inputs, by the law of their weights."""
    data = few(sets(setup), config.examples)

    def train(key: jax.Array, parts: Any, *, std: Any, scale: Any, rate: Any) -> dict[str, Any]:
        scaled = {part: (scale * x, y) for part, (x, y) in parts.items()}
        law = lambda z: jnp.where(std > 0, std, (2 / z.shape[0]) ** 0.5) * z
        sizes: dict[str, Any] = {"units": config.units, "depth": config.shallow}
        network = deep(relu, law, parts["train"][0].shape[1], data.classes, last=law, **sizes)
        return scores(key, scaled, network, optax.sgd(rate), epochs=config.epochs, batch_size=32)

    arms = [{"std": std, "scale": scale} for std in STARTS for scale in INPUTS]
    names = [f"{STARTS[arm['std']]} at {arm['scale']:g}" for arm in arms]
    options: dict[str, Any] = {"shared": data.parts, "names": names, "rates": config.rates}
    law = lambda std: lambda scale: (lambda n: std or (2 / n) ** 0.5, scale, config.shallow)
    kinds = {name: (False, law(std)) for std, name in STARTS.items()}
    begins = _starts(config, setup, data.parts["train"][0][:BATCH], kinds, INPUTS, data.classes)
    return _both(train, setup, "inputs", I11, arms, (len(STARTS), len(INPUTS)), **options) | begins


def _draw(measured: Mapping[str, Any], scales: Sequence[float], kinds: Sequence[str], label: str) -> Any:
    """Accuracy over the scale, a line a kind, a panel for each way to choose the learning rate; below, the starts."""
    from jnorm import plots

    with plots.style():
        figure, (panels, below) = plots.figure(2, 2, size=(6.4, 5.4))
        for axes, words in zip(panels, (ONE, EACH), strict=True):
            for i, kind in enumerate(kinds):
                options = {"color": plots.PALETTE[i], "marker": "osD"[i], "markersize": 4, "capsize": 2, "label": kind}
                axes.errorbar(scales, measured[f"mean, {words}"][i], measured[f"half, {words}"][i], **options)
            axes.axhline(0.1, color="0.5", linewidth=0.8, linestyle=":")
            axes.set(xscale="log", ylim=(0, 1), title=words.capitalize())
        panels[0].set_ylabel("test accuracy")
        titles = {"outputs": "Outputs at the start", "gradients": "Gradient over weights, first layer"}
        for axes, (what, title) in zip(below, titles.items(), strict=True):
            for i, kind in enumerate(kinds):
                look = {"color": plots.PALETTE[i], "marker": "osD"[i], "markersize": 4, "linestyle": ""}
                axes.plot(scales, measured[f"start, {what}"][i], label=kind, **look)
                last = "theory of wide layers" if i == len(kinds) - 1 else None
                drawing.foreseen(axes, scales, measured[f"start, said {what}"][i], label=last)
            axes.set(xscale="log", xlabel=label, title=title)
        below[0].set_ylabel("log10 of the size")
        plots.legend(figure, below[0])
    return figure


def draw_weights(measured: Mapping[str, Any]) -> Any:
    """Accuracy over the scale of the weights."""
    return _draw(measured, SCALES, list(NORMS.values()), "scale of the weights (1: variance 2/n)")


def draw_inputs(measured: Mapping[str, Any]) -> Any:
    """Accuracy over the scale of the inputs."""
    return _draw(measured, INPUTS, [f"weights: {name}" for name in STARTS.values()], "scale of the inputs")


def _judged(
    name: str, words: str, claim: str, effect: float, kind: dict[str, Any], scale: float, what: str
) -> Comparison:
    return compared(
        f"{words}: test accuracy, {what}, scale {scale:g} less scale 1",
        f"{name}, {words}",
        claim,
        effect,
        metric="test_accuracy",
        a=kind | {"scale": scale},
        b=kind | {"scale": 1.0},
        own=("rate",),
        diverged=0.1,
    )


I9 = (
    *(
        _judged("weights", words, "equal", 0.02, {"norm": True}, scale, NORMS[True])
        for words in (EACH, ONE)
        for scale in SCALES
        if scale != 1
    ),
    *(
        _judged("weights", words, "less", 0.1, {"norm": False}, scale, NORMS[False])
        for words in (EACH, ONE)
        for scale in (SCALES[0], SCALES[-1])
    ),
)
I11 = (
    *(
        _judged("inputs", words, "equal", 0.02, {"std": 0.0}, scale, STARTS[0.0])
        for words in (EACH, ONE)
        for scale in INPUTS
        if scale != 1
    ),
    *(
        _judged("inputs", words, "less", 0.02, {"std": std}, scale, STARTS[std])
        for words in (EACH, ONE)
        for std, scale in ((0.01, INPUTS[0]), (1.0, INPUTS[-1]))
    ),
)
CLAIMS = (
    Claim(
        id="I9",
        statement="Batch norm makes the hand-tuned scale of the initial weights unnecessary.",
        measured="Test accuracy of relu networks of four layers over the scale of all initial weights, .001 to 10 "
        "times variance 2/n, with and without batch norm; with the learning rate that is best at scale 1, and with "
        "one tuned for each scale",
        parts=I9,
        measure=weights,
        draw=draw_weights,
        caption="Test accuracy over the scale of the initial weights, with 95 % intervals (dotted: by chance), with "
        "and without batch norm. On the left the learning rate is the best at scale 1, on the right it is tuned for "
        "each point. Where a line is flat no scale has to be tuned. Below, outputs and relative gradients before the "
        "first step, in networks and as theory foresees them for wide layers (dashed): what is decades away from "
        "scale 1 asks for another learning rate, and what has no gradient for more than that.",
    ),
    Claim(
        id="I11",
        statement="With a good initializer training hardly minds the scale of its inputs.",
        measured="Test accuracy of relu networks of two layers over the scale of standardized inputs, .01 to 100, "
        "with weights of variance 2/n, of std .01 and of std 1; with the learning rate that is best at scale 1, and "
        "with one tuned for each scale",
        parts=I11,
        measure=inputs,
        draw=draw_inputs,
        caption="Test accuracy over the scale of the inputs, with 95 % intervals (dotted: by chance), by the law of "
        "the weights. On the left the learning rate is the best at scale 1, on the right it is tuned for each point. A "
        "flat line is training that does not mind its inputs. Below, outputs and relative gradients before the first "
        "step, in networks and as theory foresees them for wide layers (dashed).",
    ),
)
