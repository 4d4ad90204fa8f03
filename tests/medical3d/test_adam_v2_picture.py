"""Pictures of Adam-v2: views and frames are those of the draws, figures those of the forward pass, nothing changes."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from repcore.interfaces import Batch, Progress
from repcore_medical3d.configs.adam_v2 import AdamV2Config, ConvNextConfig, ViewsConfig
from repcore_medical3d.encoders.convnext import ConvNextEncoder
from repcore_medical3d.layers.boxes import Boxes, part_boxes
from repcore_medical3d.layers.sampling import sample_views
from repcore_medical3d.objectives.adam_v2 import AdamV2
from repcore_medical3d.objectives.adam_v2_picture import part_whole_agreement, view_losses
from repcore_medical3d.rendering.anatomy import places

EDGE, EXPONENT_STEP = 48, 60
# Views as they are cut: no turns, no changes of intensity, and a smoothing far below a pixel.
PLAIN = ViewsConfig(
    global_size=16, local_size=8, local_views=3, smallest_part=4, blur=(1e-3, 1e-3), saturation=0.0, hue=0.0,
    rotation_degrees=0.0, warmup_rotation_degrees=0.0, jitter_chance=0.0,
)  # fmt: skip


def objective(axes: int, views: ViewsConfig = PLAIN, **changes: Any) -> AdamV2:
    torch.manual_seed(0)
    encoder = ConvNextEncoder(
        ConvNextConfig(depths=(1, 1), widths=(8, 12), kernel=3, layer_scale=0.3, spatial_dims=axes)  # type: ignore[arg-type]
    )
    views = views if axes == 2 else replace(views, branching=(2, 2, 2), part_size=8)
    config = AdamV2Config(
        views=views, prototypes=24, hidden_width=16, bottleneck_width=8, part_whole_reduction="sum",
        decompose_norm="per_part",
    )  # fmt: skip
    return AdamV2(replace(config, **changes), encoder).eval()


def batch(axes: int, size: int) -> Batch:
    name = "image" if axes == 2 else "volume"
    values = torch.rand(size, 1, *[EDGE] * axes, generator=torch.Generator().manual_seed(1))
    return Batch(inputs={name: values}, size=size, sample_id=tuple(f"item-{one}" for one in range(size)))


def drawn(one: AdamV2, given: Batch, step: int = EXPONENT_STEP) -> Any:
    """Of a late step: wholes are smaller than the image, at places of their own."""
    generator = torch.Generator().manual_seed(2)
    return one.draw(given, generator, Progress(step=step, total_steps=100, steps_per_epoch=10))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_boxes_are_those_of_the_views(axes: int, share: float) -> None:
    one, given = objective(axes, warmup_share=share), batch(axes, 2)
    draws = drawn(one, given)
    assert int(draws["granularity"]) > 0
    images = one.encoder.images(given)
    names = {name.removesuffix("_boxes") for name in draws if name.endswith("_boxes")}
    assert names == ({"global", "local"} if share else {"whole", "parts", "global", "local"})
    for name in names:
        boxes = draws[f"{name}_boxes"]
        again = sample_views(images, Boxes(boxes[..., :axes], boxes[..., axes:]), draws[name].shape[3:])
        # 1e-4: the views were smoothed with a deviation of a thousandth of a pixel
        torch.testing.assert_close(again, draws[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("axes", [2, 3])
def test_parts_split_the_whole(axes: int) -> None:
    draws = drawn(objective(axes), batch(axes, 2))
    whole = draws["whole_boxes"][:, 0]
    parts = part_boxes(Boxes(whole[:, :axes], whole[:, axes:]), (2,) * axes)
    assert torch.equal(draws["parts_boxes"], parts.stacked())


@pytest.mark.parametrize("axes", [2, 3])
def test_figures_are_those_of_the_forward_pass(axes: int) -> None:
    """For one image: 2 - 2 cos of the whole and the mean of 2 - 2 cos of the parts are the loss terms."""
    one, given = objective(axes), batch(axes, 1)
    draws = drawn(one, given)
    with torch.no_grad():
        terms, encoded = one(given, draws).terms, one.encode(draws)
        whole, *parts = part_whole_agreement(one, encoded)
        losses = view_losses(one, encoded, draws)
    assert len(parts) == 2**axes
    # 1e-5: single precision, in another order of operations
    assert 2 - 2 * whole.own == pytest.approx(float(terms["composability"]), abs=1e-5)
    assert np.mean([2 - 2 * part.own for part in parts]) == pytest.approx(float(terms["decomposability"]), abs=1e-5)
    assert np.mean(losses) == pytest.approx(float(terms["localizability"]), abs=1e-5)


def test_losses_of_the_first_stage_leave_out_a_view_against_itself() -> None:
    one, given = objective(2, warmup_share=1.0), batch(2, 1)
    draws = drawn(one, given)
    with torch.no_grad():
        term = float(one(given, draws).terms["localizability"])
        found = view_losses(one, one.encode(draws), draws)
    pairs = [1, 1, 2, 2, 2]  # global views have one teacher view that is not theirs, local views two
    assert np.average(found, weights=pairs) == pytest.approx(term, abs=1e-5)


def test_controls_equal_plain_loops() -> None:
    one, given = objective(2), batch(2, 3)
    with torch.no_grad():
        encoded = one.encode(drawn(one, given))
        rows = part_whole_agreement(one, encoded)
        parts, whole = encoded.student_parts, encoded.student_whole
        assert parts is not None
        assert whole is not None
        assert encoded.teacher_parts is not None
        moved = one.compose_head(torch.cat([parts[0, 3], parts[0, 0], parts[0, 1], parts[0, 2]]))
        predicted = one.decompose_head(whole[:1]).reshape(4, -1)

    def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
        return float(F.cosine_similarity(first, second, dim=0))

    assert rows[0].misplaced == pytest.approx(cosine(encoded.teacher_whole[0], moved), abs=1e-5)
    for number, row in enumerate(rows[1:]):
        goal = encoded.teacher_parts[0, number]
        elsewhere = np.mean([cosine(goal, predicted[place]) for place in range(4) if place != number])
        assert [row.own, row.misplaced] == pytest.approx([cosine(goal, predicted[number]), elsewhere], abs=1e-5)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_picture_says_all_figures_in_words_and_changes_nothing(axes: int) -> None:
    one, given = objective(axes, views=replace(PLAIN, rotation_degrees=10.0, jitter_chance=0.8)), batch(axes, 1)
    draws = drawn(one, given)
    before = {name: value.clone() for name, value in one.state_dict().items() if isinstance(value, torch.Tensor)}
    views = {name: value.clone() for name, value in draws.items() if isinstance(value, torch.Tensor)}
    state = torch.get_rng_state()
    picture, again = one.picture(given, draws), one.picture(given, draws)
    assert picture == again
    assert torch.equal(torch.get_rng_state(), state)
    after = one.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(torch.equal(value, draws[name]) for name, value in views.items())
    with torch.no_grad():
        rows = part_whole_agreement(one, one.encode(draws))
    text = re.sub(r'(?:src|href)="[^"]*"', "", picture.html)
    for row in rows:
        assert all(f">{value:.3f}<" in text for value in (row.own, row.misplaced))
    assert f"{rows[0].own:.2f} between the whole and what its parts compose" in picture.alt
    assert " id=" not in text


def test_the_pictures_in_the_page_are_the_views() -> None:
    """In the grey values of the image, and in the order of the page: image, whole, parts, image, global, local."""
    one, given = objective(2), batch(2, 1)
    draws = drawn(one, given)
    page = one.picture(given, draws).html
    found = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(float) / 255
        for data in re.findall(r'(?:src|href)="data:image/jpeg;base64,([^"]*)"', page)
    ]
    image = given.inputs["image"][0]
    reach = draws["global_boxes"][0, 0].tolist()  # the largest view that is drawn, and a twentieth around it
    rows, columns = (
        slice(max(0, int(np.floor(low - 0.05 * size))), int(np.ceil(low + 1.05 * size)))
        for low, size in zip(reach[:2], reach[2:], strict=True)
    )
    close = image[:, rows, columns]
    views = [image, *draws["whole"][0], *draws["parts"][0], close, *draws["global"][0], *draws["local"][0]]
    assert len(found) == len(views) == 1 + 1 + 4 + 1 + 1 + 3
    for pixels, view in zip(found, views, strict=True):
        wanted = ((view[0] - image.min()) / (image.max() - image.min())).numpy()
        # noise is the worst case of JPEG: a twentieth on average; another view of noise would be off by a third
        assert np.abs(pixels - wanted).mean() < 0.05
    y, x, height, width = draws["whole_boxes"][0, 0].tolist()
    assert f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"' in page
    assert page.count("<rect") == 2 * (1 + 4 + 1 + 3)  # each in black and white


def test_the_first_stage_is_drawn_without_parts() -> None:
    one, given = objective(2, warmup_share=1.0), batch(2, 1)
    picture = one.picture(given, drawn(one, given))
    assert "there are no wholes and parts yet" in picture.html
    assert "<table" not in picture.html
    assert "global 2" in picture.html


def test_parts_are_laid_out_where_they_are() -> None:
    assert places((2, 3)) == [[[0, 1, 2], [3, 4, 5]]]
    order = np.arange(12).reshape(2, 2, 3)  # last axis fastest
    for layer, found in zip((2, 1, 0), places((2, 2, 3)), strict=True):
        np.testing.assert_array_equal(found, order[:, :, layer].T[::-1])


def test_three_channels_are_drawn_in_colour() -> None:
    torch.manual_seed(0)
    encoder = ConvNextEncoder(ConvNextConfig(depths=(1,), widths=(8,), kernel=3, input_channels=3))
    one = AdamV2(replace(objective(2).config), encoder).eval()
    given = Batch(inputs={"image": torch.rand(1, 3, EDGE, EDGE)}, size=1, sample_id=("colour",))
    page = one.picture(given, drawn(one, given)).html
    data = re.findall(r'href="data:image/jpeg;base64,([^"]*)"', page)
    assert Image.open(io.BytesIO(base64.b64decode(data[0]))).mode == "RGB"
