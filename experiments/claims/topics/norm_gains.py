"""Where batch norm helps: on inputs that nobody standardized, and by depth and width of a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.claims import drawing
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.deep import deep, scaled
from experiments.claims.topics.batch_statistics import ACCURACY, NORM
from experiments.claims.training import averages
from jnorm import initializers, losses
from jnorm.activations import identity, relu
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Layer, Normalizer
from jnorm.train import loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of the hidden layer, on tables.
        table_epochs: Epochs of training there.
        raw_rates: Learning rates to choose from there, where inputs may be of any scale.
        examples: Digits to train on; few, so that accuracy is not at its ceiling.
        epochs: Epochs of training there.
        rates: Learning rates to choose from there.
        batch: Examples in a step.
    """

    units: int = 32
    table_epochs: int = 30
    raw_rates: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
    examples: int = 384
    epochs: int = 12
    rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    batch: int = 32


QUICK = Config(units=8, table_epochs=1, raw_rates=(1e-2,), examples=64, epochs=1, rates=(0.1,))


def tables(config: Config, setup: Setup) -> dict[str, Any]:
    """Wine and breast cancer: raw inputs, standardized ones, and batch norm on the raw ones."""

    def train(key: jax.Array, data: Any, *, table: str, standardized: Any, normalized: Any, rate: Any) -> Any:
        def apply(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
            y, moved = NORM(params, state, x, train=train)
            return jnp.where(normalized, y, x), moved

        either = data[table]["standardized"], data[table]["raw"]
        shown = jax.tree.map(lambda yes, no: jnp.where(standardized, yes, no), *either)
        norm = Layer(identity, initializers.he_normal(), normalizer=Normalizer(batch_norm.init, apply))
        network = networks.mlp(
            networks.rectangular(shown["train"][0].shape[1], classes[table], units=config.units, depth=1),
            Layer(relu, initializers.he_normal()),
            inputs=norm,
        )
        run = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            lambda rate: optax.sgd(rate),
            epochs=config.table_epochs,
            batch_size=config.batch,
            drop_remainder=True,
            metrics=ACCURACY,
        )
        return run(key, shown, rate=rate)

    loaded = {
        table: {name: sets(setup, table, dev=0.25, standardized=name != "raw") for name in ("raw", "standardized")}
        for table in TABLES
    }
    classes = {table: one["raw"].classes for table, one in loaded.items()}
    data = {table: {name: found.parts for name, found in one.items()} for table, one in loaded.items()}
    arms = [{"table": table} | how for table in TABLES for how in HOW.values()]
    options = {"static": ["table"], "shared": data}
    found = tuned(train, setup, "inputs", arms, {"rate": config.raw_rates}, **options)
    return {"inputs": swept(train, setup, "inputs", INPUTS, grid=found.arms, **options), "notes": found.budget}


TABLES = ("wine", "breast_cancer")
HOW = {
    "raw": {"standardized": False, "normalized": False},
    "standardized": {"standardized": True, "normalized": False},
    "normalized": {"standardized": False, "normalized": True},
}
INPUTS = [
    compared(
        f"test accuracy on {table.replace('_', ' ')}: batch norm on the inputs less {words}",
        "inputs",
        claim,
        0.01,
        metric="test_accuracy",
        a={"table": table} | HOW["normalized"],
        b={"table": table} | HOW[other],
        diverged="lowest",
        own=("rate",),
    )
    for table in TABLES
    for other, words, claim in (("standardized", "standardization", "equal"), ("raw", "nothing", "greater"))
]


def gains(config: Config, setup: Setup) -> dict[str, Any]:
    """Test accuracy with batch norm less without, over depth and width; a narrow network is a wide one with a mask."""
    most = max(WIDTHS)

    def accuracy(key: jax.Array, data: Any, depth: int, width: jax.Array, norm: jax.Array, rate: jax.Array) -> Any:
        def apply(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
            y, state = NORM(params, state, x, train=train)
            return jnp.where(norm, y, x + params.shift), state

        network = deep(
            lambda z: jnp.where(jnp.arange(most) < width, relu(z), 0.0),
            lambda z: jnp.sqrt(2 / width) * z,
            inputs,
            classes,
            units=most,
            depth=depth,
            first=scaled(),
            last=lambda z: jnp.sqrt(1 / width) * z,
            normalizer=Normalizer(batch_norm.init, apply),
        )
        run = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            optax.sgd(rate),
            epochs=config.epochs,
            batch_size=config.batch,
            metrics=ACCURACY,
        )
        return run(key, data)

    def one(key: jax.Array, data: Any, *, depth: int, width: Any, norm: Any, rate: Any) -> dict[str, jax.Array]:
        return {"dev_accuracy": accuracy(key, data, depth, width, norm, rate)["dev_accuracy"]}

    def both(key: jax.Array, data: Any, *, depth: int, width: Any, plain: Any, normalized: Any) -> dict[str, jax.Array]:
        rates, norms = jnp.stack([plain, normalized]), jnp.array([False, True])
        found = jax.vmap(lambda rate, norm: accuracy(key, data, depth, width, norm, rate))(rates, norms)
        without, with_norm = found["test_accuracy"]
        return {"gain": with_norm - without, "without": without, "with": with_norm}

    data = few(sets(setup), config.examples)
    inputs, classes = data.parts["train"][0].shape[1], data.classes
    sizes = [{"depth": depth, "width": width} for depth in DEPTHS for width in WIDTHS]
    arms = [size | {"norm": norm} for size in sizes for norm in (False, True)]
    options = {"static": ["depth"], "shared": data.parts}
    found = tuned(one, setup, "gains", arms, {"rate": config.rates}, **options)
    rates = [arm["rate"] for arm in found.arms]
    grid = [
        size | {"plain": plain, "normalized": normalized}
        for size, plain, normalized in zip(sizes, rates[::2], rates[1::2], strict=True)
    ]
    trained = swept(both, setup, "gain", GAINS, grid=grid, **options)
    return {"gain": trained, "notes": found.budget}


DEPTHS, WIDTHS = (2, 16), (16, 64)
GAINS = [
    compared(
        what,
        "gain",
        "greater",
        0.01,
        metric="gain",
        a={"depth": DEPTHS[-1], "width": WIDTHS[-1]},
        b=b,
        own=("plain", "normalized"),
    )
    for what, b in (
        (f"test accuracy with less without, {DEPTHS[-1]} layers of {WIDTHS[-1]}", 0.0),
        (f"that gain less the one of {DEPTHS[0]} layers", {"depth": DEPTHS[0], "width": WIDTHS[-1]}),
        (f"that gain less the one of {WIDTHS[0]} units", {"depth": DEPTHS[-1], "width": WIDTHS[0]}),
    )
]


def draw_tables(measured: Mapping[str, Any]) -> Any:
    """Test accuracy of all runs by what is done to the inputs, a panel a table."""
    from jnorm import plots

    words = {"raw": "nothing", "standardized": "standardization", "normalized": "batch norm"}
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.4, 2.1), sharey=True)
        for axes, table in zip(panels, TABLES, strict=True):
            runs = {
                words[name]: drawing.values(measured["inputs"], "test_accuracy", {"table": table} | how)
                for name, how in HOW.items()
            }
            drawing.dots(axes, {name: 100 * values for name, values in runs.items()})
            axes.set(xlabel="test accuracy (%)", title=table.replace("_", " "))
        panels[0].set_ylabel("done to the inputs")
    return figure


def draw_gains(measured: Mapping[str, Any]) -> Any:
    """The gain over depth, a line a width."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.6, 2.9))
        for width, color, dash in zip(WIDTHS, plots.PALETTE, ("-o", "--s"), strict=False):
            arms = [{"depth": depth, "width": width} for depth in DEPTHS]
            mean, half = averages(measured["gain"], "gain", arms)
            panels[0].errorbar(DEPTHS, 100 * mean, 100 * half, fmt=dash, color=color, markersize=4, capsize=3)
            for name, face in (("with", color), ("without", "white")):
                mean, half = averages(measured["gain"], name, arms)
                label = f"{width} units, {name}"
                look = {"fmt": dash, "color": color, "markersize": 4, "capsize": 3, "mfc": face}
                panels[1].errorbar(DEPTHS, 100 * mean, 100 * half, label=label, **look)
        panels[0].axhline(0.0, color="0.6", linewidth=0.8)
        panels[0].set(ylabel="gain in test accuracy (points)", title="gain by batch norm")
        panels[1].set(ylabel="test accuracy (%)", title="with and without it")
        for axes in panels:
            axes.set(xlabel="hidden layers", xscale="log")
            axes.set_xticks(DEPTHS, DEPTHS)
            axes.minorticks_off()
        plots.legend(figure, panels[1], title="mean and its 95 % interval; rate tuned for each network")
    return figure


CLAIMS = (
    Claim(
        id="D25",
        statement="Batch norm can also be applied to the inputs, in the place of standardization.",
        measured="Test accuracy on wine and breast cancer with raw inputs, with standardized ones, and with batch norm "
        "on the raw ones; one hidden layer",
        parts=INPUTS,
        measure=tables,
        draw=draw_tables,
        caption="Test accuracy by what is done to the inputs of a network with one hidden layer. Dots are runs, points "
        "with bars their means and 95 % intervals. Raw features differ in scale by orders of magnitude, which a single "
        "learning rate does not suit.",
    ),
    Claim(
        id="S12",
        statement="Batch norm helps most in large, deep networks.",
        measured="The gain in test accuracy by batch norm, over depth and width; the rate tuned for each network, with "
        "and without",
        parts=GAINS,
        measure=gains,
        draw=draw_gains,
        caption="The gain in test accuracy by batch norm over depth, for two widths, and the accuracies that it is "
        "made of. Lines that are not parallel are an interaction: what batch norm gains depends on the size of the "
        "network. The learning rate is tuned for each network, with and without batch norm.",
    ),
)
