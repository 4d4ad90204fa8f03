"""What the objectives do beside the golden numbers: crops, gates, averages, rates, the random control."""

from __future__ import annotations

import pytest
import torch

from repcore.errors import RunError
from repcore.interfaces import Batch, Progress
from repcore.testing.objective_teachers import teachers
from repcore_timeseries.configs.autotcl import AugmenterConfig, AutoTCLConfig
from repcore_timeseries.configs.encoders import DilatedConfig
from repcore_timeseries.configs.ts2vec import TS2VecConfig
from repcore_timeseries.encoders.dilated import DilatedEncoder
from repcore_timeseries.layers.pooling import centred, pooled_steps
from repcore_timeseries.objectives.autotcl import AUGMENTER_PARTS, AutoTCL
from repcore_timeseries.objectives.gates import hard_concrete
from repcore_timeseries.objectives.ts2vec import TS2Vec

AT = Progress(0, 10)


def batch(lengths: tuple[int, ...] = (20, 13, 17), channels: int = 2, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths), channels, generator=generator)
    length = torch.tensor(lengths)
    inside = torch.arange(max(lengths))[None] < length[:, None]
    observed = (torch.rand(values.shape, generator=generator) < 0.9) & inside[..., None]
    values = values.masked_fill(~observed, 0.0)
    return Batch(inputs={"values": values, "observed": observed, "length": length}, size=len(lengths))


def row_of(given: Batch, row: int, steps: int) -> Batch:
    """One series alone, without its padding."""
    inputs = {name: one[row : row + 1] for name, one in given.inputs.items()}
    inputs = {name: one[:, :steps] if one.ndim > 1 else one for name, one in inputs.items()}
    return Batch(inputs=inputs, size=1)


def encoder(**changes: object) -> DilatedEncoder:
    torch.manual_seed(0)
    return DilatedEncoder(DilatedConfig(channels=2, hidden=6, depth=2, width=8, **changes))  # type: ignore[arg-type]


def autotcl(**changes: object) -> AutoTCL:
    own = encoder(kernels=(1, 2))
    small = AugmenterConfig(hidden=4, depth=1, width=3, kernels=(1,))
    return AutoTCL(AutoTCLConfig(augmenter=small, local_segments=5, **changes), own)  # type: ignore[arg-type]


def test_crops_stay_within_every_series_and_overlap_in_the_same_steps() -> None:
    objective, given = TS2Vec(TS2VecConfig(), encoder()), batch()
    for seed in range(30):
        draws = objective.draw(given, torch.Generator().manual_seed(seed), AT)
        first, second, shared = draws["first"], draws["second"], draws["shared"]
        assert int(torch.minimum(first, second[:, : first.shape[1]].new_zeros(1)).min()) >= 0
        assert (second[:, -1] < given.inputs["length"]).all()
        assert (first[:, 0] >= 0).all()
        assert torch.equal(first[:, -shared.shape[1] :], second[:, : shared.shape[1]])
        assert shared.shape[1] >= 2


def test_series_too_short_for_the_levels_are_refused_in_words() -> None:
    objective = TS2Vec(TS2VecConfig(temporal_unit=3), encoder())
    with pytest.raises(RunError, match="has 13 steps; the crops need 16"):
        objective.draw(batch(), torch.Generator(), AT)


def test_padding_and_neighbours_change_nothing_and_missing_values_hide_what_they_should() -> None:
    net, given = encoder(kernels=(1, 4)).eval(), batch()
    with torch.no_grad():
        found = net(given)
        alone = net(row_of(given, 1, 13))
        torch.testing.assert_close(found.pooled[1:2], alone.pooled)
        changed = dict(given.inputs)
        changed["values"] = torch.where(given.inputs["observed"], given.inputs["values"], torch.tensor(7.0))
        torch.testing.assert_close(net(Batch(inputs=changed, size=3)).pooled, found.pooled)
        nothing = {**given.inputs, "observed": torch.zeros_like(given.inputs["observed"])}
        assert torch.equal(net(Batch(inputs=nothing, size=3)).pooled, torch.zeros(3, 8))


def test_a_causal_encoder_does_not_see_what_follows() -> None:
    for causal in (True, False):
        net = encoder(kernels=(1, 2), causal=causal).eval()
        values = torch.randn(1, 30, 2, generator=torch.Generator().manual_seed(1))
        later = values.clone()
        later[:, 20:] += 1
        with torch.no_grad():
            one, two = (net(Batch(inputs={"values": x}, size=1)).tokens["step"].values for x in (values, later))
        assert torch.equal(one[:, :20], two[:, :20]) == causal


def test_the_average_is_the_mean_of_all_states() -> None:
    objective = TS2Vec(TS2VecConfig(), encoder())
    states = [objective.encoder.input_fc.weight.detach().clone()]
    for step in range(4):
        with torch.no_grad():
            objective.encoder.input_fc.weight += step + 1
        objective.after_step(Progress(step, 4), ())
        states.append(objective.encoder.input_fc.weight.detach().clone())
    average = objective.encoder_for_export()
    assert isinstance(average, DilatedEncoder)
    torch.testing.assert_close(average.input_fc.weight, torch.stack(states).mean(0))
    assert objective.encoder_for_export("current") is objective.encoder


def test_the_kit_takes_the_average_for_the_teacher_and_no_other_network_of_the_class() -> None:
    assert [name for name, _ in teachers(autotcl())] == ["average"]


def test_no_loss_reaches_the_network_that_stands_still() -> None:
    objective, given = autotcl(), batch()
    draws = objective.draw(given, torch.Generator().manual_seed(0), AT)
    terms = objective(given, draws).terms
    named = dict(objective.named_parameters())
    owners = {"mmd": AUGMENTER_PARTS, "open": AUGMENTER_PARTS, "global": ("encoder.",), "local": ("encoder.",)}
    for term, mine in owners.items():
        trained = [name for name, one in named.items() if one.requires_grad]
        learning = [named[name] for name in trained]
        found = torch.autograd.grad(terms[term], learning, allow_unused=True, retain_graph=True)
        reached = {name for name, one in zip(trained, found, strict=True) if one is not None and one.abs().sum() > 0}
        assert reached, term
        assert all(name.startswith(mine) for name in reached), (term, reached)
    assert (objective.lr_scale("gate.0.weight"), objective.lr_scale("encoder.input_fc.weight")) == (10.0, 1.0)


def test_gates_are_zero_or_one_and_carry_the_gradient_of_the_soft_ones() -> None:
    logit = torch.linspace(-6, 6, 25)[None, :, None].requires_grad_()
    gate = hard_concrete(logit, None, bias=0.05, stretch=0.05)
    assert set(gate.hard.detach().unique().tolist()) == {0.0, 1.0}
    assert gate.soft.min() == 0
    assert gate.soft.max() == 1
    (slope,) = torch.autograd.grad(gate.hard.sum(), logit)
    inside = (gate.soft > 0) & (gate.soft < 1)
    assert (slope[inside] > 0).all()
    published = hard_concrete(logit, None, bias=0.05, stretch=0.05, is_published=True)
    assert published.soft.max() < 1, "the published stretch never reaches an open gate"


def test_the_random_control_learns_nothing_but_the_encoder() -> None:
    objective, given = autotcl(gates="random", keep_share=0.3), batch((40, 40, 40))
    draws = objective.draw(given, torch.Generator().manual_seed(0), AT)
    losses = objective(given, draws)
    assert set(losses.terms) == {"global", "local"}
    assert float(losses.metrics["kept"]) == pytest.approx(0.3, abs=0.1)
    assert not [name for name, _ in objective.named_parameters() if name.startswith(AUGMENTER_PARTS)]


def test_series_shorter_than_the_stretches_are_left_out_of_the_local_contrast() -> None:
    objective = autotcl()
    given = batch((20, 4, 17))
    draws = objective.draw(given, torch.Generator().manual_seed(0), AT)
    counted = objective.counts(given, draws)["local"]
    assert int(counted) == 2
    short = row_of(given, 1, 4)
    nothing = objective(short, objective.draw(short, torch.Generator(), AT))
    assert float(nothing.terms["local"].detach()) == 0
    assert int(nothing.counts["local"]) == 0


def test_poolings_over_valid_steps() -> None:
    values = torch.tensor([[[1.0], [5.0], [3.0]], [[2.0], [4.0], [9.0]]])
    valid = torch.tensor([[True, False, True], [True, True, False]])
    assert pooled_steps(values, valid, "max").flatten().tolist() == [3, 4]
    assert pooled_steps(values, valid, "mean").flatten().tolist() == [2, 3]
    assert pooled_steps(values, valid, "last").flatten().tolist() == [3, 4]
    gone = torch.tensor([[[float("nan")]] * 3 + [[1.0], [2.0]]])
    assert centred(gone).isnan().flatten().tolist() == [True, False, False, True, True]
