"""Fine-tuning: head, pooling, augmentation, mixup, and the parts that the plugin registers."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from repcore import registry
from repcore.errors import ConfigError, ShapeError
from repcore.specs import TargetSpec
from repcore_audio.configs.ssamba import SoundTaskConfig
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.examples import ssamba as examples
from repcore_audio.tasks.augmentation import (
    Mixing,
    add_noise,
    draw_mixing,
    mask_stretch,
    mix_spectrograms,
    roll_clips,
)
from repcore_audio.tasks.sounds import SoundClassTask, SoundLabelsTask

CLASSES = TargetSpec("sound", "class", names=("a", "b", "c"))
LABELS = TargetSpec("sound", "multilabel", names=("a", "b", "c"))


def task(config: SoundTaskConfig = SoundTaskConfig(), labels: bool = False) -> SoundClassTask | SoundLabelsTask:  # noqa: B008  frozen
    torch.manual_seed(0)
    encoder = Ssamba(examples.ssamba()[0])
    return SoundLabelsTask(config, encoder, LABELS) if labels else SoundClassTask(config, encoder, CLASSES)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_head_reads_the_mean_or_the_class_token() -> None:
    for pooling in ("ft_avgtok", "ft_cls"):
        model = task(SoundTaskConfig(pooling=pooling)).eval()  # type: ignore[arg-type]
        batch = examples.batch()
        features = model.encoder(batch)
        expected = features.pooled if pooling == "ft_avgtok" else features.extras["cls"]
        norm, linear = model.classifier[0], model.classifier[1]
        torch.testing.assert_close(model(batch), linear(norm(expected)))


def test_masks_are_one_stretch_a_clip_below_the_limit() -> None:
    values = torch.ones(500, 20, 10)
    hidden = mask_stretch(values, 8, 1, torch.zeros(500, 1, 1), generator()) == 0
    assert torch.equal(hidden, hidden[:, :, :1].expand_as(hidden))
    width = hidden[:, :, 0].sum(1)
    assert width.min() == 0
    assert width.max() == 7
    edges = (hidden[:, 1:, 0] != hidden[:, :-1, 0]).sum(1)
    assert edges.max() <= 2
    bins = mask_stretch(values, 100, 2, torch.zeros(500, 1, 1), generator()) == 0
    assert bins[:, 0].sum(1).max() <= 10


def test_rolls_and_noise_stay_within_their_limits() -> None:
    values = torch.arange(12.0)[None, :, None].repeat(200, 1, 2)
    rolled = roll_clips(values, 3, generator())
    shift = (values[:, 0, 0] - rolled[:, 0, 0]) % 12
    assert set(shift.tolist()) <= {0.0, 1.0, 2.0, 3.0, 9.0, 10.0, 11.0}
    assert len(set(shift.tolist())) == 7
    assert torch.equal(rolled.sort(1).values, values)
    noisy = add_noise(values, 0.1, generator()) - values
    assert noisy.min() >= 0
    assert noisy.max() < 0.1 + 1e-5


def test_mixing_adds_powers() -> None:
    normalisation = torch.tensor([[-4.0, 9.0], [-4.0, 9.0]])
    powers = torch.tensor([2.0, 7.0])
    values = ((powers.log() + 4) / 9)[:, None, None]
    mixed = mix_spectrograms(values, normalisation, Mixing(torch.tensor([1, 0]), torch.tensor(0.25)))
    expected = 0.25**2 * powers + 0.75**2 * powers.flip(0)
    torch.testing.assert_close((mixed[:, 0, 0] * 9 - 4).exp(), expected)


def test_mixing_shares_follow_the_beta_distribution() -> None:
    source = generator()
    shares = torch.stack([draw_mixing(2, 10.0, torch.device("cpu"), source).share for _ in range(3000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.01)
    assert shares.var().item() == pytest.approx(1 / (4 * 21), rel=0.1)  # of Beta(10, 10)


def test_mixed_labels_weigh_the_loss() -> None:
    model = task(SoundTaskConfig(mixup=1.0)).train()
    outputs, labels = torch.randn(3, 3, generator=generator()), torch.tensor([0.0, 1.0, 2.0])
    own = model.loss(outputs, labels)
    model.mixing = Mixing(torch.tensor([1, 2, 0]), torch.tensor(0.3))
    other = torch.nn.functional.cross_entropy(outputs, torch.tensor([1, 2, 0]))
    torch.testing.assert_close(model.loss(outputs, labels), 0.3 * own + 0.7 * other)


@pytest.mark.parametrize("labels", [False, True])
def test_augmentation_acts_in_training_only(labels: bool) -> None:
    config = SoundTaskConfig(frequency_mask=16, time_mask=20, noise=0.1, roll=5, mixup=1.0)
    model, batch = task(config, labels), examples.batch()
    before = batch.inputs["spectrogram"].clone()
    model.eval()
    assert torch.equal(model(batch), model(batch))
    assert model.mixing is None
    model.train()
    torch.manual_seed(0)
    first = model(batch)
    assert model.mixing is not None
    assert not torch.equal(first, model(batch))
    assert torch.equal(batch.inputs["spectrogram"], before)
    wanted = torch.tensor([[1.0, 0.0, math.nan]] * 3) if labels else torch.tensor([0.0, 1.0, math.nan])
    loss = model.loss(model(batch), wanted)
    loss.backward()
    assert loss.isfinite()
    assert model.predict(first).shape == (3, 3)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"mixup=1\.5"):
        task(SoundTaskConfig(mixup=1.5))
    with pytest.raises(ConfigError, match="roll=-1"):
        task(SoundTaskConfig(roll=-1))
    model, batch = task(SoundTaskConfig(mixup=1.0)).train(), examples.batch()
    del batch.inputs["normalisation"]
    with pytest.raises(ShapeError, match="no 'normalisation'"):
        model(batch)


def test_registered_names_resolve_and_recipes_build() -> None:
    known = registry.default()
    for kind in ("encoder", "objective", "dataset", "preprocessor", "recipe", "checkpoint", "op", "task", "command"):
        for entry in known.entries(kind, "audio"):
            for field in dataclasses.fields(entry.spec):
                value = getattr(entry.spec, field.name)
                if field.metadata.get("target") and isinstance(value, str) and value and "mamba_ssm" not in value:
                    assert entry.load(field.name) is not None, (kind, entry.full_name, field.name)
    recipe = known.recipe("audio/ssamba")
    for preset in recipe.spec.presets:
        run = recipe.load("presets", preset)()
        assert run.encoder.name == "audio/ssamba"
    paper = recipe.load("presets", "paper-base")()
    assert (paper.encoder.config.width, paper.encoder.config.wiring) == (768, "paired")
    assert (paper.objective.config.masked_patches, paper.objective.config.passes) == (400, "separate")
    assert paper.optimiser.lr == 1e-4
