"""Text that others wrote (file names, received settings, downloaded tables) on its way to people: data, never commands.

Three places could mistake it for something else: a terminal (control characters), a Markdown reader (links, HTML), and
whoever copies a suggested command into a shell. Each has one function here, and everything that is shown goes through.
"""

from __future__ import annotations

import html
import re

from repcore.credentials import without_credentials

# C0 and C1 controls but tab and newline, bidirectional overrides and isolates, line and paragraph separators, and the
# surrogates that stand for bytes of file names that are not UTF-8
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_HIDDEN = re.compile("[\x00\x07\x08\x1b\u202a-\u202e\u2066-\u2069]")  # in a page of HTML
_MARKDOWN = re.compile(r"([\\`*{}\[\]()#|!~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")  # a_b needs no escape
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._~/%?=&#+,:;@-]*)?")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})")


def printable(text: str) -> str:
    """Text for a terminal: control characters as ``\\x1b``, so that they are seen and do nothing, and addresses without
    their credentials."""
    return _UNPRINTABLE.sub(_escaped, without_credentials(text))


def page_text(page: str) -> str:
    """A finished page for a file: control characters and direction overrides, which stand in its texts only (data in it
    are ASCII), as ``\\x1b``; half characters as question marks."""
    return _HIDDEN.sub(_escaped, page.encode("utf-8", "replace").decode("utf-8"))


def one_line(text: str) -> str:
    """Like :func:`printable`, with newlines and tabs as blanks."""
    return printable(" ".join(text.split()))


def markdown(text: str) -> str:
    """Text for a Markdown document: no HTML, no link, no heading, on one line; code spans of its own are kept."""
    return _MARKDOWN.sub(r"\\\1", html.escape(one_line(text), quote=False).replace("://", ":&#47;&#47;"))


def paragraphs(text: str) -> str:
    """Like :func:`markdown` for a longer text, whose empty lines stay."""
    return "\n\n".join(markdown(one) for one in re.split(r"\n\s*\n", text) if one.strip())


def link_or_text(text: str) -> str:
    """A plain web address stays one that can be followed; anything else is text."""
    return f"<{text}>" if _ADDRESS.fullmatch(text) else markdown(text)


def is_distribution(name: str) -> bool:
    """Whether a text is the name of a Python distribution and nothing else."""
    return _DISTRIBUTION.fullmatch(name) is not None


def is_plain_name(name: str) -> bool:
    """Whether a text is one word of a registered name (``audio``, ``ssamba-2``)."""
    return _NAME.fullmatch(name) is not None


def pip_install(distribution: str, version: str = "") -> str:
    """``pip install "NAME==VERSION"``; empty when what was received is no name or version."""
    if not is_distribution(distribution) or (version and _VERSION.fullmatch(version) is None):
        return ""
    return f'pip install "{distribution}=={version}"' if version else f"pip install {distribution}"  # nothing to quote


def _escaped(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else _code(number)


def _code(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
