"""Sphinx settings: ``pip install -e '.[docs,plot]' && sphinx-build -W docs build/docs``."""

import importlib.metadata

project = "eventsim"
release = importlib.metadata.version("eventsim")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["examples"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px"}
autodoc_typehints = "none"
napoleon_use_ivar = True
# Pages link to files of the repository, which are no pages here.
suppress_warnings = ["myst.xref_missing", "ref.python", "docutils"]
