"""Styles of pictures without ``style`` attributes, which the page's content security policy forbids.

A renderer writes ``style="..."``; the page carries each distinct style once, as a rule of its own style sheet, and the
element gets the rule's class. Only declarations of a simple grammar become rules, so that no text of a picture can
end its rule and begin another. ``<style>`` elements of an installed renderer get the page's nonce.
"""

from __future__ import annotations

import html
import re

_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"""<[A-Za-z][^\s>/"']*(?:[^>"']|"[^"]*"|'[^']*')*>""")
_ATTRIBUTE = re.compile(r"""(\s)(style|class)\s*=\s*("[^"]*"|'[^']*')""", re.IGNORECASE)
_PLAIN = r"""[^;:{}<>@\\"'()\n]"""
_QUOTED = r""""[^"\\\n<]*"|'[^'\\\n<]*'"""
_INNER = rf"(?:{_PLAIN}|[:;]|{_QUOTED})*"
_VALUE = rf"(?:{_PLAIN}|{_QUOTED}|\((?:{_PLAIN}|{_QUOTED}|:|\({_INNER}\))*\))+"
_DECLARATION = re.compile(rf"\s*(?P<name>-{{0,2}}[A-Za-z][A-Za-z0-9-]*)\s*:(?P<value>{_VALUE})(?:;|\Z)")


class Styles:
    """Rules of one page; equal styles share a rule.

    Args:
        nonce: of the page, for ``<style>`` elements of renderers.
    """

    def __init__(self, nonce: str = "") -> None:
        self._nonce = nonce
        self._names: dict[str, str] = {}

    def classed(self, markup: str) -> str:
        """The same picture with classes instead of ``style`` attributes; scripts stay as they are."""
        parts, place = [], 0
        for script in _SCRIPT.finditer(markup):
            parts += [self._without(markup[place : script.start()]), script.group()]
            place = script.end()
        return "".join([*parts, self._without(markup[place:])])

    @property
    def sheet(self) -> str:
        """The rules as CSS; stronger than the page's own, as attributes are."""
        return "\n".join(f".{name}.{name}.{name}{{{rule}}}" for rule, name in self._names.items())

    def _without(self, markup: str) -> str:
        return _TAG.sub(lambda found: self._tag(found.group()), markup)

    def _tag(self, tag: str) -> str:
        if tag[:6].lower() == "<style" and self._nonce:
            return f'{tag[:6]} nonce="{self._nonce}"{tag[6:]}'
        given = {name.lower(): html.unescape(text[1:-1]) for _, name, text in reversed(_ATTRIBUTE.findall(tag))}
        if "style" not in given:
            return tag
        names = [*given.get("class", "").split(), *self._name(given["style"])]
        bare = _ATTRIBUTE.sub("", tag)
        end = len(bare) - (2 if bare.endswith("/>") else 1)
        return f'{bare[:end]} class="{html.escape(" ".join(names))}"{bare[end:]}' if names else bare

    def _name(self, style: str) -> list[str]:
        rule = declarations(style)
        return [self._names.setdefault(rule, f"st{len(self._names)}")] if rule else []


def declarations(style: str) -> str:
    """The declarations of a ``style`` attribute that are well-formed, without the rest."""
    kept, place = [], 0
    while place < len(style):
        found = _DECLARATION.match(style, place)
        if found is None:
            place = style.find(";", place) + 1 or len(style)
            continue
        place = found.end()
        if "/*" not in found["value"]:
            kept.append(f"{found['name'].lower()}:{' '.join(found['value'].split())}")
    return ";".join(kept)
