"""One set of laws for every public function: tests/registry says how each is called and which law does not hold."""

import gc
from contextlib import contextmanager
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import compiling
from tests.registry import FUNCTIONS, HOST_LAWS, HOSTED, KEYS, LAWS, is_function, public
from tests.thorough import in_part

BAD = 1  # the lane that gets the NaN


def arguments(name, dtype):
    return [jnp.asarray(a, dtype if a.dtype.kind == "f" else None) for a in FUNCTIONS[name].arguments]


def floating(a):
    return jnp.issubdtype(a.dtype, jnp.floating)


@cache
def jitted(name):
    return jax.jit(FUNCTIONS[name].call)


def traced(f):
    """For laws about traces, not about machine code."""
    return jax.jit(f, compiler_options=compiling.options())


@cache
def compilations():
    """A list that grows by one with every program that XLA compiles."""
    seen = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: seen.append(event) if event.endswith("backend_compile_duration") else None
    )
    return seen


def assert_equal(got, exact, roundings=64):
    """Leaf by leaf within `roundings` eps of the largest value: fusion and batching may change the order of sums."""
    chex.assert_trees_all_equal_shapes_and_dtypes(got, exact)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(exact), strict=True):
        atol = roundings * jnp.finfo(a.dtype).eps * np.max(np.abs(b), initial=0) if floating(a) else 0
        np.testing.assert_allclose(np.float64(a), np.float64(b), rtol=0, atol=atol)


def test_every_public_function_is_registered():
    functions = {name for name, thing in public() if is_function(thing)}
    listed = {*FUNCTIONS, *HOSTED}
    assert not functions - listed, f"add to tests/registry: {sorted(functions - listed)}"
    assert not listed - functions, f"not public: {sorted(listed - functions)}"
    assert set(FUNCTIONS).isdisjoint(HOSTED)


def test_the_walk_sees_functions_types_and_constants():
    seen = dict(public())
    assert {"activations.selu", "activations.SELU_ALPHA", "theory.moments.Moments", "plots.save"} <= set(seen)
    assert is_function(seen["activations.selu"])
    assert not is_function(seen["theory.moments.Moments"])


def test_exceptions_name_a_law_and_a_reason():
    for table, laws in ((FUNCTIONS, LAWS), (HOSTED, HOST_LAWS)):
        for name, entry in table.items():
            assert set(entry.exceptions) <= set(laws), name
            assert all(entry.exceptions.values()), name


def jit_equals_eager(name):
    args = arguments(name, "float32")
    out = jitted(name)(*args)
    assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves(out) if floating(a))
    with compiling.unoptimized():
        eager = FUNCTIONS[name].call(*args)
    assert_equal(out, eager)


@jax.enable_x64(True)
def arrays_and_vmap_equal_a_loop(name):
    args, call = arguments(name, "float64"), FUNCTIONS[name].call
    one = traced(call)
    rows = [one(*(np.asarray(a)[i] for a in args)) for i in range(len(args[0]))]
    loop = jax.tree.map(lambda *rows: np.stack(rows), *rows)
    array, mapped = traced(lambda *a: (call(*a), jax.vmap(call)(*a)))(*args)
    assert_equal(array, loop)
    assert_equal(mapped, loop)


@jax.enable_x64(True)
def gradient_equals_finite_differences(name):
    args = arguments(name, "float64")
    moving = [i for i, a in enumerate(args) if floating(a)]
    rng = np.random.default_rng(0)
    direction = [rng.choice([-1.0, 1.0], args[i].shape) * (0.1 + np.abs(args[i])) for i in moving]
    h = 1e-3

    def f(*values):
        full = list(args)
        for i, value in zip(moving, values, strict=True):
            full[i] = value
        return [a for a in jax.tree.leaves(FUNCTIONS[name].call(*full)) if floating(a)]

    @traced
    def both_modes(values):
        out, tangents = jax.jvp(f, values, direction)
        weights = [jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape) for a in out]
        pulled = jax.vjp(f, *values)[1](weights)
        forward = [w * t for w, t in zip(weights, tangents, strict=True)]
        backward = [p * d for p, d in zip(pulled, direction, strict=True)]
        steps = jax.vmap(lambda s: f(*(a + s * d for a, d in zip(values, direction, strict=True))))
        return out, tangents, forward, backward, steps(h * jnp.array([-2.0, -1.0, 1.0, 2.0]))

    out, tangents, forward, backward, steps = both_modes([args[i] for i in moving])
    for value, tangent, (p, q, r, s) in zip(out, tangents, steps, strict=True):
        # Fourth-order central differences: h^4 f^(5)/30 ~ 1e-13 times higher derivatives, and eps/h ~ 1e-12.
        scale = np.max(np.abs(value)) + np.max(np.abs(tangent))
        np.testing.assert_allclose(tangent, (8 * (r - q) - (s - p)) / (12 * h), rtol=0, atol=1e-8 * scale)
    # Reverse mode is the transpose of forward mode, to rounding.
    sums = [np.sum([np.sum(a) for a in side]) for side in (forward, backward)]
    size = np.sum([np.sum(np.abs(a)) for a in (*forward, *backward)])
    assert abs(sums[0] - sums[1]) <= 1e-12 * size


def dtype_is_kept(name):
    for dtype in FUNCTIONS[name].dtypes:
        with jax.enable_x64(dtype == "float64"):
            out = jax.eval_shape(FUNCTIONS[name].call, *arguments(name, dtype))
            assert {a.dtype.name for a in jax.tree.leaves(out) if floating(a)} == {dtype}


def equal_shapes_compile_once(name):
    """Called again with other numbers, nothing is compiled: under jit, eagerly, and under fresh grad and vmap."""
    entry, args = FUNCTIONS[name], arguments(name, "float32")
    others = [jnp.asarray(np.asarray(a) * np.float32(1.01)) if floating(a) else a for a in args]
    moving = tuple(i for i, a in enumerate(args) if floating(a))
    ways = {
        "jit": lambda: jitted(name),
        "eager": lambda: entry.call,
        "vmap": lambda: jax.vmap(lambda *a: entry.call(*a)),
    }
    if moving and "gradient" not in entry.exceptions:
        ways["grad"] = lambda: jax.grad(lambda *a: total(entry.call(*a)), moving)
    with compiling.unoptimized():
        for way, made in ways.items():
            jax.block_until_ready(made()(*args))
            before = len(compilations())
            jax.block_until_ready(made()(*others))
            assert len(compilations()) == before, way


@contextmanager
def tracing():
    """What is traced in this block uses no key twice and leaks no tracer."""
    gc.freeze()  # the search for leaks collects garbage, which must not walk through all that tests have loaded
    try:
        with jax.debug_key_reuse(True), jax.checking_leaks(), jax.numpy_rank_promotion("raise"):
            yield
    finally:
        gc.unfreeze()


def assert_donatable(tree):
    """No two leaves share a buffer, so that ``jit`` may be given all of them to write to."""
    names = {}
    for path, a in jax.tree.leaves_with_path(tree):
        if isinstance(a, jax.Array) and a.size and not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            first = names.setdefault(a.unsafe_buffer_pointer(), path)
            assert first is path, f"one buffer: {jax.tree_util.keystr(first)} and {jax.tree_util.keystr(path)}"


def assert_flags_find_nothing(call, args):
    """No NaN on the way, no key used twice, no tracer leaked; ranks are not promoted."""
    with jax.debug_nans(True):
        assert_donatable(call(*args))
    typed = [jax.random.wrap_key_data(a) if a.dtype == np.uint32 else a for a in args]
    with tracing():
        jax.jit(lambda *a: call(*a)).trace(*typed)


def flags_find_nothing(name):
    """Nor in the gradient; and of what is returned, under jit too, all may be donated."""
    entry, args = FUNCTIONS[name], arguments(name, "float32")
    assert_donatable(jitted(name)(*args))
    assert_flags_find_nothing(entry.call, args)
    moving = tuple(i for i, a in enumerate(args) if floating(a))
    if moving and "gradient" not in entry.exceptions:
        assert_flags_find_nothing(jax.grad(lambda *a: total(entry.call(*a)), moving), args)


def total(tree):
    return sum(jnp.sum(a.astype(jnp.float32)) for a in jax.tree.leaves(tree) if floating(a))


def nan_stays_in_its_lane(name):
    args = arguments(name, "float32")
    clean = jax.tree.leaves(jitted(name)(*args))
    for i, a in enumerate(args):
        if not floating(a):
            continue
        bad = np.array(a)
        bad[(BAD, *[0] * (a.ndim - 1))] = np.nan
        got = jax.tree.leaves(jitted(name)(*args[:i], bad, *args[i + 1 :]))
        others = np.arange(len(a)) != BAD
        for before, after in zip(clean, got, strict=True):
            np.testing.assert_array_equal(before[others], after[others])
        if "nan" not in FUNCTIONS[name].exceptions:
            assert all(np.any(np.isnan(after[BAD])) for after in got if floating(after)), f"argument {i}"


CHECKS = {
    "jit": jit_equals_eager,
    "batch": arrays_and_vmap_equal_a_loop,
    "gradient": gradient_equals_finite_differences,
    "dtype": dtype_is_kept,
    "compile": equal_shapes_compile_once,
    "nan": nan_stays_in_its_lane,
    "flags": flags_find_nothing,
}
# Made by the code of another one, of which they are special cases.
KIN = {f"theory.closed_forms.{name}" for name in ("relu", "leaky_relu", "elu", "selu", "celu")}
KIN |= {f"initializers.{kind}_{law}" for kind in ("glorot", "he", "lecun") for law in ("normal", "uniform")}
PARTIAL = ("nan",)  # what an exception leaves of it is checked all the same
assert set(FUNCTIONS) >= KIN
COSTLY = ("compile", "gradient")  # of half of the functions they run with --thorough alone


def _marks(name, law):
    return [pytest.mark.thorough] if name in KIN or (law in COSTLY and in_part(name, "0/2")) else []


CASES = [
    pytest.param(name, law, marks=_marks(name, law))
    for name, entry in FUNCTIONS.items()
    for law in LAWS
    if law in PARTIAL or law not in entry.exceptions
]


# The laws of one function in a row: what one of them compiles the next ones use.
@pytest.mark.parametrize(("name", "law"), CASES)
def test_law(name, law):
    CHECKS[law](name)


def assert_same(got, again):
    assert jax.tree.structure(got) == jax.tree.structure(again)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(again), strict=True):
        same = np.array_equal(a, b, equal_nan=True) if isinstance(a, jax.Array | np.ndarray | float) else a == b
        assert same or (repr(a) == repr(b) and type(a).__eq__ is object.__eq__), f"{a} {b}"


@pytest.mark.parametrize("name", HOSTED)
def test_host_law(name):
    """Called twice, the same comes out and nothing is compiled the second time; and JAX's flags find nothing."""
    entry = HOSTED[name]
    first = entry.call()
    before = len(compilations())
    with jax.debug_nans("nans" not in entry.exceptions):
        second = entry.call()
    assert "compile" in entry.exceptions or len(compilations()) == before
    if "pure" not in entry.exceptions:
        assert_same(first, second)
    assert_donatable(second)
    with tracing():
        entry.call()


def test_the_compile_counter_counts():
    before = len(compilations())
    jax.jit(lambda x: x * 3 + 1)(jnp.ones(7))
    assert len(compilations()) > before


LEAKED = []
FAULTS = {
    "a key used twice": (lambda k: jax.random.normal(k) + jax.random.uniform(k), KEYS[0], "already consumed"),
    "a tracer leaked": (lambda x: LEAKED.append(jnp.sin(x)), np.float32(1), "Leaked"),
    "NaN on the way": (lambda x: jnp.where(x > 0, jnp.log(x), 0.0), np.float32(-1), "invalid value"),
    "NaN in a slope": (jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0)), np.float32(0), "invalid value"),
    "one buffer twice": (lambda x: [jnp.sin(x)] * 2, np.float32(1), "one buffer"),
    "ranks promoted": (lambda x: x + jnp.ones(3), np.ones((1, 1), np.float32), "rank_promotion"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_flags_see_faults(fault):
    call, argument, words = FAULTS[fault]
    with pytest.raises(Exception, match=words):
        assert_flags_find_nothing(call, (argument,))
