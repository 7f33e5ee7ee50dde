"""Random keys of a stated kind, and which programs draw numbers that depend on what is beside them.

Draws of threefry2x32 are those of the key alone. Those of ``rbg`` and ``unsafe_rbg`` under ``vmap`` come from the first
key of the batch, whatever the others are: runs side by side would not be the runs that they are alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.extend.core as jex
import numpy as np

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
    seen: set[int] = set()
    open_programs = [program.jaxpr]
    while open_programs:
        jaxpr = open_programs.pop()
        if id(jaxpr) in seen:
            continue
        seen.add(id(jaxpr))
        for equation in jaxpr.eqns:
            if equation.primitive.name in _BATCHED or any(_foreign_key(v) for v in equation.outvars + equation.invars):
                return True
            open_programs += _programs(equation.params)
    return False


def _foreign_key(variable: Any) -> bool:
    generator = getattr(getattr(variable.aval, "dtype", None), "_impl", None)
    return generator is not None and generator.name != _INDEPENDENT


def _programs(value: Any) -> Iterator[Any]:
    """The programs that parameters of an operation hold."""
    if isinstance(value, jex.ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, jex.Jaxpr):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _programs(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _programs(inner)
