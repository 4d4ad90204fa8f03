"""The user's way with Adam-v2: train, embed films of every kind, probe, properties, few labelled images, import."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import repcore
from repcore.cli.main import run
from repcore_medical3d.configs.images import RadiographsConfig
from repcore_medical3d.datasets.radiographs import Radiographs
from tests.medical3d.slow_adam_v2 import write_golden_folder

SMALL = (
    "encoder.depths=[1,1]", "encoder.widths=[8,16]", "encoder.input_size=32", "preprocessor.edge=64",
    "data.batch_size=6", "data.validation_share=0.25", "trainer.validate_every=100",
    "objective.views.global_size=32", "objective.views.local_size=16", "objective.views.local_views=2",
    "objective.prototypes=32", "objective.hidden_width=16", "objective.bottleneck_width=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated films as files, with labels, masks, and a few that cannot be used."""
    folder = tmp_path_factory.mktemp("films")
    data = Radiographs(RadiographsConfig(images=24, edge=64))
    lines = ["file,finding"]
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for row in range(len(data)):
        one = data[row]
        Image.fromarray(one.inputs.pixels).save(folder / "images" / f"{one.id}.png")
        Image.fromarray(one.inputs.mask).save(folder / "masks" / f"{one.id}.png")
        lines.append(f"{one.id}.png,{one.targets['finding']}")
    for name, pixels in (("black", np.zeros((64, 64), np.uint8)), ("tiny", np.full((9, 9), 3, np.uint8))):
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    (folder / "images" / "broken.png").write_bytes(b"no image")
    (folder / "labels.csv").write_text("\n".join([*lines, "lost.png,1"]))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, films: Path) -> Path:
    out = tmp_path_factory.mktemp("runs")
    words = ["--data", str(films), "--out", str(out), "--name", "small", "trainer.steps=6", *SMALL]
    assert run(["medical3d", "train", "adam-v2", *words]) == 0
    return out / "small"


def test_a_run_leaves_a_model_and_says_what_it_could_not_use(trained: Path) -> None:
    model = repcore.load(trained)
    assert model.folder.encoder_name == "medical3d/convnext"
    assert model.encoder.config.mean is not None
    rejected = [json.loads(line) for line in (trained / "rejected.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rejected} <= {"constant", "too_small", "not_an_image", "missing_file"}
    card = (trained / "model" / "README.md").read_text()
    assert "patent" in card


def test_every_row_has_its_vector_or_its_reason(trained: Path, films: Path) -> None:
    rows = repcore.load(trained).embed(str(films))
    found = dict(zip(rows.ids, rows.status, strict=True))
    assert len(rows.ids) == 28
    assert sum(status == "ok" for status in rows.status) == 24
    assert {name: found[name] for name in found if found[name] != "ok"} == {
        "images/black.png": "constant", "images/broken.png": "not_an_image", "images/tiny.png": "too_small",
        "lost.png": "missing_file",
    }  # fmt: skip
    assert np.isnan(rows.vectors[[status != "ok" for status in rows.status]]).all()
    assert np.isfinite(rows.vectors[[status == "ok" for status in rows.status]]).all()


def test_probing_shows_the_twin_and_the_pixels_beside_the_model(
    trained: Path, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", str(trained), "--data", str(films), "--label", "finding", "--seeds", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("trained", "random-init", "thumbnail", "grey-levels"))


def test_properties_are_written_with_their_constants(trained: Path, films: Path, tmp_path: Path) -> None:
    name = "medical3d/anatomy-properties@1"
    words = ["--protocol", name, "--seeds", "2", "-o", str(tmp_path / "found.json")]
    assert run(["probe", str(trained), "--data", str(films), *words]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["table"]
    assert (found["rows_used"], found["rows_left_out"]) == (24, 4)
    assert found["constants"][name]["protocol"] == "anatomy-properties@1"
    entries = {(one["features"], one["metric"]): one for one in found["entries"]}
    assert entries["trained", "localizability: chance"]["mean"] == pytest.approx(1 / 9)
    assert len(entries["random-init", "part-whole: centred cosine"]["values"]) == 2
    assert {one["metric"] for one in found["comparisons"]} == {
        one["metric"] for one in found["entries"] if one["primary"]
    }
    assert Image.open(tmp_path / "anatomy-properties@1-co-segmentation.png").height == 64


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocol", "medical3d/anatomy-property@1"], "anatomy-properties@1"),
        (["--protocol", "medical3d/anatomy-properties@1", "--label", "finding"], "needs no labels"),
        (["--protocol", "medical3d/anatomy-properties@1", "--protocol", "knn@1"], "others probe its features"),
        (["--protocol", "medical3d/anatomy-properties@1", "--split", "declared"], "declares no test part"),
    ],
)
def test_questions_to_a_model_that_cannot_be_asked_are_named(
    words: list[str], said: str, trained: Path, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", str(trained), "--data", str(films), *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_few_labelled_films_are_probed_and_segmented(trained: Path, films: Path, tmp_path: Path) -> None:
    given = ["--data", str(films), "--label", "mask"]
    words = ["--level", "voxel", "--labels", "2,4", "--seeds", "1", "-o", str(tmp_path / "dice")]
    assert run(["probe", str(trained), *given, *words]) == 0
    found = json.loads((tmp_path / "dice" / "mask-random-4-labels.json").read_text())["table"]
    sets = {one["features"] for one in found["entries"]}
    assert sets >= {"trained", "random-init", "intensities", "place", "intensities-and-place"}
    assert (tmp_path / "dice" / "mask-random-2-labels.json").is_file()
    words = ["--task", "segmentation", "--labels", "4", "--out", str(tmp_path), "--name", "few", "--no-twin"]
    words += ["task.loss_kind=dice", "trainer.epochs=1"]
    assert run(["medical3d", "finetune", str(trained), *given, *words]) == 0
    record = json.loads((tmp_path / "few" / "finetune.json").read_text())
    assert record["parts"][0]["rows"]["train"] == 4
    assert set(record["parts"][0]["test"]) >= {"dice", "miou"}
    pictures = [json.loads(line) for line in (tmp_path / "few" / "pictures.jsonl").read_text().splitlines()]
    assert len(pictures) == record["parts"][0]["rows"]["test"]
    assert all("from the left: the image, labelled, predicted" in one["alt"] for one in pictures)
    assert run(["report", str(tmp_path / "few")]) == 0
    assert "Test items with their labels and with what was predicted" in (tmp_path / "few" / "report.html").read_text()
    assert run(["predict", str(tmp_path / "few"), str(films / "images"), "-o", str(tmp_path / "masks")]) == 0
    name = next(path.stem for path in sorted((films / "masks").iterdir()))
    drawn = np.asarray(Image.open(tmp_path / "masks" / f"{name}.png"))
    assert drawn.shape == np.asarray(Image.open(films / "masks" / f"{name}.png")).shape
    assert set(np.unique(drawn)) <= set(range(5))


def test_fine_tuning_with_the_published_augmentation(trained: Path, films: Path, tmp_path: Path) -> None:
    words = ["--task", "radiograph-class", "--data", str(films), "--label", "finding", "--out", str(tmp_path)]
    assert run(["medical3d", "finetune", str(trained), *words, "trainer.steps=2", "data.batch_size=6"]) == 0


def test_a_run_in_three_dimensions(tmp_path: Path) -> None:
    small = (
        "encoder.widths=[4,8]", "encoder.depths=[1,1]", "encoder.input_size=16", "dataset.volumes=6", "dataset.edge=24",
        "preprocessor.crop_edge=24",
        "objective.views.global_size=16", "objective.views.local_size=8", "objective.views.part_size=8",
        "objective.views.local_views=1", "objective.views.smallest_part=4", "objective.prototypes=16",
        "objective.hidden_width=16", "objective.bottleneck_width=8", "data.batch_size=2", "trainer.steps=2",
    )  # fmt: skip
    words = ["--preset", "tiny-3d", "--out", str(tmp_path), "--name", "volumes", *small]
    assert run(["medical3d", "train", "adam-v2", *words]) == 0
    rows = repcore.load(tmp_path / "volumes").embed("phantoms")
    assert rows.vectors.shape[1] == 8


def test_the_first_version_trains(films: Path, tmp_path: Path) -> None:
    shared = [word for word in SMALL if not word.startswith("objective.")]
    words = ["--data", str(films), "--out", str(tmp_path), "--name", "v1", *shared]
    assert (
        run(["medical3d", "train", "adam-v1", *words, "objective.size=32", "objective.queue=20", "trainer.steps=3"])
        == 0
    )
    assert (tmp_path / "v1" / "model" / "weights.safetensors").is_file()


def test_parts_that_do_not_split_are_refused_before_a_run(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(films), "--out", str(tmp_path), *SMALL, "objective.views.branching=[8,1]"]
    assert run(["medical3d", "train", "adam-v2", *words]) == 2
    assert "branching=(8, 1)" in capsys.readouterr().err


def test_published_weights_become_a_model(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = write_golden_folder(tmp_path / "golden")
    assert run(["import", str(golden / "weights.safetensors"), "-o", str(tmp_path / "model")]) == 0
    assert "non-commercial" in capsys.readouterr().out
    rows = repcore.load(tmp_path / "model").embed(str(films))
    assert sum(status == "ok" for status in rows.status) == 24


def test_golden_numbers_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = write_golden_folder(tmp_path / "golden")
    assert run(["verify", "medical3d/adam-v2", "--golden", str(golden)]) == 0
    assert "16 of 16" in capsys.readouterr().out


@pytest.mark.learns
def test_part_and_whole_are_learned_from_real_films(shared: Path, tmp_path: Path) -> None:
    """Seed 0 of the tiny preset, a third of its length: composability falls by half, and held-out wholes are nearer to
    their parts than with random weights (full length, three seeds: benchmarks/adam_v2_learning.py)."""
    from repcore_medical3d.configs.properties import PropertiesConfig
    from repcore_medical3d.encoders.patches import stacked_images
    from repcore_medical3d.probes.properties import part_whole

    films = shared / "data" / "medical2d" / "nih_cxr_small"
    words = ["--data", str(films), "--out", str(tmp_path), "--name", "learns", "trainer.steps=60", "trainer.threads=1"]
    assert run(["medical3d", "train", "adam-v2", *words, "trainer.validate_every=60", "data.validation_limit=40"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "learns" / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = [line for line in lines if line.get("split") == "validation"]
    assert last["composability"] < 0.6 * first["composability"]
    assert last["localizability"] < 0.95 * np.log(512)
    model = repcore.load(tmp_path / "learns")
    reader = model.reader(str(films))
    rows = reader.splits["test"][:40]
    images = stacked_images([model.preprocessor.prepare(reader[row])[0].values for row in rows])
    config = PropertiesConfig()
    trained = part_whole(model.encoder, images, config, 0)  # type: ignore[arg-type]
    twin = part_whole(model.random_twin(0), images, config, 0)  # type: ignore[arg-type]
    assert trained["centred cosine"] > twin["centred cosine"] + 0.05
    assert abs(trained["mismatched centred cosine"]) < 0.08
