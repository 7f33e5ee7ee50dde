"""Verdicts on claims about two arms, by a rule that is written down before the data are seen.

With theta the mean (or what the method estimates) of a - b and an interval for it:

- *supported*: the interval lies beyond the smallest effect that matters, in the claimed direction;
- *not supported*: it lies on the other side of that effect - inside it, or against the claim;
- *undecided*: it straddles; the power of the experiment and the size that would decide are given;
- *mixed*: of several named settings, some support the claim and others do not.

A claim of equality is supported where two one-sided tests, each at ``level``, place theta inside the margin (the
``1 - 2 level`` interval lies inside), and not supported where the ``1 - level`` interval lies outside.

>>> rng = np.random.default_rng(0)
>>> b = rng.normal(0.90, 0.01, 32)
>>> a = b + rng.normal(0.03, 0.01, 32)
>>> rule = Rule(name="a beats b", claim="greater", effect=0.01, diverged="exclude")
>>> print(compare(a, b, rule, axis=0))
a beats b: supported
  the only setting: supported, a - b = 0.03286 [0.02932, 0.03639], p 2.9e-14, 32 and 32 runs
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jnorm.statistics import _paired as paired
from jnorm.statistics import _power as power
from jnorm.statistics._evidence import weigh
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import Result, describe, marked, matched, values


@dataclass(frozen=True)
class Setting:
    """The comparison in one setting; ``a - b`` in units of the metric."""

    where: Mapping[str, Any]
    verdict: str  # corrected over the family
    uncorrected: str
    effect: float
    interval: tuple[float, float]  # at 1 - level; for equality at 1 - 2 level; not corrected
    p: float
    adjusted_p: float  # Holm's
    runs: tuple[int, int]  # of a and b that were compared
    diverged: tuple[int, int]  # of a and b, whatever was done with them
    power: float  # to decide, were the effect the estimated one: with these runs, at the corrected level
    detectable: (
        float  # the distance from the smallest effect that matters that these runs would tell with the target power
    )
    size: float  # runs of each arm that would decide with the target power, were the effect the estimated one
    deviation: float  # of the differences, or of single runs where unpaired

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


def judge(result: Result, rule: Rule) -> Verdict:
    """The verdict of a rule on a result: `compare` of the arms that the rule names, in every setting of the others.

    ``result`` is any `Result`; runs that it calls failed have diverged. Settings are the values of the hyperparameters
    that neither arm names: reduce those that should not be settings by `tuned` or `averaged` before. The settings of
    one rule are corrected for each other; `correct` does so over a whole family.

    Raises ``ValueError`` for arms that do not match (see `matched`), and metrics that are missing or have more than one
    number a run after ``rule.transform``.

    >>> from jnorm.statistics._runs import Runs
    >>> accuracy = np.array([[0.90, 0.91, 0.92, 0.90], [0.95, 0.97, 0.95, 0.96]])
    >>> result = Runs([{"phi": "relu"}, {"phi": "selu"}], {"accuracy": accuracy})
    >>> rule = Rule(metric="accuracy", a={"phi": "selu"}, b={"phi": "relu"}, claim="greater", effect=0.01, diverged=0.1)
    >>> judge(result, rule).verdict
    'supported'
    """
    array = values(result, rule.metric)
    array = array if rule.transform is None else np.asarray(rule.transform(array))
    if array.ndim != 2 or len(array) != len(result.configurations):
        raise ValueError(
            f"`{rule.metric}` must be one number a run, [configurations, seeds]; got {array.shape}: "
            "reduce other axes by the rule's `transform`"
        )
    array, rows = marked(result, array), matched(result, rule.a, rule.b)
    return compare(array[rows.a], array[rows.b], rule, axis=1, settings=rows.settings)


def compare(
    x: ArrayLike, y: ArrayLike, rule: Rule, *, axis: int, settings: Sequence[Mapping[str, Any]] | None = None
) -> Verdict:
    """The verdict of a rule on two arrays, the metric of its arms a and b; ``axis`` counts the runs.

    Other axes are settings, described by ``settings``. A comparison of fewer than two runs is undecided. Without any
    spread Student's interval has no width and proves nothing by itself: there the sign test decides, where n equal
    differences have probability 2^-n on one side. Double precision, on the host; a bootstrap has a fixed key.

    Raises ``ValueError`` for shapes that do not match, an axis that the arrays do not have, and a wrong number of
    settings.

    >>> print(compare([0.5, 0.9], [0.4, 0.5], Rule(claim="greater", effect=0.0, diverged="exclude"), axis=0).verdict)
    undecided
    """
    (a, a_rounding), (b, b_rounding) = _runs("x", x, axis), _runs("y", y, axis)
    if a.shape[0] != b.shape[0] or (rule.paired and a.shape != b.shape):
        raise ValueError(f"`x` and `y` must have one shape where runs are paired; got {np.shape(x)} and {np.shape(y)}")
    if settings is None:
        settings = [{"setting": i} for i in range(len(a))] if len(a) > 1 else [{}]
    if len(settings) != len(a):
        raise ValueError(f"`settings` must describe {len(a)} settings; got {len(settings)}")
    found = weigh(a, b, rule, rounding=max(a_rounding, b_rounding))
    done = [
        Setting(
            where=where,
            verdict="",
            uncorrected=_outcome(rule, found.effect[i], found.p[i], rule.level),
            effect=float(found.effect[i]),
            interval=(float(found.low[i]), float(found.high[i])),
            p=float(found.p[i]),
            adjusted_p=float(found.p[i]),
            runs=(int(found.runs[0, i]), int(found.runs[1, i])),
            diverged=(int(np.sum(~np.isfinite(a[i]))), int(np.sum(~np.isfinite(b[i])))),
            power=math.nan,
            detectable=math.nan,
            size=math.nan,
            deviation=float(found.deviation[i]),
        )
        for i, where in enumerate(settings)
    ]
    return correct([Verdict(rule, tuple(done))])[0]


def correct(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts with p-values corrected by Holm's procedure over each ``rule.family``, every setting a member.

    All statements hold together but for an error rate of ``level``; what was corrected before is corrected anew. Power
    and sizes are those at the level that each statement has to meet.

    >>> rule = Rule(claim="greater", effect=0.0, diverged="exclude")
    >>> one = compare([1.0, 1.1, 0.8, 0.9, 1.2], 0.55 * np.ones(5), rule, axis=0)
    >>> many = correct([one] * 20)
    >>> one.verdict, many[0].verdict, many[0].uncorrected
    ('supported', 'undecided', 'supported')
    """
    members: dict[str, list[tuple[int, int]]] = {}
    for i, verdict in enumerate(verdicts):
        members.setdefault(verdict.rule.family, []).extend((i, j) for j in range(len(verdict.settings)))
    new: list[list[Setting]] = [list(verdict.settings) for verdict in verdicts]
    for places in members.values():
        p = np.array([new[i][j].p for i, j in places])
        with jax.enable_x64(True):
            adjusted = np.asarray(_holm()(p))
        divisor = np.empty(len(p))
        divisor[np.argsort(p, kind="stable")] = np.arange(len(p), 0, -1)
        for (i, j), q, share in zip(places, adjusted, divisor, strict=True):
            rule, setting = verdicts[i].rule, new[i][j]
            outcome = _outcome(rule, setting.effect, q, rule.level)
            new[i][j] = replace(
                setting, verdict=outcome, adjusted_p=float(q), **_plan(rule, setting, rule.level / share)
            )
    return tuple(Verdict(verdict.rule, tuple(s)) for verdict, s in zip(verdicts, new, strict=True))


@cache
def _holm() -> Callable[[np.ndarray], jax.Array]:
    """One program for a size of family, instead of its dozen operations."""
    return jax.jit(partial(paired.holm, axis=0))


def _runs(name: str, x: ArrayLike, axis: int) -> tuple[np.ndarray, float]:
    """The runs of each setting [settings, runs] in double precision, and the rounding of the type they came in."""
    array = np.asarray(x)
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"`axis` must satisfy {-array.ndim} <= axis < {array.ndim} for `{name}`; got {axis}")
    rounding = float(jax.numpy.finfo(array.dtype).eps) if jax.numpy.issubdtype(array.dtype, np.floating) else 0.0
    if array.dtype.kind in "cOSU" or array.size == 0:
        raise ValueError(f"`{name}` must hold real numbers; got dtype {array.dtype} and shape {array.shape}")
    moved = np.moveaxis(array, axis, -1).astype(np.float64)
    return moved.reshape(-1, moved.shape[-1]), max(rounding, float(np.finfo(np.float64).eps))


def _outcome(rule: Rule, effect: float, p: float, level: float) -> str:
    if not p <= level:
        return "undecided"
    holds = {"greater": effect > rule.effect, "less": effect < -rule.effect, "equal": abs(effect) < rule.effect}
    return "supported" if holds[rule.claim] else "not supported"


def _together(outcomes: Sequence[str]) -> str:
    if len(set(outcomes)) == 1:
        return outcomes[0]
    return "mixed" if {"supported", "not supported"} <= set(outcomes) else "undecided"


def _plan(rule: Rule, setting: Setting, level: float) -> dict[str, Any]:
    """Power, detectable distance and deciding size at a level, for the estimated effect and deviation."""
    n, arms = 2 / (1 / max(setting.runs[0], 1) + 1 / max(setting.runs[1], 1)), 1 if rule.paired else 2
    scale = setting.deviation
    options: dict[str, Any] = {"level": level, "arms": arms}
    if min(setting.runs) < 2:
        return {}
    if scale == 0:
        return {"power": float(setting.p <= level), "detectable": 0.0, "size": 1.0 + math.ceil(-math.log2(level))}
    detectable = scale * power.detectable(n, target=rule.target, **options)
    if rule.claim == "equal" and abs(setting.effect) < rule.effect:
        pair = setting.effect / scale, rule.effect / scale
        size = power.equivalence_size(*pair, target=rule.target, **options)
        return {"power": power.equivalence_power(*pair, n, **options), "detectable": detectable, "size": size}
    bar = {"greater": rule.effect, "less": -rule.effect, "equal": math.copysign(rule.effect, setting.effect)}
    distance = abs(setting.effect - bar[rule.claim]) / scale
    size = power.sample_size(distance, target=rule.target, **options)
    return {"power": power.power(distance, n, **options), "detectable": detectable, "size": size}
