"""The evidence of one look at growing data, with what it is worth over all looks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy import special

from jnorm.statistics._evidence import Evidence, weigh
from jnorm.statistics._methods import METHODS
from jnorm.statistics._mixtures import MIXTURES, critical_t, mixture_var
from jnorm.statistics._rules import Rule
from jnorm.statistics._spending import SPENDING, nominal_levels, overall_p

BOUNDARIES = {
    "obrien-fleming": "a spending function like O'Brien and Fleming's boundary: hardly any of the level early",
    "pocock": "a spending function like Pocock's boundary: equal levels at all looks, nearly",
    "mixture": "a mixture of alternatives, valid after any number of runs whatever the looks",
}
"""How the error of all looks is held, by the name that `sequential` takes."""

_levels = cache(nominal_levels)
SPENT = 0.95
"""The share of the error rate that is spent: p-values of few runs are not quite canonical. With all of it t-tests of
normal runs would err in up to 5.3 % instead of 5 (200 000 nulls, looks from 4 or 8 runs on), now in 5.0."""


def weigh_at(
    a: np.ndarray,
    b: np.ndarray,
    rule: Rule,
    *,
    boundary: str,
    looks: tuple[int, ...],
    look: int,
    rounding: tuple[float, float],
    settings: Sequence[Mapping[str, Any]],
) -> list[Evidence]:
    """The evidence in every setting at one look.

    P-values are those over all looks: where the smallest so far is at most the rule's level, the rule is decided.
    Intervals are repeated ones: at all looks together they miss the truth with the rule's level (Jennison, Turnbull
    1989).

    Args:
        a: Runs of arm a up to this look, ``[settings, runs]``.
        b: Runs of arm b.
        rule: The rule.
        boundary: A name in `BOUNDARIES`.
        looks: Number of seeds at each look.
        look: Which one, counted from 0.
        rounding: As for `weigh`.
        settings: Hyperparameters of each setting.

    Returns:
        One entry a setting.

    >>> rule = Rule(claim="greater", effect=0.0, diverged="exclude")
    >>> a = np.array([[0.9, 0.8, 0.7, 0.9]])
    >>> where = {"looks": (4, 8), "look": 0, "rounding": (1e-16, 1e-16), "settings": [{}]}
    >>> for boundary in BOUNDARIES:
    ...     [evidence] = weigh_at(a, 0 * a, rule, boundary=boundary, **where)
    ...     print(f"{evidence.p:.3f}")
    0.019
    0.001
    0.063
    """
    options: dict[str, Any] = {"rounding": rounding, "settings": settings}
    if boundary == "mixture":
        return weigh(a, b, rule, compare=MIXTURES[rule.method](mixture_var(rule.level, middle(looks))), **options)
    # A rule is two tests at half its level; a claim of equality also two at the level itself, inside the margin.
    parts = []
    for level, sides in ((rule.level / 2, 2), (rule.level, 1)) if rule.claim == "equal" else ((rule.level / 2, 2),):
        at_look = replace(rule, level=max(sides * _levels(boundary, looks, SPENT * level)[look], 1e-300))
        if rule.confidence is not None:
            missed = 2 * _levels(boundary, looks, SPENT * (1 - rule.confidence) / 2)[look]
            at_look = replace(at_look, confidence=1 - max(missed, 1e-16))
        evidence = weigh(a, b, at_look, **options)
        p = np.minimum(sides / SPENT * overall_p(boundary, looks, look, np.array([e.p for e in evidence]) / sides), 1)
        confidence = rule.confidence or 1 - sides * level
        parts.append([replace(e, p=float(q), confidence=confidence) for e, q in zip(evidence, p, strict=True)])
    return [part[-1] if abs(part[0].effect) < rule.effect else part[0] for part in zip(*parts, strict=True)]


def middle(looks: tuple[int, ...]) -> float:
    """The geometric mean of the first look and the last, for which a mixture is tuned."""
    return float(np.sqrt(looks[0] * looks[-1]))


def predictive_power(rule: Rule, evidence: Evidence, *, boundary: str, looks: tuple[int, ...], look: int) -> float:
    """The probability that the last look will decide, given the runs so far: of normal runs, about.

    The difference is taken for normal about the estimate with the standard error of the runs so far (a flat prior).

    Args:
        rule: The rule.
        evidence: Of this look.
        boundary: A name in `BOUNDARIES`.
        looks: Number of seeds at each look.
        look: Which one, counted from 0.

    Returns:
        The probability; 1 where there is no spread or too few runs.

    Source: Spiegelhalter, Freedman, Blackburn 1986.

    >>> rule = Rule(claim="greater", effect=0.0, diverged="exclude")
    >>> evidence = Evidence({}, 0.01, (-0.1, 0.1), 0.95, 0.9, (24, 24), (0, 0), 0.2, (0.2, 0.2))
    >>> f"{predictive_power(rule, evidence, boundary='obrien-fleming', looks=(8, 24, 32), look=1):.4f}"
    '0.0012'
    """
    if not evidence.deviation > 0 or min(evidence.runs) < 2:
        return 1.0
    variances = [evidence.deviation**2] if rule.paired else [d**2 for d in evidence.deviations]
    share, worth = looks[look] / looks[-1], METHODS[rule.method].efficiency
    error = np.sqrt(sum(var / (n * worth) for var, n in zip(variances, evidence.runs, strict=False)))
    last, spread = error * np.sqrt(share), error * np.sqrt(1 - share)
    beyond = lambda bound: special.ndtr((evidence.effect - bound) / spread)
    reach = last * _last_critical(rule, boundary, looks, rule.level / 2)
    if rule.claim != "equal":
        bound = rule.effect if rule.claim == "greater" else -rule.effect
        return float(beyond(bound + reach) + 1 - beyond(bound - reach))
    inner = rule.effect - last * _last_critical(rule, boundary, looks, rule.level)
    inside = max(beyond(-inner) - beyond(inner), 0.0)
    return float(inside + beyond(rule.effect + reach) + 1 - beyond(-rule.effect - reach))


def _last_critical(rule: Rule, boundary: str, looks: tuple[int, ...], tail: float) -> float:
    """The standard errors from a bound at which the last look decides."""
    if boundary in SPENDING:
        return float(-special.ndtri(_levels(boundary, looks, SPENT * tail)[-1]))
    return float(critical_t(np.array(looks[-1]), tail, mixture_var(rule.level, middle(looks))))
