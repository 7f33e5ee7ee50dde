"""Functions as arguments of programs: equal exactly when they do the same, and what they compute is what they did."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jnorm._ground import callables
from jnorm.activations import selu

POINT = jax.ShapeDtypeStruct((), jnp.float32)
SCALE = 2.0


def same(f, g, *examples):
    """Whether caches take two functions for one."""
    trees = [jax.tree.structure(callables.settle(h, *(examples or (POINT,)))) for h in (f, g)]
    return trees[0] == trees[1] and hash(trees[0]) == hash(trees[1])


def scanned(b):
    return lambda z: lax.scan(lambda c, _: (c * b, None), z, None, length=3)[0]


def branched(b):
    return lambda z: lax.cond(z > 0, lambda z: z * b, lambda z: z, z)


def looped(b):
    return lambda z: lax.while_loop(lambda c: c < 10.0, lambda c: c * b, z)


def nested(b):
    inner = jax.jit(lambda z: z * b)
    return lambda z: jax.jit(lambda z: inner(z) + 1)(z)


def rule(b):
    @jax.custom_jvp
    def f(z):
        return jnp.sin(z)

    f.defjvp(lambda z, dz: (f(*z), b * dz[0]))
    return lambda z: f(z) + 0.0


def pulled(b):
    f = jax.custom_vjp(lambda z: jnp.sin(z))
    f.defvjp(lambda z: (jnp.sin(z), None), lambda _, ct: (b * ct,))
    return lambda z: f(z) + 0.0


def saved(b):
    return lambda z: jax.checkpoint(lambda z: jnp.sin(z) * b)(z)


def mapped(b):
    return lambda z: jax.vmap(lambda z: scanned(b)(z))(z[None])[0]


def twice(make):
    """The same inside a scan inside a branch."""

    def made(b):
        f = make(b)
        inside = lambda z: lax.scan(lambda c, _: (f(c), None), z, None, length=2)[0]
        return lambda z: lax.cond(z > 0, inside, jnp.sin, z)

    return made


MAKERS = (scanned, branched, looped, nested, rule, pulled, saved, mapped)


@pytest.mark.parametrize("make", [*MAKERS, *map(twice, MAKERS)], ids=lambda m: getattr(m, "__name__", "twice"))
def test_another_captured_number_is_another_function(make):
    assert not same(make(2.0), make(3.0))
    settled = [callables.settle(make(b), POINT) for b in (2.0, 3.0)]
    values = [[float(jax.jit(lambda f, z: f(z))(f, z)) for z in (0.3, 1.7)] for f in settled]
    for b, got in zip((2.0, 3.0), values, strict=True):
        # float32: two roundings between a program and what it was traced from.
        assert got == pytest.approx([float(make(b)(jnp.float32(z))) for z in (0.3, 1.7)], rel=1e-6)
    for b, f in zip((2.0, 3.0), settled, strict=True):
        if make is not looped and "while" not in str(jax.make_jaxpr(make(b))(0.3)):
            slope = jax.jit(jax.grad(lambda z, f: f(z)))(0.3, f)
            assert float(slope) == pytest.approx(float(jax.grad(make(b))(0.3)), rel=1e-6)  # custom rules survive


@pytest.mark.parametrize("make", [scanned, branched, looped, rule, saved, mapped], ids=lambda m: m.__name__)
def test_the_same_code_written_anew_is_the_same_function(make):
    assert same(make(2.0), make(2.0))


def test_arrays_that_it_closes_over_are_leaves():
    a, b = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    point = jax.ShapeDtypeStruct((2,), jnp.float32)
    f, g = (callables.settle(lambda z, a=a: a * z, point) for a in (a, b))
    assert jax.tree.structure(f) == jax.tree.structure(g)
    np.testing.assert_array_equal(jax.tree.leaves(g)[0], b)
    np.testing.assert_array_equal(g(a), a * b)


def test_dtypes_literals_and_signs_count():
    assert not same(lambda z: z * 2.0, lambda z: z * 3.0)
    assert not same(lambda z: z * 0.0, lambda z: z * -0.0)
    assert not same(lambda z: z.astype(jnp.bfloat16), lambda z: z.astype(jnp.float16))
    assert not same(jnp.sin, jnp.cos)
    assert not same(lambda z: (z, z), lambda z: [z, z])


def test_globals_and_mutable_captures_are_never_stale():
    scale = {"value": 2.0}
    f = lambda z: scale["value"] * z
    first = callables.settle(f, POINT)
    scale["value"] = 5.0
    second = callables.settle(f, POINT)
    assert jax.tree.structure(first) != jax.tree.structure(second)
    assert float(second(jnp.float32(1.0))) == 5.0


class Slope:
    value = 2.0


def test_a_rule_that_reads_what_may_change_is_never_taken_for_another():
    held = Slope()
    changing = jax.custom_jvp(jnp.sin)
    changing.defjvp(lambda z, dz: (changing(*z), held.value * dz[0]))
    first = callables.settle(lambda z: changing(z) + 0.0, POINT)
    held.value = 3.0
    second = callables.settle(lambda z: changing(z) + 0.0, POINT)
    assert jax.tree.structure(first) != jax.tree.structure(second)


def test_a_number_of_the_module_counts_in_a_function_inside_a_rule(monkeypatch):
    changing = jax.custom_jvp(jnp.sin)
    changing.defjvp(lambda z, dz: (changing(*z), (lambda t: SCALE * t)(dz[0])))
    first = callables.settle(lambda z: changing(z) + 0.0, POINT)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    second = callables.settle(lambda z: changing(z) + 0.0, POINT)
    assert jax.tree.structure(first) != jax.tree.structure(second)


def test_rules_are_told_apart_without_being_run():
    """The derivative of a derivative of one is as long as it likes: that of tanh took minutes."""
    runs = []

    def slope(z, dz):
        runs.append(z)
        return jnp.sin(*z), dz[0]

    def made():
        f = jax.custom_jvp(jnp.sin)
        f.defjvp(slope)
        return lambda z: f(z) * f(2 * z)

    assert same(made(), made())
    assert not runs


def test_settled_functions_stay_what_they_are():
    assert callables.settle(selu, POINT) == callables.wrap(selu)
    partial = callables.settle(functools.partial(jax.nn.leaky_relu, negative_slope=0.5), POINT)
    assert jax.tree.leaves(partial) == [0.5]
    assert same(
        functools.partial(jax.nn.leaky_relu, negative_slope=0.5),
        functools.partial(jax.nn.leaky_relu, negative_slope=0.1),
    )


def test_it_works_inside_transformations():
    def f(a, z):
        return callables.settle(lambda z: jnp.sin(a * z), z)(z)

    assert float(jax.jit(jax.grad(f))(2.0, 0.3)) == pytest.approx(0.3 * np.cos(0.6), rel=1e-6)
    np.testing.assert_allclose(jax.vmap(f)(jnp.arange(3.0), jnp.ones(3)), np.sin(np.arange(3.0)), rtol=1e-6)


def test_bad_input():
    with pytest.raises(TypeError, match=r"`f` must be made of jax\.numpy operations"):
        callables.settle(np.tanh, POINT)
    with pytest.raises(TypeError, match=r"a function is needed, not a name: pass one, such as jnorm.*; got 'relu'"):
        callables.wrap("relu")
    with pytest.raises(TypeError, match="a function is needed; got 3"):
        callables.wrap(3)
    with pytest.raises(TypeError, match=r"traced for float32\[\]; got shape \(2,\)"):
        callables.settle(lambda z: 2 * z, POINT)(jnp.ones(2))
