"""Baseline features, descriptors, and the guessing of columns."""

from __future__ import annotations

import math

import numpy as np
import pytest

from repcore.errors import ConfigError, DataError
from repcore_molecules.datasets.columns import guess_smiles_column, guess_target_columns, smiles_share
from repcore_molecules.smiles.features import DESCRIPTORS, descriptor_values, ecfp4, symbol_counts
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
    assert ecfp4([]).shape == (0, 1024)
    with pytest.raises(ConfigError, match="no descriptor 'mass'"):
        descriptor_values(["C"], ["mass"])


def test_fingerprints_are_bits_and_tell_molecules_apart() -> None:
    bits = ecfp4(SMILES)
    assert bits.dtype == np.float32
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert len(np.unique(bits, axis=0)) == len(SMILES)
    assert ecfp4(["OCC"]).tolist() == ecfp4(["CCO"]).tolist()


def test_symbol_counts() -> None:
    known = SymbolVocabulary(("[C]", "[O]"))
    assert symbol_counts(["[C][C][O]", "[N].[C]"], known)[:, [0, 5, 6]].tolist() == [[0, 2, 1], [2, 1, 0]]
    assert symbol_counts([], known).shape == (0, 7)


def test_smiles_column_by_name_or_by_content() -> None:
    names = ["ethanol", "benzene", "acid", "amine", "ring", "chloride"]
    numbers = [str(0.5 * row) for row in range(6)]
    assert guess_smiles_column({"Drug": names, "SMILES": SMILES, "y": numbers}) == "SMILES"
    assert guess_smiles_column({"name": names, "molecular thing": SMILES, "y": numbers}) == "molecular thing"
    assert guess_smiles_column({"Drug": names, "x": SMILES}) == "x"  # the name alone does not convince
    assert guess_smiles_column({"mol": [None, *SMILES]}) == "mol"
    with pytest.raises(DataError, match="no column looks like SMILES"):
        guess_smiles_column({"name": names, "y": numbers})
    with pytest.raises(DataError):
        guess_smiles_column({})
    assert smiles_share(["", None]) == 0.0
    assert smiles_share(["1", "2"]) == 0.0


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
        "running": list(range(5, 5 + rows)),
    }
    found = {target.name: target for target in guess_target_columns(cells, "smiles")}
    assert sorted(found) == ["active", "label", "logS", "toxic"]
    assert found["logS"].kind == "regression"
    assert found["active"].classes == ("0", "1")
    assert found["toxic"].classes == ("0", "1")
    assert found["toxic"].missing == pytest.approx(0.75)
    assert found["label"].classes == ("no", "yes")
