"""Two lists of rows put together: by key, or by position when that was asked for and the lengths agree."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from repcore.errors import DataError, closest
from repcore.interfaces import DatasetReader

SHOWN = 5


def join_rows_by_key(
    have: Sequence[Hashable],
    wanted: Sequence[Hashable],
    *,
    by_position: bool = False,
    have_noun: str = "vectors",
    wanted_noun: str = "labelled rows",
    hint: str = "--by-position if they stand in the same order",
    partial: bool = False,
) -> np.ndarray:
    """For every wanted row the number of the row that belongs to it.

    Args:
        have / wanted: keys of both sides.
        by_position: take row i for row i, whatever the keys say.
        have_noun / wanted_noun: for messages.
        hint: what a user may try.
        partial: -1 for wanted rows that have none, instead of an error.

    Returns:
        int64 (len(wanted),).

    Raises:
        DataError: keys are missing or stand twice; or lengths differ with ``by_position``.
    """
    if by_position:
        if len(have) != len(wanted):
            raise DataError(
                f"{len(have)} {have_noun} and {len(wanted)} {wanted_noun} cannot be joined by position",
                meaning="by position needs equal numbers in the same order",
            )
        return np.arange(len(wanted))
    place = unique_places(have, have_noun)
    unique_places(wanted, wanted_noun)
    found = np.asarray([place.get(key, -1) for key in wanted], np.int64)
    if (found < 0).any() and not partial:
        lost = [str(key) for key, row in zip(wanted, found, strict=True) if row < 0]
        raise DataError(
            f"{len(have)} {have_noun} and {len(wanted)} {wanted_noun} do not match: "
            f"{len(wanted) - len(lost)} ids are in both",
            first_without=", ".join(lost[:SHOWN]),
            did_you_mean=closest(lost[0], [str(key) for key in list(place)[:2000]]),
            hint=hint,
        )
    return found


def refuse_row_numbers(
    vectors: Sequence[Hashable],
    rows: Sequence[Hashable],
    header: Mapping[str, Any],
    reader: DatasetReader,
    options: Mapping[str, Any],
) -> None:
    """Refuse ids of a file of embeddings and of data that only count rows: they match whatever the rows are.

    Args:
        vectors / rows: ids of both.
        header: of the embeddings: ``data`` is the fingerprint of what they were made from, ``reading`` how it was read.
        reader: of the data. options: how it is read.

    Raises:
        DataError: both count from 0, the data are not those behind the embeddings, and no column of ids was named.
    """
    if not (_count_rows(vectors) and _count_rows(rows)) or header.get("data") == reader.fingerprint:
        return
    reading = header.get("reading")
    if options.get("id_column") and (reading is None or reading.get("id_column")):
        return
    made = "were made from other data" if header.get("data") else "do not say what data they were made from"
    raise DataError(
        f"{len(vectors):,} vectors and {len(rows):,} rows have row numbers for ids, which are no key",
        meaning=f"the embeddings {made}: row 5 there need not be row 5 here",
        hint="--id-column NAME here and with embed; or --by-position if both stand in the same order",
    )


def _count_rows(ids: Sequence[Hashable]) -> bool:
    return all(str(one) == str(row) for row, one in enumerate(ids))


def unique_places(keys: Sequence[Hashable], noun: str) -> dict[Hashable, int]:
    """Key -> row number.

    Raises:
        DataError: a key stands twice.
    """
    place: dict[Hashable, int] = {}
    twice: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        if key in place:
            twice[key] = twice.get(key, 1) + 1
        else:
            place[key] = row
    if twice:
        raise DataError(
            f"{len(twice)} ids of the {noun} stand more than once, so rows cannot be joined by them",
            first=", ".join(f"{key} ({count} x)" for key, count in list(twice.items())[:SHOWN]),
            hint="--id-column with a unique column, or --by-position if both stand in the same order",
        )
    return place
