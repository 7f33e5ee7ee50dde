"""Two planes: the constants for every target fixed point, and the layers that every start needs to come near."""

import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import portrait
from experiments.common import Output
from jnorm import plots
from jnorm.activations import scaled_elu
from jnorm.theory import moments
from jnorm.theory.fixed_points import SeluConstants, iterate, selu_constants, stability
from jnorm.theory.moments import Activation, LayerMap, Moments
from jnorm.theory.portraits import basin

NEAR, DEEP = 0.01, 100
CHECKED = (0.02, 0.5, 3.0, 16.0)


class Targets(NamedTuple):
    """The constants of every target fixed point at omega 0, tau 1.

    Attributes:
        mean: The means of the targets, ``[columns]``.
        var: Their variances, ``[rows]``.
        found: The constants, ``[rows, columns]``.
        radius: The spectral radius of the layer map there, likewise: below 1 the target attracts.
    """

    mean: np.ndarray
    var: np.ndarray
    found: SeluConstants
    radius: np.ndarray


def targets(resolution: int) -> Targets:
    """The constants of every target, NaN where there are none, in float64."""
    mean, var = np.linspace(-1.5, 1.5, resolution), np.linspace(4 / resolution, 4, resolution)

    def work(mean: jax.Array, var: jax.Array) -> Any:
        target = Moments(*jnp.broadcast_arrays(mean[None, :], var[:, None]))
        found = selu_constants(*target)
        phi = partial(scaled_elu, lam=found.lam, alpha=found.alpha)
        return found, stability(moments.layer_map(phi), target).spectral_radius

    with jax.enable_x64(True):
        return Targets(mean, var, *jax.tree.map(np.asarray, jax.jit(work)(mean, var)))


def draw_constants(mean: np.ndarray, var: np.ndarray, lam: np.ndarray, alpha: np.ndarray, radius: np.ndarray) -> Any:
    """Both constants and the spectral radius over the plane of targets."""
    figure, panels = plots.figure(1, 3, size=(7.0, 2.7), sharey=True)
    shown = {
        r"$\lambda$": (lam, {"limits": (0.0, 1.75)}),
        r"$\alpha$": (alpha, {"limits": (0.01, 100.0), "log": True}),
        "spectral radius (< 1 attracts)": (radius, {"limits": (0.5, 1.0), "colormap": "cividis"}),
    }
    for axes, (title, (values, options)) in zip(panels, shown.items(), strict=True):
        plots.plane(axes, mean, var, values, label="", missing="none\nexist", **options)
        plots.contour(axes, mean, var, radius, 1.0, text="1", color="black")
        plots.point(axes, 0.0, 1.0, "(0, 1)")
        axes.set(xlabel=r"mean $\mu$", title=title)
    panels[0].set_ylabel(r"variance $\nu$")
    return figure


def constants(output: Output, resolution: int) -> tuple[dict[str, Any], list[str]]:
    """The constants of every target (omega 0, tau 1), the region that has none, and where the target attracts."""
    mean, var, found, radius = targets(resolution)
    with jax.enable_x64(True):
        standard = jax.tree.map(np.asarray, selu_constants(0.0, 1.0))
    with plots.style():
        figure = draw_constants(mean, var, found.lam, found.alpha, radius)
        output.figure("constants", figure, mean=mean, var=var, radius=radius, **found._asdict())
    exists = found.converged
    numbers = {
        "standard": {"lam": standard.lam, "alpha": standard.alpha},
        "share of the plane that has constants": exists.mean(),
        "share of these that attracts": (radius[exists] < 1).mean(),
    }
    lines = [
        "## Constants\n",
        f"- for (0, 1): lam = {standard.lam:.16g}, alpha = {standard.alpha:.16g}",
        f"- {exists.mean():.1%} of the plane has constants, and {(radius[exists] < 1).mean():.1%} of that attracts\n",
    ]
    return numbers, lines


def layers(output: Output, phi: Activation, resolution: int) -> tuple[dict[str, Any], list[str]]:
    """Layers until a start stays within `NEAR` of a point at which layers come to rest, for both layer maps."""
    mean, var = np.linspace(-2, 2, resolution), np.geomspace(0.01, 20, resolution)
    grid = [a.ravel() for a in np.meshgrid(mean, var)]
    starts = Moments(*(np.concatenate(pair) for pair in zip(grid, (np.zeros(len(CHECKED)), CHECKED), strict=True)))
    numbers: dict[str, Any] = {}
    needed, lines = {}, [f"## Layers until within {NEAR} of the fixed point\n"]
    for arm, layer_map in portrait.layer_maps(phi).items():
        with jax.enable_x64(True):
            goals = resting_points(layer_map)
            count = np.full(starts.mean.shape, -1)
            if goals.mean.size:
                reach = jax.jit(lambda x, f=layer_map, goals=goals: basin(f, x, goals, depth=DEEP, tol=NEAR).layers)
                count = np.asarray(reach(starts))
        plane, checked = np.split(count, [resolution**2])
        needed[arm] = plane.reshape(resolution, resolution)
        numbers[arm] = {"points": list(zip(*goals, strict=True)), "var": CHECKED, "layers from mean 0": checked}
        found = "; ".join(f"({mean:.4f}, {var:.4f})" for mean, var in zip(*goals, strict=True)) or "none"
        from_zero = ", ".join(
            f"{n if n >= 0 else f'>{DEEP}'} from {v:g}" for n, v in zip(checked, CHECKED, strict=True)
        )
        lines.append(f"- {arm}: rests at {found}; at mean 0 it takes {from_zero}")
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 3.0), sharey=True)
        highest = max(1, *(int(counts.max()) for counts in needed.values()))
        step = max(1, -(-highest // 10))
        for (arm, counts), axes in zip(needed.items(), panels, strict=True):
            label = f"layers until within {NEAR:g}" if axes is panels[-1] else None
            values, levels = np.where(counts < 0, np.nan, counts), range(0, highest + step + 1, step)
            plots.plane(axes, mean, var, values, label=label, missing=f"not within {DEEP} layers", levels=levels)
            for goal in numbers[arm]["points"]:
                plots.point(axes, *goal)
            axes.set(xlabel=r"mean $\mu$ of the input", xticks=range(-2, 3), yscale="log", title=portrait.TITLES[arm])
        panels[0].set_ylabel(r"variance $\nu$ of the input")
        output.figure("layers", figure, mean=mean, var=var, **needed)
    return numbers, [*lines, ""]


def resting_points(layer_map: LayerMap) -> Moments:
    """The points at which a coarse grid of starts comes to rest; none where they are a continuum, or slow as one."""
    starts = Moments(*(a.ravel() for a in np.meshgrid(np.linspace(-2, 2, 7), np.geomspace(0.01, 20, 7))))
    rows = jax.jit(lambda x: iterate(layer_map, x, 2000))(starts)
    before, last = (np.stack([np.asarray(a)[row] for a in rows]) for row in (-2, -1))
    points: list[np.ndarray] = []
    for point in last[:, np.max(np.abs(last - before), 0) < NEAR / 100].T:
        if all(np.max(np.abs(point - other)) > NEAR for other in points):
            points.append(point)
    gaps = [np.max(np.abs(a - b)) for a, b in itertools.combinations(points, 2)]
    return Moments(*np.reshape(points if min(gaps, default=1.0) > 10 * NEAR else [], (-1, 2)).T)
