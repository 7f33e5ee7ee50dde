import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.nn import feature_norm
from jnorm.nn.batch_norm import Params
from tests.passes import kept_bytes

pytestmark = pytest.mark.usefixtures("unoptimized")

EPS = 1e-5


def parameters(rng, features, dtype=np.float32):
    return Params(*(jnp.asarray(rng.normal(size=features), dtype) for _ in range(2)))


def close(got, exact, *, roundings=16):
    """Within some eps of the result's dtype, relative to the largest value."""
    got = np.asarray(got)
    scale = np.max(np.abs(np.float64(exact)), initial=0)
    atol = roundings * float(jnp.finfo(got.dtype).eps) * scale
    np.testing.assert_allclose(np.float64(got), np.float64(exact), rtol=0, atol=atol)


def layer(params, x, axis, **options):
    return feature_norm.layer_norm(params, x, axis=axis, **options)


def rms(params, x, axis, **options):
    return feature_norm.rms_norm(params, x, axis=axis, **options)


def instance(params, x, axis, **options):
    return feature_norm.instance_norm(params, x, axis=axis, **options)


def group(params, x, axis, **options):
    return feature_norm.group_norm(params, x, groups=2, axis=axis, **options)


def definition(kind, params, x, axis, mask=None):
    """By NumPy in float64."""
    x = np.moveaxis(np.float64(x), axis, -1)
    mask = np.ones_like(x) if mask is None else np.broadcast_to(np.moveaxis(np.float64(mask), axis, -1), x.shape)
    shape = x.shape
    if kind is group:
        x, mask = (a.reshape(*shape[:-1], 2, -1) for a in (x, mask))
    between = tuple(range(1, len(shape) - 1))
    reduced = {layer: -1, rms: -1, instance: between, group: (*between, x.ndim - 1)}[kind]
    n = mask.sum(reduced, keepdims=True)
    mean = 0 if kind is rms else (x * mask).sum(reduced, keepdims=True) / n
    var = ((x - mean) ** 2 * mask).sum(reduced, keepdims=True) / n
    y = ((x - mean) / np.sqrt(var + EPS)).reshape(shape) * np.float64(params.scale) + np.float64(params.shift)
    return np.moveaxis(y, -1, axis)


KINDS = [layer, rms, instance, group]
SHAPES = [((5, 7, 6), -1), ((4, 3, 5, 6), 3), ((4, 6, 3, 5), 1), ((3, 4, 6, 2), 2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_equals_the_definition(kind, shape, axis, dtype):
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(rng.normal(size=shape) * 2 + 5, dtype)
        params = parameters(rng, shape[axis])
        y = jax.jit(lambda p, x: kind(p, x, axis))(params, x)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        close(y, definition(kind, params, x, axis))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_masked_entries_do_not_count(kind, seed):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(4, 5, 6)) + 2, jnp.float32)
    params = parameters(rng, 6)
    whole = rng.random(((4, 5, 6), (4, 5, 1), (1, 5, 6))[seed]) < 0.6
    whole[:, :1] = True
    mask = jnp.asarray(whole)
    if kind in (layer, rms):
        mask = jnp.broadcast_to(mask, x.shape).at[..., 0].set(True)
    y = jax.jit(lambda p, x, m: kind(p, x, -1, mask=m))(params, x, mask)
    close(y, definition(kind, params, x, -1, mask))
    hidden = jax.jit(lambda p, x, m: kind(p, x, -1, mask=m))(params, jnp.where(mask, x, jnp.nan), mask)
    full = np.broadcast_to(mask, x.shape)
    np.testing.assert_array_equal(np.asarray(hidden)[full], np.asarray(y)[full])


def test_without_a_valid_entry_mean_0_and_variance_1_are_taken():
    x = jnp.full((2, 3, 4), 7.0)
    none = jnp.zeros(x.shape, bool)
    for kind in KINDS:
        np.testing.assert_allclose(kind(Params(None, None), x, -1, mask=none, eps=0.0), 7.0)


FLAX = {
    layer: lambda: flax.linen.LayerNorm(epsilon=EPS, use_fast_variance=False),
    rms: lambda: flax.linen.RMSNorm(epsilon=EPS),
    instance: lambda: flax.linen.InstanceNorm(epsilon=EPS, use_fast_variance=False),
    group: lambda: flax.linen.GroupNorm(num_groups=2, epsilon=EPS, use_fast_variance=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_equals_flax_in_values_and_gradients(kind):
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.normal(size=(4, 5, 6)) * 2 + 1, jnp.float32)
    v = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    scale, shift = parameters(rng, 6)
    shift = None if kind is rms else shift
    names = {"scale": scale} if kind is rms else {"scale": scale, "bias": shift}

    def ours(p, x):
        y = kind(Params(p["scale"], p.get("bias")), x, -1)
        return jnp.sum(y * v), y

    def theirs(p, x):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            y = FLAX[kind]().apply({"params": p}, x)
        return jnp.sum(y * v), y

    got, y = jax.jit(jax.grad(ours, (0, 1), has_aux=True))(names, x)
    exact, z = jax.jit(jax.grad(theirs, (0, 1), has_aux=True))(names, x)
    close(y, z)
    jax.tree.map(lambda a, b: close(a, b, roundings=128), got, exact)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_equal_those_of_the_formula(kind, x64):
    rng = np.random.default_rng(4)
    x, v = (jnp.asarray(rng.normal(size=(3, 4, 6))) for _ in range(2))
    params = parameters(rng, 6, np.float64)

    def formula(p, x):
        y = x.reshape(3, 4, 2, 3) if kind is group else x
        axes = {layer: 2, rms: 2, instance: 1, group: (1, 3)}[kind]
        mean = 0 if kind is rms else jnp.mean(y, axes, keepdims=True)
        y = (y - mean) / jnp.sqrt(jnp.mean((y - mean) ** 2, axes, keepdims=True) + EPS)
        return jnp.sum(jnp.sin(y.reshape(x.shape) * p.scale[None, None] + p.shift[None, None]) * v)

    ours = lambda p, x: jnp.sum(jnp.sin(kind(p, x, -1)) * v)

    def derivatives(f):
        slope = lambda x: jnp.vdot(jax.grad(f, 1)(params, x), v)
        return (
            jax.grad(f, (0, 1))(params, x),
            jax.jvp(lambda x: f(params, x), (x,), (v,))[1],
            jax.grad(slope)(x),
            jax.jvp(slope, (x,), (v,))[1],
        )

    got, exact = (jax.jit(lambda f=f: derivatives(f))() for f in (ours, formula))
    jax.tree.map(lambda a, b: close(a, b, roundings=400), got, exact)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_backward_pass_keeps_x_alone(kind, dtype):
    params, x = feature_norm.init(6), jnp.ones((4, 5, 6), dtype)
    assert kept_bytes(lambda x: kind(params, x, -1), x) == {dtype: x.dtype.itemsize}


@pytest.mark.parametrize("loc", [3000.0, 12345.6])
def test_a_large_mean_costs_no_variance(loc):
    x = jax.random.normal(jax.random.key(0), (2, 8192, 8)) + loc
    for y in (
        layer(Params(None, None), x.reshape(2, -1), -1),
        instance(Params(None, None), x, -1).transpose(0, 2, 1),
        group(Params(None, None), x, -1).reshape(2, 8192, 2, 4).transpose(0, 2, 1, 3).reshape(4, -1),
    ):
        np.testing.assert_allclose(np.std(np.float64(y), -1), 1, atol=1e-3)


def test_features_over_members_equal_the_whole():
    """Layer norm with its features spread over a vmapped axis, with their own scale and shift."""
    rng = np.random.default_rng(5)
    x = jnp.asarray(rng.normal(size=(4, 6)) + 9, jnp.float32)
    params = parameters(rng, 6)
    split = lambda a: a.reshape(*a.shape[:-1], 3, 2)
    for kind in (layer, rms):
        parts = jax.vmap(lambda p, x: kind(p, x, -1, axis_name="f"), (0, 1), 1, axis_name="f")  # noqa: B023
        y = parts(jax.tree.map(split, params), split(x))
        close(y.reshape(4, 6), kind(params, x, -1))


def test_groups_tie_the_others_together():
    rng = np.random.default_rng(6)
    x = jnp.asarray(rng.normal(size=(3, 5, 6)), jnp.float32)
    params = parameters(rng, 6)
    close(feature_norm.group_norm(params, x, groups=6), feature_norm.instance_norm(params, x))
    flat = feature_norm.group_norm(Params(None, None), x, groups=1).reshape(3, -1)
    close(flat, feature_norm.layer_norm(Params(None, None), x.reshape(3, -1)))
    several = feature_norm.layer_norm(feature_norm.init((5, 6)), x, axis=(1, 2))
    close(several.reshape(3, -1), flat)


def test_bad_input():
    x, params = jnp.ones((2, 4, 6)), feature_norm.init(6)
    for call, error, text in (
        (lambda: feature_norm.layer_norm(params, x[..., :5]), ValueError, r"`params.scale` must .* \(5,\); got \(6,\)"),
        (lambda: feature_norm.layer_norm(params, x, axis=3), ValueError, r"-3 <= axis < 3 .*; got 3"),
        (lambda: feature_norm.layer_norm(params, x.astype(int)), TypeError, r"`x` must have .* got int32"),
        (lambda: feature_norm.layer_norm(params, x, eps=-1.0), ValueError, r"`eps` must satisfy eps >= 0; got -1.0"),
        (lambda: feature_norm.layer_norm(params, x, mask=x[:, :3] > 0), ValueError, r"`mask` must .* \(2, 3, 6\)"),
        (lambda: feature_norm.rms_norm(params, x, mask=x), TypeError, r"`mask` must be boolean; got dtype float32"),
        (
            lambda: feature_norm.group_norm(params, x, groups=4),
            ValueError,
            r"`groups` must divide the 6 features; got 4",
        ),
        (
            lambda: feature_norm.group_norm(params, x, groups=0),
            ValueError,
            r"`groups` must divide the 6 features; got 0",
        ),
        (lambda: feature_norm.group_norm(params, x, groups=2, axis=0), ValueError, r"`batch_axes` must not .* got 0"),
        (lambda: feature_norm.instance_norm(params, x[:, 0]), ValueError, r"one more axis beside .* got \(2, 6\)"),
        (lambda: feature_norm.init((3, 0)), ValueError, r"`features` must satisfy features >= 1; got 0"),
    ):
        with pytest.raises(error, match=text):
            call()


@pytest.mark.thorough
def test_a_single_example_under_vmap_equals_the_batch():
    rng = np.random.default_rng(5)
    x = jnp.asarray(rng.normal(size=(3, 2, 5, 4, 6)), jnp.float32)
    params = parameters(rng, 6)
    for kind in (instance, group):
        whole = kind(params, x.reshape(6, 5, 4, 6), -1).reshape(x.shape)
        one = lambda x, kind=kind: kind(params, x, -1, batch_axes=())
        close(jax.vmap(jax.vmap(one))(x), whole)
        close(kind(params, x, -1, batch_axes=(0, 1)), whole)
        close(kind(params, jnp.moveaxis(x, 0, -2), -1, batch_axes=(-2, 0)), jnp.moveaxis(whole, 0, -2))
        first = kind(params, jnp.moveaxis(x[0, 0], -1, 0), 0, batch_axes=())  # features in front
        close(jnp.moveaxis(first, 0, -1), whole[0, 0])
        mask = jnp.asarray(rng.random((5, 4)) < 0.7).at[0].set(True)
        masked = kind(params, x[0, 0], -1, batch_axes=(), mask=mask)
        close(masked, definition(kind, params, x[0, :1], -1, np.asarray(mask)[None, ..., None])[0])
    close(group(params, x[0, 0, 0, 0], -1, batch_axes=()), definition(group, params, x[0, 0, 0, :1], -1)[0])


def test_batch_axes_that_cannot_be_are_refused():
    params = Params(None, None)
    with pytest.raises(ValueError, match=r"`batch_axes` must not hold the features' axis, and be \(\) for a single"):
        group(params, jnp.ones(6), -1)
    with pytest.raises(ValueError, match=r"`x` must have one more axis .*, or batch_axes=\(\) for a single example"):
        instance(params, jnp.ones((4, 6)), -1)
    with pytest.raises(ValueError, match=r"`axis` must satisfy -2 <= axis < 2"):
        group(params, jnp.ones((4, 6)), -1, batch_axes=2)
