"""What theory says of chains of dense layers: their signals, their gradients, and how far a network of a width strays.

Limits are of infinitely wide layers. The first order in depth / width is how much ``log mean v^2`` of a single network
varies, by `jnorm.predict`; its law is taken for a normal one, so that a typical network lies below the mean.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.predict import Law, Row, predict
from jnorm.theory.fixed_points import iterate
from jnorm.theory.meanfield import layer_map
from jnorm.theory.moments import Moments, gradient_factor

DECADES = 1 / (2 * np.log(10))  # of a size, for each unit of the logarithm of its square


class Chain(NamedTuple):
    """What is predicted of a chain, arrays ``[layer]``.

    Attributes:
        mean: Of the activations, over units and examples.
        second: Their mean square.
        spread: The deviation of the logarithm of it, over networks.
        gradient: The mean squared gradient at the pre-activations; NaN where it was not asked for.
        gradient_spread: The deviation of the logarithm of it.
    """

    mean: np.ndarray
    second: np.ndarray
    spread: np.ndarray
    gradient: np.ndarray
    gradient_spread: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of the activations."""
        return np.sqrt(self.second - self.mean**2)

    @property
    def typical_std(self) -> np.ndarray:
        """Its expectation over networks of this width."""
        return self.std * np.exp(-(self.spread**2) / 8)


def chain(phi: Any, stds: Sequence[float], widths: Sequence[int], x: Any, *, gradients: bool = False) -> Chain:
    """Predict layers ``phi(x @ kernel)`` on some examples; gradients are those of independent normal cotangents.

    ``stds`` are those of the weights of each layer, and ``widths`` the numbers of inputs and of units.
    """
    kernels = [jnp.zeros(shape) for shape in zip(widths[:-1], widths[1:], strict=True)]

    def apply(kernels: Sequence[jax.Array], x: jax.Array) -> jax.Array:
        for kernel in kernels:
            x = phi(x @ kernel)
        return x

    laws = [Law("normal", float(std) ** 2) for std in stds]
    before: list[Row] = []
    after: list[Row] = []
    for row in predict(apply, kernels, jnp.asarray(x, jnp.float32), laws=laws, gradients=gradients):
        if row.name.endswith("dot_general"):
            before.append(row)
            after.append(row)
        else:
            after[-1] = row  # the last operation of an activation
    slopes = [row.gradient_law.spread if row.gradient_law else np.nan for row in before]
    signal = [[getattr(row, name) for row in after] for name in ("mean", "second", "spread")]
    return Chain(*map(np.array, (*signal, [row.gradient for row in before], slopes)))


def typical(log10: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """log10 of a size in a typical network, from that of the root of its mean square and the spread of the logarithm.

    The expectation of a logarithm is below the logarithm of the expectation by half of the variance.
    """
    return log10 - DECADES * spread**2 / 2


def lengths(phi: Any, gain: float, squares: np.ndarray, depth: int) -> np.ndarray:
    """Variances of the pre-activations ``[layer, ...]`` of inputs with these mean squares, in wide layers.

    ``gain`` is the variance of the weights times the fan-in.
    """
    with jax.enable_x64(True):
        start = Moments(jnp.zeros(np.shape(squares)), jnp.asarray(squares, jnp.float64))
        rows = iterate(layer_map(phi, sigma_w=gain**0.5), start, depth - 1)
        return gain * np.asarray(rows.var + rows.mean**2)


def backward(phi: Any, gain: float, squares: np.ndarray, depths: Sequence[int]) -> np.ndarray:
    """log10 of the gradient at the pre-activations ``[..., network, layer]``, of networks of these depths.

    Over ``squares [..., example]`` it is the norm, from independent normal gradients at the last outputs; NaN behind
    the last layer of a network. A layer back multiplies the squared gradient by ``gain E[phi'(z)^2]``.
    """
    deepest = max(depths)
    length = lengths(phi, gain, squares, deepest)
    with jax.enable_x64(True):
        factors = gain * np.asarray(gradient_factor(phi, jnp.zeros_like(length), jnp.asarray(length)))
    logs = np.log(np.maximum(factors, 1e-300))
    found = np.full((*np.shape(squares)[:-1], len(depths), deepest), np.nan)
    for i, depth in enumerate(depths):
        back = np.cumsum(logs[:depth][::-1], 0)[::-1]  # [layer, ..., example]
        found[..., i, :depth] = np.moveaxis(DECADES * np.logaddexp.reduce(back, -1), 0, -1)
    return found


def spreads(phi: Any, gain: float, units: int, depth: int, x: np.ndarray) -> np.ndarray:
    """How much the logarithm of the squared gradient at each layer varies over networks of a width, ``[layer]``."""
    widths = [units] * (depth + 1)
    return chain(phi, [(gain / units) ** 0.5] * depth, widths, x, gradients=True).gradient_spread


def shares(phi: Callable[[Any], Any], length: np.ndarray, bins: int, ends: tuple[float, float]) -> np.ndarray:
    """Histograms ``[layer, bin]`` of the activations of wide layers, ``length [layer, ...]`` before the activation."""
    count = max(40_000 // max(length[0].size, 1), 200)
    quantiles = jax.scipy.special.ndtri((jnp.arange(count) + 0.5) / count)
    values = np.asarray(jax.jit(phi)(jnp.sqrt(jnp.asarray(length))[..., None] * quantiles))
    return np.array([np.histogram(row, bins, ends)[0] / row.size for row in values])
