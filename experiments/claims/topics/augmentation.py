"""More examples, real or made of others: shifts, rotations and other changes of images against overfitting."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.claims.arms import compared, sets, swept
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import averages, drawn, scores
from jnorm import activations, initializers
from jnorm.data import augment
from jnorm.nn import networks
from jnorm.nn.layers import Layer


@dataclass(frozen=True)
class Config:
    """Sizes of a one-layer relu network.

    Attributes:
        units: Hidden units.
        epochs: Passes over the larger training set, or as many steps over the smaller one.
        batch_size: Examples in a step.
        rate: Learning rate of Adam.
        degrees: Largest angle of rotations and shears.
        chunk: Runs side by side.
    """

    units: int = 64
    epochs: int = 30
    batch_size: int = 30
    rate: float = 3e-3
    degrees: float = 15.0
    chunk: int = 16


QUICK = Config(units=8, epochs=1, chunk=1)
FEW, MORE = 120, 480  # real examples
KINDS = ("none", "shift", "rotation", "crop", "shear", "elastic", "vertical flip", "shift and rotation")


def changes(config: Config, side: int, fill: float) -> list[Any]:
    """Functions of a key and of images, in the order of the `KINDS`: as large as is usual for digits of 28 pixels.

    Those are shifts of up to 2 pixels, and windows of 24, for half of the images.
    """
    turn = lambda key, x: augment.rotate(key, x, config.degrees, fill=fill)

    def move(key: jax.Array, x: jax.Array) -> jax.Array:
        offsets = jax.random.uniform(key, (len(x), 2, 1, 1), minval=-side / 14, maxval=side / 14)
        return augment.displaced(x, jnp.broadcast_to(offsets, (len(x), 2, side, side)), fill=fill)

    def crop(key: jax.Array, x: jax.Array) -> jax.Array:
        whole = jax.random.bernoulli(key, 0.5, (len(x), 1, 1))
        window = augment.crop(key, x, side - max(1, side // 7))
        return jnp.where(whole, x, jax.image.resize(window, x.shape, "linear"))

    return [
        lambda key, x: x,
        move,
        turn,
        crop,
        lambda key, x: augment.shear(key, x, config.degrees, fill=fill),
        lambda key, x: augment.elastic(key, x, 34 * (side / 29) ** 2, 4 * side / 29, fill=fill),
        lambda key, x: augment.flip(key, x, axis=1),
        lambda key, x: move(key, turn(key, x)),
    ]


def train(key: jax.Array, data: Any, *, config: Config, fill: float, kind: Any, count: Any) -> dict[str, Any]:
    """So many real examples, changed in each step in the way of this number among the `KINDS`."""
    inputs = data["train"][0].shape[1]
    side = round(inputs**0.5)
    made = changes(config, side, fill)

    def changed(key: jax.Array, x: jax.Array) -> jax.Array:
        images = x.reshape(-1, side, side)
        return jax.lax.switch(jnp.asarray(kind, jnp.int32), made, key, images).reshape(x.shape)

    layer = Layer(activations.relu, initializers.he_normal())
    network = networks.mlp((inputs, config.units, data["classes"].shape[0]), layer)
    parts = {part: data[part] for part in ("dev", "test")} | {"train": drawn(key, data["train"], count, MORE)}
    options = {"epochs": config.epochs, "batch_size": config.batch_size, "augment": changed}
    return scores(key, parts, network, optax.adam(config.rate), **options)


def arm(kind: str, count: int = FEW) -> dict[str, float]:
    """An arm by the name of the change."""
    return {"kind": float(KINDS.index(kind)), "count": float(count)}


NONE, REAL = arm("none"), arm("none", MORE)
_gap = partial(compared, quantity="runs", claim="less", effect=0.01, metric="gap", diverged="highest")
PARTS = (
    *(_gap(f"gap, {kind} less none", a=arm(kind), b=NONE) for kind in KINDS[1:6]),
    _gap(f"gap, {MORE} real examples less {FEW}", a=REAL, b=NONE),
    _gap("gap, real examples less shifts and rotations", a=REAL, b=arm(KINDS[-1])),
    compared(
        "test accuracy, vertical flip less none",
        "runs",
        "less",
        0.01,
        metric="test_accuracy",
        a=arm("vertical flip"),
        b=NONE,
        diverged=0.1,
    ),
)


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """Runs with each change, and with more real examples; on digits where the data set holds no square images."""
    data = sets(setup, setup.data if setup.data in ("digits", "mnist") else "digits")
    shared = data.parts | {"classes": jnp.zeros(data.classes)}
    run = partial(train, config=config, fill=float(data.parts["train"][0].min()))
    grid = [*map(arm, KINDS), REAL]
    return {"runs": swept(run, setup, "runs", PARTS, grid=grid, shared=shared, chunk=config.chunk)}


def draw(measured: Mapping[str, Any]) -> Any:
    """Gap and test error of every way."""
    from jnorm import plots

    ways = [*((kind, arm(kind)) for kind in KINDS), (f"{MORE} real examples", REAL)]
    places = [-place for place in range(len(ways))]
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.0, 2.8), sharey=True)
        for axes, name, label in zip(panels, ("gap", "test_accuracy"), ("test less train", "test"), strict=True):
            mean, half = averages(measured["runs"], name, [one for _, one in ways])
            error = 100 * (mean if name == "gap" else 1 - mean)
            for place, value, reach, (kind, _) in zip(places, error, 100 * half, ways, strict=True):
                color = plots.PALETTE[{"none": 5, "vertical flip": 3}.get(kind, 2 if "real" in kind else 0)]
                axes.errorbar(value, place, xerr=reach, color=color, marker="o", markersize=4)
            axes.axvline(error[0], color="0.6", linewidth=0.8, linestyle=":")
            axes.set(xlabel=f"{label} error (%)", xlim=(0, None))
        panels[0].set_yticks(places, [kind for kind, _ in ways])
    return figure


CLAIMS = (
    Claim(
        id="D17",
        statement="More or augmented data (shifts, small rotations) cuts overfitting, real data more so; a vertical "
        "flip hurts digits.",
        measured=f"Test error less train error of one-layer networks on {FEW} images, changed anew in each step, "
        f"against {MORE} real images with as many steps; test accuracy under vertical flips",
        parts=PARTS,
        measure=measure,
        draw=draw,
        caption=f"How much worse test error is than train error, and test error itself, with {FEW} training images "
        "as they are, with one change of them, and with more real ones; bars are 95 % intervals. The dotted line is "
        "training without any change. All networks take as many steps, and where train "
        "error is 0 both sides show the same.",
    ),
)
