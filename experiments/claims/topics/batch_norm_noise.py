"""Batch norm as regularization: what it leaves to dropout, and what the noise of its statistics is good for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing, training
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Setup
from experiments.claims.norms import switched
from experiments.claims.starts import layer
from jnorm.activations import relu
from jnorm.nn import batch_norm, networks
from jnorm.nn.dropout import dropout
from jnorm.nn.layers import Normalizer


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: To train on; few, so that networks overfit.
        labelled: To train on where a fifth of the labels are wrong, so that dropout has something to prevent.
        units: Of the two hidden layers.
        epochs: Of training.
        rates: Learning rates among which each arm chooses.
        dropped: The rate of dropout.
    """

    examples: int = 192
    labelled: int = 320
    units: int = 64
    epochs: int = 50
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    dropped: float = 0.3


QUICK = Config(examples=64, labelled=64, units=8, epochs=1, rates=(0.1, 0.3))
_SPARE = 900
"""Examples that are not trained on, and join the dev set and the test set, half of them each."""
_WRONG = 0.2
"""The share of labels that are drawn anew."""


def _mislabelled(key: jax.Array, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The data with a share of the labels shuffled, in all parts alike, so that no part is easier than another."""

    def one(key: jax.Array, x: Any, y: Any) -> tuple[Any, jax.Array]:
        chosen, drawn = jax.random.split(key)
        return x, jnp.where(jax.random.uniform(chosen, y.shape) < _WRONG, jax.random.permutation(drawn, y), y)

    keys = jax.random.split(jax.random.fold_in(key, 1), len(parts))
    return {part: one(k, *parts[part]) for k, part in zip(keys, sorted(parts), strict=True)}


def regularized(config: Config, setup: Setup) -> dict[str, Any]:
    """Networks with and without batch norm, each with and without dropout, that fit labels of which some are wrong."""
    data = few(sets(setup), config.labelled, spared=_SPARE)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=2)

    def train(key: Any, parts: Any, *, normed: Any, rate: Any, ratio: Any) -> dict[str, jax.Array]:
        parts = _mislabelled(key, parts)

        def one(dropped: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
            hidden = layer(relu, normalizer=switched(normed), dropout=partial(dropout, rate=dropped))
            options: dict[str, Any] = {"epochs": config.epochs, "batch_size": 32}
            found = training.scores(key, parts, networks.mlp(widths, hidden), optax.sgd(rate), **options)
            loss = jnp.where(jnp.isfinite(found["train_loss"]), found["train_loss"], 1e6)
            found = {part: jnp.nan_to_num(found[f"{part}_accuracy"], nan=0.1) for part in training.PARTS}
            found["loss"] = loss
            return found | {"gap": found["train"] - found["test"]}

        found = jax.vmap(one)(jnp.array([0.0, config.dropped]), jnp.stack([rate, rate * ratio]))
        pairs = {f"{name}_{arm}": found[name][i] for name in found for i, arm in enumerate(("kept", "dropped"))}
        return pairs | {"cut": pairs["gap_kept"] - pairs["gap_dropped"]}

    arms, values = [{"normed": on, "ratio": 1.0} for on in (1.0, 0.0)], {"rate": config.rates}
    names = ["with batch norm", "without"]
    options: dict[str, Any] = {"names": names, "best": "lowest", "data": "the training loss", "shared": data.parts}
    kept = tuned(train, setup, "dropout", arms, values, on="loss_kept", **options)
    dropped = tuned(train, setup, "dropout", arms, values, on="loss_dropped", **options)
    grid = [a | {"ratio": b["rate"] / a["rate"]} for a, b in zip(kept.arms, dropped.arms, strict=True)]
    runs = swept(train, setup, "dropout", _DROPOUT, grid=grid, shared=data.parts)
    cut = 100 * np.mean(drawing.values(runs, "cut", {"normed": 0.0}))
    notes = f"{config.labelled} examples to train on, dropout {config.dropped:g}, which takes {cut:.1f} points off the "
    notes += f"gap without batch norm. Without dropout: {kept.budget} With dropout: {dropped.budget}"
    return {"dropout": runs, "notes": notes}


def _crossed(what: str, metric: str) -> Comparison:
    arms: dict[str, Any] = {"a": {"normed": 1.0}, "b": {"normed": 0.0}}
    return compared(what, "dropout", "less", 0.01, metric=metric, own=("rate", "ratio"), **arms)


_DROPOUT = [
    _crossed("generalization gap without dropout, with batch norm less without", "gap_kept"),
    _crossed("what dropout takes off the gap, with batch norm less without", "cut"),
]


def draw_regularized(measured: Mapping[str, Any]) -> Any:
    """The generalization gap of all four."""
    from jnorm import plots

    arms = {
        "no batch norm, no dropout": (0.0, "kept"),
        "dropout": (0.0, "dropped"),
        "batch norm": (1.0, "kept"),
        "batch norm and dropout": (1.0, "dropped"),
    }
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.4, 2.2), sharey=True)
        for axes, metric, label in zip(panels, ("gap", "test"), ("generalization gap", "test accuracy"), strict=True):
            found = {
                name: 100 * drawing.values(measured["dropout"], f"{metric}_{arm}", {"normed": on})
                for name, (on, arm) in arms.items()
            }
            drawing.dots(axes, found)
            axes.set(xlabel=f"{label} (%)")
    return figure


def _grouped(group: Any) -> Normalizer:
    """Batch norm whose training statistics run over traced numbers of successive examples."""

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        y, new = batch_norm.apply(params, state, x, train=train)
        if not train:
            return y, new
        place = jnp.floor(jnp.arange(len(x)) / group)
        same = (place[:, None] == place[None, :]).astype(x.dtype)
        mean_of = lambda v: same @ v / jnp.sum(same, 1, keepdims=True)
        centred = x - mean_of(x)
        return centred * jax.lax.rsqrt(mean_of(centred**2) + 1e-5) * params.scale + params.shift, new

    return Normalizer(batch_norm.init, apply)


def noisy(config: Config, setup: Setup) -> dict[str, Any]:
    """The generalization gap against the examples behind a statistic, in equal and in unequal batches."""
    data = few(sets(setup), config.examples, spared=_SPARE)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=2)

    def train(key: Any, parts: Any, *, batch: int, group: Any, rate: Any) -> dict[str, jax.Array]:
        network = networks.mlp(widths, layer(relu, normalizer=_grouped(group)))
        return training.scores(key, parts, network, optax.sgd(rate), epochs=config.epochs, batch_size=batch)

    options: dict[str, Any] = {"static": ["batch"], "shared": data.parts}
    names = [f"batches of {arm['batch']}, statistics over {arm['group']:.0f}" for arm in _GROUPS]
    chosen = tuned(train, setup, "noise", _GROUPS, {"rate": config.rates}, names=names, **options)
    runs = swept(train, setup, "noise", _NOISE, grid=chosen.arms, **options)
    return {"noise": runs, "notes": f"{config.examples} examples to train on. {chosen.budget}"}


_GROUPS: list[dict[str, Any]] = [
    *({"batch": 64, "group": group} for group in (4.0, 8.0, 16.0, 32.0, 64.0)),
    *({"batch": batch, "group": float(batch)} for batch in (8,)),
]


def _noise(what: str, claim: str, effect: float, a: tuple[int, int], b: tuple[int, int]) -> Comparison:
    arms: dict[str, Any] = {
        side: {"batch": batch, "group": float(group)} for side, (batch, group) in (("a", a), ("b", b))
    }
    return compared(what, "noise", claim, effect, metric="gap", own=("rate",), **arms)


_NOISE = [
    _noise("generalization gap, statistics over 4 less over 64, batches of 64", "less", 0.005, (64, 4), (64, 64)),
    _noise("the same: slight", "equal", 0.05, (64, 4), (64, 64)),
    _noise("generalization gap, batches of 8 less batches of 64", "less", 0.005, (8, 8), (64, 64)),
]


def draw_noisy(measured: Mapping[str, Any]) -> Any:
    """The gap over the examples behind a statistic."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.0, 3.0))
        for i, (batches, mark, label) in enumerate(
            (
                ((64,), "o-", "batches of 64, statistics over groups"),
                ((8, 64), "s--", "statistics over the whole batch"),
            )
        ):
            arms = [arm for arm in _GROUPS if arm["batch"] in batches and (i == 0 or arm["batch"] == arm["group"])]
            arms.sort(key=lambda arm: arm["group"])
            runs = [100 * drawing.values(measured["noise"], "gap", arm) for arm in arms]
            reach = [drawing.half_width(r) for r in runs]
            x, means = [arm["group"] for arm in arms], [r.mean() for r in runs]
            axes.errorbar(x, means, reach, fmt=mark, color=plots.PALETTE[i], markersize=4, capsize=2, label=label)
        axes.set(xscale="log", xlabel="examples behind a mean and variance", ylabel="generalization gap (%)")
        axes.set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
        axes.minorticks_off()
        plots.legend(figure, axes)
    return figure


CLAIMS = (
    Claim(
        id="S6",
        statement="With batch norm less regularization is needed.",
        measured="Training less test accuracy on few digits of which a fifth of the labels, in all parts, are drawn "
        "anew: with and without batch norm, crossed with dropout, each of the four at the learning rate that fits the "
        "training set best; what dropout takes off that gap",
        parts=_DROPOUT,
        measure=regularized,
        draw=draw_regularized,
        caption="The generalization gap, training less test accuracy, and test accuracy of four networks: a dot is a "
        "run, black is the mean with its 95 % interval. Where batch norm stands in for dropout, dropout changes less "
        "with it. All four have the learning rate that fits the training set best, as a rate that is chosen on dev "
        "data would regularize too.",
        mended="All networks learnt every label, and dropout had no effect on the gap that batch norm could have "
        "replaced. Now a fifth of the labels are wrong and rates are chosen by the training loss, where dropout "
        "without batch norm does cut the gap; they were chosen by runs without batch norm alone.",
    ),
    Claim(
        id="D6",
        statement="The noise of mini-batch statistics regularizes slightly.",
        measured="Training less test accuracy on few digits: statistics over groups of 4 to 64 examples within batches "
        "of 64, and batches of 8 against batches of 64, each with its own learning rate; slightly: by less than 5 "
        "points",
        parts=_NOISE,
        measure=noisy,
        draw=draw_noisy,
        caption="The generalization gap, training less test accuracy, against the examples from which batch norm takes "
        "a mean and a variance. In the first line gradients always come from 64 examples, so that the noise of "
        "statistics alone changes. Bars are 95 % intervals.",
        mended="The arm with which others are compared chose the largest learning rate that was tried, 3, and may "
        "have been better beyond. Rates up to 30 are now tried for all arms.",
    ),
)
