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
from dataclasses import asdict, dataclass
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
HORIZONS = (24, 48, 168, 336, 720)
PARTS = (8640, 2880, 2880)
WINDOW, STRIDE = 128, 32
MOMENTS = 1000
FORECAST_SET = "ETTh1"
FLOORS = {"last value": "last-", "same hour of the last day": "day-", "ridge on the last 168 steps": "raw-"}


@dataclass(frozen=True)
class Job:
    """One run that is trained and judged."""

    set: str
    method: str
    seed: int


def trained(recipe: str, data: Path, seed: int, steps: int, folder: Path, **settings: Any) -> tuple[repcore.Run, float]:
    """A run and its seconds."""
    start = time.perf_counter()
    done = repcore.train(recipe, str(data), seed=seed, steps=steps, out=folder, report=False, device="cpu", **settings)
    return done, time.perf_counter() - start


def accuracies(run: repcore.Run, data: Path, seed: int) -> dict[str, float]:
    """Accuracy of the linear probe by kind of features, in per cent; the twin is that of the run's seed."""
    words = ["probe", str(run.folder), "--data", str(data), "--label", "class", "--split", "declared"]
    words += ["--seeds", str(seed + 1)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = command([*words, "--protocol", "linear@1", "--json"])
    if code:
        raise SystemExit(f"probe of {data} ended with {code}")
    text = said.getvalue()
    found, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    entries = next(one for one in found.values() if isinstance(one, list) and one and isinstance(one[0], dict))
    return {one["features"]: 100 * one["values"][-1] for one in entries if one["metric"] == "accuracy"}


def measured(job: Job, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Figures of one job."""
    if job.set != FORECAST_SET:
        path = given.data / "classification" / job.set
        recipe, settings = METHODS[job.method]
        run, seconds = trained(recipe, path, job.seed, given.steps, folder, **settings)
        return {"seconds": seconds, **accuracies(run, path, job.seed)}
    path = given.data / "forecasting" / f"{FORECAST_SET}.csv"
    recipe, settings = METHODS[job.method]
    window = {"dataset__window": WINDOW, "dataset__stride": STRIDE, "dataset__parts": list(PARTS)}
    run, seconds = trained(recipe, path, job.seed, given.steps, folder, **window, **settings)
    probe = ForecastProbe(ForecastConfig(horizons=HORIZONS, parts=PARTS, most_moments=MOMENTS))
    material = probe.material([whole_series(run, path)])
    encoder: Any = run.model.encoder.eval()
    twin: Any = run.model.random_twin(job.seed)
    untrained = {f"twin-{name}": value for name, value in probe.score(twin, material, job.seed).items()}
    return {"seconds": seconds, **probe.score(encoder, material, job.seed), **untrained}


def classification(kept: Mapping[Job, Mapping[str, float]]) -> list[str]:
    """Lines of the table of sets."""
    lines = ["| accuracy % | features | mean and sd over seeds |", "|---|---|---|"]
    for name in SETS:
        rows = {method: [kept[job] for job in kept if (job.set, job.method) == (name, method)] for method in METHODS}
        for method, found in rows.items():
            if found:
                took = statistics.mean(one["seconds"] for one in found)
                lines.append(f"| {name} | {method}, {took:.0f} s | {of_seeds([one['trained'] for one in found])} |")
                lines.append(f"| {name} | its untrained twin | {of_seeds([one['random-init'] for one in found])} |")
        simple = next((found[0] for found in rows.values() if found), {})
        left_out = ("trained", "random-init", "seconds")
        lines += [f"| {name} | {one} | {value:.1f} |" for one, value in simple.items() if one not in left_out]
    return lines


def forecasts(kept: Mapping[Job, Mapping[str, float]]) -> list[str]:
    """Lines of the table of forecasts, all seven channels."""
    lines = [f"| MSE / MAE | {' | '.join(map(str, HORIZONS))} |", "|---" * (1 + len(HORIZONS)) + "|"]
    every = [kept[job] for job in kept if job.set == FORECAST_SET]
    for method in METHODS:
        found = [kept[job] for job in kept if (job.set, job.method) == (FORECAST_SET, method)]
        for name, prefix in ((method, ""), (f"{method}: untrained twin", "twin-")):
            if found:
                lines.append(f"| {name} | {' | '.join(both_of(found, prefix, ahead) for ahead in HORIZONS)} |")
    for name, prefix in FLOORS.items():
        lines.append(f"| {name} | {' | '.join(both_of(every[:1], prefix, ahead) for ahead in HORIZONS)} |")
    return lines


def whole_series(run: repcore.Run, path: Path) -> list[Any]:
    """The items of the whole table, as the model's preprocessor makes them."""
    from repcore_timeseries.configs.series import SeriesTableConfig
    from repcore_timeseries.datasets.tables import SeriesTable

    return run.model.preprocessor.prepare(SeriesTable(SeriesTableConfig(path=str(path)))[0])


def both_of(figures: list[Mapping[str, float]], prefix: str, ahead: int) -> str:
    """Mean of both errors, and the standard deviation of the first over seeds."""
    errors = [one[f"{prefix}mse-{ahead}"] for one in figures]
    absolute = statistics.mean(one[f"{prefix}mae-{ahead}"] for one in figures)
    apart = f" ± {statistics.stdev(errors):.3f}" if len(errors) > 1 else ""
    return f"{statistics.mean(errors):.3f}{apart} / {absolute:.3f}"


def of_seeds(values: list[float]) -> str:
    """Mean and standard deviation; one seed has none."""
    apart = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else " (one seed)"
    return f"{statistics.mean(values):.1f}{apart}"


def read_kept(path: Path) -> dict[Job, dict[str, float]]:
    """What was measured before, by job."""
    if not path.is_file():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {Job(line.pop("set"), line.pop("method"), line.pop("seed")): line for line in lines}


def main() -> int:
    """Jobs that are not measured yet, then both tables of all that are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--sets", nargs="*", default=[FORECAST_SET, *SETS])
    parser.add_argument("--jobs", type=int, default=10_000, help="most jobs of this call; the next call goes on")
    parser.add_argument("--kept", type=Path, default=measuring.RESULTS / "timeseries_learning.jsonl")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("repcore").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    jobs = [Job(name, method, seed) for seed in range(given.seeds) for name in given.sets for method in METHODS]
    due = [job for job in jobs if job not in read_kept(given.kept)][: given.jobs]
    for job in due:
        with tempfile.TemporaryDirectory() as folder:
            found = measured(job, given, Path(folder))
        with given.kept.open("a", encoding="utf-8") as file:
            rounded = {name: round(value, 5) for name, value in found.items()}
            file.write(json.dumps({**asdict(job), **rounded}) + "\n")
        print(job, f"{found['seconds']:.0f} s", flush=True)
    kept = read_kept(given.kept)
    (measuring.RESULTS / "timeseries_learning.md").write_text(
        f"# Time series\n\n`benchmarks/timeseries_learning.py --steps {given.steps}`: recipes `tiny`, one thread.\n\n"
        f"ETTh1, seven channels, standardised by the train rows 0 to 8,639; {MOMENTS:,} moments of each part; windows "
        f"of {WINDOW} steps for training. Mean over seeds, ± standard deviation of the MSE.\n\n"
        + "\n".join(forecasts(kept)) + "\n\nFrozen vectors, logistic regression, the archive's own parts; seconds of "
        "training on a busy core:\n\n" + "\n".join(classification(kept))
        + f"\n\n{json.dumps(measuring.facts(('torch', 'numpy', 'scikit-learn')))}\n", encoding="utf-8",
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
