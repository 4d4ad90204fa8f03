"""Molecules converted once to graphs, in the files of :mod:`repcore_molecules.preprocessors.prepared`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.interfaces import DatasetReader, Sample
from repcore_molecules.preprocessors.prepared import MoleculePreparation, PreparedMolecules
from repcore_molecules.smiles.graphs import ATOM_CODES, BOND_CODES, MoleculeGraph, graph_of
from repcore_molecules.smiles.pipeline import SmilesResult

VERSION = 1  # of the codes


class GraphPreparation(MoleculePreparation):
    """Graphs, each as its row of numbers."""

    with_selfies = False

    def made(self) -> list[Any]:
        return ["graphs", VERSION, ATOM_CODES, BOND_CODES]

    def numbers(self, result: SmilesResult, number_of: Callable[[str], int]) -> Sequence[int] | np.ndarray:
        del number_of
        return graph_of(result.canonical).numbers()

    def open(self, reader: DatasetReader, folder: Path) -> PreparedGraphs:
        return PreparedGraphs(reader, folder)


class PreparedGraphs(PreparedMolecules):
    """Distinct molecules of a data set as graphs; samples hold a :class:`MoleculeGraph`."""

    def __init__(self, reader: DatasetReader, folder: Path) -> None:
        super().__init__(reader, folder)
        self.costs = np.asarray(self._ids[self._offsets[:-1]], np.int64)  # a graph begins with its number of atoms

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.id_of(index), MoleculeGraph.of_numbers(self.numbers(index)))
