"""AutoTCL: a small network learns which values of a series a view keeps, while the encoder contrasts view and series.

Source: Zheng et al. 2024 (arXiv 2402.10434); `AslanDing/AutoTCL`, which has no licence: written from the paper and from
numbers, nothing is copied.

Differs: both networks learn in one step from one set of states, which equals the published alternation up to a lag of
one step (Adam treats parameters apart); ``form="published"`` computes the authors' losses.

Symbols: B series, T steps, C channels, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.nn.losses import masked_mean
from repcore_timeseries.configs.autotcl import AutoTCLConfig
from repcore_timeseries.configs.encoders import DilatedConfig
from repcore_timeseries.encoders.dilated import DilatedEncoder, Steps
from repcore_timeseries.layers.pooling import pooled_steps
from repcore_timeseries.objectives.autotcl_loss import (
    contrast,
    local_contrast,
    mmd,
    published_local_contrast,
    valid_counts,
)
from repcore_timeseries.objectives.averaging import Averaged
from repcore_timeseries.objectives.gates import (
    Gate,
    drawn_smoothness,
    hard_concrete,
    open_sum,
    open_term,
    total_variation,
)
from repcore_timeseries.rendering.series import view_picture

AUGMENTER_PARTS = ("augmenter.", "gate.", "factor.")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the augmenter says of a batch, before noise: all (B, T, C) but ``embedding`` (B, T, A).

    Args:
        embedding: of every step.
        logit: of the gates; in the published form it has gone through a sigmoid already.
        keep: chance that a value is kept, as the augmenter's terms see it.
        factor: what kept values are multiplied with.
    """

    embedding: Tensor
    logit: Tensor
    keep: Tensor
    factor: Tensor


class AutoTCL(Averaged):
    """Objective ``timeseries/autotcl``.

    Args:
        config: see :class:`AutoTCLConfig`.
        encoder: becomes part of this module.

    Call:
        batch: inputs of :class:`DilatedEncoder`.
        draws: ``noise_augmenter`` and ``noise_encoder`` (B, T, C) uniform in [0, 1); ``visible`` bool (B, T);
            ``local_offset`` (B,) in [0, 1); in the published form also ``smooth_first`` and ``smooth_second`` int64
            (B,) in 1 ... T - 3, and ``local_start`` int64 ().
    """

    encoder: DilatedEncoder
    parameters_by_name = True  # the augmenter's terms see an encoder that stands still

    def __init__(self, config: AutoTCLConfig, encoder: DilatedEncoder) -> None:
        super().__init__(encoder)
        self.config = config
        self.is_published = config.form == "published"
        if config.gates == "learned":
            own, channels = config.augmenter, encoder.config.channels
            sizes = DilatedConfig(
                channels=channels, hidden=own.hidden, depth=own.depth, width=own.width, kernel=encoder.config.kernel,
                kernels=own.kernels, missing=encoder.config.missing,
            )  # fmt: skip
            self.augmenter = DilatedEncoder(sizes)
            self.gate = nn.Sequential(nn.Linear(own.width, sizes.channels or 1))
            self.factor = nn.Sequential(nn.Linear(own.width, sizes.channels or 1))

    def lr_scale(self, name: str) -> float:
        """``augmenter_rate`` for the network behind the gates."""
        return self.config.augmenter_rate if name.startswith(AUGMENTER_PARTS) else 1.0

    # ------------------------------------------------------------------------------------------ randomness

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Noise of both views, hidden steps, and where stretches begin."""
        values = batch.inputs["values"]
        size, length = values.shape[:2]

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=values.device)

        draws = {
            "noise_augmenter": uniform(*values.shape),
            "noise_encoder": uniform(*values.shape),
            "visible": uniform(size, length) < self.config.visible_share,
            "local_offset": uniform(size),
        }
        if self.is_published:
            room = max(1, length - 3)
            for name in ("smooth_first", "smooth_second"):
                draws[name] = (1 + (uniform(size) * room).long()).clamp(max=max(1, length - 3))
            left = length - length // self.config.local_segments * self.config.local_segments
            draws["local_start"] = (uniform() * (left + 1)).long()
        return draws

    # ------------------------------------------------------------------------------------------------ views

    def plan(self, batch: Batch) -> Plan:
        """What the augmenter says of every value."""
        embedding = self.augmenter.features(self.augmenter.steps(batch))
        raw = self.gate(embedding)
        keep = torch.sigmoid(raw)
        return Plan(embedding, keep if self.is_published else raw, keep, torch.sigmoid(self.factor(embedding)))

    def gated(self, plan: Plan, uniform: Tensor | None) -> Gate:
        """Gates of a plan with noise (B, T, C), or without any for evaluation."""
        return hard_concrete(
            plan.logit, uniform, bias=self.config.noise_bias, stretch=self.config.stretch,
            is_published=self.is_published,
        )  # fmt: skip

    def view(self, batch: Batch, plan: Plan | None, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Values of the view and its gates, (B, T, C) each; random gates where there is no plan."""
        values = self.encoder.steps(batch).values
        if plan is None:
            kept = (uniform < self.config.keep_share).to(values.dtype)
            return values * kept, kept
        gate = self.gated(plan, uniform).hard
        return plan.factor * gate * values, gate

    def shown(self, batch: Batch, draws: Draws) -> Batch:
        """What the encoder sees: hidden steps in series and view alike; in the published form masks have no effect."""
        hidden = {} if self.is_published else {"visible": draws["visible"]}
        return replace(batch, inputs={**batch.inputs, **hidden}, views={})

    # --------------------------------------------------------------------------------------------- losses

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        """Terms of the augmenter (``mmd``, ``open``, ``smooth``, or ``adversarial``), whose encoder stands still, and
        of the encoder (``global``, ``local``), whose view stands still."""
        shown = self.shown(batch, draws)
        steps = self.encoder.steps(shown)
        plan = self.plan(batch) if self.config.gates == "learned" else None
        terms: dict[str, Tensor] = {}
        if plan is not None:
            terms |= self.augmenter_terms(shown, plan, draws)
        view, gate = self.view(batch, plan, draws["noise_encoder"])
        view, gate = view.detach(), gate.detach()
        terms |= self.encoder_terms(shown, view, draws)
        seen = steps.seen[..., None].expand_as(gate)
        metrics = {"kept": masked_mean(gate, seen)}
        if plan is not None:
            soft = self.gated(plan, draws["noise_encoder"]).soft.detach()
            metrics["factor"] = masked_mean(plan.factor.detach(), seen)
            metrics["decided"] = masked_mean(((soft == 0) | (soft == 1)).float(), seen)
        return LossTerms.of(terms, self._weights(terms), counts=self._counts(steps), metrics=metrics)

    def _weights(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        known = {
            "mmd": 1.0, "open": self.config.open_weight, "smooth": self.config.smooth_weight, "adversarial": 1.0,
            "global": 1.0, "local": self.config.local_weight,
        }  # fmt: skip
        return {name: known[name] for name in terms}

    def augmenter_terms(self, batch: Batch, plan: Plan, draws: Draws) -> dict[str, Tensor]:
        """What the augmenter is trained on; no gradient reaches the encoder."""
        view, _ = self.view(batch, plan, draws["noise_augmenter"])
        pooled = self._pooled_trunk if self.is_published else self._pooled
        series, changed = with_fixed_parameters(
            self.encoder, lambda encoder: (pooled(encoder, batch), pooled(encoder, changed_batch(batch, view)))
        )
        if self.config.variant == "adversarial":
            both = not self.is_published
            return {"adversarial": -contrast(series, changed, self.config.temperature, both_ways=both)}
        found = {"mmd": mmd(series, changed, self.config.mmd_kernels, self.config.mmd_factor)}
        steps = self.encoder.steps(batch)
        if self.is_published:
            found["open"] = open_sum(plan.keep, self.config.open_threshold)
            found["smooth"] = drawn_smoothness(plan.keep, draws["smooth_first"], draws["smooth_second"])
        else:
            valid = _valid(steps)
            found["open"] = open_term(plan.keep, valid, self.config.open_threshold)
            found["smooth"] = total_variation(plan.keep, valid)
        return found

    def encoder_terms(self, batch: Batch, view: Tensor, draws: Draws) -> dict[str, Tensor]:
        """What the encoder is trained on: its features of the series and of the view, a tensor without graph."""
        steps, count = self.encoder.steps(batch), self.config.local_segments
        own = self.encoder.features(steps)
        other = self.encoder.features(self.encoder.steps(changed_batch(batch, view)))
        if self.is_published:
            found = contrast(own.amax(1), other.amax(1), self.config.temperature, both_ways=False)
            return {"global": found, "local": published_local_contrast(own, int(draws["local_start"]), count)}
        valid = _valid(steps)
        one, two = (pooled_steps(values, valid, "max") for values in (own, other))
        found = contrast(one, two, self.config.temperature, both_ways=True)
        return {"global": found, "local": local_contrast(own, valid, draws["local_offset"], count)}

    def _pooled(self, encoder: DilatedEncoder, batch: Batch) -> Tensor:
        steps = encoder.steps(batch)
        return pooled_steps(encoder.features(steps), _valid(steps), "max")

    def _pooled_trunk(self, encoder: DilatedEncoder, batch: Batch) -> Tensor:
        """Published: the augmenter is judged before the kernels, over all steps."""
        return encoder.trunk(encoder.steps(batch)).amax(1)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor | int]:
        """Over how many values, pairs and series the means go."""
        return self._counts(self.encoder.steps(batch))

    def _counts(self, steps: Steps) -> dict[str, Any]:
        valid = _valid(steps)
        found: dict[str, Any] = {"local": valid_counts(valid, self.config.local_segments).sum()}
        if self.is_published:
            return {}
        if self.config.gates == "learned" and self.config.variant == "information":
            channels = steps.values.shape[-1]
            found["open"] = valid.sum() * channels
            found["smooth"] = (valid[:, 1:] & valid[:, :-1]).sum() * channels
        return found

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """A series, its view, and the steps that are kept whole."""
        plan = self.plan(batch) if self.config.gates == "learned" else None
        view, gate = self.view(batch, plan, draws["noise_encoder"])
        inside = self.encoder.steps(batch).inside
        length = view.shape[1] if inside is None else int(inside[0].sum())
        return view_picture(self.encoder.steps(batch).values[0, :length], view[0, :length], gate[0, :length])


def changed_batch(batch: Batch, values: Tensor) -> Batch:
    """The batch with other values (B, T, C); what is missing stays missing."""
    observed = batch.inputs.get("observed")
    known = ~batch.inputs["values"].isnan() if observed is None else observed
    return replace(batch, inputs={**batch.inputs, "values": values, "observed": known})


def with_fixed_parameters(
    encoder: DilatedEncoder, compute: Callable[[DilatedEncoder], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """What ``compute`` gives with an encoder whose parameters get no gradient, though its inputs do."""
    fixed = {f"encoder.{name}": one.detach() for name, one in encoder.named_parameters()}
    found: tuple[Tensor, Tensor] = torch.func.functional_call(_Called(encoder, compute), fixed, ())
    return found


class _Called(nn.Module):
    """A function of an encoder as a module, for ``functional_call``."""

    def __init__(self, encoder: DilatedEncoder, compute: Callable[[DilatedEncoder], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.encoder, self.compute = encoder, compute

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.compute(self.encoder)


def _valid(steps: Steps) -> Tensor:
    return steps.seen if steps.inside is None else steps.seen & steps.inside
