"""Baseline features, descriptors, and the guessing of columns."""

from __future__ import annotations

import math

import numpy as np
import pytest

from repcore.data.labels import read_labels
from repcore.errors import ConfigError, DataError
from repcore_molecules.datasets.molecule_column import find_molecules
from repcore_molecules.smiles.features import DESCRIPTORS, descriptor_values, ecfp4, symbol_counts
from repcore_molecules.smiles.notations import share_of
from repcore_molecules.tokenisation.vocabulary import SymbolVocabulary

SMILES = ["CCO", "c1ccccc1", "CC(=O)O", "CCN", "C1CCCCC1", "CCCl"]


def test_descriptors_are_finite_and_named() -> None:
    values = descriptor_values(SMILES)
    assert values.shape == (6, len(DESCRIPTORS))
    assert np.isfinite(values).all()
    weight = descriptor_values(["CCO"], ["weight"])[0, 0]
    assert math.isclose(weight, 2 * 12.011 + 6 * 1.008 + 15.999, abs_tol=0.01)
    assert descriptor_values(["c1ccccc1"], ["aromatic_rings", "sp3_fraction"]).tolist() == [[1.0, 0.0]]
    assert len({descriptor.name for descriptor in DESCRIPTORS}) == len(DESCRIPTORS)


def test_unreadable_molecules_are_missing_not_fatal() -> None:
    assert np.isnan(descriptor_values(["C1CC", ""])).all()
    assert np.isnan(ecfp4(["C1CC"])).all()
    assert descriptor_values([]).shape == (0, len(DESCRIPTORS))
    assert ecfp4([]).shape == (0, 2048)
    with pytest.raises(ConfigError, match="no descriptor 'mass'"):
        descriptor_values(["C"], ["mass"])


def test_fingerprints_count_environments_and_tell_molecules_apart() -> None:
    counts = ecfp4(SMILES)
    assert counts.dtype == np.float32
    assert len(np.unique(counts, axis=0)) == len(SMILES)
    benzene = ecfp4(["c1ccccc1"])[0]
    assert sorted(benzene[benzene > 0]) == [6.0, 6.0, 6.0]  # one environment an atom at each of the radii 0, 1 and 2
    assert ecfp4(["OCC"]).tolist() == ecfp4(["CCO"]).tolist()


def test_symbol_counts() -> None:
    known = SymbolVocabulary(("[C]", "[O]"))
    assert symbol_counts(["[C][C][O]", "[N].[C]"], known)[:, [0, 5, 6]].tolist() == [[0, 2, 1], [2, 1, 0]]
    assert symbol_counts([], known).shape == (0, 7)


def test_smiles_column_by_name_or_by_content() -> None:
    names = ["ethanol", "benzene", "acid", "amine", "ring", "chloride"]
    numbers = [str(0.5 * row) for row in range(6)]
    assert find_molecules({"Drug": names, "SMILES": SMILES, "y": numbers}).name == "SMILES"
    assert find_molecules({"name": names, "molecular thing": SMILES, "y": numbers}).name == "molecular thing"
    assert find_molecules({"Drug": names, "x": SMILES}).name == "x"  # the name alone does not convince
    assert find_molecules({"mol": [None, *SMILES]}).name == "mol"
    with pytest.raises(DataError, match="no column looks like SMILES"):
        find_molecules({"name": names, "y": numbers})
    with pytest.raises(DataError):
        find_molecules({})
    assert share_of(["", None], "smiles") == 0.0
    assert share_of(["1", "2"], "smiles") == 0.0


def test_target_columns() -> None:
    rows = 40
    cells: dict[str, list[object]] = {
        "smiles": ["CCO"] * rows,
        "num": [str(row) for row in range(rows)],
        "compound_id": [f"C{row}" for row in range(rows)],
        "logS": [f"{-0.1 * row * row:.2f}" for row in range(rows)],
        "active": [str(row % 2) for row in range(rows)],
        "toxic": ["" if row % 4 else "1.0" for row in range(rows)],
        "label": [("yes", "no")[row % 2] for row in range(rows)],
        "remark": [f"text {row}" for row in range(rows)],
        "nothing": ["" for _ in range(rows)],
        "running": list(range(1, 1 + rows)),
    }
    del cells["smiles"]
    found = {one.name: one for one in read_labels(cells) if one.target is not None}
    assert sorted(found) == ["active", "label", "logS", "toxic"]
    kinds = {name: (one.target.kind, one.target.names) for name, one in found.items() if one.target is not None}
    assert kinds["logS"] == ("regression", ())
    assert kinds["active"] == ("class", ("0", "1"))
    assert kinds["toxic"] == ("class", ("0", "1"))
    assert np.isnan(found["toxic"].values).mean() == pytest.approx(0.75)
    assert kinds["label"] == ("class", ("no", "yes"))
