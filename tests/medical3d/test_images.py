"""Reading and preparing 2-D images: depths, colours, palettes, DICOM, labels, and every kind of bad input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from repcore.errors import CheckpointError, ConfigError, DataError, ItemError, PluginError
from repcore.interfaces import Sample
from repcore_medical3d.configs.images import ImageConfig, ImageFilesConfig, RadiographsConfig
from repcore_medical3d.datasets.image_sniffing import folder as sniff_folder
from repcore_medical3d.datasets.image_sniffing import list_file as sniff_list
from repcore_medical3d.datasets.images import CHESTXRAY14, ImageFolderReader, ImageListReader
from repcore_medical3d.datasets.radiographs import FINDINGS, LANDMARKS, Radiographs
from repcore_medical3d.formats.images import Radiograph, read_image
from repcore_medical3d.preprocessors.images import STATISTICS_FILE, ImagePreprocessor, grey_levels, thumbnails
from repcore_medical3d.rendering.images import render


def ramp(height: int = 48, width: int = 40) -> np.ndarray:
    return (np.arange(height * width).reshape(height, width) * 255 // (height * width)).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def folder_of(tmp_path: Path, names: list[str], table: str = "") -> Path:
    for number, name in enumerate(names):
        save(tmp_path / "data" / "images" / name, np.roll(ramp(), number))
    if table:
        (tmp_path / "data" / "labels.csv").write_text(table)
    return tmp_path / "data"


def reader(path: Path, **changes: Any) -> ImageFolderReader:
    return ImageFolderReader(ImageFilesConfig(path=str(path), **changes))


def sample(pixels: np.ndarray, **more: Any) -> Sample:
    return Sample("one", Radiograph(pixels, **more))


# ----------------------------------------------------------------------------------------- decoding


def test_depth_is_kept_and_colour_only_where_there_is_some(tmp_path: Path) -> None:
    grey = ramp()
    assert np.array_equal(read_image(save(tmp_path / "grey.png", grey)), grey)
    deep = grey.astype(np.uint16) * 200
    assert np.array_equal(read_image(save(tmp_path / "deep.png", deep)), deep)
    same = np.repeat(grey[..., None], 3, 2)
    assert np.array_equal(read_image(save(tmp_path / "same.png", same)), grey)
    colour = np.stack([grey, grey[::-1], grey], 2)
    assert np.array_equal(read_image(save(tmp_path / "colour.png", colour)), colour)
    assert read_image(save(tmp_path / "bits.png", grey, "1")).dtype == np.uint8
    alpha = np.concatenate([colour, np.full((*grey.shape, 1), 128, np.uint8)], 2)
    assert np.array_equal(read_image(save(tmp_path / "alpha.png", alpha)), colour)
    with_alpha = np.stack([grey, np.full_like(grey, 9)], 2)
    Image.fromarray(with_alpha, "LA").save(tmp_path / "la.png")
    assert np.array_equal(read_image(tmp_path / "la.png"), grey)


def test_palettes_become_what_they_show(tmp_path: Path) -> None:
    """The numbers of a palette image are no grey levels."""
    numbers = (np.arange(48 * 40).reshape(48, 40) % 4).astype(np.uint8)
    image = Image.fromarray(numbers, "P")
    colours = [(200, 10, 10), (0, 0, 0), (90, 90, 90), (255, 255, 255)]
    image.putpalette([value for colour in colours for value in colour])
    image.save(tmp_path / "palette.png")
    assert np.array_equal(read_image(tmp_path / "palette.png"), np.asarray(colours, np.uint8)[numbers])


def test_jpeg_and_tiff_are_read(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.jpg", ramp())).shape == (48, 40)
    values = ramp().astype(np.float32) / 7
    assert np.allclose(read_image(save(tmp_path / "a.tiff", values)), values)


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", "empty"), (b"not an image at all", "not_an_image"), (None, "missing_file"), (b"cut", "corrupt")],
)
def test_files_that_cannot_be_read_say_why(tmp_path: Path, content: bytes | None, status: str) -> None:
    path = tmp_path / "x.png"
    if content == b"cut":
        whole = save(path, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ItemError) as caught:
        read_image(path)
    assert caught.value.status == status


def test_dicom_without_pydicom_names_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(b"x" * 200)
    with pytest.raises(PluginError, match=r"repcore-medical3d\[dicom\]"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_radiographs_are_bright_where_dense(tmp_path: Path, kind: str) -> None:
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.dataset.FileDataset(str(tmp_path / "a.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
    values = ramp().astype(np.uint16) * 10
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 1, 16, 16, 15, 0
    data.PhotometricInterpretation, data.RescaleSlope, data.RescaleIntercept = kind, 2, -100
    data.PixelData = values.tobytes()
    data.save_as(tmp_path / "a.dcm")
    wanted = values * 2.0 - 100
    wanted = wanted.max() + wanted.min() - wanted if kind == "MONOCHROME1" else wanted
    assert np.allclose(read_image(tmp_path / "a.dcm"), wanted)


# ---------------------------------------------------------------------------------------- preparing


def test_items_are_square_grey_and_between_0_and_1() -> None:
    prepared = ImagePreprocessor(ImageConfig(edge=32, window="full"))
    (item,) = prepared.prepare(sample(ramp()))
    assert item.values.shape == (1, 32, 32)
    assert item.values.dtype == torch.float32
    assert 0 <= float(item.values.min()) < 0.05 < 0.9 < float(item.values.max()) <= 1
    colour = np.stack([ramp(), ramp(), np.zeros_like(ramp())], 2)
    (grey,) = prepared.prepare(sample(colour))
    assert float(grey.values.mean()) == pytest.approx(float(item.values.mean()) * (0.299 + 0.587), abs=2e-3)
    three = ImagePreprocessor(ImageConfig(edge=32, input_channels=3))
    assert three.prepare(sample(colour))[0].values.shape == (3, 32, 32)
    assert torch.equal(*three.prepare(sample(ramp()))[0].values[:2])


def test_deep_images_are_windowed_by_their_own_values() -> None:
    """12 bits in a 16-bit file would be nearly black in the full range."""
    deep = ramp().astype(np.uint16) * 16
    assert float(ImagePreprocessor(ImageConfig(edge=32)).prepare(sample(deep))[0].values.max()) > 0.95
    assert float(ImagePreprocessor(ImageConfig(edge=32, window="full")).prepare(sample(deep))[0].values.max()) < 0.1


@pytest.mark.parametrize("aspect", ["squash", "pad", "crop"])
def test_placement_says_where_a_pixel_went(aspect: Any) -> None:
    """A bright dot of a non-square image is found again at the place that the item's meta tells."""
    pixels = np.zeros((60, 120), np.uint8)
    pixels[30:34, 70:74] = 255
    (item,) = ImagePreprocessor(ImageConfig(edge=64, aspect=aspect)).prepare(sample(pixels))
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    weight = item.values[0].clamp_min(0)
    found = [float((axis * weight).sum() / weight.sum()) for axis in (rows, columns)]
    wanted = [
        (place + 0.5 - first) * scale - 0.5
        for place, first, scale in zip((31.5, 71.5), item.meta["first"], item.meta["scale"], strict=True)
    ]
    assert found == pytest.approx(wanted, abs=0.3)


@pytest.mark.parametrize("aspect", ["squash", "pad", "crop"])
def test_masks_lie_on_their_images(aspect: Any) -> None:
    pixels = np.zeros((60, 90), np.uint8)
    pixels[10:40, 30:70] = 255
    made = ImagePreprocessor(ImageConfig(edge=48, aspect=aspect))
    labels = (pixels > 0).astype(np.uint8) * 2
    one = dataclasses.replace(sample(pixels), targets={"mask": labels, "finding": 1})
    (item,) = made.prepare(one)
    mask = item.targets["mask"]
    assert set(np.unique(mask[np.isfinite(mask)])) == {0, 2}
    assert np.isnan(mask).any() == (aspect == "pad")  # beyond the image nothing is known
    assert ((item.values[0].numpy() > 0.5) == (mask == 2)).mean() > 0.98
    assert set(item.targets) == {"mask"}
    assert not made.prepare(sample(pixels))[0].targets
    with pytest.raises(ItemError, match="labels 'mask' have shape"):
        made.prepare(dataclasses.replace(one, targets={"mask": labels[:9]}))
    shares = np.nan_to_num(np.stack([mask == 0, mask == 2], -1).astype(np.float32)).reshape(-1, 2)
    found = made.restore(one, [item], [shares], "voxel")
    assert found.shape == (60, 90, 2)
    shown = np.isfinite(found[..., 0])
    assert shown.mean() == (60 / 90 if aspect == "crop" else 1.0)  # what is cut off has no answer
    assert ((found[..., 1] > 0.5) == (labels == 2))[shown].mean() > 0.97
    with pytest.raises(ItemError, match="an image has pixels"):
        made.restore(one, [item], [shares], "point")


@pytest.mark.parametrize("shape", [(60, 90), (250, 60), (60, 60)])
def test_squares_that_cover_an_image_answer_for_every_pixel(shape: tuple[int, int]) -> None:
    """Each square answers with the place of its pixels in the image: joined, every pixel gets its own place."""
    cut = ImagePreprocessor(ImageConfig(edge=60, aspect="crop"))
    one = sample(ramp(*shape))
    made = cut.covering()
    items = made.prepare(one)
    assert len(items) == {90: 2, 250: 5, 60: 1}[max(shape)]
    assert len(cut.prepare(one)) == 1
    outputs = []
    for item in items:
        lines = [np.arange(60) / item.meta["scale"][axis] + item.meta["first"][axis] for axis in range(2)]
        outputs.append(np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2).astype(np.float32))
    found = made.restore(one, items, outputs, "voxel")
    np.testing.assert_allclose(found, np.moveaxis(np.indices(shape), 0, -1), atol=1e-3)
    assert ImagePreprocessor(ImageConfig(edge=60)).covering().covers is False


def test_outputs_of_the_grid_lie_where_their_pixels_are() -> None:
    """Every place of the grid answers with its own place: each pixel gets its place in the grid back."""
    made = ImagePreprocessor(ImageConfig(edge=32, aspect="pad"))
    one = sample(ramp(50, 90))
    (item,) = made.prepare(one)
    places = np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    found = made.restore(one, [item], [places], "voxel")
    for axis, size in enumerate((50, 90)):
        wanted = (np.arange(size) + 0.5 - item.meta["first"][axis]) * item.meta["scale"][axis] - 0.5
        np.testing.assert_allclose(np.moveaxis(found[..., axis], axis, 0)[:, 7], wanted.clip(0, 31), atol=1e-4)
    with pytest.raises(PluginError, match="7 outputs for a grid of 32 x 32"):
        made.restore(one, [item], [places[:7]], "voxel")


@pytest.mark.parametrize(
    ("pixels", "status"),
    [
        (np.zeros((48, 48), np.uint8), "constant"),
        (np.full((48, 48, 3), 7, np.uint8), "constant"),
        (ramp(8, 100), "too_small"),
        (np.full((48, 48), np.nan, np.float32), "not_finite"),
    ],
)
def test_images_that_show_nothing_are_reported_rows(pixels: np.ndarray, status: str) -> None:
    with pytest.raises(ItemError) as caught:
        ImagePreprocessor(ImageConfig(edge=32)).prepare(sample(pixels))
    assert caught.value.status == status


def test_statistics_are_fitted_saved_and_loaded(tmp_path: Path) -> None:
    data = Radiographs(RadiographsConfig(images=6, edge=48))
    made = ImagePreprocessor(ImageConfig(edge=40))
    with pytest.raises(ConfigError, match="not known"):
        made.facts()
    made.fit(data, range(4))
    values = torch.cat([made.prepare(data[row])[0].values.flatten() for row in range(4)])
    assert made.facts()["mean"][0] == pytest.approx(float(values.mean()), abs=1e-4)
    assert made.facts()["deviation"][0] == pytest.approx(float(values.std()), abs=1e-3)
    made.save(tmp_path)
    assert ImagePreprocessor.load(made.config, tmp_path).facts() == made.facts()
    (tmp_path / STATISTICS_FILE).unlink()
    with pytest.raises(CheckpointError, match="there is no "):
        ImagePreprocessor.load(made.config, tmp_path)
    assert ImagePreprocessor(ImageConfig(input_channels=3, normalisation="imagenet")).facts()["mean"][0] == 0.485


@pytest.mark.parametrize("change", [{"input_channels": 2}, {"edge": 4}, {"percentiles": (60.0, 40.0)}])
def test_settings_outside_their_range_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        ImagePreprocessor(ImageConfig(**change))


def test_baselines_have_one_row_an_image() -> None:
    data = [Radiographs(RadiographsConfig(images=3, edge=48))[row] for row in range(3)]
    made = ImagePreprocessor(ImageConfig(edge=40))
    assert thumbnails(made, data).shape == (3, 256)
    assert grey_levels(made, data).sum(1) == pytest.approx(np.ones(3))


# ------------------------------------------------------------------------------------------ readers


def test_the_table_gives_labels_groups_and_splits(tmp_path: Path) -> None:
    table = "file,split,patient_id,finding,age,a,b,c,site\n" + "".join(
        f"{name}.png,{split},p{n},{'yx'[n % 2]},{20.5 + n},{n % 2},{n // 2 % 2},{n // 3},k\n"
        for n, (name, split) in enumerate(zip("stuv", ["train"] * 3 + ["test"], strict=True))
    )
    data = reader(folder_of(tmp_path, ["s.png", "t.png", "u.png", "v.png"], table))
    kinds = {target.name: target.kind for target in data.targets}
    assert kinds == {
        "finding": "class",
        "age": "regression",
        "a": "class",
        "b": "class",
        "c": "class",
        "findings": "multilabel",
    }
    assert data.splits == {"train": [0, 1, 2], "test": [3]}
    assert data.groups == ["p0", "p1", "p2", "p3"]
    one = data.by_id("images/t.png")
    assert one.targets == {"finding": 0, "age": 21.5, "a": 1, "b": 0, "c": 0, "findings": [1.0, 0.0, 0.0]}
    assert one.meta == {"height": 48, "width": 40}
    only = reader(tmp_path / "data", labels=("age",))
    assert list(only[1].targets) == ["age"]
    with pytest.raises(DataError, match="no label 'aeg'"):
        reader(tmp_path / "data", labels=("aeg",))


def test_a_table_of_other_files_is_an_error(tmp_path: Path) -> None:
    path = folder_of(tmp_path, ["a.png", "b.png"], "file,finding\nx.png,1\ny.png,0\n")
    with pytest.raises(DataError, match="names 2 files, none of which") as caught:
        reader(path)
    assert "first_in_table" in caught.value.facts


def test_rows_without_a_file_and_files_without_a_row_are_told(tmp_path: Path) -> None:
    path = folder_of(tmp_path, ["a.png", "b.png"], "file,finding\na.png,1\nlost.png,0\n,1\n")
    data = reader(path)
    assert [data.id_of(row) for row in range(len(data))] == ["images/a.png", "images/b.png", "lost.png", "row-2"]
    assert "finding" not in data[1].targets
    assert data.notes == ("1 of 2 images are not in labels.csv",)
    with pytest.raises(ItemError, match="lost"):
        data[2]


def test_a_table_without_file_names_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column of file names"):
        reader(folder_of(tmp_path, ["a.png"], "age,finding\n3,1\n"))


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for name in ("sick/a.png", "well/b.png", "well/c.png"):
        save(tmp_path / "data" / name, ramp())
    data = reader(tmp_path / "data")
    assert data.targets[0].names == ("sick", "well")
    assert [data[row].targets["folder"] for row in range(3)] == [0, 1, 1]


def test_label_images_are_found_beside_the_images(tmp_path: Path) -> None:
    path = folder_of(tmp_path, ["a.png", "b.png"])
    save(path / "masks" / "a.png", (ramp() > 99).astype(np.uint8))
    save(path / "masks" / "b.png", np.zeros((5, 5), np.uint8))
    data = reader(path)
    assert len(data) == 2
    assert data.targets[-1].level == "voxel"
    assert data[0].inputs.mask.max() == 1
    with pytest.raises(ItemError, match="label image has shape"):
        data[1]


@pytest.mark.parametrize("path", ["", "/nowhere/at/all"])
def test_a_path_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(DataError):
        reader(Path(path)) if path else ImageFolderReader(ImageFilesConfig())


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        reader(tmp_path)


def test_published_lists_are_read(tmp_path: Path) -> None:
    folder_of(tmp_path, ["00000001_000.png", "00000002_003.png"])
    lines = ["00000001_000.png " + " ".join(["1 0"] * 7), "00000002_003.png " + " ".join("0" * 14)]
    path = tmp_path / "data" / "train.txt"
    path.write_text("\n".join([*lines, "00000009_000.png " + " ".join("0" * 14), "broken 1 x"]))
    assert sniff_list(path) > sniff_folder(path)
    data = ImageListReader(ImageFilesConfig(path=str(path)))
    assert data.targets[0].names == CHESTXRAY14
    assert data[0].targets["findings"] == [1.0, 0.0] * 7
    assert data[0].group == "00000001"
    for row, status in ((2, "missing_file"), (3, "malformed_row")):
        with pytest.raises(ItemError) as caught:
            data[row]
        assert caught.value.status == status


def test_real_films_are_read(shared: Path) -> None:
    data = reader(shared / "data" / "medical2d" / "nih_cxr_small")
    assert len(data) == 240
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 160, "test": 80}
    names = {target.name for target in data.targets}
    assert {"pneumonia", "Cardiomegaly", "findings"} <= names
    assert not {"orig_w", "patient_id", "nih_official_split"} & names
    assert data[0].inputs.pixels.shape == (224, 224)


# ---------------------------------------------------------------------------------------- generated


def test_generated_radiographs_are_a_function_of_seed_and_index() -> None:
    data = Radiographs(RadiographsConfig(images=8, edge=64))
    again = Radiographs(RadiographsConfig(images=8, edge=64))
    other = Radiographs(RadiographsConfig(images=8, edge=64, seed=1))
    assert all(np.array_equal(data[row].inputs.pixels, again[row].inputs.pixels) for row in range(8))
    assert (data[0].inputs.pixels != other[0].inputs.pixels).any()
    assert data.by_id("person-000003").id == data[3].id
    with pytest.raises(DataError):
        data.by_id("person-000099")
    with pytest.raises(IndexError):
        data[8]


def test_generated_structures_are_where_their_labels_say() -> None:
    data = Radiographs(RadiographsConfig(images=40, edge=96, noise=0.0))
    findings = [data[row].targets["finding"] for row in range(40)]
    assert set(findings) == set(range(len(FINDINGS)))
    for row in range(10):
        shown: Radiograph = data[row].inputs
        assert shown.mask is not None
        assert shown.landmarks is not None
        assert shown.landmarks.shape == (len(LANDMARKS), 2)
        heart, lungs = shown.pixels[shown.mask == 3], shown.pixels[(shown.mask == 1) | (shown.mask == 2)]
        assert heart.mean() > lungs.mean() + 10  # denser is brighter
        assert np.argwhere(shown.mask == 1)[:, 1].mean() < np.argwhere(shown.mask == 2)[:, 1].mean()


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_pictures_are_drawn_for_every_depth(depth: Any) -> None:
    pixels = (ramp(600, 500).astype(np.float32) * 7).astype(depth)
    picture = render(
        sample(pixels, mask=(ramp(600, 500) > 99).astype(np.uint8), landmarks=np.array([[5.0, np.nan], [9.0, 9.0]]))
    )
    assert picture.html.count("data:image/png;base64,") == 1
    assert "600 x 500 pixels" in picture.alt
