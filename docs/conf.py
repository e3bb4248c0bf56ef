"""How the documentation is built: sphinx-build -W -b html docs docs/_build/html."""

import os
import re

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import sklearn_dl

project = "sklearn_dl"
author = "sklearn_dl developers"
copyright = author
version = release = sklearn_dl.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
nitpicky = False

html_theme = "pydata_sphinx_theme"
html_title = f"sklearn_dl {release}"
html_theme_options = {"show_toc_level": 2}
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
}

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
doctest_global_setup = "import numpy as np"


def _skip_foreign_member(app, what, name, obj, skip, options):
    """Leave out what scikit-learn's mixins bring: its docstrings refer to its own pages."""
    home = getattr(obj, "__module__", None) or ""
    return skip or home.partition(".")[0] in {"sklearn", "skorch", "torch"}


# A word ending in "_" outside of backticks; pieces in backticks are matched first and kept.
_FITTED_NAME = re.compile(r"(`+[^`]*`+)|(?<![\w\\])(\w*[^\W_])_(?![\w_`])")


def _escape_fitted_names(app, what, name, obj, options, lines):
    """``classes_`` in plain text is scikit-learn's word, not reST's reference to "classes"."""
    lines[:] = [
        line
        if line.lstrip().startswith((">>>", "..."))  # code, where torch's names end so too
        else _FITTED_NAME.sub(lambda m: m[1] or rf"{m[2]}\_", line)
        for line in lines
    ]


def setup(app):
    app.connect("autodoc-process-docstring", _escape_fitted_names, priority=900)  # after numpydoc
    app.connect("autodoc-skip-member", _skip_foreign_member)
