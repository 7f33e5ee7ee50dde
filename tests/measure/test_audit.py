"""Audits: planted faults are named at their lines, sound models raise no alarm, whatever theory leaves out."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import predict
from jnorm.measure import _audit, audit
from jnorm.measure._families import family
from jnorm.measure._holding import Held
from jnorm.measure._meant import drawing, lined_up
from jnorm.predict import Law

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)
WIDTH, BATCH = 64, 8


def residual(scaled=None):
    """A residual network whose branches have a scale, but for one block that forgot it."""

    def apply(blocks, x):
        for number, (first, second) in enumerate(blocks):
            h = x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True))
            h = jax.nn.relu(h @ first)
            h = h @ second
            x = x + h * (1.0 if number == scaled else len(blocks) ** -0.5)
        return x

    return apply


def line_of(text, apply):
    """Where a text stands in a function of this file."""
    lines, start = inspect.getsourcelines(apply)
    return start + next(i for i, line in enumerate(lines) if text in line)


def blocks(depth, **gains):
    """An initializer of such a network, and the laws that were meant; ``gains`` of single blocks, by number."""

    def init(key):
        found = []
        for number, k in enumerate(jax.random.split(key, depth)):
            first, second = jax.random.split(k)
            gain = gains.get(f"block{number}", 1.0)
            found.append(
                (
                    jax.random.normal(first, (WIDTH, WIDTH)) * (gain * math.sqrt(2 / WIDTH)),
                    jax.random.normal(second, (WIDTH, WIDTH)) / math.sqrt(WIDTH),
                )
            )
        return found

    return init, [(Law("normal", 2 / WIDTH), Law("normal", 1 / WIDTH))] * depth


X = jax.random.normal(jax.random.key(5), (BATCH, WIDTH))
ROWS = 5  # of a block: a product, relu, a product, the sum, and the norm before the next one


def check_gain_and_dead(depth, wrong, dead):
    init, laws = blocks(depth, **{f"block{wrong}": 1.1, f"block{dead}": 0.0})
    apply = residual()
    found = audit(init, apply, X, KEY, laws=laws)
    first, then = found.faults
    assert (first.line.number, then.line.number) == (line_of("h @ first", apply),) * 2
    assert [row.equation for row in (first, then)] == [ROWS * wrong, ROWS * dead]
    # The mean over 64 x 32 squares of each side, were all examples alike: five standard errors of the ratio.
    assert first.ratio == pytest.approx(1.21, rel=5 * math.sqrt(2 * 2 / (WIDTH * 32)))
    assert then.ratio < 1e-20
    followers = [row.equation - ROWS * dead for row in found if row.verdict == "follows"]
    # relu and product, which take up a zero, and the sum where a branch is much of it: of few blocks.
    assert followers == [1, 2, 3] if depth < 10 else followers in ([1, 2], [1, 2, 3])
    assert f"line {first.line.number} of test_audit.py" in found.verdict
    assert "zero at" in str(then)


def test_a_wrong_gain_and_a_dead_layer_are_named_at_their_lines():
    check_gain_and_dead(6, 2, 4)


@pytest.mark.thorough
def test_a_wrong_gain_and_a_dead_layer_of_24_blocks():
    check_gain_and_dead(24, 13, 19)


def check_forgotten_scale(depth, forgotten):
    """A forgotten scale is no fault of the draws: what is meant is a program."""
    (init, _), wrong = blocks(depth), residual(forgotten)
    found = audit(init, wrong, X, KEY, reference=(init, residual()))
    (fault,) = found.faults
    assert fault.line.number == line_of("x = x + h", wrong)
    assert fault.equation == ROWS * forgotten + 3
    assert not found.missing
    assert audit(init, wrong, X, KEY).verdict == "as predicted"  # as the program says


def test_a_forgotten_residual_scale_is_named_beside_a_reference():
    check_forgotten_scale(5, 3)


def test_a_dead_layer_is_named_at_its_first_line_beside_a_reference():
    (init, _), (dead, _) = blocks(4), blocks(4, block2=0.0)
    found = audit(dead, residual(), X, KEY, reference=(init, residual()), seeds=8)
    assert [row.equation for row in found.faults] == [ROWS * 2]
    assert found.faults[0].line.number == line_of("h @ first", residual())
    assert not found.missing


@pytest.mark.thorough
def test_a_forgotten_residual_scale_of_24_blocks():
    check_forgotten_scale(24, 16)


@pytest.mark.thorough
def test_sound_networks_of_24_blocks_raise_no_alarm():
    init, laws = blocks(24)
    for seed in range(5):
        assert (
            audit(init, residual(), X, jax.random.key(seed), laws=laws, gradients=seed == 0).verdict == "as predicted"
        )


def tanh_chain(weights, x):
    for w in weights:
        x = jnp.tanh(x @ w)
    return x


def chain(width, depth, sigma=1.5):
    def init(key):
        return [jax.random.normal(k, (width, width)) * (sigma / math.sqrt(width)) for k in jax.random.split(key, depth)]

    return init, [Law("normal", sigma**2 / width)] * depth


def test_the_error_of_the_theory_raises_no_alarm():
    """Sixteen layers of width 8: theory is off by 40 %, and so are sound draws."""
    init, laws = chain(8, 16, sigma=1.0)
    found = audit(init, tanh_chain, jnp.ones((1, 8)), KEY, laws=laws, seeds=256)
    assert found.verdict == "as predicted"
    last = found[-1]
    # 3000 draws of such a network in NumPy have .0198 (and .0268 for a draw) where theory has .0325: here 7.5 errors.
    assert last.measured < last.predicted - 4 * last.error
    assert last.sound == pytest.approx(last.measured, abs=6 * last.error)


def test_false_alarms_are_as_rare_as_is_said_for_a_narrow_network():
    """120 audits at level .1: more than 22 alarms have a probability of 1e-3; one program for all of them."""
    init, laws = chain(8, 5)
    rows = predict.predict(tanh_chain, init(KEY), jnp.ones((1, 8)), laws=laws).rows
    held = _audit._held(tanh_chain, init(KEY), jnp.ones((1, 8)), rows, rows)
    seeds, times = 12, 120
    draws = jax.random.split(KEY, 2 * seeds * times)
    values = _audit._measured(held, init, jnp.ones((1, 8)), draws, False)["value"]
    alarms = 0
    for side in values.reshape(times, 2, seeds, -1):
        z, limit = family(side[0], side[1], 0.1, np.random.default_rng(0))
        alarms += bool(np.any(np.abs(z) > limit))
    assert 0 < alarms <= 22


@pytest.mark.parametrize("kind", ["normal", "skewed", "mostly zero"])
def test_the_family_keeps_its_error(kind):
    """400 families of 12 columns that hang together, at level .05: more than 36 have a probability of 3e-4."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(400):
        values = rng.normal(size=(20, 12)) + rng.normal(size=(20, 1))
        values = {"normal": values, "skewed": np.exp(values), "mostly zero": np.where(values > 2, values, 0.0)}[kind]
        z, limit = family(values[:10], values[10:], 0.05, rng)
        alarms += bool(np.any(np.abs(z) > limit))
    assert alarms <= 36


def test_a_difference_of_one_column_is_found():
    rng = np.random.default_rng(0)
    first, then = rng.normal(size=(2, 32, 200))
    z, limit = family(first + 1.5 * (np.arange(200) == 7), then, 0.01, rng)
    assert np.flatnonzero(np.abs(z) > limit).tolist() == [7]
    left_out, _ = family(np.where(np.arange(200) == 3, np.nan, first), then, 0.01, rng)
    assert np.flatnonzero(np.isnan(left_out)).tolist() == [3]


def test_each_row_is_measured_given_what_goes_in():
    """Against the same by hand: each value is set to its predicted size before it goes on."""
    init, laws = chain(16, 3)
    params, x = init(KEY), jnp.ones((2, 16))
    rows = predict.predict(tanh_chain, params, x, laws=laws).rows
    held = _audit._held(tanh_chain, params, x, rows, rows)
    found = held.measure([*params, x], None)
    wanted, free, value, plain = [], [], np.asarray(x, np.float64), np.asarray(x, np.float64)
    sizes = iter(row.second for row in rows)
    for w in np.asarray(params, np.float64):
        for step in (lambda v, w=w: v @ w, np.tanh):
            value, plain, size = step(value), step(plain), next(sizes)
            ratio = np.mean(value**2) / size
            wanted.append(np.log(ratio))
            free.append(np.log(np.mean(plain**2) / size))
            value = value / np.sqrt(ratio)
    # Logarithms in float32, of products of 16 terms.
    np.testing.assert_allclose(found["value"], wanted, atol=1e-5)
    np.testing.assert_allclose(found["free"], free, atol=1e-5)


def test_each_gradient_is_measured_given_those_behind_it():
    """Two linear layers: ``g = W2^T c``, and at the input of the first none, as it is no row."""
    w = list(jax.random.normal(KEY, (2, 16, 16)) / 4)
    apply = lambda w, x: (x @ w[0]) @ w[1]
    x = jnp.ones((2, 16))
    laws = [Law("normal", 1 / 16)] * 2
    rows = predict.predict(apply, w, x, laws=laws, gradients=True).rows
    products = [row for row in rows if row.name == "dot_general"]
    held = _audit._held(apply, w, x, products, products)
    found = held.measure([*w, x], jax.random.key(3))["gradient"]
    c = np.asarray(jax.random.normal(jax.random.split(jax.random.key(3), 1)[0], (2, 16)), np.float64)
    c_held = c / np.sqrt(np.mean(c**2) / products[1].gradient)
    g = c_held @ np.asarray(w[1], np.float64).T
    wanted = [np.log(np.mean(g**2) / products[0].gradient), np.log(np.mean(c**2) / products[1].gradient)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_wrong_backward_pass_is_named():
    """The value is right, and the rule hands back three times the gradient: what ``predict`` takes for meant is not."""

    def rule(factor):
        @jax.custom_vjp
        def f(z):
            return jnp.tanh(z)

        f.defvjp(lambda z: (jnp.tanh(z), jnp.tanh(z)), lambda y, c: (factor * c * (1 - y**2),))

        def apply(weights, x):
            for number, w in enumerate(weights):
                x = x @ w
                x = f(x) if number == 2 else jnp.tanh(x)
            return x

        return apply

    init, laws = chain(32, 4)
    found = audit(init, rule(3.0), jnp.ones((2, 32)), KEY, reference=(init, rule(1.0)), laws=laws, gradients=True)
    (fault,) = found.faults
    assert fault.of == "gradient"
    assert fault.name.endswith("dot_general")
    assert fault.ratio == pytest.approx(9.0, rel=0.2)
    assert "the gradient at equation 4" in found.verdict


def test_gradients_before_a_wrong_weight_follow_from_it():
    init, laws = blocks(4, block2=1.3)
    found = audit(init, residual(), X, KEY, laws=laws, gradients=True)
    assert [(row.of, row.equation) for row in found.faults] == [("value", ROWS * 2)]
    assert {(row.of, row.equation) for row in found if row.verdict == "follows"} == {("gradient", ROWS * 2 - 1)}


def test_rows_know_what_they_are_computed_from():
    init, laws = blocks(2)
    apply = residual()
    rows = predict.predict(apply, init(KEY), X, laws=laws).rows
    parents = _audit._held(apply, init(KEY), X, rows, rows).parents()
    names = [row.name for row in rows]
    add = [i for i, name in enumerate(names) if name == "add"]
    assert parents[add[1]] == {add[0], add[1] - 1}
    assert all(i - 1 in above for i, above in enumerate(parents) if names[i] == "relu")


def test_layers_in_a_scan_are_rows_turn_by_turn():
    def apply(w, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    wrong = jnp.array([1.0, 1.0, 1.2, 1.0])[:, None, None]
    init = lambda key: jax.random.normal(key, (4, 64, 64)) * wrong / 8
    found = audit(init, apply, jnp.ones((2, 64)), KEY, laws=Law("normal", 1 / 64))
    assert [row.equation for row in found.faults] == [4]
    assert len(found) == 8


def test_gradients_in_a_loop_are_measured_turn_by_turn():
    """Of one weight for all turns and of one each; a turn with a wrong derivative is named, those before it are not."""

    @jax.custom_jvp
    def wrong(h, turn):
        return jnp.tanh(h)

    @wrong.defjvp
    def _(primals, tangents):
        (h, turn), (dh, _) = primals, tangents
        return jnp.tanh(h), (1 - jnp.tanh(h) ** 2) * dh * jnp.where(turn == 1, 1.3, 1.0)

    init = lambda key: jax.random.normal(key, (3, 64, 64)) / 8
    x = jax.random.normal(KEY, (8, 64))
    models = {
        "own": lambda f: lambda w, x: jax.lax.scan(lambda h, w: (f(h @ w, 1), None), x, w)[0],
        "same": lambda f: lambda w, x: jax.lax.fori_loop(0, 3, lambda i, h: f(h @ w[0], i), x),
    }
    sound = lambda h, turn: jnp.tanh(h)
    for make in models.values():
        found = audit(init, make(sound), x, KEY, seeds=8, laws=Law("normal", 1 / 64), gradients=True)
        back = [row for row in found if row.of == "gradient"]
        assert not found.faults
        assert len(back) == 6
        assert all(abs(row.sound / row.predicted - 1) < 0.2 for row in back)
    pair = (init, models["same"](sound))
    found = audit(init, models["same"](wrong), x, KEY, seeds=16, reference=pair, gradients=True)
    assert [(row.of, row.equation) for row in found.faults] == [("gradient", 2)]


def test_rows_that_are_not_reached_are_not_tested():
    """Inside of a branch, of a loop whose turns are not fixed, and gradients inside of a derivative of one's own."""

    @jax.custom_vjp
    def own(h, w):
        return jnp.tanh(h @ w)

    own.defvjp(lambda h, w: jax.vjp(own.fun, h, w), lambda back, ct: back(ct))
    init = lambda key: jax.random.normal(key, (2, 64, 64)) / 8
    x = jax.random.normal(KEY, (8, 64))

    def audited(inside, gradients=False):
        apply = lambda w, x: inside(x, w) @ w[1]
        return audit(init, apply, x, KEY, seeds=8, laws=Law("normal", 1 / 64), gradients=gradients)

    step = lambda h, w: jnp.tanh(h @ w)
    turns = lambda x, w: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, step(c[1], w[0])), (0, x))[1]
    branch = lambda x, w: jax.lax.cond(jnp.sum(x) > 0, lambda h: step(h, w[0]), lambda h: h @ w[0], x)
    for found, inside in ((audited(turns), 4), (audited(branch), 2), (audited(branch, gradients=True), 2)):
        assert [row.verdict for row in found[: inside + 1]] == ["not tested"] * inside + ["as predicted"]
    back = [row for row in audited(lambda x, w: own(x, w[0]), True) if row.of == "gradient"]
    assert all(np.isnan(row.z) or abs(row.sound / row.predicted - 1) < 0.2 for row in back)


def test_what_is_meant_without_laws_is_what_is_drawn():
    """Wrong gains are as good as others then; what independent draws do not do is found: E|W W^T x|^2 is 2, not 1."""
    init, _ = blocks(3, block1=1.3)
    assert audit(init, residual(), X, KEY).verdict == "as predicted"

    def tied(key):
        w = jax.random.normal(key, (32, 32)) / math.sqrt(32)
        return [w, w.T]

    apply = lambda weights, x: (x @ weights[0]) @ weights[1]
    found = audit(tied, apply, jnp.ones((1, 32)), KEY, seeds=64)
    assert [row.equation for row in found.faults] == [1]


def test_known_leaves_keep_the_numbers_of_the_draws():
    init = lambda key: {"w": jax.random.normal(key, (16, 16)), "b": jax.random.uniform(key, (2,)), "k": jnp.arange(3)}
    laws = {"w": Law("uniform", 3.0), "b": Law("known"), "k": Law("known")}
    drawn, own = drawing(init, laws)(KEY), init(KEY)
    assert drawn["b"].tolist() == own["b"].tolist()
    assert drawn["k"].tolist() == [0, 1, 2]
    assert float(jnp.abs(drawn["w"]).max()) <= 3.0  # sqrt(3 var)
    assert float(jnp.abs(drawn["w"]).max()) > 2.5


def test_lining_up_is_the_longest_common_subsequence():
    def brute(a, b):
        if not a or not b:
            return 0
        return max(brute(a[1:], b), brute(a, b[1:]), (a[0] == b[0]) + brute(a[1:], b[1:]) if a[0] == b[0] else 0)

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = ("".join(rng.choice(list("abc"), rng.integers(0, 7))) for _ in range(2))
        pairs = lined_up(a, b)
        assert len(pairs) == brute(a, b)
        assert all(a[i] == b[j] for i, j in pairs)
        assert pairs == sorted(pairs)
        assert len({i for i, _ in pairs}) == len(pairs) == len({j for _, j in pairs})


def test_rows_that_a_program_lacks_are_listed():
    def with_tanh(weights, x):
        for w in weights:
            x = x @ w
            x = jnp.tanh(x)
        return x

    def without(weights, x):
        for number, w in enumerate(weights):
            x = x @ w
            x = x if number == 1 else jnp.tanh(x)
        return x

    init, _ = chain(32, 3)
    found = audit(init, without, jnp.ones((2, 32)), KEY, reference=(init, with_tanh))
    (missing,) = found.missing
    assert "tanh of the reference" in missing
    assert f":{line_of('jnp.tanh', with_tanh)}" in missing
    # What comes after is given what did not go through tanh.
    assert [row.equation for row in found.faults] == [3]


def test_the_table_has_a_hundred_columns_and_a_frame():
    init, laws = blocks(3, block1=2.0)
    found = audit(init, residual(), X, KEY, laws=laws, gradients=True, seeds=8)
    text = str(found)
    table = text.splitlines()[: len(found) + 1]
    assert max(map(len, table)) <= 100
    assert sum(line.endswith("OFF") for line in table) == len(found.faults) == 1
    assert str(found.faults[0]) in text
    pd = pytest.importorskip("pandas")
    frame = found.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame.verdict.tolist() == [row.verdict for row in found]
    assert frame.number.iloc[1] == found[1].line.number


def test_values_that_are_not_finite_are_named():
    init, laws = chain(16, 3)
    broken = lambda key: [w.at[0, 0].set(jnp.nan) if i == 1 else w for i, w in enumerate(init(key))]
    found = audit(broken, tanh_chain, jnp.ones((2, 16)), KEY, laws=laws, seeds=8)
    assert [row.equation for row in found.faults] == [2]
    assert "not finite at equation 2" in found.verdict


def test_wrong_arguments_are_named():
    init, laws = chain(16, 2)
    call = lambda init=init, apply=tanh_chain, **options: audit(init, apply, jnp.ones((1, 16)), KEY, **options)
    with pytest.raises(TypeError, match="`init` must be a function"):
        call(init=3)
    with pytest.raises(TypeError, match="`apply` must be a function"):
        call(apply=3)
    with pytest.raises(TypeError, match="`reference` must be a pair"):
        call(reference=(3, 4))
    with pytest.raises(ValueError, match="`seeds` must be a whole number >= 8"):
        call(seeds=4)
    with pytest.raises(ValueError, match=r"`level` must satisfy 0.001 <= level < 1; got 0.0"):
        call(level=0.0)
    with pytest.raises(ValueError, match="`tolerance` must satisfy"):
        call(tolerance=-1.0)
    with pytest.raises(ValueError, match="`laws` must hold"):
        call(laws=laws[:1])
    with pytest.raises(NotImplementedError, match=r"`sort` at .* has no rule"):
        call(apply=lambda w, x: jnp.sort(x @ w[0]))


def test_held_values_stay_in_half_precision():
    program = jax.make_jaxpr(lambda x: jnp.tanh(2 * x))(jnp.ones(4, jnp.bfloat16))
    held = Held(program, {((0,), 0, 0): 0}, np.ones(1), np.full(1, np.nan))
    (ratio,) = held.measure([jnp.ones(4, jnp.bfloat16)], None)["value"]
    assert float(ratio) == pytest.approx(math.log(4.0), abs=1e-6)
