"""``audiozen sweep``: a search for good settings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import Annotated, Literal

import typer

from audiozen.cli.request import ConfigFile, Overrides, refuse_several_processes, tell
from audiozen.errors import RequestError

ONE_PROCESS = (
    "a trial is made by one process; start audiozen sweep without torchrun, once for each GPU: "
    "CUDA_VISIBLE_DEVICES=0 audiozen sweep ..."
)


def sweep(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    space: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is tried, in TOML. Default: sweep.toml beside CONFIG.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Of all workers together, ever.")] = 20,
    pruner: Annotated[
        Literal["median", "asha", "hyperband", "none"],
        typer.Option(help="How it is decided which trials are given up early."),
    ] = "median",
    sampler: Annotated[
        Literal["tpe", "random"], typer.Option(help="How values are chosen.")
    ] = "tpe",
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of values.")] = 0,
    show: Annotated[
        bool, typer.Option("--show", help="Show the trials as they are now, and start none.")
    ] = False,
) -> None:
    """Search for good settings: many runs, in one folder.

    The same command goes on with a sweep, or joins it from another terminal or machine that shares the folder.
    """
    require_optuna()
    from audiozen.sweep.search import advice_on, find_study, outcome_of, search

    space = space or config.parent / "sweep.toml"
    if show:
        study = find_study(config, overrides or [], space)
    else:
        refuse_several_processes(ONE_PROCESS)
        how = {"pruner": pruner, "sampler": sampler, "seed": seed}
        study = search(config, overrides or [], space, trials, say=tell, **how)
    typer.echo(outcome_of(study))
    for line in advice_on(study):
        tell(line)


def require_optuna() -> None:
    """Refuse where the package is missing that the search is left to.

    Raises:
        RequestError: so it is.
    """
    if find_spec("optuna") is None:
        raise RequestError("audiozen sweep needs the package optuna; pip install 'audiozen[sweep]'")
