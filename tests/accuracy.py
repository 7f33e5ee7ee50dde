"""How accurate activations and moments are, by dtype: the tables of ``docs/accuracy.md``.

``python -m tests.accuracy`` measures them anew on a CPU, against values of 20 and more digits, and writes them. What is
written is the power of two at or above what was measured: bounds, which the last bits of a machine do not move.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.golden import read
from jnorm import activations, gaussian
from jnorm.theory.moments import activation_moments, gradient_factor
from tests import oracle

PAGE = Path(__file__).resolve().parents[1] / "docs" / "accuracy.md"
DTYPES = ("bfloat16", "float32", "float64")
THEORY = ("float32", "float64")
EXACT = read("activations")
PROMISED = {"bfloat16": 0.51, "float32": 8.0, "float64": 8.0}
"""Roundings by which the value and the first two derivatives may be off: see `jnorm.activations`."""
PROMISED_MOMENTS = {
    "closed form": ((1e-6, 1e-13), (5e-6, 1e-12), (32 * 2.0**-23, 1e-12)),
    "quadrature": ((32 * 2.0**-23, 1e-10),) * 3,
}
"""Errors of mean, variance and factor in float32 and float64: those of tests/theory, and of quadrature in float32 what
`jnorm.theory` says, (2 e + d) = 22 roundings of the largest value on a CPU, up to a power of two."""
PAIRS = ("erf", "identity", "relu", "selu", "sin", "tanh")


def bound(measured: float) -> float:
    """The power of two at or above a figure, from a half on; in half precision a right rounding is within .51."""
    return 0.5 if measured <= PROMISED["bfloat16"] else float(2 ** math.ceil(math.log2(measured)))


def elementwise(dtype: str, names: Iterable[str]) -> dict[str, list[float]]:
    """Largest error of value, first and second derivative at all golden points that the dtype holds.

    In roundings: ``eps`` times ``max(|f|, |x f'|)``, since rounding x alone moves f by as much. What lies below the
    smallest normal number, times x^2 at most, is flushed and not counted.
    """
    points = np.array(EXACT["points"], float)
    kept = points.astype(dtype).astype(float) == points
    x, info = points[kept], jnp.finfo(dtype)
    underflow = float(info.tiny) * np.maximum(1, np.abs(x)) ** 2
    functions = {name: activations.ELEMENTWISE[name] for name in names}

    @jax.jit
    def all_of_them(x: jax.Array) -> dict[str, list[jax.Array]]:
        first = {name: jax.grad(phi) for name, phi in functions.items()}
        return {n: [phi(x), jax.vmap(first[n])(x), jax.vmap(jax.grad(first[n]))(x)] for n, phi in functions.items()}

    with jax.enable_x64(dtype == "float64"):
        got = {name: [np.asarray(y) for y in rows] for name, rows in all_of_them(jnp.asarray(x, dtype)).items()}
    errors = {}
    for name, rows in got.items():
        truth = [np.array(row, float)[kept] for row in EXACT["functions"][name]]
        errors[name] = []
        for k, row in enumerate(rows):
            rounding = float(info.eps) * np.maximum(np.abs(truth[k]), np.abs(x * truth[k + 1]))
            error = np.abs(row.astype(float) - truth[k]) - underflow
            errors[name].append(float(np.max(error / np.maximum(rounding, float(info.tiny)))))
    return errors


def moments(dtype: str, name: str) -> list[float]:
    """Largest error of E f, Var f and E f'^2 over |mean| <= 10 and deviations from 1e-4 to 10.

    In roundings: ``eps`` times ``sqrt(E f^2)``, ``Var f`` and ``E f'^2`` for closed forms; by quadrature times
    ``max |f|`` within eight deviations (1e-3 at least), ``max(E f^2, 1e-3)`` and 1.
    """
    truth, phi = oracle.elementwise(name), activations.ELEMENTWISE[name]
    with jax.enable_x64(dtype == "float64"):
        mean, var = (np.asarray(a, dtype) for a in (truth.mean, truth.var))
        got, factor = jax.jit(lambda m, v: (activation_moments(phi, m, v), gradient_factor(phi, m, v)))(mean, var)
    info = jnp.finfo(dtype)
    root = np.sqrt(np.maximum(truth.square, 1e-30))
    sizes = [root, truth.spread, truth.slope]
    if activations.closed_form(phi) is None:
        z = truth.mean + np.sqrt(truth.var) * np.linspace(-8, 8, 1001)[:, None]
        largest = np.max(np.abs(np.asarray(phi(jnp.asarray(z, "float32")), float)), 0)
        sizes = [np.maximum(largest, 1e-3), np.maximum(truth.square, 1e-3), np.ones_like(root)]
    pairs = zip((got.mean, got.var, factor), (truth.first, truth.spread, truth.slope), sizes, strict=True)
    far = 1e-30 + float(info.tiny)  # the oracle's digits are absolute, and smaller results are flushed
    return [
        float(np.max((np.abs(np.asarray(a, float) - b) - far) / (float(info.eps) * np.maximum(size, far))))
        for a, b, size in pairs
    ]


def two(dtype: str, name: str) -> float:
    """Largest error of E f(u) f(v), in roundings of sqrt(E f(u)^2 E f(v)^2)."""
    truth, phi = oracle.pairs(name), activations.ELEMENTWISE[name]
    with jax.enable_x64(dtype == "float64"):
        mean, cov = np.asarray(truth.mean, dtype), np.asarray(truth.cov, dtype)
        got = jax.jit(
            lambda m, c: gaussian.expectation2(lambda u, v: phi(u) * phi(v), m, c, kinks=activations.kinks(phi))
        )(mean, cov)
        ends = [activation_moments(phi, mean[:, k], cov[:, k, k]) for k in (0, 1)]
        size = np.sqrt(np.prod([np.asarray(m.var + m.mean**2, float) for m in ends], 0))
    return float(np.max(np.abs(np.asarray(got, float) - truth.product) / size) / float(jnp.finfo(dtype).eps))


def cell(values: Iterable[float]) -> str:
    """The bounds of several dtypes."""
    return ", ".join(f"{bound(v):g}" for v in values)


def tables() -> dict[str, list[str]]:
    """The lines of each table, by its name."""
    names = sorted(EXACT["functions"])
    errors = {dtype: elementwise(dtype, names) for dtype in DTYPES}
    first = ["| function | value | slope | curvature |", "|---|---|---|---|"]
    first += [f"| `{n}` | {' | '.join(cell(errors[d][n][k] for d in DTYPES) for k in range(3))} |" for n in names]
    second = ["| activation | by | mean | variance | gradient factor |", "|---|---|---|---|---|"]
    for n in sorted(oracle.elementwise_names()):
        by = "closed form" if activations.closed_form(activations.ELEMENTWISE[n]) else "quadrature"
        rows = [moments(dtype, n) for dtype in THEORY]
        second.append(f"| `{n}` | {by} | {' | '.join(map(cell, zip(*rows, strict=True)))} |")
    third = [
        "| activation | product |",
        "|---|---|",
        *(f"| `{n}` | {cell(two(d, n) for d in THEORY)} |" for n in PAIRS),
    ]
    return {"functions": first, "moments": second, "pairs": third}


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"


def table(name: str, text: str) -> dict[str, list[list[float]]]:
    """The figures of a table of the page, ``[column][dtype]``, by the first of each row."""
    start, end = marks(name)
    lines = text.partition(start)[2].partition(end)[0].splitlines()[2:]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    numbers = lambda cells: [[float(figure) for figure in cell.split(",")] for cell in cells if cell[:1].isdigit()]
    return {row[0]: numbers(row[1:]) for row in rows}


def written(text: str, lines: dict[str, Any]) -> str:
    """The page with the tables as they should be."""
    for name, rows in lines.items():
        start, end = marks(name)
        before, _, rest = text.partition(start)
        text = "".join([before, start, "\n".join(rows), "\n", end, rest.partition(end)[2]])
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), tables()))
