"""Points of small smooth networks that training meets, and critical points near them, with all that bends there."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.claims.arms import pixels
from jnorm import initializers
from jnorm.measure import curvature

PENALTY = 1e-3
"""Of the squared weights: without one, critical points lie at infinity."""
NEAR = 1e-3
"""How far from a point its surroundings are looked at."""
RATE = 0.3
"""Of gradient descent."""
TOLERANCE = 1e-9
"""The longest gradient of a critical point."""


class Sizes(NamedTuple):
    """Sizes.

    Attributes:
        examples: Digits that a network learns to tell odd from even.
        snapshots: Steps of descent after which a point is kept.
        solving: Steps of the search for a critical point at most.
        waiting: Steps of descent from a saddle at most.
    """

    examples: int
    snapshots: tuple[int, ...]
    solving: int
    waiting: int


class Points(NamedTuple):
    """Points of the weights of networks, arrays ``[seed, point, ...]``.

    Attributes:
        loss: The loss.
        converged: Whether the search has found a critical point; of those that training meets, always.
        negative: The share of negative eigenvalues.
        positive: The share of positive ones.
        agree: The share of eigenvectors, of those whose eigenvalue counts, along which the loss changes as it says.
        order: The power of the step with which the second-order model errs.
        lowered: The loss before the way out of a saddle, less that after it; NaN where there is none.
        plain: Steps of descent until the loss is as low as after that way, from the point moved by `NEAR`.
        direct: Those that the Hessian of the way costs, at two for each product.
    """

    loss: Any
    converged: Any
    negative: Any
    positive: Any
    agree: Any
    order: Any
    lowered: Any
    plain: Any
    direct: Any


def features() -> tuple[np.ndarray, np.ndarray]:
    """Digits of 4 x 4 pixels ``[image, 16]``, and whether they are odd, -1 or 1."""
    from sklearn.datasets import load_digits

    small = pixels().reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    return small.astype(float), 2.0 * (load_digits().target % 2) - 1


def loss(params: Any, data: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Half the mean squared error of one hidden layer of tanh, with a penalty."""
    x, target = data
    hidden = jnp.tanh(x @ params["kernel"] + params["bias"])
    output = hidden @ params["out"] + params["offset"]
    squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
    return jnp.mean((output - target) ** 2) / 2 + PENALTY * squares / 2


def begun(key: jax.Array, width: int) -> Any:
    """Weights at their start."""
    one, two = jax.random.split(key)
    draw = initializers.glorot_normal()
    return {
        "kernel": draw(one, (16, width), jnp.float64),
        "bias": jnp.zeros(width),
        "out": draw(two, (width, 1), jnp.float64)[:, 0],
        "offset": jnp.zeros(()),
    }


def descended(f: Callable[[Any], jax.Array], params: Any, steps: int) -> Any:
    """Parameters after steps of gradient descent."""
    step = lambda _, w: jax.tree.map(lambda a, g: a - RATE * g, w, jax.grad(f)(w))
    return jax.lax.fori_loop(0, steps, step, params)


def looked(f: Callable[[Any], jax.Array], params: Any, key: jax.Array, sizes: Sizes) -> dict[str, jax.Array]:
    """What is to be said of one point; the way out of it, too."""
    flat, unravel = ravel_pytree(params)
    g = lambda w: f(unravel(w))
    values, vectors = jnp.linalg.eigh(jax.hessian(g)(flat))
    limit = 1e-6 * jnp.max(jnp.abs(values))
    counts = jnp.abs(values) > limit
    both = jax.vmap(lambda u: (g(flat + NEAR * u) + g(flat - NEAR * u)) / 2 - g(flat))(vectors.T)
    away = jax.random.normal(key, flat.shape)
    away = away / jnp.linalg.norm(away)
    slope, second = jax.grad(g)(flat), jax.jvp(jax.grad(g), (flat,), (away,))[1] @ away
    model = lambda t: g(flat) + t * (slope @ away) + t * t / 2 * second
    steps = jnp.array([0.03, 0.01])
    off = jnp.log(jnp.abs(jax.vmap(lambda t: g(flat + t * away) - model(t))(steps)))
    out = curvature.saddle_escape(f, params)
    fell = out.before - out.after
    start = flat + NEAR * away

    def going(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        return (g(state[0]) > out.after) & (state[1] < sizes.waiting) & (fell > 0)

    step = lambda state: (state[0] - RATE * jax.grad(g)(state[0]), state[1] + 1)
    _, waited = jax.lax.while_loop(going, step, (start, 0))
    return {
        "loss": g(flat),
        "negative": jnp.mean(values < -limit),
        "positive": jnp.mean(values > limit),
        "agree": jnp.sum(counts & (jnp.sign(both) == jnp.sign(values))) / jnp.sum(counts),
        "order": (off[0] - off[1]) / jnp.log(steps[0] / steps[1]),
        "lowered": jnp.where(out.step > 0, fell, jnp.nan),
        "plain": jnp.where(out.step > 0, waited, jnp.nan),
        "direct": jnp.where(out.step > 0, 2.0 * flat.size, jnp.nan),
    }


@cache
def met(sizes: Sizes, seeds: range, width: int) -> tuple[Points, Points]:
    """Points that training meets, and critical points that a search finds from there."""
    x, target = map(jnp.asarray, features())

    def one(key: jax.Array) -> Any:
        chosen, weights, *keys = jax.random.split(key, 2 + 2 * len(sizes.snapshots))
        rows = jax.random.choice(chosen, len(x), (sizes.examples,), replace=False)
        f = partial(loss, data=(x[rows], target[rows]))
        params, trained, before = begun(weights, width), [], 0
        for steps in sizes.snapshots:
            params = descended(f, params, steps - before)
            trained.append(params)
            before = steps
        points = jax.tree.map(lambda *a: jnp.stack(a), *trained)

        def both(given: Any) -> Any:
            params, first, second = given
            found = curvature.find_critical_point(f, params, tol=TOLERANCE, steps=sizes.solving)
            here = looked(f, params, first, sizes) | {"converged": jnp.array(True)}
            there = looked(f, found.params, second, sizes) | {"converged": found.converged}
            return Points(**here), Points(**there)

        half = len(sizes.snapshots)
        return jax.lax.map(both, (points, jnp.stack(keys[:half]), jnp.stack(keys[half:])))

    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.key)(np.array(seeds))
        return jax.tree.map(np.asarray, jax.jit(lambda keys: jax.lax.map(one, keys))(keys))
