"""Codes of atoms and bonds of known molecules, written by hand; preparation and the preprocessor of graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit import Chem

from repcore.data.preparation import run_preparation
from repcore.embedding.model import ListReader
from repcore.errors import CheckpointError, DataError, ItemError, RunError
from repcore.interfaces import Item, Sample
from repcore_molecules.configs.graphs import MoleculeGraphConfig
from repcore_molecules.configs.smiles import CleaningConfig
from repcore_molecules.preprocessors.graph import STATE_FILE, MoleculeGraphPreprocessor
from repcore_molecules.preprocessors.prepared_graphs import GraphPreparation, PreparedGraphs
from repcore_molecules.smiles import graphs
from repcore_molecules.smiles.graphs import ATOM_CODES, BOND_CODES, MoleculeGraph, graph_of

# element, neighbours, charge + 2, hydrogens, sp/sp2/sp3/other, aromatic, -/R/S, smallest ring - 2
METHYL = [6, 1, 2, 3, 2, 0, 0, 0]
CARBONYL, OXO, HYDROXYL = [6, 3, 2, 0, 1, 0, 0, 0], [8, 1, 2, 0, 1, 0, 0, 0], [8, 1, 2, 1, 1, 0, 0, 0]
RING_CH, RING_C = [6, 2, 2, 1, 1, 1, 0, 4], [6, 3, 2, 0, 1, 1, 0, 4]
VINYL = [6, 2, 2, 1, 1, 0, 0, 0]
# single/double/triple/aromatic/other, conjugated, in a ring, -/E/Z
SINGLE, DOUBLE, AROMATIC = [0, 0, 0, 0], [1, 0, 0, 0], [3, 1, 1, 0]
SINGLE_CONJUGATED, DOUBLE_CONJUGATED = [0, 1, 0, 0], [1, 1, 0, 0]

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
ALANINE_S, ALANINE_R = "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"
BY_HAND = {
    ASPIRIN: (
        [METHYL, CARBONYL, OXO, [8, 2, 2, 0, 1, 0, 0, 0], RING_C, *[RING_CH] * 4, RING_C, CARBONYL, OXO, HYDROXYL],
        {
            (0, 1): SINGLE, (1, 2): DOUBLE_CONJUGATED, (1, 3): SINGLE_CONJUGATED, (3, 4): SINGLE_CONJUGATED,
            (4, 5): AROMATIC, (5, 6): AROMATIC, (6, 7): AROMATIC, (7, 8): AROMATIC, (8, 9): AROMATIC, (4, 9): AROMATIC,
            (9, 10): SINGLE_CONJUGATED, (10, 11): DOUBLE_CONJUGATED, (10, 12): SINGLE_CONJUGATED,
        },
    ),
    "C/C=C/C": ([METHYL, VINYL, VINYL, METHYL], {(0, 1): SINGLE, (1, 2): [1, 0, 0, 1], (2, 3): SINGLE}),
    r"C/C=C\C": ([METHYL, VINYL, VINYL, METHYL], {(0, 1): SINGLE, (1, 2): [1, 0, 0, 2], (2, 3): SINGLE}),
    "CC=CC": ([METHYL, VINYL, VINYL, METHYL], {(0, 1): SINGLE, (1, 2): DOUBLE, (2, 3): SINGLE}),
    ALANINE_S: (
        [METHYL, [6, 3, 2, 1, 2, 0, 2, 0], [7, 1, 2, 2, 2, 0, 0, 0], CARBONYL, OXO, HYDROXYL],
        {(0, 1): SINGLE, (1, 2): SINGLE, (1, 3): SINGLE, (3, 4): DOUBLE_CONJUGATED, (3, 5): SINGLE_CONJUGATED},
    ),
    ALANINE_R: (
        [METHYL, [6, 3, 2, 1, 2, 0, 1, 0], [7, 1, 2, 2, 2, 0, 0, 0], CARBONYL, OXO, HYDROXYL],
        {(0, 1): SINGLE, (1, 2): SINGLE, (1, 3): SINGLE, (3, 4): DOUBLE_CONJUGATED, (3, 5): SINGLE_CONJUGATED},
    ),
    "c1ccccc1": ([RING_CH] * 6, {(n, n + 1): AROMATIC for n in range(5)} | {(0, 5): AROMATIC}),
    "C[N+](C)(C)C": (
        [METHYL, [7, 4, 3, 0, 2, 0, 0, 0], METHYL, METHYL, METHYL],
        {(0, 1): SINGLE, (1, 2): SINGLE, (1, 3): SINGLE, (1, 4): SINGLE},
    ),
    "[O-2].[Ti+4]": ([[8, 0, 0, 0, 2, 0, 0, 0], [22, 0, 4, 0, 3, 0, 0, 0]], {}),  # charges beyond 2 are 2
    "[Na+].[Cl-]": ([[11, 0, 3, 0, 3, 0, 0, 0], [17, 0, 1, 0, 2, 0, 0, 0]], {}),
    "*C": ([[0, 1, 2, 0, 3, 0, 0, 0], METHYL], {(0, 1): SINGLE}),
    "[2H]C": ([[1, 1, 2, 0, 3, 0, 0, 0], METHYL], {(0, 1): SINGLE}),  # a heavy hydrogen is an atom, and no count
    "[H]C": ([[6, 0, 2, 4, 2, 0, 0, 0]], {}),
    "C": ([[6, 0, 2, 4, 2, 0, 0, 0]], {}),
    "C#N": ([[6, 1, 2, 1, 0, 0, 0, 0], [7, 1, 2, 0, 0, 0, 0, 0]], {(0, 1): [2, 0, 0, 0]}),
    "C1CC1": ([[6, 2, 2, 2, 2, 0, 0, 1]] * 3, {pair: [0, 0, 1, 0] for pair in [(0, 1), (1, 2), (0, 2)]}),
    "FS(F)(F)(F)(F)F": (
        [[9, 1, 2, 0, 2, 0, 0, 0], [16, 6, 2, 0, 3, 0, 0, 0], *[[9, 1, 2, 0, 2, 0, 0, 0]] * 5],
        {(min(1, n), max(1, n)): SINGLE for n in (0, 2, 3, 4, 5, 6)},
    ),
}  # fmt: skip
SMILES = ["CCO", "c1ccccc1", "CC(=O)O", " OCC ", "C1CC", None, "CCO", "CC#N"]


def bonds_of(graph: MoleculeGraph) -> dict[tuple[int, int], list[int]]:
    pairs = [(min(pair), max(pair)) for pair in graph.ends.tolist()]
    found = dict(zip(pairs, graph.bonds.tolist(), strict=True))
    assert len(found) == len(pairs), "no bond twice"
    return found


def fitted(texts: list[Any] = SMILES, **settings: Any) -> MoleculeGraphPreprocessor:
    preprocessor = MoleculeGraphPreprocessor(MoleculeGraphConfig(**settings))
    preprocessor.fit(ListReader(texts), range(len(texts)))
    return preprocessor


def prepared(texts: list[Any], workers: int = 0, **settings: Any) -> PreparedGraphs:
    preparation = MoleculeGraphPreprocessor(MoleculeGraphConfig(**settings)).preparation(workers)
    found = run_preparation(preparation, ListReader(texts), lambda done, total: None, workers=workers)
    assert isinstance(found, PreparedGraphs)
    return found


def same(one: Item, other: Item) -> bool:
    parts = ("atoms", "ends", "bonds")
    values = all(np.array_equal(getattr(one.values, part), getattr(other.values, part)) for part in parts)
    return values and (one.status, one.reason, one.meta) == (other.status, other.reason, other.meta)


@pytest.mark.parametrize("smiles", BY_HAND)
def test_codes_by_hand(smiles: str) -> None:
    atoms, bonds = BY_HAND[smiles]
    graph = graph_of(smiles)
    assert graph.atoms.tolist() == atoms
    assert bonds_of(graph) == bonds
    assert graph.ends.shape == (len(bonds), 2)
    assert graph.bonds.shape == (len(bonds), 4)


@pytest.mark.parametrize("smiles", BY_HAND)
def test_another_spelling_gives_the_same_codes_in_its_own_order(smiles: str) -> None:
    graph, molecule = graph_of(smiles), Chem.MolFromSmiles(smiles)
    Chem.rdBase.SeedRandomNumberGenerator(1)
    for _ in range(5):
        text = Chem.MolToSmiles(molecule, doRandom=True)
        order = list(molecule.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        other = graph_of(text)
        assert np.array_equal(other.atoms, graph.atoms[order]), text
        back = {(min(order[a], order[b]), max(order[a], order[b])): codes for (a, b), codes in bonds_of(other).items()}
        assert back == bonds_of(graph), text


def test_what_is_beyond_the_codes_has_the_last_one() -> None:
    assert graph_of("C1CCCCCCCCC1").atoms[:, 7].tolist() == [6] * 10  # a ring of ten counts as larger than 7
    assert graph_of("C1CCCCCC1").atoms[0, 7] == 5
    assert graph_of("[FeH6]").atoms[0, 3] == 4
    assert graph_of("F[Re](F)(F)(F)(F)(F)F").atoms[1, 1] == 6
    assert graph_of("[Og]").atoms[0, 0] == ATOM_CODES[0] - 1
    assert graph_of("C->[Fe]").bonds.tolist() == [[4, 0, 0, 0]]
    for text in BY_HAND:
        graph = graph_of(text)
        assert (graph.atoms < np.asarray(ATOM_CODES)).all()
        assert (graph.bonds < np.asarray(BOND_CODES)).all()


@pytest.mark.parametrize("text", ["", "C1CC", "CX", "C(C)(C)(C)(C)C"])
def test_what_rdkit_cannot_read_is_no_graph(text: str) -> None:
    with pytest.raises(ItemError, match="invalid_smiles"):
        graph_of(text)


@pytest.mark.parametrize("smiles", BY_HAND)
def test_a_row_of_numbers_is_the_graph(smiles: str) -> None:
    graph = graph_of(smiles)
    numbers = graph.numbers()
    assert numbers.dtype == np.uint16
    assert len(numbers) == 1 + 8 * len(graph.atoms) + 6 * len(graph.bonds)
    again = MoleculeGraph.of_numbers(numbers)
    for part in ("atoms", "ends", "bonds"):
        ours, theirs = getattr(again, part), getattr(graph, part)
        assert np.array_equal(ours, theirs)
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype == np.uint16


def test_unusable_rows_raise_item_errors() -> None:
    preprocessor = fitted()
    for cell, status in (("C1CC", "invalid_smiles"), (None, "empty"), (float("nan"), "empty"), (3, "invalid_smiles"),
                         ("C" * 10_001, "invalid_smiles"), (" ", "empty")):  # fmt: skip
        with pytest.raises(ItemError) as caught:
            preprocessor.prepare(Sample("0", cell))
        assert caught.value.status == status
    with pytest.raises(DataError, match="none of the training rows"):
        preprocessor.fit(ListReader(SMILES), [4, 5])
    with pytest.raises(RunError, match="knows no elements yet"):
        MoleculeGraphPreprocessor(MoleculeGraphConfig()).prepare(Sample("", "CC"))


@pytest.mark.parametrize("deduplicate", [True, False])
def test_what_gives_no_graph_after_all_is_a_rejected_row(deduplicate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """RDKit writes a few spellings that it does not read again, and numbers are of 16 bits: no reason for an end."""
    monkeypatch.setattr(graphs, "MOST_ATOMS", 5)
    texts = ["CCCCCC", "CCO", "C(CC)CCC", "C1CC"]
    found = prepared(texts, deduplicate=deduplicate)
    assert found.source_rows.tolist() == [1]
    refused = [(one.row, one.status, one.reason) for one in found.rejected]
    assert refused[:2] == [(row, "too_large", "6 atoms, more than 5") for row in (0, 2)]
    assert refused[2][:2] == (3, "invalid_smiles")
    assert "3 rows cannot be used" in found.summary
    counts = json.loads((found._folder / "summary.json").read_text())["status"]
    assert counts == {"ok": 1, "too_large": 2, "invalid_smiles": 1}
    with pytest.raises(ItemError, match="6 atoms, more than 5"):
        fitted(["CCO"]).prepare(Sample("", texts[0]))
    with pytest.raises(DataError, match=r"6 atoms, more than 5 \(1\)"):
        prepared([texts[0], "C1CC"], deduplicate=deduplicate)


def test_prepared_data_keep_each_molecule_once_and_every_rejection() -> None:
    found = prepared(SMILES)
    assert found.source_rows.tolist() == [0, 1, 2, 7]  # 3 and 6 are ethanol again, 4 and 5 cannot be used
    assert [(one.row, one.status) for one in found.rejected] == [(4, "invalid_smiles"), (5, "empty")]
    assert "4 distinct molecules in 8 rows; 2 rows cannot be used" in found.summary
    assert found.costs.tolist() == [3, 6, 4, 3]
    assert [found[place].id for place in range(4)] == ["0", "1", "2", "7"]
    assert found.table == ()
    assert len(prepared(SMILES, deduplicate=False)) == 6
    with pytest.raises(DataError, match="none of 2 rows holds a usable molecule"):
        prepared(["C1CC", ""])


@pytest.mark.parametrize("deduplicate", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 1024])
def test_prepared_items_are_those_of_the_text(
    rows: int, deduplicate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over blocks joined, too: a molecule that comes again in a later block is the first one's."""
    monkeypatch.setattr(GraphPreparation, "least_rows", rows)
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path))  # blocks of other sizes have the same key
    texts = [*SMILES, *BY_HAND, "C1CC", "OC(=O)[C@H](C)N", "CC#N"]
    found = prepared(texts, deduplicate=deduplicate)
    usable = [row for row, text in enumerate(texts) if text not in ("C1CC", None)]
    spellings = [Chem.CanonSmiles(texts[row].strip()) for row in usable]
    first = [row for place, row in enumerate(usable) if spellings[place] not in spellings[:place]]
    assert found.source_rows.tolist() == (first if deduplicate else usable)
    preprocessor, plain = MoleculeGraphPreprocessor(MoleculeGraphConfig()), fitted(texts[:3])
    preprocessor.fit(found, [0, 1, 2])  # ethanol, benzene, acetic acid: all other elements are unknown
    assert preprocessor.elements_known == plain.elements_known == [6, 8]
    for place, row in enumerate(found.source_rows):
        (ahead,), (late,) = preprocessor.prepare(found[place]), plain.prepare(Sample("", texts[row]))
        assert same(ahead, late), texts[row]
        assert found.costs[place] == preprocessor.cost(late.meta) == len(late.values.atoms)


def test_preparation_is_made_once_and_again_for_other_settings() -> None:
    texts = ["CCO", "CCN", "[Na+].CC(=O)[O-]"]
    first = prepared(texts)
    assert prepared(texts)._folder == first._folder
    salts = prepared(texts, cleaning=CleaningConfig(fragments="largest"))
    assert salts._folder != first._folder
    assert 11 in first[2].inputs.atoms[:, 0]
    assert 11 not in salts[2].inputs.atoms[:, 0]


def test_an_element_that_was_not_trained_on_is_code_0_and_reported(tmp_path: Path) -> None:
    preprocessor = MoleculeGraphPreprocessor(MoleculeGraphConfig())
    preprocessor.fit(ListReader(["OCC", "*N", "BrC"]), [0, 1])
    assert preprocessor.elements_known == [0, 6, 7, 8]
    assert preprocessor.facts() == {"elements": 5}
    (known,) = preprocessor.prepare(Sample("", "*CO"))
    assert (known.status, known.reason) == ("ok", "")
    assert known.values.atoms[:, 0].tolist() == [1, 2, 4]  # a dummy atom that was trained on is an element as others
    (other,) = preprocessor.prepare(Sample("", "BrCBr"))
    assert other.values.atoms[:, 0].tolist() == [0, 2, 0]
    assert other.status == "unknown_elements"
    assert other.reason == "2 atoms are of elements that the model was not trained on"
    graph = graph_of("BrCBr")
    assert preprocessor.prepare(Sample("", graph))[0].values.atoms[:, 0].tolist() == [0, 2, 0]
    assert graph.atoms[0, 0] == 35, "what is given is left as it was"
    assert preprocessor.save(tmp_path) == {"elements": "* C N O"}
    again = MoleculeGraphPreprocessor.load(MoleculeGraphConfig(), tmp_path)
    assert again.facts() == preprocessor.facts()
    for text in ("*CO", "BrCBr", ASPIRIN):
        assert same(again.prepare(Sample("", text))[0], preprocessor.prepare(Sample("", text))[0])


@pytest.mark.parametrize(
    "state",
    ["", "{", "[6]", "{}", '{"elements": 6}', '{"elements": [-1]}', '{"elements": [119]}', '{"elements": ["C"]}',
     '{"elements": [6.0]}', '{"elements": [true]}', '{"elements": [6, 6]}', '{"elements": []}'],
)  # fmt: skip
def test_a_broken_state_is_a_checkpoint_error(state: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=STATE_FILE):
        MoleculeGraphPreprocessor.load(MoleculeGraphConfig(), tmp_path)
    (tmp_path / STATE_FILE).write_text(state)
    with pytest.raises(CheckpointError, match=STATE_FILE):
        MoleculeGraphPreprocessor.load(MoleculeGraphConfig(), tmp_path)


def test_codes_keep_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text(json.dumps({"elements": [8, 6]}))
    loaded = MoleculeGraphPreprocessor.load(MoleculeGraphConfig(), tmp_path)
    assert loaded.prepare(Sample("", "CO"))[0].values.atoms[:, 0].tolist() == [2, 1]
    assert loaded.elements_known == [8, 6]


def test_a_batch_is_its_graphs_side_by_side() -> None:
    preprocessor = fitted(["CCO"])
    items = [preprocessor.prepare(Sample("", text))[0] for text in ("CO", "C", "OCC")]
    batch = preprocessor.collate(items)
    assert batch.size == 3
    inputs = batch.inputs
    assert all(one.dtype == torch.int64 for one in inputs.values())
    assert inputs["molecule"].tolist() == [0, 0, 1, 2, 2, 2]
    assert inputs["atoms"].tolist() == [row for item in items for row in item.values.atoms.tolist()]
    assert inputs["bonds"].T.tolist() == [[0, 1], [3, 4], [4, 5], [1, 0], [4, 3], [5, 4]]
    assert inputs["bond_codes"].shape == (6, 4)
    alone = preprocessor.collate(items[1:2]).inputs
    assert alone["bonds"].shape == (2, 0)
    assert alone["bond_codes"].shape == (0, 4)


def test_molecules_held_in_python() -> None:
    preprocessor = fitted(["CCO"])
    molecule, graph = Chem.MolFromSmiles("OCC"), graph_of("OCC")
    assert preprocessor.inputs_from(molecule) == "CCO"
    assert preprocessor.inputs_from("OCC") == "OCC"
    assert preprocessor.inputs_from(graph) is graph
    assert preprocessor.inputs_from(4) is None
    (of_text,), (of_graph,) = preprocessor.prepare(Sample("", "OCC")), preprocessor.prepare(Sample("", graph))
    assert len(of_text.values.atoms) == len(of_graph.values.atoms) == 3
    assert of_text.values.atoms[0].tolist() == of_graph.values.atoms[2].tolist()
