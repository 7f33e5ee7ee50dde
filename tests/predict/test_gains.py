"""Repaired weights: every next second moment is the target, in the prediction and in real networks."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.predict import Law, gains, predict
from jnorm.theory.moments import gradient_factor
from tests.predict.real import measured
from tests.thorough import thorough

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)


def mlp(phi):
    def apply(params, x):
        for weight in params[:-1]:
            x = phi(x @ weight)
        return x @ params[-1]

    return apply


def layers(*sizes, var=0.3):
    shapes = [jnp.zeros(pair) for pair in itertools.pairwise(sizes)]
    return shapes, [Law("normal", var / w.shape[0]) for w in shapes]


def scaled(laws, factors):
    return jax.tree.map(lambda law, g: Law(law.kind, law.var * g**2), laws, factors)


@pytest.mark.parametrize("phi", [jnp.tanh, thorough(jax.nn.gelu), thorough(jax.nn.relu)])
def test_an_mlp_gets_the_gain_of_its_activation(phi):
    """Layers behind others of second moment one: sqrt(1 / E[phi(z)^2]) with z ~ N(0, 1), whatever the laws were."""
    x = jax.random.normal(KEY, (3, 5))
    shapes, laws = layers(5, 64, 128, 256)
    factors = gains(mlp(phi), shapes, x, laws=laws)
    z, w = np.polynomial.hermite_e.hermegauss(120)
    second = lambda var: np.sum(w * np.asarray(phi(jnp.asarray(z * np.sqrt(var)))) ** 2) / np.sum(w)
    sizes = np.mean(np.square(np.asarray(x, np.float64)), 1)
    sizes = sizes / sizes.mean()  # of each example, whose mean is one
    exact = [np.sqrt(1 / (0.3 * np.mean(np.square(x))))]
    for _ in range(2):
        after = np.array([second(size) for size in sizes])
        exact.append(np.sqrt(1 / (0.3 * after.mean())))
        sizes = after / after.mean()
    np.testing.assert_allclose(factors, exact, rtol=2e-4)  # relu and 120 nodes; float32 of the activation
    rows = predict(mlp(phi), shapes, x, laws=scaled(laws, factors))
    np.testing.assert_allclose([row.second for row in rows if row.name == "dot_general"], 1.0, rtol=1e-9)


def test_a_wider_target_and_leaves_that_keep_their_numbers():
    params = {"w": jnp.zeros((4, 64)), "b": jnp.zeros(64), "count": jnp.arange(3), "unused": jnp.zeros((9, 9))}
    laws = {"w": Law("normal", 0.25), "b": None, "count": None, "unused": Law("normal", 1.0)}
    factors = gains(lambda p, x: x @ p["w"] + p["b"][None], params, jnp.ones((1, 4)), laws=laws, target=4.0)
    assert factors == {"w": pytest.approx(2.0), "b": 1.0, "count": 1, "unused": 1.0}
    repaired = jax.tree.map(jnp.multiply, params, factors)
    assert jax.tree.map(lambda a: a.dtype, repaired) == jax.tree.map(lambda a: a.dtype, params)


def test_scanned_layers_get_a_factor_each():
    def scanned(w, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    def unrolled(w, x):
        for row in w:
            x = jnp.tanh(x @ row)
        return x

    x, law = jax.random.normal(KEY, (2, 64)), Law("normal", 0.5 / 64)
    together = gains(scanned, jnp.zeros((3, 64, 64)), x, laws=law)
    apart = gains(unrolled, [jnp.zeros((64, 64))] * 3, x, laws=[law] * 3)
    assert together.shape == (3, 1, 1)
    np.testing.assert_allclose(together.ravel(), apart, rtol=1e-6)  # of float32


def test_by_gradients_what_comes_back_is_one():
    """With tanh, gamma_l^2 E[tanh'(z_l)^2] = 1 behind every hidden layer; the first has no gradient at its input."""
    x = jax.random.normal(KEY, (1, 64))
    shapes, laws = layers(64, 128, 64, 64)
    factors = gains(mlp(jnp.tanh), shapes, x, laws=laws, by="gradients")
    found = scaled(laws, factors)
    prediction = predict(mlp(jnp.tanh), shapes, x, laws=found, gradients=True)
    rows = [row for row in prediction if row.name == "dot_general"]
    for row, then, law, width in zip(rows[:-1], rows[1:], found[1:], (64, 64), strict=True):
        slope = float(gradient_factor(jnp.tanh, 0.0, row.second))
        assert row.gradient == pytest.approx(slope * law.var * width * then.gradient, rel=1e-6)
        assert law.var * width * then.gradient == pytest.approx(1.0, rel=0.01)  # `CLOSE`, by two layers
    assert rows[0].second == pytest.approx(1.0)
    both = gains(mlp(jnp.tanh), shapes, x, laws=laws, by="both")
    signal = gains(mlp(jnp.tanh), shapes, x, laws=laws)
    np.testing.assert_allclose(both, np.sqrt(np.multiply(signal, factors)), rtol=1e-12)


def of_a_weight(site):
    """Convolutions, and products without an axis of examples or heads on both sides, as those of attention have."""
    return site.primitive == "conv_general_dilated" or (
        site.primitive == "dot_general" and site.params["dimension_numbers"][1] == ((), ())
    )


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(256)(x)
        for _ in range(3):
            x = x + nn.Dense(256)(nn.gelu(nn.Dense(256)(nn.LayerNorm()(x))))
        return nn.Dense(64)(nn.LayerNorm()(x))


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.Conv(128, (3, 3))(x))
            x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4.0
        return nn.Dense(64)(x.reshape(x.shape[0], -1))


class Deep(nn.Module):
    phi: object

    @nn.compact
    def __call__(self, x):
        for _ in range(6):
            x = self.phi(nn.Dense(512, kernel_init=nn.initializers.normal(0.02))(x))
        return nn.Dense(256)(x)


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(20, 256)(tokens) + self.param("positions", nn.initializers.normal(0.1), (1, tokens.shape[1], 256))
        for _ in range(2):
            h = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=4)(h, h, mask=nn.make_causal_mask(tokens))
            x = x + nn.Dense(256)(nn.gelu(nn.Dense(512)(nn.LayerNorm()(x))))
        return nn.Dense(64)(nn.LayerNorm()(x))


IMAGES, ROWS = jax.random.normal(KEY, (2, 8, 8, 3)), jax.random.normal(KEY, (4, 32))
TOKENS = jax.random.randint(KEY, (2, 6), 0, 20)


@pytest.mark.parametrize(
    ("module", "x"),
    [
        pytest.param(Residual(), ROWS, id="residual"),
        pytest.param(Convolutional(), IMAGES, id="convolutional"),
        pytest.param(Deep(nn.tanh), ROWS, id="tanh"),
        pytest.param(Deep(nn.gelu), ROWS, id="gelu", marks=pytest.mark.thorough),
        pytest.param(Transformer(), TOKENS, id="transformer", marks=pytest.mark.thorough),
    ],
)
def test_real_networks_have_second_moments_of_one(module, x):
    """Within 5 %, beside four standard errors of the measurement."""
    factors = gains(module.apply, module.init(KEY, x), x)
    draw = lambda key: jax.tree.map(jnp.multiply, module.init(key, x), factors)
    mean, error = measured(module.apply, draw, x, 64, of=of_a_weight)
    print(np.round(mean, 3), np.round(error, 3))
    assert np.all(np.abs(mean - 1) < 0.05 + 4 * error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": 0.0}, "`target` must be positive and finite; got 0.0"),
        ({"target": float("inf")}, "`target` must be positive"),
        ({"by": "forward"}, "`by` must be one of 'signal', 'gradients', 'both'; got 'forward'"),
    ],
)
def test_wrong_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        gains(lambda w, x: x @ w, jnp.zeros((4, 64)), jnp.ones((2, 4)), laws=Law("normal", 1.0), **options)
    with pytest.raises(TypeError, match="`apply` must be a function"):
        gains(3, jnp.zeros((4, 64)), jnp.ones((2, 4)))
