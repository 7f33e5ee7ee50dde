"""Sweeps over seeds against PyTorch (a process per core, and bmm over seeds) and a jitted step loop in JAX."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.harness import Row, fresh, turns
from jnorm import initializers, losses
from jnorm.nn.layers import Layer
from jnorm.nn.networks import Network, cnn, mlp
from jnorm.sweeps import Progress, load, sweep, use_cores
from jnorm.train.loop import trainer

EXAMPLES, SIDE, CLASSES = 1408, 8, 10  # as scikit-learn's digits, in whole batches
FEATURES = SIDE**2
ROUNDS = 7


class Case(NamedTuple):
    """A network of ``depth`` hidden layers; ``seeds`` of it, and ``steps`` of a peer, take some seconds."""

    width: int
    depth: int
    batch: int
    epochs: int
    seeds: int
    steps: int
    together: int  # seeds in the batched products of the peer
    least: dict[str, float]
    channels: tuple[int, ...] = ()  # of convolutions of 3 x 3 with stride 2, in the place of hidden layers
    chunk: int | str = "auto"

    @property
    def name(self) -> str:
        """For the table."""
        layers = f"CNN of {', '.join(map(str, self.channels))}" if self.channels else f"{self.depth} x {self.width}"
        return f"{layers}, batch {self.batch}"

    @property
    def widths(self) -> tuple[int, ...]:
        """Of all layers, input and output included."""
        return (*(self.channels or (FEATURES, *[self.width] * self.depth)), CLASSES)

    @property
    def network(self) -> Network:
        """From the library's own parts."""
        layer = Layer(jax.nn.relu, initializers.he_normal())
        return cnn(self.channels, CLASSES, layer) if self.channels else mlp(self.widths, layer)

    @property
    def flops(self) -> int:
        """Of the products of a step: forward, and backward by kernels and, but for the first layer, inputs."""
        products = [a * b for a, b in zip(self.widths, self.widths[1:], strict=False)]
        if self.channels:
            products = [9 * (SIDE >> i + 1) ** 2 * p for i, p in enumerate(products[:-1])] + products[-1:]
        return 2 * self.batch * (3 * sum(products) - products[0])


SMALL = Case(64, 4, 32, 20, 192, 2000, 32, {"torch": 8.0, "torch fused": 5.5, "jax loop": 5.0})
LARGE = Case(256, 8, 128, 10, 16, 250, 4, {"torch": 1.25, "torch fused": 1.05})
# Eight seeds at a time on two cores.
IMAGES = Case(0, 0, 32, 10, 32, 1000, 1, {"torch": 1.0, "torch fused": 1.0}, (1, 16, 32), 4)

TORCH = """
import sys, time, torch
from torch import nn
torch.set_num_threads(1)
kind, batch, together = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
widths = [int(w) for w in sys.argv[4].split(",")]
n = {examples}
images = kind.startswith("cnn")
x, y = torch.randn(n, 1, {side}, {side}) if images else torch.randn(n, widths[0]), torch.randint(0, {classes}, (n,))
pairs = list(zip(widths, widths[1:]))
def fresh():
    if kind == "bmm":
        weights = [(torch.randn(together, a, b) * (2 / a) ** 0.5).requires_grad_() for a, b in pairs]
        biases = [torch.zeros(together, 1, b, requires_grad=True) for _, b in pairs]
        def loss(order):
            z = x[order]
            for w, b in zip(weights[:-1], biases[:-1]):
                z = torch.relu(torch.baddbmm(b, z, w))
            z = torch.baddbmm(biases[-1], z, weights[-1])
            return together * nn.functional.cross_entropy(z.reshape(-1, widths[-1]), y[order].reshape(-1))
        return loss, torch.optim.Adam([*weights, *biases], 1e-3, fused=True)
    one = (lambda a, b: nn.Conv2d(a, b, 3, 2, 1)) if images else nn.Linear
    layers = [m for a, b in pairs[:-1] for m in (one(a, b), nn.ReLU())]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if images else []
    network = nn.Sequential(*layers, *pooled, nn.Linear(*pairs[-1]))
    loss = lambda order: nn.functional.cross_entropy(network(x[order]), y[order])
    return loss, torch.optim.Adam(network.parameters(), 1e-3, fused="fused" in kind)
def run(steps):
    # As many epochs as the sweep before beginning anew: long after all is learned, gradients become subnormal and slow.
    done, start = 0, time.perf_counter()
    while done < steps:
        loss, optimizer = fresh()
        for _ in range({epochs}):
            order = torch.argsort(torch.rand(together, n), 1) if kind == "bmm" else torch.randperm(n)
            for i in range(n // batch):
                optimizer.zero_grad(set_to_none=True)
                loss(order[..., i * batch : (i + 1) * batch]).backward()
                optimizer.step()
                done += 1
    return done * (together if kind == "bmm" else 1) / (time.perf_counter() - start)
run(20)
print("ready", flush=True)
for line in sys.stdin:
    print(run(int(line)), flush=True)
"""
for _name, _value in (("examples", EXAMPLES), ("classes", CLASSES), ("side", SIDE)):
    TORCH = TORCH.replace(f"{{{_name}}}", str(_value))


@contextmanager
def torch_rate(kind: str, case: Case) -> Any:
    """A function that gives the peer's seed-steps a second, all cores together, each a process of its own."""
    arguments = [kind, str(case.batch), str(case.together), ",".join(map(str, case.widths))]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    command = [sys.executable, "-c", TORCH.replace("{epochs}", str(case.epochs)), *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in cores]  # type: ignore[call-overload]
    for worker in workers:
        worker.stdout.readline()
    steps = max(1, case.steps // case.together) if kind == "bmm" else case.steps

    def rate() -> float:
        for worker in workers:
            worker.stdin.write(f"{steps}\n")
            worker.stdin.flush()
        return sum(float(worker.stdout.readline()) for worker in workers)

    try:
        yield rate
    finally:
        for worker in workers:
            worker.communicate()


def data(case: Case) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Numbers of the shape of digits."""
    rng = np.random.default_rng(0)
    shape = (SIDE, SIDE, 1) if case.channels else (FEATURES,)
    make = lambda n: (rng.normal(size=(n, *shape)).astype(np.float32), rng.integers(0, CLASSES, n).astype(np.int32))
    return {"train": make(EXAMPLES), "test": make(350)}


def training(case: Case) -> Callable[..., dict[str, jax.Array]]:
    """One run."""
    adam = lambda learning_rate: optax.adam(learning_rate)
    return trainer(case.network, losses.softmax_cross_entropy, adam, epochs=case.epochs, batch_size=case.batch)


class Swept(NamedTuple):
    """A sweep: seed-steps a second after the first chunk, seconds up to it and in all, and the plan."""

    rate: float
    start: float
    total: float
    plan: list[int]


def swept(case: Case, seeds: int, chunk: Any = "auto") -> Swept:
    """Time a sweep; what comes before the first results (tracing, compiling, trials) is told apart."""
    times: list[tuple[float, int]] = []
    note: Callable[[Progress], None] = lambda seen: times.append((time.perf_counter(), seen.done))
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        sweep(
            training(case), seeds=seeds, grid={"learning_rate": (1e-3,)}, shared=data(case), chunk=chunk, progress=note,
            store=folder,
        )  # fmt: skip
        assert len(load(folder).seeds) == seeds
        [block] = json.loads(Path(folder, "manifest.json").read_text())["blocks"]
        plan = jax.tree.leaves(block["plans"])
    first, last = times[1], times[-1]
    steps = case.epochs * (EXAMPLES // case.batch)
    return Swept((last[1] - first[1]) * steps / (last[0] - first[0]), first[0] - begin, last[0] - first[0], plan)


def jax_loop(case: Case) -> Callable[[], float]:
    """A function that gives the seed-steps a second of a Python loop over a jitted step."""
    network = case.network
    optimizer = optax.adam(1e-3)
    x, y = data(case)["train"]

    params, none = network.init(jax.random.key(0))

    @jax.jit
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return jnp.mean(losses.softmax_cross_entropy(network.apply(params, none, x, train=True, key=None)[0], y))

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    start = params, optimizer.init(params)
    rng = np.random.default_rng(0)

    def run(steps: int) -> float:
        carry, done, begin = start, 0, time.perf_counter()
        while done < steps:
            for batch in rng.permutation(EXAMPLES).reshape(-1, case.batch):
                carry = step(*carry, x[batch], y[batch])
                done += 1
        jax.block_until_ready(carry)
        return done / (time.perf_counter() - begin)

    run(50)
    return lambda: run(case.steps)


def peak() -> Callable[[], float]:
    """A function that gives floating-point operations a second of products of 1024-cubed matrices.

    One product on all cores, or one on every device at once, whichever is faster.
    """
    a = jnp.ones((1024, 1024))
    mesh = jax.make_mesh((len(jax.devices()),), ("device",), (AxisType.Auto,))
    spread = jax.shard_map(lambda a: a @ a, mesh=mesh, in_specs=P("device"), out_specs=P("device"))
    every = jax.device_put(jnp.tile(a, (mesh.size, 1)), NamedSharding(mesh, P("device")))
    products = [(jax.jit(lambda a: a @ a), a, 1), (jax.jit(spread), every, mesh.size)]

    def measure() -> float:
        rates = []
        for product, operand, count in products:
            jax.block_until_ready(product(operand))
            begin = time.perf_counter()
            jax.block_until_ready([product(operand) for _ in range(20)])
            rates.append(20 * count * 2 * 1024**3 / (time.perf_counter() - begin))
        return max(rates)

    return measure


# Not ru_maxrss, which begins at the size of the process that starts this one.
MEMORY = """
from pathlib import Path
from jnorm.sweeps import use_cores
use_cores()
from benchmarks.sweep import SMALL, swept
swept(SMALL._replace(epochs=1), {seeds}, 8)
print(next(int(line.split()[1]) / 1024 for line in Path("/proc/self/status").open() if line.startswith("VmHWM")))
"""


def compare(case: Case) -> list[Row]:
    """One network: the sweep beside its peers, round by round."""
    kinds = ("cnn", "cnn fused") if case.channels else ("plain", "fused", "bmm")
    with ExitStack() as stack:
        names = ("torch", "torch fused", "torch bmm")
        peers = {name: stack.enter_context(torch_rate(kind, case)) for name, kind in zip(names, kinds, strict=False)}
        peers |= {"jax loop": jax_loop(case), "peak": peak()}
        seen: dict[str, list[float]] = {name: [] for name in peers}
        ours: list[Swept] = []
        for _ in turns(ROUNDS):
            ours.append(swept(case, case.seeds, case.chunk))
            for name, measure in peers.items():
                seen[name].append(measure())
    rates = [one.rate for one in ours]
    rate, top = statistics.median(rates), statistics.median(seen["peak"])
    rows = []
    for name in (name for name in peers if name != "peak"):
        times = statistics.median(a / b for a, b in zip(rates, seen[name], strict=True))
        detail = f"{rate:,.0f} against {statistics.median(seen[name]):,.0f} seed-steps/s"
        rows.append(Row(f"{case.name}: {name}", times, "times", least=case.least.get(name), detail=detail))
    share = statistics.median(a * case.flops / b for a, b in zip(rates, seen["peak"], strict=True))
    floor = case.flops / top * 1e6
    width, _, _, chunk, devices = ours[-1].plan
    detail = f"peak {top / 1e9:.0f} Gflop/s; floor {floor:.1f} us a seed-step, taken {1e6 / rate:.1f}"
    least = 60.0 if case is LARGE else None
    return [
        *rows,
        Row(f"{case.name}: share of the peak", 100 * share, "%", least=least, detail=detail),
        Row(
            f"{case.name}: until the first results",
            statistics.median(one.start for one in ours),
            "s",
            detail=f"tracing, compiling, trials; {width} side by side on each of {devices} devices, {chunk} in a chunk",
        ),
    ]


def run() -> Iterator[Row]:
    """All rows; a few minutes."""
    use_cores()
    for case in (SMALL, LARGE, IMAGES):
        yield from compare(case)
    # Without the first chunk, twice as many seeds to the last one; the least of several times is the least disturbed.
    sizes = 96, 2 * 96 - 8 * len(jax.devices())
    few, many = np.min([[swept(SMALL, seeds, 8).total for seeds in sizes] for _ in turns(ROUNDS)], axis=0)
    yield Row(
        "time of twice the seeds, over twice the time",
        float(many / few / 2),
        "times",
        most=1.05,
        detail=f"{SMALL.name}, 8 side by side",
    )
    memory = [fresh(MEMORY.format(seeds=seeds)) for seeds in (64, 512)]
    yield Row(
        "peak memory of 512 seeds over that of 64",
        memory[1] / memory[0],
        "times",
        most=1.05,
        detail=f"{memory[1]:.0f} against {memory[0]:.0f} MiB, 8 side by side",
    )
