"""Exponentially weighted averages, of series and of gradients, and the correction of their bias."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import classification
from experiments.claims.arms import Chosen, compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Decided, Number, Setup
from experiments.claims.landscapes import descend, settled
from experiments.claims.topics import momentum
from jnorm import losses
from jnorm.statistics import Runs
from jnorm.train import averages, evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        landscapes: Those of the valley, which another claim is about too.
        days: Of the series that is averaged.
        examples: Digits on which networks are trained.
        epochs: Of these trainings.
        tried: Learning rates that are tried for networks.
    """

    landscapes: momentum.Config = field(default_factory=momentum.Config)
    days: int = 365
    examples: int = 300
    epochs: int = 15
    tried: int = 7


QUICK = Config(landscapes=momentum.QUICK, days=100, examples=64, epochs=1, tried=2)
DECAYS = (0.5, 0.9, 0.98)
BETAS = (0.5, 0.9, 0.98, 0.99)


def corrected(rate: Any, adam: Any, correct: Any) -> optax.GradientTransformation:
    """Averaged gradients (``adam`` 0) or Adam (1), with (``correct`` 1) or without the correction of their bias."""

    def init(params: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros, jnp.zeros(())

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        mean, square, count = state[0], state[1], state[2] + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, updates)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, square, updates)
        first, second = (jnp.where(correct > 0, 1 - b**count, 1.0) for b in (0.9, 0.999))
        root = lambda v: jnp.where(adam > 0, jnp.sqrt(v / second) + 1e-8, 1.0)
        return jax.tree.map(lambda m, v: -rate * m / first / root(v), mean, square), (mean, square, count)

    return optax.GradientTransformation(init, update)


def _networks(config: Config, setup: Setup) -> tuple[Chosen, Decided]:
    """Networks trained by averaged gradients and by Adam, with and without the correction."""
    data = few(sets(setup), config.examples)
    network = classification.perceptron("relu", data.parts["train"][0].shape[1], data.classes, units=32, depth=1)
    run = loop.trainer(
        network,
        losses.softmax_cross_entropy,
        corrected,
        epochs=config.epochs,
        batch_size=32,
        metrics={"accuracy": evaluation.accuracy},
        report=loop.Report(steps=["loss"]),
    )

    def train(key: jax.Array, data: Any, *, adam: Any, correct: Any, rate: Any) -> dict[str, jax.Array]:
        found = run(key, data, adam=adam, correct=correct, rate=rate * jnp.where(adam > 0, 0.01, 1.0))
        early = jnp.log10(jnp.mean(found["step_loss"][:10]))
        return {"early": early, **{name: found[name] for name in ("dev_accuracy", "test_accuracy")}}

    arms = [{"adam": adam, "correct": correct} for adam in (0, 1) for correct in (0, 1)]
    names = [f"{kind} {with_} correction" for kind in ("momentum", "Adam") for with_ in ("without", "with")]
    values = {"rate": np.geomspace(0.03, 10.0, config.tried).tolist()}
    chosen = tuned(train, setup, "D9", arms, values, names=names, shared=data.parts)
    return chosen, swept(train, setup, "networks", NETWORKS, grid=chosen.arms, shared=data.parts)


def _series(config: Config, setup: Setup) -> dict[str, Any]:
    """Averages of a year of noisy temperatures: how rough they are, and by how many days they come late."""
    day = np.arange(3 * config.days)
    truth = 10 * np.sin(2 * np.pi * day / 365)
    noise = 3 * np.stack([np.random.default_rng(s).normal(size=len(day)) for s in setup.seeds])
    late = slice(2 * config.days, None)
    smooth = [np.asarray(averages.exponential((truth + noise).T.astype(np.float32), d)).T for d in DECAYS]
    shifts = range(min(100, config.days))
    apart = lambda a, k: np.mean((a[:, late] - truth[2 * config.days - k : len(day) - k]) ** 2, 1)
    lag = [np.argmin([apart(a, k) for k in shifts], 0) for a in smooth]
    rough = [np.log10(np.std(np.diff(a[:, late]), axis=1)) for a in smooth]
    runs = Runs([{"decay": d} for d in DECAYS], {"lag": np.array(lag, float), "rough": np.array(rough)})
    drawn = {f"average {d}": a[0, late] for d, a in zip(DECAYS, smooth, strict=True)}
    return {"series": runs, "values": (truth + noise)[0, late]} | drawn


def _exact() -> dict[str, Any]:
    """What averages, first steps and settling are, in float64."""
    with jax.enable_x64(True):
        ramp = jnp.arange(5000.0)
        lags = [float(ramp[-1] - averages.exponential(ramp, d, debias=False)[-1]) for d in DECAYS]
        flat = averages.exponential(np.full(50, 7.0), 0.98)
        biased = averages.exponential(np.full(50, 7.0), 0.98, debias=False)
        weights = {d: averages.exponential(jnp.eye(1, 400)[0], d, debias=False) for d in (0.9, 0.98)}
        g, first = jnp.array(0.3), {}
        for adam in (0, 1):
            step = [corrected(1.0, adam, c) for c in (0, 1)]
            without, with_ = (float(o.update(g, o.init(g))[0]) for o in step)
            first[adam] = without / with_
        times, paths = [], {}
        for beta in BETAS:
            path = descend(lambda w, _: w, optax.sgd(0.1, beta), jnp.array(1.0), jnp.zeros(2000))
            times.append(int(settled(jnp.abs(path) < 0.05)))
            paths[f"path {beta}"] = np.asarray(path[:200])
    law = np.log(0.05) / np.log(np.sqrt(BETAS))
    return paths | {
        "weights .9": float(weights[0.9][10]) / float(weights[0.9][0]),
        "weights .98": float(weights[0.98][50]) / float(weights[0.98][0]),
        "lags": float(np.max(np.abs(np.array(lags) * (1 - np.array(DECAYS)) / DECAYS - 1))),
        "flat": float(np.max(np.abs(np.asarray(flat) / 7 - 1))),
        "biased": float(biased[0]) / 7,
        "first momentum": first[0],
        "first adam": first[1],
        "settling": float(np.max(np.abs(np.array(times) / law - 1))),
        "overshoot": float(-np.min(paths["path 0.98"])),
    }


def averaging(config: Config, setup: Setup) -> dict[str, Any]:
    """Momentum as an average: exact numbers, a series, networks, and the valley."""
    chosen, result = momentum.on_landscapes(config.landscapes, setup)
    network, networks = _networks(config, setup)
    notes = f"Valley: {chosen.budget} Networks: {network.budget}"
    found = {"landscapes": result, "networks": networks, "notes": notes}
    return found | _series(config, setup) | _exact()


def draw_averaging(measured: Mapping[str, Any]) -> Any:
    """A noisy series with its averages, and how a ball with momentum settles."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(7.0, 2.9))
        left.plot(measured["values"], ".", color="0.7", markersize=2)
        for decay, color in zip(DECAYS, plots.PALETTE, strict=False):
            left.plot(measured[f"average {decay}"], color=color, label=f"{decay:g}")
        left.set(xlabel="day", ylabel="temperature (degrees)", title="Averages of a noisy series")
        left.legend(title="decay", fontsize=6, title_fontsize=6)
        for beta, color in zip(BETAS, plots.PALETTE, strict=False):
            right.plot(measured[f"path {beta}"], color=color, label=f"{beta:g}")
        right.axhspan(-0.05, 0.05, color="0.85")
        right.set(xlabel="step", ylabel="distance from the minimum", title="Momentum on a bowl")
        right.legend(title="momentum", fontsize=6, title_fontsize=6)
    return figure


NETWORKS = (
    compared(
        "test accuracy, momentum with against without correction",
        "networks",
        "equal",
        0.01,
        metric="test_accuracy",
        a={"adam": 0, "correct": 1},
        b={"adam": 0, "correct": 0},
        own=("rate",),
        diverged=0.1,
    ),
    compared(
        "log10 of the loss of the first ten steps, Adam with against without correction",
        "networks",
        "less",
        0.02,
        metric="early",
        a={"adam": 1, "correct": 1},
        b={"adam": 1, "correct": 0},
        own=("rate",),
        diverged="highest",
    ),
)
CLAIMS = (
    Claim(
        id="D9",
        statement="Momentum, an exponentially weighted average of gradients, damps oscillation; its window is 1/(1 - "
        "beta), and its bias at the start hardly matters for what momentum reaches, and does for Adam's first steps.",
        measured="Weights, lag and roughness of averages; the first step with and without correction of the bias, and "
        "networks trained with either; way across a valley; settling on a bowl by beta against beta^(t/2)",
        parts=[
            Number(".9^10", "weights .9", low=0.3485, high=0.3495, because="1/e within 1/(1 - beta) steps; .349"),
            Number(".98^50", "weights .98", low=0.3635, high=0.3645, because="the same; .364"),
            Number("lag behind a ramp against beta/(1 - beta), relative", "lags", high=1e-9, because="float64"),
            Number("corrected average of a constant, relative error", "flat", high=1e-12, because="float64"),
            Number("its first value without correction, beta .98", "biased", low=0.02 - 1e-12, high=0.02 + 1e-12),
            *(
                compared(
                    f"log10 of roughness, {a} against {b}", "series", "less", momentum.TWICE, metric="rough", **arms
                )
                for a, b, arms in ((a, b, {"a": {"decay": a}, "b": {"decay": b}}) for a, b in ((0.9, 0.5), (0.98, 0.9)))
            ),
            *(
                compared(f"days of lag, {a} against {b}", "series", "greater", 2.0, metric="lag", **arms)
                for a, b, arms in ((a, b, {"a": {"decay": a}, "b": {"decay": b}}) for a, b in ((0.9, 0.5), (0.98, 0.9)))
            ),
            Number("first step without correction over one with, momentum", "first momentum", low=0.0999, high=0.1001),
            Number("the same of Adam", "first adam", low=3.161, high=3.163, because=".1/sqrt(.001)"),
            Number("settling against ln .05 / ln sqrt(beta), relative", "settling", high=0.35, because="a swing"),
            Number("overshoot at beta .98, share of the start", "overshoot", low=0.5),
            *momentum.VALLEY,
            *NETWORKS,
        ],
        measure=averaging,
        draw=draw_averaging,
        caption="A noisy series with three exponentially weighted averages, and momentum on a bowl. A larger decay "
        "makes an average smoother and later. A larger momentum swings longer about the minimum (grey: 5 %).",
    ),
)
