"""Verdicts on claims about two arms, and the settings that they rest on.

With theta the mean (or what the method estimates) of a - b and an interval for it:

- *supported*: the interval lies beyond the smallest effect that matters, in the claimed direction;
- *not supported*: it lies on the other side of that effect - inside it, or against the claim;
- *undecided*: it straddles; the power of the experiment and the size that would decide are given;
- *mixed*: of several named settings, some support the claim and others do not.

A claim of equality is supported where two one-sided tests, each at ``level``, place theta inside the margin (the
``1 - 2 level`` interval lies inside), and not supported where the ``1 - level`` interval lies outside. One of the two
intervals is shown: that which can decide, by where the estimate lies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any

from jnorm.statistics._evidence import Evidence
from jnorm.statistics._methods import METHODS
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import describe


@dataclass(frozen=True)
class Setting(Evidence):
    """The comparison in one setting, decided: its evidence, seen together with all that is tested beside it.

    Attributes:
        where: The hyperparameters of the setting.
        effect: Estimate of a - b, in units of the metric.
        interval: Its ends, not corrected: of the interval that decides.
        confidence: That of the interval: the rule's, or ``1 - level``, ``1 - 2 level`` for an estimate inside the
            margin of equality.
        p: Two-sided p-value of a truth at the nearest bound; inside the margin of equality the larger one of two
            one-sided tests; not corrected.
        runs: How many of a and of b were compared.
        diverged: How many of a and of b diverged, whatever was done with them.
        deviation: Standard deviation of the differences; where unpaired the root of the mean variance of the arms.
        deviations: Standard deviation of single runs of a and of b.
        verdict: *supported*, *not supported* or *undecided*, corrected over the family.
        uncorrected: The verdict before correction.
        adjusted_p: Holm's p-value over the family.
        power: To decide, were the effect the one that the rule expects, or else the estimated one: with as many fresh
            runs, at the corrected level.
        detectable: The distance from the smallest effect that matters that these runs would tell with target power.
        size: Fresh runs of each arm that would decide with target power, were the effect that one.
        sizes: The least and the most of them, for effects within the interval; of an expected effect, the size twice.
    """

    verdict: str
    uncorrected: str
    adjusted_p: float
    power: float
    detectable: float
    size: float
    sizes: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        parts = [f"{self.verdict}, {self.effect:.4g} [{low:.4g}, {high:.4g}]", f"p {self.p:.2g}"]
        if self.adjusted_p != self.p:
            parts[-1] += f" (Holm {self.adjusted_p:.2g}; uncorrected {self.uncorrected})"
        parts.append(f"{self.runs[0]} and {self.runs[1]} runs")
        if any(self.diverged):
            parts.append(f"{self.diverged[0]} and {self.diverged[1]} diverged")
        if self.verdict == "undecided":
            parts.append(self._needed())
        return f"{describe(self.where)}: {', '.join(parts)}"

    def _needed(self) -> str:
        """How many runs would decide, in words."""
        least, most = self.sizes
        if isnan(self.size):
            return "too few runs to say how many would decide"
        if least == most:
            return f"{_runs_in_words(self.size)} would decide"
        most_in_words = f"to {most:.7g}" if isfinite(most) else "or more"
        where = "at the estimate" if isfinite(self.size) else "even so"
        return f"{where} {_runs_in_words(self.size)} would decide, within the interval {least:.7g} {most_in_words}"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a rule. Effect, interval, p and so on are those of the setting on which the verdict rests.

    That is the weakest of those that it needs: the one with the largest p among all, among the undecided, or, where
    the verdict is mixed, of the clearest on either side.

    Attributes:
        rule: The rule.
        settings: The comparison in each setting.
    """

    rule: Rule
    settings: tuple[Setting, ...]

    @property
    def verdict(self) -> str:
        """*supported*, *not supported*, *mixed* or *undecided*, corrected over the family."""
        return _together([s.verdict for s in self.settings])

    @property
    def uncorrected(self) -> str:
        """The verdict before correction."""
        return _together([s.uncorrected for s in self.settings])

    @property
    def decisive(self) -> Setting:
        """The setting on which the verdict rests."""
        by_p = sorted(self.settings, key=lambda s: (s.adjusted_p, s.p))
        if self.verdict == "mixed":
            clearest = [next(s for s in by_p if s.verdict == side) for side in ("supported", "not supported")]
            return max(clearest, key=lambda s: (s.adjusted_p, s.p))
        return [s for s in by_p if s.verdict == self.verdict][-1]

    effect = property(lambda self: self.decisive.effect, doc="Estimate of a - b.")
    interval = property(lambda self: self.decisive.interval, doc="Its interval, not corrected.")
    p = property(lambda self: self.decisive.p, doc="Uncorrected p-value.")
    adjusted_p = property(lambda self: self.decisive.adjusted_p, doc="Holm's, over the family.")
    power = property(lambda self: self.decisive.power, doc="Power to decide.")
    size = property(lambda self: self.decisive.size, doc="Runs of each arm that would decide.")

    def __str__(self) -> str:
        raw = "" if self.uncorrected == self.verdict else f" (uncorrected: {self.uncorrected})"
        return "\n".join(
            [
                f"{title(self.rule)}: {self.verdict}{raw}",
                f"  {procedure(self.rule)}",
                *(f"  {s}" for s in self.settings),
            ]
        )


def title(rule: Rule) -> str:
    """The claim of a rule: its name, or its arms.

    Args:
        rule: The rule.

    Returns:
        A few words.

    >>> title(Rule(claim="greater", effect=0.1, diverged="exclude", b={"depth": 2}))
    'a greater depth=2'
    """
    a, b = (arm_in_words(arm) or label for arm, label in ((rule.a, "a"), (rule.b, "b")))
    return rule.name or f"{a} {rule.claim} {b}"


def arm_in_words(arm: Mapping[str, Any] | float) -> str:
    """An arm of a rule, as text.

    Args:
        arm: Values of hyperparameters, or the number that the other arm is compared with.

    Returns:
        A few words; none of an arm that names nothing.

    >>> arm_in_words({"depth": 2}), arm_in_words(0.21), arm_in_words({})
    ('depth=2', '0.21', '')
    """
    if not isinstance(arm, Mapping):
        return f"{arm:g}"
    return describe(arm) if arm else ""


def procedure(rule: Rule) -> str:
    """Test, sidedness, design, level, null, estimate and interval of a rule, in words.

    Args:
        rule: The rule.

    Returns:
        One line.

    >>> print(procedure(Rule(claim="less", effect=0.1, diverged="exclude", method="sign", expected=-0.2)))
    two-sided sign test of paired runs at level 0.05; null: the median of a - b is -0.1; in brackets the \
95 % interval; runs planned for -0.2
    """
    method = METHODS[rule.method]
    test = (method.paired if rule.paired else method.unpaired).removeprefix("the ").removeprefix("an ")
    design = f"{'paired' if rule.paired else 'unpaired'} runs at level {rule.level:g}"
    percent = f"{100 * (rule.confidence or 1 - rule.level):.4g} %"
    if rule.claim == "equal":
        shown = f"{100 * (1 - 2 * rule.level):.4g} % interval, outside the margin the {percent} one"
        if rule.confidence is not None:
            shown = f"{100 * rule.confidence:.4g} % interval"
        text = (
            f"two one-sided tests, {test}, of {design}; null: the {method.estimates} of a - b is {-rule.effect:g} or "
            f"less, or {rule.effect:g} or more; in brackets the {shown}"
        )
    else:
        bound = rule.effect if rule.claim == "greater" else -rule.effect or 0.0
        text = f"two-sided {test} of {design}; null: the {method.estimates} of a - b is {bound:g}; "
        text += f"in brackets the {percent} interval"
    return text if rule.expected is None else f"{text}; runs planned for {rule.expected:g}"


def _runs_in_words(size: float) -> str:
    return f"{size:.7g} fresh runs" if isfinite(size) else "no number of runs"


def _together(outcomes: Sequence[str]) -> str:
    if len(set(outcomes)) == 1:
        return outcomes[0]
    return "mixed" if {"supported", "not supported"} <= set(outcomes) else "undecided"
