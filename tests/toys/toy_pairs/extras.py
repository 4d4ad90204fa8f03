"""The parts that most plugins leave to core, each in its smallest right form: sniffer, split, probe, task, writer."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.data.split_plans import SplitInputs
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Batch, EmbeddingRows, Item, ProbeSplit, Sample
from repcore.specs import TargetSpec

MAGIC = b"BLOBS"


def sniff(path: Path) -> float:
    """0.9 for a file that begins like one of ours."""
    if not path.is_file():
        return 0.0
    try:
        with path.open("rb") as file:
            return 0.9 if file.read(len(MAGIC)) == MAGIC else 0.0
    except OSError:
        return 0.0


def by_content(inputs: SplitInputs, seed: int) -> ProbeSplit:
    """A third of the different clouds is the test part; groups stay whole."""
    keys = [
        one.group if one.group is not None else one.inputs.tobytes()  # copies go together
        for one in inputs.samples
    ]
    known = sorted(set(keys), key=repr)
    chosen = np.random.default_rng(seed).permutation(len(known))[: max(1, len(known) // 3)]
    held = {known[number] for number in chosen}
    rows = np.arange(len(keys))
    mask = np.array([key in held for key in keys])
    return ProbeSplit(train=rows[~mask], test=rows[mask])


@dataclass(frozen=True, kw_only=True)
class CentroidConfig:
    shrink: float = field(default=0.0, metadata={"help": "share by which class means move to the mean of all"})


class Centroid:
    """Nearest class mean of standardised features."""

    def __init__(self, config: CentroidConfig) -> None:
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        return {"protocol": "centroid@1", "shrink": self.config.shrink}

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Mapping[str, float]:
        train, test = self._rows(split.train, labels), self._rows(split.test, labels)
        mean, scale = features[train].mean(0), features[train].std(0) + 1e-9
        values = (features - mean) / scale
        classes = np.unique(labels[train])
        means = np.stack([values[train][labels[train] == one].mean(0) for one in classes]) * (1 - self.config.shrink)
        distances = ((values[test][:, None] - means[None]) ** 2).sum(-1)
        return {"accuracy": float((classes[distances.argmin(1)] == labels[test]).mean())}

    def _rows(self, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        known = np.asarray(rows)[~np.isnan(labels[np.asarray(rows, np.int64)])]
        if not known.size:
            raise DataError("no labelled row in a part of the split")
        return known


@dataclass(frozen=True, kw_only=True)
class SpreadConfig:
    most_sets: int = field(default=50, metadata={"help": "sets that are looked at"})


class Spread:
    """How far apart the vectors of sets lie, beside how far they lie from zero; a protocol that asks the network."""

    shown, lower_is_better = ("spread",), ()

    def __init__(self, config: SpreadConfig) -> None:
        self.config, self.most_rows = config, config.most_sets

    def material(self, rows: Sequence[Sequence[Item]]) -> list[Tensor]:
        if len(rows) < 2:
            raise DataError(f"{len(rows)} set can be used; two at least are compared")
        return [torch.as_tensor(items[0].values) for items in rows]

    def score(self, encoder: Any, material: list[Tensor], seed: int) -> Mapping[str, float]:
        chosen = np.random.default_rng(seed).permutation(len(material))[:2]
        owner = torch.arange(2).repeat_interleave(torch.tensor([len(material[row]) for row in chosen]))
        inputs = {"points": torch.cat([material[row] for row in chosen]), "owner": owner}
        with torch.no_grad():
            pooled = encoder(Batch(inputs=inputs, size=2)).pooled
        return {"spread": float((pooled[0] - pooled[1]).norm()), "length": float(pooled.norm(dim=1).mean())}

    def constants(self) -> Mapping[str, Any]:
        return {"protocol": "spread@1", "most_sets": self.config.most_sets}


def spread_example() -> tuple[nn.Module, list[list[Item]]]:
    """A small network and four sets of points."""
    from .code import SetNet, SetNetConfig

    drawn = torch.Generator().manual_seed(0)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    encoder = SetNet(SetNetConfig(point_width=2))
    torch.set_rng_state(state)
    return encoder, [[Item(torch.randn(5 + row, 2, generator=drawn))] for row in range(4)]


@dataclass(frozen=True, kw_only=True)
class KindConfig:
    smoothing: float = field(default=0.0, metadata={"help": "label smoothing"})


class KindTask(nn.Module):
    """One class of several, weighted by the training labels."""

    weights: Tensor

    def __init__(self, config: KindConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__()
        if len(target.names) < 2:
            raise ConfigError(f"{target.name!r} has {len(target.names)} classes")
        self.config, self.encoder = config, encoder
        self.head = nn.Linear(int(encoder.dim), len(target.names))  # type: ignore[arg-type]
        self.register_buffer("weights", torch.ones(len(target.names)))

    def fit_targets(self, values: np.ndarray) -> None:
        known = values[~np.isnan(values)].astype(np.int64)
        counts = np.bincount(known, minlength=len(self.weights))
        self.weights.copy_(torch.as_tensor(len(known) / (len(counts) * np.maximum(counts, 1))))

    def forward(self, batch: Batch) -> Tensor:
        outputs: Tensor = self.head(self.encoder(batch).pooled)
        return outputs

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        known = ~torch.isnan(labels)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        return F.cross_entropy(
            outputs[known], labels[known].long(), self.weights, label_smoothing=self.config.smoothing
        )

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs.float().softmax(-1)


class CsvWriter:
    """Comma separated rows; a header line of JSON in front tells whose they are."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.partial = path, path.with_name(f".{path.name}.partial")
        self.status: Counter[str] = Counter()
        self.failed = 0
        first = json.dumps(dict(header), sort_keys=True)
        if self.partial.exists():
            with self.partial.open(encoding="utf-8", newline="") as file:
                if file.readline().rstrip("\n") != first:
                    raise DataError(f"{self.partial} holds rows of another run")
                for row in csv.reader(file):
                    self._count(row[1], row[3] == "nan")
        else:
            self.partial.write_text(first + "\n", encoding="utf-8")

    @property
    def rows_done(self) -> int:
        return self.status.total()

    def write(self, rows: EmbeddingRows) -> None:
        with self.partial.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for sample_id, status, reason, vector in zip(rows.ids, rows.status, rows.reason, rows.vectors, strict=True):
                writer.writerow([sample_id, status, reason, *map(float, vector)])
                self._count(status, bool(np.isnan(vector).all()))

    def _count(self, status: str, failed: bool) -> None:
        self.status[status] += 1
        self.failed += failed

    def finish(self) -> Path:
        self.partial.rename(self.path)
        return self.path


@click.command()
@click.option("--points", default=5, help="Points of the set.")
def count_command(points: int) -> None:
    """Count points.

    \b
    Example:
      repcore pairs count --points 7
    """
    click.echo(points)


def thirds(preprocessor: object, sample: Sample, level: str, detail: str) -> np.ndarray:
    """Every third point of a cloud."""
    return np.arange(len(sample.inputs)) % 3
