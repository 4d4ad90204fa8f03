"""``repcore import``: a published checkpoint into a model folder, with every key accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from repcore import registry
from repcore.cli.console import say, show_json
from repcore.cli.options import json_option
from repcore.errors import ConfigError


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
    """Turn a published CHECKPOINT (file or folder) into a model folder that embed and probe understand.

    A fine-tuned head in the file becomes the model's task, so that `repcore predict` works.

    \b
    Example:
      repcore import SELFormer/ -o models/selformer
      repcore import bbbp_model/ -o models/bbbp --label p_np --classes impermeable,permeable
    """
    from repcore.checkpoints.importing import ImportRequest, import_weights

    asked = ImportRequest(
        layout=given["layout"],
        options=_options(given),
        label=given["label"],
        classes=class_names(given["classes"]),
        entry=given["entry"],
        allow_namespace=given["allow_namespace"],
    )
    done = import_weights(registry.default(), checkpoint, given["output"], asked)
    report = done.report
    if given["as_json"]:
        facts = {"model": str(done.folder), "layout": done.layout, "predicts": done.predicts}
        show_json({**facts, "report": report.to_json()})
        return
    say(report.text())
    say(f"written: {report.written} of {report.total} tensors of the file")
    if done.notices:
        say(f"notice: {done.notices}")
    say(f"model: {done.folder}" + (f", predicts {done.predicts}" if done.predicts else ""))


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
