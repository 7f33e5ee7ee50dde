"""Average ranks of the networks, their tests, the published table, and the rule by which its order is judged.

The rule was written before anything was trained:

- *reproduced*: Spearman's correlation of our average ranks of the seven networks with the published ones over all 121
  sets is at least .714, which chance reaches in 5 % of the orders of seven, and snn has the best average rank;
- *contradicted*: the correlation is 0 or less, or a network is better than snn by Wilcoxon's signed ranks over the
  sets, corrected after Holm, at the level .05;
- *undecided* otherwise.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from experiments.uci.networks import KINDS
from jnorm import statistics

LEVEL = 0.05
LEAST = 0.714
"""The least correlation of an order that is reproduced: a one-sided p of .05 for seven."""


class Table(NamedTuple):
    """What was published.

    Attributes:
        source: Where.
        ranks: Average ranks of the networks over 121 sets.
        accuracy: Test accuracies of the networks by set, NaN where there is none.
    """

    source: str
    ranks: np.ndarray
    accuracy: dict[str, np.ndarray]


def published() -> Table:
    """The paper's tables 1 and A11, networks in the order of `KINDS`."""
    given = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    place = [given["methods"].index(kind) for kind in KINDS]
    ranks = np.array([4 + given["published_rank_differences"][kind] for kind in KINDS])
    accuracy = {name: np.array(row, float)[place] for name, row in given["accuracy"].items()}
    return Table(given["source"], ranks, accuracy)


def judged(accuracy: np.ndarray, kinds: Sequence[str]) -> dict[str, Any]:
    """Average ranks and their tests of accuracies [set, network], in which NaN is worse than all others.

    The average ranks and those less their mean; Friedman's test; for each network but snn Wilcoxon's signed ranks
    against snn, p corrected after Holm; the difference of average ranks that counts (Nemenyi).
    """
    accuracy = np.asarray(accuracy, np.float64)
    friedman = statistics.friedman(accuracy, axis=1, over=0, diverged="worst")
    found: dict[str, Any] = {
        "ranks": dict(zip(kinds, np.asarray(friedman.ranks, float).tolist(), strict=True)),
        "chi2": float(friedman.chi2),
        "p": float(friedman.p),
        "f": float(friedman.f),
        "f_p": float(friedman.f_p),
        "critical_difference": statistics.critical_difference(len(kinds), len(accuracy), level=LEVEL),
    }
    if "snn" in kinds:
        filled = np.where(np.isnan(accuracy), -1, accuracy)  # below any accuracy
        others = [i for i, kind in enumerate(kinds) if kind != "snn"]
        first = filled[:, [list(kinds).index("snn")]]
        test = statistics.wilcoxon(np.repeat(first, len(others), 1), filled[:, others], axis=0)
        p = np.asarray(statistics.holm(test.p, axis=0), float)
        better = [bool(found["ranks"][kinds[i]] < found["ranks"]["snn"]) for i in others]
        found["against_snn"] = {
            kinds[i]: {"p": float(test.p[j]), "holm": float(p[j]), "better": better[j]} for j, i in enumerate(others)
        }
    return found


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation: that of the ranks, those that are equal sharing theirs; NaN where one is constant.

    >>> round(spearman(np.array([0.1, 0.2, 0.3]), np.array([1.0, 3.0, 2.0])), 6)
    0.5
    """
    if np.size(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(spearmanr(np.ravel(x), np.ravel(y)).statistic)


def verdict(found: Mapping[str, Any], kinds: Sequence[str], table: Table) -> dict[str, Any]:
    """The rule at the top, applied to what `judged` found; None where not all of the seven networks are there."""
    if set(kinds) != set(KINDS):
        return {"verdict": None, "correlation": None}
    ranks = np.array([found["ranks"][kind] for kind in KINDS])
    correlation = spearman(ranks, table.ranks)
    beaten = [kind for kind, test in found["against_snn"].items() if test["better"] and test["holm"] <= LEVEL]
    first = int(np.argmin(ranks)) == KINDS.index("snn") and (ranks == ranks.min()).sum() == 1
    if correlation <= 0 or beaten:
        word = "contradicted"
    else:
        word = "reproduced" if correlation >= LEAST and first else "undecided"
    best = KINDS[int(np.argmin(ranks))]
    return {"verdict": word, "correlation": correlation, "first": best, "better_than_snn": beaten}


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Spearman's correlations of accuracies [set, network] with the published ones, where both are there.

    ``overall`` over all sets and networks, which mostly says that a hard set is hard; ``within`` of what is left when
    the mean over the networks is taken off each set, which says whether the same networks are better.
    """
    both = np.isfinite(ours) & np.isfinite(theirs)
    rows = both.any(1)
    pair = [a[rows] for a in (ours, theirs)]
    less = [a - np.mean(a, 1, where=both[rows], keepdims=True) for a in pair]
    return {"overall": spearman(ours[both], theirs[both]), "within": spearman(*(a[both[rows]] for a in less))}
