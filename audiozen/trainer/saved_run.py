"""A run as a checkpoint holds it: compared with the run that wants to go on from it, and given back to its parts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from audiozen.errors import RequestError
from audiozen.trainer.run_identity import Identity, differences
from audiozen.trainer.snapshot import Stateful, load_snapshot, load_what_fits, part_differences
from audiozen.trainer.weights import Weights, first_of, load_matching, misfits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from audiozen.trainer.checkpoint import CheckpointStore

logger = logging.getLogger(__name__)

IDENTITY = "run"
"""Beside the states of the parts, what the run was."""
OF_EACH_WEIGHT = ("optimizer", "averaging")
"""Kinds of parts that remember something of each weight."""


@dataclass(frozen=True)
class SavedRun:
    """What a checkpoint holds.

    Attributes:
        path: its folder.
        weights: of the models.
        snapshot: states of all parts.
        outcome: states of what its validation changed; None if there was none.
        identity: what must be the same in a run that goes on from it.
    """

    path: Path
    weights: Weights
    snapshot: dict[str, Any]
    outcome: dict[str, Any] | None
    identity: Identity

    @classmethod
    def read(cls, store: CheckpointStore, path: Path) -> SavedRun:
        """Read a checkpoint, verified; another version of PyTorch than this one is told.

        Raises:
            CheckpointError: it is damaged.
        """
        snapshot = store.load_training_state(path)
        outcome = store.load_validation(path)
        if outcome is not None:
            outcome = {name: part for name, part in outcome.items() if name != "score"}
        if (version := store.torch_version(path)) != torch.__version__:
            here = torch.__version__
            logger.warning(
                "%s was written with PyTorch %s, this is %s: bits may differ",
                path.name,
                version,
                here,
            )
        return cls(path, store.load_models(path), snapshot, outcome, snapshot.pop(IDENTITY))

    def changes(
        self, identity: Identity, modules: Mapping[str, nn.Module], parts: Mapping[str, Stateful]
    ) -> list[str]:
        """One sentence for each thing in which another run differs."""
        return list(
            dict.fromkeys(
                [
                    *differences(self.identity, identity),
                    *part_differences(parts, self.snapshot),
                    *misfits(modules, self.weights),
                ]
            )
        )

    def refusal(self, changes: list[str]) -> RequestError:
        """What is told to a run that differs."""
        lines = [
            f"{self.path} is of a run that differs from this one:",
            *first_of(changes),
            "go back to what it was, choose another folder, or allow the changes (--allow-changes)",
        ]
        return RequestError("\n  ".join(lines))

    def give_back(
        self,
        modules: Mapping[str, nn.Module],
        parts: Mapping[str, Stateful],
        outcome_parts: Mapping[str, Stateful],
        *,
        exactly: bool,
    ) -> None:
        """Let a run go on from here.

        Args:
            modules: its models.
            parts: whatever else of it has a state.
            outcome_parts: those that a validation changes.
            exactly: the run does not differ. Else parts without a state that fits are told, and start anew.

        Raises:
            CheckpointError: ``exactly``, and a state does not fit its part.
        """
        load = load_snapshot if exactly else load_what_fits
        snapshot = self.snapshot
        if misfits(modules, self.weights):
            snapshot = {n: s for n, s in snapshot.items() if not n.startswith(OF_EACH_WEIGHT)}
        load_matching(modules, self.weights)
        load(parts, snapshot, self.path)
        if self.outcome is not None:
            load(outcome_parts, self.outcome, f"{self.path}, its validation")
