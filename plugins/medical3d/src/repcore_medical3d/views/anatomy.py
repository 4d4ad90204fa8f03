"""The views of Adam-v2: a whole, its parts, concentric crops (joint stage), or ordinary crops (localizability stage).

Source: arXiv 2404.15672 and its public code. No flips anywhere: left and right are anatomy.

Symbols: B images, N parts, L local views, C channels, s axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repcore.errors import ConfigError
from repcore.interfaces import Progress
from repcore_medical3d.configs.adam_v2 import ViewsConfig
from repcore_medical3d.layers.boxes import (
    Boxes,
    CropRange,
    anchor_boxes,
    check_branching,
    joined,
    part_boxes,
    random_crops,
    usable_granularity,
)
from repcore_medical3d.layers.intensity import Jitter, blurred, jittered
from repcore_medical3d.layers.sampling import rotations, sample_views

CONCENTRIC_AREAS = ((0.05, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8))
TALL, WIDE = (2 / 3, 1.0), (1.0, 1.5)  # width / height, in turn from view to view
GLOBAL_AREA, WARMUP_GLOBAL_AREA, WARMUP_LOCAL_AREA = (0.8, 1.0), (0.8, 1.0), (0.05, 0.4)
BLUR_WHOLE, BLUR_GLOBAL, BLUR_LOCAL = 0.1, 1.0, 0.5


@dataclass(frozen=True, slots=True)
class Cut:
    """How a set of boxes becomes views.

    Args:
        size: edge of a view.
        blur: chance of smoothing, one a box of an image.
        degrees: largest turn.
    """

    size: int
    blur: Sequence[float]
    degrees: float


class AnatomyViews:
    """Cuts, turns and changes views on the device of the images.

    Args:
        config: sizes, granularity, augmentation.
        axes: 2 or 3.

    Raises:
        ConfigError: settings outside their range or for another number of axes.
    """

    def __init__(self, config: ViewsConfig, axes: int) -> None:
        _check(config, axes)
        self.config, self.axes = config, axes
        self.parts = check_branching(config.branching, axes)

    @property
    def part_size(self) -> int:
        """Edge of a part view."""
        return self.config.part_size or self.config.global_size

    def exponent(self, fraction: float, edges: Sequence[int], *, is_warmup: bool) -> int:
        """Granularity at a share of a stage that is done; never finer than the images allow."""
        config = self.config
        shares = config.warmup_granularity_shares if is_warmup else config.granularity_shares
        wanted = at_share(config.granularity, shares, fraction)
        return min(wanted, usable_granularity(edges, config.branching, config.smallest_part))

    def joint(self, images: Tensor, exponent: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Views of the joint stage.

        Args:
            images: float (B, C, *E) in 0 to 1.
            exponent: granularity n.

        Returns:
            ``whole`` (B, 1, C, *S), ``global`` (B, 1, C, *S), ``local`` (B, L, C, *s) around the same centre, ``parts``
            (B, N, C, *p), last axis fastest; and as ``whole_boxes`` and so on where they lie, see :func:`places`.
        """
        config = self.config
        whole = anchor_boxes(images.shape[2:], exponent, len(images), margin=config.anchor_margin, generator=generator)
        around = random_crops(whole, [CropRange(GLOBAL_AREA)], is_centred=True, generator=generator)
        local = random_crops(whole, concentric_ranges(config.local_views), is_centred=True, generator=generator)
        parts = part_boxes(Boxes(whole.origin[:, 0], whole.extent[:, 0]), config.branching)
        turn = config.rotation_degrees
        large = [BLUR_WHOLE, BLUR_GLOBAL]
        if self.part_size == config.global_size:  # one call for all views of a size
            cut = Cut(config.global_size, [*large, *[BLUR_WHOLE] * self.parts], turn)
            views = self._cut(images, joined([whole, around, parts]), cut, generator)
            first, pieces = views[:, :2], views[:, 2:]
        else:
            first = self._cut(images, joined([whole, around]), Cut(config.global_size, large, turn), generator)
            pieces = self._cut(images, parts, Cut(self.part_size, [BLUR_WHOLE] * self.parts, turn), generator)
        small = Cut(config.local_size, [BLUR_LOCAL] * config.local_views, turn)
        found = {
            "whole": first[:, :1], "global": first[:, 1:], "local": self._cut(images, local, small, generator),
            "parts": pieces,
        }  # fmt: skip
        return {**found, **places({"whole": whole, "global": around, "local": local, "parts": parts})}

    def warmup(self, images: Tensor, exponent: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Views of the localizability stage: ``global`` (B, 2, C, *S), seen by both networks, ``local``, and boxes."""
        config = self.config
        anchor = anchor_boxes(
            images.shape[2:], exponent, len(images), margin=0.0, generator=generator, square=self.axes == 2
        )
        large = random_crops(anchor, [CropRange(WARMUP_GLOBAL_AREA)] * 2, is_centred=False, generator=generator)
        count = config.local_views
        small = random_crops(anchor, [CropRange(WARMUP_LOCAL_AREA)] * count, is_centred=False, generator=generator)
        turn = config.warmup_rotation_degrees
        cut_large = Cut(config.global_size, [BLUR_GLOBAL, BLUR_WHOLE], turn)
        cut_small = Cut(config.local_size, [BLUR_LOCAL] * count, turn)
        views = {
            "global": self._cut(images, large, cut_large, generator),
            "local": self._cut(images, small, cut_small, generator),
        }
        return {**views, **places({"global": large, "local": small})}

    def _cut(self, images: Tensor, boxes: Boxes, cut: Cut, generator: torch.Generator) -> Tensor:
        """Boxes (B, V, s) as augmented views (B, V, C, *size)."""
        config = self.config
        count, number = boxes.origin.shape[:2]
        turn = rotations((count, number), cut.degrees, self.axes, generator) if cut.degrees > 0 else None
        views = sample_views(images, boxes, [cut.size] * self.axes, turn, fill=config.rotation_fill)
        jitter = Jitter(
            config.jitter_chance, config.brightness, config.contrast, config.gamma, config.saturation, config.hue
        )
        flat = jittered(views.flatten(0, 1), jitter, generator)
        flat = blurred(flat, list(cut.blur) * count, config.blur, generator)
        return flat.unflatten(0, (count, number))


def places(boxes: Mapping[str, Boxes]) -> dict[str, Tensor]:
    """Boxes of each set of views as ``NAME_boxes`` (B, V, 2s): origin and extent in voxels of the image, not turned."""
    return {f"{name}_boxes": one.stacked() for name, one in boxes.items()}


def concentric_ranges(count: int) -> list[CropRange]:
    """Areas and shapes of the local views; fewer than eight are spread over the published list."""
    places = torch.linspace(0, len(CONCENTRIC_AREAS) - 1, count).round().int().tolist()
    return [CropRange(CONCENTRIC_AREAS[place], TALL if view % 2 == 0 else WIDE) for view, place in enumerate(places)]


def at_share(values: Sequence[int], shares: Sequence[float], fraction: float) -> int:
    """The value whose stretch of the run a fraction (0 to 1) lies in."""
    total, reached = sum(shares), 0.0
    for value, share in zip(values, shares, strict=True):
        reached += share / total
        if fraction < reached:
            return value
    return values[-1]


def stage_fraction(progress: Progress, warmup_share: float) -> tuple[bool, float]:
    """Whether a run is in its localizability stage, and the share of the current stage that is done."""
    done = progress.fraction
    if done < warmup_share:
        return True, done / warmup_share
    return False, (done - warmup_share) / (1.0 - warmup_share) if warmup_share < 1.0 else 1.0


def _check(config: ViewsConfig, axes: int) -> None:
    for name in ("granularity_shares", "warmup_granularity_shares"):
        shares = getattr(config, name)
        if len(shares) != len(config.granularity) or min(shares, default=-1) < 0 or sum(shares) <= 0:
            raise ConfigError(
                f"{name}={shares} does not give a share to each of granularity={config.granularity}",
                field=f"objective.views.{name}",
            )
    if min(config.granularity) < 0:
        raise ConfigError(f"granularity={config.granularity} has a negative exponent")
    if config.local_views < 1:
        raise ConfigError(f"local_views={config.local_views}: at least one is needed")
    if not 0 < config.blur[0] <= config.blur[1]:
        raise ConfigError(
            f"blur={config.blur} is not a range of positive standard deviations", field="objective.views.blur"
        )
    if axes == 3 and (config.saturation or config.hue):
        raise ConfigError(
            "saturation and hue are for colour images", hint="objective.views.saturation=0 objective.views.hue=0"
        )
