"""What theory says of chains of dense layers: their signals, their gradients, and how far a network of a width strays.

Limits are of infinitely wide layers. What finite width adds to first order in depth / width is how much lengths and
gradients of a single network vary, by `jnorm.predict` and `jnorm.theory.finite_width`, and what that does to the mean
of a logarithm or of a root.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.predict import Law, Row, predict
from jnorm.theory.finite_width import length_law
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
        """Its expectation over networks, where the mean square has a lognormal law."""
        return self.std * np.exp(-(self.spread**2) / 8)


def chain(phi: Any, stds: Sequence[float], widths: Sequence[int], x: Any, *, gradients: bool = False) -> Chain:
    """Predict layers ``phi(x @ kernel)`` on some examples; gradients are those of independent normal cotangents.

    ``stds`` are those of the weights of each layer, and ``widths`` the numbers of inputs and of units.
    """
    kernels = [jnp.zeros(shape) for shape in itertools.pairwise(widths)]

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


def astray(phi: Any, gain: float, units: int, depth: int, x: np.ndarray) -> np.ndarray:
    """How far log10 of the gradient at each layer lies from that of wide layers on average, ``[layer]``.

    To first order in depth / width: lengths vary on their way forward, and the gradient's factor is no straight line of
    them (`length_law`); on the way back the logarithm of a gradient that varies is below that of its mean, by half of
    its variance (`predict`).
    """
    widths = [units] * (depth + 1)
    found = chain(phi, [(gain / units) ** 0.5] * depth, widths, x, gradients=True)
    with jax.enable_x64(True):
        start = gain * float(np.mean(np.square(x, dtype=float)))
        law = length_law(phi, width=units, depth=depth - 1, sigma_w=gain**0.5, length=start)
        nodes, weights = np.polynomial.hermite_e.hermegauss(9)
        places = jnp.exp(law.log_mean[:, None] + jnp.sqrt(law.log_var)[:, None] * nodes)
        logs = lambda q: np.log(np.asarray(gradient_factor(phi, jnp.zeros_like(q), q)))
        bias = logs(places) @ (weights / weights.sum()) - logs(law.limit)
    return DECADES * (np.cumsum(bias[::-1])[::-1] - found.gradient_spread**2 / 2)


def growing(phi: Any, gain: float, units: int, depth: int, start: float) -> np.ndarray:
    """The mean square of a layer's activations of finite width over that of wide ones, ``[layer]``, on average.

    ``start`` is the variance of the first pre-activations.
    """
    with jax.enable_x64(True):
        law = length_law(phi, width=units, depth=depth, sigma_w=gain**0.5, length=start)
        return np.asarray(law.mean / law.limit)[1:]


def shares(phi: Callable[[Any], Any], length: np.ndarray, bins: int, ends: tuple[float, float]) -> np.ndarray:
    """Histograms ``[layer, bin]`` of the activations of wide layers, ``length [layer, ...]`` before the activation."""
    count = max(40_000 // max(length[0].size, 1), 200)
    quantiles = jax.scipy.special.ndtri((jnp.arange(count) + 0.5) / count)
    values = np.asarray(jax.jit(phi)(jnp.sqrt(jnp.asarray(length))[..., None] * quantiles))
    return np.array([np.histogram(row, bins, ends)[0] / row.size for row in values])
