"""The tables of docs/accuracy.md: whole, no worse than docstrings promise, and true of this machine too.

A table holds powers of two, at or above what one machine measured; twice as much is allowed anywhere else.
"""

import jax
import jax.numpy as jnp
import pytest

from jnorm import activations
from tests import accuracy, oracle
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

TEXT = accuracy.PAGE.read_text()
FUNCTIONS, MOMENTS, PAIRS = (accuracy.table(name, TEXT) for name in ("functions", "moments", "pairs"))
on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the tables are those of a CPU")


def test_every_function_and_moment_has_a_row():
    assert set(FUNCTIONS) == set(accuracy.EXACT["functions"])
    assert set(MOMENTS) == set(oracle.elementwise_names())
    assert set(PAIRS) == set(accuracy.PAIRS)


def test_no_figure_is_above_what_is_promised():
    for row in FUNCTIONS.values():
        for figures in row:
            assert all(f <= accuracy.PROMISED[dtype] for f, dtype in zip(figures, accuracy.DTYPES, strict=True))
    for name, row in MOMENTS.items():
        by = "closed form" if activations.closed_form(activations.ELEMENTWISE[name]) else "quadrature"
        assert f"| `{name}` | {by} |" in TEXT
        for figures, promised in zip(row, accuracy.PROMISED_MOMENTS[by], strict=True):
            for figure, most, dtype in zip(figures, promised, accuracy.THEORY, strict=True):
                assert figure * float(jnp.finfo(dtype).eps) <= most, (name, figures)


def test_the_check_reads_what_is_written():
    again = accuracy.written(TEXT, {"pairs": ["| activation | product |", "|---|---|", "| `selu` | 4, 0.5 |"]})
    assert accuracy.table("pairs", again) == {"selu": [[4.0, 0.5]]}
    assert accuracy.table("moments", again) == MOMENTS


@on_cpu
@pytest.mark.parametrize("dtype", accuracy.DTYPES)
def test_functions_are_as_accurate_here(dtype):
    column = accuracy.DTYPES.index(dtype)
    for name, errors in accuracy.elementwise(dtype, ["gelu", "selu", "sin"]).items():
        assert all(error <= 2 * row[column] for error, row in zip(errors, FUNCTIONS[name], strict=True)), (name, errors)


@on_cpu
@pytest.mark.parametrize("name", beside(["selu"], oracle.elementwise_names()))
@pytest.mark.parametrize("dtype", accuracy.THEORY)
def test_moments_are_as_accurate_here(name, dtype):
    column, errors = accuracy.THEORY.index(dtype), accuracy.moments(dtype, name)
    assert all(error <= 2 * row[column] for error, row in zip(errors, MOMENTS[name], strict=True)), errors


@on_cpu
@pytest.mark.parametrize("name", beside([], accuracy.PAIRS))
@pytest.mark.parametrize("dtype", accuracy.THEORY)
def test_pairs_are_as_accurate_here(name, dtype):
    assert accuracy.two(dtype, name) <= 2 * PAIRS[name][0][accuracy.THEORY.index(dtype)]
