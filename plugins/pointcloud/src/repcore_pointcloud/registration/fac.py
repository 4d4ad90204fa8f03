"""What the plugin registers for scenes (FAC): tuples of specs by kind, read by ``_plugin``."""

from __future__ import annotations

from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    DatasetSpec,
    DenseWriterSpec,
    EncoderSpec,
    ObjectiveSpec,
    OpSpec,
    PreprocessorSpec,
    RecipeSpec,
    SystemSpec,
    TargetSpec,
    TaskSpec,
    TensorSpec,
    ViewsSpec,
)

PAPER = "Liu et al. 2023, FAC, arXiv 2303.06388 (CVPR 2023)"
LICENCE = "Apache-2.0 (this implementation); the authors' repository is MIT at its root and holds no FAC code"
PACKAGE = "repcore_pointcloud"
CONVOLUTION = f"{PACKAGE}.ops.sparse_conv3d"

EXAMPLES = f"{PACKAGE}.examples.scenes"
FOLDERS = f"{PACKAGE}.datasets.scene_folders"
LAYOUTS = f"{PACKAGE}.datasets.scene_layouts"
SNIFFERS = f"{PACKAGE}.datasets.scene_sniffing"
CONFIGS = f"{PACKAGE}.configs"
SCENE = TensorSpec("scene", "N 3", unit="unit of the file")
VOXELS = (
    TensorSpec("coordinates", "V 4", "int64", unit="voxels"),
    TensorSpec("features", "V F"),
    TensorSpec("region", "V", "int64", optional=True),
    TensorSpec("source", "N", "int64", optional=True),
)

ENCODERS: tuple[EncoderSpec, ...] = (
    EncoderSpec(
        name="sparse-unet",
        summary="Residual U-Net over active voxels: Res16UNet34C, SpUNet, or narrow for CPUs",
        target=f"{PACKAGE}.encoders.sparse_unet:SparseUNet",
        config=f"{CONFIGS}.sparse_unet:SparseUNetConfig",
        inputs=VOXELS,
        outputs=(TensorSpec("voxel", "V C"), TensorSpec("region", "R C", optional=True)),
        poolings=("mean", "max"),
        levels=("voxel", "region"),
        capabilities=("voxel-features",),
        paper="Choy et al. 2019, arXiv 1904.08755",
        licence="Apache-2.0 (this implementation)",
        example=f"{EXAMPLES}:sparse_unet",
    ),
)
OBJECTIVES: tuple[ObjectiveSpec, ...] = (
    ObjectiveSpec(
        name="fac",
        summary="Regions across two views, and matches with foreground against background",
        target=f"{PACKAGE}.objectives.fac:Fac",
        config=f"{CONFIGS}.fac:FacConfig",
        needs=("voxel-features",),
        views="scene-pair",
        reads_inputs=False,
        paper=PAPER,
        licence=LICENCE,
        example=f"{EXAMPLES}:fac",
    ),
    ObjectiveSpec(
        name="scene-moco",
        summary="Scene-level momentum contrast, what the public repository of FAC trains",
        target=f"{PACKAGE}.objectives.scene_contrast:SceneMoco",
        config=f"{CONFIGS}.fac:SceneMocoConfig",
        needs=("voxel-features",),
        views="scene-pair",
        reads_inputs=False,
        paper="Zhang et al. 2021, DepthContrast, arXiv 2101.02691",
        licence="Apache-2.0 (this implementation)",
        example=f"{EXAMPLES}:scene_moco",
    ),
)


def _files(name: str, reader: str, sniffer: str, summary: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        summary=summary,
        target=reader,
        config=f"{CONFIGS}.scenes:ScenesConfig",
        produces=(SCENE,),
        sniff=f"{SNIFFERS}:{sniffer}",
        render=f"{PACKAGE}.rendering.scenes:render",
        overlay=f"{PACKAGE}.rendering.scenes:overlay",
    )


DATASETS: tuple[DatasetSpec, ...] = (
    _files("scenes", f"{FOLDERS}:SceneFolder", "scenes", "Scans, rooms and tiles, one a file, in any format of points"),
    _files("scannet", f"{LAYOUTS}:ScanNetReader", "scannet", "ScanNet layout: meshes with labels beside them"),
    _files("s3dis", f"{LAYOUTS}:S3disReader", "s3dis", "S3DIS layout: areas, rooms, Annotations"),
    _files("kitti", f"{LAYOUTS}:KittiReader", "kitti", "KITTI and SemanticKITTI layouts: velodyne and labels folders"),
    _files("pointcept", f"{LAYOUTS}:PointceptReader", "pointcept", "Pointcept layout: coord, color, segment as arrays"),
    DatasetSpec(
        name="rooms",
        summary="Generated rooms with furniture, seven classes and instances",
        target=f"{PACKAGE}.datasets.scene_rooms:Rooms",
        config=f"{CONFIGS}.scenes:RoomsConfig",
        produces=(SCENE,),
        targets=(TargetSpec("semantic", "class", "point"), TargetSpec("instance", "class", "point")),
        render=f"{PACKAGE}.rendering.scenes:render",
        overlay=f"{PACKAGE}.rendering.scenes:overlay",
        embedded=True,
        licence="generated",
        example=f"{EXAMPLES}:rooms",
    ),
)
PREPROCESSORS: tuple[PreprocessorSpec, ...] = (
    PreprocessorSpec(
        name="scene",
        summary="Thinning, normals, regions, foreground rule, voxels with the way back to points",
        target=f"{PACKAGE}.preprocessors.scene:ScenePreprocessor",
        config=f"{CONFIGS}.scenes:SceneConfig",
        accepts=(SCENE,),
        produces=VOXELS,
        baselines={"geometry-statistics": f"{PACKAGE}.preprocessors.scene:geometry_statistics"},
        dense_baselines={"hand-crafted": f"{PACKAGE}.preprocessors.scene:point_geometry"},
        labelled_item=f"{PACKAGE}.views.labelled_look:labelled_look",
        divisions={name: f"{PACKAGE}.preprocessors.scene_divisions:{name}" for name in ("blocks", "sectors")},
    ),
)
VIEWS: tuple[ViewsSpec, ...] = (
    ViewsSpec(
        name="scene-pair",
        summary="Two random crops, turns and scales of a scene that share regions",
        target=f"{PACKAGE}.views.scene_pair:ScenePair",
        config=f"{CONFIGS}.scenes:ScenePairConfig",
        names=("a", "b"),
        role="pair",
        accepts=(SCENE,),
    ),
    ViewsSpec(
        name="scene-weak-strong",
        summary="A window of a scene nearly as it is, and a crop of it with a hole, turned and tilted",
        target=f"{PACKAGE}.views.scene_weak_strong:SceneWeakStrong",
        config=f"{CONFIGS}.scenes:SceneWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=(SCENE,),
    ),
)
RECIPES: tuple[RecipeSpec, ...] = (
    RecipeSpec(
        name="fac",
        summary="Foreground-aware contrast of scenes; its small presets are lidar and tabletop",
        presets={name: f"{PACKAGE}.recipes.fac:{name}" for name in ("tiny", "lidar", "tabletop", "paper")},
        default="tiny",
        paper=PAPER,
    ),
    RecipeSpec(
        name="scene-moco",
        summary="Scene-level momentum contrast",
        presets={"tiny": f"{PACKAGE}.recipes.fac:scene_moco"},
        default="tiny",
    ),
)
CHECKPOINTS: tuple[CheckpointSpec, ...] = (
    CheckpointSpec(
        name="res16unet",
        summary="PointContrast, CSC and FAC / DepthContrast trainer files (MinkowskiEngine)",
        target=f"{PACKAGE}.checkpoints.sparse_unet:convert_minkowski",
        sniff=f"{PACKAGE}.checkpoints.sparse_unet:sniff_minkowski",
        encoder="sparse-unet",
        options={
            "kernel_order": ("x_fastest", "z_fastest"),
            "keep_final": ("yes", "no", "classes"),
            "channels": (),
            "voxel_size_m": (),
            "colour_scale": (),
        },
    ),
    CheckpointSpec(
        name="spunet",
        summary="Pointcept SpUNet-v1m1 (spconv 1.x and 2.x)",
        target=f"{PACKAGE}.checkpoints.sparse_unet:convert_pointcept",
        sniff=f"{PACKAGE}.checkpoints.sparse_unet:sniff_pointcept",
        encoder="sparse-unet",
        options={"axis_order": ("xyz", "zyx"), "channels": (), "voxel_size_m": (), "colour_scale": ()},
    ),
)
OPS: tuple[OpSpec, ...] = (
    OpSpec(
        name="sparse-conv3d",
        summary="Convolution over active voxels: submanifold, strided, inverse, dilated",
        reference=f"{CONVOLUTION}.torch:sparse_conv3d",
        implementations={
            "output-stationary": f"{CONVOLUTION}.stationary:sparse_conv3d",
            "compiled": f"{CONVOLUTION}.compiled:sparse_conv3d",
            "triton": f"{CONVOLUTION}.triton:sparse_conv3d",
            "spconv": f"{CONVOLUTION}.spconv:sparse_conv3d",
        },
        cases=f"{CONVOLUTION}.cases:cases",
        priority=f"{CONVOLUTION}.selection:priority",
        usable={
            "compiled": "repcore.nn.compiled_loops:numba_unusable",
            "triton": "repcore.ops:triton_unusable",
            "spconv": f"{CONVOLUTION}.selection:spconv_unusable",
        },
        tolerance=2e-5,  # float32 sums over up to 125 x 32 products in another order
    ),
)
DIFFERENCES = (
    ("code", "the repository holds none of FAC's losses", "written from figure, abstract and card", ""),
    ("regions", "not said how", "graph segmentation on normals", "preprocessor.merge_constant"),
    (
        "foreground",
        "objects against background, rule not public",
        "not large, thin and wide",
        "preprocessor.background_*",
    ),
    ("key side", "no gradient", "momentum copies of encoder and network", "objective.momentum"),
    ("formats", "voxels or points (PointNet++)", "voxels; no point branch", "none: encoder is sparse-unet"),
    ("network", "two point-wise layers, width not said", "hidden width = features", ""),
    ("temperature", "not published", "0.1", "objective.temperature"),
    ("matches", "relaxed top-k by optimal transport", "hard top-k, gradient through scores", "objective.top_k"),
    ("negatives", "points of other regions", "the same; means of other regions in tiny presets", "objective.negatives"),
    ("filter", "spatial, details not public", "radius after undoing the views, off", "objective.matching_radius_m"),
    ("queue", "K must be a multiple of the batch", "any length", "objective.queue_places"),
    ("clusters", "six errors of Cluster3Dseg", "corrected", "task.reference_compat"),
)
"""Where defaults depart from the paper or its code, or fill what neither says."""

TASKS: tuple[TaskSpec, ...] = (
    TaskSpec(
        name="scene-segmentation",
        summary="A class for every point; optionally with clustering-based supervision (Cluster3Dseg)",
        target=f"{PACKAGE}.tasks.scene_segmentation:SceneSegmentation",
        config=f"{CONFIGS}.scene_segmentation:SceneSegmentationConfig",
        target_kind="class",
        target_level="point",
    ),
)
WRITER = f"{PACKAGE}.writers.points"
DENSE_WRITERS: tuple[DenseWriterSpec, ...] = (
    DenseWriterSpec(
        name="ply",
        summary="Class, probability and colour of every point, in the order of the input",
        target=f"{WRITER}:write_ply",
        level="point",
        suffixes=(".ply",),
    ),
    DenseWriterSpec(
        name="las",
        summary="Class in the classification field (laspy)",
        target=f"{WRITER}:write_las",
        level="point",
        suffixes=(".las", ".laz"),
    ),
    DenseWriterSpec(
        name="pcd", summary="Class and probability of every point", target=f"{WRITER}:write_pcd", level="point",
        suffixes=(".pcd",),
    ),
    DenseWriterSpec(
        name="label", summary="SemanticKITTI's labels, aligned with the sweep", target=f"{WRITER}:write_label",
        level="point", suffixes=(".label",),
    ),
)  # fmt: skip
COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        name="scene-activation",
        summary="Page of point activation maps",
        target=f"{PACKAGE}.commands.scene_activation:scene_activation_command",
    ),
)
SYSTEMS: tuple[SystemSpec, ...] = (
    SystemSpec(
        name="fac",
        summary="Foreground-aware contrast of scenes, the first runnable version",
        paper=PAPER,
        licence=LICENCE,
        encoders=("sparse-unet",),
        objectives=("fac", "scene-moco"),
        recipes=("fac", "scene-moco"),
        checkpoints=("res16unet", "spunet"),
        replay=f"{PACKAGE}.verification.fac:replay",
        differences=DIFFERENCES,
    ),
)
