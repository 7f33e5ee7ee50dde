"""What every page owes its readers, seen in its text; the build sees the rest."""

import re

import pytest

from docs import __main__ as command
from docs import _api, _figures, _pages, _site
from tests import registry

FRONT = "---\nfile_format: mystnb\n---\n"
OPENING = "# Title\n\nYou can do this after it.\n\n"


def test_every_public_name_has_an_entry_on_the_page_of_its_room():
    entries = set()
    for room in _api.ROOMS:
        entries |= set(re.findall(r"^\.\. auto(?:function|class|data):: (\S+)$", _api.page(room), re.MULTILINE))
    assert entries == {f"jnorm.{name}" for name, _ in registry.public()}


def test_pages_follow_the_rules_and_all_their_code_runs():
    problems, blocks = _pages.check()
    assert problems == []
    assert blocks["cells"] > 0
    assert blocks["doctests"] > 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (OPENING + "```{code-cell}\n1\n```\n", "not the front matter"),
        (OPENING + "```python\nx = 1\n```\n", "Python that nothing runs"),
        (OPENING + "```pyhton\n>>> 1\n```\n", "unknown language 'pyhton'"),
        (OPENING + "```\nls\n```\n", "unknown language ''"),
        ("# Title\n\n## Section\n\nWords.\n", "does not say, below its title"),
        (OPENING + "![](picture.png)\n", "without an alternative text"),
        (OPENING + "See [there](nowhere.md).\n", "leads nowhere: nowhere.md"),
        (OPENING + "See [there](../nowhere.md#part).\n", "leads nowhere"),
    ],
)
def test_rules_can_be_broken(tmp_path, text, problem):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert any(problem in found for found in _pages.problems(page))


def test_a_good_page_breaks_no_rule(tmp_path):
    page = tmp_path / "page.md"
    blocks = "```{code-cell}\n1\n```\n```python\n>>> 1\n1\n```\n```sh\nls\n```\n"
    page.write_text(f"{FRONT}{OPENING}{blocks}[here](page.md) [far](https://example.org) [x](#part)\n")
    assert list(_pages.problems(page)) == []


@pytest.mark.parametrize("options", ["", ":tags: [hide-input]\n", "---\nmystnb:\n  image:\n    alt: Words\n---\n"])
def test_an_error_has_its_line_on_the_page(options):
    page = f"{FRONT}# Title\n\n```{{code-cell}}\nx = 1\n```\n\n```{{code-cell}}\n{options}x = 2\n\nx / 0\n```\n"
    traceback = (
        "ZeroDivisionError  Traceback (most recent call last)\nCell In[2], line 3\n      1 x = 2\n----> 3 x / 0\n"
    )
    cell, line = _pages.where(page, traceback)
    assert cell == 2
    assert page.split("\n")[line - 1] == "x / 0"


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        (
            '<script src="https://cdn.example.org/math.js"></script>',
            "loads https://cdn.example.org/math.js from the network",
        ),
        ('<link rel="stylesheet" href="//example.org/a.css">', "from the network"),
        ('<a href="gone.html">there</a>', "leads nowhere: gone.html"),
        ('<a href="other.html#gone">there</a>', "not on the page: other.html#gone"),
        ('<img src="other.html">', "without an alternative text"),
        ('<img src="other.html" alt="_images/1.png">', "without an alternative text"),
    ],
)
def test_a_site_is_whole_without_a_network(tmp_path, html, problem):
    (tmp_path / "other.html").write_text(
        '<p id="part">Words</p><a href="#part">up</a><a href="https://example.org">out</a>'
    )
    assert list(_site.problems(tmp_path)) == []
    (tmp_path / "page.html").write_text(html)
    (found,) = _site.problems(tmp_path)
    assert problem in found


def test_the_command_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name == "myst_nb" else object())
    assert command.main(["--only", "index"]) == 2
    assert 'pip install -e ".[docs]"' in capsys.readouterr().err


def test_committed_pictures_are_as_young_as_the_code_that_makes_them(monkeypatch, tmp_path):
    assert list(_figures.problems()) == []
    note = tmp_path / "made_by.json"
    note.write_text('{"portrait.png": "0123456789abcdef"}')
    monkeypatch.setattr(_figures, "NOTE", note)
    assert any("portrait.png is older than its code" in problem for problem in _figures.problems())
