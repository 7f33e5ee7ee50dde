"""Capacity: what more units, more examples, longer training and fewer connections do to both kinds of error."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.claims.arms import compared, sets, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import averages, drawn, scores
from jnorm import activations, initializers
from jnorm.nn import connections, networks
from jnorm.nn.layers import Layer


@dataclass(frozen=True)
class Config:
    """Sizes of one-layer perceptrons that are trained by Adam.

    Attributes:
        rows: Examples in an epoch, with repetitions where there are fewer.
        epochs: Passes over them, at most.
        batch_size: Examples in a step.
        rates: Learning rates that tuning tries.
        chunk: Runs side by side: one program for tuning and for the runs that decide.
    """

    rows: int = 960
    epochs: int = 10
    batch_size: int = 32
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
    chunk: int = 32


QUICK = Config(rows=64, epochs=2, rates=(1e-2, 3e-2), chunk=1)
UNITS = (2, 4, 8, 16, 32, 64)
COUNTS = (60, 120, 240, 480, 960)
LENGTHS = (0.02, 0.1, 0.3, 1.0)
KEPT = (0.05, 0.1, 0.2, 0.5, 1.0)
FEW = 240  # examples where overfitting is asked for
SMALL, BIG = 8, 64


def train(
    key: jax.Array, data: Any, *, config: Config, units: Any, count: Any, length: Any, kept: Any, rate: Any
) -> dict[str, Any]:
    """So many ``units`` and examples (``count``), the share ``length`` of all steps, and ``kept`` of connections."""
    widths = (data["train"][0].shape[1], BIG, int(data["classes"].shape[0]))
    live = jnp.arange(BIG) < units

    def init(of: int | None, key: jax.Array, shape: tuple[int, ...], *rest: Any) -> jax.Array:
        fan_in = units if of is None else of
        return jax.random.normal(key, shape) * jnp.sqrt(2 / (kept * fan_in))

    mask = lambda shape: jax.random.uniform(jax.random.fold_in(key, shape[-1]), shape) < kept
    layer = Layer(
        lambda x: jnp.where(live, activations.relu(x), 0.0),
        initializers.he_normal(),
        input_init=partial(init, widths[0]),
        readout_init=partial(init, None),
        weights=connections.masked(mask),
    )
    steps = config.epochs * (config.rows // config.batch_size)
    optimizer = optax.adam(lambda step: jnp.where(step < length * steps, rate, 0.0))
    parts = {part: data[part] for part in ("dev", "test")} | {"train": drawn(key, data["train"], count, config.rows)}
    options = {"epochs": config.epochs, "batch_size": config.batch_size}
    return scores(key, parts, networks.mlp(widths, layer), optimizer, **options)


def arm(units: float = BIG, count: float = COUNTS[-1], length: float = 1.0, kept: float = 1.0) -> dict[str, float]:
    """An arm: what it does not name is at its largest."""
    return {"units": float(units), "count": float(count), "length": length, "kept": kept}


def measured(config: Config, setup: Setup, name: str, parts: Any, lines: Mapping[str, Any]) -> dict[str, Any]:
    """The runs of all arms on the lines, each by the rate that was chosen for it."""
    data = sets(setup)
    arms = [dict(a) for a in {tuple(sorted(a.items())): a for line in lines.values() for a in line[1]}.values()]
    shared = data.parts | {"classes": jnp.zeros(data.classes)}
    run = partial(train, config=config)
    options = {"shared": shared, "chunk": config.chunk}
    largest = arm()
    apart = [[f"{key} {value:g}" for key, value in one.items() if value != largest[key]] for one in arms]
    names = [", ".join(words) or "all at their largest" for words in apart]
    chosen = tuned(run, setup, name, arms, {"rate": config.rates}, names=names, **options)
    return {name: swept(run, setup, name, parts, grid=chosen.arms, **options), "notes": chosen.budget}


D14_LINES = {
    "units": ("hidden units", [arm(units=u) for u in UNITS]),
    "count": ("training examples", [arm(count=c) for c in COUNTS]),
    "length": ("share of the training steps", [arm(length=s) for s in LENGTHS]),
}
D26_LINES = {
    "units": ("hidden units", [arm(units=u, count=FEW) for u in UNITS]),
    "kept": ("share of connections", [arm(kept=k, count=FEW) for k in KEPT]),
}


def _less(quantity: str, what: str, claim: str, effect: float, metric: str, a: Any, b: Any) -> Any:
    diverged = "highest" if metric == "gap" else 0.1
    return compared(what, quantity, claim, effect, metric=metric, a=a, b=b, own=("rate",), diverged=diverged)


def _d14(what: str, claim: str, effect: float, metric: str, a: Any, b: Any) -> Any:
    return _less("bias and variance", what, claim, effect, metric, a, b)


D14_PARTS = (
    _d14(f"bigger net ({SMALL} to {BIG} units): train accuracy", "greater", 0.02, "train_accuracy", arm(), arm(SMALL)),
    _d14("training longer (from a tenth): train accuracy", "greater", 0.02, "train_accuracy", arm(), arm(length=0.1)),
    _d14("more data (60 to 960): gap of held-out and train error", "less", 0.02, "gap", arm(), arm(count=COUNTS[0])),
    _d14("bigger net: the gap stays", "equal", 0.01, "gap", arm(), arm(SMALL)),
    _d14("training longer: the gap stays", "equal", 0.01, "gap", arm(), arm(length=0.1)),
    _d14("more data: train error stays", "equal", 0.01, "train_accuracy", arm(), arm(count=COUNTS[0])),
)
D26_PARTS = tuple(
    _less("overfitting", f"gap of test and train error, {what}", "less", 0.01, "gap", few, arm(count=FEW))
    for what, few in (
        (f"{SMALL} of {BIG} units", arm(units=SMALL, count=FEW)),
        ("a tenth of the connections", arm(kept=0.1, count=FEW)),
    )
)


def draw(found: Mapping[str, Any], *, name: str, lines: Mapping[str, Any]) -> Any:
    """Train and held-out error along each knob."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, len(lines), size=(2.4 * len(lines) + 0.4, 2.5), sharey=True)
        for axes, (knob, (label, arms)) in zip(panels, lines.items(), strict=True):
            for metric, words, color, line in (("test", "held-out error", 3, "s-"), ("train", "train error", 0, "o--")):
                mean, half = averages(found[name], f"{metric}_accuracy", arms)
                x = [a[knob] for a in arms]
                look = {
                    "fmt": line,
                    "color": plots.PALETTE[color],
                    "markersize": 3.5,
                    "elinewidth": 1.2,
                    "label": words,
                }
                axes.errorbar(x, 100 * (1 - mean), 100 * half, **look)
            axes.set(xscale="log", xlabel=label)
            axes.set_xticks(x, [f"{value:g}" for value in x])
            axes.minorticks_off()
        panels[0].set(ylabel="error (%)", ylim=(-2.5, None))
        plots.legend(figure, panels[0])
    return figure


CLAIMS = (
    Claim(
        id="D14",
        statement="A bigger net and longer training cut the bias (train error), more data cuts the variance (by how "
        "much dev error is larger); each knob leaves the other error alone.",
        measured=f"Train error, and held-out error less train error, of one-layer perceptrons of {SMALL} and {BIG} "
        "units on 60 to 960 examples with equal steps (rate tuned on dev, judged on test data)",
        parts=D14_PARTS,
        measure=partial(measured, name="bias and variance", parts=D14_PARTS, lines=D14_LINES),
        draw=partial(draw, name="bias and variance", lines=D14_LINES),
        caption="Train and held-out error over the size of the net, the number of examples and the length of "
        "training, with 95 % intervals. What lies below the line of train error is bias, what lies between the "
        "lines is variance. Each knob is turned alone, the others at their largest.",
    ),
    Claim(
        id="D26",
        statement="A network with fewer neurons or fewer connections overfits less.",
        measured=f"Test error less train error of one-layer perceptrons on {FEW} examples, over the number of units "
        "and over the share of connections that a fixed random mask keeps (rate tuned on dev data)",
        parts=D26_PARTS,
        measure=partial(measured, name="overfitting", parts=D26_PARTS, lines=D26_LINES),
        draw=partial(draw, name="overfitting", lines=D26_LINES),
        caption=f"Train and held-out error on {FEW} examples over the number of hidden units and over the share of "
        "connections that are there, with 95 % intervals. Overfitting is the distance between the lines. All "
        "networks see the same examples in as many steps.",
    ),
)
