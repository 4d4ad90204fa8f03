"""Checks of sniffers: a share in [0, 1] from a bounded look at the content, whatever lies at the path."""

from __future__ import annotations

import contextlib
import io
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from repcore.data.headers import contradicts, shortened
from repcore.registry import Entry
from repcore.specs import DatasetSpec
from repcore.testing.check import Check, NotJudgedError, fail
from repcore.testing.limits import limited, slowness
from repcore.testing.watching import listed_below, opened_below

SUFFIXES = (
    "csv", "tsv", "txt", "json", "jsonl", "yaml", "xml", "parquet", "arrow", "feather", "npy", "npz", "pt", "pth",
    "pkl", "h5", "hdf5", "zarr", "zip", "gz", "smi", "sdf", "mol", "fasta", "fastq", "wav", "flac", "ogg", "mp3", "png",
    "jpg", "tif", "dcm", "nii", "nii.gz", "nrrd", "mha", "off", "obj", "ply", "pcd", "bin", "las", "xyz", "ts", "arff",
    "edf", "edgelist", "graphml", "db",
)  # fmt: skip
SURE = 0.5  # what nobody can be of content that says nothing
JUNK_BYTES = 4096
LARGE_BYTES = 1 << 30  # sparse on disk
MATCHING_BYTES = 96 << 20
READ_BYTES = 32 << 20  # of one path, enough for every header
PROSE = b"Nothing to see here, and no table either.\n" * 40
MANY_FILES = 1000
OPENED_FILES = 700  # a look at some hundred files, by the sniffer and by core
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class SnifferSubject:
    """The function by which a reader recognises its files."""

    entry: Entry[DatasetSpec]

    def score(self, path: Path, what: str) -> float:
        """What the sniffer says, headers considered; raising is a failure, and so is a value outside [0, 1]."""
        sniff: Callable[[Path], float] = self.entry.load("sniff")
        try:
            with limited(SECONDS * slowness()), shortened(path) as seen:  # as core does
                score = sniff(seen)
        except Exception as error:
            fail(f"{what}: {type(error).__name__}: {error}; what is no data of this reader scores 0")
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0.0 <= score <= 1.0:
            fail(f"{what}: {score!r}; a number from 0 to 1 is due")
        return 0.0 if contradicts(path) else float(score)


def never_raises(subject: SnifferSubject) -> None:
    """Paths that do not exist, are empty, broken, endless or strangely named get a number, not an exception."""
    with tempfile.TemporaryDirectory() as name:
        for what, path in _oddities(Path(name)):
            score = subject.score(path, what)
            if score >= SURE:
                fail(f"{what} scores {score:g}; nothing is there to be sure of")


def _oddities(folder: Path) -> Iterator[tuple[str, Path]]:
    (folder / "empty").mkdir()
    (folder / "a file").touch()
    deep = folder / "deep"
    deep.joinpath(*["d"] * 30).mkdir(parents=True)
    strange = folder / "tab\tline\nquote'\"ü.csv"
    with contextlib.suppress(OSError):  # not every file system takes such names
        strange.write_text("\n")
    yield "a path that does not exist", folder / "nothing" / "here.csv"
    yield "an empty folder", folder / "empty"
    yield "an empty file", folder / "a file"
    yield "a folder of folders", deep
    if strange.exists():
        yield "a file with a strange name", strange
    with contextlib.suppress(OSError, NotImplementedError):
        (folder / "loop").mkdir()
        (folder / "loop" / "again").symlink_to(folder / "loop", target_is_directory=True)
        (folder / "broken.csv").symlink_to(folder / "gone.csv")
        yield "a folder that holds itself", folder / "loop"
        yield "a link to nothing", folder / "broken.csv"


@cache
def _junk(content: bytes) -> tempfile.TemporaryDirectory[str]:
    """A folder for each suffix with two files of that content; made once, since every reader is shown it."""
    made = tempfile.TemporaryDirectory()
    for suffix in SUFFIXES:
        folder = Path(made.name) / suffix
        folder.mkdir()
        for name in ("data", "more"):
            (folder / f"{name}.{suffix}").write_bytes(content)
    return made


@cache
def _many_files() -> tempfile.TemporaryDirectory[str]:
    """A folder of a thousand small files; made once."""
    made = tempfile.TemporaryDirectory()
    for number in range(MANY_FILES):
        (Path(made.name) / f"{number}.{SUFFIXES[number % len(SUFFIXES)]}").write_bytes(b"1 2 3\n")
    return made


@cache
def _many_folders() -> tempfile.TemporaryDirectory[str]:
    """A tree of a thousand folders with a file each; made once."""
    made = tempfile.TemporaryDirectory()
    for number in range(MANY_FILES):
        folder = Path(made.name) / f"part-{number // 100}" / str(number)
        folder.mkdir(parents=True)
        (folder / f"{number}.bin").touch()
    return made


def looks_at_content(subject: SnifferSubject) -> None:
    """Random bytes and plain prose under every usual file name are not taken for data."""
    contents = {"random bytes": np.random.default_rng(0).bytes(JUNK_BYTES), "prose": PROSE}
    for words, content in contents.items():
        claimed = []
        for suffix in SUFFIXES:
            folder = Path(_junk(content).name) / suffix
            for place in (folder / f"data.{suffix}", folder):
                score = subject.score(place, f"{words} in data.{suffix}")
                if score >= SURE:
                    claimed.append(f"{'a folder of ' if place == folder else ''}.{suffix} ({score:g})")
        if claimed:
            fail(f"{words} are taken for data by their names alone: {', '.join(claimed[:4])}")


def bounded(subject: SnifferSubject) -> None:
    """A file of a gigabyte and a folder of a thousand files cost a bounded look."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for suffix in ("csv", "txt", "json", "npy", "bin", "xyz"):
            path = folder / f"large.{suffix}"
            with path.open("wb") as file:
                file.write(b"1,2,3\n4,5,6\n")
                file.truncate(LARGE_BYTES)
            read = _bytes_read(lambda path=path: subject.score(path, path.name))  # type: ignore[misc]
            if read > READ_BYTES:
                fail(f"{path.name} of 1 GiB: {read >> 20} MiB are read to recognise it; a header must do")
            path.unlink()
        for path in _matching(folder):
            read = _bytes_read(lambda path=path: subject.score(path, path.name))  # type: ignore[misc]
            if read > READ_BYTES:
                fail(f"{path.name}, of {MATCHING_BYTES >> 20} MiB behind a right header: {read >> 20} MiB are read")
            path.unlink()
    many = Path(_many_files().name)
    opened = len(opened_below(many, lambda: subject.score(many, f"a folder of {MANY_FILES} files")))
    if opened > OPENED_FILES:
        fail(f"a folder of {MANY_FILES} files: {opened} are opened to recognise it; look at a few")
    tree = Path(_many_folders().name)
    listed = len(listed_below(tree, lambda: subject.score(tree, f"a tree of {MANY_FILES} folders")))
    if listed > OPENED_FILES:
        fail(f"a tree of {MANY_FILES} folders: {listed} are listed to recognise it; look into a few")


def _matching(folder: Path) -> Iterator[Path]:
    """Large files that are what their names say: a header, and zeros (sparse on disk) where the values are due."""
    points = MATCHING_BYTES // 12
    for suffix, header in (("npy", _npy_header(points)), ("wav", _wav_header()), ("ply", _ply_header(points))):
        path = folder / f"right.{suffix}"
        with path.open("wb") as file:
            file.write(header)
            file.truncate(len(header) + 12 * points)
        yield path


def _npy_header(points: int) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (points, 3)})
    return file.getvalue()


def _ply_header(points: int) -> bytes:
    coordinates = "".join(f"property float {axis}\n" for axis in "xyz")
    return f"ply\nformat binary_little_endian 1.0\nelement vertex {points}\n{coordinates}end_header\n".encode()


def _wav_header() -> bytes:
    """One channel of 16 bits at 16 kHz."""
    size = 12 * (MATCHING_BYTES // 12)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def _bytes_read(work: Callable[[], object]) -> int:
    """By this process, as the system counts them."""
    counters = Path("/proc/self/io")
    if not counters.is_file():
        work()
        raise NotJudgedError("this system does not count what a process reads")

    def now() -> int:
        return int(counters.read_text().split("rchar:")[1].split()[0])

    before = now()
    work()
    return now() - before


CHECKS = (
    Check("sniffer-never-raises", never_raises),
    Check("sniffer-looks-at-content", looks_at_content),
    Check("sniffer-bounded", bounded),
)
