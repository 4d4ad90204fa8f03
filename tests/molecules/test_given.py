"""Molecules that people hold in Python."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from rdkit import Chem

from repcore.data.given import given_reader
from repcore_molecules.configs.data import SelfiesConfig
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor


def test_texts_and_molecules_become_smiles() -> None:
    convert = SelfiesPreprocessor(SelfiesConfig()).inputs_from
    assert [convert(one) for one in ("OCC", Chem.MolFromSmiles("OCC"), None, math.nan, 5)] == [
        "OCC",
        "CCO",
        "",
        "",
        None,
    ]
    one = given_reader(Chem.MolFromSmiles("OCC"), lambda *_: pytest.fail("opened"), convert)
    assert [one[row].inputs for row in range(len(one))] == ["CCO"]


def test_the_index_of_a_table_of_texts_names_its_rows() -> None:
    from repcore import registry
    from repcore.api.given_data import given_data

    table = pd.DataFrame({"smiles": ["CCO", "CCN", "CCC"], "y": [0.5, 1.5, 2.25]}, index=["e", "am", "p"])
    known = registry.default()
    for given, expected in (
        (table, ["e", "am", "p"]),
        (table.reset_index(drop=True), ["0", "1", "2"]),
        (table.rename_axis("code"), ["e", "am", "p"]),
    ):
        part = given_data(known, given, domain="molecules", preprocessor="molecules/selfies", labels=("y",))
        settings, reader = part.opened(known, "molecules")
        assert [reader[row].id for row in range(3)] == expected
        assert [float(reader[row].targets["y"]) for row in range(3)] == [0.5, 1.5, 2.25]
        assert settings.config.id_column == ("id" if expected[0] == "e" else None)  # also when resumed
