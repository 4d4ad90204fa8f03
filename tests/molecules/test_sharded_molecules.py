"""Shards of SMILES as one table of molecules: trained on, embedded, and the same as one file with the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.cli.main import run
from repcore.embedding.writers import read_embeddings
from repcore_molecules.configs.data import MoleculeTableConfig
from repcore_molecules.datasets import tables
from repcore_molecules.datasets.table_files import sniff_table
from repcore_molecules.datasets.tables import MoleculeTable
from tests.molecules.conftest import train

SMILES = [f"{'C' * (1 + number % 9)}{'O' if number % 2 else 'N'}" for number in range(50)] + ["not a molecule"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        rows = range(17 * number, 17 * number + 17)
        columns = {"smiles": [SMILES[row] for row in rows], "weight": [0.1 * row * row for row in rows]}
        pq.write_table(pa.table(columns), folder / f"part-{number:05}-of-00003.parquet", row_group_size=6)
    return folder


def test_a_folder_of_shards_is_one_table(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sniff_table(shards) == pytest.approx(0.8)
    reader = MoleculeTable(MoleculeTableConfig(path=str(shards)))
    assert len(reader) == 51
    assert [reader[row].inputs for row in (0, 16, 17, 50)] == [SMILES[row] for row in (0, 16, 17, 50)]
    assert reader.by_id("34").inputs == SMILES[34]
    assert reader[34].targets["weight"] == pytest.approx(115.6)
    monkeypatch.setattr(tables, "MOST_SEARCHED", 50)
    large = MoleculeTable(MoleculeTableConfig(path=str(shards)))
    assert not large.targets
    assert "not looked for in more than 50 rows" in "".join(large.account.sentences())
    named = MoleculeTable(MoleculeTableConfig(path=str(shards), labels=("weight",)))
    assert [one.name for one in named.targets] == ["weight"]


def test_embeddings_of_shards_are_those_of_one_file(tiny_run: Path, shards: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.concat_tables(pq.read_table(one) for one in sorted(shards.iterdir())), whole)
    found = []
    for data in (shards, whole):
        output = tmp_path / f"of-{data.stem}.parquet"
        assert run(["embed", str(tiny_run), str(data), "-o", str(output)]) == 0
        found.append(read_embeddings(output)[0])
    assert found[0].ids == found[1].ids
    assert found[0].status == found[1].status
    assert found[0].status[-1] != "ok"
    assert found[0].status.count("ok") == 50
    np.testing.assert_array_equal(found[0].vectors, found[1].vectors)


def test_training_reads_shards(shards: Path, tmp_path: Path) -> None:
    folder = train(tmp_path / "runs", "sharded", "--data", str(shards), "trainer.steps=2")
    assert (folder / "model" / "weights.safetensors").is_file()
