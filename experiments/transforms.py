"""Activations before and after they are transformed: what depth makes of correlations and gradients, on digits.

Pairs of digits go through deep networks of random weights. One activation is only scaled, so that signals keep their
length; the others are transformed by one of three rules. Theory of infinite width is the line, networks are the dots.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import checks
from experiments.common import Output
from experiments.showing import Clock
from jnorm.activations import leaky_relu, relu, softplus, tanh
from jnorm.data import datasets
from jnorm.theory import meanfield, transforms
from jnorm.theory.transforms import Affine

RULES = ("scaled", "Gaussian-Poincare", "deep kernel shaping", "tailored")
FAMILIES = ("relu", "tanh", "softplus")
PAIRS = 4  # of digits


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/transforms")
    """Folder for the figure, its numbers and the report; made where missing."""
    depth: int = 50
    """Nonlinear layers."""
    width: int = 512
    """Units of every layer."""
    seeds: int = 8
    """Networks, at least 2; seed s draws everything from jax.random.key(s)."""
    slope: float = 1.5
    """Slope of the network's correlation map at one, for deep kernel shaping."""
    curvature: float = 0.3
    """Curvature of the network's correlation map at one, for tailored activations."""
    correlation: float = 0.9
    """What a network of tailored leaky ReLUs makes of a correlation of zero."""
    quick: bool = False
    """Small networks, to see that it runs."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name, least in {"depth": 1, "width": 2, "seeds": 2}.items():
            checks.whole(least, **{name: getattr(self, name)})
        checks.require(lambda s: s > 1, "`{}` must satisfy {} > 1", slope=self.slope)
        checks.require(lambda c: c > 0, "`{}` must satisfy {} > 0", curvature=self.curvature)
        checks.require(lambda c: (c > 0) & (c < 1), "`{}` must satisfy 0 < {} < 1", correlation=self.correlation)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Depth, width and seeds."""
        return (min(self.depth, 8), min(self.width, 64), 2) if self.quick else (self.depth, self.width, self.seeds)


def functions(config: Config) -> dict[str, dict[str, transforms.Transform]]:
    """Transforms by family and rule; relu's are leaky ReLUs where their slope is a constant to choose."""
    network = transforms.chain(config.sizes[0])
    shaped = partial(transforms.deep_kernel_shaping, network=network, slope=config.slope)
    tailored = partial(transforms.tailored, network=network, curvature=config.curvature)
    leaky = partial(transforms.tailored_leaky_relu, network, correlation=config.correlation)
    made: dict[str, dict[str, transforms.Transform]] = {}
    for name, phi in zip(FAMILIES, (relu, tanh, softplus), strict=True):
        poincare = transforms.gaussian_poincare(phi)
        found = [poincare, shaped(leaky_relu if phi is relu else phi), leaky() if phi is relu else tailored(phi)]
        made[name] = dict(zip(RULES[1:], found, strict=True))
    return made


def scaled(phi: Affine) -> Affine:
    """The activation within, divided by the root of ``E[phi(z)^2]``, z ~ N(0, 1): He's weights for relu."""
    second = float(transforms.hermite(lambda z: phi.phi(z) ** 2, 0)[0])
    return replace(phi, a=second**-0.5, d=0.0)


@partial(jax.jit, static_argnames=("depth", "width"))
def measured(phis: list[Affine], key: jax.Array, x: jax.Array, depth: int, width: int) -> Any:
    """Correlations of the pairs and squared gradients by layer, ``[function, layer]``, in one network for all.

    Rows of ``x`` are inputs of length one, pairs one after another; gradients are of a random sum of the outputs.
    """
    first, last, *keys = jax.random.split(key, depth + 2)
    z = x @ jax.random.normal(first, (x.shape[1], width)) / x.shape[1] ** 0.5
    weights = jax.random.normal(last, (len(x), width))

    def outputs(shifts: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        def layer(states: list[jax.Array], step: Any) -> tuple[list[jax.Array], list[jax.Array]]:
            key, shift = step
            kernel = jax.random.normal(key, (width, width)) / width**0.5
            states = [phi(z + s) @ kernel for phi, z, s in zip(phis, states, shift, strict=True)]
            return states, states

        ends, rows = jax.lax.scan(layer, [z] * len(phis), (jnp.stack(keys), shifts))
        return jnp.sum(jnp.stack([weights * end for end in ends])), rows

    shifts = [jnp.zeros((depth, *z.shape))] * len(phis)
    gradients, rows = jax.grad(outputs, has_aux=True)(shifts)

    def correlation(row: jax.Array) -> jax.Array:
        a, b = row[..., ::2, :], row[..., 1::2, :]
        dot = lambda u, v: jnp.sum(u * v, -1)
        return jnp.mean(dot(a, b) / jnp.sqrt(dot(a, a) * dot(b, b)), -1)

    squares = [jnp.mean(g * g, (1, 2)) for g in gradients]
    return jnp.stack([correlation(row) for row in rows]), jnp.stack(squares)


def predicted(phi: Affine, start: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by theory, from the correlations of the pairs; lengths stay one, and so do the slopes."""
    one = np.ones_like(start)
    rows = meanfield.propagate(meanfield.kernel_map(phi, sigma_w=1.0), meanfield.Kernels(one, one, start, start), depth)
    return np.asarray(rows.correlation).mean(-1)[1:], transforms.budget(phi).slope ** np.arange(depth, 0.0, -1)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of digits of length one, one after another, and the correlation of each pair."""
    x = datasets.load("digits").x[: 2 * PAIRS].reshape(2 * PAIRS, -1).astype(np.float32)
    x = x / np.sqrt(np.mean(x * x, 1, keepdims=True))
    return x, np.mean(x[::2] * x[1::2], 1)


def run(config: Config) -> dict[str, Any]:
    """Transform, predict, measure, draw and report; returns the numbers of ``report.json``."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    output, clock, (depth, width, seeds) = Output.open(config.out), Clock(), config.sizes
    x, start = digits()
    with clock("transforms"):
        made = functions(config)
        phis = {}
        for name, rules in made.items():
            phis[name, RULES[0]] = scaled(rules[RULES[1]].function)
            phis |= {(name, rule): found.function for rule, found in rules.items()}
    with clock("theory", len(phis), "activations") as shown:
        theory = {}
        for key, phi in phis.items():
            theory[key] = predicted(phi, start, depth)
            shown.advance()
    with clock("networks measured", seeds, "seeds") as shown:
        runs = []
        for seed in range(seeds):
            parts = measured(list(phis.values()), jax.random.key(seed), jnp.asarray(x), depth, width)
            runs.append([np.asarray(part) for part in parts])
            shown.advance()
    corr, square = (np.stack(part) for part in zip(*runs, strict=True))  # [seed, function, layer]
    log_square = np.log(square).mean(0)  # whose mean over networks is that of a typical one
    with clock("drawing"), plots.style():
        figure, axes = plots.figure(2, 3, size=(7.0, 4.4), sharex=True, sharey="row")
        layers = np.arange(1, depth + 1)
        for column, name in enumerate(FAMILIES):
            for color, rule in zip(plots.PALETTE, RULES, strict=False):
                at = list(phis).index((name, rule))
                exact = theory[name, rule]
                dots = corr.mean(0)[at], np.exp(log_square[at] - log_square[at][-1]) * exact[1][-1]
                thin = slice(None, None, max(1, depth // 12))
                for row in (0, 1):
                    axes[row, column].plot(layers, exact[row], color=color, label=rule)
                    axes[row, column].plot(layers[thin], dots[row][thin], "o", color=color, markersize=2.5)
            axes[0, column].set(title=f"{'(leaky) ' * (name == 'relu')}{name}")
            axes[1, column].set(xlabel="layer", yscale="log")
        axes[0, 0].set(ylabel="correlation of two digits", ylim=(-0.05, 1.05))
        axes[1, 0].set(ylabel="squared gradient, of the last")
        plots.legend(figure, axes[0, 0])
        arrays: dict[str, Any] = {"correlation": corr, "gradient": square}
        arrays |= {f"theory_{part}": [theory[key][row] for key in phis] for row, part in enumerate(arrays)}
        output.figure("transforms", figure, names=[" ".join(key) for key in phis], **arrays)
    rows: dict[str, Any] = {}
    for at, key in enumerate(phis):
        end = float(corr[:, at, -1].mean()), float(np.exp(log_square[at][0] - log_square[at][-1]))
        rows[" ".join(key)] = {
            "correlation": {"theory": float(theory[key][0][-1]), "networks": end[0]},
            "gradient": {"theory": float(theory[key][1][0] / theory[key][1][-1]), "networks": end[1]},
            "constants": [float(c) for c in (phis[key].a, phis[key].b, phis[key].c, phis[key].d)],
        }
    numbers = {
        "config": {name: str(value) for name, value in asdict(config).items()},
        "converged": all(found.converged for rules in made.values() for found in rules.values()),
        "start": float(start.mean()),
        "rows": rows,
    }
    lines = [
        f"# Transformed activations in networks of {depth} layers\n",
        f"{PAIRS} pairs of digits of correlation {start.mean():.3f} on average, {seeds} networks of width {width}.",
        "The squared gradient is that of the first layer in units of the last.\n",
        "| activation | correlation, theory | networks | squared gradient, theory | networks |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, figures in rows.items():
        c, g = figures["correlation"], figures["gradient"]
        lines.append(f"| {name} | {c['theory']:.4f} | {c['networks']:.4f} | {g['theory']:.3g} | {g['networks']:.3g} |")
    output.report("\n".join([*lines, ""]), numbers)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers
