"""jnorm: why one deep network trains and another does not.

Pure JAX functions, imported by module: ``from jnorm.activations import selu``,
``from jnorm.theory import fixed_points``.
"""

__version__ = "0.1.0"
