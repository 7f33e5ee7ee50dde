"""Eigenpairs at both ends of a spectrum, each with what it leaves."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.measure.curvature._lanczos import lanczos
from jnorm.measure.curvature._operators import DENSE, Operator, dot, flat, trees


class Eigenpairs(NamedTuple):
    """Eigenpairs, the largest eigenvalue first.

    Attributes:
        values: Eigenvalues [k].
        vectors: A tree like the operator's vectors, with [k] before each shape; unit vectors.
        residuals: Bounds [k]: within so much of each value there is an eigenvalue. ``|A x - value x|``, measured by a
            product of its own, and in the precision of the products.
        products: Products that were taken; the size where the matrix was.
        converged: Whether each residual [k] is small enough, and a second search found no eigenvalue further out.
    """

    values: jax.Array
    vectors: Any
    residuals: jax.Array
    products: jax.Array
    converged: jax.Array


def eigenpairs(
    operator: Operator,
    *,
    top: int = 1,
    bottom: int = 0,
    key: jax.Array | None = None,
    tol: ArrayLike | None = None,
    vectors: int | None = None,
    memory: int | None = None,
    products: int = 10_000,
) -> Eigenpairs:
    """The largest and the smallest eigenvalues of an operator, and their eigenvectors.

    Up to 2 000 parameters the matrix is taken apart. Larger operators are searched by thick-restart Lanczos, fully
    reorthogonalized, with a basis of ``vectors`` rows: no eigenvalue is counted twice, and one that is repeated is
    found as often as it is there. What is compiled does not depend on how many products are taken.

    An operator that is NaN somewhere gives NaN. To be called under ``jit`` and ``vmap``, or as it is.
    Source: Wu and Simon 2000, Thick-restart Lanczos method for large symmetric eigenvalue problems.

    Args:
        operator: The operator.
        top: How many of the largest.
        bottom: How many of the smallest.
        key: A random key, for the starts of the search; None: ``jax.random.key(0)``.
        tol: Residual that counts as converged, relative to the largest modulus of an eigenvalue; None: ``eps^(2/3)``.
        vectors: Rows of the basis, at least ``top + bottom + 4`` and less than the size. None: ``2 (top + bottom) +
            24``, or fewer where ``memory`` holds no more.
        memory: Bytes for the basis, as large as the parameters times its rows and one.
        products: Products after which the search ends.

    Returns:
        ``top + bottom`` pairs.

    Raises:
        ValueError: Counts out of range, more than there are parameters, too many or too few ``vectors``, ``memory``
            that does not suffice.

    >>> import jax.numpy as jnp
    >>> from jnorm.measure.curvature import hessian
    >>> toy = lambda w: (1 - w[0] * w[1]) ** 2
    >>> eigenpairs(hessian(toy, jnp.zeros(2)), bottom=1).values
    Array([ 2., -2.], dtype=float32)
    """
    checks.whole(0, top=top, bottom=bottom)
    checks.whole(1, products=products)
    checks.require(lambda tol: tol > 0, "`{}` must satisfy {} > 0", **({} if tol is None else {"tol": tol}))
    size, wanted = operator.size, top + bottom
    if not 1 <= wanted <= size:
        raise ValueError(f"`top` + `bottom` must be between 1 and the {size} parameters; got {wanted}")
    if vectors is None and size <= DENSE:
        return _dense_pairs(operator, top, bottom)
    if vectors is not None and not wanted + 4 <= vectors < size:
        must = f"`vectors` must be at least top + bottom + 4 = {wanted + 4}, and less than the {size} parameters"
        raise ValueError(f"{must}; got {vectors}")
    dtype = jnp.result_type(*jax.tree.leaves(operator.like))
    if memory is not None:
        room = int(memory // (size * dtype.itemsize)) - 1
        least = vectors or wanted + 4
        if room < least:
            needed = (least + 1) * size * dtype.itemsize
            raise ValueError(f"`memory` must hold {least + 1} vectors of {size} {dtype}, {needed} bytes; got {memory}")
        vectors = vectors or min(room, 2 * wanted + 24)
    vectors = min(vectors or 2 * wanted + 24, size - 1)
    key = jax.random.key(0) if key is None else keys.typed(key)
    tol = jnp.finfo(dtype).eps ** (2 / 3) if tol is None else tol
    return _lanczos_pairs(operator, key, jnp.asarray(tol, dtype), jnp.int32(products), top, bottom, int(vectors))


@partial(jax.jit, static_argnames=("top", "bottom"))
def _dense_pairs(operator: Operator, top: int, bottom: int) -> Eigenpairs:
    matrix = operator.dense()
    values, turn = jnp.linalg.eigh(matrix)  # of the symmetric part
    size = len(values)
    chosen = jnp.array([*range(size - 1, size - 1 - top, -1), *range(bottom - 1, -1, -1)])
    values, x = values[chosen], turn[:, chosen].T
    residuals = jnp.linalg.norm(dot(x, matrix.T) - values[:, None] * x, axis=1)
    return Eigenpairs(values, trees(operator, x), residuals, jnp.int32(size), jnp.isfinite(values))


@partial(jax.jit, static_argnames=("top", "bottom", "vectors"))
def _lanczos_pairs(
    operator: Operator, key: jax.Array, tol: jax.Array, products: jax.Array, top: int, bottom: int, vectors: int
) -> Eigenpairs:
    counts = {"top": top, "bottom": bottom, "vectors": vectors}
    matvec, _ = flat(operator)
    pairs = lanczos(matvec, key, operator.size, tol.dtype, **counts, tol=tol, products=products)
    small = pairs.residuals <= 4 * tol * jnp.max(jnp.abs(pairs.values))
    converged = small & pairs.agreed & jnp.isfinite(pairs.values)
    return Eigenpairs(pairs.values, trees(operator, pairs.vectors), pairs.residuals, pairs.products, converged)
