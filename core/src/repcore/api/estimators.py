"""``repcore.fit``: estimators on the features of a frozen model, from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repcore.api.given_data import opened_model, reporter_for
from repcore.arguments import checked
from repcore.data.given_tables import reading
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.pooling import GENERIC
from repcore.embedding.results import Predictions
from repcore.errors import ConfigError, DataError
from repcore.estimation.features import FeatureWindow, feature_windows, finite
from repcore.estimation.folder import FittedEstimator, build_estimator, save_estimator
from repcore.interfaces import DatasetReader, FeatureBatch
from repcore.process_state import leaves_no_trace
from repcore.reporting import Reporter

if TYPE_CHECKING:
    from repcore.api.runs import Run


@dataclass(frozen=True)
class Fitted:
    """A fitted estimator with the model whose features it reads."""

    model: Model
    fitted: FittedEstimator

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the estimator says about itself."""
        facts: Mapping[str, Any] = self.fitted.estimator.state()[1]
        return facts

    @checked
    @leaves_no_trace
    def apply(
        self,
        data: Any,
        *,
        reader: str | None = None,
        id_column: str | None = None,
        read: Mapping[str, Any] | None = None,
        batch_size: int = 64,
    ) -> Predictions:
        """Values of every row, in order: ``columns`` by name, ``outputs`` those that are numbers.

        Args:
            data / reader: as in :meth:`repcore.Model.reader`.
            id_column / read: column of a table that names its rows, and further settings of the reader.

        Raises:
            CheckpointError: the model's network was changed since the estimator was fitted.
        """
        self.fitted.check(self.model.identity())
        source = self.model.reader(data, reader=reader, options=reading(id_column, read))
        windows = list(_windows(self.model, source, self.fitted, batch_size))
        if not windows:
            said = self.fitted.estimator.apply(self._failed())
            width = sum(values.size for values in said.values() if values.dtype.kind in "fiub")
            return Predictions([], [], [], np.zeros((0, width), np.float32), {name: [] for name in said})
        found = [self.fitted.estimator.apply(one.features) for one in windows]
        columns = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        numbers = [np.reshape(one, (len(one), -1)) for one in columns.values() if one.dtype.kind in "fiub"]
        ids = [one for window in windows for one in window.features.ids]
        outputs = np.concatenate(numbers, axis=1) if numbers else np.zeros((len(ids), 0))
        return Predictions(
            ids,
            [one for window in windows for one in window.status],
            [one for window in windows for one in window.reason],
            outputs.astype(np.float32),
            {name: values.tolist() for name, values in columns.items()},
        )

    def _failed(self) -> FeatureBatch:
        """Features of one row that has none, which every estimator has to answer for."""
        chosen = self.fitted.features
        options: dict[str, Any] = {name: chosen.get(name) for name in ("pool", "level", "layer")}
        is_item = self.fitted.part.entry.spec.level == "item"
        if not is_item and options["layer"] is None and options["level"] is None:
            options["pool"] = GENERIC[0]  # of the first level that the encoder gives, as wide as its tokens
        width = self.model.embed([], **options).vectors.shape[1]
        if is_item:
            return FeatureBatch(["0"], np.full((1, width), np.nan, np.float32), None, {})
        return FeatureBatch(["0"], np.zeros((0, width), np.float32), np.zeros(0, np.int64), {})

    def save(self, folder: Path | str) -> Path:
        """Write it for ``repcore apply``.

        Raises:
            CheckpointError: the model's network was changed since it was loaded.
        """
        self.model.unchanged("model = model.save(FOLDER), and fit on that")
        save_estimator(Path(folder), self.fitted)
        return Path(folder)


@checked
@leaves_no_trace
def fit(
    estimator: str,
    model: Model | Run | Path | str,
    data: Any,  # anything that Model.reader() takes
    *,
    label: str | None = None,
    pool: str | None = None,
    level: str | None = None,
    layer: int | None = None,
    reader: str | None = None,
    id_column: str | None = None,
    read: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    progress: bool | Reporter = False,
    **settings: Any,
) -> Fitted:
    """Fit an estimator on the features that a model gives for data, as ``repcore fit`` does.

    Args:
        estimator: registered name, for example ``gaussian-anomaly``.
        label: which label it reads, for one that needs labels.
        pool / level / layer: which features.
        id_column / read: column of a table that names its rows, and further settings of the reader.
        settings: of the estimator.

    Raises:
        ConfigError: unknown settings, or a label where none is read (or the other way round).
    """
    opened, teller = opened_model(model), reporter_for(progress)
    fitted = build_estimator(opened.registry, estimator, settings, opened.domain)
    needs = fitted.part.entry.spec.labels
    if (needs == "required" and not label) or (needs == "none" and label):
        word = "needs a label" if needs == "required" else "reads no labels"
        raise ConfigError(f"estimator {fitted.part.name} {word}")
    source = opened.reader(data, reader=reader, options=reading(id_column, read), labels=[label] if label else [])
    target = next((one for one in source.targets if one.name == label), None)
    if label and target is None:
        raise DataError(f"no label {label!r}", labels=", ".join(one.name for one in source.targets) or "none")
    chosen = replace(
        fitted,
        model=opened.folder.lasting_name,
        identity=opened.identity(),
        features={"pool": pool, "level": level, "layer": layer},
        target=label or "",
    )
    done = 0

    def batches() -> Iterator[Any]:
        nonlocal done
        for window in _windows(opened, source, chosen, batch_size):
            done += len(window.features.ids)
            teller.progress("fitting", done, len(source))
            yield finite(window)

    chosen.estimator.fit(batches(), target)
    return Fitted(opened, replace(chosen, data=source.fingerprint))


def _windows(model: Model, reader: DatasetReader, fitted: FittedEstimator, batch_size: int) -> Iterator[FeatureWindow]:
    features = fitted.features
    options = InferenceOptions(
        pooling=features.get("pool"),
        level=features.get("level"),
        layer=features.get("layer"),
        batch_size=batch_size,
        device=model.device,
    )
    return feature_windows(model, reader, fitted.part.entry.spec.level, options)
