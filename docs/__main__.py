"""``python -m docs`` builds the site; see ``python -m docs --help``."""

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "docs"
NEEDED = (
    "sphinx",
    "myst_nb",
    "sphinx_book_theme",
    "sphinx-mathjax-offline",
    "matplotlib",
    "sklearn",
    "equinox",
    "flint",
)


def main(arguments: list[str] | None = None) -> int:
    """Build, or check without building; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs", description="Build the site into build/docs/html.")
    parser.add_argument(
        "--only", metavar="PAGE", help="one page alone, such as how_to/batch_norm, into build/docs/only"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    options = parser.parse_args(arguments)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f'the site needs the extra `docs` ({", ".join(missing)} missing): pip install -e ".[docs]"', file=sys.stderr
        )
        return 2
    from sphinx.cmd.build import main as sphinx

    target = BUILD / ("only" if options.only else "html")
    if options.only:
        os.environ["JNORM_DOCS_ONLY"] = options.only.removeprefix("docs/").removesuffix(".md")
    began = time.perf_counter()
    common = ["-W", "--keep-going", "-q", "-j", str(options.jobs), "-d", str(BUILD / f"{target.name}-doctrees")]
    status = sphinx([*common, "-b", "html", str(HERE), str(target)])
    if status == 0:
        print(f"{target / (options.only or 'index')}.html in {time.perf_counter() - began:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
