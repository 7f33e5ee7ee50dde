"""How often a device is launched: loops go a known number of times round, and what they repeat is counted.

On a GPU a launch takes microseconds whatever it does, so that a loop over a few nodes is all waiting. The compiler
fuses elementwise equations with what uses their results; a reduction, a product, a sort and each turn of a loop are
launched by themselves.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from jnorm import activations, gaussian
from jnorm.gaussian._panels import SIZE
from jnorm.theory import _cells, fixed_points, meanfield, moments
from jnorm.theory.moments import Moments

ALONE = ("scan", "while", "cond", "sort", "dot_general", "reduce_sum", "reduce_max", "reduce_min", "cumsum", "scatter")
STEPS = 64  # of Newton's iteration, at most
GELU = moments.layer_map(activations.gelu, tau=1.2)  # by quadrature
SELU = moments.layer_map(activations.selu, tau=1.2)  # in closed form


def equations(jaxpr, times=1):
    """Every equation of a program and how often it runs at most, those in nested calls and loops included.

    Of what depends on the platform, what accelerators run.
    """
    for equation in jaxpr.eqns:
        platforms = equation.params.get("branches_platforms")
        if platforms is not None:
            branch = next(i for i, names in enumerate(platforms) if names is None)
            yield from equations(equation.params["branches"][branch].jaxpr, times)
            continue
        yield equation, times
        rounds = {"scan": equation.params.get("length"), "while": STEPS + 1}.get(equation.primitive.name, 1)
        for value in equation.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from equations(inner, times * rounds)


def loops(jaxpr) -> Iterator[tuple[str, int]]:
    """The loops of a program, with the number of all their turns together."""
    for equation, times in equations(jaxpr):
        if equation.primitive.name == "scan":
            yield "scan", times * equation.params["length"]
        elif equation.primitive.name == "while":
            yield "while", times * (STEPS + 1)


def launches(jaxpr):
    """How often equations that stand alone run, the turns of loops among them."""
    return sum(times for equation, times in equations(jaxpr) if equation.primitive.name in ALONE)


def points(count):
    return jnp.linspace(-1.0, 1.0, count), jnp.linspace(0.5, 2.0, count)


def pairs(count):
    return jnp.zeros((count, 2)), jnp.tile(jnp.eye(2), (count, 1, 1))


def solved(layer_map, mean, var):
    return fixed_points.solve(layer_map, Moments(mean, var), max_steps=STEPS)[:2]


def product(u, v):
    return jnp.tanh(u) * jnp.sin(v)


def line(u, v):
    return jnp.tanh(u) * jnp.abs(v)


CASES = {
    "expectation": (partial(gaussian.expectation, jnp.tanh), points(512), [], 2),
    "its gradient": (jax.grad(lambda m, v: gaussian.expectation(jnp.tanh, m, v).sum(), (0, 1)), points(512), [], 24),
    "moments": (partial(gaussian.moments, jnp.tanh), points(512), [], 3),
    "of 10 000 points": (partial(gaussian.expectation, jnp.tanh), points(10_000), [("scan", 32)], 65),
    "expectation2": (partial(gaussian.expectation2, jnp.arctan2), pairs(4), [], 2),
    "of 100 pairs": (partial(gaussian.expectation2, jnp.arctan2), pairs(100), [("scan", 28)], 30),
    # Of a product of smooth functions three rules are compiled, of which one runs mostly: choices and all are counted.
    "of a product": (partial(gaussian.expectation2, product), pairs(4), [], 11),
    "of 100 products": (partial(gaussian.expectation2, product), pairs(100), [("scan", 28), ("scan", 5)], 30 + 13),
    "of 100 products with a broken line": (partial(gaussian.expectation2, line), pairs(100), [], 4),
    "layer_map": (lambda m, v: GELU(Moments(m, v)), points(512), [], 3),
    "layer_map of random weights": (
        lambda m, v: meanfield.layer_map(activations.gelu, sigma_w=1.2)(Moments(m, v)),
        *(points(512), [], 3),
    ),
    "layer_map in closed form": (lambda m, v: SELU(Moments(m, v)), points(512), [], 0),
    "solve": (partial(solved, GELU), points(512), [("while", STEPS + 1)], 20 * (STEPS + 1)),
    "solve_all": (partial(solved, GELU), points(_cells.CHUNK), [("while", STEPS + 1)], 20 * (STEPS + 1)),
    "iterate": (lambda m, v: fixed_points.iterate(GELU, Moments(m, v), 50), points(512), [("scan", 50)], 200),
}


@pytest.mark.parametrize("name", CASES)
def test_loops_and_launches_do_not_grow(name):
    call, args, expected, most = CASES[name]
    jaxpr = jax.make_jaxpr(call)(*args).jaxpr
    assert list(loops(jaxpr)) == expected
    assert launches(jaxpr) <= most


def test_the_count_sees_loops_within_loops():
    inner = lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y), x)  # a scan, as its length is known
    outer = jax.jit(lambda x: jax.lax.scan(lambda y, _: (inner(y).sum() * y, None), x, length=5)[0])
    jaxpr = jax.make_jaxpr(outer)(jnp.ones(2)).jaxpr
    assert list(loops(jaxpr)) == [("scan", 5), ("scan", 15)]
    assert launches(jaxpr) == 1 + 5 + 5  # the loop, the loop in it, and a sum a turn


def test_closed_forms_that_are_differentiated_loop_over_their_polynomial_alone():
    kinds = list(loops(jax.make_jaxpr(partial(solved, SELU))(*points(8)).jaxpr))
    assert kinds[0] == ("while", STEPS + 1)
    assert all(turns == 14 * (STEPS + 1) for _, turns in kinds[1:])  # the coefficients that float32 needs, less one


def test_a_search_calls_maps_without_a_loop():
    assert _cells.CHUNK * 256 <= SIZE
