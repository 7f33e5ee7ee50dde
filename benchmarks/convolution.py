"""Convolution as patches times a matrix beside XLA's own: one kernel, and one for each of several seeds."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from benchmarks.harness import Row, interleave, ratio
from jnorm.nn.convolution import convolve

ROUNDS = 15
# Examples, side, channels in and out, stride: the layers of small networks on digits and on CIFAR.
SHAPES = [(32, 28, 1, 16, 2), (32, 14, 16, 32, 2), (32, 16, 16, 32, 1)]
SEEDS = (1, 16)


def program(method: str, seeds: int, stride: int, gradient: bool) -> Callable[..., Any]:
    """One jitted pass: the output, or the output and both gradients."""
    call = partial(convolve, strides=stride, method=method)

    def both(x: jax.Array, kernel: jax.Array) -> Any:
        y, pull = jax.vjp(call, x, kernel)
        return y, pull(y)

    one = both if gradient else call
    return jax.jit(one if seeds == 1 else jax.vmap(one))


def run() -> Iterator[Row]:
    """How many times longer XLA's convolution takes. ``convolve`` picks the other on a CPU for training over seeds."""
    cpu = jax.default_backend() == "cpu"
    for seeds in SEEDS:
        for n, side, inputs, outputs, stride in SHAPES:
            key_x, key_kernel = jax.random.split(jax.random.key(0))
            lead = () if seeds == 1 else (seeds,)
            x = jax.random.normal(key_x, (*lead, n, side, side, inputs))
            kernel = jax.random.normal(key_kernel, (*lead, 3, 3, inputs, outputs))
            for gradient in (False, True):
                programs = {m: program(m, seeds, stride, gradient) for m in ("lax", "im2col")}
                times = interleave({m: partial(f, x, kernel) for m, f in programs.items()}, rounds=ROUNDS)
                what = f"{'forward and gradient' if gradient else 'forward'}, {seeds} kernel{'s' * (seeds > 1)}"
                shape = f"{n} x {side} x {side} x {inputs} -> {outputs}, 3 x 3, stride {stride}"
                medians = ", ".join(f"{m} {1e3 * statistics.median(t):.2f} ms" for m, t in times.items())
                asked = 1.0 if cpu and gradient and seeds > 1 else None
                figure = ratio(times["lax"], times["im2col"])
                detail = f"{'im2col' if figure > 1 else 'lax'} wins: {medians}, float32"
                yield Row(f"{what}: {shape}", figure, "times", least=asked, detail=detail)
