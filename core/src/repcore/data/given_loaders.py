"""Rows of a torch data loader: those of its data set, in the order of its sampler.

What torch's own collate function stacks is not stacked in the first place. A collate function of somebody's is called
as the loader would call it, and its batches are taken apart again, which needs no guess: the rows that went in are
counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from repcore.errors import DataError

RowsOf = Callable[[Any], Any]
"""Numbered rows of a part of a batch."""
OWN = ("default_collate", "default_convert")  # of torch.utils.data._utils.collate


def is_loader(data: Any) -> bool:
    """Whether this is a loader of torch (or of a library that builds on it)."""
    return all(hasattr(data, name) for name in ("batch_sampler", "dataset", "collate_fn"))


def loader_rows(loader: Any, rows_of: RowsOf) -> Iterator[Any]:
    """Rows one by one: an input, a tuple (input, label), or a dict of named parts.

    Without batching (``batch_size=None``) whatever the data set yields is a row.

    Raises:
        DataError: a collate function that gives something else than one entry a row.
    """
    collate = loader.collate_fn
    is_own = getattr(collate, "__name__", "") in OWN and str(getattr(collate, "__module__", "")).startswith("torch.")
    is_batched = loader.batch_sampler is not None
    by_row: bool | None = None
    for rows in _fetched(loader):
        if is_own:
            yield from rows
        elif not is_batched:
            yield from map(collate, rows)
        else:
            batch = collate(list(rows))
            if by_row is None:
                by_row = _is_list_of_rows(batch, collate, rows)
            yield from _apart(batch, len(rows), rows_of, by_row)


def _fetched(loader: Any) -> Iterator[Sequence[Any]]:
    """Rows of the data set, batch by batch, in the loader's order."""
    data = loader.dataset
    is_stream = any(kind.__name__ == "IterableDataset" for kind in type(data).__mro__)
    if not is_stream and hasattr(data, "__getitem__"):
        batches = loader.batch_sampler if loader.batch_sampler is not None else ([one] for one in loader.sampler)
        together = getattr(data, "__getitems__", None)
        for numbers in batches:
            yield together(list(numbers)) if together is not None else [data[number] for number in numbers]
        return
    rows, size = iter(data), getattr(loader, "batch_size", None) or 1
    while chunk := list(islice(rows, size)):
        if len(chunk) == size or not getattr(loader, "drop_last", False):
            yield chunk


def _is_list_of_rows(batch: Any, collate: Callable[[list[Any]], Any], rows: Sequence[Any]) -> bool:
    """Whether a sequence has an entry a row, not one a part: it then is as long as the rows that are collated."""
    if isinstance(batch, Mapping) or not isinstance(batch, list | tuple):
        return False
    if len(batch) == len(rows) and all(one is row for one, row in zip(batch, rows, strict=True)):
        return True
    return [len(collate([rows[0]] * count)) for count in (2, 3)] == [2, 3]


def _apart(batch: Any, count: int, rows_of: RowsOf, by_row: bool) -> Iterable[Any]:
    if by_row:
        return _counted(batch, count)
    if isinstance(batch, Mapping):
        parts = {name: _counted(rows_of(one), count) for name, one in batch.items()}
        if len(parts) == 1:
            return next(iter(parts.values()))
        return [{name: part[row] for name, part in parts.items()} for row in range(count)]
    if isinstance(batch, list | tuple):
        columns = [_counted(rows_of(one), count) for one in batch]
        return columns[0] if len(columns) == 1 else [tuple(part[row] for part in columns) for row in range(count)]
    return _counted(rows_of(batch), count)


def _counted(part: Any, count: int) -> list[Any]:
    """Its entries by number: a batch of graphs has numbered rows, but iterates over its fields."""
    if len(part) != count:
        raise DataError(
            f"the loader's collate function made {len(part)} entries of {count} rows",
            expected="one entry a row: inputs, or (inputs, labels), or a dict of both by name",
            hint="give the data set itself: loader.dataset",
        )
    return [part[row] for row in range(count)]
