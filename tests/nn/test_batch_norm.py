import itertools
import subprocess
import sys
from functools import partial
from pathlib import Path

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jnorm.nn import batch_norm
from jnorm.nn._moments import moments
from jnorm.nn.batch_norm import Groups, Params, State
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

EPS = 1e-5
# Shape, feature axes: vectors, sequences, images, features in front or in the middle, several.
LAYOUTS = [
    ((7, 5), (1,)),
    ((4, 6, 3), (2,)),
    ((3, 4, 5, 2), (3,)),
    ((3, 4, 5, 2), (1,)),
    ((6, 5), (0,)),
    ((4, 3, 5), (1, 2)),
]
MASKS = ["none", "examples", "entries", "full"]
WARM = jnp.float32(np.inf)


BIASED = partial(batch_norm.apply, unbiased=False)  # one formula for y and for the state
apply = jax.jit(BIASED, static_argnames=("train", "decay", "eps", "axis", "axis_name", "unbiased", "ghost"))


def draw(rng, shape, axes, *, mask="none", dtype=np.float32, loc=2.0):
    """Input, parameters, a warm state and a mask with at least two valid entries of every feature."""
    features = [shape[a] for a in axes]
    x = rng.normal(size=shape) * 1.5 + loc
    params = Params(*(jnp.asarray(rng.normal(size=features), jnp.float32) for _ in range(2)))
    state = State(
        jnp.asarray(rng.normal(size=features), jnp.float32), jnp.asarray(rng.random(features) + 0.5, jnp.float32), WARM
    )
    reduced = [a for a in range(len(shape)) if a not in axes]
    mask_shape = {
        "examples": [n if a == reduced[0] else 1 for a, n in enumerate(shape)],
        "entries": [n for a, n in enumerate(shape) if a in reduced],
        "full": shape,
    }.get(mask)
    if mask_shape is None:
        return jnp.asarray(x, dtype), params, state, None
    mask = rng.random(mask_shape) < 0.6
    lead = [slice(None) if mask.ndim == len(shape) and a in axes else 0 for a in range(mask.ndim)]
    first = next(i for i, n in enumerate(mask.shape) if n > 1 and not (mask.ndim == len(shape) and i in axes))
    for i in (0, 1):
        lead[first] = i
        mask[tuple(lead)] = True
    return jnp.asarray(x, dtype), params, state, jnp.asarray(mask)


def reference(x, axes, mask=None):
    """Mean, biased variance and count in float64, kept dimensions, by the definition."""
    x = np.asarray(x, np.float64)
    reduced = tuple(a for a in range(x.ndim) if a not in axes)
    if mask is None:
        mask = np.ones((1,) * x.ndim, bool)
    mask = np.asarray(mask)
    if mask.ndim < x.ndim:
        mask = np.expand_dims(mask, axes)
    mask = np.broadcast_to(mask, x.shape)
    n = mask.sum(reduced, keepdims=True)
    mean = np.where(mask, x, 0).sum(reduced, keepdims=True) / n
    var = np.where(mask, (x - mean) ** 2, 0).sum(reduced, keepdims=True) / n
    return mean, var, n


def expand(value, x, axes):
    return np.expand_dims(np.asarray(value, np.float64), tuple(a for a in range(x.ndim) if a not in axes))


def naive(params, state, x, *, axes=(-1,), eps=EPS, decay=0.99):
    """The textbook formula for a warm state, differentiated automatically."""
    axes = tuple(a % x.ndim for a in axes)
    reduced = tuple(a for a in range(x.ndim) if a not in axes)
    mean = jnp.mean(x, reduced, keepdims=True)
    var = jnp.mean((x - mean) ** 2, reduced, keepdims=True)
    scale, shift = (jnp.expand_dims(p, reduced) for p in params)
    y = (x - mean) / jnp.sqrt(var + eps) * scale + shift
    mean, var = jnp.squeeze(mean, reduced), jnp.squeeze(var, reduced)
    return y, State(decay * state.mean + (1 - decay) * mean, decay * state.var + (1 - decay) * var, state.count)


def close(got, exact, *, roundings=16, scale=None):
    """Within `roundings` eps of the result's dtype, relative to the largest value (or `scale`)."""
    got = np.asarray(got)
    scale = np.max(np.abs(np.asarray(exact, np.float64)), initial=0) if scale is None else scale
    atol = roundings * float(jnp.finfo(got.dtype).eps) * float(scale)
    np.testing.assert_allclose(np.float64(got), np.float64(exact), rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize(("layout", "mask"), [(i, MASKS[(i + k) % 4]) for i in range(len(LAYOUTS)) for k in (0, 1)])
def test_equals_the_definition(layout, mask, dtype):
    shape, axes = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == "float64"):
        x, params, state, mask = draw(rng, shape, axes, mask=mask, dtype=dtype)
        if mask is not None and mask.ndim == x.ndim and any(mask.shape[a] > 1 for a in axes):
            state = state._replace(count=jnp.full_like(state.mean, np.inf))
        y, new = jax.jit(lambda *a: apply(*a, train=True, axis=axes, mask=mask))(params, state, x)
        mean, var, _ = reference(x, axes, mask)
        scale, shift = (expand(p, x, axes) for p in params)
        exact = (np.asarray(x, np.float64) - mean) / np.sqrt(var + EPS) * scale + shift
        assert y.dtype == x.dtype
        assert y.shape == x.shape
        close(y, exact)
        for got, old, batch in ((new.mean, state.mean, mean), (new.var, state.var, var)):
            assert got.dtype == jnp.float32
            close(got, 0.99 * np.float64(old) + 0.01 * batch.reshape(old.shape))
        frozen, same = apply(params, state, x, train=False, axis=axes)
        exact = (np.asarray(x, np.float64) - expand(state.mean, x, axes)) / np.sqrt(expand(state.var, x, axes) + EPS)
        close(frozen, exact * scale + shift)
        jax.tree.map(np.testing.assert_array_equal, same, state)


def flax_apply(params, state, x, *, train, axis, mask=None):
    names = {"scale": params.scale, "bias": params.shift}
    module = flax.linen.BatchNorm(
        use_running_average=not train,
        axis=axis,
        momentum=0.99,
        epsilon=EPS,
        use_fast_variance=False,
        use_scale=params.scale is not None,
        use_bias=params.shift is not None,
        dtype=x.dtype,
    )
    variables = {
        "params": {k: v for k, v in names.items() if v is not None},
        "batch_stats": {"mean": state.mean, "var": state.var},
    }
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        y, new = module.apply(variables, x, mask=mask, mutable=["batch_stats"])
    return y, new["batch_stats"]


@pytest.mark.parametrize("seed", beside(range(0, 12, 3), range(12)))
def test_equals_flax_in_values_and_gradients(seed):
    """Random shapes, axes, masks, optional parts: Flax in its accurate setting, float32."""
    rng = np.random.default_rng(seed)
    rank = rng.integers(2, 6)
    shape = tuple(rng.integers(2, 7, rank).tolist())
    axis = int(rng.integers(-rank, rank))
    axes = (axis % rank,)
    x, params, state, mask = draw(rng, shape, axes, mask=["none", "examples"][seed % 2])
    params = Params(None if seed % 3 == 1 else params.scale, None if seed % 3 == 2 else params.shift)
    weights = jnp.asarray(rng.normal(size=shape), jnp.float32)

    def ours(params, x):
        y, new = apply(params, state, x, train=True, axis=axis, mask=mask)
        return jnp.sum(y * weights) + jnp.sum(new.mean) * 3 + jnp.sum(new.var), (y, new.mean, new.var)

    def theirs(params, x):
        y, new = flax_apply(params, state, x, train=True, axis=axis, mask=mask)
        return jnp.sum(y * weights) + jnp.sum(new["mean"]) * 3 + jnp.sum(new["var"]), (y, new["mean"], new["var"])

    got, out = jax.jit(jax.grad(ours, (0, 1), has_aux=True))(params, x)
    exact, expected = jax.jit(jax.grad(theirs, (0, 1), has_aux=True))(params, x)
    for a, b in zip(out, expected, strict=True):
        close(a, b, roundings=32)
    # The gradient sums up to shape.size products and cancels: both sides round.
    jax.tree.map(lambda a, b: close(a, b, roundings=128, scale=np.max(np.abs(b)) + 1), got, exact)
    frozen, _ = apply(params, state, x, train=False, axis=axis)
    close(frozen, flax_apply(params, state, x, train=False, axis=axis)[0])


@pytest.mark.parametrize("shape", [(1 << 20, 3), (4096, 17), (64, 28, 28, 5), (32, 3)])
@pytest.mark.parametrize("loc", [0.0, 100.0, 3000.0, 1e4])
def test_a_large_mean_costs_no_variance(shape, loc):
    x = jax.random.normal(jax.random.key(0), shape) + loc
    exact = np.std(np.float64(x).reshape(-1, shape[-1]), 0)
    y, state = jax.jit(lambda x: apply(*batch_norm.init(shape[-1]), x, train=True))(x)
    std = np.std(np.float64(y).reshape(-1, shape[-1]), 0)
    np.testing.assert_allclose(std, 1, atol=1e-3)
    # The float32 mean is off by half an ulp of itself, which adds its square to the variance. Where XLA adds up n
    # entries one by one, as some of its releases do, their roundings are a random walk of n steps.
    walk = 2**-23 * (x.size / shape[-1]) ** 0.5
    np.testing.assert_allclose(np.sqrt(state.var), exact, rtol=walk + (loc * 2**-23) ** 2)


@pytest.mark.parametrize("shape", [(8192, 16, 4), (64, 8, 20, 20), (2048, 4, 2, 8)])
@pytest.mark.parametrize("masked", [False, True])
def test_nor_does_it_where_features_lie_between_the_other_axes(shape, masked):
    """There XLA's sum on a CPU runs through the entries one by one, and a plain mean is off by .8."""
    x = jax.random.normal(jax.random.key(0), shape) + 12345.6
    mask = jnp.ones([1 if a == 1 else n for a, n in enumerate(shape)], bool) if masked else None
    y, state = apply(*batch_norm.init(shape[1]), x, train=True, axis=1, mask=mask)
    others = (0, *range(2, len(shape)))
    np.testing.assert_allclose(np.std(np.float64(y), others), 1, atol=1e-3)
    np.testing.assert_allclose(state.mean, np.mean(np.float64(x), others), rtol=2**-23)
    np.testing.assert_allclose(np.sqrt(state.var), np.std(np.float64(x), others), rtol=1e-5)


def test_bfloat16_is_as_good_as_its_inputs():
    x = (jax.random.normal(jax.random.key(0), (4096, 8)) + 100).astype(jnp.bfloat16)
    y, state = apply(*batch_norm.init(8), x, train=True)
    mean, var, _ = reference(x, (1,))
    # Statistics of the rounded inputs are exact to float32; y then is rounded once, to eps/2 = 2^-8 relative.
    close(state.mean, mean[0])
    close(state.var, var[0])
    exact = (np.float64(x) - mean) / np.sqrt(var + EPS)
    np.testing.assert_allclose(np.float64(y), exact, rtol=1.01 * 2**-8, atol=1e-6)
    np.testing.assert_allclose(np.std(np.float64(y), 0), 1, atol=1e-3)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 0.9999])
def test_a_constant_stream_gives_its_true_statistics(decay):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(16, 4)) * [1e-4, 1.0, 30.0, 1e3] + [0.0, 5.0, -40.0, 1e4], jnp.float32)
    mean, var, _ = reference(x, (1,))
    params, state = batch_norm.init(4)
    step = jax.jit(lambda s: apply(params, s, x, train=True, decay=decay)[1])
    for t in range(1, 101):
        state = step(state)
        if t in (1, 2, 10, 100):
            # 16 entries a batch; up to 100 sums in float32.
            np.testing.assert_allclose(state.count, 16 * np.sum(decay ** np.arange(t)), rtol=1e-5)
            np.testing.assert_allclose(state.mean, mean[0], rtol=1e-6, atol=1e-10)
            np.testing.assert_allclose(state.var, var[0], rtol=1e-5)  # the float32 mean of 1e4 beside std 1e3
            y, _ = apply(params, state, x, train=False, eps=0.0)
            np.testing.assert_allclose(np.std(np.float64(y), 0), 1, rtol=1e-5)


def test_running_statistics_are_the_weighted_average():
    rng = np.random.default_rng(2)
    batches = rng.normal(size=(9, 6, 3)) * rng.random((9, 1, 1)) + rng.normal(size=(9, 1, 1))
    params, state = batch_norm.init(3)
    for t in range(9):
        _, state = apply(params, state, jnp.asarray(batches[t], jnp.float32), train=True, decay=0.7)
        weights = 0.7 ** np.arange(t, -1, -1)
        weights /= weights.sum()
        close(state.mean, weights @ batches[: t + 1].mean(1))
        close(state.var, weights @ batches[: t + 1].var(1))


def test_evaluation_before_any_step_is_the_identity_up_to_eps():
    x = jax.random.normal(jax.random.key(0), (5, 3)) * 7 + 2
    y, _ = apply(*batch_norm.init(3), x, train=False)
    close(y, np.float64(x) / np.sqrt(1 + EPS), roundings=2)


def test_a_traced_decay_compiles_once_and_equals_a_known_one():
    x = jax.random.normal(jax.random.key(0), (8, 3))
    params, state = batch_norm.init(3)
    step = jax.jit(lambda s, d: BIASED(params, s, x, train=True, decay=d)[1])
    for decay in (0.0, 0.9, 0.99):
        warm = state._replace(count=WARM)
        known = apply(params, warm, x, train=True, decay=decay)[1]
        # 1 - decay in float32: eps/(1 - .99) relative in the weight.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), step(warm, decay), known)
    assert step._cache_size() == 1


def test_a_traced_decay_out_of_range_is_nan_in_its_own_lane():
    x = jax.random.normal(jax.random.key(0), (8, 3))
    params, state = batch_norm.init(3)
    for count in (0.0, 4.0, np.inf):
        step = lambda d: batch_norm.apply(params, state._replace(count=jnp.float32(count)), x, train=True, decay=d)[1]  # noqa: B023
        new = jax.vmap(step)(jnp.array([-0.1, 0.0, 0.9, 1.0, 1.5]))
        assert (
            np.isnan(new.mean).all(1).tolist() == np.isnan(new.var).all(1).tolist() == [True, False, False, True, True]
        )
        assert np.all(np.isfinite(new.mean[1:3]))


def test_unbiased_variance():
    rng = np.random.default_rng(3)
    x, params, _, mask = draw(rng, (6, 5, 3), (2,), mask="entries")
    _, var, n = reference(x, (2,), mask)
    biased = apply(params, batch_norm.init(3)[1], x, train=True, mask=mask)
    unbiased = batch_norm.apply(params, batch_norm.init(3)[1], x, train=True, mask=mask)
    close(biased[1].var, var.ravel())
    close(unbiased[1].var, (var * n / (n - 1)).ravel())
    close(unbiased[0], biased[0])  # of two programs, which may round differently
    close(unbiased[1].mean, biased[1].mean)


@pytest.mark.parametrize("count", [0.0, 5.0, np.inf])
def test_without_a_valid_entry_the_state_stays_as_it_was(count):
    rng = np.random.default_rng(4)
    x, params, state, _ = draw(rng, (4, 3), (1,))
    state = state._replace(count=jnp.float32(count))
    evaluated = apply(params, state, x, train=False)[0]
    y, new = apply(params, state, x, train=True, mask=jnp.zeros(4, bool))
    jax.tree.map(np.testing.assert_array_equal, new, state)
    np.testing.assert_array_equal(y, evaluated)
    y, new = apply(params, state, x[:0], train=True)
    jax.tree.map(np.testing.assert_array_equal, new, state)
    assert y.shape == (0, 3)
    one = jnp.array([False, True, False, False])
    y, new = apply(params, state, x, train=True, mask=one, unbiased=True)
    np.testing.assert_array_equal(new.var, state.var)  # one entry has none
    np.testing.assert_array_equal(y[1], params.shift)
    grads = jax.grad(lambda x: jnp.sum(apply(params, state, x, train=True, mask=one & False)[0]))(x)
    assert np.all(np.isfinite(grads))


def test_what_the_mask_hides_does_not_matter():
    rng = np.random.default_rng(5)
    x, params, state, mask = draw(rng, (5, 4, 3), (2,), mask="entries")
    y, new = apply(params, state, x, train=True, mask=mask)
    z, other = apply(params, state, jnp.where(mask[..., None], x, jnp.nan), train=True, mask=mask)
    jax.tree.map(np.testing.assert_array_equal, new, other)
    np.testing.assert_array_equal(y[np.asarray(mask)], z[np.asarray(mask)])


def test_features_with_their_own_masks_have_their_own_counts():
    rng = np.random.default_rng(6)
    x = jnp.asarray(rng.normal(size=(4, 2)) + 3, jnp.float32)
    params, state = batch_norm.init(2)
    state = state._replace(count=jnp.zeros(2))
    hidden = jnp.ones((4, 2), bool).at[:, 1].set(False)
    _, state = apply(params, state, x, train=True, mask=hidden)
    assert state.count.tolist() == [4, 0]
    assert (float(state.mean[1]), float(state.var[1])) == (0.0, 1.0)
    _, state = apply(params, state, x, train=True, mask=~hidden | (jnp.arange(2) == 0)[None])
    np.testing.assert_allclose(state.count, [4 + 0.99 * 4, 4], rtol=1e-6)
    close(state.mean, np.mean(np.float64(x), 0))
    close(state.var, np.var(np.float64(x), 0))


@pytest.mark.parametrize("ghost", [None, 4])
@pytest.mark.parametrize("varying", [(5, 8, 1), (1, 8, 4), (5, 1, 1), (1, 8, 1)])
def test_a_mask_may_vary_over_some_of_several_feature_axes(varying, ghost):
    """The same as one spelled out for every feature, whatever the axes that it leaves at length 1."""
    rng = np.random.default_rng(19)
    x = jnp.asarray(rng.normal(size=(5, 8, 4)), jnp.float32)
    mask = jnp.asarray(rng.random(varying) < 0.7).at[-1, :4].set(varying == (5, 1, 1))
    axis = (0, 2) if ghost is None else (1, 2)
    x, mask = (x, mask) if ghost is None else (x.swapaxes(0, 1), mask.swapaxes(0, 1))
    params, state = batch_norm.init((5, 4))
    state = state._replace(count=jnp.zeros((5, 4)))
    call = lambda mask: apply(params, state, x, train=True, axis=axis, mask=mask, unbiased=True, ghost=ghost)
    jax.tree.map(close, call(mask), call(jnp.broadcast_to(mask, x.shape)))
    if varying != (5, 1, 1):
        stale = batch_norm.precise_state([(x, mask | True), (x, mask)], axis=axis)
        jax.tree.map(close, stale, batch_norm.precise_state([x, (x, jnp.broadcast_to(mask, x.shape))], axis=axis))


def test_a_constant_feature_and_a_single_entry_give_the_shift():
    params = Params(jnp.array([3.0]), jnp.array([0.5]))
    state = batch_norm.init(1)[1]
    for x in (jnp.full((4, 1), 7.0), jnp.full((1, 1), -2.0)):
        y, new = apply(params, state, x, train=True)
        assert np.all(np.asarray(y) == 0.5)
        assert (float(new.mean[0]), float(new.var[0])) == (float(x[0, 0]), 0.0)


# Synchronised statistics


def shards(rng):
    """Four members with 5, 0, 1 and 3 valid entries of 5."""
    x = jnp.asarray(rng.normal(size=(4, 5, 3)) * 2 + [[[0.0]], [[50.0]], [[3.0]], [[-4.0]]], jnp.float32)
    return x, jnp.asarray(np.arange(5) < np.array([5, 0, 1, 3])[:, None])


def test_vmap_axis_equals_the_whole_batch_with_unequal_and_empty_members():
    x, mask = shards(np.random.default_rng(7))
    params, state = batch_norm.init(3)
    weights = jax.random.normal(jax.random.key(1), x.shape) * mask[..., None].astype(jnp.float32)

    def whole(params, x):
        y, new = apply(params, state, x.reshape(20, 3), train=True, mask=mask.reshape(20))
        return jnp.sum(y.reshape(x.shape) * weights) + jnp.sum(new.var), (y.reshape(x.shape), new)

    def parts(params, x):
        call = lambda x, mask: apply(params, state, x, train=True, mask=mask, axis_name="members")
        y, new = jax.vmap(call, axis_name="members")(x, mask)
        return jnp.sum(y * weights) + jnp.sum(new.var[1]), (y, jax.tree.map(lambda a: a[1], new))

    got, out = jax.jit(jax.grad(parts, (0, 1), has_aux=True))(params, x)
    exact, expected = jax.jit(jax.grad(whole, (0, 1), has_aux=True))(params, x)
    jax.tree.map(close, out, expected)
    jax.tree.map(lambda a, b: close(a, b, roundings=64), got, exact)
    mean, var, _ = reference(x.reshape(20, 3), (1,), mask.reshape(20))
    close(out[1].mean, mean[0])
    close(out[1].var, var[0])


PAIRS = Groups("members", ((0, 3), (2, 1)))


def test_groups_of_members_have_statistics_of_their_own():
    x, mask = shards(np.random.default_rng(7))
    params, state = batch_norm.init(3)

    def over(axis_name, x, mask, **options):
        call = lambda x, m: apply(params, state, x, train=True, mask=m, axis_name=axis_name, **options)
        return jax.vmap(call, axis_name="members")(x, mask)

    for options in ({}, {"ghost": 5}):
        got = over(PAIRS, x, mask, **options)
        for group in map(np.array, PAIRS.groups):
            exact = over("members", x[group], mask[group], **options)
            jax.tree.map(lambda a, b, i=group: close(a[i], b), got, exact)
    plain = jax.vmap(lambda x: apply(params, state, x, train=True, axis_name=PAIRS)[1].var, axis_name="members")(x)
    close(plain[0], np.var(np.float64(x)[[0, 3]].reshape(10, 3), 0))
    close(plain[1], plain[2])


@pytest.mark.parametrize("groups", [((0, 1), (2,)), ((0, 1), (2, 2)), ((0, 1),), ((0, 1, 2, 3, 4),), ((0, 1), (2, 4))])
def test_groups_split_the_members(groups):
    x = jnp.ones((4, 5, 3))
    call = lambda x: batch_norm.apply(*batch_norm.init(3), x, train=True, axis_name=Groups("i", groups))
    with pytest.raises(ValueError, match=r"`groups` must split the 4 members of the axis into groups of one size; got"):
        jax.vmap(call, axis_name="i")(x)


SHARD_MAP = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from jnorm.nn import batch_norm

rng = np.random.default_rng(7)
x = jnp.asarray(rng.normal(size=(20, 3)) * 2 + np.repeat([0.0, 50.0, 3.0, -4.0], 5)[:, None], jnp.float32)
mask = jnp.asarray((np.arange(5) < np.array([5, 0, 1, 3])[:, None]).ravel())
weights = jax.random.normal(jax.random.key(1), x.shape) * mask[:, None]
params, state = batch_norm.init(3)

def whole(p, x):
    return batch_norm.apply(p, state, x, train=True, mask=mask)

def shard(p, x, m):
    return batch_norm.apply(p, state, x, train=True, mask=m, axis_name="i")

def loss(p, x, m, w):
    y, new = shard(p, x, m)
    return jax.lax.psum(jnp.sum(y * w), "i") + jnp.sum(new.var)

def total(p, x):
    y, new = whole(p, x)
    return jnp.sum(y * weights) + jnp.sum(new.var)

def check(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

expected, gradient = jax.jit(whole)(params, x), jax.jit(jax.grad(total, (0, 1)))(params, x)
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((4,), ("i",), (kind,))
    parts = [jax.device_put(a, jax.NamedSharding(mesh, P("i"))) for a in (x, mask, weights)]
    rows = (P(), P("i"), P("i"))
    call = jax.shard_map(shard, mesh=mesh, in_specs=rows, out_specs=(P("i"), P()))
    jax.tree.map(check, jax.jit(call)(params, *parts[:2]), expected)
    groups = batch_norm.Groups("i", ((0, 1), (2, 3)))
    grouped = lambda p, x, m: batch_norm.apply(p, state, x, train=True, mask=m, axis_name=groups)[0]
    y = jax.jit(jax.shard_map(grouped, mesh=mesh, in_specs=rows, out_specs=P("i")))(params, *parts[:2])
    for half in (slice(10), slice(10, None)):
        check(np.asarray(y)[half], batch_norm.apply(params, state, x[half], train=True, mask=mask[half])[0])
    scalar = jax.shard_map(loss, mesh=mesh, in_specs=(*rows, P("i")), out_specs=P())
    jax.tree.map(check, jax.jit(jax.grad(scalar, (0, 1)))(params, *parts), gradient)
    inside = jax.shard_map(jax.grad(loss, (0, 1)), mesh=mesh, in_specs=(*rows, P("i")), out_specs=(P(), P("i")))
    jax.tree.map(check, jax.jit(inside)(params, *parts), gradient)
print("equal on", len(jax.devices()))
"""


def test_shard_map_equals_the_whole_batch_with_unequal_and_empty_shards():
    """In a process of its own, because the number of CPU devices is fixed at JAX's start."""
    start = "import jax; jax.config.update('jax_platforms', 'cpu'); jax.config.update('jax_num_cpu_devices', 4)"
    code = f"{start}\n{SHARD_MAP}"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=root, check=False
    )
    assert done.stdout.strip() == "equal on 4", done.stderr[-2000:]


# Ghost batches


def test_ghost_batches_normalize_by_themselves():
    rng = np.random.default_rng(8)
    x, params, state, mask = draw(rng, (12, 3, 4), (2,), mask="entries")
    y, new = apply(params, state, x, train=True, mask=mask, ghost=4, decay=0.0, unbiased=True)
    within, total, n = 0.0, 0.0, 0
    for i in range(0, 12, 4):
        part, part_mask = x[i : i + 4], mask[i : i + 4]
        close(y[i : i + 4], apply(params, state, part, train=True, mask=part_mask)[0])
        mean, var, count = reference(part, (2,), part_mask)
        within, total, n = within + var * count, total + mean * count, n + count
    close(new.mean, (total / n).ravel())
    close(new.var, (within / (n - 3)).ravel())
    whole = apply(params, state, x, train=True, mask=mask)
    jax.tree.map(close, apply(params, state, x, train=True, mask=mask, ghost=12), whole)


def test_ghost_batches_without_a_mask():
    rng = np.random.default_rng(18)
    x, params, state, _ = draw(rng, (12, 5, 3), (1,))
    y, new = apply(params, state, x, train=True, axis=1, ghost=4, decay=0.0)
    exact = np.float64(x).reshape(3, 4, 5, 3)
    close(new.mean, exact.mean((0, 1, 3)))
    close(new.var, exact.var((1, 3)).mean(0))
    close(y[4:8], apply(params, state, x[4:8], train=True, axis=1)[0])


def test_an_empty_ghost_batch_counts_for_nothing():
    rng = np.random.default_rng(9)
    x, params, state, _ = draw(rng, (8, 3), (1,))
    mask = jnp.arange(8) < 4
    y, new = apply(params, state, x, train=True, mask=mask, ghost=4)
    half, expected = apply(params, state, x[:4], train=True)
    close(y[:4], half)
    jax.tree.map(close, new, expected)
    np.testing.assert_array_equal(y[4:], apply(params, state, x[4:], train=False)[0])


def test_ghost_batches_over_members_pool_the_state_only():
    rng = np.random.default_rng(10)
    x, params, state, _ = draw(rng, (12, 3), (1,))
    whole, expected = apply(params, state, x, train=True, ghost=3)
    call = lambda x: apply(params, state, x, train=True, ghost=3, axis_name="i")
    y, new = jax.vmap(call, axis_name="i")(x.reshape(2, 6, 3))
    close(y.reshape(12, 3), whole)
    jax.tree.map(lambda a, b: close(a[1], b), new, expected)


# Derivatives


def derivatives(f, params, state, x, v):
    """First, second and third derivatives of a loss of all outputs, in every mode."""

    def loss(x):
        y, new = f(params, state, x)
        return jnp.sum(jnp.sin(y) * v) + jnp.sum(new.mean**2) * 5 + jnp.sum(jnp.cos(new.var)) * 5

    slope = lambda x: jnp.vdot(jax.grad(loss)(x), v)
    return {
        "reverse": jax.grad(loss)(x),
        "forward": jax.jvp(loss, (x,), (v,))[1],
        "forward over reverse": jax.jvp(jax.grad(loss), (x,), (v,))[1],
        "reverse over reverse": jax.grad(slope)(x),
        "reverse over forward": jax.grad(lambda x: jax.jvp(loss, (x,), (v,))[1])(x),
        "forward over forward": jax.jvp(lambda x: jax.jvp(loss, (x,), (v,))[1], (x,), (v,))[1],
        "third": jax.grad(lambda x: jax.jvp(slope, (x,), (v,))[1])(x),
        "parameters": jax.grad(lambda p: jnp.sum(f(p, state, x)[0] ** 2 * v))(params),
        "running": jax.grad(lambda s: jnp.sum(f(params, State(*s, WARM), x)[1].mean ** 2))(state[:2]),
    }


@pytest.mark.parametrize(
    ("layout", "dtype"), [(0, "float32"), (3, "float64"), pytest.param(5, "float64", marks=pytest.mark.thorough)]
)
def test_derivatives_equal_those_of_the_formula(layout, dtype):
    shape, axes = LAYOUTS[layout]
    rng = np.random.default_rng(11)
    with jax.enable_x64(dtype == "float64"):
        x, params, state, _ = draw(rng, shape, axes, dtype=dtype)
        v = jnp.asarray(rng.normal(size=shape), dtype)
        params, state = jax.tree.map(lambda a: a.astype(dtype), (params, state))
        ours = lambda p, s, x: apply(p, s, x, train=True, axis=axes)
        formula = lambda p, s, x: naive(p, s, x, axes=axes)
        got, exact = (jax.jit(lambda *a, f=f: derivatives(f, *a))(params, state, x, v) for f in (ours, formula))
        # Sums of up to 120 terms, in the third derivative products of four of them.
        third = got.pop("third"), exact.pop("third")
        jax.tree.map(lambda a, b: close(a, b, roundings=200), got, exact)
        close(*third, roundings=2000)


def test_hessian_of_a_large_mean():
    """The formula's own derivatives cancel here in float32; ours agree with float64."""
    x = np.random.default_rng(12).normal(size=(6, 2)) + 1e4
    x = jnp.asarray(x, jnp.float32)
    f = lambda p, s, x: jnp.sum(jnp.sin(apply(p, s, x, train=True)[0]))
    hessian = jax.jit(jax.hessian(f, 2))
    got = hessian(*batch_norm.init(2), x)
    with jax.enable_x64(True):
        exact = hessian(*batch_norm.init(2, dtype=jnp.float64), jnp.asarray(x, jnp.float64))
    # The mean's rounding, 1e4 * 2^-24, moves every y by 6e-4.
    np.testing.assert_allclose(got, exact, atol=3e-3 * np.max(np.abs(exact)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_backward_pass_keeps_x_alone(dtype):
    x = jax.random.normal(jax.random.key(0), (64, 32)).astype(dtype)
    params, state = batch_norm.init(32)
    _, pull = jax.vjp(lambda p, x: apply(p, state, x, train=True)[0], params, x)
    kept = [a for a in jax.tree.leaves(pull) if a.size >= x.size]
    assert len(kept) >= 1
    for a in kept:
        assert a.dtype == x.dtype
        np.testing.assert_array_equal(a, x)


def test_bfloat16_gradients_are_as_good_as_their_type():
    rng = np.random.default_rng(13)
    x, params, state, _ = draw(rng, (64, 8), (1,), dtype=jnp.bfloat16)
    v = jnp.asarray(rng.normal(size=x.shape), jnp.bfloat16)
    f = lambda p, x: apply(p, state, x, train=True)[0]
    got = jax.vjp(f, params, x)[1](v)
    wide = jax.vjp(f, params, x.astype(jnp.float32))[1](v.astype(jnp.float32))
    # dx is the sum of two terms, each rounded to bfloat16.
    close(got[1], wide[1], roundings=1.5)
    jax.tree.map(lambda a, b: close(a, b, roundings=16), got[0], wide[0])


def test_one_state_a_seed():
    x = jax.random.normal(jax.random.key(0), (3, 8, 4)) * 2
    params, state = jax.tree.map(lambda a: jnp.stack([a] * 3), batch_norm.init(4))
    y, new = jax.jit(jax.vmap(lambda p, s, x: apply(p, s, x, train=True)))(params, state, x)
    for i in range(3):
        one = apply(*batch_norm.init(4), x[i], train=True)
        jax.tree.map(close, (y[i], jax.tree.map(lambda a: a[i], new)), one)  # noqa: B023


def test_the_state_survives_scan():
    x = jax.random.normal(jax.random.key(0), (5, 8, 4))
    params, state = batch_norm.init(4)
    looped = state
    for batch in x:
        _, looped = apply(params, looped, batch, train=True)
    scanned, _ = lax.scan(lambda s, b: apply(params, s, b, train=True)[::-1], state, x)
    jax.tree.map(close, scanned, looped)
    ghost, _ = lax.scan(lambda s, b: apply(params, s, b, train=True, ghost=4)[::-1], state, x)
    np.testing.assert_allclose(ghost.count, 8 * np.sum(0.99 ** np.arange(5)), rtol=1e-6)


# Exact statistics


@pytest.mark.parametrize("sizes", [(60,), (1,) * 60, (7, 1, 30, 22), (59, 1)])
@pytest.mark.parametrize("unbiased", [False, True])
def test_precise_state_is_exact_whatever_the_split(sizes, unbiased):
    rng = np.random.default_rng(14)
    x = np.float32(rng.normal(size=(60, 3)) * [1.0, 1.0, 1e-3] + [0.0, 1e4, 1.0])
    edges = np.cumsum((0, *sizes))
    state = batch_norm.precise_state((jnp.asarray(x[a:b]) for a, b in itertools.pairwise(edges)), unbiased=unbiased)
    exact = np.float64(x)
    close(state.mean, exact.mean(0), roundings=2)
    # A batch's float32 mean of 1e4 is off by up to 2^-11 beside a deviation of 1, which leaves 2^-22 relative.
    np.testing.assert_allclose(state.var, exact.var(0, ddof=int(unbiased)), rtol=2e-6)
    assert float(state.count) == batch_norm.WARM


def test_precise_state_with_masks_and_axes():
    rng = np.random.default_rng(15)
    x = jnp.asarray(rng.normal(size=(10, 3, 4)), jnp.float32)
    mask = jnp.asarray(rng.random((10, 4)) < 0.5)
    empty = (x[:2], jnp.zeros((2, 4), bool))
    state = batch_norm.precise_state([empty, (x[:3], mask[:3]), (x[3:], mask[3:]), empty], axis=1)
    mean, var, _ = reference(x, (1,), mask)
    close(state.mean, mean.ravel())
    close(state.var, var.ravel())
    plain = batch_norm.precise_state([x[:9], x[9:]], axis=(1, 2))
    close(plain.mean, np.mean(np.float64(x), 0))
    assert plain.var.shape == (3, 4)


def test_precise_state_waits_for_the_device_once_in_many_batches(monkeypatch):
    fetched, fetch = [], jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda parts: fetched.append(len(parts)) or fetch(parts))
    batch_norm.precise_state([jnp.arange(6.0).reshape(2, 3)] * 40)
    assert fetched == [32, 8]


def test_precise_state_of_bad_batches():
    x = jnp.ones((2, 3))
    with pytest.raises(ValueError, match=r"`batches` must have the same features throughout; got \(3,\) and \(2,\)"):
        batch_norm.precise_state([x, x[:, :2]])
    with pytest.raises(ValueError, match=r"`batches` must hold at least 1 valid entries of every feature; got 0"):
        batch_norm.precise_state([])
    with pytest.raises(ValueError, match=r"at least 1 valid entries of every feature; got 0"):
        batch_norm.precise_state([(x, jnp.zeros(2, bool))])
    with pytest.raises(ValueError, match=r"at least 2 valid entries of every feature; got 1"):
        batch_norm.precise_state([x[:1]], unbiased=True)
    with pytest.raises(TypeError, match=r"`x` must have a real floating dtype; got int32"):
        batch_norm.precise_state([x.astype(int)])


# Folding

CONVOLUTIONS = {
    "dense": (lambda x, k: jnp.matmul(x, k, precision="highest"), (6,), (6, 4), 1),
    "valid": ({"window_strides": (1, 1), "padding": "VALID"}, (8, 7, 6), (3, 3, 6, 4), 1),
    "same": ({"window_strides": (1, 1), "padding": "SAME"}, (8, 7, 6), (3, 3, 6, 4), 1),
    "strided": ({"window_strides": (2, 3), "padding": ((2, 1), (0, 2))}, (8, 7, 6), (3, 2, 6, 4), 1),
    "dilated": ({"window_strides": (1, 1), "padding": "SAME", "rhs_dilation": (2, 2)}, (8, 7, 6), (3, 3, 6, 4), 1),
    "grouped": ({"window_strides": (1, 1), "padding": "SAME"}, (8, 7, 6), (3, 3, 2, 9), 3),
    "depthwise": ({"window_strides": (1, 1), "padding": "SAME"}, (8, 7, 6), (3, 3, 1, 12), 6),
    "sequence": ({"window_strides": (1,), "padding": "SAME"}, (9, 6), (4, 6, 5), 1),
}


def linear_of(name):
    options, shape, kernel, groups = CONVOLUTIONS[name]
    if callable(options):
        return options, shape, kernel
    space = "HW"[: len(kernel) - 2]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")

    def linear(x, k):
        return lax.conv_general_dilated(
            x, k, **options, dimension_numbers=numbers, feature_group_count=groups, precision="highest"
        )

    return linear, shape, kernel


@pytest.mark.parametrize(("norm", "shift"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_fold_does_what_the_two_layers_did(name, norm, shift, x64):
    """In turn with all parts, without bias, without scale."""
    seed = (list(CONVOLUTIONS).index(name) + shift) % 3
    rng = np.random.default_rng(seed)
    linear, shape, kernel_shape = linear_of(name)
    features = shape[-1] if norm == "before" else kernel_shape[-1]
    draw64 = lambda *size: jnp.asarray(rng.normal(size=size))
    x, kernel = draw64(4, *shape), draw64(*kernel_shape)
    bias = None if seed == 1 else draw64(kernel_shape[-1])
    params = Params(None if seed == 2 else draw64(features).at[0].set(0.0), draw64(features))
    state = State(draw64(features) * 3, jnp.asarray(rng.random(features) + 0.1), jnp.array(np.inf))
    normed = lambda x: apply(params, state, x, train=False)[0]
    layer = lambda x: linear(x, kernel) + (0 if bias is None else jnp.expand_dims(bias, tuple(range(x.ndim - 1))))
    exact = normed(layer(x)) if norm == "after" else layer(normed(x))
    pads = name not in ("dense", "valid")
    options = {"linear": linear, "shape": shape} if pads and norm == "before" else {}
    new_kernel, new_bias = batch_norm.fold(params, state, kernel, bias, norm=norm, **options)
    folded = linear(x, new_kernel)
    assert new_kernel.shape == kernel.shape
    assert new_bias.shape == (folded.shape[1:] if options else (kernel_shape[-1],))
    # Sums of up to 54 products.
    close(folded + jnp.expand_dims(new_bias, tuple(range(folded.ndim - new_bias.ndim))), exact, roundings=200)
    if options:
        _, constant = batch_norm.fold(params, state, kernel, bias, norm=norm)
        interior = np.max(np.abs(new_bias - jnp.expand_dims(constant, tuple(range(new_bias.ndim - 1)))), -1)
        assert np.max(interior) > 0.01, "the border differs"


def test_fold_a_whole_network_in_float32():
    """norm, convolution, norm, relu, norm, dense: every norm folded, equal to rounding."""
    rng = np.random.default_rng(20)
    linear, shape, kernel_shape = linear_of("same")
    f32 = lambda *size: jnp.asarray(rng.normal(size=size), jnp.float32)
    norms = [
        (Params(f32(n), f32(n)), State(f32(n), jnp.asarray(rng.random(n) + 0.5, jnp.float32), WARM)) for n in (6, 4, 4)
    ]
    x, k, b, w = f32(5, *shape), f32(*kernel_shape), f32(4), f32(4, 10)
    evaluate = lambda i, x: apply(*norms[i], x, train=False)[0]
    flat = lambda b: b.reshape((1,) * 3 + b.shape) if b.ndim == 1 else b[None]
    dense = lambda x, w: jnp.einsum("nhwc,cd->nhwd", x, w, precision="highest")
    exact = dense(evaluate(2, jax.nn.relu(evaluate(1, linear(evaluate(0, x), k) + flat(b)))), w)
    k1, b1 = batch_norm.fold(*norms[0], k, b, norm="before", linear=linear, shape=shape)
    k1, b1 = batch_norm.fold(*norms[1], k1, b1, norm="after")
    w1, c1 = batch_norm.fold(*norms[2], w, norm="before")
    close(dense(jax.nn.relu(linear(x, k1) + flat(b1)), w1) + flat(c1), exact, roundings=100)


def test_fold_bad_input():
    params, state = batch_norm.init(6)
    kernel = jnp.ones((3, 3, 6, 4))
    with pytest.raises(ValueError, match=r"`norm` must be one of before, after; got 'middle'"):
        batch_norm.fold(params, state, kernel, norm="middle")
    text = r"`kernel` \(\.\.\., in, out\) must fit the \(6,\) features after it; got \(3, 3, 6, 4\)"
    with pytest.raises(ValueError, match=text):
        batch_norm.fold(params, state, kernel, norm="after")
    with pytest.raises(ValueError, match=r"must fit the \(6,\) features before it; got \(4, 4\)"):
        batch_norm.fold(params, state, jnp.ones((4, 4)), norm="before")
    with pytest.raises(ValueError, match=r"`linear` and `shape` must be given together; got one of them"):
        batch_norm.fold(params, state, kernel, norm="before", shape=(8, 8, 6))
    with pytest.raises(TypeError, match=r"`kernel` must have a real floating dtype; got int32"):
        batch_norm.fold(params, state, kernel.astype(int), norm="before")


# Bad input

X = jnp.ones((4, 3))
BAD = {
    "features": (ValueError, r"`state.mean` must have the features of `x`, \(5,\); got \(3,\)", jnp.ones((4, 5)), {}),
    "axis": (ValueError, r"`axis` must satisfy -2 <= axis < 2 for `x` of shape \(4, 3\); got 2", X, {"axis": 2}),
    "axis below": (ValueError, r"`axis` must satisfy -2 <= axis < 2 .* got -3", X, {"axis": -3}),
    "axis twice": (
        ValueError,
        r"`axis` must name at least one axis of `x`, and each once; got \(1, -1\)",
        X,
        {"axis": (1, -1)},
    ),
    "mask": (
        ValueError,
        r"`mask` must have the axes of `x`.* got \(3,\) for `x` of shape \(4, 3\)",
        X,
        {"mask": X[0] > 0},
    ),
    "mask rank": (ValueError, r"`mask` must .* got \(1, 4, 3\)", X, {"mask": X[None] > 0}),
    "mask type": (TypeError, r"`mask` must be boolean; got dtype float32", X, {"mask": X}),
    "mask by feature": (ValueError, r"needs a `state.count` for each of them: .*; got a scalar", X, {"mask": X > 0}),
    "decay 1": (ValueError, r"`decay` must satisfy 0 <= decay < 1; got 1.0", X, {"decay": 1.0}),
    "decay below": (ValueError, r"`decay` must satisfy 0 <= decay < 1; got -0.1", X, {"decay": -0.1}),
    "eps": (ValueError, r"`eps` must satisfy eps >= 0; got -1e-05", X, {"eps": -1e-5}),
    "integer": (TypeError, r"`x` must have a real floating dtype; got int32", jnp.ones((4, 3), int), {}),
    "complex": (TypeError, r"`x` must have a real floating dtype; got complex64", X.astype(jnp.complex64), {}),
    "ghost": (ValueError, r"`ghost` must divide axis 0 of `x`.* got 3 for shape \(4, 3\)", X, {"ghost": 3}),
    "ghost 0": (ValueError, r"`ghost` must satisfy ghost >= 1; got 0", X, {"ghost": 0}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises_before_any_compile(name):
    error, text, x, options = BAD[name]
    params, state = batch_norm.init(3)
    for call in (
        batch_norm.apply,
        jax.jit(batch_norm.apply, static_argnames=("train", "axis", "ghost", "decay", "eps")),
    ):
        with pytest.raises(error, match=text):
            call(params, state, x, train=True, **options)


def test_bad_parameters():
    _, state = batch_norm.init(3)
    with pytest.raises(ValueError, match=r"`params.scale` must have the features of `x`, \(3,\); got \(1,\)"):
        apply(Params(jnp.ones(1), None), state, X, train=True)
    with pytest.raises(ValueError, match=r"`params.shift` must have the features of `x`, \(3,\); got \(4,\)"):
        apply(Params(None, jnp.ones(4)), state, X, train=False)
    with pytest.raises(ValueError, match=r"`features` must satisfy features >= 1; got 0"):
        batch_norm.init(0)


def test_moments_of_nothing_are_those_of_a_fresh_state():
    m = moments(jnp.ones((0, 2)), (0,))
    assert (m.mean.tolist(), m.var.tolist(), m.count.tolist()) == ([[0, 0]], [[1, 1]], [[0]])
