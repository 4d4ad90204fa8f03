"""SELFormer: a post-norm RoBERTa encoder over tokens of SELFIES.

Source: Yuksel et al. 2023 (arXiv 2304.04662); public repository HUBioDataLab/SELFormer, whose model is a plain
RoBERTa of Hugging Face transformers 4.

Differs: one packed QKV matrix; no pooler (no published head uses it); on a CPU padding is left out of all work
(``padding="compute"`` brings it back); padding is masked whenever the batch says what is padding.

Symbols: B molecules, T token slots, S real tokens, D width, L layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.nn.initialisation import initialise_normal
from repcore.nn.packing import Packing, plan_packing
from repcore.nn.transformer import TransformerLayer
from repcore.shapes import check_shape
from repcore_molecules.configs.selformer import SelformerConfig

NAME = "molecules/selformer"
POOLINGS = ("mean", "mean-symbols", "bos", "max", "mean-layers", "mean-sum-layers")
BY_LAYERS = ("mean-layers", "mean-sum-layers")
SUM_TOO, SUM_UNIT = "mean-sum-layers", 32.0  # tokens: what is a sum over a usual molecule is then of the size of a mean


def token_positions(input_ids: Tensor, padding_id: int) -> Tensor:
    """Row of the position table for each token: running count of ids other than ``padding_id``, plus that id.

    Slots with ``padding_id`` get ``padding_id``. In published models this is 1, the id of the begin token: so that
    token always has row 1 (zeros) and padding (3) goes on counting.

    Args:
        input_ids: int64 (B, T).

    Returns:
        int64 (B, T).
    """
    counted = input_ids.ne(padding_id).long()
    return counted * counted.cumsum(1) + padding_id


def longest_sequence(config: SelformerConfig) -> int:
    """Tokens, begin and end included, for which the position table always has rows."""
    begin_is_free = config.begin_token_id == config.position_padding_id
    return config.max_positions - 1 - config.position_padding_id + int(begin_is_free)


class SelformerEmbeddings(nn.Module):
    """Word + position + type vectors, layer norm, dropout.

    Args:
        config: settings; ``vocabulary_size`` must be known.
    """

    def __init__(self, config: SelformerConfig, vocabulary_size: int) -> None:
        super().__init__()
        width = config.hidden_width
        self.words = nn.Embedding(vocabulary_size, width, padding_idx=config.embedding_padding_id)
        self.positions = nn.Embedding(config.max_positions, width, padding_idx=config.position_padding_id)
        self.token_type = nn.Parameter(torch.empty(1, width))  # RoBERTa knows a single token type
        self.norm = nn.LayerNorm(width, eps=config.norm_epsilon)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, input_ids: Tensor, position: Tensor) -> Tensor:
        """Ids and position rows of the same shape to vectors (..., D)."""
        summed = self.words(input_ids) + self.token_type[0] + self.positions(position)
        vectors: Tensor = self.dropout(self.norm(summed))
        return vectors


class Selformer(nn.Module):
    """Encoder ``molecules/selformer``.

    Args:
        config: sizes and rates; see :class:`SelformerConfig`.

    Call:
        batch.inputs: ``input_ids`` int64 (B, T), and ``attention_mask`` bool (B, T), True = real token, which may be
            left out when every slot is to be attended to.
        layers: numbers of hidden states to return; 0 is the embedding output, L the last layer.
    Returns:
        pooled (B, D), the mean over real tokens including begin and end; token level ``tokens``.

    Raises:
        ConfigError: sizes that do not fit together, or a layer that does not exist.
        ShapeError: wrong shapes, ids beyond the vocabulary, or more tokens than positions.
    """

    poolings = POOLINGS

    def __init__(self, config: SelformerConfig) -> None:
        super().__init__()
        self.config = config
        self.pooling = config.pooling
        self.dim = config.hidden_width * (config.layers + 1) ** (config.pooling in BY_LAYERS)
        self.dim *= 1 + (config.pooling == SUM_TOO)
        self.embeddings = SelformerEmbeddings(config, _checked_vocabulary_size(config))
        self.layers = nn.ModuleList(
            TransformerLayer(
                config.hidden_width,
                config.attention_heads,
                config.feed_forward_width,
                norm="post",
                norm_epsilon=config.norm_epsilon,
                hidden_dropout=config.hidden_dropout,
                attention_dropout=config.attention_dropout,
            )
            for _ in range(config.layers)
        )
        self.initialise()

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Normal(0, initial_deviation) weights, zero biases and padding rows, unit norms."""
        initialise_normal(self, self.config.initial_deviation, generator=generator)
        nn.init.normal_(self.embeddings.token_type, 0.0, self.config.initial_deviation, generator=generator)

    @property
    def word_embeddings(self) -> Tensor:
        """Word table (vocabulary, D), to which a language head ties its decoder."""
        return self.embeddings.words.weight

    @property
    def max_tokens(self) -> int:
        """Longest sequence that is legal whatever its ids, begin and end tokens included."""
        return longest_sequence(self.config)

    def position_ids(self, input_ids: Tensor) -> Tensor:
        """Rows of the position table, int64 (B, T)."""
        return token_positions(input_ids, self.config.position_padding_id)

    @property
    def depth(self) -> int:
        """Number of the last layer."""
        return len(self.layers)

    def token_width(self, level: str = "tokens") -> int:
        """Width of the tokens, the same at every layer."""
        del level  # there is one
        return self.config.hidden_width

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        """``until``: the last layer to compute, whose tokens then take the place of the last; None = all."""
        input_ids, valid = self._inputs(batch)
        position = self._checked_positions(input_ids)
        packing = self._packing(input_ids, valid)
        if packing is not None:
            input_ids, position = packing.pack(input_ids), packing.pack(position)
        return self._run(self.embeddings(input_ids, position), packing, batch, layers, until)

    def embed_tokens(self, batch: Batch) -> Tokens:
        """The embedding output (B, T, D), which is layer 0."""
        input_ids, valid = self._inputs(batch)
        return Tokens(self.embeddings(input_ids, self._checked_positions(input_ids)), valid=valid)

    def encode_tokens(
        self, tokens: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        """Features of embedded tokens, some of which may have been replaced."""
        packing = self._packing(*self._inputs(batch))
        hidden = tokens.values if packing is None else packing.pack(tokens.values)
        return self._run(hidden, packing, batch, layers, until)

    def run_from(self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """Features from the tokens of a layer, some of which may have been replaced; earlier layers do not run."""
        self._check_layers([layer], most=self.depth)
        packing = self._packing(*self._inputs(batch))
        values = hidden.values if packing is None else packing.pack(hidden.values)
        return self._run(values, packing, batch, layers, None, first=layer)

    def feed_forward_blocks(self) -> dict[str, nn.Module]:
        """The feed-forward part of each layer by its name; tokens come as (B, T, D), or as ``token_owner`` says."""
        return {f"layers.{number}.feed_forward": layer.feed_forward for number, layer in enumerate(self.layers)}  # type: ignore[misc]

    def token_owner(self, batch: Batch) -> Tensor | None:
        """Item of each token (S,) where padding is left out of the layers; None where it is not."""
        packing = self._packing(*self._inputs(batch))
        return None if packing is None else packing.owner

    def _run(
        self,
        hidden: Tensor,
        packing: Packing | None,
        batch: Batch,
        layers: Sequence[int],
        until: int | None,
        first: int = 0,
    ) -> Features:
        """The transformer layers over the output of layer ``first``, packed (S, D) or padded (B, T, D)."""
        valid = self._inputs(batch)[1]
        last_layer = len(self.layers) if until is None else until
        self._check_layers([*layers, last_layer], most=last_layer)
        by_layers = self.pooling in BY_LAYERS or not self.training  # in training only where it is the vector
        wanted = set(range(last_layer + 1)) if by_layers else set(layers)
        mask = None if packing is not None or valid is None else valid
        states = {first: hidden} if first in wanted else {}
        for number, layer in enumerate(itertools.islice(self.layers, first, last_layer), start=first + 1):
            hidden = layer(hidden, mask, packing)
            if number in wanted:
                states[number] = hidden

        def tokens(state: Tensor) -> Tokens:
            return Tokens(state if packing is None else packing.unpack(state), valid=valid)

        extras = {"input_ids": batch.inputs["input_ids"], "states": tuple(states.values()), "packing": packing}
        features = Features(
            pooled=hidden,
            tokens={"tokens": tokens(hidden)},
            layers={number: tokens(states[number]) for number in sorted(layers)},
            extras=extras,
        )
        features.pooled = self.pool(features, self.pooling)
        return features

    def pool(self, features: Features, name: str) -> Tensor:
        """One vector a molecule, float (B, D), at least float32.

        Args:
            features: as ``forward`` returned them.
            name: ``mean`` over all real tokens; ``mean-symbols`` without begin and end (0 when nothing is left);
                ``bos``, the first token; ``max`` over all real tokens; ``mean-layers``, means of every layer side by
                side, float (B, (layers + 1) D); ``mean-sum-layers``, these and the sums of every layer, in units of 32
                tokens, float (B, 2 (layers + 1) D); both in training only for an encoder with that setting.

        Raises:
            ConfigError: unknown name.
        """
        if name in BY_LAYERS:
            means = torch.cat([self._mean_of(state, features) for state in features.extras["states"]], 1)
            if name != SUM_TOO:
                return means
            valid = features.tokens["tokens"].valid
            ids = features.extras["input_ids"]
            count = torch.full_like(ids[:, 0], ids.shape[1]) if valid is None else valid.sum(1)
            return torch.cat([means, means * (count / SUM_UNIT)[:, None]], 1)
        return self._pooled(features.tokens["tokens"], features.extras["input_ids"], name)

    def _mean_of(self, state: Tensor, features: Features) -> Tensor:
        """Means (B, D) of a layer's output, packed (S, D) or padded (B, T, D)."""
        ids, packing = features.extras["input_ids"], features.extras["packing"]
        if packing is None:
            return self._pooled(Tokens(state, valid=features.tokens["tokens"].valid), ids, "mean")
        state = state.to(torch.promote_types(state.dtype, torch.float32))
        total = state.new_zeros(len(ids), state.shape[1]).index_add(0, packing.owner, state)
        return total / torch.bincount(packing.owner, minlength=len(ids)).clamp(min=1)[:, None]

    def _pooled(self, tokens: Tokens, ids: Tensor, name: str) -> Tensor:
        values = tokens.values.to(torch.promote_types(tokens.values.dtype, torch.float32))
        if name == "bos":
            return values[:, 0]
        valid = torch.ones_like(ids, dtype=torch.bool) if tokens.valid is None else tokens.valid
        if name == "max":
            return values.masked_fill(~valid[..., None], -torch.inf).amax(1)
        if name == "mean-symbols":
            valid = valid & ids.ne(self.config.begin_token_id) & ids.ne(self.config.end_token_id)
        elif name != "mean":
            raise ConfigError(f"{NAME} has no pooling {name!r}", expected=", ".join(POOLINGS))
        weight = valid.to(values.dtype)
        total = torch.bmm(weight[:, None], values)[:, 0]  # padded slots hold finite values, so that 0 x value is 0
        return total / weight.sum(1, keepdim=True).clamp(min=1)

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Ids and, unless every slot is real, their mask."""
        if not isinstance(batch.inputs, Mapping) or "input_ids" not in batch.inputs:
            raise ShapeError(f"{NAME} expects batch.inputs with 'input_ids'", got=type(batch.inputs).__name__)
        input_ids: Tensor = batch.inputs["input_ids"]
        sizes = check_shape(input_ids, "B T", name="input_ids", owner=NAME)
        mask: Tensor | None = batch.inputs.get("attention_mask")
        if mask is None:
            return input_ids, None
        check_shape(mask, "B T", name="attention_mask", owner=NAME, bound=sizes)
        return input_ids, mask.bool()

    def _packing(self, input_ids: Tensor, valid: Tensor | None) -> Packing | None:
        """How to leave padding out; None where it is computed (GPU, on request, or because there is none)."""
        if self.config.padding == "compute" or input_ids.device.type != "cpu" or torch.compiler.is_compiling():
            return None  # a plan depends on values, which compiled code does not see
        if valid is None or valid.all():
            return None
        return plan_packing(valid)

    def _checked_positions(self, input_ids: Tensor) -> Tensor:
        position = self.position_ids(input_ids)
        if input_ids.shape[1] > self.max_tokens and int(position.max()) >= self.config.max_positions:
            raise ShapeError(
                f"input_ids has {input_ids.shape[1]} tokens a row; {NAME} has positions for {self.max_tokens}",
                hint="truncate in the preprocessor, or raise encoder.max_positions for a new model",
            )
        if input_ids.device.type == "cpu" and input_ids.numel() and not torch.compiler.is_compiling():
            low, high = (int(value) for value in torch.aminmax(input_ids))
            if low < 0 or high >= self.embeddings.words.num_embeddings:
                raise ShapeError(
                    f"input_ids holds ids {low} to {high}; {NAME} has a vocabulary of "
                    f"{self.embeddings.words.num_embeddings}",
                    hint="the tokeniser's vocabulary and encoder.vocabulary_size belong together",
                )
        return position

    def _check_layers(self, layers: Sequence[int], most: int) -> None:
        most = len(self.layers) if most < 0 else min(most, len(self.layers))
        wrong = [number for number in layers if not 0 <= number <= most]
        if wrong:
            raise ConfigError(
                f"{NAME} has no layer {', '.join(map(str, dict.fromkeys(wrong)))}",
                expected=f"0 (embedding output) to {most}",
            )


def tiny_example() -> tuple[SelformerConfig, Batch]:
    """A configuration and a batch of two short molecules, for checks and docs."""
    config = SelformerConfig(
        vocabulary_size=12, hidden_width=8, layers=2, attention_heads=2, feed_forward_width=16, max_positions=16
    )
    input_ids = torch.tensor([[1, 5, 6, 7, 2], [1, 8, 2, 3, 3]])
    return config, Batch(inputs={"input_ids": input_ids, "attention_mask": input_ids != 3}, size=2)


def _checked_vocabulary_size(config: SelformerConfig) -> int:
    """Sizes that must fit together before tables are made."""
    size = config.vocabulary_size
    if size is None:
        raise ConfigError(
            "vocabulary_size is not known", field="encoder.vocabulary_size", hint="fit a preprocessor, or set it"
        )
    if not 0 <= config.embedding_padding_id < size:
        raise ConfigError(f"embedding_padding_id={config.embedding_padding_id} is outside a vocabulary of {size}")
    if not 0 <= config.position_padding_id < config.max_positions - 1:
        raise ConfigError(
            f"position_padding_id={config.position_padding_id} leaves no position of {config.max_positions}"
        )
    if config.layers < 1:
        raise ConfigError(f"layers={config.layers} leaves no transformer layer", field="encoder.layers")
    return size
