"""Laws of `jnorm.measure.curvature`."""

import jax
import jax.numpy as jnp
import optax

from jnorm.measure import curvature
from tests.registry import BATCHES, POSITIVE, ROWS, add, each, host

RATES = {"rate": POSITIVE, "momentum": POSITIVE / 4}
STILL = {"gradient": "eigenvalues are not differentiated"}
PLAIN = jnp.asarray(ROWS[:3, :3], jnp.float32)
DATA = (jnp.asarray(BATCHES[0], jnp.float32), jnp.asarray([0, 1, 2, 2, 1, 0]))


def toy(w):
    return jnp.sum(w**4) - w[0] * w[1]


def summed(w, x):
    """A loss with a saddle, a lane of parameters and one number."""
    return jnp.sum(jnp.cos(w * x)) + (jnp.sum(w) * x) ** 2


def cross_entropy(outputs, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], 1)[:, 0]


def linear(w, x):
    return x @ w


def of_examples(w, data):
    return cross_entropy(linear(w, data[0]), data[1])


def at(w, x):
    return curvature.hessian(lambda w: summed(w, x), w)


add("measure.curvature.stability_threshold", lambda r, m: curvature.stability_threshold(r, momentum=m), *RATES.values())
add("measure.curvature.hessian", each(lambda w, x: at(w, x).dense()), ROWS, POSITIVE, gradient="a matrix of its own")
add(
    "measure.curvature.eigenpairs",
    each(lambda w, x: curvature.eigenpairs(at(w, x), top=2, bottom=1)[0]),
    *(ROWS, POSITIVE),
    **STILL,
)
add(
    "measure.curvature.classify_critical_point",
    each(lambda w, x: curvature.classify_critical_point(lambda w: summed(w, x), w)._replace(threshold=x)),
    *(ROWS, POSITIVE),
    **STILL,
    nan="the threshold is that which was given",
)
add(
    "measure.curvature.condition_number",
    each(lambda w, x: 1 / curvature.condition_number(at(w, x)).value),
    ROWS,
    POSITIVE,
    **STILL,
)

host("measure.curvature.operator", lambda: curvature.operator(lambda v: PLAIN @ v, jnp.zeros(3)).dense())
host("measure.curvature.gauss_newton", lambda: curvature.gauss_newton(linear, cross_entropy, PLAIN, DATA).dense())
host("measure.curvature.fisher", lambda: curvature.fisher(linear, "categorical", PLAIN, DATA[0], microbatch=4).dense())
host("measure.curvature.empirical_fisher", lambda: curvature.empirical_fisher(of_examples, PLAIN, DATA).dense())
host("measure.curvature.scaled", lambda: curvature.scaled(curvature.hessian(toy, PLAIN[0]), PLAIN[1]).dense())
host("measure.curvature.rescaled", lambda: curvature.rescaled(curvature.hessian(toy, PLAIN[0])).dense())
host(
    "measure.curvature.preconditioned",
    lambda: curvature.preconditioned(
        curvature.hessian(toy, PLAIN[0]), optax.scale_by_rss().init(PLAIN[0]), eps=1e-7
    ).dense(),
)
host(
    "measure.curvature.block",
    lambda: curvature.block(curvature.hessian(lambda p: toy(p["a"]) * p["b"], {"a": PLAIN[0], "b": 2.0}), "a").dense(),
)
host("measure.curvature.spectral_density", lambda: curvature.spectral_density(at(PLAIN[0], 1.0), order=3))
host("measure.curvature.trace", lambda: curvature.trace(at(PLAIN[0], 1.0), sketch=1))
host("measure.curvature.hessian_spectrum", lambda: curvature.hessian_spectrum(of_examples, PLAIN, DATA))
host("measure.curvature.saddle_escape", lambda: curvature.saddle_escape(toy, jnp.zeros(3)))
host("measure.curvature.find_critical_point", lambda: curvature.find_critical_point(toy, PLAIN[0]))

UNSEEN = {"nans": "there are no eigenvalues before the first step"}
TRACKER = curvature.tracking(lambda w: curvature.hessian(toy, w))


AFTER = jax.jit(lambda w: TRACKER.update(w, TRACKER.init(w), w)[1])


def tracked():
    """The state after a step."""
    return AFTER(PLAIN[0])


host("measure.curvature.tracking", tracked, **UNSEEN)
host("measure.curvature.tracked", lambda: curvature.tracked(tracked()), **UNSEEN)
host(
    "measure.curvature.tracked_sharpness",
    lambda: curvature.tracked_sharpness(type("Step", (), {"optimizer_state": tracked()})),
    **UNSEEN,
)
host("measure.curvature.start_tracking", lambda: curvature.start_tracking(PLAIN[0]).vectors, **UNSEEN)
host(
    "measure.curvature.track",
    lambda: curvature.track(curvature.hessian(toy, PLAIN[0]), curvature.start_tracking(PLAIN[0])),
    **UNSEEN,
)
