"""From the slices of a series to stacks that are volumes: by geometry, never by file names or folders.

Slices of another plane or size than the stack are localisers and are left out; the same picture twice is one; several
pictures at every place are volumes of their own where a header field tells them apart. What is left out is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from repcore.errors import ItemError
from repcore_medical3d.formats.dicom import LPS_TO_RAS, ORDERING, SeriesSource, Slice, read_dicom
from repcore_medical3d.formats.volumes import Volume

GAP_TOLERANCE = 0.02  # of the slice distance: larger differences are a missing slice
LEAST_SLICES = 3
SAME_DIRECTION = 1e-3
PLACE_MM = 0.01  # closer along the normal than this is the same place


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices of one volume, sorted along the normal; ``phase`` counts volumes at the same places, 0 = only one."""

    slices: tuple[Slice, ...]
    phase: int = 0
    problem: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Slices that are no part of a volume, and why."""

    slices: tuple[Slice, ...]
    reason: str


def stacks_of(slices: Sequence[Slice]) -> tuple[list[Stack], list[LeftOut]]:
    """The volumes of one series.

    Args:
        slices: pictures that share a series number.

    Returns:
        stacks (some with a problem), and what was left out.
    """
    left: list[LeftOut] = []
    loose = tuple(one for one in slices if not one.is_placed)
    if loose:
        left.append(LeftOut(loose, "do not say where they lie (captures)"))
    planes = _planes([one for one in slices if one.is_placed])
    large = [plane for plane in planes if len(plane) >= LEAST_SLICES]
    small = [one for plane in planes if len(plane) < LEAST_SLICES for one in plane]
    if small:
        why = "lie in another plane or have another size than the stack (localisers)" if large else _few()
        left.append(LeftOut(tuple(small), why))
    stacks: list[Stack] = []
    for plane in large:
        found, doubled = _phases(plane)
        stacks += found
        left += [LeftOut(tuple(doubled), "repeat a slice that is there already")] if doubled else []
    return stacks, left


def _few() -> str:
    return f"belong to series of fewer than {LEAST_SLICES} slices"


def _planes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of one direction, size and spacing together, largest first."""
    found: list[list[Slice]] = []
    for one in slices:
        plane = next((plane for plane in found if _is_alike(plane[0], one)), None)
        if plane is None:
            found.append([one])
        else:
            plane.append(one)
    return sorted(found, key=len, reverse=True)


def _is_alike(one: Slice, other: Slice) -> bool:
    return (
        one.size == other.size
        and np.allclose(placed(one)[1], placed(other)[1], atol=SAME_DIRECTION)
        and np.allclose(placed(one)[2], placed(other)[2], rtol=SAME_DIRECTION)
    )


def placed(one: Slice) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Position, orientation and spacing of a slice that has them."""
    assert one.position is not None
    assert one.orientation is not None
    assert one.spacing is not None
    return one.position, one.orientation, one.spacing


def normal_of(one: Slice) -> np.ndarray:
    """Unit vector along which slices follow each other."""
    across, down = placed(one)[1]
    cross = np.cross(across, down)
    return np.asarray(cross / max(float(np.linalg.norm(cross)), 1e-9))


def _phases(plane: Sequence[Slice]) -> tuple[list[Stack], list[Slice]]:
    """One stack, or one for every volume at the same places; and repeated slices."""
    normal = normal_of(plane[0])
    places: dict[int, list[Slice]] = {}
    for height, one in sorted(((float(placed(one)[0] @ normal), one) for one in plane), key=lambda pair: pair[0]):
        places.setdefault(round(height / PLACE_MM), []).append(one)
    doubled = _take_out_repeats(places)
    counts = Counter(len(found) for found in places.values())
    if set(counts) == {1}:
        return [_checked([found[0] for found in places.values()])], doubled
    if len(counts) > 1:
        several = sum(count for size, count in counts.items() if size > 1)
        problem = ("missing_slices", f"{several} of {len(places)} places hold several slices: some are doubled")
        return [Stack(tuple(one for found in places.values() for one in found), problem=problem)], doubled
    return _told_apart(places, next(iter(counts))), doubled


def _take_out_repeats(places: dict[int, list[Slice]]) -> list[Slice]:
    """Remove slices that are the same picture: the same instance, or the same pixels at the same place."""
    doubled: list[Slice] = []
    for place, found in places.items():
        if len(found) < 2:
            continue
        seen: set[Any] = set()  # instances and hashes
        kept = []
        for one in sorted(found, key=lambda one: (str(one.path), one.frame or 0)):
            keys: set[Any] = {(one.instance or str(one.path), one.frame), _pixels_hash(one)}
            if seen & keys:
                doubled.append(one)
            else:
                kept.append(one)
            seen |= keys
        places[place] = kept
    return doubled


def _pixels_hash(one: Slice) -> bytes:
    """Of the stored pixels and their rescaling; of the path where they cannot be read."""
    digest = blake2b(f"{one.frame}|{one.slope}|{one.intercept}".encode(), digest_size=16)
    try:
        data = read_dicom(one.path)
        digest.update(bytes(data.PixelData))
    except Exception:  # damaged pixels are reported when the volume is read
        digest.update(str(one.path).encode("utf-8", "surrogateescape"))
    return digest.digest()


def _told_apart(places: dict[int, list[Slice]], count: int) -> list[Stack]:
    """Volumes by the first header field that orders the slices of every place, else by their folders."""
    for name in (*ORDERING, "InstanceNumber"):
        columns = []
        for found in places.values():
            keys = [float(one.number) if name == "InstanceNumber" else dict(one.order).get(name) for one in found]
            if None in keys or len(set(keys)) < count:
                break
            columns.append([one for _, one in sorted(zip(keys, found, strict=True), key=lambda pair: pair[0] or 0.0)])
        else:
            return [_checked([column[phase] for column in columns], phase + 1) for phase in range(count)]
    by_folder = [sorted(found, key=lambda one: str(one.path.parent)) for found in places.values()]
    folders = {tuple(one.path.parent for one in found) for found in by_folder}
    if len(folders) == 1 and len(set(next(iter(folders)))) == count:  # anonymised alike: two people, one number
        return [_checked([found[phase] for found in by_folder], phase + 1) for phase in range(count)]
    everything = tuple(one for found in places.values() for one in found)
    words = f"{count} slices lie at each of {len(places)} places, and no header field tells the volumes apart"
    return [Stack(everything, problem=("several_volumes", words))]


def _checked(slices: Sequence[Slice], phase: int = 0) -> Stack:
    """A stack, with a problem where its slices are not evenly spaced."""
    if len(slices) < 2:
        return Stack(tuple(slices), phase, ("missing_slices", "one slice is no volume"))
    normal = normal_of(slices[0])
    steps = np.diff([float(placed(one)[0] @ normal) for one in slices])
    distance = float(np.median(steps))
    if np.abs(steps - distance).max() > max(GAP_TOLERANCE * distance, 1e-3):
        words = f"slices lie {steps.min():.3f} to {steps.max():.3f} mm apart: one is missing or doubled"
        return Stack(tuple(slices), phase, ("missing_slices", words))
    return Stack(tuple(slices), phase)


def open_stack(stack: Stack) -> Volume:
    """A stack as a volume in Hounsfield units or whatever its rescaling gives.

    Raises:
        ItemError: the stack's problem, or an affine that cannot be inverted.
    """
    if stack.problem is not None:
        raise ItemError(*stack.problem)
    slices = stack.slices
    first, last = slices[0], slices[-1]
    position, orientation, spacing = placed(first)
    affine = np.eye(4)
    affine[:3, 0] = orientation[0] * spacing[1]  # along a row, the column number rises
    affine[:3, 1] = orientation[1] * spacing[0]
    affine[:3, 2] = (placed(last)[0] - position) / (len(slices) - 1)
    affine[:3, 3] = position
    files = sorted({one.path for one in slices})
    remarks = ["slices are tilted against their stacking (gantry tilt)"] if _is_tilted(affine) else []
    remarks += list(dict.fromkeys(one.padding.words for one in slices if one.padding is not None))[:1]
    facts = {"remark": "; ".join(remarks)} if remarks else {}
    return Volume(SeriesSource(slices), LPS_TO_RAS @ affine, files[0].parent, files=files, facts=facts)


def _is_tilted(affine: np.ndarray) -> bool:
    axis, normal = affine[:3, 2], np.cross(affine[:3, 0], affine[:3, 1])
    cosine = abs(float(axis @ normal)) / max(float(np.linalg.norm(axis) * np.linalg.norm(normal)), 1e-9)
    return cosine < 0.9995  # about 2 degrees
