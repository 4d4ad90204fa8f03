"""Masked point modelling guided by a 2D model: redraw hidden neighbourhoods, and what the guide sees in visible ones.

Source: Zhang et al. 2023 (I2P-MAE, arXiv 2212.06785) and Zhang et al. 2022 (Point-M2AE, arXiv 2205.14401); public
repositories `ZrrSkywalker/I2P-MAE` and `ZrrSkywalker/Point-M2AE`.

Differs by default: saliency is standardised before it decides about visibility (as published it is nearly uniform:
``saliency="raw"``), no token is visible by accident (``legacy_first_token``), teacher features are read at the 512 fine
centres instead of from upsampled maps, the teacher is outside the module tree.

Symbols: B clouds, G tokens of a level, V views, C teacher features, K members of a middle token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.ops import Op
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig
from repcore_pointcloud.encoders.hierarchy import Hierarchy, spread_to_finer
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder, VisibleTokens
from repcore_pointcloud.objectives.point_augmentation import augmented, check_augmentation, draw_augmentation
from repcore_pointcloud.objectives.point_decoder import PointDecoder
from repcore_pointcloud.ops.depth_views.torch import VIEW_AXES
from repcore_pointcloud.rendering.masked_points import Redrawn
from repcore_pointcloud.teachers.build import build_teacher
from repcore_pointcloud.teachers.maps import TeacherMaps

RECONSTRUCTION, SEMANTIC = "points_3d", "features_2d"
MIDDLE = 1  # level whose members are redrawn
VIEWS = len(VIEW_AXES)


def has_weight_decay(name: str, parameter: nn.Parameter) -> bool:
    """Matrices decay; biases, norms and the mask token do not.

    Differs: the reference spares every parameter whose name contains "token", which takes in both embedding networks.
    """
    return parameter.ndim >= 2 and not name.endswith("mask_token")


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the teacher says about a batch of clouds.

    Args:
        features: (B V, C, h, w). saliency: (B V, h, w), images of a cloud side by side.
        pixels: int64 (B V, G), pixel of each fine centre in each view.
    """

    features: Tensor
    saliency: Tensor
    pixels: Tensor


@dataclass(frozen=True, slots=True)
class MaskedPass:
    """Everything between points and losses.

    Args:
        visible: bool (B, G) of each level, finest first.
        found: encoded visible tokens. propagated, decoded: (B, G, C) of the middle level.
    """

    visible: tuple[Tensor, ...]
    found: tuple[VisibleTokens, ...]
    propagated: Tensor
    decoded: Tensor


class MaskedPoints(nn.Module):
    """Objective ``pointcloud/masked-points``.

    Args:
        config: teacher, masks, losses, decoder and augmentation.
        encoder: becomes part of this module.

    Call:
        batch: inputs of :class:`HierarchicalPointEncoder`.
        draws: ``gumbel`` float (B, G) for the choice of visible coarse tokens, or ``visible`` bool (B, G) that names
            them; augmentation as from :func:`draw_augmentation`, none where absent.
    Returns:
        terms ``points_3d`` (chamfer, mean over hidden middle tokens) and, with a teacher, ``features_2d`` (squared
        error, mean over visible middle tokens).

    Raises:
        ConfigError: settings outside their range.
    """

    def __init__(self, config: MaskedPointsConfig, encoder: HierarchicalPointEncoder) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.visible_tokens = _visible_count(config, encoder.config.groups[-1])
        check_augmentation(config, "objective")
        self.decoder = PointDecoder(encoder.config, config)
        width, members = encoder.config.widths[MIDDLE], encoder.config.neighbours[MIDDLE]
        self.head_3d = nn.Linear(width, 3 * (config.predicted_points or members))
        self.teacher = build_teacher(config)
        self.head_2d: nn.Linear | None = None
        self.target_norm: nn.Module = nn.Identity()
        if self.teacher is not None:
            channels = int(self.teacher.module.channels)  # type: ignore[arg-type]  # see teachers.maps.Teacher
            self.head_2d = nn.Linear(width, members * VIEWS * channels)
            if self.teacher.module.standardised_targets:
                self.target_norm = nn.BatchNorm2d(channels, affine=False)
        self._depth_views = Op("pointcloud/depth-views")
        self._map_lookup = Op("pointcloud/map-lookup")
        self._chamfer = Op("pointcloud/chamfer")

    # --------------------------------------------------------------------------------------- draws

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Augmentation, and Gumbel noise that turns probabilities into a choice without replacement."""
        del progress  # neither masks nor augmentation change over a run
        points = self.encoder.points_of(batch)
        draws = draw_augmentation(self.config, points, generator)
        uniform = torch.rand(len(points), self.encoder.config.groups[-1], generator=generator, device=points.device)
        draws["gumbel"] = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return draws

    # ---------------------------------------------------------------------------------------- loss

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        points = augmented(self.encoder.points_of(batch), draws)
        hierarchy = self.encoder.grouping(points)
        guidance = self.guide(hierarchy)
        visible = self.visible_coarse(hierarchy, guidance, draws)
        done = self.run_masked(hierarchy, visible)
        hidden = ~done.visible[MIDDLE]
        terms = {RECONSTRUCTION: self.reconstruction_loss(hierarchy, done)}
        weights = {RECONSTRUCTION: self.config.weight_3d}
        counts = {RECONSTRUCTION: hidden.sum()}
        if guidance is not None:
            terms[SEMANTIC] = self.semantic_loss(hierarchy, guidance, done)
            weights[SEMANTIC], counts[SEMANTIC] = self.config.weight_2d, done.visible[MIDDLE].sum()
        metrics = {"visible_fine_share": done.visible[0].float().mean()}
        return LossTerms.of(terms, weights, counts=counts, metrics=metrics)

    # ------------------------------------------------------------------------------------- pictures

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """A cloud, its visible and its hidden neighbourhoods, and the visible ones with the hidden ones redrawn."""
        from repcore_pointcloud.rendering.masked_points import masked_picture

        return masked_picture(self.redrawn(self.encoder.points_of(batch), draws), next(iter(batch.sample_id), "cloud"))

    @torch.no_grad()
    def redrawn(self, points: Tensor, draws: Draws) -> Redrawn:
        """What was hidden of one cloud (1, N, 3), and what was drawn in its place; augmentation is left out."""
        hierarchy = self.encoder.grouping(points)
        done = self.run_masked(hierarchy, self.visible_coarse(hierarchy, self.guide(hierarchy), draws))
        centres, shown = hierarchy.levels[MIDDLE].centres[0], done.visible[MIDDLE][0]
        members = self.encoder.grouping.neighbourhoods(hierarchy, MIDDLE)[0] + centres[:, None]
        drawn = self.drawn_points(done) + centres[~shown][:, None]
        cloud, visible, hidden, new = (
            one.reshape(-1, 3).cpu().numpy() for one in (points[0], members[shown], members[~shown], drawn)
        )
        return Redrawn(cloud, visible, hidden, new, visible_tokens=int(shown.sum()), tokens=len(shown))

    # ------------------------------------------------------------------------------------- guidance

    @torch.no_grad()
    def guide(self, hierarchy: Hierarchy) -> Guidance | None:
        """The teacher's maps of three views of every cloud; None without a teacher."""
        if self.teacher is None:
            return None
        images, pixels = self._depth_views(hierarchy.points, self.config.image_size, self.config.splat)
        maps: TeacherMaps = self.teacher(images.flatten(0, 1))
        chosen = hierarchy.chosen[:, None].expand(-1, VIEWS, -1)
        at_centres = pixels.gather(2, chosen).flatten(0, 1)  # (B V, G)
        return Guidance(self.target_norm(maps.features.float()), maps.saliency.float(), at_centres)

    def token_scores(self, guidance: Guidance, tokens: int) -> Tensor:
        """Saliency at the first ``tokens`` centres, mean over views: (B, tokens)."""
        found = self._map_lookup(guidance.saliency[:, None], guidance.pixels[:, :tokens], self.config.image_size)
        scores: Tensor = found.squeeze(-1).unflatten(0, (-1, VIEWS)).mean(1)
        return scores

    def visible_log_probabilities(self, scores: Tensor) -> Tensor:
        """Log probability of being drawn next, (B, G), up to a constant a row."""
        kind = self.config.saliency
        if kind == "raw":
            return scores.log_softmax(1)
        if kind == "zscore":
            centred = scores - scores.mean(1, keepdim=True)
            spread = centred.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)
            return (centred / spread / self.config.saliency_temperature).log_softmax(1)
        if kind == "proportional":
            return scores.clamp(min=1e-12).log()
        return torch.zeros_like(scores)

    def visible_coarse(self, hierarchy: Hierarchy, guidance: Guidance | None, draws: Draws) -> Tensor:
        """Visible coarse tokens, bool (B, G): as ``draws`` say, or drawn by saliency without replacement."""
        if "visible" in draws:
            named: Tensor = draws["visible"]
            return named.bool()
        noise: Tensor = draws["gumbel"]
        if guidance is not None and self.config.saliency != "uniform":
            noise = noise + self.visible_log_probabilities(self.token_scores(guidance, noise.shape[1]))
        best = noise.topk(self.visible_tokens, dim=1).indices
        return torch.zeros_like(noise, dtype=torch.bool).scatter_(1, best, True)

    # ----------------------------------------------------------------------------------------- pass

    def run_masked(self, hierarchy: Hierarchy, visible: Tensor) -> MaskedPass:
        """Encode the visible tokens and decode the middle level; ``visible`` is bool (B, G) of the coarse level."""
        levels = spread_to_finer(visible, hierarchy, legacy_first_token=self.config.legacy_first_token)
        found = self.encoder.encode_visible(hierarchy, levels, skip_masked=self.config.skip_masked_groups)
        decoded, propagated = self.decoder(hierarchy, found)
        return MaskedPass(levels, found, propagated, decoded)

    def drawn_points(self, done: MaskedPass) -> Tensor:
        """Members of hidden middle tokens relative to their centre, as the model draws them: (M, P, 3)."""
        out: Tensor = self.head_3d(done.decoded[~done.visible[MIDDLE]])
        return out.unflatten(1, (-1, 3))

    def reconstruction_loss(self, hierarchy: Hierarchy, done: MaskedPass) -> Tensor:
        """Chamfer distance of drawn and true members; 0 where nothing is hidden."""
        drawn = self.drawn_points(done)
        if not len(drawn):
            return drawn.sum()
        truth = self.encoder.grouping.neighbourhoods(hierarchy, MIDDLE)[~done.visible[MIDDLE]]
        distances: Tensor = self._chamfer(drawn.float(), truth)
        return distances.mean()

    def told_features(self, done: MaskedPass) -> Tensor:
        """What the model says the teacher sees at the members of visible middle tokens, (M, K, V C)."""
        assert self.head_2d is not None
        out: Tensor = self.head_2d(done.decoded[done.visible[MIDDLE]])
        return out.unflatten(1, (self.encoder.config.neighbours[MIDDLE], -1))

    @torch.no_grad()
    def seen_features(self, hierarchy: Hierarchy, guidance: Guidance, done: MaskedPass) -> Tensor:
        """What it does see there, (M, K, V C), views one after the other."""
        at_centres = self._map_lookup(guidance.features, guidance.pixels, self.config.image_size)  # (B V, G, C)
        per_cloud = at_centres.unflatten(0, (-1, VIEWS)).transpose(1, 2).flatten(2)  # (B, G, V C)
        cloud, token = done.visible[MIDDLE].nonzero(as_tuple=True)
        members = hierarchy.levels[MIDDLE].index[cloud, token]  # (M, K)
        return per_cloud[cloud[:, None], members]

    def semantic_loss(self, hierarchy: Hierarchy, guidance: Guidance, done: MaskedPass) -> Tensor:
        """Mean squared error of told and seen features."""
        told = self.told_features(done)
        return nn.functional.mse_loss(told.float(), self.seen_features(hierarchy, guidance, done))

    def extra_repr(self) -> str:
        return f"teacher={self.config.teacher!r}, visible_tokens={self.visible_tokens}"


def _visible_count(config: MaskedPointsConfig, tokens: int) -> int:
    """Coarse tokens that stay visible: all but int(ratio * tokens)."""
    if not 0.0 < config.mask_ratio < 1.0:
        raise ConfigError(f"mask_ratio={config.mask_ratio} is outside 0 < mask_ratio < 1", field="objective.mask_ratio")
    if config.saliency_temperature <= 0:
        raise ConfigError(
            f"saliency_temperature={config.saliency_temperature} is not positive",
            field="objective.saliency_temperature",
        )
    hidden = int(config.mask_ratio * tokens)
    if hidden < 1:
        raise ConfigError(
            f"mask_ratio={config.mask_ratio} hides none of {tokens} coarse tokens", field="objective.mask_ratio"
        )
    return tokens - hidden
