"""Klambauer et al. 2017, figure 1: training loss of selu against relu with batch norm, 8, 16 and 32 layers on MNIST.

The paper trains with plain SGD, batches of 128 and a rate of 1e-5. A rate of 1e-5 on the sum of the losses of a batch
is one of 128e-5 = .00128 on their mean, on which ours is; 1e-5 on the mean would leave both networks where they began.
With ``--whole`` ten times that is shown beside it and does not count; claim N11 compares both at tuned rates. The paper
does not say how wide its layers are.

Floating-point operations: 784 n + (depth - 1) n^2 products an example forward, six operations for each in a step: with
n = 64 units, the three depths and 128 examples .57 G a step of both networks together, 3.4 T for 1000 steps of 6 seeds;
most of the time goes into the many small operations of 32 layers, not into products.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.deep import deep, scaled
from experiments.papers.asking import Ask, Found, binned, interval, judged, lines, of_arm
from jnorm import losses
from jnorm.activations import relu, selu
from jnorm.nn import batch_norm
from jnorm.statistics import Rule
from jnorm.train import evaluation, loop

TITLE = "Self-normalizing networks (Klambauer et al. 2017), figure 1"
DEPTHS = (8, 16, 32)
BATCH = 128
RATE = 1e-5 * BATCH
ARMS = {"selu": False, "relu + batch norm": True}


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        units: Of every hidden layer.
        steps: Of 128 examples.
        points: Stretches of steps over which the loss is averaged.
        rates: On the mean loss.
    """

    units: int
    steps: int
    points: int
    rates: tuple[float, ...]


SIZES = {
    "quick": Size(16, 40, 10, (RATE,)),
    "default": Size(64, 1000, 100, (RATE,)),
    "whole": Size(256, 20_000, 100, (RATE, 10 * RATE)),
}


def _rules(rate: float, family: str) -> tuple[Rule, ...]:
    """Of all depths together: the loss in the end, and how much it jumps about."""
    common: dict[str, Any] = {
        "a": {"normed": False, "rate": rate},
        "b": {"normed": True, "rate": rate},
        "claim": "less",
        "diverged": "highest",
        "family": family,
    }
    return (
        Rule(
            name=f"log10 of the training loss over the last twentieth of the steps, selu less relu + batch norm, "
            f"rate {rate:.3g}",
            metric="log_loss",
            effect=float(np.log10(1.1)),
            **common,
        ),
        Rule(
            name=f"deviation of log10 of a batch's loss within a twentieth of the steps, last half, likewise, "
            f"rate {rate:.3g}",
            metric="jumps",
            effect=0.01,
            **common,
        ),
    )


RULES = _rules(RATE, "figure 1")
"""At the paper's rate: a loss lower by a tenth, and smaller jumps by .01 (of log10), at each depth."""
BESIDE = _rules(10 * RATE, "figure 1, ten times the rate")


def train_of(size: Size, inputs: int) -> Any:
    """``train(key, parts, normed=, depth=, rate=)``; kind and depth are static."""

    def train(key: jax.Array, parts: Any, *, normed: bool, depth: int, rate: Any) -> dict[str, jax.Array]:
        network = deep(
            relu if normed else selu,
            scaled(2**0.5 if normed else 1.0),
            inputs,
            10,
            units=size.units,
            depth=depth,
            first=scaled(),
            normalizer=batch_norm if normed else None,
        )
        run = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            optax.sgd(rate),
            steps=size.steps,
            batch_size=BATCH,
            metrics={"accuracy": evaluation.accuracy},
            report=loop.Report(parts=("test",), steps=["loss"]),
        )
        found = run(key, parts)
        return {"test_accuracy": found["test_accuracy"]} | summed_up(found["step_loss"], size.points)

    return train


def summed_up(loss: jax.Array, points: int) -> dict[str, jax.Array]:
    """Of the losses of all steps: a curve, log10 of the loss in the end, and how much it jumps about."""
    stretches = jnp.log10(loss[len(loss) // 2 :]).reshape(10, -1)
    last = loss[-(len(loss) // 20) :]
    return {
        "curve": binned(loss, points),
        "log_loss": jnp.log10(jnp.mean(last)),
        "jumps": jnp.mean(jnp.std(stretches, axis=1)),
    }


def measure(ask: Ask) -> Found:
    """Train, and judge by the rules."""
    size, parts = SIZES[ask.size], ask.pixels(True)
    train = train_of(size, parts["train"][0].shape[1])
    grid = {"normed": tuple(ARMS.values()), "depth": DEPTHS, "rate": size.rates}
    result = ask.sweep(
        "snn", train, grid=grid, static=("normed", "depth"), shared={k: parts[k] for k in ("train", "test")}
    )
    rows, found = [], {}
    for depth in DEPTHS:
        cells = []
        for name, normed in ARMS.items():
            arm = {"normed": normed, "depth": depth, "rate": size.rates[0]}
            losses_, jumps, test = (of_arm(result, key, **arm) for key in ("log_loss", "jumps", "test_accuracy"))
            cells.append(f"{name} {interval(10**losses_)} (jumps {interval(jumps, '{:.2g}')})")
            found[f"{name}, {depth}"] = {"loss": 10**losses_, "jumps": jumps, "test_accuracy": test}
        rows.append((f"training loss in the end, {depth} layers", "selu lower, and less rough", "; ".join(cells)))
    curves = {
        f"{name}, {depth}, {rate:.3g}": of_arm(result, "curve", normed=normed, depth=depth, rate=rate)
        for name, normed in ARMS.items()
        for depth in DEPTHS
        for rate in size.rates
    }
    notes = [
        f"{size.steps} steps of {BATCH} of {len(parts['train'][1])} images, {size.units} units a layer, "
        f"rate {' and '.join(f'{rate:.3g}' for rate in size.rates)} on the mean loss of a batch (the paper's 1e-5 on "
        f"the sum is {RATE:.3g} on the mean); weights of variance 1/n for selu and 2/n for relu. The loss of a step is "
        "that of its batch before it.",
    ]
    step = size.steps // size.points * (np.arange(size.points) + 0.5)
    beside = judged(result, BESIDE) if len(size.rates) > 1 else ()
    arrays = {"step": step, "rates": np.array(size.rates), **curves}
    return Found(rows, judged(result, RULES), beside, notes, found, arrays)


def draw(arrays: dict[str, Any]) -> Any:
    """Training loss over steps, a panel a rate, a shade a depth."""
    from jnorm import plots

    rates = arrays["rates"]
    with plots.style():
        figure, panels = plots.figure(1, len(rates), size=(3.7 * len(rates), 3.0), squeeze=False)
        for axes, rate in zip(panels[0], rates, strict=True):
            for (name, dash), color in zip(
                {"selu": "-", "relu + batch norm": "--"}.items(), plots.PALETTE, strict=False
            ):
                for depth, width in zip(DEPTHS, (0.8, 1.3, 1.9), strict=True):
                    curve = arrays[f"{name}, {depth}, {rate:.3g}"]
                    look = {"color": color, "linestyle": dash, "linewidth": width}
                    lines(axes, arrays["step"], curve, label=f"{name}, {depth} layers", **look)
            axes.set(yscale="log", xlabel="step", title=f"rate {rate:.3g} on the mean loss")
        panels[0, 0].set_ylabel("training loss")
        plots.legend(figure, panels[0, 0])
    return figure
