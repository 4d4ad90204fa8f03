"""Which labels a fine-tuning sees: of which rows, of which elements, and what samplers know of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Set

import numpy as np
import torch

from repcore.data.chosen_labels import LabelledOnly
from repcore.data.label_numbers import as_floating
from repcore.data.seeds import generator
from repcore.errors import ConfigError
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import DatasetReader, Sample
from repcore.specs import TargetSpec
from repcore.training.assembly import RowLabels
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.methods import class_numbers


def row_labels(target: TargetSpec, rows: LabelledRows, train: np.ndarray, unlabelled: np.ndarray) -> RowLabels:
    """Classes of the training rows, and the rows of the training part without a label."""
    if target.level != "item" or target.kind != "class":
        return RowLabels(None, unlabelled)
    known = torch.from_numpy(np.asarray(rows.labels(target), np.float64)[train].reshape(-1))
    return RowLabels(class_numbers(known, target.ignore).numpy(), unlabelled)


Thinning = Callable[[int, np.ndarray], np.ndarray]


def fewer_labels(
    config: FinetuneConfig, target: TargetSpec, rows: LabelledRows, train: np.ndarray, seed: int
) -> Thinning | None:
    """Which labels of elements of a training row are kept, for label-efficient figures; None = all.

    ``finetune.label_share`` keeps that share of the elements of every class (one at least in the whole training part),
    ``finetune.labels_per_class`` so many. The same elements are kept in every epoch.
    """
    if config.label_share == 1.0 and config.labels_per_class is None:
        return None
    if target.level == "item" or target.kind != "class":
        raise ConfigError(
            "finetune.label_share and labels_per_class thin class labels of elements",
            got=f"{target.name}, a {target.kind} label of level {target.level}",
        )
    total: Counter[int] = Counter()
    for row in train:
        total.update(rows.dense[target.name][row])
    chance = {
        value: min(1.0, config.labels_per_class / number)
        if config.labels_per_class is not None
        else max(config.label_share, 1.0 / number)
        for value, number in total.items()
    }
    chosen = set(train.tolist())

    def keep(row: int, labels: np.ndarray) -> np.ndarray:
        if row not in chosen:
            return labels
        flat = as_floating(labels).reshape(-1)
        draw = generator(seed, "fewer-labels", row).random(flat.shape)
        limit = np.asarray([chance.get(int(one), 0.0) for one in np.unique(np.nan_to_num(flat))])
        limits = limit[np.unique(np.nan_to_num(flat), return_inverse=True)[1].reshape(-1)]
        return np.where(draw < limits, flat, flat.dtype.type(np.nan)).reshape(labels.shape)

    return keep


class OneTarget(LabelledOnly):
    """The reader with only the target that is trained.

    Args:
        thin: which labels of elements stay.
        hidden: rows whose label does not count, and is not given.
        further: other labels that are given, too.
    """

    def __init__(
        self,
        reader: DatasetReader,
        target: TargetSpec,
        thin: Thinning | None = None,
        hidden: Set[int] = frozenset(),
        further: tuple[TargetSpec, ...] = (),
    ) -> None:
        super().__init__(reader, target, further)
        self._thin, self._hidden = thin, hidden

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        target = self.targets[0]
        if index in self._hidden:
            others = {name: value for name, value in sample.targets.items() if name != target.name}
            return dataclasses.replace(sample, targets=others)
        if target.level == "item" or target.name not in sample.targets:
            return sample
        labels = np.asarray(sample.targets[target.name])
        if self._thin is not None:
            labels = self._thin(index, labels)
        return dataclasses.replace(sample, targets={target.name: labels})
