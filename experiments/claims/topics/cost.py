"""What activations cost: their time alone and within a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, runs, timed
from experiments.claims.claim import Claim, Setup
from jnorm.activations import ELEMENTWISE
from jnorm.initializers import he_normal
from jnorm.nn import networks
from jnorm.nn.layers import Layer


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        others: Activations beside relu.
        size: Numbers that an activation alone gets.
        units: Of three hidden layers.
        batch: Examples that the network gets.
        turns: How often each call is timed.
    """

    others: tuple[str, ...] = ("leaky_relu", "sigmoid", "tanh", "elu", "selu", "gelu")
    size: int = 2**18
    units: int = 256
    batch: int = 256
    turns: int = 800


QUICK = Config(others=("elu", "selu"), size=2**12, units=32, batch=16, turns=8)
EXPONENTIALS = ("sigmoid", "tanh", "elu", "selu")
CASES = ("alone", "alone, with gradient", "in a network", "in a network, with gradient")


def calls(config: Config, name: str, device: Any) -> dict[str, Any]:
    """What is timed of an activation on a device, by case."""
    phi = ELEMENTWISE[name]
    x = jax.device_put(jax.random.normal(jax.random.key(0), (config.size,)), device)
    widths = (64, *[config.units] * 3, 10)
    network = networks.mlp(widths, Layer(phi, he_normal()))
    images = jax.device_put(jax.random.normal(jax.random.key(1), (config.batch, 64)), device)
    params, state = jax.device_put(network.init(jax.random.key(2)), device)
    loss = lambda params, x: jnp.sum(network.apply(params, state, x, train=True)[0] ** 2)
    programs = (
        (jax.jit(phi), (x,)),
        (jax.jit(jax.value_and_grad(lambda x: jnp.sum(phi(x)))), (x,)),
        (jax.jit(loss), (params, images)),
        (jax.jit(jax.value_and_grad(loss)), (params, images)),
    )
    return {case: partial(*program) for case, program in zip(CASES, [(f, *a) for f, a in programs], strict=True)}


def dear(config: Config, setup: Setup) -> dict[str, Any]:
    """Times over those of relu, on this machine's default device and on its CPU."""
    default = jax.devices()[0]
    devices = {device.platform: device for device in (jax.devices("cpu")[0], default)}
    found: dict[str, Any] = {}
    for platform, device in devices.items():
        made = {name: calls(config, name, device) for name in ("relu", *config.others)}
        for case in CASES:
            logs = timed({name: made[name][case] for name in made}, config.turns)
            log2 = np.asarray(logs["value"]) / np.log(2)
            found[f"{case}, {platform}"] = log2[1:] - log2[0]
    judged = [i for i, name in enumerate(config.others) if name in EXPONENTIALS]
    here = {case: found[f"{case}, {default.platform}"] for case in CASES}
    where = ", ".join(f"{name} ({device.device_kind})" for name, device in devices.items())
    medians = {case: zip(config.others, 2 ** np.median(log2, 1), strict=True) for case, log2 in here.items()}
    said = (f"{case}: {', '.join(f'{name} {time:.2f}' for name, time in both)}" for case, both in medians.items())
    return {
        **found,
        **{case: runs(log2[judged].mean(0)) for case, log2 in here.items()},
        "names": np.array(config.others),
        "platforms": np.array(list(devices)),
        "notes": f"Timed on {where}, judged on {default.platform}. There, median times over relu's: {'; '.join(said)}.",
    }


def draw(measured: Mapping[str, Any]) -> Any:
    """Times over relu's, by activation and case; a row of panels for each device."""
    from jnorm import plots

    with plots.style():
        platforms = list(measured["platforms"])
        size = (7.0, 0.8 + 2.0 * len(platforms))
        figure, panels = plots.figure(len(platforms), len(CASES), size=size, sharex=True, sharey=True, squeeze=False)
        for platform, row in zip(platforms, panels, strict=True):
            for axes, case in zip(row, CASES, strict=True):
                low, middle, high = np.quantile(2 ** measured[f"{case}, {platform}"], [0.25, 0.5, 0.75], axis=1)
                colors = [plots.PALETTE[1 if name in EXPONENTIALS else 5] for name in measured["names"]]
                axes.barh(measured["names"], middle, color=colors, height=0.6)
                axes.hlines(measured["names"], low, high, color="black", linewidth=1)
                axes.axvline(1, color="0.4", linewidth=0.8)
                axes.set_title(case.capitalize().replace(", ", ",\n"))
            row[0].set_ylabel(f"on {platform}")
        for axes in panels[-1]:
            axes.set_xlabel("time over relu's")
        panels[0, 0].invert_yaxis()
    return figure


def _times(case: str, factor: float) -> Any:
    what = f"{case}: log2 of the time of {', '.join(EXPONENTIALS)} over relu's; more than {factor:g} times"
    return compared(what, case, "greater", float(np.log2(factor)), method="wilcoxon")


CLAIMS = (
    Claim(
        id="N26",
        statement="Exponentials make an activation dear; relu is cheap.",
        measured="Time of one call, forward and forward with gradient: of the activation alone on 2^18 numbers, and of "
        "a network of three hidden layers of 256 units on 256 examples; each turn times all, log2 of the geometric "
        "mean of four over relu's",
        parts=[*(_times(case, 2.0) for case in CASES[:2]), *(_times(case, 1.1) for case in CASES[2:])],
        measure=dear,
        draw=draw,
        caption="How many times relu's time activations take, by themselves and within a small network: medians, with "
        "the quartiles as lines. Orange ones have exponentials. The line at 1 is relu.",
    ),
)
