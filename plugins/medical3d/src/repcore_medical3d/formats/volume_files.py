"""Any file that holds a volume: which suffixes there are, what a name without them is, and one function that opens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from repcore.errors import ItemError
from repcore_medical3d.formats.arrays import ARRAY_SUFFIXES, read_array
from repcore_medical3d.formats.itk import ITK_SUFFIXES, read_itk, value_file
from repcore_medical3d.formats.nifti import NIFTI_SUFFIXES, PAIR_SUFFIXES, ReadingRules, read_nifti
from repcore_medical3d.formats.volumes import Volume

VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *PAIR_SUFFIXES, *ITK_SUFFIXES, *ARRAY_SUFFIXES)
PACKED = (".nii.gz", ".hdr.gz", ".img.gz")


def volume_suffix(path: Path) -> str:
    """The suffix as written, ``.nii.gz`` and the like as one; empty where the name is none of a volume."""
    lower = path.name.lower()
    found = next((suffix for suffix in PACKED if lower.endswith(suffix)), path.suffix)
    return path.name[len(path.name) - len(found) :] if found.lower() in VOLUME_SUFFIXES else ""


def is_volume(path: Path) -> bool:
    """By its name."""
    return bool(volume_suffix(path))


def volume_stem(path: Path) -> str:
    """File name without the suffix of a volume."""
    return path.name.removesuffix(volume_suffix(path)) if is_volume(path) else path.stem


def parts_beside(path: Path) -> list[Path]:
    """Files that belong to a header: ``.img`` of a pair, the values of ``.mhd`` and ``.nhdr``."""
    lower = volume_suffix(path).lower()
    if lower in PAIR_SUFFIXES:
        stem = volume_stem(path)
        names = [stem + suffix for suffix in (".img", ".IMG", ".img.gz", ".mat")]
        return [one for name in names if (one := path.with_name(name)).is_file()]
    values = value_file(path) if lower in ITK_SUFFIXES else None
    return [values] if values is not None and values.is_file() else []


def header_of(path: Path) -> str:
    """Name of the header that values without one (``.img``, ``.img.gz``) need; empty for other files."""
    found = re.fullmatch(r"(.+)\.img(\.gz)?", path.name, re.IGNORECASE)
    return f"{found[1]}.hdr" if found else ""


def read_volume(path: Path, rules: ReadingRules | None = None, *, labels: bool = False) -> Volume:
    """Open a volume of any format by its suffix.

    Args:
        labels: of a file that holds both (``.npz``), the label map.

    Raises:
        ItemError: it cannot be used, or is no volume by its name.
        PluginError: a package for its format is not installed.
    """
    rules = rules or ReadingRules()
    suffix = volume_suffix(path).lower()
    if suffix in ITK_SUFFIXES:
        return read_itk(path, rules)
    if suffix in ARRAY_SUFFIXES:
        return read_array(path, rules, labels=labels)
    if suffix:
        return read_nifti(path, rules=rules)
    raise ItemError("not_a_volume", f"{path.name} is no volume by its name ({', '.join(VOLUME_SUFFIXES)})")


def joined(volumes: Sequence[Volume], names: Sequence[str]) -> Volume:
    """Sequences of one scan, each from its own file, as the channels of one volume."""
    parts = [part for volume in volumes for part in volume.channels]
    if len(parts) == len(names):
        for part, name in zip(parts, names, strict=True):
            part.channel = name
    first = parts[0]
    for part in parts[1:]:
        part.further = ()
    first.further = tuple(parts[1:])
    return first


def chosen_channel(volume: Volume, wanted: str) -> Volume:
    """One channel by name or number; ``all`` leaves them together.

    Raises:
        ItemError: there is no such channel.
    """
    parts = volume.channels
    if wanted == "all":
        return volume
    names = [part.channel for part in parts]
    by_number = parts[int(wanted)] if wanted.isdigit() and int(wanted) < len(parts) else None
    found = next((part for part in parts if part.channel.lower() == wanted.lower()), by_number)
    if found is None:
        listed = ", ".join(f"{number} {name}".rstrip() for number, name in enumerate(names))
        raise ItemError("no_such_channel", f"dataset.channel={wanted!r}: the scan has {listed}")
    found.further = ()
    return found
