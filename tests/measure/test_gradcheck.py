"""Gradient checks: every planted bug is found where it is, and nothing else is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.measure import gradcheck
from jnorm.measure.gradcheck import _consistency, _remainders
from tests.measure import planted
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

CASES = [(kind, place) for kind in planted.KINDS for place in planted.PLACES]
SAMPLE = [
    ("three percent", "dense"),
    ("missing tangent", "attention"),
    ("stop_gradient", "convolution"),
    ("stopped slope", "norm"),
]
QUICK = {"directions": 1, "entries": 4, "order": 1}


@pytest.mark.parametrize("case", beside(SAMPLE, CASES), ids=" in ".join)
def test_planted_bugs_are_found_and_located(case):
    kind, place = case
    make, primitive = planted.KINDS[kind]
    params, x = planted.inputs()
    order = 2 if kind == "stopped slope" else 1
    report = gradcheck.check(planted.model(make(planted.PLACES[place])), params, x, **(QUICK | {"order": order}))
    assert report.verdict == ("not finite" if kind == "NaN at where" else "wrong")
    assert [fault.primitive for fault in report.faults] == [primitive]
    (fault,) = report.faults
    if primitive.startswith("custom"):
        assert fault.function.startswith("planted at ")
        assert fault.line.number == planted.LINE
        assert fault.line.file == planted.__file__


WRONG = planted.scaled(lambda x, w: x * w, x_by=1.0, w_by=1.5)
AT = jnp.array([0.3, -0.7, 1.1])


def checked(loss, params, *args, **options):
    return gradcheck.check(loss, params, *args, **(QUICK | options))


def remainder(f, slope, x=0.3, eps=2.0**-52):
    steps = _remainders.steps(eps)
    return _remainders.read("x", np.vectorize(f)(x + steps), slope, abs(slope), eps)


@pytest.mark.parametrize(
    ("f", "slope", "verdict", "rate"),
    [
        (np.sin, np.cos(0.3), "right", 3),
        (np.sin, 1.03 * np.cos(0.3), "wrong", 1),
        (np.sin, (1 + 1e-6) * np.cos(0.3), "wrong", 1),
        (np.sin, (1 + 1e-9) * np.cos(0.3), "right", 1),  # lectures call 1e-7 fine
        (lambda x: 7 * x, 7.0, "right", np.nan),
        (lambda x: abs(x - 0.3), 1.0, "kink", 1),
        (lambda x: abs(x - 0.3), 0.0, "kink", np.nan),
        (lambda x: abs(x - 0.3), 1.5, "wrong", 1),
        (lambda x: max(x - 0.3, 0) + np.sin(x), np.cos(0.3), "kink", 1),
        (lambda x: abs(x - 0.3 - 1e-5) + np.sin(x), np.cos(0.3) - 1, "right", None),
        (lambda x: np.sin(x) + 1e6, np.cos(0.3), "right", None),
        (lambda x: np.sin(x) + 1e14, np.cos(0.3), "rounding", None),
        (lambda x: np.sqrt(x) if x >= 0.29 else np.nan, 0.5 / np.sqrt(0.3), "right", 3),  # steps that leave the domain
        (lambda x: np.nan, 0.0, "not finite", None),
        (np.sin, np.inf, "not finite", None),
    ],
)
def test_rates_say_whether_a_slope_is_right(f, slope, verdict, rate):
    row = remainder(f, slope)
    assert row.verdict == verdict
    if rate is not None:
        np.testing.assert_allclose(row.rate, rate, atol=0.1)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_no_distance_of_a_kink_makes_a_right_slope_wrong(side):
    for distance in np.geomspace(1e-15, 1.0, 60):
        bent = lambda x, at=0.3 + distance: max(side * (x - at), 0) + np.sin(x)
        allowed = ("right", "kink") if distance > 1e-11 else ("right", "kink", "rounding")  # the least step: 2e-12
        assert remainder(bent, np.cos(0.3) - (side < 0)).verdict in allowed, distance


def test_a_slope_is_right_in_float32_and_wrong_by_a_thousandth():
    f = lambda x: np.float64(np.sin(np.float32(x)))
    assert remainder(f, np.float32(np.cos(0.3)), eps=2.0**-23).verdict == "right"
    assert remainder(f, 1.001 * np.cos(0.3), eps=2.0**-23).verdict == "wrong"


def in_scan(x, w):
    return jax.lax.scan(lambda carry, row: (carry + WRONG(row, w), carry), jnp.zeros(()), x)[0]


def in_while(x, w):
    # Forward mode alone goes through a `while`; a bounded one is a scan.
    return jax.lax.fori_loop(0, 3, lambda i, carry: carry + WRONG(x[i], w), jnp.zeros(()))


def in_cond(x, w):
    return jax.lax.cond(x[0] > 0, lambda w: jnp.sum(WRONG(x, w)), lambda w: w**2, w)


PLACES = {
    "jit": lambda x, w: jnp.sum(jax.jit(WRONG)(x, w)),
    "vmap": lambda x, w: jnp.sum(jax.vmap(WRONG, (0, None))(x, w)),
    "remat": lambda x, w: jnp.sum(jax.checkpoint(WRONG)(x, w)),
    "scan": in_scan,
    "fori_loop": in_while,
    "cond": in_cond,
}


@pytest.mark.parametrize("place", beside(("scan", "cond"), PLACES))
def test_a_rule_is_found_inside(place):
    report = checked(lambda w, x: PLACES[place](x, w) ** 2, jnp.float32(0.8), AT)
    assert report.verdict == "wrong"
    assert [fault.primitive for fault in report.faults] == ["custom_vjp_call"]
    assert report.faults[0].function.startswith("planted at ")


def test_a_rule_that_no_parameter_needs_is_not_blamed():
    """The gradient by the data may be anything."""
    no_data = planted.scaled(lambda x, w: x * w, x_by=0.0)
    assert checked(lambda w, x: jnp.sum(no_data(x, w)), AT, AT).verdict == "right"
    report = checked(lambda w, x: jnp.sum(no_data(x, w) + WRONG(x, w)), AT, AT)
    assert len(report.faults) == 1


def test_a_stop_gradient_that_changes_nothing_is_not_blamed():
    shifted = lambda w: jax.nn.logsumexp(w)
    loss = lambda w: shifted(w) + jnp.sum(jax.lax.stop_gradient(w) * w)
    report = checked(loss, AT)
    assert [fault.primitive for fault in report.faults] == ["stop_gradient"]
    assert report.faults[0].line.number == loss.__code__.co_firstlineno


def test_a_kink_is_a_kink_and_what_is_wrong_beside_it_is_wrong():
    at = jnp.array([0.0, 0.4])
    report = checked(lambda w: jnp.sum(jnp.abs(w)), at)
    assert report.verdict == "kink"
    assert [fault.primitive for fault in report.faults] == ["abs"]
    gradcheck.assert_gradients(lambda w: jnp.sum(jax.nn.relu(w)), at, **QUICK)
    half = jax.custom_jvp(jax.nn.relu)
    half.defjvp(lambda x, dx: (half(*x), jnp.where(x[0] > 0, 0.75 * dx[0], 0)))
    assert checked(lambda w: jnp.sum(half(w)), at).verdict == "wrong"


def test_nan_is_reported_where_it_began():
    report = checked(lambda w: jnp.sum(jnp.exp(w) * jnp.log(w)), AT)
    assert report.verdict == "not finite"
    assert [fault.primitive for fault in report.faults] == ["log"]


def test_a_loss_that_draws_anew_is_not_deterministic():
    rng = np.random.default_rng(0)
    report = checked(lambda params: jnp.sum(params["w"] * rng.normal()), {"w": AT})
    assert report.verdict == "not deterministic"
    assert [row.name for row in report.agreements if row.verdict == "wrong"] == ["two traces"]
    drawn = lambda w: jnp.sum(w * jax.pure_callback(lambda: np.float32(rng.normal()), jax.typeof(jnp.float32(0))))
    report = checked(drawn, AT)
    row = next(row for row in report.agreements if row.verdict == "wrong")
    assert (row.name, row.leaf) == ("two runs", "gradient of `params`")


@pytest.mark.parametrize("dtype", beside(("bfloat16",), ["bfloat16", "float16", "float32", "complex64"]))
def test_leaves_of_every_dtype(dtype):
    w = jnp.asarray([0.3, -0.7, 1.1], dtype) * jnp.asarray(1 + 0.5j if "complex" in dtype else 1, dtype)
    params = {"w": w, "step": jnp.int32(3), "on": np.array(True)}
    square = lambda w: jnp.real(w * jnp.conj(w)) + jnp.real(jnp.sin(w))
    right = lambda params: jnp.sum(square(params["w"]) * params["step"].astype(params["w"].real.dtype))
    report = checked(right, params)
    assert (report.verdict, report.dtype, [row.leaf for row in report.leaves]) == (
        "right",
        "float64",
        ["`params['w']`"],
    )
    bad = planted.scaled(lambda x, w: jnp.real(x * jnp.conj(w)), x_by=1.0, w_by=1.5)
    wrong = lambda params: jnp.sum(bad(params["w"], params["w"]))
    report = checked(wrong, params)
    assert report.verdict == "wrong"
    assert [fault.primitive for fault in report.faults] == ["custom_vjp_call"]


def test_a_rule_that_is_wrong_in_half_precision_alone_is_seen():
    @jax.custom_vjp
    def f(x):
        return jnp.sum(x**2)

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * x * (2 if x.dtype == "float64" else 3),))
    report = checked(f, AT.astype(jnp.bfloat16))
    assert report.verdict == "rounding"
    assert [row.name for row in report.agreements if row.verdict == "rounding"] == ["bfloat16 and float64"]


def test_a_loss_that_draws_by_a_key_is_checked_as_it_stands():
    drop = lambda w: jnp.sum(jnp.where(jax.random.bernoulli(jax.random.key(1), 0.5, (8,)), jnp.sin(w), 0) ** 2)
    report = checked(drop, jnp.linspace(0.1, 2.0, 8))
    assert report.verdict == "right"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_only_compared_does_not_coarsen_the_loss(dtype):
    """Draws in another precision decide a mask, and no derivative goes through them."""
    draws = jax.random.uniform(jax.random.key(0), (8,), jnp.float16)
    with jax.enable_x64(dtype == "float64"):
        rate = jnp.linspace(0.05, 0.1, 8, dtype=dtype)
        loss = lambda rate: jnp.sum(jnp.where(draws < rate.astype(draws.dtype), 0, jnp.sin(3 * rate)))
        report = checked(loss, rate)
        halved = checked(lambda rate: loss(rate.astype(draws.dtype).astype(rate.dtype)), rate)
    assert report.verdict == "right"
    assert max(row.resolution for row in report.directions) < 1e-6
    assert max(row.resolution for row in halved.directions) > 1e-4


def test_a_slope_that_is_zero_to_rounding_is_right():
    """Entries of 1e-17 beside differences of rounding are zero both, however far apart they are."""
    report = checked(lambda p: jnp.sum(jnp.sin(p["x"]) ** 2 + jnp.cos(p["x"]) ** 2) + p["y"], {"x": AT, "y": 1.0})
    assert report.verdict == "right"
    assert report.leaves[0].distance > 1e-3


def test_what_is_no_loss_is_refused():
    with pytest.raises(TypeError, match=r"`loss` must return one real floating number; got float32\[3\]"):
        gradcheck.check(lambda w: w, AT)
    with pytest.raises(TypeError, match=r"`params` must hold floating leaves; got int32\[\]"):
        gradcheck.check(lambda w: w * 1.0, jnp.int32(3))
    with pytest.raises(TypeError, match=r"`params` must hold arrays; `params\['f'\]` is str"):
        gradcheck.check(lambda params: params["w"], {"w": 1.0, "f": "relu"})
    with pytest.raises(ValueError, match=r"`entries` must be a whole number >= 1; got 0"):
        gradcheck.check(jnp.sum, AT, entries=0)
    with pytest.raises(ValueError, match=r"`order` must be 1 or 2; got 3"):
        gradcheck.check(jnp.sum, AT, order=3)


def test_the_assertion_says_what_and_where():
    with pytest.raises(AssertionError, match=r"gradient: wrong[^$]*planted at [^$]*called at [^$]*`params\['w'\]`"):
        gradcheck.assert_gradients(lambda params: jnp.sum(WRONG(AT, params["w"])), {"w": AT}, **QUICK)
    with pytest.raises(ValueError, match=r"`allow` must be one of .*; got 'fine'"):
        gradcheck.assert_gradients(jnp.sum, AT, allow=["fine"])


def test_points_outside_of_the_domain_are_no_difference():
    """Points beside x, for vmap and a loop, may be outside: both say NaN there, and the same elsewhere."""
    x = jnp.array([1e-3, 1.0, 4.0])
    assert gradcheck.check(lambda x: jnp.sum(jnp.sqrt(x)), x, order=1, directions=1).verdict == "right"
    nan, one = np.array([np.nan, 1.0]), np.array([1.0, 1.0])
    assert _consistency.compare("both", ["x"], [nan], [nan], 1e-16).verdict == "right"
    assert _consistency.compare("one", ["x"], [nan], [one], 1e-16).verdict == "wrong"
    assert _consistency.compare("beside", ["x"], [nan], [np.array([np.nan, 1.1])], 1e-16).verdict == "wrong"
