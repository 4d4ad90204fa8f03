"""Model folders: what a run leaves behind, what users share, and what every later command reads.

    weights.safetensors    encoder tensors under canonical names, contiguous; those of a task under ``task.``
    config.json            encoder {name, ...settings}, preprocessor {name, ...settings}, task, tied names, versions,
                           origin; widths of vectors by pooling, level, layer; content: hashes of the tensors, and of
                           all settings that change answers
    preprocessing.json     state of the preprocessor and SHA-256 of its files, which lie beside it; of containers (npz,
                           zip, gz) also of their content, which is what the model's identity holds
    README.md              model card
    members/               further networks of an ensemble

A folder can be inspected (settings, tensors) without the plugin; building the encoder needs it.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from repcore import registry as registry_module
from repcore.checkpoints.content import content_sha256
from repcore.checkpoints.encoder_changes import changed, preprocessor_of
from repcore.checkpoints.folder_facts import (
    check_config,
    check_prepared,
    check_preprocessing,
    check_settings,
    refuse_changed,
)
from repcore.checkpoints.halves import widened
from repcore.checkpoints.outline import bounded, compare, outlined
from repcore.checkpoints.places import lasting_name
from repcore.checkpoints.reading import file_sha256, header_shapes, read_file
from repcore.checkpoints.task_part import PREFIX, load_own_state, target_of
from repcore.config.resolve import ResolvedPart
from repcore.config.validate import build as build_config
from repcore.data.guard import error_in_words
from repcore.errors import CheckpointError, ConfigError, PluginError, RegistryError, RepcoreError
from repcore.files import is_file, read_object
from repcore.registry import Entry, Registry
from repcore.untrusted import is_plain_name, pip_install

T = TypeVar("T")  # a tensor, or its shape

FORMAT = 1
WEIGHTS, CONFIG, PREPROCESSING, CARD = "weights.safetensors", "config.json", "preprocessing.json", "README.md"
MEMBERS = "members"
LOADED = "encoder"  # what was loaded into a network: the tensors of no file, tied names included
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
    def lasting_name(self) -> str:
        """What loads this model from any working directory, for whatever keeps it."""
        return lasting_name(self.folder)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.config.get("dim") or 0)

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
        """Content of ``preprocessing.json``.

        Raises:
            CheckpointError: it is damaged, or holds something of another kind than expected.
        """
        content = read_object(self.folder / PREPROCESSING)
        check_preprocessing(self.folder / PREPROCESSING, content)
        check_prepared(self.folder / PREPROCESSING, content, self.config.get("content"))
        return content

    def tensors(self) -> dict[str, Tensor]:
        """The encoder's whole state, tied names included and tensors of a task left out.

        Raises:
            CheckpointError: the weights are missing, damaged, or lack a tied tensor.
        """
        return self._untied(_of_encoder(self.stored(WEIGHTS)))

    def stored(self, name: str) -> dict[str, Tensor]:
        """All tensors of one weights file, after comparing them and the settings with the hashes in ``config.json``.

        Args:
            name: relative to the folder, for example ``weights.safetensors``.

        Raises:
            CheckpointError: the file is missing or damaged, or something was changed since the model was saved.
        """
        path = self._weights_file(name)
        found: dict[str, Tensor] = read_file(path)
        recorded = self.config.get("content")
        if recorded is None:  # of a folder from before it was recorded, or taken out
            warnings.warn(
                f"{self.folder / CONFIG} holds no hash of the tensors: nobody would notice a changed bit "
                "(repcore.load(FOLDER).save(NEW) records it)",
                stacklevel=2,
            )
            return found
        if (expected := recorded.get(name)) is None:
            raise CheckpointError(f"{self.folder / CONFIG} has no hash of {name}", hint="fetch the folder again")
        if content_sha256(found) != expected:
            raise CheckpointError(
                f"{path} does not hold the tensors that the model was saved with",
                expected=f"content hash {str(expected)[:16]}...",
                hint="fetch the folder again; one changed bit is enough for this",
            )
        check_settings(self.folder / CONFIG, self.config)
        self._read[name] = expected
        return found

    def _weights_file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            if name.startswith(f"{MEMBERS}/"):
                raise CheckpointError(
                    f"{self.folder} lacks {name}, a member of its ensemble", hint="fetch the folder again"
                )
            raise CheckpointError(f"{self.folder} has no {name}")
        return path

    @cached_property
    def _read(self) -> dict[str, str]:
        """Hash of the content of each weights file that was read: a folder that another model replaces meanwhile does
        not change which one was loaded."""
        return {}

    def weight_files(self) -> list[str]:
        """Names of the folder's weights files, as ``config.json`` says: the model's own, then the members of an
        ensemble in the order of their names (1, 10, 2), in which they take part in the identity."""
        members = int((self.task or {}).get("facts", {}).get("members", 0))
        return [WEIGHTS, *sorted(f"{MEMBERS}/{number}.safetensors" for number in range(1, members + 1))]

    def identity(self, weights: Mapping[str, Tensor] | None = None) -> str:
        """Hash of the content: tensors, what prepares their input, and the facts of a task.

        Args:
            weights: of the encoder, under their stored names, in place of those in the folder.
        """
        parts = [self._read.get(name) or content_sha256(self.stored(name)) for name in self.weight_files()]
        if weights is not None:
            task = {name: value for name, value in self.stored(WEIGHTS).items() if name.startswith(PREFIX)}
            parts[0] = content_sha256({**weights, **task})
        prepared = dict(self.preprocessing)
        prepared["files"] = {**prepared.get("files", {}), **prepared.pop("content", {})}
        facts = [self.config["encoder"], self.config["preprocessor"], prepared, self.task]
        facts += [self.config["tied"]] if self.config.get("tied") else []  # names that stand for stored tensors
        facts += [self.changes] if self.changes else []
        return hashlib.sha256(json.dumps([parts, facts], sort_keys=True).encode()).hexdigest()

    def _untied(self, state: dict[str, T]) -> dict[str, T]:
        path = self.folder / WEIGHTS
        tied = self.config.get("tied") or {}
        if not isinstance(tied, dict) or not all(isinstance(one, str) for one in tied.values()):
            raise CheckpointError(
                f"'tied' of {self.folder / CONFIG} is {tied!r}", expected="names of tensors by their other names"
            )
        for alias, name in tied.items():
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
        """The encoder with fresh weights: the random-initialisation twin of the model.

        Raises:
            CheckpointError: the settings were changed, or describe another network than the weights; before memory is
                taken for it.
        """
        known = registry or registry_module.default()
        self._entry("encoder", known)  # that a plugin is missing is said first
        refuse_changed(self.folder / CONFIG, self.config)
        self._outline(known)
        with bounded(self._shapes(WEIGHTS), self.folder):
            return self._make_encoder(known)

    def _make_encoder(self, registry: Registry) -> nn.Module:
        entry = self._entry("encoder", registry)
        settings = self._settings("encoder", entry)
        with self._in_words("encoder"):
            encoder: nn.Module = entry.load()(settings)
        for method in self.change_parts(registry):
            with self._in_words(f"encoder changed by {method.name}"):
                encoder = changed(method, encoder)
        return encoder

    def _outline(self, registry: Registry) -> nn.Module | None:
        """The encoder without numbers, once it has been compared with the header of the weights; None where its code
        needs numbers."""
        shapes = self._shapes(WEIGHTS)
        found = outlined(lambda: self._make_encoder(registry), shapes, self.folder)
        if found is not None:
            compare(self._untied(_of_encoder(shapes)), found.state_dict(), self._misfit)
        return found

    @property
    def _misfit(self) -> str:
        return f"weights in {self.folder} do not fit this encoder; they are of {self.encoder_name}"

    def _shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """Shapes that the header of a weights file announces."""
        return header_shapes(self._weights_file(name))

    @property
    def changes(self) -> list[Mapping[str, Any]]:
        """What methods of fine-tuning made of the encoder; see :mod:`repcore.checkpoints.encoder_changes`."""
        return list(self.config.get("changes", []))

    def change_parts(self, registry: Registry) -> list[ResolvedPart]:
        """The methods that changed the encoder, with their settings.

        Raises:
            PluginError: the plugin of one is missing.
        """
        found = []
        for record in self.changes:
            entry = self._registered("objective", str(record["name"]), "changes", registry)
            values = {key: value for key, value in record.items() if key != "name"}
            found.append(ResolvedPart(entry, build_config(entry.load("config"), values, prefix="changes")))
        return found

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
        known = registry or registry_module.default()
        entry = self._entry("preprocessor", known)
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
            own = entry.load().load(settings, self.folder)
        return preprocessor_of(own, self.change_parts(known))

    def holds(self, encoder: nn.Module) -> bool:
        """Whether a network has the weights that were loaded from here, whatever lies in the folder by now."""
        own = encoder.state_dict()
        loaded = self._read.get(LOADED) or content_sha256(widened(self.tensors(), own))
        return content_sha256(own) == loaded

    def load_into(self, encoder: nn.Module) -> None:
        """Copy the weights into an encoder of the same sizes.

        Raises:
            CheckpointError: names, shapes, dtypes or the declared width differ; names them.
        """
        state = widened(self.tensors(), encoder.state_dict())
        self._compare(state, encoder)
        self._read[LOADED] = content_sha256(state)
        width, declared = getattr(encoder, "dim", None), self.config.get("dim")
        is_left_open = declared in (None, 0) and not self.config.get("content")  # folders from before it was written
        if isinstance(width, int) and declared != width and not is_left_open:
            raise CheckpointError(
                f"{self.folder / CONFIG} says dim {declared!r}, but its encoder gives embeddings of {width}",
                hint="one of the two was changed by hand; restore the folder",
            )
        encoder.load_state_dict(state)

    def _compare(self, state: Mapping[str, Tensor], encoder: nn.Module) -> None:
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        dtypes = {name: value.dtype for name, value in state.items()}
        compare(shapes, encoder.state_dict(), self._misfit, dtypes)

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
                f"{self.folder} has no task, so it gives embeddings and no predictions",
                hint=f"repcore {self.encoder_name.partition('/')[0]} finetune {shlex.quote(str(self.folder))}",
            )
        tasks = [self._task(known, encoder, self.stored(WEIGHTS), WEIGHTS)]
        for number in range(1, int(self.task.get("facts", {}).get("members", 0)) + 1):
            name = f"{MEMBERS}/{number}.safetensors"
            state = self.stored(name)
            other = self.build_encoder(known)
            own = widened(self._untied(_of_encoder(state)), other.state_dict())
            self._compare(own, other)
            other.load_state_dict(own)
            tasks.append(self._task(known, other, state, name))
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
        return self._registered(kind, str(self.config[kind]["name"]), kind, registry)

    def _registered(self, kind: str, name: str, place: str, registry: Registry) -> Entry[Any]:
        try:
            return registry.get(kind, name)
        except RegistryError as error:
            plugin = self.config.get("plugins", {}).get(place, {})
            label = " ".join(str(plugin[key]) for key in ("distribution", "version") if plugin.get(key))
            domain = name.partition("/")[0]
            raise PluginError(
                f"{self.folder} needs {kind} {name}, which is not available here",
                written_with=label,
                problem=error.facts.get("problem") or error.summary,
                hint=error.facts.get("hint") or _install_hint(plugin, domain),
            ) from error


def _of_encoder(state: Mapping[str, T]) -> dict[str, T]:
    """What of a weights file is the encoder's and no task's."""
    return {name: value for name, value in state.items() if not name.startswith(PREFIX)}


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
    check_config(path / CONFIG, config)
    return ModelFolder(path, config)


def _install_hint(plugin: Mapping[str, Any], domain: str) -> str:
    """A command to copy; built from received text only where that text is a name and a version, and nothing else."""
    distribution = str(plugin.get("distribution", ""))
    if not distribution or distribution == f"repcore-{domain}":
        return registry_module.install_command(domain) if is_plain_name(domain) else ""
    return pip_install(distribution, str(plugin.get("version") or ""))
