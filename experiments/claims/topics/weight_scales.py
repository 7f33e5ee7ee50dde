"""What vanishing and exploding gradients hang on: the scale of the weights, or the activation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.claims.arms import compared, runs
from experiments.claims.backward import change, gradients
from experiments.claims.claim import Claim, Setup
from jnorm.activations import elu, relu, selu, sigmoid, tanh


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of every layer.
        examples: Digits for each network.
        depth: Layers.
        gains: Variances of the weights times the fan-in.
    """

    units: int = 128
    examples: int = 8
    depth: int = 20
    gains: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)


QUICK = Config(units=32, examples=4, depth=6, gains=(0.25, 1.0, 4.0))
ACTIVATIONS = {"sigmoid": sigmoid, "tanh": tanh, "relu": relu, "elu": elu, "selu": selu}


def shares(slopes: np.ndarray) -> np.ndarray:
    """Shares of the variance ``[seed, 2]`` of the main effects of activation and gain, ``slopes[seed, phi, gain]``."""
    centred = slopes - slopes.mean((1, 2), keepdims=True)
    total = (centred**2).mean((1, 2))
    return np.stack([(centred.mean(2) ** 2).mean(1) / total, (centred.mean(1) ** 2).mean(1) / total], 1)


def measured(config: Config, setup: Setup) -> dict[str, Any]:
    """How fast gradients shrink on their way back, for every activation and gain."""
    arms = [(phi, gain) for phi in ACTIVATIONS.values() for gain in config.gains]
    logs = gradients(setup, arms, (config.depth,), units=config.units, examples=config.examples)
    slopes = change(logs[:, :, 0], config.depth) / (config.depth - 1)
    slopes = slopes.reshape(-1, len(ACTIVATIONS), len(config.gains))
    every, without = shares(slopes), shares(slopes[:, 1:])
    return {
        "all": runs(every[:, 1] - every[:, 0]),
        "without": runs(without[:, 1] - without[:, 0]),
        "slopes": slopes.mean(0),
        "gains": np.array(config.gains),
        "shares": np.stack([every.mean(0), without.mean(0)]),
        "notes": "Variance shares of (activation, weights): "
        + "; ".join(
            f"{name} {100 * part[0]:.0f} % and {100 * part[1]:.0f} %"
            for name, part in (("all", every.mean(0)), ("without sigmoid", without.mean(0)))
        )
        + "; what is left is their interaction.",
    }


def draw(found: Mapping[str, Any]) -> Any:
    """The slope against the gain, a line an activation."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(1, 1, size=(4.8, 3.3))
        for name, line, color in zip(ACTIVATIONS, found["slopes"], plots.PALETTE, strict=False):
            axes.plot(found["gains"], line, "o-", color=color, label=name)
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set(xlabel="variance of the weights times the fan-in", ylabel="log10 of the gradient, a layer back")
        axes.set(xscale="log", title="Above 0 gradients explode, below they vanish")
        axes.set_xticks(found["gains"], [f"{gain:g}" for gain in found["gains"]])
        axes.minorticks_off()
        axes.legend(fontsize=7)
    return figure


CLAIMS = (
    Claim(
        id="D24",
        statement="That gradients vanish or explode hangs more on the weights than on the activation.",
        measured="Share of the variance of the slope of the log gradient over 20 layers that the scale of the weights "
        "explains, less that of the activation, over a grid of both",
        parts=[
            compared("sigmoid, tanh, relu, elu, selu", "all", "greater", 0.1),
            compared("without sigmoid", "without", "greater", 0.1),
        ],
        measure=measured,
        draw=draw,
        caption="How much the gradient grows on its way back, a layer, against the scale of the weights. Lines that "
        "lie apart are the activation's share, their rise is that of the weights.",
    ),
)
