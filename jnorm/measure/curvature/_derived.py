"""Operators made of others: scaled, preconditioned by what an optimizer knows, and blocks of some parameters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jnorm import paths
from jnorm._ground import nodes
from jnorm.measure.curvature._operators import Operator, real


def scaled(operator: Operator, by: Any) -> Operator:
    """``D A D`` with the diagonal matrix D of a tree: the operator in the coordinates ``D^-1 w``.

    Args:
        operator: The operator A.
        by: A tree like its vectors, the diagonal of D.

    Returns:
        The operator.

    Raises:
        TypeError: ``by`` is no tree of floating arrays.
        ValueError: Its structure or shapes are not those of the operator.

    >>> from jnorm.measure.curvature import hessian
    >>> bowl = hessian(lambda w: w[0] ** 2 + 50 * w[1] ** 2, jnp.ones(2))
    >>> scaled(bowl, jnp.array([1.0, 0.1])).dense()
    Array([[2., 0.],
           [0., 1.]], dtype=float32)
    """
    by = real(by=by)
    shapes = lambda tree: (jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)])
    if shapes(by) != shapes(operator.like):
        raise ValueError(f"`by` must be a tree like the operator's vectors; got {jax.eval_shape(lambda: by)}")
    by = jax.tree.map(lambda a, like: a.astype(like.dtype), by, operator.like)
    return Operator(Scaled(operator.product, by), operator.like)


def preconditioned(
    operator: Operator, state: Any, *, decay: ArrayLike = 0.999, eps: ArrayLike = 1e-8, eps_root: ArrayLike = 0.0
) -> Operator:
    """``P^-1/2 A P^-1/2`` with the P by which an adaptive optimizer divides its steps.

    P is read from the optimizer's state: of Adam and what is made of it ``sqrt(nu / (1 - decay^t) + eps_root) + eps``,
    of RMSProp ``sqrt(nu + eps_root) + eps``, of Adagrad ``sqrt(sum + eps)``. Descent along P^-1 gradient is stable
    while the top eigenvalue is below the `stability_threshold` of its rate. Before the first step of Adam P is NaN.
    Source: Cohen et al. 2022 (arXiv 2207.14484), section 2.

    Args:
        operator: The operator A, of the parameters that the optimizer has.
        state: The state of an optimizer of Optax, anywhere in a chain.
        decay: The decay of the squares, ``b2`` of `optax.adam`.
        eps: As the optimizer has it; 1e-7 is the default of `optax.adagrad`.
        eps_root: As the optimizer has it, inside of the root.

    Returns:
        The operator.

    Raises:
        ValueError: The state holds no squares, or those of several optimizers, or of other parameters.

    >>> from jnorm.measure.curvature import hessian
    >>> w = jnp.ones(2)
    >>> bowl = lambda w: w[0] ** 2 + 50 * w[1] ** 2
    >>> adam = optax.adam(0.1)
    >>> _, state = adam.update(jax.grad(bowl)(w), adam.init(w))
    >>> preconditioned(hessian(bowl, w), state).dense().round(3)  # gradients 2 and 100
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    known = tuple(SQUARES)
    found = [s for s in jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, known)) if isinstance(s, known)]
    if len(found) != 1:
        kinds = ", ".join(kind.__name__ for kind in known)
        raise ValueError(f"`state` must hold one of {kinds}; got {len(found)}")
    by = SQUARES[type(found[0])](found[0], decay, eps, eps_root)
    return scaled(operator, jax.tree.map(lambda p: 1 / jnp.sqrt(p), by))


def block(operator: Operator, where: paths.Where) -> Operator:
    """The rows and columns of some parameters.

    Args:
        operator: The operator.
        where: Which leaves, as in `jnorm.paths`: a path prefix, several, or a predicate ``(path, leaf) -> bool``.

    Returns:
        The operator on dictionaries of the chosen leaves by path.

    Raises:
        ValueError: No leaf is chosen; the paths are listed.

    >>> from jnorm.measure.curvature import hessian
    >>> params = {"a": jnp.array(3.0), "b": jnp.array(2.0)}
    >>> block(hessian(lambda p: p["a"] ** 2 * p["b"], params), "a").dense()
    Array([[4.]], dtype=float32)
    """
    chosen = tuple(jax.tree.leaves(paths.mask(operator.like, where)))
    flat, _ = jax.tree.flatten_with_path(operator.like)
    every = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in flat]
    names = tuple(name if hit else None for name, hit in zip(every, chosen, strict=True))
    like = {name: leaf for name, (_, leaf) in zip(names, flat, strict=True) if name is not None}
    return Operator(Block(operator.product, operator.like, names), like)


@nodes.register
@dataclass(frozen=True)
class Scaled:
    """The product of ``D A D``."""

    inner: Callable[[], Callable[[Any], Any]]
    by: Any

    def __call__(self) -> Callable[[Any], Any]:
        linear = self.inner()
        times = lambda v: jax.tree.map(jnp.multiply, self.by, v)
        return lambda v: times(linear(times(v)))


@nodes.register
@dataclass(frozen=True)
class Block:
    """The product of the rows and columns of the leaves that have a name."""

    inner: Callable[[], Callable[[Any], Any]]
    like: Any
    names: tuple[str | None, ...] = field(metadata={"static": True})

    def __call__(self) -> Callable[[Any], Any]:
        linear = self.inner()
        leaves, structure = jax.tree.flatten(self.like)

        def product(v: Any) -> Any:
            filled = [jnp.zeros_like(a) if n is None else v[n] for n, a in zip(self.names, leaves, strict=True)]
            out = jax.tree.leaves(linear(jax.tree.unflatten(structure, filled)))
            return {name: a for name, a in zip(self.names, out, strict=True) if name is not None}

        return product


def _adam(state: Any, decay: ArrayLike, eps: ArrayLike, eps_root: ArrayLike) -> Any:
    def divisor(nu: jax.Array) -> jax.Array:
        weight = 1 - jnp.asarray(decay, nu.dtype) ** state.count.astype(nu.dtype)
        return jnp.sqrt(nu / weight + eps_root) + eps

    return jax.tree.map(divisor, state.nu)


def _rms(state: Any, decay: ArrayLike, eps: ArrayLike, eps_root: ArrayLike) -> Any:
    return jax.tree.map(lambda nu: jnp.sqrt(nu + eps_root) + eps, state.nu)


def _sums(state: Any, decay: ArrayLike, eps: ArrayLike, eps_root: ArrayLike) -> Any:
    return jax.tree.map(lambda total: jnp.sqrt(total + eps), state.sum_of_squares)


SQUARES: dict[type, Callable[..., Any]] = {
    optax.ScaleByAdamState: _adam,
    optax.ScaleByRmsState: _rms,
    optax.ScaleByRssState: _sums,
}
"""What each state of Optax divides by."""
