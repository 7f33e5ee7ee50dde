import json
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

from jnorm.activations import relu, selu, tanh
from jnorm.theory import fixed_points
from jnorm.theory.moments import Moments, layer_map

pytestmark = pytest.mark.usefixtures("unoptimized")

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "fixed_points.json").read_text())["points"]
EPS = {jnp.float32: 2.0**-23, jnp.float64: 2.0**-52}


def golden(name):
    return jnp.array([float(row[name]) for row in GOLDEN])


def spiral(p):
    """A map whose one fixed point, mean / sd = log(var) = p, moves with the parameter; complex eigenvalues."""

    def apply(x):
        a, b = x.mean / jnp.sqrt(x.var) - p, jnp.log(x.var) - p
        log_var = p + 0.6 * a + 0.4 * b + 0.1 * jnp.sin(a * b)
        return Moments((p + 0.5 * a - 0.8 * b) * jnp.exp(log_var / 2), jnp.exp(log_var))

    return apply


def lattice(x):
    """Nine fixed points, mean in {-1, 0, 1} by var in {1/2, 1, 2}: attracting, saddles and repelling."""
    u = jnp.log2(x.var)
    return Moments(x.mean + 0.3 * (x.mean - x.mean**3), x.var * jnp.exp(0.5 * (u - u**3)))


NINE = np.array([(m, v) for v in (0.5, 1.0, 2.0) for m in (-1.0, 0.0, 1.0)])


def linear(a, b, c, d):
    return lambda x: Moments(a * x.mean + b * x.var, c * x.mean + d * x.var)


def quad_map(phi, omega, tau):
    """The layer map from its definition, by adaptive quadrature split at the kink."""

    def apply(x):
        mean, sd = omega * x[0], np.sqrt(tau * x[1])

        def expect(f):
            def density(z):
                return f(z) * np.exp(-((z - mean) ** 2) / (2 * sd**2)) / (sd * np.sqrt(2 * np.pi))

            ends = sorted({mean - 12 * sd, mean, 0.0, mean + 12 * sd})
            return sum(scipy.integrate.quad(density, *ab, epsabs=1e-14, epsrel=1e-13)[0] for ab in pairwise(ends))

        first = expect(phi)
        return np.array([first, expect(lambda z: (phi(z) - first) ** 2)])

    return apply


def np_selu(z):
    return 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0)))


@jax.jit
def solve_selu(omega, tau, mean, var):
    """One program for every test that can share it: ten lanes in float64."""
    return fixed_points.solve(layer_map(selu, omega=omega, tau=tau), Moments(mean, var))


def ten(*values):
    return tuple(jnp.resize(jnp.asarray(v, float), 10) for v in values)


@jax.jit
def stability_selu(omega, tau, mean, var):
    return fixed_points.stability(layer_map(selu, omega=omega, tau=tau), Moments(mean, var))


class TestSolve:
    def test_known_points_of_selu(self, x64):
        found = solve_selu(golden("omega"), golden("tau"), *ten(0.0, 1.2))
        assert bool(found.converged.all())
        # 16 roundings times the condition number of I - J; 3e-15 to 4e-13 (tau = 2.6, where the radius is .989).
        bound = 16 * 2**-52 / (1 - golden("spectral_radius"))
        mean, var = golden("mu"), golden("nu")
        assert np.all(np.abs(found.point.mean - mean) <= bound * np.sqrt(var + mean**2))
        assert np.all(np.abs(found.point.var / var - 1) <= bound)

    def test_float32_is_float64_to_its_own_rounding(self, x64):
        single = [a.astype(jnp.float32) for a in (golden("omega"), golden("tau"), *ten(0.0, 1.2))]
        found = solve_selu(*single)
        assert found.point.var.dtype == jnp.float32
        assert bool(found.converged.all())
        # 5e-6 is the accuracy promised for the variance of the moments in float32.
        bound = 5e-6 / (1 - golden("spectral_radius"))
        assert np.all(np.abs(found.point.var.astype(float) / golden("nu") - 1) <= bound)

    @pytest.mark.parametrize(("phi", "reference"), [(selu, np_selu), (tanh, np.tanh)], ids=["selu", "tanh"])
    def test_scipy_finds_the_same(self, x64, phi, reference):
        omega, tau = 0.3, 1.4
        target = quad_map(reference, omega, tau)
        if phi is selu:
            at = np.array(solve_selu(*ten(omega, tau, 0.1, 1.0)).point)[:, 0]
        else:
            at = np.array(
                jax.jit(lambda: fixed_points.solve(layer_map(phi, omega=omega, tau=tau), Moments(0.1, 1.0)))().point
            )
        # The quadrature's 1e-13, with room for the condition number (below 10).
        np.testing.assert_allclose(target(at), at, rtol=1e-11, atol=1e-12)
        root = scipy.optimize.fsolve(lambda x: target(x) - x, at + 0.01, xtol=1e-13)
        np.testing.assert_allclose(at, root, rtol=1e-10, atol=1e-11)

    def test_repelling_points_are_found(self, x64):
        found = solve_selu(*ten(1.0, 1.0, 0.01, 1.1))
        np.testing.assert_allclose(found.point.mean, 0, atol=2e-14)  # condition number near 60
        np.testing.assert_allclose(found.point.var, 1, atol=2e-14)
        radius = stability_selu(*ten(1.0, 1.0), *found.point).spectral_radius
        assert round(float(radius[0]), 4) == 1.0768

    def test_existence_ends_where_it_should(self, x64):
        # The interval (.495589, 2.657570) of tau, known to its last digit.
        tau = ten([0.4, 0.45, 0.495588, 0.49559, 0.6, 1.0, 2.0, 2.657569, 2.657571, 3.0])[0]
        found = solve_selu(*ten(0.0), tau, *ten(0.0, 1.0))
        assert found.converged.tolist() == [False] * 3 + [True] * 5 + [False] * 2
        assert np.isnan(found.point.var).tolist() == [True] * 3 + [False] * 5 + [True] * 2

    def test_far_starts(self):
        start = Moments(*jnp.array([(0.0, 1.0), (-3.0, 0.1), (5.0, 1.0), (0.0, 1e-6), (-0.5, 1e4)]).T[..., None])
        p = jnp.linspace(-2, 2, 9)[None]
        found = fixed_points.solve(spiral(p), start)
        assert bool(found.converged.all())
        np.testing.assert_allclose(jnp.log(found.point.var), jnp.broadcast_to(p, (5, 9)), atol=1e-5)  # float32

    def test_residual_is_what_it_says_and_steps_count(self, x64):
        f = spiral(jnp.array([-1.0, 0.5]))
        loose = fixed_points.solve(f, Moments(0.0, 3.0), max_steps=2, tol=10.0)
        y, x = f(loose.point), loose.point
        expected = jnp.maximum(jnp.abs(y.mean - x.mean) / jnp.sqrt(x.var + x.mean**2), jnp.abs(y.var / x.var - 1))
        np.testing.assert_allclose(loose.residual, expected, rtol=1e-9)  # of 1e-3 or so: digits cancel
        assert loose.steps.tolist() == [2, 2]
        assert loose.converged.tolist() == [True, True]
        tight = fixed_points.solve(f, Moments(0.0, 3.0), max_steps=2)
        assert tight.converged.tolist() == [False, False]
        full = fixed_points.solve(f, Moments(0.0, 3.0))
        assert np.all(full.residual <= 128 * 2**-52)
        assert np.all(full.steps > 2)

    def test_a_start_at_the_point_stays(self):
        found = fixed_points.solve(lattice, Moments(jnp.array([0.0, 1.0]), jnp.array([1.0, 2.0])))
        np.testing.assert_array_equal(np.array(found.point), [[0, 1], [1, 2]])
        assert found.steps.max() <= 1

    def test_singular_systems(self):
        everywhere = fixed_points.solve(lambda x: x, Moments(3.0, 2.0))
        assert (bool(everywhere.converged), *map(float, everywhere.point)) == (True, 3.0, 2.0)
        line = fixed_points.solve(lambda x: Moments(0.5 * x.mean, x.var), Moments(3.0, 2.0))
        assert bool(line.converged)
        assert abs(float(line.point.mean)) < 1e-5
        # Every variance is a fixed point of relu where tau (1/2 - 1/(2 pi)) = 1, with mean sqrt(tau nu / (2 pi)).
        tau = 2 / (1 - 1 / np.pi)
        critical = fixed_points.solve(layer_map(relu, tau=tau), Moments(jnp.array([0.0, 3.0]), 2.0))
        assert bool(critical.converged.all())
        np.testing.assert_allclose(critical.point.mean**2, tau * critical.point.var / (2 * np.pi), rtol=1e-4)

    def test_a_fold(self, x64):
        # log var -> u + u^2 - delta: points at +-sqrt(delta), one of them double at 0, none below.
        delta = jnp.array([1e-2, 1e-8, -1e-8, -1e-2])
        fold = lambda x: Moments(0 * x.mean, x.var * jnp.exp(jnp.log(x.var) ** 2 - delta))
        found = fixed_points.solve(fold, Moments(0.0, 3.0))
        assert found.converged.tolist() == [True, True, False, False]
        # The rounding of exp(u^2 - delta) is that of delta divided by 2 sqrt(delta) here.
        np.testing.assert_allclose(jnp.log(found.point.var[:2]), [1e-1, 1e-4], atol=4 * 2**-52 / 2e-4)

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
    def test_the_tolerance_is_128_roundings(self, x64, dtype):
        # A map whose least residual is delta, at the start.
        delta = jnp.array([60.0, 300.0], dtype) * EPS[dtype]
        fold = lambda x: Moments(0 * x.mean, x.var * (1 + jnp.log(x.var) ** 2 + delta))
        found = fixed_points.solve(fold, Moments(dtype(0), dtype(1)))
        assert found.converged.tolist() == [True, False]

    def test_a_lane_that_fails_leaves_the_others_alone(self, x64):
        tau, mean = ten([1.0, 2.7, jnp.nan, 1.1, 0.9], [0.0, 0.0, 0.0, jnp.nan, 0.3])
        found = solve_selu(*ten(0.0), tau, mean, *ten(1.5))
        assert found.converged.tolist() == [True, False, False, False, True] * 2
        assert np.isnan(found.point.mean).tolist() == [False, True, True, True, False] * 2
        assert np.isnan(found.residual).tolist() == [False, False, True, True, False] * 2
        alone = solve_selu(*ten(0.0, [1.0, 0.9], [0.0, 0.3], 1.5))
        np.testing.assert_array_equal(np.array(found.point)[:, :5:4], np.array(alone.point)[:, :2])

    def test_zero_variance_of_a_device_array_is_data(self):
        solve = lambda v: fixed_points.solve(lattice, Moments(0.1, v))
        for way in (solve, jax.jit(solve)):
            assert way(jnp.array([0.0, -1.0, 1.5])).converged.tolist() == [False, False, True]

    def test_shapes_broadcast_and_dtypes_are_kept(self, x64):
        for like in (jnp.float32, jnp.bfloat16):
            shifts = lambda x: Moments(0.5 * x.mean + np.zeros((3, 1)).astype(x.mean.dtype), jnp.sqrt(x.var))
            found = fixed_points.solve(shifts, Moments(like(0.5), jnp.full((1, 2), 2, like)))
            assert (
                found.point.mean.shape == found.converged.shape == found.residual.shape == found.steps.shape == (3, 2)
            )
            assert found.point.mean.dtype == found.residual.dtype == like
        assert fixed_points.solve(lattice, Moments(0, 3)).point.var.dtype == jnp.float64

    def test_transformations(self, x64):
        start = jnp.array([0.3, 1.0, 4.0])
        solve = lambda p, v: fixed_points.solve(spiral(p), Moments(0.2, v))
        eager = solve(0.5, start)
        for other in (jax.jit(solve)(0.5, start), jax.vmap(solve, (None, 0))(0.5, start)):
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-14, atol=1e-15), eager.point, other.point)
            assert eager.steps.tolist() == other.steps.tolist()

    def test_any_callable(self):
        def loops(x):
            mean = jax.lax.fori_loop(0, 3, lambda _, m: 0.5 * m, x.mean)
            _, var = jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, jnp.sqrt(2 * c[1])), (0, x.var))
            return mean, var

        found = fixed_points.solve(loops, Moments(1.0, 1.0))
        np.testing.assert_allclose(np.array(found.point), [0, 2], atol=1e-5)  # float32
        constant = fixed_points.solve(lambda x: Moments(0.0, jnp.sqrt(x.var)), Moments(jnp.ones(2), 3.0))
        assert constant.point.mean.shape == (2,)

    def test_bad_input(self):
        solve = fixed_points.solve
        with pytest.raises(ValueError, match=r"`var` must satisfy var > 0; got 0.0"):
            solve(lattice, Moments(0.0, 0.0))
        with pytest.raises(ValueError, match=r"`var` must satisfy var >= 0; got -2.0"):
            solve(lattice, Moments(0.0, np.array([1.0, -2.0])))
        with pytest.raises(ValueError, match=r"`tol` must satisfy tol > 0; got 0"):
            solve(lattice, Moments(0.0, 1.0), tol=0)
        with pytest.raises(ValueError, match=r"`max_steps` must be a whole number >= 1; got 0"):
            solve(lattice, Moments(0.0, 1.0), max_steps=0)
        with pytest.raises(ValueError, match=r"shapes must broadcast; got `mean` \(2,\), `var` \(3,\)"):
            solve(lattice, Moments(jnp.ones(2), jnp.ones(3)))


class TestImplicitDerivative:
    def test_formula_and_finite_differences(self, x64):
        # tanh: by quadrature, and quick to compile.
        f = lambda p: layer_map(tanh, omega=p[0], tau=p[1])
        solve = jax.jit(lambda p: jnp.stack(fixed_points.solve(f(p), Moments(0.5, 0.3)).point))
        p, h = jnp.array([0.9, 2.5]), 1e-3
        forward, backward = jax.jit(jax.jacfwd(solve))(p), jax.jit(jax.jacrev(solve))(p)
        np.testing.assert_allclose(forward, backward, rtol=1e-12, atol=1e-13)
        point = Moments(*solve(p))
        jacobian = jax.jit(lambda: fixed_points.stability(f(p), point).jacobian)()
        direct = jax.jit(jax.jacfwd(lambda p: jnp.stack(f(p)(point))))(p)
        np.testing.assert_allclose(forward, np.linalg.solve(np.eye(2) - jacobian, direct), rtol=1e-11, atol=1e-12)

        def central(e):
            return (8 * (solve(p + h * e) - solve(p - h * e)) - solve(p + 2 * h * e) + solve(p - 2 * h * e)) / (12 * h)

        # Truncation of order h^4 = 1e-12 times a fifth derivative, rounding 1e-15 / h.
        np.testing.assert_allclose(forward, np.stack([central(e) for e in jnp.eye(2)], 1), rtol=1e-8, atol=1e-9)

    def test_closures_at_every_depth_of_transformation(self, x64):
        # The variance is e^p: every derivative is known.
        var = lambda p: fixed_points.solve(spiral(p), Moments(0.0, 1.0)).point.var
        ps = jnp.array([-1.0, 0.0, 0.7])
        for derivative in (
            jax.jit(jax.vmap(jax.grad(var))),
            jax.vmap(jax.grad(jax.jit(var))),
            jax.jit(lambda ps: jax.jvp(var, (ps,), (jnp.ones_like(ps),))[1]),
            jax.jit(jax.vmap(jax.hessian(var))),
        ):
            np.testing.assert_allclose(derivative(ps), jnp.exp(ps), rtol=1e-12)

    def test_start_and_residual_have_none(self):
        def both(start):
            found = fixed_points.solve(spiral(0.3), Moments(*start))
            return jnp.stack([*found.point, found.residual])

        np.testing.assert_array_equal(jax.jacfwd(both)((0.0, 1.0)), np.zeros((2, 3)))
        np.testing.assert_array_equal(jax.jacrev(both)((0.0, 1.0)), np.zeros((2, 3)))

    def test_lanes_without_a_point_do_not_spoil_shared_parameters(self, x64):
        # Points at log var = -sqrt(scale * delta); none for a negative delta, where the iteration runs into overflow.
        @jax.jit
        @jax.grad
        def total(scale, delta, start):
            fold = lambda x: Moments(0.1 * x.mean, x.var * jnp.exp(jnp.log(x.var) ** 2 - scale * delta))
            found = fixed_points.solve(fold, Moments(0.0, start))
            return jnp.sum(jnp.where(found.converged, jnp.log(found.point.var), 0))

        delta, start = jnp.array([0.01, -0.5, 0.04, 0.09]), jnp.array([0.8, 3.0, 0.8, jnp.nan])
        np.testing.assert_allclose(total(1.0, delta, start), -(0.1 + 0.2) / 2, rtol=1e-12)

    def test_it_is_not_unrolled(self):
        jaxpr = str(jax.make_jaxpr(jax.grad(lambda p: fixed_points.solve(spiral(p), Moments(0.0, 1.0)).point.var))(0.3))
        assert jaxpr.count("while[") == 1  # the search itself, which reverse mode could not pass through


class TestSolveAll:
    BOX = (Moments(-2.0, 0.1), Moments(2.0, 10.0))

    def test_nine(self, x64):
        found = fixed_points.solve_all(lattice, self.BOX)
        np.testing.assert_allclose(np.array(found.point).T, NINE, rtol=1e-13, atol=1e-13)
        assert bool(found.converged.all())
        assert found.residual.shape == found.steps.shape == (9,)

    def test_float32(self):
        found = fixed_points.solve_all(lattice, self.BOX)
        np.testing.assert_allclose(np.array(found.point).T, NINE, rtol=1e-5, atol=1e-5)
        assert found.point.var.dtype == jnp.float32

    def test_the_box_is_a_filter(self, x64):
        found = fixed_points.solve_all(lattice, (Moments(-0.5, 0.7), Moments(1.0, 5.0)))  # one edge on points
        np.testing.assert_allclose(np.array(found.point).T, [(0, 1), (1, 1), (0, 2), (1, 2)], atol=1e-13)
        none = fixed_points.solve_all(lattice, (Moments(0.2, 1.1), Moments(0.9, 1.9)))
        assert none.point.mean.shape == none.converged.shape == (0,)

    def test_a_box_down_to_zero(self, x64):
        found = fixed_points.solve_all(lattice, (Moments(-2.0, 0.0), Moments(2.0, 10.0)))
        np.testing.assert_allclose(np.array(found.point).T, NINE, rtol=1e-13, atol=1e-13)

    def test_many_and_close(self, x64):
        # Nullclines that cross at mean k/5 and log(var) 0, .001 and 1: 21 x 3 points, in pairs that share a cell.
        def f(x):
            u = jnp.log(x.var)
            return Moments(x.mean + 0.05 * jnp.sin(5 * jnp.pi * x.mean), x.var * jnp.exp(u * (u - 1e-3) * (u - 1)))

        found = fixed_points.solve_all(f, (Moments(-2.05, 0.3), Moments(2.05, 4.0)), cells=96)
        expected = [(m / 5, np.exp(u)) for u in (0, 1e-3, 1) for m in range(-10, 11)]
        at = np.array(found.point).T
        assert len(at) == 63
        np.testing.assert_allclose(at, expected, rtol=1e-11, atol=1e-11)  # condition number 1e3

    def test_random_systems(self, x64):
        # Cubic in rotated coordinates, with nine known points for each of three draws of seed 0.
        rng = np.random.default_rng(0)
        for _ in range(3):
            roots, angle = np.sort(rng.uniform(-1, 1, (2, 3)) + 2.5 * np.arange(-1, 2), 1), rng.uniform(0, np.pi)
            rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

            def f(x, roots=roots, rotate=rotate):
                u = jnp.log(x.var)
                a, b = rotate[0, 0] * x.mean + rotate[1, 0] * u, rotate[0, 1] * x.mean + rotate[1, 1] * u
                p, q = (
                    (a - roots[0, 0]) * (a - roots[0, 1]) * (a - roots[0, 2]),
                    (b - roots[1, 0]) * (b - roots[1, 1]) * (b - roots[1, 2]),
                )
                return Moments(x.mean + 0.1 * (p + q), x.var * jnp.exp(0.1 * (p - q)))

            found = fixed_points.solve_all(f, (Moments(-6.0, np.exp(-6.0)), Moments(6.0, np.exp(6.0))))
            chart = np.stack([found.point.mean, np.log(found.point.var)])
            known = rotate @ np.array([(a, b) for a in roots[0] for b in roots[1]]).T
            distance = np.abs(known[:, :, None] - chart[:, None, :]).max(0)
            assert distance.shape == (9, 9)
            assert distance.min(1).max() < 1e-11

    def test_selu_has_two_near_its_bifurcation(self, x64):
        # At omega = .9, tau = 1 the point (0, 1) attracts, and a saddle stands near it: each solves the definition.
        found = fixed_points.solve_all(layer_map(selu, omega=0.9), (Moments(-2.0, 1e-3), Moments(2.0, 100.0)))
        assert found.converged.shape == (2,)
        target = quad_map(np_selu, 0.9, 1.0)
        for at in np.array(found.point).T:
            np.testing.assert_allclose(target(at), at, rtol=1e-11, atol=1e-11)
        radius = stability_selu(*ten(0.9, 1.0, *found.point)).spectral_radius
        assert (radius[:2] > 1).tolist() == [True, False]

    def test_a_continuum_is_sampled(self):
        found = fixed_points.solve_all(lambda x: x, self.BOX, cells=6)
        assert len(found.residual) >= 36

    def test_bad_input(self):
        solve_all, low, high = fixed_points.solve_all, *self.BOX
        with pytest.raises(ValueError, match=r"`box` must satisfy high.mean - low.mean > 0; got -4.0"):
            solve_all(lattice, (Moments(2.0, 0.1), Moments(-2.0, 1.0)))
        with pytest.raises(ValueError, match=r"`box` must satisfy high.var - low.var > 0; got 0.0"):
            solve_all(lattice, (low, Moments(2.0, 0.1)))
        with pytest.raises(ValueError, match=r"`box` must satisfy low.var >= 0; got -1.0"):
            solve_all(lattice, (Moments(0.0, -1.0), high))
        with pytest.raises(ValueError, match=r"`box` must be finite; got \[-2.0, .*\] to \[nan, 1.0\]"):
            solve_all(lattice, (low, Moments(np.nan, 1.0)))
        with pytest.raises(ValueError, match=r"`cells` must be a whole number >= 1; got 2.5"):
            solve_all(lattice, self.BOX, cells=2.5)
        with pytest.raises(ValueError, match=r"`tol` must satisfy tol > 0; got -1"):
            solve_all(lattice, self.BOX, tol=-1.0)
        with pytest.raises(
            ValueError, match=r"`layer_map` must keep the shape of its points; it takes \(3,\) to \(2, 3\)"
        ):
            solve_all(lambda x: Moments(*(jnp.stack([a, a]) for a in x)), self.BOX)


class TestIterate:
    def test_rows_are_the_map_again_and_again(self, x64):
        f, x = layer_map(selu, omega=jnp.array([0.0, 0.1]), tau=1.1), Moments(0.5, jnp.array([[3.0], [0.1]]))
        rows = fixed_points.iterate(f, x, 4)
        assert rows.mean.shape == rows.var.shape == (5, 2, 2)
        np.testing.assert_array_equal(rows.var[0], jnp.broadcast_to(x.var, (2, 2)))
        for row in np.array(rows).swapaxes(0, 1)[1:]:
            x = f(x)
            np.testing.assert_allclose(row, np.array(x), rtol=1e-14)

    def test_layers_to_the_fixed_point(self):
        # Published counts of layers until |nu - 1| < .01 from nu = .02, .5, 3, 16.
        rows = fixed_points.iterate(layer_map(selu), Moments(0.0, jnp.array([0.02, 0.5, 3.0, 16.0])), 40)
        assert jnp.argmax(jnp.abs(rows.var - 1) < 0.01, 0).tolist() == [27, 18, 20, 23]

    def test_no_layers(self):
        rows = fixed_points.iterate(lattice, Moments(0.5, 2.0), 0)
        np.testing.assert_array_equal(np.array(rows), [[0.5], [2.0]])

    def test_transformations_and_derivative(self, x64):
        last = lambda p, v: fixed_points.iterate(spiral(p), Moments(0.1, v), 3).var[-1]
        grad = jax.grad(last, (0, 1))(0.2, 1.5)
        h = 1e-5
        for i, e in enumerate(((h, 0), (0, h))):
            central = (last(0.2 + e[0], 1.5 + e[1]) - last(0.2 - e[0], 1.5 - e[1])) / (2 * h)
            np.testing.assert_allclose(grad[i], central, rtol=1e-8)  # h^2, eps / h
        v = jnp.array([0.5, 2.0])
        np.testing.assert_allclose(jax.jit(jax.vmap(last, (None, 0)))(0.2, v), last(0.2, v), rtol=1e-14)

    def test_half_precision_works_inside_in_float32(self):
        start = Moments(jnp.bfloat16(0.5), jnp.bfloat16(3.0))
        rows = fixed_points.iterate(layer_map(selu), start, 20)
        wide = fixed_points.iterate(layer_map(selu), Moments(0.5, 3.0), 20)
        assert rows.var.dtype == jnp.bfloat16
        np.testing.assert_array_equal(rows.var, wide.var.astype(jnp.bfloat16))

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"`depth` must be a whole number >= 0; got -1"):
            fixed_points.iterate(lattice, Moments(0.0, 1.0), -1)
        with pytest.raises(ValueError, match=r"`depth` must be a whole number >= 0; got 1.5"):
            fixed_points.iterate(lattice, Moments(0.0, 1.0), 1.5)
        with pytest.raises(ValueError, match=r"`var` must satisfy var >= 0; got -1.0"):
            fixed_points.iterate(lattice, Moments(0.0, -1.0), 3)


class TestStability:
    def test_known_values_of_selu(self, x64):
        near = stability_selu(golden("omega"), golden("tau"), golden("mu"), golden("nu"))
        jacobian = np.array([[[float(c) for c in line] for line in row["J"]] for row in GOLDEN])
        np.testing.assert_allclose(near.jacobian, jacobian, rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(near.spectral_radius, golden("spectral_radius"), rtol=1e-12)
        np.testing.assert_allclose(near.singular_value, golden("max_singular_value"), rtol=1e-12)

    @pytest.mark.parametrize("scale", [1.0, 1e-160, 1e160])
    def test_against_lapack(self, x64, scale):
        # Seed 1; a third of 400 normal matrices have complex eigenvalues. Scales at which squares leave the range.
        j = np.random.default_rng(1).normal(size=(400, 2, 2))
        near = fixed_points.stability(linear(*(scale * j.reshape(-1, 4).T)), Moments(0.0, 1.0))
        np.testing.assert_allclose(near.jacobian, scale * j, rtol=1e-15)
        complex_pair = (j[:, 0, 0] - j[:, 1, 1]) ** 2 + 4 * j[:, 0, 1] * j[:, 1, 0] < 0
        assert 80 < complex_pair.sum() < 320
        # An eigenvalue near a double one loses digits in LAPACK as here: eps times its condition number, below 1e3.
        np.testing.assert_allclose(near.spectral_radius / scale, np.abs(np.linalg.eigvals(j)).max(-1), rtol=1e-12)
        np.testing.assert_allclose(near.singular_value / scale, np.linalg.norm(j, 2, (-2, -1)), rtol=1e-13)

    @pytest.mark.parametrize(
        ("entries", "radius", "norm"),
        [
            ((0, 0, 0, 0), 0, 0),
            ((3, 0, 0, 3), 3, 3),
            ((-3, 0, 0, 3), 3, 3),
            ((0, 2, -2, 0), 2, 2),
            ((0, 5, 0, 0), 0, 5),
            ((2, 1, 0, 2), 2, (1 + 17**0.5) / 2),
            ((0, 1, 0, 0.5), 0.5, 1.25**0.5),
        ],
    )
    def test_degenerate_matrices_have_finite_derivatives(self, entries, radius, norm):
        def both(e):
            near = fixed_points.stability(linear(*e), Moments(0.0, 1.0))
            return jnp.stack([near.spectral_radius, near.singular_value])

        e = jnp.array(entries, float)
        value, forward, backward = jax.jit(lambda e: (both(e), jax.jacfwd(both)(e), jax.jacrev(both)(e)))(e)
        np.testing.assert_allclose(value, [radius, norm], rtol=1e-6)  # float32
        assert np.isfinite(forward).all()
        assert np.isfinite(backward).all()

    def test_derivative(self, x64):
        # Seed 2: away from double eigenvalues, against central differences of step 1e-6 (eps / h, h^2).
        j = np.random.default_rng(2).normal(size=(20, 4))

        def total(e):
            near = fixed_points.stability(linear(*e.T), Moments(0.0, 1.0))
            return jnp.stack([near.spectral_radius, near.singular_value])

        assert np.abs((j[:, 0] - j[:, 3]) ** 2 / 4 + j[:, 1] * j[:, 2]).min() > 1e-3
        forward = jax.jvp(total, (j,), (np.ones_like(j),))[1]
        np.testing.assert_allclose(forward, (total(j + 1e-6) - total(j - 1e-6)) / 2e-6, rtol=1e-6, atol=1e-8)

    def test_radius_is_the_rate_of_convergence(self, x64):
        f = spiral(0.3)
        at = fixed_points.solve(f, Moments(0.0, 1.0)).point
        path = fixed_points.iterate(f, Moments(at.mean + 1e-3, at.var), 40)
        size = jnp.hypot(path.mean - at.mean, path.var - at.var)
        # A complex pair: the distance turns while it shrinks, by a factor that the radius has on the average.
        rate = (size[40] / size[0]) ** (1 / 40)
        np.testing.assert_allclose(rate, fixed_points.stability(f, at).spectral_radius, rtol=0.03)

    def test_shapes_lanes_and_transformations(self, x64):
        stability = lambda p, v: fixed_points.stability(spiral(p), Moments(0.1, v))
        p = jnp.array([[0.0], [0.5], [jnp.nan]])
        near = stability(p, jnp.array([[1.0, 2.0]]))
        assert near.jacobian.shape == (3, 2, 2, 2)
        assert near.spectral_radius.shape == near.singular_value.shape == (3, 2)
        assert np.isnan(near.spectral_radius).tolist() == [[False] * 2, [False] * 2, [True] * 2]
        assert np.isnan(near.singular_value).tolist() == [[False] * 2, [False] * 2, [True] * 2]
        one = jax.jit(jax.vmap(stability, (0, None)))(p[:2, 0], 2.0)
        for a, b in zip(one, near, strict=True):
            np.testing.assert_allclose(a, b[:2, 1], rtol=1e-14, atol=1e-15)
        assert fixed_points.stability(lattice, Moments(jnp.float32(0), jnp.float32(1))).jacobian.dtype == jnp.float32

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"`var` must satisfy var >= 0; got -1.0"):
            fixed_points.stability(lattice, Moments(0.0, -1.0))
