from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.statistics._holm import holm, stepped_down

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")


def closed_testing(p):
    """Holm's procedure by its definition: the largest Bonferroni p over all subfamilies that hold the hypothesis."""
    m = len(p)
    families = [f for f in product([False, True], repeat=m) if any(f)]
    return [max(min(1, sum(f) * min(p[j] for j in range(m) if f[j])) for f in families if f[i]) for i in range(m)]


def test_holm_equals_closed_testing(x64):
    rng = np.random.default_rng(6)
    for m in (1, 2, 6):
        p = rng.uniform(size=(4, m)) ** 3
        p[0] = [0.01, 0.01, 0.01, 0.4, 1.0, 0.0][:m]
        got = jax.jit(lambda p: holm(p, axis=1))(p)
        np.testing.assert_allclose(got, [closed_testing(row) for row in p], rtol=1e-15)


def test_holm_along_axes():
    p = jnp.asarray(np.random.default_rng(7).uniform(size=(2, 3, 4)))
    whole, middle = jax.jit(lambda p: (holm(p, axis=(0, 2)), holm(p, axis=1)))(p)
    family = jax.jit(lambda p: holm(p, axis=0))
    for j in range(3):
        np.testing.assert_array_equal(whole[:, j].ravel(), family(p[:, j].ravel()))
    np.testing.assert_array_equal(middle[1, :, 2], family(p[1, :, 2]))
    assert np.all(np.isnan(family(np.array([0.1, np.nan]))))
    with pytest.raises(ValueError, match=r"`p` must satisfy 0 <= p <= 1; got 1.5"):
        holm(np.array([0.1, 1.5]), axis=0)


def test_the_host_and_the_device_agree(x64):
    p = np.random.default_rng(8).uniform(size=200) ** 4
    p[:20] = p[20:40]  # ties
    adjusted, factors = stepped_down(p)
    np.testing.assert_array_equal(adjusted, holm(p, axis=0))  # the same products and maxima
    order = np.argsort(p, kind="stable")
    np.testing.assert_array_equal(factors[order], np.arange(200, 0, -1))
