"""Weight norm and standardization: published formulas, Flax, exact sums at every scale, gains against closed forms."""

from functools import partial

import flax.linen
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jnorm import activations
from jnorm.nn import weight_norm
from jnorm.nn.weight_norm import PolarKernel, exact_gain, init_from_data, standardize
from jnorm.theory.moments import Moments, layer_map

pytestmark = pytest.mark.usefixtures("unoptimized")

SHAPES = [((6, 4), -1), ((3, 3, 5, 4), -1), ((4, 6), 0), ((2, 5, 3, 4), (0, 3)), ((5, 4), ())]
EPS = {jnp.float32: 2.0**-23, jnp.float64: 2.0**-52, jnp.bfloat16: 2.0**-8}


def normal(seed, shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def over_inputs(kernel, axis):
    outputs = {int(a) % kernel.ndim for a in np.atleast_1d(axis)}
    return tuple(a for a in range(kernel.ndim) if a not in outputs)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", EPS)
def test_init_and_apply_give_the_kernel_back(shape, axis, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        kernel = normal(0, shape, dtype)
        params, again = jax.jit(lambda k: (p := weight_norm.init(k, axis=axis), weight_norm.apply(p, axis=axis)))(
            kernel
        )
        assert params.scale.dtype == again.dtype == dtype
        # The scale is rounded to dtype, and so is the result.
        np.testing.assert_allclose(np.float64(again), np.float64(kernel), rtol=4 * EPS[dtype])


def test_equals_flax():
    x, kernel = normal(1, (7, 6)), normal(2, (6, 4))
    layer = flax.linen.WeightNorm(flax.linen.Dense(4, use_bias=False))
    scale = jnp.array([1.0, 2.0, 0.5, 3.0])
    # Flax files the wrapped layer beside the wrapper; its own init says under which names.
    variables = layer.init(jax.random.key(0), x)
    by_shape = {(6, 4): kernel, (4,): scale}
    variables = jax.tree.map(lambda v: by_shape[v.shape], variables)
    expected = layer.apply(variables, x)
    np.testing.assert_allclose(x @ weight_norm.apply(PolarKernel(kernel, scale)), expected, rtol=1e-5, atol=1e-5)


def plain(direction, scale):
    return direction * (scale / jnp.sqrt(jnp.sum(direction**2, 0)))[None]


def test_gradients_are_those_of_the_paper_and_second_derivatives_of_the_plain_formula(x64):
    v, g, dw = (np.asarray(normal(3 + i, s, jnp.float64)) for i, s in enumerate([(6, 4), (4,), (6, 4)]))
    (got,) = jax.vjp(weight_norm.apply, PolarKernel(v, g))[1](dw)
    norm = np.linalg.norm(v, axis=0)
    dg = np.sum(dw * v, 0) / norm  # Salimans, Kingma 2016, eq. 3
    np.testing.assert_allclose(got.scale, dg, rtol=1e-13)
    np.testing.assert_allclose(got.direction, g / norm * dw - g * dg / norm**2 * v, rtol=1e-12)

    normed = lambda v, g: weight_norm.apply(PolarKernel(v, g))
    f, h = (lambda v, k=k: jnp.sum(jnp.tanh(k(v, g)) * dw) for k in (normed, plain))
    hessian = jax.jit(jax.hessian(h))(v)
    np.testing.assert_allclose(jax.jit(jax.hessian(f))(v), hessian, rtol=0, atol=1e-13 * np.abs(hessian).max())


def plain_standardize(w):
    moved = w - jnp.mean(w, 0, keepdims=True)
    return moved / jnp.sqrt(jnp.sum(moved**2, 0, keepdims=True))


def test_standardization_has_the_derivatives_of_the_plain_formula(x64):
    w, dw = normal(6, (5, 2), jnp.float64), normal(7, (5, 2), jnp.float64)
    f, h = (lambda w, k=k: jnp.sum(jnp.sin(k(w)) * dw) for k in (standardize, plain_standardize))
    for derivative in (jax.grad, jax.hessian, lambda k: jax.jacfwd(jax.hessian(k))):
        exact = jax.jit(derivative(h))(w)
        np.testing.assert_allclose(jax.jit(derivative(f))(w), exact, rtol=0, atol=1e-12 * np.abs(exact).max())


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-30, 100.0), (1e30, -3.0)])
def test_standardized_weights_have_their_sums(shape, axis, dtype, scale, shift):
    with jax.enable_x64(dtype == jnp.float64):
        kernel = ((normal(8, shape) + shift) * scale).astype(dtype)
        axes = over_inputs(kernel, axis)
        got = np.float64(jax.jit(lambda k: standardize(k, gain=1.5, axis=axis))(kernel))
        n = np.prod([shape[a] for a in axes])
        # Each of n terms of size 1.5/sqrt n is rounded to dtype.
        np.testing.assert_allclose(got.sum(axes), 0, atol=2 * 1.5 * np.sqrt(n) * EPS[dtype])
        np.testing.assert_allclose((got**2).sum(axes), 1.5**2, rtol=8 * EPS[dtype])


def test_no_factor_and_no_shift_matters():
    kernel = normal(9, (64, 8))
    reference = weight_norm.apply(PolarKernel(kernel, jnp.ones(8)))
    slope = jax.jit(jax.grad(lambda k: weight_norm.apply(PolarKernel(k, jnp.ones(8)))[0].sum()))
    for factor in (2.0**-100, 2.0**80):  # exact in floating point; squares would leave float32's range
        np.testing.assert_array_equal(weight_norm.apply(PolarKernel(kernel * factor, jnp.ones(8))), reference)
        # The last correction of the mean, some 2^-24 of a weight, may be subnormal and flushed.
        np.testing.assert_allclose(standardize(kernel * factor), standardize(kernel), rtol=0, atol=1e-8)
        np.testing.assert_allclose(slope(kernel * factor) * factor, slope(kernel), rtol=1e-6)
        np.testing.assert_allclose(weight_norm.init(kernel * factor).scale, weight_norm.init(kernel).scale * factor)


def test_dead_outputs_are_zero_and_without_derivative():
    kernel = normal(10, (5, 3)).at[:, 1].set(0)
    equal = kernel.at[:, 1].set(0.1)  # whose mean is not .1 after rounding
    for call, w in ((lambda k: weight_norm.apply(PolarKernel(k, jnp.ones(3))), kernel), (standardize, equal)):
        value, jacobian, second = jax.jit(lambda w, f=call: (f(w), jax.jacrev(f)(w), jax.jacfwd(jax.jacrev(f))(w)))(w)
        assert np.all(value[:, 1] == 0)
        assert np.all(jacobian[:, 1] == 0)
        assert np.all(np.isfinite(jacobian))
        assert np.all(np.isfinite(second))
    assert weight_norm.init(kernel).scale[1] == 0


def test_each_output_has_its_gain_and_lanes_are_independent():
    kernels = normal(11, (3, 6, 4))
    gains = jnp.arange(12.0).reshape(3, 4)
    stacked = jax.jit(jax.vmap(lambda k, g: standardize(k, gain=g)))(kernels, gains)
    np.testing.assert_allclose(stacked, standardize(kernels, gain=gains, axis=(0, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(stacked, axis=1), gains, rtol=1e-6)
    bad = standardize(kernels[0].at[2, 1].set(np.nan))
    assert np.isnan(bad[:, 1]).all()
    assert np.isfinite(np.delete(bad, 1, 1)).all()


def test_init_from_data_standardizes_the_outputs():
    x = 5 + normal(12, (50, 8, 8, 3))
    kernel = normal(13, (3, 3, 3, 6))
    dimensions = ("NHWC", "HWIO", "NHWC")
    layer = lambda k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=dimensions)
    params, bias = init_from_data(weight_norm.init(kernel), layer)
    z = np.float64(layer(weight_norm.apply(params)) + bias.reshape(1, 1, 1, 6))
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-5)  # mean/std is about 5: some tens of roundings
    np.testing.assert_allclose(z.var((0, 1, 2)), 1, rtol=1e-5)


def test_gains_against_closed_forms(x64):
    pi = mpmath.pi
    exact = {
        activations.relu: mpmath.sqrt(2 / (1 - 1 / pi)),
        activations.identity: mpmath.mpf(1),
        activations.selu: mpmath.mpf(1),
        activations.erf: 1 / mpmath.sqrt(2 / pi * mpmath.asin(mpmath.mpf(2) / 3)),
        activations.sin: 1 / mpmath.sqrt((1 - mpmath.exp(-2)) / 2),
    }
    for phi, value in exact.items():
        assert abs(jax.jit(lambda p=phi: exact_gain(p))() / float(value) - 1) < 1e-10, (
            phi
        )  # the quadrature's stated accuracy
    for q in (0.25, 4.0):  # relu and the identity are homogeneous
        assert abs(exact_gain(activations.relu, var=q) / float(exact[activations.relu]) - 1) < 1e-10


def test_gains_against_published_estimates():
    # dm-haiku / deepmind-research nfnets, base.py, estimated there from samples: they agree to about 1e-3.
    published = {
        activations.gelu: 1.7015043497085571,
        activations.relu: 1.7139588594436646,
        activations.silu: 1.7881293296813965,
        activations.tanh: 1.5939117670059204,
        activations.softplus: 1.9203323125839233,
        activations.sigmoid: 4.803835391998291,
        activations.softsign: 2.338853120803833,
        partial(activations.leaky_relu, negative_slope=0.01): 1.70590341091156,
    }
    for phi, value in published.items():
        assert abs(float(jax.jit(lambda p=phi: exact_gain(p))()) / value - 1) < 3e-3, phi


@pytest.mark.parametrize("phi", [activations.gelu, activations.hard_tanh, activations.selu])
def test_the_gain_makes_a_fixed_point_of_the_variance(phi):
    var = jnp.array([0.3, 1.0, 4.0])
    gain = jax.jit(lambda v: exact_gain(phi, var=v))(var)
    nu = var / gain**2  # of the activations; rows of sum 0 and sum of squares gain^2 turn it into var again
    mapped = jax.jit(lambda t, n: layer_map(phi, omega=0.0, tau=t)(Moments(jnp.full(3, 0.7), n)))(gain**2, nu)
    np.testing.assert_allclose(mapped.var, nu, rtol=1e-5)


def test_gains_broadcast_and_differentiate(x64):
    var = jnp.array([0.5, 1.0, 2.0])
    gain = lambda v: exact_gain(activations.tanh, var=v)
    swept = jax.jit(gain)(var)
    np.testing.assert_allclose(jax.jit(jax.vmap(gain))(var), swept, rtol=1e-13)
    h = 1e-5
    difference = jnp.diff(jax.jit(gain)(jnp.array([1 - h, 1 + h])))[0] / (2 * h)
    # h^2 f'''/6 ~ 1e-11 and eps/h ~ 1e-11.
    np.testing.assert_allclose(jax.jit(jax.grad(gain))(1.0), difference, rtol=1e-9)
    # A phi that closes over a traced slope: leaky relu's Var is (1 + s^2)/2 - (1 - s)^2/(2 pi).
    slope = jax.jit(jax.grad(lambda s: exact_gain(lambda z: jnp.where(z > 0, z, s * z)) ** -2))(0.1)
    np.testing.assert_allclose(slope, 0.1 + 0.9 / np.pi, rtol=1e-9)


def test_a_constant_activation_has_an_infinite_gain():
    assert np.isinf(exact_gain(jnp.zeros_like))


def test_bad_input_raises():
    kernel = jnp.ones((3, 4))
    for call in (weight_norm.init, standardize, lambda k, **o: weight_norm.apply(PolarKernel(k, jnp.ones(4)), **o)):
        with pytest.raises(TypeError, match=r"`(kernel|params\.direction)` must have a real floating dtype; got int32"):
            call(kernel.astype(int))
        with pytest.raises(ValueError, match=r"`axis` must satisfy -2 <= axis < 2 .*; got 2"):
            call(kernel, axis=2)
    shapes = r"must be a scalar or have the shape of the outputs, \(4,\); got \(3,\)"
    with pytest.raises(ValueError, match="`gain` " + shapes):
        standardize(kernel, gain=jnp.ones(3))
    with pytest.raises(ValueError, match="`params.scale` " + shapes):
        weight_norm.apply(PolarKernel(kernel, jnp.ones(3)))
    with pytest.raises(
        ValueError, match=r"`kernel` must have at least two weights for each output; got shape \(1, 4\)"
    ):
        standardize(jnp.ones((1, 4)))
    with pytest.raises(ValueError, match=r"`var` must satisfy var > 0; got -1\.0"):
        exact_gain(jnp.tanh, var=-1.0)
