"""Columns that only names of folders say: ``year=2024/month=5/part-0.parquet``, as Hive, Spark, Dask and pandas do it.

A value belongs to a whole shard, so that is all that is kept of it: one value a shard and column, however many rows.
Names are read as they were written: ``%20`` is a blank, ``__HIVE_DEFAULT_PARTITION__`` (or nothing) is missing, and a
column whose values are all whole numbers holds numbers. ``01`` stays a text, since nothing may be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from repcore.data.shards.shard import Shard
from repcore.errors import DataError

MISSING = "__HIVE_DEFAULT_PARTITION__"
LARGEST = 2**63
Value = int | str | None


def is_partition(name: str) -> bool:
    """Whether the name of a folder says the value of a column."""
    return name.find("=") > 0


def is_left_out(name: str) -> bool:
    """Whether the name of a file or folder is one that holds no data: hidden, or such as ``_SUCCESS``."""
    return name.startswith(".") or (name.startswith("_") and not is_partition(name))


def folders_without_partitions(folder: str) -> str:
    """A folder's path without the folders at its end that say values: ``edges/year=2024`` -> ``edges``."""
    parts = folder.split("/")
    while parts and is_partition(parts[-1]):
        parts.pop()
    return "/".join(parts) or "."


@dataclass(frozen=True)
class Partitions:
    """What the folders of shards say.

    Args:
        names: columns, in the order of folders.
        texts: S tuples, one a shard: the value of each column as a text, None where it is missing.
    """

    names: tuple[str, ...]
    texts: tuple[tuple[str | None, ...], ...]

    @cached_property
    def values(self) -> dict[str, list[Value]]:
        """Value of each shard, by column: whole numbers where all of a column are such, texts otherwise."""
        found: dict[str, list[Value]] = {}
        for place, name in enumerate(self.names):
            texts = [one[place] for one in self.texts]
            found[name] = list(map(_number, texts)) if all(map(_is_number, texts)) and any(texts) else list(texts)
        return found

    def beside(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Columns that the files themselves have not."""
        return tuple(one for one in self.names if one not in columns)

    def sentence(self, columns: Sequence[str]) -> str:
        """What is read from names of folders beside the files' own columns, and what is not."""
        own = [one for one in self.names if one in columns]
        read = self.beside(columns)
        said = [f"{', '.join(read)}: read from names of folders ({read[0]}=...)"] if read else []
        if own:
            said.append(
                f"{', '.join(own)}: the files have a column of that name, which is read; what folders say is not"
            )
        return "; ".join(said)


def partitions_of(shards: Sequence[Shard]) -> Partitions:
    """The columns that folders say of the parts of one table; none where no folder does.

    Raises:
        DataError: they say different columns, or one twice.
    """
    said = [_said(one) for one in shards]
    if not any(said):
        return Partitions((), ((),) * len(shards))
    first = next(place for place, one in enumerate(said) if one)
    names = tuple(said[first])
    for shard, one in zip(shards, said, strict=True):
        if set(one) != set(names):
            raise DataError(
                f"the folders of {shard.name} and {shards[first].name} do not say the same columns",
                of_this=", ".join(one) or "none",
                of_the_other=", ".join(names),
                hint="give the folder of the files that belong together, or put all of them into folders KEY=VALUE",
            )
    return Partitions(names, tuple(tuple(one[name] for name in names) for one in said))


def _said(shard: Shard) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for folder in shard.name.split("/")[:-1]:
        if not is_partition(folder):
            continue
        name, value = map(_decoded, folder.split("=", 1))
        if name in found:
            raise DataError(f"the folders of {shard.name} say {name!r} twice", hint="rename one of them")
        found[name] = None if value in ("", MISSING) else value
    return found


def _decoded(text: str) -> str:
    """``%20`` as what it stands for; a text whose signs stand for no UTF-8 is left as it is."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


def _is_number(text: str | None) -> bool:
    """Whether a text is missing or a whole number that is written as Python writes it, within 64 bits."""
    if text is None:
        return True
    if len(text) > len(str(-LARGEST)) or not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        return False
    return str(int(text)) == text and -LARGEST <= int(text) < LARGEST


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
