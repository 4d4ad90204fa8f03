"""Times in samples and frames, and cells of labels that are lists, in lists of recordings (K3, K9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.errors import DataError, ItemError
from repcore_audio.configs.recordings import ManifestConfig
from repcore_audio.datasets.manifests import ManifestReader
from tests.field.audio_inputs import RATE, manifest, said, tone, write


def test_samples_count_at_the_rate_of_each_file(tmp_path: Path) -> None:
    whole = tone(1.0)
    write(tmp_path / "a.wav", whole)
    write(tmp_path / "b.wav", whole[:8000], rate=8000)
    for names, end in (("start_sample,end_sample", 4800), ("start_sample,n_samples", 4000)):
        reader = manifest(tmp_path / "m.csv", f"file,{names},label\na.wav,800,{end},x\nb.wav,800,{end},y\n")
        assert [reader[row].id for row in range(2)] == ["a.wav#t=0.05,0.3", "b.wav#t=0.1,0.6"]
        for row in range(2):
            assert np.abs(reader[row].inputs.samples[0] - whole[800:4800]).max() < 1e-4
        assert "times of 'start_sample': samples at each file's own rate (its name says so)" in said(reader)


def test_units_of_times_can_be_set(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(1.0))
    table = "file,start,end,label\na.wav,800,4800,x\na.wav,8000,12000,y\n"
    with pytest.raises(ItemError, match="if the times count samples: --read times_unit=samples"):
        manifest(tmp_path / "m.csv", table)[0]
    reader = manifest(tmp_path / "m.csv", table, times_unit="samples")
    assert [reader[row].inputs.length for row in range(2)] == [4000, 4000]
    table = table.replace("800,4800", "8,48").replace("8000,12000", "80,120")
    assert manifest(tmp_path / "m.csv", table, times_unit="ms")[1].inputs.length == round(0.04 * RATE)
    frames = manifest(tmp_path / "m.csv", table, times_unit="frames", hop_seconds=0.005)
    assert frames[0].id == "a.wav#t=0.04,0.24"
    with pytest.raises(DataError, match="'start' counts frames, not seconds"):
        manifest(tmp_path / "m.csv", table, times_unit="frames")
    with pytest.raises(DataError, match="times_unit=samples contradicts column 'end_ms'"):
        manifest(tmp_path / "m.csv", table.replace("start,end", "start_ms,end_ms").replace("start_ms", "start"),
                 times_unit="samples")  # fmt: skip


@pytest.mark.parametrize(("name", "cell"), [("hop_length", "160"), ("frame_shift_ms", "10"), ("hop_size", "0.01")])
def test_frames_are_as_long_as_the_table_says(tmp_path: Path, name: str, cell: str) -> None:
    write(tmp_path / "a.wav", tone(1.0))
    reader = manifest(tmp_path / "m.csv", f"file,begin_frame,end_frame,{name},label\na.wav,10,35,{cell},x\n")
    assert reader[0].id == "a.wav#t=0.1,0.35"
    assert reader[0].inputs.length == RATE // 4


def test_samples_of_another_rate_than_the_file_s_are_rows_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(1.0))
    table = "file,start_sample,end_sample,sample_rate,label\na.wav,800,4800,44100,x\n"
    with pytest.raises(DataError, match=r"'sample_rate' says 44100 Hz, a\.wav has 16,000 Hz: which of them counts"):
        manifest(tmp_path / "m.csv", table)
    assert manifest(tmp_path / "m.csv", table.replace("44100", "16000"))[0].inputs.length == 4000


def test_decimals_of_times_are_as_the_table_writes_them(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(3.0))
    reader = manifest(tmp_path / "m.csv", "file;start_ms;end_ms;label\na.wav;1.100;1.200,5;x\na.wav;50,5;150;y\n")
    assert [reader[row].id for row in range(2)] == ["a.wav#t=1.1,1.2005", "a.wav#t=0.0505,0.15"]


def lists(folder: Path, kind: str, cells: list[Any]) -> ManifestReader:
    rows = [{"file": f"r{row}.wav", "labels": cell} for row, cell in enumerate(cells)]
    for row in range(len(cells)):
        write(folder / f"r{row}.wav", tone(0.1, seed=row))
    path = folder / f"m.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "json":
        path.write_text(json.dumps({"data": rows}))
    else:
        path.write_text("file;labels\n" + "".join(f"{one['file']};{one['labels']}\n" for one in rows))
    return ManifestReader(ManifestConfig(path=str(path)))


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "csv"])
def test_lists_are_several_labels(tmp_path: Path, kind: str) -> None:
    reader = lists(tmp_path, kind, [["dog", "cat"], ["dog"], [], ["bird, wild"]])
    assert reader.targets[0].kind == "multilabel"
    assert reader.targets[0].names == ("bird, wild", "cat", "dog")
    assert [reader[row].targets["labels"] for row in range(4)] == [[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_recordings_as_the_datasets_library_writes_them(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(0.1))
    write(tmp_path / "b.wav", tone(0.1, seed=1))
    rows = [{"audio": {"path": f"{name}.wav", "bytes": None}, "label": name} for name in "ab"]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reader = ManifestReader(ManifestConfig(path=str(tmp_path / "m.jsonl")))
    assert [reader[row].id for row in range(2)] == ["a.wav", "b.wav"]


def test_other_nested_cells_are_named_and_answers_are_classes(tmp_path: Path) -> None:
    reader = lists(tmp_path, "jsonl", [{"name": "dog"}, {"name": "cat"}])
    assert not reader.targets
    assert "column 'labels': no label (its cells hold nested or mixed values such as" in said(reader)
    marks = lists(tmp_path, "jsonl", [[0, 1, 1], [1, 0, 0], None])
    assert marks.targets[0].names == ("0", "1", "2")
    assert [marks[row].targets.get("labels") for row in range(3)] == [[0, 1, 1], [1, 0, 0], None]
    answers = lists(tmp_path, "jsonl", [True, False, True, None])
    assert answers.targets[0].kind == "class"
    assert [answers[row].targets.get("labels") for row in range(4)] == [1, 0, 1, None]
