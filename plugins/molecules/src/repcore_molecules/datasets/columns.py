"""Which columns of a table are the SMILES, the name and the targets: guessed from names and a sample of cells.

Pure functions: they get names and cells and read no file, so that every table format is treated alike. A guess is
always announced by whoever uses it and can be overridden by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rdkit import Chem
from rdkit.rdBase import BlockLogs

from repcore.data.tables import MISSING_WORDS, number
from repcore.errors import DataError

_SMILES_NAMES = ("smiles", "smi", "structure", "mol", "molecule", "drug", "compound")  # best first
_LETTER = re.compile(r"[BCNOPSFIbcnops]")
_SMILES_TEXT = re.compile(r"[A-Za-z0-9@+\-\[\]()\\/%=#$:.*~]+")
_CELLS_TRIED = 40
_SMALLEST_SMILES_SHARE = 0.6
_MOST_CLASSES = 20
_IDENTIFIER_NAME = re.compile(
    r"(^|_)(id|idx|index|no|number|row|chembl_?id|cid|cas|inchi_?key|name|iupac)$|^unnamed|^column\d+$"
)


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column that looks like a label.

    Attributes:
        name: of the column.
        kind: ``class`` (classes in `classes`, by sorted text or number) or ``regression``.
        classes: distinct values as text, for ``class``.
        missing: share of sampled cells without a value.
    """

    name: str
    kind: Literal["class", "regression"]
    classes: tuple[str, ...] = ()
    missing: float = 0.0


def guess_smiles_column(cells: Mapping[str, Sequence[object]]) -> str:
    """The column that holds SMILES: one with a usual name if its cells agree, else the one whose cells parse best.

    Args:
        cells: sampled cells (some hundred are plenty) by column name, in the order of the table.

    Raises:
        DataError: no column looks like SMILES.
    """
    shares = {name: smiles_share(values) for name, values in cells.items()}
    named = sorted((name for name in cells if _name_rank(name) < len(_SMILES_NAMES)), key=_name_rank)
    for name in named:
        if shares[name] >= _SMALLEST_SMILES_SHARE or _name_rank(name) == 0:
            return name
    best = max(shares, key=lambda name: shares[name], default=None)
    if best is None or shares[best] < _SMALLEST_SMILES_SHARE:
        raise DataError("no column looks like SMILES", columns=", ".join(cells), hint="name it: column NAME")
    return best


def smiles_share(values: Sequence[object]) -> float:
    """Share of filled cells (at most 40 are tried) that RDKit reads as molecules; 0 if there are none."""
    texts = [value.strip() for value in values if isinstance(value, str) and not _is_missing(value)][:_CELLS_TRIED]
    if not texts:
        return 0.0
    silence = BlockLogs()
    good = sum(_looks_like_smiles(text) and Chem.MolFromSmiles(text) is not None for text in texts)
    del silence
    return good / len(texts)


def guess_target_columns(cells: Mapping[str, Sequence[object]], smiles_column: str) -> list[TargetColumn]:
    """Columns that look like labels, in the order of the table; names, identifiers and free text are left out."""
    guesses = (_guess_target(name, values) for name, values in cells.items() if name != smiles_column)
    return [guess for guess in guesses if guess is not None]


def _name_rank(name: str) -> int:
    plain = re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
    for rank, known in enumerate(_SMILES_NAMES):
        if plain == known or (known == "smiles" and "smiles" in plain):
            return rank
    return len(_SMILES_NAMES)


def _looks_like_smiles(text: str) -> bool:
    return _SMILES_TEXT.fullmatch(text) is not None and _LETTER.search(text) is not None


def _is_missing(value: object) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip().lower() in MISSING_WORDS)


def _guess_target(name: str, values: Sequence[object]) -> TargetColumn | None:
    filled = [value for value in values if not _is_missing(value)]
    if not filled or _IDENTIFIER_NAME.search(name.lower().strip()):
        return None
    missing = 1 - len(filled) / len(values)
    numbers = _as_numbers(filled)
    if numbers is None:
        texts = {str(value).strip() for value in filled}
        if 2 <= len(texts) <= _MOST_CLASSES and len(filled) >= 3 * len(texts):
            return TargetColumn(name, "class", tuple(sorted(texts)), missing)
        return None
    distinct = sorted(set(numbers))
    are_whole = all(value == int(value) for value in distinct)
    if are_whole and len(numbers) > 2 and numbers == [numbers[0] + step for step in range(len(numbers))]:
        return None  # a running number
    if distinct in ([0.0, 1.0], [-1.0, 1.0]) or (distinct in ([0.0], [1.0]) and len(numbers) > 2):
        classes = (0.0, 1.0) if len(distinct) == 1 else tuple(distinct)
        return TargetColumn(name, "class", tuple(str(int(value)) for value in classes), missing)
    return TargetColumn(name, "regression", (), missing)


def _as_numbers(values: Sequence[object]) -> list[float] | None:
    """All as numbers, or None if one in twenty or more is none."""
    numbers: list[float] = []
    for value in values:
        try:
            parsed = number(value)
        except (ValueError, TypeError):
            continue
        if parsed is not None and abs(parsed) != float("inf"):
            numbers.append(parsed)
    return numbers if len(numbers) > 0.95 * len(values) else None
