"""Columns of times under the names that people give them: applied, refused or said (K9)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repcore.errors import DataError
from repcore_audio.configs.recordings import ManifestConfig
from repcore_audio.datasets.manifests import ManifestReader
from repcore_audio.datasets.time_columns import time_columns
from tests.field.audio_inputs import RATE, embed, manifest, said, tone, write

APPLIED = {
    "offset,length": (1, 1),
    "seek,len": (1, 1),
    "center,duration": (1.5, 1),
    "Mid Time (ms),dur_ms": (1500, 1000),
    "start_time_ms,duration_ms": (1000, 1000),
    "startTimeMs,endTimeMs": (1000, 2000),
    "xmin,xmax": (1, 2),
    "x_min,x_max": (1, 2),
    "onset_s,duration_s": (1, 1),
    "start_us,end_us": (1_000_000, 2_000_000),
    "Start [\u00b5s],End [\u00b5s]": (1_000_000, 2_000_000),
    "Start Time (min),End Time (min)": (1 / 60, 2 / 60),
    "start_in_seconds,stop_in_seconds": (1, 2),
    "segment_start,segment_dur": (1, 1),
    "from,to": (1, 2),
    "Beginn (s),Dauer (s)": (1, 1),
    "t_start,t_end": (1, 2),
}


@pytest.mark.parametrize("names", list(APPLIED))
def test_times_are_applied_in_their_unit(tmp_path: Path, names: str) -> None:
    for number in range(2):
        write(tmp_path / f"r{number}.wav", tone(3.0, 300.0 + 200 * number, seed=number))
    first, second = APPLIED[names]
    reader = manifest(tmp_path / "m.csv", f"file,{names},label\nr0.wav,{first},{second},a\nr1.wav,{first},{second},b\n")
    assert [reader[row].id for row in range(2)] == ["r0.wav#t=1,2", "r1.wav#t=1,2"]
    whole = soundfile.read(tmp_path / "r1.wav")[0]
    np.testing.assert_array_equal(reader[1].inputs.samples[0], whole[RATE : 2 * RATE])
    assert [one.name for one in reader.targets] == ["label"]


def test_times_of_json_lines_and_of_a_column_of_units_are_applied(tmp_path: Path) -> None:
    write(tmp_path / "r.wav", tone(3.0))
    rows = [{"file": "r.wav", "start": n, "dur": 0.5, "label": "ab"[n]} for n in range(2)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reader = ManifestReader(ManifestConfig(path=str(tmp_path / "m.jsonl")))
    assert [reader[row].id for row in range(2)] == ["r.wav#t=0,0.5", "r.wav#t=1,1.5"]
    table = "file,begin,end,unit,label\nr.wav,0,900,ms,a\nr.wav,100,900,ms,b\n"
    reader = manifest(tmp_path / "m.csv", table)
    assert [reader[row].id for row in range(2)] == ["r.wav#t=0,0.9", "r.wav#t=0.1,0.9"]
    with pytest.raises(DataError, match="'unit' gives several units: 'ms', 's'"):
        manifest(tmp_path / "m.csv", table.replace("900,ms,b", "0.9,s,b"))


@pytest.mark.parametrize(
    ("names", "cells", "words"),
    [
        ("start_index,end_index", "800,8000", "'start_index' counts index, not seconds"),
        ("frame_offset,num_frames", "800,8000", "'frame_offset' counts frame, not seconds"),
        ("offset,note", "0.25,x", "'offset' says where a row begins in its recording, and none says where it ends"),
        ("Begin Time (s),note", "0.25,x", "'Begin Time .s.' says where a row begins"),
        ("duration,end_ms", "1,250", "'end_ms' says where a row ends"),
    ],
)
def test_times_that_cannot_be_applied_are_refused(tmp_path: Path, names: str, cells: str, words: str) -> None:
    write(tmp_path / "r.wav", tone(1.0))
    table = f"file,{names},label\nr.wav,{cells},a\n"
    with pytest.raises(DataError, match=words):
        manifest(tmp_path / "m.csv", table)
    assert manifest(tmp_path / "m.csv", table, excerpts="ignore")[0].inputs.length == RATE


def test_other_columns_that_speak_of_time_are_said_and_labels_are_left_alone(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"r{number}.wav", tone(0.2, seed=number))
    rows = "".join(f"r{n}.wav,{n}.5,{n},{'ab'[n % 2]}\n" for n in range(4))
    reader = manifest(tmp_path / "m.csv", "file,call onset,center,label\n" + rows)
    assert [reader[row].id for row in range(4)] == [f"r{n}.wav" for n in range(4)]
    assert "column 'call onset': not applied: rows are whole recordings" in said(reader)
    assert "'center': not applied" not in said(reader)
    reader = manifest(tmp_path / "m.csv", "file,offset,center,label\n" + rows, labels=["offset"])
    assert [reader[row].targets["offset"] for row in range(4)] == [0.5, 1.5, 2.5, 3.5]
    reader = manifest(tmp_path / "m.csv", "file,duration,center,label\n" + rows)  # centres 0 to 3: of a study
    assert reader[1].id == "r1.wav"
    assert "column 'center': not applied" in said(reader)


def test_names_that_only_look_like_times_are_none() -> None:
    names = ["text_len", "audio_duration", "recording_start", "to_be_checked", "sample_id", "Low Freq (Hz)", "time",
             "File Offset (s)", "Delta Time (s)", "Begin Clock Time", "min", "label", "end_score"]  # fmt: skip
    assert time_columns(names) == []


def test_selections_of_several_files_begin_in_their_own_file(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"f{number}.wav", tone(4.0, 300.0 + 300 * number, seed=number))
    head = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tFile Offset (s)\tBegin File\tSpecies\n"
    lines = "".join(
        f"{4 * f + k}\tSpectrogram 1\t1\t{4 * f + k}.0\t{4 * f + k}.5\t{k}.0\tf{f}.wav\t{'ab'[k % 2]}\n"
        for f in range(2)
        for k in range(4)
    )
    reader = manifest(tmp_path / "all.selections.txt", head + lines)
    assert [reader[row].id for row in (0, 5, 7)] == ["f0.wav#t=0,0.5", "f1.wav#t=1,1.5", "f1.wav#t=3,3.5"]
    whole = soundfile.read(tmp_path / "f1.wav")[0]
    np.testing.assert_array_equal(reader[5].inputs.samples[0], whole[RATE : int(1.5 * RATE)])
    assert "'File Offset (s)'" in said(reader)
    write(tmp_path / "g.wav", tone(2.0))
    (tmp_path / "g.selections.txt").write_text(
        head.replace("\tFile Offset (s)\tBegin File", "") + "1\tS\t1\t0.5\t1\ta\n"
    )
    reader = ManifestReader(ManifestConfig(path=str(tmp_path)))  # the tables of a folder, one of them without
    found = {reader[row].id for row in range(len(reader))}
    assert len(found) == 9
    assert {"f1.wav#t=1,1.5", "f1.wav#t=3,3.5", "g.wav#t=0.5,1"} <= found


@pytest.mark.parametrize(
    ("names", "rows", "expected"),
    [
        ("start,end", ["0,1", "1,", "1,2"], ["ok", "bad_time", "ok"]),
        ("start,duration", ["0,1", "1,", "1,1"], ["ok", "bad_time", "ok"]),
        ("onset,offset", ["0,1", ",2", "1,2"], ["ok", "bad_time", "ok"]),
        ("start,end", ["0,1", "1,?", "2,NA"], ["ok", "bad_time", "bad_time"]),
        ("start,end", ["0,1", ",", "-,n/a"], ["ok", "bad_time", "bad_time"]),
        ("center,duration", ["0.5,1", "1.25,", "1.5,1"], ["ok", "bad_time", "ok"]),
        ("offset,duration", ["1,1", ",1", "2,"], ["ok", "ok", "bad_time"]),  # no offset is 0, as in NeMo's manifests
    ],
)
def test_a_stretch_with_a_blank_end_is_a_row_with_a_reason(
    tmp_path: Path, names: str, rows: list[str], expected: list[str]
) -> None:
    write(tmp_path / "r.wav", tone(3.0))
    text = "".join(f"r.wav,{row},{'ab'[number % 2]}\n" for number, row in enumerate(rows))
    found = embed(manifest(tmp_path / "m.csv", f"file,{names},label\n{text}"))
    assert list(found.status) == expected
    assert all("is no time; other rows" in found.reason[row] for row, one in enumerate(expected) if one == "bad_time")


def test_rows_without_times_are_whole_recordings_that_no_other_row_cuts_and_said(tmp_path: Path) -> None:
    for name in "rs":
        write(tmp_path / f"{name}.wav", tone(3.0))
    reader = manifest(tmp_path / "m.csv", "file,start,end,label\nr.wav,0,1,a\nr.wav,1,2,b\ns.wav,,,a\n")
    assert reader[2].inputs.length == 3 * RATE
    assert "1 rows without times: whole recordings, where no other row cuts theirs" in said(reader)
    empty = "file,start,end,label\nr.wav,0.5,,a\nr.wav,1.5,,b\n"
    with pytest.raises(DataError, match="'start' says where a row begins in its recording, and none says where it"):
        manifest(tmp_path / "m.csv", empty)


@pytest.mark.parametrize(
    ("cells", "channels", "words"),
    [
        ("01", ["1", "2"], "counted from 0 (a cell is 0)"),
        ("12", ["1", "2"], "counted from 1 (no cell is 0)"),
        ("11", ["1", "1"], "counted from 1 (no cell is 0)"),
        ("01LR", ["1", "2", "1", "2"], "counted from 0 (a cell is 0)"),
    ],
)
def test_how_channels_of_stretches_are_counted_is_said(
    tmp_path: Path, cells: str, channels: list[str], words: str
) -> None:
    write(tmp_path / "s.wav", np.stack([tone(5.0), tone(5.0, 880.0)], 1))
    text = "".join(f"s.wav,{one},{row},{row + 1},{'ab'[row % 2]}\n" for row, one in enumerate(cells))
    reader = manifest(tmp_path / "m.csv", f"file,channel,start,end,label\n{text}")
    assert [reader[row].inputs.channels for row in range(len(cells))] == channels
    assert f"channels of 'channel': {words}" in said(reader)
