"""The identity of tensors: a hash of what they are, whatever container they lie in.

Names in sorted order, dtypes, shapes, bytes. Two files with the same tensors have the same hash although their
metadata, order or alignment differ; one flipped bit, another dtype or another shape gives another. Files that are
written here are equal as well when their tensors are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def content_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal SHA-256 of named tensors.

    Args:
        tensors: by name, of any dtype and shape, on any device; little-endian machines only, as safetensors.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name}\0{kind}\0{tuple(tensor.shape)}\0".encode("utf-8", "surrogatepass"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whose bytes follow from its content.

    The library writes metadata in another order every time; the header is therefore rewritten with sorted metadata,
    which is as long as before.
    """
    save_file(tensors, path, metadata=dict(metadata))
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        if len(text) <= size:
            file.seek(8)
            file.write(text.ljust(size))
