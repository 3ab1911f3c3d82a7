"""The site of the documentation, which `./run docs` makes with Sphinx: the repository's own Markdown, and docstrings.

Nothing in the site comes from another host, so it can be read from a folder, without a network.
"""

from __future__ import annotations

import sys
from pathlib import Path

from signalq.version import __version__

# Where docstrings.py, drawings.py and navigation.py are.
sys.path.insert(0, str(Path(__file__).parent))

project = "signalq"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "drawings", "navigation"]

# ---- the pages ----

# The sources are the whole repository, so that every link between pages means in the site what it means there.
root_doc = "README"
include_patterns = ["*.md", "deploy/**README.md", "docs/**.md", "examples/**README.md"]
exclude_patterns = [
    ".*",
    "**/node_modules",
    "benchmarks",
    "consumer",
    "deploy/local",
    "ops",
    "producers",
    "signalq",
    "site",
    "tests",
]
# As on GitHub, each heading is an anchor.
myst_heading_anchors = 6
# An example with placeholders or with an ellipsis is no whole JSON or TOML.
suppress_warnings = ["misc.highlighting_failure"]

# ---- the docstrings ----

# A name in single backticks is code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_display_short_literal_types = True
python_maximum_signature_line_length = 80
# Names of signalq's must lead somewhere. The standard library's lie on another host.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!signalq\b).*")]

# ---- what it looks like ----

html_theme = "furo"
html_title = f"signalq {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
# A page of its own name, since the first page is README.html.
html_extra_path = ["extra"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
html_domain_indices = False
