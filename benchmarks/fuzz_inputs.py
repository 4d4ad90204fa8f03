# ruff: noqa: E501  headers of formats are as long as they are
"""What ``fuzz.py`` mutates: one small sound file of each format, and what reads it."""

from __future__ import annotations

import atexit
import contextlib
import gzip
import io
import json
import os
import pickle
import shutil
import tarfile
import tempfile
import wave
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from repcore import registry
from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.reading import read_checkpoint
from repcore.cli.main import run
from repcore.config.yaml import load_file
from repcore.data.readers import open_data
from repcore.errors import RepcoreError
from repcore.reporting import LogReporter
from repcore.training.checkpointing import newest_sound
from repcore.training.run_folder import RunFolder

MARK = "executed"
Make = Callable[[Path], Path]
Use = Callable[[Path], None]


def _safetensors(folder: Path) -> Path:
    save_file({"a.weight": torch.ones(3, 4), "b": torch.arange(5)}, folder / "m.safetensors", metadata={"x": "y"})
    return folder / "m.safetensors"


def _torch(folder: Path) -> Path:
    torch.save({"state_dict": {"a.weight": torch.ones(3, 4), "b": torch.arange(5)}, "epoch": 3}, folder / "m.pt")
    return folder / "m.pt"


def _pickle(folder: Path) -> Path:
    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.system, (f"touch {folder / MARK}",))

    (folder / "m.bin").write_bytes(pickle.dumps({"a": Runs()}, protocol=2))
    return folder / "m.bin"


@lru_cache(maxsize=1)
def _made_model() -> Path:
    """A model of one training step, made once for all formats."""
    root = Path(tempfile.mkdtemp(prefix="repcore-fuzz-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    words = ["--device", "cpu", "--out", str(root), "--name", "r", "trainer.steps=1", "data.batch_size=2"]
    if run(["graphs", "train", "edge-reconstruction", *words]) != 0:
        raise RuntimeError("no model could be made")
    return root / "r" / "model"


def _model(folder: Path) -> Path:
    shutil.copytree(_made_model(), folder / "model", dirs_exist_ok=True)
    return folder / "model" / "config.json"


def _yaml(folder: Path) -> Path:
    (folder / "c.yaml").write_text(
        "trainer: {steps: 5, seed: 1}\noptimiser:\n  lr: 1e-3\n  betas: [0.9, 0.99]\na: &x [1]\nb: *x\n"
    )
    return folder / "c.yaml"


def _tar(folder: Path) -> Path:
    """Three sounds with a class each, as WebDataset packs them."""
    _wav(folder)
    (folder / "a.cls").write_text("dog")
    with tarfile.open(folder / "a.tar", "w") as archive:
        for row in range(3):
            for kind in ("wav", "cls"):
                archive.add(folder / f"a.{kind}", f"{row}.{kind}")
    (folder / "a.wav").unlink()
    (folder / "a.cls").unlink()
    return folder / "a.tar"


def _table(folder: Path) -> Path:
    (folder / "t.csv").write_text("id,smiles,y\n" + "".join(f"{i},{'C' * (i + 1)}O,{i / 7}\n" for i in range(9)))
    return folder / "t.csv"


def _points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 3)).astype("<f4")


def _ply(folder: Path) -> Path:
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 40\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    (folder / "a.ply").write_bytes(head.encode() + _points().tobytes())
    return folder / "a.ply"


def _pcd(folder: Path) -> Path:
    head = "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 40\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 40\nDATA binary\n"
    (folder / "a.pcd").write_bytes(head.encode() + _points().tobytes())
    return folder / "a.pcd"


def _off(folder: Path) -> Path:
    rows = "\n".join(" ".join(f"{v:.4f}" for v in row) for row in _points())
    (folder / "a.off").write_text(f"OFF\n40 2 0\n{rows}\n3 0 1 2\n3 3 4 5\n")
    return folder / "a.off"


def _npy(folder: Path) -> Path:
    np.save(folder / "a.npy", _points())
    return folder / "a.npy"


def _wav(folder: Path) -> Path:
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((1000 * np.sin(np.arange(8000))).astype("<i2").tobytes())
    return folder / "a.wav"


def _nifti(folder: Path) -> Path:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.arange(512, dtype=np.float32).reshape(8, 8, 8), np.eye(4)), folder / "a.nii")
    return folder / "a.nii"


def _json(folder: Path) -> Path:
    (folder / "c.json").write_text(
        json.dumps({"trainer": {"steps": 5, "seed": 1}, "optimiser": {"lr": 1e-3, "betas": [0.9, 0.99]}})
    )
    return folder / "c.json"


def _preprocessing(folder: Path) -> Path:
    _model(folder)
    return folder / "model" / "preprocessing.json"


def _weights_of_model(folder: Path) -> Path:
    _model(folder)
    return folder / "model" / "weights.safetensors"


def _index(folder: Path) -> Path:
    """A checkpoint in two shards with their index."""
    save_file({"a": torch.ones(3)}, folder / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(4)}, folder / "model-00002-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 28}, "weight_map": names})
    )
    return folder / "model.safetensors.index.json"


def _tsv(folder: Path) -> Path:
    _table(folder).rename(folder / "t.tsv")
    (folder / "t.tsv").write_text((folder / "t.tsv").read_text().replace(",", "\t"))
    return folder / "t.tsv"


def _zipped_table(folder: Path) -> Path:
    (folder / "t.csv.gz").write_bytes(gzip.compress(_table(folder).read_bytes()))
    (folder / "t.csv").unlink()
    return folder / "t.csv.gz"


def _parquet(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"smiles": ["C" * (i + 1) + "O" for i in range(9)], "y": np.arange(9) / 7}), folder / "t.parquet"
    )
    return folder / "t.parquet"


def _sdf(folder: Path) -> Path:
    atoms = "    0.0000    0.0000    0.0000 C   0  0\n    1.5000    0.0000    0.0000 O   0  0\n"
    entry = f"ethanol\n  test\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n{atoms}  1  2  1  0\nM  END\n>  <y>\n1.5\n\n$$$$\n"
    (folder / "a.sdf").write_text(entry * 3)
    return folder / "a.sdf"


def _xyz(folder: Path) -> Path:
    (folder / "a.xyz").write_text("\n".join(" ".join(f"{v:.4f}" for v in row) for row in _points()))
    return folder / "a.xyz"


def _obj(folder: Path) -> Path:
    rows = "\n".join("v " + " ".join(f"{v:.4f}" for v in row) for row in _points())
    (folder / "a.obj").write_text(f"{rows}\nf 1 2 3\nf 4/1/1 5/2/2 6/3/3\n")
    return folder / "a.obj"


def _ascii_ply(folder: Path) -> Path:
    head = "ply\nformat ascii 1.0\nelement vertex 40\nproperty float x\nproperty float y\nproperty float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    rows = "\n".join(" ".join(f"{v:.4f}" for v in row) for row in _points())
    (folder / "a.ply").write_text(f"{head}{rows}\n3 0 1 2\n")
    return folder / "a.ply"


def _npz(folder: Path) -> Path:
    made = io.BytesIO()
    np.savez_compressed(made, points=np.stack([_points()] * 3), label=np.arange(3))
    (folder / "a.npz").write_bytes(made.getvalue())
    return folder / "a.npz"


def _hdf5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file["data"] = np.stack([_points()] * 3)
        file["label"] = np.arange(3)
    return folder / "a.h5"


def _flac(folder: Path) -> Path:
    import soundfile

    soundfile.write(folder / "a.flac", 0.1 * np.sin(np.arange(8000)), 16000)
    return folder / "a.flac"


def _zipped_nifti(folder: Path) -> Path:
    (folder / "a.nii.gz").write_bytes(gzip.compress(_nifti(folder).read_bytes()))
    (folder / "a.nii").unlink()
    return folder / "a.nii.gz"


def _png(folder: Path) -> Path:
    from PIL import Image

    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(folder / "a.png")
    return folder / "a.png"


def _edges(folder: Path) -> Path:
    (folder / "e.csv").write_text(
        "graph,source,target,weight\n" + "".join(f"{i // 5},{i % 5},{(i + 1) % 5},{i / 7}\n" for i in range(15))
    )
    return folder / "e.csv"


def _graphml(folder: Path) -> Path:
    nodes = "".join(f'<node id="n{i}"/>' for i in range(4)) + "".join(
        f'<edge source="n{i}" target="n{i + 1}"/>' for i in range(3)
    )
    (folder / "g.graphml").write_text(
        f'<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">{nodes}</graph></graphml>'
    )
    return folder / "g.graphml"


def _manifest(folder: Path) -> Path:
    _wav(folder)
    (folder / "list.csv").write_text("file,label,start,end\na.wav,x,0.0,0.2\na.wav,y,0.1,0.4\nb.wav,x,0,1\n")
    return folder / "list.csv"


def _json_manifest(folder: Path) -> Path:
    _wav(folder)
    (folder / "list.json").write_text(
        json.dumps({"data": [{"wav": "a.wav", "labels": "x"}, {"wav": "b.wav", "labels": "y"}]})
    )
    return folder / "list.json"


def _image_table(folder: Path) -> Path:
    _png(folder)
    (folder / "labels.csv").write_text("image,patient,finding\na.png,1,yes\na.png,2,no\nb.png,3,yes\n")
    return folder / "labels.csv"


def _decathlon(folder: Path) -> Path:
    _nifti(folder)
    listed = {"name": "x", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "organ"}, "numTraining": 1,
              "training": [{"image": "./a.nii", "label": "./a.nii"}], "test": []}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(listed))
    return folder / "dataset.json"


def _resumed(folder: Path) -> Path:
    """A run's own checkpoint, as ``--resume`` reads it."""
    (folder / "checkpoints").mkdir()
    counted = {"epoch_loop.manual_optimization.optim_step_progress": {"total": {"ready": 3, "completed": 3}}}
    kept = {"best": 0.5, "last_validation": {"loss": 0.5}, "validated_at": 3, "listeners": {}}
    content = {"global_step": 3, "state_dict": {"a": torch.ones(3)}, "loops": {"fit_loop": counted}, "repcore": kept,
               "optimizer_states": [{"state": {}, "param_groups": []}], "pytorch-lightning_version": "2.6.0"}  # fmt: skip
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    return folder / "checkpoints" / "last.ckpt"


def _weights(path: Path) -> None:
    read_checkpoint(path)


def _settings(path: Path) -> None:
    load_file(path)


def _folder(path: Path) -> None:
    model = read_model(path.parent)
    model.build()
    model.build_preprocessor()


def _shards(path: Path) -> None:
    read_checkpoint(path.parent)


def _resume(path: Path) -> None:
    newest_sound(RunFolder(path.parent.parent), LogReporter())


def _data(domain: str) -> Use:
    def use(path: Path) -> None:
        reader = open_data(registry.default(), str(path), domain=domain)[1]
        for row in range(min(3, len(reader))):
            with contextlib.suppress(RepcoreError):
                reader[row]

    return use


def _within(use: Use) -> Use:
    return lambda path: use(path.parent)


FORMATS: dict[str, tuple[Make, Use]] = {
    "safetensors": (_safetensors, _weights),
    "torch": (_torch, _weights),
    "pickle": (_pickle, _weights),
    "shard-index": (_index, _shards),
    "run-checkpoint": (_resumed, _resume),
    "model-folder": (_model, _folder),
    "model-preprocessing": (_preprocessing, _folder),
    "model-weights": (_weights_of_model, _folder),
    "yaml": (_yaml, _settings),
    "json": (_json, _settings),
    "table": (_table, _data("molecules")),
    "tsv": (_tsv, _data("molecules")),
    "table-gz": (_zipped_table, _data("molecules")),
    "parquet": (_parquet, _data("molecules")),
    "sdf": (_sdf, _data("molecules")),
    "edge-list": (_edges, _data("graphs")),
    "graphml": (_graphml, _data("graphs")),
    "ply": (_ply, _data("pointcloud")),
    "ply-ascii": (_ascii_ply, _data("pointcloud")),
    "xyz": (_xyz, _data("pointcloud")),
    "obj": (_obj, _data("pointcloud")),
    "npz": (_npz, _data("pointcloud")),
    "hdf5": (_hdf5, _data("pointcloud")),
    "pcd": (_pcd, _data("pointcloud")),
    "off": (_off, _data("pointcloud")),
    "npy": (_npy, _data("pointcloud")),
    "wav": (_wav, _data("audio")),
    "tar": (_tar, _data("audio")),
    "sound-manifest": (_manifest, _data("audio")),
    "sound-list-json": (_json_manifest, _data("audio")),
    "image-table": (_image_table, _within(_data("medical3d"))),
    "volume-list-json": (_decathlon, _data("medical3d")),
    "flac": (_flac, _data("audio")),
    "nifti": (_nifti, _data("medical3d")),
    "nifti-gz": (_zipped_nifti, _data("medical3d")),
    "png": (_png, _data("medical3d")),
}
