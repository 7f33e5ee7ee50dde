"""The page of claims: one file that stands alone, for a phone too, drawn from the records."""

import base64
import html as escaping
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.claims import foreseen
from experiments.common import plain

ORDER = ("not supported", "mixed", "undecided", "supported", "skipped")  # what fails is what one wants to know first

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid var(--line); }
th:nth-child(-n+2) { width: 22%; } th:nth-child(3) { width: 36%; } td:last-child { white-space: nowrap; }
details th:nth-child(n) { width: auto; } details :is(th, td) { padding: .15rem .3rem; }
td ul { margin: 0; padding-left: 1rem; }
.verdict { font-weight: 600; white-space: nowrap; }
.verdict::before { display: inline-block; width: 1.2em; }
[data-verdict="supported"] .verdict::before { content: "\\2713"; color: #009E73; }
[data-verdict="not supported"] .verdict::before { content: "\\2717"; color: #D55E00; }
[data-verdict="mixed"] .verdict::before { content: "\\00B1"; color: #E69F00; }
[data-verdict="undecided"] .verdict::before { content: "?"; color: #0072B2; }
[data-verdict="skipped"] .verdict::before { content: "\\2013"; }
figure { margin: 0 0 1rem; } img { max-width: 100%; height: auto; background: #fff; }
label { margin-right: 1rem; } select { font: inherit; } code { background: var(--soft); overflow-wrap: anywhere; }
small, details { opacity: .8; } details { font-size: .8rem; }
@media (max-width: 46rem) {
  thead { display: none; }
  tr { display: block; border-bottom: 2px solid var(--line); padding: .5rem 0; }
  td { display: block; border: 0; padding: .15rem 0; overflow-wrap: anywhere; }
  td[data-name]::before { content: attr(data-name) ": "; opacity: .8; }
}
"""

SCRIPT = """
const chosen = () => ["topic", "verdict"].map(name => [name, document.getElementById(name).value]);
const show = () => document.querySelectorAll("[data-verdict]").forEach(part => {
  part.hidden = chosen().some(([name, value]) => value && part.dataset[name] !== value);
});
document.querySelectorAll("select").forEach(select => select.addEventListener("change", show));
"""


def text(value: Mapping[str, Any]) -> bytes:
    """JSON."""
    return (json.dumps(plain(dict(value)), indent=1) + "\n").encode()


def html(summary: Mapping[str, Any], folder: Path, *, quick: bool) -> str:
    """The page of a summary, with the figures that lie in ``folder`` inside it."""
    records = sorted(summary["claims"], key=lambda record: ORDER.index(record["verdict"]))
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>Claims, tested</title><style>{STYLE}</style></head><body>",
        "<h1>What lectures say about training deep networks, tested</h1>",
        f"<p>{_counts(summary['verdicts'])}. {written(summary)} Verdicts of runs are ",
        "corrected for each other by Holm's procedure. An exact statement holds where its number lies between the ",
        f"ends given. {planted(summary)}</p>",
    ]
    if quick:
        head.append(
            "<p><strong>Reduced size: this shows that everything runs, its verdicts count for nothing.</strong></p>"
        )
    table = [
        "<table><thead><tr><th>Claim<th>Measured<th>Effect, 95 % interval<th>Seeds<th>Verdict<th>Time</tr></thead>",
        "<tbody>",
        *(_row(record) for record in records),
        "</tbody></table>",
    ]
    figures = [_figure(record, folder) for record in records if record["figure"]]
    filters = _filter("topic", sorted({record["topic"] for record in records}))
    filters += _filter("verdict", [verdict for verdict in ORDER if verdict in summary["verdicts"]])
    made = "; ".join(f"{name} {value}" for name, value in summary["versions"].items())
    end = [f"<p><small>{_safe(made)}</small></p>", f"<script>{SCRIPT}</script></body></html>"]
    return "\n".join([*head, f"<p>{filters}</p>", *table, *figures, *end, ""])


def written(summary: Mapping[str, Any]) -> str:
    """When rules were written down, in a sentence or two."""
    some = [record["id"] for record in summary["claims"] if record["mended"]]
    if not some:
        return "Rules were written down before any result."
    return (
        f"Rules were written down before any result, but for {', '.join(some)}: a full run had shown that they "
        "measured something else than they said, so that they were mended and judged on new seeds."
    )


def mended(record: Mapping[str, Any]) -> str:
    """What was mended after an earlier run, in a sentence; nothing for rules that were written before all runs."""
    return f"Mended after an earlier full run: {record['mended']}" if record["mended"] else ""


def planted(summary: Mapping[str, Any]) -> str:
    """What became of planted falsehoods, in a sentence."""
    parts = [part for record in summary["claims"] for part in record["parts"]]
    some = [part["planted"] for part in parts if part["corrected"] == "supported" and part["planted"]]
    wrong = some.count("supported")
    return (
        f"Judged again with their arms exchanged, {wrong or 'none'} of {len(some)} supported comparisons came out so."
    )


def _row(record: Mapping[str, Any]) -> str:
    parts = record["parts"]
    cells = {
        "": f"<strong>{record['id']}</strong> {_safe(record['statement'])}",
        "measured": _safe(record["measured"])
        + (f"<br><small>{_safe(mended(record))}</small>" if record["mended"] else "")
        + (f"<details><summary>notes</summary>{_safe(record['notes'])}</details>" if record["notes"] else ""),
        "effect": (_items([_effect(part) for part in parts]) if parts else _safe(record.get("skipped", "")))
        + _foreseen(record),
        "seeds": str(max((part["seeds"] for part in parts), default=0) or "exact"),
    }
    raw = "" if record["uncorrected"] == record["verdict"] else f"<br><small>alone: {record['uncorrected']}</small>"
    shown = "".join(f"<td{f' data-name={name!r}' if name else ''}>{cell}</td>" for name, cell in cells.items())
    shown += f'<td class="verdict">{record["verdict"]}{raw}</td><td data-name="time">{record["seconds"]:.1f} s</td>'
    return f"<tr {_data(record)}>{shown}</tr>"


def _effect(part: Mapping[str, Any]) -> str:
    """A part in words: what, how much, by which rule."""
    effect = "not finite" if part["effect"] is None else f"{part['effect']:.4g}"
    ends = part["interval"]
    if ends:
        effect += f" [{', '.join('-' if end is None else f'{end:.4g}' for end in ends)}]"
    verdict = part["corrected"]
    mark = "" if verdict == "supported" else f" <strong>{verdict}</strong>"
    needed = f"; {part['needed']}" if verdict == "undecided" else ""
    return f"{_safe(part['what'])}: {effect}{mark}<br><small>rule: {_safe(part['rule'] + needed)}</small>"


def _foreseen(record: Mapping[str, Any]) -> str:
    """What theory foresees, as a table that opens; nothing where it says nothing."""
    rows = foreseen.rows(record)
    if not rows:
        return ""
    named = lambda row: zip(foreseen.HEAD, foreseen.cells(row), strict=True)
    line = lambda row: "".join(f'<td data-name="{name}">{_safe(cell)}' for name, cell in named(row))
    body = "".join(f"<tr>{line(row)}</tr>" for row in rows)
    head = "".join(f"<th>{name}" for name in foreseen.HEAD)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<details><summary>foreseen by theory</summary>{table}</details>"


def _figure(record: Mapping[str, Any], folder: Path) -> str:
    """A figure inside the page, what it shows and how to draw it again."""
    path = folder / record["figure"]
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    again = f"python -m experiments claims {record['id']}"
    return (
        f"<figure {_data(record)}><h2>{record['id']}: {_safe(record['statement'])}</h2>"
        f'<img alt="{_safe(record["caption"])}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{_safe(record['caption'])} <code>{again}</code></figcaption></figure>"
    )


def _filter(name: str, values: Sequence[str]) -> str:
    options = "".join(f"<option>{_safe(value)}</option>" for value in values)
    return f'<label>{name} <select id="{name}"><option value="">all</option>{options}</select></label>'


def _counts(verdicts: Mapping[str, int]) -> str:
    return ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ORDER if verdict in verdicts) or "nothing recorded"


def _data(record: Mapping[str, Any]) -> str:
    return f'data-topic="{_safe(record["topic"])}" data-verdict="{record["verdict"]}"'


def _items(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{text}</li>" for text in texts) + "</ul>"


def _safe(words: str) -> str:
    return escaping.escape(str(words))
