"""Molecules that people hold in Python."""

from __future__ import annotations

from typing import Any

from repcore.errors import ItemError
from repcore_molecules.preprocessors.prepared import PreparedSymbols
from repcore_molecules.smiles.graphs import MoleculeGraph


def smiles_from(value: Any) -> Any:
    """SMILES of a text or an RDKit molecule; an empty text for a missing cell, None for other kinds.

    Raises:
        ItemError: ``invalid_smiles``, RDKit cannot write the molecule.
    """
    if isinstance(value, str):
        return str(value)
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, PreparedSymbols | MoleculeGraph):
        return value
    if type(value).__module__.startswith("rdkit."):
        from rdkit import Chem

        if isinstance(value, Chem.Mol):
            try:
                return Chem.MolToSmiles(value)
            except Exception as error:
                raise ItemError("invalid_smiles", f"RDKit cannot write this molecule as SMILES: {error}") from error
    return None
