"""Recordings as people have them: what is read, what is refused, and what is said, kind by kind (K1 to K15)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from repcore import registry
from repcore.data.accounting import account_of
from repcore.data.readers import open_data
from repcore.data.split_plans import SplitInputs
from repcore.errors import DataError
from repcore_audio.configs.recordings import ManifestConfig, RecordingsConfig
from repcore_audio.datasets.folders import FolderReader
from repcore_audio.datasets.kaldi import KaldiReader
from repcore_audio.datasets.manifests import ManifestReader
from repcore_audio.datasets.urban_sound import UrbanSoundReader
from repcore_audio.preprocessors.splits import declared_folds
from tests.field.audio_inputs import RATE, embed, manifest, said, tone, write

# ------------------------------------------------------------------------------------------------ K9: excerpts


@pytest.fixture
def long_file(tmp_path: Path) -> np.ndarray:
    """Ten seconds, each with a tone of its own, and every second also as a file."""
    parts = [tone(1.0, 300.0 + 150 * number, seed=number) for number in range(10)]
    for number, part in enumerate(parts):
        write(tmp_path / "cut" / f"{number}.wav", part)
    write(tmp_path / "audio" / "long.wav", np.concatenate(parts))
    return np.concatenate(parts)


SEGMENTS = {
    "segments.csv": ("filename,start,end,label", "audio/long.wav,{0},{1},{2}"),
    "onsets.csv": ("file;onset;offset;label", "audio/long.wav;{0},0;{1},0;{2}"),
    "lasting.tsv": ("wav\tstart_time\tduration\tlabel", "audio/long.wav\t{0}\t1.0\t{2}"),
    "millis.csv": ("path,start (ms),end (ms),label", "audio/long.wav,{0}000,{1}000,{2}"),
    "clock.csv": ("path,begin_time,end_time,label", "audio/long.wav,0:0{0}.0,00:{1:02d},{2}"),
    "rec.Table.1.selections.txt": (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tBegin Path\tSpecies",
        "{1}\tSpectrogram 1\t1\t{0}.0\t{1}.0\t100.0\t4000.0\taudio/long.wav\t{2}",
    ),
}


@pytest.mark.parametrize("name", list(SEGMENTS))
def test_segments_are_the_stretches_and_nothing_else(name: str, long_file: np.ndarray, tmp_path: Path) -> None:
    header, line = SEGMENTS[name]
    rows = "".join(line.format(n, n + 1, "ab"[n % 2]) + "\n" for n in range(10))
    reader = manifest(tmp_path / name, f"{header}\n{rows}")
    assert open_data(registry.default(), str(tmp_path / name))[0].name == "audio/manifest"
    found = embed(reader)
    assert list(found.status) == ["ok"] * 10
    assert list(found.ids) == [f"audio/long.wav#t={n},{n + 1}" for n in range(10)]
    np.testing.assert_allclose(found.vectors, embed(FolderReader(RecordingsConfig(path=str(tmp_path / "cut")))).vectors)
    assert len(np.unique(found.vectors.round(3), axis=0)) == 10
    assert reader.targets[0].names == ("a", "b")
    assert [reader[row].targets[reader.targets[0].name] for row in range(4)] == [0, 1, 0, 1]
    assert set(reader.groups or ()) == {"long.wav"}  # all of one recording, so never in two splits
    assert "the stretch of a recording that" in said(reader)


def test_label_tracks_and_selection_tables_belong_to_the_recording_of_their_name(
    long_file: np.ndarray, tmp_path: Path
) -> None:
    track = "".join(f"{n}.000000\t{n + 1}.000000\t{'ab'[n % 2]}\n" for n in range(10))
    (tmp_path / "audio" / "long.txt").write_text(track)
    assert open_data(registry.default(), str(tmp_path / "audio" / "long.txt"))[0].name == "audio/manifest"
    reader = ManifestReader(ManifestConfig(path=str(tmp_path / "audio" / "long.txt")))
    np.testing.assert_array_equal(reader[3].inputs.samples[0], soundfile.read(tmp_path / "cut" / "3.wav")[0])
    assert (len(reader), reader.targets[0].names) == (10, ("a", "b"))
    lines = ["Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies"]
    lines += [
        f"{n + 1}\t{view} 1\t1\t{n}.0\t{n + 1}.0\t{'ab'[n % 2]}" for n in range(9) for view in ("Waveform", "Spec")
    ]
    path = tmp_path / "audio" / "long.Table.1.selections.txt"
    reader = manifest(path, "\n".join(lines))
    assert len(reader) == 9
    assert "9 rows repeat a selection for another view" in said(reader)


def test_segments_out_of_range_are_rows_with_a_reason(long_file: np.ndarray, tmp_path: Path) -> None:
    times = [(0, 1), (9.5, 10.5), (10, 11), (3, 2), (-1, 1), ("x", 1), ("", ""), (9, 10.005)]
    text = "".join(f"audio/long.wav,{start},{end},a\n" for start, end in times)
    reader = manifest(tmp_path / "s.csv", f"filename,start,end,label\n{text}")
    found = embed(reader)
    expected = ["ok", "out_of_range", "out_of_range", "out_of_range", "out_of_range", "bad_time", "bad_time", "ok"]
    assert list(found.status) == expected
    assert "9.5 to 10.5 s was asked for, long.wav has 10.000 s" in found.reason[1]
    assert found.reason[6] == "'start' is '', 'end' is '', which is no time; other rows of this table have one"
    whole = ManifestReader(ManifestConfig(path=str(tmp_path / "s.csv"), excerpts="ignore", id_column="start"))
    assert whole[0].meta["seconds"] == 10.0


def test_times_with_commas_are_counted_or_asked_for(long_file: np.ndarray, tmp_path: Path) -> None:
    rows = "".join(f'audio/long.wav,"{n * RATE:,}","{(n + 1) * RATE:,}",a\n' for n in range(1, 5))
    reader = manifest(tmp_path / "a.csv", f"filename,start_sample,end_sample,label\n{rows}")
    assert [reader[row].id for row in range(4)] == [f"audio/long.wav#t={n},{n + 1}" for n in range(1, 5)]
    text = "filename;start;end;label\n" + "".join(f"audio/long.wav;{n},500;{n + 1},500;a\n" for n in range(1, 5))
    with pytest.raises(DataError, match="row 0: '1,500' is no time in seconds") as caught:
        manifest(tmp_path / "b.csv", text)
    assert "decimal=comma" in str(caught.value)
    asked = ManifestReader(ManifestConfig(path=str(tmp_path / "b.csv"), decimal="comma"))
    assert asked[0].id == "audio/long.wav#t=1.5,2.5"


def test_files_that_were_cut_out_before_are_told(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"{number}.wav", tone(1.0))
    text = "".join(f"{number}.wav,{number + 5},{number + 6},a\n" for number in range(4))
    found = embed(manifest(tmp_path / "s.csv", f"file,start,end,label\n{text}"))
    assert set(found.status) == {"out_of_range"}
    assert "it may have been cut out before: --read excerpts=ignore" in found.reason[0]


def test_audioset_and_urbansound_times_count_in_the_source(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / "audio" / f"y{number}.wav", tone(1.0, seed=number))
    head = "# Segments csv created Sun Mar  5 10:54:25 2017\n# YTID, start_seconds, end_seconds, positive_labels\n"
    text = "".join(f'y{n}, {n}0.000, {n + 1}0.000, "/m/09x0r,/t/dd00088"\n' for n in range(6))
    reader = manifest(tmp_path / "eval_segments.csv", head + text)
    assert (reader.targets[0].kind, reader.targets[0].names) == ("multilabel", ("/m/09x0r", "/t/dd00088"))
    assert [reader[row].meta["seconds"] for row in range(6)] == [1.0] * 6
    assert "times of AudioSet" in said(reader)
    base, lines = tmp_path / "UrbanSound8K", ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for number in range(20):
        write(base / "audio" / f"fold{number % 10 + 1}" / f"{number}.wav", tone(0.2))
        lines.append(f"{number}.wav,{number % 10},14.5,18.5,1,{number % 10 + 1},{number % 4},{'abcd'[number % 4]}")
    (base / "metadata").mkdir()
    (base / "metadata" / "UrbanSound8K.csv").write_text("\n".join(lines))
    part, opened = open_data(registry.default(), str(base))
    assert part.name == "audio/urbansound8k"
    assert isinstance(opened, UrbanSoundReader)
    assert list(embed(opened).status) == ["ok"] * 20
    assert opened.splits["fold-3"] == [2, 12]
    assert len(set(opened.groups or ())) == 10


def test_kaldi_folders(long_file: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("rec1 audio/long.wav\nrec2 sox in.wav -t wav - |\n")
    (tmp_path / "segments").write_text("u1 rec1 2.0 3.0\nu2 rec1 3 4\nu3 rec1 9.0 -1\nu4 rec2 0 1\nu5 rec9 0 1\n")
    (tmp_path / "utt2spk").write_text("u1 ann\nu2 bob\nu3 ann\nu4 cem\nu5 cem\n")
    (tmp_path / "utt2lang").write_text("u1 de\nu2 fr\nu3 de\nu4 fr\nu5 de\n")
    assert open_data(registry.default(), str(tmp_path))[0].name == "audio/kaldi"
    reader = KaldiReader(RecordingsConfig(path=str(tmp_path / "wav.scp")))
    np.testing.assert_array_equal(reader[0].inputs.samples[0], soundfile.read(tmp_path / "cut" / "2.wav")[0])
    assert reader[2].meta["seconds"] == 1.0
    found = embed(reader)
    assert list(found.status) == ["ok", "ok", "ok", "unsupported", "missing_file"]
    assert "none is run out of data files" in found.reason[3]
    assert reader.targets[0].names == ("de", "fr")
    assert len(set(reader.groups[:3])) == 1  # one file, two speakers: together


def test_windows_of_long_recordings_are_rows(long_file: np.ndarray, tmp_path: Path) -> None:
    long_file[5 * RATE : 8 * RATE] = 0
    write(tmp_path / "w" / "gap.wav", long_file)
    rows = embed(FolderReader(RecordingsConfig(path=str(tmp_path / "w"))), apart=True)
    assert len(rows.ids) == 8  # 998 frames of 10 ms in windows of 128
    assert rows.ids[1] == "gap.wav#t=1.28,2.575"
    assert list(rows.columns["source"]) == ["gap.wav"] * 8
    np.testing.assert_allclose(rows.columns["start"], 1.28 * np.arange(8))
    assert list(rows.status) == ["ok"] * 4 + ["silent"] * 2 + ["ok"] * 2
    assert embed(FolderReader(RecordingsConfig(path=str(tmp_path / "w")))).status == ["ok"]


# ------------------------------------------------------------------------------------- K1, K2, K3, K8: tables


def clips(folder: Path, count: int = 12) -> None:
    for number in range(count):
        write(folder / "audio" / f"c{number:02d}.wav", tone(0.1, seed=number))


NAMES = [f"c{number:02d}.wav" for number in range(12)]
TABLES: dict[str, tuple[str, str]] = {
    "plain.csv": ("filename,label", "audio/{0},{1}"),
    "windows.csv": ("filename,label", "audio\\{0},{1}"),
    "elsewhere.csv": ("filename,label", "C:\\Users\\me\\data\\{0},{1}"),
    "unix.csv": ("filename,label", "/home/other/audio/{0},{1}"),
    "address.csv": ("filename,label", "file:///x/{0},{1}"),
    "semicolon.csv": ("filename;label", "audio/{0};{1}"),
    "spaces.csv": ("filename, label", "audio/{0} , {1}"),
    "named_oddly.csv": ("what,label", "audio/{0},{1}"),
    "noheader.csv": ("", "audio/{0},{1}"),
    "blanks.txt": ("", "audio/{0} {1}"),
    "suffix.csv": ("filename,label", "{2},{1}"),
}


@pytest.mark.parametrize("name", list(TABLES))
def test_tables_that_name_recordings_in_every_way(name: str, tmp_path: Path) -> None:
    clips(tmp_path)
    header, line = TABLES[name]
    lines = [line.format(file, "ab"[row % 2], file[:-4]) for row, file in enumerate(NAMES)]
    reader = manifest(tmp_path / name, "\n".join([header, *lines] if header else lines))
    assert open_data(registry.default(), str(tmp_path / name))[0].name == "audio/manifest"
    assert len(reader) == 12
    assert list(embed(reader).status) == ["ok"] * 12
    assert [row.source.path.name for row in reader.rows] == NAMES
    assert reader.targets[0].names == ("a", "b")
    assert "recordings: column" in said(reader)


def test_lists_of_paths_and_utf16(tmp_path: Path) -> None:
    clips(tmp_path)
    reader = manifest(tmp_path / "names.txt", "\n".join(f"audio/{name}" for name in NAMES))
    assert open_data(registry.default(), str(tmp_path / "names.txt"))[0].name == "audio/manifest"
    assert (len(reader), list(reader.targets)) == (12, [])
    text = "filename,label\n" + "\n".join(f"audio/{name},{'ab'[row % 2]}" for row, name in enumerate(NAMES))
    assert len(manifest(tmp_path / "wide.csv", text, "utf-16")) == 12
    lines = [f'{{"audio_filepath": "audio/{name}", "offset": 0.02, "duration": 0.05}}' for name in NAMES]
    nemo = manifest(tmp_path / "nemo.jsonl", "\n".join(lines))
    assert nemo[0].meta["seconds"] == 0.05


@pytest.mark.parametrize(
    ("column", "cells", "kind", "names"),
    [
        ("label", ["dog;cat", "dog", "cat;bird", "bird"], "multilabel", ("bird", "cat", "dog")),
        ("label", ["Male speech, man speaking", "Dog", "Narration, monologue", "Cat"], "class", None),
        ("label", ["1.23", "4.56", "2.5", "3.75"], "regression", ()),
        ("mos", ["1.2", "4.5", "3.3", "2.1"], "regression", ()),
        ("label", ["0", "1", "2", "3"], "class", ("0", "1", "2", "3")),
        ("label", ["-1", "1", "-1", "1"], "class", ("-1", "1")),
        ("class", ["x", "y", "x", "y"], "class", ("x", "y")),
    ],
)
def test_label_kinds(column: str, cells: list[str], kind: str, names: Any, tmp_path: Path) -> None:
    clips(tmp_path)
    lines = [f'audio/{name},"{cells[row % 4]}"' for row, name in enumerate(NAMES)]
    if kind == "regression":
        lines = [f"audio/{name},{float(cells[row % 4]) + row / 100:.2f}" for row, name in enumerate(NAMES)]
    reader = manifest(tmp_path / "t.csv", f"filename,{column}\n" + "\n".join(lines))
    assert [(one.name, one.kind) for one in reader.targets] == [(column, kind)]
    assert reader.targets[0].names == (tuple(sorted(cells)) if names is None else names)
    assert f"label '{column}': {kind}" in said(reader)


def test_folds_groups_and_what_is_no_label(tmp_path: Path) -> None:
    clips(tmp_path)
    lines = [f"audio/{n},{'ab'[r % 2]},{r % 3 + 1},spk{r // 2},hello {r}" for r, n in enumerate(NAMES)]
    reader = manifest(tmp_path / "t.csv", "filename,category,fold,speaker_id,sentence\n" + "\n".join(lines))
    assert list(reader.splits) == ["fold-1", "fold-2", "fold-3"]
    inputs = SplitInputs(ids=[row.id for row in reader.rows], groups=reader.groups or (), declared=reader.splits)
    assert [fold.test.tolist() for fold in declared_folds(inputs, 0)] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert reader.groups == [f"spk{row // 2}" for row in range(12)]
    assert [one.name for one in reader.targets] == ["category"]


def test_missing_recordings_say_what_is_there(tmp_path: Path) -> None:
    clips(tmp_path)
    lines = [f"audio/{'nope' if row == 3 else ''}{name},a" for row, name in enumerate(NAMES)]
    reader = manifest(tmp_path / "t.csv", "filename,label\n" + "\n".join(lines))
    assert embed(reader).status.count("missing_file") == 1
    with pytest.raises(DataError, match=r"c00\.m4a does not exist \(c00\.wav does\)"):
        manifest(tmp_path / "m.csv", "filename,label\n" + "\n".join(f"audio/{n[:-4]}.m4a,a" for n in NAMES))
    with pytest.raises(DataError, match=r"not unique(.|\n)*'audio/c00.wav' in rows 0, 1"):
        manifest(tmp_path / "d.csv", "filename,label\naudio/c00.wav,a\naudio/c00.wav,b\n")


def test_folders_of_splits_classes_and_subjects(tmp_path: Path) -> None:
    for name in ("train/cat/a.wav", "val/dog/b.wav", "test/cat/c.wav", "extra.wav", ".cache/x.wav", "notes.pdf"):
        write(tmp_path / "one" / name) if name.endswith("wav") else (tmp_path / "one" / name).write_bytes(b"%PDF")
    os.mkfifo(tmp_path / "one" / "pipe.wav")
    (tmp_path / "one" / "gone.wav").symlink_to("nowhere.wav")
    reader = FolderReader(RecordingsConfig(path=str(tmp_path / "one")))
    assert set(reader.splits) == {"train", "validation", "test"}
    assert list(reader.targets) == []  # extra.wav lies in no class
    account = account_of(reader)
    assert account.counts == {"used": 4, "ignored": 3, "unreadable": 1}
    assert account.fate(tmp_path / "one" / "pipe.wav") == ("ignored", "no regular file (a named pipe)")
    for genre in ("blues", "rock"):
        for number in range(2):
            write(tmp_path / "gtzan" / "genres_original" / genre / f"{genre}.{number:05d}.wav")
    gtzan = FolderReader(RecordingsConfig(path=str(tmp_path / "gtzan")))
    assert gtzan.targets[0].names == ("blues", "rock")
    for subject in range(3):
        for number in range(2):
            write(tmp_path / "bids" / f"sub-0{subject}" / f"{number}.wav")
    bids = FolderReader(RecordingsConfig(path=str(tmp_path / "bids")))
    assert (list(bids.targets), bids.groups) == ([], ["sub-00"] * 2 + ["sub-01"] * 2 + ["sub-02"] * 2)


def test_names_that_are_not_utf8_are_rows(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav").read_bytes()
    for name in (b"bytes\xff\xfe.wav", b"new\nline.wav", "日本語.wav".encode(), b"#hash.wav", b"[x].wav"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(source)
    rows = embed(FolderReader(RecordingsConfig(path=str(tmp_path))))
    assert list(rows.status) == ["ok"] * 6
    assert all(name.encode("utf-8") for name in rows.ids)
