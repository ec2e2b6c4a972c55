"""Formulas as MathML, which browsers draw by themselves: no script, no font, nothing to fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx

_MATHML = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", _MATHML)


def setup(app: Sphinx) -> dict[str, Any]:
    """Offer the renderer ``mathml`` to ``html_math_renderer``."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _visit_inline(translator: Any, node: Element) -> None:
    translator.body.append(_mathml(node))
    raise SkipNode


def _visit_block(translator: Any, node: Element) -> None:
    translator.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>')
    raise SkipNode


def _mathml(node: Element, *, as_block: bool = False) -> str:
    """A line over a formula is drawn by ``site.css``: many fonts have none that is as long as the formula."""
    text = str(tex2mathml(node.astext(), as_block=as_block)).replace("&ApplyFunction;", "\u2061")
    formula = ElementTree.fromstring(text)  # noqa: S314  our own
    for over in formula.iter(f"{{{_MATHML}}}mover"):
        if over[1].text == "_":
            over.tag, over.attrib = f"{{{_MATHML}}}mrow", {"class": "overline"}
            del over[1]
    return ElementTree.tostring(formula, encoding="unicode")
