"""Structure-data files: mol blocks (V2000, V3000) with properties between them, ``$$$$`` after each.

Every block is one record, also one that RDKit cannot read: it keeps its name and its properties, and says why. Bonds
and stereo come from the block (wedges, or coordinates in three dimensions); coordinates themselves are not kept.

Source of the format: CTfile formats, BIOVIA 2020 (public document), chapters on molfiles and SDfiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdkit import Chem
from rdkit.rdBase import BlockLogs

from repcore.data.encodings import Encoding
from repcore.data.records import open_text, universal_lines
from repcore.errors import DataError

SUFFIXES = (".sdf", ".sd", ".mol")
_PROPERTY = re.compile(r"^>.*?<([^>]*)>")
_COUNTS_LINE = 3  # three header lines come first


@dataclass(frozen=True, slots=True)
class Record:
    """One molecule of a file.

    Args:
        name: title line; empty if it has none.
        smiles: canonical SMILES; empty if the block cannot be read, or holds no atom.
        properties: text by property name, in the order of the file.
        problem: why the block cannot be read; empty otherwise.
        repeated: properties that the record has more than once; the last one counts.
    """

    name: str
    smiles: str
    properties: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    repeated: tuple[str, ...] = ()


def is_sdf(path: Path) -> bool:
    """By its name, ``.gz`` looked through."""
    suffixes = [one.lower() for one in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in SUFFIXES


def read_records(path: Path) -> Iterator[Record]:
    """Records in the order of the file.

    Raises:
        DataError: the file cannot be read at all.
    """
    silence = BlockLogs()
    try:
        with open_text(path, Encoding("utf-8", "")) as file:
            for lines in _blocks(universal_lines(file)):
                yield _record(lines)
    except (OSError, EOFError) as error:
        raise DataError(f"{str(path)!r} is damaged or not what its name says: {error}") from error
    finally:
        del silence


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in lines:
        if line.startswith("$$$$"):
            yield block
            block = []
        else:
            block.append(line.rstrip("\r\n"))
    if any(line.strip() for line in block):  # a mol file, or a last record that was not closed
        yield block


def _record(lines: list[str]) -> Record:
    end = next((place + 1 for place, line in enumerate(lines) if line.startswith("M  END")), len(lines))
    smiles, problem = _structure(lines[:end])
    properties, repeated = _properties(lines[end:])
    return Record(lines[0].strip() if lines else "", smiles, properties, problem, repeated)


def _structure(block: list[str]) -> tuple[str, str]:
    """SMILES of a mol block, and why there is none."""
    if not block or not block[-1].startswith("M  END"):
        return "", "the mol block has no 'M  END': it is cut off, or no mol block"
    text = "\n".join(block)
    mol: Any = Chem.MolFromMolBlock(text)  # Any: RDKit's stubs do not know that it gives None
    if mol is not None:
        return str(Chem.MolToSmiles(mol)), ""
    raw = Chem.MolFromMolBlock(text, sanitize=False)
    problems = [] if raw is None else [one.Message().strip() for one in Chem.DetectChemistryProblems(raw)]
    counts = block[_COUNTS_LINE].strip() if len(block) > _COUNTS_LINE else ""
    return "", "; ".join(problems)[:200] or f"RDKit cannot read the mol block (counts line: {counts[:40]!r})"


def _properties(lines: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Text by name, and names that come again."""
    found: dict[str, str] = {}
    repeated: list[str] = []
    name = None
    for line in lines:
        if line.startswith(">"):
            match = _PROPERTY.match(line)
            name = match.group(1).strip() if match else None
            if name is not None:
                if name in found:
                    repeated.append(name)
                found[name] = ""
        elif not line.strip():
            name = None
        elif name is not None:
            found[name] = f"{found[name]}\n{line}" if found[name] else line.strip()
    return found, tuple(repeated)
