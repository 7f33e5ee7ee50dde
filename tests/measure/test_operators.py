"""Operators against closed forms that no automatic differentiation has seen."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.sparse.linalg import eigsh
from scipy.special import expit, softmax

from jnorm import losses
from jnorm.measure import curvature
from jnorm.nn import batch_norm
from tests.measure.spectra import planted, regression

X, Y, LABELS, W = regression()
N = len(X)
TIGHT = 64 * np.finfo(np.float64).eps  # sums of 40 terms of order one


def close(got, exact):
    np.testing.assert_allclose(got, exact, rtol=0, atol=TIGHT * np.abs(exact).max())


def softmax_hessian(x, w):
    """Mean of ``(diag(p) - p p^T) kron x x^T``, in the order of a kernel [inputs, classes]."""
    p = softmax(x @ w, 1)
    middle = np.einsum("ij,jk->ijk", p, np.eye(w.shape[1])) - np.einsum("ij,ik->ijk", p, p)
    return np.einsum("ia,ib,ijk->ajbk", x, x, middle).reshape(w.size, w.size) / len(x)


def linear(w, x):
    return x @ w


def squared(outputs, targets):
    return (outputs - targets) ** 2 / 2


def cross_entropy(outputs, labels):
    return losses.softmax_cross_entropy(outputs, labels)


def of_examples(loss):
    return lambda w, data: loss(linear(w, data[0]), data[1])


def logistic(outputs, signs):
    return jnp.logaddexp(0.0, -signs * outputs)


@pytest.mark.parametrize("microbatch", [None, 40, 16])
def test_linear_regression(x64, microbatch):
    exact = X.T @ X / N
    for operator in (
        curvature.hessian(of_examples(squared), np.zeros(7), (X, Y), microbatch=microbatch),
        curvature.hessian(lambda w, d: of_examples(squared)(w, d).mean(), np.zeros(7), (X, Y), microbatch=microbatch),
        curvature.gauss_newton(linear, squared, np.zeros(7), (X, Y), microbatch=microbatch),
        curvature.fisher(linear, "normal", np.zeros(7), X, microbatch=microbatch),
    ):
        close(operator.dense(), exact)
    gradients = X * (X @ W[:, 0] - Y)[:, None]
    operator = curvature.empirical_fisher(of_examples(squared), W[:, 0], (X, Y), microbatch=microbatch)
    close(operator.dense(), gradients.T @ gradients / N)


def test_logistic_regression(x64):
    p = expit(X @ W[:, 0])
    exact = (X * (p * (1 - p))[:, None]).T @ X / N
    signs = np.sign(Y)
    close(curvature.hessian(of_examples(logistic), W[:, 0], (X, signs)).dense(), exact)
    close(curvature.gauss_newton(linear, logistic, W[:, 0], (X, signs), microbatch=13).dense(), exact)
    close(curvature.fisher(linear, "bernoulli", W[:, 0], X).dense(), exact)


def test_softmax_regression(x64):
    exact = softmax_hessian(X, W)
    close(curvature.hessian(of_examples(cross_entropy), W, (X, LABELS)).dense(), exact)
    close(curvature.gauss_newton(linear, cross_entropy, W, (X, LABELS)).dense(), exact)
    close(curvature.fisher(linear, "categorical", W, X, microbatch=16).dense(), exact)


def network(params, x):
    return jnp.tanh(x @ params["in"]["kernel"] + params["in"]["bias"][None]) @ params["out"]


def weights(seed=0):
    rng = np.random.default_rng(seed)
    kernel, bias, out = rng.normal(size=(7, 4)), rng.normal(size=4), rng.normal(size=(4, 3))
    return {"in": {"kernel": kernel, "bias": bias}, "out": out}


def of_network(params, data):
    return cross_entropy(network(params, data[0]), data[1])


def test_hessian_of_a_network_is_that_of_jax_in_every_form(x64):
    params = weights()
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    exact = jax.hessian(lambda w: of_network(unravel(w), (X, LABELS)).mean())(flat)
    whole = curvature.hessian(of_network, params, (X, LABELS))
    close(whole.dense(), exact)
    close(curvature.hessian(of_network, params, (X, LABELS), microbatch=7).dense(), exact)
    close(whole.to_scipy() @ np.eye(len(flat)), exact)
    v = unravel(jnp.linspace(-1, 1, len(flat)))
    close(jax.flatten_util.ravel_pytree(whole.matvec(v))[0], exact @ jnp.linspace(-1, 1, len(flat)))
    top = eigsh(whole.to_scipy(), 2, which="LA")[0]
    close(curvature.eigenpairs(whole, top=2).values, top[::-1])
    start = 4  # in/bias comes before in/kernel, and out last
    close(curvature.block(whole, "in/kernel").dense(), exact[start:-12, start:-12])
    assert list(curvature.block(whole, ["out", "in/bias"]).like) == ["in/bias", "out"]
    by = unravel(jnp.linspace(0.5, 2, len(flat)))
    close(curvature.scaled(whole, by).dense(), exact * jnp.outer(*[jnp.linspace(0.5, 2, len(flat))] * 2))
    close(curvature.rescaled(whole).dense(), exact * jnp.abs(jnp.outer(flat, flat)))


def test_a_rescaled_network_has_the_same_rescaled_curvature(x64):
    relu = lambda params, data: cross_entropy(jax.nn.relu(data[0] @ params[0]) @ params[1], data[1])
    rng = np.random.default_rng(1)
    params = [rng.normal(size=(7, 4)), rng.normal(size=(4, 3))]
    scale = np.array([0.1, 3.0, 10.0, 0.5])
    moved = [params[0] * scale, params[1] / scale[:, None]]
    plain, free = (
        [curvature.eigenpairs(f(curvature.hessian(relu, p, (X, LABELS))), top=3).values for p in (params, moved)]
        for f in (lambda a: a, curvature.rescaled)
    )
    close(free[1], free[0])
    assert np.abs(plain[1] / plain[0] - 1).min() > 0.1


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (optax.adam(0.1, b2=0.9, eps=1e-3), {"decay": 0.9, "eps": 1e-3}),
        (optax.chain(optax.clip(1e3), optax.adamw(0.1, b2=0.99)), {"decay": 0.99}),
        (optax.rmsprop(0.1, eps=0.0, momentum=None), {"eps": 0.0}),
        (optax.adagrad(0.1), {"eps": 1e-7}),
    ],
    ids=["adam", "adamw in a chain", "rmsprop", "adagrad"],
)
def test_preconditioned_by_what_the_optimizer_divides_by(x64, optimizer, options):
    """Three equal gradients: Adam then divides by their modulus, RMSProp and Adagrad by the root of what they keep."""
    loss = lambda w: jnp.sum(jnp.arange(1.0, 4.0) * w**4)
    w = jnp.array([1.0, -0.5, 2.0])
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(w)
        for _ in range(3):
            _, state = optimizer.update(jax.grad(loss)(w), state, w)
    got = curvature.preconditioned(curvature.hessian(loss, w), state, **options).dense()
    gradient, exact = jax.grad(loss)(w), jax.hessian(loss)(w)
    if "decay" in options:
        divisor = jnp.abs(gradient) + options.get("eps", 1e-8)
    else:
        kept = 3 * gradient**2 + 0.1 + 1e-7 if hasattr(state[0], "sum_of_squares") else state[0].nu
        divisor = jnp.sqrt(kept)
    close(got, exact / jnp.sqrt(jnp.outer(divisor, divisor)))


@jax.custom_vjp
def halved(x):
    return jnp.sin(x)


halved.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x) / 2,))


@pytest.mark.parametrize("inner", ["batch norm", "custom_vjp"])
def test_rules_of_derivatives_may_be_new_in_each_trace(x64, inner):
    """Of a network with batch norm, and of one with a derivative of its own; whose slope, halved, is what counts."""
    scale, state = batch_norm.init(4)
    norm = lambda z: batch_norm.apply(scale, state, z, train=True)[0]
    phi = norm if inner == "batch norm" else halved
    w = jax.random.normal(jax.random.key(0), (3, 4))
    loss = lambda w, x: jnp.mean(jnp.tanh(phi(x @ w)) ** 2)
    x = jnp.asarray(X[:, :3])
    slope = jax.grad(lambda w: loss(w.reshape(3, 4), x))
    dense = jax.jacrev(slope)(w.ravel())
    v = jax.random.normal(jax.random.key(1), (3, 4))
    got = curvature.hessian(loss, w, x).matvec(v)
    np.testing.assert_allclose(got.ravel(), dense.T @ v.ravel(), rtol=1e-9, atol=1e-12)


def test_half_precision_is_computed_in_float32():
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), weights())
    operator = curvature.hessian(of_network, params, (jnp.asarray(X, jnp.float32), LABELS))
    assert operator.dense().dtype == jnp.float32
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), params)
    same = curvature.hessian(of_network, wide, (jnp.asarray(X, jnp.float32), LABELS))
    np.testing.assert_array_equal(operator.dense(), same.dense())


def test_the_network_that_is_differentiated_is_linearized_once():
    """A product of all examples takes no forward pass: what does not depend on the vector lies outside."""
    operator = curvature.hessian(of_network, weights(), (X, LABELS))
    traced = jax.make_jaxpr(lambda v: jax.jit(operator.product())(v))(operator.like)
    inner = next(str(e.params["jaxpr"]) for e in traced.jaxpr.eqns[::-1] if e.primitive.name in ("jit", "pjit"))
    assert "tanh" not in inner


BAD = {
    "no leaves": (lambda: curvature.hessian(lambda w: 0.0, {}), TypeError, "`params` must be a tree of floating"),
    "whole numbers": (
        lambda: curvature.hessian(lambda w: 0.0, {"a": jnp.ones(2), "b": jnp.arange(3)}),
        TypeError,
        r"`params` must be a tree of floating arrays; b is of int32",
    ),
    "not one number": (
        lambda: curvature.hessian(lambda w: w, jnp.ones(2)),
        ValueError,
        r"shape \(\); got shape \(2,\)",
    ),
    "neither a mean nor examples": (
        lambda: curvature.hessian(lambda w, x: x[:3] * w, jnp.ones(()), jnp.ones(5)),
        ValueError,
        r"`loss` must return an array of shape \(\) or \(5,\); got shape \(3,\)",
    ),
    "a mean of examples": (
        lambda: curvature.empirical_fisher(lambda w, x: jnp.mean(x * w), jnp.ones(()), jnp.ones(5)),
        ValueError,
        r"shape \(5,\); got shape \(\)",
    ),
    "complex": (
        lambda: curvature.hessian(lambda w: jax.lax.complex(w, w), jnp.ones(())),
        TypeError,
        "`loss` must return real",
    ),
    "random": (
        lambda: curvature.hessian(lambda w: w * np.random.default_rng().normal(), jnp.ones(())),
        ValueError,
        "`loss` must do the same whenever it is called",
    ),
    "random arrays": (
        lambda: curvature.gauss_newton(
            lambda w, x: x * w * np.random.default_rng().normal(size=5).astype(np.float32),
            squared,
            jnp.ones(()),
            (jnp.ones(5),) * 2,
        ),
        ValueError,
        "`predict` must do the same",
    ),
    "no pair": (lambda: curvature.gauss_newton(linear, squared, jnp.ones(7), jnp.ones(5)), ValueError, "a pair of"),
    "family": (
        lambda: curvature.fisher(linear, "poisson", jnp.ones(7), X),
        ValueError,
        "categorical, bernoulli, normal",
    ),
    "microbatch": (
        lambda: curvature.hessian(of_examples(squared), jnp.ones(7), (X, Y), microbatch=41),
        ValueError,
        "from 1 to the 40 examples; got 41",
    ),
    "no data": (
        lambda: curvature.hessian(jnp.sum, jnp.ones(7), microbatch=1),
        ValueError,
        "from 1 to the 0 examples; got 1",
    ),
    "path": (
        lambda: curvature.block(curvature.hessian(jnp.sum, jnp.ones(7)), "kernel"),
        ValueError,
        "no leaf under the path `kernel`",
    ),
    "scale": (
        lambda: curvature.scaled(curvature.hessian(jnp.sum, jnp.ones(7)), jnp.ones(6)),
        ValueError,
        "`by` must be a tree like",
    ),
    "state": (
        lambda: curvature.preconditioned(planted(np.ones(3)), optax.sgd(0.1).init(jnp.ones(3))),
        ValueError,
        "`state` must hold one of ScaleByAdamState",
    ),
    "matvec": (
        lambda: curvature.operator(lambda v: v[:2], jnp.ones(3)),
        ValueError,
        "`matvec` must return a tree like",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()
