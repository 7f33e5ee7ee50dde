"""One layer of finite width: the mean and variance over its units, as random variables of the weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import gaussian
from jnorm._ground import callables, checks, nodes
from jnorm.theory._parts import Activation, Moments, known_kinks, numbers, static
from jnorm.theory.finite_width._weights import WeightLaw, law
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


@nodes.register
@dataclass(frozen=True, eq=False)
class Random:
    """A layer ``phi(W x + b)`` of random weights; inside programs its numbers are arrays of one shape and dtype.

    Attributes:
        phi: The activation, a callable pytree.
        sigma_w: Standard deviation of the weights times the root of the fan-in.
        sigma_b: Standard deviation of the biases, which are normal.
        width: Number of inputs, and of units.
        weights: The law of the weights.
        kinks: Where the activation or a derivative jumps.
    """

    phi: Activation
    sigma_w: ArrayLike
    sigma_b: ArrayLike
    width: ArrayLike
    weights: WeightLaw
    kinks: tuple[float, ...] | None = field(metadata={"static": True})

    def _numbers(self, **others: Any) -> dict[str, Any]:
        named = {"sigma_w": self.sigma_w, "sigma_b": self.sigma_b, "width": self.width}
        return named | self.weights._asdict() | others

    def settled(self, *lead: int, **others: Any) -> "Random":
        """The layer with its activation settled for points ``[*lead, ...]`` of its numbers broadcast against others."""
        like = jax.eval_shape(_wide, self._numbers(**others))
        points = jax.ShapeDtypeStruct((1, *lead, *like.shape), like.dtype)
        phi = callables.settle(self.phi, points, name="phi")
        return Random(phi, self.sigma_w, self.sigma_b, self.width, self.weights, self.kinks)

    def spread(self, **others: Any) -> tuple[Any, "Random", tuple[jax.Array, ...]]:
        """Inside a program: the dtype of the result, the layer with broadcast numbers, and the others alike."""
        dtype, (w, b, n, kurtosis, square, shared, *rest) = checks.wide_floats(**self._numbers(**others))
        return dtype, Random(self.phi, w, b, n, WeightLaw(kurtosis, square, shared), self.kinks), tuple(rest)

    def kurtosis(self, ratio: jax.Array) -> jax.Array:
        """The fourth cumulant of pre-activations over the square of their length that is due to the weights.

        Args:
            ratio: ``E[x^4] / E[x^2]^2`` of the layer's inputs.

        Returns:
            The cumulant of a layer whose weights do not depend on each other; `WeightLaw` has the rest.
        """
        n, (kurtosis, square, shared) = self.width, self.weights
        return jnp.asarray((kurtosis * ratio + square) / (n + shared))

    def expectations(self, f: Any, q: jax.Array) -> tuple[Any, Any, Any]:
        """``E[f(z)]``, ``E[f(z) He2(z / sqrt(q))]`` and ``E[f(z) He4(z / sqrt(q))]``, ``z ~ N(0, q)``.

        The last ones are ``2 q d/dq`` and ``4 q^2 d^2/dq^2`` of the first one, also where ``f`` has kinks.
        """
        kinks = known_kinks(self.phi, self.kinks)
        return gaussian.expectation(_Hermite(f, q), jnp.zeros_like(q), q, kinks=kinks)


@nodes.register
@dataclass(frozen=True, eq=False)
class Powers:
    """Powers of the distance of an activation from a center."""

    phi: Activation
    center: jax.Array
    count: int = field(metadata={"static": True})

    def __call__(self, z: jax.Array) -> tuple[jax.Array, ...]:
        gap = self.phi(z) - jnp.broadcast_to(self.center, z.shape)
        powers = [gap]
        for _ in range(self.count - 1):
            powers.append(powers[-1] * gap)
        return tuple(powers)


@nodes.register
@dataclass(frozen=True, eq=False)
class Square:
    """The square of an activation, in units of the length."""

    phi: Activation
    q: jax.Array

    def __call__(self, z: jax.Array) -> jax.Array:
        value = self.phi(z)
        return value * value / jnp.broadcast_to(self.q, z.shape)


@nodes.register
@dataclass(frozen=True, eq=False)
class _Hermite:
    """A function times Hermite polynomials of its argument in standard units."""

    f: Any
    q: jax.Array

    def __call__(self, z: jax.Array) -> tuple[Any, Any, Any]:
        values, square = self.f(z), z * z / jnp.broadcast_to(self.q, z.shape)
        by = lambda factor: jax.tree.map(lambda value: value * factor, values)
        return values, by(square - 1), by((square - 6) * square + 3)


def random(
    phi: Activation,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike,
    width: ArrayLike,
    weights: str | WeightLaw,
    kinks: Sequence[float] | None,
    length: ArrayLike,
) -> Random:
    """The layer, after a look at its numbers and at the length of its pre-activations."""
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", sigma_w=sigma_w, sigma_b=sigma_b)
    checks.whole(1, width=width)
    checks.require(lambda q: q > 0, "`{}` must satisfy {} > 0", length=length)
    w, b, n = numbers(sigma_w, sigma_b, width)
    return Random(callables.wrap(phi), w, b, n, law(weights), static(kinks))


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
def _wide(named: dict[str, Any]) -> jax.Array:
    return checks.wide_floats(**named)[1][0]


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
