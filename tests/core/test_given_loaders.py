"""Torch data sets and loaders, masked, sparse and other awkward values: every row once, labels as labels, or words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_matrix
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import repcore
from repcore.data.given import given_reader
from repcore.errors import ConfigError, DataError, ItemError
from repcore.interfaces import DatasetReader

ROWS = 12
X = np.arange(ROWS * 5, dtype=np.float32).reshape(ROWS, 5)
TENSOR = torch.from_numpy(X)
Y = torch.arange(ROWS) % 2
SMILES = ["CC", "CO", "CN"] * 4


def series(value: Any) -> Any:
    """An ``inputs_from`` of one-dimensional arrays of numbers, as a plugin has it."""
    array = value.numpy() if isinstance(value, torch.Tensor) else value
    array = array.to_numpy() if hasattr(array, "to_numpy") else array
    is_one = isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in "fiub"
    return np.asarray(array, np.float64) if is_one else None


def text(value: Any) -> Any:
    return value if isinstance(value, str) else None


def opened(data: Any, convert: Callable[[Any], Any] = series) -> DatasetReader:
    def no_table(path: Any, wanted: Any) -> Any:
        raise AssertionError

    return given_reader(data, no_table, convert)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(TENSOR[row], int(Y[row])) for row in range(ROWS)])


def stacked(rows: list[Any]) -> tuple[torch.Tensor, list[int]]:
    return torch.stack([one for one, _ in rows]), [int(label) for _, label in rows]


def named(rows: list[Any]) -> dict[str, Any]:
    return {"series": stacked(rows)[0], "kind": stacked(rows)[1], "again": stacked(rows)[1]}


PAIRS = TensorDataset(TENSOR, Y)
LABELLED: dict[str, tuple[Any, list[str]]] = {
    "inputs alone": (DataLoader(TensorDataset(TENSOR), batch_size=4), []),
    "data set of inputs alone": (TensorDataset(TENSOR), []),
    "labels (B)": (DataLoader(PAIRS, batch_size=5), ["label"]),
    "labels (B, 1)": (DataLoader(TensorDataset(TENSOR, Y[:, None]), batch_size=4), ["label"]),
    "labels (B, 2)": (DataLoader(TensorDataset(TENSOR, torch.stack([Y, 1 - Y], 1)), batch_size=4),
                      ["label_0", "label_1"]),
    "pairs, no batches": (DataLoader(PAIRS, batch_size=None), ["label"]),
    "a stream": (DataLoader(Stream(), batch_size=5), ["label"]),
    "collated to a list of rows": (DataLoader(PAIRS, batch_size=2, collate_fn=list), ["label"]),
    "collated to new rows": (DataLoader(PAIRS, batch_size=2, collate_fn=lambda rows: [(x, y) for x, y in rows]),
                             ["label"]),
    "collated to columns": (DataLoader(PAIRS, batch_size=2, collate_fn=stacked), ["label"]),
    "collated to tuples": (DataLoader(PAIRS, batch_size=5, collate_fn=lambda rows: tuple(zip(*rows, strict=True))),
                           ["label"]),
    "collated to inputs": (DataLoader(PAIRS, batch_size=5, collate_fn=lambda rows: stacked(rows)[0]), []),
    "collated to named parts": (DataLoader(PAIRS, batch_size=5, collate_fn=named), ["kind", "again"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED)
def test_every_row_of_a_loader_comes_once_with_its_labels(name: str) -> None:
    data, labels = LABELLED[name]
    reader = opened(data)
    np.testing.assert_array_equal([reader[row].inputs for row in range(len(reader))], X)
    assert [one.name for one in reader.targets] == labels
    if labels:
        assert [reader[row].targets[labels[0]] for row in range(ROWS)] == Y.tolist()


def test_texts_with_labels_in_batches_of_two() -> None:
    reader = opened(DataLoader(list(zip(SMILES, ["a", "b", "a"] * 4, strict=True)), batch_size=2), text)
    assert [reader[row].inputs for row in range(len(reader))] == SMILES
    assert [one.names for one in reader.targets] == [("a", "b")]


def test_a_loader_is_read_in_its_own_order() -> None:
    reader = opened(DataLoader(PAIRS, batch_size=5, sampler=[7, 2, 7], drop_last=False))
    np.testing.assert_array_equal([reader[row].inputs for row in range(3)], X[[7, 2, 7]])
    shuffled = opened(DataLoader(PAIRS, batch_size=5, shuffle=True, drop_last=True))
    found = np.stack([shuffled[row].inputs for row in range(len(shuffled))])
    assert len(np.unique(found[:, 0])) == 10


def test_what_a_batch_does_not_say_is_asked() -> None:
    for three in (DataLoader(TensorDataset(TENSOR, Y, Y), batch_size=4), TensorDataset(TENSOR, Y, Y)):
        with pytest.raises(DataError, match=r'a row of 3 parts: which of them is the label\?.*"inputs"'):
            opened(three)
    with pytest.raises(DataError, match="collate function made 3 entries of 5 rows"):
        opened(DataLoader(PAIRS, batch_size=5, collate_fn=lambda rows: torch.ones(3)))


def test_labels_of_elements_stay_one_array() -> None:
    reader = opened([(row, np.arange(5)) for row in X])
    np.testing.assert_array_equal(reader[1].targets["label"], np.arange(5))
    assert reader.targets == ()


def test_hidden_values_are_missing() -> None:
    hidden = np.ma.masked_greater(X, 50)
    expected = np.where(X > 50, np.nan, X)
    for given in (hidden, list(hidden), {"series": hidden}, hidden.astype(int)):
        reader = opened(given)
        np.testing.assert_array_equal([reader[row].inputs for row in range(ROWS)], expected)
    assert opened(list(hidden)).fingerprint == opened(list(hidden.copy())).fingerprint
    assert opened(list(hidden)).fingerprint != opened(list(X)).fingerprint
    texts = np.ma.array(SMILES, mask=[True] + [False] * 11)
    found = opened(texts, lambda value: str(value) if isinstance(value, str) else "" if value is None else None)
    assert [found[row].inputs for row in range(3)] == ["", "CO", "CN"]


def test_formats_that_numpy_lacks() -> None:
    np.testing.assert_array_equal(opened(TENSOR.bfloat16())[1].inputs, X[1])
    for sparse in (csr_matrix(X), TENSOR.to_sparse()):
        with pytest.raises(DataError, match="is sparse"):
            opened(sparse)
        with pytest.raises(ItemError, match="is sparse; give its to"):
            opened([sparse])[0]


def test_columns_of_lists_and_one_column_of_numbers() -> None:
    lists = pl.DataFrame({"series": X.tolist()})
    for many in (lists, lists.to_arrow(), lists["series"], X.tolist(), pd.Series(list(X)).to_numpy()):
        reader = opened(many)
        np.testing.assert_array_equal([reader[row].inputs for row in range(len(reader))], X)
    for one in (pd.Series(X[0]), pl.Series(X[0])):
        reader = opened(one)
        assert len(reader) == 1
        np.testing.assert_array_equal(reader[0].inputs, X[0])


def test_columns_of_the_same_name_are_named() -> None:
    with pytest.raises(DataError, match="the table has several columns 'a'"):
        opened(pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))


def test_an_empty_text_is_no_path(toys: None) -> None:
    with pytest.raises(DataError, match="'' is an empty path"):
        repcore.train("pairs/set-net", "", steps=1)
    with pytest.raises(ConfigError, match="path='' is an empty path"):
        repcore.load("")
