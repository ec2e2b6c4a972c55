"""One HTML file out of data, scripts and styles."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import audiozen
from audiozen.durable_files import replace_file
from audiozen.errors import RequestError
from audiozen.report import content, examples, metrics
from audiozen.report.sound import FLOOR_DB, MAX_SECONDS, as_base64, colour_bar_png

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from audiozen.report.examples import Example
    from audiozen.results.run import Run

# In the order in which they are run; each uses those before it.
SCRIPTS = (
    "dom.js",
    "numbers.js",
    "theme.js",
    "charts.js",
    "records.js",
    "summary.js",
    "curves.js",
    "scores.js",
    "player.js",
    "listen.js",
    "signals.js",
    "settings.js",
    "main.js",
)


def write_report(
    path: Path,
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    num_examples: int = 3,
    ids: Sequence[str] = (),
) -> None:
    """Write the page of one run, or of several side by side. Arguments as for `build_page`."""
    page = build_page(runs, metric=metric, num_examples=num_examples, ids=ids)
    replace_file(path, page.encode("utf-8", "replace"))


def build_page(
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    num_examples: int = 3,
    ids: Sequence[str] = (),
) -> str:
    """The page as HTML: it needs no other file, and fetches nothing.

    Args:
        runs: one, or several to be shown side by side; differences are to the first.
        metric: what chooses examples and is shown first; None: the ``best_metric`` of the first run that has one, or
            else the first of the tables.
        num_examples: how many signals of each kind (worst, best, ...) and dataset can be listened to.
        ids: further signals to listen to.

    Raises:
        RequestError: no table has this metric or one of these ids, or a run is given twice.
    """
    experiments = [
        replace(content.collect(run), name=name)
        for run, name in zip(runs, distinct_names([run.root for run in runs]))
    ]
    described = metrics.describe(experiments)
    chosen = metrics.choose(experiments, metric)
    tables = [content.tables_of(run) for run in runs]
    _refuse_unknown_ids(tables, ids)
    found = examples.collect(
        runs,
        tables,
        chosen,
        higher_is_better=described.get(chosen or "", {}).get("higherIsBetter") is not False,
        num=num_examples,
        ids=ids,
    )
    data = {
        "version": audiozen.__version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "metric": chosen,
        "metrics": described,
        "experiments": [asdict(experiment) for experiment in experiments],
        "listen": _listen(found),
    }
    names = " · ".join(experiment.name for experiment in experiments)
    return _assembled(names, data, found.examples)


def distinct_names(roots: Sequence[Path]) -> list[str]:
    """Names of folders, with as many of the folders around them as tell them apart.

    Raises:
        RequestError: a folder is there twice.

    >>> from pathlib import Path
    >>> distinct_names([Path("/exp/a/run"), Path("/exp/b/run")])
    ['a/run', 'b/run']
    """
    folders = [root.resolve() for root in roots]
    for num_parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-num_parts:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    twice = next(folder for folder in folders if folders.count(folder) > 1)
    raise RequestError(f"{twice} is given twice; give each run once")


def as_json(data: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element, or looks like markup."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _refuse_unknown_ids(tables: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> None:
    known = {str(row.get("id")) for table in tables for rows in table.values() for row in rows}
    unknown = [signal_id for signal_id in ids if signal_id not in known]
    if unknown:
        there = ", ".join(sorted(known)[:5]) or "none: test the run first"
        raise RequestError(f"no signal {unknown[0]!r} in the tables; ids there: {there}, ...")


def _assembled(title: str, data: Any, sounds: Sequence[Example]) -> str:
    scripts = [_asset("vendor/uPlot.iife.min.js"), _script()]
    style = _asset("vendor/uPlot.min.css") + "\n" + _asset("page/report.css")
    return Template(_asset("page/page.html")).substitute(
        title=html.escape(title),
        policy=_policy(scripts, style),
        style=style,
        data=as_json(data),
        sounds="\n".join(
            f'<script type="application/json" id="sound-{number}">{as_json(_sound(example))}</script>'
            for number, example in enumerate(sounds)
        ),
        library=scripts[0],
        script=scripts[1],
    )


def _policy(scripts: Sequence[str], style: str) -> str:
    """What the page may do: run these scripts, use this style, show pictures that are in it; and fetch nothing."""
    allowed = " ".join(_digest(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _script() -> str:
    parts = "\n".join(_asset(f"page/{name}") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _asset(name: str) -> str:
    return files("audiozen.report").joinpath(name).read_text("utf-8")


def _listen(found: examples.Examples) -> dict[str, Any]:
    """What is known of the examples before their sound is needed."""
    return {
        "examples": [_description(example) for example in found.examples],
        "numLeftOut": found.num_left_out,
        "budgetMegabytes": examples.BUDGET_BYTES / 1e6,
        "problems": found.problems,
        "numWithSound": found.num_with_sound,
        "maxSeconds": MAX_SECONDS,
        "floor": FLOOR_DB,
        "colourBar": as_base64(colour_bar_png()),
    }


def _description(example: Example) -> dict[str, Any]:
    facts = asdict(example)
    for signal in facts["signals"]:
        del signal["flac"], signal["spectrogram"]
    return facts


def _sound(example: Example) -> list[dict[str, str]]:
    return [{"flac": signal.flac, "spectrogram": signal.spectrogram} for signal in example.signals]
