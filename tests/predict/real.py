"""Real networks: what the rows of a prediction are in draws of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.predict import _choice


def draws_of(apply, draw, x, draws):
    """Second moments of the same rows in real initializations, ``[draws, rows]``."""
    program = jax.make_jaxpr(apply)(draw(jax.random.key(0)), x)
    rows = _choice.chosen(program)

    @jax.jit
    def one(params):
        seen = []

        def hook(site, *inputs):
            opened = site.primitive in jaxprs.CALLS
            out = site.open(site.bodies[0], *inputs) if opened else site.run(*inputs)
            if id(site.equation) in rows:
                seen.extend(jnp.mean(jnp.square(value)) for value in out)
            return out

        opens = frozenset({"scan", "cond", "while"})
        jaxprs.evaluate(program, *jax.tree.leaves(params), *jax.tree.leaves(x), hook=hook, opens=opens)
        return jnp.stack(seen)

    return np.stack([one(draw(jax.random.key(seed))) for seed in range(1, draws + 1)])
