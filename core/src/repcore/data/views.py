"""Views that are random changes of one item: the sample is read and prepared once, however many views there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from repcore.data.batching import one_item
from repcore.data.guard import read_sample
from repcore.interfaces import DatasetReader, Item, Preprocessor

Change = Callable[[Item, np.random.Generator], Item]
"""A changed copy of an item; draws from the generator only, and leaves the item as it is."""


def changed_views(
    index: int,
    reader: DatasetReader,
    preprocessor: Preprocessor,
    generator: np.random.Generator,
    changes: Mapping[str, Change],
) -> dict[str, Item]:
    """One changed copy a view of an item of a sample; all views come from the same window of it.

    Args:
        index: row of the reader.
        changes: view name -> change, applied in this order.

    Raises:
        ItemError: the row cannot be used.
    """
    item = one_item(preprocessor, read_sample(reader, index), generator)
    plain = replace(item, targets={})  # labels of elements do not follow a crop or a dropped node
    return {name: change(plain, generator) for name, change in changes.items()}
