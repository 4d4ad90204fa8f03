"""SpecMaskGIT: tokens, masks, loss, decoding and generation; golden data; a model from training to sounds."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from repcore import load, registry
from repcore.cli.main import run
from repcore.errors import CheckpointError, ConfigError, DataError, ShapeError
from repcore.interfaces import Batch, Progress
from repcore.verification.run import verify
from repcore_audio.commands.generating import sample_tokens
from repcore_audio.configs.recordings import SoundsConfig
from repcore_audio.configs.spec_mask_git import (
    DecodingConfig,
    MaskedCodesConfig,
    SpecMaskGitConfig,
    SpecTokensConfig,
)
from repcore_audio.datasets.sounds import Sounds
from repcore_audio.encoders.spec_mask_git import SpecMaskGit
from repcore_audio.examples.spec_mask_git import batch as three_clips
from repcore_audio.examples.spec_mask_git import spec_mask_git
from repcore_audio.layers.mask_schedules import hidden_counts, hidden_tokens, schedule
from repcore_audio.layers.token_decoding import decode
from repcore_audio.layers.vector_quantiser import nearest_code
from repcore_audio.objectives.masked_codes import MaskedCodes
from repcore_audio.preprocessors.inversion import sound_of
from repcore_audio.preprocessors.log_mel import LogMel
from repcore_audio.preprocessors.spec_tokens import SpecTokensPreprocessor, token_histogram
from repcore_audio.rendering.tokens import token_image

TOKENS = SpecTokensConfig(mel_bins=32, frames=64, patch_frequency=8, patch_time=8, codes=16, statistics_clips=20)


@pytest.fixture
def encoder() -> SpecMaskGit:
    torch.manual_seed(0)
    return SpecMaskGit(spec_mask_git()[0]).eval()


@pytest.fixture(scope="module")
def reader() -> Sounds:
    return Sounds(SoundsConfig(clips=12, seconds=0.6))


@pytest.fixture(scope="module")
def preprocessor(reader: Sounds) -> SpecTokensPreprocessor:
    made = SpecTokensPreprocessor(TOKENS)
    made.fit(reader, range(12))
    return made


# ----------------------------------------------------------------------------------------------- tokens


def test_tokens_are_the_nearest_patches_lowest_band_first(reader: Sounds, preprocessor: SpecTokensPreprocessor) -> None:
    items = [item for row in (0, 1, 2) for item in preprocessor.prepare(reader[row])[:1]]
    found = preprocessor.collate(items)
    assert preprocessor.tokeniser is not None
    table = preprocessor.tokeniser.patches()
    for clip, item in enumerate(items):
        columns = item.meta["frames"] // 8
        wave = preprocessor.log_mel([item.values])[0]
        image = preprocessor.normalised(wave, item.meta["frames"]).T  # (bins, frames)
        length = found.inputs["ids"].shape[1] // 4
        for band, column in ((0, 0), (3, columns - 1), (1, 2)):
            patch = image[8 * band : 8 * band + 8, 8 * column : 8 * column + 8].reshape(-1)
            wanted = int((table - patch).square().sum(1).argmin())
            assert int(found.inputs["ids"][clip, band * length + column]) == wanted
    assert 0.3 < preprocessor.tokeniser.explained < 1.0


def test_padding_is_marked_and_changes_nothing(
    reader: Sounds, preprocessor: SpecTokensPreprocessor, encoder: SpecMaskGit
) -> None:
    torch.manual_seed(0)
    encoder = SpecMaskGit(SpecMaskGitConfig(width=16, depth=2, heads=2, **preprocessor.facts())).eval()
    items = [item for row in range(6) for item in preprocessor.prepare(reader[row])[:1]]
    items.sort(key=lambda one: int(one.meta["frames"]))
    together, alone = preprocessor.collate([items[0], items[-1]]), preprocessor.collate(items[:1])
    assert items[0].meta["frames"] < items[-1].meta["frames"]
    assert int(together.inputs["valid"][0].sum()) == alone.inputs["ids"].shape[1]
    for name in ("bands", "mean", "hist"):
        pair = encoder.pool(encoder(together), name)[:1]
        torch.testing.assert_close(pair, encoder.pool(encoder(alone), name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["kmeans", "vq"])
def test_a_saved_tokeniser_gives_the_same_tokens(reader: Sounds, tmp_path: Path, kind: str) -> None:
    config = SpecTokensConfig(
        mel_bins=32, frames=64, patch_frequency=8, patch_time=8, codes=12, tokeniser=kind,  # type: ignore[arg-type]
        tokeniser_steps=12, reseed_after=5, code_width=4,
    )  # fmt: skip
    made, again = SpecTokensPreprocessor(config), SpecTokensPreprocessor(config)
    made.fit(reader, range(8))
    again.fit(reader, range(8))
    items = made.prepare(reader[9])
    ids = made.collate(items).inputs["ids"]
    assert torch.equal(ids, again.collate(items).inputs["ids"])  # the same data, the same tokeniser
    state = made.save(tmp_path)
    assert len(str(state["tokeniser_sha256"])) == 64
    loaded = SpecTokensPreprocessor.load(config, tmp_path)
    assert torch.equal(loaded.collate(items).inputs["ids"], ids)
    other = SpecTokensConfig(
        mel_bins=32, frames=64, patch_frequency=8, patch_time=8, codes=12, tokeniser="import",
        tokeniser_file=str(tmp_path / "tokeniser.safetensors"),
    )  # fmt: skip
    imported = SpecTokensPreprocessor(other)
    imported.fit(reader, range(8))
    assert torch.equal(imported.collate(items).inputs["ids"], ids)


def test_settings_of_tokens_that_do_not_fit_are_named(reader: Sounds, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mel_bins=30 is not a multiple of the patch's 8"):
        SpecTokensPreprocessor(SpecTokensConfig(mel_bins=30, patch_frequency=8))
    many = SpecTokensPreprocessor(SpecTokensConfig(mel_bins=32, frames=64, patch_frequency=8, patch_time=8, codes=9999))
    with pytest.raises(DataError, match="fewer than codes=9999"):
        many.fit(reader, range(2))
    (tmp_path / "log_mel_statistics.json").write_text('{"mean": 0.0, "deviation": 1.0}')
    with pytest.raises(CheckpointError, match="is no tokeniser"):
        SpecTokensPreprocessor.load(TOKENS, tmp_path)


def test_of_equally_near_codes_the_lowest_is_taken() -> None:
    codes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert nearest_code(torch.tensor([[0.9, 0.0], [0.5, 0.5], [0.0, 3.0]]), codes).tolist() == [0, 0, 1]


def test_baseline_counts_tokens(reader: Sounds, preprocessor: SpecTokensPreprocessor) -> None:
    ids = torch.cat([preprocessor.collate([item]).inputs["ids"][0] for item in preprocessor.prepare(reader[3])])
    (row,) = token_histogram(preprocessor, [reader[3]])
    np.testing.assert_allclose(row, torch.bincount(ids, minlength=16) / len(ids), atol=1e-6)
    counts = preprocessor.code_counts(reader, [3])
    assert int(counts.sum()) == len(ids)


# ------------------------------------------------------------------------------------------------- masks


def test_schedules_and_counts_at_whole_numbers() -> None:
    points = torch.tensor([0.0, 1 / 3, 0.5, 1.0])
    assert schedule("cosine", points, tokens=9).tolist() == pytest.approx([1, math.cos(math.pi / 6), 0.5**0.5, 1e-6])
    assert schedule("pow", points, tokens=9).tolist() == pytest.approx([1, 8 / 9, 0.75, 1e-6])
    assert schedule("log", points, tokens=8)[2] == pytest.approx(1 / 3)
    valid = torch.arange(10) < torch.tensor([10, 4, 1])[:, None]
    assert hidden_counts(torch.tensor([0.3, 0.5, 1e-6], dtype=torch.float64), valid).tolist() == [3, 2, 1]
    scores = torch.tensor([[0.5, 0.1, 0.1, 0.9, 0.0], [0.4, 0.3, 0.2, 0.1, 0.0]])
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    mask = hidden_tokens(scores, torch.tensor([2, 1]), real)
    assert mask.int().tolist() == [[0, 1, 0, 0, 1], [0, 0, 1, 0, 0]]


def test_only_hidden_tokens_carry_loss_and_the_mean_is_over_all_of_them(encoder: SpecMaskGit) -> None:
    objective, batch = MaskedCodes(MaskedCodesConfig(label_smoothing=0.1), encoder).eval(), three_clips()
    draws = objective.draw(batch, torch.Generator().manual_seed(1), Progress(0, 10))
    mask = objective.mask(batch, draws)
    assert not bool((mask & ~batch.inputs["valid"]).any())
    logs = objective.logits(batch, draws, mask).log_softmax(-1)
    losses = [
        -(0.9 * logs[clip, place, batch.inputs["ids"][clip, place]] + 0.1 / 11 * logs[clip, place].sum())
        for clip, place in mask.nonzero().tolist()
    ]
    terms = objective(batch, draws)
    torch.testing.assert_close(terms.total, torch.stack(losses).mean())
    assert int(terms.counts["masked"]) == len(losses)
    quarters = [name for name in terms.terms if name.startswith("hidden_")]
    assert sum(int(terms.counts[name]) for name in quarters) == len(losses)
    parts = sum(float(terms.terms[name]) * int(terms.counts[name]) for name in quarters) / len(losses)
    assert parts == pytest.approx(float(terms.metrics["cross_entropy"]), rel=1e-5)


def test_frequencies_are_what_a_table_of_counts_predicts(encoder: SpecMaskGit) -> None:
    objective, batch = MaskedCodes(MaskedCodesConfig(), encoder).eval(), three_clips()
    objective.code_frequencies[:, 4] += 20
    draws = objective.draw(batch, torch.Generator().manual_seed(1), Progress(0, 10))
    wanted = batch.inputs["ids"][objective.mask(batch, draws)]
    expected = -torch.where(wanted == 4, math.log(21 / 31), math.log(1 / 31)).mean()
    metrics = objective(batch, draws).metrics
    assert float(metrics["place_frequencies"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(metrics["code_frequencies"]) == pytest.approx(float(expected), rel=1e-5)


def test_a_dropped_condition_is_the_null_token() -> None:
    torch.manual_seed(0)
    encoder = SpecMaskGit(SpecMaskGitConfig(width=16, depth=1, heads=2, rows=3, columns=5, codes=11, condition_width=4))
    batch = three_clips()
    batch.inputs["condition"] = torch.randn(3, 4)
    token = encoder.condition_token(batch, torch.tensor([True, False, True]))
    assert encoder.condition is not None
    torch.testing.assert_close(token[0], encoder.condition(batch.inputs["condition"][0]))
    torch.testing.assert_close(token[1], encoder.null)
    batch.inputs["condition"] = torch.randn(3, 5)
    with pytest.raises(ShapeError, match="a condition of width 5"):
        encoder(batch)


def test_an_id_outside_of_the_codebook_names_clip_and_value(encoder: SpecMaskGit) -> None:
    batch = three_clips()
    batch.inputs["ids"][1, 3] = 12
    batch.sample_id = ("a.wav", "b.wav", "c.wav")
    with pytest.raises(ShapeError, match=r"b\.wav: token 3 has the number 12"):
        encoder(batch)


# ---------------------------------------------------------------------------------------------- decoding


def test_known_tokens_stay_and_the_last_step_knows_all() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 12, 7, generator=generator)
    start = torch.randint(7, (3, 12), generator=generator)
    start[0, :] = 7
    start[1, 4:9] = 7
    passes = []

    def predict(tokens: Tensor) -> Tensor:
        passes.append(tokens)
        return scores

    def noise(number: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        return torch.zeros(shape), torch.rand(shape[:2], generator=generator)

    steps = list(decode(start, 7, DecodingConfig(steps=4, guidance=1.0), predict, noise))
    left = [step.masked.sum(1).tolist() for step in steps]
    assert left == [[11, 4, 0], [8, 3, 0], [4, 1, 0], [0, 0, 0]]  # floor(cos(pi t / 8) U), never above what is unknown
    assert bool((steps[-1].sampled[1, :4] == start[1, :4]).all())
    assert torch.equal(steps[-1].sampled[2], start[2])
    assert len(passes) == 4
    known = start.clone()
    known[:2] = 0
    assert not list(decode(known, 7, DecodingConfig(steps=4), predict, noise))  # nothing unknown: no pass


def test_a_sound_depends_on_seed_and_number_alone(encoder: SpecMaskGit) -> None:
    start, config = torch.full((6, 15), 11), DecodingConfig(steps=3, guidance=1.0)
    whole = sample_tokens(encoder, start, config, seed=5)
    assert torch.equal(sample_tokens(encoder, start[:1], config, seed=5), whole[:1])
    assert not torch.equal(sample_tokens(encoder, start, config, seed=6), whole)
    assert int(whole.max()) < 11


def test_sound_of_log_mel_values_has_them() -> None:
    bank = LogMel(16_000, 64)
    time = torch.arange(8000) / 16_000
    wave = 0.3 * torch.sin(2 * math.pi * 700 * time) * (time > 0.2)
    values = bank([wave])[0]
    found = bank([torch.from_numpy(sound_of(values, bank))])[0]
    tone = int(values[40].argmax())
    assert abs(int(found[40].argmax()) - tone) <= 1
    assert float(found[40, tone] - found[5, tone]) > 4  # silence before the tone is far quieter


def test_codes_become_a_spectrogram_band_by_band() -> None:
    patches = torch.arange(3 * 4.0).view(3, 4)  # two bins x two frames
    image = token_image(torch.tensor([0, 1, 2, 0]), patches, rows=2, patch=(2, 2))
    assert image.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 0, 1], [10, 11, 2, 3]]


# --------------------------------------------------------------------------------- golden, and end to end


def test_golden_numbers_are_reproduced_and_altered_ones_fail(shared: Path, tmp_path: Path) -> None:
    replay = registry.default().system("audio/spec-mask-git").load("replay")
    verdict = verify(replay, shared / "golden" / "spec-mask-git", system="audio/spec-mask-git")
    assert verdict.ok, verdict.text()
    for file in (shared / "golden" / "spec-mask-git").iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    outputs = load_file(tmp_path / "outputs.safetensors")
    outputs["corrected.inpaint.sampled.3"][0, 0] += 1
    outputs["train.loss"] += 1e-2
    save_file(outputs, tmp_path / "outputs.safetensors")
    failed = {stage.name for stage in verify(replay, tmp_path).stages if stage.status != "passed"}
    assert failed == {"corrected_inpaint_tokens", "train_forward"}


def test_from_training_to_sounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [
        "dataset.clips=12", "dataset.seconds=0.6", "encoder.width=16", "encoder.depth=1", "encoder.heads=2",
        "preprocessor.frames=64", "preprocessor.mel_bins=32", "preprocessor.codes=16", "data.batch_size=4",
    ]  # fmt: skip
    assert run(["audio", "train", "spec-mask-git", "--name", "one", *small, "trainer.steps=2"]) == 0
    model = load(tmp_path / "runs" / "one")
    assert isinstance(model.encoder, SpecMaskGit)
    page = (tmp_path / "runs" / "one" / "report.html").read_text()
    assert "tokens hidden, the code of" in page
    assert "data:audio/wav" in page
    rows = ["audio/sounds", "--read", "clips=3", "--read", "seconds=0.6"]
    assert run(["embed", "runs/one", *rows, "--pool", "hist", "-o", "counts.parquet"]) == 0
    (counts,) = {len(row) for row in pq.read_table("counts.parquet")["embedding"].to_pylist()}
    assert counts == 16
    given = 0.1 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write("word.wav", given, 16_000)
    command = ["audio", "generate", "runs/one", "--like", "word.wav", "--keep-bands", "2", "--count", "2", "-o", "new"]
    assert run([*command, "--steps", "3"]) == 0
    record = json.loads(Path("new/tokens.json").read_text())
    start, columns = record["start"], record["columns"]
    assert [one == 16 for one in start] == [place // columns >= 2 for place in range(len(start))]
    assert all(one[: 2 * columns] == start[: 2 * columns] for one in record["tokens"])
    samples, rate = soundfile.read("new/00.wav")
    assert rate == 16_000
    assert 0.2 < float(np.abs(samples).max()) < 0.4
    assert run(["audio", "generate", "runs/one", "--keep-bands", "2", "-o", "x"]) != 0
    told = capsys.readouterr().err
    rows = record["rows"]
    lasts = columns * model.preprocessor.patch[1] * model.preprocessor.config.frame_shift_ms / 1000  # type: ignore
    like = ["audio", "generate", "runs/one", "--like", "word.wav", "-o", "x"]
    for kept in (["--keep-bands", "99"], ["--keep-bands", str(rows)], ["--keep-seconds", "50"]):
        assert run([*like, *kept]) != 0, kept
        told = capsys.readouterr().err
        assert "nothing is left to generate" in told, kept
        assert f"{rows} bands" in told
        assert f"{lasts:g} s" in told
    assert not Path("x").exists()
    assert run([*like, "--keep-seconds", f"{lasts / 2:g}", "--count", "1", "--steps", "1"]) == 0
    assert "not used" not in capsys.readouterr().err
    soundfile.write("long.wav", np.tile(given, 8), 16_000)
    long = ["audio", "generate", "runs/one", "--like", "long.wav", "--keep-bands", "1", "--count", "1", "-o", "y"]
    assert run([*long, "--steps", "1"]) == 0
    assert "later ones of long.wav are not used" in capsys.readouterr().err
    assert run([*long, "--seconds", "0.1"]) != 0
    assert "--seconds is the length of new sounds" in capsys.readouterr().err
    assert run(["audio", "generate", "runs/one", "--seconds", "500", "-o", "z"]) != 0
    assert "longer than the model's grid" in capsys.readouterr().err
    batch = Batch(inputs={"ids": torch.tensor([record["tokens"][0]])}, size=1)
    assert model.encoder(batch).pooled.shape == (1, 4 * 16)
