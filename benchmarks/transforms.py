"""Deep kernel shaping against dks's own algorithm, which is restated here: constants, and the time that they take."""

import itertools
import json
import math
import operator
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, special

from benchmarks.harness import Row, fresh, interleave, ratio
from jnorm import activations
from jnorm.theory import transforms

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "transforms.json"
SLOPE = 1.2
CALLS = 10  # one after another, of each
NODES = 100_000  # of dks's rule on [-10, 10]
NETWORK = transforms.residual((3, 4, 23, 3), layers=3, shortcut=0.6)
Function = Callable[[np.ndarray], np.ndarray]


@cache
def rule() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights times the density, by their asymptotic forms: right to 1e-10 for so many."""
    angle = np.pi * (4 * np.arange(1, NODES + 1) - 1) / (4 * NODES + 2)
    x = 10 * (1 - (NODES - 1) / (8 * NODES**3)) * np.cos(angle)
    return x, 10 * np.pi * np.sin(angle) / (NODES + 0.5) * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def mean(values: np.ndarray) -> float:
    """The expectation under N(0, 1) as dks takes it, not split at kinks."""
    return float(rule()[1] @ values)


def local_slope() -> float:
    """The slope of a layer by dks's search: doubling and halving until the network's is within 1e-8."""
    low, at, high = 1.0, 1.1, math.inf
    while abs((value := NETWORK(1.0, partial(operator.mul, at))) - SLOPE) >= 1e-8:
        if value > SLOPE:
            high, at = at, (low + at) / 2
        else:
            low, at = at, 2 * at if math.isinf(high) else (at + high) / 2
    return at


def restated(phi: Function, slope: Function, *, relu: bool = False) -> tuple[float, float, float, float]:
    """Constants ``(a, b, c, d)`` by the algorithm of dks: ``scipy.optimize.root`` from its list of starts.

    Derivatives are given, where dks takes them by automatic differentiation; that is all that is spared.
    """
    goal, x = local_slope(), rule()[0]

    def output(b: float, c: float) -> tuple[np.ndarray, float, float]:
        value = phi(b * x + c)
        shift = -mean(value)
        return value, shift, 1 / math.sqrt(mean((value + shift) ** 2))

    def errors(p: np.ndarray) -> np.ndarray:
        b, c = (p[0], 1.0) if relu else p
        value, shift, scale = output(b, c)
        steep = scale * b * slope(b * x + c)
        squared = mean(steep * steep) - goal
        return np.array([squared] if relu else [mean(scale * (value + shift) * steep * x) - 1, squared])

    starts = [(1.0,), (0.1,)] if relu else list(itertools.product((1.0, 0.1), (0.0, 1.0, -1.0)))
    for start in starts:
        found = optimize.root(errors, np.array(start), method="hybr")
        if found.success:
            b, c = (found.x[0], 1.0) if relu else found.x
            _, shift, scale = output(b, c)
            return scale, float(b), float(c), scale * shift
    raise ValueError("no constants found")


def sech2(x: np.ndarray) -> np.ndarray:
    """The derivative of tanh."""
    return 1 - np.tanh(x) ** 2


PEERS: dict[str, tuple[Any, Callable[[], tuple[float, ...]]]] = {
    "tanh": (activations.tanh, partial(restated, np.tanh, sech2)),
    "softplus": (activations.softplus, partial(restated, partial(np.logaddexp, 0.0), special.expit)),
    "relu": (activations.relu, partial(restated, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), relu=True)),
}


def often(call: Callable[[], object]) -> None:
    """The same again, as where many networks or slopes are tried."""
    for _ in range(CALLS):
        call()


COLD = """
import time
import jax, jax.numpy as jnp
from jnorm.activations import softplus
from jnorm.theory import transforms
jax.block_until_ready(jnp.zeros(1) + 1)
start = time.perf_counter()
transforms.deep_kernel_shaping(softplus, transforms.chain(50))
print(time.perf_counter() - start)
"""


def run() -> Iterator[Row]:
    """All rows; a minute."""
    golden = json.loads(GOLDEN.read_text())["DKS"]
    for name, (phi, peer) in PEERS.items():
        ours = partial(transforms.deep_kernel_shaping, phi, NETWORK, slope=SLOPE)
        exact = [golden[name][part] for part in ("output_scale", "input_scale", "input_shift")]
        away = [max(abs(x / y - 1) for x, y in zip(got, exact, strict=False)) for got in (ours().constants, peer())]
        seconds = interleave({"jnorm": partial(often, ours), "dks": partial(often, peer)}, rounds=5)
        times = ratio(seconds["dks"], seconds["jnorm"])
        took = f"{np.median(seconds['jnorm']) / CALLS * 1e3:.3g} ms"
        detail = f"{took}; from the published constants: ours {away[0]:.0e}, restated {away[1]:.0e}"
        yield Row(f"constants of {name} by deep kernel shaping", times, "times dks restated", least=100, detail=detail)
    yield Row("the first constants, compilation included", fresh(COLD), "s", detail="softplus, in a new process")
