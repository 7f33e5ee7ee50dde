"""The UCI table of self-normalizing networks: seven networks over many sets, average ranks beside the published ones.

Klambauer et al. 2017, tables 1 and A11. For each set and network all hyperparameters of the grid are tried on the
published division for tuning, and what has the best dev accuracy is trained and tested on the published test file, or
the mean of the four published folds. Smaller than the paper, but for ``--size full``: a run takes 100 epochs or
``--steps``, whichever is less, in batches of 32 that are drawn from the training rows; it is judged at 20 checkpoints
by the mean of the last two dev accuracies, on 512 dev rows at most, and keeps the parameters of the best. Finished runs
are in a store, which --resume continues. ``ranks`` says by which rule the order of the networks is judged.

| size | sets | units | depths | rates | |
|---|---|---|---|---|---|
| quick | 8 | 64 | 2, 8 | .01, .1, 1 | 300 steps |
| default | 24 | 256 | 2, 4, 8, 16 | .01, .1, 1 | 500 steps |
| all | all | 256 | 2, 4, 8, 16 | .01, .1, 1 | 500 steps |
| full | all | 256, 512, 1024 | 2, 3, 4, 8, 16, 32 | .01, .1, 1 | both forms, dropout, 20 000 steps: for a GPU |

The 8 and the 24 are taken at equal distances from the published sets of 100 to 6000 examples, in order of size.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import checks
from experiments.uci.choosing import Grid
from experiments.uci.networks import KINDS

_RATES = (0.01, 0.1, 1.0)
_MIDDLE = Grid(KINDS, (256,), (2, 4, 8, 16), _RATES)
GRIDS = {
    "quick": Grid(KINDS, (64,), (2, 8), _RATES),
    "default": _MIDDLE,
    "all": _MIDDLE,
    "full": Grid(KINDS, (256, 512, 1024), (2, 3, 4, 8, 16, 32), _RATES, forms=True, dropout=True),
}
COUNTS = {"quick": 8, "default": 24, "all": None, "full": None}
STEPS = {"quick": 300, "default": 500, "all": 500, "full": 20_000}


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/uci")
    """Folder for the figure, its numbers, the report and the store; made where missing."""
    size: str = "default"
    """How much is tried: quick, default, all or full."""
    data_dir: Path | None = None
    """Folder that holds uci/<set>/; None: the environment variable JNORM_DATA."""
    sets: tuple[str, ...] = ()
    """Names of sets, such as iris seeds; none: as many as the size says."""
    kinds: tuple[str, ...] = KINDS
    """Networks: snn, msrainit, highway, resnet, batchnorm, weightnorm, layernorm."""
    units: tuple[int, ...] = ()
    """Widths; none: those of the size."""
    depths: tuple[int, ...] = ()
    """Numbers of hidden layers, at least 2; none: those of the size."""
    rates: tuple[float, ...] = ()
    """Learning rates of plain stochastic gradient descent; none: those of the size."""
    steps: int | None = None
    """The most steps of a run; None: those of the size."""
    batch: int = 32
    """Examples in a step."""
    seeds: int = 1
    """Runs of every configuration, whose mean counts; seed s draws everything from jax.random.key(s)."""
    chunk: int | None = None
    """Runs side by side on a device; None: one on a CPU, elsewhere as many as are fastest."""
    resume: bool = False
    """Continue the sweep whose store is in --out; without it, a store that is there is an error."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        checks.choice("size", self.size, GRIDS)
        for name in ("batch", "seeds", *[n for n in ("steps", "chunk") if getattr(self, n) is not None]):
            checks.whole(1, **{name: getattr(self, name)})
        if len(self.kinds) < 2:
            raise ValueError(f"`kinds` must hold at least two networks; got {self.kinds}")
        for name in ("sets", "kinds", "units", "depths", "rates"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"`{name}` must hold no value twice; got {values}")
        for kind in self.kinds:
            checks.choice("kinds", kind, KINDS)
        checks.whole(1, units=self.units)  # type: ignore[arg-type]
        checks.whole(2, depths=self.depths)  # type: ignore[arg-type]
        checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rates=self.rates)

    @property
    def grid(self) -> Grid:
        """What is tried."""
        given = {name: getattr(self, name) for name in ("units", "depths", "rates") if getattr(self, name)}
        return GRIDS[self.size]._replace(kinds=self.kinds, **given)


def run(config: Config) -> dict[str, Any]:
    """Choose, train, judge, draw and report; returns the numbers of ``report.json``."""
    from experiments.common import Output
    from experiments.showing import Clock
    from experiments.uci import course, ranks, report

    output, clock = Output.open(config.out), Clock()
    with clock("data"):
        problems, broken = course.chosen(config, COUNTS[config.size])
    steps = STEPS[config.size] if config.steps is None else config.steps
    done = course.train(replace(config, steps=steps), problems, clock)
    table = ranks.published()
    numbers = report.judged(config, done, table, broken)
    with clock("drawing"):
        report.draw(output, numbers, table)
    text = report.text(numbers, table)
    output.report(text, numbers | {"seconds": clock.seconds, "files": list(output.files)})
    print(text)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers | {"seconds": clock.seconds}
