from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ItemError
from repcore.interfaces import (
    Batch,
    DatasetReader,
    Draws,
    Features,
    Item,
    LossTerms,
    Picture,
    Progress,
    Sample,
    StageResult,
    Tokens,
)
from repcore.specs import TargetSpec
from tests.toys.toy_pairs.configs import BlobsConfig, JitterConfig, SetNetConfig, SetsConfig, TwoViewsConfig


class Blobs:
    """Sets of 5 to 20 points on a line, a ring or in a cloud."""

    def __init__(self, config: BlobsConfig) -> None:
        self.config = config
        self.targets = (
            TargetSpec("kind", "class", names=("line", "ring", "cloud")),
            TargetSpec("side", "class", "point", ignore=9),
            TargetSpec("radius", "regression", "point", unit="m"),
        )
        self.splits: Mapping[str, Sequence[int]] = {}
        self.costs = np.array([self._size(index) for index in range(config.items)])

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.config).encode()).hexdigest()

    def _size(self, index: int) -> int:
        return 5 + int(np.random.default_rng([self.config.seed, index, 1]).integers(16))

    def __len__(self) -> int:
        return self.config.items

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index in self.config.broken:
            raise ItemError("unreadable", f"blob {index} is broken on purpose")
        rng = np.random.default_rng([self.config.seed, index])
        kind, n = index % 3, self._size(index)
        t = rng.random(n)
        if kind == 0:
            points = np.stack([t, 0.3 * t], 1) + 0.05 * rng.normal(size=(n, 2))
        elif kind == 1:
            points = np.stack([np.cos(6.28 * t), np.sin(6.28 * t)], 1) + 0.05 * rng.normal(size=(n, 2))
        else:
            points = rng.normal(size=(n, 2))
        label = float("nan") if index % 11 == 0 else kind
        side = np.where(points[:, 0] > 0.3, 7, 2)
        side[0] = 9
        targets = {"kind": label, "side": side, "radius": np.linalg.norm(points, axis=1)}
        return Sample(f"blob-{index}", points.astype(np.float32), targets, meta={"points": n})

    def id_of(self, index: int) -> str:
        return f"blob-{index}"

    def by_id(self, sample_id: str) -> Sample:
        return self[int(sample_id.split("-")[1])]


class Sets:
    def __init__(self, config: SetsConfig) -> None:
        self.config = config
        self.mean = np.zeros(2, np.float32)

    @classmethod
    def load(cls, config: SetsConfig, folder: Path) -> Sets:
        loaded = cls(config)
        loaded.mean = np.asarray(json.loads((folder / "mean.json").read_text()), np.float32)
        return loaded

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        if self.config.centre:
            rows = []
            for index in indices:
                try:
                    rows.append(reader[int(index)].inputs.mean(0))
                except ItemError:
                    continue
            self.mean = np.mean(rows, 0).astype(np.float32)

    def facts(self) -> Mapping[str, Any]:
        return {"point_width": 2}

    def prepare(self, sample: Sample) -> list[Item]:
        points = sample.inputs - self.mean
        dense = {name: np.asarray(value) for name, value in sample.targets.items() if np.ndim(value)}
        return [
            Item(points[cut], {"points": len(points[cut])}, targets={name: value[cut] for name, value in dense.items()})
            for cut in self.cuts(len(points))
        ]

    def cuts(self, count: int) -> list[slice]:
        """Windows that overlap by half; one for all points without a window."""
        size = self.config.window
        if not size or count <= size:
            return [slice(0, count)]
        return [slice(start, min(start + size, count)) for start in range(0, count - size // 2, size // 2)]

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Mean over the windows that hold a point."""
        assert level == "point"
        sums = np.zeros((len(sample.inputs), outputs[0].shape[1]))
        number = np.zeros((len(sample.inputs), 1))
        for cut, values in zip(self.cuts(len(sample.inputs)), outputs, strict=True):
            sums[cut] += values
            number[cut] += 1
        return sums / number

    def elements(self, sample: Sample, level: str) -> Mapping[str, np.ndarray]:
        return {"x": sample.inputs[:, 0], "y": sample.inputs[:, 1]}

    def collate(self, items: Sequence[Item]) -> Batch:
        points = torch.from_numpy(np.concatenate([item.values for item in items]))
        owner = torch.repeat_interleave(torch.arange(len(items)), torch.tensor([len(item.values) for item in items]))
        return Batch(inputs={"points": points, "owner": owner}, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        return int(meta["points"])

    def save(self, folder: Path) -> Mapping[str, Any]:
        (folder / "mean.json").write_text(json.dumps(self.mean.tolist()))
        return {"mean": self.mean.tolist()}


def moments(preprocessor: Sets, samples: Iterable[Sample]) -> np.ndarray:
    return np.stack([np.concatenate([s.inputs.mean(0), s.inputs.std(0)]) for s in samples])


class Jitter:
    def __init__(self, config: JitterConfig, preprocessor: Sets) -> None:
        self.config, self.preprocessor = config, preprocessor

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        sample = reader[index]
        views = {}
        for name in ("a", "b"):
            count = max(2, round(self.config.keep * len(sample.inputs)))
            chosen = generator.permutation(len(sample.inputs))[:count]
            points = sample.inputs[chosen] + self.config.noise * generator.normal(size=(count, 2)).astype(np.float32)
            views[name] = self.preprocessor.prepare(Sample(sample.id, points.astype(np.float32)))[0]
        return views


class SetNet(nn.Module):
    def __init__(self, config: SetNetConfig) -> None:
        super().__init__()
        assert config.point_width is not None
        self.dim = config.width
        self.first = nn.Linear(config.point_width, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.drop = nn.Dropout(config.dropout)
        self.second = nn.Linear(config.width, config.width)

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        points, owner = batch.inputs["points"], batch.inputs["owner"]
        hidden = torch.tanh(self.norm(self.first(points)))
        values = self.second(self.drop(hidden))
        index = owner[:, None].expand(-1, self.dim)
        sums = values.new_zeros(batch.size, self.dim).scatter_add(0, index, values)
        pooled = sums / torch.bincount(owner, minlength=batch.size)[:, None].clamp(min=1)
        kept = {number: Tokens(value, owner=owner) for number, value in enumerate((hidden, values)) if number in layers}
        return Features(pooled, {"point": Tokens(values, owner=owner)}, kept)


class TwoViews(nn.Module):
    """InfoNCE against an EMA teacher and a queue, plus masked-point reconstruction counted in masked points."""

    def __init__(self, config: TwoViewsConfig, encoder: SetNet) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        self.decode = nn.Linear(encoder.dim, 2)
        self.hidden_point = nn.Parameter(torch.zeros(2))
        self.register_buffer("queue", F.normalize(torch.ones(config.queue, encoder.dim), dim=1))

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        points = batch.views["a"].inputs["points"]
        uniform = torch.rand(len(points), generator=generator, device=points.device)
        return {"hidden": uniform < self.config.mask_ratio}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        return {"points": draws["hidden"].sum()}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        a, b = batch.views["a"], batch.views["b"]
        hidden = draws["hidden"]
        points = torch.where(hidden[:, None], self.hidden_point, a.inputs["points"])
        seen = self.encoder(Batch(inputs={**a.inputs, "points": points}, size=a.size))
        with torch.no_grad():
            self.teacher.eval()
            keys = F.normalize(self.teacher(b).pooled, dim=1)
        queries = F.normalize(seen.pooled, dim=1)
        logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ self.queue.T], 1) / self.config.temperature
        contrast = F.cross_entropy(logits, torch.zeros(a.size, dtype=torch.int64, device=logits.device))
        errors = (self.decode(seen.tokens["point"].values) - a.inputs["points"]).square().mean(1)
        points_term = (errors * hidden).sum() / hidden.sum().clamp(min=1)
        return LossTerms.of(
            {"contrast": contrast, "points": points_term},
            counts={"points": hidden.sum()},
            carry={"keys": keys},
            metrics={"hidden_share": hidden.float().mean()},
        )

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        for old, new in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
            old.lerp_(new, 1 - self.config.momentum)
        for old, new in zip(self.teacher.buffers(), self.encoder.buffers(), strict=True):
            old.copy_(new)
        keys = torch.cat([one["keys"] for one in carried])
        self.queue.copy_(torch.cat([keys, self.queue])[: len(self.queue)])

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        return self.teacher if branch == "teacher" else self.encoder


def draw(sample: Sample) -> Picture:
    circles = "".join(
        f'<circle cx="{50 + 20 * x:.1f}" cy="{50 + 20 * y:.1f}" r="2"/>' for x, y in sample.inputs.tolist()
    )
    return Picture(f'<svg viewBox="0 0 100 100" width="100" height="100">{circles}</svg>', f"set {sample.id}")


def replay(golden: Any, fed: frozenset[str]) -> Iterator[StageResult]:
    encoder = SetNet(SetNetConfig(**golden.config["encoder"])).eval()
    encoder.load_state_dict(golden.weights)
    inputs = golden.inputs
    batch = Batch(inputs={"points": inputs["points"], "owner": inputs["owner"]}, size=golden.config["items"])
    features = encoder(batch)
    yield StageResult("tokens", {"tokens": features.tokens["point"].values.detach()})
    yield StageResult("pooled", {"pooled": features.pooled.detach()})
