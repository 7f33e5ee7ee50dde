"""Units as positions: images that are taken as one vector, and operations along units, against real initializations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jnorm.predict import Law, predict
from tests.predict.real import measured
from tests.predict.test_gradients import compare, of
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)
POOLS = {
    "none": lambda z: z[:, ::2, ::2],
    "largest": lambda z: nn.max_pool(z, (2, 2), strides=(2, 2)),
    "average": lambda z: lax.reduce_window(z, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4.0,
    "reshaped": lambda z: z.reshape(z.shape[0], 4, 2, 4, 2, -1).mean((2, 4)),
}


class Flattened(nn.Module):
    """Convolutions, all of whose pixels go into dense layers; ``late`` puts the activation behind the flattening."""

    pool: str = "none"
    late: bool = False
    exit: bool = False

    @nn.compact
    def __call__(self, x):
        x = POOLS[self.pool](nn.tanh(nn.Conv(64, (3, 3))(x)))
        h = nn.Conv(64, (3, 3))(x)
        x = h.reshape(h.shape[0], -1)
        x = nn.Dense(256)(nn.tanh(x) if self.late else x)
        x = nn.Dense(64)(nn.tanh(x))
        return x + nn.Dense(64)(nn.Conv(64, (3, 3))(nn.tanh(h)).mean((1, 2))) if self.exit else x


CASES = {
    "largest, late, and an exit of its own": Flattened("largest", late=True, exit=True),
    **{pool: Flattened(pool) for pool in POOLS},
    "average, late": Flattened("average", late=True),
    "none, and an exit of its own": Flattened("none", exit=True),
}


@pytest.mark.parametrize("name", beside(["largest, late, and an exit of its own"], CASES))
def test_gradients_through_all_pixels_as_one_vector(name):
    rows = compare(*of(CASES[name], jax.random.normal(KEY, (2, 8, 8, 3))), left=0.08)
    assert all(np.isfinite(row.gradient) for row in rows)


ALONG = {
    "windows": lambda z: lax.reduce_window(jnp.tanh(z), 0.0, lax.add, (1, 5), (1, 1), "SAME"),
    "maxima": lambda z: lax.reduce_window(z, -jnp.inf, lax.max, (1, 4), (1, 4), "VALID"),
    "padding": lambda z: jnp.tanh(jnp.pad(z, ((0, 0), (3, 2)))),
    "sums": lambda z: jnp.cumsum(jnp.tanh(z), -1),
}


@pytest.mark.parametrize("name", ALONG)
def test_operations_along_units(name):
    """The moments of the next layer, too, whose weights are one for each of what were units."""
    x, shapes = jax.random.normal(KEY, (3, 16)), [(16, 64), (ALONG[name](jnp.zeros((3, 64))).shape[1], 64)]
    apply = lambda w, x: ALONG[name](x @ w[0]) @ w[1]
    draw = lambda key: [
        jax.random.normal(k, s) / s[0] ** 0.5 for k, s in zip(jax.random.split(key), shapes, strict=True)
    ]
    laws = [Law("normal", 1 / s[0]) for s in shapes]
    rows = predict(apply, [jnp.zeros(s) for s in shapes], x, laws=laws)
    mean, error = measured(apply, jax.jit(draw), x, 256)
    got = np.array([row.second for row in rows])
    assert np.all(np.abs(got - mean) <= 4 * error + 0.02 * mean), (got, mean, error)


def test_gradients_by_numbers_that_all_units_share():
    """Sums over units of what has mean zero are as large as chance makes them, and do not vanish."""

    def apply(p, x):
        h = jnp.tanh(nn.standardize(x @ p["first"]) * p["gain"] + p["shift"])
        return h @ p["then"] * p["scale"]

    def draw(key):
        k = jax.random.split(key)
        weights = {"first": jax.random.normal(k[0], (16, 256)) / 4, "then": jax.random.normal(k[1], (256, 256)) / 16}
        return weights | {"gain": jnp.ones(()), "shift": jnp.zeros(()), "scale": jnp.full((1, 1), 2.0)}

    rows = compare(apply, draw, jax.random.normal(KEY, (4, 16)), draws=256)
    assert all(rows.parameters[name] > 0 for name in ("gain", "shift", "scale"))


def test_known_numbers_mix_units():
    """As a fixed transform of all units does: what an orthogonal one makes has the same second moment."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0].astype(np.float32)
    apply = lambda w, x: jnp.tanh(jnp.tanh(x @ w) @ turn)
    compare(apply, lambda key: jax.random.normal(key, (16, 64)) / 4, jax.random.normal(KEY, (3, 16)))
