"""Folders of one table a recording, the layout of UCI HAR, loggers and logs of servers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repcore.data.inspection import inspect_reader
from repcore.data.readers import open_data, recognise
from repcore.errors import DataError
from repcore.registry import default
from repcore.reporting import LogReporter
from repcore_timeseries.formats.times import read_times


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def recording(path: Path, count: int, start: float, more: str = "", header: str = "time,ax,ay") -> None:
    lines = "".join(f"{step * 0.5:.1f},{start + step:.2f},{-step:.2f}{more}\n" for step in range(count))
    written(path, f"{header}{',mood' if more else ''}\n{lines}")


def test_a_folder_of_tables_is_a_recording_a_file(tmp_path: Path) -> None:
    for word, start in (("walk", 0.0), ("run", 100.0)):
        for number in range(3):
            recording(tmp_path / word / f"subject{number}_a.csv", 20 + number, start + number, ",calm")
    written(tmp_path / "walk" / "notes.csv", "who,what\nme,nothing\nyou,much\n")
    part, reader = open_data(default(), str(tmp_path))
    assert part.name == "timeseries/recordings"
    found = inspect_reader(reader, None, LogReporter())
    assert (found.rows, found.usable, found.groups) == (6, 6, 3)
    walk = reader[reader._row_of["walk/subject2_a"]]  # type: ignore[attr-defined]
    assert walk.inputs.names == ("ax", "ay")
    np.testing.assert_allclose(walk.inputs.values[:, 0], 2 + np.arange(22))
    assert [spec.name for spec in reader.targets] == ["class"]
    assert reader.targets[0].names == ("run", "walk")
    assert walk.targets["class"] == 1
    assert walk.group == "subject2"
    account = reader.account  # type: ignore[attr-defined]
    assert account.fate(tmp_path / "walk" / "notes.csv") == (
        "ignored",
        "its columns are not those of the other tables",
    )
    assert "every filled cell is 'calm'" in " ".join(account.sentences())


def test_words_of_whole_files_are_labels_and_folders_may_be_parts(tmp_path: Path) -> None:
    for number in range(8):
        place = tmp_path / ("train" if number < 6 else "test") / f"r{number}.csv"
        recording(place, 20, number, f",{('calm', 'angry')[number % 2]}")
    (tmp_path / "train" / "r9.csv").write_bytes(b"")
    _, reader = open_data(default(), str(tmp_path))
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 7, "test": 2}
    assert [(one.name, one.names) for one in reader.targets] == [("mood", ("angry", "calm"))]
    found = inspect_reader(reader, None, LogReporter())
    assert (found.rows, found.usable) == (9, 8)
    assert "r9" in found.examples["unreadable"][0]
    _, windows = open_data(default(), str(tmp_path), options={"window": 10})
    assert len(windows) == 8 * 2 + 1
    assert windows[3].id == "test/r7@10"
    assert windows[3].group == "test/r7"


def test_files_without_times_number_their_steps(tmp_path: Path) -> None:
    for number in range(3):
        lines = "".join(f"{step + number},{step * 2}\n" for step in range(30))
        written(tmp_path / f"{number}.csv", f"left,right\n{lines}")
    part, reader = open_data(default(), str(tmp_path))
    assert part.name == "timeseries/recordings"
    assert "steps are numbered" in " ".join(reader.account.sentences())  # type: ignore[attr-defined]
    np.testing.assert_allclose(reader[2].inputs.values[:3], [[2, 0], [3, 2], [4, 4]])


def test_points_of_clouds_and_parts_of_a_table_are_no_recordings(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / "clouds" / f"{name}.csv", "x,y,z\n" + "0.5,1.5,2.5\n1.5,2.25,0\n" * 20)
    for name in ("train", "test"):
        recording(tmp_path / "parts" / f"{name}.csv", 20, 0.0)
    for name in ("clouds", "parts"):
        fits = recognise(default(), tmp_path / name, "timeseries").fits
        assert "timeseries/recordings" not in [one.entry.full_name for one in fits]


def har(root: Path, part: str, count: int, subject: int) -> None:
    random = np.random.default_rng(count)
    for name in ("body_acc_x", "body_gyro_y"):
        lines = [" " + " ".join(f"{one: .7e}" for one in random.normal(size=16)) for _ in range(count)]
        written(root / part / "Inertial Signals" / f"{name}_{part}.txt", "\n".join(lines) + "\n")
    written(root / part / f"X_{part}.txt", "1 2 3 4\n" * count)
    written(root / part / f"y_{part}.txt", "".join(f"{1 + row % 2}\n" for row in range(count)))
    written(root / part / f"subject_{part}.txt", f"{subject}\n" * count)


def test_the_layout_of_uci_har(tmp_path: Path) -> None:
    har(tmp_path, "train", 6, 1)
    har(tmp_path, "test", 4, 2)
    written(tmp_path / "activity_labels.txt", "1 WALKING\n2 LAYING\n")
    part, reader = open_data(default(), str(tmp_path))
    assert part.name == "timeseries/har"
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 6, "test": 4}
    assert reader.targets[0].names == ("LAYING", "WALKING")
    assert (reader[7].id, reader[7].group, reader[7].targets["activity"]) == ("test-000001", "subject-2", 0)
    assert reader[7].inputs.names == ("body_acc_x", "body_gyro_y")
    stored = np.loadtxt(tmp_path / "test" / "Inertial Signals" / "body_gyro_y_test.txt")
    np.testing.assert_allclose(reader[7].inputs.values[:, 1], stored[1], rtol=1e-6)
    written(tmp_path / "test" / "y_test.txt", "1\n2\n")
    with pytest.raises(DataError, match="different numbers of lines"):
        open_data(default(), str(tmp_path))


def test_har_with_decimal_commas_and_files_that_are_called_otherwise(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("test", 4)):
        rows = "".join("  ".join(f"{row + step / 7:.7e}" for step in range(16)) + "\n" for row in range(count))
        written(tmp_path / part / f"X_{part}.txt", rows.replace(".", ","))
        written(tmp_path / part / f"y_{part}.txt", "".join(f"{1 + row % 2:.7e}\n" for row in range(count)))
        written(tmp_path / part / f"subject_id_{part}.txt", "".join(f"{row // 2}\n" for row in range(count)))
    written(tmp_path / "activity_labels.txt", "1,WALKING\n2,SITTING DOWN\n")
    reader = open_data(default(), str(tmp_path))[1]
    assert reader[7].inputs.values.shape == (16, 1)
    np.testing.assert_allclose(reader[7].inputs.values[:, 0], 1 + np.arange(16) / 7, rtol=1e-6)
    assert reader[7].group == "subject-0"
    assert reader.targets[0].names == ("SITTING DOWN", "WALKING")
    written(tmp_path / "activity_labels.txt", "WALKING 1\nSITTING 2\n")
    assert open_data(default(), str(tmp_path))[1].targets[0].names == ("SITTING", "WALKING")
    for part, count in (("train", 6), ("test", 4)):
        written(tmp_path / part / f"y_{part}.txt", "".join(f"{20 + row / 3:.3f}\n" for row in range(count)))
    reader = open_data(default(), str(tmp_path))[1]
    assert (reader.targets[0].kind, reader[1].targets["target"]) == ("regression", 20.333)
    assert any("activity_labels.txt" in one and "name none of the answers" in one for one in reader.account.sentences())


@pytest.mark.parametrize(("suffix", "sign", "decimal"), [(".tsv", "\t", ","), (".txt", "  ", ","), (".csv", ",", ".")])
@pytest.mark.parametrize("is_last", [False, True])
def test_ucr_tables_with_decimal_commas_or_the_class_behind(
    tmp_path: Path, suffix: str, sign: str, decimal: str, is_last: bool
) -> None:
    for part, count in (("TRAIN", 8), ("TEST", 6)):
        lines = []
        for row in range(count):
            values = [f"{row + (step + 0.5) / 7:.4f}".replace(".", decimal) for step in range(12)]
            lines.append(sign.join([*values, str(1 + row % 2)] if is_last else [str(1 + row % 2), *values]) + "\n")
        written(tmp_path / "Foo" / f"Foo_{part}{suffix}", "".join(lines))
    part, reader = open_data(default(), str(tmp_path / "Foo"))
    assert (part.name, len(reader), reader.targets[0].names) == ("timeseries/cases", 14, ("1", "2"))
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 8, "test": 6}
    np.testing.assert_allclose(reader[1].inputs.values[:, 0], 1 + (np.arange(12) + 0.5) / 7, atol=1e-4)
    assert any("the last column" in one for one in reader.account.sentences()) == is_last


def test_recordings_with_decimal_commas_in_times_too(tmp_path: Path) -> None:
    for number in range(3):
        lines = "".join(f"{step / 50:.2f};{number + step / 7:.4f}\n".replace(".", ",") for step in range(40))
        written(tmp_path / "a" / f"r{number}.csv", f"t;ax\n{lines}")
        lines = "".join(f"{step};{1 + step / 90:.3f}\n".replace(".", ",") for step in range(40))
        written(tmp_path / "b" / f"r{number}.csv", f"t;ax\n{lines}")
    part, reader = open_data(default(), str(tmp_path / "a"))
    assert (part.name, len(reader), len(reader[1].inputs)) == ("timeseries/recordings", 3, 40)
    np.testing.assert_allclose(reader[1].inputs.values[:, 0], 1 + np.arange(40) / 7, atol=1e-4)
    with pytest.raises(DataError, match=r"'1,000' may mean two"):
        open_data(default(), str(tmp_path / "b"), reader="timeseries/recordings")
    known = open_data(default(), str(tmp_path / "b"), reader="timeseries/recordings", options={"decimal": "comma"})[1]
    np.testing.assert_allclose(known[0].inputs.values[:, 0], 1 + np.arange(40) / 90, atol=1e-3)


def test_a_channel_that_is_lost_is_warned_of(tmp_path: Path) -> None:
    lines = "".join(f"2020-01-01 {row:02d}:00;{970 + 13 * row:,};{row}\n".replace(",", ".") for row in range(24))
    reader = open_data(default(), str(written(tmp_path / "a.csv", f"time;power;temp\n{lines}")))[1]
    (lost,) = [one for one in reader.account.guesses if one.is_loss]
    assert lost.about == "column 'power'"
    commas = written(tmp_path / "b.csv", f"time;power;temp\n{lines.replace('.', ',')}")
    assert open_data(default(), str(commas))[1][0].inputs.values[:, 0].tolist() == [970.0 + 13 * n for n in range(24)]


def test_campbell_loggers_and_logs_of_servers(tmp_path: Path) -> None:
    head = '"TOA5","CR1000","CR1000","1021"\n"TIMESTAMP","RECORD","AirTC"\n"TS","RN","Deg C"\n"","","Avg"\n'
    lines = "".join(f'"2026-05-01 00:{step:02d}:00",{step},{12 + step / 4}\n' for step in range(30))
    part, reader = open_data(default(), str(written(tmp_path / "CR1000_Table1.dat", head + lines)))
    assert part.name == "timeseries/table"
    assert reader[0].inputs.names == ("AirTC",)
    np.testing.assert_allclose(reader[0].inputs.values[:3, 0], [12, 12.25, 12.5])
    for text in ("29/Nov/2026:17:02:33 +0200", "[29/Nov/2026:17:02:33 +0200]"):
        times = read_times([text, text.replace(":33", ":34")], "time").times
        assert times.tolist() == [
            np.datetime64("2026-11-29T15:02:33", "ns").astype(int) + one * 10**9 for one in (0, 1)
        ]


def test_steps_of_a_row_are_no_labels_and_dates_in_names_are_surely_times(tmp_path: Path) -> None:
    names = ",".join(f'"V{one}"' for one in range(1, 22))
    rows = "".join(f'"D{row}",' + ",".join(f'"{row + step / 7:.2f}"' for step in range(20)) + "\n" for row in range(4))
    _, reader = open_data(default(), str(written(tmp_path / "Daily-train.csv", f"{names}\n{rows}")))
    assert (len(reader), list(reader.targets)) == (4, [])
    days = ",".join(f"1/{one}/20" for one in range(22, 31))
    rows = "".join(f",{name},{','.join('1234567')},8,{row}\n" for row, name in enumerate(("Chad", "Mali", "Peru")))
    part, _ = open_data(
        default(), str(written(tmp_path / "cases.csv", f"Province/State,Country/Region,{days}\n{rows}"))
    )
    assert part.name == "timeseries/table"


def test_steps_outside_of_windows_and_labels_of_steps_are_said(tmp_path: Path) -> None:
    for number in range(3):
        recording(tmp_path / "w" / f"{number}.csv", 64, number)
    options = {"window": 16, "stride": 8}
    reader = open_data(default(), str(tmp_path / "w"), options=options)[1]
    used = np.zeros((3, 64), bool)
    for row in range(len(reader)):
        name, first = reader[row].id.split("@")
        used[int(name), int(first) : int(first) + 16] = True
    assert used.sum() < used.size
    (said,) = [one for one in reader.account.notes if "lie in no window" in one]
    assert said.startswith(f"{used.size - used.sum()} of 192 steps lie in no window of 16 steps")
    random = np.random.default_rng(0)
    np.savez(tmp_path / "n.npz", X=random.normal(size=(12, 50, 3)), y=random.integers(0, 2, (12, 50)))
    stepwise = open_data(default(), str(tmp_path / "n.npz"))[1]
    assert list(stepwise.targets) == []
    assert any(one.is_loss and "50 numbers a series, one a step" in one.reason for one in stepwise.account.guesses)


def wide(path: Path, first: int, count: int, steps: int) -> None:
    """A row a series, a column a step, as forecasting competitions publish them."""
    lines = [",".join(['"V1"', *(f'"V{number}"' for number in range(2, steps + 2))])]
    rng = np.random.default_rng(first)
    for number in range(first, first + count):
        lines.append(",".join([f'"Y{number}"', *(f"{value:.2f}" for value in rng.uniform(50, 99, steps))]))
    path.write_text("\n".join(lines) + "\n")


def test_series_of_train_and_test_files_keep_the_split_and_are_never_doubled(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    wide(tmp_path / "others" / "Yearly-train.csv", 1, 8, 24)
    wide(tmp_path / "others" / "Yearly-test.csv", 9, 4, 10)
    part, reader = open_data(default(), str(tmp_path / "others"))
    assert part.name == "timeseries/recordings"
    assert len(reader) == 12
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 8, "test": 4}
    assert {len(row.source) for row in reader.rows} == {24, 10}
    (tmp_path / "same").mkdir()
    wide(tmp_path / "same" / "Yearly-train.csv", 1, 8, 24)
    wide(tmp_path / "same" / "Yearly-test.csv", 1, 8, 10)
    with pytest.raises(DataError, match=r"8 series stand in Yearly-train\.csv and in Yearly-test\.csv: 'Y1'") as caught:
        open_data(default(), str(tmp_path / "same"))
    assert "their steps belong behind those of Yearly-train.csv" in str(caught.value)
