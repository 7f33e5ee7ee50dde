"""Reference networks: equal to the written-out formulas, right under vmap, moments as the theory says."""

import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations, initializers
from jnorm.initializers._lsuv import lsuv
from jnorm.nn import batch_norm, batch_renorm, feature_norm, networks, weight_norm
from jnorm.nn.dropout import alpha_dropout, dropout
from jnorm.nn.layers import Layer, Normalizer, Weights, stateless
from jnorm.theory import meanfield
from jnorm.theory.moments import Moments
from tests.thorough import beside

# The arithmetic under XLA's optimizations is tested beside each layer; here it is how the parts are put together.
pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(3)
WEIGHTS = initializers.normal(0.4)
BIAS = initializers.normal(0.3)
PLAIN = Layer(activations.tanh, WEIGHTS, BIAS, input_init=WEIGHTS, readout_init=WEIGHTS, precision="highest")
FULL = PLAIN._replace(normalizer=batch_norm, dropout=partial(dropout, rate=0.25), weights=weight_norm)
BUILD = {
    "mlp": lambda layer: networks.mlp((6, 8, 3), layer),
    "residual": lambda layer: networks.residual(6, 3, units=8, blocks=1, layer=layer),
    "highway": lambda layer: networks.highway(6, 3, units=8, depth=2, layer=layer),
    "cnn": lambda layer: networks.cnn((6, 4), 3, layer),
}
SHAPES = {"cnn": (4, 7, 5, 6)}


def batch(name, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=SHAPES.get(name, (4, 6))), dtype)


def affine(params, x):
    return np.float64(x) @ np.float64(params["kernel"]) + np.float64(params.get("bias", 0.0))


def close(got, exact):
    # Sums of at most 54 float32 products of size one, through four layers.
    np.testing.assert_allclose(got, exact, rtol=0, atol=2e-5)


def test_widths():
    assert networks.rectangular(784, 10, units=256, depth=3) == (784, 256, 256, 256, 10)
    assert networks.conic(784, 10, units=640, depth=6) == (784, 640, 320, 160, 80, 40, 20, 10)
    assert networks.conic(5, 2, units=7, depth=0) == (5, 2)


def test_mlp_is_its_formula():
    network = networks.mlp((6, 8, 5, 3), PLAIN)
    params, state = network.init(KEY)
    x = batch("mlp")
    h = np.tanh(affine(params[0], x))
    close(network.apply(params, state, x, train=False)[0], affine(params[2], np.tanh(affine(params[1], h))))
    assert [p["kernel"].shape for p in params] == [(6, 8), (8, 5), (5, 3)]
    leading = network.apply(params, state, x.reshape(2, 2, 6), train=False)[0]
    close(leading.reshape(4, 3), network.apply(params, state, x, train=False)[0])


def test_residual_is_its_formula():
    network = networks.residual(6, 3, units=8, blocks=2, layer=PLAIN, block_layers=2, branch_scale=0.5)
    params, state = network.init(KEY)
    x = batch("residual")
    h = np.tanh(affine(params[0], x))
    for block in params[1:3]:
        h = h + 0.5 * affine(block[2], np.tanh(affine(block[1], np.tanh(affine(block[0], h)))))
    close(network.apply(params, state, x, train=False)[0], affine(params[3], h))


def test_highway_is_its_formula_and_starts_by_carrying():
    network = networks.highway(6, 3, units=8, depth=3, layer=PLAIN)
    params, state = network.init(KEY)
    x = batch("highway")
    h = np.tanh(affine(params[0], x))
    for block in params[1:3]:
        t = 1 / (1 + np.exp(-affine(block["gate"], h)))
        h = np.tanh(affine(block, h)) * t + h * (1 - t)
    close(network.apply(params, state, x, train=False)[0], affine(params[3], h))
    assert np.all(params[1]["gate"]["bias"] == -2)
    assert not np.array_equal(params[1]["kernel"], params[1]["gate"]["kernel"])
    closed = networks.highway(6, 3, units=8, depth=3, layer=PLAIN, gate_bias=-50.0)
    _, _, seen = networks.record(closed, *closed.init(KEY), x)
    close(seen["2.post"], seen["0.post"])


def test_cnn_is_its_formula():
    network = networks.cnn((6, 4, 5), 3, PLAIN, strides=(1, 2), window=3)
    params, state = network.init(KEY)
    x = batch("cnn")
    h = x
    for p, stride in zip(params[:2], (1, 2), strict=True):
        conv = jax.lax.conv_general_dilated(
            h, p["kernel"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
        )
        h = jnp.tanh(conv + p["bias"].reshape(1, 1, 1, -1))
    close(network.apply(params, state, x, train=False)[0], affine(params[2], np.mean(h, (1, 2))))
    one = network.apply(params, state, x[0], train=False)[0]
    close(one, network.apply(params, state, x, train=False)[0][0])


@pytest.mark.parametrize("normalize", ["before", "after"])
def test_the_normalizer_stands_where_it_is_put(normalize):
    layer = PLAIN._replace(normalizer=batch_norm, normalize=normalize)
    network = networks.mlp((6, 8, 3), layer)
    params, state = network.init(KEY)
    x = batch("mlp", 5)
    y, new, seen = networks.record(network, params, state, x, train=True)
    z = affine(params[0], x)
    norm = lambda a: (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-5)
    expected = np.tanh(norm(z)) if normalize == "before" else norm(np.tanh(z))
    np.testing.assert_allclose(seen["0.post"], expected, atol=1e-4)  # the variance of 4 entries may be small
    np.testing.assert_allclose(y, affine(params[1], expected), atol=2e-4)
    normalized = z if normalize == "before" else np.tanh(z)
    np.testing.assert_allclose(new[0].mean, normalized.mean(0), atol=1e-5)
    assert new[0].count == len(x)
    assert network.apply(params, new, x, train=False)[1] == new
    biased = [new[0]._replace(var=new[0].var * (1 - 1 / len(x))), *new[1:]]  # as the batch was normalized
    again, _ = network.apply(params, biased, x, train=False)
    np.testing.assert_allclose(again, y, atol=1e-3)  # evaluation after one step on that batch


def test_a_module_is_a_normalizer_as_it_stands():
    x = batch("mlp", 1)

    def two_steps(norm):
        network = networks.mlp((6, 8, 3), PLAIN._replace(normalizer=norm))
        params, state = network.init(KEY)
        first, state = network.apply(params, state, x, train=True)
        second, _ = network.apply(params, state, x + 0.2, train=True)
        return first, second, network.apply(params, state, x + 0.2, train=False)[0]

    renorm, norm = two_steps(batch_renorm), two_steps(batch_norm)
    np.testing.assert_array_equal(renorm[0], norm[0])  # a fresh state bounds nothing
    close(renorm[1], renorm[2])  # one batch moved by less than the bounds: as evaluation
    assert np.max(np.abs(norm[1] - norm[2])) > 0.1


def test_stateless_norms_and_options():
    layer_norm = stateless(feature_norm.init, feature_norm.layer_norm)
    network = networks.mlp((6, 8, 3), PLAIN._replace(normalizer=layer_norm))
    params, state = network.init(KEY)
    seen = networks.record(network, params, state, batch("mlp"))[2]
    np.testing.assert_allclose(np.mean(seen["0.pre"], 1), 0, atol=1e-6)
    slow = Normalizer(batch_norm.init, partial(batch_norm.apply, decay=0.0, eps=0.1))
    network = networks.mlp((6, 8, 3), PLAIN._replace(normalizer=slow))
    params, state = network.init(KEY)
    _, state = network.apply(params, state, batch("mlp", 1), train=True)
    _, state = network.apply(params, state, batch("mlp", 2), train=True)
    np.testing.assert_allclose(state[0].mean, affine(params[0], batch("mlp", 2)).mean(0), atol=1e-5)


def test_weights_are_reparametrized():
    network = networks.mlp((6, 8, 3), PLAIN._replace(weights=weight_norm))
    plain = networks.mlp((6, 8, 3), PLAIN)
    x = batch("mlp")
    close(*(n.apply(*n.init(KEY), x, train=False)[0] for n in (network, plain)))  # starts as the plain network
    params, _ = network.init(KEY)
    assert isinstance(params[0]["kernel"], weight_norm.PolarKernel)

    gain = weight_norm.exact_gain(activations.relu)
    standardized = Weights(lambda kernel: kernel, partial(weight_norm.standardize, gain=gain))
    network = networks.mlp((500, 500, 500, 10), Layer(activations.relu, initializers.normal(), weights=standardized))
    seen = networks.record(network, *network.init(KEY), jax.random.normal(KEY, (500, 500)))[2]
    # The gain keeps the variance: relative standard error about sqrt(2/500) + of the batch's directions.
    assert abs(np.var(seen["1.pre"]) - gain**2 * np.var(seen["0.post"])) < 0.1 * np.var(seen["1.pre"])


@pytest.mark.parametrize("name", beside(list(BUILD)[::2], BUILD))
def test_vmap_over_seeds_and_hyperparameters_equals_a_loop(name):
    x = batch(name)

    def run(key, rate, slope):
        phi = partial(activations.leaky_relu, negative_slope=slope)
        network = BUILD[name](FULL._replace(activation=phi, dropout=partial(dropout, rate=rate), weights=None))
        key_init, key_drop = jax.random.split(key)
        params, state = network.init(key_init)

        def loss(params):
            y, new = network.apply(params, state, x, train=True, key=key_drop)
            return jnp.mean(y**2), new

        (value, new), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return value, new, gradient

    keys, rates, slopes = jax.random.split(KEY, 3), jnp.array([0.0, 0.2, 0.5]), jnp.array([0.0, 0.1, 0.9])
    swept = jax.jit(jax.vmap(run))(keys, rates, slopes)
    loop = jax.jit(lambda *lanes: jax.lax.map(lambda lane: run(*lane), lanes))(keys, rates, slopes)

    def compare(got, expected):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
        scale = 1 + np.abs(expected).max(initial=0)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * scale)  # batch norm of 4 rows amplifies rounding

    jax.tree.map(compare, swept, loop)


@pytest.mark.parametrize("name", BUILD)
def test_record_and_tap(name):
    network = BUILD[name](FULL)
    params, state = network.init(KEY)
    x = batch(name)
    seen_names = []  # a jitted dictionary comes back sorted

    @jax.jit
    def run(key):
        y, _, seen = networks.record(network, params, state, x, train=True, key=key)
        seen_names[:] = seen
        return y, seen, network.apply(params, state, x, train=True, key=key)[0]

    y, seen, plain = run(KEY)
    np.testing.assert_array_equal(y, plain)
    names = {
        "mlp": "0.linear 0.pre 0.activated 0.post 1.pre",
        "residual": (
            "0.linear 0.pre 0.activated 0.post 1.0.linear 1.0.pre 1.0.activated 1.0.post 1.1.pre 1.post 2.pre"
        ),
        "highway": "0.linear 0.pre 0.activated 0.post 1.gate 1.linear 1.pre 1.activated 1.post 2.pre",
        "cnn": "0.linear 0.pre 0.activated 0.post 1.pre",
    }
    assert seen_names == names[name].split()
    last = seen_names[-1]
    np.testing.assert_array_equal(seen[last], y)

    def loss(offsets):
        tap = lambda name, value: value + offsets[name]
        return jnp.sum(network.apply(params, state, x, train=True, key=KEY, tap=tap)[0] ** 2)

    zeros = jax.tree.map(jnp.zeros_like, seen)
    backward = jax.jit(jax.grad(loss))(zeros)  # the gradient with respect to every activation, in one pass
    np.testing.assert_allclose(backward[last], 2 * y, rtol=0, atol=1e-5)
    assert all(np.any(g != 0) for g in backward.values())
    lanes = jax.eval_shape(jax.vmap(lambda key: run(key)[1]), jax.random.split(KEY))
    assert all(lanes[n].shape == (2, *seen[n].shape) for n in seen)


@pytest.mark.parametrize("name", BUILD)
def test_the_dtype_of_the_input_is_kept(name):
    network = BUILD[name](PLAIN._replace(weights=weight_norm))
    params, state = network.init(KEY)
    run = jax.jit(lambda x: networks.record(network, params, state, x)[::2])
    single = run(batch(name))[0]
    for dtype, atol in ((jnp.bfloat16, 0.05), (jnp.float64, 2e-5)):  # a few roundings of values of size one
        with jax.enable_x64(dtype == jnp.float64):
            y, seen = run(batch(name).astype(dtype))
        assert {v.dtype for v in seen.values()} == {jnp.dtype(dtype)}
        np.testing.assert_allclose(np.float64(y), np.float64(single), atol=atol)


@pytest.mark.parametrize("name", BUILD)
def test_dropout_uses_another_key_in_every_layer_and_none_in_evaluation(name):
    layer = PLAIN._replace(dropout=partial(dropout, rate=0.5), bias_init=None)
    network = BUILD[name](layer)
    params, state = network.init(KEY)
    x = batch(name)
    seen = jax.jit(lambda: networks.record(network, params, state, x, train=True, key=KEY)[2])()
    hidden = [v == 0 for n, v in seen.items() if n.endswith("post") and np.any(v == 0)]
    assert len(hidden) >= (2 if name == "residual" else 1)
    for a in hidden:
        assert sum(np.array_equal(a, b) for b in hidden) == 1
    evaluated = network.apply(params, state, x, train=False)[0]
    close(evaluated, BUILD[name](layer._replace(dropout=None)).apply(params, state, x, train=True)[0])
    with pytest.raises(ValueError, match="`key` must be a random key where train=True; got None"):
        network.apply(params, state, x, train=True)


def test_lsuv_takes_the_recorded_layers():
    network = networks.mlp((20, 30, 30, 5), Layer(activations.relu, initializers.orthogonal()))
    params, state = network.init(KEY)
    x = jax.random.normal(KEY, (200, 20))
    layers = lambda p, x: [v for n, v in networks.record(network, p, state, x)[2].items() if n.endswith("pre")]
    found = lsuv(layers, params, x)
    assert found.converged
    np.testing.assert_allclose([np.var(z) for z in layers(found.params, x)], 1, rtol=2e-3)  # twice the tolerance


def test_variance_travels_as_mean_field_theory_says():
    depth, width, n = 6, 400, 64
    weights = initializers.variance_scaling(1.5, "fan_in", "normal")
    layer = Layer(activations.tanh, weights, initializers.normal(0.3), input_init=weights)
    network = networks.mlp(networks.rectangular(width, 1, units=width, depth=depth), layer)
    x = jax.random.normal(KEY, (n, width))
    x = x / jnp.sqrt(jnp.mean(x**2, 1, keepdims=True))

    @jax.vmap
    def variances(key):
        seen = networks.record(network, *network.init(key), x)[2]
        return jnp.stack([jnp.mean(seen[f"{l}.post"] ** 2) for l in range(depth)])

    measured = np.float64(jax.jit(variances)(jax.random.split(KEY, 16)))
    step = meanfield.layer_map(activations.tanh, sigma_w=1.5**0.5, sigma_b=0.3)
    moments, expected = Moments(jnp.float32(0), jnp.float32(1)), []
    for _ in range(depth):
        moments = step(moments)
        expected.append(float(moments.var + moments.mean**2))
    error = measured.std(0, ddof=1) / np.sqrt(16)
    z = (measured.mean(0) - expected) / error
    # Student's t with 15 degrees of freedom: six of |t| < 5.5 hold with probability .9996, were the seed not fixed;
    # finite width adds a bias of order 1/400, about one standard error.
    assert np.all(np.abs(z) < 5.5), z


@pytest.mark.parametrize("name", BUILD)
def test_the_first_layer_and_the_readout_have_weights_of_their_own(name):
    marks = {"kernel_init": 2.0, "input_init": 3.0, "readout_init": 5.0}
    layer = Layer(activations.relu, **{key: initializers.constant(mark) for key, mark in marks.items()})
    build = BUILD | {"mlp": lambda layer: networks.mlp((6, 8, 8, 3), layer)}
    build["cnn"] = lambda layer: networks.cnn((6, 4, 4), 3, layer)
    params, _ = build[name](layer).init(KEY)
    kernels = [
        float(leaf.ravel()[0]) for path, leaf in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "kernel"
    ]
    assert kernels[0] == 3
    assert kernels[-1] == 5
    assert len(kernels) > 2
    assert set(kernels[1:-1]) == {2}


def test_weights_without_another_word_keep_the_variance_of_standardized_data():
    # He's gain undoes what relu takes. Nothing has taken anything from the data, so that it would double there.
    network = networks.mlp((400, 400, 400, 400), Layer(activations.relu, initializers.he_normal(), None))
    x = jax.random.normal(KEY, (16, 400))
    x = x / jnp.sqrt(jnp.mean(x**2, 1, keepdims=True))

    @jax.vmap
    def second_moments(key):
        seen = networks.record(network, *network.init(key), x)[2]
        return jnp.stack([jnp.mean(v**2) for v in seen.values()])

    measured = np.float64(jax.jit(second_moments)(jax.random.split(KEY, 16)))
    z = (measured.mean(0) - [1, 0.5, 1, 0.5, 0.5]) / (measured.std(0, ddof=1) / 4)
    # Student's t as above: five of |t| < 5.5; double the variance would be dozens of standard errors away.
    assert np.all(np.abs(z) < 5.5), z


def test_a_bias_in_front_of_a_shift_is_left_out():
    x = batch("mlp")
    layer_norm = stateless(feature_norm.init, feature_norm.layer_norm)
    unshifted = Normalizer(partial(batch_norm.init, shift=False), batch_norm.apply)
    for norm, place, kept in [
        (batch_norm, "before", False),
        (batch_renorm, "before", False),
        (layer_norm, "before", False),
        (batch_norm, "after", True),
        (unshifted, "before", True),
        (None, "before", True),
    ]:
        network = networks.mlp((6, 8, 3), PLAIN._replace(normalizer=norm, normalize=place))
        params, state = network.init(KEY)
        assert ("bias" in params[0], "bias" in params[1]) == (kept, True)
        network.apply(params, state, x, train=True)
    gated = networks.highway(6, 3, units=8, depth=2, layer=PLAIN._replace(normalizer=batch_norm))
    assert "bias" in gated.init(KEY)[0][1]["gate"]  # no normalizer stands behind a gate


def test_every_parameter_of_a_network_with_batch_norm_has_a_gradient():
    # A bias that batch norm takes off again would get rounding noise, of which Adam makes steps of full size.
    x, weights = batch("mlp"), batch("mlp", 7)[:, :3]
    for name in BUILD:
        network = BUILD[name](PLAIN._replace(normalizer=batch_norm))
        params, state = network.init(KEY)
        x = batch(name)
        loss = lambda p, network=network, state=state, x=x: jnp.vdot(weights, network.apply(p, state, x, train=True)[0])
        for path, gradient in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(params)):
            # Rounding noise is of the order of 1e-7 of the other gradients, which are about one here.
            assert np.abs(gradient).max() > 1e-3, (name, jax.tree_util.keystr(path))


def test_alpha_dropout_keeps_selu_at_its_fixed_point():
    layer = Layer(activations.selu, initializers.lecun_normal(omega=0.0, tau=1.0), None)
    layer = layer._replace(dropout=partial(alpha_dropout, rate=0.1))
    network = networks.mlp((300,) * 9, layer)
    params, state = network.init(KEY)
    x = jax.random.normal(KEY, (300, 300))
    seen = jax.jit(lambda: networks.record(network, params, state, x, train=True, key=KEY)[2])()
    last = np.float64(seen["7.pre"])
    # The (mean, variance) map contracts with .78 a layer, so eight layers sum up to 4.6 times one's sampling error,
    # which is about .01 for 300 units.
    assert abs(last.mean()) < 0.05
    assert abs(last.var() - 1) < 0.15


def test_bad_input_raises():
    with pytest.raises(ValueError, match="`widths` must satisfy widths >= 1; got 0"):
        networks.mlp((3, 0, 1), PLAIN)
    with pytest.raises(ValueError, match=r"`widths` must hold at least an input and an output; got \(3,\)"):
        networks.mlp((3,), PLAIN)
    with pytest.raises(ValueError, match="`normalize` must be one of before, after; got 'around'"):
        networks.mlp((3, 1), PLAIN._replace(normalize="around"))
    with pytest.raises(ValueError, match="`blocks` must satisfy blocks >= 1; got 0"):
        networks.residual(3, 1, units=2, blocks=0, layer=PLAIN)
    with pytest.raises(ValueError, match="`depth` must satisfy depth >= 1; got 0"):
        networks.highway(3, 1, units=2, depth=0, layer=PLAIN)
    with pytest.raises(ValueError, match=r"`channels` must hold .* such as \(1, 8\); got \(4,\)"):
        networks.cnn((4,), 1, PLAIN)
    with pytest.raises(TypeError, match=r"`layer` must be a jnorm.nn.layers.Layer: write Layer\(.*\); got <"):
        networks.mlp((4, 1), activations.relu)
    with pytest.raises(ValueError, match=r"`strides` must hold one for each of the layers \(4,\); got \(1, 2\)"):
        networks.cnn((3, 4), 1, PLAIN, strides=(1, 2))
    network = BUILD["mlp"](PLAIN)
    params, state = network.init(KEY)
    with pytest.raises(ValueError, match=r"`x` must have 1 axes or more, the last of 6 features; got \(4, 5\)"):
        network.apply(params, state, jnp.ones((4, 5)), train=False)
    with pytest.raises(TypeError, match="`x` must have a real floating dtype; got int32"):
        network.apply(params, state, jnp.ones((4, 6), int), train=False)
    network = BUILD["cnn"](PLAIN)
    with pytest.raises(ValueError, match=r"`x` must have 3 axes or more, the last of 6 features; got \(5, 6\)"):
        network.apply(*network.init(KEY), jnp.ones((5, 6)), train=False)


@pytest.mark.parametrize(
    ("name", "network", "shape", "text"),
    [
        ("no channels", lambda: networks.cnn((1, 4), 2, PLAIN), (5, 8, 8), r"write x\[..., None\] for images without"),
        ("channels in front", lambda: networks.cnn((3, 4), 2, PLAIN), (5, 3, 8, 8), r"write jnp.moveaxis\(x, -3, -1\)"),
        (
            "images for a perceptron",
            lambda: networks.mlp((64, 2), PLAIN),
            (5, 8, 8),
            r"x.reshape\(len\(x\), -1\)",
        ),
    ],
)
def test_other_conventions_of_axes_are_answered_with_what_to_write(name, network, shape, text):
    params, state = network().init(KEY)
    with pytest.raises(ValueError, match=text):
        network().apply(params, state, jnp.ones(shape), train=False)


LAYER_PARTS = {
    "a name": (dict(activation="selu"), r"`activation` must be a function: write jnorm.activations.selu; got 'selu'"),
    "no name": (dict(activation="seluu"), r"`activation` must be a function: .*; got 'seluu'"),
    "factory": (dict(kernel_init=initializers.he_normal), r"`kernel_init` must .*: write he_normal\(\)"),
    "option": (dict(kernel_init=initializers.normal), r"`kernel_init` must .*: write normal\(\)"),
    "JAX's": (dict(kernel_init=jax.nn.initializers.he_normal), r"`kernel_init` must .*: write he_normal\(\)"),
    "JAX's normal": (dict(readout_init=jax.nn.initializers.normal), r"`readout_init` must .*: write normal\(\)"),
    "bias": (dict(bias_init=initializers.constant), r"`bias_init` must .*: write constant\(\)"),
    "a number": (dict(bias_init=0.0), r"`bias_init` must be a function \(key, shape\) -> array.*; got 0.0"),
    "input": (dict(input_init=None), r"`input_init` must be a function .*; got None"),
    "rate": (
        dict(dropout=0.3),
        r"`dropout` must be .*partial\(jnorm.nn.dropout.dropout, rate=0.3\); got 0.3",
    ),
    "norm": (
        dict(normalizer="batch_norm"),
        r"`normalizer` must have functions init and apply: write jnorm",
    ),
    "function": (dict(normalizer=feature_norm.layer_norm), r"`normalizer` must have .* or stateless\("),
    "weights": (dict(weights=weight_norm.standardize), r"`weights` must have functions init and apply"),
}


@pytest.mark.parametrize("case", LAYER_PARTS)
def test_parts_of_a_layer_are_checked_where_it_is_made(case):
    parts, text = LAYER_PARTS[case]
    with pytest.raises(TypeError, match=text):
        Layer(**{"activation": activations.relu, "kernel_init": WEIGHTS} | parts)
    with pytest.raises(TypeError, match=text):
        PLAIN._replace(**parts)


def test_a_place_of_the_normalizer_that_there_is_not_is_refused_where_the_layer_is_made():
    with pytest.raises(ValueError, match="`normalize` must be one of before, after; got 'bfore'"):
        Layer(activations.relu, WEIGHTS, normalizer=batch_norm, normalize="bfore")


def test_initializers_in_their_other_spellings_are_taken():
    for init in (jax.nn.initializers.zeros, jax.nn.initializers.normal(), lambda key, shape: jnp.ones(shape)):
        layer = Layer(activations.relu, init, partial(init), input_init=init)
        assert networks.mlp((3, 4, 2), layer).init(KEY)[0][0]["kernel"].shape == (3, 4)
    assert Layer(activations.relu, WEIGHTS)._replace(normalize="after").normalize == "after"
    assert (
        pickle.loads(
            pickle.dumps(
                Layer(activations.relu, jax.nn.initializers.zeros, None)._replace(
                    input_init=jax.nn.initializers.zeros, readout_init=jax.nn.initializers.zeros
                )
            )
        ).bias_init
        is None
    )


@pytest.mark.parametrize("name", BUILD)
def test_dropout_draws_by_no_key_that_initialization_splits(name):
    """By one key for both, blocks in blocks too: the bits of one would be the keys of the other."""
    drawn = []

    def recorded(key, y, *, train):
        drawn.append(tuple(jax.random.key_data(key).tolist()))
        return y

    network = BUILD[name](PLAIN._replace(dropout=recorded))
    network.apply(*network.init(KEY), batch(name), train=True, key=KEY)
    fold = jax.vmap(lambda key: jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(4)))
    parents = [KEY.reshape(1)]
    for _ in range(2):
        parents.append(fold(parents[-1]).reshape(-1))
    split = {tuple(words) for keys in parents for words in jax.random.key_data(keys).tolist()}
    assert drawn
    assert not split & set(drawn)
