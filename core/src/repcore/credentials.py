"""Credentials in addresses: used to open them, never shown or written down.

``https://me:secret@host/x.csv?token=abc`` is shown and recorded as ``https://me:***@host/x.csv?token=***``: that text
takes its place wherever the address goes. What it stands for is held in this process, and in the environment for those
that it starts; another command, which finds the recorded text, has to be given the address again.
"""

from __future__ import annotations

import json
import os
import re

HIDDEN = "***"
VARIABLE = "REPCORE_HELD_ADDRESSES"
MOST_HELD = 32_768  # characters in the environment: a process with too large a one cannot start others
_ADDRESS = re.compile(r"(?<![\w+.-])([A-Za-z][A-Za-z0-9+.-]+):/{1,3}[^\s\"'<>{}|\\^`]+")
_USER = re.compile(r"(?P<before>:/{1,3})(?P<user>[^/?#@:]*)(?P<secret>:[^/?#]*)?@")
_VALUE = re.compile(r"(?P<name>(?<=[?&;#])[^=&;#?]*)=(?P<value>[^&;#]+)")
_TELLING = re.compile(r"sig|token|secret|passw|pwd|key|credential|auth|session|policy|jwt|sas$|^code$", re.IGNORECASE)
_OPAQUE = re.compile(
    r"(?=.*\d)(?=.*[A-Za-z])[\w~%+/=-]{20,}[).,\]]*"
)  # what nobody has thought up: as good as a password
_full: dict[str, str] = {}


def without_credentials(text: str) -> str:
    """A text with ``***`` in place of the credentials of every address in it: passwords, what a query calls token,
    signature, key or the like, and whatever else in it was not made by hand (20 letters and digits and more)."""
    return _ADDRESS.sub(lambda found: _hidden(found[0]), text) if ":/" in text else text


def held(text: str) -> str:
    """Like :func:`without_credentials`; addresses in it can be opened by that text from now on (:func:`in_full`)."""
    if ":/" not in text:
        return text

    def kept(found: re.Match[str]) -> str:
        short = _hidden(found[0])
        if short != found[0]:
            _full[_key(short)] = found[0]
            _pass_on()
        return short

    return _ADDRESS.sub(kept, text)


def in_full(address: str) -> str | None:
    """The address that this one stands for, itself where nothing was hidden; None if nobody here knows it."""
    if HIDDEN not in address:
        return address
    key = _key(address)
    found = _full.get(key) or json.loads(os.environ.get(VARIABLE) or "{}").get(key)
    return None if found is None else str(found)


def with_credentials(text: str) -> str:
    """A text with every address in full that is held here, for other programs."""
    return _ADDRESS.sub(lambda found: in_full(found[0]) or found[0], text) if HIDDEN in text else text


def _pass_on() -> None:
    """Into the environment, the newest first, as many as it has room for."""
    known = json.loads(os.environ.get(VARIABLE) or "{}") | _full
    room, kept = MOST_HELD, {}
    for key, value in reversed(known.items()):
        room -= len(key) + len(value)
        if room < 0:
            break
        kept[key] = value
    os.environ[VARIABLE] = json.dumps(dict(reversed(kept.items())))


def _key(address: str) -> str:
    scheme, _, rest = address.partition(":")
    return f"{scheme.lower()}:{rest.lstrip('/')}"


def _hidden(address: str) -> str:
    is_web = address[:4].lower() == "http"
    return _VALUE.sub(_hidden_value, _USER.sub(lambda found: _hidden_user(found, is_web), address, count=1))


def _hidden_user(found: re.Match[str], is_web: bool) -> str:
    """A user without the password; elsewhere than in the web, a name alone may be that of a container (``abfs://``)."""
    user = HIDDEN if is_web and _OPAQUE.fullmatch(found["user"]) else found["user"]
    return f"{found['before']}{user}{':' + HIDDEN if found['secret'] else ''}@"


def _hidden_value(found: re.Match[str]) -> str:
    hides = _TELLING.search(found["name"]) or _OPAQUE.fullmatch(found["value"])
    return f"{found['name']}={HIDDEN if hides else found['value']}"
