"""The embedded default: real molecules that ship inside RDKit, so a first run needs no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import RDConfig

from repcore.data.tables import Table
from repcore.errors import ConfigError, DataError, closest
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_molecules.configs.data import NciConfig
from repcore_molecules.smiles.features import DESCRIPTORS, descriptor_values


class NciMolecules:
    """4,999 molecules of the National Cancer Institute's open set, as RDKit ships them (``NCI/first_5K.smi``).

    Raises:
        ConfigError: unknown descriptor.
        DataError: this RDKit has no data folder.
    """

    def __init__(self, config: NciConfig) -> None:
        path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
        if not path.is_file():
            raise DataError("this RDKit comes without its data folder", looked_for=path, hint="pip install rdkit")
        known = {one.name: one for one in DESCRIPTORS}
        for name in config.descriptors:
            if name not in known:
                raise ConfigError(
                    f"descriptor {name!r} is unknown", did_you_mean=closest(name, known), expected=", ".join(known)
                )
        self.config = config
        self._table = Table(path)
        self.targets: Sequence[TargetSpec] = tuple(
            TargetSpec(name, "regression", unit=known[name].unit) for name in config.descriptors
        )
        self.splits: Mapping[str, Sequence[int]] = {}

    @property
    def fingerprint(self) -> str:
        return self._table.fingerprint

    @cached_property
    def _labels(self) -> np.ndarray:
        """Descriptors of all rows, (N, K); computed when first asked for (about 2 s)."""
        return descriptor_values(self._table.slice(0, len(self), "smiles"), self.config.descriptors)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Sample:
        values = self._labels[index]
        return Sample(
            self.id_of(index),
            self._table.value(index, "smiles"),
            {spec.name: float(value) for spec, value in zip(self.targets, values, strict=True)},
        )

    def cells(self, start: int, stop: int) -> list[Any]:
        """SMILES of rows [start, stop), for conversion in bulk."""
        return self._table.slice(start, stop, "smiles")

    def id_of(self, index: int) -> str:
        """NSC number."""
        return f"NSC{self._table.value(index, 'name')}"

    def by_id(self, sample_id: str) -> Sample:
        """The molecule with this NSC number.

        Raises:
            DataError: it is not among them.
        """
        row = self._row_of.get(sample_id)
        if row is None:
            raise DataError(f"no molecule is called {sample_id!r}", expected="NSC and a number")
        return self[row]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {self.id_of(row): row for row in range(len(self))}
