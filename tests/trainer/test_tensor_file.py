from __future__ import annotations

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiozen.durable_files import BLOCK_SIZE
from audiozen.errors import CheckpointError
from audiozen.trainer.tensor_file import CACHE_LINE, DTYPES, TensorFile, tensors_in


def content(file: TensorFile) -> bytes:
    return b"".join(file.parts())


def loaded(file: TensorFile) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(content(file))


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.tuples(st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    )
)
def test_any_tensors_are_read_by_the_library_as_they_were(kinds):
    kinds.pop("__metadata__", None)
    tensors = {name: (torch.rand(shape) * 100).to(dtype) for name, (dtype, shape) in kinds.items()}
    file = TensorFile()
    file.copy(tensors)
    found = loaded(file)
    assert set(found) == set(tensors)
    assert all(same(found[name], tensors[name]) for name in tensors)
    for written in (content(file), safetensors.torch.save(tensors, {"by": "the library"})):
        read = tensors_in(bytearray(written))
        assert set(read) == set(tensors)
        assert all(same(read[name], tensors[name]) for name in tensors)


def test_what_is_read_are_views_of_the_content():
    file = TensorFile()
    file.copy({"a": torch.zeros(3), "b": torch.ones(2)})
    whole = bytearray(content(file))
    tensors_in(whole)["b"].fill_(7)
    assert tensors_in(whole)["b"].tolist() == [7, 7]
    assert tensors_in(whole)["a"].tolist() == [0, 0, 0]


def test_tensors_that_others_have_not_aligned_are_read():
    header = (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}'
    )
    data = b"\x05" + torch.tensor([2.5]).numpy().tobytes()
    found = tensors_in(bytearray(len(header).to_bytes(8, "little") + header + data))
    assert {name: value.tolist() for name, value in found.items()} == {"a": [5], "b": [2.5]}


def test_file_is_written_in_whole_blocks_and_its_tensors_begin_at_a_cache_line():
    file = TensorFile()
    for length in (0, 1, 1000, BLOCK_SIZE):
        file.copy({"a": torch.arange(length)})
        header, first, rest = file.parts()
        assert len(header) % CACHE_LINE == 0
        assert (len(header) + len(first)) % BLOCK_SIZE == 0 or not rest
        assert loaded(file)["a"].tolist() == list(range(length))


def test_views_and_tied_tensors_are_written_in_full():
    tied = torch.arange(6.0)
    tensors = {"a": tied, "b": tied, "part": tied[2:4], "turned": tied.reshape(2, 3).T}
    file = TensorFile()
    file.copy(tensors)
    assert all(same(value, tensors[name]) for name, value in loaded(file).items())


def test_buffer_is_kept_until_the_tensors_outgrow_it():
    file = TensorFile()
    file.copy({"a": torch.ones(400)})
    address = file.parts()[1].obj.ctypes.data
    for tensors in ({"a": torch.zeros(400)}, {"a": torch.zeros(410), "b": torch.ones(3)}, {}):
        file.copy(tensors)
        assert file.parts()[1].obj.ctypes.data == address
        assert {name: value.tolist() for name, value in loaded(file).items()} == {
            name: value.tolist() for name, value in tensors.items()
        }
    file.copy({"a": torch.ones(500)})
    assert loaded(file)["a"].tolist() == [1] * 500


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.zeros(2, dtype=torch.complex128), "layer/x is a tensor of complex128"),
        (torch.zeros(2).to_sparse(), "layer/x is a tensor of sparse_coo"),
    ],
)
def test_tensors_that_the_format_lacks_are_named(tensor, text):
    with pytest.raises(CheckpointError, match=text):
        TensorFile().copy({"layer/x": tensor})
