"""Bags: all items of a sample (windows of a recording, crops of a scan) as one item, in their order.

An encoder that reads bags (``ObjectiveSpec.bags``) gets them in ``Batch.inputs``, a mapping:

* ``passes``: batches of the domain's own items, at most :data:`PASS` each, of one bag each, in order, and ``owner``
  int64 (items,), the bag of each item; or
* ``vectors`` float32 (S, D): instances that are encoded already, and ``owner`` int64 (S,).

Symbols: B bags, S instances of all bags, n instances of a bag, D width of an instance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repcore.errors import ItemError
from repcore.interfaces import Batch, DatasetReader, Item, Preprocessor, Sample

PASS = 64
"""Items that an encoder gets at once. A pass never holds items of two bags, so that vectors of a bag are the same bits
whatever bags are in its batch."""
BAG = "bag"
OF_ONE_ITEM = ("draw", "covering", "restore", "restores_one_by_one", "elements", "preparation")
"""Optional methods of preprocessors that are about single items, which a bag is not."""


@dataclass(frozen=True, slots=True)
class BagVectors:
    """``Sample.inputs`` whose instances are encoded already.

    Args:
        values: float32 (n, D), in their order, n at least 1.
    """

    values: np.ndarray


class Bags:
    """A preprocessor that gives one item a sample: all items of the preprocessor inside.

    Items without weight (silence) are left out. Items that say where they lie (``Item.window``) are sorted by their
    start; others stay in the order in which they were prepared.

    Args:
        inner: the model's own preprocessor.
    """

    def __init__(self, inner: Preprocessor) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:  # what else there is, is the inner one's
        if name == "inner" or name.startswith("_") or name in OF_ONE_ITEM:
            raise AttributeError(name)
        return getattr(self.inner, name)

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """As the inner one."""
        self.inner.fit(reader, indices)

    def facts(self) -> Mapping[str, Any]:
        """As the inner one."""
        return self.inner.facts()

    def save(self, folder: Path) -> Mapping[str, Any]:
        """As the inner one."""
        return self.inner.save(folder)

    def prepare(self, sample: Sample) -> list[Item]:
        """The one item of a sample.

        Raises:
            ItemError: the row cannot be used, or no item of it has any weight.
        """
        if isinstance(sample.inputs, BagVectors):
            return [Item(sample.inputs, {BAG: len(sample.inputs.values)})]
        items = in_order([one for one in self.inner.prepare(sample) if one.weight > 0])
        if not items:
            raise ItemError("empty", "none of its windows has any weight")
        noted = next((one for one in items if one.status != "ok"), items[0])
        return [Item(tuple(items), {BAG: [one.meta for one in items]}, noted.status, noted.reason)]

    def cost(self, meta: Mapping[str, Any]) -> int:
        """Of all items together; of encoded instances their number."""
        parts = meta[BAG]
        return parts if isinstance(parts, int) else sum(self.inner.cost(one) for one in parts)

    def collate(self, items: Sequence[Item]) -> Batch:
        """See the module's text."""
        sizes = torch.tensor([int(one.meta[BAG]) if _encoded(one) else len(one.values) for one in items])
        owner = torch.repeat_interleave(torch.arange(len(items)), sizes)
        if all(_encoded(one) for one in items):
            vectors = torch.from_numpy(np.concatenate([one.values.values for one in items]))
            return Batch({"vectors": vectors, "owner": owner}, len(items))
        passes = [
            self.inner.collate(one.values[first : first + PASS])
            for one in items
            for first in range(0, len(one.values), PASS)
        ]
        return Batch({"passes": passes, "owner": owner}, len(items))


def _encoded(item: Item) -> bool:
    return isinstance(item.values, BagVectors)


def in_order(items: Sequence[Item]) -> list[Item]:
    """Items by the start of their windows where all say it; else as they are."""
    starts = [one.window.start for one in items if one.window is not None]
    if len(starts) < len(items):
        return list(items)
    return [items[place] for place in np.argsort(starts, kind="stable")]
