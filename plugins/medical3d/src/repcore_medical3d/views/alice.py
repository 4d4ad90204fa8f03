"""Views ``medical3d/alice-pairs``: crops of one body part in two scans, named ``query`` and ``key``.

Source: `alibaba-damo-academy/alice`, loader.
Differs: the partner is drawn among all scans of the same split instead of being the previous iteration's; places are
carried in millimetres; the best of the tries is used, not the last; crops stay mostly inside the scan; every crop may
be moved a little, so that place within the crop is no cue.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from repcore.errors import ConfigError, DataError, ItemError
from repcore.interfaces import DatasetReader, Item, Progress, Sample
from repcore_medical3d.configs.alice import AlicePairsConfig
from repcore_medical3d.correspondence.backends import Coordinates, Correspondence, Matches, Registration, cycle_error_mm
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor, centred_start

PARTNER_TRIES = 10


class AlicePairs:
    """Finds two crops of the same anatomy.

    Args:
        config: back-end and search.
        preprocessor: prepares scans and cuts crops.

    Raises:
        ConfigError: settings that do not fit together.
    """

    def __init__(self, config: AlicePairsConfig, preprocessor: VolumePreprocessor) -> None:
        if config.tries < 1:
            raise ConfigError(f"tries={config.tries} is below 1", field="views.tries")
        for name in ("jitter", "overhang"):
            if not 0 <= getattr(config, name) <= 1:
                raise ConfigError(f"{name}={getattr(config, name)} is outside 0 to 1", field=f"views.{name}")
        self.config, self.preprocessor = config, preprocessor
        self.edge = config.crop_edge or preprocessor.config.crop_edge
        self.backend = correspondence(config, preprocessor)
        self._splits: dict[int, np.ndarray] = {}

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """The two crops; ``measured`` of the key says how well they fit.

        Raises:
            ItemError: the scan, or ten partners in a row, cannot be used.
        """
        del progress
        scan = reader[index]
        partner = scan if self.config.partner == "same" else self._partner(index, reader, generator)
        point, found, tries = self._place(scan, partner, generator)
        cycle = float(cycle_error_mm(self.backend, scan, partner, point[None], found)[0])
        score = float(found.score[0])
        measured = {
            "match_score": score, "match_accepted": float(score >= self._least_score), "match_tries": float(tries),
            "match_cycle_mm": cycle,
        }  # fmt: skip
        query = self._crop(scan, point, generator, {})
        key = self._crop(partner, found.points_mm[0], generator, {"measured": measured})
        return {"query": query, "key": key}

    @property
    def _least_score(self) -> float:
        return self.backend.least_score if self.config.least_score is None else self.config.least_score

    def _partner(self, index: int, reader: DatasetReader, generator: np.random.Generator) -> Sample:
        """Another scan of the same declared split."""
        if not self._splits:
            rows = [np.asarray(part) for part in reader.splits.values()] or [np.arange(len(reader))]
            self._splits = {int(row): part for part in rows for row in part}
        others = self._splits.get(index, np.arange(len(reader)))
        others = others[others != index]
        if not len(others):
            return reader[index]
        problem: ItemError | None = None
        for _ in range(PARTNER_TRIES):
            try:
                partner = reader[int(generator.choice(others))]
                self.preprocessor.prepared(partner)
                return partner
            except ItemError as error:
                problem = error
        raise ItemError("no_partner", f"{PARTNER_TRIES} partners in a row cannot be used, the last: {problem}")

    def _place(self, scan: Sample, partner: Sample, generator: np.random.Generator) -> tuple[np.ndarray, Matches, int]:
        """The best of a few random body places, their match, and how many were tried."""
        points = self._body_points(scan, generator)
        best: tuple[np.ndarray, Matches] | None = None
        tries = 0
        for point in points:
            tries += 1
            found = self.backend.match(scan, partner, point[None])
            if best is None or found.score[0] > best[1].score[0]:
                best = point, found
            if found.score[0] >= self._least_score:
                break
        assert best is not None
        return best[0], best[1], tries

    def _body_points(self, scan: Sample, generator: np.random.Generator) -> np.ndarray:
        """World coordinates (tries, 3) of random voxels of the body; of any voxel where there is no body."""
        prepared = self.preprocessor.prepared(scan)
        places = torch.nonzero(prepared.values[0] > self.config.foreground)
        count = self.config.tries
        if len(places):
            voxels = places[torch.from_numpy(generator.integers(len(places), size=count))].numpy()
        else:
            voxels = generator.integers(prepared.grid.shape, size=(count, 3))
        return prepared.grid.world(voxels)

    def _crop(
        self, scan: Sample, point_mm: np.ndarray, generator: np.random.Generator, facts: Mapping[str, object]
    ) -> Item:
        grid = self.preprocessor.grid(scan.inputs)
        jitter = generator.uniform(-1, 1, 3) * self.config.jitter * self.edge
        centre = np.round(grid.voxels(point_mm) + jitter).astype(int)
        beyond = round(self.config.overhang * self.edge)
        start = []
        for first, size in zip(centred_start(centre.tolist(), self.edge), grid.shape, strict=True):
            low, high = sorted((0, size - self.edge))
            start.append(int(np.clip(first, low - beyond, high + beyond)))
        part = self.preprocessor.crop(scan, start, (self.edge,) * 3)
        item = self.preprocessor.item(part, grid.shape, start)
        return Item(item.values, {**item.meta, **facts}, item.status, item.reason, item.weight)


def correspondence(config: AlicePairsConfig, preprocessor: VolumePreprocessor) -> Correspondence:
    """The back-end that the settings name.

    Raises:
        ConfigError: a network is needed and not given. DataError: its file is not there.
    """
    if config.correspondence == "coordinates":
        return Coordinates(preprocessor)
    if config.correspondence == "registration":
        return Registration(preprocessor)
    if not config.network:
        raise ConfigError(
            f"correspondence={config.correspondence} needs a network", field="views.network",
            hint="repcore medical3d train-embedding DATA -o net.safetensors, then views.network=net.safetensors",
        )  # fmt: skip
    path = Path(config.network).expanduser()
    if not path.is_file():
        raise DataError(f"there is no network at {config.network!r}", field="views.network")
    return network_correspondence(
        path,
        preprocessor,
        is_light=config.correspondence == "light",
        folder=Path(config.store) if config.store else None,
    )


def network_correspondence(
    path: Path, preprocessor: VolumePreprocessor, *, is_light: bool, folder: Path | None = None
) -> Correspondence:
    """Correspondence by a stored network: the published one in Hounsfield units, or one trained on own scans."""
    from repcore_medical3d.checkpoints.anatomical_embedding import load_embedding
    from repcore_medical3d.correspondence.embeddings import (
        LIGHT_SCORE,
        PUBLISHED_SCORE,
        PUBLISHED_SPACING_MM,
        EmbeddingCorrespondence,
        EmbeddingStore,
    )

    network, _, identity = load_embedding(path)
    spacing = light_spacing(path) if is_light else PUBLISHED_SPACING_MM
    store = EmbeddingStore(
        network, identity, spacing_mm=spacing, preprocessor=preprocessor if is_light else None, folder=folder
    )
    return EmbeddingCorrespondence(store, least_score=LIGHT_SCORE if is_light else PUBLISHED_SCORE)


def light_spacing(path: Path) -> float:
    """Spacing in mm that a network of our own was trained at.

    Raises:
        DataError: the file does not say it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return float((file.metadata() or {})["spacing_mm"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path.name} does not say the spacing that it was trained at", hint="correspondence=checkpoint for SAM.pth"
        ) from error
