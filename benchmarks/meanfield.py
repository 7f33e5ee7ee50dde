"""Mean-field theory beside the rules of others: error against time, products, and phase diagrams from cold."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate

from benchmarks.harness import Row, fresh, interleave, ratio
from jnorm import activations, gaussian
from jnorm.theory import meanfield
from jnorm.theory.moments import gradient_factor

Function = Callable[[jax.Array], jax.Array]

PHIS: dict[str, tuple[Function, tuple[float, ...]]] = {
    "tanh": (activations.tanh, ()),
    "selu": (activations.selu, (0.0,)),
    "hard_tanh": (activations.hard_tanh, (-1.0, 1.0)),
    "max(z, 0)": (lambda z: jnp.maximum(z, 0), (0.0,)),
}
NODES = 25  # of the Gauss-Hermite rule that neural-tangents starts with
TRAPEZOID = 100_000  # nodes on [-10, 10]: dks takes as many, of a Gauss-Legendre rule
SAMPLES = 1_000_000
POINTS = 16
LENGTHS = np.geomspace(0.1, 4.0, POINTS)
CORRELATIONS = np.linspace(-0.9, 0.99, POINTS)


def slope(phi: Function) -> Function:
    """The derivative of an elementwise function."""
    return lambda z: jax.jvp(phi, (z,), (jnp.ones_like(z),))[1]


def quad(f: Callable[[float], float], breaks: Sequence[float]) -> float:
    """E[f(x)] for a standard normal x, by SciPy, between breaks."""
    ends = [-12.0, *sorted(t for t in breaks if -12 < t < 12), 12.0]
    peak = lambda x: f(x) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return sum(integrate.quad(peak, a, b, epsabs=1e-14, epsrel=1e-13)[0] for a, b in itertools.pairwise(ends))


def plain(name: str) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Value and slope on Python floats, written anew."""
    lam, alpha = activations.SELU_LAMBDA, activations.SELU_ALPHA
    return {
        "tanh": (math.tanh, lambda z: 1 - math.tanh(z) ** 2),
        "selu": (
            lambda z: lam * (z if z > 0 else alpha * math.expm1(z)),
            lambda z: lam * (1.0 if z > 0 else alpha * math.exp(z)),
        ),
        "hard_tanh": (lambda z: min(max(z, -1.0), 1.0), lambda z: float(-1 < z < 1)),
        "max(z, 0)": (lambda z: max(z, 0.0), lambda z: float(z > 0)),
    }[name]


def exact_pair(f: Callable[[float], float], kinks: Sequence[float], q: float, c: float) -> float:
    """E[f(u) f(v)] by nested integrals."""
    s, along, across = math.sqrt(q), math.sqrt(q) * c, math.sqrt(q * (1 - c * c))
    inner = lambda x: quad(lambda y: f(along * x + across * y), [(t - along * x) / across for t in kinks])
    return quad(lambda x: f(s * x) * inner(x), [t / s for t in kinks])


def hermite(f: Callable[..., jax.Array], *scales: Any) -> jax.Array:
    """A mean over standard normals by `NODES` points each, as a product rule; ``f(scales, *points)``."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / math.sqrt(2 * math.pi)
    if len(scales) == 1:
        return jnp.sum(weights * f(scales[0][:, None], nodes), -1)
    x, y = np.meshgrid(nodes, nodes)
    q, c = (s[:, None] for s in scales)
    return jnp.sum((weights[:, None] * weights).ravel() * f((q, c), x.ravel(), y.ravel()), -1)


def trapezoid(f: Callable[..., jax.Array], q: jax.Array) -> jax.Array:
    """A mean over a standard normal by a sum over equal steps."""
    x = jnp.linspace(-10.0, 10.0, TRAPEZOID, dtype=q.dtype)
    weights = jnp.exp(-x * x / 2) * (20 / (TRAPEZOID - 1) / math.sqrt(2 * math.pi))
    return jax.lax.map(lambda q: jnp.sum(weights * f(q, x)), q)


def sampled(f: Callable[..., jax.Array], *scales: jax.Array) -> jax.Array:
    """A mean of samples, the same of every point."""
    draws = jax.random.normal(jax.random.key(0), (len(scales), SAMPLES), scales[0].dtype)
    return jax.lax.map(lambda s: jnp.mean(f(s[0] if len(s) == 1 else s, *draws)), scales)


def beside(
    what: str, exact: np.ndarray, contenders: dict[str, tuple[str, Callable[..., jax.Array]]], args: tuple[Any, ...]
) -> Iterator[Row]:
    """Time of a point, and the largest relative error, of every contender."""
    calls = {}
    for who, (dtype, call) in contenders.items():
        with jax.enable_x64(dtype == "float64"):
            run = jax.jit(call).lower(*(jnp.asarray(a, dtype) for a in args)).compile()
            calls[who] = partial(run, *(jnp.asarray(a, dtype) for a in args))
    errors = {who: np.max(np.abs(np.asarray(call(), float) / exact - 1)) for who, call in calls.items()}
    for who, seconds in interleave(calls).items():
        detail = f"relative error {errors[who]:.0e}"
        yield Row(f"{what}: {who}", 1e6 * float(np.median(seconds)) / POINTS, "us a point", detail=detail)


def slopes(name: str) -> Iterator[Row]:
    """E[phi'(z)^2], what gradients are multiplied by."""
    phi, kinks = PHIS[name]
    own = plain(name)[1]
    exact = np.array(
        [quad(lambda x: own(math.sqrt(q) * x) ** 2, [t / math.sqrt(q) for t in kinks]) for q in LENGTHS]  # noqa: B023
    )
    f = lambda q, x: slope(phi)(jnp.sqrt(q) * x) ** 2
    ours = lambda q: gradient_factor(phi, jnp.zeros_like(q), q)
    contenders = {f"jnorm, {dtype}": (dtype, ours) for dtype in ("float32", "float64")} | {
        f"{NODES}-node Gauss-Hermite": ("float64", partial(hermite, f)),
        f"{TRAPEZOID}-node trapezoid": ("float64", partial(trapezoid, f)),
        f"{SAMPLES} samples": ("float32", partial(sampled, f)),
    }
    yield from beside(f"E[phi'(z)^2], {name}", exact, contenders, (LENGTHS,))


def duals(name: str) -> Iterator[Row]:
    """E[phi(u) phi(v)], the NNGP kernel of a layer."""
    phi, kinks = PHIS[name]
    own = plain(name)[0]
    exact = np.array([exact_pair(own, kinks, q, c) for q, c in zip(LENGTHS, CORRELATIONS, strict=True)])

    def f(law: Any, x: Any, y: Any) -> jax.Array:
        q, c = law
        return phi(jnp.sqrt(q) * x) * phi(jnp.sqrt(q) * (c * x + jnp.sqrt(1 - c * c) * y))

    def ours(q: jax.Array, c: jax.Array) -> jax.Array:
        return meanfield.kernel_map(phi, sigma_w=1.0)(meanfield.Kernels(q, q, q * c, q)).cov

    contenders = {f"jnorm, {dtype}": (dtype, ours) for dtype in ("float32", "float64")} | {
        f"{NODES} x {NODES} Gauss-Hermite": ("float64", partial(hermite, f)),
        f"{SAMPLES} samples": ("float32", partial(sampled, f)),
    }
    yield from beside(f"E[phi(u) phi(v)], {name}", exact, contenders, (LENGTHS, CORRELATIONS))


PAIRS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "max(u, 0) max(v, 0)": lambda u, v: jnp.maximum(u, 0) * jnp.maximum(v, 0),
    "tanh(u) max(v, 0)": lambda u, v: jnp.tanh(u) * jnp.maximum(v, 0),
    "hard_tanh(u) hard_tanh(v)": lambda u, v: jax.nn.hard_tanh(u) * jax.nn.hard_tanh(v),
    "tanh(u) tanh(v)": lambda u, v: jnp.tanh(u) * jnp.tanh(v),
}


def products(name: str, correlation: float, count: int) -> Row:
    """Time of a product over that of the same function, of which the program is none."""
    f = PAIRS[name]
    cov = jnp.broadcast_to(jnp.array([[1.0, correlation], [correlation, 1.0]]), (count, 2, 2))
    run = lambda f: jax.jit(lambda cov: gaussian.expectation2(f, jnp.zeros(2), cov))
    general = run(lambda u, v: f(u, v) + 0.0 * (u + v))
    seconds = interleave({"product": partial(run(f), cov), "general": partial(general, cov)})
    what = f"expectation2 of {name}, correlation {correlation}, {count} point{'s' * (count > 1)}"
    each = 1e6 * float(np.median(seconds["product"])) / count
    return Row(what, ratio(seconds["general"], seconds["product"]), "times", least=5, detail=f"{each:.3g} us a point")


DIAGRAM = """
import time
import jax, numpy as np
from jnorm import activations
from jnorm.theory import meanfield
start = time.perf_counter()
axes = dict(sigma_w=np.linspace(0.02, 4.0, 200), sigma_b=np.linspace(0.0, 2.0, 200))
found = jax.block_until_ready(meanfield.phase_diagram(activations.{phi}, **axes))
seconds = time.perf_counter() - start
gone = np.asarray(found.length) == 0
assert gone.any() and all(np.isfinite(np.asarray(a))[gone].all() for a in (found.chi, found.correlation))
print(seconds)
"""


def run() -> Iterator[Row]:
    """All rows; some minutes."""
    for phi in ("tanh", "selu", "hard_tanh"):
        detail = "fresh process, float64, compilation included, imports not; finite at length 0"
        yield Row(f"200 x 200 phase diagram of {phi}", fresh(DIAGRAM.format(phi=phi)), "s", most=2.0, detail=detail)
    for name in PHIS:
        yield from slopes(name)
        yield from duals(name)
    for name in PAIRS:
        for correlation in (0.5, 0.95):
            for count in (1, 64, 1024):
                yield products(name, correlation, count)
