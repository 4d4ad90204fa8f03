"""``memory``: the data set of a run whose data were given from Python and lie in no file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from repcore.errors import DataError

MEMORY = "memory"


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """What a run notes about data that only the program which started it held."""

    kind: str = field(default="", metadata={"help": "type of the object that was given"})
    rows: int = field(default=0, metadata={"help": "number of rows", "min": 0})


def not_on_disk(config: MemoryConfig) -> NoReturn:
    """Such data can only be given again from Python.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"the data ({config.kind or 'unknown'}, {config.rows:,} rows) were given from Python and lie in no file",
        hint="give them again: repcore.train(recipe, data=..., resume=RUN), or --data PATH",
    )
