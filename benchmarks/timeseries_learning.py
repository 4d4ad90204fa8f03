"""What TS2Vec, AutoTCL and its random gates learn in two minutes of a core, beside untrained twins and simple features.

Claim: none of a winner; the table says which of them beats what a user would otherwise run. Classification: logistic
regression on frozen vectors, the archive's own parts. Forecasts: ETTh1, published borders, by the forecast probe.

    python benchmarks/timeseries_learning.py --data ../shared/data/timeseries --seeds 3
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import measuring
import torch

import repcore
from repcore.cli.main import run as command
from repcore_timeseries.configs.probes import ForecastConfig
from repcore_timeseries.probes.forecast import ForecastProbe

SETS = ("BasicMotions", "ItalyPowerDemand", "GunPoint")
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "TS2Vec": ("timeseries/ts2vec", {}),
    "AutoTCL": ("timeseries/autotcl", {}),
    "AutoTCL, random gates": ("timeseries/autotcl", {"objective__gates": "random"}),
}
HORIZONS = (24, 48, 168)
PARTS = (8640, 2880, 2880)
WINDOW, STRIDE = 128, 32
MOMENTS = 300


def trained(recipe: str, data: Path, seed: int, steps: int, folder: Path, **settings: Any) -> tuple[repcore.Run, float]:
    """A run and its seconds."""
    start = time.perf_counter()
    done = repcore.train(recipe, str(data), seed=seed, steps=steps, out=folder, report=False, device="cpu", **settings)
    return done, time.perf_counter() - start


def accuracies(run: repcore.Run, data: Path) -> dict[str, float]:
    """Accuracy of the linear probe by kind of features, in per cent."""
    words = ["probe", str(run.folder), "--data", str(data), "--label", "class", "--split", "declared", "--seeds", "1"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = command([*words, "--protocol", "linear@1", "--json"])
    if code:
        raise SystemExit(f"probe of {data} ended with {code}")
    text = said.getvalue()
    found, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    entries = next(one for one in found.values() if isinstance(one, list) and one and isinstance(one[0], dict))
    return {one["features"]: 100 * one["mean"] for one in entries if one["metric"] == "accuracy"}


def classification(data: Path, seeds: int, steps: int, folder: Path) -> list[str]:
    """Lines of the table of sets."""
    lines = ["| accuracy % | features | mean and sd over seeds |", "|---|---|---|"]
    for name in SETS:
        path, simple = data / "classification" / name, {}
        for method, (recipe, settings) in METHODS.items():
            found, seconds = [], 0.0
            for seed in range(seeds):
                run, took = trained(recipe, path, seed, steps, folder, name=f"{name}-{method}-{seed}", **settings)
                found.append(accuracies(run, path))
                seconds += took / seeds
            lines.append(f"| {name} | {method}, {seconds:.0f} s | {of_seeds([one['trained'] for one in found])} |")
            lines.append(f"| {name} | its untrained twin | {of_seeds([one['random-init'] for one in found])} |")
            simple = {one: value for one, value in found[0].items() if one not in ("trained", "random-init")}
        lines += [f"| {name} | {one} | {value:.1f} |" for one, value in simple.items()]
        print("\n".join(lines[-8:]), flush=True)
    return lines


def forecasts(data: Path, seeds: int, steps: int, folder: Path) -> list[str]:
    """Lines of the table of forecasts, all seven channels."""
    path = data / "forecasting" / "ETTh1.csv"
    lines = [f"| MSE / MAE | {' | '.join(map(str, HORIZONS))} |", "|---" * (1 + len(HORIZONS)) + "|"]
    probe = ForecastProbe(ForecastConfig(horizons=HORIZONS, parts=PARTS, most_moments=MOMENTS))
    material: Any = None
    for method, (recipe, settings) in METHODS.items():
        found: dict[str, list[Mapping[str, float]]] = {method: [], f"{method}: untrained twin": []}
        for seed in range(seeds):
            window = {"dataset__window": WINDOW, "dataset__stride": STRIDE, "dataset__parts": list(PARTS)}
            run, _ = trained(recipe, path, seed, steps, folder, name=f"ETTh1-{method}-{seed}", **window, **settings)
            if material is None:
                material = probe.material([whole_series(run, path)])
            for name, encoder in (
                (method, run.model.encoder.eval()),
                (f"{method}: untrained twin", run.model.random_twin(seed)),
            ):
                found[name].append(probe.score(encoder, material, seed))
        for name, figures in found.items():
            lines.append(f"| {name} | {' | '.join(both_of(figures, ahead) for ahead in HORIZONS)} |")
            print(lines[-1], flush=True)
    for name, prefix in (
        ("last value", "last-"),
        ("same hour of the last day", "day-"),
        ("ridge on the last 168 steps", "raw-"),
    ):
        shown = (
            f"{material.floors[f'{prefix}mse-{one}']:.3f} / {material.floors[f'{prefix}mae-{one}']:.3f}"
            for one in HORIZONS
        )
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


def whole_series(run: repcore.Run, path: Path) -> list[Any]:
    """The items of the whole table, as the model's preprocessor makes them."""
    from repcore_timeseries.configs.series import SeriesTableConfig
    from repcore_timeseries.datasets.tables import SeriesTable

    return run.model.preprocessor.prepare(SeriesTable(SeriesTableConfig(path=str(path)))[0])


def both_of(figures: list[Mapping[str, float]], ahead: int) -> str:
    """Mean of both errors and the standard deviation of the first over seeds."""
    errors = [one[f"mse-{ahead}"] for one in figures]
    absolute = statistics.mean(one[f"mae-{ahead}"] for one in figures)
    apart = statistics.stdev(errors) if len(errors) > 1 else 0.0
    return f"{statistics.mean(errors):.3f} ± {apart:.3f} / {absolute:.3f}"


def of_seeds(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values) if len(values) > 1 else 0.0:.1f}"


def main() -> int:
    """Both tables into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path, default=measuring.RESULTS / "timeseries_learning.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("repcore").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        first = forecasts(given.data, given.seeds, given.steps, Path(folder))
        second = classification(given.data, given.seeds, given.steps, Path(folder))
    about = measuring.facts(("torch", "numpy", "scikit-learn"))
    given.output.write_text(
        "# Time series\n\n"
        f"`benchmarks/timeseries_learning.py --seeds {given.seeds} --steps {given.steps}`: recipes `tiny`.\n\n"
        f"ETTh1, seven channels, standardised by the train rows 0 to 8,639; {MOMENTS} moments of each part; windows of "
        f"{WINDOW} steps for training. Mean over seeds, ± standard deviation of the MSE.\n\n"
        + "\n".join(first) + "\n\nFrozen vectors, logistic regression, the archive's own parts:\n\n" + "\n".join(second)
        + f"\n\n{json.dumps(about)}\n", encoding="utf-8",
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
