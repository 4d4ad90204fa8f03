"""Every method under data parallelism, beside one process that gathers the same micro-batches; run as a script.

Two processes take one micro-batch a step each, one process takes both: the same draws, so weights and state must come
out the same. ``uneven`` uses its parameters in some micro-batches only, of four a step. Writes ``METHOD.RANK.pt`` for
each process of ddp, ``METHOD.shared.pt`` for both of fsdp, and ``METHOD.one.pt`` into the folder that is named.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from repcore import registry
from repcore.config import OptimiserConfig, ScheduleConfig, TrainerConfig
from repcore.data.batching import LoadedBatch
from repcore.embedding.columns import tell
from repcore.evaluation.tasks.configs import ClassificationConfig
from repcore.evaluation.tasks.item import ClassificationTask
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress, Tokens
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.methods import WithMethod
from repcore.training.module import ObjectiveModule
from repcore.training.optimisers import matrices_decay
from repcore.training.sharding import whole_state
from repcore.training.trainers import quieten_lightning
from repcore.training.trainers import strategy as chosen

NAN = float("nan")
KIND = TargetSpec("kind", "class", names=("a", "b", "c"))
SITE = TargetSpec("site", "class", names=("x", "y", "z"))
SETTINGS: dict[str, dict[str, Any]] = {
    "core-tuning": {},
    "hydra": {"embedding": 8, "gate_hidden": 8},
    "metrix": {},
    "class-gaussian-contrast": {},
    "shrinkmatch": {"strong": "features", "threshold": 0.4},
    "stationary": {"slots": 8, "classes": KIND.names},
    "sherl": {},
    "experts": {"domain": "site", "domains": SITE.names},
}
SHARED = [name for name in SETTINGS if name not in ("experts", "sherl")]
"""Compared under fsdp, too: experts has a parameter that is a single number, and the scores of sherl begin with
gradients of 1e-8, which Adam makes steps of, rounding included."""
STEPS = 3
# in the order of steps and processes: uneven numbers of labels, one class alone, none, sites that a process lacks
LABELS = [[0, 1, 2, 0, 1], [2, NAN, 0, NAN, 2], [1, 1, 1, 1, 1], [NAN] * 5, [0, 0, 1, 1, 2], [NAN, 2, NAN, NAN, NAN]]
SITES = [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [NAN] * 5, [0, 0, 0, 0, 1], [1, 0, 1, 1, 1]]


class Layered(nn.Module):
    """Two residual blocks over (B, 3, 4) numbers, with what any of the methods asks an encoder for."""

    depth, dim = 2, 6

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Tanh()) for _ in range(2))

    def feed_forward_blocks(self) -> dict[str, nn.Module]:
        return {f"blocks.{number}": block for number, block in enumerate(self.blocks)}

    def token_width(self, level: str = "tokens") -> int:
        return self.dim

    def forward(self, batch: Batch, layers: tuple[int, ...] = (), until: int | None = None) -> Features:
        return self.run_from(0, Tokens(self.first(batch.inputs)), batch, layers, until)

    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: tuple[int, ...] = (), until: int | None = None
    ) -> Features:
        states = {layer: hidden.values}
        for number in range(layer, self.depth if until is None else until):
            states[number + 1] = states[number] + self.blocks[number](states[number])
        last = states[max(states)]
        return Features(last.mean(1), {"tokens": Tokens(last)}, {one: Tokens(states[one]) for one in layers})


class SameDraws(WithMethod):
    """Draws of a micro-batch that follow from it alone, whichever process has it."""

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        own = torch.Generator().manual_seed(int(batch.inputs.abs().sum() * 1e4))
        return super().draw(batch, own, progress)


class Uneven(nn.Module):
    """Mean squares of parameters, each in some of the four micro-batches of a step: a b in the first two (of two
    processes), c in the second, d in the last, e in none, f in all."""

    USED = {"a": (0, 1), "b": (0, 1), "c": (1,), "d": (3,), "e": (), "f": (0, 1, 2, 3)}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.ParameterDict({name: nn.Parameter(torch.arange(1.0, 5.0).reshape(2, 2)) for name in self.USED})

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        return {}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        used = [self.one[name].square().mean() for name, batches in self.USED.items() if batch.inputs in batches]
        return LossTerms.of({"square": torch.stack(used).sum()})


def objective(method: str) -> WithMethod:
    torch.manual_seed(0)
    entry = registry.default().objective(f"generic/{method}")
    config = entry.load("config")(**SETTINGS[method])
    encoder: nn.Module = Layered()
    if entry.spec.encoder_change:
        encoder = entry.load("encoder_change")(config, encoder)
    tell(encoder, [SITE])
    task = ClassificationTask(ClassificationConfig(dropout=0.0), encoder, KIND)
    return SameDraws(task, KIND, FinetuneConfig(), entry.load()(config, encoder, task)).train()


def micro_batches() -> list[LoadedBatch]:
    generator = torch.Generator().manual_seed(1)
    return [
        LoadedBatch(
            Batch(torch.randn(len(labels), 3, 4, generator=generator), len(labels),
                  targets={"kind": torch.tensor(labels), "site": torch.tensor(sites)})
        )
        for labels, sites in zip(LABELS, SITES, strict=True)
    ]  # fmt: skip


def numbered() -> list[LoadedBatch]:
    return [LoadedBatch(Batch(number % 4, 1)) for number in range(4 * STEPS)]


def failed(step: int, reason: str, batch: Batch, draws: Draws) -> Exception:
    return ArithmeticError(f"step {step}: {reason}")


def trained(method: str, world: int, rank: int, folder: Path, shared_out: bool = False) -> dict[str, Tensor]:
    """Weights and state after all steps, of a process; whole ones of shared parameters, in the first process only."""
    uneven = method == "uneven"
    one: nn.Module = Uneven() if uneven else objective(method)
    batches, count = (numbered(), 4) if uneven else (micro_batches(), 2)
    settings = TrainerConfig(devices=world, strategy="fsdp" if shared_out else "ddp")
    module = ObjectiveModule(
        one, optimiser=OptimiserConfig(lr=0.05), schedule=ScheduleConfig(name="constant"), decay_rule=matrices_decay,
        accumulate=count // world, seed=0, progress_at=lambda step: Progress(step, STEPS), on_nonfinite=failed,
    )  # fmt: skip
    trainer = pl.Trainer(
        accelerator="cpu", devices=world, strategy=chosen(settings, lambda: None), max_steps=STEPS, max_epochs=-1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, limit_val_batches=0, default_root_dir=str(folder),
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(batches[rank::world], batch_size=None))
    shared = whole_state(one)
    if shared_out:  # two blocks, and the rest
        assert sum(isinstance(part, FSDPModule) for part in one.modules()) >= 3
    return {name: value.detach().clone() for name, value in (one.state_dict() if shared is None else shared).items()}


def work(folder: Path, world: int, rank: int) -> None:
    torch.set_num_threads(1)
    quieten_lightning()
    warnings.filterwarnings("ignore")
    os.environ.update(NODE_RANK="0", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    for method in (*SETTINGS, "uneven"):
        torch.save(trained(method, world, rank, folder), folder / f"{method}.{rank if world > 1 else 'one'}.pt")
    for method in SHARED if world > 1 else ():
        state = trained(method, world, rank, folder, True)
        if rank == 0:
            torch.save(state, folder / f"{method}.shared.pt")


def main(folder: Path, port: str) -> int:
    os.environ["MASTER_PORT"] = port
    registry.default()
    fork = multiprocessing.get_context("fork")  # one import for both: nothing has used a thread yet
    both = [fork.Process(target=work, args=(folder, 2, rank)) for rank in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    if any(one.exitcode for one in both):
        return 1
    work(folder, 1, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
