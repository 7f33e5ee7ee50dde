"""The paper's theorems and what lies past them; slightly false ones refuted."""

import math
import subprocess
import sys

import mpmath
import pytest

from tests.proofs.oracle import FIGURES, OMEGA, layer

pytest.importorskip("flint")

from jnorm.proofs._inequalities import Inequality
from jnorm.proofs.certificate import (
    Domain,
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


def test_theorem_1_and_its_tight_constants():
    proof = theorem1()
    assert proof.holds is True
    assert proof.bound[1] - proof.bound[0] <= 1e-9
    # .8976083581 as published; the enclosure [.89760835840891, .89760835840892] is 3e-10 above it
    assert proof.rate == pytest.approx(FIGURES["theorem 1 rate"], abs=5e-10)
    assert proof.metric == "dmean^2 + dvar^2"
    image = image_box((-0.1, 0.1), (0.8, 1.5))
    assert [round(low, 7) for low, _ in image.extremes.values()] == FIGURES["theorem 1 image"]
    assert all(high - low <= 1e-9 for low, high in image.extremes.values())


def test_theorems_2_and_3_and_their_tight_constants():
    second, third = theorem2(), theorem3()
    assert (second.holds, third.holds) == (True, True)
    assert round(second.bound[1], 6) == FIGURES["theorem 2"]
    assert [round(p.bound[0], 6) for p in third.proofs] == FIGURES["theorem 3"]
    assert third.bound[0] == third.proofs[0].bound[0]
    assert all(p.bound[1] - p.bound[0] <= 1e-9 for p in (*second.proofs, *third.proofs))


@pytest.mark.parametrize(
    ("mean", "var", "omega", "tau", "p"),
    [
        ((-1, 1), (0.61, 13.6), OMEGA, (0.95, 1.1), None),
        ((-1.3, 1.3), (0.63, 19), OMEGA, (0.95, 1.1), None),
        ((-0.1, 2.5), (0.3695, 60), 0, 1, None),
        ((-0.1, 0.1), (0.8, 1.5), OMEGA, (0.95, 1.1), 0.64),
        ((-1, 1), (0.06, 13.6), OMEGA, (0.95, 1.1), 0.64),
        ((-3, 3), (0.45, 67), OMEGA, (0.95, 1.1), 0.64),
        ((-1, 1), (0.08, 11.9), OMEGA, (0.8, 1.25), 0.64),
        ((-0.5, 0.5), (0.2, 5.5), (-0.2, 0.2), (0.95, 1.1), 0.64),
    ],
)
def test_larger_boxes(mean, var, omega, tau, p):
    proof = contraction(mean, var, omega, tau, p=p)
    assert proof.holds is True
    assert proof.rate < 1


def test_rates_past_the_paper():
    wide = contraction((-0.1, 0.1), (0.8, 1.5), tau=(0.8, 1.25), self_map=False)
    assert round(wide.rate, 8) == FIGURES["wide tau rate"]
    log = contraction((-0.1, 0.1), (0.8, 1.5), p=0.64)
    assert log.rate < FIGURES["metric rate"]
    assert log.metric == "0.64^2 dmean^2/var + dvar^2/var^2"


def test_variance_moves_inward_far_past_the_paper():
    assert variance_decreases((-1, 1), (2.4985, 1e6)).holds is True
    assert variance_decreases((-1, 1), (2.4975, 1e6)).holds is False
    assert variance_increases((-0.1, 0.1), (2e-4, 0.38)).holds is True
    assert variance_increases((-0.1, 0.1), (2e-4, 0.63), tau=(0.9, 1.25)).holds is True
    _, after = layer(0.1, 1e-5, 0.1, 0.8)
    assert round(float(after) / 1e-5, 12) == FIGURES["ratio toward zero"]


def test_slightly_false_statements_are_refuted_at_a_true_point():
    for proof, domain in (
        (theorem1(tau=(0.95, 1.2)), ((-0.1, 0.1), (0.8, 1.5), OMEGA, (0.95, 1.2))),
        (theorem2(var=(2.45, 16)), ((-1, 1), (2.45, 16), OMEGA, (0.8, 1.25))),
        (theorem3(boxes=(((1e-5, 0.16), (0.8, 1.25)),)), ((-0.1, 0.1), (1e-5, 0.16), OMEGA, (0.8, 1.25))),
    ):
        assert proof.holds is False
        refuted = proof.counterexample
        point = [refuted[name] for name in ("mean", "var", "omega", "tau")]
        assert all(low <= x <= high for x, (low, high) in zip(point, domain, strict=True))
        _, after = layer(*point)
        broken = {
            "variance < 1.5": after > mpmath.mpf("1.5"),
            "change of variance < 0": after >= point[1],
            "change of variance > 0": after <= point[1],
        }
        assert broken[refuted["inequality"]]


def test_touching_equality_ends_undecided():
    """At (0, 1) the layer keeps the variance: var~ < var fails on [1, 2] by equality alone, which no digit shows."""
    proof = variance_decreases(0.0, (1.0, 2.0), 0.0, 1.0)
    assert proof.holds is None
    assert proof.counterexample is None
    assert proof.bound[0] <= 0 <= proof.bound[1] < 1e-30
    assert variance_decreases(0.0, (1.001, 2.0), 0.0, 1.0).holds is True
    assert variance_decreases(0.0, (0.999, 2.0), 0.0, 1.0).holds is False


def test_a_spent_budget_ends_undecided():
    assert contraction((-3, 3), (0.45, 67), p=0.64, budget=20).holds is None
    assert image_box((-0.1, 0.1), (0.8, 1.5), budget=1).holds is None


def test_gradient_factor_over_the_paper_box():
    least, most = gradient_bounds((-0.1, 0.1), (0.8, 1.5)).extremes.values()
    assert least[0] >= FIGURES["gradient factor"][0]  # .952668 and 1.208967: the published ends, rounded outward
    assert most[1] <= FIGURES["gradient factor"][1]
    assert max(least[1] - least[0], most[1] - most[0]) <= 1e-9
    # at the fixed point: 1.07157499245579925757465635 (published)
    at_point = gradient_bounds(0.0, 1.0, 0.0, 1.0)
    assert at_point.bound[0] == pytest.approx(1.07157499245579925757465635, rel=1e-15)


def test_exact_ranges_of_omega_and_tau():
    omegas = list(omega_range().extremes.values())
    assert [round(omegas[0][0], 4), round(omegas[1][0], 5)] == FIGURES["omega"]
    proof = tau_range()
    assert proof.holds is True
    taus = [bound for name, bound in proof.extremes.items() if "tau" in name]
    assert [round(low, 6) for low, _ in taus] == FIGURES["tau"]
    assert all(high - low < 1e-15 * abs(high) + 1e-15 for low, high in (*omegas, *taus))
    # Just inside the spectral radius is below 1, just outside above: contraction of a small box needs it below.
    assert fixed_point(0.0, 2.6, start=(1.0, 2000.0)).holds is True
    assert tau_range(2.0).holds is True


def test_contraction_for_any_target():
    proof = contraction((-0.05, 0.25), (0.8, 1.2), 0.0, (0.98, 1.02), target=(0.1, 1.0), self_map=False)
    assert proof.holds is True
    point = fixed_point(0.0, 1.0, target=(0.1, 1.0))
    assert point.holds is True
    assert (0.1, 1.0, 0.0, 1.0) in point.domain[0]
    assert variance_decreases((-0.1, 0.1), (6, 20), target=(0.0, 2.0)).holds is True
    with pytest.raises(ValueError, match=r"no scaled ELU has the fixed point \(0\.7, 1\.0\) at omega 0\.0, tau 1\.0"):
        contraction((0.6, 0.8), (0.8, 1.2), target=(0.7, 1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theorem1(mean=(0.1, -0.1)), r"`mean` must satisfy low <= high; got \(0\.1, -0\.1\)"),
        (lambda: theorem1(var=()), r"`var` must be a number or a pair \(low, high\); got \(\)"),
        (lambda: theorem2(var=(0.0, 1.0)), r"`var` must satisfy var > 0; got 0\.0"),
        (lambda: theorem2(var=(-1.0, 1.0)), r"`var` must satisfy var > 0; got -1\.0"),
        (lambda: contraction((0, 1), (1, 2), tau=(0.0, 1.0)), r"`tau` must satisfy tau > 0; got 0\.0"),
        (lambda: limit_set((0, math.nan), (1, 2)), r"`mean` must be finite; got"),
        (lambda: global_convergence(omega=(1, -1)), r"`omega` must satisfy low <= high"),
        (lambda: contraction((0, 1), (1, 2), target=(0.0, -1.0)), r"`var` must satisfy 0 < var < inf; got -1\.0"),
        (lambda: tau_range(-1.0), r"`var` must satisfy"),
        (lambda: contraction((0, 1), (1, 2), target=(0.1,)), r"`target` must be \(mean, var\) .*got \(0\.1,\) and"),
        (lambda: limit_set((0, 1), (1, 2), weights=(0, 1, 2)), r"`weights` \(omega, tau\); got \(0\.0, 1\.0\) and \(0"),
        (lambda: Inequality("speed", "<", 1.0, Domain(0, 1, 0, 1)), r"`quantity` must be one of mean, variance"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_flint_the_extra_is_named(monkeypatch):
    code = "import sys; sys.modules['flint'] = None; import jnorm.proofs.certificate"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jnorm\[verify\]"'):
        theorem1()


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'depth'"):
        contraction((0, 1), (1, 2), depth=3)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'target'"):
        theorem1(target=(0.1, 1.0))  # the theorems are about SELU
