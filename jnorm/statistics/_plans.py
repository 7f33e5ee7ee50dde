"""What an experiment could have told, and how many runs would decide, were the truth what it found."""

import math
from typing import NamedTuple

from jnorm.statistics._evidence import Evidence
from jnorm.statistics._methods import METHODS
from jnorm.statistics._power import detectable, smallest, unchecked_equivalence, unchecked_power
from jnorm.statistics._rules import Rule


class Plan(NamedTuple):
    """Power and sizes, were the truth what was estimated; NaN below two runs.

    Attributes:
        power: To decide, with the runs that there are.
        detectable: The distance from the smallest effect that matters which these runs would tell with target power.
        size: Runs of each arm that would decide with target power.
    """

    power: float
    detectable: float
    size: float


def planned(rule: Rule, evidence: Evidence, level: float) -> Plan:
    """Power and sizes of one setting at the level that its statement has to meet.

    They are those of a t-test on the runs that the method is worth, and none where so few runs cannot reach the level
    by any method of its kind.

    Args:
        rule: The rule.
        evidence: Estimate, deviation and number of runs.
        level: The level of this setting's test.

    Returns:
        Power, detectable distance and deciding size.

    >>> rule = Rule(claim="greater", effect=0.0, diverged="exclude", method="sign")
    >>> evidence = Evidence({}, 0.2, (0.1, 0.3), 0.1, (5, 5), (0, 0), 0.1)
    >>> planned(rule, evidence, 0.05)  # 5 signs have at least p = 1/16
    Plan(power=0.0, detectable=inf, size=7)
    """
    if min(evidence.runs) < 2:
        return Plan(math.nan, math.nan, math.nan)
    scale = evidence.deviation
    if scale == 0:  # the sign test decides
        return Plan(float(evidence.p <= level), 0.0, 1.0 + math.ceil(-math.log2(level)))
    method, arms = METHODS[rule.method], 1 if rule.paired else 2
    runs = 2 / (1 / evidence.runs[0] + 1 / evidence.runs[1])
    equal = rule.claim == "equal" and abs(evidence.effect) < rule.effect
    sides = 1 if equal else 2
    bar = {"greater": rule.effect, "less": -rule.effect, "equal": math.copysign(rule.effect, evidence.effect)}
    distance = abs(evidence.effect - bar[rule.claim]) / scale

    def power_of(size: float) -> float:
        if sides * method.smallest_p(size) > level:
            return 0.0
        worth = size * method.efficiency
        if equal:
            return unchecked_equivalence(evidence.effect / scale, rule.effect / scale, worth, level, arms)
        return unchecked_power(distance, worth, level, arms)

    told = math.inf
    if 2 * method.smallest_p(runs) <= level:
        told = scale * detectable(runs * method.efficiency, target=rule.target, level=level, arms=arms)
    return Plan(power_of(runs), told, smallest(power_of, rule.target))
