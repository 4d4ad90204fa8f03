"""W2v-BERT: layers, masks, quantiser and losses against plain loops; released layout; golden data; a run."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from repcore import registry
from repcore.errors import CheckpointError, ConfigError, ItemError
from repcore.interfaces import Batch, Progress, Sample
from repcore.verification.run import verify
from repcore_audio.checkpoints.w2v_bert import convert, sniff
from repcore_audio.configs.spectrogram import RELEASED_FILTER_BANK, LogMelConfig
from repcore_audio.configs.ssamba import SsambaConfig
from repcore_audio.configs.w2v_bert import CodeTargetsConfig, W2vBertConfig
from repcore_audio.datasets.recordings import Recording
from repcore_audio.encoders.conformer import RelativeAttention
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.encoders.w2v_bert import W2vBert
from repcore_audio.examples.ssamba import batch as three_clips
from repcore_audio.examples.w2v_bert import code_targets, w2v_bert
from repcore_audio.objectives.code_quantiser import CodeQuantiser, perplexity
from repcore_audio.objectives.span_masks import other_hidden, span_mask
from repcore_audio.objectives.w2v_bert import CodeTargets
from repcore_audio.preprocessors.log_mel import LogMel
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor


@pytest.fixture
def encoder() -> W2vBert:
    torch.manual_seed(0)
    return W2vBert(w2v_bert()[0]).eval()


def objective_of(encoder: torch.nn.Module, **changes: object) -> CodeTargets:
    torch.manual_seed(1)
    settings = {"groups": 2, "codebook": 8, "code_width": 16, "contrast_width": 8, "negatives": 4, "span": 3}
    return CodeTargets(CodeTargetsConfig(**{**settings, **changes}), encoder)  # type: ignore[arg-type]


def test_attention_adds_relative_keys_clipped_at_both_ends() -> None:
    torch.manual_seed(0)
    attention, hidden = RelativeAttention(8, 2, left=2, right=1).double(), torch.randn(1, 5, 8, dtype=torch.float64)
    query, key, value = (part(hidden)[0] for part in (attention.linear_q, attention.linear_k, attention.linear_v))
    mixed = torch.zeros(5, 8, dtype=torch.float64)
    for head in (slice(0, 4), slice(4, 8)):
        for i in range(5):
            scores = torch.stack(
                [
                    query[i, head]
                    @ (key[j, head] + attention.distance_embedding.weight[min(max(j - i, -2), 1) + 2])
                    / 2
                    for j in range(5)
                ]
            )
            mixed[i, head] = scores.softmax(0) @ value[:, head]
    torch.testing.assert_close(attention(hidden, None)[0], attention.linear_out(mixed))


@pytest.mark.parametrize(("front_end", "frames"), [("conv", (11, 5, 9)), ("stacked", (24, 12, 20))])
def test_a_clip_is_the_same_alone_and_beside_longer_ones(front_end: str, frames: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = W2vBert(W2vBertConfig(width=16, depth=2, heads=2, channels=4, mel_bins=32, kernel=5,
                                    front_end=front_end)).eval()  # type: ignore[arg-type]  # fmt: skip
    batch = three_clips()
    together = encoder(batch)
    tokens = together.tokens["frame"]
    assert tokens.valid is not None
    assert tuple(tokens.valid.sum(1).tolist()) == frames
    length = int(batch.inputs["frames"][1])
    alone = encoder(Batch(inputs={"spectrogram": batch.inputs["spectrogram"][1:2, :length]}, size=1))
    torch.testing.assert_close(alone.pooled, together.pooled[1:2], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone.tokens["frame"].values[0], tokens.values[1, : frames[1]], rtol=1e-5, atol=1e-5)


def test_no_frame_hears_a_later_one_through_the_convolution(encoder: W2vBert) -> None:
    hidden = torch.randn(1, 8, 16)
    later = hidden.clone()
    later[:, 5:] += 1
    part = encoder.layers[0].conv_module  # type: ignore[union-attr]
    assert torch.equal(part(hidden)[:, :5], part(later)[:, :5])  # type: ignore[operator]


def test_spans_start_at_small_draws_and_end_with_the_clip() -> None:
    draws = torch.tensor([[0.9, 0.04, 0.9, 0.9, 0.9, 0.9], [0.9, 0.9, 0.8, 0.7, 0.1, 0.0], [0.5] * 6])
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 6])
    mask = span_mask(draws, valid, 0.065, 3)
    assert mask.int().tolist() == [[0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_share_of_hidden_frames_is_that_of_the_paper() -> None:
    draws = torch.rand(400, 150, generator=torch.Generator().manual_seed(0))
    share = float(span_mask(draws, torch.ones(400, 150, dtype=torch.bool), 0.065, 10).float().mean())
    assert 0.45 < share < 0.50  # WeNet's rule, 0.065 / span, would hide about 0.06


def test_negatives_are_the_other_hidden_frames_each_equally_often() -> None:
    mask = torch.tensor([[False, True, False, True, True], [False, False, True, False, False]])
    draws = torch.tensor([0.0, 0.49, 0.51, 0.999])[None, None].expand(2, 5, 4)
    index = other_hidden(draws, mask)
    assert index[0].tolist() == [[-1] * 4, [3, 3, 4, 4], [-1] * 4, [1, 1, 4, 4], [1, 1, 3, 3]]
    assert index[1, 2].tolist() == [2] * 4  # nothing else is hidden: the frame itself, which the contrast drops


def test_the_quantiser_gives_one_code_and_the_gradient_of_a_soft_choice() -> None:
    torch.manual_seed(0)
    quantiser = CodeQuantiser(6, 2, 4, 10)
    logits, gumbel = torch.randn(1, 3, 2, 4, requires_grad=True), torch.randn(1, 3, 2, 4)
    weights = quantiser.choose(logits, gumbel, 0.7)
    ids = (logits + gumbel).argmax(-1)
    torch.testing.assert_close(quantiser.vectors(weights), quantiser.chosen(ids))
    table = quantiser.codevectors[0].view(2, 4, 5)
    wanted = torch.cat([table[0, ids[0, 1, 0]], table[1, ids[0, 1, 1]]])
    torch.testing.assert_close(quantiser.chosen(ids)[0, 1], wanted)
    factor = torch.randn(1, 3, 2, 4)
    (hard,) = torch.autograd.grad((weights * factor).sum(), logits)
    (soft,) = torch.autograd.grad((quantiser.choose(logits, gumbel, 0.7, is_hard=False) * factor).sum(), logits)
    torch.testing.assert_close(hard, soft)


def test_perplexity_counts_codes_in_use() -> None:
    shares = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    assert perplexity(shares).tolist() == pytest.approx([4.0, 2.0, 1.0])


@pytest.mark.parametrize("codes", ["hard", "soft"])
def test_contrast_equals_a_loop_without_negatives_of_the_same_codes(encoder: W2vBert, codes: str) -> None:
    objective, batch = objective_of(encoder, codes=codes, codebook=2).eval(), three_clips()
    draws = objective.draw(batch, torch.Generator().manual_seed(3), Progress(0, 10))
    out = objective.outputs(batch, draws)
    losses, right, _ = objective.contrast(out, draws)
    expected, hits, dropped = [], [], 0
    for clip, frame in draws["mask"].nonzero().tolist():

        def cosine(other: int, clip: int = clip, frame: int = frame) -> Tensor:
            return torch.cosine_similarity(out.context[clip, frame], out.targets[clip, other], dim=0) / 0.1

        scores = [cosine(frame)]
        for other in draws["negatives"][clip, frame].tolist():
            same = other == frame
            if codes == "hard":
                same = bool((out.sampled[clip, other] == out.sampled[clip, frame]).all())
            dropped += same
            scores += [] if same else [cosine(other)]
        expected.append(torch.stack(scores).logsumexp(0) - scores[0])
        hits.append(float(int(torch.stack(scores).argmax()) == 0))
    torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert float(right) == pytest.approx(sum(hits) / len(hits))
    assert (dropped > 0) == (codes == "hard")


def test_temperature_is_a_function_of_the_step_alone(encoder: W2vBert) -> None:
    over_run = objective_of(encoder)
    assert [over_run.tau(Progress(step, 100)) for step in (0, 50, 100)] == pytest.approx([2.0, 1.0, 0.5])
    published = objective_of(encoder, tau_end=0.1, tau_decay=0.999995)
    assert published.tau(Progress(100_000, 10**6)) == pytest.approx(2 * 0.999995**100_000)
    assert published.tau(Progress(10**6, 10**6)) == 0.1
    warming = objective_of(encoder, prediction_warmup=2000)
    assert [warming.prediction_share(step) for step in (0, 500, 2000, 9000)] == pytest.approx([0.1, 0.325, 1, 1])


def test_collapsed_codes_are_told_in_words(encoder: W2vBert, caplog: pytest.LogCaptureFixture) -> None:
    objective = objective_of(encoder, codebook=64, groups=1)
    counts = torch.zeros(1, 64)
    counts[0, 7], counts[0, 8] = 90, 10
    for step in range(400):
        objective.after_step(Progress(step, 400), [{"code_counts": counts}])
    assert objective.is_collapsed()
    assert objective.verdict().startswith("codes collapsed: 1.4 of 64 codes are in use, the most frequent one in 90%")
    assert len([one for one in caplog.records if "codes collapsed" in one.message]) == 1
    assert (
        "codes collapsed"
        in objective.picture(
            Batch(inputs={"spectrogram": torch.randn(1, 40, 32)}, size=1),
            objective.draw(
                Batch(inputs={"spectrogram": torch.randn(1, 40, 32)}, size=1), torch.Generator(), Progress(0, 1)
            ),
        ).alt
    )


def test_without_contrast_the_codes_collapse_and_with_it_they_do_not() -> None:
    """Accuracy of the prediction alone looks better while the codes collapse: the regression of the method card."""
    used, hits = {}, {}
    sounds = torch.randn(12, 16, generator=torch.Generator().manual_seed(5))
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        config = W2vBertConfig(
            width=16, depth=2, heads=2, feed_forward_width=32, kernel=5, front_end="stacked", mel_bins=16
        )
        targets = CodeTargetsConfig(
            codebook=32,
            code_width=16,
            contrast_width=8,
            negatives=8,
            start_probability=0.1,
            span=4,
            contrast_weight=weight,
        )
        objective = CodeTargets(targets, W2vBert(config))
        optimiser = torch.optim.Adam(objective.parameters(), lr=3e-3)
        generator = torch.Generator().manual_seed(0)
        for step in range(40):
            spectrogram = sounds[torch.randint(12, (8, 8), generator=generator)].repeat_interleave(8, 1)
            spectrogram = spectrogram + 0.2 * torch.randn(8, 64, 16, generator=generator)
            batch = Batch(inputs={"spectrogram": spectrogram}, size=8)
            terms = objective(batch, objective.draw(batch, generator, Progress(step, 40)))
            optimiser.zero_grad()
            terms.total.backward()
            optimiser.step()
        used[weight] = float(terms.metrics["code_perplexity"])
        hits[weight] = float(terms.metrics["prediction_accuracy"])
    assert used[0.0] < 0.6 * used[1.0]
    assert used[1.0] >= 0.3 * 32
    assert hits[0.0] > hits[1.0]


def test_heads_warm_up_while_the_encoder_waits(encoder: W2vBert) -> None:
    objective, batch = objective_of(encoder, warm_heads=0.1), three_clips()
    for step, waits in ((5, True), (10, False)):
        progress = Progress(step, 100)
        objective.zero_grad()
        objective(batch, objective.draw(batch, torch.Generator().manual_seed(0), progress)).total.backward()
        objective.before_step(progress)
        assert all((one.grad is None) == waits for one in encoder.layers[0].parameters())  # type: ignore[union-attr]
        assert objective.head.weight.grad is not None


def test_another_encoder_learns_by_it() -> None:
    torch.manual_seed(0)
    other = Ssamba(SsambaConfig(width=16, depth=2, states=4, patch_frequency=16, patch_time=8, mel_bins=32, frames=48))
    objective, batch = objective_of(other, lower_layers=1), three_clips()
    terms = objective(batch, objective.draw(batch, torch.Generator().manual_seed(0), Progress(0, 10)))
    terms.total.backward()
    assert terms.total.isfinite()
    assert other.patch_embed.weight.grad is not None


def test_settings_that_do_not_fit_are_named(encoder: W2vBert) -> None:
    with pytest.raises(ConfigError, match="lower_layers=3 of an encoder with 2 layers"):
        objective_of(encoder, lower_layers=3)
    with pytest.raises(ConfigError, match="code_width=8 differs from the encoder's width 16"):
        objective_of(encoder, project=False, code_width=8)
    with pytest.raises(ConfigError, match="3 groups do not divide code_width=16"):
        objective_of(encoder, groups=3)
    with pytest.raises(ConfigError, match="3 attention heads do not divide a width of 16"):
        W2vBert(W2vBertConfig(width=16, heads=3, mel_bins=32))


# ----------------------------------------------------------------------------------- released front end


def test_the_released_filter_bank_is_kaldis_standardised_in_every_bin() -> None:
    import torchaudio.compliance.kaldi as kaldi

    wave = 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    ours = LogMel(mel_bins=80, window="povey", amplitude=32768.0)([wave])[0]
    theirs = kaldi.fbank(wave[None] * 32768, num_mel_bins=80, window_type="povey", dither=0.0, htk_compat=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    front = LogMelPreprocessor(RELEASED_FILTER_BANK)
    (item,) = front.prepare(Sample("a", Recording(wave[None].numpy(), 16_000)))
    assert (item.meta["frames"], item.meta["sound_frames"]) == (22, 22)  # 23 frames: the odd one is dropped
    found = front.collate([item]).inputs["spectrogram"][0]
    kept = theirs[:22]
    torch.testing.assert_close(found, (kept - kept.mean(0)) / (kept.var(0) + 1e-7).sqrt(), rtol=1e-3, atol=1e-3)


def test_a_clip_without_a_pair_of_frames_is_a_failed_row_and_silence_is_finite() -> None:
    front = LogMelPreprocessor(RELEASED_FILTER_BANK)
    with pytest.raises(ItemError, match="1 frames are less than frame_multiple=2"):
        front.prepare(Sample("a", Recording(torch.randn(1, 420).numpy(), 16_000)))
    (item,) = front.prepare(Sample("b", Recording(torch.zeros(1, 2000).numpy(), 16_000)))
    assert item.status == "silent"
    assert bool(front.collate([item]).inputs["spectrogram"].eq(0).all())
    assert LogMelConfig().remainder == "fill"


def released(folder: Path, encoder: W2vBert, **facts: object) -> dict[str, Tensor]:
    """A file with the released names, and its config.json."""
    state = {}
    for name, value in encoder.state_dict().items():
        renamed = name.replace("front_end.", "feature_projection.")
        state[renamed if renamed != name else f"encoder.{name}"] = value
    state["masked_spec_embed"] = torch.zeros(16)
    config = {"num_attention_heads": 2, "left_max_position_embeddings": 4, "right_max_position_embeddings": 2,
              "hidden_act": "swish", "position_embeddings_type": "relative_key", **facts}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return state


def test_released_weights_compute_the_same_and_every_key_is_accounted_for(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = W2vBertConfig(width=16, depth=2, heads=2, feed_forward_width=32, kernel=5, left_positions=4,
                           right_positions=2, mel_bins=32, front_end="stacked")  # fmt: skip
    encoder = W2vBert(config).eval()
    state = released(tmp_path, encoder)
    assert sniff(frozenset(f"wav2vec2_bert.{name}" for name in state)) == 1.0
    found = convert(state, tmp_path / "model.safetensors", {})
    assert found.encoder_config == config
    assert list(found.report.dropped) == ["masked_spec_embed"]
    other = W2vBert(found.encoder_config).eval()
    other.load_state_dict(dict(found.state))
    assert torch.equal(other(three_clips()).pooled, encoder(three_clips()).pooled)
    with pytest.raises(CheckpointError, match="adapter"):
        convert({**state, "adapter.layers.0.weight": torch.zeros(1)}, tmp_path / "model.safetensors", {})
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    with pytest.raises(CheckpointError, match="left_max_position_embeddings"):
        convert(state, tmp_path / "model.safetensors", {})
    released(tmp_path, encoder, position_embeddings_type="rotary")
    with pytest.raises(CheckpointError, match="another network"):
        convert(state, tmp_path / "model.safetensors", {})


# ----------------------------------------------------------------------------------------------- golden


def test_golden_numbers_are_reproduced_and_altered_ones_fail(shared: Path, tmp_path: Path) -> None:
    replay = registry.default().system("audio/w2v-bert").load("replay")
    verdict = verify(replay, shared / "golden" / "w2v-bert", system="audio/w2v-bert")
    assert verdict.ok, verdict.text()
    folder = tmp_path / "altered"
    folder.mkdir()
    for file in (shared / "golden" / "w2v-bert").iterdir():
        shutil.copyfile(file, folder / file.name)
    outputs = load_file(folder / "outputs.safetensors")
    outputs["corrected.upper"][0, 0, 0] += 1e-3
    outputs["reference.wenet.total_loss"] += 1e-2
    save_file(outputs, folder / "outputs.safetensors")
    failed = {stage.name for stage in verify(replay, folder).stages if stage.status != "passed"}
    assert failed == {"corrected_encoder", "reference_wenet"}


def test_example_settings_make_a_loss_near_chance(encoder: W2vBert) -> None:
    config, batch = code_targets()
    objective = CodeTargets(config, encoder)
    terms = objective(batch, objective.draw(batch, torch.Generator().manual_seed(0), Progress(0, 10)))
    assert float(terms.terms["prediction"].detach()) == pytest.approx(math.log(8), abs=0.7)
