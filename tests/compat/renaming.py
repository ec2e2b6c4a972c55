"""What of the tables of old names a machine can do: the rest of a change is in ``by_hand.diff`` of each recipe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from audiozen.config.old_names import MEMBERS, old_member, old_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCHS = ("validation_interval", "save_ckpt_interval")
"""Numbers of epochs, which are tables now."""


def renamed(name: str, text: str) -> str:
    """A file of an old recipe with the names of now, where these stand for the same."""
    return "".join(toml_lines(text)) if name.endswith(".toml") else renamed_python(text)


def toml_lines(text: str) -> Iterator[str]:
    """Keys and tables by their new names; what is to be left out is left out."""
    table = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            table = re.sub(r"[][\s]", "", line)
            name, _, rest = table.partition(".")
            found = old_setting(f"[{name}]")
            yield f"{found[1].name[:-1]}{rest and '.' + rest}]\n" if found else line
        else:
            yield from toml_key(line, table)


def toml_key(line: str, table: str) -> Iterator[str]:
    key, _, value = line.partition(" = ")
    if key in EPOCHS:
        value = f"{{ epochs = {value.strip()} }}\n"
    found = old_setting(f"[{table}] {key}")
    if found is None:
        yield f"{key} = {value}" if value else line
    elif found[1].name.startswith(f"[{table}] "):
        yield f"{found[1].name.split()[-1]} = {value}"
    elif found[1].name:
        yield line  # to another table, by hand


def renamed_python(text: str) -> str:
    """Attributes of the trainer by their new names."""
    for old in MEMBERS:
        pattern = re.escape(old).replace(r"\*", r"[gd]")
        for spelling in set(re.findall(rf"{pattern}\b", text)):
            _, now = old_member(spelling)
            if re.fullmatch(r'self[\w.\["\]]+', now.name):
                text = re.sub(rf"{re.escape(spelling)}\b", now.name, text)
            elif now.name.endswith(")"):  # with its arguments
                text = text.replace(f"{spelling}()", now.name)
    return text


def patched(text: str, changes: list[str]) -> str:
    """A text after the part of a unified diff that is about it.

    Args:
        text: before.
        changes: the lines of the diff, from the first ``@@`` on.
    """
    old, new, position = text.splitlines(), [], 0
    for line in changes:
        if match := re.match(r"@@ -(\d+)(?:,(\d+))? ", line):
            start = int(match[1]) - (match[2] != "0")
            new += old[position:start]
            position = start
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert old[position] == line[1:], f"the diff expects {line[1:]!r}: {old[position]!r}"
            new += [line[1:]] if line.startswith(" ") else []
            position += 1
    return "\n".join([*new, *old[position:], ""])
