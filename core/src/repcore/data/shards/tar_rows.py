"""Tar archives whose members make up rows, as WebDataset writes them: ``000017.wav 000017.cls 000017.json``.

Consecutive members with the same name up to the first dot of their last part are one row. The index keeps where each
row begins (8 bytes), and in a small parquet file a shard what ``.cls`` and ``.json`` members say of its rows. Only
plain files count; names of members are looked at, never used as paths. What makes archives the same data is what their
members hold, not the times, owners and headers that packing writes beside it.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from repcore.data.allocation import check_allocation
from repcore.data.first_files import first_files
from repcore.data.identity import READ, read_limit
from repcore.data.shards.row_index import RowIndex, ShardRows, open_index
from repcore.data.shards.shard import Shard, names_elsewhere
from repcore.data.shards.stores import Store, stamp_of, store_at
from repcore.errors import DataError, ItemError
from repcore.files import parse_json, read_json_file, storable, write_text
from repcore.reporting import Wait
from repcore.unpacking import MOST_TIMES

SUFFIX = ".tar"
FACT_KINDS = ("cls", "json")
MOST_FACT_BYTES = 1 << 20  # of a member that is read while the index is made
LOOKED_AT = 200  # files of a folder
BLOCK = 512
MOST_HEADER_BYTES = 1 << 24  # of a long name or an extended header: real ones have thousands


@dataclass(slots=True)
class TarRow:
    """One row: its key in the archive, and the content of its members by kind (``wav``, ``cls``, ``seg.nii.gz``)."""

    key: str
    members: dict[str, bytes] = field(default_factory=dict)


def is_tar_data(path: Path) -> bool:
    """Whether a path is a tar archive, or a folder that holds mostly such."""
    if path.is_file():
        return path.suffix.lower() == SUFFIX
    if not path.is_dir():
        return False
    names = names_elsewhere(path)
    files = first_files(path, LOOKED_AT) if names is None else [Path(one) for one in names]
    suffixes = [one.suffix.lower() for one in files]
    return 2 * suffixes.count(SUFFIX) > len(suffixes)


def tar_store(path: Path) -> Store:
    """The archives at a path: one, or those below a folder.

    Raises:
        DataError: there is none, or numbered ones are missing.
    """
    if path.is_file():
        facts = path.stat()
        return Store(path.parent, (Shard(path.name, facts.st_size, stamp_of(facts)),))
    store = store_at(path, SUFFIX)
    if not store.shards:
        raise DataError(f"{str(path)!r} holds no {SUFFIX} file")
    return store


def split_name(name: str) -> tuple[str, str]:
    """Key and kind of a member: ``a/b.seg.nii.gz`` -> ``("a/b", "seg.nii.gz")``."""
    folder, slash, last = name.rpartition("/")
    before, _, kind = last.partition(".")
    return f"{folder}{slash}{before}", kind.lower()


def tar_index(store: Store) -> RowIndex:
    """The index of the archives, made where the cache has none.

    Raises:
        DataError: an archive is damaged or compressed; names it.
    """
    digest = sha256()
    again: dict[str, int] = {}  # row number -> how often its archive has had the key, where that is not once

    def read(folder: Path) -> Iterator[ShardRows]:
        first = 0
        for number, one in enumerate(store.shards):
            with _in_words(store, one), store.opened(one) as file:
                places, said, repeats = _scanned(file, digest, one.size)
            again.update({str(first + row): count for row, count in repeats.items()})
            first += len(places)
            if said:
                rows = [json.dumps(said[row]) if row in said else None for row in range(len(places))]
                with facts_file(folder, number).open("wb") as file:
                    pq.write_table(pa.table({"said": pa.array(rows, pa.large_string())}), file)
            yield ShardRows(len(places), np.asarray(places, np.int64))

    return open_index(f"{store.key}-tar3", read, lambda: {"fingerprint": digest.hexdigest(), "again": again})


def content_identity(store: Store, index: RowIndex) -> str:
    """Hash of the names of archives, and of the names and bytes of their members in order; read once, then kept beside
    the index. Archives elsewhere, and those too large to read (``REPCORE_HASH_LIMIT``), are known as their store is.

    Raises:
        DataError: an archive is gone, or damaged meanwhile.
    """
    if store.address or sum(one.size for one in store.shards) > read_limit():
        return sha256(f"{index.facts['fingerprint']}|{store.fingerprint}".encode()).hexdigest()
    kept = index.folder / "content.json"
    with suppress(OSError, ValueError, KeyError):
        return str(read_json_file(kept)["content"])
    lines = []
    for one in store.shards:
        with _in_words(store, one), store.opened(one) as file:
            lines.append(f"{one.name}|{_members_hash(file, Wait(f'looking whether {one.name} has changed'))}")
    found = sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    with suppress(OSError):  # a cache that can no longer be written costs time only
        write_text(kept, json.dumps({"content": found}))
    return found


def _members_hash(file: IO[bytes], wait: Wait) -> str:
    digest = sha256()
    for _, member in members(file):
        if not is_content(member):
            continue
        pieces: Any = member.sparse if member.issparse() else None  # (offset, size): what is stored, without holes
        digest.update(f"{storable(member.name)}|{member.size}|{pieces or ''}\n".encode())
        left = sum(size for _, size in pieces) if pieces else member.size
        file.seek(member.offset_data)
        while left and (block := file.read(min(left, READ))):
            digest.update(block)
            left -= len(block)
        wait.at(f"{file.tell() / 1e9:.1f} GB read")
        if left:
            raise tarfile.ReadError(f"it breaks off within {storable(member.name)}")
    return digest.hexdigest()


def facts_file(folder: Path, shard: int) -> Path:
    """Where the index keeps what a shard's own members say of its rows."""
    return folder / f"facts-{shard:06}.parquet"


def _scanned(
    file: IO[bytes], digest: Any, size: int
) -> tuple[list[int], dict[int, dict[str, Any]], dict[int, int]]:  # digest: of hashlib
    """Where each row of an archive begins, and by their number what is said of rows, and which keys came before."""
    places: list[int] = []
    said: dict[int, dict[str, Any]] = {}
    seen: Counter[int] = Counter()  # hashes of keys: names take more memory
    again: dict[int, int] = {}
    before: str | None = None
    end = 0
    for archive, member in members(file):
        end = archive.offset  # of what is stored: a sparse file is larger than that
        if not member.offset < end <= size or member.size < 0:
            raise tarfile.ReadError(
                f"it breaks off or is damaged: {storable(member.name)} announces {member.size:,} bytes; "
                f"the archive has {size:,}"
            )
        if not is_content(member):
            continue
        key, kind = split_name(member.name)
        if key != before:
            places.append(member.offset)
            before = key
            seen[hash(storable(key))] += 1
            if (count := seen[hash(storable(key))]) > 1:
                again[len(places) - 1] = count
        digest.update(f"{storable(member.name)}|{member.size}\n".encode())
        if kind in FACT_KINDS and member.size <= MOST_FACT_BYTES:
            content = archive.extractfile(member)
            facts = _facts(kind, b"" if content is None else content.read())
            digest.update(json.dumps(facts, sort_keys=True).encode())
            said.setdefault(len(places) - 1, {}).update(facts)
    _check_end(file, end, before)
    _check_rest(file, before)
    return places, said, again


def _check_end(file: IO[bytes], end: int, last: str | None) -> None:
    """Refuse an archive without the zeros that close it: tarfile takes whatever it cannot read for the end."""
    file.seek(end)
    block = file.read(BLOCK)
    if len(block) < BLOCK or block.strip(b"\0"):
        after = f"after {storable(last)}" if last else "at its beginning"
        raise tarfile.ReadError(f"it breaks off or is damaged {after}")


def _check_rest(file: IO[bytes], last: str | None) -> None:
    """Refuse what follows the end of an archive: rows of a second one joined to it would be lost."""
    while piece := file.read(1 << 20):
        if piece.strip(b"\0"):
            after = f" after {storable(last)}" if last else ""
            raise tarfile.ReadError(
                f"more follows its end{after}, as where archives are joined; keep each in its own file"
            )


class _BoundedHeaders:
    """A file in which headers may not ask for more than :data:`MOST_HEADER_BYTES`, whatever size they announce."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.in_header = file, True
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.in_header and not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header announces a name or facts of {size:,} bytes")
        return self.file.read(size)


def members(file: IO[bytes], stop: int | None = None) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Members of an archive from where it is read on, up to those that begin at byte ``stop``."""
    bounded = _BoundedHeaders(file)
    try:
        with tarfile.TarFile(fileobj=bounded, mode="r") as archive:  # type: ignore[arg-type]  # all that it calls
            for member in archive:
                if stop is not None and member.offset >= stop:
                    return
                bounded.in_header = False
                yield archive, member
                bounded.in_header = True
                archive.members.clear()  # type: ignore[attr-defined]  # otherwise it remembers every one
    except RecursionError:
        raise tarfile.ReadError("too many headers stand before one member") from None
    except (ArithmeticError, LookupError, ValueError) as error:  # of tarfile, for a number or text of an odd header
        raise tarfile.ReadError(f"a header cannot be read: {error}") from error


def is_content(member: tarfile.TarInfo) -> bool:
    """Whether a member is a plain file and not hidden."""
    parts = [part for part in member.name.split("/") if part not in (".", "..")]
    return member.isreg() and not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def row_at(store: Store, index: RowIndex, row: int) -> TarRow:
    """The members of one row.

    Raises:
        ItemError: the archive breaks off within it, its members are too large or two of one kind. DataError: the
            archive is gone.
    """
    shard, place, following = index.place_of(row)
    found: TarRow | None = None
    name, held = store.shards[shard].name, 0
    try:
        with store.whole(store.shards[shard]) as file:
            file.seek(place)
            for archive, member in members(file, following):
                if not is_content(member):
                    continue
                key, kind = split_name(member.name)
                found = found or TarRow(key)
                if key != found.key:
                    break
                if kind in found.members:
                    raise ItemError("duplicate_member", f"{storable(key)} of {name} has two members .{storable(kind)}")
                held += member.size
                check_allocation(held, name, f"the members of {storable(key)}")
                _check_holes(member, name)
                content = archive.extractfile(member)
                found.members[kind] = b"" if content is None else content.read()
                if len(found.members[kind]) != member.size:
                    raise ItemError("corrupt", f"{store.shards[shard].name} breaks off within {storable(key)}")
    except (tarfile.TarError, EOFError) as error:
        raise ItemError("corrupt", f"{store.shards[shard].name} at byte {place:,}: {error}") from error
    if found is None:
        raise ItemError("corrupt", f"{store.shards[shard].name} holds nothing at byte {place:,}")
    return found


def _check_holes(member: tarfile.TarInfo, name: str) -> None:
    """Refuse a sparse member that is nearly all holes: its file in the cache would have them written out."""
    pieces: Any = member.sparse if member.issparse() else None  # (offset, size) of what is stored
    stored = sum(size for _, size in pieces) if pieces else member.size
    if member.size > MOST_TIMES * stored + MOST_FACT_BYTES:
        raise ItemError(
            "too_large",
            f"{storable(member.name)} of {name} announces {member.size:,} bytes, of which {stored:,} are stored",
        )


def key_at(store: Store, index: RowIndex, row: int) -> tuple[Shard, str]:
    """Shard and key of a row, from the header of its first member."""
    shard, place, _ = index.place_of(row)
    with _in_words(store, store.shards[shard]), store.whole(store.shards[shard]) as file:
        file.seek(place)
        for _, member in members(file):
            if is_content(member):
                return store.shards[shard], split_name(member.name)[0]
    raise DataError(f"shard {store.shards[shard].name} holds nothing at byte {place:,}")


def _facts(kind: str, content: bytes) -> Mapping[str, Any]:
    """What a member says of its row: a class, or the plain values of a JSON object."""
    text = content.decode("utf-8", "replace").strip()
    if kind == "cls":
        return {"cls": text}
    try:
        value = parse_json(text)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {str(name): one for name, one in value.items() if isinstance(one, str | int | float)}


@contextmanager
def _in_words(store: Store, shard: Shard) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f"{shard.name} of {store.address or str(store.root)!r} is no whole tar archive: {error}",
            hint="a compressed archive has to be unpacked to .tar first; a damaged one written or fetched again",
        ) from error
