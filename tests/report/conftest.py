"""Experiments that several tests look at, and their pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audiozen.report.page import write_report
from audiozen.results.run import Run
from tests.conftest import PATIENCE
from tests.report.experiments import EVIL, Plan, write_experiment

Open = Callable[..., Any]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs by name; see the plans."""
    root = tmp_path_factory.mktemp("exp")
    plans = {
        "baseline": Plan(failures={"test_rain_0004": "no_speech_found"}, ids={3: EVIL}),
        "larger": Plan(
            gain=8.0, ids={3: EVIL}, settings={"model": {"path": "model.Large", "args": {}}}
        ),
        "two_datasets": Plan(num_signals=6, datasets=("seen", "unseen"), num_with_sound=2),
        "running": Plan(parts=("config", "environment", "scalars"), num_steps=100),
        "trained": Plan(
            parts=("config", "environment", "status", "scalars", "checkpoint", "valid")
        ),
        "from_python": Plan(parts=("scalars",), num_steps=100),
        "silent": Plan(parts=("config", "test")),
        "only_settings": Plan(parts=("config",)),
        "all_nan": Plan(parts=("scalars", "test"), is_nan=True),
    }
    return {
        name: Run(write_experiment(root / name, plan, seed))
        for seed, (name, plan) in enumerate(plans.items())
    }


@pytest.fixture(scope="session")
def page_of(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Pages of runs, each written once."""
    folder, written = tmp_path_factory.mktemp("pages"), dict[str, Path]()

    def write(*names: str) -> Path:
        name = "+".join(names)
        if name not in written:
            written[name] = folder / f"{name}.html"
            write_report(written[name], [runs[one] for one in names], num_examples=2)
        return written[name]

    return write


@pytest.fixture
def show(browser: Any) -> Iterator[Open]:
    """Open a file as a page. In the end, none may have complained or asked for anything but itself."""
    contexts, complaints, requests = [], list[str](), list[str]()

    def open_page(path: Path, width: int = 1400, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in requests if url.startswith("file:")]) == len(contexts)
