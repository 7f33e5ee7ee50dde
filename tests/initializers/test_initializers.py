import math
import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jnorm import activations, initializers
from jnorm.initializers import fans, for_activation, variance_scaling
from jnorm.initializers._fan_scaled import SIZES
from jnorm.initializers._fans import roles

pytestmark = pytest.mark.usefixtures("unoptimized")

EPS = float(np.finfo(np.float32).eps)
DENSE, TALL, CONV, BATCH = (300, 200), (400, 60), (3, 3, 40, 60), (4, 50, 70)
SHAPES = {DENSE: {}, TALL: {}, CONV: {}, BATCH: {"batch_axis": 0}}
CUT = 0.879625661034  # standard deviation of a standard normal law cut at +-2
K = jax.random.key(0)
FALSE_ALARM = 1e-4  # of all distribution tests of this file together


def law(distribution, stddev):
    if distribution == "uniform":
        return scipy.stats.uniform(-math.sqrt(3) * stddev, 2 * math.sqrt(3) * stddev)
    if distribution == "truncated_normal":
        return scipy.stats.truncnorm(-2, 2, scale=stddev / CUT)
    return scipy.stats.norm(scale=stddev)


def size(mode, shape, options):
    fan_in, fan_out = fans(shape, **options)
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def laws():
    """Name, initializer, shape and the distribution that its entries should have."""
    cases = {
        "normal": (initializers.normal(0.3), DENSE, law("normal", 0.3)),
        "truncated_normal": (initializers.truncated_normal(0.3), DENSE, law("truncated_normal", 0.3)),
        "uniform": (initializers.uniform(0.3), DENSE, scipy.stats.uniform(0, 0.3)),
    }
    for bound in (0.5, 3.0):
        stddev = scipy.stats.truncnorm(-bound, bound).std()
        cut = scipy.stats.truncnorm(-bound, bound, scale=0.3 / stddev)
        cases[f"truncated_normal({bound})"] = (initializers.truncated_normal(0.3, bound=bound), DENSE, cut)
    named = {
        "glorot_normal": ("truncated_normal", 1, "fan_avg"),
        "glorot_uniform": ("uniform", 1, "fan_avg"),
        "he_normal": ("truncated_normal", 2, "fan_in"),
        "he_uniform": ("uniform", 2, "fan_in"),
        "lecun_normal": ("truncated_normal", 1, "fan_in"),
        "lecun_uniform": ("uniform", 1, "fan_in"),
    }
    for shape, options in SHAPES.items():
        for name, (distribution, scale, mode) in named.items():
            target = law(distribution, math.sqrt(scale / size(mode, shape, options)))
            cases[f"{name}{shape}"] = (getattr(initializers, name)(**options), shape, target)
        for distribution in ("normal", "truncated_normal", "uniform"):
            target = law(distribution, math.sqrt(1.7 / size("fan_out", shape, options)))
            scaled = variance_scaling(1.7, "fan_out", distribution, **options)
            cases[f"{distribution}{shape}"] = (scaled, shape, target)
        target = law("truncated_normal", math.sqrt(2 / fans(shape, **options).fan_in))
        cases[f"for_activation{shape}"] = (for_activation(activations.relu, **options), shape, target)
    return cases


LAWS = laws()
# Two tests a law, Kolmogorov-Smirnov and a z-test of the variance, at FALSE_ALARM shared out by Bonferroni.
LEVEL = FALSE_ALARM / (2 * len(LAWS))


def verdict(weights, target):
    """p-values of the entries' distribution, and of their variance given its sampling error under the target law."""
    entries = np.asarray(weights, np.float64).ravel()
    mean, var, _, excess = target.stats("mvsk")
    z = (np.mean((entries - mean) ** 2) / var - 1) * math.sqrt(entries.size / (excess + 2))
    return scipy.stats.kstest(entries, target.cdf).pvalue, 2 * scipy.stats.norm.sf(abs(z))


@pytest.mark.parametrize("name", LAWS)
def test_distribution(name):
    # Power: with 14 000 entries or more, a standard deviation off by 5 % has z > 9 against a threshold of 4.9.
    init, shape, target = LAWS[name]
    seed = list(LAWS).index(name)
    assert min(verdict(init(jax.random.key(seed), shape), target)) > LEVEL


def test_the_distribution_test_can_fail():
    key = jax.random.key(0)
    target = law("truncated_normal", 0.3)
    wrong = {
        "cut without the variance restored": initializers.truncated_normal(0.3 * CUT)(key, TALL),
        "uncut": initializers.normal(0.3)(key, TALL),
        "5 % wide": initializers.truncated_normal(0.315)(key, TALL),
        "shifted": initializers.truncated_normal(0.3)(key, TALL) + 0.02,
    }
    for what, weights in wrong.items():
        assert min(verdict(weights, target)) < LEVEL, what


@pytest.mark.parametrize("seed", range(3))
def test_same_key_same_weights_as_jax(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 7, rng.integers(2, 6)))
    axes = [int(a) for a in rng.permutation(len(shape))]
    options = {"in_axis": axes[0], "out_axis": axes[1], "batch_axis": axes[2:3] if seed % 2 else ()}

    @jax.jit
    def both(key):
        named = ("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform")
        return [
            [getattr(module, name)(**options)(key, shape) for name in named]
            + [module.variance_scaling(0.7, mode, "normal", **options)(key, shape) for mode in SIZES]
            + [module.normal()(key, shape), module.uniform()(key, shape), module.orthogonal()(key, shape)]
            for module in (initializers, jax.nn.initializers)
        ]

    for ours, theirs in zip(*both(jax.random.key(seed)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=4 * EPS, atol=EPS)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("scale", [1.0, 0.1, 0.011, 3e-3, 1e-5])
def test_uniform_never_reaches_its_open_end(dtype, scale):
    with jax.enable_x64(dtype == jnp.float64):
        w = np.float64(initializers.uniform(scale)(jax.random.key(0), (300_000,), dtype))
        if dtype == jnp.bfloat16:
            # 1.2e5 chances of 2^-9 to round up, and to reach the end before it was open
            assert w.max() > scale * (1 - 2**-6)
    assert w.min() >= 0
    assert w.max() < scale


BOUNDS = {  # the largest size that a law promises, of weights of standard deviation one
    "uniform": math.sqrt(3),
    "truncated_normal": 2 / CUT,
}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("distribution", BOUNDS)
def test_half_precision_does_not_round_beyond_the_bound(distribution, dtype):
    for fan_in in (600, 77, 3):
        init = variance_scaling(1.0, "fan_in", distribution)
        w = np.float64(init(jax.random.key(fan_in), (fan_in, 200_000 // fan_in), dtype))
        # three roundings in float32: the root, the factor, the product
        assert np.abs(w).max() <= BOUNDS[distribution] / math.sqrt(fan_in) * (1 + 2 * EPS)
    if distribution == "truncated_normal":
        cut = scipy.stats.truncnorm(-3, 3).std()
        w = np.float64(initializers.truncated_normal(0.7, bound=3.0)(jax.random.key(1), (200_000,), dtype))
        assert np.abs(w).max() <= 3 * 0.7 / cut * (1 + 2 * EPS)


def test_weights_too_large_for_half_precision_overflow():
    w = np.float64(initializers.uniform(1e5)(jax.random.key(0), (1000,), jnp.float16))
    assert 200 < np.isinf(w).sum() < 500  # a third of them; none is quietly 65504
    assert np.all(w[np.isfinite(w)] <= 65504)


@pytest.mark.parametrize("window", [(), (3,), (3, 5), (2, 3, 2)])
@pytest.mark.parametrize(("channels", "groups"), [((2, 3), 1), ((4, 1), 1), ((1, 6), 6), ((2, 6), 3), ((1, 6), 1)])
def test_fans_count_connections(window, channels, groups):
    """A kernel of ones on inputs of ones counts the weights into a unit; its transpose, those out of one."""
    shape = (*window, *channels)
    space = tuple(4 * k for k in window)

    def layer(x):
        letters = "DHW"[: len(window)]
        dims = jax.lax.conv_dimension_numbers(x.shape, shape, (f"N{letters}C", f"{letters}IO", f"N{letters}C"))
        return jax.lax.conv_general_dilated(
            x, jnp.ones(shape), (1,) * len(window), "SAME", dimension_numbers=dims, feature_group_count=groups
        )

    x = jnp.ones((1, *space, groups * channels[0]))
    y, transpose = jax.vjp(layer, x)
    middle = (0, *(n // 2 for n in space), 0)
    assert fans(shape, groups=groups) == (y[middle], transpose(jnp.ones_like(y))[0][middle])
    assert fans((7, *shape), batch_axis=0, groups=groups) == fans(shape, groups=groups)
    assert fans(shape[::-1], in_axis=1, out_axis=0, groups=groups) == fans(shape, groups=groups)


def test_fans_of_depthwise_kernels_in_other_layouts():
    assert fans((3, 3, 1, 64), groups=64) == (9, 9)
    assert fans((64, 1, 3, 3), in_axis=1, out_axis=0, groups=64) == (9, 9)  # PyTorch
    assert fans((3, 3, 64, 2), in_axis=(), batch_axis=-2) == (9, 18)  # Keras: two outputs a channel


@pytest.mark.parametrize(
    ("make", "scale"),
    [
        (partial(variance_scaling, 1.5, "fan_out", "normal"), 1.5 / 9),
        (partial(initializers.glorot_normal), 2 / (9 + 9)),
        (partial(initializers.he_uniform), 2 / 9),
        (partial(for_activation, activations.relu, mode="backward"), 2 / 9),
        (partial(for_activation, activations.identity, mode="both"), 2 / (9 + 9)),
    ],
)
def test_variance_of_depthwise_kernels(make, scale):
    w = np.float64(make(groups=4000)(jax.random.key(0), (3, 3, 1, 4000)))
    # 36 000 entries, of excess kurtosis 0 at most: 6 sigma
    assert abs(np.mean(w**2) / scale - 1) < 6 * math.sqrt(2 / w.size)


@pytest.mark.parametrize(("channels", "groups"), [((1, 6), 6), ((2, 6), 3), ((3, 12), 2)])
def test_structured_kernels_of_grouped_convolutions(channels, groups):
    """Each group keeps the norm of its own inputs; the identity hands them on."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, groups * channels[0]))

    def layer(w):
        dims = jax.lax.conv_dimension_numbers(x.shape, w.shape, ("NHWC", "HWIO", "NHWC"))
        y = jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=dims, feature_group_count=groups, precision="highest"
        )
        return y.reshape(*y.shape[:3], groups, -1)

    inputs = x.reshape(*x.shape[:3], groups, -1)
    y = layer(initializers.identity(groups=groups)(K, (3, 3, *channels)))
    np.testing.assert_array_equal(y[..., : channels[0]], inputs)
    np.testing.assert_array_equal(y[..., channels[0] :], 0)
    y = layer(initializers.delta_orthogonal(groups=groups)(K, (3, 3, *channels)))
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=-1), jnp.linalg.norm(inputs, axis=-1), rtol=1e-6)
    w = initializers.orthogonal(groups=groups)(K, (3, 3, *channels))
    for block in np.split(np.asarray(w), groups, -1):
        got = gram(block)
        assert np.max(np.abs(got - np.eye(len(got)))) < 1e-6
    first = initializers.orthogonal(column_axis=0, groups=groups)(K, (channels[1], channels[0], 3, 3))
    for block in np.split(np.asarray(first), groups, 0):
        assert np.max(np.abs(gram(block, 0) - np.eye(channels[1] // groups))) < 1e-6


def test_fans_of_several_axes():
    assert fans((8, 16, 4, 5), in_axis=(0, 1), out_axis=(2, 3)) == (128, 20)  # heads
    assert roles(in_axis=(0, 1), out_axis=(2, 3)).rows((8, 16, 4, 5)) == (0, 1)
    assert fans((9, 3, 3, 6), in_axis=3, out_axis=0, batch_axis=()) == (54, 81)


@pytest.mark.parametrize(
    ("shape", "options", "distribution", "omega", "tau"),
    [
        (CONV, {}, "truncated_normal", 0.0, 1.0),
        (BATCH, {"batch_axis": 0}, "normal", 0.1, 0.95),
        ((30, 4, 6), {"in_axis": (0, 1)}, "uniform", -2.0, 1.5),
        ((4096, 300), {}, "normal", 0.0, 1.0),
        (CONV, {}, "uniform", 0.0, None),
        (BATCH, {"batch_axis": 0}, "normal", None, 1.0),
    ],
)
def test_rows_have_the_sums_that_are_asked_for(shape, options, distribution, omega, tau):
    init = variance_scaling(1.3, "fan_in", distribution, omega=omega, tau=tau, **options)
    w = np.asarray(init(jax.random.key(1), shape), np.float64)
    rows = roles(**options).rows(shape)
    # Each weight is rounded a few times, of sizes whose squares sum to tau or thereabouts: errors of a few eps add up.
    # So do those of the sums themselves, which XLA takes in an order of its release and processor (9 eps seen).
    if omega is not None:
        assert np.max(np.abs(w.sum(rows) - omega)) < 32 * EPS * max(1, abs(omega))
    if tau is not None:
        assert np.max(np.abs((w**2).sum(rows) - tau)) < 32 * EPS * tau
    else:
        # Centred rows keep the variance of a weight: a z-test with 6 sigma, uniform kurtosis or larger.
        spread = math.sqrt(2 / w.size)
        assert abs((w**2).mean() * fans(shape, **options).fan_in / 1.3 - 1) < 6 * spread


def test_row_sums_may_be_traced_and_mapped():
    key = jax.random.key(0)

    def draw(scale, omega, tau):
        return variance_scaling(scale, "fan_in", "normal", omega=omega, tau=tau)(key, (50, 4))

    omegas, taus = jnp.array([0.0, 0.3, 9.0]), jnp.array([1.0, 0.9, 1.0])
    w = jax.jit(jax.vmap(draw))(jnp.ones(3), omegas, taus)
    np.testing.assert_allclose(w.sum(1)[:2], jnp.broadcast_to(omegas[:2, None], (2, 4)), atol=8 * EPS)
    np.testing.assert_allclose((w**2).sum(1)[:2], jnp.broadcast_to(taus[:2, None], (2, 4)), rtol=8 * EPS)
    assert np.all(np.isnan(w[2]))  # 9^2/50 > 1


def gram(w, columns=-1):
    """The smaller Gram matrix of the kernel's flattening, in float64."""
    w = np.moveaxis(np.asarray(w, np.float64), columns, -1)
    w = w.reshape(-1, w.shape[-1])
    return w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T


@pytest.mark.parametrize(
    ("shape", "column_axis"),
    [
        *(((64, 64), -1), ((300, 40), -1), ((40, 300), -1), ((40, 300), 0), ((1, 5), -1), ((5, 1), -1)),
        *(((3, 3, 16, 32), -1), ((3, 3, 2, 64), -1), ((8, 3, 3, 4), 0), ((512, 512), -1)),
    ],
)
def test_orthogonal_to_1e_6(shape, column_axis):
    w = initializers.orthogonal(column_axis=column_axis)(jax.random.key(0), shape)
    assert w.shape == shape
    got = gram(w, column_axis)
    assert np.max(np.abs(got - np.eye(len(got)))) < 1e-6
    half = initializers.orthogonal(0.5, column_axis=column_axis)(jax.random.key(0), shape)
    np.testing.assert_allclose(half, w / 2, rtol=EPS)


def test_orthogonal_in_double_and_half(x64):
    w = initializers.orthogonal()(jax.random.key(0), (200, 30))
    assert w.dtype == jnp.float64
    assert np.max(np.abs(gram(w) - np.eye(30))) < 1e-14
    half = initializers.orthogonal()(jax.random.key(0), (200, 30), jnp.bfloat16)
    assert np.max(np.abs(gram(half) - np.eye(30))) < 2**-8  # every entry is rounded to 2^-9 of itself


def test_orthogonal_is_uniform():
    """Haar matrices: the first column is uniform on the sphere, every column sign equally likely, trace as theory.

    Four tests at 2.5e-5: a total false-alarm rate of 1e-4. Without the sign fix of QR the diagonal would be negative.
    """
    keys = jax.random.split(jax.random.key(5), 4000)
    q = np.asarray(jax.jit(jax.vmap(lambda k: initializers.orthogonal()(k, (3, 3))))(keys), np.float64)
    p = [scipy.stats.kstest(q[:, i, j], "uniform", (-1, 2)).pvalue for i, j in ((0, 0), (2, 2), (1, 2))]  # Archimedes
    p.append(scipy.stats.binomtest(int((np.linalg.det(q) > 0).sum()), 4000).pvalue)
    assert min(p) > 2.5e-5


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 3, 8, 20), (5, 4, 20, 8), (3, 2, 3, 4, 9)])
def test_delta_orthogonal_keeps_norms(shape):
    w = initializers.delta_orthogonal()(jax.random.key(0), shape)
    center = tuple((k - 1) // 2 for k in shape[:-2])
    got = gram(w[center])
    assert np.max(np.abs(got - np.eye(len(got)))) < 1e-6
    assert np.count_nonzero(w) == np.count_nonzero(w[center])
    letters = "DHW"[: len(shape) - 2]
    specification = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    x = jax.random.normal(jax.random.key(1), (2, *(6,) * len(letters), shape[-2]))
    dims = jax.lax.conv_dimension_numbers(x.shape, shape, specification)
    layer = partial(
        jax.lax.conv_general_dilated, window_strides=(1,) * len(letters), padding="SAME", dimension_numbers=dims
    )

    @jax.jit
    def there_and_back(x):
        y, transpose = jax.vjp(lambda x: layer(x, w, precision="highest"), x)
        return y, transpose(y)[0]

    y, back = there_and_back(x)
    widest, other = (x, y) if shape[-2] <= shape[-1] else (y, back)
    np.testing.assert_allclose(jnp.linalg.norm(other), jnp.linalg.norm(widest), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (3, 3, 4, 4), (4, 3, 6)])
def test_identity(shape):
    w = initializers.identity(1.5)(jax.random.key(0), shape)
    center = tuple((k - 1) // 2 for k in shape[:-2])
    np.testing.assert_array_equal(w[center], 1.5 * np.eye(*shape[-2:]))
    assert np.count_nonzero(w) == min(shape[-2:])


@pytest.mark.parametrize(("shape", "options"), SHAPES.items())
@pytest.mark.parametrize("sparsity", [0.0, 0.33, 0.9])
def test_sparse_rows(shape, options, sparsity):
    w = np.asarray(initializers.sparse(sparsity, **options)(jax.random.key(2), shape))
    rows = roles(**options).rows(shape)
    n = fans(shape, **options).fan_in
    kept = n - math.ceil(sparsity * n)
    assert np.all((w != 0).sum(rows) == kept)
    assert min(verdict(w[w != 0], law("normal", kept**-0.5))) > 1e-5
    # Places are uniform: how often each is used, over the units (6 sigma of a binomial count).
    units = w.size // n
    used = np.moveaxis(w != 0, rows, range(len(rows))).reshape(n, -1).sum(1)
    assert np.max(np.abs(used - units * kept / n)) <= 6 * math.sqrt(units * kept / n * (1 - kept / n)) + 1e-9


def test_sparse_stddev():
    w = initializers.sparse(0.5, 0.2)(jax.random.key(0), DENSE)
    assert min(verdict(w[w != 0], law("normal", 0.2))) > 1e-5


# E[phi(z)^2] and E[phi'(z)^2] under N(0, 1), 15 digits by mpmath.quad split at the kinks.
MOMENTS = {
    "relu": (0.5, 0.5),
    "identity": (1.0, 1.0),
    "selu": (1.0, 1.07157499245579925),
    "hard_tanh": (0.516058551008692, 0.682689492137086),  # 1 - 2 phi(1); 2 Phi(1) - 1
    "erf": (0.464586, None),  # 2/pi asin(2/3)
}


@pytest.mark.parametrize("name", ["relu", "identity", "selu", "hard_tanh"])
def test_gains_of_the_moments(name):
    value, slope = MOMENTS[name]
    phi, key, shape = activations.ELEMENTWISE[name], jax.random.key(0), (120, 80)
    standard = np.asarray(variance_scaling(1.0, "fan_in", "truncated_normal")(key, shape)) * math.sqrt(120)
    for mode, variance in {
        "forward": 1 / (120 * value),
        "backward": 1 / (80 * slope),
        "both": 2 / (120 * value + 80 * slope),
    }.items():
        got = for_activation(phi, mode=mode)(key, shape)
        # Quadrature in float32: 16 eps, and half of that on the square root
        np.testing.assert_allclose(got, standard * math.sqrt(variance), rtol=16 * EPS)


def test_gains_of_the_known_laws():
    key = jax.random.key(3)
    for shape in (DENSE, CONV):
        he, glorot = initializers.he_normal()(key, shape), initializers.glorot_normal()(key, shape)
        np.testing.assert_allclose(for_activation(activations.relu)(key, shape), he, rtol=8 * EPS)
        np.testing.assert_allclose(for_activation(lambda z: z, mode="both")(key, shape), glorot, rtol=8 * EPS)


def test_a_kinked_activation_needs_its_own_kinks():
    """Why the gain asks for them: split at 0 alone, the gain of hard_tanh is off in the third digit."""
    key, shape = jax.random.key(0), (100, 100)
    clip = lambda z: jnp.clip(z, -1, 1)
    own = for_activation(activations.hard_tanh, mode="backward")(key, shape)
    given = for_activation(clip, mode="backward", kinks=(-1.0, 1.0))(key, shape)
    found = for_activation(clip, mode="backward")(key, shape)
    blind = for_activation(clip, mode="backward", kinks=(0.0,))(key, shape)
    np.testing.assert_allclose(own, given, rtol=8 * EPS)
    np.testing.assert_allclose(own, found, rtol=8 * EPS)
    assert np.max(np.abs(blind / own - 1)) > 1e-3


@pytest.mark.parametrize(
    ("phi", "var"), [(jnp.tanh, 1.0), (jax.nn.gelu, 0.3), (jax.nn.silu, 1.0), (lambda z: jnp.sin(3 * z) + 0.2, 0.3)]
)
def test_deep_networks_of_any_activation_stay_at_var(phi, var):
    """Five layers of 1000 units keep q, as only an exact gain does; sampling moves a layer's q by some sqrt(8/1000)."""
    kernel = for_activation(phi, var=var)
    z = math.sqrt(var) * jax.random.normal(jax.random.key(0), (1000, 20))
    start = z
    for key in jax.random.split(jax.random.key(1), 5):
        z = kernel(key, (1000, 1000)).T @ phi(z)
    assert abs(jnp.mean(z**2) / jnp.mean(start**2) - 1) < 0.2


def test_backward_mode_keeps_the_squared_gradient():
    kernel = for_activation(jnp.tanh, mode="backward")
    z = jax.random.normal(jax.random.key(0), (1000, 20))
    w = kernel(jax.random.key(1), (1000, 3000))
    g = jax.random.normal(jax.random.key(2), (3000, 20))
    (back,) = jax.vjp(lambda z: w.T @ jnp.tanh(z), z)[1](g)
    # 4 sigma: the ratio's spread is about sqrt(2/1000) over units
    assert abs(jnp.mean(back**2) / jnp.mean(g**2) - 1) < 0.2


def test_gains_of_traced_activations():
    def spread(slope):
        phi = partial(activations.leaky_relu, negative_slope=slope)
        return for_activation(phi)(jax.random.key(0), (100, 100)).std()

    slopes = jnp.array([0.0, 0.2, 1.0])
    ratios = jax.jit(jax.vmap(spread))(slopes)
    # E[phi^2] = (1 + slope^2)/2
    np.testing.assert_allclose(ratios / ratios[2], np.sqrt(2 / (1 + slopes**2)), rtol=16 * EPS)


EVERY = {
    **{name: getattr(initializers, name)() for name in ("zeros", "ones", "identity", "normal", "truncated_normal")},
    **{
        f"{a}_{b}": getattr(initializers, f"{a}_{b}")()
        for a in ("glorot", "he", "lecun")
        for b in ("normal", "uniform")
    },
    "constant": initializers.constant(0.5),
    "uniform": initializers.uniform(),
    "rows": initializers.lecun_normal(omega=0.0, tau=1.0),
    "variance_scaling": variance_scaling(1.0, "fan_geo_avg", "normal"),
    "orthogonal": initializers.orthogonal(),
    "delta_orthogonal": initializers.delta_orthogonal(),
    "sparse": initializers.sparse(0.5),
    "for_activation": for_activation(activations.gelu),
}


@pytest.mark.parametrize("name", EVERY)
def test_protocol(name):
    init, shape = EVERY[name], (3, 4, 6)
    w = init(jax.random.key(0), shape)
    assert (w.shape, w.dtype) == (shape, jnp.float32)  # the other types, jit and vmap: test_laws.py
    np.testing.assert_array_equal(init(jax.random.PRNGKey(0), shape), w)  # raw keys
    for half in (jnp.bfloat16, jnp.float16):
        np.testing.assert_array_equal(init(jax.random.key(0), shape, half), w.astype(half))
    assert init(jax.random.key(0), (3, 0, 6)).shape == (3, 0, 6)
    for bad in (jnp.complex64, jnp.int32, bool):
        with pytest.raises(TypeError, match=f"`dtype` must be a real floating type; got {jnp.dtype(bad)}"):
            init(jax.random.key(0), shape, bad)


@pytest.mark.parametrize("bound", [0.5, 2.0, 8.0])
def test_a_law_cut_in_float64_draws_what_jax_draws(bound, x64):
    """By programs of its own, so to rounding: of erf_inv near the ends that is 1e5 roundings of a share."""
    key, shape = jax.random.key(1), (20_000,)
    ours = initializers.truncated_normal(1.0, bound=bound)(key, shape)
    theirs = jax.random.truncated_normal(key, -bound, bound, shape)
    stddev = scipy.stats.truncnorm(-bound, bound).std()
    assert ours.dtype == jnp.float64
    np.testing.assert_allclose(ours * stddev, theirs, rtol=1e-9)
    assert abs(ours).max() <= bound / stddev * (1 + 1e-12)


def test_no_initializer_reads_the_bits_of_a_float64(x64):
    """A TPU has none: its float64 is a pair of float32 (jax issue 30629)."""
    draw = jax.jit(lambda key: [init(key, (3, 4, 6), jnp.float64) for init in EVERY.values()])
    text = jax.export.export(draw, platforms=["tpu"])(jax.random.key(0)).mlir_module()
    assert "f64>" in text
    assert not re.search(r"bitcast_convert .*: \(tensor<[^>]*f64>\)|next_after .*f64>", text)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("name", ["zeros", "rows", "orthogonal"])
def test_out_sharding(name, kind):
    mesh = jax.make_mesh((1,), ("units",), (kind,))
    sharding = NamedSharding(mesh, PartitionSpec(None, "units"))
    w = EVERY[name](jax.random.key(0), (4, 6))
    placed = EVERY[name](jax.random.key(0), (4, 6), out_sharding=sharding)
    assert placed.sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_allclose(placed, w, rtol=4 * EPS, atol=EPS)
    with jax.set_mesh(mesh):
        placed = EVERY[name](jax.random.key(0), (4, 6), out_sharding=PartitionSpec(None, "units"))
    assert placed.sharding.is_equivalent_to(sharding, 2)


@pytest.mark.parametrize("name", EVERY)
def test_drops_into_flax(name):
    init = EVERY[name]
    conv = {"features": 6, "kernel_size": (3,), "kernel_init": init, "bias_init": initializers.zeros()}
    params = nn.Conv(**conv).init(jax.random.key(0), jnp.ones((2, 8, 4)))["params"]
    assert params["kernel"].shape == (3, 4, 6)
    layer = nnx.Conv(4, 6, (3,), kernel_init=init, bias_init=initializers.zeros(), rngs=nnx.Rngs(0))
    assert layer.kernel[...].shape == (3, 4, 6)
    if name == "delta_orthogonal":
        return
    half = nn.Dense(6, kernel_init=init, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    params = half.init(jax.random.key(0), jnp.ones((2, 4), jnp.bfloat16))["params"]
    assert (params["kernel"].shape, params["kernel"].dtype) == ((4, 6), jnp.bfloat16)
    layer = nnx.Linear(4, 6, kernel_init=init, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(layer.kernel[...], init(nnx.Rngs(0).params(), (4, 6)), rtol=4 * EPS)
    if name != "for_activation":
        return
    heads = nn.MultiHeadDotProductAttention(2, qkv_features=8, kernel_init=init)
    assert heads.init(jax.random.key(0), jnp.ones((1, 3, 4)))["params"]["query"]["kernel"].shape == (4, 2, 4)


def test_drops_into_haiku_and_equinox():
    eqx, hk = pytest.importorskip("equinox"), pytest.importorskip("haiku")
    init = initializers.orthogonal()
    layer = eqx.nn.Linear(4, 6, key=jax.random.key(0))
    layer = eqx.tree_at(lambda m: m.weight, layer, init(jax.random.key(1), layer.weight.shape))
    assert np.max(np.abs(gram(layer.weight) - np.eye(4))) < 1e-6
    f = hk.transform(lambda x: hk.Linear(6, w_init=lambda shape, dtype: init(hk.next_rng_key(), shape, dtype))(x))
    assert np.max(np.abs(gram(f.init(jax.random.key(0), jnp.ones((1, 4)))["linear"]["w"]) - np.eye(4))) < 1e-6


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: variance_scaling(1.0, "fan_inn", "normal"),
            "`mode` must be one of fan_in, fan_out, .*; got 'fan_inn'",
        ),
        (
            lambda: variance_scaling(1.0, "fan_in", "gauss"),
            "`distribution` must be one of .*, normal, uniform; got 'gauss'",
        ),
        (lambda: variance_scaling(-1.0, "fan_in", "normal"), "`scale` must satisfy scale >= 0; got -1.0"),
        (lambda: initializers.he_normal(tau=0.0), "`tau` must satisfy tau > 0; got 0.0"),
        (
            lambda: initializers.he_normal(omega=3.0, tau=1.0)(K, (4, 2)),
            r"`tau` must satisfy tau - omega\^2/n > 0 for n = 4 weights; got -1.25",
        ),
        (lambda: initializers.he_normal(omega=0.0)(K, (1, 2)), "`omega` needs at least two weights to a unit; got 1"),
        (lambda: initializers.normal(-0.1), "`stddev` must satisfy stddev >= 0; got -0.1"),
        (lambda: initializers.truncated_normal(bound=0.0), "`bound` must satisfy 0.01 <= bound <= 8; got 0.0"),
        (lambda: initializers.sparse(1.0), "`sparsity` must satisfy 0 <= sparsity < 1; got 1.0"),
        (lambda: initializers.sparse(0.9)(K, (5, 2)), "`sparsity` must leave a weight to each unit of 5; got 0.9"),
        (lambda: initializers.sparse(0.5, -1.0), "`stddev` must satisfy stddev >= 0; got -1.0"),
        (lambda: initializers.he_normal()(K, (4,)), r"`in_axis` must name an axis of the shape \(4,\); got -2"),
        (
            lambda: initializers.he_normal(out_axis=0)(K, (4, 2)),
            "`in_axis`, `out_axis` and `batch_axis` must be distinct; axis 0 is named twice",
        ),
        (lambda: initializers.normal()(K, (3, -2)), "`shape` must be a whole number >= 0; got -2"),
        (lambda: initializers.orthogonal()(K, (4,)), r"`shape` must have at least 2 axes; got \(4,\)"),
        (lambda: initializers.orthogonal(column_axis=2)(K, (4, 3)), r"`column_axis` must be an axis of .*; got 2"),
        (lambda: initializers.delta_orthogonal()(K, (4, 3)), r"`shape` must have at least 3 axes; got \(4, 3\)"),
        (lambda: initializers.identity()(K, (4,)), r"`shape` must have at least 2 axes; got \(4,\)"),
        (lambda: for_activation(jnp.tanh, mode="up"), "`mode` must be one of forward, backward, both; got 'up'"),
        (lambda: for_activation(jnp.tanh, distribution="t"), "`distribution` must be one of"),
        (lambda: for_activation(jnp.tanh, var=0.0), "`var` must satisfy var > 0; got 0.0"),
        (lambda: fans((3, 3, 1, 64), groups=0), "`groups` must be a whole number >= 1; got 0"),
        (lambda: fans((3, 3, 1, 64), groups=6), "`groups` must divide the 64 units of `out_axis`; got 6"),
        (lambda: initializers.he_normal(groups=6)(K, (3, 3, 1, 64)), "`groups` must divide the 64 units"),
        (lambda: initializers.he_normal(groups=1.5), "`groups` must be a whole number >= 1; got 1.5"),
        (lambda: initializers.orthogonal(groups=0), "`groups` must be a whole number >= 1; got 0"),
        (lambda: initializers.identity(groups=4)(K, (2, 6)), "`groups` must divide the 6 outputs; got 4"),
        (lambda: initializers.delta_orthogonal(groups=4)(K, (3, 2, 6)), "`groups` must divide the 6 outputs; got 4"),
        (lambda: for_activation(lambda z: 0 * z), r"`phi` must have a finite E\[phi\(z\)\^2\] > 0; got 0.0"),
        (lambda: for_activation(jnp.sqrt), r"`phi` must have a finite E\[phi\(z\)\^2\] > 0; got nan"),
        (lambda: for_activation(jnp.sign, mode="both"), r"`phi` must have a finite E\[phi'\(z\)\^2\] > 0; got 0.0"),
        (lambda: for_activation(jnp.sum), r"`f` must act elementwise"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


NAMED = ("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform")
OTHERS = ("constant", "delta_orthogonal", "identity", "normal", "orthogonal", "sparse", "truncated_normal", "uniform")


@pytest.mark.parametrize("name", [*NAMED, *OTHERS, "variance_scaling", "for_activation"])
@pytest.mark.parametrize("key", [jax.random.key(0), jax.random.PRNGKey(0)])
def test_a_factory_says_so_where_an_initializer_is_asked_for(name, key):
    call = rf"`kernel_init={name}\((\.\.\.)?\)`"
    with pytest.raises(TypeError, match=rf"`{name}` makes an initializer and is called as {name}\(.*; .*{call}"):
        getattr(initializers, name)(key, (3, 4), jnp.float32)
    with pytest.raises(TypeError, match=call):
        jax.jit(lambda key: getattr(initializers, name)(key, (3, 4), jnp.float32))(key)
    with pytest.raises(TypeError, match=rf"{call}"):
        nn.Dense(3, kernel_init=getattr(initializers, name)).init(key, jnp.ones((2, 4)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: initializers.he_normal(dtype=jnp.bfloat16), r"he_normal\(in_axis=-2,.*unexpected.* 'dtype'"),
        (lambda: initializers.normal(0.1, jnp.float32), r"normal\(stddev=0.01\)\(key, shape, dtype\); too many"),
        (lambda: variance_scaling(2.0), r"variance_scaling\(scale, mode, .*missing a required argument: 'mode'"),
        (lambda: for_activation("relu"), r"`phi` must be a function, such as activations\.relu; got 'relu'"),
        (lambda: for_activation("swish"), r"`phi` must be a function, such as activations\.relu; got 'swish'"),
        (lambda: for_activation(["tanh"]), r"`phi` must be a function, such as activations\.relu; got \['tanh'\]"),
        (lambda: initializers.he_normal()(K, 5), r"`shape` must be a sequence of whole numbers, such as .*; got 5"),
        (lambda: initializers.normal()((3, 4), K), r"`shape` must be a sequence of whole numbers"),
    ],
)
def test_misused_factories_say_what_to_write(call, text):
    with pytest.raises(TypeError, match=text):
        call()


@pytest.mark.parametrize(("name", "value"), [("zeros", 0), ("ones", 1)])
def test_zeros_and_ones_are_initializers_too(name, value):
    init = getattr(initializers, name)
    for made in (init, init()):
        for dtype in (None, jnp.bfloat16):
            w = made(K, (2, 3), dtype)
            assert w.dtype == (dtype or jnp.float32)
            np.testing.assert_array_equal(w, np.full((2, 3), value))
    params = nn.Dense(3, bias_init=init).init(K, jnp.ones((2, 4)))["params"]
    np.testing.assert_array_equal(params["bias"], np.full(3, value))
    layer = nnx.Linear(4, 3, bias_init=init, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer.bias[...], np.full(3, value))
    with pytest.raises(TypeError, match="`shape` must be a sequence"):
        init(K)


def test_complex_values_are_refused():
    with pytest.raises(TypeError, match="`value` must hold real numbers; got dtype complex64"):
        initializers.constant(1j)


def compiled(call):
    """How many programs XLA compiles for a call."""
    seen = []
    listen = lambda event, *_, **__: seen.append(event) if event.endswith("backend_compile_duration") else None
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(call())
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(seen)


FACTORIES = {
    "constant": lambda x: initializers.constant(x),
    "normal": lambda x: initializers.normal(x),
    "truncated_normal": lambda x: initializers.truncated_normal(x, bound=1 + x),
    "uniform": lambda x: initializers.uniform(x),
    "rows": lambda x: variance_scaling(x, "fan_avg", "uniform", omega=x, tau=1 + x, in_axis=[-2]),
    "he_normal": lambda x: initializers.he_normal(),
    "orthogonal": lambda x: initializers.orthogonal(x),
    "delta_orthogonal": lambda x: initializers.delta_orthogonal(x),
    "identity": lambda x: initializers.identity(x),
    "sparse": lambda x: initializers.sparse(0.5, x),
    "for_activation": lambda x: for_activation(lambda z: jnp.tanh(z) + 0.5, var=x),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_one_program_serves_a_law_whoever_made_it_anew(name):
    """An eager call is one program, and another initializer of the same kind, with other numbers, uses it too."""
    shape = (3, 5, 7)
    assert compiled(lambda: FACTORIES[name](0.25)(jax.random.key(0), shape)) > 0
    assert compiled(lambda: FACTORIES[name](0.5)(jax.random.key(1), shape)) == 0


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_sharded_draw_compiles_once(kind):
    sharding = NamedSharding(jax.make_mesh((1,), ("units",), (kind,)), PartitionSpec(None, "units"))
    draw = lambda seed: initializers.he_normal()(jax.random.key(seed), (5, 9), out_sharding=sharding)
    assert compiled(lambda: draw(0)) > 0
    assert compiled(lambda: draw(1)) == 0


@pytest.mark.parametrize(
    ("phi", "mode"), [(lambda z: 0 * z, "forward"), (jnp.sqrt, "forward"), (jnp.sign, "backward"), (jnp.sign, "both")]
)
def test_a_useless_activation_gives_nan_inside_jit(phi, mode):
    w = jax.jit(lambda key: for_activation(phi, mode=mode)(key, (3, 4)))(K)
    assert np.all(np.isnan(w))


def test_numbers_on_a_device_are_not_fetched_to_be_looked_at():
    bad = jnp.asarray(-1.0)
    assert np.all(np.isnan(variance_scaling(bad, "fan_in", "normal")(K, (3, 4))))
    assert np.all(np.isnan(variance_scaling(1.0, "fan_in", "normal", omega=0.0, tau=bad)(K, (3, 4))))
