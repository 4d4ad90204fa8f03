"""Variants of molecules for pre-training: small ones above all, with groups that drugs seldom have.

Called by benchmarks/small_presets.py. A variant is a molecule with one to three random changes: a group in the place of
a hydrogen, another element, an end cut off, another bond. Whatever RDKit accepts counts; nobody need have made it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from rdkit import Chem
from rdkit.rdBase import BlockLogs

GROUPS = (
    "F", "Cl", "Br", "I", "O", "N", "C", "C#N", "[N+](=O)[O-]", "C(=O)O", "S", "OC", "C(F)(F)F", "C=O", "CC", "C(C)C",
    "S(C)(=O)=O", "C(N)=O", "CO", "C=C",
)  # fmt: skip
IN_PLACE_OF = {
    6: (7, 8, 16), 7: (6, 8), 8: (16, 7, 6), 16: (8, 6), 9: (17, 35, 53), 17: (9, 35, 53), 35: (9, 17, 53),
    53: (9, 17, 35),
}  # fmt: skip
SMALL, SHARE_OF_SMALL = 14, 0.7  # heavy atoms; of the molecules that are changed
MOST_ATOMS, MOST_CHANGES, MOST_TRIES = 60, 3, 20
OTHER_BOND = {
    Chem.BondType.SINGLE: Chem.BondType.DOUBLE, Chem.BondType.DOUBLE: Chem.BondType.SINGLE,
    Chem.BondType.TRIPLE: Chem.BondType.DOUBLE,
}  # fmt: skip


def variants(smiles: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """``count`` canonical SMILES that are not among these, each once; fewer where hardly any can be found.

    Args:
        smiles: canonical, readable.
    """
    chance = random.Random(seed)
    silence = BlockLogs()
    small = [text for text in smiles if Chem.MolFromSmiles(text).GetNumAtoms() <= SMALL] or list(smiles)
    known, found = set(smiles), dict[str, None]()
    for _ in range(MOST_TRIES * count):
        if len(found) == count:
            break
        mol = Chem.MolFromSmiles(chance.choice(small if chance.random() < SHARE_OF_SMALL else smiles))
        for _ in range(chance.randint(1, MOST_CHANGES)):
            mol = changed(mol, chance) or mol
        text = Chem.MolToSmiles(mol)
        if text not in known and "." not in text and mol.GetNumAtoms() <= MOST_ATOMS:
            found.setdefault(text)
    del silence
    return list(found)


def changed(mol: Any, chance: random.Random) -> Any:
    """The molecule after one random change; None where there is nothing to change in this way, or RDKit refuses it."""
    edited = Chem.RWMol(mol)
    if not chance.choice((_with_group, _with_element, _without_end, _with_bond))(edited, chance):
        return None
    try:
        Chem.SanitizeMol(edited)
        return Chem.MolFromSmiles(Chem.MolToSmiles(edited))
    except (ValueError, RuntimeError):  # RDKit's on chemistry, and on its own invariants
        return None


def _with_group(mol: Any, chance: random.Random) -> bool:
    free = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs()]
    if not free:
        return False
    place, first = chance.choice(free), mol.GetNumAtoms()
    mol.InsertMol(Chem.MolFromSmiles(chance.choice(GROUPS)))
    mol.AddBond(place, first, Chem.BondType.SINGLE)
    atom = mol.GetAtomWithIdx(place)
    atom.SetNoImplicit(False)
    atom.SetNumExplicitHs(max(0, atom.GetNumExplicitHs() - 1))
    return True


def _with_element(mol: Any, chance: random.Random) -> bool:
    atom = mol.GetAtomWithIdx(chance.randrange(mol.GetNumAtoms()))
    number = atom.GetAtomicNum()
    if atom.GetFormalCharge() or number not in IN_PLACE_OF:
        return False
    other = chance.choice(IN_PLACE_OF[number])
    if atom.GetIsAromatic():  # pyridine for benzene, and back
        if number not in (6, 7) or atom.GetDegree() != 2 or (number == 7 and atom.GetTotalNumHs()):
            return False
        other = 13 - number
    atom.SetAtomicNum(other)
    atom.SetNumExplicitHs(0)
    atom.SetNoImplicit(False)
    atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    return True


def _without_end(mol: Any, chance: random.Random) -> bool:
    ends = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetDegree() == 1]
    if not ends or mol.GetNumAtoms() < 4:
        return False
    end = chance.choice(ends)
    neighbour = mol.GetAtomWithIdx(end).GetNeighbors()[0]
    neighbour.SetNumExplicitHs(0)
    neighbour.SetNoImplicit(False)
    mol.RemoveAtom(end)
    return True


def _with_bond(mol: Any, chance: random.Random) -> bool:
    bonds = [bond for bond in mol.GetBonds() if not bond.GetIsAromatic() and bond.GetBondType() in OTHER_BOND]
    if not bonds:
        return False
    bond = chance.choice(bonds)
    bond.SetBondType(OTHER_BOND[bond.GetBondType()])
    bond.SetStereo(Chem.BondStereo.STEREONONE)
    return True
