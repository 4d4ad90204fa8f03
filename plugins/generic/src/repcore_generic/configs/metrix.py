"""Settings of Metrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class MetrixConfig:
    """A contrastive loss with mixed embeddings, for neighbours of classes that training does not show."""

    place: Literal["embed", "feature", "input"] = setting(
        "embed", "what is mixed: embeddings, tokens before pooling, or inputs of equal shape (one tensor a batch)"
    )
    positives: Literal["all", "first-repeated"] = setting(
        "all", "each (item, positive, negative) once, or the first positive over and over as published"
    )
    hard_negatives: Literal["hardest", "reference-index"] = setting(
        "hardest", "of mixed inputs: the nearest item of another class, or the one the published code takes"
    )
    width: int | None = setting(None, "width of the embedding that is compared; null = the pooled vector itself", min=1)
    margin: float = setting(0.5, "distance beyond which negatives cost nothing", above=0)
    alpha: float = setting(2.0, "both parameters of the Beta distribution of shares", above=0)
    weight: float = setting(0.4, "weight of the mixed loss where positives are mixed with negatives", min=0)
    weight_alone: float | None = setting(
        None, "weight where items without a positive are mixed; null = 0.3 for embeddings, 0.4 for inputs", min=0
    )
    most: int = setting(65536, "most mixed triples of a step; more are drawn from", "triples", min=1)
    classification: float = setting(1.0, "weight of the task's own loss, which trains the head that predicts", above=0)
    supervised: bool = setting(False, "the task's own loss reaches the encoder, too")
