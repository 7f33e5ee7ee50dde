"""Initializers: factories of ``init(key, shape, dtype=None, out_sharding=None)``, the ``jax.nn.initializers`` protocol.

- **Use.** Flax linen and nnx take an initializer as ``kernel_init``; Equinox and plain JAX call it; Haiku's ``w_init``
  is ``lambda shape, dtype: init(hk.next_rng_key(), shape, dtype)``. All work under ``jit`` and ``vmap`` (over keys:
  a kernel each), with typed and raw keys; a law that JAX has too draws JAX's weights from the same key.
- **Types.** ``dtype=None`` is the default float. Half precision is drawn in float32 and rounded. A TPU has no float64
  and emulates it by pairs of float32: `jax.random` puts it together from random bits there, and nothing here takes it
  apart, which a TPU refuses (jax issue 30629). Such draws have no more digits than the pairs and are not bit for bit
  those of other machines; where that matters draw under ``jax.default_device(jax.devices("cpu")[0])``.
- **Axes.** ``in_axis``, ``out_axis`` and ``batch_axis`` of a kernel are those of `fans`.
- **The law called normal.** As in JAX, ``glorot_normal``, ``he_normal``, ``lecun_normal`` and `for_activation` are
  normal laws cut at two of their standard deviations, with the variance restored.
- **Errors.** Options are checked when a factory is called, shapes and dtypes when the initializer is: ``ValueError``
  names the rule and the value, or lists the known names; ``TypeError`` for an integer, boolean or complex dtype. Only
  values that Python knows are checked: a number in a JAX array, traced or on a device, is not fetched.
- **Cost.** An eager call is one program, which every initializer of the same law, shape and dtype shares.
"""

from jnorm.initializers._fan_scaled import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
)
from jnorm.initializers._fans import Fans, fans
from jnorm.initializers._for_activation import for_activation
from jnorm.initializers._lsuv import Lsuv, lsuv
from jnorm.initializers._protocol import Initializer
from jnorm.initializers._scaled import constant, normal, ones, truncated_normal, uniform, zeros
from jnorm.initializers._structured import delta_orthogonal, identity, orthogonal, sparse

__all__ = [
    "Fans",
    "Initializer",
    "Lsuv",
    "constant",
    "delta_orthogonal",
    "fans",
    "for_activation",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "lsuv",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
]
