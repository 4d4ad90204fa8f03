"""A hand-made run folder of the toy pairs: every file a run leaves behind, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from repcore import registry
from repcore.checkpoints.saving import save_model
from repcore.config.resolve import resolve_run
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble

HOSTILE = "<script>alert('row')</script> & \"quotes\""
STEPS = 30


def make_run(folder: Path, *overrides: str) -> RunParts:
    """Write settings, environment, metrics, diagnostics, a rejected row and an untrained model into ``folder``."""
    parts = assemble(resolve_run(registry.default(), "pairs/set-net", overrides=overrides), LogReporter())
    folder.mkdir(parents=True)
    write(folder / "config.json", parts.resolved.plain())
    write(
        folder / "origin.json", {"trainer.steps": "command line", "encoder.name": "recipe pairs/set-net, preset tiny"}
    )
    rows = {"all": len(parts.reader), "train": len(parts.train), "validation": len(parts.validation)}
    write(
        folder / "environment.json",
        {
            "started": "2026-01-01T00:00:00+00:00",
            "command": ["pairs", "train", "set-net"],
            "versions": {"torch": "2"},
            "plugins": {"pairs": "1.0"},
            "data_fingerprint": parts.reader.fingerprint,
            "rows": rows,
            "ops": {},
            "teachers": [{"name": "giant", "sha256": "ab" * 32}],
        },
    )
    write_lines(folder / "metrics.jsonl", metrics())
    write_lines(folder / "diagnostics.jsonl", diagnostics())
    write_lines(folder / "rejected.jsonl", [{"row": 7, "status": "unreadable", "reason": HOSTILE}])
    write(folder / "probes" / "kind-random.json", {"data": "labels.csv", "table": probe_table()})
    resolved = parts.resolved
    save_model(
        folder / "model",
        encoder=parts.encoder,
        encoder_name=resolved.encoder.name,
        encoder_config=resolved.encoder.config,
        preprocessor=parts.preprocessor,
        preprocessor_name=resolved.preprocessor.name,
        preprocessor_config=resolved.preprocessor.config,
        card={},
        extra={},
    )
    return parts


def metrics() -> list[dict[str, Any]]:
    """A loss with two terms, one value that is not finite, and the other columns of a training line."""
    lines: list[dict[str, Any]] = []
    for step in range(0, STEPS + 1, 5):
        loss = 4.0 / (1 + step / 10)
        if step % 10 == 0:
            lines.append(
                {"step": step, "split": "validation", "loss": loss, "contrast": loss / 2, "loss_baseline": 3.0}
            )
        if step:
            lines.append(
                {
                    "step": step,
                    "epoch": step / 6,
                    "split": "train",
                    "loss": loss if step != 15 else float("nan"),
                    "contrast": loss / 2,
                    "lr": 1e-3,
                    "grad_norm": 1.0,
                    "items_per_second": 100.0,
                    "data_wait_share": 0.1,
                }
            )
    return lines


def diagnostics() -> list[dict[str, Any]]:
    """Three records; the spread falls below half of step 0 in the last."""
    return [
        {
            "step": step,
            "rows": 12.0,
            "dimensions": 16.0,
            "std": spread,
            "rankme-centred": 8.0,
            "uniformity": -1.0,
            "uniformity-of-sphere": -3.5,
            "alpha-req": float("nan"),
            "level": level,
            "reasons": reasons,
        }
        for step, spread, level, reasons in (
            (0, 0.5, "healthy", []),
            (15, 0.4, "healthy", []),
            (30, 0.2, "warning", ["items move together (std 0.2, 0.4 of step 0)"]),
        )
    ]


def probe_table() -> dict[str, Any]:
    """As ``ProbeTable.to_json`` writes it."""

    def entry(features: str, values: list[float], mean: float) -> dict[str, Any]:
        shared = {"probe": "linear@1", "metric": "accuracy", "higher_is_better": True, "unit": "", "deviation": 0.01}
        return {
            "features": features,
            "values": values,
            "mean": mean,
            "primary": True,
            "notes": [],
            "tasks": None,
        } | shared

    comparison = {
        "probe": "linear@1",
        "features": "trained",
        "against": "random-init",
        "differences": [0.1, 0.2],
        "better_on": 2,
        "verdict": "better than random-init on all 2 seeds",
    }
    return {
        "target": {"name": "kind", "kind": "class", "unit": ""},
        "seeds": [0, 1],
        "split": "random",
        "rows_used": 54,
        "rows_left_out": 0,
        "entries": [entry("trained", [0.8, 0.9], 0.85), entry("random-init", [0.7, 0.7], 0.7)],
        "comparisons": [comparison],
        "constants": {"linear@1": {"penalty": 1.0}},
    }


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
