"""Momentum on landscapes: across a valley, over a plateau and out of shallow minima."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing
from experiments.claims.arms import Chosen, compared, swept, tuned
from experiments.claims.claim import Claim, Decided, Setup
from experiments.claims.landscapes import END, bumpy_slope, descend, plateau_slope, rests, settled, valley


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        steps: Of descent on each landscape.
        rates: Learning rates that are tried for each method on each landscape, from .001 to 20.
        starts: Starts of each run on the loss with bumps.
    """

    steps: int = 2000
    rates: int = 27
    starts: int = 8


QUICK = Config(steps=100, rates=4, starts=2)
BETA, CONDITION, REST = 0.9, 100.0, 0.05
METHODS = {
    "descent": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, BETA),
    "RMSProp": lambda rate: optax.rmsprop(rate, 0.9),
    "Adam": optax.adam,
}
PLACES = ("valley", "plateau", "bumps")


def _arm(place: str, method: str) -> dict[str, int]:
    return {"place": PLACES.index(place), "method": list(METHODS).index(method)}


@cache
def on_landscapes(config: Config, setup: Setup) -> tuple[Chosen, Decided]:
    """All methods in all places, each at its best rate."""

    def paths(key: jax.Array, optimizer: optax.GradientTransformation) -> list[dict[str, jax.Array]]:
        across, over, out = jax.random.split(key, 3)
        each = jnp.zeros(config.steps)
        start = jax.random.normal(across, (2,))
        path = descend(lambda w, _: valley(w, CONDITION), optimizer, start / jnp.linalg.norm(start), each)
        steps = settled(jnp.linalg.norm(path, axis=-1) < REST)
        walked = jnp.where(jnp.arange(config.steps) < steps, jnp.abs(jnp.diff(path[:, 1])), 0)
        in_valley = {"steps": steps, "across": jnp.sum(walked), "escaped": 0.0}
        start = jax.random.uniform(over, minval=-2.0, maxval=-1.0)
        path = descend(lambda w, _: plateau_slope(w), optimizer, start, each)
        on_plateau = {"steps": settled(jnp.abs(path - END) < 0.25), "across": 1.0, "escaped": 0.0}
        side, distance = jax.random.split(out)
        start = jax.random.uniform(distance, (config.starts,), minval=0.6, maxval=3.4)
        start = start * jax.random.rademacher(side, (config.starts,))
        path = descend(lambda w, _: bumpy_slope(w), optimizer, start, each)
        return [in_valley, on_plateau, {"steps": 1, "across": 1.0, "escaped": rests(path, REST)}]

    def train(key: jax.Array, *, place: jax.Array, method: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
        found = [one for make in METHODS.values() for one in paths(key, make(rate))]
        table = {name: jnp.stack([jnp.asarray(one[name], rate.dtype) for one in found]) for name in found[0]}
        chosen = {name: column[method * len(PLACES) + place] for name, column in table.items()}
        logs = {name: jnp.log10(chosen[name]) for name in ("steps", "across")}
        return logs | {"escaped": chosen["escaped"], "cost": logs["steps"] - chosen["escaped"]}

    arms = [_arm(place, name) for place in PLACES for name in METHODS]
    values = {"rate": np.geomspace(1e-3, 20.0, config.rates).tolist()}
    options = {"integers": ("place", "method"), "finite": ("steps",)}
    names = [f"{name} ({place})" for place in PLACES for name in METHODS]
    chosen = tuned(train, setup, "L9", arms, values, on="cost", best="lowest", names=names, **options)
    return chosen, swept(train, setup, "landscapes", [*VALLEY, *OTHERS], grid=chosen.arms, **options)


def passing(config: Config, setup: Setup) -> dict[str, Any]:
    """The runs on all landscapes."""
    chosen, result = on_landscapes(config, setup)
    seeds = setup.looks[0]
    return {"landscapes": result, "notes": chosen.budget} | {
        name: np.asarray(result[name], float)[:, :seeds].reshape(len(PLACES), len(METHODS), seeds)
        for name in ("steps", "across", "escaped")
    }


def draw_passing(measured: Mapping[str, Any]) -> Any:
    """All runs of each method in each place, and their means."""
    from jnorm import plots

    shown = (
        ("across", "valley", "way across (the start is 1 away)", "A narrow valley: way"),
        ("steps", "valley", "steps to arrive", "A narrow valley: steps"),
        ("steps", "plateau", "steps to arrive", "A plateau"),
        ("escaped", "bumps", "starts at rest in the deepest (%)", "Shallow minima"),
    )
    with plots.style():
        figure, panels = plots.figure(1, 4, size=(8.4, 2.6))
        for axes, (name, place, label, title) in zip(panels, shown, strict=True):
            for i, method in enumerate(METHODS):
                some = drawing.values(measured["landscapes"], name, _arm(place, method))
                some = 100 * some if name == "escaped" else 10**some
                jitter = np.linspace(-0.2, 0.2, len(some))
                axes.plot(i + jitter, some, "o", color=plots.PALETTE[i], alpha=0.3, markersize=2.5, markeredgewidth=0)
                axes.plot(i, some.mean(), "_", color="black", markersize=16, markeredgewidth=2)
            axes.set(ylabel=label, xlim=(-0.5, len(METHODS) - 0.5), ylim=(-4, 104) if name == "escaped" else (0, None))
            axes.set_title(title, fontsize=8)
            axes.set_xticks(range(len(METHODS)), list(METHODS), rotation=30)
    return figure


def _better(what: str, place: str, method: str, metric: str, claim: str, effect: float) -> Any:
    arms = {"a": _arm(place, method), "b": _arm(place, "descent")}
    diverged = "lowest" if claim == "greater" else "highest"
    return compared(what, "landscapes", claim, effect, metric=metric, own=("rate",), diverged=diverged, **arms)


TWICE = float(np.log10(2))
VALLEY = (
    _better(
        "log10 of the way across a valley, momentum against descent", "valley", "momentum", "across", "less", TWICE
    ),
    _better("log10 of the steps to its end, momentum against descent", "valley", "momentum", "steps", "less", TWICE),
)
OTHERS = (
    *(
        _better(f"log10 of the steps over the plateau, {name} against descent", "plateau", name, "steps", "less", TWICE)
        for name in ("momentum", "RMSProp", "Adam")
    ),
    _better(
        "share that leaves shallow minima and comes to rest in the deepest, momentum less descent",
        "bumps",
        "momentum",
        "escaped",
        "greater",
        0.25,
    ),
)
CLAIMS = (
    Claim(
        id="L9",
        statement="Momentum damps oscillation, and carries descent over plateaus and out of shallow minima.",
        measured="Way and steps across a valley a hundred times steeper than long, steps over a plateau of slope .01 "
        "until a run stays within .25 of its end, and the share of starts in shallow minima that comes to rest in the "
        "deepest, within .05 of it for the last tenth of steps; each method at the best of 27 rates; RMSProp and Adam "
        "beside momentum on the plateau",
        parts=[*VALLEY, *OTHERS],
        measure=passing,
        draw=draw_passing,
        caption="Each dot is a run, each bar a mean; every method has in every place the rate that is best there, in "
        "the valley by its steps. On valley and plateau less is better, out of shallow minima more: there only "
        "runs count that come to rest, so that a rate too large for the minima does not. Where no rate of a method "
        "leads to rest in the deepest minimum the smallest stands.",
        mended="Out of shallow minima descent had a rate at which no minimum is stable: it jumped about without rest "
        "and counted as out if its last position lay in the deepest. Now only runs count that come to rest in it, "
        "within .05 of it for the last tenth of steps.",
    ),
)
