"""A trained network as the start of the next one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.deep import deep, scaled
from experiments.claims.training import averages, scores
from jnorm import losses
from jnorm.activations import relu
from jnorm.data import augment
from jnorm.train import evaluation, loop
from jnorm.train.loop import Report, Step


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of each of two hidden layers.
        source: Passes over the first task.
        examples: Training examples of the next task.
        epochs: Passes over them.
        rates: Learning rates of the next task that are tried for each arm.
    """

    units: int = 64
    source: int = 10
    examples: int = 200
    epochs: int = 20
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)


QUICK = Config(units=8, source=1, examples=40, epochs=2, rates=(0.03, 0.3))
TASKS = {"classes": "half of the classes first, then all", "shift": "images first, then the same two pixels aside"}
ENOUGH = 0.8  # accuracy to which steps are counted
BATCH = 20


def _tasks(config: Config, setup: Setup) -> dict[str, dict[str, Any]]:
    """For each kind of change the training set of the first task, and train, dev and test sets of the next."""
    data = sets(setup, "digits")
    x, y = data.parts["train"]
    known = y < data.classes // 2
    moved = lambda x: np.asarray(augment.shifted(x.reshape(-1, 8, 8, 1), np.full((len(x), 2), 2)).reshape(len(x), -1))
    next_ = few(data, config.examples).parts
    shifted = {part: (moved(a), b) for part, (a, b) in next_.items()}
    return {"classes": next_ | {"source": (x[known], y[known])}, "shift": shifted | {"source": (x, y)}}


def warm(config: Config, setup: Setup) -> dict[str, Any]:
    """The next task from the trained network and from a fresh one."""
    tasks = _tasks(config, setup)

    def train(key: jax.Array, tasks: Any, *, task: str, warm: Any, rate: Any) -> dict[str, Any]:
        parts = tasks[task]
        inputs, first, then = jax.random.split(key, 3)
        network = deep(relu, scaled(2**0.5), 64, 10, units=config.units, depth=2, first=scaled())
        options: dict[str, Any] = {"epochs": config.source, "batch_size": 32}
        report = Report(["train", "test"], keep_params=True)
        source = {"train": parts["source"], "test": parts["test"]}
        before = scores(first, source, network, optax.sgd(0.1), report=report, **options)
        fresh = network.init(inputs)
        start = jax.tree.map(lambda a, b: jnp.where(warm, a, b), (before["params"], before["state"]), fresh)

        def reached(step: Step) -> dict[str, jax.Array]:
            x, y = parts["test"]
            return {"accuracy": jnp.mean(evaluation.accuracy(network.apply(*step[:2], x, train=False)[0], y))}

        report = Report(["dev", "test"], steps=[reached])
        options = {"epochs": config.epochs, "batch_size": BATCH, "report": report}
        metrics = {"accuracy": evaluation.accuracy}
        run = loop.trainer(network, losses.softmax_cross_entropy, optax.sgd(rate), metrics=metrics, **options)
        found = run(then, {part: parts[part] for part in ("train", "dev", "test")}, start)
        curve = found["step_accuracy"]
        steps = jnp.where(jnp.any(curve >= ENOUGH), jnp.argmax(curve >= ENOUGH), len(curve))
        kept = {name: found[name] for name in ("test_accuracy", "dev_accuracy")}
        return kept | {"log2_steps": jnp.log2(1.0 + steps), "curve_test_accuracy": curve}

    arms = [{"task": task, "warm": warm} for task in TASKS for warm in (True, False)]
    names = [f"{arm['task']}, {'warm' if arm['warm'] else 'fresh'}" for arm in arms]
    options: dict[str, Any] = {"static": ("task",), "shared": tasks}
    chosen = tuned(train, setup, "warm starts", arms, {"rate": config.rates}, names=names, **options)
    trained = swept(train, setup, "warm starts", WARM, grid=chosen.arms, **options)
    curves = averages(trained, "curve_test_accuracy", arms)[0].reshape(len(TASKS), 2, -1)
    return {"warm starts": trained, "curves": curves, "notes": chosen.budget}


def draw(measured: Mapping[str, Any]) -> Any:
    """Accuracy over the steps of the next task."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.4, 2.8), sharey=True)
        for axes, words, curves in zip(panels, TASKS.values(), measured["curves"], strict=True):
            for i, label in enumerate(("trained on the first task", "fresh")):
                axes.plot(1 + np.arange(curves.shape[1]), curves[i], color=plots.PALETTE[i], label=label)
            axes.axhline(ENOUGH, color="0.5", linewidth=0.8, linestyle=":")
            axes.set(xscale="log", ylim=(0, 1), xlabel="step of the next task", title=words.capitalize())
        panels[0].set_ylabel("test accuracy")
        plots.legend(figure, panels[0])
    return figure


def _judged(task: str, metric: str, claim: str, effect: float, what: str) -> Any:
    return compared(
        f"{TASKS[task]}: {what}, warm less fresh",
        "warm starts",
        claim,
        effect,
        metric=metric,
        a={"task": task, "warm": True},
        b={"task": task, "warm": False},
        own=("rate",),
        diverged="highest" if metric == "log2_steps" else 0.1,
    )


WARM = tuple(
    part
    for task in TASKS
    for part in (
        _judged(task, "log2_steps", "less", 0.585, f"log2 of the steps to accuracy {ENOUGH:g}"),
        _judged(task, "test_accuracy", "greater", 0.01, "test accuracy"),
    )
)
CLAIMS = (
    Claim(
        id="I10",
        statement="A trained network is a good start for the next one.",
        measured="Steps until four fifths of the test examples are right (factor 1.5), and test accuracy at the "
        "end, of a network trained on half of the classes and then on all, and of one trained on images and then on "
        "shifted ones, against fresh ones; few examples of the next task, learning rate tuned for each",
        parts=WARM,
        measure=warm,
        draw=draw,
        caption="Test accuracy over the steps of the next task, averaged over the runs. The dotted line is the "
        "accuracy to which steps are counted. A start that helps lies above a fresh one from the first steps on.",
    ),
)
