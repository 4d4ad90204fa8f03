"""Experts: copies change nothing at the start, routing against loops, domains by name, conflicting domains, folders."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from repcore_generic.configs.experts import ExpertsConfig
from repcore_generic.encoders.experts import WithExperts, with_experts
from repcore_generic.layers.expert_blocks import Experts, Router, low_rank_experts
from repcore_generic.objectives.experts import DomainExperts
from repcore_generic.objectives.experts_loss import pair_loss
from torch import Tensor, nn

import repcore
from repcore.cli.main import run
from repcore.embedding.columns import column_doubts, read_beside, tell
from repcore.errors import ConfigError, DataError, RunError
from repcore.evaluation.tasks.configs import ClassificationConfig
from repcore.evaluation.tasks.item import ClassificationTask
from repcore.interfaces import Batch, Features, Progress
from repcore.specs import TargetSpec
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.methods import WithMethod

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KIND = TargetSpec("kind", "class", names=("a", "b"))
SITE = TargetSpec("site", "class", names=("x", "y", "z"))
CONFIG = ExpertsConfig(domain="site", domains=SITE.names)


class Tokens(nn.Module):
    """Two residual blocks over (B, T, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 8
        self.first = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(2))

    def feed_forward_blocks(self) -> dict[str, nn.Module]:
        return {f"blocks.{number}": block for number, block in enumerate(self.blocks)}

    def forward(self, batch: Batch, layers: tuple[int, ...] = ()) -> Features:
        hidden = self.first(batch.inputs)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return Features(hidden.mean(1), {})


def batch(sites: list[float], labels: list[float] | None = None) -> Batch:
    inputs = torch.randn(len(sites), 3, 4, generator=torch.Generator().manual_seed(1))
    targets = {"site": torch.tensor(sites), "kind": torch.tensor(labels or [0.0] * len(sites))}
    return Batch(inputs, len(sites), targets=targets)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("blocks", ["all", "last"])
def test_copies_change_nothing_at_the_start(rank: int | None, blocks: str) -> None:
    torch.manual_seed(0)
    encoder = Tokens().eval()
    data = batch([0, 1, 2, float("nan")])
    plain = encoder(data).pooled
    config = ExpertsConfig(domain="site", domains=SITE.names, rank=rank, blocks=blocks)  # type: ignore[arg-type]
    changed = with_experts(config, encoder).eval()
    torch.testing.assert_close(changed(data).pooled, plain)  # nobody said what the numbers mean: means of equal ones
    tell(changed, [SITE])
    torch.testing.assert_close(changed(data).pooled, plain)


def test_every_item_goes_its_own_way() -> None:
    torch.manual_seed(0)
    router = Router()
    experts = Experts(nn.Linear(4, 4), 3, router)
    for expert in experts.experts:
        nn.init.normal_(expert.weight)  # type: ignore[arg-type]
    tokens, chosen = torch.randn(5, 2, 4), torch.tensor([2, -1, 0, 2, 1])
    router.experts = chosen
    found = experts(tokens)
    for item, number in enumerate(chosen.tolist()):
        each = torch.stack([expert(tokens[item]) for expert in experts.experts])
        torch.testing.assert_close(found[item], each.mean(0) if number < 0 else each[number])
    router.owner = torch.tensor([0, 0, 2, 3, 3, 3, 4])
    ragged = torch.randn(7, 4)
    found = experts(ragged)
    for row, item in enumerate(router.owner.tolist()):
        torch.testing.assert_close(found[row], experts.experts[int(chosen[item])](ragged[row]))
    router.owner = None
    with pytest.raises(RunError, match="whose they are is not said"):
        experts(ragged)


def test_every_expert_has_a_gradient_whoever_is_in_the_batch() -> None:
    """Processes that exchange gradients must all have all of them: 0 for experts of domains that are absent."""
    torch.manual_seed(0)
    router = Router()
    experts = Experts(nn.Linear(4, 4), 3, router)
    router.experts = torch.tensor([1, 1])
    experts(torch.randn(2, 3, 4)).sum().backward()
    steepest = [float(expert.weight.grad.abs().max()) for expert in experts.experts]  # type: ignore[union-attr,operator]
    assert steepest[1] > 0
    assert steepest[0] == steepest[2] == 0


def test_low_rank_experts_share_and_freeze_the_block() -> None:
    block = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6))
    experts = low_rank_experts(block, 3, 2, 4.0, Router())
    learning = {name.rpartition(".")[2] for name, one in experts.named_parameters() if one.requires_grad}
    assert learning == {"down", "up"}
    assert sum(one.numel() for one in experts.parameters() if one.requires_grad) == 3 * 2 * (6 + 12 + 12 + 6)


def test_domains_are_known_by_name() -> None:
    changed = with_experts(CONFIG, Tokens())
    assert isinstance(changed, WithExperts)
    other = TargetSpec("site", "class", names=("z", "new", "x"))  # other data number them otherwise
    tell(changed, [other])
    assert changed.experts_of(batch([0, 1, 2, float("nan")])).tolist() == [2, -1, 0, -1]  # type: ignore[union-attr]
    tell(changed, [])
    assert changed.experts_of(batch([0, 1])) is None
    changed.choose("y")
    assert changed.experts_of(batch([0, 2])).tolist() == [1, 1]  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="no domain 'w'"):
        changed.choose("w")
    strict = with_experts(ExpertsConfig(domain="site", domains=SITE.names, unknown="error"), Tokens())
    with pytest.raises(DataError, match="no domain 'site' that the model knows"):
        strict(batch([0, 1]))


class Rows(list[Any]):
    """A reader of one column of cells."""

    def __init__(self, cells: Sequence[Any], *targets: TargetSpec) -> None:
        super().__init__(cells)
        self.targets = targets

    def values(self, name: str) -> list[Any]:
        assert name == "site"
        return list(self)


def test_what_the_data_lack_of_domains_is_said() -> None:
    def doubts(encoder: torch.nn.Module, *targets: TargetSpec, cells: Sequence[Any] = ("x", "y")) -> list[str]:
        return column_doubts([encoder, Tokens()], Rows(cells, *targets))  # type: ignore[arg-type]

    changed = with_experts(CONFIG, Tokens())
    assert isinstance(changed, WithExperts)
    assert doubts(changed, SITE) == []
    assert doubts(changed) == [
        "the data have no column 'site' with the domains x, y, z: every row is taken through the mean of all experts"
    ]
    (empty,) = doubts(changed, SITE, cells=["x", None, "", float("nan")])
    assert empty == "column 'site' is empty in 3 rows: they are taken through the mean of all experts"
    other = TargetSpec("site", "class", names=("z", "new"))
    assert "not for new: such rows are taken through the mean" in " ".join(doubts(changed, other))
    assert read_beside([changed, Tokens()]) == ["site"]
    changed.choose("y")
    assert doubts(changed, other) == []
    assert read_beside([changed]) == []
    strict = with_experts(ExpertsConfig(domain="site", domains=SITE.names, unknown="error"), Tokens())
    assert "such rows are refused" in " ".join(doubts(strict, other))


def test_experts_of_another_column_are_refused() -> None:
    sites, kinds = TargetSpec("site", "class", names=("1", "2")), TargetSpec("kind", "class", names=("1", "2"))
    label = TargetSpec("y", "class", names=("no", "yes"))
    first = ExpertsConfig(domain="site").completed(label, None, [sites, label])
    assert ExpertsConfig(domain="site").completed(label, first, [sites, label]).domains == ("1", "2")
    with pytest.raises(ConfigError, match="experts of the column 'site', not of 'kind'"):
        ExpertsConfig(domain="kind").completed(label, first, [sites, kinds, label])


def test_new_domains_start_as_the_mean_of_the_others() -> None:
    torch.manual_seed(0)
    changed = with_experts(CONFIG, Tokens())
    own = changed.inner.blocks[0].experts  # type: ignore[union-attr,index]
    for expert in own:  # type: ignore[union-attr]
        nn.init.normal_(expert[0].weight)
    more = CONFIG.completed(KIND, CONFIG, [TargetSpec("site", "class", names=("w", "x"))])
    assert more.domains == ("x", "y", "z", "w")
    wider = with_experts(more, changed)
    found = wider.inner.blocks[0].experts  # type: ignore[union-attr,index]
    assert len(found) == 4  # type: ignore[arg-type]
    mean = torch.stack([found[one][0].weight for one in range(3)]).mean(0)  # type: ignore[index]
    torch.testing.assert_close(found[3][0].weight, mean)  # type: ignore[index]
    with pytest.raises(ConfigError, match="no class column beside the label"):
        ExpertsConfig(domain="sit").completed(KIND, None, [KIND, SITE])
    with pytest.raises(ConfigError, match="no method feed_forward_blocks"):
        with_experts(CONFIG, Plain())


class Plain(nn.Module):
    dim = 3


def objective(domains: bool) -> WithMethod:
    torch.manual_seed(0)
    encoder: nn.Module = Tokens()
    if not domains:
        from repcore.training.supervised import Supervised

        task = ClassificationTask(ClassificationConfig(dropout=0.0), encoder, KIND)
        return Supervised(task, "kind", FinetuneConfig()).train()  # type: ignore[return-value]
    encoder = with_experts(CONFIG, encoder)
    tell(encoder, [SITE])
    task = ClassificationTask(ClassificationConfig(dropout=0.0), encoder, KIND)
    return WithMethod(task, KIND, FinetuneConfig(), DomainExperts(CONFIG, encoder, task)).train()


def test_domains_that_disagree_each_get_their_rule() -> None:
    """The same input means one class at site x and the other at site y: one shared model cannot know."""
    inputs = torch.randn(40, 3, 4, generator=torch.Generator().manual_seed(3))
    sign = (inputs.mean((1, 2)) > 0).float()
    inputs, sites = inputs.repeat(2, 1, 1), torch.arange(80) // 40
    data = Batch(inputs, 80, targets={"kind": torch.cat([sign, 1 - sign]), "site": sites.float()})
    accuracy = {}
    for domains in (True, False):
        one = objective(domains)
        optimiser = torch.optim.Adam(one.parameters(), lr=0.02)
        for step in range(80):
            terms = one(data, one.draw(data, torch.Generator().manual_seed(step), Progress(step, 80)))
            optimiser.zero_grad()
            terms.total.backward()
            optimiser.step()
        with torch.no_grad():
            accuracy[domains] = float((one.eval().task(data).argmax(1) == data.targets["kind"]).float().mean())
    assert accuracy[True] > 0.95
    assert accuracy[False] < 0.6


NAN = float("nan")
BATCHES: dict[str, tuple[list[float], list[float]]] = {
    "all": ([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 0, 1]),
    "one class": ([0, 0, 0], [1, 1, 1]),
    "no domain": ([NAN, NAN, NAN], [0, 1, 1]),
    "no label": ([0, 1], [NAN, NAN]),
    "one item": ([2], [1]),
    "a pair alone": ([0, 0, 0, 1], [0, 0, 1, 1]),
    "two pairs": ([0, 0, 0, 0], [0, 0, 1, 1]),
}


@pytest.mark.parametrize("name", BATCHES)
def test_terms_are_finite_on_every_batch(name: str) -> None:
    one, data = objective(True), batch(*BATCHES[name])
    draws = one.draw(data, torch.Generator().manual_seed(0), Progress(0, 10))
    terms = one(data, draws)
    terms.total.backward()
    assert torch.isfinite(terms.total)
    assert all(value.grad is None or value.grad.isfinite().all() for value in one.parameters())
    counted = one.counts(data, draws)
    assert {key: float(value) for key, value in counted.items()} == {k: float(v) for k, v in terms.counts.items()}
    assert (float(terms.counts["contrast"]) > 0) == (name == "two pairs")


def test_pairs_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(5, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    scale = torch.tensor(1.3, dtype=torch.float64)

    def rows(left: Tensor, right: Tensor) -> float:
        total = 0.0
        for i in range(5):
            scores = [float(scale.exp() * torch.cosine_similarity(left[i], right[j], 0)) for j in range(5)]
            total -= scores[i] - float(np.log(np.exp(scores).sum()))
        return total / 5

    found = pair_loss(one, two, "contrast", scale)
    assert float(found.loss) == pytest.approx((rows(one, two) + rows(two, one)) / 2)


def pre_train() -> None:
    """A small model of molecules in ``runs/r``."""
    words = ["molecules", "train", "selformer", "--name", "r", "--device", "cpu", "trainer.steps=1", "data.limit=40"]
    words += ["encoder.hidden_width=16", "encoder.feed_forward_width=32", "encoder.layers=2", "data.batch_size=4"]
    assert run(words) == 0


def test_a_molecule_model_with_two_assays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, saved, loaded: rows take the expert of their assay by name, others the mean."""
    monkeypatch.chdir(tmp_path)
    pre_train()
    rows = [f"{'C' * (row + 1)}O,{row * 7 % 5 / 2},{'ab'[row % 2]}" for row in range(24)]
    Path("d.csv").write_text("\n".join(["smiles,y,assay", *rows]) + "\n")
    tune = ["molecules", "finetune", "runs/r", "--data", "d.csv", "--label", "y", "--name", "f", "--no-twin"]
    tune += ["--method", "experts", "method.domain=assay", "--no-plain", "trainer.steps=6", "data.batch_size=4"]
    assert run([*tune, "optimiser.lr=0.05"]) == 0
    told = json.loads(Path("runs/f/model/config.json").read_text())["changes"][0]
    assert (told["name"], told["domains"]) == ("generic/experts", ["a", "b"])
    model = repcore.load("runs/f")
    encoder: WithExperts = model.encoder  # type: ignore[assignment]
    found = model.embed("d.csv").vectors
    each = {}
    for name in "ab":
        encoder.choose(name)
        each[name] = model.embed("d.csv").vectors
    encoder.choose(None)
    assert np.abs(each["a"] - each["b"]).max() > 1e-3
    for row in range(24):
        np.testing.assert_allclose(found[row], each["ab"[row % 2]][row], atol=1e-5)
    Path("new.csv").write_text("smiles,assay\nCO,a\nCCO,c\nCCCO,c\n")
    Path("bare.csv").write_text("smiles\nCO\nCCO\n")
    Path("parts").mkdir()
    for data, said in (("new.csv", "not for c"), ("bare.csv", "no column 'assay'")):
        for words in (["predict", "runs/f", data, "-o", "p.csv"], ["embed", "runs/f", data, "-o", "e.parquet"],
                      ["embed", "runs/f", data, "-o", "parts"]):  # fmt: skip
            capsys.readouterr()
            assert run([*words, "--overwrite"]) == 0
            assert said in capsys.readouterr().err, words
    Path("few.csv").write_text("\n".join(["smiles,assay", "CO,a", "CCCO,a"]) + "\n")  # one word tells nothing alone
    np.testing.assert_allclose(model.embed("few.csv").vectors, found[[0, 2]], atol=1e-5)
    answered = predicted("d.csv")  # beside the label, which alone is asked for by name
    Path("unlabelled.csv").write_text("\n".join(["smiles,assay", *(f"{row.split(',')[0]},{row[-1]}" for row in rows)]))
    assert answered == predicted("unlabelled.csv")
    Path("bare.csv").write_text("\n".join(["smiles", *(row.split(",")[0] for row in rows)]))
    assert answered != predicted("bare.csv")


def test_experts_stay_in_use_when_a_model_is_tuned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the plain loss, from the command and from Python: test rows are answered as `predict` answers them."""
    monkeypatch.chdir(tmp_path)
    pre_train()
    rows = [f"{'C' * (row + 1)}O,{'yn'[row % 2]},{'ab'[row // 2 % 2]}" for row in range(40)]
    Path("d.csv").write_text("\n".join(["smiles,y,site", *rows]) + "\n")
    settings = {"trainer__steps": 4, "data__batch_size": 8, "optimiser__lr": 0.05, "finetune__keep_start": "never"}
    first = repcore.finetune(
        "runs/r", "d.csv", label="y", method="experts", method__domain="site", plain=False, twin=False, name="ex",
        **settings,
    )  # fmt: skip
    assert json.loads(Path("runs/ex/finetune.json").read_text())["method"] == "generic/experts"
    again = ["molecules", "finetune", "runs/ex", "--label", "y", "--no-twin", "finetune.keep_start=never"]
    again += ["trainer.steps=4", "data.batch_size=8", "optimiser.lr=0.05", "--data"]
    assert run([*again, "d.csv", "--name", "two"]) == 0
    repcore.finetune(first, "d.csv", label="y", twin=False, name="three", **settings)
    for name in ("two", "three"):
        held = pq.read_table(f"runs/{name}/predictions/test.parquet").to_pylist()
        ids, own = answered(f"runs/{name}", "d.csv")
        _, mean = answered(f"runs/{name}", [row.split(",")[0] for row in rows])
        gaps = [[abs(one["p:n"] - other[ids.index(one["id"])]) for one in held] for other in (own, mean)]
        assert max(gaps[0]) < 1e-5 < max(gaps[1]), name
    Path("bare.csv").write_text("\n".join(["smiles,y", *(row.rpartition(",")[0] for row in rows)]) + "\n")
    capsys.readouterr()
    assert run([*again, "bare.csv", "--name", "four"]) == 0
    assert "no column 'site'" in capsys.readouterr().err
    assert run(["export", "runs/two", "-o", "all.pt2", "--data", "d.csv"]) == 2
    assert "'site' beside its input" in capsys.readouterr().err
    assert not Path("all.pt2").exists()


def answered(model: str, data: Any) -> tuple[list[str], list[float]]:
    """Ids and probabilities of a class."""
    found = repcore.load(model).predict(data)
    return list(map(str, found.ids)), list(map(float, found.columns["p:n"]))


def predicted(data: str) -> list[str]:
    """Answers of the command, a row each."""
    assert run(["predict", "runs/f", data, "-o", "answers.csv", "--overwrite"]) == 0
    with Path("answers.csv").open(newline="") as file:
        return [line["y"] for line in csv.DictReader(file)]
