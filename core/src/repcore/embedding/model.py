"""A trained model in the hand: ``model = repcore.load(folder)``, then ``model.embed(data)`` or, for a fine-tuned one,
``model.predict(data)``."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from repcore import registry as registries
from repcore.arguments import checked
from repcore.checkpoints.changed import save_changed
from repcore.checkpoints.hub import card_metadata, pushed
from repcore.checkpoints.model_folder import ModelFolder, read_model
from repcore.checkpoints.places import model_path
from repcore.checkpoints.saving import canonical_tensors, record_content, store_halved
from repcore.checkpoints.task_part import target_of
from repcore.config.resolve import resolve_part
from repcore.data.given import ListReader, given_reader
from repcore.data.given_inputs import is_one_input, is_there, names_a_file
from repcore.data.given_tables import reading
from repcore.data.readers import open_part
from repcore.data.selection import selected
from repcore.devices import torch_device, torch_dtype
from repcore.embedding.answers import answer_columns
from repcore.embedding.columns import column_doubts
from repcore.embedding.conformal import check_coverage
from repcore.embedding.dense import (
    NothingUsableError,
    dense_windows,
    element_features,
    find_place,
    level_of,
    usual_level,
)
from repcore.embedding.drawn import Drawn, drawn_by
from repcore.embedding.inference import InferenceOptions, join_rows, run_windows, windows_of
from repcore.embedding.opening import open_for
from repcore.embedding.pooling import default_pooling
from repcore.embedding.prediction import Predictor, join_predictions
from repcore.embedding.results import Embeddings, Predictions
from repcore.embedding.width import vector_width
from repcore.errors import CheckpointError, ConfigError, DataError, RegistryError
from repcore.files import entries_of
from repcore.interfaces import DatasetReader, DenseAnswer, Preprocessor
from repcore.outputs import folder_for
from repcore.process_state import leaves_no_trace
from repcore.registry import Registry
from repcore.reporting import counting
from repcore.specs import TargetSpec

__all__ = ["ListReader", "Model", "Predictions", "load", "model_path"]

log = logging.getLogger(__name__)

Progress = bool | Callable[[int, int], None]


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
        known: tuple[str, ...] = self.registry.encoder(self.folder.encoder_name).spec.poolings
        default = default_pooling(self.encoder, known)  # a setting of the encoder may choose another than the spec
        return (default, *(one for one in known if one != default))

    def identity(self) -> str:
        """Hash of the content: tensors (as the network has them now), what prepares their input, facts of a task."""
        return self.folder.identity(canonical_tensors(self.encoder)[0] if self.is_changed() else None)

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

    @checked
    def to(self, device: str | torch.device) -> Model:
        """This model, moved to another device.

        Raises:
            ConfigError: there is no such device; names those there are.
        """
        self.device = torch_device(str(device), "device")
        self.encoder.to(self.device)
        return self

    @property
    def module(self) -> nn.Module:
        """The network: called as ``module(batch)``, it gives :class:`repcore.interfaces.Features`."""
        return self.encoder

    @checked
    @leaves_no_trace
    def predict(
        self,
        data: Any,  # see reader()
        *,
        reader: str | None = None,
        id_column: str | None = None,
        read: Mapping[str, Any] | None = None,
        coverage: float | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        workers: int | None = None,
        progress: Progress = False,
        options: InferenceOptions | None = None,
    ) -> Predictions:
        """Answers of the model's task for every row, in order, with status and reason.

        Args:
            data / reader: as in :meth:`reader`.
            id_column / read: column of a table that names its rows, and further settings of the reader.
            coverage: also intervals or sets that hold the truth in this share of cases, for example 0.9.
            batch_size / device / dtype / workers / progress / options: as in :meth:`embed`.

        Raises:
            CheckpointError: the model has no task. DataError: no conformal scores for the coverage.
        """
        chosen = self._options(options, batch_size, device, dtype, workers)
        predictor = self.predictor()
        if coverage is not None:
            check_coverage(predictor.facts.get("conformal", ()), coverage)
        opened = self.reader(data, reader=reader, options=reading(id_column, read))
        for words in predictor.doubts(opened):
            log.warning("%s", words)
        with counting("predicting", len(opened), progress) as add:
            parts = []
            for part in predictor.windows(opened, chosen):
                parts.append(part)
                add(len(part.ids))
        found = join_predictions(parts)
        outputs = found.outputs if parts else np.zeros((0, predictor.width), np.float32)
        columns = answer_columns(predictor.target, predictor.facts, replace(found, outputs=outputs), coverage)
        return Predictions(found.ids, found.status, found.reason, outputs, columns, self._drawn(opened))

    @checked
    def reader(
        self,
        data: Any,  # anything that given_reader() takes
        *,
        reader: str | None = None,
        options: Mapping[str, Any] | None = None,
        labels: Sequence[str] = (),
        label_kind: str = "",
    ) -> DatasetReader:
        """A reader over what people have.

        Args:
            data: a path; a text, which is a path or the name of a data set where there is one, else one input; one
                input of the domain, or many (list, tuple, array, tensor: a row an input); a table (pandas, polars,
                pyarrow, Hugging Face, dict of columns); a torch data set or loader; a callable; or a reader.
            reader: registered reader to use for a path or a table.
            options: its further settings.
            labels: names of the columns that are wanted as labels.
            label_kind: what they are, where the reader takes both settings; found from the values if empty.

        Raises:
            DataError: none of these; names the kind.
        """
        opened = partial(
            open_for, self.encoder, self.registry, domain=self.domain, preprocessor=self.folder.preprocessor_name,
            reader=reader, options=options, labels=labels, label_kind=label_kind,
        )  # fmt: skip
        convert = getattr(self.preprocessor, "inputs_from", None)
        if isinstance(data, str | Path) and not self._is_input(data, convert):
            return opened(str(data))

        def open_table(path: Path, wanted: Mapping[str, Any]) -> DatasetReader:
            return opened(str(path), further=wanted)

        return given_reader(data, open_table, convert, options, reader, labels)

    def _is_input(self, data: str | Path, convert: Callable[[Any], Any] | None) -> bool:
        """Whether a text is an input itself: no file, no data set, and the domain takes texts."""
        if isinstance(data, Path) or convert is None or is_there(data) or names_a_file(data):
            return False
        try:
            self.registry.dataset(data, self.domain)
        except RegistryError:
            return is_one_input(data, convert)
        return False

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
        opened = open_part(resolve_part(self.registry, "dataset", name, {**record, **(options or {})}))
        return selected(opened, (run.get("data") or {}).get("rows"))

    @checked
    @leaves_no_trace
    def embed(
        self,
        data: Any,  # see reader()
        *,
        reader: str | None = None,
        id_column: str | None = None,
        read: Mapping[str, Any] | None = None,
        pool: str | None = None,
        level: str | None = None,
        layer: int | None = None,
        normalise: bool | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        workers: int | None = None,
        progress: Progress = False,
        options: InferenceOptions | None = None,
    ) -> Embeddings:
        """Vectors of every row, in order; NaN where a row cannot be embedded, with status and reason.

        Rows of a table stay in the order in which they lie there, whatever its index; an index of pandas that names
        every row once and is no plain numbering gives their ids, one with repeats does not.

        Args:
            data / reader: as in :meth:`reader`.
            id_column / read: column of a table that names its rows, and further settings of the reader.
            pool / level / layer: pooling and token level by name, layer by number; the encoder's own if None.
            batch_size / workers / normalise: most items of a batch; processes that share the rows; unit length.
            device: moves the model there first (``cpu``, ``cuda``, ``cuda:1``, ``auto``).
            dtype: ``float32``, ``bfloat16`` or ``float16``, in which the network runs; vectors are float32 anyway.
            progress: True shows a bar; a function is called with (rows done, rows).
            options: all of these and more in one; what is given beside it counts.

        Raises:
            ConfigError: a device that is not there, or no such layer, level or pooling.
        """
        chosen = self._options(options, batch_size, device, dtype, workers)
        given: dict[str, Any] = {"pooling": pool, "level": level, "layer": layer, "normalise": normalise}
        chosen = replace(chosen, **{name: value for name, value in given.items() if value is not None})
        opened = self.reader(data, reader=reader, options=reading(id_column, read))
        for words in column_doubts([self.encoder], opened):
            log.warning("%s", words)
        width = partial(vector_width, self, chosen)
        parts = []
        with counting("embedding", len(opened), progress) as add:
            for part in run_windows(
                self.encoder, self.preprocessor, opened, chosen, poolings=self.poolings, domain=self.domain, width=width
            ):
                parts.append(part)
                add(len(part.ids))
        rows = join_rows(parts)
        found = rows if parts else replace(rows, vectors=np.zeros((0, width()), np.float32))
        whole = len(found.ids) == len(opened)  # with windows there are several vectors a row
        return Embeddings.of(found, self._drawn(opened) if whole else None)

    def _drawn(self, reader: DatasetReader) -> Drawn | None:
        return drawn_by(self.registry, self.domain, self.folder.preprocessor_name, reader)

    @checked
    @leaves_no_trace
    def tokens(
        self,
        data: Any,
        level: str | None = None,
        *,
        reader: str | None = None,
        id_column: str | None = None,
        read: Mapping[str, Any] | None = None,
        options: InferenceOptions | None = None,
    ) -> list[DenseAnswer | None]:
        """Features of the elements of every row: points, voxels, frames, nodes or edges, in the sample's own order.

        Args:
            data / reader: as in :meth:`reader`.
            level: ``point``, ``voxel``, ``token`` (``frame``), ``node`` or ``edge``; if None that of the domain.
            id_column / read: column of a table that names its rows, and further settings of the reader.

        Returns:
            one a row: ``outputs`` float32 (N, D), or (X, Y, Z, D) on a grid; None where the row cannot be used, of
            which the logger ``repcore`` is told with the reason.

        Raises:
            ConfigError: the encoder has no tokens, or there is no such level.
        """
        chosen = self._options(options)
        levels = self.registry.encoder(self.folder.encoder_name).spec.levels
        word = level_of(level or usual_level(levels, self.registry.entries("dense-writer", self.domain)))
        opened = self.reader(data, reader=reader, options=reading(id_column, read))
        if not len(opened):
            return []
        rows = (row for window in windows_of(self.preprocessor, opened, replace(chosen, window=1)) for row in window)
        try:
            place = find_place(self.encoder, self.preprocessor, rows, word, self.device)
        except NothingUsableError as error:
            log.warning("%s", error.in_one_line())
            return [None] * len(opened)
        function = element_features(self.encoder, place)
        with torch.inference_mode():
            found = list(dense_windows(function, self.preprocessor, opened, chosen, level=word, domain=self.domain))
        for one in found:
            if one.status == "other_level":  # every preprocessor says so
                raise ConfigError(f"level={word!r}: {one.reason}", encoder_has=", ".join(levels) or "none")
            if one.answer is None:
                log.warning("row %r has no %s features: %s", one.id, word, one.reason)
        return [one.answer for one in found]

    def _options(
        self,
        options: InferenceOptions | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        workers: int | None = None,
    ) -> InferenceOptions:
        asked = device or (options.device if options and options.device != InferenceOptions().device else None)
        if asked is not None:
            self.to(asked)
        kind = None if dtype is None else torch_dtype(dtype)
        given: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "dtype": kind}
        kept = {name: value for name, value in given.items() if value is not None}
        return replace(options or InferenceOptions(), device=self.device, **kept)

    def is_changed(self) -> bool:
        """Whether the network no longer holds the weights of its folder, because somebody trained it."""
        return not self.folder.holds(self.encoder)

    def unchanged(self, hint: str = "model = model.save(FOLDER), and go on with that") -> Model:
        """This model, for whatever keeps it by its folder.

        Raises:
            CheckpointError: its network was changed since it was loaded, which the folder does not know.
        """
        if self.is_changed():
            raise CheckpointError("the network was changed since it was loaded", hint=hint)
        return self

    @checked
    def save(self, folder: Path | str, *, dtype: str | torch.dtype | None = None) -> Model:
        """Write the model, with the weights that the network has now, and give the saved model.

        Args:
            dtype: ``float16`` halves the weights on disk: another model, which is loaded in its own number format.

        Raises:
            CheckpointError: the folder holds something else; or a model with a task whose network was changed.
            ConfigError: another dtype than float16 or float32.
        """
        path, kind = Path(folder), torch_dtype(dtype or torch.float32)
        if kind is torch.bfloat16:
            raise ConfigError("dtype=bfloat16 keeps two digits of a weight", expected="float16 or float32")
        folder_for(path.parent, "folder")
        if path.resolve() == self.folder.folder.resolve() and not self.is_changed() and kind is torch.float32:
            return self
        if self.is_changed():
            save_changed(self.folder, self.encoder, self.preprocessor, self.registry, path)
        elif path.exists() and (not path.is_dir() or entries_of(path)):
            raise CheckpointError(f"{str(path)!r} exists and is not empty", hint="name a new folder")
        else:
            shutil.copytree(self.folder.folder, path, dirs_exist_ok=True)
            record_content(path)
        if kind is torch.float16:
            store_halved(path)
        return load(path, device=self.device, registry=self.registry)

    @checked
    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        revision: str | None = None,
        token: str | None = None,
        message: str | None = None,
    ) -> str:
        """Upload the model with its card to the Hugging Face Hub; gives the ``hf://owner/name@commit`` that loads it.

        Args:
            repo: ``owner/name``, made where it is not there.
            revision: branch; main if None.
            token: of the Hub; the one that you logged in with if None.

        Raises:
            CheckpointError: refused, offline, or the network was changed since it was loaded (save it first).
            PluginError: ``huggingface_hub`` is not installed.
        """
        self.unchanged("model.save(FOLDER).push_to_hub")
        card = self.folder.card
        metadata = card_metadata(
            self.folder.encoder_name,
            licence=str(card.get("licence") or ""),
            domain=self.domain,
            predicts=str(card.get("predicts") or ""),
            identity=self.identity(),
        )
        return pushed(
            self.folder.folder, repo, metadata, private=private, revision=revision, token=token, message=message
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the place and the content hash of its folder.

        Raises:
            CheckpointError: its network was changed, which the folder does not know.
        """
        self.unchanged("model = model.save(FOLDER)")
        return _reopened, (self.folder.lasting_name, self.identity(), self.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        # nothing changes a fitted preprocessor, and what it holds (RDKit's settings) may be no thing to copy
        return Model(self.folder, copy.deepcopy(self.encoder, memo), self.preprocessor, self.registry, self.device)

    @checked
    def random_twin(self, seed: int) -> nn.Module:
        """The same encoder with freshly drawn weights, in eval mode."""
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        twin = self.folder.build_encoder(self.registry).to(self.device).eval()
        torch.set_rng_state(state)
        return twin


@checked
@leaves_no_trace
def load(path: Path | str, *, device: str | torch.device = "cpu", registry: Registry | None = None) -> Model:
    """A model from its folder, from the run folder that holds it, by the name of an installed model, or from the Hub.

    Args:
        path: also ``domain/name`` of ``repcore list models``, or ``hf://owner/name`` or ``hf://owner/name@revision``,
            which is downloaded once.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` (cuda where there is one).

    Raises:
        DataError: no model there. PluginError: its plugin is missing. CheckpointError: damaged files.
        ConfigError: no such device.
    """
    known = registry or registries.default()
    there = torch_device(device, "device")
    folder = read_model(model_path(path, known).resolve())  # wherever the process goes later, whatever is latest then
    encoder, preprocessor = folder.build(known)
    return Model(folder, encoder.to(there), preprocessor, known, there)


def _reopened(path: str, identity: str, device: str) -> Model:
    """A pickled model, which must still be the same one."""
    model = load(path, device=device)
    if model.identity() != identity:
        raise CheckpointError(f"the model in {path!r} is not the one that was pickled", was=identity[:12])
    return model
