"""Which columns of a table are the SMILES, the name and the targets: guessed from names and a sample of cells.

Pure functions: they get names and cells and read no file, so that every table format is treated alike. A guess is
made on the first rows, corrected by a look at all cells (:func:`seen_whole`), and can be overridden by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
_MOST_NAMED_CLASSES = 1000  # of a column that the user calls a class
_SPLIT_WORDS = frozenset({"train", "training", "valid", "val", "validation", "dev", "test"})
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

    @property
    def is_binary(self) -> bool:
        """Whether it holds 0 and 1 (or -1 and 1): a task of a multilabel set."""
        return self.classes in (("0", "1"), ("-1", "1"))


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
        raise DataError(
            "no column looks like SMILES",
            columns=", ".join(cells),
            hint="name it: dataset.column=NAME with train, --read column=NAME with embed and probe",
        )
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


def seen_whole(guess: TargetColumn, values: Iterable[object]) -> TargetColumn | None:
    """A guess that was made on a sample, after a look at every cell; None if the column is no label after all.

    A class may first appear below the sample, a column of zeros and ones may go on with other numbers, and a column of
    few texts may turn out to be free text.
    """
    if guess.kind == "regression":
        return guess
    texts = {str(value).strip() for value in values if not _is_missing(value)}
    if guess.is_binary:
        fits = all(class_name(value) in guess.classes for value in _readable(texts))
        return guess if fits else TargetColumn(guess.name, "regression", (), guess.missing)
    if len(texts) > _MOST_CLASSES:
        return None
    return TargetColumn(guess.name, "class", tuple(sorted(texts)), guess.missing)


def as_classes(name: str, values: Iterable[object]) -> TargetColumn:
    """A column that the user calls a class, whatever it looks like: numbers in order, else texts in order.

    Raises:
        DataError: more distinct values than any class label has.
    """
    texts = {str(value).strip() for value in values if not _is_missing(value)}
    if not 2 <= len(texts) <= _MOST_NAMED_CLASSES:
        raise DataError(
            f"column {name!r} has {len(texts):,} distinct values, which is no class label",
            expected=f"2 to {_MOST_NAMED_CLASSES}",
            hint="label_kind=regression for numbers",
        )
    numbers = _readable(texts)
    if len(numbers) < len(texts):
        return TargetColumn(name, "class", tuple(sorted(texts)))
    return TargetColumn(name, "class", tuple(class_name(value) for value in sorted(set(numbers))))


def class_name(value: float) -> str:
    """How a number is written as the name of a class: ``1`` for 1.0."""
    return str(int(value)) if value == int(value) else str(value)


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
        if {text.lower() for text in texts} <= _SPLIT_WORDS:
            return None  # which part a row belongs to, as BACE's column "Model": for --split column:NAME
        if 2 <= len(texts) <= _MOST_CLASSES and len(filled) >= 3 * len(texts):
            return TargetColumn(name, "class", tuple(sorted(texts)), missing)
        return None
    distinct = sorted(set(numbers))
    are_whole = all(value == int(value) for value in distinct)
    if are_whole and len(numbers) > 2 and numbers == [numbers[0] + step for step in range(len(numbers))]:
        return None  # a running number
    if distinct in ([0.0, 1.0], [-1.0, 1.0]) or (distinct in ([0.0], [1.0]) and len(numbers) > 2):
        classes = (0.0, 1.0) if len(distinct) == 1 else tuple(distinct)
        return TargetColumn(name, "class", tuple(class_name(value) for value in classes), missing)
    return TargetColumn(name, "regression", (), missing)


def _as_numbers(values: Sequence[object]) -> list[float] | None:
    """All as numbers, or None if one in twenty or more is none."""
    numbers = _readable(values)
    return numbers if len(numbers) > 0.95 * len(values) else None


def _readable(values: Iterable[object]) -> list[float]:
    """Those that are finite numbers."""
    numbers: list[float] = []
    for value in values:
        try:
            parsed = number(value)
        except (ValueError, TypeError):
            continue
        if parsed is not None and abs(parsed) != float("inf"):
            numbers.append(parsed)
    return numbers
