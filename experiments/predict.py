"""Six models as theory predicts them from their programs, over real initializations: signals and gradients by layer.

No parameter is drawn for a prediction. Each model is then initialized many times, and second moments and squared
gradients of every value are averaged, with their standard errors.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from experiments import checks, models
from experiments.common import Output
from experiments.initializations import Real, real
from experiments.models import Model, data, words
from experiments.showing import Clock
from jnorm.predict import Prediction, laws, predict

LEAST = 1e-12  # predicted second moments below it are zeros of the limit


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/predict")
    """Folder for the figure, its numbers and the report; made where missing."""
    draws: int = 128
    """Initializations of each model, at least 2."""
    width: int = 256
    """Units of every hidden layer, a multiple of 4."""
    depth: int = 50
    """Layers of the plain network; residual ones have a quarter of that, the transformer a twelfth."""
    quick: bool = False
    """Eight initializations of small models, to see that all works."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        checks.whole(2, draws=self.draws)
        checks.whole(12, depth=self.depth)
        checks.whole(64, width=self.width)
        checks.require(lambda n: n % 4 == 0, "`{}` must be a multiple of 4", width=self.width)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Width, depth and initializations."""
        return (64, 12, 8) if self.quick else (self.width, self.depth, self.draws)


class Row(NamedTuple):
    """A value of a model, predicted and measured: signal and gradient, and standard errors relative to the measured."""

    name: str
    second: float
    real_second: float
    error_second: float
    gradient: float
    real_gradient: float
    error_gradient: float


def six(width: int, depth: int) -> dict[str, Model]:
    """The models, each with an initialization that shows something."""
    scaled = nn.initializers.variance_scaling
    lecun, he = nn.initializers.lecun_normal(), nn.initializers.he_normal()
    normal = lambda gain: scaled(gain, "fan_in", "normal")
    x = data(4, 32)
    return {
        f"tanh, {depth} layers": models.model(models.Plain(width, depth, normal(1.2)), x),
        "residual, layer norm": models.model(models.Residual(width, depth // 4, lecun), x),
        "convolutions, batch norm": models.model(models.Convolutional(max(width // 4, 64), he), data(4, 8, 8, 3)),
        "transformer": models.model(models.Transformer(width, depth // 12, lecun), words(2, 8)),
        "one weight in 16 steps": models.model(models.Recurrent(width, 16, normal(1.5)), data(4, 16, 8)),
        "gates": models.model(models.Gated(width, depth // 4, lecun), x),
    }


def of_model(model: Model) -> Any:
    """Laws of its parameters, told by eight draws."""
    return laws(*(model.draw(key) for key in jax.random.split(jax.random.key(2), 8)))


def rows(prediction: Prediction, found: Real) -> list[Row]:
    """Side by side; without what is zero in the limit."""
    return [
        Row(row.name, row.second, second, error / second, row.gradient, slope, off / slope)
        for row, second, error, slope, off in zip(prediction, *found.second, *found.gradient, strict=True)
        if min(row.second, row.gradient, second, slope) > LEAST
    ]


def gaps(found: list[Row]) -> dict[str, float]:
    """Median and largest relative gap of both, and the median standard errors."""
    second, gradient = (
        np.array(
            [[getattr(row, name) / getattr(row, f"real_{name}") - 1, getattr(row, f"error_{name}")] for row in found]
        )
        for name in ("second", "gradient")
    )
    numbers: dict[str, float] = {}
    for name, both in (("forward", second), ("backward", gradient)):
        numbers[f"{name}_median"] = float(np.median(np.abs(both[:, 0])))
        numbers[f"{name}_largest"] = float(np.max(np.abs(both[:, 0])))
        numbers[f"{name}_error"] = float(np.median(both[:, 1]))
    return numbers


def draw(output: Output, tables: dict[str, list[Row]], draws: int) -> None:
    """A panel a model: lines of theory and dots of real networks, signals and gradients."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    with plots.style():
        figure, panels = plots.figure(2, 3, size=(7.0, 4.2))
        for axes, (name, found) in zip(panels.ravel(), tables.items(), strict=True):
            at = np.arange(len(found))
            for color, kind, label in ((0, "second", "signal"), (1, "gradient", "gradient")):
                predicted, seen, error = (
                    np.array([getattr(row, f"{part}{kind}") for row in found]) for part in ("", "real_", "error_")
                )
                axes.plot(at, predicted, color=plots.PALETTE[color], label=f"{label}, predicted")
                some = slice(None, None, max(len(found) // 25, 1))
                bars = {"fmt": "o", "markersize": 3, "markerfacecolor": "white", "linewidth": 0.8}
                axes.errorbar(
                    at[some], seen[some], 2 * (error * seen)[some], color=plots.PALETTE[color], label="real", **bars
                )
            axes.set(yscale="log", title=name)
        for axes in panels[-1]:
            axes.set_xlabel("value, in order of computation")
        for axes in panels[:, 0]:
            axes.set_ylabel("mean square")
        plots.legend(
            figure,
            panels[0, 0],
            title=f"Predicted from the program alone (lines); means of {draws} real networks (dots)",
        )
        arrays = {
            f"model{number}_{field}": np.array([getattr(row, field) for row in found])
            for number, found in enumerate(tables.values())
            for field in Row._fields[1:]
        }
        output.figure("predict", figure, models=np.array(list(tables)), **arrays)


def run(config: Config) -> dict[str, Any]:
    """Predict, initialize, draw and report; returns the numbers of ``report.json``."""
    output, clock = Output.open(config.out), Clock()
    width, depth, draws = config.sizes
    tables: dict[str, list[Row]] = {}
    for name, model in six(width, depth).items():
        with clock(f"{name}: prediction"):
            params = model.draw(jax.random.key(0))
            prediction = predict(model.apply, params, model.x, laws=of_model(model), gradients=True)
        with clock(f"{name}: networks", draws, "networks") as shown:
            tables[name] = rows(prediction, real(model, prediction, draws, shown.advance))
    with clock("drawing"):
        draw(output, tables, draws)
    found = {name: gaps(table) for name, table in tables.items()}
    text = [
        "# Models as they are predicted\n",
        "Second moments of values and squared gradients at them, predicted from each model's program, beside means",
        f"over {draws} initializations of width {width}. Gaps are relative; errors are standard errors of the means.\n",
        "| model | values | forward: median, largest gap (error) | backward: median, largest gap (error) |",
        "|---|---:|---:|---:|",
    ]
    for name, numbers in found.items():
        cells = [
            f"{numbers[f'{way}_median']:.1%}, {numbers[f'{way}_largest']:.1%} ({numbers[f'{way}_error']:.1%})"
            for way in ("forward", "backward")
        ]
        text.append(f"| {name} | {len(tables[name])} | {' | '.join(cells)} |")
    report = {"config": asdict(config), "draws": draws, "gaps": found, "seconds": clock.seconds}
    output.report("\n".join(text) + "\n", report)
    print("\n".join(text))
    print(f"\n{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return report
