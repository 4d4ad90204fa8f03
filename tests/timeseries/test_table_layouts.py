"""Tables of series as loggers, agencies and archives write them: steps, times and values as they stand in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore import registry
from repcore.data.readers import open_data
from repcore.errors import DataError, ItemError
from repcore_timeseries.configs.series import SeriesPreprocessorConfig
from repcore_timeseries.preprocessors.series import SeriesPreprocessor

HOURS = [str(np.datetime64("2004-03-10T18") + np.timedelta64(row, "h")) for row in range(30)]
HOUR = 3600 * 10**9


def opened(path: Path, text: str | None = None, domain: str | None = None, **settings: Any) -> Any:
    """The reader that is chosen without naming a domain."""
    if text is not None:
        path.write_text(text, encoding="utf-8")
    return open_data(registry.default(), str(path), domain=domain, options=settings)[1]


def first_time(reader: Any, row: int = 0) -> str:
    return str(reader[row].inputs.times[:1].astype("datetime64[ns]").astype("datetime64[s]")[0])


def steps(reader: Any, row: int = 0) -> set[int]:
    return set(np.diff(reader[row].inputs.times).tolist())


def said(reader: Any) -> str:
    return " ".join(reader.account.sentences())


def test_date_and_clock_in_two_columns(tmp_path: Path) -> None:
    """UCI air quality: semicolons, decimal commas, points in the clock, empty lines and columns at the end."""
    lines = [
        f"{one[8:10]}/{one[5:7]}/{one[:4]};{one[11:13]}.00.00;{row},5;{row * 2};;" for row, one in enumerate(HOURS)
    ]
    reader = opened(tmp_path / "a.csv", "Date;Time;CO;NO;;\n" + "\n".join([*lines, ";;;;;", ";;;;;"]) + "\n")
    assert (len(reader), len(reader[0].inputs), first_time(reader)) == (1, 30, "2004-03-10T18:00:00")
    assert steps(reader) == {HOUR}
    assert reader[0].inputs.names == ("CO", "NO")
    assert reader[0].inputs.values[29].tolist() == [29.5, 58]
    assert "columns 'Date', 'Time' together" in said(reader)
    assert "2 lines without any value are left out" in said(reader)


@pytest.mark.parametrize("head", ["YEAR,MO,DY,HR", "year,month,day,hour"])
def test_numbers_of_the_calendar_in_columns(tmp_path: Path, head: str) -> None:
    lines = [f"{one[:4]},{int(one[5:7])},{int(one[8:10])},{int(one[11:13])},{row}" for row, one in enumerate(HOURS)]
    reader = opened(tmp_path / "n.csv", f"{head},T\n" + "\n".join(lines) + "\n")
    assert (len(reader[0].inputs), first_time(reader), steps(reader)) == (30, "2004-03-10T18:00:00", {HOUR})
    assert reader[0].inputs.names == ("T",)


def test_date_and_hour_of_the_day(tmp_path: Path) -> None:
    lines = [f"{day}/12/2017,{10 * day + hour},{hour}" for day in (1, 13) for hour in range(24)]
    reader = opened(tmp_path / "b.csv", "Date,Bikes,Hour\n" + "\n".join(lines) + "\n")
    assert first_time(reader) == "2017-12-01T00:00:00"
    assert len(reader[0].inputs) == 13 * 24
    assert "264 steps of time that no line gives stand as missing steps" in said(reader)


def test_hobo_and_toa5_loggers(tmp_path: Path) -> None:
    clocks = [
        f"03/{13 + row // 24}/04 {(row % 24 + 11) % 12 + 1:02d}:00:00 {'AP'[row % 24 >= 12]}M" for row in range(30)
    ]
    lines = [f"{row + 1},{clock},{row}.5," for row, clock in enumerate(clocks)]
    head = '"Plot Title: site 3"\n"#","Date Time, GMT+01:00","Temp, °C","Host Connected"\n'
    reader = opened(tmp_path / "hobo.csv", head + "\n".join(lines) + "\n")
    assert (first_time(reader), steps(reader)) == ("2004-03-12T23:00:00", {HOUR})
    assert reader[0].inputs.names == ("Temp, °C",)
    head = (
        '"TOA5","CR1000","CR1000","1234","CR1000.Std.32","CPU:x.CR1","123","Table1"\n'
        '"TIMESTAMP","RECORD","AirTC_Avg","BP_mbar"\n"TS","RN","Deg C","mbar"\n"","","Avg","Smp"\n'
    )
    lines = [f'"{one.replace("T", " ")}:00:00",{row},{chr(34)}NAN{chr(34)},{row}' for row, one in enumerate(HOURS)]
    lines = [line.replace('"NAN"', "1.5") if row else line for row, line in enumerate(lines)]
    reader = opened(tmp_path / "toa5.csv", head + "\n".join(lines) + "\n")
    assert reader[0].inputs.names == ("AirTC_Avg", "BP_mbar")
    np.testing.assert_equal(reader[0].inputs.values[:2], np.float32([[np.nan, 0], [1.5, 1]]))
    assert (len(reader[0].inputs), first_time(reader), steps(reader)) == (30, "2004-03-10T18:00:00", {HOUR})


def test_a_line_of_units_gives_the_step(tmp_path: Path) -> None:
    reader = opened(
        tmp_path / "u.csv", "time,temp,hum\nms,degC,%\n" + "".join(f"{row * 5},{row},{-row}\n" for row in range(9))
    )
    assert (len(reader[0].inputs), steps(reader)) == (9, {5 * 10**6})
    assert "units ('ms', 'degC', '%' stand above numbers)" in said(reader)


def test_a_column_a_date_is_a_series_a_row(tmp_path: Path) -> None:
    """As the Johns Hopkins counts: words name the row, other numbers are no channels."""
    dates = [f"1/{day}/20" for day in range(22, 32)]
    rows = ["".join(f",{10 * row + step}" for step in range(10)) for row in range(3)]
    body = f",Aland,1.5{rows[0]}\nNorth,Bland,2.5{rows[1]}\nSouth,Bland,3.5{rows[2]}\n"
    text = f"Province,Country,Lat,{','.join(dates)}\n{body}"
    reader = opened(tmp_path / "j.csv", text)
    assert [reader.id_of(row) for row in range(3)] == ["Aland", "North/Bland", "South/Bland"]
    assert reader[1].inputs.values[:, 0].tolist() == list(range(10, 20))
    assert (first_time(reader), steps(reader)) == ("2020-01-22T00:00:00", {24 * HOUR})


def test_numbered_steps_in_rows_of_different_length(tmp_path: Path) -> None:
    """As the M4 competition: the first column is the name, empty cells end a row."""
    rows = [
        f'"D{row}",' + ",".join(f'"{value}"' if value < 12 + row else "" for value in range(20)) for row in range(4)
    ]
    reader = opened(tmp_path / "m4.csv", ",".join(f'"V{one}"' for one in range(1, 22)) + "\n" + "\n".join(rows) + "\n")
    assert [len(reader[row].inputs) for row in range(4)] == [12, 13, 14, 15]
    assert reader.id_of(2) == "D2"
    assert reader[3].inputs.values[-1, 0] == 14


def test_two_keys_of_a_long_table(tmp_path: Path) -> None:
    lines = [
        f"{time},{metric},{sensor},{row + 100 * sensor + 1000 * (metric == 'temp')}"
        for sensor in (1, 2) for row, time in enumerate(HOURS[:20]) for metric in ("temp", "hum")
    ]  # fmt: skip
    reader = opened(tmp_path / "l.csv", "timestamp,metric,sensor_id,reading\n" + "\n".join(lines) + "\n")
    assert [reader.id_of(row) for row in range(len(reader))] == ["1", "2"]
    assert reader[1].inputs.names == ("hum", "temp")
    assert reader[1].inputs.values[19].tolist() == [219, 1219]
    assert "column 'sensor_id' (with it no time comes twice)" in said(reader)


def test_two_columns_name_a_series(tmp_path: Path) -> None:
    lines = [
        f"{time},{store},{item},{row + 10 * store + 100 * item}"
        for store in (1, 2)
        for item in (1, 2, 3)
        for row, time in enumerate(HOURS[:8])
    ]
    path = tmp_path / "s.csv"
    reader = opened(path, "date,store,item,sales\n" + "\n".join(lines) + "\n")
    assert [reader.id_of(row) for row in range(len(reader))] == ["1/1", "1/2", "1/3", "2/1", "2/2", "2/3"]
    assert reader[5].inputs.values[:, 0].tolist() == [320 + row for row in range(8)]
    asked = opened(path, series="item,store")
    assert asked.id_of(1) == "2/1"


def test_stations_in_blocks_and_trials_that_start_again(tmp_path: Path) -> None:
    lines = [f"{time},{'Aachen' if row < 15 else 'Bonn'},{row}" for row, time in enumerate(HOURS)]
    reader = opened(tmp_path / "b.csv", "time,station,temp\n" + "\n".join(lines) + "\n")
    assert [(reader.id_of(row), len(reader[row].inputs)) for row in range(2)] == [("Aachen", 15), ("Bonn", 15)]
    lines = [
        f"{row / 10},{trial},{row + trial},{'walk' if trial == 2 else 'run'}"
        for trial in (1, 2, 3)
        for row in range(16)
    ]
    reader = opened(tmp_path / "t.csv", "time,trial,acc,activity\n" + "\n".join(lines) + "\n")
    assert [reader[row].inputs.values[0, 0] for row in range(len(reader))] == [1, 2, 3]
    assert reader[0].inputs.names == ("acc",)
    assert steps(reader) == {10**8}
    twice = "".join(f"a,{time},{copy}\n" for copy in (1, 2) for time in HOURS)
    no_key = opened(tmp_path / "k.csv", f"id,time,v\n{twice}b,2004-03-10T18,1\nb,2004-03-10T19,1\n")
    with pytest.raises(ItemError, match="each about 2 times: several series"):
        no_key[0]


def test_a_status_that_changes_is_no_key(tmp_path: Path) -> None:
    lines = [f"{time},{row},{'bad' if row > 20 else 'ok'}" for row, time in enumerate(HOURS)]
    reader = opened(tmp_path / "s.csv", "time,temp,status\n" + "\n".join(lines) + "\n")
    assert (len(reader), len(reader[0].inputs)) == (1, 30)
    assert "--read labels=[status] or --read series=status" in said(reader)


def test_a_numeric_label_is_a_label_and_no_channel(tmp_path: Path) -> None:
    lines = [f"{subject},{row / 2},{row + 0.25},{subject % 2}" for subject in range(4) for row in range(8)]
    reader = opened(tmp_path / "l.csv", "subject,time,acc,label\n" + "\n".join(lines) + "\n")
    assert reader[0].inputs.names == ("acc",)
    assert [reader[row].targets["label"] for row in range(4)] == [0, 1, 0, 1]


def test_the_time_zone_of_local_times(tmp_path: Path) -> None:
    times = ["2021-10-31 01:00", "2021-10-31 02:00", "2021-10-31 02:00", "2021-10-31 03:00", "2021-10-31 04:00"]
    path = tmp_path / "z.csv"
    text = "time,v\n" + "".join(f"{time},{row}\n" for row, time in enumerate(times))
    with pytest.raises(DataError, match="one hour twice: local time where summer time ends"):
        opened(path, text)
    reader = opened(path, zone="Europe/Berlin")
    assert (first_time(reader), steps(reader)) == ("2021-10-30T23:00:00", {HOUR})
    assert reader[0].inputs.values[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_times_of_day_that_fall_need_a_date(tmp_path: Path) -> None:
    text = "time,v\n" + "".join(f"{hour % 24:02d}:00:00,{hour}\n" for hour in range(20, 30))
    with pytest.raises(DataError, match="times of day without a date fall in line 4 of the series"):
        opened(tmp_path / "c.csv", text)
    assert len(opened(tmp_path / "c.csv", time="none", domain="timeseries")[0].inputs) == 10


def test_tables_that_are_not_read_get_the_reason_of_this_domain(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'01/01/2021' may be day-first or month-first"):
        opened(tmp_path / "a.csv", "date,v\n" + "".join(f"01/{month:02d}/2021,{month}.5\n" for month in range(1, 13)))
    with pytest.raises(DataError, match="has no column of numbers"):
        opened(tmp_path / "p.csv", "Date,Open\n" + "".join(f'2021-01-{day:02d},"{day} %"\n' for day in range(1, 20)))
    with pytest.raises(DataError, match="has no column of times"):
        opened(tmp_path / "n.csv", ",x,y\n" + "".join(f"{row},{row * 0.3:.2f},{row * 0.7:.2f}\n" for row in range(20)))


def test_arrays_of_every_order_and_old_ucr_tables(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).normal(size=(6, 3, 40)).astype(np.float32)
    np.savez(tmp_path / "nct.npz", X=drawn, y=np.arange(6) % 2)
    np.savez(tmp_path / "ntc.npz", X=drawn.transpose(0, 2, 1), y=np.arange(6) % 2)
    for name in ("nct", "ntc"):
        np.testing.assert_array_equal(opened(tmp_path / f"{name}.npz")[4].inputs.values, drawn[4].T)
    np.save(tmp_path / "nt.npy", drawn[:, 0])
    reader = opened(tmp_path / "nt.npy")
    assert len(reader) == 6
    np.testing.assert_array_equal(reader[5].inputs.values[:, 0], drawn[5, 0])
    np.save(tmp_path / "tc.npy", drawn[0].T)
    with pytest.raises(DataError, match="may be 40 series of 3 steps or one series of 40 steps with 3 channels"):
        opened(tmp_path / "tc.npy", domain="timeseries")
    reader = opened(tmp_path / "tc.npy", domain="timeseries", axes="steps-channels")
    np.testing.assert_array_equal(reader[0].inputs.values, drawn[0].T)
    np.save(tmp_path / "square.npy", drawn[:, :, :3])
    with pytest.raises(DataError, match="either of the last axes may be time"):
        opened(tmp_path / "square.npy", domain="timeseries")
    rows = [f"  {1 + row % 2:.7e}  " + "  ".join(f"{value:.7e}" for value in drawn[row, 0]) for row in range(6)]
    (tmp_path / "Old_TRAIN.txt").write_text("\n".join(rows) + "\n")
    reader = opened(tmp_path / "Old_TRAIN.txt")
    assert len(reader) == 6
    np.testing.assert_allclose(reader[3].inputs.values[:, 0], drawn[3, 0], rtol=1e-6)
    assert [reader[row].targets["class"] for row in range(3)] == [0, 1, 0]


def labelled(path: Path, more: str = "") -> Path:
    """Four series of twelve steps of two patients, a label and an age a series."""
    lines = [
        f"s{series},{time},{row + 0.5},{series // 2},{'ab'[series % 2]},{50 + series}{more.split('|')[series % 2]}"
        for series in range(4)
        for row, time in enumerate(HOURS[:12])
    ]
    path.write_text(f"series_id,time,v,patient,dx,age{',split' if more != '|' else ''}\n" + "\n".join(lines) + "\n")
    return path


def test_a_patient_is_a_group_and_what_is_one_a_series_a_label(tmp_path: Path) -> None:
    reader = opened(labelled(tmp_path / "p.csv", "|"))
    assert [reader[row].group for row in range(4)] == ["0", "0", "1", "1"]
    assert reader[0].inputs.names == ("v",)
    assert [reader[row].targets["dx"] for row in range(4)] == [0, 1, 0, 1]
    assert "column 'age': no channel (one number a series, others in other series)" in said(reader)
    assert not reader.splits


def test_windows_of_a_series_are_a_group_and_labels_never_stand_on_both_sides(tmp_path: Path) -> None:
    path = labelled(tmp_path / "w.csv", "|")
    reader = opened(path, window=4)
    assert [reader[row].group for row in (0, 2, 3, 6)] == ["0", "0", "0", "1"]
    assert (len(reader), dict(reader.splits)) == (12, {})
    text = "\n".join(",".join(line.split(",")[:3]) for line in path.read_text().splitlines())
    reader = opened(tmp_path / "u.csv", text, window=2)
    assert [reader[row].group for row in (0, 5)] == ["s0", "s1"]
    assert set(reader.splits) == {"train", "validation", "test"}


def test_a_column_of_parts_is_the_declared_split(tmp_path: Path) -> None:
    path = labelled(tmp_path / "d.csv", ",train|,test")
    assert {name: list(rows) for name, rows in opened(path).splits.items()} == {"train": [0, 2], "test": [1, 3]}
    windows = opened(path, window=6)
    assert {name: list(rows) for name, rows in windows.splits.items()} == {"train": [0, 1, 4, 5], "test": [2, 3, 6, 7]}
    assert "split" not in windows[0].targets


def test_groups_of_arrays(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).normal(size=(6, 30)).astype(np.float32)
    np.savez(tmp_path / "g.npz", X=drawn, y=np.arange(6) % 2, subject=np.repeat([1, 2, 3], 2), weight=np.ones(6))
    reader = opened(tmp_path / "g.npz")
    assert [reader[row].group for row in range(6)] == ["1", "1", "2", "2", "3", "3"]
    assert reader[1].targets == {"y": 1}
    assert "array 'weight': not used" in said(reader)


def test_counters_keep_their_steps(tmp_path: Path) -> None:
    """float32 has no 16777217; a preprocessor standardises what the file says."""
    lines = [f"{time},{16777217 + row},{row / 3}" for row, time in enumerate(HOURS)]
    reader = opened(tmp_path / "c.csv", "time,count,x\n" + "\n".join(lines) + "\n")
    assert np.diff(reader[0].inputs.values[:, 0]).tolist() == [1] * 29
    prepared = SeriesPreprocessor(SeriesPreprocessorConfig())
    prepared.fit(reader, range(1))
    (item,) = prepared.prepare(reader[0])
    steps_apart = np.diff(np.asarray(item.values)[:, 0])
    np.testing.assert_allclose(steps_apart, steps_apart.mean(), rtol=1e-4)
    assert np.asarray(item.values).dtype == np.float32


def test_machines_with_cycles_are_no_graph(tmp_path: Path) -> None:
    """As NASA's turbofans: two columns of small whole numbers look like ends of edges."""
    lines = [f"{unit},{cycle},{unit * 100 + cycle}" for unit in (1, 2, 3) for cycle in range(1, 8 + unit)]
    reader = opened(tmp_path / "c.csv", "unit,cycle,s1\n" + "\n".join(lines) + "\n")
    assert [(reader.id_of(row), len(reader[row].inputs)) for row in range(3)] == [("1", 8), ("2", 9), ("3", 10)]
    assert reader[2].inputs.values[-1].tolist() == [310]


def test_columns_beside_the_values_of_a_long_table_are_named(tmp_path: Path) -> None:
    units = ["C"] * 15 + ["K"] * 15
    lines = [
        f"{time},s{sensor},{row},{units[row]},{'good' if row % 3 else 'bad'}"
        for row, time in enumerate(HOURS)
        for sensor in range(2)
    ]
    reader = opened(tmp_path / "s.csv", "timestamp,sensor,value,unit,quality\n" + "\n".join(lines) + "\n")
    said = "\n".join(reader.account.sentences())
    assert "column 'unit': not applied (it gives 's0' several units ('C', 'K'), and its values are read" in said
    assert "column 'quality': no channel (the values of a long table stand in 'value')" in said
    assert reader[0].inputs.names == ("s0", "s1")
