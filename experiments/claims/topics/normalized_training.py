"""Whether SELU's self-normalization holds while a network trains, and what gradients do before it has set in."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import certificate, networks
from experiments.claims import drawing
from experiments.claims.arms import compared, pixels, runs, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Number, Setup
from experiments.claims.topics.contraction import AXES
from jnorm import losses
from jnorm.activations import selu
from jnorm.proofs import certificate as proofs
from jnorm.theory.fixed_points import iterate
from jnorm.theory.moments import Moments, gradient_factor, layer_map
from jnorm.train import evaluation


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of hidden layers.
        depth: Hidden layers.
        batch: Examples in a step.
        every: Steps from one look at all units to the next.
        looks: Looks at them, the start not counted.
        watched: Training examples over which means and variances are taken.
        rates: Learning rates to choose from.
        transient: Layers behind inputs that are off the fixed point.
        width: Their units.
        examples: Images for each of these networks.
    """

    units: int = 128
    depth: int = 8
    batch: int = 64
    every: int = 10
    looks: int = 20
    watched: int = 256
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    transient: int = 8
    width: int = 256
    examples: int = 8


QUICK = Config(units=16, depth=2, every=2, looks=2, watched=64, rates=(0.03,), transient=4, width=64, examples=2)
REGION: dict[str, Any] = {"mean": (-1, 1), "var": (0.06, 13.6), "p": 0.64}
"""What the layer map takes into itself and contracts, for the weights of theorem 1."""


def rows(kernel: jax.Array) -> jax.Array:
    """Weights ``[in, unit]`` with sum 0 and sum of squares 1 for each unit."""
    centred = kernel - jnp.mean(kernel, 0)
    return centred / jnp.linalg.norm(centred, axis=0)


def begun(key: jax.Array, sizes: tuple[int, int, int], depth: int, normalized: Any) -> dict[str, jax.Array]:
    """Weights of variance 1 / fan-in, without biases, as in the theorem; those of hidden layers normalized or not."""
    inputs, units, outputs = sizes
    keys = jax.random.split(key, 3)
    shapes = {"first": (inputs, units), "hidden": (depth - 1, units, units), "last": (units, outputs)}
    drawn = {
        name: shape[-2] ** -0.5 * jax.random.normal(k, shape)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    exact = {"first": rows(drawn["first"]), "hidden": jax.vmap(rows)(drawn["hidden"])}
    return drawn | {name: jnp.where(normalized, exact[name], drawn[name]) for name in exact}


def activations(params: Any, x: jax.Array) -> jax.Array:
    """Those of all hidden layers ``[layer, example, unit]``."""
    first = selu(x @ params["first"])
    rest = jax.lax.scan(lambda y, w: (selu(y @ w),) * 2, first, params["hidden"])[1]
    return jnp.concatenate([first[None], rest])


def units(params: Any, x: jax.Array) -> dict[str, jax.Array]:
    """Each unit's sum and sum of squares of incoming weights, mean and variance over examples, ``[layer, unit]``."""
    y = activations(params, x)
    sums = lambda f: jnp.concatenate([f(params["first"])[None], jax.vmap(f)(params["hidden"])])
    return {
        "omega": sums(lambda w: jnp.sum(w, 0)),
        "tau": sums(lambda w: jnp.sum(w**2, 0)),
        "mean": jnp.mean(y, 1),
        "var": jnp.var(y, 1),
    }


def within(found: Mapping[str, jax.Array], ends: Mapping[str, tuple[float, float]]) -> jax.Array:
    """Which units lie between these ends, in all that is named."""
    inside = [(found[name] >= low) & (found[name] <= high) for name, (low, high) in ends.items()]
    return jnp.all(jnp.stack(inside), 0)


def _trained(config: Config, setup: Setup) -> dict[str, Any]:
    """Networks that start with weights of variance 1/n, or with normalized ones, and are looked at all along."""
    data = sets(setup)
    sizes = data.parts["train"][0].shape[1], config.units, data.classes

    def train(key: jax.Array, parts: Any, *, normalized: Any, rate: Any, watching: bool = True) -> dict[str, jax.Array]:
        x, y = parts["train"]
        begin, go = jax.random.split(key)
        outputs = lambda params, x: activations(params, x)[-1] @ params["last"]
        watched = x[: config.watched]

        def step(params: Any, key: jax.Array) -> tuple[Any, None]:
            at = jax.random.randint(key, (config.batch,), 0, len(y))
            loss = lambda params: jnp.mean(losses.softmax_cross_entropy(outputs(params, x[at]), y[at]))
            return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params)), None

        def look(params: Any) -> dict[str, jax.Array]:
            found = units(params, watched)
            y = activations(params, watched)
            pooled = {"mean": jnp.mean(y, (1, 2)), "var": jnp.var(y, (1, 2))}
            names = {"weights": ("omega", "tau"), "moments": ("mean", "var"), "all": tuple(AXES)}
            shares = {what: jnp.mean(within(found, {n: AXES[n] for n in some}), 1) for what, some in names.items()}
            layers = within(pooled, {n: AXES[n] for n in names["moments"]}).astype(float)
            region = jnp.mean(within(found, {n: REGION[n] for n in names["moments"]}), 1)
            return shares | {"layers": layers, "region": region}

        def several(params: Any, keys: jax.Array) -> tuple[Any, Any]:
            params, _ = jax.lax.scan(step, params, keys)
            return params, look(params) if watching else None

        start = begun(begin, sizes, config.depth, normalized)
        params, seen = jax.lax.scan(several, start, jax.random.split(go, (config.looks, config.every)))
        accurate = lambda part: jnp.mean(evaluation.accuracy(outputs(params, parts[part][0]), parts[part][1]))
        scores = {f"{part}_accuracy": accurate(part) for part in ("dev", "test")}
        if not watching:
            return scores
        seen = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), look(start), seen)
        return scores | {
            **{f"share_{name}": jnp.mean(a) for name, a in seen.items()},
            **{f"change_{name}": jnp.mean(a[-1] - a[0]) for name, a in seen.items()},
            "end_weights": jnp.mean(seen["weights"][-1]),
            "seen_all": seen["all"],
            "seen_layers": seen["layers"],
            **{f"unit_{name}": a for name, a in units(params, watched).items()},
        }

    arms = list(ARMS.values())
    blind = partial(train, watching=False)
    budget: dict[str, Any] = {"names": list(ARMS), "seeds": setup.tuning // 2}
    chosen = tuned(blind, setup, "selu units", arms, {"rate": config.rates}, shared=data.parts, **budget)
    result = swept(train, setup, "units", TRAINED, grid=chosen.arms, shared=data.parts)
    scores = ", ".join(f"{drawing.values(result, 'test_accuracy', arm).mean():.3f}" for arm in arms)
    steps = config.every * np.arange(config.looks + 1)
    return {"units": result, "steps": steps, "notes": f"{chosen.budget} Test accuracies: {scores}."}


def transient(config: Config, setup: Setup) -> dict[str, Any]:
    """log10 of what layers multiply the squared gradient by, ``[seed, arm, layer]``, and theory, ``[arm, layer]``.

    Summed from the top down to each layer. Rows are centred, and of unit norm, or twice that.
    """
    starts = Moments(np.zeros(len(STARTS)), np.array([var for var, _ in STARTS.values()]))
    scale = jnp.array([scale for _, scale in STARTS.values()])[:, None, None]
    images = jnp.asarray(pixels())

    def one(key: jax.Array) -> jax.Array:
        data, weights, upstream = jax.random.split(key, 3)
        chosen = jax.random.choice(data, images, (config.examples,), replace=False)
        x = networks.inputs(chosen, Moments(*map(jnp.asarray, starts)), config.width)
        x = jnp.moveaxis(x.reshape(config.width, len(STARTS), -1), 0, -1)  # [start, example, unit]

        def forward(shifts: jax.Array) -> jax.Array:
            def layer(y: jax.Array, part: Any) -> tuple[jax.Array, None]:
                key, shift = part
                w = rows(networks.normal_matrix(key, config.width))
                return selu(scale * (y + shift) @ w), None

            return jax.lax.scan(layer, x, (jax.random.split(weights, config.transient), shifts))[0]

        y, back = jax.vjp(forward, jnp.zeros((config.transient, *x.shape)))
        top = jax.random.normal(upstream, y.shape)
        (found,) = back(top)  # of the inputs of each layer
        squares = lambda a: jnp.sum(a**2, (-1, -2))
        return jnp.log10(squares(found) / squares(top)).T

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    measured = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), float)
    theory = []
    with jax.enable_x64(True):
        for var, factor in STARTS.values():
            tau = factor**2
            path = iterate(layer_map(selu, tau=tau), Moments(jnp.zeros(()), jnp.asarray(var)), config.transient)
            logs = jnp.log10(gradient_factor(selu, 0.0, tau * path.var[:-1], tau=tau))
            theory.append(np.asarray(jnp.cumsum(logs[::-1])[::-1]))
    return {
        "measured": measured,
        "theory": np.array(theory),
        **{name: runs(measured[:, i, 0]) for i, name in enumerate(STARTS)},
    }


def holds(config: Config, setup: Setup) -> dict[str, Any]:
    """Trained networks, the proof that they are drawn over, and layers behind inputs off the fixed point."""
    region = proofs.contraction(**REGION)
    return _trained(config, setup) | transient(config, setup) | {"region": float(region.holds is True)}


ARMS = {"weights of variance 1/n": {"normalized": 0.0}, "normalized weights": {"normalized": 1.0}}
RANDOM, NORMALIZED = ARMS.values()
STARTS = {
    "normalized": (1.0, 1.0),
    "inputs of variance .01": (0.01, 1.0),
    "inputs of variance 100": (100.0, 1.0),
    "weights twice too large": (1.0, 2.0),
}
"""Variance of the inputs, and norm of the rows."""


def _part(what: str, metric: str, arm: Mapping[str, Any], claim: str, effect: float, bound: float) -> Comparison:
    method = "t" if claim == "equal" else "sign"  # all runs may have the same share
    options: dict[str, Any] = {"metric": metric, "diverged": "lowest", "own": ("rate",), "method": method}
    return compared(what, "units", claim, effect, a=arm, b=bound, **options)


TRAINED = [
    *(
        _part(
            f"{name}: share of layers with mean and variance in theorem 1's box", "share_layers", arm, "greater", 0, 0.9
        )
        for name, arm in ARMS.items()
    ),
    *(
        _part(f"{name}: share of units with all four in theorem 1's box", "share_all", arm, "greater", 0, 0.5)
        for name, arm in ARMS.items()
    ),
    _part(
        "normalized weights: share of units whose weights are in it at the end",
        "end_weights",
        NORMALIZED,
        "greater",
        0,
        0.5,
    ),
    *(
        _part(f"{name}: that share of units at the end less at the start", "change_all", arm, "equal", 0.1, 0.0)
        for name, arm in ARMS.items()
    ),
    *(
        _part(f"{name}: share of units in the certified region", "share_region", arm, "greater", 0, 0.9)
        for name, arm in ARMS.items()
    ),
]
TWICE = float(np.log10(2))
_FACTOR = "log10 of the factor of the squared gradient over the first eight layers"
TRANSIENT = [
    compared(f"{_FACTOR}: inputs and weights normalized", "normalized", "equal", TWICE),
    *(
        compared(f"{_FACTOR}: {name}", name, claim, TWICE)
        for name, claim in zip(list(STARTS)[1:], ("greater", "less", "greater"), strict=True)
    ),
]


def draw(measured: Mapping[str, Any]) -> Any:
    """Units at the end over the certified region, shares over steps, and backward factors by layer."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 3, size=(9.2, 3.3))
        for i, (name, arm) in enumerate(ARMS.items()):
            mean, var = (drawing.values(measured["units"], f"unit_{what}", arm)[0].ravel() for what in ("mean", "var"))
            panels[0].plot(mean, np.log10(var), ".", color=plots.PALETTE[i], markersize=2, alpha=0.6, label=name)
            seen = drawing.values(measured["units"], "seen_all", arm).mean(0)
            panels[1].plot(measured["steps"], 100 * seen.mean(1), "-", color=plots.PALETTE[i])
            layers = drawing.values(measured["units"], "seen_layers", arm).mean((0, 2))
            panels[1].plot(measured["steps"], 100 * layers, "--", color=plots.PALETTE[i])
        panels[0].axis((-1.6, 1.6, -2.0, 1.4))
        for label, ends, color in (("certified", REGION, "0.35"), ("theorem 1", AXES, "black")):
            certificate.outline(panels[0], ends["mean"], ends["var"], log=True, color=color, label=label, width=1.2)
        panels[0].set(xlabel="mean of a unit", ylabel="log10 of its variance", title="All units after training")
        panels[1].set(xlabel="step", ylabel="inside theorem 1's box (%)", ylim=(-2, 102))
        panels[1].set_title("Solid: units; dashed: layers")
        layers = np.arange(1, measured["theory"].shape[1] + 1)
        for i, name in enumerate(STARTS):
            color = plots.PALETTE[i + 2]
            panels[2].plot(layers, measured["theory"][i], color=color, label=name)
            plots.band(panels[2], layers, measured["measured"][:, i], color=color)
        panels[2].set(
            xlabel="from the top down to layer", ylabel="log10 of the squared gradient", title="Backward factor"
        )
        panels[2].legend(fontsize=6)
        plots.legend(figure, panels[0])
    return figure


CLAIMS = (
    Claim(
        id="N19",
        statement="Self-normalization holds during training, not only at the start.",
        measured="Eight layers of SELU on digits, by looks all along their training: sum and sum of squares of each "
        "unit's weights, its mean and variance over 256 examples, and mean and variance of each layer over units and "
        "examples; shares inside the box of theorem 1 and inside a larger certified region, from weights of variance "
        "1/n and from normalized rows. What eight layers at their start make of the squared gradient, from inputs at "
        "the fixed point and off it",
        parts=[Number("the larger region is proved", "region", 1.0, 1.0), *TRAINED, *TRANSIENT],
        measure=holds,
        draw=draw,
        caption="Left, mean and variance of all units of a trained network, over the box of theorem 1 and a larger one "
        "that the layer map is proved to contract, for weights of theorem 1. Middle, the share of units with weights, "
        "mean and variance in the box of theorem 1, and of layers with mean and variance in it, over the training. "
        "Right, the squared gradient on its way down, theory (lines) and networks (95 % of the seeds).",
    ),
)
