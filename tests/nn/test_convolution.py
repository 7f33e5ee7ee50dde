"""Both convolutions against a direct sum and each other: shapes, strides, paddings, derivatives, precision."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.nn.convolution import convolve

CASES = [  # shape of x, kernel, strides, padding
    ((2, 7, 5, 3), (3, 3, 3, 4), 1, "SAME"),
    ((2, 7, 6, 3), (3, 2, 3, 4), (2, 3), "SAME"),
    ((2, 7, 5, 1), (3, 3, 1, 2), 2, "VALID"),
    ((3, 9, 2), (4, 2, 3), 2, [(1, 3)]),
    ((2, 2, 4, 4, 4, 2), (2, 3, 1, 2, 2), 1, "SAME"),
    ((8, 6, 2), (1, 1, 2, 3), 1, "SAME"),
    ((2, 3, 3, 2), (4, 2, 2, 3), 1, "VALID"),  # the window does not fit: no position
    ((0, 3, 3, 2), (2, 2, 2, 3), 1, "SAME"),
]


def normal(seed, shape, dtype=jnp.float64):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def direct(x, kernel, strides, padding):
    """The sum in the docstring, one output position at a time."""
    window, dims = kernel.shape[:-2], kernel.ndim - 2
    strides = (strides,) * dims if isinstance(strides, int) else strides
    space = x.shape[-dims - 1 : -1]
    if padding == "SAME":
        out = [-(-n // s) for n, s in zip(space, strides, strict=True)]
        total = [max((o - 1) * s + w - n, 0) for o, s, w, n in zip(out, strides, window, space, strict=True)]
        padding = [(t // 2, t - t // 2) for t in total]
    elif padding == "VALID":
        padding = [(0, 0)] * dims
    x = np.pad(x, [(0, 0)] * (x.ndim - dims - 1) + list(padding) + [(0, 0)])
    out = [max((n - w) // s + 1, 0) for n, w, s in zip(x.shape[-dims - 1 : -1], window, strides, strict=True)]
    y = np.zeros((*x.shape[: -dims - 1], *out, kernel.shape[-1]))
    for position in itertools.product(*map(range, out)):
        for tap in itertools.product(*map(range, window)):
            at = tuple(p * s + t for p, s, t in zip(position, strides, tap, strict=True))
            y[(..., *position, slice(None))] += x[(..., *at, slice(None))] @ kernel[tap]
    return y


@pytest.mark.parametrize(("shape", "window", "strides", "padding"), CASES)
@pytest.mark.parametrize("method", ["im2col", "lax"])
def test_equals_the_direct_sum(shape, window, strides, padding, method, x64):
    x, kernel = np.asarray(normal(0, shape)), np.asarray(normal(1, window))
    got = jax.jit(partial(convolve, strides=strides, padding=padding, method=method))(x, kernel)
    # At most 36 products of normal numbers: some tens of roundings.
    np.testing.assert_allclose(got, direct(x, kernel, strides, padding), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("shape", "window", "strides", "padding"), CASES[:4])
def test_methods_have_equal_derivatives_of_both_orders(shape, window, strides, padding, x64):
    x, kernel = normal(2, shape), normal(3, window)

    @partial(jax.jit, static_argnums=0)
    def derivatives(method):
        def f(arguments):
            return jnp.sum(jnp.sin(convolve(*arguments, strides=strides, padding=padding, method=method)))

        tangents = jax.tree.map(jnp.cos, (x, kernel))
        return jax.grad(f)((x, kernel)), jax.jvp(jax.grad(f), ((x, kernel),), (tangents,))[1]

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), derivatives("im2col"), derivatives("lax"))


@pytest.mark.parametrize("method", ["im2col", "lax"])
def test_a_kernel_for_every_seed(method):
    x, kernels = normal(4, (3, 2, 6, 6, 2), jnp.float32), normal(5, (3, 3, 3, 2, 4), jnp.float32)
    call = partial(convolve, method=method, precision="highest")
    batched = jax.jit(jax.vmap(call))(x, kernels)
    for i in range(3):
        np.testing.assert_allclose(batched[i], call(x[i], kernels[i]), rtol=0, atol=1e-5)  # 18 products in float32


def test_auto_is_one_of_the_two():
    x, kernel = normal(6, (2, 6, 6, 2), jnp.float32), normal(7, (3, 3, 2, 4), jnp.float32)
    method = "im2col" if jax.default_backend() == "cpu" else "lax"
    np.testing.assert_array_equal(convolve(x, kernel), convolve(x, kernel, method=method))


@pytest.mark.parametrize("method", ["im2col", "lax"])
def test_half_precision_is_rounded_once(method):
    x, kernel = normal(8, (2, 6, 6, 16), jnp.bfloat16), normal(9, (3, 3, 16, 4), jnp.bfloat16)
    exact = direct(np.float64(x), np.float64(kernel), 1, "SAME")
    got = convolve(x, kernel.astype(jnp.float32), method=method)
    assert got.dtype == jnp.bfloat16
    # Half a unit of bfloat16's 8 bits, and the float32 rounding of sums of 144 products of size one.
    np.testing.assert_allclose(np.float64(got), exact, rtol=2.0**-8, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["im2col", "lax"])
def test_the_highest_precision_is_float32_on_a_gpu(method):
    x, kernel = normal(10, (2, 16, 16, 64), jnp.float32), normal(11, (3, 3, 64, 64), jnp.float32)
    exact = direct(np.float64(x), np.float64(kernel), 1, "SAME")
    got = convolve(x, kernel, method=method, precision="highest")
    np.testing.assert_allclose(got, exact, rtol=0, atol=5e-4)  # TF32 is off by .05


def test_bad_input_raises():
    x, kernel = jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 4))
    with pytest.raises(ValueError, match="`method` must be one of auto, im2col, lax; got 'fft'"):
        convolve(x, kernel, method="fft")
    with pytest.raises(ValueError, match="`padding` must be one of SAME, VALID; got 'same'"):
        convolve(x, kernel, padding="same")
    with pytest.raises(ValueError, match="`padding` must have a pair for each of 2 axes"):
        convolve(x, kernel, padding=[(1, 1)])
    for strides in (0, (1, 1, 1)):
        with pytest.raises(ValueError, match="`strides` must be positive, one for all or each of 2 axes; got"):
            convolve(x, kernel, strides=strides)
    for bad in (jnp.ones((2, 5, 5, 4)), jnp.ones((5, 3))):
        with pytest.raises(ValueError, match=r"`x` \[..., \*space, in\] must fit `kernel` \[\*window, in, out\], with"):
            convolve(bad, kernel)
    with pytest.raises(TypeError, match="`x` must have a real floating dtype; got int32"):
        convolve(x.astype(int), kernel)


def test_the_machine_that_runs_the_program_decides_and_not_the_one_that_traces_it():
    """By what `jax.export` lowers for each platform: a program for one holds only its own form."""
    x, kernel = jnp.ones((3, 8, 8, 2), jnp.float32), jnp.ones((3, 3, 3, 2, 4), jnp.float32)
    lanes = jax.vmap(convolve, (None, 0))
    programs = {
        "plain": lambda x, k: convolve(x, k[0]),
        "vmap": lanes,
        "grad": jax.grad(lambda x, k: jnp.sum(jnp.sin(convolve(x, k[0]))), (0, 1)),
        "grad of vmap": jax.grad(lambda x, k: jnp.sum(jnp.sin(lanes(x, k))), (0, 1)),
    }
    for name, program in programs.items():
        for platform in ("cpu", "cuda", "tpu"):
            text = jax.export.export(jax.jit(program), platforms=[platform])(x, kernel).mlir_module()
            assert ("stablehlo.convolution" in text) == (platform != "cpu"), (name, platform)


@pytest.mark.thorough
def test_kernels_with_lanes_are_multiplied_as_patches_on_accelerators_too(monkeypatch):
    """In the program that the compiler makes of what any machine but a CPU runs: the choice itself is folded away."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    x, kernel = normal(12, (3, 1, 5, 5, 2), jnp.float32), normal(13, (3, 2, 2, 2, 4), jnp.float32)
    loss = lambda x, k: jnp.sum(jnp.sin(convolve(x, k)))
    gradient = jax.grad(loss, (0, 1))
    step = lambda x, k: jax.lax.scan(lambda k, _: (k - gradient(x, k)[1], ()), k, length=3)[0]
    programs = {
        "a kernel": (gradient, (x[0], kernel[0]), True),
        "lanes of inputs": (jax.vmap(gradient, (0, None)), (x, kernel[0]), True),
        "kernels": (jax.vmap(jax.jit(gradient), (None, 0)), (x[0], kernel), False),
        "both": (jax.grad(lambda x, k: jnp.sum(jax.vmap(loss)(x, k)), (0, 1)), (x, kernel), False),
        "Hessian times vector": (jax.vmap(lambda x, k: jax.jvp(gradient, (x, k), (x, k))[1]), (x, kernel), False),
        "training": (jax.vmap(step), (x, kernel), False),
    }
    for name, (program, arguments, convolves) in programs.items():
        compiled = jax.jit(program).lower(*arguments).compile()
        assert (" convolution(" in compiled.as_text()) == convolves, name
        assert " conditional(" not in compiled.as_text(), name
    # Sums of 8 products of size one, in another order.
    for got, expected in zip(jax.vmap(gradient)(x, kernel), zip(*map(gradient, x, kernel), strict=True), strict=True):
        np.testing.assert_allclose(got, jnp.stack(expected), rtol=0, atol=1e-5)


def test_auto_is_the_form_of_this_machine_bit_for_bit():
    x, kernel = (jnp.asarray(normal(i, s, np.float32)) for i, s in enumerate(((2, 7, 5, 3), (3, 3, 3, 4))))
    own = "im2col" if jax.default_backend() == "cpu" else "lax"
    for transform in (lambda f: f, lambda f: jax.grad(lambda x, k: jnp.sum(f(x, k) ** 2), (0, 1)), jax.linearize):
        run = lambda method, transform=transform: jax.jit(
            lambda x, k: (
                jax.tree.leaves((transform(partial(convolve, method=method)))(x, k))
                if transform is not jax.linearize
                else jax.linearize(partial(convolve, method=method), x, k)[0]
            )
        )(x, kernel)
        jax.tree.map(np.testing.assert_array_equal, run("auto"), run(own))
