"""Opening data for predictions: with the label that the model predicts, where the data have one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from repcore.embedding.model import Model
from repcore.errors import ConfigError, DataError, RegistryError
from repcore.interfaces import DatasetReader


def labelled_reader(
    model: Model, data: str, reader: str | None, options: Mapping[str, Any]
) -> tuple[DatasetReader, str]:
    """The data with the predicted label if it has one, else as it is and why it has none."""
    target, why = model.target, ""
    assert target is not None
    # few rows look like another kind of label than many: what the model answers decides
    for kind in ("", target.kind) if target.kind != "multilabel" else ("",):
        with suppress(RegistryError):
            try:
                opened = model.reader(data, reader=reader, options=options, labels=[target.name], label_kind=kind)
                if any((one.name, one.kind) == (target.name, target.kind) for one in opened.targets):
                    return opened, ""
            except (DataError, ConfigError) as error:
                why = str(error).partition("\n")[0].removeprefix("DataError: ")
    return model.reader(data, reader=reader, options=options), why
