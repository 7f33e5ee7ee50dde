"""How to split data: what the size and the source of a dev set do to its estimate."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, sets, swept
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import averages
from jnorm import activations, initializers, losses
from jnorm.data import augment
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes of the sets and of one-layer relu networks.

    Attributes:
        small: Examples of a small set, real ones.
        large: Examples of a large one, real ones that are turned and bent at random, with noise.
        truth: Examples beyond the large set that tell the true error; beyond the small one all others do.
        units: Hidden units.
        epochs: Of as many steps as a pass over the small set, its examples drawn with replacement.
        small_batch: Examples in a step on the small set.
        large_batch: Examples in a step on the large one, over which there is one pass.
        rate: Learning rate of Adam.
        chunk: Runs side by side on the small set.
    """

    small: int = 500
    large: int = 250_000
    truth: int = 20_000
    units: int = 32
    epochs: int = 20
    small_batch: int = 50
    large_batch: int = 1000
    rate: float = 1e-2
    chunk: int = 8


QUICK = Config(large=4000, truth=500, units=8, epochs=1, large_batch=200, chunk=1)
LOOKS = 32  # runs of the large set at most
DEGREES = 20.0  # by which the other source is turned
SMALL_SPLITS = {  # shares of training and dev examples; what is left tests
    "60/20/20": (0.6, 0.2),
    "70/30": (0.7, 0.3),
    "80/20": (0.8, 0.2),
    "75/25": (0.75, 0.25),
    "98/1/1": (0.98, 0.01),
}
LARGE_SPLITS = {"60/20/20": (0.6, 0.2), "98/1/1": (0.98, 0.01), "99.5/.25/.25": (0.995, 0.0025)}


@cache
def large(setup: Setup, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Many images of one source: those that there are, each turned and bent many times, with noise."""
    x, y, side, fill = _images(setup)
    size = config.large + config.truth
    rng = np.random.default_rng(0)
    rows = rng.integers(len(x), size=size)

    @jax.jit
    def bent(key: jax.Array, images: jax.Array) -> jax.Array:
        turned = augment.rotate(key, images, 10.0, fill=fill)
        return augment.noise(key, augment.elastic(key, turned, 2.0, 1.2, fill=fill), 0.1)

    block = min(size, 10_000)
    pieces = []
    for first in range(0, size, block):
        at = np.resize(rows[first : first + block], block)
        images = bent(jax.random.key(first), jnp.asarray(x[at]).reshape(-1, side, side))
        pieces.append(np.asarray(images).reshape(block, -1))
    return np.concatenate(pieces)[:size], y[rows]


def _images(setup: Setup) -> tuple[np.ndarray, np.ndarray, int, float]:
    """All images, in an order of their own, the length of a side and the value of their margin."""
    data = sets(setup, setup.data if setup.data in ("digits", "mnist") else "digits")
    x, y = (np.concatenate([pair[i] for pair in data.parts.values()]) for i in (0, 1))
    order = np.random.default_rng(1).permutation(len(y))
    return x[order], y[order], round(x.shape[1] ** 0.5), float(x.min())


def train(key: jax.Array, data: Any, *, config: Config, size: int, trained: Any, dev: Any) -> dict[str, Any]:
    """Train on a share of ``size`` examples and estimate on another one; what lies beyond tells the truth.

    The key draws where in the order of all examples the set begins.
    """
    x, y = data["examples"]
    everything, few = len(y), size == config.small
    start = jnp.floor(everything * jax.random.uniform(jax.random.fold_in(key, 1))).astype(jnp.int32)
    batch = config.small_batch if few else config.large_batch
    rows = size // batch * batch
    count = jnp.round(trained * size).astype(jnp.int32)

    def order(key: jax.Array, epoch: jax.Array) -> jax.Array:
        at = jnp.floor(count * jax.random.uniform(key, (rows,))).astype(jnp.int32) if few else jnp.arange(rows)
        return (start + at % count) % everything

    layer = Layer(activations.relu, initializers.he_normal())
    network = networks.mlp((x.shape[1], config.units, data["classes"].shape[0]), layer)
    report = loop.Report((), keep_params=True)
    options = {"epochs": config.epochs if few else 1, "batch_size": batch, "order": order, "report": report}
    run = loop.trainer(network, losses.softmax_cross_entropy, optax.adam(config.rate), **options)
    found = run(key, {"train": (x, y)})
    predict = lambda x: network.apply(found["params"], found["state"], x, train=False)[0]
    wrong = lambda x: 1 - evaluation.accuracy(predict(x), y)
    place = (jnp.arange(everything) - start) % everything
    among = lambda errors, chosen: jnp.sum(errors * chosen) / jnp.sum(chosen)
    held = (place >= count) & (place < count + jnp.round(dev * size))
    errors = wrong(x)
    truth = among(errors, place >= size)
    result = {"error": truth, "miss": jnp.abs(among(errors, held) - truth), "dev": jnp.sum(held) + 0.0}
    if "other" in data:
        result["more by source"] = jnp.abs(among(wrong(data["other"]), held) - truth) - result["miss"]
    return result


def arm(shares: tuple[float, float]) -> dict[str, float]:
    """An arm by its shares."""
    return dict(zip(("trained", "dev"), shares, strict=True))


CUSTOM = arm(SMALL_SPLITS["60/20/20"])
_small = partial(compared, quantity="small", diverged="highest")
_large = partial(compared, quantity="large", diverged="highest", metric="miss")
PARTS = (
    _small(
        "small set: how far the dev error is off, 98/1/1 less 60/20/20",
        claim="greater",
        effect=0.02,
        metric="miss",
        a=arm(SMALL_SPLITS["98/1/1"]),
        b=CUSTOM,
    ),
    *(
        _small(
            f"small set: {what}, {split} less 60/20/20",
            claim="equal",
            effect=0.01,
            metric=metric,
            a=arm(shares),
            b=CUSTOM,
        )
        for split, shares in list(SMALL_SPLITS.items())[1:4]
        for what, metric in (("how far the dev error is off", "miss"), ("true error", "error"))
    ),
    *(
        _large(f"large set: how far the dev error is off, {split}", claim="less", effect=0.0, a=arm(shares), b=0.01)
        for split, shares in list(LARGE_SPLITS.items())[1:]
    ),
    _small(
        "how far the dev error is off, dev set from another source less from the same",
        claim="greater",
        effect=0.01,
        metric="more by source",
        a=CUSTOM,
    ),
)


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """Runs of every split on a small and on a large set."""
    x, y, side, fill = _images(setup)
    classes = jnp.zeros(int(y.max()) + 1)
    other = np.asarray(augment.rotated(x.reshape(-1, side, side), DEGREES, fill=fill)).reshape(x.shape)
    few = {"examples": (x, y), "other": other, "classes": classes}
    many = {"examples": large(setup, config), "classes": classes}
    looks = [look for look in setup.looks if look <= max(LOOKS, len(setup.seeds))]
    run = lambda size: partial(train, config=config, size=size)
    return {
        "small": swept(
            run(config.small), setup, "small", PARTS, grid=_grid(SMALL_SPLITS), shared=few, chunk=config.chunk
        ),
        "large": swept(
            run(config.large), setup, "large", PARTS, grid=_grid(LARGE_SPLITS), shared=many, looks=looks, chunk=1
        ),
        "notes": f"A small set has {config.small} examples, a large one {config.large}.",
    }


def _grid(splits: Mapping[str, tuple[float, float]]) -> list[dict[str, float]]:
    return [arm(shares) for shares in splits.values()]


def draw(measured: Mapping[str, Any]) -> Any:
    """How far dev errors are off over the size of the dev set, beside the binomial law; and true errors."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(7.0, 2.8))
        names = []
        for quantity, splits, color in (("small", SMALL_SPLITS, 0), ("large", LARGE_SPLITS, 3)):
            runs, arms = measured[quantity], _grid(splits)
            (miss, reach), (error, half), (dev, _) = (averages(runs, name, arms) for name in ("miss", "error", "dev"))
            style = {"color": plots.PALETTE[color], "marker": "o", "markersize": 4, "linestyle": "none"}
            left.errorbar(dev, 100 * miss, 100 * reach, **style, label=f"{quantity} set")
            m = np.geomspace(dev.min() / 1.5, dev.max() * 1.5, 50)
            p = error.mean()
            law = 100 * np.sqrt(2 / np.pi * p * (1 - p) / m)
            left.plot(m, law, color=plots.PALETTE[color], linewidth=0.8, linestyle=":")
            at = -np.arange(len(names), len(names) + len(splits))
            right.errorbar(100 * error, at, xerr=100 * half, **style)
            names += [f"{quantity} {split}" for split in splits]
        left.plot([], [], color="0.4", linewidth=0.8, linestyle=":", label="binomial law")
        left.set(xscale="log", yscale="log", xlabel="examples in the dev set", ylabel="dev error is off by (points)")
        left.legend(frameon=False)
        right.set_yticks(-np.arange(len(names)), names)
        right.set(xlabel="true error (%)", xlim=(0, None))
    return figure


CLAIMS = (
    Claim(
        id="D19",
        statement="Small data are split 60/20/20 (or 70/30, 75/25, 80/20), large ones 98/1/1 or with 99.5 % for "
        "training; dev and test set come from one source.",
        measured="By how much the dev error is off the true error on all other examples, and that error, for every "
        "split of a small set of digits and of a large set made from them; and with a dev set that is turned",
        parts=PARTS,
        measure=measure,
        draw=draw,
        caption="By how much the dev error is off the true error, on average over splits, and the true error "
        "itself, with 95 % intervals. The dotted lines are the binomial law for independent examples. A percent of "
        "a large set is enough for an estimate, a percent of a small one is a handful of examples.",
    ),
)
