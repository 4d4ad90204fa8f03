"""Molecules in users' tables: layouts, labels, splits, and everything that can be wrong with a file."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.data.misfits import HARDLY
from repcore.errors import ConfigError, DataError, ItemError
from repcore_molecules.configs.data import MoleculeTableConfig, NciConfig
from repcore_molecules.datasets.nci import NciMolecules
from repcore_molecules.datasets.table_files import sniff_table, table_files
from repcore_molecules.datasets.tables import ALL_BINARY, MoleculeTable
from repcore_molecules.smiles.notations import to_smiles
from tests.molecules.conftest import WriteTable

SMILES = ["CCO", "c1ccccc1", "CC(=O)O", "CCN", "C1CCCCC1", "CCCl", "CCBr", "OCC", "CC#N", "CCC"]


def opened(path: Path, **settings: Any) -> MoleculeTable:
    return MoleculeTable(MoleculeTableConfig(path=str(path), **settings))


def repeated(values: list[Any], count: int) -> list[Any]:
    return [values[row % len(values)] for row in range(count)]


MOLECULENET = {
    "bbbp": {"num": None, "name": None, "p_np": [1, 0], "smiles": "smiles"},
    "bace": {"mol": "smiles", "CID": None, "Class": [1, 0], "Model": ["Train", "Test"], "pIC50": [5.1, 6.2]},
    "esol": {"Compound ID": None, "measured log solubility in mols per litre": [-0.7, -3.3, 0.1], "smiles": "smiles"},
    "freesolv": {"iupac": None, "smiles": "smiles", "expt": [-11.0, 2.5, 1.2], "calc": [-9.6, 2.2, 1.1]},
    "lipophilicity": {"CMPD_CHEMBLID": None, "exp": [3.54, -1.18, 2.2], "smiles": "smiles"},
    "hiv": {"smiles": "smiles", "activity": ["CI", "CM", "CA"], "HIV_active": [0, 1]},
    "clintox": {"smiles": "smiles", "FDA_APPROVED": [1, 0], "CT_TOX": [0, 1, 1]},
}
FOUND = {
    "bbbp": ["p_np"],
    "bace": ["Class", "pIC50"],
    "esol": ["measured log solubility in mols per litre"],
    "freesolv": ["expt", "calc"],
    "lipophilicity": ["exp"],
    "hiv": ["activity", "HIV_active"],
    "clintox": ["FDA_APPROVED", "CT_TOX", ALL_BINARY],
}


@pytest.mark.parametrize("name", MOLECULENET)
def test_moleculenet_layouts(name: str, write_table: WriteTable) -> None:
    columns: dict[str, list[Any]] = {}
    for number, (title, kind) in enumerate(MOLECULENET[name].items()):
        if kind == "smiles":
            columns[title] = repeated(SMILES, 30)
        elif kind is None:
            columns[title] = [f"T{number}-{row}" for row in range(30)] if title != "num" else list(range(1, 31))
        else:
            columns[title] = repeated(list(kind), 30)
    path = write_table(f"{name}.csv", columns)
    reader = opened(path)
    assert sniff_table(path) == 0.8
    assert [one.name for one in reader.targets] == FOUND[name]
    assert reader[2].inputs == SMILES[2]


def test_tox21_like_tables_are_offered_as_one_multilabel_target(write_table: WriteTable) -> None:
    header = "Injury, poisoning and procedural complications"
    path = write_table(
        "sider.csv",
        {
            "smiles": repeated(SMILES, 20),
            header: repeated([1, 0, ""], 20),
            "NR-AR": repeated(["0.0", "1.0"], 20),
            "text": repeated(["yes", "no"], 20),
            "mol_id": [f"TOX{row}" for row in range(20)],
        },
    )
    reader = opened(path)
    assert [(one.name, one.kind) for one in reader.targets] == [
        (header, "class"), ("NR-AR", "class"), ("text", "class"), (ALL_BINARY, "multilabel"),
    ]  # fmt: skip
    assert reader.targets[-1].names == (header, "NR-AR")
    assert reader[1].targets[ALL_BINARY].tolist() == [0.0, 1.0]
    third = reader[2].targets
    assert math.isnan(third[header])
    assert np.isnan(third[ALL_BINARY]).tolist() == [True, False]
    only = opened(path, labels=(ALL_BINARY,))
    assert [one.name for one in only.targets] == [ALL_BINARY]
    assert list(only[0].targets) == [ALL_BINARY]
    both = opened(path, labels=("nr-ar", ALL_BINARY))
    assert [one.name for one in both.targets] == ["NR-AR", ALL_BINARY]
    assert both[1].targets["NR-AR"] == 1.0
    with pytest.raises(DataError, match=r"all-binary.*needs two"):
        opened(write_table("one.csv", {"smiles": SMILES, "y": repeated([0, 1], 10)}), labels=(ALL_BINARY,))


def test_labels_are_guessed_from_the_whole_column(write_table: WriteTable) -> None:
    rows = 620  # more than the sample that guesses are made on
    path = write_table(
        "late.csv",
        {
            "smiles": repeated(SMILES, rows),
            "counts": [row % 2 for row in range(600)] + [7] * 20,
            "kind": repeated(["a", "b"], 600) + ["c"] * 20,
            "remark": repeated(["x", "y"], 560) + [f"text {row}" for row in range(60)],
        },
    )
    targets = {one.name: one for one in opened(path).targets}
    assert sorted(targets) == ["counts", "kind"]
    assert targets["counts"].kind == "regression"
    assert targets["kind"].names == ("a", "b", "c")
    assert opened(path)[610].targets == {"counts": 7.0, "kind": 2.0}


def test_label_kind_overrides_the_guess(write_table: WriteTable) -> None:
    path = write_table("kinds.csv", {"smiles": SMILES, "grade": repeated([3, 1, 2], 10), "y": repeated([-1, 1], 10)})
    grade = opened(path, labels=("grade",), label_kind="class")
    assert grade.targets[0].names == ("1", "2", "3")
    assert grade[0].targets["grade"] == 2.0
    assert opened(path, labels=("y",))[0].targets["y"] == 0.0  # the first class
    assert opened(path, labels=("y",), label_kind="regression")[0].targets["y"] == -1.0
    with pytest.raises(DataError, match=r"2,000 distinct values"):
        opened(write_table("many.csv", {"smiles": SMILES * 200, "x": range(2000)}), labels=("x",), label_kind="class")


def test_unreadable_labels_are_missing_and_reported(write_table: WriteTable) -> None:
    values: list[Any] = [f"{0.1 * row * row:.2f}" for row in range(60)]
    values[7], values[9], values[11] = "high", "inf", "NA"
    reader = opened(write_table("labels.csv", {"smiles": repeated(SMILES, 60), "y": values}))
    rows = [reader[row] for row in range(60)]
    assert [row for row, one in enumerate(rows) if math.isnan(one.targets["y"])] == [7, 9, 11]
    assert rows[7].meta == {"unreadable_labels": "y='high'"}
    assert rows[11].meta == {}  # missing is not unreadable
    assert reader.account.odd_cells == [
        "column 'y': 1 of 59 filled cells look like text ('high' in row 7) and count as missing",
        "column 'y': 1 of 59 filled cells look like infinite ('inf' in row 9) and count as missing",
    ]


def test_wrong_columns_are_named_in_four_lines(write_table: WriteTable) -> None:
    names = [f"n {row}" for row in range(10)]
    path = write_table("a.csv", {"smiles": SMILES, "logS": repeated([0.5, 1.5, 2.5], 10), "name": names})
    with pytest.raises(DataError, match=r"no column 'smile'\n.*did you mean: smiles\n.*columns:"):
        opened(path, column="smile")
    with pytest.raises(DataError, match=r"no column 'logs2'"):
        opened(path, labels=("logs2",))
    with pytest.raises(DataError, match=r"'name' does not look like a label[\s\S]*logS"):
        opened(path, labels=("name",))
    with pytest.raises(DataError, match=r"no column looks like SMILES[\s\S]*--read column=NAME"):
        opened(write_table("b.csv", {"text": [f"hello {i}" for i in range(10)], "y": range(10)}))
    assert sniff_table(write_table("b.csv", {"text": ["hello you"], "y": [1]})) <= HARDLY


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  \n\n", "nothing but blanks"),
        (b"smiles,y\n", "header but no rows"),
        (bytes(range(256)) * 10, "binary"),
        (b"PK\x03\x04" + b"\0" * 50, "binary"),
    ],
)
def test_files_that_are_no_tables_say_so(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        opened(path)
    assert len(str(caught.value).splitlines()) <= 4
    assert 0 < sniff_table(path) <= HARDLY  # so that opening it tells what is wrong


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        opened(tmp_path / "none.csv")
    packed = gzip.compress(("smiles\n" + "\n".join(SMILES * 200)).encode())
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="damaged"):
        opened(tmp_path / "cut.csv.gz")
    (tmp_path / "fake.parquet").write_text("smiles\nCC\n")
    with pytest.raises(DataError, match="damaged or not what its name says"):
        opened(tmp_path / "fake.parquet")
    assert sniff_table(tmp_path) > 0  # two tables: opening it lists them


def test_mixed_line_endings_quotes_gzip_and_byte_order_marks(tmp_path: Path) -> None:
    text = '\ufeffsmiles,y,note\r\nCCO,1.5,"a, b"\nc1ccccc1,2.5,\rCC,3.5,"x\ny"\r\n\r\nCCN,4.5,z'
    (tmp_path / "mixed.csv").write_bytes(text.encode())
    (tmp_path / "mixed.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("mixed.csv", "mixed.csv.gz"):
        reader = opened(tmp_path / name)
        assert [reader[row].inputs for row in range(len(reader))] == ["CCO", "c1ccccc1", "CC", "CCN"]
        assert [reader[row].targets["y"] for row in range(4)] == [1.5, 2.5, 3.5, 4.5]


def test_malformed_rows_stay_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("smiles,y\nCCO,1.5\nCC,2.5,9\nCCC\nCCN,7.25\n")
    reader = opened(tmp_path / "t.csv", column="smiles")
    assert len(reader) == 4
    with pytest.raises(ItemError, match="3 fields instead of 2"):
        reader[1]
    with pytest.raises(ItemError, match="1 fields instead of 2"):
        reader[2]
    assert reader[3].inputs == "CCN"
    assert reader.cells(0, 4) == ["CCO", None, None, "CCN"]
    assert reader.cells(2, 3) == [None]
    with pytest.raises(IndexError):
        reader[4]


def test_smi_tsv_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO ethanol\nc1ccccc1\tbenzene ring\nCC\n")
    smi = opened(tmp_path / "a.smi", id_column="name")
    assert [smi.id_of(row) for row in range(3)] == ["ethanol", "benzene ring", "2"]
    assert smi.by_id("benzene ring").inputs == "c1ccccc1"
    with pytest.raises(DataError, match="no row has the id 'x'"):
        smi.by_id("x")
    body = "\n".join(f"{one}\t{row % 2}" for row, one in enumerate(SMILES))
    (tmp_path / "b.tsv").write_text(f"canonical_smiles\tactive\n{body}")
    assert opened(tmp_path / "b.tsv").column == "canonical_smiles"
    table = pa.table({"smiles": ["CCO", None, "CC"] * 4, "y": [1.0, 2.5, None] * 4, "flag": [True, False, None] * 4})
    pq.write_table(table, tmp_path / "c.parquet")
    reader = opened(tmp_path / "c.parquet")
    assert [one.name for one in reader.targets] == ["y", "flag"]
    assert reader[1].inputs is None
    assert math.isnan(reader[2].targets["y"])
    assert reader[0].targets["flag"] == 1.0


def test_folders_of_splits(tmp_path: Path, write_table: WriteTable) -> None:
    write_table("set/train.csv", {"smiles": SMILES, "y": repeated([0, 1], 10)})
    write_table("set/valid.csv", {"smiles": SMILES[:3], "y": [0, 1, ""]})
    write_table("set/test.csv", {"smiles": SMILES[:4]})  # unlabelled, as in competitions
    reader = opened(tmp_path / "set")
    assert dict(reader.splits) == {"train": range(10), "validation": range(10, 13), "test": range(13, 17)}
    assert reader[10].inputs == "CCO"
    assert math.isnan(reader[14].targets["y"])
    assert reader.cells(9, 14) == ["CCC", *SMILES[:3], SMILES[0]]
    write_table("set/extra.csv", {"smiles": SMILES})
    with pytest.raises(DataError, match=r"holds 4 tables[\s\S]*extra.csv"):
        table_files(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no table"):
        opened(tmp_path / "empty")
    assert sniff_table(tmp_path / "empty") == 0.0


def test_shared_sets_are_read_as_they_are(shared: Path) -> None:
    folder = shared / "data" / "molecules"
    assert [(one.name, one.kind) for one in opened(folder / "esol").targets] == [("logS", "regression")]
    assert [(one.name, one.names) for one in opened(folder / "bbbp").targets] == [("p_np", ("0", "1"))]
    assert len(opened(folder / "bbbp")) == 2050
    assert opened(folder / "freesolv", id_column="iupac").id_of(1) == "methanesulfonyl chloride"


def test_embedded_molecules() -> None:
    reader = NciMolecules(NciConfig(descriptors=("weight", "qed")))
    assert len(reader) == 4999
    first = reader[0]
    assert (first.id, first.inputs) == ("NSC1", "CC1=CC(=O)C=CC1=O")
    assert first.targets["weight"] == pytest.approx(122.12, abs=0.01)
    assert reader.by_id("NSC1") == first
    with pytest.raises(DataError, match="no molecule is called 'x'"):
        reader.by_id("x")
    with pytest.raises(ConfigError, match=r"'mass' is unknown"):
        NciMolecules(NciConfig(descriptors=("mass",)))


def test_cells_that_are_no_molecules_are_said_to_be_that(write_table: WriteTable) -> None:
    """Where nothing can be read as any notation it is SMILES; a text of which a decoder makes nothing is not blank."""
    path = write_table("none.csv", {"smiles": ["not a molecule (", "neither is this"], "y": [1, 0]})
    reader = MoleculeTable(MoleculeTableConfig(path=str(path), column="smiles"))
    assert reader.molecules.notation == "smiles"
    for text in ("not a molecule (", "[nop]"):
        with pytest.raises(ItemError, match="invalid_selfies"):
            to_smiles(text, "selfies")
    assert to_smiles("[C][C][O]", "selfies") == "CCO"
    assert to_smiles("  ", "selfies") == "  ", "a blank cell stays one"


@pytest.mark.parametrize("cell", ["", "x"])
def test_no_hint_names_a_setting_that_fails_as_well(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("smiles,kind\n" + "".join(f"{one},{cell}\n" for one in SMILES))
    for settings in ({}, {"label_kind": "class"}) if not cell else ({},):
        with pytest.raises(DataError, match="fill in labels of") as caught:
            opened(path, labels=("kind",), **settings)
        assert "label_kind=regression" not in str(caught.value)
