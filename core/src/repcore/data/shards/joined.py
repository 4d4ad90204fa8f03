"""Tables in numbered parts as the files that readers expect.

A folder with such parts (:mod:`repcore.data.shards.numbered`) gets a stand-in in the cache: the parts of each table as
one file, everything else as links, and beside it links to the folder's neighbours, because tables name files by
``../``. A folder that holds one table and nothing else becomes that one file.

    <cache>/joined/<hash>/<folder>/     one stand-in
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from repcore.data.accounting import account_of
from repcore.data.identity import remember_as
from repcore.data.preparation import cache_root
from repcore.data.shards.numbered import PARQUET, Numbered, folder_name
from repcore.data.shards.parquet_table import in_words, refuse_other_columns
from repcore.data.shards.partitions import is_left_out
from repcore.data.shards.shard import Shard, names_elsewhere
from repcore.data.shards.stores import Store
from repcore.data.tables import ROWS_PER_CHUNK, Table
from repcore.data.whole_folders import appearing_whole
from repcore.errors import DataError, RepcoreError
from repcore.interfaces import DatasetReader
from repcore.unpacking import open_parquet, parquet_batches

LINKED = 20_000  # entries of a folder
NEIGHBOURS = 1000
HEAD_ROWS = 5000


def told(reader: DatasetReader, tables: Sequence[Numbered]) -> DatasetReader:
    """The reader, with what was decided about numbered names in its account."""
    account = account_of(reader)
    for one in tables:
        account.note(one.sentence)
        if one.partitions.names:
            account.note(one.partitions.sentence(own_columns(one)))
    if getattr(reader, "account", None) is not account:
        reader.account = account  # type: ignore[attr-defined]  # optional for readers
    return reader


@contextmanager
def of_folder(path: Path) -> Iterator[None]:
    """Errors inside of it speak of the folder that was given, not of its stand-in."""
    place = re.compile(re.escape(str(cache_root() / "joined")) + rf"/[^/]+/{re.escape(folder_name(path))}")
    try:
        yield
    except RepcoreError as error:
        error.summary = place.sub(lambda _: str(path), error.summary)
        error.facts = {
            key: place.sub(lambda _: str(path), value) if isinstance(value, str) else value
            for key, value in error.facts.items()
        }
        raise


# ------------------------------------------------------------------------------------------------ the stand-in


def joined(path: Path, tables: Sequence[Numbered]) -> Path:
    """The stand-in of a folder for reading: made where the cache has none.

    Raises:
        DataError: a part is damaged, is gone, or has other columns than the first.
    """
    if not tables:
        return path
    others = _others(path, tables)
    lines = [str(path.absolute()), *(f"{one.name}|{one.store.key}" for one in tables), *sorted(others)]
    key = sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    folder = cache_root() / "joined" / key
    if not folder.is_dir():
        cannot = f"the tables in {str(path)!r} cannot be joined in {cache_root()}"
        with appearing_whole(folder, folder.is_dir, cannot) as partial:
            _fill(partial / folder_name(path), tables, others, None)
    _link_neighbours(path, folder)
    for one in tables:  # known as their parts are: another version of pyarrow writes other bytes
        remember_as(folder / folder_name(path) / one.name, f"{one.name}|{one.store.fingerprint}")
    return _given(folder / folder_name(path), tables, others)


@contextmanager
def joined_heads(path: Path, tables: Sequence[Numbered]) -> Iterator[Path]:
    """A stand-in that holds the first rows of each table, for recognising a folder.

    Raises:
        DataError: as :func:`joined`.
    """
    if not tables:
        yield path
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / folder_name(path)
        others = _others(path, tables)
        _fill(folder, tables, others, HEAD_ROWS)
        _link_neighbours(path, Path(name))
        yield _given(folder, tables, others)


def _given(folder: Path, tables: Sequence[Numbered], others: Mapping[str, Path]) -> Path:
    """The one file of a stand-in that holds nothing else, or the stand-in."""
    return folder / tables[0].name if len(tables) == 1 and not others else folder


def _others(path: Path, tables: Sequence[Numbered]) -> dict[str, Path]:
    """What else lies in a folder, by name below it; hidden names and those with an underscore are left out.

    Raises:
        DataError: too much lies beside the parts.
    """
    if names_elsewhere(path) is not None:
        return {}
    parts = {shard.name for one in tables for shard in one.store.shards}
    within = {name.split("/")[0] for name in parts if "/" in name}
    with os.scandir(path) as entries:
        found = {
            one.name: Path(one.path).absolute()
            for one in islice(entries, LINKED + len(parts) + 1)
            if one.name not in parts and one.name not in within and not is_left_out(one.name)
        }
    if len(found) > LINKED:
        raise DataError(
            f"{str(path)!r} holds more than {LINKED:,} files beside the parts of {tables[0].name}",
            hint="put the other files in a folder below it",
        )
    return found


def _fill(folder: Path, tables: Sequence[Numbered], others: Mapping[str, Path], most: int | None) -> None:
    folder.mkdir()
    for name, path in others.items():
        (folder / name).symlink_to(path)
    for one in tables:
        target = folder / one.name
        target.parent.mkdir(exist_ok=True)
        if target.suffix.lower() == PARQUET:
            _join_parquet(one, target, most)
        elif one.partitions.names:
            _join_records(one, target, most)
        else:
            _join_text(one.store, target, most)


def _link_neighbours(path: Path, folder: Path) -> None:
    """Links to what lies beside the folder, for names such as ``../recordings/a.wav``."""
    if names_elsewhere(path) is not None:
        return
    with contextlib.suppress(OSError), os.scandir(path.absolute().parent) as entries:
        for one in islice(entries, NEIGHBOURS):
            if one.name != folder_name(path) and not one.name.startswith("."):
                with contextlib.suppress(FileExistsError):
                    (folder / one.name).symlink_to(one.path)


def _join_parquet(table: Numbered, target: Path, most: int | None) -> None:
    store = table.store
    place = store.address or str(store.root)
    shards = store.shards if most is None else store.shards[:1]
    own = _schema_of(store, shards)
    of_folders = {name: table.partitions.values[name] for name in table.partitions.beside(own.names)}
    schema = own
    for name, values in of_folders.items():
        schema = schema.append(pa.field(name, pa.int64() if any(type(one) is int for one in values) else pa.string()))
    left = most
    with target.open("wb") as sink, pq.ParquetWriter(sink, schema) as writer:
        for number, one in enumerate(shards):
            with in_words(place, one.name), store.whole(one) as file:
                for batch in parquet_batches(open_parquet(file), one.name, one.size, ROWS_PER_CHUNK):
                    rows = pa.Table.from_batches([batch]).select(own.names).cast(own)
                    for name, values in of_folders.items():
                        said = pa.repeat(pa.scalar(values[number], schema.field(name).type), len(rows))
                        rows = rows.append_column(schema.field(name), said)
                    writer.write_table(rows if left is None else rows.slice(0, left))
                    if left is not None and (left := left - len(rows)) <= 0:
                        return


def _schema_of(store: Store, shards: Sequence[Shard]) -> pa.Schema:
    """One schema for all parts, wide enough for each: whole numbers here and fractions there are fractions.

    Raises:
        DataError: other columns, or types that do not go together.
    """
    whole: pa.Schema | None = None
    for one in shards:
        with in_words(store.address or str(store.root), one.name), store.opened(one) as file:
            own = pq.read_metadata(file).schema.to_arrow_schema().remove_metadata()
        plain = pa.schema(
            [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in own]
        )
        if whole is None:
            whole = plain
            continue
        refuse_other_columns(one, plain.names, shards[0], whole.names)
        try:
            whole = pa.unify_schemas([whole, plain], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"part {one.name} has columns of other types than {shards[0].name}: {error}",
                hint="write the parts with one type for each column",
            ) from error
    assert whole is not None  # a table has at least one part
    return whole


def _join_text(store: Store, target: Path, most: int | None) -> None:
    """Parts of text behind one another; a first line that repeats the first part's is its header."""
    header = b""
    with target.open("wb") as sink:
        for number, one in enumerate(store.shards if most is None else store.shards[:1]):
            with in_words(store.address or str(store.root), one.name), _plain(store, one) as file:
                first = file.readline()
                if number == 0:
                    header = first
                    sink.write(first)
                elif first.rstrip(b"\r\n") != header.rstrip(b"\r\n"):
                    _check_header(store, one)
                    sink.write(first)
                last, rows = first, 0
                for line in file:
                    sink.write(line)
                    last, rows = line, rows + 1
                    if most is not None and rows >= most:
                        break
                if not last.endswith(b"\n"):
                    sink.write(b"\n")


def _join_records(table: Numbered, target: Path, most: int | None) -> None:
    """Parts of text with what their folders say behind each record; a malformed one stays malformed.

    Raises:
        DataError: a part has no header, or other columns than the first.
    """
    store = table.store
    first = _with_header(store, store.shards[0])
    of_folders = table.partitions.beside(first.columns)
    with target.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink, delimiter="\t" if target.suffix.lower() == ".tsv" else ",", lineterminator="\n")
        writer.writerow([*first.columns, *of_folders])
        for number, one in enumerate(store.shards if most is None else store.shards[:1]):
            if number and _is_header_only(store, one, first.columns):
                continue
            part = _with_header(store, one)
            refuse_other_columns(one, part.columns, store.shards[0], first.columns)
            said = ["" if (value := table.partitions.values[name][number]) is None else value for name in of_folders]
            problems = part.problems()
            for start in range(0, len(part) if most is None else min(most, len(part)), ROWS_PER_CHUNK):
                cells = [part.slice(start, start + ROWS_PER_CHUNK, name) for name in first.columns]
                for row, record in enumerate(zip(*cells, strict=True), start):
                    wrong = [problems[row]] if row in problems else []  # one cell more than there are columns
                    writer.writerow([*record, *said, *wrong])


def _with_header(store: Store, shard: Shard) -> Table:
    table = Table(store.local(shard))
    if not table.has_header:
        raise DataError(
            f"part {shard.name} has no header, which columns that names of folders say need",
            hint="write the names of the columns into the first line of every part",
        )
    return table


def _is_header_only(store: Store, shard: Shard, columns: Sequence[str]) -> bool:
    """Whether a part has no row: a line with the names of the columns, or nothing."""
    with _plain(store, shard) as file:
        line = file.readline().decode("utf-8-sig", "replace").strip()
        rest = file.read(1)
    return not rest and (not line or all(one in line for one in columns))


def own_columns(table: Numbered) -> Sequence[str]:
    """Columns of the files of a table in parts, which its folders do not say."""
    store, first = table.store, table.store.shards[0]
    if not table.name.endswith(PARQUET):
        return Table(store.local(first)).columns
    with in_words(store.address or str(store.root), first.name), store.opened(first) as file:
        return list(pq.read_metadata(file).schema.to_arrow_schema().names)


@contextmanager
def _plain(store: Store, shard: Shard) -> Iterator[IO[bytes]]:
    with store.whole(shard) as packed:
        if shard.name.lower().endswith(".gz"):
            with gzip.open(packed) as file:
                yield cast(IO[bytes], file)
        else:
            yield packed


def _check_header(store: Store, shard: Shard) -> None:
    """Refuse a part with a header that is not the first part's.

    Raises:
        DataError: other columns, or the same in another order.
    """
    first, own = Table(store.local(store.shards[0])), Table(store.local(shard))
    if not first.has_header and not own.has_header:
        return
    if first.has_header and own.has_header:
        refuse_other_columns(shard, own.columns, store.shards[0], first.columns)
    raise DataError(
        f"the first line of part {shard.name} is not that of {store.shards[0].name}",
        hint="write the parts with the same header and the same order of columns",
    )
