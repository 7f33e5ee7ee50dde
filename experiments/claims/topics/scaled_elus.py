"""The constants of a scaled elu: how exact they must be, and other fixed points with other constants."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, few, runs, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Number, Setup
from experiments.claims.deep import Weights, deep, scaled
from experiments.claims.foreseen import Foreseen, foreseen, of_width
from experiments.claims.training import averages, scores
from jnorm.activations import SELU_ALPHA, SELU_LAMBDA, scaled_elu
from jnorm.nn.dropout import alpha_dropout
from jnorm.statistics import Runs
from jnorm.theory import meanfield
from jnorm.theory.finite_width import length_law
from jnorm.theory.fixed_points import iterate, selu_constants
from jnorm.theory.moments import Moments, activation_moments


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        wide: Units of the networks whose moments are measured.
        images: Inputs for each of them.
        units: Of the networks that are trained.
        exact: Hidden layers of those with constants beside the exact ones.
        points: Hidden layers of those with other fixed points.
        epochs: Passes over the training examples.
        rates: Learning rates that are tried for each arm.
    """

    wide: int = 256
    images: int = 20
    units: int = 64
    exact: int = 16
    points: int = 8
    epochs: int = 8
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)


QUICK = Config(wide=30, images=4, units=8, exact=3, points=2, epochs=1, rates=(0.01, 0.1))
LAYERS = 32  # in which moments are measured
FAR = 64  # the layer at which the theory is asked
FACTORS = (0.8, 0.9, 1.0, 1.1, 1.25)
BESIDE = {
    **{
        f"{name} {100 * f - 100:+.0f} %": (f if name == "lambda" else 1.0, f if name == "alpha" else 1.0)
        for name in ("lambda", "alpha")
        for f in FACTORS
        if f != 1
    },
}
NEAR = [name for name in BESIDE if "10 %" in name]
POINTS = {
    "(0, 1)": (0.0, 1.0),
    "(0, 2)": (0.0, 2.0),
    "(0, .5)": (0.0, 0.5),
    "(-.1, 1)": (-0.1, 1.0),
    "(.2, 1)": (0.2, 1.0),
}
PROBLEMS = {"digits": 640, "breast_cancer": 384, "wine": 96}
RATE = 0.05  # of alpha dropout
SPARED = 600  # examples, at most, that are not trained on and join the dev set and the test set


def centred(z: jax.Array) -> jax.Array:
    """Incoming weights of every unit with sum 0 and sum of squares 1."""
    z = z - jnp.mean(z, 0)
    return z / jnp.linalg.norm(z, axis=0)


def layers(
    config: Config, setup: Setup, constants: np.ndarray, starts: np.ndarray, weights: Weights
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over the units of a layer, the average over examples, ``[seed, arm, layer]``.

    ``constants`` [arm, 2] are lambda and alpha, ``starts`` [arm, 2] mean and variance of normal inputs.
    """

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        data, kernels = jax.random.split(key)
        z = jax.random.normal(data, (config.images, config.wide))
        x = starts[:, :1, None] + starts[:, 1:, None] ** 0.5 * z
        lam, alpha = (jnp.array(constants[:, i, None, None]) for i in (0, 1))

        def layer(x: jax.Array, key: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            y = scaled_elu(x @ weights(jax.random.normal(key, (config.wide, config.wide))), lam, alpha)
            return y, (jnp.mean(y, (1, 2)), jnp.mean(jnp.var(y, 2, ddof=1), 1))

        return jax.lax.scan(layer, x.astype(jnp.float32), jax.random.split(kernels, LAYERS))[1]

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    mean, var = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
    return np.swapaxes(np.asarray(mean, float), 1, 2), np.swapaxes(np.asarray(var, float), 1, 2)


def exact(config: Config, setup: Setup) -> dict[str, Any]:
    """Constants beside the exact pair: variance in theory and in networks, and accuracy over a grid."""
    pairs = np.array([(1.0, 1.0), *BESIDE.values()]) * (SELU_LAMBDA, SELU_ALPHA)
    with jax.enable_x64(True):
        phi = partial(scaled_elu, lam=jnp.array(pairs[:, 0]), alpha=jnp.array(pairs[:, 1]))
        theory = np.asarray(iterate(meanfield.layer_map(phi, sigma_w=1.0), Moments(0.0, 1.0), FAR).var).T
    starts = np.tile([0.0, 1.0], (len(pairs), 1))
    var = layers(config, setup, pairs, starts, scaled())[1]
    names = ["exact", *BESIDE]
    off = dict(zip(names, np.abs(np.log2(theory[:, -1])), strict=True))
    ratio = np.log2(var[:, :, -1] / theory[:, LAYERS])
    data = few(sets(setup), PROBLEMS["digits"], spared=SPARED)

    def train(key: jax.Array, parts: Any, *, lam: Any, alpha: Any, rate: Any) -> dict[str, Any]:
        activation = lambda x: scaled_elu(x, SELU_LAMBDA * lam, SELU_ALPHA * alpha)
        sizes = {"units": config.units, "depth": config.exact}
        network = deep(activation, scaled(), parts["train"][0].shape[1], data.classes, **sizes)
        return scores(key, parts, network, optax.sgd(rate), epochs=config.epochs, batch_size=32)

    arms = [{"lam": lam, "alpha": alpha} for lam in FACTORS for alpha in FACTORS]
    words = [f"lambda x {arm['lam']:g}, alpha x {arm['alpha']:g}" for arm in arms]
    rates = {"rate": config.rates}
    chosen = tuned(train, setup, "constants", arms, rates, seeds=setup.tuning // 2, names=words, shared=data.parts)
    trained = swept(train, setup, "constants", EXACT, grid=chosen.arms, shared=data.parts)
    return {
        "foreseen": _foreseen(config, pairs, theory[:, LAYERS], var[:, :, -1]),
        "constants": trained,
        "kept": off["exact"],
        **{f"off, {name}": min(off[one] for one in NEAR if name in one) for name in ("lambda", "alpha")},
        "network": runs(ratio.mean(1)),
        "theory": theory,
        "measured": var.mean(0),
        "grid": averages(trained, "test_accuracy", arms, diverged=0.1)[0],
        "notes": chosen.budget,
    }


def _foreseen(config: Config, pairs: np.ndarray, limit: np.ndarray, measured: np.ndarray) -> list[Foreseen]:
    """The variance of the last layer by pair, in wide layers and in those of this width, whose lengths vary."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    with jax.enable_x64(True):
        lam, alpha = jnp.array(pairs.T)
        phi = partial(scaled_elu, lam=lam, alpha=alpha)
        law = length_law(phi, width=config.wide, depth=LAYERS - 1, sigma_w=1.0, length=jnp.ones(len(pairs)))
        places = jnp.exp(law.log_mean[-1] + jnp.sqrt(law.log_var[-1]) * nodes[:, None])
        own = weights / weights.sum() @ np.asarray(activation_moments(phi, jnp.zeros_like(places), places).var)
    rows = []
    for i, name in enumerate(["exact", *BESIDE]):
        what = f"variance of layer {LAYERS}, {name if i == 0 else f'{name} off'}"
        rows.append(foreseen(what, limit[i], measured[:, i]))
        rows.append(foreseen(what, own[i], measured[:, i], theory=of_width(config.wide)))
    return rows


def draw_exact(measured: Mapping[str, Any]) -> Any:
    """Variance by layer, theory and networks, and accuracy over the grid."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(7.0, 3.2))
        shown = ["exact", *NEAR]
        for i, name in enumerate(shown):
            row = ["exact", *BESIDE].index(name)
            left.plot(measured["theory"][row], color=plots.PALETTE[i], label=name)
            dots = {"color": plots.PALETTE[i], "markersize": 3, "markeredgewidth": 0}
            left.plot(np.arange(4, LAYERS + 1, 4), measured["measured"][row][3::4], "o", **dots)
        left.set(yscale="log", xlabel="layer", ylabel="variance", title="Theory (lines) and networks (dots)")
        left.set_yticks([0.3, 0.5, 1.0, 2.0, 3.0], ["0.3", "0.5", "1", "2", "3"])
        left.minorticks_off()
        plots.legend(figure, left)
        cells = [{"factor on lambda": lam, "factor on alpha": alpha} for lam in FACTORS for alpha in FACTORS]
        accuracy = Runs(cells, {"test accuracy": measured["grid"][:, None]})
        plots.heat_map(right, accuracy, "test accuracy", "factor on alpha", "factor on lambda", center="mean")
        right.set_title("Trained at depth 16")
    return figure


def points(config: Config, setup: Setup) -> dict[str, Any]:
    """Networks with several fixed points: moments kept at the start, and accuracy on several problems."""
    chosen_points = np.array(list(POINTS.values()))
    with jax.enable_x64(True):
        found = selu_constants(chosen_points[:, 0], chosen_points[:, 1])
        constants = np.stack([np.asarray(found.lam), np.asarray(found.alpha)], 1)
    mean, var = layers(config, setup, constants, chosen_points, centred)
    numbers: dict[str, Any] = {"means": mean.mean(0), "variances": var.mean(0)}
    for i, (name, (mu, nu)) in enumerate(POINTS.items()):
        numbers[f"mean, {name}"] = runs((mean[:, i, -1] - mu) / nu**0.5)
        numbers[f"variance, {name}"] = runs(np.log2(var[:, i, -1] / nu))
    arms = [
        {"mean": mu, "var": nu, "lam": float(lam), "alpha": float(alpha)}
        for (mu, nu), (lam, alpha) in zip(POINTS.values(), constants, strict=True)
    ]
    notes = []
    for problem, count in PROBLEMS.items():
        data = few(sets(setup, problem), count, spared=SPARED)

        def train(
            key: jax.Array, parts: Any, *, mean: Any, var: Any, lam: Any, alpha: Any, rate: Any, classes: int
        ) -> dict[str, Any]:
            own = {part: (mean + jnp.sqrt(var) * x, y) for part, (x, y) in parts.items()}
            dropout = partial(alpha_dropout, rate=RATE, mean=mean, var=var, saturation=-lam * alpha)
            sizes: dict[str, Any] = {"units": config.units, "depth": config.points, "dropout": dropout}
            activation = lambda x: scaled_elu(x, lam, alpha)
            network = deep(activation, centred, parts["train"][0].shape[1], classes, **sizes)
            return scores(key, own, network, optax.sgd(rate), epochs=config.epochs, batch_size=32)

        run = partial(train, classes=data.classes)
        options: dict[str, Any] = {"names": list(POINTS), "shared": data.parts}
        chosen = tuned(
            run, setup, f"points on {problem}", arms, {"rate": config.rates}, seeds=setup.tuning // 2, **options
        )
        quantity = f"accuracy on {problem}"
        numbers[quantity] = swept(run, setup, quantity, PARTS_OF_POINTS, grid=chosen.arms, shared=data.parts)
        numbers[f"mean {quantity}"] = np.stack(averages(numbers[quantity], "test_accuracy", arms, diverged=0.0))
        notes.append(f"{problem}: {chosen.budget}")
    return numbers | {"notes": " ".join(notes)}


def draw_points(measured: Mapping[str, Any]) -> Any:
    """Moments by layer around each point, and accuracy by point on each problem."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(7.0, 3.0))
        for i, (name, point) in enumerate(POINTS.items()):
            color = plots.PALETTE[i]
            left.plot(measured["means"][i], measured["variances"][i], ".", markersize=3, color=color, label=name)
            left.plot(*point, "o", markersize=13, markerfacecolor="none", color=color)
        left.set(xlabel="mean of a layer", ylabel="variance", title="Fixed points (circles) and layers (dots)")
        left.margins(0.08)
        left.legend(fontsize=6)
        places = np.arange(len(POINTS))
        for i, problem in enumerate(PROBLEMS):
            means, halves = measured[f"mean accuracy on {problem}"]
            options = {"color": plots.PALETTE[i], "marker": "osD"[i], "markersize": 4, "capsize": 2, "linestyle": ""}
            right.errorbar(places + 0.12 * (i - 1), means, halves, label=problem.replace("_", " "), **options)
        right.set_xticks(places, list(POINTS))
        right.set(xlabel="fixed point (mean, variance)", ylabel="test accuracy", title="Trained with each point")
        plots.legend(figure, right)
    return figure


def _point(name: str, problem: str) -> Comparison:
    arm = lambda name: dict(zip(("mean", "var"), POINTS[name], strict=True))
    return compared(
        f"{problem.replace('_', ' ')}: test accuracy, fixed point {name} less (0, 1)",
        f"accuracy on {problem}",
        "equal",
        0.02,
        metric="test_accuracy",
        a=arm(name),
        b=arm("(0, 1)"),
        own=("rate", "lam", "alpha"),
        diverged=0.0,
    )


EXACT = (
    Number(f"log2 of the variance at layer {FAR}, exact pair, in size", "kept", high=1e-9, because="float64"),
    *(
        Number(f"log2 of the variance at layer {FAR}, {name} 10 % off, in size, the smaller", f"off, {name}", low=1.0)
        for name in ("lambda", "alpha")
    ),
    compared(f"log2 of the variance at layer {LAYERS}, networks over theory", "network", "equal", 0.2),
    *(
        compared(
            f"16 layers: test accuracy, exact pair less {name}",
            "constants",
            "greater",
            0.01,
            metric="test_accuracy",
            a={"lam": 1.0, "alpha": 1.0},
            b={"lam": lam, "alpha": alpha},
            own=("rate",),
            diverged=0.1,
        )
        for name, (lam, alpha) in BESIDE.items()
    ),
)
PARTS_OF_POINTS = (
    *(
        part
        for name in POINTS
        for part in (
            compared(f"mean of layer {LAYERS} less that of {name}, deviations", f"mean, {name}", "equal", 0.1),
            compared(f"log2 of the variance of layer {LAYERS} over that of {name}", f"variance, {name}", "equal", 0.2),
        )
    ),
    *(_point(name, problem) for problem in PROBLEMS for name in POINTS if name != "(0, 1)"),
)
CLAIMS = (
    Claim(
        id="N23",
        statement="Alpha and lambda of selu look like soft knobs, yet the exact pair matters.",
        measured="Variance over the units of a layer, averaged over examples, at depth, of networks with "
        "independent random weights, in theory (that of random weights) and measured, at the exact pair and at "
        "pairs of which one is 10 to 25 % off; test accuracy at depth 16 over a grid of pairs, learning rate tuned "
        "for each",
        parts=EXACT,
        measure=exact,
        draw=draw_exact,
        caption="Variance by layer with the exact pair and with pairs of which one is 10 % off, and test accuracy "
        "of networks of 16 layers over a grid of pairs. The exact pair keeps a variance of 1. What another one costs "
        "in accuracy is how far its cell differs from the middle one.",
    ),
    Claim(
        id="N24",
        statement="Each problem may choose a fixed point of its own.",
        measured="Mean and variance over the units after 32 layers, averaged over examples, incoming weights with "
        "sum 0 and sum of squares 1, at five fixed points; test accuracy on three problems with activation "
        "constants, inputs, initial weights and alpha dropout that all belong to the point, learning rate tuned for "
        "each",
        parts=PARTS_OF_POINTS,
        measure=points,
        draw=draw_points,
        caption="Mean and variance of layers that start at five fixed points, and test accuracy with each on three "
        "problems, with 95 % intervals. Dots within a circle are layers that keep their point. Points that serve a "
        "problem as well as (0, 1) lie as high.",
    ),
)
