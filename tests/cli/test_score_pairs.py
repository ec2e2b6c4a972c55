from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from audiozen.cli.score_pairs import BY_FILE_NAME, pair_files
from audiozen.errors import RequestError


def folder(root: Path, name: str, *files: str) -> Path:
    for file in files:
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root / name


def test_files_are_paired_by_path_without_the_ending(tmp_path: Path) -> None:
    reference = folder(tmp_path, "clean", "b/1.wav", "a.2.wav", "a.1.wav", "notes.txt")
    estimate = folder(tmp_path, "enhanced", "a.1.FLAC", "a.2.wav", "b/1.flac")
    pairing = pair_files({"reference": reference, "estimate": estimate})
    assert [signal.id for signal in pairing.signals] == ["a.1", "a.2", "b/1"]
    assert pairing.signals[0].files == {
        "reference": reference / "a.1.wav",
        "estimate": estimate / "a.1.FLAC",
    }
    assert (pairing.notes, pairing.num_without_estimate) == ([], 0)


def test_group_of_an_expression_is_the_id(tmp_path: Path) -> None:
    reference = folder(tmp_path, "clean", "clean_fileid_2.wav", "clean_fileid_10.wav", "README.wav")
    estimate = folder(tmp_path, "enhanced", "x/bus_snr5_fileid_10.wav", "cafe_snr0_fileid_2.wav")
    pairing = pair_files({"reference": reference, "estimate": estimate}, r"fileid_(\d+)")
    assert {signal.id: signal.files["estimate"].name for signal in pairing.signals} == {
        "10": "bus_snr5_fileid_10.wav",
        "2": "cafe_snr0_fileid_2.wav",
    }
    [note] = pairing.notes
    assert note == f"1 files in {reference} left out, as --pair-by does not match: README.wav"


def test_files_without_a_partner_are_told_with_count_and_first_names(tmp_path: Path) -> None:
    reference = folder(tmp_path, "clean", *[f"{number}.wav" for number in range(6)])
    estimate = folder(tmp_path, "enhanced", "0.wav", "1.wav", "9.wav")
    noisy = folder(tmp_path, "noisy", "0.wav", "5.wav")
    pairing = pair_files({"reference": reference, "estimate": estimate, "noisy": noisy})
    assert pairing.notes == [
        f"4 of 6 files in {reference} left out, without a partner: 2.wav, 3.wav, 4.wav, …",
        f"1 of 3 files in {estimate} left out, without a partner: 9.wav",
        f"1 of 2 files in {noisy} left out, without a partner: 5.wav",
        f"1 of 2 signals without a file in {noisy}: 1",
    ]
    assert pairing.num_without_estimate == 4
    assert [sorted(signal.files) for signal in pairing.signals] == [
        ["estimate", "noisy", "reference"],
        ["estimate", "reference"],
    ]


def test_estimates_alone_are_paired_with_nothing(tmp_path: Path) -> None:
    estimate = folder(tmp_path, "enhanced", "b.wav", "a.wav")
    pairing = pair_files({"estimate": estimate})
    assert [signal.id for signal in pairing.signals] == ["a", "b"]
    assert pairing.num_without_estimate == 0


def test_two_files_are_one_signal_whatever_they_are_called(tmp_path: Path) -> None:
    folder(tmp_path, "x", "a.wav", "b.flac")
    places = {"reference": tmp_path / "x" / "a.wav", "estimate": tmp_path / "x" / "b.flac"}
    [signal] = pair_files(places).signals
    assert (signal.id, signal.files) == ("b", places)


def test_name_that_is_no_text_becomes_text(tmp_path: Path) -> None:
    estimate = folder(tmp_path, "enhanced", os.fsdecode(b"caf\xe9.wav"))
    [signal] = pair_files({"estimate": estimate}).signals
    assert signal.id == r"caf\xe9"
    signal.id.encode()


@pytest.mark.parametrize(
    ("pair_by", "problem"),
    [
        ("fileid", r"--pair-by 'fileid' has no group; put \( \) around the part that is the id"),
        ("(", r"--pair-by '\(' is no regular expression: missing \)"),
        (
            "(z)",
            "nothing to score: no wav or flac files that --pair-by matches in .*clean and .*en",
        ),
        ("(_)", r"a_1\.wav and .*a_2\.wav both have the id '_'; rename or remove one"),
    ],
)
def test_expressions_that_do_not_help_are_refused(
    tmp_path: Path, pair_by: str, problem: str
) -> None:
    reference = folder(tmp_path, "clean", "a_1.wav", "a_2.wav")
    estimate = folder(tmp_path, "enhanced", "b_1.wav")
    with pytest.raises(RequestError, match=problem):
        pair_files({"reference": reference, "estimate": estimate}, pair_by)


def test_same_name_with_two_endings_is_refused(tmp_path: Path) -> None:
    estimate = folder(tmp_path, "enhanced", "a.wav", "a.flac")
    with pytest.raises(RequestError, match=r"a\.flac and .*a\.wav both have the id 'a'"):
        pair_files({"estimate": estimate})


def test_folders_with_nothing_in_common_are_refused_with_what_may_help(tmp_path: Path) -> None:
    reference = folder(tmp_path, "clean", "a.wav", "b.wav")
    with pytest.raises(RequestError) as caught:
        pair_files({"reference": reference, "estimate": folder(tmp_path, "out", "x/a.wav")})
    text = str(caught.value)
    assert "no id is in all folders" in text
    assert f"ids in {reference}: a, b" in text
    assert f"--pair-by '{BY_FILE_NAME}'" in text
    with pytest.raises(RequestError, match=r"--pair-by 'fileid_\(\\d\+\)'"):
        pair_files({"reference": reference, "estimate": folder(tmp_path, "other", "x.wav")})
    nested = {"reference": reference, "estimate": tmp_path / "out"}
    assert [signal.id for signal in pair_files(nested, BY_FILE_NAME).signals] == ["a"]


def test_places_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    clean = folder(tmp_path, "clean", "a.wav")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RequestError, match=r"--estimate .*nowhere: no such folder"):
        pair_files({"reference": clean, "estimate": tmp_path / "nowhere"})
    with pytest.raises(RequestError, match="is a file; give only folders, or only files"):
        pair_files({"reference": clean / "a.wav", "estimate": clean})
    with pytest.raises(RequestError, match=r"nothing to score: no wav or flac files in .*empty$"):
        pair_files({"reference": clean, "estimate": empty})


def test_expressions_of_the_page_on_scores_pair_what_it_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scores.md").read_text()
    rows = re.findall(r"^\| `clean/(\S+)` and `enhanced/(\S+)`.*--pair-by '(.*)'` \|$", page, re.M)
    assert len(rows) == 3
    for number, (reference, estimate, pair_by) in enumerate(rows):
        root = tmp_path / str(number)
        places = {
            "reference": folder(root, "clean", reference),
            "estimate": folder(root, "enhanced", estimate),
        }
        assert len(pair_files(places, pair_by).signals) == 1
