"""The identity of tensors: a hash of what they are, whatever container they lie in.

Names in sorted order, dtypes, shapes, bytes. Two files with the same tensors have the same hash although their
metadata, order or alignment differ; one flipped bit, another dtype or another shape gives another. Files that are
written here are equal as well when their tensors are. Of other files :func:`content_of_file` looks through the
containers whose own bytes vary from one writing to the next.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import torch
from safetensors.torch import save_file
from torch import Tensor

from repcore.files import open_to_others


def content_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal SHA-256 of named tensors.

    Args:
        tensors: by name, of any dtype and shape, on any device; little-endian machines only, as safetensors.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(_framed(name))
        digest.update(f"{kind}\0{tuple(tensor.shape)}\0".encode("utf-8", "surrogatepass"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _framed(name: str) -> bytes:
    """A name and where it ends. One that holds the sign of an end itself is preceded by its length, and by that sign:
    no other name begins with it, so that all hashes of ordinary names stay what they were."""
    text = name.encode("utf-8", "surrogatepass")
    return text + b"\0" if b"\0" not in text else b"\0%d:" % len(text) + text


def content_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of what a file holds; equal to that of its bytes for files that are no container.

    ``.npz`` and other zip files: names and contents of the members, without dates, order and compression; ``.gz``: what
    was compressed; ``.safetensors``: metadata in sorted order, tensors. For files written here, not for received ones:
    what unpacks to more than fits on the disk is not refused.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        if suffix == ".gz":
            with gzip.open(file) as unpacked:
                return _file_digest(unpacked)
        if suffix == ".safetensors":
            return _of_safetensors(file)
        if zipfile.is_zipfile(file):
            return _of_zip(file)
        file.seek(0)
        return _file_digest(file)


def _of_zip(file: IO[bytes]) -> str:
    digest = hashlib.sha256(b"zip\0")
    with zipfile.ZipFile(file) as held:
        for name in sorted(set(held.namelist())):
            with held.open(name) as member:
                digest.update(_framed(name) + bytes.fromhex(_file_digest(member)))
    return digest.hexdigest()


def _of_safetensors(file: IO[bytes]) -> str:
    size = int.from_bytes(file.read(8), "little")
    header = json.dumps(json.loads(file.read(size)), sort_keys=True)
    return hashlib.sha256(b"safetensors\0" + header.encode() + bytes.fromhex(_file_digest(file))).hexdigest()


def _file_digest(file: IO[bytes] | gzip.GzipFile) -> str:
    """From where it stands to its end."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whose bytes follow from its content.

    The library writes metadata in another order every time; the header is therefore rewritten with sorted metadata,
    which is as long as before.
    """
    save_file(tensors, path, metadata=dict(metadata) or None)
    open_to_others(path)
    if not metadata:
        return
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        if len(text) <= size:
            file.seek(8)
            file.write(text.ljust(size))
