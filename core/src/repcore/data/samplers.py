"""Streams for methods that look at labels: classes in equal parts, pairs of a class, labelled beside unlabelled rows.

Like :class:`repcore.data.stream.StreamOrder` each is a pure function of (run seed, micro-batch, rank): nothing is
saved, and a run goes on from any optimiser step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repcore.data.seeds import generator, mix
from repcore.data.stream import ItemKey, StreamOrder
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Progress


def endless(seed: int, words: tuple[int | str, ...], size: int, start: int, count: int) -> np.ndarray:
    """``count`` entries from ``start`` on of the stream of permutations of 0 .. size - 1 that the words name."""
    positions = np.arange(start, start + count)
    found = np.empty(count, np.int64)
    for epoch in np.unique(positions // size):
        order = generator(seed, *words, int(epoch)).permutation(size)
        inside = positions // size == epoch
        found[inside] = order[positions[inside] % size]
    return found


class LabelledOrder(StreamOrder):
    """Numbered micro-batches of all devices; a method says which rows are in one."""

    def rows_of(self, number: int) -> Sequence[int]:
        """Rows of the micro-batch with this number among those of all devices."""
        raise NotImplementedError

    def keys(self, micro_batch: int, progress: Progress) -> list[ItemKey]:
        """Rows and seeds of this device's items in a micro-batch; a row that comes twice gets two seeds."""
        number = micro_batch * self.world + self.rank
        rows = enumerate(self.rows_of(number))
        return [ItemKey(int(row), mix(self.seed, "item", number, place, int(row)), progress) for place, row in rows]


class BalancedOrder(LabelledOrder):
    """P classes of K rows in every micro-batch of every device; K = ``per_class``, P = batch size / K.

    Classes come in turn, each once in a pass over the classes, and the rows of a class in turn likewise. Where there
    are fewer than P classes, each has more rows; a class with fewer rows than K shows some twice. A batch too small for
    ``fewest`` classes of K rows has fewer rows of each.

    Args:
        classes: class number of each entry of ``indices``; negative = unlabelled, which is never drawn.
        fewest: classes that every micro-batch has to show.

    Raises:
        DataError: no labelled row. ConfigError: ``fewest`` is above the batch size or the number of classes; without
            one, K is above the batch size.
    """

    def __init__(
        self,
        indices: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int,
        *,
        classes: np.ndarray,
        per_class: int,
        fewest: int = 1,
        world: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(indices, batch_size, seed, world=world, rank=rank)
        if per_class > batch_size and fewest == 1:
            raise ConfigError(f"data.per_class={per_class} is above data.batch_size={batch_size}")
        names = np.unique(classes[classes >= 0])
        if len(names) == 0:
            raise DataError("no training row has a class; balanced batches need classes", rows=len(self.indices))
        if fewest > min(batch_size, len(names)):
            raise ConfigError(
                f"each batch has to show {fewest} classes: impossible with {len(names)} classes in the training rows, "
                f"data.batch_size={batch_size} and data.per_class={per_class}",
                hint=f"data.batch_size={fewest * per_class}"
                if len(names) >= fewest
                else f"labels of {fewest} classes in the training rows (more --labels, --split stratified), or another "
                "--method",
            )
        self.members = [self.indices[classes == name] for name in names]
        self.fewest, self.per_class = fewest, min(per_class, batch_size // fewest)
        self.shown = min(batch_size // self.per_class, len(names))

    def rows_of(self, number: int) -> Sequence[int]:
        a_pass = len(self.members) // self.shown  # batches in which no class comes twice
        turn, within = divmod(number, a_pass)
        order = generator(self.seed, "classes", turn).permutation(len(self.members))
        chosen = order[within * self.shown : (within + 1) * self.shown]
        most = -(-self.batch_size // self.shown)
        rows: list[int] = []
        for place, name in enumerate(chosen):
            members = self.members[int(name)]
            count = self.batch_size // self.shown + (place < self.batch_size % self.shown)
            drawn = endless(self.seed, ("rows of a class", int(name)), len(members), turn * most, count)
            rows += members[drawn].tolist()
        return rows


class PairOrder(LabelledOrder):
    """Half of a micro-batch as in the plain stream, followed by a partner of the same class for each.

    A row that is alone in its class, or has none, is its own partner.
    """

    def __init__(
        self,
        indices: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int,
        *,
        classes: np.ndarray,
        world: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(indices, batch_size, seed, world=world, rank=rank)
        if batch_size % 2:
            raise ConfigError(f"data.batch_size={batch_size} is odd; pairs need an even one")
        self._members = {int(name): self.indices[classes == name] for name in np.unique(classes) if name >= 0}
        self._class_of = dict(zip(self.indices.tolist(), classes.tolist(), strict=True))

    def rows_of(self, number: int) -> Sequence[int]:
        half = self.batch_size // 2
        first = self.indices[endless(self.seed, ("order",), len(self.indices), number * half, half)].tolist()
        return [*first, *(self._partner(row, number) for row in first)]

    def _partner(self, row: int, number: int) -> int:
        members = self._members.get(self._class_of[row])
        others = None if members is None else members[members != row]
        if others is None or len(others) == 0:
            return row
        return int(generator(self.seed, "partner", number, row).choice(others))


class MixedOrder(LabelledOrder):
    """Labelled rows first, then ``ratio`` times as many unlabelled ones; an epoch is a pass over the labelled rows.

    Args:
        indices: labelled rows.
        unlabelled: rows without a label; their own endless stream.

    Raises:
        DataError: no unlabelled rows. ConfigError: the batch has no room for both.
    """

    def __init__(
        self,
        indices: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int,
        *,
        unlabelled: np.ndarray,
        ratio: float,
        world: int = 1,
        rank: int = 0,
    ) -> None:
        if len(unlabelled) == 0:
            raise DataError(
                "no training row is without a label; this method learns from labelled and unlabelled rows",
                hint="leave labels of further rows empty, or --labels N to hide those of all but N rows",
            )
        known = round(batch_size / (1.0 + ratio))
        if not 0 < known < batch_size:
            raise ConfigError(
                f"data.batch_size={batch_size} has no room for 1 labelled row to {ratio:g} unlabelled ones",
                hint=f"data.batch_size={round(2 * (1 + ratio))}",
            )
        super().__init__(indices, known, seed, world=world, rank=rank)
        self.unlabelled, self.free = np.asarray(unlabelled, np.int64), batch_size - known

    def rows_of(self, number: int) -> Sequence[int]:
        """Labelled rows first."""
        drawn = endless(self.seed, ("unlabelled",), len(self.unlabelled), number * self.free, self.free)
        known = endless(self.seed, ("order",), len(self.indices), number * self.batch_size, self.batch_size)
        return [*self.indices[known].tolist(), *self.unlabelled[drawn].tolist()]
