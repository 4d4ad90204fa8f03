"""Views ``molecules/atom-pair`` and ``molecules/atom-weak-strong``: connected parts of a molecule with hidden atoms.

Source: GraphCL (You et al. 2020, arXiv 2010.13902): sub-graph and attribute masking. Differs: both act on every view;
a part grows from a random atom along bonds, and goes on in another fragment where one is used up.

Symbols: A atoms, M bonds.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from repcore.data.views import Change, ChangedPair, ChangedViews, ChangedWeakStrong
from repcore.interfaces import Item
from repcore_molecules.configs.graphs import AtomChange
from repcore_molecules.smiles.graphs import MoleculeGraph


class AtomViews(ChangedViews):
    """Views of one molecule: graphs with at least one atom. A molecule of one atom is shown as it is."""

    def change(self, settings: AtomChange) -> Change:
        return partial(changed_atoms, change=settings)


class AtomPair(AtomViews, ChangedPair):
    """Settings: :class:`AtomPairConfig`."""


class AtomWeakStrong(AtomViews, ChangedWeakStrong):
    """Settings: :class:`AtomWeakStrongConfig`."""


def changed_atoms(item: Item, generator: np.random.Generator, *, change: AtomChange) -> Item:
    """A part of the graph, some of whose atoms have no features left (all codes 0).

    At least one atom is hidden where a share is asked for, and at least one is left as it was.
    """
    graph: MoleculeGraph = item.values
    count = len(graph.atoms)
    if count < 2:
        return item
    size = max(1, round(count * generator.uniform(*change.kept_share)))
    kept = grown(graph.ends, count, size, generator)
    number = np.cumsum(kept) - 1
    joined = kept[graph.ends[:, 0]] & kept[graph.ends[:, 1]]
    atoms = graph.atoms[kept].copy()
    hidden = min(size - 1, max(1, round(size * change.hide_share))) if change.hide_share > 0 else 0
    atoms[generator.permutation(size)[:hidden]] = 0
    ends = number[graph.ends[joined]].astype(graph.ends.dtype)
    changed = MoleculeGraph(atoms, ends, graph.bonds[joined])
    return replace(item, values=changed, meta={**item.meta, "atoms": size, "bonds": len(changed.bonds)})


def grown(ends: np.ndarray, count: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """``size`` of ``count`` atoms, each joined to those before it as far as bonds go: bool (count,).

    Args:
        ends: int (M, 2), atoms that each bond joins.
    """
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for one, other in ends.tolist():
        neighbours[one].append(other)
        neighbours[other].append(one)
    taken = np.zeros(count, bool)
    border: list[int] = []
    for start in generator.permutation(count).tolist():  # the second and later ones are of other fragments, mostly
        border.append(start)
        while border and taken.sum() < size:
            atom = border.pop(int(generator.integers(len(border))))
            if not taken[atom]:
                taken[atom] = True
                border += [one for one in neighbours[atom] if not taken[one]]
        if taken.sum() >= size:
            break
    return taken
