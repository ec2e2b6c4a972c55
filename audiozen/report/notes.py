"""What a reader should know of a run before trusting its scores, and the commands that make what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from audiozen.data.shared_ids import shared_ids
from audiozen.report.origin import rerun
from audiozen.results.run import FAILED, NEW, RUNNING, STOPPED
from audiozen.tables.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from audiozen.report.curves import Curve
    from audiozen.results.run import Record, Run


@dataclass(frozen=True)
class Note:
    """Something to know, and the command that mends it."""

    text: str
    command: str = ""
    is_warning: bool = True
    """Whether something is wrong, and not only missing."""


def on_state(state: str, environment: Mapping[str, Any]) -> Iterator[Note]:
    """A run that is not done, and how it goes on."""
    go_on = rerun(environment, "train", "--resume")
    if state == RUNNING:
        yield Note("The run is in progress: this page shows it as it stood.", is_warning=False)
    elif state == STOPPED:
        yield Note("The run was stopped before its end. It goes on where it stopped.", go_on)
    elif state == FAILED:
        yield Note("The run failed or was killed. It goes on from its newest checkpoint.", go_on)
    elif state == NEW:
        text = "How the run ended is not known: it has no status.json, or has only begun."
        yield Note(text, is_warning=False)


def on_curves(curves: Sequence[Curve], environment: Mapping[str, Any]) -> Iterator[Note]:
    """Curves that are missing, or have values that are NaN or infinite."""
    if not curves:
        text = "No curves: nothing was logged yet (metrics/metrics.jsonl)."
        yield Note(text, rerun(environment, "train"), is_warning=False)
    for curve in curves:
        if curve.num_nonfinite and not curve.name.startswith("test/"):
            yield Note(
                f"{curve.name} is NaN or infinite in {curve.num_nonfinite} of {curve.num_logged} values, "
                f"first at step {curve.first_nonfinite}."
            )


def on_tables(
    tables: Mapping[str, Sequence[Record]],
    valid: Mapping[str, Sequence[Record]],
    environment: Mapping[str, Any],
) -> Iterator[Note]:
    """A test that is missing, and metrics that failed."""
    if not any(tables.values()):
        test = rerun(environment, "test") or "trainer.test(test_dataloaders)  # in Python"
        text = "Not tested: there is no per-signal table (metrics/test.csv)."
        instead = " Scores are those of the validation of the best checkpoint." if valid else ""
        yield Note(text + instead, test, is_warning=False)
    for dataset, records in tables.items():
        for metric, summary in summarise(records).items():
            if summary.num_failed:
                why = ", ".join(f"{reason} ({num})" for reason, num in summary.reasons.items())
                text = f"{metric} failed for {summary.num_failed} of {len(records)} signals of {dataset}: {why}."
                yield Note(text)


def on_shared_ids(
    valid: Mapping[str, Sequence[Record]], test: Mapping[str, Sequence[Record]]
) -> Iterator[Note]:
    """Signals that are in the test and in the validation data, as far as ids can tell."""
    for (validation, known), (dataset, records) in product(valid.items(), test.items()):
        if shared := shared_ids(_ids(known), _ids(records)):
            yield Note(
                f"{len(shared)} of {len(records)} ids of {dataset} are ids of the validation data ({validation}) too, "
                f"such as {shared[0]}. If they are the same signals, the score is not to be trusted."
            )


def _ids(records: Sequence[Record]) -> list[str]:
    return [str(record.get("id")) for record in records]


def on_time(run: Run, tables: Mapping[str, Any], environment: Mapping[str, Any]) -> Iterator[Note]:
    """A test of weights that are not the best any more."""
    best = run.folder.checkpoints / "best" / "validation.json"
    files = run.folder.tables("test").values()
    if tables and best.is_file() and best.stat().st_mtime > max(f.stat().st_mtime for f in files):
        text = "The test is older than the best checkpoint: it scored other weights."
        yield Note(text, rerun(environment, "test"))


def on_code(environment: Mapping[str, Any]) -> Iterator[Note]:
    """Code that no commit has."""
    if (environment.get("git") or {}).get("is_changed"):
        yield Note("The code had changes that were not committed: the commit alone is not it.")


def on_cost(complexity: Mapping[str, Any]) -> Iterator[Note]:
    """What could not be measured of the model's cost."""
    for text in complexity.get("notes") or []:
        yield Note(f"Cost of the model: {text}", is_warning=False)
