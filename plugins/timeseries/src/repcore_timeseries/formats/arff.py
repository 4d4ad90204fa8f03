"""``.arff`` files: plain (an attribute a step) and relational (one quoted field with ``\\n`` between channels)."""

from __future__ import annotations

import re
from pathlib import Path

from repcore.errors import DataError
from repcore_timeseries.formats.archives import Archive, Case, guarded, header_value, numbers, stacked, text_lines

NOMINAL = re.compile(r"\{(.*)\}")


def read_arff(path: Path) -> Archive:
    """All cases; the last attribute is the label where it lists its values or is called target or class.

    Raises:
        DataError: there is no ``@data`` line, or nothing behind it.
    """
    cases: list[Case] = []
    classes: tuple[str, ...] = ()
    is_data = is_relational = has_label = is_regression = False
    for number, raw in enumerate(text_lines(path)):
        line = raw.strip()
        if not line or line.startswith("%"):
            continue
        if is_data:
            cases.append(
                guarded(number, lambda line=line, of=is_relational, known=has_label: _case(line, of, known))  # type: ignore[misc]
            )
            continue
        key, value = header_value(line)
        if key == "attribute":
            nominal = NOMINAL.search(value)
            name, _, kind = value.partition(" ")
            is_relational |= kind.strip().lower() == "relational"
            is_regression = nominal is None and name.strip("'\"").lower() in ("target", "class", "y")
            has_label = nominal is not None or is_regression
            classes = tuple(one.strip().strip("'\"") for one in nominal[1].split(",")) if nominal else ()
        is_data = key == "data"
    if not cases:
        raise DataError(f"{str(path)!r} has no case" if is_data else f"{str(path)!r} has no line @data")
    return Archive(path, cases, classes, is_regression)


def _case(line: str, is_relational: bool, has_label: bool) -> Case:
    if is_relational:
        quote = line[0]
        if quote not in "'\"" or quote not in line[1:]:
            raise ValueError("the field of values is not quoted")
        body, _, rest = line[1:].rpartition(quote)
        label = rest.lstrip(", ").strip()
        series = stacked([numbers(one) for one in body.split("\\n")])
    else:
        body, _, label = line.rpartition(",") if has_label else (line, "", "")
        series = stacked([numbers(body)])
    label = label.strip().strip("'\"")
    return Case(series, label if has_label and label not in ("?", "") else None)
