"""The experiment proves everything, writes a file that verifies, and refuses one that does not."""

import json

import pytest

pytest.importorskip("flint")

from experiments import certificate
from experiments.common import Refused
from jnorm.proofs import _files as files


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("certificate")
    return out, certificate.run(certificate.Config(out=out))


def test_every_statement_is_proved(done):
    _, numbers = done
    assert [c["title"] for c in numbers["certificates"] if c["holds"] is not True] == []
    assert {"theorem 1", "theorem 2", "theorem 3", "global"} <= {c["title"] for c in numbers["certificates"]}


def test_files_are_there_and_the_file_verifies(done, capsys):
    out, _ = done
    assert {f.name for f in out.iterdir()} == {
        *(f"certificate.{ending}" for ending in ("json", "npz", "png", "svg")),
        "report.json",
        "report.md",
    }
    outcome = certificate.run(certificate.Config(out=out / "untouched", check=out / "certificate.json"))
    assert all(o["holds"] is True for o in outcome["outcomes"])
    assert not (out / "untouched").exists()
    printed = capsys.readouterr().out
    assert "boxes verified" in printed
    assert "- a layer of SELU has var~ < var" in printed  # what is proved, from the numbers that were verified


def test_a_file_that_shows_less_than_it_claims_is_refused(done, tmp_path):
    edited = tmp_path / "edited.json"
    edited.write_text((done[0] / "certificate.json").read_text().replace("variance_decreases", "variance_increases"))
    with pytest.raises(Refused, match=r"was edited"):
        certificate.verify(edited)
    with pytest.raises(Refused, match=r"No such file"):
        certificate.verify(tmp_path / "absent.json")
    content = json.loads((done[0] / "certificate.json").read_text())
    del content["digest"]
    content["certificates"] = content["certificates"][:1]
    content["certificates"][0]["proofs"][0]["boxes"].pop()
    content["digest"] = files.digest(content)
    edited.write_text(json.dumps(content))
    with pytest.raises(
        Refused, match=r"does not show what it claims: theorem 1 \(its boxes and points do not show it\)"
    ):
        certificate.verify(edited)


def test_undecided_statements_are_told_apart(tmp_path, capsys):
    numbers = certificate.run(certificate.Config(out=tmp_path, budget=30))
    assert None in [c["holds"] for c in numbers["certificates"]]
    assert "undecided" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"), [({"tol": 0.0}, r"`tol` must satisfy tol > 0; got 0\.0"), ({"budget": 0}, r"`budget` must")]
)
def test_bad_options_are_named(option, message):
    with pytest.raises(ValueError, match=message):
        certificate.Config(**option)
