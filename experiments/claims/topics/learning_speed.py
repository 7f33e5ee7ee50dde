"""How fast the layers of a network learn where gradients vanish, and what updates do where they explode."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims import begun, drawing
from experiments.claims.arms import compared, few, sets, swept
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.drawing import values
from jnorm import losses
from jnorm.activations import sigmoid, tanh
from jnorm.nn import networks
from jnorm.nn.layers import Layer


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of hidden layers.
        depth: Hidden layers.
        examples: To train on, all in every step.
        steps: Of gradient descent.
        rate: Its learning rate.
    """

    units: int = 32
    depth: int = 8
    examples: int = 200
    steps: int = 50
    rate: float = 0.1


QUICK = Config(units=16, depth=3, examples=60, steps=5)
ARMS = {"vanishing": (True, 1.0), "balanced": (False, 1.0), "exploding": (False, 4.0)}
"""Whether the activation is sigmoid or tanh, and the standard deviation of the weights times the root of the fan-in."""


SHOWN = 16  # examples on which gradients at the start are measured


def perceptron(inputs: int, classes: int, config: Config, sigmoidal: Any, scale: Any) -> networks.Network:
    """A perceptron of sigmoid or tanh, both of which may be traced, and of weights of variance scale^2/n."""
    phi = lambda z: jnp.where(sigmoidal, sigmoid(z), tanh(z))
    kernel = lambda key, shape: scale * shape[0] ** -0.5 * jax.random.normal(key, shape)
    sizes = {"units": config.units, "depth": config.depth}
    return networks.mlp(networks.rectangular(inputs, classes, **sizes), Layer(phi, kernel, input_init=kernel))


def chain(config: Config, setup: Setup) -> float:
    """Gradients by products of w and g', layer by layer, less those of automatic differentiation, relative."""
    with jax.enable_x64(True):
        network = perceptron(64, 10, config, False, 1.5)
        params, state = network.init(jax.random.key(setup.seeds.start))
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params)
        x = jnp.asarray(np.random.default_rng(setup.seeds.start).normal(size=(20, 64)))
        top = lambda params: jnp.sum(jnp.sin(network.apply(params, state, x, train=False)[0]))
        found = jax.grad(top)(params)
        outputs, slopes, y = [x], [], x
        for block in params[:-1]:
            y = tanh(y @ block["kernel"] + block["bias"])
            outputs.append(y)
            slopes.append(1 - y**2)  # g' of tanh
        back, worst = jnp.cos(y @ params[-1]["kernel"] + params[-1]["bias"]), 0.0
        for layer in reversed(range(len(params))):
            apart = jnp.max(jnp.abs(outputs[layer].T @ back - found[layer]["kernel"]))
            worst = max(worst, float(apart / jnp.max(jnp.abs(found[layer]["kernel"]))))
            back = (back @ params[layer]["kernel"].T) * slopes[layer - 1] if layer else back
    return worst


def descend(key: jax.Array, data: Any, *, config: Config, classes: int, sigmoidal: Any, scale: Any) -> dict[str, Any]:
    """Gradient descent on all examples, watched layer by layer (hidden ones, the first one first).

    Size of updates over that of the weights, averaged over the steps; how far weights have moved in the end, likewise;
    and the share of weights whose update has another sign than the one before.
    """
    x, y = data["train"]
    network = perceptron(x.shape[1], classes, config, sigmoidal, scale)
    start, state = network.init(key)
    loss = lambda params: jnp.mean(losses.softmax_cross_entropy(network.apply(params, state, x, train=True)[0], y))
    kernels = lambda params: [block["kernel"] for block in params[:-1]]
    relative = lambda a, b: jnp.stack([jnp.linalg.norm(u) / jnp.linalg.norm(w) for u, w in zip(a, b, strict=True)])

    def step(carried: Any, _: None) -> Any:
        params, before = carried
        updates = jax.tree.map(lambda g: -config.rate * g, jax.grad(loss)(params))
        now = kernels(updates)
        flips = jnp.stack([jnp.mean(u * v < 0) for u, v in zip(now, before, strict=True)])
        return (jax.tree.map(jnp.add, params, updates), now), (relative(now, kernels(params)), flips)

    none = [jnp.zeros_like(w) for w in kernels(start)]
    (end, _), (sizes, flips) = jax.lax.scan(step, (start, none), None, config.steps)
    moved = relative([a - b for a, b in zip(kernels(end), kernels(start), strict=True)], kernels(start))
    size, flips = jnp.mean(sizes, 0), jnp.mean(flips[1:], 0)
    ratios = {"size_ratio": size, "moved_ratio": moved}
    return {
        **{name: jnp.log10(a[0] / a[-1]) for name, a in ratios.items()},
        "first_flips": flips[0],
        "size": size,
        "moved": moved,
        "flips": flips,
        "loss": loss(end),
    }


def learns(config: Config, setup: Setup) -> dict[str, Any]:
    """The product rule, and updates by layer of networks whose gradients vanish, explode, or neither."""
    data = few(sets(setup), config.examples)
    train = partial(descend, config=config, classes=data.classes)
    found = swept(train, setup, "layers", _PARTS, grid=list(map(_arm, ARMS)), shared=data.parts)
    return {"chain": chain(config, setup), "layers": found} | starts(config, setup, data)


def starts(config: Config, setup: Setup, data: Any) -> dict[str, Any]:
    """Gradients by the kernels at the start, first hidden layer first: networks of their own, and what is foreseen."""
    x = data.parts["train"][0][:SHOWN]
    widths = networks.rectangular(x.shape[1], data.classes, units=config.units, depth=config.depth)
    found: dict[str, Any] = {"foreseen": []}
    for name, (sigmoidal, scale) in ARMS.items():
        apply = begun.perceptron(sigmoid if sigmoidal else tanh)
        stds = [scale * n**-0.5 for n in widths[:-2]] + [widths[-2] ** -0.5]
        seen = begun.measured(setup, apply, widths, stds, x).slopes[:, :-1]
        said, more = (one.slopes[:-1] for one in begun.told(apply, widths, stds, x))
        what = f"{name}: log10 of the gradient over the weights at the start, first hidden layer over last"
        change = (a[..., 0] - a[..., -1] for a in (said, more, seen))
        found["foreseen"] += begun.rows(what, *change, config.units)
        found |= {f"start, {name}": seen - seen[:, -1:], f"foreseen, {name}": said - said[-1]}
    return found


def draw(measured: Mapping[str, Any]) -> Any:
    """Size of updates, distance moved and sign flips by layer."""
    from jnorm import plots

    shown = {"size": "update, over weights", "moved": "distance moved, over weights", "flips": "updates that flip (%)"}
    with plots.style():
        figure, panels = plots.figure(2, 2, size=(7.0, 5.2))
        for axes, (metric, title) in zip(panels.flat, shown.items(), strict=False):
            for name, color in zip(ARMS, plots.PALETTE, strict=False):
                by_layer = values(measured["layers"], metric, _arm(name)) * (100 if metric == "flips" else 1)
                layers = np.arange(1, by_layer.shape[1] + 1)
                plots.band(axes, layers, by_layer, color=color)
                axes.plot(layers, by_layer.mean(0), color=color, linewidth=1)
            axes.set(title=title.capitalize(), yscale="linear" if metric == "flips" else "log")
        last = panels[1, 1]
        for name, color in zip(ARMS, plots.PALETTE, strict=False):
            plots.band(last, layers, 10 ** measured[f"start, {name}"], color=color)
            last.plot(layers, 10 ** measured[f"start, {name}"].mean(0), color=color, linewidth=1, label=name)
            label = "theory of wide layers" if name == [*ARMS][-1] else None
            drawing.foreseen(last, layers, 10 ** measured[f"foreseen, {name}"], label=label)
        last.set(title="Gradient at the start, over the last layer's", yscale="log")
        for axes in panels.flat:
            axes.set_xticks(layers)
        for axes in panels[1]:
            axes.set_xlabel("hidden layer")
        plots.legend(figure, last, title="gradients at the start; bands: 95 % of the runs")
    return figure


def _arm(name: str) -> dict[str, Any]:
    return dict(zip(("sigmoidal", "scale"), ARMS[name], strict=True))


def _ratio(arm: str, what: str, metric: str, claim: str) -> Any:
    arms = {"a": _arm(arm), "b": 0.0}
    return compared(f"{arm}: log10 of {what}", "layers", claim, math.log10(2), metric=metric, diverged=0.0, **arms)


_PARTS = (
    Number("gradients by products of w and g' less automatic ones, relative", "chain", high=1e-12, because="float64"),
    _ratio("vanishing", "the size of updates, first hidden layer over last", "size_ratio", "less"),
    _ratio("vanishing", "the distance moved, first hidden layer over last", "moved_ratio", "less"),
    _ratio("exploding", "the size of updates, first hidden layer over last", "size_ratio", "greater"),
    compared(
        "share of updates of the first layer that flip their sign, exploding less balanced",
        "layers",
        "greater",
        0.1,
        metric="first_flips",
        a=_arm("exploding"),
        b=_arm("balanced"),
        diverged=0.5,
    ),
)
CLAIMS = (
    Claim(
        id="D2",
        statement="Each layer on the way back multiplies the gradient by w g'; early layers learn slowest where it "
        "vanishes, and their updates flip signs where it explodes.",
        measured="Gradients by that product against automatic differentiation; descent on all of 200 digits with eight "
        "hidden layers: updates over weights, distance moved and share of updates with another sign than before, by "
        "layer; sigmoid (vanishing), tanh with weights of variance 1/n (balanced) and of 16/n (exploding)",
        parts=_PARTS,
        measure=learns,
        draw=draw,
        caption="Hidden layers from the input to the output, in networks that start with gradients that vanish, "
        "explode, or do neither. Above, how large the steps are, and how far layers get; below, how often a weight "
        "goes back on its last step, and the gradients of networks before the first one, with what theory foresees of "
        "them for wide layers (dashed).",
    ),
)
