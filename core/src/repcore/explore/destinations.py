"""Where the page of ``repcore explore`` goes: one self-contained file, or the folder of a static site.

Neither asks a network. Points, ids, columns and neighbours lie in it as data, never as markup; pictures are packed as
those of a report are. Scripts and styles carry the page's nonce, nothing else runs.

index.html            of a site: the page with its points, ids and columns
late.js               what is made after it: a further map, neighbours, notes; an open page asks until it is whole
pictures-000.js       drawn items of 50 rows, loaded when one of them is looked at
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from repcore.errors import DataError
from repcore.files import entries_of, write_text
from repcore.outputs import folder_for
from repcore.report.build import page_nonce
from repcore.report.held_out import HeldOut
from repcore.report.pictures import Artist, pack_pictures
from repcore.report.styles import Styles
from repcore.untrusted import page_text

INDEX, LATE = "index.html", "late.js"
OWN = re.compile(r"index\.html|late\.js|pictures-\d{3,}\.js")
FILE_BYTES, FILE_SECONDS = 12_000_000, 120.0  # of all pictures, packed
SITE_BYTES, SITE_SECONDS = 500_000_000, 1800.0
ROWS_A_PIECE = 50


class Destination(Protocol):
    """A page on its way."""

    def begin(self, pending: str) -> None:
        """Write what there is already; ``pending`` says what follows."""

    def draw(
        self, found: HeldOut, places: np.ndarray, seed: int, most: int | None, seconds: float | None
    ) -> tuple[int, str]:
        """Draw items until size or time is used up; how many, and why the first could not be drawn.

        Args:
            places: row of the data of every point, -1 where it has none, (N,).
        """

    def finish(self, late: Mapping[str, Any]) -> None:
        """Write the rest."""


class OneFile:
    """One self-contained file, written anew when everything is there.

    Args:
        data: ids, columns and the first map.
    """

    def __init__(self, path: Path, title: str, data: Mapping[str, Any]) -> None:
        self._path, self._title, self._data = path, title, data
        self._nonce, self._pictures = page_nonce(), ""
        self._styles = Styles(self._nonce)

    def begin(self, pending: str) -> None:
        note = f"Being made: {pending}. Load this page again when the command is done."
        self._write({"notes": [note] if pending else []})

    def draw(
        self, found: HeldOut, places: np.ndarray, seed: int, most: int | None, seconds: float | None
    ) -> tuple[int, str]:
        artist = Artist(found, styles=self._styles)
        order = np.random.default_rng(seed).permutation(np.flatnonzero(places >= 0))  # from all over the data
        packed = pack_pictures(
            artist, [int(one) for one in order], most_bytes=FILE_BYTES if most is None else most,
            seconds=FILE_SECONDS if seconds is None else seconds,
        )  # fmt: skip
        self._pictures = packed.text
        return packed.count, artist.problem

    def finish(self, late: Mapping[str, Any]) -> None:
        self._write({**late, "styles": self._styles.sheet})

    def _write(self, late: Mapping[str, Any]) -> None:
        write_text(self._path, page_of(self._title, self._data, self._nonce, late, self._pictures))


class Site:
    """A folder of static files, which any web server, or none, can show.

    Raises:
        DataError: the folder holds something else.
    """

    def __init__(self, path: Path, title: str, data: Mapping[str, Any]) -> None:
        check_site(path)
        self._path, self._title, self._data, self._nonce = path, title, data, page_nonce()
        self._styles, self._pieces = Styles(self._nonce), list[int]()

    def begin(self, pending: str) -> None:
        folder_for(self._path, "--export")
        for old in entries_of(self._path):
            old.unlink()
        self._late({"pending": pending, "notes": [f"Being made: {pending}."] if pending else []})
        write_text(self._path / INDEX, page_of(self._title, self._data, self._nonce, None, ""))

    def draw(
        self, found: HeldOut, places: np.ndarray, seed: int, most: int | None, seconds: float | None
    ) -> tuple[int, str]:
        left = SITE_BYTES if most is None else most
        until = time.perf_counter() + (SITE_SECONDS if seconds is None else seconds)
        count, problem = 0, ""
        for piece in np.random.default_rng(seed).permutation(-(-len(places) // ROWS_A_PIECE)).tolist():
            rows = [row for row in range(piece * ROWS_A_PIECE, (piece + 1) * ROWS_A_PIECE) if row < len(places)]
            artist = Artist(found, styles=self._styles)  # one a piece: it keeps what it draws
            packed = pack_pictures(
                artist, [row for row in rows if places[row] >= 0], most_bytes=left,
                seconds=max(0.0, until - time.perf_counter()),
            )  # fmt: skip
            problem = problem or artist.problem
            if packed.count:
                text = f"repcorePictures({json.dumps(packed.text)});"
                write_text(self._path / f"pictures-{piece:03}.js", text)
                self._pieces.append(piece)
                count, left = count + packed.count, left - len(packed.text) * 3 // 4
        return count, problem

    def finish(self, late: Mapping[str, Any]) -> None:
        pieces = {"rows": ROWS_A_PIECE, "there": sorted(self._pieces)}
        self._late({**late, "styles": self._styles.sheet, "pieces": pieces})

    def _late(self, late: Mapping[str, Any]) -> None:
        write_text(self._path / LATE, f"repcoreLate({_inert(late)});\n")


def check_site(path: Path, *, overwrite: bool = True) -> None:
    """Refuse a folder that holds anything but a site of ours.

    Raises:
        DataError: names what to do.
    """
    there = [one.name for one in entries_of(path)] if path.is_dir() else []
    strange = next((one for one in there if not OWN.fullmatch(one)), None)
    if strange is not None:
        raise DataError(f"{str(path)!r} holds {strange!r}, which is no part of a site", hint="name a new folder")
    if there and not overwrite:
        raise DataError(f"{str(path)!r} holds a site", hint="--overwrite")


def page_of(title: str, data: Mapping[str, Any], nonce: str, late: Mapping[str, Any] | None, pictures: str) -> str:
    """The page's text.

    Args:
        late: None = it lies in ``late.js``.
    """
    page = _templates().get_template("explore.html.j2").render(
        title=title, count=len(data["ids"]), nonce=nonce, data=_inert(data), late=_inert(late), pictures=pictures
    )  # fmt: skip
    return page_text(page)


def _inert(data: Mapping[str, Any] | None) -> Markup:
    """JSON in which no text can end the element that holds it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("repcore.explore"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
