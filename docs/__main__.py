"""``python -m docs`` builds the site; see ``python -m docs --help``."""

import argparse
import importlib.util
import os
import shutil
import sys
import time
from pathlib import Path

from docs import _figures, _pages, _site

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "docs"
SITE = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx-mathjax-offline", "ipykernel")
PAGES = ("sklearn", "equinox", "flint", "optuna", "safetensors", "xarray")
"""What pages import beside what jnorm itself needs."""


def main(arguments: list[str] | None = None) -> int:
    """Build, or check without building; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs", description="Build the site into build/docs/html.")
    parser.add_argument("--only", metavar="PAGE", help="one page, such as how_to/batch_norm, into build/docs/only")
    parser.add_argument("--check", action="store_true", help="only look at the text of the pages, in a second")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    options = parser.parse_args(arguments)
    problems, blocks = _pages.check()
    wrong = not options.only and _said([*problems, *_figures.problems()])
    counts = f"{blocks['cells']} cells, {blocks['doctests']} blocks of doctests, {blocks['texts']} of other languages"
    if options.check:
        print(f"{len(_pages.pages())} pages: {counts}")
        return int(wrong)
    missing = [name for name in SITE + PAGES if importlib.util.find_spec(name) is None]
    if missing:
        print(f'pip install -e ".[docs]" first: the extra `docs` lacks {", ".join(missing)}', file=sys.stderr)
        return 2
    began = time.perf_counter()
    site = BUILD / ("only" if options.only else "html")
    if not _build(site, options.only, options.jobs):
        return 1
    seconds = f"{time.perf_counter() - began:.0f} s"
    if options.only:
        print(f"{site}, in {seconds}")
        return 0
    if _said(list(_site.problems(site))) or wrong:
        return 1
    print(f"{site / 'index.html'}: {counts}; {_site.size(site):.1f} MB, in {seconds}")
    return 0


def _build(site: Path, only: str | None, jobs: int) -> bool:
    """Run Sphinx, for which a warning is an error; what it knows of pages is thrown away where one fails."""
    from sphinx.cmd.build import main as sphinx

    if only:
        os.environ["JNORM_DOCS_ONLY"] = only.removeprefix("docs/").removesuffix(".md")
    known = BUILD / f"{site.name}-doctrees"
    arguments = ["-W", "--keep-going", "-q", "-j", str(jobs), "-d", str(known), "-b", "html", str(HERE), str(site)]
    if status := sphinx(arguments):
        shutil.rmtree(known, ignore_errors=True)
    return status == 0


def _said(problems: list[str]) -> bool:
    """Tell the problems; whether there are any."""
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
