"""Readers and preprocessing of 2-D images: folders, list files, generated radiographs."""

from __future__ import annotations

from repcore.specs import DatasetSpec, DenseWriterSpec, PreprocessorSpec, TargetSpec, TensorSpec, ViewsSpec

PACKAGE = "repcore_medical3d"
PIXELS = TensorSpec("pixels", "H W", "uint8 or uint16 or float32", unit="grey levels")
IMAGE = TensorSpec("image", "B C H W", unit="0 to 1")
FILES_CONFIG = f"{PACKAGE}.configs.images:ImageFilesConfig"
READERS = f"{PACKAGE}.datasets.images"
ARRAYS = f"{PACKAGE}.datasets.array_parts"
SNIFFERS = f"{PACKAGE}.datasets.image_sniffing"
RENDER = f"{PACKAGE}.rendering.images:render"
RENDER_HEAT = f"{PACKAGE}.rendering.images:render_heat"
OVERLAY = f"{PACKAGE}.rendering.images:overlay"
PREPROCESSING = f"{PACKAGE}.preprocessors.images"
PIXELS_MODULE = f"{PACKAGE}.preprocessors.image_dense"

DATASETS = (
    DatasetSpec(
        name="image-folder",
        summary="Any folder of PNG, JPEG, TIFF or DICOM images; labels from its table or its subfolders",
        target=f"{READERS}:ImageFolderReader",
        config=FILES_CONFIG,
        produces=(PIXELS,),
        sniff=f"{SNIFFERS}:folder",
        render=RENDER,
        render_heat=RENDER_HEAT,
        overlay=OVERLAY,
    ),
    DatasetSpec(
        name="image-arrays",
        summary="Pictures of one .npz with labels and parts: train_images, train_labels, ... (MedMNIST)",
        target=f"{ARRAYS}:ImageArrays",
        config=FILES_CONFIG,
        produces=(PIXELS,),
        sniff=f"{ARRAYS}:sniff_images",
        render=RENDER,
        render_heat=RENDER_HEAT,
        overlay=OVERLAY,
    ),
    DatasetSpec(
        name="image-list",
        summary="A published list file: image name and 0/1 labels a line (ChestX-ray14, VinDr-CXR)",
        target=f"{READERS}:ImageListReader",
        config=FILES_CONFIG,
        produces=(PIXELS,),
        sniff=f"{SNIFFERS}:list_file",
        render=RENDER,
        render_heat=RENDER_HEAT,
        overlay=OVERLAY,
    ),
    DatasetSpec(
        name="radiographs",
        summary="Generated chest radiographs with four findings, masks and landmarks",
        target=f"{PACKAGE}.datasets.radiographs:Radiographs",
        config=f"{PACKAGE}.configs.images:RadiographsConfig",
        produces=(PIXELS,),
        targets=(TargetSpec("finding", "class"), TargetSpec("mask", "class", level="voxel")),
        render=RENDER,
        render_heat=RENDER_HEAT,
        overlay=OVERLAY,
        embedded=True,
        licence="generated",
        example=f"{PACKAGE}.examples.adam_v2:radiographs",
    ),
)

PREPROCESSORS = (
    PreprocessorSpec(
        name="image",
        summary="One grid and the range 0 to 1 for images of any size, depth and colour",
        target=f"{PREPROCESSING}:ImagePreprocessor",
        config=f"{PACKAGE}.configs.images:ImageConfig",
        accepts=(PIXELS,),
        produces=(IMAGE,),
        baselines={
            "thumbnail": f"{PREPROCESSING}:thumbnails",
            "grey-levels": f"{PREPROCESSING}:grey_levels",
            "edges": f"{PREPROCESSING}:edges",
        },
        dense_baselines={
            "intensities": f"{PIXELS_MODULE}:intensities",
            "place": f"{PIXELS_MODULE}:place",
            "intensities-and-place": f"{PIXELS_MODULE}:intensities_and_place",
        },
        labelled_item=f"{PACKAGE}.views.labelled_items:labelled_image",
    ),
)

VIEWS = (
    ViewsSpec(
        name="image-pair",
        summary="Two cuts of a film with changed intensities",
        target=f"{PACKAGE}.views.changed_images:ImagePair",
        config=f"{PACKAGE}.configs.changed_images:ImagePairConfig",
        names=("a", "b"),
        role="pair",
        accepts=(PIXELS,),
    ),
    ViewsSpec(
        name="image-weak-strong",
        summary="A film hardly changed, and a smaller cut with other intensities",
        target=f"{PACKAGE}.views.changed_images:ImageWeakStrong",
        config=f"{PACKAGE}.configs.changed_images:ImageWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=(PIXELS,),
    ),
)

DENSE_WRITERS: tuple[DenseWriterSpec, ...] = (
    DenseWriterSpec(
        name="png",
        summary="Mask with the ids of the data's label images, at the image's own size",
        target=f"{PACKAGE}.writers.pixel_answers:write_mask_image",
        level="voxel",
        suffixes=(".png",),
        accepts=(PIXELS,),
    ),
)
