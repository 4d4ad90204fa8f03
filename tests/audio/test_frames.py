"""Answers and labels of frames: 10 ms each, at their places in the recording, whatever the windows were."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from repcore.cli.main import run
from repcore.embedding.dense import dense_row
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.windows import PreparedRow
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Batch, DenseAnswer, Item, Sample
from repcore.specs import TargetSpec
from repcore_audio.configs.recordings import ManifestConfig
from repcore_audio.configs.spectrogram import LogMelConfig
from repcore_audio.configs.ssamba import SsambaConfig
from repcore_audio.datasets.manifests import ManifestReader
from repcore_audio.datasets.recordings import Excerpt, Recording, frame_count, read_recording
from repcore_audio.encoders.patches import column_of_frames, plan_patches
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.preprocessors.frames import frame_times
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor
from repcore_audio.writers.frames import write_frames, write_raven

RATE = 16_000
TARGET = TargetSpec("call", "class", "token", names=("background", "owl", "wren"))


def preprocessor(**changes: object) -> LogMelPreprocessor:
    return LogMelPreprocessor(LogMelConfig(frames=32, mean=-8.0, deviation=4.0, **changes))  # type: ignore[arg-type]


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> Recording:
    samples = 0.1 * np.random.default_rng(seed).standard_normal((1, round(seconds * rate)))
    return Recording(samples.astype(np.float32), rate)


def numbered(items: list[Item]) -> list[np.ndarray]:
    """Each frame of each window answers with its number in the recording; padding with -1."""
    outputs = []
    for one in items:
        values = np.full((one.meta["frames"], 1), -1.0, np.float32)
        real = one.meta["sound_frames"]
        values[:real, 0] = one.meta["first_frame"] + np.arange(real)
        outputs.append(values)
    return outputs


def test_every_frame_takes_the_window_frame_with_the_nearest_middle() -> None:
    """Middles: 12.5 ms + 10 ms f of log-mel frames, 5 ms + 10 ms i of frames: i takes i - 1, the ends the outermost."""
    made, sample = preprocessor(), Sample("a", noise(0.64))
    items = made.prepare(sample)
    assert [(one.meta["first_frame"], one.meta["sound_frames"], one.meta["frames"]) for one in items] == [
        (0, 32, 32), (32, 30, 32),
    ]  # fmt: skip
    found = made.restore(sample, items, numbered(items), "token")
    np.testing.assert_array_equal(found[:, 0], [0, *range(62), 61])
    order = [1, 0]
    again = made.restore(sample, [items[k] for k in order], [numbered(items)[k] for k in order], "token")
    np.testing.assert_array_equal(again, found)


def test_overlapping_windows_are_averaged_and_gaps_stay_empty() -> None:
    made, sample = preprocessor(), Sample("a", noise(0.3))  # 28 log-mel frames, 30 frames
    meta = [{"first_frame": 0, "sound_frames": 10}, {"first_frame": 5, "sound_frames": 10}]
    items = [Item(None, one) for one in meta]
    found = made.restore(sample, items, [np.full((16, 1), 1.0), np.full((16, 1), 4.0)], "token")[:, 0]
    np.testing.assert_array_equal(found[:16], [1] * 6 + [2.5] * 5 + [4] * 5)
    assert np.isnan(found[16:]).all()


@pytest.mark.parametrize(("frames", "firsts"), [(62, [0, 32]), (78, [0, 32, 46])])
def test_windows_cover_a_recording_that_is_cut_for_its_vector(frames: int, firsts: list[int]) -> None:
    """Beyond the beginning, and to the last frame where the rest (14 frames) is shorter than a patch of 16."""
    cut, sample = preprocessor(long_recordings="cut"), Sample("a", noise(frames / 100 + 0.02))
    assert [one.meta["first_frame"] for one in cut.prepare(sample)] == [0]
    made = cut.covering()
    items = made.prepare(sample)
    assert [one.meta["first_frame"] for one in items] == firsts
    found = made.restore(sample, items, numbered(items), "token")
    np.testing.assert_array_equal(found[:, 0], [0, *range(frames), frames - 1])
    plain = preprocessor()
    left = plain.restore(sample, plain.prepare(sample), numbered(plain.prepare(sample)), "token")
    assert np.isnan(left).sum() == {62: 0, 78: 15}[frames]


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_times_do_not_depend_on_the_rate(rate: int) -> None:
    made, sample = preprocessor(), Sample("a", noise(0.505, rate))
    times = frame_times(sample.inputs)
    np.testing.assert_allclose(times["start"], np.arange(51) / 100)
    np.testing.assert_allclose(times["end"], [*np.arange(1, 51) / 100, 0.505], atol=1e-4)
    items = made.prepare(sample)
    found = made.restore(sample, items, numbered(items), "token")
    assert len(found) == 51
    assert found[20, 0] == 19


def test_an_excerpt_has_the_times_of_its_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(2.0).samples[0], RATE)
    for whole_bytes in (2**20, 0):
        cut = read_recording(Excerpt(tmp_path / "a.wav", 0.5, 1.25), whole_bytes=whole_bytes)
        times = frame_times(cut)
        assert (times["start"][0], times["end"][-1], len(times["start"])) == (0.5, 1.25, 75)


def test_patches_lead_back_to_frames() -> None:
    layout = plan_patches(2, (2, 1), torch.device("cpu"), (32, 16))
    found = column_of_frames(layout, 16, 16, torch.device("cpu"))
    assert found.tolist() == [0] * 16 + [1] * 16 + [2] * 16
    overlapping = plan_patches(2, (2,), torch.device("cpu"), (30,))  # patches at 0 and 10: middles 8 and 18
    found = column_of_frames(overlapping, 16, 10, torch.device("cpu"))
    assert found.tolist() == [0] * 13 + [1] * 13 + [-1] * 4


def test_shuffled_stretches_give_shuffled_answers() -> None:
    """A louder stretch in the second window is found there, by the encoder's own tokens."""
    config = SsambaConfig(width=16, depth=2, states=4, mel_bins=128, frames=32)
    torch.manual_seed(0)
    encoder, made = Ssamba(config).eval(), preprocessor(remove_waveform_mean=False)
    step = 32 * 160
    waves = noise(3 * 0.32).samples[0]
    parts = [waves[k * step : (k + 1) * step] for k in range(3)]

    def features(batch: Batch) -> torch.Tensor:
        tokens = encoder(batch).tokens["columns"]
        return tokens.values.flatten(0, 1)[tokens.source]

    def answer(order: tuple[int, ...]) -> np.ndarray:
        samples = np.concatenate([parts[k] for k in order])[None]
        sample = Sample("a", Recording(samples, RATE))
        row = PreparedRow(sample, "a", made.prepare(sample))
        found = dense_row(features, made, row, InferenceOptions(), "token", "audio")
        assert found.answer is not None
        assert set(found.answer.elements) == {"start", "end"}
        return found.answer.outputs

    plain, swapped = answer((0, 1, 2)), answer((1, 0, 2))
    # frames 1 to 16 of a window see one patch, whose last samples reach 15 ms further
    np.testing.assert_allclose(swapped[2:15], plain[34:47], atol=0.35)
    assert np.abs(swapped[2:15] - plain[34:47]).mean() < 0.2 * np.abs(swapped[2:15] - plain[2:15]).mean()


# ------------------------------------------------------------------------------------------------- labels


def segments(folder: Path, **changes: object) -> ManifestReader:
    soundfile.write(folder / "a.wav", noise(1.0).samples[0], RATE)
    (folder / "a.Table.1.selections.txt").write_text(
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
        "1\tSpectrogram 1\t1\t0.10\t0.30\t0\t8000\towl\n"
        "2\tSpectrogram 1\t1\t0.25\t0.50\t0\t8000\twren\n"
        "3\tSpectrogram 1\t1\t0.60\t0.70\t0\t8000\t\n"
        "4\tSpectrogram 1\t1\t0.80\t0.90\t0\t8000\towl\n"
    )
    config = ManifestConfig(path=str(folder / "a.Table.1.selections.txt"), excerpts="frames", **changes)  # type: ignore[arg-type]
    return ManifestReader(config)


def test_segments_become_labels_of_frames(tmp_path: Path) -> None:
    reader = segments(tmp_path)
    assert (len(reader), reader.targets[0].level) == (1, "token")
    assert reader.targets[0].names == ("background", "owl", "wren")
    sample = reader[0]
    expected = np.zeros(100, np.float32)
    expected[10:30], expected[25:50], expected[80:90] = 1, 2, 1
    expected[25:30], expected[60:70] = np.nan, np.nan  # two classes at once; a segment without a class
    np.testing.assert_array_equal(sample.targets["Species"], expected)
    made = preprocessor()
    items = made.prepare(sample)
    assert [len(one.targets["Species"]) for one in items] == [32, 32, 32] + [16] * (len(items) - 3)
    # the middle of log-mel frame f is 12.5 ms + 10 ms f: it lies in frame f + 1
    np.testing.assert_array_equal(items[0].targets["Species"], expected[1:33])
    np.testing.assert_array_equal(items[2].targets["Species"], expected[65:97])
    missing = segments(tmp_path, elsewhere="missing")
    assert missing.targets[0].names == ("owl", "wren")
    assert np.isnan(missing[0].targets["Species"]).sum() == 100 - 20 - 25 - 10 + 10


def test_padding_has_no_label() -> None:
    recording = Recording(noise(0.2).samples, RATE, frame_labels=("call",))
    sample = Sample("a", recording, {"call": np.ones(frame_count(recording), np.float32)})
    (item,) = preprocessor().prepare(sample)
    labels = item.targets["call"]
    assert (len(labels), int((labels == 1).sum()), int(np.isnan(labels).sum())) == (32, 18, 14)
    assert preprocessor().prepare(Sample("b", noise(0.2), {"sound": np.ones(20)}))[0].targets == {}


# ---------------------------------------------------------------------------------------------------- files


def answer_of(classes: list[int], target: TargetSpec | None = TARGET) -> DenseAnswer:
    outputs = np.full((len(classes), 3), 0.1, np.float32)
    outputs[np.arange(len(classes)), np.maximum(classes, 0)] = 0.8
    outputs[np.asarray(classes) < 0] = np.nan
    recording = noise(len(classes) / 100)
    return DenseAnswer(Sample("a.wav", recording), "token", outputs, target, (0, 1, 2), frame_times(recording))


def test_a_selection_table_is_read_back(tmp_path: Path) -> None:
    classes = [0] * 10 + [1] * 20 + [2] * 30 + [-1] * 5 + [2] * 15 + [0] * 20
    path = tmp_path / "a.wav.Table.1.selections.txt"
    write_raven(path, answer_of(classes))
    rows = list(csv.DictReader(path.open(), delimiter="\t"))
    times = [(float(row["Begin Time (s)"]), float(row["End Time (s)"]), row["Annotation"]) for row in rows]
    assert times == [(0.1, 0.3, "owl"), (0.3, 0.6, "wren"), (0.65, 0.8, "wren")]
    assert (rows[0]["Selection"], rows[0]["High Freq (Hz)"], rows[0]["Score"]) == ("1", "8000.0", "0.8000")
    soundfile.write(tmp_path / "a.wav", noise(1.0).samples[0], RATE)
    reader = ManifestReader(ManifestConfig(path=str(path), excerpts="frames", labels=("Annotation",)))
    expected = np.where(np.asarray(classes) < 0, 0, classes)
    np.testing.assert_array_equal(reader[0].targets["Annotation"], expected)
    with pytest.raises(ConfigError, match="numbers"):
        write_raven(path, answer_of(classes, None))


def test_odd_names_of_classes_do_not_break_a_selection_table(tmp_path: Path) -> None:
    """Raven takes quotes as they stand, and every tab and line break as the end of a cell or row."""
    target = dataclasses.replace(TARGET, names=("background", 'big "owl"', "wren\tor\nnot"))
    path = tmp_path / "a.wav.Table.1.selections.txt"
    write_raven(path, answer_of([1] * 10 + [2] * 10, target))
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [len(row) for row in rows] == [9, 9, 9]
    assert [row[7] for row in rows[1:]] == ['big "owl"', "wren or not"]


def test_a_table_of_frames(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.csv", answer_of([0, 1, -1, 2]))
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["call"] for row in rows] == ["background", "owl", "", "wren"]
    assert [row["start"] for row in rows] == ["0.0000", "0.0100", "0.0200", "0.0300"]
    assert [row["p:owl"] for row in rows] == ["0.1", "0.8", "", "0.1"]
    told = dataclasses.replace(answer_of([0, 1, -1, 2]), labelled=lambda: {"label:kind": ["a", None, "b", "c"]})
    write_frames(tmp_path / "told.csv", told)  # of labelled data
    plain, beside = ((tmp_path / name).read_text().splitlines() for name in ("a.csv", "told.csv"))
    own = ["label:kind", "a", "", "b", "c"]
    assert beside == [f"{line},{label}" for line, label in zip(plain, own, strict=True)]
    write_frames(tmp_path / "b.csv", answer_of([0, 1], None))
    assert (tmp_path / "b.csv").read_text().splitlines()[0] == "start,end,f0,f1,f2"


# ------------------------------------------------------------------------------------------- command line


@pytest.mark.learns
def test_finetune_and_predict_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tones in noise, marked in one table, are found in recordings that training never saw."""
    rng = np.random.default_rng(0)
    lines = ["file,onset,offset,call"]
    for folder, count in (("seen", 12), ("unseen", 2)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            wave = 0.02 * rng.standard_normal(2 * RATE)
            start = 0.32 * int(rng.integers(0, 4))
            place = slice(round(start * RATE), round((start + 0.64) * RATE))
            wave[place] += 0.3 * np.sin(2 * np.pi * 2000 * np.arange(place.stop - place.start) / RATE)
            soundfile.write(tmp_path / folder / f"{folder}{number}.wav", wave, RATE)
            if folder == "seen":
                lines.append(f"{folder}{number}.wav,{start:.2f},{start + 0.64:.2f},tone")
            else:
                (tmp_path / f"{number}.start").write_text(str(start))
    (tmp_path / "seen" / "events.csv").write_text("\n".join(lines) + "\n")
    small = ("encoder.width=16", "encoder.depth=2", "encoder.states=4", "data.batch_size=4", "trainer.steps=2",
             "trainer.threads=1", "preprocessor.frames=64")  # fmt: skip
    data = str(tmp_path / "seen")
    out = str(tmp_path / "runs")
    assert run(["audio", "train", "ssamba", "--data", data, "--out", out, "--name", "one", *small]) == 0
    tuned = ["audio", "finetune", str(tmp_path / "runs/one"), "--data", str(tmp_path / "seen/events.csv"),
             "--read", "excerpts=frames", "--label", "call", "--out", out, "--name", "calls", "--no-twin",
             "trainer.steps=200", "trainer.threads=1", "optimiser.lr=3e-3"]  # fmt: skip
    assert run(tuned) == 0, capsys.readouterr().err
    capsys.readouterr()
    unseen = [str(tmp_path / "runs/calls"), str(tmp_path / "unseen")]
    assert run(["predict", *unseen, "-o", str(tmp_path / "raven"), "--format", "raven"]) == 0, capsys.readouterr().err
    for number in range(2):
        start = float((tmp_path / f"{number}.start").read_text())
        table = tmp_path / "raven" / f"unseen{number}.wav.Table.1.selections.txt"
        rows = list(csv.DictReader(table.open(), delimiter="\t"))
        longest = max(rows, key=lambda row: float(row["End Time (s)"]) - float(row["Begin Time (s)"]))
        assert longest["Annotation"] == "tone"
        assert float(longest["Begin Time (s)"]) == pytest.approx(start, abs=0.17)
        assert float(longest["End Time (s)"]) == pytest.approx(start + 0.64, abs=0.17)
    assert run(["embed", *unseen, "--level", "frame", "-o", str(tmp_path / "features")]) == 0
    with np.load(tmp_path / "features" / "unseen0.wav.npz") as arrays:
        assert arrays["outputs"].shape == (200, 16)
        np.testing.assert_allclose(arrays["start"], np.arange(200) / 100)


def test_segments_without_classes_are_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1.0).samples[0], RATE)
    (tmp_path / "a.csv").write_text("file,onset,offset\na.wav,0.1,0.2\n")
    with pytest.raises(DataError, match="no column gives segments"):
        ManifestReader(ManifestConfig(path=str(tmp_path / "a.csv"), excerpts="frames"))
