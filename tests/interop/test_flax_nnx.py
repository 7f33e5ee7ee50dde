"""The nnx modules are drop-ins: Flax's attributes, states and results, and right where they are shared or masked."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnorm.interop import flax_nnx
from jnorm.nn import batch_renorm, dropout, weight_norm
from jnorm.nn.batch_norm import Params, State

# The arithmetic under XLA's optimizations is tested beside each layer; here it is how the parts are put together.
pytestmark = pytest.mark.usefixtures("unoptimized")

PAIRS = [
    (flax_nnx.BatchNorm, nnx.BatchNorm),
    (flax_nnx.BatchRenorm, nnx.BatchNorm),
    (flax_nnx.AlphaDropout, nnx.Dropout),
    (flax_nnx.WeightStandardization, nnx.WeightNorm),
]
X = jax.random.normal(jax.random.key(0), (5, 8, 4))
CLOSED = "the running statistics of BatchNorm stay as they are under a transformation that closes over it"


def norm(module=flax_nnx.BatchNorm, **options):
    return module(4, rngs=nnx.Rngs(0), **options)


def accurate(**options):
    return norm(nnx.BatchNorm, use_fast_variance=False, **options)


def close(got, expected, roundings=32):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype
    eps = float(jnp.finfo(got.dtype).eps)
    got, expected = np.float64(got), np.float64(expected)
    np.testing.assert_allclose(got, expected, rtol=0, atol=roundings * eps * np.max(np.abs(expected), initial=1))


def same_state(ours, theirs):
    ours = nnx.to_pure_dict(flax_nnx.without_counts(nnx.state(ours)))
    theirs = nnx.to_pure_dict(flax_nnx.without_counts(nnx.state(theirs)))
    jax.tree.map(close, ours, theirs)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_arguments_are_flax_s(ours, theirs):
    mine = inspect.signature(ours).parameters
    passed_on = any(p.kind == p.VAR_KEYWORD for p in mine.values())
    for name, parameter in inspect.signature(theirs).parameters.items():
        if name in mine and name != "scale_init":  # ones, whichever spelling
            assert mine[name].default == parameter.default or name == "variable_filter"
        else:
            assert passed_on or name in {"epsilon", "promote_dtype", "scale_init"}, name
    calls = inspect.signature(ours.__call__).parameters
    assert {"args", *inspect.signature(theirs.__call__).parameters} - {"x", "kwargs"} <= {"args", *calls}


@pytest.mark.parametrize("options", [{}, {"use_bias": False, "use_scale": False}, {"axis": 0}])
def test_batch_norm_has_flax_s_state(options):
    ours, theirs = norm(**options), norm(nnx.BatchNorm, **options)
    same_state(ours, theirs)
    assert isinstance(ours.count, nnx.BatchStat)
    kinds = lambda model: {k: type(v) for k, v in nnx.state(model).items() if k != "count"}
    assert kinds(ours) == kinds(theirs)


@pytest.mark.parametrize("mask", [None, jax.random.bernoulli(jax.random.key(1), 0.6, (5, 8, 1))], ids=["", "mask"])
@pytest.mark.parametrize(("dtype", "result"), [("float32", None), ("bfloat16", None), ("float32", "bfloat16")])
def test_batch_norm_equals_flax_where_flax_is_right(mask, dtype, result):
    x = (X + 1).astype(dtype)
    ours, theirs = norm(momentum=0.8, dtype=result), accurate(momentum=0.8, dtype=result)
    theirs.mean[...] += 0.5
    theirs.scale[...] = jnp.arange(4.0)
    nnx.update(ours, nnx.state(theirs))  # which has no count: fully warmed up
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for train in (True, False):
            expected = theirs(x, use_running_average=not train, mask=mask)
            # With dtype="bfloat16" Flax rounds the input, too, to it; ours only the result.
            close(
                ours(x, use_running_average=not train, mask=mask), expected, 8 if expected.dtype == "bfloat16" else 64
            )
    if result is None:
        same_state(ours, theirs)
    else:
        np.testing.assert_allclose(ours.mean[...], theirs.mean[...], atol=2e-2)


def test_states_move_both_ways_and_streams_are_debiased():
    ours, theirs = norm(), accurate()
    for step in range(1, 6):
        ours(X)
        close(ours.mean[...], X.mean((0, 1)))
        close(ours.var[...], X.var((0, 1)))
        np.testing.assert_allclose(ours.count[...], X[..., 0].size * np.sum(0.99 ** np.arange(step)), rtol=1e-6)
    nnx.update(theirs, flax_nnx.without_counts(nnx.state(ours)))
    same_state(ours, theirs)
    ours.eval()
    theirs.eval()
    close(ours(X), theirs(X))
    merged = nnx.merge(nnx.split(theirs)[0], flax_nnx.without_counts(nnx.state(ours)))
    same_state(merged, theirs)


def test_transformations_that_own_the_module():
    @nnx.vmap
    def make(key):
        return flax_nnx.BatchNorm(4, rngs=nnx.Rngs(key))

    lanes = make(jax.random.split(jax.random.key(0), 5))
    y = nnx.vmap(lambda m, x: m(x))(lanes, X)
    for i in range(5):
        one = norm()
        close(y[i], one(X[i]))
        close(lanes.var[...][i], one.var[...])
    assert lanes.count.shape == (5, 4)

    shared = norm(axis_name="batch")
    y = nnx.vmap(lambda m, x: m(x), in_axes=(None, 0), axis_name="batch")(shared, X)
    whole = norm()
    close(y, whole(X))
    same_state(shared, whole)

    carried, loop = norm(), norm()

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
    def step(model, x):
        return model, model(x)

    close(step(carried, X)[1], jnp.stack([loop(x) for x in X]))
    same_state(carried, loop)

    jitted, eager = norm(), norm()
    close(nnx.jit(lambda m, x: m(x))(jitted, X), eager(X))
    same_state(jitted, eager)
    shape = nnx.eval_shape(lambda m, x: m(x), norm(), jax.ShapeDtypeStruct((7, 4), jnp.float32))
    assert (shape.shape, shape.dtype) == ((7, 4), jnp.float32)
    abstract = nnx.eval_shape(lambda: norm())
    assert abstract.count.shape == (4,)


CLOSURES = {
    "nnx.eval_shape": lambda model: nnx.eval_shape(model, X).shape,
    "jax.eval_shape": lambda model: jax.eval_shape(lambda x: model(x), X).shape,
    "jax.jit": lambda model: jax.jit(lambda x: model(x))(X).shape,
    "jax.vmap": lambda model: jax.vmap(lambda x: model(x))(X).shape,
    "lax.map": lambda model: jax.lax.map(lambda x: model(x), X).shape,
    "jax.grad": lambda model: jax.grad(lambda x: model(x).sum())(X).shape,
}


@pytest.mark.parametrize("name", CLOSURES)
def test_closures_compute_and_warn(name):
    model = norm()
    with pytest.warns(UserWarning, match=CLOSED):
        assert CLOSURES[name](model) == X.shape
    assert np.all(model.count[...] == 0)
    assert np.all(model.mean[...] == 0)
    model.eval()
    assert CLOSURES[name](model) == X.shape  # and without a warning where there is nothing to update


def test_modules_go_through_nnx_vmap_as_they_are():
    model = norm(axis_name="batch")
    with pytest.warns(UserWarning, match=CLOSED):
        y = nnx.vmap(model, axis_name="batch")(X)
    close(y, norm()(X))


def test_weight_standardization_closes_and_learns():
    ours = flax_nnx.WeightStandardization(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    before = np.asarray(ours.layer_instance.kernel[...])
    y = ours(X)
    np.testing.assert_array_equal(ours.layer_instance.kernel[...], before)
    kernel = weight_norm.standardize(before)
    close(y, X @ kernel, 64)
    close(jax.jit(lambda x: ours(x))(X), y)
    gradient = nnx.grad(lambda m: jnp.sum(m(X) ** 2))(ours)
    assert len(jax.tree.leaves(gradient)) == 3  # kernel, bias and the scale


def test_weight_standardization_is_the_function():
    inner = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 3))
    layer = flax_nnx.WeightStandardization(inner, gain=1.7, rngs=nnx.Rngs(0))
    layer.scales["kernel"][...] = jnp.arange(1.0, 5.0)
    y = nnx.jit(lambda m, x: m(x))(layer, x)
    kernel = weight_norm.standardize(inner.kernel[...], gain=1.7 * jnp.arange(1.0, 5.0))
    inner.kernel[...] = kernel
    close(y, inner(x))
    plain = flax_nnx.WeightStandardization(inner, use_scale=False, feature_axes=None, rngs=nnx.Rngs(0))
    assert not plain.scales

    @nnx.vmap
    def make(key):
        return flax_nnx.WeightStandardization(nnx.Linear(4, 4, rngs=nnx.Rngs(key)), rngs=nnx.Rngs(key))

    stack = make(jax.random.split(jax.random.key(0), 3))
    out = nnx.scan(lambda x, m: m(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(X[0], stack)
    expected = X[0]
    for i in range(3):
        expected = jax.tree.map(lambda a, i=i: a[i], nnx.split(stack)[1]) and nnx.merge(
            nnx.split(stack)[0], jax.tree.map(lambda a, i=i: a[i], nnx.split(stack)[1])
        )(expected)
    close(out, expected)


def test_the_state_of_a_wrapped_layer_moves_on():
    class Inner(nnx.Module):
        def __init__(self):
            self.linear = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
            self.norm = norm()

        def __call__(self, x):
            return self.norm(self.linear(x))

    layer = flax_nnx.WeightStandardization(Inner(), rngs=nnx.Rngs(0))
    layer(X)
    layer(X)
    assert list(layer.scales) == ["linear/kernel"]
    np.testing.assert_allclose(layer.layer_instance.norm.count[...], X[..., 0].size * 1.99, rtol=1e-6)


def test_batch_renorm_is_the_function():
    layer = norm(flax_nnx.BatchRenorm, momentum=0.9, r_max=1.5)
    state = State(jnp.full(4, 0.3), jnp.full(4, 2.0), jnp.full(4, 5.0))
    params = Params(jnp.ones(4), jnp.zeros(4))
    for bounds in ({}, {"r_max": 1.1, "d_max": 0.1}):
        for name, value in state._asdict().items():
            getattr(layer, name)[...] = value
        y = layer(X, **bounds)
        options = {"r_max": 1.5, "decay": 0.9, "unbiased": False} | bounds
        expected, new = batch_renorm.apply(params, state, X, train=True, **options)
        close(y, expected)
        for name, value in new._asdict().items():
            close(getattr(layer, name)[...], value)


def test_alpha_dropout_is_the_function_and_its_rate_may_be_swept():
    key = jax.random.key(5)
    layer = flax_nnx.AlphaDropout(0.2, broadcast_dims=(1,), mean=0.1)
    expected = dropout.alpha_dropout(key, X, 0.2, train=True, mean=0.1, shared_axes=1)
    np.testing.assert_array_equal(layer(X, rngs=key), expected)
    np.testing.assert_array_equal(layer(X, deterministic=True), X)
    np.testing.assert_array_equal(flax_nnx.AlphaDropout(0.0)(X), X)  # needs no key, as in Flax
    mine, theirs = flax_nnx.AlphaDropout(0.3, rngs=nnx.Rngs(3)), nnx.Dropout(0.3, rngs=nnx.Rngs(3))
    for _ in range(2):  # the same stream, which moves on
        np.testing.assert_array_equal(
            mine(jnp.ones(500)) > 0, dropout.dropout(theirs.rngs(), jnp.ones(500), 0.3, train=True) > 0
        )
    mine.eval()
    np.testing.assert_array_equal(mine(X), X)

    sweep = lambda module: jax.vmap(lambda r: module(r, rngs=nnx.Rngs(3))(X))(jnp.array([0.0, 0.3]))
    swept = sweep(flax_nnx.AlphaDropout)
    np.testing.assert_allclose(swept[0], X, atol=1e-7)
    close(swept[1], flax_nnx.AlphaDropout(0.3, rngs=nnx.Rngs(3))(X))
    again = nnx.jit(lambda m, x: m(x))(flax_nnx.AlphaDropout(jnp.float32(0.3), rngs=nnx.Rngs(3)), X)
    close(again, swept[1])


def test_bad_input_raises():
    with pytest.raises(ValueError, match=r"`groups` must split the 5 members .*; got \(\(0,\),\)"):
        nnx.vmap(norm(axis_name="batch", axis_index_groups=[[0]]), axis_name="batch")(X)
    with pytest.raises(ValueError, match="must have the features of `x`"):
        norm()(X[..., :3])
    with pytest.raises(ValueError, match="`rate` must satisfy 0 <= rate < 1; got 1"):
        flax_nnx.AlphaDropout(1.0, rngs=nnx.Rngs(0))(X)
    with pytest.raises(ValueError, match="`rngs` must be given to the module or to the call; got None twice"):
        flax_nnx.AlphaDropout(0.5)(X)
    with pytest.raises(ValueError, match="`use_running_average` must be given to the module or to the call"):
        norm(use_running_average=None)(X)
