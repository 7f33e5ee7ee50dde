"""The linen modules are drop-ins: Flax's trees, defaults and results, and right where they are shared or masked."""

import dataclasses
from functools import partial

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.interop import flax_linen
from jnorm.nn import batch_renorm, dropout, weight_norm
from jnorm.nn.batch_norm import Params, State

# The arithmetic under XLA's optimizations is tested beside each layer; here it is how the parts are put together.
pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(0)
PAIRS = [
    (flax_linen.BatchNorm, nn.BatchNorm),
    (flax_linen.BatchRenorm, nn.BatchNorm),
    (flax_linen.AlphaDropout, nn.Dropout),
    (flax_linen.WeightStandardization, nn.WeightNorm),
]
ACCURATE = partial(nn.BatchNorm, use_fast_variance=False)
X = jax.random.normal(KEY, (5, 8, 4))


def train(layer, variables, x, **options):
    flag = None if layer.use_running_average is False else False
    return layer.apply(variables, x, use_running_average=flag, mutable=["batch_stats"], **options)


def without_count(variables):
    return {**variables, "batch_stats": {k: v for k, v in variables["batch_stats"].items() if k != "count"}}


def close(got, expected, roundings=16):
    assert got.dtype == expected.dtype
    eps = float(jnp.finfo(got.dtype).eps)
    got, expected = np.float64(got), np.float64(expected)
    assert np.all(np.isfinite(got))
    expected = np.where(np.isnan(expected), got, expected)  # Flax's result for features without a valid entry
    np.testing.assert_allclose(got, expected, rtol=0, atol=roundings * eps * np.max(np.abs(expected), initial=1))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_fields_and_defaults_are_flax_s(ours, theirs):
    mine = {f.name: f for f in dataclasses.fields(ours)}
    for field in dataclasses.fields(theirs):
        assert mine[field.name].default == field.default
    assert issubclass(ours, theirs)


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"use_scale": False, "axis": (1, -1)}, {"axis": 0}])
def test_batch_norm_has_flax_s_variables(options):
    ours, theirs = (m(use_running_average=False, **options).init(KEY, X) for m in (flax_linen.BatchNorm, nn.BatchNorm))
    assert set(ours["batch_stats"]) == {"mean", "var", "count"}
    jax.tree.map(np.testing.assert_array_equal, without_count(ours), theirs)


MASK = jax.random.bernoulli(jax.random.key(1), 0.6, (5, 8, 1))


@pytest.mark.parametrize("axis", [-1, 1, (0, 2)])
@pytest.mark.parametrize("mask", [None, MASK, MASK[0], jnp.broadcast_to(MASK, X.shape)], ids=["", "N", "row", "full"])
@pytest.mark.parametrize(("dtype", "result"), [("float32", None), ("bfloat16", None), ("float32", "bfloat16")])
def test_batch_norm_equals_flax_where_flax_is_right(axis, mask, dtype, result):
    x = (X + 1).astype(dtype)
    ours, theirs = (m(axis=axis, momentum=0.8, dtype=result) for m in (flax_linen.BatchNorm, ACCURATE))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        variables = theirs.init(KEY, x, use_running_average=False)
        variables["params"] = jax.tree.map(lambda p: p + jnp.arange(p.size).reshape(p.shape), variables["params"])
        variables["batch_stats"] = jax.tree.map(lambda s: s + 0.5, variables["batch_stats"])
        expected, stats = train(theirs, variables, x, mask=mask)
        evaluated = theirs.apply({**variables, **stats}, x, use_running_average=True)
    got, mine = train(ours, variables, x, mask=mask)  # no count: fully warmed up, so the same average
    close(got, expected, 4 if got.dtype == jnp.bfloat16 else 64)
    jax.tree.map(close, mine["batch_stats"], stats["batch_stats"])
    close(ours.apply({**variables, **mine}, x, use_running_average=True), evaluated, 64)


def test_a_large_mean_and_a_constant_stream_come_out_right():
    x = 1e4 + jax.random.normal(KEY, (4096, 1))
    ours = flax_linen.BatchNorm(use_running_average=False)
    variables = ours.init(KEY, x)
    assert abs(float(jnp.std(train(ours, variables, x)[0])) - 1) < 1e-3
    for step in range(1, 11):
        variables |= train(ours, variables, x)[1]
        np.testing.assert_allclose(variables["batch_stats"]["mean"], x.mean(0), rtol=1e-6)
        np.testing.assert_allclose(variables["batch_stats"]["var"], x.var(0), rtol=1e-3)
        np.testing.assert_allclose(variables["batch_stats"]["count"], 4096 * np.sum(0.99 ** np.arange(step)), rtol=1e-6)


def test_checkpoints_move_both_ways():
    ours, theirs = flax_linen.BatchNorm(momentum=0.9), ACCURATE(momentum=0.9)
    flax_variables = theirs.init(KEY, X, use_running_average=True)
    for i in range(3):
        flax_variables |= train(theirs, flax_variables, X + i)[1]
    # Into ours: as it is, into our fresh tree by `restore`, and by copying leaves over fresh ones that count zero.
    fresh = ours.init(KEY, X, use_running_average=True)
    filled = flax_linen.restore(fresh, flax_variables)
    copied = {**flax_variables, "batch_stats": fresh["batch_stats"] | flax_variables["batch_stats"]}
    assert np.all(copied["batch_stats"]["count"] == 0)
    expected, after = train(theirs, flax_variables, X + 3)
    for variables in (flax_variables, filled, copied):
        close(ours.apply(variables, X, use_running_average=True), theirs.apply(flax_variables, X, True), 64)
        y, new = train(ours, variables, X + 3)
        close(y, expected, 64)
        jax.tree.map(close, without_count(new), after)
    assert jax.tree.structure(filled) == jax.tree.structure(fresh)
    restored = flax.serialization.from_state_dict(fresh, flax_linen.restore(fresh, flax_variables))
    jax.tree.map(np.testing.assert_array_equal, without_count(restored), flax_variables)
    with pytest.raises(ValueError, match=r"`checkpoint` must have the leaves \['var'\]; got \['mean'\]"):
        flax_linen.restore({"mean": 0.0, "var": 1.0, "count": 0.0}, {"mean": 0.0})
    # Into Flax, count and all.
    mine = ours.init(KEY, X, use_running_average=True)
    for i in range(3):
        mine |= train(ours, mine, X + i)[1]
    close(theirs.apply(mine, X, True), ours.apply(mine, X, use_running_average=True), 64)
    train(theirs, mine, X)
    into = flax.serialization.from_state_dict(theirs.init(KEY, X, use_running_average=True), mine)
    jax.tree.map(np.testing.assert_array_equal, into, without_count(mine))


def test_vmap_with_statistics_of_its_own_and_shared():
    kwargs = {"split_rngs": {"params": False}, "axis_name": "batch"}
    lanes = nn.vmap(flax_linen.BatchNorm, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True})(
        use_running_average=False
    )
    variables = jax.eval_shape(lanes.init, KEY, X)
    assert {k: v.shape for k, v in variables["batch_stats"].items()} == dict.fromkeys(("mean", "var", "count"), (5, 4))
    variables = lanes.init(KEY, X)
    y, new = jax.jit(lambda v, x: lanes.apply(v, x, mutable=["batch_stats"]))(variables, X)
    one = flax_linen.BatchNorm(use_running_average=False)
    for i in range(5):
        expected, stats = train(one, one.init(KEY, X[i]), X[i])
        close(y[i], expected)
        jax.tree.map(lambda a, b, i=i: close(a[i], b), new, stats)
    shared = nn.vmap(flax_linen.BatchNorm, variable_axes={"params": None, "batch_stats": None}, **kwargs)(
        use_running_average=False, axis_name="batch"
    )
    y, new = shared.apply(shared.init(KEY, X), X, mutable=["batch_stats"])
    expected, stats = train(one, one.init(KEY, X), X)
    close(y, expected)
    jax.tree.map(close, new, stats)


def test_groups_of_lanes():
    options = {"use_running_average": False, "axis_name": "batch", "axis_index_groups": [[0, 2], [1, 3]]}
    layer = flax_linen.BatchNorm(**options)
    variables = layer.init(KEY, X[0])
    run = lambda layer, variables: jax.vmap(
        lambda x: layer.apply(variables, x, mutable=["batch_stats"]), axis_name="batch"
    )(X[:4])
    y, new = run(layer, variables)
    one = flax_linen.BatchNorm(use_running_average=False)
    for group in ((0, 2), (1, 3)):
        index = np.array(group)
        expected, stats = train(one, one.init(KEY, X[index]), X[index])
        close(y[index], expected)
        jax.tree.map(lambda a, b, i=group: close(a[i[1]], b), new, stats)


def synchronised(layer_type):
    """Sequences of unequal length, some empty, as lanes of nn.vmap with shared statistics."""

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            layer = layer_type(use_running_average=False, axis_name="batch")
            axes = {"params": None, "batch_stats": None}
            call = nn.vmap(
                lambda m, x, k: m(x, mask=k), variable_axes=axes, split_rngs={"params": False}, axis_name="batch"
            )
            return call(layer, x, mask)

    mask = jnp.arange(8)[None, :, None] < jnp.array([8, 3, 1, 0, 0])[:, None, None]
    model = Model()
    return mask, model.apply(model.init(KEY, X, mask), X, mask, mutable=["batch_stats"])


def test_unequal_and_empty_lanes_are_right():
    mask, (y, new) = synchronised(flax_linen.BatchNorm)
    valid = X[np.broadcast_to(mask, (5, 8, 1))[..., 0]]
    stats = new["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], valid.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats["var"], valid.var(0), rtol=1e-5)
    assert np.all(np.isfinite(y))


class Body(nn.Module):
    layer_type: type

    @nn.compact
    def __call__(self, carry, x):
        return carry, self.layer_type(use_running_average=False)(x)


def scanned(layer_type, x):
    scan = nn.scan(Body, variable_broadcast="params", variable_carry="batch_stats", split_rngs={"params": False})
    variables = Body(layer_type).init(KEY, None, x[0])
    return scan(layer_type).apply(variables, None, x, mutable=["batch_stats"])


def test_scan_carries_and_stacks_statistics():
    (_, y), new = scanned(flax_linen.BatchNorm, X)
    one = flax_linen.BatchNorm(use_running_average=False)
    variables = one.init(KEY, X[0])
    for i in range(5):
        expected, stats = train(one, variables, X[i])
        variables |= stats
        close(y[i], expected)
    jax.tree.map(close, new["batch_stats"]["BatchNorm_0"], variables["batch_stats"])
    layers = nn.scan(
        Body, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True}, in_axes=nn.broadcast, length=3
    )(flax_linen.BatchNorm)
    assert layers.init(KEY, None, X[0])["batch_stats"]["BatchNorm_0"]["count"].shape == (3, 4)


def test_scan_keeps_the_state_s_dtype(x64):
    x = X.astype(jnp.float64)
    (_, y), new = scanned(flax_linen.BatchNorm, x)
    assert y.dtype == np.float64
    assert {a.dtype.name for a in jax.tree.leaves(new)} == {"float32"}


def test_batch_renorm_is_the_function():
    layer = flax_linen.BatchRenorm(momentum=0.9, r_max=1.5)
    variables = layer.init(KEY, X, use_running_average=True)
    assert set(variables["params"]) == {"scale", "bias"}
    stats = {"mean": jnp.full(4, 0.3), "var": jnp.full(4, 2.0), "count": jnp.full(4, 5.0)}
    variables["batch_stats"] = stats
    params = Params(jnp.ones(4), jnp.zeros(4))
    for bounds in ({}, {"r_max": 1.1, "d_max": 0.1}):
        y, new = train(layer, variables, X, **bounds)
        options = {"r_max": 1.5} | bounds
        options |= {"decay": 0.9, "unbiased": False}
        expected, state = batch_renorm.apply(params, State(**stats), X, train=True, **options)
        close(y, expected)
        jax.tree.map(close, new["batch_stats"], state._asdict())
    assert np.all(layer.apply(variables, X, True) == batch_renorm.apply(params, State(**stats), X, train=False)[0])


def test_alpha_dropout_is_the_function_and_its_rate_may_be_swept():
    layer = flax_linen.AlphaDropout(0.2, broadcast_dims=(1,), mean=0.1)
    key = jax.random.key(5)
    expected = dropout.alpha_dropout(key, X, 0.2, train=True, mean=0.1, shared_axes=1)
    np.testing.assert_array_equal(layer.apply({}, X, False, rng=key), expected)
    np.testing.assert_array_equal(layer.apply({}, X, True), X)
    np.testing.assert_array_equal(flax_linen.AlphaDropout(0.0).apply({}, X, False), X)  # needs no key, as in Flax
    # Without an explicit key: the one of the collection that Flax's own dropout would get.
    rngs = {"dropout": key}
    mask = flax_linen.AlphaDropout(0.3, deterministic=False).apply({}, jnp.ones(500), rngs=rngs) > 0
    drawn = nn.apply(lambda module: module.make_rng("dropout"), nn.Dropout(0.3))({}, rngs=rngs)
    np.testing.assert_array_equal(mask, dropout.dropout(drawn, jnp.ones(500), 0.3, train=True) > 0)

    sweep = lambda module: jax.vmap(lambda r: module(r, deterministic=False).apply({}, X, rngs=rngs))(
        jnp.array([0, 0.3])
    )
    swept = sweep(flax_linen.AlphaDropout)
    np.testing.assert_allclose(swept[0], X, atol=1e-7)
    close(swept[1], flax_linen.AlphaDropout(0.3, deterministic=False).apply({}, X, rngs=rngs))


@pytest.mark.parametrize("axes", [-1, None, (0, 1)])
def test_weight_standardization_is_the_function(axes):
    layer = flax_linen.WeightStandardization(nn.Conv(4, (3, 3)), gain=1.7, feature_axes=axes)
    x = jax.random.normal(KEY, (2, 5, 5, 3))
    variables = jax.jit(layer.init)(KEY, x)
    theirs = jax.eval_shape(nn.WeightNorm(nn.Conv(4, (3, 3)), feature_axes=axes).init, KEY, x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, theirs)
    scale = variables["params"]["layer_instance/kernel/scale"] * 1.5
    variables["params"]["layer_instance/kernel/scale"] = scale
    inner = variables["params"]["layer_instance"]
    outputs = () if axes is None else axes
    kernel = weight_norm.standardize(inner["kernel"], gain=1.7 * 1.5 * jnp.ones_like(scale), axis=outputs)
    expected = jax.jit(nn.Conv(4, (3, 3)).apply)({"params": inner | {"kernel": kernel}}, x)
    close(jax.jit(layer.apply)(variables, x), expected)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(layer.apply(v, x) ** 2)))(variables)["params"]
    assert np.any(gradient["layer_instance/kernel/scale"] != 0)


def test_weight_standardization_lifts():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, carry, _):
            return flax_linen.WeightStandardization(nn.Dense(4), variable_filter={"kernel"})(carry), None

    scan = nn.scan(Model, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()
    shapes = jax.eval_shape(scan.init, KEY, X[0], None)["params"]
    assert jax.tree.map(jnp.shape, shapes)["WeightStandardization_0"] == {"Dense_0/kernel/scale": (3, 4)}
    variables = scan.init(KEY, X[0], None)
    y = X[0]
    for i in range(3):
        y = Model().apply(jax.tree.map(lambda v, i=i: v[i], variables), y, None)[0]
    close(scan.apply(variables, X[0], None)[0], y)


def test_bad_input_raises():
    with pytest.raises(ValueError, match="`decay` must satisfy 0 <= decay < 1; got 1"):
        flax_linen.BatchNorm(True, momentum=1.0).init(KEY, X)
    with pytest.raises(ValueError, match="`axis` must satisfy -3 <= axis < 3"):
        flax_linen.BatchNorm(True, axis=3).init(KEY, X)
    with pytest.raises(ValueError, match="`rate` must satisfy 0 <= rate < 1; got 1"):
        flax_linen.AlphaDropout(1.0, deterministic=False).apply({}, X, rng=KEY)
    with pytest.raises(ValueError, match="use_running_average"):
        flax_linen.BatchNorm().init(KEY, X)


@pytest.mark.parametrize("mask", [None, MASK], ids=["", "mask"])
def test_complex_inputs_are_taken_as_flax_takes_them(mask):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(5, 8, 4)) + 1j * rng.normal(size=(5, 8, 4)) + 2 - 1j, jnp.complex64)
    counts = np.ones((5, 8, 1), bool) if mask is None else np.asarray(mask)
    exact = np.complex128(x)
    mean = (exact * counts).sum((0, 1)) / counts.sum()
    var = (np.abs(exact - mean) ** 2 * counts).sum((0, 1)) / counts.sum()
    layer = flax_linen.BatchNorm(momentum=0.9)
    variables = layer.init(KEY, x, use_running_average=False)
    for step in (1, 2):
        y, new = train(layer, variables, x, mask=mask)
        variables |= new
        assert y.dtype == jnp.complex64
        # 16 roundings of float32.
        np.testing.assert_allclose(y, (exact - mean) / np.sqrt(var + 1e-5), rtol=0, atol=2e-6 * np.max(np.abs(exact)))
        np.testing.assert_allclose(new["batch_stats"]["mean"], mean, rtol=2e-6)
        np.testing.assert_allclose(new["batch_stats"]["var"], var, rtol=2e-6)
        np.testing.assert_allclose(new["batch_stats"]["count"], counts.sum() * (1.0 if step == 1 else 1.9), rtol=1e-6)
    evaluated = layer.apply(variables, x, use_running_average=True)
    np.testing.assert_allclose(evaluated, (exact - mean) / np.sqrt(var + 1e-5), rtol=0, atol=1e-5)
