"""The report: what was published beside what is measured, the rules, and the verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.papers.asking import Found, word
from experiments.papers.course import modules
from jnorm import statistics
from jnorm.statistics import Verdict


def numbers(found: Mapping[str, Found]) -> dict[str, Any]:
    """For ``report.json``: by figure its verdict, its rules, the table and all numbers."""
    return {
        "figures": {
            name: {
                "verdict": word(one.verdicts),
                "rules": _rules(one),
                "table": [dict(zip(("what", "published", "measured"), row, strict=True)) for row in one.rows],
                **one.numbers,
            }
            for name, one in found.items()
        }
    }


def _rules(one: Found) -> list[dict[str, Any]]:
    return [
        {
            "claim": verdict.rule.name,
            "counts": counts,
            "verdict": verdict.verdict,
            "settings": [
                {"where": dict(s.where), "verdict": s.verdict, "effect": s.effect, "interval": s.interval, "p": s.p}
                for s in verdict.settings
            ],
        }
        for counts, verdicts in ((True, one.verdicts), (False, one.beside))
        for verdict in verdicts
    ]


def _table(verdicts: Sequence[Verdict]) -> str:
    """One row a setting; the sentences that say the same are left out."""
    return statistics.report(verdicts, "markdown").partition("\n\n")[0]


def text(found: Mapping[str, Found], size: str, seeds: int) -> str:
    """The report in Markdown."""
    lines = ["# Training figures of four papers, on MNIST\n", f"Means over {seeds} seeds with their 95 % intervals."]
    if size == "quick":
        lines.append("Quick: everything runs, but nothing is trained long enough for a verdict.")
    lines += ["", "| figure | verdict |", "|---|---|", *(f"| {n} | {word(one.verdicts)} |" for n, one in found.items())]
    for name, module in modules(found).items():
        one = found[name]
        lines += [f"\n## {module.TITLE}\n", f"VERDICT: **{word(one.verdicts)}**\n", *one.notes, ""]
        lines += ["| | published | measured |", "|---|---|---|", *("| " + " | ".join(row) + " |" for row in one.rows)]
        lines += ["\nRules, written before the runs:\n", _table(one.verdicts)]
        if one.beside:
            lines += ["\nBeside it, not counted:\n", _table(one.beside)]
        lines.append(f"\n![{module.TITLE}]({name}.png)")
    return "\n".join(lines) + "\n"
