"""Initializers whose variance comes from a number, from the fans or from an activation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import activations, gaussian
from jnorm._ground import checks
from jnorm.initializers._fans import Axes, Fans, fans, row_axes, with_row_sums
from jnorm.initializers._protocol import Draw, Initializer, cast, initializer


def constant(value: ArrayLike) -> Initializer:
    """All entries equal to a number; an array of them broadcasts to the shape.

    >>> constant(0.5)(jax.random.key(0), (2,))
    Array([0.5, 0.5], dtype=float32)
    """
    checks.floats(value=value)
    return initializer(lambda key, shape, dtype: jnp.broadcast_to(cast(value, dtype), shape))


def zeros() -> Initializer:
    """All entries zero: for biases. Units with equal weights stay equal for ever.

    >>> zeros()(jax.random.key(0), (2,))
    Array([0., 0.], dtype=float32)
    """
    return constant(0.0)


def ones() -> Initializer:
    """All entries one.

    >>> ones()(jax.random.key(0), (2,))
    Array([1., 1.], dtype=float32)
    """
    return constant(1.0)


def _cut_normal(bound: float) -> Draw:
    """A normal law cut at +-bound, over its standard deviation sqrt(1 - 2*b*density(b)/mass(-b, b))."""
    density = math.exp(-bound * bound / 2) / math.sqrt(2 * math.pi)
    stddev = math.sqrt(1 - 2 * bound * density / math.erf(bound / math.sqrt(2)))
    return lambda key, shape, dtype: jax.random.truncated_normal(key, -bound, bound, shape, dtype) / stddev


_STANDARD: dict[str, Draw] = {
    "truncated_normal": _cut_normal(2.0),
    "normal": jax.random.normal,
    "uniform": lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -1.0) * math.sqrt(3),
}


def _scaled(standard: Draw, **scale: ArrayLike) -> Initializer:
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", **scale)
    (factor,) = scale.values()
    return initializer(lambda key, shape, dtype: standard(key, shape, dtype) * cast(factor, dtype))


def normal(stddev: ArrayLike = 1e-2) -> Initializer:
    """Independent N(0, stddev^2). Raises ``ValueError`` for a negative ``stddev``, as do the next two.

    >>> bool(abs(normal(0.1)(jax.random.key(0), (100, 100)).std() - 0.1) < 0.003)
    True
    """
    return _scaled(jax.random.normal, stddev=stddev)


def truncated_normal(stddev: ArrayLike = 1e-2, *, bound: float = 2.0) -> Initializer:
    """A centred normal law cut at ``bound`` of its own standard deviations, whose result has ``stddev``.

    The entries lie within bound*stddev/c, where the cut leaves c of a standard deviation: .8796 for ``bound=2``.
    ``jax.nn.initializers.truncated_normal(stddev)`` has c*stddev instead. Raises ``ValueError`` unless
    .01 <= bound <= 8 (below, the law is uniform to rounding; above, it is normal).

    >>> bool(abs(truncated_normal(0.1)(jax.random.key(0), (100, 100)).std() - 0.1) < 0.003)
    True
    """
    checks.require(lambda b: (b >= 0.01) & (b <= 8), "`{}` must satisfy 0.01 <= {} <= 8", bound=bound)
    return _scaled(_cut_normal(bound), stddev=stddev)


def uniform(scale: ArrayLike = 1e-2) -> Initializer:
    """Independent U[0, scale), as JAX's: all positive. ``variance_scaling`` has the centred law.

    >>> bool((uniform(0.1)(jax.random.key(0), (100,)) >= 0).all())
    True
    """
    return _scaled(jax.random.uniform, scale=scale)


_SIZES: dict[str, Callable[[Fans], float]] = {
    "fan_in": lambda f: f.fan_in,
    "fan_out": lambda f: f.fan_out,
    "fan_avg": lambda f: (f.fan_in + f.fan_out) / 2,
    "fan_geo_avg": lambda f: math.sqrt(f.fan_in * f.fan_out),
}


def variance_scaling(
    scale: ArrayLike,
    mode: str,
    distribution: str,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    omega: ArrayLike | None = None,
    tau: ArrayLike | None = None,
) -> Initializer:
    """Independent centred weights of variance ``scale / n``; on request rows with given sums.

    ``mode`` sets n: ``fan_in``, ``fan_out``, or their ``fan_avg`` or ``fan_geo_avg``. ``distribution`` is
    ``truncated_normal`` (cut at two standard deviations), ``normal`` or ``uniform``.

    ``omega`` is the sum and ``tau`` the sum of squares that each unit's incoming weights then have, to rounding:
    ``omega=0`` centres them and keeps the variance of a weight, ``tau=1`` gives them unit norm whatever ``scale`` is.
    Both together put a network on the layer map of `jnorm.theory.moments`; omega is otherwise N(0, scale), and rarely
    small.

    Raises ``ValueError`` for a ``scale < 0``, ``tau <= 0``, unknown names; when called also for axes that the shape
    does not have, ``tau <= omega^2 / fan_in``, and an ``omega`` for rows of one weight. Traced values that break a
    rule give NaN.
    Source: Glorot, Bengio 2010; He et al. 2015; omega and tau from Klambauer et al. 2017, section 2.

    >>> w = variance_scaling(1.0, "fan_in", "normal", omega=0.0, tau=1.0)(jax.random.key(0), (100, 3))
    >>> bool(abs(w.sum(0)).max() < 1e-6), bool(abs((w**2).sum(0) - 1).max() < 1e-6)
    (True, True)
    """
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", scale=scale)
    checks.choice("mode", mode, _SIZES)
    if tau is not None:
        checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tau=tau)
    axes = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    return _fan_law(lambda f: scale / _SIZES[mode](f), distribution, axes, omega, tau)


def _fan_law(
    variance: Callable[[Fans], ArrayLike],
    distribution: str,
    axes: dict[str, Axes],
    omega: ArrayLike | None = None,
    tau: ArrayLike | None = None,
) -> Initializer:
    checks.choice("distribution", distribution, _STANDARD)

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        spread = jnp.sqrt(cast(variance(fans(shape, **axes)), dtype))
        w = _STANDARD[distribution](key, shape, dtype) * spread
        return with_row_sums(w, row_axes(shape, **axes), omega=omega, tau=tau)

    return initializer(draw)


def glorot_normal(**options: Any) -> Initializer:
    """``variance_scaling(1, "fan_avg", "truncated_normal", **options)`` (Glorot, Bengio 2010, eq. 12).

    >>> glorot_normal()(jax.random.key(0), (3, 2)).shape
    (3, 2)
    """
    return variance_scaling(1.0, "fan_avg", "truncated_normal", **options)


def glorot_uniform(**options: Any) -> Initializer:
    """``variance_scaling(1, "fan_avg", "uniform", **options)``: U[+-sqrt(6/(n_in + n_out))] (the same, eq. 16).

    >>> bool(abs(glorot_uniform()(jax.random.key(0), (3, 3))).max() <= 1)
    True
    """
    return variance_scaling(1.0, "fan_avg", "uniform", **options)


def he_normal(**options: Any) -> Initializer:
    """``variance_scaling(2, "fan_in", "truncated_normal", **options)``, for relu (He et al. 2015, eq. 10).

    >>> he_normal()(jax.random.key(0), (3, 2)).shape
    (3, 2)
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", **options)


def he_uniform(**options: Any) -> Initializer:
    """``variance_scaling(2, "fan_in", "uniform", **options)``: U[+-sqrt(6/n_in)] (the same).

    >>> bool(abs(he_uniform()(jax.random.key(0), (6, 3))).max() <= 1)
    True
    """
    return variance_scaling(2.0, "fan_in", "uniform", **options)


def lecun_normal(**options: Any) -> Initializer:
    """``variance_scaling(1, "fan_in", "truncated_normal", **options)``, for selu (LeCun et al. 1998, eq. 16).

    >>> lecun_normal(omega=0.0, tau=1.0)(jax.random.key(0), (3, 2)).shape
    (3, 2)
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", **options)


def lecun_uniform(**options: Any) -> Initializer:
    """``variance_scaling(1, "fan_in", "uniform", **options)``: U[+-sqrt(3/n_in)] (the same).

    >>> bool(abs(lecun_uniform()(jax.random.key(0), (3, 3))).max() <= 1)
    True
    """
    return variance_scaling(1.0, "fan_in", "uniform", **options)


_MODES: dict[str, Callable[[Fans, Any, Any], Any]] = {
    "forward": lambda f, value, slope: 1 / (f.fan_in * value),
    "backward": lambda f, value, slope: 1 / (f.fan_out * slope),
    "both": lambda f, value, slope: 2 / (f.fan_in * value + f.fan_out * slope),
}


def for_activation(
    phi: Callable[[jax.Array], jax.Array],
    *,
    mode: str = "forward",
    distribution: str = "truncated_normal",
    var: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
) -> Initializer:
    """Weights whose variance keeps signals or gradients through any elementwise activation.

    Where pre-activations are N(0, q), q = ``var``, the layers after ``phi`` keep q with the weight variance
    q / (n_in E[phi(z)^2]) (``forward``), and the squared gradient with 1 / (n_out E[phi'(z)^2]) (``backward``);
    ``both`` takes the harmonic mean of the two, Glorot's law where ``phi`` is the identity. For relu they are He's.
    The moments are exact (`jnorm.gaussian`), split at ``kinks``: by default those of the library's own activations,
    0 for any other function. ``phi`` may close over traced values, such as a slope under a sweep.

    Raises ``ValueError`` for ``var <= 0``, unknown names, and moments that are zero or not finite.

    >>> kernel = for_activation(jnp.tanh)(jax.random.key(0), (400, 400))
    >>> bool(abs(400 * kernel.var() - 1 / 0.39429) < 0.05)  # E[tanh(z)^2] = .39429
    True
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var)
    checks.choice("mode", mode, _MODES)
    kinks = activations.kinks(phi) if kinks is None else kinks

    def slope(z: jax.Array) -> jax.Array:
        return jax.jvp(phi, (z,), (jnp.ones_like(z),))[1]

    value2 = gaussian.expectation(lambda z: phi(z) ** 2, 0.0, var, kinks=kinks)
    slope2 = gaussian.expectation(lambda z: slope(z) ** 2, 0.0, var, kinks=kinks)
    for name, moment, unused in (("E[phi(z)^2]", value2, "backward"), ("E[phi'(z)^2]", slope2, "forward")):
        if mode != unused and not isinstance(moment, jax.core.Tracer) and not 0 < float(moment) < math.inf:
            raise ValueError(f"`phi` must have a finite {name} > 0; got {moment}")
    axes = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    return _fan_law(lambda f: _MODES[mode](f, value2 / var, slope2), distribution, axes)
