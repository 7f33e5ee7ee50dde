"""Products of an activation at two places, ``E[phi(u) phi(v)]`` and ``E[phi'(u) phi'(v)]``, and the derivative at one.

``u`` and ``v`` are normal with mean zero. The first of the two is the dual function of the activation; the second is
its derivative by the covariance (Price 1958), at a correlation of one too, where no limit has to be taken. (The rule of
`jnorm.gaussian.expectation2` serves any ``f(u, v)``. Here ``v`` is integrated given ``u`` and the activation taken once
for each node of ``u``; slope and value share their nodes. Of a broken line what is expected given ``u`` is in closed
form, and all is where it is straight on either side of zero.)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jnorm import activations
from jnorm._ground import callables, nodes
from jnorm.gaussian._kinks import Kinks, located, places, read
from jnorm.gaussian._limits import root
from jnorm.gaussian._panels import IN_PAIRS, PAIR_NODES, REACH, at_points, density, panels, quadrature, splits, total
from jnorm.gaussian._pieces import Pieces, expected, pieces
from jnorm.theory._leaps import leaps
from jnorm.theory._parts import Activation, known_kinks


class Dual(NamedTuple):
    """Two expectations, arrays of one shape.

    Attributes:
        value: ``E[phi(u) phi(v)]``.
        slope: ``E[phi'(u) phi'(v)]``, the derivative of ``value`` by the covariance.
    """

    value: jax.Array
    slope: jax.Array


class Rule(Protocol):
    """Both variances and the correlation, arrays of one shape, to the expectations; a callable pytree."""

    def __call__(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
        """Both expectations."""

    def value(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> jax.Array:
        """The first alone, for less."""


def rule(phi: Activation, kinks: tuple[float, ...] | None, nodes: int = PAIR_NODES) -> Rule:
    """The closed form of an activation where there is one and no kinks are given, a quadrature elsewhere.

    Args:
        phi: The activation, settled for points ``[1, *shape]``.
        kinks: Where it or a derivative jumps; None where its table says so, or they are found. Then broken lines are
            recognized, and their conditional expectations, or all, are in closed form.
        nodes: Of a panel of the quadrature, in either direction.

    Returns:
        The rule, without the derivative of `dual`.
    """
    function, args, keywords = callables.unwrap(phi)
    while callables.is_jitted(function) and function not in _CLOSED:
        function, *_ = callables.unwrap(function.__wrapped__)  # type: ignore[attr-defined]
    if kinks is None and not args and function in _CLOSED:
        return _Closed(_CLOSED[function], keywords)
    return _Quadrature(phi, kinks, nodes)


@jax.custom_jvp
def dual(rule: Rule, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
    """Both expectations, by a rule.

    The derivative of ``value`` by the correlation is the one that is meant, at one and minus one too. That of ``slope``
    there is zero where the activation has a kink, and the limit infinite. Where a variance is zero all derivatives by
    it are zero.

    Args:
        rule: What `rule` returns.
        var1: Variance of ``u``.
        var2: Variance of ``v``.
        corr: Their correlation.

    Returns:
        The expectations.
    """
    return rule(var1, var2, corr)


@dual.defjvp
def _(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Dual, Dual]:
    rule, var1, var2, corr = primals
    out, fixed = jax.jvp(lambda rule, var1, var2: rule(var1, var2, corr), primals[:3], tangents[:3])
    slope = jax.jvp(lambda corr: rule(var1, var2, corr).slope, (corr,), tangents[3:])[1]
    return out, Dual(fixed.value + root(var1) * root(var2) * out.slope * tangents[3], fixed.slope + slope)


@nodes.register
@dataclass(frozen=True, eq=False)
class _Quadrature:
    """``v`` given ``u`` inside, ``u`` outside, both split at the kinks of the activation.

    The outer rule is split too where the conditional mean of ``v`` meets a kink, and on either side of that as far as
    the conditional spread reaches. The inner one is not needed where the activation is a broken line, and neither is
    where its one kink is at zero.
    """

    phi: Activation
    kinks: tuple[float, ...] | None = field(metadata={"static": True})
    nodes: int = field(metadata={"static": True})

    def __call__(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
        found = self.without_leaps(var1, var2, corr)
        scale = jnp.maximum(root(var1), root(var2))
        jumps = leaps(self.phi, jnp.zeros_like(corr), scale, self.kinks)
        if jumps is None:
            return found
        # The derivative of the value has what the product of two delta functions adds, infinite where they meet.
        fixed = lambda corr: self.without_leaps(*jax.lax.stop_gradient((var1, var2)), corr).value
        both, apart = root(var1) * root(var2), jnp.abs(corr) < 1
        push = jax.jvp(fixed, (jnp.where(apart, corr, 0.0),), (jnp.ones_like(corr),))[1]
        slope = jnp.where(apart, push / jnp.where(both == 0, 1.0, both), jnp.inf)
        return Dual(found.value, jnp.where(jumps & (both > 0), slope, found.slope))

    def value(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> jax.Array:
        """The first expectation alone."""
        return self._expected(var1, var2, corr, 0)[0]

    def without_leaps(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
        """Both expectations, the second without what jumps of the activation add."""
        return Dual(*self._expected(var1, var2, corr, 1))

    def _expected(self, var1: jax.Array, var2: jax.Array, corr: jax.Array, order: int) -> Sequence[jax.Array]:
        """Of products of the activation, and of its derivatives up to an order."""
        su, sv, wide = root(var1), root(var2), root(jnp.maximum(var1, var2))
        zero, point = jnp.zeros_like(corr), jax.ShapeDtypeStruct((1, *corr.shape), corr.dtype)
        known = known_kinks(self.phi, self.kinks)
        found = read(self.phi, (point,)) if self.kinks is None else Kinks()
        if found.degree is None or found.degree > 1:
            at = places(self.phi, point, zero, wide, known)
            return self._given_u(at, known, su, sv, corr, _Summed(self.phi, at, self.nodes, order))
        at = located(found, point, zero, wide)
        ((line,), _) = pieces(self.phi, at, zero, wide, 1)
        if not found.traced and set(found.known) <= {0.0}:
            return _angular(line, at_points(self.phi, 0)(zero), su, sv, corr)
        return self._given_u(at, found.known or None, su, sv, corr, _Straight(line, order))

    def _given_u(
        self, at: jax.Array, known: tuple[float, ...] | None, su: jax.Array, sv: jax.Array, corr: jax.Array, inside: Any
    ) -> list[jax.Array]:
        along, across = sv * corr, sv * sine(corr)
        zero, steep = jnp.zeros_like(corr), jnp.maximum(jnp.abs(along), 8 * jnp.finfo(corr.dtype).eps * sv)
        turns = splits(at, zero, along) * jnp.where(along == 0, 0.0, 1.0)[None]
        spread = jnp.where(steep == 0, REACH, REACH * across / jnp.where(steep == 0, 1.0, steep))[None]
        is_middle = known is not None and not any(known)
        own = jnp.zeros((0, *corr.shape), corr.dtype) if is_middle else splits(at, zero, su)
        inner = jnp.concatenate([own, turns, turns - spread, turns + spread])  # kinks at zero are turns themselves
        center, radius = panels(jnp.sort(jnp.clip(inner, -REACH, REACH), 0))
        f = _derivatives(at_points(self.phi, 1), inside.order)

        def terms(block: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
            x = center[:, None] + radius[:, None] * block[0]
            outer = radius[:, None] * block[1] * density(x)
            right = inside(along[None, None] * x, jnp.broadcast_to(across[None, None], x.shape))
            left = [a.reshape(x.shape) for a in f((su[None, None] * x).reshape(-1, *corr.shape))]
            return [jnp.sum(outer * g * h, (0, 1)) for g, h in zip(left, right, strict=True)]

        count = self.nodes if len(at) else 2 * self.nodes
        return total(terms, quadrature(count, center), inside.each * center.size, most=IN_PAIRS)


class _Summed(NamedTuple):
    """``E[phi(v)]`` and, at an order of one, that of the derivative, for means and deviations [panel, node, ...]."""

    phi: Activation
    at: jax.Array
    nodes: int
    order: int

    @property
    def each(self) -> int:
        """How many values it takes for a mean."""
        return (self.nodes if len(self.at) else 2 * self.nodes) * (len(self.at) + 1)

    def __call__(self, mean: jax.Array, deviation: jax.Array) -> list[jax.Array]:
        """Those, of the shape of the mean."""
        middle, half = panels(splits(self.at[:, None, None], mean, deviation))  # [inner panel, panel, node, ...]
        points, weights = quadrature(self.each // len(middle), middle)
        y = middle[:, None] + half[:, None] * points
        weight = half[:, None] * weights * density(y)
        z = mean[None, None] + deviation[None, None] * y
        values = _derivatives(at_points(self.phi, 1), self.order)(z.reshape(-1, *self.at.shape[1:]))
        return [jnp.sum(weight * a.reshape(y.shape), (0, 1)) for a in values]


class _Straight(NamedTuple):
    """The same of a broken line, in closed form."""

    line: Pieces
    order: int

    @property
    def each(self) -> int:
        """How many values it takes for a mean."""
        return len(self.line.anchor)

    def __call__(self, mean: jax.Array, deviation: jax.Array) -> list[jax.Array]:
        """Those, of the shape of the mean."""
        parts = [self.line._replace(jet=self.line.jet[i:]) for i in range(self.order + 1)]
        return expected(parts, mean, deviation)


def _angular(line: Pieces, at_zero: jax.Array, su: jax.Array, sv: jax.Array, corr: jax.Array) -> Dual:
    """The arc-cosine kernels of what is straight on either side of zero (Cho and Saul 2009)."""
    value, slopes = line.jet
    ends = value - slopes * line.anchor
    shift, jump = (ends[0] + ends[-1]) / 2, (ends[-1] - ends[0]) / 2
    slope, bend = (slopes[0] + slopes[-1]) / 2, (slopes[-1] - slopes[0]) / 2
    height, angle, one, half = sine(corr), jnp.arctan2(corr, sine(corr)), math.sqrt(2 / math.pi), 2 / math.pi
    even = shift * shift + shift * bend * (su + sv) * one + half * bend * bend * su * sv * (height + corr * angle)
    odd = half * jump * jump * angle + jump * slope * corr * (su + sv) * one + slope * slope * su * sv * corr
    left, right = (jnp.where(scale == 0, at_zero, shift + bend * scale * one) for scale in (su, sv))
    value = jnp.where((su == 0) | (sv == 0), left * right, even + odd)
    return Dual(value, slope * slope + half * bend * bend * angle)


def sine(corr: jax.Array) -> jax.Array:
    """``sqrt(1 - corr^2)`` with derivative zero where it is zero; also where rounding has led beyond one."""
    return root(jnp.maximum((1 - corr) * (1 + corr), 0.0))


def _derivatives(f: Callable[[jax.Array], jax.Array], order: int) -> Callable[[jax.Array], tuple[jax.Array, ...]]:
    """A function and, at an order of one, its derivative."""
    return lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),)) if order else (f(z),)


@nodes.register
@dataclass(frozen=True, eq=False)
class _Closed:
    """A closed form with the parameters that the activation has bound."""

    form: Callable[..., Dual] = field(metadata={"static": True})
    parameters: dict[str, Any]

    def __call__(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
        named = {name: jnp.broadcast_to(jnp.asarray(a, corr.dtype), corr.shape) for name, a in self.parameters.items()}
        return self.form(var1, var2, corr, **named)

    def value(self, var1: jax.Array, var2: jax.Array, corr: jax.Array) -> jax.Array:
        """The first expectation alone."""
        return self(var1, var2, corr).value


def _leaky_relu(var1: jax.Array, var2: jax.Array, corr: jax.Array, negative_slope: Any = 0.01) -> Dual:
    """The arc-cosine kernels of order one and zero beside a straight line (Cho and Saul 2009)."""
    height = sine(corr)
    angle = jnp.arctan2(height, corr)
    bend = (1 - negative_slope) ** 2 / (2 * math.pi)
    line = negative_slope * corr + bend * (height + (math.pi - angle) * corr)
    return Dual(root(var1) * root(var2) * line, negative_slope + bend * (math.pi - angle))


def _relu(var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
    return _leaky_relu(var1, var2, corr, 0.0)


def _identity(var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
    return Dual(root(var1) * root(var2) * corr, 0 * corr + 1)


def _erf(var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
    """The arcsine kernel (Williams 1997)."""
    share = 2 * root(var1) * root(var2)
    # (1 + 2 var1)(1 + 2 var2) - (2 cov)^2, in which nothing cancels
    rest = 1 + 2 * (var1 + var2) + share * share * (1 - corr) * (1 + corr)
    return Dual(2 / math.pi * jnp.arctan(share * corr / jnp.sqrt(rest)), 4 / math.pi / jnp.sqrt(rest))


def _sin(var1: jax.Array, var2: jax.Array, corr: jax.Array) -> Dual:
    """``exp(-(var1 + var2)/2)`` times the hyperbolic sine and cosine of the covariance, which may overflow alone."""
    cov, middle = root(var1) * root(var2) * corr, (var1 + var2) / 2
    near, far = jnp.exp(jnp.abs(cov) - middle) / 2, jnp.exp(-2 * jnp.abs(cov))
    return Dual(-near * jnp.sign(cov) * jnp.expm1(-2 * jnp.abs(cov)), near * (1 + far))


_CLOSED: dict[Callable[..., Any], Callable[..., Dual]] = {
    activations.relu: _relu,
    activations.leaky_relu: _leaky_relu,
    activations.identity: _identity,
    activations.erf: _erf,
    activations.sin: _sin,
}
