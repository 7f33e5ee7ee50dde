"""Repair: four models that one initializer makes sick, and the factors with which every product has size one.

All weights begin as N(0, 0.02^2), whatever their shapes are. `jnorm.predict.gains` reads a factor for each weight from
the program; before and after, predicted second moments stand beside those of real networks.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments import checks, models
from experiments.common import Output
from experiments.initializations import real
from experiments.models import Model, data, words
from experiments.showing import Clock
from jnorm import jaxprs
from jnorm.predict import Law, Prediction, gains, laws, predict

WHEN = ("before", "after")


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/repair")
    """Folder for the figure, its numbers and the report; made where missing."""
    draws: int = 64
    """Initializations of each model, before and after, at least 2."""
    width: int = 256
    """Units of every hidden layer, a multiple of 4."""
    depth: int = 24
    """Layers of the plain network; the residual one has a third of that in blocks, the transformer a sixth."""
    std: float = 0.02
    """Deviation of all weights before repair."""
    quick: bool = False
    """Eight initializations of small models, to see that all works."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        checks.whole(2, draws=self.draws)
        checks.whole(6, depth=self.depth)
        checks.whole(64, width=self.width)
        checks.require(lambda n: n % 4 == 0, "`{}` must be a multiple of 4", width=self.width)
        checks.require(lambda s: s > 0, "`{}` must satisfy {} > 0", std=self.std)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Width, depth and initializations."""
        return (64, 6, 8) if self.quick else (self.width, self.depth, self.draws)


class Products(NamedTuple):
    """Second moments of what each weight makes, ``[products]``: predicted, and measured with standard errors."""

    predicted: np.ndarray
    real: np.ndarray
    error: np.ndarray


def four(width: int, depth: int, std: float) -> dict[str, Model]:
    """The models."""
    init, x = nn.initializers.normal(std), data(4, 32)
    return {
        "tanh": models.model(models.Plain(width, depth, init), x),
        "residual": models.model(models.Residual(width, depth // 3, init), x),
        "convolutions": models.model(models.Convolutional(max(width // 4, 64), init, norm=False), data(4, 8, 8, 3)),
        "transformer": models.model(models.Transformer(width, depth // 6, init), words(2, 8)),
    }


def of_weights(model: Model, prediction: Prediction) -> list[int]:
    """The rows that are products with weights, which have no axis of examples or heads in both factors."""
    program = jax.make_jaxpr(model.apply)(jax.eval_shape(model.draw, jax.random.key(0)), model.x)
    products = {
        site.index
        for site in jaxprs.walk(program)
        if site.primitive == "conv_general_dilated"
        or (site.primitive == "dot_general" and site.params["dimension_numbers"][1] == ((), ()))
    }
    return [number for number, row in enumerate(prediction) if row.index in products]


def repaired(model: Model) -> tuple[Model, Any, Any]:
    """The model with its gains in the initializer, and the laws of its parameters before and after."""
    drawn = [model.draw(key) for key in jax.random.split(jax.random.key(2), 8)]
    found = laws(*drawn)
    factors = gains(model.apply, drawn[0], model.x, laws=found)
    scaled = jax.tree.map(lambda law, g: Law(law.kind, law.var * float(g) ** 2), found, factors)
    draw = lambda key: jax.tree.map(jnp.multiply, model.draw(key), factors)
    return model._replace(draw=draw), found, scaled


def products(model: Model, found: Any, draws: int, clock: Clock, what: str) -> Products:
    """Second moments as predicted, and of so many networks."""
    with clock(f"{what}: prediction"):
        prediction = predict(model.apply, model.draw(jax.random.key(0)), model.x, laws=found)
    kept = of_weights(model, prediction)
    with clock(f"{what}: networks", draws, "networks") as shown:
        second, error = real(model, prediction, draws, shown.advance).second
    return Products(np.array([prediction[number].second for number in kept]), second[kept], error[kept])


def draw(output: Output, found: dict[str, dict[str, Products]], config: Config) -> None:
    """A panel a model, sizes over depth before and after."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    with plots.style():
        figure, panels = plots.figure(1, len(found), size=(7.0, 2.6), sharey=True)
        for axes, (name, both) in zip(panels, found.items(), strict=True):
            for color, (when, seen) in zip((1, 0), both.items(), strict=True):
                at = np.arange(1, len(seen.real) + 1)
                axes.plot(at, seen.predicted, color=plots.PALETTE[color], label=f"{when}, predicted")
                bars = {"fmt": "o", "markersize": 3.5, "markerfacecolor": "white", "linewidth": 0.8}
                axes.errorbar(at, seen.real, 2 * seen.error, color=plots.PALETTE[color], label="real networks", **bars)
            axes.set(yscale="log", title=name, xlabel="product with a weight")
        panels[0].set_ylabel("mean square")
        plots.legend(figure, panels[0], title=f"Weights N(0, {config.std:g}²), and the same times their gains")
        arrays = {
            f"{name}_{when}_{field}": getattr(seen, field)
            for name, both in found.items()
            for when, seen in both.items()
            for field in Products._fields
        }
        output.figure("repair", figure, **arrays)


def run(config: Config) -> dict[str, Any]:
    """Repair, predict, initialize, draw and report; returns the numbers of ``report.json``."""
    output, clock = Output.open(config.out), Clock()
    width, depth, draws = config.sizes
    found: dict[str, dict[str, Products]] = {}
    for name, model in four(width, depth, config.std).items():
        with clock(f"{name}: gains"):
            after, laws_before, laws_after = repaired(model)
        pairs = zip(WHEN, (model, after), (laws_before, laws_after), strict=True)
        found[name] = {when: products(m, law, draws, clock, f"{name} {when}") for when, m, law in pairs}
    with clock("drawing"):
        draw(output, found, config)
    text = [
        "# Repaired models\n",
        f"Second moments of every product with a weight, for weights N(0, {config.std:g}^2) and for the same times",
        f"their gains: the smallest and the largest in the means over {draws} networks of width {width}, the largest",
        "standard error of these, and the largest relative gap to the prediction.\n",
        "| model | products | before | after | error after | gap after |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    numbers: dict[str, Any] = {}
    for name, both in found.items():
        ends = {when: [float(seen.real.min()), float(seen.real.max())] for when, seen in both.items()}
        last = both["after"]
        gap, error = (float(np.max(np.abs(a / last.predicted))) for a in (last.real - last.predicted, last.error))
        numbers[name] = {**ends, "error": error, "gap": gap}
        shown = [f"{low:.2g} ... {high:.2g}" for low, high in ends.values()]
        text.append(f"| {name} | {len(last.real)} | {' | '.join(shown)} | {error:.1%} | {gap:.1%} |")
    report = {"config": asdict(config), "draws": draws, "models": numbers, "seconds": clock.seconds}
    output.report("\n".join(text) + "\n", report)
    print("\n".join(text))
    print(f"\n{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return report
