"""Whatever a user gives: a short error that names it, or a reported row; never a traceback, never silent loss."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from repcore import registry
from repcore.cli.main import run
from repcore.data.readers import open_data
from repcore.embedding.writers import read_embeddings
from tests.molecules.conftest import TINY, WriteTable

NOISE = random.Random(0)  # the same in every test process


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Standard error of a command that must fail with exit code 2 and at most four lines of error."""
    assert run(arguments) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert "unexpected" not in text
    start = next(number for number, line in enumerate(text.splitlines()) if "Error: " in line)
    assert len(text.splitlines()) - start <= 4, text
    return text


def embed(model: Path, data: object, out: Path, *more: str) -> list[str]:
    return ["embed", str(model), str(data), "-o", str(out), *more]


def test_wrong_columns(
    tiny_run: Path, tmp_path: Path, write_table: WriteTable, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_table("a.csv", {"smiles": ["CCO", "CC"], "logS": [0.5, 1.5]})
    text = refused(embed(tiny_run, data, tmp_path / "o.npz", "--read", "column=smile"), capsys)
    assert "no column 'smile'" in text
    assert "did you mean: smiles" in text
    text = refused(["probe", str(tiny_run), "--data", str(data), "--label", "logD"], capsys)
    assert "no column 'logD'" in text
    text = refused(embed(tiny_run, data, tmp_path / "o.npz", "--read", "colum=smiles"), capsys)
    assert "colum" in text
    text = refused(embed(tiny_run, write_table("b.csv", {"x": ["hi you"], "y": [1]}), tmp_path / "o.npz"), capsys)
    assert "no column looks like SMILES" in text


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (NOISE.randbytes(64) + b"\0", "binary"), (b"smiles\n", "no rows")]
)
def test_files_that_hold_nothing_usable(
    content: bytes, words: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert words in refused(embed(tiny_run, path, tmp_path / "o.npz"), capsys)
    assert words in refused(["molecules", "train", "selformer", "--data", str(path), "--out", str(tmp_path)], capsys)


def test_missing_data_and_models(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "neither a path nor a data set" in refused(embed(tiny_run, "nothing.csv", tmp_path / "o.npz"), capsys)
    assert "does not exist" in refused(embed(tmp_path / "none", "nci", tmp_path / "o.npz"), capsys)
    assert "no writer for '.xlsx'" in refused(embed(tiny_run, "nci", tmp_path / "o.xlsx"), capsys)


def test_bad_rows_are_reported_rows(tiny_run: Path, tmp_path: Path) -> None:
    body = "CCO,1\r\nC1CC,2\n,3\rnan,4\n" + "C" * 10_001 + ",5\n" + "C" * 400 + ",6\nCC CO,7\nCCN,8,9\n*C,10\nCCO,11"
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(f"smiles,y\n{body}".encode()))
    assert run(embed(tiny_run, path, tmp_path / "o.parquet", "--read", "column=smiles")) == 0
    rows, _ = read_embeddings(tmp_path / "o.parquet")
    assert rows.status == ["ok", "invalid_smiles", "empty", "empty", "invalid_smiles", "ok", "invalid_smiles",
                           "malformed_row", "selfies_failed", "ok"]  # fmt: skip
    assert all(bool(reason) == (status != "ok") for status, reason in zip(rows.status, rows.reason, strict=True))
    assert np.isfinite(rows.vectors[[0, 5, 9]]).all()
    # The same molecule twice; a product may round rows of a batch differently by where they stand in it.
    np.testing.assert_allclose(rows.vectors[0], rows.vectors[9], rtol=0, atol=1e-6)
    assert run([*embed(tiny_run, path, tmp_path / "o2.npz", "--read", "column=smiles"), "--strict"]) == 1


def test_long_molecules_are_cut_and_say_so(tiny_run: Path, tmp_path: Path, write_table: WriteTable) -> None:
    data = write_table("long.csv", {"smiles": ["C" * 9999, "C" * 510, "C" * 511], "y": [0.5, 1.5, 2.5]})
    assert run(embed(tiny_run, data, tmp_path / "o.npz")) == 0
    rows, _ = read_embeddings(tmp_path / "o.npz")
    assert rows.status == ["truncated", "ok", "truncated"]
    assert rows.reason[0] == "10001 tokens, more than max_length=512"
    assert np.isfinite(rows.vectors).all()


def test_training_reports_rejected_rows_and_needs_two(
    tmp_path: Path, write_table: WriteTable, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write_table("bad.csv", {"smiles": ["C1CC", "xx", ""], "y": [1, 2, 3]})
    words = ["molecules", "train", "selformer", "--out", str(tmp_path), *TINY, "--data"]
    text = refused([*words, str(bad), "--reader", "smiles-table", "dataset.column=smiles"], capsys)
    assert "none of 3 rows holds a usable molecule" in text
    one = write_table("one.csv", {"smiles": ["CCO", "OCC"], "y": [1, 2]})
    assert "too few" in refused([*words, str(one)], capsys)


def test_settings_that_do_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["molecules", "train", "selformer", "--out", str(tmp_path)]
    assert "tiny" in refused([*words, "--preset", "tinny"], capsys)
    assert "encoder.layer" in refused([*words, "encoder.layer=3"], capsys)
    assert "encoder.layers" in refused([*words, "encoder.layers=many"], capsys)
    assert "key=value" in refused([*words, "layers"], capsys)
    assert "preprocessor.mode" in refused([*words, "preprocessor.mode=words"], capsys)
    assert "needs the vocabulary" in refused([*words, "preprocessor.mode=fast"], capsys)
    assert "did you mean" in refused(["molecules", "train", "selfomer"], capsys)


ROBERTA = {
    "model_type": "roberta", "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
    "intermediate_size": 4, "max_position_embeddings": 8, "hidden_dropout_prob": 0.0, "pad_token_id": 1,
    "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-12,
}  # fmt: skip


class Marker:
    """A pickle of this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("layout", ["zip", "plain"])
def test_a_pickle_with_code_is_refused_unread(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, touched = tmp_path / "pytorch_model.bin", tmp_path / "touched"
    if layout == "zip":
        torch.save({"roberta.embeddings.word_embeddings.weight": torch.ones(2), "x": Marker(touched)}, path)
        assert zipfile.is_zipfile(path)
    else:
        path.write_bytes(pickle.dumps({"x": Marker(touched)}))
    (tmp_path / "config.json").write_text(json.dumps(ROBERTA))
    for command in (["import", str(path), "-o", str(tmp_path / "m")], ["molecules", "doctor", str(path)]):
        text = refused(command, capsys)
        assert "pytorch_model.bin" in text
        assert "was not read" in text
    assert not touched.exists()


def test_truncated_weights(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(tiny_run / "model", tmp_path / "model")
    weights = model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "damaged or cut off" in refused(embed(model, "nci", tmp_path / "o.npz"), capsys)
    torch.save({"a": torch.ones(1000)}, tmp_path / "full.bin")
    (tmp_path / "cut.bin").write_bytes((tmp_path / "full.bin").read_bytes()[:2000])
    assert "damaged or cut off" in refused(["import", str(tmp_path / "cut.bin"), "-o", str(tmp_path / "m")], capsys)


def test_an_altered_vocabulary_is_noticed(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(tiny_run / "model", tmp_path / "model")
    path = model / "tokeniser.json"
    path.write_text(path.read_text().replace("[C]", "[B]", 1))
    assert "tokeniser.json is not the file" in refused(embed(model, "nci", tmp_path / "o.npz"), capsys)


def test_a_cell_of_a_million_atoms_is_refused_before_anything_reads_it(tmp_path: Path) -> None:
    """``inspect`` asked RDKit for its heavy atoms, which takes hours; 0.1 s each for what is asked here."""
    (tmp_path / "a.csv").write_text(f"id,smiles\n1,CCO\n2,{'C' * 1_000_000}\n3,CCN\n")
    reader = open_data(registry.default(), str(tmp_path / "a.csv"), domain="molecules")[1]
    assert reader.describe(reader[0]) == {"heavy atoms": 3, "fragments": 1}
    assert reader.describe(reader[1]) == {}
    assert len(reader[1].inputs) == 1_000_000  # the row stays one, and the preprocessor says why it cannot be used
