"""Scaffold splits through the contract, raw-input baselines, and drawn molecules."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import selfies
from rdkit.Chem import rdDepictor

from repcore import registry
from repcore.data.split_plans import SplitInputs
from repcore.evaluation.probing import read_rows, split_plan
from repcore.interfaces import Sample
from repcore_molecules.configs.data import MoleculeTableConfig, SelfiesConfig
from repcore_molecules.datasets.tables import MoleculeTable
from repcore_molecules.preprocessors.baselines import ecfp4, symbol_counts
from repcore_molecules.preprocessors.prepared import PreparedSymbols
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor
from repcore_molecules.preprocessors.splits import balanced, scaffold
from repcore_molecules.rendering import molecules as render


@pytest.mark.parametrize("name", ["esol", "bbbp", "freesolv"])
def test_the_scaffold_split_of_a_probe_is_the_published_one(name: str, shared: Path) -> None:
    golden = json.loads((shared / "golden" / "selformer" / "scaffold_split.json").read_text())[name]
    reader = MoleculeTable(MoleculeTableConfig(path=str(shared / "data" / "molecules" / name)))
    plan = split_plan(registry.default(), "molecules/selfies", read_rows(reader), reader.targets[0], "scaffold", [0, 1])
    assert not plan.seeded
    (split,) = plan.folds[1]
    assert split.validation is not None
    assert set(split.train.tolist()) == set(golden["train"])
    assert set(split.validation.tolist()) == set(golden["val"])
    assert set(split.test.tolist()) == set(golden["test"])


def test_rows_without_a_molecule_are_in_no_part() -> None:
    rings = [f"{'C' * n}c1ccccc1{'O' * (n % 2)}" for n in range(20)]
    texts = [*rings, *("C" * n for n in range(1, 20)), "C1CC", " ", None, 4.5]
    samples = [Sample(str(row), text) for row, text in enumerate(texts)]
    inputs = SplitInputs(ids=[one.id for one in samples], samples=samples)
    split = scaffold(inputs, 3)
    assert split.validation is not None
    rows = sorted([*split.train, *split.validation, *split.test])
    assert rows == list(range(39))
    assert np.array_equal(scaffold(inputs, 9).train, split.train)


def test_seeded_scaffold_splits_differ_by_seed() -> None:
    samples = [Sample(str(row), f"{'C' * (row % 7)}C1{'C' * (3 + row // 7)}1") for row in range(70)]
    inputs = SplitInputs(ids=[one.id for one in samples], samples=samples)
    drawn = {tuple(sorted(balanced(inputs, seed).test)) for seed in range(5)}
    assert len(drawn) > 1


def test_baselines_keep_rows_and_mark_unreadable_ones() -> None:
    preprocessor = SelfiesPreprocessor(SelfiesConfig())
    samples = [Sample(str(row), cell) for row, cell in enumerate(["CCO", "C1CC", None, " OCC ", "CN(=O)=O"])]
    counts = symbol_counts(preprocessor, samples)
    prints = ecfp4(preprocessor, samples)
    assert counts.shape[0] == prints.shape[0] == 5
    assert prints.shape[1] == 2048
    for table in (counts, prints):
        assert np.isnan(table[[1, 2]]).all()
        assert np.isfinite(table[[0, 3, 4]]).all()
        assert (table[0] == table[3]).all()  # one molecule, two spellings
    symbols = selfies.split_selfies(selfies.encoder("CCO"))
    assert counts[0].sum() == len(list(symbols))
    assert counts[4].sum() > 0  # refused as written: counted on the cleaned text


def test_drawings_are_self_contained_svg() -> None:
    picture = render.draw_molecule(Sample("0", " c1ccccc1C(=O)N "))
    assert picture.alt == "c1ccccc1C(=O)N"
    root = ElementTree.fromstring(picture.html)
    assert root.tag.endswith("svg")
    assert "http" not in re.sub(r"xmlns(:\w+)?='[^']*'", "", picture.html)
    numbers = np.asarray([0, 0, 1], np.uint16)
    assert render.draw_molecule(Sample("0", PreparedSymbols(numbers, ("[C]", "[O]")))).alt == "CCO"


def test_drawings_without_rdkit_s_drawing_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit.Chem.Draw", None)  # importing it fails, as without its X11 libraries
    with pytest.raises(ImportError):
        from rdkit.Chem.Draw import rdMolDraw2D  # noqa: F401
    picture = render.draw_molecule(Sample("0", "O=C1CC#CC1Cl"))
    root = ElementTree.fromstring(picture.html)
    lines = [one for one in root.iter() if one.tag == "line"]
    # 7 bonds: one double and one triple
    assert len(lines) == 5 + 2 + 3
    assert [one.text for one in root.iter("text")] == ["O", "Cl"]
    for line in lines:
        assert 0 <= float(line.get("x1", "-1")) <= render.WIDTH
        assert 0 <= float(line.get("y1", "-1")) <= render.HEIGHT
    for text in ("C", "[Na+].[Cl-]", "[H][H]"):
        ElementTree.fromstring(render.draw_molecule(Sample("0", text)).html)


@pytest.mark.parametrize("value", ["C1CC", "", None, float("nan"), "<script>alert(1)</script>"])
def test_what_cannot_be_drawn_is_shown_as_escaped_text(value: object) -> None:
    picture = render.draw_molecule(Sample("0", value))
    assert picture.html.startswith("<code>")
    assert "<script" not in picture.html
    assert picture.alt.startswith("unreadable molecule")


def test_huge_molecules_are_not_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("laid out")

    monkeypatch.setattr(rdDepictor, "Compute2DCoords", refuse)
    picture = render.draw_molecule(Sample("0", "C" * 3000))
    assert picture.alt.startswith("molecule of 3000 atoms CCC")
    assert len(picture.html) < 200
