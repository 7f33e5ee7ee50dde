"""Claims: who declares which, how they are decided, and the page; no verdict of a lecture is tested here."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments import __main__ as cli
from experiments import claims, common
from experiments.checks import Refused
from experiments.claims import arms, page, records, registry
from experiments.claims.claim import ALONE, Claim, Comparison, Decided, Number, Setup, Skipped, together
from experiments.claims.ids import IDS, order
from experiments.claims.topics import perturbations
from experiments.common import Output
from jnorm import activations, sweeps
from jnorm.statistics import Rule, Runs, sequential
from jnorm.theory import meanfield

RULE = Rule(claim="greater", effect=0.1, diverged="exclude", metric="score", a={"arm": "a"}, b={"arm": "b"})


def runs(difference, seeds=16):
    noise = np.random.default_rng(0).normal(0, 0.05, (2, seeds))
    return Runs([{"arm": "a"}, {"arm": "b"}], {"score": noise + np.array([[difference], [0.0]])})


def claim(difference=0.5, value=0.0, **options):
    parts = (Number("a number", "value", low=-1.0, high=1.0), Comparison("two arms", "runs", RULE))
    measure = lambda config, setup: {"value": value, "runs": runs(difference)}
    return Claim("N1", "A <statement>.", "What.", parts, measure, **options)


@pytest.fixture
def declare(monkeypatch):
    """Put claims in the place of those that are declared."""

    def put(*some):
        entries = {one.id: registry.Entry(one, "topic", {"size": 9}, {"size": 1}) for one in some}
        monkeypatch.setattr(registry, "declared", lambda: entries)
        return entries

    return put


def test_a_hundred_numbers_each_once():
    assert len(IDS) == len(set(IDS)) == 100
    assert all(re.fullmatch("[NISLD][1-9][0-9]*", name) for name in IDS)


def test_declared_claims_are_of_the_hundred_and_the_others_are_named(capsys):
    known = registry.declared()
    assert list(known) == order(set(known) & set(IDS))
    assert cli.main(["list"]) == 0
    text = capsys.readouterr().out
    said = re.search(r"Not there yet: (.*)", text)
    absent = set(said[1].split(", ")) if said else set()
    assert absent == set(IDS) - set(known)
    for name, entry in known.items():
        assert re.search(rf"^{name} +{entry.topic} +{re.escape(entry.claim.statement)}$", text, re.MULTILINE)
        assert entry.claim.parts
        assert entry.full != entry.quick
        assert (entry.claim.draw is None) == (entry.claim.caption == "")


@pytest.mark.parametrize(
    ("difference", "value", "verdict"),
    [
        (0.5, 0.0, "supported"),
        (-0.5, 2.0, "not supported"),  # the arms exchanged, and a number out of its ends
        (0.0, 2.0, "not supported"),  # both arms the same
        (0.5, 2.0, "mixed"),
        (0.0, 0.0, "mixed"),
        (0.1, 0.0, "undecided"),  # at the smallest effect that matters
        (0.5, math.nan, "mixed"),
    ],
)
def test_planted_truths_and_falsehoods_are_told(difference, value, verdict):
    one = claim(difference, value)
    outcomes = one.decide(one.measure({}, None))
    assert together([outcome.verdict for outcome in outcomes]) == verdict
    assert outcomes[0].seeds == 0
    assert outcomes[1].seeds == 16
    assert outcomes[1].interval[0] < outcomes[1].effect < outcomes[1].interval[1]
    assert ("would decide" in outcomes[1].needed) == (outcomes[1].verdict == "undecided")


def test_verdicts_are_corrected_over_all_claims():
    part = {"level": 0.05, "verdict": "supported"}
    made = [{"id": f"N{i}", "parts": [part | {"p": p}]} for i, p in enumerate((0.03, 0.04, 1e-6, None))]
    made.append({"id": "S1", "parts": [{"level": None, "p": None, "verdict": "supported"}]})
    read = records.corrected(made)
    assert [record["verdict"] for record in read] == ["undecided"] * 2 + ["supported", "undecided", "supported"]
    assert {record["uncorrected"] for record in read} == {"supported"}


def test_planted_falsehoods_are_not_supported():
    """Arms exchanged, by the same code: of two arms, of one against a number, and of runs that were added in looks."""
    for difference, told in ((0.5, "not supported"), (0.1, "not supported"), (-0.5, "supported")):
        [_, outcome] = claim(difference).decide({"value": 0.0, "runs": runs(difference)})
        assert outcome.planted == told  # what fails by so much would hold with its arms exchanged
    measured = np.random.default_rng(0).normal(0.5, 0.05, 16)
    part = arms.compared("a share", "share", "greater", 0.1, b=0.3)
    assert part.decide({"share": arms.runs(measured)}).planted == "not supported"
    assert arms.compared("a share", "share", "equal", 0.3, b=0.3).decide({"share": arms.runs(measured)}).planted is None
    until = sequential(RULE, looks=(4, 8, 16))
    outcome = Comparison("two arms", "runs", until.rules[0]).decide({"runs": Decided(runs(0.5), until)})
    assert (outcome.verdict, outcome.planted) == ("supported", "not supported")


def test_trained_arms_are_tuned_alike_and_trained_until_they_are_decided(tmp_path):
    """What is chosen wins on dev scores of seeds of its own, and the verdict is that of the looks that were needed."""

    def train(key, *, arm, rate):
        score = 0.1 * arm - (rate - 1 - arm) ** 2
        return {"dev_accuracy": score, "value": score + 0.01 * arm * jax.random.normal(key)}

    setup = Setup(range(3, 35), tmp_path)
    chosen = arms.tuned(train, setup, "score", [{"arm": 0.0}, {"arm": 1.0}], {"rate": (0.5, 1.0, 2.0)})
    assert chosen.arms == [{"arm": 0.0, "rate": 1.0}, {"arm": 1.0, "rate": 2.0}]
    assert min(chosen.result.seeds) > 2**30 > 128 * 32
    assert "3 of rate" in chosen.budget
    assert f"{len(setup.seeds) // 2} seeds" in chosen.budget
    part = arms.compared("one", "score", "greater", 0.02, a={"arm": 1.0}, b={"arm": 0.0}, own=("rate",))
    decided = arms.swept(train, setup, "score", [part, Number("another", "x")], grid=chosen.arms)
    assert decided.until.looks == (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    assert part.decide({"score": decided})[6:8] == (ALONE, "supported")
    assert decided.result.seeds[0] == 3
    assert decided.result.done.sum() == decided.result.done.size == 16
    stores = sorted(path.name for path in tmp_path.iterdir())
    again = lambda key, *, arm, rate: train(key, arm=arm, rate=rate) | {"more": arm}
    arms.swept(again, setup, "score", [part], grid=chosen.arms)  # another program: the store of this one stays
    assert len(list(tmp_path.iterdir())) == len(stores) + 1


def test_no_seeds_are_added_to_a_claim_that_is_mixed(tmp_path):
    """What holds and what fails are told from each other by the first look; what no number decides gets no more."""

    def train(key, *, arm):
        noise = (1 + arm) * jax.random.normal(key, (3,))
        return {"holds": arm + 0.01 * noise[0], "fails": -arm + 0.01 * noise[1], "open": 0.1 * arm + 10 * noise[2]}

    arm = {"a": {"arm": 1.0}, "b": {"arm": 0.0}}
    part = {
        name: arms.compared(name, "runs", "greater", 0.1, metric=name, **arm) for name in ("holds", "fails", "open")
    }
    seeds = {}
    for names in (("holds", "open"), ("holds", "fails", "open")):
        parts = [part[name] for name in names]
        setup = Setup(range(32), tmp_path / str(len(names)))
        decided = arms.swept(train, setup, "runs", parts, looks=(8, 16, 32), grid={"arm": (0.0, 1.0)})
        verdicts = [one.decide({"runs": decided}).verdict for one in parts]
        assert verdicts == {2: ["supported", "undecided"], 3: ["supported", "not supported", "undecided"]}[len(names)]
        seeds[len(names)] = decided.result.done.shape[1]
    assert seeds == {2: 32, 3: 8}


def test_what_is_decided_by_itself_alone_is_shown_as_it_was_when_it_was_decided():
    """At a level of .05 the second look decides, and later runs that blur it neither change nor widen what is shown."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.1, 8), rng.normal(0.1, 0.5, 24)])
    part = arms.compared("a share", "share", "greater", 0.1)
    until = sequential(part.rule, looks=(4, 8, 32), boundary="pocock")
    shown = part.decide({"share": Decided(arms.runs(values), until)})
    assert arms.LEVEL < shown.p <= ALONE
    assert shown.verdict == "supported"
    assert shown.seeds < 32
    assert 0.1 < shown.interval[0] < shown.effect < shown.interval[1]
    assert shown.needed


def test_looks_grow_with_the_seeds():
    assert [Setup(range(n), None).looks for n in (2, 4, 16, 32)] == [
        (2, 4),
        (2, 4),
        tuple(4 * 2**k for k in range(10)),
        tuple(8 * 2**k for k in range(10)),
    ]


def test_two_runs_of_all_claims_are_compared(declare, tmp_path, capsys):
    declare(claim(0.5), replace(claim(0.5), id="N2"), replace(claim(), id="N3", parts=[Number("x", "value", low=-1.0)]))
    claims.run(claims.Config(out=tmp_path / "first"))
    declare(claim(0.5), replace(claim(-0.5), id="N2"), replace(claim(), id="N3", parts=[Number("x", "value", low=0.0)]))
    capsys.readouterr()
    against = tmp_path / "first" / "summary.json"
    claims.run(claims.Config(out=tmp_path / "second", first_seed=10032, against=against))
    said = capsys.readouterr().out
    assert "(10032 to 10063 where the first run had 10000 to 10031) 1 of 2 verdicts are the same (50.0 %)." in said
    assert "- **N2**: supported, then mixed (" in said
    for path in (tmp_path / "none.json", tmp_path / "first" / "index.html"):
        with pytest.raises(Refused, match=r"`against` must be the summary\.json of claims"):
            claims.run(claims.Config(out=tmp_path / "third", against=path))


def test_what_is_recorded_is_not_measured_again(declare, tmp_path, capsys):
    measured = []

    def once(config, setup):
        measured.append(config)
        return {"value": 0.0, "runs": runs(0.5)}

    declare(replace(claim(), measure=once))
    config = claims.Config(out=tmp_path / "results")
    first = claims.run(config)
    again = claims.run(config)
    assert measured == [{"size": 9}]
    assert first == again
    claims.run(replace(config, first_seed=1))
    declare(replace(claim(), measure=once, parts=[Number("another rule", "value", high=3.0)]))
    assert len(measured) == 2
    claims.run(config)
    assert len(measured) == 3
    claims.run(replace(config, quick=True))
    assert measured[3] == {"size": 1}
    assert (tmp_path / "results" / "quick" / "index.html").exists()
    (tmp_path / "results" / "versions.json").write_text('{"format": 0}')
    claims.run(config)  # of another version: kept, and the new results beside it
    assert len(measured) == 5
    assert len([path for path in tmp_path.glob("results-*") if (path / "N1.json").exists()]) == 1


def test_the_page_stands_after_an_interruption_and_without_data(declare, tmp_path):
    def skipped(config, setup):
        raise Skipped("no MNIST")

    def interrupted(config, setup):
        raise KeyboardInterrupt

    declare(claim(), replace(claim(), id="N2", measure=skipped), replace(claim(), id="N3", measure=interrupted))
    with pytest.raises(KeyboardInterrupt):
        claims.run(claims.Config(out=tmp_path))
    html = (tmp_path / "index.html").read_text()
    assert "1 supported, 1 skipped" in html
    assert "no MNIST" in html
    assert [record["id"] for record in json.loads((tmp_path / "summary.json").read_text())["claims"]] == ["N1", "N2"]
    (tmp_path / "index.html").unlink()
    claims.run(claims.Config(out=tmp_path, only_page=True))
    assert (tmp_path / "index.html").read_text() == html


def test_the_page_stands_alone_and_puts_failures_first(declare, tmp_path):
    def draw(measured):
        from jnorm import plots

        return plots.figure(size=(1.0, 1.0))[0]

    good, bad = claim(draw=draw, caption="A <caption>."), replace(claim(-0.5, 2.0), id="N2")
    declare(good, bad)
    claims.run(claims.Config(out=tmp_path))
    html = (tmp_path / "index.html").read_text()
    assert "A &lt;statement&gt;." in html
    assert "A <" not in html
    assert html.index("<strong>N2</strong>") < html.index("<strong>N1</strong>")
    assert "data:image/svg+xml;base64," in html
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert "python -m experiments claims N1" in html
    for said in ("difference &gt; 0.1", "from -1 to 1", "[0.4", "<option>not supported</option>", "<option>topic<"):
        assert said in html


def test_claims_that_nothing_measures_are_named(monkeypatch, capsys):
    known = {name: entry for name, entry in registry.declared().items() if name not in ("N5", "L8")}
    monkeypatch.setattr(registry, "declared", lambda: known)
    with pytest.raises(Refused, match="claim L8 is not there yet"):
        registry.chosen(("L8",))
    assert cli.main(["list"]) == 0
    absent = re.search(r"Not there yet: (.*)", capsys.readouterr().out)[1].split(", ")
    assert set(absent) == set(IDS) - set(known)


def test_unknown_claims_get_the_nearest(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweeps, "use_cores", lambda **options: None)  # the devices of the test run are made already
    monkeypatch.setattr(common, "use_cache", lambda folder: None)
    with pytest.raises(Refused, match="no claim 'N55': did you mean N5"):
        registry.chosen(("N55",))
    assert cli.main(["claims", "n5", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: no claim 'n5': did you mean N5")


@pytest.mark.thorough
@pytest.mark.usefixtures("unoptimized")
@jax.numpy_rank_promotion("allow")
@jax.numpy_dtype_promotion("standard")
def test_every_claim_runs_at_reduced_size(tmp_path):
    """With the settings that the command has; the library alone is held to strict ones."""
    for entry in registry.declared().values():
        record = records.measured(entry, entry.quick, Setup(range(4), tmp_path, None), Output.open(tmp_path))
        assert len(record["parts"]) == len(entry.claim.parts)
        assert (record["figure"] is None) == (entry.claim.draw is None)
    summary = records.summary(records.read(tmp_path))
    assert len(summary["claims"]) == len(registry.declared())
    assert page.html(summary, tmp_path, quick=True).count("<tr ") == len(registry.declared())


def test_reading_the_claims_compiles_nothing():
    """Their options for the compiler are set once they are read."""
    code = (
        "import jax._src.xla_bridge as bridge\n"
        "from experiments.claims import registry\n"
        "registry.declared()\n"
        "assert not bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize(("name", "phi"), [("relu", activations.relu), ("tanh", activations.tanh)])
def test_rules_on_small_changes_are_what_theory_says(name, phi):
    with jax.enable_x64(True):
        growth = meanfield.batch_norm_growth(phi)
        chi = meanfield.chi(activations.selu, sigma_w=1.0)
    assert perturbations.theory(f"{name}, batch norm") == pytest.approx(float(growth), rel=1e-8)  # 96 Hermite nodes
    assert perturbations.theory("selu") == pytest.approx(float(chi), rel=1e-12)


def test_processes_share_the_claims(tmp_path):
    """Two topics, of which one needs no data; what they record is what one process records."""
    numbers = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        options = ["--quick", "--processes", str(processes), "--out", str(folder), "--cache", str(tmp_path / "cache")]
        command = [sys.executable, "-m", "experiments", "claims", "I4", "L11", *options]
        subprocess.run(command, check=True, timeout=600, capture_output=True)
        summary = json.loads((folder / "quick" / "summary.json").read_text())
        numbers.append([(claim["id"], [part["verdict"] for part in claim["parts"]]) for claim in summary["claims"]])
    assert numbers[0] == numbers[1]
    assert [name for name, _ in numbers[0]] == ["I4", "L11"]


def test_an_error_in_one_process_ends_all(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from experiments.claims import measuring, registry\n"
        "from experiments.claims.claim import Setup\n"
        "from experiments.common import Output\n"
        "if __name__ == '__main__':\n"
        f"    folder = Path({str(tmp_path)!r})\n"
        "    (folder / 'I4.npz').mkdir()\n"
        "    entries = [registry.declared()[name] for name in ('I4', 'L11')]\n"
        "    measuring.measure(entries, Setup(range(4), folder), Output.open(folder), quick=True, processes=2)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    ended = subprocess.run([sys.executable, script], timeout=600, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "IsADirectoryError" in ended.stderr
