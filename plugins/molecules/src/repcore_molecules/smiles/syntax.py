"""The spelling of SMILES: atom maps, reactions, and what is wrong with a text that is none.

RDKit writes its parse errors only to its log, and reading them back from there would have to redirect the log of the
whole process; so the few things that go wrong in practice are looked for here.
"""

from __future__ import annotations

import re

_BRACKET_ATOM = re.compile(r"\[[^\[\]]*\]")
_RING_NUMBER = re.compile(r"%\((\d+)\)|%(\d\d)|(\d)")
_ALLOWED = re.compile(r"[A-Za-z0-9()\[\]@+\-=#$:/\\.%*~<>?!,;&{}^_|\s]")
_ATOM = re.compile(r"Br|Cl|[BCNOPSFIbcnops*]")
_ATOM_MAP = re.compile(r"(\[[^\[\]:]*):\d+(?=\])")
_INCHI_KEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
_SELFIES_MARK = re.compile(r"\[[=#/\\\-]*(Branch|Ring)\d\]")
_DATIVE = re.compile(r"->|<-")


def without_atom_maps(text: str) -> str:
    """The same SMILES without atom-map numbers: ``[CH3:1][OH:2]`` -> ``[CH3][OH]``."""
    return _ATOM_MAP.sub(r"\1", text) if ":" in text else text


def is_reaction(text: str) -> bool:
    """Whether a text is a reaction (``reactants>agents>products``) instead of one molecule."""
    core = text.split(None, 1)[0] if text.strip() else ""
    return ">" in _DATIVE.sub("", core)


def explain_syntax(text: str) -> str:
    """A short reason; the last one, when nothing particular is found, is that RDKit cannot read it."""
    core = text.split(None, 1)[0] if text.strip() else text
    for find in (_other_notation, _reaction, _wrong_character, _brackets, _branches, _atoms, _rings):
        reason = find(core)
        if reason:
            return reason
    return f"RDKit cannot read {core[:40]!r} as SMILES"


def _other_notation(text: str) -> str:
    if text.startswith("InChI="):
        return f"{text[:40]!r} is an InChI, not SMILES"
    if _INCHI_KEY.fullmatch(text):
        return f"{text!r} is an InChIKey, a hash from which no structure can be made"
    return f"{text[:40]!r} is SELFIES, not SMILES" if _SELFIES_MARK.search(text) else ""


def _reaction(text: str) -> str:
    return f"{text[:40]!r} is a reaction ('>' between its sides), not one molecule" if is_reaction(text) else ""


def _wrong_character(text: str) -> str:
    for place, char in enumerate(text):
        if _ALLOWED.match(char) is None:
            return f"character {char!r} at position {place + 1} is not part of SMILES"
    return ""


def _brackets(text: str) -> str:
    rest = _BRACKET_ATOM.sub("", text)
    if "[" in rest:
        return "a bracket '[' is not closed"
    return "a bracket ']' was not opened" if "]" in rest else ""


def _branches(text: str) -> str:
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth < 0:
            return f"extra ')' at position {place + 1}"
    return f"{depth} branches '(' are not closed" if depth else ""


def _atoms(text: str) -> str:
    rest = _ATOM.sub("", re.sub(r"%\(\d+\)", "", _BRACKET_ATOM.sub("", text)))
    letters = re.search(r"[A-Za-z]+", rest)
    return f"{letters.group()[:20]!r} is no atom that may stand without brackets" if letters else ""


def _rings(text: str) -> str:
    open_numbers: set[int] = set()
    for match in _RING_NUMBER.finditer(_BRACKET_ATOM.sub("", text)):
        open_numbers ^= {int(match.group(1) or match.group(2) or match.group(3))}
    return f"ring {min(open_numbers)} is not closed" if open_numbers else ""
