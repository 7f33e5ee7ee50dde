"""Layers whose kernels are cut from draws of one length: XLA compiles a draw for every length, a second for each."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jnorm.nn.layers import Layer


def normal(gain: Any = 1.0, *, length: int = 4096) -> Any:
    """An initializer of normal weights with variance ``gain / fan_in``; ``gain`` may be traced.

    The first of ``length`` numbers are taken, of which there are more where a kernel needs them: networks compile in
    less than half of the time that kernels of three shapes take otherwise.
    """

    def drawn(key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        count = math.prod(shape)
        numbers = jax.random.normal(key, (max(length, count),), dtype or float)[:count]
        return jnp.sqrt(gain / math.prod(shape[:-1])) * numbers.reshape(shape)

    return drawn


def layer(activation: Any, gain: Any = 2.0, **options: Any) -> Layer:
    """A hidden layer with weights of variance ``gain / fan_in``, 2 for relu; 1 / fan_in in a network's first and last.

    ``options`` are those of `jnorm.nn.layers.Layer`.
    """
    ends = {"input_init": normal(), "readout_init": normal()}
    return Layer(activation, normal(gain), **ends | options)
