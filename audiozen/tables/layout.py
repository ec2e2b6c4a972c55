"""Rows of cells laid out as a table: for the console, as Markdown, and as LaTeX."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DAGGER = "†"
"""Marks a mean from which failed signals are missing."""
NOTE = f"{DAGGER} mean over the other signals. Failed:"

_IN_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    **{character: f"${character}$" for character in "<>|"},
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    DAGGER: r"$^\dagger$",
}


class Cell(NamedTuple):
    """What stands in one place of a table."""

    text: str
    rest: str = ""
    """What follows, and is never bold."""
    is_best: bool = False


Row = tuple[Cell, ...]


class Layout(NamedTuple):
    """A way to write a table down."""

    table: Callable[[str, Sequence[Row], int], list[str]]
    """From title, rows (the first is the header), and how many columns from the left are text, to lines."""
    notes: Callable[[Sequence[str]], list[str]]
    """From what failed to the lines below the table."""


def row(*texts: str) -> Row:
    """Cells with nothing but text."""
    return tuple(map(Cell, texts))


def latex_text(text: str) -> str:
    r"""Text with what is special in LaTeX escaped. A minus before a number is a minus, not a hyphen.

    >>> print(latex_text("si_sdr ↑"), latex_text("-1.5 ± 2†"))
    si\_sdr $\uparrow$ $-$1.5 $\pm$ 2$^\dagger$
    """
    escaped = "".join(_IN_LATEX.get(character, character) for character in text)
    return re.sub(r"^-(?=[0-9])", "$-$", escaped)


def _plain_text(title: str, rows: Sequence[Row], num_labels: int) -> list[str]:
    texts = [[cell.text + cell.rest for cell in cells] for cells in rows]
    columns = [
        _aligned(column, left=number < num_labels) for number, column in enumerate(zip(*texts))
    ]
    first, *others = ["  ".join(cells).rstrip() for cells in zip(*columns)]
    width = max(len(line) for line in (first, *others))
    return [title, "", first, "─" * width, *others]


def _aligned(cells: tuple[str, ...], *, left: bool) -> list[str]:
    """Pad to one width. Room for a † is left in all cells, so that digits stand in line."""
    header, *values = cells
    if any(value.endswith(DAGGER) for value in values):
        cells = (header, *(value if value.endswith(DAGGER) else value + " " for value in values))
    width = max(map(len, cells))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in cells]


def _plain_notes(failures: Sequence[str]) -> list[str]:
    return ["", NOTE, *(f"  {failure}" for failure in failures)]


def _markdown(title: str, rows: Sequence[Row], num_labels: int) -> list[str]:
    rule = ("---",) * num_labels + ("---:",) * (len(rows[0]) - num_labels)
    texts = [tuple(map(_markdown_cell, cells)) for cells in rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in (texts[0], rule, *texts[1:])]
    return [f"### {title}", "", *lines]


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.is_best else cell.text
    return (text + cell.rest).rstrip().replace("|", "\\|")


def _markdown_notes(failures: Sequence[str]) -> list[str]:
    return ["", NOTE, "", *(f"- {failure}" for failure in failures)]


def _latex(title: str, rows: Sequence[Row], num_labels: int) -> list[str]:
    """A ``tabular`` with the rules of booktabs, and some space where the labels before the last change."""
    header, *body = [" & ".join(map(_latex_cell, cells)) + r" \\" for cells in rows]
    blocks = [cells[: num_labels - 1] for cells in rows[1:]]
    for number in reversed(range(1, len(body))):
        if blocks[number] != blocks[number - 1]:
            body.insert(number, r"\addlinespace")
    return [
        f"% {title}",
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{'l' * num_labels}{'r' * (len(rows[0]) - num_labels)}}}",
        r"\toprule",
        header,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _latex_cell(cell: Cell) -> str:
    text = latex_text(cell.text)
    return (rf"\textbf{{{text}}}" if cell.is_best else text) + latex_text(cell.rest.rstrip())


def _latex_notes(failures: Sequence[str]) -> list[str]:
    return ["", rf"{{\footnotesize {latex_text(f'{NOTE} ' + '; '.join(failures))}.}}"]


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "text": Layout(_plain_text, _plain_notes),
        "markdown": Layout(_markdown, _markdown_notes),
        "latex": Layout(_latex, _latex_notes),
    }
)
"""Layouts by name."""
