"""Losses of one or two weights on which optimizers can be watched, and descent on them step by step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

BUMP, PULL = 1.0, 0.3
STABLE = 0.3
"""The largest rate, in two digits, at which descent comes to rest in the deepest and steepest of the bumps' minima."""
EDGE, END, TILT = 0.2, 9.0, 0.01


def descend(
    slope: Callable[[jax.Array, Any], jax.Array], optimizer: optax.GradientTransformation, start: jax.Array, each: Any
) -> jax.Array:
    """Positions ``[steps + 1, ...]`` of an optimizer whose gradient is ``slope(w, one)``, with ``each`` step's own."""

    def step(carry: tuple[jax.Array, Any], one: Any) -> tuple[tuple[jax.Array, Any], jax.Array]:
        w, state = carry
        updates, state = optimizer.update(slope(w, one), state, w)
        w = w + updates
        return (w, state), w

    path = jax.lax.scan(step, (start, optimizer.init(start)), each)[1]
    return jnp.concatenate([start[None], path])


def settled(inside: jax.Array) -> jax.Array:
    """The first of the positions ``[steps + 1]`` from which on all are inside; their number where the last is not."""
    return jnp.max(jnp.where(inside, 0, jnp.arange(1, len(inside) + 1)))


def valley(w: jax.Array, condition: float) -> jax.Array:
    """The gradient of (x^2 + condition y^2) / 2."""
    return w * jnp.array([1.0, condition], w.dtype)


def bumpy(w: jax.Array) -> jax.Array:
    """A bowl with bumps, deepest at 0, and with shallow minima near -3, -2, -1, 1, 2, 3."""
    return 0.5 * PULL * w**2 + BUMP * (1 - jnp.cos(2 * jnp.pi * w)) / (2 * jnp.pi)


def bumpy_slope(w: jax.Array) -> jax.Array:
    """Its derivative."""
    return PULL * w + BUMP * jnp.sin(2 * jnp.pi * w)


def rests(path: jax.Array, reach: float) -> jax.Array:
    """The share of paths ``[steps + 1, path]`` whose last tenth lies all within ``reach`` of its deepest minimum.

    The basin reaches .5 far. The last position alone would not do: an optimizer whose rate is too large for a minimum
    jumps about in it, or between many, and is somewhere at last.
    """
    last = path[-(len(path) // 10) :]
    return jnp.mean(jnp.all(jnp.abs(last) < reach, 0), dtype=path.dtype)


def plateau_slope(w: jax.Array) -> jax.Array:
    """The derivative of a loss that falls steeply to 0, then hardly over a plateau, and ends in a bowl at `END`."""
    return -jax.nn.sigmoid(-w / EDGE) - TILT + jnp.maximum(w - END + TILT, 0)


def selected(index: jax.Array, *optimizers: optax.GradientTransformation) -> optax.GradientTransformation:
    """That one of several optimizers, which may be traced: all are computed, and one program serves for all."""

    def update(updates: Any, states: Any, params: Any = None) -> tuple[Any, Any]:
        found = [o.update(updates, state, params) for o, state in zip(optimizers, states, strict=True)]
        one = jax.tree.map(lambda *some: jnp.stack(some)[jnp.asarray(index, int)], *(u for u, _ in found))
        return one, tuple(state for _, state in found)

    return optax.GradientTransformation(lambda params: tuple(o.init(params) for o in optimizers), update)
