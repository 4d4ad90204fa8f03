"""SMILES to SELFIES in one pass over the tokens of the text, symbol for symbol what the `selfies` library gives.

Why not from RDKit's molecule: crossing from Python into RDKit for every atom and bond costs more than reading the
canonical text, which already has the right order of atoms, branches and rings (measured: looping over bonds alone takes
three times as long as this whole encoder). Why it is quick: tokens are understood once and looked up ever after
(`symbols_of_atoms`), aromatic systems likewise (`kekulise`), and the text is written while it is read: the number of
symbols of a branch or ring does not depend on bond orders, so double bonds of aromatic systems are put in afterwards.

Exact for texts as RDKit writes them. A text with anything whose treatment would need more (a branch that ends its atom,
aromatic bonds written with ``:``, quadruple bonds, extended chirality, ring numbers above 99, an aromatic system that
the greedy placement does not finish, a broken constraint) is handed to the library, whose answer or refusal counts.

Legend: an atom's number is its place in the text, from 1; 0 stands for "no atom before this one".
"""

from __future__ import annotations

from collections.abc import Collection
from operator import gt

import selfies

from repcore_molecules.smiles.kekulise import AROMATIC_BOND, BOND_MASK, KekuleTable
from repcore_molecules.smiles.symbols_of_atoms import (
    AROMATIC_ATOM,
    BOND_ORDERS,
    CLOSE_BRANCH,
    DOT,
    OPEN_BRANCH,
    RING,
    TOKEN,
    TokenTable,
)

# The sixteen symbols that double as digits behind [Branch] and [Ring] (SELFIES paper, table of index symbols).
_DIGITS = (
    "[C]",
    "[Ring1]",
    "[Ring2]",
    "[Branch1]",
    "[=Branch1]",
    "[#Branch1]",
    "[Branch2]",
    "[=Branch2]",
    "[#Branch2]",
    "[O]",
    "[N]",
    "[=N]",
    "[=C]",
    "[#C]",
    "[S]",
    "[P]",
)
_UNLIMITED = 1 << 30


class _Lengths(dict[int, tuple[str, int]]):
    """Length -> (text such as ``Branch1][C]`` without its opening, number of digit symbols)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __missing__(self, length: int) -> tuple[str, int]:
        digits: list[str] = []
        rest = length - 1
        while rest or not digits:
            rest, digit = divmod(rest, 16)
            digits.insert(0, _DIGITS[digit])
        entry = self[length] = (f"{self._name}{len(digits)}]{''.join(digits)}", len(digits))
        return entry


_BRANCH_TEXTS = _Lengths("Branch")
_RING_TEXTS = _Lengths("Ring")


class _System:
    """One aromatic system while it is read: bonds as pairs of atoms, the place of each bond's symbol, its atoms."""

    __slots__ = ("atoms", "edges", "places", "settled")

    def __init__(self) -> None:
        self.edges: list[int] = []
        self.places: list[int] = []
        self.atoms: list[int] = []
        self.settled: list[Collection[int]] = []  # per atom: coded bond counts without a double bond

    def absorb(self, other: _System) -> None:
        """Take over another system; atoms stay in the order of the text."""
        self.edges += other.edges
        self.places += other.places
        settled_of = dict(zip(self.atoms + other.atoms, self.settled + other.settled, strict=True))
        self.atoms = sorted(settled_of)
        self.settled = [settled_of[atom] for atom in self.atoms]


class _Draft:
    """The SELFIES text of one molecule while it is written.

    Attributes:
        out: one entry per atom, dot, branch opening (with its digit symbols) and ring closure (with its digit symbols).
        bonds: per atom, coded bond count (`kekulise.AROMATIC_BOND`); entry 0 absorbs the missing bond of first atoms.
        systems: aromatic systems in order of appearance.
        system_of: aromatic system of each aromatic atom.
        open_rings: ring number -> (atom, bond sign, cell that receives the partner).
        ring_marks: per atom with ring numbers: place of its symbol, then one cell per ring number, which holds the
            partner of a ring opened here and -1 for one closed here.
    """

    __slots__ = ("bonds", "open_rings", "out", "ring_marks", "system_of", "systems")

    def __init__(self) -> None:
        self.out: list[str] = []
        self.bonds: list[int] = [0]
        self.systems: list[_System] = []
        self.system_of: dict[int, _System] = {}
        self.open_rings: dict[str, tuple[int, str, list[int]]] = {}
        self.ring_marks: dict[int, tuple[int, list[list[int]]]] = {}

    def ring_number(self, token: str, atom: int) -> int | None:
        """Open or close a ring at `atom`; returns the number of digit symbols written, None if it makes no sense."""
        sign, number = (token[0], token[1:]) if token[0] in BOND_ORDERS else ("", token)
        if atom not in self.ring_marks:  # the first ring number follows its atom directly
            self.ring_marks[atom] = (len(self.out) - 1, [])
        cells = self.ring_marks[atom][1]
        if number not in self.open_rings:
            cell = [0]
            cells.append(cell)
            self.open_rings[number] = (atom, sign, cell)
            return 0
        first, first_sign, cell = self.open_rings.pop(number)
        cell[0] = atom
        cells.append([-1])
        return self._close_ring(first, atom, first_sign, sign)

    def _close_ring(self, first: int, last: int, first_sign: str, last_sign: str) -> int | None:
        text, digits = _RING_TEXTS[last - first]
        if not (first_sign or last_sign):
            start, end = self.system_of.get(first), self.system_of.get(last)
            if start is not None and end is not None:
                self._add_aromatic_closure(start, end, first, last)
            else:
                self.bonds[first] += 1
                self.bonds[last] += 1
            self.out.append("[" + text)
            return digits
        signs = {first_sign, last_sign} - {""}
        if len(signs) == 2 and not signs <= {"/", "\\"}:
            return None
        order = BOND_ORDERS[first_sign or last_sign]
        self.bonds[first] += order
        self.bonds[last] += order
        prefix = {2: "=", 3: "#"}.get(order, "")
        if not signs.isdisjoint("/\\"):  # direction marks of both ends, '-' where an end has none
            prefix = (first_sign or "-") + (last_sign or "-")
        self.out.append(f"[{prefix}{text}")
        return digits

    def _add_aromatic_closure(self, start: _System, end: _System, first: int, last: int) -> None:
        if start is not end:
            start.absorb(end)
            self.systems.remove(end)
            for atom in end.atoms:
                self.system_of[atom] = start
        start.edges += (first, last)
        start.places.append(len(self.out))
        self.bonds[first] += AROMATIC_BOND
        self.bonds[last] += AROMATIC_BOND

    def close_branch(self, place: int, size: int) -> int:
        """Write the opening of a branch of `size` symbols at `place`; returns the number of digit symbols written."""
        text, digits = _BRANCH_TEXTS[size]
        sign = self.out[place + 1][1]  # bond to the branch's first atom; direction marks are not repeated
        self.out[place] = f"[{sign}{text}" if sign in "=#" else "[" + text
        return digits

    def add_double_bonds(self, table: KekuleTable) -> bool:
        """Put the double bonds of aromatic systems in; False if the library has to place them."""
        out, bonds = self.out, self.bonds
        for system in self.systems:
            base = system.atoms[0]
            settled: list[int] = []
            for atom, codes in zip(system.atoms, system.settled, strict=True):
                code = bonds[atom]
                if code in codes:
                    settled.append(atom - base)
                    bonds[atom] = code & BOND_MASK
                else:
                    bonds[atom] = (code & BOND_MASK) + 1
            double = table.double_bonds(tuple([atom - base for atom in system.edges]), tuple(settled))
            if double is None:
                return False
            for number in double:
                place = system.places[number]
                out[place] = "[=" + out[place][1:]
                if place and out[place - 1].startswith("[Branch"):  # this atom begins a branch
                    out[place - 1] = "[=" + out[place - 1][1:]
        return True

    def turn_chiral_atoms(self) -> None:
        """Swap @ and @@ where SELFIES lists an atom's neighbours in another order than SMILES does.

        SELFIES first has rings closed here, then rings opened here by their far end, then branches; the mark changes
        if the ring numbers of the text are an odd permutation of that.
        """
        for place, cells in self.ring_marks.values():
            symbol = self.out[place]
            if "@" not in symbol:
                continue
            ends = [cell[0] for cell in cells]
            swaps = sum(ends[i] > ends[j] for i in range(len(ends)) for j in range(i + 1, len(ends)))
            if swaps % 2:
                self.out[place] = symbol.replace("@@", "@") if "@@" in symbol else symbol.replace("@", "@@")


class SelfiesEncoder:
    """Canonical SMILES to SELFIES.

    Args:
        strict: refuse atoms with more bonds than the SELFIES constraint table allows (the library's default too).

    The constraint table is the library's at the time of construction.
    `fallbacks` counts the texts handed to the library.

    Example:
        >>> SelfiesEncoder().encode("CC(=O)O")
        '[C][C][=Branch1][C][=O][O]'
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        self.fallbacks = 0
        self._meanings = TokenTable(selfies.get_semantic_constraints())
        self._kekule = KekuleTable()

    def encode(self, smiles: str) -> str:
        """SELFIES of one SMILES text.

        Raises:
            selfies.EncoderError: the text is no SMILES that SELFIES can show, or breaks the constraint table.
            RecursionError: branches nested too deeply for the library, in a text that had to be left to it.
        """
        text = self.encode_quickly(smiles)
        if text is None:
            self.fallbacks += 1
            return str(selfies.encoder(smiles, strict=self.strict))
        return text

    def encode_quickly(self, smiles: str) -> str | None:
        """The SELFIES text, or None where the library has to decide.

        Longer than other functions here: one loop without calls for atoms is what makes it quick.
        """
        if not smiles or smiles[0] in "-=#/\\" or smiles[-1] in ").(":
            return None
        meanings = self._meanings
        draft = _Draft()
        out, bonds, systems, system_of = draft.out, draft.bonds, draft.systems, draft.system_of
        add, add_bonds = out.append, bonds.append
        capacities = [_UNLIMITED]
        branches: list[tuple[int, int, int]] = []  # atom before, place in `out`, digit symbols so far
        first_atoms = [1]
        digits = 0  # digit symbols so far: symbols in `out` beyond its number of entries
        atom = before = 0
        for token in TOKEN.findall(smiles):
            kind, text, order, capacity, settled = meanings[token]
            if kind <= AROMATIC_ATOM:
                atom += 1
                if kind == AROMATIC_ATOM:
                    system = None if order else system_of.get(before)
                    if system is None:
                        system = _System()
                        systems.append(system)
                        order = order or 1
                    else:
                        system.edges += (before, atom)
                        system.places.append(len(out))
                        order = AROMATIC_BOND
                    system.atoms.append(atom)
                    system.settled.append(settled)
                    system_of[atom] = system
                bonds[before] += order
                add_bonds(order)
                capacities.append(capacity)
                add(text)
                before = atom
            elif kind == OPEN_BRANCH:
                branches.append((before, len(out), digits))
                add("")
            elif kind == CLOSE_BRANCH:
                if not branches:
                    return None
                before, place, digits_before = branches.pop()
                digits += draft.close_branch(place, len(out) - place - 1 + digits - digits_before)
            elif kind == RING:
                written = draft.ring_number(text, before)
                if written is None:
                    return None
                digits += written
            elif kind == DOT and not branches and not draft.open_rings:
                add(".")
                first_atoms.append(atom + 1)
                before = 0
            else:
                return None
        return None if branches else self._finish(draft, capacities, first_atoms, is_chiral="@" in smiles)

    def _finish(self, draft: _Draft, capacities: list[int], first_atoms: list[int], *, is_chiral: bool) -> str | None:
        """Open rings, double bonds, the constraint table, chirality; None where the library has to decide."""
        if draft.open_rings:
            return None
        for first in first_atoms:
            draft.bonds[first] -= 1  # counted to the atom before, which there is none
        if not draft.add_double_bonds(self._kekule):
            return None
        if self.strict and any(map(gt, draft.bonds, capacities)):
            return None
        if is_chiral:
            draft.turn_chiral_atoms()
        return "".join(draft.out)
