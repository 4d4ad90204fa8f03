"""Bugs to plant into the toy's reader, preprocessing, settings and recipes; see :mod:`planted_bugs`."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.errors import ItemError
from tests.ecosystem.planting import changed_spec, plant, wrap
from tests.toys.toy_pairs import _plugin, code, configs

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
