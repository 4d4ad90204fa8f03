"""What the plugin registers for single shapes (I2P-MAE, Point-M2AE): tuples of specs by kind, read by ``_plugin``."""

from __future__ import annotations

from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    DatasetSpec,
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

PACKAGE = "repcore_pointcloud"
PAPER = "Zhang et al. 2023, I2P-MAE, arXiv 2212.06785 (CVPR 2023)"
POINT_M2AE = "Zhang et al. 2022, Point-M2AE, arXiv 2205.14401 (NeurIPS 2022)"
LICENCE = "Apache-2.0 (this implementation); Point-M2AE is MIT, the I2P-MAE repository has no licence"
POINTS = TensorSpec("points", "B N 3", unit="cloud radii")
CLOUD = TensorSpec("points", "n 3", unit="any")
CONFIGS = f"{PACKAGE}.configs.i2p_mae"
SHAPES = f"{PACKAGE}.configs.shapes"
RENDER = f"{PACKAGE}.rendering.shapes:render"
RENDER_HEAT = f"{PACKAGE}.rendering.shapes:render_heat"
MESH_HINTS = {"trimesh": "pip install trimesh"}

ENCODERS: tuple[EncoderSpec, ...] = (
    EncoderSpec(
        name="i2p-mae",
        summary="Hierarchical point transformer: three levels of tokens, any number of points",
        target=f"{PACKAGE}.encoders.i2p_mae:HierarchicalPointEncoder",
        config=f"{CONFIGS}:PointEncoderConfig",
        inputs=(POINTS,),
        outputs=(TensorSpec("coarse", "B G3 C3"), TensorSpec("middle", "B G2 C2"), TensorSpec("fine", "B G1 C1")),
        poolings=("default", "max", "mean", "mean-max", "mean-plus-max", "all-levels"),
        levels=("coarse", "middle", "fine"),
        capabilities=("masked-points", "embed-tokens", "encode-tokens"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.shapes:point_encoder",
    ),
)

OBJECTIVES: tuple[ObjectiveSpec, ...] = (
    ObjectiveSpec(
        name="masked-points",
        summary="Redraw hidden neighbourhoods, and what a 2D teacher sees in visible ones",
        target=f"{PACKAGE}.objectives.i2p_mae:MaskedPoints",
        config=f"{CONFIGS}:MaskedPointsConfig",
        needs=("masked-points",),
        decay_rule=f"{PACKAGE}.objectives.i2p_mae:has_weight_decay",
        # the finest level is never decoded; a batch norm takes a bias before it away, whose gradient is zero (folded
        # norms), or nothing but rounding
        unused_parameters_ok=("encoder.norms.0.*", "encoder.embeddings.0.point_in.bias"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.shapes:masked_points",
    ),
)

DATASETS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="shapes-folder",
        summary="Any folder of clouds and meshes; subfolders or a table are labels",
        target=f"{PACKAGE}.datasets.shape_folders:ShapeFolderReader",
        config=f"{SHAPES}:ShapeFolderConfig",
        produces=(CLOUD,),
        sniff=f"{PACKAGE}.datasets.shape_folders:sniff",
        render=RENDER,
        render_heat=RENDER_HEAT,
        needs=("trimesh",),
        hints=MESH_HINTS,
    ),
    DatasetSpec(
        name="shape-arrays",
        summary="Clouds side by side in one .npz or .npy, with labels and splits",
        target=f"{PACKAGE}.datasets.shape_arrays:ShapeArrayReader",
        config=f"{SHAPES}:ShapeFilesConfig",
        produces=(CLOUD,),
        sniff=f"{PACKAGE}.datasets.shape_arrays:sniff",
        render=RENDER,
        render_heat=RENDER_HEAT,
    ),
    DatasetSpec(
        name="shape-hdf5",
        summary="ModelNet40 and ScanObjectNN as HDF5 files, and others of their layout (needs h5py)",
        target=f"{PACKAGE}.datasets.shape_hdf5:ShapeHdf5Reader",
        config=f"{SHAPES}:ShapeHdf5Config",
        produces=(CLOUD,),
        sniff=f"{PACKAGE}.datasets.shape_hdf5:sniff",
        render=RENDER,
        render_heat=RENDER_HEAT,
    ),
    DatasetSpec(
        name="shape-parts",
        summary="ShapeNetPart: a category of each shape, a part of each point",
        target=f"{PACKAGE}.datasets.shape_parts:ShapePartReader",
        config=f"{SHAPES}:ShapeFilesConfig",
        produces=(CLOUD,),
        sniff=f"{PACKAGE}.datasets.shape_parts:sniff",
        render=RENDER,
        render_heat=RENDER_HEAT,
    ),
    DatasetSpec(
        name="shape-occupancy",
        summary="ShapeNet of the occupancy networks: a folder a model, pointcloud.npz in it",
        target=f"{PACKAGE}.datasets.shape_occupancy:ShapeOccupancyReader",
        config=f"{SHAPES}:ShapeFilesConfig",
        produces=(CLOUD,),
        sniff=f"{PACKAGE}.datasets.shape_occupancy:sniff",
        render=RENDER,
        render_heat=RENDER_HEAT,
    ),
    DatasetSpec(
        name="shapes",
        summary="Generated objects of twelve classes",
        target=f"{PACKAGE}.datasets.generated_shapes:GeneratedShapes",
        config=f"{SHAPES}:GeneratedShapesConfig",
        produces=(CLOUD,),
        targets=(TargetSpec("class", "class"),),
        render=RENDER,
        render_heat=RENDER_HEAT,
        embedded=True,
        licence="generated",
        example=f"{PACKAGE}.examples.shapes:shapes",
    ),
)

PREPROCESSORS: tuple[PreprocessorSpec, ...] = (
    PreprocessorSpec(
        name="point-set",
        summary="A fixed number of points, centred, of radius 1",
        target=f"{PACKAGE}.preprocessors.point_set:PointSetPreprocessor",
        config=f"{SHAPES}:PointSetConfig",
        accepts=(CLOUD,),
        produces=(POINTS,),
        baselines={
            "extents": f"{PACKAGE}.preprocessors.point_set:extents",
            "extents-d2": f"{PACKAGE}.preprocessors.point_set:extents_and_distances",
        },
    ),
)

VIEWS: tuple[ViewsSpec, ...] = (
    ViewsSpec(
        name="cloud-pair",
        summary="Two parts of a cloud, turned about the upright axis, scaled and roughened",
        target=f"{PACKAGE}.views.clouds:CloudPair",
        config=f"{PACKAGE}.configs.cloud_views:CloudPairConfig",
        names=("a", "b"),
        role="pair",
        accepts=(CLOUD,),
    ),
    ViewsSpec(
        name="cloud-weak-strong",
        summary="A cloud turned a little, and a part of it turned at will",
        target=f"{PACKAGE}.views.clouds:CloudWeakStrong",
        config=f"{PACKAGE}.configs.cloud_views:CloudWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=(CLOUD,),
    ),
)

_RECIPE = f"{PACKAGE}.recipes.i2p_mae"
RECIPES: tuple[RecipeSpec, ...] = (
    RecipeSpec(
        name="i2p-mae",
        summary="Masked point modelling with a 2D guide",
        presets={name: f"{_RECIPE}:{name}" for name in ("tiny", "small", "paper", "published")},
        default="tiny",
        paper=PAPER,
    ),
    RecipeSpec(
        name="point-m2ae",
        summary="Masked point modelling without a guide",
        presets={
            "tiny": f"{_RECIPE}:tiny_point_m2ae",
            "paper": f"{_RECIPE}:paper_point_m2ae",
            "published": f"{_RECIPE}:published_point_m2ae",
        },
        default="tiny",
        paper=POINT_M2AE,
    ),
)

CHECKPOINTS: tuple[CheckpointSpec, ...] = (
    CheckpointSpec(
        name="i2p-mae",
        summary="I2P-MAE and Point-M2AE weights: pre-trained, fine-tuned, part segmentation",
        target=f"{PACKAGE}.checkpoints.i2p_mae:convert",
        sniff=f"{PACKAGE}.checkpoints.i2p_mae:sniff",
        encoder="i2p-mae",
        options={
            "groups": (),
            "neighbours": (),
            "local_radius": (),
            "heads": (),
            "pooling": ("max", "mean", "mean-max", "mean-plus-max"),
        },
        files=("pre-train.pth", "modelnet40.pth", "scan_pb.pth"),
        licence="none stated (I2P-MAE), MIT (Point-M2AE)",
    ),
)

TASKS: tuple[TaskSpec, ...] = (
    TaskSpec(
        name="shape-class",
        summary="One class a shape: the published head, augmentation, smoothing, voting",
        target=f"{PACKAGE}.tasks.shape_class:ShapeClassTask",
        config=f"{CONFIGS}:ShapeClassConfig",
        target_kind="class",
        encoders=("i2p-mae",),
    ),
    TaskSpec(
        name="part-segmentation",
        summary="One part for every point: Point-M2AE's head",
        target=f"{PACKAGE}.tasks.part_segmentation:PartSegmentationTask",
        config=f"{CONFIGS}:PartSegmentationConfig",
        target_kind="class",
        target_level="point",
        encoders=("i2p-mae",),
    ),
)

COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        name="draw-masked",
        summary="What a trained model sees, hides and redraws",
        target=f"{PACKAGE}.commands.draw_masked:draw_masked_command",
    ),
)

DIFFERENCES = (
    ("centres", "points within 0.032 of the origin are never chosen", "every point alike", "encoder.exclude_origin"),
    ("local attention", "no effect unless something is padded", "holds everywhere", "encoder.legacy_radius_mask"),
    (
        "token 0",
        "of the batch's first cloud is always visible",
        "masked like the others",
        "objective.legacy_first_token",
    ),
    ("saliency", "softmax of attention, nearly uniform", "standardised first", "objective.saliency"),
    ("teacher", "CLIP ViT-B/16, part of the model and its checkpoint", "named, outside the model", "objective.teacher"),
    ("last bits", "concatenated layer, separate attention products", "split layer, fused", "encoder.arithmetic"),
    ("out of reach", "fine tokens in no coarse group are hidden in features", "the same", "encoder.hide_unreached"),
    ("weight decay", "none for any name with 'token', embeddings included", "only the mask token spared", ""),
    ("schedule", "cosine over 400 epochs, stopped at 300", "cosine over the run", "schedule.final_share"),
    ("model choice", "best test accuracy of all epochs", "last step", ""),
    ("voting", "best of 49 rounds on test", "one fixed number of votes", "task.votes"),
    ("rotation", "ScanObjectNN: one angle for the whole batch", "one angle a cloud", "task.rotation"),
    ("distances", "expanded form, may be negative", "direct differences", ""),
)
"""Where defaults depart from the papers or their code."""

SYSTEMS: tuple[SystemSpec, ...] = (
    SystemSpec(
        name="i2p-mae",
        summary="Image-to-point masked autoencoder, and Point-M2AE without the image",
        paper=f"{PAPER}; {POINT_M2AE}",
        licence=LICENCE,
        encoders=("i2p-mae",),
        objectives=("masked-points",),
        recipes=("i2p-mae", "point-m2ae"),
        checkpoints=("i2p-mae",),
        replay=f"{PACKAGE}.verification.i2p_mae:replay",
        differences=DIFFERENCES,
    ),
)


def _op(
    name: str,
    summary: str,
    cpu: str = "",
    priority: str = "triton_on_gpu",
    tolerance: float = 1e-5,
    triton: bool = True,
) -> OpSpec:
    """A point operation with its plain definition, its Triton twin, and a CPU twin where the definition is slow."""
    package = f"{PACKAGE}.ops.{name.replace('-', '_')}"
    function = name.replace("-", "_")
    twins = {one: f"{package}.{one}:{function}" for one in (cpu, "triton" if triton else "") if one}
    return OpSpec(
        name=name,
        summary=summary,
        reference=f"{package}.torch:{function}",
        implementations=twins,
        cases=f"{package}.cases:cases",
        priority=f"{PACKAGE}.ops.priorities:{priority}",
        usable={"triton": "repcore.ops:triton_unusable"} if triton else {},
        tolerance=tolerance,
    )


OPS: tuple[OpSpec, ...] = (
    _op("farthest-points", "Even choice of points; one run serves all nested levels", tolerance=0.0),
    _op("nearest-points", "Exact nearest neighbours, ties by index", "blocks", "nearest_points", 0.0),
    _op("group-points", "Values of every neighbourhood, relative to its centre"),
    _op("chamfer", "Mean squared distance to the nearest point, both ways"),
    _op("depth-views", "Three depth images of a cloud and the pixel of every point"),
    _op("map-lookup", "Bicubic reading of coarse maps at single pixels", "taps", "map_lookup"),
    _op("interpolate-points", "Values at other positions by inverse squared distance", "blocks", "nearest_points"),
    _op("group-maximum", "Last layers and maximum of a group", "tiles", "group_maximum", triton=False),
)
