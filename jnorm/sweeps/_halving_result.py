"""What a search by successive halving gives back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jnorm.sweeps._configurations import Configuration
from jnorm.sweeps._divergence import failed_runs
from jnorm.sweeps._halving_course import Course
from jnorm.sweeps._results import SweepResult


@dataclass(frozen=True, eq=False)
class HalvingResult:
    """What `halving` gives back.

    Attributes:
        configurations: those that were begun, in the order in which they were given.
        budgets: segments that a run has trained at each rung.
        scores: [configuration, rung], the mean over seeds; NaN where a configuration did not come to the rung, or a run
            of it diverged.
        trained: segments that each configuration has trained.
        finalists: what `jnorm.sweeps.sweep` returns, for the configurations that went through all rungs, the best
            first; diverged is a run whose score is not finite.
    """

    configurations: tuple[Configuration, ...]
    budgets: tuple[int, ...]
    scores: np.ndarray
    trained: np.ndarray
    finalists: SweepResult

    @property
    def best(self) -> Configuration:
        """The configuration with the best score at the last rung.

        Raises:
            ValueError: all runs diverged.
        """
        if not self.finalists.configurations:
            raise ValueError("no configuration came to the last rung: all that could have gone on diverged")
        return self.finalists.configurations[0]

    @property
    def share(self) -> float:
        """The part of the training that all configurations would take to their end."""
        return float(self.trained.sum() / (len(self.trained) * self.budgets[-1]))

    def __str__(self) -> str:
        rungs = [f"{int((self.trained >= at).sum())} trained {at}" for at in self.budgets]
        best = self.finalists.configurations[0] if self.finalists.configurations else "none, all diverged"
        spent = f"{self.trained.sum()} segments, {100 * self.share:.1f} % of all trainings to their end"
        return f"Of {len(self.trained)} configurations {', '.join(rungs)} segments.\nSpent: {spent}.\nBest: {best}"


def result_of(
    course: Course, configurations: Sequence[Configuration], seeds: Sequence[int], blank: dict[str, np.ndarray]
) -> HalvingResult:
    """The result of a course that is at its end; ``blank`` has the outputs of no run."""
    best, known, score = course.finalists, course.known, course.rules.score
    outputs = {n: np.stack([course.outputs[c][n] for c in best]) if best else array for n, array in blank.items()}
    flat = {n: a.reshape(-1, *a.shape[2:]) for n, a in outputs.items()}
    failed = failed_runs(flat, len(best) * len(seeds), (score,)).reshape(len(best), len(seeds))
    finalists = SweepResult(outputs, tuple(configurations[c] for c in best), tuple(seeds), failed, (score,))
    scores = np.where(known.position[:, None] >= np.array(course.rules.at), known.scores, np.nan)
    return HalvingResult(tuple(configurations), course.rules.at, scores, known.position, finalists)
