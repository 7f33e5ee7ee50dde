"""The evidence of runs for or against a rule: estimates, intervals and p-values, one for each setting.

NumPy on the host in double precision; only the bootstrap runs on the device.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special

from jnorm.statistics import _estimates as estimates
from jnorm.statistics._rules import Rule

SAMPLES = 10_000  # of a bootstrap: its p-values end at 1e-4


class Evidence(NamedTuple):
    """One entry a setting."""

    runs: np.ndarray  # [2, settings]: of either arm, after the rule's policy
    effect: np.ndarray  # the estimate of a - b
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    deviation: np.ndarray  # of the differences, or of single runs where unpaired


def weigh(a: np.ndarray, b: np.ndarray, rule: Rule, *, rounding: float) -> Evidence:
    """Estimate, interval and p-value of a - b, arrays [settings, runs], in every setting by itself.

    ``rounding`` is that of the runs: what lies closer together is equal.

    >>> a = np.array([[0.9, 0.8, 0.9, 0.8]])
    >>> found = weigh(a, a - 0.2, Rule(claim="greater", effect=0.1, diverged="exclude"), rounding=1e-16)
    >>> found.effect.round(3), found.p  # no spread: two-sided sign test
    (array([0.2]), array([0.125]))
    """
    a, b = _filled(a, b, rule)
    counts = np.stack([np.sum(~np.isnan(a), 1), np.sum(~np.isnan(b), 1)])
    largest = np.nanmax(np.abs(np.concatenate([a, b], 1)), 1, initial=0)
    near = 32 * rounding * np.maximum(largest, rule.effect)
    found = (_student if rule.method == "t" else _bootstrap)(a, b, rule)
    found = _without_spread(found, np.min(counts, 0), near, rule)
    return Evidence(counts, found.effect, found.low, found.high, _p_values(found, rule), found.deviation)


class _Found(NamedTuple):
    """The tails are p-values of ``truth <= null`` and ``truth >= null`` at -effect and effect."""

    effect: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    above: np.ndarray  # [2, settings]
    below: np.ndarray


def _filled(a: np.ndarray, b: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Diverged runs by the rule's policy; those to be left out are NaN, in both arms where runs are paired."""
    lost = ~np.isfinite(a), ~np.isfinite(b)
    if rule.diverged == "exclude":
        if rule.paired:
            lost = (lost[0] | lost[1],) * 2
        return np.where(lost[0], np.nan, a), np.where(lost[1], np.nan, b)
    both, gone = np.concatenate([a, b], 1), np.concatenate(lost, 1)
    if rule.diverged == "lowest":
        fill = np.min(both, 1, initial=np.inf, where=~gone, keepdims=True)
    elif rule.diverged == "highest":
        fill = np.max(both, 1, initial=-np.inf, where=~gone, keepdims=True)
    else:
        fill = np.full((len(a), 1), float(rule.diverged))
    fill = np.where(np.isfinite(fill), fill, np.nan)
    return np.where(lost[0], fill, a), np.where(lost[1], fill, b)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and unbiased variance of what is not NaN."""
    n = np.sum(~np.isnan(x), 1)
    mean = np.nansum(x, 1) / n
    return n, mean, np.nansum(np.square(x - mean[:, None]), 1) / (n - 1)


def _nulls(rule: Rule) -> np.ndarray:
    return np.array([[-rule.effect], [rule.effect]])


def _tail(rule: Rule) -> float:
    """Probability beyond either end of the interval."""
    return rule.level if rule.claim == "equal" else rule.level / 2


def _student(a: np.ndarray, b: np.ndarray, rule: Rule) -> _Found:
    with np.errstate(divide="ignore", invalid="ignore"):
        if rule.paired:
            n, effect, var = _moments(a - b)
            se, df, deviation = np.sqrt(var / n), n - 1.0, np.sqrt(var)
        else:
            (n, left, var), (m, right, other) = _moments(a), _moments(b)
            effect, deviation = left - right, np.sqrt((var + other) / 2)
            se = np.sqrt(var / n + other / m)
            df = se**4 / ((var / n) ** 2 / (n - 1) + (other / m) ** 2 / (m - 1))
        t = (effect - _nulls(rule)) / se
        reach = special.stdtrit(df, 1 - _tail(rule)) * se
        return _Found(effect, deviation, effect - reach, effect + reach, special.stdtr(df, -t), special.stdtr(df, t))


def _bootstrap(a: np.ndarray, b: np.ndarray, rule: Rule) -> _Found:
    d = a - b
    with jax.enable_x64(True):
        found = _bootstrapper(rule.method)(jax.random.key(0), d, 2 * _tail(rule), _nulls(rule)[:, 0])
    effect, spread, low, high, above = (np.asarray(part) for part in found)
    # A standard error as if each run had this deviation; the power is that of a t-test on them.
    return _Found(effect, spread * np.sqrt(np.sum(~np.isnan(d), 1)), low, high, above, 1 - above)


@cache
def _bootstrapper(method: str) -> Callable[..., Any]:
    """One program for each estimator."""
    estimator = estimates.ESTIMATORS[method.removeprefix("bootstrap-")]

    @jax.jit
    def run(key: jax.Array, d: jax.Array, level: jax.Array, nulls: jax.Array) -> tuple[jax.Array, ...]:
        found = estimates.resample(key, d, estimator, axis=1, samples=SAMPLES)
        interval = estimates.bca_interval(found, level=level)
        above = jax.vmap(lambda null: estimates.bca_p_value(found, null))(nulls)
        return found.value, jax.numpy.std(found.draws, 0), interval.low, interval.high, above

    return run


def _without_spread(found: _Found, runs: np.ndarray, near: np.ndarray, rule: Rule) -> _Found:
    """The comparison where spread or runs are missing: by the sign test, or by nothing."""
    few = runs < 2
    flat = ~few & (found.deviation <= near)
    sign = 0.5 ** runs.astype(float)
    off = found.effect - _nulls(rule)
    above = np.where(flat, np.where(off > near, sign, 1), found.above)
    below = np.where(flat, np.where(off < -near, sign, 1), found.below)
    open_end = few | (flat & (sign > _tail(rule)))
    return _Found(
        found.effect,
        np.where(flat, 0, found.deviation),
        np.where(open_end, -np.inf, np.where(flat, found.effect, found.low)),
        np.where(open_end, np.inf, np.where(flat, found.effect, found.high)),
        np.where(few, 1, above),
        np.where(few, 1, below),
    )


def _p_values(found: _Found, rule: Rule) -> np.ndarray:
    """Two-sided, of a truth at the nearest bound; inside the margin of an equality, the larger one-sided."""
    both = np.minimum(2 * np.minimum(found.above, found.below), 1)
    if rule.claim != "equal":
        return both[1 if rule.claim == "greater" else 0]
    inside = np.maximum(found.above[0], found.below[1])
    return np.where(
        np.abs(found.effect) < rule.effect, inside, both[np.where(found.effect > 0, 1, 0), range(len(inside))]
    )
