"""Rows that repeat another row, and splits that would put both on two sides.

A copy is a row with the same input, or with another input that becomes the same item when it is prepared (two
spellings of one molecule). A random split that trains on one and tests on the other measures memory.
"""

from __future__ import annotations

import dataclasses

from repcore.data.chosen_labels import LabelledOnly
from repcore.data.copies import content_hash, joined_keys
from repcore.data.divided import divided
from repcore.data.guard import prepare_sample
from repcore.embedding.model import Model
from repcore.errors import ItemError
from repcore.evaluation.probing import LabelledRows, read_rows
from repcore.interfaces import DatasetReader, Preprocessor
from repcore.specs import TargetSpec

MOST_PREPARED = 50_000  # rows that are prepared only to find copies


def with_copies(
    rows: LabelledRows, preprocessor: Preprocessor | None = None, *, together: bool = False
) -> LabelledRows:
    """The rows with ``copies``: a key that copies share, None for rows without one.

    Args:
        preprocessor: finds copies that are written differently, where inputs are small enough to be held; None = only
            equal inputs are found.
        together: splits keep copies on one side.
    """
    keys: list[set[bytes]] = [{one} if one else set() for one in rows.content]
    keys = keys or [set() for _ in rows.ids]
    held = [row for row, sample in enumerate(rows.samples) if sample is not None and sample.inputs is not None]
    if preprocessor is not None and len(held) <= MOST_PREPARED:
        for row in held:
            key = _item_key(rows, row, preprocessor)
            if key is not None:
                keys[row].add(key)
    return dataclasses.replace(rows, copies=joined_keys(keys, alone=False), together=together)


def labelled_rows(
    model: Model,
    reader: DatasetReader,
    target: TargetSpec,
    group: str | None = None,
    *,
    together: bool = False,
    further: tuple[TargetSpec, ...] = (),
) -> LabelledRows:
    """All rows with one label and their copies, divided into groups of elements where asked for.

    Args:
        reader: with all its targets.
        group: what divides samples, see :func:`repcore.data.divided.divided`.
        together: splits keep copies on one side.
        further: other labels of items that stay.
    """
    if not group:
        return with_copies(read_rows(LabelledOnly(reader, target, further)), model.preprocessor, together=together)
    parts = divided(model.registry, model.folder.preprocessor_name, model.preprocessor, reader, target, group)
    return with_copies(read_rows(parts), together=together)  # groups of one sample share their items: no copies


def _item_key(rows: LabelledRows, row: int, preprocessor: Preprocessor) -> bytes | None:
    """What the row becomes; None where it cannot be used, or is cut or holds something unknown (all alike, then)."""
    sample = rows.samples[row]
    assert sample is not None
    try:
        items = prepare_sample(preprocessor, sample)
    except ItemError:
        return None
    return None if any(one.status != "ok" for one in items) else content_hash([one.values for one in items])
