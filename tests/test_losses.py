from contextlib import nullcontext

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
import scipy.special
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from jnorm import losses

pytestmark = pytest.mark.usefixtures("unoptimized")

EPS = float(np.finfo(np.float32).eps)
GAPS = [0.0, 1e-3, -0.7, 3.0, 20.0, -20.0, 80.0, -80.0, 1e4, -1e4]
LOGITS = np.array([[0.0, gap, gap / 3] for gap in GAPS], np.float32)


def surprisals(row):
    """-log softmax of a row, in 50 digits."""
    with mpmath.workdps(50):
        z = [mpmath.mpf(float(v)) for v in row]
        top = max(z)
        total = [mpmath.log(sum(mpmath.exp(v - top) for v in z)) + top - v for v in z]
        # Where one entry dominates, log(sum) loses the others even in 50 digits.
        best = z.index(top)
        total[best] = mpmath.log1p(sum(mpmath.exp(v - top) for i, v in enumerate(z) if i != best))
        return total


def slopes(row, t):
    """softmax - t of a one-hot t, in 50 digits and without cancellation."""
    with mpmath.workdps(5000):  # exp(-1e4) beside 1
        z = [mpmath.mpf(float(v)) for v in row]
        e = [mpmath.exp(v - max(z)) for v in z]
        return [float(v / sum(e) - int(i == t)) for i, v in enumerate(e)]


def tolerance(exact, eps):
    """8 roundings of the result, and a few of the exponents: |z|*eps relative; below 1e-38 float32 is flushed."""
    return 8 * eps * np.abs(exact) * np.maximum(1, np.abs(np.log(np.maximum(np.abs(exact), 1e-300)))) + 1e-37


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["numbers", "one-hot"])
def test_softmax_cross_entropy_against_50_digits(form, dtype):
    with jax.enable_x64(dtype == "float64"):
        z = jnp.asarray(LOGITS, dtype)
        eps = float(jnp.finfo(dtype).eps)
        for target in range(3):
            t = jnp.full(len(z), target)
            t = t if form == "numbers" else jax.nn.one_hot(t, 3, dtype=dtype)
            got, slope = smoothed(z, t, 0.0)[1]
            assert got.dtype == z.dtype
            exact = np.array([float(surprisals(row)[target]) for row in LOGITS])
            assert np.all(np.abs(got - exact) <= tolerance(exact, eps))
            exact = np.array([slopes(row, target) for row in LOGITS])
            assert np.all(np.abs(slope - exact) <= tolerance(exact, eps))


def test_the_peer_loses_small_gradients():
    """The oracle sees what is gained: log_softmax rounds the loss of a confident example, and its gradient, to zero."""
    z, t = jnp.array([[20.0, 0.0]]), jnp.array([0])
    peer = jax.grad(lambda v: optax.softmax_cross_entropy_with_integer_labels(v, t).sum())(z)
    ours = jax.grad(lambda v: losses.softmax_cross_entropy(v, t).sum())(z)
    assert peer[0, 0] == 0
    np.testing.assert_allclose(ours, [[-np.exp(-20), np.exp(-20)]], rtol=40 * EPS)


def distributions(seed, shape):
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1])


@jax.jit
def smoothed(z, targets, s):
    """Loss and slope with a traced smoothing, and without any."""
    loss = lambda z, **options: losses.softmax_cross_entropy(z, targets, **options)
    both = lambda **options: (loss(z, **options), jax.grad(lambda v: loss(v, **options).sum())(z))
    return both(smoothing=s), both()


@pytest.mark.parametrize("shape", [(5,), (7, 3), (2, 3, 4), (6, 2)])
def test_soft_targets_and_smoothing_equal_the_definition(shape, x64):
    z = 5 * np.random.default_rng(0).normal(size=shape)
    numbers = np.random.default_rng(1).integers(0, shape[-1], shape[:-1])
    soft = distributions(2, shape)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    # 64 eps: rounding of exponents up to 15 and of sums of up to 5 terms
    tol = 64 * np.finfo(float).eps
    for targets, hard in ((soft, soft), (numbers, np.eye(shape[-1])[numbers])):
        for smoothing in (0.1, 1.0, 0.0):
            t = (1 - smoothing) * hard + smoothing / shape[-1]
            found, plain = smoothed(jnp.asarray(z), targets, smoothing)
            for value, slope in (found, plain) if smoothing == 0 else (found,):
                np.testing.assert_allclose(value, -(t * log_p).sum(-1), rtol=tol, atol=tol)
                np.testing.assert_allclose(slope, np.exp(log_p) - t, atol=tol)


def test_targets_have_gradients_too(x64):
    z, t = np.random.default_rng(3).normal(size=(4, 3)), distributions(4, (4, 3))
    slope = jax.grad(lambda v: losses.softmax_cross_entropy(z, v).sum())(jnp.asarray(t))
    # With the pivot's own weight as what is left: -log p_i, as for any other target.
    np.testing.assert_allclose(slope, -jax.nn.log_softmax(z), rtol=1e-13)


def test_hessian_is_that_of_the_log_partition(x64):
    hessian = jax.jit(jax.hessian(losses.softmax_cross_entropy))
    for gap in (0.0, 3.0, -3.0, 30.0):
        z = jnp.array([0.5, gap, -1.0])
        p = jax.nn.softmax(z)
        exact = jnp.diag(p) - p[:, None] * p[None]
        for t in (jnp.asarray(1), jnp.array([0.0, 1.0, 0.0]), jnp.array([0.2, 0.5, 0.3])):
            got = hessian(z, t)
            np.testing.assert_allclose(got, exact, atol=4e-15)  # 16 eps: a few products of numbers below 1
    ties = jax.hessian(lambda v: losses.softmax_cross_entropy(v, jnp.asarray(0)))(jnp.zeros(2))
    np.testing.assert_allclose(ties, [[0.25, -0.25], [-0.25, 0.25]], atol=4e-15)


def test_classes_ruled_out_by_minus_infinity():
    z = jnp.array([[1.0, -jnp.inf, 0.0], [-jnp.inf, 2.0, -jnp.inf]])
    numbers = jnp.array([0, 1])
    for t in (numbers, jax.nn.one_hot(numbers, 3)):
        value, slope = jax.jit(jax.value_and_grad(lambda v, t: losses.softmax_cross_entropy(v, t).sum()))(z, t)
        np.testing.assert_allclose(value, np.log1p(np.exp(-1)), rtol=4 * EPS)
        p = 1 / (1 + np.exp(-1))
        np.testing.assert_allclose(slope, [[p - 1, 0, 1 - p], [0, 0, 0]], atol=2 * EPS)
    hit = losses.softmax_cross_entropy(z, jnp.array([1, 0]))
    assert np.all(np.isposinf(hit))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_cross_entropy_against_50_digits(dtype):
    with jax.enable_x64(dtype == "float64"), mpmath.workdps(5000):
        z = jnp.asarray(np.float32(GAPS), dtype)
        eps = float(jnp.finfo(dtype).eps)
        for t in (0.0, 1.0):
            targets = jnp.full(len(z), t, dtype)
            got = losses.sigmoid_cross_entropy(z, targets)
            slope = jax.grad(lambda v, targets=targets: losses.sigmoid_cross_entropy(v, targets).sum())(z)
            signs = [mpmath.mpf(float(v)) * (1 - 2 * t) for v in np.float32(GAPS)]
            exact = np.array(
                [float(mpmath.log1p(mpmath.exp(v)) if v < 0 else v + mpmath.log1p(mpmath.exp(-v))) for v in signs]
            )
            z_exact = np.array(signs, float)
            assert np.all(np.abs(got - exact) <= tolerance(exact, eps))
            exact = (1 - 2 * t) * np.array([float(1 / (1 + mpmath.exp(-v))) for v in signs])
            assert np.all(np.abs(slope - exact) <= tolerance(exact, eps) * np.maximum(1, np.abs(z_exact) / 10))


def test_sigmoid_with_soft_targets_and_smoothing(x64):
    z, t = 4 * np.random.default_rng(5).normal(size=(50, 3)), np.random.default_rng(6).random((50, 3))
    loss = lambda z, s: losses.sigmoid_cross_entropy(z, t, smoothing=s)
    both = jax.jit(lambda z, s: (loss(z, s), jax.grad(lambda v: loss(v, s).sum())(z)))
    p = 1 / (1 + np.exp(-z))
    for s in (0.0, 0.2, 1.0):
        soft = (1 - s) * t + s / 2
        got, slope = both(jnp.asarray(z), s)
        # 1 - p cancels here
        np.testing.assert_allclose(got, -soft * np.log(p) - (1 - soft) * np.log1p(-p), rtol=1e-11)
        np.testing.assert_allclose(slope, p - soft, atol=1e-14)
    two = losses.softmax_cross_entropy(np.stack([z, 0 * z], -1), np.stack([t, 1 - t], -1))
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(z, t), two, rtol=1e-13)
    assert np.all(losses.sigmoid_cross_entropy(jnp.array([jnp.inf, -jnp.inf]), jnp.array([1, 0])) == 0)


def test_squared_error_and_hinge():
    p, t = np.float32([[1.0, -2.0], [3e18, 0.5]]), np.float32([[0.5, 1.0], [0.0, 0.5]])
    np.testing.assert_allclose(losses.squared_error(p, t), (p - t) ** 2, rtol=EPS)
    np.testing.assert_allclose(jax.grad(lambda v: losses.squared_error(v, t).sum())(p), 2 * (p - t), rtol=EPS)
    s, y = np.float32([0.3, 1.0, -2.0, 1.0, 5.0]), np.array([1, 1, -1, -1, 1])
    np.testing.assert_allclose(losses.hinge(s, y), [0.7, 0, 0, 2, 0], rtol=2 * EPS)
    np.testing.assert_array_equal(jax.grad(lambda v: losses.hinge(v, y).sum())(s), [-1, 0, 0, 1, 0])


def test_huber_is_scikit_learns_and_does_not_overflow(x64):
    p, t = 3 * np.random.default_rng(10).normal(size=(2, 50))
    both = jax.jit(jax.value_and_grad(lambda v, d: losses.huber(v, t, delta=d).sum()))
    for delta in (0.1, 1.0, 2.5):
        r = p - t
        exact = np.where(np.abs(r) <= delta, r**2 / 2, delta * (np.abs(r) - delta / 2))
        value, slope = both(jnp.asarray(p), delta)
        np.testing.assert_allclose(losses.huber(p, t, delta=delta), exact, rtol=1e-14)
        np.testing.assert_allclose(value, scipy.special.huber(delta, r).sum(), rtol=1e-14)
        np.testing.assert_allclose(slope, np.clip(r, -delta, delta), rtol=1e-14)
    edge = jnp.float32([0.0, 1.0, -1.0, 1e30, -1e30])
    np.testing.assert_allclose(losses.huber(edge, 0 * edge), [0, 0.5, 0.5, 1e30, 1e30], rtol=EPS)
    np.testing.assert_array_equal(jax.grad(lambda v: losses.huber(v, 0 * v).sum())(edge), [0, 1, -1, 1, -1])
    assert np.isnan(jax.jit(lambda d: losses.huber(edge, edge, delta=d))(jnp.float32(-1.0))).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_are_factors_of_the_targets(smoothing, x64):
    rng = np.random.default_rng(11)
    z, numbers, w = 3 * rng.normal(size=(9, 4)), np.array([0, 3, 1, 1, 2, 3, 3, 0, 1]), np.array([0.5, 0.0, 3.0, 1.0])
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    for targets, hard in ((numbers, np.eye(4)[numbers]), (soft := distributions(12, (9, 4)), soft)):
        t = w * ((1 - smoothing) * hard + smoothing / 4)
        loss = lambda v, targets=targets: losses.softmax_cross_entropy(v, targets, smoothing=smoothing, class_weights=w)
        np.testing.assert_allclose(loss(z), -(t * log_p).sum(-1), rtol=1e-13, atol=1e-15)
        slope = jax.grad(lambda v, loss=loss: loss(v).sum())(jnp.asarray(z))
        np.testing.assert_allclose(slope, t.sum(-1, keepdims=True) * np.exp(log_p) - t, atol=1e-14)
    # scikit-learn's weighted mean, with its balanced weights.
    weights = compute_class_weight("balanced", classes=np.arange(4), y=numbers)
    np.testing.assert_allclose(weights, len(numbers) / (4 * np.bincount(numbers, minlength=4)), rtol=1e-15)
    got = losses.softmax_cross_entropy(z, numbers, class_weights=weights)
    peer = log_loss(numbers, np.exp(log_p), sample_weight=weights[numbers], labels=np.arange(4))
    np.testing.assert_allclose(got.sum() / weights[numbers].sum(), peer, rtol=1e-13)


def test_a_weight_of_the_positive_class(x64):
    rng = np.random.default_rng(13)
    z, t = 3 * rng.normal(size=30), rng.integers(0, 2, 30)
    p = 1 / (1 + np.exp(-z))
    got = losses.sigmoid_cross_entropy(z, t, positive_weight=2.5)
    np.testing.assert_allclose(got, -2.5 * t * np.log(p) - (1 - t) * np.log1p(-p), rtol=1e-12)
    many = jax.vmap(lambda w: losses.sigmoid_cross_entropy(z, t, positive_weight=w).sum())(jnp.array([1.0, -1.0]))
    assert np.isnan(many).tolist() == [False, True]


MASKED = [
    (losses.softmax_cross_entropy, [0, 3, 1], [0, -1, 1]),
    (losses.softmax_cross_entropy, np.eye(4)[:3], [[1, 0, 0, 0], [np.nan, -1, np.inf, 0], [0, 0, 1, 0]]),
    (losses.sigmoid_cross_entropy, np.eye(4)[:3], [[1, 0, 0, 0], [np.nan, -1, np.inf, 0], [0, 0, 1, 0]]),
    (losses.squared_error, np.eye(4)[:3], [[1, 0, 0, 0], [np.nan, -1, np.inf, 0], [0, 0, 1, 0]]),
    (losses.huber, np.eye(4)[:3], [[1, 0, 0, 0], [np.nan, -1, np.inf, 0], [0, 0, 1, 0]]),
    (losses.hinge, 2 * np.eye(4)[:3] - 1, [[1, -1, -1, -1], [np.nan, 0, np.inf, 5], [-1, 1, -1, 1]]),
]


@pytest.mark.parametrize(("loss", "_", "dirty"), MASKED)
@pytest.mark.parametrize("known", [False, True])
def test_what_a_mask_leaves_out_has_loss_and_gradient_zero(loss, _, dirty, known):
    z = np.float32([[1.0, -2.0, 0.5, 0.0], [np.nan, np.inf, -np.inf, 1e38], [0.3, 0.2, 0.1, 5.0]])
    t = np.asarray(dirty) if np.ndim(dirty) == 1 else np.float32(dirty)
    mask = np.array([True, False, True])
    mask = mask if np.ndim(dirty) == 1 or loss is losses.softmax_cross_entropy else np.repeat(mask[:, None], 4, 1)
    rest = (slice(None, None, 2),)
    clean, slope = jax.value_and_grad(lambda v: loss(v, jnp.asarray(t[rest])).sum())(jnp.asarray(z[rest]))
    both = jax.value_and_grad(lambda v, m, t: loss(v, t, mask=m).sum())
    # A mask and targets that Python knows, or arrays of which it knows nothing.
    value, got = both(jnp.asarray(z), mask, t) if known else jax.jit(both)(z, mask, t)
    np.testing.assert_allclose(value, clean, rtol=4 * EPS)
    np.testing.assert_allclose(got[rest], slope, rtol=8 * EPS)
    np.testing.assert_array_equal(got[1], 0)
    each = loss(jnp.asarray(z), t, mask=mask)
    np.testing.assert_array_equal(each[1], 0)
    with pytest.raises(ValueError, match="`targets` must") if loss not in NUMBERS else nullcontext():
        loss(jnp.asarray(z), t, mask=np.ones_like(mask))


NUMBERS = (losses.squared_error, losses.huber)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype):
    rng = np.random.default_rng(7)
    z, t = jnp.asarray(8 * rng.normal(size=(40, 6)), dtype), rng.integers(0, 6, 40)
    binary = rng.integers(0, 2, (40, 6))
    for loss, targets in (
        (losses.softmax_cross_entropy, t),
        (losses.sigmoid_cross_entropy, binary),
        (losses.squared_error, binary),
        (losses.huber, binary),
        (losses.hinge, 2 * binary - 1),
    ):
        got = loss(z, targets)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, loss(z.astype(jnp.float32), targets).astype(dtype))


def test_any_integer_type_holds_class_numbers():
    z = np.random.default_rng(8).normal(size=(4, 300)).astype(np.float32)
    t = np.array([0, 7, 200, 255])
    exact = losses.softmax_cross_entropy(z, t)
    for dtype in (np.uint8, np.int16, np.uint32):
        np.testing.assert_array_equal(losses.softmax_cross_entropy(z, t.astype(dtype)), exact)
    with pytest.raises(ValueError, match="`targets` must satisfy 0 <= targets < 10; got 255"):
        losses.softmax_cross_entropy(z[:, :10], np.full(4, 255, np.uint8))


@pytest.mark.parametrize(
    ("loss", "good", "bad"),
    [
        (losses.softmax_cross_entropy, [0, 1, 2], [0, 3, 2]),
        (losses.softmax_cross_entropy, [0, 1, 2], [0, -1, 2]),
        (losses.softmax_cross_entropy, np.eye(3), [[1, 0, 0], [1.5, -0.5, 0], [0, 0, 1]]),
        (losses.sigmoid_cross_entropy, np.eye(3), [[1, 0, 0], [0, 2, 0], [0, 0, 1]]),
        (losses.hinge, 2 * np.eye(3) - 1, [[1, -1, 1], [1, 0, 1], [1, 1, 1]]),
    ],
)
def test_bad_targets_in_jax_arrays_are_nan_in_their_own_example(loss, good, bad):
    z = jnp.asarray(np.random.default_rng(9).normal(size=(3, 3)), jnp.float32)
    dtype = jnp.int32 if np.ndim(bad) == 1 else jnp.float32
    eager = lambda z, t: (loss(z, t), jax.grad(lambda v: loss(v, t).sum())(z))
    for run in (eager, jax.jit(eager)):
        value, slope = run(z, jnp.asarray(bad, dtype))
        per_example = value if value.ndim == 1 else value.sum(-1)
        assert np.isnan(per_example).tolist() == [False, True, False]
        assert np.isnan(slope).any(-1).tolist() == [False, True, False]
        assert np.all(np.isfinite(run(z, jnp.asarray(good, dtype))[1]))


@pytest.mark.parametrize("loss", [losses.softmax_cross_entropy, losses.sigmoid_cross_entropy])
def test_a_traced_smoothing_out_of_range_is_nan_in_its_own_lane(loss):
    z, t = jnp.array([[1.0, -2.0]]), jnp.array([[1.0, 0.0]])
    got = jax.vmap(lambda s: loss(z, t, smoothing=s).sum())(jnp.array([0.0, 1.5, 0.3, -0.1]))
    assert np.isnan(got).tolist() == [False, True, False, True]


SAME = r"`targets` must have the shape of `{}`, \(4,\); got \(4, 1\)"


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: losses.squared_error(jnp.ones(4), jnp.ones((4, 1))), ValueError, SAME.format("predictions")),
        (lambda: losses.squared_error(jnp.ones(4), 1.0), ValueError, r"`predictions`, \(4,\); got \(\)"),
        (lambda: losses.hinge(jnp.ones(4), jnp.ones((4, 1))), ValueError, SAME.format("scores")),
        (lambda: losses.sigmoid_cross_entropy(jnp.ones(4), jnp.ones((4, 1))), ValueError, SAME.format("logits")),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((4, 3)), jnp.zeros((4, 1), int)),
            ValueError,
            r"`targets` must be \[...\] or \[..., classes\] for `logits` \(4, 3\); got \(4, 1\)",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((4, 3)), jnp.zeros((3,), int)),
            ValueError,
            r"for `logits` \(4, 3\); got \(3,\)",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.asarray(1.0), jnp.asarray(0)),
            ValueError,
            r"for `logits` \(\); got \(\)",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((4, 3)), jnp.zeros(4)),
            TypeError,
            r"`targets` of shape \(4,\) are class numbers and must be integers; got float32",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((2, 3)), np.array([0, 3])),
            ValueError,
            "`targets` must satisfy 0 <= targets < 3; got 3",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((2, 3)), [-1, 0]),
            ValueError,
            "`targets` must satisfy 0 <= targets < 3; got -1",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((1, 2)), np.array([[1.5, -0.5]], np.float32)),
            ValueError,
            "`targets` must satisfy targets >= 0; got -0.5",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((1, 2)), jnp.array([0]), smoothing=1.5),
            ValueError,
            "`smoothing` must satisfy 0 <= smoothing <= 1; got 1.5",
        ),
        (
            lambda: losses.sigmoid_cross_entropy(jnp.ones(2), np.array([0, 2])),
            ValueError,
            "`targets` must satisfy 0 <= targets <= 1; got 2",
        ),
        (
            lambda: losses.sigmoid_cross_entropy(jnp.ones(2), jnp.array([0, 1]), smoothing=-0.1),
            ValueError,
            "`smoothing` must satisfy 0 <= smoothing <= 1; got -0.1",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((2, 3)), jnp.array([0, 1]), smoothing=jnp.zeros(2)),
            ValueError,
            r"`smoothing` must be a scalar \(vmap over several\); got shape \(2,\)",
        ),
        (
            lambda: losses.sigmoid_cross_entropy(jnp.ones((2, 3)), jnp.ones((2, 3)), smoothing=jnp.zeros(3)),
            ValueError,
            r"`smoothing` must be a scalar \(vmap over several\); got shape \(3,\)",
        ),
        *(
            (
                lambda t=t: losses.softmax_cross_entropy(jnp.ones((3, 1)), t),
                ValueError,
                r"`logits` must have at least two classes on the last axis; got shape \(3, 1\): .*sigmoid_cross_en",
            )
            for t in (jnp.array([0, 1, 1]), jnp.array([[0], [1], [1]]), jnp.zeros((3, 1)))
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((2, 3)), jnp.array([0, 1]), class_weights=np.ones(2)),
            ValueError,
            r"`class_weights` must have shape \(3,\); got \(2,\)",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((1, 2)), jnp.array([0]), class_weights=[1.0, -2.0]),
            ValueError,
            "`class_weights` must satisfy class_weights >= 0; got -2.0",
        ),
        (
            lambda: losses.sigmoid_cross_entropy(jnp.ones(2), jnp.array([0, 1]), positive_weight=-1.0),
            ValueError,
            "`positive_weight` must satisfy positive_weight >= 0; got -1.0",
        ),
        (
            lambda: losses.squared_error(jnp.ones(2), jnp.ones(2), mask=np.array([1, 0])),
            TypeError,
            "`mask` must hold booleans, True where a loss counts; got dtype int",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((2, 3)), jnp.array([0, 1]), mask=np.ones((2, 3), bool)),
            ValueError,
            r"`mask` must have the shape of the losses, \(2,\); got \(2, 3\)",
        ),
        (
            lambda: losses.huber(jnp.ones(2), jnp.ones(2), delta=0.0),
            ValueError,
            "`delta` must satisfy delta > 0; got 0.0",
        ),
        (lambda: losses.huber(jnp.ones(2), jnp.ones(2), delta=np.ones(2)), ValueError, "`delta` must be a scalar"),
        (lambda: losses.hinge(jnp.ones(2), np.array([0, 1])), ValueError, "`targets` must be -1 or 1; got 0"),
        (
            lambda: losses.squared_error(jnp.array([1, 2]), jnp.array([1, 2])),
            TypeError,
            "`predictions` must have a floating dtype; got int32",
        ),
        (
            lambda: losses.softmax_cross_entropy(jnp.ones((2, 3), int), jnp.zeros(2, int)),
            TypeError,
            "`logits` must have a floating dtype; got int32",
        ),
        (
            lambda: losses.sigmoid_cross_entropy(jnp.ones(2), jnp.ones(2, complex)),
            TypeError,
            "`targets` must hold real numbers; got dtype complex64",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


PARAMS = {
    "layers": [{"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])} for _ in range(11)],
    "scale": jnp.array([-4.0], jnp.bfloat16),
}


@pytest.mark.parametrize(
    ("where", "l1", "l2"),
    [
        (None, 11 * 6 + 4, 11 * 7 + 8),
        ("layers", 11 * 6, 11 * 7),
        ("layers/1", 6, 7),  # and not layers/10
        (("layers/0/kernel", "scale"), 3 + 4, 2.5 + 8),
        (("layers/1", "layers/1/bias"), 6, 7),  # a leaf counts once
        (lambda path, leaf: path.endswith("kernel"), 11 * 3, 11 * 2.5),
        (lambda path, leaf: leaf.ndim == 2, 11 * 3, 11 * 2.5),
    ],
)
def test_penalties_of_chosen_leaves(where, l1, l2):
    for penalty, exact in ((losses.l1_penalty, l1), (losses.l2_penalty, l2)):
        got = penalty(PARAMS, where=where)
        assert got.dtype == jnp.float32
        assert got == exact
        assert jax.jit(lambda p, penalty=penalty: penalty(p, where=where))(PARAMS) == exact


def test_gradients_of_penalties():
    w = {"a": jnp.array([1.0, -2.0, 0.0]), "b": jnp.ones(2)}
    np.testing.assert_array_equal(jax.grad(lambda p: losses.l2_penalty(p, where="a"))(w)["a"], w["a"])
    np.testing.assert_array_equal(jax.grad(lambda p: losses.l1_penalty(p, where="a"))(w)["a"], [1, -1, 0])
    np.testing.assert_array_equal(jax.grad(lambda p: losses.l2_penalty(p, where="a"))(w)["b"], [0, 0])


def test_penalties_in_wide_types(x64):
    params = {"a": jnp.ones(2, jnp.float64), "b": jnp.ones(3, jnp.float32)}
    assert losses.l1_penalty(params).dtype == jnp.float64
    assert losses.l1_penalty(params, where="b").dtype == jnp.float32


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("layers/11", "no leaf under the path `layers/11`; the tree has layers/0/bias, layers/0/kernel, .*, ...$"),
        (("scale", "sc"), "no leaf under the path `sc`"),
        (lambda path, leaf: False, "`where` chooses no leaf; the tree has layers/0/bias"),
    ],
)
def test_a_missing_path_is_an_error(where, text):
    for penalty in (losses.l1_penalty, losses.l2_penalty):
        with pytest.raises(ValueError, match=text):
            penalty(PARAMS, where=where)


def test_a_chosen_leaf_must_hold_floats():
    with pytest.raises(TypeError, match="`params` must have a floating dtype; got int32"):
        losses.l2_penalty({"w": jnp.ones(2), "step": jnp.asarray(3)})
    assert losses.l2_penalty({"w": jnp.ones(2), "step": jnp.asarray(3)}, where="w") == 1
