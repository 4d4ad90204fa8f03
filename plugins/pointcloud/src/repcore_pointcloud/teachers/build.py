"""From the settings of an objective to a frozen teacher, with a word to the user about which one is active."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from torch import nn

from repcore.checkpoints.reading import file_sha256
from repcore.errors import ConfigError
from repcore.files import entries_of
from repcore.nn.frozen import Frozen
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig
from repcore_pointcloud.teachers.classical import ClassicalTeacher
from repcore_pointcloud.teachers.clip_files import read_teacher
from repcore_pointcloud.teachers.random_features import RandomTeacher
from repcore_pointcloud.teachers.vision_transformer import CLIP, IMAGENET

CLASSICAL_VERSION = 1  # of the fixed features: raised when their values change

logger = logging.getLogger(__name__)


def build_teacher(config: MaskedPointsConfig) -> Frozen | None:
    """The teacher that the settings name; None for ``none``.

    Raises:
        ConfigError: ``clip-local`` without a path.
        CheckpointError: as :func:`repcore_pointcloud.teachers.clip_files.read_teacher`.
    """
    if config.teacher == "none":
        return None
    if config.teacher == "clip-local":
        if not config.teacher_path:
            raise ConfigError(
                "teacher=clip-local without teacher_path",
                field="objective.teacher_path",
                hint="a local CLIP folder or file; teacher=classical needs none",
            )
        path = Path(config.teacher_path).expanduser()
        image_norm = IMAGENET if config.teacher_image_norm == "imagenet" else CLIP
        teacher = read_teacher(path, image_norm, config.teacher_heads)
        logger.info("teacher: clip-local from %s", path.name)
        return Frozen(teacher, f"clip-local:{path.name}", weights_hash(path))
    logger.warning("teacher: %s, built in; results with it are not the paper's, which needs CLIP", config.teacher)
    if config.teacher == "random":
        built: nn.Module = RandomTeacher(config.teacher_width, config.teacher_seed)
        identity = f"random:{config.teacher_width}:{config.teacher_seed}"
    else:
        built, identity = ClassicalTeacher(), f"classical:{CLASSICAL_VERSION}"
    return Frozen(built, identity, hashlib.sha256(identity.encode()).hexdigest())


def weights_hash(path: Path) -> str:
    """Hash of a weights file, or of all weights files of a folder."""
    if path.is_file():
        return file_sha256(path)
    files = [one for one in entries_of(path) if one.suffix in (".safetensors", ".bin", ".pt", ".pth")]
    return hashlib.sha256("".join(file_sha256(one) for one in files).encode()).hexdigest()
