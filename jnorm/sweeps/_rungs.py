"""Successive halving on paper: budgets of its rungs, how many go on from each, and who that is for certain.

Who goes on is decided by the synchronous rule of Jamieson and Talwalkar (2016), in which a rung waits for all of its
runs; but a run is let go, or goes on, as soon as no result that is still to come can change that.
"""

from typing import NamedTuple

import numpy as np


class Standing(NamedTuple):
    """What is certain of each run.

    Attributes:
        rung: the rung that it may train to.
        out: whether it has lost.
    """

    rung: np.ndarray
    out: np.ndarray


def budgets(segments: int, first: int, eta: int) -> tuple[int, ...]:
    """Segments that a run has trained at each rung: ``first * eta**k``, and all at the last.

    >>> budgets(27, 1, 3), budgets(10, 2, 4)
    ((1, 3, 9, 27), (2, 8, 10))
    """
    found = [first]
    while found[-1] < segments:
        found.append(min(found[-1] * eta, segments))
    return tuple(found)


def sizes(count: int, rungs: int, eta: int) -> tuple[int, ...]:
    """How many of ``count`` runs are at each rung: one in ``eta`` goes on, and at least one.

    >>> sizes(30, 4, 3)
    (30, 10, 3, 1)
    """
    return tuple(max(1, count // eta**k) for k in range(rungs))


def cost(count: int, at: tuple[int, ...], eta: int) -> int:
    """Segments in all, if nothing diverges or ends early.

    >>> cost(27, (1, 3, 9), 3)
    63
    """
    steps = np.diff([0, *at])
    return int(steps @ np.array(sizes(count, len(at), eta)))


def standing(
    position: np.ndarray,
    scores: np.ndarray,
    ended: np.ndarray,
    at: tuple[int, ...],
    keep: tuple[int, ...],
    *,
    maximize: bool,
) -> Standing:
    """What is certain of runs that have trained ``position`` segments and scored ``scores[run, rung]`` on their way.

    Runs that have ``ended`` early train no more: where they go on, they are at the next rung at once. Of equal scores
    that of the smaller number is ahead; runs that diverged, with a score of NaN, never go on. ``at`` and ``keep`` are
    budgets and sizes of the rungs.
    """
    count = len(position)
    rung, out = np.zeros(count, int), np.zeros(count, bool)
    for k, more in enumerate(keep[1:]):
        there = ~out & (rung == k) & ((position >= at[k]) | ended)
        merit = np.where(np.isnan(scores[:, k]), -np.inf, scores[:, k] if maximize else -scores[:, k])
        # Those that diverged come after all others, infinite scores among them.
        order = np.lexsort((np.arange(count), -merit, np.isnan(scores[:, k]), ~there))
        place = np.empty(count, int)
        place[order] = np.arange(count)
        coming = min(keep[k], int((~out).sum())) - int(there.sum())  # each could be ahead of all that are there
        lost = there & (np.isnan(scores[:, k]) | (place >= more))
        rung[there & ~lost & (place + coming < more)] = k + 1
        out |= lost
    return Standing(rung, out)
