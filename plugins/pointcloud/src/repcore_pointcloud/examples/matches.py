"""Tiny settings of generated matches, for conformance checks and documentation."""

from __future__ import annotations

from repcore_pointcloud.configs.vbreg import MatchPairsConfig


def match_pairs() -> MatchPairsConfig:
    """Ten pairs of few matches."""
    return MatchPairsConfig(pairs=10, matches=40, fewest_matches=30)
