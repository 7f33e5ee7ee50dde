"""Remainders of Taylor's formula along a line: what their rates say about a slope, whatever the step."""

from collections.abc import Callable
from math import factorial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax import lax

from jnorm.measure.gradcheck._problems import Leaves, moved

Verdict = Literal["right", "wrong", "rounding", "kink", "not finite", "not deterministic"]

FLOOR = 16  # standard deviations of the noise above which a remainder is seen
WINDOW = 4  # octaves over which a rate is read
NOISE = 7  # equidistant points for the noise


class Remainder(NamedTuple):
    """What Taylor's formula says along one direction.

    Attributes:
        leaf: The path of the leaf that moves, ``all`` where all do.
        verdict: ``right``, ``wrong``, ``rounding``, ``kink`` or ``not finite``.
        rate: The power of the step by which the remainder falls: 3 where the slope is right, 1 where it is wrong; NaN
            where no remainder is seen above the noise.
        slope: By the gradient.
        difference: By values.
        resolution: The relative error of the slope that would be seen.
    """

    leaf: str
    verdict: Verdict
    rate: float
    slope: float
    difference: float
    resolution: float


def along(f: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """``values(x, v, ts, *rest)``: what ``f`` is at ``x + t v``, in one program that holds one copy of ``f``."""

    @jax.jit
    def values(x: Leaves, v: Leaves, ts: jax.Array, *rest: Any) -> jax.Array:
        return lax.map(lambda t: f(moved(x, t, v), *rest), ts)

    return values


def steps(eps: float) -> np.ndarray:
    """Where the line is looked at: zero, ``h``, ``-h``, and close points on either side for the noise."""
    h, close = _halved(eps), np.sqrt(eps) * np.arange(1, NOISE + 1)
    return np.concatenate([[0.0], h, -h, close, -close])


def read(leaf: str, values: Any, slope: float, size: float, eps: float) -> Remainder:
    """The verdict on a slope.

    With ``odd = (f(x + h v) - f(x - h v)) / 2 - h slope`` and ``even = (f(x + h v) + f(x - h v)) / 2 - f(x)``, ``odd``
    falls as h^3 where the slope is right and as h where it is wrong, ``even`` as h^2 where f is smooth and as h at a
    kink; down to the noise of f, which is estimated by differences of sixth order (Hamming; More and Wild 2011).
    A kink at a distance d is crossed by larger steps alone: below d the remainders fall faster than h.

    Args:
        leaf: What moves.
        values: Those of f at `steps`.
        slope: By the gradient.
        size: What its terms add up to without their signs.
        eps: Rounding of f.

    Returns:
        The verdict with its numbers.
    """
    values, h = np.asarray(values, np.float64), _halved(eps)
    here, n = values[0], len(h)
    plus, minus, after, before = np.split(values[1:], np.cumsum([n, n, NOISE]))
    if not np.isfinite(here) or not np.isfinite(slope):
        return Remainder(leaf, "not finite", np.nan, slope, np.nan, np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        odd = (plus - minus) / 2 - h * slope
        even = (plus + minus) / 2 - here
        noise = min(_noise(after), _noise(before))  # a kink that is close lies on one side
        largest = np.maximum(np.maximum(abs(plus), abs(minus)), abs(here))
        floor = FLOOR * (np.maximum(noise, eps * largest / 2) + h * eps * size)
    outside = ~np.isfinite(plus + minus)  # steps that leave the domain
    odd, even, floor = (np.where(outside, np.nan, a) for a in (odd, even, floor))
    if outside[-WINDOW:].any():
        return Remainder(leaf, "not finite", np.nan, slope, np.nan, np.inf)
    best = int(np.nanargmin((abs(odd) + floor) / h))
    off, rate = _linear(abs(odd), floor, h)
    jump, _ = _linear(abs(even), floor, h)
    centred = (plus - minus) / (2 * h)
    difference = centred[np.nanargmin(np.append(abs(np.diff(centred)), np.nan) + floor / h)]
    scale = max(abs(slope), abs(difference))
    error = (abs(odd) + floor)[best] / h[best]
    resolution = error / scale if scale else 0.0
    least = max(1e-7, eps ** (2 / 3)) * scale
    verdict: Verdict = "right"
    if jump > least and off <= 1.01 * jump:
        verdict = "kink"
    elif off > max(least, 1024 * eps * size):
        verdict = "wrong"
    elif error > coarse(eps) * scale and abs(slope) > FLOOR * eps * abs(here):  # else it is zero, to rounding
        verdict = "rounding"
    return Remainder(leaf, verdict, rate, slope, float(difference), float(resolution))


def coarse(eps: float) -> float:
    """The relative error above which a difference says nothing: what centred differences can reach, at least 1e-3."""
    return max(1e-3, eps ** (1 / 3))


def _halved(eps: float) -> np.ndarray:
    return 0.5 ** np.arange(int(-0.75 * np.log2(eps)) + 1)


def _noise(values: np.ndarray) -> float:
    """Standard deviation of the noise of values at equidistant points, by differences that smooth parts leave out."""
    orders = (4, 5, 6)
    weights = [factorial(k) ** 2 / factorial(2 * k) for k in orders]
    found = [np.sqrt(w * np.mean(np.diff(values, k) ** 2)) for k, w in zip(orders, weights, strict=True)]
    return float(np.nan_to_num(max(found)))


def _linear(part: np.ndarray, floor: np.ndarray, h: np.ndarray) -> tuple[float, float]:
    """The slope of a remainder that is linear where it sinks into the noise, else zero; and its rate."""
    seen = np.flatnonzero(part > floor)
    if not len(seen):
        return 0.0, np.nan
    window = np.arange(max(seen[-1] - WINDOW + 1, 0), seen[-1] + 1)
    window = window[part[window] > floor[window]]
    ratio = part[window] / h[window]
    rate = np.polyfit(np.log2(h[window]), np.log2(part[window]), 1)[0] if len(window) > 1 else np.nan
    into = seen[-1] == len(h) - 1 or part[seen[-1]] < 4 * floor[seen[-1]]
    straight = len(window) == WINDOW and ratio.max() < 1.5 * ratio.min() and into
    return float(np.median(ratio)) if straight else 0.0, float(rate)
