"""A trained model in the hand: ``model = repcore.load(folder)``, then ``model.embed(data)`` or, for a fine-tuned one,
``model.predict(data)``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from repcore import registry as registries
from repcore.checkpoints.model_folder import ModelFolder, read_model
from repcore.checkpoints.task_part import target_of
from repcore.config.resolve import resolve_part
from repcore.data.readers import open_data, open_part
from repcore.embedding.answers import answer_columns
from repcore.embedding.inference import InferenceOptions, embed_rows
from repcore.embedding.prediction import Predictor, join_predictions
from repcore.errors import DataError
from repcore.interfaces import DatasetReader, EmbeddingRows, Preprocessor, Sample
from repcore.registry import Registry
from repcore.specs import TargetSpec


class ListReader:
    """Raw inputs in memory (texts, arrays, paths: whatever the domain's samples hold) as a reader.

    Args:
        inputs: one a row.
        ids: one a row; row numbers when None.
    """

    def __init__(self, inputs: Sequence[Any], ids: Sequence[str] | None = None) -> None:
        if ids is not None and len(ids) != len(inputs):
            raise DataError(f"{len(ids)} ids for {len(inputs)} inputs")
        self._inputs, self._ids = inputs, ids
        self.targets: Sequence[TargetSpec] = ()
        self.splits: Mapping[str, Sequence[int]] = {}

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self._inputs, self._ids)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.id_of(index), self._inputs[index])

    def id_of(self, index: int) -> str:
        return str(index) if self._ids is None else self._ids[index]

    def by_id(self, sample_id: str) -> Sample:
        return self[int(sample_id) if self._ids is None else list(self._ids).index(sample_id)]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a fine-tuned model says, one entry a row in input order.

    Args:
        outputs: float32 (n, K) probabilities, or values in the units of the labels; NaN rows failed.
        columns: answers by name, see :mod:`repcore.embedding.answers`; None where a row failed.
    """

    ids: Sequence[str]
    status: Sequence[str]
    reason: Sequence[str]
    outputs: np.ndarray
    columns: Mapping[str, Sequence[Any]]


@dataclass(slots=True)
class Model:
    """An encoder with its preprocessor, from a model folder.

    Args:
        folder: where it came from, with settings and card.
        encoder: in eval mode.
        preprocessor: fitted.
        registry: where readers are looked up.
        device: where the encoder is.
    """

    folder: ModelFolder
    encoder: nn.Module
    preprocessor: Preprocessor
    registry: Registry
    device: str = "cpu"

    @property
    def domain(self) -> str:
        return self.folder.encoder_name.rpartition("/")[0]

    @property
    def poolings(self) -> tuple[str, ...]:
        """Poolings that the encoder names; the first is the default."""
        poolings: tuple[str, ...] = self.registry.encoder(self.folder.encoder_name).spec.poolings
        return poolings

    def identity(self) -> str:
        """Hash of the content: tensors by sorted name, what prepares their input, and the facts of a task."""
        return self.folder.identity()

    @property
    def target(self) -> TargetSpec | None:
        """What the model's task predicts; None for a model without a task."""
        return None if self.folder.task is None else target_of(self.folder.task)

    def predictor(self) -> Predictor:
        """The networks of the model's task, on the model's device.

        Raises:
            CheckpointError: the model has no task.
        """
        tasks = [task.to(self.device) for task in self.folder.build_tasks(self.encoder, self.registry)]
        record = self.folder.task or {}
        return Predictor(tasks, self.preprocessor, target_of(record), record.get("facts", {}), self.domain, self.device)

    def predict(
        self,
        data: Any,  # path, data set name, raw inputs, or a reader
        *,
        reader: str | None = None,
        coverage: float | None = None,
        options: InferenceOptions | None = None,
    ) -> Predictions:
        """Answers of the model's task for every row, in order, with status and reason.

        Args:
            data: path, name of a data set, list of raw inputs, or a reader.
            reader: registered reader to use for a path.
            coverage: also intervals or sets that hold the truth in this share of cases, for example 0.9.
            options: batch size, device, ...; all have defaults.

        Raises:
            CheckpointError: the model has no task. DataError: no conformal scores for the coverage.
        """
        predictor = self.predictor()
        chosen = replace(options or InferenceOptions(), device=self.device)
        found = join_predictions(list(predictor.windows(self.reader(data, reader=reader), chosen)))
        columns = answer_columns(predictor.target, predictor.facts, found, coverage)
        return Predictions(found.ids, found.status, found.reason, found.outputs, columns)

    def reader(
        self,
        data: Any,  # path, data set name, raw inputs, or a reader
        *,
        reader: str | None = None,
        options: Mapping[str, Any] | None = None,
        labels: Sequence[str] = (),
    ) -> DatasetReader:
        """A reader over a path, the name of a data set, a list of raw inputs, or a reader itself."""
        if isinstance(data, str | Path):
            return open_data(
                self.registry,
                str(data),
                domain=self.domain,
                reader=reader,
                options=options,
                preferences={"labels": list(labels)} if labels else {},
                preprocessor=self.folder.preprocessor_name,
            )[1]
        if isinstance(data, list | tuple):
            return ListReader(data)
        opened: DatasetReader = data
        return opened

    def training_data(self, options: Mapping[str, Any] | None = None) -> DatasetReader:
        """A reader over the data that the model folder says it was trained on.

        Args:
            options: reader settings that replace the recorded ones.

        Raises:
            DataError: it does not say, or the data is no longer there.
        """
        run = self.folder.config.get("origin", {}).get("run") or {}
        record = dict(run.get("dataset") or {})
        if "name" not in record:
            raise DataError(f"{str(self.folder.folder)!r} does not say what it was trained on", hint="--data PATH")
        name = str(record.pop("name"))
        return open_part(resolve_part(self.registry, "dataset", name, {**record, **(options or {})}))

    def embed(
        self,
        data: Any,  # path, data set name, raw inputs, or a reader
        *,
        reader: str | None = None,
        pool: str | None = None,
        options: InferenceOptions | None = None,
    ) -> EmbeddingRows:
        """Vectors of every row, in order; NaN where a row cannot be embedded, with status and reason.

        Args:
            data: path, name of a data set, list of raw inputs, or a reader.
            reader: registered reader to use for a path.
            pool: pooling by name.
            options: batch size, layer, device, ...; all have defaults.
        """
        chosen = replace(options or InferenceOptions(), device=self.device)
        if pool is not None:
            chosen = replace(chosen, pooling=pool)
        opened = self.reader(data, reader=reader)
        return embed_rows(self.encoder, self.preprocessor, opened, chosen, poolings=self.poolings, domain=self.domain)

    def random_twin(self, seed: int) -> nn.Module:
        """The same encoder with freshly drawn weights, in eval mode."""
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        twin = self.folder.build_encoder(self.registry).to(self.device).eval()
        torch.set_rng_state(state)
        return twin


def model_path(path: Path | str) -> Path:
    """A model folder from itself or from the run folder that holds it.

    Raises:
        DataError: neither.
    """
    given = Path(path)
    for candidate in (given, given / "model"):
        if (candidate / "weights.safetensors").is_file():
            return candidate
    if not given.exists():
        raise DataError(f"model {str(path)!r} does not exist")
    raise DataError(
        f"{str(path)!r} is not a model folder (no weights.safetensors)",
        hint="a published checkpoint becomes one with: repcore import CKPT -o MODEL",
    )


def load(path: Path | str, *, device: str = "cpu", registry: Registry | None = None) -> Model:
    """A model from its folder, or from the run folder that holds it.

    Raises:
        DataError: no model there. PluginError: its plugin is missing. CheckpointError: damaged files.
    """
    known = registry or registries.default()
    folder = read_model(model_path(path))
    encoder, preprocessor = folder.build(known)
    return Model(folder, encoder.to(device), preprocessor, known, device)
