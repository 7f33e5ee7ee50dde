"""Batch norm of complex inputs, as Flax has it: the variance is E|x - mean|^2, one real number a feature."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm.nn._axes import axes_of, other_axes
from jnorm.nn._masks import mask_like
from jnorm.nn._moments import BatchMoments, moments
from jnorm.nn._params import Params
from jnorm.nn._running import State, update
from jnorm.nn._scaling import inverse_root


def batch_norm(
    params: Params,
    state: State,
    x: jax.Array,
    *,
    train: bool,
    decay: ArrayLike,
    eps: float,
    axis: Any,
    axis_name: Any = None,
    mask: jax.Array | None = None,
    unbiased: bool = False,
) -> tuple[jax.Array, State]:
    """`jnorm.nn.batch_norm.apply` for a complex ``x``; the mean of the state is complex, its variance real.

    >>> x = jnp.array([[1.0 + 1.0j], [3.0 - 1.0j]])
    >>> state = State(jnp.zeros(1), jnp.ones(1), jnp.zeros(1))
    >>> y, new = batch_norm(Params(None, None), state, x, train=True, decay=0.9, eps=0.0, axis=-1)
    >>> new.mean.tolist(), new.var.tolist()
    ([(2+0j)], [2.0])
    """
    features = axes_of(x, axis)
    reduced = other_axes(x, features)
    mean, var = (jnp.expand_dims(v, reduced) for v in (jnp.asarray(state.mean, x.dtype), jnp.real(state.var)))
    if train:
        mask = mask_like(x, mask, features)
        parts = jnp.stack([x.real, x.imag])
        own = None if mask is None else mask[None]
        both = moments(parts, tuple(a + 1 for a in reduced), mask=own, axis_name=axis_name)
        counted = jnp.broadcast_to(both.count[0] > 0, both.mean.shape[1:])
        # Of nothing each part has the variance 1.
        total = jnp.where(counted, both.var[0] + both.var[1], 1)
        old = [
            State(part(jnp.asarray(state.mean, x.dtype)), jnp.real(state.var), state.count)
            for part in (jnp.real, jnp.imag)
        ]
        # A bad number in one part keeps out the other as well.
        bad = jnp.where(jnp.all(jnp.isfinite(both.mean), 0), 0, jnp.nan)
        freedom = both.count[0] - 1 if unbiased else None
        new = [
            update(o, BatchMoments(m + bad, total, both.count[0]), decay=decay, freedom=freedom)
            for o, m in zip(old, both.mean, strict=True)
        ]
        mean = jnp.where(counted, jax.lax.complex(both.mean[0], both.mean[1]), mean)
        var = jnp.where(counted, total, var)
        state = State(jax.lax.complex(new[0].mean, new[1].mean), new[0].var, new[0].count)
    y = (x - mean) * inverse_root(var + jnp.asarray(eps, var.dtype)).astype(x.dtype)
    if params.scale is not None:
        y = y * jnp.expand_dims(params.scale, reduced).astype(y.dtype)
    if params.shift is not None:
        y = y + jnp.expand_dims(params.shift, reduced).astype(y.dtype)
    return y, state
