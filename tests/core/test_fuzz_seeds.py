"""Inputs on which fuzzing (``benchmarks/fuzz.py``) once failed, and a short fuzzing of what is quick to read."""

from __future__ import annotations

import contextlib
import json
import signal
import struct
import sys
import tarfile
import tracemalloc
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from repcore import registry
from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.reading import read_checkpoint
from repcore.data.allocation import CappedFile
from repcore.data.labels import numbered_classes
from repcore.data.readers import open_data
from repcore.data.shards.tar_rows import tar_index, tar_store
from repcore.errors import CheckpointError, ConfigError, DataError, ItemError
from repcore.files import is_file
from tests.conftest import ROOT
from tests.toys.toy_run import make_run

QUICK = ("safetensors", "torch", "pickle", "run-checkpoint", "shard-index", "yaml", "json", "npy", "wav")


@pytest.fixture(scope="module")
def fuzzing() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import fuzz
    finally:
        sys.path.pop(0)
    return fuzz


@pytest.mark.parametrize("name", QUICK)
def test_mutated_files_are_read_or_refused(name: str, fuzzing: ModuleType, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGALRM, fuzzing._ring)
    try:
        make, use = fuzzing.FORMATS[name]  # what is mutated must be read as long as it is not
        assert fuzzing.attempt(use, make(tmp_path)) == ("refused" if name == "pickle" else "ok")
        outcomes = set(fuzzing.fuzz(name, 120, 7, tmp_path / "kept", fuzzing.Programs()))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert outcomes <= {"ok", "refused"}


def test_a_number_of_a_tar_header_that_no_machine_holds_is_refused(tmp_path: Path) -> None:
    """Found by the format ``tar``: tarfile itself raises an OverflowError for the length of a fact."""
    member = tarfile.TarInfo("a.wav")
    member.pax_headers = {"mtime": "1.5"}
    block = bytearray(member.tobuf(tarfile.PAX_FORMAT))
    block[512:540] = b"29999999999999999999 mtime=1"
    (tmp_path / "a.tar").write_bytes(bytes(block) + b"\0" * 1024)
    with pytest.raises(DataError, match=r"a\.tar .*is no whole tar archive: a header cannot be read"):
        tar_index(tar_store(tmp_path / "a.tar"))


def test_a_name_that_no_file_can_have_is_no_file(tmp_path: Path) -> None:
    assert not is_file(tmp_path / ("x" * 300))
    assert not is_file(tmp_path / "a\0b")


def test_an_index_that_names_an_endless_shard(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "model-00001-of-00001.safetensors")
    names = {"a": "model-00001-of-00001.safetensors", "b": "m" * 300}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(CheckpointError, match="1 of 2 shards"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("kind", ["labels", "shape"])
def test_numbers_of_an_hdf5_file_take_no_memory(kind: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if kind == "labels":  # a class for every number up to this one
            file["data"], file["label"] = np.ones((3, 4, 3), np.float32), np.array([0, 1, 2**31 - 1])
        else:  # nothing of it is stored
            file.create_dataset("data", shape=(3, 2**31, 3), dtype="f8", chunks=(1, 1024, 3))
            file["label"] = np.arange(3)
    with pytest.raises(DataError, match="cannot be the number of a class" if kind == "labels" else "announces"):
        open_data(registry.default(), str(tmp_path / "a.h5"), domain="pointcloud")


@pytest.mark.parametrize(
    ("name", "shape", "kind", "words"),
    [
        (
            "data",
            (3, 2**22, 3),
            "f8",
            "'data' of a.h5 announces 3 x 4,194,304 x 3 values, 301,989,888 bytes, of which 0",
        ),
        ("data", (2**40, 0, 3), "f4", "announces 1,099,511,627,776 x 0 x 3 values, 0 bytes"),
        ("label", (2**24,), "i8", "'label' of a.h5 announces 16,777,216 values, 134,217,728 bytes, of which 0"),
        ("label", (3,), "S9", "'label' of a.h5 holds values of type |S9"),
        ("data", (3, 4, 3), "c8", "'data' of a.h5 holds values of type complex64"),
    ],
)
def test_what_an_hdf5_file_announces_but_does_not_hold_takes_no_memory(
    name: str, shape: tuple[int, ...], kind: str, words: str, tmp_path: Path
) -> None:
    """Well below the limit of an item: chunks that were never written are read as zeros."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if name == "label":
            file["data"] = np.ones((3, 4, 3), np.float32)
        chunks = tuple(min(side, 1024) for side in shape) if 0 not in shape else None
        file.create_dataset(name, shape=shape, dtype=kind, chunks=chunks)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            open_data(registry.default(), str(tmp_path / "a.h5"), domain="pointcloud")
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert words in str(caught.value)


def test_packed_hdf5_arrays_of_equal_values_are_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        values = np.zeros((600, 1024, 3), np.float32)
        values[:, 0] = 1.0
        file.create_dataset("data", data=values, compression="gzip", compression_opts=9, chunks=(600, 1024, 3))
        file.create_dataset("label", data=np.arange(600) % 2, compression="gzip")
    reader = open_data(registry.default(), str(tmp_path / "a.h5"), domain="pointcloud")[1]
    assert len(reader) == 600
    np.testing.assert_array_equal(reader[599].inputs.points, values[599])


def test_tied_names_that_are_no_names_are_refused(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "r")
    path = tmp_path / "r" / "model" / "config.json"
    config = json.loads(path.read_text())
    for tied in ([1], {"a": 3}, "x"):
        path.write_text(json.dumps({**config, "tied": tied}))
        with pytest.raises(CheckpointError, match=r"config\.json: tied"):
            read_model(path.parent).tensors()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/zero")
def test_a_config_file_without_end_is_refused() -> None:
    from repcore.config.yaml import load_file

    with pytest.raises(ConfigError, match=r"^config file '/dev/zero' is a character device"):
        load_file(Path("/dev/zero"))


def test_classes_without_names_are_numbered() -> None:
    assert numbered_classes(2) == ("0", "1", "2")


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual"])
def test_an_hdf5_file_that_points_at_other_files_is_refused(kind: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    values = np.ones((3, 4, 3), np.float32)
    (tmp_path / "elsewhere").mkdir()
    with h5py.File(tmp_path / "elsewhere" / "secret.h5", "w") as other:
        other["data"] = values
    (tmp_path / "elsewhere" / "secret.bin").write_bytes(values.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if kind == "external link":
            file["data"] = h5py.ExternalLink(str(tmp_path / "elsewhere" / "secret.h5"), "data")
        elif kind == "soft link":
            file["kept"], file["data"] = values, h5py.SoftLink("/kept")
        elif kind == "external storage":
            stored = [(str(tmp_path / "elsewhere" / "secret.bin"), 0, values.nbytes)]
            file.create_dataset("data", values.shape, values.dtype, external=stored)
        else:
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource(tmp_path / "elsewhere" / "secret.h5", "data", values.shape)
            file.create_virtual_dataset("data", layout)
    with pytest.raises(DataError, match=r"not followed|lies in another file"):
        open_data(registry.default(), str(tmp_path / "a.h5"), domain="pointcloud")


@pytest.mark.parametrize("width", [-3, 2**40])
def test_a_model_whose_settings_cannot_be_built_is_refused(width: int, toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "r")
    path = tmp_path / "r" / "model" / "config.json"
    config = json.loads(path.read_text())
    config["encoder"]["width"] = width
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="was changed since"):
        read_model(path.parent).build_encoder()
    del config["content"]
    path.write_text(json.dumps(config))  # nobody knows that it was changed
    with pytest.raises(CheckpointError, match=r"cannot be built|far larger network"):
        read_model(path.parent).build_encoder()


def test_a_picture_whose_chunk_claims_gigabytes_takes_none(tmp_path: Path) -> None:
    """png-0-52 of the fuzzing: Pillow reads as many bytes as a chunk says, 4 GiB of a file of 80."""
    if "medical3d" not in registry.default().domains():
        pytest.skip("the medical3d plugin is not installed")
    chunk = b"\xff\xff\xff\xffIDAT" + zlib.compress(bytes(17 * 16))
    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    ihdr = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + ihdr + chunk)
    _, reader = open_data(registry.default(), str(path), domain="medical3d")
    tracemalloc.start()
    try:
        with contextlib.suppress(ItemError):
            assert reader[0].inputs is not None
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    with CappedFile(path) as file:
        assert (len(file.read(5)), len(file.read(2**40)), file.read()) == (5, path.stat().st_size - 5, b"")
