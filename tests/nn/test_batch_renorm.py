import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.nn import batch_norm, batch_renorm
from jnorm.nn.batch_norm import Params, State

EPS = 1e-5
apply = jax.jit(
    batch_renorm.apply,
    static_argnames=("train", "r_max", "d_max", "decay", "eps", "axis", "axis_name", "unbiased"),
)


def draw(seed, shape=(6, 4, 3), spread=1.0):
    rng = np.random.default_rng(seed)
    f = shape[-1]
    x = jnp.asarray(rng.normal(size=shape) * 2 + 3, jnp.float32)
    params = Params(*(jnp.asarray(rng.normal(size=f), jnp.float32) for _ in range(2)))
    state = State(
        jnp.asarray(3 + spread * rng.normal(size=f), jnp.float32),
        jnp.asarray(4 * np.exp(spread * rng.normal(size=f)), jnp.float32),
        jnp.float32(7),
    )
    return x, params, state


def close(got, exact, *, roundings=32):
    """Within some eps of float32 relative to the largest value."""
    scale = np.max(np.abs(np.float64(exact)), initial=0)
    np.testing.assert_allclose(np.float64(got), np.float64(exact), rtol=0, atol=roundings * 2**-23 * scale)


@pytest.mark.parametrize(("r_max", "d_max"), [(1.0, 0.0), (1.2, 0.1), (3.0, 5.0)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_paper(seed, r_max, d_max):
    x, params, state = draw(seed)
    y, new = apply(params, state, x, train=True, r_max=r_max, d_max=d_max)
    x64 = np.float64(x)
    mean, var = x64.mean((0, 1)), x64.var((0, 1))
    sigma = np.sqrt(np.float64(state.var) + EPS)
    r = np.clip(np.sqrt(var + EPS) / sigma, 1 / r_max, r_max)
    d = np.clip((mean - np.float64(state.mean)) / sigma, -d_max, d_max)
    exact = ((x64 - mean) / np.sqrt(var + EPS) * r + d) * np.float64(params.scale) + np.float64(params.shift)
    close(y, exact)
    expected = batch_norm.apply(params, state, x, train=True)[1]
    chex.assert_trees_all_close(new, expected, rtol=4 * 2**-23)  # a few roundings of an average


def test_within_the_bounds_training_gives_what_evaluation_gives():
    x, params, state = draw(4, spread=0.2)
    y, _ = apply(params, state, x, train=True, r_max=3.0, d_max=5.0)
    close(y, apply(params, state, x, train=False)[0])
    close(y, batch_norm.apply(params, state, x, train=False)[0])


@pytest.mark.parametrize("fresh", [False, True])
def test_closed_bounds_or_a_fresh_state_give_batch_norm(fresh):
    x, params, state = draw(5)
    bounds = {} if fresh else {"r_max": 1.0, "d_max": 0.0}
    state = batch_norm.init(3)[1] if fresh else state
    weights = jnp.asarray(np.random.default_rng(6).normal(size=x.shape), jnp.float32)

    def loss(f, **options):
        return lambda p, x: jnp.sum(f(p, state, x, train=True, **options)[0] * weights)

    close(apply(params, state, x, train=True, **bounds)[0], batch_norm.apply(params, state, x, train=True)[0])
    got = jax.jit(jax.grad(loss(batch_renorm.apply, **bounds), (0, 1)))(params, x)
    exact = jax.jit(jax.grad(loss(batch_norm.apply), (0, 1)))(params, x)
    jax.tree.map(lambda a, b: close(a, b, roundings=128), got, exact)


def test_r_and_d_carry_no_gradient(x64):
    """The paper's gradient: that of the formula with r and d as constants, in float64, and again for the second."""
    x, params, state = jax.tree.map(lambda a: a.astype(jnp.float64), draw(7))
    v = jnp.asarray(np.random.default_rng(8).normal(size=x.shape))
    mean, var = jnp.mean(x, (0, 1)), jnp.var(x, (0, 1))
    sigma = jnp.sqrt(state.var + EPS)
    r = jnp.clip(jnp.sqrt(var + EPS) / sigma, 1 / 1.5, 1.5)[None, None]
    d = jnp.clip((mean - state.mean) / sigma, -0.3, 0.3)[None, None]

    def formula(p, x):
        centered = x - jnp.mean(x, (0, 1), keepdims=True)
        normal = centered / jnp.sqrt(jnp.mean(centered**2, (0, 1), keepdims=True) + EPS)
        return jnp.sum(jnp.sin((normal * r + d) * p.scale[None, None] + p.shift[None, None]) * v)

    def ours(p, x):
        return jnp.sum(jnp.sin(batch_renorm.apply(p, state, x, train=True, r_max=1.5, d_max=0.3)[0]) * v)

    got, exact = (jax.jit(jax.grad(f, (0, 1)))(params, x) for f in (ours, formula))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), got, exact)
    # r and d move with x, so only one half of the second derivative is the formula's: the first half, held fixed.
    tangent = jax.jit(lambda x: jax.jvp(lambda x: ours(params, x), (x,), (v,))[1])(x)
    np.testing.assert_allclose(tangent, jnp.vdot(exact[1], v), rtol=1e-11)


def test_masks_and_members():
    x, params, state = draw(9, (12, 3))
    mask = jnp.asarray([True] * 5 + [False] * 4 + [True] * 3)
    whole, expected = apply(params, state, x, train=True, mask=mask)
    call = lambda x, m: batch_renorm.apply(params, state, x, train=True, mask=m, axis_name="i")
    y, new = jax.vmap(call, axis_name="i")(x.reshape(3, 4, 3), mask.reshape(3, 4))
    close(y.reshape(12, 3), whole)
    jax.tree.map(lambda a, b: close(a[1], b), new, expected)
    close(whole[mask], apply(params, state, x[mask], train=True)[0])
    nothing, same = apply(params, state, x, train=True, mask=mask & False)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    close(nothing, apply(params, state, x, train=False)[0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_axes_and_dtypes(dtype):
    with jax.enable_x64(dtype == "float64"):
        x, params, state = draw(10)
        x = x.astype(dtype)
        y, _ = apply(params, state, x, train=True)
        z, _ = apply(params, state, jnp.moveaxis(x, 2, 1), train=True, axis=1)
        assert y.dtype == x.dtype
        eps = float(jnp.finfo(y.dtype).eps)  # the means of the two layouts are summed differently
        np.testing.assert_allclose(np.float64(jnp.moveaxis(z, 1, 2)), np.float64(y), rtol=0, atol=16 * eps)


def test_schedule_is_the_paper_s():
    """Section 4: r_max = 1, d_max = 0 for 5000 steps, then up to 3 at 40 000 and 5 at 25 000."""
    steps = jnp.array([0, 5_000, 15_000, 22_500, 25_000, 40_000, 130_000])
    r_max, d_max = jax.jit(batch_renorm.schedule)(steps)
    np.testing.assert_allclose(r_max, [1, 1, 1 + 2 * 10 / 35, 2, 1 + 2 * 20 / 35, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(d_max, [0, 0, 2.5, 4.375, 5, 5, 5], rtol=1e-6)
    x, params, state = draw(11)
    traced = jax.jit(
        lambda step: batch_renorm.apply(
            params, state, x, train=True, **dict(zip(("r_max", "d_max"), batch_renorm.schedule(step), strict=True))
        )[0]
    )
    close(traced(0), batch_norm.apply(params, state, x, train=True)[0])
    close(traced(50_000), apply(params, state, x, train=True)[0])


def test_bad_input():
    x, params, state = draw(12)
    for options, error, text in (
        ({"r_max": 0.5}, ValueError, r"`r_max` must satisfy r_max >= 1; got 0.5"),
        ({"d_max": -1.0}, ValueError, r"`d_max` must satisfy d_max >= 0; got -1.0"),
        ({"decay": 1.2}, ValueError, r"`decay` must satisfy 0 <= decay < 1; got 1.2"),
        ({"eps": -1.0}, ValueError, r"`eps` must satisfy eps >= 0; got -1.0"),
        ({"axis": 3}, ValueError, r"`axis` must satisfy -3 <= axis < 3 .* got 3"),
        ({"axis": 1}, ValueError, r"`state.mean` must have the features of `x`, \(4,\); got \(3,\)"),
        ({"mask": jnp.ones(5, bool)}, ValueError, r"`mask` must have the axes of `x`"),
    ):
        with pytest.raises(error, match=text):
            batch_renorm.apply(params, state, x, train=True, **options)
    with pytest.raises(TypeError, match=r"`x` must have a real floating dtype; got int32"):
        batch_renorm.apply(params, state, x.astype(int), train=True)
    with pytest.raises(ValueError, match=r"`d_stop` must satisfy d_stop > start = 100; got 50"):
        batch_renorm.schedule(0, start=100, d_stop=50)
    with pytest.raises(ValueError, match=r"`r_max` must satisfy r_max >= 1; got 0.0"):
        batch_renorm.schedule(0, r_max=0.0)
