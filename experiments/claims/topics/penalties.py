"""Penalties of weights: what they do to weights and to the function."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, sets, swept
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.training import PARTS, averages, drawn, kernels, norm, scores
from jnorm import activations, initializers, losses, paths
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import loop, transforms


@dataclass(frozen=True)
class Config:
    """Sizes of two-layer tanh networks.

    Attributes:
        units: Of each hidden layer.
        epochs: Passes over the examples with a penalty.
        rate: Learning rate of stochastic gradient descent.
        batch_size: Examples in a step.
        steps: Steps of penalized and of decayed updates, in float64.
        chunk: Runs side by side.
    """

    units: int = 64
    epochs: int = 40
    rate: float = 0.1
    batch_size: int = 30
    steps: int = 100
    chunk: int = 32


QUICK = Config(units=8, epochs=2, steps=5, chunk=1)
FEW = 240  # training examples
STRENGTHS = {"l2": (1e-3, 3e-3, 1e-2, 3e-2), "l1": (1e-3, 3e-3, 1e-2), "proximal": (1e-3, 3e-3, 1e-2)}
L2, L1 = 1e-2, 3e-3


def _shared(setup: Setup) -> dict[str, Any]:
    """Data, the number of classes, and what takes off the best affine fit on all held-out inputs."""
    data = sets(setup)
    x = np.concatenate([data.parts["dev"][0], data.parts["test"][0]]).astype(float)
    ones = np.concatenate([x, np.ones((len(x), 1))], 1)
    residual = np.eye(len(x)) - ones @ np.linalg.pinv(ones)
    return data.parts | {"classes": jnp.zeros(data.classes), "residual": residual.astype(np.float32)}


def penalized(
    key: jax.Array, data: Any, *, config: Config, l2: Any, l1: Any, proximal: Any, biases: Any
) -> dict[str, Any]:
    """A tanh net under penalties of these strengths, with L2 of biases too where ``biases`` is 1."""
    of_biases = lambda path, leaf: not kernels(path, leaf)

    def penalty(params: Any) -> jax.Array:
        squares = losses.l2_penalty(params, where=kernels) + biases * losses.l2_penalty(params, where=of_biases)
        return l2 * squares + l1 * losses.l1_penalty(params, where=kernels)

    step = transforms.proximal_l1(config.rate, proximal)
    optimizer = optax.chain(optax.sgd(config.rate), optax.masked(step, lambda tree: paths.mask(tree, kernels)))
    widths = networks.rectangular(data["train"][0].shape[1], data["classes"].shape[0], units=config.units, depth=2)
    network = networks.mlp(widths, Layer(activations.tanh, initializers.glorot_normal()))
    parts = {part: data[part] for part in ("dev", "test")} | {"train": drawn(key, data["train"], FEW, FEW)}
    report = loop.Report(PARTS, keep_params=True)
    options = {"epochs": config.epochs, "batch_size": config.batch_size, "penalty": penalty, "report": report}
    found = scores(key, parts, network, optimizer, **options)
    params, state = found.pop("params"), found.pop("state")
    inputs = jnp.concatenate([parts["dev"][0], parts["test"][0]])
    outputs = network.apply(params, state, inputs, train=False)[0]
    left, spread = data["residual"] @ outputs, outputs - jnp.mean(outputs, 0, keepdims=True)
    zeros = [p["kernel"] == 0 for p in params]
    return found | {
        "norm": jnp.log(norm(params)),
        "curved": jnp.log(jnp.sum(left**2) / jnp.sum(spread**2)),
        "zeros": sum(jnp.sum(z) for z in zeros) / sum(z.size for z in zeros),
    }


def updates(config: Config, seed: int) -> dict[str, float]:
    """How far decayed weights end from penalized ones, as a share of the way, under SGD and under Adam, in float64."""
    with jax.enable_x64(True):
        layer = Layer(activations.tanh, initializers.glorot_normal())
        network = networks.mlp((64, config.units, 10), layer)
        x = jax.random.normal(jax.random.key(seed), (50, 64))
        y = jax.random.randint(jax.random.key(seed + 1), (50,), 0, 10)
        start, state = jax.tree.map(lambda a: jnp.asarray(a, float), network.init(jax.random.key(seed + 2)))
        loss = lambda p: jnp.mean(losses.softmax_cross_entropy(network.apply(p, state, x, train=True)[0], y))

        def end(direction: Any, *, penalty: bool) -> Any:
            """The parameters in the end, under the penalty or under decay by the same rate."""
            decay = [] if penalty else [optax.add_decayed_weights(L2)]
            optimizer = optax.chain(direction, *decay, optax.scale_by_learning_rate(1e-2))
            cost = (lambda p: loss(p) + L2 * losses.l2_penalty(p)) if penalty else loss

            def step(carry: Any, _: None) -> tuple[Any, None]:
                params, memory = carry
                change, memory = optimizer.update(jax.grad(cost)(params), memory, params)
                return (optax.apply_updates(params, change), memory), None

            return jax.lax.scan(step, (start, optimizer.init(start)), length=config.steps)[0][0]

        def apart(direction: Any) -> jax.Array:
            a, b = (end(direction, penalty=penalty) for penalty in (True, False))
            difference, way = (jax.tree.map(jnp.subtract, a, other) for other in (b, start))
            return optax.tree.norm(difference) / optax.tree.norm(way)

        directions = {"sgd": optax.identity(), "adam": optax.scale_by_adam()}
        found = jax.jit(lambda: {name: apart(direction) for name, direction in directions.items()})()
        return {name: float(share) for name, share in found.items()}


def arm(l2: float = 0.0, l1: float = 0.0, proximal: float = 0.0, biases: float = 0.0) -> dict[str, float]:
    """An arm by its strengths."""
    return {"l2": l2, "l1": l1, "proximal": proximal, "biases": biases}


D15_PARTS = (
    compared(
        f"log of the norm of weights, L2 of {L2} less none",
        "runs",
        "less",
        0.1,
        metric="norm",
        a=arm(L2),
        b=arm(),
        diverged="highest",
    ),
    compared(
        "log of the share of the function that no line fits, L2 less none",
        "runs",
        "less",
        0.2,
        metric="curved",
        a=arm(L2),
        b=arm(),
        diverged="highest",
    ),
    compared(
        f"share of exact zeros, L1 of {L1} by its proximal step less none",
        "runs",
        "greater",
        0.1,
        metric="zeros",
        a=arm(proximal=L1),
        b=arm(),
        diverged=0.0,
    ),
    Number("share of exact zeros, L1 by its gradient, the largest of all runs", "gradient's zeros", high=1e-3),
    compared(
        "test accuracy, L2 of biases too less of kernels alone",
        "runs",
        "equal",
        0.005,
        metric="test_accuracy",
        a=arm(L2, biases=1.0),
        b=arm(L2),
        diverged=0.1,
    ),
    Number("SGD: L2 against weight decay, share of the way", "sgd", high=1e-12, because="float64"),
    Number("Adam: L2 against weight decay, share of the way", "adam", low=0.01, because="a hundredth of the way"),
)


def penalties(config: Config, setup: Setup) -> dict[str, Any]:
    """Runs under each penalty, and updates under decay."""
    grid = [arm(), arm(L2, biases=1.0), *(arm(**{name: s}) for name, some in STRENGTHS.items() for s in some)]
    shared, run = _shared(setup), partial(penalized, config=config)
    runs = swept(run, setup, "runs", D15_PARTS, grid=grid, shared=shared, chunk=config.chunk)
    part = runs.result.select(**arm(l1=L1))
    return {"runs": runs, "gradient's zeros": part["zeros"][part.done].max()} | updates(config, setup.seeds.start)


def draw_penalties(found: Mapping[str, Any]) -> Any:
    """Norm, distance from a line and zeros over the strength."""
    from jnorm import plots

    shown = {
        "norm": ("norm of weights, over that without", ("l2",)),
        "curved": ("nonlinear share, over that without", ("l2",)),
        "zeros": ("share of weights that are 0", ("proximal", "l1")),
    }
    words = {"l2": "L2", "l1": "L1 by its gradient", "proximal": "L1 by its proximal step"}
    with plots.style():
        figure, panels = plots.figure(1, 3, size=(7.0, 2.4))
        for axes, (name, (label, penalties)) in zip(panels, shown.items(), strict=True):
            without = averages(found["runs"], name, [arm()])[0][0]
            for penalty, color in zip(penalties, (0, 3), strict=False):
                mean, half = averages(found["runs"], name, [arm(**{penalty: s}) for s in STRENGTHS[penalty]])
                if name != "zeros":
                    mean, half = np.exp(mean - without), half * np.exp(mean - without)
                style = {"marker": "o", "markersize": 3.5, "color": plots.PALETTE[color], "label": words[penalty]}
                axes.errorbar(STRENGTHS[penalty], mean, half, **style)
            axes.set(xscale="log")
            axes.set_xticks(STRENGTHS[penalties[0]], [f"{x:g}" for x in STRENGTHS[penalties[0]]])
            axes.minorticks_off()
            axes.set(xlabel=f"strength of {penalties[0].upper()[:2] if name != 'zeros' else 'L1'}")
            axes.set(ylabel=label, ylim=(-0.03, 1.03))
        panels[2].legend(frameon=False)
    return figure


CLAIMS = (
    Claim(
        id="D15",
        statement="L2 shrinks weights and flattens a tanh network toward a line; L1 makes zeros; under SGD L2 is "
        "weight decay, under Adam it is not; penalizing biases too changes nothing.",
        measured=f"Tanh networks on {FEW} examples: norm of the weights, share of the outputs' variance that no "
        "affine function of the inputs fits, share of weights that are exactly 0 (by the gradient of L1 and by its "
        "proximal step); the ways of penalized and of decayed weights in float64",
        parts=D15_PARTS,
        measure=penalties,
        draw=draw_penalties,
        caption="What is left of the norm of the weights and of the nonlinear part of the function under L2, and "
        "the share of weights that are exactly 0 under L1, with 95 % intervals. The gradient of L1 moves weights by "
        "steps of one size, its proximal step sets those below that size to 0. Each strength is a training of its own.",
    ),
)
