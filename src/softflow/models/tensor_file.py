"""Tensors to a safetensors file, straight from their memory.

The library's `save` first makes the whole file in memory and holds Python's lock meanwhile, which
stops training for seconds; its `save_file` hides why a disk refused, and who may read the file. The
bytes are the same, a test compares them. Reading is the library's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softflow.errors import CheckpointError
from softflow.utils.files import written_whole

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.complex64: "C64",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
}
"""Names in the file, in the format's order; later ones lie first, so that all are aligned."""
ALIGNMENT = 8


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors of any device to `path`, whole or not at all.

    Raises:
        CheckpointError: a tensor's dtype has no name in the format.
        StoreError: the system refused (disk full, no permission, …); `path` is as before.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise CheckpointError(f"{path} cannot hold '{name}': its dtype is {tensor.dtype}")
    order = list(DTYPES)
    named = sorted(tensors.items(), key=lambda item: (-order.index(item[1].dtype), item[0]))
    with written_whole(path) as temp, temp.open("wb") as file:
        file.write(_header(named))
        for _, tensor in named:
            flat = tensor.detach().cpu().contiguous().view(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def _header(named: list[tuple[str, Tensor]]) -> bytes:
    """Its own length, then where each tensor lies behind it, padded."""
    entries: dict[str, Any] = {}
    end = 0
    for name, tensor in named:
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
