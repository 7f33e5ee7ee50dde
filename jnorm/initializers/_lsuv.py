"""Layer-sequential unit variance: scale the kernels of a network on a batch of data."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import paths
from jnorm._ground import checks


class Lsuv(NamedTuple):
    """Result of `lsuv`: the parameters, and how near they came."""

    params: Any
    var: jax.Array  # [layers], of the pre-activations
    converged: jax.Array  # [], whether all of them are within the tolerance


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

    The protocol: ``apply(params, batch)`` returns the pre-activations of the layers, a sequence of arrays that starts
    at the input's side; ``layers`` are the paths of the same layers in ``params`` (see `jnorm.paths`), by default
    ``"0", "1", ...``, which fits a list of layers. Of a layer, the leaves with two axes or more are scaled by one
    factor; biases and gains stay as they are. The variance is over all entries, centred.

    One call of ``apply`` measures all layers, then the first that is off is scaled by sqrt(var / measured): a call
    for each layer, more where biases are not zero, at most ten a layer. Starting from `orthogonal` gives the paper's
    method. Where a variance is zero, not finite, or held up by biases, ``converged`` is false.

    Raises ``ValueError`` for ``var <= 0`` or ``tol <= 0``, for a path without a kernel, and where ``apply`` does not
    return one array for each layer.
    Source: Mishkin, Matas 2016 (arXiv 1511.06422), algorithm 1.

    >>> from jnorm.initializers._scaled import orthogonal
    >>> def apply(params, x):
    ...     first = x @ params[0]
    ...     return first, jnp.tanh(first) @ params[1]
    >>> key_a, key_b, key_x = jax.random.split(jax.random.key(0), 3)
    >>> params = [orthogonal()(key_a, (4, 8)), orthogonal(3.0)(key_b, (8, 2))]
    >>> found = lsuv(apply, params, jax.random.normal(key_x, (100, 4)))
    >>> found.var.round(2), bool(found.converged)
    (Array([1., 1.], dtype=float32), True)
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var, tol=tol)
    names = tuple(str(index) for index in range(len(params))) if layers is None else tuple(layers)
    kernels = []
    for name in names:
        hits = jax.tree.map(lambda hit, leaf: hit and jnp.ndim(leaf) >= 2, paths.mask(params, name), params)
        if not any(jax.tree.leaves(hits)):
            raise ValueError(f"layer `{name}` must have a kernel: a leaf with two axes or more")
        kernels.append(hits)

    def scaled(factors: jax.Array) -> Any:
        out = params
        for factor, hits in zip(factors, kernels, strict=True):
            out = jax.tree.map(lambda hit, w, f=factor: w * f.astype(w.dtype) if hit else w, hits, out)
        return out

    def measure(factors: jax.Array) -> jax.Array:
        outputs = tuple(apply(scaled(factors), batch))
        if len(outputs) != len(names):
            raise ValueError(f"`apply` must return one array for each of {len(names)} layers; got {len(outputs)}")
        return jnp.stack([jnp.var(z.astype(target.dtype)) for z in outputs])

    def off(measured: jax.Array) -> jax.Array:
        return ~(jnp.abs(measured - target) <= jnp.asarray(tol).astype(target.dtype) * target)

    def step(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        factors, measured, count = state
        first = jnp.argmax(off(measured))
        factor = jnp.sqrt(target / measured[first])
        factors = factors.at[first].multiply(jnp.where(jnp.isfinite(factor) & (factor > 0), factor, 1.0))
        return factors, measure(factors), count + 1

    target = jnp.asarray(var).astype(jnp.result_type(float))
    start = jnp.ones(len(names), target.dtype)
    limit = 10 * len(names)
    factors, measured, _ = jax.lax.while_loop(
        lambda s: jnp.any(off(s[1])) & (s[2] < limit), step, (start, measure(start), jnp.asarray(0))
    )
    return Lsuv(scaled(factors), measured, ~jnp.any(off(measured)))
