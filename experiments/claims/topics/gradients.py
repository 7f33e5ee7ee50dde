"""Gradients through many layers before any training: how fast they vanish or explode, by activation and weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims import drawing
from experiments.claims.arms import compared, runs
from experiments.claims.backward import change, foretold, gradients
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.foreseen import Foreseen, foreseen, of_width
from jnorm.activations import relu, selu, sigmoid, tanh


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of every layer; the inputs are digits, their pixels repeated to as many.
        examples: Digits for each network.
        depths: Layers of the networks.
        points: Numbers at which derivatives are compared.
    """

    units: int = 128
    examples: int = 16
    depths: tuple[int, ...] = (2, 5, 10, 20, 35, 50)
    points: int = 100_001


QUICK = Config(units=64, examples=4, depths=(2, 6), points=1001)


def slope(changes: np.ndarray, depths: Sequence[int]) -> np.ndarray:
    """Least squares over the networks, ``changes[seed, network]``: log10 for each layer that a network is deeper."""
    centred = np.array(depths, float) - np.mean(depths)
    return changes @ centred / (centred @ centred)


ACTIVATIONS = {"sigmoid": (sigmoid, 1.0), "tanh": (tanh, 1.0), "relu": (relu, 2.0), "selu": (selu, 1.0)}


def _changes(logs: np.ndarray, depths: Sequence[int]) -> np.ndarray:
    """First layer less last of each network, ``logs[..., network, layer]``."""
    return np.stack([change(logs[..., i, :], depth) for i, depth in enumerate(depths)], -1)


def vanishing(config: Config, setup: Setup) -> dict[str, Any]:
    """Derivatives, and gradients through networks of 2 to 50 layers, by activation."""
    found = {}
    with jax.enable_x64(True):
        x = jnp.linspace(-30.0, 30.0, config.points)
        value, derivative = (jax.vmap(f)(x) for f in (sigmoid, jax.grad(sigmoid)))
        found["largest of sigmoid"] = float(jnp.max(derivative))
        found["identity"] = float(jnp.max(jnp.abs(derivative - value * sigmoid(-x))))
        flatter = jax.vmap(jax.grad(tanh))(jnp.where(jnp.abs(x) < 0.01, 0.01, x))
        found["largest of tanh"] = float(jnp.max(flatter))
        found["top of tanh"] = float(jax.grad(tanh)(0.0))
    arms = list(ACTIVATIONS.values())
    logs = gradients(setup, arms, config.depths, units=config.units, examples=config.examples)
    changes = _changes(logs, config.depths)
    said, astray = foretold(setup, arms, config.depths, units=config.units, examples=config.examples)
    slopes = dict(zip(ACTIVATIONS, (slope(changes[:, i], config.depths) for i in range(len(arms))), strict=True))
    return found | {
        "sigmoid": runs(slopes["sigmoid"]),
        "tanh": runs(slopes["tanh"]),
        "better": runs(slopes["tanh"] - slopes["sigmoid"]),
        "depths": np.array(config.depths),
        "changes": changes,
        "layers": logs[:, :, -1],
        "foreseen": _vanishing(config, changes, _changes(said, config.depths), astray),
        "foreseen changes": _changes(said, config.depths).mean(0),
        "foreseen layers": said[:, :, -1].mean(0),
    }


def _vanishing(config: Config, measured: np.ndarray, said: np.ndarray, astray: np.ndarray) -> list[Foreseen]:
    """By activation: the change over the deepest networks, in wide layers and in a typical one, and the slope."""
    rows = []
    deepest = f"log10 of the gradient, first layer over last of {config.depths[-1]}"
    for i, name in enumerate(ACTIVATIONS):
        own = said[:, i, -1] + astray[i, 0] - astray[i, -1]
        slopes = (slope(a[:, i], config.depths) for a in (said, measured))
        rows += [
            foreseen(f"{name}: log10 of the gradient for each layer more", *slopes, base=10),
            foreseen(f"{name}: {deepest}", said[:, i, -1], measured[:, i, -1], base=10),
            foreseen(f"{name}: {deepest}", own, measured[:, i, -1], theory=of_width(config.units), base=10),
        ]
    return rows


def draw_vanishing(measured: Mapping[str, Any]) -> Any:
    """The gradient layer by layer in the deepest networks, and its change over networks of many depths."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 3.0))
        layers = np.arange(1, measured["layers"].shape[-1] + 1)
        for i, (name, color) in enumerate(zip(ACTIVATIONS, plots.PALETTE, strict=False)):
            by_layer = measured["layers"][:, i]
            plots.band(panels[0], layers, by_layer - by_layer[:, -1:], color=color)
            panels[0].plot(layers, (by_layer - by_layer[:, -1:]).mean(0), color=color, linewidth=1)
            plots.band(panels[1], measured["depths"], measured["changes"][:, i], color=color)
            panels[1].plot(measured["depths"], measured["changes"][:, i].mean(0), color=color, label=name, linewidth=1)
            last = measured["foreseen layers"][i, -1]
            drawing.foreseen(panels[0], layers, measured["foreseen layers"][i] - last)
            label = "theory of wide layers" if i == len(ACTIVATIONS) - 1 else None
            drawing.foreseen(panels[1], measured["depths"], measured["foreseen changes"][i], label=label)
        panels[0].set(xlabel="layer", ylabel="log10 gradient, over last layer's", title=f"{layers[-1]} layers")
        panels[1].set_ylim(-2, 1.2)
        panels[1].set(
            xlabel="layers of the network", ylabel="log10 gradient, first over last", title="By depth, enlarged"
        )
        plots.legend(figure, panels[1], title="bands: 95 % of the networks")
    return figure


INITIALIZERS = {"std 0.01": None, "std 1": None, "variance 1/(3n)": 1 / 3, "Xavier": 1.0, "He": 2.0}
"""Variance of the weights times the fan-in, where that makes it."""
OTHERS = {"relu": relu, "sigmoid": sigmoid}


def softened(config: Config, setup: Setup) -> dict[str, Any]:
    """The range of gradients over the layers of tanh networks by initializer, and of others with Xavier's."""
    fixed = {"std 0.01": 1e-4 * config.units, "std 1": float(config.units)}
    arms = [(tanh, fixed.get(name, gain)) for name, gain in INITIALIZERS.items()]
    arms += [(phi, 1.0) for phi in OTHERS.values()]
    logs = gradients(setup, arms, config.depths, units=config.units, examples=config.examples)
    ranges = _ranges(logs)
    deepest = dict(zip([*INITIALIZERS, *OTHERS], np.moveaxis(ranges[:, :, -1], 1, 0), strict=True))
    said, astray = foretold(setup, arms, config.depths, units=config.units, examples=config.examples)
    own = _ranges(said[:, :, -1] + astray)
    rows = []
    for i, name in enumerate(deepest):
        words = (
            f"{f'{name} with Xavier' if name in OTHERS else f'tanh, {name}'}: decades over {config.depths[-1]} layers"
        )
        rows.append(foreseen(words, _ranges(said[:, i, -1]), deepest[name], base=10))
        rows.append(foreseen(words, own[:, i], deepest[name], theory=of_width(config.units), base=10))
    return {
        "vanishing": runs(deepest["Xavier"] - deepest["std 0.01"]),
        "exploding": runs(deepest["Xavier"] - deepest["std 1"]),
        **{name: runs(deepest["Xavier" if name == "tanh" else name]) for name in ("tanh", *OTHERS)},
        "depths": np.array(config.depths),
        "ranges": ranges,
        "foreseen": rows,
        "foreseen ranges": _ranges(said).mean(0),
    }


def _ranges(logs: np.ndarray) -> np.ndarray:
    """Largest less smallest over the layers, the last axis."""
    return np.nanmax(logs, -1) - np.nanmin(logs, -1)


def draw_softened(measured: Mapping[str, Any]) -> Any:
    """The range over the layers against depth, by initializer and, with Xavier's, by activation."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 3.0), sharey=True)
        count = len(INITIALIZERS)
        shown = {
            "tanh": list(zip(INITIALIZERS, range(count), strict=True)),
            "Xavier": [("tanh", 3), ("relu", count), ("sigmoid", count + 1)],
        }
        for axes, (title, lines) in zip(panels, shown.items(), strict=True):
            for (name, arm), color in zip(lines, plots.PALETTE, strict=False):
                plots.band(axes, measured["depths"], measured["ranges"][:, arm], color=color)
                axes.plot(measured["depths"], measured["ranges"][:, arm].mean(0), color=color, label=name, linewidth=1)
                label = "theory of wide layers" if (name, arm) == lines[-1] else None
                drawing.foreseen(axes, measured["depths"], measured["foreseen ranges"][arm], label=label)
            axes.set(xlabel="layers", title=title, yscale="symlog")
            axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
            axes.set_ylim(top=2000)  # room above the lines
            axes.legend(loc="upper left", ncols=2, fontsize=7)
        panels[0].set_ylabel("decades, largest gradient over smallest")
    return figure


_QUARTER = 0.25 - 1e-15, 0.25 + 1e-15
_HALF = math.log10(2)
CLAIMS = (
    Claim(
        id="N2",
        statement="The derivative of sigmoid is at most 1/4, so that gradients vanish with depth; that of tanh is "
        "better, and still below 1.",
        measured="Derivatives in float64; norm of the gradient at the first layer's pre-activations over that at the "
        "last's in networks of 2 to 50 layers at their start (digits, weights of variance 1/n), and the slope of its "
        "log10 over depth",
        parts=[
            Number(
                "largest derivative of sigmoid", "largest of sigmoid", 0.25 - 1e-15, 0.25 + 1e-15, because="float64"
            ),
            Number("sigma' less sigma (1 - sigma), largest", "identity", high=1e-15, because="float64"),
            Number("largest derivative of tanh beyond .01 from 0", "largest of tanh", high=1 - 9e-5),
            Number("derivative of tanh at 0", "top of tanh", low=1.0, high=1.0),
            compared("sigmoid: log10 of the gradient for each layer more", "sigmoid", "less", _HALF),
            compared("tanh less sigmoid: the same", "better", "greater", _HALF),
            compared("tanh: the same; a factor 2 in 50 layers", "tanh", "less", _HALF / 50),
        ],
        measure=vanishing,
        draw=draw_vanishing,
        caption="Gradients on their way back through networks at their start, relative to the last layer's. A straight "
        "line down to the left is a gradient that loses the same factor in each layer. On the right the first layer's "
        "gradient in networks of many depths, enlarged: what leaves the panel below goes on as on the left. Dashed, "
        "what theory foresees for wide layers.",
    ),
    Claim(
        id="D3",
        statement="Xavier's weights soften vanishing and exploding gradients without curing them.",
        measured="log10 of the largest over the smallest gradient norm over the layers, networks of 50 layers at their "
        "start on digits, by initializer",
        parts=[
            compared("tanh: Xavier less std .01, decades", "vanishing", "less", 1.0),
            compared("tanh: Xavier less std 1, decades", "exploding", "less", 1.0),
            *(
                compared(f"{name} with Xavier: decades left, more than a factor 2", name, "greater", _HALF)
                for name in ("tanh", *OTHERS)
            ),
        ],
        measure=softened,
        draw=draw_softened,
        caption="How far apart the gradients of the layers of a network are, over its depth. Left, tanh networks by "
        "initializer; right, networks with Xavier's by activation. A cure would stay at 0. Dashed, what theory "
        "foresees for wide layers.",
    ),
)
