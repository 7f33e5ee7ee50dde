"""Gradient checking: what distances mean, where they cannot be reached, and what has to be held fixed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from experiments.claims.arms import compared, pixels, runs
from experiments.claims.claim import Claim, Number, Setup
from jnorm import initializers
from jnorm.measure import gradcheck


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        networks: How many are checked, each with every fault.
        width: Hidden units of both hidden layers.
        examples: Digits.
        steps: Of training, for the recipe.
    """

    networks: int = 3
    width: int = 12
    examples: int = 32
    steps: int = 100


QUICK = Config(networks=1, width=4, examples=8, steps=5)
PENALTY, RATE, KEPT = 1e-2, 0.1, 0.8
STEPS = 10.0 ** np.arange(-5, 0)
"""Of the differences in float32: the best of them is taken."""
FAULTS = {
    "twice": ("second", "kernel", 2.0),
    "one per cent": ("first", "kernel", 1.01),
    "no gradient": ("second", "bias", 0.0),
    "the sign": ("third", "kernel", -1.0),
}
"""Which parameter's gradient is wrong, and by which factor."""
LAYERS = ("first", "second", "third")


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def mistaken(w: jax.Array, factor: float) -> jax.Array:
    """The parameter itself, whose derivative is off by a factor."""
    return w


@mistaken.defjvp
def _(factor: float, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return primals[0], factor * tangents[0]


def begun(key: jax.Array, width: int, dtype: Any) -> Any:
    """Parameters of three layers on 64 pixels for ten classes."""
    sizes, draw = (64, width, width, 10), initializers.glorot_normal()
    layers = zip(LAYERS, jax.random.split(key, 3), sizes[:-1], sizes[1:], strict=True)
    return {name: {"kernel": draw(k, (a, b), dtype), "bias": jnp.full(b, 0.1, dtype)} for name, k, a, b in layers}


def loss(
    params: Any, x: jax.Array, labels: jax.Array, key: jax.Array | None = None, *, forgets: bool = False
) -> jax.Array:
    """Cross-entropy of a network of tanh with a penalty, which the gradient may forget; with a key there is dropout."""
    y = x
    for i, name in enumerate(LAYERS):
        y = y @ params[name]["kernel"] + params[name]["bias"]
        if i < len(LAYERS) - 1:
            y = jnp.tanh(y)
        if key is not None and i < len(LAYERS) - 1:
            kept = jax.random.bernoulli(jax.random.fold_in(key, i), KEPT, y.shape)
            y = jnp.where(kept, y / KEPT, 0.0)
    squares = sum(jnp.sum(params[name]["kernel"] ** 2) for name in LAYERS)
    penalty = PENALTY * (mistaken(squares, 0.0) if forgets else squares)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(y, labels)) + penalty


def faulty(fault: str, params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss with a planted fault."""
    layer, leaf, factor = FAULTS[fault]
    return loss(params | {layer: params[layer] | {leaf: mistaken(params[layer][leaf], factor)}}, x, labels)


def digits(config: Config, key: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """Some images, and their labels."""
    from sklearn.datasets import load_digits

    rows = np.asarray(jax.random.choice(key, 1797, (config.examples,), replace=False))
    return jnp.asarray(pixels()[rows], dtype), jnp.asarray(load_digits().target[rows])


def distance(report: gradcheck.Report) -> tuple[float, str]:
    """The largest relative distance between a parameter's gradient and differences, and which parameter has it."""
    worst = max(report.leaves, key=lambda row: row.distance)
    return float(worst.distance), worst.leaf


def coarse(f: Callable[[Any], jax.Array], params: Any) -> float:
    """The relative distance of the whole gradient from centred differences in float32, by the best of some steps."""
    flat, unravel = ravel_pytree(params)
    g = jax.jit(lambda w: f(unravel(w)))
    exact = jax.grad(g)(flat)
    unit = jnp.eye(flat.size, dtype=flat.dtype)
    found = []
    for step in STEPS:
        moved = jax.jit(jax.vmap(lambda e, step=step: (g(flat + step * e) - g(flat - step * e)) / (2 * step)))(unit)
        found.append(float(jnp.linalg.norm(moved - exact) / (jnp.linalg.norm(moved) + jnp.linalg.norm(exact))))
    return min(found)


@cache
def _falls(config: Config) -> Any:
    """The share of steps at which the loss falls, without dropout and with it."""

    def one(key: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
        weights, masks = jax.random.split(key)
        first = begun(weights, config.width, jnp.float32)

        def share(drops: bool) -> jax.Array:
            def step(params: Any, key: jax.Array) -> tuple[Any, jax.Array]:
                f = partial(loss, x=x, labels=labels, key=key if drops else None)
                value, slopes = jax.value_and_grad(f)(params)
                return jax.tree.map(lambda w, g: w - RATE * g, params, slopes), value

            _, values = jax.lax.scan(step, first, jax.random.split(masks, config.steps))
            return jnp.mean(jnp.diff(values) < 0)

        return jnp.stack([share(False), share(True)])

    return jax.jit(jax.vmap(one))


def checked(config: Config, setup: Setup) -> dict[str, Any]:
    """Distances of right and of faulty gradients, and what dropout does to them."""
    right: list[float] = []
    wrong: list[float] = []
    placed: list[bool] = []
    blamed: list[bool] = []
    narrow: list[float] = []
    with jax.enable_x64(True):
        for seed in setup.seeds[: config.networks]:
            rows, weights, mask = jax.random.split(jax.random.key(seed), 3)
            x, labels = digits(config, rows, jnp.float64)
            params = begun(weights, config.width, jnp.float64)
            right.append(distance(gradcheck.check(loss, params, x, labels, order=1))[0])
            forgotten = gradcheck.check(partial(loss, forgets=True), params, x, labels, order=1)
            wrong.append(distance(forgotten)[0])
            for fault, (layer, leaf, _) in FAULTS.items():
                report = gradcheck.check(partial(faulty, fault), params, x, labels, order=1)
                far, name = distance(report)
                wrong.append(far)
                placed.append(layer in name and leaf in name)
                blamed.append(bool(report.faults) and report.faults[0].primitive == "custom_jvp_call")
            fixed = gradcheck.check(partial(loss, key=mask), params, x, labels, order=1).verdict
            fresh = gradcheck.check(_renewed(mask), params, x, labels, order=1).verdict
    for seed in setup.seeds[: config.networks]:
        rows, weights, _ = jax.random.split(jax.random.key(seed), 3)
        x, labels = digits(config, rows, jnp.float32)
        narrow.append(coarse(partial(loss, x=x, labels=labels), begun(weights, config.width, jnp.float32)))
    keys = [jax.random.split(jax.random.key(seed)) for seed in setup.seeds]
    images = [digits(config, rows, jnp.float32) for rows, _ in keys]
    falls = np.asarray(
        _falls(config)(jnp.stack([k for _, k in keys]), *map(jnp.stack, zip(*images, strict=True))), float
    )
    return {
        "right": max(right),
        "wrong": min(wrong),
        "placed": float(np.mean(placed)),
        "blamed": float(np.mean(blamed)),
        "float32": min(narrow),
        "fixed": float(fixed == "right"),
        "fresh": float(fresh == "not deterministic"),
        "falls": runs(falls[:, 0]),
        "drops": runs(falls[:, 1]),
        "distances": [np.array(right), np.array(wrong), np.array(narrow)],
        "notes": f"{config.networks} networks of two hidden layers of {config.width} tanh; planted: "
        f"{', '.join(FAULTS)}, and a penalty that the gradient forgets. In float32 differences by the best "
        f"of {len(STEPS)} steps.",
    }


def _renewed(key: jax.Array) -> Callable[..., jax.Array]:
    """The loss with dropout that has another key whenever it is called."""
    count = iter(range(2**31))
    return lambda params, x, labels: loss(params, x, labels, jax.random.fold_in(key, next(count)))


def draw_checked(measured: Mapping[str, Any]) -> Any:
    """Distances on the lecture's scale."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(1, 1, size=(5.6, 2.6))
        names = ("right, float64", "planted faults, float64", "right, float32")
        for i, values in enumerate(measured["distances"]):
            axes.plot(np.maximum(values, 1e-17), np.full(len(values), -i), "o", color=plots.PALETTE[i], alpha=0.7)
        for at, name in ((1e-7, "fine"), (1e-5, "look"), (1e-3, "wrong")):
            axes.axvline(at, color="0.5", linewidth=0.8, linestyle=":")
            axes.annotate(f"{at:.0e}\n{name}", (at, 0.32), ha="center", fontsize=7)
        axes.set_yticks([0, -1, -2], names)
        axes.set(
            xscale="log", xlabel="relative distance of gradient and differences", ylim=(-2.5, 0.9), xlim=(1e-13, 3)
        )
    return figure


CLAIMS = (
    Claim(
        id="D13",
        statement="Gradients are checked by differences: a relative distance of 1e-7 is fine, 1e-5 is to be looked at, "
        "1e-3 is wrong; penalties belong to it, and dropout does not unless its key is fixed.",
        measured="The largest relative distance of a parameter's gradient from centred differences, in float64, of "
        "right code and of code with planted faults; in float32 that of the whole gradient; the verdict with dropout; "
        "share of steps of descent on all examples at which the loss falls",
        parts=[
            Number("largest distance of right code", "right", 0.0, 1e-7, "the lecture's scale"),
            Number("smallest distance of code with a fault", "wrong", 1e-3, 1.0, "the lecture's scale"),
            Number("share of faults at which the farthest parameter is the faulty one", "placed", 1, 1),
            Number("share of faults whose equation is named", "blamed", 1, 1),
            Number("smallest distance that right code reaches in float32", "float32", 1e-7, 1.0, "it cannot be fine"),
            Number("dropout with a fixed key is right", "fixed", 1, 1),
            Number("dropout with new keys is named as what it is", "fresh", 1, 1),
            compared("without dropout: share of steps at which the loss falls", "falls", "greater", 0.0, b=0.99),
            compared("with dropout: the same", "drops", "less", 0.0, b=0.99),
        ],
        measure=checked,
        draw=draw_checked,
        caption="Relative distances between gradients and centred differences. In float64 right code and faults lie on "
        "either side of the lecture's scale; in float32 right code cannot get below it.",
    ),
)
