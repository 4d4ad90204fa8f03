"""``repcore.sklearn.Embedder``: a trained model as a transformer of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from repcore.api.given_data import opened_model
from repcore.api.runs import Run
from repcore.data.given_tables import is_table
from repcore.embedding.model import Model
from repcore.embedding.results import Embeddings
from repcore.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from sklearn.utils import Tags

FAILED = ("raise", "nan")


class Embedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Vectors of a frozen model as features: ``make_pipeline(Embedder("runs/latest"), Ridge())``.

    ``fit`` loads the model and learns nothing. ``X`` is whatever :meth:`repcore.Model.embed` takes as rows; of a table
    with one column (``ColumnTransformer`` gives such) the cells are the inputs. Pickles hold the path and the content
    hash of the model, not its weights.

    Args:
        model: a model, a run, or the path of either.
        pool / level / layer: which vector, by name (by number); the encoder's own if None.
        normalise: unit length.
        batch_size: most items of a batch.
        device: moves the model there; where it is if None.
        failed: what rows without a vector become: ``raise`` an error that names them, or ``nan``.

    Attributes:
        model_: the loaded model.
        identity_: hash of its content.
        n_features_out_: width of the vectors.
    """

    def __init__(
        self,
        model: Model | Run | Path | str = "runs/latest",
        *,
        pool: str | None = None,
        level: str | None = None,
        layer: int | None = None,
        normalise: bool = False,
        batch_size: int = 64,
        device: str | None = None,
        failed: Literal["raise", "nan"] = "raise",
    ) -> None:
        self.model = model
        self.pool = pool
        self.level = level
        self.layer = layer
        self.normalise = normalise
        self.batch_size = batch_size
        self.device = device
        self.failed = failed

    def fit(self, X: Any, y: Any = None) -> Embedder:
        """Load the model; neither ``X`` nor ``y`` is looked at.

        Raises:
            ConfigError: ``failed`` is no known word. RepcoreError: the model cannot be loaded.
        """
        if self.failed not in FAILED:
            raise ConfigError(f"failed={self.failed!r} is unknown", expected=" or ".join(FAILED))
        self.model_ = opened_model(self.model, self.device)
        self.identity_ = self.model_.identity()
        self.n_features_out_ = self._width()
        return self

    def _embedded(self, inputs: Any) -> Embeddings:
        return self.model_.embed(
            inputs,
            pool=self.pool,
            level=self.level,
            layer=self.layer,
            normalise=self.normalise,
            batch_size=self.batch_size,
        )

    def _width(self) -> int:
        return int(self._embedded([]).vectors.shape[1])

    @property
    def _n_features_out(self) -> int:
        return self._width()  # by the settings that the next transform goes by, which set_params may have changed

    def transform(self, X: Any) -> np.ndarray:
        """Vectors float32 (n, D), a row each.

        Raises:
            DataError: rows that have no vector, with ``failed="raise"``; names the first few.
        """
        check_is_fitted(self, "model_")
        found = self._embedded(inputs_of(X))
        bad = np.flatnonzero(~found.ok)
        if len(bad) and self.failed == "raise":
            rows = "; ".join(f"row {row}: {found.reason[row]}" for row in bad[:3])
            raise DataError(f"{len(bad)} of {len(found)} rows have no embedding", rows=rows, hint='failed="nan"')
        return found.vectors

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        loaded = state.pop("model_", None)
        if loaded is not None:
            loaded.unchanged("model = model.save(FOLDER), Embedder(model)")
            state["model_place_"] = (loaded.folder.lasting_name, loaded.device)
        if isinstance(state["model"], Run):
            state["model"] = str(state["model"].folder)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        held = dict(state)
        place = held.pop("model_place_", None)
        super().__setstate__(held)
        if place is not None:
            loaded = opened_model(place[0]).to(place[1])
            if loaded.identity() != self.identity_:
                raise CheckpointError(
                    f"the model in {place[0]!r} is not the one that this Embedder was fitted with",
                    was=self.identity_[:12],
                )
            self.model_ = loaded

    def __sklearn_clone__(self) -> Embedder:
        """Clones share the model, which they do not change."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True  # rows are SMILES, graphs, recordings, ...: the model's domain judges them
        tags.requires_fit = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def inputs_of(X: Any) -> Any:
    """The inputs in what scikit-learn passes on: the cells of the only column of a table or of an (n, 1) array."""
    if is_table(X) and not isinstance(X, Mapping) and len(X.columns) == 1 and hasattr(X, "iloc"):
        return X.iloc[:, 0].to_list()
    if is_table(X) and not isinstance(X, Mapping) and len(X.columns) == 1 and hasattr(X, "to_series"):
        return X.to_series().to_list()
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUS" and X.ndim == 2 and X.shape[1] == 1:
        return X[:, 0].tolist()
    return X.tolist() if isinstance(X, np.ndarray) and X.dtype.kind in "OUS" else X
