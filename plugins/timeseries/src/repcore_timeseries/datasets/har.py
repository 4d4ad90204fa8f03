"""Reader ``timeseries/har``: windows in text files, a row a window, a file a channel, labels and subjects beside.

The layout of UCI HAR (Anguita et al. 2013) and of sets that follow it: for each part ``y_train.txt`` and
``subject_train.txt``, and either files ``Inertial Signals/*_train.txt`` or ``X_train.txt`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, class_target, existing, rows_by
from repcore.data.first_files import first_files
from repcore.data.splits import part_of
from repcore.errors import DataError
from repcore.specs import TargetSpec
from repcore_timeseries.configs.series import CasesConfig
from repcore_timeseries.datasets.described import described
from repcore_timeseries.formats.archives import text_lines
from repcore_timeseries.formats.number_lines import plain_numbers, words_of
from repcore_timeseries.formats.series import Series

ANSWERS = re.compile(r"y_(train|val|valid|validation|test)", re.IGNORECASE)
SIGNALS = "Inertial Signals"
NAMES = "activity_labels.txt"
LABEL, VALUE = "activity", "target"  # of classes, of numbers
SUBJECTS = ("subject", "subject_id")  # UCI HAR, and HAPT


@dataclass(frozen=True, slots=True)
class Part:
    """Files of one part: answers, subjects (None without) and one file a channel."""

    name: str
    answers: Path
    subjects: Path | None
    channels: Sequence[tuple[str, Path]]


class Har(CatalogueReader[Series, Series]):
    """Windows with the label, the subject (a group) and the part that files beside say.

    Args:
        config: see :class:`CasesConfig`.

    Raises:
        DataError: no such layout, or files of different numbers of lines.
    """

    noun = "window"

    def __init__(self, config: CasesConfig) -> None:
        path = existing(config.path, "series")
        account = Accounting(path)
        rows: list[Row[Series]] = []
        parts = _parts(path)
        read = [(part, *_read(part, account)) for part in parts]
        answers = [word for _, _, words, _ in read for word in words]
        names = _names(path, {*answers}, account)
        place: dict[str, Any]
        target, place = class_target(LABEL, [names.get(word, word) for word in answers])
        if _are_values(answers):
            account.guess(f"answers of {parts[0].answers.name}", "regression", "they are numbers with decimals")
            target, place = TargetSpec(VALUE, "regression"), {word: float(word) for word in answers}
        in_part: list[str | None] = []
        for part, values, words, subjects in read:
            channels = tuple(name for name, _ in part.channels)
            for number, one in enumerate(values):
                label = {target.name: place[names.get(words[number], words[number])]}
                group = None if subjects is None else f"subject-{subjects[number]}"
                files = [file for _, file in part.channels]
                id_ = f"{part.name}-{number:06d}"
                rows.append(Row(id_, Series.of(one, channels), label, group, files=files, stamp=str(number)))
            in_part += [part.name] * len(values)
        splits = rows_by(in_part) if len(parts) > 1 else {}
        super().__init__(Catalogue(rows, [target], splits, account=account), path, labels=config.labels)

    @property
    def costs(self) -> list[int]:
        """Steps of every window."""
        return [len(row.source) for row in self.rows]

    def read(self, row: Row[Series]) -> Series:
        """The window, which was read with its file."""
        return row.source

    def size_of(self, content: Series) -> int:
        return int(content.values.nbytes)

    def facts(self, content: Series) -> Mapping[str, Any]:
        return described(content)

    def describe(self, sample: Any) -> Mapping[str, Any]:
        """For ``inspect``."""
        return described(sample.inputs)


def sniff(path: Path) -> float:
    """Answers of a part in a text file, with windows beside."""
    return 0.95 if path.is_dir() and _found(path) else 0.0


def _found(path: Path) -> list[Part]:
    found = []
    for answers in (one for one in first_files(path) if one.suffix.lower() == ".txt"):
        part = ANSWERS.fullmatch(answers.stem)
        if part is None:
            continue
        channels = _channels(answers.parent, part[1])
        if channels:
            beside = (answers.with_name(f"{word}_{part[1]}.txt") for word in SUBJECTS)
            name = str(part_of(part[1]))
            found.append(Part(name, answers, next((one for one in beside if one.is_file()), None), channels))
    return found


def _channels(folder: Path, part: str) -> list[tuple[str, Path]]:
    ending = f"_{part}.txt"
    signals = sorted((folder / SIGNALS).glob(f"*{ending}")) if (folder / SIGNALS).is_dir() else []
    if signals:
        return [(one.name.removesuffix(ending), one) for one in signals]
    single = folder / f"X{ending}"
    return [("value", single)] if single.is_file() else []


def _parts(path: Path) -> list[Part]:
    """Parts in the order in which they are used.

    Raises:
        DataError: none, one twice, or other channels in one of them.
    """
    found = sorted(
        _found(path) if path.is_dir() else [], key=lambda one: ("train", "validation", "test").index(one.name)
    )
    if not found:
        raise DataError(f"{str(path)!r} has no windows beside answers", expected="y_train.txt with X_train.txt, ...")
    if len({one.name for one in found}) < len(found):
        raise DataError(
            f"{str(path)!r} holds several data sets",
            found=", ".join(one.answers.relative_to(path).as_posix() for one in found[:6]),
            hint=f"--data {found[0].answers.parent}",
        )
    for one in found[1:]:
        if [name for name, _ in one.channels] != [name for name, _ in found[0].channels]:
            raise DataError(
                f"part {one.name} has other channels than part {found[0].name}",
                channels=", ".join(name for name, _ in one.channels),
            )
    return found


def _read(part: Part, account: Accounting) -> tuple[np.ndarray, list[str], list[str] | None]:
    """Windows (N, T, C), their answers and their subjects.

    Raises:
        DataError: files of different numbers of lines or steps, or a word that is no number.
    """
    values = [_matrix(file) for _, file in part.channels]
    words = _words(part.answers)
    subjects = None if part.subjects is None else _words(part.subjects)
    account.use(part.answers, *([part.subjects] if part.subjects is not None else []))
    sizes = {file.name: len(one) for (_, file), one in zip(part.channels, values, strict=True)}
    sizes[part.answers.name] = len(words)
    if part.subjects is not None and subjects is not None:
        sizes[part.subjects.name] = len(subjects)
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name}: {count:,}" for name, count in list(sizes.items())[-4:])
        raise DataError(f"files of part {part.name} have different numbers of lines", lines=said)
    if len({one.shape[1] for one in values}) > 1:
        said = ", ".join(f"{file.name}: {one.shape[1]}" for (_, file), one in zip(part.channels, values, strict=True))
        raise DataError(f"channels of part {part.name} have different numbers of steps", steps=said)
    return np.stack(values, 2), words, subjects


def _words(path: Path) -> list[str]:
    return [_whole_text(line.strip()) for line in text_lines(path) if line.strip()]


def _whole_text(word: str) -> str:
    """``1`` for ``1.000e+00``, as NumPy writes it."""
    try:
        value = float(word)
    except ValueError:
        return word
    return str(int(value)) if value.is_integer() and not word.isdigit() else word


def _are_values(words: Sequence[str]) -> bool:
    """Whether answers are numbers with decimals, which are no classes."""
    try:
        return any(not float(word).is_integer() for word in words)
    except ValueError:
        return False


def _matrix(path: Path) -> np.ndarray:
    """A window a line, float32 (N, T)."""
    lines = plain_numbers([_filled(words_of(line)) for line in text_lines(path) if line.strip()], path.name)
    widths = {len(one) for one in lines}
    if len(widths) != 1:
        odd = next((number for number, one in enumerate(lines) if len(one) != len(lines[0])), 0)
        raise DataError(
            f"{str(path)!r}, line {odd + 1}: {len(lines[odd]) if lines else 0} numbers, not as many as line 1"
        )
    try:
        return np.asarray(lines, np.float32)
    except ValueError as error:
        raise DataError(f"{str(path)!r} holds something else than numbers: {error}") from None


def _filled(words: Sequence[str]) -> list[str]:
    return [word for word in words if word]


def _names(path: Path, words: Set[str], account: Accounting) -> dict[str, str]:
    """Answer -> its name, where a file says so: ``1 WALKING``, ``1,WALKING`` or ``WALKING 1``."""
    file = next((one for one in first_files(path) if one.name == NAMES), None) if path.is_dir() else None
    if file is None:
        return {}
    lines = [line.strip() for line in text_lines(file) if line.strip()]
    first = dict(one for line in lines if len(one := re.split(r"[\s,;:=]+", line, maxsplit=1)) == 2)
    last = {key: name for line in lines for name, _, key in [re.sub(r"[\s,;:=]+(?=\S+$)", "\t", line).rpartition("\t")]}
    found = next(
        ({key: one[key].strip() for key in one if key in words} for one in (first, last) if words & {*one}), {}
    )
    if found:
        account.use(file)
    else:
        account.ignore(file, "its lines name none of the answers")
        account.note(f"{file.name}: its lines name none of the answers")
    missing = sorted(words - {*found})
    if found and missing:
        account.note(f"{file.name} has no name for answers {', '.join(missing[:6])}")
    return found
