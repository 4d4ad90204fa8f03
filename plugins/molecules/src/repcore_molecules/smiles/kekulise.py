"""Where the double bonds of an aromatic system go, decided as the SELFIES library decides it.

A SMILES text in lower case leaves the placement open, several are right, and the SELFIES text depends on the choice.
The rule to be matched: drop the atoms whose valence is already settled, match the others greedily in the order (fewest
free neighbours, first written), each with its first free neighbour in the order in which the text makes bonds.
Systems that repeat from molecule to molecule (benzene above all) are answered from a table.

Where the greedy choice leaves atoms over, the library goes on with augmenting paths whose order follows the layout of a
Python set over the whole molecule; those few molecules are left to the library (`None` here).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

# Bonds that each element may make where it is aromatic, lowest first, and its outer electrons.
AROMATIC_VALENCES: dict[str, tuple[int, ...]] = {
    "B": (3,),
    "Al": (3,),
    "C": (4,),
    "Si": (4,),
    "N": (3, 5),
    "P": (3, 5),
    "As": (3, 5),
    "O": (2, 4),
    "S": (2, 4),
    "Se": (2, 4),
    "Te": (2, 4),
}
OUTER_ELECTRONS: dict[str, int] = {
    "B": 3,
    "Al": 3,
    "C": 4,
    "Si": 4,
    "N": 5,
    "P": 5,
    "As": 5,
    "O": 6,
    "S": 6,
    "Se": 6,
    "Te": 6,
}

# An atom's bonds are counted in one integer: single-bond equivalents plus 64 for each aromatic bond among them.
AROMATIC_BOND = 65
BOND_MASK = 63
_MOST_BONDS = 16
_MOST_AROMATIC_BONDS = 6
_TABLE_LIMIT = 200_000


def settled_codes(element: str, hydrogens: int | None, charge: int) -> frozenset[int]:
    """Bond counts (coded as above) at which this aromatic atom takes no double bond.

    Args:
        element: symbol with a capital, a key of `AROMATIC_VALENCES`.
        hydrogens: written in brackets, or None for an atom without brackets.
        charge: formal charge.
    """
    codes = set(range(_MOST_BONDS))  # no aromatic bond at all: nothing to place
    for aromatic in range(1, _MOST_AROMATIC_BONDS + 1):
        for bonds in range(aromatic, _MOST_BONDS):
            if _is_settled(element, hydrogens, charge, bonds, aromatic):
                codes.add(bonds + 64 * aromatic)
    return frozenset(codes)


def _is_settled(element: str, hydrogens: int | None, charge: int, bonds: int, aromatic: int) -> bool:
    valences = AROMATIC_VALENCES[element]
    if hydrogens is None:
        return bonds in valences
    used = bonds + hydrogens
    if any(used == valence - charge for valence in valences):
        return True
    # Aromatic bonds hold one and a half electrons each, an odd half counts as one: what is left over may be a radical.
    held = max(0, charge) + used + (aromatic + 1) // 2
    radical = max(0, OUTER_ELECTRONS[element] - held) % 2
    free = valences[-1] - charge - used - radical
    return free < 0 or free % 2 == 0


class KekuleTable:
    """Answers of `place_double_bonds`, remembered by shape. Bounded; not shared between processes."""

    def __init__(self) -> None:
        self._answers: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, ...] | None] = {}

    def double_bonds(self, edges: tuple[int, ...], settled: tuple[int, ...]) -> tuple[int, ...] | None:
        """As `place_double_bonds`; atom numbers should be relative to the system's first atom."""
        key = (edges, settled)
        try:
            return self._answers[key]
        except KeyError:
            if len(self._answers) > _TABLE_LIMIT:
                self._answers.clear()
            answer = self._answers[key] = place_double_bonds(edges, settled)
            return answer


def place_double_bonds(edges: Sequence[int], settled: Sequence[int]) -> tuple[int, ...] | None:
    """The bonds of one aromatic system that become double.

    Args:
        edges: atom numbers in pairs, (first, second) of bond 0, of bond 1, ..., in the order the text makes the bonds.
        settled: atoms that take no double bond.

    Returns:
        Numbers of the double bonds, or None if the greedy choice leaves an atom without one.
    """
    left_out = set(settled)
    neighbours: dict[int, list[int]] = {}
    number_of: dict[tuple[int, int], int] = {}
    for number in range(len(edges) // 2):
        first, second = edges[2 * number], edges[2 * number + 1]
        neighbours.setdefault(first, [])
        neighbours.setdefault(second, [])
        number_of[first, second] = number_of[second, first] = number
        if first not in left_out and second not in left_out:
            neighbours[first].append(second)
            neighbours[second].append(first)
    partner = _match_greedily({atom: near for atom, near in neighbours.items() if atom not in left_out})
    if partner is None:
        return None
    return tuple(number_of[atom, other] for atom, other in partner.items() if atom < other)


def _match_greedily(neighbours: dict[int, list[int]]) -> dict[int, int] | None:
    """Partner of every atom, or None if one is left over. Atom numbers break ties."""
    partner: dict[int, int] = {}
    free = {atom: len(near) for atom, near in neighbours.items()}
    queue = [(count, atom) for atom, count in free.items()]
    heapq.heapify(queue)
    while queue:
        _, atom = heapq.heappop(queue)
        # Entries are not removed when a count changes: an atom can come up again, or with an old count.
        if atom in partner or free[atom] == 0:
            continue
        mate = next(other for other in neighbours[atom] if other not in partner)
        partner[atom], partner[mate] = mate, atom
        for near in (*neighbours[atom], *neighbours[mate]):
            free[near] -= 1
            if near not in partner and free[near] > 0:
                heapq.heappush(queue, (free[near], near))
    return partner if len(partner) == len(neighbours) else None
