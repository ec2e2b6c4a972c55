"""How Sphinx makes the site of this repository's pages: ``make docs``.

The site has the tree of the repository, so a relative link from one page to another, or to a file, leads to the same
place on a code host and in the site.
"""

from __future__ import annotations

import sys
from pathlib import Path

import audiozen

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "AudioZEN"
release = audiozen.__version__
html_title = f"AudioZEN {release}"

root_doc = "docs/index"
include_patterns = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "audiozen/pretrained/*/README.md",
    "benchmarks/RESULTS.md",
    "docs/**",
    "recipes/**/*.md",
]
exclude_patterns = [".*", "build", "exp", "corpus", "tests", "docs/_*", "recipes/*/corpus"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "annotations",
    "command_line",
    "docstrings",
    "lists_of_pages",
    "mathml",
]
lists_of_pages = ["docs/index", "docs/recipes"]

myst_heading_anchors = 4
highlight_language = "text"
pygments_style = "default"

python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpicky = True
nitpick_ignore_regex = [
    # Types of other packages, whose pages are elsewhere.
    ("py:.*", r"(collections|concurrent|contextlib|datetime|numpy|pathlib|torch|typing)\b.*"),
    # Where types of a signature are strings that Python cannot evaluate, names stand as in the source.
    ("py:class", r"Array|Path|Tensor|ndarray|dict\[str|nn\.Module|np\.random\.Generator"),
    # What is in signatures that nobody writes, and variables that stand for a type.
    ("py:class", r"audiozen\.metrics\.(measure\.Measure|pool\.[RT])"),
]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "to_the_start.html"}
templates_path = ["_templates"]
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"
