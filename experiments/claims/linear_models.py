"""Softmax regression on raw and on standardized inputs: curvatures, gradients, steps, and the order of learning."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import spearmanr

from experiments.claims.arms import few, sets
from experiments.claims.claim import Setup
from jnorm import losses
from jnorm.statistics import Runs

EVERY, BATCH = 4, 16  # steps between two looks at the loss, and examples of a step
SPREAD = np.geomspace(0.3, 3.0, 9)
"""Deviations of features that matter equally, for the order of learning."""


def data_of(setup: Setup, name: str) -> dict[str, np.ndarray]:
    """Training inputs of a data set, "raw" and "standardized", and its classes "y"."""
    given = "wine" if name == "one-hot" else name
    raw, own = (few(sets(setup, given, standardized=s), 640).parts["train"] for s in (False, True))
    if name == "one-hot":
        x = raw[0]
        coded = np.concatenate([_quartiles(column) for column in x.T], 1).astype(np.float32)
        return {"raw": coded, "standardized": (coded - coded.mean(0)) / coded.std(0), "y": raw[1]}
    return {"raw": raw[0], "standardized": own[0], "y": raw[1]}


def _quartiles(column: np.ndarray) -> np.ndarray:
    """A feature as four columns, of which one is 1."""
    place = np.searchsorted(np.quantile(column, (0.25, 0.5, 0.75)), column)
    return (place[:, None] == np.arange(4)).astype(float)


def loss(x: Any, y: Any, weights: Any) -> jax.Array:
    """The loss of softmax regression; weights hold a row for the bias last."""
    return jnp.mean(losses.softmax_cross_entropy(x @ weights[:-1] + weights[-1], y))


def steps_to(
    key: jax.Array, x: jax.Array, y: jax.Array, *, share: float, most: int, classes: int, adam: Any, rate: Any
) -> tuple[jax.Array, jax.Array]:
    """log2 of the steps from zeros to a share of the loss by chance, and the weights at the first look."""
    methods = optax.sgd(rate), optax.adam(rate)
    weights = jnp.zeros((x.shape[1] + 1, classes))
    carry = weights, tuple(method.init(weights) for method in methods)

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        weights, states = carry
        at = jax.random.randint(key, (BATCH,), 0, len(y))
        slope = jax.grad(loss, argnums=2)(x[at], y[at], weights)
        steps = [method.update(slope, state) for method, state in zip(methods, states, strict=True)]
        return (weights + jnp.where(adam, steps[1][0], steps[0][0]), tuple(state for _, state in steps)), None

    def look(carry: Any, keys: jax.Array) -> tuple[Any, Any]:
        carry, _ = jax.lax.scan(step, carry, keys)
        return carry, (loss(x, y, carry[0]), carry[0])

    keys = jax.random.split(key, (most // EVERY, EVERY))
    (_, _), (curve, path) = jax.lax.scan(look, carry, keys)
    there = curve <= share * jnp.log(classes)
    steps = jnp.where(jnp.any(there), (jnp.argmax(there) + 1) * EVERY, most + EVERY)
    return jnp.log2(steps.astype(jnp.float32)), path[0]


def spectrum(x: np.ndarray) -> np.ndarray:
    """log10 of the eigenvalues, but zeros, of a linear model's Hessian under squared error, with a bias."""
    values = np.linalg.svd(np.concatenate([x, np.ones((len(x), 1))], 1).astype(float), compute_uv=False)
    return 2 * np.log10(values[values > 1e-12 * values[0]]) - np.log10(len(x))


def gradient_sizes(x: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
    """log10 of the gradient's norm by feature, where it is not 0, at the start."""
    with jax.enable_x64(True):
        start = jnp.zeros((x.shape[1] + 1, classes))
        sizes = np.linalg.norm(jax.grad(loss, argnums=2)(x.astype(float), y, start)[:-1], axis=1)
    return np.log10(sizes[sizes > 1e-12 * sizes.max()])


def outer_product(part: Mapping[str, np.ndarray], classes: int) -> float:
    """The automatic gradient of one example's loss against x delta^T, relative, the largest of all examples."""
    with jax.enable_x64(True):
        x, y = jnp.asarray(part["standardized"], float), jnp.asarray(part["y"])
        weights = jax.random.normal(jax.random.key(0), (x.shape[1] + 1, classes), float)
        auto = jax.vmap(lambda a, b: jax.grad(loss, argnums=2)(a[None], b[None], weights))(x, y)[:, :-1]
        delta = jax.nn.softmax(x @ weights[:-1] + weights[-1]) - jax.nn.one_hot(y, classes)
        return float(jnp.max(jnp.abs(auto - x[:, :, None] * delta[:, None])) / jnp.max(jnp.abs(auto)))


def around_optimum(
    part: Mapping[str, np.ndarray], classes: int, *, seeds: Iterable[int], starts: int
) -> dict[str, Runs]:
    """Around the optimum of least squares: cosine between descent and the way there, and what the gradient's size says.

    The second is the correlation of the logarithms of size and distance over starts that lie up to ten times further.
    """
    cosines: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for how in ("raw", "standardized"):
        x = np.concatenate([part[how], np.ones((len(part[how]), 1))], 1).astype(float)
        hessian = x.T @ x / len(x)
        for seed in seeds:
            rng = np.random.default_rng(seed)
            v = rng.normal(size=(starts, len(hessian), classes))
            v *= (10 ** rng.uniform(0, 1, starts) / np.linalg.norm(v, axis=(1, 2)))[:, None, None]
            slope = hessian @ v
            far, steep = np.linalg.norm(v, axis=(1, 2)), np.linalg.norm(slope, axis=(1, 2))
            cosines.setdefault(how, []).append(float(np.mean(np.sum(slope * v, (1, 2)) / (far * steep))))
            sizes.setdefault(how, []).append(float(np.corrcoef(np.log(far), np.log(steep))[0, 1]))
    return {what: Runs.of_arms(arms, name="inputs") for what, arms in (("cosine", cosines), ("size", sizes))}


def learning_order(seeds: Iterable[int], most: int) -> np.ndarray:
    """Rank correlation of features' deviations and the steps at which half of each is learned, all equally useful."""
    scales = jnp.array(SPREAD)

    def one(key: jax.Array) -> jax.Array:
        def step(w: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            z = jax.random.normal(key, (BATCH, len(scales)))
            x = scales * z
            error = x @ w - jnp.sum(z, 1)
            w = w - 0.25 / jnp.sum(scales**2) * (error @ x) / BATCH
            return w, w * scales >= 0.5

        learned = jax.lax.scan(step, jnp.zeros(len(scales)), jax.random.split(key, most))[1]
        return jnp.where(jnp.any(learned, 0), jnp.argmax(learned, 0), len(learned))

    times = jax.vmap(one)(jax.vmap(jax.random.key)(np.array(seeds)))
    return np.array([spearmanr(SPREAD, row).statistic for row in np.asarray(times)])


def rank_correlation(a: jax.Array, b: jax.Array) -> jax.Array:
    """Spearman's, of numbers without ties."""
    places = [jnp.argsort(jnp.argsort(v)).astype(jnp.float32) for v in (a, b)]
    return jnp.corrcoef(*places)[0, 1]
