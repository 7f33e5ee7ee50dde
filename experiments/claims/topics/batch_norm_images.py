"""Batch norm of images: one mean and variance for each channel, over batch and space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing, training
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.norms import switched
from experiments.claims.starts import layer
from jnorm.activations import relu
from jnorm.nn import batch_norm, networks


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        channels: Of the two layers of the network.
        images: That it is trained on; few, so that its accuracy is not saturated.
        epochs: Of its training.
        rates: Learning rates among which its arms choose.
    """

    channels: tuple[int, int] = (8, 16)
    images: int = 300
    epochs: int = 8
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


QUICK = Config(channels=(2, 4), images=60, epochs=1, rates=(0.1, 1.0))
ROUNDING = "float64"


def convolved(config: Config, setup: Setup) -> dict[str, Any]:
    """Statistics over batch and space against a loop, their symmetry under shifts, and a small network."""
    found = _channels(setup)
    data = few(sets(setup, "digits" if setup.data.startswith("uci/") else None), config.images, spared=900)
    side = math.isqrt(data.parts["train"][0].shape[1])
    images = {part: (x.reshape(-1, side, side, 1), y) for part, (x, y) in data.parts.items()}

    def train(key: Any, parts: Any, *, normed: Any, rate: Any) -> dict[str, jax.Array]:
        hidden = layer(relu, normalizer=switched(normed))
        network = networks.cnn((1, *config.channels), data.classes, hidden)
        return training.scores(key, parts, network, optax.sgd(rate), epochs=config.epochs, batch_size=40)

    arms = [{"normed": 1.0}, {"normed": 0.0}]
    names = ["with batch norm", "without"]
    chosen = tuned(train, setup, "cnn", arms, {"rate": config.rates}, names=names, shared=images)
    runs = swept(train, setup, "cnn", [_CNN], grid=chosen.arms, shared=images)
    return found | {"cnn": runs, "notes": f"{config.images} images to train on. {chosen.budget}"}


def _channels(setup: Setup) -> dict[str, float]:
    """Batch norm of images in float64: against a loop over channels, and before and after a cyclic shift."""
    with jax.enable_x64(True):
        x = 2 * jax.random.normal(jax.random.key(setup.seeds.start), (5, 6, 7, 3)) + 1
        params, state = batch_norm.init(3)
        f = lambda x: batch_norm.apply(params, state, x, train=True, eps=0.0, decay=0.0)
        y, state = f(x)
        values = np.asarray(x)
        loop_over = [(values[..., c] - values[..., c].mean()) / values[..., c].std() for c in range(3)]
        var = np.array([values[..., c].var(ddof=1) for c in range(3)])
        moved = jnp.roll(x, (2, 3), (1, 2))
        return {
            "reference": float(np.max(np.abs(np.asarray(y) - np.stack(loop_over, -1)))),
            "running": float(np.max(np.abs(np.asarray(state.var) / var - 1))),
            "moved": float(jnp.max(jnp.abs(f(moved)[0] - jnp.roll(y, (2, 3), (1, 2))))),
        }


_CNN = compared(
    "test accuracy of a small convolutional network, with less without",
    "cnn",
    "greater",
    0.01,
    metric="test_accuracy",
    a={"normed": 1.0},
    b={"normed": 0.0},
    own=("rate",),
    diverged=0.1,
)


def draw_convolved(measured: Mapping[str, Any]) -> Any:
    """Test accuracy with and without."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.4, 1.7))
        arms = {"batch norm per channel": 1.0, "without": 0.0}
        drawing.dots(
            axes,
            {name: 100 * drawing.values(measured["cnn"], "test_accuracy", {"normed": on}) for name, on in arms.items()},
        )
        axes.set(xlabel="test accuracy (%)", title="A small convolutional network")
    return figure


CLAIMS = (
    Claim(
        id="N15",
        statement="For convolutions the statistics run over batch and space, per channel.",
        measured="Outputs and running variances against a loop over channels, and whether the norm commutes with "
        "cyclic shifts; test accuracy of a small convolutional network with and without, each with its own learning "
        "rate",
        parts=[
            Number("largest difference from the reference", "reference", high=1e-12, because=ROUNDING),
            Number("the same of the running variance, relative", "running", high=1e-12, because=ROUNDING),
            Number("norm of a shifted image less shifted norm", "moved", high=1e-12, because=ROUNDING),
            _CNN,
        ],
        measure=convolved,
        draw=draw_convolved,
        caption="Test accuracy of a small convolutional network on few digits: a dot is a run, black is the mean with "
        "its 95 % interval. One network has batch norm with one mean and variance for each channel, the other none. "
        "Both have the learning rate that is best for them.",
    ),
)
