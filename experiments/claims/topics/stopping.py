"""Stopping early: where dev loss is lowest, what it keeps weights from, and what it costs in fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, sets, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import PARTS, averages, drawn, kernels, norm, scores
from jnorm import activations, initializers, losses
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import early_stopping, loop


@dataclass(frozen=True)
class Config:
    """Sizes of two-layer relu networks.

    Attributes:
        units: Of each hidden layer.
        epochs: Passes over the examples, far beyond the dev minimum.
        rate: Learning rate of Adam.
        batch_size: Examples in a step.
        decays: Strengths of L2 that tuning tries.
        chunk: Runs side by side: one program for tuning and for the runs that decide.
    """

    units: int = 64
    epochs: int = 100
    rate: float = 1e-2
    batch_size: int = 30
    decays: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 1e-1)
    chunk: int = 32


QUICK = Config(units=8, epochs=4, decays=(1e-2,), chunk=1)
FEW = 120  # training examples


def stopped(key: jax.Array, data: Any, *, config: Config, l2: Any, stop: Any) -> dict[str, Any]:
    """A relu net that is trained for long; its scores where dev loss is lowest where ``stop`` is 1, else at the end."""
    widths = networks.rectangular(data["train"][0].shape[1], data["classes"].shape[0], units=config.units, depth=2)
    network = networks.mlp(widths, Layer(activations.relu, initializers.he_normal()))
    parts = {part: data[part] for part in ("dev", "test")} | {"train": drawn(key, data["train"], FEW, FEW)}
    report = loop.Report(PARTS, curves=PARTS, probe=lambda params, state: {"norm": norm(params)})
    found = scores(
        key,
        parts,
        network,
        optax.adam(config.rate),
        report=report,
        epochs=config.epochs,
        batch_size=config.batch_size,
        penalty=lambda params: l2 * losses.l2_penalty(params, where=kernels),
        stop=early_stopping.patience(jnp.inf),
    )
    ends = {name: found[f"curve_{name}"][-1] for name in [f"{p}_{m}" for p in PARTS for m in ("loss", "accuracy")]}
    chosen = {name: jnp.where(stop > 0, found[name], end) for name, end in ends.items()}
    norms = found["probe_norm"]
    start = norm(network.init(loop.streams(key)["init_key"])[0])
    return chosen | {
        "fit": jnp.log(chosen["train_loss"]),
        "growth": jnp.log(norms[-1] / start),
        "cap": (norms[-1] - norms[found["best_epoch"]]) / (norms[-1] - start),
        "saved": found["test_loss"] - ends["test_loss"],
        "best": found["best_epoch"] + 1.0,
        "norms": jnp.concatenate([start[None], norms]),
        "train": found["curve_train_loss"],
        "dev": found["curve_dev_loss"],
    }


EARLY, LATE = {"stop": 1.0}, {"stop": 0.0}
_stop = partial(compared, own=("l2",))
D18_PARTS = (
    _stop(
        "log of the norm of weights, end over start",
        "runs",
        "greater",
        0.1,
        metric="growth",
        a=EARLY,
        diverged="lowest",
    ),
    _stop(
        "share of that growth after the dev minimum", "runs", "greater", 0.1, metric="cap", a=EARLY, diverged="lowest"
    ),
    _stop("test loss, dev minimum less end", "runs", "less", 0.01, metric="saved", a=EARLY, diverged="highest"),
    _stop(
        "log of train loss, stopped early less L2",
        "runs",
        "greater",
        0.1,
        metric="fit",
        a=EARLY,
        b=LATE,
        diverged="highest",
    ),
    _stop(
        "test accuracy, stopped early less L2",
        "runs",
        "equal",
        0.01,
        metric="test_accuracy",
        a=EARLY,
        b=LATE,
        diverged=0.1,
    ),
)


def stopping(config: Config, setup: Setup) -> dict[str, Any]:
    """Runs that stop early without a penalty, and runs to the end with one."""
    data = sets(setup)
    shared = data.parts | {"classes": jnp.zeros(data.classes)}
    run, options = partial(stopped, config=config), {"shared": shared, "chunk": config.chunk}
    chosen = tuned(run, setup, "L2", [LATE], {"l2": config.decays}, **options)
    runs = swept(run, setup, "runs", D18_PARTS, grid=[EARLY | {"l2": 0.0}, *chosen.arms], **options)
    return {"runs": runs, "notes": f"{chosen.budget} Stopping early looks at dev data after each of all epochs."}


def draw(found: Mapping[str, Any]) -> Any:
    """Loss curves and the norm of weights, with the epoch of the dev minimum."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(6.6, 2.7))
        left.set_yscale("log")
        best = averages(found["runs"], "best", [EARLY])[0][0]
        for axes in (left, right):
            axes.axvline(best, color="0.5", linewidth=0.8, linestyle=":", label="dev minimum (mean)")
        for axes, curves in (
            (left, (("dev", EARLY, "dev loss", 3, "-"), ("train", EARLY, "train loss", 0, "-"))),
            (right, (("norms", EARLY, "without penalty", 0, "-"), ("norms", LATE, "L2 to the end", 2, "--"))),
        ):
            for name, run, label, color, line in curves:
                mean, half = averages(found["runs"], name, [run])
                epochs = np.arange(len(mean[0])) + (name != "norms")
                axes.plot(epochs, mean[0], line, color=plots.PALETTE[color], label=label)
                axes.fill_between(
                    epochs, mean[0] - half[0], mean[0] + half[0], color=plots.PALETTE[color], alpha=0.2, linewidth=0
                )
            axes.set(xlabel="epoch")
            axes.legend(frameon=False)
        left.set(ylabel="loss (nats)")
        right.set(ylabel="norm of all weights", ylim=(0, None))
    return figure


CLAIMS = (
    Claim(
        id="D18",
        statement="Weights grow while training; stopping early picks the dev minimum and so caps them, but it "
        "couples fitting with regularizing: L2 to the end reaches a lower train loss at the same error.",
        measured=f"Relu networks on {FEW} examples: norm of the weights and losses at the start, at the dev minimum "
        "and at the end; train loss and test accuracy against L2 without stopping (strength tuned on dev data)",
        parts=D18_PARTS,
        measure=stopping,
        draw=draw,
        caption="Losses while a network trains without a penalty, and the norm of its weights beside that of one "
        "with L2, means with 95 % intervals. The dotted line is where stopping early would take the network from. "
        "What training does after it changes weights and train loss.",
    ),
)
