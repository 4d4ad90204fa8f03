"""Items of a data set by number, for what an objective knows of each of them."""

from __future__ import annotations

import hashlib


def item_key(name: str) -> int:
    """64-bit number of an id, the same on every machine."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
