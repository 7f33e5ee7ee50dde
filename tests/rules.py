"""The rules of `jnorm.predict`, read from its tables and their code: the tables of ``docs/theory/prediction_rules.md``.

``python -m tests.rules`` writes them anew: a section for each family of rules, in it each rule with what it says of
itself, what it refuses, and for each of its operations the operations of its reverse pass.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from jnorm import jaxprs
from jnorm.predict._predictor import RULES, Predictor
from tests.accuracy import written
from tests.predict.cases import CASES, Case, zeros

PAGE = Path(__file__).resolve().parents[1] / "docs" / "theory" / "prediction_rules.md"
FAMILIES = ("elementwise", "structure", "joins", "reductions", "contractions", "convolutions", "loops")
"""The modules of rules."""


def rules(family: str) -> dict[Callable[..., Any], list[str]]:
    """The rules of a family, each with its operations."""
    found: dict[Callable[..., Any], list[str]] = {}
    for name, rule in RULES.items():
        if rule.__module__ == f"jnorm.predict._{family}":
            found.setdefault(rule, []).append(name)
    return found


def refusals(rule: Any) -> set[str]:
    """The reasons to refuse that are written in a rule and in all that it calls in the room."""
    reasons: set[str] = set()
    seen: set[Any] = set()
    left = [rule]
    while left:
        part = left.pop()
        if part not in seen:
            seen.add(part)
            tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
            reasons |= set(_reasons(tree))
            left += _called(tree, inspect.getmodule(part))
    return reasons


def _reasons(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Refused":
            (text,) = node.args
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "N" for part in parts)


def _called(tree: ast.AST, module: ModuleType | None) -> Iterator[Any]:
    """Functions and classes of the room, by their names and as methods of the predictor."""
    for node in ast.walk(tree):
        found: Any = None
        if isinstance(node, ast.Name):
            found = getattr(module, node.id, None)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            whose = getattr(module, node.value.id, None)
            found = getattr(whose if inspect.ismodule(whose) else Predictor, node.attr, None)
        if (inspect.isfunction(found) or inspect.isclass(found)) and found.__module__.startswith("jnorm.predict."):
            yield found


def reverse(name: str, case: Case) -> list[str] | None:
    """The operations of an operation's reverse pass; ``None`` where programs have it in their reverse pass alone."""
    program = jax.make_jaxpr(case.apply)(zeros(case), case.x)
    site = next((site for site in jaxprs.walk(program) if site.primitive == name), None)
    if site is None:
        return None
    equation = site.equation
    moving = [i for i, atom in enumerate(equation.invars) if jnp.issubdtype(atom.aval.dtype, jnp.floating)]
    operands = [jnp.zeros(atom.aval.shape, atom.aval.dtype) for atom in equation.invars]

    def run(*some: Any) -> Any:
        given = list(operands)
        for i, value in zip(moving, some, strict=True):
            given[i] = value
        return site.run(*given)

    results, back = jax.vjp(run, *(operands[i] for i in moving))
    if not any(jnp.issubdtype(value.dtype, jnp.floating) for value in results):
        return []  # as of comparisons
    sites = jaxprs.walk(jax.make_jaxpr(back)(results))
    return sorted({site.primitive for site in sites if not jaxprs.LOOPS & set(site.path)} - jaxprs.CALLS)


def told(name: str) -> str:
    """The reverse pass of an operation in words."""
    if not CASES[name].gradients:
        return "none"
    found = reverse(name, CASES[name])
    if found is None:
        return "it belongs to reverse passes itself"
    return ", ".join(f"`{inner}`" for inner in found) or "the gradient as it is, or none"


def section(family: str, words: Callable[[str], str] = told) -> list[str]:
    """The rules of a family in Markdown."""
    lines: list[str] = []
    for rule, names in rules(family).items():
        by: dict[str, list[str]] = {}
        for name in sorted(names):
            by.setdefault(words(name), []).append(f"`{name}`")
        title = ", ".join(f"`{name}`" for name in sorted(names)) if len(names) < 5 else "All of them"
        text = " ".join(inspect.cleandoc(rule.__doc__ or "").split()).replace("``", "`")
        reasons = "; ".join(sorted(refusals(rule))) or "nothing"
        lines += [f"### {title}", "", text, "", f"Refused: {reasons}.", ""]
        if len(by) == 1:
            lines += [f"Reverse pass: {''.join(by)}.", ""]
        else:
            lines += ["| operation | reverse pass |", "|---|---|"]
            lines += [f"| {', '.join(of)} | {back} |" for back, of in sorted(by.items(), key=lambda item: item[1])] + [
                ""
            ]
    return lines[:-1]


def tables() -> dict[str, list[str]]:
    """The sections, by their families."""
    return {family: section(family) for family in FAMILIES}


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), tables()))
