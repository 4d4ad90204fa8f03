"""Objective ``medical3d/restore``: hidden cells of a cube restored, and the place of every voxel in its scan.

Both are read off one U-shaped decoder on all stages, so that fine stages learn what voxels look like and coarse ones
where they lie: what labels of voxels ask for. The encoder becomes the model; the decoder on its stages does not.

Source: restoring a changed cube through encoder and decoder as in Models Genesis (Zhou et al. 2021, Medical Image
Analysis 67, arXiv 2004.07882); places without labels after position regression (Lei et al. 2021, arXiv 2012.07043).
Differs: cells are hidden and only they are scored (there: four kinds of distortion, all voxels); places are absolute,
in shares of the scan, of every voxel, by direct regression (there: the offset between two cubes of a scan in mm, a
vector a cube), so scans should show the same part of the body; intensities change at random.

Symbols: B cubes, C channels, S edge, g cells along an axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore_medical3d.configs.restore import RestoreConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder, input_channels
from repcore_medical3d.encoders.decoding import decoded, decoder_for
from repcore_medical3d.encoders.volume_backbone import channels_of
from repcore_medical3d.layers.intensity import Jitter, jittered
from repcore_medical3d.objectives.alice import contrast, standardised
from repcore_medical3d.objectives.alice_parts import hidden_tokens, voxel_mask

CUBE, RESTORE, PLACE = "cube", "restore", "place"
AXES = 3
KNEE = 0.2  # shares of half a scan, beyond which errors of places count linearly


class Restore(nn.Module):
    """Encoder and decoder.

    Args:
        config: masks, weights, width.
        encoder: of volumes, one that :func:`repcore_medical3d.encoders.decoding.decoder_for` knows.

    Call:
        batch: view ``cube`` with ``inputs["volume"]`` (B, C, S, S, S) in 0 to 1 and where it lies, as
            :class:`repcore_medical3d.views.placed.PlacedCube` says it.
        draws: from :meth:`draw`.
    Returns:
        terms ``restore`` and ``place``, those with a weight. Metrics: ``restored``, the share of the squares of hidden
        voxels about their cube's mean that is explained (a guess of that mean has 0); ``place_error_mm``, and beside
        it ``middle_error_mm``, the error of always saying the middle of the scan.

    Raises:
        ConfigError: an encoder of images, or without a decoder; no weight above 0.
    """

    def __init__(self, config: RestoreConfig, encoder: nn.Module) -> None:
        super().__init__()
        if isinstance(encoder, AnatomyEncoder) and encoder.axes != AXES:
            raise ConfigError("places are those of voxels, the encoder is one of images", hint="encoder.spatial_dims=3")
        if not (config.restore_weight or config.place_weight):
            raise ConfigError("restore_weight and place_weight are both 0", field="objective.place_weight")
        self.config, self.encoder = config, encoder
        settings: Any = encoder.config  # of either kind
        self.channels = input_channels(settings) if isinstance(encoder, AnatomyEncoder) else channels_of(settings)
        self.restored = self.channels if config.restore_weight else 0
        self.decoder = decoder_for(encoder, self.restored + (AXES if config.place_weight else 0), config.decoder_width)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``volume``: the cubes with changed intensities; ``hidden``: bool (B, g, g, g)."""
        volume, config = batch.views[CUBE].inputs["volume"], self.config
        change = Jitter(1.0, brightness=config.intensity, contrast=config.intensity, gamma=2 * config.intensity)
        hidden = hidden_tokens(
            len(volume), volume.shape[-1], patch=config.mask_patch, ratio=config.mask_ratio, stride=config.mask_patch,
            shape="cells", generator=generator,
        )  # fmt: skip
        return {"volume": jittered(volume, change, generator), "hidden": hidden}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        volume, hidden = draws["volume"], self._mask(draws)
        outputs = self.outputs(volume, hidden)
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        known = self.counts(batch, draws)
        if self.restored:
            goal, mask = standardised(volume), hidden.expand_as(volume)
            squares = ((outputs[:, : self.restored] - goal) ** 2 * mask).sum()
            terms[RESTORE] = squares / known[RESTORE]
            metrics["restored"] = 1 - (squares / (goal**2 * mask).sum().clamp(min=1e-6)).detach()
        if self.config.place_weight:
            measured = batch.views[CUBE].inputs["measured"]
            wanted = places(measured["start"], measured["scan"], volume.shape[2:])
            said = outputs[:, self.restored :]
            terms[PLACE] = F.smooth_l1_loss(said, wanted.to(said.dtype), beta=KNEE)
            half_mm = (measured["scan"] * measured["spacing_mm"] / 2)[..., None, None, None]
            metrics["place_error_mm"] = ((said.detach() - wanted) * half_mm).norm(dim=1).mean()
            metrics["middle_error_mm"] = (wanted * half_mm).norm(dim=1).mean()
        weights = {RESTORE: self.config.restore_weight, PLACE: self.config.place_weight}
        return LossTerms.of(terms, weights, counts={name: known[name] for name in terms}, metrics=metrics)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor | int]:
        """Hidden voxels, and voxels."""
        volume = draws["volume"]
        return {
            RESTORE: draws["hidden"].sum() * self.config.mask_patch**AXES * volume.shape[1],
            PLACE: volume[:, 0].numel(),
        }

    def outputs(self, volume: Tensor, hidden: Tensor) -> Tensor:
        """What the decoder says of cubes whose hidden voxels have the mean of their cube: (B, restored + places, *S).

        The mean is that of the voxels that are seen, so nothing of the hidden ones is left.

        Args:
            hidden: bool (B, 1, *S).
        """
        seen = ~hidden
        axes = (1, 2, 3, 4)
        mean = (volume * seen).sum(axes, keepdim=True) / (seen.sum(axes, keepdim=True) * volume.shape[1])
        covered = torch.where(hidden, mean, volume)
        return decoded(self.encoder, self.decoder, Batch(inputs={"volume": covered}, size=len(volume)))

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """A cube, what is seen of it, its hidden cells restored, and its places from left to right, said and true."""
        from repcore_medical3d.rendering.volumes import rows_picture

        volume, hidden = draws["volume"], self._mask(draws)
        outputs = self.outputs(volume, hidden)
        shown = [("cube", volume), ("visible", volume.masked_fill(hidden, 0.0))]
        if self.restored:
            mean, deviation = contrast(volume)
            redrawn = outputs[:, : self.restored] * deviation + mean
            shown.append(("hidden cells restored", torch.where(hidden, redrawn, volume)))
        if self.config.place_weight:
            measured = batch.views[CUBE].inputs["measured"]
            wanted = places(measured["start"], measured["scan"], volume.shape[2:])
            shown += [
                (f"place along the first axis, {name}", (one + 1) / 2)
                for name, one in (("said", outputs[:, self.restored :]), ("true", wanted))
            ]
        rows = [(name, one[0, 0].float().cpu().numpy()) for name, one in shown]
        share = float(hidden[0].float().mean())
        return rows_picture(rows, f"A cube of {volume.shape[-1]} voxels of which {share:.0%} are hidden")

    def _mask(self, draws: Draws) -> Tensor:
        """Hidden voxels, bool (B, 1, *S)."""
        return voxel_mask(draws["hidden"], self.config.mask_patch)


def places(start: Tensor, scan: Tensor, edges: torch.Size | tuple[int, ...]) -> Tensor:
    """Centres of the voxels of cubes in their scans, -1 to 1 from end to end along each axis, beyond it outside.

    Args:
        start: first voxel of each cube (B, 3).
        scan: voxels of each scan (B, 3).
        edges: of the cubes.

    Returns:
        float32 (B, 3, *edges).
    """
    found = start.new_empty(len(start), AXES, *edges, dtype=torch.float32)
    for axis, edge in enumerate(edges):
        line = start[:, axis, None] + torch.arange(edge, device=start.device) + 0.5
        shape = [len(start), *(edge if one == axis else 1 for one in range(AXES))]
        found[:, axis] = (2 * line / scan[:, axis, None] - 1).view(shape)
    return found
