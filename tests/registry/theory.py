"""Laws of `jnorm.theory`."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from jnorm import activations
from jnorm.sweeps import sweep
from jnorm.theory import closed_forms, fixed_points, meanfield, mills, moments, parametrization, portraits
from jnorm.theory.moments import Moments
from tests.registry import MEAN, OMEGA, POSITIVE, TAU, VAR, add, host, last_to_first

SELU = partial(moments.layer_map, activations.selu)
SIN = partial(moments.layer_map, activations.sin)  # compiles sooner


def shifted(**weights):
    """A map whose activation is written anew in each call."""
    return moments.layer_map(lambda z: jnp.tanh(z) + 0.2, **weights)


for _name in ("identity", "relu", "elu", "celu", "selu", "leaky_relu", "sin", "scaled_elu"):
    add(f"theory.closed_forms.{_name}", getattr(closed_forms, _name), MEAN, VAR)
add(
    "theory.closed_forms.scaled_elu",
    lambda mean, var, lam, alpha: closed_forms.scaled_elu(mean, var, lam=lam, alpha=alpha),
    *(MEAN, VAR, TAU, POSITIVE),
)
add(
    "theory.mills.differences",
    mills.differences,
    *(POSITIVE, POSITIVE + 0.3, POSITIVE + 0.7),
    nan="each value depends on some of the arguments",
)
add("theory.mills.erfcx", mills.erfcx, MEAN)
add(
    "theory.fixed_points.selu_constants",
    lambda m, v, w, t: fixed_points.selu_constants(m, v, omega=w, tau=t),
    0.1 * MEAN,
    VAR,
    OMEGA,
    TAU,
)

add("theory.moments.activation_moments", partial(moments.activation_moments, activations.gelu), MEAN, VAR)
add(
    "theory.moments.gradient_factor",
    lambda mean, var, tau: moments.gradient_factor(activations.selu, mean, var, tau=tau),
    *(MEAN, VAR, TAU),
)
add("theory.moments.layer_map", lambda m, v, w, t: SELU(omega=w, tau=t)(Moments(m, v)), MEAN, VAR, OMEGA, TAU)
add(
    "theory.meanfield.layer_map",
    lambda m, v, w, b: meanfield.layer_map(activations.gelu, sigma_w=w, sigma_b=b)(Moments(m, v)),
    *(MEAN, VAR, TAU, POSITIVE),
)

add(
    "theory.fixed_points.solve",  # without the residual, which is rounding
    lambda m, v, w, t: fixed_points.solve(shifted(omega=w, tau=1.5 * t), Moments(m, v))[:2],
    *(0.1 * MEAN, VAR, OMEGA, TAU),
)
host(
    "theory.fixed_points.solve_all",
    lambda: fixed_points.solve_all(SIN(omega=0.9, tau=1.5), (Moments(-1.0, 0.1), Moments(1.0, 2.0)), cells=8),
)
add(
    "theory.fixed_points.iterate",
    lambda m, v, t: last_to_first(fixed_points.iterate(SIN(omega=0.9, tau=t), Moments(m, v), 3)),
    *(MEAN, VAR, TAU),
)
add(
    "theory.fixed_points.stability",
    lambda m, v, w, t: fixed_points.stability(SIN(omega=w, tau=t), Moments(m, v)),
    *(MEAN, VAR, OMEGA, TAU),
)
add(
    "theory.portraits.vector_field",
    lambda tau: portraits.vector_field(
        SIN(omega=0.9, tau=tau[..., None, None]), MEAN.astype(tau.dtype), VAR.astype(tau.dtype)
    )[2:],
    TAU,
)
add(
    "theory.portraits.trajectories",
    lambda m, v, t: portraits.trajectories(SIN(omega=0.9, tau=t), Moments(m, v), 3),
    *(MEAN, VAR, TAU),
    nan="a path rests at its last finite point",
)
add(
    "theory.portraits.basin",
    lambda m, v: portraits.basin(SIN(tau=1.5), Moments(m, v), Moments(0.0, 1.0), depth=60),
    *(MEAN, VAR),
    gradient="counts",
    dtype="counts",
)


def drawn_line(key, width):
    first, second = jax.random.split(key)
    return {"first": jax.random.normal(first, (2, width)), "readout": jax.random.normal(second, (width, 1))}


def trial(width):
    scaled = parametrization.parametrize(drawn_line, width, base=2, rule="u-mup", optimizer="sgd")
    apply = lambda params, x: x @ params["first"] @ params["readout"]
    optimizer = optax.chain(optax.sgd(0.01), scaled.rates())
    init = lambda key: scaled.initial(drawn_line(key, width))
    return parametrization.Trial(init, apply, optimizer, scaled.weights)


def drawn_and_scaled():
    scaled = parametrization.parametrize(drawn_line, 8, base=2)
    return str(scaled), scaled.rate, scaled.initial(drawn_line(jax.random.key(0), 8))


host("theory.parametrization.parametrize", drawn_and_scaled)
host(
    "theory.parametrization.coord_check",
    lambda: parametrization.coord_check(
        trial,
        optax.squared_error,
        (jnp.ones((3, 2)), jnp.ones((3, 1))),
        widths=(2, 4),
        sweep=partial(sweep, chunk=2),
        seeds=2,
        steps=1,
    ),
)
