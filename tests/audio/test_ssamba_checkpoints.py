"""Published layouts: what is read from a file, what is dropped by rule, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import soundfile
import torch
from safetensors.torch import load_file
from torch import Tensor

import repcore
from repcore.checkpoints.reading import read_checkpoint
from repcore.cli.main import run
from repcore.embedding.prediction_files import read_table
from repcore.errors import CheckpointError
from repcore.interfaces import Batch
from repcore_audio.checkpoints.ssamba import convert, sniff
from repcore_audio.configs.ssamba import MaskedPatchesConfig
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.objectives.ssamba import MaskedPatches
from tests.audio.slow_ssamba import DEPTH, FRAMES, MEL, WIDTH, write_golden_folder

SOURCE = Path("ssamba_tiny_400.pth")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """A small file in the published pre-training layout."""
    folder = write_golden_folder(tmp_path_factory.mktemp("golden") / "ssamba")
    weights = load_file(folder / "weights.safetensors")
    return {name: value for name, value in weights.items() if name.startswith("module.")}


def fine_tuned(published: dict[str, Tensor]) -> dict[str, Tensor]:
    kept = {name: value for name, value in published.items() if name.startswith("module.v.")}
    return {**kept, "module.mlp_head.0.weight": torch.ones(WIDTH), "module.mlp_head.0.bias": torch.zeros(WIDTH),
            "module.mlp_head.1.weight": torch.zeros(3, WIDTH), "module.mlp_head.1.bias": torch.zeros(3)}  # fmt: skip


def test_pretrained_files_tell_everything(published: dict[str, Tensor]) -> None:
    imported = convert(published, SOURCE, {})
    config = imported.encoder_config
    assert (config.width, config.depth, config.states, config.step_rank) == (WIDTH, DEPTH, 4, 1)
    assert (config.mel_bins, config.frames, config.position_grid) == (MEL, FRAMES, (4, 5))
    assert (config.wiring, config.double_final_norm, config.normalisation) == ("paired", True, "layer")
    encoder = Ssamba(config)
    encoder.load_state_dict(imported.state)
    objective = MaskedPatches(MaskedPatchesConfig(), encoder)
    missing, unexpected = objective.load_state_dict(imported.heads["objective"], strict=False)
    assert not unexpected
    assert all(name.startswith("encoder.") for name in missing)
    assert sorted(imported.report.dropped) == ["p_input_fdim", "p_input_tdim", "v.head.bias", "v.head.weight"]
    assert imported.report.total == len(published)
    assert (imported.preprocessor_config.length, imported.preprocessor_config.frames) == ("fixed", FRAMES)
    assert imported.preprocessor.mean == pytest.approx(-4.2677393)


def test_the_prefix_may_be_missing(published: dict[str, Tensor]) -> None:
    bare = {name.removeprefix("module."): value for name, value in published.items()}
    one, two = convert(published, SOURCE, {}), convert(bare, SOURCE, {})
    assert all(torch.equal(value, two.state[name]) for name, value in one.state.items())
    assert sniff(frozenset(published)) == sniff(frozenset(bare)) == 1.0
    assert sniff(frozenset({"v.cls_token", "module.encoder.weight"})) == 0.0


def test_a_pickled_file_reads_like_the_tensors(published: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "ssamba_tiny_400.pth"
    torch.save(published, path)
    found = read_checkpoint(path)
    imported = convert(found.state, path, {})
    assert torch.equal(imported.state["cls_token"], published["module.v.cls_token"])


def test_fine_tuned_files_must_be_told_their_grid(published: dict[str, Tensor]) -> None:
    state = fine_tuned(published)
    with pytest.raises(CheckpointError, match=r"20 positions, but not their grid(.|\n)*grid=ROWSxCOLUMNS"):
        convert(state, SOURCE, {})
    with pytest.raises(CheckpointError, match="3 x 7 does not hold the 20 positions"):
        convert(state, SOURCE, {"grid": "3x7"})
    with pytest.raises(CheckpointError, match=r"grid=4x5 leaves open(.|\n)*stride=10"):
        convert(state, SOURCE, {"grid": "4x5"})
    imported = convert(state, SOURCE, {"grid": "4x5", "stride": "4", "statistics": "esc50"})
    assert imported.encoder_config.stride_time == 4
    assert imported.encoder_config.frames == 4 * 4 + 8
    assert imported.preprocessor.mean == pytest.approx(-6.6268077)
    assert imported.heads["task"]["classifier.1.weight"].shape == (3, WIDTH)
    assert "objective" not in imported.heads
    encoder = Ssamba(imported.encoder_config)
    encoder.load_state_dict(imported.state)
    spectrogram = torch.zeros(1, imported.encoder_config.frames, imported.encoder_config.mel_bins)
    assert encoder.eval()(Batch(inputs={"spectrogram": spectrogram}, size=1)).pooled.isfinite().all()


def test_missing_and_unknown_keys_are_named(published: dict[str, Tensor]) -> None:
    lacking = {name: value for name, value in published.items() if name != "module.v.layers.2.mixer.x_proj_b.weight"}
    with pytest.raises(CheckpointError, match=r"blocks\.2\.mixer\.directions\.1\.x_proj\.weight"):
        convert(lacking, SOURCE, {})
    with pytest.raises(CheckpointError, match=r"module_x\.weight"):
        convert({**published, "module.module_x.weight": torch.zeros(1)}, SOURCE, {})
    one_way = {name: value for name, value in published.items() if "A_b_log" not in name}
    with pytest.raises(CheckpointError, match="one direction only"):
        convert(one_way, SOURCE, {})
    with pytest.raises(CheckpointError, match="is no SSAMBA model"):
        convert({"module.x": torch.zeros(1)}, SOURCE, {})


def test_missing_norm_biases_mean_rms_norm(published: dict[str, Tensor]) -> None:
    rms = {name: value for name, value in published.items() if not name.endswith(("norm.bias", "norm_f.bias"))}
    assert convert(rms, SOURCE, {}).encoder_config.normalisation == "rms"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wirings": "paired"}, "no option 'wirings'"),
        ({"wiring": "both"}, "wiring='both'"),
        ({"stride": "ten"}, "stride='ten'"),
        ({"grid": "8"}, "not rows x columns"),
    ],
)
def test_options_are_checked(published: dict[str, Tensor], options: dict[str, str], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert(published, SOURCE, options)


def test_superb_wiring_is_an_option(published: dict[str, Tensor]) -> None:
    assert convert(published, SOURCE, {"wiring": "sequential"}).encoder_config.wiring == "sequential"
    assert any("SUPERB" in note for note in convert(published, SOURCE, {}).report.notes)


@pytest.mark.parametrize(
    ("words", "probabilities"),
    [
        (["--option", "kind=class", "--classes", "dog,cat,rain", "--label", "sound"], lambda raw: raw.softmax(1)),
        (["--option", "statistics=audioset", "--classes", "dog,cat,rain"], lambda raw: raw.sigmoid()),
        (["--option", "kind=class", "--option", "head=cls", "--classes", "dog,cat,rain"], lambda raw: raw.softmax(1)),
    ],
)
def test_a_fine_tuned_file_predicts(
    published: dict[str, Tensor],
    tmp_path: Path,
    words: list[str],
    probabilities: Callable[[Tensor], Tensor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = torch.Generator().manual_seed(4)
    state = fine_tuned(published) | {"module.mlp_head.1.weight": torch.randn(3, WIDTH, generator=generator)}
    torch.save(state, tmp_path / "tuned.pth")
    (tmp_path / "clips").mkdir()
    for name in ("a", "b"):
        wave = 0.1 * torch.randn(4000, generator=generator).numpy()
        soundfile.write(tmp_path / "clips" / f"{name}.wav", wave, 16_000)
    place, out = str(tmp_path / "model"), tmp_path / "out.csv"
    grid = ["--option", "grid=4x5", "--option", "stride=8"]
    assert run(["import", str(tmp_path / "tuned.pth"), "-o", place, *grid, *words]) == 0
    left_out = sum(name.startswith("module.v.head.") for name in state)
    assert f"written: {len(state) - left_out} of {len(state)} tensors of the file" in capsys.readouterr().out
    assert run(["predict", place, str(tmp_path / "clips"), "-o", str(out)]) == 0
    found = read_table(out)
    model = repcore.load(place)
    encoder = cast(Ssamba, model.encoder)
    rows = [model.preprocessor.prepare(sample)[0] for sample in model.reader(str(tmp_path / "clips"))]  # type: ignore[attr-defined]
    with torch.no_grad():
        features = encoder(model.preprocessor.collate(rows))
    pooled = encoder.pool(features, "cls" if "head=cls" in words else "mean")
    normed = torch.nn.functional.layer_norm(pooled, (WIDTH,))
    expected = probabilities(normed @ state["module.mlp_head.1.weight"].T)
    shown = torch.tensor([[found[f"p:{name}"][row] for name in ("dog", "cat", "rain")] for row in range(2)])
    torch.testing.assert_close(shown, expected, rtol=0, atol=1e-5)


def test_a_head_of_unknown_kind_is_said_not_guessed(
    published: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = fine_tuned(published)
    torch.save(state, tmp_path / "tuned.pth")
    command = ["import", str(tmp_path / "tuned.pth"), "-o", str(tmp_path / "model")]
    command += ["--option", "grid=4x5", "--option", "stride=8"]
    assert run([*command, "--classes", "a,b,c"]) == 2
    assert "--option kind=class" in capsys.readouterr().err
    assert run(command) == 0
    told = capsys.readouterr().out
    left_out = 4 + sum(name.startswith("module.v.head.") for name in state)
    assert f"written: {len(state) - left_out} of {len(state)}" in told
    assert "does not say whether its 3 outputs are classes or labels" in told
    assert repcore.load(tmp_path / "model").target is None
