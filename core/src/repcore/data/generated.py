"""Data sets that are made instead of read: what a domain trains on when the user has named no data yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import ClassVar

from repcore.errors import DataError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec

ID_DIGITS = 6
TEST_SHARE = 5  # one of so many rows
KEPT = 4096  # samples; the others of a larger set are made anew for every pass


def every_fifth(size: int) -> dict[str, list[int]]:
    """Splits ``train`` and ``test``, every fifth of ``size`` rows a test row; none where there are fewer rows."""
    parts = {
        "train": [row for row in range(size) if (row + 1) % TEST_SHARE],
        "test": [*range(TEST_SHARE - 1, size, TEST_SHARE)],
    }
    return parts if parts["test"] else {}


class Generated(ABC):
    """Base of a :class:`repcore.interfaces.DatasetReader` that needs no files.

    A subclass sets ``noun`` and ``targets`` and writes :meth:`make`; sample i depends on (config, i) alone.

    Args:
        config: settings; what they say is what the fingerprint says.
        size: number of samples.
    """

    noun: ClassVar[str]
    """One word for a sample, the first part of ids."""

    version: ClassVar[int] = 1
    """Raised when the same settings give other samples."""

    targets: Sequence[TargetSpec] = ()

    def __init__(self, config: object, size: int) -> None:
        self._settings, self._size = config, size
        self._made: dict[int, Sample] = {}

    @abstractmethod
    def make(self, index: int) -> Sample:
        """The sample with this number; its id is :meth:`id_of`."""

    @property
    def fingerprint(self) -> str:
        """Hash of noun, version and settings, which decide everything."""
        return sha256(f"{self.noun} {self.version} {self._settings!r}".encode()).hexdigest()

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """None of its own, unless a subclass says so."""
        return {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.noun} {index} of {len(self)}")
        made = self._made.get(index)
        if made is None:
            made = self.make(index)
            if len(self._made) < KEPT:
                self._made[index] = made
        return made

    def id_of(self, index: int) -> str:
        """``room-000012``, if the noun is ``room``."""
        return f"{self.noun}-{index:0{ID_DIGITS}d}"

    def by_id(self, sample_id: str) -> Sample:
        """The sample with this id.

        Raises:
            DataError: there is none.
        """
        number = sample_id.removeprefix(f"{self.noun}-")
        if number.isdecimal() and int(number) < len(self) and sample_id == self.id_of(int(number)):
            return self[int(number)]
        raise DataError(
            f"there is no generated {self.noun} {sample_id!r}",
            expected=f"{self.id_of(0)} to {self.id_of(len(self) - 1)}",
        )
