"""Batch norm as algebra: what it is in training and in evaluation, its derivatives, and how it folds away."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, timed
from experiments.claims.claim import Claim, Number, Setup
from jnorm.nn import batch_norm
from jnorm.statistics import Runs


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: In a batch.
        features: Of the batch.
        timed: Examples in a batch whose evaluation is timed.
    """

    examples: int = 64
    features: int = 8
    timed: int = 4096


QUICK = Config(examples=16, features=4, timed=512)
ROUNDING = "float64 over a batch"


def _drawn(config: Config, setup: Setup) -> tuple[Any, Any, jax.Array, jax.Array]:
    """Parameters and state that change everything, and two batches, in float64."""
    keys = jax.random.split(jax.random.key(setup.seeds.start), 6)
    draw = [jax.random.normal(key, (config.features,)) for key in keys[:4]]
    params, state = batch_norm.init(config.features)
    params = params._replace(scale=1 + 0.5 * draw[0], shift=draw[1])
    state = state._replace(mean=draw[2], var=jnp.exp(draw[3]))
    a, b = (2 * jax.random.normal(key, (config.examples, config.features)) + 1 for key in keys[4:])
    return params, state, a, b


def _apart(x: jax.Array, y: jax.Array) -> jax.Array:
    """The largest difference, relative to the largest entry."""
    return jnp.max(jnp.abs(x - y)) / jnp.max(jnp.abs(y))


def gradients(config: Config, setup: Setup) -> dict[str, Any]:
    """The closed form of the batch norm paper against automatic derivatives."""
    with jax.enable_x64(True):
        params, state, x, g = _drawn(config, setup)
        y, back = jax.vjp(lambda p, x: batch_norm.apply(p, state, x, train=True, eps=0.0)[0], params, x)
        auto, auto_x = back(g)
        n, deviation = len(x), jnp.std(x, 0)
        scaled = (y - params.shift) / params.scale
        along = jnp.sum(g * scaled, 0)
        closed = params.scale / (n * deviation) * (n * g - jnp.sum(g, 0) - scaled * along)
        pairs = {"x": (auto_x, closed), "scale": (auto.scale, along), "shift": (auto.shift, jnp.sum(g, 0))}
        return {name: float(_apart(*pair)) for name, pair in pairs.items()}


def coupling(config: Config, setup: Setup) -> dict[str, Any]:
    """How much output i of a feature moves with example j, in training and in evaluation."""
    with jax.enable_x64(True):
        params, state, x, _ = _drawn(config, setup)
        found = {}
        for name, train in (("training", True), ("evaluation", False)):
            one = lambda v, train=train: batch_norm.apply(params, state, x.at[:, 0].set(v), train=train)[0][:, 0]
            found[name] = np.asarray(jax.jacobian(one)(x[:, 0]))
    others = ~np.eye(config.examples, dtype=bool)
    share = float(np.mean(np.abs(found["training"][others]) > 1e-9))
    return found | {"share": share, "evaluated": float(np.max(np.abs(found["evaluation"][others])))}


def draw_coupling(measured: Mapping[str, Any]) -> Any:
    """Both matrices of derivatives."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(5.2, 2.9))
        for axes, name in zip(panels, ("training", "evaluation"), strict=True):
            places = np.arange(1, len(measured[name]) + 1)
            shown = measured[name] - np.diag(np.diag(measured[name]))
            limit = float(np.max(np.abs(measured["training"] - np.diag(np.diag(measured["training"])))))
            label = "change of an output" if name == "evaluation" else None
            plots.plane(axes, places, places, shown, label=label, limits=(-limit, limit), colormap="RdBu_r")
            axes.set(xlabel="example that changes", ylabel="output", title=f"{name} (diagonal left out)")
    return figure


def linearity(config: Config, setup: Setup) -> dict[str, Any]:
    """f(a + b) against f(a) + f(b) - f(0), and the outputs behind weights of another scale."""
    with jax.enable_x64(True):
        params, state, a, b = _drawn(config, setup)
        kernel = jax.random.normal(jax.random.key(setup.seeds.stop), (config.features, config.features))

        def f(x: jax.Array, train: bool) -> jax.Array:
            return batch_norm.apply(params, state, x, train=train, eps=0.0)[0]

        found = {
            "evaluation": _apart(f(a, False) + f(b, False) - f(0 * a, False), f(a + b, False)),
            "training": _apart(f(a, True) + f(b, True) - params.shift, f(a + b, True)),
            "scaled weights": _apart(f(a @ (7 * kernel), True), f(a @ kernel, True)),
        }
    return {name: float(value) for name, value in found.items()}


def folding(config: Config, setup: Setup) -> dict[str, Any]:
    """Dense and convolution layers with a frozen batch norm against folded ones, and their seconds, turn by turn."""
    with jax.enable_x64(True):
        params, state, x, _ = _drawn(config, setup)
        frozen = lambda x: batch_norm.apply(params, state, x, train=False)[0]
        kernel = jax.random.normal(jax.random.key(1), (config.features, config.features))
        after, before = (batch_norm.fold(params, state, kernel, norm=norm) for norm in ("after", "before"))
        conv = partial(
            jax.lax.conv_general_dilated,
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        images = jax.random.normal(jax.random.key(2), (4, 6, 6, config.features))
        filters = jax.random.normal(jax.random.key(3), (3, 3, config.features, config.features))
        folded, bias = batch_norm.fold(params, state, filters, norm="before", linear=conv, shape=images.shape[1:])
        found = {
            "after": float(_apart(x @ after[0] + after[1], frozen(x @ kernel))),
            "before": float(_apart(x @ before[0] + before[1], frozen(x) @ kernel)),
            "convolution": float(_apart(conv(images, folded) + bias, conv(frozen(images), filters))),
        }
    return found | {"seconds": _seconds(config, setup)}


def _seconds(config: Config, setup: Setup) -> Runs:
    """Logarithms of the seconds of a dense layer with and without a frozen batch norm behind it."""
    width = 256
    params, state = batch_norm.init(width)
    x, kernel = (jax.random.normal(jax.random.key(i), (rows, width)) for i, rows in enumerate((config.timed, width)))
    kernel_folded, bias = batch_norm.fold(params, state, kernel, norm="after")
    layers = {
        "norm": jax.jit(lambda x: batch_norm.apply(params, state, x @ kernel, train=False)[0]),
        "folded": jax.jit(lambda x: x @ kernel_folded + bias),
    }
    return timed({name: partial(layer, x) for name, layer in layers.items()}, 8 * len(setup.seeds))


CLAIMS = (
    Claim(
        id="S9",
        statement="One can differentiate through batch norm: with respect to its inputs, its scale and its shift.",
        measured="The closed form of the derivatives against automatic ones",
        parts=[
            Number(f"largest relative difference, {what}", name, high=1e-12, because=ROUNDING)
            for name, what in (("x", "inputs"), ("scale", "scale"), ("shift", "shift"))
        ],
        measure=gradients,
    ),
    Claim(
        id="L16",
        statement="In training batch norm couples the examples of a batch: one changes the outputs of all the others.",
        measured="The derivative of every output with respect to every other example",
        parts=[
            Number("share that is not zero, in training", "share", low=1.0, because="zero: below 1e-9, in float64"),
            Number("largest in evaluation", "evaluated", high=0.0),
        ],
        measure=coupling,
        draw=draw_coupling,
        caption="How the output of each example moves with every other example of its batch. In training each output "
        "depends on the whole batch. In evaluation it depends on its own example alone.",
    ),
    Claim(
        id="N27",
        statement="Batch norm is a linear operation, says one lecture; it adds nonlinearity, says another. "
        "Judged here: that it is linear.",
        measured="f(a + b) against f(a) + f(b) - f(0), relative, in evaluation and in training; and whether training "
        "sees the scale of the weights before it",
        parts=[
            Number("departure from an affine map, in evaluation", "evaluation", high=1e-12, because=ROUNDING),
            Number("departure from an affine map, in training", "training", high=1e-12, because=ROUNDING),
            Number(
                "change of the output by weights seven times larger", "scaled weights", high=1e-12, because=ROUNDING
            ),
        ],
        measure=linearity,
    ),
    Claim(
        id="S8",
        statement="A frozen batch norm folds into the linear layer beside it, which is then all that is evaluated.",
        measured="Outputs of dense layers and a convolution padded with zeros, folded and not; seconds of evaluation",
        parts=[
            *(
                Number(f"largest relative difference, {what}", name, high=1e-12, because=ROUNDING)
                for name, what in (
                    ("after", "norm after a dense layer"),
                    ("before", "norm before a dense layer"),
                    ("convolution", "norm before a convolution"),
                )
            ),
            compared(
                "logarithm of seconds, folded against not",
                "seconds",
                "less",
                0.0,
                a={"arm": "folded"},
                b={"arm": "norm"},
                method="sign",
            ),
        ],
        measure=folding,
    ),
)
