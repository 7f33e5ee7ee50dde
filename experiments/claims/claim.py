"""What a claim is: data that say what is measured and what would support it, written down before any result.

A claim is decided in parts. A `Number` is an exact statement: a quantity that has to lie between two ends. A
`Comparison` is a statement about many runs, judged by a `jnorm.statistics.Rule`. All parts must hold: a claim of which
some hold and some fail is mixed.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jnorm.statistics import Result, Rule, Sequential, Setting, judge

ALONE = 0.05
"""The level of a verdict by itself, and of all of them together."""


class Skipped(Exception):
    """A claim cannot be measured here, and why: data that are not there."""


class Setup(NamedTuple):
    """How claims are measured this time.

    Attributes:
        seeds: The seeds of runs in a fixed number.
        store: A folder for the stores of sweeps.
        folder: The folder of data sets; None for the environment variable JNORM_DATA.
        data: The name of the data set on which networks classify, where a claim has none of its own.
    """

    seeds: range
    store: Path
    folder: Path | None = None
    data: str = "digits"

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds after which a sweep is judged: from a fourth to 128 times the fixed number."""
        n = len(self.seeds)
        return tuple(n * 2**k // 4 for k in range(10)) if n >= 16 else (max(n // 2, 2), max(n, 4))

    @property
    def tuning(self) -> int:
        """Seeds for each value that tuning tries."""
        return max(len(self.seeds) // 2, 1)


@dataclass(frozen=True)
class Settling:
    """Seeds are added until all rules are decided, or one supports the claim and one does not: it is mixed then."""

    rules: Sequential

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds after which the rules are judged."""
        return self.rules.looks

    def check(self, configurations: Sequence[Mapping[str, Any]]) -> None:
        """Refuse configurations in which an arm of a rule is missing."""
        self.rules.check(configurations)

    def __call__(self, result: Result) -> np.ndarray:
        """The configurations that need more seeds."""
        interim = self.rules.judge(result)
        found = [setting.verdict for verdict in interim.verdicts for setting in verdict.settings]
        return interim.needed & (together(found) != "mixed")

    def __str__(self) -> str:
        return f"no more once the claim is mixed; {self.rules}"


class Decided(NamedTuple):
    """Runs of a sweep, and the stopping rule that says what they decide."""

    result: Any
    until: Sequential

    def __getitem__(self, name: str) -> Any:
        return self.result[name]


class Outcome(NamedTuple):
    """How a part was decided, as a row of the page.

    Attributes:
        what: What was measured, in words.
        rule: What would support it, in words.
        effect: The number, or the estimated difference of two arms.
        interval: Its 95 % interval; of an exact number, None.
        seeds: The runs of each arm; 0 for an exact number.
        p: The p-value, not corrected; None for an exact number.
        level: The error rate of the rule; None for an exact number.
        verdict: "supported", "not supported" or "undecided", not corrected.
        needed: What would decide, where this is undecided.
        planted: The verdict on a planted falsehood, the same runs with both arms exchanged; None where there is none.
    """

    what: str
    rule: str
    effect: float
    interval: tuple[float, float] | None
    seeds: int
    p: float | None
    level: float | None
    verdict: str
    needed: str = ""
    planted: str | None = None


@dataclass(frozen=True)
class Number:
    """A number that lies between ``low`` and ``high``, or the statement is wrong.

    Attributes:
        what: What it is, in words.
        quantity: Its name in what the claim measures.
        low: The lower end.
        high: The upper end.
        because: Where the ends come from.
    """

    what: str
    quantity: str
    low: float = -math.inf
    high: float = math.inf
    because: str = ""

    def decide(self, measured: Mapping[str, Any]) -> Outcome:
        """Compare; a number that is not finite supports nothing."""
        value = float(measured[self.quantity])
        verdict = "supported" if math.isfinite(value) and self.low <= value <= self.high else "not supported"
        return Outcome(self.what, str(self), value, None, 0, None, None, verdict)

    def __str__(self) -> str:
        if self.low == self.high:
            text = f"is {self.low:g}"
        elif self.low == -math.inf:
            text = f"at most {self.high:g}"
        else:
            text = f"at least {self.low:g}" if self.high == math.inf else f"from {self.low:.15g} to {self.high:.15g}"
        return f"{text} ({self.because})" if self.because else text


@dataclass(frozen=True)
class Comparison:
    """A difference of two arms over many runs, in one setting.

    Attributes:
        what: What is compared, in words.
        quantity: The name of the result in what the claim measures: `Decided`, or `jnorm.statistics.Runs`.
        rule: The rule.
    """

    what: str
    quantity: str
    rule: Rule

    def decide(self, measured: Mapping[str, Decided | Result]) -> Outcome:
        """Judge by the rule; what stands alone stands at `ALONE`, a verdict is corrected over all claims later."""
        runs = measured[self.quantity]
        setting = _judged(runs, self.rule)
        size = f"{setting.size:.0f} runs" if math.isfinite(setting.size) else "no number of runs"
        needed = f"power {setting.power:.2f}; {size} would decide"
        known = _known(self.rule) or 0.0  # the value is shown, no difference
        ends = (setting.interval[0] + known, setting.interval[1] + known)
        shown = (self.what, str(self), setting.effect + known, ends, min(setting.runs), setting.p, ALONE)
        false = None if self.rule.claim == "equal" else _alone(*_planted(runs, self.rule))
        return Outcome(*shown, _alone(setting, self.rule), needed if setting.p > self.rule.level else "", false)

    def __str__(self) -> str:
        effect, known = self.rule.effect, _known(self.rule)
        what, b = ("difference", 0.0) if known is None else ("value", known)
        bounds = {
            "greater": f"> {b + effect:g}",
            "less": f"< {b - effect or 0:g}",
            "equal": f"within {b:g} +- {effect:g}",
        }
        return f"{what} {bounds[self.rule.claim]} ({self.rule.method}, level {self.rule.level:g})"


def _known(rule: Rule) -> float | None:
    """The number that arm a is compared with; None where b is an arm."""
    return None if isinstance(rule.b, Mapping) else float(rule.b)


def _judged(runs: Decided | Result, rule: Rule, *, place: Rule | None = None) -> Setting:
    """The only setting of a rule, judged at the looks after which the seeds were added, if they were.

    It is judged in the ``place`` of one of the rules by which they were added, if it is none of these itself. What is
    decided at `ALONE`, but not at the rule's own level, is shown as it was at the look that decided.
    """
    if not isinstance(runs, Decided):
        with warnings.catch_warnings():  # the page says how many runs there are of each arm
            warnings.filterwarnings("ignore", ".*compares survivors of unequal selection")
            (setting,) = judge(runs, rule).settings
        return setting
    place = place or rule
    until = replace(runs.until, rules=tuple(rule if one is place else one for one in runs.until.rules))
    (setting,) = next(v for v in until.judge(runs.result).verdicts if v.rule is rule).settings
    if rule.level < setting.p <= ALONE:
        return _judged(runs, replace(rule, level=ALONE), place=place)
    return setting


def _alone(setting: Setting, rule: Rule) -> str:
    """The verdict at `ALONE`."""
    holds = {"greater": setting.effect > rule.effect, "less": setting.effect < -rule.effect}
    holds["equal"] = abs(setting.effect) < rule.effect
    side = "supported" if holds[rule.claim] else "not supported"
    return side if setting.p <= ALONE else "undecided"


def _planted(runs: Decided | Result, rule: Rule) -> tuple[Setting, Rule]:
    """The same runs with both arms exchanged, judged by the rule: of a known number, they are mirrored about it."""
    known, reduce = _known(rule), rule.transform or (lambda x: x)
    if known is None:
        false = replace(rule, a=rule.b, b=rule.a)
    else:
        false = replace(rule, transform=lambda x: 2 * known - reduce(x))
    return _judged(runs, false, place=rule), false


@dataclass(frozen=True)
class Claim:
    """A claim.

    Attributes:
        id: Its number.
        statement: What is claimed, in our words.
        measured: What is measured, in words.
        parts: What decides.
        measure: ``measure(config, setup)`` returns the quantities that the parts name, what the figure draws, and
            ``"notes"``: what else a reader must know, such as the budget of tuning.
        draw: ``draw(measured)`` returns a figure; None for a claim without one.
        caption: What the figure shows.
        mended: What was wrong with the measurement in an earlier full run, and what it is now: nobody shall take a
            mended rule for one that was written before all runs.
    """

    id: str
    statement: str
    measured: str
    parts: Sequence[Number | Comparison]
    measure: Callable[[Any, Setup], Mapping[str, Any]]
    draw: Callable[[Mapping[str, Any]], Any] | None = None
    caption: str = ""
    mended: str = ""

    def decide(self, measured: Mapping[str, Any]) -> list[Outcome]:
        """The outcome of every part."""
        return [part.decide(measured) for part in self.parts]


def together(verdicts: Sequence[str]) -> str:
    """The verdict of a claim from those of its parts.

    >>> together(["supported", "not supported"]), together(["supported", "undecided"]), together(["supported"])
    ('mixed', 'undecided', 'supported')
    """
    if len(set(verdicts)) == 1:
        return verdicts[0]
    return "mixed" if {"supported", "not supported"} <= set(verdicts) else "undecided"
