"""Batch norm and the size of the batch: what small ones cost, and what repairs them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing, training
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Setup
from experiments.claims.starts import layer
from jnorm.activations import relu
from jnorm.nn import batch_norm, batch_renorm, feature_norm, networks
from jnorm.nn.layers import Normalizer


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: To train on; few, so that test accuracy is not saturated.
        units: Of the two hidden layers.
        batches: Sizes of batches for which normalizers are compared.
        clipped: The smallest and the largest batch that is meant by them: the fewer sizes, the fewer programs.
        epochs: Of their training, the same for every batch.
        rates: Learning rates among which they choose for batches of 64; of others they are scaled by the root of the
            size.
    """

    examples: int = 320
    units: int = 32
    batches: tuple[int, ...] = (1, 2, 4, 8, 64)
    clipped: tuple[int, int] = (1, 64)
    epochs: int = 8
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)


QUICK = Config(examples=64, units=8, batches=(1, 2, 4, 64), clipped=(8, 16), epochs=1, rates=(0.1, 0.3))
NORMS = ("batch norm", "batch renorm", "layer norm", "group norm")
LEFT = 0.02
"""The largest gap of test accuracy to layer norm, which no batch matters to, of small batches that are repaired."""
_SPARE = 900
"""Examples that are not trained on, and join the dev set and the test set, half of them each."""


def _chosen(which: Any) -> Normalizer:
    """The normalizer of that number, traced, so that one program serves all four."""

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        own = [
            lambda x: batch_norm.apply(params, state, x, train=train),
            lambda x: batch_renorm.apply(params, state, x, train=train),
            lambda x: (feature_norm.layer_norm(params, x), state),
            lambda x: (feature_norm.group_norm(params, x, groups=4), state),
        ]
        return jax.lax.switch(jnp.int32(which), own, x)

    return Normalizer(batch_norm.init, apply)


@cache
def _sizes(config: Config, setup: Setup) -> dict[str, Any]:
    """Four normalizers by five sizes of the batch."""
    data = few(sets(setup), config.examples, spared=_SPARE)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=2)

    def train(key: Any, parts: Any, *, norm: Any, batch: int, rate: Any) -> dict[str, jax.Array]:
        network = networks.mlp(widths, layer(relu, normalizer=_chosen(norm)))
        size = min(max(batch, config.clipped[0]), config.clipped[1])
        optimizer = optax.sgd(rate * (size / 64) ** 0.5)
        found = training.scores(key, parts, network, optimizer, epochs=config.epochs, batch_size=size)
        return found | {"repaired": found["test_accuracy"] + jnp.where(norm == NORMS.index("batch renorm"), LEFT, 0.0)}

    arms = [{"norm": float(i), "batch": batch} for batch in config.batches for i in range(len(NORMS))]
    names = [f"{name} at {batch}" for batch in config.batches for name in NORMS]
    options: dict[str, Any] = {"static": ["batch"], "shared": data.parts}
    chosen = tuned(train, setup, "sizes", arms, {"rate": config.rates}, seeds=setup.tuning // 2, names=names, **options)
    runs = swept(train, setup, "sizes", _SIZES, looks=setup.looks[:4], grid=chosen.arms, **options)
    notes = f"{config.examples} examples to train on, {config.epochs} epochs; rates times the root of batch / 64. "
    notes += chosen.budget
    return {"sizes": runs, "batches": np.array(config.batches), "notes": notes}


def _sized(a: tuple[str, int], b: tuple[str, int], claim: str) -> Comparison:
    """A part about two pairs of normalizer and batch."""
    arms: dict[str, Any] = {
        side: {"norm": float(NORMS.index(name)), "batch": size} for side, (name, size) in (("a", a), ("b", b))
    }
    what = f"test accuracy, {a[0]} at {a[1]} less {b[0]} at {b[1]}"
    return compared(what, "sizes", claim, 0.01, metric="test_accuracy", own=("rate",), diverged=0.1, **arms)


_NEEDS = [_sized(("batch norm", size), ("batch norm", 64), "less") for size in (1, 2, 4)]
_LOSES = [_sized(("batch norm", size), ("layer norm", size), "less") for size in (1, 2, 4)]
_REPAIRS = [_sized(("batch renorm", size), ("batch norm", size), "greater") for size in (1, 2, 4)]
_CLOSE = [
    compared(
        f"test accuracy, batch renorm at {size} and {100 * LEFT:g} points less layer norm at {size}",
        "sizes",
        "greater",
        0.0,
        metric="repaired",
        a={"norm": float(NORMS.index("batch renorm")), "batch": size},
        b={"norm": float(NORMS.index("layer norm")), "batch": size},
        own=("rate",),
        diverged=0.1,
    )
    for size in (1, 2, 4)
]
_SIZES = [*_NEEDS, *_LOSES, *_REPAIRS, *_CLOSE]


def draw_sizes(measured: Mapping[str, Any]) -> Any:
    """Accuracy of the four normalizers over the size of the batch."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.2, 3.1))
        sizes = measured["batches"].tolist()
        for i, (name, mark) in enumerate(zip(NORMS, ("o-", "s--", "^-.", "D:"), strict=True)):
            runs = [drawing.values(measured["sizes"], "test_accuracy", {"norm": float(i), "batch": b}) for b in sizes]
            means, halves = zip(*((100 * r.mean(), 196 * r.std(ddof=1) / len(r) ** 0.5) for r in runs), strict=True)
            options = {"color": plots.PALETTE[i], "markersize": 4, "capsize": 2, "label": name}
            axes.errorbar(sizes, means, halves, fmt=mark, **options)
        axes.set(xscale="log", xlabel="examples in a batch", ylabel="test accuracy (%)", ylim=(0, 101))
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        plots.legend(figure, axes)
    return figure


_SIZED = (
    "Test accuracy on few digits, two relu layers, batches of 1, 2, 4, 8 and 64: batch norm, batch renorm, layer norm "
    "and group norm, equal epochs, each with its own learning rate; repaired: better by a point than batch norm, and "
    "at most two points behind layer norm"
)
_FOUR = (
    "Test accuracy over the size of the batch with 95 % intervals, after equal epochs and with the learning rate that "
    "suits each place. "
)
CLAIMS = (
    Claim(
        id="L1",
        statement="Batch norm needs a batch that is large enough.",
        measured=_SIZED,
        parts=[*_NEEDS, *_LOSES],
        measure=_sizes,
        draw=draw_sizes,
        caption=_FOUR + "Batch norm and renorm take statistics from the batch, layer and group norm from each example. "
        "A batch of one has no variance.",
    ),
    Claim(
        id="N16",
        statement="Batch norm needs a batch that is large enough; batch renormalization repairs small ones.",
        measured=_SIZED,
        parts=[*_NEEDS, *_REPAIRS, *_CLOSE],
        measure=_sizes,
        draw=draw_sizes,
        caption=_FOUR
        + "Renorm corrects the statistics of the batch towards the running ones. Of a single example there "
        "is no variance to correct.",
    ),
)
