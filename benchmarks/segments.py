"""Sweeps of long runs that are saved inside beside sweeps that are saved at the end: what a segment costs."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from benchmarks.harness import Row, interleave
from jnorm import initializers, losses
from jnorm.nn.layers import Layer
from jnorm.nn.networks import mlp
from jnorm.sweeps import sweep, use_cores
from jnorm.train import loop

SEEDS, WIDTH, EXAMPLES, BATCH = 8, 256, 1408, 64
SEGMENTS = 3


def training(epochs: int, segments: int) -> Callable[[], Any]:
    """A sweep with a store, of runs in so many segments; one is none."""
    x = jax.random.normal(jax.random.key(0), (EXAMPLES, 64))
    grid, data = {"learning_rate": (1e-3,)}, {"train": (x, np.arange(EXAMPLES) % 10)}
    train = loop.trainer(
        mlp((64, *[WIDTH] * 4, 10), Layer(jax.nn.relu, initializers.he_normal())),
        losses.softmax_cross_entropy,
        optax.adam,
        epochs=epochs,
        batch_size=BATCH,
        report=loop.Report(parts=["train"], curves=["train"]),
        segment=epochs // segments if segments > 1 else None,
    )

    def run() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder, "store")
            return sweep(train, seeds=SEEDS, grid=grid, shared=data, chunk=SEEDS, store=store)["train_loss"]

    return run


def counted(call: Callable[[], Any], used: list[float]) -> Callable[[], Any]:
    """The same, which also notes the seconds that all processors spent on it: other tenants have no part in these."""

    def run() -> Any:
        start = time.process_time()
        out = call()
        used.append(time.process_time() - start)
        return out

    return run


def run() -> Iterator[Row]:
    """Runs of ten to twenty seconds and twice as long, in three segments each; ten to fifteen minutes."""
    use_cores()
    for epochs, rounds in ((72, 9), (144, 7)):
        processor: dict[str, list[float]] = {"segments": [], "store": []}
        contenders = {name: training(epochs, SEGMENTS if name == "segments" else 1) for name in processor}
        clock = interleave({name: counted(call, processor[name]) for name, call in contenders.items()}, rounds=rounds)
        length = np.median(clock["segments"]) / SEGMENTS
        for what, seconds in (("", clock), (", of the processors", {k: v[1:] for k, v in processor.items()})):
            logs = np.log(np.array(seconds["segments"]) / seconds["store"])
            half = 1.96 * logs.std(ddof=1) / len(logs) ** 0.5
            mean = f"mean {100 * logs.mean():.1f} +- {100 * half:.1f} (95 %)"
            yield Row(
                f"{SEGMENTS} segments of {length:.1f} s each{what}",
                float(100 * np.expm1(np.median(logs))),
                "% more time",
                most=3.0,
                detail=f"median of {len(logs)} pairs, {mean}; {SEEDS} seeds of 5 x {WIDTH}",
            )
