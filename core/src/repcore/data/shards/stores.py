"""Where the shards of a data set lie: a folder of this machine, or a stand-in folder for one far away.

A store knows names, sizes and a stamp of every shard without opening any, and gives a local path of one when it is
read. A folder that stands in for an address holds the list of what lies there (:mod:`repcore.data.shards.remote`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO

from repcore.data.accounting import walk
from repcore.data.identity import files_identity
from repcore.data.shards.partitions import is_left_out
from repcore.data.shards.shard import Shard, listing
from repcore.data.splits import PART_NAMES
from repcore.errors import DataError

NUMBERED = re.compile(r"(?P<before>.*)-(?P<number>\d{3,6})-of-(?P<count>\d{3,6})(?P<after>\..*)?")
SHOWN = 5


@dataclass(frozen=True)
class Store:
    """The shards below a folder, in the order of their names.

    Args:
        root: the folder, or the stand-in of an address.
        shards: those with the suffix that was asked for.
        address: where they come from; empty for a folder of this machine.
    """

    root: Path
    shards: tuple[Shard, ...]
    address: str = ""

    @cached_property
    def key(self) -> str:
        """Hash of place, names, sizes and stamps: the same as long as nobody changed a shard."""
        lines = [f"{one.name}|{one.size}|{one.stamp}" for one in self.shards]
        return sha256("\n".join([self.address or str(self.root.absolute()), *lines]).encode()).hexdigest()[:24]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names and contents of the shards; of what their listing says of them (entity tags, sizes) where they
        lie elsewhere and are not fetched whole.

        Raises:
            DataError: a shard is gone.
        """
        if not self.address:
            return files_identity({one.name: self.local(one) for one in self.shards})
        lines = [f"{one.name}|{one.size}|{one.stamp}" for one in self.shards]
        return sha256("\n".join(lines).encode()).hexdigest()

    def local(self, shard: Shard) -> Path:
        """A path of this machine at which the shard can be read now.

        Raises:
            DataError: it is no longer there, or cannot be fetched; names it.
        """
        if self.address:
            from repcore.data.shards.remote import fetched_shard

            return fetched_shard(self.address, shard)
        path = self.root / shard.name
        if not path.is_file():
            raise DataError(
                f"shard {shard.name} of {str(self.root)!r} is gone",
                expected=f"{len(self.shards):,} shards, as there were when the data were opened",
            )
        return path

    def whole(self, shard: Shard) -> IO[bytes]:
        """The shard as an open file of this machine.

        Raises:
            DataError: as :meth:`local`.
        """
        if self.address:
            from repcore.data.shards.remote import whole_shard

            return whole_shard(self.address, shard)
        return self.local(shard).open("rb")

    def opened(self, shard: Shard) -> IO[bytes]:
        """The shard to read parts of, without fetching all of it.

        Raises:
            DataError: it is no longer there, or cannot be reached; names it.
        """
        if self.address:
            from repcore.data.shards.remote import opened_shard

            return opened_shard(self.address, shard)
        return self.whole(shard)

    def only(self, shards: Sequence[Shard]) -> Store:
        """The same place with some of its shards."""
        return Store(self.root, tuple(shards), self.address)


def store_at(path: Path, suffix: str) -> Store:
    """The shards with this suffix below a folder, which may stand in for an address.

    Hidden names and those that begin with an underscore (``_SUCCESS``, ``_metadata``) are left out.

    Raises:
        DataError: numbered shards (``name-00002-of-00016``) of which some are missing; names them.
    """
    record = listing(path)
    if record is not None:
        shards = [Shard(*one) for one in record["files"] if _is_shard(one[0], suffix)]
        store = Store(path, tuple(sorted(shards, key=lambda one: one.name)), record["address"])
    else:
        store = Store(path, tuple(_local_shards(path, suffix)))
    refuse_gaps([one.name for one in store.shards], store.address or str(path))
    return store


def parts_of(shards: Sequence[Shard]) -> dict[str, list[Shard]]:
    """Shards by part of a split, train first; ``{"": all}`` where they do not all name one, or all the same.

    A part is named by a folder (``train/0001.tar``) or by the first word of a file (``train-00000-of-00016.tar``).
    """
    parts: dict[str, list[Shard]] = {}
    for one in shards:
        parts.setdefault(_part(one.name), []).append(one)
    if "" in parts or len(parts) < 2:
        return {"": list(shards)}
    return {name: parts[name] for name in dict.fromkeys(PART_NAMES.values()) if name in parts}


def _part(name: str) -> str:
    """Part of a split that a shard's folders or its name's first word say."""
    *folders, file = name.lower().split("/")
    first = file.replace("_", "-").replace(".", "-").split("-")[0]
    return next((PART_NAMES[word] for word in (*folders, first) if word in PART_NAMES), "")


def refuse_gaps(names: Sequence[str], place: str) -> None:
    """Refuse numbered shards of which some are missing: a data set that is quietly smaller is worse than none.

    Raises:
        DataError: names the first that are missing.
    """
    found: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        if parts := NUMBERED.fullmatch(name):
            found.setdefault((parts["before"], parts["count"], parts["after"] or ""), set()).add(int(parts["number"]))
    for (before, count, after), numbers in found.items():
        missing, first = missing_numbers(numbers, range(int(count)))
        width = len(count)
        refuse_missing([f"{before}-{one:0{width}}-of-{count}{after}" for one in first], missing, int(count), place)


def missing_numbers(numbers: AbstractSet[int], expected: range) -> tuple[int, list[int]]:
    """How many of the expected numbers are missing, and the first of them. Names may promise more parts than memory
    has room for."""
    count = expected.stop - expected.start - sum(one in expected for one in numbers)
    return count, list(islice((one for one in expected if one not in numbers), min(count, SHOWN + 1)))


def refuse_missing(names: Sequence[str], missing: int, count: int, place: str) -> None:
    """Refuse ``missing`` of ``count`` shards, the first of which are called ``names``; none is well.

    Raises:
        DataError: names the first that are missing.
    """
    if missing:
        raise DataError(
            f"{missing:,} of {count:,} shards of {place!r} are missing",
            missing=", ".join(names[:SHOWN]) + (", ..." if missing > SHOWN else ""),
            hint="fetch them again, or give the shards that you mean other names",
        )


def _local_shards(path: Path, suffix: str) -> list[Shard]:
    found = []
    for one in walk(path):
        name = one.path.relative_to(path).as_posix()
        if not one.left_out and not one.problem and _is_shard(name, suffix):
            facts = one.path.stat()
            found.append(Shard(name, facts.st_size, stamp_of(facts)))
    return found


def stamp_of(facts: os.stat_result) -> str:
    """What changes when a file of this machine does: programs can put the first of these times back, not the second."""
    return f"{facts.st_mtime_ns}-{facts.st_ctime_ns}"


def _is_shard(name: str, suffix: str) -> bool:
    return name.lower().endswith(suffix) and not any(map(is_left_out, name.split("/")))
