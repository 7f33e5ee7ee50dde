"""Initializers whose variance comes from the fans: variance scaling, and the laws that are named after people."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.initializers._fans import Axes, Fans, Roles, roles, row_sums, with_row_sums
from jnorm.initializers._protocol import Bounded, Initializer, Shape, cast, factory, initializer
from jnorm.initializers._scaled import STANDARD, Scaled

SIZES: dict[str, Callable[[Fans], float]] = {
    "fan_in": lambda f: f.fan_in,
    "fan_out": lambda f: f.fan_out,
    "fan_avg": lambda f: (f.fan_in + f.fan_out) / 2,
    "fan_geo_avg": lambda f: math.sqrt(f.fan_in * f.fan_out),
}


@dataclass(frozen=True)
class _Kernel:
    """Independent weights of a variance, in rows with given sums."""

    distribution: str
    roles: Roles

    def __call__(
        self, key: jax.Array, shape: Shape, dtype: Any, variance: ArrayLike, omega: Any, squares: Any, *numbers: Any
    ) -> jax.Array | Bounded:
        law = STANDARD[self.distribution]
        if omega is None and squares is None:
            return Scaled(law.draw, law.most)(key, shape, dtype, jnp.sqrt(cast(variance, dtype)), *numbers)
        w = law.draw(key, shape, dtype, *numbers) * jnp.sqrt(cast(variance, dtype))
        return with_row_sums(w, self.roles.rows(shape), omega, squares)


def fan_law(
    variance: Callable[[Fans], ArrayLike],
    distribution: str,
    axes: Roles,
    groups: int = 1,
    omega: ArrayLike | None = None,
    tau: ArrayLike | None = None,
) -> Initializer:
    """Weights of a variance that the fans decide, in rows with the sums `variance_scaling` describes."""
    checks.choice("distribution", distribution, STANDARD)
    checks.whole(1, groups=groups)
    cut = STANDARD[distribution].numbers

    def numbers(shape: Shape) -> tuple[Any, ...]:
        n = math.prod(shape[axis] for axis in axes.rows(shape))
        return variance(axes.fans(shape, groups)), *row_sums(n, omega, tau), *cut

    return initializer(_Kernel(distribution, axes), numbers)


@factory
def variance_scaling(
    scale: ArrayLike,
    mode: str,
    distribution: str,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    groups: int = 1,
    omega: ArrayLike | None = None,
    tau: ArrayLike | None = None,
) -> Initializer:
    """Independent centred weights of variance ``scale / n``; on request rows with given sums.

    ``omega=0`` centres every unit's incoming weights and keeps the variance of a weight; ``tau=1`` gives them unit norm
    whatever ``scale`` is. Both together put a network on the layer map of `jnorm.theory.moments`; omega is otherwise
    N(0, scale), and rarely small.

    Args:
        scale: The variance of a weight times n, at least 0.
        mode: What n is: ``fan_in``, ``fan_out``, or their mean ``fan_avg`` or ``fan_geo_avg``.
        distribution: ``truncated_normal`` (cut at two standard deviations), ``normal`` or ``uniform``.
        in_axis: The axis or axes of the units below, as in `fans`.
        out_axis: The axis or axes of the units above.
        batch_axis: The axis or axes of independent kernels.
        groups: Of a grouped convolution, as in `fans`.
        omega: The sum that a unit's incoming weights have, to rounding; ``None`` leaves it as drawn.
        tau: The sum of their squares, above omega^2/fan_in; ``None`` leaves it as drawn.

    Returns:
        The initializer. Traced numbers that break a rule, and numbers on a device, give NaN.

    Raises:
        ValueError: For a negative ``scale``, ``tau <= 0`` and unknown names; by the initializer for axes that the
            shape does not have, ``tau <= omega^2/fan_in``, and an ``omega`` for rows of one weight.

    Source: Glorot, Bengio 2010; He et al. 2015; omega and tau from Klambauer et al. 2017, section 2.

    >>> w = variance_scaling(1.0, "fan_in", "normal", omega=0.0, tau=1.0)(jax.random.key(0), (100, 3))
    >>> bool(abs(w.sum(0)).max() < 1e-6), bool(abs((w**2).sum(0) - 1).max() < 1e-6)
    (True, True)
    """
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", scale=scale)
    checks.choice("mode", mode, SIZES)
    if tau is not None:
        checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tau=tau)
    axes = roles(in_axis, out_axis, batch_axis)
    return fan_law(lambda f: scale / SIZES[mode](f), distribution, axes, groups, omega, tau)


@partial(factory, options=variance_scaling)
def glorot_normal(**options: Any) -> Initializer:
    """``variance_scaling(1, "fan_avg", "truncated_normal", **options)`` (Glorot, Bengio 2010, eq. 12).

    Args:
        **options: The axes, ``groups``, ``omega`` and ``tau`` of `variance_scaling`.

    Returns:
        The initializer.

    >>> w = glorot_normal()(jax.random.key(0), (100, 300))
    >>> bool(abs(w.var() * 200 - 1) < 0.03)
    True
    """
    return variance_scaling(1.0, "fan_avg", "truncated_normal", **options)


@partial(factory, options=variance_scaling)
def glorot_uniform(**options: Any) -> Initializer:
    """``variance_scaling(1, "fan_avg", "uniform", **options)``: U[+-sqrt(6/(n_in + n_out))] (the same, eq. 16).

    Args:
        **options: The axes, ``groups``, ``omega`` and ``tau`` of `variance_scaling`.

    Returns:
        The initializer.

    >>> bool(abs(glorot_uniform()(jax.random.key(0), (3, 3))).max() <= 1)
    True
    """
    return variance_scaling(1.0, "fan_avg", "uniform", **options)


@partial(factory, options=variance_scaling)
def he_normal(**options: Any) -> Initializer:
    """``variance_scaling(2, "fan_in", "truncated_normal", **options)``, for relu (He et al. 2015, eq. 10).

    Args:
        **options: The axes, ``groups``, ``omega`` and ``tau`` of `variance_scaling`.

    Returns:
        The initializer.

    >>> z = jax.random.normal(jax.random.key(1), (100, 300))
    >>> layer = jax.nn.relu(z) @ he_normal()(jax.random.key(0), (300, 200))
    >>> bool(abs(layer.var() - 1) < 0.1)  # as that of z
    True
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", **options)


@partial(factory, options=variance_scaling)
def he_uniform(**options: Any) -> Initializer:
    """``variance_scaling(2, "fan_in", "uniform", **options)``: U[+-sqrt(6/n_in)] (the same).

    Args:
        **options: The axes, ``groups``, ``omega`` and ``tau`` of `variance_scaling`.

    Returns:
        The initializer.

    >>> bool(abs(he_uniform()(jax.random.key(0), (6, 3))).max() <= 1)
    True
    """
    return variance_scaling(2.0, "fan_in", "uniform", **options)


@partial(factory, options=variance_scaling)
def lecun_normal(**options: Any) -> Initializer:
    """``variance_scaling(1, "fan_in", "truncated_normal", **options)``, for selu (LeCun et al. 1998, eq. 16).

    Args:
        **options: The axes, ``groups``, ``omega`` and ``tau`` of `variance_scaling`.

    Returns:
        The initializer.

    >>> w = lecun_normal(omega=0.0, tau=1.0)(jax.random.key(0), (100, 3))  # rows exactly on SELU's fixed point
    >>> bool(abs(w.sum(0)).max() < 1e-6), bool(abs((w**2).sum(0) - 1).max() < 1e-6)
    (True, True)
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", **options)


@partial(factory, options=variance_scaling)
def lecun_uniform(**options: Any) -> Initializer:
    """``variance_scaling(1, "fan_in", "uniform", **options)``: U[+-sqrt(3/n_in)] (the same).

    Args:
        **options: The axes, ``groups``, ``omega`` and ``tau`` of `variance_scaling`.

    Returns:
        The initializer.

    >>> bool(abs(lecun_uniform()(jax.random.key(0), (3, 3))).max() <= 1)
    True
    """
    return variance_scaling(1.0, "fan_in", "uniform", **options)
