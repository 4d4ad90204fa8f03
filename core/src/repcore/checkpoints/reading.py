"""Reading weights files without ever running what is in them.

Understood: safetensors; torch files (zip or older pickles) read with ``weights_only=True``; folders with one of them,
or with shards and an index. A pickle that names anything but tensors and plain containers is refused before reading.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import pickle
import pickletools
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from repcore.errors import CheckpointError
from repcore.files import entries_of, is_file, read_object

NAMESPACE = "argparse.Namespace"
WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
INDEX_NAMES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
MOST_PICKLE = 256 * 2**20  # bytes of names and shapes
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
UNREADABLE = (SafetensorError, OSError, ValueError, RuntimeError, KeyError, OverflowError, MemoryError)
NESTED_NAMES = ("state_dict", "model_state_dict", "model", "base_model", "network", "net", "module")
OLDER_LAYOUT_PICKLES = 5  # magic number, protocol, machine, weights, storage keys
WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # DataParallel and torch.compile
# What tensors in a pickle are made of; anything else is code.
_PLAIN_GLOBALS = frozenset({
    "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_parameter", "torch.Size", "torch.device", "torch.nn.parameter.Parameter",
    "builtins.set", "__builtin__.set", "_codecs.encode",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tensors of a weights file.

    Args:
        state: key -> tensor on the CPU, wrapper prefixes removed.
        source: file or folder that the user named.
        files: files that were read.
        entry: name of the nested dictionary that held the tensors, such as ``model``; empty if none.
        removed_prefix: wrapper prefix that every key had.
        other: entries beside the tensors (epoch, arguments, ...), not interpreted.
    """

    state: Mapping[str, Tensor]
    source: Path
    files: tuple[Path, ...]
    entry: str = ""
    removed_prefix: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path | str, *, entry: str | None = None, allow_namespace: bool = False) -> Checkpoint:
    """Read a weights file or folder.

    Args:
        path: file, or folder with ``model.safetensors``, ``pytorch_model.bin``, an index of shards, or one such file.
        entry: which nested dictionary holds the tensors; found when None.
        allow_namespace: also accept a file that carries its ``argparse`` arguments.

    Raises:
        CheckpointError: nothing there, ambiguous, damaged, not a weights file, or holding code.
    """
    source = Path(path)
    if not source.exists():
        raise CheckpointError(f"there is no checkpoint at {source}")
    files = _weight_files(source) if source.is_dir() else (source,)
    merged: dict[str, Any] = {}
    for file in files:
        content = read_file(file, allow_namespace=allow_namespace)
        if not isinstance(content, Mapping):
            raise CheckpointError(f"{file} holds a {type(content).__name__}, no dictionary of tensors")
        merged.update(content)
    if source.is_dir():
        _check_index(source, merged.keys())
    found, inner, other = _unnested(merged, files[0], entry)
    state = {str(key): value.detach() for key, value in inner.items() if isinstance(value, Tensor)}
    other = {**other, **{str(key): value for key, value in inner.items() if not isinstance(value, Tensor)}}
    for key, value in state.items():
        _check_extent(key, value, files[0])
    if not state:
        raise CheckpointError(f"{files[0]} holds no tensors", got=", ".join(map(str, list(merged)[:8])))
    prefix = ""
    for wrapper in WRAPPER_PREFIXES:
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
            prefix += wrapper
    return Checkpoint(state, source, files, found, prefix, other)


def read_file(path: Path, *, allow_namespace: bool = False) -> Any:  # whatever plain containers the file holds
    """Content of one weights file, tensors on the CPU.

    Raises:
        CheckpointError: damaged, not a weights file, or holding code.
    """
    kind = _file_kind(path)
    if kind == "safetensors":
        try:
            return load_file(path)
        except UNREADABLE as error:
            raise _damaged(path, error) from error
    if kind == "zip":
        _check_archive(path)
    named = _pickled_names(path, kind)
    refused = sorted(name for name in named if not _is_plain(name) and not (allow_namespace and name == NAMESPACE))
    if refused:
        hint = "convert it to safetensors where you trust it, and give that file"
        if refused == [NAMESPACE]:
            hint = "the command's option that accepts stored arguments (allow-namespace), or a safetensors file"
        raise CheckpointError(
            f"{path} holds more than tensors and was not read", names=", ".join(refused[:6]), hint=hint
        )
    allowed = torch.serialization.safe_globals([argparse.Namespace]) if allow_namespace else contextlib.nullcontext()
    try:
        with allowed:
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} holds more than tensors and was not read", reason=_first_line(error)) from error
    except Exception as error:  # whatever damaged bytes make torch raise
        raise _damaged(path, error) from error


def header_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a safetensors file, from its header alone; the library compares it with the file's size.

    Raises:
        CheckpointError: damaged, or no such file.
    """
    if _file_kind(path) != "safetensors":
        raise CheckpointError(f"{path} is not a safetensors file")
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _check_archive(path: Path) -> None:
    """torch stores its members as they are: anything else is no file of torch, or a bomb.

    Raises:
        CheckpointError: compressed or encrypted members, or members that are larger than the file.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(path, error) from error
    packed = [one for one in members if one.compress_type != zipfile.ZIP_STORED or one.flag_bits & 1]
    if packed:
        unpacked = sum(one.file_size for one in members)
        raise CheckpointError(
            f"{path} is a compressed archive, not a file of torch.save",
            member=packed[0].filename[:80],
            unpacked=f"{unpacked:,} bytes from {size:,}",
            hint="unpack it and give what is inside",
        )
    if sum(one.file_size for one in members) > size:
        raise CheckpointError(f"{path} is damaged: its members say that they are larger than the file ({size:,} bytes)")
    pickles = sum(one.file_size for one in members if one.filename.endswith(".pkl"))
    if pickles > MOST_PICKLE:
        raise CheckpointError(f"{path} is not a weights file: {pickles:,} bytes of it are names, not numbers")


def _check_extent(key: str, tensor: Tensor, path: Path) -> None:
    """A tensor that claims more numbers than are stored would take any amount of memory when it is copied."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return
    claimed, stored = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if claimed > stored:
        raise CheckpointError(
            f"{key[:80]} in {path} says it has {claimed:,} bytes, but only {stored:,} are stored",
            hint="save the model again with contiguous tensors",
        )


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The weights file of a folder, or its shards."""
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return (folder / name,)
    for name in INDEX_NAMES:
        if (folder / name).is_file():
            return _shards(folder / name)
    found = [file for file in entries_of(folder) if file.suffix in SUFFIXES and file.name != "training_args.bin"]
    if len(found) == 1:
        return (found[0],)
    if not found:
        raise CheckpointError(f"{folder} holds no weights file", expected=", ".join((*WEIGHT_NAMES, *INDEX_NAMES)))
    raise CheckpointError(
        f"{folder} holds {len(found)} weights files", could_be=", ".join(file.name for file in found), hint="name one"
    )


def _shards(index: Path) -> tuple[Path, ...]:
    names = sorted(set(_weight_map(index).values()))
    files = tuple(index.parent / Path(name).name for name in names)
    missing = [file.name for file in files if not is_file(file)]
    if missing or not files:
        raise CheckpointError(
            f"{len(missing)} of {len(files)} shards that {index.name} names are not in {index.parent}",
            missing=", ".join(missing[:6]),
        )
    return files


def _weight_map(index: Path) -> dict[str, str]:
    """Key -> shard, as an index says."""
    content = read_object(index, ("weight_map",))
    found = content["weight_map"]
    if not isinstance(found, dict) or not all(isinstance(name, str) and name for name in found.values()):
        raise CheckpointError(f"{index} is not an index of shards", expected="weight_map: key -> file name")
    return found


def _check_index(folder: Path, keys: Collection[str]) -> None:
    """A folder's index must name the keys that its shards hold."""
    index = next((folder / name for name in INDEX_NAMES if (folder / name).is_file()), None)
    if index is None or any((folder / name).is_file() for name in WEIGHT_NAMES):
        return
    named = _weight_map(index)
    missing = sorted(set(named) - set(keys))
    if missing:
        raise CheckpointError(
            f"{index} names {len(missing)} tensors that its shards do not hold",
            missing=grouped(missing),
            hint="fetch the shards and their index again, of the same version",
        )


def _file_kind(path: Path) -> str:
    """``safetensors``, ``zip`` or ``pickle``, from the first bytes; other files are refused by what they look like."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read", reason=error) from error
    if not head:
        raise CheckpointError(f"{path} is empty")
    if head.startswith(b"version https://git-lfs"):
        hint = f"git lfs pull --include {path.name}"
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights", hint=hint)
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"  # before looking for text: any bytes may stand in the length of its header
    if head[:1] == b"\x80":
        return "pickle"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")):
        raise CheckpointError(f"{path} is a web page, not a weights file", hint="download the file itself")
    if head[8:9] == b"{":
        raise CheckpointError(f"{path} is a safetensors file that was cut off in its header")
    raise CheckpointError(f"{path} is not a weights file", expected="safetensors, or a file written by torch.save")


def _pickled_names(path: Path, kind: str) -> set[str]:
    """Every global that the pickles in a file name, found without running them."""
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                members = [name for name in archive.namelist() if name.endswith(".pkl")]
                if not members:
                    raise CheckpointError(f"{path} is a zip archive without weights in it")
                return set().union(*(_globals_of(archive.read(name)) for name in members))
        return _names_of_older_layout(path)
    except CheckpointError:
        raise
    except Exception as error:  # pickletools raises whatever the bytes lead it to
        raise _damaged(path, error) from error


def _names_of_older_layout(path: Path) -> set[str]:
    """Globals of torch's older layout: five pickles, then raw storage.

    Fewer pickles are a damaged file, or somebody else's pickle: what it names then decides how it is refused.
    """
    names: set[str] = set()
    with path.open("rb") as file:
        for _ in range(OLDER_LAYOUT_PICKLES):
            try:
                names |= _globals_of(file)
            except (ValueError, EOFError):
                if all(_is_plain(name) for name in names):
                    raise
                break
    return names


def _globals_of(source: Any) -> set[str]:  # bytes or a binary file
    """``module.name`` of every global; texts on the stack are tracked for the opcode that takes them from there."""
    names: set[str] = set()
    texts: list[str] = []
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(source):
        if opcode.name in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            names.add(".".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)
        elif opcode.name == "MEMOIZE" and texts:
            memo[len(memo)] = texts[-1]
        elif opcode.name in ("BINPUT", "LONG_BINPUT") and texts:
            memo[int(str(argument))] = texts[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET") and argument in memo:
            texts.append(memo[argument])
    return names


def _is_plain(name: str) -> bool:
    """Tensor machinery; what slips through here is still held back by torch's own restricted reader."""
    if name in _PLAIN_GLOBALS:
        return True
    module, _, attribute = name.rpartition(".")
    if module not in ("torch", "torch.storage"):
        return False
    return attribute.endswith("Storage") or isinstance(getattr(torch, attribute, None), torch.dtype)


def _unnested(
    content: Mapping[Any, Any], file: Path, entry: str | None
) -> tuple[str, Mapping[Any, Any], dict[str, Any]]:
    """The dictionary of tensors inside ``content``, its name, and what stood beside it."""
    if entry is not None:
        if not isinstance(content.get(entry), Mapping):
            dictionaries = [str(key) for key, value in content.items() if isinstance(value, Mapping)]
            raise CheckpointError(f"{file} has no entry {entry!r}", could_be=", ".join(dictionaries) or "none")
        return entry, content[entry], _beside(content, entry)
    if any(isinstance(value, Tensor) for value in content.values()):
        return "", content, {}
    inside = [name for name in NESTED_NAMES if isinstance(content.get(name), Mapping)]
    inside = [name for name in inside if any(isinstance(value, Tensor) for value in content[name].values())]
    if len(inside) == 1:
        return inside[0], content[inside[0]], _beside(content, inside[0])
    if not inside:
        raise CheckpointError(f"{file} holds no tensors", got=", ".join(map(str, list(content)[:8])))
    could_be = ", ".join(inside)
    raise CheckpointError(f"{file} holds {len(inside)} sets of tensors", could_be=could_be, hint="--entry NAME")


def _beside(content: Mapping[Any, Any], entry: str) -> dict[str, Any]:
    return {str(key): value for key, value in content.items() if key != entry}


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or cut off ({path.stat().st_size:,} bytes)",
        reason=_first_line(error),
        hint="compare its size with the published one and fetch it again",
    )


def _first_line(error: Exception) -> str:
    """What an error says, in one line; torch's advice to load without restrictions is left out."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if "weights_only" not in str(error):
        return text
    named = re.search(r"(?:GLOBAL|Unsupported (?:class|operand|global)[^\w]*)\s*([\w.]+)", str(error))
    return f"it names {named.group(1)}, which is code" if named else "it holds code"


def grouped(names: Sequence[str], most: int = 8) -> str:
    """Key names for a message: those that differ in the last part only are shown as ``a.b.* (2)``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition(".")[0] or name, []).append(name)
    shown = [members[0] if len(members) == 1 else f"{stem}.* ({len(members)})" for stem, members in groups.items()]
    more = f", and {len(shown) - most} more groups" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
