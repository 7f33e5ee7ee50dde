"""What layers of SELU need of their inputs: how many, and of which laws."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, pixels, runs
from experiments.claims.claim import Claim, Setup
from jnorm.activations import selu


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        fans: Fan-ins, from 4 to many; 9 is that of a 3x3 convolution.
        examples: Of each unit's pre-activation at the largest fan-in; up to 16 times as many at smaller ones.
        units: Units with weights of their own, for each seed.
        width: Units of deep layers.
        depth: How many there are.
        images: Examples for each deep network.
    """

    fans: tuple[int, ...] = (4, 9, 64, 512, 4096)
    examples: int = 4096
    units: int = 8
    width: int = 512
    depth: int = 48
    images: int = 8


QUICK = Config(fans=(4, 9, 64), examples=128, units=4, width=64, depth=8, images=2)


def rows(w: jax.Array, mask: jax.Array | float = 1.0) -> jax.Array:
    """Weights ``[unit, input]`` of sum 0 and sum of squares 1 for each unit, zero outside the mask."""
    mask = jnp.broadcast_to(jnp.asarray(mask, w.dtype), w.shape)
    w = mask * (w - jnp.sum(mask * w, 1, keepdims=True) / jnp.maximum(jnp.sum(mask, 1, keepdims=True), 1))
    return w * jax.lax.rsqrt(jnp.maximum(jnp.sum(w**2, 1, keepdims=True), 1e-30))


def from_normal(z: jax.Array) -> jax.Array:
    """Kolmogorov's distance of each column from N(0, 1) over a thousand of its quantiles, ``[unit]``."""
    places = jnp.floor(1000 * jax.scipy.stats.norm.cdf(z)).astype(int)
    below = jnp.cumsum(jax.vmap(partial(jnp.bincount, length=1000), 1, 1)(places), 0) / len(z)
    return jnp.max(jnp.abs(below - jnp.arange(1, 1001)[:, None] / 1000), 0)


def patches() -> np.ndarray:
    """All 3x3 patches of the digits ``[patch, 9]``."""
    images = pixels().reshape(-1, 8, 8)
    return np.lib.stride_tricks.sliding_window_view(images, (3, 3), (1, 2)).reshape(-1, 9)


def narrow(config: Config, setup: Setup) -> dict[str, Any]:
    """Units with fixed weights over many examples: distance from normal, and of SELU's moments from theory.

    ``found`` is ``[seed, fan-in, 2, distance]``: units and as many normal numbers; patches of digits come last.
    """
    most = config.fans[-1]
    counts = [config.examples * min(16, round((most / fan) ** 0.5)) for fan in config.fans]
    small = jnp.asarray(patches())

    def seen(z: jax.Array) -> jax.Array:
        y = selu(z)
        off = jnp.maximum(jnp.abs(jnp.mean(y, 0)), jnp.abs(jnp.var(y, 0) - 1))
        return jnp.stack([jnp.mean(from_normal(z)), jnp.mean(off)])

    def both(key: jax.Array, x: Callable[..., jax.Array], fan: int, count: int, standard: bool = False) -> jax.Array:
        data, weights, chance = jax.random.split(key, 3)
        z = x(data, (count, fan)) @ rows(jax.random.normal(weights, (config.units, fan))).T
        if standard:
            z = (z - jnp.mean(z, 0)) / jnp.std(z, 0)
        return jnp.stack([seen(z), seen(jax.random.normal(chance, z.shape))])

    def one(key: jax.Array) -> jax.Array:
        *keys, last = jax.random.split(key, len(config.fans) + 1)
        outputs = lambda key, shape: selu(jax.random.normal(key, shape))
        found = [both(k, outputs, fan, count) for k, fan, count in zip(keys, config.fans, counts, strict=True)]
        drawn = lambda key, shape: jax.random.choice(key, small, shape[:1])
        return jnp.stack([*found, both(last, drawn, 9, max(counts), standard=True)])

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    found = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), float)
    beyond = found[:, :, 0] - found[:, :, 1]
    nine = config.fans.index(9)
    return {
        "nine": runs(beyond[:, nine, 0]),
        "nine moments": runs(beyond[:, nine, 1]),
        "wide": runs(beyond[:, -2, 0]),
        "wide moments": runs(beyond[:, -2, 1]),
        "patches": runs(beyond[:, -1, 0]),
        "fans": np.array(config.fans),
        "found": found,
    }


def draw_narrow(measured: Mapping[str, Any]) -> Any:
    """Both distances against the fan-in, beyond those of normal numbers."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 2.9))
        names = ("Distance from normal", "Error of SELU's mean or variance")
        for i, (axes, name, effect) in enumerate(zip(panels, names, (0.01, 0.02), strict=True)):  # those of the parts
            beyond = measured["found"][:, :, 0, i] - measured["found"][:, :, 1, i]
            axes.axhline(0, color="0.5", linewidth=0.8)
            axes.axhline(effect, color="0.5", linewidth=0.8, linestyle=":", label="would matter")
            plots.band(axes, measured["fans"], beyond[:, :-1], color=plots.PALETTE[0])
            average = beyond.mean(0)
            axes.plot(measured["fans"], average[:-1], color=plots.PALETTE[0], linewidth=1, label="outputs of SELU")
            axes.plot(9, average[-1], "s", color=plots.PALETTE[1], markersize=5, label="3x3 patches of digits")
            axes.set(xlabel="fan-in", xscale="log", title=name)
            axes.set_xticks(measured["fans"], [str(fan) for fan in measured["fans"]])
            axes.minorticks_off()
        panels[0].set_ylabel("beyond that of as many normal numbers")
        panels[0].legend()
    return figure


def _correlated(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Neighbours correlated by .9."""
    z = jax.random.normal(key, (shape[1], shape[0]))
    step = lambda last, z: (0.9 * last + 0.19**0.5 * z,) * 2
    return jax.lax.scan(step, z[0], z)[1].T


def _pixels(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    images = jnp.asarray(pixels()[:, np.arange(shape[1]) * 64 // shape[1]])
    return jax.random.choice(key, images, shape[:1])


def _scaled(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Every feature in units of its own, over two decades."""
    one, two = jax.random.split(key)
    return jax.random.normal(one, shape) * 10 ** jax.random.uniform(two, shape[1:], minval=-1.0)


INPUTS: dict[str, Callable[..., jax.Array]] = {
    "uniform": lambda key, shape: 3**0.5 * jax.random.uniform(key, shape, minval=-1.0),
    "skewed (exponential)": lambda key, shape: jax.random.exponential(key, shape) - 1,
    "discrete (-1, 1)": jax.random.rademacher,
    "correlated by .9": _correlated,
    "pixels of digits": _pixels,
    "normal, 10 times": lambda key, shape: 10 * jax.random.normal(key, shape),
    "normal, a tenth": lambda key, shape: 0.1 * jax.random.normal(key, shape),
    "features of all scales": _scaled,
}
WEIGHTS: dict[str, Callable[..., jax.Array]] = {
    "normal weights": lambda w, kept: rows(w),
    "uniform weights": lambda w, kept: rows(jax.scipy.special.erf(w / 2**0.5)),
    "signs as weights": lambda w, kept: rows(jnp.sign(w)),
    "sparse weights (1 in 10)": lambda w, kept: rows(w, kept),
}
OTHERS = list(WEIGHTS)[1:]
LARGE = "normal, 10 times"  # the inputs on which other weights are tried


def laws(config: Config, setup: Setup) -> dict[str, Any]:
    """Distance of (mean, variance) over the units from (0, 1) by layer, ``[seed, arm, layer]``."""
    shape = (config.images, config.width)

    def one(key: jax.Array) -> jax.Array:
        data, weights = jax.random.split(key)
        x = [law(k, shape) for k, law in zip(jax.random.split(data, len(INPUTS)), INPUTS.values(), strict=True)]
        normal = jnp.concatenate([jnp.asarray(a, jnp.float32) for a in x])
        others = jnp.stack([x[list(INPUTS).index(LARGE)]] * len(OTHERS))

        def distance(y: jax.Array) -> jax.Array:
            mean, var = (jnp.mean(a.reshape(-1, config.images), 1) for a in (jnp.mean(y, 1), jnp.var(y, 1)))
            return jnp.hypot(mean, var - 1)

        def layer(x: Any, key: jax.Array) -> Any:
            first, second = jax.random.split(key)
            w = jax.random.normal(first, (config.width, config.width))
            kept = jax.random.bernoulli(second, 0.1, w.shape)
            usual, *other = (law(w, kept) for law in WEIGHTS.values())
            y = selu(x[0] @ usual.T), jnp.stack([selu(a @ w.T) for a, w in zip(x[1], other, strict=True)])
            return y, jnp.concatenate([distance(y[0]), distance(y[1].reshape(-1, config.width))])

        start = jnp.concatenate([distance(normal), distance(others.reshape(-1, config.width))])
        _, found = jax.lax.scan(layer, (normal, others), jax.random.split(weights, config.depth))
        return jnp.concatenate([start[None], found]).T

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    found = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), float)
    arms = [*INPUTS, *OTHERS]
    return {name: runs(found[:, i, -1]) for i, name in enumerate(arms)} | {"distance": found}


def draw_laws(measured: Mapping[str, Any]) -> Any:
    """The distance from the fixed point by layer, for laws of inputs and of weights."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 3.4), sharey=True)
        found = measured["distance"].mean(0)
        layers = np.arange(found.shape[1])
        split = len(INPUTS)
        groups = (
            ("Laws of the inputs", list(INPUTS), found[:split]),
            ("Laws of the weights", OTHERS, found[split:]),
        )
        for axes, (title, names, lines) in zip(panels, groups, strict=True):
            for i, (name, line) in enumerate(zip(names, lines, strict=True)):
                width = 3.2 - i if axes is panels[1] else 1.2  # these lie on each other
                color = "0.6" if name == "features of all scales" else plots.PALETTE[i]
                axes.plot(layers, line, color=color, label=name, linewidth=width)
            axes.set(xlabel="layer", yscale="log", title=title)
            axes.legend(fontsize=6.5)
        panels[0].set_ylabel("distance of (mean, variance) from (0, 1)")
    return figure


CLAIMS = (
    Claim(
        id="N9",
        statement="Self-normalization needs wide layers: the fan-in of 9 of a 3x3 convolution is too small.",
        measured="Units with fixed weights (sum 0, sum of squares 1) on independent outputs of SELU: Kolmogorov's "
        "distance of a unit's pre-activation from N(0, 1) over 4096 to 65536 examples, and how far mean or "
        "variance of its SELU are from theory, each less that of as many normal numbers; also on 3x3 patches "
        "of digits, for which pre-activations are standardized",
        parts=[
            compared("fan-in 9: distance from normal, beyond chance", "nine", "greater", 0.01),
            compared("fan-in 9: moments from theory, beyond chance", "nine moments", "greater", 0.02),
            compared("fan-in 4096: distance from normal, beyond chance", "wide", "equal", 0.005),
            compared("fan-in 4096: moments from theory, beyond chance", "wide moments", "equal", 0.01),
            compared("3x3 patches: distance from normal, beyond chance", "patches", "greater", 0.01),
        ],
        measure=narrow,
        draw=draw_narrow,
        caption="How far the pre-activations of units are from normal, and what their SELU's mean or variance is off "
        "by, against the number of inputs: averages of networks, and bands that hold 95 % of them. Both are what "
        "is left beyond the distances of as many normal numbers, and from the dotted lines on it would matter. Patches "
        "of digits are neither normal nor independent.",
    ),
    Claim(
        id="N10",
        statement="Inputs to a layer need be neither normal nor independent: weakly dependent, skewed or badly scaled "
        "ones converge to the fixed point all the same.",
        measured="Distance of (mean, variance) over the units of the last of 48 layers of SELU from (0, 1), of one "
        "example, averaged over examples: laws of the inputs, and laws of the weights (inputs 10 times too "
        "large), rows centred and of unit norm",
        parts=[compared(f"{name}: distance from (0, 1)", name, "less", 0.0, b=0.2) for name in (*INPUTS, *OTHERS)],
        measure=laws,
        draw=draw_laws,
        caption="The distance of mean and variance from the fixed point by layer, averaged over networks. Left, "
        "inputs of many laws under normal weights; right, other laws of the weights, on inputs that are 10 "
        "times too large. Deep layers show how much a network of this width fluctuates.",
    ),
)
