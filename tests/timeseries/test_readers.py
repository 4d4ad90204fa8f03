"""Archives, tables and arrays: values, times, parts and labels as they stand in files; what is wrong, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore import registry
from repcore.data.readers import open_data
from repcore.errors import DataError, ItemError
from repcore_timeseries.formats.steps import usual_step

NAN = float("nan")


def opened(path: Path, **settings: Any) -> Any:
    return open_data(registry.default(), str(path), domain="timeseries", options=settings)


def values(reader: Any, row: int = 0) -> list[Any]:
    return np.round(reader[row].inputs.values, 4).tolist()


TS = """# a comment
@problemName Waves
@univariate false
@dimensions 2
@equalLength false
@classLabel true walk run
@data
1,2,?:4,5,6:walk
7,8:9,10:run
1,2:3:run
1,2:3,4:swim
"""


def test_cases_of_ts_files_and_their_parts(tmp_path: Path) -> None:
    (tmp_path / "Waves_TRAIN.ts").write_text(TS)
    (tmp_path / "Waves_TEST.ts").write_text(TS.replace("@classLabel", "@ClassLabel").split("7,8")[0])
    part, reader = opened(tmp_path)
    assert part.name == "timeseries/cases"
    assert {name: list(rows) for name, rows in reader.splits.items()} == {"train": [0, 1, 2, 3], "test": [4]}
    np.testing.assert_equal(reader[0].inputs.values, np.float32([[1, 4], [2, 5], [NAN, 6]]))
    assert reader.targets[0].names == ("run", "walk")
    assert [reader[row].targets["class"] for row in (0, 1, 4)] == [1, 0, 1]
    with pytest.raises(ItemError, match=r"line 10: its 2 channels have 1 to 2 steps"):
        reader[2]
    with pytest.raises(ItemError, match="its class 'swim' is not among those of the header"):
        reader[3]


def test_time_stamps_of_ts_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "T_TRAIN.ts"
    path.write_text(
        "@timeStamps true\n@classLabel true 1 2\n@data\n"
        "(2007-01-01 00:00:00,241.5),(2007-01-01 00:01:00,?):(2007-01-01 00:00:00,1),(2007-01-01 00:01:00,2):1\n"
    )
    _, reader = opened(path)
    series = reader[0].inputs
    np.testing.assert_equal(series.values, np.float32([[241.5, 1], [NAN, 2]]))
    assert np.diff(series.times).tolist() == [60 * 10**9]
    assert reader[0].targets == {"class": 0}


def test_the_same_values_in_arff_and_ucr_tables(tmp_path: Path) -> None:
    plain = (
        "@relation g\n@attribute a numeric\n@attribute b numeric\n@attribute target {1,2}\n@data\n0.5,?,2\n1.5,2.5,1\n"
    )
    (tmp_path / "G_TRAIN.arff").write_text(plain)
    _, reader = opened(tmp_path / "G_TRAIN.arff")
    np.testing.assert_equal(reader[0].inputs.values, np.float32([[0.5], [NAN]]))
    assert [reader[row].targets["class"] for row in range(2)] == [1, 0]
    nested = (
        "@relation r\n@attribute x relational\n@attribute c numeric\n@end x\n@attribute k {a,b}\n@data\n'1,2\\n3,4',b\n"
    )
    (tmp_path / "R.arff").write_text(nested)
    _, reader = opened(tmp_path / "R.arff")
    assert values(reader) == [[1, 3], [2, 4]]
    assert reader.targets[0].names == ("a", "b")
    (tmp_path / "U_TRAIN.tsv").write_text("1.0\t0.1\t0.2\t0.3\t0.4\n2\t5\t6\tNaN\tNaN\n")
    _, reader = opened(tmp_path / "U_TRAIN.tsv")
    assert values(reader, 1) == [[5], [6]]
    assert reader.targets[0].names == ("1", "2"), "1 and 1.0 are one class"


def test_a_folder_of_several_sets_is_refused(tmp_path: Path) -> None:
    for name in ("A", "B"):
        (tmp_path / f"{name}_TRAIN.ts").write_text(TS)
    with pytest.raises(DataError, match="holds 2 data sets: A, B"):
        opened(tmp_path)


def test_monash_series_have_their_names_groups_and_calendar(tmp_path: Path) -> None:
    head = (
        "@relation x\n@attribute series_group string\n@attribute series_name string\n@attribute start_timestamp date\n"
    )
    (tmp_path / "m.tsf").write_text(f"{head}@frequency monthly\n@data\nG1:T1:2020-01-31 00-00-00:1,?,3\nG2:T2:5\n")
    _, reader = opened(tmp_path / "m.tsf")
    assert reader[0].id == "G1-T1"
    assert reader[0].group == "G1"
    months = reader[0].inputs.times.astype("datetime64[ns]").astype("datetime64[M]").astype(str).tolist()
    assert months == ["2020-01", "2020-02", "2020-03"]
    with pytest.raises(ItemError, match="it has 2 attributes, the header says 3"):
        reader[1]


def hours(count: int, first: int = 0) -> list[str]:
    return [
        str(np.datetime64("2020-01-01T00") + np.timedelta64(first + one, "h")).replace("T", " ") for one in range(count)
    ]


def test_a_wide_table_its_gaps_and_its_order(tmp_path: Path) -> None:
    times = hours(6)
    lines = [f"{times[row]}:00,{row},{row * 10}" for row in (0, 2, 1, 5)]
    (tmp_path / "w.csv").write_text("date,a,b\n" + "\n".join(lines) + "\n")
    part, reader = opened(tmp_path / "w.csv")
    assert part.name == "timeseries/table"
    np.testing.assert_equal(reader[0].inputs.values[:, 0], np.float32([0, 1, 2, NAN, NAN, 5]))
    assert reader[0].inputs.names == ("a", "b")
    assert any("in order of time" in one for one in reader.account.sentences())


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_long_table_is_the_same_series(tmp_path: Path, form: str) -> None:
    rows = [(time, name, row + 100 * (name == "b")) for row, time in enumerate(hours(3)) for name in ("b", "a")]
    path = tmp_path / f"l.{form}"
    if form == "csv":
        path.write_text("time,sensor,value\n" + "".join(f"{time}:00,{name},{value}\n" for time, name, value in rows))
    else:
        when = pa.array([np.datetime64(time, "ms") for time, _, _ in rows], pa.timestamp("ms"))
        pq.write_table(
            pa.table({"time": when, "sensor": [r[1] for r in rows], "value": [float(r[2]) for r in rows]}), path
        )
    _, reader = opened(path)
    assert reader[0].inputs.names == ("a", "b")
    assert values(reader) == [[0, 100], [1, 101], [2, 102]]
    assert np.diff(reader[0].inputs.times).tolist() == [3600 * 10**9] * 2


def test_irregular_times_are_refused_or_put_into_bins(tmp_path: Path) -> None:
    path = tmp_path / "i.csv"
    path.write_text(
        "time,x\n" + "".join(f"2020-01-01 00:{m:02d}:00,{v}\n" for m, v in ((0, 1), (3, 3), (10, 5), (14, 7), (31, 9)))
    )
    with pytest.raises(DataError, match=r"times are 3 min to 17 min apart, 5.5 min by median"):
        opened(path)
    _, reader = opened(path, resample="10min")
    np.testing.assert_equal(reader[0].inputs.values[:, 0], np.float32([2, 6, NAN, 9]))


def hourly(path: Path, seconds: np.ndarray, start: str = "2024-03-01T00:30") -> Path:
    times = np.datetime64(start, "s") + seconds.astype("timedelta64[s]")
    path.write_text("time,x\n" + "".join(f"{time},{row}\n" for row, time in enumerate(times)))
    return path


def test_times_about_an_hour_apart_are_put_on_the_hour_one_line_a_step(tmp_path: Path) -> None:
    steps = 3600 * np.arange(300)
    path = hourly(tmp_path / "j.csv", steps + np.random.default_rng(0).integers(-60, 60, 300))
    with pytest.raises(DataError, match=r"resample=1h takes"):
        opened(path)
    _, reader = opened(path, resample="1h")
    np.testing.assert_array_equal(reader[0].inputs.values[:, 0], np.arange(300))
    expected = np.datetime64("2024-03-01T00:30", "ns").astype(np.int64) + steps * 10**9
    np.testing.assert_array_equal(reader[0].inputs.times, expected)


def test_only_round_steps_that_are_near_are_proposed() -> None:
    minute = 60e9
    assert usual_step(59.9833 * minute) == 60 * minute
    assert usual_step(14.9 * minute) == 15 * minute
    assert usual_step(41.6 * minute) == 41.6 * minute


def test_an_hour_that_summer_time_skips_is_said(tmp_path: Path) -> None:
    hours = np.delete(np.arange(300), 26)
    for name, start, hint in (("spring", "2024-03-30T00:00", True), ("midweek", "2024-03-27T00:00", False)):
        _, reader = opened(hourly(tmp_path / f"{name}.csv", 3600 * hours, start))
        notes = " ".join(reader.account.sentences())
        assert "1 steps of time that no line gives" in notes
        assert ("summer time begins" in notes) == hint


def test_times_with_an_offset_or_a_zone_are_said_to_be_in_utc(tmp_path: Path) -> None:
    for offset, zone, told in (("+02:00", "", True), ("", "Europe/Berlin", True), ("", "", False)):
        path = tmp_path / "z.csv"
        path.write_text("time,x\n" + "".join(f"2024-03-01T{hour:02d}:00:00{offset},{hour}\n" for hour in range(20)))
        _, reader = opened(path, zone=zone)
        assert ("times stand in UTC" in " ".join(reader.account.sentences())) == told, (offset, zone)


def test_a_time_that_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("time,x\n2020-01-01 00:00,1\n2020-01-01 01:00,2\n2020-01-01 01:00,4\n2020-01-01 02:00,8\n")
    with pytest.raises(DataError, match="2020-01-01T01:00:00 comes twice"):
        opened(path)
    assert values(opened(path, duplicates="mean")[1]) == [[1], [3], [8]]
    assert values(opened(path, duplicates="last")[1]) == [[1], [4], [8]]


def test_numbers_are_times_where_their_column_says_so_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text(
        "ts,x\n" + "".join(f"{1609459200000 + 250 * row},{row / 7:.3f}\n" for row in range(40))
    )
    part, reader = opened(tmp_path / "n.csv")
    assert part.name == "timeseries/table"
    assert np.diff(reader[0].inputs.times)[0] == 250 * 10**6
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{row / 10:.2f},{row / 3:.2f}\n" for row in range(40)))
    with pytest.raises(DataError, match=r"x\.csv has no column of times"):
        opened(tmp_path / "x.csv")


def test_two_forms_of_time_in_one_column_name_the_row(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("time,x\n" + "".join(f"{one}:00,1\n" for one in hours(300)) + "1.2.2021,3\n")
    with pytest.raises(DataError, match=r"column 'time', row 300: '1.2.2021' is no time like '2020-01-01 00:00'"):
        opened(tmp_path / "f.csv")


def test_offsets_become_utc(tmp_path: Path) -> None:
    (tmp_path / "z.csv").write_text(
        "time,x\n2020-03-29T01:00+01:00,1\n2020-03-29T03:00+02:00,2\n2020-03-29T04:00+02:00,3\n"
    )
    times = opened(tmp_path / "z.csv")[1][0].inputs.times.astype("datetime64[ns]").astype("datetime64[h]").astype(str)
    assert times.tolist() == ["2020-03-29T00", "2020-03-29T01", "2020-03-29T02"]


def test_windows_never_straddle_the_parts_of_time(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("time,x\n" + "".join(f"{one}:00,{row}\n" for row, one in enumerate(hours(100))))
    _, reader = opened(path, window=8, stride=3, parts=(50, 20, 30), gap=2)
    spans = {"train": (0, 50), "validation": (52, 70), "test": (72, 100)}
    assert set(reader.splits) == set(spans)
    for part, rows in reader.splits.items():
        low, high = spans[part]
        steps = [reader[row].inputs.values[:, 0] for row in rows]
        assert steps[0][0] == low
        assert all(len(one) == 8 and one[0] >= low and one[-1] < high for one in steps)
    assert sum(len(rows) for rows in reader.splits.values()) == len(reader)
    with pytest.raises(DataError, match="window=80 is longer than every part of time"):
        opened(path, window=80)


def test_several_series_in_one_table_with_a_label_each(tmp_path: Path) -> None:
    lines = [
        f"m{number},{time}:00,{row},{'ok' if number % 2 else 'worn'}"
        for number in range(6)
        for row, time in enumerate(hours(4))
    ]
    lines[5] = lines[4].replace(",0,", ",9,")
    path = tmp_path / "s.csv"
    path.write_text("id,time,x,state\n" + "\n".join(lines) + "\n")
    _, reader = opened(path)
    assert [reader.id_of(row) for row in range(6)] == [f"m{number}" for number in range(6)]
    assert [reader[row].targets["state"] for row in (0, 2, 3)] == [1, 1, 0]
    with pytest.raises(ItemError, match="comes twice"):
        reader[1]
    path.write_text(path.read_text().replace("0,ok", "0,worn"))
    with pytest.raises(DataError, match="labels=state: the column changes within a series"):
        opened(path, labels=("state",))


def test_remarks_on_constant_channels_and_marks_for_missing(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "time,flat,odd\n" + "".join(f"{one}:00,5,{-999 if row == 3 else row}\n" for row, one in enumerate(hours(10)))
    )
    said = " ".join(opened(tmp_path / "r.csv")[1].account.sentences())
    assert "channel 'flat' is constant (5)" in said
    assert "10.00% of channel 'odd' are -999, which may mean missing" in said


def test_arrays_with_labels_and_parts(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).normal(size=(6, 2, 9)).astype(np.float32)
    np.savez(
        tmp_path / "a.npz",
        X_train=drawn[:4],
        y_train=np.array(list("abab")),
        X_test=drawn[4:],
        y_test=np.array(list("ba")),
    )
    part, reader = opened(tmp_path / "a.npz")
    assert part.name == "timeseries/arrays"
    np.testing.assert_array_equal(reader[1].inputs.values, drawn[1].T)
    assert {name: list(rows) for name, rows in reader.splits.items()} == {"train": [0, 1, 2, 3], "test": [4, 5]}
    assert [reader[row].targets["y"] for row in range(6)] == [0, 1, 0, 1, 1, 0]


def test_shared_archives_have_the_facts_of_their_readme(shared: Path) -> None:
    folder = shared / "data" / "timeseries"
    if not folder.is_dir():
        pytest.skip("no shared time series")
    _, reader = opened(folder / "classification" / "JapaneseVowels")
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 270, "test": 370}
    steps = [len(reader[row].inputs) for row in range(len(reader))]
    assert (min(steps), max(steps), len(reader[0].inputs.names)) == (7, 29, 12)
    same = [
        opened(folder / "classification" / "GunPoint" / f"GunPoint_TRAIN.{one}")[1] for one in ("ts", "tsv", "arff")
    ]
    for row in (0, 49):
        first = same[0][row]
        for other in same[1:]:
            np.testing.assert_allclose(other[row].inputs.values, first.inputs.values, atol=1e-6)
            assert other[row].targets == first.targets
