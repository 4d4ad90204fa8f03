"""Pictures of items as HTML: what of it may stand in a page.

A renderer's HTML is made by installed code, ``pictures.jsonl`` of a run that was received is not. Both pass here: known
elements of HTML and SVG, known attributes, images and sounds inside the page. Scripts, handlers, links, foreign objects
and everything that would ask a network are left out, with their content where they have any.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

_TAGS = """
div span p b i em strong small sub sup br hr ul ol li dl dt dd table caption thead tbody tr th td figure figcaption
img image audio canvas code pre svg g path line polyline polygon rect circle ellipse text tspan defs clippath
lineargradient radialgradient stop title desc use marker pattern symbol
"""
TAGS = frozenset(_TAGS.split())
VOID = frozenset(("br", "hr", "img"))
SVG_NAMES = {"clippath": "clipPath", "lineargradient": "linearGradient", "radialgradient": "radialGradient"}
SVG_ATTRIBUTES = {
    name.lower(): name
    for name in ("viewBox", "preserveAspectRatio", "gradientUnits", "gradientTransform", "clipPathUnits", "markerWidth",
                 "markerHeight", "refX", "refY", "patternUnits", "textLength", "lengthAdjust", "spreadMethod",
                 "baseProfile")
}  # fmt: skip
_ATTRIBUTES = """
class style id title alt role width height colspan rowspan scope lang controls preload x y x1 y1 x2 y2 cx cy r rx ry d
dx dy points fill stroke opacity offset transform viewbox preserveaspectratio xmlns version gradientunits
gradienttransform clippathunits markerwidth markerheight refx refy patternunits textlength lengthadjust spreadmethod
stop-color stop-opacity fill-opacity fill-rule clip-path clip-rule stroke-width stroke-opacity stroke-linecap
stroke-linejoin stroke-dasharray stroke-dashoffset stroke-miterlimit font-size font-family font-weight font-style
text-anchor dominant-baseline alignment-baseline baseline-shift letter-spacing vector-effect shape-rendering
marker-start marker-mid marker-end paint-order focusable tabindex baseprofile
"""
ATTRIBUTES = frozenset(_ATTRIBUTES.split())
INSIDE = re.compile(r"data:(image/(png|jpeg|gif|webp)|audio/(wav|x-wav|mpeg|ogg|flac));base64,[A-Za-z0-9+/=\s]*", re.I)
DESCRIBING = re.compile(r"(aria|data)-[a-z-]+")
LOCAL = re.compile(r"#[A-Za-z][\w.:-]*")
OUTSIDE_STYLE = re.compile(r"url\s*\(\s*(?!['\"]?#)|expression|@import|javascript:|\\|/\*|position\s*:\s*fixed", re.I)
CALLED = re.compile(r"([a-z-]+)\s*\(", re.I)
_FUNCTIONS = """
url rgb rgba hsl hsla hwb lab lch oklab oklch color color-mix calc min max clamp var translate translatex translatey
translatez translate3d rotate rotatex rotatey rotatez rotate3d scale scalex scaley scalez scale3d skew skewx skewy
matrix matrix3d perspective linear-gradient radial-gradient conic-gradient repeating-linear-gradient cubic-bezier steps
repeat
minmax fit-content blur brightness contrast opacity polygon circle ellipse inset
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())  # of CSS; ``url`` to a place in the page only
WORDS = frozenset(("title", "alt", "id", "class", "lang"))  # are not read as CSS
SILENT = frozenset(
    ("script", "style", "iframe", "object", "embed", "template", "foreignobject", "noscript", "textarea")
)
MOST_DEPTH = 200


def left_out(text: str) -> list[str]:
    """What :func:`safe_markup` would leave out of a picture, in words: elements, attributes, addresses, styles."""
    cleaner = _Cleaner()
    cleaner.feed(text)
    cleaner.close()
    return cleaner.removed


def safe_markup(text: str) -> str:
    """The allowed part of a picture's HTML, well-formed: every element that is opened is closed.

    Args:
        text: HTML or SVG, trusted or not.
    """
    cleaner = _Cleaner()
    cleaner.feed(text)
    cleaner.close()
    return cleaner.result()


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._silent: list[str] = []
        self.removed: list[str] = []  # in words

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs, closed=False)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs, closed=True)

    def _start(self, tag: str, attrs: list[tuple[str, str | None]], *, closed: bool) -> None:
        if tag in SILENT and not closed:
            self._silent.append(tag)
        if self._silent or tag not in TAGS or len(self._open) >= MOST_DEPTH:
            self.removed.append(f"an element <{tag}>")
            return
        name = SVG_NAMES.get(tag, tag)
        allowed = _allowed(tag, attrs)
        kept = "".join(f' {SVG_ATTRIBUTES.get(key, key)}="{html.escape(value)}"' for key, value in allowed)
        if len(allowed) < len(attrs):
            names = {key.removeprefix("xlink:") for key, _ in allowed}
            lost = [(key, value or "") for key, value in attrs if key.lower().removeprefix("xlink:") not in names]
            told = [(key, value) for key, value in lost if not key.startswith(("xmlns:", "xml:"))]  # declare names only
            self.removed += [f"{key}={value[:60]!r} on <{tag}>" for key, value in told]
        if tag in VOID:
            self._parts.append(f"<{name}{kept}>")
            return
        self._parts.append(f"<{name}{kept}>")
        if closed:
            self._parts.append(f"</{name}>")
        else:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.pop()
            return
        if tag in self._open:
            while self._open:
                last = self._open.pop()
                self._parts.append(f"</{SVG_NAMES.get(last, last)}>")
                if last == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._parts.append(html.escape(data, quote=False))

    def result(self) -> str:
        for tag in reversed(self._open):
            self._parts.append(f"</{SVG_NAMES.get(tag, tag)}>")
        self._open = []
        return "".join(self._parts)


def _allowed(tag: str, attrs: list[tuple[str, str | None]]) -> list[tuple[str, str]]:
    kept = []
    for key, given in attrs:
        name, value = key.lower(), given or ""
        if name in ("xlink:href", "href"):
            if LOCAL.fullmatch(value.strip()) or (tag == "image" and INSIDE.fullmatch(value.strip())):
                kept.append(("href", value.strip()))
        elif name == "src":
            if tag in ("img", "audio") and INSIDE.fullmatch(value.strip()):
                kept.append((name, value.strip()))
        elif DESCRIBING.fullmatch(name) or (name in ATTRIBUTES and _stays_inside(name, html.unescape(value))):
            kept.append((name, value))
    return kept


def _stays_inside(name: str, value: str) -> bool:
    """Whether the value of an attribute asks nothing of a network and covers nothing of the page."""
    if OUTSIDE_STYLE.search(value):
        return False
    return name in WORDS or all(one.lower() in FUNCTIONS for one in CALLED.findall(value))
