"""Dataset ``pointcloud/shape-occupancy``: ShapeNet as the occupancy networks have it, a folder a model.

Layout (Mescheder et al. 2019, arXiv 1812.03828): ``<category>/<model>/pointcloud.npz`` holds points and normals of the
surface, ``points.npz`` beside it query points with occupancies, which are no shape; ``<category>/{train,val,test}.lst``
name the models of each part; ``metadata.yaml`` says what the categories are called.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import yaml

from repcore.data.accounting import Accounting, walk
from repcore.data.catalogue import Catalogue, Row, class_target, existing, rows_by
from repcore.data.encodings import whole_text
from repcore.data.splits import PART_NAMES
from repcore.errors import DataError
from repcore_pointcloud.configs.shapes import ShapeFilesConfig
from repcore_pointcloud.datasets.shape_reader import ReadCloud, ShapeReader
from repcore_pointcloud.formats.points import read_cloud

SURFACE, QUERIES, METADATA, LIST_SUFFIX = "pointcloud.npz", "points.npz", "metadata.yaml", ".lst"


class ShapeOccupancyReader(ShapeReader):
    """Surfaces with a class each.

    Raises:
        DataError: no surface.
    """

    def __init__(self, config: ShapeFilesConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(occupancy_catalogue(root), config.path, labels=config.labels, cache_mib=config.cache_mib)


def sniff(path: Path) -> float:
    """A surface beside query points, three levels down at most."""
    if not path.is_dir():
        return 0.0
    patterns = (SURFACE, f"*/{SURFACE}", f"*/*/{SURFACE}")
    found = next((one for pattern in patterns for one in path.glob(pattern)), None)
    return 0.95 if found is not None and (found.parent / QUERIES).is_file() else 0.0


def occupancy_catalogue(root: Path) -> Catalogue[ReadCloud]:
    """Rows, classes and splits.

    Raises:
        DataError: no surface.
    """
    account = Accounting(root)
    surfaces: list[Path] = []
    for one in walk(root):
        if one.problem:
            account.unreadable(one.path, one.problem)
        elif one.path.name == SURFACE:
            surfaces.append(one.path)
        elif one.path.name == QUERIES:
            account.ignore(one.path, "query points with occupancies, no surface")
    if not surfaces:
        raise DataError(f"{str(root)!r} holds no surface", expected=f"<category>/<model>/{SURFACE}")
    folders = [one.parent for one in surfaces]
    categories = [folder.parent.name if folder != root else "" for folder in folders]
    names = _names(root, account)
    words = [names.get(one, one) for one in categories]
    target, numbers = class_target("class", words)
    targets = [target] if len(target.names) > 1 else []
    rows: list[Row[ReadCloud]] = [
        Row(
            folder.relative_to(root).as_posix() if folder != root else root.name,
            partial(read_cloud, path),
            {"class": numbers[word]} if targets else {},
            files=(path,),
        )
        for path, folder, word in zip(surfaces, folders, words, strict=True)
    ]
    return Catalogue(rows, targets, rows_by(_parts(folders, account)), account=account)


def _parts(folders: list[Path], account: Accounting) -> list[str | None]:
    """Part of the split of every model, from the lists of its category."""
    part_of: dict[Path, str] = {}
    for category in sorted({folder.parent for folder in folders}):
        for path in sorted(category.glob(f"*{LIST_SUFFIX}")):
            part = PART_NAMES.get(path.stem.lower())
            if part is None:
                continue
            account.use(path)
            names = whole_text(path).split()
            missing = [name for name in names if not (category / name).is_dir()]
            if missing:
                account.note(f"{len(missing)} of {len(names)} models of {category.name}/{path.name} have no folder")
            part_of |= {category / name: part for name in names}
    return [part_of.get(folder) for folder in folders]


def _names(root: Path, account: Accounting) -> dict[str, str]:
    """Category number -> name, where the folder says it."""
    path = root / METADATA
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(whole_text(path))
        names = {str(key): str(value["name"]).split(",")[0] for key, value in found.items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        account.unreadable(path, f"no table of categories: {type(error).__name__}")
        return {}
    account.use(path)
    return names
