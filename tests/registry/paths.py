"""Laws of `jnorm.paths`."""
