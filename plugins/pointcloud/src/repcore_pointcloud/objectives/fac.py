"""Foreground-aware contrast: regions across two views, and matches found by a Siamese correspondence network.

Source: Liu et al. 2023 (arXiv 2303.06388), figure and abstract (the authors' public repository holds no FAC code). Ours
and not the paper's: over-segmentation and foreground rule (in the preprocessor), hidden width of the network, momentum
copies of both encoder and network on the key side, temperature, how many regions and points are drawn, hard top-k,
negatives out of the drawn points, spatial filtering, means of regions as negatives.

Symbols: V_a, V_b voxels of both views, C channels, R regions of the batch, A drawn regions, P positives, Q negatives,
J candidates of view b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, RunError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.nn.ema import make_teacher, update_teacher
from repcore_pointcloud.configs.fac import FacConfig
from repcore_pointcloud.objectives.fac_losses import (
    CorrespondenceNetwork,
    Matches,
    RegionalTerms,
    matched_contrast,
    region_anchors,
    region_classification,
    regional_contrast,
)

GEOMETRIC, FEATURE = "geometric", "feature"


class Fac(nn.Module):
    """Objective ``pointcloud/fac``.

    Args:
        config: weights, temperatures and numbers of draws.
        encoder: with token level ``voxel``; becomes part of this module.

    Call:
        batch: views ``a`` and ``b`` as :class:`repcore_pointcloud.views.scene_pair.ScenePair` makes them.
        draws: as from :meth:`draw`.
    Returns:
        terms ``geometric`` (mean over drawn points) and ``feature`` (mean over querying regions); a term without any is
        0 with a gradient. Metrics: ``regions`` drawn, ``match_purity``, the share of matches in the region that asked.

    Raises:
        ConfigError: settings outside their range.
    """

    def __init__(self, config: FacConfig, encoder: nn.Module) -> None:
        super().__init__()
        _check_config(config)
        self.config, self.encoder = config, encoder
        width = getattr(encoder, "level_widths", {}).get("voxel")
        if width is None:
            raise ConfigError(f"encoder {type(encoder).__name__} has no voxel features")
        self.network = CorrespondenceNetwork(int(width))
        self.teacher = make_teacher(encoder)
        self.teacher_network = make_teacher(self.network)

    # --------------------------------------------------------------------------------------- draws

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``anchor`` int64 (A,): regions; ``positive`` (A, P): voxels of view a; ``negative`` (A, P, Q): places in the
        flattened positives, -1 where a draw fell into the same region; ``candidate`` (J,): voxels of view b."""
        del progress
        a, b = _views(batch)
        count = len(a["region_owner"])
        in_a, in_b = (torch.bincount(one["region"], minlength=count) for one in (a, b))
        anchor = self._draw_regions(a, (in_a > 0) & (in_b > 0), generator)
        order = torch.argsort(a["region"], stable=True)
        start = torch.cumsum(in_a, 0) - in_a
        uniform = torch.rand(len(anchor), self.config.positives, generator=generator, device=order.device)
        place = (uniform * in_a[anchor][:, None]).long().minimum(in_a[anchor][:, None] - 1)
        positive = order[start[anchor][:, None] + place] if len(anchor) else anchor.new_zeros(0, self.config.positives)
        negative = anchor.new_zeros(len(anchor), self.config.positives, 0)
        if self.config.negatives == "points" and len(anchor):
            shape = (len(anchor), self.config.positives, self.config.negatives_per_positive)
            drawn = torch.randint(positive.numel(), shape, generator=generator, device=order.device)
            same = anchor[drawn // self.config.positives] == anchor[:, None, None]
            negative = drawn.masked_fill(same, -1)
        return {
            "anchor": anchor,
            "positive": positive,
            "negative": negative,
            "candidate": self._draw_candidates(b, generator),
        }

    def _draw_regions(self, a: Mapping[str, Tensor], shared: Tensor, generator: torch.Generator) -> Tensor:
        """As many foreground as background regions of every scene, some several times where one kind is rare."""
        flag, chosen = a["foreground"].bool(), []
        for scene in range(int(a["region_owner"].max()) + 1 if len(a["region_owner"]) else 0):
            own = shared & (a["region_owner"] == scene)
            kinds = [one for one in ((own & flag).nonzero()[:, 0], (own & ~flag).nonzero()[:, 0]) if len(one)]
            for rows in kinds:
                wanted = self.config.anchors // len(kinds)
                order = torch.randperm(len(rows), generator=generator, device=rows.device)
                chosen.append(rows[order[torch.arange(min(wanted, 4 * len(rows)), device=rows.device) % len(rows)]])
        return torch.cat(chosen) if chosen else a["region"].new_zeros(0)

    def _draw_candidates(self, b: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Equal numbers of foreground and background voxels of view b, at most ``candidates`` a scene and flag."""
        flag = b["foreground"].bool()[b["region"]]
        owner = b["coordinates"][:, 0]
        key = torch.rand(len(owner), generator=generator, device=owner.device)
        chosen = []
        for scene in range(int(owner.max()) + 1 if len(owner) else 0):
            kinds = [((owner == scene) & one).nonzero()[:, 0] for one in (flag, ~flag)]
            wanted = min(self.config.candidates, *(len(one) for one in kinds))
            chosen += [rows[torch.argsort(key[rows])[:wanted]] for rows in kinds]
        return torch.cat(chosen) if chosen else owner.new_zeros(0)

    # -------------------------------------------------------------------------------------- losses

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        a, b = _views(batch)
        features = self.encoder(batch.views["a"]).tokens["voxel"].values
        with torch.no_grad():
            keys = self.teacher(batch.views["b"]).tokens["voxel"].values
            weighted_keys = self.teacher_network(keys)
        features, keys = features.float(), keys.float()
        geometric = self._geometric(features, keys, a, b, draws)
        matches = self._matches(self.network(features).float(), weighted_keys.float(), a, b, draws)
        weights = {GEOMETRIC: self.config.geometric_weight, FEATURE: self.config.feature_weight}
        return LossTerms.of(
            {GEOMETRIC: geometric.mean + 0.0 * features.sum(), FEATURE: matches.mean + 0.0 * features.sum()},
            weights,
            counts={GEOMETRIC: geometric.counted.sum(), FEATURE: matches.counted.sum()},
            metrics={"regions": float(len(draws["anchor"])), "match_purity": self._purity(matches, b, draws)},
        )

    def _geometric(
        self, features: Tensor, keys: Tensor, a: Mapping[str, Tensor], b: Mapping[str, Tensor], draws: Draws
    ) -> RegionalTerms:
        anchor, positive = draws["anchor"], draws["positive"]
        means = region_anchors(keys, b["region"], len(b["region_owner"]))
        pool = features[positive.flatten()]
        place = torch.arange(positive.numel(), device=positive.device).view_as(positive)
        if self.config.negatives == "points":
            return regional_contrast(pool, means[anchor], place, draws["negative"], self.config.temperature)
        distinct, index = torch.unique(anchor, return_inverse=True)
        owner = a["region_owner"][distinct]
        merged = region_classification_places(place, index, len(distinct))
        return region_classification(pool, means[distinct], merged, owner, self.config.temperature)

    def _matches(
        self, weighted: Tensor, weighted_keys: Tensor, a: Mapping[str, Tensor], b: Mapping[str, Tensor], draws: Draws
    ) -> Matches:
        asking = torch.unique(draws["anchor"])
        candidate = draws["candidate"]
        anchors = region_anchors(weighted, a["region"], len(a["region_owner"]))[asking]
        flag = a["foreground"].bool()
        own_scene = a["region_owner"][asking][:, None] == b["coordinates"][candidate, 0][None, :]
        same = flag[asking][:, None] == flag[b["region"][candidate]][None, :]
        near = own_scene
        if self.config.matching_radius_m is not None:
            near = own_scene & (self._distance(asking, candidate, a, b) <= self.config.matching_radius_m)
        if not len(asking) or not len(candidate):
            empty = weighted.new_zeros(0)
            return Matches(empty[None], empty.long()[None], weighted.sum()[None] * 0.0, empty.bool().new_zeros(1))
        return matched_contrast(
            anchors,
            weighted_keys[candidate],
            queries=flag[asking],
            same_flag=same & near,
            other_flag=~same & own_scene,
            top_k=self.config.top_k,
            temperature=self.config.temperature,
        )

    @staticmethod
    def _distance(asking: Tensor, candidate: Tensor, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
        """Metres between the centres of regions and candidates, before the views moved them, (regions, J)."""
        count = len(a["region_owner"])
        place = a["place"].float()
        number = torch.bincount(a["region"], minlength=count).clamp(min=1)
        centre = place.new_zeros(count, 3).index_add(0, a["region"], place) / number[:, None]
        return torch.cdist(centre[asking], b["place"][candidate].float())

    def _purity(self, matches: Matches, b: Mapping[str, Tensor], draws: Draws) -> Tensor:
        """Share of matches that lie in the region which asked for them."""
        asking, candidate = torch.unique(draws["anchor"]), draws["candidate"]
        if not len(asking) or not len(candidate):
            return torch.zeros(())
        found = matches.top_index >= 0
        region = b["region"][candidate][matches.top_index.clamp(min=0)]
        right = (region == asking[:, None]) & found
        return right.sum() / found.sum().clamp(min=1)

    # ------------------------------------------------------------------------------------- picture

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """Point activation maps (the paper's figure): one point of a drawn foreground region over both views."""
        from repcore_pointcloud.rendering.scenes import activation_of_views

        a, b = _views(batch)
        asking = draws["anchor"][a["foreground"].bool()[draws["anchor"]]]
        inside = torch.isin(a["region"], asking) if len(asking) else torch.ones_like(a["region"], dtype=torch.bool)
        largest = torch.bincount(a["region"][inside]).argmax()
        query = int((a["region"] == largest).nonzero()[0, 0])
        shown = [
            (view["place"].cpu().numpy(), encoder(batch.views[name]).tokens["voxel"].values.float().cpu().numpy())
            for name, view, encoder in (("a", a, self.encoder), ("b", b, self.teacher))
        ]
        return activation_of_views(shown[0], shown[1], query)

    # ------------------------------------------------------------------------------------- teacher

    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """Key encoder and key network follow."""
        del progress, carried
        update_teacher(self.teacher, self.encoder, self.config.momentum)
        update_teacher(self.teacher_network, self.network, self.config.momentum)

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        """The student, or the momentum copy for ``branch="teacher"``."""
        return self.teacher if branch == "teacher" else self.encoder


def region_classification_places(place: Tensor, index: Tensor, count: int) -> Tensor:
    """Positives (A, P) of regions that may be drawn several times, joined to (count, most P), -1 behind the last."""
    order = torch.argsort(index, stable=True)
    times = torch.bincount(index, minlength=count)
    rank = torch.arange(len(index), device=index.device) - (torch.cumsum(times, 0) - times)[index[order]]
    most = int(times.max()) if len(times) else 0
    joined = place.new_full((count, max(1, most), place.shape[1]), -1)
    joined[index[order], rank] = place[order]
    return joined.flatten(1)


def _views(batch: Batch) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Inputs of both views.

    Raises:
        RunError: the batch has no views.
    """
    if "a" not in batch.views or "b" not in batch.views:
        raise RunError("FAC needs views a and b", hint="views: {name: pointcloud/scene-pair}")
    return batch.views["a"].inputs, batch.views["b"].inputs


def _check_config(config: FacConfig) -> None:
    if config.temperature <= 0:
        raise ConfigError(f"temperature={config.temperature} is not positive", field="objective.temperature")
    if not 0.0 <= config.momentum <= 1.0:
        raise ConfigError(f"momentum={config.momentum} is outside 0 <= momentum <= 1", field="objective.momentum")
    numbers = ("anchors", "positives", "negatives_per_positive", "top_k", "candidates")
    for name in numbers:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}={getattr(config, name)} is below 1", field=f"objective.{name}")
