"""Write the public surface down: ``python -m tests.surface.record``, when a change of it is wanted."""

from __future__ import annotations

from tests.surface import names, options

FILES = {
    names.ROOT / "tests/surface/names.txt": names.record,
    names.ROOT / "tests/surface/options.txt": options.record,
}

if __name__ == "__main__":
    for path, record in FILES.items():
        path.write_text(record(), encoding="utf-8")
