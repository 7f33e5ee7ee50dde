"""What comes of a common sign: inputs of a layer that are all positive, and weights that are."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, few, pixels, runs, sets, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.drawing import dots, values
from experiments.claims.training import scores
from jnorm.activations import identity, relu, selu, sigmoid, tanh
from jnorm.nn import networks
from jnorm.nn.layers import Layer


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of hidden layers before training.
        examples: Images for each network before training.
        features: Inputs of the linear unit that descends.
        depth: Layers of the networks with more weights of one sign.
        trained: Units of the two hidden layers that are trained.
        training: Examples to train on.
        epochs: Passes over them.
    """

    units: int = 256
    examples: int = 16
    features: int = 8
    depth: int = 10
    trained: int = 32
    training: int = 600
    epochs: int = 10


QUICK = Config(units=64, examples=4, features=4, depth=4, trained=8, training=100, epochs=1)
CENTRE = 1 / math.sqrt(2 * math.pi)  # the mean of relu under N(0, 1)
LAYERS = {
    "sigmoid": sigmoid,
    "relu": relu,
    "tanh": tanh,
    "selu": selu,
    "sigmoid - 1/2": lambda z: sigmoid(z) - 0.5,
    "relu - c": lambda z: relu(z) - CENTRE,
}
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
SHIFTS = {False: 0.5, True: CENTRE}  # of sigmoid, of relu


def shares(config: Config, setup: Setup) -> dict[str, np.ndarray]:
    """By activation of the layer below: shares ``[seed, 3]`` of what the gradient of a layer's weights looks like.

    Columns, those of units, in which all entries that are not 0 have one sign, of the columns that have some: for one
    image, and for the mean over all of them; and the share of the units below that are flat.
    """
    images = jnp.asarray(pixels())

    def one(key: jax.Array) -> dict[str, jax.Array]:
        data, first, second, upstream = jax.random.split(key, 4)
        x = jax.random.choice(data, images, (config.examples,))
        below = jax.random.normal(first, (64, config.units)) / 8
        kernel = jax.random.normal(second, (config.units, config.units)) * config.units**-0.5
        up = jax.random.normal(upstream, (config.examples, config.units))

        def same(gradient: jax.Array) -> jax.Array:
            mixed = jnp.any(gradient > 0, 0) & jnp.any(gradient < 0, 0)
            live = jnp.any(gradient != 0, 0)
            return jnp.sum(live & ~mixed) / jnp.sum(live)

        def of(phi: Any) -> jax.Array:
            loss = lambda kernel, x, u: jnp.sum(u * phi(phi(x @ below) @ kernel))
            alone = jax.vmap(jax.grad(loss), (None, 0, 0))(kernel, x, up)
            flat = jnp.mean(jax.vmap(jax.grad(phi))((x @ below).ravel()) == 0)
            return jnp.stack([jnp.mean(jax.vmap(same)(alone)), same(jnp.mean(alone, 0)), flat])

        return {name: of(phi) for name, phi in LAYERS.items()}

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    found = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
    return {name: np.asarray(a, float) for name, a in found.items()}


def descended(config: Config, setup: Setup) -> dict[str, np.ndarray]:
    """Steps of descent on a linear unit's squared error, by the activation that feeds it, until a thousandth is left.

    512 inputs, a start at random, and the best constant rate of the quadratic.
    """
    found: dict[str, list[int]] = {name: [] for name in LAYERS}
    for seed in setup.seeds:
        rng = np.random.default_rng(seed)
        z, start = rng.normal(size=(512, config.features)), rng.normal(size=config.features)
        for name, phi in LAYERS.items():
            x = np.asarray(phi(z), float)
            curvatures, axes = np.linalg.eigh(x.T @ x / len(x))
            factors = np.abs(1 - 2 * curvatures / (curvatures[0] + curvatures[-1]))
            error, steps = np.abs(axes.T @ start), 0
            while np.linalg.norm(error) > 1e-3 * np.linalg.norm(start):
                error, steps = error * factors, steps + 1
            found[name].append(steps)
    return {name: np.array(steps, float) for name, steps in found.items()}


def zigzag(phi: Any, steps: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """The curvature ``[2, 2]`` of a linear unit with two such inputs, and a path of descent at the best rate."""
    x = np.asarray(phi(np.random.default_rng(0).normal(size=(10_000, 2))), float)
    square = x.T @ x / len(x)
    ends = np.linalg.eigvalsh(square)
    path = [np.array([1.0, -0.6])]
    for _ in range(steps):
        path.append(path[-1] - 2 / ends.sum() * square @ path[-1])
    return square, np.array(path)


def train(key: jax.Array, data: Any, *, config: Config, classes: int, relu: Any, shift: Any, rate: Any) -> dict:
    """Two hidden layers of sigmoid or relu, less a shift."""
    phi = lambda z: jnp.where(relu, jnp.maximum(z, 0), sigmoid(z)) - shift
    gain = lambda key, shape: jnp.sqrt(jnp.where(relu, 2.0, 1.0) / shape[0]) * jax.random.normal(key, shape)
    inputs = data["train"][0].shape[1]
    network = networks.mlp((inputs, config.trained, config.trained, classes), Layer(phi, gain))
    return scores(key, data, network, optax.sgd(rate), epochs=config.epochs, batch_size=32)


def one_sign(config: Config, setup: Setup) -> dict[str, Any]:
    """Signs of gradients, steps of descent, and the cost in training."""
    signs, steps = shares(config, setup), descended(config, setup)
    data = few(sets(setup), config.training)
    run = partial(train, config=config, classes=data.classes)
    arms = [{"relu": kind, "shift": shift} for kind, centre in SHIFTS.items() for shift in (0.0, centre)]
    names = ["sigmoid", "sigmoid - 1/2", "relu", "relu - c"]
    chosen = tuned(run, setup, "signs", arms, {"rate": RATES}, shared=data.parts, names=names)
    cost = swept(run, setup, "signs", _SIGNS, grid=chosen.arms, shared=data.parts)
    mixed = max(signs[name][:, 0].mean() for name in LAYERS if name not in ("sigmoid", "relu"))
    return {
        "same": float(min(signs[name][:, 0].min() for name in ("sigmoid", "relu"))),
        "mixed": float(mixed),
        "flat": runs(signs["relu - c"][:, 2]),
        "sigmoid steps": runs(np.log2(steps["sigmoid"] / steps["sigmoid - 1/2"])),
        "relu steps": runs(np.log2(steps["relu"] / steps["relu - c"])),
        "signs": cost,
        "arms": dict(zip(names, arms, strict=True)),
        "shares": {name: a.mean(0) for name, a in signs.items()},
        "steps": {name: float(np.median(a)) for name, a in steps.items()},
        "notes": chosen.budget
        + " Columns of one sign in the gradient of a batch: "
        + ", ".join(f"{name} {a[:, 1].mean():.0%}" for name, a in signs.items())
        + ". Steps of descent, median: "
        + ", ".join(f"{name} {np.median(a):.0f}" for name, a in steps.items())
        + ".",
    }


def draw_signs(measured: Mapping[str, Any]) -> Any:
    """Descent with positive and with centred inputs, and accuracy with both."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 3, size=(7.0, 2.7), width_ratios=(1, 1, 1.1))
        for axes, name in zip(panels, ("sigmoid", "sigmoid - 1/2"), strict=False):
            square, path = zigzag(LAYERS[name])
            x, y = np.meshgrid(np.linspace(-0.8, 1.2, 81), np.linspace(-1.3, 1.0, 93))
            loss = square[0, 0] * x**2 + 2 * square[0, 1] * x * y + square[1, 1] * y**2
            axes.contour(x, y, np.sqrt(loss), 14, colors="0.8", linewidths=0.8)
            axes.plot(*path.T, "o-", color=plots.PALETTE[0], markersize=3, linewidth=1)
            axes.plot(0, 0, "*", color=plots.PALETTE[1], markersize=9, markeredgewidth=0)
            axes.set(xlabel="weight 1, from its best", title=f"Fed by {name}", aspect="equal")
        panels[0].set_ylabel("weight 2, from its best")
        found = {name: 100 * values(measured["signs"], "test_accuracy", arm) for name, arm in measured["arms"].items()}
        dots(panels[2], found)
        panels[2].set(xlabel="test accuracy (%)", title="Trained")
    return figure


POSITIVE = (0.0, 0.25, 0.4, 0.45, 0.5, 0.55, 0.6, 0.75, 1.0)
DRIFTING = {"tanh": tanh, "selu": selu, "linear": identity}


def drift(config: Config, setup: Setup) -> dict[str, Any]:
    """The common part of a network's outputs against the share of positive weights.

    Weights have the size of N(0, 1/n) and are positive with a probability. For each image, the mean of the last layer's
    linear outputs over its units, in size, over their root mean square: from 0 to 1.
    """
    images = jnp.asarray(pixels()[:, np.arange(config.units) * 64 // config.units])

    def one(key: jax.Array) -> jax.Array:
        data, weights = jax.random.split(key)
        x = jax.random.choice(data, images, (config.examples,))

        def of(phi: Any, share: jax.Array) -> jax.Array:
            def layer(carried: Any, key: jax.Array) -> tuple[Any, None]:
                size, sign = jax.random.split(key)
                shape = (config.units, config.units)
                positive = jax.random.bernoulli(sign, share, shape)
                kernel = jnp.abs(jax.random.normal(size, shape)) * jnp.where(positive, 1.0, -1.0)
                z = carried[0] @ kernel * config.units**-0.5
                return (phi(z), z), None

            (_, z), _ = jax.lax.scan(layer, (x, x), jax.random.split(weights, config.depth))
            z = z / jnp.max(jnp.abs(z))  # its square might overflow
            return jnp.mean(jnp.abs(jnp.mean(z, 1)) / jnp.sqrt(jnp.mean(z**2, 1)))

        return jnp.stack([jax.lax.map(partial(of, phi), jnp.array(POSITIVE)) for phi in DRIFTING.values()])

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    found = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), float)
    arms = {}
    for i, name in enumerate(DRIFTING):
        balanced = found[:, i, POSITIVE.index(0.5)]
        arms[name] = runs(balanced)
        arms[f"{name}, most"] = runs(found[:, i, POSITIVE.index(0.75)] - balanced)
        arms[f"{name}, few"] = runs(found[:, i, POSITIVE.index(0.25)] - balanced)
    return arms | {"drift": found}


def draw_drift(measured: Mapping[str, Any]) -> Any:
    """The common part against the share of positive weights."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.2, 3.0))
        for i, (name, color) in enumerate(zip(DRIFTING, plots.PALETTE, strict=False)):
            average = measured["drift"][:, i].mean(0)
            axes.plot(POSITIVE, average, ("-", "--", ":")[i], color=color, linewidth=(3, 2, 1.5)[i], label=name)
            plots.band(axes, POSITIVE, measured["drift"][:, i], color=color)
        axes.set(xlabel="share of positive weights", ylabel="mean of the outputs, over their rms", ylim=(0, 1.05))
        axes.set_title("Outputs of ten layers by the signs of their weights")
        axes.legend()
    return figure


def _cost(name: str, kind: bool) -> Any:
    arms = {"a": {"relu": kind, "shift": 0.0}, "b": {"relu": kind, "shift": SHIFTS[kind]}, "own": ("rate",)}
    what = f"test accuracy, {name} less {name} shifted: hardly any cost"
    return compared(what, "signs", "equal", 0.01, metric="test_accuracy", diverged=0.1, **arms)


_SIGNS = (
    Number("share of a unit's gradients with one sign, one image, below sigmoid or relu", "same", 1.0, 1.0),
    Number("the same below tanh, selu, sigmoid - 1/2, relu - c: the largest", "mixed", high=0.01),
    compared("share of flat units of relu - c", "flat", "greater", 0.25),
    compared("log2 of the steps of descent, fed by sigmoid over sigmoid - 1/2", "sigmoid steps", "greater", 1.0),
    compared("the same, relu over relu - c", "relu steps", "greater", 1.0),
    _cost("sigmoid", False),
    _cost("relu", True),
)
CLAIMS = (
    Claim(
        id="N3",
        statement="Inputs that are all positive give the gradients of a unit's weights one sign, and its steps zigzag; "
        "that is not very serious.",
        measured="Columns of one sign in the gradient of a layer's weights, by the activation below (digits, at the "
        "start); steps of descent on a linear unit with 8 inputs at the best rate; relu(z) - c, c its mean, and "
        "sigmoid(z) - 1/2, which cure the signs; test accuracy of trained networks with and without the shift, each "
        "with its own learning rate",
        parts=_SIGNS,
        measure=one_sign,
        draw=draw_signs,
        caption="Left and middle, a unit with two inputs descends from the same start at its best rate to the best "
        "weights (star). Positive inputs tilt and stretch the bowl. Right, the test accuracy of networks with and "
        "without a shift that centres their activations, a dot a run.",
    ),
    Claim(
        id="I8",
        statement="Weights should balance positive and negative ones, or else the outputs drift.",
        measured="Mean of the last layer's linear outputs over the units, in size, over their root mean square, "
        "averaged over digits: ten layers at their start, whose weights are positive with a probability of 1/2, 3/4, "
        "or 1/4",
        parts=[
            part
            for name in DRIFTING
            for part in (
                compared(f"{name}, balanced", name, "equal", 0.2),
                compared(f"{name}, 3/4 positive less balanced", f"{name}, most", "greater", 0.2),
                compared(f"{name}, 1/4 positive less balanced", f"{name}, few", "greater", 0.2),
            )
        ],
        measure=drift,
        draw=draw_drift,
        caption="How much of the outputs is one number common to all units, after ten layers, against the share of "
        "positive weights: 0 for outputs that scatter about 0, 1 where all are the same. Lines are averages over the "
        "networks, bands hold 95 % of them. Where lines cover each other the activation makes no difference.",
    ),
)
