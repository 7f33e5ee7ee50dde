"""Whether batch norm levels the error surface: stable rates, gradients along a step, and what a Hessian cannot say."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.claims import drawing
from experiments.claims.arms import compared, few, runs, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Number, Setup
from experiments.claims.norms import switched
from experiments.claims.starts import layer
from jnorm import initializers, losses
from jnorm.activations import relu, tanh
from jnorm.measure import curvature
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Layer, Normalizer
from jnorm.train import evaluation


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: To train on.
        units: Of three hidden layers.
        batch: Examples in a step.
        steps: Of training, with a look along each.
        rates: Learning rates among which networks with and without batch norm choose.
        descent: Steps of descent on all examples, by which a rate is stable or not.
        powers: Of two, first and last, that are tried there.
    """

    examples: int = 600
    units: int = 32
    batch: int = 60
    steps: int = 150
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    descent: int = 40
    powers: tuple[int, int] = (-4, 12)


QUICK = Config(examples=100, units=8, steps=4, rates=(0.1,), descent=4, powers=(-2, 2))
HUNDREDTH = 0.01
"""Length of the step that is a share of the weights' own."""
FACTOR = 10.0
"""By which the weights before a batch norm are scaled."""


def turned(slope: Any, params: Any, step: Any) -> jax.Array:
    """How much the gradient changes from params to params + step, beside its own size."""
    here, there = (ravel_pytree(slope(p))[0] for p in (params, jax.tree.map(jnp.add, params, step)))
    return jnp.linalg.norm(there - here) / jnp.linalg.norm(here)


def stays(losses: jax.Array) -> jax.Array:
    """Whether descents ``[rate, step]`` are lower in their last quarter, on average, than where they began."""
    last = jnp.mean(losses[:, -max(losses.shape[1] // 4, 1) :], 1)
    return last < losses[:, 0]  # NaN is not


def surfaces(config: Config, setup: Setup) -> dict[str, Any]:
    """Gradients along the steps of a training, the largest stable rate, and the control."""
    data = few(sets(setup), config.examples)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=3)
    powers = jnp.arange(config.powers[0], config.powers[1] + 1)

    def train(
        key: jax.Array, parts: Any, *, normed: Any, own: Any, rate: Any, watching: bool = True
    ) -> dict[str, jax.Array]:
        del own  # whether the rate is the arm's best one
        x, y = parts["train"]
        network = networks.mlp(widths, layer(relu, normalizer=switched(normed)))
        begin, go = jax.random.split(key)
        start, state = network.init(begin)

        def loss(params: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
            outputs, after = network.apply(params, state, x, train=True)
            return jnp.mean(losses.softmax_cross_entropy(outputs, y)), after

        def step(carried: Any, key: jax.Array) -> tuple[Any, Any]:
            params, state = carried
            at = jax.random.randint(key, (config.batch,), 0, len(y))
            slope = lambda params: jax.grad(loss, has_aux=True)(params, state, x[at], y[at])
            gradient, after = slope(params)
            own_step = jax.tree.map(lambda g: -rate * g, gradient)
            then = jax.tree.map(jnp.add, params, own_step), after
            if not watching:
                return then, None
            length, weights = (jnp.linalg.norm(ravel_pytree(tree)[0]) for tree in (gradient, params))
            share = jax.tree.map(lambda g: -HUNDREDTH * weights / length * g, gradient)
            change = jnp.stack([turned(lambda p: slope(p)[0], params, one) for one in (own_step, share)])
            return then, change

        (params, state), change = jax.lax.scan(step, (start, state), jax.random.split(go, config.steps))
        right = evaluation.accuracy(network.apply(params, state, parts["dev"][0], train=False)[0], parts["dev"][1])
        if not watching:
            return {"dev_accuracy": jnp.mean(right)}

        def descended(rate: jax.Array) -> jax.Array:
            def one(params: Any, _: None) -> tuple[Any, jax.Array]:
                value, slope = jax.value_and_grad(lambda p: loss(p, state, x, y)[0])(params)
                return jax.tree.map(lambda p, g: p - rate * g, params, slope), value

            return jax.lax.scan(one, start, None, config.descent)[1]

        stable = stays(jax.vmap(descended)(2.0**powers))
        largest = jnp.max(jnp.where(stable, powers, config.powers[0] - 1))
        means = jnp.mean(jnp.log10(change), 0)
        return {
            "along": means[0],
            "hundredth": means[1],
            "largest": largest * jnp.log10(2.0),
            "change": change,
            "stable": stable.astype(float),
            "dev_accuracy": jnp.mean(right),
        }

    arms = [{"normed": normed, "own": 1.0} for normed in (0.0, 1.0)]
    budget: dict[str, Any] = {"names": ["without batch norm", "with it"], "seeds": setup.tuning // 2}
    blind = partial(train, watching=False)
    chosen = tuned(blind, setup, "surfaces", arms, {"rate": config.rates}, shared=data.parts, **budget)
    grid = [*chosen.arms, {"normed": 1.0, "own": 0.0, "rate": chosen.arms[0]["rate"]}]
    result = swept(train, setup, "surfaces", SURFACES, grid=grid, shared=data.parts, finite=("along", "hundredth"))
    control = scaled(setup)
    return {
        "surfaces": result,
        "condition": runs(control["condition"]),
        **{name: float(np.max(np.abs(control[name]))) for name in ("loss", "free")},
        "rates": 2.0 ** np.asarray(powers),
        "notes": chosen.budget,
    }


def scaled(setup: Setup) -> dict[str, np.ndarray]:
    """The same function with weights ten times as large under its batch norms, one layer of them, in float64.

    ``loss``: relative change. ``condition``: size of log10 of the ratio of the Hessian's condition numbers. ``free``:
    log10 of the ratio of the top eigenvalues of the operator that rescaling does not change.
    """
    norm = Normalizer(batch_norm.init, partial(batch_norm.apply, eps=0.0))
    network = networks.mlp((6, 6, 6, 2), Layer(tanh, initializers.glorot_normal(), normalizer=norm))

    def one(key: jax.Array) -> dict[str, jax.Array]:
        begin, data, targets = jax.random.split(key, 3)
        params, state = jax.tree.map(lambda a: a.astype(float), network.init(begin))
        x, y = jax.random.normal(data, (40, 6), float), jax.random.normal(targets, (40, 2), float)
        loss = lambda params: jnp.mean((network.apply(params, state, x, train=True)[0] - y) ** 2)
        first = params[0] | {"kernel": FACTOR * params[0]["kernel"]}
        both = params, [first, *params[1:]]
        values = [loss(p) for p in both]
        hessians = [curvature.hessian(loss, p) for p in both]
        conditions = [curvature.condition_number(h).value for h in hessians]
        free = [curvature.eigenpairs(curvature.rescaled(h)).values[0] for h in hessians]
        return {
            "loss": values[1] / values[0] - 1,
            "condition": jnp.abs(jnp.log10(conditions[1] / conditions[0])),
            "free": jnp.log10(free[1] / free[0]),
        }

    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
        return jax.tree.map(np.asarray, jax.jit(lambda keys: jax.lax.map(one, keys))(keys))


PLAIN, OWN, SAME = ({"normed": n, "own": o} for n, o in ((0.0, 1.0), (1.0, 1.0), (1.0, 0.0)))


def _part(what: str, claim: str, effect: float, metric: str, a: Mapping[str, Any], diverged: str) -> Comparison:
    method = "sign" if metric == "largest" else "t"  # powers of two may be the same in all runs
    options: dict[str, Any] = {"metric": metric, "own": ("rate",), "diverged": diverged, "method": method}
    return compared(f"{what}, with less without", "surfaces", claim, effect, a=a, b=PLAIN, **options)


TWICE, QUARTER = float(np.log10(2)), float(np.log10(4 / 3))
SURFACES = [
    _part("log10 of the largest stable rate of descent", "greater", TWICE, "largest", SAME, "lowest"),
    _part("log10 of the gradient's change along a step: one rate", "less", QUARTER, "along", SAME, "highest"),
    _part("log10 of the gradient's change along a step: each its own rate", "less", QUARTER, "along", OWN, "highest"),
    _part(
        "log10 of its change along a hundredth of the weights' length: each trained at its own rate",
        "less",
        QUARTER,
        "hundredth",
        OWN,
        "highest",
    ),
]


def draw(measured: Mapping[str, Any]) -> Any:
    """The gradient's change along steps, and the share of runs that a rate leaves stable."""
    from jnorm import plots

    arms = (("without batch norm", PLAIN, "-"), ("with it, the same rate", SAME, "--"), ("with it, its own", OWN, "-."))
    with plots.style():
        figure, panels = plots.figure(1, 3, size=(8.6, 3.0))
        for place, title in enumerate(("A step at the rate", "A hundredth of the weights")):
            for i, (name, arm, dash) in enumerate(arms):
                change = drawing.values(measured["surfaces"], "change", arm)[:, :, place]
                low, middle, high = np.quantile(change, [0.1, 0.5, 0.9], axis=0)
                steps = np.arange(1, len(middle) + 1)
                panels[place].fill_between(steps, low, high, color=plots.PALETTE[i], alpha=0.15, linewidth=0)
                panels[place].plot(steps, middle, dash, color=plots.PALETTE[i], label=name)
            panels[place].set(xlabel="step", yscale="log", title=title)
        panels[0].set_ylabel("change of the gradient, relative")
        for i, (name, arm, dash) in enumerate(arms[:2]):
            share = 100 * drawing.values(measured["surfaces"], "stable", arm).mean(0)
            panels[2].plot(measured["rates"], share, dash, marker="o", markersize=3, color=plots.PALETTE[i], label=name)
        panels[2].set(xscale="log", xlabel="learning rate", ylabel="stable runs (%)", title="Descent on all examples")
        panels[2].set_ylim(-3, 103)
        panels[2].xaxis.minorticks_off()
        plots.legend(figure, panels[0])
    return figure


CLAIMS = (
    Claim(
        id="L2",
        statement="Batch norm levels the error surface.",
        measured="Networks of three relu layers on 600 digits: the largest power of two, up to 2^12, at which 40 steps "
        "of descent on all examples end lower than they began; by how much the gradient of a batch changes "
        "from one end of a step to the other, over its size, at one rate and at the best one for each, and "
        "along a step of a hundredth of the weights' length. As a control, weights ten times as large under a "
        "batch norm: the function stays, and the Hessian's condition number does not",
        parts=[
            *SURFACES,
            Number("change of the loss by weights ten times as large, relative", "loss", high=1e-10, because="float64"),
            compared("log10 of the factor by which the condition number changes", "condition", "greater", TWICE),
            Number(
                "log10 of the factor of the sharpness that scales do not change", "free", high=1e-6, because="float64"
            ),
        ],
        measure=surfaces,
        draw=draw,
        caption="How much the gradient changes along a step, over its size: left at the learning rate, in the middle "
        "along a step of a hundredth of the weights' length; lines are medians, bands hold the middle 80 % of the "
        "runs. Right, the share of runs whose loss falls by descent at a rate.",
    ),
)
