"""ShrinkMatch against loops over items and classes, its state over steps, and its own unlabelled rows."""

from __future__ import annotations

import math

import pytest
import torch
from repcore_generic.configs.shrinkmatch import ShrinkMatchConfig
from repcore_generic.objectives.shrinkmatch import ShrinkMatch
from repcore_generic.objectives.shrinkmatch_loss import aligned, certain_loss, shrunk_items
from torch import Tensor, nn

from repcore.evaluation.tasks.configs import ClassificationConfig
from repcore.evaluation.tasks.item import ClassificationTask
from repcore.interfaces import Batch, Features, Progress
from repcore.specs import TargetSpec

NAN = float("nan")


def by_loop(target: list[float], logits: list[float], bar: float) -> tuple[float, int]:
    """Loss and first kept rank of one item, as the paper says it."""
    order = sorted(range(len(target)), key=lambda one: (-target[one], one))
    best = target[order[0]]
    if best >= bar or len(target) < 3:
        return 0.0, 0
    for first in range(2, len(target)):
        kept = order[first:]
        if best / (best + sum(target[one] for one in kept)) >= bar:
            total = math.log(sum(math.exp(logits[one]) for one in [order[0], *kept]))
            return best * (total - logits[order[0]]), first
    return 0.0, len(target) - 1


@pytest.mark.parametrize("classes", [2, 3, 7, 20])
def test_uncertain_items_are_those_of_the_loop(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    target = (6 * torch.rand(40, classes, generator=generator)).softmax(1)
    target[0] = 1.0 / classes  # all alike
    target[1] = torch.eye(classes)[classes - 1]
    logits = torch.randn(40, classes, generator=generator)
    found = shrunk_items(target, logits, 0.8)
    expected = [by_loop(t.double().tolist(), s.double().tolist(), 0.8) for t, s in zip(target, logits, strict=True)]
    torch.testing.assert_close(found.items, torch.tensor([one for one, _ in expected]), atol=1e-5, rtol=1e-5)
    assert found.first_kept.tolist() == [one for _, one in expected]


def test_nothing_is_shrunk_when_all_are_certain() -> None:
    target = torch.eye(4) * 0.96 + 0.01
    logits = torch.randn(4, 4, requires_grad=True)
    found = shrunk_items(target, logits, 0.95)
    assert float(found.items.sum().detach()) == 0.0
    assert found.certain.all()
    (slope,) = torch.autograd.grad(found.items.sum(), logits)
    assert not slope.any()


def test_certain_items_are_a_mean_over_all() -> None:
    target = torch.tensor([[0.99, 0.01], [0.6, 0.4]])
    logits = torch.tensor([[1.0, -1.0], [5.0, 0.0]])
    each = -(target[0] * logits[0].log_softmax(0)).sum()
    found = certain_loss(target, logits, torch.tensor([True, False]))
    assert float(found) == pytest.approx(float(each) / 2)


def test_alignment_takes_out_what_is_predicted_too_often() -> None:
    probabilities = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
    means = torch.tensor([[0.7, 0.3], [0.0, 0.0]])  # the second is not written yet
    expected = torch.tensor([[0.8 / 0.7, 0.2 / 0.3], [0.6 / 0.7, 0.4 / 0.3]])
    torch.testing.assert_close(aligned(probabilities, means), expected / expected.sum(1, keepdim=True))


class Vectors(nn.Module):
    dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, batch: Batch, layers: tuple[int, ...] = ()) -> Features:
        return Features(self.layer(batch.inputs), {})


def method(**settings: object) -> ShrinkMatch:
    torch.manual_seed(0)
    task = ClassificationTask(
        ClassificationConfig(dropout=0.0), Vectors(), TargetSpec("k", "class", names=("a", "b", "c"))
    )
    return ShrinkMatch(ShrinkMatchConfig(**settings), task.encoder, task).train()  # type: ignore[arg-type]


def batch(labels: list[float], seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    targets = {"k": torch.tensor([-1 if math.isnan(one) else int(one) for one in labels])}
    views = {
        name: Batch(torch.randn(len(labels), 4, generator=generator), len(labels), targets=targets)
        for name in ("weak", "strong")
    }
    return Batch(views["weak"].inputs, len(labels), views=views, targets=targets)


def share_of(one: ShrinkMatch, steps: list[Progress]) -> list[float]:
    found = []
    for step in steps:
        data = batch([0, 1, NAN, NAN, NAN], step.step)
        terms = one(data, one.draw(data, torch.Generator(), step))
        one.after_step(step, [terms.carry])
        found.append(float(terms.metrics["ratio"]))
        assert found[-1] == pytest.approx(float(one.share))
    return found


def test_the_running_share_is_kept_and_can_start_anew() -> None:
    steps = [Progress(step, 6, steps_per_epoch=3) for step in range(6)]
    shares = [0.0] * 6
    one = method(threshold=0.4, ratio_decay=0.5)
    found = share_of(one, steps)
    twin = method(threshold=0.4, ratio_decay=0.0)  # decay 0 shows each step's own share
    shares = share_of(twin, steps)
    expected = shares[0]
    for step in range(1, 6):
        expected = 0.5 * expected + 0.5 * shares[step]
        assert found[step] == pytest.approx(expected)
    again = share_of(method(threshold=0.4, ratio_decay=0.5, ratio="reset_each_epoch"), steps)
    assert again[:3] == pytest.approx(found[:3])
    assert again[3] == pytest.approx(shares[3])
    assert len(set(shares)) > 1


def test_state_is_a_mean_over_micro_batches_and_the_means_a_ring() -> None:
    one, progress = method(alignment_length=2), Progress(0, 10)
    parts = [batch([0, NAN, NAN], 1), batch([1, NAN], 2)]
    means = []
    for data in parts:
        free = data.targets["k"] < 0
        means.append(one.logits(one.encoder(data.views["weak"]).pooled[free]).softmax(1))
    carried = [one(data, one.draw(data, torch.Generator(), progress)).carry for data in parts]
    one.after_step(progress, carried)
    torch.testing.assert_close(one.means[0], torch.cat(means).mean(0).detach())
    assert not one.means[1].any()
    for _ in range(2):
        one.after_step(progress, carried)
    assert int(one.steps) == 3
    assert one.means.all()


def test_labelled_rows_alone_leave_the_state_as_it_was() -> None:
    one, data = method(), batch([0, 1, 2])
    terms = one(data, one.draw(data, torch.Generator(), Progress(0, 10)))
    one.after_step(Progress(0, 10), [terms.carry])
    assert float(terms.terms["certain"].detach()) == float(terms.terms["shrunk"].detach()) == 0.0
    assert int(one.steps) == 0
    assert not one.means.any()


def gradient(one: ShrinkMatch, data: Batch) -> Tensor:
    one.zero_grad()
    one(data, one.draw(data, torch.Generator(), Progress(0, 10))).total.backward()
    encoder: Vectors = one.encoder  # type: ignore[assignment]
    assert encoder.layer.weight.grad is not None
    return encoder.layer.weight.grad.clone()


def test_only_the_strong_view_of_unlabelled_items_teaches() -> None:
    """The target is a constant: with no label, the gradient is that of the strong view alone."""
    one, data = method(threshold=0.2), batch([NAN] * 4)
    before = gradient(one, data)
    assert before.any()
    data.views["strong"].inputs.zero_()
    assert not gradient(one, data).any()
