"""2D Matryoshka at half the layers and an eighth of the numbers: how much faster, and better than cutting a model?

Protocol. Speed: SELFormer of 8 layers of width 256 with the weights it starts from (they do not change the time), 512
molecules of the NCI set that are prepared once and embedded in batches of 64, as `repcore embed` does and as `repcore
embed --layer 4 --dim 32` does, in turn; medians. Beside it stands the time with preparing (reading and writing
SELFIES), which no layer saves. Quality: the molecules of benchmarks/generic_objectives.py, R2 of logP on the held-out
part, of an encoder trained with matryoshka-2d and of one trained with simclr alone, both cut at half the layers and
an eighth of the width; three seeds of split, weights and draws. Cells that its log holds are taken from there, others
are made.

    python benchmarks/matryoshka.py [--keep FOLDER] [--seeds 3] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import generic_objectives
import torch
from measuring import facts, write_result

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.embedding.inference import InferenceOptions, embed_prepared, windows_of
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble

LAYERS, WIDTH, MOLECULES = 8, 256, 512
NEEDED = 1.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, default=Path("generic_objectives"), help="folder of models and vectors")
    parser.add_argument("--seeds", type=int, default=3, help="0 = speed only")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    record: dict[str, Any] = facts(("repcore", "repcore-generic", "repcore-molecules", "torch"))
    record["speed"] = speed(options.repeats)
    if options.seeds:
        record["quality"] = quality(options.keep, options.seeds)
    print(write_result("matryoshka", record).read_text(encoding="utf-8"))


def speed(repeats: int) -> dict[str, Any]:
    """Milliseconds a molecule, whole and cut."""
    settings = (f"data.limit={MOLECULES}", f"encoder.layers={LAYERS}", f"encoder.hidden_width={WIDTH}",
                f"encoder.feed_forward_width={4 * WIDTH}", "objective=generic/vicreg")  # fmt: skip
    parts = assemble(resolve_run(registry.default(), "molecules/selformer", overrides=settings), LogReporter())
    encoder = parts.encoder.eval()
    plain, cut = InferenceOptions(), InferenceOptions(layer=LAYERS // 2, dim=WIDTH // 8)
    started = time.perf_counter()
    windows = list(windows_of(parts.preprocessor, parts.reader, plain, range(MOLECULES)))
    preparing = time.perf_counter() - started
    seconds: dict[str, list[float]] = {"whole": [], "cut": []}
    for repeat in range(repeats + 1):
        for name, options in (("whole", plain), ("cut", cut)):
            started = time.perf_counter()
            for window in windows:
                embed_prepared(encoder, parts.preprocessor, window, options, ("mean",), "molecules")
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    whole, short = (statistics.median(seconds[name]) for name in ("whole", "cut"))
    return {
        "layers": f"{LAYERS // 2} of {LAYERS}", "numbers": f"{WIDTH // 8} of {WIDTH}",
        "whole_ms": round(1000 * whole / MOLECULES, 3), "cut_ms": round(1000 * short / MOLECULES, 3),
        "preparing_ms": round(1000 * preparing / MOLECULES, 3), "times_faster": round(whole / short, 2),
        "times_faster_with_preparing": round((whole + preparing) / (short + preparing), 2),
        "needed": NEEDED, "fast_enough": whole / short >= NEEDED,
    }  # fmt: skip


def quality(keep: Path, seeds: int) -> dict[str, Any]:
    """R2 of both models at the cut, seed by seed."""
    keep.mkdir(parents=True, exist_ok=True)
    known = {(one["domain"], one["objective"], one["seed"]): one
             for one in generic_objectives.lines(generic_objectives.LOG)}  # fmt: skip
    asked = generic_objectives.asked_for(keep)
    found: dict[str, list[dict[str, Any]]] = {}
    for objective in (generic_objectives.EARLY, "simclr"):
        found[objective] = [
            known.get(("molecules", objective, seed))
            or generic_objectives.one_cell(asked, "molecules", objective, seed)
            for seed in range(seeds)
        ]
    nested, ordinary = ([one["early"] for one in found[name]] for name in (generic_objectives.EARLY, "simclr"))
    return {
        "layer": found["simclr"][0]["early_layer"], "numbers": found["simclr"][0]["early_dim"],
        "matryoshka-2d cut": nested, "simclr cut": ordinary,
        "matryoshka-2d whole": [one["trained"] for one in found[generic_objectives.EARLY]],
        "simclr whole": [one["trained"] for one in found["simclr"]],
        "above_on": f"{sum(a > b for a, b in zip(nested, ordinary, strict=True))} of {seeds} seeds",
    }  # fmt: skip


if __name__ == "__main__":
    main()
