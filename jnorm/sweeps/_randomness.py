"""Random keys of a stated kind, and which programs draw numbers that depend on what is beside them.

Draws of threefry2x32 are those of the key alone. Those of ``rbg`` and ``unsafe_rbg`` under ``vmap`` come from the first
key of the batch, whatever the others are: runs side by side would not be the runs that they are alone.
"""

from typing import Any

import jax
import numpy as np

from jnorm import jaxprs

_INDEPENDENT = "threefry2x32"
_BATCHED = {"rng_bit_generator", "rng_uniform"}


def key_data(seeds: tuple[int, ...], impl: str) -> np.ndarray:
    """The data of ``jax.random.key(seed, impl=impl)`` for the seeds in their order.

    Raises ``ValueError`` for an implementation that JAX does not know.

    >>> key_data((0, 7), "threefry2x32")[1]
    array([0, 7], dtype=uint32)
    """
    if not isinstance(impl, str):
        raise TypeError(f'`impl` must be the name of an implementation of random keys, such as "rbg"; got {impl!r}')
    try:
        jax.eval_shape(lambda: jax.random.key(0, impl=impl))
    except ValueError as error:
        raise ValueError(
            f"`impl` must be an implementation of random keys that JAX knows; got {impl!r}: {error}"
        ) from None
    make = jax.vmap(lambda seed: jax.random.key(seed, impl=impl))
    return np.asarray(jax.random.key_data(make(np.array(seeds, np.int32))))


def must_be_alone(program: Any) -> bool:
    """Whether a closed jaxpr draws what ``vmap`` would make depend on other runs.

    >>> draw = lambda impl: jax.make_jaxpr(lambda seed: jax.random.normal(jax.random.key(seed, impl=impl)))(0)
    >>> must_be_alone(draw("threefry2x32")), must_be_alone(draw("rbg"))
    (False, True)
    """
    return any(
        site.primitive in _BATCHED or any(map(_foreign_key, (*site.equation.outvars, *site.equation.invars)))
        for site in jaxprs.walk(program)
    )


def _foreign_key(variable: Any) -> bool:
    generator = getattr(getattr(variable.aval, "dtype", None), "_impl", None)
    return generator is not None and generator.name != _INDEPENDENT
