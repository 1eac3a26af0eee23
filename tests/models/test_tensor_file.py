"""Our safetensors files are the library's, byte for byte, and whole or not there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from softflow.errors import CheckpointError, StoreError
from softflow.models.tensor_file import DTYPES, write_tensors


def numbers(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Every bit pattern that a random byte can be part of, NaN among them; true or false."""
    if dtype == torch.bool:
        return torch.rand(shape) < 0.5
    size = torch.empty(0, dtype=dtype).element_size()
    count = torch.Size(shape).numel()
    return torch.randint(256, (count * size,), dtype=torch.uint8).view(dtype).view(shape)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(
            st.lists(st.integers(0, 4), max_size=3).map(tuple), st.sampled_from(list(DTYPES))
        ),
        max_size=6,
    )
)
def test_the_bytes_are_the_librarys(layout: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
    tensors = {name: numbers(shape, dtype) for name, (shape, dtype) in layout.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.safetensors"
        write_tensors(path, tensors)
        written = path.read_bytes()
    assert written == save(tensors)
    for name, tensor in load(written).items():
        assert tensor.dtype == tensors[name].dtype
        assert tensor.shape == tensors[name].shape


def test_views_parameters_and_shared_memory_are_written_as_they_look(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tensors = {
        "transposed": base.view(3, 4).T,
        "every second": base[::2],
        "parameter": torch.nn.Parameter(base.view(2, 6)),
        "same memory": base,
    }
    write_tensors(tmp_path / "file", tensors)
    read = load((tmp_path / "file").read_bytes())
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_a_dtype_without_a_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    tensors = {"weight": torch.zeros(2), "odd": torch.zeros(2, dtype=torch.complex128)}
    with pytest.raises(CheckpointError, match=r"'odd'.*complex128"):
        write_tensors(tmp_path / "file", tensors)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="create the folder first"):
        write_tensors(tmp_path / "nowhere" / "file", {"weight": torch.zeros(2)})


def test_others_may_read_what_they_may_read_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_tensors(tmp_path / "file", {"weight": torch.zeros(2)})
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
