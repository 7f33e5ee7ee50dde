"""Accuracy over depth for selu, relu, elu, tanh, sigmoid and relu with batch norm: many seeds, several learning rates.

Every seed runs in every configuration. The learning rate is chosen by mean dev accuracy for each kind and depth, and
test accuracy is reported; a run that diverged counts as chance. Finished runs are in a store, which --resume continues.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments import checks, classification
from experiments.checks import Refused
from experiments.common import Output, leading
from experiments.showing import Clock
from experiments.sweeping import stored
from jnorm import losses, statistics
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/seed_sweep")
    """Folder for the figure, its numbers, the report and the store; made where missing."""
    data: str = "digits"
    """A data set: digits, breast_cancer, wine, iris; from --data-dir also mnist, uci/NAME, FILE.npz, FILE.csv."""
    data_dir: Path | None = None
    """Folder that holds mnist/, uci/ and other files; None: the environment variable JNORM_DATA."""
    seeds: int = 64
    """Runs of every configuration, at least 2 for a band; seed s draws everything from jax.random.key(s)."""
    kinds: tuple[str, ...] = tuple(classification.KINDS)
    """Kinds of network: selu, relu, elu, tanh, sigmoid, relu+bn."""
    depths: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Numbers of hidden layers."""
    rates: tuple[float, ...] = (0.01, 0.03, 0.1)
    """Learning rates of plain stochastic gradient descent."""
    units: int = 64
    """Width of every hidden layer."""
    epochs: int = 10
    """Passes over the training set."""
    batch: int = 32
    """Examples in a step."""
    resume: bool = False
    """Continue the sweep whose store is in --out; without it, a store that is there is an error."""
    distributed: bool = False
    """One of several processes that share the work, started by SLURM, Open MPI, Kubernetes or on a TPU pod."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name, least in {"seeds": 2, "units": 1, "epochs": 1, "batch": 1}.items():
            checks.whole(least, **{name: getattr(self, name)})
        for name in ("kinds", "depths", "rates"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"`{name}` must hold at least one value, and none twice; got {values}")
        for kind in self.kinds:
            checks.choice("kinds", kind, classification.KINDS)
        checks.require(lambda n: n >= 1, "`{}` must satisfy {} >= 1", depths=self.depths)
        checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rates=self.rates)


def train_of(config: Config, inputs: int, outputs: int) -> Any:
    """``train(key, data, kind=, depth=, rate=)`` of one run; kind and depth are static."""

    def train(key: jax.Array, data: Any, *, kind: str, depth: int, rate: Any) -> dict[str, jax.Array]:
        run = loop.trainer(
            classification.perceptron(kind, inputs, outputs, units=config.units, depth=depth),
            losses.softmax_cross_entropy,
            lambda rate: optax.sgd(rate),
            epochs=config.epochs,
            batch_size=config.batch,
            metrics={"accuracy": evaluation.accuracy},
        )
        return run(key, data, rate=rate)

    return train


def rows(result: Any, config: Config, chance: float) -> list[dict[str, Any]]:
    """For each kind and depth: the chosen rate, test accuracies of all seeds, their mean and its interval."""
    rates = np.array([one["rate"] for one in result.configurations])
    scores = {
        name: np.where(np.isnan(result[name]), chance, result[name]) for name in ("dev_accuracy", "test_accuracy")
    }
    arrays = scores | {"rate": np.repeat(rates[:, None], config.seeds, 1), "failed": result.failed.astype(float)}
    best = statistics.tuned(statistics.Runs(result.configurations, arrays), "rate", on="dev_accuracy")
    found = []
    for i, one in enumerate(best.configurations):
        test = best["test_accuracy"][i]
        mean = statistics.summary(test, axis=0).mean
        found.append(
            {
                **one,
                "rate": float(best["rate"][i, 0]),
                "mean": float(mean.value),
                "low": float(mean.low),
                "high": float(mean.high),
                "diverged": int(best["failed"][i].sum()),
                "diverged_at_any_rate": int(result.select(**one).failed.sum()),
                "test": test,
            }
        )
    return found


def table(found: Sequence[dict[str, Any]], config: Config) -> list[str]:
    """Mean test accuracies in Markdown, kinds down and depths across."""
    lines = ["| kind | " + " | ".join(f"depth {d}" for d in config.depths) + " |"]
    lines.append("|---|" + "---:|" * len(config.depths))
    at = {(row["kind"], row["depth"]): row for row in found}
    for kind in config.kinds:
        cells = [at[kind, depth] for depth in config.depths]
        shown = (f"{c['mean']:.2%} [{c['low']:.2%}, {c['high']:.2%}]".replace("%", "") for c in cells)
        lines.append(
            f"| {kind} | " + " | ".join(f"{s} at {c['rate']:g}" for s, c in zip(shown, cells, strict=True)) + " |"
        )
    return lines


def draw(output: Output, found: Sequence[dict[str, Any]], config: Config, chance: float) -> None:
    """Accuracy over depth: the mean of each kind, in the band of the middle 80 % of its seeds."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than an experiment's help should

    accuracy = {kind: np.stack([row["test"] for row in found if row["kind"] == kind], 1) for kind in config.kinds}
    with plots.style():
        figure, axes = plots.figure(size=(4.6, 3.2))
        for color, (kind, samples) in zip(plots.PALETTE, accuracy.items(), strict=False):
            plots.band(axes, config.depths, 100 * samples, color=color, cover=0.8, label=kind)
            axes.plot(config.depths, 100 * samples.mean(0), color=color)
        axes.axhline(100 * chance, color="0.6", linewidth=0.6, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(config.depths, [str(d) for d in config.depths])
        axes.minorticks_off()
        axes.set(
            xlabel="hidden layers",
            ylabel="test accuracy (%)",
            title=f"{config.data}: mean and middle 80 % of {config.seeds} seeds",
        )
        plots.legend(figure, axes)
        output.figure("accuracy", figure, depths=config.depths, chance=chance, **accuracy)


def run(config: Config) -> dict[str, Any]:
    """Train, choose rates, draw and report; returns the numbers of ``report.json``."""
    if config.distributed:
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            raise Refused(f"`distributed` must be used where a cluster starts the processes: {error}") from None
    output, clock = Output.open(config.out), Clock()
    data = classification.load(config.data, config.data_dir)
    size, features = data.parts["train"][0].shape
    if config.batch > size:
        raise Refused(f"`batch` must satisfy batch <= {size}, the training examples; got {config.batch}")
    grid = {"kind": config.kinds, "depth": config.depths, "rate": config.rates}
    with clock("sweep") as shown:
        result = stored(
            train_of(config, features, data.classes),
            out=config.out,
            resume=config.resume,
            shown=shown,
            seeds=config.seeds,
            grid=grid,
            static=("kind", "depth"),
            shared=data.parts,
        )
    chance = max(np.bincount(data.parts["test"][1])) / len(data.parts["test"][1])
    found = rows(result, config, chance)
    numbers = {
        "config": asdict(config),
        "runs": int(result.failed.size),
        "diverged": int(result.failed.sum()),
        "chance": chance,
        "results": found,
        "seconds": clock.seconds,
    }
    if leading():
        with clock("drawing"):
            draw(output, found, config, chance)
        text = [
            f"# Accuracy over depth on {config.data}\n",
            f"Test accuracy in %, mean over {config.seeds} seeds [95 % interval of the mean] at the learning rate with",
            "the best dev accuracy; diverged runs count as chance.\n",
            *table(found, config),
            f"\n{numbers['diverged']} of {numbers['runs']} runs diverged, over all rates.",
        ]
        output.report("\n".join(text) + "\n", numbers | {"files": list(output.files)})
        print("\n".join(text))
        print(f"\n{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers
