"""The course of a search by successive halving: which run is in which lane, and what is known of all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from jnorm.sweeps import _rungs as rungs
from jnorm.sweeps._rungs import Standing

Arrays = dict[str, np.ndarray]
FREE = -1


class Rows(Protocol):
    """Where runs are trained: `jnorm.sweeps._lanes.Rows`."""

    def start(self, rows: np.ndarray, traced: Arrays) -> None:
        """Begin new runs in some rows."""

    def put(self, rows: np.ndarray, traced: Arrays, carried: Arrays) -> None:
        """Go on with others in some rows."""

    def advance(self) -> None:
        """One more segment of all rows."""

    def finish(self) -> Mapping[str, Any]:
        """What the runs would return now."""

    def carried(self) -> Arrays:
        """What all rows carry."""


class Plateau(NamedTuple):
    """When a run counts as finished, and gives its lane back: after ``segments`` without a gain of more than ``delta``.

    Attributes:
        segments: how many.
        delta: over its best score so far.
    """

    segments: int
    delta: float = 0.0


NO_PLATEAU = Plateau(0)


@dataclass(frozen=True)
class Rules:
    """How a search is decided.

    Attributes:
        at: segments at each rung.
        keep: how many configurations are at each rung.
        score: the output that is compared.
        maximize: whether the largest are best.
        patience: segments without a gain after which a configuration has ended; 0 for never.
        delta: what a gain exceeds.
    """

    at: tuple[int, ...]
    keep: tuple[int, ...]
    score: str
    maximize: bool
    patience: int
    delta: float


@dataclass
class Known:
    """What is known of all configurations.

    Attributes:
        position: segments that each has trained.
        scores: [configuration, rung].
        ended: those that train no more, as they have come to a plateau.
        best: the best score that counted as a gain.
        since: segments since then.
        lanes: the configuration in each lane, `FREE` for none.
    """

    position: np.ndarray
    scores: np.ndarray
    ended: np.ndarray
    best: np.ndarray
    since: np.ndarray
    lanes: np.ndarray

    @classmethod
    def nothing(cls, count: int, at: Sequence[int], lanes: int) -> "Known":
        """Of ``count`` configurations before the first segment."""
        blank = np.full((count, len(at)), np.nan)
        whole = lambda: np.zeros(count, int)
        return cls(whole(), blank, np.zeros(count, bool), np.full(count, -np.inf), whole(), np.full(lanes, FREE))


@dataclass
class Course:
    """A search on its way.

    Attributes:
        rules: how it is decided.
        rows: where runs are trained, ``seeds`` rows a lane.
        traced: hyperparameters by name, a number for each configuration.
        seeds: how many there are.
        known: of all configurations.
        carried: what those carry that are not in a lane but may go on, by configuration.
        outputs: of those that are at their end, by configuration.
    """

    rules: Rules
    rows: Rows
    traced: Arrays
    seeds: int
    known: Known
    carried: dict[int, Arrays] = field(default_factory=dict)
    outputs: dict[int, Arrays] = field(default_factory=dict)

    @property
    def standing(self) -> Standing:
        """What is certain of each configuration."""
        known, rules = self.known, self.rules
        return rungs.standing(known.position, known.scores, known.ended, rules.at, rules.keep, maximize=rules.maximize)

    @property
    def finalists(self) -> list[int]:
        """The configurations that were never beaten, best first."""
        standing, last = self.standing, len(self.rules.at) - 1
        there = [c for c in self.outputs if standing.rung[c] == last and not standing.out[c]]
        merit = lambda c: -self._merit(self.known.scores[c, last])
        return sorted((c for c in there if not np.isnan(self.known.scores[c, last])), key=lambda c: (merit(c), c))

    @property
    def decided(self) -> tuple[int, int]:
        """How many configurations are out or at their end, and how many of them are out as they diverged."""
        standing, scores = self.standing, self.known.scores
        diverged = standing.out & np.isnan(scores[np.arange(len(scores)), standing.rung])
        return int(standing.out.sum()) + len(self.finalists), int(diverged.sum())

    def run(self, stepped: Callable[[], object]) -> None:
        """Go on to the end; ``stepped`` is called after each segment."""
        self._resume()
        while self._filled():
            self.rows.advance()
            active = self.known.lanes[self.known.lanes != FREE]
            self.known.position[active] += 1
            self._score(active)
            stepped()

    def lane_carries(self) -> dict[int, Arrays]:
        """What all configurations carry that may go on, those in lanes among them."""
        arrays, lanes = self.rows.carried(), enumerate(self.known.lanes)
        return self.carried | {int(c): self._of(arrays, lane) for lane, c in lanes if c != FREE}

    def _resume(self) -> None:
        """Put back what was in lanes when it was saved."""
        lanes = [lane for lane, c in enumerate(self.known.lanes) if c != FREE]
        if lanes:
            self._put(lanes, [int(self.known.lanes[lane]) for lane in lanes])

    def _filled(self) -> bool:
        """Give lanes to those that may train further, and say whether there are any."""
        known, standing = self.known, self.standing
        may = ~standing.out & ~known.ended & (known.position < np.array(self.rules.at)[standing.rung])
        leaving = [lane for lane, c in enumerate(known.lanes) if c != FREE and not may[c]]
        waiting = [int(c) for c in known.lanes[leaving] if not standing.out[c] and int(c) not in self.outputs]
        if waiting:  # nobody knows yet whether they go on
            arrays = self.rows.carried()
            where = {int(c): lane for lane, c in enumerate(known.lanes)}
            self.carried |= {c: self._of(arrays, where[c]) for c in waiting}
        known.lanes[leaving] = FREE
        for held in (self.carried, self.outputs):
            for c in [c for c in held if standing.out[c]]:
                del held[c]
        free = np.flatnonzero(known.lanes == FREE).tolist()
        further = sorted((c for c in self.carried if may[c]), key=lambda c: (-standing.rung[c], c))[: len(free)]
        if further:
            self._put(free[: len(further)], further)
        free = free[len(further) :]
        fresh = np.flatnonzero(may & (known.position == 0) & ~np.isin(np.arange(len(may)), known.lanes))[: len(free)]
        if len(fresh):
            known.lanes[free[: len(fresh)]] = fresh
            self.rows.start(self._rows(free[: len(fresh)]), self._values(fresh.tolist()))
        return bool((known.lanes != FREE).any())

    def _put(self, lanes: list[int], configurations: list[int]) -> None:
        self.known.lanes[lanes] = configurations
        taken = [self.carried.pop(c) for c in configurations]
        arrays = {name: np.concatenate([one[name] for one in taken]) for name in taken[0]}
        self.rows.put(self._rows(lanes), self._values(configurations), arrays)

    def _score(self, active: np.ndarray) -> None:
        """Take down scores of those that have come to a rung, and find those that have come to a plateau."""
        known, rules = self.known, self.rules
        at = np.array(rules.at)
        due = active if rules.patience else active[np.isin(known.position[active], at)]
        if not len(due):
            return
        outputs = self.rows.finish()
        by_seed = np.asarray(outputs[rules.score]).astype(np.float64).reshape(len(known.lanes), self.seeds)
        score = {int(c): float(by_seed[lane].mean()) for lane, c in enumerate(known.lanes) if c != FREE}
        for c in map(int, due):
            known.scores[c, at == known.position[c]] = score[c]
            if rules.patience:
                gained = self._merit(score[c]) > known.best[c] + rules.delta
                known.best[c] = self._merit(score[c]) if gained else known.best[c]
                known.since[c] = 0 if gained else known.since[c] + 1
                known.ended[c] = known.since[c] >= rules.patience and known.position[c] < at[-1]
                known.scores[c, (at > known.position[c]) & known.ended[c]] = score[c]
        for lane, c in enumerate(known.lanes):
            if c in due and (known.ended[c] or known.position[c] == at[-1]):
                self.outputs[int(c)] = self._of(outputs, lane)

    def _merit(self, score: float) -> float:
        return score if self.rules.maximize else -score

    def _values(self, configurations: Sequence[int]) -> Arrays:
        return {name: np.repeat(array[configurations], self.seeds) for name, array in self.traced.items()}

    def _rows(self, lanes: Sequence[int]) -> np.ndarray:
        return (np.array(lanes)[:, None] * self.seeds + np.arange(self.seeds)).ravel()

    def _of(self, arrays: Mapping[str, Any], lane: int) -> Arrays:
        rows = slice(lane * self.seeds, (lane + 1) * self.seeds)
        return {name: np.array(np.asarray(array)[rows]) for name, array in arrays.items()}
