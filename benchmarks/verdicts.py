"""Wrong decisions of rules whose truth lies exactly at the bound, by method, number of runs and law of the runs.

``python -m benchmarks verdicts --save`` writes the table; ``python -m benchmarks.verdicts SIMULATIONS`` prints a short
one. Every figure is the largest share, over both directions, of simulated experiments of which a rule of level .05 says
that the truth lies beyond the bound: 2.5 % are promised; families of 5 and 20 with Holm's correction, any of all
settings in either direction: 5 % are promised. Of "diverging" runs 15 % in either arm are lost and count as the lowest.
"""

import sys
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np

from benchmarks.harness import Row
from jnorm.statistics import METHODS, Rule
from jnorm.statistics._evidence import _compared, _filled
from jnorm.statistics._holm import stepped_down
from jnorm.statistics._steps import Question

LEVEL = 0.05
RUNS = (2, 3, 4, 5, 6, 8, 12, 16, 32)
SIMULATIONS = 5000
FAMILIES = (1, 5, 20)
SKEW = np.exp(0.5)  # the mean of a lognormal law
CENTER = {"mean": SKEW, "median": 1.0}
# The middle half of the lognormal law: mean of exp(z) for z within the quartiles.
_NORMAL = NormalDist()
_QUARTILE = _NORMAL.inv_cdf(0.75)
CENTER["interquartile mean"] = 2 * SKEW * (_NORMAL.cdf(_QUARTILE - 1) - _NORMAL.cdf(-_QUARTILE - 1))
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def lognormal(estimates: str) -> Draw:
    """Lognormal values about what a method estimates."""
    center = CENTER.get(estimates, _hodges_lehmann() if "pairwise" in estimates else SKEW)
    return lambda rng, shape: rng.lognormal(size=shape) - center


def _hodges_lehmann() -> float:
    """The median of the mean of two lognormal values, by their distribution function."""
    z = (np.arange(20_000) + 0.5) / 20_000
    x = np.exp([_NORMAL.inv_cdf(q) for q in z])
    low, high = 1.0, 3.0
    for _ in range(50):
        middle = (low + high) / 2
        rest = 2 * middle - x
        below = np.mean([_NORMAL.cdf(float(np.log(r))) if r > 0 else 0.0 for r in rest])
        low, high = (middle, high) if below < 0.5 else (low, middle)
    return low


LAWS: dict[str, Callable[[str], Draw]] = {
    "normal": lambda estimates: lambda rng, shape: rng.normal(size=shape),
    "heavy-tailed": lambda estimates: lambda rng, shape: rng.standard_t(3, shape),
    "discrete": lambda estimates: lambda rng, shape: np.round(rng.normal(size=shape)) / 10,
    "lognormal": lognormal,
    "diverging": lambda estimates: (
        lambda rng, shape: np.where(rng.random(shape) < 0.15, np.inf, rng.normal(size=shape))
    ),
}


def experiments(
    method: str, law: str, n: int, paired: bool, sims: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """One-sided p-values of many experiments whose truth is the null, interval ends, and how often the two disagree."""
    rng = np.random.default_rng([n, paired, *law.encode()])
    draw, shape = LAWS[law](METHODS[method].estimates), (sims, n)
    rule = Rule(claim="greater", effect=0.0, diverged="lowest", method=method, paired=paired)
    a = draw(rng, shape)
    if law == "diverging":
        a, b = _filled(a, draw(rng, shape), rule)
    # Of paired runs the differences have the law, of unpaired ones arm a has it and arm b is a normal one of as many.
    elif paired:
        b = np.zeros_like(a)
    else:
        b = rng.normal(size=shape) * a.std()
        b = np.round(b * 10) / 10 if law == "discrete" else b
    question = Question(paired, np.zeros(1), LEVEL / 2, 4e-16 * abs(a), 4e-16 * abs(b))
    found = _compared(a, b, question, rule)  # with the sign test where runs do not vary, as a verdict has it
    above, below = (np.nan_to_num(p, nan=1.0) for p in (found.above[0], found.below[0]))
    known = ~np.isnan(found.low)
    disagree = ((above <= LEVEL / 2) != (found.low > 0)) | ((below <= LEVEL / 2) != (found.high < 0))
    return above, below, found.low, found.high, int(np.sum(disagree & known & (found.deviation > 0)))


def simulations(method: str, n: int, sims: int) -> int:
    """How many: fewer where a test is slow (10 ms each), and where a bootstrap never decides."""
    if method == "brunner-munzel":
        return min(sims, 300)
    return min(sims, 500) if method.startswith("bootstrap") and n < 6 else sims


def table(sims: int = SIMULATIONS) -> Iterator[Row]:
    """A row for each method, design and law."""
    for method, entry in METHODS.items():
        for paired in (True, False):
            if not (entry.paired if paired else entry.unpaired):
                continue
            for law in LAWS:
                cells, families, disagreements, worst = [], [], 0, 0.0
                for n in RUNS:
                    count = simulations(method, n, sims)
                    above, below, _, _, off = experiments(method, law, n, paired, count)
                    disagreements += off
                    share = max(np.mean(above <= LEVEL / 2), np.mean(below <= LEVEL / 2))
                    worst = max(worst, share)
                    cells.append(f"{n}: {100 * share:.1f}")
                    if n in (5, 16):
                        for size in FAMILIES:
                            p = np.minimum(2 * np.minimum(above, below), 1)[: count // size * size].reshape(-1, size)
                            wrong = np.mean([np.any(stepped_down(row)[0] <= LEVEL) for row in p])
                            families.append(f"{size} at n = {n}: {100 * wrong:.1f}")
                detail = f"by runs {', '.join(cells)}; families of {', '.join(families)}; {count} simulations"
                name = f"{method}, {'paired' if paired else 'unpaired'}, {law}"
                yield Row(f"{name}: largest share", 100 * worst, "%", detail=detail)
                yield Row(f"{name}: p and interval disagree", disagreements, "times", most=0.5)


def selection(sims: int) -> Row:
    """Equal arms of 16 normal runs of which one arm loses its four worst, excluded."""
    rng = np.random.default_rng(0)
    a, b = np.sort(rng.normal(size=(sims, 16)), 1)[:, 4:], rng.normal(size=(sims, 16))
    found = METHODS["t"].compare(a, b, Question(False, np.zeros(1), LEVEL / 2, 0 * a, 0 * b))
    share = 100 * np.mean(found.above[0] <= LEVEL / 2)
    return Row("t, unpaired, diverging: one arm loses its 4 worst of 16, excluded", share, "%", detail="warned of")


def run() -> list[Row]:
    """The rows of the benchmark."""
    return [*table(), selection(SIMULATIONS)]


if __name__ == "__main__":
    for row in [*table(int(sys.argv[1])), selection(int(sys.argv[1]))]:
        print(f"{row.what}: {row.measured:.3g} {row.unit} {row.detail}", flush=True)
        if not row.met:
            sys.exit(f"asked: {row.asked}")
