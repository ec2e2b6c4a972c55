"""The page of all settings, made of the schema: ``python -m audiozen.config.reference > docs/settings.md``."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from typing import Any

from audiozen.config.schema import (
    AcousticsConfig,
    DataLoaderConfig,
    DatasetConfig,
    ExperimentConfig,
    Interval,
    MetaConfig,
    SaveInterval,
    TargetConfig,
    TrainerConfig,
)
from audiozen.config.settings import Settings, as_table, kinds_of
from audiozen.config.values import describe

_TABLES: tuple[tuple[str, type[Settings]], ...] = (
    ("The file", ExperimentConfig),
    ("`[meta]`", MetaConfig),
    ("`[trainer.args]`", TrainerConfig),
    ("`validation_interval`", Interval),
    ("`save_interval`", SaveInterval),
    ("`[acoustics]`", AcousticsConfig),
    ("`[trainer]`, `[model]`, `[loss_function]`, `[optimizer]`, `[lr_scheduler]`", TargetConfig),
    ("`[train_dataset]`, `[[validate_dataset]]`, `[[test_dataset]]`", DatasetConfig),
    ("`[train_dataset.dataloader]`, `[validate_dataset.dataloader]`, ...", DataLoaderConfig),
)

_HEAD = """\
# Settings

Everything that an experiment file may state. This page is made of `audiozen/config/schema.py` by
`python -m audiozen.config.reference > docs/settings.md`.

## How a file is read

**`path` and `args`.** `path` is the dotted name of a class or function; `args` are its keyword arguments. The name is
looked up beside the file first (a recipe's own `model.py`, `trainer.py`), then in the parent folder, then in the
installed packages. A table with `path` among the args is built first and passed as the object:

```toml
[model]
path = "model.Enhancer"
args = { num_layers = 2, encoder = { path = "model.Encoder", args = { width = 64 } } }
```

**`extends = "baseline.toml"`** at the top of a file states only what differs. The name is relative to the file; the
base may extend another one. Tables are merged key by key. Lists, `[[test_dataset]]` among them, are replaced. Where
`path` changes, the args of the old target are dropped, as the new one has others; of `[trainer]`, settings are kept.
Code of the base is found too: the folders of the file come first, then those of the base.

**Overrides.** `audiozen train baseline.toml trainer.args.max_epochs=2 meta.exp_id=short` sets values from the command
line. Values are written as in TOML; bare words are strings. Tables in a list are counted from 0:
`test_dataset.0.args.num_items=3`; without a number, all of them are changed: `test_dataset.dataloader.batch_size=1`.

**Environment.** In strings, `${NAME}` is an environment variable, which must be set; `${NAME:-default}` has a default.
`${CONFIG_DIR}` is the folder of the file in which it stands. `$${` is a plain `${`. What variables held is
written into the run's `config.toml`; do not put secrets there.

**Checks.** A file is checked before any data is touched: unknown, missing and mistyped settings, settings that do not
fit together, paths that lead nowhere, and args that the class or function does not take. All problems are told at once.
"""


def settings_page() -> str:
    """All settings with kind, default and meaning, in Markdown."""
    return "\n".join([_HEAD, *(_section(title, cls) for title, cls in _TABLES)])


def _section(title: str, cls: type[Settings]) -> str:
    lines = [
        f"## {title}",
        "",
        _about(cls),
        "",
        "| key | kind | default | meaning |",
        "|---|---|---|---|",
    ]
    kinds, known = kinds_of(cls), meanings(cls)
    lines += [_row(field, kinds[field.name], known[field.name]) for field in fields(cls)]
    return "\n".join(lines) + "\n"


def _about(cls: type[Settings]) -> str:
    """The docstring without the name of the table that it starts with."""
    text = inspect.getdoc(cls) or ""
    if text.startswith("``["):
        text = text.partition("``: ")[2] or text
    return (text[0].upper() + text[1:]).replace("``", "`")


def meanings(cls: type[Settings]) -> dict[str, str]:
    """What stands below each field of a class and of those that it is made of.

    They are read from the source, here rather than when the classes are made: nobody else needs them.
    """
    found = {}
    for base in reversed(cls.mro()[: -len(Settings.mro())]):
        (definition,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                found[ast.unparse(field.target)] = ast.literal_eval(below.value)
    return found


def _row(field: Field[Any], kind: Any, meaning: str) -> str:
    meaning = " ".join(meaning.split()).replace("``", "`")
    cells = (f"`{field.name}`", describe(kind).replace("'", "`"), _default(field), meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: Field[Any]) -> str:
    if field.default_factory is not MISSING:
        return f"`{_in_toml(field.default_factory())}`"
    return "must be stated" if field.default is MISSING else f"`{_in_toml(field.default)}`"


def _in_toml(value: Any) -> str:
    """A default as one would write it; None is what one does not write."""
    if isinstance(value, Settings):
        value = as_table(value)
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_in_toml(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.stdout.write(settings_page())
