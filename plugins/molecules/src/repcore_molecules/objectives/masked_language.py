"""Masked-language modelling over molecule tokens.

Source: the pre-training of SELFormer (arXiv 2304.04662), which is RoBERTa's objective (arXiv 1907.11692, section 3.1).

Differs: padding is masked by default (the reference attends to it: ``attention_mask="reference"``); the vocabulary-wide
head runs at predicted positions only, which gives the same loss with a seventh of the work and memory.

Symbols: B molecules, T token slots, M predicted tokens of a batch, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Picture, Progress
from repcore.nn.initialisation import initialise_normal
from repcore.nn.masking import independent_mask
from repcore_molecules.configs.selformer import MaskedLanguageConfig

TERM = "masked_language"
SHOWN_GUESSES = 3


class TokenEncoder(Protocol):
    """What the objective needs of an encoder: token features, and the word table to tie its decoder to."""

    dim: int

    @property
    def word_embeddings(self) -> Tensor: ...

    def __call__(self, batch: Batch, layers: Sequence[int] = ()) -> Features: ...


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """Result of the masking rule: ``input_ids`` int64 (B, T) as shown to the encoder, ``selected`` bool (B, T)."""

    input_ids: Tensor
    selected: Tensor


class LanguageHead(nn.Module):
    """Dense, GELU, layer norm, and a decoder tied to the word table.

    Args:
        width: D.
        vocabulary_size: V.
        norm_epsilon: of the layer norm.

    Call:
        hidden: float (..., D).
        word_embeddings: float (V, D).
    Returns:
        logits (..., V).
    """

    def __init__(self, width: int, vocabulary_size: int, norm_epsilon: float = 1e-12) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, hidden: Tensor, word_embeddings: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(hidden))), word_embeddings, self.bias)


def has_weight_decay(name: str, parameter: nn.Parameter) -> bool:
    """Decay for every matrix and table, none for biases and layer norms, as in the published runs."""
    del name  # shapes tell: biases and norms are vectors
    return parameter.ndim >= 2


class MaskedLanguage(nn.Module):
    """Objective ``molecules/masked-language``: predict hidden tokens from the others.

    Args:
        config: probabilities and ids.
        encoder: token encoder; becomes part of this module.

    Call:
        batch: inputs ``input_ids`` (B, T) and ``attention_mask`` (B, T).
        draws: as :meth:`draw` gives them.
    Returns:
        one term, the mean cross-entropy over predicted tokens; a batch without any gives 0 with gradient 0.

    Raises:
        ConfigError: a share outside [0, 1], or no token count.
    """

    def __init__(self, config: MaskedLanguageConfig, encoder: TokenEncoder) -> None:
        super().__init__()
        for name in ("mask_probability", "mask_share", "random_share_of_rest"):
            if not 0.0 <= getattr(config, name) <= 1.0:
                raise ConfigError(
                    f"{name}={getattr(config, name)} is outside 0 <= {name} <= 1", field=f"objective.{name}"
                )
        self.config = config
        self.encoder = encoder
        vocabulary_size = encoder.word_embeddings.shape[0]
        self.token_count = vocabulary_size if config.token_count is None else config.token_count
        if not 1 <= self.token_count <= vocabulary_size:
            raise ConfigError(
                f"token_count={self.token_count} does not fit an encoder with a vocabulary of {vocabulary_size}",
                field="objective.token_count",
            )
        encoder_config = getattr(encoder, "config", None)
        token_width = encoder.word_embeddings.shape[1]  # encoder.dim is the width of molecule vectors
        self.head = LanguageHead(token_width, vocabulary_size, getattr(encoder_config, "norm_epsilon", 1e-12))
        initialise_normal(self.head, getattr(encoder_config, "initial_deviation", 0.02))

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Three uniform numbers and one random token for every slot."""
        del progress  # masking does not change over a run
        ids = batch.inputs["input_ids"]

        def uniform() -> Tensor:
            return torch.rand(ids.shape, generator=generator, device=generator.device).to(ids.device)

        words = torch.randint(self.token_count, ids.shape, generator=generator, device=generator.device)
        return {
            "select": uniform(),
            "replace": uniform(),
            "randomise": uniform(),
            "random_words": words.to(ids.device),
        }

    def mask_tokens(self, batch: Batch, draws: Draws) -> MaskedTokens:
        """Apply the rule: chosen where ``select`` < mask_probability; shown as the mask token where ``replace`` <
        mask_share, else as the random word where ``randomise`` < random_share_of_rest, else unchanged."""
        ids = batch.inputs["input_ids"]
        selected = self._selected(batch, draws)
        hidden = selected & (draws["replace"] < self.config.mask_share)
        swapped = selected & ~hidden & (draws["randomise"] < self.config.random_share_of_rest)
        shown = ids.masked_fill(hidden, self.config.mask_token_id)
        return MaskedTokens(torch.where(swapped, draws["random_words"], shown), selected)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        """Predicted tokens, known before the forward pass."""
        return {TERM: self._selected(batch, draws).sum()}

    def encode(self, batch: Batch, masked: MaskedTokens, layers: Sequence[int] = ()) -> Features:
        """Features of the masked tokens, with or without the attention mask as configured."""
        inputs = {**batch.inputs, "input_ids": masked.input_ids}
        if self.config.attention_mask == "reference":
            inputs.pop("attention_mask", None)
        return self.encoder(Batch(inputs=inputs, size=batch.size), layers)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token, (..., V), from token features (..., D)."""
        scores: Tensor = self.head(hidden, self.encoder.word_embeddings)
        return scores

    def predict(self, batch: Batch, draws: Draws) -> tuple[MaskedTokens, Tensor]:
        """What is hidden, and the scores of every token at the predicted places, float (M, V) in row-major order."""
        masked = self.mask_tokens(batch, draws)
        features = self.encode(batch, masked)
        hidden = features.tokens["tokens"].values[masked.selected]  # (M, D)
        return masked, self.logits(hidden).float()

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        masked, logits = self.predict(batch, draws)
        truth = batch.inputs["input_ids"][masked.selected]
        count = masked.selected.sum()
        loss = F.cross_entropy(logits, truth, reduction="sum") / count.clamp(min=1)
        correct = (logits.detach().argmax(-1) == truth).sum()
        entropy, commonest = fixed_guess(truth, logits.shape[-1])
        metrics = {
            "masked_accuracy": correct / count.clamp(min=1),
            f"{TERM}_baseline": entropy,
            "masked_accuracy_baseline": commonest,
        }
        return LossTerms.of({TERM: loss}, counts={TERM: count}, metrics=metrics)

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The row of tokens with the hidden ones marked, the guesses there, and the molecule so filled in."""
        from repcore_molecules.rendering.masked_tokens import HiddenToken, masked_picture

        masked, logits = self.predict(batch, draws)
        chances = logits.softmax(-1)
        best = chances.topk(min(SHOWN_GUESSES, chances.shape[-1]))
        true, shown = batch.inputs["input_ids"][0], masked.input_ids[0]
        length = len(true) if (valid := batch.inputs.get("attention_mask")) is None else int(valid[0].sum())
        hidden = [
            HiddenToken(
                place=place,
                shown=self._text(shown[place]),
                true=self._text(true[place]),
                probability=float(chances[row, true[place]]),
                guesses=tuple((self._text(one), float(chances[row, one])) for one in best.indices[row]),
            )
            for row, place in enumerate(masked.selected[0].nonzero()[:, 0].tolist())
        ]
        return masked_picture([self._text(one) for one in true[:length]], hidden)

    def _text(self, number: Tensor) -> str:
        known = self.config.token_texts or ()
        return known[int(number)] if int(number) < len(known) else f"#{int(number)}"

    def _selected(self, batch: Batch, draws: Draws) -> Tensor:
        ids = batch.inputs["input_ids"]
        special = torch.isin(ids, torch.tensor(self.config.never_selected_ids, device=ids.device, dtype=ids.dtype))
        eligible = ~special
        if batch.inputs.get("attention_mask") is not None:
            eligible = eligible & batch.inputs["attention_mask"].bool()
        return independent_mask(draws["select"], self.config.mask_probability, eligible)


def fixed_guess(truth: Tensor, token_count: int) -> tuple[Tensor, Tensor]:
    """Loss (nats) and accuracy of the best guess that ignores the input: the frequencies of the batch's own tokens.

    Args:
        truth: int64 (M,), ids of the hidden tokens.
        token_count: V.

    Frequencies of the same batch flatter the guess by about (distinct tokens) / 2M nats, so the baseline is strict.
    """
    counts = torch.zeros(token_count, device=truth.device).scatter_add_(
        0, truth, torch.ones_like(truth, dtype=torch.float)
    )
    share = counts / max(len(truth), 1)
    return torch.special.entr(share).sum(), share.max()
