"""What a training step of `repcore train` costs beyond a loop written by hand, paired step by step.

Both use the same objective class, the same weights, batches, masks, learning rates and optimiser, and are checked to
end with bit-equal weights. The hand-written loop collates, draws, runs forward and backward, clips and steps, nothing
else. A step lasts from one draw to the next, so ours includes Lightning, metrics, progress and the stream of data; it
leaves out validation and checkpoints, which a user asks for. Segments of both alternate; what is reported is the median
over steps of the difference between the two times of one batch, on two clocks: wall time, and processor time of this
process, which other programs on the machine disturb less.

    python benchmarks/step_overhead.py [--data TABLE] [--steps 60] [--rounds 4] [--threads 1]

Aim: at most 3 % or 2 ms a step, whichever is larger.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import facts, spread, write_result

from repcore import registry
from repcore.config.resolve import ResolvedRun, resolve_run
from repcore.data.batching import TrainingCollator
from repcore.data.seeds import mix
from repcore.data.stream import EndlessBatches
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.optimisers import build_optimiser, lr_factor
from repcore.training.plan import stream_order
from repcore.training.run import decay_rule, start_run

LIMIT_SHARE, LIMIT_SECONDS = 0.03, 0.002
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
SKIPPED = 3  # first steps of a segment: allocations and caches


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    ours: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    by_hand: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    for number in range(arguments.rounds):
        resolved = settings(arguments, seed=number)
        order = (run_ours, run_by_hand) if number % 2 == 0 else (run_by_hand, run_ours)
        found = {one: one(resolved) for one in order}
        compare_weights(found[run_ours][1], found[run_by_hand][1])
        for clock in CLOCKS:
            ours[clock] += found[run_ours][0][clock][SKIPPED:]
            by_hand[clock] += found[run_by_hand][0][clock][SKIPPED:]
    record: dict[str, Any] = {
        **facts(("repcore", "torch", "lightning")),
        "threads": arguments.threads,
        "weights": "bit-equal",
    }
    for clock in CLOCKS:
        record[clock] = compare(clock, ours[clock], by_hand[clock])
    print(f"weights are bit-equal; written to {write_result('step_overhead', record, arguments.output)}")


def compare(clock: str, ours: list[float], by_hand: list[float]) -> dict[str, Any]:
    """Paired figures of one clock, printed."""
    differences = [one - other for one, other in zip(ours, by_hand, strict=True)]
    overhead, step = statistics.median(differences), statistics.median(by_hand)
    limit = max(LIMIT_SHARE * step, LIMIT_SECONDS)
    print(
        f"{clock}: by hand {1000 * step:.1f} ms a step; ours {1000 * overhead:+.2f} ms ({overhead / step:+.1%}), "
        f"median of {len(differences)} paired steps; limit {1000 * limit:.1f} ms"
    )
    return {
        "ours_seconds": spread(ours, 5),
        "by_hand_seconds": spread(by_hand, 5),
        "difference_seconds": spread(differences, 5),
        "difference_quartiles": [round(value, 5) for value in statistics.quantiles(differences, n=4)],
        "overhead_share": round(overhead / step, 4),
        "limit_seconds": round(limit, 5),
        "within_limit": overhead <= limit,
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="table of molecules (default: RDKit's NCI set)")
    parser.add_argument("--steps", type=int, default=60, help="steps of a segment (default 60)")
    parser.add_argument("--rounds", type=int, default=4, help="segments of each (default 4)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument(
        "--override", action="append", default=[], help="further settings, for example encoder.layers=1"
    )
    parser.add_argument("--output", type=Path, help="result file (default: results/step_overhead.json)")
    return parser.parse_args()


def settings(arguments: argparse.Namespace, seed: int) -> ResolvedRun:
    """The tiny preset as a user would run it, without validation inside the measured steps."""
    data: dict[str, Any] = {}
    if arguments.data is not None:
        data = {"dataset.name": "molecules/smiles-table", "dataset.path": str(arguments.data)}
    fixed = [
        f"trainer.steps={arguments.steps}",
        f"trainer.seed={seed}",
        f"trainer.validate_every={10 * arguments.steps}",
    ]
    return resolve_run(
        registry.default(), "selformer", domain="molecules", overrides=[*fixed, *arguments.override], settings=data
    )


def stamped(parts: RunParts) -> dict[str, list[float]]:
    """Let the objective note the time of each draw, the first thing a step does."""
    times: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    draw = parts.rules.draw

    def timed(*given: Any) -> Any:
        if parts.objective.training:  # validation draws, too
            for clock, now in CLOCKS.items():
                times[clock].append(now())
        return draw(*given)

    parts.objective.draw = timed  # type: ignore[assignment]
    return times


def run_ours(resolved: ResolvedRun) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """Seconds of each step under the trainer, and the final weights."""
    parts = assemble(resolved, LogReporter())
    times = stamped(parts)
    with tempfile.TemporaryDirectory() as folder:
        start_run(registry.default(), parts, LogReporter(), root=Path(folder), name="run", device="cpu")
    return gaps(times), parts.objective.state_dict()


def run_by_hand(resolved: ResolvedRun) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """The same with a plain loop."""
    parts = assemble(resolved, LogReporter())
    times = stamped(parts)
    objective: Any = parts.objective
    config, steps = resolved.trainer, resolved.trainer.steps or 0
    optimiser = build_optimiser(objective.named_parameters(), resolved.optimiser, decay_rule(resolved))
    batches = EndlessBatches(stream_order(parts), start=0, accumulate=1, total_steps=steps)
    items = parts.items(parts.train)
    collate = TrainingCollator(parts.preprocessor, parts.reader.targets, resolved.domain)
    parameters = list(objective.parameters())
    objective.train()
    for step, keys in zip(range(steps), batches, strict=False):
        batch = collate([items[key] for key in keys]).batch
        generator = torch.Generator().manual_seed(mix(config.seed, "draw", step, 0))
        loss = objective(batch, objective.draw(batch, generator, batches.progress(step))).total
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, resolved.optimiser.clip_norm or float("inf"))
        for group in optimiser.param_groups:
            group["lr"] = resolved.optimiser.lr * lr_factor(step, steps, resolved.schedule)
        optimiser.step()
    return gaps(times), objective.state_dict()


def gaps(times: dict[str, list[float]]) -> dict[str, list[float]]:
    """Seconds of each step by clock."""
    return {clock: [later - one for one, later in itertools.pairwise(stamps)] for clock, stamps in times.items()}


def compare_weights(ours: dict[str, torch.Tensor], by_hand: dict[str, torch.Tensor]) -> None:
    different = [name for name, value in by_hand.items() if not torch.equal(value, ours[name])]
    if different:
        raise SystemExit(f"weights differ: {', '.join(different[:4])}; the two loops do not do the same work")


if __name__ == "__main__":
    main()
