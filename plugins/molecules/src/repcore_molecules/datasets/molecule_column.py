"""Which column of a table holds the molecules, in which notation: chosen by reading its cells, said with the reason.

Pure functions: they get names and cells and read no file, so that every table format is treated alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rdkit import Chem
from rdkit.rdBase import BlockLogs

from repcore.data.labels import MOST_JUDGED
from repcore.errors import DataError
from repcore_molecules.smiles.notations import (
    NOTATIONS,
    Notation,
    decoder_share,
    reaction_share,
    share_of,
    texts_of,
    to_smiles,
)
from repcore_molecules.smiles.syntax import explain_syntax

_NAMES = (
    "smiles", "smi", "structure", "mol", "molecule", "drug", "compound", "inchi", "selfies", "molblock", "mol_block",
    "molfile", "ctab",
)  # fmt: skip  # best first
_MIXED = 0.1  # least share of either notation in a column of two
_SMALLEST_SHARE = 0.6
_SMALLEST_UNNAMED_SHARE = 0.8
_NEARLY = 0.1  # shares closer than this are equally good
_COMPARED = 50  # rows on which two columns are compared
_HINT = "name it: dataset.column=NAME with train, --read column=NAME with embed, probe and inspect"


class UnclearMoleculesError(DataError):
    """A table is full of molecules, and only the user can say which are meant."""


@dataclass(frozen=True, slots=True)
class MoleculeColumn:
    """A column and how it is read.

    Args:
        name: of the column.
        notation: of its cells.
        share: of the cells tried that are molecules.
        others: further columns that could have been meant.
    """

    name: str
    notation: Notation
    share: float
    others: tuple[str, ...] = ()

    def said(self) -> tuple[str, str]:
        """The choice and its reason, for people."""
        why = f"{self.share:.0%} of the cells tried are molecules"
        why += f"; also possible: {', '.join(map(repr, self.others))}" if self.others else ""
        return f"column {self.name!r} as {_title(self.notation)}", why


def reads_as_molecule(text: str) -> bool:
    """Whether a text is a molecule in any notation, so that a first line of such texts is no header."""
    return any(share_of([text], one) == 1.0 for one in NOTATIONS) or reaction_share([text]) == 1.0


def searched(names: Sequence[str]) -> list[str]:
    """The columns that are tried for molecules: all; of a very wide table the first ones and those of a usual name."""
    return [name for place, name in enumerate(names) if place < MOST_JUDGED or _rank(name) < len(_NAMES)]


def find_molecules(cells: Mapping[str, Sequence[object]], *, names_count: bool = True) -> MoleculeColumn:
    """The column with the molecules.

    Among columns whose cells read as molecules, those with a usual name go before others, SMILES before SELFIES and
    InChI (exports hold them side by side); of these the ones with the largest share stay, and the best name decides.

    Args:
        cells: sampled cells (some hundred are plenty) by column name, in the order of the table.
        names_count: False where the names are not the table's own.

    Raises:
        DataError: no column holds molecules, one holds reactions, or two hold different molecules.
    """
    read = (_read_as_molecules(name, values, names_count) for name, values in cells.items())
    found = [one for one in read if one is not None]
    if not found:
        raise _nothing_found(cells)
    named = [one for one in found if _rank(one.name) < len(_NAMES) and one.share >= _SMALLEST_SHARE]
    notation = next(one for one in _PREFERENCE if any(column.notation == one for column in named or found))
    same = [column for column in named or found if column.notation == notation]
    most = max(column.share for column in same)
    close = (column for column in same if column.share >= most - _NEARLY)
    best = sorted(close, key=lambda one: (_rank(one.name), not _is_exact(one.name)))
    chosen = best[0]
    rivals = [one for one in best[1:] if _rank(chosen.name) > 0 or _is_exact(one.name) == _is_exact(chosen.name)]
    for rival in rivals:
        if not _hold_same_molecules(cells[chosen.name], cells[rival.name], notation):
            raise UnclearMoleculesError(
                f"columns {chosen.name!r} and {rival.name!r} both hold molecules, and not the same ones", hint=_HINT
            )
    return MoleculeColumn(chosen.name, notation, chosen.share, tuple(one.name for one in found if one is not chosen))


def column_as(name: str, values: Sequence[object], notation: Notation | None) -> MoleculeColumn:
    """A column that the user named, in the notation that was named or that most of its cells are in."""
    shares = {one: share_of(values, one) for one in NOTATIONS}
    if "selfies" in name.lower():
        shares["selfies"] = max(shares["selfies"], decoder_share(values))
    read: Notation = max(_PREFERENCE_IN_A_COLUMN, key=lambda one: shares[one])
    if min(shares["smiles"], shares["inchi"]) >= _MIXED:
        read, shares["mixed"] = "mixed", shares["smiles"] + shares["inchi"]
    elif notation == "mixed":
        shares["mixed"] = share_of(values, "mixed")
    if not shares[read] and "selfies" not in name.lower():
        read = "smiles"  # of no cell of which anything can be read
    best: Notation = notation or read
    return MoleculeColumn(name, best, shares[best])


_PREFERENCE: tuple[Notation, ...] = ("smiles", "mixed", "selfies", "inchi", "molblock")
_PREFERENCE_IN_A_COLUMN: tuple[Notation, ...] = (
    "selfies",
    "smiles",
    "inchi",
    "molblock",
)  # SELFIES may also read as SMILES


def _read_as_molecules(name: str, values: Sequence[object], names_count: bool) -> MoleculeColumn | None:
    if not texts_of(values):
        return None
    read = column_as(name, values, None)
    rank = _rank(name) if names_count else len(_NAMES)
    if rank == 0 and read.share > 0.0:
        return read
    if rank < len(_NAMES):
        return read if read.share >= _SMALLEST_SHARE else None
    # C, N and O may be elements or grades as well: a column without a telling name has to hold something longer
    is_telling = any(len(text) > 2 for text in texts_of(values))
    return read if is_telling and read.share >= _SMALLEST_UNNAMED_SHARE else None


def _hold_same_molecules(one: Sequence[object], other: Sequence[object], notation: Notation) -> bool:
    """Whether two columns are two spellings of the same molecules, stereo left aside."""
    pairs = list(zip(one, other, strict=False))[:_COMPARED]
    silence = BlockLogs()
    same = [_plain(left, notation) == _plain(right, notation) for left, right in pairs]
    del silence
    return sum(same) > 0.9 * len(same)


def _plain(cell: object, notation: Notation) -> str:
    try:
        text = to_smiles(cell, notation)
    except DataError:
        return ""
    mol = Chem.MolFromSmiles(text.split(None, 1)[0]) if isinstance(text, str) and text.strip() else None
    return "" if mol is None else str(Chem.MolToSmiles(mol, isomericSmiles=False))


def _nothing_found(cells: Mapping[str, Sequence[object]]) -> DataError:
    for name, values in cells.items():
        if reaction_share(values) >= _SMALLEST_SHARE:
            return UnclearMoleculesError(
                f"column {name!r} holds reactions such as {texts_of(values)[0][:40]!r}, not molecules",
                hint="write the side that is meant (reactant or product) into a column of its own",
            )
    named = [name for name in cells if _rank(name) < len(_NAMES) and texts_of(cells[name])]
    if named:
        name = min(named, key=_rank)
        texts = texts_of(cells[name])
        return DataError(
            f"no column looks like SMILES: {name!r} is called so, but its cells are none",
            first=f"{texts[0][:40]!r}: {explain_syntax(texts[0])}",
            columns=", ".join(cells),
            hint=_HINT,
        )
    return DataError("no column looks like SMILES", columns=", ".join(list(cells)[:40]), hint=_HINT)


def _rank(name: str) -> int:
    plain = re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
    for rank, known in enumerate(_NAMES):
        if plain == known or (known in ("smiles", "inchi", "selfies") and known in plain.split("_")):
            return rank
    return len(_NAMES)


def _is_exact(name: str) -> bool:
    return name.strip().lower() in _NAMES


def _title(notation: Notation) -> str:
    titles: dict[Notation, str] = {"inchi": "InChI", "molblock": "MOL blocks", "mixed": "SMILES and InChI"}
    return titles.get(notation, notation.upper())
