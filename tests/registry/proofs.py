"""Laws of `jnorm.proofs`."""
