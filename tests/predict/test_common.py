"""What units have in common, where one weight mixes positions of all of them, against real initializations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.models import Mixer, data, linen
from jnorm.predict import Law, predict
from tests.predict.real import gradients, measured

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)


def test_channels_have_what_their_mean_makes_in_common():
    """Of relus that are mixed, the average over channels has the share ``(E relu)^2 / E relu^2 = 1/pi``."""

    def mixed(w, x):
        return jax.nn.relu(jnp.swapaxes(x @ w[0], 0, 1) @ w[1]) @ w[2]  # [channels, positions]

    shapes = [(32, 256), (16, 256), (256, 64)]
    laws = [Law("normal", 1 / s[0]) for s in shapes]
    x = jax.random.normal(KEY, (16, 32))

    def second(f):
        return predict(lambda w, x: f(mixed(w, x)), [jnp.zeros(s) for s in shapes], x, laws=laws)[-1].second

    whole = second(lambda y: 2.0 * y) / 4
    assert second(lambda y: y.mean(0)) / whole == pytest.approx(1 / np.pi, rel=1e-9)
    assert second(lambda y: y - y.mean(0, keepdims=True)) / whole == pytest.approx(1 - 1 / np.pi, rel=1e-9)


@pytest.mark.thorough
def test_a_mixer():
    """As far as the benchmark asks, and four standard errors."""
    apply, draw, x = linen(Mixer(2), data(2, 16, 32))
    draw = jax.jit(draw)
    found = predict(apply, draw(KEY), x, gradients=True)
    mean, error = measured(apply, draw, x, 32)
    got = np.array([row.second for row in found])
    assert np.all(np.abs(got / mean - 1) <= 0.06 + 4 * error / mean)
    mean, error = gradients(apply, draw, x, 32)
    for (name, value), m, e in zip(found.parameters.items(), mean, error, strict=False):
        if m < 1e-9 * mean.max():  # by what a norm takes off
            assert value == 0.0, name
        else:
            assert abs(value / m - 1) <= 0.1 + 4 * e / m, (name, value, m, e)
