"""The paper's theorems and what lies past them; slightly false ones refuted; files that cannot lie."""

import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest

pytest.importorskip("flint")

from jnorm.proofs import _records as records
from jnorm.proofs import certificate
from jnorm.proofs._claims import Claim, Proof, search, verify
from jnorm.proofs._domains import Domain, covers
from jnorm.proofs.certificate import (
    check,
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
    write,
)

FIGURES = json.loads((Path(__file__).parents[1] / "golden" / "certificate.json").read_text())["figures"]
OMEGA = (-0.1, 0.1)


def layer(mean, var, omega, tau):
    """SELU's next mean and variance at 50 digits, each argument the decimal it prints as: mpmath, no ball in sight."""
    with mpmath.workdps(50):
        mu, nu, w, t = (mpmath.mpf(repr(x)) for x in (mean, var, omega, tau))
        half = mpmath.erfc(1 / mpmath.sqrt(2)) * mpmath.sqrt(mpmath.e) / 2  # E_1 at (0, 1)
        full = mpmath.erfc(mpmath.sqrt(2)) * mpmath.e**2 / 2
        alpha = -1 / mpmath.sqrt(2 * mpmath.pi) / (half - mpmath.mpf(1) / 2)
        lam = 1 / mpmath.sqrt(mpmath.mpf(1) / 2 + alpha**2 * (full - 2 * half + mpmath.mpf(1) / 2))
        m, v = mu * w, nu * t
        s = mpmath.sqrt(v)
        up, down, density = mpmath.ncdf(m / s), mpmath.ncdf(-m / s), s * mpmath.npdf(m / s)
        e1, e2 = (mpmath.exp(k * m + k * k * v / 2) * mpmath.ncdf(-(m + k * v) / s) for k in (1, 2))
        first = lam * (m * up + density + alpha * (e1 - down))
        second = lam**2 * ((m * m + v) * up + m * density + alpha**2 * (e2 - 2 * e1 + down))
        return first, second - first**2


def rounded(x, digits):
    """x to the decimals that a published figure is given with."""
    return round(x, digits)


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
        found = proof.counterexample
        point = [found[name] for name in ("mean", "var", "omega", "tau")]
        assert all(low <= x <= high for x, (low, high) in zip(point, domain, strict=True))
        _, after = layer(*point)
        broken = {
            "variance < 1.5": after > mpmath.mpf("1.5"),
            "change of variance < 0": after >= point[1],
            "change of variance > 0": after <= point[1],
        }
        assert broken[found["claim"]]


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


@pytest.mark.parametrize(
    ("quantity", "p"), [("rate", None), ("rate", 0.64), ("change of variance", None), ("gradient factor", None)]
)
@pytest.mark.parametrize(
    "domain",
    [
        Domain((-0.1, 0.1), (0.8, 1.5), OMEGA, (0.95, 1.1)),
        Domain((0.2, 0.6), (0.5, 3.0), (-0.3, 0.3), (0.7, 1.4)),
        Domain((-0.7, -0.3), (0.5, 0.6), (0.1, 0.4), (0.7, 1.4)),
        Domain((-0.4, 0.9), (1.0, 1.0), (0.0, 0.5), (0.9, 1.2)),
    ],
    ids=str,
)
def test_two_dimensions_bound_all_four(quantity, p, domain):
    """Random points of the four-dimensional box stay within the extremes that the two-dimensional search encloses."""
    rng = np.random.default_rng(11)
    ends = [domain.mean, domain.var, domain.omega, domain.tau]
    for sense in "<" if quantity == "rate" else "<>":
        claim = Claim(quantity, sense, None, domain, p=p)
        proof = search(claim)
        assert proof.holds is True
        assert proof.point in domain
        for _ in range(200):
            value = claim.value(tuple(float(rng.uniform(*end)) for end in ends))
            assert value <= proof.bound[1] if sense == "<" else value >= proof.bound[0]


def test_strips_bound_their_points():
    """Random points of a rectangle cut by a strip stay within the extremes; a rectangle's own are further out."""
    rng = np.random.default_rng(12)
    whole = Domain((-0.5, 0.5), (0.5, 3.0), (-0.5, 0.5), (0.9, 1.2))
    cut = Domain(*[(-0.5, 0.5), (0.5, 3.0), (-0.5, 0.5), (0.9, 1.2)], strip=(0.3, -0.6, -0.4))
    for quantity, p in (("mean", None), ("variance", None), ("mean - p*variance", 0.3)):
        for sense, side in (("<", 1), (">", 0)):
            proof, wider = (search(Claim(quantity, sense, None, d, p=p), tol=1e-5) for d in (cut, whole))
            assert proof.bound[side] <= wider.bound[side] if side else proof.bound[side] >= wider.bound[side]
            values = []
            while len(values) < 100:
                point = tuple(float(rng.uniform(*ends)) for ends in (cut.mean, cut.var, cut.omega, cut.tau))
                if point in cut:
                    values.append(proof.claim.value(point))
            assert all(v <= proof.bound[1] if side else v >= proof.bound[0] for v in values)
            assert proof.point in cut
    assert abs(search(Claim("mean", ">", None, cut)).bound[0] - search(Claim("mean", ">", None, whole)).bound[0]) > 0.01


def test_asymmetric_omega_is_cut_at_zero():
    whole = Domain((-0.4, 0.9), (0.8, 1.5), (-0.1, 0.3), (0.95, 1.1))
    parts = list(whole.parts())
    assert [part.omega for part in parts] == [(-0.1, 0.0), (0.0, 0.3)]
    proof = contraction(whole.mean, whole.var, whole.omega, whole.tau, self_map=False)
    assert proof.rate == max(search(Claim("rate", "<", None, part)).bound[1] for part in parts)


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


@pytest.fixture(scope="module")
def everywhere():
    return global_convergence()


def test_global_convergence_with_changing_weights(everywhere):
    assert everywhere.holds is True
    assert everywhere.path[0] == ((-3.0, 3.0), (1e-3, 100.0))
    assert everywhere.enters() <= FIGURES["layers"]
    for end, floor in zip(everywhere.path[-1], FIGURES["limit set"], strict=True):
        assert floor[0] <= end[0] <= end[1] <= floor[1]
    assert everywhere.rate < 1


def test_the_hull_is_reached(everywhere):
    """Fixed points at constant weights lie in the limit set, and come within 1e-5 of all four ends of its hull."""
    for proof, taus in ((everywhere, (0.95, 1.1)), (limit_set((-3.5, 3.5), (0.01, 12), tau=(0.8, 1.25)), (0.8, 1.25))):
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
        state = (float(rng.uniform(-3, 3)), float(10 ** rng.uniform(-3, 2)))
        for mean, var in everywhere.path[:40]:
            assert mean[0] <= state[0] <= mean[1]
            assert var[0] <= state[1] <= var[1]
            state = tuple(map(float, layer(*state, float(rng.choice(OMEGA)), float(rng.choice((0.95, 1.1))))))


def test_every_start_reaches_the_fixed_point():
    proof = global_convergence(0.0, 1.0)
    assert proof.holds is True
    mean, var = proof.path[-1]
    assert mean[0] <= 0 <= mean[1] < 1e-5  # the rounding of the path
    assert var[0] <= 1 <= var[1] < 1 + 1e-5


def test_limit_set_for_wide_tau():
    proof = limit_set((-3.5, 3.5), (0.01, 12), tau=(0.8, 1.25))
    assert proof.holds is True
    for end, floor in zip(proof.path[-1], FIGURES["wide limit set"], strict=True):
        assert floor[0] <= end[0] <= end[1] <= floor[1]
    assert limit_set((-3, 3), (1e-3, 100), layers=0).holds is None  # its image has means up to 3.76
    assert limit_set((-0.1, 0.1), (1e-5, 1), omega=0, tau=0.4).holds is None  # below the lowest tau all variance dies


def test_global_convergence_that_is_not_shown_is_undecided():
    assert global_convergence(omega=(-0.1, 0.1), tau=(0.8, 1.25)).holds is None  # no growth toward zero
    assert global_convergence(omega=(-0.5, 0.5), tau=(0.95, 1.9)).holds is None  # no bound far out


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("certificates") / "selu.json"
    certificates = [
        theorem1(),
        theorem2(),
        theorem3(),
        theorem2(var=(2.45, 16)),
        variance_decreases(0.0, (1.0, 2.0), 0.0, 1.0),
        contraction((-1, 1), (0.06, 13.6), p=0.64),
        tau_range(),
        omega_range(),
        global_convergence(0.0, 1.0),
    ]
    write(path, certificates)
    return path, certificates


def test_files_are_verified_again(written):
    path, certificates = written
    outcomes = check(path)
    assert [o.holds for o in outcomes] == [c.holds for c in certificates] == [True] * 3 + [False, None] + [True] * 4
    assert [o.claimed for o in outcomes] == [c.holds for c in certificates]
    assert [o.boxes for o in outcomes] == [len(c.boxes) for c in certificates]


def test_checking_is_less_work_than_proving(written):
    for proof, outcome in zip(written[1], check(written[0]), strict=True):
        assert outcome.boxes <= proof.searched, proof.title
    assert sum(o.boxes for o in check(written[0])) < 0.7 * sum(c.searched for c in written[1])


def test_edited_files_fail(written, tmp_path):
    text = written[0].read_text()
    edited = tmp_path / "edited.json"
    edited.write_text(text.replace('"var":[0.8,1.5]', '"var":[0.8,1.6]', 1))
    with pytest.raises(ValueError, match=r"was edited: its digest is not its content's"):
        check(edited)
    edited.write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"is not a whole certificate file"):
        check(edited)
    edited.write_text("[]")
    with pytest.raises(ValueError, match=r"is not a whole certificate file"):
        check(edited)


def forged(path, place, change):
    """The file with its first certificate changed and the digest made to fit."""
    content = json.loads(path.read_text())
    del content["digest"]
    change(content["certificates"][0])
    content["digest"] = records.digest(content)
    place.write_text(json.dumps(content))
    return check(place)[0].holds


def test_forged_files_fail_though_their_digest_fits(written, tmp_path):
    place = tmp_path / "forged.json"

    def drop_a_leaf(entry):
        entry["proofs"][0]["boxes"].pop()

    def widen_the_box(entry):
        entry["arguments"]["var"] = [0.8, 1.6]

    def sharpen_the_bound(entry):
        low, high = entry["proofs"][0]["bound"]
        entry["proofs"][0]["bound"] = [low, high - 1e-6]

    def overstate_the_point(entry):
        high = entry["proofs"][0]["bound"][1]
        entry["proofs"][0]["bound"] = [high + 1e-6, high]

    def drop_a_claim(entry):
        entry["proofs"].pop()

    def merge_the_leaves(entry):
        boxes = np.array(entry["proofs"][0]["boxes"])
        low, high = boxes.min(axis=0), boxes.max(axis=0)
        entry["proofs"][0]["boxes"] = [[low[0], high[1], low[2], high[3]]]

    def name_no_statement(entry):
        entry["statement"] = "theorem"

    assert forged(written[0], place, lambda entry: None) is True
    for change in (
        drop_a_leaf,
        widen_the_box,
        sharpen_the_bound,
        overstate_the_point,
        drop_a_claim,
        merge_the_leaves,
        name_no_statement,
    ):
        assert forged(written[0], place, change) is None, change.__name__


def test_an_interrupted_run_leaves_no_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "selu.json", [theorem2()])
    assert list(tmp_path.iterdir()) == []


def test_global_steps_must_join():
    proof = global_convergence(0.0, 1.0)
    arguments = dict(proof.arguments)
    claims = certificate.global_claims
    assert len(claims(**arguments)) == len(proof.proofs)
    with pytest.raises(ValueError, match=r"`fall` must start from abs\(mean\) <= 9\.0"):
        claims(**{**arguments, "norm": 9.0})
    with pytest.raises(ValueError, match=r"`path` must start from a rectangle that holds the end of the fall"):
        claims(**{**arguments, "path": [((-1.0, 1.0), (1e-3, 100.0), (-20.0, 20.0))]})
    with pytest.raises(ValueError, match=r"a path must start from a whole rectangle"):
        claims(**{**arguments, "path": [((-3.0, 3.0), (1e-3, 100.0), (-1.0, 1.0))]})


def test_leaves_must_cover():
    leaves = [(0, 1, 0, 1), (0, 0.5, 1, 2), (0.5, 1, 1, 2)]
    assert covers((0, 1, 0, 2), leaves)
    assert covers((0.2, 0.8, 0.5, 1.5), leaves)
    assert not any(covers((0, 1, 0, 2), [leaf for k, leaf in enumerate(leaves) if k != gone]) for gone in range(3))
    assert covers((0, 0, 1, 1), [(0, 0, 1, 1)])
    assert not covers((0, 0, 1, 1), [(0.5, 1, 1, 1)])
    assert not covers((0, 1, 0, 1), [(0, 1, 0, 0.9999999999999999)])
    assert not covers((0, 1, 0, 1), [])
    assert not covers((0, 1, 0, 1), [(1, 0, 1, 0)])
    assert not covers((0, 1, 0, 1), [(math.nan, 1, 0, 1)])
    rng = np.random.default_rng(2)
    domain = Domain((-0.1, 0.1), (0.8, 1.5), OMEGA, (0.95, 1.1))
    for _ in range(500):
        point = [rng.uniform(*ends) for ends in (domain.mean, domain.var, domain.omega, domain.tau)]
        m, v = point[0] * point[2], point[1] * point[3]
        assert domain.box[0] <= m <= domain.box[1]
        assert domain.box[2] <= v <= domain.box[3]
    assert Fraction(domain.box[1]) >= Fraction(1, 100)  # a tenth of a tenth, which no float is


def test_verify_needs_both_leaves_and_point():
    proof = search(Claim("rate", "<", 1.0, Domain((-0.1, 0.1), (0.8, 1.5), OMEGA, (0.95, 1.1))))
    assert verify(proof) is True
    bare = Proof(proof.claim, True, proof.bound, None, proof.boxes, 0)
    assert verify(bare) is None


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
        (lambda: Claim("speed", "<", 1.0, Domain(0, 1, 0, 1)), r"`quantity` must be one of mean, variance"),
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
