"""SHERL: the block against loops, gradients through the last layer alone, frozen weights, memory, and model folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from repcore_generic.configs.sherl import SherlConfig
from repcore_generic.encoders.sherl import SideTuned, side_tuned
from repcore_generic.layers.side_blocks import LEAST_NORM, PooledSide, TokenSide
from repcore_generic.objectives.sherl import Sherl
from torch import Tensor, nn

import repcore
from repcore.checkpoints.reading import read_file
from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore.evaluation.tasks.configs import RegressionConfig
from repcore.evaluation.tasks.item import RegressionTask
from repcore.interfaces import Batch, Features, Progress, Tokens
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.methods import WithMethod

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
VALUE = TargetSpec("v", "regression")


class Deep(nn.Module):
    """``depth`` residual layers over (B, T, 4) numbers; slots of zeros are empty."""

    def __init__(self, depth: int = 4, width: int = 6) -> None:
        super().__init__()
        self.depth, self.dim = depth, width
        self.first = nn.Linear(4, width)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(depth))

    def token_width(self, level: str = "tokens") -> int:
        return self.dim

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        start = Tokens(self.first(batch.inputs), valid=batch.inputs.abs().sum(-1) > 0)
        return self.run_from(0, start, batch, layers, until)

    def run_from(
        self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        states = {layer: hidden.values}
        for number in range(layer + 1, (self.depth if until is None else until) + 1):
            states[number] = states[number - 1] + torch.tanh(self.blocks[number - 1](states[number - 1]))
        last, valid = states[max(states)], batch.inputs.abs().sum(-1) > 0
        mean = (last * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        kept = {one: Tokens(states[one], valid=valid) for one in layers}
        return Features(mean, {"tokens": Tokens(last, valid=valid)}, kept)


def batch() -> Batch:
    inputs = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    inputs[0, 3:] = 0.0
    return Batch(inputs, 3, targets={"v": torch.tensor([0.5, float("nan"), -1.0])})


def by_loop(side: TokenSide, layers: list[Tensor]) -> Tensor:
    """The block of one token, in plain steps."""
    small = [project(one) for project, one in zip(side.projections, layers, strict=True)]
    guide, shallow = small[-1], small[:-1]
    weights = []
    for mine in range(len(shallow)):
        redundancy = 0.0
        for other in range(len(shallow)):
            one, two = shallow[mine], shallow[other]
            cosine = float(one @ two) / (max(float(one.norm()), LEAST_NORM) * max(float(two.norm()), LEAST_NORM))
            redundancy += 1.0 if mine == other else max(0.0, cosine)
        score = max(0.0, float(side.score(shallow[mine] * guide)))
        weights.append(score / redundancy)
    total = sum(weights) + side.epsilon
    summary = guide + sum(weight / total * one for weight, one in zip(weights, shallow, strict=True))
    return side.output(summary) + torch.tanh(10.0 * side.theta) * layers[-1]  # type: ignore[no-any-return]


@pytest.mark.parametrize("form", ["gated", "normed", "plain"])
@pytest.mark.parametrize("count", [2, 5])
@torch.no_grad()
def test_the_block_is_the_loop(form: str, count: int) -> None:
    torch.manual_seed(count)
    side = TokenSide(8, count, form=form, theta=0.03).double().eval()  # type: ignore[arg-type]
    layers = [torch.randn(2, 3, 8, dtype=torch.float64) for _ in range(count)]
    out, _ = side(layers)
    for item in range(2):
        for token in range(3):
            expected = by_loop(side, [one[item, token] for one in layers])
            torch.testing.assert_close(out[item, token], expected, atol=1e-8, rtol=1e-6)


def test_ragged_tokens_of_the_pooled_block_are_those_of_a_dense_batch() -> None:
    torch.manual_seed(0)
    side = PooledSide(6, 3, 5)
    layers = [torch.randn(2, 4, 6) for _ in range(3)]
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    pooled = torch.randn(2, 5)
    dense, _ = side(layers, pooled, mask)
    owner = torch.tensor([0, 0, 0, 0, 1, 1])
    ragged, _ = side([one[mask] for one in layers], pooled, owner=owner)
    torch.testing.assert_close(dense, ragged)


@pytest.mark.parametrize("form", ["gated", "pooled"])
def test_nothing_but_the_block_and_the_head_moves(form: str) -> None:
    torch.manual_seed(0)
    encoder = Deep()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    changed = side_tuned(SherlConfig(form=form), encoder)  # type: ignore[arg-type]
    task = RegressionTask(RegressionConfig(dropout=0.0), changed, VALUE)
    one = WithMethod(task, VALUE, FinetuneConfig(), Sherl(SherlConfig(), changed, task)).train()
    assert not changed.inner.training
    optimiser = torch.optim.Adam([p for p in one.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(60):
        terms = one(batch(), one.draw(batch(), torch.Generator(), Progress(0, 10)))
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        losses.append(float(terms.total.detach()))
    assert losses[-1] < 0.2 * losses[0]
    assert float(terms.counts["supervised"]) == 2
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    figures = [terms.metrics[f"weight_of_layer_{number}"] for number in range(3)]
    assert all(torch.isfinite(one) for one in figures)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    changed = side_tuned(SherlConfig(), Deep()).eval()
    whole, wider = batch(), batch()
    wider.inputs = torch.cat([wider.inputs, torch.zeros(3, 4, 4)], 1)
    torch.testing.assert_close(changed(whole).pooled, changed(wider).pooled)


def test_an_open_gate_and_no_output_is_the_encoder_itself() -> None:
    torch.manual_seed(0)
    encoder = Deep().eval()
    changed = side_tuned(SherlConfig(theta=10.0), encoder).eval()
    assert isinstance(changed, SideTuned)
    assert isinstance(changed.side, TokenSide)
    nn.init.zeros_(changed.side.output[1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(changed.side.output[1].bias)  # type: ignore[arg-type]
    plain, found = encoder(batch(), layers=(0, 2, 4)), changed(batch(), layers=(0, 2, 4))
    torch.testing.assert_close(found.pooled, plain.pooled)
    for number in (0, 2, 4):
        torch.testing.assert_close(found.layers[number].values, plain.layers[number].values)
    assert changed.depth == 4  # whatever it does not have is the encoder's


LAST = {"none": set(), "norms": {"0.weight", "0.bias"}, "all": {"0.weight", "0.bias", "1.weight", "1.bias"}}


@pytest.mark.parametrize("which", LAST)
def test_what_learns_of_the_last_layer(which: str) -> None:
    encoder = Deep()
    side_tuned(SherlConfig(train_last=which), encoder)  # type: ignore[arg-type]
    found = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert found == {f"blocks.3.{name}" for name in LAST[which]}


def test_encoders_that_cannot_are_refused_by_name() -> None:
    class Flat(nn.Module):
        dim = 4

    class NoLast(nn.Module):
        dim, depth = 4, 3

        def token_width(self, level: str = "tokens") -> int:
            return 4

    with pytest.raises(ConfigError, match="Flat gives none of one width"):
        side_tuned(SherlConfig(), Flat())
    with pytest.raises(ConfigError, match="NoLast has no method run_from"):
        side_tuned(SherlConfig(), NoLast())
    with pytest.raises(ConfigError, match="nothing to merge"):
        side_tuned(SherlConfig(), Deep(depth=1))


def saved_bytes(one: WithMethod, data: Batch) -> int:
    """What autograd keeps for the backward pass, parameters left out."""
    own = {value.untyped_storage().data_ptr() for value in one.state_dict().values()}
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        place = value.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        one(data, one.draw(data, torch.Generator(), Progress(0, 10)))
    return sum(kept.values())


def test_a_pass_keeps_less_for_the_backward_one(tmp_path: Path) -> None:
    """SELFormer, 6 layers here (12 published), 4 items of 64 tokens: at most 40 % of full tuning."""
    from repcore_molecules.configs.selformer import SelformerConfig
    from repcore_molecules.encoders.selformer import Selformer

    def size(method: bool) -> int:
        config = SelformerConfig(
            hidden_width=64, feed_forward_width=256, layers=6, vocabulary_size=100, attention_heads=4
        )
        encoder: nn.Module = Selformer(config).train()
        if method:
            encoder = side_tuned(SherlConfig(reduction=4.0), encoder)
        task = RegressionTask(RegressionConfig(), encoder, VALUE)
        objective = Sherl(SherlConfig(), encoder, task) if method else None
        ids = torch.randint(5, 100, (4, 64), generator=torch.Generator().manual_seed(0))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
        data = Batch(inputs, 4, targets={"v": torch.zeros(4)})
        from repcore.training.supervised import Supervised

        whole = Supervised(task, "v") if objective is None else WithMethod(task, VALUE, FinetuneConfig(), objective)
        return saved_bytes(whole.train(), data)  # type: ignore[arg-type]

    assert size(True) < 0.4 * size(False)


def test_a_molecule_model_is_tuned_and_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["molecules", "train", "selformer", "--name", "r", "--device", "cpu", "trainer.steps=1", "data.limit=40"]
    words += ["encoder.hidden_width=16", "encoder.feed_forward_width=32", "encoder.layers=3", "data.batch_size=4"]
    assert run(words) == 0
    rows = [f"{'C' * (row + 1)}O,{row * 7 % 5 / 2}" for row in range(24)]
    (tmp_path / "d.csv").write_text("\n".join(["smiles,y", *rows]) + "\n")
    tune = ["molecules", "finetune", "runs/r", "--data", "d.csv", "--label", "y", "--name", "f", "--no-twin"]
    tune += ["--method", "sherl", "--no-plain", "trainer.steps=3", "data.batch_size=4"]
    assert run(tune) == 0
    told = json.loads(Path("runs/f/model/config.json").read_text())
    assert told["changes"][0]["name"] == "generic/sherl"
    base = read_file(Path("runs/r/model/weights.safetensors"))
    own = read_file(Path("runs/f/model/weights.safetensors"))
    for name, value in base.items():
        assert torch.equal(own[f"inner.{name}"], value), name
    assert any(name.startswith("side.") for name in own)
    model = repcore.load("runs/f")
    assert model.folder.dim == 16  # the recipe pools over all layers, of which the last alone runs here
    assert model.predict("d.csv").outputs.shape == (24, 1)
