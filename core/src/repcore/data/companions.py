"""Columns that say how a column of values beside them is meant: its relation (``>``), its unit, its quantity.

As ChEMBL, PubChem and laboratories export them: ``Standard Value`` with ``Standard Relation``, ``Standard Units`` and
``Standard Type``; ``ic50``, ``ic50_unit``, ``ic50_qualifier``. A value whose relation is not ``=`` is a bound, not a
value; values in several units or of several quantities are not one target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from repcore.data.cells import is_missing
from repcore.data.groups import plain_name

Role = Literal["relation", "unit", "quantity"]
_ROLE_WORDS: dict[str, Role] = {
    **dict.fromkeys(("relation", "qualifier", "operator", "modifier", "prefix", "censoring", "inequality"), "relation"),
    **dict.fromkeys(("unit", "units", "uom"), "unit"),
    **dict.fromkeys(("type", "quantity", "endpoint"), "quantity"),
}
_VALUE_WORDS = frozenset({"value", "values", "val", "result", "results", "measurement", "reading", "number"})
_EXACT = frozenset({"=", "==", "eq", "equal", "equals", "exact"})
_BOUNDS = frozenset({
    ">", "<", ">=", "<=", ">>", "<<", "=>", "=<", "~", "\u2265", "\u2264", "\u2248", "\u226b", "\u226a", "gt", "lt",
    "ge", "le", "gte", "lte", "approx",
})  # fmt: skip
_PLURAL = {"unit": "units", "quantity": "quantities"}
LEAST_RELATIONS = 0.9  # share of filled cells that must be relations
MOST_UNITS = 100
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the user says of values with such columns beside them.

    Args:
        ignore: read values as if there were no such columns.
        unit / quantity: of the values that count; empty = all have to be the same.
        change: how a user sets these.
    """

    ignore: bool = False
    unit: str = ""
    quantity: str = ""
    change: str = ""


AS_WRITTEN = Meaning()


@dataclass(slots=True)
class Companions:
    """Columns beside one of values, by role."""

    value: str
    columns: dict[Role, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exact:
    """A column of values without those that are none.

    Args:
        cells: None where a cell is a bound, or has another unit or quantity than was asked for.
        unit: of all values that are left.
        odd: sentences on cells that count as missing.
        why: why the values are no target; empty if they are one.
    """

    cells: list[Any]
    unit: str
    odd: list[str]
    why: str = ""


def find_companions(names: Sequence[str], cells: Callable[[str], Sequence[Any]]) -> dict[str, Companions]:
    """Companions by the name of the value column, found by names and checked by their cells."""
    by_stem: dict[str, list[tuple[Role, str]]] = {}
    for name in names:
        *words, last = plain_name(name).split("_")
        if last in _ROLE_WORDS:
            by_stem.setdefault("_".join(words), []).append((_ROLE_WORDS[last], name))
    found: dict[str, Companions] = {}
    for stem, companions in by_stem.items():
        checked = {role: name for role, name in companions if _fits(role, cells(name))}
        if "unit" not in checked:  # a type beside values may be anything
            checked.pop("quantity", None)
        value = _value_of(stem, [name for name in names if name not in checked.values()]) if checked else None
        if value is not None:
            found[value] = Companions(value, checked)
    return found


def _fits(role: Role, cells: Sequence[Any]) -> bool:
    words = [_word(cell) for cell in cells if not is_missing(cell)]
    if role == "relation":
        known = sum(word.lower() in _EXACT | _BOUNDS for word in words)
        return bool(words) and known >= LEAST_RELATIONS * len(words)
    numbers = sum(word[:1].isdecimal() for word in words)
    return bool(words) and numbers < 0.5 * len(words) and len(set(words)) <= MOST_UNITS


def _value_of(stem: str, names: Sequence[str]) -> str | None:
    """The column whose name is the stem, alone, with a word for values, or with a unit in brackets."""
    plain = {plain_name(name.partition("(")[0].partition("[")[0]): name for name in reversed(names)}
    wanted = [stem, *(f"{stem}_{word}" if stem else word for word in sorted(_VALUE_WORDS))]
    return next((plain[one] for one in wanted if one and one in plain), None)


def exact_values(
    companions: Companions, written: Sequence[Any], cells: Callable[[str], Sequence[Any]], meaning: Meaning
) -> Exact:
    """Values of a column whose companions are applied."""
    held, odd = list(written), []
    filled = sum(not is_missing(cell) for cell in held)
    relation = companions.columns.get("relation")
    if relation is not None:
        words = [_word(cell) for cell in cells(relation)]
        bounds = [
            row
            for row, word in enumerate(words)
            if not is_missing(word) and word.lower() not in _EXACT and not is_missing(held[row])
        ]
        if bounds:
            shown = ", ".join(f"{words[row] + str(held[row])!r} in row {row}" for row in bounds[:SHOWN])
            odd.append(
                f"column {companions.value!r}: {len(bounds):,} of {filled:,} filled cells are bounds by column "
                f"{relation!r} ({shown}) and count as missing"
            )
        for row in bounds:
            held[row] = None
    unit = ""
    others: tuple[tuple[Role, str], ...] = (("quantity", meaning.quantity), ("unit", meaning.unit))
    for role, asked in others:
        name = companions.columns.get(role)
        if name is None:
            continue
        unit, why = _one_of(companions.value, name, role, held, [_word(cell) for cell in cells(name)], asked, odd)
        if why:
            return Exact(held, "", odd, why)
    return Exact(held, unit if "unit" in companions.columns else "", odd)


def _one_of(
    value: str, column: str, role: str, held: list[Any], words: Sequence[str], asked: str, odd: list[str]
) -> tuple[str, str]:
    """The word that all filled values share, and why they are no target where they share none."""
    rows = [row for row, cell in enumerate(held) if not is_missing(cell)]
    counted = Counter(words[row] for row in rows if not is_missing(words[row]))
    if not counted:
        return "", ""
    shown = ", ".join(f"{word!r} {count:,} times" for word, count in counted.most_common(4))
    if asked and asked not in counted:
        return "", f"no value has the {role} {asked!r} by column {column!r} ({shown})"
    if len(counted) > 1 and not asked:
        return "", (
            f"its values have {len(counted)} {_PLURAL[role]} by column {column!r} ({shown}), which are not one target; "
            f"{role}={counted.most_common(1)[0][0]} keeps the values of one"
        )
    wanted = asked or next(iter(counted))
    others = [row for row in rows if words[row] != wanted]
    for row in others:
        held[row] = None
    if others:
        first = words[others[0]] or "none"
        odd.append(
            f"column {value!r}: {len(others):,} of {len(rows):,} values have another {role} than {wanted!r} by column "
            f"{column!r} ({first!r} in row {others[0]}) and count as missing"
        )
    return wanted, ""


def _word(cell: Any) -> str:
    """A cell without the quotes that exports put round relations (``'='``)."""
    return "" if cell is None else str(cell).strip().strip("'\"").strip()
