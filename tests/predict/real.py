"""Real networks: what the rows of a prediction are in draws of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.predict import _backward, _choice


def draws_of(apply, draw, x, draws, *, of=None):
    """Second moments of the same rows in real initializations, or of sites that ``of`` names, ``[draws, rows]``."""
    program = jax.make_jaxpr(apply)(draw(jax.random.key(0)), x)
    rows = _choice.chosen(program)
    of = of or (lambda site: id(site.equation) in rows)

    @jax.jit
    def one(params):
        seen = []

        def hook(site, *inputs):
            opened = site.primitive in jaxprs.CALLS
            out = site.open(site.bodies[0], *inputs) if opened else site.run(*inputs)
            if of(site):
                seen.extend(jnp.mean(jnp.square(value)) for value in out)
            return out

        opens = frozenset({"scan", "cond", "while"})
        jaxprs.evaluate(program, *jax.tree.leaves(params), *jax.tree.leaves(x), hook=hook, opens=opens)
        return jnp.stack(seen)

    return np.stack([one(draw(jax.random.key(seed))) for seed in range(1, draws + 1)])


def measured(apply, draw, x, draws, *, of=None):
    """Their means over the draws, and the standard errors of these."""
    return _means(draws_of(apply, draw, x, draws, of=of))


def gradients(apply, draw, x, draws):
    """Squared gradients by parameters and at rows for normal cotangents: means over the draws, and standard errors."""
    first, rest = draw(jax.random.key(0)), jax.tree.leaves(x)
    program = jax.make_jaxpr(apply)(first, x)
    reverse, probes = _backward.program(program, jax.tree.leaves(first), rest, _choice.chosen(program))

    @jax.jit
    def one(key):
        of_params, of_cotangents = jax.random.split(key)
        cotangents = [jax.random.normal(of_cotangents, v.aval.shape) for v in program.jaxpr.outvars]
        out = jaxprs.evaluate(reverse, *jax.tree.leaves(draw(of_params)), *rest, *probes.values(), *cotangents)
        return jnp.stack([jnp.mean(jnp.square(v)) for v in out])

    return _means(np.stack([one(jax.random.key(seed)) for seed in range(1, draws + 1)]))


def _means(values):
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))
