"""Correspondence: world coordinates through every back-end, fast matching against the plain search, commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from repcore.errors import CheckpointError, ConfigError, DataError
from repcore.interfaces import Progress, Sample
from repcore_medical3d.checkpoints.anatomical_embedding import KEYS, convert_embedding, load_embedding
from repcore_medical3d.commands.alice_match import match_command, train_embedding_command
from repcore_medical3d.configs.alice import AlicePairsConfig
from repcore_medical3d.configs.correspondence import EmbeddingTrainingConfig
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig
from repcore_medical3d.correspondence.anatomical_embedding import AnatomicalEmbedding
from repcore_medical3d.correspondence.backends import Coordinates, Correspondence, Registration, cycle_error_mm
from repcore_medical3d.correspondence.embedding_training import train_embedding
from repcore_medical3d.correspondence.embeddings import (
    EmbeddingCorrespondence,
    EmbeddingStore,
    SelfCorrespondence,
    network_input,
)
from repcore_medical3d.correspondence.matching import best_cells, best_cells_full, one_by_one, point_vectors, similarity
from repcore_medical3d.datasets.phantoms import Phantoms
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.formats.nifti import write_nifti
from repcore_medical3d.formats.volumes import Volume
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor
from repcore_medical3d.views.alice import AlicePairs

SPACING = 16.0
POINTS = np.array([[20.0, 10.0, -40.0], [-60.0, 30.0, 60.0], [0.0, -50.0, 0.0]])


@pytest.fixture(scope="module")
def people() -> Phantoms:
    return Phantoms(PhantomsConfig(volumes=4, edge=32, spacing_mm=SPACING))


@pytest.fixture(scope="module")
def preprocessor(people: Phantoms) -> VolumePreprocessor:
    made = VolumePreprocessor(VolumeConfig(crop_edge=16))
    made.fit(people, np.arange(4))
    return made


def turned(sample: Sample, orientation: str = "LPS") -> Sample:
    """The same scan stored with other axes: flipped, permuted, the same place in the world."""
    volume: Volume = sample.inputs
    image = nibabel.Nifti1Image(volume.read(), volume.affine)
    other = image.as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.io_orientation(volume.affine), nibabel.orientations.axcodes2ornt(tuple(orientation))
        )
    )
    name = f"{sample.id}-{orientation}"
    return Sample(name, Volume(np.asarray(other.dataobj), other.affine))


def moved(sample: Sample, shift_voxels: tuple[int, int, int]) -> Sample:
    """The same values elsewhere in the array; the affine stays, so that the anatomy has moved in the world."""
    volume: Volume = sample.inputs
    return Sample(f"{sample.id}-moved", Volume(np.roll(volume.read(), shift_voxels, (0, 1, 2)), volume.affine))


def backends(preprocessor: VolumePreprocessor) -> dict[str, Correspondence]:
    torch.manual_seed(0)
    network = AnatomicalEmbedding(base=4, width=8).eval()
    encoder = NnFormer(NnFormerConfig(crop_edge=16, width=8, heads=(1, 2, 2, 4), windows=(4, 2, 2, 1))).eval()
    store = EmbeddingStore(network, "random", spacing_mm=SPACING, preprocessor=preprocessor)
    return {
        "coordinates": Coordinates(preprocessor),
        "registration": Registration(preprocessor, steps=15),
        "embedding": EmbeddingCorrespondence(store),
        "self": SelfCorrespondence(encoder, preprocessor, stages=(0, 1), reach_mm=20 * SPACING),
    }


@pytest.mark.parametrize("name", ["coordinates", "registration", "embedding", "self"])
def test_how_a_scan_is_stored_changes_no_match(people: Phantoms, preprocessor: VolumePreprocessor, name: str) -> None:
    backend = backends(preprocessor)[name]
    a, b = people[0], people[1]
    plain = backend.match(a, b, POINTS)
    for orientation in ("LPS", "ASR"):
        other = backend.match(turned(a, orientation), turned(b, orientation), POINTS)
        np.testing.assert_allclose(other.points_mm, plain.points_mm, atol=1e-3)


@pytest.mark.parametrize(("name", "cell_mm"), [("embedding", 2 * SPACING), ("self", 4 * SPACING)])
def test_a_scan_matches_itself_within_one_cell(
    people: Phantoms, preprocessor: VolumePreprocessor, name: str, cell_mm: float
) -> None:
    backend = backends(preprocessor)[name]
    found = backend.match(people[0], people[0], POINTS)
    assert np.abs(found.points_mm - POINTS).max() <= cell_mm
    assert found.score.min() > 0.5


def test_a_moved_copy_is_found_within_one_cell(people: Phantoms, preprocessor: VolumePreprocessor) -> None:
    """Moved by whole cells of the network: the same features elsewhere."""
    torch.manual_seed(0)
    network = AnatomicalEmbedding(base=4, width=8).eval()
    backend = EmbeddingCorrespondence(
        EmbeddingStore(network, "random", spacing_mm=SPACING, preprocessor=preprocessor), is_exhaustive=True
    )
    values = np.pad(people[0].inputs.read(), 8, constant_values=-1000.0)
    a = Sample("wide", Volume(values, people[0].inputs.affine))
    b = moved(a, (0, 0, 4))
    centre = a.inputs.grid.world(np.array([values.shape]) / 2 - 0.5)
    found = backend.match(a, b, centre)
    assert np.abs(found.points_mm - centre - [0, 0, 4 * SPACING]).max() <= 2 * SPACING


def test_registration_finds_a_shift(people: Phantoms, preprocessor: VolumePreprocessor) -> None:
    a = people[0]
    shifted = Sample("shifted", Volume(a.inputs.read(), a.inputs.affine + np.array([[0, 0, 0, 30.0]] + [[0] * 4] * 3)))
    backend = Registration(preprocessor)
    found = backend.match(a, shifted, POINTS)
    # the same voxels 30 mm to the right: moments alone find it, gradient steps must not lose it
    np.testing.assert_allclose(found.points_mm, POINTS + np.array([30.0, 0.0, 0.0]), atol=2.0)
    assert cycle_error_mm(backend, a, shifted, POINTS, found).max() < 4.0


def test_matching_many_points_equals_the_plain_search() -> None:
    generator = torch.Generator().manual_seed(0)
    fine = F.normalize(torch.randn(16, 12, 16, 20, generator=generator), dim=0)
    coarse = F.normalize(torch.randn(16, 6, 4, 5, generator=generator), dim=0)
    cells = torch.stack([torch.randint(size, (7,), generator=generator) for size in fine.shape[1:]], dim=-1)
    vectors = point_vectors(fine, coarse, cells)
    slow_cells, slow_scores = one_by_one(vectors, fine, coarse)
    found, scores = best_cells_full(vectors, fine, coarse)
    assert torch.equal(found, slow_cells)
    torch.testing.assert_close(scores, slow_scores)
    everywhere, same = best_cells(vectors, fine, coarse, searched=coarse[0].numel())
    assert torch.equal(everywhere, slow_cells)
    torch.testing.assert_close(same, slow_scores, atol=1e-5, rtol=0)  # interpolated vectors instead of maps
    assert torch.equal(found, cells)  # every point finds itself


def test_similarity_is_half_fine_half_coarse() -> None:
    generator = torch.Generator().manual_seed(1)
    fine = F.normalize(torch.randn(4, 2, 2, 2, generator=generator), dim=0)
    coarse = F.normalize(torch.randn(4, 1, 1, 1, generator=generator), dim=0)
    vectors = point_vectors(fine, coarse, torch.tensor([[0, 1, 1]]))
    by_hand = [0.5 * float(fine[:, 0, 1, 1] @ fine[:, z, y, x]) + 0.5 for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    np.testing.assert_allclose(similarity(vectors, fine, coarse).flatten().numpy(), by_hand, atol=1e-6)


def test_embeddings_are_stored_and_read_back(
    people: Phantoms, preprocessor: VolumePreprocessor, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = AnatomicalEmbedding(base=4, width=8).eval()
    first = EmbeddingStore(network, "one", spacing_mm=SPACING, preprocessor=preprocessor, folder=tmp_path)(people[0])
    (path,) = tmp_path.glob("*.safetensors")
    again = EmbeddingStore(network, "one", spacing_mm=SPACING, preprocessor=preprocessor, folder=tmp_path)(people[0])
    torch.testing.assert_close(again.fine, first.fine, atol=2e-3, rtol=0)  # stored in half precision
    np.testing.assert_array_equal(again.grid.affine, first.grid.affine)
    EmbeddingStore(network, "two", spacing_mm=SPACING, preprocessor=preprocessor, folder=tmp_path)(people[0])
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert path.exists()


def test_the_published_layout_of_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = AnatomicalEmbedding(base=4, width=8).eval()
    state = {name: value.clone() for name, value in KEYS.reverse(network.state_dict()).items()}
    torch.save({"state_dict": state, "meta": {"epoch": 1}}, tmp_path / "SAM.pth")
    loaded, report, sha256 = load_embedding(tmp_path / "SAM.pth")
    assert report.total == len(state)
    assert len(sha256) == 64
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in network.state_dict().items())
    with pytest.raises(CheckpointError, match="other"):
        convert_embedding({**state, "other.weight": torch.zeros(1)}, "SAM.pth")


def test_training_the_network_brings_equal_places_together(people: Phantoms, preprocessor: VolumePreprocessor) -> None:
    volumes = [network_input(people[row], SPACING, preprocessor)[1] for row in range(4)]
    config = EmbeddingTrainingConfig(
        base=4, width=8, spacing_mm=SPACING, crop=(8, 16, 16), steps=14, warmup_steps=2, points=24, batch_size=2,
        negatives=40, hardest=60, neighbourhood_mm=40.0, lr=0.05,
    )  # fmt: skip
    losses: list[float] = []
    train_embedding(volumes, config, lambda step, steps, loss: losses.append(loss))
    assert np.mean(losses[-4:]) < np.mean(losses[:3])
    with pytest.raises(ConfigError, match="crop="):
        train_embedding(volumes, replace(config, crop=(8, 15, 16)))


def test_pairs_show_the_same_anatomy_and_say_how_well(people: Phantoms, preprocessor: VolumePreprocessor) -> None:
    views = AlicePairs(AlicePairsConfig(jitter=0.0, overhang=1.0), preprocessor)
    first = views.build(0, people, np.random.default_rng(0), Progress(0, 1))
    again = views.build(0, people, np.random.default_rng(0), Progress(0, 1))
    assert torch.equal(first["query"].values, again["query"].values)
    measured = preprocessor.collate([first["key"], again["key"]]).inputs["measured"]
    assert set(measured) == {"match_score", "match_accepted", "match_tries", "match_cycle_mm"}
    assert measured["match_cycle_mm"].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    same = AlicePairs(AlicePairsConfig(jitter=0.0, overhang=1.0, partner="same"), preprocessor)
    pair = same.build(1, people, np.random.default_rng(1), Progress(0, 1))
    assert torch.equal(pair["query"].values, pair["key"].values)


def test_a_back_end_without_its_network_says_so(preprocessor: VolumePreprocessor) -> None:
    with pytest.raises(ConfigError, match="train-embedding"):
        AlicePairs(AlicePairsConfig(correspondence="light"), preprocessor)
    with pytest.raises(DataError, match=r"gone\.pth"):
        AlicePairs(AlicePairsConfig(correspondence="checkpoint", network="gone.pth"), preprocessor)


@pytest.fixture(scope="module")
def files(people: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("scans")
    volumes = [people[row].inputs for row in range(2)]
    return [str(write_nifti(folder / f"{n}.nii.gz", one.read(), one.affine)) for n, one in enumerate(volumes)]


def test_the_match_command_draws_the_pair(files: list[str], tmp_path: Path) -> None:
    page = tmp_path / "match.html"
    given = [*files, "--point", "20,10,-40", "--backend", "coordinates", "-o", str(page)]
    result = CliRunner().invoke(match_command, given, catch_exceptions=False)
    assert result.exit_code == 0
    assert "20.0, 10.0, -40.0" in result.output
    assert page.read_text().count("data:image/png") == 1


@pytest.mark.parametrize(("point", "words"), [("1,2", "not three numbers"), ("9000,0,0", "lies outside 0.nii.gz")])
def test_points_that_cannot_be_are_named(files: list[str], point: str, words: str) -> None:
    result = CliRunner().invoke(match_command, [*files, "--point", point])
    assert words in str(result.exception)


def test_a_trained_network_serves_the_match_command(files: list[str], tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    options = [
        "-o",
        str(weights),
        "--steps",
        "2",
        "--spacing",
        "16",
        "--base",
        "4",
        "--width",
        "8",
        "--crop",
        "8,16,16",
    ]
    trained = CliRunner().invoke(
        train_embedding_command, [str(Path(files[0]).parent), *options], catch_exceptions=False
    )
    assert "2 scans" in trained.output
    result = CliRunner().invoke(
        match_command, [*files, "--point", "20,10,-40", "--network", str(weights), "--json"], catch_exceptions=False
    )
    assert '"backend": "light"' in result.output
