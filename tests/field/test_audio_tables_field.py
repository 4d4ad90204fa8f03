"""Tables beside recordings as annotation programs and tool kits write them (K1, K3, K4, K9)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repcore import registry
from repcore.data.copies import content_hash
from repcore.data.readers import open_data
from repcore.errors import DataError, ItemError
from repcore_audio.configs.recordings import ManifestConfig, RecordingsConfig
from repcore_audio.datasets import sniffing
from repcore_audio.datasets.folders import FolderReader
from repcore_audio.datasets.kaldi import KaldiReader
from repcore_audio.datasets.manifests import ManifestReader
from tests.field.audio_inputs import RATE, manifest, said, tone, write


def folder_of(root: Path, count: int, seconds: float = 4.0) -> None:
    for number in range(count):
        write(root / f"rec{number}.wav", tone(seconds, 300.0 + 200 * number, seed=number))


RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\n"


@pytest.mark.parametrize("kind", ["raven", "audacity", "audacity with frequencies"])
def test_a_table_for_every_recording_makes_one_set(tmp_path: Path, kind: str) -> None:
    folder_of(tmp_path, 4)
    for number in range(3):
        if kind == "raven":
            lines = "".join(f"{k + 1}\tSpectrogram 1\t1\t{k}.5\t{k + 1}.0\t{'ab'[k % 2]}\n" for k in range(3))
            (tmp_path / f"rec{number}.Table.1.selections.txt").write_text(RAVEN + lines)
        else:
            below = "\\\t500.0\t3000.0\n" * (kind != "audacity")
            lines = "".join(f"{k}.500000\t{k + 1}.000000\t{'ab'[k % 2]}\n{below}" for k in range(3))
            (tmp_path / f"rec{number}.txt").write_text(lines)
    part, reader = open_data(registry.default(), str(tmp_path), domain="audio")
    assert (part.name, len(reader)) == ("audio/manifest", 9)
    assert [reader[row].id for row in (0, 4)] == ["rec0.wav#t=0.5,1", "rec1.wav#t=1.5,2"]
    whole = soundfile.read(tmp_path / "rec1.wav")[0]
    np.testing.assert_array_equal(reader[4].inputs.samples[0], whole[int(1.5 * RATE) : 2 * RATE])
    (label,) = reader.targets
    assert [reader[row].targets[label.name] for row in range(3)] == [0, 1, 0]
    assert set(reader.groups or ()) == {"rec0.wav", "rec1.wav", "rec2.wav"}
    assert "rec3.wav: a recording that no table names" in said(reader)


@pytest.mark.parametrize("words", [("L", "R"), ("left", "right"), ("1.0", "2.0")])
def test_channels_are_left_and_right_too(tmp_path: Path, words: tuple[str, str]) -> None:
    left, right = tone(0.5, 400.0), 0.5 * tone(0.5, 900.0)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    table = "path,channel,label\n" + "".join(f"s.wav,{word},{number}\n" for number, word in enumerate(words))
    reader = manifest(tmp_path / "m.csv", table)
    assert [reader[row].inputs.channels for row in range(2)] == ["1", "2"]
    assert [reader[row].id for row in range(2)] == ["s.wav#channel=1", "s.wav#channel=2"]
    with pytest.raises(DataError, match="'middle' names no channel"):
        manifest(tmp_path / "n.csv", table.replace(words[1], "middle"), channel_column="channel")


def test_a_spreadsheet_of_events_is_read_below_its_title(tmp_path: Path) -> None:
    folder_of(tmp_path, 2, 6.0)
    rows = "".join(
        f"rec{one}.wav;{k},25;{k + 1},5;{('Amsel', 'none', 'Meise', 'none')[k]}\n" for one in range(2) for k in range(4)
    )
    text = f"Projekt;;;\n;;;\nDatei;Beginn (s);Ende (s);Art\n{rows}"
    reader = manifest(tmp_path / "Annotationen.csv", text, encoding="cp1252")
    assert (len(reader), reader[1].id, len(reader[1].inputs.samples[0])) == (8, "rec0.wav#t=1.25,2.5", 1.25 * RATE)
    assert "column 'Art': 4 cells 'none' count as missing" in said(reader)


def test_a_channel_that_tells_rows_apart_is_the_item(tmp_path: Path) -> None:
    for number in range(2):
        both = np.stack([tone(0.5, 400.0), 0.5 * tone(0.5, 900.0)], 1)
        soundfile.write(tmp_path / f"s{number}.wav", both, RATE, subtype="FLOAT")
    rows = "".join(f"s{number}.wav,{channel},{'ab'[channel]}\n" for number in range(2) for channel in (0, 1))
    reader = manifest(tmp_path / "m.csv", "path,channel,label\n" + rows)
    assert [reader[row].id for row in (0, 3)] == ["s0.wav#channel=1", "s1.wav#channel=2"]
    assert [reader[row].inputs.channels for row in range(2)] == ["1", "2"]
    assert list(reader.groups or ()) == ["s0.wav", "s0.wav", "s1.wav", "s1.wav"]


def test_every_column_is_spoken_of(tmp_path: Path) -> None:
    folder_of(tmp_path, 4, 0.3)
    rows = "".join(f"rec{n}.wav;{3 + n % 3},{n};{'music,speech' if n % 2 else 'music'};hello\n" for n in range(4))
    reader = manifest(tmp_path / "m.csv", "wav;MOS;tags;transcript\n" + rows)
    assert [(one.name, one.kind, one.names) for one in reader.targets] == [("tags", "multilabel", ("music", "speech"))]
    assert (
        "column 'MOS': no label (labels are in 'tags'); to change: --read labels=[MOS] (with train: dataset.labels=...)"
        in said(reader)
    )
    assert "column 'transcript': no label" in said(reader)
    asked = ManifestReader(ManifestConfig(path=str(tmp_path / "m.csv"), labels=["MOS"]))
    assert [asked[row].targets["MOS"] for row in range(4)] == [3.0, 4.1, 5.2, 3.3]


def test_lists_of_toolkits_are_read(tmp_path: Path) -> None:
    folder_of(tmp_path, 4, 0.3)
    held = {f"u{n}": {"wav": f"rec{n}.wav", "spk_id": f"s{n % 2}", "label": "ab"[n % 2]} for n in range(4)}
    (tmp_path / "train.json").write_text(json.dumps(held))
    reader = ManifestReader(ManifestConfig(path=str(tmp_path / "train.json")))
    assert (len(reader), list(reader.groups or ())) == (4, ["s0", "s1", "s0", "s1"])
    reader = manifest(tmp_path / "ids.csv", "id,label\n" + "".join(f"rec{n},{'ab'[n % 2]}\n" for n in (2, 0, 3, 1)))
    assert [reader[row].targets["label"] for row in range(4)] == [0, 0, 1, 1]
    assert len(reader[0].inputs.samples[0]) == int(0.3 * RATE)


def test_times_in_ticks_are_refused_and_recordings_without_segments_said(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    rows = "".join(f"rec0.wav,{k * 8000},{k * 8000 + 4000},a\n" for k in range(3))
    with pytest.raises(DataError, match="'start_tick' counts tick, not seconds"):
        manifest(tmp_path / "m.csv", "file,start_tick,end_tick,label\n" + rows)
    (tmp_path / "wav.scp").write_text("".join(f"r{n} rec{n}.wav\n" for n in range(3)))
    (tmp_path / "segments").write_text("u0 r1 0.0 1.0\nu1 r1 1.0 2.0\n")
    reader = KaldiReader(RecordingsConfig(path=str(tmp_path)))
    assert len(reader) == 2
    assert "2 of 3 recordings have no segment and are left out, first 'r0'" in said(reader)


def test_species_that_a_detector_found_are_labels_and_its_confidence_is_none(tmp_path: Path) -> None:
    write(tmp_path / "long.wav", tone(6.0))
    species = ("Parus major,Great Tit", "Turdus merula,Blackbird", "Corvus corax,Raven")
    rows = "".join(f"{n}.0,{n + 1}.0,{species[n % 3]},0.{3 + n}\n" for n in range(6))
    name = tmp_path / "long.BirdNET.results.csv"
    reader = manifest(name, "Start (s),End (s),Scientific name,Common name,Confidence\n" + rows)
    assert [(one.name, one.kind, one.names) for one in reader.targets] == [
        ("Scientific name", "class", ("Corvus corax", "Parus major", "Turdus merula")),
        ("Common name", "class", ("Blackbird", "Great Tit", "Raven")),
    ]
    assert [reader[row].targets["Common name"] for row in range(4)] == [1, 0, 2, 1]
    assert "column 'Confidence': no label (labels are in 'Scientific name', 'Common name')" in said(reader)


def test_labels_that_tables_contradict_count_as_missing(tmp_path: Path) -> None:
    folder_of(tmp_path, 6, 0.3)
    first = "file,label,grade\n" + "".join(f"rec{n}.wav,{'xy'[n % 2]},{n}\n" for n in range(5))
    second = "file,label,grade\n" + "".join(f"rec{n}.wav,{'xy'[(n < 2) ^ (n % 2)]},{n}.0\n" for n in range(6))
    (tmp_path / "labels.csv").write_text(first)
    (tmp_path / "more_labels.csv").write_text(second)
    reader = ManifestReader(ManifestConfig(path=str(tmp_path), labels=["label", "grade"]))
    found = [dict(reader[row].targets) for row in range(6)]
    assert [one.get("label") for one in found] == [None, None, 0, 1, 0, 1]
    assert [one["grade"] for one in found] == [0, 1, 2, 3, 4, 5]
    words = "column 'label': tables contradict each other about 2 recordings, first rec0.wav: they count as missing"
    assert words in said(reader)
    assert "column 'grade': tables" not in said(reader)


@pytest.mark.parametrize(
    ("name", "words", "meant"),
    [
        ("channel", "01", True), ("ch", "12", True), ("Channel No", "LR", True), ("channel", "11", False),
        ("channel", "13", False), ("mic", "01", False), ("side", "LR", False),
    ],
)  # fmt: skip
def test_a_channel_of_every_recording_is_applied_or_said(tmp_path: Path, name: str, words: str, meant: bool) -> None:
    for number in range(2):
        both = np.stack([tone(0.3, 400.0), 0.5 * tone(0.3, 900.0)], 1)
        soundfile.write(tmp_path / f"s{number}.wav", both, RATE, subtype="FLOAT")
    table = f"file,{name},label\ns0.wav,{words[0]},a\ns1.wav,{words[1]},b\n"
    reader = manifest(tmp_path / "m.csv", table)
    applied = f"the channel of its recording that {name!r} gives"
    if meant:
        assert [reader[row].inputs.channels for row in range(2)] == ["1", "2"]
        assert [reader[row].id for row in range(2)] == ["s0.wav#channel=1", "s1.wav#channel=2"]
        assert applied in said(reader)
    else:
        assert [reader[row].inputs.channels for row in range(2)] == ["mean", "mean"]
        assert f"column {name!r}: not applied" in said(reader)
        assert applied not in said(reader)


def test_channels_of_recordings_with_one_describe_them(tmp_path: Path) -> None:
    folder_of(tmp_path, 2, 0.3)
    reader = manifest(tmp_path / "m.csv", "file,channel,label\nrec0.wav,1,a\nrec1.wav,2,b\n")
    assert [reader[row].id for row in range(2)] == ["rec0.wav", "rec1.wav"]
    assert "not applied" not in said(reader)


def test_channels_of_one_file_are_no_copies(tmp_path: Path) -> None:
    write(tmp_path / "st.wav", np.stack([tone(), tone(hertz=2000.0, seed=1)], 1))
    write(tmp_path / "other.wav", np.stack([tone(hertz=90.0), tone(hertz=2000.0, seed=1)], 1))
    reader = manifest(tmp_path / "t.csv", "file,channel,label\nst.wav,0,tone\nst.wav,1,noise\nother.wav,1,noise\n")
    left, right, again = (content_hash(reader[row].inputs) for row in range(3))
    assert left != right == again
    assert "as asked" not in said(reader)


def test_numbers_in_a_table_find_recordings_with_leading_zeros(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number:05d}.wav", tone(0.1 + 0.1 * number))
    reader = manifest(tmp_path / "labels.csv", "id,label\n2,a\n0,b\n1,a\n")
    assert [reader[row].meta["seconds"] for row in range(3)] == [0.3, 0.1, 0.2]
    assert "3 names are numbers without the leading zeros of the files" in said(reader)


def test_folders_of_folds_are_parts_and_no_classes(tmp_path: Path) -> None:
    for name in ("Fold1/dog/a.wav", "Fold1/cat/b.wav", "Fold2/dog/c.wav", "Fold2/cat/d.wav"):
        write(tmp_path / name)
    reader = FolderReader(RecordingsConfig(path=str(tmp_path)))
    assert {name: list(rows) for name, rows in reader.splits.items()} == {"fold-1": [0, 1], "fold-2": [2, 3]}
    assert [one.names for one in reader.targets] == [("cat", "dog")]


def test_pairs_of_rising_numbers_do_not_end_the_look_at_a_table(tmp_path: Path) -> None:
    (tmp_path / "SET_A.txt").write_text("1, 2\n1, 3\n2, 4\n")
    assert sniffing.manifest(tmp_path / "SET_A.txt") == 0.0


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
@pytest.mark.parametrize("published", ["esc50", "urbansound8k"])
def test_tables_of_published_sets_are_tables_like_others(tmp_path: Path, published: str, encoding: str) -> None:
    """Their encodings and delimiters are found, and broken rows stay rows with a reason."""
    places = {"esc50": ("meta/esc50.csv", "audio"), "urbansound8k": ("metadata/UrbanSound8K.csv", "audio/fold1")}
    table, audio = (tmp_path / one for one in places[published])
    words = ["café", "Möwe", "rain"] * 4
    head = ["filename;fold;category;src_file"] if published == "esc50" else ["slice_file_name;fold;class;fsID"]
    lines = [f"{number}.wav;1;{word};s{number // 2}" for number, word in enumerate(words)]
    for number in range(len(words)):
        write(audio / f"{number}.wav", tone(0.1, 300 + 20 * number))
    table.parent.mkdir()
    table.write_bytes("\n".join([*head, *lines, "12.wav;1"]).encode(encoding))
    part, reader = open_data(registry.default(), str(tmp_path))
    assert part.name == f"audio/{published}"
    assert len(reader) == 13
    assert reader.targets[0].names == ("Möwe", "café", "rain")
    assert reader.splits == {"fold-1": list(range(13))}
    with pytest.raises(ItemError) as caught:
        reader[12]
    assert caught.value.status == "malformed_row"
    assert encoding == "utf-8" or f"encoding of {table.name}" in said(reader)
