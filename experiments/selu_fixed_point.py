"""SELU's fixed point: real networks over its layer map, the constants that make others, where they attract, how fast.

Draws five figures, each as PNG and SVG with its numbers beside it as npz, and writes a report of what they show.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experiments import branches, checks, planes, portrait
from experiments.common import Output
from experiments.showing import Clock
from jnorm.activations import ELEMENTWISE

DIGITS, PIXELS = 1797, 64  # scikit-learn's set, known here so that bad options fail before it is loaded


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/selu_fixed_point")
    """Folder for the figures, their numbers and the report; made where missing."""
    seeds: int = 64
    """Networks to measure, at least 2 for a band; seed s draws its weights and images from jax.random.key(s)."""
    depth: int = 64
    """Layers of each network, and of the theory drawn under it."""
    width: int = 1024
    """Units of every layer; images are enlarged to it, so at least 64, one for each pixel."""
    examples: int = 8
    """Images that each network gets at each start; the moments are averaged over them."""
    activation: str = "selu"
    """Name in jnorm.activations, for the networks and the layers map; the constants and branches stay SELU's."""
    resolution: int = 200
    """Points along each side of the planes of constants and of layers."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name, least in {"seeds": 2, "depth": 1, "width": PIXELS, "examples": 1, "resolution": 2}.items():
            value = getattr(self, name)
            checks.require(lambda n, least=least: n >= least, f"`{{}}` must satisfy {{}} >= {least}", **{name: value})
        rule = f"`{{}}` must satisfy {{}} <= {DIGITS}, the number of images"
        checks.require(lambda n: n <= DIGITS, rule, examples=self.examples)
        checks.choice("activation", self.activation, ELEMENTWISE)


def run(config: Config) -> dict[str, Any]:
    """Measure, solve, draw and report; returns the numbers of ``report.json``."""
    output, clock, phi = Output.open(config.out), Clock(), ELEMENTWISE[config.activation]
    sizes = {name: getattr(config, name) for name in ("seeds", "depth", "width", "examples")}
    figures = {
        "networks": partial(portrait.draw, output, phi, **sizes),
        "constants": partial(planes.constants, output, config.resolution),
        "branches": partial(branches.draw, output),
        "layers": partial(planes.layers, output, phi, config.resolution),
    }
    numbers: dict[str, Any] = {"config": asdict(config)}
    text = [f"# The fixed point of {config.activation}\n"]
    for name, figure in figures.items():
        with clock(name):
            numbers[name], lines = figure()
        text += lines
    numbers |= {"seconds": clock.seconds, "files": list(output.files)}
    output.report("\n".join(text), numbers)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers
