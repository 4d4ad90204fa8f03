"""Writing model folders; :mod:`repcore.checkpoints.model_folder` says what lies in one, and reads it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from repcore import registry as registry_module
from repcore.checkpoints.content import content_of_file, content_sha256, write_tensors
from repcore.checkpoints.folder_facts import settings_content
from repcore.checkpoints.halves import halved
from repcore.checkpoints.model_card import model_card
from repcore.checkpoints.model_folder import (
    CARD,
    CONFIG,
    FORMAT,
    MEMBERS,
    OWN_FILES,
    PREPROCESSING,
    WEIGHTS,
    read_model,
)
from repcore.checkpoints.reading import file_sha256, read_file
from repcore.checkpoints.task_part import PREFIX, TaskPart, own_state
from repcore.config.plain import to_plain
from repcore.errors import CheckpointError, PluginError, RegistryError
from repcore.files import as_strict, entries_of, sync_file, write_text
from repcore.plugins import core_version
from repcore.registry import Registry


def save_model(
    folder: Path,
    *,
    encoder: nn.Module,
    encoder_name: str,
    encoder_config: Any,
    preprocessor: Any,
    preprocessor_name: str,
    preprocessor_config: Any,
    card: Mapping[str, Any],
    extra: Mapping[str, Any],
    branch: str = "default",
    task: TaskPart | None = None,
    registry: Registry | None = None,
    changes: Sequence[Mapping[str, Any]] = (),
    widths: Mapping[str, Mapping[str, int]] | None = None,
) -> Path:
    """Write a model folder; what was there before stays until the new one is complete.

    Args:
        folder: new, or an earlier model folder, which is replaced; returned.
        encoder / preprocessor: one's ``state_dict`` is saved, the other's ``save(folder)`` writes files beside it; with
            their registered full names and config dataclasses.
        card: facts for the model card.
        extra: origin (run settings, environment, import report), kept under ``origin`` in config.json.
        branch: which network of the run this is.
        task: of a fine-tuned model.
        registry: where owners and versions are looked up; the installed plugins when None.
        changes: what methods made of the encoder, see :mod:`repcore.checkpoints.encoder_changes`.
        widths: of its vectors by pooling, level and layer, where they are known (:mod:`repcore.embedding.width`).

    Raises:
        CheckpointError: the folder exists and is something else, or the preprocessor writes one of our files.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / CONFIG).is_file() or not entries_of(folder))):
        raise CheckpointError(f"{folder} exists and is not a model folder", hint="name a new folder")
    parts = {"encoder": (encoder_name, encoder_config), "preprocessor": (preprocessor_name, preprocessor_config)}
    config = _config_of(parts, task, changes, registry or registry_module.default())
    weights, tied = canonical_tensors(encoder)
    config |= {"dim": int(getattr(encoder, "dim", 0)), "branch": branch, "tied": tied}
    config |= {"widths": {name: dict(one) for name, one in widths.items()}} if widths else {}
    with _written_whole(folder) as partial:
        prepared = _write_preprocessor(partial, preprocessor)
        content = _write_networks(partial, weights, task, encoder_name) | settings_content(config, prepared)
        _write_json(partial / CONFIG, {**config, **_told(card, extra), "content": content})
        _write_card(partial, config, card, sum(tensor.numel() for tensor in weights.values()))
    return folder


def record_content(folder: Path) -> None:
    """Write the hashes that a model folder of an earlier version lacks into its ``config.json``; others stay.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    model = read_model(folder)
    known = model.config.get("content") or {}
    content = settings_content(model.config, model.preprocessing)
    if set(content) <= set(known):
        return
    content |= {name: content_sha256(read_file(folder / name)) for name in model.weight_files() if name not in known}
    told = _told(model.card, model.config.get("origin", {}))
    written = {**model.config, **told, "content": {**content, **known}}
    write_text(folder / CONFIG, json.dumps(written, indent=2) + "\n")


def store_halved(folder: Path, card: Mapping[str, Any] | None = None, origin: Mapping[str, Any] | None = None) -> None:
    """Write the weights of a model folder again in half precision (:mod:`repcore.checkpoints.halves`), with their new
    hashes and a card that says so.

    Args:
        card / origin: what is told of the model's making in place of what the folder says.

    Raises:
        CheckpointError: the folder cannot be read, or was changed since it was saved.
    """
    model = read_model(folder)
    rounded = {name: halved(model.stored(name)) for name in model.weight_files()}
    facts = {**(model.card if card is None else card), "numbers_on_disk": "float16"}
    content = dict(model.config.get("content") or settings_content(model.config, model.preprocessing))
    with _written_whole(folder) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        for name, tensors in rounded.items():
            content[name] = _save(partial / name, tensors, model.encoder_name)
        made = model.config.get("origin", {}) if origin is None else origin
        config = {**model.config, **_told(facts, made), "content": content}
        _write_json(partial / CONFIG, config)
        own = (value for name, value in rounded[WEIGHTS].items() if not name.startswith(PREFIX))
        _write_card(partial, config, facts, sum(tensor.numel() for tensor in own))


def _config_of(
    parts: Mapping[str, tuple[str, Any]], task: TaskPart | None, changes: Sequence[Mapping[str, Any]], known: Registry
) -> dict[str, Any]:
    """What the model is made of: names, settings, and the distributions that they come from."""
    names = {kind: name for kind, (name, _) in parts.items()} | ({} if task is None else {"task": task.name})
    plugins = {kind: _owner(known, kind, name) for kind, name in names.items()}
    if changes:
        plugins["changes"] = _owner(known, "objective", str(changes[-1]["name"]))
    return {
        "format": FORMAT,
        **{kind: {"name": name, **to_plain(settings)} for kind, (name, settings) in parts.items()},
        **({} if task is None else {"task": task.record()}),
        **({"changes": [dict(one) for one in changes]} if changes else {}),
        "repcore": core_version(),
        "plugins": plugins,
    }


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``folder`` once all is in it, and is gone if something fails."""
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        _replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_networks(
    folder: Path, weights: Mapping[str, Tensor], task: TaskPart | None, encoder_name: str
) -> dict[str, str]:
    """The model's own weights file and those of an ensemble's members; hash of each content by name."""
    stored = {**weights, **_task_tensors(weights, task)}
    content = {WEIGHTS: _save(folder / WEIGHTS, stored, encoder_name)}
    for number, member in enumerate(() if task is None else task.members, start=1):
        (folder / MEMBERS).mkdir(exist_ok=True)
        own = canonical_tensors(member.encoder)[0]  # type: ignore[arg-type]
        name = f"{MEMBERS}/{number}.safetensors"
        content[name] = _save(folder / name, {**own, **_prefixed(member)}, encoder_name)
    return content


def _write_card(folder: Path, config: Mapping[str, Any], card: Mapping[str, Any], parameters: int) -> None:
    owners = sorted({f"{one['distribution']} {one['version']}" for one in config["plugins"].values() if one})
    text = model_card(
        config["encoder"]["name"], card=card, dim=config["dim"], parameters=parameters,
        requirements=[f"repcore {core_version()}", *owners], target=config.get("task", {}).get("target"),
    )  # fmt: skip
    (folder / CARD).write_text(text, encoding="utf-8", errors="backslashreplace")


def _save(path: Path, tensors: dict[str, Tensor], encoder_name: str) -> str:
    """Write one weights file; returns the hash of its content."""
    write_tensors(path, tensors, {"format": "pt", "encoder": encoder_name})
    sync_file(path)
    return content_sha256(tensors)


def canonical_tensors(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Contiguous copies under the name of each tensor, and the further names of tied ones.

    Of several names of one tensor it is stored under the one that sorts first, in whatever order a network was put
    together: the same network is the same model.
    """
    weights: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, value in sorted(module.state_dict().items(), key=lambda item: item[0]):
        if not isinstance(value, Tensor):
            raise PluginError(f"state of {type(module).__name__} holds {name}, which is not a tensor")
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and place in first:
            tied[name] = first[place]
            continue
        first[place] = name
        weights[name] = value.detach().to("cpu", copy=True).contiguous()
    return weights, tied


def _task_tensors(weights: Mapping[str, Tensor], task: TaskPart | None) -> dict[str, Tensor]:
    """Tensors of the task under their stored names."""
    taken = [name for name in weights if name.startswith(PREFIX)]
    if taken:
        raise PluginError(f"the encoder names a tensor {taken[0]!r}; names under {PREFIX!r} belong to tasks")
    return {} if task is None else _prefixed(task.module)


def _prefixed(task: nn.Module) -> dict[str, Tensor]:
    return {f"{PREFIX}{k}": v.detach().to("cpu", copy=True).contiguous() for k, v in own_state(task).items()}


def _write_preprocessor(folder: Path, preprocessor: Any) -> dict[str, Any]:
    """Let the preprocessor write its files, then list them; what is written of them."""
    state = to_plain(dict(preprocessor.save(folder) or {}))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    taken = [name for name in names if name in OWN_FILES]
    if taken:
        raise CheckpointError(
            f"{type(preprocessor).__name__}.save wrote {', '.join(taken)}, which belongs to the model folder"
        )
    digests = {name: file_sha256(path) for name, path in zip(names, files, strict=True)}
    content = {name: content_of_file(path) for name, path in zip(names, files, strict=True)}
    containers = {name: digest for name, digest in content.items() if digest != digests[name]}
    record = {"format": FORMAT, "state": state, "files": digests, **({"content": containers} if containers else {})}
    _write_json(folder / PREPROCESSING, record)
    return record


def _replace_folder(new: Path, folder: Path) -> None:
    """Put ``new`` in the place of ``folder``: two renames, with nothing lost in between."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        new.rename(folder)
        return
    old = folder.parent / f".{folder.name}.old-{os.getpid()}"
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _owner(registry: Registry, kind: str, name: str) -> dict[str, str]:
    """Distribution and version that provide a part; empty for one that is not registered."""
    try:
        plugin = registry.get(kind, name).plugin
    except RegistryError:
        return {}
    return {"plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version}


def _told(card: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's ``config.json`` tells of its making, for strict readers; its settings stay as they are."""
    return {"card": as_strict(dict(card)), "origin": as_strict(dict(origin))}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # lone surrogates as JSON escapes
