"""Two dimensions bound all four, strips bound their points, and leaves must cover."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tests.proofs.oracle import OMEGA

pytest.importorskip("flint")

from jnorm.proofs._search import search, verify
from jnorm.proofs._shapes import covers
from jnorm.proofs.certificate import Domain, Inequality, Proof, contraction


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
        inequality = Inequality(quantity, sense, None, domain, p=p)
        proof = search(inequality)
        assert proof.holds is True
        assert proof.point in domain
        for _ in range(200):
            value = inequality.value(tuple(float(rng.uniform(*end)) for end in ends))
            assert value <= proof.bound[1] if sense == "<" else value >= proof.bound[0]


def test_strips_bound_their_points():
    """Random points of a rectangle cut by a strip stay within the extremes; a rectangle's own are further out."""
    rng = np.random.default_rng(12)
    whole = Domain((-0.5, 0.5), (0.5, 3.0), (-0.5, 0.5), (0.9, 1.2))
    cut = Domain(*[(-0.5, 0.5), (0.5, 3.0), (-0.5, 0.5), (0.9, 1.2)], strip=(0.3, -0.6, -0.4))
    for quantity, p in (("mean", None), ("variance", None), ("mean - p*variance", 0.3)):
        for sense, side in (("<", 1), (">", 0)):
            proof, wider = (search(Inequality(quantity, sense, None, d, p=p), tol=1e-5) for d in (cut, whole))
            assert proof.bound[side] <= wider.bound[side] if side else proof.bound[side] >= wider.bound[side]
            values = []
            while len(values) < 100:
                point = tuple(float(rng.uniform(*ends)) for ends in (cut.mean, cut.var, cut.omega, cut.tau))
                if point in cut:
                    values.append(proof.inequality.value(point))
            assert all(v <= proof.bound[1] if side else v >= proof.bound[0] for v in values)
            assert proof.point in cut
    least, wider = (search(Inequality("mean", ">", None, d)).bound[0] for d in (cut, whole))
    assert abs(least - wider) > 0.01


def test_asymmetric_omega_is_cut_at_zero():
    whole = Domain((-0.4, 0.9), (0.8, 1.5), (-0.1, 0.3), (0.95, 1.1))
    parts = list(whole.parts())
    assert [part.omega for part in parts] == [(-0.1, 0.0), (0.0, 0.3)]
    proof = contraction(whole.mean, whole.var, whole.omega, whole.tau, self_map=False)
    assert proof.rate == max(search(Inequality("rate", "<", None, part)).bound[1] for part in parts)


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
    proof = search(Inequality("rate", "<", 1.0, Domain((-0.1, 0.1), (0.8, 1.5), OMEGA, (0.95, 1.1))))
    assert verify(proof) is True
    bare = Proof(proof.inequality, True, proof.bound, None, proof.boxes, 0)
    assert verify(bare) is None


def test_a_strip_cuts_no_point_off_where_its_terms_cancel():
    """low + slope*var near 0 from terms thousands of times as large: exact points of the domain stay in every clip."""
    narrow = Domain((-1e-3, 1e-3), 16.384, (0.05, 0.1), 0.06103515625, (1.959, -32.096256, 1.0))
    assert (0.0, 16.384, 0.05, 0.06103515625) in narrow
    for level in (0.0, 100.0):  # the mean after the layer is 0 there
        assert search(Inequality("mean", ">", level, narrow)).holds is not True
    rng, seen = np.random.default_rng(14), 0
    for _ in range(2000):
        slope, var, mean = (round(float(x), 4) for x in (rng.uniform(0.5, 9), 10 ** rng.uniform(-1, 4), rng.normal()))
        edge = Fraction(repr(mean)) - Fraction(repr(slope)) * Fraction(repr(var))
        ends = [float(edge), float(edge)]
        ends = [
            x - side * math.ulp(x) * (side * Fraction(repr(x)) > side * edge)
            for x, side in zip(ends, (1, -1), strict=True)
        ]
        omega, tau = (round(float(x), 3) for x in rng.uniform(0.1, 1.2, 2))
        domain = Domain((mean - 1, mean + 1), (var, 2 * var), (-omega, omega), (tau, 2 * tau), (slope, *ends))
        if (mean, var, omega, tau) not in domain:
            continue  # the decimal of an end may be rounded away from the point
        v = Fraction(repr(var)) * Fraction(repr(tau))
        box = (*domain.box[:2], domain.box[2], math.nextafter(float(v), math.inf))
        part = domain.clip(box)
        assert part is not None
        for m in (Fraction(repr(mean)) * Fraction(repr(w)) for w in (omega, -omega)):
            assert Fraction(part[0]) <= m <= Fraction(part[1])
        seen += 1
    assert seen > 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strip": (0.0, -1.0, 1.0)}, r"`strip` must have a slope > 0, from 1e-100 to 1e100; got 0\.0"),
        ({"strip": (-1.0, -1.0, 1.0)}, r"`strip` must have a slope > 0, from 1e-100 to 1e100; got -1\.0"),
        ({"strip": (1.0, 2.0, 1.0)}, r"`strip` must satisfy low <= high; got \(2\.0, 1\.0\)"),
        ({"strip": (1.0, 2.0, 3.0)}, r"`strip` must leave a point of the domain; got \(1\.0, 2\.0, 3\.0\)"),
        ({"strip": (1.0, 2.0)}, r"`strip` must be \(slope, low, high\); got \(1\.0, 2\.0\)"),
        ({"strip": (1.0, math.nan, 2.0)}, r"`strip` must be finite; got nan"),
        ({"var": (1.0, 1e308)}, r"`var` must lie within -1e100 and 1e100; got \(1\.0, 1e\+308\)"),
        ({"var": (1e-200, 1.0)}, r"`var` must be at least 1e-100; got 1e-200"),
        ({"tau": "0.1"}, r"`tau` must be a number or a pair \(low, high\); got '0\.1'"),
        ({"tau": [1.0]}, r"`tau` must be a number or a pair \(low, high\); got \[1\.0\]"),
        ({"mean": (False, True)}, r"`mean` must be a number; got False"),
        ({"omega": [None, 1.0]}, r"`omega` must be a number; got None"),
        ({"omega": 10**400}, r"`omega` must be finite; got 1000"),
    ],
)
def test_domains_refuse_what_the_proofs_cannot_hold(change, message):
    with pytest.raises(ValueError, match=message):
        Domain(**{"mean": (-1.0, 1.0), "var": (0.5, 2.0), "omega": 0.1, "tau": 1.0} | change)
