"""Medical images in every format, with ids, tables, caches and bounds of memory as people meet them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from repcore.cli.main import run
from repcore.data.accounting import account_of
from repcore.errors import DataError, ItemError, PluginError
from repcore.interfaces import Sample
from repcore_medical3d.configs.volumes import VolumeConfig, VolumeFilesConfig
from repcore_medical3d.datasets.volume_labels import LabelIds
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader
from repcore_medical3d.datasets.volume_lists import DecathlonReader
from repcore_medical3d.formats.nifti import ReadingRules, read_nifti
from repcore_medical3d.formats.volume_files import read_volume
from repcore_medical3d.formats.volumes import Grid, Volume
from repcore_medical3d.preprocessors.volume_slabs import classes_on, joined_slabs
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor, sliding_starts
from tests.field.medical3d_inputs import (
    AFFINE,
    SEED,
    SHAPE,
    channel_cases,
    ids_of,
    save,
    volumes,
    world_label,
    world_values,
)
from tests.medical3d.benchmark_parts import alice_dense, alice_segmentation

# ---------------------------------------------------------------------------------------------- formats


def test_every_format_gives_the_same_world(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK", reason="MetaImage and NRRD need the extra 'itk'")
    values = world_values(AFFINE, SHAPE)
    image = itk.GetImageFromArray(values.transpose(2, 1, 0))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    image.SetSpacing([1.5, 2.0, 2.5])
    image.SetDirection((lps[:3, :3] / [1.5, 2.0, 2.5]).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for suffix in ("mha", "mhd", "nrrd", "nhdr", "nii", "hdr"):
        itk.WriteImage(image, str(tmp_path / f"{suffix}.{suffix}"))
    nibabel.save(nibabel.Nifti1Pair(values, AFFINE), tmp_path / "pair.hdr")
    reader = volumes(tmp_path)
    assert ids_of(reader) == ["hdr", "mha", "mhd", "nhdr", "nii", "nrrd", "pair"]
    for row in range(len(reader)):
        volume = reader[row].inputs
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
        np.testing.assert_array_equal(volume.read(), values)
    assert account_of(reader).counts == {"used": 11, "ignored": 0, "unreadable": 0}
    vector = itk.JoinSeries([image, image + 1])
    itk.WriteImage(vector, str(tmp_path / "four.nrrd"))
    channels = read_volume(tmp_path / "four.nrrd").channels
    np.testing.assert_array_equal(channels[1].read(), values + 1)
    np.testing.assert_allclose(channels[1].affine, AFFINE, atol=1e-5)


def test_a_missing_package_names_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    (tmp_path / "a.mha").write_bytes(b"x" * 100)
    with pytest.raises(PluginError, match=r"repcore-medical3d\[itk\]"):
        read_volume(tmp_path / "a.mha")


def test_analyze_is_read_with_a_word_on_its_orientation(tmp_path: Path) -> None:
    values = world_values(AFFINE, SHAPE)
    image = nibabel.AnalyzeImage(values, None)
    image.header.set_zooms((1.5, 2.0, 2.5))
    nibabel.save(image, tmp_path / "a.img")
    sample = volumes(tmp_path)[0]
    np.testing.assert_array_equal(sample.inputs.read(), values)
    np.testing.assert_allclose(sample.inputs.spacing_mm, (1.5, 2.0, 2.5))
    assert "no orientation" in sample.meta["remark"]


def bomb_of_nifti(path: Path) -> None:
    """A small file whose header promises terabytes."""
    save(path)
    raw = bytearray(__import__("gzip").decompress(path.read_bytes()))
    raw[40:56] = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(__import__("gzip").compress(bytes(raw)))


def test_headers_are_judged_before_anything_is_allocated(tmp_path: Path) -> None:
    bomb_of_nifti(tmp_path / "a.nii.gz")
    with pytest.raises(ItemError, match="its header promises") as caught:
        read_nifti(tmp_path / "a.nii.gz")
    assert caught.value.status == "corrupt"
    zeros = save(tmp_path / "b.nii.gz", np.zeros((256, 256, 128), np.float32))  # packs a thousand to one
    with pytest.raises(ItemError, match="promises 32 MiB") as caught:
        read_nifti(zeros, rules=ReadingRules(largest_mib=16))
    assert caught.value.status == "too_large"
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 20000 20000 20000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "c.mha").write_bytes(header.encode() + b"\0" * 64)
    pytest.importorskip("SimpleITK", reason="MetaImage needs the extra 'itk'")
    with pytest.raises(ItemError) as caught:
        read_volume(tmp_path / "c.mha")
    assert caught.value.status == "too_large"


# --------------------------------------------------------------------------------------- ids of labels


def test_sparse_ids_become_numbers_and_come_back() -> None:
    stored = np.array([[0, 205, 420], [-1, 205, 7]])
    ids = LabelIds.found_in([Volume(np.array([[[0, 205], [420, -1]]]), np.eye(4))])
    assert ids.ids == (0, 205, 420)
    np.testing.assert_array_equal(ids.numbers(stored), [[0, 1, 2], [-1, 1, -1]])
    np.testing.assert_array_equal(ids.stored([0, 1, 2]), [0, 205, 420])


def test_training_sees_as_many_classes_as_there_are_ids() -> None:
    """The published report: ids up to 2035 gave 2,036 outputs, -1 a crash."""
    labels = np.zeros((20, 20, 20), np.int16)
    labels[2:9], labels[11:18], labels[:, :, 15:] = 17, 2035, -1
    sample = Sample("a", Volume(labels.astype(np.float32), np.eye(4)), {"segmentation": Volume(labels, np.eye(4))})
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=16, spacing="native", intensity="percentile"))
    (scan,) = alice_segmentation.labelled([sample], preprocessor)
    assert alice_segmentation.number_of_classes([scan]) == 3
    _, answers = alice_segmentation.random_cubes([scan], preprocessor, 6, np.random.default_rng(0))
    assert set(answers.unique().tolist()) <= {-1, 0, 1, 2}
    logits = torch.randn(6, 3, 16, 16, 16, requires_grad=True)
    alice_segmentation.segmentation_loss(logits, answers).backward()
    assert logits.grad is not None
    unlabelled = (answers == -1)[:, None].expand_as(logits)
    assert unlabelled.any()
    assert float(logits.grad[unlabelled].abs().max()) == 0.0


def test_voxels_that_are_not_labelled_count_for_nothing() -> None:
    truth = np.zeros((6, 6, 6), int)
    truth[:3], truth[5] = 420, -1
    found = np.where(truth == -1, 420, truth)
    assert alice_dense.overlap(found, truth, (1, 1, 1))["dice"] == 1.0


def test_probabilities_are_no_ids_unless_a_threshold_is_given(tmp_path: Path) -> None:
    shares = np.linspace(0, 1, SHAPE[0])[:, None, None] * np.ones(SHAPE)
    save(tmp_path / "images" / "a.nii.gz")
    save(tmp_path / "labels" / "a.nii.gz", shares.astype(np.float32))
    kept = volumes(tmp_path)[0]
    assert kept.meta["labels_left_out"].startswith("labels_not_whole: a.nii.gz holds")
    assert "segmentation" not in kept.targets
    label = volumes(tmp_path, soft_labels=0.5)[0].targets["segmentation"]
    np.testing.assert_array_equal(label.read(), shares.astype(np.float32) >= 0.5)


# --------------------------------------------------------------------------------- K3, K8: tables, groups


def test_patients_ages_and_splits_of_a_table(tmp_path: Path) -> None:
    for number in range(8):
        save(tmp_path / "scans" / f"c{number}.nii.gz")
    rows = [f"c{n};{'train' if n < 6 else 'test'};P{n // 2};{40 + 3 * n},5;{'MF'[n % 2]}" for n in range(8)]
    (tmp_path / "split.csv").write_text("\n".join(["id;split;patient;age;sex", *rows]), encoding="utf-8-sig")
    reader = volumes(tmp_path)
    assert {target.name: target.kind for target in reader.targets} == {"age": "regression", "sex": "class"}
    assert reader.groups == [f"P{n // 2}" for n in range(8)]
    assert reader.splits == {"train": [0, 1, 2, 3, 4, 5], "test": [6, 7]}
    assert reader[3].targets == {"age": 49.5, "sex": 0}


def test_bids_participants_label_all_their_sessions(tmp_path: Path) -> None:
    for subject in range(4):
        for session in (1, 2):
            name = f"sub-{subject:02}/ses-{session}/anat/sub-{subject:02}_ses-{session}_T1w.nii.gz"
            save(tmp_path / name)
    table = "participant_id\tdiagnosis\nsub-00\tHC\nsub-01\tAD\nsub-02\tHC\nsub-03\tAD\n"
    (tmp_path / "participants.tsv").write_text(table)
    reader = volumes(tmp_path)
    assert reader.groups == [f"sub-{n // 2:02}" for n in range(8)]
    names = reader.targets[0].names
    assert [names[reader[row].targets["diagnosis"]] for row in range(8)] == ["HC", "HC", "AD", "AD"] * 2


def test_rows_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz")
    save(tmp_path / "b.nii.gz")
    (tmp_path / "split.csv").write_text("id,grade\na,1\nb,2\na,3\n")
    with pytest.raises(DataError, match="says of 'a' in column 'grade' both '1' and '3'"):
        volumes(tmp_path)


def test_a_decathlon_list_with_channels_and_nnunets_list_without(tmp_path: Path) -> None:
    channel_cases(tmp_path, "imagesTr/case_{case}_{name}", ["0000", "0001"])
    for case in range(2):
        save(tmp_path / "labelsTr" / f"case_{case}.nii.gz", world_label(AFFINE, SHAPE))
    rows = [{"image": f"./imagesTr/case_{n}.nii.gz", "label": f"./labelsTr/case_{n}.nii.gz"} for n in range(2)]
    content = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "a", "2": "b"}, "training": rows}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    sample = DecathlonReader(VolumeFilesConfig(path=str(tmp_path)))[1]
    assert sample.meta["channels"] == ["T1", "T2"]
    assert "segmentation" in sample.targets
    plain = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "a": 1, "b": 2},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(plain))
    reader = volumes(tmp_path)
    assert reader.targets[0].names == ("background", "a", "b")
    assert reader[0].meta["channels"] == ["T1", "T2"]


# --------------------------------------------------------------------------------------------- K5: caches


def test_a_second_folder_with_the_same_names_is_another_data_set(tmp_path: Path) -> None:
    for number, folder in enumerate("ab"):
        save(tmp_path / folder / "case_001.nii.gz", np.random.default_rng(number).normal(size=(16, 16, 16)))
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=16, spacing="native", intensity="percentile"))
    items = [preprocessor.prepare(volumes(tmp_path / folder)[0])[0].values for folder in "ab"]
    assert not torch.equal(items[0], items[1])
    path = tmp_path / "a" / "case_001.nii.gz"
    save(path, np.random.default_rng(7).normal(size=(16, 16, 16)))  # the same path, another content
    assert not torch.equal(items[0], preprocessor.prepare(volumes(tmp_path / "a")[0])[0].values)


# -------------------------------------------------------------------------------------------- K11: memory


def test_slabs_equal_the_whole_and_hold_one_layer_of_cubes() -> None:
    generator = torch.Generator().manual_seed(0)
    edge, shape = 6, (31, 14, 11)
    starts = sliding_starts(shape, edge, 0.5)
    weight = torch.rand(edge, edge, edge, generator=generator) + 0.1
    values = torch.rand(len(starts), 2, edge, edge, edge, generator=generator)
    total, weights = torch.zeros(2, *shape), torch.zeros(1, *shape)
    for start, one in zip(starts, values, strict=True):
        box = (slice(None), *(slice(first, first + edge) for first in start))
        total[box] += one * weight
        weights[box] += weight
    slabs = list(joined_slabs(zip(starts, values, strict=True), weight, shape))
    torch.testing.assert_close(torch.cat([slab for _, slab in slabs], dim=1), total / weights)
    assert max(slab.shape[1] for _, slab in slabs) <= edge
    grid = Grid(np.diag([1.0, 1.0, 1.0, 1.0]), shape)
    np.testing.assert_array_equal(classes_on(slabs, grid, grid), (total / weights).argmax(dim=0).numpy())


def test_cubes_of_a_scan_are_parts_of_one_tensor() -> None:
    scan = Sample("a", Volume(SEED.normal(size=(48, 40, 40)).astype(np.float32), np.eye(4)))
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=16, spacing="native", intensity="percentile"))
    items = preprocessor.prepare(scan)
    assert len({item.values.untyped_storage().data_ptr() for item in items}) == 1
    assert sum(item.values.nbytes for item in items) > 3 * items[0].values.untyped_storage().nbytes()
    assert items[0].values.dtype == torch.float32


# --------------------------------------------------------------------------------------- what people read


def test_inspect_says_what_a_radiologist_looks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        save(tmp_path / "images" / f"c{number}.nii.gz", world_values(AFFINE, SHAPE) + np.int16(number))
        save(tmp_path / "labels" / f"c{number}.nii.gz", 205 * world_label(AFFINE, SHAPE).astype(np.int16))
    save(tmp_path / "labels" / "c9.nii.gz", world_label(AFFINE, SHAPE))
    assert run(["inspect", str(tmp_path)]) == 0
    shown = "".join(capsys.readouterr())
    for words in ("12 x 10 x 8", "1.5 x 2 x 2.5", "RAS", "0, 205, 410", "a mask without a scan"):
        assert words in shown
    assert "nothing to warn about" not in shown


def test_values_without_their_header_are_said(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 9, 9), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "b.img").write_bytes(bytes(500))
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))
    assert account_of(reader).fate(tmp_path / "b.img") == ("unreadable", "values without their header b.hdr")


def test_identity_follows_content_and_channel_and_no_time(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, (9, 9, 9, 2)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    first, second = (read_volume(tmp_path / "a.nii.gz").channels[number] for number in (0, 1))
    first.further = ()
    assert first.identity != second.identity
    copy = tmp_path / "other" / "b.nii.gz"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "a.nii.gz").read_bytes())
    os.utime(copy, (1, 1))
    same = read_volume(copy).channels[1]
    assert same.identity == second.identity


def test_sequences_of_a_folder_stay_together_and_scans_of_a_class_do_not(tmp_path: Path) -> None:
    """K8: `adc`, `dwi` and `t2w` in every folder are one patient's; `1` and `2` in every folder may be anybody's."""
    for folder in ("P-07", "P-11"):
        for number, name in enumerate(("adc", "dwi", "t2w")):
            save(tmp_path / "sequences" / folder / f"{name}.nii.gz", world_values(AFFINE, SHAPE) + number, AFFINE)
    reader = volumes(tmp_path / "sequences")
    assert reader.groups == ["P-07"] * 3 + ["P-11"] * 3
    assert "2 folders with the same sequences" in "\n".join(account_of(reader).sentences())
    for folder in ("sick", "well"):
        for name in ("scan1", "scan2"):
            save(tmp_path / "classes" / folder / f"{name}.nii.gz", world_values(AFFINE, SHAPE), AFFINE)
    assert not any(volumes(tmp_path / "classes").groups or ())


def test_many_pictures_with_labels_are_no_volume(tmp_path: Path) -> None:
    pictures = np.zeros((12, 28, 28), np.uint8)
    np.savez(tmp_path / "m.npz", train_images=pictures, train_labels=np.zeros((12, 1), np.uint8))
    with pytest.raises(ItemError, match="12 pictures with labels") as caught:
        read_volume(tmp_path / "m.npz", ReadingRules(spacing_mm=(1.0, 1.0, 1.0)))
    assert caught.value.status == "not_a_volume"
