"""Peak memory of training SELFormer of the published size: all of it, or beside it (`--method sherl`).

12 layers of 768, 16 items of 128 tokens, AdamW, float32, random weights and ids (memory does not depend on either);
two steps in a process of its own for each arm. `peak` is the largest resident size less that after imports: weights,
gradients, optimiser state and what the backward pass needs. `saved` is what autograd keeps for the backward pass alone.

    python benchmarks/sherl_memory.py [--layers 12] [--width 768] [--items 16] [--tokens 128]

One core, CPU; writes results/sherl_memory.json. The card's bound is 40 % of full tuning.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from measuring import facts, write_result
from repcore_generic.configs.sherl import SherlConfig
from repcore_generic.encoders.sherl import side_tuned
from repcore_generic.objectives.sherl import Sherl
from torch import Tensor, nn

from repcore.evaluation.tasks.configs import RegressionConfig
from repcore.evaluation.tasks.item import RegressionTask
from repcore.interfaces import Batch, Progress
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.methods import WithMethod
from repcore.training.supervised import Supervised
from repcore_molecules.configs.selformer import SelformerConfig
from repcore_molecules.encoders.selformer import Selformer

ARMS = ("full", "sherl", "last-layer")
TARGET = TargetSpec("v", "regression")
MIB, STEPS = 2**20, 2


def resident() -> float:
    """Largest resident size so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def objective(arm: str, layers: int, width: int) -> nn.Module:
    """The task under one way to train it."""
    torch.manual_seed(0)
    config = SelformerConfig(
        layers=layers, hidden_width=width, feed_forward_width=4 * width, attention_heads=12, vocabulary_size=800,
        pooling="mean",
    )  # fmt: skip
    encoder: nn.Module = Selformer(config)
    if arm == "sherl":
        encoder = side_tuned(SherlConfig(), encoder)
        task = RegressionTask(RegressionConfig(), encoder, TARGET)
        return WithMethod(task, TARGET, FinetuneConfig(), Sherl(SherlConfig(), encoder, task)).train()
    if arm == "last-layer":
        encoder.requires_grad_(False)
        encoder.layers[-1].requires_grad_(True)  # type: ignore[index]
    return Supervised(RegressionTask(RegressionConfig(), encoder, TARGET), "v").train()


def measured(arm: str, layers: int, width: int, items: int, tokens: int) -> dict[str, Any]:
    """Figures of one arm, in this process."""
    before = resident()
    one = objective(arm, layers, width)
    ids = torch.randint(5, 800, (items, tokens), generator=torch.Generator().manual_seed(0))
    batch = Batch({"input_ids": ids}, items, targets={"v": torch.randn(items)})
    optimiser = torch.optim.AdamW([value for value in one.parameters() if value.requires_grad], lr=1e-4)
    own = {value.untyped_storage().data_ptr() for value in one.state_dict().values()}
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    started = time.process_time()
    for step in range(STEPS):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            terms = one(batch, one.draw(batch, torch.Generator(), Progress(step, STEPS)))  # type: ignore[operator]
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
    return {
        "arm": arm,
        "peak_mib": round(resident() - before, 1),
        "saved_mib": round(sum(kept.values()) / MIB, 1),
        "trainable": sum(value.numel() for value in one.parameters() if value.requires_grad),
        "seconds_a_step": round((time.process_time() - started) / STEPS, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("layers", 12), ("width", 768), ("items", 16), ("tokens", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--arm", choices=ARMS, help="this one alone, in this process")
    given = parser.parse_args()
    sizes = [given.layers, given.width, given.items, given.tokens]
    torch.set_num_threads(1)
    if given.arm:
        print(json.dumps(measured(given.arm, *sizes)))
        return
    rows = []
    for arm in ARMS:
        words = [f"--{name}={value}" for name, value in zip(("layers", "width", "items", "tokens"), sizes, strict=True)]
        done = subprocess.run([sys.executable, __file__, f"--arm={arm}", *words], capture_output=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1])
    full = rows[0]
    shares = {
        one["arm"]: {key: round(one[key] / full[key], 3) for key in ("peak_mib", "saved_mib", "trainable")}
        for one in rows[1:]
    }
    named = dict(zip(("layers", "width", "items", "tokens"), sizes, strict=True))
    record = {**facts(("torch", "repcore")), "sizes": named, "arms": rows, "share_of_full": shares}
    write_result("sherl_memory", record)


if __name__ == "__main__":
    main()
