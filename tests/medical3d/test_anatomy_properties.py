"""Property evaluations on encoders whose answers are known: places, parts, lines, matches; few labelled images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, DataError
from repcore.interfaces import Batch, Item, Sample
from repcore.specs import TargetSpec
from repcore.training.head_start import _Inputs, as_in_training, last_layer
from repcore_medical3d.configs.adam_v2 import ConvNextConfig
from repcore_medical3d.configs.anatomy_tasks import RadiographTaskConfig
from repcore_medical3d.configs.images import ImageConfig
from repcore_medical3d.configs.properties import PropertiesConfig
from repcore_medical3d.configs.segmentation import SegmentationTaskConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.encoders.convnext import ConvNextEncoder
from repcore_medical3d.encoders.patches import centred_cosine, grid_boxes, random_boxes, stacked_images
from repcore_medical3d.formats.images import Radiograph
from repcore_medical3d.preprocessors.images import ImagePreprocessor
from repcore_medical3d.probes.properties import PROPERTIES, AnatomyProperties, part_whole
from repcore_medical3d.rendering.dense import co_segmentation, matching
from repcore_medical3d.tasks.radiograph_labels import RadiographClassTask, RadiographLabelsTask, ten_crops
from repcore_medical3d.tasks.segmentation import Segmentation, foreground_dice
from repcore_medical3d.views.labelled_items import labelled_image

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
    found = PROPERTIES["localizability"](linear(axes), images, CONFIG, 0)
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
    found = PROPERTIES["part-whole"](encoder, people(40), replace(CONFIG, patches=2), 0)
    assert found["cosine"] > 0.999  # why the raw cosine alone says nothing
    assert found["mismatched cosine"] > 0.999
    assert abs(found["centred cosine"]) < 0.25  # 80 pairs in 4 dimensions


def test_a_linear_encoder_composes_and_lies_on_lines() -> None:
    images = people(noise=0.5)
    parts = PROPERTIES["part-whole"](linear(), images, CONFIG, 0)
    assert parts["centred cosine"] > 0.99
    assert parts["own whole is nearest"] > 0.9
    assert abs(parts["mismatched centred cosine"]) < 0.1
    for name, shares in (("interpolation", CONFIG.mix_shares), ("extrapolation", CONFIG.reach_shares)):
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


def test_the_protocol_carries_its_version_constants_and_all_figures() -> None:
    probe = AnatomyProperties(CONFIG)
    assert probe.constants()["protocol"] == "anatomy-properties@1"
    assert probe.constants()["patches"] == 3
    images = people(4, noise=0.3)
    material = probe.material([[Item(one)] for one in images])
    assert torch.equal(material, images)
    found = probe.score(linear(), material, 0)
    assert set(probe.shown) | set(probe.lower_is_better) <= set(found)
    assert found["part-whole: centred cosine"] == part_whole(linear(), images, CONFIG, 0)["centred cosine"]
    with pytest.raises(DataError, match="1 image"):
        probe.score(linear(), material[:1], 0)
    with pytest.raises(ConfigError, match="Linear; properties need"):
        probe.score(nn.Linear(2, 2), material, 0)


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


def squares(count: int, axes: int = 2) -> tuple[Tensor, Tensor]:
    """A bright box on a dark ground, and where it is."""
    generator = torch.Generator().manual_seed(count)
    images = 0.1 * torch.rand(count, 1, *[16] * axes, generator=generator)
    labels = torch.zeros(count, *[16] * axes, dtype=torch.long)
    for number in range(count):
        first = int(torch.randint(1, 7, (1,), generator=generator))
        box = (number, *[slice(first, first + 8)] * axes)
        labels[box] = 1
        images[:, 0][box] += 0.7
    return images, labels


def segmentation(encoder: ConvNextEncoder, classes: int, **settings: Any) -> Segmentation:
    target = TargetSpec("mask", "class", level="voxel", names=tuple(map(str, range(classes))))
    config = SegmentationTaskConfig(tokens="map", width=encoder.dim, decoder_width=8, **settings)
    return Segmentation(config, encoder, target)


def batch_of(images: Tensor) -> Batch:
    return Batch(inputs={"image" if images.ndim == 4 else "volume": images}, size=len(images))


def test_dice_loss_is_the_formula() -> None:
    scores = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    total = 0.0
    for one in (1, 2):
        p, t = scores.softmax(1)[:, one].reshape(-1), (labels == one).float().reshape(-1)
        total += float((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)) / 2
    flat = scores.flatten(2).movedim(1, 2).reshape(-1, 3)
    assert float(foreground_dice(flat, labels.reshape(-1))) == pytest.approx(1 - total, rel=1e-5)
    task = segmentation(small_encoder(), 3, loss_kind="dice")
    missing = labels.float().reshape(-1)
    missing[::7] = float("nan")
    known = ~missing.isnan()
    assert torch.equal(task.loss(flat, missing), foreground_dice(flat[known], labels.reshape(-1)[known]))
    perfect = 50 * torch.nn.functional.one_hot(labels.reshape(-1), 3).float()
    assert float(foreground_dice(perfect, labels.reshape(-1))) < 0.01


@pytest.mark.parametrize("axes", [2, 3])
def test_the_decoder_gives_scores_at_full_size(axes: int) -> None:
    model = segmentation(small_encoder(axes), 3)
    images = torch.rand(2, 1, *[20] * axes)
    scores = model(batch_of(images))
    assert scores.shape == (2 * 20**axes, 3)
    with torch.no_grad():  # image after image, in the order of their pixels
        second = model(batch_of(images[1:]))
    assert torch.allclose(scores[20**axes :], second, atol=1e-5)


def test_few_labelled_images_are_enough_for_squares() -> None:
    torch.manual_seed(0)
    model = segmentation(small_encoder(), 2, loss_kind="dice").train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    images, labels = squares(4)
    for _ in range(40):
        optimiser.zero_grad()
        model.loss(model(batch_of(images)), labels.float()).backward()
        optimiser.step()
    images, labels = squares(5)
    with torch.no_grad():
        found = model.eval()(batch_of(images)).argmax(1) == 1
    truth = labels.reshape(-1) == 1
    assert float(2 * (found & truth).sum() / (found.sum() + truth.sum())) > 0.8


def test_images_and_labels_are_changed_alike() -> None:
    """Every item keeps its bright box where its labels say; some are cut, intensities of some change."""
    images, labels = squares(1)
    pixels, mask = (images[0, 0] * 255).numpy().astype(np.uint8), labels[0].numpy().astype(np.uint8)
    preprocessor = ImagePreprocessor(ImageConfig(edge=16, smallest_edge=8))
    sample = Sample("one", Radiograph(pixels, mask), {"mask": mask.astype(np.float32)})
    (whole,) = preprocessor.prepare(sample)
    rng = np.random.default_rng(0)
    drawn = [labelled_image(preprocessor, sample, rng) for _ in range(40)]
    for one in drawn:
        assert one.values.shape == whole.values.shape
        bright = one.values[0] > one.values[0].mean()
        assert float((bright == torch.from_numpy(one.targets["mask"] == 1)).float().mean()) > 0.85  # borders
    is_cut = [not np.array_equal(one.targets["mask"], whole.targets["mask"]) for one in drawn]
    assert 2 <= sum(is_cut) <= 20
    uncut = [one for one, was in zip(drawn, is_cut, strict=True) if not was]
    assert 2 <= sum(not torch.allclose(one.values, whole.values, atol=1e-4) for one in uncut) <= len(uncut) // 2


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


@pytest.mark.parametrize(("task", "kind"), [(RadiographClassTask, "class"), (RadiographLabelsTask, "multilabel")])
def test_a_linear_start_sees_the_vectors_of_ten_crops_not_their_averaged_answers(task: type, kind: str) -> None:
    """A layer fitted to logarithms of mean probabilities of vectors started worse than the constant."""
    made = task(RadiographTaskConfig(), small_encoder(), TargetSpec("x", kind, names=("a", "b", "c")))  # type: ignore[arg-type]
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    layer = made.get_submodule(last_layer(made))
    with torch.no_grad():
        found = _Inputs(made, layer).eval()(Batch(inputs={"image": images}, size=2))
        wanted = made.encoder.embed(ten_crops(images, 448 / 512, 32).flatten(0, 1)).unflatten(0, (2, 10)).mean(1)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        with as_in_training(made):
            crops = [_Inputs(made, layer).train()(Batch(inputs={"image": images}, size=2)) for _ in range(2)]
        assert not torch.allclose(crops[0], crops[1])  # another crop each time


def test_task_settings_outside_their_range_are_named() -> None:
    target = TargetSpec("x", "class", names=("a", "b"))
    with pytest.raises(ConfigError, match="crop_area"):
        RadiographClassTask(RadiographTaskConfig(crop_area=(0.0, 1.0)), small_encoder(), target)
    with pytest.raises(ConfigError, match="no encoder of Adam"):
        RadiographClassTask(RadiographTaskConfig(), nn.Linear(2, 2), target)  # type: ignore[arg-type]
