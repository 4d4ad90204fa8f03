"""A molecule as a graph: codes of its heavy atoms and bonds, read off RDKit.

Hydrogens are counts of the atoms that they are bound to, unless the SMILES writes them as atoms and RDKit keeps those.
Chirality is the CIP label (R or S), which does not depend on the order in which neighbours are written.

Symbols: A atoms, M bonds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from repcore.errors import ItemError

ATOM_FEATURES = ("element", "degree", "charge", "hydrogens", "hybridisation", "aromatic", "chirality", "ring")
ATOM_CODES = (119, 7, 5, 5, 4, 2, 3, 7)
"""How many codes each feature has: atomic numbers from 0 (a dummy atom); 0 to 6 neighbours; charges -2 to 2; 0 to 4
hydrogens; sp, sp2, sp3, other; aromatic; none, R, S; in no ring, smallest ring of 3 to 7, larger. What is beyond has
the last one."""
BOND_FEATURES = ("kind", "conjugated", "ring", "stereo")
BOND_CODES = (5, 2, 2, 3)
"""Single, double, triple, aromatic, other; conjugated; in a ring; none, E, Z."""

_HYBRIDISATION = {Chem.HybridizationType.SP: 0, Chem.HybridizationType.SP2: 1, Chem.HybridizationType.SP3: 2}
_KIND = {
    Chem.BondType.SINGLE: 0, Chem.BondType.DOUBLE: 1, Chem.BondType.TRIPLE: 2, Chem.BondType.AROMATIC: 3
}  # fmt: skip
_STEREO = {
    Chem.BondStereo.STEREOE: 1, Chem.BondStereo.STEREOTRANS: 1, Chem.BondStereo.STEREOZ: 2,
    Chem.BondStereo.STEREOCIS: 2,
}  # fmt: skip
_CHIRALITY = {"R": 1, "S": 2}
_LARGEST_RING = 8  # and all larger ones
MOST_ATOMS = 65_535  # numbers of atoms are of 16 bits


@dataclass(frozen=True, slots=True)
class MoleculeGraph:
    """Codes of one molecule.

    Args:
        atoms: uint16 (A, 8), one column a feature of ``ATOM_FEATURES``, in RDKit's order of atoms.
        ends: uint16 (M, 2), atoms that each bond joins.
        bonds: uint16 (M, 4), one column a feature of ``BOND_FEATURES``.
    """

    atoms: np.ndarray
    ends: np.ndarray
    bonds: np.ndarray

    def numbers(self) -> np.ndarray:
        """All of it as one row of numbers, uint16 (1 + 8 A + 6 M,)."""
        count = np.asarray([len(self.atoms)], np.uint16)
        return np.concatenate([count, self.atoms.ravel(), self.ends.ravel(), self.bonds.ravel()])

    @classmethod
    def of_numbers(cls, numbers: np.ndarray) -> MoleculeGraph:
        """What :meth:`numbers` gave."""
        atoms = 1 + int(numbers[0]) * len(ATOM_CODES)
        bonds = (len(numbers) - atoms) // (2 + len(BOND_CODES))
        ends = atoms + 2 * bonds
        return cls(
            numbers[1:atoms].reshape(-1, len(ATOM_CODES)),
            numbers[atoms:ends].reshape(-1, 2),
            numbers[ends:].reshape(-1, len(BOND_CODES)),
        )


def graph_of(smiles: str) -> MoleculeGraph:
    """The graph of a SMILES that RDKit wrote.

    Raises:
        ItemError: ``invalid_smiles``, RDKit does not read it again, or it has no atom; ``too_large``.
    """
    silence = BlockLogs()
    mol: Any = Chem.MolFromSmiles(smiles)  # Any: RDKit's stubs do not know that it gives None
    del silence
    if mol is None or not mol.GetNumAtoms():
        raise ItemError("invalid_smiles", "RDKit finds no molecule in the canonical spelling that it wrote")
    if mol.GetNumAtoms() > MOST_ATOMS:
        raise ItemError("too_large", f"{mol.GetNumAtoms():,} atoms, more than {MOST_ATOMS:,}")
    rings = mol.GetRingInfo()
    atoms = [_atom_codes(atom, rings) for atom in mol.GetAtoms()]
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]
    bonds = [_bond_codes(bond) for bond in mol.GetBonds()]
    return MoleculeGraph(
        np.asarray(atoms, np.uint16),
        np.asarray(ends, np.uint16).reshape(-1, 2),
        np.asarray(bonds, np.uint16).reshape(-1, len(BOND_CODES)),
    )


def _atom_codes(atom: Any, rings: Any) -> tuple[int, ...]:
    ring = rings.MinAtomRingSize(atom.GetIdx())
    label = atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""
    return (
        atom.GetAtomicNum(),
        min(atom.GetDegree(), 6),
        min(max(atom.GetFormalCharge(), -2), 2) + 2,
        min(atom.GetTotalNumHs(), 4),
        _HYBRIDISATION.get(atom.GetHybridization(), 3),
        int(atom.GetIsAromatic()),
        _CHIRALITY.get(label, 0),
        min(ring, _LARGEST_RING) - 2 if ring else 0,
    )


def _bond_codes(bond: Any) -> tuple[int, ...]:
    kind, stereo = _KIND.get(bond.GetBondType(), 4), _STEREO.get(bond.GetStereo(), 0)
    return kind, int(bond.GetIsConjugated()), int(bond.IsInRing()), stereo
