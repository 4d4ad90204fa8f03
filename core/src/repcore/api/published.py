"""``repcore.import_checkpoint`` and ``repcore.pull``: published weights from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repcore import registry as registries
from repcore.arguments import checked
from repcore.checkpoints.importing import ImportRequest, import_weights
from repcore.checkpoints.published import published_entry, pull_weights
from repcore.embedding.model import Model, load
from repcore.process_state import leaves_no_trace
from repcore.registry import Registry

if TYPE_CHECKING:
    import torch


@checked
@leaves_no_trace
def import_checkpoint(
    checkpoint: Path | str,
    out: Path | str,
    *,
    layout: str | None = None,
    label: str | None = None,
    classes: Sequence[str] = (),
    entry: str | None = None,
    allow_namespace: bool = False,
    device: str | torch.device = "cpu",
    registry: Registry | None = None,
    **options: Any,
) -> Model:
    """Turn published weights into a model folder, as ``repcore import`` does, and load it.

    Args:
        checkpoint: file or folder.
        out: model folder to write.
        layout: registered layout; recognised by key names if None.
        label / classes: what a fine-tuned head predicts, and the names of its classes.
        entry / allow_namespace: as the options of the command.
        options: of the layout, for example ``from_config=PATH`` or ``vocabulary=FOLDER``.

    Raises:
        CheckpointError: no layout recognises the file, or keys that are not accounted for.
    """
    known = registry or registries.default()
    words = {name: str(value) for name, value in options.items() if value is not None}
    asked = ImportRequest(layout, words, label, tuple(classes), entry, allow_namespace)
    done = import_weights(known, Path(checkpoint), Path(out), asked)
    return load(done.folder, device=device, registry=known)


@checked
@leaves_no_trace
def pull(
    name: str,
    out: Path | str | None = None,
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    registry: Registry | None = None,
) -> Model:
    """Download published weights by name, as ``repcore pull`` does, verify and import them, and load the model.

    Args:
        name: ``domain/name``, or a short name; ``repcore pull`` lists them.
        out: model folder to write; ``models/NAME`` if None.
        progress: called with (bytes done, bytes).

    Raises:
        RegistryError: no such name. CheckpointError: no connection, or another content than was published.
    """
    known = registry or registries.default()
    place = Path(out) if out is not None else Path("models") / published_entry(known, name).name.partition("/")[2]
    done = pull_weights(known, name, place, progress or (lambda done, total: None))
    return load(done.folder, device=device, registry=known)
