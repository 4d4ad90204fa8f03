"""Rows of tar archives through the reader that a domain has for one file: every domain reads tar shards by this.

A row's content is written to a file of its own in the cache, the domain's reader opens that file, and what it makes of
it becomes the row. The last files stay for a while, because some samples are read from them later; their room is
bounded.
Labels and groups come from ``.cls`` and ``.json`` members, parts of a split from the names of archives or folders.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from functools import cached_property, lru_cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq

from repcore.data.accounting import Accounting, TableCount
from repcore.data.cells import is_missing
from repcore.data.groups import group_column, useful_groups
from repcore.data.labels import LabelColumn, LabelKind, read_labels
from repcore.data.preparation import cache_root
from repcore.data.shards.bounded_cache import LIMIT_VARIABLE, cache_limit
from repcore.data.shards.stores import parts_of
from repcore.data.shards.tar_rows import (
    FACT_KINDS,
    TarRow,
    content_identity,
    facts_file,
    key_at,
    row_at,
    tar_index,
    tar_store,
)
from repcore.data.whole_folders import PARTIAL, machine_name, remove_abandoned
from repcore.errors import DataError, ItemError
from repcore.files import parse_json, storable
from repcore.interfaces import DatasetReader, Sample
from repcore.registry import Entry
from repcore.specs import DatasetSpec, TargetSpec

KEPT_BYTES = 512 * 2**20  # of rows written to files
KEPT_ROWS = 64  # at least so many of them stay
MOST_SEARCHED = 2_000_000  # rows in which labels are looked for unasked
KIND = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,40}")


class TarReader:
    """A :class:`repcore.interfaces.DatasetReader` over tar archives.

    Args:
        entry: the domain's reader for the content of one row.
        config: its settings; ``path`` is an archive or a folder of archives, ``labels`` those that are wanted.

    Raises:
        DataError: no archive, none with rows, a damaged one, no member that the reader takes, or a missing label.
    """

    def __init__(self, entry: Entry[DatasetSpec], config: Any) -> None:  # a frozen dataclass of the plugin
        self.entry, self.config = entry, config
        if getattr(config, "pseudonymise", ""):
            raise DataError("pseudonyms are not given to rows of tar archives", hint="unpack the archives first")
        self.store = tar_store(Path(config.path).expanduser())
        self.index = tar_index(self.store)
        self.place = self.store.address or str(config.path)
        if not len(self.index):
            raise DataError(f"the {len(self.store.shards):,} archives of {self.place!r} hold no row")
        self._scratch = Scratch()
        self.kind = chosen_kind(entry, self._scratch.files(row_at(self.store, self.index, 0)), self.place)
        self.account = Accounting()
        self._make_account()
        said = self._said()
        names = list(dict.fromkeys(name for one in said if one for name in one))
        cells = {name: [None if one is None else one.get(name) for one in said] for name in names}
        self._labels = self._chosen(cells)
        self.groups = self._grouped(cells)
        self.targets: Sequence[TargetSpec] = tuple(one.target for one in self._labels if one.target is not None)

    def _make_account(self) -> None:
        shards = self.store.shards
        first = shards[0].name + (f" and {len(shards) - 1:,} more" if len(shards) > 1 else "")
        self.account.tables.append(TableCount(first, len(self)))
        if again := self.index.facts["again"]:
            self.account.note(
                f"{len(again):,} rows have a key that came before in their archive: their ids end in #2, #3"
            )
        self._note_of_size()
        self.account.guess(
            "rows",
            f"members of {len(shards):,} tar archives that share a name",
            f"each .{self.kind} is one row's content",
        )

    def _note_of_size(self) -> None:
        """In a shuffled order archives that do not fit into the cache would be fetched for every other row."""
        size = sum(one.size for one in self.store.shards)
        if self.store.address and size > cache_limit():
            rows = -(-len(self) // len(self.store.shards))
            self.account.note(
                f"the archives have {size / 2**30:,.1f} GiB, the cache {cache_limit() / 2**30:g} ({LIMIT_VARIABLE}): "
                f"train with data.block_rows={rows}, or archives are fetched again and again"
            )

    # ------------------------------------------------------------------------------------------ labels

    def _said(self) -> list[dict[str, Any] | None]:
        """What ``.cls`` and ``.json`` members say of each row; nothing of very many rows, unless labels are wanted."""
        files = [facts_file(self.index.folder, number) for number in range(len(self.store.shards))]
        there = [one.is_file() for one in files]
        wanted = getattr(self.config, "labels", None)
        if not any(there):
            return []
        if len(self) > MOST_SEARCHED and not wanted:
            self.account.note(
                f"labels are not looked for in more than {MOST_SEARCHED:,} rows; name them: labels=[NAME]"
            )
            return []
        found: list[dict[str, Any] | None] = []
        for number, (file, is_there) in enumerate(zip(files, there, strict=True)):
            if is_there:
                texts = pq.read_table(file).column("said").to_pylist()
                found += [None if one is None else parse_json(one) for one in texts]
            else:
                found += [None] * int(self.index.starts[number + 1] - self.index.starts[number])
        return found

    def _chosen(self, cells: Mapping[str, Sequence[Any]]) -> list[LabelColumn]:
        wanted = list(getattr(self.config, "labels", None) or ())
        missing = [name for name in wanted if name not in cells]
        if missing:
            raise DataError(
                f"the rows of {self.place!r} have no label {missing[0]!r}", labels=", ".join(cells) or "none"
            )
        kind: LabelKind = getattr(self.config, "label_kind", "auto")
        kinds = dict.fromkeys(wanted, kind)
        found = read_labels({name: cells[name] for name in wanted or cells}, account=self.account, kinds=kinds or None)
        return [one for one in found if one.target is not None]

    def _grouped(self, cells: Mapping[str, Sequence[Any]]) -> Sequence[str | None] | None:
        """Leakage keys that ``.json`` members name (patient, speaker), where they group anything."""
        name = group_column(list(cells))
        if name is None:
            return None
        keys = [None if is_missing(one) else str(one).strip() for one in cells[name]]
        if not useful_groups(keys):
            return None
        self.account.guess("groups", repr(name), f"{len(set(keys)):,} of them, by its name in .json members")
        return keys

    # ------------------------------------------------------------------------------------------ reader

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names and contents of members; see :func:`repcore.data.shards.tar_rows.content_identity`."""
        return content_identity(self.store, self.index)

    @cached_property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Declared by archives or folders called train, validation and test."""
        parts = parts_of(self.store.shards)
        if "" in parts:
            return {}
        number = {one.name: place for place, one in enumerate(self.store.shards)}
        starts = self.index.starts
        rows = {
            name: [range(int(starts[number[one.name]]), int(starts[number[one.name] + 1])) for one in shards]
            for name, shards in parts.items()
        }
        return {
            name: cast(Sequence[int], np.concatenate([np.arange(one.start, one.stop) for one in found]))
            for name, found in rows.items()
        }

    def __len__(self) -> int:
        return len(self.index)

    def id_of(self, index: int) -> str:
        """``SHARD/KEY``: the archive's name without ``.tar``, and the row's key in it; ``#2`` where it comes again."""
        shard, key = key_at(self.store, self.index, index)
        return _id(shard.name, key) + self._again(index)

    def _again(self, index: int) -> str:
        """Tells rows of one key apart."""
        count = self.index.facts["again"].get(str(index))
        return f"#{count}" if count else ""

    def __getitem__(self, index: int) -> Sample:
        row = row_at(self.store, self.index, index)
        path = self._scratch.files(row).get(self.kind)
        shard = self.store.shards[self.index.shard_of(index)[0]].name
        if path is None:
            raise ItemError("missing_member", f"{storable(row.key)} of {shard} has no .{self.kind}")
        member = storable(f"{row.key}.{self.kind} of {shard}")
        try:
            inner = self._inner(path)
            if len(inner) != 1:
                raise ItemError("several_rows", f"{member} holds {len(inner):,} rows; a member is one row")
            sample = inner[0]
        except DataError as error:  # the file in the cache is ours, and its name another in each process
            status = error.status if isinstance(error, ItemError) else "refused"
            words = error.reason if isinstance(error, ItemError) else " ".join(str(error).split())
            if str(path.parent) not in words:
                raise
            words = words.replace(str(path), member).replace(str(path.parent), shard)
            raise ItemError(status, words) from error
        targets = {one.name: one.value(index) for one in self._labels}
        group = sample.group if self.groups is None else self.groups[index]
        return replace(sample, id=_id(shard, row.key) + self._again(index), targets=targets, group=group)

    def by_id(self, sample_id: str) -> Sample:
        """The row with this id.

        Raises:
            DataError: there is none.
        """
        for number, one in enumerate(self.store.shards):
            if sample_id.startswith(f"{_id(one.name, '')}"):
                rows = range(int(self.index.starts[number]), int(self.index.starts[number + 1]))
                found = next((row for row in rows if self.id_of(row) == sample_id), None)
                if found is not None:
                    return self[found]
        raise DataError(f"{self.place!r} has no row {sample_id!r}", expected=f"SHARD/KEY, such as {self.id_of(0)}")

    def describe(self, sample: Sample) -> Mapping[str, Any]:
        """Facts for ``inspect``, as the domain's reader gives them."""
        given = getattr(self._first, "describe", None)
        return given(sample) if callable(given) else {}

    @property
    def lengths(self) -> Sequence[str]:
        """Names of facts with one unit in all rows, as the domain's reader says."""
        return tuple(getattr(self._first, "lengths", ()))

    @property
    def costs(self) -> np.ndarray | None:
        """Bytes of each row, for length buckets where the domain's reader has such; else None."""
        if getattr(self._first, "costs", None) is None:
            return None
        ends = np.concatenate([self.index.places[1:], [0]])
        sizes = ends - self.index.places
        last = self.index.starts[1:] - 1
        sizes[last] = np.array([one.size for one in self.store.shards]) - self.index.places[last]
        return sizes

    @cached_property
    def _first(self) -> DatasetReader:
        return self._inner(self._scratch.files(row_at(self.store, self.index, 0))[self.kind])

    def _inner(self, path: Path) -> DatasetReader:
        """The domain's reader over one row's file; labels are ours."""
        plain = {
            one.name: one.default if one.default is not MISSING else ()
            for one in fields(self.config)
            if one.name == "labels"
        }
        reader: DatasetReader = self.entry.load()(replace(self.config, path=str(path), **plain))
        return reader


def _id(shard: str, key: str) -> str:
    return storable(f"{shard.removesuffix('.tar')}/{key}")


class Scratch:
    """Rows as files in the cache, the last ones kept, each process with a folder of its own."""

    def __init__(self) -> None:
        self._owner, self._folder = 0, Path()
        self._rows: OrderedDict[str, tuple[Path, int]] = OrderedDict()
        self._held = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"_owner": 0, "_folder": Path(), "_rows": OrderedDict(), "_held": 0}

    def files(self, row: TarRow) -> dict[str, Path]:
        """A row's members but those with labels, as files by kind."""
        if self._owner != os.getpid():  # also after a fork
            self.__init__()  # type: ignore[misc]
            self._open()
        content = {kind: data for kind, data in row.members.items() if kind not in FACT_KINDS and KIND.fullmatch(kind)}
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", row.key.rpartition("/")[2])[:80] or "row"
        paths = {kind: folder / f"{stem}.{kind}" for kind in content}
        for kind, path in paths.items():
            path.write_bytes(content[kind])
        size = sum(map(len, content.values()))
        self._rows[folder.name] = (folder, size)
        self._held += size
        while self._held > KEPT_BYTES and len(self._rows) > KEPT_ROWS:
            _, (old, its_size) = self._rows.popitem(last=False)
            shutil.rmtree(old, ignore_errors=True)
            self._held -= its_size
        return paths

    def _open(self) -> None:
        above = cache_root() / "shards"
        remove_abandoned(above)
        self._owner = os.getpid()
        self._folder = above / f"rows{PARTIAL}{machine_name()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self._folder.mkdir(parents=True)
        Finalize(self, shutil.rmtree, (self._folder, True), exitpriority=1)


@lru_cache(maxsize=4)
def _sampled(path: Path, stamp: int) -> tuple[Scratch, dict[str, Path]]:
    """The first row of archives as files, kept while readers are asked about it."""
    del stamp
    store = tar_store(path)
    index = tar_index(store)
    scratch = Scratch()
    return scratch, scratch.files(row_at(store, index, 0)) if len(index) else {}


def first_row(path: Path) -> dict[str, Path]:
    """Files of the first row by kind, for sniffers.

    Raises:
        DataError: no archive, or a damaged one.
    """
    return _sampled(path, path.stat().st_mtime_ns)[1]


def chosen_kind(entry: Entry[DatasetSpec], files: Mapping[str, Path], place: str) -> str:
    """The kind of member that a reader takes best; the only one there is, if it recognises none.

    Raises:
        DataError: there are several, and it recognises none.
    """
    scores = {kind: float(entry.load("sniff")(path)) if entry.spec.sniff else 0.0 for kind, path in files.items()}
    best = max(scores, key=lambda kind: scores[kind], default="")
    if not scores or (scores[best] == 0.0 and len(scores) > 1):
        raise DataError(
            f"reader {entry.full_name} takes no member of the rows of {place!r}",
            members=", ".join(f".{one}" for one in files) or "none but labels",
            hint="another --reader",
        )
    return best
