"""Labels of points in files that are read as shapes are never dropped without a word (K1, K12)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repcore.data.accounting import account_of
from repcore_pointcloud.configs.shapes import ShapeFolderConfig
from repcore_pointcloud.datasets.shape_folders import ShapeFolderReader


def test_labels_of_points_that_a_shape_does_not_use_are_said(tmp_path: Path) -> None:
    for number in range(2):
        table = np.random.default_rng(number).uniform(-1, 1, (50, 3))
        lines = [f"{x:.4f},{y:.4f},{z:.4f},{place % 3 + 2}" for place, (x, y, z) in enumerate(table)]
        (tmp_path / f"a{number}.csv").write_text("x,y,z,scalar_Classification\n" + "\n".join(lines) + "\n")
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    lost = [one for one in account_of(reader).guesses if one.is_loss]
    assert [(one.about, one.chosen) for one in lost] == [("labels of points (scalar_Classification)", "not used")]
    assert lost[0].change == "--reader pointcloud/scenes"
    (tmp_path / "a0.csv").write_text("x,y,z,curvature\n" + "\n".join(f"{n},{n / 2},{n % 7},0.5" for n in range(50)))
    (tmp_path / "a1.csv").unlink()
    plain = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert not any(one.is_loss for one in account_of(plain).guesses)
