"""A symmetric operator on parameters: its products, its size, and what its vectors look like."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from jnorm._ground import callables, checks, nodes

DENSE = 2_000
"""Up to so many parameters an operator is taken apart as a matrix."""

TOGETHER = 64  # columns of a matrix that are computed side by side


@nodes.register
@dataclass(frozen=True)
class Operator:
    """A symmetric operator on trees like the parameters, a pytree itself: an argument of ``jit`` and ``vmap``.

    Attributes:
        product: ``product()`` returns the linear map ``v -> A v``, and does what all products have in common once.
        like: A tree of the shapes and dtypes of its vectors; of the operators of a loss, the parameters.
    """

    product: Any
    like: Any

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(self.like))

    def matvec(self, v: Any) -> Any:
        """``A v`` for a tree like ``like``; for many products, take ``product()`` once."""
        return _matvec(self, v)

    def dense(self) -> jax.Array:
        """The matrix [size, size], in the order of `jax.flatten_util.ravel_pytree`."""
        return _dense(self)

    def to_scipy(self) -> Any:
        """The operator as a `scipy.sparse.linalg.LinearOperator`, for the solvers of SciPy."""
        from scipy.sparse.linalg import LinearOperator

        dtype = np.dtype(_dtype(self))
        return LinearOperator(
            (self.size, self.size),
            matvec=lambda v: np.asarray(_flat_matvec(self, jnp.asarray(v.ravel(), dtype))),
            dtype=dtype,
        )


def operator(matvec: Callable[[Any], Any], like: Any) -> Operator:
    """Anybody's symmetric operator.

    Args:
        matvec: ``matvec(v)`` returns ``A v``, a tree like ``like``; it must be linear and symmetric.
        like: A tree of floating arrays, of which shapes and dtypes count.

    Returns:
        The operator.

    Raises:
        TypeError: ``like`` is no tree of floating arrays; ``matvec`` is not made of ``jax.numpy`` operations.
        ValueError: ``matvec`` returns another structure, shape or dtype.

    >>> eigenvalues = jnp.arange(1.0, 4.0)
    >>> operator(lambda v: eigenvalues * v, jnp.zeros(3)).dense()
    Array([[1., 0., 0.],
           [0., 2., 0.],
           [0., 0., 3.]], dtype=float32)
    """
    like = real(like=like)
    settled = callables.settle(matvec, like, name="matvec")
    got, want = jax.eval_shape(lambda v: settled(v), like), jax.eval_shape(lambda: like)
    if jax.tree.flatten(got) != jax.tree.flatten(want):
        raise ValueError(f"`matvec` must return a tree like its argument; got {got} for {want}")
    return Operator(Given(settled), like)


@nodes.register
@dataclass(frozen=True)
class Given:
    """The product of an operator that somebody gave."""

    matvec: Callable[[Any], Any]

    def __call__(self) -> Callable[[Any], Any]:
        return self.matvec


def real(**named: Any) -> Any:
    """The named tree with its leaves as arrays of at least float32, or an error that names the leaf that has none."""
    ((name, tree),) = named.items()
    if not jax.tree.leaves(tree):
        raise TypeError(f"`{name}` must be a tree of floating arrays; it has no leaves")

    def wide(path: Any, leaf: Any) -> jax.Array:
        if (
            callable(leaf)
            or isinstance(leaf, str | bytes | None)
            or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        ):
            kind = type(leaf).__name__ if callable(leaf) or isinstance(leaf, str) else jnp.result_type(leaf)
            where = jax.tree_util.keystr(path, simple=True, separator="/")
            raise TypeError(f"`{name}` must be a tree of floating arrays; {where or 'it'} is of {kind}")
        array = jnp.asarray(leaf)
        return array.astype(checks.wide(array.dtype))

    return jax.tree.map_with_path(wide, tree)


def flat(operator: Operator) -> tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], Any]]:
    """The linear map on vectors [size], and the function that makes a tree of a vector."""
    linear, (_, unravel) = operator.product(), ravel_pytree(operator.like)
    return lambda v: ravel_pytree(linear(unravel(v)))[0], unravel


def trees(operator: Operator, vectors: jax.Array) -> Any:
    """Rows [k, size] as a tree with the rows first."""
    return jax.vmap(ravel_pytree(operator.like)[1])(vectors)


def _dtype(operator: Operator) -> Any:
    return jnp.result_type(*jax.tree.leaves(operator.like))


@jax.jit
def _matvec(operator: Operator, v: Any) -> Any:
    return operator.product()(v)


@jax.jit
def _flat_matvec(operator: Operator, v: jax.Array) -> jax.Array:
    return flat(operator)[0](v)


@jax.jit
def _dense(operator: Operator) -> jax.Array:
    matvec, _ = flat(operator)
    size, dtype = operator.size, _dtype(operator)
    column = lambda i: matvec(jnp.zeros(size, dtype).at[i].set(1))
    return lax.map(column, jnp.arange(size), batch_size=min(TOGETHER, size)).T


dot = partial(jnp.dot, precision=lax.Precision.HIGHEST)
"""Products of vectors in full precision, on every device."""
