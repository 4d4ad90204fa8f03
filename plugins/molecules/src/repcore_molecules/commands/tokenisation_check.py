"""How well a language model predicts hidden tokens under each way of feeding it.

A model fed with another vocabulary or another split of the text predicts worse than bare token frequencies would; fed
as it was trained, far better. Both are measured on the same molecules. Sequences are cut and padded to 128 tokens as in
the published pre-training, so that with and without attention to padding the same tokens are hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
import torch

from repcore.interfaces import Batch, Progress
from repcore_molecules.commands.language_models import LanguageModel
from repcore_molecules.configs.selformer import MaskedLanguageConfig
from repcore_molecules.encoders.selformer import Selformer
from repcore_molecules.objectives.masked_language import TERM, MaskedLanguage
from repcore_molecules.tokenisation.tokeniser import Tokeniser

PUBLISHED_LENGTH = 128
BATCH_MOLECULES = 32
AttentionMask = Literal["proper", "reference"]


@dataclass(frozen=True, slots=True)
class Feeding:
    """One way to feed the model: the name of a vocabulary, its tokeniser, and what attention sees."""

    vocabulary: str
    tokeniser: Tokeniser
    attention_mask: AttentionMask


@dataclass(frozen=True, slots=True)
class Score:
    """Masked-token figures of one way.

    Attributes:
        vocabulary / tokens / mode / attention_mask: the way.
        loss: mean negative log-likelihood of hidden tokens, nats.
        accuracy: share of hidden tokens predicted first.
        frequencies: the loss that bare token frequencies would give: below it, the model has understood something.
        unknown: share of tokens that are ``<unk>``.
        predicted: number of hidden tokens.
    """

    vocabulary: str
    tokens: int
    mode: str
    attention_mask: AttentionMask
    loss: float
    accuracy: float
    frequencies: float
    unknown: float
    predicted: int

    @property
    def gain(self) -> float:
        """Nats a token better than token frequencies; losses of different tokens alone are not comparable."""
        return self.frequencies - self.loss

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return {**asdict(self), "gain": self.gain}


def score_feedings(
    model: LanguageModel,
    feedings: Sequence[Feeding],
    selfies: Sequence[str],
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Score]:
    """Figures of every way on the same molecules, best first.

    Args:
        model: encoder and language head.
        feedings: ways to try; each vocabulary must fit the model's word table.
        selfies: molecules.
        seed: of the masks.
        device: where the model runs.
        progress: called with batches done and due.
    """
    batches = math.ceil(len(selfies) / BATCH_MOLECULES)
    done = count(1)

    def step() -> None:
        progress(next(done), len(feedings) * batches)

    scores = [_score(model, feeding, selfies, seed, device, step) for feeding in feedings]
    return sorted(scores, key=lambda score: -score.gain)


@torch.inference_mode()
def _score(
    model: LanguageModel,
    feeding: Feeding,
    selfies: Sequence[str],
    seed: int,
    device: str,
    step: Callable[[], None],
) -> Score:
    tokeniser, special = feeding.tokeniser, feeding.tokeniser.special_ids
    objective = _objective(model, feeding).to(device)
    rows = sorted((tokeniser.encode(text, PUBLISHED_LENGTH) for text in selfies), key=len, reverse=True)
    generator = torch.Generator(device=device).manual_seed(seed)
    loss = correct = predicted = 0.0
    for start in range(0, len(rows), BATCH_MOLECULES):
        batch = _batch(rows[start : start + BATCH_MOLECULES], special["<pad>"]).to(device)
        terms = objective(batch, objective.draw(batch, generator, Progress(0, 1)))
        hidden = float(terms.counts[TERM])
        loss += float(terms.terms[TERM]) * hidden
        correct += float(terms.metrics["masked_accuracy"]) * hidden
        predicted += hidden
        step()
    ids = np.concatenate([np.asarray(row) for row in rows])
    return Score(
        vocabulary=feeding.vocabulary,
        tokens=tokeniser.size,
        mode=tokeniser.mode,
        attention_mask=feeding.attention_mask,
        loss=loss / max(predicted, 1),
        accuracy=correct / max(predicted, 1),
        frequencies=_entropy(ids[~np.isin(ids, list(special.values()))]),
        unknown=float((ids == special["<unk>"]).mean()),
        predicted=int(predicted),
    )


def _objective(model: LanguageModel, feeding: Feeding) -> MaskedLanguage:
    """The model's own weights behind the special ids of one tokeniser, in eval mode."""
    special = feeding.tokeniser.special_ids
    config = MaskedLanguageConfig(
        attention_mask=feeding.attention_mask,
        token_count=feeding.tokeniser.size,
        mask_token_id=special["<mask>"],
        never_selected_ids=tuple(special.values()),
    )
    objective = MaskedLanguage(config, Selformer(model.config))
    objective.load_state_dict(dict(model.state))
    return objective.eval()


def _batch(rows: Sequence[Sequence[int]], padding: int) -> Batch:
    ids = torch.full((len(rows), PUBLISHED_LENGTH), padding)  # (B, T)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    valid = torch.arange(PUBLISHED_LENGTH)[None] < torch.tensor([len(row) for row in rows])[:, None]
    return Batch(inputs={"input_ids": ids, "attention_mask": valid}, size=len(rows))


def _entropy(ids: np.ndarray) -> float:
    """Nats a token of always guessing by frequency."""
    counts = np.bincount(ids)
    shares = counts[counts > 0] / max(len(ids), 1)
    return float(-(shares * np.log(shares)).sum())
