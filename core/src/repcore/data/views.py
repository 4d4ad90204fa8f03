"""Views that are random changes of one item: the sample is read and prepared once, however many views there are.

A plugin says how its settings become a change, once, and joins that to the views it registers; settings have the field
``change`` for two views alike, ``weak`` and ``strong`` for one changed a little and one changed a lot::

    class SeriesViews(ChangedViews):
        def change(self, settings: SeriesChange) -> Change:
            return partial(changed_series, change=settings)

    class SeriesPair(SeriesViews, ChangedPair):
        ...

    class SeriesWeakStrong(SeriesViews, ChangedWeakStrong):
        ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from repcore.data.batching import one_item
from repcore.data.guard import read_sample
from repcore.interfaces import DatasetReader, Item, Progress, Sample

Change = Callable[[Item, np.random.Generator], Item]
"""A changed copy of an item; draws from the generator only, and leaves the item as it is."""


class ChangedViews(ABC):
    """Changed copies of an item of a sample, as :class:`repcore.interfaces.Views`.

    Args:
        config: the registered settings.
        preprocessor: prepares the item.

    Raises:
        ConfigError: settings of which :meth:`change` makes nothing for this preprocessor.
    """

    def __init__(self, config: Any, preprocessor: Any) -> None:  # the plugin's own kinds
        self.config, self.preprocessor = config, preprocessor
        self.changes = {name: self.change(settings) for name, settings in self.settings().items()}

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """View name -> settings of its change, in the order in which views are drawn."""

    @abstractmethod
    def change(self, settings: Any) -> Change:
        """The change that these settings of one view ask for; called once, before any row is read.

        Raises:
            ConfigError: the preprocessor's items cannot be changed so.
        """

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """One changed copy a view of row ``index`` of the reader.

        Raises:
            ItemError: the row cannot be used.
        """
        del progress
        return self.views(read_sample(reader, index), generator)

    def views(self, sample: Sample, generator: np.random.Generator) -> dict[str, Item]:
        """One changed copy a view, all of the same item, hence of the same window of the sample."""
        item = self.item(sample, generator)
        return {name: change(item, generator) for name, change in self.changes.items()}

    def item(self, sample: Sample, generator: np.random.Generator) -> Item:
        """An item of the sample without labels of elements, which follow neither a crop nor a dropped node."""
        return replace(one_item(self.preprocessor, sample, generator), targets={})


class ChangedPair(ChangedViews):
    """Views ``a`` and ``b``, changed alike, by the settings in ``config.change``."""

    def settings(self) -> Mapping[str, Any]:
        return {"a": self.config.change, "b": self.config.change}


class ChangedWeakStrong(ChangedViews):
    """Views ``weak`` and ``strong``, changed by the settings in ``config.weak`` and ``config.strong``."""

    def settings(self) -> Mapping[str, Any]:
        return {"weak": self.config.weak, "strong": self.config.strong}
