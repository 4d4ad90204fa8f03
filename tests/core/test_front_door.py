"""Groups, joins by key, columns that define an item, guards around plugin code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repcore.data.groups import group_column, group_in_path, groups_in_paths, is_group_name
from repcore.data.guard import item_guard, named_guard
from repcore.data.item_columns import item_columns, refuse_item_columns, varying
from repcore.data.joins import join_rows_by_key
from repcore.errors import ConfigError, DataError, ItemError, PluginError, require_known


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["id", "PatientID", "y"], "PatientID"),
        (["subject_id", "study_id", "dicom_id"], "subject_id"),
        (["file", "speaker"], "speaker"),
        (["file", "src_file", "fold"], "src_file"),
        (["Patient ID", "Finding Labels"], "Patient ID"),
        (["session", "y"], "session"),
        (["recording_id", "y"], "recording_id"),
        (["file", "Patient Age"], None),
        (["file", "site", "scene"], None),
        (["group", "patient"], "group"),
        (["lesion_id", "image_id", "dx"], "lesion_id"),  # several pictures of one mole
        (["lesion_id", "patient_id", "dx"], "patient_id"),
        (["image_id", "lesion", "lesion_type"], None),  # words that may be the label
    ],
)
def test_group_columns(columns: list[str], found: str | None) -> None:
    assert group_column(columns) == found


def test_own_words_come_first() -> None:
    assert group_column(["patient", "scaffold"], ("scaffold",)) == "scaffold"
    assert is_group_name("Plate ID", ("plate",))
    assert not is_group_name("Plate ID")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01"),
        ("train/patient00001/study1/view1_frontal.jpg", "patient00001"),
        ("files/p10/p10000032/s50414267/a.jpg", "p10000032"),
        ("speaker_12/a.wav", "speaker_12"),
        ("x/subject-7_run2.wav", "subject-7"),
        ("patients/a.wav", None),
        ("subtract/a.wav", None),
        ("a/p12.wav", None),
    ],
)
def test_groups_in_paths(path: str, found: str | None) -> None:
    assert group_in_path(path) == found


def test_paths_that_group_nothing_give_no_groups() -> None:
    single = [Path(f"sub-{number:02d}.nii") for number in range(3)]
    assert groups_in_paths(single) == ([None] * 3, "")
    twice = [Path(f"sub-{number % 2:02d}_{number}.nii") for number in range(4)]
    keys, said = groups_in_paths(twice)
    assert keys == ["sub-00", "sub-01", "sub-00", "sub-01"]
    assert "2 from paths" in said


def test_join_by_key_whatever_the_order() -> None:
    assert join_rows_by_key(["b", "a", "c"], ["a", "b"]).tolist() == [1, 0]


def test_join_refuses_what_is_ambiguous() -> None:
    with pytest.raises(DataError, match="stand more than once"):
        join_rows_by_key(["a", "a"], ["a"])
    with pytest.raises(DataError, match="stand more than once"):
        join_rows_by_key(["a", "b"], ["a", "a"])
    with pytest.raises(DataError, match="do not match: 1 ids"):
        join_rows_by_key(["a", "b"], ["a", "c"])
    with pytest.raises(DataError, match="cannot be joined by position"):
        join_rows_by_key(["a", "b"], ["x"], by_position=True)
    assert join_rows_by_key(["a", "b"], ["x", "y"], by_position=True).tolist() == [0, 1]
    assert join_rows_by_key(["a"], ["a", "x"], partial=True).tolist() == [0, -1]


@given(st.permutations(range(12)))
def test_a_permutation_never_changes_a_join(order: list[int]) -> None:
    ids = [f"r{number}" for number in range(12)]
    vectors = np.arange(12)
    shuffled = [ids[place] for place in order]
    assert (vectors[order][join_rows_by_key(shuffled, ids)] == vectors).all()


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        (["filename", "onset", "offset", "label"], {"onset": "start", "offset": "end"}),
        (["Begin File", "Begin Time (s)", "End Time (s)"], {"Begin Time (s)": "start", "End Time (s)": "end"}),
        (["file", "start_ms", "end_ms"], {"start_ms": "start", "end_ms": "end"}),
        (["file", "xmin", "ymin", "xmax", "ymax"], {"xmin": "box", "ymin": "box", "xmax": "box", "ymax": "box"}),
        (["file", "channel"], {"channel": "channel"}),
        (["file", "slice_index", "y"], {"slice_index": "frame"}),
        (["file", "end"], {}),
        (["file", "from", "y"], {}),
        (["file", "y"], {}),
    ],
)
def test_item_columns(columns: list[str], roles: dict[str, str]) -> None:
    assert {one.name: one.role for one in item_columns(columns)} == roles


def test_units_of_item_columns() -> None:
    assert [one.unit for one in item_columns(["start_ms", "End Time (s)"])] == ["ms", "s"]


def test_item_columns_are_refused_where_rows_share_a_file() -> None:
    found = varying(item_columns(["file", "onset", "offset"]), lambda name: ["1", "2"])
    with pytest.raises(DataError, match="10 of 10 rows") as raised:
        refuse_item_columns(found, "a.csv", "image", shared=10, rows=10)
    assert "'onset', 'offset'" in str(raised.value)
    refuse_item_columns(found, "a.csv", "image", shared=0, rows=10)
    refuse_item_columns(found, "a.csv", "image", shared=10, rows=10, applied=("start", "end"))
    assert varying(item_columns(["file", "channel"]), lambda name: ["1", "1"]) == []


@pytest.mark.parametrize(
    "error", [ValueError("odd"), MemoryError(), RecursionError("deep"), KeyError("x"), OSError("no")]
)
def test_anything_about_one_item_becomes_a_row(error: Exception) -> None:
    with pytest.raises(ItemError) as raised, item_guard(Path, "reading"):
        raise error
    assert type(error).__name__ in raised.value.reason
    assert "pathlib.Path" in raised.value.reason


def test_guards_keep_what_is_said_on_purpose_and_strict_mode_keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ItemError, match="empty: nothing"), item_guard(Path, "reading"):
        raise ItemError("empty", "nothing")
    with pytest.raises(PluginError, match="sniffing failed: ValueError: odd"), named_guard(Path, "sniffing"):
        raise ValueError("odd")
    with pytest.raises(KeyboardInterrupt), item_guard(Path, "reading"):
        raise KeyboardInterrupt
    monkeypatch.setenv("REPCORE_STRICT", "1")
    with pytest.raises(ValueError, match="odd"), item_guard(Path, "reading"):
        raise ValueError("odd")


def test_an_error_whose_text_is_broken_is_still_a_row() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(ItemError, match="BrokenError"), item_guard(Path, "reading"):
        raise BrokenError


def test_unknown_options_name_the_nearest() -> None:
    require_known(["mode"], ["mode", "grid"], "option of audio/ssamba")
    with pytest.raises(ConfigError, match="'moed' is no option of audio/ssamba") as raised:
        require_known(["moed"], ["mode", "grid"], "option of audio/ssamba")
    assert "did you mean: mode" in str(raised.value)


def test_a_run_holds_out_whole_groups_where_the_data_has_them() -> None:
    """Speakers and patients never stand on both sides of the validation split, whoever asks for it."""
    from types import SimpleNamespace

    from repcore.errors import DataError
    from repcore.training.assembly import _held_out

    rows = np.arange(120)
    groups = [f"s{row // 10}" if row < 100 else None for row in range(120)]
    reader = SimpleNamespace(groups=groups)
    train, held = _held_out(rows, reader, 0.1, "auto", 0)  # type: ignore[arg-type]  # only groups are asked for
    assert 12 <= len(held) <= 24
    assert not {groups[row] for row in train if groups[row]} & {groups[row] for row in held}
    few = SimpleNamespace(groups=["a"] * 50 + ["b"] * 20 + ["c"] * 50)
    assert {few.groups[row] for row in _held_out(rows, few, 0.05, "auto", 3)[1]} == {"b"}  # type: ignore[arg-type]
    one = SimpleNamespace(groups=["a"] * 120)
    assert len(_held_out(rows, one, 0.1, "auto", 0)[1]) == 12  # type: ignore[arg-type]
    assert len(_held_out(rows, SimpleNamespace(groups=None), 0.1, "auto", 0)[1]) == 12  # type: ignore[arg-type]
    assert len(_held_out(rows, reader, 0.1, "random", 0)[1]) == 12  # type: ignore[arg-type]
    for wrong in (one, SimpleNamespace(groups=None)):
        with pytest.raises(DataError, match="group"):
            _held_out(rows, wrong, 0.1, "group", 0)  # type: ignore[arg-type]
