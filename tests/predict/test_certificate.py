"""Bounds of a chain's moments, layer by layer: against theory at points inside, and what is no chain."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("flint")

from jnorm.predict import certificate
from jnorm.theory.moments import Moments, gradient_factor, layer_map

X = jnp.ones((2, 8))
OMEGA, TAU = (-0.1, 0.1), (1.9, 2.1)


def mlp(phi):
    def apply(weights, x):
        for weight in weights:
            x = phi(x @ weight)
        return x

    return apply


def zeros(*sizes):
    return [jnp.zeros(pair) for pair in itertools.pairwise(sizes)]


def composed(z):
    return jnp.where(z > 0.3, jnp.tanh(z), 0.5 * jnp.sin(z)) + 0.1


@pytest.mark.parametrize("phi", [jnp.tanh, jax.nn.gelu, jax.nn.softplus, jax.nn.leaky_relu, composed])
def test_moments_of_random_layers_lie_inside(phi):
    """Forty chains, each layer with an omega and tau of its own, by the theory's quadrature; and bounds are no wider
    than twice what the chains of extreme weights span."""
    found = certificate(mlp(phi), zeros(8, 16, 16, 16, 16), X, mean=(-0.1, 0.1), var=(0.9, 1.1), omega=OMEGA, tau=TAU)
    rng, spans = np.random.default_rng(5), [[] for _ in found.layers]
    with jax.enable_x64(True):
        for k in range(40):
            pick = (lambda ends: rng.uniform(*ends)) if k < 20 else (lambda ends: float(rng.choice(ends)))
            at = Moments(pick((-0.1, 0.1)), pick((0.9, 1.1)))
            for layer, span in zip(found.layers, spans, strict=True):
                at = layer_map(phi, omega=pick(OMEGA), tau=pick(TAU))(at)
                span.append(at)
                assert layer.mean[0] - 1e-12 <= at.mean <= layer.mean[1] + 1e-12  # rounding of the theory's sums
                assert layer.var[0] - 1e-12 <= at.var <= layer.var[1] + 1e-12
    variances = [float(at.var) for at in spans[0]]
    assert found.layers[0].var[1] - found.layers[0].var[0] <= 2 * (max(variances) - min(variances))


def test_a_chain_of_points_is_known_to_fifteen_digits():
    found = certificate(mlp(jnp.tanh), zeros(*[8] * 31), X, omega=0, tau=1.5, gradients=True)
    with jax.enable_x64(True):
        at = Moments(0.0, 1.0)
        for layer in found.layers:
            factor = gradient_factor(jnp.tanh, 0.0, 1.5 * at.var, tau=1.5)
            at = layer_map(jnp.tanh, omega=0.0, tau=1.5)(at)
            for ends, value in ((layer.var, at.var), (layer.gradient, factor)):
                assert ends[1] - ends[0] < 1e-13
                assert ends[0] == pytest.approx(float(value), rel=1e-12)  # the theory's quadrature


def test_sums_of_weights_are_read_from_parameters():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(8, 16)).astype(np.float32) / 8, rng.normal(size=(16, 4)) / 8]
    found = certificate(mlp(jnp.tanh), weights, X, var=0.5)
    for layer, w in zip(found.layers, weights, strict=True):
        exact = np.asarray(w, np.float64)
        for ends, sums in ((layer.omega, exact.sum(0)), (layer.tau, (exact**2).sum(0))):
            assert ends[0] <= sums.min() <= sums.max() <= ends[1]
            assert ends == pytest.approx((sums.min(), sums.max()), rel=1e-12)


def test_a_flax_model_with_biases_and_a_convolution():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.gelu(nn.Conv(16, (3, 3), padding="VALID", bias_init=nn.initializers.constant(0.25))(x))
            x = nn.silu(nn.Dense(32)(x.reshape(x.shape[0], -1)))
            return nn.Dense(10)(x)

    model, x = Model(), jnp.ones((2, 5, 5, 3))
    params = model.init(jax.random.key(0), x)
    found = certificate(model.apply, params, x, omega=0.0, tau=[(1.0, 1.0), (1.2, 1.3), (0.9, 1.1)])
    assert [layer.activation for layer in found.layers] == ["add integer_pow mul tanh", "silu", "identity"]
    assert all(layer.line.file == __file__ for layer in found.layers)
    assert [layer.name for layer in found.layers] == ["Model/Conv_0", "Model/Dense_0", "Model/Dense_1"]
    with jax.enable_x64(True):
        first = layer_map(lambda z: jax.nn.gelu(z + 0.25), omega=0.0, tau=1.0)(Moments(0.0, 1.0))
        second = layer_map(jax.nn.silu, omega=0.0, tau=1.25)(first)
    assert found.layers[0].mean == pytest.approx([float(first.mean)] * 2, abs=1e-12)
    assert found.layers[1].var[0] < float(second.var) < found.layers[1].var[1]
    assert found.layers[2].var == pytest.approx((0.9 * found.layers[1].var[0], 1.1 * found.layers[1].var[1]), rel=1e-8)
    alone = nn.Conv(16, (3, 3), padding="VALID")
    params = alone.init(jax.random.key(0), x)
    squares = (np.asarray(params["params"]["kernel"], np.float64) ** 2).sum((0, 1, 2))
    assert certificate(alone.apply, params, x).layers[0].tau == pytest.approx((squares.min(), squares.max()), rel=1e-12)


def test_contractions_are_sought_where_layers_repeat():
    found = certificate(mlp(jnp.tanh), zeros(8, 8, 8), X, omega=OMEGA, tau=(1.5, 1.6), contractions=True)
    (proof,) = found.contractions
    assert proof.holds is True
    text = str(found)
    assert "the layer map of tanh maps the rectangle" in text
    assert max(map(len, text.splitlines())) <= 100
    none = certificate(mlp(jax.nn.relu), zeros(8, 8, 8), X, omega=0, tau=1, contractions=True)
    assert "no contraction is shown of relu" in str(none)


def test_a_false_rectangle_is_not_certified():
    """A chain whose true variance after one layer is known: the bounds must not exclude it, nor be any number."""
    found = certificate(mlp(jax.nn.relu), zeros(8, 8), X, omega=0, tau=2)
    exact = 1 - 1 / np.pi  # 2*(1/2 - 1/(2 pi))
    assert found.layers[0].var[0] <= exact <= found.layers[0].var[1] < exact * (1 + 1e-12)
    wrong = certificate(mlp(lambda z: 1.001 * jax.nn.relu(z)), zeros(8, 8), X, omega=0, tau=2)
    assert wrong.layers[0].var[0] > exact


def residual(w, x):
    h = jnp.tanh(x @ w[0])
    return h + jnp.tanh(h @ w[1])


REFUSED = [
    (residual, ValueError, r"`add` at .*test_certificate.py:\d+ \(residual\) joins what two layers made"),
    (lambda w, x: jax.nn.softmax(x @ w[0]) @ w[1], NotImplementedError, r"`reduce_max` at .*test_certificate.py:\d+"),
    (lambda w, x: (h := x @ w[0]) @ h.T, ValueError, r"is a product of a layer with itself"),
    (
        lambda w, x: jnp.tanh(x @ w[0] + jnp.arange(8.0)[None]),
        ValueError,
        r"`add` at .*numbers that differ from unit to unit",
    ),
    (lambda w, x: x * 2, ValueError, r"`apply` must return what its layers make"),
    (lambda w, x: (jnp.tanh(h := x @ w[0]) @ w[1], h), ValueError, r"takes other numbers of a layer"),
    ("model", TypeError, r"`apply` must be a function"),
]


@pytest.mark.parametrize(("model", "error", "message"), REFUSED)
def test_what_is_no_chain_is_refused_with_its_line(model, error, message):
    with pytest.raises(error, match=message):
        certificate(model, zeros(8, 8, 8), X, omega=0, tau=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"omega": [(0, 0)]}, r"`omega` must hold an interval for each of 2 layers; got 1"),
        ({"tau": (1, 0.5)}, r"`tau` must satisfy low <= high"),
        ({"tau": 0.0}, r"`tau` must satisfy tau > 0"),
        ({"var": 0.0}, r"`var` must satisfy var > 0"),
        ({"tol": 0.0}, r"`tol` must satisfy tol > 0"),
        ({"budget": 0}, r"`budget` must be a whole number >= 1"),
        ({}, r"`tau` must satisfy tau > 0"),  # read from weights that are zero
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        certificate(mlp(jnp.tanh), zeros(8, 8, 8), X, **({"omega": 0, "tau": 1} | options if options else {}))


def test_padded_convolutions_and_shapes_are_refused():
    with pytest.raises(ValueError, match=r"`conv_general_dilated` at .* pads its input"):
        certificate(lambda w, x: jax.lax.conv(x, w, (1, 1), "SAME"), jnp.ones((4, 2, 3, 3)), jnp.ones((1, 2, 5, 5)))
    with pytest.raises(TypeError, match=r"`params` must hold arrays; got ShapeDtypeStruct"):
        certificate(mlp(jnp.tanh), [jax.ShapeDtypeStruct((8, 8), jnp.float32)], X)


def test_without_flint_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "flint", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jnorm\[verify\]"'):
        certificate(mlp(jnp.tanh), zeros(8, 8), X, omega=0, tau=1)
