import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jnorm._ground import keys
from jnorm.data import batches
from jnorm.data._orders import permutation

pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(5)
X = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 2, 3, 256, 257, 70001])
def test_a_permutation_holds_each_index_once(size):
    order = permutation(KEY, size)
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


@pytest.mark.parametrize("size", [4, 5])
def test_all_orders_are_equally_likely(size):
    # Chi-square over the 24 and 120 orders of 24 000 keys; p > 1e-4 under uniformity.
    keys = jax.random.split(KEY, 24000)
    orders = np.asarray(jax.jit(jax.vmap(lambda k: permutation(k, size)))(keys))
    _, counts = np.unique(orders @ size ** np.arange(size), return_counts=True)
    assert len(counts) == {4: 24, 5: 120}[size]
    assert stats.chisquare(counts).pvalue > 1e-4


def test_large_orders_are_uniform_too():
    # Two rounds of sorting: a round that undid the one before would leave rising pairs. Of 70 000 neighbours half
    # rise, with sd sqrt(n / 12) = 76; positions and values are uncorrelated with sd 1 / sqrt(n) = .0038; z = 4.
    order = np.asarray(permutation(KEY, 70001))
    assert abs(np.sum(np.diff(order) > 0) - 35000) < 4 * 76.4
    assert abs(stats.spearmanr(order, np.arange(70001))[0]) < 4 * 0.0038


def test_ties_of_the_last_round_are_broken_by_the_rounds_before(monkeypatch):
    # With no bits in the last round, the order is that of the first one.
    drawn = jax.random.bits(KEY, (2, 5000), jnp.uint32).at[0].set(jnp.arange(5000, 0, -1, jnp.uint32))
    monkeypatch.setattr(jax.random, "bits", lambda *_: drawn.at[1].set(0))
    np.testing.assert_array_equal(permutation(KEY, 5000), np.arange(5000)[::-1])


@pytest.mark.parametrize("size", [2, 1000, 1001])
def test_the_bit_that_sorting_leaves_over_decides_between_two(monkeypatch, size):
    coin = np.random.default_rng(0).integers(0, 2, size).astype(np.uint32)
    pairs = np.arange(size, dtype=np.uint32) // 2
    monkeypatch.setattr(jax.random, "bits", lambda *_: jnp.asarray((coin << 31) + pairs)[None])
    order = np.arange(size)
    for i in range(0, size - 1, 2):
        if coin[i]:
            order[i : i + 2] = i + 1, i
    np.testing.assert_array_equal(permutation(KEY, size), order)


def test_where_three_tie_they_stay_a_permutation(monkeypatch):
    monkeypatch.setattr(jax.random, "bits", lambda *_: jnp.full((1, 9), 1 << 31, jnp.uint32))
    np.testing.assert_array_equal(permutation(KEY, 9), [1, 0, *range(2, 9)])


@pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (8, 4), (3, 4), (1, 1), (5, 1), (2, 9)])
def test_an_epoch_visits_each_example_once(size, batch_size):
    indices, mask = map(np.asarray, batches.epoch(KEY, size, batch_size))
    assert indices.shape == mask.shape == (-(-size // batch_size), batch_size)
    assert indices.dtype == jnp.int32
    assert mask.dtype == bool
    assert np.all((indices >= 0) & (indices < size))
    assert np.all(mask[:-1])
    assert mask[-1, 0]
    np.testing.assert_array_equal(indices[mask], permutation(keys.stream(KEY, "data.batches"), size))
    np.testing.assert_array_equal(np.sort(indices[mask]), np.arange(size))


def test_the_last_batch_holds_no_example_twice_while_they_suffice():
    indices, mask = batches.epoch(KEY, 10, 4)
    assert not np.all(mask[-1])
    assert len(set(indices[-1].tolist())) == 4


@pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (4, 4)])
def test_a_remainder_that_is_dropped_leaves_the_full_batches(size, batch_size):
    all_of_it, full = (batches.epoch(KEY, size, batch_size, drop_remainder=drop) for drop in (False, True))
    assert full.indices.shape == (size // batch_size, batch_size)
    assert batches.steps(size, batch_size, drop_remainder=True) == size // batch_size
    assert np.all(full.mask)
    np.testing.assert_array_equal(full.indices, all_of_it.indices[: size // batch_size])


def test_epochs_in_scan_under_vmap_equal_a_loop():
    def train(key):
        def step(total, batch):
            indices, mask = batch
            x = batches.take(X, indices)
            return total + jnp.sum(x, where=mask[:, None]), x

        return jax.lax.scan(step, jnp.float32(0), batches.epoch(key, 11, 4))

    keys = jax.random.split(KEY, 3)
    totals, seen = jax.jit(jax.vmap(train))(keys)
    np.testing.assert_allclose(totals, np.full(3, np.sum(np.float64(X))), rtol=0, atol=1e-5)  # 33 sums in float32
    for key, rows in zip(keys, seen, strict=True):
        np.testing.assert_array_equal(rows, X[np.asarray(batches.epoch(key, 11, 4).indices)])
    assert np.any(seen[0] != seen[1])


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_raw_keys_draw_the_same(impl):
    key = jax.random.key(5, impl=impl)
    indices = batches.epoch(key, 11, 4).indices
    np.testing.assert_array_equal(batches.epoch(jax.random.key_data(key), 11, 4).indices, indices)
    np.testing.assert_array_equal(np.unique(indices), np.arange(11))


def test_integers_that_32_bits_do_not_hold_are_refused():
    stamps = 1_700_000_000_000 + np.arange(11)
    with pytest.raises(ValueError, match=r"`data` must hold integers of int32, .*enable_x64; got 1700000000000"):
        batches.take({"x": X, "time": stamps}, [0])
    with jax.enable_x64(True):
        np.testing.assert_array_equal(batches.take(stamps, [3]), stamps[[3]])
    np.testing.assert_array_equal(batches.take(stamps // 1000, [3]), stamps[[3]] // 1000)
    top = np.array([2**32 - 1], np.uint64)
    np.testing.assert_array_equal(batches.take(top, [0]), top)


def test_take_indexes_every_array():
    data = {"x": X, "y": (jnp.arange(11), np.arange(11, dtype=np.uint8)), "none": None}
    got = batches.take(data, np.array([[3, -1]]))
    np.testing.assert_array_equal(got["x"], X[[[3, 10]]])
    np.testing.assert_array_equal(got["y"][0], [[3, 10]])
    assert got["y"][1].dtype == jnp.uint8
    assert batches.take(X, []).shape == batches.take(X[:0], []).shape == (0, 3)


def test_an_index_out_of_range_is_nan_inside_jit():
    got = jax.jit(batches.take)(X, jnp.array([0, 11]))
    np.testing.assert_array_equal(np.all(np.isnan(got), 1), [False, True])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: batches.epoch(KEY, 0, 4), ValueError, "`size` must be a whole number >= 1; got 0"),
        (lambda: batches.epoch(KEY, 4, 0), ValueError, "`batch_size` must be a whole number >= 1; got 0"),
        (lambda: batches.epoch(KEY, 4, 1.5), ValueError, "`batch_size` must be a whole number >= 1; got 1.5"),
        (
            lambda: batches.epoch(KEY, 3, 4, drop_remainder=True),
            ValueError,
            "`batch_size` must satisfy batch_size <= 3, the examples: `drop_remainder` would leave no batch; got 4",
        ),
        (lambda: batches.steps(3, 4, drop_remainder=True), ValueError, "`batch_size` must satisfy batch_size <= 3, "),
        (lambda: batches.steps(3, 4, drop_remainder=1), TypeError, "`drop_remainder` must be True or False; got 1"),
        (lambda: permutation(KEY, -1), ValueError, "`size` must be a whole number >= 1; got -1"),
        (lambda: batches.take(X, [11]), ValueError, "`indices` must satisfy -11 <= indices < 11; got 11"),
        (lambda: batches.take(X, np.array([0.0])), TypeError, "`indices` must hold integers; got dtype float"),
        (lambda: batches.take(X[:0], [0]), ValueError, "`data` must hold examples to take from; got none, and 1 `ind"),
        (lambda: batches.take(X[:0], jnp.array([0])), ValueError, "`data` must hold examples to take from; got none"),
        (lambda: batches.take(np.array(["a"]), [0]), TypeError, r"`data` must hold numbers; got .*<U1: .*np.unique\(y"),
        (lambda: batches.take((X, X[:3]), [0]), ValueError, r"one length; got shapes \[\(11, 3\), \(3, 3\)\]"),
        (lambda: batches.length(()), ValueError, r"one length; got shapes \[\]"),
        (lambda: batches.length(1.0), ValueError, r"one length; got shapes \[\(\)\]"),
    ],
)
def test_bad_input_names_the_rule_and_the_value(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_an_order_of_ones_own_is_cut_as_an_epoch_is():
    order = np.array([5, 2, 2, 9, 0])
    got = batches.divide(order, 2)
    np.testing.assert_array_equal(got.indices, [[5, 2], [2, 9], [0, 5]])
    np.testing.assert_array_equal(got.mask, [[True, True], [True, True], [True, False]])
    np.testing.assert_array_equal(batches.divide(order, 2, drop_remainder=True).indices, [[5, 2], [2, 9]])
    key = jax.random.key(0)
    whole = batches.epoch(key, 7, 7).indices[0]
    for options in ({}, {"drop_remainder": True}):
        jax.tree.map(
            np.testing.assert_array_equal, batches.divide(whole, 3, **options), batches.epoch(key, 7, 3, **options)
        )
    for bad in (np.ones(3), np.ones((2, 2), int)):
        with pytest.raises(
            ValueError, match=rf"`order` must be whole numbers \[examples\]; got .* of shape \({bad.shape[0]}"
        ):
            batches.divide(bad, 2)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number >= 1; got 0"):
        batches.divide(order, 0)
    with pytest.raises(ValueError, match="`size` must be a whole number >= 1; got 0"):
        batches.divide(np.zeros(0, int), 2)
