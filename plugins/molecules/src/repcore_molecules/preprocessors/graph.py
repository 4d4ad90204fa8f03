"""SMILES to graphs of atoms and bonds: the preprocessor of ``molecules/gin``.

What is learned from the training rows: which elements there are. An element that was not among them has no trained row
in the encoder's table; it becomes code 0, and the row says so.

Symbols: B molecules, A atoms of a batch, M bonds of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rdkit import Chem

from repcore.data.guard import read_sample
from repcore.errors import CheckpointError, DataError, ItemError, RunError
from repcore.files import read_object
from repcore.interfaces import Batch, DatasetReader, Item, Sample
from repcore_molecules.configs.graphs import MoleculeGraphConfig
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.preprocessors.given import smiles_from
from repcore_molecules.preprocessors.prepared_graphs import GraphPreparation
from repcore_molecules.smiles.graphs import ATOM_CODES, BOND_CODES, MoleculeGraph, graph_of
from repcore_molecules.smiles.pipeline import SmilesPipeline, SmilesResult

STATE_FILE = "molecule_graph.json"
UNKNOWN = 0  # code of an element that was not trained on
ATOM_LEVELS = ("token", "node")  # what the levels of elements call atoms


class MoleculeGraphPreprocessor:
    """Cleaning, and the graph that RDKit reads.

    ``prepare`` takes SMILES text or a :class:`MoleculeGraph`. A batch's inputs are ``atoms`` int64 (A, 8), codes of
    the features of each atom, ``molecule`` int64 (A,), its place in the batch, ``bonds`` int64 (2, 2 M), both
    directions of each bond, and ``bond_codes`` int64 (2 M, 4).

    Args:
        config: cleaning, and whether each molecule counts once.
    """

    def __init__(self, config: MoleculeGraphConfig) -> None:
        self.config = config
        self.smiles_config = SmilesConfig(**asdict(config.cleaning))
        self._cleaning: SmilesPipeline | None = None
        self._pipeline: SmilesPipeline | None = None
        self._code_of: np.ndarray | None = None  # int64 (119,), by atomic number

    @classmethod
    def load(cls, config: MoleculeGraphConfig, folder: Path) -> MoleculeGraphPreprocessor:
        """The preprocessor that ``save`` wrote.

        Raises:
            CheckpointError: the file is missing, incomplete, or names what is no element, none, or one twice.
        """
        elements = read_object(folder / STATE_FILE, ("elements",), meaning="its elements are part of the model")[
            "elements"
        ]
        known = ATOM_CODES[0]
        if not isinstance(elements, list) or not all(type(one) is int and 0 <= one < known for one in elements):
            raise CheckpointError(f"{folder / STATE_FILE}: elements are no atomic numbers below {known}")
        if not elements or len(set(elements)) < len(elements):
            raise CheckpointError(f"{folder / STATE_FILE}: elements are none, or one of them comes twice")
        loaded = cls(config)
        loaded._learn(elements)
        return loaded

    def save(self, folder: Path) -> Mapping[str, Any]:
        numbers = self.elements_known
        (folder / STATE_FILE).write_text(json.dumps({"elements": numbers}), encoding="utf-8")
        table = Chem.GetPeriodicTable()
        return {"elements": " ".join(table.GetElementSymbol(number) for number in numbers)}

    @property
    def elements_known(self) -> list[int]:
        """Atomic numbers that were trained on, in the order of their codes, which begin at 1."""
        codes = self._codes()
        found = np.flatnonzero(codes)
        return [int(number) for number in found[np.argsort(codes[found])]]

    def preparation(self, workers: int) -> GraphPreparation:
        """Conversion of the whole data set, once."""
        del workers  # core shares blocks of rows out to them
        return GraphPreparation(self.smiles_config, deduplicate=self.config.deduplicate)

    def fit(self, reader: DatasetReader, indices: Sequence[int] | np.ndarray) -> None:
        """Learn which elements occur in the rows at ``indices``.

        Raises:
            DataError: no usable molecule.
        """
        seen = np.zeros(ATOM_CODES[0], bool)
        for index in indices:
            try:
                seen[self.graph_of(read_sample(reader, int(index))).atoms[:, 0]] = True
            except ItemError:
                continue  # reported as a row wherever the row is used
        if not seen.any():
            raise DataError("none of the training rows holds a usable molecule")
        self._learn(np.flatnonzero(seen).tolist())

    def _learn(self, elements: Sequence[int]) -> None:
        self._code_of = np.full(ATOM_CODES[0], UNKNOWN, np.int64)
        self._code_of[np.asarray(elements, np.int64)] = np.arange(1, len(elements) + 1)

    def _codes(self) -> np.ndarray:
        if self._code_of is None:
            raise RunError("the preprocessor knows no elements yet", hint="fit it on training data, or load a model")
        return self._code_of

    def facts(self) -> Mapping[str, Any]:
        return {"elements": 1 + len(self.elements_known)}

    def converted(self, cell: object) -> SmilesResult:
        """One SMILES through cleaning and SELFIES, which baselines count, with status and reason."""
        if self._pipeline is None:
            self._pipeline = SmilesPipeline(self.smiles_config)
        return self._pipeline.run(cell)

    def inputs_from(self, value: Any) -> Any:
        """SMILES, or an RDKit Mol."""
        return smiles_from(value)

    def graph_of(self, sample: Sample) -> MoleculeGraph:
        """The graph of a sample, with atomic numbers in the place of codes of elements.

        Raises:
            ItemError: the molecule cannot be used.
        """
        if isinstance(sample.inputs, MoleculeGraph):
            return sample.inputs
        if self._cleaning is None:
            self._cleaning = SmilesPipeline(self.smiles_config, selfies=False)
        result = self._cleaning.run(sample.inputs)
        if result.status != "ok":
            raise ItemError(result.status, result.reason)
        return graph_of(result.canonical)

    def prepare(self, sample: Sample) -> list[Item]:
        """The graph of one molecule; ``unknown_elements`` is noted on the item."""
        graph = self.graph_of(sample)
        atoms = graph.atoms.copy()
        atoms[:, 0] = self._codes()[graph.atoms[:, 0]]
        meta = {"atoms": len(atoms), "bonds": len(graph.bonds)}
        item = Item(replace(graph, atoms=atoms), meta=meta)
        unknown = int((atoms[:, 0] == UNKNOWN).sum())
        if not unknown:
            return [item]
        reason = f"{unknown} atoms are of elements that the model was not trained on"
        return [replace(item, status="unknown_elements", reason=reason)]

    def restore(self, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str) -> np.ndarray:
        """Outputs at the atoms (A, K) of the canonical SMILES.

        Raises:
            ItemError: ``other_level``: of a molecule there are answers about atoms only.
        """
        if level not in ATOM_LEVELS:
            raise ItemError("other_level", f"a molecule has atoms (--level {ATOM_LEVELS[0]}), no level {level!r}")
        return outputs[0]

    def elements(self, sample: Sample, level: str) -> Mapping[str, np.ndarray]:
        """``atom``, its place in the canonical SMILES from 0, and ``symbol`` of its chemical element."""
        numbers = self.graph_of(sample).atoms[:, 0].tolist()
        table = Chem.GetPeriodicTable()
        symbols = np.asarray([table.GetElementSymbol(number) for number in numbers], np.str_)
        return {"atom": np.arange(len(numbers)), "symbol": symbols}

    def collate(self, items: Sequence[Item]) -> Batch:
        graphs: list[MoleculeGraph] = [item.values for item in items]
        counts = np.asarray([len(one.atoms) for one in graphs])
        first = np.cumsum(counts) - counts
        ends = np.concatenate([one.ends.astype(np.int64) + start for one, start in zip(graphs, first, strict=True)]).T
        codes = np.concatenate([one.bonds for one in graphs]).astype(np.int64).reshape(-1, len(BOND_CODES))
        inputs = {
            "atoms": torch.from_numpy(np.concatenate([one.atoms for one in graphs]).astype(np.int64)),
            "molecule": torch.from_numpy(np.repeat(np.arange(len(graphs)), counts)),
            "bonds": torch.from_numpy(np.concatenate([ends, ends[::-1]], 1)),
            "bond_codes": torch.from_numpy(np.concatenate([codes, codes])),
        }
        return Batch(inputs=inputs, size=len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        return int(meta["atoms"])
