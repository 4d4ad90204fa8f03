"""The reader that layouts of files share: rows kept, labels chosen, and what changes a fingerprint."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from repcore.data.catalogue import (
    Catalogue,
    CatalogueReader,
    Row,
    chosen_targets,
    class_target,
    existing,
    files_below,
    rows_by,
)
from repcore.errors import DataError, ItemError
from repcore.specs import TargetSpec

WORDS = ("one", "two", "three")


class WordReader(CatalogueReader[Path, str]):
    noun = "word"
    reads = 0

    def read(self, row: Row[Path]) -> str:
        self.reads += 1
        return row.source.read_text()

    def size_of(self, content: str) -> int:
        return len(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for word in WORDS:
        (tmp_path / f"{word}.txt").write_text(word)
    return tmp_path


def catalogue(folder: Path, **changes: Any) -> Catalogue[Path]:
    rows = [
        Row(word, folder / f"{word}.txt", {"length": len(word), "place": place}, files=(folder / f"{word}.txt",))
        for place, word in enumerate(WORDS)
    ]
    targets = (TargetSpec("length", "regression"), TargetSpec("place", "regression"))
    return Catalogue[Path](**{"rows": rows, "targets": targets, **changes})


def test_a_row_is_read_with_the_labels_that_were_asked_for(folder: Path) -> None:
    reader = WordReader(catalogue(folder), folder, labels=["place"])
    sample = reader[2]
    assert (sample.id, sample.inputs, dict(sample.targets)) == ("three", "three", {"place": 2})
    assert [target.name for target in reader.targets] == ["place"]
    assert dict(WordReader(catalogue(folder), folder)[2].targets) == {"length": 5, "place": 2}


def test_an_unknown_label_is_named_with_its_neighbour(folder: Path) -> None:
    with pytest.raises(DataError, match="the words have no label 'lenght'") as caught:
        WordReader(catalogue(folder), folder, labels=["lenght"])
    assert "length" in str(caught.value)


def test_a_row_that_cannot_be_used_keeps_its_place_and_says_why(folder: Path) -> None:
    rows = list(catalogue(folder).rows)
    rows[1] = Row("two", folder / "two.txt", problem=("empty", "two.txt has 0 bytes"))
    reader = WordReader(catalogue(folder, rows=rows), folder)
    assert (len(reader), reader.id_of(1)) == (3, "two")
    with pytest.raises(ItemError, match="0 bytes"):
        reader[1]


def test_no_row_that_can_be_read_is_refused_with_the_first_reason(folder: Path) -> None:
    rows = [Row(word, folder, problem=("missing_file", f"{word} does not exist")) for word in WORDS]
    with pytest.raises(DataError, match="none of the 3 words") as caught:
        WordReader(catalogue(folder, rows=rows), folder)
    assert "one: one does not exist" in str(caught.value)


def test_no_row_at_all_is_refused_with_what_would_be_one(folder: Path) -> None:
    with pytest.raises(DataError, match="holds no word") as caught:
        WordReader(Catalogue([]), folder, expected=".txt")
    assert ".txt" in str(caught.value)


def test_ids_must_be_unique(folder: Path) -> None:
    rows = [Row("same", folder / f"{word}.txt") for word in WORDS]
    with pytest.raises(DataError, match=r"2 ids of .* are not unique"):
        WordReader(catalogue(folder, rows=rows), folder)


def test_a_row_is_found_by_its_id(folder: Path) -> None:
    reader = WordReader(catalogue(folder), folder)
    assert reader.by_id("two").inputs == "two"
    with pytest.raises(DataError, match="no word 'twoo'") as caught:
        reader.by_id("twoo")
    assert "two" in str(caught.value)


def test_the_fingerprint_follows_content_and_labels(folder: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        return WordReader(catalogue(folder, **changes), folder).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    relabelled = [Row(row.id, row.source, {"length": 0}, files=row.files) for row in catalogue(folder).rows]
    assert fingerprint(rows=relabelled) != first
    os.utime(folder / "two.txt", ns=(0, 0))
    assert fingerprint() == first  # touched or copied anew: still the same data
    (folder / "two.txt").write_text("owt")
    assert fingerprint() != first  # as long as before, other content


def test_memory_for_read_items_is_bounded(folder: Path) -> None:
    reader = WordReader(catalogue(folder), folder, cache_mib=1)
    reader._room = len("one") + len("two")  # a bound of some bytes, which no setting gives
    for _ in range(3):
        assert [reader[row].inputs for row in range(3)] == list(WORDS)
    assert reader.reads == 2 + 3, "two words fit, the third is read each time"


def test_groups_are_told_only_where_there_are_some(folder: Path) -> None:
    assert WordReader(catalogue(folder), folder).groups is None
    rows = [Row(word, folder / f"{word}.txt", group=word[0]) for word in WORDS]
    assert WordReader(catalogue(folder, rows=rows), folder).groups == ["o", "t", "t"]


def test_a_reader_travels_to_another_process(folder: Path) -> None:
    copy = pickle.loads(pickle.dumps(WordReader(catalogue(folder), folder)))
    assert copy[0].inputs == "one"


def test_classes_are_numbered_as_people_count() -> None:
    target, numbers = class_target("class", ["10", "2", "dog", "cat", "2"])
    assert target.names == ("2", "10", "cat", "dog")
    assert numbers == {"2": 0, "10": 1, "cat": 2, "dog": 3}


def test_targets_stay_in_the_order_of_the_layout() -> None:
    found = [TargetSpec(name, "regression") for name in ("a", "b", "c")]
    assert [one.name for one in chosen_targets(found, ["c", "a"], "row")] == ["a", "c"]


def test_rows_by_leaves_out_rows_without_a_word() -> None:
    assert rows_by(["train", None, "test", "train"]) == {"train": [0, 3], "test": [2]}


def test_files_below_leaves_out_hidden_ones_and_those_of_another_folder(folder: Path) -> None:
    for name in (".hidden/a.txt", "derived/b.txt", "deep/er/C.TXT", "notes.md"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    found = files_below(folder, (".txt",), without=folder / "derived")
    assert [path.relative_to(folder).as_posix() for path in found] == [
        "deep/er/C.TXT", "one.txt", "three.txt", "two.txt",
    ]  # fmt: skip


def test_a_path_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no words were given"):
        existing("", "word")
    with pytest.raises(DataError, match="does not exist"):
        existing(str(tmp_path / "nothing"), "word")
    assert existing(str(tmp_path), "word") == tmp_path
