"""``audiozen export``: a model as files for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from audiozen.cli.request import (
    Checkpoint,
    Overrides,
    PretrainedModel,
    read_experiment,
    require_checkpoint,
    require_table,
    tell,
)
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from torch import nn

    from audiozen.experiment import Experiment
    from audiozen.inference.export import Comparison


OptionalConfig: TypeAlias = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG]",
        help="The experiment's .toml file (not with --model).",
        show_default=False,
    ),
]
OutputFolder: TypeAlias = Annotated[
    Path, typer.Option(help="Folder for the files.", show_default=False, metavar="DIR")
]
Formats: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="onnx or torch_export. May be given several times. Default: onnx.",
        show_default=False,
    ),
]
Overwrite: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier export.")
]


def export(
    config: OptionalConfig = None,
    overrides: Overrides = None,
    *,
    output: OutputFolder,
    model: PretrainedModel = None,
    ckpt: Checkpoint = "best",
    formats: Formats = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the model for other runtimes: one frame in, one frame out.

    The files are compared with PyTorch on a few seconds of sound before they are there.
    """
    from audiozen.inference.export import export as write
    from audiozen.inference.export import require_place
    from audiozen.inference.formats import choose_formats

    names = formats or ["onnx"]
    if (config is None) == (model is None):
        raise RequestError("give either an experiment's .toml file or --model NAME")
    choose_formats(names)
    require_place(output, overwrite=overwrite)
    found = pretrained(model or "") if config is None else trained(config, overrides, ckpt)
    comparisons = write(
        found.model,
        output,
        sample_rate=found.sample_rate,
        formats=names,
        origin=found.origin,
        overwrite=overwrite,
    )
    for comparison in comparisons:
        typer.echo(line_of(comparison))
    tell(f"in {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")


class Found(NamedTuple):
    """A model with its weights, and where these come from."""

    model: nn.Module
    sample_rate: int
    origin: dict[str, Any]


def pretrained(name: str) -> Found:
    """A model that comes with AudioZEN.

    Raises:
        RequestError: there is none of this name.
    """
    from audiozen.pretrained.catalogue import load

    found = load(name)
    return Found(found.model, found.sample_rate, {"pretrained": name})


def trained(config: Path, overrides: list[str] | None, ckpt: str) -> Found:
    """The model of an experiment, from a checkpoint.

    Raises:
        RequestError: the experiment is wrong, has several models, or has no such checkpoint.
    """
    experiment = read_experiment(config, overrides)
    require_table(experiment, config, "acoustics")
    checkpoint = require_checkpoint(experiment, ckpt)
    acoustics = experiment.config.acoustics
    assert acoustics is not None, "the command requires the table"
    origin = origin_of(experiment, checkpoint)
    return Found(load_model(experiment, checkpoint), acoustics.sample_rate, origin)


def load_model(experiment: Experiment, checkpoint: Path) -> nn.Module:
    """The model with the weights of a checkpoint.

    Raises:
        RequestError: the experiment has several models.
    """
    trainer = experiment.build_trainer()
    if set(trainer.modules) != {""}:
        names = ", ".join(trainer.modules)
        raise RequestError(
            f"there are several models ({names}), and one is exported; write an experiment file with one [model] and "
            "give --ckpt"
        )
    trainer.load_checkpoint(checkpoint)
    return trainer.modules[""]


def origin_of(experiment: Experiment, checkpoint: Path) -> dict[str, Any]:
    """Which weights these are."""
    from audiozen.trainer.checkpoint import read_manifest, weights_file

    manifest = read_manifest(checkpoint)
    return {
        "experiment": experiment.exp_id,
        "checkpoint": checkpoint.name,
        "epoch": manifest["epoch"],
        "step": manifest["step"],
        "weights_sha256": manifest["files"][weights_file("")]["sha256"],
    }


def line_of(comparison: Comparison) -> str:
    """What a comparison says, for people."""
    name, difference, limit, factor, factor_of_pytorch = comparison
    return (
        f"{name}: differs from PyTorch by {difference:.1e} of the peak at most (allowed: {limit:.0e}); "
        f"real-time factor {factor:.4f}, PyTorch frame by frame {factor_of_pytorch:.4f}, each on one thread"
    )
