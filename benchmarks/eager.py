"""Called as in a notebook, without jit: what first and second calls cost, beside jax.nn and SciPy."""

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from benchmarks.harness import Row, fresh, ratio, turns
from jnorm import activations

SHARED = ("elu", "gelu", "leaky_relu", "relu", "selu", "sigmoid", "silu", "softplus", "tanh")
CALLS = 2000
ROUNDS = 15

# Each program prints the seconds of its first and second call, and of the peer; the second call has other numbers.
TWICE = """
import time
import jax, jax.numpy as jnp, numpy as np
{setup}
def seconds(call, *arguments):
    start = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - start
{peer}
first, second = seconds(ours, *{first}), seconds(ours, *{second})
print({printed})
"""

MAPS = """
from jnorm.activations import gelu, selu
from jnorm.theory.fixed_points import solve, solve_all
from jnorm.theory.moments import Moments, layer_map
"""

QUAD = """
from benchmarks.moments import plain_selu, quad_moments
from scipy import optimize
def peer(tau):
    gap = lambda x: np.subtract(quad_moments(plain_selu, 0.0, tau * x[1], 1e-6), x)
    return optimize.root(gap, [0.0, 1.5]).x
"""

PROGRAMS: dict[str, dict[str, Any]] = {
    "solve, selu, another tau": {
        "setup": MAPS + "ours = lambda tau: solve(layer_map(selu, tau=tau), Moments(0.0, 1.5))",
        "peer": QUAD,
        "first": "(1.0,)",
        "second": "(0.9,)",
        "against": "scipy.optimize.root over scipy.integrate.quad",
    },
    "solve, gelu, another tau": {
        "setup": MAPS + "ours = lambda tau: solve(layer_map(gelu, tau=tau), Moments(0.5, 1.5))",
        "first": "(3.0,)",
        "second": "(2.9,)",
    },
    "solve, a lambda written anew, another tau": {
        "setup": MAPS + "ours = lambda tau: solve(layer_map(lambda z: jnp.tanh(z) + 0.2, tau=tau), Moments(0.5, 1.5))",
        "first": "(1.5,)",
        "second": "(1.4,)",
    },
    "solve_all, selu, another omega": {
        "setup": MAPS
        + "ours = lambda omega: solve_all(layer_map(selu, omega=omega), (Moments(-1.0, 0.01), Moments(1.0, 10.0)))",
        "first": "(0.9,)",
        "second": "(0.8,)",
        "most": None,
    },
    "grad of solve by tau, selu": {
        "setup": MAPS + "ours = jax.grad(lambda tau: solve(layer_map(selu, tau=tau), Moments(0.0, 1.0)).point.var)",
        "first": "(1.0,)",
        "second": "(0.9,)",
    },
    "grad of expectation by the mean, tanh": {
        "setup": "from jnorm.gaussian import expectation\n"
        "ours = lambda mean: jax.grad(lambda m: expectation(jnp.tanh, m, 1.0))(mean)",
        "peer": "from scipy import integrate, stats\n"
        "peer = lambda mean: integrate.quad(lambda z: (1 - np.tanh(z)**2) * stats.norm.pdf(z, mean), -9, 9)[0]",
        "first": "(0.3,)",
        "second": "(0.4,)",
        "against": "scipy.integrate.quad of the derivative",
    },
    "vmap of expectation, a lambda written anew": {
        "setup": "from jnorm.gaussian import expectation\n"
        "ours = lambda mean: jax.vmap(lambda m: expectation(lambda z: jnp.tanh(z) ** 2, m, 1.0))(mean)",
        "first": "(jnp.linspace(-1.0, 1.0, 9),)",
        "second": "(jnp.linspace(-1.0, 2.0, 9),)",
    },
}

JUDGE = """
import time
import numpy as np
from jnorm import statistics
grid = [{"phi": phi, "depth": d} for d in range(100) for phi in ("selu", "relu")]
runs = statistics.Runs(grid, {"accuracy": np.random.default_rng(0).normal(size=(200, 16))})
arms = {"a": {"phi": "selu"}, "b": {"phi": "relu"}}
rule = statistics.Rule(metric="accuracy", **arms, claim="greater", effect=0.1, diverged=0.0)
start = time.perf_counter()
statistics.judge(runs, rule)
print(time.perf_counter() - start)
"""

TTEST = """
import time
import numpy as np
start = time.perf_counter()
from scipy import stats
x = np.random.default_rng(0).normal(size=(200, 16))
for a, b in zip(x[::2], x[1::2]):
    test = stats.ttest_rel(a - 0.1, b)
    test.pvalue, test.confidence_interval()
print(time.perf_counter() - start)
"""


def each_call(f: Callable[[ArrayLike], jax.Array], x: jax.Array) -> float:
    """Seconds of an eager call, dispatch included."""
    start = time.perf_counter()
    for _ in range(CALLS):
        y = f(x)
    jax.block_until_ready(y)
    return (time.perf_counter() - start) / CALLS


def against_jax_nn(x: jax.Array) -> list[Row]:
    """Eager activations beside their siblings in jax.nn, in alternating order."""
    rows = []
    for name in SHARED:
        exact = functools.partial(jax.nn.gelu, approximate=False) if name == "gelu" else getattr(jax.nn, name)
        contenders = {"jnorm": activations.ELEMENTWISE[name], "jax.nn": exact}
        seconds: dict[str, list[float]] = {who: [] for who in contenders}
        for turn in turns(ROUNDS):
            for who in list(contenders)[:: 1 if turn % 2 else -1]:
                seconds[who].append(each_call(contenders[who], x))
        detail = ", ".join(f"{who} {1e6 * statistics.median(s[1:]):.1f} us" for who, s in seconds.items())
        times = ratio(seconds["jnorm"][1:], seconds["jax.nn"][1:])
        rows.append(Row(f"eager {name} of 32 numbers", times, "times jax.nn", most=1.5, detail=detail))
    return rows


def twice(
    what: str, setup: str, first: str, second: str, peer: str = "", against: str = "", most: float | None = 5.0
) -> Row:
    """The second call in a new process, with the first one and the peer beside it."""
    program = functools.partial(TWICE.format, setup=setup, peer=peer, first=first, second=second)
    details = [f"the first call {fresh(program(printed='first'), rounds=3):.2f} s"]
    if peer:
        details.append(f"{against} {1e3 * fresh(program(printed=f'seconds(peer, *{second})'), rounds=3):.3g} ms")
    measured = 1e3 * fresh(program(printed="second"), rounds=5)
    return Row(f"second call of {what}", measured, "ms", most=most, detail="; ".join(details))


def run() -> Iterator[Row]:
    """All rows; a few minutes."""
    yield from against_jax_nn(jnp.linspace(-2.0, 2.0, 32))
    yield from (twice(what, **program) for what, program in PROGRAMS.items())
    yield Row(
        "judge of 100 settings, 16 runs each",
        fresh(JUDGE),
        "s",
        most=0.2,
        detail=f"in a new process; 100 tests and intervals of scipy.stats.ttest_rel {fresh(TTEST):.2f} s",
    )
