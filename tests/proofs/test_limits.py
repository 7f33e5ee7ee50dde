"""Where layer after layer leads: hulls that are reached, trajectories on their path, every start."""

import numpy as np
import pytest

from tests.proofs.oracle import FIGURES, OMEGA, layer

pytest.importorskip("flint")

from jnorm.proofs._search import verify
from jnorm.proofs._statements import STATEMENTS
from jnorm.proofs.certificate import fixed_point, global_convergence, limit_set


@pytest.fixture(scope="module")
def everywhere():
    return global_convergence()


@pytest.fixture(scope="module")
def wide():
    return limit_set((-3.5, 3.5), (0.01, 12), tau=(0.8, 1.25))


def test_global_convergence_with_changing_weights(everywhere):
    assert everywhere.holds is True
    assert everywhere.path[0] == ((-3.0, 3.0), (1e-3, 100.0))
    assert everywhere.enters() <= FIGURES["layers"]
    for end, floor in zip(everywhere.path[-1], FIGURES["limit set"], strict=True):
        assert floor[0] <= end[0] <= end[1] <= floor[1]
    assert everywhere.rate < 1


def test_the_hull_is_reached(everywhere, wide):
    """Fixed points at constant weights lie in the limit set, and come within 1e-5 of all four ends of its hull."""
    for proof, taus in ((everywhere, (0.95, 1.1)), (wide, (0.8, 1.25))):
        assert proof.holds is True
        points = [fixed_point(omega, tau) for omega in OMEGA for tau in taus]
        assert all(point.holds is True for point in points)
        for k, hull in enumerate(proof.path[-1]):
            ends = [(p.domain[0].mean, p.domain[0].var)[k] for p in points]
            assert hull[0] <= min(low for low, _ in ends) <= hull[0] + 1e-5
            assert hull[1] - 1e-5 <= max(high for _, high in ends) <= hull[1]


def test_trajectories_stay_on_the_path(everywhere):
    rng = np.random.default_rng(8)
    for _ in range(20):
        moments = (float(rng.uniform(-3, 3)), float(10 ** rng.uniform(-3, 2)))
        for mean, var in everywhere.path[:40]:
            assert mean[0] <= moments[0] <= mean[1]
            assert var[0] <= moments[1] <= var[1]
            moments = tuple(map(float, layer(*moments, float(rng.choice(OMEGA)), float(rng.choice((0.95, 1.1))))))


def test_every_start_reaches_the_fixed_point():
    proof = global_convergence(0.0, 1.0)
    assert proof.holds is True
    mean, var = proof.path[-1]
    assert mean[0] <= 0 <= mean[1] < 1e-5  # the rounding of the path
    assert var[0] <= 1 <= var[1] < 1 + 1e-5


def test_limit_set_for_wide_tau(wide):
    assert wide.holds is True
    for end, floor in zip(wide.path[-1], FIGURES["wide limit set"], strict=True):
        assert floor[0] <= end[0] <= end[1] <= floor[1]
    assert limit_set((-3, 3), (1e-3, 100), layers=0).holds is None  # its image has means up to 3.76
    assert limit_set((-0.1, 0.1), (1e-5, 1), omega=0, tau=0.4).holds is None  # below the lowest tau all variance dies


def test_global_convergence_that_is_not_shown_is_undecided():
    assert global_convergence(omega=(-0.1, 0.1), tau=(0.8, 1.25)).holds is None  # no growth toward zero
    assert global_convergence(omega=(-0.5, 0.5), tau=(0.95, 1.9)).holds is None  # no bound far out


def test_global_steps_must_join():
    proof = global_convergence(0.0, 1.0)
    arguments = dict(proof.arguments)
    inequalities = STATEMENTS["global_convergence"]
    assert len(inequalities(**arguments)) == len(proof.proofs)
    with pytest.raises(ValueError, match=r"`fall` must start from abs\(mean\) <= 9\.0"):
        inequalities(**{**arguments, "norm": 9.0})
    with pytest.raises(ValueError, match=r"`path` must start from a rectangle that holds the end of the fall"):
        inequalities(**{**arguments, "path": [((-1.0, 1.0), (1e-3, 100.0), (-20.0, 20.0))]})
    with pytest.raises(ValueError, match=r"a path must start from a whole rectangle"):
        inequalities(**{**arguments, "path": [((-3.0, 3.0), (1e-3, 100.0), (-1.0, 1.0))]})


@pytest.mark.parametrize(("layers", "holds"), [(10, None), (12, True)])
def test_a_path_that_is_cut_short_proves_what_it_shows(layers, holds):
    """A path ends before it has settled: its last region maps into itself after 12 layers, and not after 10."""
    proof = global_convergence(0.0, 1.0, layers=layers)
    assert proof.holds is holds
    assert len(proof.path) == layers + 1
    assert [p.inequality for p in proof.proofs] == STATEMENTS["global_convergence"](**proof.arguments)
    assert all(verify(p) is True for p in proof.proofs if p.holds)
