"""Bemis-Murcko scaffolds and the balanced scaffold split.

Source of the split: chemprop 1.5.2 as the reference used it (method card, section 5.4), checked against index lists
that its own function produced.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.rdBase import BlockLogs

from repcore.errors import ConfigError
from repcore_molecules.smiles.syntax import without_atom_maps


def scaffold_of(smiles: str) -> str | None:
    """SMILES of the Bemis-Murcko scaffold without chirality; "" for a molecule without a ring, None if invalid.

    Atom maps do not tell scaffolds apart: they are stripped first.
    """
    silence = BlockLogs()
    mol = Chem.MolFromSmiles(without_atom_maps(smiles))
    scaffold = None
    if mol is not None:
        scaffold = str(MurckoScaffold.MurckoScaffoldSmiles(mol=mol, includeChirality=False))
    del silence
    return scaffold


def scaffolds_of(smiles: Iterable[str]) -> list[str | None]:
    """`scaffold_of` for many; repeated texts are computed once."""
    known: dict[str, str | None] = {}
    result: list[str | None] = []
    for text in smiles:
        if text not in known:
            known[text] = scaffold_of(text)
        result.append(known[text])
    return result


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of each part; rows without a scaffold (invalid molecules) are in none."""

    train: list[int]
    validation: list[int]
    test: list[int]


def balanced_scaffold_split(
    scaffolds: Sequence[str | None], *, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 42
) -> Split:
    """Split rows so that no scaffold is in two parts and large scaffolds tend to be in train.

    Groups of rows with one scaffold, in order of first appearance, are "big" if larger than half the validation or half
    the test size. Big ones are shuffled, then the others (one generator for both, as in the reference); big before
    others, each goes into train if it still fits, else into validation if it fits, else into test.

    Args:
        scaffolds: scaffold of each row; None leaves a row out. All rows of "" (no ring) are one group.
        fractions: shares of train, validation and test among the rows that have a scaffold.
        seed: of the shuffle.

    Raises:
        ConfigError: fractions are negative or do not add up to 1.

    Example:
        >>> balanced_scaffold_split(["a", "a", "b", None], fractions=(0.6, 0.2, 0.2))
        Split(train=[2], validation=[], test=[0, 1])
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError(f"fractions {fractions} do not add up to 1", expected="three shares >= 0")
    groups = _rows_by_scaffold(scaffolds)
    valid = sum(map(len, groups))
    train_size, validation_size, test_size = (share * valid for share in fractions)
    largest_other = min(validation_size, test_size) / 2
    big = [group for group in groups if len(group) > largest_other]
    others = [group for group in groups if len(group) <= largest_other]
    generator = random.Random(seed)
    generator.shuffle(big)
    generator.shuffle(others)
    split = Split([], [], [])
    for group in (*big, *others):
        if len(split.train) + len(group) <= train_size:
            split.train.extend(group)
        elif len(split.validation) + len(group) <= validation_size:
            split.validation.extend(group)
        else:
            split.test.extend(group)
    return split


def _rows_by_scaffold(scaffolds: Sequence[str | None]) -> list[list[int]]:
    """Rows of each scaffold, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for row, scaffold in enumerate(scaffolds):
        if scaffold is not None:
            groups.setdefault(scaffold, []).append(row)
    return list(groups.values())
