"""Masked spectrogram patch modelling: find the hidden patches among each other (InfoNCE) and redraw them (MSE).

Source: Gong et al. 2022 (SSAST, arXiv 2110.09784), section 2.3; Shams et al. 2024 (arXiv 2405.11831); public
repository `SiavashShams/ssamba`, `amba_models.py` (mpc, mpg).

Differs by default: one mask and one encoder pass serve both losses (half the work; ``passes="separate"`` is the
published way), unbiased block masks, a share of patches instead of a fixed number so that clips of any length can be
used. The loops over the clips of a batch are one gather here. ``negatives="batch"`` adds the hidden patches of all
other clips.

Symbols: B clips, P patches, M hidden patches a clip, E width, X numbers in a patch.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Picture, Progress
from repcore_audio.configs.ssamba import MaskedPatchesConfig
from repcore_audio.encoders.patches import PatchLayout
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.objectives.patch_masks import (
    HiddenPatches,
    cluster_order,
    hidden_patches,
    legacy_cluster,
    random_order,
)

CONTRASTIVE, RECONSTRUCTION = "contrastive", "reconstruction"
UNDECAYED = ("A_log", ".D", "cls_token", "positions", "mask_token", "bias")


def has_weight_decay(name: str, parameter: nn.Parameter) -> bool:
    """Matrices and kernels decay; decay rates of the scan, tokens, positions, norms and biases do not."""
    return parameter.ndim >= 2 and not name.endswith(UNDECAYED)


def prediction_head(width: int, outputs: int) -> nn.Sequential:
    """Linear, ReLU, linear to one patch."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


class MaskedPatches(nn.Module):
    """Objective ``audio/masked-patches``.

    Args:
        config: masks and losses.
        encoder: becomes part of this module.

    Call:
        batch: inputs of :class:`repcore_audio.encoders.ssamba.Ssamba`.
        draws: ``<term>_index`` int64 (B, M) and ``<term>_counted`` bool (B, M) for each pass, as from :meth:`draw`.
    Returns:
        terms ``contrastive`` and ``reconstruction``, each the mean over hidden patches; metrics
        ``matching_accuracy``, and ``explained``, the share of the hidden patches' variance that is redrawn.

    Raises:
        ConfigError: settings outside their range.
    """

    def __init__(self, config: MaskedPatchesConfig, encoder: Ssamba) -> None:
        super().__init__()
        _check_config(config)
        self.config = config
        self.encoder = encoder
        pixels = encoder.patch[0] * encoder.patch[1]
        self.mask_token = nn.Parameter(torch.randn(1, 1, encoder.width) * encoder.width**-0.5)
        self.contrastive_head = prediction_head(encoder.width, pixels)
        self.reconstruction_head = prediction_head(encoder.width, pixels)

    # --------------------------------------------------------------------------------------- draws

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Hidden patches of each pass."""
        del progress  # masking does not change over a run
        layout = self.encoder.layout(batch)
        counts = self._hidden_counts(layout)
        draws: dict[str, Any] = {}
        for term in self._pass_names():
            hidden = self._sample(layout, counts, generator)
            draws[f"{term}_index"], draws[f"{term}_counted"] = hidden.index, hidden.counted
        return draws

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        """Hidden patches of the batch, by term."""
        return {term: self._hidden(draws, term).counted.sum() for term in (CONTRASTIVE, RECONSTRUCTION)}

    def _pass_names(self) -> tuple[str, ...]:
        return (CONTRASTIVE,) if self.config.passes == "shared" else (CONTRASTIVE, RECONSTRUCTION)

    def _hidden(self, draws: Draws, term: str) -> HiddenPatches:
        name = term if f"{term}_index" in draws else CONTRASTIVE
        return HiddenPatches(draws[f"{name}_index"], draws[f"{name}_counted"])

    def _hidden_counts(self, layout: PatchLayout) -> Tensor:
        """M of each clip: at least one hidden, and one visible where there are two."""
        patches = torch.tensor([layout.rows * columns for columns in layout.columns], device=layout.position.device)
        wanted = self.config.masked_patches
        chosen = (
            (patches * self.config.mask_ratio).round().long() if wanted is None else torch.full_like(patches, wanted)
        )
        return chosen.clamp(min=1).minimum((patches - 1).clamp(min=1))

    def _sample(self, layout: PatchLayout, counts: Tensor, generator: torch.Generator) -> HiddenPatches:
        if self.config.mask_sampler == "cluster":
            return hidden_patches(cluster_order(layout, self.config.cluster_sizes, generator), counts)
        if self.config.mask_sampler == "random":
            return hidden_patches(random_order(layout, generator), counts)
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        source = random.Random(seed)
        order = torch.zeros(len(counts), int(counts.max()), dtype=torch.long)
        for clip, (columns, masked) in enumerate(zip(layout.columns, counts.tolist(), strict=True)):
            order[clip, :masked] = torch.tensor(legacy_cluster(layout.rows * columns, columns, masked, source))
        return hidden_patches(order.to(counts.device), counts)

    # -------------------------------------------------------------------------------------- losses

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        layout = self.encoder.layout(batch)
        embedded = self.encoder.embed_patches(batch, layout)
        pixels = self.encoder.pixels(batch, layout)
        features: dict[str, Features] = {}
        for term in self._pass_names():
            features[term] = self.encode_masked(embedded, layout, self._hidden(draws, term))
        contrast = self._hidden(draws, CONTRASTIVE)
        predicted = self.predict(features[CONTRASTIVE], contrast, CONTRASTIVE)
        contrastive, accuracy = self.contrast(predicted, take(pixels, contrast.index), contrast.counted)
        redrawn = self._hidden(draws, RECONSTRUCTION)
        reconstruction = self.predict(features.get(RECONSTRUCTION, features[CONTRASTIVE]), redrawn, RECONSTRUCTION)
        squared, explained = self.reconstruct(reconstruction, take(pixels, redrawn.index), redrawn.counted)
        return LossTerms.of(
            {CONTRASTIVE: contrastive, RECONSTRUCTION: squared},
            {CONTRASTIVE: self.config.contrastive_weight, RECONSTRUCTION: self.config.reconstruction_weight},
            counts={CONTRASTIVE: contrast.counted.sum(), RECONSTRUCTION: redrawn.counted.sum()},
            metrics={"matching_accuracy": accuracy, "explained": explained},
        )

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The clip, what of it is visible, and the visible part with the hidden patches redrawn."""
        from repcore_audio.rendering.masked_patches import masked_picture

        layout = self.encoder.layout(batch)
        hidden = HiddenPatches(*(draws[f"{self._pass_names()[-1]}_{part}"] for part in ("index", "counted")))
        features = self.encode_masked(self.encoder.embed_patches(batch, layout), layout, hidden)
        return masked_picture(
            self.encoder.pixels(batch, layout),
            self.predict(features, hidden, RECONSTRUCTION),
            hidden.index,
            grid=(layout.rows, layout.columns[0]),
            patch=self.encoder.patch,
            stride=self.encoder.stride,
        )

    def encode_masked(self, embedded: Tensor, layout: PatchLayout, hidden: HiddenPatches) -> Features:
        """Features of the clip with hidden patches replaced by the mask token."""
        return self.encoder.encode(self.cover(embedded, hidden), layout)

    def cover(self, embedded: Tensor, hidden: HiddenPatches) -> Tensor:
        """Patch vectors (B, P, E) with hidden ones replaced by the mask token."""
        mask = hidden.mask(embedded.shape[1])
        return torch.where(mask[..., None], self.mask_token.to(embedded.dtype), embedded)

    def predict(self, features: Features, hidden: HiddenPatches, term: str) -> Tensor:
        """What a head says about the hidden patches: (B, M, X)."""
        head = self.contrastive_head if term == CONTRASTIVE else self.reconstruction_head
        out: Tensor = head(take(features.tokens["patches"].values, hidden.index))
        return out

    def contrast(self, predicted: Tensor, target: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """InfoNCE and matching accuracy.

        Args:
            predicted / target: (B, M, X); targets get no gradient.
            counted: bool (B, M).
        """
        predicted, target = predicted.float() if predicted.dtype != torch.float64 else predicted, target.detach()
        if self.config.similarity == "cosine":
            predicted, target = F.normalize(predicted, dim=-1), F.normalize(target, dim=-1)
        if self.config.negatives == "batch":
            predicted, target = predicted[counted][None], target[counted][None]
            counted = torch.ones(predicted.shape[:2], dtype=torch.bool, device=counted.device)
        logits = matching_logits(predicted, target, self.config.temperature)
        return info_nce(logits, counted, over=self.config.softmax_over)

    def reconstruct(self, predicted: Tensor, target: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error over hidden patches, and the share of their variance that it leaves explained."""
        weight = counted[..., None].to(predicted.dtype)
        number = weight.sum().clamp(min=1) * target.shape[-1]
        error = ((predicted - target).square() * weight).sum() / number
        with torch.no_grad():
            centre = (target * weight).sum((0, 1)) / weight.sum().clamp(min=1)
            spread = ((target - centre).square() * weight).sum() / number
            explained = 1.0 - error / spread.clamp(min=1e-12)
        return error, explained


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows (B, M, X) of (B, P, X) by token number (B, M)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def matching_logits(predicted: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Products of every target with every prediction, (B, target, prediction)."""
    return target.to(predicted.dtype) @ predicted.transpose(1, 2) / temperature


def info_nce(logits: Tensor, counted: Tensor, *, over: str) -> tuple[Tensor, Tensor]:
    """Mean over hidden patches of -log softmax at the matching pair, and the accuracy that goes with it.

    Args:
        logits: (B, M targets, M predictions).
        counted: bool (B, M): which patches are real.
        over: axis of the softmax: ``predictions`` for a fixed target (the published code) or ``targets`` for a fixed
            prediction (the paper's equation).

    Returns:
        two scalars. A prediction counts as right if its own target has the largest of the probabilities that compete
        for it; with ``predictions`` this mixes both axes, as published, and is a monitor only.
    """
    axis = -1 if over == "predictions" else -2
    pairs = counted[:, :, None] & counted[:, None, :]
    logs = logits.masked_fill(~pairs, torch.finfo(logits.dtype).min).log_softmax(axis)
    own = logs.diagonal(dim1=1, dim2=2)  # (B, M)
    number = counted.sum().clamp(min=1)
    loss = -own.masked_fill(~counted, 0.0).sum() / number
    with torch.no_grad():
        best = logs.masked_fill(~pairs, -torch.inf).argmax(dim=1)  # (B, M): best target of each prediction
        right = (best == torch.arange(best.shape[1], device=best.device)) & counted
    return loss, right.sum() / number


def _check_config(config: MaskedPatchesConfig) -> None:
    if not 0.0 < config.mask_ratio < 1.0:
        raise ConfigError(f"mask_ratio={config.mask_ratio} is outside 0 < mask_ratio < 1", field="objective.mask_ratio")
    if config.masked_patches is not None and config.masked_patches < 1:
        raise ConfigError(f"masked_patches={config.masked_patches} is not positive", field="objective.masked_patches")
    if not config.cluster_sizes or min(config.cluster_sizes) < 1:
        raise ConfigError(f"cluster_sizes={config.cluster_sizes} has no usable side", field="objective.cluster_sizes")
    if config.temperature <= 0:
        raise ConfigError(f"temperature={config.temperature} is not positive", field="objective.temperature")
    if config.mask_sampler == "legacy-cluster" and config.cluster_sizes != (3, 4, 5):
        raise ConfigError("the published sampler always draws blocks of 3, 4 or 5", field="objective.cluster_sizes")
