"""Which activation makes a deep plain network trainable, and how straight it should be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Setup
from experiments.claims.deep import deep, scaled
from experiments.claims.training import averages, scores
from jnorm.activations import SELU_ALPHA, SELU_LAMBDA
from jnorm.nn import batch_norm
from jnorm.theory.moments import activation_moments
from jnorm.train.loop import Report


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of every hidden layer.
        examples: Training examples.
        epochs: Passes over them.
        depths: Hidden layers, of activations by name.
        straight: Hidden layers, of activations by their straight part.
        rates: Learning rates that are tried for each arm.
        gains: Deviations of the weights, times the root of the fan-in, that are tried for each activation.
    """

    units: int = 64
    examples: int = 640
    epochs: int = 8
    depths: tuple[int, ...] = (2, 8, 16, 32)
    straight: tuple[int, ...] = (2, 8, 16)
    rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    gains: tuple[float, ...] = (1.0, 1.4, 2.0, 4.0)


QUICK = Config(units=8, examples=64, epochs=1, rates=(0.01, 0.1), gains=(1.0, 2.0))
# lam (max(x, 0) + alpha (exp(min(x, 0)) - 1)) + a tanh(b x) + c: lam, alpha, a, b, c
PHIS = {
    "sigmoid": (0.0, 0.0, 0.5, 0.5, 0.5),
    "tanh": (0.0, 0.0, 1.0, 1.0, 0.0),
    "relu": (1.0, 0.0, 0.0, 1.0, 0.0),
    "elu": (1.0, 1.0, 0.0, 1.0, 0.0),
    "selu": (SELU_LAMBDA, SELU_ALPHA, 0.0, 1.0, 0.0),
}
NAMES = list(PHIS)
SELU = NAMES.index("selu")
SHARED, BEST = "one initializer for all", "the best for each activation"
PAPER = (8, 16, 32)  # depths of the paper's figure 1
RELU_BN = {"phi": NAMES.index("relu"), "norm": True, "best": True}
LEAKY, CURVED = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0), (0.5, 1.0, 2.0)
"""Slopes of the negative side of leaky relu, and alpha of elu."""


def named(config: Config, setup: Setup) -> dict[str, Any]:
    """Accuracy by depth and activation, with one initializer and with the best for each; relu with batch norm."""
    data = few(sets(setup), config.examples)
    table = jnp.array([PHIS[name] for name in NAMES])

    def train(
        key: jax.Array, parts: Any, *, phi: Any, norm: bool, depth: int, best: Any, gain: Any, rate: Any
    ) -> dict[str, Any]:
        lam, alpha, a, b, c = table[phi]
        activation = lambda x: (
            lam * (jnp.maximum(x, 0) + alpha * jnp.expm1(jnp.minimum(x, 0))) + a * jnp.tanh(b * x) + c
        )
        law = scaled(jnp.where(best, gain, 1.0))
        sizes: dict[str, Any] = {"units": config.units, "depth": depth, "first": scaled()}
        norms = {"normalizer": batch_norm if norm else None}
        network = deep(activation, law, parts["train"][0].shape[1], data.classes, **sizes, **norms)
        report = Report(["train", "dev", "test"], curves=["train"])
        found = scores(key, parts, network, optax.sgd(rate), epochs=config.epochs, batch_size=32, report=report)
        kept = {name: found[name] for name in ("test_accuracy", "dev_accuracy", "curve_train_loss")}
        return kept | {"log_loss": jnp.log10(jnp.mean(found["curve_train_loss"]))}

    each = [{"phi": i, "norm": False, "depth": d} for d in config.depths for i in range(len(NAMES))]
    one = [arm | {"best": False, "gain": 1.0} for arm in each]
    one += [RELU_BN | {"depth": depth, "gain": 2**0.5} for depth in PAPER]
    own = [arm | {"best": True} for arm in each]
    options: dict[str, Any] = {"static": ("norm", "depth"), "integers": ("phi",), "shared": data.parts}
    name = lambda arm: f"{NAMES[arm['phi']]}{' + batch norm' if arm['norm'] else ''}, {arm['depth']} layers"
    rates = {"rate": config.rates}
    first = tuned(
        train, setup, "one initializer", one, rates, seeds=setup.tuning // 2, names=[*map(name, one)], **options
    )
    both = rates | {"gain": config.gains}
    second = tuned(
        train, setup, "best initializers", own, both, seeds=setup.tuning // 2, names=[*map(name, own)], **options
    )
    trained = swept(train, setup, "activations", NAMED, grid=[*first.arms, *second.arms], **options)
    shape = (len(config.depths), len(NAMES))
    found: dict[str, Any] = {"activations": trained, "notes": f"{SHARED}: {first.budget} {BEST}: {second.budget}"}
    for words, arms in ((SHARED, one[: len(each)]), (BEST, own)):
        arms = [{k: v for k, v in arm.items() if k != "gain"} for arm in arms]
        means, halves = averages(trained, "test_accuracy", arms, diverged=0.1)
        found |= {f"mean, {words}": means.reshape(shape), f"half, {words}": halves.reshape(shape)}
    for label, arm in (("selu", {"phi": SELU, "norm": False, "best": False}), ("relu + batch norm", RELU_BN)):
        found[f"curves, {label}"] = averages(trained, "curve_train_loss", [arm | {"depth": d} for d in PAPER])[0]
    return found | {"depths": np.array(config.depths)}


def draw_named(measured: Mapping[str, Any]) -> Any:
    """Accuracy by depth, with one initializer and with the best; the loss of selu and of relu with batch norm."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 3, size=(9.0, 3.0))
        places = np.arange(len(measured["depths"]))
        for axes, words in zip(panels, (SHARED, BEST), strict=False):
            for i, phi in enumerate(NAMES):
                options = {"color": plots.PALETTE[i], "marker": "osD^v"[i], "markersize": 4, "label": phi}
                axes.errorbar(places, measured[f"mean, {words}"][:, i], measured[f"half, {words}"][:, i], **options)
            axes.set_xticks(places, measured["depths"])
            axes.set(ylim=(0, 1), xlabel="hidden layers", ylabel="test accuracy", title=words.capitalize())
        for label, style, color in (("selu", "-", plots.PALETTE[SELU]), ("relu + batch norm", "--", plots.PALETTE[2])):
            for curve, depth in zip(measured[f"curves, {label}"], PAPER, strict=True):
                name = label if depth == PAPER[0] else None
                panels[2].plot(np.arange(1, len(curve) + 1), curve, style, color=color, label=name)
                end = (len(curve), curve[-1])
                panels[2].annotate(f"{depth}", end, (3, -2), textcoords="offset points", color=color, fontsize=6.5)
        panels[2].set(yscale="log", xlabel="epoch", ylabel="training loss", title="Loss, numbers are hidden layers")
        panels[2].legend(loc="lower left")
        plots.legend(figure, panels[0])
    return figure


def straight(config: Config, setup: Setup) -> dict[str, Any]:
    """Accuracy over the straight part of leaky relu and of elu, at several depths."""
    data = few(sets(setup), config.examples)

    def shape(x: jax.Array, slope: Any, alpha: Any) -> jax.Array:
        low = jnp.minimum(x, 0)
        return jnp.maximum(x, 0) + slope * low + alpha * jnp.expm1(low)

    def train(
        key: jax.Array, parts: Any, *, slope: Any, alpha: Any, depth: int, gain: Any, rate: Any
    ) -> dict[str, Any]:
        activation = lambda x: shape(x, slope, alpha)
        sizes: dict[str, Any] = {"units": config.units, "depth": depth, "first": scaled()}
        network = deep(activation, scaled(gain), parts["train"][0].shape[1], data.classes, **sizes)
        return scores(key, parts, network, optax.sgd(rate), epochs=config.epochs, batch_size=32)

    with jax.enable_x64(True):
        shares, gains = zip(*(_straight(lambda x, kind=kind: shape(x, **kind)) for kind in KINDS), strict=True)
    arms = [
        kind | {"depth": depth, "gain": gain}
        for depth in config.straight
        for kind, gain in zip(KINDS, gains, strict=True)
    ]
    names = [_words(arm) for arm in arms]
    options: dict[str, Any] = {"static": ("depth",), "shared": data.parts}
    chosen = tuned(
        train, setup, "straight", arms, {"rate": config.rates}, seeds=setup.tuning // 2, names=names, **options
    )
    trained = swept(train, setup, "straight", STRAIGHT, grid=chosen.arms, **options)
    means, halves = averages(trained, "test_accuracy", arms, diverged=0.1)
    size = (len(config.straight), len(KINDS))
    shown = {"means": means.reshape(size), "halves": halves.reshape(size), "shares": np.array(shares)}
    return shown | {"straight": trained, "depths": np.array(config.straight), "notes": chosen.budget}


def _straight(phi: Any) -> tuple[float, float]:
    """The share of the variance of phi(z), z ~ N(0, 1), that is a straight line's, and the gain that keeps E[phi^2]."""
    moments = activation_moments(phi, 0.0, 1.0)
    mean, var = float(moments.mean), float(moments.var)
    along = float(activation_moments(lambda z: z * phi(z), 0.0, 1.0).mean)
    return along**2 / var, (mean**2 + var) ** -0.5


def draw_straight(measured: Mapping[str, Any]) -> Any:
    """Accuracy over the slope of leaky relu and over alpha of elu, a line a depth, with the straight shares."""
    from jnorm import plots

    relu_and_elu = [0, *range(len(LEAKY), len(KINDS))]
    families = {"slope of leaky relu": (LEAKY, range(len(LEAKY))), "alpha of elu": ((0.0, *CURVED), relu_and_elu)}
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.6, 3.0), sharey=True)
        for axes, (label, (values, rows)) in zip(panels, families.items(), strict=True):
            for i, depth in enumerate(measured["depths"]):
                part = measured["means"][i, list(rows)], measured["halves"][i, list(rows)]
                options = {"color": plots.PALETTE[i], "marker": "osD"[i], "markersize": 4, "capsize": 2}
                axes.errorbar(range(len(values)), *part, label=f"{depth} hidden layers", **options)
            shares = measured["shares"][list(rows)]
            ticks = [f"{value:g}\n{share:.3f}" for value, share in zip(values, shares, strict=True)]
            axes.set_xticks(range(len(values)), ticks)
            axes.set(xlabel=f"{label}, and straight share of its variance", title=label.capitalize())
        panels[0].set_ylabel("test accuracy")
        plots.legend(figure, panels[0])
    return figure


def _words(kind: Mapping[str, Any]) -> str:
    curved = kind["alpha"] > 0
    words = f"elu alpha {kind['alpha']:g}" if curved else f"slope {kind['slope']:g}"
    return f"{words}, {kind['depth']} layers" if "depth" in kind else words


def _named(depth: int, other: str, best: bool) -> Comparison:
    arm = {"norm": False, "depth": depth, "best": best}
    return compared(
        f"{BEST if best else SHARED}, {depth} layers: test accuracy, selu less {other}",
        "activations",
        "greater",
        0.01,
        metric="test_accuracy",
        a=arm | {"phi": SELU},
        b=arm | {"phi": NAMES.index(other)},
        own=("rate", "gain"),
        diverged=0.1,
    )


NAMED = (
    *(_named(depth, other, best) for best in (False, True) for depth in (16, 32) for other in NAMES if other != "selu"),
    *(
        compared(
            f"{SHARED}: test accuracy of selu, {depth} layers less 2",
            "activations",
            "equal",
            0.03,
            metric="test_accuracy",
            a={"phi": SELU, "norm": False, "best": False, "depth": depth},
            b={"phi": SELU, "norm": False, "best": False, "depth": 2},
            own=("rate", "gain"),
            diverged=0.1,
        )
        for depth in (16, 32)
    ),
    *(
        compared(
            f"{depth} layers: log10 of the average training loss, selu less relu with batch norm",
            "activations",
            "less",
            0.1,
            metric="log_loss",
            a={"phi": SELU, "norm": False, "best": False, "depth": depth},
            b=RELU_BN | {"depth": depth},
            own=("rate", "gain"),
            diverged="highest",
        )
        for depth in PAPER
    ),
)
KINDS = (
    *({"slope": slope, "alpha": 0.0} for slope in LEAKY),
    *({"slope": 0.0, "alpha": alpha} for alpha in CURVED),
)
STEPS = (  # from less to more straight, and the last to all straight
    ("greater", {"slope": 0.5, "alpha": 0.0}, {"slope": 0.0, "alpha": 0.0}),
    ("greater", {"slope": 0.9, "alpha": 0.0}, {"slope": 0.5, "alpha": 0.0}),
    ("less", {"slope": 1.0, "alpha": 0.0}, {"slope": 0.9, "alpha": 0.0}),
    ("greater", {"slope": 0.0, "alpha": 1.0}, {"slope": 0.0, "alpha": 0.0}),
    ("greater", {"slope": 0.0, "alpha": 2.0}, {"slope": 0.0, "alpha": 1.0}),
)
STRAIGHT = tuple(
    compared(
        f"{depth} layers: test accuracy, {_words(more)} less {_words(less)}",
        "straight",
        claim,
        0.01,
        metric="test_accuracy",
        a=more | {"depth": depth},
        b=less | {"depth": depth},
        own=("rate", "gain"),
        diverged=0.1,
    )
    for depth in (2, 8, 16)
    for claim, more, less in STEPS
)
CLAIMS = (
    Claim(
        id="N11",
        statement="Only the activation has to change: selu alone makes a deep plain network trainable.",
        measured="Test accuracy of plain networks of 2, 8, 16 and 32 layers with sigmoid, tanh, relu, elu and selu, "
        "with one initializer (variance 1/n) and with the variance that is best for each; training loss of selu and "
        "of relu with batch norm at 8, 16 and 32 layers; learning rate tuned for each",
        parts=NAMED,
        measure=named,
        draw=draw_named,
        caption="Left and middle, test accuracy by depth with 95 % intervals, with one initializer for all activations "
        "and with the best for each: .1 is chance. Right, training loss of selu and of relu with batch norm, as in "
        "figure 1 of the paper. The learning rate is tuned for each line and depth.",
    ),
    Claim(
        id="N25",
        statement="The larger the straight part of an activation, the better, as long as it is not all straight.",
        measured="Test accuracy of plain networks of 2, 8 and 16 layers over the slope of leaky relu, 0 to 1, and "
        "over alpha of elu, 0 to 2; initial weights that keep the mean square, learning rate tuned for each; the "
        "straight part is the share of the variance of phi(z), z ~ N(0, 1), that the best straight line explains",
        parts=STRAIGHT,
        measure=straight,
        draw=draw_straight,
        caption="Test accuracy over the slope of leaky relu and over alpha of elu, with 95 % intervals, by depth; "
        "under each value the straight share. The claim is a rise from the left ends, which are relu, that ends just "
        "before the straight line, the right end of leaky relu. Runs that diverge count as chance, which makes some "
        "intervals wide.",
    ),
)
