"""A layer of random weights as a pytree: its numbers, and Gaussian expectations of its activation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import gaussian
from jnorm._ground import callables, checks, nodes
from jnorm.theory._parts import Activation, known_kinks, numbers, static
from jnorm.theory.finite_width._weights import WeightLaw, law


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


@jax.jit
def _wide(named: dict[str, Any]) -> jax.Array:
    return checks.wide_floats(**named)[1][0]
