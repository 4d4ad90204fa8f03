"""Weights files: every layout that is read, and everything that is refused without running it."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from repcore.checkpoints.reading import file_sha256, grouped, read_checkpoint
from repcore.errors import CheckpointError

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


def same(state: Any) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[name], STATE[name]) for name in STATE)


def saved(path: Path, content: Any, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


def test_safetensors_and_torch_files_of_both_ages(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert same(read_checkpoint(tmp_path / "a.safetensors").state)
    assert same(read_checkpoint(saved(tmp_path / "b.bin", STATE)).state)
    assert same(read_checkpoint(saved(tmp_path / "c.pt", STATE, _use_new_zipfile_serialization=False)).state)
    half = {"x": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(3)}
    assert read_checkpoint(saved(tmp_path / "d.pt", half)).state["x"].dtype == torch.bfloat16
    parameters = {name: torch.nn.Parameter(value) for name, value in STATE.items()}
    assert not read_checkpoint(saved(tmp_path / "e.pt", parameters)).state["layer.bias"].requires_grad


def test_nested_dictionaries_and_wrapper_prefixes(tmp_path: Path) -> None:
    wrapped = {f"module.{name}": value for name, value in STATE.items()}
    read = read_checkpoint(saved(tmp_path / "a.pth", {"epoch": 3, "state_dict": wrapped, "optimizer": {"lr": 0.1}}))
    assert same(read.state)
    assert (read.entry, read.removed_prefix, read.other["epoch"]) == ("state_dict", "module.", 3)
    two = saved(tmp_path / "b.pth", {"model": STATE, "network": STATE})
    with pytest.raises(CheckpointError, match=r"2 sets of tensors[\s\S]*model, network"):
        read_checkpoint(two)
    assert read_checkpoint(two, entry="network").entry == "network"
    with pytest.raises(CheckpointError, match=r"no entry 'teacher'[\s\S]*model, network"):
        read_checkpoint(two, entry="teacher")
    mixed = {**wrapped, "head.weight": torch.ones(1)}
    assert read_checkpoint(saved(tmp_path / "c.pth", mixed)).removed_prefix == ""


def test_folders_and_shards(tmp_path: Path) -> None:
    single = tmp_path / "single"
    single.mkdir()
    saved(single / "pytorch_model.bin", STATE)
    saved(single / "training_args.bin", {"a": 1})
    assert same(read_checkpoint(single).state)
    save_file({name: value + 1 for name, value in STATE.items()}, single / "model.safetensors")
    assert float(read_checkpoint(single).state["layer.bias"][0]) == 2.0  # safetensors first

    shards = tmp_path / "shards"
    shards.mkdir()
    save_file({"layer.weight": STATE["layer.weight"]}, shards / "model-1.safetensors")
    save_file({"layer.bias": STATE["layer.bias"]}, shards / "model-2.safetensors")
    weight_map = {"layer.weight": "model-1.safetensors", "layer.bias": "model-2.safetensors"}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    read = read_checkpoint(shards)
    assert same(read.state)
    assert len(read.files) == 2
    (shards / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 2 shards[\s\S]*model-2"):
        read_checkpoint(shards)


def test_folders_without_one_weights_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no weights file"):
        read_checkpoint(tmp_path)
    saved(tmp_path / "a.pt", STATE)
    assert same(read_checkpoint(tmp_path).state)
    saved(tmp_path / "b.pt", STATE)
    with pytest.raises(CheckpointError, match=r"2 weights files[\s\S]*a.pt, b.pt"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"no checkpoint at"):
        read_checkpoint(tmp_path / "nothing")


class Code:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.target,))


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_is_refused_unread_and_never_runs(tmp_path: Path, is_zip: bool) -> None:
    trap = tmp_path / "trap"
    path = saved(tmp_path / "bad.pt", {"w": torch.ones(1), "x": Code(str(trap))}, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"holds more than tensors and was not read[\s\S]*posix.mkdir"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"was not read"):
        read_checkpoint(path, allow_namespace=True)
    assert not trap.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_code_in_a_plain_pickle_of_any_protocol_is_refused(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"x": Code(str(trap))}, protocol=protocol))
    # protocols 0 and 1 have no mark at their beginning: such a file is not taken for weights at all
    with pytest.raises(CheckpointError, match="was not read" if protocol >= 2 else "is not a weights file"):
        read_checkpoint(path)
    assert not trap.exists()


def test_code_hidden_behind_a_memo_is_still_held_back(tmp_path: Path) -> None:
    """Names fetched from the memo by an unusual pickle must not slip through to anything that runs."""
    trap = tmp_path / "trap"
    program = (
        pickle.PROTO + b"\x04" + pickle.SHORT_BINUNICODE + b"\x05posix" + pickle.MEMOIZE
        + pickle.SHORT_BINUNICODE + b"\x05mkdir" + pickle.MEMOIZE + pickle.POP + pickle.POP
        + pickle.SHORT_BINUNICODE + b"\x01a" + pickle.POP
        + pickle.BINGET + b"\x00" + pickle.BINGET + b"\x01" + pickle.STACK_GLOBAL
        + pickle.SHORT_BINUNICODE + bytes([len(str(trap))]) + str(trap).encode() + pickle.TUPLE1
        + pickle.REDUCE + pickle.STOP
    )  # fmt: skip
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
    with pytest.raises(CheckpointError, match=r"was not read"):
        read_checkpoint(path)
    assert not trap.exists()


def test_stored_arguments_only_on_request(tmp_path: Path) -> None:
    path = saved(tmp_path / "mae.pth", {"model": STATE, "args": argparse.Namespace(lr=0.1)})
    with pytest.raises(CheckpointError, match=r"argparse.Namespace[\s\S]*allow-namespace"):
        read_checkpoint(path)
    read = read_checkpoint(path, allow_namespace=True)
    assert same(read.state)
    assert read.other["args"].lr == 0.1


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_files_are_named_as_such(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    state = {"layer.weight": torch.randn(100, 100)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"damaged or cut off[\s\S]*fetch it again"):
        read_checkpoint(path)


def test_a_truncated_old_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "old.pt", {"w": torch.randn(100, 100)}, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for share in (0.001, 0.5):
        path.write_bytes(content[: max(20, int(len(content) * share))])
        with pytest.raises(CheckpointError, match=r"damaged or cut off"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", r"Git LFS pointer[\s\S]*git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"\x00\x01\x02binary junk that is nothing", "not a weights file"),
        (b"just some text", "not a weights file"),
    ],
)
def test_other_files_are_refused_by_what_they_look_like(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(path)


def test_files_without_tensors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no tensors[\s\S]*epoch"):
        read_checkpoint(saved(tmp_path / "a.pt", {"epoch": 1}))
    with pytest.raises(CheckpointError, match=r"holds a list"):
        read_checkpoint(saved(tmp_path / "b.pt", [1, 2]))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(CheckpointError, match=r"zip archive without weights"):
        read_checkpoint(tmp_path / "c.zip")


def test_a_traversing_shard_name_stays_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    save_file(STATE, tmp_path / "secret.safetensors")
    index = {"weight_map": {"layer.weight": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"1 of 1 shards"):
        read_checkpoint(folder)


def test_small_functions(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert grouped(["a.b.weight", "a.b.bias", "c"]) == "a.b.* (2), c"
    assert grouped([f"x{i}.w" for i in range(10)], most=2) == "x0.w, x1.w, and 8 more groups"
