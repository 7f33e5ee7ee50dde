"""Ensembles: what averaging the predictions of several networks does to accuracy and calibration."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.claims.arms import compared, sets, swept
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import averages, drawn
from jnorm import activations, initializers, losses
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import loop


@dataclass(frozen=True)
class Config:
    """Sizes of one-layer relu networks.

    Attributes:
        members: Networks of the largest ensemble, a power of two.
        units: Hidden units.
        epochs: Passes over the examples.
        batch_size: Examples in a step.
        rate: Learning rate of Adam.
        bins: Groups of predictions of like confidence, equally large.
        chunk: Runs side by side.
    """

    members: int = 32
    units: int = 32
    epochs: int = 30
    batch_size: int = 30
    rate: float = 1e-2
    bins: int = 10
    chunk: int = 4


QUICK = Config(members=4, units=8, epochs=2, chunk=1)
FEW = 60  # training examples


def judged(config: Config, shares: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
    """Accuracy, log loss and calibration error of predicted probabilities [example, class]."""
    right = (jnp.argmax(shares, -1) == y).astype(float)
    confidence = jnp.max(shares, -1)
    order = jnp.argsort(confidence)[: len(y) // config.bins * config.bins]
    apart = jnp.mean((confidence - right)[order].reshape(config.bins, -1), 1)
    own = jnp.take_along_axis(shares, y[:, None], 1)[:, 0]
    return {
        "accuracy": jnp.mean(right),
        "log_loss": -jnp.mean(jnp.log(jnp.maximum(own, 1e-12))),
        "calibration": jnp.mean(jnp.abs(apart)),
    }


def train(key: jax.Array, data: Any, *, config: Config) -> dict[str, Any]:
    """Networks from other starts and in other orders on the same examples; ensembles of 1, 2, 4, ... of them.

    Those of each size share no member, and their scores are averaged.
    """
    (x, y), examples = data["held out"], drawn(key, data["train"], FEW, FEW)
    layer = Layer(activations.relu, initializers.he_normal())
    network = networks.mlp((x.shape[1], config.units, data["classes"].shape[0]), layer)
    options = {"epochs": config.epochs, "batch_size": config.batch_size, "report": loop.Report((), keep_params=True)}
    run = loop.trainer(network, losses.softmax_cross_entropy, optax.adam(config.rate), **options)

    def member(key: jax.Array) -> jax.Array:
        found = run(key, {"train": examples})
        return activations.softmax(network.apply(found["params"], found["state"], x, train=False)[0])

    shares = jax.vmap(member)(jax.random.split(jax.random.fold_in(key, 2), config.members))
    rows = []
    for size in sizes(config):
        averaged = jnp.mean(shares.reshape(-1, size, *shares.shape[1:]), 1)
        of_each = jax.vmap(lambda p: judged(config, p, y))(averaged)
        rows.append(jax.tree.map(lambda values: jnp.mean(values), of_each))
    found = {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}
    return found | {f"more {name}": values[-1] - values[0] for name, values in found.items()}


def sizes(config: Config) -> list[int]:
    """Powers of two up to all members."""
    return [2**power for power in range(config.members.bit_length())]


_part = partial(compared, quantity="runs", diverged="highest", a={})
PARTS = (
    _part(
        "test accuracy, all members less one", claim="greater", effect=0.01, metric="more accuracy", diverged="lowest"
    ),
    _part("calibration error, all members less one", claim="less", effect=0.01, metric="more calibration"),
    _part("log loss, all members less one", claim="less", effect=0.02, metric="more log_loss"),
)


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """Ensembles of every size."""
    data = sets(setup)
    held_out = jax.tree.map(lambda *a: jnp.concatenate(a), data.parts["dev"], data.parts["test"])
    shared = {"train": data.parts["train"], "held out": held_out, "classes": jnp.zeros(data.classes)}
    runs = swept(partial(train, config=config), setup, "runs", PARTS, shared=shared, chunk=config.chunk)
    return {"runs": runs, "sizes": sizes(config)}


def draw(measured: Mapping[str, Any]) -> Any:
    """Error, calibration error and log loss over the number of members."""
    from jnorm import plots

    shown = (("accuracy", "test error (%)"), ("calibration", "calibration error (%)"), ("log_loss", "log loss (nats)"))
    with plots.style():
        figure, panels = plots.figure(1, 3, size=(7.0, 2.4))
        for axes, (name, label), color in zip(panels, shown, (0, 2, 3), strict=True):
            mean, half = averages(measured["runs"], name, [{}])
            unit = 1 if name == "log_loss" else 100
            value = 1 - mean[0] if name == "accuracy" else mean[0]
            style = {"marker": "o", "markersize": 3.5, "color": plots.PALETTE[color]}
            axes.errorbar(measured["sizes"], unit * value, unit * half[0], **style)
            axes.set(xscale="log", xlabel="networks averaged", ylabel=label, ylim=(0, None))
            axes.set_xticks(measured["sizes"], [str(size) for size in measured["sizes"]])
            axes.minorticks_off()
    return figure


CLAIMS = (
    Claim(
        id="S13",
        statement="Averaging the predictions of several networks helps: accuracy and calibration get better.",
        measured="Accuracy, calibration error (confidence less accuracy, in ten equal groups) and log loss of k "
        f"averaged one-layer networks that differ in start and order alone, {FEW} training examples, k = 1 to 32",
        parts=PARTS,
        measure=measure,
        draw=draw,
        caption="Error on held-out examples, calibration error and log loss of averaged predictions over the number "
        "of networks, with 95 % intervals. The networks see the same examples and differ in their start and in the "
        "order of batches. Calibration error is by how much confidence and accuracy lie apart.",
    ),
)
