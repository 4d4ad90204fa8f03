"""Lists beside files, the same in every domain of files: parts, classes, JSON lines; prose is no list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nibabel
import numpy as np
import pytest

from repcore import registry
from repcore.data.accounting import report_account, rows_without_part
from repcore.data.inspection import inspect_reader
from repcore.data.readers import open_data
from repcore.reporting import LogReporter
from tests.field.audio_inputs import said
from tests.field.test_told_by_names_field import planted

DOMAINS = ("audio", "medical3d", "timeseries", "pointcloud", "volumes")
SUFFIXES = {"audio": ".wav", "medical3d": ".png", "timeseries": ".csv", "pointcloud": ".xyz", "volumes": ".nii.gz"}
STEMS = [f"item{letter}" for letter in "abcdefghijkl"]


def folder(root: Path, domain: str) -> list[str]:
    """Twelve files; their names."""
    root.mkdir()
    for number, stem in enumerate(STEMS):
        if domain == "volumes":
            values = np.random.default_rng(number).normal(size=(8, 8, 8)).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), root / f"{stem}.nii.gz")
        else:
            planted(root, domain, stem, number)
    return [stem + SUFFIXES[domain] for stem in STEMS]


def opened(path: Path) -> Any:
    return open_data(registry.default(), str(path))[1]


def rows(reader: Any) -> dict[str, int]:
    return {row.id.split("/")[-1].split(".")[0]: number for number, row in enumerate(reader.rows)}


def parts(reader: Any) -> dict[str, str]:
    names = {number: stem for stem, number in rows(reader).items()}
    return {names[row]: part for part, found in reader.splits.items() for row in found}


def words(reader: Any, name: str) -> dict[str, str]:
    names = next(one.names for one in reader.targets if one.name == name)
    return {stem: names[int(reader.rows[row].targets[name])] for stem, row in rows(reader).items()}


@pytest.mark.parametrize("form", ["names", "stems", "paths"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_lists_of_names_declare_the_split(tmp_path: Path, domain: str, form: str) -> None:
    names = folder(tmp_path / "set", domain)
    written = {"names": names, "stems": STEMS, "paths": [f"/home/someone/set/{name}" for name in names]}[form]
    for part, first, stop in (("train", 0, 6), ("val", 6, 9), ("test", 9, 12)):
        (tmp_path / "set" / f"{part}.txt").write_text("\n".join(written[first:stop]) + "\n")
    reader = opened(tmp_path / "set")
    assert len(reader) == 12
    meant = {stem: ("train", "validation", "test")[(place >= 6) + (place >= 9)] for place, stem in enumerate(STEMS)}
    assert parts(reader) == meant


@pytest.mark.parametrize("domain", DOMAINS)
def test_one_list_leaves_the_others_for_training_and_prose_is_no_list(tmp_path: Path, domain: str) -> None:
    names = folder(tmp_path / "set", domain)
    (tmp_path / "set" / "test.txt").write_text("\n".join(names[:3]))
    (tmp_path / "set" / "train.txt").write_text("The model was trained\nfor three days\non itema and others\n")
    reader = opened(tmp_path / "set")
    assert len(reader) == 12
    assert parts(reader) == {stem: "test" if place < 3 else "train" for place, stem in enumerate(STEMS)}


@pytest.mark.parametrize("domain", ["audio", "medical3d", "timeseries", "volumes"])
@pytest.mark.parametrize("named", [True, False])
def test_a_list_of_names_and_class_numbers_is_a_label(tmp_path: Path, domain: str, named: bool) -> None:
    names = folder(tmp_path / "set", domain)
    lines = [f"{name} {place % 3}" for place, name in enumerate(names)]
    (tmp_path / "set" / "list.txt").write_text("\n".join(lines) + "\n")
    if named:
        (tmp_path / "set" / "classes.txt").write_text("cat\ndog\nowl\n")
    reader = opened(tmp_path / "set")
    assert len(reader) == 12
    meant = ("cat", "dog", "owl") if named else ("0", "1", "2")
    assert words(reader, "label") == {stem: meant[place % 3] for place, stem in enumerate(STEMS)}
    assert ("as classes.txt names them" in said(reader)) is named


@pytest.mark.parametrize("domain", ["audio", "medical3d", "timeseries", "volumes"])
def test_lines_of_json_that_name_files_are_a_table_like_others(tmp_path: Path, domain: str) -> None:
    names = folder(tmp_path / "set", domain)
    lines = [{"file_name": name, "kind": "xy"[place % 2], "more": [1, 2]} for place, name in enumerate(names)]
    (tmp_path / "set" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    reader = opened(tmp_path / "set")
    assert len(reader) == 12
    assert words(reader, "kind") == {stem: "xy"[place % 2] for place, stem in enumerate(STEMS)}


def test_numbers_that_may_count_from_0_or_1_are_not_named(tmp_path: Path) -> None:
    names = folder(tmp_path / "set", "medical3d")
    (tmp_path / "set" / "list.txt").write_text("\n".join(f"{name} {1 + place % 2}" for place, name in enumerate(names)))
    (tmp_path / "set" / "classes.txt").write_text("cat\ndog\nowl\n")
    reader = opened(tmp_path / "set")
    assert words(reader, "label")["itema"] == "1"
    assert "do not tell how they count 3 names" in said(reader)
    (tmp_path / "set" / "classes.txt").write_text("cat\ndog\n")
    assert words(opened(tmp_path / "set"), "label")["itema"] == "cat"
    (tmp_path / "set" / "classes.txt").write_text("1 cat\n2 dog\n")
    assert words(opened(tmp_path / "set"), "label")["itemb"] == "dog"


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_name_in_two_lists_is_in_neither_part_and_so_are_names_in_no_list(tmp_path: Path, domain: str) -> None:
    names = folder(tmp_path / "set", domain)
    for part, first, stop in (("train", 0, 6), ("val", 5, 9), ("test", 9, 11)):
        (tmp_path / "set" / f"{part}.txt").write_text("\n".join(names[first:stop]) + "\n")
    reader = opened(tmp_path / "set")
    found = parts(reader)
    assert [stem for stem in STEMS if stem not in found] == ["itemf", "iteml"]
    assert {part: list(found.values()).count(part) for part in found.values()} == {
        "train": 5, "validation": 3, "test": 2,
    }  # fmt: skip
    assert f"1 names stand in several parts and belong to none: {names[5]!r} (train and validation)" in said(reader)
    left = 1 if domain == "audio" else 2  # tables of recordings tell which of them are rows
    assert rows_without_part(reader).startswith(f"{left} of {10 + left} rows are in no declared part of the split (")


def test_rows_with_a_blank_part_are_counted_by_every_command(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    rows_of = ["smiles,y,split", "CCO,1,train", "CCN,2,train", "CCCC,3,", "CCCl,4,test", "CCBr,5,", "CCS,6,test"]
    path.write_text("\n".join(rows_of) + "\n")
    reader = opened(path)
    told = "2 of 6 rows are in no declared part of the split (train, test)"
    assert rows_without_part(reader) == told
    assert inspect_reader(reader, None, LogReporter()).no_part == told
    said_by = Mock()
    report_account(reader, said_by)
    said_by.info.assert_called_with(told)
