"""A fitted estimator on disk: ``state.safetensors`` and ``estimator.json``, bound to the content of one model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from repcore.checkpoints.reading import file_sha256
from repcore.config.resolve import ResolvedPart, resolve_part
from repcore.errors import CheckpointError, ConfigError, DataError
from repcore.files import entries_of, new_folder, read_json_file, written_whole
from repcore.interfaces import Estimator
from repcore.registry import Registry
from repcore.training.assembly import build

FACTS, STATE = "estimator.json", "state.safetensors"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class FittedEstimator:
    """An estimator with what it belongs to.

    Args:
        part: its name and settings.
        estimator: the object.
        model: folder of the model as it was given, and ``identity`` the hash of its content.
        features: how features were taken: level, pooling, layer.
        data: fingerprint of the data that it was fitted on.
        target: label that it was fitted with; empty if none.
    """

    part: ResolvedPart
    estimator: Estimator
    model: str
    identity: str
    features: Mapping[str, Any]
    data: str = ""
    target: str = ""

    def check(self, identity: str) -> None:
        """Refuse another model.

        Raises:
            CheckpointError: features of another model mean something else.
        """
        if identity != self.identity:
            raise CheckpointError(
                f"estimator {self.part.name} was fitted on features of another model",
                fitted_on=f"{self.model} ({self.identity[:12]})",
                got=identity[:12],
                hint="fit it again on this model",
            )


def build_estimator(registry: Registry, name: str, fields: Mapping[str, Any], domain: str) -> FittedEstimator:
    """A new one, not fitted yet.

    Raises:
        RepcoreError: an unknown name, or settings that are none.
    """
    part = resolve_part(registry, "estimator", name, fields, domain)
    return FittedEstimator(part, build(part), "", "", {})


def save_estimator(folder: Path, fitted: FittedEstimator) -> None:
    """Write a fitted estimator.

    Raises:
        DataError: there is something else in the folder.
    """
    if folder.exists() and entries_of(folder) and not (folder / FACTS).is_file():
        raise DataError(f"{str(folder)!r} is a folder with other things in it", hint="name a new folder")
    arrays, facts = fitted.estimator.state()
    record = {
        "format": FORMAT,
        "estimator": fitted.part.plain(),
        "facts": facts,
        "model": fitted.model,
        "model_identity": fitted.identity,
        "features": dict(fitted.features),
        "data": fitted.data,
        "target": fitted.target,
    }
    with new_folder(folder), written_whole(folder / FACTS) as notes, written_whole(folder / STATE) as state:
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, state)
        record["state_sha256"] = file_sha256(state)
        notes.write_text(json.dumps(record, indent=1), encoding="utf-8", errors="backslashreplace")


def load_estimator(registry: Registry, folder: Path) -> FittedEstimator:
    """Read a fitted estimator back.

    Raises:
        DataError: no estimator there. CheckpointError: damaged files, or a state that is not the one that was fitted.
    """
    path = folder / FACTS
    if not path.is_file():
        raise DataError(f"{str(folder)!r} holds no fitted estimator", hint="repcore fit NAME MODEL DATA -o FOLDER")
    try:
        record = read_json_file(path)
        part_fields = dict(record["estimator"])
        part = resolve_part(registry, "estimator", str(part_fields.pop("name")), part_fields)
        estimator: Estimator = build(part)
        _check_state(folder / STATE, record.get("state_sha256"))
        estimator.load_state(load_file(folder / STATE), record["facts"])
    except (ConfigError, DataError, CheckpointError):
        raise
    except Exception as error:
        raise CheckpointError(
            f"{folder} is a damaged estimator: {type(error).__name__}: {error}", hint="fit it again"
        ) from error
    return FittedEstimator(
        part, estimator, str(record["model"]), str(record["model_identity"]), record["features"], str(record["data"]),
        str(record["target"]),
    )  # fmt: skip


def _check_state(path: Path, expected: str | None) -> None:
    """Refuse other numbers than those that were fitted; folders of earlier versions do not say which those are."""
    if expected is not None and (found := file_sha256(path)) != expected:
        raise CheckpointError(
            f"{path.parent} is a damaged estimator: {path.name} is not the file that was fitted",
            expected=f"sha256 {expected[:12]}, of {FACTS}",
            got=found[:12],
            hint="fit it again",
        )
