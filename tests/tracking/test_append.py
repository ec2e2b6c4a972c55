from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audiozen.tracking.append import append

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_content_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as file:
        append(file, b"one ")
        append(file, b"two")
        assert path.read_bytes() == b"one two"


@pytest.mark.parametrize("mode", ["xb", "a+b"])
def test_what_does_not_fit_leaves_nothing_and_later_content_follows(
    tmp_path: Path, mode: str, limit_file_size: Callable[[int], None]
) -> None:
    path = tmp_path / "log"
    limit_file_size(100)
    with path.open(mode, buffering=0) as file:
        append(file, b"a" * 60)
        with pytest.raises(OSError, match=r"No space left.*log"):
            append(file, b"b" * 60)
        append(file, b"c" * 40)
        with pytest.raises(OSError, match="File too large"):
            append(file, b"d")
    assert path.read_bytes() == b"a" * 60 + b"c" * 40
