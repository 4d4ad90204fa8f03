"""Views of molecular graphs: which part is shown, what of it is hidden, and which runs they fit."""

from __future__ import annotations

import numpy as np
import pytest

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.data.batching import one_item
from repcore.embedding.model import ListReader
from repcore.errors import ConfigError
from repcore.interfaces import Item, Progress
from repcore_molecules.configs.graphs import (
    AtomChange,
    AtomPairConfig,
    AtomWeakStrongConfig,
    MoleculeGraphConfig,
)
from repcore_molecules.preprocessors.graph import MoleculeGraphPreprocessor
from repcore_molecules.smiles.graphs import MoleculeGraph
from repcore_molecules.views.atoms import AtomPair, AtomWeakStrong, changed_atoms

TEXTS = ["CC(=O)Oc1ccccc1C(=O)O", "C", "CO", "CCO", "[Na+].CC(=O)[O-].O", "C1CC2CCC1CC2"]
PREPROCESSOR = MoleculeGraphPreprocessor(MoleculeGraphConfig())
PREPROCESSOR.fit(ListReader(TEXTS), range(len(TEXTS)))
PROGRESS = Progress(step=0, total_steps=10)


def item_of(place: int) -> Item:
    return one_item(PREPROCESSOR, ListReader(TEXTS)[place], np.random.default_rng(0))


def numbered(place: int) -> Item:
    """A molecule whose atoms can be told apart: their first code is their number, from 1."""
    item = item_of(place)
    atoms = item.values.atoms.copy()
    atoms[:, 0] = 1 + np.arange(len(atoms))
    return Item(MoleculeGraph(atoms, item.values.ends, item.values.bonds), item.meta)


def pieces(ends: np.ndarray, count: int) -> int:
    group = list(range(count))
    for one, other in ends.tolist():
        low, high = sorted((group[one], group[other]))
        group = [low if place == high else place for place in group]
    return len(set(group))


def view(item: Item, seed: int, **change: object) -> MoleculeGraph:
    before = item.values.numbers().copy()
    made = changed_atoms(item, np.random.default_rng(seed), change=AtomChange(**change))  # type: ignore[arg-type]
    graph: MoleculeGraph = made.values
    assert np.array_equal(item.values.numbers(), before), "the item itself stays as it is"
    assert (made.meta["atoms"], made.meta["bonds"]) == (len(graph.atoms), len(graph.bonds))
    assert graph.atoms.shape[1:] == (8,)
    assert graph.bonds.shape == (len(graph.ends), 4)
    PREPROCESSOR.collate([made, item_of(1)])
    return graph


@pytest.mark.parametrize("place", [0, 5])
@pytest.mark.parametrize("seed", range(10))
def test_a_connected_part_and_all_bonds_within_it(place: int, seed: int) -> None:
    item = numbered(place)
    count = len(item.values.atoms)
    graph = view(item, seed, kept_share=(0.3, 0.7), hide_share=0.0)
    assert round(0.3 * count) <= len(graph.atoms) <= round(0.7 * count)
    assert pieces(graph.ends, len(graph.atoms)) == 1
    kept = (graph.atoms[:, 0] - 1).tolist()
    assert np.array_equal(graph.atoms, item.values.atoms[kept])
    whole = {
        tuple(pair): codes for pair, codes in zip(item.values.ends.tolist(), item.values.bonds.tolist(), strict=True)
    }
    shown = {
        (kept[one], kept[other]): codes
        for (one, other), codes in zip(graph.ends.tolist(), graph.bonds.tolist(), strict=True)
    }
    assert shown == {pair: codes for pair, codes in whole.items() if set(pair) <= set(kept)}


def test_another_fragment_goes_on_where_one_is_used_up() -> None:
    item = numbered(4)
    sizes = set()
    for seed in range(30):
        graph = view(item, seed, kept_share=(0.5, 0.5), hide_share=0.0)
        assert len(graph.atoms) == 3
        sizes.add(pieces(graph.ends, 3))
    assert sizes == {1, 2, 3}  # within acetate, or with sodium or water before it
    whole = view(item, 0, kept_share=(1.0, 1.0), hide_share=0.0)
    assert whole.atoms.tolist() == item.values.atoms.tolist()
    assert whole.ends.tolist() == item.values.ends.tolist()


@pytest.mark.parametrize(("share", "hidden"), [(0.0, 0), (0.01, 1), (0.15, 2), (0.5, 6), (0.99, 12)])
def test_the_share_of_hidden_atoms(share: float, hidden: int) -> None:
    item, places = numbered(0), set()
    for seed in range(40):
        graph = view(item, seed, kept_share=(1.0, 1.0), hide_share=share)
        blank = ~graph.atoms.any(1)
        assert blank.sum() == hidden
        assert np.array_equal(graph.atoms[~blank], item.values.atoms[~blank])
        assert np.array_equal(graph.ends, item.values.ends), "hidden atoms keep their bonds"
        places |= set(np.flatnonzero(blank).tolist())
    assert len(places) == (13 if hidden else 0), "any atom may be hidden"


@pytest.mark.parametrize("place", [1, 2, 3])
def test_small_molecules_keep_an_atom(place: int) -> None:
    item = numbered(place)
    for seed in range(10):
        graph = view(item, seed, kept_share=(0.01, 0.1), hide_share=0.9)
        assert len(graph.atoms) == 1
        assert graph.atoms.any()
        whole = view(item, seed, kept_share=(1.0, 1.0), hide_share=0.9)
        assert len(whole.atoms) == len(item.values.atoms)
        assert whole.atoms.any(1).sum() == 1


def test_views_follow_the_generator() -> None:
    reader = ListReader(TEXTS)
    pair = AtomPair(AtomPairConfig(), PREPROCESSOR)
    first, again, other = (pair.build(0, reader, np.random.default_rng(seed), PROGRESS) for seed in (1, 1, 2))
    assert list(first) == ["a", "b"]
    rows = {name: item.values.numbers().tolist() for name, item in first.items()}
    assert rows == {name: item.values.numbers().tolist() for name, item in again.items()}
    assert rows["a"] != rows["b"]
    assert rows != {name: item.values.numbers().tolist() for name, item in other.items()}


def test_the_weak_view_shows_more() -> None:
    views = AtomWeakStrong(AtomWeakStrongConfig(), PREPROCESSOR)
    shown = {"weak": 0, "strong": 0}
    for seed in range(20):
        found = views.build(0, ListReader(TEXTS), np.random.default_rng(seed), PROGRESS)
        for name, item in found.items():
            shown[name] += int(item.values.atoms.any(1).sum())
    assert 20 * 11 <= shown["weak"] <= 20 * 12  # 12 or 13 of 13 atoms, one of which is hidden
    assert shown["strong"] < 0.6 * shown["weak"]


def test_shares_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"kept_share=\(0\.0, 1\.0\)"):
        AtomChange(kept_share=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"kept_share=\(0\.9, 0\.5\)"):
        AtomChange(kept_share=(0.9, 0.5))
    with pytest.raises(ValueError, match=r"hide_share=1\.0"):
        AtomChange(hide_share=1.0)


@pytest.mark.parametrize(
    ("recipe", "objective", "views"),
    [
        ("gin", "generic/simclr", "molecules/atom-pair"),
        ("selformer", "generic/simclr", "molecules/symbol-pair"),
        ("gin", "generic/vicreg", "molecules/atom-pair"),
    ],
)
def test_an_objective_gets_the_views_of_the_preprocessor(recipe: str, objective: str, views: str) -> None:
    resolved = resolve_run(registry.default(), f"molecules/{recipe}", overrides=[f"objective={objective}"])
    assert resolved.views is not None
    assert resolved.views.name == views


@pytest.mark.parametrize(
    ("recipe", "views", "fitting"),
    [("gin", "symbol-pair", "atom-pair"), ("selformer", "atom-pair", "symbol-pair")],
)
def test_views_of_another_preprocessor_are_refused(recipe: str, views: str, fitting: str) -> None:
    words = ["objective=generic/simclr", f"views=molecules/{views}"]
    with pytest.raises(ConfigError, match=rf"views molecules/{views} are of [\s\S]*molecules/{fitting}"):
        resolve_run(registry.default(), f"molecules/{recipe}", overrides=words)
