"""What a user sees of unusable scenes: reported rows and clear words on the command line, never a traceback."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

SMALL = [
    "dataset.scenes=5", "dataset.points=1200", "preprocessor.voxel_size_m=0.15", "encoder.stage_widths=[12,8]",
    "encoder.stage_blocks=[1,1]", "trainer.steps=2",
]  # fmt: skip


def cloud(count: int = 6000) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 3, (count, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of every kind of trouble, first to last by name."""
    data = tmp_path_factory.mktemp("scans")
    far, gaps = cloud(), cloud()
    far[0] = 1e9
    gaps[3], gaps[50] = np.nan, np.inf
    scenes = {
        "a-good": cloud(), "b-empty": cloud()[:0], "c-voxel": 0.01 * cloud(50), "d-nan": np.full((9, 3), np.nan),
        "e-gaps": gaps, "f-far": far, "g-millimetres": 1000 * cloud(),
    }  # fmt: skip
    for name, points in scenes.items():
        np.savez(data / f"{name}.npz", xyz=points.astype(np.float32))
    (data / "h-broken.npz").write_bytes(b"nothing")
    return data


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from repcore.cli.main import run as command

    out = tmp_path_factory.mktemp("runs")
    assert command(["pointcloud", "train", "fac", "--out", str(out), "--name", "tiny", *SMALL]) == 0
    return out / "tiny"


def test_embedding_reports_every_row(model: Path, folder: Path, tmp_path: Path) -> None:
    from repcore.cli.main import run as command

    out = tmp_path / "vectors.npz"
    assert command(["embed", str(model), str(folder), "-o", str(out), "--reader", "scenes"]) == 0
    with np.load(out) as file:
        status = dict(zip(file["ids"].tolist(), file["status"].tolist(), strict=True))
        usable = np.isfinite(file["embeddings"]).all(1)
    assert status == {
        "a-good": "ok", "b-empty": "empty", "c-voxel": "unit", "d-nan": "empty", "e-gaps": "not_finite",
        "f-far": "huge_extent", "g-millimetres": "unit", "h-broken": "corrupt",
    }  # fmt: skip
    assert usable.tolist() == [True, False, True, False, True, False, True, False]


def test_hostile_files_beside_good_ones_are_rows(model: Path, tmp_path: Path) -> None:
    from repcore.cli.main import run as command

    data = tmp_path / "scans"
    data.mkdir()
    np.save(data / "good.npy", cloud())
    np.save(data / os.fsdecode(b"name\xff.npy"), cloud())
    np.savetxt(data / "far.txt", 1e308 * np.where(cloud(200) > 1.5, 1, -1))
    header = {"shape": (10**12, 3), "fortran_order": False, "descr": "<f8"}
    with (data / "long.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile(data / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xyz.npy", (data / "long.npy").read_bytes())
    head = b"ply\nformat binary_little_endian 1.0\nelement vertex 999999999999\n"
    (data / "long.ply").write_bytes(head + b"property float x\nproperty float y\nproperty float z\nend_header\n")
    os.mkfifo(data / "pipe.npy")
    out = tmp_path / "vectors.npz"
    assert command(["embed", str(model), str(data), "-o", str(out), "--reader", "scenes"]) == 0
    with np.load(out) as file:
        status = dict(zip(file["ids"].tolist(), file["status"].tolist(), strict=True))
        usable = dict(zip(file["ids"].tolist(), np.isfinite(file["embeddings"]).all(1).tolist(), strict=True))
    assert usable.pop("good") is True
    assert sum(usable.values()) == 1  # the one with the odd name
    assert {status[name] for name in ("long", "bomb") if name in status} <= {"corrupt"}
    assert "pipe" not in status
    assert len(status) == 6


def test_inspect_guesses_units_and_names_bad_rows(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from repcore.cli.main import run as command

    assert command(["inspect", str(folder), "--reader", "scenes", "--model", str(model), "--strict"]) == 1
    shown = capsys.readouterr().out
    for words in ("millimetres", "preprocessor.unit_m=0.001", "huge_extent", "not_finite"):
        assert words in shown, words


def test_missing_colour_and_unusable_folders_are_clear_errors(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from repcore.cli.main import run as command

    small = [one for one in SMALL if not one.startswith("dataset")]
    words = ["pointcloud", "train", "fac", "--reader", "scenes", "--out", str(tmp_path)]
    assert command([*words, "--data", str(folder / "a-good.npz"), "preprocessor.channels=[colour]", *small]) != 0
    shown = capsys.readouterr().err
    assert "no colours" in shown
    assert "Traceback" not in shown
    assert command([*words, "--data", str(folder / "b-empty.npz"), *small]) != 0
    shown = capsys.readouterr().err
    assert "holds no points" in shown
    assert "Traceback" not in shown
