"""Pieces of molecules for pre-training: labelled sets hold many molecules that are smaller than any drug.

Called by benchmarks/small_presets.py. BRICS (Degen et al. 2008, ChemMedChem 3, 1503) says which bonds chemists make; of
each molecule all of them are cut, and one of them at random, and hydrogen takes the place of what was cut off.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from rdkit import Chem
from rdkit.Chem import BRICS
from rdkit.rdBase import BlockLogs


def with_pieces(smiles: Sequence[str], seed: int = 0) -> list[str]:
    """The molecules and their pieces, each once, shuffled.

    Args:
        smiles: canonical, readable.
    """
    chance = random.Random(seed)
    silence = BlockLogs()
    found = dict.fromkeys(smiles)
    for text in smiles:
        found.update(dict.fromkeys(pieces(text, chance)))
    del silence
    rows = list(found)
    chance.shuffle(rows)
    return rows


def pieces(smiles: str, chance: random.Random) -> Iterator[str]:
    """Canonical SMILES of the pieces of one molecule."""
    molecule = Chem.MolFromSmiles(smiles)
    bonds = [molecule.GetBondBetweenAtoms(*atoms).GetIdx() for atoms, _ in BRICS.FindBRICSBonds(molecule)]
    for cut in (bonds, [chance.choice(bonds)]) if bonds else ():
        for piece in Chem.GetMolFrags(Chem.FragmentOnBonds(molecule, cut), asMols=True):
            whole = Chem.RWMol(piece)
            for atom in whole.GetAtoms():
                if atom.GetAtomicNum() == 0:
                    atom.SetAtomicNum(1)
                    atom.SetIsotope(0)
            text = Chem.MolToSmiles(Chem.RemoveHs(whole.GetMol()))
            if Chem.MolFromSmiles(text) is not None:
                yield text
