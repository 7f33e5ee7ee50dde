import json
import re

import numpy as np
import pytest

from jnorm.statistics import Rule, Runs, correct, judge, report

GRID = [{"phi": phi, "depth": depth} for phi in ("relu", "selu_50%") for depth in (2, 8)]
RULE = {"metric": "accuracy", "a": {"phi": "selu_50%"}, "b": {"phi": "relu"}, "diverged": "lowest"}


def verdicts():
    accuracy = np.random.default_rng(0).normal(0.8, 0.05, (4, 8)) + np.array([0, 0, 0.3, 0.0])[:, None]
    accuracy[1, 3] = np.nan
    result = Runs(GRID, {"accuracy": accuracy})
    rules = [Rule(claim=claim, effect=0.1, **RULE) for claim in ("greater", "equal")]
    return correct([judge(result, rule) for rule in rules])


def test_the_text_holds_the_verdicts_and_a_sentence_each():
    text = report(verdicts())
    for verdict in verdicts():
        assert str(verdict) in text
    s = verdicts()[0].settings[0]
    assert (
        "The mean of a (phi=selu_50%) minus b (phi=relu) in accuracy at depth=2 is "
        f"{s.effect:.4g} (95 % interval {s.interval[0]:.4g} to {s.interval[1]:.4g}; 8 paired runs; Student's t-test, "
        f"two-sided against 0.1, p = {s.p:.2g}, Holm's {s.adjusted_p:.2g}): that it is greater than 0.1 is "
        "supported at level 0.05."
    ) in text
    assert "8 paired runs, 0 and 1 diverged and counted as the lowest run" in text
    assert "two one-sided tests against -0.1 and 0.1" in text


def test_the_table_has_a_row_for_each_setting():
    lines = report(verdicts(), "markdown").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 4
    assert {len(re.split(r"(?<!\\)\|", line)) for line in table} == {11}
    assert table[2].startswith("| phi=selu_50% greater phi=relu | depth=2 | supported |")


def test_latex_is_escaped():
    text = report(verdicts(), "latex")
    table = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert len(table) == 4
    assert all(row.endswith(r"\\") and len(re.findall(r"(?<!\\)&", row)) == 8 for row in table)
    assert r"phi=selu\_50\% greater phi=relu" in text
    assert not re.search(r"(?<!\\)[%_#$]", text)


def test_json_is_read_back():
    back = json.loads(report(verdicts(), "json"), parse_constant=lambda name: pytest.fail(name))
    for rule, verdict in zip(back, verdicts(), strict=True):
        assert rule["verdict"] == verdict.verdict
        assert rule["rule"]["a"] == {"phi": "selu_50%"}
        for got, s in zip(rule["settings"], verdict.settings, strict=True):
            assert (got["p"], got["effect"], got["runs"], got["where"]) == (s.p, s.effect, list(s.runs), s.where)
    few = json.loads(
        report(judge(Runs(GRID[::2], {"accuracy": np.ones((2, 1))}), Rule(claim="less", effect=0, **RULE)), "json")
    )
    assert few[0]["settings"][0]["interval"] == [None, None]  # infinite


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`form` must be one of text, markdown, latex, json; got 'html'"):
        report(verdicts(), "html")
    with pytest.raises(TypeError, match="`verdicts` must be a Verdict or several; got "):
        report(["supported"])
