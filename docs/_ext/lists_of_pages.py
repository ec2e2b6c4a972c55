"""Makes the site's navigation of the lists of links that some pages are: each section becomes a part of it.

So these pages are plain Markdown, which reads well on a code host, and no page is listed twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LINK_TO_PAGE = re.compile(r"^ *- \[[^]]+\]\(([^):]+)\.(?:md|rst)\)", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """``lists_of_pages`` in ``conf.py`` says which pages are such lists."""
    app.add_config_value("lists_of_pages", [], "env", list)
    app.connect("source-read", _add_navigation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname in app.config.lists_of_pages:
        source[0] += "".join(_navigation(section) for section in source[0].split("\n## ")[1:])


def _navigation(section: str) -> str:
    """A hidden ``toctree`` of the pages that the items of a section's lists start with."""
    title, _, text = section.partition("\n")
    pages = _LINK_TO_PAGE.findall(text)
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""])
