"""Whatever is done to an experiment file, ``audiozen check`` answers with 0 or 2, and never with a traceback.

The variable ``FUZZ_EXAMPLES`` says how many changes are tried.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.cli.main import main

SMALL = """
extends = "../recipe/baseline.toml"
[trainer.args]
num_threads = 1
[model.args]
hidden_size = 4
[train_dataset.args]
num_signals = 16
[[validate_dataset]]
path = "data.TonesInNoise"
args = { num_signals = 2, seed = 1 }
[[test_dataset]]
path = "data.TonesInNoise"
args = { num_signals = 2, seed = 2 }
"""
KEYS = [
    "meta.seed",
    "acoustics.n_fft",
    "acoustics.hop_length",
    "acoustics.sample_rate",
    "trainer.path",
    "trainer.args.max_grad_norm",
    "trainer.args.precision",
    "trainer.args.best_metric",
    "trainer.args.gradient_accumulation_steps",
    "trainer.args.save_interval",
    "trainer.args.ema_decay",
    "model.path",
    "model.args.hidden_size",
    "loss_function.path",
    "optimizer.path",
    "optimizer.args.lr",
    "lr_scheduler.path",
    "train_dataset.args.num_signals",
    "train_dataset.args.duration",
    "train_dataset.dataloader.batch_size",
    "train_dataset.dataloader.collate_fn",
    "train_dataset.dataloader.num_workers",
]
VALUES = [
    "0", "-1", "1", "3", "7", "1e-3", "nan", "inf", "true", '""', '"auto"', "[]", "[1]", "{}",
    '{path="torch.nn.Linear"}',
    "torch.nn.Linear", "torch.optim.LBFGS", "torch.optim.lr_scheduler.StepLR", "torch.nn.MSELoss", "model.Denoiser",
    "data.TonesInNoise", "trainer.Trainer", "sys.exit", "os.path.join", "builtins.print", "json", "..",
    "a b", "${HOME}",
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    before = Path.cwd()
    os.chdir(folder)
    assert main(["new", "recipe"]) == 0
    os.chdir(before)
    (folder / "small").mkdir()
    config = folder / "small" / "small.toml"
    config.write_text(SMALL)
    return config


def check(*words: str) -> tuple[int, str]:
    """Exit code and output."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(["check", *words])
    return code, output.getvalue()


FUZZ = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "25")), deadline=None)


def test_small_experiment_is_good(small: Path) -> None:
    code, output = check(str(small))
    assert (code, "problem" in output) == (0, False), output


@pytest.mark.filterwarnings("ignore")  # a nonsensical setting may well be worth a warning
@FUZZ
@given(
    changes=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), min_size=1, max_size=3)
)
def test_nonsensical_settings_are_told(small: Path, changes: dict[str, str]) -> None:
    code, output = check(str(small), *(f"{key}={value}" for key, value in changes.items()))
    assert code in (0, 2), output
    assert "Traceback" not in output


@pytest.mark.filterwarnings("ignore")
@FUZZ
@given(data=st.data())
def test_mutilated_files_are_told(small: Path, data: st.DataObject) -> None:
    content = (small.parents[1] / "recipe" / "baseline.toml").read_bytes()
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 40)))
    inserted = data.draw(st.binary(max_size=6))
    broken = small.parents[1] / "broken"
    shutil.copytree(small.parents[1] / "recipe", broken, dirs_exist_ok=True)
    (broken / "baseline.toml").write_bytes(content[:start] + inserted + content[stop:])
    code, output = check(str(broken / "baseline.toml"), "trainer.args.num_threads=1")
    assert code in (0, 2), output
    assert "Traceback" not in output
