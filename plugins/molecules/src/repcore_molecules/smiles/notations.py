"""How tables write molecules: SMILES, InChI, SELFIES, MOL blocks; recognised by the cells, turned into SMILES.

Recognition is by reading: a share of cells that RDKit (or the SELFIES decoder) understands. ``[C][C][O]`` is also valid
SMILES, of another molecule (a chain of bare atoms), so SELFIES needs a sign of its own or a name that says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

import selfies
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from repcore.data.tables import MISSING_WORDS
from repcore.errors import ItemError
from repcore_molecules.smiles.syntax import explain_syntax, is_reaction

Notation = Literal["smiles", "inchi", "selfies", "molblock", "mixed"]
"""``mixed``: every cell is SMILES or InChI, as it is written."""
NOTATIONS: tuple[Notation, ...] = tuple(one for one in get_args(Notation) if one != "mixed")
CELLS_TRIED = 200
LONGEST_TRIED = 2_000  # characters; a longer cell says as much by its beginning being no notation

_BARE_INCHI = re.compile(r"1S?/[A-Z][A-Za-z0-9.]*(/|$)")  # without its prefix, as KEGG and ChEBI write it
_COUNTS_LINE = re.compile(r"^[ \d]{6}.*V[23]000\s*$", re.MULTILINE)
_LETTER = re.compile(r"[BCNOPSFIbcnops]")
_SMILES_TEXT = re.compile(r"[A-Za-z0-9@+\-\[\]()\\/%=#$:.*~<>]+")
_SELFIES_TEXT = re.compile(r"(\.?\[[^\[\]:]+\])+")
_SELFIES_WORD = re.compile(r"\[[=#/\\\-]*(?:Branch|Ring)\d\]|\[nop\]|\[[A-Z][a-z]?H?\d?[+\-]\d\]")


def texts_of(values: Sequence[object]) -> list[str]:
    """Filled text cells, stripped; at most :data:`CELLS_TRIED`, drawn evenly."""
    filled = [
        one.strip()
        for one in values
        if isinstance(one, str) and one.strip() and one.strip().lower() not in MISSING_WORDS
    ]
    step = max(1, len(filled) // CELLS_TRIED)
    return filled[::step][:CELLS_TRIED]


def share_of(values: Sequence[object], notation: Notation) -> float:
    """Share of the filled cells that are molecules in this notation; 0 if there are none."""
    texts = texts_of(values)
    if not texts:
        return 0.0
    reads = {
        "smiles": _reads_as_smiles, "inchi": _reads_as_inchi, "selfies": _reads_as_selfies,
        "molblock": lambda text: _mol_of_block(text) is not None,
        "mixed": lambda text: _reads_as_inchi(text) or _reads_as_smiles(text),
    }[notation]  # fmt: skip
    silence = BlockLogs()
    good = sum(reads(text) for text in texts)
    del silence
    if notation == "selfies" and not any(_SELFIES_WORD.search(text) for text in texts):
        return 0.0  # bracket atoms alone: SMILES, unless a column says otherwise by its name
    return good / len(texts)


def decoder_share(values: Sequence[object]) -> float:
    """Share of the filled cells that the SELFIES decoder reads, whether or not they have a sign of SELFIES alone."""
    texts = texts_of(values)
    return sum(map(_reads_as_selfies, texts)) / len(texts) if texts else 0.0


def reaction_share(values: Sequence[object]) -> float:
    """Share of the filled cells that are reactions."""
    texts = texts_of(values)
    sides = [re.split(r">", text.split(None, 1)[0]) for text in texts if is_reaction(text)]
    good = sum(all(_reads_as_smiles(side) for side in parts if side) for parts in sides if len(parts) == 3)
    return good / len(texts) if texts else 0.0


def to_smiles(cell: object, notation: Notation) -> object:
    """A cell as SMILES; what is no text, or SMILES already, stays as it is.

    Raises:
        ItemError: it is no molecule in this notation.
    """
    if notation == "smiles" or not isinstance(cell, str):
        return cell
    text = cell.strip()
    if not text or text.lower() in MISSING_WORDS:
        return cell
    if notation == "mixed" and not text.startswith("InChI="):
        return cell
    silence = BlockLogs()
    try:
        return {"selfies": _from_selfies, "molblock": _from_block}.get(notation, _from_inchi)(text)
    finally:
        del silence


def _from_inchi(text: str) -> str:
    mol = Chem.MolFromInchi(_whole_inchi(text)) if _whole_inchi(text) else None
    if mol is None:
        what = "an InChIKey, from which no structure can be made" if "InChIKey" in explain_syntax(text) else "no InChI"
        raise ItemError("invalid_inchi", f"{text[:60]!r} is {what}")
    return str(Chem.MolToSmiles(mol))


def _whole_inchi(text: str) -> str:
    """An InChI with its prefix; empty where a text is none."""
    return text if text.startswith("InChI=") else f"InChI={text}" if _BARE_INCHI.match(text) else ""


def _from_block(text: str) -> str:
    mol = _mol_of_block(text)
    if mol is None:
        raise ItemError("invalid_molblock", f"{text.splitlines()[0][:60]!r} begins no MOL block that can be read")
    return str(Chem.MolToSmiles(mol))


def _mol_of_block(text: str) -> Chem.Mol | None:
    """The molecule of a MOL block; its three lines of titles, which tables trim, mean nothing."""
    found = _COUNTS_LINE.search(text)
    return None if found is None else Chem.MolFromMolBlock(f"\n\n\n{text[found.start() :]}\n")


def _from_selfies(text: str) -> str:
    try:
        decoded = str(selfies.decoder(text))
    except (selfies.DecoderError, ValueError) as error:
        raise ItemError("invalid_selfies", f"{text[:60]!r}: {str(error).splitlines()[0][:120]}") from error
    if not decoded.strip():  # a text without symbols is no error of the decoder
        raise ItemError("invalid_selfies", f"{text[:60]!r} stands for no atom")
    return decoded


def _reads_as_smiles(text: str) -> bool:
    first, *rest = text.split(None, 1)  # "CCO |...|" is an extended SMILES
    if rest and not rest[0].startswith("|"):
        return False
    if len(first) > LONGEST_TRIED or _SMILES_TEXT.fullmatch(first) is None or _LETTER.search(first) is None:
        return False
    return Chem.MolFromSmiles(first) is not None


def _reads_as_inchi(text: str) -> bool:
    whole = _whole_inchi(text)
    return bool(whole) and Chem.MolFromInchi(whole) is not None


def _reads_as_selfies(text: str) -> bool:
    if _SELFIES_TEXT.fullmatch(text) is None:
        return False
    try:
        return bool(selfies.decoder(text))
    except (selfies.DecoderError, ValueError):
        return False
