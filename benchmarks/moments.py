"""Moments of activations against scipy.integrate.quad, a plane of SELU constants, and the cost of the import."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate

from benchmarks.harness import Row, fresh, interleave, ratio
from jnorm import activations
from jnorm.theory.moments import Moments, activation_moments, layer_map

GOAL = {"float32": 1e-6, "float64": 1e-12}  # the accuracy asked of the peer: about that of ours
PEER_POINTS = 40
SPREAD = 10  # standard deviations that the peer integrates over, on either side


def quad_moments(phi: Callable[[float], float], mean: float, var: float, tol: float) -> tuple[float, float]:
    """Mean and variance of phi(z), z ~ N(mean, var), as a user of SciPy writes them, split at the kink."""
    sd = math.sqrt(var)
    low, high = mean - SPREAD * sd, mean + SPREAD * sd
    ends = [low, 0.0, high] if low < 0 < high else [low, high]
    peak = 1 / (sd * math.sqrt(2 * math.pi))

    def expectation(f: Callable[[float], float]) -> float:
        integrand = lambda z: f(z) * peak * math.exp(-0.5 * ((z - mean) / sd) ** 2)
        return sum(integrate.quad(integrand, a, b, epsabs=tol, epsrel=tol)[0] for a, b in itertools.pairwise(ends))

    first = expectation(phi)
    return first, expectation(lambda z: (phi(z) - first) ** 2)


def plain_selu(x: float) -> float:
    """SELU of a Python float."""
    if x > 0:
        return activations.SELU_LAMBDA * x
    return activations.SELU_LAMBDA * activations.SELU_ALPHA * math.expm1(x)


def points(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Moments as they occur in networks: mean in [-3, 3], variance in [.01, 100]."""
    rng = np.random.default_rng(0)
    return rng.uniform(-3, 3, count), 10 ** rng.uniform(-2, 2, count)


def against_quad(
    what: str, ours: Callable[..., Moments], phi: Callable[[float], float], count: int, least: float
) -> list[Row]:
    """A row for each dtype: how many times the peer's points per second, and how far the variances lie apart."""
    rows = []
    for dtype, tol in GOAL.items():
        with jax.enable_x64(dtype == "float64"):
            mean, var = (jnp.asarray(a, dtype) for a in points(count))
            few = [(float(m), float(v)) for m, v in zip(mean[:PEER_POINTS], var[:PEER_POINTS], strict=True)]
            compiled = jax.jit(ours)
            peer = lambda few=few, tol=tol: [quad_moments(phi, m, v, tol) for m, v in few]
            seconds = interleave({"jnorm": partial(compiled, mean, var), "quad": peer})
            apart = np.max(np.abs(np.array(peer())[:, 1] / np.asarray(compiled(mean, var).var)[:PEER_POINTS] - 1))
        times = ratio([s / PEER_POINTS for s in seconds["quad"]], [s / count for s in seconds["jnorm"]])
        rates = [n / np.median(seconds[who]) for who, n in (("jnorm", count), ("quad", PEER_POINTS))]
        detail = f"{rates[0]:.3g} against {rates[1]:.3g} points/s; variances within {apart:.0e}"
        rows.append(Row(f"{what}, {dtype}", times, "times quad", least=least, detail=detail))
    return rows


PLANE = """
import time
import jax, jax.numpy as jnp
from jnorm.theory import fixed_points
with jax.enable_x64(True):
    mean, var = jnp.meshgrid(jnp.linspace(-1.0, 1.0, 200), jnp.geomspace(0.05, 5.0, 200))
    jax.block_until_ready((mean, var))
    start = time.perf_counter()
    jax.block_until_ready({call}(mean, var))
    print(time.perf_counter() - start)
"""

IMPORT = """
import time
import jax
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def run() -> Iterator[Row]:
    """All rows; a few minutes."""
    selu_map = layer_map(activations.selu, omega=1.0)
    yield from against_quad("SELU layer map", lambda m, v: selu_map(Moments(m, v)), plain_selu, 2**20, 2000)
    yield from against_quad("quadrature of tanh", partial(activation_moments, activations.tanh), math.tanh, 2**15, 50)
    yield from against_quad(
        "quadrature of SELU", partial(activation_moments, lambda z: activations.selu(z)), plain_selu, 2**15, 50
    )
    yield Row(
        "plane of 200 x 200 constants",
        fresh(PLANE.format(call="jax.jit(fixed_points.selu_constants)")),
        "s",
        most=1.0,
        detail="float64, compilation included",
    )
    plane = fresh(PLANE.format(call="fixed_points.selu_constants"))
    yield Row("the same without jit", plane, "s", detail="one program all the same")
    for module in ("jnorm", "jnorm.activations", "jnorm.theory.fixed_points"):
        seconds = fresh(IMPORT.format(module=module), rounds=9)
        yield Row(f"import {module}", seconds, "s", most=0.2, detail="after import jax")
