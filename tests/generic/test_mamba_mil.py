"""Aggregators of bags: against loops, in any company, on odd bags, and as whole models."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from repcore_generic.configs.mamba_mil import MambaMilConfig
from repcore_generic.encoders.bagged import Bagged, bagged
from repcore_generic.layers import bag_scan
from repcore_generic.layers.bag_pooling import BagPooling
from repcore_generic.layers.bag_scan import BagMixer, VisitOrder, stride_order
from repcore_generic.objectives.mamba_mil import MambaMil, has_weight_decay, shown_instances
from repcore_generic.objectives.survival import risk, survival_curve, survival_loss
from torch import Tensor, nn

import repcore
import repcore.training.finetune
from repcore.cli.main import run
from repcore.data.bags import PASS, Bags, BagVectors
from repcore.errors import ConfigError, ItemError
from repcore.evaluation.tasks.configs import ClassificationConfig, MultilabelConfig, RegressionConfig
from repcore.evaluation.tasks.item import ClassificationTask, MultilabelTask, RegressionTask
from repcore.files import read_parquet
from repcore.interfaces import Batch, Features, Item, Preprocessor, Progress, Sample, Tokens, Window
from repcore.reporting import LogReporter
from repcore.specs import TargetSpec
from repcore.training.bag_vectors import say_sizes
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.methods import WithMethod
from tests.generic.resuming import check_that_it_goes_on

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KIND = TargetSpec("kind", "class", names=("a", "b", "c"))
PROGRESS = Progress(step=0, total_steps=10)
NAN = float("nan")
AGGREGATES = ("mamba-mil", "attention", "max", "mean")


def small(**settings: Any) -> MambaMilConfig:
    return MambaMilConfig(**{"width": 8, "states": 3, "layers": 2, **settings})


def pooling(seed: int = 0, width: int = 4, **settings: Any) -> BagPooling:
    torch.manual_seed(seed)
    found = BagPooling(small(**settings), width).eval()
    with torch.no_grad():
        for one in found.parameters():  # away from the zeros and ones of the start
            one.add_(0.1 * torch.randn_like(one))
    return found


def bags_of(*sizes: int, width: int = 4, seed: int = 3) -> tuple[list[Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    bags = [torch.randn(size, width, generator=generator) for size in sizes]
    return bags, torch.cat(bags), torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


# ------------------------------------------------------------------------------------- the block


def scan_by_loops(direction: nn.Module, sequence: Tensor, states: int) -> Tensor:
    """One direction over one bag (n, C), in plain steps."""
    weight, bias = direction.conv1d.weight[:, 0], direction.conv1d.bias  # type: ignore[union-attr,index]
    rank = direction.dt_proj.in_features  # type: ignore[union-attr]
    state, out = torch.zeros(sequence.shape[1], states, dtype=sequence.dtype), []
    for step in range(len(sequence)):
        mixed = bias.clone()  # type: ignore[operator]
        for tap in range(4):
            if step - 3 + tap >= 0:
                mixed = mixed + weight[:, tap] * sequence[step - 3 + tap]  # type: ignore[index]
        mixed = F.silu(mixed)
        low, drive, readout = direction.x_proj(mixed).split([rank, states, states])  # type: ignore[operator]
        gap = F.softplus(direction.dt_proj(low))  # type: ignore[operator]
        state = torch.exp(-gap[:, None] * direction.A_log.exp()) * state + (gap * mixed)[:, None] * drive  # type: ignore[operator]
        out.append(state @ readout + direction.D * mixed)
    return torch.stack(out)


def mixer_by_loops(mixer: BagMixer, hidden: Tensor, order: list[int] | None) -> Tensor:
    x, gate = mixer.in_proj(hidden).chunk(2, dim=-1)
    total = scan_by_loops(mixer.directions[0], x, mixer.states)
    if order is not None:
        second = scan_by_loops(mixer.directions[1], x[order], mixer.states)
        back = torch.empty_like(second)
        back[order] = second
        total = total + back
    return mixer.out_proj(total * F.silu(gate))  # type: ignore[no-any-return]


@pytest.mark.parametrize("scan", ["mamba", "bimamba", "srmamba"])
@torch.no_grad()
def test_a_block_is_the_loop_for_each_bag_of_a_batch(scan: str) -> None:
    sizes = (11, 1, 4, 6)
    found = pooling(scan=scan, rate=3).double()
    assert found.scans is not None
    mixer = found.scans.mixers[0]
    hidden = torch.randn(4, 11, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    valid = torch.arange(11) < torch.tensor(sizes)[:, None]
    out = mixer(hidden, valid, VisitOrder(sizes, found.config))
    for bag, n in enumerate(sizes):
        order = {"mamba": None, "bimamba": list(range(n))[::-1], "srmamba": sorted(range(n), key=lambda i: (i % 3, i))}
        expected = mixer_by_loops(mixer, hidden[bag, :n], order[scan])  # type: ignore[arg-type]
        torch.testing.assert_close(out[bag, :n], expected, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_bag_is_the_same_in_any_company(aggregate: str) -> None:
    found = pooling(aggregate=aggregate, scan="srmamba", rate=4, padding="zeros")
    bags, values, owner = bags_of(7, 1, 30, 8)
    together = found(values, owner, 4)
    for number, bag in enumerate(bags):
        alone = found(bag, torch.zeros(len(bag), dtype=torch.int64), 1)
        torch.testing.assert_close(together.vectors[number], alone.vectors[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.attention[owner == number], alone.attention, atol=1e-5, rtol=1e-4)
        assert float(alone.attention.detach().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@torch.no_grad()
def test_only_scans_see_the_order(aggregate: str) -> None:
    found = pooling(aggregate=aggregate)
    (bag,), _, owner = bags_of(12)
    shuffled = bag[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    moved = float((found(bag, owner, 1).vectors - found(shuffled, owner, 1).vectors).abs().max())
    assert (moved > 1e-3) == (aggregate == "mamba-mil")


@pytest.mark.parametrize("n", [1, 3, 5, 10, 11])
@torch.no_grad()
def test_zeros_between_change_bags_that_the_stride_does_not_divide(n: int) -> None:
    skip, zeros = (pooling(scan="srmamba", padding=padding) for padding in ("skip", "zeros"))
    compat = pooling(scan="srmamba")
    compat.load_state_dict(skip.state_dict())
    zeros.load_state_dict(skip.state_dict())
    _, values, owner = bags_of(n)
    moved = float((skip(values, owner, 1).vectors - zeros(values, owner, 1).vectors).abs().max())
    assert (moved > 1e-5) == (n > 5 and n % 5 != 0)


def test_orders_of_the_second_scan() -> None:
    assert stride_order(7, 3).tolist() == [0, 3, 6, 1, 4, 2, 5]
    assert stride_order(3, 5).tolist() == [0, 1, 2]
    visit = VisitOrder([7, 2], small(scan="srmamba", rate=3, padding="zeros"))
    assert visit.order.tolist() == [[0, 3, 6, 1, 4, 7, 2, 5, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8]]
    assert VisitOrder([4, 2], small()).order.tolist() == [[3, 2, 1, 0], [1, 0, 2, 3]]
    root = VisitOrder([16], small(scan="srmamba", rate=None))
    assert root.order[0, :5].tolist() == [0, 4, 8, 12, 1]


def test_long_bags_keep_no_activations_and_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    _, values, owner = bags_of(40, 13)

    def gradients() -> list[Tensor]:
        found = pooling().train()
        found(values, owner, 2).vectors.square().sum().backward()
        return [one.grad for one in found.parameters() if one.grad is not None]

    plain, calls = gradients(), []
    again = bag_scan.checkpoint

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return again(*arguments, **options)

    monkeypatch.setattr(bag_scan, "LONG", 20)
    monkeypatch.setattr(bag_scan, "checkpoint", counted)
    for one, other in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(one, other)
    assert len(calls) == 2


def test_steps_start_short_unless_as_published() -> None:
    torch.manual_seed(0)
    ours, theirs = (BagMixerSteps(small(reference_compat=compat, width=16)) for compat in (False, True))
    assert 1e-4 <= ours.shortest < ours.longest <= 0.11
    assert theirs.shortest == theirs.longest == pytest.approx(math.log(2))
    decayed = {name for name, one in BagPooling(small(), 4).named_parameters() if has_weight_decay(name, one)}
    assert not any(name.endswith(("A_log", ".D", "bias")) or "norm" in name for name in decayed)
    assert "scans.mixers.0.directions.0.dt_proj.weight" in decayed


class BagMixerSteps:
    """Steps of all channels for an input of zeros."""

    def __init__(self, config: MambaMilConfig) -> None:
        scans = BagPooling(config, 4).scans
        assert scans is not None
        biases = [value for name, value in scans.named_parameters() if name.endswith("dt_proj.bias")]
        steps = F.softplus(torch.cat(biases).detach())
        self.shortest, self.longest = float(steps.min()), float(steps.max())


# ------------------------------------------------------------------------------------- odd bags


class Vectors(nn.Module):
    """Rows of (B, 4) numbers as vectors, and as four tokens of one number."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.dim = width
        self.layer = nn.Linear(4, width)
        self.calls = 0

    def token_width(self, level: str = "tokens") -> int:
        return 1

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        self.calls += 1
        return Features(self.layer(batch.inputs), {"tokens": Tokens(batch.inputs[..., None])})


class Cuts:
    """A recording (n, 4) as windows of one row each; rows of NaN have no weight."""

    def prepare(self, sample: Sample) -> list[Item]:
        rows = sample.inputs
        return [
            Item(row, {"n": 1}, weight=float(not np.isnan(row).all()), window=Window(start=-place, end=-place + 1))
            for place, row in enumerate(rows)
        ]

    def collate(self, items: Sequence[Item]) -> Batch:
        return Batch(torch.tensor(np.stack([one.values for one in items]), dtype=torch.float32), len(items))

    def cost(self, meta: Any) -> int:
        return int(meta["n"])


def batch_of(sizes: Sequence[int], labels: Sequence[Any], seed: int = 3) -> Batch:
    _, values, owner = bags_of(*sizes, seed=seed)
    return Batch({"vectors": values, "owner": owner}, len(sizes), targets={"kind": torch.tensor(labels)})


def objective(task: Callable[[nn.Module], nn.Module] | None = None, **settings: Any) -> WithMethod:
    torch.manual_seed(0)
    config = small(**settings)
    encoder = bagged(config, Vectors())
    made = ClassificationTask(ClassificationConfig(dropout=0.0), encoder, KIND) if task is None else task(encoder)
    target = made.target
    return WithMethod(made, target, FinetuneConfig(), MambaMil(config, encoder, made)).train()  # type: ignore[arg-type]


def terms_of(one: WithMethod, batch: Batch, seed: int = 0) -> tuple[float, float]:
    """Loss and count, after finite gradients."""
    draws = one.draw(batch, torch.Generator().manual_seed(seed), PROGRESS)
    terms = one(batch, draws)
    assert float(one.counts(batch, draws)["supervised"]) == float(terms.counts["supervised"])
    terms.total.backward()
    assert all(value.grad is None or bool(value.grad.isfinite().all()) for value in one.parameters())
    assert all(bool(value.isfinite()) for value in terms.metrics.values())
    return float(terms.total.detach()), float(terms.counts["supervised"])


ODD: dict[str, tuple[list[int], list[float], int]] = {
    "one window each": ([1, 1, 1], [0, 1, 2], 3),
    "one bag": ([5], [1], 1),
    "an empty bag between": ([4, 0, 3], [0, 1, 2], 2),
    "an empty bag last": ([4, 0], [0, 1], 1),
    "empty bags only": ([0, 0], [0, 1], 0),
    "no label": ([3, 4], [NAN, NAN], 0),
    "some labels": ([3, 4, 2], [NAN, 1, NAN], 1),
    "one class": ([3, 4], [1, 1], 2),
    "a very long one": ([700, 2], [0, 1], 2),
}


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("case", ODD)
def test_terms_are_finite_on_every_batch(case: str, aggregate: str) -> None:
    sizes, labels, count = ODD[case]
    loss, counted = terms_of(objective(aggregate=aggregate, keep=0.5), batch_of(sizes, labels))
    assert math.isfinite(loss)
    assert (counted, loss > 0) == (count, count > 0)


def test_empty_bags_and_windows_without_numbers_change_nothing() -> None:
    whole = batch_of([4, 0, 3], [0.0, 1.0, 2.0])
    alone = Batch(
        {"vectors": whole.inputs["vectors"], "owner": (whole.inputs["owner"] > 0).long()}, 2,
        targets={"kind": torch.tensor([0.0, 2.0])},
    )  # fmt: skip
    assert terms_of(objective(), whole)[0] == pytest.approx(terms_of(objective(), alone)[0], rel=1e-5)
    values, owner = alone.inputs["vectors"], alone.inputs["owner"]
    holed = torch.cat([values[:2], torch.full((1, 4), NAN), values[2:]])
    inputs = {"vectors": holed, "owner": torch.cat([owner[:2], owner[:1], owner[2:]])}
    spoilt = Batch(inputs, 2, targets=alone.targets)
    assert terms_of(objective(), spoilt)[0] == pytest.approx(terms_of(objective(), alone)[0], rel=1e-5)


@torch.no_grad()
def test_a_bag_of_nothing_has_no_vector_and_no_answer() -> None:
    one = objective().eval()
    features = one.task.encoder(batch_of([2, 0], [0, 1]))  # type: ignore[operator]
    assert features.pooled.isnan().all(1).tolist() == [False, True]
    assert features.extras["attention"].shape == (2,)
    assert features.tokens["instances"].values.shape == (2, 8)


def test_labels_of_every_kind() -> None:
    several = TargetSpec("kind", "multilabel", names=("u", "v"))
    number = TargetSpec("kind", "regression")
    for task, labels, count in (
        (lambda encoder: MultilabelTask(MultilabelConfig(), encoder, several), [[0.0, 1.0], [NAN, 1.0]], 3),
        (lambda encoder: RegressionTask(RegressionConfig(), encoder, number), [0.5, NAN], 1),
    ):
        loss, counted = terms_of(objective(task), batch_of([3, 2], labels))
        assert loss > 0
        assert counted == count
    with pytest.raises(ConfigError, match="is one of elements"):
        MambaMil(small(), bagged(small(), Vectors()), Dense())


class Dense(nn.Module):
    target = TargetSpec("side", "class", level="point")


def test_every_bag_shows_a_window() -> None:
    owner = torch.tensor([0, 0, 0, 2, 2])
    draws = torch.tensor([0.9, 0.2, 0.95, 0.99, 0.97])
    assert shown_instances(draws, owner, 3, 0.3).tolist() == [False, True, False, False, True]
    assert shown_instances(draws, owner, 3, 0.96).tolist() == [True, True, True, False, True]


def test_a_sample_becomes_a_bag_in_the_order_of_its_windows() -> None:
    bags = Bags(_preprocessor())
    rows = np.arange(24.0).reshape(6, 4)
    rows[2] = np.nan
    (item,) = bags.prepare(Sample("one", rows))
    assert [one.values[0] for one in item.values] == [20.0, 16.0, 12.0, 4.0, 0.0]
    assert bags.cost(item.meta) == 5
    batch = bags.collate([item, *bags.prepare(Sample("two", rows[:1]))])
    assert batch.inputs["owner"].tolist() == [0, 0, 0, 0, 0, 1]
    assert [one.size for one in batch.inputs["passes"]] == [5, 1]
    with pytest.raises(ItemError, match="weight"):
        bags.prepare(Sample("three", np.full((2, 4), np.nan)))
    long = bags.prepare(Sample("long", np.ones((2 * PASS + 1, 4))))
    assert [one.size for one in bags.collate(long).inputs["passes"]] == [PASS, PASS, 1]
    (encoded,) = bags.prepare(Sample("one", BagVectors(np.ones((3, 4), np.float32))))
    assert bags.cost(encoded.meta) == 3
    assert bags.collate([encoded]).inputs["vectors"].shape == (3, 4)
    assert not hasattr(bags, "covering")  # one item of a sample is not the bag


def _preprocessor() -> Preprocessor:
    found: Any = Cuts()
    return found  # type: ignore[no-any-return]


@torch.no_grad()
def test_windows_and_their_vectors_are_the_same_bag() -> None:
    """The encoder runs where windows come, a bag apart, and not where vectors come."""
    encoder = bagged(small(), Vectors())
    assert isinstance(encoder, Bagged)
    encoder.eval()
    bags = Bags(_preprocessor())
    generator = np.random.default_rng(0)
    items = [bags.prepare(Sample(str(n), generator.normal(size=(n, 4))))[0] for n in (3, PASS + 5, 1)]
    whole = bags.collate(items)
    found = encoder.instances(whole)
    assert encoder.inner.calls == 4
    vectors = [BagVectors(found.values[found.owner == n].numpy()) for n in range(3)]
    given = bags.collate([bags.prepare(Sample(str(n), one))[0] for n, one in enumerate(vectors)])
    torch.testing.assert_close(encoder(whole).pooled, encoder(given).pooled)
    alone = encoder.instances(bags.collate(items[:1]))
    assert torch.equal(alone.values, found.values[found.owner == 0])
    assert encoder.inner.calls == 9  # the whole twice, in four passes, and the one alone


@torch.no_grad()
def test_tokens_of_windows_are_a_bag_too() -> None:
    encoder = bagged(small(of="tokens"), Vectors()).eval()
    batch = Batch(torch.arange(8.0).reshape(2, 4), 2)
    found = encoder.instances(batch)  # type: ignore[operator]
    assert found.values.flatten().tolist() == list(range(8))
    assert found.owner.tolist() == [0] * 4 + [1] * 4

    class Flat(nn.Module):
        dim = 4

    with pytest.raises(ConfigError, match="how wide its tokens are"):
        bagged(small(of="tokens"), Flat())


@torch.no_grad()
def test_windows_are_standardised_unless_as_published() -> None:
    mean, deviation = torch.tensor([5.0, 0.0, 0.0, 1.0]), torch.tensor([2.0, 1.0, 0.0, 1.0])
    _, values, owner = bags_of(5)
    batch = Batch({"vectors": values * deviation + mean, "owner": owner}, 1)
    plain = bagged(small(standardise=False), Vectors()).eval()
    for settings, same in (({}, True), ({"standardise": False}, False), ({"reference_compat": True}, False)):
        encoder = bagged(small(**settings), Vectors()).eval()
        encoder.sees_instances(mean, deviation)  # type: ignore[operator]
        own = encoder.bag  # type: ignore[union-attr]
        assert (own.mean.tolist() == mean.tolist()) == same  # type: ignore[union-attr,operator]
        if same:
            encoder.bag.load_state_dict({**plain.bag.state_dict(), **dict(own.named_buffers())})  # type: ignore[union-attr]
            kept = torch.where(deviation > 0, values, 0.0)  # what does not differ is no number to go by
            expected = plain(Batch({"vectors": kept, "owner": owner}, 1)).pooled
            torch.testing.assert_close(encoder(batch).pooled, expected, atol=1e-5, rtol=1e-4)


def test_a_second_aggregator_is_refused_and_the_same_one_kept() -> None:
    first = bagged(small(), Vectors())
    assert bagged(small(keep=0.5, dropout=0.1), first) is first
    with pytest.raises(ConfigError, match="has an aggregator already"):
        bagged(small(aggregate="mean"), first)
    with pytest.raises(ConfigError, match="needs an encoder with an aggregator"):
        MambaMil(small(), Vectors(), ClassificationTask(ClassificationConfig(), Vectors(), KIND))
    with pytest.raises(ConfigError, match="--pool cls"):
        first.pool(Features(torch.zeros(1, 8)), "cls")  # type: ignore[operator]


def test_survival_of_two_bins_by_hand() -> None:
    scores = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    hazards, curve = survival_curve(scores)
    torch.testing.assert_close(hazards[0], torch.tensor([0.5, 0.75]))
    torch.testing.assert_close(curve[0], torch.tensor([0.5, 0.125]))
    loss = survival_loss(scores, torch.tensor([1, 1]), torch.tensor([0, 1]), 0.4)
    torch.testing.assert_close(loss, torch.tensor([-math.log(0.5 * 0.75), -0.6 * math.log(0.125)]))
    torch.testing.assert_close(risk(scores), torch.full((2,), -0.625))
    assert survival_loss(torch.full((1, 2), 90.0), torch.tensor([1]), torch.tensor([1])).isfinite().all()


# ------------------------------------------------------------------------------------- whole models


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    words = ["pairs", "train", "set-net", "--name", "r", "--device", "cpu", "trainer.steps=2", "preprocessor.window=4"]
    assert run(words) == 0
    return tmp_path


def finetune(name: str, *more: str, model: str = "runs/r", method: str = "mamba-mil") -> list[str]:
    words = ["pairs", "finetune", model, "--data", "pairs/blobs", "--label", "kind", "--name", name, "--no-twin"]
    if method:
        words += ["--method", method, "--no-plain", "method.width=8", "method.states=3"]
    return [*words, "data.batch_size=8", *more]


@pytest.mark.parametrize("aggregate", ["mamba-mil", "mean"])
def test_a_bag_model_is_trained_predicts_and_goes_on_exactly(
    trained: Path, aggregate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its first checkpoint and resumed, a run ends with the weights of one that was not disturbed."""
    settings = ["trainer.steps=6", "trainer.validate_every=2", "optimiser.lr=0.02", "trainer.accumulate=2"]
    settings += [f"method.aggregate={aggregate}", "method.keep=0.7", "method.dropout=0.1"]
    weights = check_that_it_goes_on(lambda name: finetune(name, *settings), "pairs", monkeypatch)
    base = repcore.load("runs/r").encoder.state_dict()
    for name, value in base.items():
        assert torch.equal(weights[f"inner.{name}"], value), name
    model = repcore.load("runs/cut")
    assert model.folder.changes[0]["aggregate"] == aggregate
    assert float(model.encoder.bag.mean.abs().sum()) > 0  # type: ignore[union-attr,operator]
    assert isinstance(model.preprocessor, Bags)
    found = model.predict("pairs/blobs")
    assert found.outputs.shape == (60, 3)
    good = np.asarray([one == "ok" for one in found.status])
    assert good.sum() > 50
    np.testing.assert_allclose(found.outputs[good].sum(1), 1.0, atol=1e-5)
    alone = model.predict("pairs/blobs", batch_size=1)
    np.testing.assert_allclose(alone.outputs[good], found.outputs[good], atol=1e-5)
    assert model.embed("pairs/blobs").vectors.shape == (60, 8)
    saved = model.save(trained / "copy")
    np.testing.assert_array_equal(saved.predict("pairs/blobs").outputs, found.outputs)
    moved = shutil.move("runs/cut/model", trained / "elsewhere")
    assert repcore.load(moved).predict("pairs/blobs").outputs.shape == (60, 3)


def test_a_bag_model_is_fine_tuned_again(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its head starts from the vectors of a trained aggregator, not from those of a random one."""
    fitted: list[bool] = []
    monkeypatch.setattr(repcore.training.finetune, "start_head", lambda *_, **__: fitted.append(True))
    assert run(finetune("f", "trainer.steps=2")) == 0
    assert not fitted
    assert run(finetune("g", "trainer.steps=2", model="runs/f", method="")) == 0
    assert fitted
    again, before = repcore.load("runs/g"), repcore.load("runs/f")
    assert again.folder.changes == before.folder.changes
    assert again.predict("pairs/blobs").outputs.shape == (60, 3)
    told = json.loads(Path("runs/g/finetune.json").read_text())
    assert told["rows"]["train"] > 0


def test_scores_of_a_run_are_those_of_its_model(trained: Path) -> None:
    """Test rows are answered from vectors that were encoded once, an ensemble of random twins from windows; the saved
    model sees windows."""
    words = finetune("f", "trainer.steps=4", "--ensemble", "2", "optimiser.lr=0.02")
    words.remove("--no-twin")
    assert run(words) == 0
    assert run(finetune("one", "trainer.steps=4", "optimiser.lr=0.02")) == 0
    for name in ("f", "one"):
        stored = read_parquet(Path("runs") / name / "predictions" / "test.parquet").to_pydict()
        found = repcore.load(f"runs/{name}").predict("pairs/blobs")
        places = [list(found.ids).index(one) for one in stored["id"]]
        columns = np.stack([stored[f"p:{one}"] for one in ("line", "ring", "cloud")], 1)
        np.testing.assert_allclose(found.outputs[places], columns, atol=1e-5)


def test_a_label_of_elements_is_refused_before_anything_is_trained(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [one if one != "kind" else "side" for one in finetune("f", "trainer.steps=2")]
    assert run(words) != 0
    said = capsys.readouterr().err
    assert "mamba-mil learns labels of items; 'side' is one of elements" in said
    assert "without a method that reads bags" in said
    assert not Path("runs/f").exists()


def test_bags_of_one_window_are_said(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pairs", "train", "set-net", "--name", "whole", "--device", "cpu", "trainer.steps=2"]
    assert run([*words, "preprocessor.window=1000"]) == 0
    capsys.readouterr()
    assert run(finetune("f", "trainer.steps=2", model="runs/whole")) == 0
    told = capsys.readouterr().err
    assert re.search(r"every bag of the \d+ training rows holds one window.*method.of=tokens or longer items", told)
    assert run(finetune("g", "trainer.steps=2")) == 0
    assert "every bag" not in capsys.readouterr().err


def test_the_share_of_bags_of_one_window_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for sizes in ([1, 3, 0, 7, 9], [1, 1, 4], [2, 3]):  # 0: a row that could not be used
        say_sizes(sizes, "Use longer items", LogReporter())
    few, many = caplog.records
    assert few.getMessage().startswith("25% of the bags of the 4 training rows hold one window")
    assert few.getMessage().endswith("the others 2 to 9. Use longer items")
    assert (few.levelname, many.levelname) == ("INFO", "WARNING")
