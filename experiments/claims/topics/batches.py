"""Sizes and orders of batches: how well networks train and generalize by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, sets, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.deep import deep, scaled
from experiments.claims.training import averages, scores
from jnorm.activations import relu
from jnorm.nn.networks import Network


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of the hidden layer.
        examples: To train on, a multiple of 256.
        epochs: Of training, where sizes of batches are compared.
        rates: Learning rates to choose from.
        orders_epochs: Epochs, where orders are compared.
        orders_batch: Examples in a batch there.
    """

    units: int = 64
    examples: int = 768
    epochs: int = 10
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    orders_epochs: int = 5
    orders_batch: int = 16


QUICK = Config(units=8, examples=256, epochs=1, rates=(0.1,), orders_epochs=2)
SIZES = (16, 32, 64, 128, 256)
SMALL, LARGE = SIZES[0], SIZES[-1]


def _data(config: Config, setup: Setup) -> tuple[dict[str, tuple[np.ndarray, ...]], Network]:
    """Few examples to train on, so that accuracy is not at its ceiling, and the network."""
    loaded = sets(setup)
    data = {**loaded.parts, "train": tuple(a[: config.examples] for a in loaded.parts["train"])}
    return data, deep(relu, scaled(), data["train"][0].shape[1], loaded.classes, units=config.units, depth=1)


def sizes(config: Config, setup: Setup) -> dict[str, Any]:
    """Accuracy by the size of the batch, which is made of microbatches of the smallest size.

    Trainings of equally many updates end after those of the largest size.
    """

    def train(key: jax.Array, data: Any, *, size: Any, equal_updates: Any, rate: Any) -> dict[str, jax.Array]:
        last = jnp.where(equal_updates, config.epochs * len(data["train"][1]) // LARGE, jnp.inf)
        until = lambda count: jnp.where(count < last, rate, 0.0)
        optimizer = optax.MultiSteps(optax.sgd(until), lambda count: size // SMALL).gradient_transformation()
        found = scores(key, data, network, optimizer, epochs=config.epochs, batch_size=SMALL)
        return {f"{part}_accuracy": found[f"{part}_accuracy"] for part in ("train", "dev", "test")}

    data, network = _data(config, setup)
    arms = [{"equal_updates": equal, "size": size} for equal in (False, True) for size in SIZES]
    options = {"integers": ["size"], "shared": data}
    found = tuned(train, setup, "sizes", arms, {"rate": config.rates}, **options)
    trained = swept(train, setup, "sizes", BY_SIZE, grid=found.arms, **options)
    curves = {
        f"{part}, {name}": np.stack(averages(trained, f"{part}_accuracy", arms[place : place + len(SIZES)]))
        for place, name in ((0, "epochs"), (len(SIZES), "updates"))
        for part in ("train", "test")
    }
    return {"sizes": trained, "notes": found.budget} | curves


BY_SIZE = [
    compared(
        f"equal {name}: {part} accuracy, batches of {SMALL} less batches of {LARGE}",
        "sizes",
        "greater",
        0.01,
        metric=f"{part}_accuracy",
        a={"size": SMALL, "equal_updates": equal},
        b={"size": LARGE, "equal_updates": equal},
        diverged=0.1,
        own=("rate",),
    )
    for name, equal in (("epochs", False), ("updates", True))
    for part in ("train", "test")
]


def draw_sizes(measured: Mapping[str, Any]) -> Any:
    """Accuracy over the size of the batch, for equally many epochs and for equally many updates."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.4, 3.0), sharey=True)
        for axes, name in zip(panels, ("epochs", "updates"), strict=True):
            for part, color, dash in (("train", plots.PALETTE[1], "--o"), ("test", plots.PALETTE[0], "-o")):
                means, halves = 100 * measured[f"{part}, {name}"]
                axes.errorbar(SIZES, means, halves, fmt=dash, color=color, markersize=3, capsize=2, label=f"{part} set")
            axes.set(xscale="log", xlabel="examples in a batch", title=f"equally many {name}")
            axes.set_xticks(SIZES, SIZES)
            axes.minorticks_off()
        panels[0].set_ylabel("accuracy (%)")
        plots.legend(figure, panels[0], title="mean and its 95 % interval; rate tuned for each point")
    return figure


ORDERS = ("reshuffled", "fixed", "sorted")


def orders(config: Config, setup: Setup) -> dict[str, Any]:
    """Batches of several epochs, and trainings, by three orders of the examples."""
    data, network = _data(config, setup)
    y = np.asarray(data["train"][1])
    by_class = jnp.asarray(np.argsort(y, kind="stable"))

    def drawn(kind: Any, run: jax.Array, epoch: jax.Array) -> jax.Array:
        """The order of an epoch, by the run's own key and the epoch's."""
        once, anew = (jax.random.permutation(key, len(y)) for key in (run, epoch))
        return jnp.select([kind == 0, kind == 1], [anew, once], by_class)

    def train(key: jax.Array, data: Any, *, order: Any, rate: Any) -> dict[str, jax.Array]:
        own = jax.random.fold_in(key, 1)
        options = {"epochs": config.orders_epochs, "batch_size": config.orders_batch}
        found = scores(key, data, network, optax.sgd(rate), order=lambda key, epoch: drawn(order, own, key), **options)
        return {name: found[name] for name in ("train_loss", "dev_accuracy", "test_accuracy")}

    arms = [{"order": kind} for kind in range(len(ORDERS))]
    options = {"integers": ["order"], "shared": data}
    found = tuned(train, setup, "orders", arms, {"rate": config.rates}, **options)
    trained = swept(train, setup, "orders", BY_ORDER, grid=found.arms, **options)
    keys = jax.random.split(jax.random.key(setup.seeds.start), config.orders_epochs)
    rows = {name: np.stack([drawn(kind, keys[0], key) for key in keys]) for kind, name in enumerate(ORDERS)}
    again = {f"again {name}": _again(row, config.orders_batch) for name, row in rows.items()}
    notes = f"{found.budget} Orders are numbered: {', '.join(f'{i} {name}' for i, name in enumerate(ORDERS))}."
    shown = {f"classes {name}": y[row[:, : 4 * config.orders_batch]] for name, row in rows.items()}
    return {"orders": trained, "notes": notes} | again | shown


def _again(orders: np.ndarray, batch: int) -> float:
    """The share of batches after the first epoch that were there before, as sets of examples."""
    batches = np.sort(orders[:, : orders.shape[1] // batch * batch].reshape(len(orders), -1, batch))
    before: set[bytes] = {row.tobytes() for row in batches[0]}
    seen = []
    for epoch in batches[1:]:
        rows = [row.tobytes() for row in epoch]
        seen += [row in before for row in rows]
        before.update(rows)
    return float(np.mean(seen))


BY_ORDER = [
    Number("share of batches that come again in later epochs, reshuffled", "again reshuffled", high=0.0),
    Number("the same in a fixed order", "again fixed", low=1.0),
    Number("the same in sorted order", "again sorted", low=1.0),
    *(
        compared(
            f"test accuracy, reshuffled less {other}",
            "orders",
            "greater",
            0.01,
            metric="test_accuracy",
            a={"order": 0},
            b={"order": place},
            diverged=0.1,
            own=("rate",),
        )
        for place, other in ((1, "a fixed order"), (2, "sorted by class"))
    ),
]


def draw_orders(measured: Mapping[str, Any]) -> Any:
    """The classes of the first four batches of two epochs, and the test accuracy of all runs, by order."""
    from experiments.claims import drawing
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 4, size=(8.4, 2.6), width_ratios=[1, 1, 1, 1.4])
        for axes, name in zip(panels, ORDERS, strict=False):
            classes = measured[f"classes {name}"][:2].reshape(2 * 4, -1)
            axes.imshow(np.sort(classes, 1), cmap="viridis", aspect="auto", vmin=0, vmax=classes.max() or 1)
            axes.axhline(3.5, color="white", linewidth=3)
            axes.set(title=name, xlabel="example of the batch")
            axes.set_yticks(range(8), [1, 2, 3, 4] * 2)
        panels[0].set_ylabel("epoch 2, batch      epoch 1, batch")
        samples = {
            name: 100 * drawing.values(measured["orders"], "test_accuracy", {"order": kind})
            for kind, name in enumerate(ORDERS)
        }
        drawing.dots(panels[3], samples)
        panels[3].set(xlabel="test accuracy (%)", title="after training")
        figure.suptitle("Classes of the examples in the first batches (a colour a class)", fontsize=8)
    return figure


CLAIMS = (
    Claim(
        id="L7",
        statement="Smaller batches train and generalize better.",
        measured="Train and test accuracy by the size of the batch, after equally many epochs and after equally many "
        "updates, the rate tuned for each",
        parts=BY_SIZE,
        measure=sizes,
        draw=draw_sizes,
        caption="Accuracy on the training and the test set over the number of examples in a batch. With equally many "
        "epochs a small batch has more updates. With equally many updates a large batch has seen more examples.",
    ),
    Claim(
        id="L18",
        statement="Shuffling gives every epoch other batches, and networks that do better on test data than those of "
        "the same batches in every epoch.",
        measured="The share of batches that come again; test accuracy by examples reshuffled in each epoch, in one "
        "random order, and sorted by class, the rate tuned for each",
        parts=BY_ORDER,
        measure=orders,
        draw=draw_orders,
        caption="The classes in the first four batches of two epochs, sorted within a batch, and the test accuracy of "
        "all runs. Reshuffled, both epochs have other batches. Sorted, a batch holds a single class.",
    ),
)
