"""He et al. 2015, figure 3: a relu network of 30 layers converges with weights of variance 2/n and stalls with 1/n.

The paper's network is convolutional, on ImageNet; ours has 30 hidden layers of 64 units on MNIST, batches of 128, plain
SGD, and for each variance the rate that is best on the dev set. Weights of all hidden layers have the variance gain/n,
those of the readout 1/n, biases are 0.

Floating-point operations: .17 M products an example, .13 G operations a step, .2 T for 1500 steps.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.deep import deep, scaled
from experiments.papers.asking import Ask, Found, binned, interval, judged, lines, of_arm
from jnorm import losses, statistics
from jnorm.activations import relu
from jnorm.statistics import Rule
from jnorm.train import evaluation, loop

TITLE = "Delving deep into rectifiers (He et al. 2015), figure 3"
DEPTH = 30
BATCH = 128
GAINS = {"2/n": 2.0, "1/n": 1.0}
CHANCE = 0.1


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        units: Of every hidden layer.
        steps: Of 128 examples.
        points: Stretches of steps over which the loss is averaged.
        rates: Among which each variance has its best.
    """

    units: int
    steps: int
    points: int
    rates: tuple[float, ...]


SIZES = {
    "quick": Size(16, 40, 10, (0.01,)),
    "default": Size(64, 1500, 75, (0.003, 0.01, 0.03)),
    "whole": Size(256, 20_000, 100, (0.001, 0.003, 0.01, 0.03)),
}


def _rule(name: str, claim: str, effect: float, a: float, b: float) -> Rule:
    return Rule(
        name=name,
        metric="test_accuracy",
        claim=claim,
        effect=effect,
        diverged=CHANCE,
        family="figure 3",
        a={"gain": a},
        b=b,
    )


RULES = (
    _rule("test accuracy in the end, variance 2/n, above .9", "greater", 0.0, 2.0, 0.9),
    _rule("test accuracy in the end, variance 1/n, that of chance within .05", "equal", 0.05, 1.0, CHANCE),
)
"""Convergence is an accuracy above .9; stalling one of chance, at every rate that was tried, as the best one is."""


def train_of(size: Size, inputs: int) -> Any:
    """``train(key, parts, gain=, rate=)``: one program for all."""

    def train(key: jax.Array, parts: Any, *, gain: Any, rate: Any) -> dict[str, jax.Array]:
        law = scaled(jnp.sqrt(gain))
        run = loop.trainer(
            deep(relu, law, inputs, 10, units=size.units, depth=DEPTH),
            losses.softmax_cross_entropy,
            optax.sgd(rate),
            steps=size.steps,
            batch_size=BATCH,
            metrics={"accuracy": evaluation.accuracy},
            report=loop.Report(parts=("dev", "test"), steps=["loss", "gradient_norm"]),
        )
        found = run(key, parts)
        scores = {name: found[name] for name in ("dev_accuracy", "test_accuracy")}
        start = jnp.log10(found["step_gradient_norm"][0])
        return scores | {"curve": binned(found["step_loss"], size.points), "gradient": start}

    return train


def measure(ask: Ask) -> Found:
    """Train, choose rates, and judge by the rules."""
    size, parts = SIZES[ask.size], ask.pixels(True)
    train = train_of(size, parts["train"][0].shape[1])
    grid = {"gain": tuple(GAINS.values()), "rate": size.rates}
    every = ask.sweep("he", train, grid=grid, shared=parts)
    result = statistics.tuned(every, "rate", on="dev_accuracy")
    published = {"2/n": "converges", "1/n": "stalls"}
    rows, found, arrays = [], {}, {"step": size.steps // size.points * (np.arange(size.points) + 0.5)}
    for (name, gain), (winner, *_) in zip(GAINS.items(), result.winners, strict=True):
        accuracy, gradient = (of_arm(result, key, gain=gain) for key in ("test_accuracy", "gradient"))
        text = f"test accuracy {interval(100 * accuracy, '{:.1f}')} % at rate {winner['rate']:g}"
        rows.append((f"{DEPTH} layers, variance {name}", published[name], text))
        text = interval(gradient, "{:.2f}")
        rows.append(
            (f"log10 of the gradient's norm at the start, {name}", "diminishing" if gain == 1 else "kept", text)
        )
        arrays[f"curve, {name}"] = of_arm(result, "curve", gain=gain)
        found |= {f"accuracy, {name}": accuracy, f"gradient, {name}": gradient, f"rate, {name}": winner["rate"]}
    notes = [
        f"{size.steps} steps of {BATCH}, {size.units} units a layer; rates "
        f"{', '.join(f'{rate:g}' for rate in size.rates)}, of which each variance has the best on the dev set."
    ]
    return Found(rows, judged(result, RULES), (), notes, found, arrays)


def draw(arrays: dict[str, Any]) -> Any:
    """Training loss over steps, with 2/n and with 1/n."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(3.8, 2.9))
        for (name, dash), color in zip({"2/n": "-", "1/n": "--"}.items(), plots.PALETTE, strict=False):
            curve = arrays[f"curve, {name}"]
            lines(axes, arrays["step"], curve, color=color, linestyle=dash, label=f"variance {name}")
        axes.axhline(np.log(10), color="0.6", linewidth=0.6, linestyle=":", label="by chance")
        axes.set(xlabel="step", ylabel="training loss", ylim=(0, 2.6), title=f"Relu, {DEPTH} hidden layers")
        axes.legend(loc="lower left")
    return figure
