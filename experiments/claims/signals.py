"""Signals and gradients through networks at their start, layer by layer, with histograms: many seeds, one program."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims import chains, drawing
from experiments.claims.claim import Setup
from experiments.claims.foreseen import Foreseen, foreseen, of_width

BINS = 41


class Signals(NamedTuple):
    """What layers do at the start, arrays ``[seed, layer]``.

    Attributes:
        mean: Over all units and examples of a layer.
        std: Likewise.
        square: The mean square.
        saturated: The share of activations beyond .99 in size.
        gradient: The norm of the gradient at the pre-activations of a layer, over the root of its units.
        histogram: Shares of activations ``[seed, layer, bin]`` between the ends.
        ends: Of the histogram.
    """

    mean: np.ndarray
    std: np.ndarray
    square: np.ndarray
    saturated: np.ndarray
    gradient: np.ndarray
    histogram: np.ndarray
    ends: np.ndarray


def signals(
    setup: Setup,
    phi: Any,
    stds: Sequence[float],
    widths: Sequence[int],
    *,
    examples: int,
    images: Any = None,
    ends: tuple[float, float] = (-1.0, 1.0),
) -> Signals:
    """Networks of layers ``phi(x @ kernel)`` at their start, on inputs N(0, 1) or examples of ``images``.

    ``stds`` are those of the weights of each layer, which has so many outputs as ``widths`` say; the inputs come first.
    """
    most = max(widths)
    live = jnp.arange(most) < jnp.array(widths)[:, None]  # narrower layers are the first units of one size
    pool = None if images is None else jnp.pad(jnp.asarray(images), ((0, 0), (0, most - widths[0])))
    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    run = _program(phi, examples, ends)
    found = run(keys, jnp.array(stds, jnp.float32), live, pool)
    return Signals(**{name: np.asarray(a, float) for name, a in found.items()}, ends=np.array(ends))


@cache
def _program(phi: Any, examples: int, ends: tuple[float, float]) -> Any:
    """All seeds, one after the other, of all laws of the weights."""
    low, high = ends

    def one(stds: jax.Array, live: jax.Array, pool: Any, key: jax.Array) -> dict[str, jax.Array]:
        data, weights, upstream = jax.random.split(key, 3)
        depth, most = len(stds), live.shape[1]
        x = jax.random.normal(data, (examples, most)) if pool is None else jax.random.choice(data, pool, (examples,))

        def layer(x: jax.Array, given: Any) -> tuple[jax.Array, Any]:
            key, std, alive, shift = given
            y = jnp.where(alive, phi(x @ (std * jax.random.normal(key, (most, most))) + shift), 0.0)
            return y, (y, alive)

        def forward(shifts: jax.Array) -> tuple[jax.Array, Any]:
            y, seen = jax.lax.scan(layer, x * live[0], (jax.random.split(weights, depth), stds, live[1:], shifts))
            return jnp.sum(y * jax.random.normal(upstream, y.shape)), seen

        gradients, (activations, alive) = jax.grad(forward, has_aux=True)(jnp.zeros((depth, examples, most)))
        return jax.lax.map(_measured, (activations, alive, gradients))

    def _measured(given: tuple[jax.Array, jax.Array, jax.Array]) -> dict[str, jax.Array]:
        y, alive, gradient = given
        over = jnp.broadcast_to(alive, y.shape)
        places = jnp.clip(jnp.floor((y - low) * (BINS / (high - low))), 0, BINS - 1).astype(int)
        counted = jnp.where(over & (y >= low) & (y <= high), places, BINS)
        count = jnp.sum(over)
        mean = jnp.mean(y, where=over)
        return {
            "mean": mean,
            "std": jnp.sqrt(jnp.mean((y - mean) ** 2, where=over)),
            "square": jnp.mean(y**2, where=over),
            "saturated": jnp.mean(jnp.abs(y) > 0.99, where=over),
            "gradient": jnp.linalg.norm(gradient) / jnp.sqrt(jnp.sum(alive)),
            "histogram": jnp.bincount(counted.ravel(), length=BINS + 1)[:BINS] / count,
        }

    return jax.jit(lambda keys, stds, live, pool: jax.lax.map(partial(one, stds, live, pool), keys))


class Said(NamedTuple):
    """What theory says of `Signals`, arrays ``[layer]``.

    Attributes:
        chain: The prediction for layers of these widths.
        typical: The standard deviations that are expected of these widths.
        histogram: Shares of activations ``[layer, bin]`` in wide layers.
    """

    chain: chains.Chain
    typical: np.ndarray
    histogram: np.ndarray


def said(
    phi: Any,
    stds: Sequence[float],
    widths: Sequence[int],
    *,
    examples: int,
    images: Any = None,
    ends: tuple[float, float] = (-1.0, 1.0),
) -> Said:
    """What theory says of networks as `signals` measures them, with hidden layers of one width.

    Its examples are of all sizes that there are, with their mean.
    """
    if images is None:
        x = np.random.default_rng(0).normal(size=(examples, widths[0]))
        x /= np.sqrt(np.mean(x**2))
    else:
        order = np.argsort(np.mean(np.square(images), 1))
        x = np.asarray(images)[order[((np.arange(examples) + 0.5) * len(order) / examples).astype(int)]]
    found, gains = chains.chain(phi, stds, widths, x), np.square(stds) * np.array(widths[:-1])
    start = gains[0] * np.mean(np.square(x), 1)
    typical = found.typical_std * chains.growing(phi, gains[-1], widths[-1], len(stds), float(start.mean())) ** 0.5
    before = chains.lengths(phi, gains[-1], start / gains[-1], len(stds))
    return Said(found, typical, chains.shares(phi, before, BINS, ends))


def rows(name: str, found: Signals, theory: Said, width: int) -> list[Foreseen]:
    """Standard deviations of the first, the middle and the last layer, in wide layers and in those of this width."""
    made, depth = [], found.std.shape[1]
    for layer in sorted({1, (depth + 1) // 2, depth}):
        what, measured = f"std of layer {layer}, {name}", found.std[:, layer - 1]
        made.append(foreseen(what, theory.chain.std[layer - 1], measured))
        made.append(foreseen(what, theory.typical[layer - 1], measured, theory=of_width(width)))
    return made


def drawn(**panels: Signals) -> dict[str, Any]:
    """What `histograms` draws of each panel, for the quantities of a claim; names are spelled with spaces there."""
    return {f"{name} {what}": getattr(a, what) for name, a in panels.items() for what in ("histogram", "std", "ends")}


def beside(**panels: Said) -> dict[str, Any]:
    """What `histograms` draws of theory over each panel, likewise."""
    shown = {f"{name} foreseen": theory.histogram for name, theory in panels.items()}
    return shown | {f"{name} foreseen std": theory.chain.std for name, theory in panels.items()}


def histograms(measured: Mapping[str, Any], *, beside: int = 0) -> Any:
    """Histograms of activations layer by layer, the average over seeds, a panel an arm.

    With ``beside`` panels that are left empty, figure and these panels are returned.
    """
    from jnorm import plots

    panels = [name.removesuffix(" histogram") for name in measured if name.endswith(" histogram")]
    count = len(panels) + beside
    with plots.style():
        figure, drawn_on = plots.figure(1, count, size=((3.5 if beside == 0 else 2.9) * count, 3.2))
        drawn_on = np.atleast_1d(drawn_on)
        for axes, panel in zip(drawn_on, panels, strict=False):
            shares = measured[f"{panel} histogram"].mean(0)
            stds = measured[f"{panel} std"].mean(0)
            places = np.linspace(*measured[f"{panel} ends"], shares.shape[1])
            for layer, (share, std) in enumerate(zip(shares, stds, strict=True), 1):
                most = share[1:].max() if places[0] == 0 else share.max()  # beside the zeros of relu
                height = 0.9 * np.minimum(share / max(most, 1e-9), 1)
                axes.fill_between(places, -layer, height - layer, color=plots.PALETTE[0], alpha=0.75, linewidth=0)
                words = f"std {std:.2g}"
                if f"{panel} foreseen" in measured:
                    line = 0.9 * np.minimum(measured[f"{panel} foreseen"][layer - 1] / max(most, 1e-9), 1) - layer
                    drawing.foreseen(axes, places, line, label="theory of wide layers" if layer == 1 else None)
                    words += f"\n({measured[f'{panel} foreseen std'][layer - 1]:.2g})"
                axes.annotate(words, (1.0, 0.15 - layer), xycoords=("axes fraction", "data"), fontsize=6)
            axes.set(xlabel="activation", title=panel, ylim=(-len(shares) - 0.5, 0.3))
            axes.set_yticks([-layer for layer in range(1, len(shares) + 1)], range(1, len(shares) + 1))
        drawn_on[0].set_ylabel("layer")
        if drawn_on[0].get_legend_handles_labels()[1]:
            plots.legend(figure, drawn_on[0], title="areas, std: networks; in brackets, the std that is foreseen")
    return (figure, drawn_on[len(panels) :]) if beside else figure
