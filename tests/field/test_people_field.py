"""People in names of files and folders are groups by one rule in every domain; scans and visits of one person (K8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from repcore import registry
from repcore.data.readers import open_data
from tests.field.audio_inputs import said
from tests.field.test_told_by_names_field import planted

DOMAINS = ("audio", "medical3d", "timeseries", "pointcloud", "volumes")


def plant(root: Path, domain: str, stem: str, number: int) -> None:
    place = root / stem
    place.parent.mkdir(parents=True, exist_ok=True)
    if domain == "volumes":
        values = np.random.default_rng(number).normal(size=(8, 8, 8)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), root / f"{stem}.nii.gz")
    else:
        planted(place.parent, domain, place.name, number)


def groups(root: Path) -> dict[str, set[str]]:
    """First word of each id -> groups of its rows."""
    reader: Any = open_data(registry.default(), str(root))[1]
    assert "--split random" in said(reader)
    found: dict[str, set[str]] = {}
    for row in reader.rows:
        found.setdefault(row.id[:3], set()).add(str(row.group))
    return found


@pytest.mark.parametrize("form", ["P{:02}_{}", "S{:02}_{}", "VP{}/{}", "P{:02}/{}"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_codes_of_people_are_groups_everywhere_and_no_classes(tmp_path: Path, domain: str, form: str) -> None:
    for number, (person, word) in enumerate([(one, word) for one in (1, 2, 3) for word in ("wa", "sit")]):
        plant(tmp_path, domain, form.format(person, word), number)
    found = groups(tmp_path)
    assert len(found) == 3
    assert all(len(one) == 1 and "None" not in one for one in found.values())
    assert len(set.union(*found.values())) == 3
    assert not [one.name for one in open_data(registry.default(), str(tmp_path))[1].targets if one.kind == "class"]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("a{}x_{}", ("ADC", "DWI")),
        ("a{}x_{}", ("2019", "2021")),
        ("a{}x/{}", ("T1", "T2")),
        ("a{}x_{}", ("T0", "T1", "T2")),
        ("a{}x_{}", ("T1", "T2", "T3")),
    ],
)
@pytest.mark.parametrize("table", [False, True])
def test_scans_and_visits_of_one_person_are_rows_of_a_group(
    tmp_path: Path, form: str, words: tuple[str, ...], table: bool
) -> None:
    for number, (person, word) in enumerate([(one, word) for one in (1, 2, 3) for word in words]):
        plant(tmp_path, "volumes", form.format(person, word), number)
    if table and words[0].startswith("T"):
        (tmp_path / "clinical.csv").write_text("PatientID,age\na1x,50\na2x,61\na3x,72\n")
    found = groups(tmp_path)
    assert sorted(found) == ["a1x", "a2x", "a3x"]
    assert all(len(one) == 1 and "None" not in one for one in found.values())
    reader: Any = open_data(registry.default(), str(tmp_path))[1]
    assert len(reader) == 3 * len(words)
    if (tmp_path / "clinical.csv").exists():
        assert {(row.id[:3], row.targets["age"]) for row in reader.rows} == {
            ("a1x", 50.0),
            ("a2x", 61.0),
            ("a3x", 72.0),
        }


def test_sequences_are_channels_and_one_visit_is_named_by_its_person(tmp_path: Path) -> None:
    for number, (person, word) in enumerate([(one, word) for one in (1, 2, 3) for word in ("T1", "T2")]):
        plant(tmp_path / "sequences", "volumes", f"a{person}x_{word}", number)
        if word == "T1":
            plant(tmp_path / "visits", "volumes", f"a{person}x_T0", number)
    assert len(open_data(registry.default(), str(tmp_path / "sequences"))[1]) == 3
    (tmp_path / "visits" / "clinical.csv").write_text("PatientID,age\na1x,50\na2x,61\na3x,72\n")
    reader: Any = open_data(registry.default(), str(tmp_path / "visits"))[1]
    assert [row.targets["age"] for row in reader.rows] == [50.0, 61.0, 72.0]
    assert "T0 is no sequence" in said(reader)
