"""How Sphinx builds these pages: ``python -m docs``, from the root of the repository."""

import os
import sys
from importlib.resources import files
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import jnorm  # noqa: E402
from docs import _api, _execution, _references  # noqa: E402

project = "jnorm"
author = "The jnorm authors"
version = release = jnorm.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_*"]
nitpicky = True
show_warning_types = True
suppress_warnings = [
    "mystnb.exec",  # of code that failed `_execution.failures` tells cell and line
    "ref.python",  # a signature has short names, of which two rooms may have the same: `Report`
]

# `python -m docs --only PAGE` (or a folder) leaves out the other pages, to which there are no links then.
if only := os.environ.get("JNORM_DOCS_ONLY"):
    include_patterns = [f"{only}.*", f"{only}/**"]
    root_doc = f"{only}/index" if (HERE / only).is_dir() else only
    nitpicky = False
    suppress_warnings += ["toc", "ref", "myst.xref_missing"]

# Markdown, and the code in it. What a page prints depends on jnorm: another state of its source has another cache.
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_show_tb = False
nb_execution_timeout = 120
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_execution_cache_path = str(ROOT / "build" / "docs" / "cache" / _execution.fingerprint(ROOT))
os.environ["IPYTHONDIR"] = _execution.profile(ROOT / "build" / "docs" / "ipython")

# API: docstrings are reStructuredText in Google's form; a name in single backticks leads to its entry, if there is one.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "notes")]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False
toc_object_entries_show_parents = "hide"

# Inventories of neighbours lie here, since a build reads no network.
intersphinx_mapping = {
    name: (f"https://{address}", f"_inventories/{name}.txt")
    for name, address in {
        "jax": "docs.jax.dev/en/latest",
        "matplotlib": "matplotlib.org/stable",
        "numpy": "numpy.org/doc/stable",
        "optax": "optax.readthedocs.io/en/latest",
        "pandas": "pandas.pydata.org/docs",
        "python": "docs.python.org/3",
        "xarray": "docs.xarray.dev/en/stable",
    }.items()
}

# One file of MathJax, which draws formulas as SVG and needs neither fonts nor a server.
mathjax_path = "tex-svg.js"
html_theme = "sphinx_book_theme"
html_title = "jnorm"
html_static_path = ["_static", str(files("sphinx-mathjax-offline").joinpath("static", "mathjax", "tex-svg.js"))]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "navigation_with_keys": False}


def setup(app: Sphinx) -> None:
    """Make the API pages, and say how names in signatures and docstrings are resolved."""
    _api.write(HERE / "api")
    app.add_config_value("source_of_jnorm", nb_execution_cache_path, "env")  # another one: every page is made anew
    app.connect("env-updated", _execution.failures)
    app.connect("autodoc-process-signature", _references.signature)
    app.connect("autodoc-skip-member", _references.skip)
    app.connect("autodoc-process-docstring", _references.docstring, priority=400)  # before napoleon
    if not only:
        app.connect("env-check-consistency", _references.unlisted)
    app.connect("missing-reference", _references.resolve, priority=100)
