"""Networks of finite width: how far their lengths stray from theory's limit, predicted and measured over depth / width.

A digit goes through each network, and its squared length is followed from layer to layer. Theory says how much that
differs among networks; the spread that is measured lies over it, and so does the prediction of first order in
1 / width, to see where that stops to hold. Up to a width networks are matrices; beyond it their pre-activations are
drawn, which are independent and normal given the layer before, as they are with normal weights.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import checks
from experiments.common import Output
from experiments.showing import Clock
from jnorm import data
from jnorm.activations import ELEMENTWISE
from jnorm.theory import finite_width
from jnorm.theory.moments import Activation


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/finite_width")
    """Folder for the figure, its numbers and the report; made where missing."""
    activations: tuple[str, ...] = ("relu", "tanh")
    """Names in jnorm.activations."""
    sigma_w: tuple[float, ...] = (2**0.5, 1.0)
    """For each activation, the deviation of the weights times the root of the width."""
    widths: tuple[int, ...] = (16, 64, 256, 1024)
    """Units of every layer."""
    depth: int = 64
    """Layers."""
    budget: float = 3e8
    """Random numbers for each activation and width, of which as many networks are made: 3200 at most, 64 at least."""
    matrices: int = 64
    """The width up to which weights are drawn; for wider networks pre-activations are."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name in self.activations:
            checks.choice("activations", name, ELEMENTWISE)
        if len(self.sigma_w) != len(self.activations):
            raise ValueError(f"`sigma_w` must have one number for each of `activations`; got {len(self.sigma_w)}")
        checks.whole(2, widths=self.widths)
        checks.whole(1, depth=self.depth)


TOLERANCE = 0.05


class Spread(NamedTuple):
    """A measured deviation over networks, by layer, and the standard error of it, relative."""

    value: np.ndarray
    error: np.ndarray


@partial(jax.jit, static_argnames=("phi", "width", "depth", "drawn"))
def measured(
    phi: Activation, keys: jax.Array, x: jax.Array, sigma_w: float, width: int, depth: int, drawn: bool
) -> jax.Array:
    """Squared lengths ``[network, layer]`` of inputs ``[network, features]`` whose mean square is one."""

    def network(key: jax.Array, x: jax.Array) -> jax.Array:
        first, rest = jax.random.split(key)
        z = x @ jax.random.normal(first, (len(x), width)) / len(x) ** 0.5

        def layer(z: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = phi(z)
            length = sigma_w**2 * jnp.mean(y * y)
            if drawn:
                return sigma_w / width**0.5 * y @ jax.random.normal(key, (width, width)), length
            return jnp.sqrt(length) * jax.random.normal(key, (width,)), length

        return jax.lax.scan(layer, z, jax.random.split(rest, depth))[1]

    return jax.lax.map(lambda at: network(*at), (keys, x), batch_size=16)


def spread(values: np.ndarray) -> Spread:
    """Of values ``[network, layer]``; NaN is left out."""
    gap = values - np.nanmean(values, 0)
    var = np.nanmean(gap**2, 0)
    kurtosis = np.nanmean(gap**4, 0) / var**2
    return Spread(np.sqrt(var), np.sqrt((kurtosis - 1) / np.sum(~np.isnan(gap), 0)) / 2)


def leaves(ratio: np.ndarray, error: np.ndarray, rate: np.ndarray) -> float:
    """The smallest depth / width at which a ratio is off by more than the tolerance, beyond three standard errors."""
    off = rate[np.abs(ratio - 1) > TOLERANCE + 3 * error]
    return float(off.min()) if len(off) else np.inf


def run(config: Config) -> dict[str, Any]:
    """Compute, measure, draw and report; returns the numbers of ``report.json``."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    output, clock = Output.open(config.out), Clock()
    pixels = np.asarray(data.datasets.load("digits").x, np.float32).reshape(-1, 64)
    pixels /= np.sqrt(np.mean(pixels**2, 1, keepdims=True))
    layers, widths = np.arange(1, config.depth + 1), np.array(config.widths)
    shown_at = np.unique(np.round(np.geomspace(1, config.depth, 9)).astype(int))
    rate = layers[shown_at - 1] / widths[:, None]
    found: dict[str, dict[str, np.ndarray]] = {}
    counts: dict[int, int] = {}
    with clock("networks and theory", len(config.activations) * len(widths), "widths") as shown:
        for name, sigma_w in zip(config.activations, config.sigma_w, strict=True):
            phi = ELEMENTWISE[name]
            with jax.enable_x64(True):
                law = finite_width.length_law(phi, width=np.append(widths, 10**7), depth=config.depth, sigma_w=sigma_w)
                law = jax.tree.map(lambda a: np.asarray(a)[shown_at].T, law)  # [width, layer]
            rows: dict[str, list[np.ndarray]] = {"length": [], "length_error": [], "log": [], "log_error": []}
            for width in config.widths:
                drawn = width <= config.matrices
                each = config.depth * width * (width if drawn else 1)
                counts[width] = count = int(np.clip(config.budget / each, 64, 3200)) // 16 * 16
                keys = jax.random.split(jax.random.fold_in(jax.random.key(0), width), count)
                x = pixels[np.arange(count) % len(pixels)]
                runs = np.asarray(measured(phi, keys, x, sigma_w, width, config.depth, drawn), float)[:, shown_at - 1]
                alive = np.where(runs > 0, runs, np.nan)
                for kind, values in (("length", alive), ("log", np.log(alive))):
                    value, error = spread(values)
                    rows[kind].append(value)
                    rows[f"{kind}_error"].append(error)
                shown.advance()
            wide = law.var[-1] * 10**7 / law.limit[-1] ** 2
            found[name] = {kind: np.stack(part) for kind, part in rows.items()} | {
                "length_theory": np.sqrt(law.var[:-1]),
                "log_theory": np.sqrt(law.log_var[:-1]),
                "first_order": np.sqrt(wide / widths[:, None]),
                "relative": np.sqrt(law.var[:-1]) / law.mean[:-1],
                "mean": law.mean[:-1],
            }
    with clock("drawing"), plots.style():
        figure, axes = plots.figure(2, len(config.activations), size=(7.0, 5.0), sharex=True, squeeze=False)
        for (above, below), (name, at) in zip(np.transpose(axes), found.items(), strict=True):
            for color, width, row in zip(plots.PALETTE, config.widths, range(len(widths)), strict=False):
                place, bars = rate[row], {"fmt": "o", "markersize": 3, "color": color, "linewidth": 0.8}
                above.plot(place, at["log_theory"][row], color=color)
                error = 2 * at["log_error"][row]
                above.errorbar(place, at["log"][row], error * at["log"][row], label=f"width {width}", **bars)
                ratio = at["log_theory"][row] / at["log"][row]
                below.errorbar(place, ratio, error * ratio, **bars)
                below.plot(place, at["first_order"][row] / at["log"][row], "--", color=color, linewidth=0.8)
            below.axhspan(1 - TOLERANCE, 1 + TOLERANCE, color="0.9", zorder=0)
            above.set(xscale="log", yscale="log", title=name, ylabel="deviation of log length")
            below.set(xscale="log", ylim=(0.8, 1.3), xlabel="depth / width", ylabel="predicted / measured")
            above.legend()
        arrays = {f"{name}_{kind}": values for name, at in found.items() for kind, values in at.items()}
        output.figure("finite_width", figure, layers=shown_at, widths=widths, **arrays)
    numbers: dict[str, Any] = {
        "config": {name: str(value) for name, value in asdict(config).items()},
        "networks": {str(width): count for width, count in counts.items()},
        "leaves": {},
    }
    lines = [
        "# Networks of finite width\n",
        f"Lengths of digits after up to {config.depth} layers, at widths {', '.join(map(str, widths))}; networks:",
        f"{', '.join(f'{count} at {width}' for width, count in counts.items())}, matrices up to {config.matrices}.",
        f"The smallest depth / width at which a predicted deviation is off by more than {TOLERANCE:.0%}, beyond three",
        "standard errors, and the largest gap anywhere; for lengths themselves only where that is below their mean.\n",
        "| activation | prediction | leaves at depth / width | largest gap | its standard error |",
        "|---|---|---|---|---|",
    ]
    for name, at in found.items():
        narrow = at["relative"] < 1
        cases = {
            "log length": (at["log_theory"] / at["log"], at["log_error"], np.ones_like(narrow)),
            "length": (at["length_theory"] / at["length"], at["length_error"], narrow),
            "log length, first order": (at["first_order"] / at["log"], at["log_error"], np.ones_like(narrow)),
        }
        numbers["leaves"][name] = {}
        for kind, (ratio, error, use) in cases.items():
            at_rate, worst = leaves(ratio[use], error[use], rate[use]), np.argmax(np.abs(ratio[use] - 1))
            gap, its = float(ratio[use][worst] - 1), float(error[use][worst])
            numbers["leaves"][name][kind] = {"rate": at_rate, "largest_gap": gap, "error": its}
            where = f"{at_rate:.3f}" if np.isfinite(at_rate) else f"nowhere up to {rate[use].max():.2g}"
            lines.append(f"| {name} | {kind} | {where} | {gap:+.1%} | {its:.1%} |")
    output.report("\n".join([*lines, ""]), numbers)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers
