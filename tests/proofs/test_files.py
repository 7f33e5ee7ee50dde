"""Files that are verified again, and that cannot lie."""

import json
import os

import numpy as np
import pytest

pytest.importorskip("flint")

from jnorm.proofs import _files as files
from jnorm.proofs.certificate import (
    check,
    contraction,
    fixed_point,
    global_convergence,
    omega_range,
    tau_range,
    theorem1,
    theorem2,
    theorem3,
    variance_decreases,
    write,
)


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
    """The file's first certificate, changed, with a digest that fits."""
    content = json.loads(path.read_text())
    del content["digest"], content["certificates"][1:]
    change(content["certificates"][0])
    content["digest"] = files.digest(content)
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

    def drop_an_inequality(entry):
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
        drop_an_inequality,
        merge_the_leaves,
        name_no_statement,
    ):
        assert forged(written[0], place, change) is None, change.__name__


def test_what_is_undecided_is_written_and_claims_nothing(tmp_path):
    path = tmp_path / "undecided.json"
    write(path, [global_convergence(tau=(0.8, 1.25)), global_convergence(0.0, 1.0, layers=3), fixed_point(0.0, 3.0)])
    assert [(o.claimed, o.holds) for o in check(path)] == [(None, None)] * 3
    assert [o.title for o in check(path)] == ["global", "global", "fixed point at (0, 3)"]
    with pytest.raises(ValueError, match=r"`certificates` must hold one at least; got none"):
        write(path, [])


def test_an_interrupted_run_leaves_no_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "selu.json", [theorem2()])
    assert list(tmp_path.iterdir()) == []
