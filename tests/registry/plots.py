"""Laws of `jnorm.plots`."""
