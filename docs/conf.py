"""Configuration of Sphinx, which builds the documentation: ``make docs``."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import fastmlp

sys.path.insert(0, str(Path(__file__).parent))

project = "fastmlp"
author = "The fastmlp developers"
release = fastmlp.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "rule_tables"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"fastmlp {release}"
html_copy_source = html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
smartquotes_action = "D"  # dashes only: quotes stay straight, so that 'adam' can be copied
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_mock_imports = [] if find_spec("torch") else ["torch"]
nitpicky = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = False
napoleon_use_param = napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]  # several names may share an entry


def escape_markup(app, what, name, obj, options, lines):
    """Escape markup in docstrings, which are plain text except for ``code``: |a| and coefs_ would be links."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.*?``)", line)
            parts[::2] = [re.sub(r"(\||_(?!\w))", r"\\\1", part) for part in parts[::2]]
            lines[number] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", escape_markup, priority=400)  # before napoleon
