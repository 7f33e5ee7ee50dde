"""What is committed of the claims: a page and a gallery made from the summary, by the rules that are declared."""

import json

import pytest

from experiments.claims import published, records, registry
from experiments.claims.ids import order


@pytest.fixture(scope="module")
def committed():
    return published.committed()


def test_page_and_gallery_are_made_from_the_summary(committed):
    summary, agreed = committed
    assert published.PAGE.read_text() == published.page(summary, agreed), "run python -m experiments.claims.published"
    text = published.README.read_text()
    assert published.START in text
    assert published.END in text
    assert published.readme(text, summary) == text, "run python -m experiments.claims.published"


def test_every_claim_was_judged_by_the_rules_that_are_declared(committed):
    claims = {record["id"]: record for record in committed[0]["claims"]}
    assert list(claims) == order(registry.declared())
    for name, entry in registry.declared().items():
        assert claims[name]["rules"] == records.rules(entry), f"{name}: the committed run is of other rules"
        assert claims[name]["statement"] == entry.claim.statement
        assert (published.FIGURES / f"{name}.png").exists() == (entry.claim.draw is not None)


def test_verdicts_follow_from_the_parts(committed):
    summary, _ = committed
    again = records.summary(records.corrected(json.loads(json.dumps(summary["claims"]))))
    assert again["verdicts"] == summary["verdicts"]
    assert again["claims"] == summary["claims"]


def test_planted_falsehoods_are_not_supported(committed):
    planted = [
        (record["id"], part["planted"])
        for record in committed[0]["claims"]
        for part in record["parts"]
        if part["corrected"] == "supported" and part["planted"]
    ]
    assert len({name for name, _ in planted}) >= 10
    assert not [name for name, verdict in planted if verdict == "supported"]
