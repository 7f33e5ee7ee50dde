"""Whose statistics batch norm uses in training."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing
from experiments.claims.arms import compared, few, sets, swept, timed, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.deep import deep, scaled
from jnorm import losses
from jnorm.activations import relu
from jnorm.nn import batch_norm
from jnorm.nn.layers import Normalizer
from jnorm.train import evaluation, loop
from jnorm.train.loop import Report


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: To train on; few, so that accuracy is not at its ceiling.
        units: Of the hidden layers.
        depth: Hidden layers.
        epochs: Of training.
        batch: Examples in a step.
        rates: Learning rates to choose from.
    """

    examples: int = 384
    units: int = 64
    depth: int = 3
    epochs: int = 8
    batch: int = 32
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


QUICK = Config(
    examples=64,
    units=8,
    depth=2,
    epochs=1,
    rates=(0.1,),
)
DECAY = 0.9  # short trainings: statistics of the last ten batches
NORM = partial(batch_norm.apply, decay=DECAY)
ACCURACY = {"accuracy": evaluation.accuracy}


def _classes(data: Mapping[str, Any]) -> int:
    return int(np.max(data["train"][1])) + 1


def _network(config: Config, numbered: Any, classes: int, *, full: bool, running: Any = False) -> Any:
    """A perceptron on inputs with their number in the last column.

    In training it is normalized by the statistics of the whole training set, by running averages, through which no
    gradient goes, or by those of the batch.
    """
    everything = jnp.asarray(numbered)[:, :-1]

    def by(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        y, moved = NORM(params, state, x, train=train)
        return jnp.where(running, NORM(params, state, x, train=False)[0], y), moved

    norm = Normalizer(batch_norm.init, NORM if running is False else by)
    sizes = {"units": config.units, "depth": config.depth}
    inputs = everything.shape[1]
    network = deep(relu, scaled(2**0.5), inputs, classes, first=scaled(), normalizer=norm, **sizes)

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool, key: Any = None) -> tuple[jax.Array, Any]:
        if train and full:
            outputs, state = network.apply(params, state, everything, train=True)
            return outputs[x[:, -1].astype(int)], state
        return network.apply(params, state, x[:, :-1], train=train)

    return SimpleNamespace(init=network.init, apply=apply)


STATISTICS = {
    "full": {"full": True, "running": False},
    "batch": {"full": False, "running": False},
    "running": {"full": False, "running": True},
}


def sources(config: Config, setup: Setup) -> dict[str, Any]:
    """Training and evaluation by statistics of all the data, of the batch, and by running averages."""

    def numbered(parts: Mapping[str, Any]) -> dict[str, Any]:
        row = lambda x: np.arange(len(x), dtype=x.dtype)[:, None]
        return {part: (np.concatenate([x, row(x)], 1), y) for part, (x, y) in parts.items()}

    def train(key: jax.Array, data: Any, *, full: bool, running: Any, rate: Any) -> dict[str, jax.Array]:
        network = _network(config, data["train"][0], classes, full=full, running=running)
        run = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            lambda rate: optax.sgd(rate),
            epochs=config.epochs,
            batch_size=config.batch,
            metrics=ACCURACY,
            report=Report(keep_params=True),
        )
        found = run(key, data, rate=rate)
        usual = _network(config, data["train"][0], classes, full=False)
        state = evaluation.fresh_state(key, usual, found["params"], data["train"][0])
        predict = lambda x: network.apply(found["params"], state, x, train=False)[0]
        exact = {part: evaluation.evaluate(predict, data[part], ACCURACY)["accuracy"] for part in ("dev", "test")}
        return {
            "exact_dev": exact["dev"],
            "exact_test": exact["test"],
            "test_loss": found["test_loss"],
            "lost": exact["test"] - found["test_accuracy"],
        }

    data = numbered(few(sets(setup), config.examples).parts)
    classes = _classes(data)
    options = {"static": ["full"], "shared": data}
    found = tuned(
        train,
        setup,
        "training by statistics",
        list(STATISTICS.values()),
        {"rate": config.rates},
        on="exact_dev",
        **options,
    )
    trained = swept(train, setup, "accuracy", SOURCES, grid=found.arms, **options)
    return {"accuracy": trained, "notes": found.budget} | _costs(config, setup, numbered(sets(setup).parts))


def _costs(config: Config, setup: Setup, data: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds and bytes of a step with all the data that there are."""
    x, y = (jnp.asarray(a[: config.batch]) for a in data["train"])
    calls, space = {}, {}
    for name, statistics in STATISTICS.items():
        network = _network(config, data["train"][0], _classes(data), **statistics)
        params, state = network.init(jax.random.key(0))

        def loss(params: Any, state: Any, x: jax.Array, y: jax.Array, network: Any = network) -> tuple[Any, Any]:
            outputs, state = network.apply(params, state, x, train=True)
            return jnp.mean(losses.softmax_cross_entropy(outputs, y)), state

        step = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(params, state, x, y).compile()
        calls[name] = partial(step, params, state, x, y)
        space[name] = step.memory_analysis().temp_size_in_bytes
    seconds = timed(calls, len(setup.seeds))
    factors = {f"space {name}": space[name] / space["batch"] for name in ("full", "running")}
    return {"seconds": seconds, "space": np.array([space[name] for name in STATISTICS])} | factors


SOURCES = [
    compared(
        "log seconds of a step, statistics of all the data less those of the batch",
        "seconds",
        "greater",
        np.log(2),
        a={"arm": "full"},
        b={"arm": "batch"},
        method="sign",
    ),
    compared(
        "log seconds of a step, running averages less the batch",
        "seconds",
        "equal",
        np.log(2),
        a={"arm": "running"},
        b={"arm": "batch"},
        method="sign",
    ),
    Number("memory of a step, all the data over the batch", "space full", low=2.0),
    Number("memory of a step, running averages over the batch", "space running", high=2.0),
    compared(
        "test accuracy, trained by the batch's less by all the data's",
        "accuracy",
        "equal",
        0.01,
        metric="exact_test",
        a=STATISTICS["batch"],
        b=STATISTICS["full"],
        diverged=0.1,
        own=("rate",),
    ),
    compared(
        "trained by the batch's: test accuracy evaluated with all the data's less with running averages",
        "accuracy",
        "equal",
        0.01,
        metric="lost",
        a=STATISTICS["batch"],
        own=("rate",),
    ),
]


def draw_sources(measured: Mapping[str, Any]) -> Any:
    """Seconds and memory of a step, and test accuracy, by the statistics that normalize in training."""
    from jnorm import plots

    names = {"full": "all data", "batch": "batch", "running": "running averages"}
    with plots.style():
        figure, (seconds, space, accuracy) = plots.figure(1, 3, size=(8.4, 2.2), sharey=True)
        logs = dict(zip(names.values(), np.asarray(measured["seconds"]["value"]), strict=True))
        drawing.dots(seconds, {name: 1e3 * np.exp(values) for name, values in logs.items()})
        seconds.set(xlabel="milliseconds", xlim=(0, None), title="time of a step")
        space.barh(range(3), measured["space"] / 2**20, height=0.5, color=plots.PALETTE[2])
        space.set(xlabel="MiB", title="memory of a step")
        samples = {
            name: 100 * drawing.values(measured["accuracy"], "exact_test", STATISTICS[key])
            for key, name in names.items()
        }
        drawing.dots(accuracy, samples)
        accuracy.set(xlabel="test accuracy (%)", title="after training")
    return figure


CLAIMS = (
    Claim(
        id="S10",
        statement="Statistics of the whole data set after every step cost too much; those of the batch are used "
        "instead, and running averages in evaluation, without a loss.",
        measured="Seconds and memory of a training step by statistics of all the data, of the batch and by running "
        "averages; accuracy of trainings by each, and evaluated with statistics of all the data or running averages",
        parts=SOURCES,
        measure=sources,
        draw=draw_sources,
        caption="What a step of training costs, and the test accuracy after training, by the statistics that normalize "
        "in training: of all the data, of the batch, or running averages. Points with bars are means and their 95 % "
        "intervals, small dots are single turns and runs. Statistics of all the data take a pass over them a step.",
    ),
)
