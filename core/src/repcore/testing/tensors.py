"""Comparing nested values that hold tensors: batches, draws, features."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from repcore.interfaces import Batch


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # nested plain values, tensors, PyG data
    """Every leaf with its path; mappings, sequences, dataclasses and PyG batches are opened."""
    if isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from leaves(part, f"{path}[{number}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}")
    elif hasattr(value, "to_dict") and not isinstance(value, torch.Tensor | np.ndarray):
        yield from leaves(value.to_dict(), path)
    else:
        yield path.lstrip("."), value


def difference(left: Any, right: Any) -> str:
    """Where two nested values differ first; empty if they are equal bit for bit (NaN equals NaN)."""
    ours, theirs = dict(leaves(left)), dict(leaves(right))
    if ours.keys() != theirs.keys():
        return f"only one has {', '.join(sorted(ours.keys() ^ theirs.keys())[:5])}"
    return next((f"{path} differs" for path in ours if not _same(ours[path], theirs[path])), "")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(_bits(one), _bits(other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(tensor, nan=1e30) if tensor.is_floating_point() else tensor


def content_hash(value: Any) -> bytes:  # inputs are the domain's own kind
    """Hash of every leaf of a nested value: equal content, equal hash."""
    digest = hashlib.sha256()
    for path, leaf in leaves(value):
        digest.update(path.encode())
        if isinstance(leaf, torch.Tensor):
            leaf = leaf.detach().cpu().numpy()
        digest.update(leaf.tobytes() if isinstance(leaf, np.ndarray) else repr(leaf).encode())
    return digest.digest()


def tensor_named(batch: Batch, name: str) -> Any:
    """An input by its spec name: a key of a mapping, an attribute of a PyG batch, or the only tensor; else None."""
    inputs = batch.inputs
    if isinstance(inputs, Mapping):
        return inputs.get(name)
    return inputs if isinstance(inputs, torch.Tensor) else getattr(inputs, name, None)


def largest_gap(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference relative to the overall size of the values (at least 1e-6)."""
    scale = max(float(one.abs().max()), float(other.abs().max()), 1e-6)
    return float((one - other).abs().max()) / scale
