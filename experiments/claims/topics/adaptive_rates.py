"""Rates of their own for each parameter: on an ill-conditioned bowl, and after a long flat stretch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.landscapes import descend, settled, valley
from jnorm.train import schedules
from jnorm.train.transforms import scale_by_root_mean_square


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        steps: On the bowl.
        rates: Learning rates that are tried for each method, from 1e-5 to 10.
        condition: Of the bowl.
        pictured: Condition of the bowl whose paths are drawn.
        flat: Steps along the flat valley.
    """

    steps: int = 1000
    rates: int = 41
    condition: float = 1e4
    pictured: float = 30.0
    flat: int = 4000


QUICK = Config(steps=100, rates=6, condition=100.0, flat=300)
NEAR = 0.05
METHODS = {
    "descent": optax.sgd,
    "Adagrad": lambda rate: optax.adagrad(rate, initial_accumulator_value=0.0, eps=1e-8),
    "RMSProp": optax.rmsprop,
    "Adam": optax.adam,
}


def _start(key: jax.Array) -> jax.Array:
    """A point at distance 1 from the minimum, in no direction that is special."""
    w = jax.random.normal(key, (2,))
    return w / jnp.linalg.norm(w)


def bowl(config: Config, setup: Setup) -> dict[str, Any]:
    """Steps until a method stays near the minimum, at the best of many rates, also on the bowl turned by 45 degrees."""
    turn = jnp.array([[1.0, -1.0], [1.0, 1.0]]) / jnp.sqrt(2.0)

    def train(key: jax.Array, *, method: jax.Array, turned: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
        axes = jnp.where(turned > 0, turn, jnp.eye(2))
        slope = lambda w, _: axes @ valley(axes.T @ w, config.condition)

        def count(optimizer: Any) -> jax.Array:
            path = descend(slope, optimizer(rate), _start(key), jnp.zeros(config.steps))
            return settled(jnp.linalg.norm(path, axis=-1) < NEAR)

        return {"steps": jnp.log10(jnp.stack([count(o) for o in METHODS.values()])[method].astype(rate.dtype))}

    rates = np.geomspace(1e-5, 10.0, config.rates)
    arms = [_arm(name, turned) for turned in (0, 1) for name in METHODS]
    names = [f"{name}{' on the turned bowl' if turned else ''}" for turned in (0, 1) for name in METHODS]
    values, options = {"rate": rates.tolist()}, {"integers": ("method",)}
    chosen = tuned(train, setup, "L11", arms, values, on="steps", best="lowest", names=names, **options)
    result = swept(train, setup, "bowl", BOWL, grid=chosen.arms, **options)
    tried = 10 ** np.median(np.asarray(chosen.result["steps"], float), 1).reshape(2, len(METHODS), len(rates))
    turned = ", ".join(f"{name} {steps:.0f}" for name, steps in zip(METHODS, tried[1].min(1), strict=True))
    return {
        "bowl": result,
        "arrived": int(np.sum(tried[0, 0] <= config.steps)),
        "notes": f"{chosen.budget} Steps on the bowl turned by 45 degrees, whose axes mix steep and flat, at the best "
        f"rate (not there after {config.steps}: {config.steps + 1}): {turned}.",
        "rates": rates,
        "steps": tried[0],
        "paths": _paths(config.pictured),
    }


def _arm(method: str, turned: int = 0) -> dict[str, int]:
    return {"turned": turned, "method": list(METHODS).index(method)}


def _paths(condition: float) -> dict[str, np.ndarray]:
    """Paths for the picture, from one start."""
    rates = {"descent, large rate": 1.95 / condition, "descent, small rate": 0.1 / condition}
    optimizers = {name: optax.sgd(rate) for name, rate in rates.items()}
    optimizers |= {"Adagrad": METHODS["Adagrad"](0.3), "RMSProp": METHODS["RMSProp"](0.03), "Adam": optax.adam(0.1)}
    start = jnp.array([-1.0, 0.25])
    slope = lambda w, _: valley(w, condition)
    followed = jax.jit(lambda: {name: descend(slope, o, start, jnp.zeros(60)) for name, o in optimizers.items()})
    found = followed()  # whose names JAX has sorted
    return {name: np.asarray(found[name]) for name in optimizers}


def draw_bowl(measured: Mapping[str, Any]) -> Any:
    """Paths of one rate for both directions, paths of a rate for each, and steps over rates."""
    from jnorm import plots

    x, y = np.linspace(-1.2, 0.4, 200), np.linspace(-0.5, 0.5, 200)
    colors = {"descent": plots.PALETTE[6]} | dict(zip(measured["paths"], plots.PALETTE, strict=False))
    with plots.style():
        figure, panels = plots.figure(1, 3, size=(7.0, 2.9))
        for axes, title, part in (
            (panels[0], "One rate for both weights", slice(0, 2)),
            (panels[1], "A rate of its own for each", slice(2, 5)),
        ):
            axes.contour(x, y, x**2 / 2 + 15 * y[:, None] ** 2, levels=8, colors="0.8", linewidths=0.6)
            for name in list(measured["paths"])[part]:
                axes.plot(*measured["paths"][name].T, ".-", color=colors[name], markersize=4, label=name)
            axes.plot(0, 0, "*", color="black", markersize=8)
            axes.set(xlabel="weight 1 (flat direction)", title=title, xlim=(-1.2, 0.4), ylim=(-0.5, 0.5))
            axes.legend(loc="lower left", fontsize=6)
        panels[0].set_ylabel("weight 2 (steep direction)")
        for name, steps, dash in zip(METHODS, measured["steps"], ("-", "--", ":", "-."), strict=True):
            panels[2].plot(measured["rates"], steps, dash, color=colors[name], label=name)
        panels[2].annotate("not there at the end", (0.5, 0.965), xycoords="axes fraction", fontsize=6, ha="center")
        panels[2].set(xscale="log", yscale="log", xlabel="learning rate", ylabel="steps to arrive")
        panels[2].set_title("No rate of descent arrives" if measured["arrived"] == 0 else "Steps by rate")
        panels[2].legend(loc="lower left", fontsize=6)
    return figure


ROOTS = {
    "mean of all squares": scale_by_root_mean_square,
    "sum of all squares": lambda: optax.scale_by_rss(initial_accumulator_value=0.0, eps=1e-8),
    "moving average": lambda: optax.scale_by_rms(decay=0.9),
}
RATE, STEEP, NOISE, RESTS, CALM = 0.2, 100.0, 0.1, 50, 20


def burst(config: Config, setup: Setup) -> dict[str, Any]:
    """Along a valley that is steep across: how far a method is thrown across it after it had come to rest there."""

    def train(key: jax.Array, *, root: jax.Array, decay: jax.Array) -> dict[str, jax.Array]:
        fixed, falling = optax.constant_schedule(RATE), schedules.inverse_sqrt(RATE)
        schedule = lambda count: jnp.where(decay > 0, falling(count), fixed(count))
        noise = NOISE * jax.random.normal(key, (config.flat, 2))
        slope = lambda w, kick: jnp.stack([-jnp.ones(()), STEEP * w[1]]) + kick
        optimizers = [optax.chain(scale(), optax.scale_by_learning_rate(schedule)) for scale in ROOTS.values()]
        path = jnp.stack([descend(slope, o, jnp.array([0.0, 1.0]), noise) for o in optimizers])[root]
        across = jnp.abs(path[:, 1])
        since = jnp.cumsum(jnp.cumsum(across < NEAR) > 0)
        after = jnp.where(since > RESTS, across, jnp.where(since[-1] > RESTS, 0, across[-1]))
        calm = jax.lax.reduce_window(across, 0.0, jax.lax.max, (CALM,), (1,), "valid")
        thrown = jnp.cumsum(after > NEAR)[: len(calm)] > 0
        rest = jnp.min(jnp.where(thrown, calm, jnp.max(after)))
        logs = {"burst": jnp.log10(jnp.max(after)), "rest": jnp.log10(rest / jnp.max(after))}
        return logs | {"across": path[:, 1]}

    grid = [_of(root, decay) for root in ROOTS for decay in (0, 1)]
    result = swept(train, setup, "burst", BURST, grid=grid, integers=("root",))
    paths = {(c["root"], c["decay"]): path[0] for c, path in zip(grid, result["across"], strict=True)}
    return {"burst": result, "same": float(np.max(np.abs(paths[0, 1] - paths[1, 0]))), "paths": paths}


def _of(root: str, decay: int = 0) -> dict[str, int]:
    return {"root": list(ROOTS).index(root), "decay": decay}


def draw_burst(measured: Mapping[str, Any]) -> Any:
    """The place across the valley over steps."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(3, 2, size=(6.0, 4.2), sharex=True, sharey=True)
        for i, (row, root) in enumerate(zip(panels, ROOTS, strict=True)):
            for decay, (axes, rate) in enumerate(zip(row, ("fixed rate", "decaying rate"), strict=True)):
                axes.plot(measured["paths"][i, decay], color=plots.PALETTE[i], linewidth=0.8)
                axes.set_title(f"{root}, {rate}")
        panels[1, 0].set_ylabel("place across the valley")
        for axes in panels[-1]:
            axes.set_xlabel("step")
    return figure


BOWL = tuple(
    compared(
        f"log10 steps of {name} against descent, each at its best rate",
        "bowl",
        "less",
        float(np.log10(2)),
        metric="steps",
        a=_arm(name),
        b=_arm("descent"),
        own=("rate",),
        diverged="highest",
    )
    for name in list(METHODS)[1:]
)
_BURST: dict[str, Any] = {"metric": "burst", "diverged": "highest"}
BURST = (
    compared(
        "log10 of the largest distance across, after rest (start: 0), mean of all squares",
        "burst",
        "greater",
        0.0,
        a=_of("mean of all squares"),
        b=-1.0,
        **_BURST,
    ),
    compared(
        f"log10 of the calmest {CALM} steps after a burst, over the largest burst",
        "burst",
        "less",
        0.0,
        a=_of("mean of all squares"),
        b=-1.0,
        metric="rest",
        diverged="highest",
    ),
    *(
        compared(
            f"log10 of the largest distance: decaying against fixed rate, {root}",
            "burst",
            "less",
            float(np.log10(2)),
            a=_of(root, 1),
            b=_of(root),
            **_BURST,
        )
        for root in ("mean of all squares", "moving average")
    ),
    compared(
        "log10 of the largest distance: mean against sum of all squares (Adagrad)",
        "burst",
        "greater",
        float(np.log10(2)),
        a=_of("mean of all squares"),
        b=_of("sum of all squares"),
        **_BURST,
    ),
)
CLAIMS = (
    Claim(
        id="L11",
        statement="On an ill-conditioned convex bowl no single learning rate works; a rate for each parameter does.",
        measured="Steps until a method stays within a twentieth of its first distance from the minimum, from starts "
        "in all directions, on a bowl 10 000 times steeper in one direction; the best of 41 rates for each",
        parts=[
            Number(
                "rates at which descent arrives from half of the starts",
                "arrived",
                high=0.0,
                because="within the steps that all have",
            ),
            *BOWL,
        ],
        measure=bowl,
        draw=draw_bowl,
        caption="Paths from one start on a bowl 30 times steeper in one direction, and steps by learning rate on the "
        "one that is judged. One rate for both weights swings across the steep direction or crawls along the flat "
        "one. Methods with a rate for each weight see the same bowl as if it were round, as long as its axes are "
        "theirs.",
    ),
    Claim(
        id="L12",
        statement="Dividing by the root of the mean of all squared gradients bursts after a long flat stretch and "
        "then settles; a decaying rate repairs it.",
        measured="Distance across a valley, along which a method travels on an even slope with noisy gradients: its "
        "largest value 50 steps and more after arriving at the middle, and what follows; for the mean of all squares, "
        "their sum (Adagrad) and a moving average (RMSProp), with a fixed rate and one that falls as 1/sqrt(t)",
        parts=[
            *BURST,
            Number("mean of all squares with the falling rate against Adagrad", "same", high=1e-5, because="float32"),
        ],
        measure=burst,
        draw=draw_burst,
        caption="Place across the valley over the steps of one run, by what gradients are divided by and by the rate. "
        "All methods first go down into the valley, and then get hardly any gradient across. What is divided by may "
        "shrink meanwhile, which lets steps across grow until the gradient is felt again.",
    ),
)
