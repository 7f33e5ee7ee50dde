"""Who goes on in successive halving: the synchronous rule, whatever the order in which results come in."""

import itertools

import numpy as np
import pytest

from jnorm.sweeps import _rungs as rungs


def synchronous(final, at, keep, maximize):
    """The rule itself: each rung waits for all, the best go on. Returns who is at which rung in the end."""
    alive = list(range(len(final)))
    reached = np.zeros(len(final), int)
    for k, more in enumerate(keep[1:]):
        scored = [c for c in alive if not np.isnan(final[c, k])]
        scored.sort(key=lambda c: (-final[c, k] if maximize else final[c, k], c))
        alive = scored[:more]
        reached[alive] = k + 1
    return reached


@pytest.mark.parametrize("maximize", [False, True])
def test_what_is_certain_is_right_and_all_is_certain_in_the_end(maximize):
    """Random scores, with ties, NaN and infinite ones, and runs that end early, come in in random order."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        count, eta, segments = rng.integers(1, 14), rng.integers(2, 5), rng.integers(1, 12)
        at = rungs.budgets(segments, int(rng.integers(1, segments + 1)), eta)
        keep = rungs.sizes(count, len(at), eta)
        final = rng.integers(0, 6, (count, len(at))).astype(float)
        final[rng.random(final.shape) < 0.15] = np.nan
        final[rng.random(final.shape) < 0.1] = np.inf
        stops = np.where(rng.random(count) < 0.2, rng.integers(1, segments + 1, count), segments)
        for c, k in itertools.product(range(count), range(len(at))):  # what has ended stays what it was
            if k and at[k - 1] >= stops[c]:
                final[c, k] = final[c, k - 1]
        expected = synchronous(final, at, keep, maximize)
        position, scores, ended = np.zeros(count, int), np.full(final.shape, np.nan), np.zeros(count, bool)
        while True:
            now = rungs.standing(position, scores, ended, at, keep, maximize=maximize)
            assert (now.rung <= expected).all()
            lost = (now.rung == expected) & (expected < len(at) - 1)
            assert (~now.out | lost).all()
            may = np.flatnonzero(~now.out & ~ended & (position < np.array(at)[now.rung]))
            if not len(may):
                break
            c = rng.choice(may)
            position[c] += 1
            ended[c] = position[c] == stops[c] < segments
            for k in range(len(at)):
                if position[c] == at[k] or (ended[c] and at[k] > position[c]):
                    scores[c, k] = final[c, k]
        assert (now.rung == expected).all()
        assert (now.out == (expected < len(at) - 1)).all()


def test_what_enough_others_have_beaten_is_out_before_the_rung_is_full():
    at, keep = (1, 2), rungs.sizes(4, 2, 4)
    scores = np.array([[0.3, np.nan], [0.1, np.nan], [np.nan, np.nan], [np.nan, np.nan]])
    now = rungs.standing(np.array([1, 1, 0, 0]), scores, np.zeros(4, bool), at, keep, maximize=False)
    assert now.out.tolist() == [True, False, False, False]
    assert now.rung.tolist() == [0, 0, 0, 0]


def test_costs_add_up():
    assert rungs.cost(64, (1, 4, 16), 4) == 64 * 1 + 16 * 3 + 4 * 12
    assert rungs.cost(1, (2, 8, 10), 4) == 10
    costs = [rungs.cost(n, (1, 3, 9, 27), 3) for n in range(1, 100)]
    assert sorted(costs) == costs
