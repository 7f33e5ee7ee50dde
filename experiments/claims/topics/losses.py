"""Softmax, its regression and its loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.claim import Claim, Number, Setup
from jnorm import losses
from jnorm.activations import hardmax, sigmoid, softmax


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        lines: Random lines through the plane along which borders between classes are looked for.
        side: Points along a side of the picture.
    """

    lines: int = 500
    side: int = 300


QUICK = Config(lines=50, side=60)
SCORES, SHARES = (5.0, 2.0, -1.0, 3.0), (0.842, 0.042, 0.002, 0.114)
WEIGHTS = np.array([[1.0, -0.5, -0.6], [0.2, 1.0, -1.1]])
OFFSETS = np.array([0.1, -0.2, 0.3])


def probabilities(x: Any) -> np.ndarray:
    """Softmax regression with three classes in the plane."""
    return np.asarray(softmax(jnp.asarray(x) @ WEIGHTS + OFFSETS))


def borders(config: Config, seed: int) -> np.ndarray:
    """Points at which the likeliest class changes along random lines, by bisection."""
    rng = np.random.default_rng(seed)
    low, high = rng.uniform(-3, 3, (2, config.lines, 2))
    first = np.argmax(probabilities(low), 1)
    for _ in range(60):
        middle = (low + high) / 2
        same = np.argmax(probabilities(middle), 1) == first
        low, high = np.where(same[:, None], middle, low), np.where(same[:, None], high, middle)
    crossed = np.argmax(probabilities(high), 1) != first
    return high[crossed]


def measure(config: Config, setup: Setup) -> dict[str, Any]:
    """All numbers of the claim."""
    with jax.enable_x64(True):
        points = borders(config, setup.seeds.start)
        scores = points @ WEIGHTS + OFFSETS
        two = np.sort(scores, 1)[:, -2:]
        z = jnp.linspace(-20.0, 20.0, 401)
        shares = softmax(jnp.array(SCORES))
        logits, target = jnp.log(jnp.array([0.5, 0.2, 0.3])), jnp.array([0.0, 1.0, 0.0])
        loss, gradient = jax.value_and_grad(losses.softmax_cross_entropy)(logits, target)
        sharp = softmax(jnp.array(SCORES) / 1e-2)
        gaps = (shares[0] / shares[3]) / (SCORES[0] / SCORES[3])
        side = np.linspace(-3, 3, config.side)
        plane = np.argmax(probabilities(np.stack(np.meshgrid(side, side), -1)), -1)
        numbers = {
            "crossings": len(points),
            "straight": float(np.max(np.abs(two[:, 1] - two[:, 0]))),
            "logistic": float(jnp.max(jnp.abs(softmax(jnp.stack([0 * z, z], -1))[:, 1] - sigmoid(z)))),
            "shares": float(jnp.max(jnp.abs(shares - jnp.array(SHARES)))),
            "hardmax": float(jnp.max(jnp.abs(sharp - hardmax(jnp.array(SCORES))))),
            "gaps": float(gaps),
            "loss": float(loss),
            "gradient": float(jnp.max(jnp.abs(gradient - (softmax(logits) - target)))),
        }
    return numbers | {"side": side, "plane": plane, "points": points}


def draw(measured: Mapping[str, Any]) -> Any:
    """The regions of the classes, and the borders that were found."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(3.4, 3.2))
        side = measured["side"]
        for label, color in enumerate((plots.PALETTE[5], plots.PALETTE[4], plots.PALETTE[3])):
            axes.contourf(side, side, measured["plane"] == label, levels=[0.5, 1.5], colors=[color], alpha=0.5)
        axes.plot(*measured["points"].T, ".", color="black", markersize=2, label="borders found by bisection")
        axes.set(xlabel="feature 1", ylabel="feature 2", title="Softmax regression: three classes", aspect="equal")
        plots.legend(figure, axes)
    return figure


CLAIMS = (
    Claim(
        id="D12",
        statement="Softmax regression draws straight borders between classes, and is logistic regression where there "
        "are two; softmax widens gaps between scores, hardmax is its limit, and the loss has the gradient y - t.",
        measured="Distance of found borders from straight lines, differences from logistic regression and from the "
        "published numbers, in float64",
        parts=[
            Number("borders that were found", "crossings", low=10),
            Number("difference of the two linear scores at a border", "straight", high=1e-12, because="bisection"),
            Number("two classes against the logistic function", "logistic", high=1e-14, because="float64"),
            Number("softmax of (5, 2, -1, 3) and (.842, .042, .002, .114)", "shares", high=5e-4, because="3 digits"),
            Number("softmax of hundredfold scores against hardmax", "hardmax", high=1e-15, because="float64"),
            Number("ratio of first to second, of probabilities over that of scores", "gaps", low=1.0),
            Number("loss where the class has probability .2", "loss", low=1.6085, high=1.6095, because="1.609"),
            Number("gradient against y - t", "gradient", high=1e-14, because="float64"),
        ],
        measure=measure,
        draw=draw,
        caption="The likeliest class over two features, and where it changes along random lines. Every border lies on "
        "the straight line on which two linear scores are equal. More features make planes of the lines, no curves.",
    ),
)
