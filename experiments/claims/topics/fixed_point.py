"""SELU's fixed point: networks come to it, and other points can be chosen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import networks, planes, portrait
from experiments.claims.arms import compared, pixels, runs
from experiments.claims.claim import Claim, Number, Setup
from jnorm.activations import scaled_elu, selu
from jnorm.theory.fixed_points import iterate, selu_constants, stability
from jnorm.theory.moments import Moments, layer_map
from jnorm.theory.portraits import vector_field


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        depth: Layers of networks and theory.
        literal: Layers of networks whose weights have variance 1.
        width: Units of a layer.
        examples: Images for each network.
        resolution: Points along each side of a plane of targets.
    """

    depth: int = 64
    literal: int = 8
    width: int = 256
    examples: int = 8
    resolution: int = 120


QUICK = Config(depth=12, literal=4, width=64, examples=2, resolution=12)
RADIUS = 0.7826478832  # at (0, 1), to ten digits
OTHERS = ((0.0, 2.0), (-0.1, 1.0))
"""Targets other than (0, 1) to which networks are sent."""
LARGE = 3  # the start of variance 3


def literally(config: Config, setup: Setup) -> np.ndarray:
    """log10 of the variance over the units by layer ``[seed, layer]``, weights of mean 0 and variance 1."""
    images = jnp.asarray(pixels())

    def one(key: jax.Array) -> jax.Array:
        data, weights = jax.random.split(key)
        x = jax.random.choice(data, images, (config.examples,))
        x = networks.inputs(x, Moments(*(a[[LARGE]] for a in portrait.STARTS)), config.width)

        def layer(x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = selu(networks.normal_matrix(key, config.width) @ x)
            return x, jnp.mean(jnp.var(x, 0))

        _, found = jax.lax.scan(layer, x, jax.random.split(weights, config.literal))
        return jnp.log10(jnp.append(portrait.STARTS.var[LARGE], found))

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), float)


def measured(config: Config, setup: Setup, phi: Any, starts: Moments, depth: int) -> Moments:
    """Moments of networks with centred rows of unit norm, ``[seed, layer, start]``."""
    sizes = {"depth": depth, "width": config.width, "examples": config.examples}
    numbers = {"seeds": len(setup.seeds), "first_seed": setup.seeds.start}
    found = networks.measure(phi, starts, pixels(), **numbers, **sizes)["fixed"]
    return Moments(*(a.astype(float) for a in found))


def attracts(config: Config, setup: Setup) -> dict[str, Any]:
    """Theory and networks from six starts, and networks with the law taken at its word."""
    with jax.enable_x64(True):
        law = layer_map(selu)

        def work(starts: Moments) -> Any:
            return iterate(law, starts, config.depth), vector_field(law, **portrait.GRID), stability(law, (0.0, 1.0))

        theory, field, there = jax.tree.map(np.asarray, jax.jit(work)(Moments(*map(jnp.asarray, portrait.STARTS))))
    found = measured(config, setup, selu, portrait.STARTS, config.depth)
    distance = np.hypot(found.mean, found.var - 1)
    literal = literally(config, setup)
    return {
        "radius": float(there.spectral_radius),
        "theory": float(np.max(np.hypot(theory.mean[-1], theory.var[-1] - 1))),
        "networks": runs(np.max(distance[:, -1] / distance[:, 0], -1)),
        "literal": runs((literal[:, -1] - literal[:, 0]) / config.literal),
        **{"literal by layer": literal, "dmean": field.dmean, "dvar": field.dvar},
        **{f"theory {name}": a for name, a in theory._asdict().items()},
        **{f"networks {name}": a for name, a in found._asdict().items()},
    }


def draw_attraction(measured: Mapping[str, Any]) -> Any:
    """Networks over the vector field, and the variance by layer under both readings of the law."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 3.4))
        plots.vector_field(panels[0], **portrait.GRID, dmean=measured["dmean"], dvar=measured["dvar"])
        for start, color in zip(range(len(portrait.STARTS.mean)), plots.PALETTE, strict=False):
            path, seen = ([measured[f"{who} {name}"] for name in Moments._fields] for who in ("theory", "networks"))
            plots.trajectory(panels[0], path[0][:, start], path[1][:, start], color=color)
            plots.cloud(panels[0], seen[0][:, 1:, start], seen[1][:, 1:, start], color=color)
        plots.point(panels[0], 0.0, 1.0, "(0, 1)", offset=(-9, 6), align="right")
        panels[0].set_title("Weights of sum of squares 1")
        literal = measured["literal by layer"]
        layers = np.arange(literal.shape[1])
        calm = np.log10(measured["networks var"][:, : len(layers), LARGE])
        for name, a, color in (("variance 1", literal, plots.PALETTE[1]), ("sum of squares 1", calm, plots.PALETTE[0])):
            plots.band(panels[1], layers[: a.shape[1]], a, color=color)
            panels[1].plot(layers[: a.shape[1]], a.mean(0), color=color, linewidth=1, label=f"weights of {name}")
        panels[1].set(xlabel="layer", ylabel="log10 variance", title="Both readings of the law")
        panels[1].legend()
    return figure


def chosen(config: Config, setup: Setup) -> dict[str, Any]:
    """Constants over a plane of targets, and networks that are sent to two of them."""
    mean, var, found, radius = planes.targets(config.resolution)
    exists, close = np.asarray(found.converged), radius < 0.9
    with jax.enable_x64(True):
        target = Moments(*(jnp.asarray(a) for a in np.broadcast_arrays(mean[None], var[:, None])))
        law = layer_map(partial(scaled_elu, lam=jnp.asarray(found.lam), alpha=jnp.asarray(found.alpha)))

        def work(target: Moments) -> Any:
            shift = 0.01 * jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
            moved = [Moments(target.mean + m * target.var**0.5, target.var * (1 + v)) for m, v in shift]
            last = [jax.tree.map(lambda a: a[-1], iterate(law, start, 200)) for start in moved]
            gap = [jnp.maximum(jnp.abs(x.mean - target.mean), jnp.abs(x.var / target.var - 1)) for x in last]
            once = law(target)
            left = jnp.maximum(jnp.abs(once.mean - target.mean), jnp.abs(once.var - target.var) / target.var)
            return left, jnp.max(jnp.stack(gap), 0)

        left, gap = (np.asarray(a) for a in jax.jit(work)(target))
    arms: dict[str, Any] = {}
    for goal in OTHERS:
        lam, alpha = (float(a) for a in selu_constants(*goal)[:2])
        start = Moments(np.array([goal[0] + 0.3]), np.array([0.6 * goal[1]]))
        seen = measured(config, setup, partial(scaled_elu, lam=lam, alpha=alpha), start, config.depth // 2)
        arms[f"mean {goal}"] = runs(seen.mean[:, -1, 0] - goal[0])
        arms[f"var {goal}"] = runs(np.log(seen.var[:, -1, 0] / goal[1]))
    return arms | {
        "left": float(np.max(left[exists])),
        "disagree": float(np.sum(exists != possible(mean, var))),
        "none": float(np.mean(~exists)),
        "return": float(np.max(gap[exists & close])),
        **{"mean": mean, "var": var, "lam": found.lam, "alpha": found.alpha, "radius": radius},
        "notes": f"{np.mean(exists):.1%} of the plane has constants; {np.mean(radius[exists] < 1):.1%} of these points "
        "attract.",
    }


def possible(mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Where constants exist at omega 0, tau 1, in closed form ``[var, mean]``.

    Mean above 0 needs mean^2/(var + mean^2) <= A^2/A2, below 0 less than B^2/B2, with the moments A and A2 of z above
    0, and B and B2 of e^z - 1 below 0, z ~ N(0, var).
    """
    from scipy.stats import norm

    share = mean[None] ** 2 / (var[:, None] + mean[None] ** 2)
    s = np.sqrt(var)[:, None]
    e1, e2 = (np.exp(k**2 * s**2 / 2) * norm.cdf(-k * s) for k in (1, 2))
    below = (e1 - 0.5) ** 2 / (e2 - 2 * e1 + 0.5)
    return np.where(mean[None] > 0, share <= 1 / math.pi, np.where(mean[None] < 0, share < below, True))


def draw_targets(measured: Mapping[str, Any]) -> Any:
    """Constants and spectral radius over the plane."""
    from jnorm import plots

    with plots.style():
        return planes.draw_constants(*(measured[name] for name in ("mean", "var", "lam", "alpha", "radius")))


CLAIMS = (
    Claim(
        id="N6",
        statement="The fixed point attracts: mean and variance near it converge to it, layer by layer.",
        measured="(mean, variance) of one image over the units of a layer, averaged over images, from six starts: "
        "theory and networks whose rows are centred and of unit norm; variance in networks whose weights have mean 0 "
        "and variance 1, as the law is also put",
        parts=[
            Number("spectral radius at (0, 1)", "radius", RADIUS - 1e-10, RADIUS + 1e-10, because="ten digits"),
            Number("theory: largest distance from (0, 1) after 64 layers", "theory", high=1e-5, because=".78^64"),
            compared(
                "networks: distance after 64 layers over that of the start, the largest", "networks", "less", 0.5, b=1.0
            ),
            compared(
                "weights of variance 1: log10 of the variance, for each layer", "literal", "greater", math.log10(2)
            ),
        ],
        measure=attracts,
        draw=draw_attraction,
        caption="Left, rings are starts, lines theory, dots and clouds networks with rows of sum 0 and sum of squares "
        "1. Right, the variance by layer of such networks and of networks with weights of mean 0 and variance 1. Both "
        "have been called weights of mean 0 and variance 1.",
    ),
    Claim(
        id="N8",
        statement="Other fixed points can be chosen, with other constants.",
        measured="Constants of every target (mean, variance) of a plane (omega 0, tau 1), whether they exist against "
        "the closed form, starts 1 % beside targets after 200 layers; networks (rows centred, unit norm) from mean + "
        ".3, variance times .6 after 32 layers",
        parts=[
            Number("largest change of a target by one layer, relative", "left", high=1e-10, because="float64"),
            Number("targets at which existence and the closed form disagree", "disagree", high=0.0),
            Number("share of the plane without constants", "none", low=0.01, because="not every point can be chosen"),
            Number("distance of starts near targets of radius below .9, the largest", "return", high=1e-4),
            *(
                compared(f"networks sent to {goal}: {name} less it", f"{key} {goal}", "equal", 0.1)
                for goal in OTHERS
                for key, name in (("mean", "mean"), ("var", "log of the variance"))
            ),
        ],
        measure=chosen,
        draw=draw_targets,
        caption="The two constants for every fixed point that one may wish for, and whether it attracts. Where nothing "
        "is drawn no constants exist. The usual ones belong to (0, 1).",
    ),
)
