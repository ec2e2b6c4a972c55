"""Whether the changelog and the version agree, and the step from one version to the next.

    python scripts/changelog.py            # what does not agree, on stderr; part of make check
    python scripts/changelog.py 0.2.0      # writes the version into the package, and over what is unreleased

The changelog's first section is "Unreleased", or the version of the package with its date: ``## 0.2.0, 2026-12-01``.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
PACKAGE = ROOT / "audiozen/__init__.py"
UNRELEASED = "Unreleased"
VERSION = re.compile(r"\d+\.\d+\.\d+")
STATED = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)
RELEASED = re.compile(r"(\d+\.\d+\.\d+), \d{4}-\d{2}-\d{2}")


def problems(changelog: str, version: str) -> list[str]:
    """What does not agree, a sentence each."""
    sections = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    released = sections[1:] if sections[:1] == [UNRELEASED] else sections
    if not sections:
        return [f'the changelog has no section; begin it with "## {UNRELEASED}"']
    found = [
        f'section "{section}" is no "{UNRELEASED}" on top, nor a version with its date ("0.2.0, 2026-12-01")'
        for section in released
        if not RELEASED.fullmatch(section)
    ]
    if not found and released and released[0].partition(",")[0] != version:
        found = [
            f'the newest version of the changelog is "{released[0]}", the package is {version}'
        ]
    numbers = [numbers_of(section.partition(",")[0]) for section in released] if not found else []
    if numbers != sorted(set(numbers), reverse=True):
        found.append("the versions of the changelog are not in order, the newest first")
    return found


def numbers_of(version: str) -> tuple[int, ...]:
    """``"0.10.1"`` as numbers, which can be compared."""
    return tuple(map(int, version.split(".")))


def stated_version() -> str:
    """The version of the package, read without importing it."""
    match = STATED.search(PACKAGE.read_text(encoding="utf-8"))
    assert match
    return match[1]


def release(version: str) -> None:
    """Write the next version into both files.

    Raises:
        SystemExit: it is no version, not a later one, or there is nothing to release.
    """
    changelog, before = CHANGELOG.read_text(encoding="utf-8"), stated_version()
    if not VERSION.fullmatch(version):
        raise SystemExit(f"{version} is no version; expected three numbers, such as 0.2.0")
    is_first = not re.search(r"^## \d", changelog, re.MULTILINE)
    if numbers_of(version) <= numbers_of(before) and not (is_first and version == before):
        raise SystemExit(f"{version} is not later than {before}, which the package has")
    if not re.search(rf"^## {UNRELEASED}\n\n- ", changelog, re.MULTILINE):
        raise SystemExit(f'CHANGELOG.md has nothing under "## {UNRELEASED}"')
    today = datetime.now(UTC).date().isoformat()
    changelog = changelog.replace(f"## {UNRELEASED}", f"## {version}, {today}", 1)
    CHANGELOG.write_text(changelog, encoding="utf-8")
    package = PACKAGE.read_text(encoding="utf-8")
    PACKAGE.write_text(STATED.sub(f'__version__ = "{version}"', package), encoding="utf-8")


def main() -> int:
    """Read the command line, and do it."""
    if len(sys.argv) > 1:
        release(sys.argv[1])
    found = problems(CHANGELOG.read_text(encoding="utf-8"), stated_version())
    sys.stderr.writelines(f"CHANGELOG.md: {problem}\n" for problem in found)
    return min(1, len(found))


if __name__ == "__main__":
    sys.exit(main())
