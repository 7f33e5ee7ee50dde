"""Numbers that several domains share, statements that nothing refutes, and inputs that are refused."""

import math

import numpy as np
import pytest

pytest.importorskip("flint")

from jnorm.proofs.certificate import (
    contraction,
    fixed_point,
    global_convergence,
    gradient_bounds,
    image_box,
    limit_set,
    omega_range,
    tau_range,
    theorem1,
    theorem2,
    theorem3,
    variance_decreases,
    variance_increases,
)
from tests.proofs.oracle import jacobian, layer, points

MEAN, VAR, TAU = (-0.1, 0.1), (0.8, 1.5), (0.95, 1.1)
CUT = [(-0.3, 0.1), (-0.8, 0.1), (-0.05, 0.6)]  # intervals of omega that the proofs halve at 0


@pytest.mark.parametrize("omega", CUT, ids=str)
def test_extremes_hold_over_every_part_of_a_domain(omega):
    """Random points, and the corners, of the whole domain at 50 digits: within the extremes, which corners reach."""
    image, factor = image_box(MEAN, VAR, omega, TAU), gradient_bounds(MEAN, VAR, omega, TAU)
    assert list(image.extremes) == ["mean at least", "mean at most", "variance at least", "variance at most"]
    assert list(factor.extremes) == ["gradient factor at least", "gradient factor at most"]
    rows = [(*layer(*point), jacobian(*point)[-1]) for point in points((MEAN, VAR, omega, TAU), 200, seed=21)]
    extremes = list((image.extremes | factor.extremes).values())
    for k, (least, most) in enumerate(zip(extremes[::2], extremes[1::2], strict=True)):
        values = [row[k] for row in rows]
        assert least[0] <= min(values)
        assert max(values) <= most[1]
        if k < 2:  # mean and variance of this rectangle have their extremes at corners or at omega = 0, to 2%
            assert max(values) - min(values) >= 0.98 * (most[0] - least[1])


def test_known_extremes_of_cut_domains():
    """The truth, from a search of the four-dimensional box at 40 digits: the two halves reach further than either."""
    image = image_box(MEAN, VAR, (-0.3, 0.1)).extremes
    for name, value in (("mean at least", -0.05135), ("mean at most", 0.08629)):
        assert image[name][0] == pytest.approx(value, abs=5e-6)  # the digits given
    assert image["variance at least"][0] == pytest.approx(0.79903, abs=5e-6)
    assert image["variance at most"][0] == pytest.approx(1.49094, abs=5e-6)
    assert gradient_bounds(MEAN, VAR, (-0.8, 0.1)).extremes["gradient factor at most"][0] == pytest.approx(
        1.22623, abs=5e-6
    )


@pytest.mark.parametrize("omega", CUT, ids=str)
@pytest.mark.parametrize("p", [None, 0.64])
def test_rates_hold_over_every_part_of_a_domain(omega, p):
    proof = contraction(MEAN, VAR, omega, TAU, p=p, self_map=False)
    rates = [jacobian(*point, p=p)[0] for point in points((MEAN, VAR, omega, TAU), 200, seed=22)]
    assert max(rates) <= proof.rate
    assert proof.extremes == {f"rate at most{' (p = 0.64)' if p else ''}": proof.bound}
    assert proof.rate == proof.bound[1]


def test_changes_of_variance_hold_over_every_domain():
    boxes = (((0.02, 0.16), (0.8, 1.25)), ((0.02, 0.24), (0.9, 1.25)))
    raised, lowered = theorem3(omega=(-0.2, 0.1), boxes=boxes), theorem2(omega=(-0.2, 0.1))
    changes = [
        layer(*point)[1] - point[1]
        for var, tau in boxes
        for point in points((MEAN, var, (-0.2, 0.1), tau), 150, seed=23)
    ]
    assert raised.bound[0] <= min(changes)
    assert raised.extremes == {"change of variance at least": raised.bound}
    falls = [layer(*x)[1] - x[1] for x in points(((-1.0, 1.0), (3.0, 16.0), (-0.2, 0.1), (0.8, 1.25)), 150, seed=24)]
    assert max(falls) <= lowered.bound[1]


def test_extremes_of_a_path_hold_over_all_its_regions():
    proof = limit_set((-0.2, 0.3), (0.7, 1.6), (-0.2, 0.1), TAU)
    assert proof.holds is True
    for x in points(((-0.2, 0.3), (0.7, 1.6), (-0.2, 0.1), TAU), 60, seed=25):
        moments = x[:2]
        for _ in range(3):
            moments = tuple(map(float, layer(*moments, *x[2:])))
            assert proof.extremes["mean at least"][0] <= moments[0] <= proof.extremes["mean at most"][1]
            assert proof.extremes["variance at least"][0] <= moments[1] <= proof.extremes["variance at most"][1]


@pytest.mark.parametrize(
    ("omega", "tau", "start"), [(0.0, 0.55, (0.0, 1.0)), (0.0, 0.6, (0.0, 1.0)), (0.05, 0.55, (0.0, 1.0))]
)
def test_fixed_points_that_attract_though_the_2_norm_does_not_fall(omega, tau, start):
    """tau*dV/dv = 0.95 at (0, 0.55): iteration at 50 digits comes to the point that is enclosed."""
    proof = fixed_point(omega, tau, start=start)
    assert proof.holds is True
    moments = start
    for _ in range(800):  # 0.951**800 < 1e-17
        moments = tuple(map(float, layer(*moments, omega, tau)))
    for x, (low, high) in zip(moments, (proof.domain[0].mean, proof.domain[0].var), strict=True):
        assert low <= x <= high <= low + 3e-12


@pytest.mark.parametrize(("omega", "tau"), [(0.0, 0.4), (0.0, 3.0), (1.2, 1.0), (-1.2, 1.0)])
def test_where_no_point_attracts_nothing_is_refuted(omega, tau):
    """Below and above the range of tau variance dies or grows; beyond that of omega (0, 1) is there and repels."""
    proof = fixed_point(omega, tau)
    assert proof.holds is None
    assert proof.counterexample is None


def test_a_refuted_statement_has_a_counterexample():
    for proof in (
        contraction(0.0, 1.0, 0.0, 0.5, p=0.5),
        contraction((-1, 1), (0.5, 2), (-2, 2)),
        variance_increases((-0.1, 0.1), (0.5, 2)),
        theorem1(tau=(0.5, 1.2)),
        contraction((-1, 1), (0.4, 2), p=0.64, budget=3),
    ):
        assert (proof.holds is False) == (proof.counterexample is not None)


def test_titles_are_those_of_theorems_only_on_their_domains():
    paper = ((-0.1, 0.1), (0.8, 1.5))
    assert [proof.title for proof in (theorem1(), theorem2(), theorem3())] == ["theorem 1", "theorem 2", "theorem 3"]
    assert contraction(*paper).title == "theorem 1"
    assert contraction(*paper, self_map=False).title == "contraction (self-map not stated)"
    assert contraction(*paper, p=0.64).title == theorem1(tau=(0.95, 1.09)).title == "contraction"
    assert contraction(*paper, target=(0.0, 1.1)).title == "contraction"
    assert theorem2(var=(2.5, 16)).title == "variance decreases"
    assert "var in [2.5, 16]" in theorem2(var=(2.5, 16)).proposition
    assert "1.5000001" in str(theorem1(var=(0.8, 1.5000001)).proofs[-1].inequality)  # no digit is dropped


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theorem1(tol=math.nan), r"`tol` must be finite; got nan"),
        (lambda: theorem1(tol=0.0), r"`tol` must satisfy tol > 0; got 0\.0"),
        (lambda: theorem1(tol="1e-9"), r"`tol` must be a number; got '1e-9'"),
        (lambda: image_box(MEAN, VAR, tol=-1.0), r"`tol` must satisfy tol > 0; got -1\.0"),
        (lambda: theorem2(budget=0), r"`budget` must be a whole number >= 1; got 0"),
        (lambda: theorem2(budget=1.5), r"`budget` must be a whole number >= 1; got 1\.5"),
        (lambda: limit_set(MEAN, VAR, budget=0), r"`budget` must be a whole number >= 1; got 0"),
        (lambda: limit_set(MEAN, VAR, layers=-1), r"`layers` must be a whole number >= 0; got -1"),
        (lambda: global_convergence(0.0, 1.0, layers=math.nan), r"`layers` must be finite; got nan"),
        (lambda: global_convergence(0.0, 1.0, p=-1.0), r"`p` must satisfy p > 0; got -1\.0"),
        (lambda: global_convergence(0.0, 1.0, start=((-3, 3),)), r"`start` must be a pair of intervals"),
        (lambda: contraction(MEAN, VAR, p=math.nan), r"`p` must be finite; got nan"),
        (lambda: contraction(MEAN, VAR, p=0), r"`p` must satisfy p > 0; got 0\.0"),
        (lambda: contraction(MEAN, VAR, self_map="no"), r"`self_map` must be True or False; got 'no'"),
        (lambda: contraction(MEAN, VAR, target=(math.nan, 1.0)), r"`mean` must be finite; got nan"),
        (lambda: contraction(MEAN, VAR, target=(0.0, math.nan)), r"`var` must be finite; got nan"),
        (lambda: variance_decreases(MEAN, VAR, weights=(0.0, math.inf)), r"`tau` must be finite; got inf"),
        (lambda: fixed_point(math.nan, 1.0), r"`omega` must be finite; got nan"),
        (lambda: fixed_point(0.0, -1.0), r"`tau` must satisfy tau > 0; got -1\.0"),
        (lambda: fixed_point((0.0, 0.1), 1.0), r"`omega` must be a number; got \(0\.0, 0\.1\)"),
        (lambda: fixed_point(0.0, 1.0, start=(0.0, 0.0)), r"`var` must satisfy var > 0; got 0\.0"),
        (lambda: omega_range(tau=math.nan), r"`tau` must be finite; got nan"),
        (lambda: tau_range("1"), r"`var` must be a number; got '1'"),
        (lambda: theorem3(boxes=()), r"`boxes` must hold a pair of var and tau at least; got \(\)"),
        (lambda: contraction(MEAN, VAR, target=1.0), r"`target` must be \(mean, var\)"),
        (lambda: theorem1().enters(mean=(1, -1)), r"`mean` must satisfy low <= high; got \(1\.0, -1\.0\)"),
        (lambda: theorem1(var=(0.8, 1e308)), r"`var` must lie within -1e100 and 1e100; got \(0\.8, 1e\+308\)"),
    ],
)
def test_input_without_a_meaning_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_numpy_numbers_are_written_as_plain_ones():
    proof = contraction(
        np.array([-0.1, 0.1]), np.array([0.8, 1.5]), np.float64(0.0), np.float32(1.0), p=np.float64(0.64)
    )
    assert proof.arguments["mean"] == (-0.1, 0.1)
    assert all(type(x) is float for x in (*proof.arguments["mean"], *proof.arguments["tau"], proof.arguments["p"]))
