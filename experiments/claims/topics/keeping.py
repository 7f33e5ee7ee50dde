"""Layers that keep mean and variance, and what they do to gradients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np

from experiments.claims.arms import compared, runs
from experiments.claims.backward import change, foretold, gradients
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.foreseen import Foreseen, foreseen, inverse, of_width
from jnorm.activations import ELEMENTWISE
from jnorm.theory.moments import activation_moments, gradient_factor


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of every layer; the inputs are digits, their pixels repeated to as many.
        examples: Digits for each network.
        depth: Layers of the deepest networks.
        activations: Whose factors are computed.
    """

    units: int = 128
    examples: int = 16
    depth: int = 100
    activations: tuple[str, ...] = tuple(ELEMENTWISE)


QUICK = Config(units=64, examples=4, depth=33, activations=("identity", "selu", "tanh", "relu"))
PAPER_DEPTH = 32  # the deepest networks of the SELU paper
SELU_FACTOR = 1.07157499245579925757465635


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
    factors = {name: kept(name)[2] for name in config.activations}
    curved = {name: factor for name, factor in factors.items() if name != "identity"}

    def keeper(name: str) -> Any:
        mean, sd, _ = kept(name)
        return lambda z: (ELEMENTWISE[name](z) - mean) / sd

    arms = [(keeper(name), 1.0) for name in KEEPERS]
    sizes = {"units": config.units, "examples": config.examples}
    logs = gradients(setup, arms, [PAPER_DEPTH, config.depth], **sizes)
    rates = 2 * math.log(10) * change(logs[:, :, 1], config.depth) / (config.depth - 1)
    found = {f"rate of {name}": runs(rates[:, i] - math.log(factors[name])) for i, name in enumerate(KEEPERS)}
    return found | {
        "foreseen": _foreseen(config, rates, *foretold(setup, arms, [config.depth], **sizes)),
        "selu": factors["selu"],
        "depth": 1 / math.log(factors["selu"]),
        "identity": factors["identity"],
        "least": min(factors.values()),
        "least curved": min(curved.values()),
        "paper": runs(change(logs[:, 0, 0], PAPER_DEPTH)),
        "deep": runs(change(logs[:, 0, 1], config.depth)),
        "layers": logs[:, :, 1],
        "names": np.array(list(curved)),
        "depths": 1 / np.log(list(curved.values())),
        "notes": "Layers in which the squared gradient grows e-fold: "
        + ", ".join(f"{name} {1 / math.log(f):.3g}" for name, f in sorted(curved.items(), key=lambda pair: pair[1]))
        + ".",
    }


def _foreseen(config: Config, rates: np.ndarray, said: np.ndarray, astray: np.ndarray) -> list[Foreseen]:
    """The logarithm of the factor for each layer, of layers that keep N(0, 1) and of these networks."""
    rows, layers = [], config.depth - 1
    for i, name in enumerate(KEEPERS):
        what = f"{name}: log of the squared gradient's factor per layer"
        limit, more = (2 * math.log(10) * change(a, config.depth) / layers for a in (said[:, i, 0], astray[i]))
        rows.append(foreseen(what, math.log(kept(name)[2]), rates[:, i], base=math.e))
        rows.append(foreseen(what, limit + more, rates[:, i], theory=of_width(config.units), base=math.e))
    efold = inverse(rows[0], "selu: layers in which the squared gradient grows e-fold")
    return [*rows, efold]


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
        panels[1].set(xlabel="layers until e times as large", title="All activations")
    return figure


CLAIMS = (
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
        caption="Squared gradients on their way back through layers that all keep mean 0 and variance 1, in theory "
        "(lines) and in networks (dots, bands with 95 % of them). By theory they grow with any activation but a "
        "straight line. On the right, after how many layers they have grown e-fold in theory.",
    ),
)
