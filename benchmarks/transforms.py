"""Deep kernel shaping against dks: the package where it is installed, and its algorithm, which is restated here."""

import importlib.util
import itertools
import json
import math
import operator
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from scipy import optimize, special

from benchmarks.harness import Row, fresh, interleave, ratio
from jnorm import activations
from jnorm.theory import transforms

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "transforms.json"
SLOPE = 1.2
ALL = ("softplus", "tanh", "relu", "leaky_relu", "gelu")  # of dks's published constants
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


def package() -> Callable[[str], object] | None:
    """What finds an activation's constants by dks itself, if that is installed."""
    if importlib.util.find_spec("dks") is None:
        return None
    sys.modules.setdefault("jax.config", SimpleNamespace(config=jax.config))  # type: ignore[arg-type]  # JAX has no more
    jax.config.update("jax_enable_x64", True)
    transform = importlib.import_module("dks.jax.activation_transform").get_transformed_activations
    return lambda name: transform([name], method="DKS", dks_params={"c_slope_1_target": SLOPE}, subnet_max_func=NETWORK)


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
        yield Row(f"constants of {name} by deep kernel shaping", times, "times dks restated", detail=detail)
    if (theirs := package()) is not None:
        pairs = {}
        for name in ALL:
            ours = partial(transforms.deep_kernel_shaping, getattr(activations, name), NETWORK, slope=SLOPE)
            seconds = interleave({"dks": partial(theirs, name), "jnorm": partial(often, ours)}, rounds=5)
            pairs[name] = float(np.median(seconds["dks"])), float(np.median(seconds["jnorm"])) / CALLS
        slow, fast = (sum(part) for part in zip(*pairs.values(), strict=True))
        pairs[f"all {len(pairs)}"] = slow, fast
        for name, (slow, fast) in pairs.items():
            least = 100 if name.startswith("all") else None
            detail = f"{fast * 1e3:.3g} ms, dks {slow:.3g} s"
            yield Row(f"constants of {name}", slow / fast, "times dks itself", least=least, detail=detail)
    yield Row("the first constants, compilation included", fresh(COLD), "s", detail="softplus, in a new process")
