"""SELU's layer map contracts on a box: proved by intervals, and seen on a grid."""

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import certificate
from experiments.claims.claim import Claim, Number, Setup
from jnorm.activations import selu
from jnorm.proofs import certificate as proofs
from jnorm.theory.moments import Moments, layer_map


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        points: Random points at which derivatives are bounded for the grid.
    """

    points: int = 20_000


QUICK = Config(points=200)
AXES = {"mean": (-0.1, 0.1), "var": (0.8, 1.5), "omega": (-0.1, 0.1), "tau": (0.95, 1.1)}
"""The domain of theorem 1."""


def gridded(config: Config, setup: Setup) -> dict[str, float]:
    """The largest singular value over theorem 1's domain by a grid and the mean value theorem.

    Between points that are d apart it changes by at most the sum of L d/2. L are the largest derivatives at random
    points: what a proof would have to bound first, and better than any bound.
    """
    low, high = np.array(list(AXES.values())).T

    def singular(x: jax.Array) -> jax.Array:
        mean, var, omega, tau = x
        law = layer_map(selu, omega=omega, tau=tau)
        jacobian = jnp.stack(jax.jacfwd(lambda m, v: jnp.stack(law(Moments(m, v))), (0, 1))(mean, var), -1)
        square, determinant = jnp.sum(jacobian**2), jacobian[0, 0] * jacobian[1, 1] - jacobian[0, 1] * jacobian[1, 0]
        return jnp.sqrt((square + jnp.sqrt((square + 2 * determinant) * (square - 2 * determinant))) / 2)

    with jax.enable_x64(True):
        run = jax.jit(jax.vmap(singular))
        points = np.random.default_rng(setup.seeds.start).uniform(low, high, (config.points, 4))
        corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
        points = np.concatenate([points, corners])
        step = 1e-5  # of central differences, whose error is then 1e-10
        slopes = np.stack([np.asarray(run(points + e) - run(points - e)) / (2 * step) for e in step * np.eye(4)], -1)
        values = np.asarray(run(points))
        reach = np.max(np.abs(slopes), 0) * (high - low)
        counts = np.ceil(2 * reach / (1 - values.max())).astype(int)
        sides = [a + (b - a) * (np.arange(n) + 0.5) / n for a, b, n in zip(low, high, counts, strict=True)]
        grid = np.stack([a.ravel() for a in np.meshgrid(*sides)], -1)
        run(grid).block_until_ready()
        start = time.perf_counter()
        top = float(np.max(np.asarray(run(grid))))
        seconds = time.perf_counter() - start
    return {"points": len(grid), "top": top + float(np.sum(reach / counts / 2)), "seconds": seconds}


def contracts(config: Config, setup: Setup) -> dict[str, Any]:
    """The paper's three theorems by interval arithmetic, and a grid beside the first."""
    first, second, third = found = [prove() for prove in (proofs.theorem1, proofs.theorem2, proofs.theorem3)]
    grid = gridded(config, setup)
    count = next(len(p.boxes) for p in first.proofs if p.inequality.quantity == "rate")
    near = {"mean": np.linspace(-0.15, 0.15, 13), "var": np.linspace(0.7, 1.6, 13)}
    image = [
        (first.extremes[f"{name} at least"][0], first.extremes[f"{name} at most"][1]) for name in ("mean", "variance")
    ]
    times = ", ".join(f"{len(c.boxes)} boxes in {1e3 * c.seconds:.2g} ms" for c in found)
    return {
        **{f"theorem {i}": float(c.holds is True) for i, c in enumerate(found, 1)},
        "rate": first.rate,
        "falls": second.bound[1],
        "rises": third.bound[0],
        "grid": grid["top"],
        "image mean": np.array(image[0]),
        "image var": np.array(image[1]),
        "near mean": near["mean"],
        "near var": near["var"],
        **certificate.field(near["mean"], near["var"], log=False),
        "notes": f"Theorems 1 to 3: {times}. The contraction of theorem 1 takes {count} of these boxes, and by a grid "
        f"with the mean value theorem {grid['points']} points, evaluated in {1e3 * grid['seconds']:.2g} ms, if the "
        "largest derivatives are known: they were taken from random points, which proves nothing.",
    }


def draw_contraction(measured: Mapping[str, Any]) -> Any:
    """The box of theorem 1, its image, and the field."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.2, 3.6))
        shift = {"dmean": measured["dmean"], "dvar": measured["dvar"]}
        plots.vector_field(axes, measured["near mean"], measured["near var"], **shift)
        box = (AXES["mean"], AXES["var"])
        image = (measured["image mean"], measured["image var"])
        boxes = (
            ("the box", box, plots.PALETTE[0]),
            ("where layers map it, for all their weights", image, plots.PALETTE[1]),
        )
        for label, (mean, var), color in boxes:
            certificate.outline(axes, mean, var, log=False, color=color, label=label, width=1.6)
        plots.point(axes, 0.0, 1.0, "(0, 1)")
        axes.set_title("Theorem 1")
        plots.legend(figure, axes)
    return figure


CLAIMS = (
    Claim(
        id="N7",
        statement="The layer map contracts on a box, so that by Banach the fixed point in it is unique.",
        measured="Theorems 1 to 3 of the SELU paper by interval arithmetic: contraction and self-map, variance that "
        "falls above and rises below; for theorem 1 also a grid with the mean value theorem",
        parts=[
            *(Number(f"theorem {i} is proved", f"theorem {i}", 1.0, 1.0) for i in (1, 2, 3)),
            Number("largest singular value on the box", "rate", 0.897608358, 0.897608359, because="nine digits"),
            Number("largest change of a variance above", "falls", high=0.0),
            Number("least change of a variance below", "rises", low=0.0),
            Number("grid: largest singular value, and how much it may be missed by", "grid", high=1.0),
        ],
        measure=contracts,
        draw=draw_contraction,
        caption="Mean and variance near the fixed point, and how far one layer moves them (grey). For all weights of "
        "the theorem the box is mapped into the smaller one, and any two points come nearer to each other. So all of "
        "the box goes to one point.",
    ),
)
