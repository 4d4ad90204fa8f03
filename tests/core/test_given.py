"""Whatever people have in Python goes into ``embed`` and ``predict``, and comes back as what they work with."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

import repcore
from repcore.data.given import ListReader, given_reader
from repcore.data.given_inputs import names_a_file, shape_of
from repcore.data.given_tables import stored_table
from repcore.embedding import inference
from repcore.embedding.dense import usual_level
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.width import measured_widths
from repcore.errors import CheckpointError, ConfigError, DataError, ItemError
from repcore.interfaces import EmbeddingRows, Sample
from tests.toys.toy_run import make_run

N, POINTS = 4, 6
SETS = np.random.default_rng(0).normal(size=(N, POINTS, 2)).astype(np.float32)
KINDS = ["line", "ring", "cloud", "ring"]


class Sets(Dataset[Any]):
    """A map-style data set as people write them."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> Any:
        return self.make(row)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(SETS)


@pytest.fixture
def model(tmp_path: Path, toys: None) -> repcore.Model:
    make_run(tmp_path / "run", "preprocessor.centre=false")
    return repcore.load(tmp_path / "run")


GIVEN: dict[str, Callable[[], Any]] = {
    "list": lambda: list(SETS),
    "tuple": lambda: tuple(SETS),
    "array": lambda: SETS,
    "tensor": lambda: torch.from_numpy(SETS),
    "list of tensors": lambda: list(torch.from_numpy(SETS)),
    "array of objects": lambda: np.array([*[None] * N], dtype=object),
    "series": lambda: pd.Series(list(SETS)),
    "data frame": lambda: pd.DataFrame({"points": list(SETS), "kind": KINDS}),
    "dict of columns": lambda: {"points": SETS, "kind": KINDS},
    "dict of tensors": lambda: {"points": torch.from_numpy(SETS)},
    "map-style data set": lambda: Sets(lambda row: SETS[row]),
    "data set of pairs": lambda: Sets(lambda row: (SETS[row], row)),
    "data set of samples": lambda: Sets(lambda row: Sample(str(row), SETS[row], {"kind": 1})),
    "data set of dicts": lambda: Sets(lambda row: {"inputs": SETS[row], "kind": KINDS[row]}),
    "iterable data set": Stream,
    "loader": lambda: DataLoader(Sets(lambda row: SETS[row]), batch_size=3),
    "loader of pairs": lambda: DataLoader(Sets(lambda row: (SETS[row], row)), batch_size=3),
    "loader of dicts": lambda: DataLoader(Sets(lambda row: {"inputs": SETS[row], "kind": row}), batch_size=3),
    "generator": lambda: (one for one in SETS),
    "callable": lambda: lambda: iter(SETS),
    "reader": lambda: ListReader(list(SETS)),
}


def test_every_kind_gives_the_same_vectors(model: repcore.Model) -> None:
    expected = model.embed(list(SETS)).vectors
    assert expected.shape == (N, 16)
    assert len(np.unique(expected.round(5), axis=0)) == N
    for name, make in GIVEN.items():
        data = make()
        if name == "array of objects":
            data[:] = list(SETS)
        found = model.embed(data, batch_size=2)
        assert found.status == ["ok"] * N, (name, found.reason)
        np.testing.assert_allclose(found.vectors, expected, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("wrong", [5, None, object(), 1.5, b"bytes"], ids=["int", "None", "object", "float", "bytes"])
def test_what_is_no_data_is_named(model: repcore.Model, wrong: object) -> None:
    with pytest.raises(DataError, match=type(wrong).__name__) as told:
        model.embed(wrong)
    assert "a path, one input or a list" in str(told.value)


def test_a_text_that_is_nothing_says_so(model: repcore.Model) -> None:
    with pytest.raises(DataError, match=r"'missing\.csv' is neither a path nor a data set"):
        model.embed("missing.csv")


def test_results_convert(model: repcore.Model) -> None:
    found = model.embed([*SETS, np.full((3, 2), np.nan, np.float32)])
    assert len(found) == N + 1
    assert np.asarray(found).shape == (N + 1, 16)
    assert found.ok.tolist() == [True] * N + [False]
    np.testing.assert_array_equal(found[1], found.vectors[1])
    assert found[1:3].ids == ["1", "2"]
    assert len(found[found.ok]) == N
    assert [one.shape for one in found] == [(16,)] * (N + 1)
    frame = found.to_pandas()
    assert frame.index.tolist() == ["0", "1", "2", "3", "4"]
    assert frame.columns[:3].tolist() == ["status", "reason", "e0"]
    np.testing.assert_array_equal(frame.filter(regex=r"^e\d").to_numpy(), found.vectors)
    table = found.to_arrow()
    assert table.column_names[:4] == ["id", "status", "reason", "e0"]
    assert "1 without a result" in repr(found)
    page = found._repr_html_()
    assert page.startswith("<table>")
    assert "1 without a result" in page
    drawn = [re.findall(r'aria-label="([^"]*)"', one._repr_html_()) for one in (found, found[1:3], found[[2]])]
    assert len(drawn[0]) == N + 1
    assert drawn[1:] == [drawn[0][1:3], drawn[0][2:3]], "pictures go with their rows"
    again = pickle.loads(pickle.dumps(found))
    assert again.drawn is None
    assert len(again) == N + 1


def test_nothing_gives_no_rows_of_the_right_width(model: repcore.Model) -> None:
    for nothing in ([], (), np.zeros((0, 5, 2)), {"points": []}, iter([])):
        assert model.embed(nothing).vectors.shape == (0, 16)
    assert np.asarray(model.embed([], options=InferenceOptions(dim=3))).shape == (0, 3)


def test_nothing_is_as_wide_as_the_pooling(model: repcore.Model) -> None:
    def pool(features: Any, name: str) -> torch.Tensor:
        return torch.cat([features.pooled, features.pooled], 1) if name == "mean" else features.pooled

    model.encoder.pool = pool  # type: ignore[assignment]  # of another width than the encoder
    assert model.embed(SETS, pool="mean").vectors.shape == (N, 32)
    assert model.embed([], pool="mean").vectors.shape == (0, 32)
    lost = [np.full_like(SETS[0], np.nan)]
    assert model.embed(lost, pool="mean").vectors.shape == (1, 32)
    assert model.embed(lost, pool="mean", options=InferenceOptions(dim=3)).vectors.shape == (1, 3)
    assert len(repcore.Featurizer(model, pool="mean")) == 32
    assert len(repcore.Featurizer(model)) == 16
    with pytest.raises(ConfigError, match="--pool 'zz' is unknown"):
        model.embed([], pool="zz")


def test_devices_and_formats_are_refused_in_words(model: repcore.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for call in (lambda: model.to("cuda"), lambda: model.embed(SETS, device="cuda:1")):
        with pytest.raises(ConfigError, match="torch sees no CUDA device\n  there is: cpu"):
            call()
    with pytest.raises(ConfigError, match="device 'gpu' is unknown"):
        repcore.load(model.folder.folder, device="gpu")
    with pytest.raises(ConfigError, match="dtype 'int8' is none"):
        model.embed(SETS, dtype="int8")
    with pytest.raises(ConfigError, match="batch_size=0"):
        model.embed(SETS, batch_size=0)
    assert model.to("auto") is model
    rough = model.embed(SETS, dtype="bfloat16").vectors
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, model.embed(SETS).vectors, atol=0.05)


def test_settings_of_another_kind_are_named(model: repcore.Model) -> None:
    for wrong in ({"layer": "x"}, {"batch_size": "a"}, {"batch_size": 2.5}, {"workers": True}):
        with pytest.raises(ConfigError, match="is no whole number"):
            model.embed(SETS, **wrong)  # type: ignore[arg-type]


def test_windows_without_a_vector_take_the_width_of_the_others() -> None:
    def window(row: int, width: int, value: float) -> EmbeddingRows:
        return EmbeddingRows([str(row)], np.full((1, width), value, np.float32), ["ok"], [""])

    def widths(*given: tuple[int, float]) -> list[tuple[str, int, bool]]:
        windows = (window(row, *one) for row, one in enumerate(given))
        found = inference._of_one_width(windows)
        return [(one.ids[0], one.vectors.shape[1], bool(np.isfinite(one.vectors).all())) for one in found]

    assert widths((9, np.nan), (9, np.nan), (3, 1.0), (9, np.nan), (3, 2.0)) == [
        ("0", 3, False), ("1", 3, False), ("2", 3, True), ("3", 3, False), ("4", 3, True),
    ]  # fmt: skip
    assert widths((9, np.nan), (9, np.nan)) == [("0", 9, False), ("1", 9, False)]


def test_progress_is_told(model: repcore.Model) -> None:
    told: list[tuple[int, int]] = []
    model.embed(SETS, progress=lambda done, total: told.append((done, total)), options=InferenceOptions(window=3))
    assert told == [(3, 4), (4, 4)]
    assert len(model.embed(SETS, progress=True)) == N


def test_tokens_of_every_row(model: repcore.Model) -> None:
    found = model.tokens([SETS[0], SETS[1][:4]])
    assert [one.outputs.shape[0] for one in found if one] == [POINTS, 4]
    assert found[0].level == "point"  # type: ignore[union-attr]
    assert model.tokens([]) == []


def test_where_no_row_can_be_used_every_row_is_none(
    model: repcore.Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: Any) -> Any:
        raise ItemError("too_short", "less than one frame")

    monkeypatch.setattr(type(model.preprocessor), "prepare", refusing)
    assert model.tokens(SETS[:2]) == [None, None]
    assert "no row can be used" in caplog.text
    assert "less than one frame" in caplog.text


def test_the_level_that_is_meant_is_one_of_the_domain() -> None:
    def of(*levels: str) -> Any:
        return [SimpleNamespace(spec=SimpleNamespace(level=one)) for one in levels]

    assert usual_level(("node", "edge"), []) == "node"
    assert usual_level(("stage0",), of("", "voxel")) == "voxel"
    assert usual_level(("voxel", "region"), of("point")) == "point"
    assert usual_level(("node", "edge"), of("edge")) == "edge"
    assert usual_level(("patches",), []) == "token"


def test_a_model_and_a_run_stay_where_they_are_when_the_process_goes_elsewhere(
    model: repcore.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded, run = repcore.load("run"), repcore.Run(Path("run"))
    expected = model.embed(SETS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for one in (loaded, run, run.model, pickle.loads(pickle.dumps(loaded)), loaded.save("copy"), copy.deepcopy(run)):
        assert one.embed(SETS) == expected
    assert run.report == tmp_path / "run" / "report.html"


def test_results_are_equal_where_their_rows_are(model: repcore.Model) -> None:
    rows = model.embed([*SETS[:2], np.full_like(SETS[0], np.nan)])
    assert rows == model.embed([*SETS[:2], np.full_like(SETS[0], np.nan)]) == pickle.loads(pickle.dumps(rows))
    assert rows != model.embed([*SETS[1::-1], np.full_like(SETS[0], np.nan)])
    assert rows != rows[:2]
    assert rows != 5


def test_calls_from_threads_and_from_a_running_loop_give_the_same(model: repcore.Model) -> None:
    expected = model.embed(SETS)

    async def inside() -> Any:
        return model.embed(SETS), await asyncio.to_thread(model.embed, SETS)

    assert all(one == expected for one in asyncio.run(inside()))
    with ThreadPoolExecutor(3) as threads:
        assert all(one == expected for one in threads.map(lambda _: model.embed(SETS), range(6)))


def test_a_row_without_tokens_is_told_with_its_reason(model: repcore.Model, caplog: pytest.LogCaptureFixture) -> None:
    found = model.tokens([SETS[0], np.full_like(SETS[0], np.nan)])
    assert [one is None for one in found] == [False, True]
    (told,) = [one.getMessage() for one in caplog.records if one.name.startswith("repcore")]
    assert "has no point features: " in told
    assert not told.endswith(": ")


def test_a_model_saves_pickles_and_copies(model: repcore.Model, tmp_path: Path) -> None:
    expected = model.embed(SETS).vectors
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.embed(SETS).vectors, expected)
    saved = model.save(tmp_path / "copy")
    assert saved.folder.folder == tmp_path / "copy"
    assert saved.identity() == model.identity()
    with pytest.raises(CheckpointError, match="is not empty"):
        model.save(tmp_path / "run")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        next(iter(twin.module.parameters())).add_(1.0)
    np.testing.assert_array_equal(model.embed(SETS).vectors, expected)
    changed = twin.embed(SETS).vectors
    assert not np.allclose(changed, expected)
    with pytest.raises(CheckpointError, match="was changed since it was loaded"):
        pickle.dumps(twin)
    np.testing.assert_array_equal(twin.save(tmp_path / "changed").embed(SETS).vectors, changed)


def test_a_pickle_of_another_model_is_refused(model: repcore.Model, tmp_path: Path) -> None:
    held = pickle.dumps(model)
    make_run(tmp_path / "other", "preprocessor.centre=false", "trainer.seed=1")
    (tmp_path / "run" / "model").rename(tmp_path / "gone")
    (tmp_path / "other" / "model").rename(tmp_path / "run" / "model")
    with pytest.raises(CheckpointError, match="is not the one that was pickled"):
        pickle.loads(held)


# ------------------------------------------------------------------------------------------------ tables

FRAME = pd.DataFrame({"smiles": ["C", "CC", None], "y": [1.0, 2.0, np.nan]}, index=[7, 3, 5])
TABLES: dict[str, Callable[[], Any]] = {
    "pandas": lambda: FRAME,
    "pandas categories": lambda: FRAME.astype({"smiles": "category"}),
    "polars": lambda: pl.DataFrame({"smiles": ["C", "CC", None], "y": [1.0, 2.0, None]}),
    "arrow": lambda: pa.table({"smiles": ["C", "CC", None], "y": [1.0, 2.0, None]}),
    "dict": lambda: {"smiles": ["C", "CC", None], "y": np.array([1.0, 2.0, np.nan])},
    "hugging face": lambda: Hugging(pa.table({"smiles": ["C", "CC", None], "y": [1.0, 2.0, None]})),
}


class Hugging:
    """The part of the interface of ``datasets.Dataset`` that is used."""

    def __init__(self, table: pa.Table) -> None:
        self.table, self.column_names = table, table.column_names

    def with_format(self, kind: str) -> Any:
        assert kind == "arrow"
        return _Arrow(self.table)

    def __getitem__(self, row: int) -> dict[str, Any]:
        found: dict[str, Any] = self.table.to_pylist()[row]
        return found


class _Arrow:
    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __getitem__(self, rows: slice) -> pa.Table:
        return self.table[rows] if rows != slice(None) else self.table


@pytest.mark.parametrize("name", TABLES)
def test_tables_reach_the_reader_of_the_domain(name: str) -> None:
    import pyarrow.parquet as pq

    opened: list[tuple[Path, Mapping[str, Any]]] = []

    def open_table(path: Path, wanted: Mapping[str, Any]) -> Any:
        opened.append((path, wanted))
        return "the reader"

    assert given_reader(TABLES[name](), open_table, None) == "the reader"
    found = pq.read_table(opened[0][0])
    is_named = "pandas" in name  # its index is no plain numbering
    assert opened[0][1] == ({"id_column": "id"} if is_named else {})
    assert found.column_names == [*(["id"] if is_named else []), "smiles", "y"]
    assert not is_named or found["id"].to_pylist() == ["7", "3", "5"]
    assert found["smiles"].to_pylist() == ["C", "CC", None]
    assert [one for one in found["y"].to_pylist() if one is not None and one == one] == [1.0, 2.0]


def test_a_named_index_is_a_column_and_the_content_names_the_file() -> None:
    first, names = stored_table(FRAME.rename_axis("id"))
    assert names == ["id", "smiles", "y"]
    assert stored_table(FRAME)[0] != first
    assert stored_table(FRAME)[0] == stored_table(FRAME.copy())[0]
    assert stored_table(FRAME.assign(y=[1.0, 2.5, np.nan]))[0] != stored_table(FRAME)[0]


def test_labels_beside_objects_are_labels() -> None:
    def no_reader(path: Path, wanted: Mapping[str, Any]) -> Any:
        raise AssertionError

    columns = {"points": [*SETS, *SETS, *SETS], "kind": KINDS * 3, "id": list("abcdefghijkl")}
    reader = given_reader(columns, no_reader, None)
    assert [(one.name, one.kind, one.names) for one in reader.targets] == [("kind", "class", ("cloud", "line", "ring"))]
    assert reader[1].id == "b"
    assert reader[1].targets == {"kind": 2}
    pairs = given_reader([(one, 1.5 * row) for row, one in enumerate(SETS)], no_reader, None)
    assert [(one.name, one.kind) for one in pairs.targets] == [("label", "regression")]
    assert pairs[2].targets == {"label": 3.0}


def test_rows_are_named_by_an_index_or_by_the_column_that_is_asked_for(
    model: repcore.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_reader(path: Path, wanted: Mapping[str, Any]) -> Any:
        raise AssertionError

    series = pd.Series(list(SETS), index=["a", "b", "c", "d"])
    assert model.embed(series).ids == ["a", "b", "c", "d"]
    assert model.embed(series.reset_index(drop=True)).ids == ["0", "1", "2", "3"]
    twice = given_reader(series.set_axis(["a", "a", "b", "c"]), no_reader, None)
    assert [twice.by_id(one).id for one in ("0", "3")] == ["0", "3"], "an index that names rows twice names none"
    table = pd.DataFrame({"points": list(SETS), "code": list("wxyz")}, index=[7, 9, 11, 13])
    assert given_reader(table, no_reader, None)[1].id == "9"
    assert model.embed(table, id_column="code").ids == ["w", "x", "y", "z"]
    with pytest.raises(DataError, match="no column 'cod'"):
        model.embed(table, id_column="cod")
    with pytest.raises(DataError, match="id_column='code' is a column of a table"):
        model.embed(SETS, id_column="code")
    asked: list[Any] = []

    def opened(*what: Any, options: Any, **further: Any) -> ListReader:
        asked.append(options)
        return ListReader(list(SETS))

    monkeypatch.setattr("repcore.embedding.model.open_for", opened)
    model.embed(pd.DataFrame({"file": list("wxyz"), "code": list("abcd")}), id_column="code")
    model.embed(pd.DataFrame({"file": list("wxyz"), "code": list("abcd")}))
    model.tokens(pd.DataFrame({"file": list("wxyz"), "code": list("abcd")}), id_column="code")
    assert asked == [{"id_column": "code"}, None, {"id_column": "code"}]
    monkeypatch.undo()
    many = pd.DataFrame({"points": [*SETS] * 8, "code": [f"c{row}" for row in range(32)]})
    fitted = repcore.fit("gaussian-anomaly", model, many, id_column="code")
    assert fitted.apply(many, id_column="code").ids == many["code"].tolist()


def test_rows_keep_the_order_of_a_table_whatever_its_index(model: repcore.Model) -> None:
    """Results stand in the order of the rows as they lie there; an index that names each row once gives the ids."""
    table = pd.DataFrame({"points": list(SETS)})
    vectors = model.embed(table).vectors
    order = [2, 0, 3, 1]
    shuffled, again = table.iloc[order], table.set_axis([5, 5, 6, 7])
    for given in (shuffled, shuffled["points"]):
        found = model.embed(given)
        assert found.ids == ["2", "0", "3", "1"]
        np.testing.assert_array_equal(found.vectors, vectors[order])
    for given in (again, again["points"]):
        found = model.embed(given)
        assert found.ids == ["0", "1", "2", "3"], "an index with repeats names no row"
        np.testing.assert_array_equal(found.vectors, vectors)
    path, _ = stored_table(pd.DataFrame({"smiles": ["C", "CC", "CCC"]}, index=[2, 0, 1]))
    assert path is not None
    assert pd.read_parquet(path).to_dict("list") == {"id": ["2", "0", "1"], "smiles": ["C", "CC", "CCC"]}


def test_a_table_with_two_columns_of_objects_asks_which() -> None:
    with pytest.raises(DataError, match="which column of the table is the input"):
        given_reader({"a": list(SETS), "b": list(SETS)}, lambda *_: pytest.fail("opened"), None)
    with pytest.raises(DataError, match="different lengths"):
        given_reader({"a": [1, 2], "b": [1]}, lambda *_: pytest.fail("opened"), None)


def test_content_decides_the_fingerprint() -> None:
    big = np.zeros((2, 3000, 2), np.float32)
    other = big.copy()
    other[0, 1500, 0] = 1.0  # where the repr of an array has dots
    assert ListReader(list(big)).fingerprint == ListReader(list(big.copy())).fingerprint
    assert ListReader(list(big)).fingerprint != ListReader(list(other)).fingerprint


def texts(value: Any) -> Any:
    """Text."""
    return value if isinstance(value, str) else None


def test_a_domain_says_what_it_takes(model: repcore.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = given_reader(["CCO", 5], lambda *_: pytest.fail("opened"), texts)
    assert reader[0].inputs == "CCO"
    with pytest.raises(DataError, match="wrong_kind: the int '5' is no input of this domain"):
        reader[1]
    with pytest.raises(DataError, match=r"the float '2\.5' is no input of this domain\n  expected: Text"):
        given_reader([2.5], lambda *_: pytest.fail("opened"), texts)
    monkeypatch.setattr(type(model.preprocessor), "inputs_from", staticmethod(texts), raising=False)
    assert model.reader("c1ccccc1C(=O)O")[0].inputs == "c1ccccc1C(=O)O"
    assert len(model.reader("pairs/blobs")) > 1
    with pytest.raises(DataError, match="neither a path nor a data set"):
        model.reader("folder/data.csv")


def test_names_of_files_are_told_from_smiles() -> None:
    assert all(map(names_a_file, ("a.csv", "b/c.parquet", "x.tsv.gz", "./data", "~/data", "folder/", "scan.nii.gz")))
    assert not any(map(names_a_file, ("CCO", "C/C=C\\C", "[Na+].[Cl-]", "O.CC", "c1ccccc1.CCN", "[13CH4]")))


def test_ragged_lists_have_no_shape_and_dicts_may_be_one_input() -> None:
    assert shape_of(3.5) == ()
    assert shape_of(torch.zeros(2, 3)) == (2, 3)
    assert shape_of([[1], [1, 2]]) is None
    pairs = (([1.0, 2.0], [[1.0], [1.0, 2.0]]), ([0.0], [[2.0]]))
    assert len(given_reader(pairs, lambda *_: pytest.fail("opened"), None)) == 2

    def clips(value: Any) -> Any:
        """A clip with its rate."""
        return value["array"] if isinstance(value, dict) and "rate" in value else None

    reader = given_reader({"array": [1.0, 2.0], "rate": 16000}, lambda *_: pytest.fail("opened"), clips)
    assert [len(reader), reader[0].inputs] == [1, [1.0, 2.0]]


def test_a_model_keeps_how_wide_its_vectors_are(model: repcore.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model.encoder.depth = 1  # type: ignore[assignment]  # layers 0 and 1
    widths = measured_widths(
        model.encoder, model.preprocessor, model.reader(SETS), np.arange(2), poolings=model.poolings,
        has_layers=True, domain=model.domain,
    )  # fmt: skip
    model = dataclasses.replace(
        model, folder=dataclasses.replace(model.folder, config={**model.folder.config, "widths": widths})
    )
    monkeypatch.setattr("repcore.embedding.width._samples", lambda model: pytest.fail("looked for a sample"))
    asked: list[dict[str, Any]] = [{"pool": one} for one in (*model.poolings, "max", "first", "zz")]
    asked += [{"level": "point"}, {"level": "zz"}, {"level": "point", "pool": "max"}, {"layer": 0}, {"layer": 99}]
    for options in asked:
        try:
            expected: Any = model.embed(SETS, **options).vectors.shape[1]
        except ConfigError as error:
            expected = error.summary
        try:
            found: Any = model.embed([], **options).vectors.shape[1]
        except ConfigError as error:
            found = error.summary
        assert (type(found), str(found)[:20]) == (type(expected), str(expected)[:20]), options
    with pytest.raises(ConfigError, match="--pool 'zz' is unknown"):
        len(repcore.Featurizer(model, pool="zz"))
