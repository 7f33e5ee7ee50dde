"""Which random stream the spread of test results comes from: initialization, data order or dropout, on digits.

Self-normalizing perceptrons with alpha dropout, trained with every combination of initialization keys, data order keys
and dropout keys on one split of the data. The variance of test accuracy and loss is split into components, one for each
stream and each interaction.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments import checks, classification
from experiments.checks import Refused
from experiments.common import Output
from experiments.showing import Clock, Task
from experiments.sweeping import stored
from jnorm import losses
from jnorm.statistics import Bounds, Components, components, intervals, subsets
from jnorm.train import evaluation, loop

STREAMS = {"init_key": "initialization", "order_key": "data order", "dropout_key": "dropout"}
SCORES = {"test_accuracy": "test accuracy", "test_loss": "test loss"}
EFFECTS = [" x ".join(list(STREAMS.values())[i] for i in subset) for subset in subsets(len(STREAMS))]


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/streams")
    """Folder for the figure, its numbers, the report and the store; made where missing."""
    data: str = "digits"
    """A data set: digits, breast_cancer, wine, iris; from --data-dir also mnist, uci/NAME, FILE.npz, FILE.csv."""
    data_dir: Path | None = None
    """Folder that holds mnist/, uci/ and other files; None: the environment variable JNORM_DATA."""
    inits: int = 12
    """Initialization keys, at least 2; all keys of all streams differ."""
    orders: int = 12
    """Data order keys, at least 2."""
    dropouts: int = 12
    """Dropout keys, at least 2."""
    units: int = 64
    """Width of every hidden layer."""
    depth: int = 2
    """Hidden layers."""
    epochs: int = 15
    """Passes over the training set."""
    batch: int = 32
    """Examples in a step."""
    rate: float = 0.03
    """Learning rate of plain stochastic gradient descent."""
    dropout: float = 0.1
    """Rate of alpha dropout after each hidden layer."""
    resume: bool = False
    """Continue the sweep whose store is in --out; without it, a store that is there is an error."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        least = {"inits": 2, "orders": 2, "dropouts": 2, "units": 1, "depth": 1, "epochs": 1, "batch": 1}
        for name, bound in least.items():
            checks.whole(bound, **{name: getattr(self, name)})
        checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rate=self.rate)
        checks.require(lambda r: (r >= 0) & (r < 1), "`{}` must satisfy 0 <= {} < 1", dropout=self.dropout)


def train(config: Config, data: classification.Sets, shown: Task) -> dict[str, np.ndarray]:
    """Test accuracy and loss, each [initialization, data order, dropout], from one compiled program."""
    levels = (config.inits, config.orders, config.dropouts)
    first = np.cumsum([0, *levels[:-1]])
    keys = {name: range(a, a + n) for name, a, n in zip(STREAMS, first.tolist(), levels, strict=True)}
    inputs = data.parts["train"][0].shape[1]
    run = loop.trainer(
        lambda dropout: classification.perceptron(
            "selu", inputs, data.classes, units=config.units, depth=config.depth, dropout=dropout
        ),
        losses.softmax_cross_entropy,
        lambda rate: optax.sgd(rate),
        epochs=config.epochs,
        batch_size=config.batch,
        metrics={"accuracy": evaluation.accuracy},
        report=loop.Report(parts=["test"]),
    )
    grid = {**keys, "rate": [config.rate], "dropout": [config.dropout]}
    # The key of the run itself is left without a use, so that one seed is all there is.
    result = stored(
        run,
        out=config.out,
        resume=config.resume,
        shown=shown,
        seeds=1,
        grid=grid,
        integers=list(keys),
        shared=data.parts,
    )
    return {score: result[score].reshape(levels) for score in SCORES}


def analysed(values: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The table of components of each score, in float64, with 95 % intervals."""

    @jax.jit
    def tables(key: jax.Array, x: jax.Array) -> tuple[Components, Bounds]:
        found = components(x, axes=(1, 2, 3))
        return found, intervals(key, found)

    stacked = np.stack(list(values.values())).astype(np.float64)
    with jax.enable_x64(True):
        found, bounds = tables(jax.random.key(0), stacked)
    columns = found._asdict()
    for name, interval in bounds._asdict().items():
        columns |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    columns |= {"mean": stacked.mean((1, 2, 3)), "var": np.asarray(found.component).sum(-1)}
    return {score: {name: np.asarray(a)[i] for name, a in columns.items()} for i, score in enumerate(values)}


def lines(score: str, table: dict[str, Any]) -> list[str]:
    """A score in Markdown: shares and standard deviations by component."""
    text = [
        f"\n## {SCORES[score].capitalize()}\n",
        f"Mean {table['mean']:.4f}; standard deviation {np.sqrt(table['var']):.4f} of a run with all keys new.\n",
        "| component | share of variance [95 %] | variance [95 %] | degrees of freedom |",
        "|---|---:|---:|---:|",
    ]
    for i, name in enumerate(EFFECTS):
        share, low, high = (table[column][i] for column in ("share", "share_low", "share_high"))
        part, least, most = (table[column][i] for column in ("component", "component_low", "component_high"))
        shown = f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}] | {part:.2e} [{least:.2e}, {most:.2e}]"
        text.append(f"| {name} | {shown} | {table['freedom'][i]:.0f} |")
    return text


def draw(output: Output, tables: dict[str, dict[str, Any]], values: dict[str, np.ndarray], config: Config) -> None:
    """Shares of variance as bars with their intervals, components down and scores side by side."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than an experiment's help should

    with plots.style():
        figure, panels = plots.figure(1, len(tables), size=(7.0, 2.6), sharey=True)
        places = np.arange(len(EFFECTS))
        colors = [plots.PALETTE[0] if " x " not in name else plots.PALETTE[5] for name in EFFECTS]
        for axes, (score, table) in zip(panels, tables.items(), strict=True):
            share, low, high = (100 * table[column] for column in ("share", "share_low", "share_high"))
            axes.barh(places, share, height=0.6, color=colors, alpha=0.6)
            axes.hlines(places, low, high, color="black", linewidth=1.0)
            axes.plot(share, places, "|", color="black", markersize=5)
            for place, value, end in zip(places, share, high, strict=True):
                if np.isfinite(value):
                    axes.annotate(f"{value:.1f}", (max(end, 0), place), (3, 0), textcoords="offset points", va="center")
            axes.margins(x=0.12)
            axes.axvline(0, color="black", linewidth=0.6)
            axes.set(xlabel="share of variance (%), 95 % interval", title=SCORES[score])
        panels[0].set_yticks(places, EFFECTS)
        panels[0].invert_yaxis()
        shares = {f"{score}_{n}": table[n] for score, table in tables.items() for n in table}
        output.figure("shares", figure, effects=np.array(EFFECTS), **values, **shares)


def run(config: Config) -> dict[str, Any]:
    """Train, split the variance, draw and report; returns the numbers of ``report.json``."""
    output, clock = Output.open(config.out), Clock()
    data = classification.load(config.data, config.data_dir)
    size = len(data.parts["train"][0])
    if config.batch > size:
        raise Refused(f"`batch` must satisfy batch <= {size}, the training examples; got {config.batch}")
    with clock("training") as shown:
        values = train(config, data, shown)
    diverged = int((~np.isfinite(values["test_loss"])).sum())
    with clock("components"):
        tables = analysed(values)
    with clock("drawing"):
        draw(output, tables, values, config)
    runs = config.inits * config.orders * config.dropouts
    text = [
        f"# Where the spread of test results on {config.data} comes from\n",
        f"{runs} runs: {config.inits} initializations x {config.orders} data orders x {config.dropouts} dropout keys,",
        "on one split of the data. Unbiased components of a crossed random-effects design; one that is",
        "estimated below zero is shown as it is, and one whose interval (for normal effects) reaches below zero cannot",
        "be told from none.",
        "Runs are determined by their three keys: the last component is their joint interaction.",
    ]
    if diverged:
        text.append(f"\n{diverged} of {runs} runs diverged: nothing can be said of components.")
    for score, table in tables.items():
        text += lines(score, table)
    numbers = {"config": asdict(config), "runs": runs, "diverged": diverged, "effects": EFFECTS, **tables}
    output.report("\n".join(text) + "\n", numbers | {"seconds": clock.seconds, "files": list(output.files)})
    print("\n".join(text))
    print(f"\n{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers | {"seconds": clock.seconds}
