"""Between domains: data go to the reader whose content they have; where nothing tells, the choice is the user's."""

from __future__ import annotations

import gzip
import io
import math
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from repcore.cli.main import root
from repcore.data.misfits import what_is_there
from repcore.data.readers import open_data, recognise
from repcore.errors import DataError, RegistryError
from repcore.registry import default

SMILES = ("CCO", "c1ccccc1", "CC(=O)O", "CCN", "OC1CCCCC1", "CC#N", "COc1ccccc1", "CCS")
BLOCK = "\n  made here\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n" + "".join(
    f"    {x:.4f}    0.0000    0.0000 {atom}   0  0  0  0  0  0  0  0  0  0  0  0\n" for x, atom in enumerate("CCO")
) + "  1  2  1  0\n  2  3  1  0\nM  END\n"  # fmt: skip


def scores(path: Path) -> dict[str, float]:
    """Readers that surely fit."""
    return {one.entry.full_name: one.score for one in recognise(default(), path).fits if one.score > 0.1}


def opened(path: Path, **options: Any) -> tuple[str, Any]:
    """Name of the reader that is chosen, and the data."""
    part, reader = open_data(default(), str(path), options=options)
    return part.name, reader


def inspected(path: Path, *words: str) -> str:
    """What inspect says."""
    return CliRunner().invoke(root, ["inspect", str(path), *words]).output


def picture(path: Path, seed: int = 0) -> None:
    """A small grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16)).astype(np.uint8)).save(path)


def sound(path: Path, pitch: float) -> None:
    """A tenth of a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(pitch * n))) for n in range(800)))


# ---------------------------------------------------------------------------------- names of files of another kind


def test_a_table_that_names_pictures_or_tables_is_none_of_recordings(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "pictures" / f"{number}.png", number)
        sound(tmp_path / "sounds" / f"s{number}.wav", 0.1 + number / 10)
    lines = "".join(f"{{}},{'ab'[number % 2]}\n".format(f"{number}.png") for number in range(4))
    (tmp_path / "pictures" / "l.csv").write_text("file,label\n" + lines)
    stems = "".join(f"s{number},{'ab'[number % 2]}\n" for number in range(4))
    (tmp_path / "sounds" / "l.csv").write_text("file,label\n" + stems)
    (tmp_path / "tables").mkdir()
    for number in range(4):
        (tmp_path / "tables" / f"rec{number}.csv").write_text("t,v\n0,1\n1,2\n")
    (tmp_path / "tables" / "labels.csv").write_text("file,label\n" + lines.replace(".png", ".csv").replace("\n", "\n"))

    assert "audio/manifest" not in scores(tmp_path / "pictures") | scores(tmp_path / "tables")
    name, reader = opened(tmp_path / "pictures")
    assert name == "medical3d/image-folder"
    assert [reader[row].targets["label"] for row in range(4)] == [0, 1, 0, 1]
    assert scores(tmp_path / "sounds")["audio/manifest"] == 0.7  # names without suffix still name recordings


def test_a_table_beside_pictures_is_no_graph(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "images" / f"{number}.png", number)
    rows = "".join(f"{number},{(number + 1) % 6}\n" for number in range(6))
    (tmp_path / "list.csv").write_text("ImageID,PatientID\n" + rows)
    assert "graphs/edge-list" not in scores(tmp_path)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "list.csv").write_text("a,b\n" + rows)
    assert scores(tmp_path / "alone")["graphs/edge-list"] == 0.5


# ------------------------------------------------------------------------------------------------- molecules


@pytest.mark.parametrize("names", [("solute", "solvent"), ("Drug1", "Drug2"), ("smiles_a", "smiles_b")])
def test_two_columns_of_molecules_are_no_graph_and_the_user_says_which(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = [f"{one},{SMILES[-1 - place]},{place}" for place, one in enumerate(SMILES)]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join([f"{names[0]},{names[1]},y", *rows]))
    found = scores(path)
    assert found["molecules/smiles-table"] > found.get("graphs/edge-list", 0.0)
    with pytest.raises(DataError, match=f"columns '{names[0]}' and '{names[1]}' both hold molecules"):
        opened(path)
    assert opened(path, column=names[1])[1][0].inputs == SMILES[-1]


def test_molecules_as_blocks_as_bare_inchi_and_as_two_notations_in_one_column(tmp_path: Path) -> None:
    import csv

    inchi = ("1S/C2H6O/c1-2-3/h3H,2H2,1H3", "1S/C2H7N/c1-2-3/h2-3H2,1H3")
    wanted = {
        "blocks.csv": ("mol", [BLOCK] * 4, ["CCO"] * 4),
        "bare.csv": ("InChI", [*inchi] * 2, ["CCO", "CCN"] * 2),
        "mixed.csv": ("structure", [f"InChI={inchi[0]}", "c1ccccc1"] * 2, ["CCO", "c1ccccc1"] * 2),
    }
    for name, (column, cells, smiles) in wanted.items():
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([[column, "y"], *([cell, row / 7] for row, cell in enumerate(cells))])
        reader_name, reader = opened(tmp_path / name)
        assert reader_name == "molecules/smiles-table"
        assert [reader[row].inputs for row in range(4)] == smiles, name


# ----------------------------------------------------------------------------------------------- point clouds


def test_matrices_and_series_are_no_clouds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    adjacency = np.triu(rng.random((30, 30)) < 0.2, 1).astype(float)
    adjacency += adjacency.T
    small = adjacency[:6, :6]
    np.save(tmp_path / "adjacency.npy", adjacency)
    np.save(tmp_path / "small.npy", small)
    np.save(tmp_path / "wide.npy", rng.normal(size=(12, 50)))
    np.savez(tmp_path / "series.npz", X=rng.normal(size=(12, 3, 50)), y=np.arange(12) % 2)
    np.savez(tmp_path / "volumes.npz", train_images=np.zeros((4, 8, 8, 8), np.uint8), train_labels=np.zeros((4, 1)))
    np.savetxt(tmp_path / "adjacency.txt", adjacency, fmt="%g")
    np.savetxt(tmp_path / "small.txt", small, fmt="%g")
    np.savetxt(tmp_path / "measured.txt", rng.normal(size=(40, 128)))
    named = ",".join(map(str, range(30)))
    lines = "".join(f"{row},{','.join(f'{cell:g}' for cell in line)}\n" for row, line in enumerate(adjacency))
    (tmp_path / "pandas.csv").write_text(f",{named}\n{lines}")
    for path in sorted(tmp_path.iterdir()):
        assert not [one for one in scores(path) if one.startswith("pointcloud/")], path.name
    assert opened(tmp_path / "series.npz")[0] == "timeseries/arrays"

    cloud = rng.normal(size=(40, 6))
    np.save(tmp_path / "cloud.npy", cloud)
    np.savez(tmp_path / "cloud.npz", points=cloud[:, :3])
    np.savetxt(tmp_path / "cloud.txt", cloud)
    np.save(tmp_path / "on_its_side.npy", cloud[:, :3].T)
    assert "pointcloud/shapes-folder" in scores(tmp_path / "on_its_side.npy")
    assert list(scores(tmp_path / "adjacency.npy")) == ["graphs/network"]
    for name in ("cloud.npy", "cloud.npz", "cloud.txt"):
        assert max(scores(tmp_path / name), key=scores(tmp_path / name).__getitem__).startswith("pointcloud/"), name


def test_of_one_scene_no_split_is_said_to_be_declared(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.xyz", np.random.default_rng(0).uniform(0, 9, (600, 3)))
    said = inspected(tmp_path, "--reader", "pointcloud/scenes")
    assert "declared splits" not in said
    assert "no split is declared: every row is one to train on" in said


# --------------------------------------------------------------------------------------- where nothing tells


def test_where_every_reader_hardly_fits_all_have_their_say_and_a_setting_tells(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("compound,amount,kind\n" + "".join(f"thing {n},{n / 7:.3f},x{n}\n" for n in range(9)))
    with pytest.raises(DataError, match="no reader recognises") as raised:
        opened(path)
    text = str(raised.value)
    assert "molecules/smiles-table: no column looks like SMILES" in text
    assert "graphs/edge-list: t.csv has no source and target columns" in text
    assert opened(path, source="compound", target="kind")[0] == "graphs/edge-list"


def test_an_unknown_domain_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO\n")
    with pytest.raises(RegistryError, match="no domain 'molecule'") as raised:
        open_data(default(), str(tmp_path / "a.smi"), domain="molecule")
    assert raised.value.facts["did_you_mean"] == "molecules"


def test_a_word_is_a_list_of_one_where_words_are_listed(tmp_path: Path) -> None:
    lines = [f"{day},{'ab'[series]},{'xy'[series]},{day + series / 7:.3f}" for series in (0, 1) for day in range(8)]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["time,id,cls,v", *lines]))
    for given in ("labels=cls", "labels=[cls]"):
        said = inspected(path, "--reader", "timeseries/table", "--read", given)
        assert "label 'cls': class (x, y)" in said, said


# ------------------------------------------------------------------------------------------------- inspect's words


def test_blank_rows_are_no_copies_and_short_words_name_parts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{one if place % 4 else ''},{place},{'Te' if place % 3 else 'Tr'}" for place, one in enumerate(SMILES * 2)]
    path.write_text("\n".join(["smiles,y,set", *[row.replace(",,", ",") for row in rows[:8]]]))
    said = inspected(path)
    assert "2 empty" in said
    assert "repeat the input" not in said
    assert "carry other labels" not in said
    assert "declared splits: train 3, test 5" in said
    assert "label 'set'" not in said


def test_nobody_asked_is_not_said(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("id,Label\n" + "".join(f"{n},name {n}\n" for n in range(6)))
    (tmp_path / "edges.csv").write_text("source,target\n" + "".join(f"{n},{(n + 1) % 6}\n" for n in range(6)))
    said = inspected(tmp_path)
    assert "as asked" not in said
    assert "label 'node_Label'" not in said
    assert io.StringIO(said).readline().startswith("read by graphs/edge-list")


# ------------------------------------------------------------------------------------------------ the runner-up


def test_a_reader_that_reads_nothing_names_another_that_does(tmp_path: Path) -> None:
    """Clouds of one point each are no shapes; the pictures beside them are pictures."""
    for number in range(4):
        (tmp_path / f"cloud{number}.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n")
        picture(tmp_path / f"view{number}.png", number)
    with pytest.raises(DataError) as caught:
        open_data(default(), str(tmp_path), reader="audio/folder")
    assert "medical3d/image-folder reads 4 rows: --reader medical3d/image-folder" in str(caught.value)
    words = ("--reader", "pointcloud/scenes")
    output = inspected(tmp_path, *words)
    assert "medical3d/image-folder reads 4 rows: --reader medical3d/image-folder" in output
    line = ["pointcloud", "train", "fac", "--data", str(tmp_path), *words, "--dry-run"]
    trained = CliRunner().invoke(root, line)
    facts = trained.exception.facts if isinstance(trained.exception, DataError) else {}
    said = trained.output + str(facts.get("other_readers", ""))
    assert "medical3d/image-folder reads 4 rows: --reader medical3d/image-folder" in said


def test_where_no_other_reader_reads_a_row_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError) as caught:
        open_data(default(), str(tmp_path), reader="audio/folder")
    assert "other readers" not in str(caught.value)


def test_what_is_in_a_file_that_nobody_reads_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"smiles,y\nCCO,1\n"))
    assert what_is_there(tmp_path / "a.csv") == "a gz file by its first bytes: call it a.csv.gz"
    (tmp_path / "b.csv").write_bytes(b"smiles,y\nCCO,1\n" + bytes(40))
    assert what_is_there(tmp_path / "b.csv").startswith("text with 40 zero bytes, the first at byte 15")
    (tmp_path / "c.csv").write_bytes(bytes(range(256)))
    assert what_is_there(tmp_path / "c.csv") == "a binary file"
