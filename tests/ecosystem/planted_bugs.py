"""Bugs to plant into the toy plugin of ragged pairs: check id -> what an author could get wrong.

Each is a function that damages the toy's classes through ``monkeypatch``; the check of that name must notice.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from repcore.interfaces import Batch, Features, Picture
from tests.ecosystem.planting import changed_spec, changed_terms, plant, wrap
from tests.toys.toy_pairs import _plugin, code


def pooled(features: Features, values: torch.Tensor) -> Features:
    return dataclasses.replace(features, pooled=values)


# ------------------------------------------------------------------------------------------------- encoder


@plant("shapes-match-spec")
def wrong_width(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.SetNet, "forward", lambda f, self, *a: pooled(f(self, *a), f(self, *a).pooled[:, :-1]))


@plant("shapes-match-spec")
def owner_not_ascending(patch: pytest.MonkeyPatch) -> None:
    def reversed_tokens(original: Any, self: Any, *given: Any) -> Features:
        features = original(self, *given)
        features.tokens["point"].owner = features.tokens["point"].owner.flip(0)
        return features

    wrap(patch, code.SetNet, "forward", reversed_tokens)


@plant("shapes-match-spec")
def other_level_name(patch: pytest.MonkeyPatch) -> None:
    def renamed(original: Any, self: Any, *given: Any) -> Features:
        features = original(self, *given)
        return dataclasses.replace(features, tokens={"points": features.tokens["point"]})

    wrap(patch, code.SetNet, "forward", renamed)


@plant("eval-deterministic")
def dropout_ignores_eval(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.SetNet, "forward", lambda f, self, *a: pooled(f(self, *a), F.dropout(f(self, *a).pooled, 0.1)))


@plant("batch-independent")
def batch_statistics_in_eval(patch: pytest.MonkeyPatch) -> None:
    def centred(original: Any, self: Any, *given: Any) -> Features:
        features = original(self, *given)
        return pooled(features, features.pooled - features.pooled.mean(0))

    wrap(patch, code.SetNet, "forward", centred)


@plant("padding-invariant")
def mean_over_the_longest(patch: pytest.MonkeyPatch) -> None:
    def scaled(original: Any, self: Any, batch: Batch, *rest: Any) -> Features:
        features = original(self, batch, *rest)
        counts = torch.bincount(batch.inputs["owner"], minlength=batch.size)
        return pooled(features, features.pooled * (counts / counts.max())[:, None])

    wrap(patch, code.SetNet, "forward", scaled)


@plant("state-dict-roundtrip")
def tensor_outside_state(patch: pytest.MonkeyPatch) -> None:
    def with_scale(original: Any, self: Any, config: Any) -> None:
        original(self, config)
        self.scale = torch.rand(self.dim)

    wrap(patch, code.SetNet, "__init__", with_scale)
    wrap(patch, code.SetNet, "forward", lambda f, self, *a: pooled(f(self, *a), f(self, *a).pooled * self.scale))


@plant("train-eval-mode-restored")
def forward_switches_mode(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.SetNet, "forward", lambda f, self, *a: f(self.eval(), *a))


@plant("deepcopy-and-pickle")
def holds_a_function_of_its_own(patch: pytest.MonkeyPatch) -> None:
    def with_closure(original: Any, self: Any, config: Any) -> None:
        original(self, config)
        self.activation = lambda values: values.relu()

    wrap(patch, code.SetNet, "__init__", with_closure)


@plant("autocast-bf16-finite")
def fills_with_the_lowest_of_another_type(patch: pytest.MonkeyPatch) -> None:
    def masked(original: Any, self: Any, *given: Any) -> Features:
        features = original(self, *given)
        scores = features.pooled @ features.pooled.mT  # bfloat16 under autocast
        low = torch.full_like(scores, torch.finfo(torch.float32).min)  # -inf there
        return pooled(features, features.pooled + 0 * low.sum())

    wrap(patch, code.SetNet, "forward", masked)


@plant("torch-compile")
def remembers_the_eager_answer(patch: pytest.MonkeyPatch) -> None:
    def traced_differently(original: Any, self: Any, *given: Any) -> Features:
        features = original(self, *given)
        return pooled(features, features.pooled * (2.0 if torch.compiler.is_compiling() else 1.0))

    wrap(patch, code.SetNet, "forward", traced_differently)


# ----------------------------------------------------------------------------------------------- objective


@plant("loss-terms-sum-to-total")
def a_term_is_lost(patch: pytest.MonkeyPatch) -> None:
    changed_terms(patch, total=lambda terms, batch: terms.terms["contrast"])


@plant("loss-terms-sum-to-total")
def terms_are_vectors(patch: pytest.MonkeyPatch) -> None:
    changed_terms(patch, terms=lambda terms, batch: {name: one[None] for name, one in terms.terms.items()})


@plant("counts-match")
def counts_all_points(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(code.TwoViews, "counts", lambda self, batch, draws: {"points": len(draws["hidden"])})


@plant("counts-match")
def count_without_term(patch: pytest.MonkeyPatch) -> None:
    changed_terms(patch, counts=lambda terms, batch: {"pionts": 1})


@plant("finite-on-batch-1-and-2")
def divides_by_others(patch: pytest.MonkeyPatch) -> None:
    changed_terms(patch, total=lambda terms, batch: terms.total / (batch.size - 1))


@plant("same-seed-same-loss")
def draws_count_calls(patch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def draw(original: Any, self: Any, batch: Batch, generator: torch.Generator, progress: Any) -> Mapping[str, Any]:
        return original(self, batch, generator.manual_seed(next(calls)), progress)

    wrap(patch, code.TwoViews, "draw", draw)


@plant("no-global-rng")
def draw_without_generator(patch: pytest.MonkeyPatch) -> None:
    def draw(self: Any, batch: Batch, generator: torch.Generator, progress: Any) -> Mapping[str, Any]:
        return {"hidden": torch.rand(len(batch.views["a"].inputs["points"])) < 0.3}

    patch.setattr(code.TwoViews, "draw", draw)


@plant("no-global-rng")
def noise_in_forward(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.TwoViews, "forward", lambda f, self, *a: (np.random.rand(), f(self, *a))[1])  # noqa: NPY002


@plant("grad-reaches-every-parameter")
def head_never_used(patch: pytest.MonkeyPatch) -> None:
    def with_head(original: Any, self: Any, *given: Any) -> None:
        original(self, *given)
        self.lost = nn.Linear(2, 2)

    wrap(patch, code.TwoViews, "__init__", with_head)


@plant("teacher-has-no-grad")
def teacher_trains(patch: pytest.MonkeyPatch) -> None:
    def thawed(original: Any, self: Any, *given: Any) -> None:
        original(self, *given)
        self.teacher.requires_grad_(True)

    wrap(patch, code.TwoViews, "__init__", thawed)


@plant("picture-of-one-item")
def picture_is_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(code.TwoViews, "picture", lambda self, batch, draws: "<b>text</b>", raising=False)


@plant("picture-of-one-item")
def picture_from_a_network(patch: pytest.MonkeyPatch) -> None:
    picture = Picture('<img src="https://example.org/a.png">', "words")
    patch.setattr(code.TwoViews, "picture", lambda self, batch, draws: picture, raising=False)


@plant("picture-of-one-item")
def picture_fills_the_queue(patch: pytest.MonkeyPatch) -> None:
    def picture(self: Any, batch: Batch, draws: Any) -> Picture:
        self.queue.add_(1)
        return Picture("<b>queue</b>", "words")

    patch.setattr(code.TwoViews, "picture", picture, raising=False)


@plant("after-step-only-state")
def queue_in_forward(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.TwoViews, "forward", lambda f, self, *a: (self.queue.mul_(0.5), f(self, *a))[1])


@plant("decreases-on-tiny-data")
def gradient_with_wrong_sign(patch: pytest.MonkeyPatch) -> None:
    changed_terms(patch, total=lambda terms, batch: 2 * terms.total.detach() - terms.total)


# ------------------------------------------------------------------------------ more encoders and objectives


@plant("batch-independent")
def batch_norm_in_training_mode(patch: pytest.MonkeyPatch) -> None:
    """Statistics of the batch, also in eval mode."""

    def always_training(self: nn.BatchNorm1d, values: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(values, None, None, self.weight, self.bias, training=True)

    patch.setattr(nn.BatchNorm1d, "forward", always_training)


@plant("permutation-as-declared")
def order_matters(patch: pytest.MonkeyPatch) -> None:
    changed_spec(patch, "repcore_encoders", capabilities=("permutation-invariant:S",))

    def weighted(original: Any, self: Any, batch: Batch, *rest: Any) -> Features:
        points = batch.inputs["points"]
        ramp = torch.linspace(0.0, 1.0, len(points))[:, None]
        return original(self, dataclasses.replace(batch, inputs={**batch.inputs, "points": points * ramp}), *rest)

    wrap(patch, code.SetNet, "forward", weighted)


@plant("shapes-match-spec")
def tensor_spec_of_another_rank(patch: pytest.MonkeyPatch) -> None:
    inputs = _plugin.repcore_encoders()[0].inputs
    changed_spec(patch, "repcore_encoders", inputs=(dataclasses.replace(inputs[0], shape="B S 2"), inputs[1]))


@plant("shapes-match-spec")
def tensor_spec_of_another_dtype(patch: pytest.MonkeyPatch) -> None:
    inputs = _plugin.repcore_encoders()[0].inputs
    changed_spec(patch, "repcore_encoders", inputs=(inputs[0], dataclasses.replace(inputs[1], dtype="int32")))


@plant("ema-update-value")
def ema_lags_a_step(patch: pytest.MonkeyPatch) -> None:
    """The teacher follows the student of the step before."""

    def late(self: Any, progress: Any, carried: Any) -> None:
        with torch.no_grad():
            now = [one.detach().clone() for one in self.encoder.parameters()]
            before = getattr(self, "_earlier", now)
            for old, new in zip(self.teacher.parameters(), before, strict=True):
                old.lerp_(new, 1 - self.config.momentum)
            self._earlier = now

    patch.setattr(code.TwoViews, "after_step", late)


@plant("ema-update-value")
def ema_before_the_optimiser(patch: pytest.MonkeyPatch) -> None:
    update = code.TwoViews.after_step
    patch.setattr(code.TwoViews, "after_step", lambda self, progress, carried: None)
    patch.setattr(
        code.TwoViews,
        "before_step",
        lambda self, progress: (
            self.encoder.first.weight.data.add_(1.0),
            update(self, progress, [{"keys": self.queue[:1]}]),
        ),
        raising=False,
    )


@plant("mask-ratio-as-configured")
def mask_twice_as_large(patch: pytest.MonkeyPatch) -> None:
    def doubled(original: Any, self: Any, batch: Batch, generator: torch.Generator, progress: Any) -> Mapping[str, Any]:
        first = original(self, batch, generator, progress)["hidden"]
        return {"hidden": first | original(self, batch, generator, progress)["hidden"]}

    wrap(patch, code.TwoViews, "draw", doubled)


@plant("mask-differs-per-item")
def one_mask_for_all(patch: pytest.MonkeyPatch) -> None:
    def shared(original: Any, self: Any, batch: Batch, *rest: Any) -> Mapping[str, Any]:
        return {"hidden": original(self, batch, *rest)["hidden"][None].expand(batch.size, -1)}

    wrap(patch, code.TwoViews, "draw", shared)
