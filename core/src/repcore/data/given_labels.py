"""Labels that stand beside inputs in memory, read as those of a table in a file, with the same settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from repcore.data.accounting import Accounting
from repcore.data.label_column import LabelColumn, LabelKind
from repcore.data.labels import read_labels
from repcore.errors import ConfigError

Uncertain = Literal["auto", "missing", "positive", "negative", "class"]
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "label_kind": get_args(LabelKind),
    "label_separator": (),
    "uncertain": get_args(Uncertain),
}
"""As readers of tables have them, with their values; none = any text."""


@dataclass(frozen=True, slots=True)
class LabelReading:
    """How labels are read.

    Args:
        names: which ones the settings are about; all if empty.
        settings: some of :data:`SETTINGS`; the rest is found in the values.
    """

    names: tuple[str, ...] = ()
    settings: Mapping[str, Any] | None = None

    @classmethod
    def taken(cls, options: dict[str, Any], names: Sequence[str] = ()) -> LabelReading:
        """From settings of a reader, out of which its own are taken.

        Raises:
            ConfigError: a value that a setting does not have.
        """
        found = {name: options.pop(name) for name in SETTINGS if name in options}
        for name, value in found.items():
            allowed = SETTINGS[name]
            if not isinstance(value, str) or (allowed and value not in allowed):
                raise ConfigError(f"{name}={value!r}", expected=", ".join(allowed) or "a text")
        return cls(tuple(names), found)

    def judged(self, columns: Mapping[str, Sequence[Any]], account: Accounting) -> list[LabelColumn]:
        """Columns that are labels; what every column was taken for is told to ``account``."""
        held = {str(name): list(cells) for name, cells in columns.items()}
        words = {name.removeprefix("label_"): value for name, value in (self.settings or {}).items()}
        meant = {name: cells for name, cells in held.items() if words and (not self.names or name in self.names)}
        found = {one.name: one for one in read_labels(meant, account=account, **words)} if meant else {}
        others = {name: cells for name, cells in held.items() if name not in meant}
        found |= {one.name: one for one in read_labels(others, account=account)} if others else {}
        return [found[name] for name in held if name in found and found[name].target is not None]
