"""Forged files show nothing, to the library and to a second checker that shares no line with it."""

import json
from pathlib import Path

import pytest

pytest.importorskip("flint")

from jnorm.proofs.certificate import check
from tests.proofs import checker, forging

# It changes leaves alone: the library, which halves none, is shown nothing, while the second checker halves them.
STILL_TRUE = ("merge_the_leaves",)
STORED = Path(__file__).parents[1] / "golden" / "theorems.json"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return forging.contents(tmp_path_factory.mktemp("honest"))


@pytest.mark.parametrize("name", [name for name in forging.CERTIFICATES if name != "global"])
def test_both_checkers_agree_on_honest_files(name, files, tmp_path):
    path = tmp_path / "honest.json"
    path.write_text(forging.signed(files[name]))
    expected = [(forging.CLAIMED[name], forging.CLAIMED[name])]
    assert forging.shown_by_both(path) == [expected, expected]


@pytest.mark.parametrize("name", forging.KINDS)
def test_forged_files_are_refused(name, files, tmp_path):
    path = tmp_path / "forged.json"
    path.write_text(forging.forged(files, name))
    library, second = forging.shown_by_both(path)
    assert not forging.accepted(library)
    assert isinstance(library, ValueError | list)
    assert forging.accepted(second) == (name in STILL_TRUE)


def test_there_are_many_kinds():
    assert len(forging.KINDS) >= 40


def test_mutations_that_are_accepted_are_true(files, tmp_path):
    counts, wrong = forging.mutate(files, tmp_path, 200, seed=1)
    assert wrong == []
    assert counts["refused"] > 100


def test_a_stored_file_is_verified(tmp_path):
    """The paper's theorems as a file of this format, which later versions must read."""
    outcomes = check(STORED)
    assert [(o.title, o.holds) for o in outcomes] == [(f"theorem {k}", True) for k in (1, 2, 3)]
    assert checker.check(STORED) == [
        (name, True, True) for name in ("contraction", "variance_decreases", "variance_increases")
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e["proofs"][0].pop("bound"), r"certificates\[0\]\.proofs\[0\] lacks `bound`"),
        (
            lambda e: e["proofs"][1].update(boxes=None),
            r"\.proofs\[1\]: `boxes` must be a list of quadruples .*got None",
        ),
        (lambda e: e.update(holds="true"), r"certificates\[0\]: `holds` must be true, false or null; got 'true'"),
        (lambda e: e.update(proofs=[]), r"`proofs` must be a list of one object at least; got \[\]"),
        (
            lambda e: e.update(title="theorem 1"),
            r"certificates\[0\] has `title`; known fields are statement, arguments",
        ),
        (lambda e: e["proofs"][0]["boxes"][0].append(1.0), r"`boxes` must be a list of quadruples of numbers"),
        (lambda e: e["proofs"][0].update(point=[0, 1, "0", 1]), r"`point` must be mean, var, omega and tau, or null"),
        (
            lambda e: e["proofs"][0].update(bound=[0.1, 1e999]),
            r"is not a whole certificate file: .*finite; got Infinity",
        ),
    ],
)
def test_broken_files_are_refused_with_their_field(files, tmp_path, change, message):
    path = tmp_path / "broken.json"
    content = json.loads(json.dumps(files["theorem 1"]))
    change(content["certificates"][0])
    path.write_text(forging.signed(content))
    with pytest.raises(ValueError, match=message):
        check(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("var_is_[0.8, 1e+308]", r"`var` must lie within -1e100 and 1e100; got (0.8, 1e+308)"),
        ("metric_self_map_is_no", r"`self_map` must be True or False; got 'no'"),
        ("a_slope_of_zero", r"`strip` must have a slope > 0"),
        ("an_unknown_statement", r"`statement` must be one of contraction, fixed_point"),
        ("many_weights_have_one_point", r"`omega` must be a number; got [-0.1, 0.1]"),
        ("no_tau", r"its arguments lack 'tau'"),
        ("metric_depth_is_3", r"unexpected keyword argument 'depth'"),
        ("drop_the_last_leaf", r"its boxes and points do not show it"),
        ("limit_path_is_[]", r"`path` must hold a triple of mean, var and offset at least; got []"),
    ],
)
def test_what_shows_nothing_says_why(files, tmp_path, name, reason):
    path = tmp_path / "forged.json"
    path.write_text(forging.forged(files, name))
    (outcome,) = check(path)
    assert outcome.holds is None
    assert reason in outcome.reason
