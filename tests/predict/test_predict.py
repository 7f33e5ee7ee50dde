"""Predictions against closed forms, against the recursions of mean-field theory, and against real initializations."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import initializers
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Layer
from jnorm.predict import Law, predict
from jnorm.predict import laws as laws_of
from jnorm.theory import meanfield
from jnorm.theory.moments import gradient_factor
from tests.predict.real import measured
from tests.thorough import thorough

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)


def mlp(phi):
    def apply(params, x):
        for weight, bias in params:
            x = phi(x @ weight + bias[None])
        return x

    return apply


def layers(n, depth, first, *, sigma_w=1.3, sigma_b=0.3):
    """Shapes and laws of an MLP; only these count."""
    sizes = [first, *[n] * depth]
    shapes = [(jnp.zeros((i, o)), jnp.zeros(o)) for i, o in itertools.pairwise(sizes)]
    laws = [(Law("normal", sigma_w**2 / i), Law("normal", sigma_b**2)) for i in sizes[:-1]]
    return shapes, laws


@pytest.mark.parametrize("phi", [jnp.tanh, thorough(jax.nn.gelu), thorough(jax.nn.silu), thorough(jnp.sin)])
@pytest.mark.usefixtures("x64")
def test_an_mlp_is_the_recursion_of_mean_field_theory(phi):
    """To 1e-10: Hermite series of 128 terms, of functions whose coefficients fall exponentially."""
    x = jax.random.normal(KEY, (2, 5))
    params, laws = layers(64, 6, 5)
    rows = [row for row in predict(mlp(phi), params, x, laws=laws) if row.name == "dot_general"]
    start = meanfield.inputs(*x, sigma_w=1.3, sigma_b=0.3)
    exact = meanfield.propagate(meanfield.kernel_map(phi, sigma_w=1.3, sigma_b=0.3), start, 5)
    lengths = np.array([row.second for row in rows]) + 0.3**2
    np.testing.assert_allclose(lengths, (exact.var1 + exact.var2) / 2, rtol=1e-10)
    # Without the bias, as the row has it.
    cosines = (exact.cov - 0.3**2) / np.sqrt((exact.var1 - 0.3**2) * (exact.var2 - 0.3**2))
    np.testing.assert_allclose([row.correlation for row in rows], cosines, atol=1e-10)


@pytest.mark.parametrize("c", [-0.95, 0.3, 0.8, 0.97, 0.9999])
@pytest.mark.usefixtures("x64")
def test_a_kink_costs_little_at_large_correlations(c):
    """relu, in closed form (Cho, Saul 2009). What 128 terms leave out is 2e-4 at one; its shape is known to 2e-6."""
    x = jnp.array([[1.0, 0.0], [c, np.sqrt(1 - c**2)]])
    row = predict(lambda w, x: jax.nn.relu(x @ w), jnp.zeros((2, 64)), x, laws=Law("normal", 1.0))[-1]
    exact = (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi
    assert row.second == pytest.approx(0.5, abs=1e-12)
    assert row.correlation == pytest.approx(exact, abs=1e-11 if abs(c) < 0.81 else 5e-6)


def compare(module, x, *, draws=32, width=256, sampled=0.0, **methods):
    """Within four standard errors, O(depth/width) of the theory, and what samples of units leave."""
    apply = lambda params, x: module.apply(params, x, **methods)
    apply = apply if not methods else lambda params, x: module.apply(params, x, **methods)[0]
    draw = jax.jit(lambda key: module.init(key, x))
    prediction = predict(apply, draw(KEY), x)
    mean, error = measured(apply, draw, x, draws)
    got = np.array([row.second for row in prediction])
    assert len(got) == len(mean)
    allowed = 4 * error / mean + len(got) / width / 2 + sampled
    gap = np.abs(got / mean - 1)
    print(
        "\n".join(
            f"{r.name} {g:.4f} {m:.4f} +- {e:.4f}" for r, g, m, e in zip(prediction, got, mean, error, strict=True)
        )
    )
    assert np.all(gap <= allowed), f"row {np.argmax(gap / allowed)}: {prediction[int(np.argmax(gap / allowed))]}"
    assert np.median(gap) < 0.03
    return prediction


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(256)(x)
        for _ in range(3):
            x = x + nn.Dense(256)(nn.relu(nn.Dense(256)(nn.LayerNorm()(x))))
        return nn.Dense(64)(nn.RMSNorm()(x))


def test_a_residual_network_with_layer_norm():
    rows = compare(Residual(), jax.random.normal(KEY, (4, 32)))
    norms = [row for row in rows if "Norm" in row.name]
    assert len(norms) == 4
    assert all(row.second == pytest.approx(1.0, rel=1e-4) for row in norms)  # eps = 1e-6 beside variances > .3
    assert all(row.line.file == __file__ for row in rows)
    assert {row.status for row in rows} == {"exact", "gaussian"}


def test_branches_are_not_taken_as_independent():
    """A stream that meets its own function: E[(z + tanh z)^2] has the cross term 2 E[z tanh z], 40 % of the whole."""
    apply = lambda w, x: (lambda z: z + jnp.tanh(z))(x @ w)
    row = predict(apply, jnp.zeros((4, 64)), jnp.ones((1, 4)), laws=Law("normal", 0.25))[-1]
    x, w = np.polynomial.hermite_e.hermegauss(120)
    exact = np.sum(w * (x + np.tanh(x)) ** 2) / np.sum(w)
    assert row.second == pytest.approx(exact, rel=1e-8)  # the reference: 120 nodes, poles of tanh at i pi / 2
    apart = 1 + np.sum(w * np.tanh(x) ** 2) / np.sum(w)
    assert abs(apart / exact - 1) > 0.1


class Pooled(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(128, (3, 3))(x))
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4.0
        x = nn.max_pool(nn.relu(nn.Conv(128, (3, 3))(x)), (2, 2), strides=(2, 2))
        return nn.Dense(64)(x.reshape(x.shape[0], -1))


def test_a_convolutional_network():
    rows = compare(Pooled(), jax.random.normal(KEY, (2, 8, 8, 3)), sampled=0.02)
    assert [row.status for row in rows][-1] == "sampled"


class Batch(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Dense(256)(x)))
        return nn.Dense(64)(x)


def test_batch_norm_in_training_mode():
    rows = compare(Batch(), jax.random.normal(KEY, (8, 16)), sampled=0.02, mutable=["batch_stats"])
    norms = [row for row in rows if "BatchNorm" in row.name]
    assert all(row.correlation == pytest.approx(-1 / 7, abs=0.02) for row in norms)  # of 8 numbers whose sum is zero


class Gated(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.Dense(256)(nn.silu(nn.Dense(512)(x)) * nn.Dense(512)(x))
        return x


@pytest.mark.thorough
@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["mlp", "residual", "highway"])
def test_networks_of_our_own(kind):
    """With batch norm in training mode, which looks at whether its statistics are finite."""
    layer = Layer(jax.nn.relu, initializers.he_normal(), normalizer=None if kind == "highway" else batch_norm)
    network = {
        "mlp": lambda: networks.mlp((32, 256, 256, 64), layer),
        "residual": lambda: networks.residual(32, 64, units=256, blocks=2, layer=layer),
        "highway": lambda: networks.highway(32, 64, units=256, depth=3, layer=layer),
    }[kind]()
    x, state = jax.random.normal(KEY, (8, 32)), network.init(KEY)[1]
    apply = lambda params, x: network.apply(params, state, x, train=True)[0]
    draw = jax.jit(lambda key: network.init(key)[0])
    told = laws_of(*map(draw, jax.random.split(KEY, 8)))
    got = np.array([row.second for row in predict(apply, draw(KEY), x, laws=told)])
    mean, error = measured(apply, draw, x, 32)
    np.testing.assert_array_less(np.abs(got / mean - 1), 4 * error / mean + 0.06)


def test_gates_are_products():
    rows = compare(Gated(), jax.random.normal(KEY, (4, 32)), width=128)
    assert {row.status for row in rows} == {"exact", "gaussian"}


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(20, 256)(tokens) + self.param("positions", nn.initializers.normal(0.1), (1, tokens.shape[1], 256))
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(h, h, mask=nn.make_causal_mask(tokens))
        x = x + nn.Dense(256)(nn.gelu(nn.Dense(512)(nn.LayerNorm()(x))))
        return nn.Dense(20)(nn.LayerNorm()(x))


def test_a_transformer():
    rows = compare(Transformer(), jax.random.randint(KEY, (2, 6), 0, 20), draws=16, sampled=0.03)
    assert all(row.line.file == __file__ for row in rows)


@pytest.mark.thorough
def test_an_equinox_model_under_vmap():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(8, 8, 256, 3, activation=jax.nn.silu, key=KEY)
    params, static = eqx.partition(model, eqx.is_array)
    apply = lambda params, x: jax.vmap(eqx.combine(params, static))(x)
    rows = predict(apply, params, jax.random.normal(KEY, (4, 8)))
    draw = lambda key: eqx.filter(eqx.nn.MLP(8, 8, 256, 3, activation=jax.nn.silu, key=key), eqx.is_array)
    x = jax.random.normal(KEY, (4, 8))
    mean, error = measured(apply, draw, x, 32)
    got = np.array([row.second for row in rows])
    np.testing.assert_array_less(np.abs(got / mean - 1), 4 * error / mean + 0.05)  # O(depth/width)


def test_one_weight_used_in_every_step():
    """h' = tanh(W h) from two starts; the Gram matrix of the weight keeps what the steps have in common."""

    def apply(w, x):
        total, h = 0.0, x
        for _ in range(3):
            h = h @ w
            total = total + h
        return total

    x = jnp.ones((1, 256))
    row = predict(apply, jnp.zeros((256, 256)), x, laws=Law("normal", 1 / 256))[-1]
    # h_t are orthogonal in the limit: W^s and W^t of a square matrix have nothing in common for s != t.
    assert row.second == pytest.approx(3.0, rel=1e-6)
    apply = lambda w, x: x @ w + jnp.tanh(x @ w)
    same = predict(apply, jnp.zeros((256, 256)), x, laws=Law("normal", 1 / 256))[-1]
    z, weights = np.polynomial.hermite_e.hermegauss(120)
    assert same.second == pytest.approx(np.sum(weights * (z + np.tanh(z)) ** 2) / np.sum(weights), rel=1e-6)


@pytest.mark.parametrize("logits", [lambda h, table: h @ table.T, lambda h, table: jnp.einsum("be,ve->bv", h, table)])
def test_a_table_that_makes_logits_of_its_own_rows(logits):
    """The logit of the word that was read is ``n var``, beside ``n var^2`` on average: one of 64 words counts."""
    words, n = jnp.array([3, 3, 5]), 256
    row = predict(lambda e, t: logits(2.0 * e[t], e), jnp.zeros((64, n)), words, laws=Law("normal", 1 / n))[-1]
    assert row.second == pytest.approx(4 * (1 / n + 1 / 64), rel=1e-9)
    assert row.correlation == pytest.approx(1 / 3, rel=0.01)  # of three pairs one is of the same word, centred over 64


def test_scanned_layers_are_layers_of_their_own():
    def apply(w, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    def unrolled(w, x):
        for i in range(3):
            x = jnp.tanh(x @ w[i])
        return x

    x, w, law = jax.random.normal(KEY, (3, 64)), jnp.zeros((3, 64, 64)), Law("normal", 1.5 / 64)
    got, exact = (predict(f, w, x, laws=law) for f in (apply, unrolled))
    assert [row.second for row in got] == pytest.approx([row.second for row in exact], rel=1e-12)
    assert [row.correlation for row in got] == pytest.approx([row.correlation for row in exact], abs=1e-12)


def test_remat_and_custom_derivatives_and_nested_jit_are_opened():
    plain = lambda w, x: jnp.where(x @ w > 0, x @ w, 0.0)
    wrapped = jax.checkpoint(jax.jit(lambda w, x: jax.nn.relu(x @ w)))
    w, x, law = jnp.zeros((4, 64)), jax.random.normal(KEY, (3, 4)), Law("normal", 0.25)
    first, then = (predict(f, w, x, laws=law)[-1] for f in (plain, wrapped))
    assert first.second == pytest.approx(then.second, rel=1e-12)


def test_laws_are_recognized():
    keys = jax.random.split(KEY, 4)
    leaves = {
        "normal": jax.random.normal(keys[0], (64, 64)) * 0.3,
        "uniform": jax.random.uniform(keys[1], (64, 64), minval=-0.3, maxval=0.3),
        "truncated": jax.random.truncated_normal(keys[2], -2, 2, (64, 64)),
        "zeros": jnp.zeros(64),
        "count": jnp.arange(3),
    }
    from jnorm.predict._laws import of_leaves

    found = dict(of_leaves(leaves, None))
    assert [found[n].kind for n in leaves] == ["normal", "uniform", "other", "known", "known"]
    assert found["uniform"].var == pytest.approx(0.03, rel=1e-3)  # of the largest of 4096
    assert found["normal"].var == pytest.approx(0.09, rel=0.1)  # five standard errors


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (1 + jax.random.normal(KEY, (64, 64)), "has mean"),
        (jax.random.normal(KEY, (64, 64)) * jnp.arange(1.0, 65.0)[None], "differs in size along axis 1"),
        (jnp.full((64, 64), jnp.nan).at[0, 0].set(1.0), "is not finite"),
    ],
)
def test_what_is_no_draw_of_one_law_is_refused(leaf, words):
    with pytest.raises(ValueError, match=words):
        predict(lambda w, x: x @ w, leaf, jnp.ones((2, 64)))
    if "finite" not in words:
        assert len(predict(lambda w, x: x @ w, leaf, jnp.ones((2, 64)), laws=Law("known"))) == 0


def test_wrong_arguments_are_named():
    w, x = jnp.zeros((4, 64)), jnp.ones((2, 4))
    with pytest.raises(TypeError, match="`apply` must be a function"):
        predict(3, w, x)
    with pytest.raises(ValueError, match="`laws` must have the structure"):
        predict(lambda w, x: x @ w, w, x, laws=[None, None])
    with pytest.raises(ValueError, match=r"`laws` must hold jnorm.predict.Law or None; got 1.0"):
        predict(lambda w, x: x @ w, w, x, laws=1.0)
    with pytest.raises(ValueError, match="`kind` must be"):
        Law("laplace", 1.0)
    with pytest.raises(ValueError, match="`var` must be finite"):
        Law("normal", -1.0)


def test_what_has_no_rule_is_named_with_its_line():
    law = Law("normal", 0.25)
    with pytest.raises(NotImplementedError, match=r"`sort` at .*test_predict.py:\d+ .* has no rule"):
        predict(lambda w, x: jnp.sort(x @ w), jnp.zeros((4, 64)), jnp.ones((2, 4)), laws=law)
    with pytest.raises(NotImplementedError, match=r"`dot_general` at .* is refused: known numbers that differ"):
        predict(lambda w, x: (x @ w) @ jnp.eye(64), jnp.zeros((4, 64)), jnp.ones((16, 4)), laws=law)


def test_averages_over_few_units_are_marked():
    apply = lambda w, x: (lambda z: z - z.mean(-1, keepdims=True))(jnp.tanh(x @ w))
    status = lambda n: predict(apply, jnp.zeros((4, n)), jnp.ones((2, 4)), laws=Law("normal", 0.25))[-1].status
    assert status(64) == "gaussian"
    assert status(63) == "marked: few units"


def test_the_table_has_a_hundred_columns():
    model, x = nn.Sequential([nn.Dense(64), nn.gelu, nn.Dense(64)]), jax.random.normal(KEY, (2, 8))
    text = str(predict(model.apply, model.init(KEY, x), x))
    assert max(map(len, text.splitlines())) <= 100
    assert "ayers_0/dot_general" in text
    assert "exact    linear.py:" in text  # of Flax: no line of a caller is in it


@pytest.mark.usefixtures("x64")
def test_gradients_of_an_mlp_are_products_of_slopes():
    """E[delta_l^2] = sigma_w^2 E[tanh'(z_l)^2] E[delta_(l+1)^2], exactly that of the theory."""
    x = jax.random.normal(KEY, (1, 64))
    params, laws = layers(64, 4, 64)
    prediction = predict(mlp(jnp.tanh), params, x, laws=laws, gradients=True)
    rows = [row for row in prediction if row.name == "dot_general"]
    factors = [float(gradient_factor(jnp.tanh, 0.0, row.second + 0.09)) for row in rows]
    exact = [np.prod(factors[i:]) * 1.69 ** (len(rows) - 1 - i) for i in range(len(rows))]
    np.testing.assert_allclose([row.gradient for row in rows], exact, rtol=1e-10)  # of both quadratures
    kernels = [prediction.parameters[f"{i}/0"] for i in range(4)]
    sizes = [float(jnp.mean(x**2)), *(row.second for row in prediction if row.name == "tanh")]
    np.testing.assert_allclose(kernels, [s * g for s, g in zip(sizes[:-1], exact, strict=True)], rtol=1e-10)


def test_gradients_of_a_residual_network():
    """Against real initializations: the cotangent is drawn too, and everything of one draw scatters together."""
    module, x = Residual(), jax.random.normal(KEY, (4, 32))
    draw = jax.jit(lambda key: module.init(key, x))
    prediction = predict(module.apply, draw(KEY), x, gradients=True)

    @jax.jit
    def real(key):
        first, second = jax.random.split(key)
        y, back = jax.vjp(lambda p: module.apply(p, x), draw(first))
        (slopes,) = back(jax.random.normal(second, y.shape))
        return jnp.stack([jnp.mean(jnp.square(leaf)) for leaf in jax.tree.leaves(slopes)])

    values = np.stack([real(jax.random.key(seed)) for seed in range(32)])
    mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(32)
    got = np.array(list(prediction.parameters.values()))
    gap = np.abs(got / mean - 1)
    assert np.all(gap < 4 * error / mean + 0.05)  # O(depth/width)
    assert all(row.gradient > 0 for row in prediction)
