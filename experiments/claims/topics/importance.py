"""Which hyperparameters matter: how much of the spread of a random search each of them brings."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, few, sets, swept
from experiments.claims.claim import Claim, Setup
from jnorm import initializers, losses
from jnorm.activations import relu
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: Of the training set.
        epochs: Of each training.
        places: Random configurations of each run, of which each hyperparameter is drawn anew.
    """

    examples: int = 256
    epochs: int = 6
    places: int = 4


QUICK = Config(examples=64, epochs=1, places=2)
MICRO, UNITS, LAYERS = 8, 32, 4
FACTORS = {
    "rate": (1e-4, 1.0),
    "momentum": (0.01, 0.5),
    "batch": (1.0, 16.0),
    "units": (8.0, 33.0),
    "layers": (1.0, 5.0),
    "decay": (0.1, 10.0),
    "beta 2": (1e-4, 0.1),
    "epsilon": (1e-10, 1e-5),
}
"""Ends of the ranges, all drawn on a log scale: of the betas 1 - beta, of the batch multiples of 8, below its end."""


def stack(inputs: int, outputs: int, units: jax.Array, layers: jax.Array) -> Any:
    """A perceptron of traced width and depth: units and layers beyond them are there and do nothing."""
    live = jnp.arange(UNITS) < units

    def init(key: jax.Array) -> tuple[Any, Any]:
        first, hidden, last = jax.random.split(key, 3)
        normal = initializers.normal(1.0)
        wide = initializers.lecun_normal()(first, (inputs, UNITS))
        square = normal(hidden, (LAYERS - 1, UNITS, UNITS)) * jnp.sqrt(2 / units)
        readout = normal(last, (UNITS, outputs)) / jnp.sqrt(units)
        biases = {"first": jnp.zeros(UNITS), "hidden": jnp.zeros((LAYERS - 1, UNITS)), "last": jnp.zeros(outputs)}
        return {"kernels": {"first": wide, "hidden": square, "last": readout}, "biases": biases}, ()

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool, key: Any = None) -> tuple[jax.Array, Any]:
        del train, key
        kernels, biases = params["kernels"], params["biases"]
        h = relu(x @ kernels["first"] + biases["first"]) * live
        for i in range(LAYERS - 1):
            h = jnp.where(i + 1 < layers, relu(h @ kernels["hidden"][i] + biases["hidden"][i]) * live, h)
        return h @ kernels["last"] + biases["last"], state

    return SimpleNamespace(init=init, apply=apply)


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """Dev accuracies of random configurations, and of the same with one hyperparameter drawn anew."""
    data = few(sets(setup), config.examples)
    inputs, steps = data.parts["train"][0].shape[1], config.epochs * config.examples / MICRO

    def optimizer(place: jax.Array) -> optax.GradientTransformation:
        rate, momentum, batch, _, _, decay, beta, eps = place
        every = jnp.floor(batch).astype(jnp.int32)
        falling = lambda t: rate / (1 + decay * t * every / steps)
        adam = optax.adam(falling, 1 - momentum, 1 - beta, eps)
        return optax.MultiSteps(adam, every_k_schedule=lambda _: every).gradient_transformation()

    run = loop.trainer(
        lambda place: stack(inputs, data.classes, jnp.floor(place[3]), jnp.floor(place[4])),
        losses.softmax_cross_entropy,
        optimizer,
        epochs=config.epochs,
        batch_size=MICRO,
        metrics={"accuracy": evaluation.accuracy},
        report=loop.Report(parts=["dev"]),
    )
    low, high = np.log(np.array(list(FACTORS.values()))).T

    def train(key: jax.Array, data: Any, *, factor: jax.Array) -> dict[str, jax.Array]:
        draw, again, runs = jax.random.split(key, 3)
        shape = (config.places, len(FACTORS))
        base = jax.random.uniform(draw, shape)
        moved = jnp.where(jnp.arange(len(FACTORS)) == factor, jax.random.uniform(again, shape), base)
        keys = jax.random.split(runs, config.places)

        def one(key: jax.Array, share: jax.Array) -> jax.Array:
            found = run(key, data, place=jnp.exp(low + share * (high - low)))
            return jnp.where(jnp.isfinite(found["dev_loss"]), found["dev_accuracy"], 0.0)

        scores = jax.vmap(jax.vmap(one), (None, 0))(keys, jnp.stack([base, moved]))
        return {"scores": scores}

    grid = [{"factor": i} for i in range(len(FACTORS))]
    options = {"integers": ("factor",), "shared": {part: data.parts[part] for part in ("train", "dev")}}
    result = swept(train, setup, "importance", PARTS, grid=grid, **options)
    shares = share(np.asarray(result["scores"], float))[:, : setup.looks[0]]
    ranked = sorted(zip(shares.mean(1), FACTORS, strict=True), reverse=True)
    notes = "Ranked: " + ", ".join(f"{name} {100 * value:.0f} %" for value, name in ranked) + "."
    return {"importance": result, "shares": shares, "notes": notes}


def share(scores: np.ndarray) -> np.ndarray:
    """Half the mean squared change over the variance of all runs, ``[factor, seed]``: Sobol's total index (Jansen)."""
    scores = np.asarray(scores, float)
    return 0.5 * np.mean((scores[:, :, 0] - scores[:, :, 1]) ** 2, -1) / np.nanvar(scores[:1, :, 0])


def draw(measured: Mapping[str, Any]) -> Any:
    """Shares of the variance, ranked, with 95 % intervals."""
    from jnorm import plots

    shares = measured["shares"]
    order = np.argsort(shares.mean(1))
    with plots.style():
        figure, axes = plots.figure(size=(4.2, 2.9))
        for row, factor in enumerate(order):
            some = shares[factor]
            color = plots.PALETTE[1] if list(FACTORS)[factor] in ("beta 2", "epsilon") else plots.PALETTE[0]
            axes.errorbar(some.mean(), row, xerr=2 * some.std() / len(some) ** 0.5, fmt="o", color=color)
        axes.set_yticks(range(len(order)), [list(FACTORS)[factor] for factor in order])
        axes.axvline(0, color="0.8", linewidth=0.6)
        axes.set(xlabel="share of the variance of dev accuracy", title="What matters in a random search with Adam")
    return figure


def _arm(name: str) -> dict[str, int]:
    return {"factor": list(FACTORS).index(name)}


_SHARE: dict[str, Any] = {"metric": "scores", "transform": share, "diverged": "exclude"}
PARTS = (
    *(
        compared(f"share: rate less {name}", "importance", "greater", 0.1, a=_arm("rate"), b=_arm(name), **_SHARE)
        for name in list(FACTORS)[1:]
    ),
    *(
        compared(f"share: {name}", "importance", "less", 0.0, a=_arm(name), b=0.05, **_SHARE)
        for name in ("beta 2", "epsilon")
    ),
)
CLAIMS = (
    Claim(
        id="D22",
        statement="Of all hyperparameters the learning rate matters most, and the other constants of Adam hardly.",
        measured="Share of the variance of dev accuracy that drawing one hyperparameter anew brings, alone and with "
        "the others (total index), over random perceptrons on digits: rate, momentum (beta 1), batch of 8 to 120, "
        "units of 8 to 32, layers of 1 to 4, decay of the rate, beta 2, epsilon; equal epochs; a tenth of the "
        "variance matters",
        parts=PARTS,
        measure=measure,
        draw=draw,
        caption="Share of the variance of dev accuracy that changes when one hyperparameter is drawn anew, ranked, "
        "with 95 % intervals. Shares overlap where hyperparameters act together, so that they add up to more than "
        "one. Orange are the constants of Adam that are said to matter least.",
    ),
)
