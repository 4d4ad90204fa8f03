"""SMILES tokens and what each means for the SELFIES text: the table behind `selfies_encoder`.

Tokens repeat across molecules, so each is understood once and looked up ever after.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from repcore_molecules.smiles.kekulise import AROMATIC_VALENCES, settled_codes

PLAIN_ATOM, AROMATIC_ATOM, OPEN_BRANCH, CLOSE_BRANCH, RING, DOT, UNSUPPORTED = range(7)
BOND_ORDERS = {"-": 1, "/": 1, "\\": 1, "=": 2, "#": 3}

# Bond and what it leads to in one token. The pairs at the end are legal nowhere in canonical SMILES, or mean something
# that depends on more context than one token: they come out as tokens of their own, which the table refuses.
TOKEN = re.compile(
    r"\)[).0-9%]|\([().0-9%]|\.[^A-Za-z\[]"
    r"|[-=#/\\]?(?:\[[^\]]*\]|Br|Cl|[A-Za-z]|[0-9]|%[0-9][0-9])|[().]|.",
    re.DOTALL,
)
_WITHOUT_BRACKETS = frozenset({"B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I"})
_AROMATIC_WITHOUT_BRACKETS = {"b": "B", "c": "C", "n": "N", "o": "O", "p": "P", "s": "S"}
_BRACKET = re.compile(
    r"\[(?P<isotope>\d*)(?P<element>[A-Za-z][a-z]?)(?P<chirality>@{0,2})(?P<hydrogens>(?:H\d?)?)"
    r"(?P<charge>(?:\++|-+|[+-]\d+)?)(?::\d+)?\]",
    re.ASCII,
)
# Elements as the SELFIES library knows them: up to lawrencium and the named ones to livermorium, without nihonium,
# moscovium, tennessine and oganesson.
_ELEMENT_NAMES = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo"
    " Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg"
    " Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Fl Lv"
)
_ELEMENTS = frozenset(_ELEMENT_NAMES.split())
_LIMIT = 100_000


class TokenMeaning(NamedTuple):
    """What one SMILES token does.

    Attributes:
        kind: one of the constants above.
        text: SELFIES symbol of an atom with its bond sign; the token itself for a ring number.
        order: order of the bond to the atom before; 0 for an aromatic atom without a written bond.
        capacity: bonds the atom may make by the constraint table, hydrogens in brackets already taken off.
        settled: coded bond counts at which an aromatic atom takes no double bond.
    """

    kind: int
    text: str = ""
    order: int = 1
    capacity: int = 0
    settled: frozenset[int] = frozenset()


class TokenTable(dict[str, TokenMeaning]):
    """Meaning of SMILES tokens, filled on demand.

    Args:
        constraints: bonds by element and charge (``"N+1": 4``) with ``"?"`` for all others.
    """

    def __init__(self, constraints: Mapping[str, int]) -> None:
        super().__init__()
        self._constraints = dict(constraints)

    def __missing__(self, token: str) -> TokenMeaning:
        if len(self) > _LIMIT:
            self.clear()  # atom maps and isotopes make endless tokens
        meaning = self[token] = self._understand(token)
        return meaning

    def _understand(self, token: str) -> TokenMeaning:
        fixed = {"(": OPEN_BRANCH, ")": CLOSE_BRANCH, ".": DOT}.get(token)
        if fixed is not None:
            return TokenMeaning(fixed)
        sign, rest = (token[0], token[1:]) if token[0] in BOND_ORDERS else ("", token)
        if rest.isdigit() or (rest[:1] == "%" and rest[1:].isdigit() and len(rest) == 3):
            return TokenMeaning(RING, text=token)
        return self._understand_atom(sign, rest)

    def _understand_atom(self, sign: str, atom: str) -> TokenMeaning:
        if atom in _WITHOUT_BRACKETS:
            return self._atom(sign, atom, atom, None, 0, is_aromatic=False)
        if atom in _AROMATIC_WITHOUT_BRACKETS:
            element = _AROMATIC_WITHOUT_BRACKETS[atom]
            return self._atom(sign, element, element, None, 0, is_aromatic=True)
        match = _BRACKET.fullmatch(atom)
        if match is None or match["element"].capitalize() not in _ELEMENTS:
            return TokenMeaning(UNSUPPORTED)
        element = match["element"].capitalize()
        is_lower = match["element"].islower()
        hydrogens = int(match["hydrogens"][1:] or 1) if match["hydrogens"] else 0
        charge = _read_charge(match["charge"])
        isotope = str(int(match["isotope"])) if match["isotope"] else ""
        text = isotope + element + match["chirality"]
        text += f"H{hydrogens}" if hydrogens else ""
        text += f"{charge:+}" if charge else ""
        if text in _WITHOUT_BRACKETS:
            text += "H0"  # a bare [C] in brackets has no hydrogen, unlike the C without
        return self._atom(sign, element, text, hydrogens, charge, is_aromatic=is_lower and element in AROMATIC_VALENCES)

    def _atom(
        self, sign: str, element: str, text: str, hydrogens: int | None, charge: int, *, is_aromatic: bool
    ) -> TokenMeaning:
        key = f"{element}{charge:+}" if charge else element
        capacity = self._constraints.get(key, self._constraints["?"]) - (hydrogens or 0)
        symbol = f"[{'' if sign == '-' else sign}{text}]"
        if is_aromatic:
            order = BOND_ORDERS[sign] if sign else 0
            return TokenMeaning(AROMATIC_ATOM, symbol, order, capacity, settled_codes(element, hydrogens, charge))
        return TokenMeaning(PLAIN_ATOM, symbol, BOND_ORDERS.get(sign, 1), capacity)


def _read_charge(text: str) -> int:
    if not text:
        return 0
    size = int(text[1:]) if text[-1].isdigit() else len(text)
    return size if text[0] == "+" else -size
