from __future__ import annotations

import pytest

from audiozen.tables.layout import LAYOUTS, Cell, latex_text, row


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5% #1 $x {y}", r"a\_b \& 5\% \#1 \$x \{y\}"),
        ("C:\\x~y^z", r"C:\textbackslash{}x\textasciitilde{}y\textasciicircum{}z"),
        ("<a|b>", "$<$a$|$b$>$"),
        ("-5", "$-$5"),
        ("-", "-"),
        ("3 ± 1†", r"3 $\pm$ 1$^\dagger$"),
    ],
)
def test_special_characters_are_escaped_in_latex(text: str, expected: str) -> None:
    assert latex_text(text) == expected


def test_text_in_bold_is_escaped_but_for_what_makes_it_bold() -> None:
    cells = [row("name", "x"), (Cell("**a_b**"), Cell("-1", " ± 2†", is_best=True))]
    assert LAYOUTS["latex"].table("t", cells, 1)[6] == (
        r"**a\_b** & \textbf{$-$1} $\pm$ 2$^\dagger$ \\"
    )
    assert LAYOUTS["markdown"].table("t", cells, 1)[4] == "| **a_b** | **-1** ± 2† |"
    assert LAYOUTS["text"].table("t", cells, 1)[4] == "**a_b**  -1 ± 2†"


def test_text_stands_left_and_numbers_right() -> None:
    cells = [row("who", "what", "n"), row("a", "bcdefg", "10"), row("xyzw", "b", "9")]
    assert LAYOUTS["text"].table("t", cells, 2) == [
        "t",
        "",
        "who   what     n",
        "────────────────",
        "a     bcdefg  10",
        "xyzw  b        9",
    ]


def test_notes_stand_below() -> None:
    assert LAYOUTS["latex"].notes(["a_b: x", "c: y"])[-1] == (
        r"{\footnotesize $^\dagger$ mean over the other signals. Failed: a\_b: x; c: y.}"
    )
