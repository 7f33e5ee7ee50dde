"""Layer-sequential unit variance: scale the kernels of a network on a batch of data."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm import paths
from jnorm._ground import callables, checks

Members = tuple[tuple[int, ...], ...]


class Lsuv(NamedTuple):
    """Result of `lsuv`: the parameters, and how near they came.

    Attributes:
        params: The parameters with scaled kernels.
        var: The variances of the pre-activations, ``[layers]``.
        converged: Whether all of them are within the tolerance, ``[]``.
    """

    params: Any
    var: jax.Array
    converged: jax.Array


def lsuv(
    apply: Callable[[Any, Any], Sequence[jax.Array]],
    params: Any,
    batch: Any,
    *,
    layers: Sequence[str] | None = None,
    var: ArrayLike = 1.0,
    tol: ArrayLike = 1e-3,
) -> Lsuv:
    """Layer-sequential unit variance: rescale kernels until each layer's pre-activations have ``var`` on a batch.

    Of a layer, the leaves with two axes or more are scaled by one factor; biases and gains stay as they are. The
    variance is over all entries, centred.

    One call of ``apply`` measures all layers, then the first that is off is scaled by sqrt(var / measured): a call
    for each layer, more where biases are not zero, at most ten a layer. Starting from `orthogonal` gives the paper's
    method.

    Args:
        apply: ``apply(params, batch)`` returns the pre-activations of the layers, a sequence of arrays that starts at
            the input's side.
        params: The parameters, any pytree.
        batch: The data, any pytree.
        layers: The paths of these layers in ``params`` (see `jnorm.paths`); ``None`` is ``"0", "1", ...``, which fits a
            list of layers.
        var: The variance to reach, above 0.
        tol: How far off it a variance may be, relative, above 0.

    Returns:
        The scaled parameters with the variances that they have. Where one is zero, not finite, or held up by biases,
        ``converged`` is false.

    Raises:
        ValueError: For ``var <= 0`` or ``tol <= 0``, for a path without a kernel, and where ``apply`` does not return
            one array for each layer.

    Source: Mishkin, Matas 2016 (arXiv 1511.06422), algorithm 1.

    >>> from jnorm.initializers import orthogonal
    >>> def apply(params, x):
    ...     first = x @ params[0]
    ...     return first, jnp.tanh(first) @ params[1]
    >>> key_a, key_b, key_x = jax.random.split(jax.random.key(0), 3)
    >>> params = [orthogonal()(key_a, (4, 8)), orthogonal(3.0)(key_b, (8, 2))]
    >>> scaled = lsuv(apply, params, jax.random.normal(key_x, (100, 4)))
    >>> scaled.var.round(2), bool(scaled.converged)
    (Array([1., 1.], dtype=float32), True)
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var, tol=tol)
    names = tuple(str(index) for index in range(len(params))) if layers is None else tuple(layers)
    leaves, tree = jax.tree.flatten(params)
    members = tuple(_kernels_of(name, params, leaves) for name in names)
    batch = jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, batch)
    places = sorted({place for layer in members for place in layer})

    def with_kernels(kernels: dict[int, jax.Array]) -> Any:
        return jax.tree.unflatten(tree, [kernels.get(place, leaf) for place, leaf in enumerate(leaves)])

    def outputs(kernels: dict[int, jax.Array]) -> tuple[jax.Array, ...]:
        z = tuple(apply(with_kernels(kernels), batch))
        if len(z) != len(names):
            raise ValueError(f"`apply` must return one array for each of {len(names)} layers; got {len(z)}")
        return z

    kernels = {place: jnp.asarray(leaves[place]) for place in places}
    kernels, measured, converged = _search(
        callables.settle(outputs, kernels, name="apply"), kernels, var, tol, members=members
    )
    return Lsuv(with_kernels(kernels), measured, converged)


def _kernels_of(name: str, params: Any, leaves: Sequence[Any]) -> tuple[int, ...]:
    """Which leaves the kernels of a layer are."""
    hits = jax.tree.leaves(paths.mask(params, name))
    places = tuple(place for place, hit in enumerate(hits) if hit and jnp.ndim(leaves[place]) >= 2)
    if not places:
        raise ValueError(f"layer `{name}` must have a kernel: a leaf with two axes or more")
    return places


@partial(jax.jit, static_argnames="members")
def _search(
    outputs: Callable[[dict[int, jax.Array]], tuple[jax.Array, ...]],
    kernels: dict[int, jax.Array],
    var: ArrayLike,
    tol: ArrayLike,
    *,
    members: Members,
) -> tuple[dict[int, jax.Array], jax.Array, jax.Array]:
    """The scaled kernels, the variances of the outputs with them, and whether all are near ``var``."""
    target = jnp.asarray(var).astype(jnp.result_type(float))

    def scaled(factors: jax.Array) -> dict[int, jax.Array]:
        out = dict(kernels)
        for factor, places in zip(factors, members, strict=True):
            out |= {place: out[place] * factor.astype(out[place].dtype) for place in places}
        return out

    def measure(factors: jax.Array) -> jax.Array:
        return jnp.stack([jnp.var(z.astype(target.dtype)) for z in outputs(scaled(factors))])

    def off(measured: jax.Array) -> jax.Array:
        return ~(jnp.abs(measured - target) <= jnp.asarray(tol).astype(target.dtype) * target)

    def step(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        factors, measured, count = state
        first = jnp.argmax(off(measured))
        factor = jnp.sqrt(target / measured[first])
        factors = factors.at[first].multiply(jnp.where(jnp.isfinite(factor) & (factor > 0), factor, 1.0))
        return factors, measure(factors), count + 1

    start = jnp.ones(len(members), target.dtype)
    factors, measured, _ = jax.lax.while_loop(
        lambda s: jnp.any(off(s[1])) & (s[2] < 10 * len(members)), step, (start, measure(start), jnp.asarray(0))
    )
    return scaled(factors), measured, ~jnp.any(off(measured))
