"""Generated pairs of clouds with matches, most of them wrong: what a network over matches trains on without any data.

Surface points of a furnished box are seen twice, from before and after a random motion, with noise. A wrong match leads
from a surface point to another one of the same box, as that of features which mistake one place for another does. A
pair is a pure function of (settings, index). Sizes and noise are those of the method card's own trial.

Symbols: N matches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from repcore.data.generated import Generated, every_fifth
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore_pointcloud.configs.vbreg import MatchPairsConfig
from repcore_pointcloud.formats.match_set import MatchSet

ROOM = np.array([3.0, 3.0, 1.5])  # metres
FURNITURE = (4, 9)
SHIFT = 2.0  # metres along each axis


class MatchPairs(Generated):
    """Dataset ``pointcloud/match-pairs``.

    Args:
        config: numbers, share of wrong matches, noise, seed.

    Raises:
        ConfigError: the range of matches or of shares is upside down.
    """

    noun = "match-pair"
    targets = ()

    def __init__(self, config: MatchPairsConfig) -> None:
        for low, high in (("fewest_matches", "matches"), ("wrong_from", "wrong_to")):
            if getattr(config, low) > getattr(config, high):
                raise ConfigError(
                    f"{low}={getattr(config, low)} is above {high}={getattr(config, high)}", field=f"dataset.{low}"
                )
        super().__init__(config, config.pairs)
        self.config = config

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return every_fifth(len(self))

    def make(self, index: int) -> Sample:
        """One pair."""
        rng = np.random.default_rng([self.config.seed, index])
        count = int(rng.integers(self.config.fewest_matches, self.config.matches + 1))
        share = rng.uniform(self.config.wrong_from, self.config.wrong_to)
        pair = match_pair(rng, count, share, self.config.noise_m)
        return Sample(self.id_of(index), pair, {}, None, {"matches": count})


def match_pair(rng: np.random.Generator, count: int, wrong_share: float, noise: float) -> MatchSet:
    """Matches over the surfaces of a box with furniture in it, and the motion between both sights of it.

    Args:
        rng: of everything random.
        count: N.
        wrong_share: of matches that lead to another surface point.
        noise: standard deviation along each axis of the targets, metres.
    """
    surface = surface_points(rng, 2 * count)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-SHIFT, SHIFT, 3)
    source, leads_to = surface[:count], surface[:count].copy()
    wrong = rng.permutation(count)[: round(wrong_share * count)]
    leads_to[wrong] = surface[rng.integers(count, 2 * count, len(wrong))]
    seen = leads_to + rng.normal(0.0, noise, leads_to.shape)
    return MatchSet(source, seen @ motion[:3, :3].T + motion[:3, 3], motion)


def surface_points(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points (count, 3) over the walls of a box and of smaller boxes in it, evenly by area."""
    sizes, corners = [ROOM], [np.zeros(3)]
    for _ in range(int(rng.integers(*FURNITURE))):
        size = rng.uniform(0.2, 0.9, 3) * np.array([1.0, 1.0, 0.8])
        sizes.append(size)
        corners.append(np.append(rng.uniform(0.0, (ROOM - size)[:2]), 0.0))
    size, corner = np.stack(sizes), np.stack(corners)
    area = np.stack([size[:, 1] * size[:, 2], size[:, 0] * size[:, 2], size[:, 0] * size[:, 1]], axis=1)
    chosen = rng.choice(3 * len(size), count, p=(area / area.sum()).reshape(-1))
    box, axis = np.divmod(chosen, 3)
    place = rng.random((count, 3))
    place[np.arange(count), axis] = rng.integers(0, 2, count)
    found: np.ndarray = corner[box] + place * size[box]
    return found
