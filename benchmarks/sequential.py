"""Rules judged at several looks: how often they are wrong over all looks, and how many runs they need at equal power.

``python -m benchmarks sequential --save`` writes the table; ``python -m benchmarks.sequential NULLS`` prints the errors
of fewer. Nulls are experiments whose truth lies exactly at the bound, of which a rule of level .05 may decide 5 %, in
either direction, at all looks together. The runs are those of 1000 experiments, as a share of the runs of a design with
one look that has a power of 90 %; the largest number of seeds is such that the power over all looks is 90 % too.
"""

import itertools
import sys
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from benchmarks import harness
from benchmarks.harness import Row
from jnorm.statistics import Rule, detectable
from jnorm.statistics._interim import BOUNDARIES, weigh_at
from jnorm.statistics._mixtures import MIXTURES

LEVEL, NULLS, EXPERIMENTS = 0.05, 10_000, 1000
LOOKS = {"4 looks from 8 to 32": (8, 16, 24, 32), "6 looks from 4 to 24": (4, 8, 12, 16, 20, 24)}
FIXED = 32  # runs of the design with one look
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
LAWS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(3, shape),
    "bounded": lambda rng, shape: rng.binomial(360, 0.97, shape) / 360,  # an accuracy on 360 examples
    "diverging": lambda rng, shape: np.where(rng.random(shape) < 0.15, np.nan, rng.normal(size=shape)),
}
CASES = [  # method, whether runs are paired, law, what becomes of diverged runs
    *[("t", paired, law, "lowest") for paired in (True, False) for law in LAWS],
    *[("t", paired, "diverging", "exclude") for paired in (True, False)],
    *[(method, True, law, "lowest") for method in ("wilcoxon", "sign") for law in LAWS],
    *[(method, paired, "normal", "lowest") for method, paired in (("permutation", True), ("brunner-munzel", False))],
    *[(f"bootstrap-{estimate}", True, "normal", "lowest") for estimate in ("mean", "median", "iqm")],
]


def p_values(rule: Rule, boundary: str, looks: tuple[int, ...], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """P-values over all looks so far, ``[looks, experiments]``."""
    options = {"boundary": boundary, "looks": looks, "rounding": (1e-16, 1e-16), "settings": [{}] * len(a)}
    found = [[e.p for e in weigh_at(a[:, :n], b[:, :n], rule, look=k, **options)] for k, n in enumerate(looks)]
    return np.minimum.accumulate(found, 0)


def errors(nulls: int) -> Iterator[Row]:
    """A row for each way to hold the level, method, design and law."""
    for boundary in BOUNDARIES:
        for method, paired, law, diverged in CASES:
            slow = method in ("brunner-munzel", "permutation") or method.startswith("bootstrap")
            if (boundary == "mixture" and method not in MIXTURES) or (boundary != "obrien-fleming" and slow):
                continue
            sims = min(nulls, 500) if slow else nulls
            worst, parts = 0.0, []
            for name, looks in LOOKS.items():
                rng = np.random.default_rng([paired, *law.encode()])
                a, b = (LAWS[law](rng, (sims, looks[-1])) for _ in range(2))
                rule = Rule(claim="greater", effect=0.0, diverged=diverged, method=method, paired=paired)
                wrong = np.sum(p_values(rule, boundary, looks, a, b) <= LEVEL, 1)
                low, high = stats.binomtest(int(wrong[-1]), sims).proportion_ci(0.95)
                at_looks = ", ".join(f"{100 * w / sims:.2f}" for w in wrong)
                parts.append(f"{name}: {at_looks} [{100 * low:.2f}, {100 * high:.2f}]")
                worst = max(worst, float(wrong[-1]) / sims)
            design = f"{method}, {'paired' if paired else 'unpaired'}, {law}"
            design += f" ({diverged})" if law == "diverging" else ""
            # What two shares of 5 % pass with 99.9 %. Methods that err at one look do at several: `verdicts`.
            most = None if slow else float(100 * stats.binom.isf(5e-4, sims, LEVEL) / sims)
            detail = f"up to each look, % [95 % interval of the last]; {'; '.join(parts)}; {sims} nulls"
            yield Row(f"{boundary}: {design}: decided over all looks", 100 * worst, "%", most=most, detail=detail)


def savings(experiments: int) -> Iterator[Row]:
    """Runs needed on average, at the effect for which one look at `FIXED` runs has a power of 90 %, and at twice it."""
    rng = np.random.default_rng(0)
    for boundary in BOUNDARIES:
        for paired in (True, False):
            effect = detectable(FIXED, target=0.9, arms=1 if paired else 2)
            rule = Rule(claim="greater", effect=0.0, diverged="exclude", paired=paired)
            looks = _looks(rule, boundary, effect, rng)
            for times, most in ((1, 75.0), (2, 50.0)):
                a, b = _arms(rng, experiments, looks[-1], times * effect, paired)
                decided = p_values(rule, boundary, looks, a, b) <= LEVEL
                needed = np.where(decided[-1], np.array(looks)[np.argmax(decided, 0)], looks[-1])
                listed = f"{looks[0]}, {looks[1]}, ..., {looks[-1]}"
                error = 100 * needed.std() / np.sqrt(experiments) / FIXED
                yield Row(
                    f"{boundary}: t, {'paired' if paired else 'unpaired'}, {times} x the effect: runs of one look's",
                    float(100 * needed.mean() / FIXED),
                    "%",
                    most=most if boundary == "obrien-fleming" else None,
                    detail=f"+- {error:.1f}; looks at {listed}, power {100 * decided[-1].mean():.1f} %",
                )


def _arms(rng: np.random.Generator, experiments: int, runs: int, effect: float, paired: bool) -> list[np.ndarray]:
    """Normal arms whose difference is so many standard deviations, of the differences or of single runs."""
    scale = np.sqrt(0.5) if paired else 1.0
    return [rng.normal(shift, scale, (experiments, runs)) for shift in (effect, 0.0)]


def _looks(rule: Rule, boundary: str, effect: float, rng: np.random.Generator) -> tuple[int, ...]:
    """Looks after every second seed from the eighth on, to the number of seeds at which the power is 90 %."""
    for last in range(FIXED, 4 * FIXED):
        looks = (*range(8, last - 1, 2), last)
        a, b = _arms(rng, 4000, last, effect, rule.paired)
        if np.mean(p_values(rule, boundary, looks, a, b)[-1] <= LEVEL) >= 0.9:
            return looks
    raise ValueError(f"no number of seeds below {4 * FIXED} has a power of 90 %")


def run() -> Iterator[Row]:
    """The rows of the benchmark; a quarter of an hour."""
    yield from savings(100 if harness.quick else EXPERIMENTS)
    yield from errors(500 if harness.quick else NULLS)


if __name__ == "__main__":
    for row in itertools.chain(savings(max(int(sys.argv[1]) // 10, 100)), errors(int(sys.argv[1]))):
        print(f"{row.what}: {row.measured:.3g} {row.unit} ({row.asked}) {row.detail}", flush=True)
