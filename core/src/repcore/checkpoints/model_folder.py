"""Model folders: what a run leaves behind, what users share, and what every later command reads.

    weights.safetensors    encoder tensors under canonical names, contiguous; those of a task under ``task.``
    config.json            encoder {name, ...settings}, preprocessor {name, ...settings}, task, tied names, versions,
                           origin
    preprocessing.json     state of the preprocessor and SHA-256 of its files, which lie beside it
    README.md              model card
    members/               further networks of an ensemble

A folder can be inspected (settings, tensors) without the plugin; building the encoder needs it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from repcore import registry as registry_module
from repcore.checkpoints.content import content_sha256, write_tensors
from repcore.checkpoints.model_card import model_card
from repcore.checkpoints.reading import file_sha256, grouped, read_file
from repcore.checkpoints.task_part import PREFIX, TaskPart, load_own_state, own_state, target_of
from repcore.config.plain import to_plain
from repcore.config.resolve import ResolvedPart
from repcore.config.validate import build as build_config
from repcore.data.guard import error_in_words
from repcore.errors import CheckpointError, ConfigError, PluginError, RegistryError, RepcoreError
from repcore.files import is_file, read_object, sync_file
from repcore.plugins import core_version
from repcore.registry import Entry, Registry
from repcore.untrusted import is_plain_name, pip_install

FORMAT = 1
WEIGHTS, CONFIG, PREPROCESSING, CARD = "weights.safetensors", "config.json", "preprocessing.json", "README.md"
MEMBERS = "members"
OWN_FILES = (WEIGHTS, CONFIG, PREPROCESSING, CARD)


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that has been looked at, but not loaded.

    Args:
        folder: where it lies.
        config: content of ``config.json``.
    """

    folder: Path
    config: Mapping[str, Any]

    @property
    def encoder_name(self) -> str:
        """Full name of the encoder."""
        return str(self.config["encoder"]["name"])

    @property
    def preprocessor_name(self) -> str:
        """Full name of the preprocessor."""
        return str(self.config["preprocessor"]["name"])

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.config["dim"])

    @property
    def card(self) -> Mapping[str, Any]:
        """Facts behind the model card."""
        facts: Mapping[str, Any] = self.config.get("card", {})
        return facts

    def as_origin(self) -> dict[str, Any]:
        """What a run that begins with these weights says of them: where they lay, their hash, and their own data."""
        content = self.config.get("content")
        return {
            "model": str(self.folder),
            "weights": content.get(WEIGHTS, "") if isinstance(content, Mapping) else "",
            **{name: self.card[name] for name in ("data", "imported", "began_with") if self.card.get(name)},
        }

    @cached_property
    def preprocessing(self) -> Mapping[str, Any]:
        """Content of ``preprocessing.json``."""
        return read_object(self.folder / PREPROCESSING)

    def tensors(self) -> dict[str, Tensor]:
        """The encoder's whole state, tied names included and tensors of a task left out.

        Raises:
            CheckpointError: the weights are missing, damaged, or lack a tied tensor.
        """
        return self._untied({k: value for k, value in self.stored(WEIGHTS).items() if not k.startswith(PREFIX)})

    def stored(self, name: str) -> dict[str, Tensor]:
        """All tensors of one weights file, after comparing them with the hash in ``config.json``.

        Args:
            name: relative to the folder, for example ``weights.safetensors``.

        Raises:
            CheckpointError: the file is missing, damaged, or not the one that the model was saved with.
        """
        path = self.folder / name
        if not path.is_file():
            raise CheckpointError(f"{self.folder} has no {name}")
        found: dict[str, Tensor] = read_file(path)
        recorded = self.config.get("content")  # models from before it was recorded have none
        expected = recorded.get(name) if isinstance(recorded, Mapping) else None
        if expected is not None and content_sha256(found) != expected:
            raise CheckpointError(
                f"{path} does not hold the tensors that the model was saved with",
                expected=f"content hash {str(expected)[:16]}...",
                hint="fetch the folder again; one changed bit is enough for this",
            )
        return found

    def weight_files(self) -> list[str]:
        """Names of the folder's weights files: the model's own, then the members of an ensemble."""
        return [WEIGHTS, *(f"{MEMBERS}/{path.name}" for path in sorted((self.folder / MEMBERS).glob("*.safetensors")))]

    def identity(self) -> str:
        """Hash of the content: tensors, what prepares their input, and the facts of a task."""
        parts = [content_sha256(self.stored(name)) for name in self.weight_files()]
        facts = [self.config["encoder"], self.config["preprocessor"], self.preprocessing, self.task]
        facts += [self.config["tied"]] if self.config.get("tied") else []  # names that stand for stored tensors
        return hashlib.sha256(json.dumps([parts, facts], sort_keys=True).encode()).hexdigest()

    def _untied(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        path = self.folder / WEIGHTS
        for alias, name in self.config.get("tied", {}).items():
            if name not in state:
                raise CheckpointError(f"{path} lacks {name}, to which {alias} is tied")
            state[alias] = state[name]
        return state

    def build(self, registry: Registry | None = None) -> tuple[nn.Module, Any]:
        """The encoder in eval mode with its weights, and its preprocessor (both the plugin's own classes).

        Args:
            registry: where to look the names up; the installed plugins when None.

        Raises:
            PluginError: a plugin is missing or broken; names it, its version and how to get it.
            CheckpointError: a file is missing, altered or does not fit.
        """
        known = registry or registry_module.default()
        encoder = self.build_encoder(known)
        self.load_into(encoder)
        return encoder.eval(), self.build_preprocessor(known)

    def build_encoder(self, registry: Registry | None = None) -> nn.Module:
        """The encoder with fresh weights: the random-initialisation twin of the model."""
        entry = self._entry("encoder", registry or registry_module.default())
        settings = self._settings("encoder", entry)
        with self._in_words("encoder"):
            encoder: nn.Module = entry.load()(settings)
        return encoder

    @contextmanager
    def _in_words(self, part: str) -> Iterator[None]:
        """Settings that a part's code cannot be built with are a fault of the folder, whatever the code raises."""
        try:
            yield
        except RepcoreError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"the {part} that {self.folder} describes cannot be built", reason=error_in_words(error),
                hint="its config.json was changed or damaged: fetch or save the model again",
            ) from error  # fmt: skip

    def build_preprocessor(self, registry: Registry | None = None) -> Any:  # the plugin's own class
        """The fitted preprocessor, after checking its files."""
        entry = self._entry("preprocessor", registry or registry_module.default())
        for name, expected in self.preprocessing.get("files", {}).items():
            path = self.folder / name
            if not is_file(path):
                raise CheckpointError(f"{self.folder} lacks {name}, which its preprocessor needs")
            if file_sha256(path) != expected:
                raise CheckpointError(
                    f"{path} is not the file that the model was saved with", hint="restore it, or save the model again"
                )
        settings = self._settings("preprocessor", entry)
        with self._in_words("preprocessor"):
            return entry.load().load(settings, self.folder)

    def load_into(self, encoder: nn.Module) -> None:
        """Copy the weights into an encoder of the same sizes.

        Raises:
            CheckpointError: names, shapes, dtypes or the declared width differ; names them.
        """
        state, own = self.tensors(), encoder.state_dict()
        unexpected = [name for name in state if name not in own]
        missing = [name for name in own if name not in state]
        misshapen = [
            f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
            for name, value in state.items()
            if name in own and own[name].shape != value.shape
        ]
        mistyped = [
            f"{name} {value.dtype} for {own[name].dtype}".replace("torch.", "")
            for name, value in state.items()
            if name in own and own[name].dtype != value.dtype
        ]
        if unexpected or missing or misshapen or mistyped:
            raise CheckpointError(
                f"weights in {self.folder} do not fit this encoder; they are of {self.encoder_name}",
                unexpected=grouped(unexpected),
                missing=grouped(missing),
                wrong_shape="; ".join(misshapen[:4]) + (" ..." if len(misshapen) > 4 else ""),
                wrong_dtype="; ".join(mistyped[:4]) + (" ..." if len(mistyped) > 4 else ""),
                hint="use the encoder settings of the folder's config.json",
            )
        width = getattr(encoder, "dim", None)
        if isinstance(width, int) and self.config.get("dim") not in (None, 0, width):
            raise CheckpointError(
                f"{self.folder / CONFIG} says dim {self.config['dim']!r}, but its encoder gives vectors of {width}",
                hint="one of the two was changed by hand; restore the folder",
            )
        encoder.load_state_dict(state)

    @property
    def task(self) -> Mapping[str, Any] | None:
        """What ``config.json`` says about the task; None for a model without one."""
        record: Mapping[str, Any] | None = self.config.get("task")
        return record

    def build_tasks(self, encoder: nn.Module, registry: Registry | None = None) -> list[nn.Module]:
        """The task around the loaded encoder, then the further members of its ensemble; all in eval mode.

        Raises:
            CheckpointError: the model has no task, or its tensors do not fit.
            PluginError: the task's plugin is missing.
        """
        known = registry or registry_module.default()
        if self.task is None:
            raise CheckpointError(
                f"{self.folder} has no task, so it gives vectors and no predictions",
                hint=f"repcore {self.encoder_name.partition('/')[0]} finetune {self.folder} --data ... --label ...",
            )
        tasks = [self._task(known, encoder, self.stored(WEIGHTS), WEIGHTS)]
        for number in range(1, int(self.task.get("facts", {}).get("members", 0)) + 1):
            path = self.folder / MEMBERS / f"{number}.safetensors"
            if not path.is_file():
                raise CheckpointError(f"{self.folder} lacks {MEMBERS}/{path.name}, a member of its ensemble")
            state = self.stored(f"{MEMBERS}/{path.name}")
            other = self.build_encoder(known)
            other.load_state_dict(self._untied({k: v for k, v in state.items() if not k.startswith(PREFIX)}))
            tasks.append(self._task(known, other, state, f"{MEMBERS}/{path.name}"))
        return tasks

    def _task(self, known: Registry, encoder: nn.Module, state: Mapping[str, Tensor], file: str) -> nn.Module:
        assert self.task is not None
        entry = self._entry("task", known)
        config = build_config(entry.load("config"), dict(self.task.get("settings", {})), prefix="task")
        task: nn.Module = entry.load()(config, encoder, target_of(self.task))
        own = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
        load_own_state(task, own, str(self.folder / file))
        return task.eval()

    def part(self, kind: str, registry: Registry) -> ResolvedPart:
        """The encoder or preprocessor of this model as a part of a run."""
        entry = self._entry(kind, registry)
        return ResolvedPart(entry, self._settings(kind, entry))

    def _settings(self, kind: str, entry: Entry[Any]) -> Any:  # the plugin's own dataclass
        values = {key: value for key, value in self.config[kind].items() if key != "name"}
        try:
            return build_config(entry.load("config"), values, prefix=kind)
        except ConfigError as error:  # of a received file, not of what the user typed: their hint would not help
            facts = {name: value for name, value in error.facts.items() if name != "hint"}
            raise CheckpointError(
                f"the {kind} of {self.folder} cannot be built from its config.json: {error.summary}", **facts
            ) from error

    def _entry(self, kind: str, registry: Registry) -> Entry[Any]:
        name = str(self.config[kind]["name"])
        try:
            return registry.get(kind, name)
        except RegistryError as error:
            plugin = self.config.get("plugins", {}).get(kind, {})
            label = " ".join(str(plugin[key]) for key in ("distribution", "version") if plugin.get(key))
            domain = name.partition("/")[0]
            raise PluginError(
                f"{self.folder} needs {kind} {name}, which is not available here",
                written_with=label,
                problem=error.facts.get("problem") or error.summary,
                hint=error.facts.get("hint") or _install_hint(plugin, domain),
            ) from error


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
) -> Path:
    """Write a model folder; what was there before stays until the new one is complete.

    Args:
        folder: new, or an earlier model folder, which is replaced.
        encoder: its ``state_dict`` is saved.
        encoder_name / preprocessor_name: registered full names.
        encoder_config / preprocessor_config: their config dataclasses.
        preprocessor: its ``save(folder)`` writes the files beside.
        card: facts for the model card.
        extra: origin (run settings, environment, import report), kept under ``origin`` in config.json.
        branch: which network of the run this is.
        task: of a fine-tuned model.
        registry: where owners and versions are looked up; the installed plugins when None.

    Returns:
        the folder.

    Raises:
        CheckpointError: the folder exists and is something else, or the preprocessor writes one of our files.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / CONFIG).is_file() or not any(folder.iterdir()))):
        raise CheckpointError(f"{folder} exists and is not a model folder", hint="name a new folder")
    known = registry or registry_module.default()
    plugins = {
        kind: _owner(known, kind, name)
        for kind, name in (
            ("encoder", encoder_name),
            ("preprocessor", preprocessor_name),
            *([] if task is None else [("task", task.name)]),
        )
    }
    weights, tied = _canonical_tensors(encoder)
    stored = {**weights, **_task_tensors(weights, task)}
    dim = int(getattr(encoder, "dim", 0))
    config = {
        "format": FORMAT,
        "encoder": {"name": encoder_name, **to_plain(encoder_config)},
        "preprocessor": {"name": preprocessor_name, **to_plain(preprocessor_config)},
        "dim": dim,
        "branch": branch,
        "tied": tied,
        "repcore": core_version(),
        "plugins": plugins,
        **({} if task is None else {"task": task.record()}),
        "card": dict(card),
        "origin": dict(extra),
    }
    requirements = [f"repcore {core_version()}"]
    requirements += sorted({f"{one['distribution']} {one['version']}" for one in plugins.values() if one})
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_preprocessor(partial, preprocessor)
        content = {WEIGHTS: _save(partial / WEIGHTS, stored, encoder_name)}
        for number, member in enumerate(() if task is None else task.members, start=1):
            (partial / MEMBERS).mkdir(exist_ok=True)
            own = _canonical_tensors(member.encoder)[0]  # type: ignore[arg-type]
            name = f"{MEMBERS}/{number}.safetensors"
            content[name] = _save(partial / name, {**own, **_prefixed(member)}, encoder_name)
        _write_json(partial / CONFIG, {**config, "content": content})
        parameters = sum(tensor.numel() for tensor in weights.values())
        text = model_card(encoder_name, card=card, dim=dim, parameters=parameters, requirements=requirements)
        (partial / CARD).write_text(text, encoding="utf-8", errors="backslashreplace")
        _replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _save(path: Path, tensors: dict[str, Tensor], encoder_name: str) -> str:
    """Write one weights file; returns the hash of its content."""
    write_tensors(path, tensors, {"format": "pt", "encoder": encoder_name})
    sync_file(path)
    return content_sha256(tensors)


def read_model(folder: Path | str) -> ModelFolder:
    """Look at a model folder; also accepts a run folder with ``model/`` inside. Tensors are read later.

    Raises:
        CheckpointError: there is none, it is damaged, or written by a newer repcore.
    """
    path = Path(folder)
    if not (path / CONFIG).is_file() or not (path / PREPROCESSING).is_file():
        if (path / "model" / CONFIG).is_file():
            return read_model(path / "model")
        what = "is not a model folder" if path.exists() else "does not exist"
        raise CheckpointError(
            f"{path} {what}", expected=f"{CONFIG}, {PREPROCESSING} and {WEIGHTS}", hint="repcore import CKPT -o MODEL"
        )
    config = read_object(path / CONFIG)
    if config.get("format") != FORMAT:
        raise CheckpointError(
            f"{path / CONFIG} has format {config.get('format')!r}", expected=FORMAT, hint="upgrade repcore"
        )
    for part in ("encoder", "preprocessor"):
        if not isinstance(config.get(part), dict) or "name" not in config[part]:
            raise CheckpointError(f"{path / CONFIG} does not say which {part} it needs")
    return ModelFolder(path, config)


def _canonical_tensors(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Contiguous copies under the first name of each tensor, and the further names of tied ones."""
    weights: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, value in module.state_dict().items():
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


def _write_preprocessor(folder: Path, preprocessor: Any) -> None:
    """Let the preprocessor write its files, then list them."""
    state = to_plain(dict(preprocessor.save(folder) or {}))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    taken = [name for name in names if name in OWN_FILES]
    if taken:
        raise CheckpointError(
            f"{type(preprocessor).__name__}.save wrote {', '.join(taken)}, which belongs to the model folder"
        )
    digests = {name: file_sha256(path) for name, path in zip(names, files, strict=True)}
    _write_json(folder / PREPROCESSING, {"format": FORMAT, "state": state, "files": digests})


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


def _install_hint(plugin: Mapping[str, Any], domain: str) -> str:
    """A command to copy; built from received text only where that text is a name and a version, and nothing else."""
    distribution = str(plugin.get("distribution", ""))
    if not distribution or distribution == f"repcore-{domain}":
        return registry_module.install_command(domain) if is_plain_name(domain) else ""
    return pip_install(distribution, str(plugin.get("version") or ""))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # lone surrogates as JSON escapes
