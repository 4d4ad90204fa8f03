"""Dataset ``audio/kaldi``: a data folder of Kaldi: ``wav.scp`` with ``segments`` and ``utt2...`` beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from repcore.data.accounting import Accounting, TableCount
from repcore.data.catalogue import Catalogue, existing
from repcore.data.encodings import whole_text
from repcore.data.labels import LabelColumn, read_label
from repcore.errors import DataError
from repcore_audio.configs.recordings import RecordingsConfig
from repcore_audio.datasets.excerpts import joined_groups
from repcore_audio.datasets.locating import Locator
from repcore_audio.datasets.manifests import row_values
from repcore_audio.datasets.recordings import Excerpt, Note, RecordingReader, recording_row

SCP = "wav.scp"
FACTS = ("utt2spk", "utt2dur", "utt2num_frames", "utt2uniq", "utt2max_frames")  # files of utterances that are no labels
LABEL_FILE = re.compile(r"utt2([a-z]\w*)")


class KaldiReader(RecordingReader):
    """Recordings of ``wav.scp``, or the stretches of ``segments``; speakers are groups, other ``utt2X`` labels X."""

    def __init__(self, config: RecordingsConfig) -> None:
        path = existing(config.path, self.noun)
        super().__init__(kaldi_catalogue(path), path, config)


def kaldi_catalogue(path: Path) -> Catalogue[Excerpt]:
    """Rows, speakers and labels.

    Raises:
        DataError: there is no ``wav.scp``, or a line of ``segments`` is none.
    """
    scp = path if path.is_file() else path / SCP
    folder = scp.parent
    if not scp.is_file():
        raise DataError(f"{str(path)!r} has no {SCP}")
    account, locator = Accounting(folder), Locator(folder)
    files = {key: _located(rest, locator) for key, rest in _pairs(scp, account)}
    rows: list[tuple[str, Excerpt, Note | None]] = []
    cut: set[str] = set()
    if (folder / "segments").is_file():
        for key, rest in _pairs(folder / "segments", account):
            rows.append((key, *_segment(rest, files)))
            cut.update(rest.split()[:1])
        whole = [key for key in files if key not in cut]
        if whole:
            account.note(
                f"{len(whole):,} of {len(files):,} recordings have no segment and are left out, first {whole[0]!r}"
            )
    else:
        rows = [(key, Excerpt(file), problem) for key, (file, problem) in files.items()]
    speakers = dict(_pairs(folder / "utt2spk", account)) if (folder / "utt2spk").is_file() else {}
    if speakers:
        account.guess("groups", f"{len(set(speakers.values()))} speakers of utt2spk", "kept together in splits")
    groups = joined_groups([speakers.get(key) for key, _, _ in rows], [place for _, place, _ in rows])
    labels = _labels(folder, [key for key, _, _ in rows], account)
    locator.tell(account)
    found = [
        recording_row(key, place, row_values(labels, row), groups[row], problem)
        for row, (key, place, problem) in enumerate(rows)
    ]
    targets = [one.target for one in labels if one.target is not None]
    return Catalogue(found, targets, account=account)


def _pairs(path: Path, account: Accounting) -> Iterator[tuple[str, str]]:
    """First word and the rest of each line."""
    account.use(path)
    lines = whole_text(path).splitlines()
    filled = [line.strip() for line in lines if line.strip()]
    account.tables.append(TableCount(path.name, len(filled), blank=len(lines) - len(filled)))
    for line in filled:
        key, _, rest = line.partition(" ") if " " in line else line.partition("\t")
        yield key, rest.strip()


def _located(rest: str, locator: Locator) -> tuple[Path, Note | None]:
    if rest.endswith("|"):
        return locator.folder / SCP, ("unsupported", f"{rest!r} is a command; none is run out of data files")
    return locator.find(rest or None)


def _segment(rest: str, files: dict[str, tuple[Path, Note | None]]) -> tuple[Excerpt, Note | None]:
    """``recording start end``; an end of -1 is that of the recording."""
    words = rest.split()
    try:
        recording, start, end = words[0], float(words[1]), float(words[2])
    except (IndexError, ValueError):
        return Excerpt(Path(SCP)), ("malformed_row", f"{rest!r} is no recording with start and end")
    if recording not in files:
        return Excerpt(Path(recording)), ("missing_file", f"recording {recording!r} is not in {SCP}")
    file, problem = files[recording]
    return Excerpt(file, start, None if end < 0 else end), problem


def _labels(folder: Path, keys: list[str], account: Accounting) -> list[LabelColumn]:
    found = []
    for path in sorted(folder.glob("utt2*")):
        match = LABEL_FILE.fullmatch(path.name)
        if match is None or path.name in FACTS:
            continue
        values = dict(_pairs(path, account))
        found.append(read_label(match[1], [values.get(key) for key in keys]))
        found[-1].tell(account)
    return found
