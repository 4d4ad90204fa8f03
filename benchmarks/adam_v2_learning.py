"""What Adam-v2's tiny preset learns on a CPU from 160 chest films, judged on 80 other people; and from small volumes.

Films: `repcore medical3d train adam-v2 --preset tiny` with part and whole distances summed (the preset) and averaged
(as published) over the width. Reported: the fall of the two part-whole losses from step 0 on the held-out films, the
spread of the vectors, and on held-out films part-whole agreement, localizability, interpolation and matching of the
trained encoder beside its random-init twin. Volumes: `--preset tiny-3d` on hippocampus crops, the same figures.

The gate (method card, section 10): composability falls by 70 %, decomposability by 40 %, the centred matched cosine
rises by 0.10 with mismatched pairs below 0.05, the spread stays above 0.3 of its start, the localizability loss 5 %
below the logarithm of the number of prototypes; `sum` is at least as good as `mean` on the centred cosine (mean over
seeds). Predicted parts that share one unit vector cannot reach a distance of 0: their floor is 0.25 (of four parts).

    python benchmarks/adam_v2_learning.py --data FOLDER [--seeds 3] [--steps 200] [--only films volumes] [--threads 1]

FOLDER holds medical2d/nih_cxr_small and medical3d/msd_hippocampus. A run takes half a minute on one core.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import facts, write_result

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.run import start_run
from repcore_medical3d.configs.properties import PropertiesConfig
from repcore_medical3d.encoders.patches import stacked_images
from repcore_medical3d.probes.properties import PROPERTIES

NAME = "adam_v2_learning"
FILMS = ("tiny", "medical3d/image-folder", "medical2d/nih_cxr_small")
VOLUMES = ("tiny-3d", "medical3d/volume-folder", "medical3d/msd_hippocampus")
JUDGED = {"films": ("part-whole@1", "localizability@1", "interpolation@1", "matching@1"), "volumes": ("part-whole@1",)}
LOSSES = ("composability", "decomposability")
MOST_HELD_OUT = {"films": 80, "volumes": 40}
CENTRED, MISMATCHED = "part-whole@1: centred cosine", "part-whole@1: mismatched centred cosine"


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    record: dict[str, Any] = facts(("repcore", "repcore-medical3d", "torch", "lightning", "monai"))
    record |= {"threads": options.threads, "steps": options.steps, "runs": []}
    plan = [("films", reduction) for reduction in ("sum", "mean")] if "films" in options.only else []
    plan += [("volumes", "sum")] if "volumes" in options.only else []
    for kind, reduction in plan:
        for seed in range(options.seeds):
            record["runs"].append(one_run(options, kind, reduction, seed))
            print(json.dumps(record["runs"][-1]), flush=True)
            record["summary"] = summary(record["runs"])
            write_result(NAME, record, options.out)
    print(json.dumps(record["summary"], indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with medical2d and medical3d")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="the preset's own length when left out")
    parser.add_argument("--only", nargs="+", choices=["films", "volumes"], default=["films", "volumes"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help=f"result file (default: results/{NAME}.json)")
    return parser.parse_args()


def one_run(options: argparse.Namespace, kind: str, reduction: str, seed: int) -> dict[str, Any]:
    """Train once; figures before and after on held-out images."""
    preset, reader, path = FILMS if kind == "films" else VOLUMES
    overrides = [
        f"trainer.seed={seed}", f"trainer.threads={options.threads}", f"objective.part_whole_reduction={reduction}",
        f"data.validation_limit={MOST_HELD_OUT[kind]}",
    ]  # fmt: skip
    overrides += [f"trainer.steps={options.steps}"] if options.steps else []
    resolved = resolve_run(
        registry.default(),
        "adam-v2",
        preset=preset,
        domain="medical3d",
        overrides=overrides,
        settings={"dataset.name": reader, "dataset.path": str(options.data / path)},
    )
    parts = assemble(resolved, LogReporter())
    before = figures(parts, copy.deepcopy(parts.encoder), kind, seed)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = start_run(registry.default(), parts, LogReporter(), root=Path(folder), name="run", device="cpu")
        lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    seconds = time.perf_counter() - started
    held_out = [line for line in lines if line.get("split") == "validation"]
    after = figures(parts, parts.objective.encoder_for_export(), kind, seed)  # type: ignore[operator]
    return {
        "kind": kind, "reduction": reduction, "seed": seed, "steps": result.steps, "seconds": round(seconds, 1),
        **losses(held_out, parts), "trained": after, "random-init": before,
    }  # fmt: skip


def losses(held_out: list[dict[str, Any]], parts: RunParts) -> dict[str, Any]:
    """First and last losses on held-out images, their fall, and what tells a collapse."""
    first, last = held_out[0], held_out[-1]
    largest = math.log(parts.resolved.objective.config.prototypes)
    return {
        **{f"{name} falls by": round(1 - last[name] / first[name], 3) for name in LOSSES},
        **{name: [round(first[name], 4), round(last[name], 4)] for name in LOSSES},
        "localizability": [round(first["localizability"], 3), round(last["localizability"], 3)],
        "localizability of its largest": round(last["localizability"] / largest, 3),
        "spread kept": round(last["teacher_spread"] / first["teacher_spread"], 3),
    }


def figures(parts: RunParts, encoder: Any, kind: str, seed: int) -> dict[str, float]:
    """Properties on held-out images."""
    rows = parts.validation[: MOST_HELD_OUT[kind]]
    images = stacked_images([parts.preprocessor.prepare(parts.reader[int(row)])[0].values for row in rows])
    found: dict[str, float] = {}
    for name in JUDGED[kind]:
        values = PROPERTIES[name.partition("@")[0]](encoder, images, PropertiesConfig(), seed)
        found |= {f"{name}: {key}": round(value, 4) for key, value in values.items()}
    return found


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds by kind and reduction, and the gate."""
    table: dict[str, Any] = {}
    for kind, reduction in dict.fromkeys((run["kind"], run["reduction"]) for run in runs):
        chosen = [run for run in runs if (run["kind"], run["reduction"]) == (kind, reduction)]
        rises = [run["trained"][CENTRED] - run["random-init"][CENTRED] for run in chosen]
        table[f"{kind}, {reduction}"] = {
            "seeds": len(chosen),
            **{f"{name} falls by": _mean(run[f"{name} falls by"] for run in chosen) for name in LOSSES},
            "centred cosine": _mean(run["trained"][CENTRED] for run in chosen),
            "centred cosine rises by": _mean(rises),
            "least rise": round(min(rises), 4),
            "mismatched": _mean(run["trained"][MISMATCHED] for run in chosen),
            "passes the gate": [_passes(run, rise) for run, rise in zip(chosen, rises, strict=True)],
        }
    pair = [table.get(f"films, {reduction}") for reduction in ("sum", "mean")]
    if all(pair):
        table["sum at least as good as mean"] = pair[0]["centred cosine"] >= pair[1]["centred cosine"]  # type: ignore[index]
    return table


def _passes(run: dict[str, Any], rise: float) -> bool:
    if run["kind"] == "volumes":  # the card's gate in three dimensions
        return min(run[f"{name} falls by"] for name in LOSSES) >= 0.3 and rise > 0
    return (
        run["composability falls by"] >= 0.7
        and run["decomposability falls by"] >= 0.4
        and rise >= 0.1
        and abs(run["trained"][MISMATCHED]) < 0.05
        and run["spread kept"] > 0.3
        and run["localizability of its largest"] <= 0.95
    )


def _mean(values: Any) -> float:
    return round(statistics.mean(values), 4)


if __name__ == "__main__":
    main()
