"""One optimiser step: the bridge between an :class:`repcore.interfaces.Objective` and Lightning.

Differences from ordinary Lightning modules: optimisation is manual, so that the micro-batches of one step are seen
together and a mean over a varying number of items (masked tokens) is exact under accumulation and data parallelism;
every source of randomness is reseeded for each micro-batch from (seed, its number among those of all devices), so that
a run can go on from any step, and several devices draw what one draws that accumulates as many micro-batches; values
are written by our own metrics writer, because ``self.log`` costs milliseconds.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from repcore.config import OptimiserConfig, ScheduleConfig
from repcore.data.batching import LoadedBatch, Rejected
from repcore.data.seeds import mix
from repcore.interfaces import Batch, Draws, LossTerms, Objective, Progress
from repcore.training.objective_rules import after_step, before_step
from repcore.training.optimisers import DecayRule, build_optimiser, set_rates
from repcore.training.running_statistics import RunningStatistics
from repcore.training.sharding import gathered, joined

ProgressAt = Callable[[int], Progress]
OnNonfinite = Callable[[int, str, Batch, Draws], Exception]
OVERFLOWS_IN_A_ROW = 30  # the scale has then fallen by a factor of a thousand million
PLAIN = ("lr", "items", "skipped", "waited")  # fields of a record that are plain values
CUDA_CHECK_EVERY = 20  # steps; looking at a value on a GPU waits for it


class StepRecord:
    """What one optimiser step left behind; tensors stay on the device until someone reads them."""

    __slots__ = (
        "counts",
        "grad_norm",
        "items",
        "lr",
        "metrics",
        "progress",
        "rejected",
        "skipped",
        "terms",
        "total",
        "waited",
    )

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.terms: dict[str, Tensor] = {}
        self.metrics: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}
        self.total: Tensor | None = None
        self.grad_norm: Tensor | None = None
        self.lr = 0.0
        self.items = 0
        self.skipped = False  # a gradient overflowed under 16-mixed
        self.waited = 0.0
        self.rejected: list[Rejected] = []

    def plain(self, mean: Callable[[dict[str, float]], dict[str, float]]) -> dict[str, Any]:
        """What a line of metrics needs of it, as plain values.

        Args:
            mean: means over the processes of a run, of values by name.
        """
        values = {name: float(torch.as_tensor(one)) for name, one in self._values().items() if one is not None}
        kept = {name: getattr(self, name) for name in PLAIN}
        return {**kept, "steps_per_epoch": self.progress.steps_per_epoch, "values": mean(values)}

    def _values(self) -> dict[str, Any]:
        named = {f"terms.{name}": value for name, value in self.terms.items()}
        named.update({f"metrics.{name}": value for name, value in self.metrics.items()})
        return {**named, "total": self.total, "grad_norm": self.grad_norm}

    @classmethod
    def of_plain(cls, saved: Mapping[str, Any]) -> StepRecord:
        """A record of a step before the checkpoint that a run goes on from."""
        record = cls(Progress(0, 0, steps_per_epoch=int(saved["steps_per_epoch"])))
        for name in PLAIN:
            setattr(record, name, saved[name])
        for name, value in saved["values"].items():
            group, _, key = name.partition(".")
            number = torch.tensor(value, dtype=torch.float64)
            if key:
                getattr(record, group)[key] = number
            else:
                setattr(record, name, number)
        return record


class ObjectiveModule(pl.LightningModule):
    """Calls an objective once an optimiser step.

    Args:
        objective: the loss around its encoder.
        optimiser / schedule: settings.
        decay_rule: which parameters get weight decay.
        accumulate: micro-batches of one step.
        seed: run seed.
        progress_at: step -> :class:`Progress`.
        on_nonfinite: makes the error to raise when loss or gradient is NaN or Inf, from (step, reason, batch, draws).
    """

    def __init__(
        self,
        objective: nn.Module,
        *,
        optimiser: OptimiserConfig,
        schedule: ScheduleConfig,
        decay_rule: DecayRule,
        accumulate: int,
        seed: int,
        progress_at: ProgressAt,
        on_nonfinite: OnNonfinite,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.objective = objective
        self.optimiser_config, self.schedule_config = optimiser, schedule
        self.decay_rule, self.accumulate, self.seed, self.progress_at = decay_rule, accumulate, seed, progress_at
        self.on_nonfinite = on_nonfinite
        self.last: StepRecord | None = None
        self.is_stop_asked: Callable[[], bool] = lambda: False  # alike in all processes
        self.left = False  # in the middle of a step
        self.overflows = 0  # steps skipped in a row
        self._pending: list[LoadedBatch] = []
        self._waited = 0.0
        self._left_at = time.perf_counter()

    @property
    def rules(self) -> Objective:
        """The objective as the contract sees it."""
        return cast(Objective, self.objective)

    def configure_model(self) -> None:
        """Share the parameters out where the strategy does that."""
        share = getattr(self.trainer.strategy, "share", None)
        if share is not None:
            share(self.objective)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        scale = getattr(self.objective, "lr_scale", None)
        return build_optimiser(self.objective.named_parameters(), self.optimiser_config, self.decay_rule, scale)

    def transfer_batch_to_device(self, batch: LoadedBatch, device: torch.device, dataloader_idx: int) -> LoadedBatch:
        return LoadedBatch(batch.batch.to(device, non_blocking=True), batch.rejected)

    def training_step(self, loaded: LoadedBatch, batch_idx: int) -> None:
        """Collect micro-batches; with the last one of a step, make the step. A request to stop is obeyed between them:
        the step is given up, and everything is as after the one before."""
        self._waited += time.perf_counter() - self._left_at
        self._pending.append(loaded)
        if self.accumulate > 1 and self.trainer.world_size == 1 and self.is_stop_asked():
            self.left, self._pending = True, []
        elif len(self._pending) == self.accumulate:
            pending, self._pending = self._pending, []
            self._step(pending)
        self.restart_clock()

    def restart_clock(self) -> None:
        """Waiting for data is counted from here on (validation and checkpoints are not waiting)."""
        self._left_at = time.perf_counter()

    def _step(self, pending: list[LoadedBatch]) -> None:
        step = self.global_step
        record = StepRecord(self.progress_at(step))
        optimiser = self.optimizers()
        assert isinstance(optimiser, pl.core.optimizer.LightningOptimizer)
        optimiser.zero_grad(set_to_none=True)
        rules = self.rules
        before = [(one, one.detach().clone()) for one in self.objective.buffers()] if len(pending) > 1 else []
        several = self.trainer.world_size > 1
        statistics = RunningStatistics(self.objective) if several else None
        numbers = [self._number(step, place) for place in range(len(pending))]
        drawn = [self._draw(one.batch, n, record.progress) for n, one in zip(numbers, pending, strict=True)]
        shares = self._shares([one.batch for one in pending], drawn)
        carried = []
        for number, (loaded, draws) in enumerate(zip(pending, drawn, strict=True)):
            if number and self.is_stop_asked():
                self._give_up(optimiser, before)
                return
            self._seed_everything(numbers[number])
            last = number == len(pending) - 1
            if statistics is not None:
                statistics.note()
            with self._sync(last=last):
                terms = rules(loaded.batch, draws)
                loss = self._scaled_loss(terms, shares, number)
                if last and number and several:
                    loss = _with_earlier(loss, self.objective)
                self.manual_backward(loss)
            if statistics is not None:
                statistics.join(self.trainer.world_size)
            carried.append(terms.carry)
            _collect(record, loaded, terms, shares, number)
        before_step(self.objective, record.progress)
        record.grad_norm = self._unscaled_and_clipped(optimiser.optimizer)
        if self._scaler is not None:
            self._note_overflow(record, pending[-1].batch, drawn[-1])
        elif self.device.type != "cuda" or step % CUDA_CHECK_EVERY == 0:
            self._check_finite(record, pending[-1].batch, drawn[-1])
        record.lr = set_rates(
            optimiser.optimizer, step, record.progress.total_steps, self.optimiser_config, self.schedule_config
        )
        optimiser.step()  # the scaler of 16-mixed leaves the parameters alone when a gradient has overflowed
        if not record.skipped:
            after_step(self.objective, record.progress, self._carried_everywhere(carried))
            self._share_buffers()
        record.waited, self._waited = self._waited, 0.0
        self.last = record

    @torch.no_grad()
    def _give_up(self, optimiser: Any, before: list[tuple[Tensor, Tensor]]) -> None:  # optimiser: of Lightning
        """As after the step before: gradients go, running statistics that micro-batches have moved are put back."""
        optimiser.zero_grad(set_to_none=True)
        for buffer, value in before:
            buffer.copy_(value)
        self.left = True

    def _number(self, step: int, place: int) -> int:
        """Number of a micro-batch of this device among those of all devices, as the stream deals them out."""
        return (step * self.accumulate + place) * self.trainer.world_size + self.global_rank

    def _draw(self, batch: Batch, number: int, progress: Progress) -> Draws:
        generator = torch.Generator(device=self.device)
        generator.manual_seed(mix(self.seed, "draw", number, 0))
        gathered(self.objective)
        with torch.no_grad():
            return self.rules.draw(batch, generator, progress)

    def _seed_everything(self, number: int) -> None:
        """Dropout and drop path use the global generators; nothing else may."""
        seed = mix(self.seed, "dropout", number, 0)
        torch.manual_seed(seed)
        np.random.seed(seed % (1 << 32))  # noqa: NPY002  third-party layers may draw from it

    def _shares(self, batches: list[Batch], drawn: list[Draws]) -> list[Mapping[str, Tensor | float]] | None:
        """Weight of each micro-batch's mean, by term ("" for terms not named); None when there is only one."""
        world = self.trainer.world_size
        if len(batches) == 1 and world == 1:
            return None
        counter = getattr(self.objective, "counts", None)
        rows: list[dict[str, Tensor]] = []
        for batch, draws in zip(batches, drawn, strict=True):
            named = {} if counter is None else counter(batch, draws)
            counted = {"": batch.size, **named}
            rows.append({key: torch.as_tensor(value, device=self.device).float() for key, value in counted.items()})
        shares: list[Mapping[str, Tensor | float]] = []
        totals = {key: torch.stack([row[key] for row in rows]).sum() for key in rows[0]}
        if world > 1:
            totals = {key: self._sum_over_devices(value) for key, value in totals.items()}
        for row in rows:
            # data parallelism averages gradients over devices: undo that with the factor world
            shares.append({key: world * row[key] / totals[key].clamp(min=1e-12) for key in row})
        return shares

    def _carried_everywhere(self, carried: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """What the micro-batches of all processes carry, in the order of the stream: queues are filled alike
        everywhere, and as one process fills them."""
        if self.trainer.world_size == 1 or not hasattr(self.objective, "after_step"):
            return carried
        found: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(found, tree_map_only(Tensor, lambda one: one.detach().cpu(), carried))
        moved: list[Mapping[str, Any]] = tree_map_only(
            Tensor, lambda one: one.to(self.device), [each for place in zip(*found, strict=True) for each in place]
        )
        return moved

    @torch.no_grad()
    def _share_buffers(self) -> None:
        """Buffers are those of rank 0 in every process, as the checkpoint has them."""
        if self.trainer.world_size == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for one in self.objective.buffers():
            by_type.setdefault(one.dtype, []).append(one)
        for same in by_type.values():
            flat = torch.cat([one.detach().reshape(-1) for one in same])
            torch.distributed.broadcast(flat, 0)
            for one, value in zip(same, flat.split([one.numel() for one in same]), strict=True):
                one.copy_(value.view_as(one))

    def _sum_over_devices(self, value: Tensor) -> Tensor:
        gathered = self.trainer.strategy.reduce(value.to(self.device), reduce_op="sum")
        return torch.as_tensor(gathered)

    def _scaled_loss(self, terms: LossTerms, shares: list[Mapping[str, Tensor | float]] | None, number: int) -> Tensor:
        if shares is None:
            return terms.total
        share = shares[number]
        parts: list[Tensor] = [
            value * (terms.weights[name] * share.get(name, share[""]))
            for name, value in terms.terms.items()
            if terms.weights[name] != 0.0
        ]
        return torch.stack(parts).sum()

    def _sync(self, *, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Exchange gradients between devices only with the last micro-batch."""
        pause = getattr(getattr(self.trainer.strategy, "model", None), "no_sync", None)
        return contextlib.nullcontext() if last or pause is None else pause()

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """The loss scaler of ``16-mixed``; None for other number formats."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def _unscaled_and_clipped(self, optimiser: torch.optim.Optimizer) -> Tensor:
        """Norm of the true gradient before clipping; a scaled one would be clipped at a thousandth of the limit."""
        scaler = self._scaler
        if scaler is not None:
            scaler.unscale_(optimiser)
        parameters = [p for p in self.objective.parameters() if p.grad is not None]
        limit = self.optimiser_config.clip_norm
        return joined(nn.utils.clip_grad_norm_(parameters, float("inf") if limit is None else limit))

    def _note_overflow(self, record: StepRecord, batch: Batch, draws: Draws) -> None:
        """A gradient beyond half precision skips the step and lowers the scale; only many in a row are a fault."""
        record.skipped = not _finite(record.grad_norm)
        self.overflows = self.overflows + 1 if record.skipped else 0
        if self.overflows > OVERFLOWS_IN_A_ROW:
            self._check_finite(record, batch, draws)

    def _check_finite(self, record: StepRecord, batch: Batch, draws: Draws) -> None:
        """Before the optimiser moves anything: a bad step leaves the weights as they were."""
        if math.isfinite(float(torch.as_tensor(record.grad_norm))):
            return
        values = {**record.terms, "gradient norm": record.grad_norm}
        bad = [f"{name} is {float(torch.as_tensor(value))}" for name, value in values.items() if not _finite(value)]
        raise self.on_nonfinite(record.progress.step, ", ".join(bad), batch, draws)

    @torch.no_grad()
    def evaluate(self, batches: Any) -> dict[str, float]:
        """Exact means of terms and metrics over validation batches, in eval mode with fixed draws.

        A term that counted nothing in any batch (no symbol was masked) has no mean; where that is so for all of them,
        nothing was measured, and there is no ``loss`` either.

        Args:
            batches: of :class:`repcore.training.loaders.HeldBatches`.
        """
        was_training = self.objective.training
        self.objective.eval()
        cpu_state = torch.get_rng_state()
        sums: dict[str, float] = {}
        weights: dict[str, float] = {}
        factors: dict[str, float] = {}
        try:
            for number, loaded in zip(batches.numbers, batches, strict=True):
                batch = loaded.batch.to(self.device)
                generator = torch.Generator(device=self.device)
                generator.manual_seed(mix(self.seed, "validation-draw", number))
                progress = self.progress_at(self.global_step)
                with self.trainer.precision_plugin.forward_context():
                    terms = self.rules(batch, self.rules.draw(batch, generator, progress))
                factors.update({name: float(value) for name, value in terms.weights.items()})
                _add_means(sums, weights, terms, batch.size)
        finally:
            torch.set_rng_state(cpu_state)
            self.objective.train(was_training)
        if self.trainer.world_size > 1:
            names = sorted(sums)
            table = torch.tensor([[sums[name], weights[name]] for name in names], dtype=torch.float64)
            table = self._sum_over_devices(table).cpu()
            sums = {name: float(table[row, 0]) for row, name in enumerate(names)}
            weights = {name: float(table[row, 1]) for row, name in enumerate(names)}
        means = {name: sums[name] / weights[name] for name in sums if weights[name] > 0}
        measured = [factor * means[name] for name, factor in factors.items() if name in means]
        return {"loss": sum(measured), **means} if measured else {}


class _WithEarlier(torch.autograd.Function):
    """A loss that also depends on parameters, by a gradient of nothing."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.count = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (grads[0], *(None for _ in range(ctx.count)))


def _with_earlier(loss: Tensor, objective: nn.Module) -> Tensor:
    """The loss of the last micro-batch, with which gradients are exchanged: those of earlier micro-batches, too, where
    this one does not use the parameter."""
    reached = [one for one in objective.parameters() if one.grad is not None]
    found: Tensor = _WithEarlier.apply(loss, *reached)
    return found


def _finite(value: Any) -> bool:
    return math.isfinite(float(torch.as_tensor(value)))


def _collect(
    record: StepRecord,
    loaded: LoadedBatch,
    terms: LossTerms,
    shares: list[Mapping[str, Tensor | float]] | None,
    number: int,
) -> None:
    """Add one micro-batch's values to the record of its step, weighted as in the loss."""
    share: Mapping[str, Tensor | float] = {"": 1.0} if shares is None else shares[number]

    def weighted(name: str, value: Any) -> Tensor:
        return torch.as_tensor(value).detach() * share.get(name, share[""])

    for name, value in terms.terms.items():
        record.terms[name] = (
            record.terms[name] + weighted(name, value) if name in record.terms else weighted(name, value)
        )
    for name, value in terms.metrics.items():
        first = next(iter(terms.counts), "")
        part = torch.as_tensor(value).detach() * share.get(first, share[""])
        record.metrics[name] = record.metrics[name] + part if name in record.metrics else part
    total = sum((terms.weights[name] * weighted(name, value) for name, value in terms.terms.items()), torch.zeros(()))
    record.total = total if record.total is None else record.total + total
    record.items += loaded.batch.size
    record.rejected.extend(loaded.rejected)


def _add_means(sums: dict[str, float], weights: dict[str, float], terms: LossTerms, size: int) -> None:
    """Sums and item counts of one batch, from which exact means over all batches follow."""
    counts = {name: float(terms.counts.get(name, size)) for name in terms.terms}
    first = next(iter(counts.values()), float(size))
    values = [(name, value, counts[name]) for name, value in terms.terms.items()]
    values += [(name, value, first) for name, value in terms.metrics.items()]
    for name, value, count in values:
        sums[name] = sums.get(name, 0.0) + (float(value) * count if count > 0 else 0.0)
        weights[name] = weights.get(name, 0.0) + count
