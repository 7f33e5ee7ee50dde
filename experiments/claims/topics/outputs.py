"""Scales of targets: a regression on raw and on standardized ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import averages
from jnorm import initializers, losses
from jnorm.activations import relu
from jnorm.data import datasets, splits, standardize
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of the hidden layer.
        epochs: Passes over the training examples.
        rates: Learning rates that are tried for each arm.
    """

    units: int = 32
    epochs: int = 40
    rates: tuple[float, ...] = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)


QUICK = Config(units=4, epochs=2, rates=(1e-4, 1e-2))
FITTED = 0.45  # R squared on training data at which epochs are counted


def targets(config: Config, setup: Setup) -> dict[str, Any]:
    """A network for diabetes, on raw and on standardized targets."""
    data = datasets.load("diabetes", setup.folder)
    x, y = np.asarray(data.x), np.asarray(data.y)[:, None]
    split = splits.random(jax.random.key(0), len(y))
    inputs, outputs = (standardize.fit(a[split.train]) for a in (x, y))
    own = np.asarray(standardize.apply(outputs, y))
    shown = np.asarray(standardize.apply(inputs, x))
    parts = {part: (shown[at], y[at], own[at]) for part, at in split._asdict().items()}

    def train(key: jax.Array, parts: Any, *, standardized: Any, rate: Any) -> dict[str, Any]:
        chosen = {part: (x, jnp.where(standardized, own, raw)) for part, (x, raw, own) in parts.items()}
        network = networks.mlp((x.shape[1], config.units, 1), Layer(relu, initializers.he_normal()))
        report = loop.Report(["dev", "test"], curves=["train"])
        options: dict[str, Any] = {"metrics": {"r2": evaluation.r_squared}, "report": report}
        size = {"epochs": config.epochs, "batch_size": 31, "drop_remainder": True}
        run = loop.trainer(network, losses.squared_error, optax.sgd(rate), **size, **options)
        found = run(key, chosen)
        curve = found["curve_train_r2"]
        epochs = jnp.where(jnp.any(curve >= FITTED), 1 + jnp.argmax(curve >= FITTED), len(curve) + 1)
        kept = {name: found[name] for name in ("dev_r2", "test_r2", "curve_train_r2")}
        return kept | {"log2_epochs": jnp.log2(epochs.astype(jnp.float32))}

    arms = [{"standardized": own} for own in (True, False)]
    names, rates = ["standardized", "raw"], {"rate": config.rates}
    chosen = tuned(train, setup, "targets", arms, rates, on="dev_r2", names=names, shared=parts)
    trained = swept(train, setup, "targets", TARGETS, grid=chosen.arms, shared=parts)
    curves = np.stack(averages(trained, "curve_train_r2", arms))
    return {"targets": trained, "curves": curves, "notes": chosen.budget}


def draw_targets(measured: Mapping[str, Any]) -> Any:
    """The fit over the epochs."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(3.6, 2.8))
        means, halves = measured["curves"]
        epochs = np.arange(1, means.shape[1] + 1)
        for i, label in enumerate(("standardized targets", "raw targets")):
            axes.plot(epochs, means[i], color=plots.PALETTE[i], label=label)
            low, high = means[i] - halves[i], means[i] + halves[i]
            axes.fill_between(epochs, low, high, color=plots.PALETTE[i], alpha=0.2, linewidth=0)
        axes.axhline(FITTED, color="0.5", linewidth=0.8, linestyle=":")
        axes.set(
            ylim=(-0.2, 1), xlabel="epoch", ylabel="R squared, training set", title="Diabetes, by scale of the targets"
        )
        plots.legend(figure, axes)
    return figure


TARGETS = (
    compared(
        "test R squared, standardized less raw targets",
        "targets",
        "greater",
        0.01,
        metric="test_r2",
        a={"standardized": True},
        b={"standardized": False},
        own=("rate",),
        diverged=0.0,
    ),
    compared(
        f"log2 of the epochs to a training R squared of {FITTED:g}, standardized less raw targets",
        "targets",
        "less",
        0.585,
        metric="log2_epochs",
        a={"standardized": True},
        b={"standardized": False},
        own=("rate",),
        diverged="highest",
    ),
)
CLAIMS = (
    Claim(
        id="S2",
        statement="Standardizing the outputs of a regression helps too.",
        measured="Test R squared, and epochs to a training R squared (factor 1.5), of a network for diabetes on raw "
        "and on standardized targets; learning rate tuned for each",
        parts=TARGETS,
        measure=targets,
        draw=draw_targets,
        caption="R squared on the training set over the epochs, with 95 % intervals, on raw and on standardized "
        "targets. The learning rate is tuned for each. The dotted line is the fit to which epochs are counted.",
    ),
)
