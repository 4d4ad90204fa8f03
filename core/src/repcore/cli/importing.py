"""``repcore import``: published weights into a model folder, with every key accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import say, show_json
from repcore.cli.options import json_option
from repcore.errors import CheckpointError, ConfigError, require_known

if TYPE_CHECKING:
    from repcore.checkpoints.imported import Imported
    from repcore.checkpoints.task_part import TaskPart
    from repcore.registry import Entry
    from repcore.specs import CheckpointSpec


@click.command("import")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model folder to write.")
@click.option("--layout", help="Registered checkpoint layout; recognised by key names by default.")
@click.option("--from-config", type=click.Path(path_type=Path), help="The authors' config, where shapes do not tell.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Folder with the vocabulary, if it is elsewhere.")
@click.option("--option", "further", multiple=True, metavar="KEY=VALUE", help="Options of the layout (repeatable).")
@click.option("--label", help="Name of what the file's fine-tuned head predicts, as in the data to predict.")
@click.option("--classes", help="Names of its classes: FILE with one a line, or NAME,NAME,...; numbers if left out.")
@click.option("--entry", help="Which of several states in the file (for example student or teacher).")
@click.option("--allow-namespace", is_flag=True, help="Accept an argparse namespace inside the file (read, never run).")
@json_option
def import_command(checkpoint: Path, **given: Any) -> None:
    """Turn published weights (CHECKPOINT: file or folder) into a model folder that embed and probe understand.

    A fine-tuned head in the file becomes the model's task, so that `repcore predict` works.

    \b
    Example:
      repcore import SELFormer/ -o models/selformer
      repcore import bbbp_model/ -o models/bbbp --label p_np --classes impermeable,permeable
    """
    known = registry.default()
    from repcore.checkpoints.imported import account
    from repcore.checkpoints.model_folder import save_model
    from repcore.checkpoints.reading import file_sha256, read_checkpoint

    found = read_checkpoint(checkpoint, entry=given["entry"], allow_namespace=given["allow_namespace"])
    layout = known.checkpoint(given["layout"]) if given["layout"] else _recognise(checkpoint, frozenset(found.state))
    options = _options(given)
    check_options(layout, options)
    imported = layout.load()(found.state, checkpoint, options)
    encoder_entry = known.encoder(layout.spec.encoder, layout.domain)
    encoder = encoder_entry.load()(imported.encoder_config)
    encoder.load_state_dict(imported.state)
    task = _task(imported, encoder, layout, given)
    report = account(imported)
    preprocessor, name, config = _preprocessor(imported, layout)
    folder = save_model(
        given["output"],
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
            **({} if task is None else {"predicts": _predicts(task)}),
            "imported": {
                "layout": layout.full_name,
                "from": checkpoint.name,
                "sha256": {path.name: file_sha256(path) for path in found.files},
            },
        },
        extra={"load_report": report.to_json()},
        task=task,
    )
    predicts = "" if task is None else _predicts(task)
    if given["as_json"]:
        show_json({"model": str(folder), "layout": layout.full_name, "predicts": predicts, "report": report.to_json()})
        return
    say(report.text())
    say(f"written: {report.written} of {report.total} tensors of the file")
    if imported.notices:
        say(f"notice: {imported.notices}")
    say(f"model: {folder}" + (f", predicts {predicts}" if predicts else ""))


def _task(imported: Imported, encoder: Any, layout: Entry[CheckpointSpec], given: Mapping[str, Any]) -> TaskPart | None:
    """The file's fine-tuned head around the encoder."""
    from repcore.checkpoints.imported import task_part

    classes = class_names(given["classes"])
    if imported.task is None:
        if classes or given["label"]:
            raise ConfigError(
                "--label and --classes name what a fine-tuned head predicts, but this import gives no task",
                reason=imported.task_missing or "the file holds no fine-tuned head",
            )
        return None
    known = registry.default()
    return task_part(imported.task, encoder, known, layout.domain, label=given["label"] or "", classes=classes)


def class_names(given: str | None) -> tuple[str, ...]:
    """Names from a file with one a line, or separated by commas.

    Raises:
        ConfigError: an empty name.
    """
    if given is None:
        return ()
    path = Path(given)
    if path.is_file():
        names = path.read_text(encoding="utf-8").rstrip("\n").splitlines()
    else:
        names = given.split(",")
    names = [name.strip() for name in names]
    if not all(names):
        raise ConfigError(f"--classes {given!r} holds an empty name", hint="a FILE with one name a line, or a,b,c")
    return tuple(names)


def _predicts(task: TaskPart) -> str:
    """``p_np: one of 2 classes``."""
    target, level = task.target, "" if task.target.level == "item" else f" of every {task.target.level}"
    count = len(target.names)
    words = {"class": f"one of {count} classes", "multilabel": f"{count} yes/no labels"}
    return f"{target.name}{level}: {words.get(target.kind, 'values')}"


def _options(given: Mapping[str, Any]) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in given["further"]:
        name, sign, value = text.partition("=")
        if not (sign and name.strip() and value.strip()):
            raise ConfigError(f"--option {text!r} is not KEY=VALUE")
        if name.strip() in options:
            raise ConfigError(f"--option {name.strip()} was given twice", got=f"{options[name.strip()]}, {value}")
        options[name.strip()] = value.strip()
    if given["from_config"] is not None:
        options["from_config"] = str(given["from_config"])
    if given["vocabulary"] is not None:
        options["vocabulary"] = str(given["vocabulary"])
    return options


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


def _recognise(path: Path, keys: frozenset[str]) -> Entry[CheckpointSpec]:
    """The layout whose sniffer is surest.

    Raises:
        CheckpointError: none recognises the key names.
    """
    entries = registry.default().entries("checkpoint")
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


def _preprocessor(imported: Any, layout: Entry[CheckpointSpec]) -> tuple[Any, str, Any]:
    """What the converter made, or the domain's only preprocessor with its defaults."""
    if imported.preprocessor is not None:
        name = registry.default().preprocessor(imported.preprocessor_name, layout.domain).full_name
        return imported.preprocessor, name, imported.preprocessor_config
    known = registry.default().entries("preprocessor", layout.domain)
    named = [entry for entry in known if imported.preprocessor_name in ("", entry.spec.name, entry.full_name)]
    if len(named) != 1:
        raise CheckpointError(f"layout {layout.full_name} does not say which preprocessor its weights need")
    config = imported.preprocessor_config or named[0].load("config")()
    return named[0].load()(config), named[0].full_name, config
