"""Ten-fold protocols: the published fold files, and stratified folds from a seed.

Source of the fold files: public repository muhanzhang/pytorch_DGCNN; used by GMT and EHGNN. Each fold has floor(N /
10) graphs, the N mod 10 left over are never tested. Protocol: test = fold k, validation = fold k - 1 (the last one for
k = 1), train = the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from repcore.errors import DataError
from repcore.files import read_json_file

FOLDS = 10
JSON_NAME = "10fold_test_idx.json"
TEXT_FOLDER = "10fold_idx"


def published_folds(folder: Path, count: int) -> list[np.ndarray]:
    """Test rows of each fold, from ``10fold_test_idx.json`` or ``10fold_idx/test_idx-K.txt`` in or above a folder.

    Args:
        folder: of the data.
        count: graphs in the data.

    Raises:
        DataError: no fold file, or one that does not fit the data.
    """
    for place in (folder, folder.parent):
        if (place / JSON_NAME).is_file():
            folds = _read_json(place / JSON_NAME)
            break
        if (place / TEXT_FOLDER).is_dir():
            folds = _read_text(place / TEXT_FOLDER)
            break
    else:
        raise DataError(
            f"{folder} has no fold file", expected=f"{JSON_NAME} or {TEXT_FOLDER}/", hint="dataset.folds=stratified"
        )
    joined = np.concatenate(folds) if folds else np.zeros(0, np.int64)
    if joined.size and (joined.min() < 0 or joined.max() >= count):
        raise DataError(f"the folds of {place} name graph {int(joined.max())}; the data has {count} graphs")
    if np.unique(joined).size != joined.size:
        raise DataError(f"the folds of {place} overlap")
    return folds


def _read_json(path: Path) -> list[np.ndarray]:
    try:
        content = read_json_file(path)
        return [np.asarray(fold, dtype=np.int64) for fold in content["test_folds"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a fold file", expected='{"test_folds": [[row, ...], ...]}') from error


def _read_text(folder: Path) -> list[np.ndarray]:
    paths = [folder / f"test_idx-{number}.txt" for number in range(1, FOLDS + 1)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}")
    try:
        return [np.loadtxt(path, dtype=np.int64, ndmin=1) for path in paths]
    except ValueError as error:
        raise DataError(f"a fold file in {folder} does not hold whole numbers", reason=error) from error


def stratified_folds(labels: Sequence[int] | np.ndarray, *, generator: np.random.Generator) -> list[np.ndarray]:
    """Ten folds of equal class shares that cover every row."""
    values = np.asarray(labels)
    folds: list[list[int]] = [[] for _ in range(FOLDS)]
    place = 0
    for one in np.unique(values):
        for row in generator.permutation(np.flatnonzero(values == one)):
            folds[place % FOLDS].append(int(row))
            place += 1
    return [np.sort(np.asarray(fold, dtype=np.int64)) for fold in folds]


def fold_split(folds: Sequence[np.ndarray], fold: int, count: int) -> Mapping[str, np.ndarray]:
    """Rows of train, validation and test for fold number 1 .. 10.

    Raises:
        DataError: no such fold.
    """
    if not 1 <= fold <= len(folds):
        raise DataError(f"dataset.fold={fold} is not a fold", expected=f"1 .. {len(folds)}")
    test, validation = folds[fold - 1], folds[fold - 2]
    held = np.zeros(count, bool)
    held[test] = True
    held[validation] = True
    return {"train": np.flatnonzero(~held), "validation": np.sort(validation), "test": np.sort(test)}
