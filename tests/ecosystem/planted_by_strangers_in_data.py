"""Bugs of people who write their first plugin, in readers, preprocessors and splits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from repcore.interfaces import Batch, Features, Item, ProbeSplit, Sample
from tests.ecosystem.planting import plant, wrap
from tests.toys.toy_pairs import code, extras

# ------------------------------------------------------------------------------------------------- readers


@plant("labels-in-range")
def class_numbers_from_one(patch: pytest.MonkeyPatch) -> None:
    """The first rows of a class are right; the last class is beyond the names."""

    def shifted(original: Any, self: Any, index: int) -> Sample:
        sample = original(self, index)
        return dataclasses.replace(sample, targets={"kind": sample.targets["kind"] + 1})

    wrap(patch, code.Blobs, "__getitem__", shifted)


@plant("labels-in-range")
def one_late_row_has_a_class_beyond_the_names(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch, code.Blobs, "__getitem__",
        lambda f, self, index: dataclasses.replace(f(self, index), targets={"kind": 3.0 if index == 47 else 0.0}),
    )  # fmt: skip


@plant("fingerprint-follows-content")
def constant_fingerprint(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(code.Blobs, "fingerprint", property(lambda self: "blobs-version-1"))


@plant("fingerprint-follows-content")
def fingerprint_of_the_ids(patch: pytest.MonkeyPatch) -> None:
    """Another seed gives other clouds under the same ids."""
    patch.setattr(code.Blobs, "fingerprint", property(lambda self: f"{len(self)} blobs: blob-0 to blob-{len(self)}"))


# ------------------------------------------------------------------------------------------- preprocessors


@plant("caches-know-their-source")
def prepared_once_for_each_id(patch: pytest.MonkeyPatch) -> None:
    def remembered(original: Any, self: Any, sample: Sample) -> list[Item]:
        kept = self.__dict__.setdefault("kept", {})
        if sample.id not in kept:
            kept[sample.id] = original(self, sample)
        return list(kept[sample.id])

    wrap(patch, code.Sets, "prepare", remembered)


@plant("encoder-reads-content")
def vectors_kept_by_id(patch: pytest.MonkeyPatch) -> None:
    def remembered(original: Any, self: Any, batch: Batch, *rest: Any) -> Features:
        kept, key = self.__dict__.setdefault("kept", {}), tuple(batch.sample_id)
        if key not in kept:
            kept[key] = original(self, batch, *rest)
        found: Features = kept[key]
        return found

    wrap(patch, code.SetNet, "forward", remembered)


@plant("fit-sees-training-rows-only")
def fit_on_all_rows(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Sets, "fit", lambda f, self, reader, indices: f(self, reader, range(len(reader))))


@plant("fit-sees-training-rows-only")
def fit_on_a_random_part(patch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng()
    wrap(
        patch,
        code.Sets,
        "fit",
        lambda f, self, reader, rows: f(self, reader, drawn.permutation(rows)[: len(rows) // 2]),
    )


def in_windows(patch: pytest.MonkeyPatch, weight: Any) -> None:
    """Every set as a long and a short window."""

    def prepare(original: Any, self: Any, sample: Sample) -> list[Item]:
        (whole,) = original(self, sample)
        cut = max(1, len(whole.values) * 4 // 5)
        parts = [whole.values[:cut], whole.values[cut:]] if len(whole.values) > cut else [whole.values]
        total = len(whole.values)
        return [Item(one, {"points": len(one)}, weight=weight(len(one) / total)) for one in parts]

    wrap(patch, code.Sets, "prepare", prepare)


@plant("window-weights")
def windows_weigh_the_same(patch: pytest.MonkeyPatch) -> None:
    in_windows(patch, lambda share: 1.0)


@plant("window-weights")
def windows_weigh_upside_down(patch: pytest.MonkeyPatch) -> None:
    in_windows(patch, lambda share: 1.0 - share + 1e-3)


@plant("window-weights")
def short_windows_weigh_nothing(patch: pytest.MonkeyPatch) -> None:
    in_windows(patch, lambda share: float(share > 0.5))


@plant("padding-invariant")
def second_windows_are_padded_with_their_mean(patch: pytest.MonkeyPatch) -> None:
    """Only windows behind the first depend on their neighbours: a check of first items sees nothing."""
    in_windows(patch, lambda share: share)

    def forward(original: Any, self: Any, batch: Batch, *rest: Any) -> Features:
        features = original(self, batch, *rest)
        counts = torch.bincount(batch.inputs["owner"], minlength=batch.size)
        shift = features.pooled.mean(0) * (counts < 5)[:, None]
        return dataclasses.replace(features, pooled=features.pooled + shift)

    wrap(patch, code.SetNet, "forward", forward)


@plant("baseline-reads-no-label")
def baseline_with_the_label(patch: pytest.MonkeyPatch) -> None:
    def moments(preprocessor: Any, samples: Sequence[Sample]) -> np.ndarray:
        return np.stack([[*one.inputs.mean(0), np.nan_to_num(one.targets.get("kind", 0))] for one in samples])

    patch.setattr(code, "moments", moments)


@plant("baseline-row-by-row")
def baseline_standardised_over_the_rows(patch: pytest.MonkeyPatch) -> None:
    original = code.moments
    patch.setattr(
        code, "moments", lambda preprocessor, samples: (rows := original(preprocessor, samples)) - rows.mean(0)
    )


# -------------------------------------------------------------------------------------------------- splits


@plant("split-groups-whole")
def a_split_of_rows(patch: pytest.MonkeyPatch) -> None:
    """Copies of a sample land on both sides."""

    def split(inputs: Any, seed: int) -> ProbeSplit:
        order = np.random.default_rng(seed).permutation(len(inputs.ids))
        return ProbeSplit(train=order[20:], test=order[:20])

    patch.setattr(extras, "by_content", split)


@plant("split-groups-whole")
def a_group_on_both_sides(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch, code.Blobs, "__getitem__",
        lambda f, self, index: dataclasses.replace(f(self, index), group=f"speaker-{index % 9}"),
    )  # fmt: skip
    original = extras.by_content

    def split(inputs: Any, seed: int) -> ProbeSplit:
        blind = [dataclasses.replace(one, group=None) for one in inputs.samples]
        return original(dataclasses.replace(inputs, samples=blind), seed)

    patch.setattr(extras, "by_content", split)


@plant("split-parts-apart")
def train_holds_the_test_rows(patch: pytest.MonkeyPatch) -> None:
    original = extras.by_content

    def split(inputs: Any, seed: int) -> ProbeSplit:
        found = original(inputs, seed)
        return ProbeSplit(train=np.arange(len(inputs.ids)), test=found.test) if seed == 2 else found

    patch.setattr(extras, "by_content", split)


@plant("split-by-seed")
def split_by_the_moment(patch: pytest.MonkeyPatch) -> None:
    original, calls = extras.by_content, itertools.count()
    patch.setattr(extras, "by_content", lambda inputs, seed: original(inputs, seed + 10 * next(calls)))
