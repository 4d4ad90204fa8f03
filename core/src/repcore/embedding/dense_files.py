"""Answers about elements on disk: one file a sample with an index, or one long table.

``-o FOLDER`` holds one file a sample in a registered format (``--format``) and ``index.csv`` with one row for every
input row. ``-o FILE.csv`` (tsv, parquet, npz) is a table of all elements of all samples. Both go on where they stopped.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from repcore.config.matching import takes
from repcore.data.accounting import walk
from repcore.data.guard import concerns_item, error_in_words, is_strict
from repcore.embedding.answers import column_of, output_names
from repcore.embedding.dense import DenseRow
from repcore.embedding.prediction_files import TableWriter
from repcore.errors import ConfigError, DataError, closest
from repcore.files import written_whole
from repcore.interfaces import DenseAnswer
from repcore.registry import Registry
from repcore.specs import TargetSpec

Labels = Callable[[DenseRow], Mapping[str, list[Any]]]
INDEX = "index.csv"
MANY_OUTPUTS = 64
HELD_ELEMENTS = 100_000
KEPT_BYTES = 256 * 2**20  # of the answers about the test rows of a fine-tuning
MOST_LOOKED_AT = 10_000  # files of the data, for the format of the answers
_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES})


def write_npz(path: Path, answer: DenseAnswer) -> None:
    """``outputs`` (..., K), for classes also ``labels`` in the data's own numbers, the element columns, and
    what the data says of each element as ``label:<target>``: words of a class or numbers; of a grid numbers like
    ``labels``, -1 = no label, -2 = a class that the model does not know."""
    arrays: dict[str, Any] = {"outputs": answer.outputs, **answer.elements}
    for name, values in answer.labelled().items():
        if isinstance(values, np.ndarray):
            arrays[name] = values
            continue
        is_word = any(isinstance(one, str) for one in values)
        cells = ["" if one is None else one for one in values] if is_word else values
        arrays[name] = np.asarray(cells, np.str_ if is_word else np.float64)
    if answer.target is not None and answer.target.kind == "class":
        arrays["labels"] = answer.labels(missing=-1)
        arrays["names"] = np.asarray(output_names(answer.target, answer.outputs.shape[-1]), np.str_)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def dense_writers(registry: Registry, domain: str, level: str, preprocessor: str = "") -> list[Any]:  # entries
    """All formats that can hold answers of this level, the domain's first."""
    entries = [*registry.entries("dense-writer", domain), *registry.entries("dense-writer", "")]
    given = registry.preprocessor(preprocessor).spec.accepts if preprocessor else ()
    return [one for one in entries if one.spec.level in ("", level) and takes(one.spec.accepts, given)]


def dense_writer(
    registry: Registry, domain: str, level: str, word: str | None, preprocessor: str = "", beside: Path | None = None
) -> Any:  # an entry
    """The format by name or suffix; when none is asked for, that of the data, else the domain's first for the level.

    Args:
        preprocessor: of the model, by name: the format has to fit its kind of data.
        beside: the data.

    Raises:
        ConfigError: no such format.
    """
    fitting = dense_writers(registry, domain, level, preprocessor)
    if word is None:
        return _as_the_data(fitting, beside) or fitting[0]
    asked = word if word.startswith(".") else f".{word}"
    for one in fitting:
        if word in (one.spec.name, one.full_name) or asked in one.spec.suffixes:
            return one
    known = [one.spec.name for one in fitting]
    raise ConfigError(
        f"--format {word!r} cannot hold answers of level {level}",
        did_you_mean=closest(word, known),
        known=", ".join(known),
    )


def _as_the_data(fitting: Sequence[Any], data: Path | None) -> Any:  # an entry, or None
    """The format that writes files of the kind that most files of the data are."""
    if data is None or not data.exists():
        return None
    names = [data.name] if data.is_file() else [one.path.name for one in islice(walk(data), MOST_LOOKED_AT)]
    counts = [sum(_is_written_by(one, name) for name in names) for one in fitting]
    most = max(counts, default=0)
    return fitting[counts.index(most)] if most else None


def _is_written_by(entry: Any, name: str) -> bool:
    """Whether a file of this name is of the format."""
    return name.lower().endswith(tuple(entry.spec.suffixes))


class FolderWriter:
    """One file a sample and ``index.csv`` (id, status, reason, file, numbers of elements with and without an answer).

    Args:
        folder: made if needed.
        header: identifies model, data and settings.
        entry: the registered format.
        labels: of the data for the elements of a row, as columns.
        own: formats that a sample is written in, instead, whose own file (a path in ``Sample.meta``) is of one of them.
    """

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, Any],
        entry: Any,
        labels: Labels = lambda row: {},
        own: Sequence[Any] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.entry, self._labels, self._own = folder, entry, labels, own
        self.parts = self.index = TableWriter(folder / INDEX, header, "elements", {"file"})
        self._taken: set[str] = {
            str(one) for table in self.index.tables() for one in table.column("file").to_pylist() if one
        }
        held = [table.column("unanswered") for table in self.index.tables() if "unanswered" in table.column_names]
        self.unanswered = int(sum(one or 0 for column in held for one in column.to_pylist()))

    @property
    def rows_done(self) -> int:
        return self.index.rows_done

    @property
    def status(self) -> Counter[str]:
        """Rows by status, those of an interrupted command too."""
        return self.index.status

    @property
    def failed(self) -> int:
        """Rows without a file."""
        return self.index.failed

    def write(self, row: DenseRow, columns: Mapping[str, Any]) -> None:
        """The file first, then its line: a row whose line is missing is written again."""
        name, elements, status, reason = None, None, row.status, row.reason
        if row.answer is not None:
            try:
                name, left_out = self._write_file(row.id, replace(row.answer, labelled=partial(self._labels, row)))
                reason = "; ".join(filter(None, (reason, left_out)))
                elements = float(row.answer.known())
            except DataError as error:  # this format cannot hold this answer
                status, reason = "not_written", error.in_one_line()
            except Exception as error:  # a writer that stumbles over one answer; a full disk ends the work
                if is_strict() or not concerns_item(error) or getattr(error, "errno", None) in _OF_THE_DISK:
                    raise
                status, reason = "not_written", f"{error_in_words(error)} (in {self._format_of(row.answer).full_name})"
        without = None if elements is None else float(row.unanswered)
        self.unanswered += int(without or 0)
        cells: dict[str, list[Any]] = {"file": [name], "elements": [elements], "unanswered": [without]}
        cells.update({key: [value] for key, value in columns.items()})
        self.index.write([row.id], [status], [reason], cells)

    def _format_of(self, answer: DenseAnswer) -> Any:  # an entry
        """That of the sample's own file, where it is one of the formats."""
        files = [one.name for one in answer.sample.meta.values() if isinstance(one, Path)]
        own = (one for one in self._own for name in files if _is_written_by(one, name))
        return next(own, self.entry)

    def _write_file(self, row_id: str, answer: DenseAnswer) -> tuple[str, str]:
        """Write under a temporary name, then give it its own; returns the name within the folder, and what of the
        sample's own file the format could not hold."""
        entry = self._format_of(answer)
        name = free_name(row_id, entry.spec.suffixes[0] if entry.spec.suffixes else "", self._taken)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path, path.with_name(f".partial-{path.name}")) as partial:  # the suffix may decide a format
            left_out = entry.load()(partial, answer)
        return name, left_out if isinstance(left_out, str) else ""

    def keep(self) -> None:
        """Nothing to do: every row is on disk when it is written."""

    def finish(self) -> Path:
        self.index.finish()
        return self.folder


def free_name(row_id: str, suffix: str, taken: set[str]) -> str:
    """A path below a folder that no other row has; adds it to ``taken``."""
    parts = [re.sub(r"[^\w.+@=-]+", "_", part) for part in row_id.replace("\\", "/").split("/")]
    base = "/".join(part for part in parts if part not in ("", ".", "..")) or "row"
    base = base.removesuffix(suffix) or "row"  # ids are often names of files of the same kind
    name = f"{base}{suffix}"
    number = 2
    while name in taken or name == INDEX:
        name, number = f"{base}-{number}{suffix}", number + 1
    taken.add(name)
    return name


class AnswerFiles:
    """Answers about the elements of test rows as npz files beside their scores, up to a number of bytes.

    Args:
        folder: emptied first. most_bytes: of outputs before they are compressed.
        labels: of the data for the elements of a row, as columns; kept of rows that are whole samples.
    """

    def __init__(self, folder: Path, most_bytes: int = KEPT_BYTES, labels: Labels = lambda row: {}) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.left, self.without, self._labels = folder, most_bytes, 0, labels
        self._taken: set[str] = set()
        self._last: tuple[DenseAnswer, str] | None = None

    def write(self, row: DenseRow) -> str | None:
        """The name of the row's file; rows that stand one after the other for parts of one sample share it. None where
        there is no answer, or no room left."""
        answer = row.answer
        if answer is None or (self._last is not None and self._last[0] is answer):
            return None if answer is None or self._last is None else self._last[1]
        if answer.outputs.nbytes > self.left:
            self.without += 1
            return None
        self.left -= answer.outputs.nbytes
        name = free_name(answer.sample.id, ".npz", self._taken)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_whole = row.id == answer.sample.id
        write_npz(path, replace(answer, labelled=partial(self._labels, row)) if is_whole else answer)
        self._last = (answer, name)
        return name

    def note(self, rows: int) -> tuple[str, ...]:
        """A sentence on rows whose answers are not kept."""
        if not self.without:
            return ()
        return (f"answers of the elements of {self.without:,} of {rows:,} test rows are not kept: they are large",)


class ElementTable:
    """One long table: id, row, element, status, reason, the columns that name elements, and the answers.

    Args:
        path: csv, tsv, parquet or npz.
        header: identifies model, data and settings.
        target: of the answers; None for features.
        labels: of the data for the elements of a row, as columns.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, Any],
        target: TargetSpec | None,
        labels: Labels = lambda row: {},
    ) -> None:
        text = {"id"} if target is None or target.kind != "class" else {column_of(target), f"label:{column_of(target)}"}
        self.parts = self.table = TableWriter(path, header, "element", text)
        self.target, self._labels = target, labels
        self.unanswered = 0
        known: dict[float, tuple[str, bool]] = {}  # row -> status and whether it has elements
        for table in self.table.tables():
            number, status, element = (table.column(name).to_pylist() for name in ("row", "status", "element"))
            known.update(zip(number, zip(status, [one is not None for one in element], strict=True), strict=True))
            self.unanswered += _unanswered(table, element, target)
        self.rows_done = len(known)
        self.status = Counter(status for status, _ in known.values())
        self.failed = sum(not answered for _, answered in known.values())
        self._held: dict[str, list[Any]] = {}

    def write(self, row: DenseRow, columns: Mapping[str, Any]) -> None:
        """Hold the elements of one row; written when enough are there."""
        del columns  # figures of an item belong to an index, not to its elements
        cells: dict[str, list[Any]] = {"element": [None]}
        if row.answer is not None:
            outputs = row.answer.outputs.reshape(-1, row.answer.outputs.shape[-1])
            cells["element"] = [float(one) for one in range(len(outputs))]
            for name, values in {**grid_places(row.answer), **row.answer.elements}.items():
                flat = np.asarray(values).reshape(-1)
                words = flat.dtype.kind in "UO"
                self.table.text |= {name} if words else set()
                cells[name] = [str(one) if words else float(one) for one in flat]
            cells.update(self._answers(outputs))
            cells.update(self._labels(row))
        count, held = len(cells["element"]), len(self._held.get("id", ()))
        fixed = {"id": row.id, "status": row.status, "reason": row.reason, "row": float(self.rows_done)}
        cells = {**{name: [value] * count for name, value in fixed.items()}, **cells}
        for name in {**self._held, **cells}:
            own = self._held.setdefault(name, [None] * held)
            own.extend(cells.get(name, [None] * count))
        self.rows_done += 1
        self.status[row.status] += 1
        self.failed += row.answer is None
        self.unanswered += row.unanswered
        if held + count >= HELD_ELEMENTS:
            self.keep()

    def keep(self) -> None:
        """Put on disk what is held."""
        if self._held:
            fixed = [self._held.pop(name) for name in ("id", "status", "reason")]
            self.table.write(fixed[0], fixed[1], fixed[2], self._held)
            self._held = {}

    def _answers(self, outputs: np.ndarray) -> dict[str, list[Any]]:
        good = np.isfinite(outputs).all(1)
        if self.target is None:
            if outputs.shape[1] > MANY_OUTPUTS:
                raise ConfigError(
                    f"{outputs.shape[1]} numbers for every element make no table", hint="-o FOLDER --format npz"
                )
            return {f"f{k}": [float(v) if ok else None for v, ok in zip(outputs[:, k], good, strict=True)]
                    for k in range(outputs.shape[1])}  # fmt: skip
        names = output_names(self.target, outputs.shape[1])
        if self.target.kind != "class":
            return {name: [float(v) if ok else None for v, ok in zip(outputs[:, k], good, strict=True)]
                    for k, name in enumerate(names)}  # fmt: skip
        best = np.nan_to_num(outputs).argmax(1)
        answered: dict[str, list[Any]] = {
            column_of(self.target): [names[k] if ok else None for k, ok in zip(best, good, strict=True)],
        }
        for k, name in enumerate(names):
            answered[f"p:{name}"] = [float(v) if ok else None for v, ok in zip(outputs[:, k], good, strict=True)]
        return answered

    def finish(self) -> Path:
        self.keep()
        return self.table.finish()


def _unanswered(table: Any, element: Sequence[Any], target: TargetSpec | None) -> int:
    """Elements of a written part whose answers are empty."""
    names = ("f0",) if target is None else (column_of(target), *output_names(target, 1), *output_names(target, 2))
    answers = next((table.column(name) for name in names if name in table.column_names), None)
    there = [] if answers is None else answers.is_valid().to_pylist()
    return sum(one is not None and not answered for one, answered in zip(element, there, strict=False))


def grid_places(answer: DenseAnswer) -> dict[str, np.ndarray]:
    """Place of each element of a grid, counted from 0: ``y`` (row) and ``x`` (column) of an image's pixels, ``i j k``
    of a volume's voxels in the order in which its file stores the axes; nothing for lists of elements."""
    shape = answer.outputs.shape[:-1]
    names = {2: ("y", "x"), 3: ("i", "j", "k")}.get(len(shape), ())
    return dict(zip(names, np.indices(shape, np.int32), strict=True)) if names else {}


def is_table(path: Path) -> bool:
    """Whether the output is one long table."""
    return path.suffix.lower() in (".csv", ".tsv", ".parquet", ".npz")


def refuse_file_name(registry: Registry, domain: str, level: str, path: Path) -> None:
    """One file of a format is no place for the answers about many samples.

    Raises:
        ConfigError: the output has the suffix of a format, and is neither a table nor a folder that is there.
    """
    if is_table(path) or path.is_dir():
        return
    for entry in registry.entries("dense-writer", domain):
        suffix = next((one for one in entry.spec.suffixes if path.name.lower().endswith(one)), None)
        if suffix is not None and entry.spec.level in ("", level):
            folder = str(path)[: -len(suffix)] or "answers"
            raise ConfigError(
                f"-o {path}: answers of level {level} are a folder with one file a sample, or one long table",
                hint=f"-o {folder} --format {entry.spec.name}, or -o {folder}.csv",
            )


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that is there already and complete, or remove it.

    Raises:
        DataError: it is there.
    """
    complete = path if is_table(path) else path / INDEX
    if complete.exists():
        if not overwrite:
            raise DataError(f"{str(complete)!r} exists", hint="--overwrite, or another name")
        complete.unlink()
