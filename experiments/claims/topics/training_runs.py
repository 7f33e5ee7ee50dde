"""Runs of training that are watched: stalled ones, and their first steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import classification
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.landscapes import selected
from jnorm import losses
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: Of the training set of the runs whose first steps are watched.
        labels: Of the training set of the runs that stall, more than the network can learn by heart.
        epochs: Of these.
        first: Steps that count as the first ones.
        tried: Learning rates that are tried for Adam.
    """

    examples: int = 320
    labels: int = 960
    epochs: int = 24
    first: int = 50
    tried: int = 13


QUICK = Config(examples=80, labels=80, epochs=4, first=5, tried=2)
RATE = 0.1
ACCURACY = {"accuracy": evaluation.accuracy}


def _data(config: Config, setup: Setup) -> classification.Sets:
    return few(sets(setup), config.examples)


def _network(data: classification.Sets, units: int, depth: int) -> Any:
    return classification.perceptron("relu", data.parts["train"][0].shape[1], data.classes, units=units, depth=depth)


def stalled(config: Config, setup: Setup) -> dict[str, Any]:
    """Mini-batch descent on labels of which a fifth are wrong, at a fixed rate; and with the rate cut late."""
    data = few(sets(setup), config.labels)
    network = _network(data, 8, 1)
    steps = config.epochs * (len(data.parts["train"][1]) // 8)

    def train(key: jax.Array, data: Any, *, cut: Any) -> dict[str, jax.Array]:
        x, y = data["train"]
        wrong, drawn = jax.random.split(jax.random.fold_in(key, 1))
        other = jax.random.permutation(drawn, y)
        labels = jnp.where(jax.random.uniform(wrong, y.shape) < 0.2, other, y)

        def norm(params: Any, state: Any) -> dict[str, jax.Array]:
            loss = lambda p: jnp.mean(losses.softmax_cross_entropy(network.apply(p, state, x, train=True)[0], labels))
            return {"norm": optax.tree.norm(jax.grad(loss)(params))}

        run = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            lambda cut: optax.sgd(lambda t: RATE * jnp.where((cut > 0) & (t >= 3 * steps // 4), 0.1, 1.0)),
            epochs=config.epochs,
            batch_size=8,
            drop_remainder=True,
            report=loop.Report(parts=[], curves=["train"], steps=["gradient_norm"], probe=norm),
        )
        found = run(key, {"train": (x, labels)}, cut=cut)
        curve, whole = jnp.log10(found["curve_train_loss"]), found["probe_norm"]
        batch = jnp.mean(found["step_gradient_norm"].reshape(config.epochs, -1), 1)
        quarter = config.epochs // 4
        late = lambda a: jnp.log10(jnp.mean(a[-quarter:]) / a[0])
        return {
            "progress": jnp.mean(curve[-quarter:]) - jnp.mean(curve[-2 * quarter : -quarter]),
            "final": jnp.mean(curve[-quarter:]),
            "whole": late(whole),
            "batch": late(batch),
            "curves": jnp.stack([curve, jnp.log10(whole), jnp.log10(batch)]),
        }

    shared = {"train": data.parts["train"]}
    result = swept(train, setup, "stalled", STALLED, grid=[{"cut": cut} for cut in (0, 1)], shared=shared)
    shown = np.asarray(result["curves"], float)[:, : setup.looks[0]]
    return {"stalled": result, "curves": shown}


def draw_stalled(measured: Mapping[str, Any]) -> Any:
    """Loss, and norms of the gradient, over epochs."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(6.4, 2.8))
        loss, whole, batch = 10 ** np.moveaxis(measured["curves"][0], 1, 0)
        cut = 10 ** measured["curves"][1][:, 0]
        epochs = np.arange(1, loss.shape[1] + 1)
        plots.band(left, epochs, loss, color=plots.PALETTE[0], label="fixed rate")
        plots.band(left, epochs, cut, color=plots.PALETTE[1], label="rate cut to a tenth late")
        left.set(xlabel="epoch", ylabel="loss on the training set (nats)", title="The loss")
        left.legend(loc="upper right")
        plots.band(right, epochs, batch, color=plots.PALETTE[2], label="of a mini-batch")
        plots.band(right, epochs, whole, color=plots.PALETTE[3], label="of the training set")
        right.set(xlabel="epoch", ylabel="norm of the gradient", title="The gradient at the fixed rate", ylim=(0, None))
        right.legend(loc="center right", bbox_to_anchor=(1.0, 0.62))
    return figure


ADAMS = ("Adam", "Adam with warm-up", "rectified Adam")


LEVELS = np.log10(np.log(10) * np.array([0.9, 0.8, 0.7, 0.6, 0.5]))
"""log10 of the losses at which runs are compared: shares of the loss by chance, of ten classes."""


def spread(curves: np.ndarray) -> np.ndarray:
    """log10 of the mean distance of each run's log loss from the median run's, ``[configuration, seed, steps]``.

    Of each arm at the steps at which its median run comes to `LEVELS`, so that an arm that only takes longer over the
    same way is not steadier; a level that it does not reach counts at the last step.
    """
    middle = np.nanmedian(curves, 1, keepdims=True)
    there = middle <= LEVELS[:, None, None, None]
    at = np.where(there.any(-1), there.argmax(-1), curves.shape[-1] - 1)[..., 0].T  # [configuration, level]
    return np.log10(np.mean(np.take_along_axis(np.abs(curves - middle), at[:, None], -1), -1))


def highest(curves: np.ndarray) -> np.ndarray:
    """The largest log10 loss over that at the start."""
    return np.max(curves, -1) - curves[..., 0]


def largest(rates: Any, accuracies: Any) -> float:
    """The largest rate at which most of the dev data are right, or the one with most; ``accuracies`` are by rate."""
    trains = [rate for rate, right in zip(rates, accuracies, strict=True) if right > 0.5]
    return max(trains) if trains else rates[int(np.argmax(accuracies))]


def first_steps(config: Config, setup: Setup) -> dict[str, Any]:
    """Dev loss before each step, all at the largest rate at which Adam still trains."""
    data = _data(config, setup)
    network = _network(data, 32, 3)

    def optimizer(rate: Any, kind: Any) -> optax.GradientTransformation:
        warm = lambda t: rate * jnp.where(kind == 1, jnp.minimum((t + 1) / config.first, 1.0), 1.0)
        return selected(kind // 2, optax.adam(warm), optax.radam(rate))

    def train(key: jax.Array, data: Any, *, kind: Any, rate: Any) -> dict[str, jax.Array]:
        x, y = data["dev"]

        def probe(step: loop.Step) -> dict[str, jax.Array]:
            outputs = network.apply(step.params, step.state, x, train=False)[0]
            return {"dev": jnp.log10(jnp.mean(losses.softmax_cross_entropy(outputs, y)))}

        run = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            optimizer,
            steps=4 * config.first,
            batch_size=16,
            metrics=ACCURACY,
            report=loop.Report(steps=[probe]),
        )
        found = run(key, data, rate=rate, kind=kind)
        curve = found["step_dev"]
        return {"early": curve[: config.first], "curve": curve, "dev_accuracy": found["dev_accuracy"]}

    options = {"integers": ("kind",), "shared": data.parts}
    values = {"rate": np.geomspace(1e-3, 1.0, config.tried).tolist()}
    chosen = tuned(train, setup, "L13", [{"kind": 0}], values, names=["Adam"], **options)
    right = np.nan_to_num(np.asarray(chosen.result["dev_accuracy"], float)).mean(1)
    rate = largest(values["rate"], right)
    grid = [{"kind": kind, "rate": rate} for kind in range(3)]
    result = swept(train, setup, "first", FIRST, grid=grid, **options)
    shown = 10 ** np.asarray(result["curve"], float)[:, : setup.looks[0], : 2 * config.first]
    late = np.asarray(result["dev_accuracy"], float)[:, : setup.looks[0]].mean(1)
    notes = f"Of {config.tried} rates {rate:.3g} is the largest at which Adam, with {setup.tuning} seeds of their own, "
    notes += f"has most of the dev data right. All have this rate. Dev accuracy after {4 * config.first} steps: "
    notes += f"{', '.join(f'{name} {100 * value:.1f} %' for name, value in zip(ADAMS, late, strict=True))}."
    return {"first": result, "early": shown, "notes": notes}


def draw_first_steps(measured: Mapping[str, Any]) -> Any:
    """The dev loss of single runs over the first steps."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 3, size=(7.0, 2.6), sharey=True)
        for axes, name, curves, color in zip(panels, ADAMS, measured["early"], plots.PALETTE, strict=False):
            axes.plot(np.arange(curves.shape[1]), curves.T, color=color, linewidth=0.7, alpha=0.7)
            axes.set(xlabel="step", title=name, yscale="log")
            axes.axvline(curves.shape[1] / 2, color="0.5", linewidth=0.8, linestyle=":")
            axes.set_yticks([0.3, 0.5, 1, 2, 3, 5], ["0.3", "0.5", "1", "2", "3", "5"])
            axes.minorticks_off()
        panels[0].set_ylabel("dev loss (nats), a line a run")
    return figure


TENTH, THIRD = float(np.log10(1.1)), float(np.log10(1 / 3))
STALLED = (
    compared(
        "log10 of the loss, last quarter of the epochs less the one before",
        "stalled",
        "equal",
        TENTH,
        metric="progress",
        a={"cut": 0},
        b=0.0,
        diverged="highest",
    ),
    *(
        compared(
            f"log10 of the gradient's norm, last quarter over first epoch, {what}",
            "stalled",
            "greater",
            0.0,
            metric=metric,
            a={"cut": 0},
            b=THIRD,
            diverged="lowest",
        )
        for metric, what in (("batch", "mini-batches"), ("whole", "training set"))
    ),
    compared(
        "log10 of the loss of the last quarter, rate cut before it against fixed",
        "stalled",
        "less",
        TENTH,
        metric="final",
        a={"cut": 1},
        b={"cut": 0},
        diverged="highest",
    ),
)
FIRST = tuple(
    compared(
        f"{what}: {ADAMS[kind]} against {ADAMS[0]}",
        "first",
        "less",
        effect,
        metric=metric,
        a={"kind": kind},
        b={"kind": 0},
        transform=transform,
        diverged="highest",
    )
    for what, metric, effect, transform in (
        (
            "log10 of the distance from the median run, in log loss, at equal loss",
            "curve",
            float(np.log10(2) / 2),
            spread,
        ),
        ("log10 of the highest loss over the first", "early", TENTH, highest),
    )
    for kind in (1, 2)
)
CLAIMS = (
    Claim(
        id="L10",
        statement="Training may stall while the gradient is still large: no critical point stopped it.",
        measured="Mini-batch descent of a net of 8 units on labels of which a fifth are drawn anew, at a fixed rate "
        "of .1: change of the training loss late, norms of the gradient then over those of the first epoch, and what "
        "a cut of the rate to a tenth does to the stalled loss",
        parts=STALLED,
        measure=stalled,
        draw=draw_stalled,
        caption="Training loss over epochs with a fixed rate and with one that is cut late, and the norm of the "
        "gradient at the fixed rate. At a minimum or saddle the gradient would vanish and a smaller rate would not "
        "help. Dots are means, bands 95 % of the runs.",
    ),
    Claim(
        id="L13",
        statement="Warm-up and rectified Adam steady the first steps.",
        measured="Dev loss before each of 200 steps, at the largest rate at which Adam still has most of the dev data "
        "right: how far runs are from the median run of their kind where that comes to nine to five tenths of the "
        "loss by chance (half the variance is what matters), and the highest loss of the first 50 over the first",
        parts=FIRST,
        measure=first_steps,
        draw=draw_first_steps,
        caption="Dev loss over the first steps, a line a run, all with the same final rate, at which Adam just still "
        "trains. Warm-up raises the rate from 0 over the first 50 steps, rectified Adam weighs it by how well the "
        "second moment is known. Runs that do not rise, and lie close together as they fall, are steady; dotted is the "
        "end of the first steps.",
        mended="At the rate that is best for Adam its loss never rose, so that nothing was left to steady, and an arm "
        "that stayed near its start for long won by the distance between runs. The rate is now the largest at which "
        "Adam still trains, and runs are compared where the median run of their kind is at the same loss.",
    ),
)
