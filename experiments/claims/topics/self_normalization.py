"""Activations that keep mean and variance: the constants of SELU, and variance over depth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import networks
from experiments.claims.arms import compared, runs
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.foreseen import foreseen
from jnorm.activations import elu, scaled_elu, selu
from jnorm.theory.fixed_points import iterate, selu_constants
from jnorm.theory.moments import Moments, activation_moments, layer_map


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        depth: Layers of networks and theory.
        width: Units of a layer.
        examples: Images for each network.
    """

    depth: int = 64
    width: int = 256
    examples: int = 4


QUICK = Config(depth=16, width=64, examples=2)
# Constants (alpha, lambda) to 30 digits, by an independent program, for fixed points (mean, variance).
ORACLES = {
    (0.0, 1.0): ("1.6732632423543772848170429916717", "1.0507009873554804934193349852946"),
    (0.0, 2.0): ("1.97125575034626893809230918831", "1.06070907610301221942282714087"),
    (-0.1, 1.0): ("2.12124340742316824376169958983", "0.936257736666123532754855620065"),
}


def constants(config: Config, setup: Setup) -> dict[str, Any]:
    """Solved constants against the oracles, and what they do to the moments."""
    apart, left = [], []
    with jax.enable_x64(True):
        for point, (alpha, lam) in ORACLES.items():
            found = selu_constants(*point)
            apart += [abs(float(found.alpha) / float(alpha) - 1), abs(float(found.lam) / float(lam) - 1)]
            moments = activation_moments(partial(scaled_elu, lam=found.lam, alpha=found.alpha), 0.0, point[1])
            left += [abs(float(moments.mean) - point[0]), abs(float(moments.var) - point[1])]
    return {"apart": max(apart), "standard": max(apart[:2]), "left": max(left)}


def variances(config: Config, setup: Setup) -> dict[str, Any]:
    """Variance by layer, in theory and in networks with centred rows of unit norm."""
    from sklearn.datasets import load_digits

    theory, measured = {}, {}
    start = Moments(np.zeros(1), np.ones(1))
    sizes = {"depth": config.depth, "width": config.width, "examples": config.examples}
    for name, phi in (("elu", elu), ("selu", selu)):
        with jax.enable_x64(True):
            rows = iterate(layer_map(phi), Moments(*map(jnp.asarray, start)), config.depth)
            theory[name] = np.asarray(rows.var)[:, 0]
        numbers = {"seeds": len(setup.seeds), "first_seed": setup.seeds.start}
        found = networks.measure(phi, start, load_digits().data, **numbers, **sizes)["fixed"].var
        measured[name] = found[:, :, 0].astype(float)
    log_ratio = {name: runs(np.log(var[:, -1] / var[:, 0])) for name, var in measured.items()}
    ratio = theory["elu"][1:] / theory["elu"][:-1]
    numbers = {"selu stays": float(np.max(np.abs(theory["selu"] - 1))), "elu shrinks": float(np.max(ratio))}
    arrays = {f"{kind}_{name}": a[name] for kind, a in (("theory", theory), ("measured", measured)) for name in a}
    rows = [
        foreseen(f"{name}: variance of layer {layer}, rows of sum 0 and norm 1", theory[name][layer], var[:, layer])
        for name, var in measured.items()
        for layer in (1, config.depth // 8, config.depth // 2, config.depth)
    ]
    return numbers | arrays | log_ratio | {"foreseen": rows}


def draw_variances(measured: Mapping[str, Any]) -> Any:
    """Variance over layers: lines of theory under bands of networks."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.6, 3.0))
        for name, color in (("selu", plots.PALETTE[0]), ("elu", plots.PALETTE[1])):
            layers = np.arange(len(measured[f"theory_{name}"]))
            axes.plot(layers, measured[f"theory_{name}"], color=color)
            plots.band(axes, layers, measured[f"measured_{name}"], color=color, label=name.upper())
        axes.set(
            yscale="log",
            xlabel="layer",
            ylabel="variance of activations",
            title="Variance over depth",
        )
        plots.legend(figure, axes, title="lines: theory; dots and bands: networks, 95 % of the seeds")
    return figure


CLAIMS = (
    Claim(
        id="N5",
        statement="The two constants of SELU follow from two equations: that mean 0 and variance 1 stay as they are.",
        measured="Solutions for three fixed points against 30-digit values, and the moments that they leave",
        parts=[
            Number("relative error of alpha and lambda at (0, 1)", "standard", high=3e-15, because="15 digits"),
            Number("largest relative error, all three", "apart", high=1e-14, because="float64"),
            Number("largest change of mean or variance by a layer", "left", high=1e-14, because="float64"),
        ],
        measure=constants,
    ),
    Claim(
        id="N4",
        statement="ELU shrinks the variance layer by layer, and SELU keeps it.",
        measured="Variance over the units of each layer for one image, averaged over images; rows centred, of unit "
        "norm; theory for the same weights",
        parts=[
            Number("theory of SELU: largest departure from 1", "selu stays", high=1e-12, because="float64"),
            Number("theory of ELU: largest ratio of a layer's variance to the one before", "elu shrinks", high=0.999),
            compared("networks of SELU: log of variance, last layer over input", "selu", "equal", 0.2),
            compared("networks of ELU: log of variance, last layer over input", "elu", "less", math.log(2)),
        ],
        measure=variances,
        draw=draw_variances,
        caption="Variance of the activations over layers that only differ in their activation. Lines are the theory, "
        "dots and bands networks of finite width. An activation that keeps the variance stays at 1.",
    ),
)
