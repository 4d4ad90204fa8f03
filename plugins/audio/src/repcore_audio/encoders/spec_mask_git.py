"""SpecMaskGIT: a transformer over the tokens of a spectrogram, with the head that predicts hidden ones.

Source: Comunita et al. 2024 (arXiv 2406.17672); its repository holds sounds and no code, so the method card's
definitions hold. The head belongs to the encoder, since generation needs it.

Symbols: B clips, F bands, T columns, L = F x T tokens (index = band x T + column), V codes (V = hidden), d width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.nn.initialisation import initialise_normal
from repcore.nn.losses import masked_mean
from repcore.nn.transformer import TransformerLayer
from repcore.shapes import check_shape
from repcore_audio.configs.spec_mask_git import SpecMaskGitConfig
from repcore_audio.encoders.pooling import mean_tokens

NAME = "audio/spec-mask-git"
LEVEL = "tokens"
POOLINGS = ("default", "bands", "mean", "hist")


class SpecMaskGit(nn.Module):
    """Encoder ``audio/spec-mask-git``.

    Args:
        config: see :class:`SpecMaskGitConfig`.

    Call:
        batch.inputs: ``ids`` int64 (B, L), 0 to V (V = hidden); ``valid`` bool (B, L), may be left out; ``condition``
            float (B, C), may be left out. L may be F x T' with fewer columns than the grid has.
        layers: hidden states to return, 0 to ``depth``.
        until: last block to run, whose output is then normalised as the last one's is; None = all.
    Returns:
        pooled as ``config.pooling`` says: ``bands`` (B, F d), ``mean`` (B, d), ``hist`` (B, V); level ``tokens``
        (B, L, d) with band and column as ``position``; ``extras["ids"]``.

    Raises:
        ConfigError: sizes that do not fit together, or a layer that does not exist.
        ShapeError: wrong shapes, or an id outside 0 to V.
    """

    poolings = POOLINGS

    def __init__(self, config: SpecMaskGitConfig) -> None:
        super().__init__()
        if config.rows is None or config.columns is None or config.codes is None:
            raise ConfigError(
                "the grid of tokens and the codebook are not known",
                field="encoder.rows, encoder.columns, encoder.codes",
                hint="fit a preprocessor audio/spec-tokens, or set them",
            )
        self.config = config
        self.rows, self.grid_columns, self.codes = config.rows, config.columns, config.codes
        self.width = width = config.width
        self.pooling = config.pooling
        self.dim = {"bands": self.rows * width, "mean": width, "hist": self.codes}[config.pooling]
        self.tokens = nn.Embedding(self.codes + 1, width)
        self.positions = nn.Parameter(torch.empty(1 + self.rows * self.grid_columns, width))
        self.null = nn.Parameter(torch.empty(width))
        self.condition = None if config.condition_width is None else nn.Linear(config.condition_width, width)
        self.blocks = nn.ModuleList(
            TransformerLayer(
                width, config.heads, round(config.mlp_ratio * width), norm_epsilon=config.norm_epsilon,
                hidden_dropout=config.dropout,
            )
            for _ in range(config.depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width, eps=config.norm_epsilon)
        self.head = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width, eps=config.norm_epsilon)
        self.logit_bias = nn.Parameter(torch.zeros(self.codes))
        initialise_normal(self, truncated=True)
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.trunc_normal_(self.null, std=0.02)

    @property
    def depth(self) -> int:
        """Number of the last layer."""
        return len(self.blocks)

    @property
    def mask_id(self) -> int:
        """The id of a hidden token, V."""
        return self.codes

    def token_width(self, level: str = LEVEL) -> int:
        """Width of the tokens, the same at every layer and level."""
        del level
        return self.width

    def feed_forward_blocks(self) -> dict[str, nn.Module]:
        """The feed-forward part of every block."""
        names = [f"blocks.{number}.feed_forward" for number in range(self.depth)]
        return {name: self.get_submodule(name) for name in names}

    def embed_tokens(self, batch: Batch) -> Tokens:
        """Vectors of the codes, (B, L, d), before positions."""
        ids, valid = self.inputs(batch)
        return Tokens(self.tokens(ids), valid=valid, position=self._places(ids))

    def encode_tokens(
        self, tokens: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        """Features of token vectors, some of which may have been replaced."""
        ids, valid = self.inputs(batch)
        return self._encode(tokens.values, ids, valid, self.condition_token(batch), layers, until)

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        ids, valid = self.inputs(batch)
        return self._encode(self.tokens(ids), ids, valid, self.condition_token(batch), layers, until)

    def condition_token(self, batch: Batch, kept: Tensor | None = None) -> Tensor:
        """The token in front, (B, d): the condition, or the learned ``null`` where there is none or it is dropped.

        Args:
            kept: bool (B,), clips whose condition is used; None = all.

        Raises:
            ShapeError: a condition of another width than the encoder's, or one that it has no place for.
        """
        given: Tensor | None = batch.inputs.get("condition")
        null = self.null.expand(batch.size, -1)
        if given is None:
            return null
        if self.condition is None or given.shape[-1] != self.config.condition_width:
            raise ShapeError(
                f"a condition of width {given.shape[-1]}",
                expected=f"encoder.condition_width={self.config.condition_width}",
            )
        token: Tensor = self.condition(given)
        return token if kept is None else torch.where(kept[:, None], token, null)

    def logits(self, features: Features) -> Tensor:
        """Scores of the V codes at every token, (B, L, V)."""
        hidden = self.head_norm(F.gelu(self.head(features.tokens[LEVEL].values)))
        return F.linear(hidden, self.tokens.weight[: self.codes], self.logit_bias)

    def predict(self, ids: Tensor, valid: Tensor | None, condition: Tensor) -> Tensor:
        """Scores (B, L, V) of tokens some of which are hidden; ``condition`` (B, d) is the token in front."""
        return self.logits(self._encode(self.tokens(ids), ids, valid, condition, (), None))

    def _encode(
        self,
        values: Tensor,
        ids: Tensor,
        valid: Tensor | None,
        condition: Tensor,
        layers: Sequence[int],
        until: int | None,
    ) -> Features:
        last = self.depth if until is None else until
        wrong = [number for number in (*layers, last) if not 0 <= number <= min(last, self.depth)]
        if wrong:
            raise ConfigError(f"{NAME} has no layer {wrong[0]}", expected=f"0 to {min(last, self.depth)}")
        hidden = torch.cat([condition[:, None].to(values.dtype), values], dim=1) + self._positions(values.shape[1])
        seen = None if valid is None else F.pad(valid, (1, 0), value=True)
        states = {0: hidden} if 0 in layers else {}
        for number in range(1, last + 1):
            hidden = self.blocks[number - 1](hidden, seen)
            if number in layers:
                states[number] = hidden
        tokens = Tokens(self.norm(hidden)[:, 1:], valid=valid, position=self._places(ids))
        features = Features(
            pooled=hidden[:, 0],  # replaced below by what the config asks for
            tokens={LEVEL: tokens},
            layers={number: replace(tokens, values=state[:, 1:]) for number, state in states.items()},
            extras={"ids": ids},
        )
        features.pooled = self._pooled(features, self.config.pooling)
        return features

    def _positions(self, length: int) -> Tensor:
        """(1 + L, d) of a grid with L / F columns."""
        if length == self.rows * self.grid_columns:
            return self.positions
        grid = self.positions[1:].unflatten(0, (self.rows, self.grid_columns))[:, : length // self.rows]
        return torch.cat([self.positions[:1], grid.flatten(0, 1)])

    def _places(self, ids: Tensor) -> Tensor:
        """Band and column of every token, int64 (B, L, 2)."""
        columns = ids.shape[1] // self.rows
        place = torch.arange(ids.shape[1], device=ids.device)
        return torch.stack([place // columns, place % columns], dim=-1).expand(len(ids), -1, -1)

    # -------------------------------------------------------------------------------------- pooling

    def pool(self, features: Features, name: str) -> Tensor:
        """One vector a clip: ``default`` as configured, ``bands`` (B, F d), ``mean`` (B, d), ``hist`` (B, V).

        Raises:
            ConfigError: unknown name.
        """
        if name not in POOLINGS:
            raise ConfigError(f"{NAME} has no pooling {name!r}", expected=", ".join(POOLINGS))
        return features.pooled if name == "default" else self._pooled(features, name)

    def _pooled(self, features: Features, name: str) -> Tensor:
        tokens = features.tokens[LEVEL]
        if name == "mean":
            return mean_tokens(tokens)
        valid = torch.ones(tokens.values.shape[:2], dtype=torch.bool, device=tokens.values.device)
        valid = valid if tokens.valid is None else tokens.valid
        if name == "bands":
            grid, counted = tokens.values.unflatten(1, (self.rows, -1)), valid.unflatten(1, (self.rows, -1))
            return masked_mean(grid, counted[..., None], dim=2).flatten(1)
        ids: Tensor = features.extras["ids"]
        counts = tokens.values.new_zeros(len(ids), self.codes + 1)
        counts.scatter_add_(1, ids, valid.to(counts.dtype))
        return counts[:, : self.codes] / valid.sum(1, keepdim=True).clamp(min=1)

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """``ids`` and ``valid`` of a batch, checked."""
        if not isinstance(batch.inputs, Mapping) or "ids" not in batch.inputs:
            raise ShapeError(f"{NAME} expects batch.inputs with 'ids'", got=type(batch.inputs).__name__)
        ids: Tensor = batch.inputs["ids"]
        sizes = check_shape(ids, "B L", name="ids", owner=NAME)
        if sizes["L"] % self.rows or not 1 <= sizes["L"] // self.rows <= self.grid_columns:
            raise ShapeError(
                f"{sizes['L']} tokens a clip", expected=f"{self.rows} bands of 1 to {self.grid_columns} columns"
            )
        if ids.device.type == "cpu" and not torch.compiler.is_compiling() and ids.numel():
            self._check_range(ids, batch)
        valid: Tensor | None = batch.inputs.get("valid")
        if valid is not None:
            check_shape(valid, "B L", name="valid", owner=NAME, bound=sizes)
        return ids, valid

    def _check_range(self, ids: Tensor, batch: Batch) -> None:
        wrong = ((ids < 0) | (ids > self.codes)).nonzero()
        if len(wrong):
            clip, place = wrong[0].tolist()
            name = batch.sample_id[clip] if clip < len(batch.sample_id) else f"clip {clip}"
            raise ShapeError(
                f"{name}: token {place} has the number {int(ids[clip, place])}", expected=f"0 to {self.codes}"
            )
