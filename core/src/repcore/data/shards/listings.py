"""What lies at an address: names, sizes, and what changes when a file does."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from repcore.data.shards.connections import refusal
from repcore.errors import DataError

TAGS = ("ETag", "etag", "checksum", "md5Hash", "blob_id", "xet_hash", "sha", "Content-MD5", "Digest")  # of the content
STAMPS = (
    *TAGS, "mtime", "LastModified", "Last-Modified", "last_modified", "updated", "modified", "modify", "created",
)  # fmt: skip
UNKNOWN = -1  # bytes of a file whose server does not say
MOST_PAGES = 1_000
PAGE = "text/html"

Found = tuple[str, int, str]
"""Name below the root (empty: the root itself), bytes and stamp of a file."""


def listed(system: Any, root: str) -> list[Found]:  # system: of fsspec
    """Every file at an address, in the order of their names, without hidden ones.

    Raises:
        FileNotFoundError: none. DataError: a page of a web server links to too much, or something else than below it.
    """
    system.invalidate_cache()  # an earlier listing of this process
    try:
        facts = system.info(root)
    except FileNotFoundError as error:
        if refusal(root, error) is None:  # something else stands behind it
            raise
        facts = {"type": "directory"}  # a store may know no folders, only names that begin alike
    if is_index_page(root, facts):
        files = _linked(system, root)
    elif facts.get("type") == "file":
        return [("", *_facts(system, root, facts))]
    else:
        files = _below(system, root)
    prefix = system._strip_protocol(root).rstrip("/") + "/"
    files = {
        path: one for path, one in files.items() if path.rstrip("/") != prefix.rstrip("/")
    }  # the folder's own mark
    if strange := next((path for path in files if not path.startswith(prefix)), None):
        raise DataError(f"{root!r} lists {strange!r}, which does not lie below it")
    shown = {path.removeprefix(prefix): path for path in files}
    found = [name for name in sorted(shown) if not any(part.startswith(".") for part in name.split("/"))]
    if not found:
        raise FileNotFoundError(root)
    return [(name, *_facts(system, shown[name], files[shown[name]])) for name in found]


def is_index_page(address: str, facts: Mapping[str, Any]) -> bool:
    """Whether a web server answers with the page of a folder: HTML, at an address that ends in a slash, or is sent on
    to one that does."""
    places = (address, str(facts.get("url") or ""))
    return facts.get("mimetype") == PAGE and any(one.partition("?")[0].endswith("/") for one in places)


def refuse_changed(system: Any, path: str, stamp: str, name: str) -> None:
    """Refuse a file that is another one than when it was listed, where its store tags contents. (Times are written in
    other ways when a file is asked for than when it is listed.)

    Args:
        stamp: from when it was listed.
        name: for messages.

    Raises:
        DataError: its tag is another.
    """
    tag, _, value = stamp.partition(" ")
    if tag not in TAGS:
        return
    system.invalidate_cache(path)
    now = _said(system.info(path), tag)
    if now and now != value:
        raise DataError(
            f"{name} has changed since the data were opened",
            was=f"{tag} {value}", is_now=f"{tag} {now}", hint="the same command again reads it anew",
        )  # fmt: skip


def _below(system: Any, root: str) -> dict[str, Any]:
    """Facts of all files below a folder by their paths. What fsspec makes of single listings leaves folders out that
    cannot be listed, so that is done here; stores that list all at once do so themselves."""
    kinds = (AsyncFileSystem, "_find") if isinstance(system, AsyncFileSystem) else (AbstractFileSystem, "find")
    if getattr(type(system), kinds[1]) is not getattr(*kinds):
        found: dict[str, Any] = system.find(root, detail=True)
        return found
    files, folders, seen = {}, [root], set()
    while folders:
        folder = folders.pop()
        seen.add(folder.rstrip("/"))
        for one in system.ls(folder, detail=True):
            if one["type"] != "directory":
                files[one["name"]] = one
            elif one["name"].rstrip("/") not in seen:
                folders.append(one["name"])
    return files


def _linked(system: Any, root: str) -> dict[str, Any]:
    """Facts of the files that the pages of a web server link to, from the one of a folder on, below it.

    Raises:
        DataError: there are too many pages for a folder of data.
    """
    base = root.rstrip("/") + "/"
    files: dict[str, Any] = {}
    pages, seen = [base], {base}
    while pages:
        page = pages.pop()
        try:
            links = system.ls(page, detail=True)
        except FileNotFoundError as error:  # of a page without links, too
            if page == base or refusal(page, error) is None:
                raise
            continue
        for one in links:
            name = posixpath.normpath(one["name"].removeprefix(base))
            if name.startswith(".") or any(sign in name for sign in "?#:"):  # up, to itself, an order of the columns
                continue
            if not one["name"].endswith("/"):
                files[base + name] = {}
            elif base + name + "/" not in seen:
                seen.add(base + name + "/")
                pages.append(base + name + "/")
        if len(seen) > MOST_PAGES:
            raise DataError(f"{root!r} links to more than {MOST_PAGES:,} pages: it is no folder of data")
    return files


def _facts(system: Any, path: str, facts: Mapping[str, Any]) -> tuple[int, str]:
    if facts.get("size") is None:
        facts = system.info(path)
    name = next((name for name in STAMPS if facts.get(name)), "")
    size = facts.get("size")
    return UNKNOWN if size is None else int(size), f"{name} {_said(facts, name)}".strip()


def _said(facts: Mapping[str, Any], name: str) -> str:
    return str(facts.get(name) or "").strip('"')
