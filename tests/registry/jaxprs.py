"""Laws of `jnorm.jaxprs`."""

import jax
import jax.numpy as jnp

from jnorm import jaxprs
from tests.registry import X, add, host

PROGRAM = jax.make_jaxpr(lambda x: jax.nn.gelu(x) * 2)(1.0)


def traced(x: jax.Array) -> list[jax.Array]:
    """The program of `f` for what comes, evaluated."""
    f = lambda x: jnp.sin(jax.nn.gelu(x)) * x
    return jaxprs.evaluate(jax.make_jaxpr(f)(x), x)


add("jaxprs.evaluate", traced, X)
host("jaxprs.bodies", lambda: len(jaxprs.bodies(PROGRAM.eqns[0])))
host("jaxprs.line", lambda: jaxprs.line(PROGRAM.eqns[-1]))
host("jaxprs.walk", lambda: [str(site.primitive) for site in jaxprs.walk(PROGRAM)])


def threaded(x):
    """Values and the sum of all that is on the way."""
    f = lambda x: jnp.sin(jax.nn.gelu(x)) * x
    program = jax.make_jaxpr(f)(x)
    total = lambda site, state, *inputs: (out := site.run(*inputs), state + sum(y.astype(state.dtype) for y in out))
    return jaxprs.thread(program, jnp.zeros_like(x), x, hook=total)


add("jaxprs.thread", threaded, X)
