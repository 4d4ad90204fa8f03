"""Published weights into a model folder, with every key accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore.checkpoints.imported import Imported, account, task_part
from repcore.checkpoints.keymap import LoadReport
from repcore.checkpoints.reading import file_sha256, read_checkpoint
from repcore.checkpoints.saving import save_model
from repcore.checkpoints.task_part import TaskPart
from repcore.errors import CheckpointError, ConfigError, require_known
from repcore.registry import Entry, Registry
from repcore.specs import CheckpointSpec


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What a user says about published weights.

    Args:
        layout: registered layout; recognised by key names if None.
        options: of the layout.
        label / classes: what a fine-tuned head predicts, and the names of its classes.
        entry: which of several states in the file.
        allow_namespace: accept an argparse namespace inside the file.
    """

    layout: str | None = None
    options: Mapping[str, str] | None = None
    label: str | None = None
    classes: Sequence[str] = ()
    entry: str | None = None
    allow_namespace: bool = False


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """The model that was written, and where its tensors came from. ``predicts`` is empty for a model without a task."""

    folder: Path
    layout: str
    predicts: str
    report: LoadReport
    notices: str


def import_weights(registry: Registry, checkpoint: Path, output: Path, asked: ImportRequest) -> ImportOutcome:
    """Write a model folder from published weights.

    Raises:
        CheckpointError: no layout recognises the file, or its keys are not those of the layout. ConfigError: options
            that the layout does not know.
    """
    found = read_checkpoint(checkpoint, entry=asked.entry, allow_namespace=asked.allow_namespace)
    layout = (
        registry.checkpoint(asked.layout)
        if asked.layout
        else recognise_layout(registry, checkpoint, frozenset(found.state))
    )
    options = dict(asked.options or {})
    check_options(layout, options)
    imported = layout.load()(found.state, checkpoint, options)
    encoder_entry = registry.encoder(layout.spec.encoder, layout.domain)
    encoder = encoder_entry.load()(imported.encoder_config)
    encoder.load_state_dict(imported.state)
    task = _task(registry, imported, encoder, layout, asked)
    report = account(imported)
    preprocessor, name, config = _preprocessor(registry, imported, layout)
    predicts = "" if task is None else _predicts(task)
    folder = save_model(
        output,
        encoder=encoder,
        encoder_name=encoder_entry.full_name,
        encoder_config=imported.encoder_config,
        preprocessor=preprocessor,
        preprocessor_name=name,
        preprocessor_config=config,
        card={
            "summary": encoder_entry.spec.summary,
            "paper": encoder_entry.spec.paper,
            "licence": layout.spec.licence or encoder_entry.spec.licence,
            "notices": imported.notices,
            **({} if task is None else {"predicts": predicts}),
            "imported": {
                "layout": layout.full_name,
                "from": checkpoint.name,
                "sha256": {path.name: file_sha256(path) for path in found.files},
            },
        },
        extra={"load_report": report.to_json()},
        task=task,
    )
    return ImportOutcome(folder, layout.full_name, predicts, report, imported.notices)


def _task(
    registry: Registry, imported: Imported, encoder: Any, layout: Entry[CheckpointSpec], asked: ImportRequest
) -> TaskPart | None:
    """The file's fine-tuned head around the encoder."""
    if imported.task is None:
        if asked.classes or asked.label:
            raise ConfigError(
                "--label and --classes name what a fine-tuned head predicts, but this import gives no task",
                reason=imported.task_missing or "the file holds no fine-tuned head",
            )
        return None
    return task_part(
        imported.task, encoder, registry, layout.domain, label=asked.label or "", classes=tuple(asked.classes)
    )


def _predicts(task: TaskPart) -> str:
    """``p_np: one of 2 classes``."""
    target, level = task.target, "" if task.target.level == "item" else f" of every {task.target.level}"
    count = len(target.names)
    words = {"class": f"one of {count} classes", "multilabel": f"{count} yes/no labels"}
    return f"{target.name}{level}: {words.get(target.kind, 'values')}"


def check_options(layout: Entry[CheckpointSpec], options: Mapping[str, str]) -> None:
    """Refuse options that the layout does not know, and words that an option does not take.

    Raises:
        ConfigError: names the nearest one that there is.
    """
    known = layout.spec.options
    require_known(options, known, f"option of layout {layout.full_name}")
    for name, value in options.items():
        if known[name]:
            require_known([value], known[name], f"value of {name} (layout {layout.full_name})")


def recognise_layout(registry: Registry, path: Path, keys: frozenset[str]) -> Entry[CheckpointSpec]:
    """The layout whose sniffer is surest.

    Raises:
        CheckpointError: none recognises the key names.
    """
    entries = registry.entries("checkpoint")
    scored = [(float(entry.load("sniff")(keys)), entry) for entry in entries]
    best = max(scored, key=lambda one: one[0], default=(0.0, None))
    if best[1] is None or best[0] <= 0.0:
        raise CheckpointError(
            f"no installed layout recognises {str(path)!r}",
            keys=", ".join(sorted(keys)[:4]) + (", ..." if len(keys) > 4 else ""),
            layouts=", ".join(entry.full_name for entry in entries) or "none",
            hint="--layout NAME forces one",
        )
    return best[1]


def _preprocessor(registry: Registry, imported: Any, layout: Entry[CheckpointSpec]) -> tuple[Any, str, Any]:
    """What the converter made, or the domain's only preprocessor with its defaults."""
    if imported.preprocessor is not None:
        name = registry.preprocessor(imported.preprocessor_name, layout.domain).full_name
        return imported.preprocessor, name, imported.preprocessor_config
    known = registry.entries("preprocessor", layout.domain)
    named = [entry for entry in known if imported.preprocessor_name in ("", entry.spec.name, entry.full_name)]
    if len(named) != 1:
        raise CheckpointError(f"layout {layout.full_name} does not say which preprocessor its weights need")
    config = imported.preprocessor_config or named[0].load("config")()
    return named[0].load()(config), named[0].full_name, config
