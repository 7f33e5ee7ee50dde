"""Laws of `jnorm.sweeps`."""
