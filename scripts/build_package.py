"""Build the source distribution and the wheel that is published, from the files that git knows.

    python scripts/build_package.py dist

The wheel is built from the unpacked source distribution, so that this one is known to have all that it takes. Needs
setuptools, and no network.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(output: Path) -> tuple[Path, Path]:
    """Build both; the paths of the source distribution and the wheel."""
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        checkout = Path(name, "checkout")
        copy_known_files(checkout)
        sdist = call_backend(checkout, "build_sdist", output)
        with tarfile.open(sdist) as archive:
            archive.extractall(name, filter="data")
        return sdist, call_backend(
            Path(name, sdist.name.removesuffix(".tar.gz")), "build_wheel", output
        )


def copy_known_files(folder: Path) -> None:
    """Copy what git tracks or would track: no leftovers of other builds."""
    listing = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout  # noqa: S603
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # and not deleted since
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def call_backend(source: Path, function: str, output: Path) -> Path:
    """What a build frontend does: ask the backend in a process of its own, in the folder of the source."""
    code = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", code, function, str(output)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{function} failed:\n{done.stdout}{done.stderr}")
    return output / done.stdout.splitlines()[-1]


def main() -> None:
    """Read the command line, and build."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("output", type=Path, help="folder for the two files")
    for path in build(parser.parse_args().output):
        sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
