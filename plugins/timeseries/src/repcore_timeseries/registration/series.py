"""Series: the encoder, readers, generated sensors, views, and their way to batches."""

from __future__ import annotations

from repcore.specs import (
    DatasetSpec,
    EncoderSpec,
    PreprocessorSpec,
    TargetSpec,
    TensorSpec,
    ViewsSpec,
)

PACKAGE = "repcore_timeseries"
LICENCE = "Apache-2.0 (this implementation)"
STORED = (TensorSpec("series", "", "Series"),)
SERIES = (
    TensorSpec("values", "B T C"),
    TensorSpec("observed", "B T C", "bool", optional=True),
    TensorSpec("length", "B", "int64", unit="steps", optional=True),
)
CONFIGS = f"{PACKAGE}.configs.series"
RENDERING = f"{PACKAGE}.rendering.series"
PICTURES = {
    "render": f"{RENDERING}:render",
    "render_heat": f"{RENDERING}:render_heat",
    "overlay": f"{RENDERING}:overlay",
}

ENCODERS = (
    EncoderSpec(
        name="dilated",
        summary="Dilated convolutions over series of any length, with gaps",
        target=f"{PACKAGE}.encoders.dilated:DilatedEncoder",
        config=f"{PACKAGE}.configs.encoders:DilatedConfig",
        inputs=SERIES,
        outputs=(TensorSpec("pooled", "B D"), TensorSpec("step", "B T D")),
        poolings=("max", "mean", "last"),
        levels=("step",),
        capabilities=("layers", "embed-tokens", "encode-tokens", "until", "run-from", "series-steps"),
        paper="Yue et al. 2022, TS2Vec, AAAI (arXiv 2106.10466)",
        licence=LICENCE,
        example=f"{PACKAGE}.examples.series:dilated",
    ),
)

DATASETS = (
    DatasetSpec(
        name="cases",
        summary="Archives of labelled series: .ts, .arff, UCR .tsv, .tsf; a file, or a folder with its parts",
        target=f"{PACKAGE}.datasets.cases:Cases",
        config=f"{CONFIGS}:CasesConfig",
        produces=STORED,
        sniff=f"{PACKAGE}.datasets.cases:sniff",
        **PICTURES,
    ),
    DatasetSpec(
        name="table",
        summary="CSV, TSV and parquet with time stamps, wide or long; whole series, or windows that stay in one part",
        target=f"{PACKAGE}.datasets.tables:SeriesTable",
        config=f"{CONFIGS}:SeriesTableConfig",
        produces=STORED,
        sniff=f"{PACKAGE}.datasets.tables:sniff",
        **PICTURES,
    ),
    DatasetSpec(
        name="arrays",
        summary=".npy and .npz: (N, T), (N, T, C) or (N, C, T), with labels and parts",
        target=f"{PACKAGE}.datasets.arrays:Arrays",
        config=f"{CONFIGS}:ArraysConfig",
        produces=STORED,
        sniff=f"{PACKAGE}.datasets.arrays:sniff",
        **PICTURES,
    ),
    DatasetSpec(
        name="sensors",
        summary="Generated sensors whose class lies in shape and lag, with gaps",
        target=f"{PACKAGE}.datasets.sensors:Sensors",
        config=f"{CONFIGS}:SensorsConfig",
        produces=STORED,
        targets=(TargetSpec("kind", "class"),),
        embedded=True,
        licence="generated",
        **PICTURES,
    ),
)

PREPROCESSORS = (
    PreprocessorSpec(
        name="series",
        summary="Standardised channels with their gaps, calendar, windows of long series",
        target=f"{PACKAGE}.preprocessors.series:SeriesPreprocessor",
        config=f"{CONFIGS}:SeriesPreprocessorConfig",
        accepts=STORED,
        produces=SERIES,
        baselines={
            "statistics": f"{PACKAGE}.preprocessors.baselines:series_statistics",
            "raw-values": f"{PACKAGE}.preprocessors.baselines:raw_values",
        },
    ),
)

VIEWS = (
    ViewsSpec(
        name="series-pair",
        summary="Two stretches of a series with noise, other scales and hidden steps",
        target=f"{PACKAGE}.views.series_views:SeriesPair",
        config=f"{PACKAGE}.configs.views:SeriesPairConfig",
        names=("a", "b"),
        role="pair",
        accepts=STORED,
    ),
    ViewsSpec(
        name="series-weak-strong",
        summary="A series with a little noise, and a stretch of it that is noisy and hidden in part",
        target=f"{PACKAGE}.views.series_views:SeriesWeakStrong",
        config=f"{PACKAGE}.configs.views:SeriesWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=STORED,
    ),
)
