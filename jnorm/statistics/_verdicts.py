"""Verdicts on claims about two arms, and the settings that they rest on.

With theta the mean (or what the method estimates) of a - b and an interval for it:

- *supported*: the interval lies beyond the smallest effect that matters, in the claimed direction;
- *not supported*: it lies on the other side of that effect - inside it, or against the claim;
- *undecided*: it straddles; the power of the experiment and the size that would decide are given;
- *mixed*: of several named settings, some support the claim and others do not.

A claim of equality is supported where two one-sided tests, each at ``level``, place theta inside the margin (the
``1 - 2 level`` interval lies inside), and not supported where the ``1 - level`` interval lies outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jnorm.statistics._evidence import Evidence
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import describe


@dataclass(frozen=True)
class Setting(Evidence):
    """The comparison in one setting, decided: its evidence, seen together with all that is tested beside it.

    Attributes:
        where: The hyperparameters of the setting.
        effect: Estimate of a - b, in units of the metric.
        interval: Its ends at confidence ``1 - level``, for equality at ``1 - 2 level``; not corrected.
        p: p-value of a truth at the nearest bound; not corrected.
        runs: How many of a and of b were compared.
        diverged: How many of a and of b diverged, whatever was done with them.
        deviation: Standard deviation of the differences, or of single runs where unpaired.
        verdict: *supported*, *not supported* or *undecided*, corrected over the family.
        uncorrected: The verdict before correction.
        adjusted_p: Holm's p-value over the family.
        power: To decide, were the effect the estimated one: with these runs, at the corrected level.
        detectable: The distance from the smallest effect that matters that these runs would tell with target power.
        size: Runs of each arm that would decide with target power, were the effect the estimated one.
    """

    verdict: str
    uncorrected: str
    adjusted_p: float
    power: float
    detectable: float
    size: float

    def __str__(self) -> str:
        low, high = self.interval
        parts = [f"{self.verdict}, a - b = {self.effect:.4g} [{low:.4g}, {high:.4g}]", f"p {self.p:.2g}"]
        if self.adjusted_p != self.p:
            parts[-1] += f" (Holm {self.adjusted_p:.2g}; uncorrected {self.uncorrected})"
        parts.append(f"{self.runs[0]} and {self.runs[1]} runs")
        if any(self.diverged):
            parts.append(f"{self.diverged[0]} and {self.diverged[1]} diverged")
        if self.verdict == "undecided":
            parts.append(f"power {self.power:.2f}, {self.size:.7g} runs would decide")
        return f"{describe(self.where)}: {', '.join(parts)}"


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
        name = self.rule.name or f"{describe(self.rule.a)} {self.rule.claim} {describe(self.rule.b)}"
        raw = "" if self.uncorrected == self.verdict else f" (uncorrected: {self.uncorrected})"
        return "\n".join([f"{name}: {self.verdict}{raw}", *(f"  {s}" for s in self.settings)])


def _together(outcomes: Sequence[str]) -> str:
    if len(set(outcomes)) == 1:
        return outcomes[0]
    return "mixed" if {"supported", "not supported"} <= set(outcomes) else "undecided"
