"""What core itself registers: versioned probes, fine-tuning tasks and embedding writers; their names have no domain."""

from __future__ import annotations

from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import DatasetSpec, DenseWriterSpec, PluginInfo, ProbeSpec, TargetLevel, TaskSpec, WriterSpec

PROBES = "repcore.evaluation.probes"
TASKS = "repcore.evaluation.tasks"
WRITERS = "repcore.embedding.writers"
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
            name="linear@1",
            summary="Logistic regression on standardised features",
            target=f"{PROBES}.linear:LinearProbe",
            config=f"{PROBES}.configs:LinearProbeConfig",
            target_kinds=("class", "multilabel"),
        ),
        ProbeSpec(
            name="ridge@1",
            summary="Ridge regression, penalty by leave-one-out on train",
            target=f"{PROBES}.ridge:RidgeProbe",
            config=f"{PROBES}.configs:RidgeProbeConfig",
            target_kinds=("regression",),
        ),
        ProbeSpec(
            name="knn@1",
            summary="Cosine neighbours, weighted by similarity",
            target=f"{PROBES}.knn:NeighbourProbe",
            config=f"{PROBES}.configs:NeighbourProbeConfig",
            target_kinds=("class", "multilabel", "regression"),
        ),
        ProbeSpec(
            name="svm@1",
            summary="Linear SVM, C by cross-validation on train",
            target=f"{PROBES}.svm:SvmProbe",
            config=f"{PROBES}.configs:SvmProbeConfig",
            target_kinds=("class", "multilabel"),
        ),
        ProbeSpec(
            name="fewshot@1",
            summary="Episodes of a few classes with a few labels",
            target=f"{PROBES}.fewshot:FewShotProbe",
            config=f"{PROBES}.configs:FewShotProbeConfig",
            target_kinds=("class",),
        ),
        ProbeSpec(
            name="retrieval@1",
            summary="Rows of the same label by cosine: nDCG, MAP, recall, precision, MRR",
            target=f"{PROBES}.retrieval:RetrievalProbe",
            config=f"{PROBES}.configs:RetrievalProbeConfig",
            target_kinds=("class", "multilabel"),
        ),
        ProbeSpec(
            name="dense-linear@1",
            summary="Logistic regression on 600 elements a class",
            target=f"{PROBES}.dense:DenseLinearProbe",
            config=f"{PROBES}.dense:DenseLinearConfig",
            target_kinds=("class",),
        ),
        ProbeSpec(
            name="dense-frequency@1",
            summary="The same, intercepts set to how often each class occurs",
            target=f"{PROBES}.dense:DenseFrequencyProbe",
            config=f"{PROBES}.dense:DenseLinearConfig",
            target_kinds=("class",),
        ),
        ProbeSpec(
            name="dense-knn@1",
            summary="Nearest of 600 elements a class by cosine, weighted",
            target=f"{PROBES}.dense:DenseNeighbourProbe",
            config=f"{PROBES}.dense:DenseNeighbourConfig",
            target_kinds=("class",),
        ),
        ProbeSpec(
            name="dense-prototype@1",
            summary="Nearest class mean of elements, by cosine",
            target=f"{PROBES}.dense:DensePrototypeProbe",
            config=f"{PROBES}.dense:DensePrototypeConfig",
            target_kinds=("class",),
        ),
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
