"""Rules that the text of every page follows, checked without building: ``python -m docs --check``."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
TEXT = {"sh", "console", "toml", "text", "json", "csv", "bibtex", "diff"}
"""Languages of blocks that are not Python."""
FENCE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})(?P<language>\S*)[^\n]*\n(?P<code>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL
)
OPTIONS = re.compile(r"---\n(?:.*\n)*?---\n|(?::.*\n)+")
"""What a cell may begin with: how it is shown."""
LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def pages() -> list[Path]:
    """The Markdown files of the site."""
    return sorted(path for path in HERE.rglob("*.md") if not path.relative_to(HERE).parts[0].startswith("_"))


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of the fenced blocks of a page."""
    return [(match["language"], match["code"]) for match in FENCE.finditer(text)]


def runs(text: str) -> bool:
    """Whether the page has the front matter by which it is executed."""
    front = re.match(r"---\n(.*?)^---$", text, re.MULTILINE | re.DOTALL)
    return bool(front and "file_format: mystnb" in front[1])


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a page: blocks that nothing runs, no word of what it is for, links that lead nowhere."""
    text = path.read_text()
    for language, code in blocks(text):
        if language == "{code-cell}" and not runs(text):
            yield "has {code-cell} blocks but not the front matter `file_format: mystnb`, so nothing runs them"
        elif language in ("python", "py", "pycon") and ">>>" not in code:
            yield f"has Python that nothing runs; make it a {{code-cell}} or a doctest: {code.strip()[:60]!r}"
        elif not language.startswith("{") and language not in TEXT | {"python", "py", "pycon"}:
            yield f"has a block of unknown language {language!r}; use one of {', '.join(sorted(TEXT))}"
    prose = FENCE.sub("", text)
    if path not in OTHERS:
        opening = re.search(r"^# .+\n\n(?P<first>.*)", prose, re.MULTILINE)
        if not opening or not re.match(r"[A-Z`*{]", opening["first"]):
            yield "does not say, below its title, what the reader will be able to do after it"
    for link in LINK.finditer(prose):
        if link[0].startswith("!") and not link["text"]:
            yield f"has a picture without an alternative text: {link['target']}"
        target = link["target"].partition("#")[0]
        if target and not re.match(r"[a-z]+:", target) and not _leads(path, target):
            yield f"has a link that leads nowhere: {link['target']}"


def _leads(page: Path, target: str) -> bool:
    """Whether a file or page is there; API pages are made by the build."""
    at = HERE / target.removeprefix("/") if target.startswith("/") else page.parent / target
    return at.exists() or at.with_name(f"{at.name}.md").exists() or HERE / "api" in at.resolve().parents


def where(page: str, traceback: str) -> tuple[int, int]:
    r"""The cell and the line of the page of which IPython's traceback tells.

    >>> where("text\n\n```{code-cell}\nx = 1\n1 / 0\n```\n", "Cell In[1], line 2\n...")
    (1, 5)
    """
    found = re.search(r"Cell In\s?\[(\d+)\](?:, line (\d+))?", traceback)
    cell, line = (int(found[1]), int(found[2] or 1)) if found else (1, 1)
    block = [match for match in FENCE.finditer(page) if match["language"] == "{code-cell}"][cell - 1]
    options = OPTIONS.match(block["code"])
    return cell, page.count("\n", 0, block.start("code") + (options.end() if options else 0)) + line


def check() -> tuple[list[str], Counter[str]]:
    """All problems, each with its page, and how many blocks there are by what runs them."""
    found, count = [], Counter[str]()
    for path in [*OTHERS, *pages()]:
        found += [f"{path.relative_to(ROOT)} {problem}" for problem in problems(path)]
        for language, code in blocks(path.read_text()):
            cell = language == "{code-cell}"
            count["cells" if cell else "doctests" if ">>>" in code else "texts" if language in TEXT else "other"] += 1
    return found, count
