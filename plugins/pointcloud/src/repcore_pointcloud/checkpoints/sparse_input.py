"""What published sparse U-Nets were fed with: the preprocessor that an imported model is saved with.

Colours of MinkowskiEngine networks are c / 255 - 0.5, those of Pointcept c / 127.5 - 1; the voxel size is that of the
published recipe. Neither is in the file, so both can be set, and what was assumed is in the load report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from repcore.errors import CheckpointError, closest
from repcore_pointcloud.configs.scenes import Channel, SceneConfig
from repcore_pointcloud.preprocessors.scene import CHANNEL_WIDTHS, ScenePreprocessor

PREPROCESSOR = "pointcloud/scene"
OPTIONS = ("channels", "voxel_size_m", "colour_scale")
CHANNELS_OF_WIDTH: Mapping[int, tuple[Channel, ...]] = {
    1: ("constant",), 3: ("colour",), 4: ("colour", "intensity"), 6: ("colour", "normal"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Published:
    """Voxel size and scale of colours of a family of networks."""

    voxel_size_m: float
    colour_scale: float


MINKOWSKI = Published(0.025, 1.0)  # PointContrast and CSC
TRAINER = Published(0.05, 1.0)  # DepthContrast and FAC
POINTCEPT = Published(0.02, 2.0)


def known_options(options: Mapping[str, str], others: Sequence[str]) -> None:
    """Raises CheckpointError: an option that the layout does not have."""
    names = (*others, *OPTIONS)
    for name in options:
        if name not in names:
            raise CheckpointError(
                f"option {name!r} is unknown", did_you_mean=closest(name, names), options=", ".join(names)
            )


def scene_config(width: int | None, published: Published, options: Mapping[str, str]) -> SceneConfig:
    """Settings of the preprocessor for a network with so many channels a voxel.

    Raises:
        CheckpointError: channels that do not make that width, or no way to tell which they are.
    """
    channels = _channels(width, options)
    try:
        size = float(options.get("voxel_size_m", published.voxel_size_m))
        scale = float(options.get("colour_scale", published.colour_scale))
    except ValueError as error:
        raise CheckpointError("voxel_size_m and colour_scale are numbers", got=str(error)) from error
    if size <= 0.0:
        raise CheckpointError(f"voxel_size_m={size} is no length")
    return SceneConfig(voxel_size_m=size, channels=channels, colour_scale=scale)


def _channels(width: int | None, options: Mapping[str, str]) -> tuple[Channel, ...]:
    known = get_args(Channel)
    if "channels" in options:
        names = [one.strip() for one in options["channels"].strip("[]() ").split(",") if one.strip()]
        odd = next((one for one in names if one not in known), None)
        if odd is not None:
            raise CheckpointError(
                f"channel {odd!r} is unknown", did_you_mean=closest(odd, known), channels=", ".join(known)
            )
        found: tuple[Any, ...] = tuple(names)
        if sum(CHANNEL_WIDTHS[one] for one in found) != width:
            raise CheckpointError(f"channels={','.join(names)} are not the {width} inputs of the network")
        return found
    if width is None or width not in CHANNELS_OF_WIDTH:
        raise CheckpointError(
            f"the network takes {width} numbers a voxel, and the file does not say which",
            channels=", ".join(f"{name} ({CHANNEL_WIDTHS[name]})" for name in known),
            hint="--option channels=colour,normal",
        )
    return CHANNELS_OF_WIDTH[width]


def feeding(config: SceneConfig) -> dict[str, Any]:
    """Fields of :class:`repcore.checkpoints.imported.Imported` about the preprocessor."""
    return {
        "preprocessor": ScenePreprocessor(config),
        "preprocessor_name": PREPROCESSOR,
        "preprocessor_config": config,
    }
