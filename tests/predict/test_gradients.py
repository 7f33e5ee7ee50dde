"""Squared gradients, against closed forms, unrolled loops and real initializations; and first updates of optimizers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import prediction
from jnorm.predict import Law, predict
from jnorm.predict._predictor import Predictor
from tests.predict.real import gradients
from tests.thorough import thorough

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)


def compare(apply, draw, x, *, draws=32, left=0.05):
    """Within four standard errors and ``left``, which stands for O(depth / width) and samples of units."""
    draw = jax.jit(draw)
    rows = predict(apply, draw(KEY), x, gradients=True)
    mean, error = gradients(apply, draw, x, draws)
    count = len(rows.parameters)
    names, got = list(rows.parameters), np.array(list(rows.parameters.values()))
    _close(names, got, mean[:count], error[:count], left)
    if len(rows) == len(mean) - count:
        _close([row.name for row in rows], np.array([row.gradient for row in rows]), mean[count:], error[count:], left)
    return rows


def _close(names, got, mean, error, left):
    size = np.where(mean > 0, mean, 1.0)
    gap = np.where(
        mean > 1e-10, np.abs(got / size - 1), np.abs(got)
    )  # a bias of keys has no gradient, but for roundings
    told = [f"{n} {g:.4g} {m:.4g} +- {e:.2g}" for n, g, m, e in zip(names, got, mean, error, strict=True)]
    print("\n".join(told))
    allowed = 4 * error / size + left
    assert np.all(gap <= allowed), told[int(np.argmax(gap / allowed))]
    assert np.median(gap) < left


def of(module, x):
    return module.apply, lambda key: module.init(key, x), x


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(256)(x)
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(h, h, mask=nn.make_causal_mask(x[..., 0]))
        return nn.Dense(64)(nn.LayerNorm()(x))


def test_attention():
    x = jax.random.normal(KEY, (2, 6, 32))
    rows = compare(*of(Attention(), x), left=0.08)
    assert all(np.isfinite(row.gradient) for row in rows)


class Convolutions(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(128, (3, 3))(x))
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4.0
        x = nn.max_pool(nn.relu(nn.GroupNorm(2)(nn.Conv(128, (3, 3))(x))), (2, 2), strides=(2, 2))
        x = nn.gelu(nn.Conv(128, (3, 3), strides=(2, 2))(x))
        return nn.Dense(64)(x.reshape(x.shape[0], -1))


def test_convolutions_windows_and_group_norm():
    compare(*of(Convolutions(), jax.random.normal(KEY, (2, 8, 8, 3))), left=0.08)


@pytest.mark.parametrize("cell", ["plain", thorough("gated")])
def test_a_recurrent_network_uses_its_weights_in_every_turn(cell):
    n, turns = 256, 16

    def draw(key):
        keys = jax.random.split(key, 4)
        normal = lambda key, *shape: jax.random.normal(key, shape) / np.sqrt(shape[0])
        gate = {"g": normal(keys[3], n, n)} if cell == "gated" else {}
        return {"w": 1.2 * normal(keys[0], n, n), "u": normal(keys[1], 16, n), "v": normal(keys[2], n, 64), **gate}

    def apply(p, x):
        def step(h, x):
            new = jnp.tanh(h @ p["w"] + x @ p["u"])
            if "g" in p:
                gate = jax.nn.sigmoid(h @ p["g"])
                new = gate * h + (1 - gate) * new
            return new, new

        return jax.lax.scan(step, jnp.zeros((x.shape[1], n)), x)[1][-1] @ p["v"]

    rows = compare(apply, draw, jax.random.normal(KEY, (turns, 4, 16)), left=0.1)
    assert len(rows) >= 3 * turns - 1
    assert all(np.isfinite(row.gradient) for row in rows)


def blocks(n, depth):
    """Equal residual blocks with a norm, as a loop and one after the other."""

    def block(x, w):
        h = x - x.mean(-1, keepdims=True)
        h = h / jnp.sqrt((h * h).mean(-1, keepdims=True) + 1e-6)
        return x + jnp.tanh(h @ w[0]) @ w[1]

    def scanned(params, x):
        u, *w = params
        return jax.lax.scan(lambda x, w: (block(x, w), None), x @ u, w)[0]

    def unrolled(params, x):
        u, *w = params
        x = x @ u
        for i in range(depth):
            x = block(x, [leaf[i] for leaf in w])
        return x

    return scanned, unrolled, [jnp.zeros((8, n)), jnp.zeros((depth, n, n)), jnp.zeros((depth, n, n))]


def test_scanned_blocks_are_blocks_of_their_own():
    scanned, unrolled, w = blocks(64, 3)
    x, law = jax.random.normal(KEY, (3, 8)), [Law("normal", 1 / 8), *[Law("normal", 1.5 / 64)] * 2]
    got, exact = (predict(f, w, x, laws=law, gradients=True) for f in (scanned, unrolled))
    dense = lambda rows: [row.gradient for row in rows if row.name == "dot_general"]
    np.testing.assert_allclose(dense(got), dense(exact), rtol=1e-10)  # sums in another order
    np.testing.assert_allclose(list(got.parameters.values()), list(exact.parameters.values()), rtol=1e-10)


@pytest.mark.parametrize("loop", [False, True])
def test_a_linear_recurrence_is_what_its_powers_are(loop):
    """``h_t = W h_(t-1)``, W of variance ``s^2 / n``: ``E[dW^2] = T s^(2(T-1)) q``; powers have nothing in common."""
    n, turns, s = 64, 5, 1.3

    def apply(params, x):
        h = x @ params["u"]
        if loop:
            return jax.lax.scan(lambda h, _: (h @ params["w"], None), h, None, length=turns)[0]
        for _ in range(turns):
            h = h @ params["w"]
        return h

    shapes, laws = {"u": (4, n), "w": (n, n)}, {"u": Law("normal", 1.0), "w": Law("normal", s**2 / n)}
    params, x = {name: jnp.zeros(shape) for name, shape in shapes.items()}, jax.random.normal(KEY, (1, 4))
    rows = predict(apply, params, x, laws=laws, gradients=True)
    q = float(jnp.sum(x**2))  # of h_0; in float32
    assert rows.parameters["w"] == pytest.approx(turns * s ** (2 * turns - 2) * q, rel=1e-6)
    slopes = [s ** (2 * k) for k in range(turns + 1)][::-1]
    assert [row.gradient for row in rows] == pytest.approx(slopes, rel=1e-12)


def test_a_weight_may_act_on_data_and_on_units():
    """The recurrence as before, from data; and a table whose rows are read and whose transpose makes logits."""
    n, turns, law = 64, 3, Law("normal", 1 / 64)

    def apply(w, x):
        for _ in range(turns):
            x = x @ w
        return x

    x = jax.random.normal(KEY, (1, n))
    rows = predict(apply, jnp.zeros((n, n)), x, laws=law, gradients=True)
    assert rows.parameters[""] == pytest.approx(turns * float(jnp.mean(x**2)), rel=1e-6)  # data in float32
    tokens = jnp.array([[0, 1, 1, 5]])
    rows = predict(lambda w, t: w[t] @ w.T, jnp.zeros((64, n)), tokens, laws=law, gradients=True)
    # Four tokens' vectors of squared length one by each logit, and four rows with one unit of squared gradient each.
    assert rows.parameters[""] == pytest.approx(4 / 64 + 4 / 64, rel=1e-6)


def test_the_gradient_by_a_kernel_sums_over_examples_and_places():
    """Of one convolution of data: ``E[dW_k^2] = sum_(n, p) x_(n, p + k)^2``; and of a second one, of what it saw."""
    x = jax.random.normal(KEY, (2, 6, 5, 3))
    apply = lambda w, x: jax.lax.conv_general_dilated(x, w, (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    w = jnp.zeros((3, 3, 3, 64))
    rows = predict(apply, w, x, laws=Law("normal", 1.0), gradients=True)
    patches = jax.lax.conv_general_dilated_patches(
        x, (3, 3), (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert rows.parameters[""] == pytest.approx(float(jnp.sum(patches**2) / 27), rel=1e-5)  # in float32
    then = lambda w, x: apply(w[1], x @ w[0])
    both = [jnp.zeros((3, 64)), jnp.zeros((3, 3, 64, 64))]
    rows = predict(then, both, x, laws=[Law("normal", 1.0), Law("normal", 1.0)], gradients=True)
    assert rows.parameters["1"] == pytest.approx(float(jnp.sum(patches**2) / 9), rel=1e-5)


def test_each_maximum_passes_its_gradient_to_one_place():
    """Windows of four: a quarter of the squared gradient where they do not overlap, else windows over places."""
    x = jax.random.normal(KEY, (2, 4, 4, 3))
    for strides, share in (((2, 2), 1 / 4), ((1, 1), 9 / 16)):
        apply = lambda w, x, strides=strides: nn.max_pool(x @ w, (2, 2), strides=strides)
        row = predict(apply, jnp.zeros((3, 64)), x, laws=Law("normal", 1.0), gradients=True)[0]
        # One of each window's marks is one, in every sample; cotangents are independent.
        assert row.gradient == pytest.approx(share, rel=1e-9)


def test_a_table_has_gradients_where_it_was_read():
    tokens = jnp.array([[0, 1, 1, 5]])
    rows = predict(lambda w, t: w[t], jnp.zeros((8, 64)), tokens, laws=Law("normal", 1.0), gradients=True)
    assert rows.parameters[""] == pytest.approx(4 / 8, rel=1e-12)
    table = jnp.zeros((5000, 64))
    rows = predict(lambda w, t: w[t], table, tokens, laws=Law("normal", 1.0), gradients=True)
    assert rows.parameters[""] == pytest.approx(4 / 5000, rel=1e-12)


def test_layers_side_by_side():
    """One product for three layers, split and added up, has the gradients of three products."""
    law = Law("normal", 1 / 64)

    def fused(w, x):
        a, b, c = jnp.split(x @ w, 3, axis=-1)
        return jnp.tanh(a) + jnp.sin(b) * c

    def apart(w, x):
        a, b, c = (x @ w for w in w)
        return jnp.tanh(a) + jnp.sin(b) * c

    x = jax.random.normal(KEY, (3, 64))
    one = predict(fused, jnp.zeros((64, 192)), x, laws=law, gradients=True)
    three = predict(apart, [jnp.zeros((64, 64))] * 3, x, laws=[law] * 3, gradients=True)
    assert one[-1].second == pytest.approx(three[-1].second, rel=1e-10)
    assert one.parameters[""] == pytest.approx(np.mean(list(three.parameters.values())), rel=1e-10)


def test_a_slice_at_a_known_place_has_a_gradient_there():
    apply = lambda w, x: jax.lax.dynamic_slice_in_dim(x @ w, 1, 2, axis=0)
    rows = predict(apply, jnp.zeros((4, 64)), jnp.ones((5, 4)), laws=Law("normal", 0.25), gradients=True)
    assert rows[0].gradient == pytest.approx(2 / 5, rel=1e-12)


def test_what_has_no_gradient_is_named_with_its_line():
    def apply(w, x):
        return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.tanh(c[1] @ w)), (0, x))[1]

    w, x, law = jnp.zeros((64, 64)), jnp.ones((2, 64)), Law("normal", 1 / 64)
    assert predict(apply, w, x, laws=law)[-1].second > 0
    with pytest.raises(NotImplementedError, match=r"`while` at .*test_gradients.py:\d+ .* has no gradient"):
        predict(apply, w, x, laws=law, gradients=True)


def test_the_forward_pass_is_computed_once(monkeypatch):
    """The reverse pass's program has it too: three layers are three tanh, and their gradients five products more."""
    seen = []
    ruled = Predictor._ruled
    monkeypatch.setattr(Predictor, "_ruled", lambda self, site, x: seen.append(site.primitive) or ruled(self, site, x))
    w, law = [jnp.zeros((64, 64))] * 3, [Law("normal", 1 / 64)] * 3
    apply = lambda w, x: jnp.tanh(jnp.tanh(jnp.tanh(x @ w[0]) @ w[1]) @ w[2])
    predict(apply, w, jnp.ones((2, 64)), laws=law, gradients=True)
    assert seen.count("tanh") == 3
    assert seen.count("dot_general") == 3 + 3 + 2  # forward; by weights; by layers


def test_cotangents_have_a_size():
    w, x, law = jnp.zeros((4, 64)), jnp.ones((2, 4)), Law("normal", 0.25)
    one, two = (predict(lambda w, x: x @ w, w, x, laws=law, gradients=True, cotangent=c) for c in (1.0, 2.0))
    assert two.parameters[""] == pytest.approx(4 * one.parameters[""], rel=1e-12)
    with pytest.raises(ValueError, match="`cotangent` must be positive"):
        predict(lambda w, x: x @ w, w, x, laws=law, cotangent=0.0)


MLP = [jnp.zeros((16, 256)), jnp.zeros((256, 256)), jnp.zeros(256)]
LAWS = [Law("normal", 1 / 16), Law("normal", 1 / 256), Law("known")]


def mlp(w, x):
    return jnp.tanh(x @ w[0]) @ w[1] + w[2][None]


def first(optimizer):
    return predict(mlp, MLP, jax.random.normal(KEY, (8, 16)), laws=LAWS, optimizer=optimizer)


def test_first_updates_follow_from_gradients():
    weights = {"0": 1 / 4, "1": 1 / 16}
    rows = first(optax.sgd(0.1))
    for name, size in weights.items():
        expected = 0.1 * np.sqrt(rows.parameters[name]) / size
        assert rows.updates[name] == pytest.approx(expected, rel=1e-5)  # of float32
    assert rows.updates["2"] == np.inf
    rows = first(optax.adam(0.01))  # as large as its rate, but for its epsilon
    assert [rows.updates[name] * size for name, size in weights.items()] == pytest.approx([0.01, 0.01], rel=1e-4)
    rows = first(optax.adamw(0.01, weight_decay=1.0))
    assert [rows.updates[name] * size for name, size in weights.items()] == pytest.approx(
        [0.01 * np.hypot(1, size) for size in weights.values()], rel=1e-2
    )  # of weights and gradients that are independent draws
    rows = first(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0)))
    steps = [rows.updates[name] * size for name, size in weights.items()]
    total = sum(square * leaf.size for square, leaf in zip(rows.parameters.values(), MLP, strict=True))
    exact = [np.sqrt(rows.parameters[name] / total) for name in weights]
    assert steps == pytest.approx(exact, rel=1e-4)


def test_first_updates_of_real_networks():
    """The whole training step, for random cotangents, over 16 initializations."""
    x, optimizer = jax.random.normal(KEY, (8, 16)), optax.adam(1e-3)
    rows = first(optimizer)

    @jax.jit
    def real(key):
        keys = jax.random.split(key, 3)
        drawn = [
            jax.random.normal(k, s.shape) * 0.25 ** (i + 1) for i, (k, s) in enumerate(zip(keys, MLP[:2], strict=False))
        ]
        w = [*drawn, jnp.zeros(256)]
        y, back = jax.vjp(lambda w: mlp(w, x), w)
        (slopes,) = back(jax.random.normal(keys[2], y.shape))
        updates, _ = optimizer.update(slopes, optimizer.init(w), w)
        return [jnp.sqrt(jnp.mean(u**2) / jnp.mean(v**2)) for u, v in zip(updates[:2], drawn, strict=True)]

    with jax.numpy_dtype_promotion("standard"):  # as Optax needs
        sizes = np.mean([np.stack(real(jax.random.key(i))) for i in range(16)], 0)
    np.testing.assert_allclose([rows.updates["0"], rows.updates["1"]], sizes, rtol=0.02)


def test_an_optimizer_is_asked_for():
    with pytest.raises(TypeError, match=r"`optimizer` must be a transformation of Optax; got 0\.1"):
        first(0.1)


@pytest.mark.thorough
def test_a_gpt():
    """As the benchmark has it, with a quarter of the draws, and twice its tolerances."""
    found = prediction.gaps(*prediction.linen(16), prediction.words(16), 32)
    for gap, middle, most in zip(found, (0.02, 0.01, 0.05, 0.05), (0.06, 0.05, 0.1, 0.1), strict=True):
        assert np.median(np.abs(gap.off)) < 2 * middle
        assert np.max(np.abs(gap.off)) < 2 * most
