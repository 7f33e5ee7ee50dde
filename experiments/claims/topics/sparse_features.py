"""Rare features: how plain, Adagrad's and Adam's steps learn the weights of features by their frequency."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import averages
from jnorm import losses
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        features: Binary, with frequencies from .5 to .002 in a geometric progression; a multiple of 6.
        examples: To train on, once; as many for dev and test sets each.
        batch: Examples in a step.
        rates: Learning rates to choose from.
    """

    features: int = 240
    examples: int = 2048
    batch: int = 8
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


QUICK = Config(features=12, examples=64, rates=(0.1, 1.0))
METHODS = ("SGD", "Adagrad", "Adam")
GROUPS = 6  # of features, by frequency


def _frequencies(config: Config) -> np.ndarray:
    return np.geomspace(0.5, 0.002, config.features)


def _chosen(method: Any, rate: Any) -> optax.GradientTransformation:
    """One of the `METHODS` by its number, which may be traced."""
    all_of_them = (optax.identity(), optax.scale_by_rss(), optax.scale_by_adam())

    def init(params: Any) -> Any:
        return tuple(one.init(params) for one in all_of_them)

    def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        pairs = [one.update(gradient, part, params) for one, part in zip(all_of_them, state, strict=True)]
        pick = lambda *updates: -rate * jnp.stack(updates)[method]
        return jax.tree.map(pick, *[pair[0] for pair in pairs]), tuple(pair[1] for pair in pairs)

    return optax.GradientTransformation(init, update)


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """Logistic regression on features and true weights that each seed draws anew."""
    frequencies = jnp.asarray(_frequencies(config), jnp.float32)
    line = SimpleNamespace(
        init=lambda key: (jnp.zeros(config.features + 1), ()),
        apply=lambda w, state, x, *, train, key=None: (x @ w[1:] + w[0], state),
    )

    def train(key: jax.Array, *, method: Any, rate: Any) -> dict[str, jax.Array]:
        own, weights, *parts = jax.random.split(key, 5)
        true = jax.random.normal(weights, (config.features,))
        offset = -jnp.sum(frequencies * true)

        def drawn(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            features, noise = jax.random.split(key)
            x = jax.random.bernoulli(features, frequencies, (config.examples, config.features)).astype(jnp.float32)
            return x, jax.random.bernoulli(noise, jax.nn.sigmoid(x @ true + offset)).astype(jnp.float32)

        data = {name: drawn(part) for name, part in zip(("train", "dev", "test"), parts, strict=True)}
        run = loop.trainer(
            line,
            losses.sigmoid_cross_entropy,
            _chosen(method, rate),
            epochs=1,
            batch_size=config.batch,
            metrics={"accuracy": evaluation.binary_accuracy},
            report=loop.Report(["dev", "test"], keep_params=True),
        )
        found = run(own, data)
        errors = jnp.mean(jnp.square(found["params"][1:] - true).reshape(GROUPS, -1), 1)
        return {
            "dev_loss": found["dev_loss"],
            "test_accuracy": found["test_accuracy"],
            "errors": errors,
            "rare": errors[-2:].mean(),
            "tilt": errors[-2:].mean() - errors[:2].mean(),
        }

    arms = [{"method": number} for number in range(len(METHODS))]
    options = {"integers": ["method"]}
    found = tuned(train, setup, "sparse", arms, {"rate": config.rates}, on="dev_loss", best="lowest", **options)
    trained = swept(train, setup, "sparse", SPARSE, grid=found.arms, **options)
    means, halves = averages(trained, "errors", arms)
    accuracy, _ = averages(trained, "test_accuracy", arms)
    notes = f"{found.budget} Methods are numbered: {', '.join(f'{i} {name}' for i, name in enumerate(METHODS))}. "
    notes += f"Test accuracy: {', '.join(f'{n} {100 * a:.1f} %' for n, a in zip(METHODS, accuracy, strict=True))}."
    places = np.exp(np.log(_frequencies(config)).reshape(GROUPS, -1).mean(1))
    return {"sparse": trained, "notes": notes, "errors": means, "halves": halves, "frequencies": places}


_ARMS = {"a": {"method": 1}, "b": {"method": 0}, "own": ("rate",)}
SPARSE = [
    compared(
        "test accuracy, Adagrad less SGD",
        "sparse",
        "greater",
        0.01,
        metric="test_accuracy",
        diverged=0.5,
        **_ARMS,
    ),
    compared(
        "rarest third of the features: squared error of the weights over their variance, Adagrad less SGD",
        "sparse",
        "less",
        0.1,
        metric="rare",
        diverged="highest",
        **_ARMS,
    ),
    compared(
        "that error less the one of the most frequent third, Adagrad less SGD",
        "sparse",
        "less",
        0.1,
        metric="tilt",
        diverged="highest",
        **_ARMS,
    ),
]


def draw(measured: Mapping[str, Any]) -> Any:
    """The error of the weights over the frequency of their feature, a line a method."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.4, 3.0))
        looks = zip(METHODS, plots.PALETTE, ("-o", "-s", "--^"), strict=False)
        for (name, color, dash), mean, half in zip(looks, measured["errors"], measured["halves"], strict=True):
            percent = 100 * measured["frequencies"]
            axes.errorbar(percent, mean, half, fmt=dash, color=color, markersize=4, capsize=2, label=name)
        axes.axhline(1.0, color="0.5", linestyle=":", linewidth=1)
        axes.annotate(
            "nothing learned",
            (1, 1),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            ha="right",
            fontsize=7,
            textcoords="offset points",
        )
        axes.set(xscale="log", ylim=(0, None), xlabel="examples that have the feature (%)")
        axes.set(
            ylabel="squared error of the weights\n(their variance is 1)", title="Weights of rare and frequent features"
        )
        plots.legend(figure, axes, title="mean and its 95 % interval; rate tuned for each")
    return figure


CLAIMS = (
    Claim(
        id="L19",
        statement="Adagrad suits sparse features.",
        measured="Logistic regression, one pass over examples with binary features from frequent to rare: test "
        "accuracy and the error of the weights by frequency, for SGD, Adagrad and Adam, the rate tuned for each",
        parts=SPARSE,
        measure=measure,
        draw=draw,
        caption="The error of learned weights over the frequency of their features, after one pass over the examples. "
        "An error of 1 is that of weights that stayed at zero. Adagrad gives each weight a rate that falls with the "
        "gradients that it has met, so rare features keep a large one.",
    ),
)
