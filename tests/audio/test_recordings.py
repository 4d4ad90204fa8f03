"""Readers: layouts, labels, groups, splits, formats, and everything that can be wrong with files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repcore import registry
from repcore.data.readers import dataset_settings
from repcore.data.split_plans import SplitInputs, plan_splits
from repcore.errors import DataError, ItemError
from repcore_audio.configs.recordings import ManifestConfig, RecordingsConfig, SoundsConfig
from repcore_audio.datasets.folders import Esc50Reader, FolderReader, FsddReader, SpeechCommandsReader
from repcore_audio.datasets.manifests import ManifestReader
from repcore_audio.datasets.sounds import MAKERS, Sounds
from repcore_audio.preprocessors.splits import declared_folds, leave_one_group_out
from repcore_audio.rendering.recordings import render


def write(path: Path, seconds: float = 0.1, rate: int = 16_000, channels: int = 1, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(0).standard_normal((int(seconds * rate), channels))
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def ids(reader: FolderReader) -> Sequence[str]:
    return [reader.id_of(row) for row in range(len(reader))]


def recognised(path: Path) -> str:
    return str(dataset_settings(registry.default(), str(path), domain="audio")["name"])


def test_folders_are_classes_and_may_be_splits(tmp_path: Path) -> None:
    for name in ("train/cat/a.wav", "train/dog/b.flac", "test/cat/c.ogg", ".hidden/dog/x.wav"):
        write(tmp_path / name)
    (tmp_path / "train" / "notes.txt").write_text("no audio")
    assert recognised(tmp_path) == "audio/folder"
    reader = FolderReader(RecordingsConfig(path=str(tmp_path)))
    assert ids(reader) == ["test/cat/c.ogg", "train/cat/a.wav", "train/dog/b.flac"]
    assert reader.targets[0].names == ("cat", "dog")
    assert [reader[row].targets["class"] for row in range(3)] == [0, 0, 1]
    assert reader.splits == {"test": [0], "train": [1, 2]}
    assert reader.by_id("train/dog/b.flac").meta["sample_rate_hz"] == 16_000
    assert reader.groups is None


def test_flat_and_mixed_folders_have_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "sub" / "b.wav")
    reader = FolderReader(RecordingsConfig(path=str(tmp_path)))
    assert list(reader.targets) == []
    one = FolderReader(RecordingsConfig(path=str(tmp_path / "a.wav")))
    assert len(one) == 1


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "channels"),
    [
        ("a.wav", "PCM_U8", 8000, 1), ("b.wav", "PCM_16", 16_000, 2), ("c.wav", "PCM_24", 96_000, 1),
        ("d.wav", "FLOAT", 44_100, 1), ("e.flac", None, 16_000, 1), ("f.ogg", None, 22_050, 1),
        ("g.mp3", None, 44_100, 2),
    ],
)  # fmt: skip
def test_formats(tmp_path: Path, name: str, subtype: str | None, rate: int, channels: int) -> None:
    write(tmp_path / name, 0.2, rate, channels, subtype)
    recording = FolderReader(RecordingsConfig(path=str(tmp_path)))[0].inputs
    assert recording.sample_rate_hz == rate
    assert recording.samples.dtype == np.float32
    assert recording.samples.shape[0] == channels
    assert recording.samples.shape[1] == pytest.approx(0.2 * rate, rel=0.3)  # mp3 adds frames
    assert 0.05 < recording.samples.std() < 0.2


def test_bad_files_are_rows_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "fine.wav")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "corrupt.wav").write_bytes(b"RIFF" + bytes(60))
    (tmp_path / "text.mp3").write_text("this is not sound")
    soundfile.write(tmp_path / "header.wav", np.zeros((0, 1)), 16_000)
    reader = FolderReader(RecordingsConfig(path=str(tmp_path)))
    found, named = {}, []
    for row, name in enumerate(ids(reader)):
        try:
            reader[row]
            found[name] = "ok"
        except ItemError as error:
            found[name] = error.status
            named.append(name in error.reason)
    assert found == {
        "corrupt.wav": "corrupt", "empty.wav": "empty", "fine.wav": "ok", "header.wav": "empty", "text.mp3": "corrupt",
    }  # fmt: skip
    assert all(named)


def test_folders_without_recordings_say_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match=r"holds no recording(.|\n)*\.csv"):
        FolderReader(RecordingsConfig(path=str(tmp_path)))
    with pytest.raises(DataError, match="does not exist"):
        FolderReader(RecordingsConfig(path=str(tmp_path / "none")))
    with pytest.raises(DataError, match="no recordings were given"):
        FolderReader(RecordingsConfig())
    with pytest.raises(DataError, match="no recording by its name"):
        FolderReader(RecordingsConfig(path=str(tmp_path / "a.csv")))


def test_fsdd_names_hold_digit_speaker_and_take(tmp_path: Path) -> None:
    for name in ("0_theo_0.wav", "0_theo_7.wav", "3_lucas_5.wav", "3_lucas_04.wav"):
        write(tmp_path / "recordings" / name)
    write(tmp_path / "recordings" / "readme-sound.wav")
    assert recognised(tmp_path / "recordings") == "audio/folder"  # one name of five does not fit
    (tmp_path / "recordings" / "readme-sound.wav").unlink()
    assert recognised(tmp_path) == "audio/fsdd"
    write(tmp_path / "recordings" / "readme-sound.wav")
    reader = FsddReader(RecordingsConfig(path=str(tmp_path)))
    assert [target.names for target in reader.targets] == [("0", "3"), ("lucas", "theo")]
    assert reader.splits == {"test": [0, 2], "train": [1, 3]}
    assert reader.groups == ["theo", "theo", "lucas", "lucas"]
    assert reader.notes == ("1 recordings are left out: other names",)
    chosen = FsddReader(RecordingsConfig(path=str(tmp_path), labels=("digit",)))
    assert [target.name for target in chosen.targets] == ["digit"]
    with pytest.raises(DataError, match="no label 'digits'"):
        FsddReader(RecordingsConfig(path=str(tmp_path), labels=("digits",)))


def test_esc50_folds_and_missing_files(tmp_path: Path) -> None:
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(6):
        rows.append(f"{number}.wav,{number % 5 + 1},0,{'dog' if number % 2 else 'rain'},True,source{number // 2},A")
        if number != 4:
            write(tmp_path / "audio" / f"{number}.wav")
    write(tmp_path / "audio" / "extra.wav")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(rows))
    assert recognised(tmp_path) == "audio/esc50"
    reader = Esc50Reader(RecordingsConfig(path=str(tmp_path)))
    assert reader.targets[0].names == ("dog", "rain")
    assert reader.splits["fold-1"] == [0, 5]
    assert reader.groups == ["source0", "source0", "source1", "source1", "source2", "source2"]
    inputs = SplitInputs(ids=[str(row) for row in range(6)], groups=reader.groups or (), declared=reader.splits)
    folds = plan_splits(declared_folds, inputs, [0], allow_shared_groups=True).folds[0]
    assert [fold.test.tolist() for fold in folds] == [[0, 5], [1], [2], [3], [4]]
    assert folds[0].train.tolist() == [1, 2, 3, 4]
    groups = plan_splits(leave_one_group_out, inputs, [0]).folds[0]
    assert [fold.test.tolist() for fold in groups] == [[0, 1], [2, 3], [4, 5]]
    for function in (declared_folds, leave_one_group_out):
        with pytest.raises(DataError, match=r"declared-folds needs|leave-one-group-out needs"):
            function(SplitInputs(ids=["0", "1"], declared={"train": [0]}), 0)
    with pytest.raises(ItemError, match="in the table but not on disk"):
        reader[4]
    assert "audio/extra.wav: a recording that esc50.csv does not name" in " ".join(reader.account.sentences())
    (tmp_path / "meta" / "esc50.csv").write_text("filename,fold\n0.wav,1\n")
    with pytest.raises(DataError, match="no column 'category'"):
        Esc50Reader(RecordingsConfig(path=str(tmp_path)))


def test_speech_commands_lists_and_speakers(tmp_path: Path) -> None:
    for name in ("yes/0a7c2a8d_nohash_0.wav", "yes/0a7c2a8d_nohash_1.wav", "no/004ae714_nohash_0.wav"):
        write(tmp_path / name)
    write(tmp_path / "_background_noise_" / "white.wav")
    (tmp_path / "validation_list.txt").write_text("yes/0a7c2a8d_nohash_1.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/004ae714_nohash_0.wav\nno/gone_nohash_0.wav\n")
    assert recognised(tmp_path) == "audio/speech-commands"
    reader = SpeechCommandsReader(RecordingsConfig(path=str(tmp_path)))
    assert reader.targets[0].names == ("no", "yes")
    assert reader.splits == {"test": [0], "train": [1], "validation": [2]}
    assert reader.groups == ["004ae714", "0a7c2a8d", "0a7c2a8d"]
    assert reader.notes == ("1 lines of the split lists have no file",)


def test_manifest_tables(tmp_path: Path) -> None:
    write(tmp_path / "clips" / "a.wav")
    write(tmp_path / "b.wav")
    table = tmp_path / "list.csv"
    table.write_text("file,label,speaker,split\na.wav,dog,s1,train\nb.wav,,s2,test\nc.wav,cat,s2,train\n")
    assert recognised(table) == "audio/manifest"
    reader = ManifestReader(ManifestConfig(path=str(table)))
    assert reader.targets[0].names == ("cat", "dog")
    assert reader[0].targets == {"label": 1}
    assert reader[1].targets == {}  # a missing label is absent, not a class
    assert reader.groups == ["s1", "s2", "s2"]
    assert reader.splits == {"train": [0, 2], "test": [1]}
    with pytest.raises(ItemError, match=r"c\.wav does not exist"):
        reader[2]
    assert reader.notes == ("1 of 3 rows have no usable file",)
    other = ManifestReader(ManifestConfig(path=str(table), labels=("speaker",), id_column="file"))
    assert other.targets[0].names == ("s1", "s2")
    with pytest.raises(DataError, match=r"no column 'spaeker'(.|\n)*speaker"):
        ManifestReader(ManifestConfig(path=str(table), group_column="spaeker"))


def test_a_name_that_stands_in_several_folders_is_said(tmp_path: Path) -> None:
    for folder in ("old", "new"):
        write(tmp_path / folder / "a.wav")
    write(tmp_path / "b.wav")
    (tmp_path / "list.csv").write_text("file,label\na.wav,dog\nb.wav,cat\n")
    reader = ManifestReader(ManifestConfig(path=str(tmp_path / "list.csv")))
    with pytest.raises(ItemError, match="2 files have that name, in new, old"):
        reader[0]


def test_labels_that_match_no_file_are_an_error(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("file,label\nx.wav,dog\ny.wav,cat\n")
    with pytest.raises(DataError, match=r"none of the 2 recordings(.|\n)*x\.wav does not exist"):
        ManifestReader(ManifestConfig(path=str(table)))
    table.write_text("name,label\nx,dog\n")  # a column of file names is known by its cells, whatever its name
    with pytest.raises(DataError, match="no column of file names"):
        ManifestReader(ManifestConfig(path=str(table)))
    table.write_text("file,label\nx.wav,dog\nx.wav,cat\n")
    write(tmp_path / "x.wav")
    with pytest.raises(DataError, match="not unique"):
        ManifestReader(ManifestConfig(path=str(table)))


def test_published_json_with_a_label_table(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "b.wav")
    (tmp_path / "labels.csv").write_text("index,mid,display_name\n0,/m/1,Dog\n1,/m/2,Rain\n")
    rows = [{"wav": str(tmp_path / "a.wav"), "labels": "/m/1,/m/2"}, {"wav": "b.wav", "labels": "/m/2"}]
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"data": rows}))
    assert recognised(path) == "audio/manifest"
    reader = ManifestReader(ManifestConfig(path=str(path), label_table="labels.csv"))
    assert (reader.targets[0].kind, reader.targets[0].names) == ("multilabel", ("Dog", "Rain"))
    assert reader[0].targets["labels"] == [1.0, 1.0]
    assert reader[1].targets["labels"] == [0.0, 1.0]
    path.write_text("{}")
    with pytest.raises(DataError, match="holds no list of objects"):
        ManifestReader(ManifestConfig(path=str(path)))
    path.write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        ManifestReader(ManifestConfig(path=str(path)))


def test_fingerprint_follows_content_and_cache_stays_within_bounds(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 1.0)
    reader = FolderReader(RecordingsConfig(path=str(tmp_path), cache_mib=0))
    assert reader[0].inputs is not reader[0].inputs
    kept = FolderReader(RecordingsConfig(path=str(tmp_path)))
    assert kept[0].inputs is kept[0].inputs
    before = reader.fingerprint
    write(tmp_path / "a.wav", 0.5)
    assert FolderReader(RecordingsConfig(path=str(tmp_path))).fingerprint != before


def test_real_digits(shared: Path) -> None:
    folder = shared / "data" / "audio" / "fsdd"
    assert recognised(folder) == "audio/fsdd"
    reader = FsddReader(RecordingsConfig(path=str(folder)))
    assert len(reader) == 900
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"test": 300, "train": 600}
    assert len(set(reader.groups or ())) == 6
    sample = reader.by_id("7_theo_3")
    assert reader.targets[0].names[sample.targets["digit"]] == "7"
    assert sample.inputs.sample_rate_hz == 8000


def test_generated_sounds_repeat_and_differ() -> None:
    reader = Sounds(SoundsConfig(clips=30, seconds=0.5))
    again = Sounds(SoundsConfig(clips=30, seconds=0.5))
    np.testing.assert_array_equal(reader[13].inputs.samples, again[13].inputs.samples)
    assert reader.fingerprint == again.fingerprint != Sounds(SoundsConfig(clips=30, seconds=0.5, seed=1)).fingerprint
    assert {reader[row].targets["sound"] for row in range(10)} == set(range(len(MAKERS)))
    assert not np.array_equal(reader[3].inputs.samples[:, :4000], reader[13].inputs.samples[:, :4000])
    for row in range(30):
        samples = reader[row].inputs.samples
        assert np.isfinite(samples).all()
        assert 0.04 < np.abs(samples).max() <= 0.9 + 1e-6
    assert reader.by_id("sound-000004").id == "sound-000004"
    with pytest.raises(DataError, match="no generated sound 'sound-99'"):
        reader.by_id("sound-99")


def test_pictures_hold_a_spectrogram_and_the_sound(tmp_path: Path) -> None:
    sample = Sounds(SoundsConfig(clips=1, seconds=0.5))[0]
    picture = render(sample)
    assert "data:image/png;base64," in picture.html
    assert "data:audio/wav;base64," in picture.html
    assert sample.id in picture.alt
    import base64
    import re

    sound = base64.b64decode(re.search(r"audio/wav;base64,([^\"]+)", picture.html)[1])  # type: ignore[index]
    (tmp_path / "x.wav").write_bytes(sound)
    samples, rate = soundfile.read(tmp_path / "x.wav")
    assert rate == 16_000
    np.testing.assert_allclose(samples, sample.inputs.samples[0], atol=2 / 32768)
    image = base64.b64decode(re.search(r"image/png;base64,([^\"]+)", picture.html)[1])  # type: ignore[index]
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert image[12:16] == b"IHDR"


def test_inspection_tells_long_recordings_apart(tmp_path: Path) -> None:
    """Recordings of equal length that differ in the middle only are no duplicates; copies are."""
    from repcore.data.inspection import inspect_reader
    from repcore.reporting import LogReporter

    samples = np.zeros(20_000)
    for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.2)):
        samples[10_000] = value
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
    reader = FolderReader(RecordingsConfig(path=str(tmp_path)))
    assert inspect_reader(reader, None, LogReporter()).duplicates == 1
