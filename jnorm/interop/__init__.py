"""Drop-in modules for Flax, over `jnorm.nn`."""

from jnorm.interop import flax_linen, flax_nnx

__all__ = ["flax_linen", "flax_nnx"]
