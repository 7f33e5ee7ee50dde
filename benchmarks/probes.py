"""A training step with probes beside a bare one: values and cotangents of all layers, by tier."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.harness import Row, interleave, ratio
from jnorm import losses
from jnorm.measure import probes

BATCH, DEPTH, STEPS = 256, 4, 20


def weights(width: int) -> list[jax.Array]:
    """Square layers."""
    keys = jax.random.split(jax.random.key(0), DEPTH)
    return [jax.random.normal(key, (width, width)) / width**0.5 for key in keys]


def loss(params: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    """Of a perceptron with relu."""
    for kernel in params[:-1]:
        x = jax.nn.relu(x @ kernel)
    return jnp.mean(losses.softmax_cross_entropy(x @ params[-1], y))


def training(width: int, tier: str | None) -> Callable[[], Any]:
    """``STEPS`` steps of Adam in one program, with a tier's series of numbers or without."""
    optimizer = optax.adam(1e-3)
    x, y = jax.random.normal(jax.random.key(1), (BATCH, width)), jnp.zeros(BATCH, int)
    bare = lambda *args: (jax.value_and_grad(loss)(*args), None)
    derivative = bare if tier is None else probes.watch(loss, tier, where=["*/dot_general", "*/relu"], argnums=0)

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, state = carry
        (value, gradient), seen = derivative(params, x, y)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), (value, seen)

    @jax.jit
    def run(params: Any) -> Any:
        return jax.lax.scan(step, (params, optimizer.init(params)), None, STEPS)

    params = weights(width)
    return lambda: run(params)


def run() -> Iterator[Row]:
    """Widths from small to large; a minute."""
    for width in (128, 256, 512):
        seconds = interleave({name or "bare": training(width, name) for name in (None, "cheap")}, rounds=9)
        asked = 1.2 if width >= 256 else None
        detail = f"{DEPTH} layers, batch {BATCH}: mean and variance of values and cotangents of products and relu"
        yield Row(
            f"cheap tier, width {width}",
            ratio(seconds["cheap"], seconds["bare"]),
            "times a bare step",
            most=asked,
            detail=detail,
        )
    seconds = interleave({name or "bare": training(128, name) for name in (None, "full")}, rounds=3)
    yield Row("full tier, width 128", ratio(seconds["full"], seconds["bare"]), "times a bare step")
