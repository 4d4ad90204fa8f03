"""Audits of real sets with planted faults: how many of each list are right, and how many of the faults are found.

    python benchmarks/audit.py [--molecules bbbp.csv]

Planted: 5 % of the labels flipped, 3 % near copies of training items in the test part (with their labels), 1 % of the
items corrupted. Digits (1,797 images of 8 x 8, with scikit-learn): vectors are the 64 pixels; a near copy has noise
of 2 % of the scale on every pixel; a corrupted image has its pixels in random order. Molecules (a csv with columns
smiles and p_np, such as BBBP): vectors are RDKit's Morgan counts, radius 2, folded to 512; a near copy has one
hydrogen exchanged for a methyl group, a corrupted item is two molecules in one. Precision and recall are of each list
cut at the number of faults, and of the whole list; random order has the share of faults among rows (for leaks: among
pairs) as its precision.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore import registry
from repcore.evaluation.probing import read_rows
from repcore.explore.audit import audit
from repcore.explore.rows import Gathered, Origin, label_columns
from repcore.interfaces import Sample
from repcore.specs import TargetSpec

FLIPPED, COPIED, CORRUPTED, TESTED = 0.05, 0.03, 0.01, 0.3
SEEDS = (0, 1, 2)
RESULTS = Path(__file__).parent / "results" / "audit.md"
Change = Callable[[Any, np.random.Generator, Sequence[Any]], Any]


class Rows:
    """Items with one class label and declared parts."""

    fingerprint = "planted"

    def __init__(self, kind: np.ndarray, tested: np.ndarray) -> None:
        self.kind = kind
        self.targets = (TargetSpec("kind", "class", names=tuple(map(str, np.unique(kind)))),)
        self.splits = {"train": np.flatnonzero(~tested).tolist(), "test": np.flatnonzero(tested).tolist()}

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"r{index}", index, {"kind": int(self.kind[index])})


def planted(
    items: list[Any],
    kind: np.ndarray,
    vectors: Callable[[list[Any]], np.ndarray],
    copy: Change,
    spoil: Change,
    seed: int,
) -> list[tuple[str, float, float, float, float, int, int]]:
    """Plant, audit, and score each list: kind, precision and recall at the number of faults, those of the whole list,
    faults, and length of the list."""
    draw = np.random.default_rng(seed)
    count = len(items)
    tested = draw.random(count) < TESTED
    items, kind = list(items), kind.copy()
    spoilt = draw.choice(count, round(CORRUPTED * count), replace=False)
    for row in spoilt:
        items[row] = spoil(items[row], draw, items)
    rest = np.setdiff1d(np.arange(count), spoilt)
    flipped = draw.choice(rest, round(FLIPPED * count), replace=False)
    classes = np.unique(kind)
    for row in flipped:
        kind[row] = draw.choice(classes[classes != kind[row]])
    sources = draw.choice(np.setdiff1d(rest[~tested[rest]], flipped), round(COPIED * count), replace=False)
    items += [copy(items[row], draw, items) for row in sources]
    kind = np.concatenate([kind, kind[sources]])
    tested = np.concatenate([tested, np.ones(len(sources), bool)])
    reader: Any = Rows(kind, tested)
    labelled = read_rows(reader)
    origin = Origin(encoder="benchmark/none")
    given = Gathered(
        labelled.ids, vectors(items).astype(np.float32), [""] * len(items), label_columns(labelled), origin, labelled,
        np.arange(len(items)),
    )  # fmt: skip
    found = audit(registry.default(), given, reader.targets[0])
    pairs = {tuple(sorted((int(row), count + place))) for place, row in enumerate(sources)}
    leaks = [tuple(sorted((one.row, one.partner))) in pairs for one in found.of("leak")]
    labels = [one.row in set(flipped.tolist()) for one in found.of("label")]
    strange = [one.row in set(spoilt.tolist()) for one in found.of("outlier")]
    lists = (("leak", leaks, len(sources)), ("label", labels, len(flipped)), ("outlier", strange, len(spoilt)))
    return [(name, *scored(right, faults), faults, len(right)) for name, right, faults in lists]


def scored(right: list[bool], faults: int) -> tuple[float, float, float, float]:
    """Precision and recall of the first ``faults`` entries, then of all."""
    first, hits, whole = sum(right[:faults]), min(faults, len(right)), sum(right)
    return first / max(1, hits), first / faults, whole / max(1, len(right)), whole / faults


def digits() -> tuple[list[Any], np.ndarray, Callable[[list[Any]], np.ndarray], Change, Change]:
    """Images of scikit-learn."""
    from sklearn.datasets import load_digits

    images, kind = load_digits(return_X_y=True)
    scale = images.std()
    return (
        list(images), kind, np.stack,
        lambda item, draw, items: item + 0.02 * scale * draw.normal(size=item.shape),
        lambda item, draw, items: draw.permutation(item),
    )  # fmt: skip


def molecules(path: Path) -> tuple[list[Any], np.ndarray, Callable[[list[Any]], np.ndarray], Change, Change]:
    """Molecules of a csv, those that RDKit reads and that stand there once."""
    from rdkit import Chem, RDLogger
    from rdkit.Chem import rdFingerprintGenerator

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    known: dict[str, tuple[Any, int]] = {}
    for line in lines:
        molecule = Chem.MolFromSmiles(line["smiles"])
        if molecule is not None and molecule.GetNumAtoms() > 1:
            known.setdefault(Chem.MolToSmiles(molecule), (molecule, int(line["p_np"])))
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=512)

    def methylated(item: Any, draw: np.random.Generator, items: Sequence[Any]) -> Any:
        with_hydrogens = Chem.RWMol(Chem.AddHs(item))
        places = [one.GetIdx() for one in with_hydrogens.GetAtoms() if one.GetAtomicNum() == 1]
        if not places:
            return item
        with_hydrogens.GetAtomWithIdx(int(draw.choice(places))).SetAtomicNum(6)
        found = Chem.RemoveHs(with_hydrogens, sanitize=False)
        return item if Chem.SanitizeMol(found, catchErrors=True) else found

    def joined(item: Any, draw: np.random.Generator, items: Sequence[Any]) -> Any:
        return Chem.CombineMols(item, items[int(draw.integers(len(items)))])

    def counts(items: list[Any]) -> np.ndarray:
        for one in items:
            one.UpdatePropertyCache(strict=False)
            Chem.FastFindRings(one)
        return np.stack([np.log1p(maker.GetCountFingerprintAsNumPy(one).astype(np.float64)) for one in items])

    molecules_, kinds = zip(*known.values(), strict=True)
    return list(molecules_), np.asarray(kinds), counts, methylated, joined


def main() -> None:
    """Measure and write the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--molecules", type=Path)
    given = asked.parse_args()
    sets = {"digits, pixels": digits()}
    if given.molecules is not None:
        sets[f"{given.molecules.stem}, Morgan counts"] = molecules(given.molecules)
    lines = []
    for name, one in sets.items():
        runs = [planted(*one, seed) for seed in SEEDS]
        for place, (kind, *_) in enumerate(runs[0]):
            figures = np.asarray([run[place][1:] for run in runs], np.float64)
            mean, faults, length = figures[:, :4].mean(0), int(figures[0, 4]), figures[:, 5].mean()
            rows = len(one[0]) * (1 + COPIED)
            chance = faults / (rows * (rows - 1) / 2) if kind == "leak" else faults / rows
            cells = " | ".join(f"{value:.2f}" for value in mean)
            lines.append(f"| {name} | {kind} | {faults} | {cells} | {length:.0f} | {chance:.2g} |")
    head = (
        "# Audit\n\nMade by `python benchmarks/audit.py --molecules bbbp.csv`; what is planted stands in its head. "
        f"Mean over {len(SEEDS)} seeds. Leaks are pairs; real copies, wrong labels and odd items that a set had before "
        "count as false here.\n\n"
        "| set | list | planted | precision at planted | recall at planted | precision of the list "
        "| recall of the list | length of the list | precision of random order |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    RESULTS.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
