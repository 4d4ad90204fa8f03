"""Property evaluations on encoders whose answers are known: places, parts, lines, matches; few labelled images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, DataError, RegistryError
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_medical3d.configs.adam_v2 import ConvNextConfig
from repcore_medical3d.configs.anatomy_tasks import FewShotConfig, RadiographTaskConfig
from repcore_medical3d.configs.properties import PropertiesConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.encoders.convnext import ConvNextEncoder
from repcore_medical3d.probes.patches import centred_cosine, grid_boxes, random_boxes, stacked_images
from repcore_medical3d.probes.properties import PROPERTIES, constants, property_named
from repcore_medical3d.rendering.dense import co_segmentation, matching
from repcore_medical3d.tasks.few_shot_segmentation import (
    LabelledImages,
    UDecoder,
    augmented,
    dice_loss,
    dice_scores,
    few_shot_table,
    shots_of,
)
from repcore_medical3d.tasks.radiograph_labels import RadiographClassTask, RadiographLabelsTask, ten_crops

CONFIG = PropertiesConfig(patches=3)


class Means(nn.Module):
    """A backbone whose vector is the mean of each channel: linear, so that wholes are the means of their parts."""

    dim = 4

    def stages_of(self, images: Tensor) -> list[Tensor]:
        return [images]

    def pooled(self, last: Tensor) -> Tensor:
        return last.flatten(2).mean(-1)

    def dense(self, last: Tensor) -> Tensor:
        return last


def linear(axes: int = 2) -> AnatomyEncoder:
    return AnatomyEncoder(ConvNextConfig(spatial_dims=axes, input_channels=4, input_size=16), Means())  # type: ignore[arg-type]


def people(count: int = 12, edge: int = 64, axes: int = 2, noise: float = 0.0) -> Tensor:
    """Images that tell their places (coordinates, and products of them) and a little of the person."""
    lines = torch.linspace(0, 1, edge)
    grid = torch.meshgrid(*[lines] * axes, indexing="ij")
    channels = torch.stack([grid[0], grid[1], 1 - grid[0], torch.full_like(grid[0], 0.2)])
    generator = torch.Generator().manual_seed(0)
    own = noise * torch.rand(count, 4, *[1] * axes, generator=generator)
    return channels.expand(count, *channels.shape) + own


@pytest.mark.parametrize("axes", [2, 3])
def test_an_encoder_that_knows_places_finds_them(axes: int) -> None:
    images = people(axes=axes, edge=64 if axes == 2 else 24, count=12 if axes == 2 else 4)
    found = PROPERTIES["localizability@1"](linear(axes), images, CONFIG, 0)
    if axes == 2:
        assert found["nearest-place accuracy"] == 1.0
        assert found["nmi"] > 0.9
        assert found["silhouette"] > 0.9
    assert found["chance"] == 1 / 3**axes


def test_an_encoder_of_one_vector_is_at_chance() -> None:
    class Constant(Means):
        def pooled(self, last: Tensor) -> Tensor:
            return torch.ones(len(last), 4) + 1e-6 * torch.rand(
                len(last), 4, generator=torch.Generator().manual_seed(1)
            )

    encoder = AnatomyEncoder(ConvNextConfig(input_channels=4, input_size=16), Constant())
    found = PROPERTIES["part-whole@1"](encoder, people(40), replace(CONFIG, patches=2), 0)
    assert found["cosine"] > 0.999  # why the raw cosine alone says nothing
    assert found["mismatched cosine"] > 0.999
    assert abs(found["centred cosine"]) < 0.25  # 80 pairs in 4 dimensions


def test_a_linear_encoder_composes_and_lies_on_lines() -> None:
    images = people(noise=0.5)
    parts = PROPERTIES["part-whole@1"](linear(), images, CONFIG, 0)
    assert parts["centred cosine"] > 0.99
    assert parts["own whole is nearest"] > 0.9
    assert abs(parts["mismatched centred cosine"]) < 0.1
    for name, shares in (("interpolation@1", CONFIG.mix_shares), ("extrapolation@1", CONFIG.reach_shares)):
        found = PROPERTIES[name](linear(), images, CONFIG, 0)
        for share in shares:
            assert found[f"cosine at {share:g}"] > 0.999, name
            assert found[f"centred cosine at {share:g}"] > 0.97


def test_matches_are_the_same_places_of_other_people() -> None:
    found = matching(linear(), people(noise=0.3), CONFIG, 0)
    assert found["mean distance"] < 0.1 < found["chance distance"]
    assert found["within half a patch"] > 0.8
    with pytest.raises(DataError, match="two images"):
        matching(linear(), people(1), CONFIG, 0)


def test_co_segmentation_draws_the_same_groups_in_all_images() -> None:
    labels, grid = co_segmentation(linear(), people(3), replace(CONFIG, clusters=4), 0)
    assert labels.shape == (3, 64, 64)
    assert set(np.unique(labels)) == {1, 2, 3, 4}
    assert (labels[0] == labels[1]).all()
    assert (labels[0][::8, ::8] == labels[2][::8, ::8]).all()
    assert grid.shape == (3, 16, 16)
    with pytest.raises(DataError, match="volumes"):
        co_segmentation(linear(3), people(2, 16, 3), CONFIG, 0)


def test_names_carry_versions_and_constants() -> None:
    with pytest.raises(RegistryError, match="part-whole@1"):
        property_named("part-whole")
    assert constants("matching@1", CONFIG)["protocol"] == "matching@1"
    assert constants("matching@1", CONFIG)["patches"] == 3


def test_patches_stay_inside_and_places_differ() -> None:
    images = people(5)
    found = random_boxes(images, 1, 50, torch.Generator().manual_seed(0))
    assert float(found.origin.min()) >= 0
    assert float((found.origin + found.extent).max()) <= 64
    with pytest.raises(DataError, match="no different places"):
        grid_boxes(images, 0, 3)
    with pytest.raises(DataError, match="2 sizes"):
        stacked_images([images[0], images[0, :, :9]])


def test_centring_takes_off_each_sets_own_mean() -> None:
    one = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    found = centred_cosine(one, one + 100)
    assert torch.allclose(found.diagonal(), torch.ones(30), atol=1e-4)


# ------------------------------------------------------------------------------------- supervised


def small_encoder(axes: int = 2) -> ConvNextEncoder:
    torch.manual_seed(0)
    return ConvNextEncoder(
        ConvNextConfig(depths=(1, 1), widths=(8, 12), kernel=3, stem_stride=2, layer_scale=0.3, spatial_dims=axes)  # type: ignore[arg-type]
    )


def squares(count: int, axes: int = 2) -> LabelledImages:
    """A bright box on a dark ground."""
    generator = torch.Generator().manual_seed(count)
    images = 0.1 * torch.rand(count, 1, *[16] * axes, generator=generator)
    labels = torch.zeros(count, *[16] * axes, dtype=torch.long)
    for number in range(count):
        first = int(torch.randint(1, 7, (1,), generator=generator))
        box = (number, *[slice(first, first + 8)] * axes)
        labels[box] = 1
        images[:, 0][box] += 0.7
    return LabelledImages(images, labels, 2)


def test_dice_loss_is_the_formula() -> None:
    scores = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    total = 0.0
    for one in (1, 2):
        p, t = scores.softmax(1)[:, one].reshape(-1), (labels == one).float().reshape(-1)
        total += float((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)) / 2
    assert float(dice_loss(scores, labels)) == pytest.approx(1 - total, rel=1e-5)
    perfect = 50 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert float(dice_loss(perfect, labels)) < 0.01


@pytest.mark.parametrize("axes", [2, 3])
def test_the_decoder_gives_scores_at_full_size(axes: int) -> None:
    model = UDecoder(small_encoder(axes), 3, 8)
    assert model(torch.rand(2, 1, *[20] * axes)).shape == (2, 3, *[20] * axes)


def test_few_labelled_images_are_enough_for_squares() -> None:
    config = FewShotConfig(shots=(2, 4), steps=40, lr=5e-3, width=8, crop_chance=0.0)
    encoder = small_encoder()
    before = {name: one.clone() for name, one in encoder.state_dict().items()}
    said: list[tuple[int, int, str]] = []
    found = few_shot_table({"start": [encoder]}, squares(6), squares(5), config, lambda *words: said.append(words))
    assert set(found["start"]) == {2, 4}
    assert [one[:2] for one in said] == [(1, 2), (2, 2)]
    assert said[1][2] == f"start, 4 labelled, seed 0: Dice {found['start'][4][0]:.3f}"
    assert found["start"][4][0] > 0.8
    assert all(torch.equal(one, before[name]) for name, one in encoder.state_dict().items())
    with pytest.raises(DataError, match="9 labelled images are wanted, there are 6"):
        few_shot_table({"start": [encoder]}, squares(6), squares(5), replace(config, shots=(9,)))


def test_smaller_choices_are_part_of_larger_ones() -> None:
    assert set(shots_of(30, 3, 1)) < set(shots_of(30, 12, 1))
    assert set(shots_of(30, 3, 1)) != set(shots_of(30, 3, 2))


def test_images_and_labels_are_cropped_alike() -> None:
    data = squares(3)
    always = FewShotConfig(crop_chance=1.0, jitter_chance=0.0)
    images, labels = augmented(data.images, data.labels, always, torch.Generator().manual_seed(0))
    assert images.shape == data.images.shape
    assert float(((images[:, 0] > 0.4) == (labels == 1)).float().mean()) > 0.9  # borders are interpolated
    assert (labels != data.labels).any()


def test_dice_of_a_class_that_is_nowhere_is_unknown() -> None:
    class Fixed(UDecoder):
        def forward(self, images: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(torch.zeros(len(images), 16, 16).long(), 3).movedim(-1, 1).float()

    data = squares(2)
    found = dice_scores(Fixed(small_encoder(), 3, 4), replace(data, classes=3))
    assert found[0] == 0.0
    assert math.isnan(found[1])


def test_ten_crops_are_the_corners_the_centre_and_their_mirrors() -> None:
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = ten_crops(image, 0.5, 8)
    corners = [(0, 0), (8, 8), (0, 8), (8, 0), (4, 4)]
    for number, (top, left) in enumerate(corners):
        wanted = image[0, 0, top : top + 8, left : left + 8]
        assert torch.allclose(found[0, number, 0], wanted, atol=1e-5)
        assert torch.allclose(found[0, number + 5, 0], wanted.flip(-1), atol=1e-5)


@pytest.mark.parametrize(("task", "kind"), [(RadiographClassTask, "class"), (RadiographLabelsTask, "multilabel")])
def test_radiograph_tasks_average_probabilities(task: type, kind: str) -> None:
    target = TargetSpec("x", kind, names=("a", "b", "c"))  # type: ignore[arg-type]
    made = task(RadiographTaskConfig(), small_encoder(), target)
    batch = Batch(inputs={"image": torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))}, size=2)
    made.eval()
    with torch.no_grad():
        views = ten_crops(batch.inputs["image"], 448 / 512, 32)[:, :, :]
        each = made.classifier(made.encoder.embed(views.flatten(0, 1))).unflatten(0, (2, 10))
        wanted = made.predict(each.flatten(0, 1)).unflatten(0, (2, 10)).mean(1)
        assert torch.allclose(made.predict(made(batch)), wanted, atol=1e-5)
    made.train()
    first, second = made(batch), made(batch)
    assert (first != second).any()  # another crop each time
    labels = torch.tensor([0.0, 2.0]) if kind == "class" else torch.tensor([[0.0, 1.0, 0.0], [1.0, float("nan"), 1.0]])
    assert made.loss(first, labels).isfinite()


def test_task_settings_outside_their_range_are_named() -> None:
    target = TargetSpec("x", "class", names=("a", "b"))
    with pytest.raises(ConfigError, match="crop_area"):
        RadiographClassTask(RadiographTaskConfig(crop_area=(0.0, 1.0)), small_encoder(), target)
    with pytest.raises(ConfigError, match="no encoder of Adam"):
        RadiographClassTask(RadiographTaskConfig(), nn.Linear(2, 2), target)  # type: ignore[arg-type]
