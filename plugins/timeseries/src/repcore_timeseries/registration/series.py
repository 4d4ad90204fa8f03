"""Series: the encoder, readers, generated sensors, views, and their way to batches."""

from __future__ import annotations

from repcore.specs import (
    DatasetSpec,
    EncoderSpec,
    PreprocessorSpec,
    ProbeSpec,
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
    TensorSpec("unit", "B C 2", optional=True),
)
CONFIGS = f"{PACKAGE}.configs.series"
RENDERING = f"{PACKAGE}.rendering.series"
RENDER, RENDER_HEAT, OVERLAY = (f"{RENDERING}:{name}" for name in ("render", "render_heat", "overlay"))


def _files(name: str, module: str, reader: str, config: str, summary: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        summary=summary,
        target=f"{PACKAGE}.datasets.{module}:{reader}",
        config=f"{CONFIGS}:{config}",
        produces=STORED,
        sniff=f"{PACKAGE}.datasets.{module}:sniff",
        render=RENDER,
        render_heat=RENDER_HEAT,
        overlay=OVERLAY,
    )


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
    _files(
        "cases",
        "cases",
        "Cases",
        "CasesConfig",
        "Archives of labelled series: .ts, .arff, UCR .tsv, .tsf; a file, or a folder with its parts",
    ),
    _files(
        "table",
        "tables",
        "SeriesTable",
        "SeriesTableConfig",
        "CSV, TSV and parquet with time stamps, wide or long; whole series, or windows that stay in one part",
    ),
    _files(
        "recordings",
        "recordings",
        "Recordings",
        "SeriesTableConfig",
        "A folder of tables with one header, each of them a recording; folders are classes, groups or parts",
    ),
    _files(
        "har",
        "har",
        "Har",
        "CasesConfig",
        "The layout of UCI HAR: X_train.txt, y_train.txt, subject_train.txt; a file a channel, a row a window",
    ),
    _files(
        "arrays",
        "arrays",
        "Arrays",
        "ArraysConfig",
        ".npy and .npz: (N, T), (N, T, C) or (N, C, T), with labels and parts",
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
        render=RENDER,
        render_heat=RENDER_HEAT,
        overlay=OVERLAY,
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
            "shapes": f"{PACKAGE}.preprocessors.shapes:series_shapes",
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

PROBES = (
    ProbeSpec(
        name="forecast@1",
        summary="Ridge from the features of a moment to the next 24 to 720 steps, beside naive forecasts",
        target=f"{PACKAGE}.probes.forecast:ForecastProbe",
        config=f"{PACKAGE}.configs.probes:ForecastConfig",
        sees="model",
        example=f"{PACKAGE}.examples.series:forecast",
    ),
)
