"""What an activation makes of a Gaussian, with all derivatives that are needed: one program an activation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import gaussian
from jnorm._ground import callables, nodes
from jnorm.gaussian._limits import leap
from jnorm.gaussian._panels import at_points
from jnorm.theory._parts import Activation, known_kinks

LANES = 4  # points of a program
ORDERS = 4  # derivatives by the mean
TINY = 1e-150  # the step of derivatives in the imaginary direction, which cancels nothing


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

    def at(self, mean: np.ndarray, var: np.ndarray) -> "Table":
        """The table for `LANES` points, on the host."""
        centre, rows = _rows(self, mean, var)
        return Table(mean, var, np.asarray(centre), np.asarray(rows))

    def at_one(self, mean: float, var: float) -> "Law":
        """The law for one point, with numbers."""
        return self.at(np.full(LANES, mean), np.full(LANES, var)).law().lane(0)


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


class Table(NamedTuple):
    """Expectations at some points, ``[lane]``.

    Attributes:
        mean: Mean of ``u``.
        var: Its variance.
        centre: A value near ``phi(u)``, which all is measured from.
        rows: Derivatives by the mean, ``[function, order, lane]``, of the expectations of ``phi - centre``, its square,
            ``phi'^2`` and ``phi''^2``.
    """

    mean: np.ndarray
    var: np.ndarray
    centre: np.ndarray
    rows: np.ndarray

    def law(self) -> Law:
        """The moments."""
        return self._law(self.mean, self.var, self.rows[:, :3])

    def along(self, dmean: Any, dvar: Any) -> Law:
        """The moments a tiny imaginary step away: functions of them have the derivative in their imaginary part.

        A Gaussian density obeys the heat equation, ``d/dvar = (d/dmean)^2 / 2``.
        """
        rates = self.rows[:, 1:4] * dmean + self.rows[:, 2:5] / 2 * dvar
        step = 1j * TINY
        return self._law(self.mean + step * dmean, self.var + step * dvar, self.rows[:, :3] + step * rates)

    def _law(self, mean: np.ndarray, var: np.ndarray, rows: np.ndarray) -> Law:
        gap, square, slope, curvature = rows
        return Law(
            (mean, var),
            self.centre + gap[0],
            square[0] - gap[0] * gap[0],
            (gap[1], gap[2] / 2),
            (square[1] - 2 * gap[0] * gap[1], square[2] / 2 - gap[0] * gap[2]),
            slope[0],
            curvature[0],
        )


@jax.jit
def _leaps(measured: Measured, points: jax.Array) -> jax.Array:
    """By how much the value, and the derivative, jump at points."""
    f = at_points(measured.phi, 0)
    return jnp.stack([leap(f, points), leap(lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1], points)])


@jax.jit
def _rows(measured: Measured, mean: jax.Array, var: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``E[g(u) He_k(z)] / sd^k``, the derivative of order k of ``E[g(u)]``: ``g`` itself may have kinks and jumps."""
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
