"""Checks of writers of embeddings: every row arrives, in order, also after an interruption."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.embedding.writers import read_embeddings
from repcore.errors import DataError, RepcoreError
from repcore.interfaces import EmbeddingRows
from repcore.registry import Entry
from repcore.specs import WriterSpec
from repcore.testing.check import Check, NotJudgedError, fail
from repcore.testing.found_values import numbers_in_order

WIDTH = 5
PARTS = (4, 1, 7)  # rows
STRANGE = ("with space", "tab\tand, comma", "quote\"s'", "ünïcode-分子", "0", "-1", "a/b\\c")
HEADER = {"model": "sha256-of-a-model", "data": "sha256-of-data"}


@dataclass(frozen=True, slots=True)
class WriterSubject:
    """A file format for embeddings."""

    entry: Entry[WriterSpec]

    def paths(self, folder: Path) -> Iterator[Path]:
        """One file for each suffix."""
        for number, suffix in enumerate(self.entry.spec.suffixes or (".out",)):
            yield folder / f"rows-{number}{suffix}"

    def open(self, path: Path, header: dict[str, str] | None = None) -> Any:  # the author's own object
        """A new writer."""
        return self.entry.load()(path, HEADER if header is None else header)


def rows_to_write() -> list[EmbeddingRows]:
    """Parts of different lengths with odd ids and rows that could not be embedded."""
    rng, made, start = np.random.default_rng(0), [], 0
    for count in PARTS:
        numbers = range(start, start + count)
        vectors = rng.normal(size=(count, WIDTH)).astype(np.float32)
        failed = [number % 5 == 3 for number in numbers]
        vectors[failed] = np.nan
        ids = [f"row-{number} {STRANGE[number % len(STRANGE)]}" for number in numbers]
        status = ["unreadable" if one else "ok" for one in failed]
        made.append(EmbeddingRows(ids, vectors, status, ["it is broken, on purpose" if one else "" for one in failed]))
        start += count
    return made


def keeps_every_row(subject: WriterSubject) -> None:
    """After finish() the file holds every row in order, failed ones too, and the counts are right."""
    with tempfile.TemporaryDirectory() as name:
        for path in subject.paths(Path(name)):
            writer = subject.open(path)
            for rows in rows_to_write():
                writer.write(rows)
                if path.exists():
                    fail(f"{path.name} is there before finish(): a reader would take half a file for all of it")
            _check_counts(writer)
            made = writer.finish()
            if Path(made) != path or not path.is_file():
                fail(f"finish() gives {str(made)!r}; the file asked for is {path.name}")
            left = sorted(one.name for one in Path(name).iterdir() if one != path and one.stem.startswith(path.stem))
            if left:
                fail(f"finish() leaves {', '.join(left)} behind")
            _check_content(path)


def goes_on(subject: WriterSubject) -> None:
    """A writer opened on an interrupted file says how many rows are done, and goes on behind them."""
    with tempfile.TemporaryDirectory() as name:
        for path in subject.paths(Path(name)):
            first, *rest = rows_to_write()
            subject.open(path).write(first)
            writer = subject.open(path)
            done = writer.rows_done
            if done not in (0, len(first.ids)):
                fail(f"interrupted after {len(first.ids)} rows, rows_done is {done}; it goes on, or begins anew at 0")
            for rows in rest if done else [first, *rest]:
                writer.write(rows)
            _check_counts(writer)
            writer.finish()
            _check_content(path)


def refuses_another_run(subject: WriterSubject) -> None:
    """Rows of another model or data set are not mixed in: refused by name, or begun anew."""
    with tempfile.TemporaryDirectory() as name:
        for path in subject.paths(Path(name)):
            first, *_ = rows_to_write()
            subject.open(path).write(first)
            try:
                other = subject.open(path, {**HEADER, "model": "another"})
            except RepcoreError:
                continue
            if other.rows_done:
                fail(f"{other.rows_done} rows of another model are taken over; refuse them with a DataError")


def _check_counts(writer: Any) -> None:
    parts = rows_to_write()
    total = sum(PARTS)
    failed = sum(one != "ok" for rows in parts for one in rows.status)
    if writer.rows_done != total or sum(dict(writer.status).values()) != total or writer.failed != failed:
        fail(
            f"after {total} rows, {failed} without a vector: rows_done={writer.rows_done}, "
            f"status={dict(writer.status)}, failed={writer.failed}"
        )


def _check_content(path: Path) -> None:
    """Rows as they come back by core's reader; of another format, every id must be found in the file, in order."""
    parts = rows_to_write()
    ids = [one for rows in parts for one in rows.ids]
    try:
        found, _ = read_embeddings(path)
    except DataError:
        _find_ids(path, ids)
        return
    if list(found.ids) != ids:
        fail(f"{len(found.ids)} ids come back of {len(ids)}, or in another order: {list(found.ids)[:3]}")
    if not np.array_equal(found.vectors, np.concatenate([rows.vectors for rows in parts]), equal_nan=True):
        fail("vectors come back changed")
    if list(found.status) != [one for rows in parts for one in rows.status]:
        fail("the status of rows comes back changed")


def _find_ids(path: Path, ids: list[str]) -> None:
    content = path.read_bytes()
    places = [content.find(one.partition(" ")[0].encode() + b" ") for one in ids]
    if max(places) < 0:
        raise NotJudgedError(f"{path.name} can be looked into neither as an embedding file nor as text")
    lost = [one for one, place in zip(ids, places, strict=True) if place < 0]
    if lost:
        fail(f"{len(lost)} of {len(ids)} rows are not in {path.name}, for example {lost[0]!r}")
    if places != sorted(places):
        fail(f"rows stand in {path.name} in another order than they were written")


def keeps_every_value(subject: WriterSubject) -> None:
    """In a format that core cannot read, too, another number, id or order of rows makes another file, and numbers that
    can be found stand in the order of the vectors."""
    rows = _joined(rows_to_write())
    with tempfile.TemporaryDirectory() as name:
        for number, path in enumerate(subject.paths(Path(name))):
            folder = Path(name) / str(number)
            whole = _written(subject, folder / "first", path.name, rows)
            if _is_readable(folder / "first" / path.name):
                continue  # compared value by value by the other checks
            if _written(subject, folder / "again", path.name, rows) != whole:
                raise NotJudgedError("the same rows written twice give two files (a time or a name inside)")
            for place, (what, changed) in enumerate(_changes(rows)):
                if _written(subject, folder / str(place), path.name, changed) == whole:
                    fail(f"{path.name}: {what} gives the same file: it is lost")
            problem = numbers_in_order(whole, rows.vectors)
            if problem:
                fail(f"{path.name}: {problem}")


def _changes(rows: EmbeddingRows) -> Iterator[tuple[str, EmbeddingRows]]:
    """Rows with one thing changed, in words."""
    good = np.flatnonzero(np.isfinite(rows.vectors).all(1))
    for row in (good[0], good[len(good) // 2], good[-1]):
        for column in range(rows.vectors.shape[1]):
            vectors = rows.vectors.copy()
            vectors[row, column] += 1.0
            yield f"another number in row {row}, column {column}", replace(rows, vectors=vectors)
    swapped = rows.vectors.copy()
    swapped[[good[0], good[-1]]] = swapped[[good[-1], good[0]]]
    yield "two vectors exchanged", replace(rows, vectors=swapped)
    for what, place in (("first", 0), ("middle", len(rows.ids[0]) // 2), ("last", len(rows.ids[0]) - 1)):
        changed = rows.ids[0][:place] + "X" + rows.ids[0][place + 1 :]
        yield f"another {what} character of an id", replace(rows, ids=[changed, *rows.ids[1:]])


def _joined(parts: list[EmbeddingRows]) -> EmbeddingRows:
    return EmbeddingRows(
        [one for rows in parts for one in rows.ids],
        np.concatenate([rows.vectors for rows in parts]),
        [one for rows in parts for one in rows.status],
        [one for rows in parts for one in rows.reason],
    )


def _written(subject: WriterSubject, folder: Path, name: str, rows: EmbeddingRows) -> bytes:
    """The file of these rows, written as one part."""
    folder.mkdir(parents=True)
    writer = subject.open(folder / name)
    writer.write(rows)
    return Path(writer.finish()).read_bytes()


def _is_readable(path: Path) -> bool:
    try:
        read_embeddings(path)
    except DataError:
        return False
    return True


CHECKS = (
    Check("writer-keeps-every-row", keeps_every_row),
    Check("writer-keeps-every-value", keeps_every_value),
    Check("writer-goes-on", goes_on),
    Check("writer-refuses-another-run", refuses_another_run),
)
