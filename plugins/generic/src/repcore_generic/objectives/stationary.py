"""Method ``generic/stationary``: a fixed classifier, so that a class keeps its direction in every later model.

Biondi et al. 2024 (CVPR), "Stationary Representations: Optimally Approximating Compatibility and Implications for
Improved Model Replacements", arXiv 2405.02581.

Differs: rows of the own class are left out of the contrast with the version before, which is there only when such a
version is; slots belong to class names, which travel with the model. An item without a label is a class of its own
there, and takes no part in the classification. The head for predictions holds the corners of the known classes.

Symbols: B items, n labelled, C classes of the data, K slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.places import model_path
from repcore.embedding.model import load
from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress
from repcore.nn.frozen import Frozen
from repcore.specs import TargetSpec
from repcore.training.methods import MethodStart
from repcore_generic.configs.stationary import StationaryConfig
from repcore_generic.objectives.labelled import ClassMethod, nothing, unit
from repcore_generic.objectives.pairs import no_autocast
from repcore_generic.objectives.stationary_loss import hoc_rows, simplex, slots_of


class Stationary(ClassMethod):
    """See the module's text.

    Args:
        config: settings, with the classes of the line.
        encoder: of the task, mapped to K - 1 numbers.
        task: a class task of items with a head on pooled vectors.

    Raises:
        ConfigError: classes without a slot, or a version before with vectors of another width.
    """

    corners: Tensor  # (K, K - 1)
    slots: Tensor  # (C,) slot of each class of the data

    @staticmethod
    def completed(
        config: StationaryConfig, target: TargetSpec, earlier: StationaryConfig | None, targets: Sequence[TargetSpec]
    ) -> StationaryConfig:
        """Slots for the classes of the line and of the data; see :meth:`StationaryConfig.completed`."""
        return config.completed(target, earlier, previous_classes(config))

    def __init__(self, config: StationaryConfig, encoder: nn.Module, task: nn.Module) -> None:
        super().__init__("stationary", encoder, task)
        self.config = config
        names = self.task.target.names
        absent = [one for one in names if one not in config.classes]
        if absent or len(names) != self.classes or self.width != config.slots - 1:
            raise ConfigError(
                f"stationary needs a slot for each of {self.classes} classes, and vectors of {config.slots - 1}",
                got=f"{len(names)} names, without a slot: {', '.join(absent[:5]) or 'none'}; vectors of {self.width}",
            )
        places = torch.tensor([config.classes.index(one) for one in names])
        self.register_buffer("slots", slots_of(places, config.slots), persistent=False)
        self.register_buffer("corners", simplex(config.slots).float(), persistent=False)
        self._fix_head()
        self.previous: Frozen | None = None
        if config.previous:
            before = load(config.previous)
            self.previous = Frozen(before.encoder, before.folder.encoder_name, before.identity())
            if int(cast(Any, before.encoder).dim) != self.width:
                raise ConfigError(f"{config.previous} gives vectors of another width than {self.width}")
            self._before = before.folder

    def _fix_head(self) -> None:
        """The head's outputs are the products with the corners of the classes of the data."""
        (linear,) = [one for one in cast(nn.Module, self.task.classifier).modules() if isinstance(one, nn.Linear)]
        with torch.no_grad():
            linear.weight.copy_(self.corners[self.slots])
            if linear.bias is not None:
                linear.bias.zero_()
        linear.requires_grad_(False)

    def begin(self, start: MethodStart) -> None:
        """The version before must read what this run prepares.

        Raises:
            ConfigError: it was trained on items prepared otherwise.
        """
        if self.previous is not None and self._before.preprocessing != start.model.preprocessing:
            raise ConfigError(
                f"{self.config.previous} reads items that were prepared otherwise than those of {start.model.folder}",
                hint="fine-tune models that share a pre-trained model",
            )

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Nothing is random."""
        del batch, generator, progress
        return {}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Labelled items, and all items where there is a version before."""
        del draws
        known = {"classification": (self.labels(batch) >= 0).sum()}
        return known if self.previous is None else {**known, "hoc": batch.size}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        features: Features = self.encoder(batch)
        labels = self.labels(batch)
        known = labels >= 0
        with no_autocast(features.pooled):
            vectors = features.pooled.float()
            chosen, classes = vectors[known], labels[known]
            terms = {"classification": self._classification(chosen, classes)}
            weights = {"classification": 1.0 if self.previous is None else self.config.share}
            metrics = {"accuracy": self._accuracy(chosen.detach(), classes)}
            if self.previous is not None:
                old = self.previous(batch).pooled.float()
                rows = hoc_rows(old, vectors, labels, self.config.scale, self.config.same_class)
                terms["hoc"], weights["hoc"] = rows.mean(), 1.0 - self.config.share
                metrics["old_new_cosine"] = (unit(old) * unit(vectors.detach())).sum(1).mean()
                metrics["rows_of_one_class"] = _without_others(labels).float().mean()
        return LossTerms.of(terms, weights, counts=self.counts(batch, draws), metrics=metrics)

    def _classification(self, vectors: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy over all slots, also those that have no class yet; 0 with a graph without rows."""
        if len(classes) == 0:
            return nothing(vectors)
        weights = None
        if self.task.balanced:
            weights = torch.ones(self.config.slots, device=vectors.device)
            weights[self.slots] = cast(Tensor, self.task.weights).float()
        return F.cross_entropy(vectors @ self.corners.T, self.slots[classes], weight=weights)

    def _accuracy(self, vectors: Tensor, classes: Tensor) -> Tensor:
        if len(classes) == 0:
            return vectors.sum()
        return ((vectors @ self.corners.T).argmax(1) == self.slots[classes]).float().mean()


def _without_others(labels: Tensor) -> Tensor:
    """Rows that see no item of another class, bool (B,)."""
    same = (labels[:, None] == labels) & (labels >= 0)[:, None]
    same = same | torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same.all(1)


def previous_classes(config: StationaryConfig) -> tuple[str, ...]:
    """Class names of the model that ``previous`` names; none without it.

    Raises:
        ConfigError: it is no stationary model, or has another number of slots.
    """
    if not config.previous:
        return ()
    own = [one for one in read_model(model_path(config.previous)).changes if one["name"] == "generic/stationary"]
    if not own:
        raise ConfigError(
            f"{config.previous} was not trained with --method stationary, so its vectors have no fixed place",
            hint="method.previous=MODEL of the line, or none",
        )
    if int(own[-1]["slots"]) != config.slots:
        raise ConfigError(
            f"method.slots={config.slots}: {config.previous} has {own[-1]['slots']}, and the number never changes",
            hint=f"method.slots={own[-1]['slots']}",
        )
    return tuple(str(one) for one in own[-1]["classes"])
