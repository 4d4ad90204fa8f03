"""Columns that say how a column of values beside them is meant: its relation (``>``), its unit, its quantity.

As ChEMBL, PubChem and laboratories export them: ``Standard Value`` with ``Standard Relation``, ``Standard Units`` and
``Standard Type``; ``ic50``, ``ic50_unit``, ``ic50_qualifier``. A value whose relation is not ``=`` is a bound, not a
value; values in several units or of several quantities are not one target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repcore.data.cells import is_missing, numbers_as_written
from repcore.data.companion_words import (
    BOUNDS,
    EXACT,
    QUANTITY_PHRASES,
    ROLE_WORDS,
    SIGNS,
    UNIT_PHRASES,
    VALUE_WORDS,
    Role,
    are_units,
    plain_word,
)
from repcore.data.item_columns import item_columns
from repcore.data.label_names import no_label_by_name

_PLURAL = {"unit": "units", "quantity": "quantities"}
LEAST_RELATIONS = 0.9  # share of filled cells that must be relations
MOST_UNITS = 100
LEAST_NUMBERS = 0.5  # share of filled cells from which a column holds values
SAMPLED = 1000  # cells of a column that may hold values
SHOWN = 3
TIME_UNITS = frozenset({"s", "sec", "second", "seconds", "ms", "us", "min", "h", "samples", "frames"})


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


@dataclass(slots=True)
class Found:
    """Columns that say how others are meant.

    Args:
        of: companions by the name of their column of values.
        unclear: why a column that must be one is applied to none, by its name.
    """

    of: dict[str, Companions] = field(default_factory=dict)
    unclear: dict[str, str] = field(default_factory=dict)

    def add(self, value: str, companions: Mapping[Role, str]) -> None:
        held = self.of.setdefault(value, Companions(value)).columns
        for role, name in companions.items():
            held.setdefault(role, name)


def find_companions(
    names: Sequence[str], cells: Callable[[str], Sequence[Any]], group_words: tuple[str, ...] = ()
) -> Found:
    """Companions of columns of values, found by names and checked by their cells.

    A name that begins as that of its values does tells whose it is (``IC50_unit``). One that is only such a word
    (``unit``, ``Einheit``, ``relation``), and cells that are only signs (``>``), belong to the column that is called
    value, or to the one column of numbers, or to the one that stands before a unit; else nobody knows.
    """
    by_stem: dict[str, list[tuple[Role, str]]] = {}
    for name in names:
        stem, role = _role_of(name, cells)
        if role is not None:
            by_stem.setdefault(stem, []).append((role, name))
    found, alone = Found(), list[tuple[Role, str]]()
    for stem, companions in by_stem.items():
        checked = {role: name for role, name in companions if _fits(role, cells(name))}
        if "unit" not in checked and plain_word(checked.get("quantity", "")) not in QUANTITY_PHRASES:
            checked.pop("quantity", None)  # a type beside values may be anything
        value = _value_of(stem, [name for name in names if name not in checked.values()]) if checked else None
        if value is not None:
            found.add(value, checked)
        elif stem in ("", "standard") or stem in VALUE_WORDS:
            alone += [(role, name) for role, name in checked.items() if role != "quantity"]
        elif checked:
            _join_by_beginning(stem, checked, names, cells, found)
    for role, name in alone:
        _join_alone(role, name, names, cells, group_words, {one for _, one in alone}, found)
    return found


def _role_of(name: str, cells: Callable[[str], Sequence[Any]]) -> tuple[str, Role | None]:
    """What a name begins with, and the role that its end, or signs in its cells, give."""
    plain = plain_word(name)
    if plain in UNIT_PHRASES:
        return "", "unit"
    if plain in QUANTITY_PHRASES:
        return "", "quantity"
    *words, last = plain.split("_")
    if last in ROLE_WORDS:
        return "_".join(words), ROLE_WORDS[last]
    written = cells(name)
    first = next((_word(cell) for cell in written if not is_missing(cell)), "")
    if first in SIGNS and all(is_missing(cell) or _word(cell) in SIGNS for cell in written):
        return "", "relation"
    return "", None


def _join_by_beginning(
    stem: str, checked: Mapping[Role, str], names: Sequence[str], cells: Callable[[str], Sequence[Any]], found: Found
) -> None:
    """``Ki_op`` says how ``Ki_nM`` is meant, where no other column of numbers begins so."""
    others = [name for name in names if name not in checked.values() and plain_word(name).startswith(f"{stem}_")]
    values = [name for name in others if _are_numbers(cells(name))]
    if len(values) == 1:
        found.add(values[0], checked)


def _join_alone(
    role: Role,
    name: str,
    names: Sequence[str],
    cells: Callable[[str], Sequence[Any]],
    group_words: tuple[str, ...],
    taken: Collection[str],
    found: Found,
) -> None:
    """A column that is called just unit or relation, and the values whose it must be."""
    words = {_word(cell) for cell in cells(name) if not is_missing(cell)}
    if role == "unit" and not are_units(words):
        return  # wards, shops, machines
    items = {one.name for one in item_columns(list(names))}
    values = [
        one
        for one in names
        if one not in taken
        and one not in items
        and _are_numbers(cells(one))
        and not no_label_by_name(one, cells(one)[:SAMPLED], group_words)
    ]
    if not values or (role == "unit" and items and all(word in TIME_UNITS for word in words)):
        return
    place = names.index(name)
    before = [one for one in values if names.index(one) < place]
    if len(values) > 1 and role == "unit" and len(before) == 1 and before[0] == names[place - 1]:
        values = before
    if len(values) == 1:
        found.add(values[0], {role: name})
        return
    what = "relations" if role == "relation" else "units"
    shown = ", ".join(map(repr, values[:SHOWN]))
    found.unclear[name] = (
        f"its cells are {what}, and nothing says whether of {shown}: values are read as they stand; a name such as "
        f"{values[0] + '_' + role!r} says whose they are"
    )


def _are_numbers(cells: Sequence[Any]) -> bool:
    some = cells[:SAMPLED]
    return numbers_as_written("", some)[0].number_share >= LEAST_NUMBERS


def _fits(role: Role, cells: Sequence[Any]) -> bool:
    words = [_word(cell) for cell in cells if not is_missing(cell)]
    if role == "relation":
        known = sum(word.lower() in EXACT | BOUNDS for word in words)
        return bool(words) and known >= LEAST_RELATIONS * len(words)
    numbers = sum(word[:1].isdecimal() for word in words)
    return bool(words) and numbers < 0.5 * len(words) and len(set(words)) <= MOST_UNITS


def _value_of(stem: str, names: Sequence[str]) -> str | None:
    """The column whose name is the stem, alone, with a word for values, or with a unit in brackets."""
    plain = {plain_word(name.partition("(")[0].partition("[")[0]): name for name in reversed(names)}
    wanted = [stem, *(f"{stem}_{word}" if stem else word for word in sorted(VALUE_WORDS))]
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
            if not is_missing(word) and word.lower() not in EXACT and not is_missing(held[row])
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
            if not asked:
                first = _most(held, [_word(cell) for cell in cells(name)])
                keeps = f"{role}={first} keeps the values of one"
                why += (
                    f"; {keeps}" if meaning.change else f"; a table of those of one {role}, such as {first!r}, is one"
                )
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
            f"its values have {len(counted)} {_PLURAL[role]} by column {column!r} ({shown}), which are not one target"
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


def _most(held: Sequence[Any], words: Sequence[str]) -> str:
    """The word of most values."""
    return Counter(
        word for word, cell in zip(words, held, strict=True) if not (is_missing(cell) or is_missing(word))
    ).most_common(1)[0][0]


def _word(cell: Any) -> str:
    """A cell without the quotes that exports put round relations (``'='``)."""
    return "" if cell is None else str(cell).strip().strip("'\"").strip()
