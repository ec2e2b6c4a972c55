"""What is imported before it is needed: packages of others, each counted in a fresh process.

A new name in one of these lists costs each start of each run. If it is needed later only, import it in the function
that needs it; if it is needed at once, add it to the list, and run ``benchmarks/first_step.py`` before and after.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

PRINTS_NAMES = """
import sys
names = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names
print('modules:', *sorted(names))
"""

COMMAND_LINE = {"annotated_doc", "shellingham", "typer"}
HELP = {"markdown_it", "mdurl", "pygments", "rich"}
CHECKPOINTS = {"xxhash"}

TRAINS = """
import torch
from torch.utils.data import DataLoader, TensorDataset
from audiozen import BaseTrainer

class Trainer(BaseTrainer):
    def training_step(self, batch, batch_idx):
        return self.loss_function(self.model(batch[0]), batch[1])

model = torch.nn.Linear(8, 2)
trainer = Trainer(
    model,
    torch.optim.Adam(model.parameters()),
    torch.nn.MSELoss(),
    config={'max_steps': 2, 'log_interval': 1, 'device': 'cpu'},
)
trainer.train(DataLoader(TensorDataset(torch.randn(100, 8), torch.randn(100, 2)), batch_size=8))
"""


@cache
def packages_after(program: str, folder: Path | None = None) -> frozenset[str]:
    """Packages that are neither Python's own nor this one, nor there in any process."""
    code = program + PRINTS_NAMES
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    found = frozenset(done.stdout.rpartition("modules:")[2].split())
    # What numpy and sysconfig add to themselves has the version in its name.
    own = {name for name in found if name.startswith(("_cython_", "_sysconfigdata_"))}
    return found - own - {"audiozen", "cython_runtime"} - (packages_after("") if program else set())


def test_package_brings_none():
    assert packages_after("import audiozen") == set()


def test_help_brings_those_of_the_command_line():
    program = """
from audiozen.cli.main import main
assert main(['--help']) == 0
"""
    assert packages_after(program) <= COMMAND_LINE | HELP | {"typing_extensions"}


def test_trainer_brings_checkpoints_besides_pytorch():
    own = packages_after("import audiozen.trainer.base_trainer") - packages_after("import torch")
    assert own <= CHECKPOINTS


def test_training_brings_nothing_more(tmp_path):
    pytorch = packages_after("import torch; torch.optim.Adam([torch.zeros(1)])")
    assert packages_after(TRAINS, tmp_path) - pytorch <= CHECKPOINTS


def test_training_of_the_demo_brings_what_reads_its_sound(tmp_path):
    recipe = (
        Path(__file__).parent.parent / "recipes/debian_noisy_speech/band_gain_gru/baseline.toml"
    )
    arguments = [
        "train",
        str(recipe),
        "trainer.args.max_steps=1",
        "trainer.args.device=cpu",
        "train_dataset.dataloader.batch_size=1",
        "validate_dataset=[]",
    ]
    program = f"""
from audiozen.experiment import Experiment
Experiment.write_complexity = lambda *_: None  # after the training
from audiozen.cli.main import main
assert main({arguments}) == 0
"""
    recipes_own = {"data", "mixture_plan", "model", "trainer"}
    sound = {"_cffi_backend", "_soundfile", "_soundfile_data", "cffi", "soundfile", "soxr"}
    settings = CHECKPOINTS | COMMAND_LINE | {"tomli_w"}
    pytorch = packages_after("import torch; torch.optim.Adam([torch.zeros(1)])")
    found = packages_after(program, tmp_path) - pytorch
    assert found <= settings | sound | recipes_own
