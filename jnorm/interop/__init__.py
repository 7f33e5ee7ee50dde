"""Modules for other libraries: thin shells around `jnorm.nn`, drop-ins for what they replace there."""
