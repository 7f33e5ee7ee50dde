"""What an experiment could have told, and how many runs would decide, were a difference true: stated, or estimated."""

import math
from typing import NamedTuple

from jnorm.statistics._evidence import Evidence
from jnorm.statistics._methods import METHODS
from jnorm.statistics._power import inclusion, needed_shift, rejection, smallest
from jnorm.statistics._rules import Rule


class Plan(NamedTuple):
    """Power and sizes, were the truth what the rule expects, or what was estimated; NaN below two runs.

    Attributes:
        power: To decide, with as many runs as there are.
        detectable: The distance from the smallest effect that matters which so many runs would tell with target power.
        size: Fresh runs of each arm that would decide with target power; infinite where the truth lies at the bound.
        sizes: The range of sizes for the truths that the interval holds; the size itself where the rule expects one.
    """

    power: float
    detectable: float
    size: float
    sizes: tuple[float, float]


def planned(rule: Rule, evidence: Evidence, level: float) -> Plan:
    """Power and sizes of one setting at the level that its statement has to meet.

    They are those of a t-test on the runs that the method is worth, unpaired with each arm's own variance and number of
    runs, and none where so few runs cannot reach the level by any method of its kind.

    Args:
        rule: The rule.
        evidence: Estimate, deviations and number of runs.
        level: The level of this setting's test.

    Returns:
        Power, detectable distance and deciding sizes.

    >>> rule = Rule(claim="greater", effect=0.0, diverged="exclude", method="sign")
    >>> evidence = Evidence({}, 0.2, (0.1, 0.3), 0.95, 0.1, (5, 5), (0, 0), 0.1, (0.1, 0.1))
    >>> planned(rule, evidence, 0.05)  # 5 signs have at least p = 1/16
    Plan(power=0.0, detectable=inf, size=7, sizes=(6, 16))
    """
    if min(evidence.runs) < 2:
        return Plan(math.nan, math.nan, math.nan, (math.nan, math.nan))
    difference = evidence.effect if rule.expected is None else rule.expected
    if evidence.deviation == 0:  # the sign test decides, if there is anything to decide
        size = 1.0 + math.ceil(-math.log2(level)) if evidence.p < 1 else math.inf
        return Plan(float(evidence.p <= level), 0.0, size, (size, size))
    method = METHODS[rule.method]

    def error_of(runs: tuple[float, float]) -> tuple[float, float]:
        """Standard error and degrees of freedom of so many runs."""
        a, b = (n * method.efficiency for n in runs)
        if rule.paired:
            return evidence.deviation / math.sqrt(a), a - 1
        parts = evidence.deviations[0] ** 2 / a, evidence.deviations[1] ** 2 / b
        return math.sqrt(sum(parts)), sum(parts) ** 2 / (parts[0] ** 2 / (a - 1) + parts[1] ** 2 / (b - 1))

    def power_of(runs: tuple[float, float], truth: float) -> float:
        equal = rule.claim == "equal" and abs(truth) < rule.effect
        if (1 if equal else 2) * method.smallest_p(min(runs)) > level:
            return 0.0
        error, df = error_of(runs)
        if equal:
            return inclusion(truth / error, rule.effect / error, df, level)
        return rejection((truth - nearest(rule, truth)) / error, df, level)

    def size_of(truth: float) -> float:
        return smallest(lambda n: power_of((n, n), truth), rule.target)

    told = math.inf
    if 2 * method.smallest_p(min(evidence.runs)) <= level:
        error, df = error_of(evidence.runs)
        told = error * needed_shift(df, level, rule.target)
    size = size_of(difference)
    sizes = (size, size)
    if rule.expected is None:
        low, high = evidence.interval
        bounds = (-rule.effect, rule.effect) if rule.claim == "equal" else (nearest(rule, difference),)
        found = [*(size_of(end) for end in (low, high) if math.isfinite(end)), size]
        sizes = (min(found), math.inf if any(low <= bound <= high for bound in bounds) else max(found))
    return Plan(power_of(evidence.runs, difference), told, size, sizes)


def nearest(rule: Rule, difference: float) -> float:
    """The bound of a claim that lies nearest to a difference.

    Args:
        rule: The rule.
        difference: Of a - b.

    Returns:
        The bound: the smallest effect that matters in the claimed direction.

    >>> nearest(Rule(claim="equal", effect=0.1, diverged="exclude"), -0.3)
    -0.1
    """
    return {"greater": rule.effect, "less": -rule.effect, "equal": math.copysign(rule.effect, difference)}[rule.claim]
