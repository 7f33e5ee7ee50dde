"""Learning rates over widths: where the best one is, for the standard parametrization and for muP, on digits.

Perceptrons of several widths are trained with Adam at the same rates, by both parametrizations, which are the same at
the smallest width. Where a rule has changed with the width what must change, the best rate stays. Coordinate checks of
the same networks say beforehand which parameters it would move for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import checks, classification
from experiments.checks import Refused
from experiments.common import Output
from experiments.showing import Clock
from experiments.sweeping import stored
from jnorm import losses, statistics
from jnorm.nn import networks
from jnorm.sweeps import SweepResult, sweep
from jnorm.theory.parametrization import CoordCheck, Parametrization, Trial, coord_check, parametrize
from jnorm.train import loop

RULES = ("standard", "mup")
CHECKED = 64  # examples, and runs at each width, of a coordinate check
CHECK_RATE = 1e-3  # small: the check is of the first steps


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/parametrization")
    """Folder for the figure, its numbers, the report and the store; made where missing."""
    data: str = "digits"
    """A data set: digits, breast_cancer, wine, iris; from --data-dir also mnist, uci/NAME, FILE.npz, FILE.csv."""
    data_dir: Path | None = None
    """Folder that holds mnist/, uci/ and other files; None: the environment variable JNORM_DATA."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Units of every hidden layer, at least two different numbers; the smallest is the base."""
    rates: tuple[float, ...] = tuple(2.0**-k for k in range(13, 2, -1))
    """Learning rates of Adam, at least three, rising."""
    kind: str = "relu"
    """Kind of network: selu, relu, elu, tanh, sigmoid, relu+bn."""
    depth: int = 3
    """Hidden layers, at least 2."""
    seeds: int = 8
    """Runs of every configuration, at least 2 for an interval."""
    epochs: int = 5
    """Passes over the training set."""
    batch: int = 64
    """Examples in a step."""
    resume: bool = False
    """Continue the sweep whose store is in --out; without it, a store that is there is an error."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name, least in {"seeds": 2, "depth": 2, "epochs": 1, "batch": 1}.items():
            checks.whole(least, **{name: getattr(self, name)})
        checks.choice("kind", self.kind, classification.KINDS)
        checks.require(lambda n: n >= 1, "`{}` must satisfy {} >= 1", widths=self.widths)
        checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rates=self.rates)
        for name, least in {"widths": 2, "rates": 3}.items():
            values = getattr(self, name)
            if len(values) < least or list(values) != sorted(set(values)):
                raise ValueError(f"`{name}` must be {least} or more rising numbers; got {values}")


def scaled_network(
    config: Config, inputs: int, outputs: int, rule: str, width: int
) -> tuple[networks.Network, Parametrization]:
    """The network at a width, initialized by the rule, and the rule's multipliers."""

    def model(width: int) -> networks.Network:
        return classification.perceptron(config.kind, inputs, outputs, units=width, depth=config.depth)

    scaled = parametrize(lambda key, w: model(w).init(key)[0], width, base=config.widths[0], rule=rule)
    network = model(width)

    def init(key: jax.Array) -> tuple[Any, Any]:
        params, state = network.init(key)
        return scaled.initial(params), state

    return network._replace(init=init), scaled


def train_of(config: Config, inputs: int, outputs: int) -> Any:
    """``train(key, data, rule=, width=, rate=)`` of one run; rule and width are static."""

    def train(key: jax.Array, data: Any, *, rule: str, width: int, rate: Any) -> dict[str, jax.Array]:
        network, scaled = scaled_network(config, inputs, outputs, rule, width)
        run = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            lambda rate: optax.chain(optax.adam(rate), scaled.rates()),
            epochs=config.epochs,
            batch_size=config.batch,
            report=loop.Report(parts=["train"]),
        )
        return run(key, data, rate=rate)

    return train


def best_rates(loss: np.ndarray, rates: Sequence[float]) -> np.ndarray:
    """``log2`` of the best rate of each curve ``loss[..., rate]``: the vertex of the parabola at its lowest point.

    A curve that is lowest at an end has its best rate there; what is not finite is highest.
    """
    loss = np.where(np.isfinite(loss), loss, np.inf)
    x = np.log2(rates)
    at = np.argmin(loss, -1)
    inner = np.clip(at, 1, len(x) - 2)
    a, b, c = (np.log(np.take_along_axis(loss, (inner + k)[..., None], -1)[..., 0]) for k in (-1, 0, 1))
    (p, q, r) = (x[inner + k] for k in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (b - a) / (q - p), (c - b) / (r - q)
        vertex = (p + q) / 2 - left * (r - p) / 2 / (right - left)
    found = np.where(np.isfinite(c) & np.isfinite(a) & (at == inner), np.clip(vertex, p, r), x[at])
    return np.where(np.isfinite(loss).any(-1), found, np.nan)


def shifts(result: SweepResult, config: Config) -> dict[str, dict[str, Any]]:
    """By rule: training losses ``[width, seed, rate]``, best rates by width, and how far the best rate moves."""
    found = {}
    for rule in RULES:
        one = result.select(rule=rule)
        shape = (len(config.widths), len(config.rates), config.seeds)
        loss = np.moveaxis(np.asarray(one["train_loss"], np.float64).reshape(shape), 1, 2)
        best = best_rates(loss, config.rates)
        moved = statistics.summary(best[-1] - best[0], axis=0).mean
        found[rule] = {
            "loss": loss,
            "best": 2.0 ** np.nanmean(best, 1),
            "octaves": float(moved.value),
            "low": float(moved.low),
            "high": float(moved.high),
        }
    return found


def checked(config: Config, data: classification.Sets, rule: str) -> CoordCheck:
    """The coordinate check of a rule, on a batch of the training set."""
    x, y = (a[:CHECKED] for a in data.parts["train"])

    def make(width: int) -> Trial:
        network, scaled = scaled_network(config, x.shape[1], data.classes, rule, width)
        # The state of a normalizer is that of a fresh network: in training it does not enter.
        state = network.init(jax.random.key(0))[1]
        apply = lambda params, x: network.apply(params, state, x, train=True)[0]
        optimizer = optax.chain(optax.adam(CHECK_RATE), scaled.rates())
        return Trial(lambda key: network.init(key)[0], apply, optimizer)

    return coord_check(
        make,
        losses.softmax_cross_entropy,
        (x, jnp.asarray(y)),
        widths=config.widths,
        sweep=partial(sweep, chunk=8),
        seeds=CHECKED,
        steps=2,
    )


def draw(output: Output, found: dict[str, dict[str, Any]], config: Config) -> None:
    """Training loss over the rate, a line for each width, rules side by side."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than an experiment's help should

    with plots.style():
        figure, panels = plots.figure(1, len(RULES), size=(7.0, 3.0), sharey=True)
        for axes, rule in zip(panels, RULES, strict=True):
            for color, width, loss, best in zip(
                plots.PALETTE, config.widths, found[rule]["loss"], found[rule]["best"], strict=False
            ):
                mean = np.where(np.isfinite(loss).all(0), loss.mean(0), np.nan)
                axes.plot(config.rates, mean, "o-", color=color, markersize=2.5, label=f"width {width}")
                axes.axvline(best, color=color, linewidth=0.8, linestyle=":")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            moved = f"{found[rule]['octaves']:+.1f} [{found[rule]['low']:+.1f}, {found[rule]['high']:+.1f}] octaves"
            axes.set(xlabel="learning rate of Adam", title=f"{rule}: best rate moves {moved}")
        panels[0].set_ylabel(f"training loss, mean of {config.seeds} seeds")
        plots.legend(figure, panels[0])
        arrays = {f"{rule}_{name}": found[rule][name] for rule in RULES for name in ("loss", "best")}
        output.figure("rates", figure, widths=config.widths, rates=config.rates, **arrays)


def run(config: Config) -> dict[str, Any]:
    """Train, find the best rates, check coordinates, draw and report; returns the numbers of ``report.json``."""
    output, clock = Output.open(config.out), Clock()
    data = classification.load(config.data, config.data_dir)
    size, features = data.parts["train"][0].shape
    if config.batch > size:
        raise Refused(f"`batch` must satisfy batch <= {size}, the training examples; got {config.batch}")
    with clock("sweep") as shown:
        result = stored(
            train_of(config, features, data.classes),
            out=config.out,
            resume=config.resume,
            shown=shown,
            seeds=config.seeds,
            grid={"rule": RULES, "width": config.widths, "rate": config.rates},
            static=("rule", "width"),
            shared=data.parts,
        )
    found = shifts(result, config)
    with clock("coordinate checks"):
        verdicts = {rule: checked(config, data, rule) for rule in RULES}
    with clock("drawing"):
        draw(output, found, config)
    first, last = config.widths[0], config.widths[-1]
    text = [
        f"# The best learning rate from width {first} to {last} on {config.data}\n",
        f"Adam, {config.depth} hidden layers, {config.epochs} epochs; lowest training loss, mean over {config.seeds}",
        "seeds; in brackets the 95 % interval.\n",
        "| rule | " + " | ".join(f"best at {w}" for w in config.widths) + f" | octaves from {first} to {last} |",
        "|---|" + "---:|" * (len(config.widths) + 1),
    ]
    for rule in RULES:
        row = found[rule]
        moved = f"{row['octaves']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        text.append(f"| {rule} | " + " | ".join(f"{rate:.2g}" for rate in row["best"]) + f" | {moved} |")
    text += [f"\n## Coordinate check: {rule}\n\n```text\n{verdicts[rule]}\n```" for rule in RULES]
    numbers = {
        "config": asdict(config),
        "runs": int(result.failed.size),
        "diverged": int(result.failed.sum()),
        "rules": found,
        "verdicts": {rule: {"verdict": v.verdict, "suspects": v.suspects} for rule, v in verdicts.items()},
    }
    output.report("\n".join(text) + "\n", numbers | {"seconds": clock.seconds, "files": list(output.files)})
    print("\n".join(text))
    print(f"\n{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers
