"""Values of a molecule's tokens drawn on its atoms.

Tokens are the atoms of the canonical SMILES, or SELFIES symbols between a begin and an end token: always more than
atoms, so that the number of values says which. Which symbols an atom comes from is what the decoder of SELFIES says. An
atom shows the largest value of its symbols; ring closures and lengths of branches are no atoms.
"""

from __future__ import annotations

from html import escape

import numpy as np
import selfies
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from repcore.errors import ItemError
from repcore.interfaces import Picture, Sample
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.preprocessors.prepared import PreparedSymbols
from repcore_molecules.rendering.molecules import MOST_ATOMS, drawn_over
from repcore_molecules.smiles.graphs import graph_of
from repcore_molecules.smiles.pipeline import SmilesPipeline
from repcore_molecules.tokenisation.symbols import split_symbols

HOT = "#e8590c"
RADIUS = 9.0


def draw_heat(sample: Sample, heat: np.ndarray, position: np.ndarray | None) -> Picture:
    """The structure with a disc behind each atom, the darker the larger the value.

    Args:
        heat: (T,), one value an atom of the canonical SMILES, or a token: begin, symbols, end.

    Raises:
        ItemError: ``other_tokens``: as many values as this molecule has atoms, or symbols, were expected.
    """
    del position
    smiles, values = _of_atoms(sample, np.asarray(heat, np.float64))
    silence = BlockLogs()
    molecule = Chem.MolFromSmiles(smiles)
    del silence
    if molecule is None or molecule.GetNumAtoms() != len(values) or len(values) > MOST_ATOMS:
        raise ItemError("other_tokens", f"atoms of {smiles} and their symbols do not match")
    low, high = float(values.min()), float(values.max())
    shares = (values - low) / (high - low) if high > low else np.zeros(len(values))
    words = f"{smiles}; values of atoms from {low:.3g} (pale) to {high:.3g} (dark)"

    def disc(atom: int, x: float, y: float) -> str:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}" fill="{HOT}" fill-opacity="{0.85 * shares[atom]:.2f}"/>'

    return Picture(drawn_over(molecule, disc, escape(words)), words)


def atom_values(text: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """SMILES of a SELFIES, and the value of each of its atoms in the order of RDKit.

    Args:
        values: one a symbol.
    """
    smiles, parts = selfies.decoder(text, attribute=True)
    found = [
        max(values[one.index] for one in part.attribution)
        for part in parts
        if part.token[0] == "[" or part.token[0].isalpha()
    ]
    return str(smiles), np.asarray(found)


def _of_atoms(sample: Sample, heat: np.ndarray) -> tuple[str, np.ndarray]:
    """SMILES of a molecule, and the value of each of its atoms in the order of RDKit."""
    if isinstance(sample.inputs, PreparedSymbols):
        text, canonical = sample.inputs.text(), ""
    else:
        result = SmilesPipeline(SmilesConfig()).run(sample.inputs)
        if not result.canonical:
            raise ItemError(result.status, result.reason)
        text, canonical = result.selfies, result.canonical
    atoms = len(graph_of(canonical).atoms) if canonical else 0
    if atoms and len(heat) == atoms:
        return canonical, heat
    symbols = list(split_symbols(text))
    if len(heat) != len(symbols) + 2:
        raise ItemError(
            "other_tokens", f"{len(heat)} values for {atoms} atoms, or {len(symbols)} symbols between begin and end"
        )
    return atom_values(text, heat[1:-1])
