import jax
import numpy as np
import pytest
from scipy import stats

from jnorm.statistics import _samples as samples
from jnorm.statistics._location import iqm, mean, median

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")


def draws(seed, *shape):
    return np.random.default_rng(seed).exponential(size=shape)


def sliced_iqm(x):
    """The integral of the step function of sorted values over the middle half, by brute force."""
    x = np.repeat(np.sort(x), 4)  # each value four quarters wide: the cuts at n/4 fall between quarters
    return x[len(x) // 4 : -(len(x) // 4)].mean()


@pytest.mark.parametrize("n", [1, 2, 3, 6, 13, 64])
def test_location(n, x64):
    x = draws(n, 3, n)
    got = jax.jit(lambda x: [f(x, axis=1) for f in (mean, median, iqm)])(x)
    exact = [x.mean(1), np.median(x, 1), [sliced_iqm(row) for row in x]]
    np.testing.assert_allclose(got, exact, rtol=1e-14)  # sums of up to 64 terms in float64
    if n % 4 == 0:
        np.testing.assert_allclose(got[2], stats.trim_mean(x, 0.25, axis=1), rtol=1e-14)


def test_one_outlier_does_not_move_the_middle():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1e30])
    assert iqm(x, axis=0) == iqm(y, axis=0)
    assert median(x, axis=0) == median(y, axis=0)


def test_axes():
    x = draws(0, 2, 3, 4)
    np.testing.assert_allclose(iqm(x, axis=(0, 2)), [sliced_iqm(x[:, i].ravel()) for i in range(3)], rtol=1e-6)
    np.testing.assert_allclose(mean(x, axis=-2), x.mean(1), rtol=1e-6)  # float32
    with pytest.raises(ValueError, match=r"`axis` must satisfy -3 <= axis < 3 for `x`; got 3"):
        mean(x, axis=3)
    with pytest.raises(ValueError, match="at least one axis, each once"):
        mean(x, axis=(0, -3))
    with pytest.raises(ValueError, match="at least one value along axis 1"):
        mean(np.ones((2, 0)), axis=1)
    with pytest.raises(ValueError, match="must agree in all axes but 0"):
        samples.both(np.ones((3, 2)), np.ones((3, 4)), 0)
    with pytest.raises(TypeError, match="must hold real numbers"):
        mean(np.array([1j]), axis=0)


@pytest.mark.parametrize("estimator", [mean, median, iqm])
def test_diverged_runs(estimator):
    x = np.array([[3.0, np.nan, 1.0, 2.0, 8.0], [1.0, 2.0, 3.0, 4.0, 5.0], [np.nan] * 5])
    skipped = estimator(x, axis=1, diverged="exclude")
    assert skipped[0] == estimator(x[0, [0, 2, 3, 4]], axis=0)
    np.testing.assert_array_equal(np.isnan(skipped), [False, False, True])
    np.testing.assert_array_equal(np.isnan(estimator(x, axis=1)), [True, False, True])
    with pytest.raises(ValueError, match=r"`diverged` must be one of nan, exclude; got 'worst'"):
        estimator(x, axis=1, diverged="worst")


def test_lists_are_arrays_and_tuples_of_axes():
    assert mean([[1.0, 2.0], [3.0, 6.0]], axis=[0, 1]) == 3
    assert mean(x=[1.0, 2.0], axis=0) == 1.5
