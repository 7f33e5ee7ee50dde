"""Thick-restart Lanczos: eigenpairs at both ends of a spectrum from a basis of fixed size, in one loop.

Krylov spaces of one vector see a repeated eigenvalue once. So when the wanted pairs have converged, the search begins
again with a random vector beside them, and ends when that has found nothing further out.
Source: Wu and Simon 2000, Thick-restart Lanczos method for large symmetric eigenvalue problems.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jnorm.measure.curvature._operators import dot

STRIP = 1 << 16  # columns of the basis that are turned at once
CLEAR = 0.1  # of the gap to the wanted ones, what the next one may be off by for the search to be over


class Pairs(NamedTuple):
    """Eigenpairs of a linear map on vectors [size], the largest first.

    Attributes:
        values: Eigenvalues [k].
        vectors: Eigenvectors as rows [k, size].
        residuals: ``|A x - value x|`` [k].
        products: Products that were taken.
        agreed: Whether a second search found nothing further out.
    """

    values: jax.Array
    vectors: jax.Array
    residuals: jax.Array
    products: jax.Array
    agreed: jax.Array


class Search(NamedTuple):
    """What is carried from restart to restart.

    Attributes:
        basis: Orthonormal rows [vectors + 1, size], of which `kept` + 1 are in use.
        projected: ``V A V^T`` [vectors, vectors].
        kept: Rows that a restart has kept.
        found: Wanted eigenvalues when they had last converged.
        products: Products so far.
        agreed: Whether the search is over: a second one found nothing further out, or something is NaN.
        key: A random key.
    """

    basis: jax.Array
    projected: jax.Array
    kept: jax.Array
    found: jax.Array
    products: jax.Array
    agreed: jax.Array
    key: jax.Array


def lanczos(
    matvec: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    size: int,
    dtype: jnp.dtype,
    *,
    top: int,
    bottom: int,
    vectors: int,
    tol: jax.Array,
    products: jax.Array,
) -> Pairs:
    """The ``top`` largest and ``bottom`` smallest eigenpairs of a symmetric map on vectors [size].

    Args:
        matvec: The map.
        key: A random key, for the starts.
        size: Length of the vectors.
        dtype: Their dtype.
        top: How many of the largest.
        bottom: How many of the smallest.
        vectors: Rows of the basis, at least ``top + bottom + 4`` and less than ``size``.
        tol: Residual that counts as converged, relative to the largest eigenvalue's modulus.
        products: Products after which no restart begins.

    Returns:
        The pairs; NaN where a product is.
    """
    wanted, rows = top + bottom, jnp.arange(vectors, dtype=jnp.int32)
    spare = (vectors - wanted) // 2  # one more at each end at least, by which it is seen that nothing is further out
    more = min(max(spare * top // wanted, 1), spare - 1) if top and bottom else spare * (top > 0)
    keep_top, keep_bottom = top + more, bottom + spare - more
    ends = lambda low, high: jnp.where(rows < low, True, rows >= vectors - high)
    keep, want = keep_top + keep_bottom, ends(bottom, top)

    def restarted(search: Search) -> Search:
        search, beta = _extended(matvec, search, vectors)
        theta, turn = jnp.linalg.eigh(search.projected)
        off = jnp.abs(beta * turn[-1])
        scale = jnp.max(jnp.abs(theta))
        slack = tol * scale
        converged = jnp.all(jnp.where(want, off <= slack, True))
        # Nothing is further out once the next ones inwards are known well enough to stay where they are.
        clear = lambda gap, off: (off <= CLEAR * gap) | (gap + off <= slack)
        above = clear(theta[-top] - theta[-top - 1], off[-top - 1]) if top else True
        below = clear(theta[bottom] - theta[bottom - 1], off[bottom]) if bottom else True
        found = jnp.where(want, theta, 0)
        same = jnp.max(jnp.abs(found - search.found)) <= slack
        settled = converged & same & above & below
        again = converged & ~same  # a fresh start beside the wanted ones alone
        order = jnp.argsort(~jnp.where(again, want, ends(keep_bottom, keep_top)), stable=True)
        kept = jnp.where(again, jnp.int32(wanted), jnp.int32(keep))
        basis = _turned(search.basis, turn[:, order].T, vectors)
        key, draw = jax.random.split(search.key)
        fresh = _unit(_orthogonal(basis, jax.random.normal(draw, (size,), dtype), kept)[0])
        basis = lax.dynamic_update_index_in_dim(basis, jnp.where(again, fresh, search.basis[vectors]), kept, 0)
        return Search(
            basis,
            jnp.diag(jnp.where(rows < kept, theta[order], 0)),
            kept,
            jnp.where(converged, found, search.found),
            search.products,
            settled | ~jnp.isfinite(scale),
            key,
        )

    key, draw = jax.random.split(key)
    begin = _begun(jax.random.normal(draw, (size,), dtype), vectors, key)
    search = lax.while_loop(lambda s: ~s.agreed & (s.products < products), restarted, begin)
    # Kept rows are Ritz vectors from the smallest to the largest; the wanted ones stand at both ends of them.
    ends_of = jnp.concatenate([search.kept - 1 - rows[:top], rows[:bottom][::-1]])
    x = jax.vmap(_unit)(search.basis[ends_of])
    ax = lax.map(matvec, x)
    values = jnp.sum(x * ax, 1)
    residuals = jnp.linalg.norm(ax - values[:, None] * x, axis=1)
    down = jnp.argsort(-values)
    return Pairs(values[down], x[down], residuals[down], search.products + wanted, search.agreed)


def quadrature(
    matvec: Callable[[jax.Array], jax.Array], start: jax.Array, key: jax.Array, order: int
) -> tuple[jax.Array, jax.Array]:
    """The Gauss quadrature of a vector's spectral measure, ``sum_i |q_i . v|^2 delta(eigenvalue_i) / |v|^2``.

    Args:
        matvec: The symmetric map.
        start: The vector v.
        key: A random key, for directions to go on in where a space is exhausted; they have no weight.
        order: Number of nodes and of products, at most the size.

    Returns:
        Nodes [order], the smallest first, and weights [order] of sum 1.
    """
    search, _ = _extended(matvec, _begun(start, order, key), order)
    nodes, turn = jnp.linalg.eigh(search.projected)
    return nodes, jnp.square(turn[0])


def _begun(start: jax.Array, vectors: int, key: jax.Array) -> Search:
    size, dtype, none = start.size, start.dtype, jnp.zeros((), jnp.int32)
    basis = jnp.zeros((vectors + 1, size), dtype).at[0].set(_unit(start))
    projected = jnp.zeros((vectors, vectors), dtype)
    return Search(basis, projected, none, jnp.full(vectors, jnp.inf, dtype), none, jnp.zeros((), bool), key)


def _extended(matvec: Callable[[jax.Array], jax.Array], search: Search, vectors: int) -> tuple[Search, jax.Array]:
    """The basis filled up, and the length of what the last product leaves."""
    size, dtype = search.basis.shape[1], search.basis.dtype

    def step(j: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        basis, projected, _, largest, key = carry
        image = matvec(basis[j])
        largest = jnp.maximum(largest, jnp.linalg.norm(image))
        rest, row = _orthogonal(basis, image, j + 1)
        row = row[:vectors]
        projected = projected.at[:, j].set(row).at[j].set(row)
        beta = jnp.linalg.norm(rest)
        key, draw = jax.random.split(key)
        # Where nothing is left, the space is invariant: go on in another direction, to which nothing couples.
        ended = beta <= 8 * jnp.finfo(dtype).eps * largest
        rest = lax.cond(ended, lambda: jax.random.normal(draw, (size,), dtype), lambda: rest / beta)
        rest = _unit(_orthogonal(basis, rest, j + 1)[0])
        return basis.at[j + 1].set(rest), projected, jnp.where(ended, 0, beta), largest, key

    begin = search.basis, search.projected, jnp.zeros((), dtype), jnp.zeros((), dtype), search.key
    basis, projected, beta, _, key = lax.fori_loop(search.kept, jnp.int32(vectors), step, begin)
    count = search.products + (vectors - search.kept)
    return search._replace(basis=basis, projected=projected, products=count, key=key), beta


def _orthogonal(basis: jax.Array, v: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What of ``v`` is orthogonal to the first rows, and its parts along them; twice is enough."""
    used = jnp.arange(len(basis), dtype=jnp.int32) < count
    total = jnp.zeros(len(basis), v.dtype)
    for _ in range(2):
        along = jnp.where(used, dot(basis, v), 0)
        v, total = v - dot(along, basis), total + along
    return v, total


def _unit(v: jax.Array) -> jax.Array:
    return v / jnp.linalg.norm(v)


def _turned(basis: jax.Array, turn: jax.Array, vectors: int) -> jax.Array:
    """The first rows replaced by ``turn`` times them, strip by strip, so that no second basis is needed."""
    size = basis.shape[1]
    width = min(STRIP, size)

    def strip(start: jax.Array | int, width: int, basis: jax.Array) -> jax.Array:
        old = lax.dynamic_slice(basis, (0, start), (vectors, width))
        return lax.dynamic_update_slice(basis, dot(turn, old), (0, start))

    basis = lax.fori_loop(0, size // width, lambda i, basis: strip(i * width, width, basis), basis)
    return strip(size - size % width, size % width, basis) if size % width else basis
