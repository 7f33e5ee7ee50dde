import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm._ground.keys import typed

IMPLEMENTATIONS = ("threefry2x32", "rbg", "unsafe_rbg")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("default", IMPLEMENTATIONS)
def test_raw_keys_of_any_implementation_draw_what_typed_ones_draw(impl, default):
    key = jax.random.key(3, impl=impl)
    with jax.default_prng_impl(default):
        assert typed(key) is key
        for raw in (jax.random.key_data(key), np.asarray(jax.random.key_data(key))):
            np.testing.assert_array_equal(jax.random.bits(typed(raw), (5,)), jax.random.bits(key, (5,)))
            np.testing.assert_array_equal(
                jax.jit(lambda k: jax.random.bits(typed(k), (5,)))(raw), jax.random.bits(key, (5,))
            )


def test_the_default_decides_between_the_two_of_four_words():
    raw = np.arange(4, dtype=np.uint32)
    assert str(jax.random.key_impl(typed(raw))) == "rbg"
    with jax.default_prng_impl("unsafe_rbg"):
        assert str(jax.random.key_impl(typed(raw))) == "unsafe_rbg"


@pytest.mark.parametrize(
    ("key", "got"),
    [
        (0, "got 0"),
        (None, "got None"),
        (jnp.uint32(3), r"got uint32 of shape \(\)"),
        (jnp.zeros(2), r"got float32 of shape \(2,\)"),
        (np.zeros(3, np.uint32), r"got uint32 of shape \(3,\)"),
        (np.zeros(2, np.int64), r"got int64 of shape \(2,\)"),
    ],
)
def test_what_is_no_key_is_refused(key, got):
    with pytest.raises(TypeError, match=rf"`order_key` must be a random key, such as jax.random.key\(0\); {got}"):
        typed(key, "order_key")
