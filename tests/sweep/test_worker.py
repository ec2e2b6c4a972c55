from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.errors import Preempted
from audiozen.sweep.entries import Entry, entries_of
from audiozen.sweep.study import Study
from audiozen.sweep.worker import stoppable

SWEEP = Path("exp/baseline_sweep")
NEVER_PRUNED = ("--pruner", "none")


def entries(folder: Path = SWEEP) -> list[Entry]:
    return entries_of(Study(folder))


def by_number(folder: Path = SWEEP) -> list[Entry]:
    return sorted(entries(folder), key=lambda entry: entry.number)


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "latest" / "model.safetensors").read_bytes()


def outcomes(folder: Path = SWEEP) -> list[tuple[object, ...]]:
    """What must not depend on who made the trials, and in how many starts."""
    return [
        (
            entry.name,
            entry.state,
            entry.score,
            entry.values,
            entry.steps,
            weights(folder / entry.name),
        )
        for entry in by_number(folder)
    ]


def starts() -> list[list[str]]:
    """Names of trials and the processes that have started them."""
    return [line.split() for line in Path("workers.txt").read_text().splitlines()]


def test_makes_as_many_trials_as_asked_for_and_then_no_more(recipe) -> None:
    assert recipe.sweep("--trials", "2") == 0
    assert recipe.sweep("--trials", "3") == 0
    assert recipe.sweep("--trials", "3") == 0
    assert [name for name, _ in starts()] == ["trial_0000", "trial_0001", "trial_0002"]


def test_is_the_same_in_one_go_and_in_several(recipe) -> None:
    assert recipe.sweep("--trials", "3", *NEVER_PRUNED) == 0
    again = "meta.exp_id=again"
    for num in ("1", "3"):
        assert recipe.sweep("--trials", num, *NEVER_PRUNED, again) == 0
    assert outcomes(Path("exp/again_sweep")) == outcomes()


def test_another_seed_gives_other_values(recipe) -> None:
    assert recipe.sweep("--trials", "1") == 0
    assert recipe.sweep("--trials", "1", "--seed", "1", "meta.exp_id=again") == 0
    assert by_number(Path("exp/again_sweep"))[0].values != by_number()[0].values


def test_trial_is_the_run_that_train_makes_of_its_settings(recipe) -> None:
    assert recipe.sweep("--trials", "2", *NEVER_PRUNED) == 0
    config = str(SWEEP / "trial_0001" / "config.toml")
    assert main(["train", config, "meta.save_dir=exp", "meta.exp_id=alone"]) == 0
    assert weights(Path("exp/alone")) == weights(SWEEP / "trial_0001")


def test_killed_worker_is_followed_by_one_that_goes_on_where_it_was(recipe) -> None:
    assert recipe.sweep("--trials", "3", *NEVER_PRUNED, "meta.exp_id=undisturbed") == 0
    Path("workers.txt").unlink()
    recipe.disturb(
        "import os, signal\n"
        "if trainer.exp_dir.name == 'trial_0001' and trainer.state.epoch == 2:\n"
        "    trainer.saving.wait()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    words = recipe.words("--trials", "3", *NEVER_PRUNED)
    killed = subprocess.run(
        [sys.executable, "-m", "audiozen", *words], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [(entry.name, entry.state) for entry in entries()] == [
        ("trial_0000", "done"),
        ("trial_0001", "stopped"),
    ]
    recipe.disturb()
    assert recipe.sweep("--trials", "3", *NEVER_PRUNED) == 0
    assert [name for name, _ in starts()] == [
        *("trial_0000", "trial_0001"),
        *("trial_0001", "trial_0002"),
    ]
    log = "".join(path.read_text() for path in (SWEEP / "trial_0001" / "logs").iterdir())
    assert "resumed at epoch 2, step 4" in log
    assert outcomes() == outcomes(Path("exp/undisturbed_sweep"))


def commands_for_two_workers() -> list[list[str]]:
    """As docs/sweep.md has them: what follows ``audiozen``."""
    page = Path(__file__).parents[2] / "docs" / "sweep.md"
    lines = re.findall(r"^CUDA_VISIBLE_DEVICES=\d audiozen (.*) &$", page.read_text(), re.MULTILINE)
    return [line.split() for line in lines]


def test_two_workers_share_the_trials(recipe) -> None:
    words, same_words = commands_for_two_workers()
    assert words == same_words
    assert words == ["sweep", "recipe/baseline.toml", "--trials", "4"]
    # Whoever has the first trial waits until somebody else has the second.
    recipe.disturb(
        "import time\n"
        "while not (trainer.exp_dir.parent / 'trial_0001').exists():\n"
        "    time.sleep(0.01)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-m", "audiozen", *words], stderr=subprocess.PIPE, text=True
    )
    with other:
        assert main(words) == 0
        _, message = other.communicate(timeout=60)
    assert other.returncode == 0, message
    assert sorted(name for name, _ in starts()) == [f"trial_{number:04d}" for number in range(4)]
    assert {int(process) for _, process in starts()} == {os.getpid(), other.pid}
    assert {entry.state for entry in entries()} == {"done"}


def test_signal_stops_the_sweep_and_the_same_command_goes_on(
    recipe, capsys: pytest.CaptureFixture
) -> None:
    assert recipe.sweep("--trials", "2", "meta.exp_id=undisturbed") == 0
    recipe.disturb(
        "import os, signal\n"
        "if trainer.exp_dir.name == 'trial_0001' and trainer.state.epoch == 1:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    capsys.readouterr()
    assert recipe.sweep("--trials", "2") == 75
    message = capsys.readouterr().err.splitlines()[-1]
    assert "stopped by SIGTERM at epoch 1" in message
    assert message.endswith("The same command goes on with the sweep")
    assert entries()[-1].state == "stopped"
    recipe.disturb()
    assert recipe.sweep("--trials", "2") == 0
    assert outcomes() == outcomes(Path("exp/undisturbed_sweep"))


def test_signal_between_trials_is_heard_at_the_end_of_what_is_done() -> None:
    done = []

    def do() -> None:
        with stoppable():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("it")

    with pytest.raises(Preempted, match="stopped by SIGTERM"):
        do()
    assert done


def test_trial_that_raises_has_failed_and_others_go_on(
    recipe, capsys: pytest.CaptureFixture
) -> None:
    recipe.disturb(
        "if trainer.exp_dir.name == 'trial_0001':\n    raise RuntimeError('out of memory')\n"
    )
    assert recipe.sweep("--trials", "3", *NEVER_PRUNED) == 0
    states = {entry.name: entry.state for entry in entries()}
    assert states == {"trial_0000": "done", "trial_0001": "failed", "trial_0002": "done"}
    assert "RuntimeError: out of memory (" in entries()[-1].reason
    output = capsys.readouterr()
    assert "trial_0001 failed: RuntimeError: out of memory (" in output.err
    assert "trial_0001: RuntimeError: out of memory (" in output.out


def test_score_that_is_nan_is_a_failure(recipe) -> None:
    recipe.disturb(
        "trainer.shift = float('nan') if trainer.exp_dir.name == 'trial_0000' else 0.0\n"
    )
    assert recipe.sweep("--trials", "2", *NEVER_PRUNED) == 0
    assert entries()[-1].name == "trial_0000"
    assert entries()[-1].state == "failed"
    assert entries()[-1].reason == "the score is NaN after 2 steps"


def test_experiment_that_is_changed_on_the_way_ends_the_worker_and_no_trial(
    recipe, capsys: pytest.CaptureFixture
) -> None:
    before = recipe.config.read_text()
    recipe.disturb(
        "from pathlib import Path\n"
        "path = Path('recipe/baseline.toml')\n"
        "path.write_text(path.read_text().replace('num_signals = 8', 'num_signals = 9'))\n"
    )
    assert recipe.sweep("--trials", "2") == 2
    message = capsys.readouterr().err
    assert "the experiment has changed since the sweep in exp/baseline_sweep began" in message
    assert "train_dataset.args.num_signals: 8 there, 9 now" in message
    assert [entry.state for entry in entries()] == ["done", "stopped"]
    recipe.config.write_text(before)
    recipe.disturb()
    assert recipe.sweep("--trials", "2") == 0
    assert [entry.state for entry in entries()] == ["done", "done"]


def test_sweep_in_which_everything_fails_ends(recipe, capsys: pytest.CaptureFixture) -> None:
    recipe.disturb("raise RuntimeError('no such file')\n")
    assert recipe.sweep("--trials", "9") == 1
    assert len(entries()) == 3
    assert "all of 3 trials have failed" in capsys.readouterr().err


def test_worse_trials_are_given_up_and_can_be_gone_on_with_by_hand(recipe) -> None:
    # The higher the number of a trial, the worse it is.
    recipe.disturb("trainer.shift = float(trainer.exp_dir.name[-2:])\n")
    assert recipe.sweep("--trials", "6", "--pruner", "median") == 0
    states = [(entry.number, entry.state, entry.validations) for entry in by_number()]
    assert states == [*((number, "done", 3) for number in range(5)), (5, "pruned", 1)]
    folder = SWEEP / "trial_0005"
    checkpoints = folder / "checkpoints"
    assert [path.name for path in checkpoints.glob("epoch_*")] == ["epoch_0001"]

    assert main(["train", str(folder / "config.toml"), "--resume"]) == 0
    assert (checkpoints / "epoch_0003").is_dir()


def test_direction_is_that_of_the_score(recipe) -> None:
    recipe.disturb("trainer.shift = -float(trainer.exp_dir.name[-2:])\n")
    higher = "trainer.args.higher_is_better=true"
    assert recipe.sweep("--trials", "2", higher) == 0
    assert [entry.name for entry in entries()] == ["trial_0000", "trial_0001"]
    assert Study(SWEEP).study.best_trial.number == 0
