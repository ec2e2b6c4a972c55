"""The files that one frame's network can be written to, and running them."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from audiozen import durable_files
from audiozen.errors import AudioZENError, RequestError
from audiozen.inference.standalone import onnx_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch.export import ExportedProgram

    from audiozen.inference.frame_network import FrameNetwork
    from audiozen.inference.standalone import Array, Network

    Facts = dict[str, Any]

WHERE_IT_FAILS = (
    "Most often that is because enhance() looks at values (`if x.max() > 1`), or does to complex numbers what "
    "the exporter cannot: then work with spec.real and spec.imag, and put them together at the end"
)


class Format(NamedTuple):
    """A kind of file."""

    file: str
    """Its name."""
    limit: float
    """Largest difference to PyTorch that is rounding, relative to the peak of the result."""
    packages: tuple[str, ...]
    """That are needed and are not always there."""
    write: Callable[[Path, ExportedProgram, FrameNetwork], None]
    open: Callable[[Path, Facts], Network]


def trace(network: FrameNetwork) -> ExportedProgram:
    """The operations of one frame.

    Raises:
        AudioZENError: PyTorch cannot tell them.
    """
    with torch.no_grad(), _exporting(type(network.model).__name__):
        return torch.export.export(network, network.example())


def write_onnx(path: Path, program: ExportedProgram, network: FrameNetwork) -> None:
    """Write an ONNX file, weights included.

    Raises:
        AudioZENError: an operation has no counterpart there.
    """
    with _exporting(type(network.model).__name__):
        onnx_program = torch.onnx.export(
            program,
            input_names=network.input_names,
            output_names=network.output_names,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        assert onnx_program is not None
        _simplify(onnx_program.model)
    model = onnx_program.model_proto
    _leave_out_origin(model.graph)
    durable_files.write_file(path, model.SerializeToString())


def _simplify(model: Any) -> None:
    """Compute what does not hang on the input; a third of the nodes are left, and none of those that make sequences.

    What the exporter does when it is asked to optimize goes further: it takes x + 1e-8 for x, so that the logarithm of
    silence becomes infinite.
    """
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)


def _leave_out_origin(graph: Any) -> None:
    """Remove what is said of each node: half of the file, with paths of this machine in it."""
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        item.ClearField("metadata_props")


def open_onnx(path: Path, settings: Facts) -> Network:
    """Run an ONNX file on one thread."""
    return onnx_network(path, settings)


def write_torch_export(path: Path, program: ExportedProgram, _network: FrameNetwork) -> None:
    """Write a file for :func:`torch.export.load`, weights included."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    content = io.BytesIO()
    torch.export.save(program, content)
    durable_files.write_file(path, content.getbuffer())


def open_torch_export(path: Path, _settings: Facts) -> Network:
    """Run a file of :func:`torch.export.save`."""
    with warnings.catch_warnings():
        # PyTorch 2.9 says this of the weights that it reads, and does not write to.
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        module = torch.export.load(path).module()

    def network(inputs: Sequence[Array]) -> Sequence[Array]:
        with torch.no_grad():
            return [output.numpy() for output in module(*map(torch.from_numpy, inputs))]

    return network


FORMATS = {
    "onnx": Format(
        "model.onnx", 1e-4, ("onnx", "onnxscript", "onnxruntime"), write_onnx, open_onnx
    ),
    "torch_export": Format("model.pt2", 1e-5, (), write_torch_export, open_torch_export),
}


def choose_formats(names: Sequence[str]) -> list[Format]:
    """Formats by their names, each once.

    Raises:
        RequestError: there is no such format, or it needs packages that are not there.
    """
    for name in names:
        if name not in FORMATS:
            raise RequestError(f"format {name!r} is unknown; choose of {', '.join(FORMATS)}")
        if missing := [p for p in FORMATS[name].packages if find_spec(p) is None]:
            raise RequestError(
                f"format {name} needs {' and '.join(missing)}, which cannot be found; pip install "
                "'audiozen[export]', or choose --format torch_export, which needs nothing"
            )
    return [FORMATS[name] for name in dict.fromkeys(names)]


@contextmanager
def _exporting(model: str) -> Iterator[None]:
    """Without what the exporters say about themselves; what they raise becomes an error about the model."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    try:
        with warnings.catch_warnings():
            # A GRU keeps its weights in a list besides, and that list is not exported.
            warnings.filterwarnings("ignore", "The tensor attributes? .*_flat_weights", UserWarning)
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            registration.setLevel(logging.ERROR)  # torchvision is not installed
            yield
    except Exception as error:
        raise AudioZENError(
            f"{model} could not be exported: {_first_line(error)}. {WHERE_IT_FAILS}. --traceback shows all of it"
        ) from error
    finally:
        registration.setLevel(level)


def _first_line(error: BaseException) -> str:
    """What the error that was behind all others says first."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(".: ")
