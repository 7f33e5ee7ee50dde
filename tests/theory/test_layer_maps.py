"""Layer maps as pytrees, and functions of them that compile once for each kind."""

import pickle
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations
from jnorm.theory import fixed_points, meanfield, portraits
from jnorm.theory.moments import FixedWeights, LayerMap, Moments, activation_moments, layer_map
from tests.thorough import thorough

pytestmark = pytest.mark.usefixtures("unoptimized")

START = Moments(0.1, 1.5)


@cache
def compilations():
    """A list that grows by one with every program that XLA compiles."""
    seen = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: seen.append(event) if event.endswith("backend_compile_duration") else None
    )
    return seen


def compiled(call):
    """How many programs a call compiles."""
    before = len(compilations())
    jax.block_until_ready(call())
    return len(compilations()) - before


def shifted(tau, shift=0.2):
    """A map whose activation is written anew in each call."""
    return layer_map(lambda z: jnp.tanh(z) + shift, omega=0.3, tau=tau)


class Wrapped:
    """An activation that may change after it was used."""

    def __init__(self, gain):
        self.gain = gain

    def __call__(self, z):
        return self.gain * jnp.tanh(z)


class TestPytree:
    @pytest.mark.parametrize(
        ("step", "names"),
        [
            (layer_map(activations.selu, omega=0.1, tau=1.2), ["omega", "tau"]),
            (meanfield.layer_map(activations.gelu, sigma_w=1.1, sigma_b=0.3), ["sigma_w", "sigma_b"]),
            (layer_map(activations.tanh, tau=1.2, kinks=(-1, 1)), ["omega", "tau"]),
        ],
        ids=["fixed", "random", "kinks"],
    )
    def test_numbers_are_leaves_and_the_rest_is_static(self, step, names):
        paths = jax.tree_util.tree_flatten_with_path(step)[0]
        assert [path[-1].name for path, _ in paths] == names
        assert isinstance(step, LayerMap)
        back = pickle.loads(pickle.dumps(step))
        assert jax.tree.structure(back) == jax.tree.structure(step)
        for same in (back, jax.tree.map(lambda a: a, step)):
            jax.tree.map(np.testing.assert_array_equal, same(START), step(START))

    def test_integers_are_numbers(self):
        assert jax.tree.leaves(layer_map(activations.selu, omega=1, tau=2)) == [1.0, 2.0]
        assert jax.tree.leaves(meanfield.layer_map(activations.selu, sigma_w=1, sigma_b=0)) == [1.0, 0.0]

    def test_parameters_of_the_activation_are_leaves(self, x64):
        bound = lambda alpha: layer_map(partial(activations.elu, alpha=alpha), tau=1.5)
        assert jax.tree.leaves(bound(0.7)) == [0.7, 0.0, 1.5]
        by = jax.grad(lambda step: step(START).var)(bound(0.7))
        difference = (bound(0.7 + 1e-6)(START).var - bound(0.7 - 1e-6)(START).var) / 2e-6  # h^2, eps / h
        np.testing.assert_allclose(jax.tree.leaves(by)[0], difference, rtol=1e-8)

    def test_the_structure_tells_activations_and_kinks_apart(self):
        kinds = [
            layer_map(activations.selu),
            layer_map(activations.tanh),
            layer_map(activations.tanh, kinks=(0.0,)),
            layer_map(activations.tanh, kinks=(0.0, 1.0)),
            meanfield.layer_map(activations.tanh, sigma_w=1.0),
        ]
        assert len({jax.tree.structure(kind) for kind in kinds}) == len(kinds)

    def test_stacked_maps_under_vmap(self, x64):
        taus = [0.8, 1.0, 1.3]
        stacked = jax.tree.map(lambda *a: jnp.stack(a), *(layer_map(activations.selu, omega=0.1, tau=t) for t in taus))
        many = jax.vmap(lambda step: (step(START), fixed_points.solve(step, START).point))(stacked)
        one = layer_map(activations.selu, omega=0.1, tau=np.array(taus))
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-14, atol=1e-15),  # roundings of another batch
            many,
            (one(START), fixed_points.solve(one, START).point),
        )

    def test_a_program_takes_it_as_an_argument(self, x64):
        f = jax.jit(lambda step, x: step(x))
        for tau in (0.9, 1.1):
            step = layer_map(activations.selu, tau=tau)
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-14, atol=1e-15), f(step, START), step(START))

    def test_gradient_by_the_map(self, x64):
        """d var* / d tau of the fixed point, by the map and by its parameter."""
        point = lambda step: fixed_points.solve(step, START).point.var
        by = jax.grad(point)(layer_map(activations.selu, tau=1.1))
        expected = jax.grad(lambda tau: point(layer_map(activations.selu, tau=tau)))(1.1)
        np.testing.assert_allclose(by.weights.tau, expected, rtol=1e-14)
        assert by.weights.omega.shape == ()

    def test_weights_of_the_callers_own(self, x64):
        """Half of the units have other weights: any callable pytree to the moments of the pre-activation will do."""
        half = FixedWeights(0.0, 0.5)
        step = LayerMap(activations.selu, lambda x: Moments(half(x).mean, half(x).var + 0.5))
        got = step(START)
        exact = activation_moments(activations.selu, 0.0, 0.5 * START.var + 0.5)
        jax.tree.map(np.testing.assert_array_equal, got, exact)
        assert bool(fixed_points.solve(step, START).converged)


class TestCompileOnce:
    @pytest.mark.parametrize(
        "kind",
        [
            lambda k: layer_map(activations.selu, omega=0.1, tau=1.0 + k / 10),
            thorough(lambda k: layer_map(partial(activations.leaky_relu, negative_slope=0.1 + k), tau=1.9)),
            thorough(lambda k: meanfield.layer_map(activations.gelu, sigma_w=1.5 + k / 10, sigma_b=0.1)),
            lambda k: shifted(1.0 + k / 10),
            lambda k: partial(lambda gain, x: Moments(0.5 * x.mean, jnp.sqrt(gain * x.var)), jnp.float32(2 + k)),
        ],
        ids=["selu", "partial", "gelu", "lambda", "own"],
    )
    def test_the_same_kind_of_map(self, kind):
        calls = {
            "solve": lambda f, k: fixed_points.solve(f, Moments(0.1 + k, 1.5), tol=1e-4 * (1 + k), max_steps=50 + k),
            "iterate": lambda f, k: fixed_points.iterate(f, Moments(0.1 + k, 1.5), 3),
            "stability": lambda f, k: fixed_points.stability(f, Moments(0.1 + k, 1.5)),
            "vector_field": lambda f, k: portraits.vector_field(f, [0.1 + k, 0.2], [0.5, 1.0]),
            "trajectories": lambda f, k: portraits.trajectories(f, [(0.1 + k, 0.2)], 3),
            "basin": lambda f, k: portraits.basin(f, Moments(0.1 + k, 0.2), Moments(0.0, 1.0), depth=3, tol=0.1 + k),
            "grad": lambda f, k: jax.grad(lambda v: jnp.sum(fixed_points.iterate(f, Moments(0.1, v), 3).var))(1.0 + k),
        }
        for name, call in calls.items():
            first, second = (compiled(partial(call, kind(k), k)) for k in (0, 1))
            assert (first > 0, second) == (True, 0), name

    @pytest.mark.thorough
    def test_transformations_made_anew(self):
        point = lambda tau: fixed_points.solve(shifted(tau), START).point.var
        for way in (
            lambda tau: jax.grad(lambda t: point(t))(tau),
            lambda tau: jax.vmap(lambda t: point(t))(jnp.array([tau, 1.2])),
            lambda tau: jax.vmap(jax.grad(lambda t: point(t)))(jnp.array([tau, 1.2])),
            lambda tau: jax.jvp(lambda t: point(t), (tau,), (1.0,)),
        ):
            assert compiled(lambda way=way: way(1.1))
            assert compiled(lambda way=way: way(1.3)) == 0

    def test_solve_all(self):
        box = (Moments(-1.0, 0.1), Moments(1.0, 3.0))
        search = lambda tau: fixed_points.solve_all(shifted(tau), box, cells=6)
        assert compiled(lambda: search(1.1))
        assert compiled(lambda: search(1.3)) == 0

    def test_one_dispatch(self):
        """Eager calls of what is a formula: no operation is compiled by itself."""
        for call in (
            lambda k: activation_moments(activations.elu, 0.3 + k, 1.0),
            lambda k: layer_map(activations.elu, tau=1.0 + k)(START),
            lambda k: fixed_points.selu_constants(0.0, 1.0 + k),
        ):
            jax.clear_caches()
            assert compiled(lambda call=call: call(0)) <= 2
            assert compiled(lambda call=call: call(1)) == 0

    def test_what_is_captured_is_never_stale(self, x64):
        """The same code with another number, array, global or attribute is another map."""
        phi = Wrapped(1.5)
        array = np.full(1, 1.5)
        for gain in (1.5, 2.5):
            phi.gain, array[0] = gain, gain
            exact = fixed_points.solve(layer_map(partial(lambda z, g: g * jnp.tanh(z), g=gain), tau=1.5), START).point
            for other in (phi, lambda z: array[0] * jnp.tanh(z), lambda z, gain=gain: jnp.tanh(z) * gain):
                found = fixed_points.solve(layer_map(other, tau=1.5), START).point
                np.testing.assert_allclose(found.var, exact.var, rtol=1e-13)  # the tolerance of 128 eps, conditioned

    def test_a_map_that_needs_numbers_says_so(self):
        with pytest.raises(TypeError, match=r"`layer_map` must be made of jax.numpy operations"):
            fixed_points.solve(lambda x: Moments(x.mean, np.sqrt(x.var)), START)
