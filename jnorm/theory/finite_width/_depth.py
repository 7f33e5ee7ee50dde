"""Networks of finite width: the law of the length, layer after layer."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.gaussian._limits import root
from jnorm.gaussian._panels import at_points
from jnorm.theory._parts import Activation
from jnorm.theory.finite_width._random import Powers, Random, Square, random
from jnorm.theory.finite_width._weights import WeightLaw

NODES, MASSES = np.polynomial.hermite_e.hermegauss(16)
MASSES = MASSES / MASSES.sum()
POINTS = 3 * len(NODES) + 1
MOST_BENT = (-0.25, 0.05)
"""Between these, the coefficient of the square in the law of the logarithm."""
LEAST = 1e-24
"""Lengths below are taken for this one where functions of them are computed."""


class LengthLaw(NamedTuple):
    """The length of one input in random networks of one width, layer after layer, ``[depth + 1, ...]``.

    Attributes:
        limit: That of infinite width.
        mean: Its expectation.
        var: Its variance.
        log_mean: The expectation of its logarithm: ``exp(log_mean)`` is the length of a typical network.
        log_var: The variance of its logarithm.
    """

    limit: jax.Array
    mean: jax.Array
    var: jax.Array
    log_mean: jax.Array
    log_var: jax.Array


class State(NamedTuple):
    """What is carried from layer to layer, arrays of one shape.

    Attributes:
        law: The law of the length.
        third: The third cumulant of its logarithm.
        ratio: ``E[x^4] / E[x^2]^2`` of the activations.
    """

    law: LengthLaw
    third: jax.Array
    ratio: jax.Array


def length_law(
    phi: Activation,
    *,
    width: ArrayLike,
    depth: int,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    length: ArrayLike = 1.0,
    weights: str | WeightLaw = "normal",
    kinks: Sequence[float] | None = None,
) -> LengthLaw:
    """How far the length of an input strays from that of infinite width, layer after layer.

    The length after a layer is ``K = sigma_w^2 mean_i phi(z_i)^2 + sigma_b^2``, the variance of the next
    pre-activations over their weights. With F its map at infinite width and V the variance of ``phi(z)^2``,

    ``E[K'] = E[F(K)] + O(1/width)``,  ``Var K' = sigma_w^4 E[V(K)] / width + Var F(K)``,

    without the correction for normal weights, which make K a Markov chain, and with that of `layer_law` for others.
    Expectations are taken as if ``log K`` were ``a + s x + b (x^2 - 1)``, x normal, a law that is fixed by the mean and
    variance of K and the third cumulant of its logarithm. Mean and variance come out exact where phi is homogeneous
    (relu with He's weights: ``Var K / E[K]^2 = (1 + 5 / width)^depth - 1``). The logarithm has a recursion of its own,
    in which K given the layer before has nearly a gamma law. It tells what a typical network does where depth is not
    small against width, while mean and variance are those of a few networks. Networks in which all units of a layer are
    dead are left out of the logarithm.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        width: Number of units of every layer.
        depth: Layers; each number of them is a program of its own.
        sigma_w: Standard deviation of the weights times the root of the width.
        sigma_b: Standard deviation of the biases, which are normal.
        length: That of the first pre-activations, of weights of the same law on inputs that all have one size;
            positive.
        weights: A name of `WEIGHTS`, or a `WeightLaw`.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        Its law, ``depth + 1`` rows along a leading axis, the given length first.

    Raises:
        ValueError: A ``width`` that is no whole number >= 1, a ``depth`` that is none >= 0, a known ``length <= 0`` or
            negative ``sigma_w`` or ``sigma_b``, an unknown name of ``weights``, shapes that do not broadcast, or a
            ``phi`` that is not elementwise.

    >>> from jnorm.activations import relu
    >>> found = length_law(relu, width=100, depth=20, sigma_w=2**0.5)
    >>> [round(float(part[-1]), 3) for part in (found.mean, found.var, found.log_var)]
    [1.0, 1.653, 1.037]
    """
    checks.whole(0, depth=depth)
    layer = random(phi, sigma_w, sigma_b, width, weights, kinks, length)
    return _length_law(layer.settled(POINTS, length=length), length, int(depth))


def start(layer: Random, length: jax.Array) -> State:
    """The state at the first pre-activations."""
    q = jnp.where(length > 0, length + 0 * layer.width, jnp.nan)
    zero = 0 * q
    return State(LengthLaw(q, q, zero, jnp.log(q), zero), zero, zero + 1)


def advance(layer: Random, state: State) -> State:
    """The state a layer later."""
    law, bias = state.law, layer.sigma_b**2
    along = lambda a: jnp.asarray(a, law.mean.dtype).reshape(-1, *(1,) * law.mean.ndim)
    by = lambda a: jnp.sum(along(MASSES) * a, 0)
    q = _places(state, along(NODES))
    wide, mean, var, third, fourth = _through(layer, q, state.ratio)  # in units of q and its powers
    once, twice, logs = (slice(i * len(NODES), (i + 1) * len(NODES)) for i in range(3))
    square = law.mean**2 + law.var
    first = by(mean[once])
    # Var F(K) = E[(K (f - f0) + f0 (K - m))^2] with f = F / K and f0 = E[K f] / m: nothing of the size of m^2 cancels.
    across = law.mean * by((mean[once] - first[None]) * (q[once] - law.mean[None]))
    among = square * by((mean[twice] - first[None]) ** 2) + first * (2 * across + first * law.var)
    mean_after, var_after = law.mean * first, among + square * by(var[twice])
    var_after = jnp.where(var_after < 0, 0.0, var_after)  # by rounding, where nothing varies
    own = (mean_after - bias) ** 2 + var_after
    ratio = square * by(fourth[twice]) / jnp.where(own == 0, 1.0, own)
    center, spread, skew = _log_mean(var[logs] / mean[logs] ** 2, third[logs] / mean[logs] ** 3)
    center = center + jnp.log(mean[logs]) + jnp.log(q[logs])
    log_mean = by(center)
    center = center - log_mean[None]
    log_var = by(spread + center**2)
    log_third = by(skew + 3 * spread * center + center**3)
    return State(LengthLaw((wide * q)[-1], mean_after, var_after, log_mean, log_var), log_third, ratio)


def _places(state: State, nodes: jax.Array) -> jax.Array:
    """Lengths at which a layer is looked at: nodes of the law weighted with K, with K^2, and with none; and the limit.

    The logarithm is ``a + s x + b (x^2 - 1)``, x normal, b by its third cumulant: weights that are powers of K shift
    and stretch the law of x. For the first two a and s are those of the mean and variance of K, for the last one those
    of its logarithm.
    """
    law = state.law
    bend = state.third / (6 * jnp.where(law.log_var == 0, 1.0, law.log_var))
    b = jnp.where(bend < MOST_BENT[0], MOST_BENT[0], jnp.where(bend > MOST_BENT[1], MOST_BENT[1], bend))
    once, twice = 1 - 2 * b, 1 - 4 * b
    excess = jnp.log1p(law.var / law.mean**2) + jnp.log(twice) / 2 - jnp.log(once)
    spread = excess / (2 / twice - 1 / once)
    spread = jnp.where(spread > 0, spread, 0.0)
    log_spread = jnp.where(law.log_var > 2 * b * b, law.log_var - 2 * b * b, 0.0)
    base = jnp.log(law.mean) + jnp.log(once) / 2 - spread / (2 * once)  # a - b
    s = root(spread)

    def weighted(power: int, stretch: jax.Array) -> jax.Array:
        x = (power * s / stretch)[None] + nodes / jnp.sqrt(stretch)[None]
        return base[None] + s[None] * x + b[None] * x * x

    plain = law.log_mean[None] + root(log_spread)[None] * nodes + b[None] * (nodes * nodes - 1)
    q = jnp.exp(jnp.concatenate([weighted(1, once), weighted(2, twice), plain, jnp.log(law.limit)[None]]))
    return jnp.where(q < LEAST, LEAST, q)


def _through(layer: Random, q: jax.Array, ratio: jax.Array) -> tuple[jax.Array, ...]:
    """Given lengths ``[node, ...]``: the next one's limit, three cumulants of it, and ``sigma_w^4 E[phi^4]``.

    All in units of the length and its powers, so that nothing underflows where it is small.
    """
    numbers = layer.sigma_w**2, layer.sigma_b**2, layer.width, layer.weights.shared
    gain, bias, n, shared = (jnp.asarray(a)[None] for a in numbers)
    square = Square(layer.phi, q)
    at, size = at_points(square, 0), jnp.sqrt(q)
    center = jax.lax.stop_gradient((at(size) + at(-size)) / 2)
    own, by_length, he4 = layer.expectations(Powers(square, center, 3), q)
    bias = bias / q
    share = jnp.where(bias < 1, 1 - bias, 0.0)
    independent = layer.kurtosis(ratio)[None] * share**2 / 24
    tilt = independent - shared / (8 * (n + shared)) * share**2
    first, second, third = (a + independent * b for a, b in zip(own, he4, strict=True))
    spread = second - first**2 - shared * (share * by_length[0] / 2) ** 2
    spread = gain**2 * jnp.where(spread < 0, 0.0, spread) / (n + shared)
    skew = gain**3 * (third - first * (3 * second - 2 * first**2)) / n**2
    limit = gain * (center + own[0]) + bias
    mean = limit + gain * tilt * he4[0]
    skew = jnp.where(shared == 0, skew, 2 * spread**2 / mean)  # that of a gamma law
    fourth = gain**2 * (second + center * (2 * first + center))
    return limit, mean, spread, skew, fourth


def _log_mean(var: jax.Array, third: jax.Array) -> tuple[jax.Array, ...]:
    """Three cumulants of the logarithm of a variable of mean one, from its variance and third cumulant.

    Those of a gamma law, ``digamma(k) - log k`` and two derivatives at ``k = 1 / var``, by their series at ``k + 8``,
    which are smooth at zero; and to first order what its third cumulant differs by.
    """
    t = var / (1 + 8 * var)
    parts, square, rest = [var / (1 + i * var) for i in range(8)], t * t, third - 2 * var**2
    mean = jnp.log1p(8 * var) - sum(parts) - t / 2 - square / 12 * (1 - square / 10 * (1 - square * (10 / 21)))
    spread = t + square / 2 + t * square / 6 * (1 - square / 5 * (1 - square * (5 / 7)))
    skew = -square * (1 + t + square / 2 * (1 - square / 3 * (1 - square)))
    for part in parts:
        spread, skew = spread + part**2, skew - 2 * part**3
    return mean + rest / 3, spread - rest, skew + rest


@partial(jax.jit, static_argnames="depth")
def _length_law(layer: Random, length: ArrayLike, depth: int) -> LengthLaw:
    dtype, layer, (length,) = layer.spread(length=length)

    def body(state: State, _: None) -> tuple[State, Any]:
        after = advance(layer, state)
        return after, after.law

    first = start(layer, length)
    _, rows = jax.lax.scan(body, first, length=depth)
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]).astype(dtype), first.law, rows)
