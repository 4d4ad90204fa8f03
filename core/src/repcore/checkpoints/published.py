"""Published weights by name: downloaded when asked for, verified, and imported as a model folder.

Nothing is connected to unless :func:`pull_weights` is called. A file counts only when its SHA-256 is the one that the
plugin's ``CheckpointSpec`` names, whatever server it came from; verified files stay in the cache.
"""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from repcore.checkpoints.hub import is_offline
from repcore.checkpoints.importing import ImportOutcome, ImportRequest, import_weights
from repcore.checkpoints.reading import file_sha256
from repcore.data.preparation import cache_root
from repcore.errors import CheckpointError, RegistryError, closest
from repcore.registry import Registry
from repcore.specs import Published

FOLDER = "published"  # within the cache
SCHEMES = ("https://", "http://", "file://")
BLOCK, SECONDS = 1 << 20, 30.0
Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes of all files)."""


@dataclass(frozen=True, slots=True)
class PublishedEntry:
    """Weights with the full name of the layout that reads them."""

    name: str
    layout: str
    weights: Published


def published_entries(registry: Registry) -> list[PublishedEntry]:
    """Everything that ``repcore pull`` knows, by full name (``domain/name``)."""
    found = [
        PublishedEntry(f"{layout.domain}/{name}", layout.full_name, weights)
        for layout in registry.entries("checkpoint")
        for name, weights in layout.spec.published.items()
    ]
    return sorted(found, key=lambda one: one.name)


def published_entry(registry: Registry, name: str) -> PublishedEntry:
    """Published weights by full or short name.

    Raises:
        RegistryError: none, or several domains have it; names near misses.
    """
    known = published_entries(registry)
    found = [one for one in known if name in (one.name, one.name.partition("/")[2])]
    if len(found) == 1:
        return found[0]
    names = [one.name for one in known]
    if found:
        raise RegistryError(
            f"published weights {name!r} are ambiguous", expected=" or ".join(one.name for one in found)
        )
    raise RegistryError(
        f"no published weights {name!r}",
        did_you_mean=", ".join(closest(name, names)) if names else "",
        known=", ".join(names) or "none: no installed plugin names weights with their SHA-256",
        hint="weights that you have downloaded yourself: repcore import FILE -o MODEL",
    )


def pull_weights(
    registry: Registry, name: str, output: Path, progress: Progress = lambda done, total: None
) -> ImportOutcome:
    """Download, verify and import published weights.

    Raises:
        RegistryError: no such name. CheckpointError: no connection, too little space, another content than was
            published, or an import that fails.
    """
    entry = published_entry(registry, name)
    place = verified_files(entry, progress)
    files = list(entry.weights.files)
    checkpoint = place / files[0] if len(files) == 1 else place
    return import_weights(registry, checkpoint, output, ImportRequest(entry.layout, dict(entry.weights.options)))


def verified_files(entry: PublishedEntry, progress: Progress = lambda done, total: None) -> Path:
    """Folder with the files of an entry, from the cache where they are, else downloaded."""
    weights = entry.weights
    key = sha256(repr(sorted(weights.sha256.items())).encode()).hexdigest()[:16]
    folder = cache_root() / FOLDER / key
    missing = {name: address for name, address in weights.files.items() if not _is(folder / name, weights.sha256[name])}
    if not missing:
        return folder
    local = all(address.startswith("file://") for address in missing.values())
    if is_offline() and not local:
        raise CheckpointError(
            f"{entry.name} is not in the cache, and HF_HUB_OFFLINE is set", hint="unset HF_HUB_OFFLINE"
        )
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < weights.size:
        raise CheckpointError(
            f"{entry.name} needs {weights.size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free",
            place=str(folder), hint="REPCORE_CACHE=FOLDER on a larger disk",
        )  # fmt: skip
    _download_all(entry, missing, folder, progress)
    return folder


def _download_all(entry: PublishedEntry, missing: Mapping[str, str], folder: Path, progress: Progress) -> None:
    done = 0
    for name, address in missing.items():
        partial = folder / f".{uuid.uuid4().hex}.partial"
        try:
            done = _download(address, partial, done, entry, progress)
            found = file_sha256(partial)
            if found != entry.weights.sha256[name]:
                raise CheckpointError(
                    f"{name} of {entry.name} is not what was published: SHA-256 {found}",
                    expected=entry.weights.sha256[name], source=address,
                    hint="try again; if it stays, the authors changed the file",
                )  # fmt: skip
            partial.replace(folder / name)
        finally:
            partial.unlink(missing_ok=True)


def _download(address: str, target: Path, done: int, entry: PublishedEntry, progress: Progress) -> int:
    """Bytes of an address into a file; stops where there are more than were published."""
    if not address.startswith(SCHEMES):
        raise CheckpointError(f"{address!r} of {entry.name} is no address", expected=", ".join(SCHEMES))
    total = entry.weights.size
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as stream, target.open("wb") as file:
            while block := stream.read(BLOCK):
                done += len(block)
                if done > total:
                    raise CheckpointError(
                        f"{address} gives more than the {total:,} bytes of {entry.name}", hint="nothing was imported"
                    )
                file.write(block)
                progress(done, total)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"{entry.name} could not be downloaded: {reason}",
            source=address, hint="check the connection; a file that you have: repcore import FILE -o MODEL",
        ) from error  # fmt: skip
    return done


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest
