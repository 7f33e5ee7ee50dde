"""Noise in the gradient: out of shallow minima, on a loss with bumps and in a small network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from experiments.claims.arms import compared, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.drawing import half_width
from experiments.claims.drawing import values as drawn
from experiments.claims.landscapes import STABLE, bumpy, bumpy_slope, descend, rests
from jnorm import initializers, losses
from jnorm.activations import relu
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import evaluation


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        steps: On the loss with bumps.
        starts: Starts of each run on either loss.
        updates: Of the network.
        rates: Learning rates that are tried for each arm, the smallest of the network and the number on either loss.
    """

    steps: int = 2000
    starts: int = 4
    updates: int = 1000
    rates: tuple[float, int] = (0.1, 7)


QUICK = Config(steps=100, starts=2, updates=20, rates=(1.0, 2))
ARMS = ("whole batch", "mini-batches", "annealed noise")
EXAMPLES, SPREAD, BATCH = 64, 4.0, 4
POINTS, MINI = 64, 8
ETA, ETA_NETWORK, GAMMA = 10.0, 0.01, 0.55


def _bumps(config: Config, setup: Setup) -> tuple[Any, Any]:
    """Escapes from the shallow minima of a loss of one weight, the mean of examples that tilt it."""

    def train(key: jax.Array, *, arm: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
        begin, tilts, order, noise = jax.random.split(key, 4)
        sign, distance = jax.random.split(begin)
        start = jax.random.rademacher(sign, (config.starts,)) * jax.random.uniform(
            distance, (config.starts,), minval=0.6, maxval=3.4
        )
        tilt = SPREAD * jax.random.normal(tilts, (EXAMPLES,))
        drawn = jax.random.randint(order, (config.steps, config.starts, BATCH), 0, EXAMPLES)
        batches = jnp.mean((tilt - jnp.mean(tilt))[drawn], -1)
        optimizer = optax.chain(optax.add_noise(jnp.where(arm == 2, ETA, 0.0), GAMMA, noise), optax.sgd(rate))
        path = descend(lambda w, b: bumpy_slope(w) + jnp.where(arm == 1, b, 0.0), optimizer, start, batches)
        return {"escaped": rests(path, 0.5), "end": path[-1]}

    arms, values = [{"arm": i} for i in range(3)], {"rate": [STABLE / 2**i for i in range(config.rates[1])]}
    options = {"integers": ("arm",), "finite": ("escaped",)}
    chosen = tuned(train, setup, "N17 bumps", arms, values, on="escaped", names=ARMS, **options)
    return chosen, swept(train, setup, "bumps", PARTS, grid=chosen.arms, **options)


def _network(config: Config, setup: Setup) -> tuple[Any, Any]:
    """The share of starts from which a network of four hidden units learns in which quadrants points lie."""
    network = networks.mlp((2, 4, 2), Layer(relu, initializers.he_normal()))

    def train(key: jax.Array, *, arm: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
        points, starts = jax.random.split(key)
        x = jax.random.uniform(points, (POINTS, 2), minval=-1.0)
        y = (x[:, 0] * x[:, 1] > 0).astype(jnp.int32)

        def one(key: jax.Array) -> jax.Array:
            begin, order, noise = jax.random.split(key, 3)
            params, state = network.init(begin)
            start, unravel = ravel_pytree(params)
            outputs = lambda w: network.apply(unravel(w), state, x, train=True)[0]
            loss = lambda w, weights: jnp.mean(weights * losses.softmax_cross_entropy(outputs(w), y))

            def slope(w: jax.Array, key: jax.Array) -> jax.Array:
                drawn = jax.nn.one_hot(jax.random.randint(key, (MINI,), 0, POINTS), POINTS)
                return jax.grad(loss)(w, jnp.where(arm == 1, jnp.sum(drawn, 0) * (POINTS / MINI), 1.0))

            eta = jnp.where(arm == 2, ETA_NETWORK, 0.0)
            optimizer = optax.chain(optax.add_noise(eta, GAMMA, noise), optax.sgd(rate))
            end = descend(slope, optimizer, start, jax.random.split(order, config.updates))[-1]
            return jnp.mean(evaluation.accuracy(outputs(end), y))

        accuracy = jax.vmap(one)(jax.random.split(starts, config.starts))
        return {"solved": jnp.mean(accuracy >= 0.95, dtype=rate.dtype)}

    smallest, count = config.rates
    arms, values = [{"arm": i} for i in range(3)], {"rate": [smallest * 2**i for i in range(count)]}
    options = {"integers": ("arm",)}
    chosen = tuned(train, setup, "N17 network", arms, values, on="solved", names=ARMS, **options)
    return chosen, swept(train, setup, "network", PARTS, grid=chosen.arms, **options)


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """Both experiments."""
    (bumps, on_bumps), (network, on_network) = _bumps(config, setup), _network(config, setup)
    count = len(setup.seeds) // 4 if len(setup.seeds) >= 16 else 2  # those that every arm has
    found = {
        "ends": np.asarray(on_bumps["end"], float)[:, :count],
        "solved shares": np.asarray(on_network["solved"], float)[:, :count],
    }
    notes = f"Loss with bumps: {bumps.budget} Network: {network.budget}"
    return {"bumps": on_bumps, "network": on_network, "notes": notes} | found


def draw(measured: Mapping[str, Any]) -> Any:
    """Where runs end on the loss with bumps, and how many networks learn."""
    from jnorm import plots

    w = np.linspace(-3.8, 3.8, 400)
    edges = np.linspace(-3.8, 3.8, 77)
    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(7.0, 3.0), width_ratios=(2, 1))
        left.plot(w, np.asarray(bumpy(w)), color="black")
        for i, name in enumerate(ARMS):
            ends = drawn(measured["bumps"], "end", {"arm": i})
            shares = np.histogram(ends, edges)[0] / max(ends.size, 1)
            base = -0.9 * (i + 1)
            left.bar(
                edges[:-1], 0.75 * shares / shares.max(initial=1e-9), 0.1, base, align="edge", color=plots.PALETTE[i]
            )
            stays = 100 * drawn(measured["bumps"], "escaped", {"arm": i}).mean()
            told = f"{name}\n{stays:.0f} % stay at 0"
            left.annotate(told, (3.9, base + 0.05), color=plots.PALETTE[i], fontsize=7, annotation_clip=False)
        left.set(xlabel="weight", ylabel="loss", title="Ends of runs from shallow minima", xlim=(-3.8, 3.8))
        left.set_yticks([0, 1, 2])
        for i in range(len(ARMS)):
            solved = drawn(measured["network"], "solved", {"arm": i})
            right.errorbar(i, solved.mean(), half_width(solved), fmt="o", color=plots.PALETTE[i])
        right.set(ylabel="share of starts that learn", title="A small network", xlim=(-0.5, 2.5), ylim=(-0.03, 1.05))
        right.set_xticks(range(3), [name.replace(" ", "\n").replace("-", "-\n") for name in ARMS])
    return figure


PARTS = (
    *(
        compared(
            f"loss with bumps, share of starts that end in the deepest minimum: {ARMS[i]} against {ARMS[0]}",
            "bumps",
            "greater",
            0.25,
            metric="escaped",
            a={"arm": i},
            b={"arm": 0},
            own=("rate",),
            diverged=0.0,
        )
        for i in (1, 2)
    ),
    *(
        compared(
            f"network, share of starts that learn: {ARMS[i]} against {ARMS[0]}",
            "network",
            "greater",
            0.1,
            metric="solved",
            a={"arm": i},
            b={"arm": 0},
            own=("rate",),
            diverged=0.0,
        )
        for i in (1, 2)
    ),
)
CLAIMS = (
    Claim(
        id="N17",
        statement="The noise of mini-batches, or noise that is added to the gradient and annealed, carries descent "
        "out of shallow minima.",
        measured="Share of starts in shallow minima of a loss with bumps from which descent ends in the deepest one, "
        "in which it stays for the last tenth of steps, at rates at which descent without noise comes to rest there; "
        "share of starts from which a network of four units learns a task of four quadrants (training accuracy .95), "
        "with as many updates; rate tuned for each, annealed noise of variance eta/(1 + t)^.55",
        parts=PARTS,
        measure=measure,
        draw=draw,
        caption="Where runs end that start in the shallow minima of a loss with bumps, and the share of starts from "
        "which a small network learns, with 95 % intervals. On the left is the last position of each run; those "
        "that stay at 0 do so for the last tenth of steps. Whether a network has such minima it does not say.",
        mended="On the loss with bumps rates were tried at which no minimum is stable: descent without noise jumped "
        "about without rest, in the deepest minimum too, and that counted as its end. Now all rates are such that it "
        "comes to rest in the deepest minimum, and a run ends there only if it stays for the last tenth of its steps.",
    ),
)
