"""The sound that a test leaves behind, where the report finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audiozen.data.audio import write_audio
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audiozen.run_folder import RunFolder


def write_sounds(
    folder: RunFolder,
    ids: Sequence[str],
    signals: Mapping[str, Any],
    sample_rate: int,
    *,
    dataset: str | None = None,
) -> None:
    """Write signals of several roles, one wav file each.

    Args:
        folder: of the run.
        ids: one per signal, as in the table.
        signals: by role (``enhanced``, ``noisy``, ``clean``): tensors of shape ``(batch, time)``, or sequences of
            ``(time,)`` where lengths differ.
        sample_rate: in Hz.
        dataset: where there are several.

    Raises:
        RequestError: not as many signals as ids.
        AudioError: a signal that cannot be written; the text says which.
    """
    for role, waveforms in signals.items():
        if len(waveforms) != len(ids):
            raise RequestError(
                f"save_audio: {len(waveforms)} signals of {role!r} for {len(ids)} ids; give one waveform (time,) per id"
            )
        for signal_id, waveform in zip(ids, waveforms):
            write_audio(folder.sound(role, signal_id, dataset), waveform, sample_rate)
