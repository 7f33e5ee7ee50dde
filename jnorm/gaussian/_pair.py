"""Expectations under two correlated Gaussians."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import callables, checks
from jnorm.gaussian._panels import REACH, blocks, density, elementwise, panels, splits, total

NODES = 56  # of a panel, outside and inside
BLOCKS = (28, 14, 7)  # outer nodes of each panel that are visited together, with all inner ones; else one
SIZE = 2**17  # entries of such a block

_RULE = "`{}` must be symmetric and positive semidefinite"


def expectation2(
    f: Callable[[jax.Array, jax.Array], Any], mean: ArrayLike, cov: ArrayLike, *, kinks: Sequence[float] = (0.0,)
) -> jax.Array:
    """Mean of a function of two correlated Gaussians, ``E[f(u, v)]``, ``(u, v) ~ N(mean, cov)``.

    Integrates ``v`` given ``u`` inside, ``u`` outside. Both are split at ``kinks``; the outer rule also where the
    conditional mean of ``v`` meets a kink, and on either side of that as far as the conditional spread reaches, so that
    correlations near one are as exact as small ones. The error is below ``1e-10 * max(E[f^2], 1e-3)`` in float64 for
    products ``phi(u) * phi(v)`` of the elementwise functions of `jnorm.activations` where ``|mean| <= 3`` and both
    standard deviations are at most 2.

    Correlations of one and zero variances are allowed (derivatives by ``cov`` are not defined there and not finite).
    On a device a matrix that is not positive semidefinite gives NaN, and of one that is not symmetric the entry above
    the diagonal counts.

    Args:
        f: The integrand ``f(u, v)``.
        mean: ``[..., 2]``.
        cov: ``[..., 2, 2]``; leading axes broadcast against those of ``mean``.
        kinks: Where ``f`` is not analytic, in ``u`` and in ``v``.

    Returns:
        The expectation, ``[...]``.

    Raises:
        ValueError: A known ``cov`` that is not symmetric and positive semidefinite, other shapes, or an ``f`` that is
            not elementwise.
        TypeError: Complex or boolean input, or an ``f`` that needs concrete numbers.

    >>> cov = jnp.array([[1.0, 0.5], [0.5, 1.0]])
    >>> expectation2(lambda u, v: u * v, jnp.zeros(2), cov).round(5)
    Array(0.5, dtype=float32)
    """
    mean, cov = (jnp.asarray(a) if _holds_arrays(a) else np.asarray(a) for a in (mean, cov))
    if mean.shape[-1:] != (2,) or cov.shape[-2:] != (2, 2):
        raise ValueError(f"`mean` must be [..., 2] and `cov` [..., 2, 2]; got {mean.shape} and {cov.shape}")
    checks.require(lambda c: _is_covariance(c)[..., None, None] | np.zeros_like(c, bool), _RULE, cov=cov)
    mean, cov = jnp.asarray(mean), jnp.asarray(cov)
    like = jax.eval_shape(_wide, mean, cov)[0]
    kinks = tuple(map(float, kinks))
    block = jax.ShapeDtypeStruct((*_block(like.shape, kinks), *like.shape), like.dtype)
    return _expectation2(callables.settle(f, block, block), mean, cov, kinks)


def _holds_arrays(value: Any) -> bool:
    return any(isinstance(part, jax.Array) for part in jax.tree.leaves(value))


def _block(shape: tuple[int, ...], kinks: tuple[float, ...]) -> tuple[int, int, int, int]:
    """How many inner nodes, inner panels, outer nodes and outer panels a turn takes."""
    panels_inside, panels_outside = len(kinks) + 1, 4 * len(kinks) + 1
    each = NODES * panels_inside * panels_outside * math.prod(shape)
    return NODES, panels_inside, next((size for size in BLOCKS if size * each <= SIZE), 1), panels_outside


def _parts(mean: jax.Array, cov: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
    means = {f"mean_{i}": mean[..., i] for i in (0, 1)}
    return checks.wide_floats(**means, **{f"cov_{i}{j}": cov[..., i, j] for i in (0, 1) for j in (0, 1)})


@jax.jit  # whose traces are kept, so that the second look costs nothing
def _wide(mean: jax.Array, cov: jax.Array) -> tuple[jax.Array, ...]:
    return _parts(mean, cov)[1]


@partial(jax.jit, static_argnames="kinks")
def _expectation2(f: Callable[..., Any], mean: jax.Array, cov: jax.Array, kinks: tuple[float, ...]) -> jax.Array:
    dtype, (mu, mv, cuu, cuv, _, cvv) = _parts(mean, cov)
    su = jnp.sqrt(cuu)
    slope = cuv / jnp.where(cuu > 0, su, 1.0)  # of E[v | x] in the standard units x of u
    residual = cvv - slope * slope
    noise = 8 * jnp.finfo(mu.dtype).eps * cvv
    sv = jnp.sqrt(jnp.where((jnp.abs(residual) <= noise) & (cvv >= 0), 0.0, residual))
    crossings = splits(kinks, mv, slope) * jnp.where(slope == 0, 0.0, 1.0)[None]
    spread = (REACH * sv / jnp.maximum(jnp.abs(slope), noise + jnp.finfo(mu.dtype).tiny))[None]
    inner = jnp.concatenate([splits(kinks, mu, su), crossings, crossings - spread, crossings + spread])
    center, radius = panels(jnp.sort(jnp.clip(inner, -REACH, REACH), 0))  # [outer panel, ...]
    turns = blocks(NODES, _block(mu.shape, kinks)[2], center)  # [turn, outer node, 1, ...]

    def terms(turn: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The outer nodes of a block, [inner node, inner panel, outer node, outer panel, ...], summed."""
        x = center[None] + radius[None] * turn[0]
        outer = radius[None] * turn[1] * density(x)
        along = mv[None, None] + slope[None, None] * x
        across = jnp.broadcast_to(sv[None, None], x.shape)
        middle, half = panels(splits(kinks, along, across))  # [inner panel, outer node, outer panel, ...]
        nodes, weights = (a[0] for a in blocks(NODES, NODES, middle))
        y = middle[None] + half[None] * nodes
        v = along[None, None] + across[None, None] * y
        u = jnp.broadcast_to((mu[None, None] + su[None, None] * x)[None, None], v.shape)
        weight = outer[None, None] * (half[None] * weights * density(y))
        return jnp.sum(weight * elementwise(u, f(u, v)), (0, 1, 2, 3))

    return total(terms, turns).astype(dtype)


def _is_covariance(cov: np.ndarray) -> np.ndarray:
    a, b, c, d = cov[..., 0, 0], cov[..., 0, 1], cov[..., 1, 0], cov[..., 1, 1]
    slack = 1e-6 if cov.dtype.itemsize <= 4 else 1e-12
    return (a >= 0) & (d >= 0) & (b == c) & (b * b <= a * d * (1 + slack)) | np.isnan(cov).any((-2, -1))
