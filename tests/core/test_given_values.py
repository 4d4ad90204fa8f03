"""Values from Python in the forms in which other libraries hold them: tables, columns, arrays and their gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from repcore.data.given import ListReader, given_reader
from repcore.data.given_values import readable
from repcore.errors import DataError, ItemError
from repcore.interfaces import DatasetReader

WORDS = ["CCO", "CCN", "CC"]
ROWS = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


class Stream:
    """A stream of rows as Hugging Face's, which has names of columns and no numbered rows."""

    column_names = ("text", "y")

    def with_format(self, name: str) -> Stream:
        return self

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter([{"text": one, "y": row} for row, one in enumerate(WORDS)])


def texts(value: Any) -> Any:
    return value if isinstance(value, str) else None


def opened_words(data: Any) -> list[Any]:
    """Cells of the only column with text, as the domain's reader of tables would find them."""
    seen: list[Any] = []

    def open_table(path: Path, wanted: Mapping[str, Any]) -> DatasetReader:
        seen.extend(pq.read_table(path)["text"].to_pylist())
        return "the reader"  # type: ignore[return-value]

    reader = given_reader(data, open_table, texts)
    return seen if isinstance(reader, str) else [reader[row].inputs for row in range(len(reader))]


def arrow(kind: Any = None) -> pa.Table:
    column = pa.array(WORDS) if kind is None else kind
    return pa.table({"text": column})


TABLES = {
    "a lazy query of polars": lambda: pl.DataFrame({"text": WORDS}).lazy(),
    "polars, categories": lambda: pl.DataFrame({"text": pl.Series(WORDS, dtype=pl.Categorical)}),
    "polars, an enumeration": lambda: pl.DataFrame({"text": pl.Series(WORDS, dtype=pl.Enum(WORDS))}),
    "pandas, categories": lambda: pd.DataFrame({"text": pd.Categorical(WORDS)}),
    "pandas, its own texts": lambda: pd.DataFrame({"text": pd.array(WORDS, dtype="string")}),
    "pandas, an index of two levels": lambda: pd.DataFrame(
        {"text": WORDS}, index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    ),
    "batches of Arrow": lambda: pa.RecordBatchReader.from_batches(arrow().schema, arrow().to_batches()),
    "Arrow in pieces": lambda: pa.table({"text": pa.chunked_array([WORDS[:2], WORDS[2:]])}),
    "Arrow, a dictionary in pieces": lambda: arrow(
        pa.chunked_array([pa.array(WORDS[:2]).dictionary_encode(), pa.array(WORDS[2:]).dictionary_encode()])
    ),
    "a structured array": lambda: np.array([(one, 1.0) for one in WORDS], dtype=[("text", "U9"), ("y", "f4")]),
    "a stream of rows": Stream,
    "a column of pandas": lambda: pd.Series(WORDS, dtype="string"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_any_library_is_read(name: str) -> None:
    assert opened_words(TABLES[name]()) == WORDS


def test_categories_keep_their_gaps() -> None:
    column = pl.Series([*WORDS, None], dtype=pl.Categorical)
    assert opened_words(pl.DataFrame({"text": column})) == [*WORDS, None]


@pytest.mark.parametrize("missing", [pd.NA, pd.NaT, None, np.ma.masked])
def test_the_missing_value_of_a_library_is_a_missing_cell(missing: Any) -> None:
    assert readable(missing) is None
    reader = given_reader([missing, "CCO"], lambda *_: pytest.fail("a table"), texts)
    assert reader[1].inputs == "CCO"


def test_a_column_with_gaps_is_told_from_one_of_objects() -> None:
    assert opened_words(pd.DataFrame({"text": pd.array([pd.NA, *WORDS], dtype="string")})) == [None, *WORDS]
    sets = {"a": [pd.NA, *ROWS], "y": [1, 2, 3, 4]}
    reader = given_reader(sets, lambda *_: pytest.fail("a table"), None)
    np.testing.assert_array_equal(reader[1].inputs, ROWS[0])


FORMS = {
    "half": (ROWS.astype(np.float16), 1e-2),
    "long": (ROWS.astype(np.longdouble), 0),
    "columns first": (np.asfortranarray(ROWS), 0),
    "big end first": (ROWS.astype(">f4"), 0),
    "every other": (np.repeat(ROWS, 2, 1)[:, ::2], 0),
    "a list of lists": (ROWS.tolist(), 0),
    "objects": (np.array([*ROWS, None], dtype=object)[:3], 0),
    "a parameter": (torch.nn.Parameter(torch.from_numpy(ROWS.copy())), 0),
    "bfloat16": (torch.from_numpy(ROWS.copy()).bfloat16(), 2e-2),
    "a list of tensors": ([torch.tensor(one, requires_grad=True) for one in ROWS], 0),
}


@pytest.mark.parametrize("name", FORMS)
def test_numbers_in_any_form_are_the_same_rows(name: str) -> None:
    given, near = FORMS[name]
    reader = given_reader(given, lambda *_: pytest.fail("a table"), None)
    found = np.stack([np.asarray(reader[row].inputs, np.float32) for row in range(len(reader))])
    np.testing.assert_allclose(found, ROWS, atol=near)


def test_arrays_that_may_not_be_written_stay_as_they_are() -> None:
    fixed = ROWS.copy()
    fixed.setflags(write=False)
    assert len(given_reader(fixed, lambda *_: pytest.fail("a table"), None)) == 3


def test_tensors_of_different_lengths_are_rows() -> None:
    nested = torch.nested.nested_tensor([torch.zeros(3), torch.ones(5)])
    reader = given_reader(nested, lambda *_: pytest.fail("a table"), None)
    assert [np.shape(reader[row].inputs) for row in range(2)] == [(3,), (5,)]


@pytest.mark.parametrize(
    "values",
    [ROWS.astype(complex), torch.from_numpy(ROWS) + 0j, ROWS.astype("m8[s]"), ROWS.astype("M8[s]")],
    ids=["complex", "complex tensor", "durations", "times"],
)
def test_parts_and_units_are_not_dropped(values: Any) -> None:
    with pytest.raises(ItemError, match="holds no plain numbers"):
        ListReader(values)[0]


def test_hidden_entries_are_missing_whatever_lies_below_them() -> None:
    hidden = np.ma.masked_array(ROWS.copy(), np.zeros_like(ROWS, bool))
    hidden[1, 2:4] = np.ma.masked
    hidden.data[1, 2:4] = 1e9
    for given in (hidden, list(hidden), [(one, 1.0) for one in hidden], {"x": list(hidden), "y": [1, 2, 3]}):
        reader = given_reader(given, lambda *_: pytest.fail("a table"), None)
        assert np.isnan(np.asarray(reader[1].inputs, float)[2:4]).all()
        assert np.isfinite(np.asarray(reader[1].inputs, float)[[0, 1, 4, 5, 6, 7]]).all()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (lambda: pd.DataFrame([["a", "b"]], columns=["x", "x"]), "several columns 'x'"),
        (pd.DataFrame, "the table has no columns"),
    ],
)
def test_tables_that_are_none_are_refused(table: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        given_reader(table(), lambda *_: pytest.fail("a table"), None)
