"""Molecules that people hold in Python."""

from __future__ import annotations

import math

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
    one = given_reader(Chem.MolFromSmiles("OCC"), lambda path: pytest.fail("opened"), convert)
    assert [one[row].inputs for row in range(len(one))] == ["CCO"]
