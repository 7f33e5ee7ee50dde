"""Training figures of four papers, made anew on MNIST: what was published beside what is measured, and a verdict.

- ``snn``: self-normalizing networks, figure 1: selu against relu with batch norm, 8, 16 and 32 layers.
- ``batch-norm``: batch normalization, figure 1: test accuracy, and percentiles of a unit's input, with and without.
- ``glorot``: Glorot and Bengio 2010, table 1 and figures 6 and 7: standard and normalized weights of tanh networks.
- ``he``: He et al. 2015, figure 3: a relu network of 30 layers with variance 2/n and with 1/n.

Each has a module of its name here, whose docstring says how it is scaled to a machine of two cores and what that costs.
The rules by which each is judged were written before anything of that size was trained. ``--whole`` takes as many steps
as the papers, or nearly, for a GPU. All seeds run in every configuration; 50 000 of MNIST's training images train and
10 000 are the dev set. Finished runs are in stores, which --resume continues.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experiments import checks

FIGURES = ("snn", "batch-norm", "glorot", "he")


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/papers")
    """Folder for the figures, their numbers, the report and the stores; made where missing."""
    figures: tuple[str, ...] = FIGURES
    """Which: snn, batch-norm, glorot, he."""
    data_dir: Path | None = None
    """Folder that holds mnist/; None: the environment variable JNORM_DATA."""
    quick: bool = False
    """Train two seeds of small networks for a few steps: to see that everything runs, not for verdicts."""
    whole: bool = False
    """Train as long as the papers did, or nearly: for a GPU."""
    seeds: int = 6
    """Runs of every configuration, at least 2 for an interval; seed s draws everything from jax.random.key(s)."""
    chunk: int | None = None
    """Runs side by side on a device; None: one on a CPU, elsewhere as many as are fastest."""
    resume: bool = False
    """Continue the sweeps whose stores are in --out; without it, a store that is there is an error."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        checks.whole(2, seeds=self.seeds)
        if self.chunk is not None:
            checks.whole(1, chunk=self.chunk)
        if not self.figures or len(set(self.figures)) < len(self.figures):
            raise ValueError(f"`figures` must hold at least one, and none twice; got {self.figures}")
        for name in self.figures:
            checks.choice("figures", name, FIGURES)
        if self.quick and self.whole:
            raise ValueError("`whole` must be False with quick; got True")

    @property
    def runs(self) -> int:
        """Seeds, of which two are enough to see that everything runs."""
        return min(self.seeds, 2) if self.quick else self.seeds

    @property
    def size(self) -> str:
        """How much is trained: quick, default or whole."""
        return "quick" if self.quick else "whole" if self.whole else "default"


def run(config: Config) -> dict[str, Any]:
    """Train, judge, draw and report; returns the numbers of ``report.json``."""
    from experiments.common import Output
    from experiments.papers import report
    from experiments.papers.asking import Ask
    from experiments.papers.course import modules, pixels, refuse_begun, swept
    from experiments.showing import Clock

    output, clock = Output.open(config.out), Clock()
    refuse_begun(config)
    with clock("data"):
        data = pixels(config.data_dir)
    ask = Ask(config.size, data, partial(swept, config, clock))
    found = {}
    for name, module in modules(config.figures).items():
        found[name] = module.measure(ask)
        with clock(f"drawing {name}"):
            output.figure(name, module.draw(found[name].arrays), **found[name].arrays)
    numbers = {"config": asdict(config)} | report.numbers(found) | {"seconds": clock.seconds}
    text = report.text(found, config.size, config.runs)
    output.report(text, numbers | {"files": list(output.files)})
    print(text)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers
