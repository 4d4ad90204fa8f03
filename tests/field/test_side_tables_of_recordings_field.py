"""Folders of recordings of sensors: tables beside them, parts, classes and people in folders, names and columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import account_of
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.datasets.recordings import Recordings

STEPS = 24


def said(reader: Any) -> str:
    return "\n".join(account_of(reader).sentences())


def losses(reader: Any) -> str:
    account = account_of(reader)
    return "\n".join([*account.odd_cells, *(str(one) for one in account.guesses if one.is_loss)])


def record(path: Path, more: str = "", header: str = "", step: float = 0.02, swap: bool = False) -> None:
    """A file of times, two channels of sensors, and cells that stand in every line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ax, ay = np.random.default_rng(sum(map(ord, str(path)))).normal(size=(2, STEPS)).round(4)
    names, columns = ("t,ay,ax", (ay, ax)) if swap else ("t,ax,ay", (ax, ay))
    rows = [f"{number * step:.2f},{columns[0][number]},{columns[1][number]}{more}" for number in range(STEPS)]
    path.write_text("\n".join([names + header, *rows]) + "\n")


def recordings(path: Path, **settings: Any) -> Recordings:
    return Recordings(SeriesTableConfig(path=str(path), **settings))


def words(reader: Any, name: str) -> dict[str, str]:
    names = next(one.names for one in reader.targets if one.name == name)
    return {row.id: names[row.targets[name]] for row in reader.rows if row.targets[name] == row.targets[name]}


def groups(reader: Any) -> dict[str, str]:
    return {row.id: row.group for row in reader.rows}


def test_a_table_beside_recordings_labels_them_by_name(tmp_path: Path) -> None:
    for number in range(8):
        record(tmp_path / f"rec_{number}.csv")
    rows = [f"rec_{one}.csv,{'walk' if one % 2 else 'run'},s{one // 2}" for one in reversed(range(8))]
    (tmp_path / "labels.csv").write_text("\n".join(["file,activity,subject", *rows]) + "\n")
    reader = recordings(tmp_path)
    assert words(reader, "activity") == {f"rec_{one}": "walk" if one % 2 else "run" for one in range(8)}
    assert groups(reader) == {f"rec_{one}": f"s{one // 2}" for one in range(8)}
    assert account_of(reader).counts["used"] == 9


def test_times_of_another_table_are_no_names_of_recordings(tmp_path: Path) -> None:
    for number in range(3):
        record(tmp_path / f"{number}.csv")
    (tmp_path / "log.csv").write_text("t,volts\n" + "".join(f"{one},{one * 0.37}\n" for one in range(20)))
    reader = recordings(tmp_path)
    assert not reader.targets
    assert account_of(reader).fate(tmp_path / "log.csv") == (
        "ignored",
        "its columns are not those of the other tables",
    )


def test_columns_are_read_by_name_whatever_their_order(tmp_path: Path) -> None:
    for number in range(4):
        record(tmp_path / f"r{number}.csv", swap=number == 2)
    reader = recordings(tmp_path)
    assert len(reader) == 4
    assert {row.source.names for row in reader.rows} == {("ax", "ay")}
    expected = np.random.default_rng(sum(map(ord, str(tmp_path / "r2.csv")))).normal(size=(2, STEPS)).round(4).T
    np.testing.assert_allclose(reader[2].inputs.values, expected, rtol=1e-6)
    assert "columns of r2.csv: read by name" in said(reader)


def test_classes_and_people_in_nested_folders_are_both_kept(tmp_path: Path) -> None:
    for activity in ("walking", "running"):
        for subject in range(3):
            for trial in range(2):
                record(tmp_path / "outer" / activity / f"subject{subject:02d}" / f"trial{trial}.csv")
                record(tmp_path / "inner" / f"subject{subject:02d}" / activity / f"trial{trial}" / "imu.csv")
    for name in ("outer", "inner"):
        reader = recordings(tmp_path / name)
        kinds = words(reader, "class")
        assert len(kinds) == 12
        assert all(kind in row for row, kind in kinds.items())
        assert all(group in row for row, group in groups(reader).items())
        assert set(groups(reader).values()) == {"subject00", "subject01", "subject02"}


def test_names_of_files_tell_parts_and_people(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number in range(3):
            record(tmp_path / "parts" / f"{part}_{number}.csv")
    reader = recordings(tmp_path / "parts")
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"test": 3, "train": 3}
    for subject in range(1, 4):
        for activity in ("walk", "run"):
            record(tmp_path / "people" / f"S{subject:02d}_{activity}_0.csv")
    found = groups(recordings(tmp_path / "people"))
    assert found == {name: name[:3].lower() for name in found}
    assert len(found) == 6


def test_numbers_that_each_file_has_one_of_are_no_channels(tmp_path: Path) -> None:
    for number in range(8):
        record(tmp_path / f"r{number}.csv", f",{10 * (1 + number % 2)},{30 + number},{number % 3}", ",gain,age,label")
    reader = recordings(tmp_path)
    assert {row.source.names for row in reader.rows} == {("ax", "ay")}
    assert words(reader, "label") == {f"r{one}": str(one % 3) for one in range(8)}
    assert [row.targets["age"] for row in reader.rows] == [30.0 + one for one in range(8)]
    assert "column 'gain': no channel (one number a file, others in other files)" in said(reader)


def test_recordings_of_one_patient_stay_together(tmp_path: Path) -> None:
    for number in range(8):
        record(tmp_path / "words" / f"{number}.csv", f",p{number // 2},{'ab'[number // 2 % 2]}", ",patient,dx")
        record(tmp_path / "numbers" / f"{number}.csv", f",{number // 2 + 1},{number // 2 % 2}", ",patient_id,sex")
    reader = recordings(tmp_path / "words")
    assert groups(reader) == {str(one): f"p{one // 2}" for one in range(8)}
    assert len(words(reader, "dx")) == 8
    reader = recordings(tmp_path / "numbers")
    assert groups(reader) == {str(one): str(one // 2 + 1) for one in range(8)}
    assert words(reader, "sex") == {str(one): str(one // 2 % 2) for one in range(8)}


def test_different_steps_of_time_are_said(tmp_path: Path) -> None:
    for number in range(4):
        record(tmp_path / f"r{number}.csv", step=0.02 * (1 + number % 2))
    assert "different steps of time (20 ms in 2, 40 ms in 2)" in losses(recordings(tmp_path))
    assert "different steps" not in losses(recordings(tmp_path, resample="40ms"))
