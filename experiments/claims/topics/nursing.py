"""Many models at once against one that is looked after, with the same number of steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import classification
from experiments.claims import drawing
from experiments.claims.arms import compared, few, sets, swept, timed
from experiments.claims.claim import Claim, Setup
from jnorm import losses
from jnorm.train import evaluation


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: Of the training set.
        models: Of the population.
        look: Steps between two looks at the dev set.
        looks: Of each model of the population; one model alone has as many steps as all of them.
    """

    examples: int = 200
    models: int = 16
    look: int = 50
    looks: int = 2


QUICK = Config(examples=60, models=4, look=3)
ARMS = ("population", "one model, nursed", "one model, left alone")
PATIENCE, CUT, WEAK = 2, 0.3, 0.5


class _Life(NamedTuple):
    """A model in training: weights and their velocity, hyperparameters, how old it is, and the best so far."""

    params: Any
    velocity: Any
    rate: jax.Array
    beta: jax.Array
    age: jax.Array
    since: jax.Array
    low: jax.Array
    best: jax.Array
    test: jax.Array


def lives(config: Config, data: classification.Sets) -> Callable[..., jax.Array]:
    """A function ``life(key, parts, looks, nursed)`` that returns the best dev loss and the test accuracy there."""
    network = classification.perceptron("relu", data.parts["train"][0].shape[1], data.classes, units=32, depth=1)

    def born(key: jax.Array) -> _Life:
        weights, rate, beta = jax.random.split(key, 3)
        params = network.init(weights)[0]
        rate = 10 ** jax.random.uniform(rate, minval=-3.5, maxval=0.5)
        beta = 1 - 10 ** jax.random.uniform(beta, minval=-2.0, maxval=-0.3)
        worst = jnp.array(jnp.inf)
        zero = jnp.zeros((), int)
        return _Life(params, jax.tree.map(jnp.zeros_like, params), rate, beta, zero, zero, worst, worst, jnp.zeros(()))

    def life(key: jax.Array, parts: Any, looks: int, nursed: Any = 0) -> jax.Array:
        x, y = parts["train"]
        state = network.init(key)[1]
        outputs = lambda params, x: network.apply(params, state, x, train=False)[0]

        def step(now: _Life, key: jax.Array) -> tuple[_Life, None]:
            at = jax.random.randint(key, (20,), 0, len(y))
            loss = lambda params: jnp.mean(losses.softmax_cross_entropy(outputs(params, x[at]), y[at]))
            velocity = jax.tree.map(lambda v, g: now.beta * v + g, now.velocity, jax.grad(loss)(now.params))
            params = jax.tree.map(lambda p, v: p - now.rate * v, now.params, velocity)
            return now._replace(params=params, velocity=velocity), None

        def looked(now: _Life, key: jax.Array) -> tuple[_Life, None]:
            steps, fresh = jax.random.split(key)
            now, _ = jax.lax.scan(step, now, jax.random.split(steps, config.look))
            dev, test = (outputs(now.params, parts[part][0]) for part in ("dev", "test"))
            loss = jnp.nan_to_num(jnp.mean(losses.softmax_cross_entropy(dev, parts["dev"][1])), nan=jnp.inf)
            better = loss < now.best
            accuracy = jnp.mean(evaluation.accuracy(test, parts["test"][1]))
            now = now._replace(best=jnp.minimum(loss, now.best), test=jnp.where(better, accuracy, now.test))
            since = jnp.where(loss < now.low, 0, now.since + 1)
            cut = since >= PATIENCE
            now = now._replace(
                rate=now.rate * jnp.where(cut & (nursed > 0), CUT, 1.0),
                since=jnp.where(cut, 0, since),
                low=jnp.minimum(loss, now.low),
                age=now.age + 1,
            )
            weak = jnp.mean(evaluation.accuracy(dev, parts["dev"][1])) < WEAK
            drop = ((now.age == PATIENCE) & weak | ~jnp.isfinite(loss)) & (nursed > 0)
            other = born(fresh)._replace(best=now.best, test=now.test)
            return jax.tree.map(lambda old, new: jnp.where(drop, new, old), now, other), None

        begin, go = jax.random.split(key)
        end, _ = jax.lax.scan(looked, born(begin), jax.random.split(go, looks))
        return jnp.stack([end.best, end.test])

    return life


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """All arms, and the seconds of a population at once and one model after another."""
    data = few(sets(setup), config.examples)
    life = lives(config, data)
    whole = config.models * config.looks

    def train(key: jax.Array, data: Any, *, arm: jax.Array) -> dict[str, jax.Array]:
        best, test = jax.vmap(lambda k: life(k, data, config.looks))(jax.random.split(key, config.models)).T
        alone = life(key, data, whole, jnp.where(arm == 1, 1, 0))[1]
        return {"test_accuracy": jnp.where(arm == 0, test[jnp.argmin(best)], alone)}

    grid = [{"arm": i} for i in range(len(ARMS))]
    result = swept(train, setup, "models", MODELS, grid=grid, shared=data.parts)
    keys = jax.random.split(jax.random.key(setup.seeds.start), config.models)
    parts = jax.tree.map(jnp.asarray, data.parts)
    one = lambda k: life(k, parts, config.looks)
    calls = {"at once": jax.jit(jax.vmap(one)), "in turn": jax.jit(lambda keys: jax.lax.map(one, keys))}
    seconds = timed({name: lambda call=call: call(keys) for name, call in calls.items()}, len(setup.seeds))
    shown = np.asarray(result["test_accuracy"], float)[:, : setup.looks[0]]
    return {"models": result, "seconds": seconds, "accuracies": shown, "log seconds": np.asarray(seconds["value"])}


def draw(measured: Mapping[str, Any]) -> Any:
    """Test accuracies of the arms, and seconds."""
    from jnorm import plots

    models = [100 * drawing.values(measured["models"], "test_accuracy", {"arm": i}) for i in range(len(ARMS))]
    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(6.4, 2.8), width_ratios=(3, 2))
        shown = (
            (left, ARMS, models, "test accuracy (%)", "As many steps for each"),
            (
                right,
                ("at once", "in turn"),
                1e3 * np.exp(measured["log seconds"]),
                "milliseconds",
                "A population's time",
            ),
        )
        for axes, names, values, label, title in shown:
            for i, some in enumerate(values):
                jitter = np.linspace(-0.2, 0.2, len(some))
                axes.plot(i + jitter, np.sort(some), "o", color=plots.PALETTE[i], alpha=0.5, markersize=3)
                axes.plot(i, np.mean(some), "_", color="black", markersize=22, markeredgewidth=2)
            axes.set(ylabel=label, title=title, xlim=(-0.5, len(values) - 0.5))
            axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
        left.set_ylim(0, 100)
        right.set_ylim(0)
    return figure


MODELS = tuple(
    compared(
        f"test accuracy: {ARMS[0]} against {ARMS[arm]}",
        "models",
        "greater",
        0.01,
        metric="test_accuracy",
        a={"arm": 0},
        b={"arm": arm},
        diverged=0.0,
    )
    for arm in (1, 2)
)
CLAIMS = (
    Claim(
        id="D21",
        statement="Where compute allows, many models at once are better than one that is nursed.",
        measured="Test accuracy of the model with the lowest dev loss: 16 random rates and momenta with 100 steps "
        "each, or one model with all 1600 steps, which is nursed (rate cut on a plateau of the dev loss, a model that "
        "is weak after 100 steps dropped for another) or left alone; seconds of the population, vmapped and one after "
        "another",
        parts=[
            *MODELS,
            compared(
                "log of the seconds of the population, all at once against one after another",
                "seconds",
                "less",
                float(np.log(2)),
                a={"arm": "at once"},
                b={"arm": "in turn"},
                method="sign",
            ),
        ],
        measure=measure,
        draw=draw,
        caption="Test accuracy with the same number of steps, a dot a run, sorted, and the mean. The population finds "
        "good hyperparameters by their number, the nurse by cutting rates and dropping the weak. On the right the "
        "seconds that the population takes at once and one model after another.",
    ),
)
