"""MNIST with self-normalizing networks: test accuracy of a selu perceptron with alpha dropout over several seeds.

Adam with a cosine schedule; all seeds train side by side. The files of MNIST are read from --data-dir or JNORM_DATA.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optax

from experiments import checks, classification
from experiments.common import Output
from experiments.showing import Clock
from experiments.sweeping import stored
from jnorm import losses, statistics
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/mnist")
    """Folder for the report and the store; made where missing."""
    data_dir: Path | None = None
    """Folder that holds mnist/; None: the environment variable JNORM_DATA."""
    seeds: int = 8
    """Networks to train; seed s draws everything from jax.random.key(s)."""
    units: int = 256
    """Width of both hidden layers."""
    depth: int = 2
    """Hidden layers."""
    epochs: int = 14
    """Passes over the 60 000 training examples."""
    batch: int = 128
    """Examples in a step."""
    rate: float = 0.002
    """Learning rate at the start of the cosine."""
    dropout: float = 0.1
    """Rate of alpha dropout after each hidden layer."""
    smoothing: float = 0.1
    """Label smoothing."""
    resume: bool = False
    """Continue the sweep whose store is in --out; without it, a store that is there is an error."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name in ("seeds", "units", "depth", "epochs", "batch"):
            checks.whole(1, **{name: getattr(self, name)})
        checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rate=self.rate)
        checks.require(lambda r: (r >= 0) & (r < 1), "`{}` must satisfy 0 <= {} < 1", dropout=self.dropout)
        checks.require(lambda s: (s >= 0) & (s <= 1), "`{}` must satisfy 0 <= {} <= 1", smoothing=self.smoothing)


def run(config: Config) -> dict[str, Any]:
    """Train and report; returns the numbers of ``report.json``."""
    output, clock = Output.open(config.out), Clock()
    with clock("data"):
        data = classification.load("mnist", config.data_dir, dev=0)
    x = data.parts["train"][0]
    steps = config.epochs * -(-len(x) // config.batch)
    train = loop.trainer(
        lambda dropout: classification.perceptron(
            "selu", x.shape[1], data.classes, units=config.units, depth=config.depth, dropout=dropout
        ),
        losses.softmax_cross_entropy,
        lambda rate: optax.adam(optax.cosine_decay_schedule(rate, steps)),
        epochs=config.epochs,
        batch_size=config.batch,
        metrics={"accuracy": evaluation.accuracy},
    )
    values = {"rate": [config.rate], "dropout": [config.dropout], "smoothing": [config.smoothing]}
    with clock("training") as shown:
        result = stored(
            train,
            out=config.out,
            resume=config.resume,
            shown=shown,
            seeds=config.seeds,
            grid=values,
            shared=data.parts,
        )
    accuracy = result["test_accuracy"][0]
    numbers: dict[str, Any] = {"config": asdict(config), "test_accuracy": accuracy, "seconds": clock.seconds}
    numbers["mean"] = float(np.mean(accuracy))
    text = [
        "# MNIST with a self-normalizing network\n",
        f"Mean test accuracy {numbers['mean']:.2%} over {config.seeds} seeds: "
        + ", ".join(f"{a:.2%}" for a in accuracy.tolist()),
    ]
    if config.seeds > 1:
        mean = statistics.summary(accuracy, axis=0).mean
        numbers |= {"low": float(mean.low), "high": float(mean.high)}
        text.append(f"95 % interval of the mean: {numbers['low']:.2%} to {numbers['high']:.2%}.")
    output.report("\n".join(text) + "\n", numbers)
    print("\n".join(text))
    return numbers
