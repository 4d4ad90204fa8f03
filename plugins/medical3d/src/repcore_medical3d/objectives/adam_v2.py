"""Objective ``medical3d/adam-v2``: localizability, composability and decomposability of anatomy, in 2-D and 3-D.

Source: arXiv 2404.15672; public code `MR-HosseinzadehTaher/Eden`, Adam-v2. Differs: views are cut on the device in one
batch; one student and one teacher pass a resolution (``passes="separate"`` is the published way and only matters with
BatchNorm); any number of axes and parts; the centre is averaged over processes only where there are several; a run that
collapses stops.

Symbols: B images, N parts, L local views, K prototypes, D embedding width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.nn.dino_head import DinoHead
from repcore.nn.ema import cosine_momentum, make_teacher, update_teacher
from repcore.nn.losses import centred_teacher
from repcore_medical3d.configs.adam_v2 import AdamV2Config
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.objectives.collapse import CollapseWatch, spread
from repcore_medical3d.objectives.localizability import entropy, localizability_loss
from repcore_medical3d.objectives.part_whole import (
    Encoded,
    composability_loss,
    compose_head,
    decomposability_loss,
    decompose_head,
)
from repcore_medical3d.objectives.schedules import linear_then_constant
from repcore_medical3d.views.anatomy import AnatomyViews, stage_fraction

LOCALIZABILITY, COMPOSABILITY, DECOMPOSABILITY = "localizability", "composability", "decomposability"
CLIP_EPSILON = 1e-6


def has_weight_decay(name: str, parameter: nn.Parameter) -> bool:
    """Matrices and kernels decay; biases, norms and layer scales do not."""
    return parameter.ndim >= 2 and not name.endswith(".bias")


class AdamV2(nn.Module):
    """Student, teacher, three heads.

    Args:
        config: see :class:`AdamV2Config`.
        encoder: becomes the student.

    Call:
        batch: whole images in 0 to 1.
        draws: views as from :meth:`draw` and ``teacher_temperature``.
    Returns:
        terms ``localizability``, and in the joint stage ``composability`` and ``decomposability``.

    Raises:
        ConfigError: settings outside their range.
    """

    centre: Tensor

    def __init__(self, config: AdamV2Config, encoder: AnatomyEncoder) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.views = AnatomyViews(config.views, encoder.axes)
        self.encoder = encoder
        self.head = DinoHead(
            encoder.dim,
            hidden_width=config.hidden_width,
            bottleneck_width=config.bottleneck_width,
            prototypes=config.prototypes,
            layers=config.head_layers,
            use_batch_norm=config.head_batch_norm,
            is_scale_frozen=config.freeze_prototype_scale,
        )
        self.teacher_encoder = make_teacher(encoder)
        self.teacher_head = make_teacher(self.head)
        self.compose_head = compose_head(encoder.dim, self.views.parts)
        self.decompose_head = decompose_head(encoder.dim, self.views.parts)
        self.register_buffer("centre", torch.zeros(1, config.prototypes))
        self.watch = CollapseWatch(config.prototypes, config.collapse_patience)

    # --------------------------------------------------------------------------------------- draws

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Views of the current stage and granularity, and the teacher's temperature."""
        images = self.encoder.images(batch)
        config = self.config
        is_warmup, fraction = stage_fraction(progress, config.warmup_share)
        exponent = self.views.exponent(fraction, images.shape[2:], is_warmup=is_warmup)
        cut = self.views.warmup if is_warmup else self.views.joint
        temperature = linear_then_constant(
            config.teacher_temperature_start,
            config.teacher_temperature,
            config.teacher_temperature_epochs,
            progress.epoch,
        )
        views = cut(images, exponent, generator)
        return {**views, "teacher_temperature": temperature, "granularity": exponent}

    # -------------------------------------------------------------------------------------- losses

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        config = self.config
        encoded = self.encode(draws)
        teacher = centred_teacher(encoded.teacher_logits, self.centre, float(draws["teacher_temperature"]))
        shared = 0 if "whole" in draws else len(encoded.teacher_logits)
        terms = {
            LOCALIZABILITY: localizability_loss(
                encoded.student_logits, teacher, config.student_temperature, shared_views=shared
            )
        }
        if encoded.student_whole is not None and encoded.student_parts is not None:
            assert encoded.teacher_parts is not None  # both or neither
            composed = self.compose_head(encoded.student_parts.flatten(1))
            terms[COMPOSABILITY] = composability_loss(composed, encoded.teacher_whole, config.part_whole_reduction)
            terms[DECOMPOSABILITY] = decomposability_loss(
                self.decompose_head(encoded.student_whole),
                encoded.teacher_parts,
                config.part_whole_reduction,
                config.decompose_norm,
            )
        with torch.no_grad():
            metrics = {
                "teacher_entropy": entropy(teacher),
                "teacher_spread": spread(encoded.teacher_whole),
                "granularity": float(draws.get("granularity", 0)),
            }
        return LossTerms.of(
            terms, {name: getattr(config, f"{name}_weight") for name in terms},
            carry={
                "teacher_mean": encoded.teacher_logits.float().mean((0, 1))[None], "size": batch.size,
                "spread": metrics["teacher_spread"], "loss": terms[LOCALIZABILITY].detach(),
            },
            metrics=metrics,
        )  # fmt: skip

    def encode(self, views: Mapping[str, Any]) -> Encoded:
        """Both networks on the views of a stage, view-major."""
        seen = {name: by_view(views[name]) for name in ("global", "local", "whole", "parts") if name in views}
        student = self._embedded(self.encoder, seen)
        logits = self.head(torch.cat([student["global"], student["local"]]).flatten(0, 1))[0]
        first = "whole" if "whole" in seen else "global"
        with torch.no_grad():
            looked_at = {name: seen[name] for name in (first, "parts") if name in seen}
            teacher = self._embedded(self.teacher_encoder, looked_at)
            if self.config.passes == "separate" and first == "whole":
                # the published code looks at the whole twice, which BatchNorm's running statistics notice
                self._embedded(self.teacher_encoder, {first: seen[first]})
            target = self.teacher_head(teacher[first].flatten(0, 1))[0]
        images = seen["global"].shape[1]
        return Encoded(
            student_logits=logits.unflatten(0, (-1, images)),
            teacher_logits=target.unflatten(0, (-1, images)),
            student_whole=student["whole"][0] if "whole" in student else None,
            student_parts=student["parts"].transpose(0, 1) if "parts" in student else None,
            teacher_whole=teacher[first][0],
            teacher_parts=teacher["parts"].transpose(0, 1) if "parts" in teacher else None,
        )

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The first image: whole, parts and concentric views in their places, and how well they predict each other."""
        from repcore_medical3d.objectives.adam_v2_picture import anatomy_seen
        from repcore_medical3d.rendering.anatomy import anatomy_picture

        return anatomy_picture(anatomy_seen(self, self.encoder.images(batch), draws))

    def _embedded(self, encoder: nn.Module, groups: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Vectors (V, B, D) of groups of views (V, B, C, *S): one pass a resolution, or the published passes."""
        embed = cast(AnatomyEncoder, encoder).embed
        if self.config.passes == "separate":
            return {
                name: torch.stack([embed(view) for view in group])
                if name == "parts"
                else embed(group.flatten(0, 1)).unflatten(0, group.shape[:2])
                for name, group in groups.items()
            }
        by_size: dict[int, list[str]] = {}
        for name, group in groups.items():
            by_size.setdefault(group.shape[-1], []).append(name)
        found: dict[str, Tensor] = {}
        for names in by_size.values():
            together = torch.cat([groups[name].flatten(0, 1) for name in names])
            pieces = embed(together).split([groups[name].shape[0] * groups[name].shape[1] for name in names])
            for name, piece in zip(names, pieces, strict=True):
                found[name] = piece.unflatten(0, groups[name].shape[:2])
        return found

    # --------------------------------------------------------------------------------------- rules

    def before_step(self, progress: Progress) -> None:
        """Each tensor's gradient is clipped on its own; prototypes stand still at first."""
        if self.config.tensor_clip_norm is not None:
            clip_each_tensor(self.parameters(), self.config.tensor_clip_norm)
        if progress.step < self.config.freeze_last_layer_epochs * progress.steps_per_epoch:
            for parameter in self.head.last_layer.parameters():
                parameter.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
        """Centre, teacher, and the watch for collapse."""
        sizes = [float(one["size"]) for one in carried]
        mean = torch.stack([one["teacher_mean"] * size for one, size in zip(carried, sizes, strict=True)]).sum(0)
        update_centre(self.centre, mean / sum(sizes), self.config.centre_momentum)
        _, fraction = stage_fraction(progress, self.config.warmup_share)
        momentum = cosine_momentum(self.config.teacher_momentum, 1.0, fraction)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_head, self.head, momentum)
        if self.config.collapse_patience:
            self.watch.update(
                sum(float(one["spread"]) for one in carried) / len(carried),
                sum(float(one["loss"]) for one in carried) / len(carried),
            )

    def encoder_for_export(self, branch: str = "default") -> nn.Module:
        """``student``, ``teacher``, or the configured one.

        Raises:
            ConfigError: another branch.
        """
        branches = {"student": self.encoder, "teacher": self.teacher_encoder}
        chosen = self.config.export if branch == "default" else branch
        if chosen not in branches:
            raise ConfigError(f"Adam-v2 has no branch {branch!r}", expected="student, teacher")
        return branches[chosen]


def by_view(views: Tensor) -> Tensor:
    """(B, V, ...) to view-major (V, B, ...)."""
    return views.transpose(0, 1)


@torch.no_grad()
def clip_each_tensor(parameters: Any, largest: float) -> list[Tensor]:  # any iterable of parameters
    """Scale every gradient whose norm exceeds ``largest`` down to it; norms before that, of tensors with a gradient."""
    gradients = [one.grad for one in parameters if one.grad is not None]
    norms = list(torch._foreach_norm(gradients)) if gradients else []
    factors = [(largest / (norm + CLIP_EPSILON)).clamp(max=1.0) for norm in norms]
    if gradients:
        torch._foreach_mul_(gradients, factors)
    return norms


@torch.no_grad()
def update_centre(centre: Tensor, mean: Tensor, momentum: float) -> None:
    """centre <- momentum * centre + (1 - momentum) * mean, in place."""
    centre.mul_(momentum).add_(mean, alpha=1.0 - momentum)


def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Parameters of the teacher follow; its BatchNorm statistics stay its own, from its own passes."""
    own = [buffer.clone() for buffer in teacher.buffers()]
    update_teacher(teacher, student, momentum)
    for buffer, before in zip(teacher.buffers(), own, strict=True):
        buffer.copy_(before)


def _check(config: AdamV2Config) -> None:
    if not 0.0 <= config.warmup_share <= 1.0:
        raise ConfigError(f"warmup_share={config.warmup_share} is no share", field="objective.warmup_share")
    for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
        if getattr(config, name) <= 0:
            raise ConfigError(f"{name}={getattr(config, name)} is not positive", field=f"objective.{name}")
    if config.prototypes < 2:
        raise ConfigError(f"prototypes={config.prototypes}: at least two are needed", field="objective.prototypes")
    if not 0.0 <= config.centre_momentum < 1.0 or not 0.0 <= config.teacher_momentum <= 1.0:
        raise ConfigError("centre_momentum and teacher_momentum lie between 0 and 1", field="objective")
