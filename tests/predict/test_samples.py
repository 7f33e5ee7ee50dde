"""Samples of units: how near they are to the law they stand for, and what a weight of few inputs makes along them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.predict import Law, predict
from jnorm.predict._copies import Copies
from jnorm.predict._pool import Pool

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)


def test_normal_numbers_have_no_chance_moments():
    """Means 0 and covariances 1 of the sample itself, none with numbers before, and each with its opposite."""
    pool = Pool()
    first, then = pool.normal(4096, 8), pool.normal(4096, 5)
    both = np.concatenate([first, then], 1)
    np.testing.assert_allclose(both.T @ both / 4096, np.eye(13), atol=1e-12)
    np.testing.assert_array_equal(both[2048:], -both[:2048])
    assert np.mean(first**4) == pytest.approx(3, abs=5 * (96 / 8 / 2048) ** 0.5)


@pytest.mark.parametrize(("count", "size"), [(4096, 2000), (63, 2)])
def test_normal_numbers_of_few_units_are_plain_draws(count, size):
    drawn = Pool().normal(count, size)
    assert drawn.shape == (count, size)
    assert np.mean(drawn**2) == pytest.approx(1, abs=5 * (2 / drawn.size) ** 0.5)


def test_small_values_are_sampled_often_and_large_ones_seldom():
    counts = [Pool().share(size) for size in (1, 8, 32, 1024, 2**14, 2**20)]
    assert counts == [8192, 8192, 4096, 4096, 256, 64]


def test_copies_are_of_other_units_of_the_same_law():
    class Known:
        size, mean, gaussian, shared, chance, deps = 2, np.zeros(2), True, 0, False, frozenset("k")

        def rows(self, pool):
            return pool.normal(4096, 2)

    index, unit = np.array([0, 1] * 8), np.repeat(np.arange(8), 2)
    rows = Copies(Known(), index, unit, (8,)).rows(Pool())
    np.testing.assert_allclose(rows.T @ rows / 4096, np.eye(16), atol=5 / 64)
    np.testing.assert_array_equal(rows[2048:], -rows[:2048])
    total = rows.reshape(-1, 8, 2).sum(1)  # of copies, as a gradient by a bias
    assert np.mean(total**2) / 8 == pytest.approx(1, abs=5 * (2 * 7 / 8 / 4096) ** 0.5)


def test_the_larger_of_opposites_has_its_second_moment():
    """``max(z, -z)^2 = z^2``, by samples as exact as the Gaussian itself."""
    largest = lambda w, x: jnp.max(jnp.stack([x @ w, -(x @ w)]), 0)
    found = predict(largest, jnp.zeros((16, 256)), jax.random.normal(KEY, (3, 16)), laws=Law("normal", 1 / 16))
    product = next(row for row in found if row.name.endswith("dot_general"))
    assert found[-1].status == "sampled"
    assert found[-1].second == pytest.approx(product.second, rel=1e-9)


@pytest.mark.parametrize("lead", [1, 2])
def test_a_scale_before_a_weight_meets_it_again_in_its_gradient(lead):
    """Of ``z^2 / 2`` it is ``sum_k z_k^2 a_k``: ``3 K E[z^2]^2`` in each example, thrice what a fresh weight makes."""
    positions, outputs = 512, 64

    def apply(w, x):
        h = jnp.swapaxes((x @ w[0]) * w[1][*(None,) * (x.ndim - 1)], -1, -2)  # [example, channel, position]
        return jnp.square(h @ w[2]) / 2

    shapes = [(512, 128), (128,), (positions, outputs)]
    laws = [Law("normal", 1 / 512), Law("known"), Law("normal", 1 / positions)]
    x = jax.random.normal(KEY, (lead, positions, 512))
    found = predict(
        apply, [jnp.zeros(shapes[0]), jnp.ones(shapes[1]), jnp.zeros(shapes[2])], x, laws=laws, gradients=True
    )
    size = jnp.mean(x**2)  # that of h at a position, and of z
    left = 5 * (2 / 4096) ** 0.5 + 2 / positions  # of samples, and of E |h|^4 over (E |h|^2)^2
    assert found.parameters["1"] == pytest.approx(float(3 * lead * outputs * size**2), rel=left)


def test_a_straight_layer_has_the_gradient_of_a_fresh_weight():
    """``sum_k z_k a_k`` of a scale before it: ``K E[z^2]``, in closed form."""
    apply = lambda w, x: jnp.swapaxes((x @ w[0]) * w[1][None], 0, 1) @ w[2]
    laws = [Law("normal", 1 / 64), Law("known"), Law("normal", 1 / 16)]
    x = jax.random.normal(KEY, (16, 64))
    params = [jnp.zeros((64, 128)), jnp.ones(128), jnp.zeros((16, 32))]
    found = predict(apply, params, x, laws=laws, gradients=True)
    assert all(row.status in ("exact", "gaussian") for row in found)
    assert found.parameters["1"] == pytest.approx(float(32 * jnp.mean(x**2)), rel=1e-6)
