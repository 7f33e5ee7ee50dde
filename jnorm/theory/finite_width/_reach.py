"""How deep and how narrow networks may be before the limit of infinite width misleads."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.theory._parts import Activation
from jnorm.theory.finite_width._depth import POINTS, State, advance, start
from jnorm.theory.finite_width._random import Powers, Random, random
from jnorm.theory.finite_width._weights import WeightLaw

WIDEST = 2**20
STEEPEST = math.sqrt(3 - math.sqrt(6))
BULGE = (3 - STEEPEST**2) * STEEPEST * math.exp(-(STEEPEST**2) / 2) / math.sqrt(2 * math.pi) / 24
"""Largest ``|He3(x)| density(x) / 24``: the distance of two distribution functions for an excess kurtosis of one."""


class Reach(NamedTuple):
    """How deep the limit of infinite width holds, arrays of one shape.

    Attributes:
        depth: The number of layers up to which it does, all of them.
        left: Whether it does not one layer later; False where the search ended before.
    """

    depth: jax.Array
    left: jax.Array


class FanIn(NamedTuple):
    """Numbers of inputs from which on an approximation is good, arrays of one shape.

    Attributes:
        length: The squared length of a layer: the deviation over networks of the variance of a pre-activation.
        moments: The mean and the second moment of the activation behind it, as of a normal pre-activation; relative to
            the root of the second moment, and to it.
        distance: The distribution function of a pre-activation, over weights and inputs, as that of a normal one.
    """

    length: jax.Array
    moments: jax.Array
    distance: jax.Array


def reach(
    phi: Activation,
    *,
    width: ArrayLike,
    tolerance: ArrayLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    length: ArrayLike = 1.0,
    weights: str | WeightLaw = "normal",
    deepest: int = 256,
    kinks: Sequence[float] | None = None,
) -> Reach:
    """The depth up to which a network of finite width has the lengths of infinite width.

    That is, up to which ``sqrt(E[(K / limit - 1)^2])``, from the mean and the variance of `length_law`, is at most
    ``tolerance`` after every layer: one network misses the limit by as much. For relu with He's weights it is
    ``sqrt((1 + 5 / width)^depth - 1)``.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        width: Number of units of every layer.
        tolerance: Largest relative deviation, positive.
        sigma_w: Standard deviation of the weights times the root of the width.
        sigma_b: Standard deviation of the biases.
        length: As for `length_law`.
        weights: As there.
        deepest: Layers after which the search ends.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The depth.

    Raises:
        ValueError: As `length_law`; a ``tolerance`` that is not positive, a ``deepest`` that is no whole number >= 1.

    >>> from jnorm.activations import relu
    >>> float(reach(relu, width=100, tolerance=0.5, sigma_w=2**0.5).depth)
    4.0
    """
    checks.whole(1, deepest=deepest)
    checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tolerance=tolerance)
    layer = random(phi, sigma_w, sigma_b, width, weights, kinks, length)
    settled = layer.settled(POINTS, length=length, tolerance=tolerance)
    return _reach(settled, length, tolerance, int(deepest))


def smallest_width(
    phi: Activation,
    *,
    depth: int,
    tolerance: ArrayLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    length: ArrayLike = 1.0,
    weights: str | WeightLaw = "normal",
    kinks: Sequence[float] | None = None,
) -> jax.Array:
    """The width from which on `reach` is at least a depth.

    Args:
        phi: As for `reach`.
        depth: Layers.
        tolerance: As there.
        sigma_w: As there.
        sigma_b: As there.
        length: As there.
        weights: As there.
        kinks: As there.

    Returns:
        The width, a whole number; infinite where it is larger than 2^20.

    Raises:
        ValueError: As `reach`; a ``depth`` that is no whole number >= 1.

    >>> from jnorm.activations import relu
    >>> float(smallest_width(relu, depth=10, tolerance=0.5, sigma_w=2**0.5))  # from (1 + 5 / width)^10 = 1.25
    222.0
    """
    checks.whole(1, depth=depth)
    checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tolerance=tolerance)
    layer = random(phi, sigma_w, sigma_b, 1.0, weights, kinks, length)
    settled = layer.settled(POINTS, length=length, tolerance=tolerance)
    return _smallest_width(settled, length, tolerance, int(depth))


def smallest_fan_in(
    phi: Activation,
    *,
    tolerance: ArrayLike,
    length: ArrayLike = 1.0,
    weights: str | WeightLaw = "normal",
    kinks: Sequence[float] | None = None,
) -> FanIn:
    """How many inputs a unit needs for what theory takes for granted.

    Inputs are independent, ``x = phi(z)``, ``z ~ N(0, length)``. The variance of a pre-activation of n of them strays
    by ``sqrt(s / n)``, relative, ``s = Var(x^2) / E[x^2]^2``. Over weights and inputs it has the excess kurtosis
    ``e / n``, ``e = 3 s + kurtosis E[x^4] / E[x^2]^2 + square`` (`WeightLaw`; of orthogonal weights
    ``(3 s - 6) / (n + 2)``), so that expectations of f change by ``e E[f(z) He4(z)] / (24 n)`` and the distribution
    function by up to ``.0229 e / n``. Terms of order 1/n^2 are left out. Inputs of a convolution, which depend on each
    other, count for fewer.

    Args:
        phi: The activation, of the units below and of this one; ``kinks`` as in `jnorm.theory.moments`.
        tolerance: Largest deviation, positive.
        length: Variance of the pre-activations below.
        weights: As for `length_law`.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        Numbers of inputs, whole and at least 1.

    Raises:
        ValueError: A known ``tolerance <= 0`` or ``length <= 0``, an unknown name of ``weights``, shapes that do not
            broadcast, or a ``phi`` that is not elementwise.

    >>> from jnorm.activations import selu
    >>> [int(n) for n in smallest_fan_in(selu, tolerance=0.01)]  # a 3x3 window of one channel has 9
    [15032, 14, 11]
    """
    checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tolerance=tolerance)
    layer = random(phi, 1.0, 0.0, 1.0, weights, kinks, length)
    return _smallest_fan_in(layer.settled(length=length, tolerance=tolerance), length, tolerance)


def _deviation(state: State) -> jax.Array:
    """The mean squared deviation from the limit, relative."""
    law = state.law
    return (law.var + (law.mean - law.limit) ** 2) / law.limit**2


@partial(jax.jit, static_argnames="deepest")
def _reach(layer: Random, length: ArrayLike, tolerance: ArrayLike, deepest: int) -> Reach:
    dtype, layer, (length, tolerance) = layer.spread(length=length, tolerance=tolerance)

    def body(carry: tuple[jax.Array, State, jax.Array, jax.Array]) -> tuple[jax.Array, State, jax.Array, jax.Array]:
        turn, state, depth, inside = carry
        state = advance(layer, state)
        inside = inside & (_deviation(state) <= tolerance**2)
        return turn + 1, state, depth + inside.astype(depth.dtype), inside

    first = start(layer, length)
    carry = jnp.zeros((), int), first, 0 * length, ~jnp.isnan(first.law.limit)
    _, _, depth, inside = jax.lax.while_loop(lambda c: (c[0] < deepest) & jnp.any(c[3]), body, carry)
    lost = jnp.isnan(_deviation(advance(layer, first)) + tolerance)
    return Reach(jnp.where(lost, jnp.nan, depth).astype(dtype), ~inside & ~lost)


class _Bracket(NamedTuple):
    """Widths that are too small and large enough, the next one to try, and how many were tried."""

    low: jax.Array
    high: jax.Array
    trial: jax.Array
    turn: jax.Array


@partial(jax.jit, static_argnames="depth")
def _smallest_width(layer: Random, length: ArrayLike, tolerance: ArrayLike, depth: int) -> jax.Array:
    dtype, layer, (length, tolerance) = layer.spread(length=length, tolerance=tolerance)

    def worst(width: jax.Array) -> jax.Array:
        """The largest mean squared deviation up to the depth."""
        network = Random(layer.phi, layer.sigma_w, layer.sigma_b, width, layer.weights, layer.kinks)

        def body(carry: tuple[State, jax.Array], _: None) -> tuple[tuple[State, jax.Array], None]:
            state = advance(network, carry[0])
            return (state, jnp.maximum(carry[1], _deviation(state))), None

        return jax.lax.scan(body, (start(network, length), 0 * length), length=depth)[0][1]

    def body(b: _Bracket) -> _Bracket:
        found = worst(b.trial)
        enough = found <= tolerance**2
        low, high = jnp.where(enough, b.low, b.trial), jnp.where(enough, b.trial, b.high)
        # log(1 + deviation^2) falls like 1 / width, for relu almost exactly.
        guess = jnp.ceil(b.trial * jnp.log1p(found) / jnp.log1p(tolerance**2))
        guess = jnp.where(guess <= low, low + 1, jnp.where(guess >= high, high - 1, guess))
        middle = jnp.ceil(jnp.sqrt(jnp.maximum(low, 1.0) * high))
        middle = jnp.where(middle >= high, high - 1, middle)
        trial = jnp.where((b.turn % 3 == 2) | ~jnp.isfinite(guess), middle, guess)
        return _Bracket(low, high, jnp.where(high - low <= 1, high, trial), b.turn + 1)

    zero = 0 * length
    first = _Bracket(zero, zero + WIDEST + 1, jnp.where(jnp.isnan(zero), 1.0, zero + 64), jnp.zeros((), int))
    found = jax.lax.while_loop(lambda b: jnp.any(b.high - b.low > 1) & (b.turn < 64), body, first)
    lost = jnp.isnan(worst(jnp.full_like(zero, WIDEST)) + tolerance)
    width = jnp.where(found.high > WIDEST, jnp.inf, found.high)
    return jnp.where(lost, jnp.nan, width).astype(dtype)


@jax.jit
def _smallest_fan_in(layer: Random, length: ArrayLike, tolerance: ArrayLike) -> FanIn:
    dtype, layer, (q, tolerance) = layer.spread(length=length, tolerance=tolerance)
    q = jnp.where(q > 0, q, jnp.nan)
    kurtosis, square, shared = layer.weights
    own, _, fourth = layer.expectations(Powers(layer.phi, 0 * q, 4), q)
    second = own[1]
    ratio = own[3] / second**2
    spread = ratio - 1
    excess = jnp.abs(3 * (spread - shared) + kurtosis * ratio + square) / 24
    change = jnp.maximum(jnp.abs(fourth[0]) / jnp.sqrt(second), jnp.abs(fourth[1]) / second)
    counts = spread / tolerance**2, excess * change / tolerance - shared, excess * (24 * BULGE) / tolerance - shared
    whole = (jnp.ceil(n * (1 - 64 * float(jnp.finfo(n.dtype).eps))) for n in counts)
    return FanIn(*(jnp.where(n < 1, 1.0, n).astype(dtype) for n in whole))
