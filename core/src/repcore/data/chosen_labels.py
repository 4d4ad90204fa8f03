"""A reader with some of its labels only."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from repcore.data.divided import over
from repcore.data.guard import read_sample
from repcore.interfaces import DatasetReader, Sample
from repcore.specs import TargetSpec


class LabelledOnly:
    """A reader with one target only, and ``further`` ones by name, so that other labels are neither read nor kept."""

    def __init__(self, reader: DatasetReader, target: TargetSpec, further: tuple[TargetSpec, ...] = ()) -> None:
        self._reader, self.targets = reader, (target, *further)

    def __getattr__(self, name: str) -> Any:  # everything else is the reader's own
        if name.startswith("_"):  # asked for while a copy of this is made, which has no reader yet
            raise AttributeError(name)
        return getattr(self._reader, name)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Sample:
        return read_sample(self._reader, index)

    def over(self, change: Callable[[DatasetReader], DatasetReader]) -> DatasetReader:
        """The same over a changed reader; see :func:`repcore.data.divided.over`."""
        new = copy.copy(self)
        new._reader = over(self._reader, change)
        return new
