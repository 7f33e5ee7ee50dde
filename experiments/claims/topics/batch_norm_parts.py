"""What a batch norm layer is made of: where it stands, its scale and shift, and the bias before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import integrate, special, stats

from experiments.claims import drawing, training
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Number, Setup
from experiments.claims.starts import layer
from jnorm.activations import identity, relu, sigmoid
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Normalizer
from jnorm.train import loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: To train on; few, so that test accuracy is not saturated.
        units: Of the two hidden layers.
        epochs: Of training.
        batch: Examples in a step.
        rates: Learning rates among which each arm chooses.
    """

    examples: int = 300
    units: int = 64
    epochs: int = 20
    batch: int = 50
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


QUICK = Config(examples=100, units=16, epochs=1, rates=(0.1, 1.0))
MARGIN = 0.01
"""One percentage point of accuracy."""

_ARMS = {
    "before": {"curved": 0.0, "before": 1.0, "learned": 1.0, "biased": 0.0},
    "before, fixed": {"curved": 0.0, "before": 1.0, "learned": 0.0, "biased": 0.0},
    "before, with bias": {"curved": 0.0, "before": 1.0, "learned": 1.0, "biased": 1.0},
    "after": {"curved": 0.0, "before": 0.0, "learned": 1.0, "biased": 1.0},
    "after, fixed": {"curved": 0.0, "before": 0.0, "learned": 0.0, "biased": 1.0},
    "sigmoid": {"curved": 1.0, "before": 1.0, "learned": 1.0, "biased": 0.0},
    "sigmoid, fixed": {"curved": 1.0, "before": 1.0, "learned": 0.0, "biased": 0.0},
}
"""Arms by name: sigmoid or relu, norm before or after it, scale and shift learned or fixed, a bias before all."""


def _norm(curved: Any, before: Any, learned: Any, biased: Any) -> Normalizer:
    """Bias, batch norm and activation in the order that traced numbers say, so that one program serves all arms."""

    def init(features: int) -> tuple[Any, Any]:
        params, state = batch_norm.init(features)
        return {"norm": params, "bias": jnp.zeros(features)}, state

    def phi(x: jax.Array) -> jax.Array:
        return jnp.where(curved, sigmoid(x), relu(x))

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        at_start = batch_norm.init(x.shape[-1])[0]
        norm = jax.tree.map(lambda p, start: jnp.where(learned, p, start), params["norm"], at_start)
        z = x + biased * (params["bias"] + 0.5 * before)  # one that starts at 0 would stay there before the norm
        y, state = batch_norm.apply(norm, state, jnp.where(before, z, phi(z)), train=train)
        return jnp.where(before, phi(y), y), state

    return Normalizer(init, apply)


@cache
def _trained(config: Config, setup: Setup) -> dict[str, Any]:
    """All arms, each with the learning rate that is best for it."""
    data = few(sets(setup), config.examples, spared=900)
    inputs = data.parts["train"][0]

    def train(key: Any, parts: Any, *, curved: Any, before: Any, learned: Any, biased: Any, rate: Any) -> Any:
        hidden = layer(identity, bias_init=None, normalizer=_norm(curved, before, learned, biased))
        widths = networks.rectangular(inputs.shape[1], data.classes, units=config.units, depth=2)
        network = networks.mlp(widths, hidden)
        report = loop.Report(training.PARTS, keep_params=True)
        options: dict[str, Any] = {"epochs": config.epochs, "batch_size": config.batch, "report": report}
        found = training.scores(key, parts, network, optax.sgd(rate), **options)
        seen = networks.record(network, found.pop("params"), found.pop("state"), parts["train"][0])[2]
        bent = jnp.mean(jnp.stack([_bent(seen[f"{i}.linear"], seen[f"{i}.post"]) for i in range(2)]))
        return found | {"bent": bent, "log_train_loss": jnp.log10(jnp.maximum(found["train_loss"], 1e-12))}

    arms = list(_ARMS.values())
    chosen = tuned(train, setup, "norm parts", arms, {"rate": config.rates}, names=list(_ARMS), shared=data.parts)
    runs = swept(train, setup, "norm parts", _PARTS, grid=chosen.arms, shared=data.parts)
    return {"norm parts": runs, "notes": f"{config.examples} examples to train on. {chosen.budget}"}


def _bent(x: jax.Array, y: jax.Array) -> jax.Array:
    """The share of the variance of y, unit by unit, that no straight line in x explains."""
    x, y = x - jnp.mean(x, 0), y - jnp.mean(y, 0)
    lines = jnp.mean(x * y, 0) ** 2 / (jnp.mean(x**2, 0) * jnp.mean(y**2, 0) + 1e-12)
    return jnp.mean(1 - lines)


def _part(what: str, claim: str, effect: float, a: str, b: str | float, metric: str = "test_accuracy") -> Comparison:
    """Arms by name, or an arm and a number; a run that diverges guesses, or has the highest loss."""
    diverged = 0.1 if metric == "test_accuracy" else "highest"
    other = _ARMS[b] if isinstance(b, str) else b
    own: dict[str, Any] = {"own": ("rate",), "diverged": diverged}
    return compared(what, "norm parts", claim, effect, metric=metric, a=_ARMS[a], b=other, **own)


_ORDER = _part("test accuracy, before relu less after relu", "equal", MARGIN, "before", "after")
_WORKS = [_part(f"test accuracy, {name} relu", "greater", 0.0, name, 0.5) for name in ("before", "after")]
_NEARLY = [
    _part(f"test accuracy {name} relu, fixed scale and shift less learned", "equal", MARGIN, f"{name}, fixed", name)
    for name in ("after", "before")
]
_CURVED = _part(
    "test accuracy before sigmoid, learned scale and shift less fixed", "greater", MARGIN, "sigmoid", "sigmoid, fixed"
)
_BIAS = _part("test accuracy, with a bias before the norm less without", "equal", MARGIN, "before, with bias", "before")
_FITS = _part(
    "log10 of training loss before sigmoid, learned scale and shift less fixed",
    "less",
    0.1,
    "sigmoid",
    "sigmoid, fixed",
    metric="log_train_loss",
)
_STRAIGHT = _part(
    "share of a sigmoid's variance that no straight line explains, fixed scale and shift",
    "less",
    0.0,
    "sigmoid, fixed",
    0.05,
    metric="bent",
)
_PARTS = [_ORDER, *_WORKS, *_NEARLY, _CURVED, _BIAS, _FITS, _STRAIGHT]


def undone(config: Config, setup: Setup) -> dict[str, Any]:
    """The scale and shift that undo a normalization, and how much of a sigmoid is straight on normal inputs."""
    with jax.enable_x64(True):
        x = 3 * jax.random.normal(jax.random.key(setup.seeds.start), (config.batch, 8)) + 5
        params, state = batch_norm.init(8)
        eps = 1e-5
        params = params._replace(scale=jnp.sqrt(jnp.var(x, 0) + eps), shift=jnp.mean(x, 0))
        y, _ = batch_norm.apply(params, state, x, train=True, eps=eps)
        identical = float(jnp.max(jnp.abs(y - x)) / jnp.max(jnp.abs(x)))
    scales = np.geomspace(0.25, 8, 41)
    return _trained(config, setup) | {
        "identity": identical,
        "scales": scales,
        "shares": np.array([_normal_share(scale) for scale in scales]),
        "share at 1": _normal_share(1.0),
        "share at 5": _normal_share(5.0),
    }


def _normal_share(scale: float) -> float:
    """The share of the variance of sigmoid(scale z), z normal, that no straight line explains."""

    def mean(f: Any) -> float:
        return float(integrate.quad(lambda z: f(z) * stats.norm.pdf(z), -12, 12, limit=200)[0])

    centred = lambda z: special.expit(scale * z) - 0.5
    return 1 - mean(lambda z: z * centred(z)) ** 2 / mean(lambda z: centred(z) ** 2)


def draw_undone(measured: Mapping[str, Any]) -> Any:
    """A sigmoid on normalized inputs with and without a scale, and how far from straight it is."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(6.0, 2.9))
        z = np.linspace(-2, 2, 201)
        for scale, color in ((1, plots.PALETTE[0]), (5, plots.PALETTE[1])):
            left.plot(z, special.expit(scale * z), color=color)
            left.annotate(
                f"scale {scale}", (-1.9, 0.3 if scale == 1 else 0.06), color=color, fontsize=7, fontweight="bold"
            )
        left.fill_between(z, stats.norm.pdf(z), color="0.6", alpha=0.25, linewidth=0)
        left.annotate("normalized inputs", (0.35, 0.08), color="0.35", fontsize=7)
        left.set(xlabel="normalized pre-activation", ylabel="sigmoid", title="At scale 1 inputs meet the straight part")
        right.plot(measured["scales"], 100 * measured["shares"], color=plots.PALETTE[2])
        right.plot([1], [100 * measured["share at 1"]], "o", color=plots.PALETTE[0])
        right.plot([5], [100 * measured["share at 5"]], "o", color=plots.PALETTE[1])
        right.set(xscale="log", xticks=[0.25, 1, 5], xticklabels=["1/4", "1", "5"], xlabel="scale", ylim=(0, None))
        right.set(ylabel="variance off a straight line (%)", title="Scale decides how nonlinear it is")
        right.minorticks_off()
    return figure


def redundant(config: Config, setup: Setup) -> dict[str, Any]:
    """The gradient of a bias that batch norm takes off again, against that of the weights, in float64."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(setup.seeds.start), 4)
        x, kernel = jax.random.normal(keys[0], (config.batch, 8)), jax.random.normal(keys[1], (8, 6))
        bias, upstream = jax.random.normal(keys[2], (6,)), jax.random.normal(keys[3], (config.batch, 6))
        params, state = batch_norm.init(6)

        def loss(kernel: jax.Array, bias: jax.Array) -> jax.Array:
            y, _ = batch_norm.apply(params, state, x @ kernel + bias, train=True)
            return jnp.sum(upstream * relu(y))

        of_kernel, of_bias = jax.grad(loss, (0, 1))(kernel, bias)
        share = float(jnp.max(jnp.abs(of_bias)) / jnp.max(jnp.abs(of_kernel)))
    return _trained(config, setup) | {"gradient": share}


def draw_arms(*names: str) -> Any:
    """A function that draws the test accuracy of these arms."""

    def draw(measured: Mapping[str, Any]) -> Any:
        from jnorm import plots

        with plots.style():
            figure, axes = plots.figure(size=(4.6, 0.7 + 0.48 * len(names)))
            found = {name: 100 * drawing.values(measured["norm parts"], "test_accuracy", _ARMS[name]) for name in names}
            colors = {_SHOWN[name]: plots.PALETTE["fixed" in name] for name in names}
            drawing.dots(axes, {_SHOWN[name]: runs for name, runs in found.items()}, color=colors)
            axes.set(xlabel="test accuracy (%)")
        return figure

    return draw


_SHOWN = {
    "before": "norm before relu",
    "before, fixed": "before relu, without scale and shift",
    "before, with bias": "before relu, with a bias",
    "after": "norm after relu",
    "after, fixed": "after relu, without scale and shift",
    "sigmoid": "norm before sigmoid",
    "sigmoid, fixed": "before sigmoid, without scale and shift",
}
_DOTS = "Test accuracy of small perceptrons: a dot is a run, black is the mean with its 95 % interval. "
CLAIMS = (
    Claim(
        id="N14",
        statement="Scale and shift keep what a layer can express: they can undo the normalization, and without them a "
        "sigmoid is held to its straight part.",
        measured="A normalization undone by its own scale and shift; the share of a sigmoid's variance off a straight "
        "line, for normal inputs at scales 1 and 5 and in trained networks with fixed scale and shift; training loss "
        "with learned and with fixed ones, each with its own learning rate",
        parts=[
            Number(
                "outputs against inputs of a norm with scale sqrt(var + eps) and shift mean, relative",
                "identity",
                high=1e-12,
                because="float64 over a batch",
            ),
            Number("share off a straight line at scale 1", "share at 1", high=0.05, because="nearly straight"),
            Number("share off a straight line at scale 5", "share at 5", low=0.1, because="bent"),
            _STRAIGHT,
            _FITS,
        ],
        measure=undone,
        draw=draw_undone,
        caption="A sigmoid over normalized inputs (grey: their distribution), and the share of the variance of its "
        "output that no straight line in its input explains. At scale 1 most inputs meet its straight part. A larger "
        "scale, which can be learned, leads them to its bends.",
    ),
    Claim(
        id="S4",
        statement="Batch norm works before the activation and after it alike.",
        measured="Test accuracy of relu networks on few digits, each order with its own learning rate; that either "
        "works: more than half is right",
        parts=[_ORDER, *_WORKS],
        measure=_trained,
        draw=draw_arms("before", "after"),
        caption=_DOTS
        + "Both orders of norm and activation have the learning rate that is best for them. Where the dots "
        "overlap the order does not matter.",
    ),
    Claim(
        id="S5",
        statement="Without scale and shift batch norm works nearly as well, says one lecture (it has the norm after "
        "relu); fixed ones will not do, says another (of a sigmoid behind it).",
        measured="Test accuracy on few digits with fixed and with learned scale and shift, after relu, before relu and "
        "before a sigmoid, each with its own learning rate",
        parts=[*_NEARLY, _CURVED],
        measure=_trained,
        draw=draw_arms("after", "after, fixed", "before", "before, fixed", "sigmoid", "sigmoid, fixed"),
        caption=_DOTS
        + "Each pair of rows is the same network with and without a learned scale and shift. The first two "
        "pairs are what one lecture speaks of, the third what the other does.",
    ),
    Claim(
        id="D5",
        statement="One may normalize the pre-activation z or the activation a; a bias before batch norm is redundant.",
        measured="The gradient of that bias over the largest one of the weights; test accuracy on few digits with and "
        "without it, and of z against a",
        parts=[
            Number("gradient of the bias, relative", "gradient", high=1e-12, because="float64 over a batch"),
            _BIAS,
            _ORDER,
        ],
        measure=redundant,
        draw=draw_arms("before", "before, with bias", "after"),
        caption=_DOTS + "Normalized is z, z with a bias of its own before the norm, or a. The bias changes "
        "a run by nothing but rounding; rows differ in how many runs it took to decide.",
    ),
)
