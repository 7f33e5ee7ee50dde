"""Seeds as many as the verdicts need: rules that are judged at several looks, at one error rate over all of them.

>>> rng = np.random.default_rng(0)
>>> accuracy = rng.normal(0.9, 0.01, (2, 32)) + np.array([[0.0], [0.015]])
>>> result = Runs([{"phi": "relu"}, {"phi": "selu"}], {"accuracy": accuracy})
>>> arms = {"a": {"phi": "selu"}, "b": {"phi": "relu"}}
>>> rule = Rule(metric="accuracy", **arms, claim="greater", effect=0.0, diverged="lowest")
>>> print(sequential(rule, looks=(8, 16, 24, 32)).judge(result))
32 of 64 runs (50 % saved); p and intervals hold over looks at 8, 16, 24, 32 seeds (obrien-fleming)
phi=selu greater phi=relu: supported
  two-sided Student's t-test of paired runs at level 0.05; null: the mean of a - b is 0; in brackets the 95 % interval
  the only setting: supported, 0.02278 [0.0111, 0.03447], p 0.0017, 16 and 16 runs
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jnorm._ground import checks
from jnorm.statistics._arms import matched
from jnorm.statistics._evidence import Evidence
from jnorm.statistics._holm import stepped_down
from jnorm.statistics._interim import BOUNDARIES, predictive_power, weigh_at
from jnorm.statistics._judging import arms_of, as_runs, together
from jnorm.statistics._mixtures import MIXTURES
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import Result, Runs, metric_array
from jnorm.statistics._verdicts import Verdict, procedure, title


def sequential(
    rules: Rule | Sequence[Rule], *, looks: Sequence[int], boundary: str = "obrien-fleming", futility: float = 0.0
) -> "Sequential":
    """Rules as a stopping rule: judged after so many seeds, until all are decided, at their level over all looks.

    At every look each rule that is still open is tested at a level of its own, such that all looks together err at the
    rule's level; Holm's procedure corrects over families as in `correct`. What is decided stays decided.

    Args:
        rules: One rule, or several.
        looks: Numbers of seeds after which to look, fixed before the data.
        boundary: "obrien-fleming" spends hardly any of the level early and needs few more runs at most than one look at
            the end; "pocock" stops earlier where differences are large, and needs more at most; both for any method.
            "mixture" is valid after any number of runs, so that one may look as often as one likes between the first
            and the last, and needs the most; for the methods "t" and "sign". Paired, at a power of 90 %
            with a look after every second seed, they need 75, 71 and 94 % of the runs of one look, and 47, 32 and 39 %
            where the difference is twice as large.
        futility: A rule is given up, undecided, where the probability that the last look will decide is below this, by
            the runs so far. Never binding: the level holds whether one stops or goes on. With .1 and looks at 8, 16, 24
            and 32 seeds 29 % of the runs are saved where there is no difference, for one point of a power of 88 %.

    Returns:
        The stopping rule, for ``jnorm.sweeps.sweep(..., until=...)``.

    Raises:
        TypeError: For ``rules`` that are none.
        ValueError: For looks that are fewer than two, do not increase or begin below two seeds, an unknown boundary, a
            method without a mixture, and ``futility`` outside [0, 1).

    Source: Lan, DeMets 1983 (spending functions); Jennison, Turnbull 2000; Lai 1976, Robbins 1970 (mixtures).

    >>> rule = Rule(claim="greater", effect=0.0, diverged="exclude")
    >>> sequential(rule, looks=(8, 8))
    Traceback (most recent call last):
    ...
    ValueError: `looks` must increase; got (8, 8)
    """
    rules = (rules,) if isinstance(rules, Rule) else tuple(rules)
    if not rules or not all(isinstance(rule, Rule) for rule in rules):
        raise TypeError(f"`rules` must be a Rule or several; got {rules!r}")
    checks.whole(2, looks=looks)
    looks = tuple(int(n) for n in looks)
    if len(looks) < 2:
        raise ValueError(f"`looks` must hold two numbers of seeds or more; got {looks}: one look is `judge`")
    if any(n >= m for n, m in itertools.pairwise(looks)):
        raise ValueError(f"`looks` must increase; got {looks}")
    checks.choice("boundary", boundary, BOUNDARIES)
    without = [rule.method for rule in rules if rule.method not in MIXTURES]
    if boundary == "mixture" and without:
        raise ValueError(f"`boundary='mixture'` is for the methods {', '.join(MIXTURES)}; got {without[0]!r}")
    checks.require(lambda v: (v >= 0) & (v < 1), "`{}` must satisfy 0 <= {} < 1", futility=futility)
    return Sequential(rules, looks, boundary, float(futility))


@dataclass(frozen=True, eq=False)
class Interim:
    """The verdicts after a look.

    Attributes:
        verdicts: One a rule. P-values are those over all looks (the smallest level at which the rule would have been
            decided by now), intervals those of repeated looks, at the look that decided or at the latest.
        seeds: For each rule, the seeds that each of its settings was looked at with: as far as it needed them.
        needed: Booleans ``[configuration]``: those that need the seeds of the next look.
        runs: How many runs the rules needed.
        planned: How many a design with one look at the last number of seeds needs.
        design: The stopping rule.
    """

    verdicts: tuple[Verdict, ...]
    seeds: tuple[tuple[int, ...], ...]
    needed: np.ndarray
    runs: int
    planned: int
    design: "Sequential"

    def __str__(self) -> str:
        open_ = f", {np.sum(self.needed)} configurations need more seeds" if np.any(self.needed) else ""
        saved = f"{self.runs} of {self.planned} runs ({100 - 100 * self.runs / self.planned:.0f} % saved){open_}; "
        looks = ", ".join(map(str, self.design.looks))
        saved += f"p and intervals hold over looks at {looks} seeds ({self.design.boundary})"
        return "\n".join([saved, *map(str, self.verdicts)])


@dataclass(frozen=True)
class Sequential:
    """A stopping rule: what a sweep calls as ``until(result)``.

    A sweep that takes seeds as they are needed asks three things of it, which any other callable may have too:

    - ``until.looks``: the numbers of seeds after which it is called, in increasing order; the last is the limit.
      With ``str(until)`` they belong into the manifest of a store: they are fixed before the data.
    - ``until.check(configurations)``: called before anything runs; raises where a rule names what the grid lacks.
    - ``until(result)``: called with the first ``looks[k]`` seeds of every configuration, after each k; returns booleans
      ``[configuration]``, true for those that need the seeds up to ``looks[k + 1]``. Where none does the sweep is over.

    It is a function of the result alone: every look is judged anew from the first seeds, so that a sweep which is
    resumed decides the same. A configuration that once needed no more seeds is not read beyond them: ``result`` may
    hold anything for runs that were not done.

    Attributes:
        rules: The rules.
        looks: Number of seeds at each look.
        boundary: How the error of all looks is held.
        futility: The probability of a decision below which a rule is given up.
    """

    rules: tuple[Rule, ...]
    looks: tuple[int, ...]
    boundary: str
    futility: float

    def check(self, configurations: Sequence[Mapping[str, Any]]) -> None:
        """Refuse configurations in which an arm of a rule is missing.

        Args:
            configurations: Hyperparameter values of each configuration.

        Raises:
            ValueError: As `judge`, for the arms.
        """
        for rule in self.rules:
            matched(Runs(configurations, {}), rule.a, rule.b, rule.own)

    def __call__(self, result: Result) -> np.ndarray:
        """The configurations that need more seeds.

        Args:
            result: The first seeds of all configurations, as many as at a look.

        Returns:
            Booleans ``[configuration]``.

        Raises:
            ValueError: As the method `judge`.
        """
        return self.judge(result).needed

    def judge(self, result: Result) -> Interim:
        """The verdicts after the looks that the seeds of a result allow.

        Args:
            result: What `jnorm.statistics.judge` takes, with one of the looks' numbers of seeds; of others the first
                are taken.

        Returns:
            Verdicts and what is still needed.

        Raises:
            ValueError: As `jnorm.statistics.judge`, and for fewer seeds than at the first look.
        """
        seeds = min(metric_array(result, rule.metric).shape[1] for rule in self.rules)
        if seeds < self.looks[0]:
            raise ValueError(f"`result` must hold the {self.looks[0]} seeds of the first look; got {seeds}")
        tests: list[list[_Test]] = [[] for _ in self.rules]
        for k, n in enumerate(self.looks):
            if n <= seeds:
                self._look(_FirstSeeds(result, n), tests, k)
        flat = [test for part in tests for test in part]
        holding = iter(_adjusted(flat))
        chosen = [
            (rule, [t.strongest if next(holding) <= rule.level else replace(t.latest, p=t.strongest.p) for t in part])
            for rule, part in zip(self.rules, tests, strict=True)
        ]
        used = np.zeros(len(result.configurations), int)
        needed = np.zeros(len(used), bool)
        for test in flat:
            rows = list(test.rows)
            used[rows] = np.maximum(used[rows], test.seeds)
            needed[rows] |= test.open and test.seeds < self.looks[-1]
        return Interim(
            together(chosen),
            tuple(tuple(test.seeds for test in part) for part in tests),
            needed,
            int(np.sum(used)),
            int(np.sum(used > 0)) * self.looks[-1],
            self,
        )

    def __str__(self) -> str:
        of_looks = (
            f"looks at {', '.join(map(str, self.looks))} seeds; {BOUNDARIES[self.boundary]}; futility {self.futility:g}"
        )
        rules = [f"{title(r)}: {r.metric or 'the metric'}, diverged {r.diverged}, {procedure(r)}" for r in self.rules]
        return "\n".join([of_looks, *rules])

    def _look(self, result: "_FirstSeeds", tests: list[list["_Test"]], look: int) -> None:
        """Add the evidence of a look to all tests that are open, and close those that it decides."""
        where: dict[str, Any] = {"boundary": self.boundary, "looks": self.looks, "look": look}
        for rule, part in zip(self.rules, tests, strict=True):
            if look and not any(test.open for test in part):
                continue
            arms = arms_of(result, rule)
            if not look:
                part.extend(_Test(rule, rows) for rows in zip(arms.rows.a, arms.rows.b, strict=True))
            open_ = [i for i, test in enumerate(part) if test.open]
            (a, a_rounding), (b, b_rounding) = (as_runs(rule.metric, arm[open_], 1) for arm in (arms.a, arms.b))
            rounding = max(a_rounding, arms.rounding), max(b_rounding, arms.rounding)
            settings = [arms.rows.settings[i] for i in open_]
            for i, evidence in zip(
                open_, weigh_at(a, b, rule, rounding=rounding, settings=settings, **where), strict=True
            ):
                part[i].add(evidence, result.seeds)
        flat = [test for part in tests for test in part]
        for test, adjusted in zip(flat, _adjusted(flat), strict=True):
            if test.open and adjusted <= test.rule.level:
                test.open = False
            elif test.open and self.futility and look + 1 < len(self.looks):
                test.open = predictive_power(test.rule, test.latest, **where) >= self.futility


@dataclass
class _Test:
    """A rule in one setting, while seeds are added."""

    rule: Rule
    rows: tuple[int, int]
    seeds: int = 0
    open: bool = True
    latest: Evidence = field(init=False)
    strongest: Evidence = field(init=False)

    def add(self, evidence: Evidence, seeds: int) -> None:
        """Take in what a look says; what decides is the strongest evidence of all looks."""
        if not self.seeds or evidence.p <= self.strongest.p:
            self.strongest = evidence
        self.latest, self.seeds = evidence, seeds


@dataclass(frozen=True)
class _FirstSeeds:
    """A result with its first seeds alone."""

    result: Result
    seeds: int

    @property
    def configurations(self) -> Sequence[Mapping[str, Any]]:
        return self.result.configurations

    @property
    def failed(self) -> np.ndarray | None:
        failed = getattr(self.result, "failed", None)
        return None if failed is None else np.asarray(failed)[:, : self.seeds]

    def __getitem__(self, name: str) -> np.ndarray:
        return metric_array(self.result, name)[:, : self.seeds]


def _adjusted(tests: Sequence[_Test]) -> list[float]:
    """Holm's p-values over each family."""
    adjusted = np.ones(len(tests))
    for family in {test.rule.family for test in tests}:
        members = [i for i, test in enumerate(tests) if test.rule.family == family]
        adjusted[members] = stepped_down(np.array([tests[i].strongest.p for i in members]))[0]
    return adjusted.tolist()
