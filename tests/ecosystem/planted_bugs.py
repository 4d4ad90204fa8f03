"""Bugs to plant into the toy plugin of ragged pairs: check id -> what an author could get wrong.

Each is a function that damages the toy's classes through ``monkeypatch``; the check of that name must notice.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from repcore.errors import ItemError
from repcore.interfaces import Batch, Features, LossTerms, Picture
from tests.toys.toy_pairs import _plugin, code, configs

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: dict[str, list[Plant]] = {}


def plant(check: str) -> Callable[[Plant], Plant]:
    def add(function: Plant) -> Plant:
        PLANTED.setdefault(check, []).append(function)
        return function

    return add


def wrap(patch: pytest.MonkeyPatch, owner: type, name: str, change: Callable[..., Any]) -> None:
    """Replace a method by ``change(original, self, *arguments)``."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda self, *given, **named: change(original, self, *given, **named))


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


def changed_terms(patch: pytest.MonkeyPatch, **change: Callable[[LossTerms, Batch], Any]) -> None:
    """Replace fields of what the toy objective returns."""

    def forward(original: Any, self: Any, batch: Batch, draws: Any) -> LossTerms:
        terms = original(self, batch, draws)
        return dataclasses.replace(terms, **{name: function(terms, batch) for name, function in change.items()})

    wrap(patch, code.TwoViews, "forward", forward)


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


# ------------------------------------------------------------------------------------- data, preprocessing


@plant("len-and-index")
def by_id_off_by_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(code.Blobs, "by_id", lambda self, sample_id: self[(int(sample_id.split("-")[1]) + 1) % len(self)])


@plant("len-and-index")
def no_end(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Blobs, "__getitem__", lambda f, self, index: f(self, index % len(self)))


@plant("ids-unique")
def ids_repeat(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch, code.Blobs, "__getitem__",
        lambda f, self, index: dataclasses.replace(f(self, index), id=f"blob-{index % 7}"),
    )  # fmt: skip


@plant("splits-disjoint")
def splits_overlap(patch: pytest.MonkeyPatch) -> None:
    def with_splits(original: Any, self: Any, config: Any) -> None:
        original(self, config)
        self.splits = {"train": range(40), "test": range(39, 50)}

    wrap(patch, code.Blobs, "__init__", with_splits)


@plant("splits-disjoint")
def a_group_straddles(patch: pytest.MonkeyPatch) -> None:
    def with_splits(original: Any, self: Any, config: Any) -> None:
        original(self, config)
        self.splits = {"train": range(39), "test": range(39, 60)}
        self.groups = [f"speaker-{index // 2}" for index in range(60)]

    wrap(patch, code.Blobs, "__init__", with_splits)


@plant("fingerprint-stable")
def fingerprint_of_the_moment(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(code.Blobs, "fingerprint", property(lambda self: uuid.uuid4().hex))


@plant("item-errors-only")
def bad_row_raises_key_error(patch: pytest.MonkeyPatch) -> None:
    def broken(original: Any, self: Any, index: int) -> Any:
        if index == 7:
            raise KeyError("column")
        return original(self, index)

    wrap(patch, code.Blobs, "__getitem__", broken)


@plant("item-errors-only")
def error_without_reason(patch: pytest.MonkeyPatch) -> None:
    def broken(original: Any, self: Any, index: int) -> Any:
        if index == 7:
            raise ItemError("could not read", "")
        return original(self, index)

    wrap(patch, code.Blobs, "__getitem__", broken)


@plant("deterministic-prepare")
def noise_in_prepare(patch: pytest.MonkeyPatch) -> None:
    def noisy(original: Any, self: Any, sample: Any) -> Any:
        items = original(self, sample)
        items[0].values = items[0].values + np.random.default_rng().normal(size=items[0].values.shape).astype(
            np.float32
        )
        return items

    wrap(patch, code.Sets, "prepare", noisy)


@plant("deterministic-prepare")
def prepare_changes_the_sample(patch: pytest.MonkeyPatch) -> None:
    def greedy(original: Any, self: Any, sample: Any) -> Any:
        items = original(self, sample)
        sample.inputs *= 2
        return items

    wrap(patch, code.Sets, "prepare", greedy)


@plant("caches-know-their-source")
def prepared_items_are_kept_by_id(patch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}

    def remembered(original: Any, self: Any, sample: Any) -> Any:
        return kept.setdefault(sample.id, original(self, sample))

    wrap(patch, code.Sets, "prepare", remembered)


@plant("save-load-roundtrip")
def statistics_not_saved(patch: pytest.MonkeyPatch) -> None:
    def save(self: Any, folder: Path) -> Mapping[str, Any]:
        (folder / "mean.json").write_text(json.dumps([0.0, 0.0]))
        return {}

    patch.setattr(code.Sets, "save", save)


@plant("save-load-roundtrip")
def state_is_no_json(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Sets, "save", lambda f, self, folder: {**f(self, folder), "mean": self.mean})


@plant("facts-complete")
def fact_without_value(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(code.Sets, "facts", lambda self: {"point_width": 2, "vocabulary_size": None})


@plant("facts-complete")
def fact_is_no_json(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(code.Sets, "facts", lambda self: {"point_width": 2, "centre": self.mean})


@plant("collate-counts-items")
def batch_size_off(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Sets, "collate", lambda f, self, items: dataclasses.replace(f(self, items), size=len(items) + 1))


@plant("worker-count-invariant")
def global_rng_in_views(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Jitter, "build", lambda f, self, i, r, g, p: f(self, i, r, np.random.default_rng(), p))


# ---------------------------------------------------------------------------------- settings, recipes


@plant("help-on-every-field")
def silent_field(patch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Silent(configs.JitterConfig):
        extra: int = 3

    patch.setattr(configs, "JitterConfig", Silent)


@plant("frozen")
def settings_can_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        configs, "JitterConfig", dataclasses.make_dataclass("JitterConfig", [("noise", float, 0.1)], kw_only=True)
    )


@plant("frozen")
def settings_by_position(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        configs, "JitterConfig", dataclasses.make_dataclass("JitterConfig", [("noise", float, 0.1)], frozen=True)
    )


@plant("unknown-key-rejected")
def accepts_anything(patch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Loose(configs.JitterConfig):
        __pydantic_config__ = {"extra": "ignore"}  # noqa: RUF012 - as pydantic documents it

    patch.setattr(configs, "JitterConfig", Loose)


@plant("roundtrip")
def default_of_another_type(patch: pytest.MonkeyPatch) -> None:
    fields = [("noise", int, dataclasses.field(default=0.5, metadata={"help": "noise"}))]
    patch.setattr(
        configs, "JitterConfig", dataclasses.make_dataclass("JitterConfig", fields, frozen=True, kw_only=True)
    )


@plant("roundtrip")
def setting_without_default(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        configs,
        "JitterConfig",
        dataclasses.make_dataclass("JitterConfig", [("noise", float)], frozen=True, kw_only=True),
    )


@plant("presets-resolve")
def preset_out_of_range(patch: pytest.MonkeyPatch) -> None:
    bad = configs.TwoViewsConfig()
    object.__setattr__(bad, "mask_ratio", 1.5)
    run = dataclasses.replace(configs.tiny(), objective=configs.Part("pairs/two-views", bad))
    patch.setattr(configs, "tiny", lambda: run)


def changed_spec(patch: pytest.MonkeyPatch, hook: str, **change: Any) -> None:
    """Other fields in the specs that one hook returns."""
    specs = [dataclasses.replace(one, **change) for one in getattr(_plugin, hook)()]
    fake = lambda: specs  # noqa: E731 - the marker goes onto the function object
    patch.setattr(_plugin, hook, _plugin.hookimpl(fake))


@plant("needs-met")
def needs_what_nobody_offers(patch: pytest.MonkeyPatch) -> None:
    changed_spec(patch, "repcore_objectives", needs=("decoder-states",))


@plant("info-complete")
def no_summary(patch: pytest.MonkeyPatch) -> None:
    changed_spec(patch, "repcore_datasets", summary="")


@plant("names-valid")
def system_names_nobody(patch: pytest.MonkeyPatch) -> None:
    changed_spec(patch, "repcore_systems", encoders=("set-met",))


@plant("names-valid")
def views_named_wrong(patch: pytest.MonkeyPatch) -> None:
    changed_spec(patch, "repcore_objectives", views="jiter")


@plant("targets-resolve")
def target_moved(patch: pytest.MonkeyPatch) -> None:
    changed_spec(patch, "repcore_datasets", render="tests.toys.toy_pairs.code:drawing")


@plant("needs-have-hints")
def need_without_command(patch: pytest.MonkeyPatch) -> None:
    changed_spec(patch, "repcore_encoders", needs=("torch",))


@plant("has-recipe-or-example")
def encoder_in_no_recipe(patch: pytest.MonkeyPatch) -> None:
    more = dataclasses.replace(_plugin.repcore_encoders()[0], name="orphan")
    specs = [*_plugin.repcore_encoders(), more]
    patch.setattr(_plugin, "repcore_encoders", _plugin.hookimpl(lambda: specs))


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


# ------------------------------------------------------------------------------------- data that leaks


@plant("splits-share-no-content")
def copies_across_splits(patch: pytest.MonkeyPatch) -> None:
    def with_splits(original: Any, self: Any, config: Any) -> None:
        original(self, config)
        self.splits = {"train": range(30), "test": range(30, 60)}

    wrap(patch, code.Blobs, "__init__", with_splits)
    wrap(
        patch, code.Blobs, "__getitem__",
        lambda f, self, index: dataclasses.replace(f(self, 3 if index == 40 else index), id=f"blob-{index}"),
    )  # fmt: skip
