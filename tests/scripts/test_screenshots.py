from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audiozen.config.locate import locate
from tests.report.experiments import Plan, write_experiment

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
COMMITTED = SCRIPTS.parent / "docs/images"


@pytest.fixture
def script() -> Any:
    """The names in the script."""
    return locate("screenshots.main", [SCRIPTS]).__globals__


@pytest.mark.browser
def test_pictures_of_a_run_are_written(script: Any, tmp_path: Path) -> None:
    exp_dir = write_experiment(tmp_path / "run", Plan(num_signals=3))
    words = [SCRIPTS / "screenshots.py", exp_dir, "--output", tmp_path / "images"]
    subprocess.run([sys.executable, *words], check=True)
    written = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert written == [f"report_{name}.png" for name in sorted(script["SECTIONS"])]
    for name, height in script["SECTIONS"].items():
        picture = Image.open(tmp_path / "images" / f"report_{name}.png")
        assert picture.height <= height + 2 * script["MARGIN"]
        assert len(np.unique(np.asarray(picture.convert("L")))) > 16, f"{name} is empty"


def test_few_colours_are_the_same_picture_in_fewer_bytes(script: Any) -> None:
    x, y = np.meshgrid(np.arange(256), np.arange(100))
    gradient = np.stack([x, y, (x * y) % 256], axis=-1).astype(np.uint8)
    png = BytesIO()
    Image.fromarray(gradient).save(png, "png")
    reduced = script["few_colours"](png.getvalue())
    assert len(reduced) < len(png.getvalue())
    difference = np.asarray(Image.open(BytesIO(reduced)).convert("RGB"), float) - gradient
    assert np.abs(difference).mean() < 16


def test_a_picture_that_is_too_large_is_refused(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(script, "run", lambda *words: None)
    monkeypatch.setitem(script, "pictures", lambda page: [("curves", b"")])
    monkeypatch.setitem(script, "few_colours", lambda png: bytes(200_001))
    with pytest.raises(SystemExit, match=r"curves: 200001 bytes, more than the 200000 allowed"):
        script["main"]([str(tmp_path), "--output", str(tmp_path / "images")])


def test_a_command_that_fails_ends_the_script(script: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        script["main"]([str(tmp_path / "nothing"), "--output", str(tmp_path)])


def test_committed_pictures_are_those_that_the_script_makes(script: Any) -> None:
    pictures = sorted(COMMITTED.glob("report_*.png"))
    assert [path.stem for path in pictures] == [
        f"report_{name}" for name in sorted(script["SECTIONS"])
    ]
    assert max(path.stat().st_size for path in pictures) <= script["MAX_BYTES"]
