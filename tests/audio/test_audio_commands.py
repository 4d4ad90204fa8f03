"""The domain on the command line: statistics, a short training run, embedding a folder of good and bad recordings."""

from __future__ import annotations

import json
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


@pytest.mark.learns
def test_training_learns_and_the_model_embeds_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a minute at most: hidden patches are found and redrawn far better than at the start."""
    assert run(["audio", "train", "ssamba", "--out", str(tmp_path / "runs"), "--name", "one", *SMALL]) == 0
    lines = [json.loads(line) for line in (tmp_path / "runs" / "one" / "metrics.jsonl").read_text().splitlines()]
    checked = [line for line in lines if line["split"] == "validation"]
    first, last = checked[0], checked[-1]
    assert first["step"] == 0
    assert last["explained"] > EXPLAINED
    assert last["matching_accuracy"] > ACCURACY_GAIN * first["matching_accuracy"]
    assert last["loss"] < first["loss"]
    capsys.readouterr()
    folder = tmp_path / "sounds"
    folder.mkdir()
    generator = np.random.default_rng(0)
    soundfile.write(folder / "a-stereo.wav", 0.1 * generator.standard_normal((44_100, 2)), 44_100)
    soundfile.write(folder / "b-long.wav", 0.1 * generator.standard_normal(16_000 * 5), 16_000)
    soundfile.write(folder / "c-silent.wav", np.zeros(8000), 16_000)
    (folder / "d-corrupt.wav").write_bytes(b"RIFFnothing")
    soundfile.write(folder / "e-short.wav", np.ones(1), 16_000)
    target = tmp_path / "vectors.npz"
    assert run(["embed", str(tmp_path / "runs" / "one"), str(folder), "-o", str(target)]) in (0, 1)
    with np.load(target, allow_pickle=False) as archive:
        vectors = next(archive[name] for name in archive.files if archive[name].ndim == 2)
    assert vectors.shape[0] == 5
    assert np.isfinite(vectors[:3]).all()
    assert np.isnan(vectors[3:]).all()
