"""From a model to a folder that another program can run, without Python or without AudioZEN.

::

    DIR/
    ├── model.onnx         one frame in, one frame out; all states go in and out (model.pt2: the same for torch.export)
    ├── streaming.json     names, shapes and order of inputs and outputs, the transform around them, where it comes from
    └── stream.py          how to use both, with NumPy and ONNX Runtime; to be copied

The Fourier transform is not in the network: runtimes differ in it, and every platform has a fast one.

Fields of ``streaming.json``: ``format``, the number that ``FORMAT`` was; ``model``, name of the class;
``sample_rate`` in Hz; ``n_fft``, ``hop_length``, ``win_length`` in samples; ``window``, periodic, used in analysis and
synthesis; ``delay`` in samples; ``inputs`` and ``outputs``, names in order; of the first of each, the ``frame``, its
``shape``, ``dtype`` and ``axes``; of the others, the ``states``, the names ``input`` and ``output``, ``shape``,
``dtype``, the value ``initial`` before the first frame (a number, or nested lists) and the ``place`` in the model's
memory; ``parameters``; ``versions`` of packages; ``opset`` of the ONNX file; ``origin``, what the caller says of where
the weights come from.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from audiozen import durable_files
from audiozen.complexity import count_parameters
from audiozen.errors import AudioZENError, RequestError
from audiozen.inference import standalone
from audiozen.inference.formats import FORMATS, choose_formats, trace
from audiozen.inference.frame_network import FrameNetwork
from audiozen.streaming import stream_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from audiozen.inference.formats import Format
    from audiozen.inference.standalone import Array
    from audiozen.streaming import FrameByFrame

__all__ = ["Comparison", "export"]

FORMAT = 1
SETTINGS = "streaming.json"
REFERENCE = "stream.py"
FILES = {SETTINGS, REFERENCE, *(fmt.file for fmt in FORMATS.values())}
"""All that an export may consist of."""
NUM_SECONDS = 3
"""Of sound that exported networks are compared on."""
WARM_UP_SECONDS = 0.25


class Comparison(NamedTuple):
    """A file that was written, and PyTorch, on the same sound. Both frame by frame, on one thread of the CPU."""

    file: str
    difference: float
    """Largest of a sample, relative to the peak of what PyTorch gives. Lower is better."""
    limit: float
    real_time_factor: float
    """Seconds of CPU time per second of audio, Fourier transforms included. Lower is better."""
    real_time_factor_of_pytorch: float


def export(
    model: nn.Module,
    folder: Path,
    *,
    sample_rate: int,
    formats: Sequence[str] = ("onnx",),
    origin: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> list[Comparison]:
    """Write a model that works frame by frame to a folder, after the files have proved equal to it.

    The model itself stays as it is; a copy on the CPU, in evaluation mode, is written.

    Args:
        model: derived from :class:`~audiozen.streaming.FrameByFrame`.
        folder: is there afterwards with all files, or is as it was.
        sample_rate: that the model works at, in Hz.
        formats: of ``"onnx"`` and ``"torch_export"``.
        origin: plain values, where the weights come from.
        overwrite: replace an earlier export.

    Returns:
        One comparison for each format.

    Raises:
        RequestError: the model or the folder does not allow it, or packages are missing. Nothing was started.
        AudioZENError: the exporter cannot do it, or the result differs from PyTorch.
    """
    chosen = choose_formats(formats)
    require_place(folder, overwrite=overwrite)
    network = FrameNetwork(copy.deepcopy(model).cpu().eval())
    settings = describe(network, sample_rate, origin or {})
    program = trace(network)
    with _new_folder(folder) as partial, _one_thread():
        expected = _timed(lambda noisy: _through_pytorch(network.model, noisy), sample_rate)
        comparisons = []
        for fmt in chosen:
            fmt.write(partial / fmt.file, program, network)
            enhancer = standalone.Enhancer(settings, fmt.open(partial / fmt.file, settings))
            found = _timed(enhancer.enhance, sample_rate)
            comparisons.append(compare(fmt, found, expected))
        _write_rest(partial, settings, chosen)
    return comparisons


def require_place(folder: Path, *, overwrite: bool) -> None:
    """Refuse to write over what is there, unless it is an earlier export and may be replaced.

    Raises:
        RequestError: the text says what is there.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RequestError(f"{folder} is a file; --output is the folder to write")
    names = {path.name for path in folder.iterdir()}
    if others := sorted(names - FILES - {"__pycache__"}):
        raise RequestError(f"{folder} holds other things ({others[0]}); choose another --output")
    if names and not overwrite:
        raise RequestError(
            f"{folder} holds an export already; choose another --output, or give --overwrite"
        )


def describe(network: FrameNetwork, sample_rate: int, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What a program must know to run the network: plain values for :data:`SETTINGS`, without what a file adds."""
    model = network.model
    outputs = network.output_names
    return {
        "format": FORMAT,
        "model": type(model).__name__,
        "sample_rate": sample_rate,
        "n_fft": model.stft.n_fft,
        "hop_length": model.hop_length,
        "win_length": model.stft.win_length,
        "window": model.stft.window_name,
        "delay": model.delay,
        "inputs": network.input_names,
        "outputs": outputs,
        "frame": {
            "shape": [1, 2, 1, model.stft.num_freqs],
            "dtype": "float32",
            "axes": ["batch", "real and imaginary part", "frames", "freq"],
        },
        "states": [
            {
                "input": name,
                "output": output,
                "shape": list(initial.shape),
                "dtype": str(initial.dtype).removeprefix("torch."),
                "initial": _plain(initial),
                "place": f"memory{place}",
            }
            for (name, place, initial), output in zip(network.states, outputs[1:])
        ],
        "parameters": count_parameters(model).total,
        "origin": dict(origin),
    }


def _plain(initial: Tensor) -> Any:
    """A number where all are equal, else nested lists."""
    first = initial.flatten()[:1]
    is_constant = len(first) and bool((initial == first).all())
    return first.item() if is_constant else initial.tolist()


def _write_rest(folder: Path, settings: dict[str, Any], formats: Sequence[Format]) -> None:
    packages = ["audiozen", "torch", *(name for fmt in formats for name in fmt.packages)]
    facts = settings | {"versions": {name: version(name) for name in packages}}
    if FORMATS["onnx"] in formats:
        facts["opset"] = opset_of(folder / FORMATS["onnx"].file)
        shutil.copyfile(standalone.__file__, folder / REFERENCE)
        durable_files.flush(folder / REFERENCE)
    durable_files.write_file(folder / SETTINGS, f"{json.dumps(facts, indent=2)}\n".encode())


def opset_of(path: Path) -> int:
    """Version of the operators in an ONNX file."""
    import onnx

    versions = [entry.version for entry in onnx.load(path).opset_import if entry.domain == ""]
    return int(versions[0])


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to; it takes its name if the block succeeds, and is removed if not."""
    folder = folder.resolve()
    partial = durable_files.partial_name(folder)
    try:
        durable_files.make_folders(folder.parent)
        durable_files.make_folder(partial)
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written: {error.strerror}; choose another --output"
        ) from error
    try:
        yield partial
        durable_files.flush(partial)
        if folder.exists():
            durable_files.remove_folder(folder)
        durable_files.rename(partial, folder)
    finally:
        durable_files.remove(partial)


# ---- comparison ----------------------------------------------------------------------------------


class Run(NamedTuple):
    """What came out, and how long it took."""

    enhanced: Array
    real_time_factor: float


def compare(fmt: Format, found: Run, expected: Run) -> Comparison:
    """How far a file's result is from PyTorch's.

    Raises:
        AudioZENError: farther than rounding, or what PyTorch gives cannot be compared.
    """
    if not np.isfinite(expected.enhanced).all():
        raise AudioZENError(
            "the model returns values that are not finite; train it further, or choose another --ckpt"
        )
    peak = max(float(np.abs(expected.enhanced).max()), float(np.finfo(np.float32).tiny))
    difference = float(np.abs(found.enhanced - expected.enhanced).max()) / peak
    if not difference <= fmt.limit:
        raise AudioZENError(
            f"{fmt.file} is not the model: on {NUM_SECONDS} s of sound, its result differs from PyTorch's by "
            f"{difference:.1e} of the peak, and {fmt.limit:.0e} would be rounding. Nothing was written"
        )
    factors = found.real_time_factor, expected.real_time_factor
    return Comparison(fmt.file, difference, fmt.limit, *factors)


def made_up_sound(sample_rate: int, num_seconds: float) -> Array:
    """Something like speech in noise: silence, syllables of a gliding voice, and a loud end. Float32 in [-1, 1]."""
    time_axis = np.arange(round(num_seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 0.7 * time_axis)) / sample_rate
    voice = sum(np.sin(number * phase) / number for number in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time_axis), 0, None)
    noise = np.random.default_rng(0).standard_normal(len(time_axis))
    loudness = np.where(
        time_axis < 0.1 * num_seconds, 0.0, np.where(time_axis < 0.9 * num_seconds, 0.15, 1.0)
    )
    sound = loudness * (voice * syllables + 0.1 * noise)
    return np.clip(sound, -1, 1).astype(np.float32)


def _timed(run: Callable[[Array], Array], sample_rate: int) -> Run:
    run(made_up_sound(sample_rate, WARM_UP_SECONDS))
    noisy = made_up_sound(sample_rate, NUM_SECONDS)
    # On one thread, it is what an idle machine takes, also where the machine is busy.
    start = time.process_time()
    enhanced = run(noisy)
    return Run(enhanced, (time.process_time() - start) / NUM_SECONDS)


def _through_pytorch(model: FrameByFrame, noisy: Array) -> Array:
    enhanced: Array = stream_through(model, torch.from_numpy(noisy)[None])[0].numpy()
    return enhanced


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread, and back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
