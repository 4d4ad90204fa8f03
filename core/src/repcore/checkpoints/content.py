"""The identity of tensors: a hash of what they are, whatever container they lie in.

Names in sorted order, dtypes, shapes, bytes. Two files with the same tensors have the same hash although their
metadata, order or alignment differ; one flipped bit, another dtype or another shape gives another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
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
