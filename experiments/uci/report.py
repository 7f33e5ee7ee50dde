"""The report: accuracies and average ranks beside the published ones, tests, correlations, and the verdict."""

from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.common import Output
from experiments.uci import Config, ranks
from experiments.uci.course import Done
from jnorm import statistics


def judged(config: Config, done: Done, table: ranks.Table, broken: dict[str, str]) -> dict[str, Any]:
    """All numbers of the report: ours, and the published ones of the same sets by the same rule."""
    kinds = config.kinds
    names = list(done.accuracy)
    place = [ranks.KINDS.index(kind) for kind in kinds]
    ours = np.stack([done.accuracy[name] for name in names])
    theirs = np.stack([table.accuracy.get(name, np.full(len(ranks.KINDS), np.nan))[place] for name in names])
    found = ranks.judged(ours, kinds)
    there = np.isfinite(theirs).any(1)
    same = ranks.judged(theirs[there], kinds) if there.sum() > 1 else None
    return {
        "config": asdict(config),
        "kinds": list(kinds),
        "sets": names,
        "broken": broken,
        "examples": done.examples,
        "tests": done.tests,
        "runs": done.runs,
        "diverged": done.diverged,
        "programs": done.programs,
        "accuracy": ours,
        "published": theirs,
        "chosen": done.chosen,
        "ours": found,
        "published_same_sets": same,
        "agreement": ranks.agreement(ours, theirs),
        "rule": ranks.verdict(found, kinds, table),
        "rule_on_published": None if same is None else ranks.verdict(same, kinds, table),
    }


def text(numbers: dict[str, Any], table: ranks.Table) -> str:
    """The report in Markdown."""
    kinds, found, same = numbers["kinds"], numbers["ours"], numbers["published_same_sets"]
    lines = [
        "# Seven networks on UCI sets, beside the published table\n",
        f"{len(numbers['sets'])} sets, {numbers['runs']} runs of {numbers['programs']} programs; "
        f"{numbers['diverged']} runs diverged. Published: {table.source}.\n",
        *[f"Left out, {name}: {why}\n" for name, why in numbers["broken"].items()],
        "## Average ranks\n",
        "Less 4, the mean of seven; below 0 is better. p of Wilcoxon's signed ranks against snn, after Holm.\n",
        "| network | ours | published, same sets | published, 121 sets | p ours | p published, same sets |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    middle = (len(kinds) + 1) / 2
    for kind in sorted(kinds, key=lambda kind: found["ranks"][kind]):
        cells = [
            f"{found['ranks'][kind] - middle:+.2f}",
            "-" if same is None else f"{same['ranks'][kind] - middle:+.2f}",
        ]
        cells.append(f"{table.ranks[ranks.KINDS.index(kind)] - 4:+.3f}")
        for tests in (found, same):
            test = None if tests is None else tests.get("against_snn", {}).get(kind)
            cells.append("-" if test is None else f"{test['holm']:.3g}")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    for name, tests in (("ours", found), ("published, same sets", same)):
        if tests is not None:
            lines.append(
                f"\nFriedman, {name}: chi2 {tests['chi2']:.2f} (p {tests['p']:.2g}), Iman and Davenport's F "
                f"{tests['f']:.2f} (p {tests['f_p']:.2g}); critical difference {tests['critical_difference']:.2f}."
            )
    agreed = numbers["agreement"]
    if np.isfinite(agreed["overall"]):
        lines.append(
            f"\nSpearman's correlation of our accuracies with the published ones: {agreed['overall']:.3f} over sets "
            f"and networks, {agreed['within']:.3f} with the mean of each set taken off."
        )
    for whose, rule in (
        ("ours", numbers["rule"]),
        ("the published accuracies of the same sets", numbers["rule_on_published"]),
    ):
        if rule is not None and rule["verdict"] is not None:
            beaten = f", better than snn: {', '.join(rule['better_than_snn'])}" if rule["better_than_snn"] else ""
            lines.append(
                f"\nThe published order, by the rule, from {whose}: **{rule['verdict']}** (Spearman's correlation of "
                f"average ranks with the published ones {rule['correlation']:.3f}, best {rule['first']}{beaten})."
            )
    return "\n".join([*lines, *_accuracies(numbers)]) + "\n"


def _accuracies(numbers: dict[str, Any]) -> list[str]:
    """Test accuracies, ours and the published ones side by side."""
    kinds = numbers["kinds"]
    lines = ["\n## Test accuracies\n", "Ours / published, in %; chosen hyperparameters are in report.json.\n"]
    lines += ["| set | examples | " + " | ".join(kinds) + " |", "|---|---:|" + "---:|" * len(kinds)]
    for name, ours, theirs in zip(numbers["sets"], numbers["accuracy"], numbers["published"], strict=True):
        cells = [
            f"{100 * a:.1f} / {100 * b:.1f}" if np.isfinite(b) else f"{100 * a:.1f} / -"
            for a, b in zip(ours, theirs, strict=True)
        ]
        lines.append(f"| {name} | {numbers['examples'][name]} | " + " | ".join(cells) + " |")
    return lines


def draw(output: Output, numbers: dict[str, Any], table: ranks.Table) -> None:
    """Critical differences, ours beside the published ones of the same sets."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than an experiment's help should

    kinds, there = numbers["kinds"], np.isfinite(numbers["published"]).any(1)
    panels = {"ours": numbers["accuracy"]}
    if there.sum() > 1:
        panels["published, same sets"] = numbers["published"][there]
    with plots.style():
        figure, axes = plots.figure(1, len(panels), size=(4.2 * len(panels), 2.4))
        for each, (title, accuracy) in zip(np.atleast_1d(axes), panels.items(), strict=True):
            grid = [{"network": kind, "set": i} for kind in kinds for i in range(len(accuracy))]
            result = statistics.Runs(grid, {"accuracy": accuracy.T.reshape(-1, 1)})
            plots.critical_difference(each, result, "accuracy", "network")
            each.set_title(title)
        output.figure(
            "ranks",
            figure,
            networks=np.array(kinds),
            sets=np.array(numbers["sets"]),
            accuracy=numbers["accuracy"],
            published=numbers["published"],
        )
