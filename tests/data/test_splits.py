import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn import model_selection as sk

from jnorm.data import splits

pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(7)
Y = np.random.default_rng(0).choice(4, 211, p=[0.5, 0.3, 0.15, 0.05])
SOURCES = np.random.default_rng(1).integers(0, 23, 211)
SETS = {"many": Y, "few": np.array([2, 2, 0, 0, 0, 2, 1, 0, 2, 0]), "rare": np.array([0] * 30 + [1])}


def assert_partition(parts, size):
    """Each index in exactly one part; each part ascends, in int32."""
    assert all(part.dtype == jnp.int32 for part in parts)
    assert all(np.all(np.diff(part) > 0) for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(size))


@pytest.mark.parametrize(
    ("dev", "test", "sizes"),
    [
        (0.15, 0.15, (148, 32, 32)),
        (0, 0.07, (197, 0, 15)),
        (5, 0.5, (101, 5, 106)),
        (1e-9, 0, (211, 1, 0)),
        (50, 161, (1, 50, 161)),
    ],
)
@pytest.mark.parametrize("key", [None, KEY], ids=["in order", "random"])
def test_parts_have_the_sizes_asked_for(dev, test, sizes, key):
    y = np.append(Y, 3)
    for split in (splits.random(key, 212, dev=dev, test=test), splits.stratified(key, y, dev=dev, test=test)):
        assert tuple(map(len, split)) == sizes
        assert_partition(split, 212)


def test_a_fraction_of_a_hundred_is_a_whole_number():
    # .07 * 100 rounds up to 7.000000000000001, of which scikit-learn takes the ceiling.
    assert len(splits.random(KEY, 100, dev=0, test=0.07).test) == 7


@pytest.mark.parametrize("y", SETS.values(), ids=SETS)
@pytest.mark.parametrize("test", [0.1, 0.25, 0.5])
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_strata_are_scikit_learns_within_one(y, test):
    split = splits.stratified(KEY, y, dev=0, test=test)
    n = len(split.test)
    exact = np.bincount(y) * n / len(y)
    got = np.bincount(y[split.test], minlength=len(exact))
    assert np.all(np.abs(got - exact) < 1)
    if np.min(np.bincount(y)) > 1 and n >= len(exact):  # scikit-learn refuses the others
        _, theirs = sk.train_test_split(np.arange(len(y)), test_size=n, stratify=y, random_state=0)
        assert np.all(np.abs(got - np.bincount(y[theirs], minlength=len(exact))) <= 1)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_strata_of_the_dev_set():
    rng = np.random.default_rng(2)
    for _ in range(100):
        y = rng.integers(0, 5, rng.integers(9, 40))
        split = splits.stratified(None, y, dev=0.5, test=0.4)
        assert_partition(split, len(y))
        left = np.bincount(np.delete(y, split.test), minlength=5)
        exact = left * len(split.dev) / left.sum()
        assert np.all(np.abs(np.bincount(y[split.dev], minlength=5) - exact) < 1)


RARE = {
    "one of one": [40, 30, 1],
    "one of two": [40, 30, 2],
    "several": [50, 40, 30, 2, 1, 1, 1],
    "nothing but the rare have remainders": [20, 20, 1, 1],
    "few of all": [3, 2, 1],
}


@pytest.mark.parametrize("members", RARE.values(), ids=RARE)
@pytest.mark.parametrize(("dev", "test"), [(0.15, 0.15), (0, 0.5), (0.3, 0), (1, 1), (2, 1)])
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_training_lacks_no_class_however_rare(members, dev, test):
    y = np.random.default_rng(3).permutation(np.repeat(np.arange(len(members)), members))
    for key in (None, *jax.random.split(jax.random.key(0), 10)):
        split = splits.stratified(key, y, dev=dev, test=test)
        assert_partition(split, len(y))
        assert set(y[split.train]) == set(y)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_rare_classes_are_drawn_from_under_every_key_alike():
    """60 keys: the one of one always trains; of the class of two one trains, and the other goes where the key says."""
    y = np.array([0] * 40 + [1] * 30 + [2] * 2 + [3])
    keys = jax.random.split(jax.random.key(2), 60)
    split = jax.jit(jax.vmap(lambda k: splits.stratified(k, y, test=0.3)))(keys)
    held = [np.asarray(part) for part in split]
    for lane, key in enumerate(keys):
        parts = [part[lane] for part in held]
        assert_partition(parts, 73)
        assert 72 in parts[0]
        assert np.isin([70, 71], parts[0]).sum() in (1, 2)
        if lane < 5:
            jax.tree.map(np.testing.assert_array_equal, tuple(splits.stratified(key, y, test=0.3)), tuple(parts))


def test_equal_remainders_are_decided_by_the_key_and_not_by_the_order():
    """Of ten classes of 15 the test set takes 22 or 23 in all, and of what is left the dev set its share."""
    y = np.random.default_rng(4).permutation(np.repeat(np.arange(10), 15))
    keys = jax.random.split(jax.random.key(1), 2000)
    split = jax.jit(jax.vmap(lambda k: splits.stratified(k, y, dev=13, test=23)))(keys)
    counts = lambda part: np.stack([np.bincount(y[row], minlength=10) for row in np.asarray(part)])
    test, dev = counts(split.test), counts(split.dev)
    assert set(np.unique(test)) == {2, 3}
    assert set(np.unique(dev)) == {1, 2}
    # Three of ten classes get one more, each with probability .3: z = 4.5 for the worst of ten (p < 1e-4).
    more = np.sum(test == 3, 0)
    assert np.max(np.abs(more - 600)) < 4.5 * np.sqrt(2000 * 0.3 * 0.7)
    # The dev set takes 13 of 127: the seven classes with 13 left have the larger remainders, and three of them get it.
    assert not np.any((dev == 2) & (test == 3))
    more = np.sum(dev == 2, 0)
    assert np.max(np.abs(more - 600)) < 4.5 * np.sqrt(2000 * 0.3 * 0.7)
    # Pairs of classes in the test set: 3 * 2 of 10 * 9; for the worst of 45.
    pairs = (test == 3).astype(int).T @ (test == 3)
    pairs = pairs[np.triu_indices(10, 1)]
    assert np.max(np.abs(pairs - 2000 / 15)) < 4.5 * np.sqrt(2000 / 15 * 14 / 15)
    single = splits.stratified(keys[5], y, dev=13, test=23)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, np.asarray(b)[5]), tuple(single), tuple(split))


def test_shares_of_large_sets_do_not_wrap_inside_jit():
    """70 000 examples times 70 000 pass 2^32; the shares are halves and quarters exactly."""
    y = np.repeat(np.arange(2), 70_000)
    split = jax.jit(lambda k: splits.stratified(k, y, dev=35_000, test=70_000))(KEY)
    for part, count in zip(split, (17_500, 17_500, 35_000), strict=True):
        np.testing.assert_array_equal(np.bincount(y[np.asarray(part)]), [count, count])


def test_labels_may_be_strings():
    names = np.array(["c", "a", "d", "b"])[Y]
    for a, b in zip(splits.stratified(KEY, Y), splits.stratified(KEY, list(names)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_example_is_drawn_equally_often():
    # 2000 keys, vmapped: an example is tested on with probability 3/10; z-score 4.5 for the worst of 40 (p < 3e-4).
    y = np.array([0] * 30 + [1] * 10)
    keys = jax.random.split(jax.random.key(0), 2000)
    for draw in (lambda k: splits.random(k, 40, dev=4, test=12), lambda k: splits.stratified(k, y, dev=4, test=12)):
        hits = np.bincount(np.ravel(jax.jit(jax.vmap(draw))(keys).test), minlength=40)
        assert np.max(np.abs(hits - 600)) < 4.5 * np.sqrt(2000 * 0.3 * 0.7)
        assert np.std(hits) > 0.5 * np.sqrt(2000 * 0.3 * 0.7)


def test_a_traced_key_gives_the_same_split():
    for f in (lambda k: splits.random(k, 211), lambda k: splits.stratified(k, Y), lambda k: splits.folds(k, 211, 3)):
        jax.tree.map(np.testing.assert_array_equal, jax.jit(f)(KEY), f(KEY))


@pytest.mark.parametrize("key", [None, KEY], ids=["in order", "random"])
@pytest.mark.parametrize(("dev", "test"), [(0.15, 0.15), (0, 0.3), (0.4, 0), (3, 1)])
def test_sources_stay_together(key, dev, test):
    split = splits.by_source(key, SOURCES, dev=dev, test=test)
    assert_partition(split, 211)
    held = [set(SOURCES[part]) for part in split]
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    wanted = [len(part) for part in splits.random(None, 211, dev=dev, test=test)]
    largest = np.max(np.bincount(SOURCES))
    for part, size in zip(split, wanted, strict=True):
        assert abs(len(part) - size) <= largest
        assert (len(part) > 0) == (size > 0)


def test_as_many_sources_as_parts():
    split = splits.by_source(KEY, ["a"] * 98 + ["b", "c"])
    assert sorted(map(len, split)) == [1, 1, 98]


@pytest.mark.parametrize("key", [None, KEY], ids=["in order", "random"])
@pytest.mark.parametrize(("dev", "size"), [(0.5, None), (0.25, None), (3, 3), (0, 0)])
def test_dev_and_test_are_of_the_target_and_training_of_the_others(key, dev, size):
    for target in (SOURCES[0], [4, 11, 22]):
        split = splits.by_target(key, SOURCES, target, dev=dev)
        assert_partition(split, 211)
        held = np.isin(SOURCES, target)
        assert not np.any(held[split.train])
        assert np.all(held[np.concatenate(split[1:])])
        assert len(split.dev) == (round(dev * np.sum(held)) if size is None else size)
    if key is None:
        assert not split.dev.size or split.dev.max() < split.test.min()


def test_every_example_of_the_target_is_dev_equally_often():
    # 2000 keys, vmapped: one of 10 examples is in a dev set of 3 with probability 3/10; z = 4.5, p < 1e-4.
    sources = np.array(["web"] * 5 + ["app"] * 10)
    keys = jax.random.split(jax.random.key(0), 2000)
    dev = jax.jit(jax.vmap(lambda key: splits.by_target(key, sources, "app", dev=3).dev))(keys)
    hits = np.bincount(np.ravel(dev), minlength=15)
    assert np.all(hits[:5] == 0)
    assert np.max(np.abs(hits[5:] - 600)) < 4.5 * np.sqrt(2000 * 0.3 * 0.7)
    jax.tree.map(
        np.testing.assert_array_equal, splits.by_target(keys[7], sources, "app", dev=3).dev, np.asarray(dev)[7]
    )


@pytest.mark.parametrize(
    ("sources", "target", "options", "text"),
    [
        (["a", "b"], "c", {}, "`target` must be some of the sources 'a', 'b'; got 'c'"),
        (["a", "b"], ["b", 3], {}, "`target` must be some of the sources 'a', 'b'; got 3"),
        (["a", "b"], [], {}, r"`target` must be some of the sources 'a', 'b'; got \[\]"),
        (list(range(30)), 30, {}, "18, 19, ...; got 30"),
        (["a", "b"], ["b", "a"], {}, r"`target` must leave a source to train on; got \['b', 'a'\], all that there are"),
        (["a", "b", "b"], "b", {"dev": 2}, "`dev` must leave examples to test on; got 2 of the 2 of 'b'"),
        (["a", "b", "b"], "b", {"dev": 1.0}, "`dev` must be a fraction .* got 1.0"),
        (["a", "b", ""], "b", {}, "`sources` must not be ''"),
    ],
)
def test_targets_that_are_none_are_refused(sources, target, options, text):
    with pytest.raises(ValueError, match=text):
        splits.by_target(KEY, sources, target, **options)


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("y", SETS.values(), ids=SETS)
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_folds_in_order_are_scikit_learns(y, count):
    x = np.zeros((len(y), 1))
    theirs = sk.KFold(count).split(x)
    for ours, fold in zip(splits.folds(None, len(y), count), theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, tuple(ours), fold)
    if np.max(np.bincount(y)) >= count:  # scikit-learn refuses the others
        theirs = sk.StratifiedKFold(count).split(x, y)
        for ours, fold in zip(splits.stratified_folds(None, y, count), theirs, strict=True):
            jax.tree.map(np.testing.assert_array_equal, tuple(ours), fold)


@pytest.mark.parametrize("count", [2, 5, 23])
def test_source_folds_are_as_level_as_scikit_learns(count):
    ours = splits.source_folds(None, SOURCES, count)
    theirs = [test for _, test in sk.GroupKFold(count).split(SOURCES, groups=SOURCES)]
    assert sorted(len(fold.test) for fold in ours) == sorted(map(len, theirs))
    for fold in splits.source_folds(KEY, SOURCES, count):
        assert not set(SOURCES[fold.train]) & set(SOURCES[fold.test])
        assert_partition(fold, 211)
    assert_partition([fold.test for fold in splits.source_folds(KEY, SOURCES, count)], 211)


@pytest.mark.parametrize("count", [2, 7])
def test_random_folds_cover_and_keep_the_shares(count):
    for folds in (splits.folds(KEY, 211, count), splits.stratified_folds(KEY, Y, count)):
        assert_partition([fold.test for fold in folds], 211)
        for fold in folds:
            assert_partition(fold, 211)
    theirs = sk.StratifiedKFold(count, shuffle=True, random_state=0).split(Y, Y)
    for ours, (_, test) in zip(folds, theirs, strict=True):
        np.testing.assert_array_equal(np.bincount(Y[ours.test]), np.bincount(Y[test]))


def test_keys_differ():
    first, second = (splits.random(jax.random.key(s), 211) for s in (0, 1))
    assert set(first.test.tolist()) != set(second.test.tolist())
    first, second = (splits.by_source(jax.random.key(s), SOURCES) for s in (0, 1))
    assert set(SOURCES[first.test]) != set(SOURCES[second.test])


CALLS = {
    "stratified": lambda y: splits.stratified(None, y, dev=0, test=0.4),
    "stratified_folds": lambda y: splits.stratified_folds(None, y, 2),
    "by_source": lambda y: splits.by_source(None, y, dev=0, test=0.4),
    "source_folds": lambda y: splits.source_folds(None, y, 2),
}
MISSING = {
    "None": (["a", "b", None, "a", "b"], "None"),
    "None in an array": (np.array(["a", "b", None, "a", "b"], object), "None"),
    "None among numbers": ([0, 1, None, 0, 1], "None"),
    "NaN": ([0.0, 1.0, np.nan, 0.0, 1.0], "NaN"),
    "NaN in an array": (np.array([0.0, 1.0, np.nan, 0.0, 1.0]), "NaN"),
    "NaN on a device": (jnp.array([0.0, 1.0, jnp.nan, 0.0, 1.0]), "NaN"),
    "NaN among texts": (["a", "b", float("nan"), "a", "b"], "NaN"),
    "NaN that became a text": (np.array(["a", "b", np.nan, "a", "b"]), "'nan'"),
    "NaN in half precision": (jnp.array([0.0, 1.0, jnp.nan, 0.0, 1.0], jnp.bfloat16), "NaN"),
    "NaT": (np.array(["2020-01-01", "2020-01-02", "NaT", "2020-01-01", "2020-01-02"], "datetime64[D]"), "NaT"),
    "a span of NaT": (np.array([1, 2, "NaT", 1, 2], "timedelta64[s]"), "NaT"),
    "NaT of pandas": (pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02", None] + ["2020-01-01"] * 2)), "NaT"),
    "pd.NA": (["a", "b", pd.NA, "a", "b"], "<NA>"),
    "pd.NA in integers": (pd.Series([0, 1, None, 0, 1], dtype="Int64"), "(NaN|<NA>)"),
    "pd.NA in booleans": (pd.array([True, False, None, True, False]), "<NA>"),
    "in a column of texts": (pd.Series(["a", "b", None, "a", "b"], dtype="string"), "<NA>"),
    "a category": (pd.Categorical(["a", "b", None, "a", "b"]), "NaN"),
    "an empty text": (["a", "b", "", "a", "b"], "''"),
    "an empty text in an array": (np.array(["a", "b", "", "a", "b"]), "''"),
    "a blank": (np.array(["a", "b", " ", "a", "b"]), "' '"),
    "bytes": (np.array([b"a", b"b", b"", b"a", b"b"]), "''"),
    "masked": (np.ma.masked_array([0, 1, 5, 0, 1], [False, False, True, False, False]), "masked"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("y", "got"), MISSING.values(), ids=MISSING)
def test_missing_labels_of_every_kind_are_refused(call, y, got):
    with pytest.raises(
        ValueError, match=rf"`(y|sources)` must not be {got}; got {got} at example 2: leave the example out"
    ):
        call(y)


COMPLETE = {
    "texts": ["b", "a", "b", "a", "b"],
    "array": np.array(["b", "a", "b", "a", "b"]),
    "objects": np.array(["b", "a", "b", "a", "b"], object),
    "bytes": np.array([b"b", b"a", b"b", b"a", b"b"]),
    "booleans": [True, False, True, False, True],
    "floats": [1.0, 0.0, 1.0, 0.0, 1.0],
    "numbers of two types": [1, 0.0, 1.0, 0, np.int8(1)],
    "dates": np.array(["2020-01-02", "2020-01-01"] * 2 + ["2020-01-02"], "datetime64[D]"),
    "integers of pandas": pd.Series([1, 0, 1, 0, 1], dtype="Int64"),
    "texts of pandas": pd.Series(["b", "a", "b", "a", "b"], dtype="string"),
    "categories": pd.Series(["b", "a", "b", "a", "b"], dtype="category"),
    "an index of rows": pd.Series(["b", "a", "b", "a", "b"], index=[9, 7, 5, 3, 1]),
    "on a device": jnp.array([1, 0, 1, 0, 1]),
    "None as a text": ["None", "a", "None", "a", "None"],
    "whole past 2^53": [2**53 + 1, 2**53, 2**53 + 1, 2**53, 2**53 + 1],
}


@pytest.mark.parametrize("y", COMPLETE.values(), ids=COMPLETE)
def test_labels_may_be_of_any_one_kind(y):
    codes = np.array([1, 0, 1, 0, 1])
    for call in CALLS.values():
        for part, exact in zip(jax.tree.leaves(call(y)), jax.tree.leaves(call(codes)), strict=True):
            np.testing.assert_array_equal(part, exact)


def test_labels_of_two_kinds_are_refused():
    with pytest.raises(ValueError, match="`y` must hold labels of one kind; got 1 at example 0 and '1' at example 2"):
        splits.stratified(None, [1, 2, "1", "2"], dev=0, test=0.5)
    with pytest.raises(ValueError, match="`sources` must hold labels of one kind; got 'a' at example 0 and 7 at"):
        splits.by_source(None, np.array(["a", 7, "a", 7], object), dev=0, test=0.5)
    with pytest.raises(
        ValueError, match=r"`y` must hold labels of one kind; got 'a' at example 0 and \(1,\) at example 1"
    ):
        splits.stratified(None, pd.Series(["a", (1,), "b"]), dev=0, test=1)


def test_classes_rarer_than_the_parts_are_warned_of():
    y = ["a"] * 20 + ["b"] * 2 + ["c"]
    with pytest.warns(
        UserWarning, match=r"The least populated class of `y`, 'c', has 1 example for 3 parts: some miss it"
    ):
        splits.stratified(KEY, y)
    with pytest.warns(UserWarning, match=r"The least populated class of `y`, 'c', has 1 example for 2 parts"):
        splits.stratified(KEY, y, dev=0)
    with pytest.warns(UserWarning, match=r"The least populated class of `y`, 2, has 2 examples for 3 folds"):
        splits.stratified_folds(None, [0] * 4 + [1] * 3 + [2] * 2, 3)


@pytest.mark.filterwarnings("error")
def test_classes_of_as_many_examples_as_parts_are_not():
    splits.stratified(KEY, [0] * 20 + [1] * 3)
    splits.stratified(KEY, [0] * 20 + [1] * 2, test=0)
    splits.stratified_folds(KEY, [0] * 20 + [1] * 3, 3)
    splits.by_source(KEY, [0] * 20 + [1, 2])


@pytest.mark.parametrize(("impl", "default"), [("threefry2x32", "rbg"), ("rbg", "threefry2x32"), ("unsafe_rbg",) * 2])
def test_keys_of_any_implementation(impl, default):
    key = jax.random.key(5, impl=impl)
    for call in (
        lambda k: splits.random(k, 50),
        lambda k: splits.stratified(k, Y),
        lambda k: splits.by_source(k, SOURCES),
        lambda k: splits.by_target(k, SOURCES, 3),
        lambda k: splits.folds(k, 50, 3),
        lambda k: splits.stratified_folds(k, Y, 3),
        lambda k: splits.source_folds(k, SOURCES, 3),
    ):
        with jax.default_prng_impl(default):
            jax.tree.map(np.testing.assert_array_equal, call(jax.random.key_data(key)), call(key))


def test_a_number_for_a_size_is_a_share_or_a_count_by_its_type():
    for share in (0.5, np.float32(0.5), np.float64(0.5), jnp.float32(0.5)):
        assert len(splits.random(KEY, 10, dev=0, test=share).test) == 5
    for count in (1, np.int32(1), np.uint8(1), jnp.int32(1)):
        assert len(splits.random(KEY, 10, dev=0, test=count).test) == 1
    for none in (0, 0.0, np.float32(0)):
        assert len(splits.random(KEY, 10, dev=0, test=none).test) == 0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: splits.random(KEY, 0), ValueError, "`size` must be a whole number >= 1; got 0"),
        (lambda: splits.random(KEY, 10, dev=-0.1), ValueError, "`dev` must be a fraction 0 <= dev < 1 or .* got -0.1"),
        (lambda: splits.random(KEY, 10, test=1.5), ValueError, "`test` must be a fraction .* got 1.5"),
        (lambda: splits.random(KEY, 10, test=1.0), ValueError, "`test` .* got 1.0: for a number of examples write 1"),
        (lambda: splits.random(KEY, 99, dev=20.0), ValueError, "`dev` .* got 20.0: for a number of examples write 20"),
        (lambda: splits.random(KEY, 99, dev=np.float32(1)), ValueError, "`dev` .* got 1.0: for a number"),
        (lambda: splits.random(KEY, 10, dev=np.nan), ValueError, "`dev` must be a fraction .* got nan"),
        (lambda: splits.random(KEY, 10, dev=-1), ValueError, "`dev` must be a fraction .* got -1"),
        (lambda: splits.random(KEY, 10, dev=True), TypeError, "`dev` must be a fraction .* got True"),
        (lambda: splits.random(KEY, 10, test="0.2"), TypeError, "`test` must be a fraction .* got '0.2'"),
        (lambda: splits.random(KEY, 10, test=None), TypeError, "`test` must be a fraction .* got None"),
        (lambda: splits.random(KEY, 10, test=[1]), TypeError, r"`test` must be a fraction .* got \[1\]"),
        (lambda: splits.random(0, 10), TypeError, r"`key` must be a random key, such as jax.random.key\(0\); got 0"),
        (lambda: splits.random(KEY, 10, dev=0.5, test=0.5), ValueError, "must leave examples to train on; got 5 and 5"),
        (lambda: splits.stratified(KEY, np.zeros((3, 2))), ValueError, r"`y` must hold one label .* shape \(3, 2\)"),
        (lambda: splits.stratified(KEY, []), ValueError, r"`y` must hold one label .* shape \(0,\)"),
        (lambda: splits.stratified(KEY, [0.0, np.nan]), ValueError, "`y` must not be NaN; got NaN at example 1"),
        (lambda: jax.jit(lambda y: splits.stratified(KEY, y))(Y), TypeError, "`y` must be known"),
        (lambda: jax.jit(lambda k: splits.by_source(k, SOURCES))(KEY), TypeError, "must run outside jit"),
        (lambda: jax.jit(lambda k: splits.source_folds(k, SOURCES, 2))(KEY), TypeError, "must run outside jit"),
        (lambda: splits.by_source(KEY, ["a", "b"] * 9), ValueError, "at least 3 sources, one a part; got 2"),
        (lambda: splits.source_folds(KEY, ["a", "b"] * 9, 3), ValueError, "at least 3 sources, one a fold; got 2"),
        (lambda: splits.folds(KEY, 10, 1), ValueError, "`count` must be a whole number >= 2; got 1"),
        (lambda: splits.folds(KEY, 10, 11), ValueError, "`count` must satisfy count <= 10, .* got 11"),
    ],
)
def test_bad_input_names_the_rule_and_the_value(call, error, text):
    with pytest.raises(error, match=text):
        call()
