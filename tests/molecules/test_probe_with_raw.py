"""``probe --with``: raw features of a molecule beside the encoder's, for the encoder and its twin alike."""

from __future__ import annotations

from pathlib import Path

import pytest

import repcore
from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore_molecules.configs.data import NciConfig
from repcore_molecules.datasets.nci import NciMolecules
from tests.molecules.conftest import WriteTable


@pytest.fixture
def table(write_table: WriteTable) -> Path:
    """60 molecules with their polar surface, which is one of the descriptors, and one row that is no molecule."""
    reader = NciMolecules(NciConfig())
    rows = [reader[row] for row in range(100)]
    kept = [one for one in rows if isinstance(one.inputs, str)][:60]
    smiles = [str(one.inputs) for one in kept] + ["C1CC"]
    return write_table("tpsa.csv", {"smiles": smiles, "tpsa": [float(one.targets["tpsa"]) for one in kept] + [1.0]})


def test_both_sides_get_the_descriptors_and_nothing_else_moves(tiny_run: Path, table: Path) -> None:
    settings = {"label": "tpsa", "seeds": 1, "protocols": ["ridge@1"]}
    joined = repcore.probe(tiny_run, str(table), joined="descriptors", **settings)[0]
    alone = repcore.probe(tiny_run, str(table), **settings)[0]
    for name in ("trained", "random-init"):
        with_them, without = (one.value(name, "ridge@1").mean for one in (joined, alone))
        assert with_them < 0.6 * without  # root mean squared error: the answer is among them
    for name in ("descriptors", "ecfp4", "symbol-counts"):
        assert joined.value(name, "ridge@1").mean == alone.value(name, "ridge@1").mean
    assert joined.rows_used == alone.rows_used == 60
    assert joined.constants["ridge@1"]["joined_to_encoders"] == "descriptors"
    assert "joined_to_encoders" not in alone.constants["ridge@1"]


def test_the_command_says_what_both_sides_have(
    tiny_run: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["probe", str(tiny_run), "--data", str(table), "--label", "tpsa", "--seeds", "1", "-o", str(tmp_path)]
    assert run([*command, "--with", "symbol-counts,descriptors"]) == 0
    assert "features of the encoder and symbol-counts, descriptors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--with", "descriptor"], ["no such features of items", "descriptors"]),
        (["--with", "descriptors", "--layers", "all"], ["does not go together with --layers"]),
        (["--with", "descriptors", "--grid"], ["does not go together with --grid"]),
    ],
)
def test_what_does_not_go_together_is_said(
    tiny_run: Path, table: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: list[str]
) -> None:
    assert run(["probe", str(tiny_run), "--data", str(table), "--label", "tpsa", *words]) == 2
    printed = capsys.readouterr().err
    assert all(one in printed for one in said), printed


def test_vectors_of_a_file_have_no_raw_features(
    tiny_run: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = tmp_path / "vectors.npz"
    assert run(["embed", str(tiny_run), str(table), "-o", str(vectors)]) == 0
    assert run(["probe", str(vectors), "--data", str(table), "--label", "tpsa", "--with", "descriptors"]) == 2
    assert "not for files of vectors" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="does not go together with layers"):
        repcore.probe(tiny_run, str(table), label="tpsa", joined="descriptors", layers="all")
