"""The function from rows to rows that every engine calls: a model and a reader, opened once, then block after block."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from repcore.devices import torch_device
from repcore.embedding.answers import answer_column, answer_columns, label_columns, text_columns
from repcore.embedding.blocks import decided
from repcore.embedding.columns import column_doubts
from repcore.embedding.engines.parts import FACTS
from repcore.embedding.inference import InferenceOptions, embedding, run_windows
from repcore.embedding.labelled import labelled_reader
from repcore.embedding.model import load
from repcore.embedding.pooling import default_pooling
from repcore.embedding.prediction_files import prediction_table
from repcore.embedding.width import vector_width
from repcore.embedding.writers import embedding_table, failed_rows

ROW = "row"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done; plain values, so that it can travel.

    Args:
        command: ``embed`` or ``predict``.
        model / data / reader / reading: as the user gave them; every process opens them itself.
        options: of the computation; the device is chosen where the work is done.
        device: word for it (``auto``: cuda where there is one).
        coverage: of predicted sets or intervals.
    """

    command: Literal["embed", "predict"]
    model: str
    data: str
    reader: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    options: InferenceOptions = field(default_factory=InferenceOptions)
    device: str = "auto"
    coverage: float | None = None


class Worker:
    """One process's model and reader.

    Raises:
        RepcoreError: as loading and opening raise it.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = load(job.model, device=torch_device(job.device))
        self.options = replace(job.options, device=self.model.device)
        self.why = ""
        if job.command == "embed":
            self.predictor = None
            self.reader = self.model.reader(job.data, reader=job.reader, options=job.reading)
        else:
            self.predictor = self.model.predictor()
            self.reader, self.why = labelled_reader(self.model, job.data, job.reader, job.reading)

    def doubts(self) -> list[str]:
        """What the data lack of the labels that the networks read."""
        if self.predictor is None:
            return column_doubts([self.model.encoder], self.reader)
        return self.predictor.doubts(self.reader)

    def header(self) -> dict[str, Any]:
        """What identifies the result: the same model, data and settings give the same rows."""
        job, options = self.job, self.options
        facts = {
            "command": job.command,
            "model": self.model.identity(),
            "data": self.reader.fingerprint,
            "rows": len(self.reader),
            "reading": {"reader": job.reader, **{k: v for k, v in job.reading.items() if k != "selected_rows"}},
            "dtype": str(options.dtype).removeprefix("torch."),
        }
        if self.predictor is not None:
            target = self.predictor.target
            return {**facts, "target": target.name, "kind": target.kind, "unit": target.unit, "coverage": job.coverage}
        return {
            **facts,
            "encoder": self.model.folder.encoder_name,
            "pooling": options.pooling or default_pooling(self.model.encoder, self.model.poolings),
            "level": options.level,
            "layer": options.layer,
            "dim": options.dim,
            "normalise": options.normalise,
        }

    def decide(self, rows: int) -> InferenceOptions:
        """Options that leave nothing open, from now on those of this worker; see :mod:`repcore.embedding.blocks`.

        Args:
            rows: that are to be worked on.
        """
        model = self.model
        if self.predictor is None:
            function: Any = embedding(model.encoder, model.preprocessor, model.poolings, model.domain)
        else:
            function = self.predictor.predict
            self.options = self.predictor.carrying(self.reader, self.options)
        self.options, _ = decided(function, model.preprocessor, self.reader, self.options, rows)
        return self.options

    def table(self, first: int, stop: int) -> pa.Table:
        """Rows [first, stop) in order: columns ``row, id, status, reason`` and vectors or answers."""
        tables = list(self._tables(np.arange(first, stop)))
        table = pa.concat_tables(tables, promote_options="default")
        facts = {"status": Counter(table.column("status").to_pylist()), "failed": self._failed(table)}
        table = table.add_column(0, ROW, pa.array(np.arange(first, stop), pa.int64()))
        return table.replace_schema_metadata({FACTS: json.dumps(facts)})

    def _failed(self, table: pa.Table) -> int:
        """Rows without a vector or an answer."""
        if self.predictor is None:
            return failed_rows(table)
        return int(table.column(answer_column(self.predictor.target, self.predictor.width)).null_count)

    def _tables(self, rows: np.ndarray) -> Iterator[pa.Table]:
        if self.predictor is None:
            model = self.model
            for found in run_windows(
                model.encoder, model.preprocessor, self.reader, self.options,
                rows=rows, poolings=model.poolings, domain=model.domain,
                width=lambda: vector_width(model, self.options),
            ):  # fmt: skip
                yield embedding_table(found)
            return
        target, predictor = self.predictor.target, self.predictor
        words = text_columns(target, predictor.width)
        data = next((one for one in self.reader.targets if one.name == target.name and one.kind == target.kind), None)
        for part in predictor.windows(self.reader, self.options, rows):
            columns = answer_columns(target, predictor.facts, part, self.job.coverage)
            if data is not None:
                columns.update(label_columns(target, data, part.labels, part.outputs.shape[1]))
            yield prediction_table(part.ids, part.status, part.reason, columns, words)
