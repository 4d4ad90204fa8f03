"""Dataset ``audio/urbansound8k``: ``audio/fold1`` ... ``fold10`` with ``metadata/UrbanSound8K.csv``.

Start and end in its table count in the recording that a slice was cut out of: they are not applied. Slices of one
recording (``fsID``) are a group and lie in one fold, as published.
"""

from __future__ import annotations

from pathlib import Path

from repcore.data.accounting import Accounting
from repcore.data.catalogue import Catalogue, class_target, existing, rows_by
from repcore.errors import DataError
from repcore_audio.configs.recordings import RecordingsConfig
from repcore_audio.datasets.manifest_tables import published_problem, read_cells
from repcore_audio.datasets.recordings import Excerpt, RecordingReader, recording_row

TABLE = Path("metadata") / "UrbanSound8K.csv"
COLUMNS = ("slice_file_name", "fsID", "fold", "class")


class UrbanSoundReader(RecordingReader):
    """Slices of urban sounds of ten classes in ten folds."""

    def __init__(self, config: RecordingsConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(urban_sound_catalogue(root), root, config)


def urban_sound_catalogue(root: Path) -> Catalogue[Excerpt]:
    """Rows of the table with classes, folds as splits ``fold-1`` ... and source recordings as groups.

    Raises:
        DataError: no table, or a column is missing.
    """
    path = root / TABLE if root.is_dir() else root
    base = path.parent.parent
    if not path.is_file():
        raise DataError(f"{str(root)!r} has no {TABLE.as_posix()}", hint="--reader folder")
    account = Accounting(base)
    cells = read_cells(path, account)
    names, sources, folds, classes = (cells.texts(cells.named(one)) for one in COLUMNS)
    target, number = class_target("class", (word for word in classes if word is not None))
    rows = []
    for row, (name, source, fold, word) in enumerate(zip(names, sources, folds, classes, strict=True)):
        file = base / "audio" / f"fold{fold}" / (name or "")
        problem = published_problem(cells, row, name and f"fold{fold}/{name}", file)
        values = {} if word is None else {"class": number[word]}
        rows.append(recording_row(name or f"row-{row}", file, values, source, problem))
    account.note("slices were cut out before: start and end of the table count in the source recording")
    return Catalogue(rows, (target,), rows_by([fold and f"fold-{fold}" for fold in folds]), account=account)
