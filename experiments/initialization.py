"""How weights begin: histograms of ten layers from zero, small, large, Xavier's and He's weights, beside theory.

Layers ``phi(x @ kernel)`` without biases get inputs N(0, 1). In the limit of wide layers a pre-activation is N(0, q),
``q = n std^2 E[x^2]``: the line over each histogram is what the activation makes of that, and nothing is fitted.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy import special

from experiments import checks
from experiments.claims.claim import Setup
from experiments.claims.signals import BINS, Signals, signals
from experiments.common import Output
from experiments.showing import Clock
from jnorm.activations import ELEMENTWISE
from jnorm.theory.fixed_points import iterate
from jnorm.theory.meanfield import layer_map
from jnorm.theory.moments import Moments

LAWS = {
    "zero": lambda n: 0.0,
    "std 0.01": lambda n: 0.01,
    "std 1": lambda n: 1.0,
    "Xavier, 1/n": lambda n: n**-0.5,
    "He, 2/n": lambda n: (2 / n) ** 0.5,
}
"""The standard deviation of weights, given the units of a layer; of the last two the variance is in the name."""
ENDS = {"tanh": (-1.0, 1.0), "relu": (0.0, 2.0)}


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/initialization")
    """Folder for the figure, its numbers and the report; made where missing."""
    activations: tuple[str, ...] = ("tanh", "relu")
    """Names in jnorm.activations, a row of the figure each."""
    units: int = 500
    """Of every layer, and inputs."""
    depth: int = 10
    """Layers."""
    seeds: int = 32
    """Networks for each law, at least 2; seed s draws everything from jax.random.key(s)."""
    examples: int = 100
    """Inputs for each network."""
    quick: bool = False
    """Four small networks for each law: to see that everything runs."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        if not self.activations:
            raise ValueError("`activations` must name at least one; got none")
        for name in self.activations:
            checks.choice("activations", name, ELEMENTWISE)
        for name, least in {"units": 2, "depth": 1, "seeds": 2, "examples": 1}.items():
            checks.whole(least, **{name: getattr(self, name)})

    @property
    def sizes(self) -> dict[str, int]:
        """Units, seeds and examples, after ``quick``."""
        full = {"units": self.units, "seeds": self.seeds, "examples": self.examples}
        few = {"units": 50, "seeds": 4, "examples": 20}
        return {name: min(size, few[name]) for name, size in full.items()} if self.quick else full


def predicted(phi: Any, std: float, units: int, depth: int, ends: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations of the activations of each layer, and shares ``[layer, bin]`` of their histograms."""
    with jax.enable_x64(True):
        sigma = std * units**0.5
        made = iterate(layer_map(phi, sigma_w=sigma), Moments(0.0, 1.0), depth)
        before = sigma**2 * np.asarray(made.var + made.mean**2)[:-1]
        quantiles = special.ndtri((np.arange(40_000) + 0.5) / 40_000)
        values = np.asarray(jax.jit(phi)(np.sqrt(before)[:, None] * quantiles))
    shares = [np.histogram(row, BINS, ends)[0] / quantiles.size for row in values]
    return np.sqrt(np.asarray(made.var)[1:]), np.array(shares)


def run(config: Config) -> dict[str, Any]:
    """Measure, predict, draw and report; returns the numbers of ``report.json``."""
    output, clock, sizes = Output.open(config.out), Clock(), config.sizes
    setup = Setup(range(sizes["seeds"]), config.out)
    arms = [(name, law) for name in config.activations for law in LAWS]
    found: dict[tuple[str, str], tuple[Signals, np.ndarray, np.ndarray]] = {}
    with clock("networks", len(arms), "laws") as shown:
        for name, law in arms:
            phi, std, ends = ELEMENTWISE[name], LAWS[law](sizes["units"]), ENDS.get(name, (-2.0, 2.0))
            widths = [sizes["units"]] * (config.depth + 1)
            seen = signals(setup, phi, [std] * config.depth, widths, examples=sizes["examples"], ends=ends)
            found[name, law] = (seen, *predicted(phi, std, sizes["units"], config.depth, ends))
            shown.advance()
    with clock("drawing"):
        figure = draw(found, config)
        arrays = {
            f"{name}, {law}, {what}".replace("/", " over "): part
            for (name, law), (seen, stds, shares) in found.items()
            for what, part in {"std": seen.std, "histogram": seen.histogram, "std said": stds, "said": shares}.items()
        }
        output.figure("initialization", figure, **arrays)
    rows, numbers = [], {}
    for (name, law), (seen, stds, _) in found.items():
        last = seen.std[:, -1]
        error = last.std(ddof=1) / len(last) ** 0.5
        rows.append(f"| {name} | {law} | {stds[-1]:.4g} | {last.mean():.4g} | {error:.2g} |")
        numbers[f"{name}, {law}"] = {"predicted": stds[-1], "measured": last.mean(), "error": error}
    lines = [
        f"# How weights begin: {config.depth} layers of {sizes['units']} units\n",
        f"{sizes['seeds']} networks for each law, {sizes['examples']} inputs N(0, 1) for each.",
        "Theory is that of infinite width; its own error grows with depth over width.\n",
        f"| activation | weights | std of layer {config.depth}, theory | networks | standard error |",
        "|---|---|---|---|---|",
        *rows,
    ]
    report = {"config": {name: str(value) for name, value in asdict(config).items()}, "laws": numbers}
    output.report("\n".join([*lines, ""]), report)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return report


def draw(found: dict[tuple[str, str], tuple[Signals, np.ndarray, np.ndarray]], config: Config) -> Any:
    """A row for each activation: histograms layer by layer for each law, and the deviations of all on one scale."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    with plots.style():
        count = len(config.activations)
        figure, panels = plots.figure(count, len(LAWS) + 1, size=(11.0, 0.6 + 2.9 * count), squeeze=False)
        for name, (*row, last) in zip(config.activations, panels, strict=True):
            for axes, law, color in zip(row, LAWS, plots.PALETTE, strict=False):
                seen, stds, shares = found[name, law]
                _ridges(axes, seen, stds, shares, color)
                axes.set(title=law, xlabel=f"{name}(z)")
                layers = np.arange(1, config.depth + 1)
                shown = lambda std: np.where(std > 0, std, np.nan)  # zero is on no logarithmic scale
                last.plot(layers, shown(stds), color=color, linewidth=1.0)
                last.plot(layers, shown(seen.std.mean(0)), "o", color=color, markersize=3, label=law)
            row[0].set_ylabel(f"{name}: layer")
            last.set(yscale="log", xlabel="layer", title="std of the activations")
        plots.legend(
            figure,
            panels[0, -1],
            title="areas and dots: networks, with their std beside each layer; lines: theory of wide layers",
        )
    return figure


def _ridges(axes: Any, seen: Signals, stds: np.ndarray, shares: np.ndarray, color: str) -> None:
    """Histograms one under the other, each as high as the others, with those that were predicted as lines."""
    low, high = seen.ends
    edges = np.linspace(low, high, BINS + 1)
    measured = seen.histogram.mean(0)
    for layer, (share, said, std) in enumerate(zip(measured, shares, seen.std.mean(0), strict=True), 1):
        # Beside the zeros of relu, which would be all that is seen.
        most = max(share[1:].max() if low == 0 else share.max(), 1e-3)
        height = lambda part, most=most: 0.85 * np.minimum(part / most, 1) - layer  # noqa: B023
        axes.stairs(height(share), edges, baseline=-layer, fill=True, color=color, alpha=0.55, zorder=2)
        axes.stairs(height(said), edges, baseline=None, color="black", linewidth=0.6, zorder=3)
        number = f"{std:.2g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
        axes.annotate(number, (1.02, 0.15 - layer), xycoords=("axes fraction", "data"), fontsize=6)
    axes.set(xlim=(low, high), ylim=(-len(measured) - 0.15, 0.1))
    axes.set_yticks([-layer for layer in range(1, len(measured) + 1)], range(1, len(measured) + 1))
