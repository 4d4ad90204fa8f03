"""Objective ``generic/mlcd``: multi-label cluster discrimination, a second stage without labels or views.

An et al. 2024, arXiv 2407.17331. Once, when a run starts, the vectors of its training rows are clustered (or the
clustering of ``repcore fit clusters`` is taken); the nearest centres of an item are its labels, and encoder and
centres are trained to tell them from all other centres.

Differs: cosines are scaled (16) with a margin on positives (0.2): as printed, unscaled, both terms are nearly linear.
Centres belong to each process: with several devices, each samples its own negatives.

Symbols: B items, K centres, l labels an item, D width.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore import registry
from repcore.embedding.model import load
from repcore.errors import ConfigError, DataError, RunError
from repcore.estimation.folder import load_estimator
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress
from repcore.training.start import RunStart, Vectors
from repcore_generic.configs.mlcd import MlcdConfig
from repcore_generic.objectives.clusters import ambiguous_share, nearest_labels, spherical_kmeans
from repcore_generic.objectives.item_keys import item_key
from repcore_generic.objectives.mlcd_loss import Margin, cosines, log_sums, sampled_centres, separate_loss
from repcore_generic.objectives.pairs import no_autocast, width_of

FEWEST, ITEMS_A_CLUSTER, LABELS = 64, 400, 8
MOST_WHOLE = 1000
RATE = 0.1
COMPARED, ALIKE = 64, 0.99  # rows whose vectors are compared, and the mean cosine of the same encoder


def has_weight_decay(name: str, parameter: nn.Parameter) -> bool:
    """Matrices of the encoder; centres are directions, which decay would not change."""
    return name != "centres" and parameter.ndim >= 2


class Discrimination(NamedTuple):
    """Per item (B,): both terms, and cosines to look at."""

    positive: Tensor
    negative: Tensor
    positive_cosine: Tensor
    negative_cosine: Tensor
    nearest_is_positive: Tensor


def discriminate(
    features: Tensor, centres: Tensor, labels: Tensor, kept: Tensor, scale: float, margin: Margin, offset: float = 0.0
) -> Discrimination:
    """The loss of a batch: features (B, D), centres (K, D), labels int64 (B, l), kept bool (K,) possible negatives."""
    cosine = cosines(features, centres)
    parts = separate_loss(*log_sums(cosine, labels, kept, scale, margin, offset))
    seen = cosine.detach()
    mine = torch.zeros_like(seen, dtype=torch.bool).scatter(1, labels, True)
    others = (~mine).to(seen.dtype)
    return Discrimination(
        parts.positive,
        parts.negative,
        seen.gather(1, labels).mean(1),
        (seen * others).sum(1) / others.sum(1).clamp(min=1.0),
        mine.gather(1, seen.argmax(1, keepdim=True))[:, 0].to(seen.dtype),
    )


class Mlcd(nn.Module):
    """See the module's text.

    Args:
        config: settings.
        encoder: any :class:`repcore.interfaces.Encoder`, best one that has learned already (``train --init-from``).
    """

    def __init__(self, config: MlcdConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.centres = nn.Parameter(torch.zeros(0, width_of(encoder)))
        self.margin = Margin(config.margin_kind, config.margin, config.margin_gradient)
        self._labels: dict[int, list[int]] = {}  # key of an item -> its centres, nearest first

    # ------------------------------------------------------------------------------------ before a run

    def begin(self, start: RunStart) -> None:
        """Cluster the training rows, and label these and the validation rows.

        Raises:
            DataError: too few rows for the clusters, or vectors that do not differ.
            ConfigError: clusters of vectors of another width.
        """
        if self.config.clusters:
            train, held, centres = self._given(start)
        else:
            train, held = (start.vectors(rows) for rows in (start.train, start.validation))
            centres = self._clustered(train)
        count = self._label_count(len(centres))
        for part in (train, held):
            if len(part.ids):
                labels = nearest_labels(torch.from_numpy(part.values), centres, count)
                self._labels |= dict(zip(map(item_key, part.ids), labels.tolist(), strict=True))
        self.centres = nn.Parameter(centres.float())
        unsure = ambiguous_share(torch.from_numpy(train.values), centres, count)
        start.say(
            f"{len(train.ids):,} items in {len(centres):,} clusters, {count} labels each; for {unsure:.0%} the last "
            "label is hardly nearer than the next centre"
            + (f"; {train.failed:,} items without a vector are left out" if train.failed else "")
        )

    def _given(self, start: RunStart) -> tuple[Vectors, Vectors, Tensor]:
        """The clustering of an estimator's folder, on vectors of the model that it was fitted with."""
        fitted = load_estimator(registry.default(), Path(self.config.clusters))
        centres = getattr(fitted.estimator, "centres", None)
        if centres is None:
            raise ConfigError(
                f"{self.config.clusters!r} holds {fitted.part.name}, no clusters",
                hint="repcore fit clusters MODEL DATA",
            )
        width = self.centres.shape[1]
        if centres.shape[1] != width:
            raise ConfigError(
                f"clusters of embeddings of width {centres.shape[1]} ({fitted.model}); "
                f"this run's encoder gives {width}",
                hint="the encoder that they were fitted on, best with --init-from",
            )
        if chosen := {name: value for name, value in fitted.features.items() if value is not None}:
            words = ", ".join(f"{name} {one}" for name, one in chosen.items())
            raise ConfigError(
                f"{self.config.clusters!r} was fitted on {words} of the encoder; this objective compares its output "
                "with the centres",
                hint="repcore fit clusters MODEL DATA without --pool, --level and --layer",
            )
        model = load(fitted.model)
        fitted.check(model.identity())
        train, held = (
            start.vectors(rows, model.encoder, model.preprocessor) for rows in (start.train, start.validation)
        )
        _check_same_space(start, train, fitted.model)
        return train, held, torch.from_numpy(np.asarray(centres))

    def _clustered(self, vectors: Vectors) -> Tensor:
        items = len(vectors.ids)
        most = items // 4
        count = self.config.count or min(max(FEWEST, items // ITEMS_A_CLUSTER), most)
        if count > most or count < 2:
            raise DataError(f"{count} clusters of {items} items", hint=f"objective.count={most}, or more data")
        rows = torch.from_numpy(vectors.values)
        first = np.random.default_rng(self.config.seed).choice(items, count, replace=False)
        found = spherical_kmeans(rows, torch.from_numpy(first), self.config.iterations)
        if float(found.inertia[-1]) < 1e-9:
            raise DataError(
                "clusters collapse: all vectors have one direction", hint="--init-from a model that learned"
            )
        return found.centres

    def _label_count(self, clusters: int) -> int:
        count = self.config.labels or max(1, min(LABELS, (clusters - 1) // 4))
        if count > 1 and count >= clusters / 4:
            raise ConfigError(
                f"labels={count} of {clusters} clusters",
                expected=f"fewer than {clusters / 4:g}",
                field="objective.labels",
            )
        return count

    # ------------------------------------------------------------------------------------------ state

    def get_extra_state(self) -> dict[str, Tensor]:
        """Labels of items, for a resumed run."""
        keys = sorted(self._labels)
        return {"keys": torch.tensor(keys, dtype=torch.int64), "labels": torch.tensor([self._labels[k] for k in keys])}

    def set_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """What :meth:`get_extra_state` gave."""
        self._labels = dict(zip(state["keys"].tolist(), state["labels"].tolist(), strict=True))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.get(prefix + "centres")
        if stored is not None and stored.shape != self.centres.shape:
            self.centres = nn.Parameter(torch.empty_like(stored, device=self.centres.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    # ------------------------------------------------------------------------------------------- loss

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``uniform`` (K,): which centres beside the positives are negatives."""
        del batch, progress
        device = self.centres.device
        return {"uniform": torch.rand(len(self.centres), generator=generator, device=generator.device).to(device)}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Both terms are means over items."""
        del draws
        return dict.fromkeys(("positive", "negative"), batch.size)

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        features: Features = self.encoder(batch)
        with no_autocast(features.pooled):
            labels = self._labels_of(batch)
            kept = torch.zeros(len(self.centres), dtype=torch.bool, device=labels.device)
            kept[sampled_centres(labels, draws["uniform"], self._rate())] = True
            found = discriminate(
                features.pooled.float(), self.centres, labels, kept, self.config.scale, self.margin, self.config.offset
            )
            terms = {"positive": found.positive.mean(), "negative": found.negative.mean()}
        metrics = {name: getattr(found, name).mean() for name in found._fields[2:]}
        return LossTerms.of(terms, counts=self.counts(batch, draws), metrics=metrics)

    def _rate(self) -> float:
        return self.config.rate or (1.0 if len(self.centres) <= MOST_WHOLE else RATE)

    def _labels_of(self, batch: Batch) -> Tensor:
        """int64 (B, l).

        Raises:
            RunError: an item that was not there when the run began.
        """
        try:
            rows = [self._labels[item_key(one)] for one in batch.sample_id]
        except KeyError:
            unknown = next(one for one in batch.sample_id if item_key(one) not in self._labels)
            raise RunError(
                f"item {unknown!r} has no cluster: it was not there, or had no vector, when the run began",
                hint="start a new run" if self._labels else "objectives with clusters need a run (repcore train)",
            ) from None
        return torch.tensor(rows, dtype=torch.int64, device=self.centres.device)


def _check_same_space(start: RunStart, theirs: Vectors, model: str) -> None:
    """Warn where the run's encoder begins elsewhere than the model whose vectors the centres lie among."""
    ours = start.vectors(start.train[:COMPARED])
    places = {one: number for number, one in enumerate(theirs.ids)}
    mine = [number for number, one in enumerate(ours.ids) if one in places]
    if not mine:
        return
    other = theirs.values[[places[ours.ids[number]] for number in mine]]
    cosine = F.cosine_similarity(torch.from_numpy(ours.values[mine]), torch.from_numpy(other)).mean()
    if float(cosine) < ALIKE:
        warnings.warn(
            f"the clusters were fitted on another model than this run begins from ({model}; mean cosine of its vectors "
            f"and this encoder's {float(cosine):.2f}): labels are right, centres begin where this encoder has no "
            "items; best with --init-from that model",
            stacklevel=2,
        )
