"""Folding: a frozen batch norm becomes part of the dense or convolution layer before or after it."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn._axes import floating
from jnorm.nn._params import Params, broadcast_params
from jnorm.nn._running import State, broadcast_state
from jnorm.nn._scaling import inverse_root


def fold(
    params: Params,
    state: State,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    norm: str,
    eps: ArrayLike = 1e-5,
    linear: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    shape: Sequence[int] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Kernel and bias of one dense or convolution layer that does what it and a frozen batch norm did.

    With ``a = scale / sqrt(var + eps)`` and ``b = shift - mean * a``, the layer being ``x * kernel + bias``:

        norm="after":   kernel * a[out],  (bias - mean) * a + shift
        norm="before":  kernel * a[in],   bias + b * kernel

    The new bias is (out,), with one exception: a convolution that pads with zeros pads behind the norm, where zero
    means zero, but the folded layer pads in front of it, so that the bias must differ along the border. Pass such a
    layer as ``linear``, and the ``shape`` of its input: the bias is then the map ``bias + linear(b everywhere,
    kernel)`` of the output's shape, exact for every padding, stride and dilation.

    Args:
        params: The batch norm's parameters.
        state: Its statistics, which evaluation would use.
        kernel: (..., in, out) as in Flax and `jax.lax`; a grouped convolution has (..., in / groups, out).
        bias: (out,), or the map of an earlier fold; None for a layer without one.
        norm: Where the batch norm stands, "before" or "after" the layer.
        eps: That of the batch norm.
        linear: ``linear(x, kernel)`` is the layer without bias; only for ``norm="before"`` and padding with zeros.
        shape: (..., in), the shape of the layer's input without the batch; goes with ``linear``.

    Returns:
        The new kernel, in shape and dtype of the old one, and the new bias, in the same dtype.

    Raises:
        TypeError: For an integer kernel.
        ValueError: For another ``norm``, ``eps < 0``, feature counts that do not fit the kernel, and ``linear`` without
            ``shape`` or the other way round.

    >>> from jnorm.nn import batch_norm
    >>> params, state = batch_norm.init(2)
    >>> state = state._replace(mean=jnp.array([2.0, 0.0]), var=jnp.array([4.0, 1.0]))
    >>> kernel, x = jnp.array([[1.0], [3.0]]), jnp.array([[4.0, 5.0]])
    >>> folded, bias = fold(params, state, kernel, norm="before", eps=0.0)
    >>> (x @ folded + bias).tolist(), (batch_norm.apply(params, state, x, train=False, eps=0.0)[0] @ kernel).tolist()
    ([[16.0]], [[16.0]])
    """
    checks.choice("norm", norm, ("before", "after"))
    checks.require(lambda e: e >= 0, "`{}` must satisfy {} >= 0", eps=eps)
    kernel = floating(kernel, "kernel")
    wide = max(checks.wide(kernel.dtype), state.mean.dtype, key=lambda d: jnp.finfo(d).bits)
    features = state.mean.shape
    inputs, outputs = kernel.shape[-2:]
    groups = 1 if norm == "after" else math.prod(features) // inputs
    if len(features) != 1 or features[0] != (outputs if norm == "after" else groups * inputs) or outputs % groups:
        raise ValueError(f"`kernel` (..., in, out) must fit the {features} features {norm} it; got {kernel.shape}")
    if (linear is None) != (shape is None):
        raise ValueError("`linear` and `shape` must be given together; got one of them")

    x = jnp.zeros(features, wide)
    mean, var, _ = broadcast_state(state, x, (0,))
    scale, shift = broadcast_params(params, x, (0,))
    gain = jnp.broadcast_to(inverse_root(var + jnp.asarray(eps, wide)) * scale, features)
    old = jnp.zeros(outputs, wide) if bias is None else jnp.asarray(bias).astype(wide)
    weights = kernel.astype(wide)

    def ranked(value: jax.Array, like: jax.Array) -> jax.Array:
        return jnp.expand_dims(value, range(max(0, like.ndim - value.ndim)))

    if norm == "after":
        folded = (old - ranked(mean, old)) * ranked(gain, old) + ranked(shift, old)
        return (weights * ranked(gain, weights)).astype(kernel.dtype), folded.astype(kernel.dtype)

    def per_weight(value: jax.Array) -> jax.Array:
        """From (groups * in,) to the axes of the kernel: output channels go by groups."""
        value = jnp.repeat(value.reshape(groups, inputs).T, outputs // groups, axis=1)
        return ranked(value, weights)

    offset = shift - mean * gain
    if linear is None:
        added = jnp.sum(weights * per_weight(offset), tuple(range(kernel.ndim - 1)))
    else:
        added = linear(jnp.broadcast_to(offset, (1, *(shape or ()))), weights)[0]
    folded = ranked(old, added) + ranked(added, old)
    return (weights * per_weight(gain)).astype(kernel.dtype), folded.astype(kernel.dtype)
