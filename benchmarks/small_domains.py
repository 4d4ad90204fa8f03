"""Domains of small_presets.py: what each learns from, and the labelled sets that judge it."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from molecule_pieces import with_pieces
from molecule_variants import variants

TEST_SPEAKERS = ("theo", "yweweler")
HIPPOCAMPUS, FILMS = "medical3d/msd_hippocampus", "medical2d/nih_cxr_small"
VALIDATION, VARIANTS = 300, 45_000  # molecules
QUATERNIUS, GUN_POINT, VOWELS = (
    "pointcloud/quaternius_lowpoly/points.npz", "timeseries/classification/GunPoint",
    "timeseries/classification/JapaneseVowels",
)  # fmt: skip

STREET, TEST_SECTORS = "pointcloud_scenes/lidar_wachtberg/scan004.npz", (3, 7, 9, 11)
POINT_READINGS = ("points", "neighbours", "regions")
TABLETOP, TEST_SCENES = "pointcloud_scenes/tabletop_mosd", ("learn01", "learn18", "learn26", "learn34")

SOUND_VIEWS = (
    "data.split=random", "data.batch_size=64", "objective=generic/simclr", "views=audio/sound-pair",
    "views.change.kept_share=[0.8,1.0]", "views.change.speed=[0.75,1.3]", "views.change.shift_share=0.05",
    "views.change.filter_db=10", "trainer.steps=900", "trainer.validate_every=300",
)  # fmt: skip
"""Chosen on inner folds of the four speakers, and then no better than random weights on the other two: no preset."""


@dataclass(frozen=True)
class Set:
    """A labelled set and its outer split, as `repcore probe --split` names it; `groups:A,B` are tested. Of a set with
    labels of voxels, `labelled` training scans have them, 0 = all. Of scenes, the reading in small_scenes.py stands in
    the place of the split, which small_scenes.py fixes."""

    name: str
    path: str
    label: str
    split: str
    labelled: int = 0


@dataclass(frozen=True)
class Domain:
    """A recipe with a preset `small`, the data that it learns from, and the sets that it is judged on.

    Args:
        reader: of the training data.
        data: makes the path of the training data from --data and a folder to write to; none where they are generated.
        labelled: whether the reader of a labelled set is told which column its label is.
        joined: whether a set's own validation part counts as test part.
        preset: `small`, or the one there is until it has been chosen.
        shown: what stands in the table in place of the preset, where the settings make it another thing.
        dense: whether labels belong to voxels.
        forest: whether a random forest is among the probes of vectors, too, not of baselines alone.
        beside: raw features that vectors of encoder and twin are tried with, beside without, on inner folds.
        decoded: whether a fine-tuned decoder reads voxels off the frozen encoder, in place of probes.
        baselines_of: domain of the same sets whose baselines stand here, too.
        scenes: name in small_scenes.py of the scenes whose points have labels.
    """

    recipe: str
    reader: str
    data: Callable[[Path, Path], Path] | None
    sets: tuple[Set, ...]
    settings: tuple[str, ...] = ()
    labelled: bool = False
    joined: bool = False
    preset: str = "small"
    shown: str = ""
    dense: bool = False
    forest: bool = False
    beside: tuple[str, ...] = ()
    decoded: bool = False
    baselines_of: str = ""
    scenes: str = ""


def chembl(data: Path, folder: Path) -> Path:
    """The rows of the corpus whose licence (CC BY-SA) allows shipping what is learned from them, and their pieces."""
    target = folder / "chembl.csv"
    if not target.is_file():
        write_smiles(target, chembl_and_pieces(data))
    return target


def varied(data: Path, folder: Path) -> Path:
    """The same with variants of them: one validation part for all seeds, whose descriptors are then computed once."""
    target = folder / "chembl"
    if not target.is_dir():
        rows = chembl_and_pieces(data)
        write_smiles(target / "valid.csv", rows[:VALIDATION])
        train = rows[VALIDATION:]
        write_smiles(target / "train.csv", train + variants(train, VARIANTS))
    return target


def chembl_and_pieces(data: Path) -> list[str]:
    with gzip.open(data / "molecules/corpus50k/corpus50k.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line["smiles"] for line in csv.DictReader(file, delimiter="\t") if line["source"] == "chembl"]
    return with_pieces(rows)


def write_smiles(path: Path, rows: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["smiles", *rows]) + "\n", encoding="utf-8")


def itself(path: str) -> Callable[[Path, Path], Path]:
    """Data as they lie there. Where they declare a test part, every run leaves it out."""
    return lambda data, folder: data / path


def training_sectors(data: Path, folder: Path) -> Path:
    """The street scan without the points of its test sectors."""
    target = folder / "street" / "scan004.npz"
    if not target.is_file():
        target.parent.mkdir(parents=True)
        with np.load(data / STREET) as scan:
            kept = ~np.isin(scan["sector"], TEST_SECTORS)
            np.savez_compressed(target, **{name: scan[name][kept] for name in scan.files})
    return target.parent


def training_scenes(data: Path, folder: Path) -> Path:
    """Tabletop scenes without those of the test part."""
    target = folder / "scenes"
    if not target.is_dir():
        target.mkdir(parents=True)
        for one in sorted((data / TABLETOP).glob("*.npz")):
            if one.stem not in TEST_SCENES:
                (target / one.name).symlink_to(one)
    return target


def four_speakers(data: Path, folder: Path) -> Path:
    """Spoken digits (CC BY-SA) of all but the two speakers of the test part."""
    target = folder / "speakers"
    if not target.is_dir():
        target.mkdir(parents=True)
        for one in sorted((data / "audio/fsdd/recordings").glob("*.wav")):
            if one.stem.split("_")[1] not in TEST_SPEAKERS:
                (target / one.name).symlink_to(one)
    return target


DIGITS = (Set("FSDD", "audio/fsdd/recordings", "digit", "groups:" + ",".join(TEST_SPEAKERS)),)

MOLECULE_SETS = (
    Set("ESOL", "molecules/esol/esol.csv", "logS", "scaffold"),
    Set("FreeSolv", "molecules/freesolv/freesolv.csv", "dG_hyd_kcal_mol", "scaffold"),
    Set("BBBP", "molecules/bbbp/bbbp.csv", "p_np", "scaffold"),
)

SERIES = "timeseries/classification"
SERIES_SETS = tuple(
    Set(name, f"{SERIES}/{name}", "class", "declared")
    for name in (
        "JapaneseVowels", "BasicMotions", "ItalyPowerDemand", "GunPoint", "OSULeaf", "ArrowHead", "ACSF1",
    )
)  # fmt: skip
"""Of the UEA and UCR archives, as the sources of aeon 1.6 hold them; the declared test parts."""

HIPPOCAMPUS_SETS = (
    Set("hippocampus, 10 labelled scans", HIPPOCAMPUS, "segmentation", "declared", 10),
    Set("hippocampus, 90 labelled scans", HIPPOCAMPUS, "segmentation", "declared"),
)

DOMAINS = {
    "atoms": Domain(
        "molecules/gin",
        "molecules/smiles-table",
        varied,
        MOLECULE_SETS,
        ("dataset.labels=[]",),
        labelled=True,
        joined=True,
        forest=True,
        beside=("descriptors",),
        baselines_of="molecules",
    ),
    "molecules": Domain(
        "molecules/selformer",
        "molecules/smiles-table",
        chembl,
        MOLECULE_SETS,
        ("data.split=random", "data.validation_limit=300", "dataset.labels=[]"),
        labelled=True,
        joined=True,
        forest=True,
    ),
    "audio": Domain("audio/ssamba", "audio/takes", None, DIGITS),
    "speakers": Domain(
        "audio/w2v-bert",
        "audio/fsdd",
        four_speakers,
        DIGITS,
        SOUND_VIEWS,
        preset="tiny",
        shown="w2v-bert by SimCLR, four speakers",
    ),
    "graphs": Domain(
        "graphs/graph-contrast",
        "graphs/tu",
        itself("graphs/PROTEINS"),
        (Set("PROTEINS", "graphs/PROTEINS", "label", "stratified-folds:10"),),
        forest=True,
    ),
    "bonds": Domain(
        "graphs/graph-contrast",
        "graphs/tu",
        itself("graphs/MUTAG"),
        (Set("MUTAG", "graphs/MUTAG", "label", "stratified-folds:10"),),
        forest=True,
    ),
    "any-graph": Domain(
        "graphs/gin",
        "graphs/families",
        None,
        (
            Set("PROTEINS", "graphs/PROTEINS", "label", "stratified-folds:10"),
            Set("MUTAG", "graphs/MUTAG", "label", "stratified-folds:10"),
        ),
        forest=True,
    ),
    "pointcloud": Domain(
        "pointcloud/i2p-mae",
        "pointcloud/shape-arrays",
        itself(QUATERNIUS),
        (Set("quaternius", QUATERNIUS, "class", "declared"),),
    ),
    "street": Domain(
        "pointcloud/fac",
        "pointcloud/scenes",
        training_sectors,
        tuple(Set(f"Wachtberg, five classes, {one}", STREET, "label5", one) for one in POINT_READINGS),
        preset="lidar",
        scenes="street",
    ),
    "tabletop": Domain(
        "pointcloud/fac",
        "pointcloud/scenes",
        training_scenes,
        tuple(Set(f"mOSD, object or not, {one}", TABLETOP, "foreground", one) for one in POINT_READINGS),
        preset="tabletop",
        scenes="tabletop",
    ),
    "volumes": Domain(
        "medical3d/alice",
        "medical3d/volume-folder",
        itself(HIPPOCAMPUS),
        HIPPOCAMPUS_SETS,
        ("data.validation_limit=8",),
        dense=True,
    ),
    "decoded": Domain(
        "medical3d/restore",
        "medical3d/volume-folder",
        itself(HIPPOCAMPUS),
        HIPPOCAMPUS_SETS,
        ("data.validation_limit=8",),
        shown="small, read by a decoder",
        dense=True,
        decoded=True,
        baselines_of="volumes",
    ),
    "films": Domain(
        "medical3d/adam-v2",
        "medical3d/image-folder",
        itself(FILMS),
        (Set("NIH films", FILMS, "pneumonia", "declared"),),
        preset="tiny",
    ),
    "edges": Domain(
        "medical3d/edges-and-places",
        "medical3d/image-folder",
        itself(FILMS),
        (Set("NIH films", FILMS, "pneumonia", "declared"),),
        ("data.validation_limit=8",),
    ),
    "series": Domain(
        "timeseries/ts2vec",
        "timeseries/cases",
        itself(VOWELS),
        (Set("JapaneseVowels", VOWELS, "class", "declared"),),
        forest=True,
    ),
    "anyseries": Domain("timeseries/any-series", "timeseries/kinds", None, SERIES_SETS, forest=True),
    "univariate": Domain(
        "timeseries/ts2vec",
        "timeseries/cases",
        itself(GUN_POINT),
        (Set("GunPoint", GUN_POINT, "class", "declared"),),
        preset="tiny",
    ),
}
