"""Entries of the gradient beside centred differences: the relative distance of lectures, with an error bar."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnorm.measure.gradcheck._problems import Leaves, Problem, scales
from jnorm.measure.gradcheck._remainders import FLOOR, Verdict, coarse

READINGS = ((1e-7, "fine"), (1e-5, "likely fine"), (1e-3, "look"), (np.inf, "wrong"))
STEPS = 0.5 ** np.arange(1, 29, 3)  # of the leaf's scale; the least ones are for kinks close by


class Leaf(NamedTuple):
    """A leaf's gradient beside differences.

    Attributes:
        leaf: Its path.
        verdict: ``right``, ``wrong``, ``rounding`` or ``kink``.
        distance: ``|a - n| / (|a| + |n|)`` of the entries ``a`` of the gradient and ``n`` of the differences.
        bar: The error of the differences, on the same scale.
        reading: What lectures say of the distance: ``fine`` up to 1e-7, ``likely fine`` up to 1e-5, ``look`` up to
            1e-3, ``wrong`` above.
        entry: The index of the worst entry.
        gradient: There, by the gradient.
        difference: There, by differences.
    """

    leaf: str
    verdict: Verdict
    distance: float
    bar: float
    reading: str
    entry: tuple[int, ...]
    gradient: complex
    difference: complex


def reading(distance: float) -> str:
    """What lectures say of a relative distance."""
    return next((text for most, text in READINGS if distance <= most), "wrong")


def evaluator(f: Callable[[Leaves], jax.Array]) -> Callable[..., jax.Array]:
    """``values(x, unit, leaf, entries, ts)``: the loss with one entry of one leaf moved by each ``t unit``."""

    @jax.jit
    def values(x: Leaves, unit: jax.Array, leaf: jax.Array, entries: jax.Array, ts: jax.Array) -> jax.Array:
        def at(point: tuple[jax.Array, jax.Array]) -> jax.Array:
            entry, t = point
            full = []
            for i, a in enumerate(x):
                step = jnp.where(leaf == i, t, 0).astype(a.dtype)
                step = step * unit.astype(a.dtype) if jnp.iscomplexobj(a) else step
                full.append(a.reshape(-1).at[jnp.where(leaf == i, entry, 0)].add(step).reshape(a.shape))
            return f(full)

        n = len(ts)
        return lax.map(at, (jnp.repeat(entries, n), jnp.tile(ts, len(entries)))).reshape(-1, n)

    return values


def compare(problem: Problem, gradient: Leaves, values: Any, rng: np.random.Generator, most: int) -> list[Leaf]:
    """Up to ``most`` entries of every leaf, drawn without replacement.

    Of centred differences at steps that shrink by eight, two neighbours each are extrapolated. That is taken whose
    change from the one before, with the rounding, is least; its change is the error bar.

    Args:
        problem: The loss.
        gradient: To be compared.
        values: By `evaluator`.
        rng: A stream of random numbers.
        most: How many entries of a leaf.

    Returns:
        A row for every leaf.
    """
    found = []
    sizes = scales(problem.x)
    for i, (a, g, scale) in enumerate(zip(problem.x, gradient, sizes, strict=True)):
        count = min(most, a.size)
        chosen = np.sort(rng.choice(a.size, count, replace=False))
        entries = np.resize(chosen, most)  # one shape, one program
        steps = float(scale) * STEPS
        ts = np.concatenate([steps, -steps, [0.0]])
        units = [1.0, 1.0j] if jnp.iscomplexobj(a) else [1.0]
        seen = [np.asarray(values(problem.x, np.asarray(u), i, entries, ts), np.float64) for u in units]
        parts = [_differences(v, steps, problem.eps) for v in seen]
        numeric, bar, kink = parts[0]
        if len(parts) == 2:  # JAX's gradient of a real loss is f_x - i f_y
            numeric, bar, kink = (numeric - 1j * parts[1][0], bar + parts[1][1], kink + parts[1][2])
        exact = np.asarray(g).reshape(-1)[chosen].astype(np.complex128 if len(parts) == 2 else np.float64)
        numeric, bar, kink = numeric[:count], bar[:count], kink[:count]
        zero = FLOOR * problem.eps * abs(float(seen[0][0, -1])) / float(scale)
        found.append(_row(problem, i, chosen, exact, numeric, bar, kink, zero))
    return found


def _differences(values: np.ndarray, steps: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The derivative by every entry, its error bar and half the jump of the derivative."""
    n = len(steps)
    plus, minus, here = values[:, :n], values[:, n : 2 * n], values[:, -1:]
    with np.errstate(invalid="ignore", over="ignore"):
        centred = (plus - minus) / (2 * steps)
        bent = abs(plus + minus - 2 * here) / (2 * steps)
        rounding = eps * np.maximum(abs(plus), abs(minus)) / steps
        better = centred[:, 1:] + np.diff(centred) / 63  # the error falls as the square of the step: by 64
        error = abs(np.diff(better)) + rounding[:, 2:]
    error = np.where(np.isfinite(error), error, np.inf)
    best = error.argmin(1)
    rows = np.arange(len(values))
    jump = np.maximum((8 * bent[:, -1] - bent[:, -2]) / 7 - 4 * rounding[:, -1], 0)
    return better[rows, best + 1], error[rows, best], jump


def _row(
    problem: Problem,
    i: int,
    chosen: np.ndarray,
    exact: np.ndarray,
    numeric: np.ndarray,
    bar: np.ndarray,
    kink: np.ndarray,
    zero: float,
) -> Leaf:
    norm = np.linalg.norm
    total = norm(exact) + norm(numeric)
    distance, width = (float(norm(d) / total) if total else 0.0 for d in (exact - numeric, bar))
    least = max(1e-7, problem.eps ** (2 / 3)) * np.maximum(abs(exact), abs(numeric))
    off = np.nan_to_num(abs(exact - numeric) - np.maximum(FLOOR * bar, least), nan=np.inf)
    worst = int(off.argmax())
    verdict: Verdict = "right"
    if off[worst] > 0:
        at_kinks = off <= np.where(kink > 0, 1.01 * kink, 0)
        verdict = "kink" if at_kinks.all() else "wrong"
    elif min(width, distance) > coarse(problem.eps) and abs(exact).max() > zero:  # else they are zero, to rounding
        verdict = "rounding"
    entry = tuple(int(k) for k in np.unravel_index(int(chosen[worst]), problem.x[i].shape))
    return Leaf(
        *(problem.names[i], verdict, distance, width, reading(max(distance - FLOOR * width, 0.0)), entry),
        *(exact[worst].item(), numeric[worst].item()),
    )
