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
