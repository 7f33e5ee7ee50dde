"""From runs and a rule to a verdict, and from many verdicts to ones that hold together.

>>> rng = np.random.default_rng(0)
>>> b = rng.normal(0.90, 0.01, 32)
>>> a = b + rng.normal(0.03, 0.01, 32)
>>> rule = Rule(name="a beats b", claim="greater", effect=0.01, diverged="exclude")
>>> print(compare(a, b, rule, axis=0))
a beats b: supported
  two-sided Student's t-test of paired runs at level 0.05; null: the mean of a - b is 0.01; in brackets the 95 % \
interval
  the only setting: supported, 0.03286 [0.02932, 0.03639], p 2.9e-14, 32 and 32 runs
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jnorm.statistics._arms import Matched, matched
from jnorm.statistics._evidence import Evidence, weigh
from jnorm.statistics._holm import stepped_down
from jnorm.statistics._plans import planned
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import Result, describe, failed_as_nan, metric_array
from jnorm.statistics._samples import reals_last
from jnorm.statistics._verdicts import Setting, Verdict


def judge(result: Result, rule: Rule) -> Verdict:
    """The verdict of a rule on a result: `compare` of the arms that the rule names, in every setting of the others.

    Settings are the values of the hyperparameters that neither arm names: reduce those that should not be settings by
    `tuned` or `averaged` before. The settings of one rule are corrected for each other; `correct` does so over a whole
    family.

    Args:
        result: What ``jnorm.sweeps.sweep`` returns, `Runs`, or any other `Result`; runs that it calls failed have
            diverged.
        rule: The rule.

    Returns:
        The verdict; it prints as text.

    Raises:
        ValueError: For arms that select nothing or too much, a setting that only one arm has, and a metric that is
            missing or has more than one number a run after ``rule.transform``.

    >>> from jnorm.statistics import Runs
    >>> accuracy = np.array([[0.90, 0.91, 0.92, 0.90], [0.95, 0.97, 0.95, 0.96]])
    >>> result = Runs([{"phi": "relu"}, {"phi": "selu"}], {"accuracy": accuracy})
    >>> rule = Rule(metric="accuracy", a={"phi": "selu"}, b={"phi": "relu"}, claim="greater", effect=0.01, diverged=0.1)
    >>> judge(result, rule).verdict
    'supported'
    """
    arms = arms_of(result, rule)
    return _compared(arms.a, arms.b, rule, axis=1, settings=arms.rows.settings, least=arms.rounding)


class Arms(NamedTuple):
    """The runs that a rule compares.

    Attributes:
        a: Runs of arm a, ``[settings, seeds]``; those that the result calls failed are NaN.
        b: Runs of arm b.
        rows: The settings, and the configurations that make the arms.
        rounding: The least relative rounding of the runs: of what a transform began with.
    """

    a: np.ndarray
    b: np.ndarray
    rows: Matched
    rounding: float


def arms_of(result: Result, rule: Rule) -> Arms:
    """The arms that a rule names in a result.

    Args:
        result: What `judge` takes.
        rule: The rule.

    Returns:
        The runs of both arms in every setting.

    Raises:
        ValueError: As `judge`.
    """
    stored = metric_array(result, rule.metric)
    array = stored if rule.transform is None else np.asarray(rule.transform(stored))
    if array.ndim != 2 or len(array) != len(result.configurations):
        raise ValueError(
            f"`{rule.metric}` must be one number a run, [configurations, seeds]; got {array.shape}: "
            "reduce other axes by the rule's `transform`"
        )
    array, rows = failed_as_nan(result, array), matched(result, rule.a, rule.b, rule.own)
    a, rounding = array[rows.a], 0.0 if array is stored else relative_rounding(stored)
    b = array[rows.b] if isinstance(rule.b, Mapping) else np.full(a.shape, float(rule.b))
    return Arms(a, b, rows, rounding)


def compare(
    x: ArrayLike, y: ArrayLike, rule: Rule, *, axis: int, settings: Sequence[Mapping[str, Any]] | None = None
) -> Verdict:
    """The verdict of a rule on two arrays, the metric of its arms a and b.

    A comparison of fewer than two runs is undecided. Without any spread Student's interval has no width and proves
    nothing by itself: there the sign test decides, where n equal differences have probability 2^-n on one side. Double
    precision, on the host; what is random has a fixed key.

    Args:
        x: The metric of arm a; axes other than ``axis`` are settings.
        y: The metric of arm b, of the same shape where runs are paired.
        rule: The rule.
        axis: The axis of the runs.
        settings: Hyperparameters of each setting, for the text.

    Returns:
        The verdict; it prints as text.

    Raises:
        TypeError: For arrays that do not hold real numbers.
        ValueError: For shapes that do not match, an axis that the arrays do not have, a wrong number of settings, and
            arrays that hold nothing.

    Warns:
        UserWarning: Runs are excluded, and one arm diverged more often than the other.

    >>> print(compare([0.5, 0.9], [0.4, 0.5], Rule(claim="greater", effect=0.0, diverged="exclude"), axis=0).verdict)
    undecided
    """
    return _compared(x, y, rule, axis=axis, settings=settings)


def _compared(
    x: ArrayLike,
    y: ArrayLike,
    rule: Rule,
    *,
    axis: int,
    settings: Sequence[Mapping[str, Any]] | None,
    least: float = 0.0,
) -> Verdict:
    """`compare`, of arrays with at least some relative rounding."""
    (a, a_rounding), (b, b_rounding) = as_runs("x", x, axis), as_runs("y", y, axis)
    if a.shape[0] != b.shape[0] or (rule.paired and a.shape != b.shape):
        raise ValueError(f"`x` and `y` must have one shape where runs are paired; got {np.shape(x)} and {np.shape(y)}")
    if settings is None:
        settings = [{"setting": i} for i in range(len(a))] if len(a) > 1 else [{}]
    if len(settings) != len(a):
        raise ValueError(f"`settings` must describe {len(a)} settings; got {len(settings)}")
    rounding = max(a_rounding, least), max(b_rounding, least)
    evidence = weigh(a, b, rule, rounding=rounding, settings=settings)
    if rule.diverged == "exclude":
        _warn_of_selection(evidence, (a.shape[1], b.shape[1]))
    return Verdict(rule, tuple(_family([(rule, part) for part in evidence])))


def correct(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts with p-values corrected over each ``rule.family``, every setting a member, by Holm's procedure.

    All statements hold together but for an error rate of ``level``; what was corrected before is corrected anew. Power
    and sizes are those at the level that each statement has to meet.

    Args:
        verdicts: What `judge` or `compare` returned.

    Returns:
        Verdicts in the same order.

    >>> rule = Rule(claim="greater", effect=0.0, diverged="exclude")
    >>> alone = compare([1.0, 1.1, 0.8, 0.9, 1.2], 0.55 * np.ones(5), rule, axis=0)
    >>> together = correct([alone] * 20)
    >>> alone.verdict, together[0].verdict, together[0].uncorrected
    ('supported', 'undecided', 'supported')
    """
    return together([(verdict.rule, verdict.settings) for verdict in verdicts])


def together(tests: Sequence[tuple[Rule, Sequence[Evidence]]]) -> tuple[Verdict, ...]:
    """The verdicts of rules on their evidence, decided together: `correct`, of what has not been decided yet.

    Args:
        tests: Each rule, with its evidence in every setting.

    Returns:
        A verdict for each rule.
    """
    members: dict[str, list[tuple[int, int]]] = {}
    for i, (rule, evidence) in enumerate(tests):
        members.setdefault(rule.family, []).extend((i, j) for j in range(len(evidence)))
    settings: list[dict[int, Setting]] = [{} for _ in tests]
    for places in members.values():
        family = _family([(tests[i][0], tests[i][1][j]) for i, j in places])
        for (i, j), setting in zip(places, family, strict=True):
            settings[i][j] = setting
    return tuple(Verdict(rule, tuple(s.values())) for (rule, _), s in zip(tests, settings, strict=True))


def _family(members: Sequence[tuple[Rule, Evidence]]) -> list[Setting]:
    """The settings of one family, decided together."""
    adjusted, divisors = stepped_down(np.array([evidence.p for _, evidence in members]))
    return [
        decided(rule, evidence, float(p), rule.level / float(divisor))
        for (rule, evidence), p, divisor in zip(members, adjusted, divisors, strict=True)
    ]


def decided(rule: Rule, evidence: Evidence, adjusted_p: float, level: float) -> Setting:
    """The setting that evidence makes, once all that is tested together is known.

    Args:
        rule: The rule.
        evidence: The evidence in one setting; of a setting that was decided before, only its evidence counts.
        adjusted_p: Its p-value, corrected over the family.
        level: The level that its own p-value has to meet, for the power.

    Returns:
        The setting.

    >>> rule = Rule(claim="greater", effect=0.1, diverged="exclude")
    >>> evidence = Evidence({}, 0.2, (0.12, 0.28), 0.95, 0.02, (8, 8), (0, 0), 0.1, (0.1, 0.1))
    >>> print(decided(rule, evidence, adjusted_p=0.06, level=0.01).verdict)
    undecided
    """
    return Setting(
        **{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__},
        verdict=_outcome(rule, evidence.effect, adjusted_p),
        uncorrected=_outcome(rule, evidence.effect, evidence.p),
        adjusted_p=adjusted_p,
        **planned(rule, evidence, level)._asdict(),
    )


def _outcome(rule: Rule, effect: float, p: float) -> str:
    if not p <= rule.level:
        return "undecided"
    holds = {"greater": effect > rule.effect, "less": effect < -rule.effect, "equal": abs(effect) < rule.effect}
    return "supported" if holds[rule.claim] else "not supported"


def as_runs(name: str, x: ArrayLike, axis: int) -> tuple[np.ndarray, float]:
    """The runs of each setting [settings, runs] in double precision, and the rounding of the type they came in."""
    moved = reals_last(name, x, axis)
    return moved.reshape(-1, moved.shape[-1]), relative_rounding(np.asarray(x))


def relative_rounding(array: np.ndarray) -> float:
    """The relative rounding of the type in which numbers were computed.

    Args:
        array: Numbers. Doubles that single precision holds too are taken for single ones, widened on their way.

    Returns:
        The rounding; 0 of whole numbers.

    >>> f"{relative_rounding(np.float32([0.1, 0.2]).astype(float)):.1e}"
    '1.2e-07'
    """
    if array.dtype.kind in "iu":
        return 0.0
    rounding = float(jax.numpy.finfo(array.dtype).eps)
    finite = array[np.isfinite(array)]
    with np.errstate(over="ignore"):
        if array.dtype == np.float64 and np.all(finite == finite.astype(np.float32)):
            whole = np.all(finite == np.floor(finite))
            rounding = 0.0 if whole else float(np.finfo(np.float32).eps)
    return rounding


def _warn_of_selection(evidence: Sequence[Evidence], runs: tuple[int, int]) -> None:
    """Warn where exclusion selects: the survivors of the arm that diverges more often are its better runs."""
    worst = max(evidence, key=lambda e: abs(e.diverged[0] / runs[0] - e.diverged[1] / runs[1]))
    rates = [f"{lost} of {all_} runs of {arm}" for lost, all_, arm in zip(worst.diverged, runs, "ab", strict=True)]
    if worst.diverged[0] / runs[0] != worst.diverged[1] / runs[1]:
        warnings.warn(
            f"`diverged='exclude'` compares survivors of unequal selection ({describe(worst.where)}: {rates[0]} "
            f'diverged and {rates[1]}); let a diverged run count, as "lowest", "highest" or a number',
            stacklevel=4,
        )
