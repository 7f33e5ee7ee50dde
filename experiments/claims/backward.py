"""Gradients on their way back through deep networks at their start, in float64."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims import chains
from experiments.claims.arms import pixels
from experiments.claims.claim import Setup


def gradients(
    setup: Setup, arms: Sequence[tuple[Any, float]], depths: Sequence[int], *, units: int, examples: int
) -> np.ndarray:
    """log10 of the norms of the gradients with respect to each layer's pre-activations, in float64.

    ``[seed, arm, network, layer]`` for networks of these depths, NaN behind their last layer. Arms are activations with
    the variance of their normal weights, times the fan-in; they share images and keys. The gradient at the last layer's
    outputs is drawn from N(0, 1).
    """
    images = jnp.asarray(_images(units))

    def one(key: jax.Array) -> jax.Array:
        data, weights, upstream = jax.random.split(key, 3)
        x = jax.random.choice(data, images, (examples,)).astype(jnp.float64)
        top = jax.random.normal(upstream, x.shape, jnp.float64)
        keys = jax.random.split(weights, max(depths))

        def of_arm(phi: Any, gain: jax.Array) -> jax.Array:
            def forward(shifts: jax.Array) -> jax.Array:
                def layer(y: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
                    w = jax.random.normal(part[0], (units, units), jnp.float32)
                    y = phi(y @ w.astype(y.dtype) * jnp.sqrt(gain / units) + part[1])
                    return y, y

                return jax.lax.scan(layer, x, (keys, shifts))[1]

            _, back = jax.vjp(forward, jnp.zeros((max(depths), *x.shape)))

            def to(last: jax.Array) -> jax.Array:
                (found,) = back(jnp.zeros((max(depths), *x.shape)).at[last - 1].set(top))
                return jnp.sqrt(jnp.sum(found**2, (1, 2)))

            return jax.lax.map(to, jnp.asarray(depths))

        same = {phi: jnp.array([gain for other, gain in arms if other is phi]) for phi, _ in arms}
        found = {phi: list(jax.lax.map(partial(of_arm, phi), gains)) for phi, gains in same.items()}
        return jnp.stack([found[phi].pop(0) for phi, _ in arms])  # one program for all arms of an activation

    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
        norms = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys))
    inside = np.arange(max(depths)) < np.array(depths)[:, None]
    return np.log10(np.where(inside, norms, np.nan))


def squares(setup: Setup, *, units: int, examples: int) -> np.ndarray:
    """The mean squares of the inputs that `gradients` takes, ``[seed, example]``."""
    sizes = jnp.asarray(np.mean(_images(units) ** 2, 1))
    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    chosen = jax.vmap(lambda key: jax.random.choice(jax.random.split(key, 3)[0], sizes, (examples,)))(keys)
    return np.asarray(chosen, float)


def _images(units: int) -> np.ndarray:
    return pixels()[:, np.arange(units) * 64 // units]


def foretold(
    setup: Setup, arms: Sequence[tuple[Any, float]], depths: Sequence[int], *, units: int, examples: int
) -> tuple[np.ndarray, np.ndarray]:
    """What theory says of `gradients`: theirs in wide layers, for the same images; and what finite width changes.

    The second, ``[arm, layer]``, is to be added in the deepest network.
    """
    seen = squares(setup, units=units, examples=examples)
    x, most = _images(units)[:examples], max(depths)
    logs = np.stack([chains.backward(phi, gain, seen, depths) for phi, gain in arms], 1)
    return logs, np.stack([chains.astray(phi, gain, units, most, x) for phi, gain in arms])


def change(logs: np.ndarray, depth: int) -> np.ndarray:
    """First layer less last, of networks with this depth, ``logs[..., layer]``."""
    return logs[..., 0] - logs[..., depth - 1]
