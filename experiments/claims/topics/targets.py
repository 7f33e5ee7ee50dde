"""What a classifier is asked to hit: probabilities by cross-entropy or squared error, class numbers or one-hot rows."""

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
from experiments.claims.training import averages
from jnorm import losses
from jnorm.activations import relu, softmax
from jnorm.train import evaluation, loop
from jnorm.train.loop import Report


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of the hidden layer.
        epochs: Of training.
        examples: To train on.
        batch: Examples in a step.
        rates: Learning rates to choose from.
        numberings: Random orders of the classes, for each seed.
        side: Points along a side of the picture.
    """

    units: int = 64
    epochs: int = 10
    examples: int = 640
    batch: int = 32
    rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    numberings: int = 6
    side: int = 101


QUICK = Config(units=8, epochs=2, examples=64, rates=(0.1,), numberings=2, side=21)
BAD = 30.0  # factor of the readout's weights at a bad start: scores of that size, sure of wrong classes
FAR = (-10.0, 10.0, -1000.0)  # scores, the first that of the right class


def on_softmax(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Squared error of probabilities and one-hot targets, one number an example."""
    wanted = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)
    return jnp.sum(losses.squared_error(softmax(outputs), wanted), -1)


LOSSES = {"cross-entropy": losses.softmax_cross_entropy, "squared error": on_softmax}


def _data(config: Config, setup: Setup) -> dict[str, tuple[np.ndarray, ...]]:
    parts = sets(setup).parts
    return {**parts, "train": tuple(a[: config.examples] for a in parts["train"])}


def slopes(config: Config, setup: Setup) -> dict[str, Any]:
    """Gradients of both losses far from the target, trainings from there, and what both losses estimate."""

    def train(key: jax.Array, data: Any, *, likely: Any, start: Any, rate: Any) -> dict[str, jax.Array]:
        run = loop.trainer(
            deep(relu, scaled(), inputs, classes, units=config.units, depth=1, last=scaled(start)),
            lambda y, t: jnp.where(likely, losses.softmax_cross_entropy(y, t), on_softmax(y, t)),
            optax.sgd(rate),
            epochs=config.epochs,
            batch_size=config.batch,
            metrics={"accuracy": evaluation.accuracy},
            report=Report(["dev", "test"], curves=["train"], steps=["gradient_norm"]),
        )
        found = run(key, data)
        return {
            "slope": jnp.log10(found["step_gradient_norm"][0]),
            "curve": found["curve_train_accuracy"],
            "dev_accuracy": found["dev_accuracy"],
            "test_accuracy": found["test_accuracy"],
        }

    data = _data(config, setup)
    inputs, classes = data["train"][0].shape[1], int(data["train"][1].max()) + 1
    arms = {
        f"{loss}, {name} start": {"likely": loss == "cross-entropy", "start": start}
        for name, start in (("usual", 1.0), ("bad", BAD))
        for loss in LOSSES
    }
    found = tuned(train, setup, "slopes", list(arms.values()), {"rate": config.rates}, shared=data)
    trained = swept(train, setup, "slopes", SLOPES, grid=found.arms, shared=data)
    drawn = {name: averages(trained, "curve", [arm])[0][0] for name, arm in arms.items()}
    return {"slopes": trained, "notes": found.budget} | _planes(config) | _estimates(setup) | drawn


def _planes(config: Config) -> dict[str, Any]:
    """The norm of the gradient with respect to the scores: at `FAR`, and over those of the right and another class."""
    with jax.enable_x64(True):
        found: dict[str, Any] = {"side": np.linspace(-10, 10, config.side)}
        right, other = np.meshgrid(found["side"], found["side"])
        scores = jnp.stack([right, other, np.full_like(right, FAR[2])], -1)
        for name, loss in LOSSES.items():
            size = lambda z, loss=loss: jnp.linalg.norm(jax.grad(lambda z: loss(z, jnp.asarray(0)))(z))
            found[f"plane {name}"] = np.asarray(jax.jit(jnp.vectorize(size, signature="(n)->()"))(scores))
            found[f"at {name}"] = float(size(jnp.array(FAR)))
    return found


def _estimates(setup: Setup) -> dict[str, float]:
    """What minimizes each loss where x has three values: frequencies of classes, means of numbers."""
    rng = np.random.default_rng(setup.seeds.start)
    counts = rng.integers(1, 9, (3, 4))
    x = np.repeat(np.arange(3), counts.sum(1))
    classes = np.concatenate([np.repeat(np.arange(4), row) for row in counts])
    numbers = rng.normal(size=len(x))
    with jax.enable_x64(True):

        def least(loss: Any, start: jax.Array) -> jax.Array:
            return jax.lax.fori_loop(0, 5000, lambda _, w: w - jax.grad(lambda w: jnp.mean(loss(w)))(w), start)

        fitted = least(lambda w: losses.softmax_cross_entropy(w[x], classes), jnp.zeros((3, 4)))
        line = least(lambda w: losses.squared_error(w[x], numbers), jnp.zeros(3))
        means = np.array([numbers[x == value].mean() for value in range(3)])
        p = softmax(jnp.asarray(rng.normal(size=(len(x), 4))))
        entropy = jnp.sum(losses.softmax_cross_entropy(jnp.log(p), classes))
        likelihood = jnp.prod(p[jnp.arange(len(x)), classes])
        return {
            "frequencies": float(jnp.max(jnp.abs(softmax(fitted) - counts / counts.sum(1, keepdims=True)))),
            "means": float(jnp.max(jnp.abs(line - means))),
            "likelihood": float(jnp.abs(jnp.exp(-entropy) / likelihood - 1)),
        }


SLOPES = [
    Number(f"gradient of cross-entropy at scores {FAR}, the first class right", "at cross-entropy", low=1.0),
    Number("gradient of squared error there", "at squared error", high=1e-6),
    Number("likelihood as exp of minus the sum of cross-entropies: relative error", "likelihood", high=1e-12),
    Number("minimum of cross-entropy against frequencies", "frequencies", high=1e-12, because="float64"),
    Number("minimum of squared error against the means of y at each x", "means", high=1e-12, because="float64"),
    *(
        compared(
            what,
            "slopes",
            "greater",
            effect,
            metric=metric,
            a={"likely": True, "start": BAD},
            b={"likely": False, "start": BAD},
            diverged="exclude" if metric == "slope" else 0.1,
            own=("rate",),
        )
        for what, metric, effect in (
            ("bad starts: log10 gradient of cross-entropy less that of squared error", "slope", 1.0),
            ("bad starts: test accuracy by cross-entropy less by squared error", "test_accuracy", 0.01),
        )
    ),
]


def draw_slopes(measured: Mapping[str, Any]) -> Any:
    """Sizes of both gradients over two scores, and accuracy over epochs from usual and bad starts."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 3, size=(9.0, 2.9))
        for axes, name in zip(panels, LOSSES, strict=False):
            label = "size of the gradient" if name != "cross-entropy" else None
            values = np.maximum(measured[f"plane {name}"], 1e-9)
            plots.plane(axes, measured["side"], measured["side"], values, label=label, log=True, limits=(1e-9, 2.0))
            plots.point(axes, *FAR[:2], "a bad start", offset=(6, -10))
            axes.lines[-1].set_clip_on(False)  # it stands in the corner
            axes.set(xlabel="score of the right class", ylabel="score of another class", title=name)
        for start, dash in (("usual", ":"), ("bad", "-")):
            for name, color in zip(LOSSES, plots.PALETTE, strict=False):
                curve = measured[f"{name}, {start} start"]
                label = f"{name}, {start} start"
                panels[2].plot(np.arange(1, len(curve) + 1), 100 * curve, dash, color=color, label=label)
        panels[2].set(xlabel="epoch", ylabel="training accuracy (%)", title="training", ylim=(0, 102))
        plots.legend(figure, panels[2])
    return figure


def numbered(config: Config, setup: Setup) -> dict[str, Any]:
    """Regression on class numbers and on one-hot rows, by the order of the classes and by random ones."""

    def train(key: jax.Array, data: Any, *, one_hot: Any, rate: Any) -> dict[str, jax.Array]:
        middle, spread = (classes - 1) / 2, ((classes**2 - 1) / 12) ** 0.5

        def error(y: jax.Array, t: jax.Array) -> jax.Array:
            number = losses.squared_error(y[:, 0], (t - middle) / spread)
            row = losses.squared_error(y, jax.nn.one_hot(t, classes))
            return jnp.where(one_hot, jnp.sum(row, -1), number)

        def right(y: jax.Array, t: jax.Array) -> jax.Array:
            nearest = jnp.clip(jnp.round(y[:, 0] * spread + middle), 0, classes - 1)
            return (t == jnp.where(one_hot, jnp.argmax(y, -1), nearest)).astype(y.dtype)

        run = loop.trainer(
            deep(relu, scaled(), inputs, classes, units=config.units, depth=1),
            error,
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(rate)),
            epochs=config.epochs,
            batch_size=config.batch,
            metrics={"accuracy": right},
        )

        def once(key: jax.Array, order: jax.Array) -> dict[str, jax.Array]:
            return run(key, {part: (x, order[y]) for part, (x, y) in data.items()})

        own, orders, *pair = jax.random.split(key, 4)
        drawn = jax.vmap(lambda k: jax.random.permutation(k, classes))(jax.random.split(orders, config.numberings))
        usual = once(own, jnp.arange(classes))
        twice = jnp.stack([jax.vmap(once, (None, 0))(k, drawn)["test_accuracy"] for k in pair])
        apart = twice - jnp.mean(twice, 1, keepdims=True)
        return {
            "dev_accuracy": usual["dev_accuracy"],
            "test_accuracy": usual["test_accuracy"],
            "permuted_accuracy": jnp.mean(twice),
            "shared": jnp.sum(apart[0] * apart[1]) / (config.numberings - 1),
            "each": jnp.mean(twice, 0),
        }

    data = _data(config, setup)
    inputs, classes = data["train"][0].shape[1], int(data["train"][1].max()) + 1
    found = tuned(train, setup, "numbers", list(CODES.values()), {"rate": config.rates}, shared=data)
    trained = swept(train, setup, "numbers", NUMBERED, grid=found.arms, shared=data)
    rows = {"one-hot": np.eye(classes), "numbers": np.arange(classes)[:, None]}
    far = {
        name: np.linalg.norm(row[:, None] - row[None], axis=-1)[np.triu_indices(classes, 1)]
        for name, row in rows.items()
    }
    ratios = {f"distances {name}": float(d.max() / d.min()) for name, d in far.items()}
    drawn = {}
    for name, code in CODES.items():
        part = trained.result.select(**code)
        ok = part.done & ~part.failed
        drawn |= {f"each {name}": part["each"][ok].ravel(), f"usual {name}": part["test_accuracy"][ok]}
    return {"numbers": trained, "notes": found.budget} | ratios | drawn


CODES = {"numbers": {"one_hot": False}, "one-hot": {"one_hot": True}}
_PAIR = {"a": CODES["one-hot"], "b": CODES["numbers"], "diverged": "lowest", "own": ("rate",)}
NUMBERED = [
    Number("largest distance of two classes over the smallest, one-hot", "distances one-hot", low=1.0, high=1 + 1e-12),
    Number("the same of class numbers", "distances numbers", low=2.0),
    compared("test accuracy, one-hot less numbers", "numbers", "greater", 0.01, metric="test_accuracy", **_PAIR),
    compared("the same, numbers permuted", "numbers", "greater", 0.01, metric="permuted_accuracy", **_PAIR),
    *(
        compared(
            f"variance of test accuracy that goes with the order of the classes, {name}",
            "numbers",
            claim,
            1e-4,
            metric="shared",
            a=CODES[name],
            diverged=worst,
            own=("rate",),
        )
        for name, claim, worst in (("numbers", "greater", "lowest"), ("one-hot", "equal", "highest"))
    ),
]


def draw_numbered(measured: Mapping[str, Any]) -> Any:
    """Test accuracy by the order of the classes, a dot an order."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.4, 3.0))
        rng = np.random.default_rng(0)
        for place, (name, color) in enumerate(zip(("numbers", "one-hot"), plots.PALETTE, strict=False)):
            values = 100 * measured[f"each {name}"]
            axes.plot(place + rng.uniform(-0.25, 0.25, len(values)), values, ".", color=color, markersize=3, alpha=0.6)
            usual = 100 * np.mean(measured[f"usual {name}"])
            axes.plot(
                [place - 0.3, place + 0.3], [usual, usual], color="black", label=None if place else "0, 1, 2, ..."
            )
        axes.plot([], [], ".", color="0.4", label="a random order of the classes")
        axes.set_xticks([0, 1], ["class numbers", "one-hot rows"])
        axes.set(ylabel="test accuracy (%)", title="Accuracy by the order of the classes")
        plots.legend(figure, axes)
    return figure


CLAIMS = (
    Claim(
        id="L14",
        statement="Cross-entropy keeps a slope where the squared error of softmax is flat.",
        measured="Gradients far from the target, on scores and in networks whose readout begins 30 times too large; "
        "test accuracy from there, rates tuned; cross-entropy as a likelihood, squared error as E[y|x], in float64",
        parts=SLOPES,
        measure=slopes,
        draw=draw_slopes,
        caption="The size of the gradient over the scores of two classes, and training from usual and bad starts. "
        "Where the network is sure of the wrong class, at the upper left, cross-entropy has its largest slope. Squared "
        "error of probabilities has none there.",
    ),
    Claim(
        id="L15",
        statement="Class numbers as targets of a regression mislead, one-hot rows do not.",
        measured="Test accuracy of regressions on standardized class numbers (the nearest wins) and on one-hot rows "
        "(the largest wins), gradients clipped at norm 1; the variance over random orders of the classes that two "
        "independent trainings share",
        parts=NUMBERED,
        measure=numbered,
        draw=draw_numbered,
        caption="Test accuracy of regressions on class numbers and on one-hot rows, for random orders of the classes. "
        "Numbers say that some classes are neighbours, and which are is arbitrary. One-hot rows are all equally far "
        "apart.",
    ),
)
