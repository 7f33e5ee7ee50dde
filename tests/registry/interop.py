"""Laws of `jnorm.interop`."""
