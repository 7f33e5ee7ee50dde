"""Layers without an activation: one linear map, whatever the depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.drawing import dots, values
from experiments.claims.training import scores
from jnorm import initializers, losses
from jnorm.activations import identity
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of hidden layers, but for those that classify, which have as many as there are features.
        examples: To train the classifiers on.
        epochs: Of the classifiers.
        steps: Of the fits to the parabola.
        collapsed: Hidden layers of the deepest network that is collapsed.
    """

    units: int = 32
    examples: int = 300
    epochs: int = 30
    steps: int = 400
    collapsed: int = 16


QUICK = Config(units=16, examples=200, epochs=2, steps=20, collapsed=4)
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
X = np.linspace(-1, 1, 65, dtype=np.float32)[:, None]
GAIN = 0.01
"""The smallest gain of test accuracy that matters: depth may lose, but not gain."""
DEPTHS = {0: "softmax regression", 2: "2 hidden linear layers", 5: "5 hidden linear layers"}
FITS = [{"depth": 1, "slope": 1.0}, {"depth": 5, "slope": 1.0}, {"depth": 1, "slope": 0.0}]


def stack(inputs: int, outputs: int, *, width: int, most: int, depth: Any, slope: Any) -> networks.Network:
    """A perceptron with ``depth`` of ``most`` hidden layers max(z, slope z), which may be traced; slope 1 is linear.

    Narrower inputs are filled up with zeros; without a hidden layer it is one linear map.
    """

    def init(key: jax.Array) -> tuple[Any, Any]:
        gain = 2 / (1 + slope**2)
        std = jnp.sqrt(gain / width) * jnp.where(jnp.arange(most) == 0, (width / inputs) ** 0.5, 1.0)
        hidden, bias, last = jax.random.split(key, 3)
        kernels = std[:, None, None] * jax.random.normal(hidden, (most, width, width))
        biases = 0.1 * jax.random.normal(bias, (most, width))
        kernel = jax.random.normal(last, (width, outputs)) * width**-0.5
        return {"kernels": kernels, "biases": biases, "kernel": kernel, "bias": jnp.zeros(outputs)}, ()

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool, key: Any = None) -> tuple[jax.Array, Any]:
        def layer(y: jax.Array, part: Any) -> tuple[jax.Array, None]:
            number, kernel, bias = part
            z = y @ kernel + bias
            return jnp.where(number < depth, jnp.maximum(z, slope * z), y), None

        y = jnp.pad(x, ((0, 0), (0, width - x.shape[1])))
        y, _ = jax.lax.scan(layer, y, (jnp.arange(most), params["kernels"], params["biases"]))
        return y @ params["kernel"] + params["bias"], state

    return networks.Network(init, apply)


def collapsed(config: Config, setup: Setup) -> float:
    """The largest difference between a deep linear network's outputs and those of its one matrix and bias."""
    worst = 0.0
    layer = Layer(identity, initializers.lecun_normal(), bias_init=initializers.normal(0.1))
    with jax.enable_x64(True):
        x = np.random.default_rng(setup.seeds.start).normal(size=(100, 64))
        for depth in sorted({1, config.collapsed}):
            network = networks.mlp(networks.rectangular(64, 10, units=config.units, depth=depth), layer)
            params, state = network.init(jax.random.key(setup.seeds.start + depth))
            params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
            matrix, bias = np.eye(64), np.zeros(64)
            for block in params:
                matrix, bias = matrix @ block["kernel"], bias @ block["kernel"] + block["bias"]
            deep = np.asarray(network.apply(params, state, jnp.asarray(x), train=False)[0])
            worst = max(worst, float(np.max(np.abs(deep - (x @ matrix + bias))) / np.max(np.abs(deep))))
    return worst


def classify(key: jax.Array, data: Any, *, config: Config, classes: int, depth: Any, rate: Any) -> dict[str, Any]:
    """A linear network on few examples; without hidden layers it is softmax regression, which is given `GAIN` more."""
    width = data["train"][0].shape[1]
    network = stack(width, classes, width=width, most=max(DEPTHS), depth=depth, slope=1.0)
    found = scores(key, data, network, optax.adam(rate), epochs=config.epochs, batch_size=32)
    return found | {"ahead": found["test_accuracy"] + jnp.where(depth == 0, GAIN, 0.0)}


def fit(key: jax.Array, *, config: Config, depth: Any, slope: Any) -> dict[str, Any]:
    """A network fitted to y = x^2, and the share of the variance of y that it explains."""
    network = stack(1, 1, width=config.units, most=max(DEPTHS), depth=depth, slope=slope)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.01, config.steps))
    report = loop.Report(keep_params=True, parts=())
    run = loop.trainer(network, losses.squared_error, optimizer, steps=config.steps, batch_size=len(X), report=report)
    params = run(key, {"train": (X, X**2)})["params"]
    fitted = network.apply(params, (), jnp.asarray(X), train=False)[0]
    return {"fitted": fitted[:, 0], "explained": 1 - jnp.mean((fitted - X**2) ** 2) / np.var(X**2)}


def stays_linear(config: Config, setup: Setup) -> dict[str, Any]:
    """Deep linear networks against one matrix, against softmax regression, and on a parabola."""
    parabola = swept(partial(fit, config=config), setup, "parabola", _PARTS, grid=FITS, integers=("depth",))
    linear = [values(parabola, "explained", arm) for arm in FITS if arm["slope"] == 1.0]
    data = few(sets(setup), config.examples)
    train = partial(classify, config=config, classes=data.classes)
    options: dict[str, Any] = {"integers": ("depth",), "shared": data.parts}
    arms = [{"depth": depth} for depth in DEPTHS]
    chosen = tuned(train, setup, "accuracy", arms, {"rate": RATES}, names=list(DEPTHS.values()), **options)
    accuracy = swept(train, setup, "accuracy", _PARTS, grid=chosen.arms, **options)
    return {
        "collapsed": collapsed(config, setup),
        "parabola": parabola,
        "linear": float(max(np.max(runs) for runs in linear)),
        "accuracy": accuracy,
        "notes": chosen.budget,
    }


def draw(measured: Mapping[str, Any]) -> Any:
    """Fits to the parabola, and the accuracy of classifiers by depth."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 2.8))
        panels[0].plot(X, X**2, color="0.6", linewidth=4, label="x squared", solid_capstyle="round")
        for arm, color in zip(FITS, plots.PALETTE, strict=False):
            fitted = values(measured["parabola"], "fitted", arm)
            label = f"{'linear' if arm['slope'] else 'relu'}, {arm['depth']} hidden"
            dashed = "--" if arm == FITS[1] else "-"
            panels[0].plot(X, np.median(fitted, 0), dashed, color=color, label=label)
        panels[0].set(xlabel="x", ylabel="y", title="Fits to a parabola")
        panels[0].legend(loc="upper center")
        found = measured["accuracy"]
        accuracy = {name: 100 * values(found, "test_accuracy", {"depth": depth}) for depth, name in DEPTHS.items()}
        dots(panels[1], accuracy)
        panels[1].set(xlabel="test accuracy (%)", title="Classifiers on few examples")
    return figure


def _no_gain(depth: int) -> Any:
    what = f"test accuracy, {DEPTHS[depth]} less softmax regression and a point"
    arms = {"a": {"depth": depth}, "b": {"depth": 0}, "own": ("rate",)}
    return compared(what, "accuracy", "less", 0.0, metric="ahead", diverged=0.1, **arms)


_PARTS = (
    Number("outputs of deep linear networks less those of one matrix, relative", "collapsed", high=1e-13),
    _no_gain(2),
    _no_gain(5),
    Number("most that linear networks explain of the variance of x^2", "linear", high=1e-5, because="float32"),
    compared(
        "a relu network explains",
        "parabola",
        "greater",
        0.0,
        metric="explained",
        a=FITS[-1],
        b=0.9,
        diverged="lowest",
    ),
)
CLAIMS = (
    Claim(
        id="N1",
        statement="Composing linear layers stays linear: without an activation depth gains nothing.",
        measured="Outputs of deep linear networks (16 layers at most) against those of their product, in float64; test "
        "accuracy of linear networks with 2 and 5 hidden layers against softmax regression, each with its own learning "
        "rate; fits of linear networks and of a relu network to y = x^2",
        parts=_PARTS,
        measure=stays_linear,
        draw=draw,
        caption="Left, fits to a parabola: a linear network is a straight line at any depth, and the best one is flat. "
        "One hidden layer of relu bends. Right, linear classifiers by the number of their hidden layers, a dot a run, "
        "with the mean and its 95 % interval.",
    ),
)
