"""Computed targets: what they are, that the loss is that of a plain form, and that another objective stands beside."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from repcore_generic.configs.computed_targets import ComputedTargetsConfig
from repcore_generic.objectives.computed_targets import TERM, ComputedTargets, squared_errors, standardised
from sklearn.decomposition import PCA

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.errors import RepcoreError
from repcore.interfaces import Batch
from repcore.reporting import LogReporter
from repcore.training import computing
from repcore.training.assembly import assemble
from tests.generic.domains import PROGRESS, RUNS, batch_of, losses, parts_of

OBJECTIVE = "objective=generic/computed-targets"
DESCRIPTORS = "objective.targets=[descriptors]"
BESIDE = "objective.beside=molecules/masked-language"


def rows(count: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, (count, width)) * np.arange(1, width + 1)


def test_columns_are_standardised_by_training_rows_cut_off_and_constant_ones_left_out() -> None:
    values = np.concatenate([rows(20, 3), np.full((20, 1), 7.0)], 1)
    values[3] = np.nan
    values[19, 0] = 1e4
    is_train = np.arange(20) < 15
    found = standardised(values, is_train, components=10, clip=4.0)
    known = values[:15][np.arange(15) != 3, :3]
    expected = np.clip((values[:, :3] - known.mean(0)) / known.std(0), -4, 4)
    np.testing.assert_allclose(found, expected)
    assert found.shape == (20, 3)
    assert found[19, 0] == 4.0
    assert np.isnan(found[3]).all()


def test_wide_baselines_become_principal_components_in_units_of_the_first() -> None:
    values, is_train = rows(40, 9), np.arange(40) < 30
    found = standardised(values, is_train, components=4, clip=1e9)
    oracle = PCA(4).fit(values[is_train])
    expected = oracle.transform(values)
    expected /= expected[is_train, 0].std()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-6, atol=1e-9)
    assert found[is_train].std(0)[-1] < 1.0


def test_nothing_known_gives_no_columns() -> None:
    assert standardised(np.full((5, 3), np.nan), np.ones(5, bool), 4, 4.0).shape == (5, 0)


def test_missing_targets_are_no_part_of_the_error() -> None:
    guess, truth = torch.tensor([[1.0, 5.0], [2.0, 0.0]]), torch.tensor([[3.0, float("nan")], [2.0, 1.0]])
    error, size, count = squared_errors(guess, truth)
    assert (float(error), float(size), int(count)) == (5.0, 14.0, 3)


@pytest.mark.parametrize("kind", ["molecules", "audio", "graphs", "clouds", "films"])
def test_every_domain_can_learn_what_it_computes(kind: str) -> None:
    parts = parts_of(kind, OBJECTIVE)
    found = losses(parts, 12)
    assert found[0] == pytest.approx(float(first_guess(parts)), rel=1e-4)
    assert found[-1] < found[0]


def first_guess(parts: Any) -> torch.Tensor:
    """The head begins at the mean of the training rows: the mean square of the batch's own targets."""
    objective, batch = parts.objective, batch_of(parts)
    truth = objective._of(batch)
    return truth[~truth.isnan()].square().mean()


def test_the_loss_is_that_of_a_plain_form_on_the_samples_of_the_data_set() -> None:
    parts = assembled(DESCRIPTORS)
    objective, batch = parts.objective.eval(), batch_of(parts)
    with torch.no_grad():
        objective.weight.normal_(0, 0.1)
        terms = objective(batch, {})
        pooled = parts.encoder(batch).pooled
        guess = objective.norm(pooled) @ objective.weight.T + objective.bias
    entry = parts.resolved.preprocessor.entry
    every = np.sort(np.concatenate([parts.train, parts.validation]))
    own = [parts.own_reader[int(parts.reader.source_rows[row])] for row in every]
    values = entry.load("baselines", "descriptors")(parts.preprocessor, own).astype(np.float64)
    is_train = np.isin(every, parts.train)
    mean, deviation = values[is_train].mean(0), values[is_train].std(0)
    varies = deviation > 1e-6
    scaled = np.clip((values[:, varies] - mean[varies]) / deviation[varies], -4, 4)
    place = {one.id: row for row, one in enumerate(own)}
    truth = torch.from_numpy(scaled[[place[one] for one in batch.sample_id]])
    torch.testing.assert_close(terms.total.double(), (guess.double() - truth).square().mean(), rtol=2e-3, atol=1e-4)


def test_another_objective_keeps_its_loss_beside_it() -> None:
    parts = assembled(DESCRIPTORS, BESIDE, "objective.beside_settings=[mask_probability=0.4]", "objective.weight=0.5")
    objective, batch = parts.objective.eval(), batch_of(parts)
    assert objective.beside.config.mask_probability == 0.4
    draws = objective.draw(batch, torch.Generator().manual_seed(0), PROGRESS)
    with torch.no_grad():
        both, alone = objective(batch, draws), objective.beside(batch, draws)
    assert both.terms["masked_language"] == alone.total
    torch.testing.assert_close(both.total, alone.total + 0.5 * both.terms[TERM])
    assert set(objective.counts(batch, draws)) == {"masked_language", TERM}
    assert objective.counts(batch, draws)[TERM] == int(both.counts[TERM])
    assert objective.encoder_for_export() is parts.encoder is objective.beside.encoder
    assert len(list(objective.parameters())) == len({id(one) for one in objective.parameters()})
    assert "picture" in dir(objective)
    assert objective.picture(batch_of(parts, 1), objective.draw(batch_of(parts, 1), torch.Generator(), PROGRESS))


def test_a_resumed_run_has_its_targets_without_computing_them() -> None:
    parts = assembled(DESCRIPTORS)
    fresh = ComputedTargets(parts.resolved.objective.config, parts.encoder)
    batch = batch_of(parts)
    with pytest.raises(RepcoreError, match="has no computed targets"):
        fresh(batch, {})
    fresh.load_state_dict(parts.objective.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fresh.eval()(batch, {}).total, parts.objective.eval()(batch, {}).total)
    with pytest.raises(RepcoreError, match="'nobody' has no computed targets"):
        fresh(dataclasses.replace(batch, sample_id=["nobody", *batch.sample_id[1:]]), {})


def test_they_are_computed_once_for_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path))
    made = []
    own = computing.RawFeatures.joined
    monkeypatch.setattr(computing.RawFeatures, "joined", lambda self: made.append(list(self.functions)) or own(self))
    first, again = assembled(DESCRIPTORS), assembled(DESCRIPTORS, "trainer.steps=7")
    assert made == [["descriptors"]]
    assert torch.equal(first.objective._targets, again.objective._targets)
    assembled(DESCRIPTORS, "data.limit=40")
    assembled("objective=generic/computed-targets", "objective.targets=[ecfp4]")
    assert made == [["descriptors"], ["descriptors"], ["ecfp4"]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("objective.targets=[descriptor]",), "descriptors"),
        (("objective.beside=generic/metrix",), "learns from labels"),
        (("objective.beside=generic/computed-targets",), "stands beside another objective"),
        (("objective.beside=molecules/masked-languag",), "masked-language"),
        ((BESIDE, "objective.beside_settings=[mask_share=3]"), "mask_share"),
        (("objective.beside_settings=[mask_share=0.3]",), "not named"),
    ],
)
def test_what_cannot_be_is_said(settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(RepcoreError) as caught:
        assembled(*settings)
    assert words in str(caught.value)


def test_settings_have_ranges() -> None:
    for wrong in ({"weight": 0.0}, {"clip": 0.0}, {"components": 0}, {"hidden_width": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ComputedTargetsConfig(**wrong)


def assembled(*settings: str) -> Any:
    run = RUNS["molecules"]
    resolved = resolve_run(registry.default(), run.recipe, overrides=(*run.settings, OBJECTIVE, *settings))
    return assemble(resolved, LogReporter())


def test_an_item_without_targets_counts_for_nothing() -> None:
    parts = assembled(DESCRIPTORS)
    objective, batch = parts.objective.eval(), batch_of(parts)
    known = objective._of(batch)
    objective._targets[objective._rows[next(iter(keys(batch)))]] = float("nan")
    with torch.no_grad():
        found = objective(batch, {})
    kept = ~objective._of(batch).isnan()
    assert int(found.counts[TERM]) == int(kept.sum()) < known.numel()
    torch.testing.assert_close(found.total, known[kept].square().mean())


def keys(batch: Batch) -> list[int]:
    from repcore_generic.objectives.item_keys import item_key

    return [item_key(one) for one in batch.sample_id]
