"""From the names that a table gives to files: beside the table, in the usual folders, by last parts, without suffix.

Tables travel: their absolute paths belong to another machine, their separators to another system, and some leave the
suffix out. What was found otherwise than as written is counted and said.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from repcore.data.accounting import Accounting
from repcore.data.catalogue import files_below
from repcore.data.names import composed, loose, unpadded
from repcore.data.side_tables import Keys
from repcore.files import is_file
from repcore_audio.datasets.recordings import SUFFIXES, Note

FOLDERS = ("", "recordings", "audio", "wavs", "wav", "clips", "sounds", "data", "../audio", "../recordings", "../wav")
"""Where recordings lie, seen from their table."""
_DRIVE = re.compile(r"^[A-Za-z]:[\\/]")


def is_sound_name(text: object) -> bool:
    """Whether a cell is written like the name of a recording."""
    return isinstance(text, str) and text.strip().strip("\"'").lower().endswith(SUFFIXES)


class Locator:
    """Files of one table.

    Args:
        folder: of the table.
        table: where its name counts: ``train.csv`` means files of ``train`` where others have the same names.
    """

    def __init__(self, folder: Path, table: Path | None = None) -> None:
        self.folder, self.table = folder, table
        self._how: Counter[str] = Counter()

    def find(self, name: str | None) -> tuple[Path, Note | None]:
        """The file behind a name, or where it should be and why it cannot be used."""
        if name is None:
            return self.folder, ("missing_file", "the row names no file")
        plain = name.strip().strip("\"'")
        if plain.startswith("file://"):
            plain = unquote(plain[len("file://") :])
        if re.match(r"^[a-z][a-z0-9+.-]+://", plain, re.IGNORECASE):
            return self.folder / "remote", ("missing_file", f"{plain} is an address, not a file: download it first")
        written = plain if is_file(self.folder / plain) else plain.replace("\\", "/")
        found = self._beside(written) or self._by_last_parts(written) or self._without_suffix(written)
        found = found or self._spelt_otherwise(written) or self._padded(written)
        if found is not None:
            return found, None
        return self.folder / written, ("missing_file", f"{plain} does not exist{self._alike(written)}")

    def tell(self, account: Accounting) -> None:
        """Say how files were found that are not where the table says."""
        for how, count in self._how.items():
            account.note(f"{count:,} {how}")

    def _beside(self, name: str) -> Path | None:
        if _DRIVE.match(name):
            return None
        for place in FOLDERS:
            candidate = self.folder / place / name  # an absolute name replaces the folder
            if is_file(candidate):
                return candidate
        return None

    def _by_last_parts(self, name: str) -> Path | None:
        """The longest tail of an absolute path that is there."""
        if not (_DRIVE.match(name) or name.startswith(("/", "~"))):
            return None
        parts = PurePosixPath(_DRIVE.sub("/", name)).parts[1:]
        for first in range(len(parts)):
            found = self._beside("/".join(parts[first:]))
            if found is not None:
                self._how["paths do not exist on this machine; files were found by the last parts of their paths"] += 1
                return found
        return None

    def _without_suffix(self, name: str) -> Path | None:
        """The only file with this name and the suffix of a recording, or the only one of this name further below."""
        last = PurePosixPath(name).name
        found = self._by_stem.get(last.lower(), []) if not is_sound_name(last) else []
        if len(found) == 1:
            self._how["names have no suffix; files were found by the rest of their names"] += 1
            return found[0]
        if is_sound_name(last) and "/" not in name:
            below = [path for path in self._by_stem.get(Path(last).stem.lower(), []) if path.name == last]
            if len(below) == 1:
                self._how["files were found in folders below that the table does not name"] += 1
                return below[0]
        return None

    def _spelt_otherwise(self, name: str) -> Path | None:
        """The only file whose name differs in case or in how accented letters are stored, but in nothing else."""
        last = PurePosixPath(name).name
        stem = Path(last).stem
        found = [
            path
            for spelt in {stem.lower(), unicodedata.normalize("NFD", stem).lower(), composed(stem).lower()}
            for path in self._by_stem.get(spelt, [])
            if composed(path.name).casefold() == composed(last).casefold()
        ]
        if len(set(found)) != 1:
            return None
        self._how["names differ from those of the files in case or in how accented letters are stored"] += 1
        return found[0]

    def _padded(self, name: str) -> Path | None:
        """The only file whose name is this number with zeros before it, as spreadsheets take them away."""
        last = PurePosixPath(name).name
        stem = Path(last).stem if is_sound_name(last) else last.removesuffix(".0")
        found = self._by_stem.get(self._unpadded.get(stem, ""), [])
        if len(found) != 1:
            return None
        self._how["names are numbers without the leading zeros of the files"] += 1
        return found[0]

    @cached_property
    def _unpadded(self) -> dict[str, str]:
        return unpadded(self._by_stem)

    def _alike(self, name: str) -> str:
        stem = PurePosixPath(name).stem.lower()
        same = [one for one in self._by_stem.get(stem, []) if one.name == PurePosixPath(name).name]
        if len(same) > 1:
            places = ", ".join(one.parent.relative_to(self.folder).as_posix() for one in same[:3])
            return f" beside the table; {len(same)} files have that name, in {places}"
        found = self._by_stem.get(stem, []) or [
            one for other, paths in self._by_stem.items() if loose(other) == loose(stem) for one in paths
        ]
        return f" ({found[0].name} does)" if found else ""

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self._spoken_of(files_below(self.folder, SUFFIXES)):
            found.setdefault(path.stem.lower(), []).append(path)
        return found

    def _spoken_of(self, files: list[Path]) -> list[Path]:
        if self.table is None:
            return files
        above = [path.relative_to(self.folder).parts[:-1] for path in files]
        keys = Keys(self.folder, above, lambda name: PurePosixPath(name).stem)
        for number, path in enumerate(files):
            keys.add(number, {path.name})
        among = keys.scope(self.table)
        return [path for number, path in enumerate(files) if among is None or number in among]
