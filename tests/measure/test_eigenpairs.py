"""Eigenpairs against planted spectra and dense solvers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.linalg import eigsh

from jnorm.measure import curvature
from tests.measure.spectra import planted, rotation
from tests.test_laws import compilations
from tests.thorough import thorough

SIZE = 300
RNG = np.random.default_rng(1)
SPECTRA = {
    "uniform": np.linspace(-1, 1, SIZE),
    "multiplicities": np.r_[np.zeros(SIZE - 9), 5, 5, 5, 3, 3, 2.5, -4, -4, -1],
    "clusters": np.r_[0.1 * RNG.normal(size=SIZE - 6), 3, 3 + 1e-6, 3 + 2e-6, -2, -2 - 1e-9, -2 - 1e-5],
    "steps": np.repeat([-3.0, 1.0, 7.0], SIZE // 3),
    "fast decay": 2.0 ** -np.arange(SIZE),
    "identity": np.ones(SIZE),
    "zero": np.zeros(SIZE),
}


def ends(eigenvalues, top, bottom):
    down = np.sort(eigenvalues)[::-1]
    return np.r_[down[:top], down[SIZE - bottom :]]


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_restarted_search_finds_planted_spectra(x64, spectrum):
    """All of a repeated eigenvalue, and none twice: 1e-8 is what is asked, of a spectrum of modulus one."""
    exact = ends(SPECTRA[spectrum], 5, 3)
    pairs = curvature.eigenpairs(planted(SPECTRA[spectrum]), top=5, bottom=3, vectors=30)
    scale = max(np.abs(exact).max(), 1e-300)
    np.testing.assert_allclose(pairs.values, exact, rtol=0, atol=1e-8 * scale)
    assert np.all(pairs.converged)
    assert np.all(pairs.residuals <= 1e-9 * scale)
    np.testing.assert_allclose(pairs.vectors @ pairs.vectors.T, np.eye(8), atol=1e-9)


@pytest.mark.parametrize("vectors", [7, 40])
@pytest.mark.parametrize(("top", "bottom"), [(3, 0), (0, 3), (1, 2)])
def test_one_end_or_both_with_small_and_large_bases(x64, top, bottom, vectors):
    values = SPECTRA["multiplicities"]
    pairs = curvature.eigenpairs(planted(values), top=top, bottom=bottom, vectors=vectors)
    np.testing.assert_allclose(pairs.values, ends(values, top, bottom), atol=1e-8)
    assert np.all(pairs.converged)


def test_residuals_bound_the_errors_where_the_search_was_cut_short(x64):
    """Within a residual of every value there is an eigenvalue, converged or not; the values are inside the spectrum."""
    exact = SPECTRA["uniform"]
    pairs = curvature.eigenpairs(planted(exact), top=4, bottom=4, vectors=12, products=24)
    distance = np.min(np.abs(np.asarray(pairs.values)[:, None] - exact), 1)
    assert np.all(distance <= pairs.residuals)
    assert not np.any(pairs.converged)
    assert np.all(np.abs(pairs.values) <= 1)
    assert np.max(pairs.residuals) > 1e-3


def test_small_ones_are_taken_apart_and_agree_with_the_search(x64):
    values = RNG.normal(size=SIZE)
    operator = planted(values)
    dense = curvature.eigenpairs(operator, top=3, bottom=2)
    np.testing.assert_allclose(dense.values, ends(values, 3, 2), atol=1e-12)
    assert dense.products == SIZE
    assert np.all(dense.residuals < 1e-12)
    searched = curvature.eigenpairs(operator, top=3, bottom=2, vectors=40)
    np.testing.assert_allclose(np.abs(np.sum(dense.vectors * searched.vectors, 1)), 1, atol=1e-12)


@pytest.mark.parametrize("hidden", [6, thorough(62), thorough(63)])
def test_a_network_on_both_sides_of_two_thousand_parameters(x64, hidden):
    """1995 are taken apart, 2027 are searched, both to 1e-8 of LAPACK on the Hessian that JAX writes out."""
    keys = jax.random.split(jax.random.key(4), 4)
    x, labels = jax.random.normal(keys[0], (64, 20)), jax.random.randint(keys[1], (64,), 0, 11)
    params = [jax.random.normal(keys[2], (21, hidden)) / 4, jax.random.normal(keys[3], (hidden + 1, 11)) / 4]
    bordered = lambda a: jnp.concatenate([jnp.ones_like(a[:, :1]), a], 1)

    def loss(params):
        outputs = bordered(jnp.tanh(bordered(x) @ params[0])) @ params[1]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], 1))

    raveled, unravel = jax.flatten_util.ravel_pytree(params)
    exact = np.linalg.eigvalsh(jax.hessian(lambda v: loss(unravel(v)))(raveled))
    pairs = curvature.eigenpairs(curvature.hessian(loss, params), top=5, bottom=3)
    assert pairs.products == (raveled.size if hidden < 63 else pairs.products)
    np.testing.assert_allclose(pairs.values, np.r_[exact[::-1][:5], exact[2::-1]], rtol=0, atol=1e-8)


def test_float32_is_as_good_as_its_residuals():
    values = SPECTRA["clusters"]
    pairs = curvature.eigenpairs(planted(values), top=3, bottom=1, vectors=24)
    assert pairs.values.dtype == jnp.float32
    np.testing.assert_allclose(pairs.values, ends(values, 3, 1), atol=64 * np.finfo(np.float32).eps * 3)
    assert np.all(pairs.converged)


def test_what_is_compiled_does_not_depend_on_the_order_nor_on_the_numbers():
    operator = lambda scale: curvature.operator(lambda v: scale * v, jnp.zeros(50))
    scales = jnp.linspace(1.0, 2.0, 50)
    counted = [
        str(jax.make_jaxpr(lambda s, m=m: curvature.eigenpairs(operator(s), vectors=m).values)(scales)).count("\n")
        for m in (10, 40)
    ]
    assert counted[0] == counted[1]
    curvature.eigenpairs(operator(scales), vectors=10)
    others = scales + 1
    before = len(compilations())
    curvature.eigenpairs(operator(others), vectors=10, tol=1e-3, products=50)
    assert len(compilations()) == before


def test_lanes_of_vmap_are_searches_of_their_own(x64):
    turn = rotation(60)
    scales = jnp.stack([jnp.linspace(0, 1, 60), jnp.linspace(-3, 2, 60), jnp.full(60, jnp.nan), jnp.ones(60)])

    def top(eigenvalues):
        matvec = lambda v: turn @ (eigenvalues * (turn.T @ v))
        pairs = curvature.eigenpairs(curvature.operator(matvec, jnp.zeros(60)), top=2, vectors=16)
        return pairs.values, pairs.converged

    values, converged = jax.jit(jax.vmap(top))(scales)
    np.testing.assert_allclose(values[0], [1, 58 / 59], atol=1e-10)
    np.testing.assert_allclose(values[1], [2, 2 - 5 / 59], atol=1e-10)
    np.testing.assert_allclose(values[3], 1, atol=1e-10)
    assert np.all(np.isnan(values[2]))
    assert converged.tolist() == [[True, True], [True, True], [False, False], [True, True]]


def test_condition_number(x64):
    values = np.r_[np.linspace(2, 7, 2050), -0.5]
    large = curvature.operator(lambda v: jnp.asarray(values[:2050]) * v, jnp.zeros(2050))
    got = curvature.condition_number(large)
    assert got.low <= 3.5 <= got.high
    assert got.high - got.low < 1e-6
    indefinite = curvature.operator(lambda v: jnp.asarray(values) * v, jnp.zeros(2051))
    assert np.isnan(curvature.condition_number(indefinite).value)
    np.testing.assert_allclose(curvature.condition_number(planted(values[2030:])).value, 14, rtol=1e-10)
    singular = curvature.condition_number(planted(np.arange(5.0)))
    assert singular.high == np.inf


BAD = {
    "none": ({"top": 0}, "between 1 and the 9 parameters; got 0"),
    "more than there are": ({"top": 7, "bottom": 3}, "between 1 and the 9 parameters; got 10"),
    "negative": ({"top": -1}, "`top` must be a whole number >= 0; got -1"),
    "order above the dimension": (
        {"vectors": 9},
        "`vectors` must be at least top .* less than the 9 parameters; got 9",
    ),
    "order below the pairs": ({"top": 2, "vectors": 3}, "= 6, and less than the 9 parameters; got 3"),
    "memory": ({"vectors": 5, "memory": 215}, "`memory` must hold 6 vectors of 9 float32, 216 bytes; got 215"),
    "tolerance": ({"tol": 0.0}, "`tol` must satisfy tol > 0; got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    options, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        curvature.eigenpairs(curvature.hessian(lambda w: jnp.sum(w**2), jnp.ones(9)), **options)


def test_memory_chooses_the_basis():
    operator = curvature.operator(lambda v: 2 * v, jnp.zeros(3000))
    shapes = str(jax.make_jaxpr(lambda: curvature.eigenpairs(operator, memory=10 * 12000).values)())
    assert "f32[10,3000]" in shapes
    assert "f32[11,3000]" not in shapes


@pytest.mark.parametrize("size", [thorough(1_000_000)])
def test_many_parameters_are_within_the_stated_bound(size):
    """A band matrix with outliers, in float32, against SciPy in float64: to the residual and 28 eps of the largest."""
    scales = np.r_[np.linspace(0, 1, size - 3), 2.0, 3.0, 3.0].astype(np.float32)
    matvec = lambda v: scales * v + 0.1 * (jnp.roll(v, 1) + jnp.roll(v, -1))
    pairs = curvature.eigenpairs(curvature.operator(matvec, jnp.zeros(size)), top=2)
    with jax.enable_x64(True):
        wide = curvature.operator(
            lambda v: scales.astype(np.float64) * v + 0.1 * (jnp.roll(v, 1) + jnp.roll(v, -1)), jnp.zeros(size)
        )
        top = eigsh(wide.to_scipy(), 2, which="LA", tol=1e-7)[0][::-1]
    assert np.all(np.abs(pairs.values[:2] - top) <= pairs.residuals[:2] + 1e-5)
