"""Normalizers of what is not finite, hidden by a mask, or as large and small as floats get."""

import warnings
from functools import partial

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jnorm.interop import flax_linen, flax_nnx
from jnorm.nn import batch_norm, batch_renorm, feature_norm
from jnorm.nn.batch_norm import WARM, Params, State
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

EPS = 1e-5
RNG = np.random.default_rng(0)
BATCHES = np.float32(RNG.normal(size=(4, 8, 3)) * [1.0, 2.0, 3.0] + [0.0, 5.0, -2.0])
STATEFUL = [batch_norm, batch_renorm]


def spoiled(value, feature=1):
    """The batches, with one bad number in the second of them."""
    bad = BATCHES.copy()
    bad[1, 3, feature] = value
    return bad


def entries(batches):
    """What states count after batches of 8, of which each one weighs .9 times the next."""
    return 8 * (1 - 0.9 ** np.float64(batches)) / (1 - 0.9)


def trained(norm, batches, *, count=0.0, **options):
    params, state = norm.init(3)
    state = state._replace(count=jnp.asarray(count, jnp.float32))
    options = {"train": True, "decay": 0.9, "unbiased": False} | options
    for x in batches:
        _, state = norm.apply(params, state, jnp.asarray(x), **options)
    return state


def close(got, exact, roundings=16):
    exact = np.float64(exact)
    atol = roundings * 2.0**-23 * np.max(np.abs(exact), initial=0)
    np.testing.assert_allclose(np.float64(got), exact, rtol=0, atol=atol)


# What is not finite does not enter running statistics


@pytest.mark.parametrize("norm", STATEFUL)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
def test_a_bad_batch_leaves_the_state_as_it_was_and_is_not_counted(norm, value):
    exact = trained(norm, BATCHES[[0, 2, 3]])
    got = trained(norm, spoiled(value))
    jax.tree.map(close, got, exact)
    np.testing.assert_allclose(got.count, entries(3), rtol=1e-6)
    own = trained(norm, spoiled(value), count=np.zeros(3))
    # With a count for each feature, only the bad one misses the batch.
    np.testing.assert_allclose(own.count, entries([4, 3, 4]), rtol=1e-6)
    close(own.mean[1], exact.mean[1])
    close(own.mean[0], trained(norm, BATCHES).mean[0])


def test_a_bad_batch_in_parts_and_among_members():
    bad = spoiled(np.nan)
    for options in ({"ghost": 4}, {"unbiased": True}):
        jax.tree.map(close, trained(batch_norm, bad, **options), trained(batch_norm, BATCHES[[0, 2, 3]], **options))
    params, state = batch_norm.init(3)
    call = lambda x: batch_norm.apply(params, state, x, train=True, axis_name="members")[1]
    states = jax.vmap(call, axis_name="members")(jnp.asarray(bad[1]).reshape(2, 4, 3))
    for member in range(2):  # the bad number lies in one of them
        jax.tree.map(lambda a, b, i=member: np.testing.assert_array_equal(a[i], b), states, state)


def test_the_first_batch_may_be_bad():
    got = trained(batch_norm, spoiled(np.inf)[[1, 0]])
    close(got.mean, BATCHES[0].mean(0))
    close(got.var, BATCHES[0].var(0))


def test_a_decay_out_of_range_is_still_seen_beside_a_bad_batch():
    params, state = batch_norm.init(3)
    step = lambda x: batch_norm.apply(params, state, x, train=True, decay=jnp.float32(1.5))[1]
    assert np.all(np.isnan(step(jnp.asarray(BATCHES[0])).mean))


def test_precise_state_leaves_out_what_is_not_finite_and_says_so():
    bad = spoiled(np.inf)
    with pytest.warns(
        UserWarning, match=r"`batches` hold 1 of 4 that are not finite in 1 of 3 features, the first at 1"
    ):
        got = batch_norm.precise_state([jnp.asarray(x) for x in bad])
    exact = np.float64(BATCHES)
    rest = exact[[0, 2, 3]]
    close(got.mean, [exact.mean((0, 1))[0], rest.mean((0, 1))[1], exact.mean((0, 1))[2]])
    close(got.var, [exact.var((0, 1))[0], rest.var((0, 1))[1], exact.var((0, 1))[2]])
    with (
        pytest.raises(ValueError, match="`batches` must hold at least 1 valid entries of every feature; got 0"),
        pytest.warns(UserWarning, match="not finite"),
    ):
        batch_norm.precise_state([jnp.asarray(bad[1])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mask = jnp.isfinite(jnp.asarray(bad[1])).all(-1)
        batch_norm.precise_state([(jnp.asarray(bad[1]), mask)])


@pytest.mark.parametrize("module", [flax_linen.BatchNorm, flax_linen.BatchRenorm])
def test_linen_modules_leave_it_out(module):
    layer = module(use_running_average=False, momentum=0.9)
    variables = layer.init(jax.random.key(0), jnp.asarray(BATCHES[0]))
    for x in spoiled(np.nan):
        variables |= layer.apply(variables, jnp.asarray(x), mutable=["batch_stats"])[1]
    stats = variables["batch_stats"]
    np.testing.assert_allclose(stats["count"], entries([4, 3, 4]), rtol=1e-6)
    close(stats["mean"][1], trained(batch_norm, BATCHES[[0, 2, 3]]).mean[1])


@pytest.mark.parametrize("module", [flax_nnx.BatchNorm, flax_nnx.BatchRenorm])
def test_nnx_modules_leave_it_out(module):
    layer = module(3, momentum=0.9, rngs=nnx.Rngs(0))
    for x in spoiled(np.nan):
        layer(jnp.asarray(x))
    np.testing.assert_allclose(layer.count[...], entries([4, 3, 4]), rtol=1e-6)
    close(layer.var[...][1], trained(batch_norm, BATCHES[[0, 2, 3]]).var[1])


# A state from elsewhere is finite


def test_imported_statistics_are_finite_and_may_be_averaged():
    x = jnp.asarray(BATCHES[0])
    theirs = flax.linen.BatchNorm(use_running_average=False).init(jax.random.key(0), x)
    ours = flax_linen.BatchNorm(use_running_average=False)
    fresh = ours.init(jax.random.key(0), x)
    restored = flax_linen.restore(fresh, theirs)
    precise = batch_norm.precise_state([x])
    assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves((restored, precise)))
    assert np.all(restored["batch_stats"]["count"] == WARM)
    for old, new in ((fresh, restored), (batch_norm.init(3)[1], precise)):
        averaged = optax.incremental_update(new, old, 0.1)
        averaged = optax.incremental_update(averaged, new, 0.0)
        assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves(averaged))
    # Without a count at all: the state that comes back has a finite one, whatever a checkpoint of before said.
    for count in (jnp.inf, WARM):
        state = State(jnp.ones(3), jnp.full(3, 2.0), jnp.float32(count))
        _, new = batch_norm.apply(Params(None, None), state, x, train=True, decay=0.9, unbiased=False)
        np.testing.assert_allclose(new.count, len(x) / (1 - 0.9), rtol=1e-6)  # as after batches of this size for ever
        close(new.mean, 0.9 + 0.1 * np.float64(BATCHES[0]).mean(0))
        close(new.var, 1.8 + 0.1 * np.float64(BATCHES[0]).var(0))


# Masks


def everyone(mask):
    """Each function that takes a mask, as ``f(params, x) -> y`` for x [6, 4, 3]."""
    state = State(jnp.full(3, 0.5), jnp.full(3, 2.0), jnp.full(3, 3.0))
    functions = {
        name: partial(getattr(feature_norm, name), mask=mask) for name in ("layer_norm", "rms_norm", "instance_norm")
    }
    functions["group_norm"] = partial(feature_norm.group_norm, groups=3, mask=mask)
    for norm in STATEFUL:
        for train in (True, False):
            functions[f"{norm.__name__} {train}"] = lambda p, x, norm=norm, train=train: norm.apply(
                p, state, x, train=train, mask=mask
            )[0]
    functions["ghost"] = lambda p, x: batch_norm.apply(p, state, x, train=True, mask=mask, ghost=3)[0]
    return functions


MASKS = {"entries": (6, 4, 1), "full": (6, 4, 3)}


@pytest.mark.parametrize("hidden", beside([np.nan], [np.nan, np.inf, -np.inf, 3e38]))
@pytest.mark.parametrize("shape", MASKS)
def test_what_a_mask_hides_poisons_no_gradient(shape, hidden):
    mask = RNG.random(MASKS[shape]) < 0.7
    mask[:, 0] = True
    mask = jnp.asarray(mask)
    full = jnp.broadcast_to(mask, (6, 4, 3))
    clean = jnp.asarray(RNG.normal(size=(6, 4, 3)), jnp.float32)
    dirty = jnp.where(full, clean, jnp.float32(hidden))
    weight = jnp.asarray(RNG.normal(size=(6, 4, 3)), jnp.float32)
    params = Params(jnp.array([1.0, -2.0, 0.5]), jnp.array([0.1, 0.2, 0.3]))
    for name, f in everyone(mask).items():
        loss = lambda p, x, f=f: jnp.sum(jnp.where(full, jnp.sin(f(p, x)), 0) * weight)
        both = lambda x, loss=loss: (
            jax.grad(loss, (0, 1))(params, x),
            jax.jvp(lambda x: loss(params, x), (x,), (jnp.where(full, weight, jnp.nan),))[1],
        )
        (exact, forward), (got, spoilt) = jax.jit(both)(clean), jax.jit(both)(dirty)
        assert np.all(np.asarray(got[1])[~np.asarray(full)] == 0), name
        jax.tree.map(lambda a, b: close(a, b, 64), got, exact)
        assert np.isfinite(forward), name
        close(spoilt, forward, 64)
        assert np.all(np.isfinite(f(params, dirty))), name  # so that y * mask is finite as well


# Scale


def norms(eps):
    """Every norm without a mask, as a function of x [4, 6, 8] with features last."""
    state = batch_norm.init(8)[1]
    none = Params(None, None)
    return {
        "layer_norm": lambda x: feature_norm.layer_norm(none, x, eps=eps),
        "rms_norm": lambda x: feature_norm.rms_norm(none, x, eps=eps),
        "instance_norm": lambda x: feature_norm.instance_norm(none, x, eps=eps),
        "group_norm": lambda x: feature_norm.group_norm(none, x, groups=2, eps=eps),
        "batch_norm": lambda x: batch_norm.apply(none, state, x, train=True, eps=eps)[0],
        "batch_renorm": lambda x: batch_renorm.apply(none, state, x, train=True, eps=eps)[0],
    }


@pytest.mark.parametrize("name", norms(0.0))
@pytest.mark.parametrize("scale", [2.0**-53, 2.0**-40, 1.0, 2.0**40, 2.0**53])
def test_scale_does_not_matter_from_1e_minus_16_to_1e16(name, scale):
    """At eps = 0 the output is that of the unscaled input and the gradient 1 / scale of it: powers of 2 are exact."""
    x = jnp.asarray(RNG.normal(size=(4, 6, 8)), jnp.float32)
    weight = jnp.asarray(RNG.normal(size=x.shape), jnp.float32)
    f = norms(0.0)[name]
    run = jax.jit(lambda x: (f(x), jax.grad(lambda x: jnp.sum(f(x) * weight))(x)))
    (exact, gradient), (y, scaled) = run(x), run(x * jnp.float32(scale))
    close(y, exact)
    assert np.any(gradient != 0)
    close(np.float64(scaled) * scale, gradient, 64)


@pytest.mark.parametrize("name", norms(0.0))
def test_beyond_it_no_number_but_the_shift_comes_out(name):
    """What the docstrings say of squares that overflow or vanish in float32."""
    x = jnp.asarray(RNG.normal(size=(4, 6, 8)), jnp.float32)
    assert np.all(norms(EPS)[name](x * 1e22) == 0)
    assert not np.any(np.isfinite(norms(0.0)[name](x * 1e-24)))


def test_the_domain_holds_over_a_million_entries():
    x = jax.random.normal(jax.random.key(0), (1_000_000, 1))
    weight = jax.random.normal(jax.random.key(1), x.shape)
    f = lambda x: batch_norm.apply(*batch_norm.init(1), x, train=True, eps=0.0)[0]
    run = jax.jit(lambda x: (f(x), jax.grad(lambda x: jnp.sum(f(x) * weight))(x)))
    exact, gradient = run(x)
    for scale in (2.0**-53, 2.0**53):
        y, scaled = run(x * jnp.float32(scale))
        close(y, exact)
        close(np.float64(scaled) * scale, gradient, 64)


def test_a_small_input_beside_eps_is_small():
    x = jnp.asarray(RNG.normal(size=(4, 6, 8)) * 1e-20, jnp.float32)
    for name, mean in (("rms_norm", 0), ("layer_norm", np.mean(np.float64(x), -1, keepdims=True))):
        np.testing.assert_allclose(norms(EPS)[name](x), (np.float64(x) - mean) / np.sqrt(EPS), rtol=1e-5, atol=1e-23)
