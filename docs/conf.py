"""Sphinx. Pages are Markdown (MyST); whatever can be read from the code is read from it: contracts, hooks, operations, commands."""

from __future__ import annotations

import sys
from pathlib import Path

from forge_core import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Forge"
author = "the authors of Forge"
copyright = "the authors of Forge, under the Apache License 2.0"  # noqa: A001 - Sphinx's name for it
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_ext"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
python_use_unqualified_type_names = True
suppress_warnings = ["ref.python"]  # attributes called `type` make the builtin ambiguous in annotations
default_role = "code"  # docstrings write `name` for code

html_theme = "furo"
html_title = f"Forge {version}"
html_copy_source = False
