"""One wide layer of random weights as a pytree: its length map, the slopes of it and its dual function."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import callables, checks, nodes
from jnorm.gaussian._panels import at_points
from jnorm.theory._parts import Activation, numbers, static
from jnorm.theory.meanfield._duals import Dual, dual, rule
from jnorm.theory.meanfield._steady import steady
from jnorm.theory.moments import activation_moments, gradient_factor

LONGEST = 1e4
"""The length that is taken for an infinite one."""


class Slopes(NamedTuple):
    """Derivatives of one layer where its length stays, arrays of one shape.

    Attributes:
        length: Of the length map, by the length.
        forward: What the squared distance of two inputs that are close is multiplied by, ``sigma_w^2 E[phi'(z)^2]``.
        backward: What the squared gradient is multiplied by a layer back, ``forward / (1 - dropout)`` for layers of
            equal width, times ``fan_out / fan_in`` for others.
    """

    length: jax.Array
    forward: jax.Array
    backward: jax.Array


@nodes.register
@dataclass(frozen=True, eq=False)
class Dense:
    """A layer ``z' = W (mask * phi(z)) + b``; inside programs its numbers are arrays of one shape and dtype.

    Attributes:
        phi: The activation, a callable pytree.
        sigma_w: Standard deviation of the weights times the root of the fan-in.
        sigma_b: Standard deviation of the biases.
        dropout: Share of the activations that are dropped.
        kinks: Where the activation or a derivative jumps.
    """

    phi: Activation
    sigma_w: ArrayLike
    sigma_b: ArrayLike
    dropout: ArrayLike
    kinks: tuple[float, ...] | None = field(metadata={"static": True})

    @property
    def numbers(self) -> dict[str, Any]:
        """Its numbers by name."""
        return {"sigma_w": self.sigma_w, "sigma_b": self.sigma_b, "dropout": self.dropout}

    def settled(self, **others: Any) -> "Dense":
        """The layer with its activation settled for its numbers broadcast against others."""
        like = jax.eval_shape(_wide, self.numbers | others)
        points = jax.ShapeDtypeStruct((1, *like.shape), like.dtype)
        phi = callables.settle(self.phi, points, name="phi")
        return Dense(phi, self.sigma_w, self.sigma_b, self.dropout, self.kinks)

    def spread(self, **others: Any) -> tuple[Any, "Dense", tuple[jax.Array, ...]]:
        """Inside a program: the dtype of the result, the layer with broadcast numbers, and the others alike."""
        dtype, (w, b, p, *rest) = checks.wide_floats(**self.numbers, **others)
        return dtype, Dense(self.phi, w, b, p, self.kinks), tuple(rest)

    def length(self, q: jax.Array) -> jax.Array:
        """The length after the layer, ``sigma_w^2 E[phi(z)^2] / (1 - dropout) + sigma_b^2``, ``z ~ N(0, q)``."""
        return _square(self.sigma_w) * self.second(q) / (1 - self.dropout) + _square(self.sigma_b)

    def keeps_zero(self, like: jax.Array) -> jax.Array:
        """Whether an input of zeros stays one."""
        at_zero = at_points(self.phi, 0)(jnp.zeros_like(like))
        return (at_zero == 0) & (self.sigma_b == 0)

    def second(self, q: jax.Array) -> jax.Array:
        """``E[phi(z)^2]``."""
        m = activation_moments(self.phi, jnp.zeros_like(q), q, kinks=self.kinks)
        return m.var + m.mean * m.mean

    def chi(self, q: jax.Array) -> jax.Array:
        """``sigma_w^2 E[phi'(z)^2]``."""
        return _square(self.sigma_w) * gradient_factor(self.phi, jnp.zeros_like(q), q, kinks=self.kinks)

    def stays(self, start: jax.Array) -> jax.Array:
        """The length that stays, on the way from another one."""
        return steady(self.length, jnp.where(start > 0, start, jnp.nan), self.keeps_zero(start))

    def slopes(self, q: jax.Array) -> Slopes:
        """The slopes at a length."""
        within = inner(q)
        forward = self.chi(within)
        backward = forward / (1 - self.dropout)
        along = jax.jvp(self.length, (within,), (jnp.ones_like(q),))[1]
        return Slopes(jnp.where(q < within, backward, along), forward, backward)  # equal at length zero

    def dual(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
        """The dual function of the activation."""
        return dual(rule(self.phi, self.kinks), var1, var2, corr)

    def covariance(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The covariance of two inputs after the layer, and its derivative by the covariance before it."""
        value, slope = self.dual(var1, var2, corr)
        w = _square(self.sigma_w)
        return w * value + _square(self.sigma_b), w * slope


def dense(
    phi: Activation,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike,
    dropout: ArrayLike,
    kinks: Sequence[float] | None,
    start: ArrayLike = 1.0,
) -> Dense:
    """The layer, after a look at its numbers and at the length that a walk through many of it starts with.

    Raises ``ValueError`` for those that no layer has, and for a ``start`` that is not positive.
    """
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", sigma_w=sigma_w, sigma_b=sigma_b)
    checks.require(lambda p: (p >= 0) & (p < 1), "`{}` must satisfy 0 <= {} < 1", dropout=dropout)
    checks.require(lambda q: q > 0, "`{}` must satisfy {} > 0", start=start)
    w, b, p = numbers(sigma_w, sigma_b, dropout)
    return Dense(callables.wrap(phi), w, b, p, static(kinks))


def inner(q: jax.Array) -> jax.Array:
    """A length at which limits of length zero and infinity can be taken."""
    least = float(jnp.finfo(q.dtype).eps) ** 2
    return jnp.where(q < least, least, jnp.where(q > LONGEST, LONGEST, q))


def _square(a: ArrayLike) -> jax.Array:
    return jnp.asarray(a) * a


@jax.jit
def _wide(named: dict[str, Any]) -> jax.Array:
    return checks.wide_floats(**named)[1][0]
