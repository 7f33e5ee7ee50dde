"""How often nominal 95 % intervals hold the truth: every interval of `jnorm.statistics`, by number and law of the runs.

``python -m benchmarks coverage --save`` writes the table; ``python -m benchmarks.coverage WORD`` prints the rows whose
name holds a word, from a fifth of the simulations. A figure is the least coverage from 8 runs on, of quantiles from 12:
93 % are asked where the docstring of the interval does not say that they do not hold. Methods of rules: of paired runs
the differences have the law; of unpaired ones arm a has it, and arm b is normal with the same variance. Intervals of
rules at several looks hold where their p-values do: `sequential`.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks import harness
from benchmarks.harness import Row
from jnorm import statistics
from jnorm.statistics import METHODS, Rule
from jnorm.statistics._evidence import weigh

RUNS = (3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)
LEAST = 0.93  # of all cases, in which an interval is asked to hold
RESAMPLES, KEYS = 1000, 20  # of every bootstrap; different sets of resamples
TASKS = np.linspace(0.5, 1.5, 5)[:, None]  # the spread of the runs of each task
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
Ends = tuple[np.ndarray, np.ndarray]
LAWS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "beta": lambda rng, shape: rng.beta(30, 1, shape),  # scores below 1, of which most are near it
    "accuracy": lambda rng, shape: rng.binomial(360, 0.97, shape) / 360,
    "bimodal": lambda rng, shape: rng.normal(size=shape) + 6 * (rng.random(shape) < 0.5),
    "failing": lambda rng, shape: rng.normal(size=shape) - 10 * (rng.random(shape) < 0.2),  # one run in five is stuck
    "diverging": lambda rng, shape: np.where(rng.random(shape) < 0.15, np.nan, rng.normal(size=shape)),
}
FINITE = tuple(law for law in LAWS if law != "diverging")


class Offer(NamedTuple):
    """An interval that the room offers.

    Attributes:
        name: What it is, for the table.
        truth: What it should hold, of a law.
        ends: Lower and upper ends, ``[simulations]`` or, of ends that hold together, ``[simulations, ends]``.
        simulations: How many.
        laws: Of which runs.
        excused: Laws of which the docstring says that it does not hold.
        enough: Runs from which on it is asked to.
    """

    name: str
    truth: Callable[[Draw], Any]
    ends: Callable[[Draw, np.random.Generator, int, int], Ends]
    simulations: int
    laws: tuple[str, ...] = tuple(LAWS)
    excused: tuple[str, ...] = ()
    enough: int = 8


@cache
def many(draw: Draw) -> np.ndarray:
    """So many runs that their statistics are the truth, sorted; without those that diverged."""
    x = draw(np.random.default_rng(1), (2**22,))
    return np.sort(x[~np.isnan(x)])


def middle(draw: Draw, share: float) -> float:
    """The mean of the middle share."""
    x = many(draw)
    cut = int(len(x) * (1 - share) / 2)
    return float(np.mean(x[cut : len(x) - cut])) if share else float(np.median(x))


def scrambled(draw: Draw) -> np.ndarray:
    """The many runs in another order: partners of the sorted ones."""
    return np.random.default_rng(2).permutation(many(draw))


def bootstrapped(name: str, estimator: Any, truth: Callable[[Draw], float], simulations: int, **about: Any) -> Offer:
    """`bootstrap`, of which `summary` is made."""
    program = jax.jit(
        jax.vmap(lambda key, x: statistics.bootstrap(key, x, estimator, axis=-1, samples=RESAMPLES)),
    )

    def ends(draw: Draw, rng: np.random.Generator, n: int, sims: int) -> Ends:
        interval = program(jax.random.split(jax.random.key(n), KEYS), jnp.float32(draw(rng, (KEYS, sims // KEYS, n))))
        return np.ravel(interval.low), np.ravel(interval.high)

    return Offer(f"bootstrap, {name}", truth, ends, simulations, **about)


def stratified(name: str, estimator: Any, tasks: np.ndarray, arms: int, simulations: int, **about: Any) -> Offer:
    """`stratified_bootstrap` of one or two arms, over tasks whose runs spread differently."""
    program = jax.jit(
        jax.vmap(
            lambda key, *arms: statistics.stratified_bootstrap(
                key, arms if len(arms) > 1 else arms[0], estimator, axis=-1, over=-2, samples=RESAMPLES
            )
        )
    )

    def scores(draw: Draw, rng: np.random.Generator, *shape: int) -> list[jax.Array]:
        return [jnp.float32(tasks * draw(rng, (*shape[:-1], len(tasks), shape[-1]))) for _ in range(arms)]

    def truth(draw: Draw) -> float:
        if arms == 1:
            return float(estimator(*scores(draw, np.random.default_rng(3), 2**19)))
        return float(estimator(jnp.zeros((1, 1)), jnp.zeros((1, 1))))  # of equal arms

    def ends(draw: Draw, rng: np.random.Generator, n: int, sims: int) -> Ends:
        interval = program(jax.random.split(jax.random.key(n), KEYS), *scores(draw, rng, KEYS, sims // KEYS, n))
        return np.ravel(interval.low), np.ravel(interval.high)

    return Offer(f"stratified bootstrap, {name}", truth, ends, simulations, **({"laws": FINITE} | about))


def ruled(method: str, paired: bool, **about: Any) -> Offer:
    """The interval of a setting of a verdict."""
    rule = Rule(claim="greater", effect=0.0, diverged="exclude", method=method, paired=paired)
    estimates = METHODS[method].estimates

    def truth(draw: Draw) -> float:
        if "pairwise" in estimates:
            return float(np.median(many(draw) + scrambled(draw)) / 2)
        if "tends" in estimates:
            return float(np.median(many(draw) - other(draw, np.random.default_rng(3), many(draw).shape)))
        return middle(draw, {"mean": 1.0, "median": 0.0, "interquartile mean": 0.5}[estimates])

    def other(draw: Draw, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.normal(size=shape) * np.std(many(draw))

    def ends(draw: Draw, rng: np.random.Generator, n: int, sims: int) -> Ends:
        a = draw(rng, (sims, n))
        b = np.zeros_like(a) if paired else other(draw, rng, a.shape)
        found = weigh(a, b, rule, rounding=(1e-16, 1e-16), settings=[{}] * sims)
        low, high = np.array([evidence.interval for evidence in found]).T
        return low, high

    slow = {"brunner-munzel": 100, "permutation": 300} | {m: 500 for m in METHODS if m.startswith("bootstrap")}
    sims = slow.get(method, 2000 if method in ("sign", "wilcoxon") else 20_000)
    return Offer(f"rule, {method}, {'paired' if paired else 'unpaired'}", truth, ends, sims, **about)


def component(share: bool, **about: Any) -> Offer:
    """`intervals` of the first of two crossed factors, which has so many levels as there are runs; the other has 6."""
    program = jax.jit(
        lambda key, y: statistics.intervals(key, statistics.components(y, axes=(-2, -1)), samples=RESAMPLES)
    )

    def ends(draw: Draw, rng: np.random.Generator, n: int, sims: int) -> Ends:
        parts = [draw(rng, (sims, *shape)) for shape in ((n, 1), (1, 6), (n, 6))]
        bounds = program(jax.random.key(n), jnp.float32(sum(parts) / np.std(many(draw))))
        interval = bounds.share if share else bounds.component
        return np.asarray(interval.low[..., 0]), np.asarray(interval.high[..., 0])

    truth = lambda draw: 1 / 3 if share else 1.0
    return Offer(f"variance {'share' if share else 'component'}", truth, ends, 1000, FINITE, **about)


def curve() -> Offer:
    """The band of a tuning curve at 1, 2, 4 and 8 draws, as a whole."""
    draws = np.array([1, 2, 4, 8])

    def truth(draw: Draw) -> np.ndarray:
        x = np.nan_to_num(draw(np.random.default_rng(1), (2**22,)), nan=-1e9)
        return np.quantile(x, 0.5 ** (1 / draws), method="inverted_cdf")

    def ends(draw: Draw, rng: np.random.Generator, n: int, sims: int) -> Ends:
        band = statistics.tuning_curve(draw(rng, (sims, n)), draws, axis=-1)
        return band.low, band.high

    return Offer("tuning curve, band at 1, 2, 4, 8 draws", truth, ends, 20_000)


def offers() -> Iterator[Offer]:
    """All intervals."""
    of_runs = {name: partial(getattr(statistics, name), diverged="exclude") for name in ("mean", "median", "iqm")}
    skewed = ("lognormal", "failing")
    for name, share, sims in (("mean", 1.0, 10_000), ("median", 0.0, 1000), ("iqm", 0.5, 1000)):
        excused = (*skewed, "beta") if name == "mean" else ()
        yield bootstrapped(name, of_runs[name], partial(middle, share=share), sims, excused=excused)
    quarter = lambda draw: float(np.quantile(many(draw), 0.25))
    yield bootstrapped("lower quartile", partial(jnp.nanquantile, q=0.25), quarter, 1000, enough=12)
    standardized = lambda draw: float(np.mean(many(draw)) / np.std(many(draw)))
    yield bootstrapped(
        *("cohen_d_paired", statistics.cohen_d_paired, standardized, 2000),
        laws=FINITE,
        excused=("lognormal", "beta", "accuracy"),
    )
    over = (-2, -1)
    difference = lambda x, y: jnp.mean(x, over) - jnp.mean(y, over)
    wins = partial(statistics.probability_of_improvement, axis=-1, over=-2)
    yield stratified("mean of 5 tasks", partial(statistics.mean, axis=over), TASKS, 1, 1000, excused=skewed)
    yield stratified(
        "iqm of 5 tasks", partial(statistics.iqm, axis=over), TASKS, 1, 200, laws=("normal", "lognormal", "failing")
    )
    yield stratified("probability of improvement, 5 tasks", wins, TASKS, 2, 200)
    yield stratified("probability of superiority, 1 task", wins, TASKS[-1:], 2, 400)
    yield stratified("difference of means, 1 task", difference, TASKS[-1:], 2, 1000)
    of_rules = {"t": (*skewed, "beta"), "permutation": (*skewed, "beta"), "bootstrap-mean": skewed}
    for method, entry in METHODS.items():
        for paired in (True, False):
            if entry.paired if paired else entry.unpaired:
                yield ruled(method, paired, excused=of_rules.get(method, ()) if paired else ())
    for share in (False, True):
        yield component(share, excused=(*skewed, "beta"))
    yield curve()


def rows(offer: Offer, sims: int) -> Iterator[Row]:
    """A row for each law of an interval."""
    for law in offer.laws:
        draw, cells, lowest = LAWS[law], [], 1.0
        truth = np.asarray(offer.truth(draw))
        near = 1e-6 * np.max(np.abs(truth))  # single precision
        for n in RUNS:
            low, high = offer.ends(draw, np.random.default_rng([n, *law.encode()]), n, sims)
            inside = (low - near <= truth) & (truth <= high + near)
            known = ~np.isnan(low)
            inside, known = (part.reshape(sims, -1).all(1) for part in (inside, known))
            share = np.sum(inside & known) / np.sum(known)
            lowest = min(lowest, share) if n >= offer.enough else lowest
            cells.append(f"{n}: {100 * share:.1f}")
        # What a coverage of 93 % passes with 99.9 %.
        least = None if law in offer.excused else float(100 * stats.binom.isf(1 - 5e-4, sims, LEAST) / sims)
        error = 100 * 1.96 * np.sqrt(lowest * (1 - lowest) / sims)
        detail = f"by runs {', '.join(cells)}; +- {error:.1f}, {sims} simulations"
        yield Row(f"{offer.name}, {law}: from {offer.enough} runs on", 100 * lowest, "%", least=least, detail=detail)


def run() -> Iterator[Row]:
    """The rows of the benchmark; a quarter of an hour."""
    for offer in offers():
        yield from rows(offer, 100 if harness.quick else offer.simulations)


if __name__ == "__main__":
    for offer in offers():
        if sys.argv[1] in offer.name:
            for row in rows(offer, offer.simulations // 5):
                print(harness.line(row), flush=True)
