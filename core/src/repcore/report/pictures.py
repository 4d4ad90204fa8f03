"""Items drawn by the domain's render function, within bounds of time and size.

Pictures beside the map lie gzip-compressed in the page and are unpacked by the browser when first needed: SVG drawings
of one kind shrink to a tenth, which is what lets a thousand of them fit.
"""

from __future__ import annotations

import base64
import json
import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from repcore.data.guard import draw_sample, error_in_words
from repcore.errors import RepcoreError
from repcore.interfaces import Picture
from repcore.report.held_out import HeldOut
from repcore.report.styles import Styles
from repcore.training.estimate import PICTURE_SECONDS

PACKED_BYTES = 1_250_000  # a third more as base64 text
INLINE_BYTES = 1_100_000
GZIP = 16 + zlib.MAX_WBITS

log = logging.getLogger(__name__)


class Artist:
    """Draws items and remembers why one could not be drawn.

    Args:
        found: items with their reader and renderer.
        inline_bytes: most characters of HTML that :meth:`inline` gives out.
        styles: takes the styles of pictures into the page's sheet.
    """

    def __init__(self, found: HeldOut, inline_bytes: int = INLINE_BYTES, styles: Styles | None = None) -> None:
        self._found, self._styles = found, styles or Styles()
        self._left = inline_bytes
        self._drawn: dict[int, Picture | None] = {}
        self.problem = ""  # why the first could not be drawn
        self.undrawn = 0
        self.left_out = 0

    @property
    def can_draw(self) -> bool:
        return self._found.render is not None

    def draw(self, place: int) -> Picture | None:
        """The picture of one item; None where it cannot be read or drawn."""
        if self._found.render is None:
            return None
        if place not in self._drawn:
            self._drawn[place] = self._drawing(place)
        return self._drawn[place]

    def _drawing(self, place: int) -> Picture | None:
        assert self._found.render is not None
        try:
            drawn = draw_sample(self._found.render, self._found.sample(place))
        except RepcoreError as error:  # one item's drawing must not cost the report
            if not self.problem:  # the page says how many there were
                log.warning("report: item %s cannot be drawn", self._found.ids[place], exc_info=True)
            self.undrawn += 1
            words = error_in_words(error.__cause__) if error.__cause__ is not None else error.summary
            self.problem = self.problem or words
            return None
        return replace(drawn, html=self._styles.classed(drawn.html))

    def inline(self, places: Sequence[int]) -> list[Picture | None]:
        """Pictures that are looked at together: all of them, or none where the page has no room for all."""
        pictures = [self.draw(place) for place in places]
        needed = sum(len(one.html) for one in pictures if one is not None)
        if needed > self._left:
            self.left_out += sum(one is not None for one in pictures)
            return [None] * len(pictures)
        self._left -= needed
        return pictures


@dataclass(frozen=True, slots=True)
class PackedPictures:
    """Pictures for the page's script.

    Args:
        text: base64 of gzip of one JSON object a line: ``{"place", "html", "alt"}``; empty if there are none.
        count / total: items with a picture, and all.
    """

    text: str
    count: int
    total: int


def pack_pictures(
    artist: Artist, order: Sequence[int], *, most_bytes: int = PACKED_BYTES, seconds: float = PICTURE_SECONDS
) -> PackedPictures:
    """Draw items in the given order until size or time is used up.

    Args:
        order: places of items; draw from all over the data, since the last ones may be left out.
        most_bytes: of the compressed pictures; one that does not fit is passed over.
        seconds: after which no further picture is begun.
    """
    if not artist.can_draw:
        return PackedPictures("", 0, len(order))
    started = time.perf_counter()
    packer, packed, count = zlib.compressobj(6, zlib.DEFLATED, GZIP), b"", 0
    for place in order:
        if time.perf_counter() - started > seconds:
            break
        picture = artist.draw(place)
        if picture is None:
            continue
        line = json.dumps({"place": place, "html": picture.html, "alt": picture.alt}) + "\n"
        attempt = packer.copy()
        piece = attempt.compress(line.encode()) + attempt.flush(zlib.Z_SYNC_FLUSH)
        if len(packed) + len(piece) <= most_bytes:
            packer, packed, count = attempt, packed + piece, count + 1
    packed += packer.flush()
    return PackedPictures(base64.b64encode(packed).decode() if count else "", count, len(order))
