"""Reader ``timeseries/cases``: archives of labelled series, with the parts that they declare."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, class_target, existing, files_below, rows_by
from repcore.data.encodings import head_text
from repcore.errors import DataError
from repcore.specs import TargetSpec
from repcore_timeseries.configs.series import CasesConfig
from repcore_timeseries.datasets.described import described
from repcore_timeseries.formats.archives import SUFFIXES, Archive, Case
from repcore_timeseries.formats.arff import read_arff
from repcore_timeseries.formats.parts import PARTS
from repcore_timeseries.formats.series import Series
from repcore_timeseries.formats.ts_files import read_ts
from repcore_timeseries.formats.tsf_files import read_tsf
from repcore_timeseries.formats.ucr_tables import LAST, looks_like_ucr, read_ucr

READERS: Mapping[str, Callable[[Path], Archive]] = {
    ".ts": read_ts, ".arff": read_arff, ".tsv": read_ucr, ".tsf": read_tsf, ".txt": read_ucr, ".csv": read_ucr,
}  # fmt: skip
TEXTS = (".txt", ".csv")  # UCR tables where their name ends in a part, and they hold nothing but numbers
PART = re.compile(r"^(.*?)[_-]?(train|test|val|valid|validation)$", re.IGNORECASE)
SPELT = {"val": "validation", "valid": "validation"}
LABEL = "class"
HEAD_BYTES = 65_536


class Cases(CatalogueReader[Series, Series]):
    """Series of ``.ts``, ``.arff``, ``.tsf`` and UCR files.

    Args:
        config: see :class:`CasesConfig`.

    Raises:
        DataError: nothing there, several data sets in one folder, or parts whose channels differ.
    """

    noun = "case"
    lengths = ("channels",)

    def __init__(self, config: CasesConfig) -> None:
        path = existing(config.path, "series")
        account = Accounting(path if path.is_dir() else path.parent)
        archives = [READERS[one.suffix.lower()](one) for one in _files(path, account)]
        super().__init__(
            _catalogue(archives, account), path, labels=config.labels, expected=f"files of {', '.join(SUFFIXES)}"
        )

    @property
    def costs(self) -> list[int]:
        """Steps of every series."""
        return [0 if row.problem else len(row.source) for row in self.rows]

    def read(self, row: Row[Series]) -> Series:
        """The series, which was read with its file."""
        return row.source

    def size_of(self, content: Series) -> int:
        return int(content.values.nbytes)

    def facts(self, content: Series) -> Mapping[str, Any]:
        return described(content)

    def describe(self, sample: Any) -> Mapping[str, Any]:
        """For ``inspect``."""
        return described(sample.inputs)


def sniff(path: Path) -> float:
    """By the beginning of the file, or of the first such file of a folder."""
    if path.is_dir():
        found = [one for suffix in SUFFIXES for one in sorted(path.glob(f"*{suffix}"))[:1]]
        found += [one for suffix in TEXTS for one in sorted(path.glob(f"*_*{suffix}"))[:4]]
        return max((sniff(one) for one in found), default=0.0)
    suffix = path.suffix.lower()
    if suffix not in READERS or not path.is_file():
        return 0.0
    lines = head_text(path, HEAD_BYTES).lower().splitlines()
    kept = [line for line in lines if line.strip() and not line.startswith(("#", "%"))]
    if suffix in (".tsv", *TEXTS):
        return 0.85 if PART.match(path.stem) and kept and looks_like_ucr(kept[:20][: len(kept) - 1] or kept) else 0.0
    starts = {
        "@problemname", "@data", "@relation", "@attribute", "@frequency", "@classlabel", "@univariate", "@timestamps",
        "@missing", "@equallength", "@serieslength", "@dimensions", "@dimension", "@targetlabel",
    }  # fmt: skip
    return 0.9 if kept and kept[0].split(" ")[0].split("\t")[0] in starts else 0.0


def _files(path: Path, account: Accounting) -> list[Path]:
    """One file a part of the one data set."""
    if path.is_file():
        return [path]
    found = files_below(path, (*SUFFIXES, *TEXTS), account=account)
    found = [one for one in found if one.suffix.lower() not in TEXTS or sniff(one)]
    if not found:
        raise DataError(f"{str(path)!r} holds no series", expected=f"files of {', '.join(SUFFIXES)}")
    names = sorted({_name_and_part(one)[0] for one in found})
    if len(names) > 1:
        raise DataError(
            f"{str(path)!r} holds {len(names)} data sets: {', '.join(names[:6])}",
            hint=f"--data {found[0].parent / names[0]}...",
        )
    chosen: dict[str, Path] = {}
    for suffix in (*SUFFIXES, *TEXTS):
        for one in found:
            if one.suffix.lower() == suffix:
                taken = chosen.setdefault(_name_and_part(one)[1], one)
                if taken is not one:
                    account.ignore(one, f"the same part as {taken.name}")
    return [chosen[part] for part in sorted(chosen, key=lambda one: PARTS.index(one) if one in PARTS else -1)]


def _name_and_part(path: Path) -> tuple[str, str]:
    found = PART.match(path.stem)
    if found is None:
        return path.stem, ""
    part = found[2].lower()
    return found[1], SPELT.get(part, part)


def _catalogue(archives: Sequence[Archive], account: Accounting) -> Catalogue[Series]:
    notes = [f"class of {one.path.name}: {one.facts['class']}" for one in archives if one.facts.get("class") == LAST]
    _check_channels(archives, notes)
    cases = [(archive, number, case) for archive in archives for number, case in enumerate(archive.cases)]
    target, values = _labels(archives, notes)
    rows = []
    for archive, number, case in cases:
        name = case.name or f"{archive.path.stem}-{number:05d}"
        found = {} if case.label is None or target is None else {target.name: values(case.label)}
        empty = Series.of([[float("nan")]])  # type: ignore[arg-type]
        content = (archive.path,) if case.problem is None else ()  # one bad case makes no unreadable file
        stamp = f"{number}|{case.problem}"
        rows.append(Row(name, case.series or empty, found, case.group, case.problem, files=content, stamp=stamp))
    parts = [_name_and_part(archive.path)[1] or None for archive, _, _ in cases]
    splits = rows_by(parts) if len(set(parts)) > 1 else {}
    for archive in archives:
        account.use(archive.path)
    return Catalogue(rows, [] if target is None else [target], splits, notes, account)


def _labels(archives: Sequence[Archive], notes: list[str]) -> tuple[TargetSpec | None, Callable[[str], Any]]:
    """The label of all files, and its value for a text."""
    texts = [case.label for archive in archives for case in archive.cases if case.label is not None]
    if not texts:
        return None, str
    if any(archive.is_regression for archive in archives):
        return TargetSpec("target", "regression"), float
    target, numbers = class_target(LABEL, {*texts, *(one for archive in archives for one in archive.classes)})
    train = {case.label for archive in archives if _name_and_part(archive.path)[1] == "train" for case in archive.cases}
    unseen = sorted(set(texts) - train - {None}) if train else []
    if unseen:
        notes.append(f"classes without a training series: {', '.join(map(str, unseen[:6]))}")
    return target, lambda text: numbers[text]


def _check_channels(archives: Sequence[Archive], notes: list[str]) -> None:
    """All parts have the same channels; other cases keep their row, with the reason, when they are prepared."""

    def usual(cases: Sequence[Case]) -> int:
        counts = [len(one.series.names) for one in cases if one.series is not None]
        return max(set(counts), key=counts.count) if counts else 0

    found = {archive.path.name: usual(archive.cases) for archive in archives}
    known = {one for one in found.values() if one}
    if len(known) > 1:
        said = ", ".join(f"{name}: {count}" for name, count in found.items())
        raise DataError(f"the parts have different numbers of channels ({said})", hint="one file of them as --data")
    lengths = {len(one.series) for archive in archives for one in archive.cases if one.series is not None}
    if len(lengths) > 1:
        notes.append(f"the series have {min(lengths)} to {max(lengths)} steps")
