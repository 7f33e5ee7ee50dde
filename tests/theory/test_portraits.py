import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.activations import identity, selu
from jnorm.theory import portraits
from jnorm.theory.fixed_points import iterate, solve
from jnorm.theory.moments import Moments, layer_map

pytestmark = pytest.mark.usefixtures("unoptimized")


def two_wells(x):
    """Attracting points (0, 1) and (0, 4), parted by (0, 2): log2(var) -> u - .3 u (u - 1) (u - 2)."""
    u = jnp.log2(x.var)
    return Moments(0.5 * x.mean, x.var * jnp.exp2(-0.3 * u * (u - 1) * (u - 2)))


def turning(x):
    """A long ellipse in (mean, var - 2), .8 as large after a quarter turn: it enters small boxes and leaves them."""
    return Moments(-4 * (x.var - 2), 2 + 0.16 * x.mean)


def runaway(x):
    return Moments(x.mean + 1, x.var**2)


WELLS = Moments(jnp.array([0.0, 0.0]), jnp.array([1.0, 4.0]))


class TestVectorField:
    def test_it_is_the_map_minus_the_point(self, x64):
        mean, var = np.linspace(-0.5, 0.5, 3), np.array([0.1, 1.0, 2.0, 7.0])
        f = layer_map(selu, omega=0.1)
        field = portraits.vector_field(f, mean, var)
        assert [a.shape for a in field] == [(4, 3)] * 4
        for i, v in enumerate(var):
            for j, m in enumerate(mean):
                y = f(Moments(m, v))
                got = [float(a[i, j]) for a in field]
                np.testing.assert_allclose(got, [m, v, y.mean - m, y.var - v], rtol=1e-13, atol=1e-15)

    def test_it_vanishes_at_the_fixed_point_and_points_to_it(self):
        field = portraits.vector_field(layer_map(selu), [0.0], [0.5, 1.0, 2.0])
        assert abs(float(field.dvar[1, 0])) < 1e-6  # float32
        assert jnp.sign(field.dvar[:, 0])[jnp.array([0, 2])].tolist() == [1, -1]

    def test_parameters_broadcast_and_dtypes_are_kept(self):
        tau = jnp.arange(5.0).reshape(5, 1, 1)
        field = portraits.vector_field(layer_map(identity, tau=tau), [0, 1], [1, 2, 3])
        assert [a.shape for a in field] == [(5, 3, 2)] * 4
        np.testing.assert_allclose(field.dvar[:, 1, 1], 2 * tau[:, 0, 0] - 2, rtol=1e-6)  # float32
        half = portraits.vector_field(layer_map(selu), jnp.ones(2, jnp.bfloat16), jnp.ones(3, jnp.bfloat16))
        assert [a.dtype for a in half] == [jnp.bfloat16] * 4

    def test_transformations(self):
        f = lambda tau: portraits.vector_field(lambda x: Moments(x.mean, tau * x.var), [0.0, 1.0], [2.0]).dvar
        many = jax.jit(jax.vmap(f))(jnp.array([0.5, 3.0]))
        np.testing.assert_array_equal(many, [[[-1, -1]], [[4, 4]]])
        np.testing.assert_array_equal(jax.jacrev(f)(3.0), [[2, 2]])

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"`mean` must be a one-dimensional axis; got shape \(2, 1\)"):
            portraits.vector_field(two_wells, np.ones((2, 1)), [1.0])
        with pytest.raises(ValueError, match=r"`var` must be a one-dimensional axis; got shape \(\)"):
            portraits.vector_field(two_wells, [0.0], 1.0)
        with pytest.raises(ValueError, match=r"`var` must satisfy var >= 0; got -1.0"):
            portraits.vector_field(two_wells, [0.0], [1.0, -1.0])


class TestTrajectories:
    def test_they_are_iterates_with_layers_last(self):
        starts = Moments(jnp.array([[0.5], [-2.0]]), jnp.array([[3.0, 1.5, 0.5]]))
        paths, rows = portraits.trajectories(two_wells, starts, 7), iterate(two_wells, starts, 7)
        assert paths.mean.shape == paths.var.shape == (2, 3, 8)
        np.testing.assert_array_equal(paths.mean, jnp.moveaxis(rows.mean, 0, -1))
        np.testing.assert_array_equal(paths.var, jnp.moveaxis(rows.var, 0, -1))
        np.testing.assert_array_equal(paths.layers, np.full((2, 3), 7))

    def test_pairs(self):
        pairs = [(0.5, 3.0), (-2.0, 1.5)]
        expected = portraits.trajectories(two_wells, Moments(jnp.array([0.5, -2.0]), jnp.array([3.0, 1.5])), 5)
        for same in (pairs, np.array(pairs), (p for p in pairs)):
            paths = portraits.trajectories(two_wells, same, 5)
            chex.assert_trees_all_equal(paths, expected)

    def test_a_path_rests_where_it_leaves_the_finite_range(self):
        paths = portraits.trajectories(runaway, Moments(0.0, jnp.array([2.0, 0.5, jnp.nan])), 10)
        # 2^(2^l) is finite in float32 up to l = 6.
        assert paths.layers.tolist() == [6, 10, -1]
        np.testing.assert_array_equal(paths.mean[0], [0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6])
        np.testing.assert_array_equal(paths.var[0, 6:], np.full(5, 2.0**64))
        np.testing.assert_array_equal(paths.mean[1], np.arange(11))
        assert np.isnan(paths.var[2]).all()

    def test_transformations(self):
        f = lambda v: portraits.trajectories(runaway, Moments(0.0, v), 8)
        v = jnp.array([2.0, 0.5])
        chex.assert_trees_all_equal(jax.jit(jax.vmap(f))(v), f(v))

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"`starts` must be .* pairs \(mean, var\); got shape \(2, 3\)"):
            portraits.trajectories(two_wells, [(1.0, 2.0, 3.0), (1.0, 2.0, 3.0)], 3)
        with pytest.raises(ValueError, match=r"`depth` must be a whole number >= 0; got -3"):
            portraits.trajectories(two_wells, [(1.0, 2.0)], -3)
        with pytest.raises(ValueError, match=r"`var` must satisfy var >= 0; got -2.0"):
            portraits.trajectories(two_wells, [(1.0, -2.0)], 3)


def by_hand(f, mean, var, attractors, depth, tol):
    """Label and layers from the whole path of one start, by their definition."""
    path = np.array(iterate(f, Moments(mean, var), depth))
    where = []
    for m, v in path.T:
        distance = [max(abs(m - a), abs(v - b)) / t for (a, b), t in zip(np.array(attractors).T, tol, strict=True)]
        where.append(int(np.argmin(distance)) if min(distance) < 1 else -1)
    if where[-1] < 0:
        return -1, -1
    stays = next(k for k in range(depth + 1) if all(w == where[-1] for w in where[k:]))
    return where[-1], stays


class TestBasin:
    def test_published_layers(self):
        # Layers until |nu - 1| < .01 from nu = .02, .5, 3, 16 at omega 0, tau 1.
        starts = Moments(0.0, jnp.array([0.02, 0.5, 3.0, 16.0]))
        reached = portraits.basin(layer_map(selu), starts, Moments(0.0, 1.0), depth=100, tol=0.01)
        assert reached.label.tolist() == [0, 0, 0, 0]
        assert reached.layers.tolist() == [27, 18, 20, 23]

    def test_two_basins(self):
        var = jnp.array([0.8, 1.0, 1.99, 2.01, 4.0, 5.0])
        reached = portraits.basin(two_wells, Moments(jnp.array([[0.0], [3.0]]), var), WELLS, depth=60)
        assert reached.label.tolist() == [[0, 0, 0, 1, 1, 1]] * 2
        assert reached.layers[0, jnp.array([1, 4])].tolist() == [0, 0]
        assert reached.layers[1, jnp.array([1, 4])].tolist() == [9, 9]  # 3 / 2^9 < .01

    @pytest.mark.parametrize("f", [two_wells, turning, runaway])
    @pytest.mark.parametrize("tol", [(0.3, 0.3), (0.05, 1.0)])
    def test_definition(self, f, tol):
        # Twelve starts of seed 3 on each of three maps.
        rng = np.random.default_rng(3)
        mean, var = rng.normal(size=12).astype(np.float32), rng.uniform(0.6, 3.4, 12).astype(np.float32)
        goals = Moments(jnp.array([0.0, 0.1]), jnp.array([1.0, 2.0]))
        reached = portraits.basin(f, Moments(mean, var), goals, depth=15, tol=jnp.array(tol))
        expected = [by_hand(f, m, v, goals, 15, tol) for m, v in zip(mean, var, strict=True)]
        assert list(zip(reached.label.tolist(), reached.layers.tolist(), strict=True)) == expected

    def test_a_visit_does_not_count(self):
        start, goal = Moments(0.02, 2.0), Moments(0.0, 2.0)
        inside = jnp.max(jnp.abs(jnp.stack(iterate(turning, start, 30)) - jnp.array([[0.0], [2.0]])), 0) < 0.005
        assert inside[1]
        assert not inside[2]
        stays = portraits.basin(turning, start, goal, depth=30, tol=0.005).layers
        assert int(stays) > 2
        assert inside[int(stays) :].all()
        assert not inside[int(stays) - 1]

    def test_the_nearest_in_units_of_its_tolerance(self):
        stay = lambda x: x
        goals = Moments(jnp.array([0.0, 1.0]), jnp.array([1.0, 1.0]))
        reached = portraits.basin(stay, Moments(0.4, 1.0), goals, depth=2, tol=jnp.array([0.5, 2.0]))
        assert int(reached.label) == 1  # .4/.5 against .6/2
        assert int(portraits.basin(stay, Moments(0.4, 1.0), goals, depth=2, tol=0.5).label) == 0
        assert int(portraits.basin(stay, Moments(0.5, 1.0), Moments(0.0, 1.0), depth=2, tol=0.5).label) == -1

    def test_attractors_that_move_with_the_parameters(self):
        power = lambda p: lambda x: Moments(0.5 * x.mean, p * (x.var / p) ** 0.7)
        p = jnp.array([[0.5, 2.0, 9.0]])
        found = solve(power(p), Moments(jnp.array([[0.1]]), 1.0)).point
        goals = Moments(*(a.reshape(1, 3) for a in found))
        start = Moments(jnp.array([[0.3], [0.3]]), jnp.array([[0.4], [30.0]]))
        reached = portraits.basin(power(p), start, goals, depth=60)
        assert reached.label.tolist() == [[0] * 3] * 2
        for k in range(3):
            goal = Moments(found.mean[0, k], found.var[0, k])
            alone = portraits.basin(power(p[0, k]), start, goal, depth=60)
            assert reached.layers[:, k].tolist() == alone.layers[:, 0].tolist()

    def test_nan_is_nowhere(self):
        reached = portraits.basin(two_wells, Moments(jnp.array([0.0, jnp.nan]), 1.1), WELLS, depth=40)
        assert reached.label.tolist() == [0, -1]
        assert int(reached.layers[1]) == -1
        missing = Moments(jnp.array([jnp.nan, 0.0]), jnp.array([1.0, 4.0]))
        reached = portraits.basin(two_wells, Moments(0.0, jnp.array([1.1, 4.1])), missing, depth=40)
        assert reached.label.tolist() == [-1, 1]

    def test_transformations(self):
        f = lambda m, v: portraits.basin(two_wells, Moments(m, v), WELLS, depth=30)
        m, v = jnp.array([0.0, 2.0, -1.0]), jnp.array([0.7, 1.9, 2.2])
        eager = f(m, v)
        chex.assert_trees_all_equal(jax.jit(f)(m, v), eager)
        chex.assert_trees_all_equal(jax.vmap(f)(m, v), eager)
        assert eager.label.dtype == eager.layers.dtype == jnp.int32

    def test_no_layers(self):
        reached = portraits.basin(two_wells, Moments(0.0, jnp.array([1.001, 3.0])), WELLS, depth=0)
        assert (reached.label.tolist(), reached.layers.tolist()) == ([0, -1], [0, -1])

    def test_bad_input(self):
        start = Moments(0.0, jnp.ones(3))
        with pytest.raises(ValueError, match=r"`depth` must be a whole number >= 0; got -1"):
            portraits.basin(two_wells, start, WELLS, depth=-1)
        with pytest.raises(ValueError, match=r"`tol` must satisfy tol > 0; got 0"):
            portraits.basin(two_wells, start, WELLS, depth=1, tol=0)
        with pytest.raises(ValueError, match=r"`var` must satisfy var >= 0; got -1.0"):
            portraits.basin(two_wells, Moments(0.0, -1.0), WELLS, depth=1)
        with pytest.raises(ValueError, match=r"shapes must broadcast; got .*`tol` \(3,\)"):
            portraits.basin(two_wells, start, WELLS, depth=1, tol=jnp.ones(3))
        with pytest.raises(ValueError, match=r"`attractors` must broadcast to \(count, 3\); got shape \(1, 2\)"):
            portraits.basin(two_wells, start, Moments(jnp.zeros((1, 2)), 1.0), depth=1)
