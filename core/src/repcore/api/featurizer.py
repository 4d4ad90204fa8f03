"""``repcore.Featurizer``: a model as a function from inputs to arrays, as chemprop and molfeat call theirs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from repcore.api.given_data import opened_model
from repcore.arguments import checked
from repcore.data.given_inputs import is_one_input
from repcore.embedding.model import Model
from repcore.errors import ConfigError, DataError, closest

if TYPE_CHECKING:
    from repcore.api.runs import Run

FAILED = ("raise", "nan")


class Featurizer:
    """``Featurizer("runs/latest")("CCO")`` is a vector (D,), of many inputs it is a matrix (n, D); ``len()`` is D.

    One input is what the domain knows as one: a SMILES or an RDKit molecule, a (samples, rate) pair, a graph, an image,
    an array of points. Lists, arrays of objects, Series and data sets are many.

    Args:
        model: a model, a run, or the path of either (``hf://owner/name``, too).
        failed: inputs without a vector: ``raise`` an error that names them, or ``nan``.
        options: of :meth:`repcore.Model.embed`: ``pool``, ``layer``, ``normalise``, ``batch_size``, ``device``, ...
    """

    @checked
    def __init__(
        self, model: Model | Run | Path | str, *, failed: Literal["raise", "nan"] = "raise", **options: Any
    ) -> None:
        if failed not in FAILED:
            raise ConfigError(f"failed={failed!r} is unknown", expected=" or ".join(FAILED))
        known = inspect.signature(Model.embed).parameters
        strange = [name for name in options if name not in known or name in ("self", "data")]
        if strange:
            raise ConfigError(f"a Featurizer has no option {strange[0]!r}", did_you_mean=closest(strange[0], known))
        self.model, self.failed, self.options = opened_model(model), failed, options

    def __len__(self) -> int:
        return int(self.model.embed([], **self.options).vectors.shape[1])

    def __call__(self, inputs: Any) -> np.ndarray:
        """Float32 (D,) of one input, (n, D) of many.

        Raises:
            DataError: inputs without a vector, with ``failed="raise"``.
        """
        is_one = isinstance(inputs, str | Path) or is_one_input(
            inputs, getattr(self.model.preprocessor, "inputs_from", None)
        )
        vectors = self.transform([inputs] if is_one else inputs)
        return vectors[0] if is_one else vectors

    def transform(self, inputs: Any) -> np.ndarray:
        """Float32 (n, D), a row each."""
        found = self.model.embed(inputs, **self.options)
        bad = np.flatnonzero(~found.ok)
        if len(bad) and self.failed == "raise":
            rows = "; ".join(f"row {row}: {found.reason[row]}" for row in bad[:3])
            raise DataError(f"{len(bad)} of {len(found)} inputs have no vector", rows=rows, hint='failed="nan"')
        return found.vectors
