"""Gains: the weight variance that keeps signals and the one that keeps gradients, for every activation.

Where the two agree, as for relu, one initialization serves both directions; where they differ, depth must cost one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.common import Output
from experiments.showing import Clock
from jnorm.activations import ELEMENTWISE
from jnorm.theory.moments import activation_moments, gradient_factor


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/gains")
    """Folder for the figure, its numbers and the report; made where missing."""
    var: float = 1.0
    """Variance q of the pre-activations that is to be kept."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        if not self.var > 0:
            raise ValueError(f"`var` must satisfy var > 0; got {self.var}")


def gains(var: float, advance: Callable[[], object] = lambda: None) -> dict[str, tuple[float, float]]:
    """``n Var(w)`` by activation that keeps the variance, q/E[phi(z)^2], and the squared gradient, 1/E[phi'(z)^2].

    ``advance()`` is called after each activation.
    """
    with jax.enable_x64(True):
        values = {}
        for name, phi in ELEMENTWISE.items():
            mean, spread = (float(part) for part in activation_moments(phi, 0.0, var))
            values[name] = (var / (spread + mean**2), 1 / float(gradient_factor(phi, 0.0, var)))
            advance()
    return values


def run(config: Config) -> dict[str, Any]:
    """Compute, draw and report; returns the numbers of ``report.json``."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    output, clock = Output.open(config.out), Clock()
    with clock("gains", len(ELEMENTWISE), "activations") as shown:
        values = gains(config.var, shown.advance)
    order = sorted(values, key=lambda name: values[name][0])
    forward, backward = np.array([values[name] for name in order]).T
    with clock("drawing"), plots.style():
        figure, axes = plots.figure(size=(3.4, 3.6))
        rows = np.arange(len(order))
        axes.hlines(rows, np.minimum(forward, backward), np.maximum(forward, backward), color="#bbbbbb", lw=1)
        axes.plot(forward, rows, "o", ms=4, color=plots.PALETTE[0], label="keeps the signal")
        axes.plot(backward, rows, "s", ms=4, mfc="none", color=plots.PALETTE[1], label="keeps the gradient")
        axes.set_yticks(rows, order)
        axes.set_xscale("log")
        axes.set_xlabel("weight variance times fan-in or fan-out")
        axes.set_title(f"One variance rarely serves both (q = {config.var:g})")
        axes.legend(loc="lower right")
        output.figure("gains", figure, activation=order, forward=forward, backward=backward)
    lines = [f"| {name} | {values[name][0]:.4f} | {values[name][1]:.4f} |" for name in order]
    table = ["| activation | keeps the signal | keeps the gradient |", "|---|---|---|", *lines]
    numbers = {"var": config.var, "gains": {name: {"forward": f, "backward": b} for name, (f, b) in values.items()}}
    output.report("\n".join([f"# Gains at q = {config.var:g}", "", *table, ""]), numbers)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers
