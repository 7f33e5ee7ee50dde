"""Landscapes of deep networks with and without skips: planes, an optimizer's path, and the way between two seeds.

Directions are normalized unit by unit, so that a plane does not depend on how layers are scaled (Li et al. 2018). Two
of many directions show about an average of curvatures: the largest one of all directions stands beside each picture.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import checks
from experiments.common import Output
from experiments.showing import Clock
from jnorm import losses
from jnorm.data import datasets
from jnorm.measure import landscapes

FACTORIZES = True
"""Networks side by side have eigenvalues."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/landscape")
    """Folder for the figure, its numbers and the report; made where missing."""
    seeds: int = 8
    """Networks of each kind, at least 2; seed s draws its weights from jax.random.key(s)."""
    depth: int = 24
    """Hidden layers of relu."""
    width: int = 32
    """Units of each."""
    examples: int = 256
    """Digits that they are trained on."""
    steps: int = 300
    """Of Adam on all of them."""
    resolution: int = 41
    """Points of a plane in both directions."""
    quick: bool = False
    """Few layers, steps and points: to see that everything runs."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name, least in {"seeds": 2, "depth": 1, "width": 2, "examples": 2, "steps": 2, "resolution": 3}.items():
            checks.whole(least, **{name: getattr(self, name)})

    def small(self) -> dict[str, int]:
        """Sizes, after ``quick``."""
        names = ("seeds", "depth", "steps", "resolution")
        full = {name: getattr(self, name) for name in names}
        return (
            {name: min(full[name], few) for name, few in zip(names, (2, 3, 20, 5), strict=True)} if self.quick else full
        )


KINDS = ("plain", "with skips")


def init(key: jax.Array, inputs: int, classes: int, depth: int, width: int) -> Any:
    """Weights of variance 2 over the fan-in."""
    sizes = [inputs, *[width] * depth, classes]
    keys = jax.random.split(key, depth + 1)
    return [jax.random.normal(k, (m, n)) * (2 / m) ** 0.5 for k, m, n in zip(keys, sizes, sizes[1:], strict=False)]


def objective(kind: str) -> Callable[[Any, Any], jax.Array]:
    """The cross-entropy of each example."""

    def loss(weights: Any, data: Any) -> jax.Array:
        first, *between, last = weights
        x = jax.nn.relu(data[0] @ first)
        for w in between:
            h = jax.nn.relu(x @ w)
            x = h if kind == "plain" else x + h / len(between) ** 0.5
        return losses.softmax_cross_entropy(x @ last, data[1])

    return loss


def trained(kind: str, data: Any, config: Config, *, seeds: int, depth: int, steps: int) -> Any:
    """Weights before each step and after the last, ``[seed, step, ...]``."""
    loss, optimizer = objective(kind), optax.adam(1e-3)

    def train(key: jax.Array) -> Any:
        weights = init(key, data[0].shape[1], 10, depth, config.width)

        def step(carry: Any, _: None) -> Any:
            weights, state = carry
            updates, state = optimizer.update(jax.grad(lambda w: loss(w, data).mean())(weights), state)
            weights = optax.apply_updates(weights, updates)
            return (weights, state), weights

        path = jax.lax.scan(step, (weights, optimizer.init(weights)), None, steps)[1]
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), weights, path)

    return jax.jit(jax.vmap(train))(jax.vmap(jax.random.key)(np.arange(seeds)))


def run(config: Config) -> dict[str, Any]:
    """Train, measure, draw and report; returns the numbers of ``report.json``."""
    output, clock, sizes = Output.open(config.out), Clock(), config.small()
    resolution = sizes.pop("resolution")
    images = datasets.load("digits", None)
    x = np.asarray(images.x, np.float32)[: config.examples].reshape(config.examples, -1)
    data = (jnp.asarray((x - x.mean()) / x.std()), jnp.asarray(images.y[: config.examples]))
    with clock("training", len(KINDS), "kinds") as shown:
        paths = {}
        for kind in KINDS:
            paths[kind] = trained(kind, data, config, **sizes)
            shown.advance()
    found: dict[str, dict[str, Any]] = {}
    with clock("landscapes", len(KINDS), "kinds") as shown:
        for kind in KINDS:
            found[kind] = measured(objective(kind), paths[kind], data, resolution)
            shown.advance()
    with clock("drawing"):
        figure = draw(found, config)
        arrays = {f"{kind}, {name}": a for kind, part in found.items() for name, a in part["arrays"].items()}
        output.figure("landscape", figure, **arrays)
    numbers = {
        "config": {name: str(value) for name, value in asdict(config).items()},
        "kinds": {kind: part["numbers"] for kind, part in found.items()},
    }
    lines = [
        f"# Landscapes of {sizes['depth']} layers\n",
        "| network | loss | curvature of a random plane | of all directions | barrier between seeds | interval |",
        "|---|---|---|---|---|---|",
        *(
            f"| {kind} | {n['loss']:.3g} | {n['shown']:.3g} | {n['top']:.3g} | {n['barrier']:.3g} |"
            f" {n['low']:.3g} to {n['high']:.3g} |"
            for kind, n in numbers["kinds"].items()
        ),
    ]
    output.report("\n".join([*lines, ""]), numbers)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers


def measured(loss: Any, path: Any, data: Any, resolution: int) -> dict[str, Any]:
    """A random plane and the path's own of the first seed, and lines between each seed and the next."""
    mean = lambda weights, data: loss(weights, data).mean()
    ends = jax.tree.map(lambda a: a[:, -1], path)
    last = jax.tree.map(lambda a: a[0], ends)
    first, second = (landscapes.random_direction(key, last) for key in jax.random.split(jax.random.key(0)))
    grid = np.linspace(-1, 1, resolution)
    plane = landscapes.plane(mean, last, first, second, data, x=grid, y=grid, chunk=8)
    own = landscapes.path_plane(jax.tree.map(lambda a: a[0], path))
    reach = 1.15 * float(np.abs(np.asarray(own.coordinates)).max()) * np.linspace(-1, 1, resolution)
    around = landscapes.plane(mean, own.center, own.first, own.second, data, x=reach, y=reach, chunk=8)
    lines = jax.jit(jax.vmap(lambda a, b: landscapes.line(mean, a, b, data).values))(
        ends, jax.tree.map(lambda a: jnp.roll(a, 1, 0), ends)
    )
    wall = landscapes.barrier(lines)
    numbers = {"loss": mean(last, data), "shown": plane.shown, "top": plane.top, "barrier": wall.height}
    numbers |= {"low": wall.low, "high": wall.high, "shares": own.shares}
    arrays = {"plane": plane.values, "path plane": around.values, "path": own.coordinates, "lines": lines}
    arrays |= {"at": grid, "reach": reach}
    return {
        "arrays": {name: np.asarray(a) for name, a in arrays.items()},
        "numbers": {name: np.asarray(a).tolist() for name, a in numbers.items()},
    }


def draw(found: dict[str, dict[str, Any]], config: Config) -> Any:
    """For each kind a random plane and that of the path; and the lines between seeds."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    with plots.style():
        figure, panels = plots.figure(2, 3, size=(9.6, 6.0))
        every = np.concatenate([part["arrays"]["plane"].ravel() for part in found.values()])
        limits = max(float(np.nanmin(every)), 1e-3), float(np.nanquantile(every, 0.98))
        for (kind, part), (left, middle, right) in zip(found.items(), panels, strict=True):
            a, n = part["arrays"], part["numbers"]
            plots.plane(left, a["at"], a["at"], a["plane"], label="loss", log=True, limits=limits)
            levels = np.geomspace(*limits, 9)[1:-1]
            left.contour(a["at"], a["at"], a["plane"], levels, colors="white", linewidths=0.4, alpha=0.8)
            left.set_title(f"{kind}: random plane\ncurvature {n['shown']:.2g} in it, {n['top']:.2g} in all directions")
            left.set(xlabel="first direction, in weights", ylabel="second direction")
            around = a["path plane"]
            ends = float(np.nanmin(around)), min(float(np.nanmax(around)), 30.0)
            plots.plane(middle, a["reach"], a["reach"], around, label="loss", log=True, limits=ends)
            middle.plot(*a["path"].T, color="white", linewidth=1.2)
            plots.point(middle, *a["path"][-1], "end")
            share = ", ".join(f"{100 * s:.0f}" for s in n["shares"][:2])
            middle.set_title(f"path of Adam, in its own plane\n({share} % of it)")
            middle.set(xlabel="first component", ylabel="second component")
            plots.band(right, np.linspace(0, 1, a["lines"].shape[1]), a["lines"], color=plots.PALETTE[0])
            right.set_title(f"between two seeds\nbarrier {n['barrier']:.2g}, from {n['low']:.2g} to {n['high']:.2g}")
            right.set(xlabel="from one to the other", ylabel="loss")
    return figure
