"""Opening data for predictions: with the label that the model predicts, where the data have one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from repcore.data.chosen_labels import LabelledOnly
from repcore.data.expected_labels import expecting
from repcore.embedding.model import Model
from repcore.errors import ConfigError, DataError, RegistryError
from repcore.interfaces import DatasetReader, Sample
from repcore.specs import TargetSpec


def labelled_reader(
    model: Model, data: str, reader: str | None, options: Mapping[str, Any]
) -> tuple[DatasetReader, str]:
    """The data with the predicted label if it has one, else as it is and why it has none.

    Labels are read as what the model answers (:mod:`repcore.data.expected_labels`); what they are in the data alone
    counts only for readers that do not judge cells.
    """
    target, why = model.target, ""
    assert target is not None
    with expecting(target):
        for kind in ("", target.kind) if target.kind != "multilabel" else ("",):
            with suppress(RegistryError):
                try:
                    opened = model.reader(data, reader=reader, options=options, labels=[target.name], label_kind=kind)
                    if any((one.name, one.kind) == (target.name, target.kind) for one in opened.targets):
                        return opened, ""
                except (DataError, ConfigError) as error:
                    why = str(error).partition("\n")[0].removeprefix("DataError: ")
        opened = model.reader(data, reader=reader, options=options)
        other = next((one for one in opened.targets if one.name == target.name), None)
    questions = _questions(opened, target)
    if questions:
        return AnswersTogether(opened, target, questions), ""
    if other is not None and other.kind != target.kind:
        why = f"{target.name!r} is {other.kind} in the data, the model answers {target.kind}"
    return opened, why


def _questions(reader: DatasetReader, target: TargetSpec) -> dict[str, TargetSpec]:
    """Yes/no columns of the data that are called like answers of a multilabel model."""
    if target.kind != "multilabel":
        return {}
    found = [one for one in reader.targets if one.kind == "class" and one.level == "item"]
    return {one.name: one for one in found if one.name in target.names}


class AnswersTogether(LabelledOnly):
    """A reader whose yes/no labels are the answers of one multilabel target; NaN where the data has no such column."""

    def __init__(self, reader: DatasetReader, target: TargetSpec, questions: Mapping[str, TargetSpec]) -> None:
        super().__init__(reader, dataclasses.replace(target))
        self._places = [name if name in questions else None for name in map(str, target.names)]

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        values = [np.nan if name is None else _yes(sample.targets.get(name)) for name in self._places]
        return dataclasses.replace(sample, targets={self.targets[0].name: np.asarray(values, np.float32)})


def _yes(value: Any) -> float:
    """0 or 1 of a class of two; NaN for anything else."""
    number = np.nan if value is None else float(value)
    return number if number in (0.0, 1.0) else np.nan
