"""The constants of a scaled ELU from the fixed point that it should have."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.theory._scaled_elu import halves


class SeluConstants(NamedTuple):
    """Constants of a scaled ELU, arrays of one shape; NaN where they do not exist.

    Attributes:
        lam: Its scale.
        alpha: Depth of its exponential, in units of ``lam``.
        converged: Whether they exist.
    """

    lam: jax.Array
    alpha: jax.Array
    converged: jax.Array


def selu_constants(
    mean: ArrayLike = 0.0,
    var: ArrayLike = 1.0,
    *,
    omega: ArrayLike = 0.0,
    tau: ArrayLike = 1.0,
) -> SeluConstants:
    """The scaled ELU whose layer map has the fixed point ``(mean, var)``, in closed form.

    With ``z ~ N(mean * omega, var * tau)``, ``A = E[z; z > 0]``, ``A2 = E[z^2; z > 0]``, ``B = E[exp(z) - 1; z <= 0]``,
    ``B2 = E[(exp(z) - 1)^2; z <= 0]`` and ``p = mean^2 / (mean^2 + var)``, the two equations ``lam (A + alpha B) =
    mean`` and ``lam^2 (A2 + alpha^2 B2) = mean^2 + var`` leave ``(B^2 - p B2) alpha^2 + 2 A B alpha + A^2 - p A2 = 0``
    with ``sign(A + alpha B) = sign(mean)``. Its one root with ``alpha >= 0`` is taken in the form that does not cancel;
    it exists where ``p <= A^2 / A2`` (mean > 0) or ``p < B^2 / B2`` (mean < 0), and always for mean 0, where ``alpha =
    -A / B``.

    In float64 the relative error is a few roundings times the condition number. One program, called outside ``jit``
    too. Source: Klambauer et al. 2017, section 2 (constants for the fixed point (0, 1)).

    Args:
        mean: Mean of the fixed point; all arguments broadcast.
        var: Variance of the fixed point, positive.
        omega: Sum of a unit's weights.
        tau: Sum of their squares, positive.

    Returns:
        The constants, ``converged`` False and NaN where there are none, or where ``var`` or ``tau`` is not positive.

    Raises:
        ValueError: A known ``var <= 0`` or ``tau <= 0``, or shapes that do not broadcast.

    >>> c = selu_constants(0.0, 2.0)
    >>> round(float(c.lam), 5), round(float(c.alpha), 5), bool(c.converged)
    (1.06071, 1.97126, True)
    >>> bool(selu_constants(0.7, 1.0).converged)
    False
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var, tau=tau)
    return _constants(mean, var, omega, tau)


@jax.jit
def _constants(mean: ArrayLike, var: ArrayLike, omega: ArrayLike, tau: ArrayLike) -> SeluConstants:
    dtype, (mean, var, omega, tau) = checks.wide_floats(mean=mean, var=var, omega=omega, tau=tau)
    a, a2, b, b2 = halves(mean * omega, var * tau)
    second = mean * mean + var
    p, ratio = mean * mean / second, mean / jnp.sqrt(second)
    linear, exponential = a * a - p * a2, b * b - p * b2
    exists = (var > 0) & (tau > 0) & jnp.where(mean > 0, linear >= 0, exponential > 0)
    inside = jnp.where(exists, b * b * a2 + a * a * b2 - p * a2 * b2, 1.0)
    product, root = -a * b, ratio * jnp.sqrt(inside)
    top, bottom = jnp.where(mean > 0, linear, product - root), jnp.where(mean > 0, product + root, exponential)
    alpha = jnp.where(exists, top, jnp.nan) / jnp.where(exists, bottom, 1.0)
    lam = jnp.sqrt(second / (a2 + alpha * alpha * b2))
    return SeluConstants(lam.astype(dtype), alpha.astype(dtype), exists)
