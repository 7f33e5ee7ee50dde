"""One layer of finite width: the mean and variance over its units, as random variables of the weights."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.theory._parts import Activation, Moments
from jnorm.theory.finite_width._random import Powers, Random, random
from jnorm.theory.finite_width._weights import WeightLaw
from jnorm.theory.moments import activation_moments


class LayerLaw(NamedTuple):
    """Mean and variance over the units of a layer, of one input, as they vary with the weights.

    Attributes:
        limit: The mean and variance of a layer of infinite width.
        expected: Their expectation over layers of this width; its gap from ``limit`` is of order 1/width.
        covariance: Their covariance matrix over such layers, ``[..., 2, 2]``, mean first.
    """

    limit: Moments
    expected: Moments
    covariance: jax.Array


def layer_law(
    phi: Activation,
    length: ArrayLike,
    *,
    width: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    weights: str | WeightLaw = "normal",
    ratio: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> LayerLaw:
    """How mean and variance over the units of a layer vary with its weights.

    For one input, ``m = mean_i phi(z_i)`` and ``v = mean_i (phi(z_i) - m)^2`` over the ``width`` units, whose
    pre-activations have the variance ``length``, weights and biases together. Exact for independent normal weights.
    Others leave pre-activations that are not normal, with a fourth cumulant k of order 1/width: expectations of f
    change by ``k E[f(z) He4(z / sqrt(length))] / (24 length^2)``. Orthogonal weights keep the norm of the input, so
    that units depend on each other: covariances change by
    ``-2 a^2 d/da E[f] d/da E[g] / (width + 2)``, with a the part of the length that is due to the weights. The
    error is of order ``1/width^2``.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        length: Variance of the pre-activations over the weights, positive.
        width: Number of inputs and of units.
        sigma_b: Standard deviation of the biases, which are normal.
        weights: A name of `WEIGHTS`, or a `WeightLaw`.
        ratio: ``mean x^4 / (mean x^2)^2`` over the layer's inputs: 1 where all have one size, 3 where they are normal.
            Matters for uniform and sparse weights.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        Limit, expectation and covariance of the two.

    Raises:
        ValueError: A ``width`` that is no whole number >= 1, a known ``length <= 0``, ``sigma_b < 0`` or ``ratio < 1``,
            an unknown name of ``weights``, shapes that do not broadcast, or a ``phi`` that is not elementwise.

    >>> from jnorm.activations import relu
    >>> found = layer_law(relu, 1.0, width=100)
    >>> round(float(found.expected.var), 4), round(float(found.covariance[0, 0]) ** 0.5, 4)
    (0.3374, 0.0584)
    """
    checks.require(lambda r: r >= 1, "`{}` must satisfy {} >= 1", ratio=ratio)
    layer = random(phi, 1.0, sigma_b, width, weights, kinks, length)
    return _layer_law(layer.settled(length=length, ratio=ratio), length, ratio)


@jax.jit
def _layer_law(layer: Random, length: ArrayLike, ratio: ArrayLike) -> LayerLaw:
    dtype, layer, (q, ratio) = layer.spread(length=length, ratio=ratio)
    q = jnp.where(q > 0, q, jnp.nan)
    limit = activation_moments(layer.phi, jnp.zeros_like(q), q, kinks=layer.kinks)
    own, by_length, fourth = layer.expectations(Powers(layer.phi, limit.mean, 4), q)
    n, shared = layer.width, layer.weights.shared
    share = (q - layer.sigma_b**2) / q  # of the length, that is due to the weights
    independent = layer.kurtosis(ratio) * share**2 / 24
    tilt = independent - shared / (8 * (n + shared)) * share**2  # -3 shared / 24
    shift, square = (own[i] + tilt * fourth[i] for i in (0, 1))
    first, second, third, power = (a + independent * b for a, b in zip(own, fourth, strict=True))
    # Covariances of n units' averages of the gap and of its square, times n; of squares on a sphere times n + 2.
    move, swell = (share * a / 2 for a in by_length[:2])
    cov11 = second - first**2 - shared * move**2
    cov12 = third - first * second - shared * move * swell
    cov22 = power - second**2 - shared * swell**2
    less = (n - 1) / n
    # The variance is the mean square of the gap, less the square of its mean; and the gap has a mean of its own.
    var_mean = cov11 / n
    mean_var = square - shift**2 - var_mean
    cross = less / (n + shared / 2) * (cov12 - 2 * first * cov11)
    var_var = less**2 / (n + shared) * (cov22 - 4 * first * (cov12 - first * cov11)) + 2 * less * var_mean**2
    covariance = jnp.stack([jnp.stack([var_mean, cross], -1), jnp.stack([cross, var_var], -1)], -2)
    expected = Moments(limit.mean + shift, mean_var)
    return jax.tree.map(lambda a: a.astype(dtype), LayerLaw(limit, expected, covariance))
