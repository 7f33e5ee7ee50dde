"""The phase portraits of both layer maps with real networks over them: figure 2 of the SELU paper, measured.

Fixed weights (rows with omega = 0, tau = 1) and independent random weights follow different maps, so each gets its own
panel, and the report says how far off each would be over the other's.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import networks
from experiments.common import Output
from experiments.networks import ARMS, Comparison
from experiments.showing import task
from jnorm import plots
from jnorm.theory import meanfield, moments
from jnorm.theory.fixed_points import iterate
from jnorm.theory.moments import Activation, LayerMap, Moments
from jnorm.theory.portraits import vector_field

# Small and large input scales, and (1, .5), where the two maps differ most.
STARTS = Moments(np.array([1.0, -1.0, 0.0, 0.0, -0.75, 0.6]), np.array([0.5, 0.25, 0.02, 3.0, 2.4, 1.7]))
GRID = {"mean": np.linspace(-1.25, 1.25, 20), "var": np.linspace(0.02, 3.3, 20)}
TITLES = {
    "fixed": r"Rows centred, unit norm: $z \sim N(0, \nu)$",
    "random": r"Independent $N(0, 1/n)$ weights: $z \sim N(0, \nu + \mu^2)$",
}
PROTOCOL = """Measured: for one image, mean and unbiased variance over the {width} units of a layer; then their average
over {examples} images; {seeds} networks of {depth} layers, each with its own weights and images. Images are the digits,
enlarged to {width} units by repeating pixels, standardized over these, scaled and shifted to start exactly at the
rings. Lines: theory. Dots: average over networks. Bands: 95 % of the networks (in the plane the normal ellipse of every
layer, by layer the middle 95 %). z: deviation of the average from theory, which is that of infinite width, in standard
errors; images, starts and layers share networks, so the scores go together.
"""


def layer_maps(phi: Activation) -> dict[str, LayerMap]:
    """The theory of each arm's weights."""
    return {"fixed": moments.layer_map(phi, omega=0.0, tau=1.0), "random": meanfield.layer_map(phi, sigma_w=1.0)}


def draw(
    output: Output, phi: Activation, *, seeds: int, depth: int, width: int, examples: int
) -> tuple[dict, list[str]]:
    """Both figures with their numbers; returns the report's numbers and lines."""
    from sklearn.datasets import load_digits

    theory, fields = solve(layer_maps(phi), depth)
    sizes = {"seeds": seeds, "depth": depth, "width": width, "examples": examples}
    with task("networks measured", seeds, "seeds") as shown:
        measured = networks.measure(phi, STARTS, load_digits().data, advance=shown.advance, **sizes)
    arrays = {"start_mean": STARTS.mean, "start_var": STARTS.var}
    for group, kind in {"measured": measured, "theory": theory, "field": fields}.items():
        arrays |= {f"{arm}_{group}_{name}": a for arm in ARMS for name, a in kind[arm]._asdict().items()}
    compared = {
        (arm, law): [networks.compare(*pair) for pair in zip(measured[arm], theory[law], strict=True)]
        for arm in ARMS
        for law in ARMS
    }
    with plots.style():
        output.figure("portrait", in_the_plane(measured, theory, fields), **arrays)
        by_layer = {
            f"{arm}_{name}_{field}": a
            for arm in ARMS
            for name, c in zip(Moments._fields, compared[arm, arm], strict=True)
            for field, a in c._asdict().items()
        }
        output.figure("portrait_by_layer", over_depth(measured, theory), **by_layer)
    numbers, lines = report(measured, theory, compared)
    return numbers, ["## Networks over theory\n", PROTOCOL.format(**sizes), *lines]


def solve(maps: dict[str, LayerMap], depth: int) -> tuple[dict[str, Moments], dict[str, Any]]:
    """The moments layer after layer ``[layer, start]`` and the vector field of every map, in float64."""

    def work(starts: Moments, mean: jax.Array, var: jax.Array) -> Any:
        fields = {arm: vector_field(layer_map, mean, var) for arm, layer_map in maps.items()}
        return {arm: iterate(layer_map, starts, depth) for arm, layer_map in maps.items()}, fields

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(work)(Moments(*map(jnp.asarray, STARTS)), **GRID))


def in_the_plane(measured: dict[str, Moments], theory: dict[str, Moments], fields: dict[str, Any]) -> Any:
    """Trajectories and measured networks over the vector fields, a panel for each arm."""
    figure, panels = plots.figure(1, 2, size=(7.0, 3.6), sharey=True)
    for arm, axes, label in zip(ARMS, panels, (None, "shift by one layer"), strict=True):
        plots.vector_field(axes, **GRID, dmean=fields[arm].dmean, dvar=fields[arm].dvar, label=label)
        for start, color in zip(range(len(STARTS.mean)), plots.PALETTE, strict=False):
            plots.trajectory(axes, theory[arm].mean[:, start], theory[arm].var[:, start], color=color)
            plots.cloud(axes, measured[arm].mean[:, 1:, start], measured[arm].var[:, 1:, start], color=color)
        axes.set_title(TITLES[arm])
    panels[1].set_ylabel("")
    grey = "0.35"
    panels[0].plot([], [], "o", color=grey, markerfacecolor="white", markersize=5.5, label="start")
    panels[0].plot([], [], color=grey, label="theory")
    panels[0].plot([], [], "o", color=grey, markersize=2.4, label="networks, average")
    panels[0].fill_between([], [], [], color=grey, alpha=0.3, linewidth=0, label="95 % of the networks")
    plots.legend(figure, panels[0])
    return figure


def over_depth(measured: dict[str, Moments], theory: dict[str, Moments]) -> Any:
    """Mean and variance against the layer, measured bands over the lines of theory."""
    figure, panels = plots.figure(2, 2, size=(7.0, 4.2), sharex=True, sharey="row")
    for column, arm in enumerate(ARMS):
        for row, symbol in enumerate((r"mean $\mu$", r"variance $\nu$")):
            axes = panels[row, column]
            layers = np.arange(len(theory[arm][row]))
            for start, color in zip(range(len(STARTS.mean)), plots.PALETTE, strict=False):
                label = rf"$({STARTS.mean[start]:g}, {STARTS.var[start]:g})$"
                axes.plot(layers, theory[arm][row][:, start], color=color, linewidth=1.0, label=label)
                plots.band(axes, layers, measured[arm][row][:, :, start], color=color)
            axes.set_ylabel("" if column else symbol)
        panels[0, column].set_title(TITLES[arm])
        panels[1, column].set(xlabel="layer", yscale="log")
    # Behind the first layer means are small: the lines come in from their starts beyond the frame.
    settled = np.concatenate([[m.mean[:, 1:].min(), m.mean[:, 1:].max()] for m in measured.values()])
    panels[0, 0].set_ylim(settled.min() - 0.05, settled.max() + 0.05)
    plots.legend(figure, panels[0, 0], title=r"start $(\mu, \nu)$; lines: theory, dots and bands: networks")
    return figure


def report(
    measured: dict[str, Moments], theory: dict[str, Moments], compared: dict[tuple[str, str], list[Comparison]]
) -> tuple[dict[str, Any], list[str]]:
    """Measured against theory for each arm, and against the theory of the other arm."""
    numbers: dict[str, Any] = {}
    lines = [
        "| networks | theory | largest deviation of mean, of variance | largest z | z below 1.96 | theory in band |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for (arm, law), both in compared.items():
        s = numbers[f"{arm} networks, {law} theory"] = networks.summary(both)
        mean, var = s["largest_deviation"]
        cells = f"{s['largest_z']:.3g} | {s['share_z_below_1.96']:.1%} | {s['share_theory_inside_band']:.1%}"
        lines.append(f"| {arm} | {law} | {mean:.4f}, {var:.4f} | {cells} |")
    lines += ["", "After one layer from (1, 0.5), as (mean, variance):", ""]
    after: dict[str, Any] = {arm: {} for arm in ARMS}
    for arm in ARMS:
        after[arm] = {"measured": [m[:, 1, 0].mean() for m in measured[arm]], "theory": [t[1, 0] for t in theory[arm]]}
        texts = [f"{name} ({mean:.4f}, {var:.4f})" for name, (mean, var) in after[arm].items()]
        lines.append(f"- {arm}: {', '.join(texts)}")
    tables = {arm: per_layer(compared[arm, arm]) for arm in ARMS}
    lines += [
        "",
        "Layer by layer, what is furthest from zero over the starts (every start: portrait_by_layer.npz):",
        "",
    ]
    lines += ["| layer |" + "".join(f" {arm}: mean, variance | z | in band |" for arm in ARMS)]
    lines += ["|---|---|---|---|---|---|---|"]
    depth = len(tables[ARMS[0]])
    for layer in sorted({2**k for k in range(depth.bit_length())} | {depth}):
        rows = [tables[arm][layer - 1] for arm in ARMS]
        cells = "".join(
            f" {r['deviation'][0]:+.4f}, {r['deviation'][1]:+.4f} | {r['z']:+.1f} | {r['inside']}/{r['of']} |"
            for r in rows
        )
        lines.append(f"| {layer} |{cells}")
    return numbers | {"after one layer from (1, .5)": after, "by layer": tables}, [*lines, ""]


def per_layer(both: list[Comparison]) -> list[dict[str, Any]]:
    """For each layer the deviations and the z-score furthest from zero, and how many theories lie in their bands."""

    def furthest(a: np.ndarray) -> float:
        return float(a.ravel()[np.argmax(np.abs(np.nan_to_num(a)))])

    z = np.stack([c.z for c in both], 1)
    inside = np.stack([c.inside for c in both], 1)
    return [
        {
            "deviation": [furthest(c.deviation[layer]) for c in both],
            "z": furthest(z[layer]),
            "inside": int(inside[layer].sum()),
            "of": inside[layer].size,
        }
        for layer in range(len(z))
    ]
