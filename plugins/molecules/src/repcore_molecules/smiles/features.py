"""Plain features of molecules: baselines for a learned vector, and RDKit descriptors as targets to probe.

The method card's local figures show that symbol counts alone beat fingerprints on ESOL and FreeSolv, so every probe
prints them beside its own number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import QED, Descriptors, rdFingerprintGenerator, rdMolDescriptors
from rdkit.rdBase import BlockLogs

from repcore.errors import ConfigError
from repcore_molecules.tokenisation.symbols import split_symbols
from repcore_molecules.tokenisation.vocabulary import UNKNOWN_ID, SymbolVocabulary


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One RDKit property of a molecule.

    Attributes:
        name: column name.
        unit: empty for numbers without one.
        meaning: one line for people.
        compute: molecule to number.
    """

    name: str
    unit: str
    meaning: str
    compute: Callable[[Chem.Mol], float]


def _logp(mol: Chem.Mol) -> float:
    return float(rdMolDescriptors.CalcCrippenDescriptors(mol)[0])


def _molar_refractivity(mol: Chem.Mol) -> float:
    return float(rdMolDescriptors.CalcCrippenDescriptors(mol)[1])


DESCRIPTORS: tuple[Descriptor, ...] = (
    Descriptor("logp", "", "octanol-water partition by Crippen's atom contributions", _logp),
    Descriptor("molar_refractivity", "cm3/mol", "Crippen's atom contributions", _molar_refractivity),
    Descriptor("tpsa", "A2", "topological polar surface", rdMolDescriptors.CalcTPSA),
    Descriptor("weight", "Da", "average molecular weight", rdMolDescriptors._CalcMolWt),
    Descriptor("hbond_donors", "", "hydrogen-bond donors (Lipinski)", rdMolDescriptors.CalcNumHBD),
    Descriptor("hbond_acceptors", "", "hydrogen-bond acceptors (Lipinski)", rdMolDescriptors.CalcNumHBA),
    Descriptor("rotatable_bonds", "", "freely rotating single bonds", rdMolDescriptors.CalcNumRotatableBonds),
    Descriptor("sp3_fraction", "", "share of sp3 carbons among carbons", rdMolDescriptors.CalcFractionCSP3),
    Descriptor("aromatic_rings", "", "number of aromatic rings", rdMolDescriptors.CalcNumAromaticRings),
    Descriptor("qed", "", "drug-likeness from 0 to 1 (Bickerton et al. 2012)", QED.qed),
)


def descriptor_values(smiles: Iterable[str], names: Sequence[str] = ()) -> np.ndarray:
    """Descriptors of molecules.

    Args:
        smiles: one per row.
        names: which of `DESCRIPTORS`, in this order; all if empty.

    Returns:
        float64 (N, len(names)); NaN where a molecule cannot be read or a descriptor is not defined for it.

    Raises:
        ConfigError: an unknown name.
    """
    by_name = {descriptor.name: descriptor for descriptor in DESCRIPTORS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ConfigError(f"no descriptor {unknown[0]!r}", expected=", ".join(by_name))
    chosen = [by_name[name] for name in names] if names else list(DESCRIPTORS)
    silence = BlockLogs()
    rows = [_describe(Chem.MolFromSmiles(text), chosen) for text in smiles]
    del silence
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(chosen))  # (N, descriptors)


def _describe(mol: Chem.Mol | None, descriptors: Sequence[Descriptor]) -> list[float]:
    return [_value(descriptor, mol) for descriptor in descriptors]


def _value(descriptor: Descriptor, mol: Chem.Mol | None) -> float:
    if mol is None or mol.GetNumAtoms() == 0:
        return float("nan")
    value = _safely(descriptor.compute, mol)
    # A partly overflowing descriptor would wreck a regression; treat it as missing.
    return value if abs(value) < 1e6 else float("nan")


def ecfp4(smiles: Iterable[str], *, size: int = 2048) -> np.ndarray:
    """Folded Morgan fingerprints of radius 2: how often each environment occurs.

    Returns:
        float32 (N, size) of counts; rows of unreadable molecules are NaN.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=size)
    return _by_molecule(smiles, generator.GetCountFingerprintAsNumPy, size)


def all_descriptors(smiles: Iterable[str]) -> np.ndarray:
    """The two-dimensional descriptors of RDKit's list, in its order.

    Left out: ``qed``, which is made of others and costs a quarter of the time, and the information contents ``Ipc`` and
    ``AvgIpc``, which grow without bound.

    Returns:
        float32 (N, descriptors), 0 what is not defined for a molecule; rows of unreadable molecules are NaN.
    """
    chosen = [function for name, function in Descriptors.descList if name not in ("qed", "Ipc", "AvgIpc")]

    def describe(mol: Chem.Mol) -> np.ndarray:
        values = np.array([_safely(function, mol) for function in chosen])
        return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)

    return _by_molecule(smiles, describe, len(chosen))


def _safely(function: Callable[[Chem.Mol], float], mol: Chem.Mol) -> float:
    try:
        return float(function(mol))
    except (ValueError, RuntimeError, ZeroDivisionError, OverflowError):
        return float("nan")


def _by_molecule(smiles: Iterable[str], function: Callable[[Chem.Mol], np.ndarray], width: int) -> np.ndarray:
    rows: list[np.ndarray] = []
    silence = BlockLogs()
    for text in smiles:
        mol = Chem.MolFromSmiles(text)
        rows.append(np.full(width, np.nan, np.float32) if mol is None else function(mol))
    del silence
    return np.array(rows, dtype=np.float32).reshape(len(rows), width)


def symbol_counts(selfies: Sequence[str], vocabulary: SymbolVocabulary) -> np.ndarray:
    """How often each token occurs in each molecule; symbols outside the vocabulary count as ``<unk>``.

    Returns:
        float32 (N, len(vocabulary)).
    """
    counts = np.zeros((len(selfies), len(vocabulary)), dtype=np.float32)  # (N, tokens)
    for row, text in enumerate(selfies):
        ids = [vocabulary.ids.get(symbol, UNKNOWN_ID) for symbol in split_symbols(text)]
        counts[row] = np.bincount(ids, minlength=len(vocabulary))
    return counts
