"""Optimized points at 50 digits pass no bound; a sample of what .ci/attacks/proofs.py does at length."""

import pytest

pytest.importorskip("flint")

from tests.proofs.falsifying import attract, falsify, follow


def test_no_optimized_point_passes_a_bound():
    counts, wrong = falsify(2, seed=1)
    assert wrong == []
    assert counts["bounds"] == 18


def test_no_trajectory_leaves_its_path():
    counts, wrong = follow(1, seed=4, everywhere=False)
    assert wrong == []
    assert counts["points"] > 100


def test_fixed_points_and_ranges_are_where_iteration_finds_them():
    counts, wrong = attract(1, seed=3)
    assert wrong == []
    assert counts["fixed points and ends"] == 9
