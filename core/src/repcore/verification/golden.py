"""Golden folders: numbers that a published system computed, with a manifest that says how to compare.

Format 1: ``manifest.json`` (system, reference, config, stages), ``weights``, ``inputs`` and ``outputs`` as safetensors,
and further files that stages name. Tensors are read when first used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from repcore.errors import DataError

FORMAT = 1
TENSOR_FILES = ("weights", "inputs", "outputs")


class TensorFile(Mapping[str, Tensor]):
    """Tensors of one safetensors file, each read when asked for; a file that is not there holds none.

    Args:
        path: the file.

    Raises:
        DataError: the file is damaged, or there is no such tensor.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, Tensor] = {}
        self._names: tuple[str, ...] = ()
        if path.is_file():
            try:
                with safe_open(path, framework="pt") as file:
                    self._names = tuple(sorted(file.keys()))
            except (SafetensorError, OSError, ValueError) as error:
                raise DataError(f"{path} is not a readable safetensors file", reason=error) from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._read:
            if name not in self._names:
                raise DataError(f"{self.path.name} has no tensor {name!r}", file=self.path)
            with safe_open(self.path, framework="pt") as file:
                self._read[name] = file.get_tensor(name)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def matching(self, patterns: Sequence[str]) -> list[str]:
        """Names that fit at least one glob pattern, in file order."""
        return [name for name in self._names if any(fnmatchcase(name, pattern) for pattern in patterns)]


@dataclass(frozen=True, slots=True)
class Stage:
    """One comparison that a folder asks for.

    Args:
        name: as the replay yields it.
        outputs: glob patterns over the tensors of ``outputs``; empty for a check on another file.
        file / fields: the other file, and the tensors or JSON paths of it that must be reproduced.
        compare: comparison kind, tolerances and modifiers.
        note: for people.
    """

    name: str
    outputs: tuple[str, ...]
    compare: Mapping[str, Any]
    note: str = ""
    file: str = ""
    fields: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Comparison kind."""
        return str(self.compare["kind"])


@dataclass(frozen=True)
class Golden:
    """One golden folder.

    Args:
        folder: where it lies.
        manifest: content of ``manifest.json``.
        stages: its stages.
    """

    folder: Path
    manifest: Mapping[str, Any]
    stages: tuple[Stage, ...] = field(default=())

    @classmethod
    def open(cls, folder: Path | str) -> Golden:
        """Read and check a manifest.

        Raises:
            DataError: there is no folder or manifest, it is not JSON, of another format, or lacks a part.
        """
        path = Path(folder) / "manifest.json"
        if not path.is_file():
            raise DataError(f"{folder} is not a golden folder", expected=f"a file {path}")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is not JSON", reason=error) from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            got = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
            raise DataError(f"{path} has format {got!r}", expected=FORMAT)
        missing = [key for key in ("system", "config", "stages") if key not in manifest]
        if missing:
            raise DataError(f"{path} lacks {', '.join(missing)}")
        return cls(Path(folder), manifest, tuple(_stage(entry, path) for entry in manifest["stages"]))

    @property
    def system(self) -> str:
        """Full name of the system, ``domain/name``."""
        return str(self.manifest["system"])

    @property
    def config(self) -> Mapping[str, Any]:
        """Everything needed to rebuild the modules and recompute every output."""
        config: Mapping[str, Any] = self.manifest["config"]
        return config

    @cached_property
    def weights(self) -> TensorFile:
        """Random weights under the published key names."""
        return self.tensors("weights")

    @cached_property
    def inputs(self) -> TensorFile:
        """Inputs incl. every mask, index and noise."""
        return self.tensors("inputs")

    @cached_property
    def outputs(self) -> TensorFile:
        """What the reference computed."""
        return self.tensors("outputs")

    def tensors(self, name: str) -> TensorFile:
        """Tensors of another safetensors file of the folder, with or without its suffix."""
        return TensorFile(self.path(name if name.endswith(".safetensors") else f"{name}.safetensors"))

    def path(self, name: str) -> Path:
        """A file that belongs to the folder (or lies relative to it)."""
        return self.folder / name

    def json(self, name: str) -> Any:  # any JSON value
        """Content of a JSON file, or the list of lines of a JSON-lines file.

        Raises:
            DataError: it is not there or not JSON.
        """
        path = self.path(name)
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".jsonl":
                return [json.loads(line) for line in text.split("\n") if line.strip()]
            return json.loads(text)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as JSON", reason=error) from error

    def stage(self, name: str) -> Stage:
        """The stage with this name.

        Raises:
            DataError: the manifest has none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise DataError(f"{self.folder} has no stage {name!r}", stages=", ".join(stage.name for stage in self.stages))

    def expected(self, stage: str) -> list[str]:
        """Names of the stored outputs that belong to a stage."""
        return self.outputs.matching(self.stage(stage).outputs)


def _stage(entry: Mapping[str, Any], path: Path) -> Stage:
    """One checked entry of the manifest's list."""
    if not isinstance(entry, dict) or "name" not in entry or "kind" not in entry.get("compare", {}):
        raise DataError(f"{path} has a stage without name or compare.kind", got=json.dumps(entry)[:200])
    outputs, fields = tuple(entry.get("outputs", ())), tuple(entry.get("fields", ()))
    if bool(outputs) == bool(entry.get("file")):
        raise DataError(f"{path}, stage {entry['name']!r}: give either outputs or a file", outputs=outputs)
    if entry.get("file") and not fields:
        raise DataError(f"{path}, stage {entry['name']!r}: a file needs fields", file=entry["file"])
    return Stage(
        name=str(entry["name"]),
        outputs=outputs,
        compare=entry["compare"],
        note=str(entry.get("note", "")),
        file=str(entry.get("file", "")),
        fields=fields,
    )
