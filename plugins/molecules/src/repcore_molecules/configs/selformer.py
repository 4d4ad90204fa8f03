"""Settings of the SELFormer encoder and its masked-language objective.

Published models are 12 layers x 4 heads (SELFormer) and 8 x 12 (SELFormer-Lite), both of width 768 with padding id 1
in the position and embedding tables although their tokenizer pads with 3. New models use one padding id everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SelformerConfig:
    """A post-norm RoBERTa encoder over tokens of SELFIES."""

    vocabulary_size: int | None = field(
        default=None, metadata={"help": "rows of the word table; taken from the preprocessor when left out", "min": 1}
    )
    hidden_width: int = field(default=768, metadata={"help": "width of tokens and of molecule vectors", "min": 1})
    layers: int = field(default=12, metadata={"help": "number of transformer layers", "min": 1, "max": 1000})
    attention_heads: int = field(default=4, metadata={"help": "heads of each layer; divides hidden_width", "min": 1})
    feed_forward_width: int = field(default=3072, metadata={"help": "inner width of each feed-forward part", "min": 1})
    max_positions: int = field(
        default=514,
        metadata={"help": "rows of the position table, the first position_padding_id + 1 of them unused", "min": 1},
    )
    hidden_dropout: float = field(
        default=0.1, metadata={"help": "dropout on embeddings and branch results", "min": 0, "below": 1}
    )
    attention_dropout: float = field(
        default=0.1, metadata={"help": "dropout on attention probabilities", "min": 0, "below": 1}
    )
    norm_epsilon: float = field(default=1e-12, metadata={"help": "added to variances in layer norms", "above": 0})
    initial_deviation: float = field(
        default=0.02, metadata={"help": "standard deviation of initial linear and embedding weights", "min": 0}
    )
    position_padding_id: int = field(
        default=3,
        metadata={"help": "token id that does not advance positions, and offset of the first position", "min": 0},
    )
    embedding_padding_id: int = field(
        default=3,
        metadata={"help": "row of the word table that starts at zero and gets no gradient as an input", "min": 0},
    )
    begin_token_id: int = field(default=1, metadata={"help": "id that opens each sequence, for pooling", "min": 0})
    end_token_id: int = field(default=2, metadata={"help": "id that closes each sequence, for pooling", "min": 0})
    pooling: Literal["mean", "mean-layers", "mean-sum-layers"] = field(
        default="mean",
        metadata={
            "help": "what a molecule's vector is by default: the mean over the last layer's tokens, as published, or "
            "mean-layers, such means of the embedding output and every layer side by side (layers + 1 times as wide), "
            "or mean-sum-layers, with the sums beside the means, which know how large a molecule is (twice that width)"
        },
    )
    padding: Literal["skip", "compute"] = field(
        default="skip",
        metadata={
            "help": "skip: on a CPU no work is spent on padded slots, whose token features are then zero; "
            "compute: padded slots are computed like the reference does. Real tokens are the same either way"
        },
    )


SELFORMER = SelformerConfig(vocabulary_size=800, position_padding_id=1, embedding_padding_id=1)
"""The published SELFormer: 12 layers, 4 heads, 86.7 M parameters with its language head."""

SELFORMER_LITE = replace(SELFORMER, layers=8, attention_heads=12)
"""The published SELFormer-Lite: 8 layers, 12 heads, 58.3 M parameters with its language head."""


@dataclass(frozen=True, kw_only=True)
class MaskedLanguageConfig:
    """Masked-token prediction with the usual 80/10/10 rule."""

    mask_probability: float = field(
        default=0.15, metadata={"help": "share of ordinary tokens that are predicted", "above": 0, "max": 1}
    )
    mask_share: float = field(
        default=0.8, metadata={"help": "share of predicted tokens shown as the mask token", "min": 0, "max": 1}
    )
    random_share_of_rest: float = field(
        default=0.5,
        metadata={
            "help": "share of the other predicted tokens shown as a random token; the rest stay",
            "min": 0,
            "max": 1,
        },
    )
    mask_token_id: int = field(default=4, metadata={"help": "id of the mask token", "min": 0})
    never_selected_ids: tuple[int, ...] = field(
        default=(0, 1, 2, 3, 4), metadata={"help": "special ids that are never predicted", "min": 0}
    )
    token_count: int | None = field(
        default=None,
        metadata={"help": "random tokens are drawn below this id; taken from the preprocessor when left out", "min": 1},
    )
    token_texts: tuple[str, ...] | None = field(
        default=None,
        metadata={"help": "text of each id, for pictures only; taken from the preprocessor when left out"},
    )
    attention_mask: Literal["proper", "reference"] = field(
        default="proper",
        metadata={"help": "proper: padding is not attended to; reference: it is, as in the published pre-training"},
    )
