"""How sharp the minima are in which training ends, by the size of the batch, at one training loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Setup
from experiments.claims.starts import layer
from experiments.claims.training import averages
from jnorm import losses
from jnorm.activations import tanh
from jnorm.measure import curvature
from jnorm.nn import networks
from jnorm.train import evaluation


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: To train on.
        units: Of both hidden layers.
        rates: Learning rates to choose from.
        look: Steps between two looks at the training loss.
        most: Steps at most.
        level: Of the training loss, at which all trainings end.
    """

    examples: int = 512
    units: int = 32
    rates: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    look: int = 5
    most: int = 4000
    level: float = 0.1


QUICK = Config(examples=64, units=4, rates=(0.3,), most=20, level=2.2)
TOLERANCE = 1e-3  # of eigenvalues, relative
SIZES = (4, 16, 64, 256)
SMALL, LARGE = SIZES[0], SIZES[-1]


def shares(size: Any, most: int) -> jax.Array:
    """What each of ``most`` examples counts in a batch of the first ``size``: one program for all sizes."""
    return (jnp.arange(most) < size) / size


def sharp(config: Config, setup: Setup) -> dict[str, Any]:
    """Trainings to a training loss, and the top eigenvalues there: of the Hessian, and as scales do not change it."""
    data = few(sets(setup), config.examples)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=2)
    network = networks.mlp(widths, layer(tanh, 1.0))
    outputs = lambda params, state, x: network.apply(params, state, x, train=False)[0]

    def train(
        key: jax.Array, parts: Any, *, size: Any, own: Any, rate: Any, watching: bool = True
    ) -> dict[str, jax.Array]:
        del own  # whether the rate is the best one for this size
        x, y = parts["train"]
        begin, go = jax.random.split(key)
        start, state = network.init(begin)
        counts = shares(size, min(LARGE, len(y)))

        def whole(params: Any) -> jax.Array:
            return jnp.mean(losses.softmax_cross_entropy(outputs(params, state, x), y))

        def step(params: Any, key: jax.Array) -> tuple[Any, None]:
            at = jax.random.randint(key, counts.shape, 0, len(y))
            loss = lambda params: counts @ losses.softmax_cross_entropy(outputs(params, state, x[at]), y[at])
            return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params)), None

        def looked(now: Any) -> Any:
            params, count, _ = now
            keys = jax.random.split(jax.random.fold_in(go, count), config.look)
            params, _ = jax.lax.scan(step, params, keys)
            return params, count + config.look, whole(params)

        going = lambda now: (now[1] < config.most) & (now[2] > config.level)
        params, count, loss = jax.lax.while_loop(going, looked, (start, 0, whole(start)))
        arrived = loss <= config.level
        accurate = lambda part: jnp.mean(evaluation.accuracy(outputs(params, state, parts[part][0]), parts[part][1]))
        scores = {f"{part}_accuracy": jnp.where(arrived, accurate(part), 0.0) for part in ("dev", "test")}
        if not watching:
            return scores
        hessian = curvature.hessian(whole, params)
        top, free = (curvature.eigenpairs(a, tol=TOLERANCE).values[0] for a in (hessian, curvature.rescaled(hessian)))
        return scores | {
            "top": jnp.where(arrived, jnp.log10(top), jnp.nan),
            "free": jnp.where(arrived, jnp.log10(free), jnp.nan),
            "loss": jnp.where(arrived, loss, config.level),
            "steps": jnp.asarray(count, float),
        }

    budget: dict[str, Any] = {"seeds": setup.tuning // 2, "names": [f"batches of {size}" for size in SIZES]}
    arms = [{"size": float(size), "own": 1.0} for size in SIZES]
    blind = partial(train, watching=False)
    chosen = tuned(blind, setup, "sharpness", arms, {"rate": config.rates}, shared=data.parts, **budget)
    lowest = min(arm["rate"] for arm in chosen.arms)
    same = [arm | {"own": 0.0, "rate": lowest} for arm in chosen.arms]
    result = swept(
        train, setup, "sharpness", SHARP, grid=[*chosen.arms, *same], shared=data.parts, finite=("top", "free")
    )
    shown = {
        f"{metric}, {name}": np.stack(averages(result, metric, [arm | {"own": own} for arm in arms]))
        for name, own in (("own", 1.0), ("one", 0.0))
        for metric in ("top", "free", "loss", "steps", "test_accuracy")
    }
    ends = shown["loss, one"][0]
    notes = f"{chosen.budget} One rate for all: {lowest:g}, the lowest of these. Mean training losses there "
    notes += f"{ends.min():.4f} to {ends.max():.4f}. Test accuracy by size at one rate: "
    notes += ", ".join(f"{value:.3f}" for value in shown["test_accuracy, one"][0])
    return {"sharpness": result, "notes": notes} | shown


_MATTERS = float(np.log10(4 / 3))
"""A third sharper."""
SHARP = [
    compared(
        f"log10 of {what}, batches of {LARGE} less batches of {SMALL}, {how}",
        "sharpness",
        "greater",
        _MATTERS,
        metric=metric,
        a={"size": float(LARGE), "own": own},
        b={"size": float(SMALL), "own": own},
        diverged="exclude",
        own=("rate",),
    )
    for how, own in (("one rate", 0.0), ("each at its own rate", 1.0))
    for metric, what in (("top", "the Hessian's top eigenvalue"), ("free", "the sharpness that scales do not change"))
]


def draw(measured: Mapping[str, Any]) -> Any:
    """Both sharpnesses over the size of the batch."""
    from jnorm import plots

    titles = {"top": "Top eigenvalue", "free": "Sharpness that scales do not change"}
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.6, 3.0))
        for axes, (metric, title) in zip(panels, titles.items(), strict=True):
            for i, (name, label, dash) in enumerate(
                (("one", "one rate for all", "o-"), ("own", "its own rate", "s--"))
            ):
                mean, half = measured[f"{metric}, {name}"]
                ends = 10 ** np.stack([mean - half, mean, mean + half])
                bars = np.abs(ends[[0, 2]] - ends[1])
                look = {"fmt": dash, "color": plots.PALETTE[i], "markersize": 4, "capsize": 2, "label": label}
                axes.errorbar(SIZES, ends[1], bars, **look)
            axes.set(xscale="log", yscale="log", xlabel="examples in a batch", title=title)
            axes.set_xticks(SIZES, SIZES)
            axes.xaxis.minorticks_off()
        panels[0].set_ylabel("at the same training loss")
        plots.legend(figure, panels[0], title="geometric mean and its 95 % interval")
    return figure


CLAIMS = (
    Claim(
        id="L8",
        statement="Large batches end in sharper minima.",
        measured="Networks of two tanh layers of 32 units, trained on 512 digits until the loss on all of them is .1, "
        "with batches of 4 to 256: the top eigenvalue of the Hessian, and of |w| H |w|, which rescaling of weights "
        "does not change; at one rate for all sizes, and at the best one for each",
        parts=SHARP,
        measure=sharp,
        draw=draw,
        caption="Sharpness over the size of the batch where the loss on all training examples has come to the same "
        "value: the top eigenvalue of the Hessian, and that of the Hessian scaled by the size of each weight. A rise "
        "to the right is what the lecture says.",
    ),
)
