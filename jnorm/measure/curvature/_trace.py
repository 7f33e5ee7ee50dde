"""The trace of an operator, with a standard error."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jnorm._ground import checks, keys
from jnorm.measure.curvature._operators import Operator, dot, flat


class Trace(NamedTuple):
    """An estimate of a trace.

    Attributes:
        value: The estimate, without bias.
        standard_error: Its standard error, from the spread of the samples.
    """

    value: jax.Array
    standard_error: jax.Array


def trace(operator: Operator, key: jax.Array | None = None, *, samples: int = 32, sketch: int = 0) -> Trace:
    """The sum of the eigenvalues, from random vectors.

    Hutchinson's estimate is the mean of ``z . A z`` over vectors of random signs. With a sketch (Hutch++) the trace on
    the range of A times ``sketch`` random vectors is taken exactly, and only the rest is sampled: better where few
    eigenvalues are large. Both are without bias, and the standard error counts as many samples as there are.
    It takes ``samples + 2 sketch`` products.
    Source: Hutchinson 1989; Meyer et al. 2021 (arXiv 2010.09649), algorithm 1.

    Args:
        operator: The operator.
        key: A random key; None: ``jax.random.key(0)``.
        samples: Random vectors, at least 2.
        sketch: Vectors of the sketch, fewer than the size.

    Returns:
        The trace.

    Raises:
        ValueError: Counts out of range.

    >>> from jnorm.measure.curvature import operator
    >>> diagonal = jnp.array([3.0, 1.0, -2.0])
    >>> trace(operator(lambda v: diagonal * v, jnp.zeros(3)))  # exact: random signs have squares of one
    Trace(value=Array(2., dtype=float32), standard_error=Array(0., dtype=float32))
    """
    checks.whole(2, samples=samples)
    checks.whole(0, sketch=sketch)
    if sketch >= operator.size:
        raise ValueError(f"`sketch` must be less than the {operator.size} parameters; got {sketch}")
    key = keys.stream(jax.random.key(0) if key is None else key, "measure.trace")
    return _trace(operator, key, samples, sketch)


@partial(jax.jit, static_argnames=("samples", "sketch"))
def _trace(operator: Operator, key: jax.Array, samples: int, sketch: int) -> Trace:
    matvec, _ = flat(operator)
    dtype, size = jnp.result_type(*jax.tree.leaves(operator.like)), operator.size
    first, second = jax.random.split(key)
    signs = lambda key: jax.random.rademacher(key, (size,), dtype)
    form = lambda v: dot(v, matvec(v))
    basis = jnp.zeros((0, size), dtype)
    if sketch:
        images = lax.map(lambda key: matvec(signs(key)), jax.random.split(first, sketch))
        basis = jnp.linalg.qr(images.T)[0].T
    exact = jnp.sum(lax.map(form, basis)) if sketch else jnp.zeros((), dtype)

    def rest(key: jax.Array) -> jax.Array:
        z = signs(key)
        return form(z - dot(dot(basis, z), basis)) if sketch else form(z)

    sampled = lax.map(rest, jax.random.split(second, samples))
    return Trace(exact + jnp.mean(sampled), jnp.std(sampled, ddof=1) / samples**0.5)
