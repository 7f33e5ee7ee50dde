"""What is asked first of a Hessian: its ends, its distribution, its trace, and how round it is."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import keys
from jnorm.measure.curvature._density import Band, Density, spectral_density
from jnorm.measure.curvature._derived import scaled
from jnorm.measure.curvature._eigenpairs import Eigenpairs, eigenpairs
from jnorm.measure.curvature._losses import hessian
from jnorm.measure.curvature._operators import DENSE, Operator
from jnorm.measure.curvature._trace import Trace, trace


class Spectrum(NamedTuple):
    """The spectrum of a Hessian.

    Attributes:
        pairs: The largest and the smallest eigenvalues.
        density: How all are distributed.
        trace: Their sum.
    """

    pairs: Eigenpairs
    density: Density
    trace: Trace


def hessian_spectrum(
    loss: Callable[..., jax.Array],
    params: Any,
    data: Any = None,
    *,
    microbatch: int | None = None,
    top: int = 1,
    bottom: int = 1,
    key: jax.Array | None = None,
    tol: ArrayLike | None = None,
    memory: int | None = None,
) -> Spectrum:
    """The spectrum of a loss's Hessian in one call: `eigenpairs`, `spectral_density` and `trace`, with what they do.

    Args:
        loss: As for `hessian`.
        params: As there.
        data: As there.
        microbatch: As there.
        top: How many of the largest eigenvalues.
        bottom: How many of the smallest.
        key: A random key; None: ``jax.random.key(0)``.
        tol: As for `eigenpairs`.
        memory: As there.

    Returns:
        The spectrum.

    Raises:
        TypeError: As `hessian`.
        ValueError: As `hessian` and `eigenpairs`.

    >>> bowl = lambda w: w[0] ** 2 + 50 * w[1] ** 2 - w[2] ** 2
    >>> spectrum = hessian_spectrum(bowl, jnp.ones(3))
    >>> spectrum.pairs.values, spectrum.density.cumulative(0.0).value, spectrum.trace.value
    (Array([100.,  -2.], dtype=float32), Array(0.33333334, dtype=float32), Array(100., dtype=float32))
    """
    operator = hessian(loss, params, data, microbatch=microbatch)
    key = jax.random.key(0) if key is None else keys.typed(key)
    pairs = eigenpairs(operator, top=top, bottom=bottom, key=key, tol=tol, memory=memory)
    density = spectral_density(operator, key, order=min(64, operator.size))
    return Spectrum(pairs, density, trace(operator, key))


def condition_number(operator: Operator, *, key: jax.Array | None = None) -> Band:
    """The largest modulus of an eigenvalue over the smallest, with what the residuals leave open.

    Up to 2 000 parameters of any spectrum. Beyond, of a positive definite operator, from its ends; where the smallest
    eigenvalue is not positive it is NaN, for the smallest modulus then lies inside the spectrum.

    Args:
        operator: The operator.
        key: As for `eigenpairs`.

    Returns:
        The number, and the ends between which it is; infinite where zero cannot be told from the smallest.

    >>> from jnorm.measure.curvature import operator
    >>> eigenvalues = jnp.array([8.0, 4.0, -2.0])
    >>> condition_number(operator(lambda v: eigenvalues * v, jnp.zeros(3))).value
    Array(4., dtype=float32)
    """
    if operator.size <= DENSE:
        pairs = eigenpairs(operator, top=operator.size, key=key)
    else:
        pairs = eigenpairs(operator, top=1, bottom=1, key=key)
    return _condition(pairs.values, pairs.residuals, operator.size == pairs.values.size)


@partial(jax.jit, static_argnames=("all_known",))
def _condition(values: jax.Array, residuals: jax.Array, all_known: bool) -> Band:
    sizes = jnp.abs(values)
    large, small = jnp.argmax(sizes), jnp.argmin(sizes)
    known = (all_known | (values[-1] > 0)) & jnp.all(jnp.isfinite(values))
    over = lambda a, b: jnp.where(known, jnp.where(b > 0, a / jnp.where(b > 0, b, 1), jnp.inf), jnp.nan)
    return Band(
        over(sizes[large], sizes[small]),
        over(sizes[large] - residuals[large], sizes[small] + residuals[small]),
        over(sizes[large] + residuals[large], sizes[small] - residuals[small]),
    )


def rescaled(operator: Operator) -> Operator:
    """``|W| A |W|`` with the parameters W on the diagonal, for a sharpness that rescaling cannot change.

    Where a network computes the same with its weights scaled, up in one layer and down in the next, the eigenvalues of
    the Hessian change, and those of this operator do not. Its top eigenvalue is how much the loss bends when each
    weight may move by its own size. Source: Kwon et al. 2021 (arXiv 2102.11600), of which it is the limit of small
    radii; Dinh et al. 2017 (arXiv 1703.04933) on why.

    Args:
        operator: An operator of a loss, ``like`` its parameters.

    Returns:
        The operator.

    >>> product = lambda w: (1 - w[0] * w[1]) ** 2
    >>> for w in (jnp.array([1.0, 1.0]), jnp.array([10.0, 0.1])):
    ...     plain, free = hessian(product, w), rescaled(hessian(product, w))
    ...     print(f"{eigenpairs(plain).values[0]:.1f} {eigenpairs(free).values[0]:.1f}")
    4.0 4.0
    200.0 4.0
    """
    return scaled(operator, jax.tree.map(jnp.abs, operator.like))
