"""Verdicts as a paper or another program needs them: a table and a sentence for each comparison.

>>> arms = {"metric": "accuracy", "a": {"phi": "selu"}, "b": {"phi": "relu"}}
>>> rule = Rule(claim="greater", effect=0.0, diverged="exclude", **arms)
>>> verdict = compare([0.5, 0.75, 0.75, 0.5], [0.25, 0.25, 0.5, 0.25], rule, axis=0)
>>> print(report(verdict, "markdown").splitlines()[2])
| phi=selu greater phi=relu | the only setting | supported | 0.3125 | 95 %: 0.1136 to 0.5114 | 0.015 | 0.015 | 4 | 0 |
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from jnorm._ground import checks
from jnorm.statistics._judging import compare  # noqa: F401 (the example)
from jnorm.statistics._methods import METHODS
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import describe
from jnorm.statistics._verdicts import Setting, Verdict, arm_in_words, title

COLUMNS = ("claim", "setting", "verdict", "a - b", "interval", "p", "adjusted p", "runs", "diverged")


def report(verdicts: Verdict | Sequence[Verdict], form: str = "text") -> str:
    """Verdicts as text, or as a table with sentences.

    Each sentence says what was estimated, how large it is with its interval, on how many runs, by which test against
    which difference, p and Holm's p, and what follows for the claim.

    Args:
        verdicts: One verdict, or several; those of one family corrected together, by `correct`.
        form: "text": as verdicts print, with the sentences; "markdown"; "latex": a table for the package booktabs;
            "json": a list of rules with their settings, numbers that are not finite as null.

    Returns:
        The report.

    Raises:
        TypeError: For what is no verdict.
        ValueError: For an unknown form.

    >>> rule = Rule(claim="less", effect=0.5, diverged="exclude", name="b is slower")
    >>> print(report(compare([1.0, 1.5, 1.0], [3.0, 3.5, 4.0], rule, axis=0)).splitlines()[-1])
      The mean of a minus b is -2.333 (95 % interval -3.768 to -0.8991; 3 paired runs; Student's t-test, two-sided \
against -0.5, p = 0.032): that it is less than -0.5 is supported at level 0.05.
    """
    checks.choice("form", form, FORMS)
    verdicts = [verdicts] if isinstance(verdicts, Verdict) else list(verdicts)
    if not all(isinstance(verdict, Verdict) for verdict in verdicts):
        raise TypeError(f"`verdicts` must be a Verdict or several; got {verdicts!r}")
    return FORMS[form](verdicts)


def _text(verdicts: Sequence[Verdict]) -> str:
    return "\n".join("\n".join([str(v), *(f"  {sentence(v.rule, s)}" for s in v.settings)]) for v in verdicts)


def _markdown(verdicts: Sequence[Verdict]) -> str:
    line = lambda cells: "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
    table = [line(COLUMNS), line(["---"] * len(COLUMNS)), *map(line, _cells(verdicts))]
    return "\n".join([*table, "", *_paragraphs(verdicts)])


def _latex(verdicts: Sequence[Verdict]) -> str:
    line = lambda cells: " & ".join(_escaped(str(cell)) for cell in cells) + r" \\"
    table = [r"\begin{tabular}{lllrlllll}", r"\toprule", line(COLUMNS), r"\midrule", *map(line, _cells(verdicts))]
    return "\n".join([*table, r"\bottomrule", r"\end{tabular}", "", *map(_escaped, _paragraphs(verdicts))])


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: rf"\{c}" for c in "&%$#_{}"} | {"<": r"\textless{}", ">": r"\textgreater{}"}
    return "".join(special.get(c, c) for c in text)


def _json(verdicts: Sequence[Verdict]) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(name): plain(v) for name, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if value is None or isinstance(value, bool | int | float | str):
            return value
        return plain(value.item()) if hasattr(value, "item") else getattr(value, "__name__", str(value))

    rules = (
        {"rule": dict(vars(v.rule)), "verdict": v.verdict, "settings": [dict(vars(s)) for s in v.settings]}
        for v in verdicts
    )
    return json.dumps([plain(rule) for rule in rules], indent=1)


FORMS: dict[str, Callable[[Sequence[Verdict]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
    "json": _json,
}


def _cells(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """A row of the table for every setting."""
    return [
        [
            *(title(v.rule), describe(s.where), s.verdict, f"{s.effect:.4g}"),
            f"{100 * s.confidence:.4g} %: {s.interval[0]:.4g} to {s.interval[1]:.4g}",
            *(f"{s.p:.2g}", f"{s.adjusted_p:.2g}", _two(s.runs), _two(s.diverged)),
        ]
        for v in verdicts
        for s in v.settings
    ]


def _paragraphs(verdicts: Sequence[Verdict]) -> list[str]:
    return [sentence(v.rule, s) for v in verdicts for s in v.settings]


def _two(counts: tuple[int, int]) -> str:
    return str(counts[0]) if counts[0] == counts[1] else f"{counts[0]} and {counts[1]}"


def sentence(rule: Rule, setting: Setting) -> str:
    """What a paper says of a comparison.

    Args:
        rule: The rule.
        setting: Its outcome in one setting.

    Returns:
        One sentence.
    """
    method, inside = METHODS[rule.method], rule.claim == "equal" and abs(setting.effect) < rule.effect
    words = [(label, arm_in_words(arm)) for label, arm in (("a", rule.a), ("b", rule.b))]
    arms = [f"{label} ({arm})" if arm else label for label, arm in words]
    of_metric = f" in {rule.metric}" if rule.metric else ""
    where = f" at {describe(setting.where)}" if setting.where else ""
    runs = f"{_two(setting.runs)} {'paired' if rule.paired else 'independent'} runs"
    if any(setting.diverged):
        counted = "left out" if rule.diverged == "exclude" else f"counted as {_article(rule.diverged)}"
        runs += f", {_two(setting.diverged)} diverged and {counted}"
    if inside:
        null = f"two one-sided tests against {-rule.effect:g} and {rule.effect:g}"
    else:
        sign = {"greater": 1, "less": -1, "equal": math.copysign(1, setting.effect)}[rule.claim]
        null = f"two-sided against {sign * rule.effect or 0.0:g}"
    p = f"p = {setting.p:.2g}" + (f", Holm's {setting.adjusted_p:.2g}" if setting.adjusted_p != setting.p else "")
    claimed = {
        "greater": f"greater than {rule.effect:g}",
        "less": f"less than {-rule.effect or 0.0:g}",
        "equal": f"between {-rule.effect:g} and {rule.effect:g}",
    }
    return (
        f"The {method.estimates} of {arms[0]} minus {arms[1]}{of_metric}{where} is {setting.effect:.4g} "
        f"({100 * setting.confidence:.4g} % interval {setting.interval[0]:.4g} to {setting.interval[1]:.4g}; {runs}; "
        f"{(method.paired if rule.paired else method.unpaired).removeprefix('an ')}, {null}, {p}): "
        f"that it is {claimed[rule.claim]} is {setting.verdict} at level {rule.level:g}."
    )


def _article(policy: str | float) -> str:
    return f"the {policy} run" if isinstance(policy, str) else f"{policy:g}"
