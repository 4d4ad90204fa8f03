"""Runs of a folder with their key figures, from the files that they leave behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from repcore.errors import DataError, RepcoreError
from repcore.report.collect import RunRecord, collect, exported_parameters, table_of


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """One record a run, the newest first; a folder that cannot be read is a record with ``problem``.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is no folder", hint="runs are written to runs/ unless --out says otherwise")
    places = [path for path in sorted(folder.iterdir()) if not path.is_symlink() and (path / "config.json").is_file()]
    if (folder / "config.json").is_file() and (folder / "metrics.jsonl").is_file():
        places = [folder]
    found = [key_figures(path) for path in places]
    return sorted(found, key=lambda one: str(one.get("started") or ""), reverse=True)


def key_figures(path: Path) -> dict[str, Any]:
    """Name, state, steps, losses, verdict, sizes and first probe of a run folder; or ``problem``."""
    try:
        run = collect(path)
    except RepcoreError as error:
        return {"run": path.name, "problem": error.summary}
    return {
        "run": path.name,
        "recipe": run.recipe,
        "started": run.environment.get("started"),
        "state": _state(run),
        "steps": run.last_step,
        "steps_planned": run.steps_planned,
        "loss": _last(run, "train"),
        "validation_loss": _last(run, "validation"),
        "representation": run.judged().get("level"),
        "rows": (run.environment.get("rows") or {}).get("train"),
        "parameters": exported_parameters(run),
        "best_probe": _best_probe(run),
        "problem": f"damaged: {', '.join(run.damaged)}" if run.damaged else None,
    }


def _state(run: RunRecord) -> str:
    if run.has_model:
        return "finished"
    return "no model yet" if run.last_step else "not begun"


def _last(run: RunRecord, split: str) -> float | None:
    steps, values = run.series(split, "loss")
    found = values[run.place_of_model(steps)] if values else math.nan
    return found if math.isfinite(found) else None


def _best_probe(run: RunRecord) -> str | None:
    """The trained encoder's main figure of the first probe, with what it is compared with."""
    for content in run.probes.values():
        table = table_of(content) or {}
        main = [one for one in table.get("entries", ()) if one.get("primary") and one.get("mean") is not None]
        own = next((one for one in main if one.get("features") == "trained"), None)
        if own is None:
            continue
        twin = next((one for one in main if one["features"] == "random-init" and one["probe"] == own["probe"]), None)
        label = (table.get("target") or {}).get("name", "-")
        words = f"{label} {own['metric']} {own['mean']:.3f}"
        return words + (f" (random-init {twin['mean']:.3f})" if twin else "")
    return None
