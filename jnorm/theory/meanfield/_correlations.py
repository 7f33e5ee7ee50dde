"""The correlation map at the length that stays, the correlation that stays, and how fast both are reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks, nodes
from jnorm.theory._parts import Activation
from jnorm.theory.meanfield._dense import Dense, dense, inner
from jnorm.theory.meanfield._steady import DepthScales, scale

MAX_STEPS = 80  # Newton's, of which most are halvings on the way to a double point


@nodes.register
@dataclass(frozen=True, eq=False)
class CorrelationMap:
    """The map of the correlation of two inputs through one layer, made by `correlation_map`; a pytree.

    Attributes:
        layer: The layer.
        length: Variance of the pre-activations of either input.
    """

    layer: Dense
    length: ArrayLike

    def __call__(self, corr: ArrayLike) -> jax.Array:
        """The correlation after the layer.

        Args:
            corr: The correlation before it; broadcasts against the numbers of the layer.

        Returns:
            The correlation, NaN in the lanes where ``corr`` is outside [-1, 1].

        Raises:
            ValueError: A known ``corr`` outside [-1, 1], or shapes that do not broadcast.
        """
        checks.require(lambda c: abs(c) <= 1, "`{}` must satisfy -1 <= {} <= 1", corr=corr)
        layer = self.layer.settled(length=self.length, corr=corr)
        return _mapped(layer, self.length, corr)


class TrainableDepth(NamedTuple):
    """Layers up to which a network trains, arrays of one shape.

    Attributes:
        depth: The smaller one of the other two, infinite at a critical point.
        signal: Layers over which two inputs can be told apart.
        gradient: Layers over which gradients neither vanish nor explode.
    """

    depth: jax.Array
    signal: jax.Array
    gradient: jax.Array


def correlation_map(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> CorrelationMap:
    """The map of correlations at the `length` q that stays, ``C(c) = (sigma_w^2 E[phi(u) phi(v)] + sigma_b^2) / q``.

    ``u`` and ``v`` have variance q and correlation c; masks of dropout are drawn for each input. The derivative at one
    is `chi`, for activations with kinks too. At a length that is zero or infinite the map is that of vectors of this
    length, divided by the next one, and `chi` is not its slope.
    Source: Poole et al. 2016 (arXiv 1606.05340), section 3.

    Args:
        phi: As for `jnorm.theory.meanfield.length`.
        sigma_w: As there.
        sigma_b: As there.
        dropout: As there.
        start: As there.
        kinks: As there.

    Returns:
        The map, a function of the correlation and a pytree.

    Raises:
        ValueError: As `jnorm.theory.meanfield.length`.

    >>> from jnorm.activations import relu
    >>> step = correlation_map(relu, sigma_w=2**0.5)
    >>> [round(float(step(c)), 4) for c in (0.0, 0.5, 1.0)], round(float(jax.grad(step)(1.0)), 4)
    ([0.3183, 0.609, 1.0], 1.0)
    """
    layer = dense(phi, sigma_w, sigma_b, dropout, kinks, start)
    return CorrelationMap(layer, _length_of(layer.settled(start=start), start))


def correlation(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> jax.Array:
    """The correlation that stays: of what two inputs have become after many layers.

    It is one where `chi` is at most one, and the one root of ``C(c) = c`` in [0, 1) elsewhere: ``C`` is a power series
    without negative coefficients, so that Newton's iteration from zero comes up to it. Where no length stays, NaN.
    Source: Schoenholz et al. 2017 (arXiv 1611.01232), section 3.

    Args:
        phi: As for `jnorm.theory.meanfield.length`.
        sigma_w: As there.
        sigma_b: As there.
        dropout: As there.
        start: As there.
        kinks: As there.

    Returns:
        The correlation, of the broadcast shape.

    Raises:
        ValueError: As `jnorm.theory.meanfield.length`.

    >>> from jnorm.activations import erf
    >>> [f"{c:.3f}" for c in correlation(erf, sigma_w=jnp.array([1.0, 2.0]), sigma_b=0.3)]
    ['1.000', '0.187']
    """
    layer = dense(phi, sigma_w, sigma_b, dropout, kinks, start)
    return _correlation(layer.settled(start=start), start)


def depth_scales(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> DepthScales:
    """Layers over which length and correlation approach what stays by a factor of e, ``1 / |log slope|``.

    The slopes are those of the length map at the `length` and of the correlation map at the `correlation` that stay.
    Slopes within 8 roundings of one count as one: the scale is infinite there. Where no length stays, NaN.
    Networks train while no deeper than some six times ``correlation``.
    Source: Schoenholz et al. 2017 (arXiv 1611.01232), sections 3 and 5.

    Args:
        phi: As for `jnorm.theory.meanfield.length`.
        sigma_w: As there.
        sigma_b: As there.
        dropout: As there.
        start: As there.
        kinks: As there.

    Returns:
        Both scales.

    Raises:
        ValueError: As `jnorm.theory.meanfield.length`.

    >>> from jnorm.activations import selu, tanh
    >>> [round(float(xi), 2) for xi in depth_scales(selu, sigma_w=1.0)]
    [4.08, 33.6]
    >>> [float(xi) for xi in depth_scales(tanh, sigma_w=1.0)]  # critical
    [inf, inf]
    """
    layer = dense(phi, sigma_w, sigma_b, dropout, kinks, start)
    return _depth_scales(layer.settled(start=start), start)


def trainable_depth(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    scales: ArrayLike = 6.0,
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> TrainableDepth:
    """The depth up to which a network of these weights is predicted to train: six depth scales.

    After as many layers what two inputs differ by, or what the squared gradient has been, is down by ``exp(6)``, or up:
    ``signal`` counts scales of the correlation, ``1 / |log C'(c)|`` where it stays, ``gradient`` those of the squared
    gradient, ``1 / |log chi|``. In the ordered phase both are one. Six is what was seen for tanh networks on MNIST with
    a few hundred steps; longer training and tuned rates add to it, and it is a rule of thumb, not a bound.
    Source: Schoenholz et al. 2017 (arXiv 1611.01232), section 5 and figure 5.

    Args:
        phi: As for `jnorm.theory.meanfield.length`.
        sigma_w: As there.
        sigma_b: As there.
        dropout: As there.
        scales: How many depth scales.
        start: As there.
        kinks: As there.

    Returns:
        Depths, NaN where no length stays.

    Raises:
        ValueError: A known ``scales <= 0``, or as `jnorm.theory.meanfield.length`.

    >>> from jnorm.activations import tanh
    >>> found = trainable_depth(tanh, sigma_w=jnp.array([0.9, 1.3, 3.0]), sigma_b=0.05**0.5)
    >>> [f"{d:.0f}" for d in found.depth], [bool(d) for d in found.gradient < found.signal]
    (['14', '384', '10'], [False, False, True])
    """
    checks.require(lambda s: s > 0, "`{}` must satisfy {} > 0", scales=scales)
    layer = dense(phi, sigma_w, sigma_b, dropout, kinks, start)
    return _trainable_depth(layer.settled(start=start, scales=scales), start, scales)


def mapped(layer: Dense, q: jax.Array, after: jax.Array, corr: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inside a program: the correlation after a layer that takes a length to another one, and its slope."""
    corr = jnp.where(jnp.abs(corr) <= 1 + 16 * jnp.finfo(corr.dtype).eps, corr, jnp.nan)
    cov, slope = layer.covariance(q, q, corr)
    value = cov / after
    # Two rules, for one variable and for two, may differ by their errors: the next layer must not see more than one.
    return value + jax.lax.stop_gradient(jnp.clip(value, -1, 1) - value), slope * q / after


def correlation_at(layer: Dense, q: jax.Array, after: jax.Array, chi: jax.Array) -> jax.Array:
    """Inside a program: the correlation that stays at a length with a known `chi`."""
    ordered = (chi <= 1) & (layer.dropout == 0)
    image = lambda corr: mapped(layer, q, after, corr)[0]

    def search(_: Any, start: jax.Array) -> jax.Array:
        frozen = jax.lax.stop_gradient((layer, q, after))

        def advance(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            turn, corr, active = state
            value, slope = mapped(*frozen, corr)
            step = jnp.where(slope < 1, (value - corr) / jnp.where(slope < 1, 1 - slope, 1.0), 1.0)
            after = jnp.clip(jnp.where(active, corr + step, corr), 0.0, 1.0)
            return turn + 1, after, active & (step > 4 * jnp.finfo(corr.dtype).eps)

        begin = jnp.zeros((), int), jnp.zeros_like(start), ~ordered
        return jax.lax.while_loop(lambda s: (s[0] < MAX_STEPS) & jnp.any(s[2]), advance, begin)[1]

    def solve_tangent(g: Callable[[Any], Any], y: Any) -> Any:
        slope = g(jnp.ones_like(y))
        return y / jnp.where(slope == 0, jnp.nan, slope)

    root = jax.lax.custom_root(lambda c: image(c) - c, jnp.zeros_like(q), search, solve_tangent)
    return jnp.where(ordered, 1.0, root)


@jax.jit
def _length_of(layer: Dense, start: ArrayLike) -> jax.Array:
    dtype, layer, (start,) = layer.spread(start=start)
    return layer.stays(start).astype(dtype)


@jax.jit
def _mapped(layer: Dense, length: ArrayLike, corr: ArrayLike) -> jax.Array:
    dtype, layer, (q, corr) = layer.spread(length=length, corr=corr)
    q = inner(q)
    return mapped(layer, q, layer.length(q), corr)[0].astype(dtype)


@jax.jit
def _correlation(layer: Dense, start: ArrayLike) -> jax.Array:
    dtype, layer, (start,) = layer.spread(start=start)
    q = layer.stays(start)
    lost, q = jnp.where(q < jnp.inf, 0.0, jnp.nan), inner(q)
    return (correlation_at(layer, q, layer.length(q), layer.chi(q)) + lost).astype(dtype)


@jax.jit
def _depth_scales(layer: Dense, start: ArrayLike) -> DepthScales:
    dtype, layer, (start,) = layer.spread(start=start)
    q = layer.stays(start)
    slopes = layer.slopes(q)
    lost, q = jnp.where(q < jnp.inf, 0.0, jnp.nan), inner(q)
    after = layer.length(q)
    corr = correlation_at(layer, q, after, slopes.forward)
    along = jnp.where(corr == 1, slopes.forward, mapped(layer, q, after, corr)[1])
    return DepthScales(*((scale(slope) + lost).astype(dtype) for slope in (slopes.length, along)))


@jax.jit
def _trainable_depth(layer: Dense, start: ArrayLike, scales: ArrayLike) -> TrainableDepth:
    dtype, layer, (start, scales) = layer.spread(start=start, scales=scales)
    signal = scales * _depth_scales(layer, start).correlation
    gradient = scales * scale(layer.slopes(layer.stays(start)).backward)
    return TrainableDepth(*(a.astype(dtype) for a in (jnp.minimum(signal, gradient), signal, gradient)))
