"""What an activation makes of a Gaussian, with all derivatives that are needed: one program an activation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import gaussian
from jnorm._ground import callables, nodes
from jnorm.gaussian._limits import leap
from jnorm.gaussian._panels import at_points
from jnorm.theory._parts import Activation, known_kinks

LANES = 4  # points of a search, and kinks of a look
ORDERS = 4  # derivatives by the mean


class Jumps(NamedTuple):
    """Where a function, and where its derivative, jumps."""

    value: tuple[float, ...]
    slope: tuple[float, ...]


@nodes.register
@dataclass(frozen=True, eq=False)
class Measured:
    """An activation with its kinks; a pytree.

    Attributes:
        phi: The activation.
        kinks: Where it or a derivative jumps.
    """

    phi: Activation
    kinks: tuple[float, ...] = field(metadata={"static": True})

    @classmethod
    def of(cls, phi: Activation, kinks: Sequence[float] | None) -> "Measured":
        """The activation, settled, with the kinks that are given, registered or read."""
        known = known_kinks(phi, kinks)
        found = gaussian.kinks(phi) if known is None else known
        points = jax.ShapeDtypeStruct((1, LANES), jnp.result_type(float))
        return cls(callables.settle(phi, points, name="phi"), found)

    @cached_property
    def jumps(self) -> Jumps:
        """At which of its kinks the activation itself, and at which its derivative, jumps; on the host."""
        value: list[float] = []
        slope: list[float] = []
        for first in range(0, len(self.kinks), LANES):
            kinks = self.kinks[first : first + LANES]
            leaps = np.asarray(_leaps(self, jnp.asarray(np.resize(kinks, LANES))))  # [part, kink]
            for found, part in ((value, leaps[0]), (slope, leaps[1])):
                found += [k for k, by in zip(kinks, part, strict=False) if by]
        return Jumps(tuple(value), tuple(slope))

    def at(self, mean: np.ndarray, var: np.ndarray) -> "Law":
        """What the activation makes of some points, on the host."""
        return jax.tree.map(np.asarray, _law_at(self, mean, var))

    def at_one(self, mean: float, var: float) -> "Law":
        """What it makes of one point, with numbers."""
        return self.at(np.full(LANES, mean), np.full(LANES, var)).lane(0)


class Law(NamedTuple):
    """Moments of ``phi(u)``, ``u ~ N(mean, var)``.

    Attributes:
        at: Mean and variance of ``u``.
        mean: ``E[phi]``.
        var: ``Var[phi]``.
        mean_by: Derivatives of ``mean`` by the mean and by the variance of ``u``.
        var_by: Derivatives of ``var``.
        slope: ``E[phi'^2]``.
        curvature: ``E[phi''^2]``, without what a jump of the derivative adds.
    """

    at: tuple[Any, Any]
    mean: Any
    var: Any
    mean_by: tuple[Any, Any]
    var_by: tuple[Any, Any]
    slope: Any
    curvature: Any

    def lane(self, index: int) -> "Law":
        """That of one point, with numbers."""
        return jax.tree.map(lambda a: float(a[index]), self)


def linearized(measured: Measured, mean: jax.Array, var: jax.Array) -> tuple[Law, Callable[..., Law]]:
    """The law at points, and its derivative as a function of their displacements ``(dmean, dvar)``.

    A Gaussian density obeys the heat equation, ``d/dvar = (d/dmean)^2 / 2``.
    """
    centre, rows = _rows(measured, mean, var)
    law, push = jax.linearize(partial(_law, centre), mean, var, rows[:, :3])
    rate = lambda dmean, dvar: rows[:, 1:4] * dmean[None, None] + rows[:, 2:5] / 2 * dvar[None, None]
    return law, lambda dmean, dvar: push(dmean, dvar, rate(dmean, dvar))


def _law(centre: jax.Array, mean: jax.Array, var: jax.Array, rows: jax.Array) -> Law:
    """By the rows of `_rows`, of which the moments need three orders."""
    gap, square, slope, curvature = rows
    return Law(
        (mean, var),
        centre + gap[0],
        square[0] - gap[0] * gap[0],
        (gap[1], gap[2] / 2),
        (square[1] - 2 * gap[0] * gap[1], square[2] / 2 - gap[0] * gap[2]),
        slope[0],
        curvature[0],
    )


@jax.jit
def _law_at(measured: Measured, mean: jax.Array, var: jax.Array) -> Law:
    return linearized(measured, mean, var)[0]


@jax.jit
def _leaps(measured: Measured, points: jax.Array) -> jax.Array:
    """By how much the value, and the derivative, jump at points."""
    f = at_points(measured.phi, 0)
    return jnp.stack([leap(f, points), leap(lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1], points)])


def _rows(measured: Measured, mean: jax.Array, var: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A value near ``phi(u)``, and derivatives by the mean, ``[function, order, point]``, of expectations: of ``phi``
    less that value, of its square, of ``phi'^2`` and ``phi''^2``.

    That of order k is ``E[g(u) He_k(z)] / sd^k``: ``g`` itself may have kinks and jumps.
    """
    sd, centre = jnp.sqrt(var), at_points(measured.phi, 0)(mean)  # any centre will do; near the mean nothing cancels
    terms = _Terms(measured.phi, centre, mean, sd)
    rows = gaussian.expectation(terms, mean, var, kinks=measured.kinks)
    return centre, jnp.stack([jnp.stack([moment / sd**k for k, moment in enumerate(row)]) for row in rows])


@nodes.register
@dataclass(frozen=True, eq=False)
class _Terms:
    """The activation about a centre, its square, and the squares of two derivatives, times Hermite polynomials."""

    phi: Activation
    centre: jax.Array
    mean: jax.Array
    sd: jax.Array

    def __call__(self, u: jax.Array) -> list[list[jax.Array]]:
        one = jnp.ones_like(u)
        derivative = lambda u: jax.jvp(self.phi, (u,), (one,))[::-1]
        (slope, value), (curvature, _) = jax.jvp(derivative, (u,), (one,))
        z, gap = (u - self.mean[None]) / self.sd[None], value - self.centre[None]
        polynomials = [one, z]
        for k in range(1, ORDERS):
            polynomials.append(z * polynomials[k] - k * polynomials[k - 1])
        return [[g * h for h in polynomials] for g in (gap, gap * gap, slope * slope, curvature * curvature)]
