"""What becomes of the scale and the shift of a batch norm that follows relu."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.claims import drawing
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.topics.batch_statistics import ACCURACY, NORM, QUICK, Config
from jnorm import initializers, losses
from jnorm.activations import relu
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Layer, Normalizer
from jnorm.train import loop

__all__ = ["CLAIMS", "QUICK", "Config"]
ROUNDING = "float64, through three layers"


def absorption(config: Config, setup: Setup) -> dict[str, Any]:
    """Scales and shifts moved into the next layers, and trainings without them."""

    def train(key: jax.Array, data: Any, *, scale: jax.Array, shift: jax.Array, rate: jax.Array) -> Any:
        def apply(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
            kept = {
                "scale": jnp.where(scale, params.scale, 1.0),
                "shift": jnp.where(shift, params.shift, 0.0),
            }
            return NORM(params._replace(**kept), state, x, train=train)

        layer = Layer(relu, initializers.he_normal(), normalizer=Normalizer(batch_norm.init, apply), normalize="after")
        widths = networks.rectangular(inputs, classes, units=config.units, depth=config.depth)
        run = loop.trainer(
            networks.mlp(widths, layer),
            losses.softmax_cross_entropy,
            lambda rate: optax.sgd(rate),
            epochs=config.epochs,
            batch_size=config.batch,
            metrics=ACCURACY,
        )
        return run(key, data, rate=rate)

    data = few(sets(setup), config.examples)
    inputs, classes = data.parts["train"][0].shape[1], data.classes
    found = tuned(train, setup, "absorption", list(WITH.values()), {"rate": config.rates}, shared=data.parts)
    trained = swept(train, setup, "absorption", ABSORBED, grid=found.arms, shared=data.parts)
    return {"absorption": trained, "notes": found.budget} | _absorbed(setup)


def _absorbed(setup: Setup) -> dict[str, float]:
    """The largest difference of outputs by scales and shifts moved into the next layer, in training and evaluation."""
    with jax.enable_x64(True):
        keys = iter(jax.random.split(jax.random.key(setup.seeds.start), 64))
        draw = lambda a: a + jax.random.normal(next(keys), a.shape)
        layer = Layer(relu, initializers.he_normal(), normalizer=batch_norm, normalize="after")
        network = networks.mlp((5, 8, 8, 8, 3), layer)
        params, state = network.init(next(keys))
        params, x = jax.tree.map(draw, params), jax.random.normal(next(keys), (32, 5))
        state = network.apply(params, state, x, train=True)[1]
        moved, before = [], None
        for block in params:
            kernel, bias = block["kernel"], block["bias"]
            if before is not None:
                bias, kernel = bias + before.shift @ kernel, before.scale[:, None] * kernel
            before = block.get("norm")
            plain = {} if before is None else {"norm": batch_norm.init(len(before.scale))[0]}
            moved.append(block | {"kernel": kernel, "bias": bias} | plain)
        apart = {}
        for name, train in (("training", True), ("evaluation", False)):
            y, z = (network.apply(p, state, x, train=train)[0] for p in (params, moved))
            apart[name] = float(jnp.max(jnp.abs(y - z)) / jnp.max(jnp.abs(y)))
    return apart


WITH = {
    "both": {"scale": True, "shift": True},
    "no shifts": {"scale": True, "shift": False},
    "no shifts and no scales": {"scale": False, "shift": False},
}
ABSORBED = [
    *(
        Number(
            f"outputs with scale and shift moved into the next layer, in {name}: relative difference",
            name,
            high=1e-12,
            because=ROUNDING,
        )
        for name in ("training", "evaluation")
    ),
    *(
        compared(
            f"test accuracy, {what} less both",
            "absorption",
            "equal",
            0.01,
            metric="test_accuracy",
            a=WITH[what],
            b=WITH["both"],
            diverged=0.1,
            own=("rate",),
        )
        for what in ("no shifts", "no shifts and no scales")
    ),
]


def draw(measured: Mapping[str, Any]) -> Any:
    """Test accuracy of all runs with both, without shifts, and without both."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.4, 2.0))
        of_arms = {what: drawing.values(measured["absorption"], "test_accuracy", arm) for what, arm in WITH.items()}
        drawing.dots(axes, {what: 100 * values for what, values in of_arms.items()})
        axes.set(xlabel="test accuracy (%)", title="Batch norm behind relu")
    return figure


CLAIMS = (
    Claim(
        id="S11",
        statement="Where batch norm follows relu, the next linear layer can absorb its shift and its scale.",
        measured="Outputs of a network whose shifts and scales are moved into the next layers; test accuracy of "
        "trainings without shifts, and without both",
        parts=ABSORBED,
        measure=absorption,
        draw=draw,
        caption="Test accuracy of networks with batch norm behind relu, with shifts and scales and without. Dots are "
        "runs, points with bars their means and 95 % intervals. What shifts and scales could do, the next layer's bias "
        "and weights can do.",
    ),
)
