"""The hierarchical point encoder of Point-M2AE and I2P-MAE: points -> fine -> middle -> coarse tokens -> one vector.

Source: Zhang et al. 2022 (Point-M2AE, arXiv 2205.14401), section 3; Zhang et al. 2023 (I2P-MAE, arXiv 2212.06785);
public repositories `ZrrSkywalker/Point-M2AE` and `ZrrSkywalker/I2P-MAE`.

Differs by default: no ball around the origin is left out when centres are chosen (``exclude_origin``), distance limits
also hold where nothing is padded (``legacy_radius_mask``), one farthest-point run serves all levels, batches are packed
without a loop over clouds.

Symbols: B clouds, N points, G tokens of a level, C their width, D width of a cloud's vector.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from repcore.embedding.pooling import pool_tokens as pool_level
from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.shapes import check_shape
from repcore_pointcloud.configs.i2p_mae import PointEncoderConfig
from repcore_pointcloud.encoders.hierarchy import Grouping, Hierarchy, VisibleSlots, spread_to_finer, visible_slots
from repcore_pointcloud.encoders.mini_pointnet import MiniPointNet
from repcore_pointcloud.encoders.point_blocks import BlockStack, PositionEmbedding, allowed_pairs, drop_path_rates

NAME = "pointcloud/i2p-mae"
LEVELS = ("coarse", "middle", "fine")
ALL_LEVELS = "all-levels"
POOLINGS = ("default", "max", "mean", "mean-max", "mean-plus-max", ALL_LEVELS)
DEFAULT_STD = 0.02  # of the truncated normal that linear layers start from


@dataclass(frozen=True, slots=True)
class VisibleTokens:
    """Tokens of one level in a masked pass: values (B, V, C) after the level's norm, and where they belong."""

    values: Tensor
    slots: VisibleSlots


class HierarchicalPointEncoder(nn.Module):
    """Encoder ``pointcloud/i2p-mae``.

    Args:
        config: sizes and flags; see :class:`PointEncoderConfig`.

    Call:
        batch.inputs: ``points`` float (B, N, 3), centred, largest radius 1; any N of at least the finest level's
            neighbours. Fewer distinct points than tokens make tokens repeat.
        layers: numbers of hidden states to return; 0 is the fine embedding, then one number a block, fine to coarse.
    Returns:
        pooled (B, D) as ``config.pooling`` says; token levels ``coarse``, ``middle``, ``fine`` with their centres as
        positions; ``extras["hierarchy"]``.

    Raises:
        ConfigError: sizes that do not fit together, or a layer that does not exist.
        ShapeError: wrong shapes, or too few points.
    """

    poolings = POOLINGS

    def __init__(self, config: PointEncoderConfig) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        widths = config.widths
        self.dim = {"mean-max": 2 * widths[-1], ALL_LEVELS: 2 * sum(widths)}.get(config.pooling, widths[-1])
        self.grouping = Grouping(config.groups, config.neighbours, config.exclude_origin)
        published = config.arithmetic == "published"
        norms: dict[str, Any] = {
            "epsilon": config.batch_norm_epsilon,
            "momentum": config.batch_norm_momentum,
            "published_order": published,
        }
        first = MiniPointNet(3, *config.point_widths, config.joint_width, widths[0], **norms)
        others = [MiniPointNet(c, c, c, out, out, **norms) for c, out in itertools.pairwise(widths)]
        self.embeddings = nn.ModuleList([first, *others])
        self.positions = nn.ModuleList(PositionEmbedding(width) for width in widths)
        rates = drop_path_rates(config.drop_path, config.depths)
        self.stacks = nn.ModuleList(
            BlockStack(
                width,
                config.heads,
                mlp_ratio=config.mlp_ratio,
                rates=rate,
                epsilon=config.norm_epsilon,
                published_order=published,
            )
            for width, rate in zip(widths, rates, strict=True)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, eps=config.norm_epsilon) if config.token_norms else nn.Identity() for width in widths
        )
        self.apply(_initialise)

    # -------------------------------------------------------------------------------------- all tokens

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        return self._run(self.grouping(self.points_of(batch)), None, layers)

    def token_width(self, level: str = LEVELS[0]) -> int:
        """Width of a token level, or of ``embedding``: what :meth:`embed_tokens` gives."""
        widths = {"embedding": self.config.widths[0], **dict(zip(reversed(LEVELS), self.config.widths, strict=True))}
        return widths[level]

    def embed_tokens(self, batch: Batch) -> Tokens:
        """Embeddings of the fine neighbourhoods (B, G, C) with their centres."""
        hierarchy = self.grouping(self.points_of(batch))
        valid = self.reached_tokens(hierarchy)[0]
        return Tokens(self.embed(hierarchy, 0), valid, position=hierarchy.levels[0].centres)

    def encode_tokens(self, tokens: Tokens, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """Features of fine embeddings, some of which may have been replaced."""
        return self._run(self.grouping(self.points_of(batch)), tokens.values, layers)

    def _run(self, hierarchy: Hierarchy, fine: Tensor | None, layers: Sequence[int]) -> Features:
        """All levels; ``fine`` stands for the fine embeddings where it is given."""
        total = sum(self.config.depths)
        wrong = [number for number in layers if not 0 <= number <= total]
        if wrong:
            raise ConfigError(f"{NAME} has no layer {wrong[0]}", expected=f"0 to {total}")
        reached = self.reached_tokens(hierarchy)
        states: dict[int, Tokens] = {}
        outputs: list[Tokens] = []
        grid: Tensor | None = None
        done = 0
        for level, (one, valid) in enumerate(zip(hierarchy.levels, reached, strict=True)):
            grid = fine if level == 0 and fine is not None else self.embed(hierarchy, level, grid)
            if level == 0 and 0 in layers:
                states[0] = Tokens(grid, valid, position=one.centres)
            kept: list[Tensor] = []
            # tokens out of reach get leftovers, which no coarser token reads
            grid = self.run_level(level, grid, one.centres, valid, kept)
            for number, value in enumerate(kept, done + 1):
                if number in layers:
                    states[number] = Tokens(value, valid, position=one.centres)
            done += len(kept)
            outputs.append(Tokens(self.norms[level](grid), valid, position=one.centres))
        tokens = dict(zip(LEVELS, reversed(outputs), strict=True))
        return Features(pooled_as(tokens, self.config.pooling), tokens, states, {"hierarchy": hierarchy})

    def reached_tokens(self, hierarchy: Hierarchy) -> tuple[Tensor | None, ...]:
        """Tokens of each level that some coarse token is made of, bool (B, G); None = all, as on the coarsest."""
        if not self.config.hide_unreached:
            return (None,) * len(hierarchy.levels)
        coarsest = hierarchy.levels[-1].centres
        every = torch.ones(coarsest.shape[:2], dtype=torch.bool, device=coarsest.device)
        return (*spread_to_finer(every, hierarchy)[:-1], None)

    def points_of(self, batch: Batch) -> Tensor:
        """The clouds of a batch, checked."""
        if not isinstance(batch.inputs, Mapping) or "points" not in batch.inputs:
            raise ShapeError(f"{NAME} expects batch.inputs with 'points'", got=type(batch.inputs).__name__)
        points: Tensor = batch.inputs["points"]
        sizes = check_shape(points, "B N 3", name="points", owner=NAME)
        if sizes["N"] < self.config.neighbours[0]:
            raise ShapeError(
                f"clouds of {sizes['N']} points; {NAME} makes tokens of {self.config.neighbours[0]} points each",
                hint="the model's own preprocessing repeats points of small clouds",
            )
        return points

    def embed(self, hierarchy: Hierarchy, level: int, finer: Tensor | None = None) -> Tensor:
        """Token embeddings of a level, (B, G, C), from coordinates (level 0) or from the finer tokens (B, G, C)."""
        if finer is None:
            members = self.grouping.neighbourhoods(hierarchy, 0)
        else:
            members = self.grouping.group_points(finer, hierarchy.levels[level].index)
        out: Tensor = self.embeddings[level](members.flatten(0, 1))
        return out.unflatten(0, members.shape[:2])

    def run_level(
        self, level: int, tokens: Tensor, centres: Tensor, valid: Tensor | None = None, kept: list[Tensor] | None = None
    ) -> Tensor:
        """All blocks of a level over (B, T, C) tokens; not normalised."""
        config = self.config
        allowed = allowed_pairs(centres, valid, config.local_radius[level], legacy=config.legacy_radius_mask)
        out: Tensor = self.stacks[level](tokens, self.positions[level](centres), allowed, kept)
        return out

    def use_for_task(self, neighbours: tuple[int, int, int] | None, local_radius: tuple[float, float, float]) -> None:
        """Other group sizes and distance limits, which no weight depends on, and every token attends: as published for
        fine-tuning. The config then says so.

        Raises:
            ConfigError: group sizes that do not fit.
        """
        self.config = replace(
            self.config,
            neighbours=neighbours or self.config.neighbours,
            local_radius=local_radius,
            hide_unreached=False,
        )
        check_config(self.config)
        self.grouping = Grouping(self.config.groups, self.config.neighbours, self.config.exclude_origin)

    # ------------------------------------------------------------------------------------ visible tokens

    def encode_visible(
        self, hierarchy: Hierarchy, visible: Sequence[Tensor], *, skip_masked: bool = False
    ) -> tuple[VisibleTokens, ...]:
        """A masked pass: blocks run over visible tokens only.

        A visible token's members are all visible, so nothing masked leaks into it, except through the statistics of
        the batch norms, which see masked groups too unless they are skipped.

        Args:
            hierarchy: levels of the batch.
            visible: bool (B, G) of each level, finest first; see :func:`spread_to_finer`.
            skip_masked: embed only visible groups.

        Returns:
            tokens of each level, finest first.
        """
        found = []
        grid: Tensor | None = None
        for level, (one, shown) in enumerate(zip(hierarchy.levels, visible, strict=True)):
            grid = (
                self._embed_shown(hierarchy, level, grid, shown) if skip_masked else self.embed(hierarchy, level, grid)
            )
            slots = visible_slots(shown)
            values = self.run_level(level, slots.take(grid), slots.take(one.centres), slots.valid)
            grid = slots.put(grid, values)
            found.append(VisibleTokens(self.norms[level](values), slots))
        return tuple(found)

    def _embed_shown(self, hierarchy: Hierarchy, level: int, finer: Tensor | None, shown: Tensor) -> Tensor:
        """Embeddings of visible groups, zeros elsewhere: (B, G, C)."""
        index = hierarchy.levels[level].index
        cloud, group = shown.nonzero(as_tuple=True)
        source = hierarchy.points if finer is None else finer
        rows = index[cloud, group] + cloud[:, None] * source.shape[1]  # (R, K)
        members = source.flatten(0, 1)[rows]  # (R, K, C)
        if finer is None:
            members = members - hierarchy.levels[level].centres[cloud, group][:, None]
        embedded: Tensor = self.embeddings[level](members)
        grid = embedded.new_zeros(shown.numel(), embedded.shape[-1])
        return grid.index_copy(0, cloud * shown.shape[1] + group, embedded).unflatten(0, shown.shape)

    # ------------------------------------------------------------------------------------------ pooling

    def pool(self, features: Features, name: str) -> Tensor:
        """One vector a cloud.

        Args:
            features: as ``forward`` returned them.
            name: ``default`` as configured; of the coarse tokens ``max`` (I2P-MAE), ``mean``, ``mean-max`` (both side
                by side, 2C) or ``mean-plus-max`` (Point-M2AE); or ``all-levels``, ``mean-max`` of every level.

        Raises:
            ConfigError: unknown name.
        """
        if name not in POOLINGS:
            raise ConfigError(f"{NAME} has no pooling {name!r}", expected=", ".join(POOLINGS))
        return features.pooled if name == "default" else pooled_as(features.tokens, name)


def pooled_as(tokens: Mapping[str, Tokens], name: str) -> Tensor:
    """(B, D) from the tokens of all levels, coarse first; those out of reach are left out."""
    if name != ALL_LEVELS:
        return pool_tokens(tokens[LEVELS[0]].values, name)
    parts = [pool_level(one, how, len(one.values)) for one in tokens.values() for how in ("mean", "max")]
    return torch.cat(parts, dim=1)


def pool_tokens(tokens: Tensor, name: str) -> Tensor:
    """(B, G, C) to (B, C), or (B, 2C) for ``mean-max``."""
    if name == "max":
        return tokens.amax(1)
    if name == "mean":
        return tokens.mean(1)
    mean, largest = tokens.mean(1), tokens.amax(1)
    return mean + largest if name == "mean-plus-max" else torch.cat([mean, largest], dim=1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=DEFAULT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_config(config: PointEncoderConfig) -> None:
    """Sizes that fit together.

    Raises:
        ConfigError: they do not.
    """
    if list(config.groups) != sorted(config.groups, reverse=True) or min(config.groups) < 1:
        raise ConfigError(
            f"groups={config.groups} do not fall from fine to coarse",
            field="encoder.groups",
            hint="groups: [512, 256, 64]",
        )
    parents = (None, *config.groups)
    for level, (neighbours, parent) in enumerate(zip(config.neighbours, parents, strict=False)):
        if neighbours < 1 or (parent is not None and neighbours > parent):
            raise ConfigError(
                f"neighbours={config.neighbours}: level {level} cannot have {neighbours}",
                field="encoder.neighbours",
                expected=f"1 to {parent}" if parent else "1 or more",
            )
    if min(config.depths) < 0 or min(config.widths) < 1:
        raise ConfigError(f"depths={config.depths}, widths={config.widths} are not sizes", field="encoder.depths")
