"""Configuration of Sphinx: Markdown by MyST, reference pages from docstrings, furo's looks."""

from __future__ import annotations

import pullback

project = "pullback"
copyright = "The pullback maintainers"
author = "The pullback maintainers"
release = version = pullback.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "pullback"

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shapes"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say the shapes and dtypes, which types cannot
autodoc_default_options = {"members": True}
add_module_names = False
python_display_short_literal_types = True
