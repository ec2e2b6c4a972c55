"""What the recipes of earlier trainers call things, and what these are called now. Nothing here is an alias.

Three tables: settings of an experiment file, names that are imported, and what a recipe's trainer uses of its base
class. ``docs/coming_from/old_recipes.md`` shows them, made by ``python -m audiozen.config.old_names``.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Now(NamedTuple):
    """What has become of an old name.

    Args:
        name: what it is called now; a ``*`` is what the ``*`` of the old name stood for. Empty: it is left out.
        note: what else to know.
        alone: whether the name by itself tells that a recipe is an old one. Other names may be a new recipe's own, and
            are told beside such ones only.
    """

    name: str
    note: str = ""
    alone: bool = True

    def __str__(self) -> str:
        first = f"now {self.name}" if self.name else "leave it out"
        return f"{first}; {self.note}" if self.note else first


SETTINGS: dict[str, Now] = {
    "[meta] use_amp": Now("[trainer.args] precision", 'where it was true: "bf16" or "fp16"'),
    "[meta] use_deterministic_algorithms": Now("[meta] deterministic"),
    "[meta] config_path": Now("", "it is the file that the command is given"),
    "[meta] ckpt_path": Now("", "audiozen test CONFIG --ckpt best"),
    "[acoustics] sr": Now(
        "[acoustics] sample_rate", "offered as sample_rate to datasets and models"
    ),
    "[trainer.args] max_epoch": Now("[trainer.args] max_epochs"),
    "[trainer.args] clip_grad_norm_value": Now(
        "[trainer.args] max_grad_norm", "where it was -1 (off), leave it out"
    ),
    "[trainer.args] max_patience": Now("[trainer.args] patience", "counted in validations"),
    "[trainer.args] save_max_score": Now("[trainer.args] higher_is_better"),
    "[trainer.args] save_ckpt_interval": Now(
        "[trainer.args] save_interval", "every N epochs: { epochs = N }"
    ),
    "[trainer.args] plot_norm": Now("", "the norm before clipping is always logged"),
    "[trainer.args] plot_lr": Now("", "learning rates are always logged"),
    "[trainer.args] debug": Now("", 'on_nonfinite = "raise" is the default'),
    "[trainer.args] scheduler_name": Now("[lr_scheduler] path", "any schedule, or a function"),
    "[trainer.args] warmup_steps": Now("[lr_scheduler.args]", "counted in optimizer updates"),
    "[trainer.args] warmup_ratio": Now("[lr_scheduler.args]", "state the number of updates"),
    "[trainer] train": Now("[trainer.args]"),
    "[trainer] validate": Now("[trainer.args]"),
    "[trainer] validation": Now("[trainer.args]"),
    "[model_*]": Now("[model.*]"),
    "[optimizer_*]": Now("[optimizer.*]", "it gets the parameters of [model.*]"),
    "[lr_scheduler_*]": Now("[lr_scheduler.*]", "it gets the optimizer of its name"),
    "[discriminator]": Now("[model.discriminator]"),
    "[discriminator_optimizer]": Now("[optimizer.discriminator]"),
    "[discriminator_lr_scheduler]": Now("[lr_scheduler.discriminator]"),
    "[loss]": Now("[loss_function]"),
    "[loss_function] name": Now("[loss_function] path"),
    "[optimizer] lr": Now("[optimizer.args] lr"),
    "[optimizer] beta1": Now("[optimizer.args] betas", "[beta1, beta2]"),
    "[optimizer] beta2": Now("[optimizer.args] betas", "[beta1, beta2]"),
    "[validation_dataset*]": Now(
        "[validate_dataset]", "[[validate_dataset]] for several, with name"
    ),
    "[validate_dataset_*]": Now("[validate_dataset]", '[[validate_dataset]] with name = "*"'),
    "[test_dataset_*]": Now("[test_dataset]", '[[test_dataset]] with name = "*"'),
    "[predict_dataset]": Now("", "audiozen predict CONFIG INPUT... --output DIR"),
}
"""Tables and keys, in the words of a message. A ``*`` stands for any word."""

VALUES: dict[str, str] = {
    "[trainer.args] max_grad_norm": "0 and -1 were off: leave it out then",
    "[trainer.args] validation_interval": "a number of epochs N is now { epochs = N }",
    "[trainer.args] patience": "where it was off, leave it out",
}
"""Settings that are called as they were, where a value that is refused now had a meaning."""

_BY_TRAINER = "the trainer does it"
_NEAR = "audiozen.losses.multi_resolution_stft is near"
_OWN = "what you need of it belongs in the recipe"

IMPORTS: dict[str, Now] = {
    "audiozen.trainer.Trainer": Now("audiozen.trainer.base_trainer.BaseTrainer"),
    "audiozen.trainer.base_trainer_*": Now(
        "audiozen.trainer.base_trainer.BaseTrainer",
        "two models: automatic_optimization = False",
    ),
    "audiozen.trainer_backup": Now("audiozen.trainer.base_trainer.BaseTrainer"),
    "audiozen.trainer_v2": Now("audiozen.trainer.base_trainer.BaseTrainer"),
    "audiozen.common_trainer": Now("audiozen.trainer.base_trainer.BaseTrainer"),
    "audiozen.metric.SISDR": Now("audiozen.metrics.si_sdr", "a function; one value per signal"),
    "audiozen.metric.IntelSISNR": Now("audiozen.metrics.si_sdr", "a function"),
    "audiozen.metric.PESQ": Now("audiozen.metrics.pesq_wb", "a function; pesq_nb is narrow-band"),
    "audiozen.metric.STOI": Now("audiozen.metrics.stoi", "a function; extended: estoi"),
    "audiozen.metric.DNSMOS": Now("audiozen.metrics.dnsmos_ovrl", "also _sig, _bak, _p808"),
    "audiozen.metric.compute_synops": Now("", _OWN),
    "audiozen.metric.compute_neuronops": Now("", _OWN),
    "audiozen.metric": Now("audiozen.metrics"),
    "audiozen.loss.SISNRLoss": Now(
        "audiozen.losses.neg_si_sdr", "it is minimised as it is: take away a minus in front of it"
    ),
    "audiozen.loss.freq_MAE": Now("", _NEAR),
    "audiozen.loss.mag_MAE": Now("", _NEAR),
    "audiozen.loss.MultiResSpecLoss": Now(
        "audiozen.losses.MultiResolutionSTFT",
        "another formula; compressed spectra: CompressedSpectrum",
    ),
    "audiozen.loss.CombineLoss": Now("", "audiozen.losses.CompressedSpectrum is near"),
    "audiozen.loss": Now("audiozen.losses"),
    "audiozen.pit": Now("audiozen.losses.PermutationInvariant", "gives loss and order"),
    "audiozen.logger": Now("", "logs and TensorBoard files are written without being asked for"),
    "audiozen.utils.instantiate": Now("audiozen.config.instantiate.instantiate"),
    "audiozen.utils.set_random_seed": Now("", "state [meta] seed"),
    "audiozen.utils.initialize_ddp": Now("", "torchrun -m audiozen train CONFIG"),
    "audiozen.utils.expand_path": Now("", "pathlib.Path(path).expanduser()"),
    "audiozen.utils": Now("", _OWN),
    "audiozen.acoustics.audio_feature.stft": Now("audiozen.acoustics.stft", "complex only"),
    "audiozen.acoustics.audio_feature.istft": Now(
        "audiozen.acoustics.istft", "complex only; length must be stated"
    ),
    "audiozen.acoustics.audio_feature.load_wav": Now("audiozen.data.audio.read_audio", "a tensor"),
    "audiozen.acoustics.audio_feature.save_wav": Now(
        "audiozen.data.audio.write_audio", "(path, waveform, sample_rate)"
    ),
    "audiozen.acoustics.audio_feature.find_files": Now("audiozen.data.audio.find_audio"),
    "audiozen.acoustics.audio_feature.subsample": Now("audiozen.data.mixing.random_segment"),
    "audiozen.acoustics.audio_feature.sxr2gain": Now("audiozen.data.mixing.mix_at_snr"),
    "audiozen.acoustics.audio_feature.active_rms": Now("audiozen.acoustics.active_rms"),
    "audiozen.acoustics.audio_feature.tune_dB_FS": Now(
        "audiozen.acoustics.rms", "waveform * db_to_amplitude(level_db) / rms(waveform)"
    ),
    "audiozen.acoustics.audio_feature": Now("", _OWN),
    "audiozen.acoustics.io.load_audio": Now("audiozen.data.audio.read_audio", "a tensor"),
    "audiozen.acoustics.io.subsample": Now("audiozen.data.mixing.random_segment"),
    "audiozen.acoustics.io": Now("audiozen.data.audio"),
    "audiozen.constant.EPSILON": Now("", "torch.finfo(torch.float32).eps"),
    "audiozen.dataset": Now("torch.utils.data.Dataset", "helpers: audiozen.data"),
    "audiozen.models": Now("torch.nn.Module", "models are files of the recipes"),
    "audiozen.model": Now("torch.nn.Module", "models are files of the recipes"),
    "accelerate.logging": Now("logging.getLogger", alone=False),
    "accelerate": Now("", _BY_TRAINER, alone=False),
}
"""Dotted names of modules, or of what is in them; of several that fit, the longest counts."""

_PASSED_ON = Now("", "__init__(self, *args, **kwargs) passes everything on", alone=False)

MEMBERS: dict[str, Now] = {
    "self.accelerator.backward": Now(
        "self.backward", "but only with automatic_optimization = False; else return the loss"
    ),
    "self.accelerator.device": Now("self.device"),
    "self.accelerator.process_index": Now("self.rank"),
    "self.accelerator.num_processes": Now("self.world_size"),
    "self.accelerator.is_local_main_process": Now("self.is_main_process"),
    "self.accelerator.is_main_process": Now("self.is_main_process"),
    "self.accelerator.unwrap_model": Now("", "self.model is bare in evaluations"),
    "self.accelerator.gather_for_metrics": Now("", "what steps return is gathered"),
    "self.accelerator.register_for_checkpointing": Now("self.register", "(name, thing)"),
    "self.accelerator.clip_grad_norm_": Now("", "state max_grad_norm"),
    "self.accelerator": Now("", _BY_TRAINER),
    "self.optimizer.zero_grad": Now("", _BY_TRAINER, alone=False),
    "self.optimizer.step": Now("", "the trainer does it, after clipping", alone=False),
    "self.model_*": Now('self.model["*"]'),
    "self.optimizer_*.step": Now('self.optimizer_step("*")', "clips, steps and zeroes"),
    "self.optimizer_*.zero_grad": Now('self.optimizer["*"].zero_grad'),
    "self.optimizer_*": Now('self.optimizer["*"]'),
    "self.lr_scheduler_*": Now('self.lr_scheduler["*"]'),
    "self.model.module": Now("self.model", "bare in evaluations", alone=False),
    "self.sr": Now("self.sample_rate"),
    "self.torch_stft": Now("self.stft", "complex only"),
    "self.torch_istft": Now("self.istft", "complex only; length must be stated"),
    "self.librosa_stft": Now("self.stft", "complex only"),
    "self.librosa_istft": Now("self.istft", "complex only; length must be stated"),
    "self.state.epochs_trained": Now("self.state.epoch"),
    "self.state.steps_trained": Now("self.state.step", "counts optimizer updates"),
    "self.state.patience": Now("self.state.validations_without_improvement"),
    "self.state.best_score_epoch": Now("self.state.best_checkpoint", "its name"),
    "self.current_epoch": Now("self.state.epoch"),
    "self.wait_count": Now("self.state.validations_without_improvement"),
    "self.best_score": Now("self.state.best_score"),
    "self.writer.add_scalar": Now("self.log", "(name, value): the trainer knows the step"),
    "self.writer.add_audio": Now("self.log_audio", "(name, waveform, sample_rate)"),
    "self.writer": Now("self.log", "and self.log_audio, self.tracker"),
    "self.tb_log_dir": Now("self.folder.tensorboard"),
    "self.save_dir": Now("self.exp_dir.parent"),
    "self.source_code_dir": Now("", "environment.json names the commit"),
    "self._get_time_now": Now("", "tables are named by epoch; else datetime.now()"),
    "self.config[]": Now("self.config", "has the settings of [trainer.args] as attributes"),
    "self.args": Now("self.config"),
    "self.trainer_config": Now("self.config"),
    "self.max_epoch": Now("self.config.max_epochs"),
    "self.max_epochs": Now("self.config.max_epochs"),
    "self.total_norm": Now("self.grad_norm"),
    "self.scaler": Now("", _BY_TRAINER),
    "self.use_amp": Now("self.config.precision"),
    "self.scheduler_name": Now("", "state [lr_scheduler]"),
    "self.create_warmup_scheduler": Now("", "state [lr_scheduler]"),
    "self._save_checkpoint": Now("self.save_checkpoint"),
    "self._load_checkpoint": Now("self.load_checkpoint"),
    ".to(self.rank)": Now(".to(self.device)", "batches are there already", alone=False),
    "self.north_star_metric": Now("", "state best_metric in [trainer.args]", alone=False),
    "__init__(accelerator)": _PASSED_ON,
    "__init__(rank)": _PASSED_ON,
    "def create_schedulers": Now("", "state [lr_scheduler]", alone=False),
    "def create_warmup_scheduler": Now("", "state [lr_scheduler]", alone=False),
    "def lr_scheduler_step": Now("", _BY_TRAINER, alone=False),
    "def set_models_to_train_mode": Now("", _BY_TRAINER, alone=False),
    "def set_models_to_eval_mode": Now("", _BY_TRAINER, alone=False),
    "def create_bar_desc": Now("", "the losses are shown", alone=False),
    "def predict_epoch_end": Now("", "nothing is collected; predict_step writes", alone=False),
    "def evaluation_step": Now("def validation_step", alone=False),
    "def evaluation_epoch_end": Now("def validation_epoch_end", alone=False),
    "def _run_early_stop_check": Now("", "state patience", alone=False),
    "def _check_improvement": Now("", "state higher_is_better", alone=False),
}
"""What a class made of a trainer uses or overrides (``def``) of it. A ``*`` is ``g``, ``d``, ``d_sig`` or the like."""

_ANY_WORD = r"(\w*)"
_NAME_OF_MODEL = r"([gd](?:_\w+)?)"


def old_setting(words: str) -> tuple[str, Now] | None:
    """What has become of a setting, such as ``[acoustics] sr``; or of a table, such as ``[model_g]``."""
    return _look_up(SETTINGS, words, _ANY_WORD)


def old_import(name: str) -> tuple[str, Now] | None:
    """The old name that an imported dotted name is, or is in; and what has become of it."""
    return _longest(IMPORTS, name, _ANY_WORD)


def old_member(spelling: str) -> tuple[str, Now] | None:
    """The same of what a trainer uses, such as ``self.accelerator.backward``, or has, such as ``def training_step``."""
    return _longest(MEMBERS, spelling, _NAME_OF_MODEL)


def _longest(table: Mapping[str, Now], name: str, star: str) -> tuple[str, Now] | None:
    while name:
        if found := _look_up(table, name, star):
            return found
        name = name.rpartition(".")[0]
    return None


def _look_up(table: Mapping[str, Now], name: str, star: str) -> tuple[str, Now] | None:
    if name in table:
        return name, table[name]
    for old, now in table.items():
        if "*" not in old:
            continue
        if match := re.fullmatch(re.escape(old).replace(r"\*", star), name):
            word = match[1].strip("_")
            return name, now._replace(
                name=now.name.replace("*", word), note=now.note.replace("*", word)
            )
    return None


# ---- the page ----------------------------------------------------------------------------------------------


def tables_of_page() -> str:
    """The three tables in Markdown."""
    parts = {"Settings": SETTINGS, "Imports": IMPORTS, "The trainer": MEMBERS}
    return "\n".join(line for title, table in parts.items() for line in _section(title, table))


def _section(title: str, table: Mapping[str, Now]) -> Iterator[str]:
    yield from (f"### {title}", "", "| old | now | note |", "|---|---|---|")
    for old, now in table.items():
        yield f"| `{old}` | {f'`{now.name}`' if now.name else 'leave it out'} | {now.note} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(tables_of_page())
