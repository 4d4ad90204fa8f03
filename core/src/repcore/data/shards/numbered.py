"""Which tables of a folder are in numbered parts (``part-00000.parquet``, ``edges-00000-of-00002.parquet``).

Decided by names alone:

* ``NAME-00000-of-00002``, and names with the word part, shard or chunk and a number (``part-00000-<id>.parquet``), are
  parts;
* parquet files whose names are numbered from 0 or 1 on with at least three digits (``0000.parquet``,
  ``table_0001.parquet``) are parts too, unless the word before the number is something that is recorded
  (``patient_0001``);
* in folders that say the value of a column (``year=2024``, at any depth) every parquet file is a part, unless its name
  is that of something that is recorded, and so is a text whose name says nothing else (``0.csv``, ``data_0.csv``);
* every other name is that of a file of its own, such as one recording.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repcore.data.groups import GROUP_WORDS
from repcore.data.shards.partitions import (
    Partitions,
    folders_without_partitions,
    is_left_out,
    is_partition,
    partitions_of,
)
from repcore.data.shards.shard import Shard, listing
from repcore.data.shards.stores import NUMBERED, Store, missing_numbers, refuse_gaps, refuse_missing, stamp_of

PARQUET = ".parquet"
TEXTS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
THINGS = frozenset(GROUP_WORDS) | {
    "rec", "record", "series", "signal", "scan", "cloud", "shape", "sample", "item", "trial", "run", "image", "volume",
    "graph", "network", "molecule", "sensor", "machine", "engine", "unit", "day", "week", "month", "subj", "sub",
}  # fmt: skip
"""Words before a number that say what one file holds."""
SAYING_NOTHING = frozenset({"data", "table", "file", "rows"})
"""Words of a file's name in a folder of a partition that tell it from no other."""
LOOKED_INTO = 400  # folders
MOST_MISSING = 1000  # for each part that is there
_PART = re.compile(
    r"(?:(?P<name>.*)[-_.])?(?:part|shard|chunk)[-_.]?(?:[a-z][-_])?(?P<number>\d+)(?P<rest>[-_.].*)?", re.IGNORECASE
)
_PLAIN = re.compile(r"(?P<name>.*?)[-_.]?(?P<number>\d{3,})")
_IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}", re.IGNORECASE)


@dataclass(frozen=True)
class Numbered:
    """A table in parts: the file that it becomes, below the folder, its parts in their order, and the columns that the
    names of their folders say."""

    name: str
    store: Store
    partitions: Partitions

    @property
    def sentence(self) -> str:
        """What was decided, why, and how to change it."""
        shards = self.store.shards
        if self.partitions.names:
            return (
                f"{len(shards):,} files ({shards[0].name} to {shards[-1].name}) are read as one table, {self.name}: "
                "their folders say values of its columns"
            )
        return (
            f"{len(shards):,} files ({shards[0].name} to {shards[-1].name}) are read as one table, {self.name}: their "
            "names are numbered as parts; where each is an item of its own, name it by what it is "
            f"(recording_0001{PurePosixPath(self.name).suffix})"
        )


def numbered_tables(path: Path) -> list[Numbered]:
    """The tables in parts of a folder, or of folders in it that hold nothing else.

    Raises:
        DataError: of numbered parts some are missing; names them. Or folders of one table say other columns.
    """
    if not path.is_dir():
        return []
    record = listing(path)
    if record is not None:
        shards, address = [Shard(*one) for one in record["files"]], str(record["address"])
    else:
        shards, address = _shards_below(path), ""
    folders: dict[str, list[Shard]] = {}
    for one in shards:
        if not any(map(is_left_out, one.name.split("/"))):
            folder = folders_without_partitions(str(PurePosixPath(one.name).parent))
            folders.setdefault(folder, []).append(one)
    tables: dict[str, list[Shard]] = {}
    base = PurePosixPath(address.rstrip("/")).name if address else folder_name(path)
    for folder, held in folders.items():
        groups = _groups(held)
        if not _all_or_none(held, groups):
            continue
        if folder == ".":
            tables |= {f"{name or base}{suffix}": parts for (name, suffix), parts in groups.items()}
        elif groups and "/" not in folder and sum(map(len, groups.values())) == len(held):
            tables |= {
                f"{folder}{suffix}" if len(groups) == 1 else f"{folder}/{name or folder}{suffix}": parts
                for (name, suffix), parts in groups.items()
            }
    found = []
    for name, parts in tables.items():
        refuse_gaps([one.name for one in parts], address or str(path))
        store = Store(path, tuple(sorted(parts, key=_place)), address)
        partitions = partitions_of(store.shards)
        if not partitions.names:  # of a partition only some tasks write parts
            _refuse_holes(store)
        found.append(Numbered(name.removesuffix(".gz"), store, partitions))
    return found


def _shards_below(path: Path) -> list[Shard]:
    """Tables of a folder, and of those of the first folders in it, and of all that say values, which hold nothing but
    tables."""
    found: list[Shard] = []
    folders: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if _is_table(entry.name) and entry.is_file():
                found.append(_shard(path, entry.path))
            elif (len(folders) < LOOKED_INTO or is_partition(entry.name)) and not is_left_out(entry.name):
                folders += [entry.path] if entry.is_dir() else []
    held = {one: _only_tables(path, one) for one in sorted(folders)}
    partitions = [one for one in held if is_partition(Path(one).name)]
    mixed = any(held[one] is None for one in partitions)
    return found + [shard for one in held if not (mixed and one in partitions) for shard in held[one] or ()]


def _only_tables(root: Path, folder: str) -> list[Shard] | None:
    """The tables of a folder, and of those in it that say values; None if it holds anything else."""
    held: list[Shard] = []
    pending = [folder]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if _is_table(entry.name) and entry.is_file():
                    held.append(_shard(root, entry.path))
                elif is_partition(entry.name) and entry.is_dir():
                    pending.append(entry.path)
                elif not is_left_out(entry.name):
                    return None
    return held


def folder_name(path: Path) -> str:
    """The name of a folder, also of ``.``."""
    return path.absolute().name or "data"


def _is_table(name: str) -> bool:
    return name.lower().endswith((PARQUET, *TEXTS)) and not is_left_out(name)


def _shard(root: Path, path: str) -> Shard:
    facts = Path(path).stat()
    return Shard(Path(path).relative_to(root).as_posix(), facts.st_size, stamp_of(facts))


def _groups(shards: Sequence[Shard]) -> dict[tuple[str, str], list[Shard]]:
    """Files of one folder that are parts of a table, by its name and suffix."""
    sure: dict[tuple[str, str], list[Shard]] = {}
    plain: dict[tuple[str, str], list[Shard]] = {}
    for one in shards:
        file = PurePosixPath(one.name).name
        suffix = next((end for end in (PARQUET, *TEXTS) if file.lower().endswith(end)), "")
        stem = file[: len(file) - len(suffix)]
        if not suffix:
            continue
        partitioned = _in_partition(one)
        if found := NUMBERED.fullmatch(stem):
            sure.setdefault((found["before"], suffix), []).append(one)
        elif found := _PART.fullmatch(stem):
            sure.setdefault((found["name"] or "", suffix), []).append(one)
        elif partitioned:
            if _is_no_thing(stem) if suffix == PARQUET else _says_nothing(stem):
                sure.setdefault(("", suffix), []).append(one)
        elif suffix == PARQUET and (found := _PLAIN.fullmatch(stem)) and _is_no_thing(found["name"]):
            plain.setdefault((found["name"], suffix), []).append(one)
    counted = {
        key: held
        for key, held in plain.items()
        if key not in sure and len(held) > 1 and min(map(_number, held)) < 2 and len({_width(one) for one in held}) == 1
    }
    tables = {
        key: held
        for key, held in sure.items()
        if len(held) > 1 or NUMBERED.match(_stem(held[0])) or _in_partition(held[0])
    }
    return tables | counted


def _all_or_none(held: Sequence[Shard], groups: Mapping[tuple[str, str], Sequence[Shard]]) -> bool:
    """Whether every file in the folders of partitions is a part; where one is something else, all are files of their
    own."""
    parts = {one.name for shards in groups.values() for one in shards}
    return all(one.name in parts for one in held if _in_partition(one))


def _in_partition(shard: Shard) -> bool:
    return any(map(is_partition, shard.name.split("/")[:-1]))


def _says_nothing(stem: str) -> bool:
    """Whether a name is but a number, an identifier or a word for any file."""
    words = re.split(r"[-_.]", _IDENTIFIER.sub("", stem.lower()))
    return all(not word or word.isdigit() or word in SAYING_NOTHING for word in words)


def _is_no_thing(name: str) -> bool:
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return not words or (words[-1] not in THINGS and words[-1].removesuffix("s") not in THINGS)


def _stem(shard: Shard) -> str:
    name = PurePosixPath(shard.name).name
    return name[: len(name) - len(next(end for end in (PARQUET, *TEXTS) if name.lower().endswith(end)))]


def _digits(shard: Shard) -> str:
    stem = _stem(shard)
    found = NUMBERED.fullmatch(stem) or _PART.fullmatch(stem) or _PLAIN.fullmatch(stem)
    return "0" if found is None else found["number"]


def _number(shard: Shard) -> int:
    return int(_digits(shard))


def _width(shard: Shard) -> int:
    return len(_digits(shard))


def _place(shard: Shard) -> tuple[str, int, str]:
    """Parts in the order of their folders and numbers: ``part.10`` comes after ``part.9``."""
    return str(PurePosixPath(shard.name).parent), _number(shard), shard.name


def _refuse_holes(store: Store) -> None:
    """Refuse parts without a total of which one in the middle, or the first, is missing.

    Names with more behind the number (an identifier of the job that wrote them) may have holes: empty parts are not
    written.

    Raises:
        DataError: names the first that are missing.
    """
    stems = [_stem(one) for one in store.shards]
    if any(NUMBERED.fullmatch(one) or not one[-1].isdigit() for one in stems):
        return
    if any((found := _PART.fullmatch(one)) and found["rest"] for one in stems):
        return
    numbers = {_number(one) for one in store.shards}
    if max(numbers) > MOST_MISSING * len(numbers):  # dates, or identifiers: they do not count the parts
        return
    missing, absent = missing_numbers(numbers, range(min(1, min(numbers)), max(numbers) + 1))
    first = store.shards[0]
    before, behind = first.name[: first.name.rindex(_digits(first))], first.name[len(first.name) - _tail(first) :]
    names = [f"{before}{one:0{_width(first)}}{behind}" for one in absent]
    refuse_missing(names, missing, len(numbers) + missing, store.address or str(store.root))


def _tail(shard: Shard) -> int:
    """Length of what stands behind the number."""
    return len(shard.name) - shard.name.rindex(_digits(shard)) - len(_digits(shard))
