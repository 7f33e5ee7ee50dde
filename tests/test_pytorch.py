"""Layers, losses and initializers beside PyTorch's: equal wherever it is right, and what differs where it is not."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations, initializers, losses
from jnorm.initializers._fans import fans
from jnorm.nn import batch_norm, dropout, feature_norm, weight_norm
from jnorm.nn.batch_norm import Params, State

torch = pytest.importorskip("torch", reason="PyTorch (the `compare` extra) is not installed")
F = torch.nn.functional
TYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def tensor(a, grad=False):
    a = np.asarray(a)
    t = torch.tensor(np.float64(a) if a.dtype == jnp.bfloat16 else a).to(TYPES.get(a.dtype.name))
    return t.requires_grad_(grad) if grad else t


def array(t):
    return np.float64(t.detach().double().numpy())


def close(got, theirs, roundings=32):
    """Within some eps of the result's dtype, relative to the largest value: both sides round, and sum in some order."""
    exact = array(theirs)
    assert got.shape == exact.shape
    atol = roundings * float(jnp.finfo(got.dtype).eps) * np.max(np.abs(exact), initial=0)
    np.testing.assert_allclose(np.float64(got), exact, rtol=0, atol=atol)


def sizes(rng, least, most):
    """A random shape."""
    return tuple(rng.integers(3, 8, rng.integers(least, most + 1)).tolist())


def compare(ours, theirs, arguments, weight, roundings=64):
    """Values, and gradients of all arguments, of two functions that return one array each."""
    out, pull = jax.vjp(jax.jit(ours), *arguments)
    leaves = [tensor(a, grad=True) for a in arguments]
    expected = theirs(*leaves)
    close(out, expected)
    for got, exact in zip(pull(weight), torch.autograd.grad(expected, leaves, tensor(weight)), strict=True):
        close(got, exact, roundings)


@pytest.mark.parametrize("seed", range(4))
def test_batch_norm(seed, dtype):
    """Three steps and an evaluation. PyTorch's running variance is unbiased, its state undebiased: count = inf."""
    rng = np.random.default_rng(seed)
    shape = sizes(rng, 2, 5)
    features = shape[1]
    momentum, eps = rng.uniform(0.05, 0.5), 10 ** rng.uniform(-6, -2)
    draw = lambda *size: jnp.asarray(rng.normal(size=size), dtype)
    params = Params(draw(features), draw(features)) if seed != 1 else Params(None, None)
    state = State(jnp.zeros(features, dtype), jnp.ones(features, dtype), jnp.asarray(math.inf, dtype))
    kind = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
    module = kind[len(shape)](features, momentum=momentum, eps=eps, affine=seed != 1, dtype=TYPES[dtype])
    if params.scale is not None:
        with torch.no_grad():
            module.weight.copy_(tensor(params.scale))
            module.bias.copy_(tensor(params.shift))

    @jax.jit
    def step(params, state, x, v):
        call = lambda p, x: batch_norm.apply(
            p, state, x, train=True, axis=1, decay=1 - momentum, eps=eps, unbiased=True
        )
        y, pull, state = jax.vjp(call, params, x, has_aux=True)
        return y, state, pull(v)

    for _ in range(3):
        x, v = 2 * draw(*shape) + 3, draw(*shape)
        y, state, (slopes, dx) = step(params, state, x, v)
        leaf = tensor(x, grad=True)
        out = module(leaf)
        close(y, out)
        close(state.mean, module.running_mean)
        close(state.var, module.running_var)
        got = [dx, *(s for s in slopes if s is not None)]
        for ours, theirs in zip(got, torch.autograd.grad(out, [leaf, *module.parameters()], tensor(v)), strict=True):
            close(ours, theirs, roundings=128)
    module.eval()
    close(batch_norm.apply(params, state, x, train=False, axis=1, eps=eps)[0], module(tensor(x)))


def test_batch_norm_in_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 5)) + 2, jnp.bfloat16)
    params, state = batch_norm.init(5)
    y, _ = batch_norm.apply(params, state, x, train=True)
    close(y, torch.nn.BatchNorm1d(5)(tensor(x)), roundings=1)  # each side rounds once


def same(params):
    return [p for p in params if p is not None]


@pytest.mark.parametrize("seed", range(3))
def test_layer_and_rms_norm(seed, dtype):
    rng = np.random.default_rng(seed)
    shape = sizes(rng, 2, 5)
    last = shape[-int(rng.integers(1, len(shape))) :]
    axes = tuple(range(-len(last), 0))
    draw = lambda *size: jnp.asarray(rng.normal(size=size), dtype)
    x, scale, shift, v = draw(*shape) + 2, draw(*last), draw(*last), draw(*shape)
    compare(
        lambda x, a, b: feature_norm.layer_norm(Params(a, b), x, axis=axes, eps=1e-3),
        lambda x, a, b: F.layer_norm(x, last, a, b, 1e-3),
        *((x, scale, shift), v),
    )
    compare(
        lambda x, a: feature_norm.rms_norm(Params(a, None), x, axis=axes, eps=1e-3),
        lambda x, a: F.rms_norm(x, last, a, 1e-3),
        *((x, scale), v),
    )


@pytest.mark.parametrize("seed", range(3))
def test_group_and_instance_norm(seed, dtype):
    rng = np.random.default_rng(seed)
    shape = sizes(rng, 3, 5)
    groups = int(rng.integers(1, 4))
    shape = (shape[0], groups * shape[1], *shape[2:])
    draw = lambda *size: jnp.asarray(rng.normal(size=size), dtype)
    arguments, v = (draw(*shape) + 2, draw(shape[1]), draw(shape[1])), draw(*shape)
    compare(
        lambda x, a, b: feature_norm.group_norm(Params(a, b), x, groups=groups, axis=1),
        lambda x, a, b: F.group_norm(x, groups, a, b),
        *(arguments, v),
    )
    compare(
        lambda x, a, b: feature_norm.instance_norm(Params(a, b), x, axis=1),
        lambda x, a, b: F.instance_norm(x, weight=a, bias=b),
        *(arguments, v),
    )


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(dim, dtype):
    """PyTorch's kernels are [out, in, *window]: its default ``dim=0`` is the output, None one norm for all."""
    rng = np.random.default_rng(0)
    draw = lambda *size: jnp.asarray(rng.normal(size=size), dtype)
    axis = () if dim is None else dim
    direction = draw(4, 3, 5)
    params = weight_norm.init(direction, axis=axis)._replace(
        scale=draw(*([] if dim is None else [direction.shape[dim]]))
    )
    shape = [1 if a != dim else n for a, n in enumerate(direction.shape)]
    compare(
        lambda v, g: weight_norm.apply(weight_norm.PolarKernel(v, g), axis=axis),
        lambda v, g: torch._weight_norm(v, g if dim is None else g.reshape(shape), -1 if dim is None else dim),
        *(params, draw(4, 3, 5)),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(2))
def test_cross_entropies(seed, smoothing, dtype):
    """PyTorch has the classes on axis 1, we on the last."""
    rng = np.random.default_rng(seed)
    shape = sizes(rng, 2, 4)
    z, v = jnp.asarray(5 * rng.normal(size=shape), dtype), jnp.asarray(rng.normal(size=shape[:-1]), dtype)
    for targets in (rng.integers(0, shape[-1], shape[:-1]), rng.dirichlet(np.ones(shape[-1]), shape[:-1])):
        t = jnp.asarray(targets, dtype if targets.ndim == len(shape) else None)
        goal = tensor(t).movedim(-1, 1) if t.ndim == z.ndim else tensor(t).long()
        compare(
            lambda z, t=t: losses.softmax_cross_entropy(z, t, smoothing=smoothing),
            lambda z, goal=goal: F.cross_entropy(z.movedim(-1, 1), goal, reduction="none", label_smoothing=smoothing),
            *((z,), v),
        )
    t = jnp.asarray(rng.random(shape), dtype)
    smooth = (1 - smoothing) * tensor(t) + smoothing / 2
    compare(
        lambda z: losses.sigmoid_cross_entropy(z, t, smoothing=smoothing),
        lambda z: F.binary_cross_entropy_with_logits(z, smooth, reduction="none"),
        *((z,), jnp.ones_like(z)),
    )


def test_squared_error_and_hinge(dtype):
    rng = np.random.default_rng(0)
    p, q, v = (jnp.asarray(rng.normal(size=(6, 5)), dtype) for _ in range(3))
    signs = jnp.sign(q)
    compare(losses.squared_error, lambda p, q: F.mse_loss(p, q, reduction="none"), (p, q), v)
    against = -torch.ones(6, 5)
    compare(
        lambda p: losses.hinge(p, signs),
        lambda p: F.hinge_embedding_loss(p * tensor(signs), against, reduction="none"),
        *((p,), v),
    )


def test_the_l2_penalty_is_weight_decay_under_gradient_descent():
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    weight = torch.nn.Parameter(tensor(kernel))
    weight.grad = torch.zeros_like(weight)
    torch.optim.SGD([weight], lr=0.1, weight_decay=0.3).step()
    close(kernel - 0.1 * jax.grad(lambda w: 0.3 * losses.l2_penalty(w))(kernel), weight, roundings=2)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_dropout_maps_a_value_to_the_same_two(rate):
    """The masks differ, the two values that a unit can take do not; whole channels in feature-alpha dropout."""
    x = jnp.full((20, 30, 4), 0.7)
    key = jax.random.key(0)
    torch.manual_seed(0)
    for ours, theirs in (
        (dropout.dropout(key, x, rate, train=True), F.dropout(tensor(x), rate)),
        (dropout.alpha_dropout(key, x, rate, train=True), F.alpha_dropout(tensor(x), rate, training=True)),
        (
            dropout.feature_alpha_dropout(key, x, rate, train=True, axis=1),
            F.feature_alpha_dropout(tensor(x), rate, training=True),
        ),
    ):
        got, exact = np.unique(np.asarray(ours)), np.unique(array(theirs))
        # PyTorch rounds alpha' and the map to float32 in another order.
        np.testing.assert_allclose(got, exact, rtol=8 * 2**-23, atol=8 * 2**-23)
    assert all(np.ptp(a, axis=-1).max() == 0 for a in (np.asarray(ours), array(theirs)))


@pytest.mark.parametrize("window", [(), (3,), (3, 5)])
def test_fans(window):
    weight = torch.empty(7, 4, *window)
    assert torch.nn.init._calculate_fan_in_and_fan_out(weight) == tuple(fans((*window, 4, 7)))
    assert tuple(fans(weight.shape, in_axis=1, out_axis=0)) == tuple(fans((*window, 4, 7)))


def gain(phi):
    """The standard deviation of for_activation's weights at fan-in 1, from a draw that it scales."""
    draw = lambda init: np.asarray(init(jax.random.key(0), (1, 100)), np.float64)
    return np.mean(draw(initializers.for_activation(phi)) / draw(initializers.lecun_normal()))


def test_gains_where_pytorch_s_table_is_exact():
    for name, phi in {
        "linear": activations.identity,
        "relu": activations.relu,
        "leaky_relu": activations.leaky_relu,
    }.items():
        np.testing.assert_allclose(gain(phi), torch.nn.init.calculate_gain(name), rtol=1e-6)


def test_gains_that_are_no_round_numbers():
    """SELU at variance 1 has gain 1 by construction, tanh 1.5925; tables of rounded gains say 3/4 and 5/3."""
    np.testing.assert_allclose(gain(activations.selu), 1, rtol=1e-6)
    np.testing.assert_allclose(gain(activations.tanh), 0.39429449**-0.5, rtol=1e-6)  # E[tanh^2], mpmath
    np.testing.assert_allclose(gain(activations.sigmoid), 0.29337907**-0.5, rtol=1e-6)  # E[sigmoid^2], mpmath


def test_depth_shows_a_gain_of_three_quarters():
    """Thirty SELU layers: ours keep second moment 1; three quarters end at .04, as mean field says."""
    inits = {
        "exact": initializers.for_activation(activations.selu),
        "three quarters": initializers.variance_scaling(9 / 16, "fan_in", "normal"),
    }
    x = dict.fromkeys(inits, jax.random.normal(jax.random.key(0), (200, 200)))
    for layer in range(30):
        for name, init in inits.items():
            x[name] = activations.selu(x[name] @ init(jax.random.key(layer), (200, 200)))
    square = {name: np.mean(np.square(value)) for name, value in x.items()}
    assert 0.5 < square["exact"] < 2
    assert square["three quarters"] < 0.1


def test_matrices_without_chance():
    """Identity and Dirac kernels are the same arrays; sparse ones have as many zeros in every column."""
    key = jax.random.key(0)
    np.testing.assert_array_equal(initializers.identity()(key, (4, 3)), array(torch.nn.init.eye_(torch.empty(4, 3))))
    dirac = torch.nn.init.dirac_(torch.empty(6, 4, 3, 5)).permute(2, 3, 1, 0)
    np.testing.assert_array_equal(initializers.identity()(key, (3, 5, 4, 6)), array(dirac))
    for sparsity in (0.0, 0.25, 0.3, 0.85):
        zeros = np.sum(array(torch.nn.init.sparse_(torch.empty(10, 6), sparsity)) == 0, 0)
        np.testing.assert_array_equal(np.sum(initializers.sparse(sparsity)(key, (10, 6)) == 0, 0), zeros)


@pytest.mark.parametrize("shape", [(300, 200), (3, 3, 40, 60)])
def test_standard_deviations_of_the_named_laws(shape):
    """Each side's weights about the same value; 36 000 entries or more, so the ratio of two has a standard error below
    .6 %, and 3 % is five of them.
    """
    torch.manual_seed(0)
    empty = lambda: torch.empty(shape[-1], shape[-2], *shape[:-2])
    init = torch.nn.init
    pairs = {
        "glorot_normal": init.xavier_normal_,
        "glorot_uniform": init.xavier_uniform_,
        "he_normal": init.kaiming_normal_,
        "he_uniform": init.kaiming_uniform_,
        "lecun_normal": lambda w: init.kaiming_normal_(w, nonlinearity="linear"),
        "lecun_uniform": lambda w: init.kaiming_uniform_(w, nonlinearity="linear"),
    }
    for name, theirs in pairs.items():
        ours = getattr(initializers, name)()(jax.random.key(1), shape)
        np.testing.assert_allclose(np.std(ours), np.std(array(theirs(empty()))), rtol=0.03)
