"""Alice: anatomical invariance across scans, semantic alignment within a scan, masked reconstruction.

Source: arXiv 2302.05615 (figures and abstract); `alibaba-damo-academy/alice` (commit d45cfcd), model, loss and loop.
Differs by default from that code (``PUBLISHED_ALICE`` is the published way): a mask for every sample; cells instead of
columns; only hidden voxels are scored, against crops of mean 0 and standard deviation 1; heads get standardised
features; the alignment gives what it reads, not its queries, as vectors of unit length, its target is a moving average
without dropout; the teacher's token layer follows the student's; teacher temperature 0.04; gradients are clipped as a
whole; nothing is computed that no loss reads.

Symbols: B pairs, 2B crops (queries first, then keys), K output width, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, RunError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.nn.ema import cosine_momentum, make_teacher, update_teacher
from repcore_medical3d.configs.alice import AliceConfig
from repcore_medical3d.encoders.volume_backbone import VolumeBackbone
from repcore_medical3d.objectives.alice_parts import (
    AliceHead,
    HeadOutputs,
    check_mask,
    cross_entropy,
    hidden_tokens,
    information,
    targets,
    voxel_mask,
)
from repcore_medical3d.objectives.casa import CrossAlignment

INTER, INTRA, RECONSTRUCTION = "inter_volume", "intra_volume", "reconstruction"
QUERY, KEY = "query", "key"
LEAST_DEVIATION = 1e-2  # of scaled values; below it a crop shows noise
LEAST_INFORMATION = 1e-5  # nats between teacher rows; a fresh network has a hundred times more


class Alice(nn.Module):
    """Objective ``medical3d/alice``.

    Args:
        config: losses, masks, alignment.
        encoder: a backbone with the interface of :class:`VolumeBackbone`.

    Call:
        batch: views ``query`` and ``key``, each with ``inputs["volume"]`` (B, 1, S, S, S).
        draws: from :meth:`draw`.

    Raises:
        ConfigError: settings outside their range.
    """

    def __init__(self, config: AliceConfig, encoder: nn.Module) -> None:
        super().__init__()
        backbone: VolumeBackbone = encoder  # type: ignore[assignment]  # checked by the capability in the spec
        _check(config, backbone)
        self.config = config
        self.encoder = encoder
        self.backbone_stride = backbone.stem_stride
        self.crop_edge = int(backbone.config.crop_edge)
        self.head = AliceHead(
            backbone.dim, backbone.decoder_width, hidden_width=config.hidden_width,
            bottleneck_width=config.bottleneck_width, output_width=config.output_width,
            is_standardised=config.head_inputs == "standardised",
        )  # fmt: skip
        self.alignment = CrossAlignment(
            config.output_width, heads=config.alignment_heads, key_width=config.alignment_key_width,
            hidden_width=config.alignment_hidden_width, dropout=config.alignment_dropout,
            is_unit=config.alignment_outputs == "unit", has_residual=config.alignment_residual == "queries",
        )  # fmt: skip
        token = getattr(encoder, "mask_token", None)
        if isinstance(token, nn.Parameter):
            token.requires_grad_(config.mask_mode == "token")
        elif config.mask_mode == "token":
            raise ConfigError(
                f"{type(encoder).__name__} has no mask token", field="objective.mask_mode", hint="mask_mode: zero"
            )
        self.teacher_encoder = make_teacher(encoder)
        self.teacher_head = make_teacher(self.head)
        if config.is_last_layer_tied:
            self.teacher_head.token_layer = self.teacher_head.trunk.last_layer  # type: ignore[union-attr]
        self.teacher_alignment = make_teacher(self.alignment) if config.alignment_teacher == "ema" else None
        self.register_buffer("center", torch.zeros(1, config.output_width))
        self.register_buffer("token_center", torch.zeros(1, 1, config.output_width))
        self.register_buffer("silent_steps", torch.zeros((), dtype=torch.int64))
        self.center: Tensor
        self.token_center: Tensor
        self.silent_steps: Tensor

    def train(self, mode: bool = True) -> Alice:
        """Teachers stay in eval mode: no drop path and no dropout on the target side."""
        super().train(mode)
        for teacher in (self.teacher_encoder, self.teacher_head, self.teacher_alignment):
            if teacher is not None:
                teacher.eval()
        return self

    # ---------------------------------------------------------------------------------------------- draws

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Masks of the 2B crops, the teacher's temperature and the ramp of the distillation terms."""
        config, count = self.config, 2 * batch.views[QUERY].size

        def mask() -> Tensor:
            return hidden_tokens(
                count, self.crop_edge, patch=config.mask_patch, ratio=config.mask_ratio,
                stride=self.backbone_stride, shape=config.mask_shape, generator=generator,
            )  # fmt: skip

        draws: dict[str, Any] = {"hidden": mask()}
        if config.target_view == "masked":
            draws["target_hidden"] = mask()
        draws["teacher_temperature"] = torch.tensor(teacher_temperature(config, progress.fraction))
        ramp = config.distillation_ramp
        draws["distillation_factor"] = torch.tensor(1.0 if ramp <= 0 else min(1.0, progress.fraction / ramp))
        return draws

    # -------------------------------------------------------------------------------------------- forward

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        """Only what a term with a weight other than 0 needs is computed: without distillation there is no teacher."""
        config, hidden = self.config, draws["hidden"]
        volumes = torch.cat([batch.views[name].inputs["volume"] for name in (QUERY, KEY)])
        student, redrawn = self.student(volumes, hidden)
        terms: dict[str, Tensor] = {}
        carry: dict[str, Tensor] = {}
        metrics = measured(batch)
        if student is not None:
            teacher = self.teacher(volumes, draws.get("target_hidden"))
            temperature = draws["teacher_temperature"].to(volumes.device)
            ramp = draws["distillation_factor"].to(volumes.device)
            entropy, gain = information(torch.softmax(teacher.encoder / temperature, dim=-1))
            metrics |= {"teacher_entropy": entropy, "teacher_information": gain}
            carry["information"] = gain
            if config.inter_volume_weight:
                terms[INTER] = ramp * self.inter_volume(student.pooled, teacher.pooled, temperature)
                carry["center"] = teacher.pooled.detach().mean(dim=0, keepdim=True)
            if config.intra_volume_weight:
                own, target = self.aligned(student, teacher)
                terms[INTRA] = ramp * self.intra_volume(own, target, temperature)
                carry["token_center"] = target.detach().mean(dim=(0, 1), keepdim=True)
        if redrawn is not None:
            terms[RECONSTRUCTION], _ = self.reconstruction_error(volumes, redrawn, hidden)
        known = self.counts(batch, draws)
        return LossTerms.of(
            terms, self._weights, counts={name: known[name] for name in terms}, carry=carry, metrics=metrics
        )

    @property
    def _weights(self) -> dict[str, float]:
        config = self.config
        return {
            INTER: config.inter_volume_weight,
            INTRA: config.intra_volume_weight,
            RECONSTRUCTION: config.reconstruction_weight,
        }

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Pairs and scored voxels, known before the pass."""
        pairs, volume = batch.views[QUERY].size, batch.views[QUERY].inputs["volume"]
        is_all = self.config.reconstruction_region == "all"
        scored = torch.tensor(2 * volume.numel()) if is_all else self._scored(volume.shape[1], draws["hidden"])
        return {INTER: pairs, INTRA: pairs, RECONSTRUCTION: scored}

    def student(self, volumes: Tensor, hidden: Tensor) -> tuple[HeadOutputs | None, Tensor | None]:
        """Head outputs of masked crops (None without distillation) and the crops redrawn (None if not scored)."""
        backbone: VolumeBackbone = self.encoder  # type: ignore[assignment]
        config = self.config
        seen, tokens = self._covered(volumes, hidden)
        pyramid = backbone.pyramid(seen, tokens)
        is_redrawn, is_within = config.reconstruction_weight != 0, config.intra_volume_weight != 0
        first = backbone.first_decoder_map(pyramid) if is_redrawn or is_within else None
        outputs = None
        if is_within or config.inter_volume_weight:
            outputs = self._head(self.head, pyramid, first if is_within else None)
        redrawn = backbone.reconstruct(pyramid, first, seen) if is_redrawn and first is not None else None
        return outputs, redrawn

    @torch.no_grad()
    def teacher(self, volumes: Tensor, hidden: Tensor | None = None) -> HeadOutputs:
        """Head outputs of the teacher; of its decoder no more than the first stage, and that only if it is read."""
        backbone: VolumeBackbone = self.teacher_encoder  # type: ignore[assignment]
        pyramid = backbone.pyramid(*self._covered(volumes, hidden))
        is_read = self.config.alignment_target == "decoder" and self.config.intra_volume_weight != 0
        return self._head(self.teacher_head, pyramid, backbone.first_decoder_map(pyramid) if is_read else None)

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """A crop, what the student sees of it, the hidden cells redrawn, and its partner from the other scan."""
        from repcore_medical3d.rendering.volumes import rows_picture

        volumes = torch.cat([batch.views[name].inputs["volume"] for name in (QUERY, KEY)])
        _, redrawn = self.student(volumes, draws["hidden"])
        mask = voxel_mask(draws["hidden"], self.backbone_stride)
        shown = [("crop", volumes[0]), ("visible", volumes.masked_fill(mask, 0.0)[0])]
        if redrawn is not None:
            if self.config.reconstruction_target == "normalised":
                mean, deviation = contrast(volumes)
                redrawn = redrawn * deviation + mean
            shown.append(("hidden cells redrawn", torch.where(mask, redrawn, volumes)[0]))
        shown.append(("the same place in another scan", volumes[batch.views[QUERY].size]))
        share = float(mask[0].float().mean())
        rows = [(name, one[0].float().cpu().numpy()) for name, one in shown]
        return rows_picture(rows, f"A cube of {self.crop_edge} voxels of which {share:.0%} are hidden")

    def _covered(self, volumes: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What a network sees: voxels set to 0, or the tokens that it has to replace."""
        if hidden is None or self.config.mask_mode == "token":
            return volumes, hidden
        return volumes.masked_fill(voxel_mask(hidden, self.backbone_stride), 0.0), None

    def _head(self, head: nn.Module, pyramid: Sequence[Tensor], first: Tensor | None) -> HeadOutputs:
        deepest = pyramid[-1]
        decoder = None if first is None else first.flatten(1, 3)
        found: HeadOutputs = head(deepest.mean(dim=(1, 2, 3)), deepest.flatten(1, 3), decoder)
        return found

    def aligned(self, student: HeadOutputs, teacher: HeadOutputs) -> tuple[Tensor, Tensor]:
        """Both sides read out with the student's encoder tokens, (2B, T, K) each; no gradient to the second."""
        assert student.decoder is not None
        own = self.alignment(student.encoder, student.decoder)
        tokens = teacher.encoder if self.config.alignment_target == "encoder" else teacher.decoder
        assert tokens is not None
        with torch.no_grad():
            side = self.teacher_alignment or self.alignment
            was_training = side.training
            side.eval()
            target = side(student.encoder, tokens)
            side.train(was_training)
        return own, target

    # --------------------------------------------------------------------------------------------- losses

    def inter_volume(self, student: Tensor, teacher: Tensor, temperature: Tensor | float) -> Tensor:
        """Each crop's pooled output against the target of its partner in the other scan."""
        target_query, target_key = targets(teacher, self.center, temperature).chunk(2)
        query, key = student.chunk(2)
        tau = self.config.student_temperature
        return 0.5 * (cross_entropy(target_query, key, tau) + cross_entropy(target_key, query, tau))

    def intra_volume(self, own: Tensor, target: Tensor, temperature: Tensor | float) -> Tensor:
        """Aligned tokens of student and teacher within each crop."""
        goal = targets(target, self.token_center, temperature)
        return cross_entropy(goal, own, self.config.student_temperature)

    def reconstruction_error(self, volumes: Tensor, redrawn: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error over the scored voxels, and how many they are."""
        goal = standardised(volumes) if self.config.reconstruction_target == "normalised" else volumes
        squared = (redrawn - goal) ** 2
        if self.config.reconstruction_region == "all":
            return squared.mean(), torch.tensor(squared.numel())
        mask = voxel_mask(hidden, self.backbone_stride).expand_as(squared)
        scored = self._scored(volumes.shape[1], hidden)
        return (squared * mask).sum() / scored, scored

    def _scored(self, channels: int, hidden: Tensor) -> Tensor:
        """Number of hidden voxels."""
        return hidden.sum() * self.backbone_stride**3 * channels

    # ---------------------------------------------------------------------------------------------- rules

    def before_step(self, progress: Progress) -> None:
        """Frozen last layers and the published clipping, tensor by tensor."""
        if progress.fraction < self.config.frozen_last_layer:
            for layer in (self.head.trunk.last_layer, self.head.token_layer):
                layer.weight_v.grad = None
        if self.config.clip_per_tensor is not None:
            clip_each([*self.encoder.parameters(), *self.head.parameters()], self.config.clip_per_tensor)

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """Centres from what each micro-batch carried, then the teachers; stops a run that has collapsed."""
        for name in ("center", "token_center"):
            if name in carried[0]:
                mean = torch.stack([one[name] for one in carried]).mean(dim=0)
                getattr(self, name).lerp_(mean.to(self.center.dtype), 1.0 - self.config.center_momentum)
        self.follow(cosine_momentum(self.config.ema_start, self.config.ema_end, progress.fraction))
        if "information" in carried[0]:
            self._stop_if_silent(progress, torch.stack([one["information"] for one in carried]).mean())

    def _stop_if_silent(self, progress: Progress, gain: Tensor) -> None:
        """End a run whose teacher tells nothing apart.

        Raises:
            RunError: for ``collapse_patience`` steps in a row.
        """
        self.silent_steps.add_(1).mul_((gain < LEAST_INFORMATION).to(torch.int64))
        patience = self.config.collapse_patience
        if patience and progress.step % 20 == 0 and int(self.silent_steps) >= patience:
            raise RunError(
                f"the teacher has said the same about every place for {int(self.silent_steps)} steps: collapsed",
                meaning="distillation has found the trivial solution; what follows would be wasted",
                hint="objective.head_inputs=standardised, a higher objective.teacher_temperature, a lower optimiser.lr",
            )

    def follow(self, momentum: float) -> None:
        """One moving-average update of all teachers."""
        update_teacher(self.teacher_encoder, self.encoder, momentum)
        for name, part in self.head.named_children():
            if name == "token_layer" and self.config.is_last_layer_tied:
                continue  # the teacher's token layer is its pooled layer, which follows the student's pooled layer
            update_teacher(getattr(self.teacher_head, name), part, momentum)
        if self.teacher_alignment is not None:
            update_teacher(self.teacher_alignment, self.alignment, momentum)

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        """Student or teacher encoder; ``default`` is what the config says."""
        name = self.config.export if branch == "default" else branch
        if name not in ("student", "teacher"):
            raise ConfigError(f"there is no encoder {branch!r}", expected="default, student, teacher")
        return self.encoder if name == "student" else self.teacher_encoder


def teacher_temperature(config: AliceConfig, fraction: float) -> float:
    """Linear from start to end over the warm-up, then constant."""
    warmup = config.teacher_temperature_warmup
    share = 1.0 if warmup <= 0 else min(1.0, fraction / warmup)
    return config.teacher_temperature_start + share * (config.teacher_temperature - config.teacher_temperature_start)


@torch.no_grad()
def clip_each(parameters: Sequence[nn.Parameter], limit: float) -> None:
    """Scale every gradient whose own norm is above the limit down to it."""
    gradients = [one.grad for one in parameters if one.grad is not None]
    if gradients:
        norms = torch._foreach_norm(gradients)
        torch._foreach_mul_(gradients, [(limit / (norm + 1e-6)).clamp(max=1.0) for norm in norms])


def standardised(volumes: Tensor) -> Tensor:
    """Every crop with mean 0 and standard deviation 1; a crop without contrast stays near 0."""
    mean, deviation = contrast(volumes)
    return (volumes - mean) / deviation


def contrast(volumes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of every crop, and its standard deviation with a little added, (B, 1, 1, 1, 1) each."""
    axes = (1, 2, 3, 4)
    return volumes.mean(dim=axes, keepdim=True), volumes.std(dim=axes, keepdim=True) + LEAST_DEVIATION


def measured(batch: Batch) -> dict[str, Tensor]:
    """How well the pairs fit, from the views: means of what the matching measured."""
    found: Mapping[str, Tensor] = batch.views[KEY].inputs.get("measured", {})
    return {name: values.float().mean() for name, values in found.items()}


def _check(config: AliceConfig, backbone: VolumeBackbone) -> None:
    check_mask(
        int(backbone.config.crop_edge), patch=config.mask_patch, ratio=config.mask_ratio, stride=backbone.stem_stride
    )
    for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
        if getattr(config, name) <= 0:
            raise ConfigError(f"{name}={getattr(config, name)} is not positive", field=f"objective.{name}")
    for name in ("center_momentum", "ema_start", "ema_end"):
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(f"{name}={getattr(config, name)} is outside 0 to 1", field=f"objective.{name}")
