"""Critical points, ways out and ways in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.measure import curvature


def toy(w):
    return (1 - w[0] * w[1]) ** 2


def quartic(w):
    return jnp.sum(w**4)


def bowl(*scales):
    return lambda w: jnp.sum(jnp.asarray(scales, w.dtype) * w**2) / 2


CASES = {
    "saddle": (toy, [0.0, 0.0], (1, 0, 1)),
    "degenerate": (toy, [2.0, 0.5], (0, 1, 1)),
    "not critical": (toy, [0.5, 0.0], None),
    "minimum": (bowl(1, 2, 3), [0.0, 0.0, 0.0], (0, 0, 3)),
    "maximum": (bowl(-1, -2), [0.0, 0.0], (2, 0, 0)),
    "undecided": (lambda w: jnp.sum(w) * jnp.nan, [0.0, 0.0], None),
}


@pytest.mark.parametrize("kind", CASES)
def test_kinds_and_counts(kind):
    loss, params, counts = CASES[kind]
    point = curvature.classify_critical_point(loss, jnp.array(params))
    assert point.kind == kind
    if counts is not None:
        for got, exact in zip((point.negative, point.zero, point.positive), counts, strict=True):
            np.testing.assert_allclose(np.array(got), exact, atol=1e-5)


def test_flat_points_are_degenerate():
    assert curvature.classify_critical_point(quartic, jnp.zeros(3)).kind == "degenerate"


def test_the_toy_of_the_lecture():
    """Eigenvalues -2 and 2 at the origin, a saddle, and a way out along (1, 1)."""
    point = curvature.classify_critical_point(toy, jnp.zeros(2))
    np.testing.assert_allclose([point.lowest, point.highest, point.gradient_norm], [-2, 2, 0], rtol=1e-6)
    escape = curvature.saddle_escape(toy, jnp.zeros(2), longest=np.sqrt(2))
    np.testing.assert_allclose(jnp.abs(escape.direction), np.sqrt(0.5), rtol=1e-6)
    assert escape.direction[0] * escape.direction[1] > 0
    assert escape.before == 1
    assert escape.after < 1e-10
    assert curvature.find_critical_point(toy, escape.params + 0.1).converged


def test_kinds_in_lanes_and_thresholds_by_choice():
    kinds = jax.vmap(lambda w: curvature.classify_critical_point(bowl(1, 1e-3), w))(jnp.array([[0.0, 0.0], [1.0, 0.0]]))
    assert kinds.kind == ["minimum", "not critical"]
    coarse = curvature.classify_critical_point(bowl(1, 1e-3), jnp.zeros(2), threshold=0.01)
    assert (coarse.kind, coarse.zero.value) == ("degenerate", 1)
    assert curvature.classify_critical_point(bowl(1, 1), jnp.ones(2), gradient_limit=2.0).kind == "minimum"


def test_large_operators_are_judged_by_their_ends_and_counted_in_a_band():
    scales = np.r_[np.full(1500, 1.0), np.zeros(500), np.full(501, -0.5)]
    point = curvature.classify_critical_point(lambda w: bowl(*scales)(w), jnp.zeros(2501), threshold=0.01)
    assert point.kind == "saddle"
    np.testing.assert_allclose([point.lowest, point.highest], [-0.5, 1], rtol=1e-5)
    for count, exact in ((point.negative, 501), (point.zero, 500), (point.positive, 1500)):
        assert count.low <= exact <= count.high
        assert count.high - count.low < 600


def test_there_is_no_way_out_of_a_minimum():
    escape = curvature.saddle_escape(bowl(1, 2), jnp.zeros(2))
    np.testing.assert_allclose([escape.step, escape.curvature], [0, 1], rtol=1e-6)
    np.testing.assert_array_equal(escape.params, 0)


def test_the_way_out_points_down_where_the_two_sides_differ():
    loss = lambda w: w[0] ** 3 - w[0] ** 2 / 2 + w[1] ** 2  # to the left it falls without end, to the right to 1/3
    escape = curvature.saddle_escape(loss, jnp.zeros(2))
    np.testing.assert_allclose(escape.direction, [-1, 0], atol=1e-6)
    assert escape.step == 1


def test_saddles_are_found_where_descent_would_leave_them(x64):
    """Of a random cubic: quadratic convergence to whatever critical point is near."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 6))
    a, c = (a + a.T) / 2, rng.normal(size=(6, 6, 6))
    loss = lambda w: w @ a @ w / 2 + jnp.einsum("ijk,i,j,k", c, w, w, w) / 60
    found = curvature.find_critical_point(loss, 0.2 * rng.normal(size=6), tol=1e-12)
    assert found.converged
    assert found.steps < 20
    assert jnp.linalg.norm(jax.grad(loss)(found.params)) <= 1e-12
    assert curvature.classify_critical_point(loss, found.params).kind == "saddle"


def test_saddles_of_ill_conditioned_losses_are_found(x64):
    # conjugate gradients on the square of such a Hessian, 1e12, get nowhere
    curvatures = jnp.geomspace(1e-2, 1e4, 40) * jnp.where(jnp.arange(40) % 3 == 0, -1, 1)
    turn = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (40, 40), float))[0]
    start = jax.random.normal(jax.random.key(1), (40,), float)
    loss = lambda w: jnp.sum(curvatures * (turn @ w) ** 2) / 2
    found = curvature.find_critical_point(loss, start, tol=1e-9)
    assert found.converged
    np.testing.assert_allclose(found.params, 0, atol=1e-6)


def test_data_in_microbatches_give_the_same_point(x64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    loss = lambda w, data: (data[0] @ w - data[1]) ** 2
    exact = np.linalg.lstsq(x, y)[0]
    for microbatch in (None, 7):
        found = curvature.find_critical_point(loss, np.zeros(4), (x, y), microbatch=microbatch)
        np.testing.assert_allclose(found.params, exact, atol=1e-9)
        assert curvature.classify_critical_point(loss, found.params, (x, y), microbatch=microbatch).kind == "minimum"


def test_a_search_that_cannot_end_says_so():
    found = curvature.find_critical_point(lambda w: jnp.sum(w), jnp.ones(3), steps=5)  # a slope without any curvature
    assert not found.converged
    np.testing.assert_allclose(found.gradient_norm, 3**0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: curvature.saddle_escape(toy, jnp.zeros(2), longest=0.0), "`longest` must satisfy longest > 0; got 0"),
        (lambda: curvature.find_critical_point(toy, jnp.zeros(2), steps=0), "`steps` must be a whole number >= 1"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
