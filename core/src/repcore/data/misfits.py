"""What to say of data that no reader recognises: what is there, and why each reader that might have done so does not.

A sniffer answers up to :data:`HARDLY` for what it cannot read but what looks like its kind of file: a table without the
column that it needs. One such reader alone is opened, and says what is wrong. Of several none is taken but by a setting
that only one of them knows: all have their say, for none knows better than the others what the file was meant to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from repcore.config.matching import in_words, reads_for
from repcore.config.plain import field_types
from repcore.data.accounting import walk
from repcore.data.guard import read_sample
from repcore.data.shards.shard import names_elsewhere
from repcore.errors import DataError, ItemError, RepcoreError
from repcore.interfaces import DatasetReader
from repcore.registry import Entry
from repcore.specs import DatasetSpec, PreprocessorSpec

HARDLY = 0.1
"""Scores up to this one say: it could be mine, but I see no way to read it."""
LISTED = 20_000  # files of a folder that are counted
LOOKED_AT = 4096  # bytes
PACKED = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"(\xb5/\xfd": "zst"}  # first bytes
TEXT = bytes(range(32, 127)) + b"\t\r\n"
ROWS_TRIED = 20  # of another reader, until one can be read
FORCED = "--reader NAME forces one, and says what is wrong"


def by_options(
    entries: Sequence[Entry[DatasetSpec]],
    opened: Callable[[Entry[DatasetSpec]], Any],
    data: str,
    path: Path,
    options: Mapping[str, Any],
) -> Entry[DatasetSpec]:
    """The one of several readers that hardly fit which knows the settings that the user gave.

    Args:
        opened: opens the data with a reader.
        options: settings that the user gave.

    Raises:
        RepcoreError: what all of them say of the data. DataError: the settings do not tell; with what each reader says.
    """
    knowing = [one for one in entries if set(options) <= set(field_types(one.load("config")))]
    if options and len(knowing) == 1:
        return knowing[0]
    reasons: list[str] = []
    failed: list[RepcoreError] = []
    for entry in entries:
        try:
            count = len(opened(entry))
            rows = "1 row" if count == 1 else f"{count:,} rows"
            reasons.append(f"{entry.full_name}: could read it as {rows}, but nothing says that it is meant so")
        except RepcoreError as error:
            failed.append(error)
            more = "; ".join(str(error.facts[one]) for one in ("meaning", "hint") if error.facts.get(one))
            reasons.append(f"{entry.full_name}: {error.summary}{f' ({more})' if more else ''}")
    if len(failed) == len(entries) and len({one.summary for one in failed}) == 1:
        raise failed[0]  # what all of them say is wrong with the data (a damaged shard), not with the choice
    raise DataError(
        f"no reader recognises {data!r}",
        found=what_is_there(path),
        reasons="\n".join(reasons),
        hint="--reader NAME, where one of them is right, with the setting that it asks for",
    )


def runners_up(entries: Sequence[Entry[DatasetSpec]], opened: Callable[[Entry[DatasetSpec]], DatasetReader]) -> str:
    """Which of several readers read rows of data of which another one reads none, with their numbers; a line each.

    Args:
        opened: opens the data with a reader.
    """
    said = []
    for entry in entries:
        with suppress(RepcoreError):
            reader = opened(entry)
            if reads_rows(reader):
                rows = "1 row" if len(reader) == 1 else f"{len(reader):,} rows"
                said.append(f"{entry.full_name} reads {rows}: --reader {entry.full_name}")
    return "\n".join(said)


def reads_rows(reader: DatasetReader) -> bool:
    """Whether one of the first rows of a reader can be read."""
    for row in range(min(len(reader), ROWS_TRIED)):
        with suppress(ItemError):
            read_sample(reader, row)
            return True
    return False


def not_taken(
    best: Entry[DatasetSpec], consumer: Entry[PreprocessorSpec], taken: Sequence[str], data: str, problems: str
) -> DataError:
    """The error on data whose reader gives what the recipe or model does not take."""
    named = f"--reader {taken[0]}" if len(taken) == 1 else f"--reader NAME ({', '.join(taken[:6])})"
    return DataError(
        f"{data!r} looks like data for {best.full_name}, whose samples preprocessor {consumer.full_name} does not take",
        reader_gives=in_words(best.spec.produces),
        preprocessor_takes=in_words(consumer.spec.accepts),
        problems=problems,
        hint=f"another recipe or model{f', or {named}' if taken else ''}",
    )


def unrecognised(entries: Sequence[Entry[DatasetSpec]], data: str, path: Path, problems: str) -> DataError:
    """The error on data that no reader recognises."""
    return DataError(
        f"no reader recognises {data!r}",
        found=what_is_there(path),
        problems=problems,
        readers=", ".join(one.full_name for one in entries) or "none",
        hint=FORCED,
    )


def taken_by(entries: Sequence[Entry[DatasetSpec]], consumer: Entry[PreprocessorSpec]) -> list[str]:
    """Names of the readers whose samples a preprocessor takes."""
    return [one.full_name for one in entries if reads_for(one, consumer)]


def _kind_of(first: bytes, name: str) -> str:
    """What the first bytes of a file are, where its name does not say so; empty for text."""
    kind = next((word for start, word in PACKED.items() if first.startswith(start)), "")
    if kind:
        is_called = name.lower().endswith(f".{kind}")
        return f"a {kind} file" if is_called else f"a {kind} file by its first bytes: call it {name}.{kind}"
    zeros, rest = first.count(b"\0"), first.replace(b"\0", b"")
    few = 2 * first.rstrip(b"\0").count(b"\0") < len(rest)  # UTF-16 has one in each letter
    if zeros and few and b"\n" in rest and not rest.translate(None, TEXT):
        place = first.index(b"\0")
        return f"text with {zeros:,} zero bytes, the first at byte {place:,}: it is damaged, write it anew"
    return "an empty file" if not first else "a binary file" if zeros else ""


def what_is_there(path: Path) -> str:
    """Kinds of files below a folder, for people who look in the wrong one; of a file, whether it is binary or empty."""
    if path.is_file():
        with suppress(OSError), path.open("rb") as file:
            return _kind_of(file.read(LOOKED_AT), path.name)
    if not path.is_dir():
        return ""
    names = names_elsewhere(path)
    files = [one.path for one in islice(walk(path), LISTED) if not one.left_out] if names is None else map(Path, names)
    counted = Counter(one.suffix.lower() or "no suffix" for one in files)
    return ", ".join(f"{count:,} x {suffix}" for suffix, count in counted.most_common(6)) or "no file"
