"""Landscapes beside exact ones: quadratics, networks that compute the same, random walks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import jaxprs
from jnorm.measure import landscapes
from jnorm.nn import batch_norm

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(7, 7))
A = ROOT @ ROOT.T
B = RNG.normal(size=7)


def quadratic(tree):
    w = jnp.concatenate([tree["a"].ravel(), tree["b"]])
    return 0.5 * w @ jnp.asarray(A, w.dtype) @ w + jnp.asarray(B, w.dtype) @ w


def tree(w):
    return {"a": jnp.asarray(w[:4], jnp.float32).reshape(2, 2), "b": jnp.asarray(w[4:], jnp.float32)}


def exact(w):
    return 0.5 * w @ A @ w + B @ w


CENTER, FIRST, SECOND = RNG.normal(size=(3, 7))


def test_a_quadratic_has_its_plane():
    x, y = (-1.0, 0.0, 0.5), (-2.0, 1.0)
    found = landscapes.plane(quadratic, tree(CENTER), tree(FIRST), tree(SECOND), x=x, y=y)
    wanted = [[exact(CENTER + s * FIRST + t * SECOND) for s in x] for t in y]
    # Sums of 49 terms as large as the largest in float32.
    np.testing.assert_allclose(found.values, wanted, rtol=1e-5, atol=1e-4)
    directions = np.stack([FIRST, SECOND])
    inside = directions @ A @ directions.T
    np.testing.assert_allclose(found.hessian, inside, rtol=1e-5, atol=1e-4)
    gram = directions @ directions.T
    shown = np.linalg.eigvals(np.linalg.solve(gram, inside)).real.max()
    assert float(found.shown) == pytest.approx(shown, rel=1e-4)
    assert float(found.top) == pytest.approx(np.linalg.eigvalsh(A)[-1], rel=1e-5)
    assert f"{shown:.3g}" in str(found)


def test_the_plane_of_the_top_eigenvector_shows_all_of_the_curvature():
    vectors = np.linalg.eigh(A)[1]
    of = lambda first: landscapes.plane(quadratic, tree(CENTER), tree(first), tree(vectors[:, 0]), x=(0.0,), y=(0.0,))
    assert float(of(vectors[:, -1]).shown) == pytest.approx(np.linalg.eigvalsh(A)[-1], rel=1e-5)
    assert float(of(vectors[:, -2]).shown) < 0.9 * float(of(vectors[:, -2]).top)
    # One and the same direction twice is a line, of the least curvature here.
    assert float(of(3 * vectors[:, 0]).shown) == pytest.approx(np.linalg.eigvalsh(A)[0], abs=1e-4)
    assert float(of(0 * vectors[:, 1]).shown) == pytest.approx(np.linalg.eigvalsh(A)[0], abs=1e-4)


def test_a_line_passes_through_its_ends():
    found = landscapes.line(quadratic, tree(CENTER), tree(FIRST), at=(0.0, 0.25, 1.0, 2.0))
    wanted = [exact(CENTER + t * (FIRST - CENTER)) for t in (0.0, 0.25, 1.0, 2.0)]
    np.testing.assert_allclose(found.values, wanted, rtol=1e-5, atol=1e-4)


def test_chunks_change_memory_and_nothing_else():
    """What is held at once is seen in the program: arrays of as many parameter sets as are asked for."""
    x = y = tuple(np.linspace(-1, 1, 6).tolist())
    at = lambda chunk: landscapes.line(quadratic, tree(CENTER), tree(FIRST), at=x, chunk=chunk).values
    first, some, every = (at(chunk) for chunk in (1, 4, 99))
    np.testing.assert_allclose(some, first, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(every, first, rtol=1e-5, atol=1e-4)

    wide = lambda w: jnp.sum(jnp.sin(w))

    def largest(chunk):
        run = lambda w: landscapes.line(wide, w, 2 * w, at=(*x, *y), chunk=chunk).values
        sites = jaxprs.walk(jax.make_jaxpr(run)(jnp.ones(1000)))
        return max(out.aval.size for site in sites for out in site.equation.outvars)

    assert largest(1) == 1000
    assert largest(12) == 12_000


def test_losses_of_examples_keep_their_axes():
    examples = lambda w, x: jnp.square(x @ w)
    x = jax.random.normal(KEY, (5, 3))
    found = landscapes.line(examples, jnp.zeros(3), jnp.ones(3), x, at=(0.0, 1.0))
    assert found.values.shape == (2, 5)
    flat = landscapes.plane(examples, jnp.zeros(3), jnp.ones(3), -jnp.ones(3), x, x=(0.0, 1.0), y=(0.0, 1.0, 2.0))
    assert flat.values.shape == (3, 2, 5)
    np.testing.assert_allclose(flat.values[0, 1], found.values[1], rtol=1e-6)


def test_seeds_are_mapped():
    x = jax.random.normal(KEY, (5, 3))
    loss = lambda w, x: jnp.mean(jnp.cos(x @ w))
    w = jax.random.normal(jax.random.key(1), (4, 3))

    def one(w, key):
        first, second = (landscapes.random_direction(k, w, vectors=True) for k in jax.random.split(key))
        return landscapes.plane(loss, w, first, second, x, x=(-1.0, 0.0, 1.0), y=(0.0, 1.0))

    keys = jax.random.split(KEY, 4)
    mapped = jax.vmap(one)(w, keys)
    assert mapped.values.shape == (4, 2, 3)
    alone = one(w[2], keys[2])
    np.testing.assert_allclose(mapped.values[2], alone.values, atol=1e-6)
    np.testing.assert_allclose(mapped.top[2], alone.top, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4), (3, 3, 2, 5)])
def test_filters_are_the_weights_into_a_unit(shape):
    """The last axis of a kernel counts units; slices of the first one, as of ports from PyTorch, are others."""
    w = jax.random.normal(KEY, shape) * jnp.arange(1.0, shape[-1] + 1)[(None,) * (len(shape) - 1)]
    d = landscapes.random_direction(jax.random.key(1), {"w": w, "b": jnp.ones(3)})
    axes = tuple(range(len(shape) - 1))
    norms = [np.sqrt(np.sum(np.square(a), axes)) for a in (w, d["w"])]
    np.testing.assert_allclose(*norms, rtol=1e-5)
    rows = [np.sqrt(np.sum(np.square(a), tuple(range(1, len(shape))))) for a in (w, d["w"])]
    assert np.max(np.abs(rows[0] / rows[1] - 1)) > 0.01
    assert d["b"].tolist() == [0.0] * 3
    first = landscapes.random_direction(jax.random.key(1), w, axis=0)
    np.testing.assert_allclose(np.sqrt(np.sum(np.square(first), tuple(range(1, len(shape))))), rows[0], rtol=1e-5)


def test_other_lengths():
    w = {"w": jax.random.normal(KEY, (30, 40)) * 3, "b": jnp.full(5, 2.0)}
    of = lambda **options: landscapes.random_direction(KEY, w, **options)
    layer = of(normalize="layer", vectors=True)
    for name in w:
        assert float(jnp.linalg.norm(layer[name])) == pytest.approx(float(jnp.linalg.norm(w[name])), rel=1e-5)
    # 1200 squares of N(0, 1): a standard error of sqrt(2 / 1200) = .04, five of them.
    assert float(jnp.mean(of(normalize="none")["w"] ** 2)) == pytest.approx(1.0, abs=0.2)
    assert float(jnp.abs(landscapes.random_direction(KEY, jnp.zeros((2, 2)))).max()) == 0.0
    with pytest.raises(ValueError, match="`normalize` must be one of filter, layer, none; got 'unit'"):
        of(normalize="unit")
    with pytest.raises(ValueError, match="`axis` must be one of every kernel"):
        of(axis=2)


def relu_loss(params, x):
    return jnp.mean(jnp.square(jax.nn.relu(x @ params[0]) @ params[1]))


def test_a_picture_does_not_change_where_layers_are_rescaled():
    """Of relu layers one is tripled and the next one divided by three; without normalization the picture changes."""
    params = [jax.random.normal(KEY, (4, 6)), jax.random.normal(jax.random.key(1), (6, 2))]
    other = [3 * params[0], params[1] / 3]
    x = jax.random.normal(jax.random.key(2), (16, 4))

    def picture(params, normalize):
        draw = lambda key: landscapes.random_direction(key, params, normalize=normalize)
        grid = {"x": (-1.0, 0.3), "y": (-0.5, 1.0)}
        return landscapes.plane(relu_loss, params, *map(draw, jax.random.split(KEY)), x, **grid)

    for normalize in ("filter", "layer"):
        first, then = (picture(p, normalize).values for p in (params, other))
        np.testing.assert_allclose(first, then, rtol=1e-5)
    first, then = (picture(p, "none").values for p in (params, other))
    assert float(jnp.max(jnp.abs(first / then - 1))) > 0.1


def test_statistics_of_batch_norm_are_moved_or_taken_again():
    """Taken again, the loss between two networks is that of its own statistics; moved, that of those between theirs."""
    x = jax.random.normal(KEY, (64, 3)) * 2 + 1
    scale, empty = batch_norm.init(4)

    def forward(w, state, x, train):
        return batch_norm.apply(scale, state, x @ w, train=train)

    again = lambda w, x: forward(w, empty, x, True)[1]
    loss = lambda w, state, x: jnp.mean(jnp.square(forward(w, state, x, False)[0] - 1))
    ends = jax.random.normal(jax.random.key(1), (2, 3, 4))
    retaken = landscapes.line(loss, *ends, x, at=(0.0, 0.5, 1.0), state=again).values
    pairs = [(w, again(w, x)) for w in ends]
    moved = landscapes.line(lambda both, x: loss(*both, x), *pairs, x, at=(0.0, 0.5, 1.0)).values
    middle = ends.mean(0)
    h = np.asarray(x, np.float64) @ np.asarray(middle, np.float64)
    z = (h - h.mean(0)) / np.sqrt(h.var(0, ddof=1) + 1e-5)  # running variances are unbiased
    batches = np.mean((z - 1) ** 2)
    between = jax.tree.map(lambda a, b: (a + b) / 2, pairs[0][1], pairs[1][1])
    np.testing.assert_allclose(retaken[1], batches, rtol=1e-4)
    np.testing.assert_allclose(moved[1], loss(middle, between, x), rtol=1e-5)
    np.testing.assert_allclose(retaken[jnp.array([0, 2])], moved[jnp.array([0, 2])], rtol=1e-5)
    assert abs(float(retaken[1] - moved[1])) > 0.01
    flat = landscapes.plane(loss, middle, *ends, x, x=(0.0,), y=(0.0,), state=again)
    np.testing.assert_allclose(flat.values, [[batches]], rtol=1e-4)
    assert float(flat.shown) <= float(flat.top) * (1 + 1e-4)


def test_a_flat_path_is_found_whole():
    basis = np.linalg.qr(RNG.normal(size=(7, 2)))[0].T
    places = RNG.normal(size=(6, 2)) * [3.0, 1.0]
    places -= places[-1]
    found = landscapes.path_plane(
        jax.vmap(lambda w: {"a": w[:4].reshape(2, 2), "b": w[4:]})(jnp.asarray(places @ basis, jnp.float32))
    )
    flat = lambda t: np.concatenate([np.ravel(t["a"]), t["b"]])
    directions = np.stack([flat(found.first), flat(found.second)])
    # Eigenvectors of a matrix of rounding 1e-7, of eigenvalues that are apart.
    np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-4)
    np.testing.assert_allclose(found.coordinates @ directions, places @ basis, atol=1e-4)
    assert float(found.shares.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(found.shares[0]) > float(found.shares[1])


def test_random_walks_have_the_shares_that_are_said():
    """400 steps in 4000 dimensions; the limit is that of both."""
    walk = jnp.cumsum(jax.random.normal(KEY, (400, 4000)), 0)
    found = landscapes.path_plane(walk)
    np.testing.assert_allclose(found.shares, found.walk, atol=0.02)
    np.testing.assert_allclose(found.walk, [0.8106, 0.0901], atol=1e-4)


def test_barriers_of_a_double_well():
    loss = lambda w: jnp.square(w**2 - 1) + 0.5 * w
    found = landscapes.line(loss, jnp.float32(-1.0), jnp.float32(1.0), at=tuple(np.linspace(0, 1, 21).tolist()))
    lines = jnp.stack([found.values] * 3)
    wall = landscapes.barrier(lines, found.at)
    # The straight line between the ends is taken off, and with it the tilt.
    assert float(wall.height) == pytest.approx(1.0, abs=1e-6)
    assert int(wall.place) == 10
    assert float(wall.low) == pytest.approx(1.0, abs=1e-5)  # three lines that are the same
    assert float(wall.high) == pytest.approx(1.0, abs=1e-5)
    bowl = landscapes.barrier(lines * 0 + jnp.square(jnp.linspace(-1, 1, 21))[None])
    assert float(bowl.height) == 0.0


def test_intervals_of_barriers_hold_as_often_as_is_said():
    """400 sets of 8 lines with noise that hangs together, at level .1: less than 337 have a probability of 1e-4."""
    truth = jnp.array([0.0, 0.5, 0.8, 1.0, 1.0, 0.6, 0.0])

    def one(key):
        noise, keys = jax.random.split(key)
        draws = jnp.cumsum(jax.random.normal(noise, (8, 7)), 1)
        draws = draws - draws[:, :1] - (draws[:, -1:] - draws[:, :1]) * jnp.linspace(0, 1, 7)[None]
        return landscapes.barrier(truth[None] + draws, key=keys, level=0.1, draws=500)

    found = jax.jit(jax.vmap(one))(jax.random.split(KEY, 400))
    covered = (found.low <= 1.0) & (found.high >= 1.0)
    assert int(covered.sum()) >= 337
    none = jax.jit(
        jax.vmap(lambda key: landscapes.barrier(0.1 * jax.random.normal(key, (8, 7)), level=0.1, draws=500))
    )(jax.random.split(KEY, 400))
    assert int((none.low > 0).sum()) <= 63  # where there is none, one is claimed in a tenth at most


def test_wrong_arguments_are_named():
    w = jnp.ones(3)
    loss = lambda w: jnp.sum(w**2)
    with pytest.raises(TypeError, match="`start` must be a tree of floating arrays"):
        landscapes.line(loss, jnp.arange(3), w)
    with pytest.raises(ValueError, match="`end` must be a tree like the parameters"):
        landscapes.line(loss, w, jnp.ones(4))
    with pytest.raises(ValueError, match="`second` must be a tree like the parameters"):
        landscapes.plane(loss, w, w, {"w": w})
    with pytest.raises(ValueError, match="`chunk` must be a whole number >= 1"):
        landscapes.line(loss, w, w, chunk=0)
    with pytest.raises(ValueError, match=r"`losses` must be of shape \[samples, points\]"):
        landscapes.barrier(w)
    with pytest.raises(ValueError, match="`level` must satisfy 0 < level < 1"):
        landscapes.barrier(jnp.ones((3, 3)), level=1.0)
    with pytest.raises(ValueError, match="`path` must hold three points at least"):
        landscapes.path_plane(jnp.ones((2, 3)))
