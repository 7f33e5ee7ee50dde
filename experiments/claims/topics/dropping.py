"""Dropout: the mean that it keeps, what it does to weights and errors, and its masks in training and evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, runs, sets, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.training import PARTS, averages, drawn, kernels, scores
from jnorm import activations, initializers, losses
from jnorm.nn import dropout, networks
from jnorm.nn.layers import Layer
from jnorm.train import evaluation, loop

WIDTHS = (128, 16)


@dataclass(frozen=True)
class Config:
    """Sizes of two-layer relu networks.

    Attributes:
        widths: Units of the hidden layers, a wide and a narrow one.
        epochs: Passes over the examples.
        batch_size: Examples in a step.
        rate: Learning rate of Adam.
        decays: Strengths of L2 that tuning tries.
        passes: Passes with dropout on that are averaged.
        masks: Masks whose mean is compared with no mask.
        chunk: Runs side by side: one program for tuning and for the runs that decide.
    """

    widths: tuple[int, int] = WIDTHS
    epochs: int = 100
    batch_size: int = 30
    rate: float = 3e-3
    decays: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
    passes: int = 50
    masks: int = 10_000
    chunk: int = 16


QUICK = Config(widths=(16, 8), epochs=2, decays=(1e-2,), passes=3, masks=2000, chunk=1)
FEW = 120  # training examples
RATES = (0.0, 0.2, 0.5, 0.8)
NARROW = 8  # units of the layer that should drop less
HALF, LITTLE = 0.5, 0.1


def _network(config: Config, data: Any, wide: Any, narrow: Any, *, units: Any = None) -> networks.Network:
    """Dropout functions ``(key, x, *, train)`` after both layers; of the first one only so many units are there."""
    first = config.widths[0]
    live = first if units is None else units

    def init(*arguments: Any, **options: Any) -> jax.Array:
        return initializers.he_normal()(*arguments, **options) * jnp.sqrt(first / live)

    phi = lambda x: jnp.where(jnp.arange(first) < live, activations.relu(x), 0.0)
    layers = [Layer(phi, init, dropout=wide), Layer(activations.relu, init, dropout=narrow)]
    return networks.mlp((data["train"][0].shape[1], *config.widths, data["classes"].shape[0]), layers)


def _trained(key: jax.Array, data: Any, config: Config, network: Any, **options: Any) -> dict[str, Any]:
    """Scores, parameters and state."""
    parts = {part: data[part] for part in ("dev", "test")} | {"train": drawn(key, data["train"], FEW, FEW)}
    report = loop.Report(PARTS, keep_params=True, steps=options.pop("steps", ()))
    options |= {"epochs": config.epochs, "batch_size": config.batch_size, "report": report}
    return scores(key, parts, network, optax.adam(config.rate), **options)


def regularized(
    key: jax.Array,
    data: Any,
    *,
    config: Config,
    wide: Any,
    narrow: Any,
    output: Any,
    scaled: Any,
    slim: Any,
    penalized: Any,
    l2: Any,
) -> dict[str, Any]:
    """Dropout by these rates after both layers and on the output, without the factor where ``scaled`` is 0; or L2.

    The wide layer has `NARROW` units where ``slim`` is 1. Also what is different from the same seed without any.
    """
    units = jnp.where(slim > 0, NARROW, config.widths[0])

    def one(on: jax.Array) -> dict[str, Any]:
        def drop(key: jax.Array, x: jax.Array, *, rate: Any, train: bool) -> jax.Array:
            y = dropout.dropout(key, x, on * rate, train=train)
            return y * jnp.where((scaled > 0) | (not train), 1.0, 1.0 - on * rate)

        network = _network(config, data, partial(drop, rate=wide), partial(drop, rate=narrow), units=units)

        def apply(params: Any, state: Any, x: Any, *, train: bool, key: Any = None) -> tuple[jax.Array, Any]:
            y, state = network.apply(params, state, x, train=train, key=key)
            return drop(jax.random.fold_in(key, 99), y, rate=output, train=True) if train else y, state

        penalty = lambda params: on * penalized * l2 * losses.l2_penalty(params, where=kernels)
        found = _trained(key, data, config, SimpleNamespace(init=network.init, apply=apply), penalty=penalty)
        weights = found.pop("params")[1]["kernel"] ** 2
        del found["state"]
        spread = jnp.mean(jnp.sum(weights, 0) ** 2 / jnp.sum(weights**2, 0)) / len(weights)
        return found | {"spread": spread}

    found = jax.vmap(one)(jnp.arange(2.0))
    return {name: pair[1] for name, pair in found.items()} | {
        f"more {n}": pair[1] - pair[0] for n, pair in found.items()
    }


def masked(key: jax.Array, data: Any, *, config: Config, once: Any) -> dict[str, Any]:
    """Dropout after the first layer, by one mask for all steps and examples where ``once`` is 1; evaluated all ways."""
    own = jax.random.fold_in(key, 2)

    def drop(key: jax.Array, x: jax.Array, *, train: bool) -> jax.Array:
        if not train:
            return x
        for_ever = dropout.dropout(own, x, HALF, train=True, shared_axes=0)
        return jnp.where(once > 0, for_ever, dropout.dropout(key, x, HALF, train=True))

    network = _network(config, data, drop, None)
    seen = lambda step: {"key": jax.random.key_data(step.key)}
    found = _trained(key, data, config, network, steps=[seen])
    params, state, (x, y) = found.pop("params"), found.pop("state"), data["test"]

    def shares(key: jax.Array) -> jax.Array:
        return activations.softmax(network.apply(params, state, x, train=False, dropout=True, key=key)[0])

    passes = jax.vmap(shares)(jax.random.split(jax.random.fold_in(key, 3), config.passes))
    right = lambda p: jnp.mean(evaluation.accuracy(p, y))
    on, average, off = right(passes[0]), right(jnp.mean(passes, 0)), found["test_accuracy"]
    ways = {"on": on, "average": average, "as trained": jnp.where(once > 0, on, off)}
    return found | ways | {"on less off": on - off, "average less off": average - off}


def kept(config: Config, setup: Setup) -> dict[str, Any]:
    """Relative error of the mean over masks of what dropout leaves, and of the same without the factor 1/keep."""

    def one(key: jax.Array) -> jax.Array:
        x = jax.random.normal(jax.random.fold_in(key, 0), (64,))
        y = jnp.mean(dropout.dropout(key, jnp.broadcast_to(x, (config.masks, 64)), HALF, train=True), 0)
        return jnp.dot(x, y) / jnp.dot(x, x)

    ratio = np.asarray(jax.jit(jax.vmap(one))(jax.vmap(jax.random.key)(np.array(setup.seeds))), float)
    return {"mean": runs(ratio - 1), "mean without": runs((1 - HALF) * ratio - 1)}


def arm(
    wide: float = 0.0, narrow: float = 0.0, output: float = 0.0, slim: float = 0.0, **others: float
) -> dict[str, float]:
    """An arm by its rates of dropout."""
    return {"wide": wide, "narrow": narrow, "output": output, "slim": slim, "scaled": 1.0, "penalized": 0.0} | others


DROPPED, DECAYED = arm(HALF), arm(penalized=1.0)
EACH, ONCE = {"once": 0.0}, {"once": 1.0}
_masks = partial(compared, quantity="masks", diverged=0.1)
_highest = partial(compared, quantity="arms", diverged="highest", own=("l2",))
_lowest = partial(_highest, diverged="lowest")
D16_PARTS = (
    compared("mean over masks of inverted dropout, relative error", "mean", "equal", 0.01),
    compared("the same without the factor 1/keep", "mean without", "less", 0.1),
    _highest("gap of test and train error, half less none", claim="less", effect=0.01, metric="more gap", a=DROPPED),
    _lowest(
        f"gain in test accuracy by dropping half, {WIDTHS[0]} less {NARROW} units",
        claim="greater",
        effect=0.01,
        metric="more test_accuracy",
        a=DROPPED,
        b=arm(HALF, slim=1.0),
    ),
    _lowest("spread of weights, dropout less none", claim="greater", effect=0.02, metric="more spread", a=DROPPED),
    _lowest("spread of weights, L2 less none", claim="greater", effect=0.02, metric="more spread", a=DECAYED),
    _highest(
        "test loss, without the factor 1/keep less with it",
        claim="greater",
        effect=0.05,
        metric="test_loss",
        a=arm(HALF, scaled=0.0),
        b=DROPPED,
    ),
    _lowest(
        "test accuracy, the wide layer drops more less the narrow one does",
        claim="greater",
        effect=0.01,
        metric="test_accuracy",
        a=arm(HALF, LITTLE),
        b=arm(LITTLE, HALF),
    ),
    _highest(
        "test loss, output dropped too less not",
        claim="greater",
        effect=0.05,
        metric="test_loss",
        a=arm(HALF, output=HALF),
        b=DROPPED,
    ),
)
D27_PARTS = (
    Number("steps with the mask of an earlier one", "repeated", high=0.0, because="a key of its own for each step"),
    *(
        _masks(
            f"test accuracy, new masks less one for ever, {how}", claim="greater", effect=0.01, metric=m, a=EACH, b=ONCE
        )
        for how, m in (("which stays on", "as trained"), ("both off", "test_accuracy"))
    ),
    _masks("test accuracy, dropout on less off", claim="less", effect=0.01, metric="on less off", a=EACH),
    _masks("test accuracy, average of passes less off", claim="equal", effect=0.005, metric="average less off", a=EACH),
)


def _shared(setup: Setup) -> dict[str, Any]:
    data = sets(setup)
    return data.parts | {"classes": jnp.zeros(data.classes)}


def effects(config: Config, setup: Setup) -> dict[str, Any]:
    """Runs by rate and width, and runs of the arms, L2 by the strength that was chosen."""
    options = {"shared": _shared(setup), "chunk": config.chunk}
    run = partial(regularized, config=config)
    chosen = tuned(run, setup, "L2", [DECAYED], {"l2": config.decays}, **options)
    others = [arm(HALF, scaled=0.0), arm(HALF, LITTLE), arm(LITTLE, HALF), arm(HALF, output=HALF)]
    grid = [one | {"l2": 0.0} for one in (*others, *(arm(rate, slim=slim) for rate in RATES for slim in (0.0, 1.0)))]
    arms = swept(run, setup, "arms", D16_PARTS, grid=[*grid, *chosen.arms], **options)
    return {"arms": arms, "notes": chosen.budget} | kept(config, setup)


def masks(config: Config, setup: Setup) -> dict[str, Any]:
    """Runs with new masks and with one, and how many steps have the mask of an earlier one."""
    options = {"grid": [EACH, ONCE], "shared": _shared(setup), "chunk": config.chunk}
    found = swept(partial(masked, config=config), setup, "masks", D27_PARTS, **options)
    drawn_from = found["step_key"][0, 0]
    return {"masks": found, "repeated": len(drawn_from) - len(np.unique(drawn_from, axis=0))}


def draw_effects(found: Mapping[str, Any]) -> Any:
    """Gap and test error by rate and width; spread of weights."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 3, size=(7.2, 2.8))
        for width, slim, color in ((WIDTHS[0], 0.0, 0), (NARROW, 1.0, 3)):
            line = {"color": plots.PALETTE[color], "marker": "o", "markersize": 3.5, "label": f"{width} units"}
            for axes, name in zip(panels, ("gap", "test_accuracy"), strict=False):
                mean, half = averages(found["arms"], name, [arm(rate, slim=slim) for rate in RATES])
                axes.errorbar(RATES, 100 * (mean if name == "gap" else 1 - mean), 100 * half, **line)
                axes.set(xlabel="rate of dropout")
        panels[0].set(ylabel="test less train error (%)", ylim=(0, None))
        panels[1].set(ylabel="test error (%)", ylim=(0, None))
        plots.legend(figure, panels[0])
        mean, half = averages(found["arms"], "spread", [arm(), DROPPED, DECAYED])
        panels[2].bar(range(3), mean, yerr=half, color=[plots.PALETTE[k] for k in (5, 0, 2)], width=0.6)
        panels[2].set_xticks(range(3), ["neither", "dropout", "L2"])
        panels[2].set(ylabel="share of inputs that a unit uses")
    return figure


def draw_masks(found: Mapping[str, Any]) -> Any:
    """Test error of each way."""
    from jnorm import plots

    ways = (
        ("new masks, off at test", "test_accuracy", EACH),
        ("new masks, average of passes", "average", EACH),
        ("new masks, on at test", "on", EACH),
        ("one mask, on at test", "on", ONCE),
        ("one mask, off at test", "test_accuracy", ONCE),
    )
    with plots.style():
        figure, axes = plots.figure(size=(4.6, 2.3))
        for place, (_, name, arm) in enumerate(ways):
            mean, half = averages(found["masks"], name, [arm])
            color = plots.PALETTE[0 if arm == EACH else 3]
            axes.errorbar(100 - 100 * mean, [-place], xerr=100 * half, color=color, marker="o", markersize=4)
        axes.margins(x=0.1)
        axes.set_yticks([-place for place in range(len(ways))], [label for label, _, _ in ways])
        axes.set(xlabel="test error (%)", xlim=(0, None), ylim=(0.5 - len(ways), 0.5))
    return figure


CLAIMS = (
    Claim(
        id="D16",
        statement="Inverted dropout keeps the expectation and regularizes; it spreads weights as L2 does; wide "
        "layers can drop more, and the output none.",
        measured=f"Means over masks; relu networks on {FEW} examples: gap of test and train error by rate and width, "
        "the share of inputs over which a unit's squared weights are spread beside L2 (strength tuned on dev data), "
        "without the factor 1/keep, with a rate for each layer, and with dropout on the output",
        parts=D16_PARTS,
        measure=effects,
        draw=draw_effects,
        caption="How much worse test error is than train error, and test error itself, over the rate of dropout "
        "after a wide and after a narrow layer; and over what share of its inputs a unit's squared weights are "
        "spread. Bars are 95 % intervals. Every rate begins from the same weights.",
    ),
    Claim(
        id="D27",
        statement="Dropout draws a new mask in every step and is off at test time.",
        measured=f"Relu networks on {FEW} examples, half of a layer dropped: test accuracy with one mask for ever, "
        "with dropout on at test time, with the average of many passes, and with dropout off",
        parts=D27_PARTS,
        measure=masks,
        draw=draw_masks,
        caption="Test error of networks that were trained with new masks or with one mask for all steps, and "
        "evaluated with dropout off, on, or averaged over passes. Bars are 95 % intervals. One mask for ever is a "
        "smaller network that is trained alone.",
    ),
)
