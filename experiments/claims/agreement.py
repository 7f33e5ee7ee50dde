"""Two runs of all claims with other seeds: how many verdicts agree, and which flip, with the power that they had."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Flip(NamedTuple):
    """A claim with two verdicts.

    Attributes:
        id: Its number.
        verdicts: The first and the second.
        parts: What was measured, twice, where its verdict differs: effects, and what would decide.
    """

    id: str
    verdicts: tuple[str, str]
    parts: list[dict[str, Any]]


class Agreement(NamedTuple):
    """How two summaries agree.

    Attributes:
        seeds: The seeds of each, as far as their number is fixed.
        claims: Those that both have measured, by the same rules.
        same: How many of them have the same verdict.
        flips: The others.
        left: Claims that only one has measured, or that the two judge by other rules.
    """

    seeds: tuple[list[int], list[int]]
    claims: int
    same: int
    flips: list[Flip]
    left: list[str]


def agreement(first: Mapping[str, Any], second: Mapping[str, Any]) -> Agreement:
    """Compare two summaries.

    >>> def summary(verdict):
    ...     parts = [{"what": "a difference", "effect": 0.1, "needed": "", "corrected": verdict}]
    ...     return {"claims": [{"id": "N1", "verdict": verdict, "rules": ["r"], "parts": parts, "seeds": [0, 8]}]}
    >>> agreement(summary("supported"), summary("undecided")).flips[0].verdicts
    ('supported', 'undecided')
    """
    sides = [{record["id"]: record for record in one["claims"] if record["parts"]} for one in (first, second)]
    both = [name for name in sides[0] if name in sides[1] and sides[0][name]["rules"] == sides[1][name]["rules"]]
    pairs = [(sides[0][name], sides[1][name]) for name in both]
    flips = [
        Flip(a["id"], (a["verdict"], b["verdict"]), _parts(a, b)) for a, b in pairs if a["verdict"] != b["verdict"]
    ]
    seeds = [pairs[0][side]["seeds"] if pairs else [] for side in (0, 1)]
    left = [name for name in {**sides[0], **sides[1]} if name not in both]
    return Agreement((seeds[0], seeds[1]), len(both), len(both) - len(flips), flips, left)


def _parts(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "what": one["what"],
            "verdicts": [one["corrected"], other["corrected"]],
            "effects": [one["effect"], other["effect"]],
            "needed": [one["needed"], other["needed"]],
        }
        for one, other in zip(a["parts"], b["parts"], strict=True)
        if one["corrected"] != other["corrected"]
    ]


def words(found: Agreement) -> str:
    """The comparison in Markdown: a sentence, and a list of the claims that flip."""
    if not found.claims:
        return "No claim was measured twice by the same rules."
    (a, b), (c, d) = found.seeds
    share = 100 * found.same / found.claims
    text = f"With other seeds ({c} to {d - 1} where the first run had {a} to {b - 1}) {found.same} of {found.claims} "
    text += f"verdicts are the same ({share:.1f} %)."
    return "\n".join([text, *(["", *map(_item, found.flips)] if found.flips else [])])


def _item(flip: Flip) -> str:
    """A claim with two verdicts: the parts that differ, their effects, and the power where that was wanting."""
    shown = lambda part: ", then ".join(
        "not finite" if effect is None else f"{effect:.4g}" for effect in part["effects"]
    )
    wanting = lambda part: "".join(f"; {needed}" for needed in part["needed"] if needed)
    parts = "; ".join(f"{part['what']}: {shown(part)}{wanting(part)}" for part in flip.parts)
    return f"- **{flip.id}**: {', then '.join(flip.verdicts)} ({parts})"
