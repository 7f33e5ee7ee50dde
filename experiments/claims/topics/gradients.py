"""Gradients through many layers before any training: how fast they vanish or explode, by activation and weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, pixels, runs
from experiments.claims.claim import Claim, Number, Setup
from jnorm.activations import ELEMENTWISE, relu, selu, sigmoid, tanh
from jnorm.initializers import orthogonal
from jnorm.theory.moments import activation_moments, gradient_factor


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of every layer; the inputs are digits, their pixels repeated to as many.
        examples: Digits for each network.
        depths: Layers of the networks.
        deep: Layers of the networks of layers that keep mean and variance.
        points: Numbers at which derivatives are compared.
    """

    units: int = 128
    examples: int = 16
    depths: tuple[int, ...] = (2, 5, 10, 20, 35, 50)
    deep: int = 100
    points: int = 100_001


QUICK = Config(units=64, examples=4, depths=(2, 6), deep=33, points=1001)
PAPER_DEPTH = 32  # the deepest networks of the SELU paper
SELU_FACTOR = 1.07157499245579925757465635

Law = Callable[[jax.Array, tuple[int, int]], jax.Array]
"""Weights ``law(key, shape)``."""


def normal(gain: float) -> Law:
    """Independent weights of variance gain/n."""
    return lambda key, shape: (gain / shape[0]) ** 0.5 * jax.random.normal(key, shape, jnp.float32)


def gradients(
    setup: Setup, arms: Sequence[tuple[Any, Law]], depths: Sequence[int], *, units: int, examples: int
) -> np.ndarray:
    """log10 of the norms of the gradients with respect to each layer's pre-activations, in float64.

    ``[seed, arm, network, layer]`` for networks of these depths, NaN behind their last layer: arms are activations with
    laws of their weights, and share images and keys. The gradient at the last layer's outputs is drawn from N(0, 1).
    """
    images = jnp.asarray(pixels()[:, np.arange(units) * 64 // units])

    def one(key: jax.Array) -> jax.Array:
        data, weights, upstream = jax.random.split(key, 3)
        x = jax.random.choice(data, images, (examples,)).astype(jnp.float64)
        top = jax.random.normal(upstream, x.shape, jnp.float64)
        keys = jax.random.split(weights, max(depths))

        def of_arm(phi: Any, law: Law) -> jax.Array:
            def forward(shifts: jax.Array) -> jax.Array:
                def layer(y: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
                    y = phi(y @ law(part[0], (units, units)).astype(y.dtype) + part[1])
                    return y, y

                return jax.lax.scan(layer, x, (keys, shifts))[1]

            _, back = jax.vjp(forward, jnp.zeros((max(depths), *x.shape)))

            def to(last: jax.Array) -> jax.Array:
                (found,) = back(jnp.zeros((max(depths), *x.shape)).at[last - 1].set(top))
                return jnp.sqrt(jnp.sum(found**2, (1, 2)))

            return jax.lax.map(to, jnp.asarray(depths))

        return jnp.stack([of_arm(*arm) for arm in arms])

    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
        norms = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys))
    inside = np.arange(max(depths)) < np.array(depths)[:, None]
    return np.log10(np.where(inside, norms, np.nan))


def change(logs: np.ndarray, depth: int) -> np.ndarray:
    """First layer less last, of networks with this depth, ``logs[..., layer]``."""
    return logs[..., 0] - logs[..., depth - 1]


def slope(changes: np.ndarray, depths: Sequence[int]) -> np.ndarray:
    """Least squares over the networks, ``changes[seed, network]``: log10 for each layer that a network is deeper."""
    centred = np.array(depths, float) - np.mean(depths)
    return changes @ centred / (centred @ centred)


ACTIVATIONS = {"sigmoid": (sigmoid, 1.0), "tanh": (tanh, 1.0), "relu": (relu, 2.0), "selu": (selu, 1.0)}


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
    arms = [(phi, normal(gain)) for phi, gain in ACTIVATIONS.values()]
    logs = gradients(setup, arms, config.depths, units=config.units, examples=config.examples)
    changes = np.stack([change(logs[:, :, i], depth) for i, depth in enumerate(config.depths)], -1)
    slopes = dict(zip(ACTIVATIONS, (slope(changes[:, i], config.depths) for i in range(len(arms))), strict=True))
    return found | {
        "sigmoid": runs(slopes["sigmoid"]),
        "tanh": runs(slopes["tanh"]),
        "better": runs(slopes["tanh"] - slopes["sigmoid"]),
        "depths": np.array(config.depths),
        "changes": changes,
        "layers": logs[:, :, -1],
    }


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
        panels[0].set(xlabel="layer", ylabel="log10 gradient, over last layer's", title=f"{layers[-1]} layers")
        panels[1].set(xlabel="layers of the network", ylabel="log10 gradient, first over last", title="By depth")
        plots.legend(figure, panels[1], title="bands: 95 % of the networks")
    return figure


@cache
def kept(name: str) -> tuple[float, float, float]:
    """Mean and standard deviation of an activation under N(0, 1), and the squared gradient's factor per layer.

    The layer that keeps mean 0 and variance 1 is f(z) = (phi(z) - mean)/sd with weights of variance 1/n. Its factor
    E[f'(z)^2] is E[phi'(z)^2]/Var phi(z).
    """
    with jax.enable_x64(True):
        phi = ELEMENTWISE[name]
        mean, var = (float(part) for part in activation_moments(phi, 0.0, 1.0))
        return mean, math.sqrt(var), float(gradient_factor(phi, 0.0, 1.0)) / var


KEEPERS = ("selu", "tanh", "relu")


def keeping(config: Config, setup: Setup) -> dict[str, Any]:
    """Layers that keep mean and variance: their backward factor in theory, by activation, and in networks."""
    factors = {name: kept(name)[2] for name in ELEMENTWISE}
    curved = {name: factor for name, factor in factors.items() if name != "identity"}

    def keeper(name: str) -> Any:
        mean, sd, _ = kept(name)
        return lambda z: (ELEMENTWISE[name](z) - mean) / sd

    arms = [(keeper(name), normal(1.0)) for name in KEEPERS]
    sizes = {"units": config.units, "examples": config.examples}
    logs = gradients(setup, arms, [PAPER_DEPTH, config.deep], **sizes)
    rates = 2 * math.log(10) * change(logs[:, :, 1], config.deep) / (config.deep - 1)
    found = {f"rate of {name}": runs(rates[:, i] - math.log(factors[name])) for i, name in enumerate(KEEPERS)}
    return found | {
        "selu": factors["selu"],
        "depth": 1 / math.log(factors["selu"]),
        "identity": factors["identity"],
        "least": min(factors.values()),
        "least curved": min(curved.values()),
        "paper": runs(change(logs[:, 0, 0], PAPER_DEPTH)),
        "deep": runs(change(logs[:, 0, 1], config.deep)),
        "layers": logs[:, :, 1],
        "names": np.array(list(curved)),
        "depths": 1 / np.log(list(curved.values())),
        "notes": "Layers in which the squared gradient grows e-fold: "
        + ", ".join(f"{name} {1 / math.log(f):.3g}" for name, f in sorted(curved.items(), key=lambda pair: pair[1]))
        + ".",
    }


def draw_keeping(measured: Mapping[str, Any]) -> Any:
    """Squared gradients by layer over theory, and the depth in which they grow e-fold for every activation."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 3.4), width_ratios=(1.2, 1))
        layers = np.arange(1, measured["layers"].shape[-1] + 1)
        for i, (name, color) in enumerate(zip(KEEPERS, plots.PALETTE, strict=False)):
            back = layers[-1] - layers
            panels[0].plot(back, back * math.log10(kept(name)[2]), color=color, linewidth=1, label=name)
            by_layer = 2 * (measured["layers"][:, i] - measured["layers"][:, i, -1:])
            plots.band(panels[0], back, by_layer, color=color)
        panels[0].set(xlabel="layers back", ylabel="log10 of the squared gradient", title="Mean and variance kept")
        panels[0].legend(title="lines: theory; dots, bands: networks")
        order = np.argsort(measured["depths"])
        names = measured["names"][order]
        colors = [plots.PALETTE[0] if name == "selu" else plots.PALETTE[5] for name in names]
        panels[1].barh(names, measured["depths"][order], color=colors, height=0.6)
        for row, depth in enumerate(measured["depths"][order]):
            panels[1].annotate(f"{depth:.3g}", (depth, row), (3, 0), textcoords="offset points", va="center")
        panels[1].margins(x=0.2)
        panels[1].set(xlabel="layers for a factor e", xscale="log", title="Before the squared gradient grows e-fold")
    return figure


INITIALIZERS: dict[str, Law] = {
    "std 0.01": lambda key, shape: 0.01 * jax.random.normal(key, shape, jnp.float32),
    "std 1": lambda key, shape: jax.random.normal(key, shape, jnp.float32),
    "Xavier": normal(1.0),
    "He": normal(2.0),
    "orthogonal": lambda key, shape: orthogonal()(key, shape, jnp.float32),
}
OTHERS = {"relu": relu, "sigmoid": sigmoid}


def softened(config: Config, setup: Setup) -> dict[str, Any]:
    """The range of gradients over the layers of tanh networks by initializer, and of others with Xavier's."""
    arms = [(tanh, law) for law in INITIALIZERS.values()] + [(phi, normal(1.0)) for phi in OTHERS.values()]
    logs = gradients(setup, arms, config.depths, units=config.units, examples=config.examples)
    ranges = np.nanmax(logs, -1) - np.nanmin(logs, -1)
    deepest = dict(zip([*INITIALIZERS, *OTHERS], np.moveaxis(ranges[:, :, -1], 1, 0), strict=True))
    return {
        "vanishing": runs(deepest["Xavier"] - deepest["std 0.01"]),
        "exploding": runs(deepest["Xavier"] - deepest["std 1"]),
        **{name: runs(deepest["Xavier" if name == "tanh" else name]) for name in ("tanh", *OTHERS)},
        "depths": np.array(config.depths),
        "ranges": ranges,
    }


def draw_softened(measured: Mapping[str, Any]) -> Any:
    """The range over the layers against depth, by initializer and, with Xavier's, by activation."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 3.0), sharey=True)
        count = len(INITIALIZERS)
        shown = {
            "tanh": list(zip(INITIALIZERS, range(count), strict=True)),
            "Xavier": [("tanh", 2), ("relu", count), ("sigmoid", count + 1)],
        }
        for axes, (title, lines) in zip(panels, shown.items(), strict=True):
            for (name, arm), color in zip(lines, plots.PALETTE, strict=False):
                plots.band(axes, measured["depths"], measured["ranges"][:, arm], color=color)
                axes.plot(measured["depths"], measured["ranges"][:, arm].mean(0), color=color, label=name, linewidth=1)
            axes.set(xlabel="layers", title=title, yscale="symlog")
            axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
            axes.legend()
        panels[0].set_ylabel("decades, largest gradient over smallest")
    return figure


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
            Number("largest derivative of sigmoid", "largest of sigmoid", 0.25 - 1e-15, 0.25 + 1e-15, because="float64"),
            Number("sigma' less sigma (1 - sigma), largest", "identity", high=1e-16, because="float64"),
            Number("largest derivative of tanh beyond .01 from 0", "largest of tanh", high=1 - 9e-5),
            Number("derivative of tanh at 0", "top of tanh", low=1.0, high=1.0),
            compared("sigmoid: log10 of the gradient for each layer more", "sigmoid", "less", _HALF),
            compared("tanh less sigmoid: the same", "better", "greater", _HALF),
            compared("tanh: the same; a factor 2 in 50 layers", "tanh", "less", _HALF / 50),
        ],
        measure=vanishing,
        draw=draw_vanishing,
        caption="Gradients on their way back through networks at their start, relative to the last layer's. A straight "
        "line down to the left is a gradient that loses the same factor in each layer. On the right the same for "
        "networks of many depths.",
    ),
    Claim(
        id="N18",
        statement="A layer that keeps mean and variance neither vanishes nor explodes gradients.",
        measured="Factor of the squared gradient per layer of (phi - mean)/sd: E[phi'^2]/Var phi >= 1 (Gaussian-"
        "Poincare), 1 for straight lines alone; networks of such layers on digits; within a factor of 10 over "
        "32 layers, the depth of the SELU paper, and over 100",
        parts=[
            Number("SELU: factor", "selu", SELU_FACTOR - 1e-14, SELU_FACTOR + 1e-14, because="30 digits"),
            Number("SELU: layers in which the squared gradient grows e-fold", "depth", low=14.4, high=14.5),
            Number("least factor of all activations", "least", low=1 - 1e-13, because="Gaussian-Poincare"),
            Number("factor of a straight line", "identity", low=1 - 1e-13, high=1 + 1e-13),
            Number("least factor of those that are curved", "least curved", low=1.0 + 1e-6, because="never exact"),
            *(
                compared(f"networks of {name}: log of the factor, less theory's", f"rate of {name}", "equal", 0.03)
                for name in KEEPERS
            ),
            compared("SELU, 32 layers: log10 of the gradient, first layer over last", "paper", "equal", 1.0),
            compared("SELU, 100 layers: the same", "deep", "equal", 1.0),
        ],
        measure=keeping,
        draw=draw_keeping,
        caption="Layers that all keep mean 0 and variance 1 differ in what they do to gradients, and the networks "
        "follow theory. The squared gradient grows in all of them, for only a straight line keeps it. On the right, "
        "after how many layers it has grown e-fold.",
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
        "initializer; right, networks with Xavier's by activation. A cure would stay at 0.",
    ),
)
