"""Data given from Python as a reader: sequences, arrays, tables, torch data sets, loaders, and the domain's objects.

A table of texts and numbers goes to the domain's own reader of tables, as a parquet file in the cache (so that its
labels, ids and groups are found as in any file, and a run can be resumed). Everything else is rows of inputs: what
``Preprocessor.inputs_from`` of the domain makes of each value, or the value itself where the domain has no such method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.copies import content_hash
from repcore.data.given_inputs import (
    Convert,
    converted,
    is_one_input,
    is_there,
    kind_of,
    names_a_file,
    names_inputs,
    plain_value,
    shape_of,
    what_it_takes,
)
from repcore.data.given_labels import LabelReading
from repcore.data.given_loaders import is_loader, loader_rows
from repcore.data.given_tables import (
    ID,
    columns_of,
    index_ids,
    is_column,
    is_table,
    names_of,
    opened_table,
    repeated_names,
    stored_table,
)
from repcore.data.given_values import has_numbers, is_ragged, is_sparse, readable
from repcore.data.label_column import LabelColumn
from repcore.errors import DataError, ItemError
from repcore.interfaces import DatasetReader, Sample
from repcore.specs import TargetSpec

OpenTable = Callable[[Path, Mapping[str, Any]], DatasetReader]

EXPECTED = (
    "a path, one input or a list of them, an array or tensor (a row an input), a table (pandas, polars, pyarrow, "
    "datasets, a dict of columns), a torch data set or loader, a callable that yields inputs, or a reader"
)
LABEL = "label"  # of (input, label) pairs that name none
_READER = ("fingerprint", "targets", "splits", "by_id", "__len__", "__getitem__")


class ListReader:
    """Inputs in memory, or samples, or (input, label) pairs, as a reader.

    Args:
        inputs: one a row: a list, or anything with a length and numbered rows, which are then read when needed.
        ids: one a row; row numbers when None.
        convert: the domain's ``inputs_from``.
        labels: name -> one a row, judged as the columns of a table are.
        reading: how they are read, or those that stand in the rows.
    """

    def __init__(
        self,
        inputs: Any,  # a Sequence, or a map-style data set
        ids: Sequence[str] | None = None,
        *,
        convert: Convert | None = None,
        labels: Mapping[str, Sequence[Any]] | None = None,
        reading: LabelReading | None = None,
    ) -> None:
        if ids is not None and len(ids) != len(inputs):
            raise DataError(f"{len(ids)} ids for {len(inputs)} inputs")
        self._inputs, self._convert = inputs, convert
        self._ids = None if ids is None else [str(one) for one in ids]
        self._account, self._reading = Accounting(), reading or LabelReading()
        self._labels = None if labels is None else self._reading.judged(labels, self._account)
        self._of_samples: list[LabelColumn] | None = None
        self.splits: Mapping[str, Sequence[int]] = dict(getattr(inputs, "splits", None) or {})

    @property
    def fingerprint(self) -> str:
        """Hash of the content; reads every row."""
        digest = sha256(repr(self._ids).encode())
        for row in range(len(self)):
            try:
                digest.update(content_hash(readable(self._inputs[row])))
            except Exception as error:
                digest.update(repr(error).encode())
        return digest.hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        """Labels given beside the inputs, or found in the rows (which are then all read once)."""
        declared: Sequence[TargetSpec] | None = getattr(self._inputs, "targets", None)
        if _are_specs(declared):
            return tuple(declared or ())
        return tuple(one.target for one in self._columns() if one.target is not None)

    def _columns(self) -> list[LabelColumn]:
        if self._labels is not None:
            return self._labels
        if self._of_samples is None:
            self._of_samples = self._reading.judged(_found_labels(self), self._account)
        return self._of_samples

    @property
    def account(self) -> Accounting:
        """What the labels were taken for, and why; reads every row where they stand in the rows."""
        if not _are_specs(getattr(self._inputs, "targets", None)):
            self._columns()
        return self._account

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        sample = self.raw(index)
        if _are_specs(getattr(self._inputs, "targets", None)) or (self._labels is None and not sample.targets):
            return sample
        known = {one.name: one.value(index) for one in self._columns() if one.target is not None}
        dense = {name: value for name, value in sample.targets.items() if name not in known and np.ndim(value)}
        return Sample(sample.id, sample.inputs, {**dense, **known}, sample.group, sample.meta)

    def raw(self, index: int) -> Sample:
        """A row with its labels as they were given.

        Raises:
            ItemError: ``wrong_kind``, the domain knows no such value.
        """
        value = self._inputs[index]
        name = str(index) if self._ids is None else self._ids[index]
        if isinstance(value, Sample):
            return value
        found = converted(value, self._convert)
        if found is not None or (value is None and self._convert is None):  # a missing cell is the domain's business
            return _sample(name, found, {})
        if isinstance(value, Mapping) and value:
            first = "inputs" if "inputs" in value else next(iter(value))
            rest = {str(key): one for key, one in value.items() if key not in (first, "id")}
            named = str(value["id"]) if "id" in value and first != "id" else name
            return _sample(named, self._known(value[first]), self._labelled(rest, value[first]))
        if isinstance(value, tuple) and len(value) == 1:
            return _sample(name, self._known(value[0]), {})
        if isinstance(value, tuple) and len(value) == 2:
            found = _without_own(self._known(value[0]))
            return _sample(name, found, self._labelled({LABEL: value[1]}, value[0]))
        raise _unknown(value)

    def _labelled(self, given: Mapping[str, Any], inputs: Any) -> dict[str, Any]:
        """Labels by name: of an array of K numbers K labels, unless they are declared, or one for each element."""
        labels: dict[str, Any] = {}
        declared = _are_specs(getattr(self._inputs, "targets", None))
        for name, one in given.items():
            one = plain_value(readable(one))
            shape = shape_of(one)
            if shape == (1,):
                labels[name] = plain_value(one[0])
            elif declared or shape is None or len(shape) != 1 or shape == (shape_of(inputs) or ())[:1]:
                labels[name] = one
            else:
                labels |= {f"{name}_{place}": plain_value(each) for place, each in enumerate(one)}
        return labels

    def _known(self, value: Any) -> Any:
        found = converted(value, self._convert)
        if found is None:
            raise _unknown(value)
        return found

    def id_of(self, index: int) -> str:
        value = self._inputs[index] if isinstance(self._inputs, list) else None
        if isinstance(value, Sample):
            return value.id
        return str(index) if self._ids is None else self._ids[index]

    def by_id(self, sample_id: str) -> Sample:
        for row in range(len(self)):
            if self.id_of(row) == sample_id:
                return self[row]
        raise DataError(f"no row {sample_id!r}")


def _sample(name: str, found: Any, labels: Mapping[str, Any]) -> Sample:
    """Inputs with their labels; where the domain found a whole sample in a value, its own labels stay."""
    if isinstance(found, Sample):
        return Sample(name, found.inputs, {**found.targets, **labels}, found.group, found.meta)
    return Sample(name, found, labels)


def _without_own(found: Any) -> Any:
    """What the domain found in the first of an (input, label) pair, without a label of its own: the pair's is meant."""
    if not isinstance(found, Sample):
        return found
    of_elements = {name: value for name, value in found.targets.items() if np.ndim(value)}
    return Sample(found.id, found.inputs, of_elements, found.group, found.meta)


def _unknown(value: Any) -> ItemError:
    if isinstance(value, tuple) and len(value) > 2:
        return ItemError(
            "wrong_kind",
            f"a row of {len(value)} parts: which of them is the label? Give (input, label), or a dict "
            '{"inputs": ..., NAME: ...} of as many labels as you like',
        )
    if isinstance(value, str | Path) and names_a_file(str(value)) and not is_there(str(value)):
        return ItemError("missing_file", f"there is no file {str(value)!r}")
    return ItemError("wrong_kind", f"{kind_of(value)} is no input of this domain")


def is_reader(data: Any) -> bool:
    """Whether this already is a reader of samples."""
    return all(hasattr(type(data), name) or hasattr(data, name) for name in _READER)


def given_reader(
    data: Any,
    open_table: OpenTable,
    convert: Convert | None,
    options: Mapping[str, Any] | None = None,
    reader: str | None = None,
    labels: Sequence[str] = (),
) -> DatasetReader:
    """A reader over data that is no path.

    Args:
        open_table: the domain's reader of a table in a file, and settings that it may ignore.
        convert: ``inputs_from`` of the domain's preprocessor, where it has one.
        options: settings of the reader, which only a table of texts and numbers (or a path) can have; ``id_column``,
            which any table can have, names the rows, else an index of its own (pandas) does; those that say how labels
            are read (:data:`repcore.data.given_labels.SETTINGS`) go with everything but a reader.
        reader: registered reader that was asked for, which only a table (or a path) can have.
        labels: which labels the settings are about; all if empty.

    Raises:
        DataError: a kind that is none of these; names it.
    """
    if data is None:
        raise _wrong(data)
    further = dict(options or {})
    id_column, data = further.pop("id_column", None), opened_table(data)
    given_as_reader = is_reader(data)
    if not given_as_reader and is_table(data):
        return _of_table(data, open_table, convert, id_column, further, labels)
    reading = LabelReading() if given_as_reader else LabelReading.taken(further, labels)
    if further:
        raise DataError(f"{_in_words(further)} is for a table or a path", given=f"{type(data).__name__}, no table")
    if id_column is not None:
        raise DataError(f"id_column={id_column!r} is a column of a table", given=f"{type(data).__name__}, no table")
    if reader is not None:
        raise DataError(f"reader={reader!r} is for a table or a path", given=f"{type(data).__name__}, no table")
    if given_as_reader:
        given: DatasetReader = data
        return given
    ids = None
    if is_column(data) and has_numbers(data) and is_one_input(data, convert):
        return ListReader([data], convert=convert, reading=reading)
    if is_column(data):
        ids, data = index_ids(data), columns_of({"": data})[""]
    elif is_one_input(data, convert):
        return ListReader([data], convert=convert, reading=reading)
    rows = _rows(data)
    _check_kind(rows, convert)
    return ListReader(rows, ids, convert=convert, reading=reading)


def _rows(data: Any) -> Any:
    """Numbered rows of anything that has rows."""
    if isinstance(data, str | bytes | int | float | complex) or data is None:
        raise _wrong(data)
    if is_loader(data):
        return list(loader_rows(data, _rows))
    if is_sparse(data):
        raise DataError(f"{kind_of(data)} is sparse", hint="give its toarray() (SciPy) or to_dense() (torch)")
    if is_ragged(data):
        return list(data.unbind())
    if isinstance(data, np.ma.MaskedArray) and data.ndim:
        return [data[row] for row in range(len(data))]
    if hasattr(data, "__array__") and not isinstance(data, Sequence):
        array = np.asarray(plain_value(data))
        if array.ndim == 0:
            raise _wrong(data)
        return list(array) if array.dtype != object else array.tolist()
    if callable(data) and not hasattr(data, "__getitem__"):
        data = data()
        return _rows(data)
    if isinstance(data, list | tuple):
        return list(data)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, Mapping):
        return data
    if isinstance(data, Iterable) and not isinstance(data, Mapping):
        return list(data)
    raise _wrong(data)


def _in_words(options: Mapping[str, Any]) -> str:
    """Settings of a reader as somebody gave them."""
    return f"read={dict(options)!r}"


def _of_table(
    data: Any,
    open_table: OpenTable,
    convert: Convert | None,
    id_column: str | None,
    further: dict[str, Any],
    labels: Sequence[str],
) -> DatasetReader:
    columns, objects = None, []
    if twice := repeated_names(data):
        raise DataError(f"the table has several columns {twice[0]!r}", hint="give every column a name of its own")
    if not len(names_of(data)):
        raise DataError("the table has no columns", given=kind_of(data))
    path, names = stored_table(data)
    if path is None:
        columns = columns_of(data)
        names = list(columns)
        objects = [name for name, cells in columns.items() if _holds_objects(cells)]
    if path is not None:
        try:
            return open_table(path, {} if id_column or index_ids(data) is None else {"id_column": ID})
        except DataError as error:
            columns = columns_of(data)
            if not error.summary.startswith("no reader"):
                raise _table_error(names, error, path, convert) from error
            if _is_table_of_numbers(columns) and is_one_input(data, convert):
                return ListReader([data], convert=convert)
            objects = names if len(names) == 1 else [one for one in names if names_inputs(columns[one], convert)]
            if not objects:
                raise _table_error(names, error, path, convert) from error
    assert columns is not None
    reading = LabelReading.taken(further, labels)
    if further:
        raise DataError(f"{_in_words(further)} is for a table of texts and numbers", columns=", ".join(map(str, names)))
    if len(objects) != 1:
        raise DataError(
            "which column of the table is the input?", columns=", ".join(names), with_objects=", ".join(objects)
        )
    if id_column is not None and (id_column not in columns or id_column in objects):
        raise DataError(f"the table has no column {id_column!r} of ids", columns=", ".join(map(str, names)))
    named = id_column or ID
    ids = columns.pop(named, None) if named not in objects else None
    ids = index_ids(data) if ids is None else ids
    inputs = columns.pop(objects[0])
    _check_kind(inputs, convert)
    return ListReader(inputs, ids, convert=convert, labels=columns, reading=reading)


def _is_table_of_numbers(columns: Mapping[str, Sequence[Any]]) -> bool:
    return all(isinstance(one, int | float | np.number) for cells in columns.values() for one in cells[:1])


def _table_error(names: Sequence[str], error: DataError, path: Path, convert: Convert | None) -> DataError:
    """The reader's complaint in terms of what was given; what the file in the cache is like is nobody's business."""

    def told(text: object) -> str:
        words = str(text)
        for name in (repr(str(path)), str(path), path.name):
            words = words.replace(name, "the table")
        return words

    rest = {key: told(value) for key, value in error.facts.items() if key not in ("columns", "found", "expected")}
    expected = error.facts.get("expected", what_it_takes(convert) if "found" in error.facts else "")
    return DataError(told(error.summary), columns=", ".join(map(str, names[:40])), expected=expected, **rest)


def _holds_objects(cells: Sequence[Any]) -> bool:
    first = next((one for one in map(readable, cells) if one is not None), None)
    return not isinstance(first, str | bool | int | float | np.generic | type(None)) and not hasattr(first, "isoformat")


def _check_kind(rows: Any, convert: Convert | None) -> None:
    """Refuse rows whose first is of a kind that is no input; later ones become reported rows."""
    if not len(rows):
        return
    try:
        ListReader([rows[0]], convert=convert).raw(0)
    except ItemError as error:
        if isinstance(rows[0], tuple) and len(rows[0]) > 2:
            raise DataError(error.reason) from error
        if error.status == "wrong_kind" and readable(rows[0]) is not None:
            raise DataError(
                f"{kind_of(rows[0])} is no input of this domain", expected=what_it_takes(convert), hint=EXPECTED
            ) from error


def _wrong(data: Any) -> DataError:
    return DataError(f"{kind_of(data)} is no data to read", expected=EXPECTED)


def _are_specs(targets: Any) -> bool:
    return isinstance(targets, list | tuple) and all(isinstance(one, TargetSpec) for one in targets)


def _found_labels(reader: ListReader) -> dict[str, list[Any]]:
    """Labels of items by name, None where a row has none; labels of elements need declared targets."""
    rows: list[Mapping[str, Any]] = []
    for row in range(len(reader)):
        try:
            rows.append({name: plain_value(one) for name, one in reader.raw(row).targets.items()})
        except Exception:  # becomes a reported row when it is read for use
            rows.append({})
    names = dict.fromkeys(name for one in rows for name, value in one.items() if np.ndim(value) == 0)
    return {name: [one.get(name) for one in rows] for name in names}
