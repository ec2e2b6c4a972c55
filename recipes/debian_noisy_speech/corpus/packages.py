"""Get packages without being root: nothing is installed, all of it lies in folders of our own."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corpus.sources import Package

SOUND_SUFFIXES = {".wav", ".ogg", ".opus", ".g722", ".flac", ".mp3"}


def fetch(packages: Sequence[Package], downloads: Path) -> dict[str, Path]:
    """Download what is not there yet.

    Args:
        packages: what is wanted.
        downloads: folder of the downloaded files, which later runs use again.

    Returns:
        The downloaded file of each package.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if _downloaded(package, downloads) is None]
    _fetch_debian([package.name for package in missing if package.version is None], downloads)
    for package in missing:
        if package.version is not None:
            _fetch_python(package, downloads)
    files = {package.name: _downloaded(package, downloads) for package in packages}
    return {name: file for name, file in files.items() if file is not None}


def unpack(name: str, file: Path, folder: Path) -> Path:
    """Unpack one package into ``folder/name``, unless it is there. Archives of sounds inside it are unpacked too."""
    target, staging = folder / name, folder / f"{name}.tmp"
    if target.is_dir():
        return target
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    if file.suffix == ".deb":
        _run("dpkg-deb", "-x", str(file), str(staging))
    elif file.suffix == ".gz":
        _untar(file, staging)
    else:
        _unzip(file, staging)
    for archive_path in sorted(staging.rglob("*.pk3")):
        _unzip(archive_path, staging / "pk3")
    return staging.rename(target)


def sounds(folder: Path, pattern: str) -> list[Path]:
    """Sound files whose path inside ``folder`` matches, in the order of their names. Links are left out."""
    expression = re.compile(pattern)
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SOUND_SUFFIXES
        and path.is_file()
        and not path.is_symlink()
        and expression.search(inner_path(path, folder))
    ]
    return sorted(found, key=str)


def inner_path(path: Path, folder: Path) -> str:
    """Path inside ``folder``, beginning with a slash."""
    return f"/{path.relative_to(folder).as_posix()}"


def describe(package: Package, file: Path) -> dict[str, Any]:
    """What was taken, so that another build can be compared with this one."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "package": package.name,
        "file": file.name,
        "bytes": file.stat().st_size,
        "sha256": digest,
        "licence": package.licence,
    }


def _downloaded(package: Package, downloads: Path) -> Path | None:
    pattern = f"{package.name}_*.deb" if package.version is None else f"{package.name}-*"
    return max(downloads.glob(pattern), default=None)


def _fetch_debian(names: Sequence[str], downloads: Path) -> None:
    if not names:
        return
    state = downloads.resolve() / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    apt = [
        "apt-get",
        "-qq",
        "-o",
        f"Dir::State::Lists={state}/lists",
        "-o",
        f"Dir::Cache={state}/cache",
    ]
    apt += ["-o", "Debug::NoLocking=1"]
    _run(*apt, "update")
    for name in names:
        _run(*apt, "download", name, cwd=downloads)


def _fetch_python(package: Package, downloads: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    _run(*pip, "-d", str(downloads), f"{package.name}=={package.version}")


def _untar(file: Path, folder: Path) -> None:
    """Unpack the sounds; a name that leads out of the folder is left out."""
    with tarfile.open(file) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            stays_inside = not name.is_absolute() and ".." not in name.parts
            content = archive.extractfile(member) if member.isfile() else None
            if content and stays_inside and name.suffix in SOUND_SUFFIXES:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


def _unzip(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        wanted = [name for name in archive.namelist() if Path(name).suffix in SOUND_SUFFIXES]
        archive.extractall(folder, wanted)  # noqa: S202 - zipfile itself drops ".." and roots


def _run(*command: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    except FileNotFoundError as error:
        raise RequestError(
            f"{command[0]} is missing; the corpus is built on Debian 12 or its kin"
        ) from error
    if done.returncode != 0:
        raise RequestError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
