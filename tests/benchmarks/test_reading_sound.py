from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reading_sound import WANTED

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "reading_sound.py"


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("reading_sound")
    arguments = ["--rounds=2", "--batches=2", "--copies=1", f"--folder={folder}"]
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_all_ways_give_the_same_samples(printed):
    assert printed.startswith("files: 79 of speech, 12 of noise; 2 rounds of 2 batches of 16 items")
    assert printed.endswith("all give the same bits: yes\n")


def test_each_way_is_compared_with_soundfile_and_with_what_is_wanted(printed):
    for name in ("soundfile, wav", "soundfile, flac", "read_audio, wav", "read_audio, flac"):
        assert re.search(rf"^{name} +\d+ +\d+\.\d\d", printed, re.MULTILINE)
    wanted = re.findall(r"\(wanted: (\d+)\)", printed)
    assert sorted(map(int, wanted)) == sorted(WANTED.values())
