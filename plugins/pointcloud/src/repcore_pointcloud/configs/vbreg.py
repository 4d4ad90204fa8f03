"""Settings of VBReg: the network over matches, its training, generated matches, and how a motion is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

NEAREST_M = 0.1
"""Distance in metres at which two points are one place, for scans with voxels of about 3 cm (3DMatch)."""


@dataclass(frozen=True, kw_only=True)
class MatchNetworkConfig:
    """Sizes of the network over matches; the defaults are those of the released configuration."""

    layers: int = field(default=12, metadata={"help": "rounds of latent draw and attention", "min": 1})
    width: int = field(default=128, metadata={"help": "width of a match's features", "min": 4})
    belief_width: int = field(default=256, metadata={"help": "width of the recurrent state", "min": 1})
    hidden_width: int = field(default=256, metadata={"help": "hidden width of priors and posteriors", "min": 1})
    latent_width: int = field(default=128, metadata={"help": "width of the latent variable", "min": 1})
    length_tolerance_m: float = field(
        default=NEAREST_M,
        metadata={"help": "change of length at which two matches no longer agree", "unit": "m", "above": 0},
    )


@dataclass(frozen=True, kw_only=True)
class MatchConsistencyConfig:
    """Variational training of the network on matches whose motion is known."""

    label_width: int = field(default=64, metadata={"help": "width of the embedding of right and wrong", "min": 1})
    mix: float = field(default=0.5, metadata={"help": "share of the posterior pass in the loss", "min": 0, "max": 1})
    kl_weight: float = field(default=1.0, metadata={"help": "weight of the divergence, halved as published", "min": 0})
    kl_balance: float = field(
        default=0.8, metadata={"help": "share of the divergence that moves the prior alone", "min": 0, "max": 1}
    )
    value_label: Literal["own", "key"] = field(
        default="own", metadata={"help": "label embedding of the value branch; key = the published slip"}
    )
    turn: bool = field(default=True, metadata={"help": "turn the targets at random and swap both sides half the time"})


@dataclass(frozen=True, kw_only=True)
class MatchSetConfig:
    """From a pair's matches to tensors."""

    inlier_distance_m: float = field(
        default=NEAREST_M,
        metadata={"help": "a match this near under the known motion is right", "unit": "m", "above": 0},
    )


@dataclass(frozen=True, kw_only=True)
class MatchPairsConfig:
    """Generated pairs: surface points of a furnished box seen twice, most matches wrong."""

    pairs: int = field(default=800, metadata={"help": "number of pairs", "min": 1})
    matches: int = field(default=250, metadata={"help": "most matches of a pair", "min": 4})
    fewest_matches: int = field(default=200, metadata={"help": "fewest matches of a pair", "min": 4})
    wrong_from: float = field(default=0.6, metadata={"help": "smallest share of wrong matches", "min": 0, "below": 1})
    wrong_to: float = field(default=0.96, metadata={"help": "largest share of wrong matches", "min": 0, "below": 1})
    noise_m: float = field(
        default=0.03, metadata={"help": "standard deviation of right matches along each axis", "unit": "m", "min": 0}
    )
    seed: int = field(default=0, metadata={"help": "seed of everything random", "min": 0})


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """How one motion is found among matches.

    Each setting that names a published quirk has the corrected way as its default.
    """

    inlier_distance_m: float = field(
        default=NEAREST_M, metadata={"help": "a match this near under a motion agrees", "unit": "m", "above": 0}
    )
    seed_distance_m: float = field(
        default=NEAREST_M, metadata={"help": "a seed beats those nearer than this", "unit": "m", "min": 0}
    )
    seed_share: float = field(default=0.1, metadata={"help": "seeds as a share of matches", "min": 0, "max": 1})
    fewest_seeds: int = field(default=1000, metadata={"help": "seeds, where there are so many", "min": 1})
    set_size: int = field(default=40, metadata={"help": "matches of a seed's set, with the seed", "min": 3})
    power_steps: int = field(default=10, metadata={"help": "steps of the power iteration", "min": 1})
    refine_steps: int = field(default=20, metadata={"help": "rounds of refinement at most", "min": 0})
    consensus: Literal["votes", "nearest"] = field(
        default="votes", metadata={"help": "a seed's set: votes of all layers, or nearest in features (PointDSC)"}
    )
    seed_mask: Literal["masked", "product"] = field(
        default="masked", metadata={"help": "beaten matches are no seeds; product = score 0 (published)"}
    )
    vote_zero: bool = field(default=False, metadata={"help": "matches without any agreement get votes (published)"})
    vote_temperature: Literal["learned", "one"] = field(
        default="learned", metadata={"help": "temperature of features in votes; one = published"}
    )
    refine_distance: Literal["config", "table"] = field(
        default="config", metadata={"help": "table = 1.2 for all inlier distances but 0.1 (published)"}
    )
    labels_after_refinement: bool = field(
        default=True, metadata={"help": "inliers of the refined motion; false = of the one before (published)"}
    )
    latent: Literal["mean", "sample"] = field(
        default="mean", metadata={"help": "the prior's mean, or a draw from it with the seed"}
    )
    seed: int = field(default=0, metadata={"help": "seed of draws", "min": 0})


@dataclass(frozen=True, kw_only=True)
class RansacConfig:
    """Random triples of matches."""

    hypotheses: int = field(default=100_000, metadata={"help": "triples that are tried at most", "min": 1})
    confidence: float = field(
        default=0.99999,
        metadata={
            "help": "stop when a better motion is missed no more surely than this; 1 = never",
            "min": 0,
            "max": 1,
        },
    )


@dataclass(frozen=True, kw_only=True)
class SpectralConfig:
    """Second-order agreement of lengths."""

    seeds: int = field(default=100, metadata={"help": "rows with the largest sums", "min": 1})
    set_size: int = field(default=20, metadata={"help": "matches of a row's set", "min": 3})


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """Features of local geometry (fast point feature histograms) and matches by features.

    Lengths are given in voxels, so that they follow the data.
    """

    normal_radius: float = field(
        default=2.0, metadata={"help": "neighbourhood of normals", "unit": "voxels", "above": 0}
    )
    feature_radius: float = field(
        default=5.0, metadata={"help": "neighbourhood of features", "unit": "voxels", "above": 0}
    )
    normal_neighbours: int = field(default=30, metadata={"help": "most neighbours of a normal", "min": 3})
    feature_neighbours: int = field(default=100, metadata={"help": "most neighbours of a feature", "min": 3})
    bins: int = field(default=11, metadata={"help": "bins of each of the three angles", "min": 2})


@dataclass(frozen=True, kw_only=True)
class RegistrationConfig:
    """From two clouds to one motion."""

    voxel: float | None = field(
        default=None,
        metadata={
            "help": "side of a voxel in the files' unit; null = about 8000 points of the larger cloud",
            "above": 0,
        },
    )
    inlier_voxels: float = field(
        default=3.0, metadata={"help": "inlier distance of matches", "unit": "voxels", "above": 0}
    )
    matches: int = field(default=1000, metadata={"help": "matches kept, the most distinct first", "min": 3})
    mutual: bool = field(default=True, metadata={"help": "only matches that are nearest both ways"})
    sensor_at_origin: bool = field(
        default=False, metadata={"help": "clouds were seen from 0, 0, 0, which turns normals the right way"}
    )
    closest_points: bool = field(default=True, metadata={"help": "refine by nearest points in the end"})
    least_inliers: int = field(default=12, metadata={"help": "fewer matches that agree are no motion", "min": 3})
    above_chance: float = field(
        default=5.0,
        metadata={
            "help": "times as many matches must agree as with targets shuffled, else there is no motion",
            "min": 0,
        },
    )
    least_overlap: float = field(
        default=0.1, metadata={"help": "less of either cloud on the other is no motion", "min": 0, "max": 1}
    )
