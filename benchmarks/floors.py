"""What a device can do at best, measured beside what is compared with it: bytes copied, operations of products."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.harness import Row, interleave, ratio

ROUNDS = 5
LARGE = 256 * 2**20
"""Bytes of one array at most: of a copy of it a large GPU takes 0.1 ms, a hundred times a launch."""


def on_cpu() -> bool:
    """Whether the default device is the processor."""
    return jax.default_backend() == "cpu"


def array_bytes() -> int:
    """Bytes of one large float32 array: a power of two, 1 / 128 of the device's memory or less; 4 MiB on a CPU."""
    if on_cpu():
        return 2**22
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 4 * 2**30)
    return int(min(2 ** math.floor(math.log2(limit / 128)), LARGE))


def calls() -> int:
    """Calls that are handed over one after another before anybody waits, so that the device never does."""
    return 2 if on_cpu() else 8


def repeated(call: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Several calls in a row as one contender of `harness.interleave`, which waits for all of them."""
    return lambda: [call(*arguments) for _ in range(calls())]


class Floor(NamedTuple):
    """What the device reached with nothing else to do.

    Attributes:
        copied: Bytes a second, those read and those written together.
        products: Operations a second of matrix products, by dtype, at the default precision.
    """

    copied: float
    products: Mapping[str, float]

    def seconds(self, nbytes: float, operations: float, dtype: str) -> float:
        """The least time for that many bytes and operations of products, which may overlap."""
        return max(nbytes / self.copied, operations / self.products[dtype])


def rate(work: float, call: Callable[..., Any], *arguments: Any) -> float:
    """Work a second in the fastest round: a floor is what nothing disturbed."""
    seconds = interleave({"it": repeated(call, *arguments)}, rounds=5 * ROUNDS)["it"]
    return work * calls() / min(seconds)


def measured() -> tuple[Floor, list[Row]]:
    """The floor of the default device, and rows that tell it."""
    x = jnp.ones(array_bytes() // 4)
    copied = rate(2 * x.nbytes, jax.jit(jnp.negative), x)
    n = 512 if on_cpu() else 8192
    products = {}
    for dtype in ("float32", "bfloat16"):
        a = jnp.ones((n, n), dtype)
        products[dtype] = rate(2 * n**3, jax.jit(jnp.matmul), a, a)
    rows = [Row("copy", copied / 2**30, "GiB/s", detail=f"{x.nbytes / 2**20:.0f} MiB read and written")]
    for dtype, peak in products.items():
        detail = f"{n} x {n}, default precision"
        rows.append(Row(f"product, {dtype}", peak / 1e12, "Tflop/s", detail=detail))
    return Floor(copied, products), rows


class Item(NamedTuple):
    """Something to be timed.

    Attributes:
        what: Its name in the table.
        contenders: Functions of the same arguments by whose they are, "jnorm" first.
        arguments: What is differentiated, the input last.
        fixed: Arguments that stand before them, and are not differentiated.
        operations: Of the products in a forward pass.
        torch: Makes PyTorch's contender for each pass; nothing where it is not installed.
    """

    what: str
    contenders: Mapping[str, Callable[..., Any]]
    arguments: tuple[Any, ...]
    fixed: tuple[Any, ...] = ()
    operations: float = 0.0
    torch: Callable[[], Mapping[str, Callable[[], Any]]] = dict


def forward(call: Callable[..., jax.Array], fixed: Any, weight: jax.Array | None, *arguments: Any) -> Any:
    """The output alone."""
    return call(*fixed, *arguments)


def with_gradient(call: Callable[..., jax.Array], fixed: Any, weight: jax.Array, *arguments: Any) -> Any:
    """The output and the gradients that a weight of it gives; y is returned, or nobody would compute it."""
    y, pull = jax.vjp(partial(call, *fixed), *arguments)
    return y, pull(weight)


def nbytes(tree: Any) -> int:
    """Bytes of all arrays; those of keys do not count."""
    arrays = [a for a in jax.tree.leaves(tree) if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key)]
    return sum(a.size * a.dtype.itemsize for a in arrays)


def timed(item: Item, floor: Floor) -> Iterator[Row]:
    """A row for each pass: time over the least in which arguments could be read, results written, products made."""
    ours, dtype = item.contenders["jnorm"], item.arguments[-1].dtype.name
    y = jax.eval_shape(ours, *item.fixed, *item.arguments)
    weight = jnp.ones(y.shape, y.dtype)
    torch = item.torch()
    passes = {"forward": (forward, None, 1), "forward + gradient": (with_gradient, weight, 3)}
    for what, (wrap, cotangent, products) in passes.items():
        arguments = (item.fixed, cotangent, *item.arguments)
        contenders = {who: repeated(jax.jit(partial(wrap, call)), *arguments) for who, call in item.contenders.items()}
        seconds = interleave(contenders, rounds=ROUNDS)
        if what in torch:  # by itself: its threads and XLA's, in turn, wait for each other
            seconds |= interleave({"torch": torch[what]}, rounds=ROUNDS)
        moved = nbytes(arguments) + nbytes(jax.eval_shape(partial(wrap, ours), *arguments))
        least = floor.seconds(moved, products * item.operations, dtype)
        taken = statistics.median(seconds["jnorm"]) / calls()
        others = [f"{ratio(seconds['jnorm'], seconds[who]):.2f} times {who}'s" for who in list(seconds)[1:]]
        detail = [f"{1e3 * taken:.3g} ms for {1e3 * least:.3g}", f"{moved / 2**20:.3g} MiB", *others]
        yield Row(f"{item.what}, {dtype}, {what}", taken / least, "times the floor", detail="; ".join(detail))
