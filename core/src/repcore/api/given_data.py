"""What calls from Python take: settings as keywords, data of any kind, a model, its folder or a run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repcore.config.resolve import ResolvedPart, resolve_part
from repcore.config.schema import PART_KINDS, SECTIONS
from repcore.data.given import given_reader
from repcore.data.given_inputs import is_one_input, is_there, names_a_file
from repcore.data.memory import MEMORY
from repcore.data.readers import dataset_settings, open_data, open_part
from repcore.embedding.model import Model, load
from repcore.errors import ConfigError, RegistryError, closest
from repcore.interfaces import DatasetReader, Preprocessor
from repcore.registry import Registry
from repcore.reporting import LogReporter, PrintedReporter, Reporter

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class GivenData:
    """Data as a part of a run.

    Args:
        settings: the ``dataset`` section: of the file or data set behind the data, else that they lie in memory.
        reader: where they lie in memory; None where the settings say how to open them.
    """

    settings: Mapping[str, Any]
    reader: DatasetReader | None = None

    def opened(self, registry: Registry, domain: str) -> tuple[ResolvedPart, DatasetReader]:
        """The part and a reader over it."""
        fields = dict(self.settings)
        part = resolve_part(registry, "dataset", str(fields.pop("name")), fields, domain)
        return part, open_part(part) if self.reader is None else self.reader


def given_data(
    registry: Registry,
    data: Any,  # anything that Model.reader() takes
    *,
    domain: str,
    preprocessor: str,
    reader: str | None = None,
    labels: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
    fitted: Preprocessor | None = None,
) -> GivenData:
    """Data from Python as a part of a run; tables of texts and numbers become files, so that the run can be resumed.

    Args:
        preprocessor: full name of what prepares the samples.
        reader: registered reader for a path or table.
        labels: columns that are wanted as labels, where the reader can be told.
        options: further settings of the reader.
        fitted: the preprocessor as a model has it, which knows names that an unfitted one does not.

    Raises:
        DataError: a kind that is none; names it.
    """
    entry = registry.preprocessor(preprocessor, domain)
    convert = getattr(fitted or entry.load()(entry.load("config")()), "inputs_from", None)
    preferences: dict[str, Any] = {"labels": list(labels)} if labels else {}

    def opened_file(path: str) -> tuple[ResolvedPart, DatasetReader]:
        return open_data(
            registry, path, domain=domain, reader=reader, options=options, preferences=preferences,
            preprocessor=entry.full_name,
        )  # fmt: skip

    if isinstance(data, Path) or (isinstance(data, str) and not _is_input(registry, data, domain, convert)):
        if not labels and not options:
            return GivenData(
                dataset_settings(registry, str(data), domain=domain, reader=reader, preprocessor=entry.full_name)
            )
        return GivenData(opened_file(str(data))[0].plain())
    taken: list[tuple[ResolvedPart, DatasetReader]] = []

    def open_table(path: Path, wanted: Mapping[str, Any]) -> DatasetReader:
        preferences.update(wanted)
        taken.append(opened_file(str(path)))
        return taken[-1][1]

    opened = given_reader(data, open_table, convert, options, reader, labels)
    if taken and taken[-1][1] is opened:
        return GivenData(taken[-1][0].plain())
    return GivenData({"name": MEMORY, "kind": type(data).__name__, "rows": len(opened)}, opened)


def _is_input(registry: Registry, text: str, domain: str, convert: Any) -> bool:
    """Whether a text is one input itself, not a file or the name of a data set."""
    if convert is None or names_a_file(text) or is_there(text):
        return False
    try:
        registry.dataset(text, domain)
    except RegistryError:
        return is_one_input(text, convert)
    return False


def opened_model(model: Any, device: str | torch.device | None = None) -> Model:  # a Model, a Run, or a path
    """A model from itself, from its folder or run folder, or from what has one (a :class:`repcore.Run`)."""
    if not isinstance(model, Model | str | Path) and isinstance(getattr(model, "model", None), Model):
        model = model.model
    if isinstance(model, Model):
        return model if device is None else model.to(device)
    if isinstance(model, str | Path):
        return load(model, device=device or "cpu")
    raise ConfigError(
        f"{type(model).__name__} is no model", expected="a Model, a Run, or the path of a model or run folder"
    )


SHORT = {
    "steps": "trainer.steps",
    "epochs": "trainer.epochs",
    "seed": "trainer.seed",
    "batch_size": "data.batch_size",
    "lr": "optimiser.lr",
}
"""Settings that everybody uses, by the name that everybody uses."""
TOP = (*PART_KINDS, *SECTIONS, "task", "finetune", "method")
"""First words of settings."""
ARGUMENTS = (
    "allow_changed_data", "callbacks", "config", "data", "device", "domain", "ensemble", "folds", "group", "id_column",
    "ignore", "init_from", "keep_copies_together", "label", "labels", "name", "out", "preset", "progress", "read",
    "reader", "recipe", "report", "resume", "seeds", "split", "task", "twin",
)  # fmt: skip
"""Of ``train`` and ``finetune``, which take settings beside them."""
KNOWN = (*ARGUMENTS, *TOP, *SHORT)


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Keyword settings as ``key.sub=value`` texts.

    Nested (``trainer={"steps": 20}``), with two underscores (``trainer__steps=20``) and dotted
    (``**{"trainer.steps": 20}``) spellings mean the same, and so do the words of :data:`SHORT` (``steps=20``).

    Raises:
        ConfigError: a value that is no setting, a section that is none, or one setting in two spellings.
    """
    found: dict[str, tuple[str, str]] = {}  # dotted name -> as it was given, with its value
    for name, given, value in _flat(settings, ""):
        path = f"{name}.name" if name in PART_KINDS and isinstance(value, str) else name
        if path in found:
            raise ConfigError(f"{found[path][0]} and {given}={value!r} are one setting", hint="leave one of them out")
        found[path] = f"{given}={value!r}", f"{name}={_as_text(given, value)}"
    return [text for _, text in found.values()]


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, Any]]:
    """Dotted name, name as it was given, and value of every setting."""
    for key, value in settings.items():
        if not prefix and key not in SHORT and re.split(r"__|\.", key)[0] not in TOP:
            raise ConfigError(f"{key!r} is no argument and no section of settings", did_you_mean=closest(key, KNOWN))
        path = f"{prefix}{key.replace('__', '.') if prefix else SHORT.get(key, key).replace('__', '.')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        else:
            yield path, f"{prefix}{key}", value


def _as_text(key: str, value: Any) -> str:
    if hasattr(value, "item") and hasattr(value, "tolist") and hasattr(value, "dtype"):
        value = value.tolist()  # a number of one, a list of several
    if isinstance(value, Path):
        value = str(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError as error:
        raise ConfigError(
            f"{key}={value!r} is no setting", expected="a number, text, true or false, None, list or dict"
        ) from error


def reporter_for(progress: bool | Reporter) -> Reporter:
    """True prints to standard error, False goes to the logger ``repcore``; a reporter is used as it is."""
    if isinstance(progress, bool):
        return PrintedReporter() if progress else LogReporter()
    return progress
