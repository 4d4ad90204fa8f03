"""What core itself registers: probes, fine-tuning tasks, embedding writers and ops; their names have no domain."""

from __future__ import annotations

from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import (
    DatasetSpec,
    DenseWriterSpec,
    OpSpec,
    PluginInfo,
    ProbeSpec,
    TargetKind,
    TargetLevel,
    TaskSpec,
    WriterSpec,
)

PROBES = "repcore.evaluation.probes"
TASKS = "repcore.evaluation.tasks"
WRITERS = "repcore.embedding.writers"
CLASSES: tuple[TargetKind, ...] = ("class",)
LABELS: tuple[TargetKind, ...] = ("class", "multilabel")
NUMBERS: tuple[TargetKind, ...] = ("regression",)
ALL_KINDS: tuple[TargetKind, ...] = (*LABELS, *NUMBERS)
PROBE_TABLE: tuple[tuple[str, str, str, tuple[TargetKind, ...], str], ...] = (  # name, code, config, labels, summary
    (
        "linear@1",
        "linear:LinearProbe",
        "configs:LinearProbeConfig",
        LABELS,
        "Logistic regression on standardised features",
    ),
    (
        "ridge@1",
        "ridge:RidgeProbe",
        "configs:RidgeProbeConfig",
        NUMBERS,
        "Ridge regression, penalty by leave-one-out on train",
    ),
    (
        "knn@1",
        "knn:NeighbourProbe",
        "configs:NeighbourProbeConfig",
        ALL_KINDS,
        "Cosine neighbours, weighted by similarity",
    ),
    (
        "centred@1",
        "centred:CentredProbe",
        "configs:CentredProbeConfig",
        ALL_KINDS,
        "Ridge or logistic regression, features keep their own scale",
    ),
    ("forest@1", "forest:ForestProbe", "configs:ForestProbeConfig", ALL_KINDS, "Random forest"),
    (
        "rbf-svm@1",
        "kernel_svm:KernelSvmProbe",
        "configs:KernelSvmProbeConfig",
        LABELS,
        "SVM with a Gaussian kernel, C by cross-validation on train",
    ),
    ("svm@1", "svm:SvmProbe", "configs:SvmProbeConfig", LABELS, "Linear SVM, C by cross-validation on train"),
    (
        "fewshot@1",
        "fewshot:FewShotProbe",
        "configs:FewShotProbeConfig",
        CLASSES,
        "Episodes of a few classes with a few labels",
    ),
    (
        "retrieval@1",
        "retrieval:RetrievalProbe",
        "configs:RetrievalProbeConfig",
        LABELS,
        "Rows of the same label by cosine: nDCG, MAP, recall, precision, MRR",
    ),
    (
        "dense-linear@1",
        "dense:DenseLinearProbe",
        "dense:DenseLinearConfig",
        CLASSES,
        "Logistic regression on 600 elements a class",
    ),
    (
        "dense-frequency@1",
        "dense:DenseFrequencyProbe",
        "dense:DenseLinearConfig",
        CLASSES,
        "The same, intercepts set to how often each class occurs",
    ),
    (
        "dense-forest@1",
        "dense_forest:DenseForestProbe",
        "dense_forest:DenseForestConfig",
        CLASSES,
        "Random forest on 600 elements a class, answers as often as each class occurs",
    ),
    (
        "dense-mlp@1",
        "dense_mlp:DenseMlpProbe",
        "dense_mlp:DenseMlpConfig",
        CLASSES,
        "Two small networks on 600 elements a class, corrected to how often each class occurs",
    ),
    (
        "dense-knn@1",
        "dense:DenseNeighbourProbe",
        "dense:DenseNeighbourConfig",
        CLASSES,
        "Nearest of 600 elements a class by cosine, weighted",
    ),
    (
        "dense-prototype@1",
        "dense:DensePrototypeProbe",
        "dense:DensePrototypeConfig",
        CLASSES,
        "Nearest class mean of elements, by cosine",
    ),
)
DENSE_LEVELS: tuple[TargetLevel, ...] = ("point", "voxel", "token", "node", "edge")


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(title="Core", domain="core", api_version=API_VERSION, summary="Probes, tasks and writers")


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="memory",
            summary="Data given from Python",
            target="repcore.data.memory:not_on_disk",
            config="repcore.data.memory:MemoryConfig",
        )
    ]


@hookimpl
def repcore_probes() -> list[ProbeSpec]:
    return [
        ProbeSpec(
            name=name,
            summary=summary,
            target=f"{PROBES}.{code}",
            config=f"{PROBES}.{config}",
            target_kinds=kinds,
        )
        for name, code, config, kinds, summary in PROBE_TABLE
    ]


@hookimpl
def repcore_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="classification",
            summary="One class of several",
            target=f"{TASKS}.item:ClassificationTask",
            config=f"{TASKS}.configs:ClassificationConfig",
            target_kind="class",
        ),
        TaskSpec(
            name="multilabel",
            summary="Several yes/no labels, missing ones masked",
            target=f"{TASKS}.item:MultilabelTask",
            config=f"{TASKS}.configs:MultilabelConfig",
            target_kind="multilabel",
        ),
        TaskSpec(
            name="regression",
            summary="Numbers, standardised on train and given back in their units",
            target=f"{TASKS}.item:RegressionTask",
            config=f"{TASKS}.configs:RegressionConfig",
            target_kind="regression",
        ),
        *(_dense_task(level, kind) for level in DENSE_LEVELS for kind in ("classification", "regression")),
    ]


def _dense_task(level: TargetLevel, kind: str) -> TaskSpec:
    words = "A class" if kind == "classification" else "A number"
    return TaskSpec(
        name=f"{level}-{kind}",
        summary=f"{words} for every {level}",
        target=f"{TASKS}.dense:Dense{kind.capitalize()}",
        config=f"{TASKS}.dense_configs:Dense{kind.capitalize()}Config",
        target_kind="class" if kind == "classification" else "regression",
        target_level=level,
    )


@hookimpl
def repcore_dense_writers() -> list[DenseWriterSpec]:
    return [
        DenseWriterSpec(
            name="npz",
            summary="NumPy arrays outputs (and labels), with the columns that name the elements",
            target="repcore.embedding.dense_files:write_npz",
            suffixes=(".npz",),
        )
    ]


@hookimpl
def repcore_writers() -> list[WriterSpec]:
    return [
        WriterSpec(
            name="parquet",
            summary="Columns id, status, reason, embedding",
            target=f"{WRITERS}:ParquetWriter",
            suffixes=(".parquet",),
        ),
        WriterSpec(
            name="npz",
            summary="NumPy arrays ids, status, reason, embeddings",
            target=f"{WRITERS}:NpzWriter",
            suffixes=(".npz",),
        ),
    ]


SCAN = "repcore.nn.selective_scan"


@hookimpl
def repcore_ops() -> list[OpSpec]:
    return [
        OpSpec(
            name="selective-scan",
            summary="State-space recurrence of Mamba, all directions of a block in one call",
            reference=f"{SCAN}.torch:selective_scan",
            implementations={
                "compiled": f"{SCAN}.compiled:selective_scan",
                "chunked": f"{SCAN}.chunked:selective_scan",
                "triton": f"{SCAN}.triton:selective_scan",
                "mamba-ssm": f"{SCAN}.mamba_ssm:selective_scan",
            },
            cases=f"{SCAN}.cases:cases",
            priority=f"{SCAN}.availability:priority",
            usable={
                "compiled": "repcore.nn.compiled_loops:numba_unusable",
                "triton": "repcore.ops:triton_unusable",
                "mamba-ssm": f"{SCAN}.availability:mamba_ssm_unusable",
            },
            tolerance=2e-5,  # float32 sums over hundreds of steps in another order
        )
    ]
