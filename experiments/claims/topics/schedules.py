"""How a learning rate should fall: noisy descent on a bowl under five schedules and a fixed rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, swept
from experiments.claims.claim import Claim, Number, Setup
from jnorm.train import schedules

RATE = 0.2


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        steps: Of descent; an epoch, the unit of time of the schedules, is a tenth of them.
        dimensions: Of the bowl, |w|^2 / 2.
    """

    steps: int = 500
    dimensions: int = 10


QUICK = Config(steps=100, dimensions=4)


def known(config: Config) -> dict[str, Any]:
    """The schedules by name; each begins at `RATE`."""
    epoch = config.steps // 10
    return {
        "fixed": optax.constant_schedule(RATE),
        "1/(1 + kt)": schedules.inverse_time(RATE, 1.0, steps=epoch),
        "exponential": schedules.exponential(RATE, 0.7, steps=epoch),
        "k/sqrt(t)": schedules.inverse_sqrt(RATE, steps=epoch),
        "step-wise": schedules.piecewise([RATE, RATE / 5, RATE / 25], [config.steps // 2, 3 * config.steps // 4]),
        "cosine": optax.cosine_decay_schedule(RATE, config.steps),
    }


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """Distance from the minimum after every step of descent with noise of std 1 in every direction of the gradient."""
    by_name = known(config)

    def train(key: jax.Array, *, schedule: str) -> dict[str, jax.Array]:
        start, noise = jax.random.split(key)

        def step(w: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            count, kick = now
            w = w - by_name[schedule](count) * (w + kick)
            return w, jnp.linalg.norm(w)

        kicks = jax.random.normal(noise, (config.steps, config.dimensions))
        w = 5 * jax.random.normal(start, (config.dimensions,))
        distance = jax.lax.scan(step, w, (jnp.arange(config.steps, dtype=w.dtype), kicks))[1]
        return {"distance": distance, "late": jnp.mean(jnp.log10(distance[-config.steps // 20 :]))}

    runs = swept(train, setup, "late", PARTS, grid={"schedule": list(by_name)}, static=["schedule"])
    epochs = [float(schedules.inverse_time(RATE, 1.0)(t)) for t in (1, 2, 3)]
    off = max(abs(value - given) for value, given in zip(epochs, (0.1, 0.0667, 0.05), strict=True))
    done = runs.result.done.all(0)
    curves = {name: runs.result.select(schedule=name)["distance"][0][done] for name in by_name}
    return {"formula": off, "late": runs} | curves


def draw(measured: Mapping[str, Any]) -> Any:
    """The median distance over steps by schedule."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(5.2, 3.2))
        for (name, color), dash in zip(
            zip(known(Config()), plots.PALETTE, strict=False), ("-", "--", ":") * 2, strict=True
        ):
            curve = np.median(measured[name], 0)
            axes.plot(np.arange(1, len(curve) + 1), curve, dash, color=color, label=name)
        axes.set(yscale="log", xlabel="step", ylabel="distance from the minimum")
        axes.set_title("Noisy descent on a bowl")
        plots.legend(figure, axes)
    return figure


PARTS = tuple(
    compared(
        f"{name} against fixed",
        "late",
        "less",
        0.1,
        metric="late",
        a={"schedule": name},
        b={"schedule": "fixed"},
        diverged="highest",
    )
    for name in ("1/(1 + kt)", "exponential", "k/sqrt(t)", "step-wise", "cosine")
)
CLAIMS = (
    Claim(
        id="D10",
        statement="A learning rate that falls settles into the minimum, which a fixed rate circles.",
        measured="log10 of the distance from the minimum of a bowl, averaged over the last twentieth of noisy descent, "
        "for five schedules against the rate that they begin with",
        parts=[
            Number("1/(1 + t) from .2 against .1, .0667, .05: difference", "formula", high=5e-5, because="4 digits"),
            *PARTS,
        ],
        measure=measure,
        draw=draw,
        caption="Distance from the minimum over the steps of noisy descent, the median over seeds. A fixed "
        "rate stays at the distance that its noise makes. A falling one averages more and more of the noise away.",
    ),
)
