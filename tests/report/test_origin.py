from __future__ import annotations

import pytest

from audiozen.report.origin import commands_of, facts_of, rerun


def environment(*argv: str, **facts) -> dict:
    return {"argv": list(argv), "cwd": "/home/me", "num_processes": 1, **facts}


TRAIN = ("/opt/bin/audiozen", "train", "a b.toml", "trainer.args.max_epochs=2", "--resume")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (environment(*TRAIN), "audiozen train 'a b.toml' trainer.args.max_epochs=2"),
        (
            environment("/x/audiozen/__main__.py", *TRAIN[1:3], num_processes=4),
            "torchrun --nproc-per-node 4 -m audiozen train 'a b.toml'",
        ),
        (environment("my_script.py", "--lr", "1"), "python my_script.py --lr 1"),
        ({}, ""),
    ],
)
def test_command_is_that_which_starts_it_afresh(facts, expected):
    assert rerun(facts) == expected


def test_another_command_has_the_same_file_and_settings():
    facts = environment("audiozen", "test", "a.toml", "--ckpt", "latest", "meta.seed=1")
    assert rerun(facts, "train", "--resume") == "audiozen train a.toml meta.seed=1 --resume"


@pytest.mark.parametrize("argv", [("script.py",), ("audiozen", "predict", "a.toml"), ("audiozen",)])
def test_another_command_is_not_guessed(argv):
    assert rerun(environment(*argv), "test") == ""


def test_commands_go_to_the_folder_and_the_commit_first():
    facts = environment(*TRAIN[:2], "a.toml", git={"commit": "abc", "is_changed": False})
    assert commands_of(facts) == ["cd /home/me", "git checkout abc", "audiozen train a.toml"]
    assert commands_of({}) == []


def test_facts_are_words():
    facts = facts_of({"gpus": ["A", "A"], "seed": 0, "git": None, "packages": {"pesq": None}})
    assert facts == {"GPU": "2 x A", "seed": "0", "pesq": "not installed"}
    assert facts_of({}) == {}
