"""Spectral normalization: singular values by LAPACK, the published step in NumPy, its gradient in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.nn import spectral_norm

pytestmark = pytest.mark.usefixtures("unoptimized")


def kernel_of(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("shape", "axis"), [((6, 4), -1), ((4, 6), 0), ((3, 3, 5, 4), -1), ((2, 5, 3), (0, 2))])
def test_converges_to_the_largest_singular_value(shape, axis):
    kernel = kernel_of(shape)
    state = spectral_norm.init(jax.random.key(1), kernel, axis=axis)
    normal, state = jax.jit(lambda k, s: spectral_norm.apply(k, s, train=True, iterations=300, axis=axis))(
        kernel, state
    )
    outputs = tuple(np.atleast_1d(axis) % len(shape))
    inputs = [a for a in range(len(shape)) if a not in outputs]
    matrix = np.transpose(np.float64(kernel), (*inputs, *outputs)).reshape(np.prod([shape[a] for a in inputs]), -1)
    exact = np.linalg.svd(matrix, compute_uv=False)
    # 1e-5: a hundred roundings of float32; the gaps of these matrices leave (s2/s1)^600 below it.
    assert exact[1] / exact[0] < 0.98
    assert float(state.sigma) == pytest.approx(exact[0], rel=1e-5)
    np.testing.assert_allclose(normal, np.float64(kernel) / exact[0], rtol=1e-5)


def test_a_step_is_the_published_one():
    kernel = kernel_of((5, 3))
    state = spectral_norm.init(jax.random.key(0), kernel)
    w, u = np.float64(kernel), np.float64(state.output)
    v = w @ u / np.linalg.norm(w @ u)
    u = w.T @ v / np.linalg.norm(w.T @ v)
    v = w @ u / np.linalg.norm(w @ u)
    normal, after = spectral_norm.apply(kernel, state, train=True)
    np.testing.assert_allclose(after.output, u, rtol=1e-5, atol=1e-6)  # float32, a few roundings
    np.testing.assert_allclose(normal, w / (v @ w @ u), rtol=1e-5)


def test_without_training_the_state_stays():
    kernel = kernel_of((5, 3))
    state = spectral_norm.init(jax.random.key(0), kernel)
    _, state = spectral_norm.apply(kernel, state, train=True, iterations=50)
    normal, after = spectral_norm.apply(2 * kernel, state, train=False)
    assert after is state
    assert np.linalg.norm(np.asarray(normal), 2) == pytest.approx(1, rel=1e-4)


def test_the_gradient_is_that_of_the_ratio(x64):
    kernel, weight = (np.random.default_rng(i).normal(size=(5, 3)) for i in (0, 1))
    state = spectral_norm.init(jax.random.key(0), kernel)
    got = jax.grad(lambda k: jnp.sum(weight * spectral_norm.apply(k, state, train=True, iterations=300)[0]))(kernel)
    u, s, vt = np.linalg.svd(kernel)
    exact = (weight - np.sum(weight * kernel / s[0]) * np.outer(u[:, 0], vt[0])) / s[0]
    np.testing.assert_allclose(got, exact, rtol=1e-10, atol=1e-12)  # float64, converged to (s2/s1)^600


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_any_scale(scale):
    kernel = scale * kernel_of((5, 3))
    normal, _ = spectral_norm.apply(kernel, spectral_norm.init(jax.random.key(0), kernel), train=True, iterations=50)
    norm = np.linalg.norm(np.asarray(normal, np.float64), 2)
    assert norm == pytest.approx(0 if scale == 0 else 1, rel=1e-4)  # float32 after 50 steps


def test_bad_input():
    kernel = kernel_of((5, 3))
    state = spectral_norm.init(jax.random.key(0), kernel)
    with pytest.raises(ValueError, match="`iterations` must be a whole number >= 1; got 0"):
        spectral_norm.apply(kernel, state, train=True, iterations=0)
    with pytest.raises(ValueError, match=r"`axis` must satisfy -2 <= axis < 2 for `x` of shape \(5, 3\); got 2"):
        spectral_norm.init(jax.random.key(0), kernel, axis=2)
