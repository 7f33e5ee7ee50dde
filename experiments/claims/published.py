"""The committed results of all claims: a summary, pictures, a page and the README's gallery, none of them by hand.

``python -m experiments.claims.published results [second-results]`` takes them from the folder of a full run, and the
agreement from a second one; without folders it writes page and gallery anew from what is committed.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.claims import foreseen
from experiments.claims.agreement import agreement, words
from experiments.claims.page import ORDER, mended, planted, written

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = ROOT / "experiments" / "summary.json"
AGREEMENT = ROOT / "experiments" / "agreement.json"
FIGURES = ROOT / "experiments" / "figures" / "claims"
PAGE = ROOT / "docs" / "claims.md"
README = ROOT / "README.md"
START, END = "<!-- claims -->\n", "<!-- end of claims -->\n"
GALLERY = ("I5", "N11", "L11", "D10")
"""Claims whose pictures the README shows."""
COLORS = 64  # of a committed picture


def take(results: Path, second: Path | None) -> None:
    """Copy summary and pictures of a full run, and compare it with a second one."""
    from PIL import Image

    summary = json.loads((results / "summary.json").read_text())
    SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")
    shutil.rmtree(FIGURES, ignore_errors=True)
    FIGURES.mkdir(parents=True)
    for record in summary["claims"]:
        if record["figure"]:
            name = f"{record['id']}.png"
            with Image.open(results / name) as picture:
                picture.convert("RGB").quantize(COLORS).save(FIGURES / name, optimize=True)
    if second is not None:
        found = agreement(summary, json.loads((second / "summary.json").read_text()))
        listed = found._asdict() | {"flips": [flip._asdict() for flip in found.flips], "words": words(found)}
        AGREEMENT.write_text(json.dumps(listed, indent=1) + "\n")


def page(summary: Mapping[str, Any], agreed: str) -> str:
    """The Markdown page of a summary."""
    counts = ", ".join(f"{summary['verdicts'][name]} {name}" for name in ORDER if name in summary["verdicts"])
    made = ", ".join(f"{name} {value}" for name, value in summary["versions"].items() if name != "format")
    seconds = sum(record["seconds"] for record in summary["claims"])
    lines = [
        "# Claims, tested",
        "",
        "Look up what lectures say about training deep networks, what came out when measured, and run it yourself.",
        "",
        f"{len(summary['claims'])} claims: {counts}. {written(summary)} Seeds were added",
        "until a verdict stood; verdicts are corrected for each other by Holm's procedure; an exact statement holds if",
        "its number lies between the ends given.",
        planted(summary),
        "",
        *([agreed, ""] if agreed else []),
        f"`python -m experiments claims` measures all of them ({seconds / 60:.0f} minutes here; {made}), and",
        "`python -m experiments claims ID` one. This page is written from `experiments/summary.json`.",
    ]
    for verdict in ORDER:
        some = [record for record in summary["claims"] if record["verdict"] == verdict]
        if some:
            lines += ["", f"## {verdict.capitalize()}"]
        for record in some:
            lines += ["", *_section(record)]
    return "\n".join(lines) + "\n"


def _section(record: Mapping[str, Any]) -> list[str]:
    """A claim: its statement, picture, parts and notes."""
    lines = [f"### {record['id']}", "", f"{record['statement']}", "", f"*Measured*: {record['measured']}."]
    if record["figure"]:
        alternative = record["caption"].replace("[", "(").replace("]", ")")
        lines += ["", f"![{alternative}](../experiments/figures/claims/{record['id']}.png)", "", record["caption"]]
    if record["parts"]:
        lines += ["", "| what | rule | effect | 95 % interval | runs | verdict |", "|---|---|---:|---|---:|---|"]
        lines += [_row(part) for part in record["parts"]]
    lines += _foreseen(record)
    if record.get("skipped"):
        lines += ["", record["skipped"]]
    lines += [part for text in (mended(record), record["notes"]) if text for part in ("", text)]
    return lines


def _row(part: Mapping[str, Any]) -> str:
    effect = "not finite" if part["effect"] is None else f"{part['effect']:.4g}"
    ends = ["-" if end is None else f"{end:.4g}" for end in part["interval"] or ()]
    interval = f"{ends[0]} to {ends[1]}" if ends else ""
    verdict = part["corrected"] + (f": {part['needed']}" if part["corrected"] == "undecided" else "")
    return _line((part["what"], part["rule"], effect, interval, str(part["seeds"] or "exact"), verdict))


def _foreseen(record: Mapping[str, Any]) -> list[str]:
    """What theory foresees, as a table; nothing where it says nothing."""
    rows = foreseen.rows(record)
    if not rows:
        return []
    said = "Foreseen by theory, which decides nothing here (z: measured less predicted, in standard errors):"
    table = [_line(cells) for cells in (foreseen.HEAD, *map(foreseen.cells, rows))]
    return ["", said, "", table[0], "|---|---|---:|---:|---:|---:|", *table[1:]]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def gallery(summary: Mapping[str, Any]) -> str:
    """The README's part: how many claims there are, those that fail, and some pictures."""
    counts = ", ".join(f"{summary['verdicts'][name]} {name}" for name in ORDER if name in summary["verdicts"])
    listed = lambda verdict: [f"- **{r['id']}** {r['statement']}" for r in summary["claims"] if r["verdict"] == verdict]
    failed, mixed = listed("not supported"), listed("mixed")
    lines = [f"{len(summary['claims'])} claims of lectures, tested: {counts}.", ""]
    if failed:
        lines += ["Not supported:", "", *failed, ""]
    if mixed:
        lines += [
            f"<details><summary>Those that hold in part ({len(mixed)})</summary>",
            "",
            *mixed,
            "",
            "</details>",
            "",
        ]
    lines.append("All of them, with rules, intervals and pictures: [claims](docs/claims.md).")
    shown = [record for record in summary["claims"] if record["id"] in GALLERY and record["figure"]]
    pictures = [
        f'<img src="experiments/figures/claims/{r["id"]}.png" width="49%" alt="{r["id"]}: {r["statement"]}">'
        for r in shown
    ]
    return "\n".join([*lines, "", *pictures]) + "\n"


def readme(text: str, summary: Mapping[str, Any]) -> str:
    """The README with its gallery as it should be."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return "".join([before, START, gallery(summary), END, after])


def committed() -> tuple[dict[str, Any], str]:
    """The committed summary, and the agreement with a second run in words, if there was one."""
    agreed = json.loads(AGREEMENT.read_text())["words"] if AGREEMENT.exists() else ""
    return json.loads(SUMMARY.read_text()), agreed


def main(arguments: Sequence[str]) -> None:
    """Take results where folders are named; write page and gallery."""
    if arguments:
        take(Path(arguments[0]), Path(arguments[1]) if len(arguments) > 1 else None)
    summary, agreed = committed()
    PAGE.write_text(page(summary, agreed))
    README.write_text(readme(README.read_text(), summary))


if __name__ == "__main__":
    main(sys.argv[1:])
