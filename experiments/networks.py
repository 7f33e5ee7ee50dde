"""Mean and variance layer by layer in real networks, measured, to be laid over the theory of their weights.

Two arms share every drawn matrix ``W`` of independent N(0, 1) entries:

- ``fixed``: rows centred and scaled to unit norm, so that every unit has omega = 0 and tau = 1 exactly. Their theory is
  `jnorm.theory.moments.layer_map`.
- ``random``: ``W / sqrt(width)``, independent N(0, 1/width) weights. Their theory is
  `jnorm.theory.meanfield.layer_map`.

What is measured: for one example the mean and the unbiased variance over the units of a layer, then their average over
examples. Units are independent given the layer below, and with centred unit-norm rows that variance is the expected
square of a pre-activation exactly, so neither is biased by a finite width in itself; the curvature of the map is left.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jnorm.theory.moments import Activation, Moments

ARMS = ("fixed", "random")


class Comparison(NamedTuple):
    """Measured against theory, arrays ``[layer, start]``: see `compare`."""

    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    inside: np.ndarray
    z: np.ndarray


def inputs(pixels: jax.Array, starts: Moments, width: int) -> jax.Array:
    """Images ``[example, pixel]`` as network inputs ``[width, start * example]`` with exactly the starts' moments.

    Every image is enlarged to ``width`` units by repeating its pixels, so that the first layer is as wide as the
    others, standardized over these units, scaled and shifted.
    """
    x = pixels[:, jnp.arange(width) * pixels.shape[1] // width]
    x = x - jnp.mean(x, 1, keepdims=True)
    x = x * lax.rsqrt(jnp.sum(x**2, 1, keepdims=True) / (width - 1))
    x = starts.mean[:, None, None] + jnp.sqrt(starts.var)[:, None, None] * x[None]
    return jnp.moveaxis(x, -1, 0).reshape(width, -1)


def normal_matrix(key: jax.Array, width: int) -> jax.Array:
    """``[width, width]`` independent N(0, 1) entries."""
    # In blocks of rows that fit the cache: XLA makes the bits in many passes, at twice the time on one big array.
    rows = math.gcd(width, 16)
    blocks = lax.map(
        lambda key: jax.random.normal(key, (rows, width), jnp.float32), jax.random.split(key, width // rows)
    )
    return blocks.reshape(width, width)


def network(
    key: jax.Array, images: jax.Array, starts: Moments, *, phi: Activation, depth: int, width: int, examples: int
) -> Moments:
    """One seed's moments ``[layer, arm, start]``, the inputs first: own weights, and own examples from ``images``."""
    data, weights = jax.random.split(key)
    chosen = jax.random.choice(data, images, (examples,), replace=False)
    x = jnp.stack([inputs(chosen, starts, width)] * len(ARMS))

    def moments(x: jax.Array) -> Moments:
        over_units = jnp.mean(x, 1), jnp.var(x, 1, ddof=1)
        return Moments(*(jnp.mean(a.reshape(len(ARMS), -1, examples), -1) for a in over_units))

    def layer(x: jax.Array, key: jax.Array) -> tuple[jax.Array, Moments]:
        w = normal_matrix(key, width)
        centred = w - jnp.mean(w, 1, keepdims=True)
        unit = centred * lax.rsqrt(jnp.sum(centred**2, 1, keepdims=True))
        # The default precision of a GPU would round the weights to ten bits.
        fixed = jnp.matmul(unit, x[0], precision="highest")
        random = jnp.matmul(w, x[1], precision="highest") * width**-0.5
        x = phi(jnp.stack([fixed, random]))
        return x, moments(x)

    first = moments(x)
    _, rest = lax.scan(layer, x, jax.random.split(weights, depth))
    return Moments(*(jnp.concatenate([a[None], b]) for a, b in zip(first, rest, strict=True)))


def measure(
    phi: Activation,
    starts: Moments,
    images: np.ndarray,
    *,
    seeds: int,
    depth: int,
    width: int,
    examples: int,
    first_seed: int = 0,
    advance: Callable[[int], Any] = lambda done: None,
) -> dict[str, Moments]:
    """Measured moments of each arm, ``[seed, layer, start]``; ``advance(n)`` is called as n more seeds are done.

    Seed s, counted from ``first_seed``, runs with ``jax.random.key(s)``, whatever the number of seeds and devices. The
    seeds of a chunk are spread over all devices and vmapped on each.
    """
    devices = jax.devices()
    at_once = 4 if devices[0].platform == "cpu" else 32  # more gain nothing on a core, and would make the bar coarse
    chunk = len(devices) * min(at_once, -(-seeds // len(devices)))
    mesh = jax.make_mesh((len(devices),), ("seeds",), axis_types=(AxisType.Auto,))
    split, whole = PartitionSpec("seeds"), PartitionSpec()

    def one(key: jax.Array, images: jax.Array, starts: Moments) -> Moments:
        return network(key, images, starts, phi=phi, depth=depth, width=width, examples=examples)

    many = jax.vmap(one, in_axes=(0, None, None))
    # The check of which values vary over the mesh loses track of the keys.
    run = jax.jit(jax.shard_map(many, mesh=mesh, in_specs=(split, whole, whole), out_specs=split, check_vma=False))
    pixels = jnp.asarray(images, jnp.float32)
    points = Moments(*(jnp.asarray(a, jnp.float32) for a in starts))
    chunks = []
    for first in range(0, seeds, chunk):
        numbers = np.minimum(np.arange(first, first + chunk), seeds - 1)  # the last chunk repeats a seed to be full
        done = min(chunk, seeds - first)
        result = run(jax.vmap(jax.random.key)(first_seed + numbers), pixels, points)
        chunks.append(jax.tree.map(lambda a: np.asarray(a)[:done], result))  # noqa: B023 (used at once)
        advance(done)
    every = Moments(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))
    return {arm: Moments(*(a[:, :, index] for a in every)) for index, arm in enumerate(ARMS)}


def compare(samples: np.ndarray, theory: np.ndarray) -> Comparison:
    """Samples ``[seed, layer, start]`` of a moment against its theory ``[layer, start]``, input layer left out.

    ``deviation`` of the average over seeds from theory; the band from ``low`` to ``high`` that holds the middle 95 % of
    the seeds, and whether theory lies ``inside``; ``z``, the deviation in standard errors of the average.
    """
    samples, theory = samples[:, 1:].astype(np.float64), theory[1:]
    deviation = samples.mean(0) - theory
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    error = samples.std(0, ddof=1) / math.sqrt(len(samples))
    z = np.divide(deviation, error, out=np.full_like(deviation, np.nan), where=error > 0)
    return Comparison(deviation, low, high, (low <= theory) & (theory <= high), z)


def summary(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The worst deviation and z-score of all that is compared, the shares inside the bands and of abs(z) < 1.96."""
    z = np.abs(np.concatenate([c.z.ravel() for c in comparisons]))
    inside = np.concatenate([c.inside.ravel() for c in comparisons])
    return {
        "largest_deviation": [float(np.max(np.abs(c.deviation))) for c in comparisons],
        "largest_z": float(np.nanmax(z, initial=0.0)),
        "share_z_below_1.96": float(np.mean(z[np.isfinite(z)] < 1.96)) if np.isfinite(z).any() else None,
        "share_theory_inside_band": float(inside.mean()),
    }
