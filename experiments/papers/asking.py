"""What a figure of a paper is asked for, what it hands back, and the word that its rules come to."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.claims.drawing import half_width, row
from jnorm import statistics
from jnorm.statistics import Result, Rule, Verdict

Parts = dict[str, tuple[np.ndarray, np.ndarray]]
"""Pairs (images as vectors, digits) by part: train, dev, test."""


class Ask(NamedTuple):
    """What a figure gets.

    Attributes:
        size: How much is trained: quick, default or whole.
        pixels: ``pixels(standardized)`` are MNIST's parts, pixels in [0, 1] or standardized by all of them together.
        sweep: ``sweep(name, train, **options)`` is `jnorm.sweeps.sweep` with a store and these seeds.
    """

    size: str
    pixels: Callable[[bool], Parts]
    sweep: Callable[..., Any]


class Found(NamedTuple):
    """What a figure hands back.

    Attributes:
        rows: What was published beside what was measured: (what, published, measured).
        verdicts: Of the rules by which the figure is judged, corrected for each other.
        beside: Of rules that are shown and do not count.
        notes: Sentences about the sizes.
        numbers: For ``report.json``.
        arrays: What the figure shows, for its drawing and its ``.npz``.
    """

    rows: Sequence[tuple[str, str, str]]
    verdicts: Sequence[Verdict]
    beside: Sequence[Verdict]
    notes: Sequence[str]
    numbers: dict[str, Any]
    arrays: dict[str, Any]


def judged(result: Result, rules: Sequence[Rule]) -> tuple[Verdict, ...]:
    """The verdicts of rules of one family."""
    return statistics.correct([statistics.judge(result, rule) for rule in rules])


def word(verdicts: Sequence[Verdict]) -> str:
    """What the settings of all rules of a figure come to.

    - *reproduced*: all are supported;
    - *contradicted*: none is supported and one is not;
    - *reproduced in part*: some are supported and some are not;
    - *undecided* otherwise.
    """
    outcomes = [setting.verdict for verdict in verdicts for setting in verdict.settings]
    some, against = (any(one == kind for one in outcomes) for kind in ("supported", "not supported"))
    if all(one == "supported" for one in outcomes):
        return "reproduced"
    if against:
        return "reproduced in part" if some else "contradicted"
    return "undecided"


def interval(values: Any, form: str = "{:.3g}", factor: float = 1.0) -> str:
    """Mean over the runs with its 95 % interval by Student, as text; runs that are not finite are left out."""
    mean, half = band(np.asarray(values, float))
    if not np.isfinite(half):
        return form.format(factor * mean)
    low, high = (form.format(factor * end) for end in (mean - half, mean + half))
    return f"{form.format(factor * mean)} [{low}, {high}]"


def band(values: np.ndarray) -> tuple[Any, Any]:
    """Mean over the first axis, and half of its 95 % interval by Student, which a single run has none of (NaN)."""
    kept = values[np.isfinite(values.reshape(len(values), -1)).all(1)]
    if len(kept) < 2:
        return (kept[0] if len(kept) else np.nan * values[0]), np.nan * values[0]
    return kept.mean(0), half_width(kept)


def lines(axes: Any, x: Any, curves: Any, **look: Any) -> None:
    """The mean of curves [run, point] in the band of its 95 % interval."""
    mean, half = band(np.asarray(curves, float))
    axes.fill_between(x, mean - half, mean + half, color=look.get("color"), alpha=0.2, linewidth=0)
    axes.plot(x, mean, **look)


def of_arm(result: Result, name: str, **arm: Any) -> np.ndarray:
    """An array of the runs of the configuration that has these values, [run, ...]."""
    return np.asarray(result[name][row(result, arm)])


def binned(values: jax.Array, points: int) -> jax.Array:
    """Means over equal stretches of an array [steps]: [points]."""
    return values.reshape(points, -1).mean(1)
