"""The domain on the command line: statistics, a short training run, embedding a folder of good and bad recordings."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repcore.cli.main import run

# Four seeds gave 0.41 to 0.46 and 5.2 to 6.5; an encoder that learns nothing stays at or below 0 and at 1.
EXPLAINED, ACCURACY_GAIN = 0.3, 3.0
SMALL = (
    "encoder.width=32", "encoder.depth=2", "encoder.states=4", "dataset.clips=160", "dataset.seconds=0.6",
    "data.batch_size=16", "trainer.steps=80", "trainer.threads=1", "schedule.warmup_steps=10",
)  # fmt: skip


def test_statistics_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * generator.standard_normal(8000), 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 16_000)
    (tmp_path / "empty.wav").touch()
    assert run(["audio", "stats", str(tmp_path), "--frames", "64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["used"]) == (4, 3)
    assert found["statuses"] == {"empty": 1, "silent": 1}
    free, padded = (
        found["figures"]["as long as they are"],
        found["figures"]["padded with 0 or cut to 64 frames (published)"],
    )
    assert padded["mean"] == pytest.approx(free["mean"] * 48 / 64, abs=1e-6)  # 48 frames of 0.5 s, 16 zeros
    assert run(["audio", "stats", str(tmp_path / "empty.wav")]) == 2
    assert "none of the" in (text := capsys.readouterr().err) or "no recording could be used" in text


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a short training run on generated sounds, half a minute at most."""
    folder = tmp_path_factory.mktemp("audio") / "runs"
    assert run(["audio", "train", "ssamba", "--out", str(folder), "--name", "one", *SMALL]) == 0
    return folder / "one"


@pytest.mark.learns
def test_training_learns(trained: Path) -> None:
    """Hidden patches are found and redrawn far better than at the start."""
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    checked = [line for line in lines if line["split"] == "validation"]
    first, last = checked[0], checked[-1]
    assert first["step"] == 0
    assert last["explained"] > EXPLAINED
    assert last["matching_accuracy"] > ACCURACY_GAIN * first["matching_accuracy"]
    assert last["loss"] < first["loss"]


def bad_and_good_recordings(folder: Path) -> dict[str, str]:
    """Everything that recordings can have wrong with them: file name -> status."""
    folder.mkdir()
    generator = np.random.default_rng(0)

    def noise(samples: int, channels: int = 1) -> np.ndarray:
        return np.asarray(0.1 * generator.standard_normal((samples, channels)))

    soundfile.write(folder / "8-bit.wav", noise(8000), 8000, subtype="PCM_U8")
    soundfile.write(folder / "96-khz.wav", noise(96_000), 96_000, subtype="PCM_24")
    soundfile.write(folder / "stereo.wav", noise(44_100, 2), 44_100)
    soundfile.write(folder / "long.wav", noise(16_000 * 5), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(8000), 16_000)
    soundfile.write(folder / "clipped.wav", np.clip(noise(8000) * 50, -1, 1), 16_000)
    holes = noise(8000)
    holes[5] = np.nan
    soundfile.write(folder / "nan.wav", holes, 16_000, subtype="FLOAT")
    soundfile.write(folder / "one-sample.wav", np.ones(1), 16_000)
    soundfile.write(folder / "header-only.wav", np.zeros((0, 1)), 16_000)
    (folder / "zero-bytes.wav").touch()
    (folder / "corrupt.wav").write_bytes(b"RIFFnothing")
    good = dict.fromkeys(("8-bit", "96-khz", "stereo", "long"), "ok")
    noted = {"silent": "silent", "clipped": "clipped"}
    unusable = {"nan": "not_finite", "one-sample": "too_short", "header-only": "empty", "zero-bytes": "empty"}
    return {f"{name}.wav": status for name, status in (good | noted | unusable | {"corrupt": "corrupt"}).items()}


def test_a_model_reports_and_embeds_recordings_of_every_kind(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = bad_and_good_recordings(tmp_path / "sounds")
    assert run(["inspect", str(tmp_path / "sounds"), "--model", str(trained), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == dict(Counter(expected.values()))
    target = tmp_path / "vectors.npz"
    assert run(["embed", str(trained), str(tmp_path / "sounds"), "-o", str(target)]) == 0
    with np.load(target, allow_pickle=False) as archive:
        vectors = archive["embeddings"]
        statuses = dict(zip(archive["ids"].tolist(), archive["status"].tolist(), strict=True))
    assert statuses == expected
    usable = [statuses[name] in ("ok", "silent", "clipped") for name in sorted(expected)]
    assert np.isfinite(vectors).all(1).tolist() == usable
    assert np.isnan(vectors[~np.asarray(usable)]).all()


def test_folders_and_tables_without_recordings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    assert run(["audio", "train", "ssamba", "--data", str(tmp_path)]) == 2
    assert "no reader recognises" in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text("file,label\nx.wav,dog\ny.wav,cat\n")
    assert run(["inspect", str(tmp_path / "labels.csv")]) == 2
    assert "none of the 2 recordings" in capsys.readouterr().err


@pytest.mark.parametrize(("layout", "split"), [("esc50", "declared-folds"), ("fsdd", "leave-one-group-out")])
def test_fine_tuning_uses_the_folds_and_groups_of_the_data(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, split: str
) -> None:
    label = write_tones(tmp_path / "data", layout)
    command = ["audio", "finetune", str(trained), "--data", str(tmp_path / "data"), "--label", label, "--split", split]
    assert run([*command, "--no-twin", "--out", str(tmp_path / "runs"), "trainer.steps=2", "task.mixup=1.0"]) == 0
    shown = capsys.readouterr().out.splitlines()
    runs = [line for line in shown if line.startswith("pre-trained\tseed-0-fold-")]
    assert len(runs) == 3  # three folds, three speakers: each is tested once
    parts = "7 / 1 / 4" if layout == "esc50" else "4 / 4 / 4"  # of two speakers, one is for validation as a whole
    assert f"{label} (class): {split} split, {parts} rows" in shown
    assert any(line.startswith("pre-trained\tmean\t") for line in shown)


def write_tones(folder: Path, layout: str) -> str:
    """Two classes of tones in three folds or from three speakers; the name of the label."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    sounds = folder / ("audio" if layout == "esc50" else "recordings")
    sounds.mkdir(parents=True)
    time = np.arange(2400) / 8000
    for number in range(12):
        kind, part = number % 2, number // 2 % 3
        name = f"{number}.wav" if layout == "esc50" else f"{kind}_{('ann', 'bob', 'cem')[part]}_{number}.wav"
        soundfile.write(sounds / name, 0.3 * np.sin(2 * np.pi * (300 + 1500 * kind + 20 * number) * time), 8000)
        rows.append(f"{name},{part + 1},{kind},{('rain', 'dog')[kind]},True,source{number},A")
    if layout == "esc50":
        (folder / "meta").mkdir()
        (folder / "meta" / "esc50.csv").write_text("\n".join(rows))
    return "category" if layout == "esc50" else "digit"
