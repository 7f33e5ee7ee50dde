"""Momentum with batches of several sizes, up to all examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import classification
from experiments.claims import drawing
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Setup
from jnorm import losses
from jnorm.train import loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: Of the training set.
        epochs: Of each run at most.
        tried: Learning rates that are tried for each arm.
    """

    examples: int = 320
    epochs: int = 150
    tried: int = 7


QUICK = Config(epochs=2, tried=2)
MICRO = 40
SIZES = {1: "mini-batches", 2: "double batches", 8: "the whole batch"}
MOMENTA = (0.0, 0.5, 0.9)
LEVEL_OF_LOSS = 0.1


def batches(config: Config, setup: Setup) -> dict[str, Any]:
    """Epochs until the training loss is below a level, for batches of 1, 2 and 8 times 40 examples and momenta."""
    data = few(sets(setup), config.examples)
    inputs = data.parts["train"][0].shape[1]
    run = loop.trainer(
        classification.perceptron("relu", inputs, data.classes, units=32, depth=1),
        losses.softmax_cross_entropy,
        lambda rate, beta, size: optax.MultiSteps(
            optax.sgd(rate, beta), every_k_schedule=lambda _: jnp.asarray(size, jnp.int32)
        ).gradient_transformation(),
        epochs=config.epochs,
        batch_size=MICRO,
        report=loop.Report(parts=[], curves=["train"]),
    )

    def train(key: jax.Array, data: Any, *, size: Any, beta: Any, rate: Any) -> dict[str, jax.Array]:
        loss = run(key, {"train": data["train"]}, size=size, beta=beta, rate=rate)["curve_train_loss"]
        log = jnp.log(jnp.concatenate([jnp.log(jnp.full(1, 10.0)), loss]) / LEVEL_OF_LOSS)
        after = jnp.argmax(log[1:] < 0)
        part = log[after] / (log[after] - log[after + 1])
        arrived = jnp.any(log[1:] < 0)
        return {"epochs": jnp.log10(jnp.where(arrived, after + part, config.epochs)), "loss": loss}

    arms = [{"size": size, "beta": beta} for size in SIZES for beta in MOMENTA]
    names = [f"{name}, momentum {beta:g}" for name in SIZES.values() for beta in MOMENTA]
    values = {"rate": np.geomspace(0.02, 3.0, config.tried).tolist()}
    options = {"integers": ("size",), "finite": ("epochs",), "shared": data.parts}
    chosen = tuned(train, setup, "D30", arms, values, on="epochs", best="lowest", names=names, **options)
    result = swept(train, setup, "batches", BATCHES, grid=chosen.arms, **options)
    shown = 10 ** np.asarray(result["epochs"], float)[:, : setup.looks[0]]
    return {"batches": result, "epochs": shown.reshape(len(SIZES), len(MOMENTA), -1), "notes": chosen.budget}


def draw_batches(measured: Mapping[str, Any]) -> Any:
    """Epochs over momentum, a line a batch size."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(3.8, 3.0))
        for i, (size, name) in enumerate(SIZES.items()):
            found = [drawing.values(measured["batches"], "epochs", {"size": size, "beta": beta}) for beta in MOMENTA]
            means = 10 ** np.array([runs.mean() for runs in found])
            ends = 10 ** np.array([np.quantile(runs, [0.025, 0.975]) for runs in found]).T
            look = {"color": plots.PALETTE[i], "fmt": ("o-", "s--", "^:")[i], "markersize": 4, "capsize": 2}
            places, label = np.arange(len(MOMENTA)) + 0.05 * (i - 1), f"{name} ({size * MICRO} examples)"
            axes.errorbar(places, means, np.abs(ends - means), label=label, **look)
        axes.set_xticks(range(len(MOMENTA)), [f"{beta:g}" for beta in MOMENTA])
        axes.set(xlabel="momentum", ylabel=f"epochs to a loss of {LEVEL_OF_LOSS:g}", yscale="log")
        axes.set_yticks([3, 5, 10, 20, 50], ["3", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.set_title("Each at its best rate")
        plots.legend(figure, axes)
    return figure


BATCHES = tuple(
    compared(
        f"log10 of the epochs to a training loss of {LEVEL_OF_LOSS:g}, {SIZES[size]}: momentum .9 against none",
        "batches",
        "less",
        float(np.log10(4 / 3)),
        metric="epochs",
        a={"size": size, "beta": 0.9},
        b={"size": size, "beta": 0.0},
        own=("rate",),
        diverged="highest",
    )
    for size in (8, 1)
)
CLAIMS = (
    Claim(
        id="D30",
        statement="Momentum helps with the whole batch too, and not only with mini-batches.",
        measured="Epochs until the loss on 320 digits is below .1, with momentum 0, .5 and .9 and batches of 40, 80 "
        "and all examples, rate tuned for each; a quarter of the epochs is what matters",
        parts=BATCHES,
        measure=batches,
        draw=draw_batches,
        caption="Epochs to the same training loss over momentum, for three sizes of the batch, each at its best rate. "
        "A falling line means that momentum helps. Points are geometric means, bars hold 95 % of the runs.",
    ),
)
