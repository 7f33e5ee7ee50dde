"""Order and chaos over the variances of weights and biases: theory, and real networks over it.

Two inputs go through networks on a grid of the plane. The colour of a dot is the correlation that they have after some
layers, the plane below it the one that theory says stays; along the layers networks are compared with theory itself.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import checks
from experiments.common import Output
from experiments.showing import Clock
from jnorm.activations import ELEMENTWISE
from jnorm.theory import meanfield
from jnorm.theory.moments import Activation


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/phase_diagram")
    """Folder for the figure, its numbers and the report; made where missing."""
    activation: str = "tanh"
    """Name in jnorm.activations."""
    weights: tuple[float, float] = (0.5, 3.0)
    """Range of sigma_w, the deviation of the weights times the root of the fan-in."""
    biases: tuple[float, float] = (0.0, 1.0)
    """Range of sigma_b, the deviation of the biases."""
    grid: int = 6
    """Networks of as many weights and biases are measured."""
    seeds: int = 8
    """Networks at each point of the grid, at least 2; seed s draws everything from jax.random.key(s)."""
    width: int = 512
    """Units of every layer."""
    depth: int = 32
    """Layers."""
    resolution: int = 200
    """Points of the plane in both directions."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        checks.choice("activation", self.activation, ELEMENTWISE)
        for name, least in {"grid": 2, "seeds": 2, "width": 2, "depth": 1, "resolution": 2}.items():
            checks.whole(least, **{name: getattr(self, name)})
        for name in ("weights", "biases"):
            low, high = getattr(self, name)
            if not 0 <= low < high:
                raise ValueError(f"`{name}` must satisfy 0 <= low < high; got {low:g}, {high:g}")


CORRELATION = 0.6
"""Of the two inputs, whose pre-activations have length one at the start."""


@partial(jax.jit, static_argnames=("phi", "width", "depth"))
def measured(phi: Activation, key: jax.Array, sigma_w: jax.Array, sigma_b: jax.Array, width: int, depth: int) -> Any:
    """Correlation of the two inputs by layer ``[depth]``, for one network at each point."""
    first, *keys = jax.random.split(key, depth + 1)
    a, b = jnp.linalg.qr(jax.random.normal(first, (width, 2)))[0].T * width**0.5
    start = jnp.stack([a, CORRELATION * a + (1 - CORRELATION**2) ** 0.5 * b])

    def network(w: jax.Array, b: jax.Array) -> jax.Array:
        def layer(z: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            key_w, key_b = jax.random.split(key)
            kernel = w / width**0.5 * jax.random.normal(key_w, (width, width))
            y = phi(z) @ kernel + b * jax.random.normal(key_b, (1, width))
            return y, y[0] @ y[1] / jnp.sqrt((y[0] @ y[0]) * (y[1] @ y[1]))

        return jax.lax.scan(layer, start, jnp.stack(keys))[1]

    return jax.lax.map(lambda at: network(*at), (sigma_w, sigma_b))


def run(config: Config) -> dict[str, Any]:
    """Compute, measure, draw and report; returns the numbers of ``report.json``."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    output, clock, phi = Output.open(config.out), Clock(), ELEMENTWISE[config.activation]
    axes_of = lambda count: (np.linspace(*config.weights, count), np.linspace(*config.biases, count))
    points = [a.ravel() for a in np.meshgrid(*axes_of(config.grid))]
    with clock("theory"):
        plane = meanfield.phase_diagram(
            phi, **dict(zip(("sigma_w", "sigma_b"), axes_of(config.resolution), strict=True))
        )
        one, start = np.ones(len(points[0])), CORRELATION * np.ones(len(points[0]))
        layer = meanfield.kernel_map(phi, sigma_w=points[0], sigma_b=points[1])
        theory = np.asarray(
            meanfield.propagate(layer, meanfield.Kernels(one, one, start, start), config.depth).correlation
        )
    with clock("networks measured", config.seeds, "seeds") as shown:
        runs = []
        for seed in range(config.seeds):
            runs.append(
                np.asarray(measured(phi, jax.random.key(seed), *map(jnp.asarray, points), config.width, config.depth))
            )
            shown.advance()
    found = np.stack(runs)  # [seed, point, layer]
    average, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(config.seeds)
    with clock("drawing"), plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(7.0, 3.0))
        drawn = left.pcolormesh(
            plane.sigma_w[0], plane.sigma_b[:, 0], plane.correlation, vmin=0, vmax=1, rasterized=True
        )
        left.contour(plane.sigma_w[0], plane.sigma_b[:, 0], plane.chi, [1.0], colors="white", linewidths=1)
        left.scatter(*points, c=average[:, -1], vmin=0, vmax=1, s=30, edgecolors="white", linewidths=0.6)
        left.set(xlabel=r"$\sigma_w$", ylabel=r"$\sigma_b$", title="correlation that stays; dots: networks")
        figure.colorbar(drawn, ax=left)
        row = config.grid // 2 * config.grid + np.arange(config.grid)
        for color, point in zip(plots.PALETTE, row, strict=False):
            right.plot(theory[:, point], color=color, label=rf"$\sigma_w$ = {points[0][point]:.2g}")
            right.plot(np.arange(1, config.depth + 1), average[point], "o", color=color, markersize=2)
        right.set(xlabel="layer", title=rf"correlation at $\sigma_b$ = {points[1][row[0]]:.2g}", ylim=(-0.05, 1.05))
        right.legend()
        arrays = {"sigma_w": points[0], "sigma_b": points[1], "measured": found, "theory": theory}
        output.figure("phase_diagram", figure, plane_chi=plane.chi, plane_correlation=plane.correlation, **arrays)
    finite = np.isfinite(theory[1:].T) & np.isfinite(average)
    gap = np.where(finite, np.abs(average - theory[1:].T), np.nan)
    within = np.nanmean(np.where(finite, gap <= 3 * error + np.arange(1, config.depth + 1) / config.width, np.nan))
    numbers = {
        "config": {name: str(value) for name, value in asdict(config).items()},
        "largest_gap": float(np.nanmax(gap)),
        "share_within": float(within),
        "chaotic": float(np.mean(plane.chi > 1)),
    }
    lines = [
        f"# Order and chaos of {config.activation}\n",
        f"{config.seeds} networks of width {config.width} at each of {len(points[0])} points. Theory is that of",
        f"infinite width: of all layers and points {within:.1%} are within three standard errors and 1/width a layer,",
        f"the largest gap is {numbers['largest_gap']:.3f}. {numbers['chaotic']:.1%} of the plane is chaotic.\n",
        f"| sigma_w | sigma_b | theory after {config.depth} layers | networks | standard error |",
        "|---|---|---|---|---|",
    ]
    for w, b, exact, mean, spread in zip(*points, theory[-1], average[:, -1], error[:, -1], strict=True):
        lines.append(f"| {w:.3g} | {b:.3g} | {exact:.4f} | {mean:.4f} | {spread:.4f} |")
    output.report("\n".join([*lines, ""]), numbers)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers
