"""The first NaN or infinity: the right equation in planted cases, forward and backward, in loops, lanes, branches."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jnorm.measure import first_nonfinite

pytestmark = pytest.mark.usefixtures("unoptimized")

X = jnp.array([0.5, 0.0, 2.0])


def line_of(f, text):
    """The number of the line with a text in the source of a function."""
    import inspect

    lines, start = inspect.getsourcelines(f)
    return start + next(i for i, line in enumerate(lines) if text in line)


def log_of_zero(x):
    y = jnp.sin(x) + 1
    return jnp.sum(jnp.log(x) * y)  # here


def root_of_negative(x):
    return jnp.sqrt(x - 1)  # here


def overflow(x):
    z = 100 * x
    e = jnp.exp(z)  # here
    return e / jnp.sum(e)


def zero_by_zero(x):
    norm = jnp.sum(jnp.square(0 * x))
    return x / norm  # here


def all_masked(x):
    scores = jnp.where(x > 9, x, -jnp.inf)
    top = scores - jnp.max(scores)  # here
    return jnp.exp(top)


def masked_and_overflow(x):
    scores = jnp.where(x > 0, 100 * x, -jnp.inf)
    return jnp.exp(scores)  # here


def written(x):
    return jnp.where(x > 1, jnp.nan, x)  # here


def in_a_scan(x):
    def step(c, t):
        return c + jnp.log(3 - t) * 0, c  # here

    return lax.scan(step, x, jnp.arange(6.0))


def in_a_scan_of_scans(x):
    def inner(c, t):
        c = c / (7 - t)  # here
        return c, None

    def outer(c, t):
        return lax.scan(inner, c, 3 * t + jnp.arange(3.0))

    return lax.scan(outer, x, jnp.arange(4.0))


def in_a_while(x):
    def step(state):
        i, c = state
        return i + 1, c * 1e12  # here

    return lax.while_loop(lambda state: state[0] < 9, step, (0, x))


def in_a_branch(x):
    bad = lambda x: jnp.log(x - x)  # here
    return lax.switch(2, [jnp.sin, lambda x: x / 0, bad], x)


def in_jit_and_remat(x):
    inner = jax.checkpoint(lambda z: jax.jit(lambda z: jnp.arccosh(z - 5))(z))  # here
    return inner(x)


def in_a_function_of_jax(x):
    return jax.nn.logsumexp(jnp.full_like(x, -jnp.inf) * jnp.sign(x))  # here


def in_half_precision(x):
    y = x.astype(jnp.float16)
    return (y + 300) ** 2  # here


def sum_overflows(x):
    return jnp.sum(jnp.full((4,), 1e38) + x[0])  # here


def by_a_rule_of_roots(x):
    return jnp.sum(jnp.sqrt(x))  # here


def by_a_norm(x):
    return jnp.sqrt(jnp.sum((x - x) ** 2))  # here


def by_a_power(x):
    return jnp.sum(x**0.5)  # here


def by_a_scan(x):
    def step(c, t):
        return jnp.sqrt(jnp.abs(c - 2)) + t, None  # here

    return jnp.sum(lax.scan(step, x[2:], jnp.zeros(3))[0])


@jax.custom_vjp
def pulled(x):
    return x**2


pulled.defvjp(lambda x: (pulled(x), x), lambda x, ct: (ct / x,))


def by_a_rule(x):
    return jnp.sum(pulled(x))  # here


FORWARD = {
    log_of_zero: ("log", ()),
    root_of_negative: ("sqrt", ()),
    overflow: ("exp", ()),
    zero_by_zero: ("div", ()),
    all_masked: ("sub", ()),
    masked_and_overflow: ("exp", ()),
    written: ("convert_element_type", ()),
    in_a_scan: ("log", (3,)),
    in_a_scan_of_scans: ("div", (2, 1)),
    in_a_while: ("mul", (3,)),
    in_a_branch: ("log", ()),
    in_jit_and_remat: ("acosh", ()),
    in_a_function_of_jax: ("mul", ()),
    in_half_precision: ("integer_pow", ()),
    sum_overflows: ("reduce_sum", ()),
}
BACKWARD = {
    by_a_rule_of_roots: ("div", ()),
    by_a_norm: ("div", ()),
    by_a_power: ("pow", ()),
    by_a_scan: ("div", (0,)),
    by_a_rule: ("div", ()),
}


def turns(origin):
    return tuple(int(turn) for turn in origin.turns if turn >= 0)


@pytest.mark.parametrize("f", FORWARD, ids=lambda f: f.__name__)
def test_the_equation_is_named(f):
    operation, when = FORWARD[f]
    origin = jax.jit(lambda x: first_nonfinite(f, x))(X)
    assert origin.place is not None, f(X)
    assert (origin.place.operation, turns(origin), origin.place.backward) == (operation, when, False)
    assert origin.place.line.number == line_of(f, "# here")
    again = first_nonfinite(f, X)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(origin), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("f", BACKWARD, ids=lambda f: f.__name__)
def test_the_equation_of_a_backward_pass_is_named(f):
    operation, when = BACKWARD[f]
    assert first_nonfinite(f, X).place is None
    origin = jax.jit(lambda x: first_nonfinite(jax.grad(f), x))(X)
    assert origin.place is not None
    assert (origin.place.operation, turns(origin)) == (operation, when)
    assert origin.place.line.number == line_of(f, "# here")
    assert origin.place.backward == (f is not by_a_scan)  # which computes its slopes in the loop forward
    assert "ward" in str(origin)


def test_what_went_in_makes_it_again():
    origin = first_nonfinite(zero_by_zero, X)
    np.testing.assert_array_equal(origin.inputs[0], X)
    np.testing.assert_array_equal(origin.inputs[1], 0)
    assert origin.index == (0,)
    looped = first_nonfinite(in_a_scan, X)
    np.testing.assert_array_equal(looped.inputs[0], 0)
    assert "turn 3 of the loops" in str(looped)


def test_lanes_are_told_apart():
    """Of a vmap outside each lane has its own answer; of one inside the entry says which."""
    xs = jnp.stack([X + 1, X, X + 2, -X])
    lanes = jax.jit(jax.vmap(lambda x: first_nonfinite(log_of_zero, x)))(xs)
    assert lanes.found.tolist() == [False, True, False, True]
    assert [lanes.lane(i).index for i in (1, 3)] == [(1,), (0,)]
    assert str(lanes).count("lane") == 2
    with pytest.raises(ValueError, match="there are 4 lanes: take one"):
        _ = lanes.place
    whole = first_nonfinite(lambda xs: jax.vmap(log_of_zero)(xs), xs)
    assert (whole.place.operation, whole.index) == ("log", (1, 1))


def test_arguments_and_constants_come_first():
    bad = X.at[2].set(jnp.nan)
    origin = first_nonfinite(lambda p: jnp.log(p["w"]), {"w": bad})
    assert (origin.place.operation, origin.place.name, origin.index) == ("argument", "argument 0 (w)", (2,))
    assert first_nonfinite(lambda x: x + bad, X).place.operation == "constant"
    infinite = X.at[0].set(jnp.inf)
    assert first_nonfinite(lambda x: 2 * x, infinite).place.operation == "argument"
    assert first_nonfinite(lambda x: x - x, infinite).place.operation == "sub"


def test_what_is_finite_is_silent():
    mask = lambda x: jnp.sum(jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)) * x)
    for f in (mask, jax.grad(mask), jnp.sum, lambda x: jax.random.normal(jax.random.key(0), (3,)) + x):
        origin = first_nonfinite(f, X)
        assert origin.place is None, origin
        assert str(origin) == "all is finite"
        assert origin.inputs == []


class Head(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.log(0 * nn.relu(nn.Dense(3, name="out")(x)))


def test_modules_are_named():
    model = Head()
    variables = model.init(jax.random.key(0), X)
    origin = first_nonfinite(jax.grad(lambda v: jnp.sum(model.apply(v, -X))), variables)
    assert origin.place.module == "Head"
    assert origin.place.operation == "log"


def test_it_can_be_scanned_with_the_values():
    """In a training loop of one's own: a flag a step."""

    def step(x, _):
        return x * 1e20, first_nonfinite(lambda x: x * 1e20, x)

    _, origins = lax.scan(step, jnp.float32(1.0), None, 4)
    assert origins.found.tolist() == [False, True, True, True]
