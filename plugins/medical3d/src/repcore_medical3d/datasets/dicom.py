"""Dataset ``medical3d/dicom-series``: every volume below a folder is a row, whatever else lies there.

A series is found by its number, not by its folder: slices exported into several folders are one volume. Localisers,
captures, films and files without an image are left out by rule, and said with their number and first name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repcore.data.accounting import Accounting, walk
from repcore.data.catalogue import existing
from repcore.data.first_files import first_files
from repcore.errors import DataError, ItemError
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.volumes import VolumeCatalogue, VolumeFiles, VolumeReader, VolumeRow, volume_row
from repcore_medical3d.formats.dicom import Header, Slice, is_dicom, read_header, require_pydicom
from repcore_medical3d.formats.dicom_stacks import LEAST_SLICES, LeftOut, Stack, open_stack, stacks_of
from repcore_medical3d.formats.volumes import Volume

LOOKED_AT = 64  # files of a folder that are enough to know
FILM_SCORE, SERIES_SCORE = 0.85, 0.85


class DicomSeriesReader(VolumeReader):
    """Every series below a folder is a row; patients are groups."""

    def __init__(self, config: VolumeFilesConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(dicom_catalogue(root), root, config, open_series)


def open_series(files: VolumeFiles, config: VolumeFilesConfig) -> Volume:
    """The volume of a row of slices."""
    del config  # a series always says where it lies
    assert files.stack is not None
    return open_stack(files.stack)


def read_series(files: Sequence[Path]) -> Volume:
    """Slices that are one series and one stack.

    Raises:
        ItemError: several series or patients, missing positions, slices of different planes or sizes, or a missing
            slice.
    """
    headers = [read_header(path) for path in files]
    series = sorted({header.series for header in headers})
    place = files[0].parent.name
    if len(series) > 1:
        raise ItemError(
            "several_series", f"{place} holds {len(series)} series: {', '.join(one[-12:] for one in series)}"
        )
    slices = [one for header in headers for one in header.slices]
    if any(not one.is_placed for one in slices):
        raise ItemError("no_affine", f"slices of {place} lack ImagePositionPatient, its orientation or PixelSpacing")
    stacks, left = stacks_of(slices)
    if left or not stacks:
        raise ItemError("mixed_slices", f"slices of {place}: {_words(left)}")
    if words := _mixed_patients(headers):
        raise ItemError("several_patients", f"slices of {place}: {words}")
    if len(stacks) > 1:
        raise ItemError("several_volumes", f"{place} holds {len(stacks)} volumes at the same places")
    return open_stack(stacks[0])


def sniff_dicom(path: Path) -> float:
    """A folder with several slices that say where they lie; films are no slices, however many there are."""
    if path.is_file():
        return 0.3 if is_dicom(path) else 0.0
    headers = sampled_headers(path)
    placed: Counter[str] = Counter()
    for header in headers:
        if not header.is_projection:
            placed[header.series] += sum(1 for one in header.slices if one.is_placed)
    return SERIES_SCORE if any(count >= LEAST_SLICES for count in placed.values()) else 0.1 if headers else 0.0


def sampled_headers(path: Path) -> list[Header]:
    """Headers of the first DICOM files of a folder; none where pydicom is not installed."""
    files = [one for one in first_files(path, LOOKED_AT * 8) if is_dicom(one)][:LOOKED_AT]
    if not files:
        return []
    try:
        require_pydicom()
    except ImportError:
        return []
    headers = []
    for one in files:
        try:
            headers.append(read_header(one))
        except ItemError:
            continue
    return headers


# ------------------------------------------------------------------------------------------------ catalogue


def dicom_catalogue(root: Path) -> VolumeCatalogue:
    """One row a volume, named by folder and, where a folder holds several, by the end of the series number.

    Raises:
        DataError: no series of at least three slices.
    """
    require_pydicom()
    series: dict[str, list[Header]] = {}
    left: list[LeftOut] = []
    account = Accounting(root if root.is_dir() else root.parent)
    for path in _files(root, account):
        try:
            header = read_header(path)
        except ItemError as error:
            account.unreadable(path, error.reason)
            continue
        series.setdefault(header.series or str(path.parent), []).append(header)
    found: list[_Volume] = []
    for key in sorted(series, key=lambda key: str(series[key][0].path)):
        stacks, others = _of_series(series[key])
        for stack in stacks:
            paths = {one.path for one in stack.slices}
            own = [header for header in series[key] if header.path in paths]
            if stack.problem is None and (words := _mixed_patients(own)):
                stack = replace(stack, problem=("several_patients", words))
            header = next((one for one in own if one.patient.strip()), own[0])
            found.append(_Volume(header, stack, key, _folder_name(stack, root)))
        left += others
    if not found:
        raise DataError(
            f"{str(root)!r} holds no DICOM series of {LEAST_SLICES} slices or more",
            series=len(series),
            left_out=_words(left) or "nothing",
        )
    for one in left:
        for slice_ in one.slices:
            account.ignore(slice_.path, one.reason)
    return VolumeCatalogue(_rows(found), notes=_notes(found, left), account=account)


def _files(root: Path, account: Accounting) -> Iterator[Path]:
    """DICOM files below a folder, or the file itself."""
    if root.is_file():
        yield root
        return
    for one in walk(root):
        if one.problem:
            account.unreadable(one.path, one.problem)
        elif not one.left_out and is_dicom(one.path):
            yield one.path


def _of_series(headers: Sequence[Header]) -> tuple[list[Stack], list[LeftOut]]:
    """Stacks of one series, and what is no slice."""
    left: list[LeftOut] = []
    usable: list[Slice] = []
    stacks: list[Stack] = []
    for header in headers:
        if not header.slices:
            left.append(LeftOut((_stand_in(header),), f"hold no image ({header.modality or 'no modality'})"))
        elif header.is_projection:
            left.append(LeftOut(header.slices, "are films or photographs (--reader image-folder)"))
        elif header.is_colour:
            left.append(LeftOut(header.slices, "are colour captures"))
        elif header.is_many_frames and not all(one.is_placed for one in header.slices):
            words = f"{header.path.name} has {len(header.slices)} frames and does not say where each of them lies"
            stacks.append(Stack(header.slices, problem=("no_affine", words)))
        else:
            usable += header.slices
    found, others = stacks_of(usable) if usable else ([], [])
    return [*found, *stacks], [*left, *others]


def _mixed_patients(headers: Sequence[Header]) -> str:
    """Why slices of one series are no volume where they are of several patients; empty where they are of one."""
    names = sorted({header.patient.strip() for header in headers if header.patient.strip()})
    if len(names) < 2:
        return ""
    # no names of patients in a message that is stored and shown
    return f"{len(names)} different PatientIDs in one series: it is no scan of one body; export them apart"


def _stand_in(header: Header) -> Slice:
    return Slice(header.path, None, (0, 0), None, None, None, 1.0, 0.0, 0, "")


@dataclass(frozen=True, slots=True)
class _Volume:
    """A stack with its series (``key``), a header of it, and the folder that holds its slices."""

    header: Header
    stack: Stack
    key: str
    place: str


def _rows(found: Sequence[_Volume]) -> list[VolumeRow]:
    rows = []
    for one in found:
        name = one.place
        if len({other.key for other in found if other.place == one.place}) > 1:
            name = f"{name}:{_short(one.key, [other.key for other in found])}"
        same = [other for other in found if other.key == one.key and other.place == one.place]
        if len(same) > 1:
            name += f":phase{one.stack.phase}" if one.stack.phase else f":stack{same.index(one) + 1}"
        header, stack = one.header, one.stack
        problem = None if stack.problem is None else (stack.problem[0], f"{name}: {stack.problem[1]}")
        rows.append(
            volume_row(
                name,
                tuple(sorted({slice_.path for slice_ in stack.slices})),
                group=header.patient or None,
                meta={"modality": header.modality, "series": header.description, "slices": len(stack.slices)},
                stack=stack,
                problem=problem,
            )
        )
    return rows


def _folder_name(stack: Stack, root: Path) -> str:
    """The folder that holds all slices, relative to the root."""
    folders = {str(one.path.parent) for one in stack.slices}
    common = Path(os.path.commonpath(folders))
    if root.is_file():
        return root.stem
    return root.name if common == root else common.relative_to(root).as_posix()


def _short(uid: str, keys: Sequence[str]) -> str:
    """The shortest end of a series number that no other series shares."""
    others = {other for other in keys if other != uid}
    for length in range(4, len(uid)):
        if not any(other.endswith(uid[-length:]) for other in others):
            return uid[-length:]
    return uid


def _words(left: Sequence[LeftOut]) -> str:
    counts: Counter[str] = Counter()
    for one in left:
        counts[one.reason] += len(one.slices)
    return "; ".join(f"{count} {reason}" for reason, count in counts.items())


def _notes(found: Sequence[_Volume], left: Sequence[LeftOut]) -> list[str]:
    """What a radiologist wants to know of how files became volumes."""
    places: dict[str, set[str]] = {}
    for one in found:
        places.setdefault(one.place, set()).add(one.key)
    several = [place for place, keys in places.items() if len(keys) > 1]
    phases = [one.place for one in found if one.stack.phase == 1]
    spread = [one.place for one in found if len({slice_.path.parent for slice_ in one.stack.slices}) > 1]
    said = (
        (several, "folders hold several series", "each is a row of its own"),
        (phases, "series hold several volumes at the same places", "each is a row of its own"),
        (spread, "series lie in several folders", "each is one volume"),
    )
    notes = [f"{len(names)} {what}, for example {names[0]}; {then}" for names, what, then in said if names]
    return [*notes, f"{sum(len(one.slices) for one in left)} files are left out: {_words(left)}"] if left else notes
