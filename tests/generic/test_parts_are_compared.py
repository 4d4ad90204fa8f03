"""Parts that do not fit are refused before a run, with an error that names both sides and what would fit."""

from __future__ import annotations

import pytest

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.errors import ConfigError, RepcoreError

PAIRS = [
    ("molecules/selformer", "encoder=audio/ssamba", ("molecules/selfies", "audio/ssamba")),
    ("audio/ssamba", "encoder=graphs/ehgnn", ("audio/log-mel", "graphs/ehgnn")),
    ("graphs/graph-contrast", "preprocessor=molecules/selfies", ("molecules/selfies",)),
    ("pointcloud/point-m2ae", "dataset=audio/sounds", ("audio/sounds", "pointcloud/")),
    ("medical3d/adam-v2", "dataset=graphs/motifs", ("graphs/motifs", "medical3d/image")),
    ("pointcloud/fac", "objective=generic/masked-features", ("generic/masked-features", "pointcloud/sparse-unet")),
    ("pointcloud/point-m2ae", "objective=generic/matryoshka-2d", ("generic/matryoshka-2d", "pointcloud/i2p-mae")),
    ("medical3d/adam-v2", "objective=generic/matryoshka-2d", ("generic/matryoshka-2d", "medical3d/convnext")),
]


@pytest.mark.parametrize(("recipe", "override", "names"), PAIRS, ids=[f"{one[0]}-{one[1]}" for one in PAIRS])
def test_both_sides_are_named(recipe: str, override: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_run(registry.default(), recipe, overrides=(override,))
    assert isinstance(caught.value, RepcoreError)
    for name in names:
        assert name in str(caught.value)


def test_what_would_fit_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_run(registry.default(), "pointcloud/fac", overrides=("objective=generic/masked-features",))
    assert "pointcloud/i2p-mae" in str(caught.value)
    assert "embed-tokens" in str(caught.value)
