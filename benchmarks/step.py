"""What a training step of a sweep spends its time on: products of its sizes and Adam, each by itself, beside the whole.

The share of the peak that a sweep could reach, if all but these two took no time, is in the last row of each network.
"""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from benchmarks.harness import Row, interleave
from benchmarks.sweep import LARGE, SMALL, Case, peak
from jnorm import losses
from jnorm.sweeps import use_cores

ROUNDS = 9


def weights(case: Case, key: jax.Array) -> list[jax.Array]:
    """One kernel a layer."""
    shapes = list(zip(case.widths, case.widths[1:], strict=False))
    return [
        jax.random.normal(k, s) / s[0] ** 0.5 for k, s in zip(jax.random.split(key, len(shapes)), shapes, strict=True)
    ]


def products(case: Case) -> Callable[[jax.Array, int], jax.Array]:
    """All matrix products of ``steps`` steps and nothing else: forward, and backward by kernels and by inputs."""

    def run(key: jax.Array, steps: int) -> jax.Array:
        kernels = weights(case, key)

        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            inputs = [x]
            for kernel in kernels:
                inputs.append(inputs[-1] @ kernel)
            back, by_kernel = inputs.pop(), []
            for i in reversed(range(len(kernels))):
                by_kernel.append(inputs[i].T @ back)
                back = back @ kernels[i].T if i else back
            # Nobody needs the products by kernels: behind a barrier they are made all the same.
            back = lax.optimization_barrier((back, by_kernel))[0]
            return x + 1e-30 * back[:, :1], None

        return lax.scan(step, jax.random.normal(key, (case.batch, case.widths[0])), None, steps)[0]

    return run


def adam(case: Case) -> Callable[[jax.Array, int], Any]:
    """``steps`` updates of all kernels by Adam, of gradients that are there."""
    optimizer = optax.adam(1e-3)

    def run(key: jax.Array, steps: int) -> Any:
        params = weights(case, key)

        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            updates, state = optimizer.update(params, state)
            return (optax.apply_updates(params, updates), state), None

        return lax.scan(step, (params, optimizer.init(params)), None, steps)[0]

    return run


def whole(case: Case) -> Callable[[jax.Array, int], Any]:
    """``steps`` training steps on one batch."""
    network, optimizer = case.network, optax.adam(1e-3)

    def run(key: jax.Array, steps: int) -> Any:
        params, state = network.init(key)
        x, y = jax.random.normal(key, (case.batch, case.widths[0])), jnp.zeros(case.batch, int)
        loss = lambda params: losses.softmax_cross_entropy(network.apply(params, state, x, train=True)[0], y).mean()

        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        return lax.scan(step, (params, optimizer.init(params)), None, steps)[0]

    return run


def spread(run: Callable[[jax.Array, int], Any], steps: int, together: int) -> Callable[[], Any]:
    """The program of a step for ``together`` seeds side by side, on every device at once."""
    devices = len(jax.devices())
    mesh = jax.make_mesh((devices,), ("device",), (AxisType.Auto,))
    alone = lambda keys: jax.tree.map(lambda a: a[None], run(keys[0], steps))
    seeds = jax.vmap(lambda key: run(key, steps)) if together > 1 else alone
    program = jax.jit(jax.shard_map(seeds, mesh=mesh, in_specs=P("device"), out_specs=P("device")))
    keys = jax.random.split(jax.random.key(0), devices * together)
    return lambda: program(keys)


def profile(case: Case, together: int) -> Iterator[Row]:
    """Microseconds a seed-step of the parts and the whole, and what they leave of the peak."""
    steps = case.steps // 10
    seeds = len(jax.devices()) * together
    parts = {"whole": whole, "products": products, "Adam": adam}
    seconds = interleave({name: spread(made(case), steps, together) for name, made in parts.items()}, rounds=ROUNDS)
    took = {name: statistics.median(times) / steps / seeds * 1e6 for name, times in seconds.items()}
    top = peak()
    least = case.flops / max(top() for _ in range(3)) * 1e6
    for name, time in took.items():
        detail = f"the products at the peak: {least:.1f}" if name == "products" else ""
        yield Row(f"{case.name}: {name}", time, "us a seed-step", detail=detail)
    rest = took["whole"] - took["products"] - took["Adam"]
    yield Row(
        f"{case.name}: all else", rest, "us a seed-step", detail="activations, biases, loss; overlaps count as less"
    )
    yield Row(f"{case.name}: share of the peak", 100 * least / took["whole"], "%")
    ceiling = 100 * least / (took["products"] + took["Adam"])
    yield Row(f"{case.name}: share of the peak, if all else took no time", ceiling, "%")


def run() -> Iterator[Row]:
    """A step of both networks; less than a minute."""
    use_cores()
    for case, together in ((SMALL, 8), (LARGE, 1)):  # as the sweep plans them
        yield from profile(case, together)
