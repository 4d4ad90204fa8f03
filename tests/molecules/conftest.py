"""A run of a very small SELFormer on RDKit's own molecules, made once for all tests of the user side."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

TINY = (
    "encoder.hidden_width=16", "encoder.layers=1", "encoder.attention_heads=2", "encoder.feed_forward_width=16",
    "data.limit=400", "data.batch_size=16", "trainer.validate_every=100",
)  # fmt: skip

WriteTable = Callable[..., Path]


def train(out: Path, name: str, *words: str) -> Path:
    """Run ``repcore molecules train`` in this process; the run folder."""
    from repcore.cli.main import run

    code = run(["molecules", "train", "selformer", "--out", str(out), "--name", name, *TINY, *words])
    assert code == 0
    return out / name


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPCORE_CACHE", os.environ.get("REPCORE_CACHE") or str(tmp_path_factory.getbasetemp() / "cache"))
        return train(tmp_path_factory.mktemp("runs"), "tiny", "trainer.steps=12")


@pytest.fixture
def write_table(tmp_path: Path) -> WriteTable:
    """Write a CSV of columns of equal length."""

    def write(name: str, columns: dict[str, Sequence[object]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return path

    return write
