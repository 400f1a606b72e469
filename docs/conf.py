"""Sphinx: the pages of this folder, and a reference made of the package's docstrings."""

from __future__ import annotations

import gala

project = "gala"
author = copyright = "The gala authors"
version = release = gala.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.autosummary"]
html_theme = "furo"
html_title = f"gala {release}"
exclude_patterns = ["README.md"]
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.xref_missing",  # links to files beside the documentation; tests/arch/test_pages.py
    "myst.header",
]
autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "code"
