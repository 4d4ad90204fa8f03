"""A loaded model whose network somebody trained, written as a model of its own."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from repcore.checkpoints.model_folder import ModelFolder
from repcore.checkpoints.saving import save_model
from repcore.config.validate import build as build_config
from repcore.errors import CheckpointError
from repcore.interfaces import Preprocessor
from repcore.registry import Registry


def save_changed(
    folder: ModelFolder, encoder: nn.Module, preprocessor: Preprocessor, registry: Registry, path: Path
) -> None:
    """Write the weights that the network has now, with the settings and the card of the folder it came from.

    Raises:
        CheckpointError: the model has a task, which belongs to the weights that it had.
    """
    if folder.task is not None:
        raise CheckpointError(
            f"the network of {str(folder.folder)!r} was changed, and its task no longer belongs to it",
            hint="fine-tune the changed network: save it before it gets a task",
        )
    settings = {}
    for kind in ("encoder", "preprocessor"):
        fields = {key: value for key, value in folder.config[kind].items() if key != "name"}
        entry = registry.get(kind, str(folder.config[kind]["name"]))
        settings[kind] = build_config(entry.load("config"), fields, prefix=kind)
    save_model(
        path,
        encoder=encoder,
        encoder_name=folder.encoder_name,
        encoder_config=settings["encoder"],
        preprocessor=preprocessor,
        preprocessor_name=folder.preprocessor_name,
        preprocessor_config=settings["preprocessor"],
        card=folder.card,
        extra=folder.config.get("origin", {}),
        registry=registry,
        changes=folder.changes,
        widths=folder.config.get("widths"),
    )
