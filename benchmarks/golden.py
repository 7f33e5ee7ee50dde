"""How accurate activations and moments are on the device at hand, against values of 20 and more digits."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.floors import on_cpu
from benchmarks.harness import Row
from jnorm import activations
from jnorm.theory.moments import activation_moments, gradient_factor

PROMISED = {"float32": 8.0, "bfloat16": 0.51}
"""Roundings by which activations may be off on a CPU, as `jnorm.activations` says; elsewhere exp may be coarser."""

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"


def read(name: str) -> Any:
    """One of the committed files of exact values."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def worst(error: np.ndarray, allowed: np.ndarray, at: np.ndarray) -> tuple[float, float]:
    """The largest error over what one rounding may cost, and where; NaN counts as infinite."""
    share = np.where(np.isnan(error), np.inf, error) / allowed
    i = int(np.argmax(share))
    return float(share[i]), float(at[i])


def activation_rows(dtype: str) -> list[Row]:
    """A row for each activation: value and slope, in roundings of max(|f|, |x f'|), as its docstring counts them."""
    exact = read("activations")
    points = np.array(exact["points"], float)
    kept = points.astype(dtype).astype(float) == points
    x, info = points[kept], jnp.finfo(dtype)
    underflow = float(info.tiny) * np.maximum(1, np.abs(x)) ** 2
    rows = []
    for name, phi in activations.ELEMENTWISE.items():
        truth = [np.array(row, float)[kept] for row in exact["functions"][name]]
        both = jax.jit(lambda x, phi=phi: (phi(x), jax.vmap(jax.grad(phi))(x)))(jnp.asarray(x, dtype))
        parts, largest = [], 0.0
        for k, (what, got) in enumerate(zip(("value", "slope"), both, strict=True)):
            rounding = float(info.eps) * np.maximum(np.abs(truth[k]), np.abs(x * truth[k + 1]))
            error = np.maximum(np.abs(np.asarray(got).astype(float) - truth[k]) - underflow, 0)
            share, at = worst(error, np.maximum(rounding, float(info.tiny)), x)
            parts.append(f"{what} {share:.2f} at {at:.4g}")
            largest = max(largest, share)
        most = PROMISED[dtype] if on_cpu() else None
        rows.append(Row(f"accuracy of {name}, {dtype}", largest, "eps", most=most, detail="; ".join(parts)))
    return rows


def moment_rows() -> list[Row]:
    """A row for each activation: its moments in float32, relative, over |mean| <= 10, sd from 1e-4 to 10."""
    exact = read("moments")
    mean, sd = np.array(exact["points"]["rows"], float).T
    var = sd * sd
    tiny = float(jnp.finfo("float32").tiny)
    rows = []
    for name, values in exact["elementwise"]["rows"].items():
        first, square, slope, spread = np.array(values, float).T
        phi = activations.ELEMENTWISE[name]
        closed = activations.closed_form(phi) is not None
        moments, factor = jax.jit(lambda m, v, phi=phi: (activation_moments(phi, m, v), gradient_factor(phi, m, v)))(
            np.float32(mean), np.float32(var)
        )
        # Quadrature loses roundings of the largest value; what is far below it has no digits to be counted.
        scale = np.maximum(square, 1e-3)
        allowed = {
            "mean": (moments.mean, first, np.sqrt(scale)),
            "var": (moments.var, spread, spread if closed else scale),
            "slope": (factor, slope, slope if closed else np.maximum(slope, 1e-3)),
        }
        parts, largest = [], 0.0
        for what, (got, truth, size) in allowed.items():
            share, at = worst(np.abs(np.float64(got) - truth), np.maximum(size, tiny), np.arange(len(mean)))
            parts.append(f"{what} {share:.1e} at {mean[int(at)]:g}, {sd[int(at)]:g}")
            largest = max(largest, share)
        how = "closed form" if closed else "quadrature"
        rows.append(Row(f"accuracy of the moments of {name}", largest, "relative", detail="; ".join([how, *parts])))
    return rows
