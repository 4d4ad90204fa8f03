"""Published sparse U-Nets: PointContrast / CSC (MinkowskiEngine), DepthContrast / FAC trainer files, Pointcept.

Source: public repositories `facebookresearch/PointContrast`, `facebookresearch/DepthContrast` and
`Pointcept/Pointcept` for layouts and key names. Every key is renamed or dropped by a written rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repcore.checkpoints.imported import Imported, ImportedTask
from repcore.checkpoints.keymap import LoadReport
from repcore.errors import CheckpointError
from repcore.evaluation.tasks.dense_configs import DenseClassificationConfig
from repcore.specs import TargetSpec
from repcore_pointcloud.checkpoints.sparse_input import (
    MINKOWSKI,
    POINTCEPT,
    TRAINER,
    feeding,
    known_options,
    scene_config,
)
from repcore_pointcloud.checkpoints.sparse_weights import (
    KernelOrder,
    from_minkowski,
    from_spconv1,
    from_spconv_pointwise,
    from_zyx,
)
from repcore_pointcloud.configs.scenes import SceneConfig
from repcore_pointcloud.configs.sparse_unet import SparseUNetConfig
from repcore_pointcloud.encoders.sparse_unet import SparseUNet

NOTICE = "weights of a published sparse U-Net; see its repository for their licence"
FIRST_BLOCK = re.compile(r"block(\d+)\.")
PREFIXES = ("module.", "backbone.", "model.")
QUERY_TRUNKS = ("trunk.2.", "trunk.0.")  # voxels of the joint configuration, then of voxel-only ones


def sniff_minkowski(keys: frozenset[str]) -> float:
    """How surely these are MinkowskiEngine names of a Res16UNet."""
    return 0.95 if any(key.endswith("conv0p1s1.kernel") for key in keys) else 0.0


def sniff_pointcept(keys: frozenset[str]) -> float:
    """How surely these are Pointcept's names of a SpUNet."""
    found = any(key.endswith("conv_input.0.weight") for key in keys) and any(".block0.conv1.weight" in k for k in keys)
    return 0.95 if found else 0.0


def convert_minkowski(state: Mapping[str, Any], source: Path, options: Mapping[str, str]) -> Imported:
    """Res16UNet weights of PointContrast, CSC or the FAC / DepthContrast trainer.

    Args:
        options: ``kernel_order`` (``x_fastest`` unless given); ``keep_final=yes`` keeps the last 1 x 1 layer as part of
            the network (pre-training files), ``keep_final=classes`` as the head of a segmentation;
            ``channels``, ``voxel_size_m``, ``colour_scale``: what feeds the network.

    Raises:
        CheckpointError: a key without a place, or not a Res16UNet.
    """
    known_options(options, ("kernel_order", "keep_final"))
    given = _tensors(state)
    tensors, dropped = _selected(given)
    order: Any = options.get("kernel_order", "x_fastest")
    ours, renamed = res16unet_state(tensors, order)
    keep, task = options.get("keep_final", "no"), None
    if keep == "classes":
        task = segmentation_head(ours, renamed)
    elif keep != "yes":
        for name in [one for one in ours if one.startswith("final.")]:
            del ours[name]
        dropped |= {old: "last layer belongs to the old task" for old, new in renamed.items() if "final." in new}
        renamed = {old: new for old, new in renamed.items() if "final." not in new}
    config = config_of(ours, width_changes_at="block", epsilon=1e-5)
    report = LoadReport(str(source), "pointcloud/sparse-unet", renamed, dropped)
    published = TRAINER if tensors is not given else MINKOWSKI
    return _imported(config, ours, report, scene_config(config.input_width, published, options), task)


def convert_pointcept(state: Mapping[str, Any], source: Path, options: Mapping[str, str]) -> Imported:
    """SpUNet-v1m1 weights; kernels of spconv 1.x are recognised by their shape.

    Args:
        options: ``axis_order=zyx`` for a network whose voxels were ordered b, z, y, x; ``channels``, ``voxel_size_m``,
            ``colour_scale``.

    Raises:
        CheckpointError: a key without a place.
    """
    known_options(options, ("axis_order",))
    tensors, dropped = _tensors(state), {}
    ours, renamed = {}, {}
    for name, value in tensors.items():
        short = name
        for prefix in PREFIXES:
            short = short.removeprefix(prefix)
        if short.split(".")[0] in ("mask_token", "color_head", "normal_head"):
            dropped[name] = "head of the old task"
            continue
        ours[short], renamed[name] = value, short
    ours = pointcept_state(ours)
    if options.get("axis_order", "xyz") == "zyx":
        ours = {name: from_zyx(value) if value.ndim == 5 else value for name, value in ours.items()}
    task = segmentation_head(ours, renamed)
    for name in [one for one in ours if one.startswith("final.")]:  # not the head where there is another
        del ours[name]
        dropped |= {old: "head of the old task" for old, new in renamed.items() if new == name}
    renamed = {old: new for old, new in renamed.items() if not new.startswith("final.")}
    config = config_of(ours, width_changes_at="down-convolution", epsilon=1e-3)
    report = LoadReport(str(source), "pointcloud/sparse-unet", renamed, dropped)
    return _imported(config, ours, report, scene_config(config.input_width, POINTCEPT, options), task)


def segmentation_head(ours: dict[str, Tensor], renamed: dict[str, str]) -> ImportedTask | None:
    """The head of a segmentation network as core's task about points; taken out of ``ours``, renamed in ``renamed``.

    It is a linear layer on the features of a point, or a convolution of width 1 that does the same.
    """
    name = next((one for one in ("seg_head", "final") if f"{one}.weight" in ours), None)
    if name is None:
        return None
    weight = ours.pop(f"{name}.weight")
    weight = weight.reshape(len(weight), -1)
    bias = ours.pop(f"{name}.bias", torch.zeros(len(weight)))
    for old, new in list(renamed.items()):
        if new in (f"{name}.weight", f"{name}.bias"):
            renamed[old] = f"task.classifier.1.{new.rpartition('.')[2]}"
    return ImportedTask(
        name="point-classification",
        config=DenseClassificationConfig(tokens="voxel", width=weight.shape[1], values=tuple(range(len(weight)))),
        target=TargetSpec("class", "class", "point"),
        outputs=len(weight),
        state={"classifier.1.weight": weight, "classifier.1.bias": bias},
    )


def pointcept_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Kernels of spconv 1.x or 2.x as ours; the stem, whose kernel is a cube, tells which it is."""
    stem = tensors.get("conv_input.0.weight")
    old = stem is not None and stem.ndim == 5 and stem.shape[0] == stem.shape[1] == stem.shape[2] != stem.shape[3]

    def converted(value: Tensor) -> Tensor:
        if value.ndim != 5:
            return value
        if old:
            return from_spconv1(value)
        return from_spconv_pointwise(value) if tuple(value.shape[1:4]) == (1, 1, 1) else value

    return {name: converted(value) for name, value in tensors.items()}


def _imported(
    config: SparseUNetConfig,
    state: Mapping[str, Tensor],
    report: LoadReport,
    scene: SceneConfig,
    task: ImportedTask | None = None,
) -> Imported:
    """Check that the encoder takes the weights, and say what feeds it."""
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in SparseUNet(config).state_dict().items()}
    surplus = sorted(set(state) - set(expected))
    missing = sorted(set(expected) - set(state))
    wrong = sorted(name for name in set(state) & set(expected) if tuple(state[name].shape) != expected[name])
    if surplus or missing or wrong:
        raise CheckpointError(
            f"{report.source} does not fit a sparse U-Net",
            unexpected=", ".join(surplus[:4]),
            missing=", ".join(missing[:4]),
            other_shape=", ".join(wrong[:4]),
        )
    report.notes.append(
        f"fed with {', '.join(scene.channels)} at {scene.voxel_size_m} m a voxel, colours times {scene.colour_scale:g}"
        ": the published recipe, as the file does not say; --option channels=, voxel_size_m=, colour_scale= set it"
    )
    return Imported(encoder_config=config, state=state, report=report, task=task, notices=NOTICE, **feeding(scene))


def config_of(state: Mapping[str, Tensor], *, width_changes_at: Any, epsilon: float) -> SparseUNetConfig:
    """Widths and depths from the shapes of our tensors.

    Raises:
        CheckpointError: tensors are missing.
    """
    try:
        stem = state["conv_input.0.weight"]
        depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("down."))
        order = [f"enc.{stage}" for stage in range(depth)] + [f"dec.{stage}" for stage in reversed(range(depth))]
        widths = tuple(state[f"{name}.block0.conv2.weight"].shape[0] for name in order)
        blocks = tuple(
            1 + max(int(one.split(".block")[1].split(".")[0]) for one in state if one.startswith(f"{name}.block"))
            for name in order
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"not a sparse U-Net: {error} is missing") from error
    return SparseUNetConfig(
        input_width=stem.shape[4],
        stem_width=stem.shape[0],
        stem_kernel=stem.shape[1],
        stage_widths=widths,
        stage_blocks=blocks,
        width_changes_at=width_changes_at,
        output_width=state["final.weight"].shape[0] if "final.weight" in state else None,
        batch_norm_epsilon=epsilon,
    )


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file, whatever it wraps them in."""
    for key in ("state_dict", "model"):
        if isinstance(state.get(key), Mapping):
            state = state[key]
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def _selected(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The voxel query trunk of a DepthContrast / FAC file; any other file as it is."""
    if not any(name.startswith("trunk.") for name in tensors):
        return tensors, {}
    chosen = next((one for one in QUERY_TRUNKS if f"{one}conv0p1s1.kernel" in tensors), None)
    if chosen is None:
        raise CheckpointError("the file has no trunk with a sparse U-Net", got=", ".join(sorted(tensors)[:3]))
    kept = {name.removeprefix(chosen): value for name, value in tensors.items() if name.startswith(chosen)}
    dropped = {name: "key encoder, point branch or queue" for name in tensors if not name.startswith(chosen)}
    dropped |= {chosen + name: "projection head" for name in kept if name.startswith("head.")}
    return {name: value for name, value in kept.items() if not name.startswith("head.")}, dropped


def res16unet_state(tensors: Mapping[str, Tensor], order: KernelOrder) -> tuple[dict[str, Tensor], dict[str, str]]:
    """MinkowskiEngine names and kernels as ours.

    Returns:
        our state, and published name -> our name.

    Raises:
        CheckpointError: a name that is not part of a Res16UNet.
    """
    numbers = [int(found[1]) for name in tensors if (found := FIRST_BLOCK.match(name))]
    depth = max(numbers, default=0) // 2
    ours: dict[str, Tensor] = {}
    renamed: dict[str, str] = {}
    for name, value in tensors.items():
        new = _res16_name(name, depth)
        renamed[name] = new
        if name.endswith(".kernel"):
            value = from_minkowski(value, order)
        elif name == "final.bias":
            value = value.reshape(-1)
        ours[new] = value
    return ours, renamed


def _res16_name(name: str, depth: int) -> str:
    text = name.replace(".bn.", ".").replace(".kernel", ".weight")
    text = text.replace(".norm1.", ".bn1.").replace(".norm2.", ".bn2.").replace(".downsample.", ".proj.")
    head, _, rest = text.partition(".")
    if head in ("conv0p1s1", "bn0"):
        return f"conv_input.{int(head == 'bn0')}.{rest}"
    if head == "final":
        return text
    for pattern, part, place in (
        (r"conv(\d+)p\d+s2", "down", 0),
        (r"bn(\d+)", "down", 1),
        (r"convtr(\d+)p\d+s2", "up", 0),
        (r"bntr(\d+)", "up", 1),
    ):
        if found := re.fullmatch(pattern, head):
            number = int(found[1])
            stage = number - 1 if part == "down" else 2 * depth - 1 - number
            return f"{part}.{stage}.{place}.{rest}"
    if found := re.fullmatch(r"block(\d+)", head):
        number, (inner, _, last) = int(found[1]), rest.partition(".")
        side = f"enc.{number - 1}" if number <= depth else f"dec.{2 * depth - number}"
        return f"{side}.block{inner}.{last}"
    raise CheckpointError(f"{name} is no part of a Res16UNet")
