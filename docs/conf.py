"""Sphinx builds these pages: on Read the Docs, and with `make docs`."""

project = "Wattline"
author = "the Wattline authors"
copyright = author

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build"]

# Anchors of headings, as the links between the pages name them.
myst_heading_anchors = 3

html_theme = "sphinx_rtd_theme"
html_show_sphinx = False
html_show_copyright = False
nitpicky = True
