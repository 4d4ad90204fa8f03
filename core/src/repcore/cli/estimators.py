"""``repcore fit`` and ``repcore apply``: estimators on the features of a frozen model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, say, show_json
from repcore.cli.options import (
    device_option,
    inference_options,
    json_option,
    reader_options,
    reading_options,
    work_options,
)
from repcore.devices import torch_device
from repcore.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from repcore.embedding.inference import InferenceOptions
    from repcore.embedding.model import Model
    from repcore.estimation.features import FeatureWindow
    from repcore.estimation.folder import FittedEstimator
    from repcore.interfaces import DatasetReader, FeatureBatch
    from repcore.specs import TargetSpec


@click.command("fit")
@click.argument("estimator")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.argument("overrides", nargs=-1, metavar="[SETTINGS]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the fitted estimator.")
@click.option("--label", help="Label that the estimator reads, for one that needs labels (a domain column, a class).")
@click.option("--pool", help="Pooling of the encoder by name.")
@click.option("--level", help="Token level by name, for estimators on tokens.")
@click.option("--layer", type=click.IntRange(min=0), help="Layer of the encoder instead of its output.")
@reading_options
@work_options
@device_option
@json_option
def fit_command(estimator: str, model: Path, data: str, overrides: tuple[str, ...], **given: Any) -> None:
    """Fit ESTIMATOR on the features that MODEL gives for DATA; SETTINGS are key=value.

    \b
    Example:
      repcore fit gaussian-anomaly runs/latest normal.csv -o detector
      repcore apply detector new.csv -o scores.csv
    """
    from repcore.config.yaml import parse_override
    from repcore.embedding.model import load
    from repcore.estimation.folder import build_estimator, save_estimator

    loaded = load(model, device=torch_device(given["device"]))
    fitted = build_estimator(registry.default(), estimator, dict(map(parse_override, overrides)), loaded.domain)
    reader, target = _data(loaded, data, given, fitted, given["label"])
    chosen = {name: given[name] for name in ("pool", "level", "layer")}
    reporter = ConsoleReporter()
    failed = [0, 0]
    batches = _finite(_windows(loaded, reader, fitted, chosen, given, reporter, "fitting"), failed)
    fitted.estimator.fit(batches, target)
    reporter.close()
    done = _bound(fitted, loaded, chosen, reader, given["label"] or "")
    save_estimator(given["output"], done)
    summary = {"estimator": fitted.part.name, "rows": failed[0], "left_out": failed[1], "folder": str(given["output"])}
    facts = {key: value for key, value in done.estimator.state()[1].items() if isinstance(value, int | float | str)}
    if given["as_json"]:
        show_json({**summary, **facts})
        return
    say(f"{fitted.part.name} fitted on {failed[0]:,} rows" + (f"; {failed[1]:,} left out" if failed[1] else ""))
    for line in facts_in_words(facts, fitted.part.entry.spec.facts):
        say(f"  {line}")
    say(f"apply it with: repcore apply {given['output']} DATA -o FILE")


def facts_in_words(facts: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    """A line a fact: ``held out for the threshold: 40 items``.

    Args:
        facts: numbers by name.
        words: of the estimator's spec: words for a name, and after a bar the unit.
    """
    lines = []
    for key, value in facts.items():
        text, _, unit = words.get(key, key.replace("_", " ")).partition("|")
        shown = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        lines.append(f"{text.strip()}: {shown} {unit.strip()}".rstrip())
    return lines


@click.command("apply")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True,
              help="FILE.csv, .tsv, .parquet or .npz.")  # fmt: skip
@click.option("--model", type=click.Path(path_type=Path), help="The model, where it has moved since fitting.")
@click.option("--report", "page", type=click.Path(path_type=Path), help="Also write this page (FILE.html).")
@click.option("--overwrite", is_flag=True, help="Replace an existing output file.")
@reading_options
@work_options
@device_option
@json_option
def apply_command(folder: Path, data: str, **given: Any) -> None:
    """Apply a fitted estimator to every row of DATA: one output row per input row, with status and reason.

    \b
    Example:
      repcore apply detector new.csv -o scores.csv --report scores.html
    """
    output: Path = given["output"]
    if output.exists() and not given["overwrite"]:
        raise DataError(f"{str(output)!r} exists", hint="--overwrite, or another file name")
    from repcore.embedding.model import load
    from repcore.estimation.folder import load_estimator

    fitted = load_estimator(registry.default(), folder)
    loaded = load(given["model"] or fitted.model, device=torch_device(given["device"]))
    fitted.check(loaded.identity())
    reader, _ = _data(loaded, data, given, fitted, fitted.target if _has(loaded, data, given, fitted.target) else None)
    reporter = ConsoleReporter()
    windows = _windows(loaded, reader, fitted, fitted.features, given, reporter, "applying")
    if given["page"] is not None and not hasattr(fitted.estimator, "report"):
        raise ConfigError(f"estimator {fitted.part.name} has nothing to show on a page", hint="leave --report out")
    seen: dict[str, list[np.ndarray]] = {}
    rows, failed = _write(fitted, loaded, reader, windows, output, seen, given["overwrite"])
    reporter.close()
    if given["page"] is not None:
        _page(fitted, loaded, data, given, reader, seen)
    if given["as_json"]:
        show_json({"estimator": fitted.part.name, "rows": rows, "failed": failed, "file": str(output)})
        return
    say(f"{fitted.part.name}: {rows:,} rows" + (f", {failed:,} without a result" if failed else "") + f" in {output}")


def _page(
    fitted: FittedEstimator,
    model: Model,
    data: str,
    given: Mapping[str, Any],
    reader: DatasetReader,
    seen: Mapping[str, list[np.ndarray]],
) -> None:
    """What the estimator has to show of these rows."""
    import numpy as np

    from repcore.data.readers import entry_of, renderer_of
    from repcore.estimation.features import feature_windows, token_places
    from repcore.estimation.report import HeatDrawing, write_estimator_report

    def places(row: int) -> np.ndarray | None:
        """Where the tokens of a row lie."""
        return token_places(model, reader, row, _inference(model, given, fitted.features))

    def maps(rows: list[int]) -> list[np.ndarray]:
        """What ``maps`` gives for the tokens of a few rows."""
        level, options = fitted.part.entry.spec.level, _inference(model, given, fitted.features)
        found: list[np.ndarray] = []
        for window in feature_windows(model, reader, level, options, np.asarray(rows)):
            values = fitted.estimator.maps(window.features)  # type: ignore[attr-defined]  # the estimator asked for it
            owner = window.features.owner
            owner = np.arange(len(values)) if owner is None else owner
            found += [values[owner == place] for place in range(len(window.features.ids))]
        return found

    columns = {name: np.concatenate(parts) for name, parts in seen.items()}
    sections = fitted.estimator.report(columns, maps)  # type: ignore[attr-defined]  # asked before
    entry = entry_of(
        registry.default(), data, domain=model.domain, reader=given["reader"],
        preprocessor=model.folder.preprocessor_name,
    )  # fmt: skip
    facts = [("model", fitted.model), ("data", data), ("rows", f"{len(reader):,}")]
    heat = HeatDrawing(entry.load("render_heat"), places) if entry.spec.render_heat else None
    title = f"{fitted.part.name}: {Path(data).name}"
    write_estimator_report(given["page"], title, facts, sections, reader, renderer_of(entry), heat)


def _data(
    model: Model, data: str, given: Mapping[str, Any], fitted: FittedEstimator, label: str | None
) -> tuple[DatasetReader, TargetSpec | None]:
    """The reader, and the label that the estimator reads.

    Raises:
        ConfigError: an estimator that needs labels got none, or one that reads none got one.
    """
    needs = fitted.part.entry.spec.labels
    if needs == "required" and not label and not fitted.identity:
        raise ConfigError(f"estimator {fitted.part.name} needs a label", hint="--label NAME")
    if needs == "none" and label and not fitted.identity:
        raise ConfigError(f"estimator {fitted.part.name} reads no labels", hint="leave --label out")
    reader = model.reader(
        data,
        reader=given["reader"],
        options=reader_options(given),
        labels=[label] if label else [],
    )
    return reader, next((one for one in reader.targets if one.name == label), None)


def _has(model: Model, data: str, given: Mapping[str, Any], label: str) -> bool:
    """Whether data that an estimator is applied to has the label that it was fitted with."""
    if not label:
        return False
    reader = model.reader(data, reader=given["reader"], options=reader_options(given))
    return any(one.name == label for one in reader.targets)


def _inference(model: Model, given: Mapping[str, Any], features: Mapping[str, Any]) -> InferenceOptions:
    chosen = {"pooling": features.get("pool"), "level": features.get("level"), "layer": features.get("layer")}
    return inference_options(given, str(model.device), **chosen)


def _windows(
    model: Model,
    reader: DatasetReader,
    fitted: FittedEstimator,
    features: Mapping[str, Any],
    given: Mapping[str, Any],
    reporter: ConsoleReporter,
    word: str,
) -> Iterator[FeatureWindow]:
    from repcore.estimation.features import feature_windows

    done = 0
    for window in feature_windows(model, reader, fitted.part.entry.spec.level, _inference(model, given, features)):
        yield window
        done += len(window.features.ids)
        reporter.progress(word, done, len(reader))


def _finite(windows: Iterator[FeatureWindow], counts: list[int]) -> Iterator[FeatureBatch]:
    """What the estimator is fitted on; counts become rows used and rows left out."""
    import numpy as np

    from repcore.estimation.features import finite

    for window in windows:
        batch = finite(window)
        used = len(batch.ids) if batch.owner is None else len(np.unique(batch.owner))
        counts[0] += used
        counts[1] += len(window.features.ids) - used
        yield batch


def _bound(
    fitted: FittedEstimator, model: Model, chosen: Mapping[str, Any], reader: DatasetReader, label: str
) -> FittedEstimator:
    from dataclasses import replace

    return replace(
        fitted,
        model=model.folder.lasting_name,
        identity=model.identity(),
        features=dict(chosen),
        data=reader.fingerprint,
        target=label,
    )


def _write(
    fitted: FittedEstimator,
    model: Model,
    reader: DatasetReader,
    windows: Iterator[FeatureWindow],
    output: Path,
    seen: dict[str, list[np.ndarray]],
    overwrite: bool,
) -> tuple[int, int]:
    """Rows written, and how many of them have no result; numbers are also put into ``seen``."""
    from repcore.embedding.prediction_files import TableWriter

    writer: TableWriter | None = None
    for window in windows:
        found = fitted.estimator.apply(window.features)
        for name, values in found.items():
            seen.setdefault(name, []).append(values)
        columns = {name: _cells(values) for name, values in found.items()}
        if writer is None:
            words = {name for name, cells in columns.items() if any(isinstance(one, str) for one in cells)}
            header = {"estimator": fitted.part.name, "model": fitted.identity, "data": reader.fingerprint}
            if overwrite:
                TableWriter.clear_others(output, header)
            writer = TableWriter(output, header, next(iter(columns)), words)
            writer.restart()
        writer.write(window.features.ids, window.status, window.reason, columns)
    if writer is None:
        raise DataError(f"{len(reader)} rows to apply {fitted.part.name} to")
    writer.finish()
    return writer.rows_done, writer.failed


def _cells(values: np.ndarray) -> list[Any]:
    """Table cells; None where a row has no result."""
    return [None if isinstance(one, float) and one != one else one for one in values.tolist()]
