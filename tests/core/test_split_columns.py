"""The column of parts of a split: by its name and its words, or by its words alone."""

from __future__ import annotations

import pytest

from repcore.data.groups import group_in_path
from repcore.data.split_columns import are_parts, parts_of, split_column
from repcore.data.splits import named_split, part_of


@pytest.mark.parametrize(
    ("cell", "part"),
    [
        ("Training", "train"), ("train_set", "train"), ("Training set", "train"), ("learn", "train"),
        ("DEV", "validation"), ("hold-out", "test"), ("External", "test"), ("test", "test"),
        ("calibration", None), ("protest", None), ("0", None), ("", None),
    ],
)  # fmt: skip
def test_words_of_parts(cell: str, part: str | None) -> None:
    assert part_of(cell) == part


def test_the_column_is_found_by_name_or_by_words() -> None:
    table = {
        "y": ["test", "other", "test"],
        "Menge": ["Training", "", "holdout"],
        "kind": ["test", "test", "test"],  # one word alone divides nothing
    }
    assert split_column(table, table.__getitem__) == "Menge"
    assert parts_of(table["Menge"]) == ["train", None, "test"]
    named = {**table, "Set": ["test", "test", "test"]}
    assert split_column(named, named.__getitem__) == "Set"
    twice = {**table, "second": ["train", "test", "test"]}
    assert split_column(twice, twice.__getitem__) is None
    assert not are_parts(["train", "treno"])


def test_a_split_by_a_column_knows_the_same_words() -> None:
    (split,) = named_split(["learn", "hold-out", "Training set", "hold-out"], source="Set")
    assert (split.train.tolist(), split.test.tolist()) == ([0, 2], [1, 3])


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("dev/84/121123/84-121123-0001.flac", "84"),
        ("wav/id10270/5r0dWxy17C8/00001.wav", "id10270"),
        ("p225/p225_001.wav", "p225"),
        ("Actor_01/03-01-05.wav", "actor_01"),
        ("dog/dog_001.wav", None),
        ("x/3/3_a.wav", None),
    ],
)
def test_speakers_in_paths_of_published_sets(path: str, group: str | None) -> None:
    assert group_in_path(path) == group
