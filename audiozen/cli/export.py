"""``audiozen export``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiozen.cli.request import (
    Checkpoint,
    ConfigFile,
    Overrides,
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


def export(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    output: Annotated[
        Path, typer.Option(help="Folder for the files.", show_default=False, metavar="DIR")
    ],
    ckpt: Checkpoint = "best",
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="onnx or torch_export. May be given several times. Default: onnx.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export.")
    ] = False,
) -> None:
    """Write the model for other runtimes: one frame in, one frame out.

    The files are compared with PyTorch on a few seconds of sound before they are there.
    """
    from audiozen.inference.export import export as write
    from audiozen.inference.export import require_place
    from audiozen.inference.formats import choose_formats

    names = formats or ["onnx"]
    experiment = read_experiment(config, overrides)
    require_table(experiment, config, "acoustics")
    choose_formats(names)
    require_place(output, overwrite=overwrite)
    checkpoint = require_checkpoint(experiment, ckpt)
    acoustics = experiment.config.acoustics
    assert acoustics is not None, "the command requires the table"
    comparisons = write(
        load_model(experiment, checkpoint),
        output,
        sample_rate=acoustics.sample_rate,
        formats=names,
        origin=origin_of(experiment, checkpoint),
        overwrite=overwrite,
    )
    for comparison in comparisons:
        typer.echo(line_of(comparison))
    tell(f"in {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")


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
