"""Laws of `jnorm.theory`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnorm import activations
from jnorm.sweeps import sweep
from jnorm.theory import (
    closed_forms,
    finite_width,
    fixed_points,
    meanfield,
    mills,
    moments,
    parametrization,
    portraits,
    spectra,
    transforms,
)
from jnorm.theory.moments import Moments
from tests.registry import MEAN, OMEGA, POSITIVE, ROWS, TAU, VAR, add, host, last_to_first

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

# Chaotic networks with biases, so that lengths and correlations are inside their ranges.
CHAOS = 2 * TAU
BIAS = 0.3 * POSITIVE
CORR = np.array([-0.9, 0.3, 0.0, 0.5, 0.98])
KERNELS = (VAR, VAR[::-1], CORR * np.sqrt(VAR * VAR[::-1]), POSITIVE)
INPUTS = np.random.default_rng(4).normal(size=(3, 4))


def random_layer(w, b):
    return meanfield.kernel_map(activations.sin, sigma_w=w, sigma_b=b)


for _name in ("length", "slopes", "chi", "correlation", "depth_scales", "trainable_depth"):
    add(
        f"theory.meanfield.{_name}",
        lambda w, b, name=_name: getattr(meanfield, name)(activations.sin, sigma_w=w, sigma_b=b),
        *(CHAOS, BIAS),
    )
add(
    "theory.meanfield.correlation_map",
    lambda c, w, b: meanfield.correlation_map(activations.sin, sigma_w=w, sigma_b=b)(c),
    *(CORR, CHAOS, BIAS),
)
add("theory.meanfield.critical_line", lambda b: meanfield.critical_line(activations.sin, sigma_b=b), BIAS)
host(
    "theory.meanfield.phase_diagram",
    lambda: meanfield.phase_diagram(activations.sin, sigma_w=[0.5, 1.5, 2.5], sigma_b=[0.1, 0.8]),
)
add(
    "theory.meanfield.kernel_map",
    lambda *x: random_layer(*x[4:])(meanfield.Kernels(*x[:4])),
    *(*KERNELS, TAU, BIAS),
    nan="each kernel depends on some of the arguments",
)
add(
    "theory.meanfield.residual",
    lambda *x: meanfield.residual(random_layer(1.2, 0.1), scale=x[4])(meanfield.Kernels(*x[:4])),
    *(*KERNELS, POSITIVE),
    nan="each kernel depends on some of the arguments",
)
add(
    "theory.meanfield.layer_norm",
    lambda *x: meanfield.layer_norm(random_layer(1.2, 0.1))(meanfield.Kernels(*x)),
    *KERNELS,
    nan="each kernel depends on some of the arguments",
)
add(
    "theory.meanfield.inputs",
    lambda x1, x2: meanfield.inputs(x1, x2, sigma_w=1.5, sigma_b=0.2),
    *(ROWS, ROWS[::-1]),
    nan="each kernel depends on some of the arguments",
)
add(
    "theory.meanfield.propagate",
    lambda *x: last_to_first(meanfield.propagate(random_layer(1.2, 0.1), meanfield.Kernels(*x), 3)),
    *KERNELS,
    nan="each kernel depends on some of the arguments",
)
add("theory.meanfield.growth", lambda q: last_to_first(meanfield.growth(random_layer(1.2, 0.1), q, 3)), VAR)
for _kernel in (meanfield.nngp, meanfield.ntk):
    add(
        f"theory.meanfield.{_kernel.__name__}",
        lambda x, kernel=_kernel: kernel(random_layer(1.2, 0.1), depth=2)(x, INPUTS.astype(x.dtype)),
        ROWS,
    )
add(
    "theory.meanfield.batch_norm_growth",
    lambda a: meanfield.batch_norm_growth(partial(activations.leaky_relu, negative_slope=a)),
    POSITIVE,
)

# Singular values of few layers, near enough to one for float32.
DEPTH = np.array([2.0, 3.0, 4.0, 2.0, 3.0])
add(
    "theory.spectra.moments",
    lambda w, b: spectra.moments(activations.sin, depth=2, sigma_w=w, sigma_b=b),
    *(TAU, BIAS),
)
add(
    "theory.spectra.support",
    lambda w, b: spectra.support(activations.sin, depth=2, sigma_w=w, sigma_b=b).largest,
    *(TAU, BIAS),
)
add(
    "theory.spectra.density",  # without the error, which is rounding
    lambda s, w, b: spectra.density(activations.sin, s, depth=2, sigma_w=w, sigma_b=b).value,
    *(POSITIVE, CHAOS, BIAS),
)
add(
    "theory.spectra.critical_point",
    lambda depth, var: spectra.critical_point(activations.sin, depth=depth, var=var).length,
    *(DEPTH, 0.1 * POSITIVE),
)
host("theory.spectra.isometry", lambda: spectra.isometry(activations.sin))
UNITS = np.array([16.0, 40.0, 25.0, 64.0, 100.0])
TOLERANCES = np.array([0.3, 0.5, 0.4, 0.21, 0.13])
ALONE = "the limit does not depend on the width"
add("theory.finite_width.sparse", finite_width.sparse, np.array([0.1, 0.5, 0.3, 0.2, 0.4]))
add(
    "theory.finite_width.layer_law",
    lambda q, n, b, r: finite_width.layer_law(activations.gelu, q, width=n, sigma_b=b, weights="uniform", ratio=r),
    *(VAR, UNITS, 0.1 * POSITIVE, 1 + POSITIVE),
    nan=ALONE,
)
add(
    "theory.finite_width.length_law",
    lambda q, n, w, b: last_to_first(
        finite_width.length_law(activations.sin, width=n, depth=2, sigma_w=w, sigma_b=b, length=q, weights="uniform")
    ),
    *(VAR, UNITS, CHAOS, BIAS),
    nan=ALONE,
)
add(
    "theory.finite_width.reach",
    lambda n, t, w, b: finite_width.reach(
        activations.sin, width=n, tolerance=t, sigma_w=w, sigma_b=b, length=0.1, deepest=3
    ),
    *(UNITS, TOLERANCES, CHAOS, BIAS),
    gradient="counts",
)
add(
    "theory.finite_width.smallest_width",
    lambda t, w, b: finite_width.smallest_width(activations.sin, depth=2, tolerance=t, sigma_w=w, sigma_b=b),
    *(TOLERANCES, CHAOS, BIAS),
    gradient="counts",
)
add(
    "theory.finite_width.smallest_fan_in",
    lambda t, q: finite_width.smallest_fan_in(activations.sin, tolerance=t, length=q),
    *(0.1 * TOLERANCES, VAR),
    gradient="counts",
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

add(
    "theory.transforms.hermite",
    lambda a: last_to_first(transforms.hermite(partial(activations.leaky_relu, negative_slope=a), 4)),
    POSITIVE,
)
host("theory.transforms.self_normalizing", lambda: transforms.self_normalizing(activations.tanh, rate=0.9))
host("theory.transforms.gaussian_poincare", lambda: transforms.gaussian_poincare(activations.tanh))
host(
    "theory.transforms.deep_kernel_shaping",
    lambda: transforms.deep_kernel_shaping(activations.tanh, transforms.chain(9)),
)
host("theory.transforms.tailored", lambda: transforms.tailored(activations.tanh, transforms.chain(9)))
host("theory.transforms.tailored_leaky_relu", lambda: transforms.tailored_leaky_relu(transforms.chain(9)))
host("theory.transforms.for_depth", lambda: transforms.for_depth(activations.tanh, 9.0))
host("theory.transforms.budget", lambda: transforms.budget(activations.tanh))
host("theory.transforms.graph", lambda: transforms.graph([0, {0: 0.3, 1: 0.7}])(1.0, lambda slope: 1.1 * slope))
host("theory.transforms.chain", lambda: transforms.chain(3)(1.0, lambda slope: 1.1 * slope))
host("theory.transforms.residual", lambda: transforms.residual(3, shortcut=0.6)(1.0, lambda slope: 1.1 * slope))
