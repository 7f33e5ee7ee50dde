"""Drawing methods compared over many settings: average ranks with what cannot be told apart, performance profiles."""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from jnorm import statistics
from jnorm._ground import checks, naming
from jnorm.plots import _runs as runs
from jnorm.plots._canvas import PALETTE
from jnorm.statistics import Result
from jnorm.statistics._keys import Places
from jnorm.statistics._runs import describe, failed_as_nan

_TESTS = ("nemenyi", "wilcoxon")


def critical_difference(
    axes: Axes, result: Result, name: str, of: str, *, best: str = "highest", test: str = "nemenyi", level: float = 0.05
) -> None:
    """Average ranks of methods along a line, best at the right, and a bar under those that are not told apart.

    The methods are the values of one hyperparameter; they are ranked in every setting of the others by the median of
    their seeds, or, where there are no others, by every seed. A run that diverged is worse than all that did not. Bars
    join methods whose ranks differ by no more than Nemenyi's critical difference, or, with ``test="wilcoxon"``, groups
    in which no two differ by Wilcoxon's signed ranks with Holm's correction over all pairs: whether two methods differ
    does not depend on the others then. Where Friedman's test finds no difference at all, one bar joins all.

    Args:
        axes: The axes to draw on, for nothing else.
        result: What `jnorm.sweeps.sweep` returns, with every method in every setting.
        name: The metric, one number a run.
        of: The hyperparameter whose values are the methods.
        best: "highest" or "lowest".
        test: "nemenyi" or "wilcoxon".
        level: Error rate over all pairs.

    Raises:
        ValueError: For unknown options or hyperparameters, fewer than two methods or two settings, a method that a
            setting lacks, a level outside (0, 1), and a metric of another shape.

    Source: Demsar 2006, figure 1; Benavoli, Corani, Mangili 2016, for the signed ranks.

    >>> from jnorm import plots
    >>> draws = np.random.default_rng(0).normal(size=(30, 5))
    >>> grid = [{"activation": phi, "task": task} for phi in ("relu", "selu", "elu") for task in range(10)]
    >>> accuracy = draws + np.repeat([0.0, 3.0, 1.0], 10)[:, None]
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(4.6, 1.8))
    ...     plots.critical_difference(axes, statistics.Runs(grid, {"accuracy": accuracy}), "accuracy", "activation")
    >>> [text.get_text() for text in axes.texts if "lu" in text.get_text()]
    ['selu  1.00', 'elu  2.20', '2.80  relu']
    >>> axes.get_xlabel().splitlines()[0]
    'average rank over 10 settings'
    """
    checks.choice("best", best, ("highest", "lowest"))
    checks.choice("test", test, _TESTS)
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    methods, table = _methods(result, name, of)
    worst = -np.inf if best == "highest" else np.inf
    if table.shape[1] > 1:
        filled, over = np.median(np.where(np.isnan(table), worst, table), 2).T, "settings"
    else:
        filled, over = np.where(np.isnan(table), worst, table)[:, 0].T, "seeds"
    scores = np.where(np.isfinite(filled), filled, np.nan)  # [setting, method]
    number, count = scores.shape
    if count < 2 or number < 2:
        raise ValueError(f"`result` must have two methods and two {over} at least; got {count} and {number}")
    friedman = statistics.friedman(scores, axis=1, over=0, best=best, diverged="worst")
    ranks, p = np.asarray(friedman.ranks, np.float64), float(friedman.f_p)
    order = np.argsort(ranks, kind="stable")
    difference = statistics.critical_difference(count, number, level=level)
    if not p <= level:
        alike: Callable[[int, int], bool] = lambda i, j: True
    elif test == "nemenyi":
        alike = lambda i, j: bool(abs(ranks[i] - ranks[j]) <= difference)
    else:
        alike = _by_signed_ranks(np.where(np.isnan(scores), _beyond(scores, best), scores), level)
    bars = _cliques(order.tolist(), alike)
    how = "Nemenyi" if test == "nemenyi" else "Wilcoxon, Holm"
    told = f"Friedman p {p:.2g}; bars: {how} at {level:g}" if p <= level else f"Friedman p {p:.2g}: no difference"
    _draw(axes, [(naming.text(methods[i]), ranks[i]) for i in order], [(ranks[i], ranks[j]) for i, j in bars])
    axes.set_xlabel(f"average rank over {number} {over}\n{told}")
    if test == "nemenyi" and difference < count - 1:
        _ruler(axes, count, difference)


def performance_profile(
    axes: Axes,
    result: Result,
    name: str,
    of: str,
    *,
    thresholds: ArrayLike | None = None,
    level: float = 0.05,
    samples: int = 2000,
) -> None:
    """The share of the runs above each threshold, over all settings, for each value of a hyperparameter.

    The band is the interval of `jnorm.statistics.stratified_bootstrap`, point by point: seeds are resampled within each
    setting of the other hyperparameters, whose scores have to be on one scale. A run that diverged is above none.

    Args:
        axes: The axes to draw on.
        result: What `jnorm.sweeps.sweep` returns, with every method in every setting.
        name: The metric, one number a run.
        of: The hyperparameter whose values are the methods.
        thresholds: Where the share is taken, by default 101 of them from the smallest score to the largest.
        level: The confidence is ``1 - level``.
        samples: Number of resamples.

    Raises:
        ValueError: For an unknown hyperparameter, more than eight methods, a method that a setting lacks, and a metric
            of another shape.

    Source: Agarwal et al. 2021.

    >>> from jnorm import plots
    >>> grid = [{"activation": phi, "task": task} for phi in ("relu", "selu") for task in (0, 1)]
    >>> result = statistics.Runs(grid, {"score": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]]})
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.performance_profile(axes, result, "score", "activation", thresholds=[0.15, 0.35, 0.55])
    >>> [(line.get_label(), line.get_ydata().tolist()) for line in axes.lines]
    [('relu', [0.75, 0.25, 0.0]), ('selu', [1.0, 1.0, 0.75])]
    """
    methods, table = _methods(result, name, of)
    if len(methods) > len(PALETTE):
        raise ValueError(f"`of` must have {len(PALETTE)} values at most, as there are no more colours; {len(methods)}")
    at = np.linspace(np.nanmin(table), np.nanmax(table), 101) if thresholds is None else np.asarray(thresholds)
    profile = partial(statistics.performance_profile, thresholds=at.astype(float), axis=(-2, -1))
    for method, scores, color in zip(methods, table, PALETTE, strict=False):
        key = jax.random.key(0)
        interval = statistics.stratified_bootstrap(key, scores, profile, axis=1, over=0, level=level, samples=samples)
        value, low, high = (np.asarray(part) for part in interval)
        axes.fill_between(at, low, high, step="post", color=color, alpha=0.18, linewidth=0)
        axes.plot(at, value, drawstyle="steps-post", color=color, label=naming.text(method))
    axes.fill_between([], [], [], color="0.4", alpha=0.35, linewidth=0, label=f"{100 * (1 - level):.4g} % interval")
    axes.set(xlabel=runs.words(name), ylabel="share of runs above", ylim=(0, 1))


def _methods(result: Result, name: str, of: str) -> tuple[list[Any], np.ndarray]:
    """The values of a hyperparameter, and the scores [value, setting of the others, seed].

    Raises ``ValueError`` where the result lacks runs, or a value one of the settings.
    """
    scores = np.asarray(failed_as_nan(result, runs.values(result, name, further=0)), np.float64)
    methods, rows = runs.places(runs.column(result, of, "of"))
    settings: list[dict[str, Any]] = []
    known = Places(settings)
    columns = [known.of({n: v for n, v in one.items() if n != of}) for one in result.configurations]
    table = np.full((len(methods), len(settings), scores.shape[1]), np.nan)
    seen = np.zeros(table.shape[:2], bool)
    for row, column, sample in zip(rows, columns, scores, strict=True):
        table[row, column], seen[row, column] = sample, True
    if not seen.all():
        row, column = np.argwhere(~seen)[0]
        where = describe(settings[column])
        raise ValueError(f"`result` must have every `{of}` in every setting; {methods[row]!r} is missing at {where}")
    return methods, table


def _beyond(scores: np.ndarray, best: str) -> float:
    """A score worse than all others, for runs that diverged."""
    low, high = np.nanmin(scores), np.nanmax(scores)
    return float(low - (high - low) - 1 if best == "highest" else high + (high - low) + 1)


def _by_signed_ranks(scores: np.ndarray, level: float) -> Callable[[int, int], bool]:
    """Whether two methods are not told apart, pairs of all of them corrected together."""
    pairs = list(combinations(range(scores.shape[1]), 2))
    left, right = (scores[:, [pair[side] for pair in pairs]] for side in (0, 1))
    p = np.asarray(statistics.holm(statistics.wilcoxon(left, right, axis=0).p, axis=0))
    apart = {pair for pair, value in zip(pairs, p, strict=True) if value <= level}
    return lambda i, j: (min(i, j), max(i, j)) not in apart


def _cliques(order: list[int], alike: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """First and last of the longest runs along the order in which all pairs are alike, of two and more.

    >>> _cliques([2, 0, 1], lambda i, j: {i, j} != {1, 2})
    [(2, 0), (0, 1)]
    """
    ends = []
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and all(alike(order[k], order[end + 1]) for k in range(start, end + 1)):
            end += 1
        ends.append(end)
    return [
        (order[start], order[end])
        for start, end in enumerate(ends)
        if end > start and (start == 0 or end > ends[start - 1])
    ]


def _draw(axes: Axes, ranked: list[tuple[str, float]], bars: list[tuple[float, float]]) -> None:
    """The axis of ranks, a stem with a name for each method, best first, and the bars."""
    count = len(ranked)
    axes.plot([1, count], [0, 0], color="black", linewidth=0.8)
    for tick in range(1, count + 1):
        axes.plot([tick, tick], [0, 0.18], color="black", linewidth=0.8)
        axes.text(tick, 0.3, str(tick), ha="center", va="bottom", fontsize=7)
    first = 0.6 + 0.35 * len(bars)  # names stand below the bars
    right = (count + 1) // 2
    for place, (label, rank) in enumerate(ranked):
        side, level = ("left", place) if place < right else ("right", count - 1 - place)
        depth = -(first + 0.75 * level)
        edge, gap = (1 - 0.06 * count, -0.02 * count) if side == "left" else (1.06 * count, 0.02 * count)
        axes.plot([rank, rank, edge], [0, depth, depth], color="0.25", linewidth=0.8, solid_capstyle="butt")
        words = f"{label}  {rank:.2f}" if side == "left" else f"{rank:.2f}  {label}"
        axes.text(edge + gap, depth, words, ha=side, va="center")
    for level, (low, high) in enumerate(bars):
        depth = -(0.35 + 0.35 * level)
        axes.plot([low - 0.03, high + 0.03], [depth, depth], color="black", linewidth=2.6, solid_capstyle="butt")
    lowest = -(first + 0.75 * (max(right, count - right) - 1) + 0.5)
    axes.set(xlim=(count + 0.07 * count, 1 - 0.07 * count), ylim=(lowest, 1.0), yticks=[], xticks=[])
    axes.spines[:].set_visible(False)


def _ruler(axes: Axes, count: int, difference: float) -> None:
    """The critical difference as a length above the axis, from its left end."""
    axes.plot([count, count - difference], [1.4, 1.4], color="black", linewidth=0.8)
    for end in (count, count - difference):
        axes.plot([end, end], [1.28, 1.52], color="black", linewidth=0.8)
    axes.text(count - difference / 2, 1.6, f"CD = {difference:.3g}", ha="center", va="bottom", fontsize=7)
    axes.set_ylim(top=2.4)
