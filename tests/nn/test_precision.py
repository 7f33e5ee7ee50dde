"""Half precision stays half where a network learns, is summed in float32, and float32 is as precise as one asks."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnorm import activations, initializers
from jnorm.interop import flax_linen, flax_nnx
from jnorm.nn import batch_norm, networks, weight_norm
from jnorm.nn._products import matmul
from jnorm.nn.convolution import convolve
from jnorm.nn.layers import Layer
from tests.thorough import beside

HALVES = (jnp.bfloat16, jnp.float16)
KEY = jax.random.key(5)
LAYER = Layer(activations.tanh, initializers.lecun_normal(), initializers.normal(0.3))
DENSE = {
    "mlp": networks.mlp((6, 8, 8, 3), LAYER),
    "residual": networks.residual(6, 3, units=8, blocks=2, layer=LAYER),
    "highway": networks.highway(6, 3, units=8, depth=2, layer=LAYER),
    "weight norm": networks.mlp((6, 8, 3), LAYER._replace(weights=weight_norm, normalizer=batch_norm)),
}
IMAGES = {
    method: networks.cnn((2, 4, 4), 3, LAYER, strides=(2, 1), method=method) for method in ("auto", "im2col", "lax")
}


class Linen(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, train):
        x = flax_linen.BatchNorm(use_running_average=not train, dtype=self.dtype)(nn.Dense(8, dtype=self.dtype)(x))
        standard = flax_linen.WeightStandardization(nn.Dense(3, dtype=self.dtype))
        return standard(flax_linen.AlphaDropout(0.1, deterministic=not train)(x))


class Nnx(nnx.Module):
    def __init__(self, dtype, rngs):
        self.first, self.norm = nnx.Linear(6, 8, dtype=dtype, rngs=rngs), flax_nnx.BatchNorm(8, dtype=dtype, rngs=rngs)
        self.last = flax_nnx.WeightStandardization(nnx.Linear(8, 3, dtype=dtype, rngs=rngs), rngs=rngs)

    def __call__(self, x):
        return self.last(self.norm(self.first(x)))


def folded(params, x):
    """A layer with a batch norm folded into it."""
    norm, state = batch_norm.init(8)
    kernel, bias = batch_norm.fold(norm, state, params["kernel"], params["bias"], norm="after")
    layer = networks.mlp((6, 8), LAYER)
    return layer.apply([{"kernel": kernel, "bias": bias}], [()], x, train=True)[0]


def models(dtype):
    """What computes outputs from parameters and inputs, by name, with parameters and inputs."""
    x, images = jnp.ones((4, 6), dtype), jnp.ones((4, 6, 6, 2), dtype)
    flax = {
        "linen": flax_linen.network(Linen(dtype), x),
        "nnx": flax_nnx.network(partial(Nnx, dtype)),
    }
    for name, network in (DENSE | IMAGES | flax).items():
        params, state = jax.eval_shape(network.init, KEY)

        def run(params, x, network=network, state=state):
            state = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), state)
            return network.apply(params, state, x, train=True, key=KEY)[0]

        yield name, run, params, images if name in IMAGES else x
    yield "folded", folded, jax.eval_shape(networks.mlp((6, 8), LAYER).init, KEY)[0][0], x


def products(function, *args, platform="cuda"):
    """The types of both operands of every product in the program for a platform, and what stands there of precision."""
    text = jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()
    lines = [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|convolution|dot)\b", line)]
    types = [re.search(r": \(tensor<(?:\d+x)*(\w+)>, tensor<(?:\d+x)*(\w+)>\)", line).groups() for line in lines]
    return types, [re.findall("HIGHEST", line) for line in lines]


def mean_square(run):
    return lambda params, x: jnp.mean(run(params, x).astype(jnp.float32) ** 2)


def lanes(args):
    """Three of each, side by side."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((3, *a.shape), a.dtype), args)


def test_every_product_of_a_gradient_in_half_precision_is_one_of_halves():
    wide = {name: rest for name, *rest in models(jnp.float32)}
    for name, run, params, x in models(jnp.bfloat16):
        gradient = jax.grad(mean_square(run))
        types = products(gradient, params, x)[0]
        assert set(types) == {("bf16", "bf16")}, name
        # And no more of them than in float32: none with a tangent that is zero, say.
        run, params, x = wide[name]
        assert len(types) == len(products(jax.grad(mean_square(run)), params, x)[0]), name


@pytest.mark.parametrize("dtype", beside([jnp.bfloat16], HALVES))
def test_so_is_every_product_of_a_gradient_under_vmap(dtype):
    for name, run, params, x in models(dtype):
        types = set(products(jax.vmap(jax.grad(mean_square(run))), *lanes((params, x)))[0])
        assert types == {("bf16" if dtype == jnp.bfloat16 else "f16",) * 2}, name


def test_so_is_every_product_of_other_derivatives():
    for name, run, params, x in models(jnp.bfloat16):
        if name not in ("mlp", "auto"):
            continue
        loss = mean_square(run)
        ways = {
            "jvp": lambda p, x, run=run: jax.jvp(run, (p, x), (p, x))[1],
            "to the input": jax.grad(loss, 1),
            "Hessian times vector": lambda p, x, loss=loss: jax.jvp(jax.grad(loss), (p, x), (p, x))[1],
            "gradient penalty": jax.grad(lambda p, x, loss=loss: jnp.sum(jax.grad(loss, 1)(p, x) ** 2)),
            "checkpoint": jax.grad(jax.checkpoint(loss)),
        }
        for way, derivative in ways.items():
            assert set(products(derivative, params, x)[0]) == {("bf16", "bf16")}, (name, way)


OPERATORS = {
    "matmul": (partial(matmul, precision=None), (300, 64), (64, 5)),
    "im2col": (partial(convolve, method="im2col"), (4, 9, 8, 8), (3, 3, 8, 5)),
    "lax": (partial(convolve, method="lax"), (4, 9, 8, 8), (3, 3, 8, 5)),
}


@pytest.mark.parametrize("dtype", beside([jnp.bfloat16], HALVES))
@pytest.mark.parametrize("name", OPERATORS)
def test_derivatives_are_those_of_double_precision_to_the_rounding_of_cotangent_and_result(name, dtype):
    operator, *shapes = OPERATORS[name]
    rng = np.random.default_rng(0)
    x, kernel, dx, dkernel = (rng.normal(size=shape).astype(dtype) for shape in shapes * 2)
    y = jax.eval_shape(operator, x, kernel)
    cotangent = rng.normal(size=y.shape).astype(y.dtype)

    @jax.jit
    def derivatives(x, kernel, dx, dkernel, cotangent):
        _, pull = jax.vjp(operator, x, kernel)
        return *pull(cotangent), *(jax.jvp(operator, (x, kernel), t)[1] for t in ((dx, 0 * kernel), (0 * x, dkernel)))

    given = x, kernel, dx, dkernel, cotangent
    got = derivatives(*given)
    assert [a.dtype for a in got] == [dtype, dtype, y.dtype, y.dtype]
    with jax.enable_x64(True):
        double = [np.float64(a) for a in given]
        exact, sizes = ([np.asarray(a) for a in derivatives(*values)] for values in (double, map(np.abs, double)))
    unit = float(jnp.finfo(dtype).eps) / 2
    for a, b, size in zip(got, exact, sizes, strict=True):
        # The sum in float32 of at most 300 products (2^-24 each) and the rounding of the result. A product rounds its
        # cotangent, too, and patches that of each tap.
        rounded = 0 if name == "lax" else unit * size
        assert np.all(np.abs(np.float64(a) - b) <= 1.01 * unit * np.abs(b) + rounded + 300 * 2.0**-24 * size)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("method", ["matmul", "im2col", "lax"])
def test_gradients_that_add_up_many_terms_do_so_in_float32(method, dtype):
    # Sums of ones in half precision would stop at 256 or 2048, and each is a power of two.
    images = jnp.ones((1, 64, 64, 1), dtype)
    layer = LAYER._replace(activation=activations.identity, kernel_init=initializers.ones)
    layer = layer._replace(input_init=initializers.ones, readout_init=initializers.ones)
    if method == "matmul":
        images, network = images.reshape(-1, 1), networks.mlp((1, 1), layer)
    else:
        network = networks.cnn((1, 1), 1, layer, strides=1, window=1, method=method)
    params, state = network.init(KEY)
    total = lambda params: jnp.sum(network.apply(params, state, images, train=True)[0].astype(jnp.float32))
    first = jax.jit(jax.grad(total))(params)[0]
    count = 4096 if method == "matmul" else 1  # the network takes the mean over positions
    assert (first["kernel"].ravel(), first["bias"]) == (count, count)


@pytest.mark.parametrize("dtype", beside([jnp.bfloat16], HALVES))
def test_second_derivatives_forward_and_backward(dtype):
    pair = tuple(np.random.default_rng(1).normal(size=s).astype(dtype) for s in ((20, 6), (6, 3)))
    gradient = jax.grad(lambda pair: jnp.sum(jnp.sin(matmul(*pair, None))))
    # The Hessian times the point itself.
    forward = lambda pair: jax.jvp(gradient, (pair,), (pair,))[1]

    def backward(pair):
        slope = lambda moved: sum(jnp.vdot(a.astype(g.dtype), g) for a, g in zip(pair, gradient(moved), strict=True))
        return jax.grad(slope)(pair)

    with jax.enable_x64(True):
        exact = forward(jax.tree.map(jnp.float64, pair))
    for way in (forward, backward):
        for got, value in zip(jax.jit(way)(pair), exact, strict=True):
            # A handful of roundings of sums of up to 20 products of size one.
            np.testing.assert_allclose(np.float64(got), value, rtol=0, atol=30 * float(jnp.finfo(dtype).eps))


def test_the_precision_of_products_is_that_of_the_layer_or_else_of_jax():
    x = {"mlp": jnp.ones((4, 6)), "auto": jnp.ones((4, 6, 6, 2))}

    def asked(precision, name, platform):
        layer = LAYER._replace(precision=precision)
        network = networks.mlp((6, 8, 3), layer) if name == "mlp" else networks.cnn((2, 4), 3, layer)
        params, state = jax.eval_shape(network.init, KEY)
        loss = lambda params, x: jnp.sum(network.apply(params, [()] * len(state), x, train=True)[0])
        return products(jax.value_and_grad(loss, (0, 1)), params, x[name], platform=platform)[1]

    for name, platform in (("mlp", "cuda"), ("auto", "cuda"), ("auto", "cpu")):
        assert not any(asked(None, name, platform)), name
        assert all(len(found) == 2 for found in asked("highest", name, platform)), name
        with jax.default_matmul_precision("highest"):
            assert all(len(found) == 2 for found in asked(None, name, platform)), name
            assert not any(asked("default", name, platform)), name
