"""Readers and preprocessing of volumes: files, DICOM series, generated phantoms."""

from __future__ import annotations

from repcore.specs import DatasetSpec, DenseWriterSpec, PreprocessorSpec, TargetSpec, TensorSpec, ViewsSpec

PACKAGE = "repcore_medical3d"
VOLUME = TensorSpec("volume", "B C D H W", unit="scaled to 0 to 1")
SCAN = TensorSpec("scan", "I J K", unit="HU or the scanner's own, with an affine in mm")
FILES_CONFIG = f"{PACKAGE}.configs.volumes:VolumeFilesConfig"
LAYOUTS = f"{PACKAGE}.datasets.volume_layouts"
LISTS = f"{PACKAGE}.datasets.volume_lists"
RENDER = f"{PACKAGE}.rendering.volumes:render"
OVERLAY = f"{PACKAGE}.rendering.volumes:overlay"
EXAMPLES = f"{PACKAGE}.examples.volumes"
PREPROCESSING = f"{PACKAGE}.preprocessors.volumes"
VOXEL_BASELINES = f"{PACKAGE}.preprocessors.volume_baselines"


def _files(name: str, target: str, sniff: str, summary: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        summary=summary,
        target=target,
        config=FILES_CONFIG,
        produces=(SCAN,),
        sniff=sniff,
        render=RENDER,
        overlay=OVERLAY,
        needs=("nibabel",),
        hints={"nibabel": "pip install nibabel"},
    )


DATASETS = (
    _files(
        "volume-folder",
        f"{LAYOUTS}:VolumeFolderReader",
        f"{LAYOUTS}:sniff_folder",
        "Any folder of volumes: NIfTI, Analyze, MetaImage, NRRD",
    ),
    _files("decathlon", f"{LISTS}:DecathlonReader", f"{LISTS}:sniff_decathlon", "A decathlon list (dataset.json)"),
    _files(
        "volume-arrays",
        f"{PACKAGE}.datasets.array_parts:VolumeArrays",
        f"{PACKAGE}.datasets.array_parts:sniff_volumes",
        "Volumes of one .npz with labels and parts: train_images, train_labels, ... (MedMNIST 3D)",
    ),
    _files("nnssl", f"{LISTS}:NnsslReader", f"{LISTS}:sniff_nnssl", "An nnssl list (pretrain_data.json)"),
    _files(
        "dicom-series",
        f"{PACKAGE}.datasets.dicom:DicomSeriesReader",
        f"{PACKAGE}.datasets.dicom:sniff_dicom",
        "Folders of DICOM slices; every series is a volume (needs pydicom)",
    ),
    DatasetSpec(
        name="phantoms",
        summary="Generated torsos with eight organs in Hounsfield units",
        target=f"{PACKAGE}.datasets.phantoms:Phantoms",
        config=f"{PACKAGE}.configs.volumes:PhantomsConfig",
        produces=(SCAN,),
        targets=(
            TargetSpec("segmentation", "class", level="voxel"),
            TargetSpec("has_lesion", "class", names=("no", "yes")),
        ),
        render=RENDER,
        overlay=OVERLAY,
        embedded=True,
        licence="generated",
        example=f"{EXAMPLES}:phantoms",
    ),
)

PREPROCESSORS = (
    PreprocessorSpec(
        name="volumes",
        summary="Orientation, spacing, Hounsfield window or percentiles; cubes or whole scans",
        target=f"{PREPROCESSING}:VolumePreprocessor",
        config=f"{PACKAGE}.configs.volumes:VolumeConfig",
        accepts=(SCAN,),
        produces=(VOLUME,),
        baselines={
            "intensity-statistics": f"{PREPROCESSING}:intensity_statistics",
            "coarse-voxels": f"{PREPROCESSING}:coarse_voxels",
        },
        dense_baselines={
            "intensities": f"{VOXEL_BASELINES}:intensities",
            "place": f"{VOXEL_BASELINES}:place",
            "intensities-and-place": f"{VOXEL_BASELINES}:intensities_and_place",
            "filters-and-place": f"{VOXEL_BASELINES}:filters_and_place",
        },
        element_metrics={"surface-dice": f"{PACKAGE}.probes.surface_dice:SurfaceDice"},
        labelled_item=f"{PACKAGE}.views.labelled_items:labelled_cube",
    ),
)

VIEWS = (
    ViewsSpec(
        name="volume-pair",
        summary="Two cuts of a scan with changed intensities",
        target=f"{PACKAGE}.views.changed_images:ImagePair",
        config=f"{PACKAGE}.configs.changed_images:ImagePairConfig",
        names=("a", "b"),
        role="pair",
        accepts=(SCAN,),
    ),
    ViewsSpec(
        name="volume-weak-strong",
        summary="A scan hardly changed, and a smaller cut with other intensities",
        target=f"{PACKAGE}.views.changed_images:ImageWeakStrong",
        config=f"{PACKAGE}.configs.changed_images:ImageWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=(SCAN,),
    ),
)

DENSE_WRITERS: tuple[DenseWriterSpec, ...] = (
    DenseWriterSpec(
        name="nifti",
        summary="Mask with the ids of the data's label maps, on the scan's own grid; features and values as they are",
        target=f"{PACKAGE}.writers.voxel_answers:write_mask",
        level="voxel",
        suffixes=(".nii.gz",),
        accepts=(SCAN,),
    ),
    DenseWriterSpec(
        name="nifti-probabilities",
        summary="Probability of every class along a fourth axis, on the scan's own grid",
        target=f"{PACKAGE}.writers.voxel_answers:write_values",
        level="voxel",
        suffixes=(".nii.gz",),
        accepts=(SCAN,),
    ),
    DenseWriterSpec(
        name="zarr",
        summary="Values of every voxel in one zip of zarr, read in parts (needs zarr)",
        target=f"{PACKAGE}.writers.voxel_answers:write_zarr",
        level="voxel",
        suffixes=(".zarr.zip",),
        accepts=(SCAN,),
    ),
)
