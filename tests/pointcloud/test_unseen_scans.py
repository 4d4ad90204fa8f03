"""Pre-train, fine-tune, predict: scans that training never saw, predictions in a new process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from repcore.cli.main import run
from repcore.embedding.prediction_files import read_table
from repcore_pointcloud.configs.scenes import RoomsConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.formats.ply import Element, PlyFile, Property, ply_bytes, read_elements

SMALL = ["preprocessor.voxel_size_m=0.15", "encoder.stage_widths=[12,8]", "encoder.stage_blocks=[1,1]"]
FAST = ["encoder.batch_norm_momentum=0.2", "data.batch_size=2"]
KILLED = """
import os, signal, sys
from repcore.cli.main import run
from repcore.embedding.dense_files import FolderWriter
write = FolderWriter._write_file
def dying(self, row_id, answer):
    found = write(self, row_id, answer)
    if self.rows_done == 5:  # the file is there, its line is not
        os.kill(os.getpid(), signal.SIGKILL)
    return found
FolderWriter._write_file = dying
sys.exit(run(sys.argv[1:]))
"""


def write_ply(path: Path, points: np.ndarray) -> None:
    columns = {name: points[:, axis] for axis, name in enumerate("xyz")}
    vertex = Element("vertex", len(points), [Property(name, "f4") for name in columns])
    path.write_bytes(ply_bytes(PlyFile([vertex], {"vertex": columns})))


def test_scans_that_training_never_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rooms = Rooms(RoomsConfig(scenes=10, points=800))
    (tmp_path / "known").mkdir()
    (tmp_path / "new").mkdir()
    for place in range(8):
        room = rooms[place]
        np.savez(tmp_path / "known" / f"r{place}.npz", xyz=room.inputs.points, semantic=room.targets["semantic"])
    for place in (8, 9):
        write_ply(tmp_path / "new" / f"r{place}.ply", rooms[place].inputs.points)
    read = ["--reader", "scenes"]
    words = [
        "pointcloud",
        "train",
        "fac",
        "--data",
        "known",
        *read,
        "--name",
        "r",
        "--device",
        "cpu",
        "trainer.steps=2",
    ]
    assert run([*words, *SMALL, *FAST]) == 0
    words = ["pointcloud", "finetune", "runs/r", "--data", "known", *read, "--label", "semantic", "--name", "f"]
    assert run([*words, "--no-twin", "--device", "cpu", "trainer.steps=16", "optimiser.lr=0.02"]) == 0
    assert run(["predict", "runs/f", "new", *read, "-o", "answers", "--device", "cpu"]) == 0
    right = []
    for place in (8, 9):
        vertex = read_elements(tmp_path / "answers" / f"r{place}.ply")["vertex"]
        points = np.stack([np.asarray(vertex[name]) for name in "xyz"], 1)
        np.testing.assert_array_equal(points, rooms[place].inputs.points)
        right.append(np.asarray(vertex["label"]) == rooms[place].targets["semantic"])
    assert np.concatenate(right).mean() > 0.6

    again = ["predict", "runs/f", "known", *read, "--format", "npz", "-o", "later", "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", KILLED, *again], env=dict(os.environ), check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "later" / "index.csv").exists()
    left = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "later").glob("*.npz")}
    assert len(left) == 6
    assert run(again) == 0
    index = read_table(tmp_path / "later" / "index.csv")
    assert sorted(index["file"]) == sorted(f"{one}.npz" for one in index["id"])
    assert sorted(path.name for path in (tmp_path / "later").glob("*.npz")) == sorted(index["file"])
    assert len(set(index["id"])) == 8
    kept = [name for name, written in left.items() if (tmp_path / "later" / name).stat().st_mtime_ns == written]
    assert len(kept) == 5  # of another process, and not written again
    saved = sorted((tmp_path / "runs" / "f" / "predictions" / "test").glob("*.npz"))
    assert saved
    for path in saved:
        with np.load(path) as tested, np.load(tmp_path / "later" / path.name) as answered:
            assert set(tested.files) == set(answered.files)
            assert "label:semantic" in tested.files
            np.testing.assert_allclose(answered["outputs"], tested["outputs"], rtol=0, atol=1e-6)
