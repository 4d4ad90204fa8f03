"""Readers of folders: any tree of recordings, and the layouts of FSDD, ESC-50 and Speech Commands."""

from __future__ import annotations

import re
from pathlib import Path

from repcore.data.accounting import Accounting
from repcore.data.beside_lists import words_of_lists
from repcore.data.catalogue import Catalogue, class_target, existing, files_below, rows_by
from repcore.data.encodings import whole_text
from repcore.errors import DataError
from repcore_audio.configs.recordings import RecordingsConfig
from repcore_audio.datasets.manifest_tables import published_problem, read_cells
from repcore_audio.datasets.recordings import SUFFIXES, Excerpt, RecordingReader, recording_row
from repcore_audio.datasets.told_by_paths import told_by_paths

FSDD_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[A-Za-z][\w-]*)_(?P<take>[0-9]+)\.wav")
FSDD_TEST_TAKES = 5  # upstream convention: takes 0 to 4 are the test set
ESC50_TABLE = Path("meta") / "esc50.csv"
ESC50_COLUMNS = ("filename", "fold", "category")
ESC50_SOURCE = "src_file"
SPEECH_COMMANDS_NAME = re.compile(r"(?P<speaker>[0-9a-f]{4,})_nohash_[0-9]+\.wav")
SPEECH_COMMANDS_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
BACKGROUND_FOLDER = "_background_noise_"


class FolderReader(RecordingReader):
    """Dataset ``audio/folder``: every recording below a folder, or one file.

    Subfolders are classes if every recording lies in one and there are two or more; a first level named train, test or
    the like becomes the split.
    """

    def __init__(self, config: RecordingsConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(folder_catalogue(root), root, config)


class FsddReader(RecordingReader):
    """Dataset ``audio/fsdd``: spoken digits named ``digit_speaker_take.wav``; speakers are groups."""

    def __init__(self, config: RecordingsConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(fsdd_catalogue(root), root, config)


class Esc50Reader(RecordingReader):
    """Dataset ``audio/esc50``: ``audio/`` and ``meta/esc50.csv`` with five folds; source recordings are groups."""

    def __init__(self, config: RecordingsConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(esc50_catalogue(root), root, config)


class SpeechCommandsReader(RecordingReader):
    """Dataset ``audio/speech-commands``: a folder a word, list files for validation and test; speakers are groups."""

    def __init__(self, config: RecordingsConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(speech_commands_catalogue(root), root, config)


def folder_catalogue(root: Path) -> Catalogue[Excerpt]:
    """Rows, and classes and splits from folder names.

    Raises:
        DataError: no recording below the folder, or a file that is none.
    """
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise DataError(f"{str(root)!r} is no recording by its name", expected=", ".join(SUFFIXES))
        return Catalogue([recording_row(root.name, root)])
    account = Accounting(root)
    files = files_below(root, SUFFIXES, account=account)
    if not files:
        there = sorted({path.suffix.lower() or "(no suffix)" for path in root.rglob("*") if path.is_file()})
        raise DataError(
            f"{str(root)!r} holds no recording",
            expected=", ".join(SUFFIXES),
            found=", ".join(there[:8]) or "no file at all",
        )
    ids = [path.relative_to(root).as_posix() for path in files]
    told = told_by_paths(root, files, account)
    notes = [f"{path.name} is a table; labels in it are read by giving it as DATA" for path in _tables(root)]
    splits = told.splits or rows_by(words_of_lists(root, files, account))
    targets, values = told.targets()
    rows = [recording_row(*one) for one in zip(ids, files, values, told.groups, strict=True)]
    return Catalogue(rows, targets, splits, notes, account)


def _tables(root: Path) -> list[Path]:
    """Tables beside the recordings, at most a few."""
    found = [path for path in sorted(root.iterdir()) if path.is_file() and path.suffix.lower() in (".csv", ".tsv")]
    return found[:3]


def fsdd_catalogue(root: Path) -> Catalogue[Excerpt]:
    """Digits and speakers from file names; names that do not fit are a remark, not a row.

    Raises:
        DataError: no file name fits.
    """
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    files = files_below(folder, SUFFIXES)
    matches = [(path, match) for path in files if (match := FSDD_NAME.fullmatch(path.name))]
    if not matches:
        raise DataError(f"{str(root)!r} has no file named like '7_theo_3.wav'", hint="--reader folder")
    digit_target, digit_of = class_target("digit", (match["digit"] for _, match in matches))
    speaker_target, speaker_of = class_target("speaker", (match["speaker"] for _, match in matches))
    entries = [
        recording_row(
            path.stem,
            path,
            {"digit": digit_of[match["digit"]], "speaker": speaker_of[match["speaker"]]},
            match["speaker"],
        )
        for path, match in matches
    ]
    splits = rows_by(["test" if int(match["take"]) < FSDD_TEST_TAKES else "train" for _, match in matches])
    return Catalogue(
        entries, (digit_target, speaker_target), splits, _left_out(len(files) - len(matches), "other names")
    )


def esc50_catalogue(root: Path) -> Catalogue[Excerpt]:
    """Rows of the table, with folds 1 to 5 as splits ``fold-1`` ... ``fold-5``.

    Raises:
        DataError: no table, or a column is missing.
    """
    table = root / ESC50_TABLE
    if not table.is_file():
        raise DataError(f"{str(root)!r} has no {ESC50_TABLE.as_posix()}", hint="--reader folder")
    account = Accounting(root)
    cells = read_cells(table, account)
    names, folds, words = (cells.texts(cells.named(column)) for column in ESC50_COLUMNS)
    sources = cells.texts(ESC50_SOURCE) if ESC50_SOURCE in cells.columns else [None] * len(cells)
    target, number = class_target("category", (word for word in words if word is not None))
    entries = []
    for row, (name, word, source) in enumerate(zip(names, words, sources, strict=True)):
        values = {} if word is None else {"category": number[word]}
        place = root / "audio" / (name or "")
        entries.append(
            recording_row(name or f"row-{row}", place, values, source, published_problem(cells, row, name, place))
        )
    listed = set(names)
    for path in files_below(root / "audio", SUFFIXES, account=account):
        if path.name not in listed:
            account.ignore(path, f"a recording that {table.name} does not name")
    splits = rows_by([None if fold is None else f"fold-{fold.removesuffix('.0')}" for fold in folds])
    return Catalogue(entries, (target,), splits, account=account)


def speech_commands_catalogue(root: Path) -> Catalogue[Excerpt]:
    """Words from folder names, speakers from file names, splits from the two lists.

    Raises:
        DataError: no folder of words.
    """
    files = [
        path for path in files_below(root, SUFFIXES) if path.parent != root and path.parent.name != BACKGROUND_FOLDER
    ]
    if not files:
        raise DataError(f"{str(root)!r} has no folder of spoken words", hint="--reader folder")
    split_of = {
        line.strip(): split
        for split, name in SPEECH_COMMANDS_LISTS.items()
        if (root / name).is_file()
        for line in whole_text(root / name).splitlines()
    }
    ids = [path.relative_to(root).as_posix() for path in files]
    target, number = class_target("word", (path.parent.name for path in files))
    entries = []
    for name, path in zip(ids, files, strict=True):
        match = SPEECH_COMMANDS_NAME.fullmatch(path.name)
        entries.append(
            recording_row(name, path, {"word": number[path.parent.name]}, match["speaker"] if match else None)
        )
    splits = rows_by([split_of.get(name, "train") for name in ids]) if split_of else {}
    lost = len(set(split_of) - set(ids))
    notes = (f"{lost} lines of the split lists have no file",) if lost else ()
    return Catalogue(entries, (target,), splits, notes)


def _left_out(count: int, why: str) -> tuple[str, ...]:
    return (f"{count} recordings are left out: {why}",) if count else ()
