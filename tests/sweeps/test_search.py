"""What is drawn, against the laws it should have; what is narrowed, against the definition; what is refused."""

import jax
import numpy as np
import pytest
from scipy import stats

from jnorm.sweeps import search

KEY = jax.random.key(0)
SPACE = {
    "rate": search.log_uniform(1e-5, 10.0),
    "momentum": search.one_minus_log_uniform(0.9, 0.9999),
    "dropout": search.uniform(0.0, 0.5),
    "units": search.integers(3, 12),
    "width": search.integers(1, 1000, log=True),
    "depth": [2, 4, 8],
}


@pytest.fixture(scope="module")
def drawn():
    return search.random(jax.random.key(0), SPACE, 2000)


def test_every_range_has_its_law(drawn):
    column = lambda name: np.array([one[name] for one in drawn])
    laws = {
        "rate": (np.log(column("rate")), np.log(1e-5), np.log(10.0)),
        "momentum": (np.log(1 - column("momentum")), np.log(1e-4), np.log(0.1)),
        "dropout": (column("dropout"), 0.0, 0.5),
    }
    for name, (values, low, high) in laws.items():
        # Kolmogorov-Smirnov, five tests in all: a false alarm in a thousand at most, for another seed.
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 2e-4, name
    counts = np.bincount(column("units"), minlength=13)[3:]
    assert counts.sum() == 2000
    assert stats.chisquare(counts).pvalue > 2e-4
    # P(n) = log((n + 1/2) / (n - 1/2)) / log(1000.5 / .5)
    edges = np.array([0.5, 1.5, 2.5, 5.5, 20.5, 100.5, 1000.5])
    expected = 2000 * np.diff(np.log(edges)) / np.log(2001)
    assert stats.chisquare(np.histogram(column("width"), edges)[0], expected).pvalue > 2e-4
    assert stats.chisquare(np.unique(column("depth"), return_counts=True)[1]).pvalue > 2e-4
    assert all(isinstance(one["units"], int) and isinstance(one["rate"], float) for one in drawn)
    assert np.abs(np.corrcoef([column(n) for n in SPACE])[np.triu_indices(6, 1)]).max() < 0.09  # 15 pairs, z = 4


def test_quasi_random_values_leave_no_gaps():
    """Of any p^k successive values under the i-th name, p its prime, one lies in each p^k-th part of the range."""
    drawn = search.quasi_random(KEY, SPACE, 400)
    for (name, values), p in zip(SPACE.items(), (2, 3, 5, 7, 11, 13), strict=True):
        if name not in ("rate", "momentum", "dropout"):
            continue
        shares = np.array([values.share(one[name]) for one in drawn])
        for parts in (p, p * p):
            cells = np.floor(shares * parts).astype(int)
            windows = np.lib.stride_tricks.sliding_window_view(cells, parts)
            assert (np.sort(windows, 1) == np.arange(parts)).all(), (name, parts)
    counts = np.bincount([one["units"] for one in drawn], minlength=13)[3:]
    # Faure: at either end of an interval the count is off by (p^2 - 1) / (4 p) at most for each digit of 400 in base 7.
    assert abs(counts - 40).max() <= 2 * 4 * 48 / 28
    assert {one["depth"] for one in drawn[:13]} == {2, 4, 8}


@pytest.mark.parametrize("count", [20, 50, 100])
def test_quasi_random_points_are_spread_more_evenly_than_random_ones(count):
    """By the mixture discrepancy, as SciPy measures it, the worst of twenty keys beats the best at random."""
    space = {name: search.uniform(0.0, 1.0) for name in "abcd"}
    measured = lambda draw, i: stats.qmc.discrepancy(
        np.array([[*one.values()] for one in draw(jax.random.key(i), space, count)]), method="MD"
    )
    assert max(measured(search.quasi_random, i) for i in range(20)) < min(measured(search.random, i) for i in range(20))


def test_a_quasi_random_search_can_grow():
    longer = search.quasi_random(KEY, SPACE, 50)
    assert search.quasi_random(KEY, SPACE, 20) == longer[:20]
    assert search.quasi_random(jax.random.key(1), SPACE, 20) != longer[:20]
    assert search.quasi_random(jax.random.key_data(KEY), SPACE, 20) == longer[:20]
    more = search.quasi_random(KEY, SPACE | {"last": search.uniform(0.0, 1.0)}, 20)
    assert [{name: one[name] for name in SPACE} for one in more] == longer[:20]
    small = {"units": search.integers(1, 4), "depth": [2, 4]}
    every = search.quasi_random(KEY, small, 8)
    assert sorted(every, key=str) == sorted(search.grid({"units": [1, 2, 3, 4], "depth": [2, 4]}), key=str)
    assert search.quasi_random(KEY, small, 5) == every[:5]
    with pytest.raises(ValueError, match="`count` must satisfy count <= 8, the configurations; got 9"):
        search.quasi_random(KEY, small, 9)


def test_a_key_gives_the_same_and_names_do_not_meddle(drawn):
    assert search.random(jax.random.key(0), SPACE, 2000) == drawn
    assert search.random(jax.random.key(1), SPACE, 5) != drawn[:5]
    fewer = search.random(jax.random.key(0), {"rate": SPACE["rate"]}, 2000)
    assert [one["rate"] for one in fewer] == [one["rate"] for one in drawn]


def test_configurations_are_different_and_a_finite_space_can_be_drawn_out():
    space = {"units": search.integers(1, 4), "depth": [2, 4]}
    every = search.random(jax.random.key(0), space, 8)
    assert sorted(every, key=str) == sorted(search.grid({"units": [1, 2, 3, 4], "depth": [2, 4]}), key=str)
    with pytest.raises(ValueError, match="`count` must satisfy count <= 8, the configurations; got 9"):
        search.random(jax.random.key(0), space, 9)


def test_share_is_the_inverse_of_at():
    for name in ("rate", "momentum", "dropout"):
        values = SPACE[name]
        for share in (0.0, 0.1, 0.5, 0.99, 1.0):
            np.testing.assert_allclose(values.share(values.at(share)), share, atol=1e-9)  # 1 - beta loses four digits
    assert [SPACE["units"].at(SPACE["units"].share(n)) for n in range(3, 13)] == list(range(3, 13))
    assert SPACE["rate"].at(0.0) == 1e-5
    assert SPACE["rate"].at(1.0) == 10.0


def test_grid_is_the_product_in_order():
    assert search.grid({"a": [2, 1], "b": ["x", "y"]}) == [
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
    ]


def test_narrowing_is_around_the_best():
    tried = [{"rate": 10.0**-k, "momentum": 0.9, "units": k + 3, "depth": [2, 4, 8][k % 3]} for k in range(5)]
    space = {name: SPACE[name] for name in tried[0]}
    scores = [0.1, 0.5, 0.9, 0.7, np.nan]
    fine = search.coarse_to_fine(space, tried, scores, keep=2, margin=1 / 12, maximize=True)
    assert fine["depth"] == [2, 8]
    # Rates 1e-2 and 1e-3 of six decades: half a decade wider on either side.
    np.testing.assert_allclose([fine["rate"].low, fine["rate"].high], [10**-3.5, 10**-1.5], rtol=1e-12)
    # All momenta at the low end, which stays; three decades of 1 - beta.
    np.testing.assert_allclose([fine["momentum"].low, fine["momentum"].high], [0.9, 1 - 10**-1.25], rtol=1e-12)
    assert (fine["units"].low, fine["units"].high) == (4, 7)  # 5 and 6, a twelfth of ten on either side
    assert fine["units"].whole
    least = search.coarse_to_fine(space, tried, scores, keep=1, margin=0.0)
    assert (least["rate"].low, least["rate"].high) == (1.0, 1.0)
    assert search.random(jax.random.key(0), least, 1)[0]["units"] == 3
    finer = search.coarse_to_fine(fine, search.random(jax.random.key(0), fine, 9), range(9), keep=3)
    assert fine["rate"].low <= finer["rate"].low < finer["rate"].high <= fine["rate"].high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: search.uniform(1.0, 1.0), "`high` must satisfy high > low = 1.0; got 1.0"),
        (lambda: search.log_uniform(0.0, 1.0), "`low` must satisfy low > 0; got 0.0"),
        (lambda: search.one_minus_log_uniform(0.9, 1.0), "`high` must satisfy high < 1; got 1.0"),
        (lambda: search.integers(1, 2.5), "`high` must be a whole number; got 2.5"),
        (lambda: search.integers(0, 5, log=True), "`low` must satisfy low >= 1; got 0"),
        (lambda: search.grid({}), "`grid` must name at least one hyperparameter"),
        (lambda: search.grid({"a": []}), "`a` must have at least one value; got none"),
        (lambda: search.grid({"a": [1, 1]}), "`a` must not repeat a value; got 1 twice"),
        (lambda: search.random(jax.random.key(0), {}, 3), "`space` must name at least one hyperparameter"),
        (lambda: search.random(jax.random.key(0), {"a": []}, 3), "`a` must have at least one value; got none"),
        (lambda: search.random(jax.random.key(0), {"a": [2, 2]}, 1), "`a` must not repeat a value; got 2 twice"),
        (
            lambda: search.random(jax.random.key(0), {"a": search.Range(2, 1)}, 1),
            r"`a` must be a range of numbers: `high` must satisfy high > low = 2; got 1",
        ),
        (lambda: search.random(jax.random.key(0), SPACE, 0), "`count` must be a whole number >= 1; got 0"),
        (
            lambda: search.coarse_to_fine(SPACE, [], [1.0], keep=1),
            r"`scores` must be one for each of 0 configurations; got \(1,\)",
        ),
        (
            lambda: search.coarse_to_fine({"depth": [2]}, [{"depth": 2}], [np.nan], keep=1),
            "`keep` must satisfy keep <= 0, the scores that are not NaN; got 1",
        ),
        (lambda: search.uniform(0.0, np.inf), "`high` must be a finite number of double precision; got inf"),
        (lambda: search.uniform(np.nan, 1.0), "`low` must be a finite number of double precision; got nan"),
        (lambda: search.uniform(-1e308, 1e308), "`high` must satisfy high - low < 1.8e308; got -1e.308 and 1e.308"),
        (lambda: search.uniform("a", 1), "`low` must be a number; got 'a'"),
        (lambda: search.uniform(True, 5), "`low` must be a number; got True"),
        (lambda: search.log_uniform(-1.0, 1.0), "`low` must satisfy low > 0; got -1.0"),
        (lambda: search.log_uniform(1.0, 0.1), "`high` must satisfy high > low = 1.0; got 0.1"),
        (lambda: search.one_minus_log_uniform(-np.inf, 0.5), "`low` must be a finite number"),
        (lambda: search.integers(1, np.inf), "`high` must be a finite number"),
        (lambda: search.integers(1, 10**400), "`high` must be a finite number"),
        (lambda: search.uniform(0, 1).at(2.0), "`u` must satisfy 0 <= u <= 1; got 2.0"),
        (lambda: search.uniform(0, 1).share(2.0), "`value` must satisfy 0 <= value <= 1; got 2.0"),
        (lambda: search.random(KEY, {"a": search.Range(0, 1, "log")}, 1), "`a` must be .*: `low` must satisfy low > 0"),
        (lambda: search.random(KEY, {"a": search.Range(0, np.nan)}, 1), "`a` must be .*: `high` must be a finite"),
        (lambda: search.random(KEY, {"a": {1, 2}}, 1), "`a` must be a sequence, as a set has no order"),
        (lambda: search.random(KEY, {1: [1, 2]}, 1), "`space` must have texts as names; got 1"),
        (lambda: search.random(KEY, [1], 1), r"`space` must map names to ranges and sequences of values; got \[1\]"),
        (lambda: search.random(KEY, SPACE, True), "`count` must be a whole number >= 1; got True"),
        (lambda: search.random(KEY, SPACE, 2.0), "`count` must be a whole number >= 1; got 2.0"),
        (lambda: search.quasi_random(KEY, {}, 3), "`space` must name at least one hyperparameter"),
        (lambda: search.quasi_random(0, SPACE, 2), r"`key` must be a random key, such as jax.random.key\(0\); got 0"),
        (lambda: search.quasi_random(KEY, SPACE, 0), "`count` must be a whole number >= 1; got 0"),
        (lambda: search.random(0, SPACE, 2), r"`key` must be a random key, such as jax.random.key\(0\); got 0"),
        (lambda: search.grid(None), "`space` must map names to sequences of values; got None"),
        (lambda: narrowed([{"b": 1}], [1.0]), "`configurations` must lie in the space, where `a` is"),
        (lambda: narrowed([{"a": 11.0}], [1.0]), r"where `a` is Range\(low=1.0, high=10.0.*; got {'a': 11.0}"),
        (lambda: narrowed([{"a": 2.0}], [1.0], margin=np.nan), "`margin` must satisfy margin >= 0; got nan"),
        (lambda: narrowed([{"a": 2.0}], ["x"]), r"`scores` must hold numbers; got \['x'\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def narrowed(configurations, scores, **options):
    return search.coarse_to_fine({"a": search.log_uniform(1.0, 10.0)}, configurations, scores, keep=1, **options)


def test_numbers_of_numpy_and_jax_become_pythons():
    values = search.uniform(np.float32(0.5), jax.numpy.array(2.0))
    assert (type(values.low), type(values.high)) == (float, float)
    drawn = search.random(KEY, {"a": values, "b": np.array([1.0, 2.0]), "c": (n for n in (1, 2.5))}, 4)
    assert {type(value) for one in drawn for value in one.values()} == {float, int}
