"""Make the pictures of the report in docs/images: ``make screenshots``.

    python scripts/screenshots.py                      # trains and tests first, on the sound in the repository
    python scripts/screenshots.py exp/band_gain_gru    # of a run that is there, such as that of make demo

The report is opened in Chromium. Each picture shows one section of it, in at most 256 colours and 200 kB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from audiozen.cli.main import main as audiozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = ROOT / "recipes/debian_noisy_speech/band_gain_gru/baseline.toml"
SECTIONS = {"curves": 620, "listen": 900, "signals": 600}
"""What is shown of the report, and how much of it at most, in pixels from its heading on."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
"""What it is called on different systems."""
WIDTH = 1200
MARGIN = 20
MAX_BYTES = 200_000


def run(*words: str | Path) -> None:
    """Run a command of ``audiozen``; where it fails, end with its exit code."""
    if code := audiozen([str(word) for word in words]):
        sys.exit(code)


def train(folder: Path) -> Path:
    """A short run, tested."""
    settings = [
        f"meta.save_dir={folder}",
        "trainer.args.max_steps=300",
        "trainer.args.validation_interval={steps=30}",
        "lr_scheduler.args.num_training_steps=300",
        "test_dataset.args.num_mixtures=5",
    ]
    run("train", EXPERIMENT, *settings)
    run("test", EXPERIMENT, *settings)
    return folder / "band_gain_gru"


def pictures(page: Path) -> Iterator[tuple[str, bytes]]:
    """Sections of a report as Chromium shows them, by name."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        view.goto(page.as_uri())
        view.wait_for_selector("html[data-ready]")
        view.evaluate("document.querySelector('.bar').style.position = 'static'")  # else it covers
        view.locator("button.example").nth(1).click()  # the first one is the worst
        for name, height in SECTIONS.items():
            yield name, view.screenshot(full_page=True, clip=part_of(view, name, height))
        browser.close()


def part_of(view: Any, name: str, height: int) -> dict[str, float]:
    """The rectangle from the heading of a section to its end or so far, with a margin."""
    section, heading = view.locator(f"#{name}"), view.locator(f"#{name} h2")
    section.scroll_into_view_if_needed()  # what is drawn only when it is seen
    scrolled = view.evaluate("scrollY")
    box, top = section.bounding_box(), heading.bounding_box()["y"]
    return {
        "x": box["x"] - MARGIN,
        "y": top + scrolled - MARGIN,
        "width": box["width"] + 2 * MARGIN,
        "height": min(box["y"] + box["height"] - top, height) + 2 * MARGIN,
    }


def few_colours(png: bytes) -> bytes:
    """The same picture with at most 256 colours, which takes a third of the bytes."""
    reduced = BytesIO()
    picture = Image.open(BytesIO(png)).convert("RGB")
    method = Image.Quantize.MAXCOVERAGE  # also the few pixels of a scale of colours
    picture.quantize(256, method, dither=Image.Dither.NONE).save(reduced, "png", optimize=True)
    return reduced.getvalue()


def write_pictures(exp_dir: Path, output: Path) -> None:
    """Make the report of a run, and pictures of it."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        run("report", exp_dir, "--output", page, "--num-examples", "1")
        output.mkdir(parents=True, exist_ok=True)
        for name, png in pictures(page):
            content = few_colours(png)
            if len(content) > MAX_BYTES:
                sys.exit(f"{name}: {len(content)} bytes, more than the {MAX_BYTES} allowed")
            (output / f"report_{name}.png").write_bytes(content)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, and make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp_dir", type=Path, nargs="?", help="a run that was tested")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/images", help="folder")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(options.exp_dir or train(Path(folder)), options.output)


if __name__ == "__main__":
    main()
