"""Kernels of which some connections are missing for ever: a mask that is fixed, in the place of one that is learned."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm.nn.layers import Weights

__all__ = [
    "masked",
]


def masked(mask: Callable[[tuple[int, ...]], ArrayLike]) -> Weights:
    """Weights that are 0 where a mask does not hold, from the start on; their gradient is 0, and nothing moves them.

    A layer has fewer connections then and each output a smaller variance: by the share that is kept, where the
    initializer does not make up for it. Kernels of one shape have one mask; a `Layer` of its own gives a layer its own.

    Args:
        mask: ``mask(shape)``, booleans that broadcast against a kernel of that shape [..., in, out], always the same.

    Returns:
        The ``weights`` of a `jnorm.nn.layers.Layer`.

    Raises:
        TypeError: ``mask`` is no function; where it is applied, no booleans.
        ValueError: Where it is applied, another shape.

    >>> from jnorm import activations, initializers
    >>> from jnorm.nn import layers, networks
    >>> third = masked(lambda shape: jax.random.bernoulli(jax.random.key(1), 1 / 3, shape))
    >>> layer = layers.Layer(activations.tanh, initializers.lecun_normal(), weights=third)
    >>> params, _ = networks.mlp((100, 100, 1), layer).init(jax.random.key(0))
    >>> f"{jnp.mean(params[0]['kernel'] != 0):.2f}"
    '0.34'
    """
    if not callable(mask):
        must = "`mask` must be a function of a kernel's shape, such as lambda shape: jnp.tri(*shape, dtype=bool)"
        raise TypeError(f"{must}; got {type(mask).__name__}")

    def kept(kernel: jax.Array) -> jax.Array:
        chosen = jnp.asarray(mask(kernel.shape))
        if chosen.dtype != bool:
            raise TypeError(f"`mask` must return booleans; got dtype {chosen.dtype}")
        fits = chosen.ndim == kernel.ndim and all(m in (1, n) for m, n in zip(chosen.shape, kernel.shape, strict=True))
        if not fits:
            raise ValueError(f"`mask` must return what broadcasts against {kernel.shape}; got {chosen.shape}")
        return jnp.where(chosen, kernel, 0)

    return Weights(kept, kept)
