"""Small changes on their way through deep networks at their start: of the input, and of an early weight."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, pixels, runs
from experiments.claims.claim import Claim, Setup
from jnorm.activations import SELU_ALPHA, SELU_LAMBDA, relu, selu, tanh


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        width: Units of every layer.
        depth: Layers.
        skipped: Layers at the start, in which lengths settle, that do not count for the growth.
        batch: Digits of a network, which a batch norm sees together.
    """

    width: int = 512
    depth: int = 40
    skipped: int = 8
    batch: int = 64


QUICK = Config(width=64, depth=8, skipped=2, batch=16)
TOLERANCE = 0.02
"""In the growth of a layer: its logarithm is averaged, which at this width takes half a per cent off."""


def normalized(z: jax.Array) -> jax.Array:
    """Batch norm without scale and shift."""
    z = z - jnp.mean(z, 0)
    return z * jax.lax.rsqrt(jnp.mean(z * z, 0))


ARMS: dict[str, tuple[Callable[[jax.Array], jax.Array], float]] = {
    "selu": (selu, 1.0),
    "relu": (relu, 2.0),
    "tanh": (tanh, 1.0),
    "relu, batch norm": (lambda z: relu(normalized(z)), 1.0),
    "tanh, batch norm": (lambda z: tanh(normalized(z)), 1.0),
}
"""Layers, and the variance of their weights times the fan-in."""


def theory(name: str) -> float:
    """The growth of the relative squared size of a small change in one layer, at the fixed point, in closed form.

    It is chi of the layer, and with batch norm ``E[phi'^2] / Var[phi]`` under a standard normal. On the host: rules are
    made of it, and reading these compiles nothing.
    """
    if name == "selu":
        below = math.exp(2) * math.erfc(math.sqrt(2)) / 2  # E[exp(2 z); z < 0]
        return SELU_LAMBDA**2 * (0.5 + SELU_ALPHA**2 * below)
    if name == "tanh, batch norm":
        z, weights = np.polynomial.hermite_e.hermegauss(96)
        value = np.tanh(z)
        return float(weights @ (1 - value**2) ** 2 / (weights @ value**2))
    return {"relu": 1.0, "relu, batch norm": math.pi / (math.pi - 1)}[name]


def changes(config: Config, setup: Setup) -> dict[str, Any]:
    """Relative squared sizes of small changes by layer, and what mean and variance do."""
    images = jnp.asarray(pixels()[:, np.arange(config.width) * 64 // config.width])
    fits = 1 / config.width**0.5

    def one(key: jax.Array) -> dict[str, jax.Array]:
        data, weights, of_input, of_weight = jax.random.split(key, 4)
        x = jax.random.choice(data, images, (config.batch,), replace=False)
        keys = jax.random.split(weights, config.depth)
        away, bent = jax.random.normal(of_input, x.shape), jax.random.normal(of_weight, (config.width,) * 2)

        def run(phi: Any, gain: float, x: jax.Array, first: jax.Array) -> jax.Array:
            def layer(x: jax.Array, given: Any) -> tuple[jax.Array, jax.Array]:
                key, more = given
                y = phi(x @ (gain**0.5 * fits * jax.random.normal(key, (config.width,) * 2) + more))
                return y, y

            more = jnp.zeros((config.depth, *first.shape)).at[0].set(first)
            return jax.lax.scan(layer, x, (keys, more))[1]

        found = {}
        for name, (phi, gain) in ARMS.items():
            at = x, jnp.zeros_like(bent)
            for what, by in (("input", (away, at[1])), ("weight", (jnp.zeros_like(x), bent))):
                y, moved = jax.jvp(partial(run, phi, gain), at, by)
                found[f"{name}: {what}"] = jnp.log(jnp.sum(moved**2, (1, 2)) / jnp.sum(y**2, (1, 2)))
        y = run(selu, 1.0, 0.7 * x + 0.5, jnp.zeros_like(bent))
        moments = jnp.mean(y, 2), jnp.var(y, 2)
        found["moments"] = jnp.mean(jnp.hypot(moments[0], moments[1] - 1), 1)
        return found

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    found = {k: np.asarray(v, float) for k, v in jax.jit(lambda keys: jax.lax.map(one, keys))(keys).items()}
    count = config.depth - 1 - config.skipped
    growth = {k: np.exp((v[:, -1] - v[:, config.skipped]) / count) for k, v in found.items() if k != "moments"}
    return {name: runs(values) for name, values in growth.items()} | {
        "settles": runs(np.log2(found["moments"][:, -1] / found["moments"][:, 0])),
        "apart": runs((found["selu: input"][:, -1] - found["selu: input"][:, 0]) / np.log(2)),
        "lines": {name: found[f"{name}: input"].mean(0) / np.log(10) for name in ARMS},
        "skipped": config.skipped,
        "notes": "Changes are infinitely small: derivatives along a random direction, of all inputs together or of the "
        "first layer's weights. Weights are normal, of variance 1 / fan-in (relu: 2 / fan-in).",
    }


def draw_changes(measured: Mapping[str, Any]) -> Any:
    """The relative squared size of a small change by layer, measured and in theory."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(1, 1, size=(5.2, 3.4))
        for name, color in zip(ARMS, plots.PALETTE, strict=False):
            line = measured["lines"][name] - measured["lines"][name][0]
            layers = np.arange(1, len(line) + 1)
            axes.plot(layers, line, color=color, label=name)
            if name != "tanh":
                begin = measured["skipped"]
                straight = line[begin] + np.log10(theory(name)) * (layers - layers[begin])
                axes.plot(layers[begin:], straight[begin:], "--", color="k", linewidth=0.9)
        axes.plot([], [], "--", color="k", linewidth=0.9, label="theory, a layer's growth")
        axes.set(xlabel="layer", ylabel="log10 of its relative squared size", title="A small change of the input")
        axes.legend(fontsize=7)
    return figure


def _equal(name: str, what: str, tolerance: float = TOLERANCE) -> Any:
    says = f"{name}, {what}: growth a layer, beside theory's"
    return compared(says, f"{name}: {what}", "equal", tolerance, b=theory(name))


CLAIMS = (
    Claim(
        id="N22",
        statement="Small early changes are amplified by later layers, as by a butterfly; self-normalizing layers do "
        "the opposite.",
        measured="Growth a layer of the squared size of a small change, relative to the signal's, of the inputs and of "
        "the first layer's weights, in networks of 40 layers of 512 units on digits; what it is in theory, which is "
        "the slope of the correlation map at one; distance of (mean, variance) of selu's units from (0, 1)",
        parts=[
            _equal("selu", "input"),
            _equal("selu", "weight"),
            _equal("relu", "input"),
            _equal("relu, batch norm", "input", 0.1),  # theory is of infinite batches
            _equal("tanh, batch norm", "input", 0.1),
            compared(
                "relu with batch norm amplifies: growth a layer", "relu, batch norm: input", "greater", 0.1, b=1.0
            ),
            compared("selu does the opposite: growth a layer", "selu: input", "less", 0.0, b=1.0),
            compared("selu: log2 of the distance of mean and variance, last over first", "settles", "less", 1.0),
            compared("selu: log2 of the squared distance of neighbours, last over first", "apart", "greater", 1.0),
        ],
        measure=changes,
        draw=draw_changes,
        caption="The squared size of an infinitely small change of the inputs, relative to the signal's, by layer: the "
        "average over networks, and theory (dashed). Batch norm amplifies it most; selu, whose mean and variance "
        "settle, amplifies it as well, by 7 % a layer.",
    ),
)
