"""Every number that a program holds counts, however deep it lies; what JAX cannot see into is told."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jnorm.nn.convolution import convolve
from jnorm.sweeps import _fingerprints as fingerprints

X = np.array([0.3, -0.5, 0.2], np.float32)


def custom_jvp(f):
    g = jax.custom_jvp(f)
    g.defjvp(lambda x, t: (g(*x), t[0]))
    return g


def custom_vjp(f):
    g = jax.custom_vjp(f)
    g.defvjp(lambda x: (g(x), None), lambda _, t: (t,))
    return g


def derivative_rules(f):
    """Functions that have ``f`` in their derivative alone, differentiated."""
    forward, backward = jax.custom_jvp(jnp.sin), jax.custom_vjp(jnp.sin)
    forward.defjvp(lambda x, t: (jnp.sin(*x), f(x[0]) * t[0]))
    backward.defvjp(lambda x: (jnp.sin(x), x), lambda x, t: (f(x) * t,))
    return lambda x: jax.grad(lambda x: jnp.sum(forward(x) + backward(x)))(x)


def batching_rule(f):
    g = jax.custom_batching.custom_vmap(jnp.sin)
    g.def_vmap(lambda size, batched, x: (f(x), True))
    return jax.vmap(g)


def along_a_mesh(f):
    mesh = jax.make_mesh((1,), ("a",), (AxisType.Auto,))
    return jax.shard_map(f, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)


def solved(f):
    def solve(x):
        y = f(x)
        return lax.custom_linear_solve(lambda v: 2 * v, x, lambda matvec, b: b / 2 + y, symmetric=True)

    return solve


def platform(f):
    return lambda x: lax.platform_dependent(x, cpu=f, default=lambda x: x)


# Each takes a function of a vector and gives one that has it in another place of a program.
PLACES = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "vmap": lambda f: lambda x: jax.vmap(f)(jnp.stack([x, x]))[0],
    "scan": lambda f: lambda x: lax.scan(lambda a, _: (f(a), None), x, None, length=2)[0],
    "while body": lambda f: lambda x: lax.while_loop(lambda a: jnp.all(a < 1), lambda a: 1 + f(a), x),
    "while condition": lambda f: lambda x: lax.while_loop(lambda a: jnp.all(f(a) < 1), lambda a: 1 + a, x),
    "fori_loop": lambda f: lambda x: lax.fori_loop(0, 3, lambda i, a: f(a), x),
    "map": lambda f: lambda x: lax.map(lambda s: f(s * X)[0], x),
    "map in batches": lambda f: lambda x: lax.map(lambda s: f(s * X)[0], x, batch_size=2),
    "cond": lambda f: lambda x: lax.cond(x[0] > 0, f, lambda x: x, x),
    "cond under vmap": lambda f: jax.vmap(lambda s: lax.cond(s > 0, lambda s: f(s * X)[0], lambda s: s, s)),
    "switch": lambda f: lambda x: lax.switch(jnp.int32(x[0]), [lambda x: x, lambda x: -x, f], x),
    "custom_jvp": custom_jvp,
    "custom_vjp": custom_vjp,
    "derivative rules": derivative_rules,
    "batching rule": batching_rule,
    "checkpoint": jax.checkpoint,
    "gradient": lambda f: jax.grad(lambda x: jnp.sum(x * f(x))),
    "gradient of checkpoint": lambda f: jax.grad(lambda x: jnp.sum(x * jax.checkpoint(f)(x))),
    "custom_root": lambda f: lambda x: lax.custom_root(lambda y: y - f(x), x, lambda g, y: y - g(y), lambda g, y: y),
    "custom_linear_solve": solved,
    "shard_map": along_a_mesh,
    "associative_scan": lambda f: lambda x: lax.associative_scan(lambda a, b: a + f(x)[0] * b, jnp.stack([x, x, x]))[0],
    "platform_dependent": platform,
    "composite": lambda f: lax.composite(f, name="jnorm.test"),
}
REFUSED_BY_JAX = {
    "vmap": {"composite"},
    "map in batches": {"composite"},
    "cond under vmap": {"composite"},
    "gradient": {"composite", "while body", "while condition"},
    "gradient of checkpoint": {"composite", "while body", "while condition"},
    "shard_map": {"shard_map"},
}
# A scalar function of two, as reductions need it, of which the number is part.
REDUCTIONS = {
    "reduce": lambda c: lambda x: lax.reduce(x, np.float32(0), lambda a, b: a + c * b, (0,)),
    "reduce_window": lambda c: (
        lambda x: lax.reduce_window(x, np.float32(0), lambda a, b: a + c * b, (2,), (1,), "SAME")
    ),
    "scatter": lambda c: lambda x: x.at[jnp.array([0, 1])].apply(lambda a: c * a),
    "key": lambda c: lambda x: x + jax.random.normal(jax.random.key(int(c)), (3,)),
    "precision": lambda c: lambda x: lax.dot(x, x, precision="highest" if c > 1 else "default"),
    "tolerance": lambda c: lambda x: lax.exp(x, accuracy=lax.Tolerance(0.0, c, 0)),
}
# How a function may hold a number.
HOLD = {
    "Python": lambda c: lambda x: c * x,
    "NumPy": lambda c: lambda x: np.full(3, c, np.float32) * x,
    "JAX": lambda c: functools.partial(jnp.multiply, jnp.full(3, c)),
    "in jit": lambda c: jax.jit(functools.partial(jnp.multiply, np.full(3, c, np.float32))),
}


def of(f, x=X):
    return fingerprints.of_program(jax.make_jaxpr(f)(x))


def check(make):
    """Another number is another program; the same one traced anew is the same; nothing is hidden."""
    one, other = of(make(1.0)), of(make(100.0))
    assert one.opaque == other.opaque == ()
    assert one.digest != other.digest
    assert of(make(1.0)) == one


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hold", HOLD)
def test_a_number_counts_wherever_it_is_and_however_it_is_held(place, hold):
    check(lambda c: PLACES[place](HOLD[hold](c)))


@pytest.mark.parametrize("place", PLACES)
def test_a_number_counts_in_a_place_in_a_place(place):
    for inner in PLACES.keys() - REFUSED_BY_JAX.get(place, set()):
        check(lambda c, inner=inner: PLACES[place](PLACES[inner](HOLD["in jit"](c))))


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("place", ["plain", "jit", "scan"])
def test_parameters_count(kind, place):
    check(lambda c: lambda x: PLACES[place](lambda x: x + jnp.sum(REDUCTIONS[kind](c)(x)))(x))


INNER = jax.make_jaxpr(jax.jit(lambda x: x))(X)


def holding(primitive, name, value):
    """A program of one operation that has a parameter of this name and value."""
    (equation,) = INNER.jaxpr.eqns
    equation = equation.replace(primitive=primitive, params={name: value})
    return jex.ClosedJaxpr(INNER.jaxpr.replace(eqns=[equation]), [])


SHELLS = {
    "jaxpr": lambda program: program,
    "call_jaxpr": lambda program: program.jaxpr,
    "branches": lambda program: (program, program),
    "fun_jaxpr": lambda program: [program.jaxpr],
    "body_jaxpr": lambda program: {"a": (1, program)},
    "bwd": lambda program: jax.tree_util.Partial(sum, program),
}


NOT_CLOSED = ("call_jaxpr", "fun_jaxpr")


def test_every_operation_of_jax_may_hold_programs_in_any_parameter_twice_nested():
    """Whichever are higher-order in this version of JAX: every one, in every other kind of parameter."""
    import jax.experimental.pallas

    fingerprints._is_primitive_of_jax(None)
    every = sorted(set(fingerprints._primitives.values()), key=lambda primitive: primitive.name)
    assert {"scan", "while", "cond", "jit", "custom_vjp_call", "run_state", "core_map"} <= {p.name for p in every}
    constants = [jax.make_jaxpr(lambda x, c=c: x * np.full(3, c, np.float32))(X) for c in (1.0, 100.0)]
    literals = [
        jax.make_jaxpr(lambda x, c=c: x * c)(X) for c in (1.0, 100.0)
    ]  # a Jaxpr that is not closed has no others
    digest = lambda program: fingerprints.of_program(program).digest
    unseen = set()
    for i, inner in enumerate(every):
        for name, shell in SHELLS.items():
            one, other = (holding(inner, name, shell(n)) for n in (literals if name in NOT_CLOSED else constants))
            if digest(one) == digest(other):
                unseen.add((inner.name, name))
            elif every[i - 1].name not in fingerprints._SILENT:
                assert digest(holding(every[i - 1], "jaxpr", one)) != digest(holding(every[i - 1], "jaxpr", other))
    assert unseen == {(name, shell) for name in fingerprints._SILENT for shell in SHELLS} | {("custom_vjp_call", "bwd")}


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Sub(jax.ShapeDtypeStruct):
    """Of a user, though its base is JAX's."""


@pytest.mark.parametrize(
    "make",
    [
        lambda c: jax.tree_util.Partial(np.sin, c),
        lambda c: functools.partial(np.sin, x=c),
        lambda c: jax.jit(lambda x: c * x),
        lambda c: lambda x: c * x,
        lambda c: Slotted(c).__init__,
        Slotted,
        lambda c: np.array([c, None], object),
        lambda c: Sub((int(c),), np.float32),
        lambda c: (np.float32, np.float64)[c > 1],
        lambda c: range(int(c)),
        lambda c: (np.datetime64(int(c), "s"),),
        lambda c: jnp.full(3, c, "int4"),
        lambda c: -0.0 if c > 1 else 0.0,
        lambda c: True if c > 1 else 1,
        lambda c: "1" if c > 1 else 1,
        lambda c: [1] if c > 1 else (1,),
        lambda c: jax.random.key(int(c)),
    ],
)
def test_whatever_a_parameter_is_it_counts_or_is_told(make):
    primitive = INNER.jaxpr.eqns[0].primitive
    one, other = (fingerprints.of_program(holding(primitive, "anything", make(c))) for c in (1.0, 3.0))
    assert one.digest != other.digest or one.opaque


def test_what_jax_has_traced_before_does_not_count():
    before = all_places()
    jax.clear_caches()
    assert all_places() == before


def test_a_captured_key_counts():
    keys = [jax.random.key(seed, impl=impl) for seed, impl in ((0, "threefry2x32"), (1, "threefry2x32"), (0, "rbg"))]
    digests = {of(jax.jit(lambda x, key=key: x + jax.random.normal(key, (3,)))).digest for key in keys}
    assert len(digests) == 3


def test_wiring_inputs_and_outputs_count():
    programs = [
        lambda x, y: (x - y, x),
        lambda x, y: (y - x, x),
        lambda x, y: (x - y, y),
        lambda x, y: (x, x - y),
        lambda x, y: (x - y, 0.0),
        lambda x, y: (x - y, -0.0),
        lambda x, y: (x - y, 0),
    ]
    digests = [fingerprints.of_program(jax.make_jaxpr(f)(X, X)).digest for f in programs]
    digests.append(fingerprints.of_program(jax.make_jaxpr(programs[0])(X, X[:1])).digest)
    assert len(set(digests)) == len(programs) + 1


def all_places():
    return [of(PLACES[place](HOLD[hold](2.0))).digest for place in PLACES for hold in HOLD]


def test_another_process_writes_down_the_same():
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONHASHSEED": "7", "JAX_PLATFORMS": "cpu"}
    code = "from tests.sweeps.test_fingerprints import all_places; print(*all_places())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == all_places()


def test_names_and_messages_do_not_count():
    def make(name, text):
        def inner(x):
            jax.debug.print(text, x)
            jax.debug.callback(lambda x: print(text), x)
            return 2 * x

        inner.__name__ = name
        return jax.jit(inner)

    assert of(make("a", "{} a")) == of(make("b", "{} b"))
    assert of(make("a", "{} a")).opaque == ()


def test_sharing_costs_no_more_than_once():
    """Forty programs, each twice in the next: read one by one they would be 2^40."""
    f = lambda x: 2 * x
    for _ in range(40):
        f = jax.jit(lambda x, f=f: f(x) + f(x))
    assert of(f).opaque == ()


def test_a_convolution_hides_nothing():
    """It has a rule of its own for ``vmap``, which its name stands for, unlike the rules of others below."""
    assert of(lambda x: convolve(x.reshape(1, 3, 1), x[:2].reshape(2, 1, 1))).opaque == ()


def ours():
    primitive = jex.Primitive("ours")
    primitive.def_abstract_eval(lambda x: x)
    return primitive.bind


def own_generator():
    base = jax.eval_shape(lambda: jax.random.key(0)).dtype._impl
    parts = {name: getattr(base, name) for name in ("key_shape", "seed", "split", "random_bits", "fold_in")}
    wrapped = parts | {"random_bits": lambda *a: 1 + base.random_bits(*a)}
    return jax.extend.random.define_prng_impl(**wrapped, name="threefry2x32", tag="fry")


HIDDEN = {
    "pure_callback": lambda x: jax.pure_callback(np.sin, X, x),
    "io_callback": lambda x: io_callback(np.sin, X, x),
    "ffi_call some_kernel": lambda x: jax.ffi.ffi_call("some_kernel", jax.ShapeDtypeStruct((3,), "float32"))(x),
    "custom_vmap_call": jax.custom_batching.custom_vmap(jnp.sin),
    "ours, which is no operation of JAX": ours(),
}
HIDDEN["custom_vmap_call"].def_vmap(lambda size, batched, x: (jnp.cos(x), True))


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("place", ["plain", "scan", "cond", "custom_vjp"])
def test_what_cannot_be_seen_is_told(name, place):
    (told,) = of(PLACES[place](HIDDEN[name])).opaque
    assert told.startswith(name)


def test_a_function_is_told_by_its_name():
    def halve(x):
        return x / 2

    (told,) = of(lambda x: jax.pure_callback(halve, X, x)).opaque
    assert told == f"pure_callback {__name__}.test_a_function_is_told_by_its_name.<locals>.halve"


def test_data_are_told_apart_by_structure_type_and_contents():
    a = np.arange(3, dtype=np.float32)
    key = jax.random.key(0)
    data = [a, a + 1, a.astype(np.float64), {"a": a}, {"b": a}, [a, a], a[None], a[:0], key, jax.random.key_data(key)]
    assert len({fingerprints.of_data(one)[0] for one in data}) == len(data)
    assert fingerprints.of_data({"a": jnp.asarray(a)}) == fingerprints.of_data({"a": a})
    assert fingerprints.of_data(a) == fingerprints.of_data(np.asfortranarray(a[::-1])[::-1])
    assert fingerprints.of_data(None) == (None, {})


def test_generators_of_users_are_told():
    (told,) = of(lambda x: x + jax.random.normal(jax.random.key(0, impl=own_generator()), (3,))).opaque
    assert told == "the generator threefry2x32 of random keys, which is not JAX's own"
