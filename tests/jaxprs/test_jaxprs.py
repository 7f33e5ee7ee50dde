"""Programs read equation by equation: what is evaluated is what was traced, and every equation is seen at its place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jnorm import jaxprs

pytestmark = pytest.mark.usefixtures("unoptimized")


def scanned(x):
    return lax.scan(lambda c, t: (jnp.sin(c) * t, c), x, jnp.arange(3.0))


def unequal(x):
    """Two branches, of which the second reads what is outside."""
    return lax.cond(x > 0, jnp.sin, lambda a: a * x, x)


def looped(x):
    return lax.while_loop(lambda c: c < 5, lambda c: c + jnp.exp(x), x)


@jax.custom_jvp
def steep(x):
    return jnp.sin(x)


steep.defjvp(lambda x, dx: (steep(*x), 7.0 * dx[0]))


@jax.custom_vjp
def pulled(x):
    return jnp.sin(x)


pulled.defvjp(lambda x: (jnp.sin(x), None), lambda _, ct: (7.0 * ct,))

PROGRAMS = {
    "jit": jax.jit(lambda x: jnp.sin(x) + jnp.array([1.0, 2.0])),
    "nested": lambda x: jax.jit(lambda x: jax.jit(jnp.sin)(x) * x)(x),
    "custom_jvp": steep,
    "custom_vjp": pulled,
    "remat": jax.checkpoint(lambda x: jnp.sin(x) * x),
    "scan": scanned,
    "reversed": lambda x: lax.scan(lambda c, t: (jnp.sin(c) * t, c), x, jnp.arange(3.0), reverse=True),
    "cond": unequal,
    "while": looped,
    "gelu": jax.nn.gelu,
    "scan in cond": lambda x: lax.cond(x > 0, lambda x: scanned(x)[0], jnp.sin, x),
}
SINES = {"gelu": 0, "while": 0}  # of the others each program has one, or one in each of two places
PLACES = {"scan in cond": 2}


@pytest.mark.parametrize("opens", [jaxprs.CALLS | jaxprs.LOOPS, jaxprs.CALLS, ()], ids=["all", "calls", "nothing"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_evaluated_is_what_was_traced(name, opens):
    f, x = PROGRAMS[name], jnp.float32(0.7)
    program = jax.make_jaxpr(f)(x)
    exact = jax.tree.leaves(f(x))
    run = lambda x: jaxprs.evaluate(program, x, opens=opens)
    for got in (run(x), jax.jit(run)(x), [row[0] for row in jax.vmap(run)(x[None])]):
        for a, b in zip(got, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=4e-7)  # a few roundings: programs of one operation fuse nothing


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_hook_is_on_every_equation(name):
    """Every sine becomes a cosine, wherever it stands; and `walk` sees as many."""
    f, x = PROGRAMS[name], jnp.float32(0.7)
    program = jax.make_jaxpr(f)(x)
    seen = []

    def hook(site, *inputs):
        seen.append(site.primitive)
        return [jnp.cos(inputs[0])] if site.primitive == "sin" else site.run(*inputs)

    got = jaxprs.evaluate(program, x, hook=hook)
    walked = [site.primitive for site in jaxprs.walk(program)]
    assert seen.count("sin") == walked.count("sin") == PLACES.get(name, SINES.get(name, 1))
    assert set(walked) - set(seen) <= jaxprs.CALLS | jaxprs.LOOPS
    changed = any(not np.allclose(a, b) for a, b in zip(got, jax.tree.leaves(f(x)), strict=True))
    assert changed == ("sin" in walked)


def test_custom_derivatives_are_kept_by_what_is_not_opened():
    for f, primitive in ((steep, "custom_jvp_call"), (pulled, "custom_vjp_call")):
        program = jax.make_jaxpr(f)(0.7)
        slope = lambda opens, program=program: jax.grad(lambda x: jaxprs.evaluate(program, x, opens=opens)[0])(0.7)
        assert slope(jaxprs.CALLS - {primitive}) == 7
        np.testing.assert_allclose(slope(jaxprs.CALLS), np.cos(0.7), rtol=1e-6)


def test_values_may_be_anything_that_the_hook_understands():
    program = jax.make_jaxpr(lambda x, y: jax.nn.relu(x) * y + 1)(1.0, 2.0)
    texts = jaxprs.evaluate(
        program, "x", "y", hook=lambda site, *inputs: [f"{site.primitive}({', '.join(map(str, inputs))})"]
    )
    assert texts == ["add(mul(max(x, 0.0), y), 1.0)"]


def test_the_hook_opens_loops_by_itself():
    """Three turns in Python, over texts."""

    def hook(site, *inputs):
        if site.primitive != "scan":
            return [f"{site.primitive}({inputs[0]})"]
        carry = inputs[0]
        for _ in range(site.params["length"]):
            (carry,) = site.open(site.bodies[0], carry)
        return [carry]

    program = jax.make_jaxpr(lambda x: lax.scan(lambda c, _: (jnp.sin(c), None), x, length=3)[0])(1.0)
    assert jaxprs.evaluate(program, "x", hook=hook, opens=jaxprs.CALLS) == ["sin(sin(sin(x)))"]


def inner(x):
    return jax.nn.relu(x) + jnp.floor(jnp.exp(x))


HERE = inner.__code__.co_firstlineno + 1


def test_the_user_sees_a_line_of_theirs():
    for _ in range(2):  # the second time JAX has the traces of its own functions
        program = jax.make_jaxpr(lambda x: jax.jit(inner)(x))(1.0)
        leaves = [site for site in jaxprs.walk(program) if not site.bodies]
        assert [site.primitive for site in leaves] == ["max", "exp", "floor", "add"]
        for site in leaves:
            assert (site.line.file, site.line.number, site.line.function) == (__file__, HERE, "inner")
            assert str(site) == f"`{site.primitive}` at {__file__}:{HERE} (inner)"
    assert leaves[0].path[0] == "inner"
    assert len(leaves[0].path) == 3


def test_what_is_not_there_is_said():
    program = jax.make_jaxpr(jnp.sin)(1.0)
    with pytest.raises(ValueError, match="the program takes 1 arguments; got 2"):
        jaxprs.evaluate(program, 1.0, 2.0)
    with pytest.raises(ValueError, match="`sin` has 1 outputs; the hook returned 2"):
        jaxprs.evaluate(jax.make_jaxpr(lax.sin)(1.0), 1.0, hook=lambda site, *inputs: [1, 2])
    with pytest.raises(ValueError, match=r"`opens` must name calls and loops \(.*scan.*\); got 'sin'"):
        jaxprs.evaluate(program, 1.0, opens=("sin",))
    site = next(jaxprs.walk(program))
    with pytest.raises(ValueError, match="only a site that `evaluate` hands to its hook can be opened"):
        site.open(program, 1.0)


def counted(program, *args):
    """Outputs, and how many equations ran, turns of loops one by one."""
    hook = lambda site, state, *inputs: (site.run(*inputs), state + 1)
    return jaxprs.thread(program, jnp.int32(0), *args, hook=hook)


COUNTS = {"jit": 2, "nested": 2, "custom_jvp": 2, "custom_vjp": 2, "remat": 2, "scan": 7, "reversed": 7, "cond": 3}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_state_goes_through_all_equations_and_changes_nothing(name):
    f, x = PROGRAMS[name], jnp.float32(0.7)
    program = jax.make_jaxpr(f)(x)
    run = lambda x: counted(program, x)
    for got, count in (run(x), jax.jit(run)(x), jax.tree.map(lambda row: row[0], jax.vmap(run)(x[None]))):
        for a, b in zip(got, jax.tree.leaves(f(x)), strict=True):
            np.testing.assert_allclose(a, b, rtol=4e-7)  # as above
        assert count == COUNTS.get(name, count)
    if name != "while":  # which has no derivative; a rule here is steeper than its function
        slope = jax.grad(lambda x: jnp.sum(run(x)[0][0]))
        exact = jax.grad(lambda x: jnp.sum(jax.tree.leaves(f(x))[0]))
        np.testing.assert_allclose(slope(x), exact(x), rtol=1e-6)


def test_turns_and_branches_are_those_that_run():
    """The turns of two nested scans in order, and only the branch that is taken."""

    def f(x):
        inner = lambda c, t: (lax.cond(t > 0, jnp.sin, jnp.exp, c), None)
        return lax.scan(lambda c, _: lax.scan(inner, c, jnp.arange(3)), x, None, 2)[0]

    def hook(site, state, *inputs):
        if site.primitive in ("sin", "exp"):
            outer, turn = site.turns
            state = state.at[outer, turn].set(1.0 if site.primitive == "sin" else 2.0)
        return site.run(*inputs), state

    _, seen = jax.jit(lambda x: jaxprs.thread(jax.make_jaxpr(f)(x), jnp.zeros((2, 3)), x, hook=hook))(0.3)
    assert seen.tolist() == [[2, 1, 1], [2, 1, 1]]


def test_a_call_has_the_name_of_the_function():
    def bent(x):
        return jnp.sin(x) * x

    for called in (jax.jit(bent), jax.checkpoint(bent), jax.checkpoint(jax.jit(bent))):
        assert next(jaxprs.walk(jax.make_jaxpr(called)(0.7))).name == "bent"
    nameless = next(jaxprs.walk(jax.make_jaxpr(jax.checkpoint(lambda x: jnp.sin(x)))(0.7)))
    assert nameless.name == nameless.primitive


def test_rematerialized_code_stays_so():
    block = jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)), policy=jax.checkpoint_policies.nothing_saveable)
    for f in (block, jax.grad(block)):
        program = jax.make_jaxpr(f)(0.7)
        threaded = jax.make_jaxpr(lambda x, program=program: counted(program, x))(0.7)
        kinds = lambda p: [
            (s.params["differentiated"], s.params["policy"]) for s in jaxprs.walk(p) if "policy" in s.params
        ]
        assert kinds(threaded) == kinds(program) != []
        assert counted(program, 0.7)[1] >= 2
        np.testing.assert_allclose(counted(program, 0.7)[0][0], f(0.7), rtol=1e-6)


def test_places_have_numbers_that_walk_and_thread_agree_on():
    program = jax.make_jaxpr(PROGRAMS["scan in cond"])(0.7)
    seen = set()

    def hook(site, state, *inputs):
        seen.add((site.index, site.primitive))
        return site.run(*inputs), state

    jaxprs.thread(program, (), 0.7, hook=hook)
    walked = {(s.index, s.primitive) for s in jaxprs.walk(program)}
    assert seen == {(index, name) for index, name in walked if name not in jaxprs.CALLS | jaxprs.LOOPS}
    assert len({index for index, _ in walked}) == len(list(jaxprs.walk(program)))


def test_a_call_knows_its_function():
    sites = list(jaxprs.walk(jax.make_jaxpr(lambda x: jax.jit(inner)(steep(x)))(1.0)))
    calls = [(site.function, site.is_of_jax) for site in sites if site.primitive in jaxprs.CALLS]
    assert calls[:2] == [("steep", False), ("inner", False)]
    assert ("relu", True) in calls
    assert sites[-1].function == ""
