"""A folder of parquet files as one table: random access by (shard, row group, row), in bounded memory.

Only the footers are read when the folder is opened, once; they are kept as an index. Row groups of the columns that are
asked for are decoded when they are needed and kept up to a bound, which is all that reading in order needs. A shard
whose row groups come back again and again (a shuffled order over more than fits) gets a memory-mapped copy of that
column in the cache, as a large single table does.
"""

from __future__ import annotations

import mmap
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from repcore.data.accounting import Accounting, TableCount
from repcore.data.first_files import first_files
from repcore.data.preparation import cache_root
from repcore.data.records import Counted
from repcore.data.shards.partitions import partitions_of
from repcore.data.shards.row_index import RowIndex, ShardRows, open_index
from repcore.data.shards.shard import Shard, names_elsewhere
from repcore.data.shards.stores import Store, parts_of, store_at
from repcore.data.tables import ROWS_PER_CHUNK, Names, memory_mapped, missing_column
from repcore.errors import DataError
from repcore.unpacking import OpenParquet, open_parquet, parquet_batches

SUFFIX = ".parquet"
KEPT_BYTES = 256 * 2**20  # of decoded row groups
OPEN_FILES = 16
AT_ONCE = 16  # footers that are fetched together
MOST_LOADS = 2  # of one row group, before its shard gets a copy
FOOTER_BYTES = 1 << 16  # of the end of a file, which go into the fingerprint

Group = tuple[int, int, str]
"""Shard, row group, column."""


@dataclass(frozen=True)
class Shards:
    """Parquet files that make up one table; stands where a single table's path may stand."""

    store: Store

    @property
    def name(self) -> str:
        """``train-00000.parquet and 15 more``."""
        first = self.store.shards[0].name
        return first if len(self.store.shards) == 1 else f"{first} and {len(self.store.shards) - 1:,} more"


def parquet_shards(path: Path) -> dict[str, Shards]:
    """The tables that the parquet files below a folder make up, by part of a split; ``{"": all}`` where they name none.

    A part is named by a folder (``train/0001.parquet``) or by the first word of a file (``train-00000-of-00016``).

    Raises:
        DataError: numbered shards of which some are missing.
    """
    if not path.is_dir():
        return {}
    store = store_at(path, SUFFIX)
    if not store.shards:
        return {}
    return {name: Shards(store.only(shards)) for name, shards in parts_of(store.shards).items()}


def is_sharded(path: Path) -> bool:
    """Whether a folder holds parquet files, told without listing all of it."""
    names = names_elsewhere(path)
    return any(Path(one).suffix.lower() == SUFFIX for one in (first_files(path) if names is None else names))


class ShardedTable:
    """Random access to the rows of many parquet files; the same methods as :class:`repcore.data.tables.Table`.

    Args:
        shards: the files.
        kept_bytes: most memory for decoded row groups.

    Attributes:
        columns: of the files, then those that only names of folders say (:mod:`repcore.data.shards.partitions`).
        own_columns: of the files.

    Raises:
        DataError: a file is damaged, has other columns than the first, in itself or by its folders, or all are empty.
    """

    has_header = True

    def __init__(self, shards: Shards, kept_bytes: int = KEPT_BYTES) -> None:
        self.store, self.name, self.kept_bytes = shards.store, shards.name, kept_bytes
        self.path = shards.store.root
        self.index = _index(shards.store)
        self.own_columns = Names(self.index.facts["columns"])
        self._partitions = partitions_of(shards.store.shards)
        beside = self._partitions.beside(self.own_columns)
        self._of_folders = {name: self._partitions.values[name] for name in beside}
        self.columns = Names([*self.own_columns, *beside])
        if not len(self.index):
            raise DataError(f"the {len(self.store.shards):,} shards of {self._place!r} hold no row")
        self._kept: OrderedDict[Group, pa.Array] = OrderedDict()
        self._held = 0
        self._loads: Counter[Group] = Counter()
        self._files: OrderedDict[int, OpenParquet] = OrderedDict()
        self._copies: dict[tuple[int, str], pa.ChunkedArray] = {}

    def __len__(self) -> int:
        return len(self.index)

    @property
    def fingerprint(self) -> str:
        """Hash of names and contents of the shards; see :attr:`repcore.data.shards.stores.Store.fingerprint`."""
        return sha256(f"{self.index.facts['fingerprint']}|{self.store.fingerprint}".encode()).hexdigest()

    @property
    def _place(self) -> str:
        return self.store.address or str(self.store.root)

    @property
    def counts(self) -> TableCount:
        """Where every record went."""
        return TableCount(self.name, len(self), 0, 0, 0, 0, 0)

    def tell(self, account: Accounting) -> None:
        """Put the files and their rows into an account."""
        account.use(*(self.store.root / one.name for one in self.store.shards))
        if self.counts not in account.tables:
            account.tables.append(self.counts)
        account.note(f"{len(self.store.shards):,} parquet files are read as one table of {len(self):,} rows")
        if self._partitions.names:
            account.note(self._partitions.sentence(self.own_columns))

    def require(self, name: str) -> str:
        """A column name that exists, found exactly or without regard to case.

        Raises:
            DataError: no such column; lists the columns.
        """
        lower = [column for column in self.columns if column.lower() == name.lower()]
        if name in self.columns or len(lower) == 1:
            return name if name in self.columns else lower[0]
        raise missing_column(self.path.name, name, self.columns)

    def value(self, row: int, column: str) -> Any:  # parquet's own type
        """One cell."""
        shard, within = self.index.shard_of(row)
        if column in self._of_folders:
            return self._of_folders[column][shard]
        copy = self._copies.get((shard, column))
        if copy is not None:
            return copy[within].as_py()
        shard, group, within, _ = self.index.block_of(row)
        return self._group((shard, group, column))[within].as_py()

    def slice(self, start: int, stop: int, column: str) -> list[Any]:
        """Cells [start, stop) of a column."""
        found: list[Any] = []
        row, stop = max(start, 0), min(stop, len(self))
        while row < stop and column in self._of_folders:
            shard, _ = self.index.shard_of(row)
            count = min(stop, int(self.index.starts[shard + 1])) - row
            found.extend(repeat(self._of_folders[column][shard], count))
            row += count
        while row < stop:
            shard, group, within, rows = self.index.block_of(row)
            count = min(stop - row, rows - within)
            found.extend(self._group((shard, group, column)).slice(within, count).to_pylist())
            row += count
        return found

    def cells(self, column: str) -> list[Any]:
        """All cells of a column."""
        return self.slice(0, len(self), column)

    def problems(self) -> dict[int, str]:
        """Malformed rows: parquet has none."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what was decoded and opened: that is quickly done again elsewhere."""
        return {**self.__dict__, "_kept": OrderedDict(), "_held": 0, "_loads": Counter(), "_files": OrderedDict(),
                "_copies": {}}  # fmt: skip

    # ------------------------------------------------------------------------------------------ row groups

    def _group(self, place: Group) -> pa.Array:
        """A decoded row group of one column."""
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        shard, group, column = place
        self._loads[place] += 1
        if self._loads[place] > MOST_LOADS:
            return self._of_copy(place)
        with in_words(self._place, self.store.shards[shard].name):
            batches = list(self._batches(shard, column, [group]))
            cells = pa.chunked_array([one.column(0) for one in batches]).combine_chunks()
        self._kept[place] = cells
        self._held += cells.nbytes
        while self._held > self.kept_bytes and len(self._kept) > 1:
            self._held -= self._kept.popitem(last=False)[1].nbytes
        return cells

    def _of_copy(self, place: Group) -> pa.Array:
        shard, group, column = place
        if (shard, column) not in self._copies:
            one = self.store.shards[shard]
            with in_words(self._place, one.name):
                batches = self._batches(shard, column)
                name = sha256(f"{one.name}|{one.size}|{one.stamp}|{column}".encode()).hexdigest()[:24]
                target = cache_root() / "tables" / f"{self.store.key[:8]}-{name}.arrow"
                self._copies[shard, column] = memory_mapped(batches, target, Counted())[0].column(0)
        first = int(self.index.places[int(self.index.entries[shard]) + group])
        rows = self.index.block_of(int(self.index.starts[shard]) + first)[3]
        return self._copies[shard, column].slice(first, rows)

    def _batches(self, shard: int, column: str, groups: list[int] | None = None) -> Iterator[pa.RecordBatch]:
        one = self.store.shards[shard]
        name = f"shard {one.name} of {self._place!r}"
        return parquet_batches(self._file(shard), name, one.size, ROWS_PER_CHUNK, groups=groups, columns=[column])

    def _file(self, shard: int) -> OpenParquet:
        if shard in self._files:
            self._files.move_to_end(shard)
        else:
            self._files[shard] = open_parquet(pa.py_buffer(self._mapped(shard)))
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)
        return self._files[shard]

    def _mapped(self, shard: int) -> mmap.mmap:
        with self.store.whole(self.store.shards[shard]) as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@contextmanager
def in_words(place: str, name: str) -> Iterator[None]:
    """What goes wrong with a shard, as an error that names it."""
    try:
        yield
    except (OSError, EOFError, pa.ArrowException) as error:
        raise DataError(
            f"shard {name} of {place!r} is damaged or not what its name says: {error}", hint="write or fetch it again"
        ) from error


def _index(store: Store) -> RowIndex:
    """The index of a folder's footers, kept in the cache."""
    columns: list[str] = []
    digest = sha256()

    def read(folder: Path) -> Iterator[ShardRows]:
        del folder
        for one, (footer, names, end) in zip(store.shards, _footers(store), strict=True):
            digest.update(f"{one.name}|{one.size}|".encode() + end)
            _check_columns(store, one, names, columns)
            rows = np.array([footer.row_group(i).num_rows for i in range(footer.num_row_groups)], np.int64)
            yield ShardRows(footer.num_rows, np.concatenate([[0], np.cumsum(rows)])[:-1].astype(np.int64), rows)

    return open_index(f"{store.key}-parquet", read, lambda: {"columns": columns, "fingerprint": digest.hexdigest()})


def _footers(store: Store) -> Iterator[tuple[Any, list[str], bytes]]:
    """Footer, columns and end of each file in order; several at a time where each has to be waited for."""

    def read(one: Shard, file: IO[bytes]) -> tuple[Any, list[str], bytes]:
        with in_words(store.address or str(store.root), one.name), file:
            footer = pq.read_metadata(file)
            return footer, list(footer.schema.to_arrow_schema().names), _end_of(file, one.size)

    with ThreadPoolExecutor(AT_ONCE if store.address else 1) as pool:
        for first in range(0, len(store.shards), AT_ONCE):
            few = store.shards[first : first + AT_ONCE]  # opened here: each thread would connect anew
            yield from pool.map(read, few, [store.opened(one) for one in few])


def _check_columns(store: Store, shard: Shard, names: Sequence[str], columns: list[str]) -> None:
    """Keep the columns of the first shard; those of others must be the same."""
    if not columns:
        columns.extend(names)
    refuse_other_columns(shard, names, store.shards[0], columns)


def refuse_other_columns(shard: Shard, names: Sequence[str], first: Shard, columns: Sequence[str]) -> None:
    """Refuse a shard whose columns, in any order, are not those of the first.

    Raises:
        DataError: names the columns that only one of the two has.
    """
    if sorted(names) != sorted(columns):
        more, less = sorted(set(names) - set(columns)), sorted(set(columns) - set(names))
        raise DataError(
            f"shard {shard.name} has other columns than {first.name}",
            only_in_this_one=", ".join(more),
            only_in_the_first=", ".join(less),
            hint="give the folder of the shards that belong together",
        )


def _end_of(file: IO[bytes], size: int) -> bytes:
    """The end of a file: of parquet its footer with sizes, places and statistics of everything in it."""
    file.seek(max(0, size - FOOTER_BYTES))
    return file.read()
